//! The commands of an ATA disk.
//!
//! ATA/ATAPI-6 (T13 1410D) section 8, with DATA SET MANAGEMENT from ACS-2 section 7.10.

use std::io;

use block::BlockOp;

use super::channel::{ABRT, Drive, DriveState, Flow, IDNF, IdeChannel, Registers, Transfer, UNC};
use super::identify;

/// Sectors that one request to the block queue moves at most.
pub(crate) const CHUNK: u32 = 2048;

/// How a command's parameters are laid out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Size {
    Lba28,
    Lba48,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Pio,
    Multiple,
    Dma,
}

/// Sectors that a command names; 0 means the most.
fn count(r: &Registers, size: Size) -> u32 {
    match size {
        Size::Lba28 => [256, u32::from(r.count[0])][usize::from(r.count[0] != 0)],
        Size::Lba48 => match u32::from(r.count[1]) << 8 | u32::from(r.count[0]) {
            0 => 65536,
            n => n,
        },
    }
}

/// The first sector that a command names; `None` for an impossible CHS address.
fn address(d: &DriveState, size: Size) -> Option<u64> {
    let r = &d.regs;
    let byte = |v: u8, shift: u32| u64::from(v) << shift;
    let low24 = byte(r.low[0], 0) | byte(r.mid[0], 8) | byte(r.high[0], 16);
    match (size, r.device & 0x40 != 0) {
        (Size::Lba48, _) => Some(low24 | byte(r.low[1], 24) | byte(r.mid[1], 32) | byte(r.high[1], 40)),
        (Size::Lba28, true) => Some(low24 | byte(r.device & 0xF, 24)),
        (Size::Lba28, false) => {
            let (cylinder, head) = (u64::from(r.high[0]) << 8 | u64::from(r.mid[0]), u64::from(r.device & 0xF));
            let sector = u64::from(r.low[0]).checked_sub(1)?;
            let fits = head < u64::from(d.heads) && sector < u64::from(d.sectors);
            fits.then(|| (cylinder * u64::from(d.heads) + head) * u64::from(d.sectors) + sector)
        }
    }
}

impl IdeChannel {
    pub(super) fn disk_command(&mut self, unit: usize, command: u8) {
        use Mode::{Dma, Multiple, Pio};
        use Size::{Lba28, Lba48};
        if let (Some(d), 0x20..=0x7F | 0xC4..=0xCE) = (self.drive(unit), command) {
            d.standby = false; // whatever needs the medium spins it up
        }
        match command {
            0x20 | 0x21 => self.read_or_write(unit, Lba28, Pio, false, false),
            0x24 => self.read_or_write(unit, Lba48, Pio, false, false),
            0x25 => self.read_or_write(unit, Lba48, Dma, false, false),
            0x29 => self.read_or_write(unit, Lba48, Multiple, false, false),
            0xC4 => self.read_or_write(unit, Lba28, Multiple, false, false),
            0xC8 | 0xC9 => self.read_or_write(unit, Lba28, Dma, false, false),
            0x30 | 0x31 => self.read_or_write(unit, Lba28, Pio, true, false),
            0x34 => self.read_or_write(unit, Lba48, Pio, true, false),
            0x35 => self.read_or_write(unit, Lba48, Dma, true, false),
            0x39 => self.read_or_write(unit, Lba48, Multiple, true, false),
            0x3D => self.read_or_write(unit, Lba48, Dma, true, true),
            0xC5 => self.read_or_write(unit, Lba28, Multiple, true, false),
            0xCA | 0xCB => self.read_or_write(unit, Lba28, Dma, true, false),
            0xCE => self.read_or_write(unit, Lba48, Multiple, true, true),
            0x40 | 0x41 => self.verify(unit, Lba28),
            0x42 => self.verify(unit, Lba48),
            0x70..=0x7F => self.seek(unit),
            0x27 => self.native_max(unit, Lba48),
            0xF8 => self.native_max(unit, Lba28),
            0x06 => self.data_set_management(unit),
            0xE7 | 0xEA => self.submit(unit, BlockOp::Flush),
            0xEC => self.identify_disk(unit),
            0x10..=0x1F => self.complete(unit), // RECALIBRATE
            0x91 => self.initialize_parameters(unit),
            0xC6 => self.set_multiple(unit),
            0xEF => self.set_features(unit),
            0xB0 => self.smart(unit),
            0xE4 => self.give(unit, vec![0; 512]),
            0xE8 => self.take(unit, Flow::Scratch),
            _ => self.power_command(unit, command),
        }
    }

