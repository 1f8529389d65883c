//! The machines and devices there are, for `-M help`, `-device help` and errors.

use std::fmt::Write;

/// A machine type.
pub struct MachineInfo {
    /// Names: the first is the one in use, the others are aliases.
    pub names: &'static [&'static str],
    /// What it is.
    pub description: &'static str,
    /// Properties: name and help.
    pub props: &'static [(&'static str, &'static str)],
}

/// A device that `-device` can add.
pub struct DeviceInfo {
    /// Driver name.
    pub name: &'static str,
    /// Group in the list.
    pub category: &'static str,
    /// Bus it sits on.
    pub bus: &'static str,
    /// What it is.
    pub description: &'static str,
    /// Properties: name and help.
    pub props: &'static [(&'static str, &'static str)],
}

const MACHINES: &[MachineInfo] = &[
    MachineInfo {
        names: &["pc", "pc-i440fx-10.0"],
        description: "Standard PC (i440FX + PIIX, 1996) (default)",
        props: PROPS,
    },
    MachineInfo { names: &["q35", "pc-q35-10.0"], description: "Standard PC (Q35 + ICH9, 2009)", props: PROPS },
];

const PROPS: &[(&str, &str)] = &[
    ("accel", "accelerators to try, separated by colons"),
    ("hpet", "on|off: high precision event timer (default on)"),
    ("acpi", "on|off|auto: ACPI tables (default on)"),
    ("kernel-irqchip", "on|off: same as in -accel whpx"),
    ("pic", "on|off|auto: legacy interrupt controllers (default on); off needs a guest that uses the I/O APIC"),
    ("smm", "on|off|auto: accepted, but there is no system management mode"),
    ("vmport", "off|auto: the VMware port is not available"),
    ("usb", "on|off: USB controller of the south bridge (default off)"),
    ("graphics", "on|off: video card (default on)"),
];

const USB_DEVICE_BUS: (&str, &str) =
    ("bus", "USB bus: usb-bus.0, or ID.0 of a controller with id=ID (default: the first with a free port)");
const USB_DEVICE_PORT: (&str, &str) = ("port", "port, or path through hubs: 1, 2.3 (default: the first free one)");
const USB_VERSION: (&str, &str) =
    ("usb_version", "1: full speed only; 2: high speed on ports that have it (default 2)");
const USB_HID: &[(&str, &str)] = &[USB_DEVICE_BUS, USB_DEVICE_PORT, USB_VERSION, ("serial", "serial number")];
const PCI_ADDR: (&str, &str) = ("addr", "PCI slot, with .function: 1d.7 (default: the first free slot)");
const PCI_BUS: (&str, &str) =
    ("bus", "PCI bus: pci.0 or, on q35, pcie.0 or the id of a root port (default: the root bus)");
const PCI_MULTIFUNCTION: (&str, &str) = ("multifunction", "on|off: other functions are in the same slot (default off)");

const ROOT_PORT: &[(&str, &str)] = &[
    PCI_BUS,
    PCI_ADDR,
    PCI_MULTIFUNCTION,
    ("port", "number of the port (default 0)"),
    ("chassis", "number of the chassis (default 0)"),
    ("slot", "number of the slot in its chassis (default: the first free one)"),
    ("hotplug", "on|off: devices behind it can come and go (default on)"),
];

const UHCI: &[(&str, &str)] = &[
    PCI_BUS,
    PCI_ADDR,
    PCI_MULTIFUNCTION,
    ("masterbus", "USB bus of the EHCI controller that this one is a companion of"),
    ("firstport", "with masterbus: its first port there, 0, 2 or 4 (default 0)"),
];

const XHCI: &[(&str, &str)] = &[
    PCI_BUS,
    PCI_ADDR,
    PCI_MULTIFUNCTION,
    ("p2", "ports, 1 to 15 (default 4)"),
    ("p3", "how many of them have a USB 3 half (default 4)"),
    ("msi", "on|off|auto: MSI capability (default auto)"),
    ("msix", "on|off|auto: MSI-X capability (default auto)"),
];

