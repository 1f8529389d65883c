//! What the host cannot be asked (`tests/host_int.rs` does the rest): 16- and 32-bit code, ports, faults in the
//! middle, instructions this host may lack. Expected values are from the Intel SDM's descriptions.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::decode::decode;
use crate::fault::{AbortKind, Access, Exception, vector};
use crate::features::Features;
use crate::flags::rflags::*;
use crate::model::CpuModel;
use crate::op::DecodeCx;
use crate::state::{Cpu, SegReg, cr};
use crate::test_bus::TestBus;

struct Machine {
    cpu: Cpu,
    bus: TestBus,
}

const GP: AbortKind = AbortKind::Exception(Exception { vector: vector::GP, error: Some(0), payload: 0 });
const UD: AbortKind = AbortKind::Exception(Exception { vector: vector::UD, error: None, payload: 0 });
const AX: u8 = 0;
const CX: u8 = 1;
const DX: u8 = 2;
const BX: u8 = 3;
const SP: u8 = 4;
const BP: u8 = 5;
const SI: u8 = 6;
const DI: u8 = 7;

impl Machine {
    fn new(segs: [SegReg; 6], protected: bool) -> Self {
        let mut cpu = Cpu::new(Arc::new(CpuModel::default()));
        cpu.segs = segs;
        cpu.cr0 = if protected { cr::CR0_PE } else { 0 };
        cpu.update_mode();
        cpu.rip = 0x1000;
        cpu.set_r64(SP, 0x8000);
        // Three port writes are served, and none of port 0x99.
        let mut bus = TestBus::only(0, 0x10_0000);
        bus.readonly.push(0xF0);
        (bus.port_room, bus.closed_port, bus.port_counter) = (3, Some(0x99), Some(0));
        Self { cpu, bus }
    }
    /// Real mode: CS 0, DS 0x1000, ES 0x2000, SS 0x3000.
    fn real() -> Self {
        Self::new([0x2000, 0, 0x3000, 0x1000, 0, 0].map(SegReg::real), false)
    }
    /// 32-bit protected mode, flat.
    fn flat() -> Self {
        let data = SegReg { selector: 0x10, base: 0, limit: u32::MAX, attributes: 0xC093 };
        let code = SegReg { attributes: 0xC09B, ..data };
        Self::new([data, code, data, data, data, data], true)
    }
    fn long() -> Self {
        let mut m = Self::flat();
        m.cpu.segs[1].attributes = 0xA09B;
        m.cpu.msr.efer = cr::EFER_LMA | cr::EFER_LME;
        m.cpu.update_mode();
        m
    }
    /// Executes one instruction at RIP.
    fn exec(&mut self, bytes: &[u8]) -> Result<(), AbortKind> {
        let cpu = &mut self.cpu;
        let cx = DecodeCx { mode: cpu.mode, rip: cpu.rip, features: Features::ALL };
        let (op, i) = decode(bytes, &cx, 0).expect("whole instruction");
        assert!(i.is_invalid() || i.len() == bytes.len(), "{i:?}");
        cpu.begin_block();
        match (op.handler)(cpu, &mut self.bus, &op) {
            Ok(()) => {
                cpu.rip = cpu.next.take().unwrap_or(cpu.next_rip(&op));
                Ok(())
            }
            Err(_) => Err(cpu.abort),
        }
    }
    fn ok(&mut self, bytes: &[u8]) -> &mut Self {
        assert_eq!(self.exec(bytes), Ok(()));
        self
    }
    fn read<const N: usize>(&self, at: u64) -> [u8; N] {
        let mut b = [0; N];
        assert!(self.bus.ram.read(at, &mut b));
        b
    }
    fn write(&mut self, at: u64, b: &[u8]) {
        assert!(self.bus.ram.write(at, b));
    }
    fn set(&mut self, reg: u8, v: u64) -> &mut Self {
        self.cpu.set_r64(reg, v);
        self
    }
    fn get(&self, reg: u8) -> u64 {
        self.cpu.r64(reg)
    }
    fn flag(&self, f: u64) -> bool {
        self.cpu.rflags() & f != 0
    }
}

