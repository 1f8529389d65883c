//! The AHCI controller: six SATA ports with disks and CD-ROM drives (ICH9's at 00:1f.2, and `-device ahci`).
//!
//! AHCI 1.3.1 (registers: section 3; memory structures: 4; operation: 5; errors: 6), Serial ATA 2.6 (frames: 10.3; queued
//! commands: 13.6), Intel ICH9 data sheet chapter 15 (PCI side). The drives and their commands are those of
//! [`crate::ide`]: a port holds an [`IdeChannel`] with one drive, feeds it registers out of command frames, moves its data
//! by the command's region table, and makes frames of its registers. Queued reads and writes are in [`ncq`].
//!
//! Everything a guest gives is read when it is used, in bounded pieces: a command frame, one region at a time, and at
//! most 1 MiB of data for each queued command.
//!
//! Left out, as the capability bits say: port multipliers, command completion coalescing, enclosure management, staggered
//! spin-up, hot plug with presence switches, link power management, BIOS/OS hand-off. DMA Setup frames of queued
//! commands are not stored in memory. Non-queued and queued commands never run at the same time: the later one waits
//! (a real drive aborts).

mod fis;
mod ncq;
mod pci_function;
mod port;
#[cfg(test)]
mod tests;

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, Weak};

use block::BlockQueue;
use guest_memory::GuestMemory;
use pci::{ConfigSpace, ConfigState, IntxPin, Msi};
use serde::{Deserialize, Serialize};
use vm_core::{IrqLine, Mmio, MsiSink, PortIo, Shared, lock, shared};

use crate::ide::channel::Route;
use crate::ide::{DriveBus, DriveConfig, Geometry, IdeChannel, Translation, TrayHook};
use port::{Port, PortState};

/// Ports of the controller.
pub const PORTS: usize = 6;
/// Length of the register window.
const WINDOW: u64 = 0x1000;
const FIRST_PORT: u64 = 0x100;
const PORT_LEN: u64 = 0x80;
/// Command slots.
const SLOTS: usize = 32;

/// 64-bit addresses, queued commands, command list override, AHCI only, 3 Gb/s, all slots, six ports.
const CAP: u32 = 1 << 31 | 1 << 30 | 1 << 24 | 2 << 20 | 1 << 18 | (SLOTS as u32 - 1) << 8 | (PORTS as u32 - 1);
const GHC_HR: u32 = 1;
const GHC_IE: u32 = 1 << 1;
const GHC_AE: u32 = 1 << 31;
const VERSION: u32 = 0x0001_0301;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    interrupts: bool,
    /// IS.
    status: u32,
    /// The index register of the I/O window.
    index: u32,
    ports: Vec<PortState>,
}

/// The whole of the controller's state, to save.
#[derive(Serialize, Deserialize)]
struct Saved {
    state: State,
    config: ConfigState,
    drives: Vec<Vec<u8>>,
}

impl State {
    fn at_reset() -> Self {
        Self { interrupts: false, status: 0, index: 0, ports: vec![PortState::at_reset(); PORTS] }
    }
}

/// What the controller is wired to.
pub struct AhciWiring {
    /// One drive a port at most.
    pub drives: [Option<DriveConfig>; PORTS],
    /// For DMA.
    pub memory: GuestMemory,
    /// The interrupt pin (INTA).
    pub irq: IrqLine,
    /// Where messages go.
    pub msi: Arc<dyn MsiSink>,
    /// Other functions are in the same slot.
    pub multifunction: bool,
}

/// See the module's documentation. The register window is BAR 5, index and data ports are in BAR 4; [`Ahci::bars`].
pub struct Ahci {
    name: String,
    state: State,
    drives: Vec<Port>,
    memory: GuestMemory,
    config: ConfigSpace,
    may_master: Arc<AtomicBool>,
    pin: IntxPin,
    msi: Msi,
    sink: Arc<dyn MsiSink>,
    me: Weak<Mutex<Self>>,
    /// An interrupt was wanted when last looked at.
    signalled: bool,
}

