//! The plan: every decision about a machine, made before anything is built.

use std::fmt;
use std::path::PathBuf;

use cli::{CharSpec, Config, DeviceSpec, DriveInterface, Media, MonitorSpec, RtcBase, SerialTarget, Topology, VgaKind};

use crate::MachineError;
use crate::catalog::{MachineInfo, device_list, machine_list};
use crate::chipset::Chipset;
use crate::layout::{MemoryLayout, apic_ids};
use crate::pci_plan::{self, PciPlace, RootPortPlan};
use crate::usb_plan::{UsbPlan, UsbPlanner};

/// A serial port.
#[derive(Clone, Debug, PartialEq)]
pub struct SerialPlan {
    /// First port.
    pub base: u16,
    /// Interrupt.
    pub irq: u8,
    /// Back end; `None`: not connected.
    pub target: Option<SerialTarget>,
}

/// A SATA controller of `-device ahci`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AhciPlan {
    /// `id=`: its buses are called `ID.0` to `ID.5`.
    pub id: Option<String>,
    /// Where it is.
    pub place: PciPlace,
}

/// A drive in its place.
#[derive(Clone, Debug, PartialEq)]
pub struct DrivePlan {
    /// IDE channel, or SATA controller: the board's own come first, those of `-device ahci` follow.
    pub channel: u8,
    /// Master 0, slave 1; port of a SATA controller.
    pub unit: u8,
    /// The drive.
    pub drive: cli::Drive,
    /// `bootindex=`: firmware tries those with low numbers first.
    pub bootindex: Option<u32>,
}

/// An isa-debug-exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DebugExitPlan {
    /// First port.
    pub base: u16,
    /// Number of ports.
    pub len: u16,
}

/// An isa-debugcon.
#[derive(Clone, Debug, PartialEq)]
pub struct DebugConPlan {
    /// Port.
    pub base: u16,
    /// What reads give.
    pub readback: u8,
    /// Back end.
    pub target: SerialTarget,
}

/// See the module's documentation.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Machine type.
    pub machine: &'static str,
    /// Its chips.
    pub chipset: Chipset,
    /// Processors.
    pub smp: Topology,
    /// RAM.
    pub memory: MemoryLayout,
    /// BIOS image.
    pub bios: PathBuf,
    /// The option as typed, for errors about it.
    pub bios_option: String,
    /// Directories of `-L`.
    pub firmware_dirs: Vec<PathBuf>,
    /// High precision event timer.
    pub hpet: bool,
    /// The 8259 pair.
    pub pic: bool,
    /// ACPI tables.
    pub acpi: bool,
    /// Video card: MiB of video memory.
    pub vga: Option<u32>,
    /// `bochs-display` instead: MiB of video memory.
    pub bochs_display: Option<u32>,
    /// `ramfb`.
    pub ramfb: bool,
    /// Serial ports.
    pub serial: Vec<SerialPlan>,
    /// Monitors.
    pub monitors: Vec<MonitorSpec>,
    /// `-chardev`s by their ids.
    pub chardevs: Vec<CharSpec>,
    /// Drives.
    pub drives: Vec<DrivePlan>,
    /// `-device`, as they were given.
    pub devices: Vec<DeviceSpec>,
    /// Block nodes of `-blockdev`.
    pub nodes: Vec<cli::NodeSpec>,
    /// Drives that are not on IDE: USB devices use them, or nobody does yet.
    pub other_drives: Vec<cli::Drive>,
    /// PCI Express root ports.
    pub root_ports: Vec<RootPortPlan>,
    /// SATA controllers beside the board's.
    pub ahci: Vec<AhciPlan>,
    /// Flash chips: firmware and variables.
    pub pflash: Vec<cli::Drive>,
    /// `-global ICH9-LPC.noreboot=`: the watchdog of the south bridge resets nothing.
    pub no_reboot_strap: bool,
    /// The guest is told of ACPI S3 and S4.
    pub sleep: [bool; 2],
    /// `-global`s, for devices that are plugged in later.
    pub globals: Vec<cli::Global>,
    /// USB controllers and devices.
    pub usb: UsbPlan,
    /// `-snapshot`.
    pub snapshot: bool,
    /// isa-debugcon devices.
    pub debugcons: Vec<DebugConPlan>,
    /// isa-debug-exit devices.
    pub debug_exits: Vec<DebugExitPlan>,
    /// Kernel, initrd and command line.
    pub kernel: Option<firmware::boot::KernelFiles>,
    /// Boot order.
    pub boot: cli::Boot,
    /// Real-time clock at the start.
    pub rtc: RtcBase,
    /// Name of the guest.
    pub name: Option<String>,
    /// UUID.
    pub uuid: Option<String>,
    /// `-no-reboot`.
    pub no_reboot: bool,
    /// `-no-shutdown`.
    pub no_shutdown: bool,
    /// `-S`.
    pub paused: bool,
}

