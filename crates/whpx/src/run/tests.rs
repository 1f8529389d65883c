//! Synthetic disks, and what is chosen for them.

use super::choose::{Choice, Request, Wish, choose};
use super::disk::{Cpu, Disk, Facts};
use super::host::Host;
use super::*;

fn put(b: &mut [u8], at: usize, bytes: &[u8]) {
    b[at..at + bytes.len()].copy_from_slice(bytes);
}

/// A program's first bytes.
fn pe(machine: u16) -> Vec<u8> {
    let mut b = vec![0; 512];
    put(&mut b, 0, b"MZ");
    put(&mut b, 0x3C, &0x80u32.to_le_bytes());
    put(&mut b, 0x80, b"PE\0\0");
    put(&mut b, 0x84, &machine.to_le_bytes());
    b
}

fn entry(name: &[u8; 11], attributes: u8, cluster: u32, size: u32) -> [u8; 32] {
    let mut e = [0; 32];
    e[..11].copy_from_slice(name);
    e[11] = attributes;
    e[20..22].copy_from_slice(&((cluster >> 16) as u16).to_le_bytes());
    e[26..28].copy_from_slice(&(cluster as u16).to_le_bytes());
    e[28..].copy_from_slice(&size.to_le_bytes());
    e
}

/// A FAT file system of `clusters` of one sector with \EFI\BOOT\NAME.
fn fat(clusters: u32, programs: &[(&[u8; 11], u16)]) -> Vec<u8> {
    let fat32 = clusters >= 65525;
    let fat_sectors = if fat32 { (clusters + 2).div_ceil(128) } else { (clusters + 2).div_ceil(256) };
    let root_entries: u16 = if fat32 { 0 } else { 16 };
    let data = 1 + fat_sectors + u32::from(root_entries) / 16;
    let total = data + clusters;
    let mut b = vec![0; (data as usize + 16) * 512];
    put(&mut b, 0, &[0xEB, 0x3C, 0x90]);
    put(&mut b, 11, &512u16.to_le_bytes());
    put(&mut b, 13, &[1, 1, 0, 1]); // sectors a cluster, reserved sectors, one FAT
    put(&mut b, 17, &root_entries.to_le_bytes());
    put(&mut b, 32, &total.to_le_bytes());
    if fat32 {
        put(&mut b, 36, &fat_sectors.to_le_bytes());
        put(&mut b, 44, &2u32.to_le_bytes());
    } else {
        put(&mut b, 22, &(fat_sectors as u16).to_le_bytes());
    }
    put(&mut b, 510, &[0x55, 0xAA]);
    // Clusters: 2 root (FAT32), 3 EFI, 4 and 9 BOOT, 5.. programs.
    let link = |b: &mut Vec<u8>, from: u32, to: u32| match clusters {
        0..4085 => {
            let at = 512 + (from + from / 2) as usize;
            let old = u16::from_le_bytes([b[at], b[at + 1]]);
            let new = if from % 2 == 1 { old & 0xF | (to as u16) << 4 } else { old & 0xF000 | to as u16 & 0xFFF };
            put(b, at, &new.to_le_bytes());
        }
        4085..65525 => put(b, 512 + 2 * from as usize, &(to as u16).to_le_bytes()),
        _ => put(b, 512 + 4 * from as usize, &to.to_le_bytes()),
    };
    for c in 2..9 {
        link(&mut b, c, 0x0FFF_FFFF);
    }
    link(&mut b, 4, 9);
    link(&mut b, 9, 0x0FFF_FFFF);
    let at = |cluster: u32| (data + cluster - 2) as usize * 512;
    let root = if fat32 { at(2) } else { (1 + fat_sectors) as usize * 512 };
    put(&mut b, root, &entry(b"A LABEL    ", 8, 0, 0));
    put(&mut b, root + 32, &entry(b"EFI        ", 0x10, 3, 0));
    put(&mut b, at(3), &entry(b"BOOT       ", 0x10, 4, 0));
    for i in 0..16 {
        put(&mut b, at(4) + i * 32, &entry(b"\xE5ELETED EFI", 0x20, 5, 512));
    }
    for (i, (name, machine)) in programs.iter().enumerate() {
        put(&mut b, at(9) + i * 32, &entry(name, 0x20, 5 + i as u32, 512));
        put(&mut b, at(5 + i as u32), &pe(*machine));
    }
    b
}

