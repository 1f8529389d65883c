//! The x87, MMX, SSE, AVX and AVX-512 register state, and its images in memory: the FXSAVE area and the XSAVE area
//! in standard and compacted form (Intel SDM volume 1, chapters 8, 10.5 and 13).
//!
//! The layout of the XSAVE area is the host's (CPUID leaf 0DH): guests that run on the host's unit see what the host
//! has. On purpose left out: supervisor components (XSS is always 0), MPX, AMX, and CET.

use std::sync::OnceLock;

use thiserror::Error;

/// Registers of the x87 and SIMD units.
///
/// From `fcw` on, 512 bytes are laid out as the 64-bit FXSAVE image, so that the unit of the host loads and stores them
/// in place (`crate::simd::native`).
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub struct Fpu {
    /// ZMM0 to ZMM31; XMM and YMM are their lower parts.
    pub zmm: [[u8; 64]; 32],
    /// Mask registers.
    pub k: [u64; 8],
    /// Control word.
    pub fcw: u16,
    /// Status word, TOP included.
    pub fsw: u16,
    /// Abridged tag word: bit i set when physical register i is not empty.
    pub ftw: u8,
    pub(crate) reserved: u8,
    /// Last opcode.
    pub fop: u16,
    /// Last instruction pointer (with its selector, in 32-bit forms).
    pub fip: u64,
    /// Last data pointer.
    pub fdp: u64,
    /// SSE control and status.
    pub mxcsr: u32,
    pub(crate) mxcsr_mask: u32,
    /// ST0 to ST7 (relative to TOP), 80 bits each in 16 bytes; MMX registers are their lower 64 bits by physical number.
    pub st: [[u8; 16]; 8],
    pub(crate) image_rest: [u8; 352],
    /// What XSAVE writes behind the image.
    pub(crate) image_header: [u64; 8],
    /// Selector of `fip`.
    pub fcs: u16,
    /// Selector of `fdp`.
    pub fds: u16,
    /// Protection-key rights.
    pub pkru: u32,
    /// FERR#: an unmasked x87 exception met a waiting instruction while CR0.NE was clear. The platform raises IRQ 13
    /// and clears it.
    pub ferr: bool,
    /// What handlers and the host's unit tell each other.
    pub(crate) io: UnitIo,
}

/// Words that the code running on the host's unit reads and writes besides registers.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(crate) struct UnitIo {
    /// MXCSR to run with: the guest's control bits, everything masked, no flags.
    pub(crate) run: u32,
    /// MXCSR afterwards.
    pub(crate) out: u32,
    /// Exception flags that keep the destination from being written.
    pub(crate) unmasked: u32,
    /// MXCSR of the host.
    pub(crate) host_mxcsr: u32,
    /// RFLAGS in and out.
    pub(crate) flags: u64,
    /// x87 control word of the host.
    pub(crate) host_fcw: u16,
    /// What an x87 instruction pushed.
    pub(crate) result: [u8; 16],
}

impl Default for Fpu {
    /// The state after INIT and reset as FINIT leaves it (Intel SDM volume 3, table 10-1, for x87 as after FNINIT).
    fn default() -> Self {
        Self {
            zmm: [[0; 64]; 32],
            k: [0; 8],
            st: [[0; 16]; 8],
            fcw: 0x37F,
            fsw: 0,
            ftw: 0,
            reserved: 0,
            fop: 0,
            fip: 0,
            fcs: 0,
            fdp: 0,
            fds: 0,
            mxcsr: MXCSR_RESET,
            mxcsr_mask: MXCSR_MASK,
            image_rest: [0; 352],
            image_header: [0; 8],
            pkru: 0,
            ferr: false,
            io: UnitIo::default(),
        }
    }
}

impl PartialEq for Fpu {
    /// Architectural state only.
    fn eq(&self, o: &Self) -> bool {
        self.zmm == o.zmm
            && self.k == o.k
            && self.st.iter().zip(&o.st).all(|(a, b)| a[..10] == b[..10])
            && (self.fcw, self.fsw, self.ftw, self.fop) == (o.fcw, o.fsw, o.ftw, o.fop)
            && (self.fip, self.fcs, self.fdp, self.fds) == (o.fip, o.fcs, o.fdp, o.fds)
            && (self.mxcsr, self.pkru, self.ferr) == (o.mxcsr, o.pkru, o.ferr)
    }
}
impl Eq for Fpu {}

