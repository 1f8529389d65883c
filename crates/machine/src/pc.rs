//! What the PC machines have in common, wired: memory, legacy devices, firmware configuration. The host bridge and what
//! hangs off it are in [`crate::i440fx`] and [`crate::q35`].

use std::sync::{Arc, Mutex};

use accel::Accelerator;
use chardev::{CharPeer, Chardev};
use cli::MonitorMode;
use devices::acpi_pm::AcpiPm;
use devices::debug_ports::{DebugCon, DebugExit, PostPort, ResetControl};
use devices::dma8237::Dma;
use devices::fw_cfg::FwCfg;
use devices::hpet::{HPET_BASE, HPET_LEN, Hpet, LegacyGate};
use devices::i8042::{I8042, I8042Input};
use devices::ich9;
use devices::ide::DriveBus;
use devices::pflash::Pflash;
use devices::pit::Pit;
use devices::rtc::{CmosDisk, CmosSetup, Rtc, RtcBase};
use devices::shadow::{HostBridgeWiring, Shadowed};
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
    AddressSpace, Backing, Clock, Device, IrqLine, LineSink, MsiSink, OrGate, PortSpace, Region, RequestSink, Shared,
    lock, shared,
};

use crate::MachineError;
use crate::boot_order::{self, FunctionPlace};
use crate::chars::{Chars, Finished};
use crate::chipset::Chipset;
use crate::drives::{DriveInfo, Opened};
use crate::irq_counts::IrqCounts;
use crate::layout::{FOUR_GIB, LOW_BIOS, apic_ids};
use crate::nodes::BlockNodes;
use crate::pcie::Slots;
use crate::plan::Plan;
use crate::suspend::Sleep;
use crate::usb_wiring::{self, Backends, Storage, Usb};

/// I/O APIC registers.
const IOAPIC_BASE: u64 = 0xFEC0_0000;
/// Where SeaBIOS puts the ACPI registers of these boards.
const PM_BASE: u16 = 0x600;

/// The spaces a machine consists of, before its processors exist.
pub(crate) struct Board {
    pub(crate) space: Arc<AddressSpace>,
    pub(crate) ports: Arc<PortSpace>,
    pub(crate) clock: Clock,
    bios: Arc<RamBlock>,
    low_ram: Arc<RamBlock>,
    flash: Vec<Shared<Pflash>>,
}

/// Everything built, for the machine to keep.
pub(crate) struct Pc {
    pub(crate) devices: Vec<Arc<Mutex<dyn Device>>>,
    pub(crate) channels: Vec<Arc<Mutex<dyn DriveBus>>>,
    pub(crate) pci: Arc<PciBus>,
    pub(crate) slots: Slots,
    pub(crate) pic: Pic,
    pub(crate) ioapic: IoApic,
    pub(crate) pm: Shared<AcpiPm>,
    pub(crate) rtc: Shared<Rtc>,
    pub(crate) input: Arc<InputBus>,
    pub(crate) drives: Vec<DriveInfo>,
    pub(crate) nodes: BlockNodes,
    pub(crate) usb: Mutex<Usb>,
    pub(crate) chardevs: Vec<(String, Chardev)>,
    pub(crate) monitors: Vec<MonitorBackend>,
    pub(crate) consoles: Mutex<Vec<(String, CharPeer)>>,
    pub(crate) screen: Option<Arc<dyn DisplaySource>>,
    pub(crate) irq_counts: Arc<IrqCounts>,
    pub(crate) sleep: Arc<Sleep>,
    pub(crate) _input_guard: I8042Input,
}

/// What the chips of a board are wired to.
pub(crate) struct Around<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) board: &'a Board,
    pub(crate) isa: &'a Isa,
    pub(crate) requests: &'a Arc<dyn RequestSink>,
    pub(crate) msi: Arc<dyn MsiSink>,
    pub(crate) reset_control: Shared<ResetControl>,
}

