//! The chips of the `q35` machine, wired: Q35 memory controller hub and ICH9 south bridge.
//!
//! There is no system management mode (see [`devices::ich9`]).

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use devices::acpi_pm::{self, AcpiPm, PlacedPorts};
use devices::ich9::{self, Ich9Lpc, Ich9Pm, Ich9Router, Ich9Smbus, LpcPlacement, Rcba, Tco};
use devices::mch::Mch;
use pci::PciBus;
use vm_core::{AddressSpace, Backing, Device, Region, RegionId, Shared, SpaceError, lock, shared};

use crate::MachineError;
use crate::boot_order::FunctionPlace;
use crate::drives;
use crate::pc::{Around, Channel, Chips, Placed, PlacedHook, device, tell};
use crate::pcie::Slots;
use crate::sata;

const HOST_BRIDGE: u8 = pci::devfn(0, 0);
const LPC: u8 = pci::devfn(31, 0);
const SATA: u8 = pci::devfn(31, 2);
const SMBUS: u8 = pci::devfn(31, 3);
/// First pin of the I/O APIC that PIRQs are on.
const FIRST_PIRQ_PIN: u32 = 16;

/// Builds the chips.
pub(crate) fn build(around: &Around<'_>, devices: &mut Vec<Arc<Mutex<dyn Device>>>) -> Result<Chips, MachineError> {
    let Around { plan, board, isa, .. } = around;
    let (ports, space) = (&board.ports, &board.space);
    let router = Ich9Router::new(
        std::array::from_fn(|n| isa.line(n as u8, "pirq")),
        std::array::from_fn(|n| isa.apic_line(FIRST_PIRQ_PIN + n as u32, "pirq")),
    );
    let bus = PciBus::new(space.clone(), ports.clone(), router.clone());
    around.mechanism1(&bus, devices)?;
    let placed = PlacedHook::default();
    let hook = placed.clone();
    let on_ecam = move |window: Option<(u64, u16)>| {
        if let Some(window) = window {
            tell(&hook, Placed::Ecam(window));
        }
    };
    let host = shared(Mch::new(board.host_bridge(plan), &bus, Arc::new(on_ecam))?);
    bus.add(HOST_BRIDGE, &host, vec![])?;
    devices.push(device(&host));
    let pm = lpc(around, &bus, &router, &placed, devices)?;
    let (smbus, bars) = Ich9Smbus::new();
    bus.add(SMBUS, &smbus, bars)?;
    devices.push(device(&smbus));
    let (mut drives, infos) = drives::open(plan)?;
    let sata = sata::controller("ich9-ahci", (board, &around.msi), &bus, SATA, 0, &mut drives)?;
    devices.push(device(&sata));
    let mut channels = vec![Channel { bus: sata, place: FunctionPlace::root(SATA) }];
    let slots = Slots::build(around, &bus, devices)?;
    sata::controllers(around, &bus, &slots, &mut drives, &mut channels, devices)?;
    Ok(Chips { pci: bus, pm, drives: infos, channels, slots, placed })
}

/// The LPC bridge with power management and chipset configuration registers.
fn lpc(
    around: &Around<'_>,
    bus: &PciBus,
    router: &Arc<Ich9Router>,
    hook: &PlacedHook,
    devices: &mut Vec<Arc<Mutex<dyn Device>>>,
) -> Result<Shared<AcpiPm>, MachineError> {
    let board = around.board;
    let pm = AcpiPm::new(&board.clock, around.isa.line(9, "sci"), around.requests.clone());
    board.ports.add(acpi_pm::APM_BASE, 2, "apm", true, &AcpiPm::apm_ports(&pm))?;
    let no_reboot = Arc::<AtomicBool>::default();
    let tco = Tco::new(&board.clock, no_reboot.clone(), around.requests.clone());
    let pm_ports = Ich9Pm::new(&pm, &tco);
    let placed = Mutex::new(PlacedPorts::new(&board.ports, "acpi-pm", ich9::PM_LEN, false, &pm_ports));
    let rcba = Rcba::new(router.clone(), around.plan.no_reboot_strap, no_reboot);
    let rcba_region = board.space.add(Region {
        name: "rcba".into(),
        start: 0xFED1_C000,
        len: ich9::RCBA_LEN,
        priority: 10,
        enabled: false,
        backing: Backing::mmio(&rcba),
    })?;
    let (space, hook) = (board.space.clone(), hook.clone());
    let place = move |p: LpcPlacement| {
        if let Some(base) = p.pm_base {
            tell(&hook, Placed::Pm(base));
        }
        let pm = lock(&placed).place(p.pm_base.unwrap_or(0), p.pm_base.is_some());
        let rcba = place_rcba(&space, rcba_region, p.rcba);
        for error in [pm, rcba].into_iter().filter_map(Result::err) {
            tracing::warn!("registers of the LPC bridge stay unmapped: {error}");
        }
    };
    let bridge = shared(Ich9Lpc::new(router.clone(), Arc::new(place)));
    bus.add(LPC, &bridge, vec![])?;
    // The chipset registers before the bridge: its reset sets the routes.
    devices.extend([device(&pm), device(&pm_ports), device(&tco), device(&rcba), device(&bridge)]);
    Ok(pm)
}

fn place_rcba(space: &AddressSpace, region: RegionId, base: Option<u64>) -> Result<(), SpaceError> {
    space.change(&[region], |_, r| {
        r.enabled = base.is_some();
        r.start = base.unwrap_or(r.start);
    })
}
