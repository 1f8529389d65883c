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
use std::time::Instant;

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

/// Counters of one kind of requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpStats {
    /// Requests that were done.
    pub operations: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Requests that failed.
    pub failed: u64,
    /// Requests that were refused, since no disk could do them (past the end).
    pub invalid: u64,
    /// How long all took, in ns.
    pub time_ns: u64,
}

/// Counters for `info blockstats`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlockStats {
    /// Reads.
    pub read: OpStats,
    /// Writes.
    pub write: OpStats,
    /// Flushes.
    pub flush: OpStats,
    /// Discards.
    pub unmap: OpStats,
    /// The end of the highest write, in bytes.
    pub highest_write: u64,
}

impl BlockStats {
    /// Requests that failed, of every kind, and those that were refused.
    pub fn failed(&self) -> u64 {
        [self.read, self.write, self.flush, self.unmap].iter().map(|s| s.failed + s.invalid).sum()
    }
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
    counters: Mutex<BlockStats>,
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
            counters: Mutex::default(),
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
        *self.shared.counters()
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

    fn counters(&self) -> MutexGuard<'_, BlockStats> {
        self.counters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        let mut work = self.lock();
        loop {
            if let Some((op, done)) = work.waiting.pop_front() {
                work.running = true;
                drop(work);
                let result = self.counted(op);
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

    /// Does a request, and counts it.
    fn counted(&self, op: BlockOp) -> io::Result<Vec<u8>> {
        let (kind, bytes, end): (fn(&mut BlockStats) -> &mut OpStats, _, _) = match &op {
            BlockOp::Read { len, .. } => (|s| &mut s.read, *len as u64, 0),
            BlockOp::Write { offset, data } => {
                (|s| &mut s.write, data.len() as u64, offset.saturating_add(data.len() as u64))
            }
            BlockOp::Flush => (|s| &mut s.flush, 0, 0),
            BlockOp::Discard { ranges } => {
                (|s| &mut s.unmap, ranges.iter().fold(0, |n, r| u64::saturating_add(n, r.1)), 0)
            }
        };
        let started = Instant::now();
        // A damaged image must not take the worker along: whoever waits for it would wait forever.
        let result = catch_unwind(AssertUnwindSafe(|| self.execute(op)))
            .unwrap_or_else(|_| Err(io::Error::other("the image could not be read: it is damaged")));
        let time = u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let mut stats = self.counters();
        if result.is_ok() {
            stats.highest_write = stats.highest_write.max(end);
        }
        let stats = kind(&mut stats);
        stats.time_ns = stats.time_ns.saturating_add(time);
        match &result {
            Ok(_) => {
                stats.operations += 1;
                stats.bytes = stats.bytes.saturating_add(bytes);
            }
            Err(e) if e.kind() == io::ErrorKind::InvalidInput => stats.invalid += 1,
            Err(_) => stats.failed += 1,
        }
        result
    }

    fn execute(&self, op: BlockOp) -> io::Result<Vec<u8>> {
        match op {
            BlockOp::Read { offset, len } => {
                let mut data = vec![0; len];
                self.backend.read_at(offset, &mut data)?;
                Ok(data)
            }
            BlockOp::Write { offset, data } => self.backend.write_at(offset, &data).map(|()| vec![]),
            BlockOp::Flush => self.backend.flush().map(|()| vec![]),
            BlockOp::Discard { ranges } => {
                ranges.into_iter().try_for_each(|(offset, len)| self.backend.discard(offset, len))?;
                Ok(vec![])
            }
        }
    }

    fn note(&self, error: &io::Error) {
        if error.kind() == io::ErrorKind::StorageFull {
            if !self.full_told.swap(true, Ordering::Relaxed) {
                tracing::error!("drive {}: no space left on the host; the guest gets write errors", self.name);
            }
        } else if self.errors_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_ok() {
            tracing::warn!("drive {}: {error}", self.name);
        }
    }
}
