//! A provider over the C functions, as a client of Microsoft's DLL would write it.

use std::ffi::c_void;
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock};

use guest_memory::RamBlock;
use whp::*;
use whp_abi::convert;
use whp_abi::x64 as c;
use winhvplatform::*;

pub struct ClientPlatform;

/// A mapped range, or (without block) an unmapped one; newest last.
#[derive(Clone)]
pub struct Mapped {
    pub gpa: u64,
    pub size: u64,
    pub block: Option<Arc<RamBlock>>,
    pub offset: u64,
    pub flags: MapGpaRangeFlags,
}

pub struct ClientPartition {
    handle: usize,
    ranges: Arc<RwLock<Vec<Mapped>>>,
    deleted: Arc<AtomicBool>,
}

pub struct ClientProcessor {
    handle: usize,
    index: u32,
    ranges: Arc<RwLock<Vec<Mapped>>>,
    deleted: Arc<AtomicBool>,
}

fn check(operation: &'static str, code: c::HRESULT) -> Result<()> {
    convert::result_of(code).map_err(|code| Error::new(code, operation, "C API"))
}

/// Calls with size 0 to learn the size, then for the value.
fn sized(operation: &'static str, call: impl Fn(*mut c_void, u32, *mut u32) -> c::HRESULT) -> Result<Vec<u8>> {
    let mut size = 0;
    match check(operation, call(null_mut(), 0, &mut size)) {
        Err(e) if e.code == HResult::WHV_E_INSUFFICIENT_BUFFER => {}
        other => return other.map(|()| Vec::new()),
    }
    let mut value = vec![0; size as usize];
    let mut written = 0;
    check(operation, call(value.as_mut_ptr().cast(), size, &mut written))?;
    assert_eq!(written, size);
    Ok(value)
}

impl Platform for ClientPlatform {
    fn name(&self) -> &str {
        "C API"
    }

    fn arch(&self) -> Arch {
        Arch::X64
    }

    fn capability(&self, code: CapabilityCode) -> Result<Capability> {
        // SAFETY: the buffer is as long as its size says.
        let value = sized("GetCapability", |b, s, w| unsafe { WHvGetCapability(code.0 as i32, b, s, w) })?;
        assert_eq!(Some(value.len()), convert::capability_size(code));
        Ok(convert::capability_from_bytes(code, &value).unwrap())
    }

    fn create_partition(&self) -> Result<Arc<dyn Partition>> {
        let mut handle = null_mut();
        // SAFETY: a variable for the handle.
        check("CreatePartition", unsafe { WHvCreatePartition(&mut handle) })?;
        Ok(Arc::new(ClientPartition { handle: handle as usize, ranges: Arc::default(), deleted: Arc::default() }))
    }
}

impl ClientPartition {
    fn h(&self) -> c::WHV_PARTITION_HANDLE {
        self.handle as c::WHV_PARTITION_HANDLE
    }
}

impl Drop for ClientPartition {
    fn drop(&mut self) {
        self.deleted.store(true, Ordering::SeqCst);
        // SAFETY: no pointers.
        check("DeletePartition", unsafe { WHvDeletePartition(self.h()) }).unwrap();
    }
}

// SAFETY in this block: buffers are as long as their sizes say; mapped blocks are kept in `ranges` until the
// partition is deleted.
impl Partition for ClientPartition {
    fn property(&self, code: PropertyCode) -> Result<Property> {
        let get = |b, s, w| {
            // SAFETY: see above.
            unsafe { WHvGetPartitionProperty(self.h(), code.0 as i32, b, s, w) }
        };
        let value = sized("GetPartitionProperty", get)?;
        Ok(convert::property_from_bytes(code, &value).unwrap())
    }

