//! The `pc` machine: i440FX host bridge and PIIX3 south bridge, wired.

use std::sync::{Arc, Mutex};

use accel::Accelerator;
use chardev::{CharPeer, Chardev};
use cli::MonitorMode;
use devices::acpi_pm::{self, AcpiPm, PlacedPorts, Smbus};
use devices::debug_ports::{DebugCon, DebugExit, PostPort, ResetControl};
use devices::dma8237::Dma;
use devices::fw_cfg::FwCfg;
use devices::hpet::{HPET_BASE, HPET_LEN, Hpet, LegacyGate};
use devices::i440fx::{I440fx, I440fxWiring, Shadowed};
use devices::i8042::{I8042, I8042Input};
use devices::ide::{Ide, IdeChannel, IdeWiring};
use devices::piix3::{Piix3Isa, Piix4Pm, PirqRouter, PmPlacement};
use devices::pit::Pit;
use devices::rtc::{CmosDisk, CmosSetup, Rtc, RtcBase};
use devices::uart::Uart;
use display::DisplaySource;
use firmware::acpi::AcpiConfig;
use firmware::smbios::SmbiosConfig;
use firmware::{FwCfgItems, fw_cfg};
use guest_memory::RamBlock;
use input::InputBus;
use irqchip::{IoApic, IsaRouter, Pic};
use pci::PciBus;
use vm_core::{
    AddressSpace, Backing, Clock, Device, IrqLine, LineSink, OrGate, PortSpace, Region, RequestSink, Shared, lock,
    shared,
};

use crate::MachineError;
use crate::chars::{Chars, Finished};
use crate::drives::{self, DriveInfo};
use crate::irq_counts::IrqCounts;
use crate::layout::{FOUR_GIB, LOW_BIOS, apic_ids};
use crate::plan::Plan;
use crate::usb_wiring::{self, Backends, Usb};

/// PCI slots of the board.
const HOST_BRIDGE: u8 = pci::devfn(0, 0);
const ISA_BRIDGE: u8 = pci::devfn(1, 0);
const IDE: u8 = pci::devfn(1, 1);
const PM: u8 = pci::devfn(1, 3);

/// I/O APIC registers.
const IOAPIC_BASE: u64 = 0xFEC0_0000;
/// Where SeaBIOS puts the ACPI registers of this board.
const PM_BASE: u16 = 0x600;

/// The spaces a machine consists of, before its processors exist.
pub(crate) struct Board {
    pub(crate) space: Arc<AddressSpace>,
    pub(crate) ports: Arc<PortSpace>,
    pub(crate) clock: Clock,
    bios: Arc<RamBlock>,
    low_ram: Arc<RamBlock>,
}

/// Everything built, for the machine to keep.
pub(crate) struct Pc {
    pub(crate) devices: Vec<Arc<Mutex<dyn Device>>>,
    pub(crate) channels: [Shared<IdeChannel>; 2],
    pub(crate) pci: Arc<PciBus>,
    pub(crate) pic: Pic,
    pub(crate) ioapic: IoApic,
    pub(crate) pm: Shared<AcpiPm>,
    pub(crate) rtc: Shared<Rtc>,
    pub(crate) input: Arc<InputBus>,
    pub(crate) drives: Vec<DriveInfo>,
    pub(crate) usb: Mutex<Usb>,
    pub(crate) chardevs: Vec<(String, Chardev)>,
    pub(crate) monitors: Vec<MonitorBackend>,
    pub(crate) consoles: Mutex<Vec<(String, CharPeer)>>,
    pub(crate) screen: Option<Arc<dyn DisplaySource>>,
    pub(crate) irq_counts: Arc<IrqCounts>,
    pub(crate) _input_guard: I8042Input,
}

/// A back end that wants a monitor.
#[derive(Clone)]
pub struct MonitorBackend {
    /// The back end.
    pub chardev: Chardev,
    /// What the monitor speaks.
    pub mode: MonitorMode,
}

