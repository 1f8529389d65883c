//! Register names (`WHV_REGISTER_NAME`): all of x64, the general ones of arm64. The codes of the two architectures
//! that overlap (the synthetic ones) are x64's.

use std::fmt;

/// Names a register of a virtual processor; any code is representable.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RegisterName(pub u32);

macro_rules! registers {
    ($($name:ident = $code:literal, $symbol:literal;)*) => {
        #[allow(missing_docs)] // the symbol is the documentation
        impl RegisterName {
            $(#[doc = concat!("`", $symbol, "`")] pub const $name: Self = Self($code);)*

            /// Microsoft's name, where known.
            pub fn symbol(self) -> Option<&'static str> {
                match self.0 { $($code => Some($symbol),)* _ => None }
            }

            /// The register with Microsoft's name `symbol`.
            pub fn from_symbol(symbol: &str) -> Option<Self> {
                match symbol { $($symbol => Some(Self::$name),)* _ => None }
            }
        }
    };
}

impl fmt::Debug for RegisterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.symbol() {
            Some(s) => f.write_str(s),
            None => write!(f, "register {:#010x}", self.0),
        }
    }
}

impl RegisterName {
    /// The register `n` codes after this one (`RAX.offset(8)` is R8, `XMM0.offset(3)` is XMM3).
    pub const fn offset(self, n: u32) -> Self {
        Self(self.0.wrapping_add(n))
    }
}

