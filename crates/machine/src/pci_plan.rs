//! PCI in the plan: root ports, and on which bus and in which slot a device is.
//!
//! QEMU's rules: the root bus is `pci.0` on `pc` and `pcie.0` on `q35`; the bus behind a root port has the port's id, and
//! one slot. Unlike there, a port may come after the devices behind it on the command line, and a port without `slot=` gets
//! the first number that none has asked for.

use std::fmt;

use cli::DeviceSpec;
use devices::root_port::RootPortModel;

use crate::MachineError;
use crate::chipset::Chipset;
use crate::plan::{Plan, known};

/// Where a device is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PciPlace {
    /// The id of the root port that it is behind; `None`: on the root bus.
    pub port: Option<String>,
    /// Device and function; `None`: the first free slot.
    pub addr: Option<(u8, u8)>,
}

/// A root port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootPortPlan {
    /// Its id, which is its bus's name too.
    pub id: String,
    /// Which one.
    pub model: RootPortModel,
    /// Device and function; `None`: the first free slot.
    pub addr: Option<(u8, u8)>,
    /// `multifunction=on`.
    pub multifunction: bool,
    /// `port=`: the link's number.
    pub port: u8,
    /// `chassis=`.
    pub chassis: u8,
    /// `slot=`: the slot's number in its chassis.
    pub slot: u16,
    /// `hotplug=`.
    pub hot_plug: bool,
}

/// Drivers of root ports.
const DRIVERS: [(&str, RootPortModel); 2] =
    [("pcie-root-port", RootPortModel::Generic), ("ioh3420", RootPortModel::Ioh3420)];
/// The most that the field of the slot's number takes.
const MOST_SLOT: u64 = 0x1FFF;

fn bad(typed: &str, why: &str) -> MachineError {
    MachineError::Config(format!("{typed}: {why}"))
}

/// `1d.7`, `1d`: hexadecimal as in QEMU.
fn parse_addr(text: &str) -> Option<(u8, u8)> {
    let (device, function) = text.split_once('.').unwrap_or((text, "0"));
    let device = u8::from_str_radix(device.trim_start_matches("0x"), 16).ok()?;
    let function = function.parse::<u8>().ok()?;
    (device < 32 && function < 8).then_some((device, function))
}

/// The value of `addr=`.
fn addr(spec: &mut DeviceSpec) -> Result<Option<(u8, u8)>, MachineError> {
    let Some(text) = spec.take("addr") else { return Ok(None) };
    let typed = &spec.typed;
    parse_addr(&text).map(Some).ok_or_else(|| bad(typed, &format!("addr={text}: expected a PCI slot like 1d or 1d.7")))
}

/// The names of buses that devices may be on.
#[derive(Clone, Copy)]
pub(crate) struct PciBuses<'a> {
    pub(crate) chipset: Chipset,
    pub(crate) ports: &'a [RootPortPlan],
}

impl PciBuses<'_> {
    /// Takes `bus=` and `addr=`.
    pub(crate) fn place(&self, spec: &mut DeviceSpec) -> Result<PciPlace, MachineError> {
        let addr = addr(spec)?;
        let typed = &spec.typed.clone();
        let port = match spec.take("bus") {
            Some(bus) if bus != self.chipset.root_bus() => Some(bus),
            _ => return Ok(PciPlace { port: None, addr }),
        };
        if !self.ports.iter().any(|p| Some(&p.id) == port.as_ref()) {
            let names = self.ports.iter().map(|p| p.id.as_str());
            let list = [self.chipset.root_bus()].into_iter().chain(names).collect::<Vec<_>>().join(", ");
            return Err(bad(typed, &format!("bus={}: available: {list}", port.unwrap_or_default())));
        }
        if addr.is_some_and(|a| a.0 != 0) {
            return Err(bad(typed, "addr=: behind a root port is slot 0 only"));
        }
        Ok(PciPlace { port, addr: addr.or(Some((0, 0))) })
    }
}

