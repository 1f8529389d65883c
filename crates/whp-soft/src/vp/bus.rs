//! The system as the processor sees it: the map, the local APIC page and MSRs, time, and the client's handler.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use cpu_x86::bus::Attention;
use cpu_x86::{Bus, Cpu, CpuidAction, MsrAction, PhysPage};
use guest_memory::PAGE_SIZE;
use irqchip::lapic::{DeliveryMode, Effects, Gp, Lapic, Now, Shorthand, reg};
use whp::{AccessHandler, Exit, ExtendedVmExits, MapGpaRangeFlags, MsrExitBitmap};

use super::{Vp, add, count, cpuid};
use crate::config::Config;
use crate::map::{Range, find};
use crate::shared::Shared;

const IA32_TSC: u32 = 0x10;
const IA32_APIC_BASE: u32 = 0x1B;
const IA32_TSC_ADJUST: u32 = 0x3B;
const IA32_TSC_DEADLINE: u32 = 0x6E0;

/// One processor's bus, for one `run`.
pub(crate) struct VpBus<'a> {
    pub(crate) vp: &'a Vp,
    pub(crate) shared: &'a Shared,
    pub(super) handler: Option<&'a dyn AccessHandler>,
    pub(crate) config: Arc<Config>,
    pub(super) apic_id: u32,
    /// Exits for after the instruction.
    pub(super) exits: Vec<Exit>,
    pub(crate) started: Instant,
    ranges: Arc<[Range]>,
    generation: u64,
}

impl<'a> VpBus<'a> {
    pub(super) fn new(
        vp: &'a Vp,
        shared: &'a Shared,
        handler: Option<&'a dyn AccessHandler>,
        config: Arc<Config>,
        apic_id: u32,
    ) -> Self {
        let generation = shared.map.generation();
        let (exits, ranges, started) = (Vec::new(), shared.map.ranges(), Instant::now());
        Self { vp, shared, handler, config, apic_id, exits, started, ranges, generation }
    }

    /// The map as it is now.
    fn ranges(&mut self) -> &[Range] {
        let generation = self.shared.map.generation();
        if generation != self.generation {
            self.ranges = self.shared.map.ranges();
            self.generation = generation;
        }
        &self.ranges
    }

    fn now(&self) -> Now {
        self.vp.now_at(self.shared, self.shared.time.now())
    }

    /// Offset in the local APIC's page, when `gpa` is in it.
    fn apic_offset(&self, gpa: u64) -> Option<u32> {
        self.vp.is_apic_page(gpa).then_some((gpa & (PAGE_SIZE - 1)) as u32)
    }

