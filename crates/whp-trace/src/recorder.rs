//! The file: lines go to a buffer, a thread of its own empties it every 50 ms and notes calls that do not return.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, TryLockError, Weak};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use serde_json::Value;
use whp::{CapabilityCode, Platform};

use crate::record::{Call, FORMAT, Failure, Header, Outcome, Pending, Record};

/// How a trace is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TraceOptions {
    /// Buffers whole instead of hashed.
    pub full: bool,
    /// Choose another name when the file is there already (else it is replaced).
    pub keep_existing: bool,
}

/// Why there is no trace.
#[derive(Debug, thiserror::Error)]
#[error("cannot make the trace file {}: {source}; name another one in WHPX_TRACE, or unset it", path.display())]
pub struct TraceError {
    /// The file.
    pub path: PathBuf,
    /// The system's words.
    pub source: std::io::Error,
}

const FLUSH_EVERY: Duration = Duration::from_millis(50);
const PENDING_AFTER: Duration = Duration::from_secs(1);

struct Running {
    name: &'static str,
    vp: Option<u32>,
    tid: u64,
    since: Instant,
    noted: bool,
}

struct Output {
    file: BufWriter<File>,
    running: HashMap<u64, Running>,
    failed: bool,
}

impl Output {
    fn line(&mut self, line: &impl Serialize) {
        if self.failed {
            return;
        }
        let file = &mut self.file;
        let written = serde_json::to_writer(&mut *file, line).map_err(Into::into).and_then(|()| file.write_all(b"\n"));
        self.check(written);
    }

    fn flush(&mut self) {
        if !self.failed {
            let done = self.file.flush();
            self.check(done);
        }
    }

    /// A full disk must not end the guest; the trace just ends.
    fn check(&mut self, result: std::io::Result<()>) {
        if let Err(e) = result {
            self.failed = true;
            eprintln!("the trace ends here, its file cannot be written: {e}");
        }
    }

    fn note_pending(&mut self) {
        let late = |r: &Running| !r.noted && r.since.elapsed() >= PENDING_AFTER;
        let mut notes = Vec::new();
        for (&seq, r) in self.running.iter_mut().filter(|(_, r)| late(r)) {
            r.noted = true;
            let since = r.since.elapsed().as_nanos() as u64;
            notes.push(Pending { pending: r.name.into(), seq, tid: r.tid, vp: r.vp, since });
        }
        notes.sort_by_key(|n| n.seq);
        notes.iter().for_each(|n| self.line(n));
    }
}

/// Writes records. Shared by a platform and all that was made from it.
pub(crate) struct Recorder {
    output: Mutex<Output>,
    started: Instant,
    seq: AtomicU64,
    pub(crate) partitions: AtomicU32,
    pub(crate) full: bool,
}

/// All of this process, for [`flush_all`].
static RECORDERS: Mutex<Vec<Weak<Recorder>>> = Mutex::new(Vec::new());
static THREADS: AtomicU64 = AtomicU64::new(1);

/// Empties the buffers of all traces of this process. For programs about to end by `std::process::exit` and for DLLs
/// about to be unloaded. Never blocks: a trace that another thread is writing to at this moment is left alone.
pub fn flush_all() {
    let recorders = match RECORDERS.try_lock() {
        Ok(list) => list,
        Err(TryLockError::Poisoned(list)) => list.into_inner(),
        Err(TryLockError::WouldBlock) => return,
    };
    for recorder in recorders.iter().filter_map(Weak::upgrade) {
        match recorder.output.try_lock() {
            Ok(mut output) => output.flush(),
            Err(TryLockError::Poisoned(output)) => output.into_inner().flush(),
            Err(TryLockError::WouldBlock) => {}
        }
    }
}

/// Flushes when the thread ends; a thread that ends the process counts as ending (the system runs its destructors).
struct FlushAtEnd;

impl Drop for FlushAtEnd {
    fn drop(&mut self) {
        flush_all();
    }
}

