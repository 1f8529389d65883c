//! What a processor has of the enlightenments: the assist page, the SynIC, the timers; and how they act on it.

use std::sync::Arc;

use guest_memory::{PAGE_SIZE, RamBlock};
use irqchip::lapic::{DeliveryMode, Lapic};
use whp::MapGpaRangeFlags;

use super::stimer::{Expired, TIMERS, Timer};
use super::synic::{Message, Posted, Synic};
use super::{ENABLE, PAGE};
use crate::map::Overlay;
use crate::shared::Shared;
use crate::vp::Vp;

/// `HvMessageTimerExpired`.
const TIMER_EXPIRED: u32 = 0x8000_0010;

/// Registers of a processor that place a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PageMsr {
    /// VP_ASSIST_PAGE.
    Assist,
    /// SIEFP.
    EventFlags,
    /// SIMP.
    Messages,
}

/// See the module's documentation.
#[derive(Clone, Default)]
pub(crate) struct VpHyperv {
    assist: u64,
    assist_page: Option<Arc<RamBlock>>,
    pub(crate) synic: Synic,
    timers: [Timer; TIMERS],
}

impl VpHyperv {
    /// As at power-on.
    pub(crate) fn reset(&mut self) {
        self.assist = 0;
        self.synic.reset();
        self.timers = [Timer::default(); TIMERS];
    }

    fn place(&mut self, which: PageMsr) -> (&mut u64, &mut Option<Arc<RamBlock>>) {
        match which {
            PageMsr::Assist => (&mut self.assist, &mut self.assist_page),
            PageMsr::EventFlags => (&mut self.synic.event_flags, &mut self.synic.event_flags_page),
            PageMsr::Messages => (&mut self.synic.messages, &mut self.synic.message_page),
        }
    }

    pub(crate) fn page_msr(&self, which: PageMsr) -> u64 {
        match which {
            PageMsr::Assist => self.assist,
            PageMsr::EventFlags => self.synic.event_flags,
            PageMsr::Messages => self.synic.messages,
        }
    }

    /// SINT `n`; 0 when there is none.
    pub(crate) fn sint(&self, n: usize) -> u64 {
        self.synic.sint.get(n).copied().unwrap_or(0)
    }

    /// STIMERx_CONFIG and STIMERx_COUNT.
    pub(crate) fn timer(&self, n: usize) -> (u64, u64) {
        self.timers.get(n).map_or((0, 0), |t| (t.config, t.count))
    }

    /// When timer `n`, whose message waits, expired.
    pub(super) fn timer_message(&self, n: usize) -> Option<u64> {
        self.timers.get(n).and_then(|t| t.message)
    }

    pub(super) fn timer_mut(&mut self, n: usize) -> Option<&mut Timer> {
        self.timers.get_mut(n)
    }

    /// The reference time of the next expiry.
    pub(crate) fn next_expiry(&self) -> Option<u64> {
        self.timers.iter().filter_map(|t| t.next).min()
    }

    /// Messages wait for their slots.
    pub(crate) fn has_waiting(&self) -> bool {
        self.timers.iter().any(|t| t.message.is_some())
    }

    /// Lets timers that are due expire.
    pub(crate) fn expire(&mut self, now: u64, lapic: Option<&mut Lapic>) {
        if self.next_expiry().is_none_or(|at| at > now) {
            return;
        }
        let Some(lapic) = lapic else { return };
        for timer in &mut self.timers {
            if let Some(Expired::Direct(vector)) = timer.expire(now) {
                lapic.deliver(DeliveryMode::Fixed, vector, false);
            }
        }
        self.post_waiting(now, Some(lapic));
    }

    /// Posts the messages that wait, as far as their slots are free.
    pub(crate) fn post_waiting(&mut self, now: u64, lapic: Option<&mut Lapic>) {
        let Some(lapic) = lapic else { return };
        for (index, timer) in (0u32..).zip(&mut self.timers) {
            let Some(expired) = timer.message else { continue };
            let mut payload = [0; 24];
            payload[..4].copy_from_slice(&index.to_le_bytes());
            payload[8..16].copy_from_slice(&expired.to_le_bytes());
            payload[16..].copy_from_slice(&now.to_le_bytes());
            let message = Message { kind: TIMER_EXPIRED, payload: &payload };
            if let Posted::Yes(vector) = self.synic.post(timer.source(), &message) {
                timer.message = None;
                if let Some(vector) = vector {
                    lapic.deliver(DeliveryMode::Fixed, vector, false);
                }
            }
        }
    }
}

impl Vp {
    /// Writes a register that places a page; the processor must be outside guest memory. `false`: #GP.
    pub(crate) fn set_page_msr(&self, shared: &Shared, which: PageMsr, value: u64) -> bool {
        if !shared.is_page(value) {
            return false;
        }
        let overlay = match which {
            PageMsr::Assist => Overlay::Assist(self.index()),
            PageMsr::EventFlags => Overlay::EventFlags(self.index()),
            PageMsr::Messages => Overlay::Messages(self.index()),
        };
        let page = {
            let mut irq = self.irq();
            let (register, page) = irq.hyperv.place(which);
            let on = value & ENABLE != 0;
            if on && page.is_none() {
                *page = RamBlock::new("synthetic page", PAGE_SIZE).ok();
            }
            // What a page held when it was last enabled is not what the guest finds.
            if let Some(page) = page.as_ref().filter(|_| on && *register & ENABLE == 0) {
                page.fill(0, PAGE_SIZE, 0);
            }
            *register = value;
            page.clone().filter(|_| on)
        };
        let flags = MapGpaRangeFlags::READ | MapGpaRangeFlags::WRITE;
        shared.map.set_overlay(overlay, page.map(|block| (value & PAGE, block, flags)));
        shared.forget_old_map();
        self.look_at_messages(shared);
        true
    }

    /// Posts what waits, after something that can have made room.
    pub(crate) fn look_at_messages(&self, shared: &Shared) {
        let mut irq = self.irq();
        if !irq.hyperv.has_waiting() {
            return;
        }
        irq.post_waiting(shared.reference_time(shared.time.now()));
        self.refresh(&irq);
    }

    /// Works on a timer and arms it.
    pub(super) fn with_timer(&self, shared: &Shared, n: usize, work: impl FnOnce(&mut Timer, u64)) {
        let mut irq = self.irq();
        let now = shared.reference_time(shared.time.now());
        if let Some(timer) = irq.hyperv.timer_mut(n) {
            work(timer, now);
        }
        irq.expire(now);
        self.refresh(&irq);
        self.arm(shared, &irq);
    }
}
