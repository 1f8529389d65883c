//! The bus master IDE engine of one channel: command, status, PRD table pointer, and the walk over the table.
//!
//! Intel 82371SB data sheet, sections 2.5.x (BMICX, BMISX, BMIDTPX) and 3.5 (PRD table, operation, error
//! conditions). The direction is the drive command's; RWCON is kept but not compared with it.

use guest_memory::GuestMemory;
use serde::{Deserialize, Serialize};
use vm_core::{PortIo, Shared, lock};

use super::IdeChannel;

pub(super) const START: u8 = 0x01;
const RWCON: u8 = 0x08;
pub(super) const ACTIVE: u8 = 0x01;
pub(super) const ERROR: u8 = 0x02;
pub(super) const INTERRUPT: u8 = 0x04;
const DMA_CAPABLE: u8 = 0x60;

/// Why the engine stopped before all data was moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DmaStop {
    /// The table ended: the regions are smaller than the transfer.
    Exhausted,
    /// The table or a region is not in memory.
    Fault,
}

/// Moves data between a drive and the regions of memory that a table lists.
pub(crate) trait Regions {
    /// The next piece of a region: address and length, at most `want`.
    fn piece(&mut self, memory: &GuestMemory, want: usize) -> Result<(u64, usize), DmaStop>;

    /// Notes why it stopped, and returns that.
    fn stopped(&mut self, stop: DmaStop) -> DmaStop;

    /// Drive to memory.
    fn drive_to_memory(&mut self, memory: &GuestMemory, data: &[u8]) -> Result<(), DmaStop> {
        self.all_to_memory(memory, data)
    }

    /// The same, an error when it does not fit.
    fn all_to_memory(&mut self, memory: &GuestMemory, mut data: &[u8]) -> Result<(), DmaStop> {
        while !data.is_empty() {
            let (at, n) = self.piece(memory, data.len()).map_err(|s| self.stopped(s))?;
            memory.write(at, &data[..n]).map_err(|_| self.stopped(DmaStop::Fault))?;
            data = &data[n..];
        }
        Ok(())
    }

    /// Memory to drive.
    fn memory_to_drive(&mut self, memory: &GuestMemory, data: &mut [u8]) -> Result<(), DmaStop> {
        let mut done = 0;
        while done < data.len() {
            let (at, n) = self.piece(memory, data.len() - done).map_err(|s| self.stopped(s))?;
            memory.read(at, &mut data[done..done + n]).map_err(|_| self.stopped(DmaStop::Fault))?;
            done += n;
        }
        Ok(())
    }
}

/// Registers and position.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct BusMaster {
    pub(super) command: u8,
    pub(super) status: u8,
    table: u32,
    next: u32,
    region: u32,
    left: u32,
    last: bool,
}

impl BusMaster {
    pub(super) fn active(&self) -> bool {
        self.status & ACTIVE != 0
    }

    fn read(&self, offset: u16) -> u8 {
        match offset {
            0 => self.command,
            2 => self.status,
            4..=7 => self.table.to_le_bytes()[usize::from(offset) - 4],
            _ => 0,
        }
    }

    /// Returns whether the engine was just started.
    fn write(&mut self, offset: u16, value: u8) -> bool {
        match offset {
            0 => {
                let before = self.command;
                self.command = value & (START | RWCON);
                if value & START == 0 {
                    self.status &= !ACTIVE;
                } else if before & START == 0 {
                    self.status |= ACTIVE;
                    (self.next, self.left, self.last) = (self.table, 0, false);
                    return true;
                }
            }
            2 => {
                let kept = self.status & !(value & (ERROR | INTERRUPT));
                self.status = kept & !DMA_CAPABLE | value & DMA_CAPABLE;
            }
            4..=7 => {
                let mut bytes = self.table.to_le_bytes();
                bytes[usize::from(offset) - 4] = value;
                self.table = u32::from_le_bytes(bytes) & !3;
            }
            _ => {}
        }
        false
    }

    /// The drive has ended its command: the engine is done if the table is too, else it stays active.
    pub(super) fn command_done(&mut self) {
        if self.last && self.left == 0 {
            self.status &= !ACTIVE;
        }
    }
}