thread_local! {
    static TID: (u64, FlushAtEnd) = (THREADS.fetch_add(1, Ordering::Relaxed), FlushAtEnd);
    /// The Run calls this thread is inside of, innermost last.
    static INSIDE: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
    static LAST_TID: Cell<u64> = const { Cell::new(0) };
    /// A call of this thread was recorded as failed.
    static FAILED: Cell<bool> = const { Cell::new(false) };
}

/// The thread's number; the last known one while the thread ends.
fn tid() -> u64 {
    match TID.try_with(|t| t.0) {
        Ok(tid) => {
            LAST_TID.set(tid);
            tid
        }
        Err(_) => LAST_TID.get(),
    }
}

/// A call that began.
pub(crate) struct Begun {
    seq: u64,
    tid: u64,
    since: Instant,
}

/// Whom a call is for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Target {
    pub(crate) partition: Option<u32>,
    pub(crate) vp: Option<u32>,
}

impl Recorder {
    pub(crate) fn create(platform: &dyn Platform, path: &Path, options: TraceOptions) -> Result<Arc<Self>, TraceError> {
        let (path, file) = create_file(path, options.keep_existing)?;
        let mut output = Output { file: BufWriter::new(file), running: HashMap::new(), failed: false };
        let header = serde_json::to_vec(&header(platform, options.full)).map_err(std::io::Error::from);
        let written = header.and_then(|mut line| {
            line.push(b'\n');
            output.file.write_all(&line)?;
            output.file.flush()
        });
        written.map_err(|source| TraceError { path: path.clone(), source })?;
        let recorder = Arc::new(Self {
            output: Mutex::new(output),
            started: Instant::now(),
            seq: AtomicU64::new(1),
            partitions: AtomicU32::new(0),
            full: options.full,
        });
        let weak = Arc::downgrade(&recorder);
        {
            let mut list = RECORDERS.lock().unwrap_or_else(|e| e.into_inner());
            list.retain(|r| r.strong_count() > 0);
            list.push(weak.clone());
        }
        let thread = std::thread::Builder::new().name("trace".into()).spawn(move || flusher(&weak));
        thread.map_err(|source| TraceError { path, source })?;
        Ok(recorder)
    }

    fn output(&self) -> MutexGuard<'_, Output> {
        self.output.lock().unwrap_or_else(|e| e.into_inner())
    }

    pub(crate) fn begin(&self) -> Begun {
        Begun { seq: self.seq.fetch_add(1, Ordering::Relaxed), tid: tid(), since: Instant::now() }
    }

    /// As [`Recorder::begin`], for a call that can take long: noted when it does not return.
    pub(crate) fn begin_long(&self, target: Target, name: &'static str) -> Begun {
        let begun = self.begin();
        let running = Running { name, vp: target.vp, tid: begun.tid, since: begun.since, noted: false };
        self.output().running.insert(begun.seq, running);
        begun
    }

    pub(crate) fn end<T, V: Serialize>(
        &self,
        target: Target,
        begun: Begun,
        call: Call,
        result: &whp::Result<T>,
        value: impl FnOnce(&T) -> V,
    ) {
        let ns = begun.since.elapsed().as_nanos() as u64;
        let outcome = match result {
            Ok(v) => Outcome::Done(serde_json::to_value(value(v)).unwrap_or(Value::Null)),
            Err(e) => {
                FAILED.set(true);
                Outcome::Failed(Failure::from(e))
            }
        };
        let at = begun.since.saturating_duration_since(self.started).as_nanos() as u64;
        let handler_call = matches!(
            call,
            Call::PortRead { .. }
                | Call::PortWrite { .. }
                | Call::MemoryRead { .. }
                | Call::MemoryWrite { .. }
                | Call::Eoi { .. }
        );
        let inside = if handler_call { INSIDE.with_borrow(|i| i.last().copied()) } else { None };
        let Target { partition, vp } = target;
        let record = Record { seq: begun.seq, at, ns, tid: begun.tid, partition, vp, inside, call, outcome };
        let mut output = self.output();
        output.running.remove(&record.seq);
        output.line(&record);
    }

    /// Runs `f`; an error that no recorded call of this thread had is recorded as one that was refused.
    pub(crate) fn refusals(&self, function: &str, f: impl FnOnce() -> whp::Result<()>) -> whp::Result<()> {
        FAILED.set(false);
        let result = f();
        if result.is_err() && !FAILED.get() {
            self.end(Target::default(), self.begin(), Call::Refused { function: function.into() }, &result, |()| ());
        }
        result
    }

    /// Runs `f`; handler calls of this thread until then are inside `begun`.
    pub(crate) fn inside<T>(&self, begun: &Begun, f: impl FnOnce() -> T) -> T {
        struct Pop;
        impl Drop for Pop {
            fn drop(&mut self) {
                INSIDE.with_borrow_mut(|i| i.pop());
            }
        }
        INSIDE.with_borrow_mut(|i| i.push(begun.seq));
        let _pop = Pop;
        f()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.output().flush();
    }
}

