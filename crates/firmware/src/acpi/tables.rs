//! The tables themselves.

use super::loader::{RSDP, Script, TABLES, Zone};
use super::{AcpiConfig, Chipset, dsdt};

/// Files for fw_cfg.
pub(super) struct Built {
    pub(super) tables: Vec<u8>,
    pub(super) rsdp: Vec<u8>,
    pub(super) script: Vec<u8>,
}

const OEM: &[u8; 6] = b"WHPX  ";
/// SCI's interrupt.
const SCI: u8 = 9;

struct Builder {
    blob: Vec<u8>,
    script: Script,
}

impl Builder {
    /// Appends a table with header, and its checksum to the script; returns where it starts.
    fn table(&mut self, name: &[u8; 4], revision: u8, body: &[u8]) -> usize {
        self.blob.resize(self.blob.len().next_multiple_of(16), 0);
        let start = self.blob.len();
        let len = 36 + body.len();
        self.blob.extend(name);
        self.blob.extend((len as u32).to_le_bytes());
        self.blob.extend([revision, 0]);
        self.blob.extend(OEM);
        self.blob.extend(b"WHPX");
        self.blob.extend(name);
        self.blob.extend(1u32.to_le_bytes());
        self.blob.extend(b"WHPX");
        self.blob.extend(1u32.to_le_bytes());
        self.blob.extend(body);
        start
    }

    /// To be called after the pointers into the table.
    fn sum(&mut self, start: usize) {
        let len = self.length(start);
        self.script.checksum(TABLES, start + 9, start, len);
    }

    fn length(&self, start: usize) -> usize {
        u32::from_le_bytes([self.blob[start + 4], self.blob[start + 5], self.blob[start + 6], self.blob[start + 7]])
            as usize
    }
}

pub(super) fn build(c: &AcpiConfig) -> Built {
    let mut b = Builder { blob: Vec::new(), script: Script::default() };
    b.script.allocate(RSDP, 16, Zone::FSegment);
    b.script.allocate(TABLES, 64, Zone::High);
    b.blob.extend(facs());
    let dsdt = b.table(b"DSDT", 2, &dsdt::build(c));
    b.sum(dsdt);
    let fadt = b.table(b"FACP", 3, &fadt(c, dsdt as u32));
    for (field, size) in [(36, 4), (40, 4)] {
        b.script.pointer(TABLES, TABLES, fadt + field, size);
    }
    b.sum(fadt);
    let mut entries = vec![fadt];
    let madt = b.table(b"APIC", 3, &madt(c));
    entries.push(madt);
    if c.hpet {
        entries.push(b.table(b"HPET", 1, &hpet()));
    }
    if let Chipset::Q35 { ecam } = c.chipset {
        entries.push(b.table(b"MCFG", 1, &mcfg(ecam)));
    }
    entries.push(b.table(b"WAET", 1, &2u32.to_le_bytes())); // the PM timer needs one read only
    for start in &entries[1..] {
        b.sum(*start);
    }
    let body: Vec<u8> = entries.iter().flat_map(|e| (*e as u32).to_le_bytes()).collect();
    let rsdt = b.table(b"RSDT", 1, &body);
    for i in 0..entries.len() {
        b.script.pointer(TABLES, TABLES, rsdt + 36 + 4 * i, 4);
    }
    b.sum(rsdt);
    let mut rsdp = b"RSD PTR \0".to_vec();
    rsdp.extend(OEM);
    rsdp.push(0); // ACPI 1.0: RSDT only
    rsdp.extend((rsdt as u32).to_le_bytes());
    b.script.pointer(RSDP, TABLES, 16, 4);
    b.script.checksum(RSDP, 8, 0, 20);
    Built { tables: b.blob, rsdp, script: b.script.0 }
}

fn facs() -> Vec<u8> {
    let mut f = b"FACS".to_vec();
    f.extend(64u32.to_le_bytes());
    f.resize(64, 0);
    f
}

