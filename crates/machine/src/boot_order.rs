//! What firmware is told of the order in which to boot: numbers in CMOS for classes of devices (`-boot`), and fw_cfg's file
//! `bootorder` for single ones (`bootindex=`), with paths as Open Firmware writes them, one a line. SeaBIOS says on its debug
//! port what it looks for: that is the form they have here.

use firmware::FwCfgItems;
use usb::{Speed, uhci};

use crate::chipset::Chipset;
use crate::pc::Channel;
use crate::plan::{DrivePlan, Plan};
use crate::usb_plan::UsbDevicePlan;

/// Where a PCI function is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FunctionPlace {
    /// Device and function on its bus.
    pub(crate) devfn: u8,
    /// Those of the root port that it is behind.
    pub(crate) behind: Option<u8>,
}

impl FunctionPlace {
    /// On the root bus.
    pub(crate) fn root(devfn: u8) -> Self {
        Self { devfn, behind: None }
    }

    /// The path of the function with this node name.
    fn path(self, node: &str) -> String {
        let unit = |devfn: u8| match (devfn >> 3, devfn & 7) {
            (device, 0) => format!("{device:x}"),
            (device, function) => format!("{device:x},{function:x}"),
        };
        let bridge = self.behind.map(|port| format!("/pci-bridge@{}", unit(port))).unwrap_or_default();
        format!("/pci@i0cf8{bridge}/{node}@{}", unit(self.devfn))
    }
}

/// Where the function of a USB controller is.
pub(crate) struct HostPlace {
    pub(crate) bus: String,
    /// A companion's first port (from 0) on its master's bus.
    pub(crate) first_port: Option<usize>,
    pub(crate) place: FunctionPlace,
}

/// Boot letters as the BIOS numbers devices in CMOS.
pub(crate) fn numbers(letters: Option<&str>) -> [u8; 3] {
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

fn drive_path(plan: &Plan, channels: &[Channel], d: &DrivePlan) -> Option<String> {
    let place = channels.get(usize::from(d.channel))?.place;
    Some(if plan.chipset == Chipset::I440fx && d.channel < 2 {
        format!("{}/drive@{:x}/disk@{:x}", place.path("ide"), d.channel, d.unit)
    } else {
        format!("{}/drive@{:x}/disk@0", place.path("pci8086,2922"), d.unit)
    })
}

/// A port of an EHCI controller is its companion's when what is plugged in there has full speed at most.
fn usb_path(hosts: &[HostPlace], device: &UsbDevicePlan) -> Option<String> {
    let (port, hubs) = device.port.split_last()?;
    let of_companion = |host: &&HostPlace| {
        let ports = host.first_port.map(|first| first.saturating_add(1)..=first.saturating_add(uhci::PORTS));
        ports.is_some_and(|p| hubs.is_empty() && device.most == Speed::Full && p.contains(&usize::from(*port)))
    };
    let mut on_bus = hosts.iter().filter(|host| host.bus == device.bus);
    let host = on_bus.clone().find(of_companion).or_else(|| on_bus.find(|host| host.first_port.is_none()))?;
    let (place, port) = (host.place, usize::from(*port) - host.first_port.unwrap_or(0));
    let hubs: String = hubs.iter().map(|port| format!("/hub@{port:x}")).collect();
    Some(format!("{}{hubs}/storage@{port:x}/channel@0/disk@0,0", place.path("usb")))
}

/// Adds the file.
pub(crate) fn install(plan: &Plan, channels: &[Channel], hosts: &[HostPlace], items: &mut FwCfgItems) {
    let drives = plan.drives.iter().filter_map(|d| Some((d.bootindex?, drive_path(plan, channels, d)?)));
    let storage = plan.usb.devices.iter().filter_map(|d| Some((d.bootindex?, usb_path(hosts, d)?)));
    let mut devices: Vec<_> = drives.chain(storage).collect();
    devices.sort_unstable();
    // A kernel of `-kernel` is started by its option ROM.
    let rom = plan.kernel.is_some().then(|| format!("/rom@{}", firmware::boot::ROM_FILE));
    let mut lines: Vec<_> = rom.into_iter().chain(devices.into_iter().map(|d| d.1)).collect();
    if plan.boot.strict && plan.kernel.is_none() {
        lines.push("HALT".into());
    }
    if !lines.is_empty() {
        items.add_file("bootorder", (lines.join("\n") + "\0").into_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(host: [HostPlace; 2], port: &[u8], most: Speed) -> String {
        let mut device =
            crate::usb_plan::unplaced("usb-tablet", cli::DeviceSpec::parse("usb-tablet").unwrap()).unwrap().device;
        (device.bus, device.port, device.most) = ("b.0".into(), port.into(), most);
        usb_path(&host, &device).unwrap()
    }

    /// What SeaBIOS 1.16 asked for with each of these machines (`*` there for the names of channel and disk).
    #[test]
    fn usb_disks_are_where_seabios_looks_for_them() {
        let hosts = |devfn, behind| {
            let master = HostPlace { bus: "b.0".into(), first_port: None, place: FunctionPlace { devfn, behind } };
            let place = FunctionPlace::root(0xE9);
            [HostPlace { bus: "b.0".into(), first_port: Some(2), place }, master]
        };
        let (alone, behind) = (hosts(0x18, None), hosts(0, Some(0x10)));
        assert_eq!(path(alone, &[3], Speed::Super), "/pci@i0cf8/usb@3/storage@3/channel@0/disk@0,0");
        assert_eq!(path(behind, &[1], Speed::Super), "/pci@i0cf8/pci-bridge@2/usb@0/storage@1/channel@0/disk@0,0");
        let ich9 = || hosts(0xEF, None);
        assert_eq!(path(ich9(), &[2, 4], Speed::High), "/pci@i0cf8/usb@1d,7/hub@2/storage@4/channel@0/disk@0,0");
        assert_eq!(path(ich9(), &[4], Speed::Full), "/pci@i0cf8/usb@1d,1/storage@2/channel@0/disk@0,0");
        assert_eq!(path(ich9(), &[3, 2], Speed::Full), "/pci@i0cf8/usb@1d,7/hub@3/storage@2/channel@0/disk@0,0");
        assert_eq!(path(ich9(), &[5], Speed::Full), "/pci@i0cf8/usb@1d,7/storage@5/channel@0/disk@0,0");
    }
}
