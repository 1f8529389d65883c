//! Local APICs outside of the platform (`kernel-irqchip=off`): the same model as the built-in platform's, with its
//! timers on the machine's clock, delivery by the pending-interruption register and interrupt windows, INIT and
//! start-up IPIs by registers.
//!
//! A processor's thread calls [`LocalApics::prepare`] before each run and [`LocalApics::left`] after it; everybody
//! else only changes the model and kicks the thread. APIC timer clocks are nanoseconds of the machine's clock.
//! Left out: TSC-deadline mode (the guest's CPUID does not have it then), the CMCI, thermal and performance sources.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, Weak};
use std::time::Duration;

use irqchip::Pic;
use irqchip::lapic::{
    self, Config, Deadline, Delivery, DeliveryMode, Destination, Effects, Gp, Lapic, Now, PAGE_SIZE, apic_base,
};
use vm_core::{Clock, Timer, lock};
use whp::{
    DeliverabilityNotifications, InternalActivity, InterruptState, PendingInterruption, RegisterName as R,
    RegisterValue, SegmentRegister, TableRegister, VirtualProcessor, VpContext,
};

/// The shortest distance between two interrupts of a timer, in ns: a guest must not keep the timer thread busy.
const SHORTEST_PERIOD: u64 = 20_000;
/// How long a thread sleeps before it looks whether the machine stands.
const LOOK_AROUND: Duration = Duration::from_millis(50);

const IA32_APIC_BASE: u32 = 0x1B;
/// HV_X64_MSR_APIC_FREQUENCY (TLFS, 12.5), which a platform without local APICs leaves to us.
const APIC_FREQUENCY: u32 = 0x4000_0023;
/// HV_X64_MSR_VP_ASSIST_PAGE (TLFS, 10.3): Linux writes it on any hypervisor of this name, also without being told of it.
const VP_ASSIST_PAGE: u32 = 0x4000_0073;
/// HV_X64_MSR_GUEST_IDLE (TLFS, 7.6.1): a read ends when there is an interrupt, also with RFLAGS.IF clear.
const GUEST_IDLE: u32 = 0x4000_00F0;
/// CPUID leaf 0x40000003: EAX bit 10 and EDX bit 5 say that GUEST_IDLE is there (TLFS, "Feature and Interface Discovery").
pub(crate) const FEATURES_LEAF: u32 = 0x4000_0003;
const IDLE_PRIVILEGE: u32 = 1 << 10;
const IDLE_AVAILABLE: u32 = 1 << 5;
/// In Hz: a clock is a nanosecond.
const CLOCK_RATE: u64 = 1_000_000_000;
const INTERRUPT_FLAG: u64 = 1 << 9;

/// What the MSR exit of one of our registers comes to: the value read (0 for a write), or #GP(0).
pub(crate) type MsrResult = Result<u64, Gp>;

struct State {
    lapic: Lapic,
    init: bool,
    sipi: Option<u8>,
    nmi: bool,
    waits_for_sipi: bool,
    halted: bool,
    /// It reads GUEST_IDLE: stands until an interrupt is there, whatever RFLAGS.IF is.
    idle: bool,
    /// The thread has been told to look again and has not done so.
    kicked: bool,
    /// The thread sleeps on `wake`.
    sleeping: bool,
    /// The guest wrote TPR by memory or MSR: CR8 in the platform is old.
    tpr_written: bool,
    /// The window asked of the platform.
    window: Option<DeliverabilityNotifications>,
    /// When the timer fired last, in ns.
    last_fire: u64,
}

struct One {
    vp: Arc<dyn VirtualProcessor>,
    /// CPUID leaf 1, EAX.
    signature: u32,
    state: Mutex<State>,
    wake: Condvar,
    timer: OnceLock<Timer>,
}

