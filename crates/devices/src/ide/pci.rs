//! 82371SB (PIIX3) function 1: the PCI side of the IDE interface, and the wiring of all its parts.
//!
//! Intel 82371SB data sheet, section 2.3. IDETIM, SIDETIM hold what is written; the channels always answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use guest_memory::GuestMemory;
use pci::{BarBacking, BarKind, BarSpec, ConfigSpace, ConfigState, Deferred, Identity, PciBus, PciError, PciFunction};
use vm_core::{Device, IrqLine, PortSpace, Shared, SpaceError, StateError, load_state, save_state, shared};

use super::{BusMasterPorts, ControlPort, DriveConfig, IdeChannel};

const BUS_MASTER_BAR: u8 = 4;
/// IDETIM of both channels and SIDETIM.
const TIMING: u8 = 0x40;
const TIMING_LEN: usize = 5;

/// Function 1: 8086:7010.
pub struct Piix3Ide {
    config: ConfigSpace,
    may_master: Arc<AtomicBool>,
}

impl Piix3Ide {
    fn new(may_master: Arc<AtomicBool>) -> Self {
        let id =
            Identity { vendor: 0x8086, device: 0x7010, revision: 0, class: 0x01_0180, subsystem: (0x1AF4, 0x1100) };
        let config = ConfigSpace::endpoint(id)
            .with(0x06, &[0x80, 0x02])
            .with_writable(0x04, &[0x05, 0x00])
            .with_writable(0x0C, &[0x00, 0xF0])
            .with_writable(0x3C, &[0x00])
            .with_bar(BarSpec { index: BUS_MASTER_BAR, kind: BarKind::Io, size: 16 })
            .with_writable(TIMING, &[0xFF, 0xF3, 0xFF, 0xF3, 0xFF]);
        Self { config, may_master }
    }

    fn update(&self) {
        self.may_master.store(self.config.may_master(), Ordering::Release);
    }
}

impl Device for Piix3Ide {
    fn name(&self) -> &str {
        "piix3-ide"
    }

    fn reset(&mut self) {
        self.config.reset();
        self.update();
    }

    /// IDETIM and SIDETIM stay: firmware sets them at power-on only, and Linux leaves a channel alone whose decode bit
    /// it does not find set.
    fn wake(&mut self) {
        let mut timing = [0; TIMING_LEN];
        self.config.read(TIMING.into(), &mut timing);
        self.reset();
        self.config.write(TIMING.into(), &timing);
    }

    fn save(&self) -> Result<Vec<u8>, StateError> {
        save_state(self.name(), &self.config.state())
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), StateError> {
        let state: ConfigState = load_state(self.name(), bytes)?;
        self.config.restore("piix3-ide", &state)?;
        self.update();
        Ok(())
    }
}

impl PciFunction for Piix3Ide {
    fn config(&self) -> &ConfigSpace {
        &self.config
    }

    fn config_mut(&mut self) -> &mut ConfigSpace {
        &mut self.config
    }

    fn config_written(&mut self, _offset: u8, _len: usize) {
        self.update();
    }

    fn placement(&mut self) -> Option<Deferred> {
        None
    }
}

/// What the IDE interface is wired to.
pub struct IdeWiring {
    /// Primary master, primary slave, secondary master, secondary slave.
    pub drives: [Option<DriveConfig>; 4],
    /// ISA interrupts 14 and 15.
    pub irqs: [IrqLine; 2],
    /// For DMA.
    pub memory: GuestMemory,
}

/// Why it could not be installed.
#[derive(Debug, thiserror::Error)]
pub enum IdeError {
    /// The legacy ports are taken.
    #[error(transparent)]
    Ports(#[from] SpaceError),
    /// The PCI slot is taken.
    #[error(transparent)]
    Pci(#[from] PciError),
}

/// The function and its two channels; three devices for reset and save.
pub struct Ide {
    /// The PCI function.
    pub function: Shared<Piix3Ide>,
    /// Primary and secondary channel.
    pub channels: [Shared<IdeChannel>; 2],
}

impl Ide {
    /// Builds the interface.
    pub fn new(wiring: IdeWiring) -> Self {
        let IdeWiring { drives: [a, b, c, d], irqs: [irq14, irq15], memory } = wiring;
        let may_master = Arc::new(AtomicBool::new(false));
        let channel = |name: &str, drives, irq| IdeChannel::new(name, drives, irq, memory.clone(), may_master.clone());
        let channels = [channel("ide0", [a, b], irq14), channel("ide1", [c, d], irq15)];
        Self { function: shared(Piix3Ide::new(may_master)), channels }
    }

    /// Puts the legacy ports into the port space and the function, with its bus master ports, on the bus.
    ///
    /// # Errors
    /// When ports or slot are taken.
    pub fn install(&self, ports: &PortSpace, bus: &PciBus, devfn: u8) -> Result<(), IdeError> {
        for (channel, (command, control)) in self.channels.iter().zip([(0x1F0, 0x3F6), (0x170, 0x376)]) {
            ports.add(command, 8, "ide", false, channel)?;
            ports.add(control, 1, "ide-control", true, &shared(ControlPort(channel.clone())))?;
        }
        let master = shared(BusMasterPorts { channels: self.channels.clone() });
        bus.add(devfn, &self.function, vec![(BUS_MASTER_BAR, BarBacking::Io(master))])?;
        Ok(())
    }
}
