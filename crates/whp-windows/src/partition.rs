//! A partition.

use std::collections::BTreeMap;
use std::ffi::c_void;
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use guest_memory::{PAGE_SIZE, RamBlock};
use whp::{
    CapabilityFeatures, CpuidResult, CpuidResult2, Error, HResult, InterruptControl, MapGpaRangeFlags, Partition,
    Property, PropertyCode, Result, VirtualProcessor,
};
use whp_abi::convert::{interrupt_to_abi, property_bytes, property_from_bytes};
use whp_abi::x64::{WHV_INTERRUPT_CONTROL, WHV_PARTITION_HANDLE, WHV_PARTITION_PROPERTY};

use crate::api::{Api, check, lacking};
use crate::memory::{Mapping, Mappings};
use crate::processor::{VpState, WindowsProcessor};

/// What processors know of theirs, too.
pub(crate) struct Inner {
    pub(crate) api: Arc<Api>,
    handle: WHV_PARTITION_HANDLE,
    features: CapabilityFeatures,
    mappings: Mutex<Mappings>,
    processors: Mutex<BTreeMap<u32, Arc<VpState>>>,
    /// CPUID results asked for with the platform's options.
    cpuid: Vec<CpuidResult2>,
}

// SAFETY: a partition handle may be used from any thread ("Windows Hypervisor Platform API", threading).
unsafe impl Send for Inner {}
// SAFETY: as above.
unsafe impl Sync for Inner {}

