//! Starts a Linux kernel through the 64-bit boot protocol with nothing but a serial port, a PIT that counts and a
//! time-stamp counter: a smoke test of 64-bit mode, paging and exceptions.
//! `cargo run --release -p cpu-x86 --example linux VMLINUZ [SECONDS] [CPU] [APPEND] [INITRD]`
#![allow(missing_docs)]

use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cpu_x86::bus::{Attention, Leave};
use cpu_x86::model::{CpuSpec, Topology};
use cpu_x86::state::cr::*;
use cpu_x86::{Bus, CpuidAction, MsrAction, PhysPage, Processor, ResetKind, SegReg};
use guest_memory::RamBlock;

const RAM: u64 = 512 << 20;
const ZERO_PAGE: u64 = 0x1_0000;
const COMMAND: u64 = 0x2_0000;
const TABLES: u64 = 0x3_0000;
const INITRD: u64 = 0x1000_0000;
const KERNEL: u64 = 0x100_0000;

struct Board {
    ram: Arc<RamBlock>,
    start: Instant,
    pit_low: bool,
}

impl Bus for Board {
    fn page(&mut self, gpa: u64) -> PhysPage {
        if gpa < RAM {
            PhysPage::Ram { block: self.ram.clone(), offset: gpa, writable: true, executable: true }
        } else {
            PhysPage::None
        }
    }
    fn mem_read(&mut self, _gpa: u64, data: &mut [u8]) -> Result<(), Leave> {
        data.fill(0xFF);
        Ok(())
    }
    fn mem_write(&mut self, _gpa: u64, _data: &[u8]) -> Result<(), Leave> {
        Ok(())
    }
    fn port_read(&mut self, port: u16, data: &mut [u8]) -> Result<(), Leave> {
        let micros = self.start.elapsed().as_micros() as u64;
        let pit = 0xFFFF - (micros * 1193 / 1000) as u16;
        data.fill(match port {
            0x3FD => 0x60,
            0x3F8..=0x3FF => 0,
            0x61 => 0x20 | (micros >> 4 & 0x10) as u8,
            0x40 | 0x42 => {
                self.pit_low = !self.pit_low;
                if self.pit_low { pit as u8 } else { (pit >> 8) as u8 }
            }
            _ => 0xFF,
        });
        Ok(())
    }
    fn port_write(&mut self, port: u16, data: &[u8]) -> Result<(), Leave> {
        if port == 0x3F8 {
            std::io::stdout().write_all(&data[..1]).map_err(|_| Leave)?;
        }
        Ok(())
    }
    fn msr_read(&mut self, msr: u32) -> MsrAction {
        match msr {
            0x1B => MsrAction::Done(0xFEE0_0100),
            0x10 => MsrAction::Done(self.tsc()),
            _ => MsrAction::Fault,
        }
    }
    fn msr_write(&mut self, _msr: u32, _value: u64) -> MsrAction {
        MsrAction::Fault
    }
    fn cpuid(&mut self, _leaf: u32, _subleaf: u32, _regs: &mut [u32; 4]) -> CpuidAction {
        CpuidAction::Done
    }
    fn tsc(&mut self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }
    fn cr8(&mut self) -> u64 {
        0
    }
    fn set_cr8(&mut self, _value: u64) {}
    fn acknowledge_interrupt(&mut self) -> Option<u8> {
        None
    }
}

