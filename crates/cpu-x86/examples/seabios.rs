//! Runs Debian's SeaBIOS without any machine around it and shows what it says on its debug port: a smoke test of
//! real and protected mode. `cargo run --release -p cpu-x86 --example seabios [bios-256k.bin]`
#![allow(missing_docs)]

use std::io::Write;
use std::sync::Arc;

use cpu_x86::bus::{Attention, Leave};
use cpu_x86::model::CpuModel;
use cpu_x86::{Bus, CpuidAction, MsrAction, PhysPage, Processor, ResetKind};
use guest_memory::RamBlock;

struct Board {
    ram: Arc<RamBlock>,
    rom: Arc<RamBlock>,
    ports: u64,
    start: std::time::Instant,
}

impl Bus for Board {
    fn page(&mut self, gpa: u64) -> PhysPage {
        let rom_start = (1 << 32) - self.rom.len();
        if gpa < self.ram.len() {
            PhysPage::Ram { block: self.ram.clone(), offset: gpa, writable: true, executable: true }
        } else if (rom_start..1 << 32).contains(&gpa) {
            let offset = gpa - rom_start;
            PhysPage::Ram { block: self.rom.clone(), offset, writable: false, executable: true }
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
        self.ports += 1;
        data.fill(match port {
            0x402 => 0xE9,
            0x61 => self.ports as u8 & 0x30,
            _ => 0xFF,
        });
        Ok(())
    }
    fn port_write(&mut self, port: u16, data: &[u8]) -> Result<(), Leave> {
        if port == 0x402 {
            std::io::stdout().write_all(data).map_err(|_| Leave)?;
        }
        Ok(())
    }
    fn msr_read(&mut self, _msr: u32) -> MsrAction {
        MsrAction::Done(0)
    }
    fn msr_write(&mut self, _msr: u32, _value: u64) -> MsrAction {
        MsrAction::Done(0)
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

fn main() {
    let path = std::env::args().nth(1).unwrap_or_else(|| "/usr/share/seabios/bios-256k.bin".into());
    let bytes = std::fs::read(&path).expect("the BIOS image (Debian package seabios)");
    let ram = RamBlock::new("ram", 64 << 20).expect("64 MiB");
    let rom = RamBlock::new("rom", bytes.len() as u64).expect("ROM");
    rom.write(0, &bytes);
    let low = &bytes[bytes.len().saturating_sub(128 << 10)..];
    ram.write((1 << 20) - low.len() as u64, low);
    let mut board = Board { ram, rom, ports: 0, start: std::time::Instant::now() };
    let mut p = Processor::new(Arc::new(CpuModel::default()));
    p.cpu.reset(ResetKind::PowerOn);
    let attention = p.cpu.attention.clone();
    std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_secs(5));
        attention.fetch_or(Attention::LEAVE, std::sync::atomic::Ordering::SeqCst);
    });
    let stop = p.run(&mut board);
    println!("\n{stop:?} at {:#x}:{:#x}, {} instructions", p.cpu.segs[1].selector, p.cpu.rip, p.cpu.retired);
}
