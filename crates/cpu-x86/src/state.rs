//! The architectural state of one processor, and what is derived from it.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use crate::fault::{Abort, AbortKind, Exception, vector};
use crate::flags::{LazyFlags, rflags};
use crate::fpu::Fpu;
use crate::model::CpuModel;
use crate::tlb::Tlb;

/// Segment registers, in the order of their encodings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum Seg {
    Es = 0,
    Cs = 1,
    Ss = 2,
    Ds = 3,
    Fs = 4,
    Gs = 5,
    /// No segment: base 0, no checks (64-bit mode's ES, CS, SS, DS).
    None = 6,
}

/// A segment register with its hidden part. `attributes` is as in WHP's segment registers and the VMCS's lower
/// bits: type 3:0, S 4, DPL 6:5, P 7, AVL 12, L 13, D/B 14, G 15.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SegReg {
    /// Visible selector.
    pub selector: u16,
    /// Base address.
    pub base: u64,
    /// Limit in bytes (granularity applied).
    pub limit: u32,
    /// See above.
    pub attributes: u16,
}

impl SegReg {
    /// A real-mode data segment.
    pub fn real(selector: u16) -> Self {
        Self { selector, base: u64::from(selector) << 4, limit: 0xFFFF, attributes: 0x93 }
    }
    /// Type field (bits 3:0).
    pub fn kind(&self) -> u8 {
        (self.attributes & 0xF) as u8
    }
    /// Code or data (not system).
    pub fn s(&self) -> bool {
        self.attributes & 0x10 != 0
    }
    /// Privilege level.
    pub fn dpl(&self) -> u8 {
        (self.attributes >> 5 & 3) as u8
    }
    /// Present (usable).
    pub fn present(&self) -> bool {
        self.attributes & 0x80 != 0
    }
    /// L: 64-bit code.
    pub fn long(&self) -> bool {
        self.attributes & 0x2000 != 0
    }
    /// D/B.
    pub fn big(&self) -> bool {
        self.attributes & 0x4000 != 0
    }
}

/// GDTR or IDTR.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableReg {
    /// Linear base.
    pub base: u64,
    /// Limit in bytes.
    pub limit: u16,
}

/// The part of the state that decides how code is decoded and executed; key of decoded blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Mode(pub u32);

impl Mode {
    /// 64-bit code (EFER.LMA and CS.L).
    pub const CODE64: u32 = 1 << 0;
    /// 32-bit default operand and address size (CS.D), not with CODE64.
    pub const CODE32: u32 = 1 << 1;
    /// CR0.PE.
    pub const PROTECTED: u32 = 1 << 2;
    /// RFLAGS.VM.
    pub const V86: u32 = 1 << 3;
    /// EFER.LMA.
    pub const LONG: u32 = 1 << 4;
    /// SS.B (32-bit stack pointer), not with CODE64.
    pub const STACK32: u32 = 1 << 5;
    /// ES, CS, SS and DS are flat: base 0, limit 4 GiB, present, writable data; no checks needed (not 64-bit code).
    pub const FLAT: u32 = 1 << 6;
    /// CPL 3.
    pub const USER: u32 = 1 << 7;
    /// One instruction a block: RFLAGS.TF, instruction breakpoints, or asked for by the caller.
    pub const STEP: u32 = 1 << 8;
    /// CR0.EM or CR0.TS is set, or CR4.OSFXSR clear: x87 and SIMD need their availability checks.
    pub const FPU_CHECK: u32 = 1 << 9;
    /// Alignment checking is on (CR0.AM, RFLAGS.AC, CPL 3).
    pub const ALIGN: u32 = 1 << 10;

    /// Whether all the bits are set.
    #[inline(always)]
    pub fn has(self, bits: u32) -> bool {
        self.0 & bits == bits
    }
    /// Bitness of the code: 16, 32 or 64.
    pub fn bits(self) -> u32 {
        if self.has(Self::CODE64) {
            64
        } else if self.has(Self::CODE32) {
            32
        } else {
            16
        }
    }
}

