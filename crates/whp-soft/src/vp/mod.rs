//! A virtual processor: what other threads may touch (interrupt state, attention word) and what belongs to whoever
//! runs it (the core).

mod bus;
mod context;
mod cpuid;
mod handle;
mod registers;
mod run;
mod synthetic;
mod xsave;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, TryLockError};
use std::time::Duration;

use cpu_x86::bus::Attention;
use cpu_x86::{Processor, ResetKind, SharedJitStatistics};
use irqchip::lapic::{Config as ApicConfig, Deadline, Delivery, DeliveryMode, Destination, Lapic, Lvt, Now, apic_base};
use whp::{Exit, LocalApicEmulationMode, PendingEvent, PendingInterruption};

use crate::behave::Behave;
use crate::gate::Gate;
use crate::hyperv::VpHyperv;
use crate::shared::Shared;

pub(crate) use bus::VpBus;
pub(crate) use handle::VpHandle;

/// The shortest distance between two interrupts of a periodic timer, in ns: a guest must not be able to keep the
/// timer thread busy.
const SHORTEST_PERIOD: u64 = 20_000;

/// Interrupt state: any thread's.
pub(crate) struct Irq {
    /// With `LocalApicEmulationMode`.
    lapic: Option<Lapic>,
    /// Without: what the registers hold.
    apic_base: u64,
    cr8: u64,
    /// An interrupt of the 8259 pair that the client acknowledged (`PendingEvent` ExtInt).
    ext_int: Option<u8>,
    init: bool,
    sipi: Option<u8>,
    startup_suspend: bool,
    halted: bool,
    /// Idle until an interrupt comes, whatever IF says (GUEST_IDLE).
    idle: bool,
    /// Asked-for windows.
    window_interrupt: bool,
    window_nmi: bool,
    window_priority: u8,
    /// IA32_TSC_ADJUST.
    tsc_adjust: u64,
    /// The core's thread sleeps on `wake`.
    sleeping: bool,
    /// When the timer fired last, partition time.
    last_fire: u64,
    pub(crate) hyperv: VpHyperv,
}

impl Irq {
    pub(crate) fn cr8(&self) -> u64 {
        self.lapic.as_ref().map_or(self.cr8, Lapic::cr8)
    }

    pub(crate) fn apic_base(&self) -> u64 {
        self.lapic.as_ref().map_or(self.apic_base, Lapic::apic_base)
    }

    pub(crate) fn lapic(&self) -> Option<&Lapic> {
        self.lapic.as_ref()
    }

    /// Lets synthetic timers that are due at reference time `now` expire.
    pub(crate) fn expire(&mut self, now: u64) {
        self.hyperv.expire(now, self.lapic.as_mut());
    }

    /// Posts messages that wait for their slots.
    pub(crate) fn post_waiting(&mut self, now: u64) {
        self.hyperv.post_waiting(now, self.lapic.as_mut());
    }
}

/// The registers and what goes with them: the running thread's.
pub(crate) struct Core {
    pub(crate) processor: Processor,
    /// To be injected at the next entry, whatever IF says.
    pub(crate) pending_interruption: PendingInterruption,
    /// An exception to be injected at the next entry.
    pub(crate) pending_exception: PendingEvent,
    /// Exits that belong after an instruction that is done.
    pub(crate) pending_exits: VecDeque<Exit>,
    pub(crate) apic_id: u32,
}

/// Counted events.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) runtime_ns: AtomicU64,
    /// Of the run in progress: time in halts.
    pub(crate) slept_ns: AtomicU64,
    pub(crate) io: AtomicU64,
    pub(crate) halt: AtomicU64,
    pub(crate) cpuid: AtomicU64,
    pub(crate) msr: AtomicU64,
    pub(crate) memory: AtomicU64,
    pub(crate) windows: AtomicU64,
    pub(crate) other: AtomicU64,
    pub(crate) exceptions: AtomicU64,
    pub(crate) interrupts: AtomicU64,
    pub(crate) apic_mmio: AtomicU64,
    pub(crate) apic_eoi: AtomicU64,
    pub(crate) apic_tpr: AtomicU64,
    pub(crate) ipis: AtomicU64,
    pub(crate) self_ipis: AtomicU64,
}

/// Counts an event of the processor whose thread this is; no other thread counts in its counters.
pub(crate) fn count(counter: &AtomicU64) {
    add(counter, 1);
}

fn add(counter: &AtomicU64, n: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
}

/// [`Vp::apic_page`] where there is none: not the address of a page.
const NO_PAGE: u64 = u64::MAX;