    fn set_property(&self, property: Property) -> Result<()> {
        let mut bytes = convert::property_bytes(&property);
        if convert::property_size(property.code()).is_some() {
            bytes.resize(48, 0); // as QEMU does: the whole union
        }
        let (at, size) = (bytes.as_ptr().cast(), bytes.len() as u32);
        // SAFETY: see above.
        let code = unsafe { WHvSetPartitionProperty(self.h(), property.code().0 as i32, at, size) };
        check("SetPartitionProperty", code)
    }

    fn setup(&self) -> Result<()> {
        // SAFETY: no pointers.
        check("SetupPartition", unsafe { WHvSetupPartition(self.h()) })
    }

    fn reset(&self) -> Result<()> {
        // SAFETY: no pointers.
        check("ResetPartition", unsafe { WHvResetPartition(self.h()) })
    }

    fn map_gpa_range(
        &self,
        block: &Arc<RamBlock>,
        offset: u64,
        size: u64,
        gpa: u64,
        flags: MapGpaRangeFlags,
    ) -> Result<()> {
        self.ranges.write().unwrap().push(Mapped { gpa, size, block: Some(block.clone()), offset, flags });
        let source = block.host_ptr(offset).cast_const().cast();
        // SAFETY: see above.
        check("MapGpaRange", unsafe { WHvMapGpaRange(self.h(), source, gpa, size, flags.bits()) })
    }

    fn unmap_gpa_range(&self, gpa: u64, size: u64) -> Result<()> {
        // SAFETY: no pointers.
        check("UnmapGpaRange", unsafe { WHvUnmapGpaRange(self.h(), gpa, size) })?;
        let flags = MapGpaRangeFlags::empty();
        self.ranges.write().unwrap().push(Mapped { gpa, size, block: None, offset: 0, flags });
        Ok(())
    }

    fn query_dirty_bitmap(&self, gpa: u64, size: u64) -> Result<Vec<u64>> {
        let mut words = vec![0; (size / 4096).div_ceil(64) as usize];
        let bytes = 8 * words.len() as u32;
        // SAFETY: see above.
        let code = unsafe { WHvQueryGpaRangeDirtyBitmap(self.h(), gpa, size, words.as_mut_ptr(), bytes) };
        check("QueryGpaRangeDirtyBitmap", code).map(|()| words)
    }

    fn create_virtual_processor(&self, index: u32) -> Result<Arc<dyn VirtualProcessor>> {
        // SAFETY: no pointers.
        check("CreateVirtualProcessor", unsafe { WHvCreateVirtualProcessor(self.h(), index, 0) })?;
        let (ranges, deleted) = (self.ranges.clone(), self.deleted.clone());
        Ok(Arc::new(ClientProcessor { handle: self.handle, index, ranges, deleted }))
    }

    fn delete_virtual_processor(&self, index: u32) -> Result<()> {
        // SAFETY: no pointers.
        check("DeleteVirtualProcessor", unsafe { WHvDeleteVirtualProcessor(self.h(), index) })
    }

    fn request_interrupt(&self, interrupt: &InterruptControl) -> Result<()> {
        let i = convert::interrupt_to_abi(interrupt);
        // SAFETY: see above.
        check("RequestInterrupt", unsafe { WHvRequestInterrupt(self.h(), &i, size_of_val(&i) as u32) })
    }

    fn suspend_time(&self) -> Result<()> {
        // SAFETY: no pointers.
        check("SuspendPartitionTime", unsafe { WHvSuspendPartitionTime(self.h()) })
    }

    fn resume_time(&self) -> Result<()> {
        // SAFETY: no pointers.
        check("ResumePartitionTime", unsafe { WHvResumePartitionTime(self.h()) })
    }
}

impl ClientProcessor {
    fn h(&self) -> c::WHV_PARTITION_HANDLE {
        self.handle as c::WHV_PARTITION_HANDLE
    }