/// MXCSR after reset.
pub const MXCSR_RESET: u32 = 0x1F80;
/// The bits of MXCSR that exist (MXCSR_MASK): all but AMD's misaligned mode.
pub const MXCSR_MASK: u32 = 0xFFFF;

/// x87 state.
pub const XCR0_X87: u64 = 1 << 0;
/// XMM registers and MXCSR.
pub const XCR0_SSE: u64 = 1 << 1;
/// Upper halves of YMM0 to YMM15.
pub const XCR0_AVX: u64 = 1 << 2;
/// The three AVX-512 components: masks, upper halves of ZMM0 to ZMM15, ZMM16 to ZMM31.
pub const XCR0_AVX512: u64 = 7 << 5;
/// Protection-key rights.
pub const XCR0_PKRU: u64 = 1 << 9;

/// Bytes before the extended region: legacy region and header.
pub const XSAVE_HEADER_END: usize = 576;
const HEADER: usize = 512;
const COMPACTED: u64 = 1 << 63;

/// One state component of the XSAVE area (CPUID leaf 0DH, subleaves 2 and up).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Component {
    /// Offset in the standard form.
    pub offset: u32,
    /// Bytes; 0 when the component does not exist.
    pub size: u32,
    /// Starts on a 64-byte boundary in the compacted form.
    pub align64: bool,
}

/// The components this processor can have, indexed by XCR0 bit; those the host lacks have size 0.
pub fn components() -> &'static [Component; 10] {
    static LAYOUT: OnceLock<[Component; 10]> = OnceLock::new();
    LAYOUT.get_or_init(|| {
        let mut all = [Component::default(); 10];
        for (i, c) in all.iter_mut().enumerate().skip(2) {
            if matches!(i, 2 | 5 | 6 | 7 | 9) {
                *c = crate::simd::unit::xsave_component(i as u32);
            }
        }
        all
    })
}

/// The XCR0 bits a guest can be given on this host.
pub fn supported_xcr0() -> u64 {
    let host = crate::simd::unit::xcr0();
    let mut bits = XCR0_X87 | XCR0_SSE;
    if host & XCR0_AVX != 0 {
        bits |= XCR0_AVX;
        if host & XCR0_AVX512 == XCR0_AVX512 {
            bits |= XCR0_AVX512;
        }
    }
    if components()[9].size == 4 || components()[9].size == 8 {
        bits |= XCR0_PKRU;
    }
    bits
}

/// Whether XSETBV may set XCR0 to `value`, for a processor with the bits of `supported` (Intel SDM volume 1, 13.3).
pub fn xcr0_valid(value: u64, supported: u64) -> bool {
    let avx512 = value & XCR0_AVX512;
    value & XCR0_X87 != 0
        && value & !supported == 0
        && (value & XCR0_AVX == 0 || value & XCR0_SSE != 0)
        && (avx512 == 0 || (avx512 == XCR0_AVX512 && value & XCR0_AVX != 0))
}

/// Size of the XSAVE area for the components of `features`: CPUID leaf 0DH, EBX of subleaf 0 or (compacted) 1.
pub fn xsave_size(features: u64, compacted: bool) -> usize {
    (2..10).filter(|i| features >> i & 1 != 0).fold(XSAVE_HEADER_END, |end, i| {
        let c = components()[i];
        if compacted {
            place(end, c) + c.size as usize
        } else if c.size == 0 {
            end
        } else {
            end.max((c.offset + c.size) as usize)
        }
    })
}

fn place(end: usize, c: Component) -> usize {
    if c.align64 { end.next_multiple_of(64) } else { end }
}

/// Where each component of `features` is in an area: pairs of component number and offset.
pub(crate) fn offsets(features: u64, compacted: bool) -> impl Iterator<Item = (usize, usize)> {
    let mut end = XSAVE_HEADER_END;
    (2..10usize).filter(move |i| features >> i & 1 != 0 && components()[*i].size != 0).map(move |i| {
        let c = components()[i];
        let at = if compacted { place(end, c) } else { c.offset as usize };
        end = at + c.size as usize;
        (i, at)
    })
}

/// An image that XRSTOR would refuse with #GP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ImageError {
    /// Fewer bytes than the components need.
    #[error("XSAVE area of {got} bytes is shorter than the {need} its components need")]
    Short {
        /// Bytes given.
        got: usize,
        /// Bytes needed.
        need: usize,
    },
    /// XSTATE_BV or XCOMP_BV name components that are not enabled, or reserved header bytes are not zero.
    #[error("XSAVE header is not valid: XSTATE_BV {xstate_bv:#x}, XCOMP_BV {xcomp_bv:#x}, XCR0 {xcr0:#x}")]
    Header {
        /// As found.
        xstate_bv: u64,
        /// As found.
        xcomp_bv: u64,
        /// Enabled components.
        xcr0: u64,
    },
    /// Reserved bits of MXCSR are set.
    #[error("MXCSR {0:#x} has reserved bits set")]
    Mxcsr(u32),
}