fn flusher(recorder: &Weak<Recorder>) {
    loop {
        std::thread::sleep(FLUSH_EVERY);
        let Some(recorder) = recorder.upgrade() else { return };
        let mut output = recorder.output();
        output.note_pending();
        output.flush();
    }
}

/// Makes `path`, or with `keep_existing`, when it is there and not empty, `path` with the process's number and a count
/// before its extension.
fn create_file(path: &Path, keep_existing: bool) -> Result<(PathBuf, File), TraceError> {
    let fail = |path: PathBuf| move |source| TraceError { path, source };
    if !keep_existing {
        return File::create(path).map(|f| (path.into(), f)).map_err(fail(path.into()));
    }
    let mut name = path.to_path_buf();
    for count in 0..1000 {
        match OpenOptions::new().write(true).create_new(true).open(&name) {
            Ok(file) => {
                if name != path {
                    eprintln!("{} is there already, this trace goes to {}", path.display(), name.display());
                }
                return Ok((name, file));
            }
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(fail(name)(e)),
        }
        let mut file_name = path.file_stem().map(OsString::from).unwrap_or_default();
        file_name.push(format!(".{}", std::process::id()));
        if count > 0 {
            file_name.push(format!(".{count}"));
        }
        if let Some(extension) = path.extension() {
            file_name.push(".");
            file_name.push(extension);
        }
        name = path.with_file_name(file_name);
    }
    Err(fail(name)(std::io::Error::other("a thousand traces with this name are there")))
}

/// The codes that are asked for the header.
fn capability_codes() -> impl Iterator<Item = u32> {
    (0..=6).chain(0x1000..=0x100A).chain(0x2000..=0x2010)
}

fn header(platform: &dyn Platform, full: bool) -> Header {
    let capabilities: BTreeMap<u32, Value> = capability_codes()
        .map(|code| {
            let value = match platform.capability(CapabilityCode(code)) {
                Ok(capability) => {
                    serde_json::to_value(Outcome::Done(serde_json::to_value(capability).unwrap_or_default()))
                }
                Err(e) => serde_json::to_value(Outcome::Failed(Failure::from(&e))),
            };
            (code, value.unwrap_or_default())
        })
        .collect();
    let program = std::env::current_exe().ok();
    let program = program.as_ref().and_then(|p| p.file_name()).map(|n| n.to_string_lossy().into_owned());
    let buffers = if full {
        "Buffers (XSAVE areas, APIC pages, dirty bitmaps) are whole."
    } else {
        "Buffers above 64 bytes are length and hash."
    };
    Header {
        whpx_trace: FORMAT,
        contents: format!(
            "Calls to the hypervisor platform with arguments and results: registers, exits (with instruction bytes), and \
             what goes through ports and device windows (which can be keys typed and sectors read by port I/O). \
             Guest memory is not in it. {buffers}"
        ),
        version: env!("CARGO_PKG_VERSION").into(),
        program: program.unwrap_or_default(),
        process: std::process::id(),
        started: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs()),
        os: std::env::consts::OS.into(),
        host_arch: std::env::consts::ARCH.into(),
        host_cpus: std::thread::available_parallelism().map_or(0, usize::from),
        platform: platform.name().into(),
        arch: platform.arch(),
        full,
        capabilities,
    }
}