impl Board {
    /// RAM and firmware in their places.
    pub(crate) fn new(plan: &Plan) -> Result<Self, MachineError> {
        let space = AddressSpace::new();
        let (path, image) = firmware::search::read(&plan.bios_option, &plan.bios, &plan.firmware_dirs)?;
        let bios = load_bios(plan, &path, image)?;
        let low_ram = RamBlock::new("pc.ram", plan.memory.low)?;
        let ram = |name: &str, start, len, block: &Arc<RamBlock>, offset| Region {
            name: name.into(),
            start,
            len,
            priority: 0,
            enabled: true,
            backing: Backing::Ram { block: block.clone(), offset, readonly: false },
        };
        let low = plan.memory.low;
        space.add(ram("ram-640k", 0, low.min(0xA_0000), &low_ram, 0))?;
        if low > 0x10_0000 {
            space.add(ram("ram-below-4g", 0x10_0000, low - 0x10_0000, &low_ram, 0x10_0000))?;
        }
        if plan.memory.high != 0 {
            let high_ram = RamBlock::new("pc.ram-high", plan.memory.high)?;
            space.add(ram("ram-above-4g", FOUR_GIB, plan.memory.high, &high_ram, 0))?;
        }
        let rom = |name: &str, start, len, offset| Region {
            name: name.into(),
            start,
            len,
            priority: 0,
            enabled: true,
            backing: Backing::Ram { block: bios.clone(), offset, readonly: true },
        };
        let size = bios.len();
        space.add(rom("bios", FOUR_GIB - size, size, 0))?;
        let shadow = size.min(LOW_BIOS);
        space.add(rom("isa-bios", 0x10_0000 - shadow, shadow, size - shadow))?;
        Ok(Self { space, ports: PortSpace::new(), clock: Clock::new(), bios, low_ram })
    }
}

/// The largest firmware image that fits below 4 GiB beside the board's devices.
const MOST_BIOS: u64 = 8 << 20;

fn load_bios(plan: &Plan, path: &std::path::Path, image: Vec<u8>) -> Result<Arc<RamBlock>, MachineError> {
    let bad = |reason: &str| firmware::search::FirmwareError::Bad {
        option: plan.bios_option.clone(),
        path: path.into(),
        reason: reason.into(),
    };
    let size = image.len() as u64;
    if size == 0 || !size.is_multiple_of(64 << 10) || size > MOST_BIOS {
        return Err(bad("its size must be a multiple of 64 KiB, at most 8 MiB").into());
    }
    let block = RamBlock::new("pc.bios", size)?;
    block.write(0, &image);
    Ok(block)
}

/// A device with the type forgotten.
fn device<T: Device + 'static>(d: &Shared<T>) -> Arc<Mutex<dyn Device>> {
    d.clone()
}

/// The sixteen ISA interrupts as wire-OR gates in front of both controllers.
struct Isa {
    gates: Vec<Arc<OrGate>>,
}

impl Isa {
    fn new(router: &Arc<IrqCounts>) -> Self {
        let sink: Arc<dyn LineSink> = router.clone();
        let gate = |n: u32| OrGate::new(IrqLine::new(&format!("isa {n}"), sink.clone(), n));
        Self { gates: (0..16).map(gate).collect() }
    }

    fn line(&self, irq: u8, name: &str) -> IrqLine {
        self.gates.get(usize::from(irq)).map_or_else(IrqLine::unconnected, |g| g.input(name))
    }
}

