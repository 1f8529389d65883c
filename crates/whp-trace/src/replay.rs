//! A platform that answers from a trace.
//!
//! A virtual processor's calls must come as recorded, one after the other: what is next in the trace is the answer. When a
//! call differs, the difference is noted with both sides; then, if the recorded one is found a little further on, what
//! lies between counts as left out by the client; else if it is the same function, its recorded result is given all the
//! same; else the call fails. Calls for a partition may come in any order (threads), each recorded one answers once.
//! Cancelling and counters are free: they depend on time in every run.

mod access;
mod partition;
mod processor;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use serde::de::DeserializeOwned;
use serde_json::Value;
use whp::{Arch, Capability, CapabilityCode, Error, HResult, Partition, Platform, Result};

use crate::record::{Call, FORMAT, Header, Outcome, Record};
use partition::ReplayPartition;

/// Why a file cannot be replayed.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum ReplayError {
    #[error("cannot read the trace {}: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{}: line {line} cannot be read: {source}", path.display())]
    Line { path: PathBuf, line: usize, source: serde_json::Error },
    #[error("{}: format {format} of traces, this program reads {FORMAT}", path.display())]
    Format { path: PathBuf, format: u32 },
    #[error("{}: no trace, the first line is not a header", path.display())]
    NoHeader { path: PathBuf },
}

/// Something the client does not do as it did when it was recorded.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// The virtual processor, where one is concerned.
    pub vp: Option<u32>,
    /// What the trace has (its number and the call), unless it has nothing more.
    pub recorded: Option<(u64, Call)>,
    /// What the client did, unless it left the recorded call out.
    pub made: Option<Call>,
    /// What differs, in words.
    pub what: String,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(vp) = self.vp {
            write!(f, "vp {vp}: ")?;
        }
        write!(f, "{}", self.what)?;
        let text = |call: &Call| serde_json::to_string(call).unwrap_or_default();
        if let Some((seq, call)) = &self.recorded {
            write!(f, "\n  recorded (#{seq}): {}", text(call))?;
        }
        if let Some(call) = &self.made {
            write!(f, "\n  made: {}", text(call))?;
        }
        Ok(())
    }
}

/// Most differences that are kept; a client that went astray makes no end of them.
const MOST_DIFFERENCES: usize = 1000;
/// How far ahead a call is looked for that does not come next.
const LOOK_AHEAD: usize = 16;

/// Recorded calls of one kind, each to be used once.
#[derive(Debug, Default)]
struct Stream {
    records: Vec<Option<Record>>,
    next: usize,
}

impl Stream {
    fn skip_used(&mut self) {
        while self.records.get(self.next).is_some_and(Option::is_none) {
            self.next += 1;
        }
    }

    /// The first unused record of this very call.
    fn take_equal(&mut self, call: &Call) -> Option<Record> {
        self.skip_used();
        let rest = self.records.get_mut(self.next..)?;
        rest.iter_mut().find(|r| r.as_ref().is_some_and(|r| r.call == *call)).and_then(Option::take)
    }

    fn take_next(&mut self) -> Option<Record> {
        self.skip_used();
        let record = self.records.get_mut(self.next)?.take();
        self.next += 1;
        record
    }

    fn peek(&self, ahead: usize) -> Option<&Record> {
        self.records.get(self.next.checked_add(ahead)?)?.as_ref()
    }
}

/// What a stream is about: partition, and processor where it is one's.
type Key = (Option<u32>, Option<u32>);

struct State {
    streams: HashMap<Key, Stream>,
    /// Handler calls by the Run they were inside of.
    inside: HashMap<u64, Vec<Record>>,
    differences: Vec<Difference>,
    used_counters: HashMap<Key, Record>,
}

pub(crate) struct Shared {
    header: Header,
    state: Mutex<State>,
    partitions: AtomicU32,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn note(&self, difference: Difference) {
        let mut state = self.state();
        if state.differences.len() < MOST_DIFFERENCES {
            state.differences.push(difference);
        }
    }
}

/// See the module's documentation.
pub struct ReplayPlatform {
    shared: Arc<Shared>,
}

impl ReplayPlatform {
    /// Reads the trace `path`.
    ///
    /// # Errors
    /// When it cannot be read or is no trace. A last line that is cut off (the program was killed) is none.
    pub fn open(path: &Path) -> std::result::Result<Self, ReplayError> {
        let text = std::fs::read(path).map_err(|source| ReplayError::Read { path: path.into(), source })?;
        let mut lines = text.split(|&b| b == b'\n').enumerate().filter(|(_, l)| !l.is_empty()).peekable();
        let no_header = || ReplayError::NoHeader { path: path.into() };
        let first: Value = lines.next().and_then(|(_, l)| serde_json::from_slice(l).ok()).ok_or_else(no_header)?;
        let format = first.get("whpx_trace").and_then(Value::as_u64).ok_or_else(no_header)?;
        if format != u64::from(FORMAT) {
            return Err(ReplayError::Format { path: path.into(), format: u32::try_from(format).unwrap_or(u32::MAX) });
        }
        let bad = |line: usize| move |source| ReplayError::Line { path: path.into(), line: line + 1, source };
        let header = serde_json::from_value(first).map_err(bad(0))?;
        let mut records = Vec::new();
        while let Some((number, line)) = lines.next() {
            match serde_json::from_slice::<Record>(line) {
                Ok(record) => records.push(record),
                Err(_) if is_pending(line) => {}
                Err(_) if lines.peek().is_none() && text.last() != Some(&b'\n') => {}
                Err(e) => return Err(bad(number)(e)),
            }
        }
        Ok(Self::new(header, records))
    }

