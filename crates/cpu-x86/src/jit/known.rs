//! What the temporaries hold from one instruction to the next, so that it is not read from memory again: guest registers that
//! are in no host register, and the distance to the host's addresses of a group of accesses.
//!
//! Known is what holds at one place in the code, and only while nothing else was emitted: whoever emits code that keeps the
//! temporaries says so. Control must not come to that place from elsewhere without them: slow paths of instructions load them
//! again ([`Translator::recall`]), for other places there is [`Translator::unknown`].

use super::asm::*;
use super::sites::Field;
use super::translate::{Translator, register};

/// What is in a temporary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Holds {
    #[default]
    Nothing,
    /// The guest register, which is in memory, too.
    Guest(u8),
    /// The site's distance.
    Distance(usize),
}

/// What is in T1 and T2.
pub(super) type Temporaries = [Holds; 2];

/// Where that holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    at: usize,
    what: Temporaries,
}

impl Default for Known {
    fn default() -> Self {
        Self { at: usize::MAX, what: Temporaries::default() }
    }
}

impl Translator<'_> {
    /// What the temporaries hold here.
    pub(super) fn known(&self) -> Temporaries {
        if self.known.at == self.a.at() { self.known.what } else { Temporaries::default() }
    }

    /// From here on they hold this.
    pub(super) fn now_known(&mut self, what: Temporaries) {
        self.known = Known { at: self.a.at(), what };
    }

    /// Control may come here from elsewhere, or what was emitted is taken back.
    pub(super) fn unknown(&mut self) {
        self.known = Known::default();
    }

    /// The guest register, which is not held, into the temporary.
    pub(super) fn fetch(&mut self, t: u8, guest: u8) {
        let known = self.known();
        if known[usize::from(t - T1)] == Holds::Guest(guest) {
            return;
        }
        let other = if t == T1 { T2 } else { T1 };
        if known[usize::from(other - T1)] == Holds::Guest(guest) {
            self.a.mov(t, other);
        } else {
            self.a.load(t, Mem::state(register(guest)));
        }
    }

    /// In cold code, on the way to where this is known.
    pub(super) fn recall(&mut self, what: Temporaries) {
        for (t, holds) in [T1, T2].into_iter().zip(what) {
            match holds {
                Holds::Nothing => {}
                Holds::Guest(g) => self.a.load(t, Mem::state(register(g))),
                Holds::Distance(site) => self.a.load(t, self.site(site, Field::Delta)),
            }
        }
    }
}

/// The same without what was said of a guest register.
pub(super) fn but(what: Temporaries, guest: u8) -> Temporaries {
    what.map(|h| if h == Holds::Guest(guest) { Holds::Nothing } else { h })
}