    /// Power management, which disks and packet devices share; anything else is not known.
    pub(super) fn power_command(&mut self, unit: usize, command: u8) {
        let Some(d) = self.drive(unit) else { return };
        match command {
            0xE0 | 0xE2 | 0x94 | 0x96 | 0xE6 | 0x99 => d.standby = true, // STANDBY (IMMEDIATE), SLEEP
            0xE1 | 0xE3 | 0x95 | 0x97 => d.standby = false,              // IDLE (IMMEDIATE)
            0xE5 | 0x98 => d.regs.count[0] = if d.standby { 0x00 } else { 0xFF }, // CHECK POWER MODE
            _ => return self.fail(unit, ABRT),
        }
        self.complete(unit);
    }

    fn read_or_write(&mut self, unit: usize, size: Size, mode: Mode, write: bool, fua: bool) {
        let Some((d, Drive::Disk(c, _))) = self.both(unit) else { return };
        let (sectors, readonly) = (c.queue.backend().size() / 512, c.queue.backend().readonly());
        let (n, at) = (count(&d.regs, size), address(d, size));
        let block = match mode {
            Mode::Multiple if d.multiple == 0 => return self.fail(unit, ABRT),
            Mode::Multiple => d.multiple.into(),
            _ => 1,
        };
        let Some(lba) = at.filter(|a| a.checked_add(n.into()).is_some_and(|end| end <= sectors)) else {
            return self.fail(unit, IDNF | ABRT);
        };
        if write && readonly {
            return self.fail(unit, ABRT);
        }
        let flush = write && (fua || !d.write_cache && c.write_cache);
        let dma = mode == Mode::Dma;
        d.transfer = Transfer { flow: Flow::Sectors, write, dma, lba, left: n, chunk: 0, block, flush, raw: false };
        match (write, dma) {
            (false, _) => self.read_chunk(unit),
            (true, true) => self.dma_step(unit),
            (true, false) => self.open_data_out(unit, n.min(block) as usize * 512, false),
        }
    }

    fn read_chunk(&mut self, unit: usize) {
        let Some(d) = self.drive(unit) else { return };
        let t = &mut d.transfer;
        t.chunk = t.left.min(CHUNK);
        if !t.dma {
            t.chunk = t.chunk.min(256); // whole DRQ blocks: they are powers of two up to 16
        }
        let op = BlockOp::Read { offset: t.lba * 512, len: t.chunk as usize * 512 };
        self.submit(unit, op);
    }

    /// The buffer (filled by the host or the bus master) goes to the image.
    pub(super) fn write_chunk(&mut self, unit: usize) {
        let Some(d) = self.drive(unit) else { return };
        let data = std::mem::take(&mut d.buffer);
        (d.pos, d.limit) = (0, 0);
        d.transfer.chunk = (data.len() / 512) as u32;
        let op = BlockOp::Write { offset: d.transfer.lba * 512, data };
        self.submit(unit, op);
    }

    /// The queue has done a disk's request.
    pub(super) fn request_done(&mut self, unit: usize, result: io::Result<Vec<u8>>) {
        let Some(d) = self.drive(unit) else { return };
        let data = match result {
            Ok(data) => data,
            Err(_) => return self.request_failed(unit),
        };
        if d.transfer.flow != Flow::Sectors {
            return self.complete(unit); // FLUSH CACHE, TRIM
        }
        let t = &mut d.transfer;
        t.lba += u64::from(t.chunk);
        t.left = t.left.saturating_sub(t.chunk);
        t.chunk = 0;
        let (write, dma, block) = (t.write, t.dma, t.block as usize * 512);
        match (write, dma) {
            (false, _) => {
                (d.buffer, d.pos, d.limit) = (data, 0, 0);
                if dma { self.dma_step(unit) } else { self.open_data_in(unit, block) }
            }
            (true, _) if d.transfer.left == 0 => self.end_of_write(unit),
            (true, true) => self.dma_step(unit),
            (true, false) => {
                let bytes = block.min(d.transfer.left as usize * 512);
                self.open_data_out(unit, bytes, true);
            }
        }
    }

