//! The PACKET command: how commands, data and status of an ATAPI drive travel.
//!
//! ATA/ATAPI-6 sections 8.23 (PACKET, byte count limit, interrupt reason), 9.8 and 9.9 (protocols).

use std::io;

use block::BlockOp;
use serde::{Deserialize, Serialize};

use super::channel::{ABRT, DRDY, DRQ, Drive, ERR, Flow, IdeChannel, Phase, Transfer};
use super::identify;
use super::mmc::{self, Outcome, Sense};

/// Interrupt reason (in the sector count register): command or data, and direction to the host.
const COD: u8 = 1;
const IO: u8 = 2;

const PACKET: usize = 12;
const SECTOR: usize = 2048;

/// What a packet device keeps between commands.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct PacketState {
    /// For REQUEST SENSE.
    pub(super) sense: Sense,
    /// A unit attention that was not yet told.
    pub(super) attention: Option<Sense>,
    /// PREVENT MEDIUM REMOVAL.
    pub(super) locked: bool,
    /// The tray is out.
    pub(super) open: bool,
    /// The media event that GET EVENT STATUS NOTIFICATION has to tell.
    pub(super) event: u8,
    limit: u16,
    dma: bool,
}

impl PacketState {
    /// Somebody has put in or taken out a disc.
    pub(super) fn medium_changed(&mut self, there: bool) {
        self.open = false;
        self.event = if there { mmc::EVENT_NEW_MEDIA } else { mmc::EVENT_REMOVAL };
        self.attention = there.then_some(mmc::MEDIUM_CHANGED);
    }

    /// Moves the tray; whether it moved.
    pub(super) fn move_tray(&mut self, open: bool, medium: bool) -> bool {
        let moved = self.open != open;
        if moved && open {
            (self.open, self.event) = (true, mmc::EVENT_REMOVAL);
        } else if moved {
            self.medium_changed(medium);
        }
        moved
    }
}

impl IdeChannel {
    pub(super) fn packet_device_command(&mut self, unit: usize, command: u8) {
        match command {
            0xA0 => self.packet_command(unit),
            0xA1 => {
                let sata = self.scatter.is_some();
                let Some((d, Drive::Cdrom(c))) = self.both(unit) else { return };
                let data = identify::cdrom(c, d, sata);
                self.give(unit, data);
            }
            0xEC | 0x20 => {
                // Aborted, with the signature: this is how a host learns what it talks to (8.15.5.2).
                if let Some((d, drive)) = self.both(unit) {
                    drive.set_signature(d);
                }
                self.fail(unit, ABRT);
            }
            0xEF => self.set_features(unit),
            _ => self.power_command(unit, command),
        }
    }

    fn packet_command(&mut self, unit: usize) {
        let Some(d) = self.drive(unit) else { return };
        let features = d.regs.features[0];
        if features & 2 != 0 {
            return self.fail(unit, ABRT); // overlapped
        }
        d.packet.dma = features & 1 != 0;
        d.packet.limit = u16::from_le_bytes([d.regs.mid[0], d.regs.high[0]]);
        d.regs.count[0] = COD;
        d.transfer = Transfer { flow: Flow::Packet, write: true, ..Transfer::none() };
        self.open_data_out(unit, PACKET, false);
        if let Some(d) = self.drive(unit) {
            d.regs.status = DRDY | DRQ;
        }
    }

    /// The 12 bytes are there.
    pub(super) fn packet_arrived(&mut self, unit: usize) {
        let Some((d, Drive::Cdrom(c))) = self.both(unit) else { return };
        let packet: [u8; PACKET] = d.buffer.as_slice().try_into().unwrap_or_default();
        d.buffer.clear();
        (d.pos, d.limit) = (0, 0);
        d.transfer = Transfer { flow: Flow::Reply, dma: d.packet.dma, ..Transfer::none() };
        let was_open = d.packet.open;
        let outcome = mmc::execute(c, &mut d.packet, &packet);
        let open = d.packet.open;
        tracing::trace!(target: "ide_atapi_packet", unit, ?packet, ?outcome);
        match outcome {
            Outcome::Check(sense) => self.check(unit, sense),
            Outcome::Data(data) if data.is_empty() => self.packet_done(unit),
            Outcome::Data(data) => {
                d.packet.sense = Sense::default();
                d.buffer = data;
                self.reply(unit);
            }
            Outcome::Read { lba, count, raw } => {
                d.packet.sense = Sense::default();
                (d.transfer.lba, d.transfer.left, d.transfer.raw) = (u64::from(lba), count, raw);
                self.read_disc(unit);
            }
            Outcome::Sense(data) => {
                d.buffer = data;
                self.reply(unit);
            }
        }
        if open != was_open {
            self.tell_tray(unit, open);
        }
    }

    fn read_disc(&mut self, unit: usize) {
        let Some(d) = self.drive(unit) else { return };
        let t = &mut d.transfer;
        t.chunk = t.left.min(if t.dma { 256 } else { 32 });
        let op = BlockOp::Read { offset: t.lba * SECTOR as u64, len: t.chunk as usize * SECTOR };
        self.submit(unit, op);
    }

    pub(super) fn disc_was_read(&mut self, unit: usize, result: io::Result<Vec<u8>>) {
        let Some(d) = self.drive(unit) else { return };
        let Ok(data) = result else { return self.check(unit, mmc::UNRECOVERED_READ) };
        let t = &mut d.transfer;
        d.buffer = if t.raw { mmc::raw_frames(t.lba, &data) } else { data };
        d.pos = 0;
        t.lba += u64::from(t.chunk);
        t.left = t.left.saturating_sub(t.chunk);
        self.reply(unit);
    }

    /// The buffer goes to the host.
    fn reply(&mut self, unit: usize) {
        let Some(d) = self.drive(unit) else { return };
        if d.transfer.dma { self.dma_step(unit) } else { self.open_reply_block(unit) }
    }

    fn open_reply_block(&mut self, unit: usize) {
        let Some(d) = self.drive(unit) else { return };
        let left = d.buffer.len() - (d.pos as usize).min(d.buffer.len());
        // A limit of 0 or FFFFh means FFFEh; only the last block may be odd.
        let limit = match usize::from(d.packet.limit) {
            0 | 0xFFFF => 0xFFFE,
            1 => 2,
            n => n & !1,
        };
        let n = if left <= usize::from(d.packet.limit) { left } else { left.min(limit) };
        let n = n.min(0xFFFE);
        [d.regs.mid[0], d.regs.high[0]] = (n as u16).to_le_bytes();
        d.regs.count[0] = IO;
        self.open_data_in(unit, n);
    }

    /// The host, or the bus master, has taken what was offered.
    pub(super) fn reply_was_read(&mut self, unit: usize) {
        let Some(d) = self.drive(unit) else { return };
        if !d.transfer.dma && (d.pos as usize) < d.buffer.len() {
            self.open_reply_block(unit);
        } else if d.transfer.left > 0 {
            self.read_disc(unit);
        } else {
            self.packet_done(unit);
        }
    }

    fn packet_done(&mut self, unit: usize) {
        let Some(d) = self.drive(unit) else { return };
        d.regs.count[0] = COD | IO;
        if d.transfer.dma && d.phase != Phase::Idle {
            self.dma_done();
        }
        self.finish(unit, DRDY, 0);
    }

    fn check(&mut self, unit: usize, sense: Sense) {
        let Some(d) = self.drive(unit) else { return };
        d.packet.sense = sense;
        d.regs.count[0] = COD | IO;
        self.finish(unit, DRDY | ERR, sense.key << 4 | ABRT);
    }
}
