//! USB in the plan: which controllers there are, and which device is in which port.
//!
//! QEMU's rules: buses are called `usb-bus.N` in order, or `ID.0`; a device goes to the first bus with a free port; a
//! device that would take the last port of a bus gets a hub in between. Unlike there, a device may come before its
//! controller on the command line.

use std::collections::VecDeque;
use std::fmt;

use cli::{DeviceSpec, Drive, DriveInterface};
use usb::Speed;
use usb::xhci::{self, XhciKind};

use crate::MachineError;
use crate::chipset::Chipset;
use crate::pci_plan::{PciBuses, PciPlace};

/// Controllers: name, own ports.
const CONTROLLERS: &[(&str, usize)] = &[
    ("ich9-usb-ehci1", usb::ehci::PORTS),
    ("ich9-usb-uhci1", usb::uhci::PORTS),
    ("ich9-usb-uhci2", usb::uhci::PORTS),
    ("ich9-usb-uhci3", usb::uhci::PORTS),
    ("piix3-usb-uhci", usb::uhci::PORTS),
    ("nec-usb-xhci", xhci::PORTS),
    ("qemu-xhci", xhci::PORTS),
];
const DEVICES: &[&str] = &["usb-tablet", "usb-mouse", "usb-kbd", "usb-hub", "usb-storage"];
/// Where the PIIX's own controller is.
const OWN: (u8, u8) = (1, 2);
/// Where the ICH9's own controllers are.
const OWN_ICH9: u8 = 0x1D;
/// Hubs in a row at most (USB 2.0, 4.1.1).
const HUB_DEPTH: usize = 5;
const HUB_PORTS: u8 = 8;

/// A host controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsbControllerPlan {
    /// Driver.
    pub driver: &'static str,
    /// The option as typed, for errors.
    pub typed: String,
    /// Its bus, or that of its master.
    pub bus: String,
    /// A companion's first port (from 0) on its master's bus.
    pub first_port: Option<usize>,
    /// `id=`.
    pub id: Option<String>,
    /// Where it is.
    pub place: PciPlace,
    /// `multifunction=on`.
    pub multifunction: bool,
    /// What an xHCI controller has.
    pub xhci: Option<XhciPlan>,
}

/// What is particular to an xHCI controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XhciPlan {
    /// Which one.
    pub kind: XhciKind,
    /// `p2=`: ports, and `p3=`: how many of them have a USB 3 half.
    pub ports: (usize, usize),
    /// `msi=`.
    pub msi: bool,
    /// `msix=`.
    pub msix: bool,
}

impl XhciPlan {
    fn new(driver: &str, spec: &mut DeviceSpec) -> Result<Option<Self>, MachineError> {
        let kind = match driver {
            "nec-usb-xhci" => XhciKind::Nec,
            "qemu-xhci" => XhciKind::Qemu,
            _ => return Ok(None),
        };
        let mut ports = |key: &str, least: usize| {
            let n = spec.take_number(key)?.map_or(xhci::PORTS, |n| usize::try_from(n).unwrap_or(usize::MAX));
            let why = format!("{key} must be {least} to {}", xhci::MOST_PORTS);
            if (least..=xhci::MOST_PORTS).contains(&n) { Ok(n) } else { Err(bad(&spec.typed, &why)) }
        };
        let (p2, p3) = (ports("p2", 1)?, ports("p3", 0)?);
        if p3 > p2 {
            return Err(bad(&spec.typed, "p3 must not be above p2: each port has a USB 2 half"));
        }
        let mut on = |key: &str, auto: bool| match spec.take(key).as_deref() {
            None | Some("auto") => Ok(auto),
            Some("on") => Ok(true),
            Some("off") => Ok(false),
            Some(v) => Err(bad(&spec.typed, &format!("{key}={v}: expected on, off or auto"))),
        };
        Ok(Some(Self { kind, ports: (p2, p3), msi: on("msi", kind.has_msi())?, msix: on("msix", true)? }))
    }
}

