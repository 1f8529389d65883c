//! A port: registers, resets, the command list, and the way of a command that is not queued.
//!
//! AHCI 1.3.1, sections 3.3 (registers), 5.3 (HBA port behaviour), 6.2 (errors), 10.1 (initialisation), 10.4 (resets).

use std::sync::Arc;
use std::sync::atomic::Ordering;

use block::BlockQueue;
use guest_memory::GuestMemory;
use serde::{Deserialize, Serialize};
use vm_core::{Device, StateError};

use super::fis::{self, Command};
use super::ncq::Queued;
use super::{Ahci, SLOTS};
use crate::ide::IdeChannel;
use crate::ide::bus_master::Regions;
use crate::ide::channel::{ABRT, BSY, DRQ, Drive, ERR, Flow, Phase};
use crate::ide::scatter::Scatter;

/// Bits of PxIS and PxIE.
pub(super) mod is {
    pub(crate) const DHRS: u32 = 1;
    pub(crate) const PSS: u32 = 1 << 1;
    pub(crate) const SDBS: u32 = 1 << 3;
    pub(crate) const DPS: u32 = 1 << 5;
    pub(crate) const PCS: u32 = 1 << 6;
    pub(crate) const OFS: u32 = 1 << 24;
    pub(crate) const IFS: u32 = 1 << 27;
    pub(crate) const HBFS: u32 = 1 << 29;
    pub(crate) const TFES: u32 = 1 << 30;
    pub(crate) const ALL: u32 = 0xFDC0_00FF;
    /// PCS follows from PxSERR.
    pub(crate) const CLEARABLE: u32 = ALL & !PCS;
}

/// Bits of PxCMD.
mod cmd {
    pub(super) const ST: u32 = 1;
    pub(super) const SUD: u32 = 1 << 1;
    pub(super) const POD: u32 = 1 << 2;
    pub(super) const CLO: u32 = 1 << 3;
    pub(super) const FRE: u32 = 1 << 4;
    pub(super) const FR: u32 = 1 << 14;
    pub(super) const CR: u32 = 1 << 15;
    /// ATAPI, aggressive power management, LEDs: held.
    pub(super) const HELD: u32 = ST | FRE | 0x0F00_0000;
}

/// PxSERR: the link has come up.
const DIAG_X: u32 = 1 << 26;
const SERR_ALL: u32 = 0x07FF_0F03;
/// PxSSTS: a drive is there, 3 Gb/s, active.
const LINK_UP: u32 = 0x123;
const SIGNATURE_NONE: u32 = u32::MAX;
/// PxTFD without a drive.
const NO_DRIVE: u32 = 0x7F;
/// Software reset, in the control register.
const SRST: u8 = 0x04;
const READ_LOG_EXT: u8 = 0x2F;
/// PACKET.
const PACKET: u8 = 0xA0;

/// All registers of a port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PortState {
    pub(super) command_list: u64,
    pub(super) received: u64,
    pub(super) status: u32,
    pub(super) enable: u32,
    pub(super) command: u32,
    pub(super) task_file: u32,
    pub(super) signature: u32,
    pub(super) control: u32,
    pub(super) error: u32,
    pub(super) active: u32,
    pub(super) issued: u32,
    /// An error has stopped the command list until ST is cleared.
    pub(super) halted: bool,
    /// The frame with the signature waits for FRE.
    pub(super) signature_waits: bool,
    /// What page 10h of the log says: the tag and registers of the queued command that failed.
    pub(super) failed: Option<(u8, u8, u8)>,
}

impl PortState {
    pub(super) fn at_reset() -> Self {
        Self {
            command_list: 0,
            received: 0,
            status: 0,
            enable: 0,
            command: cmd::SUD | cmd::POD,
            task_file: NO_DRIVE,
            signature: SIGNATURE_NONE,
            control: 0,
            error: 0,
            active: 0,
            issued: 0,
            halted: false,
            signature_waits: false,
            failed: None,
        }
    }

    fn status(&self) -> u32 {
        self.status & is::CLEARABLE | if self.error & DIAG_X != 0 { is::PCS } else { 0 }
    }

    pub(super) fn interrupt(&self) -> bool {
        self.status() & self.enable != 0
    }

