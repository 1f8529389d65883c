//! The SynIC's states that have no register: both pages and the timers (`WHvGetVirtualProcessorState` and its like). The
//! timers' layout is the TLFS's `HV_SYNTHETIC_TIMERS_STATE`; its adjustments are 0: a periodic timer starts anew.

use guest_memory::PAGE_SIZE;
use whp::{Error, HResult, Result, SyntheticProcessorFeatures as F};

use super::stimer::TIMERS;
use crate::partition::SoftPartition;

/// Which state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SynicState {
    /// The message page, 4096 bytes.
    MessagePage,
    /// The event flags page, 4096 bytes.
    EventFlagPage,
    /// The timers, 200 bytes.
    Timers,
}

/// Words of a timer: flags (bit 0: a message waits), configuration, count, adjustment, when the message's timer expired.
const WORDS: usize = 5;
/// The timers, then five reserved words.
const TIMERS_SIZE: usize = (TIMERS * WORDS + 5) * 8;

impl SoftPartition {
    fn with_synic<R>(
        &self,
        operation: &'static str,
        index: u32,
        work: impl FnOnce(&crate::vp::Vp) -> std::result::Result<R, HResult>,
    ) -> Result<R> {
        let error = |code, why: &str| Error::new(code, operation, format!("virtual processor {index}: {why}"));
        if !self.shared.config().synthetic.contains(F::ACCESS_SYNIC_REGS) {
            return Err(error(HResult::E_NOTIMPL, "its partition has no SynIC"));
        }
        let vp = self.shared.vp(index).ok_or_else(|| error(HResult::WHV_E_VP_DOES_NOT_EXIST, "it does not exist"))?;
        let core = vp.try_core().ok_or_else(|| error(HResult::WHV_E_INVALID_VP_STATE, "it runs"))?;
        let result = work(&vp).map_err(|code| error(code, "the state has another size"));
        drop(core);
        result
    }

    /// Reads a state of processor `index`.
    ///
    /// # Errors
    /// `E_NOTIMPL` without SynIC; `WHV_E_INVALID_VP_STATE` while it runs.
    pub fn synic_state(&self, index: u32, which: SynicState) -> Result<Vec<u8>> {
        self.with_synic("GetVirtualProcessorState", index, |vp| {
            let irq = vp.irq();
            let page = match which {
                SynicState::MessagePage => &irq.hyperv.synic.message_page,
                SynicState::EventFlagPage => &irq.hyperv.synic.event_flags_page,
                SynicState::Timers => {
                    let words = (0..TIMERS).flat_map(|n| {
                        let (config, count) = irq.hyperv.timer(n);
                        let waiting = irq.hyperv.timer_message(n);
                        [u64::from(waiting.is_some()), config, count, 0, waiting.unwrap_or(0)]
                    });
                    return Ok(words.chain([0; 5]).flat_map(u64::to_le_bytes).collect());
                }
            };
            let mut bytes = vec![0; PAGE_SIZE as usize];
            if let Some(page) = page {
                page.read(0, &mut bytes);
            }
            Ok(bytes)
        })
    }

    /// Sets a state of processor `index`. Pages are those of SIMP and SIEFP, which come first: setting these clears them.
    ///
    /// # Errors
    /// As for [`SoftPartition::synic_state`]; `E_INVALIDARG` for another size.
    pub fn set_synic_state(&self, index: u32, which: SynicState, bytes: &[u8]) -> Result<()> {
        let wanted = if which == SynicState::Timers { TIMERS_SIZE } else { PAGE_SIZE as usize };
        self.with_synic("SetVirtualProcessorState", index, |vp| {
            if bytes.len() != wanted {
                return Err(HResult::E_INVALIDARG);
            }
            if which == SynicState::Timers {
                for (n, timer) in bytes.chunks_exact(WORDS * 8).take(TIMERS).enumerate() {
                    let word = |w: usize| {
                        timer.get(w * 8..).and_then(|b| b.first_chunk()).map_or(0, |b| u64::from_le_bytes(*b))
                    };
                    let waiting = (word(0) & 1 != 0).then_some(word(4));
                    vp.with_timer(&self.shared, n, |t, now| {
                        t.set_count(word(2), now);
                        t.set_config(word(1), now);
                        t.message = waiting;
                    });
                }
                return Ok(());
            }
            let irq = vp.irq();
            let page = match which {
                SynicState::EventFlagPage => &irq.hyperv.synic.event_flags_page,
                _ => &irq.hyperv.synic.message_page,
            };
            if let Some(page) = page {
                page.write(0, bytes);
            }
            Ok(())
        })
    }
}