/// Ports and interrupts of COM1 to COM4.
const COM: [(u16, u8); 4] = [(0x3F8, 4), (0x2F8, 3), (0x3E8, 4), (0x2E8, 3)];
/// Default firmware.
const BIOS: &str = "bios-256k.bin";
/// Default video memory in MiB.
const VGA_MEMORY: u32 = 16;

impl Plan {
    /// Decides everything that the configuration leaves open.
    ///
    /// # Errors
    /// Every error found, one line each.
    pub fn new(config: &Config) -> Result<Self, Vec<MachineError>> {
        let mut p = Planner {
            config,
            errors: Vec::new(),
            hpet: true,
            pic: true,
            acpi: true,
            graphics: true,
            usb: false,
            boot_indices: Vec::new(),
        };
        let plan = p.plan();
        if p.errors.is_empty() { Ok(plan) } else { Err(p.errors) }
    }

    /// APIC identifiers of the processors that are present.
    pub fn apic_ids(&self) -> Vec<u32> {
        let mut ids = apic_ids(&self.smp);
        ids.truncate(self.smp.cpus as usize);
        ids
    }
}

struct Planner<'a> {
    config: &'a Config,
    errors: Vec<MachineError>,
    hpet: bool,
    pic: bool,
    acpi: bool,
    graphics: bool,
    usb: bool,
    /// Every `bootindex=` so far.
    boot_indices: Vec<u32>,
}

