//! The DSDT: PCI root with its windows, ISA devices, processors, sleep states. Interrupt routing is in [`super::links`].

use acpi_tables::aml::{
    AddressSpace, AddressSpaceCacheable, And, Arg, CreateDWordField, Device, EISAName, Else, Equal, IO, If,
    Memory32Fixed, Method, Name, NotEqual, Or, PackageBuilder, Path, ResourceTemplate, Return, Scope, Uuid,
};
use acpi_tables::{Aml, AmlSink};

use super::{AcpiConfig, Chipset, links};

/// Bytes that are AML already.
pub(super) struct Raw(pub(super) &'static [u8]);

impl Aml for Raw {
    fn to_aml_bytes(&self, sink: &mut dyn AmlSink) {
        sink.vec(self.0);
    }
}

/// An ISA interrupt (small IRQ descriptor without flags: edge, active high, exclusive).
struct IsaIrq(u8);

impl Aml for IsaIrq {
    fn to_aml_bytes(&self, sink: &mut dyn AmlSink) {
        sink.byte(0x22);
        sink.word(1 << self.0);
    }
}

/// Owned AML, so that temporaries can be built in one expression.
pub(super) struct Bytes(pub(super) Vec<u8>);

impl Bytes {
    pub(super) fn of(aml: &dyn Aml) -> Self {
        let mut out = Vec::new();
        aml.to_aml_bytes(&mut out);
        Self(out)
    }
}

impl Aml for Bytes {
    fn to_aml_bytes(&self, sink: &mut dyn AmlSink) {
        sink.vec(&self.0);
    }
}

pub(super) fn template(resources: &[&dyn Aml]) -> Bytes {
    Bytes::of(&ResourceTemplate::new(resources.to_vec()))
}

pub(super) fn device(path: &str, children: &[&dyn Aml]) -> Bytes {
    Bytes::of(&Device::new(path.into(), children.to_vec()))
}

pub(super) fn scope(path: &str, children: &[&dyn Aml]) -> Bytes {
    Bytes::of(&Scope::new(path.into(), children.to_vec()))
}

pub(super) fn method(path: &str, args: u8, body: &[&dyn Aml]) -> Bytes {
    Bytes::of(&Method::new(path.into(), args, true, body.to_vec()))
}

pub(super) fn name(n: &str, value: &dyn Aml) -> Name {
    Name::new(n.into(), value)
}

pub(super) fn hid(id: &str) -> Name {
    name("_HID", &EISAName::new(id))
}

pub(super) fn build(c: &AcpiConfig) -> Vec<u8> {
    let mut aml = Vec::new();
    aml.extend(pci_root(c).0);
    aml.extend(isa(c).0);
    aml.extend(links::build(c.chipset).0);
    if c.hpet {
        let crs = template(&[&Memory32Fixed::new(false, 0xFED0_0000, 0x400)]);
        let children: [&dyn Aml; 4] =
            [&hid("PNP0103"), &name("_UID", &0u8), &name("_STA", &0x0Fu8), &name("_CRS", &crs)];
        aml.extend(scope("\\_SB_", &[&device("HPET", &children)]).0);
    }
    aml.extend(processors(c).0);
    // SLP_TYP for PM1a and PM1b, as these boards have them.
    let states = [(c.s3, "\\_S3_", 1u8), (c.s4, "\\_S4_", 2), (true, "\\_S5_", 0)];
    for (_, state, kind) in states.into_iter().filter(|s| s.0) {
        let mut package = PackageBuilder::new();
        [kind, kind, 0, 0].iter().for_each(|value| package.add_element(value));
        aml.extend(Bytes::of(&name(state, &package)).0);
    }
    aml
}

fn pci_root(c: &AcpiConfig) -> Bytes {
    let memory = |(first, last)| AddressSpace::new_memory(AddressSpaceCacheable::NotCacheable, true, first, last, None);
    let mut windows: Vec<AddressSpace<u32>> = Vec::new();
    let buses = match c.chipset {
        Chipset::I440fx => {
            windows.push(memory(c.pci_hole));
            256
        }
        Chipset::Q35 { ecam: (base, buses) } => {
            windows.extend(around(c.pci_hole, base, u64::from(buses) << 20).map(memory));
            buses
        }
    };
    let bus = AddressSpace::new_bus_number(0u16, buses - 1);
    let (config, low) = (IO::new(0xCF8, 0xCF8, 1, 8), AddressSpace::new_io(0u16, 0xCF7, None));
    let high = AddressSpace::new_io(0xD00u16, 0xFFFF, None);
    let vga = AddressSpace::new_memory(AddressSpaceCacheable::Cacheable, true, 0xA_0000u32, 0xB_FFFF, None);
    let above = c
        .pci_hole64
        .map(|(first, last)| AddressSpace::new_memory(AddressSpaceCacheable::Cacheable, true, first, last, None));
    let mut resources: Vec<&dyn Aml> = vec![&bus, &config, &low, &high, &vga];
    resources.extend(windows.iter().map(|w| w as &dyn Aml));
    resources.extend(above.iter().map(|w| w as &dyn Aml));
    let crs = template(&resources);
    let (adr, uid, crs) = (name("_ADR", &0u8), name("_UID", &0u8), name("_CRS", &crs));
    let prt = links::routing(c.chipset);
    match c.chipset {
        Chipset::I440fx => scope("\\_SB_", &[&device("PCI0", &[&hid("PNP0A03"), &adr, &uid, &crs, &prt])]),
        Chipset::Q35 { ecam } => {
            let cid = name("_CID", &EISAName::new("PNP0A03"));
            let root = device("PCI0", &[&hid("PNP0A08"), &cid, &adr, &uid, &crs, &osc(), &prt]);
            scope("\\_SB_", &[&root, &reserved(ecam)])
        }
    }
}

/// The parts of `window` (first and last address) that are not in the `len` bytes from `base`.
fn around(window: (u32, u32), base: u64, len: u64) -> impl Iterator<Item = (u32, u32)> {
    let (first, last) = (u64::from(window.0), u64::from(window.1));
    let parts = [(first, last.min(base.wrapping_sub(1))), (first.max(base.saturating_add(len)), last)];
    let parts = if base > last || base + len <= first { [(first, last), (1, 0)] } else { parts };
    parts.into_iter().filter(|(a, b)| a < b).filter_map(|(a, b)| Some((u32::try_from(a).ok()?, u32::try_from(b).ok()?)))
}

/// `_OSC` (PCI Firmware Specification 3.0, 4.5.1): the system may have everything there is; native hot plug, power
/// management events and the rest have no hardware to hand over, so that nothing has to be masked off.
fn osc() -> Bytes {
    let (one, eight) = (1u8, 8u8);
    let (status, control, buffer) = (Path::new("CDW1"), Path::new("CDW3"), Arg(3));
    let (bad_revision, bad_uuid, masked) = (0x08u8, 0x04u8, 0x1Fu8);
    let id = Uuid::new("33db4d5b-1ff7-401c-9657-7441c03dd766");
    let (is_ours, other_revision) = (Equal::new(&Arg(0), &id), NotEqual::new(&Arg(1), &one));
    let field = CreateDWordField::new(&control, &buffer, &eight);
    let kept = And::new(&control, &control, &masked);
    let refuse = Or::new(&status, &status, &bad_revision);
    let check = If::new(&other_revision, vec![&refuse]);
    let unknown = Or::new(&status, &status, &bad_uuid);
    method(
        "_OSC",
        4,
        &[
            &CreateDWordField::new(&status, &buffer, &0u8),
            &If::new(&is_ours, vec![&field, &kept, &check]),
            &Else::new(vec![&unknown]),
            &Return::new(&buffer),
        ],
    )
}

/// Board resources that are nobody else's: the configuration window and the chipset configuration registers.
fn reserved((base, buses): (u64, u16)) -> Bytes {
    let base = u32::try_from(base).unwrap_or(0);
    let crs = template(&[
        &Memory32Fixed::new(true, base, u32::from(buses) << 20),
        &Memory32Fixed::new(true, 0xFED1_C000, 0x4000),
    ]);
    device("DRAC", &[&hid("PNP0C01"), &name("_CRS", &crs)])
}

fn isa(c: &AcpiConfig) -> Bytes {
    let legacy =
        |path: &str, id: &str, crs: Bytes| device(path, &[&hid(id), &name("_STA", &0x0Fu8), &name("_CRS", &crs)]).0;
    let address: u32 = if c.chipset == Chipset::I440fx { 0x0001_0000 } else { 0x001F_0000 };
    let mut children = Bytes(Vec::new());
    children.0.extend(legacy("RTC_", "PNP0B00", template(&[&IO::new(0x70, 0x70, 1, 8), &IsaIrq(8)])));
    let kbd = template(&[&IO::new(0x60, 0x60, 1, 1), &IO::new(0x64, 0x64, 1, 1), &IsaIrq(1)]);
    children.0.extend(legacy("KBD_", "PNP0303", kbd));
    children.0.extend(legacy("MOU_", "PNP0F13", template(&[&IsaIrq(12)])));
    for (n, (base, irq)) in [(0x3F8, 4), (0x2F8, 3)].into_iter().enumerate().filter(|(n, _)| c.serial[*n]) {
        let crs = name("_CRS", &template(&[&IO::new(base, base, 0, 8), &IsaIrq(irq)]));
        let uid = name("_UID", &(n as u8 + 1));
        children.0.extend(device(["COM1", "COM2"][n], &[&hid("PNP0501"), &uid, &name("_STA", &0x0Fu8), &crs]).0);
    }
    scope("\\_SB_.PCI0", &[&device("ISA_", &[&name("_ADR", &address), &children])])
}

fn processors(c: &AcpiConfig) -> Bytes {
    let mut children = Bytes(Vec::new());
    for i in 0..c.apic_ids.len().min(c.present) {
        let ids: [&dyn Aml; 2] = [&name("_HID", &"ACPI0007"), &name("_UID", &(i as u16))];
        children.0.extend(device(&format!("C{i:03X}"), &ids).0);
    }
    scope("\\_SB_", &[&children])
}
