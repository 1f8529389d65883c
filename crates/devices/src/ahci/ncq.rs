//! Queued reads and writes (READ and WRITE FPDMA QUEUED).
//!
//! Serial ATA 2.6, section 13.6; AHCI 1.3.1, sections 5.4 and 6.2.2. The block queue runs requests in order, so tags come
//! back in the order they were given. Large commands go through it 1 MiB at a time.

use std::io;

use block::BlockOp;
use vm_core::lock;

use super::fis::{self, Command};
use super::port::is;
use super::{Ahci, SLOTS};
use crate::ide::ata::CHUNK;
use crate::ide::bus_master::Regions;
use crate::ide::channel::{ABRT, DRDY, DSC, Drive, ERR, IDNF, UNC};
use crate::ide::scatter::Scatter;

const FUA: u8 = 0x80;

/// A queued command under way.
pub(super) struct Queued {
    tag: u8,
    header: u64,
    scatter: Scatter,
    write: bool,
    flush: bool,
    lba: u64,
    left: u32,
    chunk: u32,
}

impl Ahci {
    /// Starts a queued command; `false` when the port has stopped.
    pub(super) fn start_queued(
        &mut self,
        n: usize,
        slot: usize,
        header: u64,
        frame: &Command,
        scatter: Scatter,
    ) -> bool {
        let Some(Drive::Disk(disk, _)) = &self.drives[n].channel.drives[0] else { return false };
        let (sectors, readonly) = (disk.queue.backend().size() / 512, disk.queue.backend().readonly());
        let cached = disk.write_cache;
        let cache_on = self.drives[n].channel.drive(0).is_some_and(|d| d.write_cache);
        let write = frame.code() & 1 != 0;
        let left = match frame.features() {
            0 => 0x1_0000,
            count => count.into(),
        };
        let (lba, tag) = (frame.lba(), (frame.count() >> 3) as u8);
        let flush = write && (frame.device() & FUA != 0 || cached && !cache_on);
        let s = &mut self.state.ports[n];
        let marked = usize::from(tag) == slot && s.active >> slot & 1 != 0;
        s.issued &= !(1 << slot); // the drive has taken it
        let queued = Queued { tag, header, scatter, write, flush, lba, left, chunk: 0 };
        let fits = lba.checked_add(left.into()).is_some_and(|end| end <= sectors);
        self.drives[n].queued[slot] = Some(queued);
        if !marked || write && readonly {
            self.queued_failed(n, slot, ABRT);
        } else if !fits {
            self.queued_failed(n, slot, IDNF);
        } else {
            self.next_chunk(n, slot);
        }
        self.state.ports[n].runs()
    }

    fn next_chunk(&mut self, n: usize, slot: usize) {
        let memory = self.dma();
        let Some(q) = self.drives[n].queued[slot].as_mut() else { return };
        q.chunk = q.left.min(CHUNK);
        let (offset, len) = (q.lba * 512, q.chunk as usize * 512);
        if !q.write {
            return self.submit_queued(n, slot, BlockOp::Read { offset, len });
        }
        let mut data = vec![0; len];
        match q.scatter.memory_to_drive(&memory, &mut data) {
            Ok(()) => self.submit_queued(n, slot, BlockOp::Write { offset, data }),
            Err(_) => self.memory_failed(n, slot),
        }
    }

    fn submit_queued(&mut self, n: usize, slot: usize, op: BlockOp) {
        let (me, generation) = (self.me.clone(), self.drives[n].generation);
        let Some(queue) = self.drives[n].queue() else { return };
        queue.submit(op, move |result| {
            if let Some(ahci) = me.upgrade() {
                lock(&ahci).queued_done(n, slot, generation, result);
            }
        });
    }

    fn queued_done(&mut self, n: usize, slot: usize, generation: u64, result: io::Result<Vec<u8>>) {
        let Some(port) = self.drives.get_mut(n).filter(|p| p.generation == generation) else { return };
        let Some(q) = port.queued.get_mut(slot).and_then(Option::as_mut) else { return };
        match result {
            Err(_) => {
                let error = if q.write { ABRT } else { UNC };
                self.queued_failed(n, slot, error);
            }
            Ok(data) => self.chunk_done(n, slot, &data),
        }
        self.issue(n);
        self.update_interrupt();
    }

    fn chunk_done(&mut self, n: usize, slot: usize, data: &[u8]) {
        let memory = self.dma();
        let Some(q) = self.drives[n].queued[slot].as_mut() else { return };
        if !q.write && q.scatter.drive_to_memory(&memory, data).is_err() {
            return self.memory_failed(n, slot);
        }
        q.lba += u64::from(q.chunk);
        q.left = q.left.saturating_sub(q.chunk);
        q.chunk = 0;
        if q.left > 0 {
            self.next_chunk(n, slot);
        } else if std::mem::take(&mut q.flush) {
            self.submit_queued(n, slot, BlockOp::Flush);
        } else {
            self.queued_ended(n, slot);
        }
    }

    fn queued_ended(&mut self, n: usize, slot: usize) {
        let Some(q) = self.drives[n].queued[slot].take() else { return };
        let _ = self.dma().write(q.header.wrapping_add(4), &q.scatter.moved.to_le_bytes());
        let s = &mut self.state.ports[n];
        s.active &= !(1 << slot);
        s.status |= if q.scatter.interrupt { is::DPS } else { 0 } | if q.scatter.overflow { is::OFS } else { 0 };
        self.post_device_bits(n, DRDY | DSC, 0, 1 << slot);
    }

    /// The regions are too small, or not in memory.
    fn memory_failed(&mut self, n: usize, slot: usize) {
        let fault = self.drives[n].queued[slot].as_ref().is_some_and(|q| q.scatter.fault);
        if fault {
            self.drives[n].queued[slot] = None;
            self.fatal(n, is::HBFS);
        } else {
            self.state.ports[n].status |= is::OFS;
            self.queued_failed(n, slot, ABRT);
        }
    }

    /// A queued command fails: the drive forgets all of them, and keeps which one it was for the log.
    fn queued_failed(&mut self, n: usize, slot: usize, error: u8) {
        let port = &mut self.drives[n];
        let tag = port.queued[slot].as_ref().map_or(0, |q| q.tag & 0x1F);
        port.queued = [const { None }; SLOTS];
        port.generation += 1;
        let status = DRDY | DSC | ERR;
        let s = &mut self.state.ports[n];
        s.failed = Some((tag, status, error));
        (s.halted, s.status) = (true, s.status | is::TFES);
        self.post_device_bits(n, status, error, 0);
    }

    fn post_device_bits(&mut self, n: usize, status: u8, error: u8, tags: u32) {
        self.post(n, fis::SET_DEVICE_BITS_AT, &fis::set_device_bits(status, error, tags));
        let s = &mut self.state.ports[n];
        s.set_task_file(status, error);
        s.status |= is::SDBS;
    }
}