    /// The handler, where it takes several accesses to the page of `gpa` at once.
    fn takes_elements(&self, gpa: u64, len: usize) -> Option<&'a dyn AccessHandler> {
        let plain = !self.vp.is_apic_page(gpa) && !self.shared.doorbells.are_there();
        self.handler.filter(|h| plain && !h.declines(gpa, len))
    }

    fn count_elements(counter: &AtomicU64, bytes: usize, size: usize) {
        add(counter, (bytes / size.max(1)) as u64);
    }

    /// Works on the local APIC and carries out what comes of it. `None` without one.
    pub(crate) fn apic(&mut self, work: impl FnOnce(&mut Lapic, Now) -> Effects) -> Option<()> {
        let now = self.now();
        let mut irq = self.vp.irq();
        let effects = work(irq.lapic.as_mut()?, now);
        let icr = irq.lapic.as_ref().map_or(0, |l| l.state().icr);
        if irq.hyperv.has_waiting() {
            irq.post_waiting(self.shared.reference_time(self.shared.time.now())); // an EOI can mean that there is room
        }
        self.vp.refresh(&irq);
        if effects.timer {
            self.vp.arm(self.shared, &irq);
        }
        drop(irq);
        if let Some(ipi) = effects.ipi {
            let counters = &self.vp.counters;
            count(if ipi.shorthand == Shorthand::Myself { &counters.self_ipis } else { &counters.ipis });
            let start = matches!(ipi.mode, DeliveryMode::Init | DeliveryMode::Startup);
            if start && self.config.exits.contains(ExtendedVmExits::X64_APIC_INIT_SIPI_EXIT_TRAP) {
                self.exit_after(Exit::ApicInitSipiTrap { icr });
            } else {
                self.shared.send(self.vp.index, ipi);
            }
        }
        if let Some(vector) = effects.eoi {
            match self.handler {
                Some(handler) => self.vp.outside(|| handler.eoi(vector)),
                None => self.exit_after(Exit::ApicEoi { vector: vector.into() }),
            }
        }
        Some(())
    }

    fn exit_after(&mut self, exit: Exit) {
        self.exits.push(exit);
        self.vp.leave();
    }

    fn apic_read(&mut self, offset: u32, data: &mut [u8]) {
        count(&self.vp.counters.apic_mmio);
        let mut value = 0;
        for (n, (at, byte)) in (offset..).zip(data.iter_mut()).enumerate() {
            if n == 0 || at & 3 == 0 {
                self.apic(|l, now| {
                    value = l.mmio_read(at & !3, now);
                    Effects::default()
                });
            }
            *byte = (value >> (8 * (at & 3))) as u8;
        }
    }

    fn apic_write(&mut self, offset: u32, data: &[u8]) {
        let counters = &self.vp.counters;
        count(&counters.apic_mmio);
        match offset {
            reg::EOI => count(&counters.apic_eoi),
            reg::TPR => count(&counters.apic_tpr),
            _ => {}
        }
        let mut value = [0; 4];
        value.iter_mut().zip(data).for_each(|(to, from)| *to = *from);
        let value = u32::from_le_bytes(value);
        self.apic(|l, now| l.mmio_write(offset, value, now));
    }

    fn unknown_msr(&self, msr: u32, write: bool) -> MsrAction {
        match self.config.unknown_msr(msr, write) {
            whp::MsrAction::Exit => MsrAction::Leave,
            whp::MsrAction::IgnoreWriteReadZero => MsrAction::Done(0),
            whp::MsrAction::ArchitectureDefault => MsrAction::Fault,
        }
    }

    fn set_apic_base(&mut self, value: u64) -> MsrAction {
        let mut irq = self.vp.irq();
        let done = match &mut irq.lapic {
            Some(lapic) => lapic.set_apic_base(value),
            None => {
                irq.apic_base = value;
                Ok(())
            }
        };
        self.vp.refresh(&irq);
        if irq.lapic.is_some() {
            self.vp.arm(self.shared, &irq);
        }
        drop(irq);
        self.vp.request_flush(); // the register page has moved, appeared or gone
        outcome(done.map(|()| 0))
    }

    fn x2apic_read(&mut self, msr: u32) -> MsrAction {
        let mut value = Err(Gp);
        let there = self.apic(|l, now| {
            value = l.msr_read(msr, now);
            Effects::default()
        });
        if there.is_none() { self.unknown_msr(msr, false) } else { outcome(value) }
    }

    fn x2apic_write(&mut self, msr: u32, value: u64) -> MsrAction {
        let mut done = Ok(0);
        if msr == 0x80B {
            count(&self.vp.counters.apic_eoi);
        }
        let there = self.apic(|l, now| match l.msr_write(msr, value, now) {
            Ok(effects) => effects,
            Err(gp) => {
                done = Err(gp);
                Effects::default()
            }
        });
        if there.is_none() { self.unknown_msr(msr, true) } else { outcome(done) }
    }

    fn tsc_deadline(&mut self, write: Option<u64>) -> MsrAction {
        let mut value = 0;
        let there = self.apic(|l, _| {
            if let Some(v) = write {
                l.set_tsc_deadline(v);
            }
            value = l.tsc_deadline();
            Effects { timer: write.is_some(), ..Effects::default() }
        });
        if there.is_none() { self.unknown_msr(IA32_TSC_DEADLINE, write.is_some()) } else { MsrAction::Done(value) }
    }
}

fn outcome(result: Result<u64, Gp>) -> MsrAction {
    result.map_or(MsrAction::Fault, MsrAction::Done)
}