/// A virtual processor.
pub(crate) struct Vp {
    index: u32,
    initial_apic_id: AtomicU32,
    core: Mutex<Core>,
    /// Whoever holds the core runs it.
    running: AtomicBool,
    attention: Arc<AtomicU32>,
    /// The core's thread is not inside guest memory: not in `run`, or in a callback.
    outside: AtomicBool,
    /// One of the partition's processors may be alone inside.
    gate: Arc<Gate>,
    /// It is this one.
    alone: AtomicBool,
    cancelled: AtomicBool,
    irq: Mutex<Irq>,
    /// Where the local APIC's register page is, as of the last [`Vp::refresh`].
    apic_page: AtomicU64,
    wake: Condvar,
    /// Guest TSC minus partition TSC.
    tsc_offset: Arc<AtomicI64>,
    pub(crate) counters: Counters,
    behave: Behave,
    /// What the translator has done, if there is one.
    jit: Option<Arc<SharedJitStatistics>>,
}

/// Waits for what another processor does soon.
fn backing_off(done: impl Fn() -> bool) {
    let mut tries = 0u32;
    while !done() {
        tries = tries.saturating_add(1);
        match tries {
            0..100 => std::hint::spin_loop(),
            100..1000 => std::thread::yield_now(),
            _ => std::thread::sleep(Duration::from_micros(20)),
        }
    }
}

impl Vp {
    pub(crate) fn new(index: u32, shared: &Shared) -> Arc<Self> {
        let model = (shared.options.model)(index);
        let apic_id = (shared.options.apic_id)(index);
        let config = shared.config();
        let lapic = (config.apic_mode != LocalApicEmulationMode::None).then(|| {
            Lapic::new(ApicConfig {
                id: apic_id,
                bsp: index == 0,
                x2apic: config.apic_mode == LocalApicEmulationMode::X2Apic,
                tsc_deadline: true,
                eoi_suppression: shared.options.eoi_suppression,
                physical_bits: config.physical_bits,
            })
        });
        let mut processor = Processor::new(model);
        let tier = shared.options.tier;
        if !processor.set_tier(tier) {
            tracing::warn!("{tier:?} is not there on this host: the processor interprets");
        }
        let attention = Arc::new(AtomicU32::new(Attention::FLUSH_TLB));
        processor.cpu.attention = attention.clone();
        let irq = Irq {
            lapic,
            apic_base: 0,
            cr8: 0,
            ext_int: None,
            init: false,
            sipi: None,
            startup_suspend: false,
            halted: false,
            idle: false,
            window_interrupt: false,
            window_nmi: false,
            window_priority: 0,
            tsc_adjust: 0,
            sleeping: false,
            last_fire: 0,
            hyperv: VpHyperv::default(),
        };
        let jit = processor.shared_jit_statistics();
        let core = Core {
            processor,
            pending_interruption: PendingInterruption::default(),
            pending_exception: PendingEvent::None,
            pending_exits: VecDeque::new(),
            apic_id,
        };
        let vp = Arc::new(Self {
            index,
            initial_apic_id: AtomicU32::new(apic_id),
            core: Mutex::new(core),
            running: AtomicBool::new(false),
            attention,
            outside: AtomicBool::new(true),
            gate: shared.gate.clone(),
            alone: AtomicBool::new(false),
            cancelled: AtomicBool::new(false),
            irq: Mutex::new(irq),
            apic_page: AtomicU64::new(NO_PAGE),
            wake: Condvar::new(),
            tsc_offset: Arc::default(),
            counters: Counters::default(),
            behave: shared.options.behave,
            jit,
        });
        vp.power_on(shared, &mut vp.core());
        vp
    }

    pub(crate) fn index(&self) -> u32 {
        self.index
    }

    fn core(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// The core, unless it runs. Another thread that reads or sets registers is waited for.
    pub(crate) fn try_core(&self) -> Option<MutexGuard<'_, Core>> {
        loop {
            match self.core.try_lock() {
                Ok(core) => return Some(core),
                Err(TryLockError::Poisoned(e)) => return Some(e.into_inner()),
                Err(TryLockError::WouldBlock) if self.running.load(Ordering::SeqCst) => return None,
                Err(TryLockError::WouldBlock) => std::thread::yield_now(),
            }
        }
    }

    pub(crate) fn irq(&self) -> MutexGuard<'_, Irq> {
        self.irq.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// The power-on state (SDM table 10-1): the bootstrap processor runs, the others wait for a start-up IPI.
    pub(crate) fn power_on(&self, shared: &Shared, core: &mut Core) {
        let mut irq = self.irq();
        let i = &mut *irq;
        if let Some(lapic) = &mut i.lapic {
            lapic.reset();
        }
        i.apic_base = apic_base::DEFAULT | apic_base::EN | if self.index == 0 { apic_base::BSP } else { 0 };
        (i.cr8, i.ext_int, i.init, i.sipi) = (0, None, false, None);
        i.startup_suspend = i.lapic.is_some() && self.index != 0;
        (i.halted, i.idle) = (false, false);
        i.hyperv.reset();
        (i.window_interrupt, i.window_nmi, i.window_priority) = (false, false, 0);
        (i.tsc_adjust, i.last_fire) = (0, 0);
        core.pending_interruption = PendingInterruption::default();
        core.pending_exception = PendingEvent::None;
        core.pending_exits.clear();
        core.processor.cpu.reset(ResetKind::PowerOn);
        self.tsc_offset.store(0, Ordering::Relaxed);
        self.attention.fetch_and(!Attention::NMI, Ordering::SeqCst);
        self.attention.fetch_or(Attention::FLUSH_TLB, Ordering::SeqCst);
        self.refresh(&irq);
        drop(irq);
        shared.timers.set(self.index, None);
    }

