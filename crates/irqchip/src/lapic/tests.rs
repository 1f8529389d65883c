//! From the SDM's text.

use super::*;

fn config(id: u32) -> Config {
    Config { id, bsp: id == 0, x2apic: true, tsc_deadline: true, eoi_suppression: true, physical_bits: 40 }
}

fn lapic() -> Lapic {
    let mut l = Lapic::new(config(3));
    l.mmio_write(reg::SVR, 0x1FF, Now::default());
    l
}

fn x2() -> Lapic {
    let mut l = lapic();
    l.set_apic_base(apic_base::DEFAULT | apic_base::EN | apic_base::EXTD).unwrap();
    l
}

fn at(clocks: u64) -> Now {
    Now { clocks, tsc: clocks }
}

const T0: Now = Now { clocks: 0, tsc: 0 };

#[test]
fn reset_values() {
    let mut l = Lapic::new(config(0));
    assert_eq!(l.apic_base(), 0xFEE0_0900);
    assert_eq!(Lapic::new(config(1)).apic_base(), 0xFEE0_0800);
    assert_eq!(l.mmio_read(reg::SVR, T0), 0xFF);
    assert_eq!(l.mmio_read(reg::DFR, T0), 0xFFFF_FFFF);
    assert_eq!(l.mmio_read(reg::LVT_LINT0, T0), 0x1_0000);
    assert_eq!(l.mmio_read(reg::VERSION, T0) & 0xFF, 0x14);
}

#[test]
fn priorities_nest_and_eoi_unwinds() {
    let mut l = lapic();
    assert_eq!(l.deliver(DeliveryMode::Fixed, 0x41, false), Delivery::Interrupt);
    assert_eq!(l.acknowledge(), Some(0x41));
    l.deliver(DeliveryMode::Fixed, 0x4F, false);
    assert_eq!(l.pending(), None, "same class is held off");
    l.deliver(DeliveryMode::Fixed, 0x51, true);
    assert_eq!(l.acknowledge(), Some(0x51));
    assert_eq!(l.ppr(), 0x50);
    assert_eq!(l.mmio_write(reg::EOI, 0, T0).eoi, Some(0x51), "level-triggered: broadcast");
    assert_eq!(l.mmio_write(reg::EOI, 0, T0).eoi, None);
    assert_eq!(l.acknowledge(), Some(0x4F));
    l.set_cr8(5);
    assert_eq!(l.mmio_read(reg::TPR, T0), 0x50);
    l.deliver(DeliveryMode::Fixed, 0x5F, false);
    assert_eq!(l.pending(), None);
    l.set_cr8(4);
    assert_eq!(l.pending(), Some(0x5F));
}

#[test]
fn eoi_broadcast_can_be_suppressed() {
    let mut l = lapic();
    l.mmio_write(reg::SVR, 0x11FF, T0);
    l.deliver(DeliveryMode::Fixed, 0x51, true);
    l.acknowledge();
    assert_eq!(l.mmio_write(reg::EOI, 0, T0).eoi, None);
}

#[test]
fn software_disable_masks_and_refuses() {
    let mut l = lapic();
    l.mmio_write(reg::LVT_TIMER, 0x40, T0);
    l.mmio_write(reg::SVR, 0xFF, T0);
    assert_eq!(l.mmio_read(reg::LVT_TIMER, T0), 0x1_0040);
    l.mmio_write(reg::LVT_TIMER, 0x40, T0);
    assert_eq!(l.mmio_read(reg::LVT_TIMER, T0), 0x1_0040, "the mask cannot be cleared");
    assert_eq!(l.deliver(DeliveryMode::Fixed, 0x41, false), Delivery::Nothing);
    assert_eq!(l.deliver(DeliveryMode::Nmi, 0, false), Delivery::Nmi);
    assert_eq!(l.deliver(DeliveryMode::Startup, 8, false), Delivery::Startup(8));
}

#[test]
fn one_shot_counts_down_and_fires_once() {
    let mut l = lapic();
    l.mmio_write(reg::DIVIDE, 0b0011, T0); // by 16
    l.mmio_write(reg::LVT_TIMER, 0x40, T0);
    assert!(l.mmio_write(reg::INITIAL_COUNT, 100, T0).timer);
    assert_eq!(l.next_deadline(), Some(Deadline::Clocks(1600)));
    assert_eq!(l.mmio_read(reg::CURRENT_COUNT, at(160)), 90);
    assert_eq!(l.fire(at(1599)), Delivery::Nothing);
    assert_eq!(l.fire(at(1600)), Delivery::Interrupt);
    assert_eq!(l.next_deadline(), None);
    assert_eq!(l.mmio_read(reg::CURRENT_COUNT, at(1700)), 0);
    assert_eq!(l.acknowledge(), Some(0x40));
}