impl One {
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Makes the thread look again.
    fn kick(&self, state: &mut State) {
        if !std::mem::replace(&mut state.kicked, true) {
            if state.sleeping {
                self.wake.notify_all();
            } else {
                self.vp.cancel();
            }
        }
    }
}

/// All of a machine.
pub(crate) struct LocalApics {
    all: Vec<One>,
    clock: Clock,
    turn: AtomicU32,
    /// The guest has been told of Hyper-V's interface.
    enlightened: bool,
}

/// Adds to a result of [`FEATURES_LEAF`] (EAX, EBX, ECX, EDX) what is served here and not by the platform.
pub(crate) fn announce(leaf: &mut [u32; 4]) {
    leaf[0] |= IDLE_PRIVILEGE;
    leaf[3] |= IDLE_AVAILABLE;
}

impl LocalApics {
    /// Local APICs for these processors, after power-up. `enlightened`: with the MSRs that belong to them of Hyper-V's
    /// interface.
    pub(crate) fn new(
        vps: impl Iterator<Item = (Arc<dyn VirtualProcessor>, u32)>,
        clock: &Clock,
        enlightened: bool,
    ) -> Arc<Self> {
        let one = |(index, (vp, id)): (usize, (Arc<dyn VirtualProcessor>, u32))| {
            let physical_bits = vp.cpuid_output(0x8000_0008, 0).map_or(36, |r| r[0] & 0xFF).clamp(36, 52);
            let x2apic = vp.cpuid_output(1, 0).is_ok_and(|r| r[2] >> 21 & 1 != 0);
            let config =
                Config { id, bsp: index == 0, x2apic, tsc_deadline: false, eoi_suppression: false, physical_bits };
            let state = State {
                lapic: Lapic::new(config),
                init: false,
                sipi: None,
                nmi: false,
                waits_for_sipi: index != 0,
                halted: false,
                idle: false,
                kicked: false,
                sleeping: false,
                tpr_written: false,
                window: None,
                last_fire: 0,
            };
            // In RDX after power-up (SDM volume 3, table 10-1); Windows 10 has no function that tells CPUID results.
            let mut rdx = [RegisterValue::default()];
            let signature = vp.registers(&[R::RDX], &mut rdx).map_or(0, |()| rdx[0].u32());
            One { vp, signature, state: Mutex::new(state), wake: Condvar::new(), timer: OnceLock::new() }
        };
        let all = vps.enumerate().map(one).collect();
        let apics = Arc::new(Self { all, clock: clock.clone(), turn: AtomicU32::new(0), enlightened });
        for (index, one) in apics.all.iter().enumerate() {
            let weak: Weak<Self> = Arc::downgrade(&apics);
            let due = move || {
                if let Some(apics) = weak.upgrade() {
                    apics.timer_due(index);
                }
            };
            let _ = one.timer.set(clock.timer(&format!("local APIC {index}"), due)); // the first time
        }
        apics
    }

    fn now(&self) -> Now {
        let ns = self.clock.now();
        Now { clocks: ns, tsc: ns }
    }

    /// Power-up or RESET#; the threads stand.
    pub(crate) fn reset(&self) {
        for (index, one) in self.all.iter().enumerate() {
            let mut s = one.state();
            s.lapic.reset();
            (s.init, s.sipi, s.nmi, s.halted, s.tpr_written) = (false, None, false, false, false);
            s.idle = false;
            (s.window, s.last_fire, s.waits_for_sipi) = (None, 0, index != 0);
            self.arm(one, &s);
        }
    }

    /// Makes every thread look whether it may run.
    pub(crate) fn kick_all(&self) {
        for one in &self.all {
            one.kick(&mut one.state());
        }
    }

    /// The 8259 pair's output changed: the boot processor looks.
    pub(crate) fn intr(&self) {
        if let Some(one) = self.all.first() {
            one.kick(&mut one.state());
        }
    }

    /// An interrupt message from outside.
    pub(crate) fn message(&self, mode: DeliveryMode, vector: u8, level: bool, destination: Destination) {
        lapic::route(self, mode, vector, level, destination, None);
    }