    /// Makes the attention word agree with the interrupt state, and wakes a sleeping core for it.
    pub(crate) fn refresh(&self, irq: &Irq) {
        self.apic_page.store(irq.lapic.as_ref().and_then(Lapic::mmio_base).unwrap_or(NO_PAGE), Ordering::Relaxed);
        let pending = irq.ext_int.is_some() || irq.lapic.as_ref().is_some_and(|l| l.pending().is_some());
        let class = u64::from(irq.window_priority);
        let never = self.behave.is_old() && irq.lapic.is_some();
        let window = irq.window_interrupt && !never && (class == 0 || irq.cr8() < class);
        self.level(Attention::INTR, pending);
        self.level(Attention::INTR_WINDOW, window);
        self.level(Attention::NMI_WINDOW, irq.window_nmi);
        if irq.sleeping {
            self.wake.notify_all();
        }
    }

    /// Whether `gpa` is in the local APIC's register page.
    fn is_apic_page(&self, gpa: u64) -> bool {
        gpa & !(guest_memory::PAGE_SIZE - 1) == self.apic_page.load(Ordering::Relaxed)
    }

    fn level(&self, bit: u32, on: bool) {
        if (self.attention.load(Ordering::SeqCst) & bit != 0) != on {
            if on {
                self.attention.fetch_or(bit, Ordering::SeqCst);
            } else {
                self.attention.fetch_and(!bit, Ordering::SeqCst);
            }
        }
    }

    /// Makes the run loop look around.
    fn leave(&self) {
        self.attention.fetch_or(Attention::LEAVE, Ordering::SeqCst);
    }

    pub(crate) fn cancel(&self) {
        self.cancelled.store(true, Ordering::SeqCst);
        self.leave();
        let irq = self.irq();
        if irq.sleeping {
            self.wake.notify_all();
        }
    }

    pub(crate) fn is_destination(&self, destination: Destination) -> bool {
        self.irq().lapic.as_ref().is_some_and(|l| l.is_destination(destination))
    }

    /// For lowest-priority arbitration: what the processor is busy with; disabled APICs come last.
    pub(crate) fn priority(&self) -> u32 {
        self.irq().lapic.as_ref().filter(|l| l.software_enabled()).map_or(u32::MAX, Lapic::ppr)
    }

    /// An interrupt message has arrived.
    pub(crate) fn deliver(&self, mode: DeliveryMode, vector: u8, level: bool) {
        let mut irq = self.irq();
        if let Some(lapic) = &mut irq.lapic {
            let what = lapic.deliver(mode, vector, level);
            self.act(&mut irq, what);
        }
    }

    /// A local source fires.
    pub(crate) fn local(&self, source: Lvt) {
        let mut irq = self.irq();
        if let Some(lapic) = &mut irq.lapic {
            let what = lapic.local(source);
            self.act(&mut irq, what);
        }
    }

    fn act(&self, irq: &mut Irq, what: Delivery) {
        match what {
            Delivery::Nothing | Delivery::Smi | Delivery::ExtInt => return,
            Delivery::Interrupt => {}
            Delivery::Nmi => {
                self.attention.fetch_or(Attention::NMI, Ordering::SeqCst);
            }
            Delivery::Init => {
                irq.init = true;
                irq.sipi = None;
                self.leave();
            }
            Delivery::Startup(vector) => {
                if !irq.init && !irq.startup_suspend {
                    return;
                }
                irq.sipi = Some(vector);
                self.leave();
            }
        }
        self.refresh(irq);
    }

    /// The guest's TSC at partition time `ns`.
    fn tsc_at(&self, shared: &Shared, ns: u64) -> u64 {
        shared.time.tsc(ns).wrapping_add_signed(self.tsc_offset.load(Ordering::Relaxed))
    }

    fn now_at(&self, shared: &Shared, ns: u64) -> Now {
        Now { clocks: shared.time.apic_clocks(ns), tsc: self.tsc_at(shared, ns) }
    }