/// Builds the devices around an accelerator that exists already.
pub(crate) fn build(
    plan: &Plan,
    board: &Board,
    accel: &Accelerator,
    requests: &Arc<dyn RequestSink>,
) -> Result<Pc, MachineError> {
    let (ports, space, clock) = (&board.ports, &board.space, &board.clock);
    let mut devices: Vec<Arc<Mutex<dyn Device>>> = Vec::new();
    // Without one the model stands unwired: no ports, no way to a processor.
    let pic = Pic::new(if plan.pic { accel.intr_line() } else { IrqLine::unconnected() });
    let ioapic = IoApic::new(accel.msi());
    let eoi = ioapic.clone();
    accel.connect_eoi(move |vector| eoi.eoi(vector));
    if plan.pic {
        accel.connect_pic(pic.clone());
        ports.add(0x20, 2, "pic", true, &pic.master_ports())?;
        ports.add(0xA0, 2, "pic", true, &pic.slave_ports())?;
        ports.add(0x4D0, 2, "elcr", true, &pic.elcr_ports())?;
    }
    mmio(space, "ioapic", IOAPIC_BASE, 0x1000, &shared(ioapic.clone()))?;
    devices.push(Arc::new(Mutex::new(pic.clone())));
    devices.push(Arc::new(Mutex::new(ioapic.clone())));
    let irq_counts = IrqCounts::new(IsaRouter::new(pic.clone(), Some(ioapic.clone())));
    let isa = Isa::new(&irq_counts);
    let gate = LegacyGate::new(isa.line(0, "timer"), isa.line(8, "clock"));

    let pit = Pit::new(clock, gate.pit_input());
    ports.add(0x40, 4, "pit", true, &pit)?;
    ports.add(0x61, 1, "speaker", true, &Pit::speaker_port(&pit))?;
    let rtc = Rtc::new(clock, gate.rtc_input(), rtc_base(plan));
    ports.add(0x70, 4, "rtc", true, &rtc)?;
    devices.extend([device(&pit), device(&rtc)]);
    if plan.hpet {
        let hpet = Hpet::new(clock, Arc::new(ioapic.clone()), accel.msi(), &gate);
        mmio(space, "hpet", HPET_BASE, HPET_LEN, &hpet)?;
        devices.push(device(&hpet));
    }
    let dma = Dma::new();
    ports.add(0x00, 16, "dma", true, &Dma::first_ports(&dma))?;
    ports.add(0xC0, 32, "dma", true, &Dma::second_ports(&dma))?;
    ports.add(0x81, 15, "dma-page", true, &Dma::page_ports(&dma))?;
    ports.add(0x80, 1, "post", true, &PostPort::new())?;
    devices.push(device(&dma));

    let input = InputBus::new();
    let a20 = IrqLine::unconnected();
    let i8042 = I8042::new(clock, isa.line(1, "keyboard"), isa.line(12, "mouse"), a20, requests.clone());
    ports.add(0x60, 1, "i8042", true, &I8042::data_port(&i8042))?;
    ports.add(0x64, 1, "i8042", true, &I8042::command_port(&i8042))?;
    ports.add(0x92, 1, "port92", true, &I8042::port92(&i8042))?;
    let input_guard = I8042::connect(&i8042, &input);
    devices.push(device(&i8042));

    let reset_control = ResetControl::new(requests.clone());
    devices.push(device(&reset_control));
    let mut chars = Chars::new(&plan.chardevs)?;
    let mut monitors = Vec::new();
    serial(plan, board, &isa, &mut chars, &mut monitors, &mut devices)?;
    debug_devices(plan, board, &mut chars, requests)?;

    let router = PirqRouter::new(std::array::from_fn(|n| isa.line(n as u8, "pirq")));
    let bus = PciBus::new(space.clone(), ports.clone(), router.clone());
    let (address, data) = pci::mechanism1(&bus, Some(reset_control));
    ports.add(0xCF8, 4, "pci-address", false, &address)?;
    ports.add(0xCFC, 4, "pci-data", false, &data)?;
    devices.push(device(&address));
    let host = shared(I440fx::new(I440fxWiring {
        space: space.clone(),
        low_ram: board.low_ram.clone(),
        ram_size: plan.memory.low + plan.memory.high,
        roms: vec![shadowed(&board.bios)],
    })?);
    bus.add(HOST_BRIDGE, &host, vec![])?;
    let bridge = shared(Piix3Isa::new(router));
    bus.add(ISA_BRIDGE, &bridge, vec![])?;
    devices.extend([device(&host), device(&bridge)]);

    let (drives, infos) = drives::open(plan)?;
    let irqs = [isa.line(14, "ide0"), isa.line(15, "ide1")];
    let ide = Ide::new(IdeWiring { drives, irqs, memory: space.memory() });
    ide.install(ports, &bus, IDE).map_err(|e| MachineError::Config(format!("machine wiring: {e}")))?;
    devices.push(device(&ide.function));
    devices.extend(ide.channels.iter().map(device));

    let pm = power_management(board, &isa, requests, &bus, &mut devices)?;
    let vga = crate::vga::build(plan, board, &bus, &mut devices)?;
    let storage = |id: &str| usb_wiring::drive(&infos, id).unwrap_or_else(|| Err("no drive with this id".into()));
    let backends = Backends { clock, input: &input, storage: &storage };
    let usb = usb_wiring::build(plan, board, &bus, &accel.msi(), &backends, &mut devices)?;
    for (n, m) in plan.monitors.iter().enumerate() {
        let opened = chars.target(&format!("compat_monitor{n}"), &m.target)?;
        monitors.extend(opened.map(|o| MonitorBackend { chardev: o.chardev, mode: m.mode }));
    }
    preset_cmos(plan, &rtc, &ide);
    let signature = accel.cpuid(0, 1, 0).map(|[eax, _, _, edx]| (eax, edx)).unwrap_or_default(); // an old system: unknown
    let mut items = fw_cfg_items(plan, signature)?;
    crate::vga::ramfb_items(plan, &mut items)?;
    let fw_cfg = FwCfg::new(items, space.memory());
    ports.add(0x510, 2, "fw_cfg", false, &fw_cfg)?;
    ports.add(0x514, 8, "fw_cfg-dma", false, &FwCfg::dma_ports(&fw_cfg))?;
    devices.push(device(&fw_cfg));
    let screen = crate::vga::screen(plan, &fw_cfg, board, vga.as_ref());
    let channels = ide.channels;
    let Finished { chardevs, consoles } = chars.finish();
    Ok(Pc {
        devices,
        channels,
        pci: bus,
        pic,
        ioapic,
        pm,
        rtc,
        input,
        drives: infos,
        usb: Mutex::new(usb),
        chardevs,
        consoles: Mutex::new(consoles),
        monitors,
        screen,
        irq_counts,
        _input_guard: input_guard,
    })
}