    /// NMI to processor `index`.
    pub(crate) fn nmi(&self, index: usize) {
        lapic::Processors::deliver(self, index as u32, DeliveryMode::Nmi, 0, false);
    }

    fn act(&self, one: &One, s: &mut State, what: Delivery) {
        match what {
            Delivery::Nothing | Delivery::Smi | Delivery::ExtInt => return,
            Delivery::Interrupt => {}
            Delivery::Nmi => s.nmi = true,
            Delivery::Init => (s.init, s.sipi) = (true, None),
            Delivery::Startup(_) if !s.init && !s.waits_for_sipi => return,
            Delivery::Startup(page) => s.sipi = Some(page),
        }
        one.kick(s);
    }

    fn arm(&self, one: &One, s: &State) {
        let Some(timer) = one.timer.get() else { return };
        match s.lapic.next_deadline() {
            Some(Deadline::Clocks(ns) | Deadline::Tsc(ns)) => {
                timer.set(ns.max(s.last_fire.saturating_add(SHORTEST_PERIOD)));
            }
            None => timer.cancel(),
        }
    }

    fn timer_due(&self, index: usize) {
        let Some(one) = self.all.get(index) else { return };
        let mut s = one.state();
        let now = self.now();
        let what = s.lapic.fire(now);
        s.last_fire = now.clocks;
        self.act(one, &mut s, what);
        self.arm(one, &s);
    }

    /// Offset in the register page, when `gpa` is in that of processor `index`.
    pub(crate) fn page_offset(&self, index: usize, gpa: u64) -> Option<u32> {
        let base = self.all.get(index)?.state().lapic.mmio_base()?;
        let page = PAGE_SIZE as u64;
        (gpa & !(page - 1) == base).then_some((gpa & (page - 1)) as u32)
    }

    /// Works on the registers of processor `index`; what is to be broadcast as EOI goes to `eoi`.
    fn access<T>(
        &self,
        index: usize,
        eoi: &dyn Fn(u8),
        work: impl FnOnce(&mut Lapic, Now) -> (T, Effects),
    ) -> Option<T> {
        let one = self.all.get(index)?;
        let mut s = one.state();
        let (tpr, x2apic) = (s.lapic.state().tpr, s.lapic.x2apic());
        let (result, effects) = work(&mut s.lapic, self.now());
        s.tpr_written |= s.lapic.state().tpr != tpr;
        if effects.timer || s.lapic.x2apic() != x2apic {
            self.arm(one, &s);
        }
        if s.lapic.pending().is_some() || s.tpr_written {
            one.kick(&mut s);
        }
        drop(s);
        if let Some(ipi) = effects.ipi {
            lapic::send(self, index as u32, ipi);
        }
        if let Some(vector) = effects.eoi {
            eoi(vector);
        }
        Some(result)
    }

    /// A load from the register page.
    pub(crate) fn read(&self, index: usize, offset: u32, data: &mut [u8]) {
        let mut value = 0;
        for (n, (at, byte)) in (offset..).zip(data.iter_mut()).enumerate() {
            if n == 0 || at & 3 == 0 {
                let read = |l: &mut Lapic, now| (l.mmio_read(at & !3, now), Effects::default());
                value = self.access(index, &|_| {}, read).unwrap_or_default();
            }
            *byte = (value >> (8 * (at & 3))) as u8;
        }
    }

    /// A store to the register page.
    pub(crate) fn write(&self, index: usize, offset: u32, data: &[u8], eoi: &dyn Fn(u8)) {
        let mut value = [0; 4];
        value.iter_mut().zip(data).for_each(|(to, from)| *to = *from);
        let value = u32::from_le_bytes(value);
        self.access(index, eoi, |l, now| ((), l.mmio_write(offset, value, now)));
    }

