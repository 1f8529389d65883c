//! A partition's handle.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use guest_memory::RamBlock;
use irqchip::lapic::{DeliveryMode, Destination};
use whp::{
    DestinationMode, Error, HResult, InterruptControl, InterruptType, LocalApicEmulationMode, MapGpaRangeFlags,
    Partition, Property, PropertyCode, Result, TriggerMode, VirtualProcessor,
};

use crate::options::SoftOptions;
use crate::shared::Shared;
use crate::timers;
use crate::vp::{Vp, VpHandle};

/// See the module's documentation. Dropping it ends its timer thread; processors that still run are cancelled.
pub struct SoftPartition {
    pub(crate) shared: Arc<Shared>,
    timer_thread: Mutex<Option<JoinHandle<()>>>,
}

fn error(code: HResult, operation: &'static str, what: impl Into<String>) -> Error {
    Error::new(code, operation, what)
}

impl SoftPartition {
    pub(crate) fn new(options: SoftOptions) -> Self {
        Self { shared: Shared::new(options), timer_thread: Mutex::default() }
    }

    /// Whether the system that is imitated has this property.
    fn known(&self, operation: &'static str, code: PropertyCode) -> Result<()> {
        if self.shared.options.behave.knows_property(code) {
            return Ok(());
        }
        Err(error(HResult::WHV_E_UNKNOWN_PROPERTY, operation, format!("code {:#x}", code.0)))
    }
}

impl Drop for SoftPartition {
    fn drop(&mut self) {
        for vp in self.shared.vps().iter().flatten() {
            vp.cancel();
        }
        self.shared.timers.stop();
        let thread = self.timer_thread.get_mut().unwrap_or_else(|e| e.into_inner()).take();
        if let Some(thread) = thread
            && thread.thread().id() != std::thread::current().id()
        {
            let _ended = thread.join();
        }
    }
}

impl Partition for SoftPartition {
    fn property(&self, code: PropertyCode) -> Result<Property> {
        self.known("GetPartitionProperty", code)?;
        self.shared.config().property(code, self.shared.reference_time(self.shared.time.now()))
    }

    fn set_property(&self, property: Property) -> Result<()> {
        self.known("SetPartitionProperty", property.code())?;
        let is_setup = self.shared.set_up();
        self.shared.change_config(|c| c.set(property, is_setup))
    }

    fn setup(&self) -> Result<()> {
        const NAME: &str = "SetupPartition";
        let config = self.shared.config();
        if let Some(why) = config.conflict() {
            return Err(error(HResult::WHV_E_INVALID_PARTITION_CONFIG, NAME, why));
        }
        if self.shared.is_setup.swap(true, Ordering::AcqRel) {
            return Err(error(HResult::WHV_E_INVALID_PARTITION_CONFIG, NAME, "it is set up already"));
        }
        self.shared.time.set_rates(config.tsc_hz, config.apic_hz);
        if config.apic_mode != LocalApicEmulationMode::None {
            let shared = Arc::downgrade(&self.shared);
            let thread = std::thread::Builder::new().name("apic timers".into()).spawn(move || timers::run(&shared));
            let thread = thread.map_err(|e| error(HResult::E_OUTOFMEMORY, NAME, e.to_string()))?;
            *self.timer_thread.lock().unwrap_or_else(|e| e.into_inner()) = Some(thread);
        }
        Ok(())
    }

    fn reset(&self) -> Result<()> {
        let vps = self.shared.vps();
        let held: Option<Vec<_>> = vps.iter().flatten().map(|vp| Some((vp, vp.try_core()?))).collect();
        let Some(held) = held else {
            return Err(error(HResult::WHV_E_INVALID_VP_STATE, "ResetPartition", "a virtual processor runs"));
        };
        self.shared.time.reset();
        for (vp, mut core) in held {
            vp.power_on(&self.shared, &mut core);
        }
        self.shared.reset_hyperv();
        Ok(())
    }

    fn map_gpa_range(
        &self,
        block: &Arc<RamBlock>,
        offset: u64,
        size: u64,
        gpa: u64,
        flags: MapGpaRangeFlags,
    ) -> Result<()> {
        self.shared.map.map(block, offset, size, gpa, flags)?;
        self.shared.forget_old_map();
        Ok(())
    }

