//! The 8259 pair's request (ExtINT), delivered by the boot processor's thread with the local APICs in the platform
//! ("WHvSetVirtualProcessorRegisters": pending event, deliverability notifications).
//!
//! The way of the API: ask for an interrupt window, acknowledge when it opens, leave the vector as a pending event, and
//! clear HaltSuspend, because the event alone does not end a halt. Systems were seen where two of these steps fail, so
//! neither is relied on. A window that does not come is replaced by looking: a processor that is made to leave `run` with
//! interrupts on can take one as well. An event that leaves its processor in HLT is taken back and injected as an
//! interruption, for this and all following ones.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use irqchip::Pic;
use vm_core::{Clock, LineSink, Timer};
use whp::{
    DeliverabilityNotifications, Exit, ExitContext, InternalActivity, PendingEvent, PendingInterruption,
    RegisterName as R, RegisterValue, VirtualProcessor,
};

use crate::Shared;

const INTERRUPT_FLAG: u64 = 1 << 9;
/// How long a window or the end of a halt may take before the thread looks, in ns.
const PATIENCE: u64 = 1_000_000;

/// Flags are the boot processor's thread's, but for `pending`.
#[derive(Default)]
pub(crate) struct ExtInt {
    /// INTR is high.
    pending: AtomicBool,
    /// The processor was asked to say when it could take an interrupt.
    asked: AtomicBool,
    /// It stands where it can take one.
    open: AtomicBool,
    /// An event was left for it, and was not seen taken.
    in_flight: AtomicBool,
    /// Events do not end its halts here.
    events_are_deaf: AtomicBool,
    /// Makes the processor leave when it has had its time.
    patience: OnceLock<Timer>,
}

fn set(flag: &AtomicBool, value: bool) {
    flag.store(value, Ordering::SeqCst);
}

fn is(flag: &AtomicBool) -> bool {
    flag.load(Ordering::SeqCst)
}

impl ExtInt {
    /// `boot`: the processor that it belongs to.
    pub(crate) fn connect(&self, boot: &Arc<dyn VirtualProcessor>, clock: &Clock) {
        let boot = Arc::downgrade(boot);
        let timer = clock.timer("ExtINT", move || {
            if let Some(vp) = boot.upgrade() {
                vp.cancel();
            }
        });
        let _ = self.patience.set(timer); // the first time
    }

    pub(crate) fn reset(&self) {
        for flag in [&self.asked, &self.open, &self.in_flight] {
            set(flag, false);
        }
        if let Some(timer) = self.patience.get() {
            timer.cancel();
        }
    }

    pub(crate) fn is_pending(&self) -> bool {
        is(&self.pending)
    }

    /// The boot processor has left `run`.
    pub(crate) fn left(&self, context: &ExitContext) {
        let vp = &context.vp;
        let ready = vp.rflags & INTERRUPT_FLAG != 0 && !vp.interrupt_shadow && !vp.interruption_pending;
        let window = matches!(context.exit, Exit::InterruptWindow { .. });
        if window {
            set(&self.asked, false);
        }
        // After other exits an exception may be on its way, or RFLAGS another.
        set(&self.open, window || ready && matches!(context.exit, Exit::Canceled));
    }

    /// Before a run: does what there is to do.
    pub(crate) fn deliver(&self, pic: &Pic, vp: &dyn VirtualProcessor, clock: &Clock) -> whp::Result<()> {
        let open = self.open.swap(false, Ordering::SeqCst);
        let wanted = self.is_pending() && pic.is_pending();
        let mut waits = false;
        if is(&self.in_flight) || open && wanted {
            let mut v = [RegisterValue::default(); 3];
            vp.registers(&[R::PENDING_EVENT, R::PENDING_INTERRUPTION, R::INTERNAL_ACTIVITY_STATE], &mut v)?;
            let (event, halted) = (v[0].pending_event(), v[2].internal_activity().halt_suspend);
            match event {
                PendingEvent::ExtInt { vector } if is(&self.in_flight) => {
                    waits = !halted;
                    if halted {
                        self.take_back(vp, vector)?;
                    }
                }
                _ => {
                    set(&self.in_flight, false);
                    if open && wanted && event == PendingEvent::None && !v[1].pending_interruption().pending {
                        self.inject(vp, pic.acknowledge(), halted)?;
                        waits = halted && is(&self.in_flight);
                    }
                }
            }
        }
        let more = self.is_pending() && pic.is_pending();
        if more && !self.asked.swap(true, Ordering::SeqCst) {
            let ask = DeliverabilityNotifications { interrupt: true, ..Default::default() };
            vp.set_registers(&[R::DELIVERABILITY_NOTIFICATIONS], &[ask.into()])?;
        }
        match self.patience.get() {
            Some(timer) if !more && !waits => timer.cancel(),
            Some(timer) if timer.deadline().is_none() => timer.set(clock.now().saturating_add(PATIENCE)),
            _ => {}
        }
        Ok(())
    }

    fn inject(&self, vp: &dyn VirtualProcessor, vector: u8, halted: bool) -> whp::Result<()> {
        let mut names = vec![R::PENDING_EVENT, R::INTERNAL_ACTIVITY_STATE];
        let mut values = vec![PendingEvent::ExtInt { vector }.into(), InternalActivity::default().into()];
        if halted && is(&self.events_are_deaf) {
            (names[0], values[0]) = (R::PENDING_INTERRUPTION, PendingInterruption::interrupt(vector).into());
        } else {
            set(&self.in_flight, true);
        }
        if self.asked.swap(false, Ordering::SeqCst) {
            names.push(R::DELIVERABILITY_NOTIFICATIONS);
            values.push(DeliverabilityNotifications::default().into());
        }
        tracing::trace!(target: "whpx_extint", "vector={vector:#x} halted={halted}");
        vp.set_registers(&names, &values)
    }

    /// The event has not ended the halt.
    fn take_back(&self, vp: &dyn VirtualProcessor, vector: u8) -> whp::Result<()> {
        if !self.events_are_deaf.swap(true, Ordering::SeqCst) {
            tracing::info!("the platform leaves a processor in HLT with an interrupt of the 8259 pair: injected anew");
        }
        tracing::trace!(target: "whpx_extint", "vector={vector:#x} again");
        set(&self.in_flight, false);
        let names = [R::PENDING_EVENT, R::PENDING_INTERRUPTION, R::INTERNAL_ACTIVITY_STATE];
        let again = PendingInterruption::interrupt(vector);
        vp.set_registers(&names, &[PendingEvent::None.into(), again.into(), InternalActivity::default().into()])
    }
}

/// Where the 8259 pair's output ends.
pub(crate) struct IntrSink(pub(crate) Weak<Shared>);

impl LineSink for IntrSink {
    fn set_level(&self, _pin: u32, high: bool) {
        let Some(shared) = self.0.upgrade() else { return };
        set(&shared.extint.pending, high);
        if let Some(apics) = &shared.apics {
            if high {
                apics.intr();
            }
        } else if high && let Some(boot) = shared.vcpus.first() {
            boot.vp.cancel();
        }
    }
}
