//! One IDE channel: task file registers, data port, interrupts, resets, and the hand-over to the block queues.
//!
//! ATA/ATAPI-6 sections 7 (registers), 9.1-9.5 (reset, PIO protocols), 9.7 (DMA), annex on absent devices.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};

use block::{BlockOp, BlockQueue};
use guest_memory::GuestMemory;
use serde::{Deserialize, Serialize};
use vm_core::{Device, IrqLine, PortIo, Shared, StateError, load_state, lock, save_state};

use super::bus_master::{BusMaster, INTERRUPT, Regions};
use super::packet::PacketState;
use super::scatter::Scatter;
use super::{CdromConfig, DiskConfig, DriveConfig, Geometry, Translation};

pub(crate) const BSY: u8 = 0x80;
pub(crate) const DRDY: u8 = 0x40;
pub(crate) const DSC: u8 = 0x10;
pub(crate) const DRQ: u8 = 0x08;
pub(crate) const ERR: u8 = 0x01;

pub(crate) const ABRT: u8 = 0x04;
pub(crate) const IDNF: u8 = 0x10;
pub(crate) const UNC: u8 = 0x40;

const NIEN: u8 = 0x02;
const SRST: u8 = 0x04;
const HOB: u8 = 0x80;

/// The registers of one drive. Pairs are the present value and the one written before it (48-bit commands).
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Registers {
    pub(crate) features: [u8; 2],
    pub(crate) count: [u8; 2],
    pub(crate) low: [u8; 2],
    pub(crate) mid: [u8; 2],
    pub(crate) high: [u8; 2],
    pub(crate) device: u8,
    pub(crate) error: u8,
    pub(crate) status: u8,
}

/// What a drive waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Phase {
    /// For a command.
    Idle,
    /// For the host to read `buffer[pos..limit]`.
    DataIn,
    /// For the host to write `buffer[pos..limit]`.
    DataOut,
    /// For the bus master to be started.
    DmaWait,
    /// For the block queue.
    Busy,
    /// For a reset: the bus master stopped before the transfer was complete.
    Stalled,
}

/// Whose data is in the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Flow {
    /// Nobody's.
    None,
    /// One block that the drive made (IDENTIFY, SMART, READ BUFFER).
    Fixed,
    /// Sectors of a disk command.
    Sectors,
    /// Ranges of DATA SET MANAGEMENT.
    Trim,
    /// WRITE BUFFER.
    Scratch,
    /// The 12 bytes of a packet.
    Packet,
    /// What a packet command gives.
    Reply,
}

/// A transfer of sectors or packet data under way.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Transfer {
    pub(crate) flow: Flow,
    pub(super) write: bool,
    pub(super) dma: bool,
    /// The next sector (512 or 2048 bytes).
    pub(super) lba: u64,
    /// Sectors that were not yet read from or written to the image.
    pub(super) left: u32,
    /// Sectors of the request in the queue.
    pub(super) chunk: u32,
    /// Sectors in one DRQ block.
    pub(super) block: u32,
    /// Flush at the end.
    pub(super) flush: bool,
    /// READ CD: whole 2352-byte frames.
    pub(super) raw: bool,
}

impl Transfer {
    pub(super) fn none() -> Self {
        Self {
            flow: Flow::None,
            write: false,
            dma: false,
            lba: 0,
            left: 0,
            chunk: 0,
            block: 1,
            flush: false,
            raw: false,
        }
    }
}

/// All guest-visible state of one drive.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct DriveState {
    pub(crate) regs: Registers,
    pub(super) irq: bool,
    pub(crate) phase: Phase,
    pub(crate) transfer: Transfer,
    pub(crate) buffer: Vec<u8>,
    pub(crate) pos: u32,
    pub(crate) limit: u32,
    pub(super) heads: u8,
    pub(super) sectors: u8,
    pub(super) multiple: u8,
    pub(crate) write_cache: bool,
    pub(super) look_ahead: bool,
    /// The mode that SET FEATURES chose: 20h + n multiword, 40h + n ultra; 0 before.
    pub(super) dma_mode: u8,
    pub(super) smart: bool,
    pub(super) standby: bool,
    pub(super) packet: PacketState,
}