#[test]
fn decimal_adjustment() {
    let mut m = Machine::real();
    m.set(AX, 0x35 + 0x48).ok(&[0x27]); // DAA
    assert_eq!((m.get(AX), m.flag(CF), m.flag(AF)), (0x83, false, true));
    m.cpu.lazy.set(CF);
    m.set(AX, 0x10).ok(&[0x27]);
    assert_eq!((m.get(AX), m.flag(CF)), (0x70, true));
    m.set(AX, 0x35).ok(&[0x2C, 0x47]).ok(&[0x2F]); // DAS
    assert_eq!((m.get(AX), m.flag(CF), m.flag(AF)), (0x88, true, true));
    m.cpu.lazy.set(0);
    m.set(AX, 0x020F).ok(&[0x37]); // AAA
    assert_eq!((m.get(AX), m.flag(CF), m.flag(AF)), (0x0305, true, true));
    m.set(AX, 0x02F9);
    m.cpu.lazy.set(AF);
    m.ok(&[0x3F]); // AAS
    assert_eq!((m.get(AX), m.flag(CF)), (0x0103, true));
    m.set(AX, 63).ok(&[0xD4, 10]); // AAM
    assert_eq!(m.get(AX), 0x0603);
    m.ok(&[0xD5, 10]); // AAD
    assert_eq!((m.get(AX), m.flag(ZF), m.flag(PF)), (63, false, true));
    assert!(matches!(m.exec(&[0xD4, 0]), Err(AbortKind::Exception(Exception { vector: vector::DE, .. }))));
}

#[test]
fn daa_and_das_are_exact_decimal_arithmetic() {
    let bcd = |n: u64| ((n / 10) << 4) | (n % 10);
    let mut m = Machine::real();
    for a in 0..100 {
        for b in 0..100 {
            m.set(AX, bcd(a)).set(CX, bcd(b)).ok(&[0x00, 0xC8]).ok(&[0x27]);
            assert_eq!((m.get(AX), m.flag(CF)), (bcd((a + b) % 100), a + b > 99), "{a} + {b}");
            m.set(AX, bcd(a)).ok(&[0x28, 0xC8]).ok(&[0x2F]);
            assert_eq!((m.get(AX), m.flag(CF)), (bcd((a + 100 - b) % 100), a < b), "{a} - {b}");
        }
    }
}

#[test]
fn stack_forms_of_16_and_32_bits() {
    let mut m = Machine::real();
    for r in 0..8 {
        m.set(r, 0xAAAA_0000 + 0x100 * u64::from(r));
    }
    m.set(SP, 0x8000).ok(&[0x60]); // PUSHA
    assert_eq!(m.get(SP), 0x7FF0);
    assert_eq!(m.read::<4>(0x30000 + 0x7FF0), [0, 7, 0, 6]);
    assert_eq!(m.read::<2>(0x30000 + 0x7FF6), [0, 0x80], "SP of before");
    for r in 0..8 {
        if r != SP {
            m.set(r, 0xBBBB_CCCC);
        }
    }
    m.ok(&[0x61]); // POPA
    assert_eq!((m.get(SP), m.get(DI), m.get(AX)), (0x8000, 0xBBBB_0700, 0xBBBB_0000));
    m.ok(&[0x66, 0x68, 1, 2, 3, 4]); // PUSHD
    assert_eq!((m.get(SP), m.read::<4>(0x37FFC)), (0x7FFC, [1, 2, 3, 4]));
    m.set(SP, 0).ok(&[0x6A, 0xFF]); // wraps inside the segment
    assert_eq!((m.get(SP), m.read::<2>(0x3FFFE)), (0xFFFE, [0xFF, 0xFF]));
    m.set(SP, 0x8000).set(BP, 0x1234).ok(&[0xC8, 0x10, 0, 0]); // ENTER 16, 0
    assert_eq!((m.get(BP), m.get(SP)), (0x7FFE, 0x7FEE));
    m.ok(&[0xC9]);
    assert_eq!((m.get(BP), m.get(SP)), (0x1234, 0x8000));
    let mut m = Machine::flat();
    m.write(0x9000 - 4, &0x1111u32.to_le_bytes());
    m.set(BP, 0x9000).ok(&[0xC8, 8, 0, 2]); // ENTER 8, 2
    assert_eq!((m.get(BP), m.get(SP)), (0x7FFC, 0x8000 - 12 - 8));
    assert_eq!(m.read::<12>(0x7FF4), [0xFC, 0x7F, 0, 0, 0x11, 0x11, 0, 0, 0, 0x90, 0, 0]);
}