    pub(super) fn runs(&self) -> bool {
        self.command & cmd::ST != 0 && !self.halted
    }

    pub(super) fn set_task_file(&mut self, status: u8, error: u8) {
        self.task_file = u32::from(error) << 8 | u32::from(status);
    }
}

/// A command that the drive works on, not queued.
pub(super) struct Current {
    slot: usize,
    /// Where PRDBC is.
    header: u64,
    packet: [u8; 12],
}

/// A drive and what it is doing.
pub(super) struct Port {
    pub(super) channel: IdeChannel,
    pub(super) current: Option<Current>,
    pub(super) queued: [Option<Queued>; SLOTS],
    /// Changes with every stop, so that completions of before are recognised.
    pub(super) generation: u64,
}

impl Port {
    pub(super) fn new(channel: IdeChannel) -> Self {
        Self { channel, current: None, queued: [const { None }; SLOTS], generation: 0 }
    }

    pub(super) fn queue(&self) -> Option<Arc<BlockQueue>> {
        self.channel.drives[0].as_ref()?.queue().cloned()
    }

    pub(super) fn is_busy(&self) -> bool {
        self.queued.iter().any(Option::is_some)
    }

    /// Commands under way are forgotten.
    fn stop(&mut self) {
        self.current = None;
        self.queued = [const { None }; SLOTS];
        self.generation += 1;
        self.channel.scatter = Some(Scatter::default()); // what a drive still has goes nowhere
    }

    /// Power on.
    pub(super) fn reset_drive(&mut self) {
        self.stop();
        self.channel.reset();
    }

    pub(super) fn restore_drive(&mut self, bytes: &[u8]) -> Result<(), StateError> {
        self.stop();
        self.channel.restore(bytes)
    }
}

/// What a command header says.
struct Header {
    address: u64,
    frame_length: usize,
    prefetch_regions: u16,
    table: u64,
    clear_busy: bool,
}

impl Header {
    fn read(memory: &GuestMemory, list: u64, slot: usize) -> Option<Self> {
        let address = list.wrapping_add(slot as u64 * 32);
        let mut raw = [0; 16];
        memory.read(address, &mut raw).ok()?;
        let word = |at: usize| u32::from_le_bytes([raw[at], raw[at + 1], raw[at + 2], raw[at + 3]]);
        Some(Self {
            address,
            frame_length: (word(0) & 0x1F) as usize * 4,
            prefetch_regions: (word(0) >> 16) as u16,
            table: u64::from(word(12)) << 32 | u64::from(word(8) & !0x7F),
            clear_busy: word(0) & 1 << 10 != 0,
        })
    }
}

impl Ahci {
    /// Memory, as far as the function may use it.
    pub(super) fn dma(&self) -> GuestMemory {
        if self.may_master.load(Ordering::Acquire) { self.memory.clone() } else { GuestMemory::new() }
    }

    /// A drive that is there shows up: link, task file, signature.
    pub(super) fn power_on(&mut self, n: usize) {
        let port = &mut self.drives[n];
        port.stop();
        if port.channel.drives[0].is_none() {
            return;
        }
        port.channel.reset_drive(0);
        self.state.ports[n].error |= DIAG_X;
        self.state.ports[n].signature_waits = true;
        self.registers_to_task_file(n);
        self.send_signature(n);
    }

    fn registers_to_task_file(&mut self, n: usize) {
        if let Some(d) = self.drives[n].channel.drive(0) {
            let (status, error) = (d.regs.status, d.regs.error);
            self.state.ports[n].set_task_file(status, error);
        }
    }

    /// The first frame after a reset sets PxSIG.
    fn send_signature(&mut self, n: usize) {
        let Some(d) = self.drives[n].channel.drive(0) else { return };
        let r = &d.regs;
        let s = &mut self.state.ports[n];
        s.signature = u32::from_le_bytes([r.count[0], r.low[0], r.mid[0], r.high[0]]);
        if s.command & cmd::FRE != 0 {
            s.signature_waits = false;
            self.post_d2h(n);
        }
    }