/// Loads the kernel, the zero page and identity page tables; returns the entry point.
fn load(ram: &RamBlock, image: &[u8], command: &str) -> u64 {
    let sectors = if image[0x1F1] == 0 { 4 } else { u64::from(image[0x1F1]) };
    let setup = ((sectors + 1) * 512) as usize;
    ram.write(KERNEL, &image[setup..]);
    let header_end = 0x202 + usize::from(image[0x201]);
    ram.write(ZERO_PAGE + 0x1F1, &image[0x1F1..header_end]);
    ram.write(ZERO_PAGE + 0x210, &[0xFF]);
    ram.write(ZERO_PAGE + 0x228, &(COMMAND as u32).to_le_bytes());
    ram.write(COMMAND, command.as_bytes());
    let mut entries = vec![];
    for (start, len) in [(0u64, 0x9_F000u64), (0x10_0000, RAM - 0x10_0000)] {
        entries.extend(start.to_le_bytes());
        entries.extend(len.to_le_bytes());
        entries.extend(1u32.to_le_bytes());
    }
    ram.write(ZERO_PAGE + 0x2D0, &entries);
    ram.write(ZERO_PAGE + 0x1E8, &[2]);
    ram.write(TABLES, &(TABLES + 0x1003).to_le_bytes());
    for g in 0..4u64 {
        ram.write(TABLES + 0x1000 + g * 8, &(TABLES + 0x2003 + g * 0x1000).to_le_bytes());
        for i in 0..512 {
            ram.write(TABLES + 0x2000 + g * 0x1000 + i * 8, &((g << 30 | i << 21) | 0x83).to_le_bytes());
        }
    }
    KERNEL + 0x200
}

fn main() {
    let mut args = std::env::args().skip(1);
    let image = std::fs::read(args.next().expect("VMLINUZ")).expect("the kernel");
    let seconds = args.next().and_then(|s| s.parse().ok()).unwrap_or(20);
    let cpu = args.next().unwrap_or_else(|| "max".into());
    let append = args.next().unwrap_or_default();
    let initrd = args.next().map(|f| std::fs::read(f).expect("the initrd")).unwrap_or_default();
    let ram = RamBlock::new("ram", RAM).expect("RAM");
    let command = format!("earlyprintk=serial,ttyS0,115200 console=ttyS0 panic=-1 nokaslr lpj=1000000 {append}");
    let entry = load(&ram, &image, &command);
    ram.write(INITRD, &initrd);
    ram.write(ZERO_PAGE + 0x218, &(INITRD as u32).to_le_bytes());
    ram.write(ZERO_PAGE + 0x21C, &(initrd.len() as u32).to_le_bytes());
    let spec = CpuSpec::parse(&cpu).expect("CPU model");
    let mut p = Processor::new(Arc::new(spec.model(Topology::default(), 0)));
    p.cpu.reset(ResetKind::PowerOn);
    let data = SegReg { selector: 0x18, base: 0, limit: u32::MAX, attributes: 0xC093 };
    p.cpu.segs = [data; 6];
    p.cpu.segs[1] = SegReg { selector: 0x10, attributes: 0xA09B, ..data };
    p.cpu.cr0 = CR0_PE | CR0_PG | CR0_ET | CR0_NE | CR0_WP;
    p.cpu.cr4 = CR4_PAE;
    p.cpu.cr3 = TABLES;
    p.cpu.msr.efer = EFER_LME | EFER_LMA;
    p.cpu.regs[6] = ZERO_PAGE;
    p.cpu.regs[4] = 0x8_0000;
    p.cpu.rip = entry;
    p.cpu.update_mode();
    let attention = p.cpu.attention.clone();
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_secs(seconds));
        attention.fetch_or(Attention::LEAVE, std::sync::atomic::Ordering::SeqCst);
    });
    let start = Instant::now();
    let mut board = Board { ram, start, pit_low: false };
    let stop = p.run(&mut board);
    let mips = p.cpu.retired as f64 / start.elapsed().as_secs_f64() / 1e6;
    println!("\n{stop:?} at {:#x}, {} instructions, {mips:.1} MIPS", p.cpu.rip, p.cpu.retired);
    println!("cr0 {:#x} cr2 {:#x} cr3 {:#x} cr4 {:#x} {:x?}", p.cpu.cr0, p.cpu.cr2, p.cpu.cr3, p.cpu.cr4, p.cpu.regs);
}