#[test]
fn near_branches_of_16_bits() {
    let mut m = Machine::real();
    m.cpu.rip = 0x10;
    m.ok(&[0xE9, 0, 0x80]); // JMP -0x8000: wraps
    assert_eq!(m.cpu.rip, 0x8013);
    m.ok(&[0xE8, 0x10, 0]);
    assert_eq!((m.cpu.rip, m.read::<2>(0x37FFE)), (0x8026, [0x16, 0x80]));
    m.ok(&[0xC2, 4, 0]);
    assert_eq!((m.cpu.rip, m.get(SP)), (0x8016, 0x8004));
    m.set(CX, 0x1_0001).ok(&[0xE2, 0x10]); // LOOP counts CX
    assert_eq!((m.cpu.rip, m.get(CX)), (0x8018, 0x1_0000));
    m.ok(&[0xE3, 0x10]);
    assert_eq!(m.cpu.rip, 0x802A);
    m.ok(&[0x67, 0xE3, 0x10]); // JECXZ
    assert_eq!(m.cpu.rip, 0x802D);
    m.set(BX, 0x1_1234).ok(&[0xFF, 0xE3]);
    assert_eq!(m.cpu.rip, 0x1234);
    assert_eq!(m.exec(&[0x66, 0xE9, 0, 0, 1, 0]), Err(GP), "past the limit of CS");
    assert_eq!((m.cpu.rip, m.get(CX)), (0x1234, 0x1_0000));
}

#[test]
fn branches_to_non_canonical_addresses_fault() {
    let mut m = Machine::long();
    m.set(AX, 1 << 47);
    assert_eq!(m.exec(&[0xFF, 0xE0]), Err(GP));
    assert_eq!(m.exec(&[0xFF, 0xD0]), Err(GP));
    assert_eq!(m.get(SP), 0x8000);
}

#[test]
fn locks_are_refused_where_they_make_no_sense() {
    let mut m = Machine::long();
    m.set(BX, 0x2000);
    assert_eq!(m.exec(&[0xF0, 0x01, 0xC3]), Err(UD), "register destination");
    assert_eq!(m.exec(&[0xF0, 0x8B, 0x03]), Err(UD), "MOV");
    assert_eq!(m.exec(&[0xF0, 0x39, 0x03]), Err(UD), "CMP");
    m.set(AX, 5).ok(&[0xF0, 0x01, 0x03]);
    assert_eq!(m.read::<1>(0x2000), [5]);
}

#[test]
fn strings_use_their_segments_and_wrap() {
    let mut m = Machine::real();
    m.write(0x1FFFE, &[1, 2]);
    m.write(0x10000, &[3, 4]);
    m.set(SI, 0xAAAA_FFFE).set(DI, 0xBBBB_FFFF).set(CX, 0xCCCC_0004).ok(&[0xF3, 0xA4]);
    assert_eq!((m.read::<1>(0x2FFFF), m.read::<3>(0x20000)), ([1], [2, 3, 4]));
    assert_eq!((m.get(SI), m.get(DI), m.get(CX)), (0xAAAA_0002, 0xBBBB_0003, 0xCCCC_0000));
    m.write(0x100, &[9]);
    m.set(SI, 0x100).ok(&[0x2E, 0xAC]); // LODSB CS:
    assert_eq!(m.get(AX) & 0xFF, 9);
    m.cpu.sysflags |= DF;
    m.set(AX, 0x7788).set(DI, 0x0202).set(CX, 2).ok(&[0xF3, 0xAB]);
    assert_eq!((m.read::<4>(0x20200), m.get(DI)), ([0x88, 0x77, 0x88, 0x77], 0x01FE));
}

