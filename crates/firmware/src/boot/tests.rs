use super::*;

fn files(kernel: &[u8], append: &str) -> (tempfile::TempDir, KernelFiles) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("kernel");
    std::fs::write(&path, kernel).unwrap();
    (dir, KernelFiles { kernel: path, initrd: None, append: append.into(), low_ram: 64 << 20 })
}

fn bzimage() -> Vec<u8> {
    let mut b = vec![0; 5 * 512 + 100];
    b[0x1F1] = 4;
    b[0x1FE..0x200].copy_from_slice(&[0x55, 0xAA]);
    b[0x202..0x206].copy_from_slice(b"HdrS");
    b[0x206..0x208].copy_from_slice(&0x20Fu16.to_le_bytes());
    b[0x211] = 1;
    b[0x22C..0x230].copy_from_slice(&0x7FFF_FFFFu32.to_le_bytes());
    b[0x238..0x23C].copy_from_slice(&2047u32.to_le_bytes());
    b
}

#[test]
fn a_bzimage_is_split_and_patched() {
    let (dir, mut f) = files(&bzimage(), "console=ttyS0 vga=0x317");
    let initrd = dir.path().join("initrd");
    std::fs::write(&initrd, vec![7; 5000]).unwrap();
    f.initrd = Some(initrd.display().to_string());
    let b = KernelBoot::load(&f).unwrap();
    let piece = |n| b.pieces.iter().find(|p| p.name == n).unwrap();
    assert_eq!((piece("kernel").address, piece("kernel").data.len()), (0x10_0000, 100));
    let setup = &piece("setup").data;
    assert_eq!(setup[0x1FA..0x1FC], [0x17, 0x03]);
    assert_eq!(setup[0x218..0x21C], (piece("initrd").address as u32).to_le_bytes());
    assert!(piece("initrd").address + 5000 <= 63 << 20);
    assert_eq!(piece("cmdline").data, b"console=ttyS0 vga=0x317\0");
    let mut items = FwCfgItems::new();
    b.install(&mut items);
    let rom = items.get(items.file_key(ROM_FILE).unwrap()).unwrap();
    assert_eq!(rom.iter().fold(0u8, |s, x| s.wrapping_add(*x)), 0);
    let item = |key: u16| items.get(key).unwrap().to_vec();
    use crate::fw_cfg::key;
    let image = [item(key::SETUP_DATA), item(key::KERNEL_DATA)].concat();
    assert_eq!(image, bzimage(), "UEFI firmware gets the file as it is");
    assert_eq!(
        (item(key::SETUP_SIZE), item(key::INITRD_SIZE)),
        (2560u32.to_le_bytes().into(), 5000u32.to_le_bytes().into())
    );
    assert_eq!(item(key::CMDLINE_SIZE), (item(key::CMDLINE_DATA).len() as u32).to_le_bytes());
}

#[test]
fn damaged_kernels_are_named() {
    let mut old = bzimage();
    old[0x206] = 0;
    old[0x207] = 2;
    let mut short = bzimage();
    short.truncate(1000);
    for (bytes, words) in [(old, "too old"), (short, "truncated"), (vec![0; 10], "neither")] {
        let (_dir, f) = files(&bytes, "");
        let e = KernelBoot::load(&f).unwrap_err().to_string();
        assert!(e.starts_with("-kernel ") && e.contains(words), "{e}");
    }
    let (_dir, mut f) = files(&bzimage(), &"x".repeat(3000));
    assert!(KernelBoot::load(&f).unwrap_err().to_string().contains("at most 2047"));
    f.append.clear();
    f.initrd = Some("/nowhere".into());
    assert!(KernelBoot::load(&f).unwrap_err().to_string().starts_with("-initrd /nowhere"));
}

fn elf32(extra: &[u8], note: bool) -> Vec<u8> {
    let mut e = vec![0; 52];
    e[..7].copy_from_slice(b"\x7FELF\x01\x01\x01");
    e[16] = 2;
    e[18] = 3;
    e[24..28].copy_from_slice(&0x10_0020u32.to_le_bytes());
    e[28] = 52;
    e[42] = 32;
    e[44] = 1 + u8::from(note);
    let mut ph = |kind: u32, offset: u32, addr: u32, filesz: u32, memsz: u32| {
        for v in [kind, offset, addr, addr, filesz, memsz, 7, 4] {
            e.extend(v.to_le_bytes());
        }
    };
    ph(1, 0x100, 0x10_0000, extra.len() as u32, 0x1000);
    if note {
        ph(4, 0xC0, 0, 20, 0);
    }
    e.resize(0xC0, 0);
    for v in [4u32, 4, 18, u32::from_le_bytes(*b"Xen\0"), 0x10_0040] {
        e.extend(v.to_le_bytes());
    }
    e.resize(0x100, 0);
    e.extend(extra);
    e
}

#[test]
fn multiboot_and_pvh_enter_protected_mode() {
    let mut mb = vec![];
    for v in [0x1BAD_B002u32, 3, 0u32.wrapping_sub(0x1BAD_B002 + 3)] {
        mb.extend(v.to_le_bytes());
    }
    let (_dir, f) = files(&elf32(&mb, false), "x y");
    let b = KernelBoot::load(&f).unwrap();
    assert!(matches!(b.entry, Entry::Protected { address: 0x10_0020, eax: 0x2BAD_B002, ebx: 0x2_0100, .. }));
    assert_eq!(b.pieces[0].data.len(), 0x1000);
    let (_dir, f) = files(&elf32(&[0x90], true), "x y");
    let b = KernelBoot::load(&f).unwrap();
    assert!(matches!(b.entry, Entry::Protected { address: 0x10_0040, eax: 0, .. }));
    let (_dir, f) = files(&elf32(&[0x90], false), "");
    assert!(KernelBoot::load(&f).unwrap_err().to_string().contains("without a PVH note"));
}

/// Any cut of a good image is an error or a smaller image, never a panic.
#[test]
fn truncation_never_panics() {
    for image in [elf32(&[0x90; 64], true), bzimage()] {
        for len in 0..image.len() {
            let (_dir, f) = files(&image[..len], "");
            let _ = KernelBoot::load(&f);
        }
    }
}

#[test]
fn the_rom_is_what_its_source_says() {
    let dir = tempfile::tempdir().unwrap();
    let (source, object, binary) =
        (concat!(env!("CARGO_MANIFEST_DIR"), "/src/boot/rom.S"), dir.path().join("rom.o"), dir.path().join("rom.bin"));
    let run = |program: &str, args: &[&std::ffi::OsStr]| std::process::Command::new(program).args(args).status();
    match run("as", &["--32".as_ref(), "-o".as_ref(), object.as_ref(), source.as_ref()]) {
        Ok(status) if cfg!(target_arch = "x86_64") => assert!(status.success()),
        _ => return println!("SKIPPED the_rom_is_what_its_source_says: no x86 assembler (package binutils)"),
    }
    let link = ["-m", "elf_i386", "-Ttext", "0", "--oformat", "binary", "-o"].map(std::ffi::OsStr::new);
    let args: Vec<_> = link.into_iter().chain([binary.as_ref(), object.as_ref()]).collect();
    assert!(run("ld", &args).unwrap().success());
    assert_eq!(std::fs::read(&binary).unwrap(), include_bytes!("rom.bin"));
}