impl Regions for BusMaster {
    fn piece(&mut self, memory: &GuestMemory, want: usize) -> Result<(u64, usize), DmaStop> {
        if self.left == 0 {
            if self.last {
                return Err(DmaStop::Exhausted);
            }
            let mut prd = [0; 8];
            memory.read(u64::from(self.next), &mut prd).map_err(|_| DmaStop::Fault)?;
            self.next = self.next.wrapping_add(8);
            self.region = u32::from_le_bytes([prd[0], prd[1], prd[2], prd[3]]) & !1;
            let count = u32::from(u16::from_le_bytes([prd[4], prd[5]]) & !1);
            self.left = if count == 0 { 0x1_0000 } else { count };
            self.last = prd[7] & 0x80 != 0;
        }
        let n = (self.left as usize).min(want);
        let at = u64::from(self.region);
        self.region = self.region.wrapping_add(n as u32);
        self.left -= n as u32;
        Ok((at, n))
    }

    fn stopped(&mut self, stop: DmaStop) -> DmaStop {
        self.status &= !ACTIVE;
        if stop == DmaStop::Fault {
            self.status |= ERROR;
        }
        stop
    }
}

/// The 16 ports of BAR 4: primary channel, then secondary.
pub struct BusMasterPorts {
    pub(super) channels: [Shared<IdeChannel>; 2],
}

impl PortIo for BusMasterPorts {
    fn port_read(&mut self, offset: u16, data: &mut [u8]) {
        for (i, byte) in data.iter_mut().enumerate() {
            let at = offset + i as u16;
            *byte = self.channels.get(usize::from(at >> 3)).map_or(0xFF, |c| lock(c).bus_master().read(at & 7));
        }
    }

    fn port_write(&mut self, offset: u16, data: &[u8]) {
        for (i, &value) in data.iter().enumerate() {
            let at = offset + i as u16;
            if let Some(channel) = self.channels.get(usize::from(at >> 3)) {
                let mut channel = lock(channel);
                if channel.bus_master().write(at & 7, value) {
                    channel.bus_master_started();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use guest_memory::{MapRange, RamBlock};

    fn memory() -> GuestMemory {
        let block = RamBlock::new("ram", 0x4_0000).unwrap();
        let m = GuestMemory::new();
        m.set_ranges(vec![MapRange { gpa: 0, len: 0x4_0000, block, offset: 0, readonly: false }]);
        m
    }

    fn prd(m: &GuestMemory, at: u64, base: u32, count: u16, last: bool) {
        m.write(at, &base.to_le_bytes()).unwrap();
        m.write(at + 4, &(u32::from(count) | u32::from(last) << 31).to_le_bytes()).unwrap();
    }

    fn start(table: u32) -> BusMaster {
        let mut b = BusMaster::default();
        for (i, v) in table.to_le_bytes().into_iter().enumerate() {
            b.write(4 + i as u16, v);
        }
        assert!(b.write(0, 9));
        assert!(!b.write(0, 9), "started once");
        b
    }

    #[test]
    fn regions_follow_each_other_and_zero_means_64k() {
        let m = memory();
        prd(&m, 0x1000, 0x2001, 6, false);
        prd(&m, 0x1008, 0x1_0000, 0, true);
        let mut b = start(0x1002);
        assert_eq!(b.drive_to_memory(&m, &[7; 10]), Ok(()));
        let mut x = [0; 8];
        m.read(0x2000, &mut x).unwrap();
        assert_eq!(x, [7, 7, 7, 7, 7, 7, 0, 0]);
        m.read(0x1_0000, &mut x).unwrap();
        assert_eq!(x[..5], [7, 7, 7, 7, 0]);
        b.command_done();
        assert!(b.active(), "memory was larger: still active");
        assert_eq!(b.drive_to_memory(&m, &vec![1; 0xFFFC]), Ok(()));
        b.command_done();
        assert!(!b.active());
    }

    #[test]
    fn exhausted_and_faulty_tables() {
        let m = memory();
        prd(&m, 0x1000, 0x2000, 4, true);
        let mut b = start(0x1000);
        assert_eq!(b.drive_to_memory(&m, &[1; 6]), Err(DmaStop::Exhausted));
        assert_eq!(b.status & (ACTIVE | ERROR), 0);
        let mut b = start(0xFFFF_FFF8);
        assert_eq!(b.memory_to_drive(&m, &mut [0; 2]), Err(DmaStop::Fault));
        assert_eq!(b.status, ERROR);
        b.write(2, ERROR | 0x20);
        assert_eq!(b.read(2), 0x20);
    }
}
