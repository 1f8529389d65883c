//! A PCI bus: functions by device and function number, their BARs in the address and port spaces.
//!
//! PCI Local Bus Specification 3.0, sections 3.2.2 and 6.2.5. Buses behind bridges of the root bus are found by the
//! bridges' bus number registers; what comes through to them is their [`Forwarding`].

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, RwLock};

use vm_core::{
    AddressSpace, Backing, Device, GuestWarnings, IrqLine, Mmio, PortIo, PortSpace, Region, RegionId, Shared, lock,
    shared,
};

use guest_memory::RamBlock;

use crate::bridge::Forwarding;
use crate::config::{BarKind, BarSpec, ConfigSpace, reg};
use crate::intx::{self, IntxRouter};

/// The highest priority a BAR has in the address space. RAM and ROM (0 and up) hide BARs that the guest puts over
/// them, as the host bridge decodes them first; BARs over each other are ordered by function and number.
pub const BAR_PRIORITY: i32 = -1;

/// Work that a function wants done with no lock held.
pub type Deferred = Box<dyn FnOnce() + Send>;

/// Device and function number in one byte.
pub const fn devfn(device: u8, function: u8) -> u8 {
    device << 3 | function & 7
}

/// A PCI function.
pub trait PciFunction: Device {
    /// The configuration space.
    fn config(&self) -> &ConfigSpace;
    /// The configuration space, for the bus to write.
    fn config_mut(&mut self) -> &mut ConfigSpace;
    /// The guest wrote `len` bytes of configuration space from `offset`; the new values are in place. Lines may be
    /// driven here; address and port spaces are changed in [`PciFunction::placement`].
    fn config_written(&mut self, offset: u8, len: usize);
    /// What is to be done, without this function's lock, to bring the outside (other than BARs) in line with the
    /// registers. Asked after every configuration write, reset and restore.
    fn placement(&mut self) -> Option<Deferred>;
}

/// What is behind a base address register.
#[derive(Clone)]
pub enum BarBacking {
    /// Ports.
    Io(Arc<Mutex<dyn PortIo>>),
    /// Registers in memory space.
    Mmio(Arc<Mutex<dyn Mmio>>),
    /// Host memory from the start of a block, as long as the BAR.
    Ram {
        /// The memory.
        block: Arc<RamBlock>,
        /// Guest writes are dropped (an expansion ROM).
        readonly: bool,
    },
}

/// Why a function was refused.
#[derive(Debug, thiserror::Error)]
pub enum PciError {
    /// The place is taken.
    #[error("{new}: PCI slot {device:02x}.{function} is taken by {old}; give another addr=")]
    Taken {
        /// The refused function.
        new: String,
        /// The one that is there.
        old: String,
        /// Device number.
        device: u8,
        /// Function number.
        function: u8,
    },
    /// A link leads to one device.
    #[error("{new}: PCI slot {device:02x}.{function} is not there: behind a root port is device 0 only")]
    OneDevice {
        /// The refused function.
        new: String,
        /// Device number.
        device: u8,
        /// Function number.
        function: u8,
    },
    /// All 32 devices are there.
    #[error("{0}: no free PCI slot is left on the bus")]
    Full(String),
    /// The BARs given do not match those of the configuration space.
    #[error("{name}: BAR {index} and what is behind it do not match")]
    Bars {
        /// The function.
        name: String,
        /// The BAR.
        index: u8,
    },
}

/// Lets the port space hold what it knows only as a trait object.
struct Ports(Arc<Mutex<dyn PortIo>>);

impl PortIo for Ports {
    fn port_read(&mut self, offset: u16, data: &mut [u8]) {
        lock(&self.0).port_read(offset, data);
    }
    fn port_write(&mut self, offset: u16, data: &[u8]) {
        lock(&self.0).port_write(offset, data);
    }
}

enum Place {
    Ports { device: Shared<Ports>, at: Option<u16> },
    Memory { backing: Backing, id: Option<RegionId>, at: Option<u64> },
}

