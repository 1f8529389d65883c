//! Why a virtual processor stopped (`WHV_RUN_VP_EXIT_CONTEXT`).

use std::fmt;

use crate::{AccessType, SegmentRegister};

/// `WHV_RUN_VP_EXIT_REASON`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct ExitReason(pub u32);

macro_rules! reasons {
    ($($name:ident = $code:literal, $symbol:literal;)*) => {
        impl ExitReason {
            $(#[doc = concat!("`", $symbol, "`")] pub const $name: Self = Self($code);)*

            /// Microsoft's name without its prefix, where known.
            pub fn symbol(self) -> Option<&'static str> {
                match self.0 { $($code => Some($symbol),)* _ => None }
            }
        }
    };
}

reasons! {
    NONE = 0, "None";
    MEMORY_ACCESS = 1, "MemoryAccess";
    X64_IO_PORT_ACCESS = 2, "X64IoPortAccess";
    UNRECOVERABLE_EXCEPTION = 4, "UnrecoverableException";
    INVALID_VP_REGISTER_VALUE = 5, "InvalidVpRegisterValue";
    UNSUPPORTED_FEATURE = 6, "UnsupportedFeature";
    X64_INTERRUPT_WINDOW = 7, "X64InterruptWindow";
    X64_HALT = 8, "X64Halt";
    X64_APIC_EOI = 9, "X64ApicEoi";
    SYNIC_SINT_DELIVERABLE = 10, "SynicSintDeliverable";
    X64_MSR_ACCESS = 0x1000, "X64MsrAccess";
    X64_CPUID = 0x1001, "X64Cpuid";
    EXCEPTION = 0x1002, "Exception";
    X64_RDTSC = 0x1003, "X64Rdtsc";
    X64_APIC_SMI_TRAP = 0x1004, "X64ApicSmiTrap";
    HYPERCALL = 0x1005, "Hypercall";
    X64_APIC_INIT_SIPI_TRAP = 0x1006, "X64ApicInitSipiTrap";
    X64_APIC_WRITE_TRAP = 0x1007, "X64ApicWriteTrap";
    CANCELED = 0x2001, "Canceled";
}

impl fmt::Debug for ExitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.symbol() {
            Some(s) => f.write_str(s),
            None => write!(f, "exit reason {:#x}", self.0),
        }
    }
}

/// `WHV_X64_VP_EXIT_CONTEXT`, the execution state unpacked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[allow(missing_docs)]
pub struct VpContext {
    pub cpl: u8,
    pub cr0_pe: bool,
    pub cr0_am: bool,
    pub efer_lma: bool,
    pub debug_active: bool,
    pub interruption_pending: bool,
    pub interrupt_shadow: bool,
    /// Of the instruction that exited; 0 when it is not known or does not matter.
    pub instruction_length: u8,
    pub cr8: u8,
    pub cs: SegmentRegister,
    /// Of the instruction that exited (memory, port, MSR, CPUID, exception), else of the next one.
    pub rip: u64,
    pub rflags: u64,
}

/// `WHV_MEMORY_ACCESS_CONTEXT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[allow(missing_docs)]
pub struct MemoryAccess {
    /// Valid bytes of `instruction_bytes`; can be 0.
    pub instruction_byte_count: u8,
    #[cfg_attr(feature = "serde", serde(with = "crate::text::bytes16"))]
    pub instruction_bytes: [u8; 16],
    pub access_type: AccessType,
    /// Nothing is mapped there (else: mapped, but not with this permission).
    pub gpa_unmapped: bool,
    pub gva_valid: bool,
    pub gpa: u64,
    pub gva: u64,
}

impl MemoryAccess {
    /// The instruction as far as it is known.
    pub fn instruction(&self) -> &[u8] {
        &self.instruction_bytes[..usize::from(self.instruction_byte_count.min(16))]
    }
}

/// `WHV_X64_IO_PORT_ACCESS_CONTEXT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[allow(missing_docs)]
pub struct IoPortAccess {
    pub instruction_byte_count: u8,
    #[cfg_attr(feature = "serde", serde(with = "crate::text::bytes16"))]
    pub instruction_bytes: [u8; 16],
    pub is_write: bool,
    /// 1, 2 or 4.
    pub access_size: u8,
    pub string_op: bool,
    pub rep_prefix: bool,
    pub port: u16,
    pub rax: u64,
    pub rcx: u64,
    pub rsi: u64,
    pub rdi: u64,
    pub ds: SegmentRegister,
    pub es: SegmentRegister,
}

impl IoPortAccess {
    /// The instruction as far as it is known.
    pub fn instruction(&self) -> &[u8] {
        &self.instruction_bytes[..usize::from(self.instruction_byte_count.min(16))]
    }
}