    pub(super) fn port_register(&self, n: usize, register: u64) -> u32 {
        let s = &self.state.ports[n];
        let present = self.drives[n].channel.drives[0].is_some();
        match register {
            0x00 => s.command_list as u32,
            0x04 => (s.command_list >> 32) as u32,
            0x08 => s.received as u32,
            0x0C => (s.received >> 32) as u32,
            0x10 => s.status(),
            0x14 => s.enable,
            0x18 => {
                let running = if s.command & cmd::ST != 0 { cmd::CR } else { 0 };
                let receives = if s.command & cmd::FRE != 0 { cmd::FR } else { 0 };
                let slot = self.drives[n].current.as_ref().map_or(0, |c| c.slot as u32) << 8;
                s.command | running | receives | slot
            }
            0x20 => s.task_file,
            0x24 => s.signature,
            0x28 if present && s.control & 0xF == 0 => LINK_UP,
            0x28 if s.control & 0xF == 4 => 4, // switched off
            0x28 => 0,
            0x2C => s.control,
            0x30 => s.error,
            0x34 => s.active,
            0x38 => s.issued,
            _ => 0,
        }
    }

    pub(super) fn write_port_register(&mut self, n: usize, register: u64, value: u32) {
        let s = &mut self.state.ports[n];
        let low = |old: u64, mask: u32| old & !0xFFFF_FFFF | u64::from(value & mask);
        let high = |old: u64| old & 0xFFFF_FFFF | u64::from(value) << 32;
        match register {
            0x00 => s.command_list = low(s.command_list, !0x3FF),
            0x04 => s.command_list = high(s.command_list),
            0x08 => s.received = low(s.received, !0xFF),
            0x0C => s.received = high(s.received),
            0x10 => s.status &= !value,
            0x14 => s.enable = value & is::ALL,
            0x18 => self.command_written(n, value),
            0x2C => self.control_written(n, value),
            0x30 => s.error &= !(value & SERR_ALL),
            0x34 => s.active |= if s.command & cmd::ST != 0 { value } else { 0 },
            0x38 => {
                s.issued |= if s.command & cmd::ST != 0 { value } else { 0 };
                self.issue(n);
            }
            _ => {}
        }
    }

    fn command_written(&mut self, n: usize, value: u32) {
        let s = &mut self.state.ports[n];
        let before = s.command;
        s.command = cmd::SUD | cmd::POD | value & cmd::HELD;
        if value & cmd::CLO != 0 {
            s.task_file &= !u32::from(BSY | DRQ);
        }
        if before & cmd::ST != 0 && value & cmd::ST == 0 {
            (s.issued, s.active, s.halted) = (0, 0, false);
            self.drives[n].stop();
        }
        if value & cmd::FRE != 0 && self.state.ports[n].signature_waits {
            self.send_signature(n);
        }
        self.issue(n);
    }

    /// PxSCTL: DET 1 holds the link in reset, 0 lets it come up, 4 switches it off.
    fn control_written(&mut self, n: usize, value: u32) {
        let s = &mut self.state.ports[n];
        let (before, now) = (s.control & 0xF, value & 0xF);
        s.control = value & 0xFFF;
        if before == now {
            return;
        }
        (s.task_file, s.signature) = (NO_DRIVE, SIGNATURE_NONE);
        (s.issued, s.active) = (0, 0);
        self.drives[n].stop();
        if now == 0 {
            self.power_on(n);
        }
    }

    /// Starts commands that were issued, as far as the drive takes them.
    pub(super) fn issue(&mut self, n: usize) {
        // A command that ends at once makes room for the next; each round clears a bit of PxCI or starts one.
        for slot in (0..SLOTS).cycle().take(2 * SLOTS) {
            let s = &self.state.ports[n];
            let port = &self.drives[n];
            if !s.runs() || s.issued == 0 || port.current.is_some() {
                return;
            }
            if s.issued >> slot & 1 != 0 && port.queued[slot].is_none() && !self.start(n, slot) {
                return;
            }
        }
    }