#[test]
fn divide_by_one_is_eleven() {
    let mut l = lapic();
    l.mmio_write(reg::DIVIDE, 0b1011, T0);
    l.mmio_write(reg::LVT_TIMER, 0x40, T0);
    l.mmio_write(reg::INITIAL_COUNT, 100, T0);
    assert_eq!(l.next_deadline(), Some(Deadline::Clocks(100)));
    l.mmio_write(reg::DIVIDE, 0, at(50)); // by 2, half way
    assert_eq!(l.mmio_read(reg::CURRENT_COUNT, at(50)), 50);
    assert_eq!(l.next_deadline(), Some(Deadline::Clocks(150)));
}

#[test]
fn periodic_keeps_its_phase() {
    let mut l = lapic();
    l.mmio_write(reg::DIVIDE, 0b1011, T0);
    l.mmio_write(reg::LVT_TIMER, 0x2_0040, T0);
    l.mmio_write(reg::INITIAL_COUNT, 1000, T0);
    assert_eq!(l.fire(at(3500)), Delivery::Interrupt, "late ones are one");
    assert_eq!(l.next_deadline(), Some(Deadline::Clocks(4000)));
    assert_eq!(l.mmio_read(reg::CURRENT_COUNT, at(3600)), 400);
    l.mmio_write(reg::INITIAL_COUNT, 0, at(3600));
    assert_eq!(l.next_deadline(), None);
}

#[test]
fn tsc_deadline_mode() {
    let mut l = lapic();
    l.set_tsc_deadline(500);
    assert_eq!(l.tsc_deadline(), 0, "ignored in another mode");
    l.mmio_write(reg::LVT_TIMER, 0x4_0040, T0);
    l.set_tsc_deadline(500);
    assert_eq!(l.next_deadline(), Some(Deadline::Tsc(500)));
    assert_eq!(l.fire(at(499)), Delivery::Nothing);
    assert_eq!(l.fire(at(500)), Delivery::Interrupt);
    assert_eq!(l.tsc_deadline(), 0);
    l.mmio_write(reg::INITIAL_COUNT, 77, at(600));
    assert_eq!(l.mmio_read(reg::INITIAL_COUNT, at(600)), 0, "ignored in deadline mode");
    l.set_tsc_deadline(900);
    l.mmio_write(reg::LVT_TIMER, 0x40, at(600));
    assert_eq!(l.next_deadline(), None, "the mode change disarms");
}

#[test]
fn a_masked_timer_does_not_fire_later() {
    let mut l = lapic();
    l.mmio_write(reg::DIVIDE, 0b1011, T0);
    l.mmio_write(reg::LVT_TIMER, 0x1_0040, T0);
    l.mmio_write(reg::INITIAL_COUNT, 100, T0);
    assert_eq!(l.next_deadline(), None);
    l.mmio_write(reg::LVT_TIMER, 0x40, at(200));
    assert_eq!(l.fire(at(300)), Delivery::Nothing);
    assert_eq!(l.pending(), None);
}

#[test]
fn logical_destinations() {
    let d = |id, logical, wide| Destination { id, logical, wide };
    let mut l = lapic();
    l.mmio_write(reg::LDR, 0x0400_0000, T0);
    assert!(l.is_destination(d(0x06, true, false)), "flat");
    assert!(!l.is_destination(d(0x03, true, false)));
    assert!(l.is_destination(d(0xFF, false, false)));
    assert!(l.is_destination(d(3, false, false)));
    l.mmio_write(reg::DFR, 0, T0);
    l.mmio_write(reg::LDR, 0x2400_0000, T0);
    assert!(l.is_destination(d(0x24, true, false)), "cluster");
    assert!(!l.is_destination(d(0x14, true, false)));
    assert!(l.is_destination(d(0xF4, true, false)));
    let mut l = Lapic::new(config(0x23));
    l.set_apic_base(apic_base::DEFAULT | apic_base::EN | apic_base::EXTD).unwrap();
    assert_eq!(l.msr_read(0x80D, T0), Ok(0x0002_0008));
    assert!(l.is_destination(d(0x0002_0008, true, true)));
    assert!(!l.is_destination(d(0x0001_0008, true, true)));
    assert!(!l.is_destination(d(0xFF, false, true)), "an ID in x2APIC form");
    assert!(l.is_destination(d(0xFFFF_FFFF, false, true)));
}

#[test]
fn icr_forms() {
    let mut l = lapic();
    l.mmio_write(reg::ICR_HIGH, 0x0500_0000, T0);
    let ipi = l.mmio_write(reg::ICR_LOW, 0x0000_4608, T0).ipi.unwrap();
    assert_eq!((ipi.mode, ipi.vector, ipi.destination.id), (DeliveryMode::Startup, 8, 5));
    let ipi = l.mmio_write(reg::ICR_LOW, 0x000C_4500, T0).ipi.unwrap();
    assert_eq!((ipi.mode, ipi.shorthand), (DeliveryMode::Init, Shorthand::Others));
    assert_eq!(l.mmio_write(reg::ICR_LOW, 0x0008_8500, T0).ipi, None, "INIT level de-assert");
    assert_eq!(l.mmio_write(reg::ICR_LOW, 0x0000_4005, T0).ipi, None, "illegal vector");
    l.mmio_write(reg::ESR, 0, T0);
    assert_eq!(l.mmio_read(reg::ESR, T0), esr::SEND_ILLEGAL_VECTOR);
    let mut l = x2();
    let ipi = l.msr_write(0x830, 0x0001_0002_0000_0840, T0).unwrap().ipi.unwrap();
    assert_eq!(ipi.destination, Destination { id: 0x0001_0002, logical: true, wide: true });
    let ipi = l.msr_write(0x83F, 0x77, T0).unwrap().ipi.unwrap();
    assert_eq!((ipi.vector, ipi.shorthand), (0x77, Shorthand::Myself));
}

