//! The functions.

use std::ffi::{CString, c_void};

use whp::{Error, HResult, Result};
use whp_abi::x64::functions as f;

use crate::library::{Library, OpenError};

fn find(library: &Library, name: &str) -> Option<*mut c_void> {
    let name = CString::new(name).ok()?;
    Some(library.symbol(&name)).filter(|p| !p.is_null())
}

macro_rules! functions {
    (required { $($r:ident: $rname:ident,)* } optional { $($o:ident: $oname:ident,)* }) => {
        /// The function table. Fields are named as the functions, without `WHv`.
        pub(crate) struct Api {
            $(pub(crate) $r: f::$rname,)*
            $(pub(crate) $o: Option<f::$oname>,)*
            #[allow(dead_code)] // keeps the functions' code where it is
            library: Library,
        }

        impl Api {
            /// Resolves everything, but leaves out the optional functions in `hidden`.
            pub(crate) fn new(library: Library, hidden: &[&str]) -> std::result::Result<Self, OpenError> {
                Ok(Self {
                    $($r: {
                        let name = stringify!($rname);
                        let missing = || OpenError::Function { path: library.path.clone(), name };
                        let symbol = find(&library, name).ok_or_else(missing)?;
                        // SAFETY: a function of that name has this type, by Microsoft's header.
                        unsafe { std::mem::transmute::<*mut c_void, f::$rname>(symbol) }
                    },)*
                    $($o: Some(stringify!($oname)).filter(|n| !hidden.contains(n)).and_then(|n| find(&library, n)).map(|symbol| {
                        // SAFETY: as above.
                        unsafe { std::mem::transmute::<*mut c_void, f::$oname>(symbol) }
                    }),)*
                    library,
                })
            }

            /// The optional functions and whether they are there.
            pub(crate) fn optional(&self) -> Vec<(&'static str, bool)> {
                vec![$((stringify!($oname), self.$o.is_some()),)*]
            }
        }
    };
}

functions! {
    required {
        get_capability: WHvGetCapability,
        create_partition: WHvCreatePartition,
        setup_partition: WHvSetupPartition,
        delete_partition: WHvDeletePartition,
        get_partition_property: WHvGetPartitionProperty,
        set_partition_property: WHvSetPartitionProperty,
        map_gpa_range: WHvMapGpaRange,
        unmap_gpa_range: WHvUnmapGpaRange,
        translate_gva: WHvTranslateGva,
        create_virtual_processor: WHvCreateVirtualProcessor,
        delete_virtual_processor: WHvDeleteVirtualProcessor,
        run_virtual_processor: WHvRunVirtualProcessor,
        cancel_run_virtual_processor: WHvCancelRunVirtualProcessor,
        get_virtual_processor_registers: WHvGetVirtualProcessorRegisters,
        set_virtual_processor_registers: WHvSetVirtualProcessorRegisters,
    }
    optional {
        reset_partition: WHvResetPartition,
        suspend_partition_time: WHvSuspendPartitionTime,
        resume_partition_time: WHvResumePartitionTime,
        request_interrupt: WHvRequestInterrupt,
        query_gpa_range_dirty_bitmap: WHvQueryGpaRangeDirtyBitmap,
        get_interrupt_controller_state2: WHvGetVirtualProcessorInterruptControllerState2,
        set_interrupt_controller_state2: WHvSetVirtualProcessorInterruptControllerState2,
        get_xsave_state: WHvGetVirtualProcessorXsaveState,
        set_xsave_state: WHvSetVirtualProcessorXsaveState,
        get_state: WHvGetVirtualProcessorState,
        set_state: WHvSetVirtualProcessorState,
        get_cpuid_output: WHvGetVirtualProcessorCpuidOutput,
        get_virtual_processor_counters: WHvGetVirtualProcessorCounters,
    }
}

/// `Err` for a failed HRESULT.
pub(crate) fn check(hr: i32, operation: &'static str, operands: impl FnOnce() -> String) -> Result<()> {
    if hr >= 0 { Ok(()) } else { Err(Error::new(HResult(hr as u32), operation, operands())) }
}

/// The error of a function that the DLL does not have.
pub(crate) fn lacking(operation: &'static str) -> Error {
    Error::new(HResult::E_NOTIMPL, operation, "this version of WinHvPlatform.dll does not have the function")
}
