//! How an instruction can fail to complete, and how `run` can end.

/// A processor exception to deliver (Intel SDM volume 3, chapter 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exception {
    /// Vector, 0 to 31.
    pub vector: u8,
    /// Error code, for the vectors that push one.
    pub error: Option<u32>,
    /// What the exception leaves in CR2 (#PF) or the DR6 bits to set (#DB).
    pub payload: u64,
}

/// Vectors by name.
#[allow(missing_docs)]
pub mod vector {
    pub const DE: u8 = 0;
    pub const DB: u8 = 1;
    pub const NMI: u8 = 2;
    pub const BP: u8 = 3;
    pub const OF: u8 = 4;
    pub const BR: u8 = 5;
    pub const UD: u8 = 6;
    pub const NM: u8 = 7;
    pub const DF: u8 = 8;
    pub const TS: u8 = 10;
    pub const NP: u8 = 11;
    pub const SS: u8 = 12;
    pub const GP: u8 = 13;
    pub const PF: u8 = 14;
    pub const MF: u8 = 16;
    pub const AC: u8 = 17;
    pub const MC: u8 = 18;
    pub const XM: u8 = 19;
}

/// The instruction did not complete; `Cpu::abort` says why. A zero-sized token, so that results stay in registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abort;

/// What a handler returns.
pub type Exec = Result<(), Abort>;

/// Why the last instruction did not complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum AbortKind {
    /// It did.
    #[default]
    None,
    /// An exception is to be delivered at the instruction (faults) with RIP at its start.
    Exception(Exception),
    /// A device access the bus did not serve. Exits from REP instructions leave the progress made.
    Memory {
        /// Guest-physical address.
        gpa: u64,
        /// Linear address.
        gva: u64,
        /// Bytes.
        len: u8,
        /// Load, store or fetch.
        access: Access,
    },
    /// A port access the bus did not serve.
    Port {
        /// Port number.
        port: u16,
        /// 1, 2 or 4.
        len: u8,
        /// OUT.
        write: bool,
        /// INS or OUTS.
        string: bool,
        /// With a REP prefix.
        rep: bool,
    },
    /// An MSR access the bus wants to leave with.
    Msr {
        /// Number (ECX).
        msr: u32,
        /// WRMSR.
        write: bool,
    },
    /// A CPUID the bus wants to leave with.
    Cpuid {
        /// The result the guest would have got: EAX, EBX, ECX, EDX.
        default: [u32; 4],
    },
    /// HLT: RIP is already after it.
    Halt,
    /// The instruction is done but the processor shut down (triple fault).
    Shutdown,
    /// The handler asks for the instruction to be decoded and run again (its code or the mode changed under it).
    Retry,
}

/// The kind of a memory access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// A load.
    Read,
    /// A store, or a load that a store will follow.
    Write,
    /// An instruction fetch.
    Fetch,
}

/// Why `run` returned. RIP is at the next instruction to execute (for `Memory`, `Port`, `Msr` and `Cpuid`: the one
/// that did not complete; its length and bytes are in `Cpu::last_instruction`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// `Attention::LEAVE` was set.
    Attention,
    /// The asked-for interrupt or NMI window is open.
    Window,
    /// HLT was executed and nothing is pending.
    Halt,
    /// Triple fault.
    Shutdown,
    /// An exception that the exception-exit bitmap (`Cpu::exception_exits`) asks for; not delivered.
    Exception(Exception),
    /// An access the bus did not serve.
    Access(AbortKind),
}