fn u64_at(b: &[u8], at: usize) -> u64 {
    b.get(at..at + 8).and_then(|s| s.try_into().ok()).map_or(0, u64::from_le_bytes)
}
fn u32_at(b: &[u8], at: usize) -> u32 {
    u64_at(b, at) as u32
}
fn u16_at(b: &[u8], at: usize) -> u16 {
    u64_at(b, at) as u16
}

/// The header of an XSAVE area, checked as XRSTOR does.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Header {
    pub(crate) xstate_bv: u64,
    pub(crate) xcomp_bv: u64,
}

impl Header {
    /// From the 64 bytes at offset 512. `compacted_allowed`: XSAVEC exists; `compacted_required`: XRSTORS.
    pub(crate) fn parse(b: &[u8], xcr0: u64, compacted_required: bool) -> Result<Self, ImageError> {
        let h = Self { xstate_bv: u64_at(b, 0), xcomp_bv: u64_at(b, 8) };
        let reserved_zero = b.iter().skip(16).take(if h.compacted() { 48 } else { 8 }).all(|&x| x == 0);
        let ok = if h.compacted() {
            h.xcomp_bv & !COMPACTED & !xcr0 == 0 && h.xstate_bv & !(h.xcomp_bv & !COMPACTED) == 0
        } else {
            !compacted_required && h.xcomp_bv == 0 && h.xstate_bv & !xcr0 == 0
        };
        if ok && reserved_zero {
            Ok(h)
        } else {
            Err(ImageError::Header { xstate_bv: h.xstate_bv, xcomp_bv: h.xcomp_bv, xcr0 })
        }
    }

    pub(crate) fn compacted(&self) -> bool {
        self.xcomp_bv & COMPACTED != 0
    }

    /// Components the area has room for, which is what their offsets depend on.
    pub(crate) fn layout(&self) -> u64 {
        if self.compacted() { self.xcomp_bv & !COMPACTED } else { u64::MAX }
    }
}

impl Fpu {
    /// TOP.
    #[inline(always)]
    pub fn top(&self) -> usize {
        usize::from(self.fsw >> 11 & 7)
    }

    /// Sets TOP by renaming: the contents of every physical register stay where they are.
    pub fn rotate_to(&mut self, top: usize) {
        let by = (top & 7).wrapping_sub(self.top()) & 7;
        self.st.rotate_left(by);
        self.fsw = self.fsw & !0x3800 | ((top as u16 & 7) << 11);
    }

    /// Unmasked exceptions that are flagged: a waiting instruction would fault.
    #[inline(always)]
    pub fn pending(&self) -> bool {
        self.fsw & !self.fcw & 0x3F != 0
    }

    /// Sets ES and B as the flags and masks say.
    pub fn summarize(&mut self) {
        self.fsw = self.fsw & !0x8080 | if self.pending() { 0x8080 } else { 0 };
    }

    /// FNINIT.
    pub fn init_x87(&mut self) {
        (self.fcw, self.fsw, self.ftw, self.fop) = (0x37F, 0, 0, 0);
        (self.fip, self.fcs, self.fdp, self.fds) = (0, 0, 0, 0);
    }

    /// The full tag word: 00 valid, 01 zero, 10 special, 11 empty, by physical register.
    pub fn full_tags(&self) -> u16 {
        (0..8usize).fold(0, |word, physical| {
            let r = &self.st[physical.wrapping_sub(self.top()) & 7];
            let exponent = u16_at(&r[..], 8) & 0x7FFF;
            let fraction = u64_at(&r[..], 0);
            let tag = if self.ftw >> physical & 1 == 0 {
                3
            } else if exponent == 0 && fraction == 0 {
                1
            } else if exponent == 0 || exponent == 0x7FFF || fraction >> 63 == 0 {
                2
            } else {
                0
            };
            word | tag << (2 * physical)
        })
    }

    /// Takes the full tag word (only emptiness is kept).
    pub fn set_full_tags(&mut self, word: u16) {
        self.ftw = (0..8).fold(0, |t, i| t | if word >> (2 * i) & 3 == 3 { 0 } else { 1 << i });
    }

