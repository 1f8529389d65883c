//! A virtual processor.

use std::ffi::c_void;
use std::sync::{Arc, Mutex, MutexGuard};

use whp::{
    AccessHandler, ApicCounters, Error, EventCounters, ExitContext, HResult, INTERRUPT_CONTROLLER_STATE_SIZE,
    InterceptCounters, ProcessorCounters, RegisterName, RegisterValue, Result, RuntimeCounters, TranslateGvaFlags,
    TranslateGvaResult, TranslateGvaResultCode, VirtualProcessor,
};
use whp_abi::convert::{exit_from_abi, register_from_abi, register_to_abi};
use whp_abi::x64::*;

use crate::api::{check, lacking};
use crate::partition::Inner;

/// Registers moved in one call; more take several calls.
const BATCH: usize = 64;

/// A page, for buffers that the hypervisor may want aligned.
#[derive(Clone, Copy)]
#[repr(C, align(4096))]
struct Page([u8; 4096]);

/// What the partition remembers of a processor.
pub(crate) struct VpState {
    pub(crate) index: u32,
    /// Whether it runs; locked by calls that want it not to, for as long as they take.
    running: Mutex<bool>,
    /// The APIC identifier it was given, which a reset loses.
    apic_id: Mutex<Option<RegisterValue>>,
}

impl VpState {
    pub(crate) fn new(index: u32) -> Self {
        Self { index, running: Mutex::new(false), apic_id: Mutex::new(None) }
    }

