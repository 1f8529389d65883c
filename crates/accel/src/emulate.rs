//! Completes exits that come undecoded: memory accesses and string port accesses of platforms that report an
//! address and instruction bytes and leave the rest to the client (Microsoft's platform; Intel SDM volume 2 for the
//! instructions, "WHvRunVirtualProcessor" for the exits). The `emulator` crate executes the instruction; here is what
//! it finds around it: RAM as the guest has it, devices, the virtual processor's registers.
//!
//! Left out on purpose: accesses to the platform's own local APIC page by an instruction that exits for another
//! operand (they find nothing).

mod bus;

use std::sync::Arc;

use vm_core::{AddressSpace, FlatRange};
use whp::{AccessHandler, ExitContext, HResult, RegisterName, RegisterValue, VirtualProcessor};

use bus::EmulatorBus;
pub(crate) use emulator::Completion;
use emulator::{Needs, Registers};

/// Slices of a REP instruction before the guest gets a chance to take an interrupt in between.
const SLICES: u32 = 16;

/// One processor's emulator. Big; made when the first exit needs it.
pub(crate) struct Emulator {
    emulator: emulator::Emulator,
    /// The map that the emulator may know pages of.
    flat: Option<Arc<[FlatRange]>>,
}

impl Emulator {
    pub(crate) fn new() -> Self {
        Self { emulator: emulator::Emulator::new(), flat: None }
    }

    /// Completes the instruction at RIP, which left with `context`. `bytes`: the instruction as far as the platform
    /// knows it, possibly nothing.
    ///
    /// # Errors
    /// When registers cannot be read or written.
    pub(crate) fn complete(
        &mut self,
        space: &AddressSpace,
        handler: &dyn AccessHandler,
        vp: &dyn VirtualProcessor,
        context: &ExitContext,
        bytes: &[u8],
    ) -> whp::Result<Completion> {
        let flat = space.flat();
        if self.flat.as_ref().is_none_or(|f| !Arc::ptr_eq(f, &flat)) {
            self.emulator.forget_memory();
            self.flat = Some(flat.clone());
        }
        let mut needs = Needs::of(&context.vp, bytes);
        needs.system |= context.vp.interruption_pending;
        let mut bus = EmulatorBus { flat, handler, vp, cr8: context.vp.cr8.into() };
        self.emulator.complete(&mut bus, &VpRegisters(vp), &context.vp, needs, SLICES)
    }
}

/// The registers of a virtual processor of any platform.
struct VpRegisters<'a>(&'a dyn VirtualProcessor);

impl Registers for VpRegisters<'_> {
    fn get(&self, names: &[RegisterName], values: &mut [RegisterValue]) -> whp::Result<()> {
        self.0.registers(names, values)
    }

    fn set(&self, names: &[RegisterName], values: &[RegisterValue]) -> whp::Result<()> {
        self.0.set_registers(names, values)
    }

    fn xsave(&self) -> whp::Result<Option<Vec<u8>>> {
        match self.0.xsave_state() {
            Ok(bytes) => Ok(Some(bytes)),
            Err(e) if e.code == HResult::E_NOTIMPL => Ok(None),
            Err(e) => Err(e),
        }
    }

    fn set_xsave(&self, area: &[u8]) -> whp::Result<()> {
        self.0.set_xsave_state(area)
    }
}

#[cfg(test)]
mod tests;
