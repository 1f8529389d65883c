//! Virtual processors: making, running, cancelling; registers; address translation; CPUID; counters.

use std::ffi::c_void;

use whp::{HResult, RegisterName, RegisterValue, TranslateGvaFlags};
use whp_abi::convert::{self, EXIT_CONTEXT_SIZE};
use whp_abi::x64::{
    WHV_CPUID_OUTPUT, WHV_GUEST_PHYSICAL_ADDRESS, WHV_GUEST_VIRTUAL_ADDRESS, WHV_PARTITION_HANDLE,
    WHV_PROCESSOR_COUNTER_SET, WHV_REGISTER_NAME, WHV_REGISTER_VALUE, WHV_RUN_VP_EXIT_CONTEXT, WHV_TRANSLATE_GVA_FLAGS,
    WHV_TRANSLATE_GVA_RESULT, WHV_VIRTUAL_PROCESSOR_PROPERTY,
};

use crate::export::{Outcome, code, exports};
use crate::handle;
use crate::pointer::{array, output, put};

/// The exit context of the API's first version, which had no hypercalls: clients built then pass its size.
const OLD_EXIT_CONTEXT: u32 = 144;

fn create(handle: WHV_PARTITION_HANDLE, index: u32) -> Outcome {
    let entry = handle::find(handle)?;
    let vp = entry.api.create_virtual_processor(index).map_err(code)?;
    entry.set_vp(index, Some(vp));
    Ok(())
}

fn names(list: &[WHV_REGISTER_NAME]) -> Vec<RegisterName> {
    list.iter().map(|n| RegisterName(*n as u32)).collect()
}

