//! A minimal system for tests: RAM from address 0, a device page, page tables, and assembled code.
#![allow(dead_code, missing_docs, unreachable_pub, unused_imports)]

mod bus;
pub mod tiers;

use std::sync::Arc;

use cpu_x86::model::CpuModel;
use cpu_x86::state::cr::*;
use cpu_x86::{Processor, ResetKind, Seg, SegReg, Stop};
use guest_memory::RamBlock;
use iced_x86::code_asm::CodeAssembler;

pub use bus::TestBus;

pub const RAM: u64 = 16 << 20;
/// A device page: loads give bytes of the address, stores are noted.
pub const DEVICE: u64 = 0xFEE0_0000;
pub const CODE: u64 = 0x1_0000;
pub const STACK: u64 = 0x2_0000;
pub const DATA: u64 = 0x3_0000;
pub const TABLES: u64 = 0x10_0000;

pub const P: u64 = 1;
pub const W: u64 = 2;
pub const U: u64 = 4;
pub const A: u64 = 0x20;
pub const D: u64 = 0x40;
pub const PS: u64 = 0x80;
pub const NX: u64 = 1 << 63;

/// The tier that the test program is for, or that the environment variable `WHPX_TEST_TIER` asks for; translating at once.
pub fn set_tier(p: &mut Processor) {
    match std::env::var("WHPX_TEST_TIER").as_deref() {
        Ok("check") => _ = p.set_tier(cpu_x86::Tier::Check),
        Ok("translator") => _ = p.set_tier(cpu_x86::Tier::Translator),
        _ if env!("CARGO_CRATE_NAME") == "translated" => _ = p.set_tier(cpu_x86::Tier::Translator),
        _ => {}
    }
    p.set_translation_threshold(1);
}

pub struct Machine {
    pub p: Processor,
    pub bus: TestBus,
    /// How the last run ended.
    pub last: Option<Stop>,
}

pub fn code_segment(bits: u32, cpl: u8) -> SegReg {
    let kind = match bits {
        64 => 0xA09B,
        32 => 0xC09B,
        _ => 0x009B,
    };
    let limit = if bits == 16 { 0xFFFF } else { u32::MAX };
    SegReg { selector: 8 | u16::from(cpl), base: 0, limit, attributes: kind | u16::from(cpl) << 5 }
}

pub fn data_segment(cpl: u8) -> SegReg {
    SegReg { selector: 16 | u16::from(cpl), base: 0, limit: u32::MAX, attributes: 0xC093 | u16::from(cpl) << 5 }
}

impl Machine {
    /// Flat protected mode without paging, all exceptions reported.
    pub fn flat32() -> Self {
        Self::on(RamBlock::new("ram", RAM).unwrap(), 32)
    }

    /// 64-bit mode, the first 16 MiB and the device page identity-mapped by 4 KiB pages, writable, for everybody.
    pub fn long() -> Self {
        let mut m = Self::on(RamBlock::shareable("ram", RAM).unwrap(), 64);
        m.map_long();
        m
    }

    pub fn on(ram: Arc<RamBlock>, bits: u32) -> Self {
        let mut p = Processor::new(Arc::new(CpuModel::default()));
        set_tier(&mut p);
        p.cpu.reset(ResetKind::PowerOn);
        p.cpu.segs = [data_segment(0); 6];
        p.cpu.segs[Seg::Cs as usize] = code_segment(bits, 0);
        p.cpu.cr0 = CR0_PE | CR0_ET | CR0_WP;
        p.cpu.exception_exits = u64::MAX;
        p.cpu.rip = CODE;
        p.cpu.regs[4] = STACK;
        p.cpu.update_mode();
        Self { p, bus: TestBus::new(ram), last: None }
    }

    /// So many instructions were completed. (Only the interpreter counts them.)
    pub fn retired(&self, count: u64) {
        assert!(self.p.cpu.retired == count || self.p.jit_statistics().blocks != 0, "{}", self.p.cpu.retired);
    }

    pub fn map_long(&mut self) {
        let rights = P | W | U;
        self.bus.write64(TABLES, (TABLES + 0x1000) | rights);
        self.bus.write64(TABLES + 0x1000, (TABLES + 0x2000) | rights);
        self.bus.write64(TABLES + 0x1000 + 3 * 8, (TABLES + 0x3000) | rights);
        self.bus.write64(TABLES + 0x3000 + (DEVICE >> 21 & 511) * 8, DEVICE & !0x1F_FFFF | rights | PS);
        for i in 0..RAM >> 21 {
            self.bus.write64(TABLES + 0x2000 + i * 8, (TABLES + 0x4000 + i * 0x1000) | rights);
        }
        for i in 0..RAM >> 12 {
            self.bus.write64(TABLES + 0x4000 + i * 8, i << 12 | rights);
        }
        self.start_long();
    }

    pub fn start_long(&mut self) {
        let cpu = &mut self.p.cpu;
        cpu.cr3 = TABLES;
        cpu.cr4 = CR4_PAE;
        cpu.msr.efer = EFER_LME | EFER_LMA | EFER_NXE;
        cpu.cr0 |= CR0_PG;
        cpu.update_mode();
    }

    /// Address of the page-table entry of `at` (`map_long`).
    pub fn pte(at: u64) -> u64 {
        TABLES + 0x4000 + (at >> 12) * 8
    }

    /// Sets a page-table entry and drops the translation.
    pub fn set_pte(&mut self, at: u64, value: u64) {
        self.bus.write64(Self::pte(at), value);
        self.p.cpu.flush_page(at);
    }

    pub fn set_cpl(&mut self, cpl: u8) {
        let bits = self.p.cpu.mode.bits();
        self.p.cpu.segs = [data_segment(cpl); 6];
        self.p.cpu.segs[Seg::Cs as usize] = code_segment(bits, cpl);
        self.p.cpu.cpl = cpl;
        self.p.cpu.update_mode();
    }

    /// Assembles at `at` and points RIP there.
    pub fn code(&mut self, at: u64, f: impl FnOnce(&mut CodeAssembler)) {
        let bytes = assemble(self.p.cpu.mode.bits(), at, f);
        assert!(self.bus.ram.write(at, &bytes));
        self.p.cpu.rip = at;
    }

    pub fn run(&mut self) -> Stop {
        let stop = self.p.run(&mut self.bus);
        self.last = Some(stop);
        stop
    }

    pub fn halts(&mut self) {
        assert_eq!(self.run(), Stop::Halt, "at {:#x}", self.p.cpu.rip);
    }

    /// Runs to a page fault; returns (error code, address).
    pub fn page_fault(&mut self) -> (u32, u64) {
        match self.run() {
            Stop::Exception(e) if e.vector == 14 => (e.error.unwrap(), e.payload),
            other => panic!("{other:?} at {:#x}", self.p.cpu.rip),
        }
    }

    pub fn reg(&self, i: usize) -> u64 {
        self.p.cpu.regs[i]
    }
}

pub fn assemble(bits: u32, at: u64, f: impl FnOnce(&mut CodeAssembler)) -> Vec<u8> {
    let mut a = CodeAssembler::new(bits).unwrap();
    f(&mut a);
    a.assemble(at).unwrap()
}