    /// Starts one command; `false` when it has to wait.
    fn start(&mut self, n: usize, slot: usize) -> bool {
        let memory = self.dma();
        let Some(header) = Header::read(&memory, self.state.ports[n].command_list, slot) else {
            return self.fatal(n, is::HBFS);
        };
        let mut frame = Command([0; 20]);
        let mut packet = [0; 12];
        if memory.read(header.table, &mut frame.0).is_err() {
            return self.fatal(n, is::HBFS);
        }
        if header.frame_length < 20 || frame.0[0] != fis::REGISTER_H2D || frame.0[1] & 0xF != 0 {
            return self.fatal(n, is::IFS); // not a frame for the drive; there is no port multiplier
        }
        let queued = self.drives[n].queued.iter().any(Option::is_some);
        if self.drives[n].channel.drives[0].is_none() {
            return self.fatal(n, is::IFS);
        }
        let scatter = Scatter::new(header.table.wrapping_add(0x80), header.prefetch_regions);
        if !frame.is_command() {
            if !queued {
                self.control_frame(n, slot, &frame, header.clear_busy);
            }
            return !queued;
        }
        if frame.code() & 0xFE == 0x60 && matches!(self.drives[n].channel.drives[0], Some(Drive::Disk(..))) {
            return self.start_queued(n, slot, header.address, &frame, scatter);
        }
        let busy = self.drives[n].channel.drive(0).is_some_and(|d| d.regs.status & (BSY | DRQ) != 0);
        if queued || busy {
            return false;
        }
        if frame.code() == PACKET && memory.read(header.table.wrapping_add(0x40), &mut packet).is_err() {
            return self.fatal(n, is::HBFS);
        }
        let port = &mut self.drives[n];
        port.channel.scatter = Some(scatter);
        port.current = Some(Current { slot, header: header.address, packet });
        if let Some(d) = port.channel.drive(0) {
            frame.load(&mut d.regs);
        }
        if frame.code() == READ_LOG_EXT {
            self.read_log(n, &frame);
        } else {
            self.drives[n].channel.command_written(frame.code());
        }
        self.advance(n);
        true
    }

    /// An error after which the port does nothing until software restarts it.
    pub(super) fn fatal(&mut self, n: usize, bit: u32) -> bool {
        let s = &mut self.state.ports[n];
        s.status |= bit;
        s.halted = true;
        false
    }

    /// A frame that carries the control register alone: software reset in two steps.
    fn control_frame(&mut self, n: usize, slot: usize, frame: &Command, clear_busy: bool) {
        let port = &mut self.drives[n];
        port.channel.control_write(frame.control());
        self.state.ports[n].issued &= !(1 << slot);
        let resets = frame.control() & SRST != 0;
        self.registers_to_task_file(n);
        if resets && clear_busy {
            self.state.ports[n].task_file &= !u32::from(BSY | DRQ);
        } else if !resets {
            self.send_signature(n);
        }
    }

    /// READ LOG EXT: the directory and the page about a queued command that failed.
    fn read_log(&mut self, n: usize, frame: &Command) {
        let page = frame.lba() as u8;
        let failed = self.state.ports[n].failed.take();
        let channel = &mut self.drives[n].channel;
        if !matches!(channel.drives[0], Some(Drive::Disk(..))) || frame.count() != 1 || !matches!(page, 0 | 0x10) {
            return channel.fail(0, ABRT);
        }
        let mut data = vec![0; 512];
        if page == 0 {
            (data[0], data[0x20]) = (1, 1); // version; page 10h has one sector
        } else {
            data[0] = 0x80;
            if let Some((tag, status, error)) = failed {
                (data[0], data[2], data[3]) = (tag, status, error);
            }
            let sum = data[..511].iter().fold(0u8, |s, x| s.wrapping_add(*x));
            data[511] = sum.wrapping_neg();
        }
        channel.give(0, data);
    }