    /// Components that are not in their initial configuration (XINUSE).
    pub fn in_use(&self) -> u64 {
        let any = |low: usize, high: usize, regs: std::ops::Range<usize>| {
            self.zmm[regs].iter().any(|r| r[low..high].iter().any(|&b| b != 0))
        };
        let x87 = (self.fcw, self.fsw, self.ftw, self.fop) != (0x37F, 0, 0, 0)
            || (self.fip, self.fdp) != (0, 0)
            || (self.fcs, self.fds) != (0, 0)
            || self.st.iter().any(|r| r[..10].iter().any(|&b| b != 0));
        let bit = |on: bool, n: u32| u64::from(on) << n;
        bit(x87, 0)
            | bit(any(0, 16, 0..16), 1)
            | bit(any(16, 32, 0..16), 2)
            | bit(self.k != [0; 8], 5)
            | bit(any(32, 64, 0..16), 6)
            | bit(any(0, 64, 16..32), 7)
            | bit(self.pkru != 0, 9)
    }

    /// The x87 part of the legacy region: bytes 0 to 23 and 32 to 159 (24 to 31 are zero). `wide`: 64-bit pointers.
    pub(crate) fn legacy_x87(&self, wide: bool) -> [u8; 160] {
        let mut b = [0; 160];
        b[0..2].copy_from_slice(&self.fcw.to_le_bytes());
        b[2..4].copy_from_slice(&self.fsw.to_le_bytes());
        b[4] = self.ftw;
        b[6..8].copy_from_slice(&self.fop.to_le_bytes());
        for (at, pointer, selector) in [(8, self.fip, self.fcs), (16, self.fdp, self.fds)] {
            b[at..at + 8].copy_from_slice(&pointer.to_le_bytes());
            if !wide {
                b[at + 4..at + 8].copy_from_slice(&u32::from(selector).to_le_bytes());
            }
        }
        for (i, r) in self.st.iter().enumerate() {
            b[32 + 16 * i..42 + 16 * i].copy_from_slice(&r[..10]);
        }
        b
    }

    /// Takes what [`Fpu::legacy_x87`] gives.
    pub(crate) fn set_legacy_x87(&mut self, b: &[u8; 160], wide: bool) {
        self.fcw = u16_at(b, 0) & 0x1F7F | 0x40;
        self.fsw = u16_at(b, 2);
        self.ftw = b[4];
        self.fop = u16_at(b, 6) & 0x7FF;
        if wide {
            (self.fip, self.fcs, self.fdp, self.fds) = (u64_at(b, 8), 0, u64_at(b, 16), 0);
        } else {
            (self.fip, self.fcs) = (u64::from(u32_at(b, 8)), u16_at(b, 12));
            (self.fdp, self.fds) = (u64::from(u32_at(b, 16)), u16_at(b, 20));
        }
        for (i, r) in self.st.iter_mut().enumerate() {
            r[..10].copy_from_slice(&b[32 + 16 * i..42 + 16 * i]);
        }
        self.summarize();
    }

    /// Component `i` (2 and up) as it is in the area; `regs` is 8 outside 64-bit mode. Returns the bytes to store.
    pub(crate) fn component(&self, i: usize, regs: usize, out: &mut [u8; 1024]) -> usize {
        let put = |out: &mut [u8; 1024], low: usize, high: usize, from: std::ops::Range<usize>| {
            let n = high - low;
            for (slot, r) in out.chunks_exact_mut(n).zip(&self.zmm[from]) {
                slot.copy_from_slice(&r[low..high]);
            }
        };
        match i {
            2 => {
                put(out, 16, 32, 0..regs);
                16 * regs
            }
            5 => {
                for (slot, k) in out.chunks_exact_mut(8).zip(self.k) {
                    slot.copy_from_slice(&k.to_le_bytes());
                }
                64
            }
            6 => {
                put(out, 32, 64, 0..regs);
                32 * regs
            }
            7 if regs == 16 => {
                put(out, 0, 64, 16..32);
                1024
            }
            9 => {
                out[..8].copy_from_slice(&u64::from(self.pkru).to_le_bytes());
                (components()[9].size as usize).min(8)
            }
            _ => 0,
        }
    }

    /// Bytes of component `i` that XRSTOR loads.
    pub(crate) fn component_len(i: usize, regs: usize) -> usize {
        match i {
            2 => 16 * regs,
            5 => 64,
            6 => 32 * regs,
            7 if regs == 16 => 1024,
            9 => (components()[9].size as usize).min(8),
            _ => 0,
        }
    }

