//! The DSDT: PCI root with its windows and interrupt routing, ISA devices, processors, S5.

use acpi_tables::aml::{
    AddressSpace, AddressSpaceCacheable, And, Arg, CreateDWordField, Device, EISAName, Field, FieldAccessType,
    FieldEntry, FieldLockRule, FieldUpdateRule, IO, If, Local, Memory32Fixed, Method, Name, OpRegion, OpRegionSpace,
    Or, PackageBuilder, Path, ResourceTemplate, Return, Scope, Store,
};
use acpi_tables::{Aml, AmlSink};

use super::AcpiConfig;

/// Bytes that are AML already.
struct Raw(&'static [u8]);

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

/// Extended interrupt descriptor {5, 10, 11}: consumer, level, active high, shared.
const LINK_CHOICES: Raw = Raw(&[0x89, 14, 0, 0x09, 3, 5, 0, 0, 0, 10, 0, 0, 0, 11, 0, 0, 0]);
/// The same with one number, 0, that methods overwrite.
const LINK_CURRENT: Raw = Raw(&[0x89, 6, 0, 0x09, 1, 0, 0, 0, 0]);

/// Owned AML, so that temporaries can be built in one expression.
struct Bytes(Vec<u8>);

impl Bytes {
    fn of(aml: &dyn Aml) -> Self {
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

fn template(resources: &[&dyn Aml]) -> Bytes {
    Bytes::of(&ResourceTemplate::new(resources.to_vec()))
}

fn device(path: &str, children: &[&dyn Aml]) -> Bytes {
    Bytes::of(&Device::new(path.into(), children.to_vec()))
}

fn scope(path: &str, children: &[&dyn Aml]) -> Bytes {
    Bytes::of(&Scope::new(path.into(), children.to_vec()))
}

fn method(path: &str, args: u8, body: &[&dyn Aml]) -> Bytes {
    Bytes::of(&Method::new(path.into(), args, true, body.to_vec()))
}

fn name(n: &str, value: &dyn Aml) -> Name {
    Name::new(n.into(), value)
}

fn hid(id: &str) -> Name {
    name("_HID", &EISAName::new(id))
}

pub(super) fn build(c: &AcpiConfig) -> Vec<u8> {
    let mut aml = Vec::new();
    aml.extend(pci_root(c).0);
    aml.extend(isa(c).0);
    aml.extend(links().0);
    if c.hpet {
        let crs = template(&[&Memory32Fixed::new(false, 0xFED0_0000, 0x400)]);
        let children: [&dyn Aml; 4] =
            [&hid("PNP0103"), &name("_UID", &0u8), &name("_STA", &0x0Fu8), &name("_CRS", &crs)];
        aml.extend(scope("\\_SB_", &[&device("HPET", &children)]).0);
    }
    aml.extend(processors(c).0);
    let mut s5 = PackageBuilder::new();
    (0..4).for_each(|_| s5.add_element(&0u8)); // SLP_TYP 0 is S5 on PIIX4
    aml.extend(Bytes::of(&name("\\_S5_", &s5)).0);
    aml
}

fn pci_root(c: &AcpiConfig) -> Bytes {
    let crs = template(&[
        &AddressSpace::new_bus_number(0u16, 0xFF),
        &IO::new(0xCF8, 0xCF8, 1, 8),
        &AddressSpace::new_io(0u16, 0xCF7, None),
        &AddressSpace::new_io(0xD00u16, 0xFFFF, None),
        &AddressSpace::new_memory(AddressSpaceCacheable::Cacheable, true, 0xA_0000u32, 0xB_FFFF, None),
        &AddressSpace::new_memory(AddressSpaceCacheable::NotCacheable, true, c.pci_hole.0, c.pci_hole.1, None),
    ]);
    let (id, adr, uid) = (hid("PNP0A03"), name("_ADR", &0u8), name("_UID", &0u8));
    scope("\\_SB_", &[&device("PCI0", &[&id, &adr, &uid, &name("_CRS", &crs), &name("_PRT", &routing())])])
}

/// `_PRT`: pin p of slot s is PIRQ (s + p - 1) mod 4; the power-management function's pin is the SCI itself.
fn routing() -> PackageBuilder {
    let mut prt = PackageBuilder::new();
    for slot in 0..32u32 {
        for pin in 0..4u32 {
            let link = ["LNKA", "LNKB", "LNKC", "LNKD"][((slot + pin + 3) % 4) as usize];
            let link = if slot == 1 && pin == 0 { "LNKS" } else { link };
            let mut entry = PackageBuilder::new();
            entry.add_element(&(slot << 16 | 0xFFFF));
            entry.add_element(&(pin as u8));
            entry.add_element(&Path::new(&format!("\\_SB_.{link}")));
            entry.add_element(&0u8);
            prt.add_element(&entry);
        }
    }
    prt
}

/// The PIIX3's PIRQ route registers and the link devices that program them.
fn links() -> Bytes {
    let fields: Vec<_> = (0..4u8).map(|n| FieldEntry::Named([b'P', b'R', b'Q', b'0' + n], 8)).collect();
    let region = OpRegion::new("P40C".into(), OpRegionSpace::PCIConfig, &0x60u8, &4u8);
    let mut aml = scope("\\_SB_.PCI0.ISA_", &[&region]);
    let field = Field::new(
        "\\_SB_.PCI0.ISA_.P40C".into(),
        FieldAccessType::Byte,
        FieldLockRule::NoLock,
        FieldUpdateRule::Preserve,
        fields,
    );
    aml.0.extend(scope("\\_SB_", &[&field]).0);
    for n in 0..4 {
        aml.0.extend(scope("\\_SB_", &[&link(n)]).0);
    }
    let sci = template(&[&Raw(&[0x89, 6, 0, 0x09, 1, 9, 0, 0, 0])]);
    let fixed = device(
        "LNKS",
        &[
            &hid("PNP0C0F"),
            &name("_UID", &4u8),
            &name("_PRS", &sci),
            &name("_CRS", &sci),
            &name("_STA", &0x0Bu8),
            &method("_DIS", 0, &[]),
            &method("_SRS", 1, &[]),
        ],
    );
    aml.0.extend(scope("\\_SB_", &[&fixed]).0);
    aml
}

fn link(n: u8) -> Bytes {
    let register = Path::new(&format!("PRQ{n}"));
    let (disabled, present, absent, offset) = (0x80u8, 0x0Bu8, 0x09u8, 5u8);
    let status = method(
        "_STA",
        0,
        &[
            &And::new(&Local(0), &register, &disabled),
            &If::new(&Local(0), vec![&Return::new(&absent)]),
            &Return::new(&present),
        ],
    );
    let disable = method("_DIS", 0, &[&Or::new(&register, &register, &disabled)]);
    let (buffer, number) = (Path::new("PRR0"), Path::new("PRRI"));
    let current = method(
        "_CRS",
        0,
        &[
            &name("PRR0", &template(&[&LINK_CURRENT])),
            &CreateDWordField::new(&number, &buffer, &offset),
            &And::new(&Local(0), &register, &disabled),
            &And::new(&Local(1), &register, &0x0Fu8),
            &If::new(&Local(0), vec![&Store::new(&Local(1), &0u8)]),
            &Store::new(&number, &Local(1)),
            &Return::new(&buffer),
        ],
    );
    let set = method("_SRS", 1, &[&CreateDWordField::new(&number, &Arg(0), &offset), &Store::new(&register, &number)]);
    let choices = name("_PRS", &template(&[&LINK_CHOICES]));
    let path = format!("LNK{}", char::from(b'A' + n));
    device(&path, &[&hid("PNP0C0F"), &name("_UID", &n), &choices, &status, &disable, &current, &set])
}

fn isa(c: &AcpiConfig) -> Bytes {
    let legacy =
        |path: &str, id: &str, crs: Bytes| device(path, &[&hid(id), &name("_STA", &0x0Fu8), &name("_CRS", &crs)]).0;
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
    scope("\\_SB_.PCI0", &[&device("ISA_", &[&name("_ADR", &0x0001_0000u32), &children])])
}

fn processors(c: &AcpiConfig) -> Bytes {
    let mut children = Bytes(Vec::new());
    for i in 0..c.apic_ids.len().min(c.present) {
        let ids: [&dyn Aml; 2] = [&name("_HID", &"ACPI0007"), &name("_UID", &(i as u16))];
        children.0.extend(device(&format!("C{i:03X}"), &ids).0);
    }
    scope("\\_SB_", &[&children])
}