fn mmio<T: vm_core::Mmio + 'static>(
    space: &AddressSpace,
    name: &str,
    start: u64,
    len: u64,
    device: &Shared<T>,
) -> Result<(), MachineError> {
    let backing = Backing::mmio(device);
    space.add(Region { name: name.into(), start, len, priority: 10, enabled: true, backing })?;
    Ok(())
}

fn shadowed(bios: &Arc<RamBlock>) -> Shadowed {
    let len = bios.len().min(LOW_BIOS);
    Shadowed { start: 0x10_0000 - len, len, block: bios.clone(), offset: bios.len() - len }
}

fn serial(
    plan: &Plan,
    board: &Board,
    isa: &Isa,
    chars: &mut Chars,
    monitors: &mut Vec<MonitorBackend>,
    devices: &mut Vec<Arc<Mutex<dyn Device>>>,
) -> Result<(), MachineError> {
    for (n, s) in plan.serial.iter().enumerate() {
        let name = format!("serial{n}");
        let uart = Uart::new(&name, &board.clock, isa.line(s.irq, &name));
        board.ports.add(s.base, 8, &name, true, &uart)?;
        let opened = s.target.as_ref().map(|t| chars.target(&name, t)).transpose()?.flatten();
        if let Some(opened) = opened {
            let error = |source| MachineError::Char { option: format!("-serial {n}"), source };
            Uart::attach(&uart, &opened.chardev).map_err(error)?;
            let backend = MonitorBackend { chardev: opened.chardev, mode: MonitorMode::Readline };
            monitors.extend(opened.with_monitor.then_some(backend));
        }
        devices.push(device(&uart));
    }
    Ok(())
}

fn debug_devices(
    plan: &Plan,
    board: &Board,
    chars: &mut Chars,
    requests: &Arc<dyn RequestSink>,
) -> Result<(), MachineError> {
    for (n, d) in plan.debugcons.iter().enumerate() {
        let name = format!("debugcon{n}");
        if let Some(opened) = chars.target(&name, &d.target)? {
            let error = |source| MachineError::Char { option: "isa-debugcon".into(), source };
            let console = DebugCon::new(&opened.chardev, d.readback).map_err(error)?;
            board.ports.add(d.base, 1, &name, true, &console)?;
        }
    }
    for d in &plan.debug_exits {
        board.ports.add(d.base, d.len, "isa-debug-exit", false, &DebugExit::new(requests.clone()))?;
    }
    Ok(())
}

fn power_management(
    board: &Board,
    isa: &Isa,
    requests: &Arc<dyn RequestSink>,
    bus: &PciBus,
    devices: &mut Vec<Arc<Mutex<dyn Device>>>,
) -> Result<Shared<AcpiPm>, MachineError> {
    let ports = &board.ports;
    let pm = AcpiPm::new(&board.clock, isa.line(9, "sci"), requests.clone());
    let smbus = Smbus::new();
    ports.add(acpi_pm::GPE0_BASE, acpi_pm::GPE0_LEN, "acpi-gpe0", true, &AcpiPm::gpe_ports(&pm))?;
    ports.add(acpi_pm::APM_BASE, 2, "apm", true, &AcpiPm::apm_ports(&pm))?;
    let pm_ports = Mutex::new(PlacedPorts::new(ports, "acpi-pm", acpi_pm::PM_LEN, false, &pm));
    let smbus_ports = Mutex::new(PlacedPorts::new(ports, "smbus", acpi_pm::SMBUS_LEN, true, &smbus));
    let place = move |p: PmPlacement| {
        let pm = lock(&pm_ports).place(p.pm_base.unwrap_or(0), p.pm_base.is_some());
        let smbus = lock(&smbus_ports).place(p.smbus_base.unwrap_or(0), p.smbus_base.is_some());
        for error in [pm, smbus].into_iter().filter_map(Result::err) {
            tracing::warn!("power management registers stay unmapped: {error}");
        }
    };
    let function = shared(Piix4Pm::new(Arc::new(place)));
    bus.add(PM, &function, vec![])?;
    devices.extend([device(&pm), device(&smbus), device(&function)]);
    Ok(pm)
}

