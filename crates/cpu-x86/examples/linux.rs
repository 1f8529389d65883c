//! Boots a Linux kernel (64-bit boot protocol) with an initramfs on one processor, a UART, and the periodic timer
//! interrupt as the only machine around: a smoke test of the whole CPU without the rest of the VMM.
//! `cargo run --release -p cpu-x86 --example linux VMLINUZ INITRAMFS [-cpu MODEL] [SECONDS]`
#![allow(missing_docs)]

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use cpu_x86::bus::{Attention, Leave};
use cpu_x86::model::{CpuSpec, Topology};
use cpu_x86::state::cr::*;
use cpu_x86::{Bus, CpuidAction, MsrAction, PhysPage, Processor, ResetKind, SegReg, Stop};
use guest_memory::RamBlock;

const RAM: u64 = 512 << 20;
const ZERO_PAGE: u64 = 0x1_0000;
const COMMAND_LINE: u64 = 0x2_0000;
const TABLES: u64 = 0x3_0000;
const KERNEL: u64 = 0x100_0000;
const INITRD: u64 = 0x1000_0000;

struct Board {
    ram: Arc<RamBlock>,
    start: Instant,
    pit_start: Instant,
    flip: bool,
    pic: [u8; 2],
    uart: [u8; 8],
    thre: bool,
    timer: bool,
    text: Vec<u8>,
    unknown: Vec<u32>,
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
        let v = match port {
            0x21 => self.pic[0],
            0xA1 => self.pic[1],
            0x42 => {
                let count = 0xFFFFu64.wrapping_sub(self.pit_start.elapsed().as_nanos() as u64 * 1193 / 1_000_000);
                self.flip = !self.flip;
                if self.flip { count as u8 } else { (count >> 8) as u8 }
            }
            0x61 => 0x20,
            0x71 => 0,
            0x3FD => 0x60,
            0x3FE if self.uart[4] & 0x10 != 0 => {
                let m = self.uart[4];
                (m & 0xC) << 4 | (m & 1) << 5 | (m & 2) << 3
            }
            0x3FE => 0xB0,
            0x3FA if self.thre => {
                self.thre = false;
                0xC2
            }
            0x3FA => 0xC1,
            0x3F8 => 0,
            0x3F9..=0x3FF => self.uart[usize::from(port - 0x3F8)],
            _ => 0xFF,
        };
        data.fill(v);
        Ok(())
    }
    fn port_write(&mut self, port: u16, data: &[u8]) -> Result<(), Leave> {
        let v = data[0];
        match port {
            0x21 => self.pic[0] = v,
            0xA1 => self.pic[1] = v,
            0x42 | 0x43 => {
                self.pit_start = Instant::now();
                self.flip = false;
            }
            0x3F8 if self.uart[3] & 0x80 == 0 => {
                self.text.push(v);
                std::io::stdout().write_all(&[v]).map_err(|_| Leave)?;
                self.thre = self.uart[1] & 2 != 0;
            }
            0x3F9 if self.uart[3] & 0x80 == 0 => {
                self.uart[1] = v;
                self.thre = v & 2 != 0;
            }
            0x3FA..=0x3FF => self.uart[usize::from(port - 0x3F8)] = v,
            _ => {}
        }
        Ok(())
    }
    fn msr_read(&mut self, msr: u32) -> MsrAction {
        match msr {
            0x10 => MsrAction::Done(self.tsc()),
            0x1B => MsrAction::Done(0xFEE0_0900),
            _ => {
                self.unknown.push(msr);
                MsrAction::Fault
            }
        }
    }
    fn msr_write(&mut self, msr: u32, _value: u64) -> MsrAction {
        self.unknown.push(msr | 0x2000_0000);
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
        if std::mem::take(&mut self.timer) && self.pic[0] & 1 == 0 {
            return Some(0x30);
        }
        (self.thre && self.uart[1] & 2 != 0 && self.pic[0] & 0x10 == 0).then_some(0x34)
    }
}