#[test]
fn x2apic_faults() {
    let mut l = lapic();
    assert_eq!(l.msr_read(0x802, T0), Err(Gp), "not in x2APIC mode");
    let mut l = x2();
    assert_eq!(l.mmio_base(), None);
    assert_eq!(l.msr_read(0x802, T0), Ok(3));
    for msr in [0x80E, 0x831, 0x80B, 0x83F, 0x840] {
        assert_eq!(l.msr_read(msr, T0), Err(Gp), "{msr:#x}");
    }
    for (msr, value) in [(0x80B, 1), (0x828, 1), (0x808, 0x100), (0x802, 0), (0x80D, 0), (0x839, 0), (0x80F, 1 << 20)] {
        assert_eq!(l.msr_write(msr, value, T0), Err(Gp), "{msr:#x}");
    }
    assert!(l.msr_write(0x80B, 0, T0).is_ok());
}

#[test]
fn apic_base_transitions() {
    use apic_base::{EN, EXTD};
    let base = apic_base::DEFAULT;
    let mut l = lapic();
    assert_eq!(l.set_apic_base(base | EXTD), Err(Gp), "EXTD without EN");
    assert_eq!(l.set_apic_base(base | EN | 1), Err(Gp), "reserved");
    assert_eq!(l.set_apic_base(base | EN | 1 << 45), Err(Gp), "beyond the address width");
    l.set_apic_base(base | EN | EXTD).unwrap();
    assert_eq!(l.set_apic_base(base | EN), Err(Gp), "back to xAPIC only through disabled");
    l.set_apic_base(base).unwrap();
    assert_eq!(l.set_apic_base(base | EN | EXTD), Err(Gp), "disabled to x2APIC");
    l.set_apic_base(base | EN).unwrap();
    assert_eq!(l.mmio_read(reg::SVR, T0), 0xFF, "disabling lost the state");
    let mut old = Lapic::new(Config { x2apic: false, ..config(0) });
    assert_eq!(old.set_apic_base(base | EN | EXTD), Err(Gp));
}

#[test]
fn init_keeps_mode_and_id() {
    let mut l = x2();
    l.msr_write(0x808, 0x20, T0).unwrap();
    l.init();
    assert!(l.x2apic());
    assert_eq!(l.msr_read(0x808, T0), Ok(0));
    assert_eq!(l.msr_read(0x80D, T0), Ok(8));
}

#[test]
fn pins() {
    let mut l = lapic();
    assert!(!l.accepts_ext_int(), "masked at reset");
    l.mmio_write(reg::LVT_LINT0, 0x700, T0);
    assert!(l.accepts_ext_int());
    assert_eq!(l.local(Lvt::Lint0), Delivery::ExtInt);
    l.mmio_write(reg::LVT_LINT1, 0x400, T0);
    assert_eq!(l.local(Lvt::Lint1), Delivery::Nmi);
    l.mmio_write(reg::LVT_PERFMON, 0x45, T0);
    assert_eq!(l.local(Lvt::Perfmon), Delivery::Interrupt);
    assert_eq!(l.mmio_read(reg::LVT_PERFMON, T0), 0x1_0045, "masked by delivery");
}

#[test]
fn errors_raise_their_interrupt() {
    let mut l = lapic();
    l.mmio_write(reg::LVT_ERROR, 0x66, T0);
    l.mmio_read(0x3D0, T0);
    assert_eq!(l.pending(), Some(0x66));
    assert_eq!(l.mmio_read(reg::ESR, T0), 0, "not before a write");
    l.mmio_write(reg::ESR, 0, T0);
    assert_eq!(l.mmio_read(reg::ESR, T0), esr::ILLEGAL_REGISTER);
}

#[test]
fn the_page_round_trips_with_the_count() {
    let mut l = lapic();
    l.mmio_write(reg::DIVIDE, 0b1011, T0);
    l.mmio_write(reg::LVT_TIMER, 0x40, T0);
    l.mmio_write(reg::INITIAL_COUNT, 1000, T0);
    l.deliver(DeliveryMode::Fixed, 0x51, true);
    l.deliver(DeliveryMode::Fixed, 0x61, false);
    l.acknowledge();
    let page = l.to_page(at(400));
    assert_eq!(page[0x390..0x394], 600u32.to_le_bytes());
    let mut m = Lapic::new(config(3));
    m.load_page(&page, at(10_000));
    assert_eq!(m.to_page(at(10_000)), page);
    assert_eq!(m.next_deadline(), Some(Deadline::Clocks(10_600)));
    assert_eq!(m.state().isr, l.state().isr);
}