impl Bus for VpBus<'_> {
    fn page(&mut self, gpa: u64) -> PhysPage {
        if self.apic_offset(gpa).is_some() {
            return PhysPage::None;
        }
        match find(self.ranges(), gpa) {
            Some(r) if r.flags.contains(MapGpaRangeFlags::READ) => PhysPage::Ram {
                block: r.block.clone(),
                offset: r.offset + (gpa - r.gpa),
                writable: r.flags.contains(MapGpaRangeFlags::WRITE),
                executable: r.flags.contains(MapGpaRangeFlags::EXECUTE),
            },
            _ => PhysPage::None,
        }
    }

    fn mem_read(&mut self, gpa: u64, data: &mut [u8]) -> Result<(), cpu_x86::bus::Leave> {
        if let Some(offset) = self.apic_offset(gpa) {
            self.apic_read(offset, data);
            return Ok(());
        }
        count(&self.vp.counters.memory);
        let handler = self.handler.filter(|h| !h.declines(gpa, data.len())).ok_or(cpu_x86::bus::Leave)?;
        self.vp.outside(|| handler.memory_read(gpa, data));
        Ok(())
    }

    fn mem_write(&mut self, gpa: u64, data: &[u8]) -> Result<(), cpu_x86::bus::Leave> {
        if let Some(offset) = self.apic_offset(gpa) {
            self.apic_write(offset, data);
            return Ok(());
        }
        if find(self.ranges(), gpa).is_some_and(|r| r.overlay) {
            return Ok(()); // read-only for the guest
        }
        if self.shared.doorbells.ring(gpa, data) {
            return Ok(());
        }
        count(&self.vp.counters.memory);
        let handler = self.handler.filter(|h| !h.declines(gpa, data.len())).ok_or(cpu_x86::bus::Leave)?;
        self.vp.outside(|| handler.memory_write(gpa, data));
        Ok(())
    }

    fn mem_read_elements(&mut self, gpa: u64, size: usize, data: &mut [u8]) -> usize {
        let Some(handler) = self.takes_elements(gpa, data.len()) else { return 0 };
        let done = self.vp.outside(|| handler.memory_read_elements(gpa, size, data));
        Self::count_elements(&self.vp.counters.memory, done, size);
        done
    }

    fn mem_write_elements(&mut self, gpa: u64, size: usize, data: &[u8]) -> usize {
        let Some(handler) = self.takes_elements(gpa, data.len()) else { return 0 };
        if find(self.ranges(), gpa).is_some() {
            return 0; // memory that is read-only for the guest, or an overlay
        }
        let done = self.vp.outside(|| handler.memory_write_elements(gpa, size, data));
        Self::count_elements(&self.vp.counters.memory, done, size);
        done
    }

    fn mem_copy_elements(&mut self, from: u64, to: u64, size: usize, count: usize) -> usize {
        let len = size.saturating_mul(count);
        let Some(handler) = self.takes_elements(from, len).and_then(|_| self.takes_elements(to, len)) else { return 0 };
        if find(self.ranges(), to).is_some() {
            return 0;
        }
        let done = self.vp.outside(|| handler.memory_copy_elements(from, to, size, count));
        Self::count_elements(&self.vp.counters.memory, 2 * done, size);
        done
    }

    fn port_read(&mut self, port: u16, data: &mut [u8]) -> Result<(), cpu_x86::bus::Leave> {
        count(&self.vp.counters.io);
        let handler = self.handler.ok_or(cpu_x86::bus::Leave)?;
        self.vp.outside(|| handler.port_read(port, data));
        Ok(())
    }

    fn port_write(&mut self, port: u16, data: &[u8]) -> Result<(), cpu_x86::bus::Leave> {
        count(&self.vp.counters.io);
        let handler = self.handler.ok_or(cpu_x86::bus::Leave)?;
        self.vp.outside(|| handler.port_write(port, data));
        Ok(())
    }

    fn port_read_elements(&mut self, port: u16, size: usize, data: &mut [u8]) -> usize {
        let Some(handler) = self.handler else { return 0 };
        let done = self.vp.outside(|| handler.port_read_elements(port, size, data));
        Self::count_elements(&self.vp.counters.io, done, size);
        done
    }

    fn port_write_elements(&mut self, port: u16, size: usize, data: &[u8]) -> usize {
        let Some(handler) = self.handler else { return 0 };
        let done = self.vp.outside(|| handler.port_write_elements(port, size, data));
        Self::count_elements(&self.vp.counters.io, done, size);
        done
    }

    fn msr_read(&mut self, msr: u32) -> MsrAction {
        count(&self.vp.counters.msr);
        match msr {
            IA32_TSC if self.config.msr_exits(MsrExitBitmap::TSC_MSR_READ) => MsrAction::Leave,
            IA32_TSC => MsrAction::Done(self.tsc()),
            IA32_TSC_ADJUST => MsrAction::Done(self.vp.irq().tsc_adjust),
            IA32_APIC_BASE => MsrAction::Done(self.vp.irq().apic_base()),
            IA32_TSC_DEADLINE => self.tsc_deadline(None),
            0x800..0x900 => self.x2apic_read(msr),
            _ if self.is_synthetic(msr) => self.synthetic_read(msr),
            _ => self.unknown_msr(msr, false),
        }
    }

    fn msr_write(&mut self, msr: u32, value: u64) -> MsrAction {
        count(&self.vp.counters.msr);
        match msr {
            IA32_TSC if self.config.msr_exits(MsrExitBitmap::TSC_MSR_WRITE) => MsrAction::Leave,
            IA32_TSC => {
                self.vp.set_tsc(self.shared, value, true);
                MsrAction::Done(0)
            }
            IA32_TSC_ADJUST => {
                self.vp.set_tsc_adjust(self.shared, value);
                MsrAction::Done(0)
            }
            IA32_APIC_BASE if self.config.msr_exits(MsrExitBitmap::APIC_BASE_MSR_WRITE) => MsrAction::Leave,
            IA32_APIC_BASE => self.set_apic_base(value),
            IA32_TSC_DEADLINE => self.tsc_deadline(Some(value)),
            0x800..0x900 => self.x2apic_write(msr, value),
            _ if self.is_synthetic(msr) => self.synthetic_write(msr, value),
            _ => self.unknown_msr(msr, true),
        }
    }

    fn cpuid(&mut self, leaf: u32, subleaf: u32, regs: &mut [u32; 4]) -> CpuidAction {
        count(&self.vp.counters.cpuid);
        cpuid::result(&self.config, &self.vp.place(self.apic_id), leaf, subleaf, regs);
        if cpuid::exits(&self.config, leaf) { CpuidAction::Leave } else { CpuidAction::Done }
    }

    fn tsc(&mut self) -> u64 {
        self.vp.tsc_at(self.shared, self.shared.time.now())
    }

    fn exclude(&mut self) -> bool {
        self.vp.exclude(self.shared);
        true
    }

    fn readmit(&mut self) {
        self.vp.readmit();
    }

    fn cr8(&mut self) -> u64 {
        self.vp.irq().cr8()
    }

    fn set_cr8(&mut self, value: u64) {
        count(&self.vp.counters.apic_tpr);
        let mut irq = self.vp.irq();
        match &mut irq.lapic {
            Some(lapic) => lapic.set_cr8(value),
            None => irq.cr8 = value & 15,
        }
        self.vp.refresh(&irq);
    }

    fn hypercall(&mut self, cpu: &mut Cpu) -> bool {
        self.hyperv_call(cpu)
    }

    fn acknowledge_interrupt(&mut self) -> Option<u8> {
        let mut guard = self.vp.irq();
        let irq = &mut *guard;
        let vector = irq.ext_int.take().or_else(|| {
            let (lapic, synic) = (irq.lapic.as_mut()?, &irq.hyperv.synic);
            lapic.acknowledge().inspect(|v| {
                if synic.auto_eoi(*v) {
                    lapic.auto_eoi(*v);
                }
            })
        });
        self.vp.refresh(irq);
        if vector.is_some() {
            count(&self.vp.counters.interrupts);
        }
        vector
    }
}