struct MappedBar {
    spec: BarSpec,
    name: String,
    priority: i32,
    wanted: Option<u64>,
    place: Place,
}

#[derive(Clone)]
pub(crate) struct Slot {
    pub(crate) name: Arc<str>,
    pub(crate) function: Arc<Mutex<dyn PciFunction>>,
    bars: Arc<Mutex<Vec<MappedBar>>>,
}

/// See the module's documentation.
pub struct PciBus {
    space: Arc<AddressSpace>,
    ports: Arc<PortSpace>,
    router: Arc<dyn IntxRouter>,
    slots: RwLock<BTreeMap<u8, Slot>>,
    /// Buses behind bridges, by the bridges' devfn.
    below: RwLock<BTreeMap<u8, Arc<PciBus>>>,
    /// The devfn of the bridge that this bus is behind.
    behind: Option<u8>,
    forwarding: Mutex<Forwarding>,
    /// Held over a whole configuration write and what follows from it. Devices never take it.
    placing: Mutex<()>,
}

impl PciBus {
    /// An empty bus 0.
    pub fn new(space: Arc<AddressSpace>, ports: Arc<PortSpace>, router: Arc<dyn IntxRouter>) -> Arc<Self> {
        Arc::new(Self::with(space, ports, router, None, Forwarding::EVERYTHING))
    }

    fn with(
        space: Arc<AddressSpace>,
        ports: Arc<PortSpace>,
        router: Arc<dyn IntxRouter>,
        behind: Option<u8>,
        forwarding: Forwarding,
    ) -> Self {
        let (slots, below, forwarding) = (RwLock::default(), RwLock::default(), Mutex::new(forwarding));
        Self { space, ports, router, slots, below, behind, forwarding, placing: Mutex::new(()) }
    }

    /// An empty bus behind the bridge at `devfn` (a port with a link, so device 0 only), whose pins lead to `router`.
    /// Nothing comes through before the bridge says so ([`PciBus::forward`]).
    pub fn add_below(&self, devfn: u8, router: Arc<dyn IntxRouter>) -> Arc<Self> {
        let (space, ports) = (self.space.clone(), self.ports.clone());
        let bus = Arc::new(Self::with(space, ports, router, Some(devfn), Forwarding::NOTHING));
        self.below.write().unwrap_or_else(|e| e.into_inner()).insert(devfn, bus.clone());
        bus
    }

    /// The bus behind the bridge at `devfn`.
    pub fn below(&self, devfn: u8) -> Option<Arc<Self>> {
        self.below.read().unwrap_or_else(|e| e.into_inner()).get(&devfn).cloned()
    }

    /// The bus with this number, as seen from the root bus.
    pub(crate) fn numbered(self: &Arc<Self>, number: u8) -> Option<Arc<Self>> {
        if number == 0 {
            return Some(self.clone());
        }
        let below = self.below.read().unwrap_or_else(|e| e.into_inner()).clone();
        let has = |devfn: u8| {
            self.slot(devfn).is_some_and(|slot| lock(&slot.function).config().u8(reg::SECONDARY_BUS) == number)
        };
        below.into_iter().find(|(devfn, _)| has(*devfn)).map(|(_, bus)| bus)
    }

    /// The bridge that this bus is behind forwards something else now. When the link goes down, its functions are reset.
    pub fn forward(&self, new: Forwarding) {
        let _placing = lock(&self.placing);
        let old = std::mem::replace(&mut *lock(&self.forwarding), new);
        if old.link && !new.link {
            self.slots().values().for_each(|slot| lock(&slot.function).reset());
        }
        if old != new {
            self.slots().values().for_each(|slot| self.sync_slot(slot));
        }
    }

    /// Resets the functions, as a bridge does by its control register.
    pub fn reset_functions(&self) {
        let _placing = lock(&self.placing);
        for slot in self.slots().values() {
            lock(&slot.function).reset();
            self.sync_slot(slot);
        }
    }