    /// An MSR exit of processor `index`; `None` when the register is not the local APIC's. After a read of GUEST_IDLE
    /// the processor is not to run until there is an interrupt.
    pub(crate) fn msr(&self, index: usize, msr: u32, write: Option<u64>, eoi: &dyn Fn(u8)) -> Option<MsrResult> {
        match (msr, write) {
            (GUEST_IDLE, None) if self.enlightened => {
                self.all.get(index)?.state().idle = true;
                return Some(Ok(0));
            }
            (GUEST_IDLE, Some(_)) if self.enlightened => return Some(Err(Gp)),
            // There is no page to put anything into: nothing that is announced needs it.
            (VP_ASSIST_PAGE, Some(_)) if self.enlightened => return Some(Ok(0)),
            _ => {}
        }
        let work = |l: &mut Lapic, now: Now| match (msr, write) {
            (APIC_FREQUENCY, None) => (Ok(CLOCK_RATE), Effects::default()),
            (APIC_FREQUENCY, Some(_)) => (Err(Gp), Effects::default()),
            (IA32_APIC_BASE, None) => (Ok(l.apic_base()), Effects::default()),
            (IA32_APIC_BASE, Some(value)) => (l.set_apic_base(value).map(|()| 0), Effects::default()),
            (_, None) => (l.msr_read(msr, now), Effects::default()),
            (_, Some(value)) => match l.msr_write(msr, value, now) {
                Ok(effects) => (Ok(0), effects),
                Err(gp) => (Err(gp), Effects::default()),
            },
        };
        matches!(msr, IA32_APIC_BASE | APIC_FREQUENCY | 0x800..0x900).then(|| self.access(index, eoi, work)).flatten()
    }

    /// IA32_APIC_BASE of processor `index`.
    pub(crate) fn base(&self, index: usize) -> Option<u64> {
        self.all.get(index).map(|one| one.state().lapic.apic_base())
    }

    /// The registers as a page, for the monitor.
    pub(crate) fn page(&self, index: usize) -> Option<Box<[u8; PAGE_SIZE]>> {
        self.all.get(index).map(|one| one.state().lapic.to_page(self.now()))
    }

    /// Whether the processor stands still in HLT or GUEST_IDLE, and whether it waits for a start-up IPI.
    pub(crate) fn activity(&self, index: usize) -> (bool, bool) {
        self.all.get(index).map_or((false, false), |one| {
            let s = one.state();
            (s.halted || s.idle, s.waits_for_sipi)
        })
    }

    /// The processor executed HLT.
    pub(crate) fn halt(&self, index: usize) {
        if let Some(one) = self.all.get(index) {
            one.state().halted = true;
        }
    }

    /// A run ended in this state.
    pub(crate) fn left(&self, index: usize, context: &VpContext, window: bool) {
        let Some(one) = self.all.get(index) else { return };
        let mut s = one.state();
        if window {
            s.window = None;
        }
        if !s.tpr_written && s.lapic.cr8() != u64::from(context.cr8) {
            s.lapic.set_cr8(context.cr8.into());
        }
    }

