//! The decorators: each call is timed, handed on, and written down.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use guest_memory::RamBlock;
use whp::{
    AccessHandler, Arch, Capability, CapabilityCode, ExitContext, INTERRUPT_CONTROLLER_STATE_SIZE, InterruptControl,
    MapGpaRangeFlags, Partition, Platform, ProcessorCounters, Property, PropertyCode, RegisterName, RegisterValue,
    Result, TranslateGvaFlags, TranslateGvaResult, VirtualProcessor,
};

use crate::TraceError;
use crate::record::{Blob, Call};
use crate::recorder::{Begun, Recorder, Target, TraceOptions};

/// A platform whose calls, and those to what is made from it, are written to a file.
pub struct TracePlatform<P> {
    inner: P,
    recorder: Arc<Recorder>,
}

impl<P: Platform> TracePlatform<P> {
    /// Traces `platform` to the file `path`.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub fn new(platform: P, path: &Path, options: TraceOptions) -> std::result::Result<Self, TraceError> {
        let recorder = Recorder::create(&platform, path, options)?;
        Ok(Self { inner: platform, recorder })
    }

    /// A partition that was made otherwise, traced like this platform's own.
    pub fn adopt(&self, partition: Arc<dyn Partition>) -> Arc<TracePartition> {
        let begun = self.recorder.begin();
        let target = self.new_partition(begun, &Ok(()));
        Arc::new(TracePartition { inner: Some(partition), target, recorder: self.recorder.clone() })
    }

    /// Runs a function of the C API. When it fails without asking the platform, that is recorded.
    ///
    /// # Errors
    /// What `f` returns.
    pub fn refusals(&self, function: &str, f: impl FnOnce() -> Result<()>) -> Result<()> {
        self.recorder.refusals(function, f)
    }

    fn new_partition<T>(&self, begun: Begun, result: &Result<T>) -> Target {
        let id = self.recorder.partitions.fetch_add(1, Ordering::Relaxed);
        let target = Target { partition: Some(id), vp: None };
        self.recorder.end(target, begun, Call::CreatePartition {}, result, |_| ());
        target
    }
}

impl<P: Platform> Platform for TracePlatform<P> {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn arch(&self) -> Arch {
        self.inner.arch()
    }

    fn capability(&self, code: CapabilityCode) -> Result<Capability> {
        let begun = self.recorder.begin();
        let result = self.inner.capability(code);
        self.recorder.end(Target::default(), begun, Call::GetCapability { code }, &result, Capability::clone);
        result
    }

    fn create_partition(&self) -> Result<Arc<dyn Partition>> {
        let begun = self.recorder.begin();
        let result = self.inner.create_partition();
        let target = self.new_partition(begun, &result);
        Ok(Arc::new(TracePartition { inner: Some(result?), target, recorder: self.recorder.clone() }))
    }
}

/// A traced partition.
pub struct TracePartition {
    /// Taken when it is dropped, so that the time that takes is seen.
    inner: Option<Arc<dyn Partition>>,
    target: Target,
    recorder: Arc<Recorder>,
}

impl TracePartition {
    /// Records `call` for what `f` does: something like it that the traits have no method for.
    ///
    /// # Errors
    /// What `f` returns.
    pub fn record(&self, call: Call, f: impl FnOnce() -> Result<()>) -> Result<()> {
        self.plain(call, |_| f())
    }

    fn call<T, V: serde::Serialize>(
        &self,
        call: Call,
        f: impl FnOnce(&dyn Partition) -> Result<T>,
        value: impl FnOnce(&T) -> V,
    ) -> Result<T> {
        let begun = self.recorder.begin();
        let result = match &self.inner {
            Some(inner) => f(&**inner),
            None => Err(whp::Error::new(whp::HResult::E_HANDLE, "partition", "it is deleted")),
        };
        self.recorder.end(self.target, begun, call, &result, value);
        result
    }

    fn plain(&self, call: Call, f: impl FnOnce(&dyn Partition) -> Result<()>) -> Result<()> {
        self.call(call, f, |()| ())
    }
}

impl Drop for TracePartition {
    fn drop(&mut self) {
        let begun = self.recorder.begin_long(self.target, "DeletePartition");
        drop(self.inner.take());
        self.recorder.end(self.target, begun, Call::DeletePartition {}, &Ok(()), |()| ());
    }
}

