//! The provider traits.

use std::sync::Arc;

use guest_memory::RamBlock;

use crate::{
    Capability, CapabilityCode, ExitContext, InterruptControl, MapGpaRangeFlags, ProcessorCounters, Property,
    PropertyCode, RegisterName, RegisterValue, Result, TranslateGvaFlags, TranslateGvaResult,
};

/// The guest's architecture, which a platform has one of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[allow(missing_docs)]
pub enum Arch {
    X64,
    Arm64,
}

/// Size of the local APIC state of [`VirtualProcessor::interrupt_controller_state`]: the xAPIC register page.
pub const INTERRUPT_CONTROLLER_STATE_SIZE: usize = 4096;

/// A hypervisor.
pub trait Platform: Send + Sync {
    /// For messages: "Windows Hypervisor Platform", "built-in platform" ...
    fn name(&self) -> &str;

    /// What kind of processors its partitions have.
    fn arch(&self) -> Arch;

    /// `WHvGetCapability`.
    ///
    /// # Errors
    /// `WHV_E_UNKNOWN_CAPABILITY`.
    fn capability(&self, code: CapabilityCode) -> Result<Capability>;

    /// `WHvCreatePartition`. Dropping the last handle deletes the partition.
    ///
    /// # Errors
    /// When the host refuses.
    fn create_partition(&self) -> Result<Arc<dyn Partition>>;
}

macro_rules! forward_platform {
    ($($pointer:ident),*) => {$(
        impl<P: Platform + ?Sized> Platform for $pointer<P> {
            fn name(&self) -> &str {
                (**self).name()
            }
            fn arch(&self) -> Arch {
                (**self).arch()
            }
            fn capability(&self, code: CapabilityCode) -> Result<Capability> {
                (**self).capability(code)
            }
            fn create_partition(&self) -> Result<Arc<dyn Partition>> {
                (**self).create_partition()
            }
        }
    )*};
}
forward_platform!(Box, Arc);

/// A virtual machine: properties, memory, processors.
pub trait Partition: Send + Sync {
    /// `WHvGetPartitionProperty`.
    ///
    /// # Errors
    /// `WHV_E_UNKNOWN_PROPERTY`.
    fn property(&self, code: PropertyCode) -> Result<Property>;

    /// `WHvSetPartitionProperty`. Most properties only before [`Partition::setup`]; CPUID exit list, exception
    /// bitmap and the like also later, while no processor runs.
    ///
    /// # Errors
    /// `WHV_E_UNKNOWN_PROPERTY`, `E_INVALIDARG`, `WHV_E_INVALID_VP_STATE` when it is too late.
    fn set_property(&self, property: Property) -> Result<()>;

    /// `WHvSetupPartition`: the properties take effect; processors can be made.
    ///
    /// # Errors
    /// `WHV_E_INVALID_PARTITION_CONFIG`.
    fn setup(&self) -> Result<()>;

    /// `WHvResetPartition`: all processors to their reset state, partition time to 0; memory stays.
    ///
    /// # Errors
    /// `WHV_E_INVALID_VP_STATE` while a processor runs.
    fn reset(&self) -> Result<()>;

    /// `WHvMapGpaRange`: `size` bytes of `block` from `offset` appear at `gpa`, in place of what was there.
    ///
    /// # Errors
    /// `E_INVALIDARG` for what is not page aligned, empty, or outside the block.
    fn map_gpa_range(
        &self,
        block: &Arc<RamBlock>,
        offset: u64,
        size: u64,
        gpa: u64,
        flags: MapGpaRangeFlags,
    ) -> Result<()>;

    /// `WHvUnmapGpaRange`. When it returns, no processor touches the range's memory any more.
    ///
    /// # Errors
    /// `E_INVALIDARG`; `WHV_E_GPA_RANGE_NOT_FOUND` when a page of it is not mapped.
    fn unmap_gpa_range(&self, gpa: u64, size: u64) -> Result<()>;

