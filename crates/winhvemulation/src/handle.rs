//! Emulator handles: numbers, never used twice, so that a wrong or old one is found out.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, RwLock};
use std::thread::ThreadId;

use emulator::Emulator;
use whp::HResult;
use whp_abi::emulation::WHV_EMULATOR_HANDLE;

use crate::callbacks::Callbacks;

/// An emulator and its client's callbacks.
pub(crate) struct Entry {
    pub(crate) callbacks: Callbacks,
    /// Made by the first call that needs it: it is big, and a client has one a virtual processor.
    emulator: Mutex<Option<Box<Emulator>>>,
    /// Who is inside.
    user: Mutex<Option<ThreadId>>,
}

/// The right to use an emulator.
pub(crate) struct InUse<'a> {
    entry: &'a Entry,
    emulator: MutexGuard<'a, Option<Box<Emulator>>>,
}

impl Entry {
    /// Waits until no other thread uses it.
    ///
    /// # Errors
    /// `E_UNEXPECTED` for a callback that is called by this very emulator.
    pub(crate) fn enter(&self) -> Result<InUse<'_>, HResult> {
        let this = std::thread::current().id();
        if *self.user.lock().unwrap_or_else(|e| e.into_inner()) == Some(this) {
            return Err(HResult::E_UNEXPECTED);
        }
        let mut emulator = self.emulator.lock().unwrap_or_else(|e| {
            // A panic left it in no known state.
            let mut emulator = e.into_inner();
            *emulator = None;
            emulator
        });
        emulator.get_or_insert_with(|| Box::new(Emulator::new().with_one_event()));
        *self.user.lock().unwrap_or_else(|e| e.into_inner()) = Some(this);
        Ok(InUse { entry: self, emulator })
    }
}

impl InUse<'_> {
    pub(crate) fn emulator(&mut self) -> &mut Emulator {
        self.emulator.get_or_insert_with(|| Box::new(Emulator::new().with_one_event()))
    }
}

impl Drop for InUse<'_> {
    fn drop(&mut self) {
        *self.entry.user.lock().unwrap_or_else(|e| e.into_inner()) = None;
    }
}

/// Statics are not dropped: processors may run while the process ends.
fn table() -> &'static RwLock<HashMap<usize, Arc<Entry>>> {
    static TABLE: OnceLock<RwLock<HashMap<usize, Arc<Entry>>>> = OnceLock::new();
    TABLE.get_or_init(RwLock::default)
}

/// A number that looks like no address and no other kind of handle.
fn number() -> usize {
    const TAG: usize = 0x4557;
    static LAST: AtomicUsize = AtomicUsize::new(0);
    LAST.fetch_add(1, Ordering::Relaxed).wrapping_add(1) << 16 | TAG
}

/// A new emulator's handle.
pub(crate) fn create(callbacks: Callbacks) -> WHV_EMULATOR_HANDLE {
    let entry = Entry { callbacks, emulator: Mutex::default(), user: Mutex::default() };
    let handle = number();
    table().write().unwrap_or_else(|e| e.into_inner()).insert(handle, Arc::new(entry));
    handle as WHV_EMULATOR_HANDLE
}

/// The emulator behind a handle.
///
/// # Errors
/// `E_INVALIDARG`, as Microsoft documents it for this API.
pub(crate) fn find(handle: WHV_EMULATOR_HANDLE) -> Result<Arc<Entry>, HResult> {
    let entries = table().read().unwrap_or_else(|e| e.into_inner());
    entries.get(&(handle as usize)).cloned().ok_or(HResult::E_INVALIDARG)
}

/// Takes a handle out of use.
///
/// # Errors
/// As [`find`].
pub(crate) fn remove(handle: WHV_EMULATOR_HANDLE) -> Result<Arc<Entry>, HResult> {
    let mut entries = table().write().unwrap_or_else(|e| e.into_inner());
    entries.remove(&(handle as usize)).ok_or(HResult::E_INVALIDARG)
}
