//! What the differential test cannot show: availability, delivered exceptions, suppressed faults, images in memory, how
//! MMX and x87 share registers (Intel SDM volume 1, chapters 8 to 13; volume 3, 2.5 and 13).
#![cfg(target_arch = "x86_64")]

#[path = "machine/bus.rs"]
mod bus;

use std::sync::Arc;

use bus::TestBus;
use cpu_x86::decode::decode;
use cpu_x86::fault::{AbortKind, vector};
use cpu_x86::features::Features;
use cpu_x86::fpu::{self, Fpu};
use cpu_x86::model::CpuModel;
use cpu_x86::op::DecodeCx;
use cpu_x86::state::cr::*;
use cpu_x86::{Cpu, Mode};
use iced_x86::CpuidFeature;

/// 8 KiB of RAM at 0x1000, then nothing.
const BASE: u64 = 0x1000;
const END: u64 = BASE + 0x2000;

struct Machine {
    cpu: Cpu,
    bus: TestBus,
}

const MODE64: u32 = Mode::CODE64 | Mode::LONG | Mode::PROTECTED;
const MODE32: u32 = Mode::CODE32 | Mode::PROTECTED | Mode::FLAT;

impl Machine {
    fn new() -> Self {
        let mut cpu = Cpu::new(Arc::new(CpuModel::default()));
        cpu.mode = Mode(MODE64);
        cpu.cr0 = CR0_PE | CR0_NE | CR0_MP;
        cpu.cr4 = CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE;
        cpu.xcr0 = fpu::supported_xcr0() & 0xE7;
        cpu.regs[6] = BASE;
        for s in &mut cpu.segs {
            s.limit = u32::MAX;
            s.attributes = 0xC093;
        }
        Self { cpu, bus: TestBus::only(BASE, END - BASE) }
    }

    /// The vector of the exception, 255 for an exit.
    fn run(&mut self, bytes: &[u8]) -> Option<u8> {
        let cx = DecodeCx { mode: self.cpu.mode, rip: 0x4_0000, features: Features::ALL };
        let (op, i) = decode(bytes, &cx, 0).expect("whole instruction");
        assert_eq!(i.len(), bytes.len(), "{i:?}");
        self.cpu.rip = 0x4_0000;
        self.cpu.begin_block();
        match ((op.handler)(&mut self.cpu, &mut self.bus, &op), self.cpu.abort) {
            (Ok(()), _) => None,
            (Err(_), AbortKind::Exception(e)) => Some(e.vector),
            (Err(_), _) => Some(255),
        }
    }

    fn put(&mut self, at: u64, bytes: &[u8]) {
        assert!(self.bus.ram.write(at - BASE, bytes));
    }
    fn get(&mut self, at: u64, n: usize) -> Vec<u8> {
        let mut b = vec![0; n];
        assert!(self.bus.ram.read(at - BASE, &mut b));
        b
    }
    fn xmm_f32(&mut self, n: usize, v: [f32; 4]) {
        for (slot, x) in self.cpu.fpu.zmm[n].chunks_exact_mut(4).zip(v) {
            slot.copy_from_slice(&x.to_le_bytes());
        }
    }
    fn xmm_f64(&mut self, n: usize, v: f64) {
        self.cpu.fpu.zmm[n][..8].copy_from_slice(&v.to_le_bytes());
    }
}

const DIVPS_0_1: [u8; 3] = [0x0F, 0x5E, 0xC1];
const FLD1: [u8; 2] = [0xD9, 0xE8];
const FLDZ: [u8; 2] = [0xD9, 0xEE];
const FDIVP: [u8; 2] = [0xDE, 0xF9];

