//! Counts the rising edges of the ISA interrupt lines on their way to the interrupt controllers, for `info irq`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use vm_core::LineSink;

/// In front of the real sink; its pins are the lines.
pub(crate) struct IrqCounts {
    to: Arc<dyn LineSink>,
    edges: [AtomicU64; 16],
}

impl IrqCounts {
    pub(crate) fn new(to: Arc<dyn LineSink>) -> Arc<Self> {
        Arc::new(Self { to, edges: Default::default() })
    }

    pub(crate) fn edges(&self) -> [u64; 16] {
        self.edges.each_ref().map(|e| e.load(Ordering::Relaxed))
    }
}

impl LineSink for IrqCounts {
    fn set_level(&self, pin: u32, high: bool) {
        if high && let Some(edges) = self.edges.get(pin as usize) {
            edges.fetch_add(1, Ordering::Relaxed);
        }
        self.to.set_level(pin, high);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vm_core::RecordedLine;

    #[test]
    fn rising_edges_count_and_levels_pass() {
        struct To(vm_core::IrqLine);
        impl LineSink for To {
            fn set_level(&self, _pin: u32, high: bool) {
                self.0.set(high);
            }
        }
        let (heard, line) = RecordedLine::line();
        let counts = IrqCounts::new(Arc::new(To(line)));
        for high in [true, false, true] {
            counts.set_level(4, high);
        }
        counts.set_level(99, true);
        assert_eq!((counts.edges()[4], counts.edges().iter().sum::<u64>()), (2, 2));
        assert!(heard.is_high());
    }
}