/// Control-register bits used throughout (Intel SDM volume 3, 2.5).
#[allow(missing_docs)]
pub mod cr {
    pub const CR0_PE: u64 = 1 << 0;
    pub const CR0_MP: u64 = 1 << 1;
    pub const CR0_EM: u64 = 1 << 2;
    pub const CR0_TS: u64 = 1 << 3;
    pub const CR0_ET: u64 = 1 << 4;
    pub const CR0_NE: u64 = 1 << 5;
    pub const CR0_WP: u64 = 1 << 16;
    pub const CR0_AM: u64 = 1 << 18;
    pub const CR0_NW: u64 = 1 << 29;
    pub const CR0_CD: u64 = 1 << 30;
    pub const CR0_PG: u64 = 1 << 31;
    pub const CR4_VME: u64 = 1 << 0;
    pub const CR4_PVI: u64 = 1 << 1;
    pub const CR4_TSD: u64 = 1 << 2;
    pub const CR4_DE: u64 = 1 << 3;
    pub const CR4_PSE: u64 = 1 << 4;
    pub const CR4_PAE: u64 = 1 << 5;
    pub const CR4_MCE: u64 = 1 << 6;
    pub const CR4_PGE: u64 = 1 << 7;
    pub const CR4_PCE: u64 = 1 << 8;
    pub const CR4_OSFXSR: u64 = 1 << 9;
    pub const CR4_OSXMMEXCPT: u64 = 1 << 10;
    pub const CR4_UMIP: u64 = 1 << 11;
    pub const CR4_FSGSBASE: u64 = 1 << 16;
    pub const CR4_PCIDE: u64 = 1 << 17;
    pub const CR4_OSXSAVE: u64 = 1 << 18;
    pub const CR4_SMEP: u64 = 1 << 20;
    pub const CR4_SMAP: u64 = 1 << 21;
    pub const CR4_PKE: u64 = 1 << 22;
    pub const EFER_SCE: u64 = 1 << 0;
    pub const EFER_LME: u64 = 1 << 8;
    pub const EFER_LMA: u64 = 1 << 10;
    pub const EFER_NXE: u64 = 1 << 11;
}

/// Model-specific registers that the processor itself holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Msrs {
    pub efer: u64,
    pub star: u64,
    pub lstar: u64,
    pub cstar: u64,
    pub sfmask: u64,
    pub kernel_gs_base: u64,
    pub sysenter_cs: u64,
    pub sysenter_esp: u64,
    pub sysenter_eip: u64,
    pub pat: u64,
    pub tsc_aux: u64,
    pub misc_enable: u64,
    pub mtrr_def_type: u64,
    pub mtrr_fixed: [u64; 11],
    pub mtrr_phys: [u64; 16],
    pub spec_ctrl: u64,
    pub xss: u64,
    pub debugctl: u64,
    pub mcg_status: u64,
    pub mcg_ctl: u64,
    /// Machine-check banks: CTL, STATUS, ADDR, MISC of each of ten.
    pub mc_banks: [u64; 40],
    /// AMD's set-up registers, in the order of `AMD_PLAIN` in `sys/msr.rs`.
    pub amd: [u64; 16],
}

impl Default for Msrs {
    fn default() -> Self {
        Self {
            efer: 0,
            star: 0,
            lstar: 0,
            cstar: 0,
            sfmask: 0,
            kernel_gs_base: 0,
            sysenter_cs: 0,
            sysenter_esp: 0,
            sysenter_eip: 0,
            pat: 0,
            tsc_aux: 0,
            misc_enable: 0,
            mtrr_def_type: 0,
            mtrr_fixed: [0; 11],
            mtrr_phys: [0; 16],
            spec_ctrl: 0,
            xss: 0,
            debugctl: 0,
            mcg_status: 0,
            mcg_ctl: 0,
            mc_banks: [0; 40],
            amd: [0; 16],
        }
    }
}

/// Interruptibility (Intel SDM volume 3, 6.8).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shadow {
    /// Interrupts are blocked for one instruction (after STI, MOV SS, POP SS).
    pub interrupt: bool,
    /// NMIs are blocked until IRET.
    pub nmi: bool,
}

/// The number of entries of the general-register file; indices are masked with it so that no check is needed.
pub const REG_FILE: usize = 32;
/// Index of the entry that always reads 0: "no base", "no index".
pub const REG_ZERO: u8 = 16;
/// Index of the entry with the RIP that the running block starts at: RIP-relative operands and branches count from it.
pub const REG_RIP: u8 = 17;
/// Index of the entry with the linear address of the page that translated code is in.
pub(crate) const REG_PAGE: u8 = 18;