/// A device in its port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsbDevicePlan {
    /// Driver.
    pub driver: &'static str,
    /// The option as typed, for errors.
    pub typed: String,
    /// `id=`.
    pub id: Option<String>,
    /// The bus.
    pub bus: String,
    /// Root port, then ports of hubs.
    pub port: Vec<u8>,
    /// How fast it can run.
    pub most: Speed,
    /// `serial=`.
    pub serial: Option<String>,
    /// The drive that a storage device stores to.
    pub drive: Option<String>,
    /// `removable=on`.
    pub removable: bool,
    /// `bootindex=`: firmware tries those with low numbers first.
    pub bootindex: Option<u32>,
}

/// All of USB.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsbPlan {
    /// Controllers, masters before companions.
    pub controllers: Vec<UsbControllerPlan>,
    /// Devices, hubs before what is behind them.
    pub devices: Vec<UsbDevicePlan>,
    /// The ports that are left.
    pub(crate) ports: UsbPorts,
}

impl fmt::Display for UsbPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in &self.controllers {
            write!(f, "usb-controller {} {}", c.driver, c.bus)?;
            if let Some(port) = c.first_port {
                write!(f, " companion from port {}", port + 1)?;
            }
            writeln!(f, "{}", c.place)?;
        }
        for d in &self.devices {
            writeln!(f, "usb-device {} {} port {}", d.driver, d.bus, path(&d.port))?;
        }
        Ok(())
    }
}

pub(crate) fn path(port: &[u8]) -> String {
    port.iter().map(u8::to_string).collect::<Vec<_>>().join(".")
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Bus {
    name: String,
    free: VecDeque<Vec<u8>>,
}

impl Bus {
    fn is(&self, name: &str) -> bool {
        self.name == name || self.name.strip_suffix(".0") == Some(name)
    }
}

/// The buses and their free ports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct UsbPorts {
    buses: Vec<Bus>,
    /// Buses that got a number for a name so far.
    numbered: usize,
}

/// A device that has no place yet, and the place it asks for.
pub(crate) struct Unplaced {
    pub(crate) device: UsbDevicePlan,
    bus: Option<String>,
    port: Option<String>,
}

/// Collects the options.
pub(crate) struct UsbPlanner<'a> {
    drives: &'a [Drive],
    controllers: Vec<(UsbControllerPlan, Option<String>)>,
    devices: Vec<Unplaced>,
    errors: Vec<MachineError>,
    ports: UsbPorts,
    pci: PciBuses<'a>,
}

fn bad(typed: &str, why: &str) -> MachineError {
    MachineError::Config(format!("{typed}: {why}"))
}

impl<'a> UsbPlanner<'a> {
    /// Starts with the machine's own controller, or with none.
    pub(crate) fn new(own: Option<Chipset>, drives: &'a [Drive], pci: PciBuses<'a>) -> Self {
        let (controllers, devices, errors, ports) = (vec![], vec![], vec![], UsbPorts::default());
        let mut planner = Self { drives, controllers, devices, errors, ports, pci };
        match own {
            None => {}
            Some(Chipset::I440fx) => {
                let bus = planner.ports.add_bus(None, usb::uhci::PORTS);
                planner.own_controller("piix3-usb-uhci", &bus, None, OWN);
            }
            Some(Chipset::Q35) => {
                let bus = planner.ports.add_bus(None, usb::ehci::PORTS);
                planner.own_controller("ich9-usb-ehci1", &bus, None, (OWN_ICH9, 7));
                for (n, driver) in ["ich9-usb-uhci1", "ich9-usb-uhci2", "ich9-usb-uhci3"].into_iter().enumerate() {
                    planner.own_controller(driver, &bus, Some(2 * n), (OWN_ICH9, n as u8));
                }
            }
        }
        planner
    }

