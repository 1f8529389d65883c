//! The request engine: one worker thread a disk runs a device's requests in order and calls back.
//!
//! Requests of one queue run one after the other, so a flush covers every write that was submitted before it. The
//! completion runs on the worker with no lock held; it may lock its device and submit more requests. I/O errors
//! are given to the device as they are (`werror=report`, `rerror=report`).

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use crate::BlockBackend;

/// What to do.
#[derive(Debug)]
pub enum BlockOp {
    /// Read into a new buffer.
    Read {
        /// First byte.
        offset: u64,
        /// Number of bytes.
        len: usize,
    },
    /// Write; the pieces follow each other on the disk.
    Write {
        /// First byte.
        offset: u64,
        /// The data.
        data: Vec<u8>,
    },
    /// Make what was written durable.
    Flush,
    /// The contents are not needed any more.
    Discard {
        /// First byte and length of each range.
        ranges: Vec<(u64, u64)>,
    },
}

/// Called once, on the worker: with the data for a read, with an empty buffer otherwise.
pub type Completion = Box<dyn FnOnce(io::Result<Vec<u8>>) + Send>;

/// Counters for `info blockstats`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlockStats {
    /// Reads.
    pub rd_operations: u64,
    /// Bytes read.
    pub rd_bytes: u64,
    /// Writes.
    pub wr_operations: u64,
    /// Bytes written.
    pub wr_bytes: u64,
    /// Flushes.
    pub flush_operations: u64,
    /// Discards.
    pub unmap_operations: u64,
    /// Requests that failed.
    pub failed_operations: u64,
}

#[derive(Default)]
struct Counters {
    rd_operations: AtomicU64,
    rd_bytes: AtomicU64,
    wr_operations: AtomicU64,
    wr_bytes: AtomicU64,
    flush_operations: AtomicU64,
    unmap_operations: AtomicU64,
    failed_operations: AtomicU64,
}

#[derive(Default)]
struct Work {
    waiting: VecDeque<(BlockOp, Completion)>,
    running: bool,
    stop: bool,
}

struct Shared {
    name: String,
    backend: Arc<dyn BlockBackend>,
    work: Mutex<Work>,
    changed: Condvar,
    counters: Counters,
    full_told: AtomicBool,
    errors_left: AtomicU64,
}

/// See the module's documentation. Dropping it finishes what was submitted and flushes.
pub struct BlockQueue {
    shared: Arc<Shared>,
    worker: Option<JoinHandle<()>>,
}

impl BlockQueue {
    /// Starts the worker for `backend`; `name` is the drive's, for messages and the thread.
    ///
    /// # Errors
    /// When the host gives no thread.
    pub fn new(name: &str, backend: Arc<dyn BlockBackend>) -> io::Result<Arc<Self>> {
        let shared = Arc::new(Shared {
            name: name.into(),
            backend,
            work: Mutex::default(),
            changed: Condvar::new(),
            counters: Counters::default(),
            full_told: AtomicBool::new(false),
            errors_left: AtomicU64::new(10),
        });
        let own = shared.clone();
        let worker = std::thread::Builder::new().name(format!("disk {name}")).spawn(move || own.run())?;
        Ok(Arc::new(Self { shared, worker: Some(worker) }))
    }

    /// Submits a request; never blocks on I/O.
    pub fn submit(&self, op: BlockOp, done: impl FnOnce(io::Result<Vec<u8>>) + Send + 'static) {
        self.shared.lock().waiting.push_back((op, Box::new(done)));
        self.shared.changed.notify_all();
    }

    /// Waits until nothing is submitted or running, completions included. Must not be called from a completion nor
    /// with a lock held that a completion takes.
    pub fn drain(&self) {
        let mut work = self.shared.lock();
        while work.running || !work.waiting.is_empty() {
            work = self.shared.changed.wait(work).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The disk.
    pub fn backend(&self) -> &Arc<dyn BlockBackend> {
        &self.shared.backend
    }

    /// The drive's name.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// The counters now.
    pub fn stats(&self) -> BlockStats {
        let c = &self.shared.counters;
        let get = |a: &AtomicU64| a.load(Ordering::Relaxed);
        BlockStats {
            rd_operations: get(&c.rd_operations),
            rd_bytes: get(&c.rd_bytes),
            wr_operations: get(&c.wr_operations),
            wr_bytes: get(&c.wr_bytes),
            flush_operations: get(&c.flush_operations),
            unmap_operations: get(&c.unmap_operations),
            failed_operations: get(&c.failed_operations),
        }
    }
}

impl Drop for BlockQueue {
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.changed.notify_all();
        if let Some(worker) = self.worker.take()
            && worker.thread().id() != std::thread::current().id()
        {
            let _ = worker.join(); // its panic, if any, was already printed
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        let mut work = self.lock();
        loop {
            if let Some((op, done)) = work.waiting.pop_front() {
                work.running = true;
                drop(work);
                // A damaged image must not take the worker along: whoever waits for it would wait forever.
                let result = catch_unwind(AssertUnwindSafe(|| self.execute(op)))
                    .unwrap_or_else(|_| Err(io::Error::other("the image could not be read: it is damaged")));
                if let Err(e) = &result {
                    self.note(e);
                }
                if catch_unwind(AssertUnwindSafe(|| done(result))).is_err() {
                    tracing::error!("drive {}: the device failed to take a completion", self.name);
                }
                work = self.lock();
                work.running = false;
                self.changed.notify_all();
            } else if work.stop {
                drop(work);
                if !self.backend.readonly()
                    && let Err(e) = self.backend.flush()
                {
                    self.note(&e);
                }
                return;
            } else {
                work = self.changed.wait(work).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    fn execute(&self, op: BlockOp) -> io::Result<Vec<u8>> {
        let count = |a: &AtomicU64, n: u64| a.fetch_add(n, Ordering::Relaxed);
        match op {
            BlockOp::Read { offset, len } => {
                let mut data = vec![0; len];
                self.backend.read_at(offset, &mut data)?;
                count(&self.counters.rd_operations, 1);
                count(&self.counters.rd_bytes, len as u64);
                Ok(data)
            }
            BlockOp::Write { offset, data } => {
                self.backend.write_at(offset, &data)?;
                count(&self.counters.wr_operations, 1);
                count(&self.counters.wr_bytes, data.len() as u64);
                Ok(vec![])
            }
            BlockOp::Flush => {
                count(&self.counters.flush_operations, 1);
                self.backend.flush().map(|()| vec![])
            }
            BlockOp::Discard { ranges } => {
                count(&self.counters.unmap_operations, 1);
                ranges.into_iter().try_for_each(|(offset, len)| self.backend.discard(offset, len))?;
                Ok(vec![])
            }
        }
    }

    fn note(&self, error: &io::Error) {
        self.counters.failed_operations.fetch_add(1, Ordering::Relaxed);
        if error.kind() == io::ErrorKind::StorageFull {
            if !self.full_told.swap(true, Ordering::Relaxed) {
                tracing::error!("drive {}: no space left on the host; the guest gets write errors", self.name);
            }
        } else if self.errors_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_ok() {
            tracing::warn!("drive {}: {error}", self.name);
        }
    }
}