/// One processor's registers and everything handlers work on.
#[repr(C)]
pub struct Cpu {
    /// RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8 to R15, then what `REG_ZERO`, `REG_RIP` ... name.
    pub regs: [u64; REG_FILE],
    /// What translated code and the run loop tell each other; next to the registers, see `jit::asm::BIAS`.
    pub(crate) jit: crate::jit::Context,
    /// Arithmetic flags.
    pub lazy: LazyFlags,
    /// Linear instruction pointer inside CS (RIP) at the start of the running block. Between blocks: RIP.
    pub rip: u64,
    /// Where the branch that ended the block goes; `None`: to the next instruction.
    pub next: Option<u64>,
    /// The other bits of RFLAGS; arithmetic bits are zero here.
    pub sysflags: u64,
    /// The mode, kept by `update_mode`.
    pub mode: Mode,
    /// The running block must end after this instruction: its code, the mode, or interruptibility changed.
    pub stop_block: bool,
    /// Bases of the segments indexed by [`Seg`], `None` included; a copy of `segs[..].base` for address formation.
    pub seg_base: [u64; 8],
    /// ES, CS, SS, DS, FS, GS.
    pub segs: [SegReg; 6],
    /// LDTR.
    pub ldtr: SegReg,
    /// TR.
    pub tr: SegReg,
    /// GDTR.
    pub gdtr: TableReg,
    /// IDTR.
    pub idtr: TableReg,
    /// CR0.
    pub cr0: u64,
    /// CR2.
    pub cr2: u64,
    /// CR3.
    pub cr3: u64,
    /// CR4.
    pub cr4: u64,
    /// DR0 to DR3, then unused, DR6, DR7.
    pub dr: [u64; 8],
    /// XCR0.
    pub xcr0: u64,
    /// Model-specific registers.
    pub msr: Msrs,
    /// Current privilege level.
    pub cpl: u8,
    /// Interruptibility.
    pub shadow: Shadow,
    /// DR6 bits of a debug trap to deliver before the next instruction (task switch, single step).
    pub pending_db: u64,
    /// The paging-related control bits and CR3 the TLB is filled for; kept by `update_mode`.
    pub paging_key: [u64; 2],
    /// Why the last instruction did not complete.
    pub abort: AbortKind,
    /// Vectors whose exceptions end `run` instead of being delivered (bit = vector).
    pub exception_exits: u64,
    /// Set by other threads, looked at between blocks: [`Attention`](crate::bus::Attention).
    pub attention: Arc<AtomicU32>,
    /// Instructions completed by the interpreter.
    pub retired: u64,
    /// Where `Bus::tsc` gets its value, if from a clock that translated code can read.
    pub counter: Option<crate::clock::GuestCounter>,
    /// x87 and SIMD registers.
    pub fpu: Box<Fpu>,
    /// What the processor is.
    pub model: Arc<CpuModel>,
    /// The instruction that made `run` return with [`Stop::Access`](crate::fault::Stop).
    pub last_instruction: LastInstruction,
    /// Cached translations.
    pub(crate) tlb: Tlb,
    /// While instructions are run to be undone: what they stored.
    pub(crate) rehearsal: Option<Box<crate::jit::Rehearsal>>,
}

/// Bytes of an instruction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LastInstruction {
    /// Its bytes, then zeros.
    pub bytes: [u8; 16],
    /// Its length.
    pub len: u8,
}

impl Cpu {
    /// A processor of the given model with everything zero; `reset` makes it start.
    pub fn new(model: Arc<CpuModel>) -> Self {
        Self {
            regs: [0; REG_FILE],
            lazy: LazyFlags::default(),
            rip: 0,
            next: None,
            sysflags: 0,
            mode: Mode::default(),
            stop_block: false,
            seg_base: [0; 8],
            segs: [SegReg::default(); 6],
            ldtr: SegReg::default(),
            tr: SegReg::default(),
            gdtr: TableReg::default(),
            idtr: TableReg::default(),
            cr0: 0,
            cr2: 0,
            cr3: 0,
            cr4: 0,
            dr: [0; 8],
            xcr0: 1,
            msr: Msrs::default(),
            cpl: 0,
            shadow: Shadow::default(),
            pending_db: 0,
            paging_key: [0; 2],
            abort: AbortKind::None,
            exception_exits: 0,
            attention: Arc::default(),
            retired: 0,
            counter: None,
            fpu: Box::default(),
            model,
            last_instruction: LastInstruction::default(),
            tlb: Tlb::default(),
            jit: crate::jit::Context::default(),
            rehearsal: None,
        }
    }