    fn run_once(&self) -> Result<ExitContext> {
        let mut exit = c::WHV_RUN_VP_EXIT_CONTEXT::default();
        let size = size_of_val(&exit) as u32;
        // SAFETY: a buffer of that size.
        let code = unsafe { WHvRunVirtualProcessor(self.h(), self.index, (&raw mut exit).cast(), size) };
        match check("RunVirtualProcessor", code) {
            // A handle that is gone is an error in C; a processor that outlives its partition does not exist there.
            Err(e) if e.code == HResult::E_HANDLE && self.deleted.load(Ordering::SeqCst) => {
                Ok(ExitContext { vp: VpContext::default(), exit: Exit::Canceled })
            }
            other => other.map(|()| convert::exit_from_abi(&exit)),
        }
    }

    fn counter_words(&self, set: i32) -> Vec<u64> {
        let get = |b, s, w| {
            // SAFETY: the buffer is as long as its size says.
            unsafe { WHvGetVirtualProcessorCounters(self.h(), self.index, set, b, s, w) }
        };
        let bytes = sized("GetVirtualProcessorCounters", get).unwrap();
        bytes.chunks_exact(8).map(|b| u64::from_le_bytes(b.try_into().unwrap())).collect()
    }
}

// SAFETY in this block: buffers and arrays are as long as their sizes say.
impl VirtualProcessor for ClientProcessor {
    fn index(&self) -> u32 {
        self.index
    }

    fn run(&self, handler: Option<&dyn AccessHandler>) -> Result<ExitContext> {
        loop {
            let exit = self.run_once()?;
            let Some(handler) = handler else { return Ok(exit) };
            let ranges = self.ranges.read().unwrap().clone(); // not locked while the handler may change the map
            if !crate::emulate::complete(self, &ranges, handler, &exit)? {
                return Ok(exit);
            }
        }
    }

    fn cancel(&self) {
        // SAFETY: no pointers.
        let code = unsafe { WHvCancelRunVirtualProcessor(self.h(), self.index, 0) };
        assert!(code == 0 || self.deleted.load(Ordering::SeqCst));
    }

    fn registers(&self, names: &[RegisterName], values: &mut [RegisterValue]) -> Result<()> {
        if names.len() != values.len() {
            return Err(Error::new(HResult::E_INVALIDARG, "GetVirtualProcessorRegisters", "lengths"));
        }
        let names: Vec<_> = names.iter().map(|n| n.0 as i32).collect();
        let mut out = vec![c::WHV_REGISTER_VALUE::default(); names.len()];
        let (n, count) = (names.as_ptr(), names.len() as u32);
        // SAFETY: see above.
        let code = unsafe { WHvGetVirtualProcessorRegisters(self.h(), self.index, n, count, out.as_mut_ptr()) };
        check("GetVirtualProcessorRegisters", code)?;
        values.iter_mut().zip(&out).for_each(|(to, from)| *to = convert::register_from_abi(from));
        Ok(())
    }

    fn set_registers(&self, names: &[RegisterName], values: &[RegisterValue]) -> Result<()> {
        let names: Vec<_> = names.iter().map(|n| n.0 as i32).collect();
        let values: Vec<_> = values.iter().map(|v| convert::register_to_abi(*v)).collect();
        assert_eq!(names.len(), values.len());
        let (n, count) = (names.as_ptr(), names.len() as u32);
        // SAFETY: see above.
        let code = unsafe { WHvSetVirtualProcessorRegisters(self.h(), self.index, n, count, values.as_ptr()) };
        check("SetVirtualProcessorRegisters", code)
    }

    fn translate_gva(&self, gva: u64, flags: TranslateGvaFlags) -> Result<TranslateGvaResult> {
        let (mut result, mut gpa) = (c::WHV_TRANSLATE_GVA_RESULT::default(), 0);
        // SAFETY: see above.
        let code = unsafe { WHvTranslateGva(self.h(), self.index, gva, flags.bits(), &mut result, &mut gpa) };
        check("TranslateGva", code)?;
        Ok(TranslateGvaResult { code: TranslateGvaResultCode(result.ResultCode as u32), gpa })
    }