    /// When the local APIC's timer or a synthetic one is due, in partition time.
    fn deadline(&self, shared: &Shared, irq: &Irq) -> Option<u64> {
        let synthetic = irq.hyperv.next_expiry().map(|at| shared.reference_to_ns(at));
        self.apic_deadline(shared, irq).into_iter().chain(synthetic).min()
    }

    fn apic_deadline(&self, shared: &Shared, irq: &Irq) -> Option<u64> {
        let at = match irq.lapic.as_ref()?.next_deadline()? {
            Deadline::Clocks(clocks) => shared.time.clocks_to_ns(clocks),
            Deadline::Tsc(tsc) => {
                let partition = tsc.wrapping_add_signed(self.tsc_offset.load(Ordering::Relaxed).wrapping_neg());
                // Before the partition's start (as a signed number): due.
                if partition > i64::MAX as u64 && tsc <= i64::MAX as u64 { 0 } else { shared.time.tsc_to_ns(partition) }
            }
        };
        Some(at.max(irq.last_fire.saturating_add(SHORTEST_PERIOD)))
    }

    /// Tells the timer thread about the deadline. With the interrupt lock held (order: processor, timers).
    pub(crate) fn arm(&self, shared: &Shared, irq: &Irq) {
        shared.timers.set(self.index, self.deadline(shared, irq));
    }

    /// The timer thread: the deadline has come.
    pub(crate) fn timer_due(&self, shared: &Shared) {
        let mut irq = self.irq();
        let ns = shared.time.now();
        let now = self.now_at(shared, ns);
        let apic_due = self.apic_deadline(shared, &irq).is_some_and(|at| at <= ns);
        if let Some(lapic) = &mut irq.lapic {
            if apic_due {
                let what = lapic.fire(now);
                irq.last_fire = ns;
                self.act(&mut irq, what);
            }
            irq.expire(shared.reference_time(ns));
            self.refresh(&irq);
            self.arm(shared, &irq);
        }
    }

    /// The map changed: first step.
    pub(crate) fn request_flush(&self) {
        self.attention.fetch_or(Attention::FLUSH_TLB, Ordering::SeqCst);
    }

    /// Translations changed: first step.
    pub(crate) fn request_translation_flush(&self) {
        self.attention.fetch_or(Attention::FLUSH_TRANSLATIONS, Ordering::SeqCst);
    }

    /// Idles until an interrupt comes (read of GUEST_IDLE); called by the running core.
    pub(crate) fn idle(&self) {
        self.irq().idle = true;
        self.leave();
    }

    pub(crate) fn tsc_offset(&self) -> i64 {
        self.tsc_offset.load(Ordering::Relaxed)
    }

    pub(crate) fn initial_apic_id(&self) -> u32 {
        self.initial_apic_id.load(Ordering::Relaxed)
    }

    /// The second step: waits until the core has dropped what it cached of the map, or is outside and will before
    /// it goes on.
    pub(crate) fn wait_flushed(&self) {
        let flushes = Attention::FLUSH_TLB | Attention::FLUSH_TRANSLATIONS;
        backing_off(|| self.outside.load(Ordering::SeqCst) || self.attention.load(Ordering::SeqCst) & flushes == 0);
    }

    /// Runs `f` as being outside guest memory.
    pub(crate) fn outside<R>(&self, f: impl FnOnce() -> R) -> R {
        let was = self.outside.swap(true, Ordering::SeqCst);
        let result = f();
        if !was {
            self.enter();
        }
        result
    }

    /// The core's thread is inside guest memory from now on; waits while another processor is alone there.
    pub(crate) fn enter(&self) {
        loop {
            self.outside.store(false, Ordering::SeqCst);
            if !self.gate.is_closed() || self.alone.load(Ordering::Relaxed) {
                return;
            }
            self.outside.store(true, Ordering::SeqCst);
            self.gate.wait();
        }
    }

    /// Waits until no other processor is inside guest memory, and keeps them out until [`Self::readmit`].
    pub(crate) fn exclude(&self, shared: &Shared) {
        self.outside.store(true, Ordering::SeqCst);
        self.gate.close();
        self.alone.store(true, Ordering::Relaxed);
        let vps = shared.vps();
        let others = || vps.iter().flatten().filter(|vp| vp.index != self.index);
        others().for_each(|vp| vp.make_leave());
        for vp in others() {
            backing_off(|| vp.outside.load(Ordering::SeqCst));
        }
        self.outside.store(false, Ordering::SeqCst);
    }

    /// The others may come in again.
    pub(crate) fn readmit(&self) {
        self.alone.store(false, Ordering::Relaxed);
        self.gate.open();
    }

    /// Asks a core that is inside guest memory to leave it.
    fn make_leave(&self) {
        if !self.outside.load(Ordering::SeqCst) {
            self.attention.fetch_or(Attention::LEAVE, Ordering::SeqCst);
        }
    }
}