    fn own_controller(&mut self, driver: &'static str, bus: &str, first_port: Option<usize>, addr: (u8, u8)) {
        let plan = UsbControllerPlan {
            driver,
            typed: "-usb".into(),
            bus: bus.into(),
            first_port,
            id: None,
            place: PciPlace { port: None, addr: Some(addr) },
            multifunction: addr.0 == OWN_ICH9,
            xhci: None,
        };
        self.controllers.push((plan, first_port.map(|_| bus.to_owned())));
    }

    /// Whether a driver is one of USB's.
    pub(crate) fn takes(driver: &str) -> bool {
        DEVICES.contains(&driver) || CONTROLLERS.iter().any(|c| c.0 == driver)
    }

    /// Whether a driver is a device, as opposed to a controller.
    pub(crate) fn is_device(driver: &str) -> bool {
        DEVICES.contains(&driver)
    }

    /// Takes a `-device`, whose `bootindex=` has been taken out.
    pub(crate) fn add(
        &mut self,
        driver: &'static str,
        spec: DeviceSpec,
        bootindex: Option<u32>,
    ) -> Result<(), MachineError> {
        if Self::is_device(driver) {
            return self.device(driver, spec, bootindex);
        }
        let new = controller(driver, spec, self.pci, &mut self.ports)?;
        self.controllers.push(new);
        Ok(())
    }

    fn device(&mut self, driver: &'static str, spec: DeviceSpec, bootindex: Option<u32>) -> Result<(), MachineError> {
        let mut new = unplaced(driver, spec)?;
        new.device.bootindex = bootindex;
        let typed = &new.device.typed;
        if let Some(id) = &new.device.drive {
            let found = self.drives.iter().find(|d| d.id == *id && d.interface == DriveInterface::None);
            let why = format!("drive={id}: no -drive with if=none and id={id}, and no -blockdev with node-name={id}");
            let drive = found.ok_or_else(|| bad(typed, &why))?;
            if drive.file.is_none() || drive.media == cli::Media::Cdrom {
                return Err(bad(typed, "drive= must name a disk with an image; for a CD use ide-cd"));
            }
            if self.devices.iter().any(|d| d.device.drive.as_ref() == Some(id)) {
                return Err(bad(typed, &format!("drive={id}: another device uses it")));
            }
        }
        if let Some(id) =
            new.device.id.as_ref().filter(|id| self.devices.iter().any(|d| d.device.id.as_ref() == Some(id)))
        {
            return Err(bad(typed, &format!("Duplicate device ID '{id}'")));
        }
        self.devices.push(new);
        Ok(())
    }

    /// Puts every device into its port.
    pub(crate) fn finish(mut self, errors: &mut Vec<MachineError>) -> UsbPlan {
        let mut plan = UsbPlan::default();
        for (mut c, master) in std::mem::take(&mut self.controllers) {
            if let Some(m) = master {
                match self.ports.buses.iter().find(|b| b.is(&m)) {
                    Some(b) => c.bus.clone_from(&b.name),
                    None => self.errors.push(bad(&c.typed, &format!("masterbus={m}: there is no such USB bus"))),
                }
            }
            plan.controllers.push(c);
        }
        plan.controllers.sort_by_key(|c| c.first_port.is_some());
        for device in std::mem::take(&mut self.devices) {
            match self.ports.place(device) {
                Ok(placed) => plan.devices.extend(placed),
                Err(e) => self.errors.push(e),
            }
        }
        plan.ports = self.ports;
        errors.append(&mut self.errors);
        plan
    }
}