#[test]
fn unmasked_simd_exceptions() {
    let mut m = Machine::new();
    m.xmm_f32(0, [1.0, 2.0, 3.0, 4.0]);
    m.xmm_f32(1, [0.0, 1.0, 3.0, 1.0]);
    m.cpu.fpu.mxcsr = 0x1F80 & !(1 << 9); // ZM clear
    let before = m.cpu.fpu.zmm[0];
    assert_eq!(m.run(&DIVPS_0_1), Some(vector::XM));
    assert_eq!(m.cpu.fpu.zmm[0], before);
    assert_eq!(m.cpu.fpu.mxcsr & 0x3F, 4);
    m.cpu.cr4 &= !CR4_OSXMMEXCPT;
    assert_eq!(m.run(&DIVPS_0_1), Some(vector::UD));
    m.cpu.fpu.mxcsr = 0x1F80;
    assert_eq!(m.run(&DIVPS_0_1), None);
    assert_eq!(m.cpu.fpu.zmm[0][..4], f32::INFINITY.to_le_bytes());
    assert_eq!(m.cpu.fpu.mxcsr, 0x1F84);
}

#[test]
fn an_unmasked_denormal_hides_the_inexact_result() {
    let mut m = Machine::new();
    m.xmm_f64(0, f64::from_bits(1));
    m.xmm_f64(1, 1.0);
    m.cpu.fpu.mxcsr = 0x1F80 & !(1 << 8);
    assert_eq!(m.run(&[0xF2, 0x0F, 0x58, 0xC1]), Some(vector::XM)); // addsd xmm0, xmm1
    assert_eq!(m.cpu.fpu.mxcsr & 0x3F, 2);
}

#[test]
fn an_exact_tiny_result_faults_when_underflow_is_unmasked() {
    let mulsd = [0xF2, 0x0F, 0x59, 0xC1];
    let mut m = Machine::new();
    m.xmm_f64(0, f64::MIN_POSITIVE);
    m.xmm_f64(1, 0.5);
    assert_eq!(m.run(&mulsd), None);
    assert_eq!(m.cpu.fpu.mxcsr & 0x3F, 0, "masked: exact is not flagged");
    m.xmm_f64(0, f64::MIN_POSITIVE);
    m.cpu.fpu.mxcsr = 0x1F80 & !(1 << 11);
    assert_eq!(m.run(&mulsd), Some(vector::XM));
    assert_eq!(m.cpu.fpu.mxcsr & 0x3F, 0x10);
    assert_eq!(m.cpu.fpu.zmm[0][..8], f64::MIN_POSITIVE.to_le_bytes());
    m.xmm_f64(0, 3.0);
    assert_eq!(m.run(&mulsd), None);
    assert_eq!(m.cpu.fpu.zmm[0][..8], 1.5f64.to_le_bytes());
}

#[test]
fn availability() {
    let (x87, wait, mmx, sse): (&[u8], &[u8], &[u8], &[u8]) =
        (&FLD1, &[0x9B], &[0x0F, 0xEF, 0xC0], &[0x0F, 0x57, 0xC0]);
    let avx: &[u8] = &[0xC5, 0xF8, 0x57, 0xC0]; // vxorps xmm0, xmm0, xmm0
    let nm = Some(vector::NM);
    let ud = Some(vector::UD);
    let mut m = Machine::new();
    m.cpu.mode = Mode(MODE64 | Mode::FPU_CHECK);
    m.cpu.cr0 |= CR0_TS;
    for code in [x87, wait, mmx, sse, avx] {
        assert_eq!(m.run(code), nm, "{code:x?}");
    }
    m.cpu.cr0 &= !CR0_MP;
    assert_eq!(m.run(wait), None);
    m.cpu.cr0 = CR0_PE | CR0_EM;
    assert_eq!([m.run(x87), m.run(mmx), m.run(sse)], [nm, ud, ud]);
    m.cpu.cr0 = CR0_PE;
    m.cpu.cr4 = 0;
    assert_eq!([m.run(x87), m.run(mmx), m.run(sse), m.run(avx)], [None, None, ud, ud]);
    if !cpu_x86::simd::supports(CpuidFeature::AVX) {
        return;
    }
    m.cpu.cr4 = CR4_OSFXSR | CR4_OSXSAVE;
    m.cpu.xcr0 = 3;
    assert_eq!(m.run(avx), ud);
    m.cpu.xcr0 = 7;
    assert_eq!(m.run(avx), None);
    m.cpu.mode = Mode(Mode::CODE32); // real mode
    assert_eq!(m.run(avx), ud);
}