    /// Raises `vector` without an error code.
    #[cold]
    pub fn raise(&mut self, vector: u8) -> Abort {
        self.raise_exception(Exception { vector, error: None, payload: 0 })
    }

    /// Raises `vector` with `error`.
    #[cold]
    pub fn raise_error(&mut self, vector: u8, error: u32) -> Abort {
        self.raise_exception(Exception { vector, error: Some(error), payload: 0 })
    }

    /// Raises any exception.
    #[cold]
    pub fn raise_exception(&mut self, exception: Exception) -> Abort {
        self.abort = AbortKind::Exception(exception);
        Abort
    }

    /// #GP(`error`).
    #[cold]
    pub fn gp(&mut self, error: u32) -> Abort {
        self.raise_error(vector::GP, error)
    }

    /// #UD.
    #[cold]
    pub fn ud(&mut self) -> Abort {
        self.raise(vector::UD)
    }

    /// Ends the instruction for `run` to leave or act.
    #[cold]
    pub fn leave(&mut self, kind: AbortKind) -> Abort {
        self.abort = kind;
        Abort
    }

    /// RFLAGS, whole.
    pub fn rflags(&self) -> u64 {
        self.sysflags | rflags::ONE | self.lazy.get()
    }

    /// Sets RFLAGS whole, without checks; the caller calls `update_mode` when VM, TF or AC may have changed.
    pub fn set_rflags(&mut self, value: u64) {
        self.lazy.set(value);
        self.sysflags = value & !(rflags::ARITH | rflags::ONE);
    }

    /// RFLAGS.IOPL.
    pub fn iopl(&self) -> u8 {
        (self.sysflags >> 12 & 3) as u8
    }

    /// To be called before the first instruction of a block: what counts from its start counts from RIP.
    #[inline(always)]
    pub fn begin_block(&mut self) {
        self.set_r64(REG_RIP, self.rip);
    }

    /// 64-bit register.
    #[inline(always)]
    pub fn r64(&self, i: u8) -> u64 {
        self.regs[usize::from(i) & (REG_FILE - 1)]
    }
    /// Writes a 64-bit register.
    #[inline(always)]
    pub fn set_r64(&mut self, i: u8, v: u64) {
        self.regs[usize::from(i) & (REG_FILE - 1)] = v;
    }
    /// 32-bit register.
    #[inline(always)]
    pub fn r32(&self, i: u8) -> u32 {
        self.r64(i) as u32
    }
    /// Writes a 32-bit register: the upper half becomes zero.
    #[inline(always)]
    pub fn set_r32(&mut self, i: u8, v: u32) {
        self.set_r64(i, u64::from(v));
    }
    /// 16-bit register.
    #[inline(always)]
    pub fn r16(&self, i: u8) -> u16 {
        self.r64(i) as u16
    }
    /// Writes a 16-bit register: the rest stays.
    #[inline(always)]
    pub fn set_r16(&mut self, i: u8, v: u16) {
        let r = &mut self.regs[usize::from(i) & (REG_FILE - 1)];
        *r = *r & !0xFFFF | u64::from(v);
    }
    /// 8-bit register: `i` is the register number, plus [`HIGH8`] for AH, CH, DH, BH.
    #[inline(always)]
    pub fn r8(&self, i: u8) -> u8 {
        (self.r64(i & 31) >> (u32::from(i & HIGH8) >> 2)) as u8
    }
    /// Writes an 8-bit register: the rest stays.
    #[inline(always)]
    pub fn set_r8(&mut self, i: u8, v: u8) {
        let shift = u32::from(i & HIGH8) >> 2;
        let r = &mut self.regs[usize::from(i) & (REG_FILE - 1)];
        *r = *r & !(0xFF << shift) | u64::from(v) << shift;
    }
}

/// Set in the index of an 8-bit register that is bits 15:8 of its register (AH, CH, DH, BH).
pub const HIGH8: u8 = 0x20;