    fn end_of_write(&mut self, unit: usize) {
        let Some(d) = self.drive(unit) else { return };
        let (dma, flush) = (d.transfer.dma, d.transfer.flush);
        if dma {
            self.dma_done();
        }
        if flush {
            if let Some(d) = self.drive(unit) {
                d.transfer = Transfer::none();
            }
            self.submit(unit, BlockOp::Flush);
        } else {
            self.complete(unit);
        }
    }

    fn request_failed(&mut self, unit: usize) {
        let Some(d) = self.drive(unit) else { return };
        let t = d.transfer.clone();
        if t.flow == Flow::Sectors {
            // The registers name the first sector that was not transferred.
            let b = t.lba.to_le_bytes();
            let r = &mut d.regs;
            (r.low, r.mid, r.high) = ([b[0], b[3]], [b[1], b[4]], [b[2], b[5]]);
            if t.dma {
                self.dma_done();
            }
        }
        let read = t.flow == Flow::Sectors && !t.write;
        self.fail(unit, if read { UNC } else { ABRT });
    }

    /// The host, or the bus master, has taken what was in the buffer.
    pub(super) fn sectors_were_read(&mut self, unit: usize) {
        let Some(d) = self.drive(unit) else { return };
        let (left, dma, block) = (d.transfer.left, d.transfer.dma, d.transfer.block as usize * 512);
        if !dma && (d.pos as usize) < d.buffer.len() {
            self.open_data_in(unit, block);
        } else if left > 0 {
            self.read_chunk(unit);
        } else if dma {
            self.dma_done();
            self.complete(unit);
        } else {
            self.rest(unit);
        }
    }

    fn verify(&mut self, unit: usize, size: Size) {
        let Some((d, Drive::Disk(c, _))) = self.both(unit) else { return };
        let sectors = c.queue.backend().size() / 512;
        let end = address(d, size).and_then(|a| a.checked_add(count(&d.regs, size).into()));
        match end.filter(|e| *e <= sectors) {
            Some(_) => self.complete(unit),
            None => self.fail(unit, IDNF | ABRT),
        }
    }

    fn seek(&mut self, unit: usize) {
        let Some((d, Drive::Disk(c, _))) = self.both(unit) else { return };
        let sectors = c.queue.backend().size() / 512;
        match address(d, Size::Lba28).filter(|a| *a < sectors) {
            Some(_) => self.complete(unit),
            None => self.fail(unit, IDNF | ABRT),
        }
    }

    fn native_max(&mut self, unit: usize, size: Size) {
        let Some((d, Drive::Disk(c, _))) = self.both(unit) else { return };
        let last = (c.queue.backend().size() / 512).saturating_sub(1);
        let r = &mut d.regs;
        if size == Size::Lba28 {
            let b = last.min(0x0FFF_FFFE).to_le_bytes();
            (r.low[0], r.mid[0], r.high[0]) = (b[0], b[1], b[2]);
            r.device = r.device & 0xF0 | b[3] & 0xF;
        } else {
            let b = last.to_le_bytes();
            (r.low, r.mid, r.high) = ([b[0], b[3]], [b[1], b[4]], [b[2], b[5]]);
        }
        self.complete(unit);
    }

    fn identify_disk(&mut self, unit: usize) {
        let sata = self.scatter.is_some();
        let Some((d, Drive::Disk(c, g))) = self.both(unit) else { return };
        let data = identify::disk(c, *g, d, sata);
        self.give(unit, data);
    }

    fn initialize_parameters(&mut self, unit: usize) {
        let Some(d) = self.drive(unit) else { return };
        if d.regs.count[0] == 0 {
            return self.fail(unit, ABRT);
        }
        (d.heads, d.sectors) = ((d.regs.device & 0xF) + 1, d.regs.count[0]);
        self.complete(unit);
    }

    fn set_multiple(&mut self, unit: usize) {
        let Some(d) = self.drive(unit) else { return };
        match d.regs.count[0] {
            n if n == 0 || n.is_power_of_two() && n <= 16 => {
                d.multiple = n;
                self.complete(unit);
            }
            _ => self.fail(unit, ABRT),
        }
    }