fn esp(machine: u16) -> Vec<u8> {
    let name = if machine == 0xAA64 { b"BOOTAA64EFI" } else { b"BOOTX64 EFI" };
    fat(5000, &[(name, machine)])
}

/// A disk with a master boot record: boot code, and (active, type, first sector) of its partitions.
fn mbr(code: &[u8], partitions: &[(u8, u8, u32)]) -> Vec<u8> {
    let mut b = vec![0; 1 << 20];
    put(&mut b, 0, code);
    for (i, (active, kind, first)) in partitions.iter().enumerate() {
        put(&mut b, 446 + i * 16, &[*active]);
        put(&mut b, 446 + i * 16 + 4, &[*kind]);
        put(&mut b, 446 + i * 16 + 8, &first.to_le_bytes());
    }
    put(&mut b, 510, &[0x55, 0xAA]);
    b
}

fn gpt(code: &[u8], partitions: &[([u8; 16], u64)], file_system: Option<&[u8]>) -> Vec<u8> {
    let mut b = mbr(code, &[(0, 0xEE, 1)]);
    put(&mut b, 512, b"EFI PART");
    put(&mut b, 512 + 72, &2u64.to_le_bytes());
    put(&mut b, 512 + 80, &128u32.to_le_bytes());
    put(&mut b, 512 + 84, &128u32.to_le_bytes());
    for (i, (kind, attributes)) in partitions.iter().enumerate() {
        put(&mut b, 1024 + i * 128, kind);
        put(&mut b, 1024 + i * 128 + 32, &200u64.to_le_bytes());
        put(&mut b, 1024 + i * 128 + 48, &attributes.to_le_bytes());
    }
    if let Some(f) = file_system {
        put(&mut b, 200 * 512, f);
    }
    b
}

/// A CD with boot images: (platform, contents).
fn cd(images: &[(u8, &[u8])]) -> Vec<u8> {
    let mut b = vec![0; 400 << 10];
    put(&mut b, 16 * 2048, b"\x01CD001\x01");
    put(&mut b, 17 * 2048, b"\x00CD001\x01EL TORITO SPECIFICATION");
    put(&mut b, 17 * 2048 + 0x47, &20u32.to_le_bytes());
    put(&mut b, 18 * 2048, b"\xFFCD001\x01");
    let catalog = 20 * 2048;
    put(&mut b, catalog, &[1, images.first().map_or(0, |i| i.0)]);
    put(&mut b, catalog + 30, &[0x55, 0xAA]);
    let mut at = catalog + 32;
    for (i, (platform, data)) in images.iter().enumerate() {
        if i > 0 {
            put(&mut b, at, &[0x91, *platform, 1]);
            at += 32;
        }
        let sector = 30 + 60 * i;
        put(&mut b, at, &[0x88]);
        put(&mut b, at + 8, &(sector as u32).to_le_bytes());
        put(&mut b, sector * 2048, data);
        at += 32;
    }
    b
}

const ESP: [u8; 16] = [0x28, 0x73, 0x2A, 0xC1, 0x1F, 0xF8, 0xD2, 0x11, 0xBA, 0x4B, 0x00, 0xA0, 0xC9, 0x3E, 0xC9, 0x3B];
const BIOS_BOOT: [u8; 16] = *b"Hah!IdontNeedEFI";
const DATA: [u8; 16] = [7; 16];
const CODE: &[u8] = &[0xEB, 0x63, 0x90];

fn facts(bytes: Vec<u8>) -> Facts {
    Disk::of(bytes).facts()
}