impl Around<'_> {
    /// Configuration mechanism #1 of `bus`.
    pub(crate) fn mechanism1(
        &self,
        bus: &Arc<PciBus>,
        devices: &mut Vec<Arc<Mutex<dyn Device>>>,
    ) -> Result<(), MachineError> {
        let (address, data) = pci::mechanism1(bus, Some(self.reset_control.clone()));
        self.board.ports.add(0xCF8, 4, "pci-address", false, &address)?;
        self.board.ports.add(0xCFC, 4, "pci-data", false, &data)?;
        devices.push(device(&address));
        Ok(())
    }
}

/// An IDE channel or a SATA controller, and the function that it belongs to.
pub(crate) struct Channel {
    pub(crate) bus: Arc<Mutex<dyn DriveBus>>,
    pub(crate) place: FunctionPlace,
}

/// The chips of a board.
pub(crate) struct Chips {
    pub(crate) pci: Arc<PciBus>,
    pub(crate) pm: Shared<AcpiPm>,
    pub(crate) drives: Opened,
    pub(crate) channels: Vec<Channel>,
    pub(crate) slots: Slots,
    /// Where the ACPI tables hear of what firmware places.
    pub(crate) placed: PlacedHook,
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
        let low_ram = RamBlock::shareable("pc.ram", plan.memory.low)?;
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
            let high_ram = RamBlock::shareable("pc.ram-high", plan.memory.high)?;
            space.add(ram("ram-above-4g", FOUR_GIB, plan.memory.high, &high_ram, 0))?;
        }
        let (bios, flash) = crate::flash::build(plan, &space)?;
        let shadow = bios.len().min(LOW_BIOS);
        let offset = bios.len() - shadow;
        space.add(Region {
            name: "isa-bios".into(),
            start: 0x10_0000 - shadow,
            len: shadow,
            priority: 0,
            enabled: true,
            backing: Backing::Ram { block: bios.clone(), offset, readonly: true },
        })?;
        Ok(Self { space, ports: PortSpace::new(), clock: Clock::new(), bios, low_ram, flash })
    }
}

/// A device with the type forgotten.
pub(crate) fn device<T: Device + 'static>(d: &Shared<T>) -> Arc<Mutex<dyn Device>> {
    d.clone()
}

/// The sixteen ISA interrupts as wire-OR gates in front of both controllers, and the pins of the I/O APIC that follow.
pub(crate) struct Isa {
    gates: Vec<Arc<OrGate>>,
    sink: Arc<dyn LineSink>,
}

impl Isa {
    fn new(router: &Arc<IrqCounts>) -> Self {
        let sink: Arc<dyn LineSink> = router.clone();
        let gate = |n: u32| OrGate::new(IrqLine::new(&format!("isa {n}"), sink.clone(), n));
        Self { gates: (0..16).map(gate).collect(), sink }
    }

    /// Pin `n` of the I/O APIC, from 16.
    pub(crate) fn apic_line(&self, n: u32, name: &str) -> IrqLine {
        IrqLine::new(name, self.sink.clone(), n)
    }