impl Planner<'_> {
    fn error(&mut self, text: String) {
        self.errors.push(MachineError::Config(text));
    }

    fn plan(&mut self) -> Plan {
        let c = self.config;
        let machine = self.machine();
        let chipset = Chipset::of(machine);
        let memory = MemoryLayout::new(chipset, c.memory);
        let mut plan = Plan {
            machine,
            chipset,
            smp: c.smp,
            memory,
            bios: c.bios.clone().unwrap_or_else(|| BIOS.into()),
            bios_option: c.bios.as_ref().map_or(format!("-machine {machine}"), |b| format!("-bios {}", b.display())),
            firmware_dirs: c.firmware_dirs.clone(),
            hpet: self.hpet,
            pic: self.pic,
            acpi: self.acpi,
            vga: (c.vga == VgaKind::Std && self.graphics).then_some(VGA_MEMORY),
            bochs_display: None,
            ramfb: false,
            serial: Vec::new(),
            monitors: c.monitors.clone(),
            chardevs: c.chardevs.clone(),
            drives: Vec::new(),
            devices: c.devices.clone(),
            nodes: c.nodes.clone(),
            other_drives: Vec::new(),
            root_ports: pci_plan::root_ports(&c.devices, &c.globals, chipset, &mut self.errors),
            ahci: Vec::new(),
            pflash: self.pflash(),
            no_reboot_strap: self.strap(chipset),
            sleep: self.sleep_states(chipset),
            globals: c.globals.clone(),
            usb: UsbPlan::default(),
            snapshot: c.snapshot,
            debugcons: Vec::new(),
            debug_exits: Vec::new(),
            kernel: None,
            boot: c.boot.clone(),
            rtc: c.rtc.base,
            name: c.name.clone(),
            uuid: c.uuid.clone(),
            no_reboot: c.no_reboot,
            no_shutdown: c.no_shutdown,
            paused: c.paused,
        };
        self.check_chardevs();
        self.serial_ports(&mut plan);
        let on_board = c.drives.iter().filter(|d| d.interface == DriveInterface::Ide);
        plan.drives = on_board.map(|d| chipset.place(d.index, d)).collect();
        self.ahci_controllers(&mut plan);
        if let Some(target) = &c.debugcon {
            plan.debugcons.push(DebugConPlan { base: 0xE9, readback: 0xE9, target: target.clone() });
        }
        let ports = plan.root_ports.clone();
        let buses = pci_plan::PciBuses { chipset, ports: &ports };
        let drives: Vec<_> = c.drives.iter().cloned().chain(node_drives(c)).collect();
        let mut usb = UsbPlanner::new(self.usb.then_some(chipset), &drives, buses);
        for device in &c.devices {
            if let Err(e) = self.device(device, &mut plan, &mut usb) {
                self.errors.push(e);
            }
        }
        plan.usb = usb.finish(&mut self.errors);
        let placed = |d: &&cli::Drive| plan.drives.iter().any(|p| p.drive.id == d.id);
        let others = c.drives.iter().filter(|d| d.interface == DriveInterface::None && !placed(d));
        plan.other_drives = others.cloned().collect();
        if c.smp.cpus != c.smp.maxcpus {
            self.error("-smp: maxcpus above cpus (CPU hot plug) is not supported yet".into());
        }
        plan.kernel = c.kernel.clone().map(|kernel| firmware::boot::KernelFiles {
            kernel,
            initrd: c.initrd.clone(),
            append: c.append.clone().unwrap_or_default(),
            low_ram: memory.low,
        });
        plan
    }

    fn machine(&mut self) -> &'static str {
        let c = self.config;
        let names = || machine_list().iter().flat_map(|m| m.names.iter().copied());
        let Some(machine) = machine_list().iter().find(|m| m.names.contains(&c.machine.as_str())) else {
            let near = cli::nearest(&c.machine, names()).map(|n| format!("; did you mean {n}?")).unwrap_or_default();
            self.error(format!("-machine {}: unknown machine type{near}; '-machine help' lists them", c.machine));
            return machine_list()[0].names[0];
        };
        for (key, value) in &c.machine_props {
            self.machine_prop(machine, key, value);
        }
        machine.names[0]
    }

    fn machine_prop(&mut self, machine: &MachineInfo, key: &str, value: &str) {
        let typed = format!("-machine {key}={value}");
        let known: Vec<&str> = machine.props.iter().map(|p| p.0).collect();
        match (key, value) {
            ("hpet", "on" | "off") => self.hpet = value == "on",
            ("acpi", "on" | "off" | "auto") => self.acpi = value != "off",
            ("graphics", "on" | "off") => self.graphics = value == "on",
            ("pic", "on" | "off" | "auto") => self.pic = value != "off",
            ("smm" | "vmport", "off" | "auto") => {}
            ("usb", "on" | "off") => self.usb = value == "on",
            ("smm", "on") => tracing::warn!(
                "{typed}: there is no system management mode here; firmware that needs it, such as OVMF's Secure Boot \
                 builds, will not start (OVMF_CODE_4M.fd will)"
            ),
            ("vmport", "on") => {
                self.error(format!("{typed}: not supported yet"));
            }
            ("pic" | "acpi" | "smm" | "vmport", _) => self.error(format!("{typed}: expected on, off or auto")),
            (key, _) if known.contains(&key) => self.error(format!("{typed}: expected on or off")),
            (key, _) => {
                let near = cli::nearest(key, known).map(|n| format!("; did you mean {n}?"));
                self.error(format!("{typed}: unknown property '{key}'{}", near.unwrap_or_default()));
            }
        }
    }

    /// The last `-global` of a switch of the chipset's bridge; `None` without one.
    fn switch(&mut self, chipset: Chipset, property: &str) -> Option<bool> {
        let bridge = match chipset {
            Chipset::I440fx => "PIIX4_PM",
            Chipset::Q35 => "ICH9-LPC",
        };
        let found = self.config.globals.iter().rfind(|g| g.driver == bridge && g.property == property)?;
        match found.value.as_str() {
            "on" | "true" | "yes" | "1" => Some(true),
            "off" | "false" | "no" | "0" => Some(false),
            other => {
                self.error(format!("-global {bridge}.{property}={other}: expected on or off"));
                None
            }
        }
    }

    /// Whether the watchdog's strap is set; refuses `-global`s of the board's own chips that nothing knows.
    fn strap(&mut self, chipset: Chipset) -> bool {
        for g in &self.config.globals {
            let typed = format!("-global {}.{}={}", g.driver, g.property, g.value);
            match (g.driver.as_str(), g.property.as_str()) {
                ("ICH9-LPC" | "PIIX4_PM", "disable_s3" | "disable_s4") => {}
                ("ICH9-LPC", "noreboot") if chipset == Chipset::Q35 => {}
                ("ICH9-LPC", "noreboot") if matches!(g.value.as_str(), "off" | "false" | "no") => {}
                ("ICH9-LPC" | "PIIX4_PM", _) => {
                    self.error(format!("{typed}: not supported; disable_s3, disable_s4 and, on q35, noreboot are"));
                }
                (driver, _) if device_list().iter().all(|d| d.name != driver) => {
                    tracing::warn!("{typed}: there is no device '{driver}' here, so it changes nothing");
                }
                _ => {}
            }
        }
        chipset == Chipset::Q35 && self.switch(chipset, "noreboot") == Some(true)
    }

    /// Whether the guest may suspend to RAM and to disk.
    fn sleep_states(&mut self, chipset: Chipset) -> [bool; 2] {
        ["disable_s3", "disable_s4"].map(|name| self.switch(chipset, name) != Some(true))
    }

    fn check_chardevs(&mut self) {
        let c = self.config;
        for (i, spec) in c.chardevs.iter().enumerate() {
            if c.chardevs[..i].iter().any(|s| s.id == spec.id) {
                self.error(format!("{}: the id '{}' is used twice", spec.typed, spec.id));
            }
        }
        let targets = c.serial.iter().chain(c.monitors.iter().map(|m| &m.target)).chain(&c.debugcon);
        let missing: Vec<_> = targets
            .filter_map(|t| match t {
                SerialTarget::Chardev(id) if !c.chardevs.iter().any(|s| s.id == *id) => Some(id.clone()),
                _ => None,
            })
            .collect();
        for id in missing {
            self.error(format!("chardev '{id}' does not exist; define it with -chardev ...,id={id}"));
        }
    }

    fn serial_ports(&mut self, plan: &mut Plan) {
        let c = self.config;
        if c.serial.len() > COM.len() {
            self.error(format!("-serial: at most {} serial ports", COM.len()));
        }
        for (target, (base, irq)) in c.serial.iter().zip(COM) {
            if *target != SerialTarget::None {
                plan.serial.push(SerialPlan { base, irq, target: Some(target.clone()) });
            }
        }
        if c.serial.is_empty() && !c.nodefaults {
            plan.serial.push(SerialPlan { base: COM[0].0, irq: COM[0].1, target: None });
        }
    }

    fn device(&mut self, spec: &DeviceSpec, plan: &mut Plan, usb: &mut UsbPlanner<'_>) -> Result<(), MachineError> {
        let (name, mut spec) = known(spec, &self.config.globals)?;
        let boot_index = self.boot_index(&mut spec)?;
        match spec.driver.as_str() {
            driver if UsbPlanner::takes(driver) => usb.add(name, spec, boot_index),
            "VGA" | "bochs-display" => vga(spec, plan),
            "ramfb" => {
                plan.ramfb = true;
                Ok(())
            }
            "ide-hd" | "ide-cd" => self.ide(spec, boot_index, plan),
            "ahci" | "pcie-root-port" | "ioh3420" => Ok(()), // placed before all others
            "isa-debugcon" => self.debugcon(spec, plan),
            "isa-debug-exit" => debug_exit(spec, plan),
            _ => self.isa_serial(spec, plan),
        }
    }

    /// Takes `bootindex=`, which no two devices share.
    fn boot_index(&mut self, spec: &mut DeviceSpec) -> Result<Option<u32>, MachineError> {
        let Some(n) = spec.take_number("bootindex")? else { return Ok(None) };
        let bad = |why: &str| MachineError::Config(format!("{}: bootindex={n}{why}", spec.typed));
        let index = u32::try_from(n).map_err(|_| bad(" is too large"))?;
        if self.boot_indices.contains(&index) {
            return Err(bad(": another device has it"));
        }
        self.boot_indices.push(index);
        Ok(Some(index))
    }

    fn ide(&mut self, mut spec: DeviceSpec, bootindex: Option<u32>, plan: &mut Plan) -> Result<(), MachineError> {
        let typed = spec.typed.clone();
        let bad = |why: String| MachineError::Config(format!("{typed}: {why}"));
        let cd = spec.driver == "ide-cd";
        let bus = spec.take("bus");
        let unit = spec.take_number("unit")?;
        let buses = plan.ide_buses();
        if let Some(wanted) = bus.as_ref().filter(|b| !buses.iter().any(|x| x.0 == **b)) {
            let list = buses.iter().map(|b| b.0.as_str()).collect::<Vec<_>>().join(", ");
            return Err(bad(format!("bus={wanted}: available: {list}")));
        }
        let most = if plan.chipset == Chipset::I440fx { 1 } else { 0 };
        if unit.is_some_and(|u| u > most) {
            return Err(bad(if most == 1 { "unit must be 0 or 1".into() } else { "unit must be 0".into() }));
        }
        let mut drive = match spec.take("drive") {
            Some(id) => {
                let drives = self.config.drives.iter().filter(|d| d.interface == DriveInterface::None);
                let found = drives.cloned().chain(node_drives(self.config)).find(|d| d.id == id);
                let none =
                    || format!("drive={id}: no -drive with if=none and id={id}, and no -blockdev with node-name={id}");
                found.ok_or_else(|| bad(none()))?
            }
            None if cd => empty_cd(&typed),
            None => return Err(bad("drive= is missing".into())),
        };
        let used = |c: u8, u: u8| plan.drives.iter().any(|d| (d.channel, d.unit) == (c, u));
        let places = buses.iter().flat_map(|(name, places)| places.iter().zip(0u64..).map(move |(p, n)| (name, *p, n)));
        let mut free = places.filter(|(name, place, n)| {
            bus.as_ref().is_none_or(|b| b == *name) && unit.is_none_or(|u| u == *n) && !used(place.0, place.1)
        });
        let (channel, unit) = free.next().map(|f| f.1).ok_or_else(|| bad("the IDE unit is in use".into()))?;
        drive.device = spec.id.clone();
        drive.media = if cd { Media::Cdrom } else { Media::Disk };
        drive.readonly |= cd;
        drive.serial = spec.take("serial").or(drive.serial);
        plan.drives.push(DrivePlan { channel, unit, drive, bootindex });
        Ok(())
    }

    /// SATA controllers, before any drive that may be on them.
    fn ahci_controllers(&mut self, plan: &mut Plan) {
        for spec in self.config.devices.iter().filter(|d| d.driver == "ahci") {
            let parsed = known(spec, &self.config.globals).and_then(|(_, mut spec)| {
                Ok(AhciPlan { id: spec.id.clone(), place: plan.pci_buses().place(&mut spec)? })
            });
            match parsed {
                Ok(ahci) => plan.ahci.push(ahci),
                Err(e) => self.errors.push(e),
            }
        }
    }

    /// The flash chips in order; the firmware's must be there when the variables' is.
    fn pflash(&mut self) -> Vec<cli::Drive> {
        let c = self.config;
        let mut chips: Vec<_> = c.drives.iter().filter(|d| d.interface == DriveInterface::Pflash).cloned().collect();
        chips.sort_by_key(|d| d.index);
        if let Some(first) = chips.first() {
            if first.index != 0 {
                self.error(format!("{}: unit 1 needs the firmware in unit 0", first.typed));
            }
            if let Some(bios) = &c.bios {
                self.error(format!("-bios {}: the firmware is in pflash already ({})", bios.display(), first.typed));
            }
        }
        chips
    }

    fn debugcon(&mut self, mut spec: DeviceSpec, plan: &mut Plan) -> Result<(), MachineError> {
        let base = port(&mut spec, "iobase", 0xE9)?;
        let readback = spec.take_number("readback")?.unwrap_or(0xE9) as u8;
        let id = spec.take("chardev");
        let id = id.ok_or_else(|| MachineError::Config(format!("{}: chardev= is missing", spec.typed)))?;
        if !self.config.chardevs.iter().any(|s| s.id == id) {
            return Err(MachineError::Config(format!("{}: chardev '{id}' does not exist", spec.typed)));
        }
        plan.debugcons.push(DebugConPlan { base, readback, target: SerialTarget::Chardev(id) });
        Ok(())
    }

    fn isa_serial(&mut self, mut spec: DeviceSpec, plan: &mut Plan) -> Result<(), MachineError> {
        let index = spec.take_number("index")?;
        let id = spec.take("chardev");
        let used = |base: u16| plan.serial.iter().any(|s| s.base == base);
        let free = |i: &usize| !used(COM[*i].0) && index.is_none_or(|w| w == *i as u64);
        let Some(i) = (0..COM.len()).find(free) else {
            return Err(MachineError::Config(format!("{}: no such free serial port", spec.typed)));
        };
        plan.serial.push(SerialPlan { base: COM[i].0, irq: COM[i].1, target: id.map(SerialTarget::Chardev) });
        Ok(())
    }
}