#[test]
fn long_strings_in_bulk_and_their_interruption() {
    let mut m = Machine::flat();
    let data: Vec<u8> = (0..9000u32).map(|n| (n % 251) as u8).collect();
    m.write(0x20003, &data);
    m.set(SI, 0x20003).set(DI, 0x30801).set(CX, 9000).ok(&[0xF3, 0xA4]);
    assert_eq!(m.read::<9000>(0x30801).to_vec(), data);
    assert_eq!((m.get(SI), m.get(DI), m.get(CX)), (0x20003 + 9000, 0x30801 + 9000, 0));
    m.set(AX, 0x0403_0201).set(DI, 0x40001).set(CX, 3000).ok(&[0xF3, 0xAB]);
    assert_eq!(m.read::<8>(0x40001 + 11992), [1, 2, 3, 4, 1, 2, 3, 4]);
    assert_eq!(m.read::<1>(0x40001 + 12000), [0]);
    m.cpu.attention.store(1, Ordering::Relaxed);
    m.set(DI, 0x50000).set(CX, 0x4000);
    assert_eq!(m.exec(&[0xF3, 0xAA]), Err(AbortKind::Retry));
    assert_eq!((m.get(CX), m.get(DI)), (0x3000, 0x51000), "a page, then asks");
    // Repeats what was copied when the target is just above the source.
    m.cpu.attention.store(0, Ordering::Relaxed);
    m.write(0x60000, &[7, 8]);
    m.set(SI, 0x60000).set(DI, 0x60002).set(CX, 100).ok(&[0xF3, 0xA4]);
    assert_eq!(m.read::<4>(0x60000 + 98), [7, 8, 7, 8]);
}

#[test]
fn a_string_that_leaves_keeps_its_progress() {
    let mut m = Machine::flat();
    m.set(DI, 0xF_FFF0).set(CX, 0x20);
    assert!(matches!(m.exec(&[0xF3, 0xAA]), Err(AbortKind::Memory { gpa: 0x10_0000, access: Access::Write, .. })));
    assert_eq!((m.get(CX), m.get(DI)), (0x10, 0x10_0000));
    let flags = m.cpu.rflags();
    m.set(SI, 0xF_FFF8).set(DI, 0x2000).set(CX, 0x20);
    m.write(0x2000, &[0; 8]);
    assert!(matches!(m.exec(&[0xF3, 0xA6]), Err(AbortKind::Memory { .. })));
    assert_eq!((m.get(CX), m.get(SI), m.cpu.rflags()), (0x18, 0x10_0000, flags));
}

#[test]
fn ports_and_their_strings() {
    let mut m = Machine::flat();
    m.set(AX, 0xFFFF_FFFF_FFFF_FFFF).set(DX, 0x1F0).ok(&[0xEC]);
    assert_eq!(m.get(AX), 0xFFFF_FFFF_FFFF_FF01);
    m.ok(&[0xE5, 0x60]); // IN EAX
    assert_eq!(m.get(AX), 0x0504_0302);
    m.set(DI, 0x3000).set(CX, 3).ok(&[0xF3, 0x66, 0x6D]); // REP INSW
    assert_eq!((m.read::<6>(0x3000), m.get(DI)), ([6, 7, 8, 9, 10, 11], 0x3006));
    m.set(SI, 0x3000).set(CX, 5);
    let left = AbortKind::Port { port: 0x1F0, len: 1, write: true, string: true, rep: true };
    assert_eq!(m.exec(&[0xF3, 0x6E]), Err(left)); // REP OUTSB; the bus takes three
    assert_eq!((m.get(CX), m.get(SI)), (2, 0x3003));
    assert_eq!(m.bus.port_writes, [(0x1F0, vec![6]), (0x1F0, vec![7]), (0x1F0, vec![8])]);
    // A store that cannot be made reads nothing from the device.
    m.set(DI, 0xFFFF_FFFF_FFFF_FFFF);
    m.cpu.segs[0].limit = 0xFFF;
    m.cpu.update_mode();
    m.set(DI, 0x1000);
    assert_eq!(m.exec(&[0x6C]), Err(GP));
    assert_eq!(m.bus.port_counter, Some(11));
}