impl Ahci {
    /// A controller.
    pub fn new(name: &str, wiring: AhciWiring) -> Shared<Self> {
        let AhciWiring { drives, memory, irq, msi: sink, multifunction } = wiring;
        let may_master = Arc::new(AtomicBool::new(false));
        let (config, msi) = pci_function::config(multifunction);
        Arc::new_cyclic(|me: &Weak<Mutex<Self>>| {
            let port = |(number, drive): (usize, Option<DriveConfig>)| {
                let me = me.clone();
                let route: Route = Arc::new(move |_, generation, result| {
                    if let Some(ahci) = me.upgrade() {
                        lock(&ahci).request_done(number, generation, result);
                    }
                });
                let name = format!("{name} port {number}");
                Port::new(IdeChannel::on_sata(&name, drive, memory.clone(), may_master.clone(), route))
            };
            let drives = drives.into_iter().enumerate().map(port).collect();
            let mut ahci = Self {
                name: name.into(),
                state: State::at_reset(),
                drives,
                memory: memory.clone(),
                config,
                may_master: may_master.clone(),
                pin: IntxPin::new(irq),
                msi,
                sink,
                me: me.clone(),
                signalled: false,
            };
            ahci.reset_ports();
            Mutex::new(ahci)
        })
    }

    /// Index and data registers, for BAR 4.
    fn index_ports(ahci: &Shared<Self>) -> Shared<IndexPorts> {
        shared(IndexPorts(ahci.clone()))
    }

    /// The queues of the drives, to drain before saving.
    pub fn queues(&self) -> Vec<Arc<BlockQueue>> {
        self.drives.iter().filter_map(Port::queue).collect()
    }

    fn reset_ports(&mut self) {
        for n in 0..PORTS {
            self.state.ports[n] = PortState::at_reset();
            self.power_on(n);
        }
    }

    /// HBA reset: everything but the firmware's set-up of the function.
    fn reset_controller(&mut self) {
        self.state.interrupts = false;
        self.state.status = 0;
        self.reset_ports();
        self.update_interrupt();
    }

    /// Works out the interrupt from all registers. A message goes out for every bit that appears in IS.
    fn update_interrupt(&mut self) {
        let pending = (0..PORTS).filter(|n| self.state.ports[*n].interrupt()).fold(0, |bits, n| bits | 1 << n);
        let news = pending & !self.state.status != 0;
        self.state.status |= pending;
        let wanted = self.state.interrupts && self.state.status != 0;
        let before = std::mem::replace(&mut self.signalled, wanted);
        let with_messages = self.msi.is_enabled(&self.config);
        self.pin.set(&mut self.config, wanted && !with_messages);
        if with_messages && wanted && (news || !before) {
            self.msi.signal(&mut self.config, &*self.sink, 0);
        }
    }

    fn register(&self, offset: u64) -> u32 {
        match offset {
            0x00 => CAP,
            0x04 => GHC_AE | if self.state.interrupts { GHC_IE } else { 0 },
            0x08 => self.state.status,
            0x0C => (1 << PORTS) - 1,
            0x10 => VERSION,
            _ => match self.port_at(offset) {
                Some((n, register)) => self.port_register(n, register),
                None => 0,
            },
        }
    }

    fn port_at(&self, offset: u64) -> Option<(usize, u64)> {
        let at = offset.checked_sub(FIRST_PORT)?;
        let n = usize::try_from(at / PORT_LEN).ok().filter(|n| *n < PORTS)?;
        Some((n, at % PORT_LEN))
    }

    fn write_register(&mut self, offset: u64, value: u32) {
        match offset {
            0x04 if value & GHC_HR != 0 => return self.reset_controller(),
            0x04 => self.state.interrupts = value & GHC_IE != 0,
            0x08 => self.state.status &= !value,
            _ => {
                if let Some((n, register)) = self.port_at(offset) {
                    self.write_port_register(n, register, value);
                }
            }
        }
        self.update_interrupt();
    }

