//! INTx: which of the four board wires a function's pin is on, and the function's own end of it.
//!
//! PCI Local Bus Specification 3.0, sections 2.2.6 and 6.2.2/6.2.3 (interrupt disable and status bits).

use std::sync::Arc;

use vm_core::{IrqLine, LineSink};

use crate::config::{ConfigSpace, command, status};

/// The board wire (0 is PIRQA) that pin `pin` (0 is INTA) of the device in `slot` is on, as the PC's firmware and
/// its ACPI tables for this board assume: device 1 INTA is PIRQA.
pub const fn swizzle(slot: u8, pin: u8) -> u8 {
    slot.wrapping_add(pin).wrapping_sub(1) & 3
}

/// Where the four wires end: the south bridge. It keeps apart who drives (functions share wires).
pub trait IntxRouter: Send + Sync {
    /// Function `devfn` drives its wire `pirq` (0 to 3) to `high`. Called on changes.
    fn set_intx(&self, devfn: u8, pirq: u8, high: bool);
}

pub(crate) struct IntxSink(pub(crate) Arc<dyn IntxRouter>);

impl LineSink for IntxSink {
    fn set_level(&self, pin: u32, high: bool) {
        self.0.set_intx((pin >> 2) as u8, (pin & 3) as u8, high);
    }
}

pub(crate) fn line(router: &Arc<dyn IntxRouter>, devfn: u8, pin: u8) -> IrqLine {
    let pirq = swizzle(devfn >> 3, pin);
    let name = format!("{:02x}.{} INT{}", devfn >> 3, devfn & 7, (b'A' + (pin & 3)) as char);
    IrqLine::new(&name, Arc::new(IntxSink(router.clone())), u32::from(devfn) << 2 | u32::from(pirq))
}

/// A function's interrupt pin: keeps the status bit right and obeys the disable bit.
#[derive(Debug)]
pub struct IntxPin {
    line: IrqLine,
}

impl IntxPin {
    /// A pin that drives `line` (from `PciBus::intx_line`).
    pub fn new(line: IrqLine) -> Self {
        Self { line }
    }

    /// The function wants (or no longer wants) its interrupt.
    pub fn set(&self, config: &mut ConfigSpace, wanted: bool) {
        config.set_status(status::INTERRUPT, wanted);
        self.update(config);
    }

    /// Drives the line from the registers; to be called after the command register was written or reset.
    pub fn update(&self, config: &ConfigSpace) {
        self.line.set(Self::level(config));
    }

    /// Takes the restored registers' level over without telling the router, which restores its own view.
    pub fn import(&self, config: &ConfigSpace) {
        self.line.import_level(Self::level(config));
    }

    fn level(config: &ConfigSpace) -> bool {
        config.u16(crate::reg::STATUS) & status::INTERRUPT != 0 && config.command() & command::INTX_DISABLE == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Identity;
    use vm_core::RecordedLine;

    #[test]
    fn the_board_wires() {
        assert_eq!([(1, 0), (1, 3), (2, 0), (4, 0), (5, 1), (0, 0)].map(|(s, p)| swizzle(s, p)), [0, 3, 1, 3, 1, 3]);
    }

    #[test]
    fn the_disable_bit_silences_but_status_stays() {
        let (seen, line) = RecordedLine::line();
        let pin = IntxPin::new(line);
        let id = Identity { vendor: 1, device: 2, revision: 0, class: 0, subsystem: (0, 0) };
        let mut c = ConfigSpace::endpoint(id);
        pin.set(&mut c, true);
        assert!(seen.is_high());
        c.write(4, &[0, 4]);
        pin.update(&c);
        assert!(!seen.is_high());
        assert_eq!(c.u16(6) & status::INTERRUPT, status::INTERRUPT);
    }
}