/// The root ports that the devices ask for.
pub(crate) fn root_ports(
    specs: &[DeviceSpec],
    globals: &[cli::Global],
    chipset: Chipset,
    errors: &mut Vec<MachineError>,
) -> Vec<RootPortPlan> {
    let mut ports: Vec<(RootPortPlan, bool, String)> = Vec::new();
    for spec in specs.iter().filter(|s| DRIVERS.iter().any(|d| d.0 == s.driver)) {
        let parsed = known(spec, globals).and_then(|(_, spec)| {
            let number = 1 + ports.len();
            root_port(spec, number, chipset)
        });
        match parsed {
            Ok((port, _)) if ports.iter().any(|p| p.0.id == port.id) => {
                errors.push(bad(&spec.typed, &format!("Duplicate device ID '{}'", port.id)));
            }
            Ok((port, numbered)) => ports.push((port, numbered, spec.typed.clone())),
            Err(e) => errors.push(e),
        }
    }
    number_slots(&mut ports, errors);
    ports.into_iter().map(|p| p.0).collect()
}

/// A port, and whether it has asked for a slot number.
fn root_port(mut spec: DeviceSpec, number: usize, chipset: Chipset) -> Result<(RootPortPlan, bool), MachineError> {
    let typed = spec.typed.clone();
    if chipset != Chipset::Q35 {
        return Err(bad(&typed, "there is no PCI Express on this machine; use -machine q35"));
    }
    if let Some((_, bus)) = spec.props.iter().find(|(key, bus)| key == "bus" && bus != chipset.root_bus()) {
        // They belong to the root complex (PCI Express Base Specification 3.0, 1.3.1).
        let why = format!(
            "bus={bus}: root ports are on {} only; there are no switches or other bridges behind them yet",
            chipset.root_bus()
        );
        return Err(bad(&typed, &why));
    }
    let place = PciBuses { chipset, ports: &[] }.place(&mut spec)?;
    let multifunction = spec.take_bool("multifunction")?.unwrap_or(false) || place.addr.is_some_and(|a| a.1 != 0);
    let mut small = |key: &str| -> Result<u8, MachineError> {
        let n = spec.take_number(key)?.unwrap_or(0);
        u8::try_from(n).map_err(|_| bad(&typed, &format!("{key} must be 0 to 255")))
    };
    let (port, chassis) = (small("port")?, small("chassis")?);
    let slot = spec.take_number("slot")?;
    if slot.is_some_and(|s| s > MOST_SLOT) {
        return Err(bad(&typed, &format!("slot must be 0 to {MOST_SLOT}")));
    }
    let hot_plug = spec.take_bool("hotplug")?.unwrap_or(true);
    let model = DRIVERS.iter().find(|d| d.0 == spec.driver).map_or(RootPortModel::Generic, |d| d.1);
    let id = spec.id.clone().unwrap_or_else(|| format!("pcie.{number}"));
    let addr = place.addr;
    let wanted = slot.and_then(|s| u16::try_from(s).ok());
    let plan = RootPortPlan { id, model, addr, multifunction, port, chassis, slot: wanted.unwrap_or(0), hot_plug };
    Ok((plan, wanted.is_some()))
}

/// Chassis and slot together are a slot's name: no two have the same.
fn number_slots(ports: &mut [(RootPortPlan, bool, String)], errors: &mut Vec<MachineError>) {
    let mut taken: Vec<(u8, u16)> = Vec::new();
    for (port, _, typed) in ports.iter().filter(|p| p.1) {
        if taken.contains(&(port.chassis, port.slot)) {
            errors.push(bad(typed, &format!("chassis={},slot={}: another port has it", port.chassis, port.slot)));
        }
        taken.push((port.chassis, port.slot));
    }
    for (port, _, _) in ports.iter_mut().filter(|p| !p.1) {
        let free = (0..=u16::MAX).find(|s| !taken.contains(&(port.chassis, *s)));
        port.slot = free.unwrap_or(0);
        taken.push((port.chassis, port.slot));
    }
}

impl Plan {
    /// The buses that devices may name.
    pub(crate) fn pci_buses(&self) -> PciBuses<'_> {
        PciBuses { chipset: self.chipset, ports: &self.root_ports }
    }

    /// Whether a device has asked for this slot of the root bus.
    pub(crate) fn asks_for_slot(&self, device: u8) -> bool {
        let ports = self.root_ports.iter().map(|p| p.addr);
        let ahci = self.ahci.iter().filter(|a| a.place.port.is_none()).map(|a| a.place.addr);
        let usb = self.usb.controllers.iter().filter(|c| c.place.port.is_none()).map(|c| c.place.addr);
        ports.chain(ahci).chain(usb).flatten().any(|a| a.0 == device)
    }
}

