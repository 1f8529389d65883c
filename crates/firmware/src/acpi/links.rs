//! Interrupt routing: `_PRT` and the link devices that program the PIRQ routing registers.
//!
//! ACPI 6.4, sections 6.2.13 (`_PRT`), 6.2.12, 6.2.16 (link devices), 5.8.1 (`_PIC`).

use acpi_tables::aml::{
    And, Arg, CreateDWordField, Field, FieldAccessType, FieldEntry, FieldLockRule, FieldUpdateRule, If, Local,
    OpRegion, OpRegionSpace, Or, PackageBuilder, Path, Return, Store,
};

use super::Chipset;
use super::dsdt::{Bytes, Raw, device, hid, method, name, scope, template};

/// Extended interrupt descriptor {5, 10, 11}: consumer, level, active high, shared.
const LINK_CHOICES: Raw = Raw(&[0x89, 14, 0, 0x09, 3, 5, 0, 0, 0, 10, 0, 0, 0, 11, 0, 0, 0]);
/// The same with one number, 0, that methods overwrite.
const LINK_CURRENT: Raw = Raw(&[0x89, 6, 0, 0x09, 1, 0, 0, 0, 0]);
/// First I/O APIC pin of the PIRQs.
const GSI_A: u8 = 16;

/// One `_PRT` package: for each pin of each slot an entry with what `target` gives.
fn packages(target: impl Fn(u32, u32, &mut PackageBuilder)) -> PackageBuilder {
    let mut prt = PackageBuilder::new();
    for slot in 0..32u32 {
        for pin in 0..4u32 {
            let mut entry = PackageBuilder::new();
            entry.add_element(&(slot << 16 | 0xFFFF));
            entry.add_element(&(pin as u8));
            target(slot, pin, &mut entry);
            prt.add_element(&entry);
        }
    }
    prt
}

fn link_path(n: u32) -> Path {
    Path::new(&format!("\\_SB_.LNK{}", char::from(b'A' + n as u8)))
}

/// The PIRQ (0 is A) of a pin of the ICH9 board: slots in rotation on E to H, devices 25 to 31 as the interrupt route
/// registers are at reset, device 30 in order on E to H.
fn ich9_pirq(slot: u32, pin: u32) -> u32 {
    match slot {
        30 => 4 + pin,
        25.. => pin,
        _ => 4 + (slot + pin) % 4,
    }
}

/// `_PRT`, with what it needs.
pub(super) fn routing(chipset: Chipset) -> Bytes {
    if chipset == Chipset::I440fx {
        // Pin p of slot s is PIRQ (s + p - 1) mod 4; the power-management function's pin is the SCI itself.
        let prt = packages(|slot, pin, entry| {
            let sci = slot == 1 && pin == 0;
            entry.add_element(&if sci { Path::new("\\_SB_.LNKS") } else { link_path((slot + pin + 3) % 4) });
            entry.add_element(&0u8);
        });
        return Bytes::of(&name("_PRT", &prt));
    }
    let pic = packages(|slot, pin, entry| {
        entry.add_element(&link_path(ich9_pirq(slot, pin)));
        entry.add_element(&0u8);
    });
    let apic = packages(|slot, pin, entry| {
        entry.add_element(&0u8);
        entry.add_element(&(GSI_A + ich9_pirq(slot, pin) as u8));
    });
    let mut aml = Bytes::of(&name("PRTP", &pic));
    aml.0.extend(Bytes::of(&name("PRTA", &apic)).0);
    let (mode, with_apic, with_pic) = (Path::new("\\PICF"), Path::new("PRTA"), Path::new("PRTP"));
    let apic = Return::new(&with_apic);
    let chosen = If::new(&mode, vec![&apic]);
    aml.0.extend(method("_PRT", 0, &[&chosen, &Return::new(&with_pic)]).0);
    aml
}

/// The south bridge's PIRQ route registers and the link devices that program them.
pub(super) fn build(chipset: Chipset) -> Bytes {
    let mut aml = registers("P40C", 0x60, 0);
    let count = match chipset {
        Chipset::I440fx => 4,
        Chipset::Q35 { .. } => {
            aml.0.extend(registers("P48C", 0x68, 4).0);
            aml.0.extend(Bytes::of(&name("\\PICF", &0u8)).0);
            let mode = Path::new("\\PICF");
            aml.0.extend(method("\\_PIC", 1, &[&Store::new(&mode, &Arg(0))]).0);
            8
        }
    };
    for n in 0..count {
        aml.0.extend(scope("\\_SB_", &[&link(n)]).0);
    }
    if chipset == Chipset::I440fx {
        aml.0.extend(scope("\\_SB_", &[&sci_link()]).0);
    }
    aml
}

/// Four registers of the bridge at `offset`, as PRQn and following.
fn registers(region: &str, offset: u8, first: u8) -> Bytes {
    let fields: Vec<_> = (first..first + 4).map(|n| FieldEntry::Named([b'P', b'R', b'Q', b'0' + n], 8)).collect();
    let space = OpRegion::new(region.into(), OpRegionSpace::PCIConfig, &offset, &4u8);
    let mut aml = scope("\\_SB_.PCI0.ISA_", &[&space]);
    let field = Field::new(
        format!("\\_SB_.PCI0.ISA_.{region}").as_str().into(),
        FieldAccessType::Byte,
        FieldLockRule::NoLock,
        FieldUpdateRule::Preserve,
        fields,
    );
    aml.0.extend(scope("\\_SB_", &[&field]).0);
    aml
}

fn sci_link() -> Bytes {
    let sci = template(&[&Raw(&[0x89, 6, 0, 0x09, 1, 9, 0, 0, 0])]);
    device(
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
    )
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
