//! The Windows Hypervisor Platform API as Rust types and traits.
//!
//! A [`Platform`] makes [`Partition`]s; a partition has a guest-physical map, properties and
//! [`VirtualProcessor`]s; a virtual processor runs until an [`ExitContext`] comes back. Names are Microsoft's
//! (`winhvplatformdefs.h`, learn.microsoft.com "Windows Hypervisor Platform"), in Rust case; every code, register
//! and exit that is not known here stays representable.
//!
//! Beyond Microsoft's shape there is one thing: a processor may serve *decoded* accesses through an
//! [`AccessHandler`] inside [`VirtualProcessor::run`]; platforms that cannot decode ignore the handler and exit.
//!
//! With the feature `serde` everything that goes in and out of calls can be written and read as text (for traces).
//!
//! Left out on purpose: the C ABI (`repr(C)`) layout, virtual PCI, SynIC messages, nested virtualisation state.

mod capability;
mod counters;
mod error;
mod exit;
mod features;
mod interrupt;
mod memory;
mod platform;
mod property;
mod register;
#[cfg(feature = "serde")]
mod text;
mod value;

pub use capability::{Capability, CapabilityCode, CapabilityFeatures, ProcessorVendor};
pub use counters::{ApicCounters, EventCounters, InterceptCounters, ProcessorCounters, RuntimeCounters};
pub use error::{Error, HResult, Result};
pub use exit::{
    CpuidAccess, Exit, ExitContext, ExitReason, IoPortAccess, MemoryAccess, MsrAccess, VpContext, VpException,
};
pub use features::{ProcessorFeatures, ProcessorFeatures1, SyntheticProcessorFeatures, XsaveFeatures};
pub use interrupt::{DestinationMode, InterruptControl, InterruptType, TriggerMode};
pub use memory::{AccessType, MapGpaRangeFlags, TranslateGvaFlags, TranslateGvaResult, TranslateGvaResultCode};
pub use platform::{AccessHandler, Arch, INTERRUPT_CONTROLLER_STATE_SIZE, Partition, Platform, VirtualProcessor};
pub use property::{
    CpuidResult, CpuidResult2, ExtendedVmExits, LocalApicEmulationMode, MsrAction, MsrActionEntry, MsrExitBitmap,
    Property, PropertyCode,
};
pub use register::RegisterName;
pub use value::{
    DeliverabilityNotifications, FpControlStatus, InternalActivity, InterruptState, PendingEvent, PendingInterruption,
    RegisterValue, SegmentRegister, TableRegister, XmmControlStatus,
};