    /// The block queue has finished a request of a command that is not queued.
    fn request_done(&mut self, n: usize, generation: u64, result: std::io::Result<Vec<u8>>) {
        let Some(port) = self.drives.get_mut(n) else { return };
        port.channel.completed(0, generation, result);
        self.advance(n);
        self.issue(n);
        self.update_interrupt();
    }
}

impl Mmio for Ahci {
    fn mmio_read(&mut self, offset: u64, data: &mut [u8]) {
        for (i, b) in data.iter_mut().enumerate() {
            let at = offset.wrapping_add(i as u64);
            *b = self.register(at & !3).to_le_bytes()[(at & 3) as usize];
        }
    }

    fn mmio_write(&mut self, offset: u64, data: &[u8]) {
        // Registers are 32 bits; wider writes are two of them, narrower ones leave the other bytes zero (AHCI 3: software
        // must not do that, and write-one registers are not disturbed by it).
        let mut at = offset;
        let mut rest = data;
        while !rest.is_empty() {
            let (shift, n) = ((at & 3) as usize, rest.len().min(4 - (at & 3) as usize));
            let mut bytes = [0; 4];
            bytes[shift..shift + n].copy_from_slice(&rest[..n]);
            self.write_register(at & !3, u32::from_le_bytes(bytes));
            (at, rest) = (at.wrapping_add(n as u64), &rest[n..]);
        }
    }
}

/// The index-data pair at 10h of BAR 4 (AHCI 1.3.1, section 2.4): registers for software in real mode.
pub struct IndexPorts(Shared<Ahci>);

const INDEX: u16 = 0x10;
const DATA: u16 = 0x14;

impl PortIo for IndexPorts {
    fn port_read(&mut self, offset: u16, data: &mut [u8]) {
        let mut ahci = lock(&self.0);
        match offset {
            INDEX..DATA => {
                let bytes = ahci.state.index.to_le_bytes();
                data.iter_mut().zip(&bytes[usize::from(offset - INDEX)..]).for_each(|(d, b)| *d = *b);
            }
            DATA..0x18 => {
                let at = u64::from(ahci.state.index) + u64::from(offset - DATA);
                ahci.mmio_read(at, data);
            }
            _ => data.fill(0),
        }
    }

    fn port_write(&mut self, offset: u16, data: &[u8]) {
        let mut ahci = lock(&self.0);
        match offset {
            INDEX if data.len() == 4 => {
                ahci.state.index = u32::from_le_bytes([data[0], data[1], data[2], data[3]]) & (WINDOW as u32 - 4);
            }
            DATA..0x18 => {
                let at = u64::from(ahci.state.index) + u64::from(offset - DATA);
                ahci.mmio_write(at, data);
            }
            _ => {}
        }
    }
}

impl DriveBus for Ahci {
    fn geometry(&self, unit: usize) -> Option<(Geometry, Translation)> {
        self.drives.get(unit)?.channel.geometry(0)
    }

    fn change_medium(
        &mut self,
        unit: usize,
        queue: Option<Arc<BlockQueue>>,
    ) -> Result<Option<Arc<BlockQueue>>, Option<Arc<BlockQueue>>> {
        match self.drives.get_mut(unit) {
            Some(port) => port.channel.change_medium(0, queue),
            None => Err(queue),
        }
    }

    fn tray(&self, unit: usize) -> Option<(bool, bool)> {
        self.drives.get(unit)?.channel.tray(0)
    }

    fn move_tray(&mut self, unit: usize, open: bool) -> Option<bool> {
        self.drives.get_mut(unit)?.channel.move_tray(0, open)
    }

    fn on_tray(&mut self, hook: TrayHook) {
        for (n, port) in self.drives.iter_mut().enumerate() {
            let hook = hook.clone();
            port.channel.on_tray(Arc::new(move |_, open| hook(n, open)));
        }
    }
}