const BOOT_INDEX: (&str, &str) = ("bootindex", "place in the order in which firmware tries to boot, lowest first");

const DEVICES: &[DeviceInfo] = &[
    DeviceInfo {
        name: "pcie-root-port",
        category: "Controller/Bridge/Hub devices",
        bus: "PCI",
        description: "PCI Express root port with a slot (q35): the bus behind it has its id",
        props: ROOT_PORT,
    },
    DeviceInfo {
        name: "ioh3420",
        category: "Controller/Bridge/Hub devices",
        bus: "PCI",
        description: "the same as Intel's IOH has it",
        props: ROOT_PORT,
    },
    DeviceInfo {
        name: "ahci",
        category: "Controller/Bridge/Hub devices",
        bus: "PCI",
        description: "AHCI (SATA) controller of the ICH9, six ports: buses ID.0 to ID.5",
        props: &[PCI_BUS, PCI_ADDR],
    },
    DeviceInfo {
        name: "ich9-usb-ehci1",
        category: "Controller/Bridge/Hub devices",
        bus: "PCI",
        description: "EHCI (USB 2.0) controller of the ICH9, six ports",
        props: &[PCI_BUS, PCI_ADDR, PCI_MULTIFUNCTION],
    },
    DeviceInfo {
        name: "ich9-usb-uhci1",
        category: "Controller/Bridge/Hub devices",
        bus: "PCI",
        description: "UHCI (USB 1.1) controller of the ICH9, two ports, alone or as a companion of the EHCI one",
        props: UHCI,
    },
    DeviceInfo {
        name: "ich9-usb-uhci2",
        category: "Controller/Bridge/Hub devices",
        bus: "PCI",
        description: "the second of them",
        props: UHCI,
    },
    DeviceInfo {
        name: "ich9-usb-uhci3",
        category: "Controller/Bridge/Hub devices",
        bus: "PCI",
        description: "the third of them",
        props: UHCI,
    },
    DeviceInfo {
        name: "piix3-usb-uhci",
        category: "Controller/Bridge/Hub devices",
        bus: "PCI",
        description: "UHCI (USB 1.1) controller of the PIIX3, two ports",
        props: UHCI,
    },
    DeviceInfo {
        name: "nec-usb-xhci",
        category: "Controller/Bridge/Hub devices",
        bus: "PCI",
        description: "xHCI (USB 3) controller, NEC's",
        props: XHCI,
    },
    DeviceInfo {
        name: "qemu-xhci",
        category: "Controller/Bridge/Hub devices",
        bus: "PCI",
        description: "xHCI (USB 3) controller",
        props: XHCI,
    },
    DeviceInfo {
        name: "usb-hub",
        category: "Controller/Bridge/Hub devices",
        bus: "usb-bus",
        description: "USB hub, eight ports",
        props: USB_HID,
    },
    DeviceInfo {
        name: "usb-storage",
        category: "Storage devices",
        bus: "usb-bus",
        description: "USB disk",
        props: &[
            ("drive", "id of a -drive with if=none"),
            BOOT_INDEX,
            ("removable", "on|off: the medium says it can be taken out (default off)"),
            USB_DEVICE_BUS,
            USB_DEVICE_PORT,
            USB_VERSION,
            ("serial", "serial number"),
        ],
    },
    DeviceInfo {
        name: "usb-tablet",
        category: "Input devices",
        bus: "usb-bus",
        description: "USB tablet: absolute pointer",
        props: USB_HID,
    },
    DeviceInfo {
        name: "usb-mouse",
        category: "Input devices",
        bus: "usb-bus",
        description: "USB mouse",
        props: USB_HID,
    },
    DeviceInfo {
        name: "usb-kbd",
        category: "Input devices",
        bus: "usb-bus",
        description: "USB keyboard",
        props: USB_HID,
    },
    DeviceInfo {
        name: "VGA",
        category: "Display devices",
        bus: "PCI",
        description: "standard VGA with Bochs extensions",
        props: &[("vgamem_mb", "video memory in MiB (default 16)"), ("addr", "PCI slot")],
    },
    DeviceInfo {
        name: "bochs-display",
        category: "Display devices",
        bus: "PCI",
        description: "Bochs VBE display without VGA (with -vga none)",
        props: &[("vgamem_mb", "video memory in MiB (default 16)"), ("addr", "PCI slot")],
    },
    DeviceInfo {
        name: "ramfb",
        category: "Display devices",
        bus: "System",
        description: "framebuffer in guest RAM, set up through fw_cfg",
        props: &[],
    },
    DeviceInfo {
        name: "ide-hd",
        category: "Storage devices",
        bus: "IDE",
        description: "IDE disk",
        props: &[
            ("drive", "id of a -drive with if=none"),
            ("bus", "ide.0 or ide.1; ide.0 to ide.5 on q35; ID.0 to ID.5 of an ahci controller"),
            ("unit", "0 or 1"),
            BOOT_INDEX,
            ("serial", "serial number"),
        ],
    },
    DeviceInfo {
        name: "ide-cd",
        category: "Storage devices",
        bus: "IDE",
        description: "IDE CD-ROM",
        props: &[
            ("drive", "id of a -drive with if=none"),
            ("bus", "ide.0 or ide.1; ide.0 to ide.5 on q35; ID.0 to ID.5 of an ahci controller"),
            ("unit", "0 or 1"),
            BOOT_INDEX,
            ("serial", "serial number"),
        ],
    },
    DeviceInfo {
        name: "isa-debugcon",
        category: "Misc devices",
        bus: "ISA",
        description: "debug console: bytes written to a port go to a chardev",
        props: &[
            ("iobase", "port (default 0xe9)"),
            ("readback", "what reads give (default 0xe9)"),
            ("chardev", "id of a -chardev"),
        ],
    },
    DeviceInfo {
        name: "isa-debug-exit",
        category: "Misc devices",
        bus: "ISA",
        description: "exit port: a write ends the process with status (value << 1) | 1",
        props: &[("iobase", "port (default 0x501)"), ("iosize", "number of ports: 1, 2 or 4 (default 2)")],
    },
    DeviceInfo {
        name: "isa-serial",
        category: "Input devices",
        bus: "ISA",
        description: "16550A serial port",
        props: &[("chardev", "id of a -chardev"), ("index", "0 to 3: COM1 to COM4 (default: the first free)")],
    },
];

