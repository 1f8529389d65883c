//! Interrupt messages to their processors: destinations, shorthands, lowest priority (SDM 11.6).

use super::{DeliveryMode, Destination, Ipi, Shorthand};

/// The processors that messages can reach, by number.
pub trait Processors {
    /// One more than the highest number.
    fn count(&self) -> u32;
    /// Whether a message to `destination` is for processor `index`; `false` where there is none.
    fn is_destination(&self, index: u32, destination: Destination) -> bool;
    /// How busy it is: its processor priority; the highest value where it should not be chosen.
    fn priority(&self, index: u32) -> u32;
    /// A number that changes with every call: processors of the same priority take turns.
    fn turn(&self) -> u32;
    /// Hands it the message.
    fn deliver(&self, index: u32, mode: DeliveryMode, vector: u8, level: bool);
}

/// Delivers to every processor that `destination` means, or, for lowest priority, to one of them. `except` is left out.
pub fn route(
    processors: &impl Processors,
    mode: DeliveryMode,
    vector: u8,
    level: bool,
    destination: Destination,
    except: Option<u32>,
) {
    let count = processors.count();
    let mut targets = (0..count).filter(|i| Some(*i) != except && processors.is_destination(*i, destination));
    if mode == DeliveryMode::LowestPriority {
        let from = processors.turn() % count.max(1);
        let turn = |index: u32| (index + count - from) % count.max(1);
        if let Some(index) = targets.min_by_key(|i| (processors.priority(*i), turn(*i))) {
            processors.deliver(index, mode, vector, level);
        }
    } else {
        targets.by_ref().for_each(|index| processors.deliver(index, mode, vector, level));
    }
}

/// Sends an interprocessor interrupt of processor `from`. They are edges always.
pub fn send(processors: &impl Processors, from: u32, ipi: Ipi) {
    let everybody = Destination { id: u32::MAX, logical: false, wide: true };
    let to = |destination, except| route(processors, ipi.mode, ipi.vector, false, destination, except);
    match ipi.shorthand {
        Shorthand::Myself => processors.deliver(from, ipi.mode, ipi.vector, false),
        Shorthand::None => to(ipi.destination, None),
        Shorthand::All => to(everybody, None),
        Shorthand::Others => to(everybody, Some(from)),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use super::*;

    /// Three processors with identifiers 0 to 2 and these priorities.
    struct Three {
        priorities: [u32; 3],
        turn: Cell<u32>,
        got: RefCell<Vec<(u32, u8)>>,
    }

    impl Processors for Three {
        fn count(&self) -> u32 {
            3
        }
        fn is_destination(&self, index: u32, d: Destination) -> bool {
            d.id == u32::MAX || d.id == index
        }
        fn priority(&self, index: u32) -> u32 {
            self.priorities[index as usize]
        }
        fn turn(&self) -> u32 {
            self.turn.replace(self.turn.get() + 1)
        }
        fn deliver(&self, index: u32, _: DeliveryMode, vector: u8, _: bool) {
            self.got.borrow_mut().push((index, vector));
        }
    }

    fn three(priorities: [u32; 3]) -> Three {
        Three { priorities, turn: Cell::new(0), got: RefCell::default() }
    }

    fn icr(low: u64) -> Ipi {
        Ipi::from_icr(low, true)
    }

    #[test]
    fn shorthands() {
        let p = three([0; 3]);
        send(&p, 1, icr(0x4_0030)); // self
        send(&p, 1, icr(0xC_0031)); // all but self
        send(&p, 1, icr(0x8_0032)); // all
        send(&p, 1, icr(2 << 32 | 0x33)); // physical 2
        let want = vec![(1, 0x30), (0, 0x31), (2, 0x31), (0, 0x32), (1, 0x32), (2, 0x32), (2, 0x33)];
        assert_eq!(p.got.into_inner(), want);
    }

    #[test]
    fn lowest_priority_goes_to_the_idlest_in_turn() {
        let all = Destination { id: u32::MAX, logical: false, wide: true };
        let p = three([0x30, 0x20, 0x20]);
        for _ in 0..3 {
            route(&p, DeliveryMode::LowestPriority, 0x40, false, all, None);
        }
        assert_eq!(p.got.into_inner(), [(1, 0x40), (1, 0x40), (2, 0x40)]);
    }
}