impl Partition for TracePartition {
    fn property(&self, code: PropertyCode) -> Result<Property> {
        self.call(Call::GetPartitionProperty { code }, |p| p.property(code), Property::clone)
    }

    fn set_property(&self, property: Property) -> Result<()> {
        self.plain(Call::SetPartitionProperty { property: property.clone() }, |p| p.set_property(property))
    }

    fn setup(&self) -> Result<()> {
        self.plain(Call::SetupPartition {}, |p| p.setup())
    }

    fn reset(&self) -> Result<()> {
        self.plain(Call::ResetPartition {}, |p| p.reset())
    }

    fn map_gpa_range(
        &self,
        block: &Arc<RamBlock>,
        offset: u64,
        size: u64,
        gpa: u64,
        flags: MapGpaRangeFlags,
    ) -> Result<()> {
        let call = Call::MapGpaRange { block: block.name().into(), block_size: block.len(), offset, size, gpa, flags };
        self.plain(call, |p| p.map_gpa_range(block, offset, size, gpa, flags))
    }

    fn unmap_gpa_range(&self, gpa: u64, size: u64) -> Result<()> {
        self.plain(Call::UnmapGpaRange { gpa, size }, |p| p.unmap_gpa_range(gpa, size))
    }

    fn query_dirty_bitmap(&self, gpa: u64, size: u64) -> Result<Vec<u64>> {
        let full = self.recorder.full;
        let blob = |v: &Vec<u64>| Blob::new(&v.iter().flat_map(|w| w.to_le_bytes()).collect::<Vec<u8>>(), full);
        self.call(Call::QueryGpaRangeDirtyBitmap { gpa, size }, |p| p.query_dirty_bitmap(gpa, size), blob)
    }

    fn create_virtual_processor(&self, index: u32) -> Result<Arc<dyn VirtualProcessor>> {
        let vp = self.call(Call::CreateVirtualProcessor { index }, |p| p.create_virtual_processor(index), |_| ())?;
        let target = Target { vp: Some(index), ..self.target };
        Ok(Arc::new(TraceProcessor { inner: vp, target, recorder: self.recorder.clone() }))
    }

    fn delete_virtual_processor(&self, index: u32) -> Result<()> {
        self.plain(Call::DeleteVirtualProcessor { index }, |p| p.delete_virtual_processor(index))
    }

    fn request_interrupt(&self, interrupt: &InterruptControl) -> Result<()> {
        self.plain(Call::RequestInterrupt { interrupt: *interrupt }, |p| p.request_interrupt(interrupt))
    }

    fn suspend_time(&self) -> Result<()> {
        self.plain(Call::SuspendPartitionTime {}, |p| p.suspend_time())
    }

    fn resume_time(&self) -> Result<()> {
        self.plain(Call::ResumePartitionTime {}, |p| p.resume_time())
    }
}

struct TraceProcessor {
    inner: Arc<dyn VirtualProcessor>,
    target: Target,
    recorder: Arc<Recorder>,
}

impl TraceProcessor {
    fn call<T, V: serde::Serialize>(
        &self,
        call: impl FnOnce() -> Call,
        f: impl FnOnce(&dyn VirtualProcessor) -> Result<T>,
        value: impl FnOnce(&T) -> V,
    ) -> Result<T> {
        let begun = self.recorder.begin();
        let result = f(&*self.inner);
        self.recorder.end(self.target, begun, call(), &result, value);
        result
    }
}

impl VirtualProcessor for TraceProcessor {
    fn index(&self) -> u32 {
        self.inner.index()
    }

    fn run(&self, handler: Option<&dyn AccessHandler>) -> Result<ExitContext> {
        let begun = self.recorder.begin_long(self.target, "RunVirtualProcessor");
        let wrapped = handler.map(|inner| TraceHandler { inner, target: self.target, recorder: &self.recorder });
        let result = self.recorder.inside(&begun, || self.inner.run(wrapped.as_ref().map(|h| h as &dyn AccessHandler)));
        let call = Call::RunVirtualProcessor { handler: handler.is_some() };
        self.recorder.end(self.target, begun, call, &result, |exit| *exit);
        result
    }

    fn cancel(&self) {
        let begun = self.recorder.begin();
        self.inner.cancel();
        self.recorder.end(self.target, begun, Call::CancelRunVirtualProcessor {}, &Ok(()), |()| ());
    }