fn load(board: &Board, kernel: &[u8], initrd: &[u8]) -> u64 {
    let ram = &board.ram;
    let setup = usize::from(kernel[0x1F1]).max(4) + 1;
    assert!(ram.write(KERNEL, &kernel[setup * 512..]) && ram.write(INITRD, initrd));
    let mut zero = vec![0u8; 4096];
    let end = 0x202 + usize::from(kernel[0x201]);
    zero[0x1F1..end].copy_from_slice(&kernel[0x1F1..end]);
    let mut put = |at: usize, v: u32| zero[at..at + 4].copy_from_slice(&v.to_le_bytes());
    put(0x218, INITRD as u32);
    put(0x21C, initrd.len() as u32);
    put(0x228, COMMAND_LINE as u32);
    for (n, (start, len)) in [(0u64, 0x9_F000u64), (0x10_0000, RAM - 0x10_0000)].into_iter().enumerate() {
        let at = 0x2D0 + 20 * n;
        put(at, start as u32);
        put(at + 8, len as u32);
        put(at + 16, 1);
    }
    zero[0x1E8] = 2;
    zero[0x210] = 0xFF;
    assert!(ram.write(ZERO_PAGE, &zero));
    let line = "console=ttyS0 earlyprintk=serial,ttyS0,115200 nolapic noapic lpj=80000 no_timer_check panic=-1\0";
    assert!(ram.write(COMMAND_LINE, line.as_bytes()));
    let entry = |at: u64, v: u64| assert!(ram.write(at, &v.to_le_bytes()));
    entry(TABLES, (TABLES + 0x1000) | 3);
    for g in 0..4 {
        entry(TABLES + 0x1000 + 8 * g, (TABLES + 0x2000 + 0x1000 * g) | 3);
        for n in 0..512 {
            entry(TABLES + 0x2000 + 0x1000 * g + 8 * n, (g << 30 | n << 21) | 0x83);
        }
    }
    KERNEL + 0x200
}

fn main() {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let model = match args.iter().position(|a| a == "-cpu") {
        Some(n) => args.drain(n..n + 2).nth(1).expect("-cpu MODEL"),
        None => "max".into(),
    };
    let kernel = std::fs::read(&args[0]).expect("kernel");
    let initrd = std::fs::read(&args[1]).expect("initramfs");
    let seconds = args.get(2).map_or(60, |s| s.parse().expect("seconds"));
    let now = Instant::now();
    let mut board = Board {
        ram: RamBlock::new("ram", RAM).expect("RAM"),
        start: now,
        pit_start: now,
        flip: false,
        pic: [0xFF; 2],
        uart: [0; 8],
        thre: false,
        timer: false,
        text: vec![],
        unknown: vec![],
    };
    let spec = CpuSpec::parse(&model).expect("-cpu");
    spec.warnings.iter().for_each(|w| eprintln!("{w}"));
    let mut p = Processor::new(Arc::new(spec.model(Topology::default(), 0)));
    p.cpu.reset(ResetKind::PowerOn);
    p.cpu.rip = load(&board, &kernel, &initrd);
    p.cpu.regs[6] = ZERO_PAGE;
    let data = SegReg { selector: 0x18, base: 0, limit: u32::MAX, attributes: 0xC093 };
    p.cpu.segs = [data; 6];
    p.cpu.segs[1] = SegReg { selector: 0x10, attributes: 0xA09B, ..data };
    p.cpu.cr0 = CR0_PE | CR0_PG | CR0_ET;
    p.cpu.cr4 = CR4_PAE;
    p.cpu.cr3 = TABLES;
    p.cpu.msr.efer = EFER_LME | EFER_LMA;
    p.cpu.update_mode();
    let attention = p.cpu.attention.clone();
    std::thread::spawn(move || {
        loop {
            std::thread::sleep(Duration::from_millis(4));
            attention.fetch_or(Attention::LEAVE, Ordering::Release);
        }
    });
    let stop = loop {
        match p.run(&mut board) {
            Stop::Attention => {
                p.cpu.attention.fetch_and(!Attention::LEAVE, Ordering::AcqRel);
                board.timer = true;
            }
            Stop::Halt => std::thread::sleep(Duration::from_millis(1)),
            other => break other,
        }
        let wanted = board.timer || board.thre;
        if wanted {
            p.cpu.attention.fetch_or(Attention::INTR, Ordering::Release);
        } else {
            p.cpu.attention.fetch_and(!Attention::INTR, Ordering::AcqRel);
        }
        if now.elapsed().as_secs() > seconds {
            break Stop::Attention;
        }
    };
    board.unknown.sort_unstable();
    board.unknown.dedup();
    let ips = p.cpu.retired as f64 / now.elapsed().as_secs_f64() / 1e6;
    println!("\n{stop:?} at {:#x}, {} instructions, {ips:.0} million/s", p.cpu.rip, p.cpu.retired);
    println!("MSRs left to the bus: {:x?}", board.unknown);
}