/// All machine types.
pub fn machine_list() -> &'static [MachineInfo] {
    MACHINES
}

/// All devices.
pub fn device_list() -> &'static [DeviceInfo] {
    DEVICES
}

/// The text of `-M help`, or of `-M NAME,help`.
pub fn machine_help(name: Option<&str>) -> String {
    let mut text = String::new();
    match name.and_then(|n| MACHINES.iter().find(|m| m.names.contains(&n))) {
        Some(m) => {
            let _ = writeln!(text, "{} options:", m.names[0]);
            m.props.iter().for_each(|(n, h)| {
                let _ = writeln!(text, "  {n}=<{h}>");
            });
        }
        None => {
            text += "Supported machines are:\n";
            for (m, n) in MACHINES.iter().flat_map(|m| m.names.iter().map(move |n| (m, n))) {
                let _ = writeln!(text, "{n:<20} {}", m.description);
            }
        }
    }
    text
}

/// The text of `-device help`, or of `-device NAME,help`.
pub fn device_help(name: Option<&str>) -> String {
    let mut text = String::new();
    if let Some(d) = name.and_then(|n| DEVICES.iter().find(|d| d.name == n)) {
        let _ = writeln!(text, "{} options:", d.name);
        d.props.iter().for_each(|(n, h)| {
            let _ = writeln!(text, "  {n}=<{h}>");
        });
        return text;
    }
    let mut category = "";
    for d in DEVICES {
        if d.category != category {
            category = d.category;
            let _ = writeln!(text, "{}{category}:", if text.is_empty() { "" } else { "\n" });
        }
        let _ = writeln!(text, "name \"{}\", bus {}, desc \"{}\"", d.name, d.bus, d.description);
    }
    text
}
