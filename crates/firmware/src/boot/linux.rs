//! Linux bzImage (Documentation/arch/x86/boot.rst of the kernel): the real-mode entry.

use super::{Entry, KernelBoot, KernelError, KernelFiles, Piece, read};

/// Where the real-mode part goes.
const SETUP: u64 = 0x1_0000;
/// Where the command line goes.
const COMMAND_LINE: u64 = 0x2_0000;
/// Where the protected-mode part goes.
const KERNEL: u64 = 0x10_0000;
/// Boot protocol 2.02: the first with a 32-bit command-line pointer.
const OLDEST: u16 = 0x202;

fn u16_at(b: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(b.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(b: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(b.get(at..at + 4)?.try_into().ok()?))
}

pub(super) fn is_bzimage(image: &[u8]) -> bool {
    u16_at(image, 0x1FE) == Some(0xAA55) && image.get(0x202..0x206) == Some(b"HdrS")
}

pub(super) fn load(files: &KernelFiles, mut image: Vec<u8>) -> Result<KernelBoot, KernelError> {
    let version = u16_at(&image, 0x206).unwrap_or(0);
    let load_flags = image.get(0x211).copied().unwrap_or(0);
    if version < OLDEST || load_flags & 1 == 0 {
        return Err(files
            .bad(format!("boot protocol {version:#06x} is too old (a bzImage of protocol 2.02 or later is needed)")));
    }
    let sectors = match image[0x1F1] {
        0 => 4,
        n => usize::from(n),
    };
    let setup_size = (sectors + 1) * 512;
    if image.len() <= setup_size || setup_size > 0x8000 {
        return Err(files.bad("truncated: the protected-mode part is missing"));
    }
    let kernel = image.split_off(setup_size);
    let original = image;
    let mut setup = original.clone();
    let limit = if version >= 0x206 { u32_at(&setup, 0x238).unwrap_or(255).max(255) } else { 255 } as usize;
    let append = files.append.as_str();
    if append.len() > limit.min(0xFFF0) {
        return Err(KernelError::Fit {
            option: "append",
            reason: format!("{} bytes, this kernel takes at most {limit}", append.len()),
        });
    }
    let kernel_end = KERNEL + kernel.len() as u64;
    if kernel_end > files.ram_end() {
        return Err(KernelError::Fit {
            option: "kernel",
            reason: format!("needs RAM up to {kernel_end:#x}; give more with -m"),
        });
    }
    let mut pieces = vec![];
    let ramdisk = initrd(files, &setup, version, kernel_end, &mut pieces)?;
    patch(&mut setup, append, ramdisk);
    let mut line = append.as_bytes().to_vec();
    line.push(0);
    pieces.push(Piece { name: "kernel", address: KERNEL, data: kernel });
    pieces.push(Piece { name: "cmdline", address: COMMAND_LINE, data: line });
    pieces.push(Piece { name: "setup", address: SETUP, data: setup });
    let segment = (SETUP >> 4) as u16;
    let entry = Entry::Real { data_segment: segment, code_segment: segment + 0x20, stack: 0xFFF0 };
    Ok(KernelBoot { pieces, entry, setup: Some(original) })
}

/// Places the initrd as high as the kernel allows.
fn initrd(
    files: &KernelFiles,
    setup: &[u8],
    version: u16,
    kernel_end: u64,
    pieces: &mut Vec<Piece>,
) -> Result<(u32, u32), KernelError> {
    let Some(path) = &files.initrd else { return Ok((0, 0)) };
    let data = read("initrd", path.as_ref())?;
    let highest = if version >= 0x203 { u64::from(u32_at(setup, 0x22C).unwrap_or(0)) } else { 0x37FF_FFFF };
    let end = files.ram_end().min(highest.saturating_add(1));
    let len = data.len() as u64;
    // Room for the kernel to unpack itself (init_size, protocol 2.10), from where it likes to run.
    let unpacked = u64::from(u32_at(setup, 0x260).filter(|_| version >= 0x20A).unwrap_or(0));
    let preferred = if version >= 0x20A { u32_at(setup, 0x258).map_or(KERNEL, u64::from) } else { KERNEL };
    let low = kernel_end.max(preferred + unpacked);
    let address = end.checked_sub(len).map(|a| a & !0xFFF).filter(|a| *a >= low).ok_or_else(|| KernelError::Fit {
        option: "initrd",
        reason: format!("{len} bytes do not fit between the kernel ({low:#x}) and {end:#x}; give more RAM with -m"),
    })?;
    pieces.push(Piece { name: "initrd", address, data });
    Ok((address as u32, len as u32))
}

/// Fills in what a boot loader fills in.
fn patch(setup: &mut [u8], append: &str, (ramdisk, ramdisk_size): (u32, u32)) {
    let mut put = |at: usize, bytes: &[u8]| setup[at..at + bytes.len()].copy_from_slice(bytes);
    if let Some(mode) = video_mode(append) {
        put(0x1FA, &mode.to_le_bytes());
    }
    put(0x210, &[0xFF]); // type_of_loader: undefined
    put(0x218, &ramdisk.to_le_bytes());
    put(0x21C, &ramdisk_size.to_le_bytes());
    put(0x224, &0xFE00u16.to_le_bytes()); // heap_end_ptr: the segment's end less the stack, less 0x200
    put(0x228, &(COMMAND_LINE as u32).to_le_bytes());
    setup[0x211] |= 0x80; // CAN_USE_HEAP
}

/// `vga=` on the command line is the boot loader's to handle.
fn video_mode(append: &str) -> Option<u16> {
    let word = append.split_ascii_whitespace().rev().find_map(|w| w.strip_prefix("vga="))?;
    match word {
        "normal" => Some(0xFFFF),
        "ext" => Some(0xFFFE),
        "ask" => Some(0xFFFD),
        n => match n.strip_prefix("0x") {
            Some(hex) => u16::from_str_radix(hex, 16).ok(),
            None => n.parse().ok(),
        },
    }
}
