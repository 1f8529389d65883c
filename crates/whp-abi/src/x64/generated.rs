//! Made by `crates/whp-abi/generator` from Microsoft's Windows metadata; do not edit.

pub type BOOL = i32;
pub type DEVICE_POWER_STATE = i32;
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct GUID {
    pub data1: u32,
    pub data2: u16,
    pub data3: u16,
    pub data4: [u8; 8],
}
pub type HANDLE = *mut core::ffi::c_void;
pub type HRESULT = i32;
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct LUID {
    pub LowPart: u32,
    pub HighPart: i32,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub union WHV_ACCESS_GPA_CONTROLS {
    pub AsUINT64: u64,
    pub Anonymous: WHV_ACCESS_GPA_CONTROLS_0,
}
impl Default for WHV_ACCESS_GPA_CONTROLS {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct WHV_ACCESS_GPA_CONTROLS_0 {
    pub CacheType: WHV_CACHE_TYPE,
    pub InputVtl: WHV_INPUT_VTL,
    pub Reserved: u8,
    pub Reserved1: u16,
}
impl Default for WHV_ACCESS_GPA_CONTROLS_0 {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
#[repr(C)]
#[derive(Clone, Copy)]
pub union WHV_ADVISE_GPA_RANGE {
    pub Populate: WHV_ADVISE_GPA_RANGE_POPULATE,
}
impl Default for WHV_ADVISE_GPA_RANGE {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
pub type WHV_ADVISE_GPA_RANGE_CODE = i32;
#[repr(C)]
#[derive(Clone, Copy)]
pub struct WHV_ADVISE_GPA_RANGE_POPULATE {
    pub Flags: WHV_ADVISE_GPA_RANGE_POPULATE_FLAGS,
    pub AccessType: WHV_MEMORY_ACCESS_TYPE,
}
impl Default for WHV_ADVISE_GPA_RANGE_POPULATE {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
#[repr(C)]
#[derive(Clone, Copy)]
pub union WHV_ADVISE_GPA_RANGE_POPULATE_FLAGS {
    pub AsUINT32: u32,
    pub Anonymous: WHV_ADVISE_GPA_RANGE_POPULATE_FLAGS_0,
}
impl Default for WHV_ADVISE_GPA_RANGE_POPULATE_FLAGS {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct WHV_ADVISE_GPA_RANGE_POPULATE_FLAGS_0 {
    pub _bitfield: u32,
}
pub type WHV_ALLOCATE_VPCI_RESOURCE_FLAGS = u32;
pub const WHV_ANY_VP: u32 = 4294967295;
pub type WHV_CACHE_TYPE = i32;
#[repr(C)]
#[derive(Clone, Copy)]
pub union WHV_CAPABILITY {
    pub HypervisorPresent: BOOL,
    pub Features: WHV_CAPABILITY_FEATURES,
    pub ExtendedVmExits: WHV_EXTENDED_VM_EXITS,
    pub ProcessorVendor: WHV_PROCESSOR_VENDOR,
    pub ProcessorFeatures: WHV_PROCESSOR_FEATURES,
    pub SyntheticProcessorFeaturesBanks: WHV_SYNTHETIC_PROCESSOR_FEATURES_BANKS,
    pub ProcessorClFlushSize: u8,
    pub ProcessorClockFrequency: u64,
    pub ProcessorFeaturesBanks: WHV_PROCESSOR_FEATURES_BANKS,
    pub GpaRangePopulateFlags: WHV_ADVISE_GPA_RANGE_POPULATE_FLAGS,
    pub ProcessorFrequencyCap: WHV_CAPABILITY_PROCESSOR_FREQUENCY_CAP,
    pub SchedulerFeatures: WHV_SCHEDULER_FEATURES,
    pub PhysicalAddressWidth: u32,
    pub NestedFeatureRegister: u64,
    pub ProcessorXsaveFeatures: WHV_PROCESSOR_XSAVE_FEATURES,
    pub InterruptClockFrequency: u64,
    pub ProcessorPerfmonFeatures: WHV_PROCESSOR_PERFMON_FEATURES,
    pub X64MsrExitBitmap: WHV_X64_MSR_EXIT_BITMAP,
    pub ExceptionExitBitmap: u64,
}
impl Default for WHV_CAPABILITY {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
pub type WHV_CAPABILITY_CODE = i32;
#[repr(C)]
#[derive(Clone, Copy)]
pub union WHV_CAPABILITY_FEATURES {
    pub Anonymous: WHV_CAPABILITY_FEATURES_0,
    pub AsUINT64: u64,
}
impl Default for WHV_CAPABILITY_FEATURES {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct WHV_CAPABILITY_FEATURES_0 {
    pub _bitfield: u64,
}
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct WHV_CAPABILITY_PROCESSOR_FREQUENCY_CAP {
    pub _bitfield: u32,
    pub HighestFrequencyMhz: u32,
    pub NominalFrequencyMhz: u32,
    pub LowestFrequencyMhz: u32,
    pub FrequencyStepMhz: u32,
}
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct WHV_CPUID_OUTPUT {
    pub Eax: u32,
    pub Ebx: u32,
    pub Ecx: u32,
    pub Edx: u32,
}
pub type WHV_CREATE_VPCI_DEVICE_FLAGS = u32;
pub type WHV_DELIVERABILITY_NOTIFICATIONS_REGISTER = WHV_X64_DELIVERABILITY_NOTIFICATIONS_REGISTER;
#[repr(C)]
#[derive(Clone, Copy)]
pub union WHV_DISABLE_PARTITION_VTL_FLAGS {
    pub AsUINT8: u8,
    pub Anonymous: WHV_DISABLE_PARTITION_VTL_FLAGS_0,
}
impl Default for WHV_DISABLE_PARTITION_VTL_FLAGS {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct WHV_DISABLE_PARTITION_VTL_FLAGS_0 {
    pub _bitfield: u8,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub union WHV_DISABLE_VP_VTL_FLAGS {
    pub AsUINT8: u8,
    pub Anonymous: WHV_DISABLE_VP_VTL_FLAGS_0,
}
impl Default for WHV_DISABLE_VP_VTL_FLAGS {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct WHV_DISABLE_VP_VTL_FLAGS_0 {
    pub _bitfield: u8,
}
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct WHV_DOORBELL_MATCH_DATA {
    pub GuestAddress: WHV_GUEST_PHYSICAL_ADDRESS,
    pub Value: u64,
    pub Length: u32,
    pub _bitfield: u32,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub union WHV_ENABLE_PARTITION_VTL_FLAGS {
    pub AsUINT8: u8,
    pub Anonymous: WHV_ENABLE_PARTITION_VTL_FLAGS_0,
}
impl Default for WHV_ENABLE_PARTITION_VTL_FLAGS {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct WHV_ENABLE_PARTITION_VTL_FLAGS_0 {
    pub _bitfield: u8,
}
pub type WHV_EXCEPTION_TYPE = i32;
#[repr(C)]
#[derive(Clone, Copy)]
pub union WHV_EXTENDED_VM_EXITS {
    pub Anonymous: WHV_EXTENDED_VM_EXITS_0,
    pub AsUINT64: u64,
}
impl Default for WHV_EXTENDED_VM_EXITS {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct WHV_EXTENDED_VM_EXITS_0 {
    pub _bitfield: u64,
}
pub const WHV_EXTENDED_VM_EXITS_RESERVED_BITFIELD_COUNT: i32 = 49;
pub const WHV_E_GPA_RANGE_NOT_FOUND: HRESULT = 0x80370305_u32 as _;
pub const WHV_E_INSUFFICIENT_BUFFER: HRESULT = 0x80370301_u32 as _;
pub const WHV_E_INVALID_PARTITION_CONFIG: HRESULT = 0x80370304_u32 as _;
pub const WHV_E_INVALID_VP_REGISTER_NAME: HRESULT = 0x80370309_u32 as _;
pub const WHV_E_INVALID_VP_STATE: HRESULT = 0x80370308_u32 as _;
pub const WHV_E_UNKNOWN_CAPABILITY: HRESULT = 0x80370300_u32 as _;
pub const WHV_E_UNKNOWN_PROPERTY: HRESULT = 0x80370302_u32 as _;
pub const WHV_E_UNSUPPORTED_HYPERVISOR_CONFIG: HRESULT = 0x80370303_u32 as _;
pub const WHV_E_UNSUPPORTED_PROCESSOR_CONFIG: HRESULT = 0x80370310_u32 as _;
pub const WHV_E_VP_ALREADY_EXISTS: HRESULT = 0x80370306_u32 as _;
pub const WHV_E_VP_DOES_NOT_EXIST: HRESULT = 0x80370307_u32 as _;
pub type WHV_GUEST_PHYSICAL_ADDRESS = u64;
pub type WHV_GUEST_VIRTUAL_ADDRESS = u64;
#[repr(C)]
#[derive(Clone, Copy)]
pub struct WHV_HYPERCALL_CONTEXT {
    pub Rax: u64,
    pub Rbx: u64,
    pub Rcx: u64,
    pub Rdx: u64,
    pub R8: u64,
    pub Rsi: u64,
    pub Rdi: u64,
    pub Reserved0: u64,
    pub XmmRegisters: [WHV_UINT128; 6],
    pub Reserved1: [u64; 2],
}
impl Default for WHV_HYPERCALL_CONTEXT {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
pub const WHV_HYPERCALL_CONTEXT_MAX_XMM_REGISTERS: i32 = 6;
#[repr(C)]
#[derive(Clone, Copy)]
pub struct WHV_INITIAL_VP_CONTEXT {
    pub Rip: u64,
    pub Rsp: u64,
    pub Rflags: u64,
    pub Cs: WHV_X64_SEGMENT_REGISTER,
    pub Ds: WHV_X64_SEGMENT_REGISTER,
    pub Es: WHV_X64_SEGMENT_REGISTER,
    pub Fs: WHV_X64_SEGMENT_REGISTER,
    pub Gs: WHV_X64_SEGMENT_REGISTER,
    pub Ss: WHV_X64_SEGMENT_REGISTER,
    pub Tr: WHV_X64_SEGMENT_REGISTER,
    pub Ldtr: WHV_X64_SEGMENT_REGISTER,
    pub Idtr: WHV_X64_TABLE_REGISTER,
    pub Gdtr: WHV_X64_TABLE_REGISTER,
    pub Efer: u64,
    pub Cr0: u64,
    pub Cr3: u64,
    pub Cr4: u64,
    pub MsrCrPat: u64,
}
impl Default for WHV_INITIAL_VP_CONTEXT {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
#[repr(C)]
#[derive(Clone, Copy)]
pub union WHV_INPUT_VTL {
    pub AsUINT8: u8,
    pub Anonymous: WHV_INPUT_VTL_0,
}
impl Default for WHV_INPUT_VTL {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct WHV_INPUT_VTL_0 {
    pub _bitfield: u8,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub union WHV_INTERNAL_ACTIVITY_REGISTER {
    pub Anonymous: WHV_INTERNAL_ACTIVITY_REGISTER_0,
    pub AsUINT64: u64,
}
impl Default for WHV_INTERNAL_ACTIVITY_REGISTER {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct WHV_INTERNAL_ACTIVITY_REGISTER_0 {
    pub _bitfield: u64,
}
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct WHV_INTERRUPT_CONTROL {
    pub _bitfield: u64,
    pub Destination: u32,
    pub Vector: u32,
}
pub type WHV_INTERRUPT_DESTINATION_MODE = i32;
pub type WHV_INTERRUPT_TRIGGER_MODE = i32;
pub type WHV_INTERRUPT_TYPE = i32;
pub type WHV_MAP_GPA_RANGE_FLAGS = u32;
pub const WHV_MAX_DEVICE_ID_SIZE_IN_CHARS: i32 = 200;
#[repr(C)]
#[derive(Clone, Copy)]
pub struct WHV_MEMORY_ACCESS_CONTEXT {
    pub InstructionByteCount: u8,
    pub Reserved: [u8; 3],
    pub InstructionBytes: [u8; 16],
    pub AccessInfo: WHV_MEMORY_ACCESS_INFO,
    pub Gpa: WHV_GUEST_PHYSICAL_ADDRESS,
    pub Gva: WHV_GUEST_VIRTUAL_ADDRESS,
}
impl Default for WHV_MEMORY_ACCESS_CONTEXT {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
#[repr(C)]
#[derive(Clone, Copy)]
pub union WHV_MEMORY_ACCESS_INFO {
    pub Anonymous: WHV_MEMORY_ACCESS_INFO_0,
    pub AsUINT32: u32,
}
impl Default for WHV_MEMORY_ACCESS_INFO {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct WHV_MEMORY_ACCESS_INFO_0 {
    pub _bitfield: u32,
}
pub type WHV_MEMORY_ACCESS_TYPE = i32;
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct WHV_MEMORY_RANGE_ENTRY {
    pub GuestAddress: u64,
    pub SizeInBytes: u64,
}
pub type WHV_MSR_ACTION = i32;
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct WHV_MSR_ACTION_ENTRY {
    pub Index: u32,
    pub ReadAction: u8,
    pub WriteAction: u8,
    pub Reserved: u16,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct WHV_NESTED_ENLIGHTENMENTS_CONTROL {
    pub Features: WHV_NESTED_ENLIGHTENMENTS_CONTROL_0,
    pub HypercallControls: WHV_NESTED_ENLIGHTENMENTS_CONTROL_1,
}
impl Default for WHV_NESTED_ENLIGHTENMENTS_CONTROL {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
#[repr(C)]
#[derive(Clone, Copy)]
pub union WHV_NESTED_ENLIGHTENMENTS_CONTROL_0 {
    pub AsUINT32: u32,
    pub Anonymous: WHV_NESTED_ENLIGHTENMENTS_CONTROL_0_0,
}
impl Default for WHV_NESTED_ENLIGHTENMENTS_CONTROL_0 {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct WHV_NESTED_ENLIGHTENMENTS_CONTROL_0_0 {
    pub _bitfield: u32,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub union WHV_NESTED_ENLIGHTENMENTS_CONTROL_1 {
    pub AsUINT32: u32,
    pub Anonymous: WHV_NESTED_ENLIGHTENMENTS_CONTROL_1_0,
}
impl Default for WHV_NESTED_ENLIGHTENMENTS_CONTROL_1 {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct WHV_NESTED_ENLIGHTENMENTS_CONTROL_1_0 {
    pub _bitfield: u32,
}
pub type WHV_NESTED_STATE_TYPE = i32;
pub type WHV_NOTIFICATION_PORT_HANDLE = *mut core::ffi::c_void;
#[repr(C)]
#[derive(Clone, Copy)]
pub struct WHV_NOTIFICATION_PORT_PARAMETERS {
    pub NotificationPortType: WHV_NOTIFICATION_PORT_TYPE,
    pub Reserved: u16,
    pub Reserved1: u8,
    pub ConnectionVtl: u8,
    pub Anonymous: WHV_NOTIFICATION_PORT_PARAMETERS_0,
}
impl Default for WHV_NOTIFICATION_PORT_PARAMETERS {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
#[repr(C)]
#[derive(Clone, Copy)]
pub union WHV_NOTIFICATION_PORT_PARAMETERS_0 {
    pub Doorbell: WHV_DOORBELL_MATCH_DATA,
    pub Event: WHV_NOTIFICATION_PORT_PARAMETERS_0_0,
}
impl Default for WHV_NOTIFICATION_PORT_PARAMETERS_0 {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct WHV_NOTIFICATION_PORT_PARAMETERS_0_0 {
    pub ConnectionId: u32,
}
pub const WHV_NOTIFICATION_PORT_PREFERRED_DURATION_MAX: u64 = 18446744073709551615;
pub type WHV_NOTIFICATION_PORT_PROPERTY = u64;
pub type WHV_NOTIFICATION_PORT_PROPERTY_CODE = i32;
pub type WHV_NOTIFICATION_PORT_TYPE = i32;
pub type WHV_PARTITION_COUNTER_SET = i32;
pub type WHV_PARTITION_HANDLE = *mut core::ffi::c_void;
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct WHV_PARTITION_MEMORY_COUNTERS {
    pub Mapped4KPageCount: u64,
    pub Mapped2MPageCount: u64,
    pub Mapped1GPageCount: u64,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub union WHV_PARTITION_PROPERTY {
    pub ExtendedVmExits: WHV_EXTENDED_VM_EXITS,
    pub ProcessorFeatures: WHV_PROCESSOR_FEATURES,
    pub SyntheticProcessorFeaturesBanks: WHV_SYNTHETIC_PROCESSOR_FEATURES_BANKS,
    pub ProcessorClFlushSize: u8,
    pub ProcessorCount: u32,
    pub SeparateSecurityDomain: BOOL,
    pub NestedVirtualization: BOOL,
    pub ProcessorClockFrequency: u64,
    pub ProcessorFeaturesBanks: WHV_PROCESSOR_FEATURES_BANKS,
    pub ReferenceTime: u64,
    pub PrimaryNumaNode: u16,
    pub CpuReserve: u32,
    pub CpuCap: u32,
    pub CpuWeight: u32,
    pub CpuGroupId: u64,
    pub ProcessorFrequencyCap: u32,
    pub AllowDeviceAssignment: BOOL,
    pub DisableSmt: BOOL,
    pub PhysicalAddressWidth: u32,
    pub ProcessorXsaveFeatures: WHV_PROCESSOR_XSAVE_FEATURES,
    pub CpuidExitList: [u32; 1],
    pub ExceptionExitBitmap: u64,
    pub ApicRemoteRead: BOOL,
    pub X64MsrExitBitmap: WHV_X64_MSR_EXIT_BITMAP,
    pub ProcessorPerfmonFeatures: WHV_PROCESSOR_PERFMON_FEATURES,
    pub InterruptClockFrequency: u64,
    pub CpuidResultList: [WHV_X64_CPUID_RESULT; 1],
    pub CpuidResultList2: [WHV_X64_CPUID_RESULT2; 1],
    pub MsrActionList: [WHV_MSR_ACTION_ENTRY; 1],
    pub UnimplementedMsrAction: WHV_MSR_ACTION,
    pub LocalApicEmulationMode: WHV_X64_LOCAL_APIC_EMULATION_MODE,
}
impl Default for WHV_PARTITION_PROPERTY {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
pub type WHV_PARTITION_PROPERTY_CODE = i32;
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct WHV_PROCESSOR_ACTIVITY_COUNTERS {
    pub PageInvalidations: WHV_PROCESSOR_INTERCEPT_COUNTER,
    pub ControlRegisterAccesses: WHV_PROCESSOR_INTERCEPT_COUNTER,
    pub IoInstructions: WHV_PROCESSOR_INTERCEPT_COUNTER,
    pub HaltInstructions: WHV_PROCESSOR_INTERCEPT_COUNTER,
    pub CpuidInstructions: WHV_PROCESSOR_INTERCEPT_COUNTER,
    pub MsrAccesses: WHV_PROCESSOR_INTERCEPT_COUNTER,
    pub OtherIntercepts: WHV_PROCESSOR_INTERCEPT_COUNTER,
    pub PendingInterrupts: WHV_PROCESSOR_INTERCEPT_COUNTER,
    pub EmulatedInstructions: WHV_PROCESSOR_INTERCEPT_COUNTER,
    pub DebugRegisterAccesses: WHV_PROCESSOR_INTERCEPT_COUNTER,
    pub PageFaultIntercepts: WHV_PROCESSOR_INTERCEPT_COUNTER,
    pub NestedPageFaultIntercepts: WHV_PROCESSOR_INTERCEPT_COUNTER,
    pub Hypercalls: WHV_PROCESSOR_INTERCEPT_COUNTER,
    pub RdpmcInstructions: WHV_PROCESSOR_INTERCEPT_COUNTER,
}
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct WHV_PROCESSOR_APIC_COUNTERS {
    pub MmioAccessCount: u64,
    pub EoiAccessCount: u64,
    pub TprAccessCount: u64,
    pub SentIpiCount: u64,
    pub SelfIpiCount: u64,
}
pub type WHV_PROCESSOR_COUNTER_SET = i32;
#[repr(C)]
#[derive(Clone, Copy)]
pub union WHV_PROCESSOR_FEATURES {
    pub Anonymous: WHV_PROCESSOR_FEATURES_0,
    pub AsUINT64: u64,
}
impl Default for WHV_PROCESSOR_FEATURES {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct WHV_PROCESSOR_FEATURES_0 {
    pub _bitfield: u64,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub union WHV_PROCESSOR_FEATURES1 {
    pub Anonymous: WHV_PROCESSOR_FEATURES1_0,
    pub AsUINT64: u64,
}
impl Default for WHV_PROCESSOR_FEATURES1 {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct WHV_PROCESSOR_FEATURES1_0 {
    pub _bitfield: u64,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct WHV_PROCESSOR_FEATURES_BANKS {
    pub BanksCount: u32,
    pub Reserved0: u32,
    pub Anonymous: WHV_PROCESSOR_FEATURES_BANKS_0,
}
impl Default for WHV_PROCESSOR_FEATURES_BANKS {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
#[repr(C)]
#[derive(Clone, Copy)]
pub union WHV_PROCESSOR_FEATURES_BANKS_0 {
    pub Anonymous: WHV_PROCESSOR_FEATURES_BANKS_0_0,
    pub AsUINT64: [u64; 2],
}
impl Default for WHV_PROCESSOR_FEATURES_BANKS_0 {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct WHV_PROCESSOR_FEATURES_BANKS_0_0 {
    pub Bank0: WHV_PROCESSOR_FEATURES,
    pub Bank1: WHV_PROCESSOR_FEATURES1,
}
impl Default for WHV_PROCESSOR_FEATURES_BANKS_0_0 {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
pub const WHV_PROCESSOR_FEATURES_BANKS_COUNT: i32 = 2;
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct WHV_PROCESSOR_GUEST_EVENT_COUNTERS {
    pub PageFaultCount: u64,
    pub ExceptionCount: u64,
    pub InterruptCount: u64,
}
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct WHV_PROCESSOR_INTERCEPT_COUNTER {
    pub Count: u64,
    pub Time100ns: u64,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub union WHV_PROCESSOR_PERFMON_FEATURES {
    pub Anonymous: WHV_PROCESSOR_PERFMON_FEATURES_0,
    pub AsUINT64: u64,
}
impl Default for WHV_PROCESSOR_PERFMON_FEATURES {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct WHV_PROCESSOR_PERFMON_FEATURES_0 {
    pub _bitfield: u64,
}
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct WHV_PROCESSOR_RUNTIME_COUNTERS {
    pub TotalRuntime100ns: u64,
    pub HypervisorRuntime100ns: u64,
}
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct WHV_PROCESSOR_SYNTHETIC_FEATURES_COUNTERS {
    pub SyntheticInterruptsCount: u64,
    pub LongSpinWaitHypercallsCount: u64,
    pub OtherHypercallsCount: u64,
    pub SyntheticInterruptHypercallsCount: u64,
    pub VirtualInterruptHypercallsCount: u64,
    pub VirtualMmuHypercallsCount: u64,
}
pub type WHV_PROCESSOR_VENDOR = i32;
#[repr(C)]
#[derive(Clone, Copy)]
pub union WHV_PROCESSOR_XSAVE_FEATURES {
    pub Anonymous: WHV_PROCESSOR_XSAVE_FEATURES_0,
    pub AsUINT64: u64,
}
impl Default for WHV_PROCESSOR_XSAVE_FEATURES {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct WHV_PROCESSOR_XSAVE_FEATURES_0 {
    pub _bitfield: u64,
}
pub const WHV_READ_WRITE_GPA_RANGE_MAX_SIZE: i32 = 16;
pub type WHV_REGISTER_NAME = i32;
#[repr(C)]
#[derive(Clone, Copy)]
pub union WHV_REGISTER_VALUE {
    pub Reg128: WHV_UINT128,
    pub Reg64: u64,
    pub Reg32: u32,
    pub Reg16: u16,
    pub Reg8: u8,
    pub InternalActivity: WHV_INTERNAL_ACTIVITY_REGISTER,
    pub DeliverabilityNotifications: WHV_DELIVERABILITY_NOTIFICATIONS_REGISTER,
    pub Fp: WHV_X64_FP_REGISTER,
    pub FpControlStatus: WHV_X64_FP_CONTROL_STATUS_REGISTER,
    pub XmmControlStatus: WHV_X64_XMM_CONTROL_STATUS_REGISTER,
    pub Segment: WHV_X64_SEGMENT_REGISTER,
    pub Table: WHV_X64_TABLE_REGISTER,
    pub InterruptState: WHV_X64_INTERRUPT_STATE_REGISTER,
    pub PendingInterruption: WHV_X64_PENDING_INTERRUPTION_REGISTER,
    pub ExceptionEvent: WHV_X64_PENDING_EXCEPTION_EVENT,
    pub ExtIntEvent: WHV_X64_PENDING_EXT_INT_EVENT,
    pub PendingDebugException: WHV_X64_PENDING_DEBUG_EXCEPTION,
    pub NestedState: WHV_X64_NESTED_GUEST_STATE,
    pub InvEpt: WHV_X64_NESTED_INVEPT_REGISTER,
    pub InvVpid: WHV_X64_NESTED_INVVPID_REGISTER,
    pub SvmNestedExit0: WHV_X64_PENDING_SVM_NESTED_EXIT_EVENT0,
    pub SvmNestedExit1: WHV_X64_PENDING_SVM_NESTED_EXIT_EVENT1,
    pub SvmNestedExit2: WHV_X64_PENDING_SVM_NESTED_EXIT_EVENT2,
    pub SvmNestedExit3: WHV_X64_PENDING_SVM_NESTED_EXIT_EVENT3,
    pub VmxNestedExit0: WHV_X64_PENDING_VMX_NESTED_EXIT_EVENT0,
    pub VmxNestedExit1: WHV_X64_PENDING_VMX_NESTED_EXIT_EVENT1,
    pub VmxNestedExit2: WHV_X64_PENDING_VMX_NESTED_EXIT_EVENT2,
    pub VmxNestedExit3: WHV_X64_PENDING_VMX_NESTED_EXIT_EVENT3,
}
impl Default for WHV_REGISTER_VALUE {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct WHV_RUN_VP_CANCELED_CONTEXT {
    pub CancelReason: WHV_RUN_VP_CANCEL_REASON,
}
pub type WHV_RUN_VP_CANCEL_REASON = i32;
#[repr(C)]
#[derive(Clone, Copy)]
pub struct WHV_RUN_VP_EXIT_CONTEXT {
    pub ExitReason: WHV_RUN_VP_EXIT_REASON,
    pub Reserved: u32,
    pub VpContext: WHV_VP_EXIT_CONTEXT,
    pub Anonymous: WHV_RUN_VP_EXIT_CONTEXT_0,
}
impl Default for WHV_RUN_VP_EXIT_CONTEXT {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
#[repr(C)]
#[derive(Clone, Copy)]
pub union WHV_RUN_VP_EXIT_CONTEXT_0 {
    pub MemoryAccess: WHV_MEMORY_ACCESS_CONTEXT,
    pub CancelReason: WHV_RUN_VP_CANCELED_CONTEXT,
    pub Hypercall: WHV_HYPERCALL_CONTEXT,
    pub SynicSintDeliverable: WHV_SYNIC_SINT_DELIVERABLE_CONTEXT,
    pub IoPortAccess: WHV_X64_IO_PORT_ACCESS_CONTEXT,
    pub MsrAccess: WHV_X64_MSR_ACCESS_CONTEXT,
    pub CpuidAccess: WHV_X64_CPUID_ACCESS_CONTEXT,
    pub VpException: WHV_VP_EXCEPTION_CONTEXT,
    pub InterruptWindow: WHV_X64_INTERRUPTION_DELIVERABLE_CONTEXT,
    pub UnsupportedFeature: WHV_X64_UNSUPPORTED_FEATURE_CONTEXT,
    pub ApicEoi: WHV_X64_APIC_EOI_CONTEXT,
    pub ReadTsc: WHV_X64_RDTSC_CONTEXT,
    pub ApicSmi: WHV_X64_APIC_SMI_CONTEXT,
    pub ApicInitSipi: WHV_X64_APIC_INIT_SIPI_CONTEXT,
    pub ApicWrite: WHV_X64_APIC_WRITE_CONTEXT,
    pub AsUINT64: [u64; 22],
}
impl Default for WHV_RUN_VP_EXIT_CONTEXT_0 {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
pub type WHV_RUN_VP_EXIT_REASON = i32;
#[repr(C)]
#[derive(Clone, Copy)]
pub union WHV_SCHEDULER_FEATURES {
    pub Anonymous: WHV_SCHEDULER_FEATURES_0,
    pub AsUINT64: u64,
}
impl Default for WHV_SCHEDULER_FEATURES {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct WHV_SCHEDULER_FEATURES_0 {
    pub _bitfield: u64,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct WHV_SRIOV_RESOURCE_DESCRIPTOR {
    pub PnpInstanceId: [u16; 200],
    pub VirtualFunctionId: LUID,
    pub VirtualFunctionIndex: u16,
    pub Reserved: u16,
}
impl Default for WHV_SRIOV_RESOURCE_DESCRIPTOR {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct WHV_SVM_NESTED_HOST_STATE {
    pub Rip: u64,
    pub Rsp: u64,
    pub Rflags: u64,
    pub Rax: u64,
    pub Es: WHV_SVM_VMCB_SELECTOR,
    pub Cs: WHV_SVM_VMCB_SELECTOR,
    pub Ss: WHV_SVM_VMCB_SELECTOR,
    pub Ds: WHV_SVM_VMCB_SELECTOR,
    pub Gdtr: WHV_SVM_VMCB_SELECTOR,
    pub Idtr: WHV_SVM_VMCB_SELECTOR,
    pub Efer: u64,
    pub Cr0: u64,
    pub Cr3: u64,
    pub Cr4: u64,
    pub VirtualTpr: u64,
    pub Reserved: [u64; 6],
}
impl Default for WHV_SVM_NESTED_HOST_STATE {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
#[repr(C, packed(1))]
#[derive(Clone, Copy, Default)]
pub struct WHV_SVM_VMCB_SELECTOR {
    pub Selector: u16,
    pub Attrib: u16,
    pub Limit: u32,
    pub Base: u64,
}
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct WHV_SYNIC_EVENT_PARAMETERS {
    pub VpIndex: u32,
    pub TargetSint: u8,
    pub TargetVtl: WHV_VTL,
    pub FlagNumber: u16,
}
pub const WHV_SYNIC_MESSAGE_SIZE: i32 = 256;
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct WHV_SYNIC_SINT_DELIVERABLE_CONTEXT {
    pub DeliverableSints: u16,
    pub Reserved1: u16,
    pub Reserved2: u32,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub union WHV_SYNTHETIC_PROCESSOR_FEATURES {
    pub Anonymous: WHV_SYNTHETIC_PROCESSOR_FEATURES_0,
    pub AsUINT64: u64,
}
impl Default for WHV_SYNTHETIC_PROCESSOR_FEATURES {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct WHV_SYNTHETIC_PROCESSOR_FEATURES_0 {
    pub _bitfield: u64,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct WHV_SYNTHETIC_PROCESSOR_FEATURES_BANKS {
    pub BanksCount: u32,
    pub Reserved0: u32,
    pub Anonymous: WHV_SYNTHETIC_PROCESSOR_FEATURES_BANKS_0,
}
impl Default for WHV_SYNTHETIC_PROCESSOR_FEATURES_BANKS {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
#[repr(C)]
#[derive(Clone, Copy)]
pub union WHV_SYNTHETIC_PROCESSOR_FEATURES_BANKS_0 {
    pub Anonymous: WHV_SYNTHETIC_PROCESSOR_FEATURES_BANKS_0_0,
    pub AsUINT64: [u64; 1],
}
impl Default for WHV_SYNTHETIC_PROCESSOR_FEATURES_BANKS_0 {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct WHV_SYNTHETIC_PROCESSOR_FEATURES_BANKS_0_0 {
    pub Bank0: WHV_SYNTHETIC_PROCESSOR_FEATURES,
}
impl Default for WHV_SYNTHETIC_PROCESSOR_FEATURES_BANKS_0_0 {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
pub const WHV_SYNTHETIC_PROCESSOR_FEATURES_BANKS_COUNT: i32 = 1;
pub const WHV_SYNTHETIC_PROCESSOR_FEATURES_RESERVED_BITFIELD_COUNT: i32 = 17;
#[repr(C)]
#[derive(Clone, Copy)]
pub union WHV_TRANSLATE_GVA_2_FLAGS {
    pub Anonymous: WHV_TRANSLATE_GVA_2_FLAGS_0,
    pub AsUINT64: u64,
}
impl Default for WHV_TRANSLATE_GVA_2_FLAGS {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct WHV_TRANSLATE_GVA_2_FLAGS_0 {
    pub _bitfield: u64,
}
pub type WHV_TRANSLATE_GVA_FLAGS = u32;
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct WHV_TRANSLATE_GVA_RESULT {
    pub ResultCode: WHV_TRANSLATE_GVA_RESULT_CODE,
    pub Reserved: u32,
}
pub type WHV_TRANSLATE_GVA_RESULT_CODE = i32;
pub type WHV_TRIGGER_HANDLE = *mut core::ffi::c_void;
#[repr(C)]
#[derive(Clone, Copy)]
pub struct WHV_TRIGGER_PARAMETERS {
    pub TriggerType: WHV_TRIGGER_TYPE,
    pub Reserved: u32,
    pub Anonymous: WHV_TRIGGER_PARAMETERS_0,
}
impl Default for WHV_TRIGGER_PARAMETERS {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
#[repr(C)]
#[derive(Clone, Copy)]
pub union WHV_TRIGGER_PARAMETERS_0 {
    pub Interrupt: WHV_INTERRUPT_CONTROL,
    pub SynicEvent: WHV_SYNIC_EVENT_PARAMETERS,
    pub DeviceInterrupt: WHV_TRIGGER_PARAMETERS_0_0,
}
impl Default for WHV_TRIGGER_PARAMETERS_0 {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct WHV_TRIGGER_PARAMETERS_0_0 {
    pub LogicalDeviceId: u64,
    pub MsiAddress: u64,
    pub MsiData: u32,
    pub Reserved: u32,
}
pub type WHV_TRIGGER_TYPE = i32;
#[repr(C, align(16))]
#[derive(Clone, Copy)]
pub union WHV_UINT128 {
    pub Anonymous: WHV_UINT128_0,
    pub Dword: [u32; 4],
}
impl Default for WHV_UINT128 {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct WHV_UINT128_0 {
    pub Low64: u64,
    pub High64: u64,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct WHV_VIRTUAL_PROCESSOR_PROPERTY {
    pub PropertyCode: WHV_VIRTUAL_PROCESSOR_PROPERTY_CODE,
    pub Reserved: u32,
    pub Anonymous: WHV_VIRTUAL_PROCESSOR_PROPERTY_0,
}
impl Default for WHV_VIRTUAL_PROCESSOR_PROPERTY {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
#[repr(C)]
#[derive(Clone, Copy)]
pub union WHV_VIRTUAL_PROCESSOR_PROPERTY_0 {
    pub NumaNode: u16,
    pub Padding: u64,
}
impl Default for WHV_VIRTUAL_PROCESSOR_PROPERTY_0 {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
pub type WHV_VIRTUAL_PROCESSOR_PROPERTY_CODE = i32;
pub type WHV_VIRTUAL_PROCESSOR_STATE_TYPE = i32;
#[repr(C)]
#[derive(Clone, Copy)]
pub struct WHV_VPCI_DEVICE_NOTIFICATION {
    pub NotificationType: WHV_VPCI_DEVICE_NOTIFICATION_TYPE,
    pub Reserved1: u32,
    pub Anonymous: WHV_VPCI_DEVICE_NOTIFICATION_0,
}
impl Default for WHV_VPCI_DEVICE_NOTIFICATION {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
#[repr(C)]
#[derive(Clone, Copy)]
pub union WHV_VPCI_DEVICE_NOTIFICATION_0 {
    pub Reserved2: u64,
}
impl Default for WHV_VPCI_DEVICE_NOTIFICATION_0 {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
pub type WHV_VPCI_DEVICE_NOTIFICATION_TYPE = i32;
pub type WHV_VPCI_DEVICE_PROPERTY_CODE = i32;
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct WHV_VPCI_DEVICE_REGISTER {
    pub Location: WHV_VPCI_DEVICE_REGISTER_SPACE,
    pub SizeInBytes: u32,
    pub OffsetInBytes: u64,
}
pub type WHV_VPCI_DEVICE_REGISTER_SPACE = i32;
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct WHV_VPCI_HARDWARE_IDS {
    pub VendorID: u16,
    pub DeviceID: u16,
    pub RevisionID: u8,
    pub ProgIf: u8,
    pub SubClass: u8,
    pub BaseClass: u8,
    pub SubVendorID: u16,
    pub SubSystemID: u16,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct WHV_VPCI_INTERRUPT_TARGET {
    pub Vector: u32,
    pub Flags: WHV_VPCI_INTERRUPT_TARGET_FLAGS,
    pub ProcessorCount: u32,
    pub Processors: [u32; 1],
}
impl Default for WHV_VPCI_INTERRUPT_TARGET {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
pub type WHV_VPCI_INTERRUPT_TARGET_FLAGS = u32;
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct WHV_VPCI_MMIO_MAPPING {
    pub Location: WHV_VPCI_DEVICE_REGISTER_SPACE,
    pub Flags: WHV_VPCI_MMIO_RANGE_FLAGS,
    pub SizeInBytes: u64,
    pub OffsetInBytes: u64,
    pub VirtualAddress: *mut core::ffi::c_void,
}
pub type WHV_VPCI_MMIO_RANGE_FLAGS = u32;
#[repr(C)]
#[derive(Clone, Copy)]
pub struct WHV_VPCI_PROBED_BARS {
    pub Value: [u32; 6],
}
impl Default for WHV_VPCI_PROBED_BARS {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
pub const WHV_VPCI_TYPE0_BAR_COUNT: i32 = 6;
#[repr(C)]
#[derive(Clone, Copy)]
pub struct WHV_VP_EXCEPTION_CONTEXT {
    pub InstructionByteCount: u8,
    pub Reserved: [u8; 3],
    pub InstructionBytes: [u8; 16],
    pub ExceptionInfo: WHV_VP_EXCEPTION_INFO,
    pub ExceptionType: u8,
    pub Reserved2: [u8; 3],
    pub ErrorCode: u32,
    pub ExceptionParameter: u64,
}
impl Default for WHV_VP_EXCEPTION_CONTEXT {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
#[repr(C)]
#[derive(Clone, Copy)]
pub union WHV_VP_EXCEPTION_INFO {
    pub Anonymous: WHV_VP_EXCEPTION_INFO_0,
    pub AsUINT32: u32,
}
impl Default for WHV_VP_EXCEPTION_INFO {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct WHV_VP_EXCEPTION_INFO_0 {
    pub _bitfield: u32,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct WHV_VP_EXIT_CONTEXT {
    pub ExecutionState: WHV_X64_VP_EXECUTION_STATE,
    pub _bitfield: u8,
    pub Reserved: u8,
    pub Reserved2: u32,
    pub Cs: WHV_X64_SEGMENT_REGISTER,
    pub Rip: u64,
    pub Rflags: u64,
}
impl Default for WHV_VP_EXIT_CONTEXT {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
pub type WHV_VTL = u8;
pub const WHV_VTL_ALL: i32 = 15;
#[repr(C)]
#[derive(Clone, Copy)]
pub union WHV_VTL_PERMISSION_SET {
    pub AsUINT32: u32,
    pub Anonymous: WHV_VTL_PERMISSION_SET_0,
}
impl Default for WHV_VTL_PERMISSION_SET {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct WHV_VTL_PERMISSION_SET_0 {
    pub VtlPermissionFrom1: [u16; 2],
}
impl Default for WHV_VTL_PERMISSION_SET_0 {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct WHV_X64_APIC_EOI_CONTEXT {
    pub InterruptVector: u32,
}
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct WHV_X64_APIC_INIT_SIPI_CONTEXT {
    pub ApicIcr: u64,
}
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct WHV_X64_APIC_SMI_CONTEXT {
    pub ApicIcr: u64,
}
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct WHV_X64_APIC_WRITE_CONTEXT {
    pub Type: WHV_X64_APIC_WRITE_TYPE,
    pub Reserved: u32,
    pub WriteValue: u64,
}
pub type WHV_X64_APIC_WRITE_TYPE = i32;
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct WHV_X64_CPUID_ACCESS_CONTEXT {
    pub Rax: u64,
    pub Rcx: u64,
    pub Rdx: u64,
    pub Rbx: u64,
    pub DefaultResultRax: u64,
    pub DefaultResultRcx: u64,
    pub DefaultResultRdx: u64,
    pub DefaultResultRbx: u64,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct WHV_X64_CPUID_RESULT {
    pub Function: u32,
    pub Reserved: [u32; 3],
    pub Eax: u32,
    pub Ebx: u32,
    pub Ecx: u32,
    pub Edx: u32,
}
impl Default for WHV_X64_CPUID_RESULT {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct WHV_X64_CPUID_RESULT2 {
    pub Function: u32,
    pub Index: u32,
    pub VpIndex: u32,
    pub Flags: WHV_X64_CPUID_RESULT2_FLAGS,
    pub Output: WHV_CPUID_OUTPUT,
    pub Mask: WHV_CPUID_OUTPUT,
}
pub type WHV_X64_CPUID_RESULT2_FLAGS = u32;
#[repr(C)]
#[derive(Clone, Copy)]
pub union WHV_X64_DELIVERABILITY_NOTIFICATIONS_REGISTER {
    pub Anonymous: WHV_X64_DELIVERABILITY_NOTIFICATIONS_REGISTER_0,
    pub AsUINT64: u64,
}
impl Default for WHV_X64_DELIVERABILITY_NOTIFICATIONS_REGISTER {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct WHV_X64_DELIVERABILITY_NOTIFICATIONS_REGISTER_0 {
    pub _bitfield: u64,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub union WHV_X64_FP_CONTROL_STATUS_REGISTER {
    pub Anonymous: WHV_X64_FP_CONTROL_STATUS_REGISTER_0,
    pub AsUINT128: WHV_UINT128,
}
impl Default for WHV_X64_FP_CONTROL_STATUS_REGISTER {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct WHV_X64_FP_CONTROL_STATUS_REGISTER_0 {
    pub FpControl: u16,
    pub FpStatus: u16,
    pub FpTag: u8,
    pub Reserved: u8,
    pub LastFpOp: u16,
    pub Anonymous: WHV_X64_FP_CONTROL_STATUS_REGISTER_0_0,
}
impl Default for WHV_X64_FP_CONTROL_STATUS_REGISTER_0 {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
#[repr(C)]
#[derive(Clone, Copy)]
pub union WHV_X64_FP_CONTROL_STATUS_REGISTER_0_0 {
    pub LastFpRip: u64,
    pub Anonymous: WHV_X64_FP_CONTROL_STATUS_REGISTER_0_0_0,
}
impl Default for WHV_X64_FP_CONTROL_STATUS_REGISTER_0_0 {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct WHV_X64_FP_CONTROL_STATUS_REGISTER_0_0_0 {
    pub LastFpEip: u32,
    pub LastFpCs: u16,
    pub Reserved2: u16,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub union WHV_X64_FP_REGISTER {
    pub Anonymous: WHV_X64_FP_REGISTER_0,
    pub AsUINT128: WHV_UINT128,
}
impl Default for WHV_X64_FP_REGISTER {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct WHV_X64_FP_REGISTER_0 {
    pub Mantissa: u64,
    pub _bitfield: u64,
}
pub type WHV_X64_HYPERCALL_CONTEXT = WHV_HYPERCALL_CONTEXT;
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct WHV_X64_INTERRUPTION_DELIVERABLE_CONTEXT {
    pub DeliverableType: WHV_X64_PENDING_INTERRUPTION_TYPE,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub union WHV_X64_INTERRUPT_STATE_REGISTER {
    pub Anonymous: WHV_X64_INTERRUPT_STATE_REGISTER_0,
    pub AsUINT64: u64,
}
impl Default for WHV_X64_INTERRUPT_STATE_REGISTER {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct WHV_X64_INTERRUPT_STATE_REGISTER_0 {
    pub _bitfield: u64,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct WHV_X64_IO_PORT_ACCESS_CONTEXT {
    pub InstructionByteCount: u8,
    pub Reserved: [u8; 3],
    pub InstructionBytes: [u8; 16],
    pub AccessInfo: WHV_X64_IO_PORT_ACCESS_INFO,
    pub PortNumber: u16,
    pub Reserved2: [u16; 3],
    pub Rax: u64,
    pub Rcx: u64,
    pub Rsi: u64,
    pub Rdi: u64,
    pub Ds: WHV_X64_SEGMENT_REGISTER,
    pub Es: WHV_X64_SEGMENT_REGISTER,
}
impl Default for WHV_X64_IO_PORT_ACCESS_CONTEXT {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
#[repr(C)]
#[derive(Clone, Copy)]
pub union WHV_X64_IO_PORT_ACCESS_INFO {
    pub Anonymous: WHV_X64_IO_PORT_ACCESS_INFO_0,
    pub AsUINT32: u32,
}
impl Default for WHV_X64_IO_PORT_ACCESS_INFO {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct WHV_X64_IO_PORT_ACCESS_INFO_0 {
    pub _bitfield: u32,
}
pub type WHV_X64_LOCAL_APIC_EMULATION_MODE = i32;
#[repr(C)]
#[derive(Clone, Copy)]
pub struct WHV_X64_MSR_ACCESS_CONTEXT {
    pub AccessInfo: WHV_X64_MSR_ACCESS_INFO,
    pub MsrNumber: u32,
    pub Rax: u64,
    pub Rdx: u64,
}
impl Default for WHV_X64_MSR_ACCESS_CONTEXT {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
#[repr(C)]
#[derive(Clone, Copy)]
pub union WHV_X64_MSR_ACCESS_INFO {
    pub Anonymous: WHV_X64_MSR_ACCESS_INFO_0,
    pub AsUINT32: u32,
}
impl Default for WHV_X64_MSR_ACCESS_INFO {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct WHV_X64_MSR_ACCESS_INFO_0 {
    pub _bitfield: u32,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub union WHV_X64_MSR_EXIT_BITMAP {
    pub AsUINT64: u64,
    pub Anonymous: WHV_X64_MSR_EXIT_BITMAP_0,
}
impl Default for WHV_X64_MSR_EXIT_BITMAP {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct WHV_X64_MSR_EXIT_BITMAP_0 {
    pub _bitfield: u64,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub union WHV_X64_NESTED_GUEST_STATE {
    pub Anonymous: WHV_X64_NESTED_GUEST_STATE_0,
    pub AsUINT128: WHV_UINT128,
}
impl Default for WHV_X64_NESTED_GUEST_STATE {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct WHV_X64_NESTED_GUEST_STATE_0 {
    pub _bitfield: u64,
    pub Reserved1: u64,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub union WHV_X64_NESTED_INVEPT_REGISTER {
    pub Anonymous: WHV_X64_NESTED_INVEPT_REGISTER_0,
    pub AsUINT128: WHV_UINT128,
}
impl Default for WHV_X64_NESTED_INVEPT_REGISTER {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct WHV_X64_NESTED_INVEPT_REGISTER_0 {
    pub Type: u8,
    pub Reserved: [u8; 7],
    pub Eptp: u64,
}
impl Default for WHV_X64_NESTED_INVEPT_REGISTER_0 {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
#[repr(C)]
#[derive(Clone, Copy)]
pub union WHV_X64_NESTED_INVVPID_REGISTER {
    pub Anonymous: WHV_X64_NESTED_INVVPID_REGISTER_0,
    pub AsUINT128: WHV_UINT128,
}
impl Default for WHV_X64_NESTED_INVVPID_REGISTER {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct WHV_X64_NESTED_INVVPID_REGISTER_0 {
    pub Type: u8,
    pub Reserved: [u8; 3],
    pub Vpid: u32,
    pub LinearAddress: u64,
}
impl Default for WHV_X64_NESTED_INVVPID_REGISTER_0 {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
#[repr(C)]
#[derive(Clone, Copy)]
pub union WHV_X64_NESTED_STATE {
    pub Vmx: WHV_X64_VMX_NESTED_STATE,
    pub Svm: WHV_X64_SVM_NESTED_STATE,
}
impl Default for WHV_X64_NESTED_STATE {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
#[repr(C)]
#[derive(Clone, Copy)]
pub union WHV_X64_PENDING_DEBUG_EXCEPTION {
    pub AsUINT64: u64,
    pub Anonymous: WHV_X64_PENDING_DEBUG_EXCEPTION_0,
}
impl Default for WHV_X64_PENDING_DEBUG_EXCEPTION {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct WHV_X64_PENDING_DEBUG_EXCEPTION_0 {
    pub _bitfield: u64,
}
pub type WHV_X64_PENDING_EVENT_TYPE = i32;
#[repr(C)]
#[derive(Clone, Copy)]
pub union WHV_X64_PENDING_EXCEPTION_EVENT {
    pub Anonymous: WHV_X64_PENDING_EXCEPTION_EVENT_0,
    pub AsUINT128: WHV_UINT128,
}
impl Default for WHV_X64_PENDING_EXCEPTION_EVENT {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct WHV_X64_PENDING_EXCEPTION_EVENT_0 {
    pub _bitfield: u32,
    pub ErrorCode: u32,
    pub ExceptionParameter: u64,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub union WHV_X64_PENDING_EXT_INT_EVENT {
    pub Anonymous: WHV_X64_PENDING_EXT_INT_EVENT_0,
    pub AsUINT128: WHV_UINT128,
}
impl Default for WHV_X64_PENDING_EXT_INT_EVENT {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct WHV_X64_PENDING_EXT_INT_EVENT_0 {
    pub _bitfield: u64,
    pub Reserved2: u64,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub union WHV_X64_PENDING_INTERRUPTION_REGISTER {
    pub Anonymous: WHV_X64_PENDING_INTERRUPTION_REGISTER_0,
    pub AsUINT64: u64,
}
impl Default for WHV_X64_PENDING_INTERRUPTION_REGISTER {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct WHV_X64_PENDING_INTERRUPTION_REGISTER_0 {
    pub _bitfield: u32,
    pub ErrorCode: u32,
}
pub type WHV_X64_PENDING_INTERRUPTION_TYPE = i32;
#[repr(C)]
#[derive(Clone, Copy)]
pub union WHV_X64_PENDING_SVM_NESTED_EXIT_EVENT0 {
    pub Anonymous: WHV_X64_PENDING_SVM_NESTED_EXIT_EVENT0_0,
    pub AsUINT128: WHV_UINT128,
}
impl Default for WHV_X64_PENDING_SVM_NESTED_EXIT_EVENT0 {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct WHV_X64_PENDING_SVM_NESTED_EXIT_EVENT0_0 {
    pub _bitfield: u64,
    pub ExitCode: u64,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub union WHV_X64_PENDING_SVM_NESTED_EXIT_EVENT1 {
    pub Anonymous: WHV_X64_PENDING_SVM_NESTED_EXIT_EVENT1_0,
    pub AsUINT128: WHV_UINT128,
}
impl Default for WHV_X64_PENDING_SVM_NESTED_EXIT_EVENT1 {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct WHV_X64_PENDING_SVM_NESTED_EXIT_EVENT1_0 {
    pub ExitInfo1: u64,
    pub ExitInfo2: u64,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub union WHV_X64_PENDING_SVM_NESTED_EXIT_EVENT2 {
    pub Anonymous: WHV_X64_PENDING_SVM_NESTED_EXIT_EVENT2_0,
    pub AsUINT128: WHV_UINT128,
}
impl Default for WHV_X64_PENDING_SVM_NESTED_EXIT_EVENT2 {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct WHV_X64_PENDING_SVM_NESTED_EXIT_EVENT2_0 {
    pub NextRip: u64,
    pub InstructionBytesFetchedCount: u8,
    pub InstructionBytes: [u8; 7],
}
impl Default for WHV_X64_PENDING_SVM_NESTED_EXIT_EVENT2_0 {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
#[repr(C)]
#[derive(Clone, Copy)]
pub union WHV_X64_PENDING_SVM_NESTED_EXIT_EVENT3 {
    pub Anonymous: WHV_X64_PENDING_SVM_NESTED_EXIT_EVENT3_0,
    pub AsUINT128: WHV_UINT128,
}
impl Default for WHV_X64_PENDING_SVM_NESTED_EXIT_EVENT3 {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct WHV_X64_PENDING_SVM_NESTED_EXIT_EVENT3_0 {
    pub InstructionBytes: [u8; 8],
    pub Reserved2: u64,
}
impl Default for WHV_X64_PENDING_SVM_NESTED_EXIT_EVENT3_0 {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
#[repr(C)]
#[derive(Clone, Copy)]
pub union WHV_X64_PENDING_VMX_NESTED_EXIT_EVENT0 {
    pub Anonymous: WHV_X64_PENDING_VMX_NESTED_EXIT_EVENT0_0,
    pub AsUINT128: WHV_UINT128,
}
impl Default for WHV_X64_PENDING_VMX_NESTED_EXIT_EVENT0 {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct WHV_X64_PENDING_VMX_NESTED_EXIT_EVENT0_0 {
    pub _bitfield: u32,
    pub ExitReason: u32,
    pub ExitQualification: u64,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub union WHV_X64_PENDING_VMX_NESTED_EXIT_EVENT1 {
    pub Anonymous: WHV_X64_PENDING_VMX_NESTED_EXIT_EVENT1_0,
    pub AsUINT128: WHV_UINT128,
}
impl Default for WHV_X64_PENDING_VMX_NESTED_EXIT_EVENT1 {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct WHV_X64_PENDING_VMX_NESTED_EXIT_EVENT1_0 {
    pub InstructionLength: u32,
    pub InstructionInfo: u32,
    pub ExitInterruptionInfo: u32,
    pub ExitExceptionErrorCode: u32,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub union WHV_X64_PENDING_VMX_NESTED_EXIT_EVENT2 {
    pub Anonymous: WHV_X64_PENDING_VMX_NESTED_EXIT_EVENT2_0,
    pub AsUINT128: WHV_UINT128,
}
impl Default for WHV_X64_PENDING_VMX_NESTED_EXIT_EVENT2 {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct WHV_X64_PENDING_VMX_NESTED_EXIT_EVENT2_0 {
    pub GuestLinearAddress: u64,
    pub GuestPhysicalAddress: u64,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub union WHV_X64_PENDING_VMX_NESTED_EXIT_EVENT3 {
    pub Anonymous: WHV_X64_PENDING_VMX_NESTED_EXIT_EVENT3_0,
    pub AsUINT128: WHV_UINT128,
}
impl Default for WHV_X64_PENDING_VMX_NESTED_EXIT_EVENT3 {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct WHV_X64_PENDING_VMX_NESTED_EXIT_EVENT3_0 {
    pub MsrData: u64,
}
pub type WHV_X64_PROCESSOR_FEATURES = WHV_PROCESSOR_FEATURES;
pub type WHV_X64_PROCESSOR_FEATURES1 = WHV_PROCESSOR_FEATURES1;
#[repr(C)]
#[derive(Clone, Copy)]
pub struct WHV_X64_RDTSC_CONTEXT {
    pub TscAux: u64,
    pub VirtualOffset: u64,
    pub Tsc: u64,
    pub ReferenceTime: u64,
    pub RdtscInfo: WHV_X64_RDTSC_INFO,
}
impl Default for WHV_X64_RDTSC_CONTEXT {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
#[repr(C)]
#[derive(Clone, Copy)]
pub union WHV_X64_RDTSC_INFO {
    pub Anonymous: WHV_X64_RDTSC_INFO_0,
    pub AsUINT64: u64,
}
impl Default for WHV_X64_RDTSC_INFO {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct WHV_X64_RDTSC_INFO_0 {
    pub _bitfield: u64,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct WHV_X64_SEGMENT_REGISTER {
    pub Base: u64,
    pub Limit: u32,
    pub Selector: u16,
    pub Anonymous: WHV_X64_SEGMENT_REGISTER_0,
}
impl Default for WHV_X64_SEGMENT_REGISTER {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
#[repr(C)]
#[derive(Clone, Copy)]
pub union WHV_X64_SEGMENT_REGISTER_0 {
    pub Anonymous: WHV_X64_SEGMENT_REGISTER_0_0,
    pub Attributes: u16,
}
impl Default for WHV_X64_SEGMENT_REGISTER_0 {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct WHV_X64_SEGMENT_REGISTER_0_0 {
    pub _bitfield: u16,
}
#[repr(C, align(4096))]
#[derive(Clone, Copy)]
pub struct WHV_X64_SVM_NESTED_STATE {
    pub Vendor: WHV_NESTED_STATE_TYPE,
    pub Flags: WHV_X64_SVM_NESTED_STATE_0,
    pub NestedEnlightenmentsControl: WHV_NESTED_ENLIGHTENMENTS_CONTROL,
    pub HostSaveGpa: u64,
    pub VmControlMsr: u64,
    pub VirtualTscRatioMsr: u64,
    pub VmcbGpa: u64,
    pub HostState: WHV_SVM_NESTED_HOST_STATE,
    pub Reserved: [u8; 3832],
    pub VmcbBytes: [u8; 4096],
}
impl Default for WHV_X64_SVM_NESTED_STATE {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct WHV_X64_SVM_NESTED_STATE_0 {
    pub _bitfield: u32,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct WHV_X64_TABLE_REGISTER {
    pub Pad: [u16; 3],
    pub Limit: u16,
    pub Base: u64,
}
impl Default for WHV_X64_TABLE_REGISTER {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
pub type WHV_X64_UNSUPPORTED_FEATURE_CODE = i32;
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct WHV_X64_UNSUPPORTED_FEATURE_CONTEXT {
    pub FeatureCode: WHV_X64_UNSUPPORTED_FEATURE_CODE,
    pub Reserved: u32,
    pub FeatureParameter: u64,
}
#[repr(C, align(4096))]
#[derive(Clone, Copy)]
pub struct WHV_X64_VMX_NESTED_STATE {
    pub Vendor: WHV_NESTED_STATE_TYPE,
    pub Flags: WHV_X64_VMX_NESTED_STATE_0,
    pub NestedEnlightenmentsControl: WHV_NESTED_ENLIGHTENMENTS_CONTROL,
    pub Pdpt: [u64; 4],
    pub VmxonRegionGpa: u64,
    pub VmcsGpa: u64,
    pub CurrentEnlightenedVmcs: u64,
    pub VirtualApicRegs: WHV_X64_VMX_NESTED_STATE_1,
    pub Reserved: [u8; 3944],
    pub VmcsBytes: [u8; 4096],
}
impl Default for WHV_X64_VMX_NESTED_STATE {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct WHV_X64_VMX_NESTED_STATE_0 {
    pub _bitfield: u32,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct WHV_X64_VMX_NESTED_STATE_1 {
    pub Tpr: u32,
    pub Ppr: u32,
    pub Isr: [u32; 8],
    pub Irr: [u32; 8],
    pub IcrLow: u32,
    pub IcrHigh: u32,
}
impl Default for WHV_X64_VMX_NESTED_STATE_1 {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
#[repr(C)]
#[derive(Clone, Copy)]
pub union WHV_X64_VP_EXECUTION_STATE {
    pub Anonymous: WHV_X64_VP_EXECUTION_STATE_0,
    pub AsUINT16: u16,
}
impl Default for WHV_X64_VP_EXECUTION_STATE {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct WHV_X64_VP_EXECUTION_STATE_0 {
    pub _bitfield: u16,
}
pub type WHV_X64_VP_EXIT_CONTEXT = WHV_VP_EXIT_CONTEXT;
#[repr(C)]
#[derive(Clone, Copy)]
pub union WHV_X64_XMM_CONTROL_STATUS_REGISTER {
    pub Anonymous: WHV_X64_XMM_CONTROL_STATUS_REGISTER_0,
    pub AsUINT128: WHV_UINT128,
}
impl Default for WHV_X64_XMM_CONTROL_STATUS_REGISTER {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct WHV_X64_XMM_CONTROL_STATUS_REGISTER_0 {
    pub Anonymous: WHV_X64_XMM_CONTROL_STATUS_REGISTER_0_0,
    pub XmmStatusControl: u32,
    pub XmmStatusControlMask: u32,
}
impl Default for WHV_X64_XMM_CONTROL_STATUS_REGISTER_0 {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
#[repr(C)]
#[derive(Clone, Copy)]
pub union WHV_X64_XMM_CONTROL_STATUS_REGISTER_0_0 {
    pub LastFpRdp: u64,
    pub Anonymous: WHV_X64_XMM_CONTROL_STATUS_REGISTER_0_0_0,
}
impl Default for WHV_X64_XMM_CONTROL_STATUS_REGISTER_0_0 {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct WHV_X64_XMM_CONTROL_STATUS_REGISTER_0_0_0 {
    pub LastFpDp: u32,
    pub LastFpDs: u16,
    pub Reserved: u16,
}
pub const WHvAdviseGpaRangeCodePin: WHV_ADVISE_GPA_RANGE_CODE = 1;
pub const WHvAdviseGpaRangeCodePopulate: WHV_ADVISE_GPA_RANGE_CODE = 0;
pub const WHvAdviseGpaRangeCodeUnpin: WHV_ADVISE_GPA_RANGE_CODE = 2;
pub const WHvAllocateVpciResourceFlagAllowDirectP2P: WHV_ALLOCATE_VPCI_RESOURCE_FLAGS = 1;
pub const WHvAllocateVpciResourceFlagNone: WHV_ALLOCATE_VPCI_RESOURCE_FLAGS = 0;
pub const WHvCacheTypeUncached: WHV_CACHE_TYPE = 0;
pub const WHvCacheTypeWriteBack: WHV_CACHE_TYPE = 6;
pub const WHvCacheTypeWriteCombining: WHV_CACHE_TYPE = 1;
pub const WHvCacheTypeWriteProtected: WHV_CACHE_TYPE = 5;
pub const WHvCacheTypeWriteThrough: WHV_CACHE_TYPE = 4;
pub const WHvCapabilityCodeExceptionExitBitmap: WHV_CAPABILITY_CODE = 3;
pub const WHvCapabilityCodeExtendedVmExits: WHV_CAPABILITY_CODE = 2;
pub const WHvCapabilityCodeFeatures: WHV_CAPABILITY_CODE = 1;
pub const WHvCapabilityCodeGpaRangePopulateFlags: WHV_CAPABILITY_CODE = 5;
pub const WHvCapabilityCodeHypervisorPresent: WHV_CAPABILITY_CODE = 0;
pub const WHvCapabilityCodeInterruptClockFrequency: WHV_CAPABILITY_CODE = 4101;
pub const WHvCapabilityCodePhysicalAddressWidth: WHV_CAPABILITY_CODE = 4106;
pub const WHvCapabilityCodeProcessorClFlushSize: WHV_CAPABILITY_CODE = 4098;
pub const WHvCapabilityCodeProcessorClockFrequency: WHV_CAPABILITY_CODE = 4100;
pub const WHvCapabilityCodeProcessorFeatures: WHV_CAPABILITY_CODE = 4097;
pub const WHvCapabilityCodeProcessorFeaturesBanks: WHV_CAPABILITY_CODE = 4102;
pub const WHvCapabilityCodeProcessorFrequencyCap: WHV_CAPABILITY_CODE = 4103;
pub const WHvCapabilityCodeProcessorPerfmonFeatures: WHV_CAPABILITY_CODE = 4105;
pub const WHvCapabilityCodeProcessorVendor: WHV_CAPABILITY_CODE = 4096;
pub const WHvCapabilityCodeProcessorXsaveFeatures: WHV_CAPABILITY_CODE = 4099;
pub const WHvCapabilityCodeSchedulerFeatures: WHV_CAPABILITY_CODE = 6;
pub const WHvCapabilityCodeSyntheticProcessorFeaturesBanks: WHV_CAPABILITY_CODE = 4104;
pub const WHvCapabilityCodeVmxBasic: WHV_CAPABILITY_CODE = 8192;
pub const WHvCapabilityCodeVmxCr0Fixed0: WHV_CAPABILITY_CODE = 8198;
pub const WHvCapabilityCodeVmxCr0Fixed1: WHV_CAPABILITY_CODE = 8199;
pub const WHvCapabilityCodeVmxCr4Fixed0: WHV_CAPABILITY_CODE = 8200;
pub const WHvCapabilityCodeVmxCr4Fixed1: WHV_CAPABILITY_CODE = 8201;
pub const WHvCapabilityCodeVmxEntryCtls: WHV_CAPABILITY_CODE = 8196;
pub const WHvCapabilityCodeVmxEptVpidCap: WHV_CAPABILITY_CODE = 8204;
pub const WHvCapabilityCodeVmxExitCtls: WHV_CAPABILITY_CODE = 8195;
pub const WHvCapabilityCodeVmxMisc: WHV_CAPABILITY_CODE = 8197;
pub const WHvCapabilityCodeVmxPinbasedCtls: WHV_CAPABILITY_CODE = 8193;
pub const WHvCapabilityCodeVmxProcbasedCtls: WHV_CAPABILITY_CODE = 8194;
pub const WHvCapabilityCodeVmxProcbasedCtls2: WHV_CAPABILITY_CODE = 8203;
pub const WHvCapabilityCodeVmxTrueEntryCtls: WHV_CAPABILITY_CODE = 8208;
pub const WHvCapabilityCodeVmxTrueExitCtls: WHV_CAPABILITY_CODE = 8207;
pub const WHvCapabilityCodeVmxTruePinbasedCtls: WHV_CAPABILITY_CODE = 8205;
pub const WHvCapabilityCodeVmxTrueProcbasedCtls: WHV_CAPABILITY_CODE = 8206;
pub const WHvCapabilityCodeVmxVmcsEnum: WHV_CAPABILITY_CODE = 8202;
pub const WHvCapabilityCodeX64MsrExitBitmap: WHV_CAPABILITY_CODE = 4;
pub const WHvCreateVpciDeviceFlagNone: WHV_CREATE_VPCI_DEVICE_FLAGS = 0;
pub const WHvCreateVpciDeviceFlagPhysicallyBacked: WHV_CREATE_VPCI_DEVICE_FLAGS = 1;
pub const WHvCreateVpciDeviceFlagUseLogicalInterrupts: WHV_CREATE_VPCI_DEVICE_FLAGS = 2;
pub const WHvMapGpaRangeFlagExecute: WHV_MAP_GPA_RANGE_FLAGS = 4;
pub const WHvMapGpaRangeFlagNone: WHV_MAP_GPA_RANGE_FLAGS = 0;
pub const WHvMapGpaRangeFlagRead: WHV_MAP_GPA_RANGE_FLAGS = 1;
pub const WHvMapGpaRangeFlagTrackDirtyPages: WHV_MAP_GPA_RANGE_FLAGS = 8;
pub const WHvMapGpaRangeFlagWrite: WHV_MAP_GPA_RANGE_FLAGS = 2;
pub const WHvMemoryAccessExecute: WHV_MEMORY_ACCESS_TYPE = 2;
pub const WHvMemoryAccessRead: WHV_MEMORY_ACCESS_TYPE = 0;
pub const WHvMemoryAccessWrite: WHV_MEMORY_ACCESS_TYPE = 1;
pub const WHvMsrActionArchitectureDefault: WHV_MSR_ACTION = 0;
pub const WHvMsrActionExit: WHV_MSR_ACTION = 2;
pub const WHvMsrActionIgnoreWriteReadZero: WHV_MSR_ACTION = 1;
pub const WHvNestedStateTypeSvm: WHV_NESTED_STATE_TYPE = 1;
pub const WHvNestedStateTypeVmx: WHV_NESTED_STATE_TYPE = 0;
pub const WHvNotificationPortPropertyPreferredTargetDuration: WHV_NOTIFICATION_PORT_PROPERTY_CODE = 5;
pub const WHvNotificationPortPropertyPreferredTargetVp: WHV_NOTIFICATION_PORT_PROPERTY_CODE = 1;
pub const WHvNotificationPortTypeDoorbell: WHV_NOTIFICATION_PORT_TYPE = 4;
pub const WHvNotificationPortTypeEvent: WHV_NOTIFICATION_PORT_TYPE = 2;
pub const WHvPartitionCounterSetMemory: WHV_PARTITION_COUNTER_SET = 0;
pub const WHvPartitionPropertyCodeAllowDeviceAssignment: WHV_PARTITION_PROPERTY_CODE = 12;
pub const WHvPartitionPropertyCodeApicRemoteReadSupport: WHV_PARTITION_PROPERTY_CODE = 4105;
pub const WHvPartitionPropertyCodeCpuCap: WHV_PARTITION_PROPERTY_CODE = 8;
pub const WHvPartitionPropertyCodeCpuGroupId: WHV_PARTITION_PROPERTY_CODE = 10;
pub const WHvPartitionPropertyCodeCpuReserve: WHV_PARTITION_PROPERTY_CODE = 7;
pub const WHvPartitionPropertyCodeCpuWeight: WHV_PARTITION_PROPERTY_CODE = 9;
pub const WHvPartitionPropertyCodeCpuidExitList: WHV_PARTITION_PROPERTY_CODE = 4099;
pub const WHvPartitionPropertyCodeCpuidResultList: WHV_PARTITION_PROPERTY_CODE = 4100;
pub const WHvPartitionPropertyCodeCpuidResultList2: WHV_PARTITION_PROPERTY_CODE = 4109;
pub const WHvPartitionPropertyCodeDisableSmt: WHV_PARTITION_PROPERTY_CODE = 13;
pub const WHvPartitionPropertyCodeExceptionExitBitmap: WHV_PARTITION_PROPERTY_CODE = 2;
pub const WHvPartitionPropertyCodeExtendedVmExits: WHV_PARTITION_PROPERTY_CODE = 1;
pub const WHvPartitionPropertyCodeInterruptClockFrequency: WHV_PARTITION_PROPERTY_CODE = 4104;
pub const WHvPartitionPropertyCodeLocalApicEmulationMode: WHV_PARTITION_PROPERTY_CODE = 4101;
pub const WHvPartitionPropertyCodeMsrActionList: WHV_PARTITION_PROPERTY_CODE = 4111;
pub const WHvPartitionPropertyCodeNestedVirtualization: WHV_PARTITION_PROPERTY_CODE = 4;
pub const WHvPartitionPropertyCodePhysicalAddressWidth: WHV_PARTITION_PROPERTY_CODE = 4113;
pub const WHvPartitionPropertyCodePrimaryNumaNode: WHV_PARTITION_PROPERTY_CODE = 6;
pub const WHvPartitionPropertyCodeProcessorClFlushSize: WHV_PARTITION_PROPERTY_CODE = 4098;
pub const WHvPartitionPropertyCodeProcessorClockFrequency: WHV_PARTITION_PROPERTY_CODE = 4103;
pub const WHvPartitionPropertyCodeProcessorCount: WHV_PARTITION_PROPERTY_CODE = 8191;
pub const WHvPartitionPropertyCodeProcessorFeatures: WHV_PARTITION_PROPERTY_CODE = 4097;
pub const WHvPartitionPropertyCodeProcessorFeaturesBanks: WHV_PARTITION_PROPERTY_CODE = 4106;
pub const WHvPartitionPropertyCodeProcessorFrequencyCap: WHV_PARTITION_PROPERTY_CODE = 11;
pub const WHvPartitionPropertyCodeProcessorPerfmonFeatures: WHV_PARTITION_PROPERTY_CODE = 4110;
pub const WHvPartitionPropertyCodeProcessorXsaveFeatures: WHV_PARTITION_PROPERTY_CODE = 4102;
pub const WHvPartitionPropertyCodeReferenceTime: WHV_PARTITION_PROPERTY_CODE = 4107;
pub const WHvPartitionPropertyCodeSeparateSecurityDomain: WHV_PARTITION_PROPERTY_CODE = 3;
pub const WHvPartitionPropertyCodeSyntheticProcessorFeaturesBanks: WHV_PARTITION_PROPERTY_CODE = 4108;
pub const WHvPartitionPropertyCodeUnimplementedMsrAction: WHV_PARTITION_PROPERTY_CODE = 4112;
pub const WHvPartitionPropertyCodeX64MsrExitBitmap: WHV_PARTITION_PROPERTY_CODE = 5;
pub const WHvProcessorCounterSetApic: WHV_PROCESSOR_COUNTER_SET = 3;
pub const WHvProcessorCounterSetEvents: WHV_PROCESSOR_COUNTER_SET = 2;
pub const WHvProcessorCounterSetIntercepts: WHV_PROCESSOR_COUNTER_SET = 1;
pub const WHvProcessorCounterSetRuntime: WHV_PROCESSOR_COUNTER_SET = 0;
pub const WHvProcessorCounterSetSyntheticFeatures: WHV_PROCESSOR_COUNTER_SET = 4;
pub const WHvProcessorVendorAmd: WHV_PROCESSOR_VENDOR = 0;
pub const WHvProcessorVendorArm: WHV_PROCESSOR_VENDOR = 16;
pub const WHvProcessorVendorHygon: WHV_PROCESSOR_VENDOR = 2;
pub const WHvProcessorVendorIntel: WHV_PROCESSOR_VENDOR = 1;
pub const WHvRegisterDeliverabilityNotifications: WHV_REGISTER_NAME = -2147483644;
pub const WHvRegisterEom: WHV_REGISTER_NAME = 16404;
pub const WHvRegisterGuestOsId: WHV_REGISTER_NAME = 20482;
pub const WHvRegisterInternalActivityState: WHV_REGISTER_NAME = -2147483643;
pub const WHvRegisterInterruptState: WHV_REGISTER_NAME = -2147483647;
pub const WHvRegisterPendingEvent: WHV_REGISTER_NAME = -2147483646;
pub const WHvRegisterPendingEvent1: WHV_REGISTER_NAME = -2147483645;
pub const WHvRegisterPendingEvent2: WHV_REGISTER_NAME = -2147483641;
pub const WHvRegisterPendingEvent3: WHV_REGISTER_NAME = -2147483640;
pub const WHvRegisterPendingInterruption: WHV_REGISTER_NAME = -2147483648;
pub const WHvRegisterReferenceTsc: WHV_REGISTER_NAME = 20503;
pub const WHvRegisterReferenceTscSequence: WHV_REGISTER_NAME = 20506;
pub const WHvRegisterScontrol: WHV_REGISTER_NAME = 16400;
pub const WHvRegisterSiefp: WHV_REGISTER_NAME = 16402;
pub const WHvRegisterSimp: WHV_REGISTER_NAME = 16403;
pub const WHvRegisterSint0: WHV_REGISTER_NAME = 16384;
pub const WHvRegisterSint1: WHV_REGISTER_NAME = 16385;
pub const WHvRegisterSint10: WHV_REGISTER_NAME = 16394;
pub const WHvRegisterSint11: WHV_REGISTER_NAME = 16395;
pub const WHvRegisterSint12: WHV_REGISTER_NAME = 16396;
pub const WHvRegisterSint13: WHV_REGISTER_NAME = 16397;
pub const WHvRegisterSint14: WHV_REGISTER_NAME = 16398;
pub const WHvRegisterSint15: WHV_REGISTER_NAME = 16399;
pub const WHvRegisterSint2: WHV_REGISTER_NAME = 16386;
pub const WHvRegisterSint3: WHV_REGISTER_NAME = 16387;
pub const WHvRegisterSint4: WHV_REGISTER_NAME = 16388;
pub const WHvRegisterSint5: WHV_REGISTER_NAME = 16389;
pub const WHvRegisterSint6: WHV_REGISTER_NAME = 16390;
pub const WHvRegisterSint7: WHV_REGISTER_NAME = 16391;
pub const WHvRegisterSint8: WHV_REGISTER_NAME = 16392;
pub const WHvRegisterSint9: WHV_REGISTER_NAME = 16393;
pub const WHvRegisterSversion: WHV_REGISTER_NAME = 16401;
pub const WHvRegisterVpAssistPage: WHV_REGISTER_NAME = 20499;
pub const WHvRegisterVpRuntime: WHV_REGISTER_NAME = 20480;
pub const WHvRunVpCancelReasonUser: WHV_RUN_VP_CANCEL_REASON = 0;
pub const WHvRunVpExitReasonCanceled: WHV_RUN_VP_EXIT_REASON = 8193;
pub const WHvRunVpExitReasonException: WHV_RUN_VP_EXIT_REASON = 4098;
pub const WHvRunVpExitReasonHypercall: WHV_RUN_VP_EXIT_REASON = 4101;
pub const WHvRunVpExitReasonInvalidVpRegisterValue: WHV_RUN_VP_EXIT_REASON = 5;
pub const WHvRunVpExitReasonMemoryAccess: WHV_RUN_VP_EXIT_REASON = 1;
pub const WHvRunVpExitReasonNone: WHV_RUN_VP_EXIT_REASON = 0;
pub const WHvRunVpExitReasonSynicSintDeliverable: WHV_RUN_VP_EXIT_REASON = 10;
pub const WHvRunVpExitReasonUnrecoverableException: WHV_RUN_VP_EXIT_REASON = 4;
pub const WHvRunVpExitReasonUnsupportedFeature: WHV_RUN_VP_EXIT_REASON = 6;
pub const WHvRunVpExitReasonX64ApicEoi: WHV_RUN_VP_EXIT_REASON = 9;
pub const WHvRunVpExitReasonX64ApicInitSipiTrap: WHV_RUN_VP_EXIT_REASON = 4102;
pub const WHvRunVpExitReasonX64ApicSmiTrap: WHV_RUN_VP_EXIT_REASON = 4100;
pub const WHvRunVpExitReasonX64ApicWriteTrap: WHV_RUN_VP_EXIT_REASON = 4103;
pub const WHvRunVpExitReasonX64Cpuid: WHV_RUN_VP_EXIT_REASON = 4097;
pub const WHvRunVpExitReasonX64Halt: WHV_RUN_VP_EXIT_REASON = 8;
pub const WHvRunVpExitReasonX64InterruptWindow: WHV_RUN_VP_EXIT_REASON = 7;
pub const WHvRunVpExitReasonX64IoPortAccess: WHV_RUN_VP_EXIT_REASON = 2;
pub const WHvRunVpExitReasonX64MsrAccess: WHV_RUN_VP_EXIT_REASON = 4096;
pub const WHvRunVpExitReasonX64Rdtsc: WHV_RUN_VP_EXIT_REASON = 4099;
pub const WHvTranslateGvaFlagEnforceSmap: WHV_TRANSLATE_GVA_FLAGS = 256;
pub const WHvTranslateGvaFlagNone: WHV_TRANSLATE_GVA_FLAGS = 0;
pub const WHvTranslateGvaFlagOverrideSmap: WHV_TRANSLATE_GVA_FLAGS = 512;
pub const WHvTranslateGvaFlagPrivilegeExempt: WHV_TRANSLATE_GVA_FLAGS = 8;
pub const WHvTranslateGvaFlagSetPageTableBits: WHV_TRANSLATE_GVA_FLAGS = 16;
pub const WHvTranslateGvaFlagValidateExecute: WHV_TRANSLATE_GVA_FLAGS = 4;
pub const WHvTranslateGvaFlagValidateRead: WHV_TRANSLATE_GVA_FLAGS = 1;
pub const WHvTranslateGvaFlagValidateWrite: WHV_TRANSLATE_GVA_FLAGS = 2;
pub const WHvTranslateGvaResultGpaIllegalOverlayAccess: WHV_TRANSLATE_GVA_RESULT_CODE = 7;
pub const WHvTranslateGvaResultGpaNoReadAccess: WHV_TRANSLATE_GVA_RESULT_CODE = 5;
pub const WHvTranslateGvaResultGpaNoWriteAccess: WHV_TRANSLATE_GVA_RESULT_CODE = 6;
pub const WHvTranslateGvaResultGpaUnmapped: WHV_TRANSLATE_GVA_RESULT_CODE = 4;
pub const WHvTranslateGvaResultIntercept: WHV_TRANSLATE_GVA_RESULT_CODE = 8;
pub const WHvTranslateGvaResultInvalidPageTableFlags: WHV_TRANSLATE_GVA_RESULT_CODE = 3;
pub const WHvTranslateGvaResultPageNotPresent: WHV_TRANSLATE_GVA_RESULT_CODE = 1;
pub const WHvTranslateGvaResultPrivilegeViolation: WHV_TRANSLATE_GVA_RESULT_CODE = 2;
pub const WHvTranslateGvaResultSuccess: WHV_TRANSLATE_GVA_RESULT_CODE = 0;
pub const WHvTriggerTypeDeviceInterrupt: WHV_TRIGGER_TYPE = 2;
pub const WHvTriggerTypeInterrupt: WHV_TRIGGER_TYPE = 0;
pub const WHvTriggerTypeSynicEvent: WHV_TRIGGER_TYPE = 1;
pub const WHvUnsupportedFeatureIntercept: WHV_X64_UNSUPPORTED_FEATURE_CODE = 1;
pub const WHvUnsupportedFeatureTaskSwitchTss: WHV_X64_UNSUPPORTED_FEATURE_CODE = 2;
pub const WHvVirtualProcessorPropertyCodeNumaNode: WHV_VIRTUAL_PROCESSOR_PROPERTY_CODE = 0;
pub const WHvVirtualProcessorStateTypeInterruptControllerState2: WHV_VIRTUAL_PROCESSOR_STATE_TYPE = 4096;
pub const WHvVirtualProcessorStateTypeNestedState: WHV_VIRTUAL_PROCESSOR_STATE_TYPE = 4098;
pub const WHvVirtualProcessorStateTypeSynicEventFlagPage: WHV_VIRTUAL_PROCESSOR_STATE_TYPE = 1;
pub const WHvVirtualProcessorStateTypeSynicMessagePage: WHV_VIRTUAL_PROCESSOR_STATE_TYPE = 0;
pub const WHvVirtualProcessorStateTypeSynicTimerState: WHV_VIRTUAL_PROCESSOR_STATE_TYPE = 2;
pub const WHvVirtualProcessorStateTypeXsaveState: WHV_VIRTUAL_PROCESSOR_STATE_TYPE = 4097;
pub const WHvVpciBar0: WHV_VPCI_DEVICE_REGISTER_SPACE = 0;
pub const WHvVpciBar1: WHV_VPCI_DEVICE_REGISTER_SPACE = 1;
pub const WHvVpciBar2: WHV_VPCI_DEVICE_REGISTER_SPACE = 2;
pub const WHvVpciBar3: WHV_VPCI_DEVICE_REGISTER_SPACE = 3;
pub const WHvVpciBar4: WHV_VPCI_DEVICE_REGISTER_SPACE = 4;
pub const WHvVpciBar5: WHV_VPCI_DEVICE_REGISTER_SPACE = 5;
pub const WHvVpciConfigSpace: WHV_VPCI_DEVICE_REGISTER_SPACE = -1;
pub const WHvVpciDeviceNotificationMmioRemapping: WHV_VPCI_DEVICE_NOTIFICATION_TYPE = 1;
pub const WHvVpciDeviceNotificationSurpriseRemoval: WHV_VPCI_DEVICE_NOTIFICATION_TYPE = 2;
pub const WHvVpciDeviceNotificationUndefined: WHV_VPCI_DEVICE_NOTIFICATION_TYPE = 0;
pub const WHvVpciDevicePropertyCodeHardwareIDs: WHV_VPCI_DEVICE_PROPERTY_CODE = 1;
pub const WHvVpciDevicePropertyCodeProbedBARs: WHV_VPCI_DEVICE_PROPERTY_CODE = 2;
pub const WHvVpciDevicePropertyCodeUndefined: WHV_VPCI_DEVICE_PROPERTY_CODE = 0;
pub const WHvVpciInterruptTargetFlagMulticast: WHV_VPCI_INTERRUPT_TARGET_FLAGS = 1;
pub const WHvVpciInterruptTargetFlagNone: WHV_VPCI_INTERRUPT_TARGET_FLAGS = 0;
pub const WHvVpciMmioRangeFlagReadAccess: WHV_VPCI_MMIO_RANGE_FLAGS = 1;
pub const WHvVpciMmioRangeFlagWriteAccess: WHV_VPCI_MMIO_RANGE_FLAGS = 2;
pub const WHvX64ApicWriteTypeDfr: WHV_X64_APIC_WRITE_TYPE = 224;
pub const WHvX64ApicWriteTypeLdr: WHV_X64_APIC_WRITE_TYPE = 208;
pub const WHvX64ApicWriteTypeLint0: WHV_X64_APIC_WRITE_TYPE = 848;
pub const WHvX64ApicWriteTypeLint1: WHV_X64_APIC_WRITE_TYPE = 864;
pub const WHvX64ApicWriteTypeSvr: WHV_X64_APIC_WRITE_TYPE = 240;
pub const WHvX64CpuidResult2FlagSubleafSpecific: WHV_X64_CPUID_RESULT2_FLAGS = 1;
pub const WHvX64CpuidResult2FlagVpSpecific: WHV_X64_CPUID_RESULT2_FLAGS = 2;
pub const WHvX64ExceptionTypeAlignmentCheckFault: WHV_EXCEPTION_TYPE = 17;
pub const WHvX64ExceptionTypeBoundRangeFault: WHV_EXCEPTION_TYPE = 5;
pub const WHvX64ExceptionTypeBreakpointTrap: WHV_EXCEPTION_TYPE = 3;
pub const WHvX64ExceptionTypeControlProtectionFault: WHV_EXCEPTION_TYPE = 21;
pub const WHvX64ExceptionTypeDebugTrapOrFault: WHV_EXCEPTION_TYPE = 1;
pub const WHvX64ExceptionTypeDeviceNotAvailableFault: WHV_EXCEPTION_TYPE = 7;
pub const WHvX64ExceptionTypeDivideErrorFault: WHV_EXCEPTION_TYPE = 0;
pub const WHvX64ExceptionTypeDoubleFaultAbort: WHV_EXCEPTION_TYPE = 8;
pub const WHvX64ExceptionTypeFloatingPointErrorFault: WHV_EXCEPTION_TYPE = 16;
pub const WHvX64ExceptionTypeGeneralProtectionFault: WHV_EXCEPTION_TYPE = 13;
pub const WHvX64ExceptionTypeInvalidOpcodeFault: WHV_EXCEPTION_TYPE = 6;
pub const WHvX64ExceptionTypeInvalidTaskStateSegmentFault: WHV_EXCEPTION_TYPE = 10;
pub const WHvX64ExceptionTypeMachineCheckAbort: WHV_EXCEPTION_TYPE = 18;
pub const WHvX64ExceptionTypeOverflowTrap: WHV_EXCEPTION_TYPE = 4;
pub const WHvX64ExceptionTypePageFault: WHV_EXCEPTION_TYPE = 14;
pub const WHvX64ExceptionTypeSegmentNotPresentFault: WHV_EXCEPTION_TYPE = 11;
pub const WHvX64ExceptionTypeSimdFloatingPointFault: WHV_EXCEPTION_TYPE = 19;
pub const WHvX64ExceptionTypeStackFault: WHV_EXCEPTION_TYPE = 12;
pub const WHvX64InterruptDestinationModeLogical: WHV_INTERRUPT_DESTINATION_MODE = 1;
pub const WHvX64InterruptDestinationModePhysical: WHV_INTERRUPT_DESTINATION_MODE = 0;
pub const WHvX64InterruptTriggerModeEdge: WHV_INTERRUPT_TRIGGER_MODE = 0;
pub const WHvX64InterruptTriggerModeLevel: WHV_INTERRUPT_TRIGGER_MODE = 1;
pub const WHvX64InterruptTypeFixed: WHV_INTERRUPT_TYPE = 0;
pub const WHvX64InterruptTypeInit: WHV_INTERRUPT_TYPE = 5;
pub const WHvX64InterruptTypeLocalInt1: WHV_INTERRUPT_TYPE = 9;
pub const WHvX64InterruptTypeLowestPriority: WHV_INTERRUPT_TYPE = 1;
pub const WHvX64InterruptTypeNmi: WHV_INTERRUPT_TYPE = 4;
pub const WHvX64InterruptTypeSipi: WHV_INTERRUPT_TYPE = 6;
pub const WHvX64LocalApicEmulationModeNone: WHV_X64_LOCAL_APIC_EMULATION_MODE = 0;
pub const WHvX64LocalApicEmulationModeX2Apic: WHV_X64_LOCAL_APIC_EMULATION_MODE = 2;
pub const WHvX64LocalApicEmulationModeXApic: WHV_X64_LOCAL_APIC_EMULATION_MODE = 1;
pub const WHvX64PendingEventException: WHV_X64_PENDING_EVENT_TYPE = 0;
pub const WHvX64PendingEventExtInt: WHV_X64_PENDING_EVENT_TYPE = 5;
pub const WHvX64PendingEventSvmNestedExit: WHV_X64_PENDING_EVENT_TYPE = 7;
pub const WHvX64PendingEventVmxNestedExit: WHV_X64_PENDING_EVENT_TYPE = 8;
pub const WHvX64PendingException: WHV_X64_PENDING_INTERRUPTION_TYPE = 3;
pub const WHvX64PendingInterrupt: WHV_X64_PENDING_INTERRUPTION_TYPE = 0;
pub const WHvX64PendingNmi: WHV_X64_PENDING_INTERRUPTION_TYPE = 2;
pub const WHvX64RegisterACount: WHV_REGISTER_NAME = 8319;
pub const WHvX64RegisterAmdVmCr: WHV_REGISTER_NAME = 8372;
pub const WHvX64RegisterAmdVmHsavePa: WHV_REGISTER_NAME = 8371;
pub const WHvX64RegisterApicBase: WHV_REGISTER_NAME = 8195;
pub const WHvX64RegisterApicCurrentCount: WHV_REGISTER_NAME = 12345;
pub const WHvX64RegisterApicDivide: WHV_REGISTER_NAME = 12350;
pub const WHvX64RegisterApicEoi: WHV_REGISTER_NAME = 12299;
pub const WHvX64RegisterApicEse: WHV_REGISTER_NAME = 12328;
pub const WHvX64RegisterApicIcr: WHV_REGISTER_NAME = 12336;
pub const WHvX64RegisterApicId: WHV_REGISTER_NAME = 12290;
pub const WHvX64RegisterApicInitCount: WHV_REGISTER_NAME = 12344;
pub const WHvX64RegisterApicIrr0: WHV_REGISTER_NAME = 12320;
pub const WHvX64RegisterApicIrr1: WHV_REGISTER_NAME = 12321;
pub const WHvX64RegisterApicIrr2: WHV_REGISTER_NAME = 12322;
pub const WHvX64RegisterApicIrr3: WHV_REGISTER_NAME = 12323;
pub const WHvX64RegisterApicIrr4: WHV_REGISTER_NAME = 12324;
pub const WHvX64RegisterApicIrr5: WHV_REGISTER_NAME = 12325;
pub const WHvX64RegisterApicIrr6: WHV_REGISTER_NAME = 12326;
pub const WHvX64RegisterApicIrr7: WHV_REGISTER_NAME = 12327;
pub const WHvX64RegisterApicIsr0: WHV_REGISTER_NAME = 12304;
pub const WHvX64RegisterApicIsr1: WHV_REGISTER_NAME = 12305;
pub const WHvX64RegisterApicIsr2: WHV_REGISTER_NAME = 12306;
pub const WHvX64RegisterApicIsr3: WHV_REGISTER_NAME = 12307;
pub const WHvX64RegisterApicIsr4: WHV_REGISTER_NAME = 12308;
pub const WHvX64RegisterApicIsr5: WHV_REGISTER_NAME = 12309;
pub const WHvX64RegisterApicIsr6: WHV_REGISTER_NAME = 12310;
pub const WHvX64RegisterApicIsr7: WHV_REGISTER_NAME = 12311;
pub const WHvX64RegisterApicLdr: WHV_REGISTER_NAME = 12301;
pub const WHvX64RegisterApicLvtError: WHV_REGISTER_NAME = 12343;
pub const WHvX64RegisterApicLvtLint0: WHV_REGISTER_NAME = 12341;
pub const WHvX64RegisterApicLvtLint1: WHV_REGISTER_NAME = 12342;
pub const WHvX64RegisterApicLvtPerfmon: WHV_REGISTER_NAME = 12340;
pub const WHvX64RegisterApicLvtThermal: WHV_REGISTER_NAME = 12339;
pub const WHvX64RegisterApicLvtTimer: WHV_REGISTER_NAME = 12338;
pub const WHvX64RegisterApicPpr: WHV_REGISTER_NAME = 12298;
pub const WHvX64RegisterApicSelfIpi: WHV_REGISTER_NAME = 12351;
pub const WHvX64RegisterApicSpurious: WHV_REGISTER_NAME = 12303;
pub const WHvX64RegisterApicTmr0: WHV_REGISTER_NAME = 12312;
pub const WHvX64RegisterApicTmr1: WHV_REGISTER_NAME = 12313;
pub const WHvX64RegisterApicTmr2: WHV_REGISTER_NAME = 12314;
pub const WHvX64RegisterApicTmr3: WHV_REGISTER_NAME = 12315;
pub const WHvX64RegisterApicTmr4: WHV_REGISTER_NAME = 12316;
pub const WHvX64RegisterApicTmr5: WHV_REGISTER_NAME = 12317;
pub const WHvX64RegisterApicTmr6: WHV_REGISTER_NAME = 12318;
pub const WHvX64RegisterApicTmr7: WHV_REGISTER_NAME = 12319;
pub const WHvX64RegisterApicTpr: WHV_REGISTER_NAME = 12296;
pub const WHvX64RegisterApicVersion: WHV_REGISTER_NAME = 12291;
pub const WHvX64RegisterBndcfgs: WHV_REGISTER_NAME = 8316;
pub const WHvX64RegisterCr0: WHV_REGISTER_NAME = 28;
pub const WHvX64RegisterCr2: WHV_REGISTER_NAME = 29;
pub const WHvX64RegisterCr3: WHV_REGISTER_NAME = 30;
pub const WHvX64RegisterCr4: WHV_REGISTER_NAME = 31;
pub const WHvX64RegisterCr8: WHV_REGISTER_NAME = 32;
pub const WHvX64RegisterCs: WHV_REGISTER_NAME = 19;
pub const WHvX64RegisterCstar: WHV_REGISTER_NAME = 8202;
pub const WHvX64RegisterDeliverabilityNotifications: WHV_REGISTER_NAME = -2147483644;
pub const WHvX64RegisterDr0: WHV_REGISTER_NAME = 33;
pub const WHvX64RegisterDr1: WHV_REGISTER_NAME = 34;
pub const WHvX64RegisterDr2: WHV_REGISTER_NAME = 35;
pub const WHvX64RegisterDr3: WHV_REGISTER_NAME = 36;
pub const WHvX64RegisterDr6: WHV_REGISTER_NAME = 37;
pub const WHvX64RegisterDr7: WHV_REGISTER_NAME = 38;
pub const WHvX64RegisterDs: WHV_REGISTER_NAME = 21;
pub const WHvX64RegisterEfer: WHV_REGISTER_NAME = 8193;
pub const WHvX64RegisterEs: WHV_REGISTER_NAME = 18;
pub const WHvX64RegisterFpControlStatus: WHV_REGISTER_NAME = 4120;
pub const WHvX64RegisterFpMmx0: WHV_REGISTER_NAME = 4112;
pub const WHvX64RegisterFpMmx1: WHV_REGISTER_NAME = 4113;
pub const WHvX64RegisterFpMmx2: WHV_REGISTER_NAME = 4114;
pub const WHvX64RegisterFpMmx3: WHV_REGISTER_NAME = 4115;
pub const WHvX64RegisterFpMmx4: WHV_REGISTER_NAME = 4116;
pub const WHvX64RegisterFpMmx5: WHV_REGISTER_NAME = 4117;
pub const WHvX64RegisterFpMmx6: WHV_REGISTER_NAME = 4118;
pub const WHvX64RegisterFpMmx7: WHV_REGISTER_NAME = 4119;
pub const WHvX64RegisterFs: WHV_REGISTER_NAME = 22;
pub const WHvX64RegisterGdtr: WHV_REGISTER_NAME = 27;
pub const WHvX64RegisterGs: WHV_REGISTER_NAME = 23;
pub const WHvX64RegisterHypercall: WHV_REGISTER_NAME = 20481;
pub const WHvX64RegisterIa32FeatureControl: WHV_REGISTER_NAME = 8353;
pub const WHvX64RegisterIa32VmxBasic: WHV_REGISTER_NAME = 8354;
pub const WHvX64RegisterIa32VmxCr0Fixed0: WHV_REGISTER_NAME = 8360;
pub const WHvX64RegisterIa32VmxCr0Fixed1: WHV_REGISTER_NAME = 8361;
pub const WHvX64RegisterIa32VmxCr4Fixed0: WHV_REGISTER_NAME = 8362;
pub const WHvX64RegisterIa32VmxCr4Fixed1: WHV_REGISTER_NAME = 8363;
pub const WHvX64RegisterIa32VmxEntryCtls: WHV_REGISTER_NAME = 8358;
pub const WHvX64RegisterIa32VmxEptVpidCap: WHV_REGISTER_NAME = 8366;
pub const WHvX64RegisterIa32VmxExitCtls: WHV_REGISTER_NAME = 8357;
pub const WHvX64RegisterIa32VmxMisc: WHV_REGISTER_NAME = 8359;
pub const WHvX64RegisterIa32VmxPinbasedCtls: WHV_REGISTER_NAME = 8355;
pub const WHvX64RegisterIa32VmxProcbasedCtls: WHV_REGISTER_NAME = 8356;
pub const WHvX64RegisterIa32VmxProcbasedCtls2: WHV_REGISTER_NAME = 8365;
pub const WHvX64RegisterIa32VmxTrueEntryCtls: WHV_REGISTER_NAME = 8370;
pub const WHvX64RegisterIa32VmxTrueExitCtls: WHV_REGISTER_NAME = 8369;
pub const WHvX64RegisterIa32VmxTruePinbasedCtls: WHV_REGISTER_NAME = 8367;
pub const WHvX64RegisterIa32VmxTrueProcbasedCtls: WHV_REGISTER_NAME = 8368;
pub const WHvX64RegisterIa32VmxVmcsEnum: WHV_REGISTER_NAME = 8364;
pub const WHvX64RegisterIdtr: WHV_REGISTER_NAME = 26;
pub const WHvX64RegisterInitialApicId: WHV_REGISTER_NAME = 8204;
pub const WHvX64RegisterInterruptSspTableAddr: WHV_REGISTER_NAME = 8339;
pub const WHvX64RegisterKernelGsBase: WHV_REGISTER_NAME = 8194;
pub const WHvX64RegisterLdtr: WHV_REGISTER_NAME = 24;
pub const WHvX64RegisterLstar: WHV_REGISTER_NAME = 8201;
pub const WHvX64RegisterMCount: WHV_REGISTER_NAME = 8318;
pub const WHvX64RegisterMsrIa32MiscEnable: WHV_REGISTER_NAME = 8352;
pub const WHvX64RegisterMsrMtrrCap: WHV_REGISTER_NAME = 8205;
pub const WHvX64RegisterMsrMtrrDefType: WHV_REGISTER_NAME = 8206;
pub const WHvX64RegisterMsrMtrrFix16k80000: WHV_REGISTER_NAME = 8305;
pub const WHvX64RegisterMsrMtrrFix16kA0000: WHV_REGISTER_NAME = 8306;
pub const WHvX64RegisterMsrMtrrFix4kC0000: WHV_REGISTER_NAME = 8307;
pub const WHvX64RegisterMsrMtrrFix4kC8000: WHV_REGISTER_NAME = 8308;
pub const WHvX64RegisterMsrMtrrFix4kD0000: WHV_REGISTER_NAME = 8309;
pub const WHvX64RegisterMsrMtrrFix4kD8000: WHV_REGISTER_NAME = 8310;
pub const WHvX64RegisterMsrMtrrFix4kE0000: WHV_REGISTER_NAME = 8311;
pub const WHvX64RegisterMsrMtrrFix4kE8000: WHV_REGISTER_NAME = 8312;
pub const WHvX64RegisterMsrMtrrFix4kF0000: WHV_REGISTER_NAME = 8313;
pub const WHvX64RegisterMsrMtrrFix4kF8000: WHV_REGISTER_NAME = 8314;
pub const WHvX64RegisterMsrMtrrFix64k00000: WHV_REGISTER_NAME = 8304;
pub const WHvX64RegisterMsrMtrrPhysBase0: WHV_REGISTER_NAME = 8208;
pub const WHvX64RegisterMsrMtrrPhysBase1: WHV_REGISTER_NAME = 8209;
pub const WHvX64RegisterMsrMtrrPhysBase2: WHV_REGISTER_NAME = 8210;
pub const WHvX64RegisterMsrMtrrPhysBase3: WHV_REGISTER_NAME = 8211;
pub const WHvX64RegisterMsrMtrrPhysBase4: WHV_REGISTER_NAME = 8212;
pub const WHvX64RegisterMsrMtrrPhysBase5: WHV_REGISTER_NAME = 8213;
pub const WHvX64RegisterMsrMtrrPhysBase6: WHV_REGISTER_NAME = 8214;
pub const WHvX64RegisterMsrMtrrPhysBase7: WHV_REGISTER_NAME = 8215;
pub const WHvX64RegisterMsrMtrrPhysBase8: WHV_REGISTER_NAME = 8216;
pub const WHvX64RegisterMsrMtrrPhysBase9: WHV_REGISTER_NAME = 8217;
pub const WHvX64RegisterMsrMtrrPhysBaseA: WHV_REGISTER_NAME = 8218;
pub const WHvX64RegisterMsrMtrrPhysBaseB: WHV_REGISTER_NAME = 8219;
pub const WHvX64RegisterMsrMtrrPhysBaseC: WHV_REGISTER_NAME = 8220;
pub const WHvX64RegisterMsrMtrrPhysBaseD: WHV_REGISTER_NAME = 8221;
pub const WHvX64RegisterMsrMtrrPhysBaseE: WHV_REGISTER_NAME = 8222;
pub const WHvX64RegisterMsrMtrrPhysBaseF: WHV_REGISTER_NAME = 8223;
pub const WHvX64RegisterMsrMtrrPhysMask0: WHV_REGISTER_NAME = 8256;
pub const WHvX64RegisterMsrMtrrPhysMask1: WHV_REGISTER_NAME = 8257;
pub const WHvX64RegisterMsrMtrrPhysMask2: WHV_REGISTER_NAME = 8258;
pub const WHvX64RegisterMsrMtrrPhysMask3: WHV_REGISTER_NAME = 8259;
pub const WHvX64RegisterMsrMtrrPhysMask4: WHV_REGISTER_NAME = 8260;
pub const WHvX64RegisterMsrMtrrPhysMask5: WHV_REGISTER_NAME = 8261;
pub const WHvX64RegisterMsrMtrrPhysMask6: WHV_REGISTER_NAME = 8262;
pub const WHvX64RegisterMsrMtrrPhysMask7: WHV_REGISTER_NAME = 8263;
pub const WHvX64RegisterMsrMtrrPhysMask8: WHV_REGISTER_NAME = 8264;
pub const WHvX64RegisterMsrMtrrPhysMask9: WHV_REGISTER_NAME = 8265;
pub const WHvX64RegisterMsrMtrrPhysMaskA: WHV_REGISTER_NAME = 8266;
pub const WHvX64RegisterMsrMtrrPhysMaskB: WHV_REGISTER_NAME = 8267;
pub const WHvX64RegisterMsrMtrrPhysMaskC: WHV_REGISTER_NAME = 8268;
pub const WHvX64RegisterMsrMtrrPhysMaskD: WHV_REGISTER_NAME = 8269;
pub const WHvX64RegisterMsrMtrrPhysMaskE: WHV_REGISTER_NAME = 8270;
pub const WHvX64RegisterMsrMtrrPhysMaskF: WHV_REGISTER_NAME = 8271;
pub const WHvX64RegisterNestedCurrentVmGpa: WHV_REGISTER_NAME = 20561;
pub const WHvX64RegisterNestedGuestState: WHV_REGISTER_NAME = 20560;
pub const WHvX64RegisterNestedVmxInvEpt: WHV_REGISTER_NAME = 20562;
pub const WHvX64RegisterNestedVmxInvVpid: WHV_REGISTER_NAME = 20563;
pub const WHvX64RegisterPat: WHV_REGISTER_NAME = 8196;
pub const WHvX64RegisterPendingDebugException: WHV_REGISTER_NAME = -2147483642;
pub const WHvX64RegisterPl0Ssp: WHV_REGISTER_NAME = 8335;
pub const WHvX64RegisterPl1Ssp: WHV_REGISTER_NAME = 8336;
pub const WHvX64RegisterPl2Ssp: WHV_REGISTER_NAME = 8337;
pub const WHvX64RegisterPl3Ssp: WHV_REGISTER_NAME = 8338;
pub const WHvX64RegisterPredCmd: WHV_REGISTER_NAME = 8325;
pub const WHvX64RegisterR10: WHV_REGISTER_NAME = 10;
pub const WHvX64RegisterR11: WHV_REGISTER_NAME = 11;
pub const WHvX64RegisterR12: WHV_REGISTER_NAME = 12;
pub const WHvX64RegisterR13: WHV_REGISTER_NAME = 13;
pub const WHvX64RegisterR14: WHV_REGISTER_NAME = 14;
pub const WHvX64RegisterR15: WHV_REGISTER_NAME = 15;
pub const WHvX64RegisterR8: WHV_REGISTER_NAME = 8;
pub const WHvX64RegisterR9: WHV_REGISTER_NAME = 9;
pub const WHvX64RegisterRax: WHV_REGISTER_NAME = 0;
pub const WHvX64RegisterRbp: WHV_REGISTER_NAME = 5;
pub const WHvX64RegisterRbx: WHV_REGISTER_NAME = 3;
pub const WHvX64RegisterRcx: WHV_REGISTER_NAME = 1;
pub const WHvX64RegisterRdi: WHV_REGISTER_NAME = 7;
pub const WHvX64RegisterRdx: WHV_REGISTER_NAME = 2;
pub const WHvX64RegisterRflags: WHV_REGISTER_NAME = 17;
pub const WHvX64RegisterRip: WHV_REGISTER_NAME = 16;
pub const WHvX64RegisterRsi: WHV_REGISTER_NAME = 6;
pub const WHvX64RegisterRsp: WHV_REGISTER_NAME = 4;
pub const WHvX64RegisterSCet: WHV_REGISTER_NAME = 8333;
pub const WHvX64RegisterSfmask: WHV_REGISTER_NAME = 8203;
pub const WHvX64RegisterSpecCtrl: WHV_REGISTER_NAME = 8324;
pub const WHvX64RegisterSs: WHV_REGISTER_NAME = 20;
pub const WHvX64RegisterSsp: WHV_REGISTER_NAME = 8334;
pub const WHvX64RegisterStar: WHV_REGISTER_NAME = 8200;
pub const WHvX64RegisterSysenterCs: WHV_REGISTER_NAME = 8197;
pub const WHvX64RegisterSysenterEip: WHV_REGISTER_NAME = 8198;
pub const WHvX64RegisterSysenterEsp: WHV_REGISTER_NAME = 8199;
pub const WHvX64RegisterTr: WHV_REGISTER_NAME = 25;
pub const WHvX64RegisterTsc: WHV_REGISTER_NAME = 8192;
pub const WHvX64RegisterTscAdjust: WHV_REGISTER_NAME = 8342;
pub const WHvX64RegisterTscAux: WHV_REGISTER_NAME = 8315;
pub const WHvX64RegisterTscDeadline: WHV_REGISTER_NAME = 8341;
pub const WHvX64RegisterTscVirtualOffset: WHV_REGISTER_NAME = 8327;
pub const WHvX64RegisterTsxCtrl: WHV_REGISTER_NAME = 8328;
pub const WHvX64RegisterUCet: WHV_REGISTER_NAME = 8332;
pub const WHvX64RegisterUmwaitControl: WHV_REGISTER_NAME = 8344;
pub const WHvX64RegisterVirtualCr0: WHV_REGISTER_NAME = 40;
pub const WHvX64RegisterVirtualCr3: WHV_REGISTER_NAME = 41;
pub const WHvX64RegisterVirtualCr4: WHV_REGISTER_NAME = 42;
pub const WHvX64RegisterVirtualCr8: WHV_REGISTER_NAME = 43;
pub const WHvX64RegisterXCr0: WHV_REGISTER_NAME = 39;
pub const WHvX64RegisterXfd: WHV_REGISTER_NAME = 8345;
pub const WHvX64RegisterXfdErr: WHV_REGISTER_NAME = 8346;
pub const WHvX64RegisterXmm0: WHV_REGISTER_NAME = 4096;
pub const WHvX64RegisterXmm1: WHV_REGISTER_NAME = 4097;
pub const WHvX64RegisterXmm10: WHV_REGISTER_NAME = 4106;
pub const WHvX64RegisterXmm11: WHV_REGISTER_NAME = 4107;
pub const WHvX64RegisterXmm12: WHV_REGISTER_NAME = 4108;
pub const WHvX64RegisterXmm13: WHV_REGISTER_NAME = 4109;
pub const WHvX64RegisterXmm14: WHV_REGISTER_NAME = 4110;
pub const WHvX64RegisterXmm15: WHV_REGISTER_NAME = 4111;
pub const WHvX64RegisterXmm2: WHV_REGISTER_NAME = 4098;
pub const WHvX64RegisterXmm3: WHV_REGISTER_NAME = 4099;
pub const WHvX64RegisterXmm4: WHV_REGISTER_NAME = 4100;
pub const WHvX64RegisterXmm5: WHV_REGISTER_NAME = 4101;
pub const WHvX64RegisterXmm6: WHV_REGISTER_NAME = 4102;
pub const WHvX64RegisterXmm7: WHV_REGISTER_NAME = 4103;
pub const WHvX64RegisterXmm8: WHV_REGISTER_NAME = 4104;
pub const WHvX64RegisterXmm9: WHV_REGISTER_NAME = 4105;
pub const WHvX64RegisterXmmControlStatus: WHV_REGISTER_NAME = 4121;
pub const WHvX64RegisterXss: WHV_REGISTER_NAME = 8331;

/// The type of each function of the DLL, under the function's name.
pub mod functions {
    use super::*;
    pub type WHvAcceptPartitionMigration =
        unsafe extern "system" fn(migrationhandle: HANDLE, partition: *mut WHV_PARTITION_HANDLE) -> HRESULT;
    pub type WHvAdviseGpaRange = unsafe extern "system" fn(
        partition: WHV_PARTITION_HANDLE,
        gparanges: *const WHV_MEMORY_RANGE_ENTRY,
        gparangescount: u32,
        advice: WHV_ADVISE_GPA_RANGE_CODE,
        advicebuffer: *const core::ffi::c_void,
        advicebuffersizeinbytes: u32,
    ) -> HRESULT;
    pub type WHvAllocateVpciResource = unsafe extern "system" fn(
        providerid: *const GUID,
        flags: WHV_ALLOCATE_VPCI_RESOURCE_FLAGS,
        resourcedescriptor: *const core::ffi::c_void,
        resourcedescriptorsizeinbytes: u32,
        vpciresource: *mut HANDLE,
    ) -> HRESULT;
    pub type WHvCancelPartitionMigration = unsafe extern "system" fn(partition: WHV_PARTITION_HANDLE) -> HRESULT;
    pub type WHvCancelRunVirtualProcessor =
        unsafe extern "system" fn(partition: WHV_PARTITION_HANDLE, vpindex: u32, flags: u32) -> HRESULT;
    pub type WHvCompletePartitionMigration = unsafe extern "system" fn(partition: WHV_PARTITION_HANDLE) -> HRESULT;
    pub type WHvCreateNotificationPort = unsafe extern "system" fn(
        partition: WHV_PARTITION_HANDLE,
        parameters: *const WHV_NOTIFICATION_PORT_PARAMETERS,
        eventhandle: HANDLE,
        porthandle: *mut WHV_NOTIFICATION_PORT_HANDLE,
    ) -> HRESULT;
    pub type WHvCreatePartition = unsafe extern "system" fn(partition: *mut WHV_PARTITION_HANDLE) -> HRESULT;
    pub type WHvCreateTrigger = unsafe extern "system" fn(
        partition: WHV_PARTITION_HANDLE,
        parameters: *const WHV_TRIGGER_PARAMETERS,
        triggerhandle: *mut WHV_TRIGGER_HANDLE,
        eventhandle: *mut HANDLE,
    ) -> HRESULT;
    pub type WHvCreateVirtualProcessor =
        unsafe extern "system" fn(partition: WHV_PARTITION_HANDLE, vpindex: u32, flags: u32) -> HRESULT;
    pub type WHvCreateVirtualProcessor2 = unsafe extern "system" fn(
        partition: WHV_PARTITION_HANDLE,
        vpindex: u32,
        properties: *const WHV_VIRTUAL_PROCESSOR_PROPERTY,
        propertycount: u32,
    ) -> HRESULT;
    pub type WHvCreateVpciDevice = unsafe extern "system" fn(
        partition: WHV_PARTITION_HANDLE,
        logicaldeviceid: u64,
        vpciresource: HANDLE,
        flags: WHV_CREATE_VPCI_DEVICE_FLAGS,
        notificationeventhandle: HANDLE,
    ) -> HRESULT;
    pub type WHvDeleteNotificationPort =
        unsafe extern "system" fn(partition: WHV_PARTITION_HANDLE, porthandle: WHV_NOTIFICATION_PORT_HANDLE) -> HRESULT;
    pub type WHvDeletePartition = unsafe extern "system" fn(partition: WHV_PARTITION_HANDLE) -> HRESULT;
    pub type WHvDeleteTrigger =
        unsafe extern "system" fn(partition: WHV_PARTITION_HANDLE, triggerhandle: WHV_TRIGGER_HANDLE) -> HRESULT;
    pub type WHvDeleteVirtualProcessor =
        unsafe extern "system" fn(partition: WHV_PARTITION_HANDLE, vpindex: u32) -> HRESULT;
    pub type WHvDeleteVpciDevice =
        unsafe extern "system" fn(partition: WHV_PARTITION_HANDLE, logicaldeviceid: u64) -> HRESULT;
    pub type WHvGetCapability = unsafe extern "system" fn(
        capabilitycode: WHV_CAPABILITY_CODE,
        capabilitybuffer: *mut core::ffi::c_void,
        capabilitybuffersizeinbytes: u32,
        writtensizeinbytes: *mut u32,
    ) -> HRESULT;
    pub type WHvGetInterruptTargetVpSet = unsafe extern "system" fn(
        partition: WHV_PARTITION_HANDLE,
        destination: u64,
        destinationmode: WHV_INTERRUPT_DESTINATION_MODE,
        targetvps: *mut u32,
        vpcount: u32,
        targetvpcount: *mut u32,
    ) -> HRESULT;
    pub type WHvGetPartitionCounters = unsafe extern "system" fn(
        partition: WHV_PARTITION_HANDLE,
        counterset: WHV_PARTITION_COUNTER_SET,
        buffer: *mut core::ffi::c_void,
        buffersizeinbytes: u32,
        byteswritten: *mut u32,
    ) -> HRESULT;
    pub type WHvGetPartitionProperty = unsafe extern "system" fn(
        partition: WHV_PARTITION_HANDLE,
        propertycode: WHV_PARTITION_PROPERTY_CODE,
        propertybuffer: *mut core::ffi::c_void,
        propertybuffersizeinbytes: u32,
        writtensizeinbytes: *mut u32,
    ) -> HRESULT;
    pub type WHvGetVirtualProcessorCounters = unsafe extern "system" fn(
        partition: WHV_PARTITION_HANDLE,
        vpindex: u32,
        counterset: WHV_PROCESSOR_COUNTER_SET,
        buffer: *mut core::ffi::c_void,
        buffersizeinbytes: u32,
        byteswritten: *mut u32,
    ) -> HRESULT;
    pub type WHvGetVirtualProcessorCpuidOutput = unsafe extern "system" fn(
        partition: WHV_PARTITION_HANDLE,
        vpindex: u32,
        eax: u32,
        ecx: u32,
        cpuidoutput: *mut WHV_CPUID_OUTPUT,
    ) -> HRESULT;
    pub type WHvGetVirtualProcessorInterruptControllerState = unsafe extern "system" fn(
        partition: WHV_PARTITION_HANDLE,
        vpindex: u32,
        state: *mut core::ffi::c_void,
        statesize: u32,
        writtensize: *mut u32,
    ) -> HRESULT;
    pub type WHvGetVirtualProcessorInterruptControllerState2 = unsafe extern "system" fn(
        partition: WHV_PARTITION_HANDLE,
        vpindex: u32,
        state: *mut core::ffi::c_void,
        statesize: u32,
        writtensize: *mut u32,
    ) -> HRESULT;
    pub type WHvGetVirtualProcessorRegisters = unsafe extern "system" fn(
        partition: WHV_PARTITION_HANDLE,
        vpindex: u32,
        registernames: *const WHV_REGISTER_NAME,
        registercount: u32,
        registervalues: *mut WHV_REGISTER_VALUE,
    ) -> HRESULT;
    pub type WHvGetVirtualProcessorState = unsafe extern "system" fn(
        partition: WHV_PARTITION_HANDLE,
        vpindex: u32,
        statetype: WHV_VIRTUAL_PROCESSOR_STATE_TYPE,
        buffer: *mut core::ffi::c_void,
        buffersizeinbytes: u32,
        byteswritten: *mut u32,
    ) -> HRESULT;
    pub type WHvGetVirtualProcessorXsaveState = unsafe extern "system" fn(
        partition: WHV_PARTITION_HANDLE,
        vpindex: u32,
        buffer: *mut core::ffi::c_void,
        buffersizeinbytes: u32,
        byteswritten: *mut u32,
    ) -> HRESULT;
    pub type WHvGetVpciDeviceInterruptTarget = unsafe extern "system" fn(
        partition: WHV_PARTITION_HANDLE,
        logicaldeviceid: u64,
        index: u32,
        multimessagenumber: u32,
        target: *mut WHV_VPCI_INTERRUPT_TARGET,
        targetsizeinbytes: u32,
        byteswritten: *mut u32,
    ) -> HRESULT;
    pub type WHvGetVpciDeviceNotification = unsafe extern "system" fn(
        partition: WHV_PARTITION_HANDLE,
        logicaldeviceid: u64,
        notification: *mut WHV_VPCI_DEVICE_NOTIFICATION,
        notificationsizeinbytes: u32,
    ) -> HRESULT;
    pub type WHvGetVpciDeviceProperty = unsafe extern "system" fn(
        partition: WHV_PARTITION_HANDLE,
        logicaldeviceid: u64,
        propertycode: WHV_VPCI_DEVICE_PROPERTY_CODE,
        propertybuffer: *mut core::ffi::c_void,
        propertybuffersizeinbytes: u32,
        writtensizeinbytes: *mut u32,
    ) -> HRESULT;
    pub type WHvMapGpaRange = unsafe extern "system" fn(
        partition: WHV_PARTITION_HANDLE,
        sourceaddress: *const core::ffi::c_void,
        guestaddress: WHV_GUEST_PHYSICAL_ADDRESS,
        sizeinbytes: u64,
        flags: WHV_MAP_GPA_RANGE_FLAGS,
    ) -> HRESULT;
    pub type WHvMapGpaRange2 = unsafe extern "system" fn(
        partition: WHV_PARTITION_HANDLE,
        process: HANDLE,
        sourceaddress: *const core::ffi::c_void,
        guestaddress: WHV_GUEST_PHYSICAL_ADDRESS,
        sizeinbytes: u64,
        flags: WHV_MAP_GPA_RANGE_FLAGS,
    ) -> HRESULT;
    pub type WHvMapVpciDeviceInterrupt = unsafe extern "system" fn(
        partition: WHV_PARTITION_HANDLE,
        logicaldeviceid: u64,
        index: u32,
        messagecount: u32,
        target: *const WHV_VPCI_INTERRUPT_TARGET,
        msiaddress: *mut u64,
        msidata: *mut u32,
    ) -> HRESULT;
    pub type WHvMapVpciDeviceMmioRanges = unsafe extern "system" fn(
        partition: WHV_PARTITION_HANDLE,
        logicaldeviceid: u64,
        mappingcount: *mut u32,
        mappings: *mut *mut WHV_VPCI_MMIO_MAPPING,
    ) -> HRESULT;
    pub type WHvPostVirtualProcessorSynicMessage = unsafe extern "system" fn(
        partition: WHV_PARTITION_HANDLE,
        vpindex: u32,
        sintindex: u32,
        message: *const core::ffi::c_void,
        messagesizeinbytes: u32,
    ) -> HRESULT;
    pub type WHvQueryGpaRangeDirtyBitmap = unsafe extern "system" fn(
        partition: WHV_PARTITION_HANDLE,
        guestaddress: WHV_GUEST_PHYSICAL_ADDRESS,
        rangesizeinbytes: u64,
        bitmap: *mut u64,
        bitmapsizeinbytes: u32,
    ) -> HRESULT;
    pub type WHvReadGpaRange = unsafe extern "system" fn(
        partition: WHV_PARTITION_HANDLE,
        vpindex: u32,
        guestaddress: WHV_GUEST_PHYSICAL_ADDRESS,
        controls: WHV_ACCESS_GPA_CONTROLS,
        data: *mut core::ffi::c_void,
        datasizeinbytes: u32,
    ) -> HRESULT;
    pub type WHvReadVpciDeviceRegister = unsafe extern "system" fn(
        partition: WHV_PARTITION_HANDLE,
        logicaldeviceid: u64,
        register: *const WHV_VPCI_DEVICE_REGISTER,
        data: *mut core::ffi::c_void,
    ) -> HRESULT;
    pub type WHvRegisterPartitionDoorbellEvent = unsafe extern "system" fn(
        partition: WHV_PARTITION_HANDLE,
        matchdata: *const WHV_DOORBELL_MATCH_DATA,
        eventhandle: HANDLE,
    ) -> HRESULT;
    pub type WHvRequestInterrupt = unsafe extern "system" fn(
        partition: WHV_PARTITION_HANDLE,
        interrupt: *const WHV_INTERRUPT_CONTROL,
        interruptcontrolsize: u32,
    ) -> HRESULT;
    pub type WHvRequestVpciDeviceInterrupt = unsafe extern "system" fn(
        partition: WHV_PARTITION_HANDLE,
        logicaldeviceid: u64,
        msiaddress: u64,
        msidata: u32,
    ) -> HRESULT;
    pub type WHvResetPartition = unsafe extern "system" fn(partition: WHV_PARTITION_HANDLE) -> HRESULT;
    pub type WHvResumePartitionTime = unsafe extern "system" fn(partition: WHV_PARTITION_HANDLE) -> HRESULT;
    pub type WHvRetargetVpciDeviceInterrupt = unsafe extern "system" fn(
        partition: WHV_PARTITION_HANDLE,
        logicaldeviceid: u64,
        msiaddress: u64,
        msidata: u32,
        target: *const WHV_VPCI_INTERRUPT_TARGET,
    ) -> HRESULT;
    pub type WHvRunVirtualProcessor = unsafe extern "system" fn(
        partition: WHV_PARTITION_HANDLE,
        vpindex: u32,
        exitcontext: *mut core::ffi::c_void,
        exitcontextsizeinbytes: u32,
    ) -> HRESULT;
    pub type WHvSetNotificationPortProperty = unsafe extern "system" fn(
        partition: WHV_PARTITION_HANDLE,
        porthandle: WHV_NOTIFICATION_PORT_HANDLE,
        propertycode: WHV_NOTIFICATION_PORT_PROPERTY_CODE,
        propertyvalue: WHV_NOTIFICATION_PORT_PROPERTY,
    ) -> HRESULT;
    pub type WHvSetPartitionProperty = unsafe extern "system" fn(
        partition: WHV_PARTITION_HANDLE,
        propertycode: WHV_PARTITION_PROPERTY_CODE,
        propertybuffer: *const core::ffi::c_void,
        propertybuffersizeinbytes: u32,
    ) -> HRESULT;
    pub type WHvSetVirtualProcessorInterruptControllerState = unsafe extern "system" fn(
        partition: WHV_PARTITION_HANDLE,
        vpindex: u32,
        state: *const core::ffi::c_void,
        statesize: u32,
    ) -> HRESULT;
    pub type WHvSetVirtualProcessorInterruptControllerState2 = unsafe extern "system" fn(
        partition: WHV_PARTITION_HANDLE,
        vpindex: u32,
        state: *const core::ffi::c_void,
        statesize: u32,
    ) -> HRESULT;
    pub type WHvSetVirtualProcessorRegisters = unsafe extern "system" fn(
        partition: WHV_PARTITION_HANDLE,
        vpindex: u32,
        registernames: *const WHV_REGISTER_NAME,
        registercount: u32,
        registervalues: *const WHV_REGISTER_VALUE,
    ) -> HRESULT;
    pub type WHvSetVirtualProcessorState = unsafe extern "system" fn(
        partition: WHV_PARTITION_HANDLE,
        vpindex: u32,
        statetype: WHV_VIRTUAL_PROCESSOR_STATE_TYPE,
        buffer: *const core::ffi::c_void,
        buffersizeinbytes: u32,
    ) -> HRESULT;
    pub type WHvSetVirtualProcessorXsaveState = unsafe extern "system" fn(
        partition: WHV_PARTITION_HANDLE,
        vpindex: u32,
        buffer: *const core::ffi::c_void,
        buffersizeinbytes: u32,
    ) -> HRESULT;
    pub type WHvSetVpciDevicePowerState = unsafe extern "system" fn(
        partition: WHV_PARTITION_HANDLE,
        logicaldeviceid: u64,
        powerstate: DEVICE_POWER_STATE,
    ) -> HRESULT;
    pub type WHvSetupPartition = unsafe extern "system" fn(partition: WHV_PARTITION_HANDLE) -> HRESULT;
    pub type WHvSignalVirtualProcessorSynicEvent = unsafe extern "system" fn(
        partition: WHV_PARTITION_HANDLE,
        synicevent: WHV_SYNIC_EVENT_PARAMETERS,
        newlysignaled: *mut BOOL,
    ) -> HRESULT;
    pub type WHvStartPartitionMigration =
        unsafe extern "system" fn(partition: WHV_PARTITION_HANDLE, migrationhandle: *mut HANDLE) -> HRESULT;
    pub type WHvSuspendPartitionTime = unsafe extern "system" fn(partition: WHV_PARTITION_HANDLE) -> HRESULT;
    pub type WHvTranslateGva = unsafe extern "system" fn(
        partition: WHV_PARTITION_HANDLE,
        vpindex: u32,
        gva: WHV_GUEST_VIRTUAL_ADDRESS,
        translateflags: WHV_TRANSLATE_GVA_FLAGS,
        translationresult: *mut WHV_TRANSLATE_GVA_RESULT,
        gpa: *mut WHV_GUEST_PHYSICAL_ADDRESS,
    ) -> HRESULT;
    pub type WHvUnmapGpaRange = unsafe extern "system" fn(
        partition: WHV_PARTITION_HANDLE,
        guestaddress: WHV_GUEST_PHYSICAL_ADDRESS,
        sizeinbytes: u64,
    ) -> HRESULT;
    pub type WHvUnmapVpciDeviceInterrupt =
        unsafe extern "system" fn(partition: WHV_PARTITION_HANDLE, logicaldeviceid: u64, index: u32) -> HRESULT;
    pub type WHvUnmapVpciDeviceMmioRanges =
        unsafe extern "system" fn(partition: WHV_PARTITION_HANDLE, logicaldeviceid: u64) -> HRESULT;
    pub type WHvUnregisterPartitionDoorbellEvent = unsafe extern "system" fn(
        partition: WHV_PARTITION_HANDLE,
        matchdata: *const WHV_DOORBELL_MATCH_DATA,
    ) -> HRESULT;
    pub type WHvUpdateTriggerParameters = unsafe extern "system" fn(
        partition: WHV_PARTITION_HANDLE,
        parameters: *const WHV_TRIGGER_PARAMETERS,
        triggerhandle: WHV_TRIGGER_HANDLE,
    ) -> HRESULT;
    pub type WHvWriteGpaRange = unsafe extern "system" fn(
        partition: WHV_PARTITION_HANDLE,
        vpindex: u32,
        guestaddress: WHV_GUEST_PHYSICAL_ADDRESS,
        controls: WHV_ACCESS_GPA_CONTROLS,
        data: *const core::ffi::c_void,
        datasizeinbytes: u32,
    ) -> HRESULT;
    pub type WHvWriteVpciDeviceRegister = unsafe extern "system" fn(
        partition: WHV_PARTITION_HANDLE,
        logicaldeviceid: u64,
        register: *const WHV_VPCI_DEVICE_REGISTER,
        data: *const core::ffi::c_void,
    ) -> HRESULT;
}

/// The functions that the DLL of this architecture has.
pub const FUNCTIONS: [&str; 66] = [
    "WHvAcceptPartitionMigration",
    "WHvAdviseGpaRange",
    "WHvAllocateVpciResource",
    "WHvCancelPartitionMigration",
    "WHvCancelRunVirtualProcessor",
    "WHvCompletePartitionMigration",
    "WHvCreateNotificationPort",
    "WHvCreatePartition",
    "WHvCreateTrigger",
    "WHvCreateVirtualProcessor",
    "WHvCreateVirtualProcessor2",
    "WHvCreateVpciDevice",
    "WHvDeleteNotificationPort",
    "WHvDeletePartition",
    "WHvDeleteTrigger",
    "WHvDeleteVirtualProcessor",
    "WHvDeleteVpciDevice",
    "WHvGetCapability",
    "WHvGetInterruptTargetVpSet",
    "WHvGetPartitionCounters",
    "WHvGetPartitionProperty",
    "WHvGetVirtualProcessorCounters",
    "WHvGetVirtualProcessorCpuidOutput",
    "WHvGetVirtualProcessorInterruptControllerState",
    "WHvGetVirtualProcessorInterruptControllerState2",
    "WHvGetVirtualProcessorRegisters",
    "WHvGetVirtualProcessorState",
    "WHvGetVirtualProcessorXsaveState",
    "WHvGetVpciDeviceInterruptTarget",
    "WHvGetVpciDeviceNotification",
    "WHvGetVpciDeviceProperty",
    "WHvMapGpaRange",
    "WHvMapGpaRange2",
    "WHvMapVpciDeviceInterrupt",
    "WHvMapVpciDeviceMmioRanges",
    "WHvPostVirtualProcessorSynicMessage",
    "WHvQueryGpaRangeDirtyBitmap",
    "WHvReadGpaRange",
    "WHvReadVpciDeviceRegister",
    "WHvRegisterPartitionDoorbellEvent",
    "WHvRequestInterrupt",
    "WHvRequestVpciDeviceInterrupt",
    "WHvResetPartition",
    "WHvResumePartitionTime",
    "WHvRetargetVpciDeviceInterrupt",
    "WHvRunVirtualProcessor",
    "WHvSetNotificationPortProperty",
    "WHvSetPartitionProperty",
    "WHvSetVirtualProcessorInterruptControllerState",
    "WHvSetVirtualProcessorInterruptControllerState2",
    "WHvSetVirtualProcessorRegisters",
    "WHvSetVirtualProcessorState",
    "WHvSetVirtualProcessorXsaveState",
    "WHvSetVpciDevicePowerState",
    "WHvSetupPartition",
    "WHvSignalVirtualProcessorSynicEvent",
    "WHvStartPartitionMigration",
    "WHvSuspendPartitionTime",
    "WHvTranslateGva",
    "WHvUnmapGpaRange",
    "WHvUnmapVpciDeviceInterrupt",
    "WHvUnmapVpciDeviceMmioRanges",
    "WHvUnregisterPartitionDoorbellEvent",
    "WHvUpdateTriggerParameters",
    "WHvWriteGpaRange",
    "WHvWriteVpciDeviceRegister",
];