/// `WHV_X64_MSR_ACCESS_CONTEXT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[allow(missing_docs)]
pub struct MsrAccess {
    pub is_write: bool,
    pub msr_number: u32,
    pub rax: u64,
    pub rdx: u64,
}

/// `WHV_X64_CPUID_ACCESS_CONTEXT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[allow(missing_docs)]
pub struct CpuidAccess {
    pub rax: u64,
    pub rcx: u64,
    pub rdx: u64,
    pub rbx: u64,
    pub default_result_rax: u64,
    pub default_result_rcx: u64,
    pub default_result_rdx: u64,
    pub default_result_rbx: u64,
}

/// `WHV_VP_EXCEPTION_CONTEXT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[allow(missing_docs)]
pub struct VpException {
    pub instruction_byte_count: u8,
    #[cfg_attr(feature = "serde", serde(with = "crate::text::bytes16"))]
    pub instruction_bytes: [u8; 16],
    pub error_code_valid: bool,
    /// Raised by INT3, INTO or INT1.
    pub software_exception: bool,
    pub exception_type: u8,
    pub error_code: u32,
    /// CR2 for #PF, DR6 bits for #DB.
    pub exception_parameter: u64,
}

/// What the exit is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[allow(missing_docs)]
pub enum Exit {
    None,
    MemoryAccess(MemoryAccess),
    IoPortAccess(IoPortAccess),
    /// Triple fault.
    UnrecoverableException,
    InvalidVpRegisterValue,
    UnsupportedFeature {
        code: u32,
        parameter: u64,
    },
    /// The asked-for deliverability; `kind` as in [`PendingInterruption`](crate::PendingInterruption).
    InterruptWindow {
        kind: u8,
    },
    Halt,
    ApicEoi {
        vector: u32,
    },
    SynicSintDeliverable {
        sints: u16,
    },
    MsrAccess(MsrAccess),
    Cpuid(CpuidAccess),
    Exception(VpException),
    Rdtsc {
        tsc_aux: u64,
        tsc: u64,
        reference_time: u64,
        is_rdtscp: bool,
    },
    ApicSmiTrap {
        icr: u64,
    },
    Hypercall {
        rax: u64,
        rbx: u64,
        rcx: u64,
        rdx: u64,
        r8: u64,
        rsi: u64,
        rdi: u64,
    },
    ApicInitSipiTrap {
        icr: u64,
    },
    ApicWriteTrap {
        register: u32,
        value: u64,
    },
    /// By [`VirtualProcessor::cancel`](crate::VirtualProcessor::cancel).
    Canceled,
    /// A reason this crate does not know, with its data.
    Unknown {
        reason: ExitReason,
        data: [u64; 22],
    },
}

/// `WHV_RUN_VP_EXIT_CONTEXT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct ExitContext {
    /// The processor at the exit.
    pub vp: VpContext,
    /// What happened.
    pub exit: Exit,
}

impl ExitContext {
    /// The reason's code.
    pub fn reason(&self) -> ExitReason {
        match self.exit {
            Exit::None => ExitReason::NONE,
            Exit::MemoryAccess(_) => ExitReason::MEMORY_ACCESS,
            Exit::IoPortAccess(_) => ExitReason::X64_IO_PORT_ACCESS,
            Exit::UnrecoverableException => ExitReason::UNRECOVERABLE_EXCEPTION,
            Exit::InvalidVpRegisterValue => ExitReason::INVALID_VP_REGISTER_VALUE,
            Exit::UnsupportedFeature { .. } => ExitReason::UNSUPPORTED_FEATURE,
            Exit::InterruptWindow { .. } => ExitReason::X64_INTERRUPT_WINDOW,
            Exit::Halt => ExitReason::X64_HALT,
            Exit::ApicEoi { .. } => ExitReason::X64_APIC_EOI,
            Exit::SynicSintDeliverable { .. } => ExitReason::SYNIC_SINT_DELIVERABLE,
            Exit::MsrAccess(_) => ExitReason::X64_MSR_ACCESS,
            Exit::Cpuid(_) => ExitReason::X64_CPUID,
            Exit::Exception(_) => ExitReason::EXCEPTION,
            Exit::Rdtsc { .. } => ExitReason::X64_RDTSC,
            Exit::ApicSmiTrap { .. } => ExitReason::X64_APIC_SMI_TRAP,
            Exit::Hypercall { .. } => ExitReason::HYPERCALL,
            Exit::ApicInitSipiTrap { .. } => ExitReason::X64_APIC_INIT_SIPI_TRAP,
            Exit::ApicWriteTrap { .. } => ExitReason::X64_APIC_WRITE_TRAP,
            Exit::Canceled => ExitReason::CANCELED,
            Exit::Unknown { reason, .. } => reason,
        }
    }
}