#[test]
fn x87_exceptions_wait_for_the_next_instruction() {
    let mut m = Machine::new();
    m.cpu.fpu.fcw = 0x37F & !4; // ZM clear
    assert_eq!([m.run(&FLD1), m.run(&FLDZ)], [None, None]);
    let before = m.cpu.fpu.st;
    assert_eq!(m.run(&FDIVP), None, "the faulting instruction itself goes on");
    assert_eq!(m.cpu.fpu.st, before, "nothing divided");
    assert_eq!(m.cpu.fpu.top(), 6, "nothing popped");
    assert_eq!(m.cpu.fpu.fsw & 0x80FF, 0x8084, "B, ES and ZE");
    assert_eq!(m.cpu.fpu.fip, 0x4_0000);
    assert_eq!(m.cpu.fpu.fop, 0x6F9);
    for waiting in [&FLD1[..], &[0x9B], &[0x0F, 0xEF, 0xC0], &[0x0F, 0x77]] {
        assert_eq!(m.run(waiting), Some(vector::MF), "{waiting:x?}");
    }
    assert_eq!(m.run(&[0xDF, 0xE0]), None); // fnstsw ax
    assert_eq!(m.cpu.regs[0] as u16, m.cpu.fpu.fsw);
    m.cpu.cr0 &= !CR0_NE;
    assert_eq!(m.run(&FLD1), None);
    assert!(m.cpu.fpu.ferr, "FERR# instead of #MF");
    assert_eq!(m.cpu.fpu.fsw & 0x80FF, 0x8084, "still pending");
    assert_eq!(m.cpu.fpu.fcw, 0x37B);
    assert_eq!(m.run(&[0xDB, 0xE2]), None); // fnclex
    assert_eq!(m.cpu.fpu.fsw & 0x80FF, 0);
}

#[test]
fn an_unmasked_store_does_not_store() {
    let mut m = Machine::new();
    m.run(&FLD1);
    m.cpu.fpu.st[0] = [0xFF; 16]; // a NaN with a fraction an integer cannot hold
    m.cpu.fpu.fcw = 0x37E;
    m.put(BASE, &[0x55; 8]);
    assert_eq!(m.run(&[0xDB, 0x1E]), None); // fistp dword [rsi]
    assert_eq!(m.get(BASE, 4), [0x55; 4]);
    assert_eq!((m.cpu.fpu.fsw & 0x81, m.cpu.fpu.top()), (0x81, 7));
}

#[test]
fn a_device_exit_from_a_store_leaves_the_stack() {
    let mut m = Machine::new();
    m.run(&FLD1);
    let before = m.cpu.fpu.clone();
    m.cpu.regs[6] = END + 0x1000;
    assert_eq!(m.run(&[0xDD, 0x1E]), Some(255)); // fstp qword [rsi]
    assert_eq!(*m.cpu.fpu, *before);
    m.cpu.regs[6] = BASE;
    assert_eq!(m.run(&[0xDD, 0x1E]), None);
    assert_eq!(m.get(BASE, 8), 1.0f64.to_le_bytes());
    assert_eq!((m.cpu.fpu.top(), m.cpu.fpu.ftw), (0, 0));
}