    /// `WHvQueryGpaRangeDirtyBitmap`: one bit a page (least significant first) for pages written since the last
    /// call; they become clean.
    ///
    /// # Errors
    /// `WHV_E_GPA_RANGE_NOT_FOUND` when the range is not wholly mapped with dirty tracking.
    fn query_dirty_bitmap(&self, gpa: u64, size: u64) -> Result<Vec<u64>>;

    /// `WHvCreateVirtualProcessor`. Dropping the last handle does not delete it; the partition holds it too.
    ///
    /// # Errors
    /// `WHV_E_VP_ALREADY_EXISTS`, `E_INVALIDARG` beyond the processor count.
    fn create_virtual_processor(&self, index: u32) -> Result<Arc<dyn VirtualProcessor>>;

    /// `WHvDeleteVirtualProcessor`.
    ///
    /// # Errors
    /// `WHV_E_VP_DOES_NOT_EXIST`, `WHV_E_INVALID_VP_STATE` while it runs.
    fn delete_virtual_processor(&self, index: u32) -> Result<()>;

    /// `WHvRequestInterrupt`. Needs the local APIC in the platform. From any thread; never blocks for long.
    ///
    /// # Errors
    /// `E_INVALIDARG` for a vector below 16 and unknown types; `WHV_E_INVALID_PARTITION_CONFIG` without local APIC.
    fn request_interrupt(&self, interrupt: &InterruptControl) -> Result<()>;

    /// `WHvSuspendPartitionTime`: TSC and APIC timers stand still until resumed, or until a processor runs.
    ///
    /// # Errors
    /// When the platform refuses.
    fn suspend_time(&self) -> Result<()>;

    /// `WHvResumePartitionTime`.
    ///
    /// # Errors
    /// When the platform refuses.
    fn resume_time(&self) -> Result<()>;
}

/// A virtual processor. Everything but [`VirtualProcessor::cancel`] wants it not to be running.
pub trait VirtualProcessor: Send + Sync {
    /// Its number, from 0.
    fn index(&self) -> u32;

    /// `WHvRunVirtualProcessor`: runs on the calling thread until an exit. `handler` serves decoded accesses where
    /// the platform can (else, and without one, they are exits with the instruction not done).
    ///
    /// # Errors
    /// `WHV_E_INVALID_VP_STATE` when it runs already.
    fn run(&self, handler: Option<&dyn AccessHandler>) -> Result<ExitContext>;

    /// `WHvCancelRunVirtualProcessor`, from any thread. Sticky: with no run active the next one returns
    /// [`Exit::Canceled`](crate::Exit) at once.
    fn cancel(&self);

    /// `WHvGetVirtualProcessorRegisters`. `values` must be as long as `names`.
    ///
    /// # Errors
    /// `WHV_E_INVALID_VP_REGISTER_NAME`, `WHV_E_INVALID_VP_STATE` while it runs on another thread.
    fn registers(&self, names: &[RegisterName], values: &mut [RegisterValue]) -> Result<()>;

    /// `WHvSetVirtualProcessorRegisters`, in order.
    ///
    /// # Errors
    /// As [`VirtualProcessor::registers`], and `E_INVALIDARG` for impossible values (those before it are set).
    fn set_registers(&self, names: &[RegisterName], values: &[RegisterValue]) -> Result<()>;

    /// `WHvTranslateGva`.
    ///
    /// # Errors
    /// `WHV_E_INVALID_VP_STATE` while it runs.
    fn translate_gva(&self, gva: u64, flags: TranslateGvaFlags) -> Result<TranslateGvaResult>;

    /// `WHvGetVirtualProcessorXsaveState`: XSAVE area, compacted format.
    ///
    /// # Errors
    /// `WHV_E_INVALID_VP_STATE` while it runs.
    fn xsave_state(&self) -> Result<Vec<u8>>;

