//! What all host controllers share: a PCI function on the machine's clock in front of a bus of ports.
//!
//! A [`Controller`] owns the configuration space, the interrupt pin, the timer that runs the controller's work and
//! the waker that a bus event calls; reset, save and restore are done here once. What makes it an EHCI, UHCI or xHCI
//! controller is its [`Chip`]: the registers' state and what to do at each of these moments.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};

use guest_memory::GuestMemory;
use pci::{ConfigSpace, ConfigState, Deferred, IntxPin, PciFunction};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use vm_core::{Clock, Device, IrqLine, Shared, StateError, Timer, load_state, lock, save_state};

use crate::bus::UsbBus;

/// A kind of host controller: its wiring other than the common one, and its moments.
pub trait Chip: Sized + Send + 'static {
    /// All guest-visible state but the configuration space.
    type State: Serialize + DeserializeOwned + Clone + Send;

    /// The registers after power-on.
    fn at_reset(&self) -> Self::State;
    /// The timer has fired or something happened at the bus.
    fn run(controller: &mut Controller<Self>);
    /// Registers to their reset values, ports in line with the bus, interrupts silent.
    fn host_reset(controller: &mut Controller<Self>);
    /// The guest wrote to the configuration space.
    fn config_written(controller: &mut Controller<Self>);
    /// Whether a saved state is possible for this controller as wired.
    ///
    /// # Errors
    /// Why not.
    fn check(&self, state: &Self::State) -> Result<(), String>;
    /// A saved state has been put in place.
    fn restored(controller: &mut Controller<Self>);
}

/// The wiring that every host controller has.
pub struct Host {
    /// For its frames.
    pub clock: Clock,
    /// For DMA.
    pub memory: GuestMemory,
    /// Its interrupt pin.
    pub irq: IrqLine,
    /// Its ports.
    pub bus: Arc<UsbBus>,
    /// Sets the multifunction bit of the header.
    pub multifunction: bool,
}

#[derive(Serialize, Deserialize)]
struct Saved<S> {
    state: S,
    config: ConfigState,
}

/// See the module's documentation.
pub struct Controller<C: Chip> {
    pub(crate) name: String,
    pub(crate) state: C::State,
    pub(crate) config: ConfigSpace,
    pub(crate) pin: IntxPin,
    pub(crate) memory: GuestMemory,
    pub(crate) clock: Clock,
    pub(crate) timer: Timer,
    pub(crate) bus: Arc<UsbBus>,
    pub(crate) chip: C,
    woken: Arc<AtomicBool>,
}

impl<C: Chip> Controller<C> {
    /// A controller called `name`, and its bus's waker.
    pub(crate) fn build(name: &str, host: Host, config: ConfigSpace, chip: C) -> Shared<Self> {
        let Host { clock, memory, irq, bus, multifunction } = host;
        let config = if multifunction { config.multifunction() } else { config };
        Arc::new_cyclic(|weak: &Weak<Mutex<Self>>| {
            let own = weak.clone();
            let timer = clock.timer(name, move || {
                if let Some(controller) = own.upgrade() {
                    C::run(&mut lock(&controller));
                }
            });
            let woken = Arc::new(AtomicBool::new(false));
            let (flag, wake) = (woken.clone(), timer.clone());
            bus.add_waker(Arc::new(move || {
                flag.store(true, Ordering::Release);
                wake.set(0);
            }));
            let (state, pin) = (chip.at_reset(), IntxPin::new(irq));
            Mutex::new(Self { name: name.into(), state, config, pin, memory, clock, timer, bus, chip, woken })
        })
    }

    /// Whether something happened at the bus since the last call.
    pub(crate) fn take_woken(&self) -> bool {
        self.woken.swap(false, Ordering::AcqRel)
    }

    /// Arms the timer, for now if something happened at the bus meanwhile.
    pub(crate) fn run_at(&self, deadline: u64) {
        self.timer.set(deadline);
        if self.woken.load(Ordering::Acquire) {
            self.timer.set(0);
        }
    }
}

impl<C: Chip> Device for Controller<C> {
    fn name(&self) -> &str {
        &self.name
    }

    fn reset(&mut self) {
        self.config.reset();
        C::host_reset(self);
    }

    fn save(&self) -> Result<Vec<u8>, StateError> {
        save_state(&self.name, &Saved { state: self.state.clone(), config: self.config.state() })
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), StateError> {
        let Saved { state, config }: Saved<C::State> = load_state(&self.name, bytes)?;
        let mismatch = |reason| StateError::Mismatch { device: self.name.clone(), reason };
        self.chip.check(&state).map_err(mismatch)?;
        self.config.restore(&self.name, &config)?;
        self.state = state;
        self.pin.import(&self.config);
        C::restored(self);
        self.timer.set(0);
        Ok(())
    }
}

impl<C: Chip> PciFunction for Controller<C> {
    fn config(&self) -> &ConfigSpace {
        &self.config
    }

    fn config_mut(&mut self) -> &mut ConfigSpace {
        &mut self.config
    }

    fn config_written(&mut self, _offset: u8, _len: usize) {
        C::config_written(self);
    }

    fn placement(&mut self) -> Option<Deferred> {
        None
    }
}