    pub(super) fn set_features(&mut self, unit: usize) {
        let Some((d, drive)) = self.both(unit) else { return };
        let disk = matches!(drive, Drive::Disk(..));
        let cached = matches!(drive, Drive::Disk(c, _) if c.write_cache);
        match (d.regs.features[0], d.regs.count[0]) {
            (0x03, 0x00 | 0x01 | 0x08..=0x0C) => {} // PIO
            (0x03, mode @ (0x20..=0x22 | 0x40..=0x45)) => d.dma_mode = mode,
            (0x02, _) if cached => d.write_cache = true,
            (0x82, _) if disk => {
                d.write_cache = false;
                return self.submit(unit, BlockOp::Flush); // what is cached must be on the disk before this ends
            }
            (0x55, _) if disk => d.look_ahead = false,
            (0xAA, _) if disk => d.look_ahead = true,
            (0x66 | 0xCC | 0x05 | 0x85 | 0x42 | 0xC2, _) if disk => {} // power-on defaults, APM, acoustics
            _ => return self.fail(unit, ABRT),
        }
        self.complete(unit);
    }

    fn smart(&mut self, unit: usize) {
        let Some(d) = self.drive(unit) else { return };
        if (d.regs.mid[0], d.regs.high[0]) != (0x4F, 0xC2) {
            return self.fail(unit, ABRT);
        }
        match d.regs.features[0] {
            0xD8 => d.smart = true,
            _ if !d.smart => return self.fail(unit, ABRT),
            0xD9 => d.smart = false,
            0xDA | 0xD2 => {} // RETURN STATUS: 4F/C2 stay, no threshold exceeded; autosave
            0xD0 => return self.give(unit, smart_data()),
            0xD1 => {
                let mut b = vec![0; 512];
                b[0] = 1;
                seal(&mut b);
                return self.give(unit, b);
            }
            _ => return self.fail(unit, ABRT),
        }
        self.complete(unit);
    }

    /// Waits for one block (or as many as the count says) from the host.
    fn take(&mut self, unit: usize, flow: Flow) {
        if let Some(d) = self.drive(unit) {
            d.transfer = Transfer { flow, write: true, ..Transfer::none() };
        }
        self.open_data_out(unit, 512, false);
    }

    fn data_set_management(&mut self, unit: usize) {
        let Some((d, Drive::Disk(c, _))) = self.both(unit) else { return };
        let blocks = count(&d.regs, Size::Lba48);
        if !c.trim || d.regs.features[0] != 1 || blocks > 8 || c.queue.backend().readonly() {
            return self.fail(unit, ABRT);
        }
        d.transfer = Transfer { flow: Flow::Trim, write: true, dma: true, left: blocks, ..Transfer::none() };
        self.dma_step(unit);
    }

    /// The list of ranges has arrived: 48 bits of address and 16 of length each.
    pub(super) fn trim(&mut self, unit: usize) {
        let Some((d, Drive::Disk(c, _))) = self.both(unit) else { return };
        let sectors = c.queue.backend().size() / 512;
        let list = std::mem::take(&mut d.buffer);
        let entries = list.chunks_exact(8).map(|e| u64::from_le_bytes(e.try_into().unwrap_or_default()));
        let ranges: Vec<(u64, u64)> = entries.map(|e| (e & 0xFFFF_FFFF_FFFF, e >> 48)).filter(|r| r.1 != 0).collect();
        self.dma_done();
        if ranges.iter().any(|(at, n)| at + n > sectors) {
            return self.fail(unit, IDNF | ABRT);
        }
        let ranges = ranges.into_iter().map(|(at, n)| (at * 512, n * 512)).collect();
        self.submit(unit, BlockOp::Discard { ranges });
    }
}

/// Makes the 512 bytes sum to zero.
fn seal(b: &mut [u8]) {
    let sum = b[..511].iter().fold(0u8, |s, x| s.wrapping_add(*x));
    b[511] = sum.wrapping_neg();
}

fn smart_data() -> Vec<u8> {
    let mut b = vec![0; 512];
    b[0] = 1;
    b[362] = 0x02; // off-line collection completed
    b[368] = 0x03; // SMART data can be saved
    seal(&mut b);
    b
}