/// The controller that an option asks for, its bus among `ports`, and the bus of its master if it has one.
pub(crate) fn controller(
    driver: &'static str,
    mut spec: DeviceSpec,
    pci: PciBuses<'_>,
    ports: &mut UsbPorts,
) -> Result<(UsbControllerPlan, Option<String>), MachineError> {
    let typed = spec.typed.clone();
    let place = pci.place(&mut spec)?;
    let multifunction = spec.take_bool("multifunction")?.unwrap_or(false) || place.addr.is_some_and(|a| a.1 != 0);
    let first_port = spec.take_number("firstport")?;
    let master = spec.take("masterbus");
    if master.is_none() && first_port.is_some() {
        return Err(bad(&typed, "firstport needs masterbus="));
    }
    let xhci = XhciPlan::new(driver, &mut spec)?;
    let own = CONTROLLERS.iter().find(|c| c.0 == driver).map_or(0, |c| c.1);
    let bus = match &master {
        Some(m) => m.clone(),
        None => ports.add_bus(spec.id.as_deref(), xhci.map_or(own, |x| x.ports.0)),
    };
    let first_port = master.as_ref().map(|_| usize::try_from(first_port.unwrap_or(0)).unwrap_or(usize::MAX));
    let id = spec.id.clone();
    Ok((UsbControllerPlan { driver, typed, bus, first_port, id, place, multifunction, xhci }, master))
}

/// The device that an option asks for; which drives there are is the caller's business.
pub(crate) fn unplaced(driver: &'static str, mut spec: DeviceSpec) -> Result<Unplaced, MachineError> {
    let typed = spec.typed.clone();
    let version = spec.take_number("usb_version")?;
    if version.is_some_and(|v| !(1..=2).contains(&v)) {
        return Err(bad(&typed, "usb_version must be 1 or 2"));
    }
    let drive = spec.take("drive");
    if drive.is_none() && driver == "usb-storage" {
        return Err(bad(&typed, "drive= is missing"));
    }
    let most = match (version, driver) {
        (Some(1), _) => Speed::Full,
        (None, "usb-storage") => Speed::Super,
        _ => Speed::High,
    };
    let device = UsbDevicePlan {
        driver,
        typed,
        id: spec.id.clone(),
        bus: String::new(),
        port: Vec::new(),
        most,
        serial: spec.take("serial"),
        drive,
        removable: spec.take_bool("removable")?.unwrap_or(false),
        bootindex: None,
    };
    Ok(Unplaced { device, bus: spec.take("bus"), port: spec.take("port") })
}

impl UsbPorts {
    /// A bus with so many ports: `ID.0`, or a number.
    pub(crate) fn add_bus(&mut self, id: Option<&str>, ports: usize) -> String {
        let name = match id {
            Some(id) => format!("{id}.0"),
            None => format!("usb-bus.{}", self.numbered),
        };
        self.numbered += usize::from(id.is_none());
        self.buses.push(Bus { name: name.clone(), free: (1..=ports as u8).map(|p| vec![p]).collect() });
        name
    }

    /// A bus is gone.
    pub(crate) fn remove_bus(&mut self, name: &str) {
        self.buses.retain(|b| b.name != name);
    }

    /// Gives a device a port; the hub that must come before it, if any, then the device.
    pub(crate) fn place(&mut self, new: Unplaced) -> Result<Vec<UsbDevicePlan>, MachineError> {
        let Unplaced { mut device, bus, port } = new;
        let typed = device.typed.clone();
        if self.buses.is_empty() {
            let why = "there is no USB controller; add -device qemu-xhci or ich9-usb-ehci1 before it, or -usb";
            return Err(bad(&typed, why));
        }
        let named = |b: &Bus| bus.as_ref().is_none_or(|n| b.is(n));
        if !self.buses.iter().any(named) {
            let names = self.buses.iter().map(|b| b.name.as_str()).collect::<Vec<_>>().join(", ");
            return Err(bad(&typed, &format!("bus={}: available: {names}", bus.unwrap_or_default())));
        }
        let Some(b) = self.buses.iter_mut().find(|b| named(b) && !b.free.is_empty()) else {
            return Err(bad(&typed, "no free USB port is left; add a usb-hub earlier, or another controller"));
        };
        device.bus.clone_from(&b.name);
        let mut placed = Vec::new();
        device.port = match port {
            Some(wanted) => {
                let place = b.free.iter().position(|p| path(p) == wanted);
                let taken = || bad(&typed, &format!("port={wanted}: {} has no such free port", b.name));
                place.and_then(|i| b.free.remove(i)).ok_or_else(taken)?
            }
            None => {
                placed.extend(hub_for(b, &device));
                b.free.pop_front().unwrap_or_default()
            }
        };
        if device.driver == "usb-hub" {
            add_hub(b, &device.port);
        }
        placed.push(device);
        Ok(placed)
    }