    fn running(&self) -> MutexGuard<'_, bool> {
        self.running.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Keeps it from running; waits for other such calls, not for a run.
    fn idle(&self, operation: &'static str) -> Result<MutexGuard<'_, bool>> {
        let running = self.running();
        if *running {
            let what = format!("virtual processor {}: it runs", self.index);
            return Err(Error::new(HResult::WHV_E_INVALID_VP_STATE, operation, what));
        }
        Ok(running)
    }

    pub(crate) fn is_running(&self) -> bool {
        *self.running()
    }

    fn apic_id(&self) -> MutexGuard<'_, Option<RegisterValue>> {
        self.apic_id.lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl Inner {
    pub(crate) fn create(&self, vp: &VpState) -> Result<()> {
        // SAFETY: the handle is valid.
        let hr = unsafe { (self.api.create_virtual_processor)(self.handle(), vp.index, 0) };
        check(hr, "CreateVirtualProcessor", || format!("index {}", vp.index))?;
        self.restore_apic_id(vp)
    }

    pub(crate) fn delete(&self, vp: &VpState) -> Result<()> {
        const NAME: &str = "DeleteVirtualProcessor";
        let _idle = vp.idle(NAME)?;
        // SAFETY: the handle is valid.
        let hr = unsafe { (self.api.delete_virtual_processor)(self.handle(), vp.index) };
        check(hr, NAME, || format!("index {}", vp.index))
    }

    pub(crate) fn cancel(&self, vp: &VpState) {
        // SAFETY: the handle is valid.
        let hr = unsafe { (self.api.cancel_run_virtual_processor)(self.handle(), vp.index, 0) };
        if let Err(e) = check(hr, "CancelRunVirtualProcessor", || format!("index {}", vp.index)) {
            tracing::debug!("{e}"); // it was deleted
        }
    }

    /// After a reset: the APIC identifier is a matter of the machine, not of the guest.
    pub(crate) fn restore_apic_id(&self, vp: &VpState) -> Result<()> {
        let id = *vp.apic_id();
        id.map_or(Ok(()), |id| self.set_registers(vp.index, &[RegisterName::INITIAL_APIC_ID], &[id]))
    }

    fn set_registers(&self, index: u32, names: &[RegisterName], values: &[RegisterValue]) -> Result<()> {
        for (names, values) in names.chunks(BATCH).zip(values.chunks(BATCH)) {
            let (mut n, mut v) = ([0; BATCH], [WHV_REGISTER_VALUE::default(); BATCH]);
            for (i, (name, value)) in names.iter().zip(values).enumerate() {
                (n[i], v[i]) = (name.0 as WHV_REGISTER_NAME, register_to_abi(*value));
            }
            let set = self.api.set_virtual_processor_registers;
            // SAFETY: the handle is valid, and both arrays have at least that many entries.
            let hr = unsafe { set(self.handle(), index, n.as_ptr(), names.len() as u32, v.as_ptr()) };
            check(hr, "SetVirtualProcessorRegisters", || format!("virtual processor {index}, {names:?}"))?;
        }
        Ok(())
    }
}

/// A handle of a processor.
pub(crate) struct WindowsProcessor {
    partition: Arc<Inner>,
    state: Arc<VpState>,
}

impl WindowsProcessor {
    pub(crate) fn new(partition: Arc<Inner>, state: Arc<VpState>) -> Self {
        Self { partition, state }
    }

    fn what(&self) -> String {
        format!("virtual processor {}", self.state.index)
    }

    /// Calls `read` with a growing buffer until what it writes fits, and gives the bytes.
    fn buffer(
        &self,
        operation: &'static str,
        mut read: impl FnMut(*mut c_void, u32, *mut u32) -> i32,
    ) -> Result<Vec<u8>> {
        let mut pages = 4;
        loop {
            let mut buffer = vec![Page([0; 4096]); pages];
            let (size, mut written) = ((pages * 4096) as u32, 0);
            let hr = read(buffer.as_mut_ptr().cast(), size, &mut written);
            if HResult(hr as u32) == HResult::WHV_E_INSUFFICIENT_BUFFER && pages < 256 {
                pages = (pages * 2).max((written as usize).div_ceil(4096).min(256));
                continue;
            }
            check(hr, operation, || self.what())?;
            return Ok(buffer.iter().flat_map(|p| p.0).take(written.min(size) as usize).collect());
        }
    }

    /// A counter set as words; what the system lacks is nothing.
    fn counter_set(&self, set: WHV_PROCESSOR_COUNTER_SET) -> Vec<u64> {
        let Some(get) = self.partition.api.get_virtual_processor_counters else { return Vec::new() };
        let (mut words, mut written) = ([0u64; 64], 0);
        let (size, data) = (size_of_val(&words) as u32, words.as_mut_ptr().cast());
        // SAFETY: the handle is valid, `data` has `size` writable bytes, `written` is a place for a number.
        let hr = unsafe { get(self.partition.handle(), self.state.index, set, data, size, &mut written) };
        if hr < 0 { Vec::new() } else { words[..(written.min(size) / 8) as usize].to_vec() }
    }
}

fn lengths(operation: &'static str, names: &[RegisterName], values: usize) -> Result<()> {
    if names.len() == values {
        return Ok(());
    }
    let what = format!("{} names, {values} values", names.len());
    Err(Error::new(HResult::E_INVALIDARG, operation, what))
}

impl VirtualProcessor for WindowsProcessor {
    fn index(&self) -> u32 {
        self.state.index
    }

    fn run(&self, _handler: Option<&dyn AccessHandler>) -> Result<ExitContext> {
        const NAME: &str = "RunVirtualProcessor";
        *self.state.idle(NAME)? = true;
        let mut context = WHV_RUN_VP_EXIT_CONTEXT::default();
        let (size, data) = (size_of_val(&context) as u32, (&raw mut context).cast());
        let run = self.partition.api.run_virtual_processor;
        // SAFETY: the handle is valid, and `data` has `size` writable bytes.
        let hr = unsafe { run(self.partition.handle(), self.state.index, data, size) };
        *self.state.running() = false;
        check(hr, NAME, || self.what())?;
        Ok(exit_from_abi(&context))
    }

    fn cancel(&self) {
        self.partition.cancel(&self.state);
    }

    fn registers(&self, names: &[RegisterName], values: &mut [RegisterValue]) -> Result<()> {
        const NAME: &str = "GetVirtualProcessorRegisters";
        lengths(NAME, names, values.len())?;
        let _idle = self.state.idle(NAME)?;
        for (names, values) in names.chunks(BATCH).zip(values.chunks_mut(BATCH)) {
            let (mut n, mut v) = ([0; BATCH], [WHV_REGISTER_VALUE::default(); BATCH]);
            n.iter_mut().zip(names).for_each(|(n, name)| *n = name.0 as WHV_REGISTER_NAME);
            let (get, index) = (self.partition.api.get_virtual_processor_registers, self.state.index);
            // SAFETY: the handle is valid, and both arrays have at least that many entries.
            let hr = unsafe { get(self.partition.handle(), index, n.as_ptr(), names.len() as u32, v.as_mut_ptr()) };
            check(hr, NAME, || format!("{}, {names:?}", self.what()))?;
            values.iter_mut().zip(&v).for_each(|(to, from)| *to = register_from_abi(from));
        }
        Ok(())
    }

    fn set_registers(&self, names: &[RegisterName], values: &[RegisterValue]) -> Result<()> {
        const NAME: &str = "SetVirtualProcessorRegisters";
        lengths(NAME, names, values.len())?;
        let _idle = self.state.idle(NAME)?;
        self.partition.set_registers(self.state.index, names, values)?;
        if let Some(i) = names.iter().position(|n| *n == RegisterName::INITIAL_APIC_ID) {
            *self.state.apic_id() = values.get(i).copied();
        }
        Ok(())
    }

    fn translate_gva(&self, gva: u64, flags: TranslateGvaFlags) -> Result<TranslateGvaResult> {
        const NAME: &str = "TranslateGva";
        let _idle = self.state.idle(NAME)?;
        let (mut result, mut gpa) = (WHV_TRANSLATE_GVA_RESULT::default(), 0);
        let (translate, flags) = (self.partition.api.translate_gva, flags.bits() as WHV_TRANSLATE_GVA_FLAGS);
        // SAFETY: the handle is valid, and both places take what is written.
        let hr = unsafe { translate(self.partition.handle(), self.state.index, gva, flags, &mut result, &mut gpa) };
        check(hr, NAME, || format!("{}, gva {gva:#x}", self.what()))?;
        Ok(TranslateGvaResult { code: TranslateGvaResultCode(result.ResultCode as u32), gpa })
    }

    fn xsave_state(&self) -> Result<Vec<u8>> {
        const NAME: &str = "GetVirtualProcessorXsaveState";
        let _idle = self.state.idle(NAME)?;
        let (handle, index) = (self.partition.handle(), self.state.index);
        let api = &self.partition.api;
        if let Some(get) = api.get_state {
            let kind = WHvVirtualProcessorStateTypeXsaveState;
            // SAFETY: the handle is valid; the buffer is as `buffer` says.
            let area =
                self.buffer(NAME, |data, size, written| unsafe { get(handle, index, kind, data, size, written) });
            match area {
                Err(e) if e.code == HResult::E_NOTIMPL && api.get_xsave_state.is_some() => {}
                area => return area,
            }
        }
        let get = api.get_xsave_state.ok_or_else(|| lacking(NAME))?;
        // SAFETY: as above.
        self.buffer(NAME, |data, size, written| unsafe { get(handle, index, data, size, written) })
    }

    fn set_xsave_state(&self, area: &[u8]) -> Result<()> {
        const NAME: &str = "SetVirtualProcessorXsaveState";
        let _idle = self.state.idle(NAME)?;
        let (handle, index) = (self.partition.handle(), self.state.index);
        let mut pages = vec![Page([0; 4096]); area.len().div_ceil(4096)];
        pages.iter_mut().zip(area.chunks(4096)).for_each(|(p, a)| p.0[..a.len()].copy_from_slice(a));
        let (data, size) = (pages.as_ptr().cast::<c_void>(), area.len() as u32);
        let api = &self.partition.api;
        let new = api.set_state.map(|set| {
            // SAFETY: the handle is valid, and `data` has `size` readable bytes.
            unsafe { set(handle, index, WHvVirtualProcessorStateTypeXsaveState, data, size) }
        });
        let hr = match (new, api.set_xsave_state) {
            (Some(hr), None) => hr,
            (Some(hr), Some(_)) if HResult(hr as u32) != HResult::E_NOTIMPL => hr,
            // SAFETY: as above.
            (_, Some(set)) => unsafe { set(handle, index, data, size) },
            (None, None) => return Err(lacking(NAME)),
        };
        check(hr, NAME, || format!("{}, {} bytes", self.what(), area.len()))
    }

    fn interrupt_controller_state(&self) -> Result<Box<[u8; INTERRUPT_CONTROLLER_STATE_SIZE]>> {
        const NAME: &str = "GetVirtualProcessorInterruptControllerState2";
        let _idle = self.state.idle(NAME)?;
        let (handle, index) = (self.partition.handle(), self.state.index);
        let api = &self.partition.api;
        let mut page = Box::new(Page([0; 4096]));
        let (data, mut written) = (page.0.as_mut_ptr().cast::<c_void>(), 0);
        let hr = if let Some(get) = api.get_interrupt_controller_state2 {
            // SAFETY: the handle is valid, `data` has 4096 writable bytes, `written` is a place for a number.
            unsafe { get(handle, index, data, 4096, &mut written) }
        } else {
            let (get, kind) = (api.get_state, WHvVirtualProcessorStateTypeInterruptControllerState2);
            let get = get.ok_or_else(|| lacking(NAME))?;
            // SAFETY: as above.
            unsafe { get(handle, index, kind, data, 4096, &mut written) }
        };
        check(hr, NAME, || self.what())?;
        Ok(Box::new(page.0))
    }

    fn set_interrupt_controller_state(&self, state: &[u8; INTERRUPT_CONTROLLER_STATE_SIZE]) -> Result<()> {
        const NAME: &str = "SetVirtualProcessorInterruptControllerState2";
        let _idle = self.state.idle(NAME)?;
        let (handle, index) = (self.partition.handle(), self.state.index);
        let api = &self.partition.api;
        let page = Box::new(Page(*state));
        let data = page.0.as_ptr().cast::<c_void>();
        let hr = if let Some(set) = api.set_interrupt_controller_state2 {
            // SAFETY: the handle is valid, and `data` has 4096 readable bytes.
            unsafe { set(handle, index, data, 4096) }
        } else {
            let (set, kind) = (api.set_state, WHvVirtualProcessorStateTypeInterruptControllerState2);
            let set = set.ok_or_else(|| lacking(NAME))?;
            // SAFETY: as above.
            unsafe { set(handle, index, kind, data, 4096) }
        };
        check(hr, NAME, || self.what())
    }

    fn cpuid_output(&self, eax: u32, ecx: u32) -> Result<[u32; 4]> {
        const NAME: &str = "GetVirtualProcessorCpuidOutput";
        let get = self.partition.api.get_cpuid_output.ok_or_else(|| lacking(NAME))?;
        let _idle = self.state.idle(NAME)?;
        let mut out = WHV_CPUID_OUTPUT::default();
        // SAFETY: the handle is valid, and `out` is a place for the result.
        let hr = unsafe { get(self.partition.handle(), self.state.index, eax, ecx, &mut out) };
        check(hr, NAME, || format!("{}, leaf {eax:#x}.{ecx:#x}", self.what()))?;
        Ok([out.Eax, out.Ebx, out.Ecx, out.Edx])
    }

    fn counters(&self) -> ProcessorCounters {
        let runtime = self.counter_set(WHvProcessorCounterSetRuntime);
        // Count and time of each.
        let intercepts = self.counter_set(WHvProcessorCounterSetIntercepts);
        let events = self.counter_set(WHvProcessorCounterSetEvents);
        let apic = self.counter_set(WHvProcessorCounterSetApic);
        let get = |set: &[u64], i: usize| set.get(i).copied().unwrap_or(0);
        let intercept = |i: usize| get(&intercepts, 2 * i);
        ProcessorCounters {
            runtime: RuntimeCounters {
                total_runtime_100ns: get(&runtime, 0),
                hypervisor_runtime_100ns: get(&runtime, 1),
            },
            intercepts: InterceptCounters {
                io_instructions: intercept(2),
                halt_instructions: intercept(3),
                cpuid_instructions: intercept(4),
                msr_accesses: intercept(5),
                other_intercepts: intercept(6),
                pending_interrupts: intercept(7),
                memory_intercepts: intercept(11),
            },
            events: EventCounters {
                page_fault_count: get(&events, 0),
                exception_count: get(&events, 1),
                interrupt_count: get(&events, 2),
            },
            apic: ApicCounters {
                mmio_access_count: get(&apic, 0),
                eoi_access_count: get(&apic, 1),
                tpr_access_count: get(&apic, 2),
                sent_ipi_count: get(&apic, 3),
                self_ipi_count: get(&apic, 4),
            },
        }
    }
}
