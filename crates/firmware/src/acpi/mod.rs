//! ACPI tables for the `pc` and `q35` machines (ACPI 6.4; FADT revision 3), delivered through fw_cfg's table loader.
//!
//! All tables are one blob, `etc/acpi/tables`; the RSDP is `etc/acpi/rsdp`; `etc/table-loader` tells the firmware
//! where to put both, which pointers to add the addresses to and which sums to make.

mod dsdt;
mod links;
mod loader;
mod tables;

use crate::FwCfgItems;

/// What the tables describe.
#[derive(Clone, Debug)]
pub struct AcpiConfig {
    /// Local APIC identifiers; the first `present` are enabled.
    pub apic_ids: Vec<u32>,
    /// CPUs present at the start.
    pub present: usize,
    /// The 8259 pair is there.
    pub pic: bool,
    /// HPET at 0xFED00000.
    pub hpet: bool,
    /// Serial ports at COM1 and COM2.
    pub serial: [bool; 2],
    /// The chips.
    pub chipset: Chipset,
    /// The window for PCI memory below 4 GiB: first and last address.
    pub pci_hole: (u32, u32),
    /// The window for PCI memory above RAM: first and last address.
    pub pci_hole64: Option<(u64, u64)>,
    /// I/O base of the ACPI register block.
    pub pm_base: u16,
    /// I/O base of the GPE0 block.
    pub gpe0_base: u16,
    /// Bytes of the GPE0 block.
    pub gpe0_len: u8,
    /// The guest may suspend to RAM (S3).
    pub s3: bool,
    /// The guest may suspend to disk (S4).
    pub s4: bool,
}

/// What differs between the machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chipset {
    /// 440FX and PIIX3.
    I440fx,
    /// Q35 and ICH9.
    Q35 {
        /// The PCI Express configuration window: base and number of buses.
        ecam: (u64, u16),
    },
}

/// Adds the three files.
pub fn install(config: &AcpiConfig, items: &mut FwCfgItems) {
    let blob = tables::build(config);
    items.add_file(loader::TABLES, blob.tables);
    items.add_file(loader::RSDP, blob.rsdp);
    items.add_file(loader::LOADER, blob.script);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn config() -> AcpiConfig {
        AcpiConfig {
            apic_ids: vec![0, 1],
            present: 2,
            pic: true,
            hpet: true,
            s3: true,
            s4: true,
            serial: [true, true],
            chipset: Chipset::I440fx,
            pci_hole: (0x8000_0000, 0xFEBF_FFFF),
            pci_hole64: None,
            pm_base: 0x600,
            gpe0_base: 0xAFE0,
            gpe0_len: 4,
        }
    }

    fn q35() -> AcpiConfig {
        AcpiConfig {
            chipset: Chipset::Q35 { ecam: (0xB000_0000, 256) },
            pci_hole64: Some((0x1_0000_0000, 0xFF_FFFF_FFFF)),
            gpe0_base: 0x620,
            gpe0_len: 16,
            ..config()
        }
    }

    /// Runs the loader's script as firmware does and checks every sum.
    #[test]
    fn the_script_makes_consistent_tables() {
        consistent(&config(), &["FACP", "APIC", "HPET", "WAET"]);
        consistent(&q35(), &["FACP", "APIC", "HPET", "MCFG", "WAET"]);
    }

    fn consistent(config: &AcpiConfig, expected: &[&str]) {
        let built = tables::build(config);
        let (tables, rsdp) = loader::run_for_test(&built, 0x7FE0_0000, 0xF5000);
        let sum = |b: &[u8]| b.iter().fold(0u8, |s, x| s.wrapping_add(*x));
        assert_eq!((&rsdp[..8], sum(&rsdp[..20])), (&b"RSD PTR "[..], 0));
        let at = |b: &[u8], o: usize| u32::from_le_bytes(b[o..o + 4].try_into().unwrap());
        let table = |address: u32| {
            let o = (address - 0x7FE0_0000) as usize;
            tables[o..o + at(&tables, o + 4) as usize].to_vec()
        };
        let rsdt = table(at(&rsdp, 16));
        assert_eq!((&rsdt[..4], sum(&rsdt)), (&b"RSDT"[..], 0));
        let mut names = vec![];
        for e in rsdt[36..].chunks(4) {
            let t = table(at(e, 0));
            assert_eq!(sum(&t), 0, "{}", String::from_utf8_lossy(&t[..4]));
            names.push(String::from_utf8_lossy(&t[..4]).into_owned());
            if t.starts_with(b"FACP") {
                let dsdt = table(at(&t, 40));
                assert_eq!((&dsdt[..4], sum(&dsdt)), (&b"DSDT"[..], 0));
                assert_eq!(at(&t, 36) % 64, 0, "FACS is 64-byte aligned");
            }
        }
        assert_eq!(names, expected);
    }

    #[test]
    fn pcat_compat_says_whether_the_8259_pair_is_there() {
        for pic in [true, false] {
            let built = tables::build(&AcpiConfig { pic, ..config() });
            let madt = tables::list_for_test(&built.tables).into_iter().find(|t| t.0 == "APIC").unwrap().1;
            assert_eq!(built.tables[madt + 40..madt + 44], [u8::from(pic), 0, 0, 0]);
        }
    }

    #[test]
    fn sleep_states_that_are_not_there_have_no_name() {
        let has = |c: &AcpiConfig| {
            let built = tables::build(c).tables;
            [b"_S3_", b"_S4_", b"_S5_"].map(|name| built.windows(4).any(|w| w == name))
        };
        assert_eq!(has(&config()), [true; 3]);
        assert_eq!(has(&AcpiConfig { s3: false, ..config() }), [false, true, true]);
        assert_eq!(has(&AcpiConfig { s4: false, ..config() }), [true, false, true]);
    }

    /// `iasl -d` reads every table without complaint, and its output compiles again without errors.
    #[test]
    fn iasl_reads_the_tables() {
        if Command::new("iasl").arg("-v").output().is_err() {
            println!("SKIPPED iasl_reads_the_tables: iasl is not installed (package acpica-tools)");
            return;
        }
        round_trip(&config(), "pc");
        round_trip(&q35(), "q35");
        let far = AcpiConfig { chipset: Chipset::Q35 { ecam: (0xE000_0000, 64) }, ..q35() };
        assert_eq!(
            tables::build(&far).tables.len(),
            tables::build(&q35()).tables.len(),
            "the window moves, nothing else"
        );
    }

    fn round_trip(config: &AcpiConfig, machine: &str) {
        let built = tables::build(config);
        let (blob, _) = loader::run_for_test(&built, 0x7FE0_0000, 0xF5000);
        let dir = std::env::temp_dir().join(format!("whpx-acpi-{machine}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        for (name, start, len) in tables::list_for_test(&blob) {
            let file = format!("{name}.aml");
            std::fs::write(dir.join(&file), &blob[start..start + len]).unwrap();
            let run = |args: &[&str]| {
                let o = Command::new("iasl").args(args).current_dir(&dir).output().unwrap();
                let text = String::from_utf8_lossy(&o.stdout).into_owned() + &String::from_utf8_lossy(&o.stderr);
                assert!(o.status.success(), "{text}");
                text
            };
            let text = run(&["-d", &file]);
            assert!(!text.contains("Error") && !text.contains("Warning"), "{name}: {text}");
            let text = run(&["-p", "again", &format!("{name}.dsl")]);
            assert!(text.contains(" 0 Errors"), "{name}: {text}");
        }
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
