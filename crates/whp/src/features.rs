//! Feature banks of processors: bit positions of `winhvplatformdefs.h`; the names are without `Support`.

bitflags::bitflags! {
    /// `WHV_X64_PROCESSOR_FEATURES`, bank 0.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    #[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
    pub struct ProcessorFeatures: u64 {
        /// `Sse3`
        const SSE3 = 1 << 0;
        /// `LahfSahf`
        const LAHF_SAHF = 1 << 1;
        /// `Ssse3`
        const SSSE3 = 1 << 2;
        /// `Sse4_1`
        const SSE4_1 = 1 << 3;
        /// `Sse4_2`
        const SSE4_2 = 1 << 4;
        /// `Sse4a`
        const SSE4A = 1 << 5;
        /// `Xop`
        const XOP = 1 << 6;
        /// `PopCnt`
        const POP_CNT = 1 << 7;
        /// `Cmpxchg16b`
        const CMPXCHG16B = 1 << 8;
        /// `Altmovcr8`
        const ALTMOVCR8 = 1 << 9;
        /// `Lzcnt`
        const LZCNT = 1 << 10;
        /// `MisAlignSse`
        const MIS_ALIGN_SSE = 1 << 11;
        /// `MmxExt`
        const MMX_EXT = 1 << 12;
        /// `Amd3DNow`
        const AMD3_DNOW = 1 << 13;
        /// `ExtendedAmd3DNow`
        const EXTENDED_AMD3_DNOW = 1 << 14;
        /// `Page1Gb`
        const PAGE1_GB = 1 << 15;
        /// `Aes`
        const AES = 1 << 16;
        /// `Pclmulqdq`
        const PCLMULQDQ = 1 << 17;
        /// `Pcid`
        const PCID = 1 << 18;
        /// `Fma4`
        const FMA4 = 1 << 19;
        /// `F16C`
        const F16_C = 1 << 20;
        /// `RdRand`
        const RD_RAND = 1 << 21;
        /// `RdWrFsGs`
        const RD_WR_FS_GS = 1 << 22;
        /// `Smep`
        const SMEP = 1 << 23;
        /// `EnhancedFastString`
        const ENHANCED_FAST_STRING = 1 << 24;
        /// `Bmi1`
        const BMI1 = 1 << 25;
        /// `Bmi2`
        const BMI2 = 1 << 26;
        /// `Movbe`
        const MOVBE = 1 << 29;
        /// `Npiep1`
        const NPIEP1 = 1 << 30;
        /// `DepX87FPUSave`
        const DEP_X87_FPUSAVE = 1 << 31;
        /// `RdSeed`
        const RD_SEED = 1 << 32;
        /// `Adx`
        const ADX = 1 << 33;
        /// `IntelPrefetch`
        const INTEL_PREFETCH = 1 << 34;
        /// `Smap`
        const SMAP = 1 << 35;
        /// `Hle`
        const HLE = 1 << 36;
        /// `Rtm`
        const RTM = 1 << 37;
        /// `Rdtscp`
        const RDTSCP = 1 << 38;
        /// `Clflushopt`
        const CLFLUSHOPT = 1 << 39;
        /// `Clwb`
        const CLWB = 1 << 40;
        /// `Sha`
        const SHA = 1 << 41;
        /// `X87PointersSaved`
        const X87_POINTERS_SAVED = 1 << 42;
        /// `Invpcid`
        const INVPCID = 1 << 43;
        /// `Ibrs`
        const IBRS = 1 << 44;
        /// `Stibp`
        const STIBP = 1 << 45;
        /// `Ibpb`
        const IBPB = 1 << 46;
        /// `UnrestrictedGuest`
        const UNRESTRICTED_GUEST = 1 << 47;
        /// `Ssbd`
        const SSBD = 1 << 48;
        /// `FastShortRepMov`
        const FAST_SHORT_REP_MOV = 1 << 49;
        /// `RdclNo`
        const RDCL_NO = 1 << 51;
        /// `IbrsAll`
        const IBRS_ALL = 1 << 52;
        /// `SsbNo`
        const SSB_NO = 1 << 54;
        /// `RsbANo`
        const RSB_ANO = 1 << 55;
        /// `RdPid`
        const RD_PID = 1 << 57;
        /// `Umip`
        const UMIP = 1 << 58;
        /// `MdsNo`
        const MDS_NO = 1 << 59;
        /// `MdClear`
        const MD_CLEAR = 1 << 60;
        /// `TaaNo`
        const TAA_NO = 1 << 61;
        /// `TsxCtrl`
        const TSX_CTRL = 1 << 62;
        const _ = !0;
    }

    /// `WHV_X64_PROCESSOR_FEATURES1`, bank 1.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    #[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
    pub struct ProcessorFeatures1: u64 {
        /// `ACountMCount`
        const ACOUNT_MCOUNT = 1 << 0;
        /// `TscInvariant`
        const TSC_INVARIANT = 1 << 1;
        /// `ClZero`
        const CL_ZERO = 1 << 2;
        /// `Rdpru`
        const RDPRU = 1 << 3;
        /// `La57`
        const LA57 = 1 << 4;
        /// `Mbec`
        const MBEC = 1 << 5;
        /// `NestedVirt`
        const NESTED_VIRT = 1 << 6;
        /// `Psfd`
        const PSFD = 1 << 7;
        /// `CetSs`
        const CET_SS = 1 << 8;
        /// `CetIbt`
        const CET_IBT = 1 << 9;
        /// `VmxExceptionInject`
        const VMX_EXCEPTION_INJECT = 1 << 10;
        /// `UmwaitTpause`
        const UMWAIT_TPAUSE = 1 << 12;
        /// `Movdiri`
        const MOVDIRI = 1 << 13;
        /// `Movdir64b`
        const MOVDIR64B = 1 << 14;
        /// `Cldemote`
        const CLDEMOTE = 1 << 15;
        /// `Serialize`
        const SERIALIZE = 1 << 16;
        /// `TscDeadlineTmr`
        const TSC_DEADLINE_TMR = 1 << 17;
        /// `TscAdjust`
        const TSC_ADJUST = 1 << 18;
        /// `FZLRepMovsb`
        const FZLREP_MOVSB = 1 << 19;
        /// `FSRepStosb`
        const FSREP_STOSB = 1 << 20;
        /// `FSRepCmpsb`
        const FSREP_CMPSB = 1 << 21;
        /// `TsxLdTrk`
        const TSX_LD_TRK = 1 << 22;
        /// `VmxInsOutsExitInfo`
        const VMX_INS_OUTS_EXIT_INFO = 1 << 23;
        /// `SbdrSsdpNo`
        const SBDR_SSDP_NO = 1 << 25;
        /// `FbsdpNo`
        const FBSDP_NO = 1 << 26;
        /// `PsdpNo`
        const PSDP_NO = 1 << 27;
        /// `FbClear`
        const FB_CLEAR = 1 << 28;
        /// `BtcNo`
        const BTC_NO = 1 << 29;
        /// `IbpbRsbFlush`
        const IBPB_RSB_FLUSH = 1 << 30;
        /// `StibpAlwaysOn`
        const STIBP_ALWAYS_ON = 1 << 31;
        /// `PerfGlobalCtrl`
        const PERF_GLOBAL_CTRL = 1 << 32;
        /// `NptExecuteOnly`
        const NPT_EXECUTE_ONLY = 1 << 33;
        /// `NptADFlags`
        const NPT_ADFLAGS = 1 << 34;
        /// `Npt1GbPage`
        const NPT1_GB_PAGE = 1 << 35;
        /// `Cmpccxadd`
        const CMPCCXADD = 1 << 40;
        /// `PrefetchI`
        const PREFETCH_I = 1 << 45;
        /// `Sha512`
        const SHA512 = 1 << 46;
        /// `SM3`
        const SM3 = 1 << 50;
        /// `SM4`
        const SM4 = 1 << 51;
        /// `Sbpb`
        const SBPB = 1 << 54;
        /// `IbpbBrType`
        const IBPB_BR_TYPE = 1 << 55;
        /// `SrsoNo`
        const SRSO_NO = 1 << 56;
        /// `SrsoUserKernelNo`
        const SRSO_USER_KERNEL_NO = 1 << 57;
        const _ = !0;
    }

    /// `WHV_SYNTHETIC_PROCESSOR_FEATURES`: what the guest sees of Hyper-V.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    #[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
    pub struct SyntheticProcessorFeatures: u64 {
        /// `HypervisorPresent`
        const HYPERVISOR_PRESENT = 1 << 0;
        /// `Hv1`
        const HV1 = 1 << 1;
        /// `AccessVpRunTimeReg`
        const ACCESS_VP_RUN_TIME_REG = 1 << 2;
        /// `AccessPartitionReferenceCounter`
        const ACCESS_PARTITION_REFERENCE_COUNTER = 1 << 3;
        /// `AccessSynicRegs`
        const ACCESS_SYNIC_REGS = 1 << 4;
        /// `AccessSyntheticTimerRegs`
        const ACCESS_SYNTHETIC_TIMER_REGS = 1 << 5;
        /// `AccessIntrCtrlRegs`
        const ACCESS_INTR_CTRL_REGS = 1 << 6;
        /// `AccessHypercallRegs`
        const ACCESS_HYPERCALL_REGS = 1 << 7;
        /// `AccessVpIndex`
        const ACCESS_VP_INDEX = 1 << 8;
        /// `AccessPartitionReferenceTsc`
        const ACCESS_PARTITION_REFERENCE_TSC = 1 << 9;
        /// `AccessGuestIdleReg`
        const ACCESS_GUEST_IDLE_REG = 1 << 10;
        /// `AccessFrequencyRegs`
        const ACCESS_FREQUENCY_REGS = 1 << 11;
        /// `EnableExtendedGvaRangesForFlushVirtualAddressList`
        const ENABLE_EXTENDED_GVA_RANGES_FOR_FLUSH_VIRTUAL_ADDRESS_LIST = 1 << 15;
        /// `FastHypercallOutput`
        const FAST_HYPERCALL_OUTPUT = 1 << 18;
        /// `DirectSyntheticTimers`
        const DIRECT_SYNTHETIC_TIMERS = 1 << 22;
        /// `ExtendedProcessorMasks`
        const EXTENDED_PROCESSOR_MASKS = 1 << 24;
        /// `TbFlushHypercalls`
        const TB_FLUSH_HYPERCALLS = 1 << 25;
        /// `SyntheticClusterIpi`
        const SYNTHETIC_CLUSTER_IPI = 1 << 26;
        /// `NotifyLongSpinWait`
        const NOTIFY_LONG_SPIN_WAIT = 1 << 27;
        /// `QueryNumaDistance`
        const QUERY_NUMA_DISTANCE = 1 << 28;
        /// `SignalEvents`
        const SIGNAL_EVENTS = 1 << 29;
        /// `RetargetDeviceInterrupt`
        const RETARGET_DEVICE_INTERRUPT = 1 << 30;
        /// `RestoreTime`
        const RESTORE_TIME = 1 << 31;
        /// `EnlightenedVmcs`
        const ENLIGHTENED_VMCS = 1 << 32;
        /// `NestedDebugCtl`
        const NESTED_DEBUG_CTL = 1 << 33;
        /// `SyntheticTimeUnhaltedTimer`
        const SYNTHETIC_TIME_UNHALTED_TIMER = 1 << 34;
        /// `IdleSpecCtrl`
        const IDLE_SPEC_CTRL = 1 << 35;
        /// `WakeVps`
        const WAKE_VPS = 1 << 37;
        /// `AccessVpRegs`
        const ACCESS_VP_REGS = 1 << 38;
        const _ = !0;
    }

    /// `WHV_PROCESSOR_XSAVE_FEATURES`.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    #[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
    pub struct XsaveFeatures: u64 {
        /// `Xsave`
        const XSAVE = 1 << 0;
        /// `Xsaveopt`
        const XSAVEOPT = 1 << 1;
        /// `Avx`
        const AVX = 1 << 2;
        /// `Avx2`
        const AVX2 = 1 << 3;
        /// `Fma`
        const FMA = 1 << 4;
        /// `Mpx`
        const MPX = 1 << 5;
        /// `Avx512`
        const AVX512 = 1 << 6;
        /// `Avx512DQ`
        const AVX512_DQ = 1 << 7;
        /// `Avx512CD`
        const AVX512_CD = 1 << 8;
        /// `Avx512BW`
        const AVX512_BW = 1 << 9;
        /// `Avx512VL`
        const AVX512_VL = 1 << 10;
        /// `XsaveComp`
        const XSAVE_COMP = 1 << 11;
        /// `XsaveSupervisor`
        const XSAVE_SUPERVISOR = 1 << 12;
        /// `Xcr1`
        const XCR1 = 1 << 13;
        /// `Avx512Bitalg`
        const AVX512_BITALG = 1 << 14;
        /// `Avx512Ifma`
        const AVX512_IFMA = 1 << 15;
        /// `Avx512VBmi`
        const AVX512_VBMI = 1 << 16;
        /// `Avx512VBmi2`
        const AVX512_VBMI2 = 1 << 17;
        /// `Avx512Vnni`
        const AVX512_VNNI = 1 << 18;
        /// `Gfni`
        const GFNI = 1 << 19;
        /// `Vaes`
        const VAES = 1 << 20;
        /// `Avx512VPopcntdq`
        const AVX512_VPOPCNTDQ = 1 << 21;
        /// `Vpclmulqdq`
        const VPCLMULQDQ = 1 << 22;
        /// `Avx512Bf16`
        const AVX512_BF16 = 1 << 23;
        /// `Avx512Vp2Intersect`
        const AVX512_VP2_INTERSECT = 1 << 24;
        /// `Avx512Fp16`
        const AVX512_FP16 = 1 << 25;
        /// `Xfd`
        const XFD = 1 << 26;
        /// `AmxTile`
        const AMX_TILE = 1 << 27;
        /// `AmxBf16`
        const AMX_BF16 = 1 << 28;
        /// `AmxInt8`
        const AMX_INT8 = 1 << 29;
        /// `AvxVnni`
        const AVX_VNNI = 1 << 30;
        /// `AvxIfma`
        const AVX_IFMA = 1 << 31;
        /// `AvxNeConvert`
        const AVX_NE_CONVERT = 1 << 32;
        /// `AvxVnniInt8`
        const AVX_VNNI_INT8 = 1 << 33;
        /// `AvxVnniInt16`
        const AVX_VNNI_INT16 = 1 << 34;
        /// `Avx10_1_256`
        const AVX10_1_256 = 1 << 35;
        /// `Avx10_1_512`
        const AVX10_1_512 = 1 << 36;
        /// `AmxFp16`
        const AMX_FP16 = 1 << 37;
        const _ = !0;
    }
}