    /// Carries out what is pending for processor `index`. `false`: it is not to run now.
    pub(crate) fn prepare(&self, index: usize, pic: Option<&Pic>) -> whp::Result<bool> {
        let Some(one) = self.all.get(index) else { return Ok(true) };
        let mut s = one.state();
        s.kicked = false;
        if std::mem::take(&mut s.init) {
            initialise(&*one.vp, one.signature)?;
            s.lapic.init();
            (s.nmi, s.halted, s.window, s.tpr_written) = (false, false, None, true);
            s.idle = false;
            s.waits_for_sipi = s.lapic.apic_base() & apic_base::BSP == 0;
            self.arm(one, &s);
        }
        if s.waits_for_sipi {
            let Some(page) = s.sipi.take() else { return Ok(false) };
            start_up(&*one.vp, page)?;
            s.waits_for_sipi = false;
        }
        s.sipi = None;
        if std::mem::take(&mut s.tpr_written) {
            one.vp.set_registers(&[R::CR8], &[s.lapic.cr8().into()])?;
        }
        let external = pic.filter(|pic| index == 0 && pic.is_pending() && s.lapic.accepts_ext_int());
        // An interrupt that is held back by priority ends it too, since Linux waits for locks this way in handlers; a local
        // APIC that is switched off hears of no interrupt, so that there is nothing to wait for.
        if s.idle && (s.nmi || external.is_some() || s.lapic.has_requests() || !s.lapic.software_enabled()) {
            s.idle = false;
        }
        if s.idle {
            return Ok(false);
        }
        if s.nmi || external.is_some() || s.lapic.pending().is_some() {
            return inject(one, &mut s, external);
        }
        if s.halted {
            return Ok(false);
        }
        if let Some(vector) = s.lapic.held_back() {
            ask(
                one,
                &mut s,
                DeliverabilityNotifications { interrupt: true, interrupt_priority: vector >> 4, ..Default::default() },
            )?;
        }
        Ok(true)
    }

    /// Sleeps until something has happened to processor `index`, or a little.
    pub(crate) fn wait(&self, index: usize) {
        let Some(one) = self.all.get(index) else { return };
        let mut s = one.state();
        if !s.kicked {
            s.sleeping = true;
            s = one.wake.wait_timeout(s, LOOK_AROUND).unwrap_or_else(|e| e.into_inner()).0;
            s.sleeping = false;
        }
    }
}

impl lapic::Processors for LocalApics {
    fn count(&self) -> u32 {
        self.all.len() as u32
    }

    fn is_destination(&self, index: u32, destination: Destination) -> bool {
        self.all.get(index as usize).is_some_and(|one| one.state().lapic.is_destination(destination))
    }

    fn priority(&self, index: u32) -> u32 {
        let one = self.all.get(index as usize);
        one.map(|one| one.state()).filter(|s| s.lapic.software_enabled()).map_or(u32::MAX, |s| s.lapic.ppr())
    }

    fn turn(&self) -> u32 {
        self.turn.fetch_add(1, Ordering::Relaxed)
    }

    fn deliver(&self, index: u32, mode: DeliveryMode, vector: u8, level: bool) {
        let Some(one) = self.all.get(index as usize) else { return };
        let mut s = one.state();
        let what = s.lapic.deliver(mode, vector, level);
        self.act(one, &mut s, what);
    }
}

/// Injects the most urgent of what is pending where the processor can take it now, else asks for a window. `false`:
/// it is halted and what is pending cannot wake it.
fn inject(one: &One, s: &mut State, external: Option<&Pic>) -> whp::Result<bool> {
    let mut v = [RegisterValue::default(); 3];
    one.vp.registers(&[R::RFLAGS, R::INTERRUPT_STATE, R::PENDING_INTERRUPTION], &mut v)?;
    let (flags, state) = (v[0].u64(), v[1].interrupt_state());
    let free = !v[2].pending_interruption().pending && !state.interrupt_shadow;
    let interrupts_on = flags & INTERRUPT_FLAG != 0;
    let event = if s.nmi {
        if state.nmi_masked || !free {
            ask(one, s, DeliverabilityNotifications { nmi: true, ..Default::default() })?;
            return Ok(!s.halted);
        }
        s.nmi = false;
        PendingInterruption::nmi()
    } else if !interrupts_on && s.halted {
        return Ok(false);
    } else if !interrupts_on || !free {
        ask(one, s, DeliverabilityNotifications { interrupt: true, ..Default::default() })?;
        return Ok(true);
    } else {
        let vector = match external {
            Some(pic) => pic.acknowledge(),
            None => match s.lapic.acknowledge() {
                Some(vector) => vector,
                None => return Ok(true),
            },
        };
        PendingInterruption::interrupt(vector)
    };
    s.halted = false;
    let names = [R::PENDING_INTERRUPTION, R::INTERNAL_ACTIVITY_STATE];
    // The event alone does not end a halt on Microsoft's platform.
    one.vp.set_registers(&names, &[event.into(), InternalActivity::default().into()])?;
    // There may be more: the window is asked for after this one has been taken.
    if s.nmi || external.is_some_and(Pic::is_pending) || s.lapic.pending().is_some() {
        ask(one, s, DeliverabilityNotifications { interrupt: true, ..Default::default() })?;
    }
    Ok(true)
}