    /// Takes component `i` from `data`, or its initial configuration.
    pub(crate) fn set_component(&mut self, i: usize, regs: usize, data: Option<&[u8]>) {
        const ZERO: [u8; 1024] = [0; 1024];
        let data = data.unwrap_or(&ZERO);
        let mut get = |low: usize, high: usize, to: std::ops::Range<usize>| {
            for (slot, r) in data.chunks_exact(high - low).zip(&mut self.zmm[to]) {
                r[low..high].copy_from_slice(slot);
            }
        };
        match i {
            1 => get(0, 16, 0..regs),
            2 => get(16, 32, 0..regs),
            5 => {
                for (k, slot) in self.k.iter_mut().zip(data.chunks_exact(8)) {
                    *k = u64_at(slot, 0);
                }
            }
            6 => get(32, 64, 0..regs),
            7 if regs == 16 => get(0, 64, 16..32),
            9 => self.pkru = u16_at(data, 0).into(),
            _ => {}
        }
        if i == 9 {
            let mut b = [0; 8];
            b[..4].copy_from_slice(&data[..4]);
            self.pkru = u64::from_le_bytes(b) as u32;
        }
    }

    /// The x87 component's initial configuration.
    pub(crate) fn init_component_x87(&mut self) {
        self.init_x87();
        self.st = [[0; 16]; 8];
    }

    /// The XSAVE area of the components in `features` (normally XCR0), as XSAVE64 or XSAVEC64 would store it over
    /// zeros.
    pub fn xsave_area(&self, features: u64, compacted: bool) -> Vec<u8> {
        let mut area = vec![0; xsave_size(features, compacted)];
        let mut in_use = self.in_use() & features;
        if compacted && self.mxcsr != MXCSR_RESET {
            in_use |= features & XCR0_SSE;
        }
        if features & XCR0_X87 != 0 {
            area[..160].copy_from_slice(&self.legacy_x87(true));
        }
        if features & (XCR0_SSE | XCR0_AVX) != 0 {
            area[24..28].copy_from_slice(&self.mxcsr.to_le_bytes());
            area[28..32].copy_from_slice(&MXCSR_MASK.to_le_bytes());
        }
        if features & XCR0_SSE != 0 {
            for (slot, r) in area[160..416].chunks_exact_mut(16).zip(&self.zmm) {
                slot.copy_from_slice(&r[..16]);
            }
        }
        area[HEADER..HEADER + 8].copy_from_slice(&in_use.to_le_bytes());
        if compacted {
            area[HEADER + 8..HEADER + 16].copy_from_slice(&(features | COMPACTED).to_le_bytes());
        }
        let mut part = [0; 1024];
        for (i, at) in offsets(features, compacted) {
            let n = self.component(i, 16, &mut part);
            if let Some(to) = area.get_mut(at..at + n) {
                to.copy_from_slice(&part[..n]);
            }
        }
        area
    }