#[test]
fn programs_in_fat_of_every_width() {
    for clusters in [300, 4084, 4085, 65524, 65525, 70000] {
        let f = facts(fat(clusters, &[(b"BOOTX64 EFI", 0x8664), (b"BOOTAA64EFI", 0xAA64)]));
        assert_eq!((f.esp, f.efi, f.bios), (true, vec![Cpu::X64, Cpu::Arm64], None), "{clusters}");
    }
    let f = facts(fat(300, &[]));
    assert_eq!((f.esp, f.bios.is_some()), (false, true));
}

#[test]
fn what_disks_are() {
    let x64 = esp(0x8664);
    let arm = esp(0xAA64);
    // Name, disk, boots with BIOS, has an ESP, machines.
    type Row = (&'static str, Vec<u8>, bool, bool, Vec<Cpu>);
    let table: Vec<Row> = vec![
        ("empty", vec![0; 1 << 20], false, false, vec![]),
        ("tiny", vec![0; 512], false, false, vec![]),
        ("MBR, active", mbr(CODE, &[(0x80, 0x83, 64)]), true, false, vec![]),
        ("MBR, GRUB, none active", mbr(b"\xEB\x63\x90   GRUB ", &[(0, 0x83, 64)]), true, false, vec![]),
        ("MBR without code", mbr(&[], &[(0x80, 0x83, 64)]), false, false, vec![]),
        ("GPT, BIOS boot", gpt(CODE, &[(BIOS_BOOT, 0), (DATA, 0)], None), true, false, vec![]),
        ("GPT, both", gpt(CODE, &[(ESP, 0), (BIOS_BOOT, 0)], Some(&x64)), true, true, vec![Cpu::X64]),
        ("GPT, UEFI", gpt(&[], &[(ESP, 0), (DATA, 0)], Some(&x64)), false, true, vec![Cpu::X64]),
        ("GPT, UEFI, dead code", gpt(CODE, &[(ESP, 0)], Some(&x64)), false, true, vec![Cpu::X64]),
        ("GPT, UEFI and legacy", gpt(CODE, &[(ESP, 0), (DATA, 4)], Some(&x64)), true, true, vec![Cpu::X64]),
        ("GPT, arm64", gpt(&[], &[(ESP, 0)], Some(&arm)), false, true, vec![Cpu::Arm64]),
        ("GPT, ESP without files", gpt(&[], &[(ESP, 0)], None), false, true, vec![]),
        ("CD, BIOS", cd(&[(0, b"code")]), true, false, vec![]),
        ("CD, both", cd(&[(0, b"code"), (0xEF, &esp(0x8664)[..])]), true, true, vec![Cpu::X64]),
        ("CD, UEFI", cd(&[(0xEF, &esp(0xAA64)[..])]), false, true, vec![Cpu::Arm64]),
        (
            "CD, no boot",
            {
                let mut b = cd(&[]);
                b[17 * 2048] = 2;
                b
            },
            false,
            false,
            vec![],
        ),
    ];
    for (name, disk, bios, esp, efi) in table {
        let f = facts(disk);
        assert_eq!((f.bios.is_some(), f.esp, f.efi, f.cd), (bios, esp, efi, name.starts_with("CD")), "{name}");
    }
    let mut both = mbr(CODE, &[(0, 0xEF, 200)]);
    put(&mut both, 200 * 512, &x64);
    let f = facts(both);
    assert_eq!((f.bios, f.efi), (None, vec![Cpu::X64]), "code that needs an active partition, and an ESP");
}

#[test]
fn no_disk_panics() {
    let mut seed = 0x1234_5678_9ABC_DEF1u64;
    let mut random = |n: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed as usize % n
    };
    let disks = [
        gpt(CODE, &[(ESP, 0), (BIOS_BOOT, 0)], Some(&esp(0x8664))),
        cd(&[(0, b"code"), (0xEF, &esp(0x8664)[..])]),
        fat(70000, &[(b"BOOTX64 EFI", 0x8664)]),
        fat(300, &[(b"BOOTX64 EFI", 0x8664)]),
    ];
    // Where the structures are.
    let places = [0, 440, 512, 1024, 17 * 2048, 20 * 2048, 200 * 512, 200 * 512 + 512, 1536, 2048];
    for round in 0..4000 {
        let mut disk = disks[round % disks.len()].clone();
        for _ in 0..1 + random(4) {
            let at = (places[random(places.len())] + random(128)).min(disk.len() - 1);
            disk[at] = [0, 1, 0x7F, 0x80, 0xFF, random(256) as u8][random(6)];
        }
        if random(10) == 0 {
            disk.truncate(random(disk.len()));
        }
        let _ = facts(disk);
    }
}