/// Asks for an exit when the processor can take an interrupt; what was asked for already is not asked again.
fn ask(one: &One, s: &mut State, window: DeliverabilityNotifications) -> whp::Result<()> {
    if s.window == Some(window) {
        return Ok(());
    }
    one.vp.set_registers(&[R::DELIVERABILITY_NOTIFICATIONS], &[window.into()])?;
    s.window = Some(window);
    Ok(())
}

const PRESENT_DATA: u16 = 0x93;
const PRESENT_CODE: u16 = 0x9B;

fn real_mode_segment(base: u64, selector: u16, attributes: u16) -> RegisterValue {
    SegmentRegister { base, limit: 0xFFFF, selector, attributes }.into()
}

/// The state after INIT (SDM volume 3, table 10-1): FPU, SSE, MSRs but EFER, and CR0.CD and NW stay.
fn initialise(vp: &dyn VirtualProcessor, signature: u32) -> whp::Result<()> {
    const CD_NW: u64 = 3 << 29;
    let mut cr0 = [RegisterValue::default()];
    vp.registers(&[R::CR0], &mut cr0)?;
    let mut list: Vec<(R, RegisterValue)> = (0..16).map(|n| (R::RAX.offset(n), 0u64.into())).collect();
    list.push((R::RDX, u64::from(signature).into()));
    list.extend([(R::RIP, 0xFFF0u64.into()), (R::RFLAGS, 2u64.into())]);
    list.extend((0..6).map(|n| (R::ES.offset(n), real_mode_segment(0, 0, PRESENT_DATA))));
    list.push((R::CS, real_mode_segment(0xFFFF_0000, 0xF000, PRESENT_CODE)));
    list.extend([(R::LDTR, real_mode_segment(0, 0, 0x82)), (R::TR, real_mode_segment(0, 0, 0x8B))]);
    let table = RegisterValue::from(TableRegister { limit: 0xFFFF, base: 0 });
    list.extend([(R::IDTR, table), (R::GDTR, table)]);
    list.extend([R::CR2, R::CR3, R::CR4, R::EFER, R::CR8].map(|name| (name, 0u64.into())));
    list.push((R::CR0, (cr0[0].u64() & CD_NW | 0x10).into()));
    list.extend([R::DR0, R::DR1, R::DR2, R::DR3].map(|name| (name, 0u64.into())));
    list.extend([(R::DR6, 0xFFFF_0FF0u64.into()), (R::DR7, 0x400u64.into())]);
    list.push((R::INTERRUPT_STATE, InterruptState::default().into()));
    list.push((R::PENDING_INTERRUPTION, PendingInterruption::default().into()));
    list.push((R::DELIVERABILITY_NOTIFICATIONS, DeliverabilityNotifications::default().into()));
    list.push((R::INTERNAL_ACTIVITY_STATE, InternalActivity::default().into()));
    let (names, values): (Vec<_>, Vec<_>) = list.into_iter().unzip();
    vp.set_registers(&names, &values)
}

/// A start-up IPI: real mode at page `page`.
fn start_up(vp: &dyn VirtualProcessor, page: u8) -> whp::Result<()> {
    let cs = real_mode_segment(u64::from(page) << 12, u16::from(page) << 8, PRESENT_CODE);
    vp.set_registers(&[R::CS, R::RIP], &[cs, 0u64.into()])
}