#[test]
fn mmx_and_x87_share_registers() {
    let mut m = Machine::new();
    m.run(&FLD1); // physical register 7
    m.cpu.regs[0] = 0x1122_3344_5566_7788;
    assert_eq!(m.run(&[0x48, 0x0F, 0x6E, 0xD0]), None); // movq mm2, rax
    assert_eq!((m.cpu.fpu.top(), m.cpu.fpu.ftw), (0, 0xFF));
    assert_eq!(m.cpu.fpu.st[2][..10], [0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 0xFF, 0xFF]);
    assert_eq!(m.cpu.fpu.st[7][7..10], [0x80, 0xFF, 0x3F], "1.0 is still in physical register 7");
    assert_eq!(m.run(&[0x0F, 0x77]), None); // emms
    assert_eq!(m.cpu.fpu.ftw, 0);
}

#[test]
fn masked_elements_do_not_fault() {
    let mut m = Machine::new();
    m.put(END - 16, &[7; 16]);
    m.cpu.regs[6] = END - 16;
    if cpu_x86::simd::supports(CpuidFeature::AVX512F) {
        let load = [0x62, 0xF1, 0x7E, 0x49, 0x6F, 0x0E]; // vmovdqu32 zmm1{k1}, [rsi]
        m.cpu.fpu.k[1] = 0xF;
        assert_eq!(m.run(&load), None);
        assert_eq!(m.cpu.fpu.zmm[1][..16], [7; 16]);
        m.cpu.fpu.k[1] = 0x1F;
        assert_eq!(m.run(&load), Some(255));
        let store = [0x62, 0xF1, 0x7E, 0x49, 0x7F, 0x06]; // vmovdqu32 [rsi]{k1}, zmm0
        assert_eq!(m.run(&store), Some(255));
        m.put(END - 16, &[7; 16]);
        m.cpu.fpu.k[1] = 0xA;
        assert_eq!(m.run(&store), None);
        assert_eq!(m.get(END - 16, 16), [7, 7, 7, 7, 0, 0, 0, 0, 7, 7, 7, 7, 0, 0, 0, 0]);
    }
    if cpu_x86::simd::supports(CpuidFeature::AVX) {
        let store = [0xC4, 0xE2, 0x75, 0x2E, 0x16]; // vmaskmovps [rsi], ymm1, ymm2
        m.cpu.fpu.zmm[1] = [0; 64];
        m.cpu.fpu.zmm[2] = [9; 64];
        m.cpu.fpu.zmm[1][3] = 0x80;
        assert_eq!(m.run(&store), None);
        assert_eq!(m.get(END - 16, 5), [9, 9, 9, 9, 0]);
        m.cpu.fpu.zmm[1][31] = 0x80;
        assert_eq!(m.run(&store), Some(255));
    }
}

#[test]
fn a_gather_that_faults_can_be_resumed() {
    if !cpu_x86::simd::supports(CpuidFeature::AVX2) {
        return;
    }
    let mut m = Machine::new();
    m.put(BASE, &[1, 0, 0, 0, 2, 0, 0, 0]);
    m.cpu.fpu.zmm[1][..16].copy_from_slice(&[0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 1, 0, 4, 0, 0, 0]); // third: outside
    m.cpu.fpu.zmm[2][..16].fill(0xFF);
    let gather = [0xC4, 0xE2, 0x69, 0x90, 0x04, 0x0E]; // vpgatherdd xmm0, [rsi+xmm1], xmm2
    assert_eq!(m.run(&gather), Some(255));
    assert_eq!(m.cpu.fpu.zmm[0][..8], [1, 0, 0, 0, 2, 0, 0, 0]);
    assert_eq!(m.cpu.fpu.zmm[2][..16], [0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255]);
    m.cpu.fpu.zmm[1][8..12].fill(0);
    assert_eq!(m.run(&gather), None);
    assert_eq!(m.cpu.fpu.zmm[0][..16], [1, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0]);
    assert_eq!(m.cpu.fpu.zmm[2], [0; 64]);
}