fn rtc_base(plan: &Plan) -> RtcBase {
    match plan.rtc {
        cli::RtcBase::Utc => RtcBase::Utc,
        cli::RtcBase::LocalTime => RtcBase::LocalTime { offset: crate::machine::local_offset() },
        cli::RtcBase::Date(seconds) => RtcBase::Date(seconds),
    }
}

/// Boot letters as the BIOS numbers devices in CMOS.
fn boot_order(letters: Option<&str>) -> [u8; 3] {
    let mut order = [0; 3];
    let numbers = letters.unwrap_or("cad").chars().filter_map(|c| match c {
        'a' | 'b' => Some(1),
        'c' => Some(2),
        'd' => Some(3),
        'n'..='p' => Some(4),
        _ => None,
    });
    order.iter_mut().zip(numbers).for_each(|(o, n)| *o = n);
    order
}

fn preset_cmos(plan: &Plan, rtc: &Shared<Rtc>, ide: &Ide) {
    let disk = |unit| {
        let (g, t) = lock(&ide.channels[0]).geometry(unit)?;
        Some(CmosDisk { cylinders: g.cylinders, heads: g.heads, sectors: g.sectors, translation: t as u8 })
    };
    lock(rtc).preset(&CmosSetup {
        ram_below_4g: plan.memory.low,
        ram_above_4g: plan.memory.high,
        boot_order: boot_order(plan.boot.once.as_deref().or(plan.boot.order.as_deref())),
        floppy_signature_check: true,
        floppies: [0; 2],
        disks: [disk(0), disk(1)],
        cpus: plan.smp.cpus,
    });
}

fn fw_cfg_items(plan: &Plan, processor_id: (u32, u32)) -> Result<FwCfgItems, MachineError> {
    use fw_cfg::key;
    let mut items = FwCfgItems::new();
    let ids = apic_ids(&plan.smp);
    let limit = ids.iter().max().map_or(1, |m| m + 1) as u16;
    items.add(key::RAM_SIZE, (plan.memory.low + plan.memory.high).to_le_bytes().to_vec());
    items.add(key::NB_CPUS, (plan.smp.cpus as u16).to_le_bytes().to_vec());
    items.add(key::MAX_CPUS, limit.to_le_bytes().to_vec());
    items.add(key::BOOT_MENU, u16::from(plan.boot.menu).to_le_bytes().to_vec());
    if let Some(wait) = plan.boot.splash_time {
        items.add_file("etc/boot-menu-wait", wait.to_le_bytes().to_vec());
    }
    if let Some(timeout) = plan.boot.reboot_timeout {
        items.add_file("etc/boot-fail-wait", u32::from(timeout).to_le_bytes().to_vec());
    }
    let ram: Vec<_> = plan.memory.ranges().into_iter().map(|(s, l)| (s, l, fw_cfg::E820_RAM)).collect();
    items.add_file("etc/e820", fw_cfg::e820(&ram));
    if plan.acpi {
        let com = |base| plan.serial.iter().any(|s| s.base == base);
        let config = AcpiConfig {
            apic_ids: ids,
            present: plan.smp.cpus as usize,
            pic: plan.pic,
            hpet: plan.hpet,
            serial: [com(0x3F8), com(0x2F8)],
            pci_hole: plan.memory.pci_hole(),
            pm_base: PM_BASE,
            gpe0_base: acpi_pm::GPE0_BASE,
        };
        firmware::acpi::install(&config, &mut items);
    }
    let (anchor, tables) = firmware::smbios::build(&SmbiosConfig {
        product: "Standard PC (i440FX + PIIX, 1996)".into(),
        uuid: plan.uuid.clone(),
        sockets: plan.smp.sockets,
        cores: plan.smp.cores,
        threads: plan.smp.threads,
        processor_id,
        memory: plan.memory.low + plan.memory.high,
        ram_ranges: plan.memory.ranges(),
    });
    items.add_file("etc/smbios/smbios-anchor", anchor);
    items.add_file("etc/smbios/smbios-tables", tables);
    if let Some(files) = &plan.kernel {
        firmware::boot::KernelBoot::load(files)?.install(&mut items);
        items.add_file("bootorder", format!("/rom@{}\0", firmware::boot::ROM_FILE).into_bytes());
    } else if plan.boot.strict {
        items.add_file("bootorder", b"HALT\0".to_vec());
    }
    Ok(items)
}