    pub(crate) fn line(&self, irq: u8, name: &str) -> IrqLine {
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
    let mut devices: Vec<Arc<Mutex<dyn Device>>> = board.flash.iter().map(device).collect();
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
    let sleep = Sleep::new(requests.clone());
    lock(&rtc).connect_wake(IrqLine::new("rtc wake", sleep.clone(), 0));
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
    let own = sleep.clone();
    input.on_press(move || own.pressed());
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

    let around = Around { plan, board, isa: &isa, requests, msi: accel.msi(), reset_control };
    let chips = match plan.chipset {
        Chipset::I440fx => crate::i440fx::build(&around, &mut devices)?,
        Chipset::Q35 => crate::q35::build(&around, &mut devices)?,
    };
    let Chips { pci: bus, pm, drives: Opened { drives: infos, nodes }, channels, slots, placed } = chips;
    let vga = crate::vga::build(plan, board, &bus, &mut devices)?;
    let storage = |id: &str| {
        usb_wiring::drive(&infos, id).unwrap_or_else(|| {
            let (cache, queue) = nodes.take(id).map_err(|e| e.to_string())?;
            Ok(Storage { queue, cache, serial: None })
        })
    };
    let backends = Backends { clock, input: &input, storage: &storage };
    let usb = usb_wiring::build(plan, board, (&bus, &slots), &accel.msi(), &backends, &mut devices)?;
    for (n, m) in plan.monitors.iter().enumerate() {
        let opened = chars.target(&format!("compat_monitor{n}"), &m.target)?;
        monitors.extend(opened.map(|o| MonitorBackend { chardev: o.chardev, mode: m.mode }));
    }
    preset_cmos(plan, &rtc, &channels);
    let signature = accel.cpuid(0, 1, 0).map(|[eax, _, _, edx]| (eax, edx)).unwrap_or_default(); // an old system: unknown
    let window = pci_window(accel);
    let mut items = fw_cfg_items(plan, signature, window)?;
    crate::vga::ramfb_items(plan, &mut items)?;
    boot_order::install(plan, &channels, &usb.hosts, &mut items);
    let fw_cfg = FwCfg::new(items, space.memory());
    ports.add(0x510, 2, "fw_cfg", false, &fw_cfg)?;
    ports.add(0x514, 8, "fw_cfg-dma", false, &FwCfg::dma_ports(&fw_cfg))?;
    devices.push(device(&fw_cfg));
    let screen = crate::vga::screen(plan, &fw_cfg, board, vga.as_ref());
    follow_firmware(plan, window, &placed, &fw_cfg);
    let Finished { chardevs, consoles } = chars.finish();
    Ok(Pc {
        devices,
        channels: channels.into_iter().map(|c| c.bus).collect(),
        pci: bus,
        slots,
        pic,
        ioapic,
        pm,
        rtc,
        input,
        drives: infos,
        nodes,
        usb: Mutex::new(usb),
        chardevs,
        consoles: Mutex::new(consoles),
        monitors,
        screen,
        irq_counts,
        sleep,
        _input_guard: input_guard,
    })
}

pub(crate) fn mmio<T: vm_core::Mmio + 'static>(
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

impl Board {
    /// What a host bridge is wired to.
    pub(crate) fn host_bridge(&self, plan: &Plan) -> HostBridgeWiring {
        let len = self.bios.len().min(LOW_BIOS);
        let bios = Shadowed { start: 0x10_0000 - len, len, block: self.bios.clone(), offset: self.bios.len() - len };
        HostBridgeWiring {
            space: self.space.clone(),
            low_ram: self.low_ram.clone(),
            ram: (plan.memory.low, plan.memory.high),
            roms: vec![bios],
        }
    }
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

fn rtc_base(plan: &Plan) -> RtcBase {
    match plan.rtc {
        cli::RtcBase::Utc => RtcBase::Utc,
        cli::RtcBase::LocalTime => RtcBase::LocalTime { offset: crate::machine::local_offset() },
        cli::RtcBase::Date(seconds) => RtcBase::Date(seconds),
    }
}

fn preset_cmos(plan: &Plan, rtc: &Shared<Rtc>, channels: &[Channel]) {
    let disk = |unit| {
        let (g, t) = lock(&channels.first()?.bus).geometry(unit)?;
        Some(CmosDisk { cylinders: g.cylinders, heads: g.heads, sectors: g.sectors, translation: t as u8 })
    };
    lock(rtc).preset(&CmosSetup {
        ram_below_4g: plan.memory.low,
        ram_above_4g: plan.memory.high,
        boot_order: boot_order::numbers(plan.boot.once.as_deref().or(plan.boot.order.as_deref())),
        floppy_signature_check: true,
        floppies: [0; 2],
        disks: [disk(0), disk(1)],
        cpus: plan.smp.cpus,
    });
}

/// The end of what processors can address, for the PCI window above RAM.
fn pci_window(accel: &Accelerator) -> u64 {
    let bits = accel.cpuid(0, 0x8000_0008, 0).map_or(36, |[eax, ..]| eax & 0xFF);
    1 << bits.clamp(36, 48)
}

/// What firmware places and the ACPI tables tell of.
#[derive(Clone, Copy)]
struct Places {
    /// The PCI Express configuration window, where there is one: base and number of buses.
    ecam: Option<(u64, u16)>,
    /// The power management ports.
    pm_base: u16,
}

impl Places {
    /// Where SeaBIOS puts them.
    fn usual(plan: &Plan) -> Self {
        Self { ecam: plan.chipset.usual_ecam(), pm_base: PM_BASE }
    }
}

/// What the ACPI tables say.
fn acpi_config(plan: &Plan, window: u64, Places { ecam, pm_base }: Places) -> AcpiConfig {
    let com = |base| plan.serial.iter().any(|s| s.base == base);
    let (chipset, gpe0_base, gpe0_len) = match ecam {
        None => (firmware::acpi::Chipset::I440fx, devices::acpi_pm::GPE0_BASE, devices::acpi_pm::GPE0_LEN as u8),
        Some(ecam) => {
            let gpe0 = pm_base.wrapping_add(ich9::GPE0_OFFSET);
            (firmware::acpi::Chipset::Q35 { ecam }, gpe0, ich9::GPE0_LEN)
        }
    };
    let above = (FOUR_GIB + plan.memory.high).next_multiple_of(1 << 30);
    AcpiConfig {
        apic_ids: apic_ids(&plan.smp),
        present: plan.smp.cpus as usize,
        pic: plan.pic,
        hpet: plan.hpet,
        serial: [com(0x3F8), com(0x2F8)],
        chipset,
        pci_hole: plan.memory.pci_hole(),
        pci_hole64: (plan.chipset == Chipset::Q35 && above < window).then_some((above, window - 1)),
        pm_base,
        gpe0_base,
        gpe0_len,
        s3: plan.sleep[0],
        s4: plan.sleep[1],
    }
}

/// What a chip tells of.
#[derive(Clone, Copy)]
pub(crate) enum Placed {
    /// Its configuration window: base and number of buses.
    Ecam((u64, u16)),
    /// Its power management ports.
    Pm(u16),
}

/// Where a chip tells of it.
pub(crate) type PlacedHook = Arc<Mutex<Option<Box<dyn FnMut(Placed) + Send>>>>;

/// Tells `hook` of it, once there is somebody to hear.
pub(crate) fn tell(hook: &PlacedHook, placed: Placed) {
    if let Some(hear) = lock(hook).as_mut() {
        hear(placed);
    }
}

/// Firmware places the configuration window and the power management ports (OVMF on `pc` at B000h); the tables that it
/// reads after that say where.
fn follow_firmware(plan: &Plan, window: u64, hook: &PlacedHook, fw_cfg: &Shared<FwCfg>) {
    if !plan.acpi {
        return;
    }
    let (plan, fw_cfg) = (plan.clone(), fw_cfg.clone());
    let mut places = Places::usual(&plan);
    *lock(hook) = Some(Box::new(move |placed| {
        match placed {
            Placed::Ecam(window) => places.ecam = Some(window),
            Placed::Pm(base) => places.pm_base = base,
        }
        let config = acpi_config(&plan, window, places);
        lock(&fw_cfg).edit(|items| firmware::acpi::install(&config, items));
    }));
}

fn fw_cfg_items(plan: &Plan, processor_id: (u32, u32), window: u64) -> Result<FwCfgItems, MachineError> {
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
    // S3 is there with the value 1, S4 with 2; UEFI firmware prepares for S3 if so.
    let [s3, s4] = plan.sleep.map(|there| u8::from(there) << 7);
    items.add_file("etc/system-states", vec![0x80, 0, 0, s3 | 1, s4 | 2, 0x80]);
    // SeaBIOS runs the video BIOS when waking up: no guest without a driver for the card could use it otherwise.
    items.add_file("etc/s3-resume-vga-init", 1u64.to_le_bytes().to_vec());
    let ram: Vec<_> = plan.memory.ranges().into_iter().map(|(s, l)| (s, l, fw_cfg::E820_RAM)).collect();
    items.add_file("etc/e820", fw_cfg::e820(&ram));
    if plan.acpi {
        firmware::acpi::install(&acpi_config(plan, window, Places::usual(plan)), &mut items);
    }
    let (anchor, tables) = firmware::smbios::build(&SmbiosConfig {
        product: plan.chipset.description().into(),
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
    }
    Ok(items)
}