exports! {
    Done ""
    fn WHvCreateVirtualProcessor(partition: WHV_PARTITION_HANDLE, vp: u32, flags: u32) {
        if flags != 0 {
            return Err(HResult::E_INVALIDARG);
        }
        create(partition, vp)
    }

    Done "The NUMA node makes no difference."
    fn WHvCreateVirtualProcessor2(
        partition: WHV_PARTITION_HANDLE,
        vp: u32,
        properties: *const WHV_VIRTUAL_PROCESSOR_PROPERTY,
        count: u32,
    ) {
        handle::since_build_20348()?;
        // SAFETY: the caller's array.
        let properties = unsafe { array(properties, count)? };
        if properties.iter().any(|p| p.PropertyCode != whp_abi::x64::WHvVirtualProcessorPropertyCodeNumaNode) {
            return Err(HResult::E_INVALIDARG);
        }
        create(partition, vp)
    }

    Done "WHV_E_INVALID_VP_STATE while it runs."
    fn WHvDeleteVirtualProcessor(partition: WHV_PARTITION_HANDLE, vp: u32) {
        let entry = handle::find(partition)?;
        entry.api.delete_virtual_processor(vp).map_err(code)?;
        entry.set_vp(vp, None);
        Ok(())
    }

    Done "Buffers of the first version's 144 bytes are served too. Rdtsc, Hypercall, SMI and APIC write exits do not exist."
    fn WHvRunVirtualProcessor(partition: WHV_PARTITION_HANDLE, vp: u32, exit_context: *mut c_void, size: u32) {
        if exit_context.is_null() {
            return Err(HResult::E_POINTER);
        }
        if size < OLD_EXIT_CONTEXT {
            return Err(HResult::WHV_E_INSUFFICIENT_BUFFER);
        }
        let entry = handle::find(partition)?;
        let exit = entry.vp(vp)?.run(None).map_err(code)?;
        let exit: WHV_RUN_VP_EXIT_CONTEXT = convert::exit_to_abi(&exit);
        let size = EXIT_CONTEXT_SIZE.min(size as usize);
        // SAFETY: the caller's buffer has `size` bytes or more; the context, zeroed before it was filled, too.
        unsafe { std::ptr::copy_nonoverlapping((&raw const exit).cast::<u8>(), exit_context.cast::<u8>(), size) };
        Ok(())
    }

    Done "Sticky: with no run active the next one returns Canceled at once."
    fn WHvCancelRunVirtualProcessor(partition: WHV_PARTITION_HANDLE, vp: u32, flags: u32) {
        if flags != 0 {
            return Err(HResult::E_INVALIDARG);
        }
        handle::find(partition)?.vp(vp)?.cancel();
        Ok(())
    }

    Done ""
    fn WHvGetVirtualProcessorRegisters(
        partition: WHV_PARTITION_HANDLE,
        vp: u32,
        register_names: *const WHV_REGISTER_NAME,
        count: u32,
        values: *mut WHV_REGISTER_VALUE,
    ) {
        let vp = handle::find(partition)?.vp(vp)?;
        // SAFETY: the caller's array.
        let names = names(&unsafe { array(register_names, count)? });
        if values.is_null() && count != 0 {
            return Err(HResult::E_POINTER);
        }
        let mut read = vec![RegisterValue::default(); names.len()];
        vp.registers(&names, &mut read).map_err(code)?;
        for (i, value) in read.into_iter().enumerate() {
            // SAFETY: inside the caller's array of `count`.
            unsafe { values.add(i).write_unaligned(convert::register_to_abi(value)) };
        }
        Ok(())
    }

    Done ""
    fn WHvSetVirtualProcessorRegisters(
        partition: WHV_PARTITION_HANDLE,
        vp: u32,
        register_names: *const WHV_REGISTER_NAME,
        count: u32,
        values: *const WHV_REGISTER_VALUE,
    ) {
        let vp = handle::find(partition)?.vp(vp)?;
        // SAFETY: the caller's arrays.
        let (names, values) = unsafe { (names(&array(register_names, count)?), array(values, count)?) };
        let values: Vec<_> = values.iter().map(convert::register_from_abi).collect();
        vp.set_registers(&names, &values).map_err(code)
    }

    Done ""
    fn WHvTranslateGva(
        partition: WHV_PARTITION_HANDLE,
        vp: u32,
        gva: WHV_GUEST_VIRTUAL_ADDRESS,
        flags: WHV_TRANSLATE_GVA_FLAGS,
        result: *mut WHV_TRANSLATE_GVA_RESULT,
        gpa: *mut WHV_GUEST_PHYSICAL_ADDRESS,
    ) {
        if result.is_null() || gpa.is_null() {
            return Err(HResult::E_POINTER);
        }
        let vp = handle::find(partition)?.vp(vp)?;
        let t = vp.translate_gva(gva, TranslateGvaFlags::from_bits_retain(flags)).map_err(code)?;
        // SAFETY: the caller's variables.
        unsafe {
            put(result, WHV_TRANSLATE_GVA_RESULT { ResultCode: t.code.0 as i32, Reserved: 0 })?;
            put(gpa, t.gpa)
        }
    }

    Done ""
    fn WHvGetVirtualProcessorCpuidOutput(
        partition: WHV_PARTITION_HANDLE,
        vp: u32,
        eax: u32,
        ecx: u32,
        cpuid_output: *mut WHV_CPUID_OUTPUT,
    ) {
        let [a, b, c, d] = handle::find(partition)?.vp(vp)?.cpuid_output(eax, ecx).map_err(code)?;
        // SAFETY: the caller's variable.
        unsafe { put(cpuid_output, WHV_CPUID_OUTPUT { Eax: a, Ebx: b, Ecx: c, Edx: d }) }
    }

    Partly "What is not counted (times of intercepts, synthetic features) is 0."
    fn WHvGetVirtualProcessorCounters(
        partition: WHV_PARTITION_HANDLE,
        vp: u32,
        counter_set: WHV_PROCESSOR_COUNTER_SET,
        buffer: *mut c_void,
        size: u32,
        written: *mut u32,
    ) {
        let c = handle::find(partition)?.vp(vp)?.counters();
        let value = match counter_set {
            whp_abi::x64::WHvProcessorCounterSetRuntime => convert::runtime_counters_bytes(&c.runtime),
            whp_abi::x64::WHvProcessorCounterSetIntercepts => convert::intercept_counters_bytes(&c.intercepts),
            whp_abi::x64::WHvProcessorCounterSetEvents => convert::event_counters_bytes(&c.events),
            whp_abi::x64::WHvProcessorCounterSetApic => convert::apic_counters_bytes(&c.apic),
            whp_abi::x64::WHvProcessorCounterSetSyntheticFeatures => convert::synthetic_counters_bytes(),
            _ => return Err(HResult::E_INVALIDARG),
        };
        // SAFETY: the caller's buffer.
        unsafe { output(buffer, size, written, &value) }
    }
}
