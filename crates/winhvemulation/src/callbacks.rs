//! The client's callbacks, as Rust functions; what fails is noted as a status bit.

use std::cell::Cell;
use std::ffi::c_void;

use emulator::Registers;
use whp::{HResult, RegisterName, RegisterValue, TranslateGvaResultCode};
use whp_abi::convert;
use whp_abi::emulation::*;
use whp_abi::x64::{HRESULT, WHV_REGISTER_NAME, WHV_REGISTER_VALUE};

/// All of them, none null.
#[derive(Clone, Copy)]
pub(crate) struct Callbacks {
    io: WHV_EMULATOR_IO_PORT_CALLBACK,
    memory: WHV_EMULATOR_MEMORY_CALLBACK,
    get: WHV_EMULATOR_GET_VIRTUAL_PROCESSOR_REGISTERS_CALLBACK,
    set: WHV_EMULATOR_SET_VIRTUAL_PROCESSOR_REGISTERS_CALLBACK,
    translate: WHV_EMULATOR_TRANSLATE_GVA_PAGE_CALLBACK,
}

impl Callbacks {
    /// Of the structure a client passes; `None` when a member is missing.
    pub(crate) fn new(c: &WHV_EMULATOR_CALLBACKS) -> Option<Self> {
        Some(Self {
            io: c.WHvEmulatorIoPortCallback?,
            memory: c.WHvEmulatorMemoryCallback?,
            get: c.WHvEmulatorGetVirtualProcessorRegisters?,
            set: c.WHvEmulatorSetVirtualProcessorRegisters?,
            translate: c.WHvEmulatorTranslateGvaPage?,
        })
    }
}

/// The callbacks of one call, with the client's context.
pub(crate) struct Client {
    callbacks: Callbacks,
    context: *mut c_void,
    failed: Cell<u32>,
}

/// A callback failed, which the status says.
#[derive(Debug)]
pub(crate) struct Failed;

impl Client {
    pub(crate) fn new(callbacks: Callbacks, context: *mut c_void) -> Self {
        Self { callbacks, context, failed: Cell::new(0) }
    }

    /// The bits of what has failed.
    pub(crate) fn failed(&self) -> u32 {
        self.failed.get()
    }

    /// Notes a failure.
    pub(crate) fn fail(&self, bit: u32) -> Failed {
        self.failed.set(self.failed.get() | bit);
        Failed
    }

    fn check(&self, code: HRESULT, bit: u32) -> Result<(), Failed> {
        if code == 0 { Ok(()) } else { Err(self.fail(bit)) }
    }

    /// A load of 1 to 8 bytes inside a page.
    pub(crate) fn load(&self, gpa: u64, data: &mut [u8]) -> Result<(), Failed> {
        let mut access = WHV_EMULATOR_MEMORY_ACCESS_INFO {
            GpaAddress: gpa,
            Direction: 0,
            AccessSize: data.len() as u8,
            ..Default::default()
        };
        // SAFETY: the client's function, with the context it gave for this call and a variable of ours.
        let code = unsafe { (self.callbacks.memory)(self.context, &mut access) };
        self.check(code, status::MEMORY_CALLBACK_FAILED)?;
        for (to, from) in data.iter_mut().zip(access.Data) {
            *to = from;
        }
        Ok(())
    }

    /// A store likewise.
    pub(crate) fn store(&self, gpa: u64, data: &[u8]) -> Result<(), Failed> {
        let mut access = WHV_EMULATOR_MEMORY_ACCESS_INFO {
            GpaAddress: gpa,
            Direction: 1,
            AccessSize: data.len() as u8,
            ..Default::default()
        };
        for (to, from) in access.Data.iter_mut().zip(data) {
            *to = *from;
        }
        // SAFETY: as in `load`.
        let code = unsafe { (self.callbacks.memory)(self.context, &mut access) };
        self.check(code, status::MEMORY_CALLBACK_FAILED)
    }

    /// IN (`write` clear) or OUT of 1, 2 or 4 bytes. The value that came in, or `value`.
    pub(crate) fn port(&self, port: u16, size: u16, write: bool, value: u32) -> Result<u32, Failed> {
        let data = if write { value } else { 0 };
        let mut access =
            WHV_EMULATOR_IO_ACCESS_INFO { Direction: u8::from(write), Port: port, AccessSize: size, Data: data };
        // SAFETY: as in `load`.
        let code = unsafe { (self.callbacks.io)(self.context, &mut access) };
        self.check(code, status::IO_PORT_CALLBACK_FAILED)?;
        Ok(access.Data)
    }

    /// What the client's `WHvTranslateGva` says of a page.
    pub(crate) fn translate(&self, page: u64, flags: u32) -> Result<(TranslateGvaResultCode, u64), Failed> {
        let (mut result, mut gpa) = (TranslateGvaResultCode::SUCCESS.0 as i32, 0);
        // SAFETY: as in `load`.
        let code = unsafe { (self.callbacks.translate)(self.context, page, flags, &mut result, &mut gpa) };
        self.check(code, status::TRANSLATE_GVA_PAGE_CALLBACK_FAILED)?;
        Ok((TranslateGvaResultCode(result as u32), gpa))
    }
}

fn names(list: &[RegisterName]) -> Vec<WHV_REGISTER_NAME> {
    list.iter().map(|n| n.0 as i32).collect()
}

impl Client {
    fn error(operation: &'static str) -> whp::Error {
        whp::Error::new(HResult::E_FAIL, operation, "the client's callback failed")
    }
}

impl Registers for Client {
    fn get(&self, list: &[RegisterName], values: &mut [RegisterValue]) -> whp::Result<()> {
        let names = names(list);
        let mut read = vec![WHV_REGISTER_VALUE::default(); names.len()];
        // SAFETY: as in `load`; both arrays have the length that is passed.
        let code = unsafe { (self.callbacks.get)(self.context, names.as_ptr(), names.len() as u32, read.as_mut_ptr()) };
        self.check(code, status::GET_VIRTUAL_PROCESSOR_REGISTERS_CALLBACK_FAILED)
            .map_err(|_| Self::error("GetVirtualProcessorRegisters"))?;
        for (to, from) in values.iter_mut().zip(&read) {
            *to = convert::register_from_abi(from);
        }
        Ok(())
    }

    fn set(&self, list: &[RegisterName], values: &[RegisterValue]) -> whp::Result<()> {
        let names = names(list);
        let values: Vec<_> = values.iter().copied().map(convert::register_to_abi).collect();
        // SAFETY: as in `get`.
        let code = unsafe { (self.callbacks.set)(self.context, names.as_ptr(), names.len() as u32, values.as_ptr()) };
        self.check(code, status::SET_VIRTUAL_PROCESSOR_REGISTERS_CALLBACK_FAILED)
            .map_err(|_| Self::error("SetVirtualProcessorRegisters"))
    }

    fn xsave(&self) -> whp::Result<Option<Vec<u8>>> {
        Ok(None)
    }

    fn set_xsave(&self, _area: &[u8]) -> whp::Result<()> {
        Err(whp::Error::new(HResult::E_NOTIMPL, "SetVirtualProcessorXsaveState", "there is no callback for it"))
    }
}
