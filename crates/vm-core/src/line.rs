//! Interrupt (and other one-bit) lines, and message-signalled interrupts.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// Where lines end: the pins of an interrupt controller, of a gate, of the machine.
pub trait LineSink: Send + Sync {
    /// The level of `pin` is now `high`. Called on changes only.
    fn set_level(&self, pin: u32, high: bool);
}

/// Where message-signalled interrupts go.
pub trait MsiSink: Send + Sync {
    /// A write of `data` to the interrupt address `address` (Intel SDM volume 3, 11.11).
    fn signal(&self, address: u64, data: u32);
}

struct Wire {
    name: String,
    sink: Arc<dyn LineSink>,
    pin: u32,
    high: AtomicBool,
}

/// The driving end of a line. The device that holds it does not know where it leads.
#[derive(Clone)]
pub struct IrqLine {
    wire: Option<Arc<Wire>>,
}

impl fmt::Debug for IrqLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.wire {
            Some(w) => write!(f, "IrqLine({} = {})", w.name, w.high.load(Ordering::Relaxed)),
            None => write!(f, "IrqLine(unconnected)"),
        }
    }
}

impl IrqLine {
    /// A line called `name` that drives `pin` of `sink`, low.
    pub fn new(name: &str, sink: Arc<dyn LineSink>, pin: u32) -> Self {
        Self { wire: Some(Arc::new(Wire { name: name.into(), sink, pin, high: AtomicBool::new(false) })) }
    }

    /// A line that leads nowhere.
    pub fn unconnected() -> Self {
        Self { wire: None }
    }

    /// Drives the line; the sink hears of changes only.
    pub fn set(&self, high: bool) {
        if let Some(w) = &self.wire
            && w.high.swap(high, Ordering::SeqCst) != high
        {
            w.sink.set_level(w.pin, high);
        }
    }

    /// Drives the line high, then low: one edge.
    pub fn pulse(&self) {
        self.set(true);
        self.set(false);
    }

    /// What the line is driven to.
    pub fn is_high(&self) -> bool {
        self.wire.as_ref().is_some_and(|w| w.high.load(Ordering::SeqCst))
    }

    /// Sets the level without telling the sink: for restoring a saved state, where the sink restores its own view.
    pub fn import_level(&self, high: bool) {
        if let Some(w) = &self.wire {
            w.high.store(high, Ordering::SeqCst);
        }
    }
}

/// Wire-OR of several lines onto one: each input is a [`IrqLine`] made by [`OrGate::input`].
pub struct OrGate {
    output: IrqLine,
    /// One bit an input, so that an input restored by [`IrqLine::import_level`] cannot be counted wrongly.
    high: AtomicU64,
    inputs: AtomicU32,
}

impl OrGate {
    /// A gate that drives `output`.
    pub fn new(output: IrqLine) -> Arc<Self> {
        Arc::new(Self { output, high: AtomicU64::new(0), inputs: AtomicU32::new(0) })
    }

    /// A new input, low.
    ///
    /// # Panics
    /// After 64 inputs (a wiring error).
    pub fn input(self: &Arc<Self>, name: &str) -> IrqLine {
        let pin = self.inputs.fetch_add(1, Ordering::SeqCst);
        assert!(pin < u64::BITS, "{name}: the gate has 64 inputs already");
        IrqLine::new(name, self.clone(), pin)
    }
}

impl LineSink for OrGate {
    fn set_level(&self, pin: u32, high: bool) {
        let bit = 1u64 << (pin & 63);
        let others = if high {
            self.high.fetch_or(bit, Ordering::SeqCst) | bit
        } else {
            self.high.fetch_and(!bit, Ordering::SeqCst) & !bit
        };
        self.output.set(others != 0);
    }
}

/// A sink for tests: remembers the level and counts rising edges.
#[derive(Default)]
pub struct RecordedLine {
    level: AtomicBool,
    edges: AtomicU64,
}

impl RecordedLine {
    /// A recorder and a line into it.
    pub fn line() -> (Arc<Self>, IrqLine) {
        let r = Arc::new(Self::default());
        (r.clone(), IrqLine::new("recorded", r, 0))
    }

    /// The level now.
    pub fn is_high(&self) -> bool {
        self.level.load(Ordering::SeqCst)
    }

    /// Rising edges so far.
    pub fn edges(&self) -> u64 {
        self.edges.load(Ordering::SeqCst)
    }
}

impl LineSink for RecordedLine {
    fn set_level(&self, _pin: u32, high: bool) {
        self.level.store(high, Ordering::SeqCst);
        if high {
            self.edges.fetch_add(1, Ordering::SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_or_gate_is_high_while_any_input_is() {
        let (rec, line) = RecordedLine::line();
        let gate = OrGate::new(line);
        let (a, b) = (gate.input("a"), gate.input("b"));
        a.set(true);
        b.set(true);
        a.set(false);
        assert!(rec.is_high());
        b.set(false);
        b.set(false);
        assert!(!rec.is_high());
        assert_eq!(rec.edges(), 1);
    }
}