    /// The interrupt line of pin `pin` (0 is INTA) of a function at `devfn`.
    pub fn intx_line(&self, devfn: u8, pin: u8) -> IrqLine {
        intx::line(&self.router, devfn, pin)
    }

    pub(crate) fn slots(&self) -> BTreeMap<u8, Slot> {
        self.slots.read().unwrap_or_else(|e| e.into_inner()).clone()
    }

    fn slot(&self, devfn: u8) -> Option<Slot> {
        self.slots.read().unwrap_or_else(|e| e.into_inner()).get(&devfn).cloned()
    }

    /// The first device number from `from` with no function.
    ///
    /// # Errors
    /// [`PciError::Full`].
    pub fn free_device(&self, name: &str, from: u8) -> Result<u8, PciError> {
        let slots = self.slots();
        (from..32).find(|d| slots.keys().all(|k| k >> 3 != *d)).ok_or_else(|| PciError::Full(name.into()))
    }

    /// Adds a function with what is behind each BAR of its configuration space.
    ///
    /// # Errors
    /// [`PciError`] when the place is taken or `bars` does not match.
    pub fn add<T: PciFunction + 'static>(
        &self,
        devfn: u8,
        function: &Shared<T>,
        bars: Vec<(u8, BarBacking)>,
    ) -> Result<(), PciError> {
        let (name, specs) = {
            let f = lock(function);
            (f.name().to_owned(), f.config().bars().to_vec())
        };
        if self.behind.is_some() && devfn >> 3 != 0 {
            return Err(PciError::OneDevice { new: name, device: devfn >> 3, function: devfn & 7 });
        }
        let mismatch = |index| PciError::Bars { name: name.clone(), index };
        if let Some((i, _)) = bars.iter().find(|(i, _)| specs.iter().all(|s| s.index != *i)) {
            return Err(mismatch(*i));
        }
        let mut mapped = vec![];
        for spec in specs {
            let backing = bars.iter().find(|b| b.0 == spec.index).map(|b| b.1.clone());
            let place =
                place(&spec, backing.ok_or_else(|| mismatch(spec.index))?).ok_or_else(|| mismatch(spec.index))?;
            let rank = self.behind.map_or(0, |bridge| i32::from(bridge) + 1) << 8 | i32::from(devfn);
            let priority = BAR_PRIORITY - (rank * 8 + i32::from(spec.index));
            let bar = if spec.index == BarSpec::ROM { "ROM".into() } else { format!("BAR{}", spec.index) };
            mapped.push(MappedBar { spec, name: format!("{name} {bar}"), priority, wanted: None, place });
        }
        let mut slots = self.slots.write().unwrap_or_else(|e| e.into_inner());
        if let Some(old) = slots.get(&devfn) {
            let (device, function) = (devfn >> 3, devfn & 7);
            return Err(PciError::Taken { new: name, old: old.name.to_string(), device, function });
        }
        let function: Arc<Mutex<dyn PciFunction>> = function.clone();
        slots.insert(devfn, Slot { name: name.into(), function, bars: Arc::new(Mutex::new(mapped)) });
        Ok(())
    }

    /// Takes a function off the bus, its BARs out of the spaces.
    pub fn remove(&self, devfn: u8) {
        let _placing = lock(&self.placing);
        let slot = self.slots.write().unwrap_or_else(|e| e.into_inner()).remove(&devfn);
        for bar in slot.iter().flat_map(|s| lock(&s.bars).drain(..).collect::<Vec<_>>()) {
            match bar.place {
                Place::Ports { at: Some(at), .. } => self.ports.remove(at, &bar.name),
                Place::Memory { id: Some(id), .. } => self.space.remove(id),
                _ => {}
            }
        }
    }

    /// Every function, by devfn.
    pub fn functions(&self) -> Vec<(u8, Arc<Mutex<dyn PciFunction>>)> {
        self.slots().into_iter().map(|(devfn, s)| (devfn, s.function)).collect()
    }

    fn reachable(&self, devfn: u8) -> Option<Slot> {
        self.slot(devfn).filter(|_| lock(&self.forwarding).link)
    }

    /// A configuration read; all ones where no function is.
    pub fn config_read(&self, devfn: u8, offset: u16, data: &mut [u8]) {
        match self.reachable(devfn) {
            Some(slot) => lock(&slot.function).config().read(offset, data),
            None => data.fill(0xFF),
        }
        tracing::trace!(target: "pci_cfg_read", "dev={:02x}.{} offset={offset:#04x} {data:02x?}", devfn >> 3, devfn & 7);
    }

    /// A configuration write and all that follows from it.
    pub fn config_write(&self, devfn: u8, offset: u16, data: &[u8]) {
        tracing::trace!(target: "pci_cfg_write", "dev={:02x}.{} offset={offset:#04x} {data:02x?}", devfn >> 3, devfn & 7);
        let Some(slot) = self.reachable(devfn) else { return };
        let _placing = lock(&self.placing);
        {
            let mut function = lock(&slot.function);
            function.config_mut().write(offset, data);
            // Registers of the extended space have no effect of their own.
            if let Ok(offset) = u8::try_from(offset) {
                function.config_written(offset, data.len());
            }
        }
        self.sync_slot(&slot);
    }

    /// Brings the spaces in line with the registers of the function at `devfn`, which has changed by itself.
    pub fn update(&self, devfn: u8) {
        if let Some(slot) = self.slot(devfn) {
            let _placing = lock(&self.placing);
            self.sync_slot(&slot);
        }
    }

    /// Brings the spaces in line with all functions' registers. The machine calls this after it has reset or
    /// restored the functions (with no device locked).
    pub fn sync(&self) {
        {
            let _placing = lock(&self.placing);
            self.slots().values().for_each(|slot| self.sync_slot(slot));
        }
        let below = self.below.read().unwrap_or_else(|e| e.into_inner()).clone();
        below.values().for_each(|bus| bus.sync());
    }

    fn sync_slot(&self, slot: &Slot) {
        let mut bars = lock(&slot.bars);
        let forwarding = *lock(&self.forwarding);
        let deferred = {
            let mut function = lock(&slot.function);
            for bar in bars.iter_mut() {
                let address = function.config().bar_address(&bar.spec);
                bar.wanted = address.filter(|a| forwarding.passes(bar.spec.kind, *a, bar.spec.size));
            }
            function.placement()
        };
        bars.iter_mut().for_each(|bar| self.move_bar(bar));
        if let Some(deferred) = deferred {
            deferred();
        }
    }

    fn move_bar(&self, bar: &mut MappedBar) {
        static REFUSED: GuestWarnings = GuestWarnings::new(8);
        let refused = match &mut bar.place {
            Place::Ports { device, at } => {
                let wanted = bar.wanted.and_then(|a| u16::try_from(a).ok());
                if *at == wanted {
                    return;
                }
                if let Some(old) = at.take() {
                    self.ports.remove(old, &bar.name);
                }
                let len = bar.spec.size.min(0x100) as u16;
                let result = wanted.map_or(Ok(()), |new| self.ports.add(new, len, &bar.name, false, device));
                *at = wanted.filter(|_| result.is_ok());
                result.err()
            }
            Place::Memory { backing, id, at } => {
                if *at == bar.wanted {
                    return;
                }
                let result = match (*id, bar.wanted) {
                    (Some(id), Some(start)) => self.space.place(id, start, true),
                    (Some(id), None) => self.space.change(&[id], |_, r| r.enabled = false),
                    (None, None) => Ok(()),
                    (None, Some(start)) => {
                        let (name, len, priority) = (bar.name.clone(), bar.spec.size, bar.priority);
                        let backing = backing.clone();
                        let region = Region { name, start, len, priority, enabled: true, backing };
                        self.space.add(region).map(|new| *id = Some(new))
                    }
                };
                *at = bar.wanted.filter(|_| result.is_ok());
                if let (Err(_), Some(id)) = (&result, *id) {
                    let _ = self.space.change(&[id], |_, r| r.enabled = false); // disabling cannot clash
                }
                result.err()
            }
        };
        if let Some(error) = refused {
            REFUSED.warn(|| format!("{} stays unmapped: {error}", bar.name));
        }
    }
}