    /// A device is gone: its port is free, and there are none behind it any more.
    pub(crate) fn release(&mut self, device: &UsbDevicePlan) {
        if let Some(b) = self.buses.iter_mut().find(|b| b.name == device.bus) {
            b.free.retain(|p| !p.starts_with(&device.port));
            let at = b.free.iter().position(|p| (p.len(), p) > (device.port.len(), &device.port));
            b.free.insert(at.unwrap_or(b.free.len()), device.port.clone());
        }
    }
}

fn add_hub(bus: &mut Bus, at: &[u8]) {
    if at.len() < HUB_DEPTH + 1 {
        bus.free.extend((1..=HUB_PORTS).map(|p| [at, &[p]].concat()));
    }
}

/// The hub that goes into the last free port, so that there are more.
fn hub_for(bus: &mut Bus, device: &UsbDevicePlan) -> Option<UsbDevicePlan> {
    let fits = DEVICES.contains(&"usb-hub") && device.driver != "usb-hub" && bus.free.len() == 1;
    let port = bus.free.front().filter(|p| fits && p.len() < HUB_DEPTH)?.clone();
    bus.free.pop_front();
    add_hub(bus, &port);
    Some(UsbDevicePlan {
        driver: "usb-hub",
        typed: format!("{} (its hub)", device.typed),
        id: None,
        bus: bus.name.clone(),
        port,
        most: Speed::High,
        serial: None,
        drive: None,
        removable: false,
        bootindex: None,
    })
}

#[cfg(test)]
mod tests {
    use crate::Plan;