fn chosen(facts: &Facts, cd: Option<&Facts>, host: &Host, wish: Wish, typed: &str) -> Result<Choice, String> {
    let typed: Vec<String> = typed.split_whitespace().map(String::from).collect();
    let user = Options::parse(typed.iter().cloned()).unwrap();
    let disk = Path::new("my,disk.qcow2");
    choose(host, &Request { disk, format: "qcow2", facts, cd, wish, user: &user, typed: &typed })
}

#[test]
fn what_is_chosen() {
    let host = |cpus, memory| Host {
        cpus,
        memory,
        q35: true,
        uefi: Some(("/fw/OVMF_CODE_4M.fd".into(), "/fw/OVMF_VARS_4M.fd".into())),
    };
    let bios = facts(mbr(CODE, &[(0x80, 7, 64)]));
    let uefi = facts(gpt(&[], &[(ESP, 0)], Some(&esp(0x8664))));
    let both = facts(gpt(CODE, &[(ESP, 0), (BIOS_BOOT, 0)], Some(&esp(0x8664))));
    let empty = facts(vec![0; 1 << 20]);
    let bios_cd = facts(cd(&[(0, b"code")]));
    let uefi_cd = facts(cd(&[(0xEF, &esp(0x8664)[..])]));
    let flash = "-drive if=pflash,format=raw,unit=0,readonly=on,file=/fw/OVMF_CODE_4M.fd \
                 -drive if=pflash,format=raw,unit=1,file=my,,disk.qcow2.efivars";
    let disk = "-drive file=my,,disk.qcow2,format=qcow2";
    let tablet = "-device ich9-usb-ehci1 -device usb-tablet";
    type Row<'a> = (&'a Facts, Option<&'a Facts>, Host, Wish, &'a str, String);
    let table: Vec<Row> = vec![
        (
            &bios,
            None,
            host(8, 32000),
            Wish::Disk,
            "",
            format!("-accel whpx -M pc -smp cores=4 -m 4G {disk} {tablet} -display web"),
        ),
        (
            &bios,
            None,
            host(1, 1500),
            Wish::Disk,
            "",
            format!("-accel whpx -M pc -smp cores=1 -m 1G {disk} {tablet} -display web"),
        ),
        (
            &both,
            None,
            host(2, 3300),
            Wish::Disk,
            "",
            format!("-accel whpx -M pc -smp cores=2 -m 1536M {disk} {tablet} -display web"),
        ),
        (
            &uefi,
            None,
            host(4, 8000),
            Wish::Disk,
            "",
            format!("-accel whpx -M q35 {flash} -smp cores=4 -m 3840M {disk} {tablet} -display web"),
        ),
        (
            &both,
            None,
            host(4, 8192),
            Wish::Uefi,
            "",
            format!("-accel whpx -M q35 {flash} -smp cores=4 -m 4G {disk} {tablet} -display web"),
        ),
        (
            &uefi,
            None,
            host(4, 8192),
            Wish::Bios,
            "-m 8G",
            format!("-accel whpx -M pc -smp cores=4 {disk} {tablet} -display web -m 8G"),
        ),
        (
            &bios,
            None,
            host(4, 8192),
            Wish::Disk,
            "-nographic -M pc -accel tcg -smp 1 -m 64",
            format!("{disk} {tablet} -nographic -M pc -accel tcg -smp 1 -m 64"),
        ),
        (
            &bios,
            None,
            host(4, 8192),
            Wish::Disk,
            "-vnc :0 -device usb-tablet,bus=x",
            format!("-accel whpx -M pc -smp cores=4 -m 4G {disk} -vnc :0 -device usb-tablet,bus=x"),
        ),
        (
            &empty,
            Some(&bios_cd),
            host(4, 8192),
            Wish::Disk,
            "-cdrom x.iso",
            format!("-accel whpx -M pc -smp cores=4 -m 4G {disk} {tablet} -display web -cdrom x.iso"),
        ),
        (
            &empty,
            Some(&uefi_cd),
            host(4, 8192),
            Wish::Disk,
            "-cdrom x.iso",
            format!("-accel whpx -M q35 {flash} -smp cores=4 -m 4G {disk} {tablet} -display web -cdrom x.iso"),
        ),
        (
            &bios_cd,
            None,
            host(4, 8192),
            Wish::Disk,
            "",
            format!("-accel whpx -M pc -smp cores=4 -m 4G -cdrom my,disk.qcow2 -boot d {tablet} -display web"),
        ),
    ];
    for (facts, cd, host, wish, typed, expected) in table {
        let choice = chosen(facts, cd, &host, wish, typed).unwrap();
        assert_eq!(choice.args.join(" "), expected, "{typed}");
        assert_eq!(choice.copy.is_some(), expected.contains("pflash"));
        Options::parse(choice.args.iter().cloned()).unwrap();
    }
}