impl Drop for Inner {
    fn drop(&mut self) {
        // SAFETY: the handle is valid until here. Mapped memory is let go after this (fields are dropped later).
        let hr = unsafe { (self.api.delete_partition)(self.handle) };
        if hr < 0 {
            tracing::warn!("DeletePartition: {}", HResult(hr as u32));
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

impl Inner {
    pub(crate) fn handle(&self) -> WHV_PARTITION_HANDLE {
        self.handle
    }

    fn set(&self, code: PropertyCode, bytes: &[u8]) -> i32 {
        let (data, size) = (bytes.as_ptr().cast::<c_void>(), bytes.len() as u32);
        // SAFETY: the handle is valid, and `data` has `size` readable bytes.
        unsafe { (self.api.set_partition_property)(self.handle, code.0 as i32, data, size) }
    }

    fn query_dirty(&self, gpa: u64, size: u64) -> Result<Vec<u64>> {
        const NAME: &str = "QueryGpaRangeDirtyBitmap";
        let query = self.api.query_gpa_range_dirty_bitmap.ok_or_else(|| lacking(NAME))?;
        let what = || format!("gpa {gpa:#x}, size {size:#x}");
        let words = (size / PAGE_SIZE).div_ceil(64);
        let bytes = u32::try_from(words * 8).map_err(|_| Error::new(HResult::E_INVALIDARG, NAME, what()))?;
        let mut bitmap = vec![0u64; words as usize];
        // SAFETY: the handle is valid, and the bitmap has that many writable bytes.
        let hr = unsafe { query(self.handle, gpa, size, bitmap.as_mut_ptr(), bytes) };
        check(hr, NAME, what)?;
        Ok(bitmap)
    }

    /// Notes in `block`'s dirty log what processors have written to `len` bytes from `offset`.
    fn harvest(&self, block: &RamBlock, offset: u64, len: u64) {
        let mappings = lock(&self.mappings);
        let end = offset.saturating_add(len);
        for m in mappings.iter().filter(|m| std::ptr::eq(&raw const *m.block, block)) {
            let (from, to) = (offset.max(m.offset), end.min(m.offset + m.size));
            if from >= to || !m.flags.contains(MapGpaRangeFlags::WRITE) {
                continue;
            }
            self.harvest_mapping(m, from / PAGE_SIZE * PAGE_SIZE, to.next_multiple_of(PAGE_SIZE));
        }
    }

    fn harvest_mapping(&self, m: &Mapping, from: u64, to: u64) {
        let tracked = m.flags.contains(MapGpaRangeFlags::TRACK_DIRTY_PAGES);
        let gpa = m.gpa + (from - m.offset);
        match tracked.then(|| self.query_dirty(gpa, to - from)) {
            Some(Ok(bitmap)) => {
                for page in 0..(to - from) / PAGE_SIZE {
                    if bitmap.get((page / 64) as usize).is_some_and(|w| w >> (page % 64) & 1 != 0) {
                        m.block.after_write(from + page * PAGE_SIZE, 1);
                    }
                }
            }
            // Without tracking anything may have been written.
            _ => m.block.after_write(from, to - from),
        }
    }
}

/// See the module's documentation.
pub(crate) struct WindowsPartition {
    inner: Arc<Inner>,
}

impl WindowsPartition {
    pub(crate) fn new(api: Arc<Api>, features: CapabilityFeatures, cpuid: Vec<CpuidResult2>) -> Result<Self> {
        let mut handle: WHV_PARTITION_HANDLE = std::ptr::null_mut();
        // SAFETY: `handle` is a place for a handle.
        let hr = unsafe { (api.create_partition)(&mut handle) };
        check(hr, "CreatePartition", String::new)?;
        let (mappings, processors) = (Mutex::default(), Mutex::default());
        Ok(Self { inner: Arc::new(Inner { api, handle, features, mappings, processors, cpuid }) })
    }

    /// Tells the system about the CPUID results of the options, as well as it can be told.
    fn apply_cpuid(&self) {
        let list = &self.inner.cpuid;
        if list.is_empty() {
            return;
        }
        let Err(e) = self.set_property(Property::CpuidResultList2(list.clone())) else { return };
        // The older list has whole results, for any subleaf.
        let whole = |r: &&CpuidResult2| r.index.is_none() && r.vp_index.is_none() && r.mask == [u32::MAX; 4];
        let short = |r: &CpuidResult2| {
            let [eax, ebx, ecx, edx] = r.output;
            CpuidResult { function: r.function, eax, ebx, ecx, edx }
        };
        let old: Vec<_> = list.iter().filter(whole).map(short).collect();
        tracing::warn!("-cpu and -smp topology have only part of their effect on this version of Windows: {e}");
        if !old.is_empty()
            && let Err(e) = self.set_property(Property::CpuidResultList(old))
        {
            tracing::warn!("-cpu has no effect: {e}");
        }
    }

    /// Deletes and makes all processors: what a reset is where there is no function for it.
    fn recreate_processors(&self) -> Result<()> {
        let processors = lock(&self.inner.processors);
        processors.values().try_for_each(|vp| self.inner.delete(vp))?;
        processors.values().try_for_each(|vp| self.inner.create(vp))
    }
}

impl Drop for WindowsPartition {
    /// Handles of processors keep the partition alive, but nobody is left to stop a run.
    fn drop(&mut self) {
        lock(&self.inner.processors).values().for_each(|vp| self.inner.cancel(vp));
    }
}

impl Partition for WindowsPartition {
    fn property(&self, code: PropertyCode) -> Result<Property> {
        const NAME: &str = "GetPartitionProperty";
        let inner = &self.inner;
        let mut buffer = vec![0u64; size_of::<WHV_PARTITION_PROPERTY>().div_ceil(8)];
        loop {
            // Banks of features: how many there is room for goes in.
            buffer[0] = match code {
                PropertyCode::PROCESSOR_FEATURES_BANKS => 2,
                PropertyCode::SYNTHETIC_PROCESSOR_FEATURES_BANKS => 1,
                _ => 0,
            };
            let (size, mut written) = ((buffer.len() * 8) as u32, 0);
            let data = buffer.as_mut_ptr().cast::<c_void>();
            // SAFETY: the handle is valid, `data` has `size` writable bytes, `written` is a place for a number.
            let hr =
                unsafe { (inner.api.get_partition_property)(inner.handle, code.0 as i32, data, size, &mut written) };
            if HResult(hr as u32) == HResult::WHV_E_INSUFFICIENT_BUFFER && size < 1 << 20 {
                let larger = buffer.len() * 8;
                buffer.resize(larger, 0);
                continue;
            }
            let what = || format!("code {:#x}", code.0);
            check(hr, NAME, what)?;
            let bytes: Vec<u8> = buffer.iter().flat_map(|w| w.to_le_bytes()).take(written.min(size) as usize).collect();
            return property_from_bytes(code, &bytes)
                .map_err(|e| Error::new(HResult::E_UNEXPECTED, NAME, format!("{}: {e:?}", what())));
        }
    }

    fn set_property(&self, property: Property) -> Result<()> {
        let code = property.code();
        let hr = self.inner.set(code, &property_bytes(&property));
        check(hr, "SetPartitionProperty", || format!("{property:?}"))
    }

    fn setup(&self) -> Result<()> {
        self.apply_cpuid();
        // SAFETY: the handle is valid.
        let hr = unsafe { (self.inner.api.setup_partition)(self.inner.handle) };
        check(hr, "SetupPartition", String::new)
    }

    fn reset(&self) -> Result<()> {
        let inner = &self.inner;
        if lock(&inner.processors).values().any(|vp| vp.is_running()) {
            let what = "a virtual processor runs";
            return Err(Error::new(HResult::WHV_E_INVALID_VP_STATE, "ResetPartition", what));
        }
        if let Some(reset) = inner.api.reset_partition {
            // SAFETY: the handle is valid.
            match check(unsafe { reset(inner.handle) }, "ResetPartition", String::new) {
                Ok(()) => {
                    return lock(&inner.processors).values().try_for_each(|vp| inner.restore_apic_id(vp));
                }
                Err(e) => tracing::debug!("{e}; the virtual processors are made anew"),
            }
        }
        self.recreate_processors()
    }

    fn map_gpa_range(
        &self,
        block: &Arc<RamBlock>,
        offset: u64,
        size: u64,
        gpa: u64,
        flags: MapGpaRangeFlags,
    ) -> Result<()> {
        const NAME: &str = "MapGpaRange";
        let inner = &self.inner;
        let what = || format!("{}, offset {offset:#x}, size {size:#x}, gpa {gpa:#x}, {flags:?}", block.name());
        let inside = offset.checked_add(size).is_some_and(|end| end <= block.len());
        if size == 0 || !inside || gpa.checked_add(size).is_none() || !(offset | size | gpa).is_multiple_of(PAGE_SIZE) {
            return Err(Error::new(HResult::E_INVALIDARG, NAME, what()));
        }
        let mut flags = flags;
        let logged = block.is_tracked() && flags.contains(MapGpaRangeFlags::WRITE);
        if logged && inner.features.contains(CapabilityFeatures::DIRTY_PAGE_TRACKING) {
            flags |= MapGpaRangeFlags::TRACK_DIRTY_PAGES;
        }
        let mut mappings = lock(&inner.mappings);
        let map = |flags: MapGpaRangeFlags| {
            let host = block.host_ptr(offset).cast_const().cast::<c_void>();
            // SAFETY: the handle is valid; the memory is inside the block, which `mappings` keeps alive as long as it
            // is mapped.
            unsafe { (inner.api.map_gpa_range)(inner.handle, host, gpa, size, flags.bits()) }
        };
        let mut hr = map(flags);
        if hr < 0 && flags.contains(MapGpaRangeFlags::TRACK_DIRTY_PAGES) && logged {
            flags -= MapGpaRangeFlags::TRACK_DIRTY_PAGES; // everything counts as written then
            hr = map(flags);
        }
        check(hr, NAME, what)?;
        mappings.insert(Mapping { gpa, size, block: block.clone(), offset, flags });
        drop(mappings);
        if logged {
            // Fresh memory counts as written.
            block.after_write(offset, size);
            let inner: Weak<Inner> = Arc::downgrade(inner);
            block.set_dirty_source(Arc::new(move |block, offset, len| {
                if let Some(inner) = inner.upgrade() {
                    inner.harvest(block, offset, len);
                }
            }));
        }
        Ok(())
    }

    fn unmap_gpa_range(&self, gpa: u64, size: u64) -> Result<()> {
        let inner = &self.inner;
        let mut mappings = lock(&inner.mappings);
        // What was written before it goes away must not be lost: a window of video memory is unmapped on bank switches.
        let end = gpa.saturating_add(size);
        for m in mappings.iter().filter(|m| m.gpa < end && gpa < m.gpa + m.size && m.block.is_tracked()) {
            let (from, to) = (gpa.max(m.gpa), end.min(m.gpa + m.size));
            inner.harvest_mapping(m, m.offset + (from - m.gpa), m.offset + (to - m.gpa));
        }
        // SAFETY: the handle is valid.
        let hr = unsafe { (inner.api.unmap_gpa_range)(inner.handle, gpa, size) };
        check(hr, "UnmapGpaRange", || format!("gpa {gpa:#x}, size {size:#x}"))?;
        mappings.remove(gpa, size);
        Ok(())
    }

    fn query_dirty_bitmap(&self, gpa: u64, size: u64) -> Result<Vec<u64>> {
        self.inner.query_dirty(gpa, size)
    }

    fn create_virtual_processor(&self, index: u32) -> Result<Arc<dyn VirtualProcessor>> {
        let mut processors = lock(&self.inner.processors);
        let state = Arc::new(VpState::new(index));
        self.inner.create(&state)?;
        processors.insert(index, state.clone());
        Ok(Arc::new(WindowsProcessor::new(self.inner.clone(), state)))
    }

    fn delete_virtual_processor(&self, index: u32) -> Result<()> {
        let mut processors = lock(&self.inner.processors);
        let Some(vp) = processors.get(&index) else {
            let what = format!("index {index}");
            return Err(Error::new(HResult::WHV_E_VP_DOES_NOT_EXIST, "DeleteVirtualProcessor", what));
        };
        self.inner.delete(vp)?;
        processors.remove(&index);
        Ok(())
    }

    fn request_interrupt(&self, interrupt: &InterruptControl) -> Result<()> {
        const NAME: &str = "RequestInterrupt";
        let request = self.inner.api.request_interrupt.ok_or_else(|| lacking(NAME))?;
        let control = interrupt_to_abi(interrupt);
        let size = size_of::<WHV_INTERRUPT_CONTROL>() as u32;
        // SAFETY: the handle is valid, and `control` is a whole structure.
        let hr = unsafe { request(self.inner.handle, &control, size) };
        check(hr, NAME, || format!("{interrupt:?}"))
    }

    fn suspend_time(&self) -> Result<()> {
        const NAME: &str = "SuspendPartitionTime";
        let suspend = self.inner.api.suspend_partition_time.ok_or_else(|| lacking(NAME))?;
        // SAFETY: the handle is valid.
        check(unsafe { suspend(self.inner.handle) }, NAME, String::new)
    }

    fn resume_time(&self) -> Result<()> {
        const NAME: &str = "ResumePartitionTime";
        let resume = self.inner.api.resume_partition_time.ok_or_else(|| lacking(NAME))?;
        // SAFETY: the handle is valid.
        check(unsafe { resume(self.inner.handle) }, NAME, String::new)
    }
}