#[test]
fn fxsave_image() {
    let mut m = Machine::new();
    m.run(&FLD1);
    m.cpu.fpu.zmm[9][..16].fill(0x99);
    m.put(BASE, &[0xEE; 512]);
    assert_eq!(m.run(&[0x0F, 0xAE, 0x06]), None); // fxsave [rsi]
    let b = m.get(BASE, 512);
    assert_eq!(b[0..8], [0x7F, 0x03, 0x00, 0x38, 0x80, 0x00, 0xE8, 0x01]);
    assert_eq!(b[8..12], 0x4_0000u32.to_le_bytes());
    assert_eq!(b[24..32], [0x80, 0x1F, 0, 0, 0xFF, 0xFF, 0, 0]);
    assert_eq!(b[32..42], [0, 0, 0, 0, 0, 0, 0, 0x80, 0xFF, 0x3F]);
    assert_eq!(b[160 + 9 * 16..160 + 10 * 16], [0x99; 16]);
    assert_eq!(b[416..], [0xEE; 96], "not written");
    let saved = m.cpu.fpu.clone();
    *m.cpu.fpu = Fpu::default();
    m.cpu.mode = Mode(MODE32);
    assert_eq!(m.run(&[0x0F, 0xAE, 0x0E]), None); // fxrstor [esi]
    assert_eq!(m.cpu.fpu.zmm[9], [0; 64], "there is no XMM9 in 32-bit code");
    m.cpu.mode = Mode(MODE64);
    assert_eq!(m.run(&[0x0F, 0xAE, 0x0E]), None);
    assert_eq!(*m.cpu.fpu, *saved);
    m.put(BASE + 24, &[0, 0, 1, 0]);
    assert_eq!(m.run(&[0x0F, 0xAE, 0x0E]), Some(vector::GP), "reserved MXCSR bits");
    m.cpu.regs[6] += 8;
    assert_eq!(m.run(&[0x0F, 0xAE, 0x06]), Some(vector::GP), "alignment");
}

#[test]
fn environments_in_all_formats() {
    for (mode, prefix) in [(MODE32, &[][..]), (MODE32, &[0x66]), (Mode::CODE32, &[]), (0, &[])] {
        let mut m = Machine::new();
        m.run(&FLD1);
        m.run(&FLDZ);
        (m.cpu.fpu.fcs, m.cpu.fpu.fds) = (0, 0);
        m.cpu.fpu.fdp = 0x5678;
        let before = m.cpu.fpu.clone();
        m.cpu.mode = Mode(mode);
        m.cpu.regs[3] = BASE;
        m.cpu.regs[7] = 0;
        let modrm = |reg: u8| if mode == 0 { 0x01 | reg << 3 } else { 0x03 | reg << 3 }; // [bx+di] or [ebx]
        let code = |op: u8, reg: u8| [prefix, &[op, modrm(reg)]].concat();
        assert_eq!(m.run(&code(0xDD, 6)), None); // fnsave
        assert_eq!((m.cpu.fpu.fcw, m.cpu.fpu.fsw, m.cpu.fpu.ftw), (0x37F, 0, 0));
        let image = m.get(BASE, 28);
        let wide = mode & Mode::CODE32 != 0 && prefix.is_empty();
        let at = |n: usize| if wide { 4 * n } else { 2 * n };
        let word = |n: usize| u16::from_le_bytes([image[at(n)], image[at(n) + 1]]);
        assert_eq!([word(0), word(1), word(2)], [0x37F, 0x3000, 0x1FFF]);
        assert_eq!(word(5), 0x5678);
        assert_eq!(m.run(&code(0xDD, 4)), None); // frstor
        let mut after = m.cpu.fpu.clone();
        (after.fip, after.fop) = (before.fip, before.fop); // 16-bit forms hold less
        assert_eq!(*after, *before, "mode {mode:#x} {prefix:x?}");
        m.cpu.fpu.fcw = 0x340;
        assert_eq!(m.run(&code(0xD9, 6)), None); // fnstenv
        assert_eq!(m.cpu.fpu.fcw, 0x37F, "FNSTENV masks everything");
    }
}