/// Checks a device's name and properties, and adds what `-global` says of it.
pub(crate) fn known(spec: &DeviceSpec, globals: &[cli::Global]) -> Result<(&'static str, DeviceSpec), MachineError> {
    let names = || device_list().iter().map(|d| d.name);
    let Some(info) = device_list().iter().find(|d| d.name == spec.driver) else {
        let near = cli::nearest(&spec.driver, names()).map(|n| format!("; did you mean {n}?")).unwrap_or_default();
        let text = format!("{}: unknown or not yet supported device{near}; '-device help' lists them", spec.typed);
        return Err(MachineError::Config(text));
    };
    let mut spec = spec.clone();
    for g in globals.iter().filter(|g| g.driver == spec.driver) {
        if !spec.props.iter().any(|p| p.0 == g.property) {
            spec.props.push((g.property.clone(), g.value.clone()));
        }
    }
    if let Some((key, value)) = spec.props.iter().find(|p| !info.props.iter().any(|k| k.0 == p.0)) {
        if info.bus == "PCI" && key == "bus" {
            let text = format!("{}: bus={value}: this device is on the root bus only; leave bus= away", spec.typed);
            return Err(MachineError::Config(text));
        }
        let near = cli::nearest(key, info.props.iter().map(|p| p.0)).map(|n| format!("; did you mean {n}?"));
        let text = format!("{}: unknown property '{key}'{}", spec.typed, near.unwrap_or_default());
        return Err(MachineError::Config(text));
    }
    Ok((info.name, spec))
}