    fn xsave_state(&self) -> Result<Vec<u8>> {
        sized("GetVirtualProcessorXsaveState", |b, s, w| {
            // SAFETY: see above.
            unsafe { WHvGetVirtualProcessorXsaveState(self.h(), self.index, b, s, w) }
        })
    }

    fn set_xsave_state(&self, area: &[u8]) -> Result<()> {
        let (at, size) = (area.as_ptr().cast(), area.len() as u32);
        // SAFETY: see above.
        let code = unsafe { WHvSetVirtualProcessorXsaveState(self.h(), self.index, at, size) };
        check("SetVirtualProcessorXsaveState", code)
    }

    fn interrupt_controller_state(&self) -> Result<Box<[u8; INTERRUPT_CONTROLLER_STATE_SIZE]>> {
        let mut page = Box::new([0; INTERRUPT_CONTROLLER_STATE_SIZE]);
        let at = page.as_mut_ptr().cast();
        // SAFETY: see above; the written size may be null.
        let code =
            unsafe { WHvGetVirtualProcessorInterruptControllerState2(self.h(), self.index, at, 4096, null_mut()) };
        check("GetVirtualProcessorInterruptControllerState2", code).map(|()| page)
    }

    fn set_interrupt_controller_state(&self, state: &[u8; INTERRUPT_CONTROLLER_STATE_SIZE]) -> Result<()> {
        let at = state.as_ptr().cast();
        // SAFETY: see above.
        let code = unsafe { WHvSetVirtualProcessorInterruptControllerState2(self.h(), self.index, at, 4096) };
        check("SetVirtualProcessorInterruptControllerState2", code)
    }

    fn cpuid_output(&self, eax: u32, ecx: u32) -> Result<[u32; 4]> {
        let mut o = c::WHV_CPUID_OUTPUT::default();
        // SAFETY: see above.
        let code = unsafe { WHvGetVirtualProcessorCpuidOutput(self.h(), self.index, eax, ecx, &mut o) };
        check("GetVirtualProcessorCpuidOutput", code).map(|()| [o.Eax, o.Ebx, o.Ecx, o.Edx])
    }

    fn counters(&self) -> ProcessorCounters {
        let (runtime, intercepts) = (self.counter_words(0), self.counter_words(1));
        let (events, apic) = (self.counter_words(2), self.counter_words(3));
        let count = |n: usize| intercepts[2 * n];
        ProcessorCounters {
            runtime: RuntimeCounters { total_runtime_100ns: runtime[0], hypervisor_runtime_100ns: runtime[1] },
            intercepts: InterceptCounters {
                io_instructions: count(2),
                halt_instructions: count(3),
                cpuid_instructions: count(4),
                msr_accesses: count(5),
                other_intercepts: count(6),
                pending_interrupts: count(7),
                memory_intercepts: count(11),
            },
            events: EventCounters {
                page_fault_count: events[0],
                exception_count: events[1],
                interrupt_count: events[2],
            },
            apic: ApicCounters {
                mmio_access_count: apic[0],
                eoi_access_count: apic[1],
                tpr_access_count: apic[2],
                sent_ipi_count: apic[3],
                self_ipi_count: apic[4],
            },
        }
    }
}

/// Null is an error, not a crash, wherever a pointer is wanted.
#[test]
fn a_name_list_may_not_be_null() {
    let platform = ClientPlatform;
    let p = platform.create_partition().unwrap();
    p.set_property(Property::ProcessorCount(1)).unwrap();
    p.setup().unwrap();
    let _vp = p.create_virtual_processor(0).unwrap();
    // SAFETY: null is allowed.
    let code = unsafe { WHvGetVirtualProcessorRegisters(null_mut(), 0, null(), 1, null_mut()) };
    assert_eq!(convert::result_of(code), Err(HResult::E_HANDLE));
}
