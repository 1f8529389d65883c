//! Waiting after a locked CMPXCHG that found another value than it expected.
//!
//! Another processor has the line then, and most guests ask for it again at once: the line goes to and fro, and most of
//! the time goes into that. Where the guest's processors run on cores of their own, the one that lost does better to let
//! the other finish a few rounds in its own cache (docs/performance.md has the figures). CMPXCHG8B and CMPXCHG16B are
//! not waited for: programs also use them to load, and expect them to fail.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use iced_x86::{Instruction, Mnemonic};

use super::asm::*;
use super::translate::{Cold, Translator};

/// How long the processor that lost waits. More gains little, and less lets it come back in the middle of a round.
const WAIT: Duration = Duration::from_nanos(220);
/// PAUSE takes about 10 to 140 cycles, depending on the host.
const PAUSES: std::ops::RangeInclusive<u128> = 2..=64;

/// How many PAUSEs take about [`WAIT`] on this host.
fn pauses() -> usize {
    const MEASURED: u32 = 64;
    let time = |_| {
        let start = Instant::now();
        (0..MEASURED).for_each(|_| std::hint::spin_loop());
        start.elapsed()
    };
    // The shortest: the others were interrupted.
    let all = (0..4).map(time).min().unwrap_or_default().as_nanos().max(1);
    (WAIT.as_nanos() * u128::from(MEASURED) / all).clamp(*PAUSES.start(), *PAUSES.end()) as usize
}

/// Code that waits; it changes nothing. Called.
pub(super) fn wait_code(a: &mut Asm) -> usize {
    // It takes some microseconds: not again for each processor.
    static MEASURED: OnceLock<usize> = OnceLock::new();
    let at = a.at();
    (0..*MEASURED.get_or_init(pauses)).for_each(|_| a.bytes(&[0xF3, 0x90]));
    a.ret();
    at
}

impl Translator<'_> {
    /// After instruction `i` was emitted: waits if it is a locked CMPXCHG that failed.
    pub(super) fn wait_if_lost(&mut self, i: &Instruction) {
        if i.mnemonic() == Mnemonic::Cmpxchg && i.has_lock_prefix() {
            let jump = self.a.jcc(Cc::NotEqual as u8);
            self.cold.push(Cold::Lost { jump, back: self.a.at() });
        }
    }
}