fn debug_exit(mut spec: DeviceSpec, plan: &mut Plan) -> Result<(), MachineError> {
    let base = port(&mut spec, "iobase", 0x501)?;
    let len = spec.take_number("iosize")?.unwrap_or(2);
    if !matches!(len, 1 | 2 | 4) {
        return Err(MachineError::Config(format!("{}: iosize must be 1, 2 or 4", spec.typed)));
    }
    plan.debug_exits.push(DebugExitPlan { base, len: len as u16 });
    Ok(())
}

fn port(spec: &mut DeviceSpec, key: &str, default: u16) -> Result<u16, MachineError> {
    let n = spec.take_number(key)?.unwrap_or(default.into());
    u16::try_from(n).map_err(|_| MachineError::Config(format!("{}: {key} is not a port", spec.typed)))
}

fn empty_cd(typed: &str) -> cli::Drive {
    cli::Drive {
        typed: typed.into(),
        id: String::new(),
        interface: DriveInterface::None,
        index: 0,
        media: Media::Cdrom,
        file: None,
        format: None,
        readonly: true,
        snapshot: None,
        cache: None,
        discard: false,
        serial: None,
        node: None,
        device: None,
    }
}

/// The block nodes as drives that a device may name.
fn node_drives(config: &Config) -> impl Iterator<Item = cli::Drive> {
    config.nodes.iter().filter_map(cli::NodeSpec::drive)
}