/// A drive that is there.
pub(crate) enum Drive {
    Disk(DiskConfig, Geometry),
    Cdrom(CdromConfig),
}

impl Drive {
    fn new(config: DriveConfig) -> Self {
        match config {
            DriveConfig::Disk(c) => {
                let sectors = c.queue.backend().size() / 512;
                let geometry = c.geometry.unwrap_or_else(|| Geometry::of_size(sectors));
                Self::Disk(c, geometry)
            }
            DriveConfig::Cdrom(c) => Self::Cdrom(c),
        }
    }

    pub(crate) fn queue(&self) -> Option<&Arc<BlockQueue>> {
        match self {
            Self::Disk(c, _) => Some(&c.queue),
            Self::Cdrom(c) => c.queue.as_ref(),
        }
    }

    fn at_reset(&self) -> DriveState {
        let (heads, sectors, write_cache) = match self {
            Self::Disk(c, g) => (g.heads, g.sectors, c.write_cache),
            Self::Cdrom(_) => (0, 0, false),
        };
        let mut state = DriveState {
            regs: Registers::default(),
            irq: false,
            phase: Phase::Idle,
            transfer: Transfer::none(),
            buffer: vec![],
            pos: 0,
            limit: 0,
            heads,
            sectors,
            multiple: 16,
            write_cache,
            look_ahead: true,
            dma_mode: 0,
            smart: true,
            standby: false,
            packet: PacketState::default(),
        };
        self.set_signature(&mut state);
        state.regs.status = self.ready();
        state
    }

    /// What the registers say after a reset or EXECUTE DEVICE DIAGNOSTIC (9.12): who is there, and that it is well.
    pub(super) fn set_signature(&self, state: &mut DriveState) {
        let (mid, high) = match self {
            Self::Disk(..) => (0, 0),
            Self::Cdrom(_) => (0x14, 0xEB),
        };
        let r = &mut state.regs;
        (r.count[0], r.low[0], r.mid[0], r.high[0], r.error) = (1, 1, mid, high, 1);
        r.device &= 0x10;
    }

