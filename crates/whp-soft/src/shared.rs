//! What a partition's processors, its timer thread and its handle share.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, RwLock};

use whp::{CapabilityCode, LocalApicEmulationMode};

use crate::client::Doorbells;
use crate::config::Config;
use crate::gate::Gate;
use crate::hyperv::Hyperv;
use crate::map::GpaMap;
use crate::options::SoftOptions;
use crate::time::PartitionTime;
use crate::timers::Timers;
use crate::vp::Vp;

/// See the module's documentation.
pub(crate) struct Shared {
    pub(crate) options: SoftOptions,
    config: RwLock<Arc<Config>>,
    pub(crate) is_setup: AtomicBool,
    pub(crate) map: GpaMap,
    pub(crate) doorbells: Doorbells,
    pub(crate) hyperv: Hyperv,
    vps: RwLock<Arc<[Option<Arc<Vp>>]>>,
    pub(crate) time: PartitionTime,
    pub(crate) timers: Timers,
    pub(crate) gate: Arc<Gate>,
    /// Where the search for a lowest-priority target starts.
    pub(crate) next_lowest: AtomicU32,
}

impl Shared {
    pub(crate) fn new(options: SoftOptions) -> Arc<Self> {
        let mut config = Config::new(&(options.model)(0), options.tsc_frequency, options.apic_frequency);
        config.cpuid_results2.clone_from(&options.cpuid);
        Arc::new(Self {
            options,
            config: RwLock::new(Arc::new(config)),
            is_setup: AtomicBool::new(false),
            map: GpaMap::default(),
            doorbells: Doorbells::default(),
            hyperv: Hyperv::default(),
            vps: RwLock::default(),
            time: PartitionTime::new(),
            timers: Timers::default(),
            gate: Arc::default(),
            next_lowest: AtomicU32::new(0),
        })
    }

    pub(crate) fn config(&self) -> Arc<Config> {
        self.config.read().unwrap_or_else(|e| e.into_inner()).clone()
    }

    /// Changes the properties as a whole, or not at all.
    pub(crate) fn change_config(&self, change: impl FnOnce(&mut Config) -> whp::Result<()>) -> whp::Result<()> {
        let mut slot = self.config.write().unwrap_or_else(|e| e.into_inner());
        let mut new = Config::clone(&slot);
        change(&mut new)?;
        *slot = Arc::new(new);
        Ok(())
    }

    /// Whether accesses may be served inside a run.
    pub(crate) fn decodes(&self) -> bool {
        self.options.decoded && self.options.behave.decodes()
    }

    pub(crate) fn has_apic(&self) -> bool {
        self.config().apic_mode != LocalApicEmulationMode::None
    }

    pub(crate) fn vps(&self) -> Arc<[Option<Arc<Vp>>]> {
        self.vps.read().unwrap_or_else(|e| e.into_inner()).clone()
    }

    pub(crate) fn vp(&self, index: u32) -> Option<Arc<Vp>> {
        self.vps().get(index as usize).cloned().flatten()
    }

    /// Changes the list of processors.
    pub(crate) fn change_vps<R>(&self, change: impl FnOnce(&mut Vec<Option<Arc<Vp>>>) -> R) -> R {
        let mut slot = self.vps.write().unwrap_or_else(|e| e.into_inner());
        let mut list = slot.to_vec();
        let result = change(&mut list);
        *slot = list.into();
        result
    }

    /// After a change of the map: returns when no processor uses the old one any more. A processor inside a callback
    /// or not running does not, so two processors may do this at once, each in a callback.
    pub(crate) fn forget_old_map(&self) {
        let vps = self.vps();
        vps.iter().flatten().for_each(|vp| vp.request_flush());
        for vp in vps.iter().flatten() {
            vp.wait_flushed();
        }
    }

    /// Lets partition time go on if it stands.
    pub(crate) fn resume_time(&self) {
        if self.time.is_suspended() && self.time.resume() {
            self.timers.look_again();
        }
    }

    pub(crate) fn set_up(&self) -> bool {
        self.is_setup.load(Ordering::Acquire)
    }
}

/// For messages.
pub(crate) fn capability_name(code: CapabilityCode) -> String {
    format!("code {:#x}", code.0)
}