impl fmt::Display for RootPortPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let driver = DRIVERS.iter().find(|d| d.1 == self.model).map_or("", |d| d.0);
        write!(f, "root-port {driver} {} port {} chassis {} slot {}", self.id, self.port, self.chassis, self.slot)?;
        if let Some((device, function)) = self.addr {
            write!(f, " at {device:02x}.{function}")?;
        }
        if self.hot_plug { Ok(()) } else { write!(f, " no hot plug") }
    }
}

impl fmt::Display for PciPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(port) = &self.port {
            write!(f, " on {port}")?;
        }
        self.addr.map_or(Ok(()), |(device, function)| write!(f, " at {device:02x}.{function}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(line: &str) -> Result<Plan, String> {
        let options = cli::Options::parse(line.split_whitespace().map(String::from)).unwrap();
        let config = cli::Config::new(&options).map_err(|e| e[0].0.clone())?;
        Plan::new(&config).map_err(|e| e.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    }

    #[test]
    fn root_ports_and_what_is_behind_them() {
        let p = plan(
            "-M q35 -nodefaults -vga none -device qemu-xhci,id=x,bus=rp0 -device pcie-root-port,id=rp0,chassis=1,port=3 \
             -device ioh3420,id=rp1,addr=1c.1,chassis=1,slot=0 -device pcie-root-port,hotplug=off \
             -device ahci,id=s,bus=rp1,addr=0.1 -device ahci,bus=pcie.0,addr=5",
        )
        .unwrap();
        let expected = "machine q35\ncpus 1 apic-ids [0]\nram 0x0 length 0x8000000\npci-window 0x80000000-0xfebfffff\n\
            bios bios-256k.bin\nhpet true acpi true vga None\n\
            root-port pcie-root-port rp0 port 3 chassis 1 slot 1\n\
            root-port ioh3420 rp1 port 0 chassis 1 slot 0 at 1c.1\n\
            root-port pcie-root-port pcie.3 port 0 chassis 0 slot 0 no hot plug\n\
            ahci s on rp1 at 00.1\nahci - at 05.0\nusb-controller qemu-xhci x.0 on rp0 at 00.0\n";
        assert_eq!(p.to_string(), expected);
        assert!(p.root_ports[1].multifunction && p.asks_for_slot(0x1C) && p.asks_for_slot(5) && !p.asks_for_slot(0));
    }

    #[test]
    fn errors_say_what_to_do() {
        assert!(plan("-device pcie-root-port,id=a").unwrap_err().contains("use -machine q35"));
        let port = "-M q35 -device pcie-root-port,id=a,chassis=1,slot=2";
        assert!(plan(&format!("{port} -device qemu-xhci,bus=b")).unwrap_err().contains("available: pcie.0, a"));
        assert!(plan(&format!("{port} -device qemu-xhci,bus=a,addr=1")).unwrap_err().contains("slot 0 only"));
        assert!(plan(&format!("{port} -device ioh3420,bus=a")).unwrap_err().contains("root ports are on pcie.0 only"));
        let display = plan(&format!("{port} -vga none -device bochs-display,bus=a")).unwrap_err();
        assert!(display.contains("bus=a: this device is on the root bus only"), "{display}");
        assert!(plan(&format!("{port} -device ioh3420,id=a")).unwrap_err().contains("Duplicate device ID 'a'"));
        assert!(plan(&format!("{port} -device ioh3420,chassis=1,slot=2")).unwrap_err().contains("another port"));
        assert!(plan(&format!("{port} -device ahci,addr=40")).unwrap_err().contains("addr=40"));
        assert!(plan("-M q35 -device pcie-root-port,slot=8192").unwrap_err().contains("slot must be"));
        assert!(plan("-M q35 -device pcie-root-port,port=256").unwrap_err().contains("port must be"));
        assert!(plan("-device qemu-xhci,bus=pcie.0").unwrap_err().contains("available: pci.0"));
    }
}