registers! {
RAX = 0x00000000, "WHvX64RegisterRax";
RCX = 0x00000001, "WHvX64RegisterRcx";
RDX = 0x00000002, "WHvX64RegisterRdx";
RBX = 0x00000003, "WHvX64RegisterRbx";
RSP = 0x00000004, "WHvX64RegisterRsp";
RBP = 0x00000005, "WHvX64RegisterRbp";
RSI = 0x00000006, "WHvX64RegisterRsi";
RDI = 0x00000007, "WHvX64RegisterRdi";
R8 = 0x00000008, "WHvX64RegisterR8";
R9 = 0x00000009, "WHvX64RegisterR9";
R10 = 0x0000000a, "WHvX64RegisterR10";
R11 = 0x0000000b, "WHvX64RegisterR11";
R12 = 0x0000000c, "WHvX64RegisterR12";
R13 = 0x0000000d, "WHvX64RegisterR13";
R14 = 0x0000000e, "WHvX64RegisterR14";
R15 = 0x0000000f, "WHvX64RegisterR15";
RIP = 0x00000010, "WHvX64RegisterRip";
RFLAGS = 0x00000011, "WHvX64RegisterRflags";
ES = 0x00000012, "WHvX64RegisterEs";
CS = 0x00000013, "WHvX64RegisterCs";
SS = 0x00000014, "WHvX64RegisterSs";
DS = 0x00000015, "WHvX64RegisterDs";
FS = 0x00000016, "WHvX64RegisterFs";
GS = 0x00000017, "WHvX64RegisterGs";
LDTR = 0x00000018, "WHvX64RegisterLdtr";
TR = 0x00000019, "WHvX64RegisterTr";
IDTR = 0x0000001a, "WHvX64RegisterIdtr";
GDTR = 0x0000001b, "WHvX64RegisterGdtr";
CR0 = 0x0000001c, "WHvX64RegisterCr0";
CR2 = 0x0000001d, "WHvX64RegisterCr2";
CR3 = 0x0000001e, "WHvX64RegisterCr3";
CR4 = 0x0000001f, "WHvX64RegisterCr4";
CR8 = 0x00000020, "WHvX64RegisterCr8";
DR0 = 0x00000021, "WHvX64RegisterDr0";
DR1 = 0x00000022, "WHvX64RegisterDr1";
DR2 = 0x00000023, "WHvX64RegisterDr2";
DR3 = 0x00000024, "WHvX64RegisterDr3";
DR6 = 0x00000025, "WHvX64RegisterDr6";
DR7 = 0x00000026, "WHvX64RegisterDr7";
XCR0 = 0x00000027, "WHvX64RegisterXCr0";
VIRTUAL_CR0 = 0x00000028, "WHvX64RegisterVirtualCr0";
VIRTUAL_CR3 = 0x00000029, "WHvX64RegisterVirtualCr3";
VIRTUAL_CR4 = 0x0000002a, "WHvX64RegisterVirtualCr4";
VIRTUAL_CR8 = 0x0000002b, "WHvX64RegisterVirtualCr8";
XMM0 = 0x00001000, "WHvX64RegisterXmm0";
XMM1 = 0x00001001, "WHvX64RegisterXmm1";
XMM2 = 0x00001002, "WHvX64RegisterXmm2";
XMM3 = 0x00001003, "WHvX64RegisterXmm3";
XMM4 = 0x00001004, "WHvX64RegisterXmm4";
XMM5 = 0x00001005, "WHvX64RegisterXmm5";
XMM6 = 0x00001006, "WHvX64RegisterXmm6";
XMM7 = 0x00001007, "WHvX64RegisterXmm7";
XMM8 = 0x00001008, "WHvX64RegisterXmm8";
XMM9 = 0x00001009, "WHvX64RegisterXmm9";
XMM10 = 0x0000100a, "WHvX64RegisterXmm10";
XMM11 = 0x0000100b, "WHvX64RegisterXmm11";
XMM12 = 0x0000100c, "WHvX64RegisterXmm12";
XMM13 = 0x0000100d, "WHvX64RegisterXmm13";
XMM14 = 0x0000100e, "WHvX64RegisterXmm14";
XMM15 = 0x0000100f, "WHvX64RegisterXmm15";
FP_MMX0 = 0x00001010, "WHvX64RegisterFpMmx0";
FP_MMX1 = 0x00001011, "WHvX64RegisterFpMmx1";
FP_MMX2 = 0x00001012, "WHvX64RegisterFpMmx2";
FP_MMX3 = 0x00001013, "WHvX64RegisterFpMmx3";
FP_MMX4 = 0x00001014, "WHvX64RegisterFpMmx4";
FP_MMX5 = 0x00001015, "WHvX64RegisterFpMmx5";
FP_MMX6 = 0x00001016, "WHvX64RegisterFpMmx6";
FP_MMX7 = 0x00001017, "WHvX64RegisterFpMmx7";
FP_CONTROL_STATUS = 0x00001018, "WHvX64RegisterFpControlStatus";
XMM_CONTROL_STATUS = 0x00001019, "WHvX64RegisterXmmControlStatus";
TSC = 0x00002000, "WHvX64RegisterTsc";
EFER = 0x00002001, "WHvX64RegisterEfer";
KERNEL_GS_BASE = 0x00002002, "WHvX64RegisterKernelGsBase";
APIC_BASE = 0x00002003, "WHvX64RegisterApicBase";
PAT = 0x00002004, "WHvX64RegisterPat";
SYSENTER_CS = 0x00002005, "WHvX64RegisterSysenterCs";
SYSENTER_EIP = 0x00002006, "WHvX64RegisterSysenterEip";
SYSENTER_ESP = 0x00002007, "WHvX64RegisterSysenterEsp";
STAR = 0x00002008, "WHvX64RegisterStar";
LSTAR = 0x00002009, "WHvX64RegisterLstar";
CSTAR = 0x0000200a, "WHvX64RegisterCstar";
SFMASK = 0x0000200b, "WHvX64RegisterSfmask";
INITIAL_APIC_ID = 0x0000200c, "WHvX64RegisterInitialApicId";
MSR_MTRR_CAP = 0x0000200d, "WHvX64RegisterMsrMtrrCap";
MSR_MTRR_DEF_TYPE = 0x0000200e, "WHvX64RegisterMsrMtrrDefType";
MSR_MTRR_PHYS_BASE0 = 0x00002010, "WHvX64RegisterMsrMtrrPhysBase0";
MSR_MTRR_PHYS_BASE1 = 0x00002011, "WHvX64RegisterMsrMtrrPhysBase1";
MSR_MTRR_PHYS_BASE2 = 0x00002012, "WHvX64RegisterMsrMtrrPhysBase2";
MSR_MTRR_PHYS_BASE3 = 0x00002013, "WHvX64RegisterMsrMtrrPhysBase3";
MSR_MTRR_PHYS_BASE4 = 0x00002014, "WHvX64RegisterMsrMtrrPhysBase4";
MSR_MTRR_PHYS_BASE5 = 0x00002015, "WHvX64RegisterMsrMtrrPhysBase5";
MSR_MTRR_PHYS_BASE6 = 0x00002016, "WHvX64RegisterMsrMtrrPhysBase6";
MSR_MTRR_PHYS_BASE7 = 0x00002017, "WHvX64RegisterMsrMtrrPhysBase7";
MSR_MTRR_PHYS_BASE8 = 0x00002018, "WHvX64RegisterMsrMtrrPhysBase8";
MSR_MTRR_PHYS_BASE9 = 0x00002019, "WHvX64RegisterMsrMtrrPhysBase9";
MSR_MTRR_PHYS_BASE_A = 0x0000201a, "WHvX64RegisterMsrMtrrPhysBaseA";
MSR_MTRR_PHYS_BASE_B = 0x0000201b, "WHvX64RegisterMsrMtrrPhysBaseB";
MSR_MTRR_PHYS_BASE_C = 0x0000201c, "WHvX64RegisterMsrMtrrPhysBaseC";
MSR_MTRR_PHYS_BASE_D = 0x0000201d, "WHvX64RegisterMsrMtrrPhysBaseD";
MSR_MTRR_PHYS_BASE_E = 0x0000201e, "WHvX64RegisterMsrMtrrPhysBaseE";
MSR_MTRR_PHYS_BASE_F = 0x0000201f, "WHvX64RegisterMsrMtrrPhysBaseF";
MSR_MTRR_PHYS_MASK0 = 0x00002040, "WHvX64RegisterMsrMtrrPhysMask0";
MSR_MTRR_PHYS_MASK1 = 0x00002041, "WHvX64RegisterMsrMtrrPhysMask1";
MSR_MTRR_PHYS_MASK2 = 0x00002042, "WHvX64RegisterMsrMtrrPhysMask2";
MSR_MTRR_PHYS_MASK3 = 0x00002043, "WHvX64RegisterMsrMtrrPhysMask3";
MSR_MTRR_PHYS_MASK4 = 0x00002044, "WHvX64RegisterMsrMtrrPhysMask4";
MSR_MTRR_PHYS_MASK5 = 0x00002045, "WHvX64RegisterMsrMtrrPhysMask5";
MSR_MTRR_PHYS_MASK6 = 0x00002046, "WHvX64RegisterMsrMtrrPhysMask6";
MSR_MTRR_PHYS_MASK7 = 0x00002047, "WHvX64RegisterMsrMtrrPhysMask7";
MSR_MTRR_PHYS_MASK8 = 0x00002048, "WHvX64RegisterMsrMtrrPhysMask8";
MSR_MTRR_PHYS_MASK9 = 0x00002049, "WHvX64RegisterMsrMtrrPhysMask9";
MSR_MTRR_PHYS_MASK_A = 0x0000204a, "WHvX64RegisterMsrMtrrPhysMaskA";
MSR_MTRR_PHYS_MASK_B = 0x0000204b, "WHvX64RegisterMsrMtrrPhysMaskB";
MSR_MTRR_PHYS_MASK_C = 0x0000204c, "WHvX64RegisterMsrMtrrPhysMaskC";
MSR_MTRR_PHYS_MASK_D = 0x0000204d, "WHvX64RegisterMsrMtrrPhysMaskD";
MSR_MTRR_PHYS_MASK_E = 0x0000204e, "WHvX64RegisterMsrMtrrPhysMaskE";
MSR_MTRR_PHYS_MASK_F = 0x0000204f, "WHvX64RegisterMsrMtrrPhysMaskF";
MSR_MTRR_FIX64K_00000 = 0x00002070, "WHvX64RegisterMsrMtrrFix64k00000";
MSR_MTRR_FIX16K_80000 = 0x00002071, "WHvX64RegisterMsrMtrrFix16k80000";
MSR_MTRR_FIX16K_A0000 = 0x00002072, "WHvX64RegisterMsrMtrrFix16kA0000";
MSR_MTRR_FIX4K_C0000 = 0x00002073, "WHvX64RegisterMsrMtrrFix4kC0000";
MSR_MTRR_FIX4K_C8000 = 0x00002074, "WHvX64RegisterMsrMtrrFix4kC8000";
MSR_MTRR_FIX4K_D0000 = 0x00002075, "WHvX64RegisterMsrMtrrFix4kD0000";
MSR_MTRR_FIX4K_D8000 = 0x00002076, "WHvX64RegisterMsrMtrrFix4kD8000";
MSR_MTRR_FIX4K_E0000 = 0x00002077, "WHvX64RegisterMsrMtrrFix4kE0000";
MSR_MTRR_FIX4K_E8000 = 0x00002078, "WHvX64RegisterMsrMtrrFix4kE8000";
MSR_MTRR_FIX4K_F0000 = 0x00002079, "WHvX64RegisterMsrMtrrFix4kF0000";
MSR_MTRR_FIX4K_F8000 = 0x0000207a, "WHvX64RegisterMsrMtrrFix4kF8000";
TSC_AUX = 0x0000207b, "WHvX64RegisterTscAux";
BNDCFGS = 0x0000207c, "WHvX64RegisterBndcfgs";
MCOUNT = 0x0000207e, "WHvX64RegisterMCount";
ACOUNT = 0x0000207f, "WHvX64RegisterACount";
SPEC_CTRL = 0x00002084, "WHvX64RegisterSpecCtrl";
PRED_CMD = 0x00002085, "WHvX64RegisterPredCmd";
TSC_VIRTUAL_OFFSET = 0x00002087, "WHvX64RegisterTscVirtualOffset";
TSX_CTRL = 0x00002088, "WHvX64RegisterTsxCtrl";
XSS = 0x0000208b, "WHvX64RegisterXss";
UCET = 0x0000208c, "WHvX64RegisterUCet";
SCET = 0x0000208d, "WHvX64RegisterSCet";
SSP = 0x0000208e, "WHvX64RegisterSsp";
PL0_SSP = 0x0000208f, "WHvX64RegisterPl0Ssp";
PL1_SSP = 0x00002090, "WHvX64RegisterPl1Ssp";
PL2_SSP = 0x00002091, "WHvX64RegisterPl2Ssp";
PL3_SSP = 0x00002092, "WHvX64RegisterPl3Ssp";
INTERRUPT_SSP_TABLE_ADDR = 0x00002093, "WHvX64RegisterInterruptSspTableAddr";
TSC_DEADLINE = 0x00002095, "WHvX64RegisterTscDeadline";
TSC_ADJUST = 0x00002096, "WHvX64RegisterTscAdjust";
UMWAIT_CONTROL = 0x00002098, "WHvX64RegisterUmwaitControl";
XFD = 0x00002099, "WHvX64RegisterXfd";
XFD_ERR = 0x0000209a, "WHvX64RegisterXfdErr";
MSR_IA32_MISC_ENABLE = 0x000020a0, "WHvX64RegisterMsrIa32MiscEnable";
IA32_FEATURE_CONTROL = 0x000020a1, "WHvX64RegisterIa32FeatureControl";
IA32_VMX_BASIC = 0x000020a2, "WHvX64RegisterIa32VmxBasic";
IA32_VMX_PINBASED_CTLS = 0x000020a3, "WHvX64RegisterIa32VmxPinbasedCtls";
IA32_VMX_PROCBASED_CTLS = 0x000020a4, "WHvX64RegisterIa32VmxProcbasedCtls";
IA32_VMX_EXIT_CTLS = 0x000020a5, "WHvX64RegisterIa32VmxExitCtls";
IA32_VMX_ENTRY_CTLS = 0x000020a6, "WHvX64RegisterIa32VmxEntryCtls";
IA32_VMX_MISC = 0x000020a7, "WHvX64RegisterIa32VmxMisc";
IA32_VMXCR0_FIXED0 = 0x000020a8, "WHvX64RegisterIa32VmxCr0Fixed0";
IA32_VMXCR0_FIXED1 = 0x000020a9, "WHvX64RegisterIa32VmxCr0Fixed1";
IA32_VMX_CR4_FIXED0 = 0x000020aa, "WHvX64RegisterIa32VmxCr4Fixed0";
IA32_VMX_CR4_FIXED1 = 0x000020ab, "WHvX64RegisterIa32VmxCr4Fixed1";
IA32_VMX_VMCS_ENUM = 0x000020ac, "WHvX64RegisterIa32VmxVmcsEnum";
IA32_VMX_PROCBASED_CTLS2 = 0x000020ad, "WHvX64RegisterIa32VmxProcbasedCtls2";
IA32_VMX_EPT_VPID_CAP = 0x000020ae, "WHvX64RegisterIa32VmxEptVpidCap";
IA32_VMX_TRUE_PINBASED_CTLS = 0x000020af, "WHvX64RegisterIa32VmxTruePinbasedCtls";
IA32_VMX_TRUE_PROCBASED_CTLS = 0x000020b0, "WHvX64RegisterIa32VmxTrueProcbasedCtls";
IA32_VMX_TRUE_EXIT_CTLS = 0x000020b1, "WHvX64RegisterIa32VmxTrueExitCtls";
IA32_VMX_TRUE_ENTRY_CTLS = 0x000020b2, "WHvX64RegisterIa32VmxTrueEntryCtls";
AMD_VM_HSAVE_PA = 0x000020b3, "WHvX64RegisterAmdVmHsavePa";
AMD_VM_CR = 0x000020b4, "WHvX64RegisterAmdVmCr";
APIC_ID = 0x00003002, "WHvX64RegisterApicId";
APIC_VERSION = 0x00003003, "WHvX64RegisterApicVersion";
APIC_TPR = 0x00003008, "WHvX64RegisterApicTpr";
APIC_PPR = 0x0000300a, "WHvX64RegisterApicPpr";
APIC_EOI = 0x0000300b, "WHvX64RegisterApicEoi";
APIC_LDR = 0x0000300d, "WHvX64RegisterApicLdr";
APIC_SPURIOUS = 0x0000300f, "WHvX64RegisterApicSpurious";
APIC_ISR0 = 0x00003010, "WHvX64RegisterApicIsr0";
APIC_ISR1 = 0x00003011, "WHvX64RegisterApicIsr1";
APIC_ISR2 = 0x00003012, "WHvX64RegisterApicIsr2";
APIC_ISR3 = 0x00003013, "WHvX64RegisterApicIsr3";
APIC_ISR4 = 0x00003014, "WHvX64RegisterApicIsr4";
APIC_ISR5 = 0x00003015, "WHvX64RegisterApicIsr5";
APIC_ISR6 = 0x00003016, "WHvX64RegisterApicIsr6";
APIC_ISR7 = 0x00003017, "WHvX64RegisterApicIsr7";
APIC_TMR0 = 0x00003018, "WHvX64RegisterApicTmr0";
APIC_TMR1 = 0x00003019, "WHvX64RegisterApicTmr1";
APIC_TMR2 = 0x0000301a, "WHvX64RegisterApicTmr2";
APIC_TMR3 = 0x0000301b, "WHvX64RegisterApicTmr3";
APIC_TMR4 = 0x0000301c, "WHvX64RegisterApicTmr4";
APIC_TMR5 = 0x0000301d, "WHvX64RegisterApicTmr5";
APIC_TMR6 = 0x0000301e, "WHvX64RegisterApicTmr6";
APIC_TMR7 = 0x0000301f, "WHvX64RegisterApicTmr7";
APIC_IRR0 = 0x00003020, "WHvX64RegisterApicIrr0";
APIC_IRR1 = 0x00003021, "WHvX64RegisterApicIrr1";
APIC_IRR2 = 0x00003022, "WHvX64RegisterApicIrr2";
APIC_IRR3 = 0x00003023, "WHvX64RegisterApicIrr3";
APIC_IRR4 = 0x00003024, "WHvX64RegisterApicIrr4";
APIC_IRR5 = 0x00003025, "WHvX64RegisterApicIrr5";
APIC_IRR6 = 0x00003026, "WHvX64RegisterApicIrr6";
APIC_IRR7 = 0x00003027, "WHvX64RegisterApicIrr7";
APIC_ESE = 0x00003028, "WHvX64RegisterApicEse";
APIC_ICR = 0x00003030, "WHvX64RegisterApicIcr";
APIC_LVT_TIMER = 0x00003032, "WHvX64RegisterApicLvtTimer";
APIC_LVT_THERMAL = 0x00003033, "WHvX64RegisterApicLvtThermal";
APIC_LVT_PERFMON = 0x00003034, "WHvX64RegisterApicLvtPerfmon";
APIC_LVT_LINT0 = 0x00003035, "WHvX64RegisterApicLvtLint0";
APIC_LVT_LINT1 = 0x00003036, "WHvX64RegisterApicLvtLint1";
APIC_LVT_ERROR = 0x00003037, "WHvX64RegisterApicLvtError";
APIC_INIT_COUNT = 0x00003038, "WHvX64RegisterApicInitCount";
APIC_CURRENT_COUNT = 0x00003039, "WHvX64RegisterApicCurrentCount";
APIC_DIVIDE = 0x0000303e, "WHvX64RegisterApicDivide";
APIC_SELF_IPI = 0x0000303f, "WHvX64RegisterApicSelfIpi";
SINT0 = 0x00004000, "WHvRegisterSint0";
SINT1 = 0x00004001, "WHvRegisterSint1";
SINT2 = 0x00004002, "WHvRegisterSint2";
SINT3 = 0x00004003, "WHvRegisterSint3";
SINT4 = 0x00004004, "WHvRegisterSint4";
SINT5 = 0x00004005, "WHvRegisterSint5";
SINT6 = 0x00004006, "WHvRegisterSint6";
SINT7 = 0x00004007, "WHvRegisterSint7";
SINT8 = 0x00004008, "WHvRegisterSint8";
SINT9 = 0x00004009, "WHvRegisterSint9";
SINT10 = 0x0000400a, "WHvRegisterSint10";
SINT11 = 0x0000400b, "WHvRegisterSint11";
SINT12 = 0x0000400c, "WHvRegisterSint12";
SINT13 = 0x0000400d, "WHvRegisterSint13";
SINT14 = 0x0000400e, "WHvRegisterSint14";
SINT15 = 0x0000400f, "WHvRegisterSint15";
SCONTROL = 0x00004010, "WHvRegisterScontrol";
SVERSION = 0x00004011, "WHvRegisterSversion";
SIEFP = 0x00004012, "WHvRegisterSiefp";
SIMP = 0x00004013, "WHvRegisterSimp";
EOM = 0x00004014, "WHvRegisterEom";
VP_RUNTIME = 0x00005000, "WHvRegisterVpRuntime";
HYPERCALL = 0x00005001, "WHvX64RegisterHypercall";
GUEST_OS_ID = 0x00005002, "WHvRegisterGuestOsId";
VP_ASSIST_PAGE = 0x00005013, "WHvRegisterVpAssistPage";
REFERENCE_TSC = 0x00005017, "WHvRegisterReferenceTsc";
REFERENCE_TSC_SEQUENCE = 0x0000501a, "WHvRegisterReferenceTscSequence";
NESTED_GUEST_STATE = 0x00005050, "WHvX64RegisterNestedGuestState";
NESTED_CURRENT_VM_GPA = 0x00005051, "WHvX64RegisterNestedCurrentVmGpa";
NESTED_VMX_INV_EPT = 0x00005052, "WHvX64RegisterNestedVmxInvEpt";
NESTED_VMX_INV_VPID = 0x00005053, "WHvX64RegisterNestedVmxInvVpid";
PENDING_INTERRUPTION = 0x80000000, "WHvRegisterPendingInterruption";
INTERRUPT_STATE = 0x80000001, "WHvRegisterInterruptState";
PENDING_EVENT = 0x80000002, "WHvRegisterPendingEvent";
DELIVERABILITY_NOTIFICATIONS = 0x80000004, "WHvX64RegisterDeliverabilityNotifications";
INTERNAL_ACTIVITY_STATE = 0x80000005, "WHvRegisterInternalActivityState";
PENDING_DEBUG_EXCEPTION = 0x80000006, "WHvX64RegisterPendingDebugException";
PENDING_EVENT2 = 0x80000007, "WHvRegisterPendingEvent2";
PENDING_EVENT3 = 0x80000008, "WHvRegisterPendingEvent3";
ARM64_X0 = 0x00020000, "WHvArm64RegisterX0";
ARM64_X1 = 0x00020001, "WHvArm64RegisterX1";
ARM64_X2 = 0x00020002, "WHvArm64RegisterX2";
ARM64_X3 = 0x00020003, "WHvArm64RegisterX3";
ARM64_X4 = 0x00020004, "WHvArm64RegisterX4";
ARM64_X5 = 0x00020005, "WHvArm64RegisterX5";
ARM64_X6 = 0x00020006, "WHvArm64RegisterX6";
ARM64_X7 = 0x00020007, "WHvArm64RegisterX7";
ARM64_X8 = 0x00020008, "WHvArm64RegisterX8";
ARM64_X9 = 0x00020009, "WHvArm64RegisterX9";
ARM64_X10 = 0x0002000a, "WHvArm64RegisterX10";
ARM64_X11 = 0x0002000b, "WHvArm64RegisterX11";
ARM64_X12 = 0x0002000c, "WHvArm64RegisterX12";
ARM64_X13 = 0x0002000d, "WHvArm64RegisterX13";
ARM64_X14 = 0x0002000e, "WHvArm64RegisterX14";
ARM64_X15 = 0x0002000f, "WHvArm64RegisterX15";
ARM64_X16 = 0x00020010, "WHvArm64RegisterX16";
ARM64_X17 = 0x00020011, "WHvArm64RegisterX17";
ARM64_X18 = 0x00020012, "WHvArm64RegisterX18";
ARM64_X19 = 0x00020013, "WHvArm64RegisterX19";
ARM64_X20 = 0x00020014, "WHvArm64RegisterX20";
ARM64_X21 = 0x00020015, "WHvArm64RegisterX21";
ARM64_X22 = 0x00020016, "WHvArm64RegisterX22";
ARM64_X23 = 0x00020017, "WHvArm64RegisterX23";
ARM64_X24 = 0x00020018, "WHvArm64RegisterX24";
ARM64_X25 = 0x00020019, "WHvArm64RegisterX25";
ARM64_X26 = 0x0002001a, "WHvArm64RegisterX26";
ARM64_X27 = 0x0002001b, "WHvArm64RegisterX27";
ARM64_X28 = 0x0002001c, "WHvArm64RegisterX28";
ARM64_FP = 0x0002001d, "WHvArm64RegisterFp";
ARM64_LR = 0x0002001e, "WHvArm64RegisterLr";
ARM64_SP = 0x0002001f, "WHvArm64RegisterSp";
ARM64_SP_EL0 = 0x00020020, "WHvArm64RegisterSpEl0";
ARM64_SP_EL1 = 0x00020021, "WHvArm64RegisterSpEl1";
ARM64_PC = 0x00020022, "WHvArm64RegisterPc";
ARM64_PSTATE = 0x00020023, "WHvArm64RegisterPstate";
ARM64_Q0 = 0x00030000, "WHvArm64RegisterQ0";
ARM64_Q1 = 0x00030001, "WHvArm64RegisterQ1";
ARM64_Q2 = 0x00030002, "WHvArm64RegisterQ2";
ARM64_Q3 = 0x00030003, "WHvArm64RegisterQ3";
ARM64_Q4 = 0x00030004, "WHvArm64RegisterQ4";
ARM64_Q5 = 0x00030005, "WHvArm64RegisterQ5";
ARM64_Q6 = 0x00030006, "WHvArm64RegisterQ6";
ARM64_Q7 = 0x00030007, "WHvArm64RegisterQ7";
ARM64_Q8 = 0x00030008, "WHvArm64RegisterQ8";
ARM64_Q9 = 0x00030009, "WHvArm64RegisterQ9";
ARM64_Q10 = 0x0003000a, "WHvArm64RegisterQ10";
ARM64_Q11 = 0x0003000b, "WHvArm64RegisterQ11";
ARM64_Q12 = 0x0003000c, "WHvArm64RegisterQ12";
ARM64_Q13 = 0x0003000d, "WHvArm64RegisterQ13";
ARM64_Q14 = 0x0003000e, "WHvArm64RegisterQ14";
ARM64_Q15 = 0x0003000f, "WHvArm64RegisterQ15";
ARM64_Q16 = 0x00030010, "WHvArm64RegisterQ16";
ARM64_Q17 = 0x00030011, "WHvArm64RegisterQ17";
ARM64_Q18 = 0x00030012, "WHvArm64RegisterQ18";
ARM64_Q19 = 0x00030013, "WHvArm64RegisterQ19";
ARM64_Q20 = 0x00030014, "WHvArm64RegisterQ20";
ARM64_Q21 = 0x00030015, "WHvArm64RegisterQ21";
ARM64_Q22 = 0x00030016, "WHvArm64RegisterQ22";
ARM64_Q23 = 0x00030017, "WHvArm64RegisterQ23";
ARM64_Q24 = 0x00030018, "WHvArm64RegisterQ24";
ARM64_Q25 = 0x00030019, "WHvArm64RegisterQ25";
ARM64_Q26 = 0x0003001a, "WHvArm64RegisterQ26";
ARM64_Q27 = 0x0003001b, "WHvArm64RegisterQ27";
ARM64_Q28 = 0x0003001c, "WHvArm64RegisterQ28";
ARM64_Q29 = 0x0003001d, "WHvArm64RegisterQ29";
ARM64_Q30 = 0x0003001e, "WHvArm64RegisterQ30";
ARM64_Q31 = 0x0003001f, "WHvArm64RegisterQ31";
ARM64_FPCR = 0x00040012, "WHvArm64RegisterFpcr";
ARM64_FPSR = 0x00040013, "WHvArm64RegisterFpsr";
ARM64_SPSR_EL1 = 0x00040014, "WHvArm64RegisterSpsrEl1";
ARM64_ELR_EL1 = 0x00040015, "WHvArm64RegisterElrEl1";}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_microsofts() {
        assert_eq!(RegisterName::R15.0, 0xF);
        assert_eq!(RegisterName::XMM15.0, 0x100F);
        assert_eq!(RegisterName::SFMASK.0, 0x200B);
        assert_eq!(RegisterName::PENDING_INTERRUPTION.0, 0x8000_0000);
        assert_eq!(RegisterName::RAX.offset(8), RegisterName::R8);
        assert_eq!(RegisterName::from_symbol("WHvX64RegisterR8"), Some(RegisterName::R8));
        assert_eq!(format!("{:?}", RegisterName(0x7777)), "register 0x00007777");
    }
}