    fn registers(&self, names: &[RegisterName], values: &mut [RegisterValue]) -> Result<()> {
        let begun = self.recorder.begin();
        let result = self.inner.registers(names, values);
        let call = Call::GetVirtualProcessorRegisters { names: names.into() };
        self.recorder.end(self.target, begun, call, &result, |()| &*values);
        result
    }

    fn set_registers(&self, names: &[RegisterName], values: &[RegisterValue]) -> Result<()> {
        let call = || Call::SetVirtualProcessorRegisters { names: names.into(), values: values.into() };
        self.call(call, |vp| vp.set_registers(names, values), |()| ())
    }

    fn translate_gva(&self, gva: u64, flags: TranslateGvaFlags) -> Result<TranslateGvaResult> {
        self.call(|| Call::TranslateGva { gva, flags }, |vp| vp.translate_gva(gva, flags), |r| *r)
    }

    fn xsave_state(&self) -> Result<Vec<u8>> {
        let full = self.recorder.full;
        self.call(|| Call::GetVirtualProcessorXsaveState {}, |vp| vp.xsave_state(), |area| Blob::new(area, full))
    }

    fn set_xsave_state(&self, area: &[u8]) -> Result<()> {
        let call = || Call::SetVirtualProcessorXsaveState { area: Blob::new(area, self.recorder.full) };
        self.call(call, |vp| vp.set_xsave_state(area), |()| ())
    }

    fn interrupt_controller_state(&self) -> Result<Box<[u8; INTERRUPT_CONTROLLER_STATE_SIZE]>> {
        let full = self.recorder.full;
        let call = || Call::GetVirtualProcessorInterruptControllerState2 {};
        self.call(call, |vp| vp.interrupt_controller_state(), |page| Blob::new(&page[..], full))
    }

    fn set_interrupt_controller_state(&self, state: &[u8; INTERRUPT_CONTROLLER_STATE_SIZE]) -> Result<()> {
        let blob = || Blob::new(state, self.recorder.full);
        let call = || Call::SetVirtualProcessorInterruptControllerState2 { state: blob() };
        self.call(call, |vp| vp.set_interrupt_controller_state(state), |()| ())
    }

    fn cpuid_output(&self, eax: u32, ecx: u32) -> Result<[u32; 4]> {
        self.call(|| Call::GetVirtualProcessorCpuidOutput { eax, ecx }, |vp| vp.cpuid_output(eax, ecx), |r| *r)
    }

    fn counters(&self) -> ProcessorCounters {
        let begun = self.recorder.begin();
        let counters = self.inner.counters();
        self.recorder.end(self.target, begun, Call::GetVirtualProcessorCounters {}, &Ok(()), |()| counters);
        counters
    }
}

struct TraceHandler<'a> {
    inner: &'a dyn AccessHandler,
    target: Target,
    recorder: &'a Recorder,
}

impl TraceHandler<'_> {
    /// Data of at most 64 bytes: always whole.
    fn blob(data: &[u8]) -> Blob {
        Blob::new(data, true)
    }

    fn read(&self, call: Call, data: &mut [u8], f: impl FnOnce(&mut [u8])) {
        let begun = self.recorder.begin();
        f(data);
        self.recorder.end(self.target, begun, call, &Ok(()), |()| Self::blob(data));
    }

    fn write(&self, call: Call, f: impl FnOnce()) {
        let begun = self.recorder.begin();
        f();
        self.recorder.end(self.target, begun, call, &Ok(()), |()| ());
    }
}

impl AccessHandler for TraceHandler<'_> {
    fn port_read(&self, port: u16, data: &mut [u8]) {
        self.read(Call::PortRead { port, size: data.len() }, data, |d| self.inner.port_read(port, d));
    }

    fn port_write(&self, port: u16, data: &[u8]) {
        self.write(Call::PortWrite { port, data: Self::blob(data) }, || self.inner.port_write(port, data));
    }

    fn memory_read(&self, gpa: u64, data: &mut [u8]) {
        self.read(Call::MemoryRead { gpa, size: data.len() }, data, |d| self.inner.memory_read(gpa, d));
    }

    fn memory_write(&self, gpa: u64, data: &[u8]) {
        self.write(Call::MemoryWrite { gpa, data: Self::blob(data) }, || self.inner.memory_write(gpa, data));
    }

    fn declines(&self, gpa: u64, len: usize) -> bool {
        self.inner.declines(gpa, len)
    }

    fn eoi(&self, vector: u8) {
        self.write(Call::Eoi { vector }, || self.inner.eoi(vector));
    }
}