    /// The status of a drive at rest: a packet device shows DRDY from its first command on.
    pub(super) fn ready(&self) -> u8 {
        match self {
            Self::Disk(..) => DRDY | DSC,
            Self::Cdrom(_) => 0,
        }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct State {
    selected: u8,
    control: u8,
    drives: [Option<DriveState>; 2],
    bus_master: BusMaster,
}

/// See the module's documentation. The machine registers it at 1F0h or 170h, 8 ports, not byte wide, and
/// [`ControlPort`] at 3F6h or 376h; [`super::Ide::install`] does both.
pub struct IdeChannel {
    name: String,
    state: State,
    pub(crate) drives: [Option<Drive>; 2],
    irq: IrqLine,
    memory: GuestMemory,
    may_master: Arc<AtomicBool>,
    route: Route,
    /// Where data goes in place of the bus master: this is a drive on a SATA port.
    pub(crate) scatter: Option<Scatter>,
    /// Changes with every reset, so that a completion of before is recognised.
    generation: u64,
    tray_hook: Option<TrayHook>,
}

/// Brings a finished request of a block queue back to [`IdeChannel::completed`]: unit, generation, result.
pub(crate) type Route = Arc<dyn Fn(usize, u64, io::Result<Vec<u8>>) + Send + Sync>;

/// What a monitor does with the drives of a controller; units are the controller's own numbers.
pub trait DriveBus: Send {
    /// A disk's geometry and the translation that the firmware should use for it.
    fn geometry(&self, unit: usize) -> Option<(Geometry, Translation)>;

    /// Puts a disc into a CD-ROM drive, or takes it out; the guest is told by a unit attention. Returns the queue
    /// of the disc before, **to be dropped after the controller is unlocked** (dropping it waits for its worker, which
    /// may be waiting for the controller).
    ///
    /// # Errors
    /// The new disc's queue, when the unit is no CD-ROM drive.
    fn change_medium(
        &mut self,
        unit: usize,
        queue: Option<Arc<BlockQueue>>,
    ) -> Result<Option<Arc<BlockQueue>>, Option<Arc<BlockQueue>>>;

    /// The guest has locked the tray of a CD-ROM drive, or opened it.
    fn tray(&self, unit: usize) -> Option<(bool, bool)>;

    /// Moves the tray of a CD-ROM drive as its button does, locked or not. Whether it moved; `None` for other units.
    fn move_tray(&mut self, unit: usize, open: bool) -> Option<bool>;

    /// Calls `hook` when the guest moves a tray. The controller is locked then: the hook must only queue.
    fn on_tray(&mut self, hook: TrayHook);
}

/// Hears of the trays that the guest moves: unit, and whether it is out now.
pub type TrayHook = Arc<dyn Fn(usize, bool) + Send + Sync>;

impl IdeChannel {
    /// A channel with up to two drives. `may_master` is the PCI function's bus master enable bit.
    pub fn new(
        name: &str,
        drives: [Option<DriveConfig>; 2],
        irq: IrqLine,
        memory: GuestMemory,
        may_master: Arc<AtomicBool>,
    ) -> Shared<Self> {
        Arc::new_cyclic(|me: &Weak<Mutex<Self>>| {
            let me = me.clone();
            let route: Route = Arc::new(move |unit, generation, result| {
                if let Some(channel) = me.upgrade() {
                    lock(&channel).completed(unit, generation, result);
                }
            });
            Mutex::new(Self::with_route(name, drives, irq, memory, may_master, route, None))
        })
    }

    /// The one drive of a SATA port, whose owner moves the data by `scatter` and hears of finished requests by `route`.
    pub(crate) fn on_sata(
        name: &str,
        drive: Option<DriveConfig>,
        memory: GuestMemory,
        may_master: Arc<AtomicBool>,
        route: Route,
    ) -> Self {
        let irq = IrqLine::unconnected();
        Self::with_route(name, [drive, None], irq, memory, may_master, route, Some(Scatter::default()))
    }

    fn with_route(
        name: &str,
        drives: [Option<DriveConfig>; 2],
        irq: IrqLine,
        memory: GuestMemory,
        may_master: Arc<AtomicBool>,
        route: Route,
        scatter: Option<Scatter>,
    ) -> Self {
        let drives = drives.map(|d| d.map(Drive::new));
        let state = Self::at_reset(&drives);
        Self {
            name: name.into(),
            state,
            drives,
            irq,
            memory,
            may_master,
            route,
            scatter,
            generation: 0,
            tray_hook: None,
        }
    }

    fn at_reset(drives: &[Option<Drive>; 2]) -> State {
        State {
            selected: 0,
            control: 0,
            drives: [0, 1].map(|i| drives[i].as_ref().map(Drive::at_reset)),
            bus_master: BusMaster::default(),
        }
    }

    /// The queues of the drives, to drain before saving.
    pub fn queues(&self) -> Vec<Arc<BlockQueue>> {
        self.drives.iter().flatten().filter_map(|d| d.queue().cloned()).collect()
    }

    pub(super) fn tell_tray(&self, unit: usize, open: bool) {
        if let Some(hook) = &self.tray_hook {
            hook(unit, open);
        }
    }

    pub(super) fn bus_master(&mut self) -> &mut BusMaster {
        &mut self.state.bus_master
    }

    fn unit(&self) -> usize {
        usize::from(self.state.selected & 1)
    }

    /// The state of drive `unit`.
    pub(crate) fn drive(&mut self, unit: usize) -> Option<&mut DriveState> {
        self.state.drives.get_mut(unit)?.as_mut()
    }

    /// State and description of drive `unit`.
    pub(super) fn both(&mut self, unit: usize) -> Option<(&mut DriveState, &Drive)> {
        Some((self.state.drives.get_mut(unit)?.as_mut()?, self.drives.get(unit)?.as_ref()?))
    }

    // --- interrupts

    fn update_irq(&mut self) {
        let selected = self.unit();
        let wanted = self.state.drives[selected].as_ref().is_some_and(|d| d.irq);
        let high = wanted && self.state.control & NIEN == 0;
        if high && !self.irq.is_high() {
            self.state.bus_master.status |= INTERRUPT;
        }
        self.irq.set(high);
    }

    pub(super) fn raise(&mut self, unit: usize) {
        if let Some(d) = self.drive(unit) {
            d.irq = true;
        }
        self.update_irq();
    }

    fn lower(&mut self, unit: usize) {
        if let Some(d) = self.drive(unit) {
            d.irq = false;
        }
        self.update_irq();
    }

    // --- ends of commands

    /// The command is done: status without error, interrupt.
    pub(crate) fn complete(&mut self, unit: usize) {
        self.finish(unit, DRDY | DSC, 0);
    }

    /// The command failed with these bits in the error register.
    pub(crate) fn fail(&mut self, unit: usize, error: u8) {
        self.finish(unit, DRDY | DSC | ERR, error);
    }

    /// The last block of a PIO data-in command was read: it ends without an interrupt.
    pub(super) fn rest(&mut self, unit: usize) {
        if let Some(d) = self.drive(unit) {
            d.phase = Phase::Idle;
            d.transfer = Transfer::none();
            d.buffer.clear();
            (d.pos, d.limit) = (0, 0);
            d.regs.status = DRDY | DSC;
        }
    }

    pub(super) fn finish(&mut self, unit: usize, status: u8, error: u8) {
        if let Some(d) = self.drive(unit) {
            (d.regs.status, d.regs.error) = (status, error);
            d.phase = Phase::Idle;
            d.transfer = Transfer::none();
            d.buffer.clear();
            (d.pos, d.limit) = (0, 0);
        }
        self.raise(unit);
    }

    // --- data

    /// Opens the next DRQ block of at most `bytes` for the host to read, with an interrupt.
    pub(super) fn open_data_in(&mut self, unit: usize, bytes: usize) {
        if let Some(d) = self.drive(unit) {
            d.limit = (d.pos as usize).saturating_add(bytes).min(d.buffer.len()) as u32;
            d.phase = Phase::DataIn;
            d.regs.status = DRDY | DSC | DRQ;
        }
        self.raise(unit);
    }

    /// Gives the host one block that the drive made.
    pub(crate) fn give(&mut self, unit: usize, data: Vec<u8>) {
        if let Some(d) = self.drive(unit) {
            d.transfer = Transfer { flow: Flow::Fixed, ..Transfer::none() };
            (d.pos, d.buffer) = (0, data);
        }
        self.open_data_in(unit, usize::MAX);
    }

    /// Opens a DRQ block of `bytes` for the host to write.
    pub(super) fn open_data_out(&mut self, unit: usize, bytes: usize, interrupt: bool) {
        if let Some(d) = self.drive(unit) {
            d.buffer.clear();
            d.buffer.resize(bytes, 0);
            (d.pos, d.limit) = (0, bytes as u32);
            d.phase = Phase::DataOut;
            d.regs.status = DRDY | DSC | DRQ;
        }
        if interrupt {
            self.raise(unit);
        }
    }

    fn data_read(&mut self, data: &mut [u8]) {
        let unit = self.unit();
        let Some(d) = self.drive(unit).filter(|d| d.phase == Phase::DataIn) else {
            data.fill(0);
            return;
        };
        let (pos, limit) = (d.pos as usize, d.limit as usize);
        let n = data.len().min(limit - pos);
        data[..n].copy_from_slice(&d.buffer[pos..pos + n]);
        data[n..].fill(0);
        d.pos += n as u32;
        if d.pos == d.limit {
            self.block_was_read(unit);
        }
    }

    fn data_write(&mut self, data: &[u8]) {
        let unit = self.unit();
        let Some(d) = self.drive(unit).filter(|d| d.phase == Phase::DataOut) else { return };
        let (pos, limit) = (d.pos as usize, d.limit as usize);
        let n = data.len().min(limit - pos);
        d.buffer[pos..pos + n].copy_from_slice(&data[..n]);
        d.pos += n as u32;
        if d.pos == d.limit {
            self.block_was_written(unit);
        }
    }

    pub(crate) fn block_was_read(&mut self, unit: usize) {
        let Some(d) = self.drive(unit) else { return };
        match d.transfer.flow {
            Flow::Sectors => self.sectors_were_read(unit),
            Flow::Reply => self.reply_was_read(unit),
            _ => self.rest(unit),
        }
    }

    pub(crate) fn block_was_written(&mut self, unit: usize) {
        let Some(d) = self.drive(unit) else { return };
        match d.transfer.flow {
            Flow::Sectors => self.write_chunk(unit),
            Flow::Trim => self.trim(unit),
            Flow::Packet => self.packet_arrived(unit),
            _ => self.complete(unit),
        }
    }

    // --- DMA

    pub(super) fn bus_master_started(&mut self) {
        for unit in [self.unit(), 1 - self.unit()] {
            if self.drive(unit).is_some_and(|d| d.phase == Phase::DmaWait) {
                self.dma_step(unit);
                return;
            }
        }
    }

    /// Moves what is to be moved between memory and the buffer, once the bus master runs.
    pub(super) fn dma_step(&mut self, unit: usize) {
        let running = self.scatter.is_some() || self.state.bus_master.active();
        let allowed = self.may_master.load(Ordering::Acquire);
        let memory = if allowed { self.memory.clone() } else { GuestMemory::new() };
        let master = &mut self.state.bus_master;
        let Some(d) = self.state.drives.get_mut(unit).and_then(Option::as_mut) else { return };
        if !running {
            d.phase = Phase::DmaWait;
            d.regs.status = DRDY | DSC | DRQ;
            return;
        }
        let result = if d.transfer.write {
            d.buffer.clear();
            let bytes = d.transfer.left.min(super::ata::CHUNK) as usize * 512;
            d.buffer.resize(bytes, 0);
            match &mut self.scatter {
                Some(list) => list.memory_to_drive(&memory, &mut d.buffer),
                None => master.memory_to_drive(&memory, &mut d.buffer),
            }
        } else {
            match &mut self.scatter {
                Some(list) => list.drive_to_memory(&memory, &d.buffer),
                None => master.drive_to_memory(&memory, &d.buffer),
            }
        };
        if let Err(stop) = result {
            tracing::debug!(target: "ide_bus_master_stop", ?stop);
            (d.phase, d.regs.status) = (Phase::Stalled, DRDY | DSC | DRQ);
            return;
        }
        match (d.transfer.write, d.transfer.flow) {
            (true, Flow::Trim) => self.trim(unit),
            (true, _) => self.write_chunk(unit),
            (false, Flow::Reply) => self.reply_was_read(unit),
            (false, _) => self.sectors_were_read(unit),
        }
    }

    pub(super) fn dma_done(&mut self) {
        self.state.bus_master.command_done();
    }

    // --- the block queue

    /// Hands a request to the drive's queue; the drive is busy until it is done.
    pub(super) fn submit(&mut self, unit: usize, op: BlockOp) {
        let Some(queue) = self.drives.get(unit).and_then(Option::as_ref).and_then(Drive::queue).cloned() else {
            self.fail(unit, ABRT);
            return;
        };
        if let Some(d) = self.drive(unit) {
            d.phase = Phase::Busy;
            d.regs.status = BSY;
        }
        let (route, generation) = (self.route.clone(), self.generation);
        queue.submit(op, move |result| route(unit, generation, result));
    }

    pub(crate) fn completed(&mut self, unit: usize, generation: u64, result: io::Result<Vec<u8>>) {
        let current = generation == self.generation;
        let Some(d) = self.drive(unit).filter(|d| current && d.phase == Phase::Busy) else { return };
        match d.transfer.flow {
            Flow::Reply => self.disc_was_read(unit, result),
            _ => self.request_done(unit, result),
        }
    }

    // --- registers

    fn register_read(&mut self, offset: u16) -> u8 {
        let (unit, hob) = (self.unit(), usize::from(self.state.control & HOB != 0));
        if self.state.drives.iter().all(Option::is_none) {
            return 0x7F; // an empty cable: pulled up, DD7 pulled down
        }
        let Some(d) = self.drive(unit) else { return 0 };
        let r = &d.regs;
        match offset {
            1 => r.error,
            2 => r.count[hob],
            3 => r.low[hob],
            4 => r.mid[hob],
            5 => r.high[hob],
            6 => r.device | 0xA0,
            _ => {
                let status = r.status;
                if offset == 7 {
                    self.lower(unit);
                }
                status
            }
        }
    }

    fn register_write(&mut self, offset: u16, value: u8) {
        self.state.control &= !HOB;
        match offset {
            6 => {
                self.state.selected = value >> 4 & 1;
                self.state.drives.iter_mut().flatten().for_each(|d| d.regs.device = value);
                self.update_irq();
            }
            7 => self.command_written(value),
            _ => {
                // Both drives listen (7.2.1).
                for d in self.state.drives.iter_mut().flatten() {
                    let pair = match offset {
                        1 => &mut d.regs.features,
                        2 => &mut d.regs.count,
                        3 => &mut d.regs.low,
                        4 => &mut d.regs.mid,
                        _ => &mut d.regs.high,
                    };
                    *pair = [value, pair[0]];
                }
            }
        }
    }

    pub(crate) fn command_written(&mut self, command: u8) {
        const DEVICE_RESET: u8 = 0x08;
        const DIAGNOSTIC: u8 = 0x90;
        let unit = self.unit();
        let Some((d, drive)) = self.both(unit) else { return };
        let packet_device = matches!(drive, Drive::Cdrom(_));
        let busy = d.regs.status & (BSY | DRQ) != 0;
        if busy && !(command == DEVICE_RESET && packet_device) {
            tracing::debug!(target: "ide_ignored_cmd", command);
            return;
        }
        tracing::trace!(target: "ide_exec_cmd", unit, command, regs = ?d.regs);
        d.regs.error = 0;
        self.lower(unit);
        match (command, packet_device) {
            (DIAGNOSTIC, _) => {
                for unit in 0..2 {
                    if let Some((d, drive)) = self.both(unit) {
                        drive.set_signature(d);
                        d.regs.status = drive.ready();
                    }
                }
                self.state.selected = 0;
                self.raise(0);
            }
            (DEVICE_RESET, true) => self.reset_drive(unit),
            (_, true) => self.packet_device_command(unit, command),
            (_, false) => self.disk_command(unit, command),
        }
    }

    /// DEVICE RESET and each drive's part of a soft reset: transfers end, settings stay.
    pub(crate) fn reset_drive(&mut self, unit: usize) {
        self.generation += 1;
        if let Some((d, drive)) = self.both(unit) {
            d.phase = Phase::Idle;
            d.transfer = Transfer::none();
            d.buffer.clear();
            (d.pos, d.limit, d.irq) = (0, 0, false);
            drive.set_signature(d);
            d.regs.status = drive.ready();
        }
        self.update_irq();
    }

    pub(crate) fn control_write(&mut self, value: u8) {
        let before = self.state.control;
        self.state.control = value;
        if value & SRST != 0 && before & SRST == 0 {
            for unit in 0..2 {
                self.reset_drive(unit);
                if let Some(d) = self.drive(unit) {
                    d.regs.status = BSY;
                }
            }
            self.state.selected = 0;
        } else if value & SRST == 0 && before & SRST != 0 {
            for unit in 0..2 {
                if let Some((d, drive)) = self.both(unit) {
                    d.regs.device = 0;
                    drive.set_signature(d);
                    d.regs.status = drive.ready();
                }
            }
        }
        self.update_irq();
    }
}

impl DriveBus for IdeChannel {
    fn geometry(&self, unit: usize) -> Option<(Geometry, Translation)> {
        match self.drives.get(unit) {
            Some(Some(Drive::Disk(_, g))) => Some((*g, g.translation())),
            _ => None,
        }
    }

    fn change_medium(
        &mut self,
        unit: usize,
        queue: Option<Arc<BlockQueue>>,
    ) -> Result<Option<Arc<BlockQueue>>, Option<Arc<BlockQueue>>> {
        match (self.drives.get_mut(unit), self.state.drives.get_mut(unit)) {
            (Some(Some(Drive::Cdrom(c))), Some(Some(state))) => {
                state.packet.medium_changed(queue.is_some());
                Ok(std::mem::replace(&mut c.queue, queue))
            }
            _ => Err(queue),
        }
    }

    fn tray(&self, unit: usize) -> Option<(bool, bool)> {
        self.state.drives.get(unit)?.as_ref().map(|d| (d.packet.locked, d.packet.open))
    }

    fn move_tray(&mut self, unit: usize, open: bool) -> Option<bool> {
        let (Some(Some(Drive::Cdrom(c))), Some(Some(d))) = (self.drives.get(unit), self.state.drives.get_mut(unit))
        else {
            return None;
        };
        Some(d.packet.move_tray(open, c.queue.is_some()))
    }

    fn on_tray(&mut self, hook: TrayHook) {
        self.tray_hook = Some(hook);
    }
}

impl PortIo for IdeChannel {
    fn port_read(&mut self, offset: u16, data: &mut [u8]) {
        match offset {
            0 => self.data_read(data),
            _ => data.iter_mut().enumerate().for_each(|(i, b)| *b = self.register_read(offset + i as u16)),
        }
    }

    fn port_write(&mut self, offset: u16, data: &[u8]) {
        match offset {
            0 => self.data_write(data),
            _ => data.iter().enumerate().for_each(|(i, b)| self.register_write(offset + i as u16, *b)),
        }
    }
}

/// The control block's one port: alternate status and device control.
pub struct ControlPort(pub Shared<IdeChannel>);

impl PortIo for ControlPort {
    fn port_read(&mut self, _offset: u16, data: &mut [u8]) {
        data.fill(lock(&self.0).register_read(8));
    }

    fn port_write(&mut self, _offset: u16, data: &[u8]) {
        if let Some(value) = data.first() {
            lock(&self.0).control_write(*value);
        }
    }
}

impl Device for IdeChannel {
    fn name(&self) -> &str {
        &self.name
    }

    fn reset(&mut self) {
        self.generation += 1;
        let trays = [0, 1].map(|i| self.state.drives[i].as_ref().map(|d| d.packet.clone()));
        self.state = Self::at_reset(&self.drives);
        for (d, old) in self.state.drives.iter_mut().zip(trays) {
            if let (Some(d), Some(old)) = (d, old) {
                d.packet.open = old.open; // a reset moves no tray
            }
        }
        self.irq.set(false);
    }

    fn save(&self) -> Result<Vec<u8>, StateError> {
        if self.state.drives.iter().flatten().any(|d| d.phase == Phase::Busy) {
            let reason = "a disk request is under way; drain the block queues first".into();
            return Err(StateError::Mismatch { device: self.name.clone(), reason });
        }
        save_state(&self.name, &self.state)
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), StateError> {
        let state: State = load_state(&self.name, bytes)?;
        let bad = |reason: &str| Err(StateError::Mismatch { device: self.name.clone(), reason: reason.into() });
        for (saved, drive) in state.drives.iter().zip(&self.drives) {
            if saved.is_some() != drive.is_some() {
                return bad("the drives on the channel are not the same");
            }
            if saved
                .as_ref()
                .is_some_and(|d| d.pos > d.limit || d.limit as usize > d.buffer.len() || d.phase == Phase::Busy)
            {
                return bad("the transfer under way is impossible");
            }
        }
        self.generation += 1;
        self.state = state;
        let wanted = self.state.drives[self.unit()].as_ref().is_some_and(|d| d.irq);
        self.irq.import_level(wanted && self.state.control & NIEN == 0);
        Ok(())
    }
}