    /// Loads an XSAVE area of either form, as XRSTOR64 with all of `xcr0` would.
    ///
    /// # Errors
    /// [`ImageError`] where XRSTOR would raise #GP, or the area is too short; nothing has changed then.
    pub fn load_xsave_area(&mut self, area: &[u8], xcr0: u64) -> Result<(), ImageError> {
        let short = |need| ImageError::Short { got: area.len(), need };
        let header = area.get(HEADER..XSAVE_HEADER_END).ok_or(short(XSAVE_HEADER_END))?;
        let header = Header::parse(header, xcr0, false)?;
        let layout = header.layout() & xcr0;
        let need = offsets(layout, header.compacted())
            .filter(|(i, _)| header.xstate_bv >> i & 1 != 0)
            .map(|(i, at)| at + Self::component_len(i, 16))
            .max()
            .unwrap_or(0);
        if area.len() < need {
            return Err(short(need));
        }
        let mxcsr = if header.compacted() && header.xstate_bv & XCR0_SSE == 0 { MXCSR_RESET } else { u32_at(area, 24) };
        if mxcsr & !MXCSR_MASK != 0 {
            return Err(ImageError::Mxcsr(mxcsr));
        }
        if xcr0 & (XCR0_SSE | XCR0_AVX) != 0 {
            self.mxcsr = mxcsr;
        }
        match (header.xstate_bv & XCR0_X87 != 0, area.first_chunk::<160>()) {
            (true, Some(x87)) => self.set_legacy_x87(x87, true),
            _ => self.init_component_x87(),
        }
        if xcr0 & XCR0_SSE != 0 {
            self.set_component(1, 16, area.get(160..416).filter(|_| header.xstate_bv & XCR0_SSE != 0));
        }
        for i in 2..10 {
            let at = offsets(layout, header.compacted()).find(|x| x.0 == i).map(|x| x.1);
            let data = at.filter(|_| header.xstate_bv >> i & 1 != 0);
            let data = data.and_then(|at| area.get(at..at + Self::component_len(i, 16)));
            if xcr0 >> i & 1 != 0 {
                self.set_component(i, 16, data);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled() -> Fpu {
        let mut f = Fpu::default();
        for (i, r) in f.zmm.iter_mut().enumerate() {
            for (j, b) in r.iter_mut().enumerate() {
                *b = (i * 64 + j * 7 + 1) as u8;
            }
        }
        f.k = [1, 2, 3, 4, 5, 6, 7, 0x8899_AABB_CCDD_EEFF];
        f.st = std::array::from_fn(|i| std::array::from_fn(|j| if j < 10 { (i * 16 + j + 1) as u8 } else { 0 }));
        (f.fsw, f.ftw, f.fop, f.fip, f.fdp, f.mxcsr) =
            (0x1800, 0xA5, 0x123, 0x1234_5678_9ABC, 0x7FFF_0000_1111, 0x1FA0);
        f
    }

    #[test]
    fn areas_of_both_forms_load_back() {
        let xcr0 = supported_xcr0() & !XCR0_PKRU;
        for compacted in [false, true] {
            let mut f = filled();
            for (i, r) in f.zmm.iter_mut().enumerate() {
                if xcr0 & XCR0_AVX512 == 0 && i >= 16 {
                    *r = [0; 64];
                } else if xcr0 & XCR0_AVX512 == 0 {
                    r[32..].fill(0);
                }
            }
            if xcr0 & XCR0_AVX512 == 0 {
                f.k = [0; 8];
            }
            let area = f.xsave_area(xcr0, compacted);
            assert_eq!(area.len(), xsave_size(xcr0, compacted));
            let mut g = Fpu::default();
            g.load_xsave_area(&area, xcr0).unwrap();
            assert_eq!(f, g);
        }
    }

    #[test]
    fn bad_images_change_nothing() {
        let xcr0 = 7 & supported_xcr0();
        let before = filled();
        let mut f = before.clone();
        let mut area = f.xsave_area(xcr0, false);
        assert_eq!(f.load_xsave_area(&area[..500], xcr0), Err(ImageError::Short { got: 500, need: 576 }));
        area[26] = 1;
        assert!(matches!(f.load_xsave_area(&area, xcr0), Err(ImageError::Mxcsr(_))));
        area[26] = 0;
        area[HEADER + 1] = 0x80;
        assert!(matches!(f.load_xsave_area(&area, xcr0), Err(ImageError::Header { .. })));
        area[HEADER + 1] = 0;
        area[HEADER + 16] = 1;
        assert!(matches!(f.load_xsave_area(&area, xcr0), Err(ImageError::Header { .. })));
        assert_eq!(f, before);
    }

    #[test]
    fn tags() {
        let mut f = Fpu { ftw: 0b1111, ..Fpu::default() };
        f.st[1] = [0, 0, 0, 0, 0, 0, 0, 0x80, 0xFF, 0x3F, 0, 0, 0, 0, 0, 0]; // 1.0
        f.st[2] = [0, 0, 0, 0, 0, 0, 0, 0x80, 0xFF, 0x7F, 0, 0, 0, 0, 0, 0]; // infinity
        f.st[3][0] = 1; // denormal
        assert_eq!(f.full_tags(), 0b11_11_11_11_10_10_00_01);
        f.rotate_to(6);
        assert_eq!(f.full_tags(), 0b11_11_11_11_10_10_00_01, "tags are by physical register");
        assert_eq!(f.st[3][8], 0xFF);
        f.set_full_tags(0b00_01_10_11_11_11_11_11);
        assert_eq!(f.ftw, 0b1110_0000);
    }

    #[test]
    fn xcr0_rules() {
        let all = XCR0_X87 | XCR0_SSE | XCR0_AVX | XCR0_AVX512;
        for ok in [1, 3, 7, all] {
            assert!(xcr0_valid(ok, all));
        }
        for bad in [0, 2, 5, 0x27, 0xE3, all | 0x200] {
            assert!(!xcr0_valid(bad, all), "{bad:#x}");
        }
    }
}