    /// Moves the data that the drive has or wants, and ends the command when it has ended.
    pub(super) fn advance(&mut self, n: usize) {
        let memory = self.dma();
        loop {
            let port = &mut self.drives[n];
            let Some(current) = &port.current else { return self.registers_to_task_file(n) };
            let packet = current.packet;
            let Some(d) = port.channel.drive(0) else { return };
            match d.phase {
                Phase::Busy | Phase::DmaWait => break,
                Phase::Idle => return self.ended(n),
                Phase::Stalled => {
                    let Some(list) = port.channel.scatter.as_ref().filter(|l| !l.fault) else {
                        self.fatal(n, is::HBFS);
                        break;
                    };
                    let overflow = list.overflow;
                    self.state.ports[n].status |= if overflow { is::OFS } else { 0 };
                    self.drives[n].channel.fail(0, ABRT);
                }
                Phase::DataIn => self.pio_in(n, &memory),
                Phase::DataOut if d.transfer.flow == Flow::Packet => {
                    let block = d.limit.saturating_sub(d.pos) as usize;
                    let end = (d.pos as usize + packet.len().min(block)).min(d.buffer.len());
                    let start = (d.pos as usize).min(end);
                    d.buffer[start..end].copy_from_slice(&packet[..end - start]);
                    d.pos = d.limit;
                    port.channel.block_was_written(0);
                }
                Phase::DataOut => self.pio_out(n, &memory),
            }
        }
        self.registers_to_task_file(n);
    }

    fn pio_in(&mut self, n: usize, memory: &GuestMemory) {
        let port = &mut self.drives[n];
        let (channel, Some(_)) = (&mut port.channel, &port.current) else { return };
        let Some(mut list) = channel.scatter.take() else { return };
        let Some(d) = channel.drive(0) else { return };
        let range = d.pos as usize..d.limit as usize;
        let bytes = range.len();
        let result = list.drive_to_memory(memory, d.buffer.get(range).unwrap_or_default());
        d.pos = d.limit;
        let mut frame = fis::pio_setup(d, true, bytes, 0);
        channel.scatter = Some(list);
        if result.is_err() {
            channel.drive(0).into_iter().for_each(|d| d.phase = Phase::Stalled);
            return;
        }
        channel.block_was_read(0);
        frame[15] = channel.drive(0).map_or(0, |d| d.regs.status);
        self.post_pio_setup(n, &frame);
    }

    fn pio_out(&mut self, n: usize, memory: &GuestMemory) {
        let port = &mut self.drives[n];
        let Some(mut list) = port.channel.scatter.take() else { return };
        let Some(d) = port.channel.drive(0) else { return };
        let range = d.pos as usize..d.limit as usize;
        let frame = fis::pio_setup(d, false, range.len(), BSY);
        let result = list.memory_to_drive(memory, d.buffer.get_mut(range).unwrap_or_default());
        d.pos = d.limit;
        port.channel.scatter = Some(list);
        if result.is_err() {
            port.channel.drive(0).into_iter().for_each(|d| d.phase = Phase::Stalled);
            return;
        }
        self.post_pio_setup(n, &frame);
        self.drives[n].channel.block_was_written(0);
    }

    fn ended(&mut self, n: usize) {
        let memory = self.dma();
        let port = &mut self.drives[n];
        let Some(current) = port.current.take() else { return };
        let list = port.channel.scatter.replace(Scatter::default()).unwrap_or_default();
        let _ = memory.write(current.header.wrapping_add(4), &list.moved.to_le_bytes()); // where nothing is: software's loss
        let error = port.channel.drive(0).is_some_and(|d| d.regs.status & ERR != 0);
        self.registers_to_task_file(n);
        let s = &mut self.state.ports[n];
        s.status |= if list.interrupt { is::DPS } else { 0 } | if list.overflow { is::OFS } else { 0 };
        if error {
            (s.halted, s.status) = (true, s.status | is::TFES);
        } else {
            s.issued &= !(1 << current.slot);
        }
        self.post_d2h(n);
    }

    pub(super) fn post(&self, n: usize, at: u64, frame: &[u8]) {
        let s = &self.state.ports[n];
        if s.command & cmd::FRE != 0 {
            let _ = self.dma().write(s.received.wrapping_add(at), frame); // where nothing is: software's loss
        }
    }

    fn post_pio_setup(&mut self, n: usize, frame: &[u8; 20]) {
        self.post(n, fis::PIO_SETUP_AT, frame);
        self.state.ports[n].status |= is::PSS;
    }

    fn post_d2h(&mut self, n: usize) {
        let Some(d) = self.drives[n].channel.drive(0) else { return };
        let frame = fis::d2h(&d.regs);
        self.post(n, fis::D2H_AT, &frame);
        self.state.ports[n].status |= is::DHRS;
    }
}
