//! The XSAVE area (Intel SDM volume 1, 13.4): made compacted, taken in both formats. x87, SSE, AVX, the AVX-512 parts
//! and PKRU.

use cpu_x86::Cpu;
use cpu_x86::fpu::Fpu;

use super::registers::MXCSR_MASK;

const LEGACY: usize = 512;
const HEADER: usize = 64;
const COMPACTED: u64 = 1 << 63;
/// Component, offset in the standard format, size.
const EXTENDED: [(u32, usize, usize); 5] =
    [(2, 576, 256), (5, 1088, 64), (6, 1152, 512), (7, 1664, 1024), (9, 2688, 8)];

/// The state components the model has.
fn supported(cpu: &Cpu) -> u64 {
    let known = EXTENDED.iter().fold(3, |m, (n, ..)| m | 1 << n);
    cpu.model.leaf(0xD, 0).map_or(3, |r| u64::from(r[0]) | u64::from(r[3]) << 32) & known | 3
}

fn put(area: &mut [u8], at: usize, bytes: &[u8]) {
    area[at..at + bytes.len()].copy_from_slice(bytes);
}

fn take<const N: usize>(area: &[u8], at: usize) -> [u8; N] {
    let mut b = [0; N];
    b.copy_from_slice(&area[at..at + N]);
    b
}

fn component(fpu: &Fpu, n: u32, out: &mut [u8]) {
    match n {
        2 => out.chunks_mut(16).zip(&fpu.zmm).for_each(|(o, z)| o.copy_from_slice(&z[16..32])),
        5 => out.chunks_mut(8).zip(&fpu.k).for_each(|(o, k)| o.copy_from_slice(&k.to_le_bytes())),
        6 => out.chunks_mut(32).zip(&fpu.zmm).for_each(|(o, z)| o.copy_from_slice(&z[32..])),
        7 => out.chunks_mut(64).zip(&fpu.zmm[16..]).for_each(|(o, z)| o.copy_from_slice(z)),
        _ => out[..4].copy_from_slice(&fpu.pkru.to_le_bytes()),
    }
}

/// `None`: the initial configuration.
fn set_component(fpu: &mut Fpu, n: u32, from: Option<&[u8]>) {
    let zero = [0u8; 1024];
    let from = from.unwrap_or(&zero);
    match n {
        2 => from.chunks(16).zip(&mut fpu.zmm).take(16).for_each(|(o, z)| z[16..32].copy_from_slice(o)),
        5 => from.chunks(8).zip(&mut fpu.k).for_each(|(o, k)| *k = u64::from_le_bytes(take(o, 0))),
        6 => from.chunks(32).zip(&mut fpu.zmm).take(16).for_each(|(o, z)| z[32..].copy_from_slice(o)),
        7 => from.chunks(64).zip(&mut fpu.zmm[16..]).for_each(|(o, z)| z.copy_from_slice(o)),
        _ => fpu.pkru = u32::from_le_bytes(take(from, 0)),
    }
}

/// The area in compacted format, every supported component present.
pub(super) fn save(cpu: &Cpu) -> Vec<u8> {
    let components = supported(cpu);
    let mut area = vec![0; LEGACY + HEADER];
    let fpu = &*cpu.fpu;
    put(&mut area, 0, &fpu.fcw.to_le_bytes());
    put(&mut area, 2, &fpu.fsw.to_le_bytes());
    area[4] = fpu.ftw;
    put(&mut area, 6, &fpu.fop.to_le_bytes());
    put(&mut area, 8, &fpu.fip.to_le_bytes());
    put(&mut area, 16, &fpu.fdp.to_le_bytes());
    put(&mut area, 24, &fpu.mxcsr.to_le_bytes());
    put(&mut area, 28, &MXCSR_MASK.to_le_bytes());
    for (i, st) in fpu.st.iter().enumerate() {
        put(&mut area, 32 + 16 * i, &st[..10]);
    }
    for (i, z) in fpu.zmm.iter().take(16).enumerate() {
        put(&mut area, 160 + 16 * i, &z[..16]);
    }
    put(&mut area, LEGACY, &components.to_le_bytes());
    put(&mut area, LEGACY + 8, &(components | COMPACTED).to_le_bytes());
    for (n, _, size) in EXTENDED.iter().filter(|(n, ..)| components >> n & 1 != 0) {
        let at = area.len();
        area.resize(at + size, 0);
        component(fpu, *n, &mut area[at..]);
    }
    area
}

/// Takes an area.
pub(super) fn load(cpu: &mut Cpu, area: &[u8]) -> Result<(), String> {
    if area.len() < LEGACY + HEADER {
        return Err(format!("{} bytes: shorter than legacy area and header", area.len()));
    }
    let (xstate, xcomp) = (u64::from_le_bytes(take(area, LEGACY)), u64::from_le_bytes(take(area, LEGACY + 8)));
    let components = supported(cpu);
    let compacted = xcomp & COMPACTED != 0;
    if xstate & !components != 0 || (compacted && xstate & !xcomp != 0) || (!compacted && xcomp != 0) {
        return Err(format!("XSTATE_BV {xstate:#x}, XCOMP_BV {xcomp:#x}: not possible with {components:#x}"));
    }
    let mxcsr = u32::from_le_bytes(take(area, 24));
    if mxcsr & !MXCSR_MASK != 0 {
        return Err(format!("MXCSR {mxcsr:#x}"));
    }
    let mut fpu = Fpu::default();
    let mut at = LEGACY + HEADER;
    for (n, offset, size) in EXTENDED {
        let from = if compacted { at } else { offset };
        if compacted && xcomp >> n & 1 != 0 {
            at += size;
        }
        if xstate >> n & 1 != 0 {
            let bytes = area.get(from..from + size).ok_or_else(|| format!("component {n} is beyond the area"))?;
            set_component(&mut fpu, n, Some(bytes));
        } else {
            set_component(&mut fpu, n, None);
        }
    }
    if xstate & 1 != 0 {
        legacy(&mut fpu, area);
    }
    if xstate & 2 != 0 {
        for (i, z) in fpu.zmm.iter_mut().take(16).enumerate() {
            z[..16].copy_from_slice(&area[160 + 16 * i..][..16]);
        }
    }
    if xstate & 6 != 0 {
        fpu.mxcsr = mxcsr;
    }
    *cpu.fpu = fpu;
    Ok(())
}

fn legacy(fpu: &mut Fpu, area: &[u8]) {
    fpu.fcw = u16::from_le_bytes(take(area, 0)) | 0x40;
    fpu.fsw = u16::from_le_bytes(take(area, 2));
    fpu.ftw = area[4];
    fpu.fop = u16::from_le_bytes(take(area, 6)) & 0x7FF;
    fpu.fip = u64::from_le_bytes(take(area, 8));
    fpu.fdp = u64::from_le_bytes(take(area, 16));
    for (i, st) in fpu.st.iter_mut().enumerate() {
        st[..10].copy_from_slice(&area[32 + 16 * i..][..10]);
    }
}
