//! The decoded instruction as the interpreter runs it.

use iced_x86::{Instruction, OpKind, Register};

use crate::bus::Bus;
use crate::fault::{Exec, vector};
use crate::features::Features;
use crate::state::{Cpu, HIGH8, Mode, REG_RIP, REG_ZERO, Seg};

/// Executes one instruction.
pub type Handler = fn(&mut Cpu, &mut dyn Bus, &Op) -> Exec;

/// A decoded instruction: 64 bytes, one cache line.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub struct Op {
    /// What executes it.
    pub handler: Handler,
    /// Immediate (sign-extended as the instruction says), or branch target (from the start of the block), or what the family likes.
    pub imm: u64,
    /// Displacement of the memory operand; of RIP-relative ones from the start of the block.
    pub disp: u64,
    /// Address-size mask of the memory operand, or the mask of a direct branch's target.
    pub addr_mask: u64,
    /// Family data: a second immediate (ENTER, far pointers' selector), a thunk's index ...
    pub aux: u64,
    /// Bytes from the start of the block.
    pub start: u16,
    /// `start` plus the instruction's length.
    pub end: u16,
    /// Base register of the memory operand, `REG_ZERO` for none.
    pub base: u8,
    /// Index register, `REG_ZERO` for none.
    pub index: u8,
    /// log2 of the scale.
    pub scale: u8,
    /// Segment of the memory operand ([`Seg`]); `None` where base 0 and no check is right.
    pub seg: Seg,
    /// Destination (or first) register.
    pub dst: u8,
    /// Source (or second) register.
    pub src: u8,
    /// Third register.
    pub src2: u8,
    /// Operand size in bytes where handlers are not specialised by it.
    pub size: u8,
    /// [`Op::LOCK`] ...
    pub flags: u8,
}

impl Op {
    /// LOCK prefix (or XCHG with memory).
    pub const LOCK: u8 = 1;
    /// F3: REP, REPE.
    pub const REP: u8 = 2;
    /// F2: REPNE.
    pub const REPNE: u8 = 4;
    /// The memory operand's segment needs limit and type checks.
    pub const SEG_CHECK: u8 = 8;
    /// Last instruction of its block: control transfer, or the mode may change.
    pub const ENDS: u8 = 16;
    /// Has a memory operand.
    pub const MEM: u8 = 32;

    /// Whether the flag is set.
    #[inline(always)]
    pub fn is(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Fills in what is common to all families: lengths, the memory operand, prefixes. The handler is #UD.
    ///
    /// `offset` is where the instruction starts in its block.
    pub fn prepare(i: &Instruction, cx: &DecodeCx, offset: u16) -> Self {
        let mut op = Self {
            handler: undefined,
            imm: 0,
            disp: 0,
            addr_mask: u64::MAX,
            aux: 0,
            start: offset,
            end: offset + i.len() as u16,
            base: REG_ZERO,
            index: REG_ZERO,
            scale: 0,
            seg: Seg::None,
            dst: 0,
            src: 0,
            src2: 0,
            size: 0,
            flags: 0,
        };
        if i.has_lock_prefix() {
            op.flags |= Self::LOCK;
        }
        if i.has_rep_prefix() {
            op.flags |= Self::REP;
        }
        if i.has_repne_prefix() {
            op.flags |= Self::REPNE;
        }
        if (0..i.op_count()).any(|n| i.op_kind(n) == OpKind::Memory) {
            op.memory(i, cx);
        }
        op
    }

    fn memory(&mut self, i: &Instruction, cx: &DecodeCx) {
        self.flags |= Self::MEM;
        let base = i.memory_base();
        self.disp = i.memory_displacement64();
        match base {
            // iced gives the target as displacement, which counts from the block's start (`decode`).
            Register::RIP | Register::EIP => self.base = REG_RIP,
            Register::None => {}
            b => self.base = gpr(b),
        }
        if i.memory_index() != Register::None {
            self.index = gpr(i.memory_index());
            self.scale = i.memory_index_scale().trailing_zeros() as u8;
        }
        let register = if base == Register::None { i.memory_index() } else { base };
        let bytes = match register.size() {
            0 => i.memory_displ_size().max(2),
            n => n as u32,
        };
        self.addr_mask = match bytes {
            2 => 0xFFFF,
            4 => 0xFFFF_FFFF,
            _ => u64::MAX,
        };
        self.set_segment(segment(i.memory_segment()), cx);
    }

    /// Sets the segment of the memory operand, or none where base and checks cannot matter.
    pub fn set_segment(&mut self, seg: Seg, cx: &DecodeCx) {
        let flat = match seg {
            Seg::Fs | Seg::Gs => false,
            // Kept in 64-bit code: a non-canonical address is #SS instead of #GP.
            Seg::Ss => cx.mode.has(Mode::FLAT),
            _ => cx.mode.has(Mode::FLAT) || cx.mode.has(Mode::CODE64),
        };
        self.seg = if flat { Seg::None } else { seg };
        if self.seg != Seg::None && !cx.mode.has(Mode::CODE64) {
            self.flags |= Self::SEG_CHECK;
        }
    }
}

/// What decoding depends on besides the bytes.
#[derive(Clone, Copy, Debug)]
pub struct DecodeCx {
    /// The mode the block is for.
    pub mode: Mode,
    /// RIP of the block, for the log: nothing decoded depends on it.
    pub rip: u64,
    /// What the processor has; `decode` has checked it for the instruction.
    pub features: Features,
}

/// The handler of what does not exist: #UD.
pub fn undefined(cpu: &mut Cpu, _bus: &mut dyn Bus, _op: &Op) -> Exec {
    Err(cpu.raise(vector::UD))
}

/// Index of a general register of any size in the register file ([`HIGH8`] added for AH, CH, DH, BH).
pub fn gpr(r: Register) -> u8 {
    match r {
        Register::AH => HIGH8,
        Register::CH => HIGH8 | 1,
        Register::DH => HIGH8 | 2,
        Register::BH => HIGH8 | 3,
        r => r.full_register().number() as u8 & 15,
    }
}

/// Our name of a segment register.
pub fn segment(r: Register) -> Seg {
    match r {
        Register::ES => Seg::Es,
        Register::CS => Seg::Cs,
        Register::SS => Seg::Ss,
        Register::DS => Seg::Ds,
        Register::FS => Seg::Fs,
        Register::GS => Seg::Gs,
        _ => Seg::None,
    }
}
