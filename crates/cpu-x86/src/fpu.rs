//! The x87, SSE and AVX register state.

/// Registers of the x87 and SIMD units.
#[derive(Clone, Debug, PartialEq, Eq)]
#[repr(C, align(64))]
pub struct Fpu {
    /// ZMM0 to ZMM31; XMM and YMM are their lower parts.
    pub zmm: [[u8; 64]; 32],
    /// Mask registers.
    pub k: [u64; 8],
    /// ST0 to ST7 (relative to TOP), 80 bits each in 16 bytes; MMX registers are their lower 64 bits by physical number.
    pub st: [[u8; 16]; 8],
    /// Control word.
    pub fcw: u16,
    /// Status word, TOP included.
    pub fsw: u16,
    /// Abridged tag word: bit i set when physical register i is not empty.
    pub ftw: u8,
    /// Last opcode.
    pub fop: u16,
    /// Last instruction pointer (with its selector, in 32-bit forms).
    pub fip: u64,
    /// Selector of `fip`.
    pub fcs: u16,
    /// Last data pointer.
    pub fdp: u64,
    /// Selector of `fdp`.
    pub fds: u16,
    /// SSE control and status.
    pub mxcsr: u32,
    /// Protection-key rights.
    pub pkru: u32,
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
            fop: 0,
            fip: 0,
            fcs: 0,
            fdp: 0,
            fds: 0,
            mxcsr: 0x1F80,
            pkru: 0,
        }
    }
}