/// A Generic Address Structure for an I/O port.
fn port(base: u16, bytes: u8) -> [u8; 12] {
    let mut g = [1, bytes * 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    g[4..6].copy_from_slice(&base.to_le_bytes());
    g
}

/// FADT (ACPI 6.4, 5.2.9) without its header; pointers are offsets, for the loader to add to.
fn fadt(c: &AcpiConfig, dsdt: u32) -> Vec<u8> {
    let mut f = Vec::new();
    f.extend(0u32.to_le_bytes()); // FACS is at the start of the blob
    f.extend(dsdt.to_le_bytes());
    f.extend([1, 0]); // model: reserved field of ACPI 1.0; profile: unspecified
    f.extend(u16::from(SCI).to_le_bytes());
    f.extend(0xB2u32.to_le_bytes());
    f.extend([0xF1, 0xF0, 0, 0]); // ACPI_ENABLE, ACPI_DISABLE; no S4BIOS, no P-states
    let pm = u32::from(c.pm_base);
    for block in [pm, 0, pm + 4, 0, 0, pm + 8, u32::from(c.gpe0_base), 0] {
        f.extend(block.to_le_bytes());
    }
    f.extend([4, 2, 0, 4, c.gpe0_len, 0, 0, 0]); // lengths: PM1_EVT, PM1_CNT, PM2, TMR, GPE0, GPE1; base; CST
    f.extend(0xFFFu16.to_le_bytes()); // no C2
    f.extend(0xFFFu16.to_le_bytes()); // no C3
    f.extend([0; 6]); // flush size and stride (WBINVD works), duty
    f.extend([0, 0, 0x32]); // day alarm, month alarm, century in CMOS
    f.extend(3u16.to_le_bytes()); // legacy devices and 8042
    f.push(0);
    // WBINVD; C1 on all processors; no sleep button; reset register. The RTC wakes from S3, not from S4.
    let flags = 1u32 | 1 << 2 | 1 << 5 | 1 << 10;
    f.extend(flags.to_le_bytes());
    f.extend(port(0xCF9, 1));
    f.push(0x06);
    f.extend([0; 3]);
    f.extend([0; 16]); // X_FIRMWARE_CTRL, X_DSDT: the 32-bit ones are used
    let none = [0; 12];
    f.extend(port(c.pm_base, 4));
    f.extend(none);
    f.extend(port(c.pm_base + 4, 2));
    f.extend(none);
    f.extend(none);
    f.extend(port(c.pm_base + 8, 4));
    f.extend(port(c.gpe0_base, c.gpe0_len));
    f.extend(none);
    f
}

/// MADT (ACPI 6.4, 5.2.12).
fn madt(c: &AcpiConfig) -> Vec<u8> {
    let mut m = 0xFEE0_0000u32.to_le_bytes().to_vec();
    m.extend(u32::from(c.pic).to_le_bytes()); // PCAT_COMPAT
    for (i, id) in c.apic_ids.iter().enumerate() {
        let enabled = u32::from(i < c.present);
        if *id < 255 {
            m.extend([0, 8, i as u8, *id as u8]);
            m.extend(enabled.to_le_bytes());
        } else {
            m.extend([9, 16, 0, 0]);
            for v in [*id, enabled, i as u32] {
                m.extend(v.to_le_bytes());
            }
        }
    }
    m.extend([1, 12, 0, 0]);
    m.extend(0xFEC0_0000u32.to_le_bytes());
    m.extend(0u32.to_le_bytes());
    let mut source_override = |irq: u8, gsi: u32, flags: u16| {
        m.extend([2, 10, 0, irq]);
        m.extend(gsi.to_le_bytes());
        m.extend(flags.to_le_bytes());
    };
    source_override(0, 2, 0);
    for irq in [5, 9, 10, 11] {
        source_override(irq, irq.into(), 0x0D); // active high, level
    }
    m.extend([4, 6, 0xFF, 0, 0, 1]); // all processors: NMI at LINT1
    m
}

/// MCFG (PCI Firmware Specification 3.0, 4.1.2): the configuration window of segment 0.
fn mcfg((base, buses): (u64, u16)) -> Vec<u8> {
    let mut m = vec![0; 8];
    m.extend(base.to_le_bytes());
    m.extend([0, 0, 0, (buses - 1) as u8]);
    m.extend([0; 4]);
    m
}

/// HPET description (IA-PC HPET 1.0a, 3.2.4).
fn hpet() -> Vec<u8> {
    let mut h = 0x8086_A201u32.to_le_bytes().to_vec();
    h.extend([0, 64, 0, 0]);
    h.extend(0xFED0_0000u64.to_le_bytes());
    h.push(0);
    h.extend(0u16.to_le_bytes());
    h.push(0);
    h
}

/// Name, start and length of every table with a header in a finished blob.
#[cfg(test)]
pub(super) fn list_for_test(blob: &[u8]) -> Vec<(String, usize, usize)> {
    let mut at = 64;
    let mut list = vec![("FACS".to_string(), 0, 64)];
    while at + 36 <= blob.len() {
        let len = u32::from_le_bytes(blob[at + 4..at + 8].try_into().unwrap()) as usize;
        list.push((String::from_utf8(blob[at..at + 4].to_vec()).unwrap(), at, len));
        at = (at + len).next_multiple_of(16);
    }
    list
}