    /// Answers from these.
    pub fn new(header: Header, mut records: Vec<Record>) -> Self {
        records.sort_by_key(|r| r.seq);
        let mut streams: HashMap<Key, Stream> = HashMap::new();
        let mut inside: HashMap<u64, Vec<Record>> = HashMap::new();
        for record in records {
            match (record.inside, &record.call) {
                (Some(run), _) => inside.entry(run).or_default().push(record),
                (None, Call::CancelRunVirtualProcessor {} | Call::DeletePartition {} | Call::Refused { .. }) => {}
                // Nested calls of a handler are not told apart from others; their processor's are in its order.
                (None, _) => streams.entry((record.partition, record.vp)).or_default().records.push(Some(record)),
            }
        }
        let state = State { streams, inside, differences: Vec::new(), used_counters: HashMap::new() };
        let shared = Shared { header, state: Mutex::new(state), partitions: AtomicU32::new(0) };
        Self { shared: Arc::new(shared) }
    }

    /// The recording's header.
    pub fn header(&self) -> &Header {
        &self.shared.header
    }

    /// What the client did differently up to now.
    pub fn differences(&self) -> Vec<Difference> {
        self.shared.state().differences.clone()
    }

    /// All differences, and what the client has not done (yet): for when it has ended.
    pub fn finish(&self) -> Vec<Difference> {
        let state = self.shared.state();
        let mut left: Vec<&Record> = state.streams.values().flat_map(|s| s.records.iter().flatten()).collect();
        let free = |r: &&Record| matches!(r.call, Call::GetCapability { .. } | Call::GetVirtualProcessorCounters {});
        left.retain(|r| !free(r));
        left.sort_by_key(|r| r.seq);
        let left = left.iter().map(|r| left_out(r));
        state.differences.iter().cloned().chain(left).take(MOST_DIFFERENCES).collect()
    }
}

fn is_pending(line: &[u8]) -> bool {
    serde_json::from_slice::<crate::record::Pending>(line).is_ok()
}

fn left_out(record: &Record) -> Difference {
    let recorded = Some((record.seq, record.call.clone()));
    Difference { vp: record.vp, recorded, made: None, what: "a recorded call was not made".into() }
}

fn error(operation: &'static str, why: impl Into<String>) -> Error {
    Error::new(HResult::E_UNEXPECTED, operation, why)
}

/// The result a record holds. What a trace of another version or a forged one has there may not fit.
fn decode<T: DeserializeOwned>(operation: &'static str, record: &Record) -> Result<T> {
    match &record.outcome {
        Outcome::Done(value) => serde_json::from_value(value.clone()).map_err(|e| {
            error(operation, format!("record #{} of the trace has an impossible result: {e}", record.seq))
        }),
        Outcome::Failed(f) => {
            let known = f.operation == operation;
            let operands = if known { f.operands.clone() } else { format!("{}: {}", f.operation, f.operands) };
            Err(Error::new(f.code, operation, operands))
        }
    }
}

impl Platform for ReplayPlatform {
    fn name(&self) -> &str {
        &self.shared.header.platform
    }

    fn arch(&self) -> Arch {
        self.shared.header.arch
    }

    fn capability(&self, code: CapabilityCode) -> Result<Capability> {
        const NAME: &str = "GetCapability";
        let recorded =
            self.shared.state().streams.entry((None, None)).or_default().take_equal(&Call::GetCapability { code });
        if let Some(record) = recorded {
            return decode(NAME, &record);
        }
        let unknown =
            || Error::new(HResult::WHV_E_UNKNOWN_CAPABILITY, NAME, format!("{:#x}, not in the trace", code.0));
        let value = self.shared.header.capabilities.get(&code.0).cloned().ok_or_else(unknown)?;
        let outcome: Outcome = serde_json::from_value(value).map_err(|e| error(NAME, e.to_string()))?;
        let call = Call::GetCapability { code };
        let (seq, at, ns, tid) = (0, 0, 0, 0);
        decode(NAME, &Record { seq, at, ns, tid, partition: None, vp: None, inside: None, call, outcome })
    }

    fn create_partition(&self) -> Result<Arc<dyn Partition>> {
        let id = self.shared.partitions.fetch_add(1, Ordering::Relaxed);
        let partition = ReplayPartition { shared: self.shared.clone(), id };
        partition.plain("CreatePartition", Call::CreatePartition {})?;
        Ok(Arc::new(partition))
    }
}
