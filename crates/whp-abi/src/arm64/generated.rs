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
#[repr(C)]
#[derive(Clone, Copy)]
pub struct WHV_ARM64_GLOBAL_INTERRUPT_CONTROLLER_STATE {
    pub Version: u8,
    pub GicVersion: u8,
    pub Reserved0: [u8; 2],
    pub NumInterrupts: u32,
    pub GicdCtlrEnableGrp1A: u64,
    pub Interrupts: [WHV_ARM64_GLOBAL_INTERRUPT_STATE; 1],
}
impl Default for WHV_ARM64_GLOBAL_INTERRUPT_CONTROLLER_STATE {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
pub const WHV_ARM64_GLOBAL_INTERRUPT_CONTROLLER_STATE_VERSION_CURRENT: i32 = 1;
#[repr(C)]
#[derive(Clone, Copy)]
pub struct WHV_ARM64_GLOBAL_INTERRUPT_STATE {
    pub InterruptId: u32,
    pub ActiveVpIndex: u32,
    pub Anonymous: WHV_ARM64_GLOBAL_INTERRUPT_STATE_0,
    pub InterruptState: WHV_ARM64_INTERRUPT_STATE,
}
impl Default for WHV_ARM64_GLOBAL_INTERRUPT_STATE {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
#[repr(C)]
#[derive(Clone, Copy)]
pub union WHV_ARM64_GLOBAL_INTERRUPT_STATE_0 {
    pub TargetMpidr: u32,
    pub TargetVpIndex: u32,
}
impl Default for WHV_ARM64_GLOBAL_INTERRUPT_STATE_0 {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
pub type WHV_ARM64_HYPERCALL_CONTEXT = WHV_HYPERCALL_CONTEXT;
pub type WHV_ARM64_IC_EMULATION_MODE = i32;
#[repr(C)]
#[derive(Clone, Copy)]
pub struct WHV_ARM64_IC_GIC_V3_PARAMETERS {
    pub GicdBaseAddress: WHV_GUEST_PHYSICAL_ADDRESS,
    pub GitsTranslaterBaseAddress: WHV_GUEST_PHYSICAL_ADDRESS,
    pub Reserved: u32,
    pub GicLpiIntIdBits: u32,
    pub GicPpiOverflowInterruptFromCntv: WHV_ARM64_INTERRUPT_VECTOR,
    pub GicPpiPerformanceMonitorsInterrupt: WHV_ARM64_INTERRUPT_VECTOR,
    pub Reserved1: [u32; 6],
}
impl Default for WHV_ARM64_IC_GIC_V3_PARAMETERS {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct WHV_ARM64_IC_PARAMETERS {
    pub EmulationMode: WHV_ARM64_IC_EMULATION_MODE,
    pub Reserved: u32,
    pub Anonymous: WHV_ARM64_IC_PARAMETERS_0,
}
impl Default for WHV_ARM64_IC_PARAMETERS {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
#[repr(C)]
#[derive(Clone, Copy)]
pub union WHV_ARM64_IC_PARAMETERS_0 {
    pub GicV3Parameters: WHV_ARM64_IC_GIC_V3_PARAMETERS,
}
impl Default for WHV_ARM64_IC_PARAMETERS_0 {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
pub const WHV_ARM64_INTERRUPT_CONTROLLER_STATE_VERSION_CURRENT: i32 = 1;
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct WHV_ARM64_INTERRUPT_STATE {
    pub Anonymous: WHV_ARM64_INTERRUPT_STATE_0,
    pub GicrIpriorityrConfigured: u8,
    pub GicrIpriorityrActive: u8,
    pub Reserved1: u8,
}
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct WHV_ARM64_INTERRUPT_STATE_0 {
    pub _bitfield: u8,
}
pub type WHV_ARM64_INTERRUPT_VECTOR = u32;
#[repr(C)]
#[derive(Clone, Copy)]
pub struct WHV_ARM64_LOCAL_INTERRUPT_CONTROLLER_STATE {
    pub Version: u8,
    pub GicVersion: u8,
    pub Reserved0: [u8; 6],
    pub IccIgrpen1El1: u64,
    pub GicrCtlrEnableLpis: u64,
    pub IccBpr1El1: u64,
    pub IccPmrEl1: u64,
    pub GicrPropbaser: u64,
    pub GicrPendbaser: u64,
    pub IchAp1REl2: [u32; 4],
    pub BankedInterruptState: [WHV_ARM64_INTERRUPT_STATE; 32],
}
impl Default for WHV_ARM64_LOCAL_INTERRUPT_CONTROLLER_STATE {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
#[repr(C)]
#[derive(Clone, Copy)]
pub union WHV_ARM64_PENDING_EVENT {
    pub Anonymous: WHV_ARM64_PENDING_EVENT_0,
    pub Anonymous2: WHV_ARM64_PENDING_EVENT_1,
    pub Exception: WHV_ARM64_PENDING_EXCEPTION_EVENT,
    pub SyntheticException: WHV_ARM64_PENDING_SYNTHETIC_EXCEPTION_EVENT,
}
impl Default for WHV_ARM64_PENDING_EVENT {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct WHV_ARM64_PENDING_EVENT_0 {
    pub Reg0: WHV_UINT128,
    pub Reg1: WHV_UINT128,
}
impl Default for WHV_ARM64_PENDING_EVENT_0 {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct WHV_ARM64_PENDING_EVENT_1 {
    pub _bitfield: u8,
    pub EventData: [u8; 15],
}
impl Default for WHV_ARM64_PENDING_EVENT_1 {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
pub type WHV_ARM64_PENDING_EVENT_TYPE = i32;
#[repr(C)]
#[derive(Clone, Copy)]
pub union WHV_ARM64_PENDING_EXCEPTION_EVENT {
    pub AsUINT64: [u64; 3],
    pub Anonymous: WHV_ARM64_PENDING_EXCEPTION_EVENT_0,
}
impl Default for WHV_ARM64_PENDING_EXCEPTION_EVENT {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct WHV_ARM64_PENDING_EXCEPTION_EVENT_0 {
    pub _bitfield: u8,
    pub Reserved1: u8,
    pub Reserved2: u16,
    pub Reserved3: u32,
    pub EsrElx: u64,
    pub FarElx: u64,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub union WHV_ARM64_PENDING_SYNTHETIC_EXCEPTION_EVENT {
    pub AsUINT64: [u64; 2],
    pub Anonymous: WHV_ARM64_PENDING_SYNTHETIC_EXCEPTION_EVENT_0,
}
impl Default for WHV_ARM64_PENDING_SYNTHETIC_EXCEPTION_EVENT {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct WHV_ARM64_PENDING_SYNTHETIC_EXCEPTION_EVENT_0 {
    pub _bitfield: u8,
    pub Reserved1: u8,
    pub Reserved2: u16,
    pub ExceptionType: u32,
    pub Context: u64,
}
pub type WHV_ARM64_PROCESSOR_FEATURES = WHV_PROCESSOR_FEATURES;
pub type WHV_ARM64_PROCESSOR_FEATURES1 = WHV_PROCESSOR_FEATURES1;
#[repr(C)]
#[derive(Clone, Copy)]
pub struct WHV_ARM64_RESET_CONTEXT {
    pub Header: WHV_INTERCEPT_MESSAGE_HEADER,
    pub ResetType: WHV_ARM64_RESET_TYPE,
    pub Reserved: u32,
}
impl Default for WHV_ARM64_RESET_CONTEXT {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
pub type WHV_ARM64_RESET_TYPE = i32;
pub type WHV_ARM64_SYNTHETIC_EXCEPTION_TYPE = i32;
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct WHV_ARM64_VP_STATE_SME {
    pub Version: u16,
    pub RegisterDataOffset: u16,
    pub StreamingVectorLength: u32,
    pub Reserved0: u64,
}
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct WHV_ARM64_VP_STATE_SVE {
    pub Version: u16,
    pub RegisterDataOffset: u16,
    pub VectorLength: u32,
    pub Reserved0: u64,
}
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
    pub GicLpiIntIdBits: u32,
    pub MaxSveVectorLength: u32,
    pub MaxSmeStreamingVectorLength: u32,
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
    pub Header: WHV_INTERCEPT_MESSAGE_HEADER,
    pub Immediate: u16,
    pub Reserved1: u16,
    pub Reserved2: u32,
    pub X: [u64; 18],
}
impl Default for WHV_HYPERCALL_CONTEXT {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct WHV_INITIAL_VP_CONTEXT {
    pub Pc: u64,
    pub Sp_ELh: u64,
    pub SCTLR_EL1: u64,
    pub MAIR_EL1: u64,
    pub TCR_EL1: u64,
    pub VBAR_EL1: u64,
    pub TTBR0_EL1: u64,
    pub TTBR1_EL1: u64,
    pub X18: u64,
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
pub struct WHV_INTERCEPT_MESSAGE_HEADER {
    pub VpIndex: u32,
    pub InstructionLength: u8,
    pub InterceptAccessType: u8,
    pub ExecutionState: WHV_VP_EXECUTION_STATE,
    pub Pc: u64,
    pub Cpsr: u64,
}
impl Default for WHV_INTERCEPT_MESSAGE_HEADER {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
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
#[derive(Clone, Copy)]
pub struct WHV_INTERRUPT_CONTROL {
    pub TargetPartition: u64,
    pub InterruptControl: WHV_INTERRUPT_CONTROL2,
    pub DestinationAddress: u64,
    pub RequestedVector: u32,
    pub TargetVtl: u8,
    pub ReservedZ0: u8,
    pub ReservedZ1: u16,
}
impl Default for WHV_INTERRUPT_CONTROL {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
#[repr(C)]
#[derive(Clone, Copy)]
pub union WHV_INTERRUPT_CONTROL2 {
    pub AsUINT64: u64,
    pub Anonymous: WHV_INTERRUPT_CONTROL2_0,
}
impl Default for WHV_INTERRUPT_CONTROL2 {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct WHV_INTERRUPT_CONTROL2_0 {
    pub InterruptType: WHV_INTERRUPT_TYPE,
    pub _bitfield: u32,
}
pub type WHV_INTERRUPT_TYPE = i32;
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct WHV_INVALID_VP_REGISTER_CONTEXT {
    pub VpIndex: u32,
    pub Reserved: u32,
}
pub type WHV_MAP_GPA_RANGE_FLAGS = u32;
pub const WHV_MAX_DEVICE_ID_SIZE_IN_CHARS: i32 = 200;
#[repr(C)]
#[derive(Clone, Copy)]
pub struct WHV_MEMORY_ACCESS_CONTEXT {
    pub Header: WHV_INTERCEPT_MESSAGE_HEADER,
    pub Reserved0: u32,
    pub InstructionByteCount: u8,
    pub AccessInfo: WHV_MEMORY_ACCESS_INFO,
    pub Reserved1: u16,
    pub InstructionBytes: [u8; 4],
    pub Reserved2: u32,
    pub Gva: u64,
    pub Gpa: u64,
    pub Syndrome: u64,
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
    pub AsUINT8: u8,
    pub Anonymous: WHV_MEMORY_ACCESS_INFO_0,
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
    pub _bitfield: u8,
}
pub type WHV_MEMORY_ACCESS_TYPE = i32;
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct WHV_MEMORY_RANGE_ENTRY {
    pub GuestAddress: u64,
    pub SizeInBytes: u64,
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
    pub Arm64IcParameters: WHV_ARM64_IC_PARAMETERS,
}
impl Default for WHV_PARTITION_PROPERTY {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
pub type WHV_PARTITION_PROPERTY_CODE = i32;
#[repr(C)]
#[derive(Clone, Copy)]
pub struct WHV_PROCESSOR_ACTIVITY_COUNTERS {
    pub OtherIntercepts: WHV_PROCESSOR_INTERCEPT_COUNTER,
    pub PendingInterrupts: WHV_PROCESSOR_INTERCEPT_COUNTER,
    pub NestedPageFaultIntercepts: WHV_PROCESSOR_INTERCEPT_COUNTER,
    pub Hypercalls: WHV_PROCESSOR_INTERCEPT_COUNTER,
    pub Reserved: [WHV_PROCESSOR_INTERCEPT_COUNTER; 10],
}
impl Default for WHV_PROCESSOR_ACTIVITY_COUNTERS {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
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
pub const WHV_READ_WRITE_GPA_RANGE_MAX_SIZE: i32 = 16;
#[repr(C)]
#[derive(Clone, Copy)]
pub union WHV_REGISTER_ACCESS_INFO {
    pub SourceValue: WHV_REGISTER_VALUE,
    pub DestinationRegister: WHV_REGISTER_NAME,
}
impl Default for WHV_REGISTER_ACCESS_INFO {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct WHV_REGISTER_CONTEXT {
    pub Header: WHV_INTERCEPT_MESSAGE_HEADER,
    pub Anonymous: WHV_REGISTER_CONTEXT_0,
    pub Reserved8: u8,
    pub Reserved16: u16,
    pub RegisterName: WHV_REGISTER_NAME,
    pub AccessInfo: WHV_REGISTER_ACCESS_INFO,
}
impl Default for WHV_REGISTER_CONTEXT {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct WHV_REGISTER_CONTEXT_0 {
    pub _bitfield: u8,
}
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
    pub Reserved1: u64,
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
    pub UnrecoverableException: WHV_UNRECOVERABLE_EXCEPTION_CONTEXT,
    pub InvalidVpRegister: WHV_INVALID_VP_REGISTER_CONTEXT,
    pub Register: WHV_REGISTER_CONTEXT,
    pub Arm64Reset: WHV_ARM64_RESET_CONTEXT,
    pub AsUINT64: [u64; 32],
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
#[derive(Clone, Copy)]
pub struct WHV_SYNIC_SINT_DELIVERABLE_CONTEXT {
    pub Header: WHV_INTERCEPT_MESSAGE_HEADER,
    pub DeliverableSints: u16,
    pub Reserved1: u16,
    pub Reserved2: u32,
}
impl Default for WHV_SYNIC_SINT_DELIVERABLE_CONTEXT {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
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
pub struct WHV_UNRECOVERABLE_EXCEPTION_CONTEXT {
    pub Header: WHV_INTERCEPT_MESSAGE_HEADER,
}
impl Default for WHV_UNRECOVERABLE_EXCEPTION_CONTEXT {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
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
pub const WHV_VIRTUAL_PROCESSOR_STATE_TYPE_ANY_VP: u32 = 1073741824;
pub const WHV_VIRTUAL_PROCESSOR_STATE_TYPE_PFN: u32 = 2147483648;
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
pub union WHV_VP_EXECUTION_STATE {
    pub AsUINT16: u16,
    pub Anonymous: WHV_VP_EXECUTION_STATE_0,
}
impl Default for WHV_VP_EXECUTION_STATE {
    fn default() -> Self {
        // SAFETY: a plain C type of integers and nullable pointers; all zeroes are valid.
        unsafe { core::mem::zeroed() }
    }
}
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct WHV_VP_EXECUTION_STATE_0 {
    pub _bitfield: u16,
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
pub const WHvAdviseGpaRangeCodePin: WHV_ADVISE_GPA_RANGE_CODE = 1;
pub const WHvAdviseGpaRangeCodePopulate: WHV_ADVISE_GPA_RANGE_CODE = 0;
pub const WHvAdviseGpaRangeCodeUnpin: WHV_ADVISE_GPA_RANGE_CODE = 2;
pub const WHvAllocateVpciResourceFlagAllowDirectP2P: WHV_ALLOCATE_VPCI_RESOURCE_FLAGS = 1;
pub const WHvAllocateVpciResourceFlagNone: WHV_ALLOCATE_VPCI_RESOURCE_FLAGS = 0;
pub const WHvArm64IcEmulationModeGicV3: WHV_ARM64_IC_EMULATION_MODE = 1;
pub const WHvArm64IcEmulationModeNone: WHV_ARM64_IC_EMULATION_MODE = 0;
pub const WHvArm64InterruptTypeFixed: WHV_INTERRUPT_TYPE = 0;
pub const WHvArm64InterruptTypeMaximum: WHV_INTERRUPT_TYPE = 8;
pub const WHvArm64PendingEventException: WHV_ARM64_PENDING_EVENT_TYPE = 0;
pub const WHvArm64PendingEventSyntheticException: WHV_ARM64_PENDING_EVENT_TYPE = 1;
pub const WHvArm64RegisterActlrEl1: WHV_REGISTER_NAME = 262147;
pub const WHvArm64RegisterApdAKeyHiEl1: WHV_REGISTER_NAME = 262182;
pub const WHvArm64RegisterApdAKeyLoEl1: WHV_REGISTER_NAME = 262183;
pub const WHvArm64RegisterApdBKeyHiEl1: WHV_REGISTER_NAME = 262184;
pub const WHvArm64RegisterApdBKeyLoEl1: WHV_REGISTER_NAME = 262185;
pub const WHvArm64RegisterApgAKeyHiEl1: WHV_REGISTER_NAME = 262186;
pub const WHvArm64RegisterApgAKeyLoEl1: WHV_REGISTER_NAME = 262187;
pub const WHvArm64RegisterApiAKeyHiEl1: WHV_REGISTER_NAME = 262188;
pub const WHvArm64RegisterApiAKeyLoEl1: WHV_REGISTER_NAME = 262189;
pub const WHvArm64RegisterApiBKeyHiEl1: WHV_REGISTER_NAME = 262190;
pub const WHvArm64RegisterApiBKeyLoEl1: WHV_REGISTER_NAME = 262191;
pub const WHvArm64RegisterCntkctlEl1: WHV_REGISTER_NAME = 360456;
pub const WHvArm64RegisterCntvCtlEl0: WHV_REGISTER_NAME = 360462;
pub const WHvArm64RegisterCntvCvalEl0: WHV_REGISTER_NAME = 360463;
pub const WHvArm64RegisterCntvctEl0: WHV_REGISTER_NAME = 360465;
pub const WHvArm64RegisterContextidrEl1: WHV_REGISTER_NAME = 262157;
pub const WHvArm64RegisterCpacrEl1: WHV_REGISTER_NAME = 262148;
pub const WHvArm64RegisterCsselrEl1: WHV_REGISTER_NAME = 262197;
pub const WHvArm64RegisterDbgbcr0El1: WHV_REGISTER_NAME = 327680;
pub const WHvArm64RegisterDbgbcr10El1: WHV_REGISTER_NAME = 327690;
pub const WHvArm64RegisterDbgbcr11El1: WHV_REGISTER_NAME = 327691;
pub const WHvArm64RegisterDbgbcr12El1: WHV_REGISTER_NAME = 327692;
pub const WHvArm64RegisterDbgbcr13El1: WHV_REGISTER_NAME = 327693;
pub const WHvArm64RegisterDbgbcr14El1: WHV_REGISTER_NAME = 327694;
pub const WHvArm64RegisterDbgbcr15El1: WHV_REGISTER_NAME = 327695;
pub const WHvArm64RegisterDbgbcr1El1: WHV_REGISTER_NAME = 327681;
pub const WHvArm64RegisterDbgbcr2El1: WHV_REGISTER_NAME = 327682;
pub const WHvArm64RegisterDbgbcr3El1: WHV_REGISTER_NAME = 327683;
pub const WHvArm64RegisterDbgbcr4El1: WHV_REGISTER_NAME = 327684;
pub const WHvArm64RegisterDbgbcr5El1: WHV_REGISTER_NAME = 327685;
pub const WHvArm64RegisterDbgbcr6El1: WHV_REGISTER_NAME = 327686;
pub const WHvArm64RegisterDbgbcr7El1: WHV_REGISTER_NAME = 327687;
pub const WHvArm64RegisterDbgbcr8El1: WHV_REGISTER_NAME = 327688;
pub const WHvArm64RegisterDbgbcr9El1: WHV_REGISTER_NAME = 327689;
pub const WHvArm64RegisterDbgbvr0El1: WHV_REGISTER_NAME = 327712;
pub const WHvArm64RegisterDbgbvr10El1: WHV_REGISTER_NAME = 327722;
pub const WHvArm64RegisterDbgbvr11El1: WHV_REGISTER_NAME = 327723;
pub const WHvArm64RegisterDbgbvr12El1: WHV_REGISTER_NAME = 327724;
pub const WHvArm64RegisterDbgbvr13El1: WHV_REGISTER_NAME = 327725;
pub const WHvArm64RegisterDbgbvr14El1: WHV_REGISTER_NAME = 327726;
pub const WHvArm64RegisterDbgbvr15El1: WHV_REGISTER_NAME = 327727;
pub const WHvArm64RegisterDbgbvr1El1: WHV_REGISTER_NAME = 327713;
pub const WHvArm64RegisterDbgbvr2El1: WHV_REGISTER_NAME = 327714;
pub const WHvArm64RegisterDbgbvr3El1: WHV_REGISTER_NAME = 327715;
pub const WHvArm64RegisterDbgbvr4El1: WHV_REGISTER_NAME = 327716;
pub const WHvArm64RegisterDbgbvr5El1: WHV_REGISTER_NAME = 327717;
pub const WHvArm64RegisterDbgbvr6El1: WHV_REGISTER_NAME = 327718;
pub const WHvArm64RegisterDbgbvr7El1: WHV_REGISTER_NAME = 327719;
pub const WHvArm64RegisterDbgbvr8El1: WHV_REGISTER_NAME = 327720;
pub const WHvArm64RegisterDbgbvr9El1: WHV_REGISTER_NAME = 327721;
pub const WHvArm64RegisterDbgprcrEl1: WHV_REGISTER_NAME = 327749;
pub const WHvArm64RegisterDbgwcr0El1: WHV_REGISTER_NAME = 327696;
pub const WHvArm64RegisterDbgwcr10El1: WHV_REGISTER_NAME = 327706;
pub const WHvArm64RegisterDbgwcr11El1: WHV_REGISTER_NAME = 327707;
pub const WHvArm64RegisterDbgwcr12El1: WHV_REGISTER_NAME = 327708;
pub const WHvArm64RegisterDbgwcr13El1: WHV_REGISTER_NAME = 327709;
pub const WHvArm64RegisterDbgwcr14El1: WHV_REGISTER_NAME = 327710;
pub const WHvArm64RegisterDbgwcr15El1: WHV_REGISTER_NAME = 327711;
pub const WHvArm64RegisterDbgwcr1El1: WHV_REGISTER_NAME = 327697;
pub const WHvArm64RegisterDbgwcr2El1: WHV_REGISTER_NAME = 327698;
pub const WHvArm64RegisterDbgwcr3El1: WHV_REGISTER_NAME = 327699;
pub const WHvArm64RegisterDbgwcr4El1: WHV_REGISTER_NAME = 327700;
pub const WHvArm64RegisterDbgwcr5El1: WHV_REGISTER_NAME = 327701;
pub const WHvArm64RegisterDbgwcr6El1: WHV_REGISTER_NAME = 327702;
pub const WHvArm64RegisterDbgwcr7El1: WHV_REGISTER_NAME = 327703;
pub const WHvArm64RegisterDbgwcr8El1: WHV_REGISTER_NAME = 327704;
pub const WHvArm64RegisterDbgwcr9El1: WHV_REGISTER_NAME = 327705;
pub const WHvArm64RegisterDbgwvr0El1: WHV_REGISTER_NAME = 327728;
pub const WHvArm64RegisterDbgwvr10El1: WHV_REGISTER_NAME = 327738;
pub const WHvArm64RegisterDbgwvr11El1: WHV_REGISTER_NAME = 327739;
pub const WHvArm64RegisterDbgwvr12El1: WHV_REGISTER_NAME = 327740;
pub const WHvArm64RegisterDbgwvr13El1: WHV_REGISTER_NAME = 327741;
pub const WHvArm64RegisterDbgwvr14El1: WHV_REGISTER_NAME = 327742;
pub const WHvArm64RegisterDbgwvr15El1: WHV_REGISTER_NAME = 327743;
pub const WHvArm64RegisterDbgwvr1El1: WHV_REGISTER_NAME = 327729;
pub const WHvArm64RegisterDbgwvr2El1: WHV_REGISTER_NAME = 327730;
pub const WHvArm64RegisterDbgwvr3El1: WHV_REGISTER_NAME = 327731;
pub const WHvArm64RegisterDbgwvr4El1: WHV_REGISTER_NAME = 327732;
pub const WHvArm64RegisterDbgwvr5El1: WHV_REGISTER_NAME = 327733;
pub const WHvArm64RegisterDbgwvr6El1: WHV_REGISTER_NAME = 327734;
pub const WHvArm64RegisterDbgwvr7El1: WHV_REGISTER_NAME = 327735;
pub const WHvArm64RegisterDbgwvr8El1: WHV_REGISTER_NAME = 327736;
pub const WHvArm64RegisterDbgwvr9El1: WHV_REGISTER_NAME = 327737;
pub const WHvArm64RegisterElrEl1: WHV_REGISTER_NAME = 262165;
pub const WHvArm64RegisterEsrEl1: WHV_REGISTER_NAME = 262152;
pub const WHvArm64RegisterFarEl1: WHV_REGISTER_NAME = 262153;
pub const WHvArm64RegisterFp: WHV_REGISTER_NAME = 131101;
pub const WHvArm64RegisterFpcr: WHV_REGISTER_NAME = 262162;
pub const WHvArm64RegisterFpsr: WHV_REGISTER_NAME = 262163;
pub const WHvArm64RegisterGicrBaseGpa: WHV_REGISTER_NAME = 405504;
pub const WHvArm64RegisterIdAa64Dfr0El1: WHV_REGISTER_NAME = 139304;
pub const WHvArm64RegisterIdAa64Dfr1El1: WHV_REGISTER_NAME = 139305;
pub const WHvArm64RegisterIdAa64Isar0El1: WHV_REGISTER_NAME = 139312;
pub const WHvArm64RegisterIdAa64Isar1El1: WHV_REGISTER_NAME = 139313;
pub const WHvArm64RegisterIdAa64Isar2El1: WHV_REGISTER_NAME = 139314;
pub const WHvArm64RegisterIdAa64Mmfr0El1: WHV_REGISTER_NAME = 139320;
pub const WHvArm64RegisterIdAa64Mmfr1El1: WHV_REGISTER_NAME = 139321;
pub const WHvArm64RegisterIdAa64Mmfr2El1: WHV_REGISTER_NAME = 139322;
pub const WHvArm64RegisterIdAa64Mmfr3El1: WHV_REGISTER_NAME = 139323;
pub const WHvArm64RegisterIdAa64Mmfr4El1: WHV_REGISTER_NAME = 139324;
pub const WHvArm64RegisterIdAa64Pfr0El1: WHV_REGISTER_NAME = 139296;
pub const WHvArm64RegisterIdAa64Pfr1El1: WHV_REGISTER_NAME = 139297;
pub const WHvArm64RegisterIdAa64Pfr2El1: WHV_REGISTER_NAME = 139298;
pub const WHvArm64RegisterIdAa64Smfr0El1: WHV_REGISTER_NAME = 139301;
pub const WHvArm64RegisterIdAa64Zfr0El1: WHV_REGISTER_NAME = 139300;
pub const WHvArm64RegisterIdDfr0El1: WHV_REGISTER_NAME = 139274;
pub const WHvArm64RegisterIdIsar0El1: WHV_REGISTER_NAME = 139280;
pub const WHvArm64RegisterIdIsar1El1: WHV_REGISTER_NAME = 139281;
pub const WHvArm64RegisterIdIsar2El1: WHV_REGISTER_NAME = 139282;
pub const WHvArm64RegisterIdIsar3El1: WHV_REGISTER_NAME = 139283;
pub const WHvArm64RegisterIdIsar4El1: WHV_REGISTER_NAME = 139284;
pub const WHvArm64RegisterIdIsar5El1: WHV_REGISTER_NAME = 139285;
pub const WHvArm64RegisterIdMidrEl1: WHV_REGISTER_NAME = 139264;
pub const WHvArm64RegisterIdMmfr0El1: WHV_REGISTER_NAME = 139276;
pub const WHvArm64RegisterIdMmfr1El1: WHV_REGISTER_NAME = 139277;
pub const WHvArm64RegisterIdMmfr2El1: WHV_REGISTER_NAME = 139278;
pub const WHvArm64RegisterIdMmfr3El1: WHV_REGISTER_NAME = 139279;
pub const WHvArm64RegisterIdMpidrEl1: WHV_REGISTER_NAME = 139269;
pub const WHvArm64RegisterIdMvfr0El1: WHV_REGISTER_NAME = 139288;
pub const WHvArm64RegisterIdMvfr1El1: WHV_REGISTER_NAME = 139289;
pub const WHvArm64RegisterIdMvfr2El1: WHV_REGISTER_NAME = 139290;
pub const WHvArm64RegisterIdPfr0El1: WHV_REGISTER_NAME = 139272;
pub const WHvArm64RegisterIdPfr1El1: WHV_REGISTER_NAME = 139273;
pub const WHvArm64RegisterIdPfr2El1: WHV_REGISTER_NAME = 139292;
pub const WHvArm64RegisterIdRes01El1: WHV_REGISTER_NAME = 139265;
pub const WHvArm64RegisterIdRes02El1: WHV_REGISTER_NAME = 139266;
pub const WHvArm64RegisterIdRes03El1: WHV_REGISTER_NAME = 139267;
pub const WHvArm64RegisterIdRes04El1: WHV_REGISTER_NAME = 139268;
pub const WHvArm64RegisterIdRes07El1: WHV_REGISTER_NAME = 139271;
pub const WHvArm64RegisterIdRes100El1: WHV_REGISTER_NAME = 139344;
pub const WHvArm64RegisterIdRes101El1: WHV_REGISTER_NAME = 139345;
pub const WHvArm64RegisterIdRes102El1: WHV_REGISTER_NAME = 139346;
pub const WHvArm64RegisterIdRes103El1: WHV_REGISTER_NAME = 139347;
pub const WHvArm64RegisterIdRes104El1: WHV_REGISTER_NAME = 139348;
pub const WHvArm64RegisterIdRes105El1: WHV_REGISTER_NAME = 139349;
pub const WHvArm64RegisterIdRes106El1: WHV_REGISTER_NAME = 139350;
pub const WHvArm64RegisterIdRes107El1: WHV_REGISTER_NAME = 139351;
pub const WHvArm64RegisterIdRes110El1: WHV_REGISTER_NAME = 139352;
pub const WHvArm64RegisterIdRes111El1: WHV_REGISTER_NAME = 139353;
pub const WHvArm64RegisterIdRes112El1: WHV_REGISTER_NAME = 139354;
pub const WHvArm64RegisterIdRes113El1: WHV_REGISTER_NAME = 139355;
pub const WHvArm64RegisterIdRes114El1: WHV_REGISTER_NAME = 139356;
pub const WHvArm64RegisterIdRes115El1: WHV_REGISTER_NAME = 139357;
pub const WHvArm64RegisterIdRes116El1: WHV_REGISTER_NAME = 139358;
pub const WHvArm64RegisterIdRes117El1: WHV_REGISTER_NAME = 139359;
pub const WHvArm64RegisterIdRes120El1: WHV_REGISTER_NAME = 139360;
pub const WHvArm64RegisterIdRes121El1: WHV_REGISTER_NAME = 139361;
pub const WHvArm64RegisterIdRes122El1: WHV_REGISTER_NAME = 139362;
pub const WHvArm64RegisterIdRes123El1: WHV_REGISTER_NAME = 139363;
pub const WHvArm64RegisterIdRes124El1: WHV_REGISTER_NAME = 139364;
pub const WHvArm64RegisterIdRes125El1: WHV_REGISTER_NAME = 139365;
pub const WHvArm64RegisterIdRes126El1: WHV_REGISTER_NAME = 139366;
pub const WHvArm64RegisterIdRes127El1: WHV_REGISTER_NAME = 139367;
pub const WHvArm64RegisterIdRes130El1: WHV_REGISTER_NAME = 139368;
pub const WHvArm64RegisterIdRes131El1: WHV_REGISTER_NAME = 139369;
pub const WHvArm64RegisterIdRes132El1: WHV_REGISTER_NAME = 139370;
pub const WHvArm64RegisterIdRes133El1: WHV_REGISTER_NAME = 139371;
pub const WHvArm64RegisterIdRes134El1: WHV_REGISTER_NAME = 139372;
pub const WHvArm64RegisterIdRes135El1: WHV_REGISTER_NAME = 139373;
pub const WHvArm64RegisterIdRes136El1: WHV_REGISTER_NAME = 139374;
pub const WHvArm64RegisterIdRes137El1: WHV_REGISTER_NAME = 139375;
pub const WHvArm64RegisterIdRes13El1: WHV_REGISTER_NAME = 139275;
pub const WHvArm64RegisterIdRes140El1: WHV_REGISTER_NAME = 139376;
pub const WHvArm64RegisterIdRes141El1: WHV_REGISTER_NAME = 139377;
pub const WHvArm64RegisterIdRes142El1: WHV_REGISTER_NAME = 139378;
pub const WHvArm64RegisterIdRes143El1: WHV_REGISTER_NAME = 139379;
pub const WHvArm64RegisterIdRes144El1: WHV_REGISTER_NAME = 139380;
pub const WHvArm64RegisterIdRes145El1: WHV_REGISTER_NAME = 139381;
pub const WHvArm64RegisterIdRes146El1: WHV_REGISTER_NAME = 139382;
pub const WHvArm64RegisterIdRes147El1: WHV_REGISTER_NAME = 139383;
pub const WHvArm64RegisterIdRes150El1: WHV_REGISTER_NAME = 139384;
pub const WHvArm64RegisterIdRes151El1: WHV_REGISTER_NAME = 139385;
pub const WHvArm64RegisterIdRes152El1: WHV_REGISTER_NAME = 139386;
pub const WHvArm64RegisterIdRes153El1: WHV_REGISTER_NAME = 139387;
pub const WHvArm64RegisterIdRes154El1: WHV_REGISTER_NAME = 139388;
pub const WHvArm64RegisterIdRes155El1: WHV_REGISTER_NAME = 139389;
pub const WHvArm64RegisterIdRes156El1: WHV_REGISTER_NAME = 139390;
pub const WHvArm64RegisterIdRes157El1: WHV_REGISTER_NAME = 139391;
pub const WHvArm64RegisterIdRes26El1: WHV_REGISTER_NAME = 139286;
pub const WHvArm64RegisterIdRes27El1: WHV_REGISTER_NAME = 139287;
pub const WHvArm64RegisterIdRes33El1: WHV_REGISTER_NAME = 139291;
pub const WHvArm64RegisterIdRes35El1: WHV_REGISTER_NAME = 139293;
pub const WHvArm64RegisterIdRes36El1: WHV_REGISTER_NAME = 139294;
pub const WHvArm64RegisterIdRes37El1: WHV_REGISTER_NAME = 139295;
pub const WHvArm64RegisterIdRes43El1: WHV_REGISTER_NAME = 139299;
pub const WHvArm64RegisterIdRes46El1: WHV_REGISTER_NAME = 139302;
pub const WHvArm64RegisterIdRes47El1: WHV_REGISTER_NAME = 139303;
pub const WHvArm64RegisterIdRes52El1: WHV_REGISTER_NAME = 139306;
pub const WHvArm64RegisterIdRes53El1: WHV_REGISTER_NAME = 139307;
pub const WHvArm64RegisterIdRes54El1: WHV_REGISTER_NAME = 139308;
pub const WHvArm64RegisterIdRes55El1: WHV_REGISTER_NAME = 139309;
pub const WHvArm64RegisterIdRes56El1: WHV_REGISTER_NAME = 139310;
pub const WHvArm64RegisterIdRes57El1: WHV_REGISTER_NAME = 139311;
pub const WHvArm64RegisterIdRes63El1: WHV_REGISTER_NAME = 139315;
pub const WHvArm64RegisterIdRes64El1: WHV_REGISTER_NAME = 139316;
pub const WHvArm64RegisterIdRes65El1: WHV_REGISTER_NAME = 139317;
pub const WHvArm64RegisterIdRes66El1: WHV_REGISTER_NAME = 139318;
pub const WHvArm64RegisterIdRes67El1: WHV_REGISTER_NAME = 139319;
pub const WHvArm64RegisterIdRes75El1: WHV_REGISTER_NAME = 139325;
pub const WHvArm64RegisterIdRes76El1: WHV_REGISTER_NAME = 139326;
pub const WHvArm64RegisterIdRes77El1: WHV_REGISTER_NAME = 139327;
pub const WHvArm64RegisterIdRes80El1: WHV_REGISTER_NAME = 139328;
pub const WHvArm64RegisterIdRes81El1: WHV_REGISTER_NAME = 139329;
pub const WHvArm64RegisterIdRes82El1: WHV_REGISTER_NAME = 139330;
pub const WHvArm64RegisterIdRes83El1: WHV_REGISTER_NAME = 139331;
pub const WHvArm64RegisterIdRes84El1: WHV_REGISTER_NAME = 139332;
pub const WHvArm64RegisterIdRes85El1: WHV_REGISTER_NAME = 139333;
pub const WHvArm64RegisterIdRes86El1: WHV_REGISTER_NAME = 139334;
pub const WHvArm64RegisterIdRes87El1: WHV_REGISTER_NAME = 139335;
pub const WHvArm64RegisterIdRes90El1: WHV_REGISTER_NAME = 139336;
pub const WHvArm64RegisterIdRes91El1: WHV_REGISTER_NAME = 139337;
pub const WHvArm64RegisterIdRes92El1: WHV_REGISTER_NAME = 139338;
pub const WHvArm64RegisterIdRes93El1: WHV_REGISTER_NAME = 139339;
pub const WHvArm64RegisterIdRes94El1: WHV_REGISTER_NAME = 139340;
pub const WHvArm64RegisterIdRes95El1: WHV_REGISTER_NAME = 139341;
pub const WHvArm64RegisterIdRes96El1: WHV_REGISTER_NAME = 139342;
pub const WHvArm64RegisterIdRes97El1: WHV_REGISTER_NAME = 139343;
pub const WHvArm64RegisterIdRevidrEl1: WHV_REGISTER_NAME = 139270;
pub const WHvArm64RegisterLr: WHV_REGISTER_NAME = 131102;
pub const WHvArm64RegisterMairEl1: WHV_REGISTER_NAME = 262155;
pub const WHvArm64RegisterMdrarEl1: WHV_REGISTER_NAME = 327756;
pub const WHvArm64RegisterMdscrEl1: WHV_REGISTER_NAME = 327757;
pub const WHvArm64RegisterMidrEl1: WHV_REGISTER_NAME = 262225;
pub const WHvArm64RegisterMpidrEl1: WHV_REGISTER_NAME = 262145;
pub const WHvArm64RegisterOsdlrEl1: WHV_REGISTER_NAME = 327758;
pub const WHvArm64RegisterOslarEl1: WHV_REGISTER_NAME = 327762;
pub const WHvArm64RegisterOslsrEl1: WHV_REGISTER_NAME = 327763;
pub const WHvArm64RegisterParEl1: WHV_REGISTER_NAME = 262154;
pub const WHvArm64RegisterPartitionInfoPage: WHV_REGISTER_NAME = 589845;
pub const WHvArm64RegisterPc: WHV_REGISTER_NAME = 131106;
pub const WHvArm64RegisterPmccfiltrEl0: WHV_REGISTER_NAME = 335872;
pub const WHvArm64RegisterPmccntrEl0: WHV_REGISTER_NAME = 335873;
pub const WHvArm64RegisterPmceid0El0: WHV_REGISTER_NAME = 335874;
pub const WHvArm64RegisterPmceid1El0: WHV_REGISTER_NAME = 335875;
pub const WHvArm64RegisterPmcntenclrEl0: WHV_REGISTER_NAME = 335876;
pub const WHvArm64RegisterPmcntensetEl0: WHV_REGISTER_NAME = 335877;
pub const WHvArm64RegisterPmcrEl0: WHV_REGISTER_NAME = 335878;
pub const WHvArm64RegisterPmevcntr0El0: WHV_REGISTER_NAME = 335879;
pub const WHvArm64RegisterPmevcntr10El0: WHV_REGISTER_NAME = 335889;
pub const WHvArm64RegisterPmevcntr11El0: WHV_REGISTER_NAME = 335890;
pub const WHvArm64RegisterPmevcntr12El0: WHV_REGISTER_NAME = 335891;
pub const WHvArm64RegisterPmevcntr13El0: WHV_REGISTER_NAME = 335892;
pub const WHvArm64RegisterPmevcntr14El0: WHV_REGISTER_NAME = 335893;
pub const WHvArm64RegisterPmevcntr15El0: WHV_REGISTER_NAME = 335894;
pub const WHvArm64RegisterPmevcntr16El0: WHV_REGISTER_NAME = 335895;
pub const WHvArm64RegisterPmevcntr17El0: WHV_REGISTER_NAME = 335896;
pub const WHvArm64RegisterPmevcntr18El0: WHV_REGISTER_NAME = 335897;
pub const WHvArm64RegisterPmevcntr19El0: WHV_REGISTER_NAME = 335898;
pub const WHvArm64RegisterPmevcntr1El0: WHV_REGISTER_NAME = 335880;
pub const WHvArm64RegisterPmevcntr20El0: WHV_REGISTER_NAME = 335899;
pub const WHvArm64RegisterPmevcntr21El0: WHV_REGISTER_NAME = 335900;
pub const WHvArm64RegisterPmevcntr22El0: WHV_REGISTER_NAME = 335901;
pub const WHvArm64RegisterPmevcntr23El0: WHV_REGISTER_NAME = 335902;
pub const WHvArm64RegisterPmevcntr24El0: WHV_REGISTER_NAME = 335903;
pub const WHvArm64RegisterPmevcntr25El0: WHV_REGISTER_NAME = 335904;
pub const WHvArm64RegisterPmevcntr26El0: WHV_REGISTER_NAME = 335905;
pub const WHvArm64RegisterPmevcntr27El0: WHV_REGISTER_NAME = 335906;
pub const WHvArm64RegisterPmevcntr28El0: WHV_REGISTER_NAME = 335907;
pub const WHvArm64RegisterPmevcntr29El0: WHV_REGISTER_NAME = 335908;
pub const WHvArm64RegisterPmevcntr2El0: WHV_REGISTER_NAME = 335881;
pub const WHvArm64RegisterPmevcntr30El0: WHV_REGISTER_NAME = 335909;
pub const WHvArm64RegisterPmevcntr3El0: WHV_REGISTER_NAME = 335882;
pub const WHvArm64RegisterPmevcntr4El0: WHV_REGISTER_NAME = 335883;
pub const WHvArm64RegisterPmevcntr5El0: WHV_REGISTER_NAME = 335884;
pub const WHvArm64RegisterPmevcntr6El0: WHV_REGISTER_NAME = 335885;
pub const WHvArm64RegisterPmevcntr7El0: WHV_REGISTER_NAME = 335886;
pub const WHvArm64RegisterPmevcntr8El0: WHV_REGISTER_NAME = 335887;
pub const WHvArm64RegisterPmevcntr9El0: WHV_REGISTER_NAME = 335888;
pub const WHvArm64RegisterPmevtyper0El0: WHV_REGISTER_NAME = 335910;
pub const WHvArm64RegisterPmevtyper10El0: WHV_REGISTER_NAME = 335920;
pub const WHvArm64RegisterPmevtyper11El0: WHV_REGISTER_NAME = 335921;
pub const WHvArm64RegisterPmevtyper12El0: WHV_REGISTER_NAME = 335922;
pub const WHvArm64RegisterPmevtyper13El0: WHV_REGISTER_NAME = 335923;
pub const WHvArm64RegisterPmevtyper14El0: WHV_REGISTER_NAME = 335924;
pub const WHvArm64RegisterPmevtyper15El0: WHV_REGISTER_NAME = 335925;
pub const WHvArm64RegisterPmevtyper16El0: WHV_REGISTER_NAME = 335926;
pub const WHvArm64RegisterPmevtyper17El0: WHV_REGISTER_NAME = 335927;
pub const WHvArm64RegisterPmevtyper18El0: WHV_REGISTER_NAME = 335928;
pub const WHvArm64RegisterPmevtyper19El0: WHV_REGISTER_NAME = 335929;
pub const WHvArm64RegisterPmevtyper1El0: WHV_REGISTER_NAME = 335911;
pub const WHvArm64RegisterPmevtyper20El0: WHV_REGISTER_NAME = 335930;
pub const WHvArm64RegisterPmevtyper21El0: WHV_REGISTER_NAME = 335931;
pub const WHvArm64RegisterPmevtyper22El0: WHV_REGISTER_NAME = 335932;
pub const WHvArm64RegisterPmevtyper23El0: WHV_REGISTER_NAME = 335933;
pub const WHvArm64RegisterPmevtyper24El0: WHV_REGISTER_NAME = 335934;
pub const WHvArm64RegisterPmevtyper25El0: WHV_REGISTER_NAME = 335935;
pub const WHvArm64RegisterPmevtyper26El0: WHV_REGISTER_NAME = 335936;
pub const WHvArm64RegisterPmevtyper27El0: WHV_REGISTER_NAME = 335937;
pub const WHvArm64RegisterPmevtyper28El0: WHV_REGISTER_NAME = 335938;
pub const WHvArm64RegisterPmevtyper29El0: WHV_REGISTER_NAME = 335939;
pub const WHvArm64RegisterPmevtyper2El0: WHV_REGISTER_NAME = 335912;
pub const WHvArm64RegisterPmevtyper30El0: WHV_REGISTER_NAME = 335940;
pub const WHvArm64RegisterPmevtyper3El0: WHV_REGISTER_NAME = 335913;
pub const WHvArm64RegisterPmevtyper4El0: WHV_REGISTER_NAME = 335914;
pub const WHvArm64RegisterPmevtyper5El0: WHV_REGISTER_NAME = 335915;
pub const WHvArm64RegisterPmevtyper6El0: WHV_REGISTER_NAME = 335916;
pub const WHvArm64RegisterPmevtyper7El0: WHV_REGISTER_NAME = 335917;
pub const WHvArm64RegisterPmevtyper8El0: WHV_REGISTER_NAME = 335918;
pub const WHvArm64RegisterPmevtyper9El0: WHV_REGISTER_NAME = 335919;
pub const WHvArm64RegisterPmintenclrEl1: WHV_REGISTER_NAME = 335941;
pub const WHvArm64RegisterPmintensetEl1: WHV_REGISTER_NAME = 335942;
pub const WHvArm64RegisterPmovsclrEl0: WHV_REGISTER_NAME = 335944;
pub const WHvArm64RegisterPmovssetEl0: WHV_REGISTER_NAME = 335945;
pub const WHvArm64RegisterPmselrEl0: WHV_REGISTER_NAME = 335946;
pub const WHvArm64RegisterPmuserenrEl0: WHV_REGISTER_NAME = 335948;
pub const WHvArm64RegisterPstate: WHV_REGISTER_NAME = 131107;
pub const WHvArm64RegisterQ0: WHV_REGISTER_NAME = 196608;
pub const WHvArm64RegisterQ1: WHV_REGISTER_NAME = 196609;
pub const WHvArm64RegisterQ10: WHV_REGISTER_NAME = 196618;
pub const WHvArm64RegisterQ11: WHV_REGISTER_NAME = 196619;
pub const WHvArm64RegisterQ12: WHV_REGISTER_NAME = 196620;
pub const WHvArm64RegisterQ13: WHV_REGISTER_NAME = 196621;
pub const WHvArm64RegisterQ14: WHV_REGISTER_NAME = 196622;
pub const WHvArm64RegisterQ15: WHV_REGISTER_NAME = 196623;
pub const WHvArm64RegisterQ16: WHV_REGISTER_NAME = 196624;
pub const WHvArm64RegisterQ17: WHV_REGISTER_NAME = 196625;
pub const WHvArm64RegisterQ18: WHV_REGISTER_NAME = 196626;
pub const WHvArm64RegisterQ19: WHV_REGISTER_NAME = 196627;
pub const WHvArm64RegisterQ2: WHV_REGISTER_NAME = 196610;
pub const WHvArm64RegisterQ20: WHV_REGISTER_NAME = 196628;
pub const WHvArm64RegisterQ21: WHV_REGISTER_NAME = 196629;
pub const WHvArm64RegisterQ22: WHV_REGISTER_NAME = 196630;
pub const WHvArm64RegisterQ23: WHV_REGISTER_NAME = 196631;
pub const WHvArm64RegisterQ24: WHV_REGISTER_NAME = 196632;
pub const WHvArm64RegisterQ25: WHV_REGISTER_NAME = 196633;
pub const WHvArm64RegisterQ26: WHV_REGISTER_NAME = 196634;
pub const WHvArm64RegisterQ27: WHV_REGISTER_NAME = 196635;
pub const WHvArm64RegisterQ28: WHV_REGISTER_NAME = 196636;
pub const WHvArm64RegisterQ29: WHV_REGISTER_NAME = 196637;
pub const WHvArm64RegisterQ3: WHV_REGISTER_NAME = 196611;
pub const WHvArm64RegisterQ30: WHV_REGISTER_NAME = 196638;
pub const WHvArm64RegisterQ31: WHV_REGISTER_NAME = 196639;
pub const WHvArm64RegisterQ4: WHV_REGISTER_NAME = 196612;
pub const WHvArm64RegisterQ5: WHV_REGISTER_NAME = 196613;
pub const WHvArm64RegisterQ6: WHV_REGISTER_NAME = 196614;
pub const WHvArm64RegisterQ7: WHV_REGISTER_NAME = 196615;
pub const WHvArm64RegisterQ8: WHV_REGISTER_NAME = 196616;
pub const WHvArm64RegisterQ9: WHV_REGISTER_NAME = 196617;
pub const WHvArm64RegisterSctlrEl1: WHV_REGISTER_NAME = 262146;
pub const WHvArm64RegisterSmcrEl1: WHV_REGISTER_NAME = 262237;
pub const WHvArm64RegisterSmidrEl1: WHV_REGISTER_NAME = 262239;
pub const WHvArm64RegisterSmpriEl1: WHV_REGISTER_NAME = 262240;
pub const WHvArm64RegisterSp: WHV_REGISTER_NAME = 131103;
pub const WHvArm64RegisterSpEl0: WHV_REGISTER_NAME = 131104;
pub const WHvArm64RegisterSpEl1: WHV_REGISTER_NAME = 131105;
pub const WHvArm64RegisterSpsrEl1: WHV_REGISTER_NAME = 262164;
pub const WHvArm64RegisterSvcr: WHV_REGISTER_NAME = 262274;
pub const WHvArm64RegisterTcrEl1: WHV_REGISTER_NAME = 262151;
pub const WHvArm64RegisterTpidr2El0: WHV_REGISTER_NAME = 262246;
pub const WHvArm64RegisterTpidrEl0: WHV_REGISTER_NAME = 262161;
pub const WHvArm64RegisterTpidrEl1: WHV_REGISTER_NAME = 262158;
pub const WHvArm64RegisterTpidrroEl0: WHV_REGISTER_NAME = 262160;
pub const WHvArm64RegisterTtbr0El1: WHV_REGISTER_NAME = 262149;
pub const WHvArm64RegisterTtbr1El1: WHV_REGISTER_NAME = 262150;
pub const WHvArm64RegisterVbarEl1: WHV_REGISTER_NAME = 262156;
pub const WHvArm64RegisterX0: WHV_REGISTER_NAME = 131072;
pub const WHvArm64RegisterX1: WHV_REGISTER_NAME = 131073;
pub const WHvArm64RegisterX10: WHV_REGISTER_NAME = 131082;
pub const WHvArm64RegisterX11: WHV_REGISTER_NAME = 131083;
pub const WHvArm64RegisterX12: WHV_REGISTER_NAME = 131084;
pub const WHvArm64RegisterX13: WHV_REGISTER_NAME = 131085;
pub const WHvArm64RegisterX14: WHV_REGISTER_NAME = 131086;
pub const WHvArm64RegisterX15: WHV_REGISTER_NAME = 131087;
pub const WHvArm64RegisterX16: WHV_REGISTER_NAME = 131088;
pub const WHvArm64RegisterX17: WHV_REGISTER_NAME = 131089;
pub const WHvArm64RegisterX18: WHV_REGISTER_NAME = 131090;
pub const WHvArm64RegisterX19: WHV_REGISTER_NAME = 131091;
pub const WHvArm64RegisterX2: WHV_REGISTER_NAME = 131074;
pub const WHvArm64RegisterX20: WHV_REGISTER_NAME = 131092;
pub const WHvArm64RegisterX21: WHV_REGISTER_NAME = 131093;
pub const WHvArm64RegisterX22: WHV_REGISTER_NAME = 131094;
pub const WHvArm64RegisterX23: WHV_REGISTER_NAME = 131095;
pub const WHvArm64RegisterX24: WHV_REGISTER_NAME = 131096;
pub const WHvArm64RegisterX25: WHV_REGISTER_NAME = 131097;
pub const WHvArm64RegisterX26: WHV_REGISTER_NAME = 131098;
pub const WHvArm64RegisterX27: WHV_REGISTER_NAME = 131099;
pub const WHvArm64RegisterX28: WHV_REGISTER_NAME = 131100;
pub const WHvArm64RegisterX3: WHV_REGISTER_NAME = 131075;
pub const WHvArm64RegisterX4: WHV_REGISTER_NAME = 131076;
pub const WHvArm64RegisterX5: WHV_REGISTER_NAME = 131077;
pub const WHvArm64RegisterX6: WHV_REGISTER_NAME = 131078;
pub const WHvArm64RegisterX7: WHV_REGISTER_NAME = 131079;
pub const WHvArm64RegisterX8: WHV_REGISTER_NAME = 131080;
pub const WHvArm64RegisterX9: WHV_REGISTER_NAME = 131081;
pub const WHvArm64RegisterZcrEl1: WHV_REGISTER_NAME = 262257;
pub const WHvArm64ResetTypePowerOff: WHV_ARM64_RESET_TYPE = 0;
pub const WHvArm64ResetTypeReboot: WHV_ARM64_RESET_TYPE = 1;
pub const WHvArm64SyntheticExceptionTypeCrashdump: WHV_ARM64_SYNTHETIC_EXCEPTION_TYPE = 2;
pub const WHvArm64SyntheticExceptionTypeMax: WHV_ARM64_SYNTHETIC_EXCEPTION_TYPE = 64;
pub const WHvArm64SyntheticExceptionTypeSecure: WHV_ARM64_SYNTHETIC_EXCEPTION_TYPE = 1;
pub const WHvArm64SyntheticExceptionTypeSmc: WHV_ARM64_SYNTHETIC_EXCEPTION_TYPE = 0;
pub const WHvArm64SyntheticExceptionTypeVirtualizationFault: WHV_ARM64_SYNTHETIC_EXCEPTION_TYPE = 3;
pub const WHvCacheTypeUncached: WHV_CACHE_TYPE = 0;
pub const WHvCacheTypeWriteBack: WHV_CACHE_TYPE = 6;
pub const WHvCacheTypeWriteCombining: WHV_CACHE_TYPE = 1;
pub const WHvCacheTypeWriteThrough: WHV_CACHE_TYPE = 4;
pub const WHvCapabilityCodeExtendedVmExits: WHV_CAPABILITY_CODE = 2;
pub const WHvCapabilityCodeFeatures: WHV_CAPABILITY_CODE = 1;
pub const WHvCapabilityCodeGicLpiIntIdBits: WHV_CAPABILITY_CODE = 8209;
pub const WHvCapabilityCodeGpaRangePopulateFlags: WHV_CAPABILITY_CODE = 5;
pub const WHvCapabilityCodeHypervisorPresent: WHV_CAPABILITY_CODE = 0;
pub const WHvCapabilityCodeMaxSmeStreamingVectorLength: WHV_CAPABILITY_CODE = 8211;
pub const WHvCapabilityCodeMaxSveVectorLength: WHV_CAPABILITY_CODE = 8210;
pub const WHvCapabilityCodePhysicalAddressWidth: WHV_CAPABILITY_CODE = 4106;
pub const WHvCapabilityCodeProcessorClFlushSize: WHV_CAPABILITY_CODE = 4098;
pub const WHvCapabilityCodeProcessorClockFrequency: WHV_CAPABILITY_CODE = 4100;
pub const WHvCapabilityCodeProcessorFeatures: WHV_CAPABILITY_CODE = 4097;
pub const WHvCapabilityCodeProcessorFeaturesBanks: WHV_CAPABILITY_CODE = 4102;
pub const WHvCapabilityCodeProcessorFrequencyCap: WHV_CAPABILITY_CODE = 4103;
pub const WHvCapabilityCodeProcessorVendor: WHV_CAPABILITY_CODE = 4096;
pub const WHvCapabilityCodeSchedulerFeatures: WHV_CAPABILITY_CODE = 6;
pub const WHvCapabilityCodeSyntheticProcessorFeaturesBanks: WHV_CAPABILITY_CODE = 4104;
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
pub const WHvMessageTypeRegisterIntercept: WHV_RUN_VP_EXIT_REASON = -2147418106;
pub const WHvNestedStateTypeSvm: WHV_NESTED_STATE_TYPE = 1;
pub const WHvNestedStateTypeVmx: WHV_NESTED_STATE_TYPE = 0;
pub const WHvNotificationPortPropertyPreferredTargetDuration: WHV_NOTIFICATION_PORT_PROPERTY_CODE = 5;
pub const WHvNotificationPortPropertyPreferredTargetVp: WHV_NOTIFICATION_PORT_PROPERTY_CODE = 1;
pub const WHvNotificationPortTypeDoorbell: WHV_NOTIFICATION_PORT_TYPE = 4;
pub const WHvNotificationPortTypeEvent: WHV_NOTIFICATION_PORT_TYPE = 2;
pub const WHvPartitionCounterSetMemory: WHV_PARTITION_COUNTER_SET = 0;
pub const WHvPartitionPropertyCodeAllowDeviceAssignment: WHV_PARTITION_PROPERTY_CODE = 12;
pub const WHvPartitionPropertyCodeArm64IcParameters: WHV_PARTITION_PROPERTY_CODE = 4114;
pub const WHvPartitionPropertyCodeCpuCap: WHV_PARTITION_PROPERTY_CODE = 8;
pub const WHvPartitionPropertyCodeCpuGroupId: WHV_PARTITION_PROPERTY_CODE = 10;
pub const WHvPartitionPropertyCodeCpuReserve: WHV_PARTITION_PROPERTY_CODE = 7;
pub const WHvPartitionPropertyCodeCpuWeight: WHV_PARTITION_PROPERTY_CODE = 9;
pub const WHvPartitionPropertyCodeDisableSmt: WHV_PARTITION_PROPERTY_CODE = 13;
pub const WHvPartitionPropertyCodeExtendedVmExits: WHV_PARTITION_PROPERTY_CODE = 1;
pub const WHvPartitionPropertyCodeNestedVirtualization: WHV_PARTITION_PROPERTY_CODE = 4;
pub const WHvPartitionPropertyCodePhysicalAddressWidth: WHV_PARTITION_PROPERTY_CODE = 4113;
pub const WHvPartitionPropertyCodePrimaryNumaNode: WHV_PARTITION_PROPERTY_CODE = 6;
pub const WHvPartitionPropertyCodeProcessorClFlushSize: WHV_PARTITION_PROPERTY_CODE = 4098;
pub const WHvPartitionPropertyCodeProcessorClockFrequency: WHV_PARTITION_PROPERTY_CODE = 4103;
pub const WHvPartitionPropertyCodeProcessorCount: WHV_PARTITION_PROPERTY_CODE = 8191;
pub const WHvPartitionPropertyCodeProcessorFeatures: WHV_PARTITION_PROPERTY_CODE = 4097;
pub const WHvPartitionPropertyCodeProcessorFeaturesBanks: WHV_PARTITION_PROPERTY_CODE = 4106;
pub const WHvPartitionPropertyCodeProcessorFrequencyCap: WHV_PARTITION_PROPERTY_CODE = 11;
pub const WHvPartitionPropertyCodeReferenceTime: WHV_PARTITION_PROPERTY_CODE = 4107;
pub const WHvPartitionPropertyCodeSeparateSecurityDomain: WHV_PARTITION_PROPERTY_CODE = 3;
pub const WHvPartitionPropertyCodeSyntheticProcessorFeaturesBanks: WHV_PARTITION_PROPERTY_CODE = 4108;
pub const WHvProcessorCounterSetEvents: WHV_PROCESSOR_COUNTER_SET = 2;
pub const WHvProcessorCounterSetIntercepts: WHV_PROCESSOR_COUNTER_SET = 1;
pub const WHvProcessorCounterSetRuntime: WHV_PROCESSOR_COUNTER_SET = 0;
pub const WHvProcessorCounterSetSyntheticFeatures: WHV_PROCESSOR_COUNTER_SET = 4;
pub const WHvProcessorVendorAmd: WHV_PROCESSOR_VENDOR = 0;
pub const WHvProcessorVendorArm: WHV_PROCESSOR_VENDOR = 16;
pub const WHvProcessorVendorHygon: WHV_PROCESSOR_VENDOR = 2;
pub const WHvProcessorVendorIntel: WHV_PROCESSOR_VENDOR = 1;
pub const WHvRegisterCpuManagementFeaturesInfo: WHV_REGISTER_NAME = 516;
pub const WHvRegisterDeliverabilityNotifications: WHV_REGISTER_NAME = 65542;
pub const WHvRegisterEom: WHV_REGISTER_NAME = 655380;
pub const WHvRegisterFeaturesInfo: WHV_REGISTER_NAME = 513;
pub const WHvRegisterGuestCrashCtl: WHV_REGISTER_NAME = 533;
pub const WHvRegisterGuestCrashP0: WHV_REGISTER_NAME = 528;
pub const WHvRegisterGuestCrashP1: WHV_REGISTER_NAME = 529;
pub const WHvRegisterGuestCrashP2: WHV_REGISTER_NAME = 530;
pub const WHvRegisterGuestCrashP3: WHV_REGISTER_NAME = 531;
pub const WHvRegisterGuestCrashP4: WHV_REGISTER_NAME = 532;
pub const WHvRegisterGuestOsId: WHV_REGISTER_NAME = 589826;
pub const WHvRegisterHardwareFeaturesInfo: WHV_REGISTER_NAME = 515;
pub const WHvRegisterHypervisorVersion: WHV_REGISTER_NAME = 256;
pub const WHvRegisterImplementationLimitsInfo: WHV_REGISTER_NAME = 514;
pub const WHvRegisterInternalActivityState: WHV_REGISTER_NAME = 4;
pub const WHvRegisterPasidFeaturesInfo: WHV_REGISTER_NAME = 517;
pub const WHvRegisterPendingEvent0: WHV_REGISTER_NAME = 65540;
pub const WHvRegisterPendingEvent1: WHV_REGISTER_NAME = 65541;
pub const WHvRegisterPendingEvent2: WHV_REGISTER_NAME = 65544;
pub const WHvRegisterPendingEvent3: WHV_REGISTER_NAME = 65545;
pub const WHvRegisterPrivilegesAndFeaturesInfo: WHV_REGISTER_NAME = 512;
pub const WHvRegisterReferenceTsc: WHV_REGISTER_NAME = 589847;
pub const WHvRegisterReferenceTscSequence: WHV_REGISTER_NAME = 589850;
pub const WHvRegisterScontrol: WHV_REGISTER_NAME = 655376;
pub const WHvRegisterSifp: WHV_REGISTER_NAME = 655378;
pub const WHvRegisterSint0: WHV_REGISTER_NAME = 655360;
pub const WHvRegisterSint1: WHV_REGISTER_NAME = 655361;
pub const WHvRegisterSint10: WHV_REGISTER_NAME = 655370;
pub const WHvRegisterSint11: WHV_REGISTER_NAME = 655371;
pub const WHvRegisterSint12: WHV_REGISTER_NAME = 655372;
pub const WHvRegisterSint13: WHV_REGISTER_NAME = 655373;
pub const WHvRegisterSint14: WHV_REGISTER_NAME = 655374;
pub const WHvRegisterSint15: WHV_REGISTER_NAME = 655375;
pub const WHvRegisterSint2: WHV_REGISTER_NAME = 655362;
pub const WHvRegisterSint3: WHV_REGISTER_NAME = 655363;
pub const WHvRegisterSint4: WHV_REGISTER_NAME = 655364;
pub const WHvRegisterSint5: WHV_REGISTER_NAME = 655365;
pub const WHvRegisterSint6: WHV_REGISTER_NAME = 655366;
pub const WHvRegisterSint7: WHV_REGISTER_NAME = 655367;
pub const WHvRegisterSint8: WHV_REGISTER_NAME = 655368;
pub const WHvRegisterSint9: WHV_REGISTER_NAME = 655369;
pub const WHvRegisterSipp: WHV_REGISTER_NAME = 655379;
pub const WHvRegisterSversion: WHV_REGISTER_NAME = 655377;
pub const WHvRegisterVpAssistPage: WHV_REGISTER_NAME = 589843;
pub const WHvRegisterVpRuntime: WHV_REGISTER_NAME = 589824;
pub const WHvRunVpCancelReasonUser: WHV_RUN_VP_CANCEL_REASON = 0;
pub const WHvRunVpExitReasonArm64Reset: WHV_RUN_VP_EXIT_REASON = -2147418100;
pub const WHvRunVpExitReasonCanceled: WHV_RUN_VP_EXIT_REASON = -1;
pub const WHvRunVpExitReasonGpaIntercept: WHV_RUN_VP_EXIT_REASON = -2147483647;
pub const WHvRunVpExitReasonHypercall: WHV_RUN_VP_EXIT_REASON = -2147483568;
pub const WHvRunVpExitReasonInvalidVpRegisterValue: WHV_RUN_VP_EXIT_REASON = -2147483616;
pub const WHvRunVpExitReasonNone: WHV_RUN_VP_EXIT_REASON = 0;
pub const WHvRunVpExitReasonSynicSintDeliverable: WHV_RUN_VP_EXIT_REASON = -2147483550;
pub const WHvRunVpExitReasonUnmappedGpa: WHV_RUN_VP_EXIT_REASON = -2147483648;
pub const WHvRunVpExitReasonUnrecoverableException: WHV_RUN_VP_EXIT_REASON = -2147483615;
pub const WHvRunVpExitReasonUnsupportedFeature: WHV_RUN_VP_EXIT_REASON = -2147483614;
pub const WHvTranslateGvaFlagNone: WHV_TRANSLATE_GVA_FLAGS = 0;
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
pub const WHvTriggerTypeSynicEvent: WHV_TRIGGER_TYPE = 1;
pub const WHvVirtualProcessorPropertyCodeNumaNode: WHV_VIRTUAL_PROCESSOR_PROPERTY_CODE = 0;
pub const WHvVirtualProcessorStateTypeGlobalInterruptState: WHV_VIRTUAL_PROCESSOR_STATE_TYPE = -1073741818;
pub const WHvVirtualProcessorStateTypeInterruptControllerState: WHV_VIRTUAL_PROCESSOR_STATE_TYPE = -2147483648;
pub const WHvVirtualProcessorStateTypeSmeState: WHV_VIRTUAL_PROCESSOR_STATE_TYPE = -2147483640;
pub const WHvVirtualProcessorStateTypeSveState: WHV_VIRTUAL_PROCESSOR_STATE_TYPE = -2147483641;
pub const WHvVirtualProcessorStateTypeSynicEventFlagPage: WHV_VIRTUAL_PROCESSOR_STATE_TYPE = -2147483645;
pub const WHvVirtualProcessorStateTypeSynicMessagePage: WHV_VIRTUAL_PROCESSOR_STATE_TYPE = -2147483646;
pub const WHvVirtualProcessorStateTypeSynicTimerState: WHV_VIRTUAL_PROCESSOR_STATE_TYPE = 4;
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
pub const FUNCTIONS: [&str; 58] = [
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
    "WHvGetPartitionCounters",
    "WHvGetPartitionProperty",
    "WHvGetVirtualProcessorCounters",
    "WHvGetVirtualProcessorRegisters",
    "WHvGetVirtualProcessorState",
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
    "WHvSetVirtualProcessorRegisters",
    "WHvSetVirtualProcessorState",
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