#[test]
fn port_permission() {
    let mut m = Machine::flat();
    m.cpu.cpl = 3;
    m.cpu.update_mode();
    assert_eq!(m.exec(&[0xE4, 0x60]), Err(GP), "no TSS");
    m.cpu.tr = SegReg { selector: 0x20, base: 0x4000, limit: 0x67 + 0x20, attributes: 0x8B };
    m.write(0x4000 + 102, &0x68u16.to_le_bytes());
    m.write(0x4068, &[0xFF; 0x20]);
    m.write(0x4068 + 0x60 / 8, &[0xF0]);
    m.ok(&[0xE4, 0x60]).ok(&[0xE5, 0x60]);
    assert_eq!(m.exec(&[0xE5, 0x61]), Err(GP), "the fourth port is not allowed");
    m.set(DX, 0x100);
    assert_eq!(m.exec(&[0xEC]), Err(GP), "past the TSS");
    m.cpu.sysflags |= IOPL;
    m.ok(&[0xEC]);
}

#[test]
fn bound_and_xlat() {
    let mut m = Machine::real();
    m.write(0x10200, &[0xFE, 0xFF, 5, 0]); // -2 to 5
    m.set(AX, 0xFFFE).ok(&[0x62, 0x06, 0, 2]);
    m.set(AX, 5).ok(&[0x62, 0x06, 0, 2]);
    m.set(AX, 6);
    assert!(matches!(m.exec(&[0x62, 0x06, 0, 2]), Err(AbortKind::Exception(Exception { vector: vector::BR, .. }))));
    m.write(0x10001, &[0x77]);
    m.set(BX, 0xFFFF).set(AX, 0x12_0002).ok(&[0xD7]); // wraps at 64 KiB
    assert_eq!(m.get(AX), 0x12_0077);
}

#[test]
fn direct_stores() {
    let mut m = Machine::long();
    m.set(BX, 0x2000).set(AX, 0x1122_3344_5566_7788).ok(&[0x48, 0x0F, 0x38, 0xF9, 0x03]); // MOVDIRI
    assert_eq!(m.read::<8>(0x2000), 0x1122_3344_5566_7788u64.to_le_bytes());
    m.set(CX, 0x3000).ok(&[0x66, 0x0F, 0x38, 0xF8, 0x0B]); // MOVDIR64B rcx, [rbx]
    assert_eq!(m.read::<64>(0x3000), m.read::<64>(0x2000));
    m.set(CX, 0x3008);
    assert_eq!(m.exec(&[0x66, 0x0F, 0x38, 0xF8, 0x0B]), Err(GP));
}

#[test]
fn failed_stores_change_nothing() {
    let mut m = Machine::long();
    m.set(BX, 0x10_0000).set(AX, 7);
    m.cpu.lazy.set(OF | ZF);
    for code in [
        &[0x01u8, 0x03][..], // ADD
        &[0xFF, 0x03],       // INC
        &[0x0F, 0xC1, 0x03], // XADD
        &[0x87, 0x03],       // XCHG
        &[0xD1, 0x23],       // SHL
        &[0x0F, 0xB1, 0x03], // CMPXCHG
        &[0x0F, 0xAB, 0x03], // BTS
        &[0x8F, 0x03],       // POP
        &[0x0F, 0xC7, 0x0B], // CMPXCHG8B
    ] {
        assert!(matches!(m.exec(code), Err(AbortKind::Memory { .. })), "{code:x?}");
        assert_eq!((m.get(AX), m.get(SP), m.cpu.lazy.get()), (7, 0x8000, OF | ZF), "{code:x?}");
    }
}

#[test]
fn vex_instructions_need_protected_mode() {
    let andn = [0xC4, 0xE2, 0x78, 0xF2, 0xC1];
    assert_eq!(Machine::real().exec(&andn), Err(UD));
    let mut m = Machine::flat();
    m.set(AX, 0x0F).set(CX, 0xFF).ok(&andn);
    assert_eq!(m.get(AX), 0xF0);
}