    /// `WHvSetVirtualProcessorXsaveState`: XSAVE area, standard or compacted format.
    ///
    /// # Errors
    /// `E_INVALIDARG` for an impossible area, `WHV_E_INVALID_VP_STATE` while it runs.
    fn set_xsave_state(&self, area: &[u8]) -> Result<()>;

    /// `WHvGetVirtualProcessorInterruptControllerState2`: the local APIC as xAPIC register page, current count
    /// included.
    ///
    /// # Errors
    /// `WHV_E_INVALID_PARTITION_CONFIG` without local APIC, `WHV_E_INVALID_VP_STATE` while it runs.
    fn interrupt_controller_state(&self) -> Result<Box<[u8; INTERRUPT_CONTROLLER_STATE_SIZE]>>;

    /// `WHvSetVirtualProcessorInterruptControllerState2`.
    ///
    /// # Errors
    /// As [`VirtualProcessor::interrupt_controller_state`], and `E_INVALIDARG`.
    fn set_interrupt_controller_state(&self, state: &[u8; INTERRUPT_CONTROLLER_STATE_SIZE]) -> Result<()>;

    /// `WHvGetVirtualProcessorCpuidOutput`: EAX, EBX, ECX, EDX as the guest would get them.
    ///
    /// # Errors
    /// `WHV_E_INVALID_VP_STATE` while it runs.
    fn cpuid_output(&self, eax: u32, ecx: u32) -> Result<[u32; 4]>;

    /// `WHvGetVirtualProcessorCounters`, all sets. Also while it runs.
    fn counters(&self) -> ProcessorCounters;

    /// How the platform's translator does, by name. Also while it runs. Empty: there is none.
    fn translator_counters(&self) -> Vec<(&'static str, u64)> {
        Vec::new()
    }
}

/// Serves decoded accesses inside [`VirtualProcessor::run`], on the thread that called it. During a call the
/// processor counts as running but not as inside guest memory: interrupts may be requested, ranges mapped and
/// unmapped, any processor cancelled; registers cannot be read.
pub trait AccessHandler: Sync {
    /// IN of `data.len()` (1, 2 or 4) bytes.
    fn port_read(&self, port: u16, data: &mut [u8]);
    /// OUT.
    fn port_write(&self, port: u16, data: &[u8]);
    /// INs of a string instruction: as many elements of `size` bytes as `data` has, or fewer. How many bytes were read; what is
    /// left (with 0: all of it) comes as [`Self::port_read`].
    fn port_read_elements(&self, _port: u16, _size: usize, _data: &mut [u8]) -> usize {
        0
    }
    /// OUTs likewise.
    fn port_write_elements(&self, _port: u16, _size: usize, _data: &[u8]) -> usize {
        0
    }
    /// A load from where no memory is mapped; 1 to 64 bytes inside a page.
    fn memory_read(&self, gpa: u64, data: &mut [u8]);
    /// A store to where no writable memory is mapped.
    fn memory_write(&self, gpa: u64, data: &[u8]);
    /// Loads of a string instruction, upwards from `gpa` inside a page: as many elements of `size` bytes as `data` has, or
    /// fewer. How many bytes were loaded; what is left (with 0: all of it) comes as [`Self::memory_read`].
    fn memory_read_elements(&self, _gpa: u64, _size: usize, _data: &mut [u8]) -> usize {
        0
    }
    /// Stores likewise.
    fn memory_write_elements(&self, _gpa: u64, _size: usize, _data: &[u8]) -> usize {
        0
    }
    /// Likewise `count` loads from `from` upwards, each followed by its store from `to` upwards.
    fn memory_copy_elements(&self, _from: u64, _to: u64, _size: usize, _count: usize) -> usize {
        0
    }
    /// Whether an access of `len` bytes at `gpa` is to exit, undecoded, and not to be served here: for clients that want
    /// to know the processor's state at it.
    fn declines(&self, _gpa: u64, _len: usize) -> bool {
        false
    }
    /// EOI of a level-triggered interrupt (instead of [`Exit::ApicEoi`](crate::Exit)).
    fn eoi(&self, vector: u8);
}