impl Chipset {
    /// The place of `if=ide` drive number `index`.
    fn place(self, index: u32, drive: &cli::Drive) -> DrivePlan {
        let (channel, unit) = match self {
            Self::I440fx => ((index / 2) as u8, (index % 2) as u8),
            Self::Q35 => (0, index as u8),
        };
        DrivePlan { channel, unit, drive: drive.clone(), bootindex: None }
    }
}

impl Plan {
    /// Buses for `-device ide-hd` and their places, in the order in which they fill up.
    fn ide_buses(&self) -> Vec<(String, Vec<(u8, u8)>)> {
        let ports = 0..devices::ahci::PORTS as u8;
        let (mut buses, first): (Vec<_>, u8) = match self.chipset {
            Chipset::I440fx => ((0..2).map(|c| (format!("ide.{c}"), vec![(c, 0), (c, 1)])).collect(), 2),
            Chipset::Q35 => (ports.clone().map(|p| (format!("ide.{p}"), vec![(0, p)])).collect(), 1),
        };
        for (channel, ahci) in (first..).zip(&self.ahci) {
            if let Some(id) = &ahci.id {
                buses.extend(ports.clone().map(|p| (format!("{id}.{p}"), vec![(channel, p)])));
            }
        }
        buses
    }

    /// What makes a drive's serial number.
    pub(crate) fn drive_number(&self, d: &DrivePlan) -> usize {
        let (channel, unit) = (usize::from(d.channel), usize::from(d.unit));
        match self.chipset {
            Chipset::I440fx if channel < 2 => channel * 2 + unit,
            _ => (channel * devices::ahci::PORTS + unit) * 2,
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "machine {}", self.machine)?;
        writeln!(f, "cpus {} apic-ids {:?}", self.smp.cpus, self.apic_ids())?;
        for (start, len) in self.memory.ranges() {
            writeln!(f, "ram {start:#x} length {len:#x}")?;
        }
        let (first, last) = self.memory.pci_hole();
        writeln!(f, "pci-window {first:#x}-{last:#x}")?;
        writeln!(f, "bios {}", self.bios.display())?;
        writeln!(f, "hpet {} acpi {} vga {:?}", self.hpet, self.acpi, self.vga)?;
        if !self.pic {
            writeln!(f, "pic off")?;
        }
        if self.sleep != [true; 2] {
            let names: Vec<_> = ["s3", "s4"].into_iter().zip(self.sleep).filter(|s| s.1).map(|s| s.0).collect();
            writeln!(f, "sleep {}", if names.is_empty() { "off".to_owned() } else { names.join(" ") })?;
        }
        if let Some(memory) = self.bochs_display {
            writeln!(f, "bochs-display {memory}")?;
        }
        if self.ramfb {
            writeln!(f, "ramfb")?;
        }
        for s in &self.serial {
            writeln!(
                f,
                "serial {:#x} irq {} {}",
                s.base,
                s.irq,
                if s.target.is_some() { "connected" } else { "open" }
            )?;
        }
        for d in &self.drives {
            let file = d.drive.file.as_ref().map_or("(empty)".into(), |p| p.display().to_string());
            let kind = if self.chipset == Chipset::I440fx && d.channel < 2 { "ide" } else { "sata" };
            writeln!(f, "{kind} {}.{} {:?} {} {file}", d.channel, d.unit, d.drive.media, d.drive.id)?;
        }
        for d in &self.pflash {
            let file = d.file.as_ref().map_or_else(String::new, |p| p.display().to_string());
            writeln!(f, "pflash {} {}{file}", d.index, if d.readonly { "readonly " } else { "" })?;
        }
        self.root_ports.iter().try_for_each(|port| writeln!(f, "{port}"))?;
        for a in &self.ahci {
            writeln!(f, "ahci {}{}", a.id.as_deref().unwrap_or("-"), a.place)?;
        }
        write!(f, "{}", self.usb)?;
        for d in &self.debug_exits {
            writeln!(f, "debug-exit {:#x} length {}", d.base, d.len)?;
        }
        Ok(())
    }
}