#[test]
fn what_cannot_be_run_says_why() {
    let full = Host { cpus: 2, memory: 4096, q35: true, uefi: Some(("c".into(), "v".into())) };
    let uefi = facts(gpt(&[], &[(ESP, 0)], Some(&esp(0x8664))));
    let error = |facts: &Facts, host: &Host, typed: &str| chosen(facts, None, host, Wish::Disk, typed).unwrap_err();
    assert!(error(&uefi, &Host { q35: false, ..full.clone() }, "").contains("no machine with UEFI"));
    let none = error(&uefi, &Host { uefi: None, ..full.clone() }, "");
    assert!(none.contains("ovmf") && none.contains("-L"), "{none}");
    assert!(error(&facts(gpt(&[], &[(ESP, 0)], Some(&esp(0xAA64)))), &full, "").contains("arm64"));
    assert!(error(&facts(gpt(&[], &[(ESP, 0)], Some(&esp(0x5064)))), &full, "").contains("0x5064"));
    assert!(error(&facts(vec![0; 4096]), &full, "").contains("empty"));
    assert!(error(&facts(vec![1; 4096]), &full, "").contains("neither"));
    assert!(chosen(&facts(vec![1; 4096]), None, &full, Wish::Disk, "-kernel x").is_ok());
    let vague = chosen(&facts(gpt(&[], &[(ESP, 0)], None)), None, &full, Wish::Disk, "").unwrap();
    assert!(vague.notes.iter().any(|n| n.contains("may not start")), "{:?}", vague.notes);
}

#[test]
fn command_lines() {
    let args = |line: &str| line.split_whitespace().map(String::from).collect::<Vec<_>>();
    let c = parse(&args("--dry-run --uefi --format raw d.img -m 1G")).unwrap();
    assert_eq!((c.dry_run, c.wish, c.format), (true, Wish::Uefi, Some(Format::Raw)));
    assert_eq!((c.disk, c.typed), ("d.img".into(), args("-m 1G")));
    assert!(parse(&args("d.img -m 1G --dry-run")).unwrap().dry_run);
    assert!(parse(&args("-m 1G d.img")).unwrap_err().contains("after DISK"));
    assert!(parse(&[]).unwrap_err().contains("name a disk"));
    #[cfg(unix)]
    assert_eq!(shell_line(&args("-a b=c,d it's")), "whpx-system-x86_64 -a b=c,d 'it'\\''s'");
}