fn place(spec: &BarSpec, backing: BarBacking) -> Option<Place> {
    let io = spec.kind == BarKind::Io;
    match backing {
        BarBacking::Io(device) if io => Some(Place::Ports { device: shared(Ports(device)), at: None }),
        BarBacking::Mmio(device) if !io => Some(Place::Memory { backing: Backing::Mmio(device), id: None, at: None }),
        BarBacking::Ram { block, readonly } if !io && block.len() >= spec.size => {
            Some(Place::Memory { backing: Backing::Ram { block, offset: 0, readonly }, id: None, at: None })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Identity, mechanism1};
    use vm_core::StateError;

    struct Dev {
        config: ConfigSpace,
        written: Vec<u8>,
    }
    impl Device for Dev {
        fn name(&self) -> &str {
            "dev"
        }
        fn reset(&mut self) {
            self.config.reset();
        }
        fn save(&self) -> Result<Vec<u8>, StateError> {
            vm_core::save_state("dev", &self.config.state())
        }
        fn restore(&mut self, bytes: &[u8]) -> Result<(), StateError> {
            self.config.restore("dev", &vm_core::load_state("dev", bytes)?)
        }
    }
    impl PciFunction for Dev {
        fn config(&self) -> &ConfigSpace {
            &self.config
        }
        fn config_mut(&mut self) -> &mut ConfigSpace {
            &mut self.config
        }
        fn config_written(&mut self, offset: u8, _len: usize) {
            self.written.push(offset);
        }
        fn placement(&mut self) -> Option<Deferred> {
            None
        }
    }
    struct Answer(u8);
    impl Mmio for Answer {
        fn mmio_read(&mut self, offset: u64, data: &mut [u8]) {
            data.fill(self.0 + offset as u8);
        }
        fn mmio_write(&mut self, _: u64, _: &[u8]) {}
    }
    impl PortIo for Answer {
        fn port_read(&mut self, offset: u16, data: &mut [u8]) {
            data.fill(self.0 + offset as u8);
        }
        fn port_write(&mut self, _: u16, data: &[u8]) {
            self.0 = data[0];
        }
    }
    struct NoRouter;
    impl IntxRouter for NoRouter {
        fn set_intx(&self, _: u8, _: u8, _: bool) {}
    }

    struct Board {
        space: Arc<AddressSpace>,
        ports: Arc<PortSpace>,
        bus: Arc<PciBus>,
        dev: Shared<Dev>,
    }

    fn board() -> Board {
        let (space, ports) = (AddressSpace::new(), PortSpace::new());
        let bus = PciBus::new(space.clone(), ports.clone(), Arc::new(NoRouter));
        let id = Identity { vendor: 0x1AF4, device: 1, revision: 0, class: 0x02_0000, subsystem: (0, 0) };
        let config = ConfigSpace::endpoint(id)
            .with_bar(BarSpec { index: 0, kind: BarKind::Mem32 { prefetch: false }, size: 0x1000 })
            .with_bar(BarSpec { index: 1, kind: BarKind::Io, size: 16 });
        let dev = shared(Dev { config, written: vec![] });
        let bars = vec![(0, BarBacking::Mmio(shared(Answer(0x10)))), (1, BarBacking::Io(shared(Answer(0x40))))];
        bus.add(devfn(3, 0), &dev, bars).unwrap();
        Board { space, ports, bus, dev }
    }

    fn read8(b: &Board, gpa: u64) -> u8 {
        let mut x = [0];
        b.space.read(gpa, &mut x);
        x[0]
    }

    fn in8(b: &Board, port: u16) -> u8 {
        let mut x = [0];
        b.ports.read(port, &mut x);
        x[0]
    }

    #[test]
    fn bars_follow_the_registers_and_the_command_bits() {
        let b = board();
        let at = devfn(3, 0);
        b.bus.config_write(at, 0x10, &0xE000_0000u32.to_le_bytes());
        b.bus.config_write(at, 0x14, &0xC000u32.to_le_bytes());
        assert_eq!((read8(&b, 0xE000_0004), in8(&b, 0xC004)), (0xFF, 0xFF));
        b.bus.config_write(at, 4, &[3]);
        assert_eq!((read8(&b, 0xE000_0004), in8(&b, 0xC004)), (0x14, 0x44));
        b.bus.config_write(at, 0x10, &0xE100_0000u32.to_le_bytes());
        b.bus.config_write(at, 0x14, &0xD000u32.to_le_bytes());
        assert_eq!((read8(&b, 0xE000_0004), in8(&b, 0xC004)), (0xFF, 0xFF));
        assert_eq!((read8(&b, 0xE100_0004), in8(&b, 0xD004)), (0x14, 0x44));
        assert!(b.bus.info().contains("BAR1: I/O at 0x0000d000 [0x0000d00f]"), "{}", b.bus.info());
        lock(&b.dev).reset();
        b.bus.sync();
        assert_eq!((read8(&b, 0xE100_0004), in8(&b, 0xD004)), (0xFF, 0xFF));
    }

    #[test]
    fn a_bar_over_a_fixed_port_stays_unmapped_until_it_moves() {
        let b = board();
        let fixed = shared(Answer(7));
        b.ports.add(0x64, 1, "kbd", true, &fixed).unwrap();
        b.bus.config_write(devfn(3, 0), 0x14, &0x60u32.to_le_bytes());
        b.bus.config_write(devfn(3, 0), 4, &[1]);
        assert_eq!((in8(&b, 0x64), in8(&b, 0x60)), (7, 0xFF));
        b.bus.config_write(devfn(3, 0), 0x14, &0x80u32.to_le_bytes());
        assert_eq!(in8(&b, 0x80), 0x40);
        b.bus.remove(devfn(3, 0));
        assert_eq!(in8(&b, 0x80), 0xFF);
    }

    #[test]
    fn mechanism_1_and_the_port_cf9() {
        let b = board();
        let reset = shared(Answer(0x99));
        let (address, data) = mechanism1(&b.bus, Some(reset));
        b.ports.add(0xCF8, 4, "pci-address", false, &address).unwrap();
        b.ports.add(0xCFC, 4, "pci-data", false, &data).unwrap();
        let mut x = [0; 4];
        b.ports.write(0xCF8, &0x8000_1800u32.to_le_bytes());
        b.ports.read(0xCFC, &mut x);
        assert_eq!(u32::from_le_bytes(x), 0x0001_1AF4);
        b.ports.read(0xCFE, &mut x[..2]);
        assert_eq!(&x[..2], [1, 0]);
        b.ports.write(0xCF8, &[0]);
        b.ports.read(0xCF8, &mut x);
        assert_eq!(u32::from_le_bytes(x), 0x8000_1800, "a byte write does not reach the address register");
        assert_eq!(in8(&b, 0xCF9), 0x99);
        b.ports.write(0xCF9, &[6]);
        assert_eq!(in8(&b, 0xCF9), 6, "port 0xCF9 is another device");
        b.ports.write(0xCF8, &0x8000_183Cu32.to_le_bytes());
        b.ports.write(0xCFC, &[5]);
        assert_eq!((in8(&b, 0xCFC), in8(&b, 0xCFD)), (5, 0));
        assert_eq!(lock(&b.dev).written, [0x3C]);
        for (value, what) in [(0x0000_1800u32, "enable bit off"), (0x8001_1800, "bus 1"), (0x8000_2000, "no device")] {
            b.ports.write(0xCF8, &value.to_le_bytes());
            b.ports.read(0xCFC, &mut x);
            assert_eq!(x, [0xFF; 4], "{what}");
        }
    }

    /// The function at `devfn` is a bridge; a device with the registers of `board()`'s behind it.
    fn board_with_bridge() -> (Board, Arc<PciBus>, Shared<Dev>) {
        let b = board();
        let id = Identity { vendor: 0x1B36, device: 0xC, revision: 0, class: 0x06_0400, subsystem: (0, 0) };
        let port = shared(Dev { config: ConfigSpace::bridge(id), written: vec![] });
        b.bus.add(devfn(4, 0), &port, vec![]).unwrap();
        let below = b.bus.add_below(devfn(4, 0), Arc::new(NoRouter));
        let id = Identity { vendor: 0x1AF4, device: 2, revision: 0, class: 0x02_0000, subsystem: (0, 0) };
        let bar = BarSpec { index: 0, kind: BarKind::Mem32 { prefetch: false }, size: 0x1000 };
        let dev = shared(Dev { config: ConfigSpace::endpoint(id).with_bar(bar), written: vec![] });
        assert!(matches!(below.add(devfn(1, 0), &dev, vec![]), Err(PciError::OneDevice { device: 1, .. })));
        below.add(0, &dev, vec![(0, BarBacking::Mmio(shared(Answer(0x70))))]).unwrap();
        b.bus.config_write(devfn(4, 0), 0x18, &[0, 5, 5]);
        b.bus.config_write(devfn(4, 0), 0x20, &[0x00, 0xE0, 0x00, 0xE0]);
        b.bus.config_write(devfn(4, 0), 0x04, &[7]);
        (b, below, port)
    }

    fn forward(b: &Board, below: &PciBus, port: &Shared<Dev>, link: bool) {
        let forwarding = Forwarding::of(&lock(port).config, link);
        below.forward(forwarding);
        b.bus.sync();
    }

    #[test]
    fn a_bus_behind_a_bridge_is_reached_by_its_number_and_its_windows() {
        let (b, below, port) = board_with_bridge();
        let (address, data) = mechanism1(&b.bus, None);
        b.ports.add(0xCF8, 4, "pci-address", false, &address).unwrap();
        b.ports.add(0xCFC, 4, "pci-data", false, &data).unwrap();
        let id = |bus: u32| {
            let mut x = [0; 4];
            b.ports.write(0xCF8, &(1 << 31 | bus << 16).to_le_bytes());
            b.ports.read(0xCFC, &mut x);
            u32::from_le_bytes(x)
        };
        assert_eq!(id(5), u32::MAX, "no link");
        forward(&b, &below, &port, true);
        assert_eq!((id(5), id(4), id(6)), (0x0002_1AF4, u32::MAX, u32::MAX));
        below.config_write(0, 0x10, &0xE000_1000u32.to_le_bytes());
        below.config_write(0, 0x04, &[2]);
        assert_eq!(read8(&b, 0xE000_1004), 0x74);
        below.config_write(0, 0x10, &0xE010_0000u32.to_le_bytes());
        assert_eq!(read8(&b, 0xE010_0004), 0xFF, "outside of the window");
        b.bus.config_write(devfn(4, 0), 0x22, &[0x10, 0xE0]);
        forward(&b, &below, &port, true);
        assert_eq!(read8(&b, 0xE010_0004), 0x74, "the window has grown");
        let text = b.bus.info();
        for line in ["secondary bus 5.", "memory range [0xe0000000, 0xe01fffff]", "Bus  5, device   0, function 0:"] {
            assert!(text.contains(line), "{line}: {text}");
        }
        forward(&b, &below, &port, false);
        assert_eq!((id(5), read8(&b, 0xE010_0004)), (u32::MAX, 0xFF));
        forward(&b, &below, &port, true);
        assert_eq!(read8(&b, 0xE010_0004), 0xFF, "the device was reset with the link");
    }

    #[test]
    fn places_are_checked() {
        let b = board();
        assert!(matches!(b.bus.add(devfn(3, 0), &b.dev, vec![]), Err(PciError::Bars { index: 0, .. })));
        assert_eq!(b.bus.free_device("x", 3).unwrap(), 4);
    }
}
