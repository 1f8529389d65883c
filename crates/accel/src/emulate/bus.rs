//! The machine as the emulated instruction sees it.

use std::sync::Arc;

use cpu_x86::bus::Leave;
use cpu_x86::{Bus, CpuidAction, MsrAction, PhysPage};
use vm_core::{Backing, FlatRange};
use whp::{AccessHandler, RegisterName, RegisterValue, VirtualProcessor};

/// RAM from the flattened address space, everything else through the handler that decoded accesses have.
pub(super) struct EmulatorBus<'a> {
    pub(super) flat: Arc<[FlatRange]>,
    pub(super) handler: &'a dyn AccessHandler,
    pub(super) vp: &'a dyn VirtualProcessor,
    pub(super) cr8: u64,
}

impl EmulatorBus<'_> {
    fn register(&self, name: RegisterName) -> Option<u64> {
        let mut value = [RegisterValue::default()];
        self.vp.registers(&[name], &mut value).ok().map(|()| value[0].u64())
    }
}

/// Registers that the platform keeps and that code in a device's memory (nothing else comes here) could want.
fn kept_by_platform(msr: u32) -> Option<RegisterName> {
    match msr {
        0x10 => Some(RegisterName::TSC),
        0x1B => Some(RegisterName::APIC_BASE),
        0x6E0 => Some(RegisterName::TSC_DEADLINE),
        _ => None,
    }
}

impl Bus for EmulatorBus<'_> {
    fn page(&mut self, gpa: u64) -> PhysPage {
        let i = self.flat.partition_point(|r| r.start <= gpa);
        let found = i.checked_sub(1).and_then(|i| self.flat.get(i)).filter(|r| gpa - r.start < r.len);
        match found.map(|r| (r, &r.backing)) {
            Some((r, Backing::Ram { block, offset, readonly })) => PhysPage::Ram {
                block: block.clone(),
                offset: offset + (gpa - r.start),
                writable: !readonly,
                executable: true,
            },
            _ => PhysPage::None,
        }
    }

    fn mem_read(&mut self, gpa: u64, data: &mut [u8]) -> Result<(), Leave> {
        self.handler.memory_read(gpa, data);
        Ok(())
    }

    fn mem_write(&mut self, gpa: u64, data: &[u8]) -> Result<(), Leave> {
        self.handler.memory_write(gpa, data);
        Ok(())
    }

    fn mem_read_elements(&mut self, gpa: u64, size: usize, data: &mut [u8]) -> usize {
        self.handler.memory_read_elements(gpa, size, data)
    }

    fn mem_write_elements(&mut self, gpa: u64, size: usize, data: &[u8]) -> usize {
        self.handler.memory_write_elements(gpa, size, data)
    }

    fn mem_copy_elements(&mut self, from: u64, to: u64, size: usize, count: usize) -> usize {
        self.handler.memory_copy_elements(from, to, size, count)
    }

    fn port_read_elements(&mut self, port: u16, size: usize, data: &mut [u8]) -> usize {
        self.handler.port_read_elements(port, size, data)
    }

    fn port_write_elements(&mut self, port: u16, size: usize, data: &[u8]) -> usize {
        self.handler.port_write_elements(port, size, data)
    }

    fn port_read(&mut self, port: u16, data: &mut [u8]) -> Result<(), Leave> {
        self.handler.port_read(port, data);
        Ok(())
    }

    fn port_write(&mut self, port: u16, data: &[u8]) -> Result<(), Leave> {
        self.handler.port_write(port, data);
        Ok(())
    }

    fn msr_read(&mut self, msr: u32) -> MsrAction {
        let value = kept_by_platform(msr).and_then(|name| self.register(name));
        MsrAction::Done(value.unwrap_or(0)) // unknown ones read 0, as in the MSR exit
    }

    fn msr_write(&mut self, msr: u32, value: u64) -> MsrAction {
        match kept_by_platform(msr).map(|name| self.vp.set_registers(&[name], &[value.into()])) {
            Some(Err(_)) => MsrAction::Fault,
            _ => MsrAction::Done(0),
        }
    }

    fn cpuid(&mut self, leaf: u32, subleaf: u32, regs: &mut [u32; 4]) -> CpuidAction {
        if let Ok(r) = self.vp.cpuid_output(leaf, subleaf) {
            *regs = r;
        }
        CpuidAction::Done
    }

    fn tsc(&mut self) -> u64 {
        self.register(RegisterName::TSC).unwrap_or(0)
    }

    fn cr8(&mut self) -> u64 {
        self.cr8
    }

    fn set_cr8(&mut self, value: u64) {
        self.cr8 = value & 15;
    }

    fn acknowledge_interrupt(&mut self) -> Option<u8> {
        None
    }
}