impl Vp {
    /// Sets the guest's TSC; `adjust`: IA32_TSC_ADJUST moves with it (as WRMSR does).
    pub(super) fn set_tsc(&self, shared: &Shared, value: u64, adjust: bool) {
        let mut irq = self.irq();
        let partition = shared.time.tsc(shared.time.now());
        let offset = value.wrapping_sub(partition) as i64;
        let old = self.tsc_offset.swap(offset, std::sync::atomic::Ordering::Relaxed);
        if adjust {
            irq.tsc_adjust = irq.tsc_adjust.wrapping_add_signed(offset.wrapping_sub(old));
        }
        self.arm(shared, &irq);
        drop(irq);
        shared.refresh_reference_tsc();
    }

    /// Sets IA32_TSC_ADJUST; the TSC moves with it.
    pub(super) fn set_tsc_adjust(&self, shared: &Shared, value: u64) {
        let mut irq = self.irq();
        let delta = value.wrapping_sub(irq.tsc_adjust) as i64;
        irq.tsc_adjust = value;
        self.tsc_offset.fetch_add(delta, std::sync::atomic::Ordering::Relaxed);
        self.arm(shared, &irq);
        drop(irq);
        shared.refresh_reference_tsc();
    }

    /// What CPUID depends on.
    pub(super) fn place(&self, apic_id: u32) -> cpuid::Place {
        let irq = self.irq();
        cpuid::Place {
            index: self.index,
            apic_id,
            apic_enabled: irq.lapic.as_ref().is_some_and(Lapic::enabled),
            x2apic: irq.lapic.as_ref().is_some_and(|l| l.config().x2apic),
            platform_apic: irq.lapic.is_some(),
        }
    }

    /// Bits of the attention word that mean an event could be taken by a halted processor.
    pub(super) fn wakes(&self, interrupts_on: bool, nmi_blocked: bool) -> bool {
        let a = self.attention.load(std::sync::atomic::Ordering::SeqCst);
        (interrupts_on && a & (Attention::INTR | Attention::INTR_WINDOW) != 0)
            || (!nmi_blocked && a & (Attention::NMI | Attention::NMI_WINDOW) != 0)
    }
}
