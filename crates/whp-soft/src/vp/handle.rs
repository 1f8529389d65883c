//! The client's handle of a virtual processor.

use std::sync::Arc;
use std::sync::MutexGuard;
use std::sync::atomic::Ordering;

use cpu_x86::fault::Access;
use cpu_x86::flags::rflags;
use cpu_x86::walk::{Request, WalkFault};
use irqchip::lapic::Lapic;
use whp::{
    AccessHandler, ApicCounters, Error, EventCounters, ExitContext, HResult, INTERRUPT_CONTROLLER_STATE_SIZE,
    InterceptCounters, MapGpaRangeFlags, ProcessorCounters, RegisterName, RegisterValue, Result, RuntimeCounters,
    TranslateGvaFlags, TranslateGvaResult, TranslateGvaResultCode, VirtualProcessor,
};

use super::bus::VpBus;
use super::{Core, Vp, cpuid, registers, xsave};
use crate::map::find;
use crate::shared::Shared;

/// See the module's documentation.
pub(crate) struct VpHandle {
    vp: Arc<Vp>,
    shared: Arc<Shared>,
}

impl VpHandle {
    pub(crate) fn new(vp: Arc<Vp>, shared: Arc<Shared>) -> Self {
        Self { vp, shared }
    }

    fn core(&self, operation: &'static str) -> Result<MutexGuard<'_, Core>> {
        self.vp.try_core().ok_or_else(|| {
            let what = format!("virtual processor {}: it runs", self.vp.index());
            Error::new(HResult::WHV_E_INVALID_VP_STATE, operation, what)
        })
    }

    fn no_apic(&self, operation: &'static str) -> Error {
        let what = format!("virtual processor {}: no local APIC in the platform", self.vp.index());
        Error::new(HResult::WHV_E_INVALID_PARTITION_CONFIG, operation, what)
    }
}

fn lengths(operation: &'static str, names: &[RegisterName], values: usize) -> Result<()> {
    if names.len() == values {
        return Ok(());
    }
    let what = format!("{} names, {values} values", names.len());
    Err(Error::new(HResult::E_INVALIDARG, operation, what))
}

impl VirtualProcessor for VpHandle {
    fn index(&self) -> u32 {
        self.vp.index()
    }

    fn run(&self, handler: Option<&dyn AccessHandler>) -> Result<ExitContext> {
        let mut core = self.core("RunVirtualProcessor")?;
        Ok(self.vp.run(&self.shared, &mut core, handler.filter(|_| self.shared.decodes())))
    }

    fn cancel(&self) {
        self.vp.cancel();
    }

    fn registers(&self, names: &[RegisterName], values: &mut [RegisterValue]) -> Result<()> {
        const NAME: &str = "GetVirtualProcessorRegisters";
        lengths(NAME, names, values.len())?;
        let core = self.core(NAME)?;
        for (name, value) in names.iter().zip(values) {
            let known = self.shared.options.behave.knows_register(*name);
            let get = || registers::get(&self.vp, &self.shared, &core, *name);
            *value = known
                .then(get)
                .flatten()
                .ok_or_else(|| Error::new(HResult::WHV_E_INVALID_VP_REGISTER_NAME, NAME, format!("{name:?}")))?;
        }
        Ok(())
    }

    fn set_registers(&self, names: &[RegisterName], values: &[RegisterValue]) -> Result<()> {
        const NAME: &str = "SetVirtualProcessorRegisters";
        lengths(NAME, names, values.len())?;
        let mut core = self.core(NAME)?;
        let mut result = Ok(());
        for (name, value) in names.iter().zip(values) {
            if !self.shared.options.behave.knows_register(*name) {
                result = Err(HResult::WHV_E_INVALID_VP_REGISTER_NAME);
                break;
            }
            result = registers::set(&self.vp, &self.shared, &mut core, *name, *value);
            if result.is_err() {
                break;
            }
        }
        registers::settle(&mut core, names);
        result.map_err(|code| Error::new(code, NAME, format!("{names:?}")))
    }

    fn translate_gva(&self, gva: u64, flags: TranslateGvaFlags) -> Result<TranslateGvaResult> {
        let mut core = self.core("TranslateGva")?;
        let apic_id = core.apic_id;
        let mut bus = VpBus::new(&self.vp, &self.shared, None, self.shared.config(), apic_id);
        let cpu = &mut core.processor.cpu;
        cpu.update_mode();
        let access = if flags.contains(TranslateGvaFlags::VALIDATE_WRITE) {
            Access::Write
        } else if flags.contains(TranslateGvaFlags::VALIDATE_EXECUTE) {
            Access::Fetch
        } else {
            Access::Read
        };
        let smap_off = cpu.sysflags & rflags::AC != 0 && !flags.contains(TranslateGvaFlags::ENFORCE_SMAP);
        let request = Request {
            access,
            user: cpu.cpl == 3 && !flags.contains(TranslateGvaFlags::PRIVILEGE_EXEMPT),
            ac: smap_off || flags.contains(TranslateGvaFlags::OVERRIDE_SMAP),
            update: flags.contains(TranslateGvaFlags::SET_PAGE_TABLE_BITS),
        };
        let (code, gpa) = match cpu.translate(&mut bus, gva, request) {
            Ok(t) => {
                let ranges = self.shared.map.ranges();
                let code = match find(&ranges, t.gpa).map(|r| r.flags) {
                    None => TranslateGvaResultCode::GPA_UNMAPPED,
                    Some(f) if !f.contains(MapGpaRangeFlags::READ) => TranslateGvaResultCode::GPA_NO_READ_ACCESS,
                    Some(f) if access == Access::Write && !f.contains(MapGpaRangeFlags::WRITE) => {
                        TranslateGvaResultCode::GPA_NO_WRITE_ACCESS
                    }
                    Some(_) => TranslateGvaResultCode::SUCCESS,
                };
                (code, t.gpa)
            }
            Err(WalkFault::Page(code)) if code & 8 != 0 => (TranslateGvaResultCode::INVALID_PAGE_TABLE_FLAGS, 0),
            Err(WalkFault::Page(code)) if code & 1 != 0 => (TranslateGvaResultCode::PRIVILEGE_VIOLATION, 0),
            Err(WalkFault::Page(_) | WalkFault::NonCanonical) => (TranslateGvaResultCode::PAGE_NOT_PRESENT, 0),
            Err(WalkFault::Leave { gpa }) => (TranslateGvaResultCode::GPA_UNMAPPED, gpa),
        };
        Ok(TranslateGvaResult { code, gpa })
    }