    fn unmap_gpa_range(&self, gpa: u64, size: u64) -> Result<()> {
        self.shared.map.unmap(gpa, size)?;
        self.shared.forget_old_map();
        Ok(())
    }

    fn query_dirty_bitmap(&self, gpa: u64, size: u64) -> Result<Vec<u64>> {
        self.shared.map.query_dirty(gpa, size)
    }

    fn create_virtual_processor(&self, index: u32) -> Result<Arc<dyn VirtualProcessor>> {
        const NAME: &str = "CreateVirtualProcessor";
        let what = format!("index {index}");
        if !self.shared.set_up() {
            return Err(error(HResult::WHV_E_INVALID_PARTITION_CONFIG, NAME, what + ": the partition is not set up"));
        }
        if index >= self.shared.config().processor_count {
            return Err(error(HResult::E_INVALIDARG, NAME, what + ": not below ProcessorCount"));
        }
        let vp = Vp::new(index, &self.shared);
        self.shared.change_vps(|list| {
            let i = index as usize;
            if list.len() <= i {
                list.resize(i + 1, None);
            }
            if list[i].is_some() {
                return Err(error(HResult::WHV_E_VP_ALREADY_EXISTS, NAME, what));
            }
            list[i] = Some(vp.clone());
            Ok(())
        })?;
        Ok(Arc::new(VpHandle::new(vp, self.shared.clone())))
    }

    fn delete_virtual_processor(&self, index: u32) -> Result<()> {
        const NAME: &str = "DeleteVirtualProcessor";
        let what = format!("index {index}");
        let Some(vp) = self.shared.vp(index) else {
            return Err(error(HResult::WHV_E_VP_DOES_NOT_EXIST, NAME, what));
        };
        if vp.try_core().is_none() {
            return Err(error(HResult::WHV_E_INVALID_VP_STATE, NAME, what + ": it runs"));
        }
        self.shared.timers.set(index, None);
        self.shared.change_vps(|list| list[index as usize] = None);
        Ok(())
    }

    fn request_interrupt(&self, interrupt: &InterruptControl) -> Result<()> {
        const NAME: &str = "RequestInterrupt";
        let bad = |why: &str| error(HResult::E_INVALIDARG, NAME, format!("{interrupt:?}: {why}"));
        if !self.shared.has_apic() {
            let what = "the local APIC is not in the platform (LocalApicEmulationMode)";
            return Err(error(HResult::WHV_E_INVALID_PARTITION_CONFIG, NAME, what));
        }
        let destination = Destination {
            id: interrupt.destination,
            logical: interrupt.destination_mode == DestinationMode::Logical,
            wide: interrupt.destination > 0xFF,
        };
        let mode = match interrupt.kind {
            InterruptType::FIXED => DeliveryMode::Fixed,
            InterruptType::LOWEST_PRIORITY => DeliveryMode::LowestPriority,
            InterruptType::NMI => DeliveryMode::Nmi,
            InterruptType::INIT => DeliveryMode::Init,
            InterruptType::SIPI => DeliveryMode::Startup,
            InterruptType::LOCAL_INT1 => {
                self.shared.local_int1(destination);
                return Ok(());
            }
            _ => return Err(bad("unknown interrupt type")),
        };
        let vector = u8::try_from(interrupt.vector).map_err(|_| bad("vector above 255"))?;
        if matches!(mode, DeliveryMode::Fixed | DeliveryMode::LowestPriority) && vector < 16 {
            let code = self.shared.options.behave.reserved_vector();
            return Err(error(code, NAME, format!("{interrupt:?}: vector below 16")));
        }
        self.shared.deliver(mode, vector, interrupt.trigger_mode == TriggerMode::Level, destination);
        Ok(())
    }

    fn suspend_time(&self) -> Result<()> {
        self.shared.time.suspend();
        self.shared.timers.look_again();
        Ok(())
    }

    fn resume_time(&self) -> Result<()> {
        self.shared.resume_time();
        Ok(())
    }
}