fn vga(mut spec: DeviceSpec, plan: &mut Plan) -> Result<(), MachineError> {
    let memory = spec.take_number("vgamem_mb")?.unwrap_or(VGA_MEMORY.into());
    let bad = |why: &str| MachineError::Config(format!("{}: {why}", spec.typed));
    if plan.vga.is_some() || plan.bochs_display.is_some() {
        return Err(bad("there is a video card already; use -vga none"));
    }
    if !(1..=256).contains(&memory) || !memory.is_power_of_two() {
        return Err(bad("vgamem_mb must be a power of two from 1 to 256"));
    }
    *(if spec.driver == "VGA" { &mut plan.vga } else { &mut plan.bochs_display }) = Some(memory as u32);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(line: &str) -> Result<Plan, String> {
        let options = cli::Options::parse(line.split_whitespace().map(String::from)).unwrap();
        let config = Config::new(&options).map_err(|e| e[0].0.clone())?;
        Plan::new(&config).map_err(|e| e.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    }

    #[test]
    fn the_quick_start_plan() {
        let p = plan("-accel whpx -M pc -smp cores=2 -m 2G -hda OS.qcow2").unwrap();
        let expected = "machine pc\ncpus 2 apic-ids [0, 1]\nram 0x0 length 0x80000000\n\
            pci-window 0x80000000-0xfebfffff\nbios bios-256k.bin\nhpet true acpi true vga Some(16)\n\
            serial 0x3f8 irq 4 connected\nide 0.0 Disk ide0-hd0 OS.qcow2\nide 1.0 Cdrom ide1-cd0 (empty)\n";
        assert_eq!(p.to_string(), expected);
    }

    #[test]
    fn devices_and_globals() {
        let p = plan("-nodefaults -device isa-debug-exit -global isa-debug-exit.iobase=0xf4 -drive file=a,if=none,id=x -device ide-hd,drive=x,bus=ide.1").unwrap();
        assert_eq!(p.debug_exits, [DebugExitPlan { base: 0xF4, len: 2 }]);
        assert_eq!((p.drives[0].channel, p.drives[0].unit), (1, 0));
        assert!(p.serial.is_empty() && p.vga.is_none());
    }

    #[test]
    fn q35_has_sata() {
        let p = plan("-M q35 -m 4G -hda a -drive file=b,if=none,id=x -device ide-hd,drive=x,bus=ide.3").unwrap();
        let expected = "machine q35\ncpus 1 apic-ids [0]\nram 0x0 length 0x80000000\nram 0x100000000 length 0x80000000\n\
            pci-window 0x80000000-0xfebfffff\nbios bios-256k.bin\nhpet true acpi true vga Some(16)\n\
            serial 0x3f8 irq 4 connected\nsata 0.0 Disk ide0-hd0 a\nsata 0.2 Cdrom ide2-cd0 (empty)\nsata 0.3 Disk x b\n";
        assert_eq!(p.to_string(), expected);
        let p = plan("-nodefaults -device ahci,id=s,addr=5 -device ide-cd,bus=s.1 -drive if=pflash,file=f,readonly=on");
        let p = p.unwrap();
        assert_eq!((p.drives[0].channel, p.drives[0].unit), (2, 1));
        assert_eq!((p.ahci[0].place.addr, p.pflash.len(), p.chipset), (Some((5, 0)), 1, Chipset::I440fx));
        assert!(plan("-M q35 -device ide-cd,bus=ide.6").unwrap_err().contains("ide.5"));
        assert!(plan("-M q35 -device ide-cd,bus=ide.1,unit=1").unwrap_err().contains("unit must be 0"));
        let two = "-nodefaults -drive file=a,if=none,id=a -device ide-hd,drive=a,bootindex=1 -device ide-cd,bootindex";
        assert_eq!(plan(&format!("{two}=2")).unwrap().drives[0].bootindex, Some(1));
        assert!(plan(&format!("{two}=1")).unwrap_err().contains("another device"));
        assert!(plan("-drive if=pflash,file=f,unit=1").unwrap_err().contains("unit 0"));
        assert!(plan("-drive if=pflash,file=f -bios x").unwrap_err().contains("already"));
    }

    #[test]
    fn interrupt_controllers() {
        assert!(plan("-M pc").unwrap().pic && plan("-M pic=auto").unwrap().pic);
        let p = plan("-M pic=off").unwrap();
        assert!(!p.pic && p.to_string().contains("\npic off\n"));
        assert!(plan("-M pic=maybe").unwrap_err().contains("pic=maybe"));
    }

    #[test]
    fn globals_of_the_board() {
        assert!(!plan("-M q35").unwrap().no_reboot_strap);
        let line = "-global ICH9-LPC.noreboot=true -global ICH9-LPC.disable_s3=1";
        assert!(plan(&format!("-M q35 {line}")).unwrap().no_reboot_strap);
        assert!(plan(line).unwrap_err().contains("noreboot"), "not on pc");
        assert_eq!(plan("-M q35").unwrap().sleep, [true; 2]);
        assert_eq!(plan(&format!("-M q35 {line}")).unwrap().sleep, [false, true]);
        let pm = "-global PIIX4_PM.disable_s3=0 -global PIIX4_PM.disable_s4=1";
        let p = plan(pm).unwrap();
        assert_eq!(p.sleep, [true, false]);
        assert!(p.to_string().contains("\nsleep s3\n"), "{p}");
        assert_eq!(plan(&format!("-M q35 {pm}")).unwrap().sleep, [true; 2], "not its chip");
        assert!(plan("-global PIIX4_PM.disable_s3=maybe").unwrap_err().contains("disable_s3=maybe"));
        assert!(plan("-M q35 -global ICH9-LPC.x=1").unwrap_err().contains("ICH9-LPC.x=1"));
    }

    #[test]
    fn video_cards() {
        let p = plan("-vga none -device bochs-display,vgamem_mb=32 -device ramfb").unwrap();
        assert_eq!((p.vga, p.bochs_display, p.ramfb), (None, Some(32), true));
        assert!(plan("-device bochs-display").unwrap_err().contains("use -vga none"));
        assert!(plan("-vga none -device bochs-display,vgamem_mb=3").unwrap_err().contains("power of two"));
    }

    #[test]
    fn errors_name_the_option() {
        assert!(plan("-M qc").unwrap_err().contains("did you mean pc?"));
        assert!(plan("-M pc,hpte=off").unwrap_err().contains("did you mean hpet?"));
        assert!(plan("-device isa-debug-exti").unwrap_err().contains("did you mean isa-debug-exit?"));
        assert!(plan("-device isa-debug-exit,iobsae=1").unwrap_err().contains("did you mean iobase?"));
        assert!(plan("-serial chardev:x").unwrap_err().contains("-chardev"));
        assert!(plan("-device ide-hd,drive=q").unwrap_err().contains("drive=q"));
    }
}