#[test]
fn xsave_and_xrstor() {
    let mut m = Machine::new();
    if m.cpu.xcr0 & 4 == 0 {
        return;
    }
    m.run(&FLD1);
    m.cpu.xcr0 = 7;
    m.cpu.fpu.zmm[3][..32].fill(0x33);
    m.put(BASE, &[0xEE; 4096]);
    m.put(BASE + 512, &[0; 64]);
    m.put(BASE + 512, &0x80u64.to_le_bytes()); // bits outside the request stay
    (m.cpu.regs[0], m.cpu.regs[2]) = (6, 0);
    assert_eq!(m.run(&[0x48, 0x0F, 0xAE, 0x26]), None); // xsave64 [rsi]
    assert_eq!(m.get(BASE, 24), [0xEE; 24], "x87 was not asked for");
    assert_eq!(m.get(BASE + 160 + 48, 16), [0x33; 16]);
    assert_eq!(m.get(BASE + 512, 16), [0x86, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let at = u64::from(fpu::components()[2].offset) + 48;
    assert_eq!(m.get(BASE + at, 16), [0x33; 16]);

    m.put(BASE + 512, &[2, 0]); // SSE only: AVX becomes initial
    (m.cpu.regs[0], m.cpu.regs[2]) = (7, 0);
    m.cpu.fpu.zmm[3].fill(0);
    m.cpu.fpu.zmm[4][16..32].fill(4);
    assert_eq!(m.run(&[0x48, 0x0F, 0xAE, 0x2E]), None); // xrstor64 [rsi]
    assert_eq!(m.cpu.fpu.zmm[3][..16], [0x33; 16]);
    assert_eq!(m.cpu.fpu.zmm[4], [0; 64]);
    assert_eq!((m.cpu.fpu.top(), m.cpu.fpu.fcw), (0, 0x37F), "x87 is initial too");
    m.put(BASE + 512, &[8]);
    assert_eq!(m.run(&[0x48, 0x0F, 0xAE, 0x2E]), Some(vector::GP), "not in XCR0");
    m.put(BASE + 512, &[2]);
    m.cpu.regs[6] += 16;
    assert_eq!(m.run(&[0x48, 0x0F, 0xAE, 0x26]), Some(vector::GP), "alignment");
    m.cpu.cr4 &= !CR4_OSXSAVE;
    assert_eq!(m.run(&[0x48, 0x0F, 0xAE, 0x26]), Some(vector::UD));
}

#[test]
fn xsavec_xsaves_and_xrstors() {
    let mut m = Machine::new();
    if m.cpu.xcr0 & 4 == 0 {
        return;
    }
    m.cpu.xcr0 = 7;
    m.cpu.fpu.zmm[5][16..32].fill(0x55);
    m.cpu.fpu.mxcsr = 0x1FA0;
    (m.cpu.regs[0], m.cpu.regs[2]) = (7, 0);
    for save in [[0x48, 0x0F, 0xC7, 0x26], [0x48, 0x0F, 0xC7, 0x2E]] {
        m.put(BASE, &[0; 4096]);
        assert_eq!(m.run(&save), None); // xsavec64, xsaves64 [rsi]
        assert_eq!(m.get(BASE + 512, 16), [6, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0x80]);
        assert_eq!(m.get(BASE + 576 + 80, 16), [0x55; 16]);
        let before = m.cpu.fpu.clone();
        *m.cpu.fpu = Fpu::default();
        assert_eq!(m.run(&[0x48, 0x0F, 0xC7, 0x1E]), None); // xrstors64 [rsi]
        assert_eq!(*m.cpu.fpu, *before);
    }
    m.cpu.cpl = 3;
    assert_eq!(m.run(&[0x48, 0x0F, 0xC7, 0x2E]), Some(vector::GP), "XSAVES is privileged");
    m.cpu.cpl = 0;
    m.put(BASE + 527, &[0]);
    assert_eq!(m.run(&[0x48, 0x0F, 0xC7, 0x1E]), Some(vector::GP), "XRSTORS wants the compacted form");
}