    fn xsave_state(&self) -> Result<Vec<u8>> {
        let core = self.core("GetVirtualProcessorXsaveState")?;
        Ok(xsave::save(&core.processor.cpu))
    }

    fn set_xsave_state(&self, area: &[u8]) -> Result<()> {
        const NAME: &str = "SetVirtualProcessorXsaveState";
        let mut core = self.core(NAME)?;
        xsave::load(&mut core.processor.cpu, area).map_err(|why| Error::new(HResult::E_INVALIDARG, NAME, why))
    }

    fn interrupt_controller_state(&self) -> Result<Box<[u8; INTERRUPT_CONTROLLER_STATE_SIZE]>> {
        const NAME: &str = "GetVirtualProcessorInterruptControllerState2";
        let _core = self.core(NAME)?;
        let irq = self.vp.irq();
        let now = self.vp.now_at(&self.shared, self.shared.time.now());
        irq.lapic.as_ref().map(|l| l.to_page(now)).ok_or_else(|| self.no_apic(NAME))
    }

    fn set_interrupt_controller_state(&self, state: &[u8; INTERRUPT_CONTROLLER_STATE_SIZE]) -> Result<()> {
        const NAME: &str = "SetVirtualProcessorInterruptControllerState2";
        let _core = self.core(NAME)?;
        let mut irq = self.vp.irq();
        let now = self.vp.now_at(&self.shared, self.shared.time.now());
        irq.lapic.as_mut().ok_or_else(|| self.no_apic(NAME))?.load_page(state, now);
        self.vp.refresh(&irq);
        self.vp.arm(&self.shared, &irq);
        Ok(())
    }

    fn cpuid_output(&self, eax: u32, ecx: u32) -> Result<[u32; 4]> {
        const NAME: &str = "GetVirtualProcessorCpuidOutput";
        if self.shared.options.behave.is_old() {
            return Err(Error::new(HResult::E_NOTIMPL, NAME, "Windows 10 has no such function"));
        }
        let core = self.core(NAME)?;
        let mut regs = registers::cpuid(&core.processor.cpu, eax, ecx);
        cpuid::result(&self.shared.config(), &self.vp.place(core.apic_id), eax, ecx, &mut regs);
        Ok(regs)
    }

    fn translator_counters(&self) -> Vec<(&'static str, u64)> {
        self.vp.jit.as_ref().map(|j| j.snapshot().rows()).unwrap_or_default()
    }

    fn counters(&self) -> ProcessorCounters {
        let c = &self.vp.counters;
        let get = |a: &std::sync::atomic::AtomicU64| a.load(Ordering::Relaxed);
        ProcessorCounters {
            runtime: RuntimeCounters { total_runtime_100ns: get(&c.runtime_ns) / 100, hypervisor_runtime_100ns: 0 },
            intercepts: InterceptCounters {
                io_instructions: get(&c.io),
                halt_instructions: get(&c.halt),
                cpuid_instructions: get(&c.cpuid),
                msr_accesses: get(&c.msr),
                memory_intercepts: get(&c.memory),
                pending_interrupts: get(&c.windows),
                other_intercepts: get(&c.other),
            },
            events: EventCounters {
                page_fault_count: 0,
                exception_count: get(&c.exceptions),
                interrupt_count: get(&c.interrupts),
            },
            apic: ApicCounters {
                mmio_access_count: get(&c.apic_mmio),
                eoi_access_count: get(&c.apic_eoi),
                tpr_access_count: get(&c.apic_tpr),
                sent_ipi_count: get(&c.ipis),
                self_ipi_count: get(&c.self_ipis),
            },
        }
    }
}

/// The local APIC register behind a register name, read-only.
pub(super) fn apic_register(vp: &Vp, shared: &Shared, offset: u32) -> Option<u64> {
    let irq = vp.irq();
    let now = vp.now_at(shared, shared.time.now());
    let lapic: &Lapic = irq.lapic.as_ref()?;
    if offset == irqchip::lapic::reg::ICR_LOW {
        return Some(lapic.state().icr);
    }
    lapic.register(offset, now).map(u64::from)
}