    fn plan(line: &str) -> Result<String, String> {
        let options = cli::Options::parse(line.split_whitespace().map(String::from)).unwrap();
        let config = cli::Config::new(&options).map_err(|e| e[0].0.clone())?;
        let plan = Plan::new(&config).map_err(|e| e.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))?;
        Ok(plan.usb.to_string())
    }

    #[test]
    fn the_quick_start_line() {
        let p = plan("-accel whpx -M pc -smp cores=2 -m 2G -device ich9-usb-ehci1 -device usb-tablet -hda OS.qcow2");
        assert_eq!(p.unwrap(), "usb-controller ich9-usb-ehci1 usb-bus.0\nusb-device usb-tablet usb-bus.0 port 1\n");
    }

    #[test]
    fn shorthands_and_the_hub_in_the_last_port() {
        let expected = "usb-controller piix3-usb-uhci usb-bus.0 at 01.2\nusb-device usb-tablet usb-bus.0 port 1\n\
            usb-device usb-hub usb-bus.0 port 2\nusb-device usb-kbd usb-bus.0 port 2.1\n\
            usb-device usb-mouse usb-bus.0 port 2.2\n";
        assert_eq!(plan("-usb -usbdevice tablet -usbdevice keyboard -usbdevice mouse").unwrap(), expected);
    }

    #[test]
    fn companions_buses_and_ports() {
        let line = "-device ich9-usb-uhci1,masterbus=ehci.0,firstport=0,addr=1d.0,multifunction=on \
            -device ich9-usb-ehci1,id=ehci,addr=1d.7 -usb -device usb-hub,bus=ehci.0,port=4 \
            -device usb-kbd,bus=ehci.0,port=4.8";
        let expected = "usb-controller piix3-usb-uhci usb-bus.0 at 01.2\nusb-controller ich9-usb-ehci1 ehci.0 at 1d.7\n\
            usb-controller ich9-usb-uhci1 ehci.0 companion from port 1 at 1d.0\n\
            usb-device usb-hub ehci.0 port 4\nusb-device usb-kbd ehci.0 port 4.8\n";
        assert_eq!(plan(line).unwrap(), expected);
    }

    #[test]
    fn xhci_and_hub_paths() {
        let line = "-device qemu-xhci,id=x,p2=2 -device nec-usb-xhci -device usb-hub,bus=x.0,port=1 \
            -device usb-kbd,bus=x.0,port=1.2 -device usb-tablet,bus=usb-bus.0";
        let expected = "usb-controller qemu-xhci x.0\nusb-controller nec-usb-xhci usb-bus.0\n\
            usb-device usb-hub x.0 port 1\nusb-device usb-kbd x.0 port 1.2\nusb-device usb-tablet usb-bus.0 port 1\n";
        assert_eq!(plan(&line.replace("p2=2", "p2=2,p3=1")).unwrap(), expected);
    }

    #[test]
    fn ports_are_given_and_come_back() {
        let options = "-device qemu-xhci,id=x -device usb-hub,id=h,bus=x.0,port=1";
        let options = cli::Options::parse(options.split_whitespace().map(String::from)).unwrap();
        let mut ports = Plan::new(&cli::Config::new(&options).unwrap()).unwrap().usb.ports;
        let add = |ports: &mut super::UsbPorts, text: &str| {
            let spec = cli::DeviceSpec::parse(text).unwrap();
            ports.place(super::unplaced("usb-tablet", spec).unwrap()).map_err(|e| e.to_string())
        };
        let first = add(&mut ports, "usb-tablet,bus=x.0,port=1.4").unwrap();
        assert_eq!(first[0].port, [1, 4]);
        assert!(add(&mut ports, "usb-tablet,bus=x.0,port=1.4").unwrap_err().contains("port=1.4"));
        assert_eq!(add(&mut ports, "usb-tablet").unwrap()[0].port, [2]);
        ports.release(&first[0]);
        assert_eq!(add(&mut ports, "usb-tablet,port=1.4").unwrap()[0].port, [1, 4]);
        let hub = super::UsbDevicePlan { port: vec![1], ..first[0].clone() };
        ports.release(&hub);
        assert!(add(&mut ports, "usb-tablet,port=1.5").is_err(), "the hub is gone, and its ports with it");
        assert_eq!(add(&mut ports, "usb-tablet").unwrap()[0].port, [1], "its own port is the first free one");
    }

    #[test]
    fn errors_say_what_to_do() {
        assert!(plan("-device usb-tablet").unwrap_err().contains("add -device qemu-xhci"));
        assert!(plan("-usb -device usb-tablet,bus=x").unwrap_err().contains("available: usb-bus.0"));
        assert!(plan("-usb -device usb-tablet,port=3").unwrap_err().contains("port=3"));
        assert!(plan("-usb -device usb-storage").unwrap_err().contains("drive= is missing"));
        let two = "-usb -drive if=none,id=a,file=a -device usb-storage,drive=a,bootindex=1 -device ide-cd,bootindex=";
        assert!(plan(&format!("{two}2")).is_ok());
        assert!(plan(&format!("{two}1")).unwrap_err().contains("bootindex=1: another device"));
        assert!(plan("-usb -device usb-kbd,bootindex=1").unwrap_err().contains("unknown property"));
        assert!(plan("-device ich9-usb-ehci1,addr=40").unwrap_err().contains("addr=40"));
        assert!(plan("-device qemu-xhci,p2=16").unwrap_err().contains("p2 must be 1 to 15"));
        assert!(plan("-device qemu-xhci,p2=2,p3=3").unwrap_err().contains("p3"));
        assert!(plan("-device qemu-xhci,msi=x").unwrap_err().contains("msi=x"));
        assert!(plan("-usb -device usb-kbd,id=a -device usb-mouse,id=a").unwrap_err().contains("'a'"));
        assert!(plan("-device ich9-usb-uhci1,firstport=2").unwrap_err().contains("masterbus"));
    }
}
