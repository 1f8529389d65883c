//! Kernels given with `-kernel`: Linux bzImage, multiboot 0.6.96, PVH ELF.
//!
//! A loader turns files into pieces of guest memory; [`KernelBoot::install`] hands them to the firmware as fw_cfg
//! items, together with the option ROM (`rom.S`) that copies them into place and jumps. So the firmware has done its
//! work (memory map, ACPI, PCI) before the kernel starts, as on a real machine.

mod elf;
mod linux;
mod multiboot;
mod pvh;
mod rom;

use std::path::{Path, PathBuf};

use crate::FwCfgItems;

/// A kernel, initrd or module cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// A file cannot be read.
    #[error("-{option} {path}: {source}", path = path.display())]
    Read {
        /// kernel or initrd.
        option: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
    /// The kernel is of no known kind or damaged.
    #[error("-kernel {path}: {reason}", path = path.display())]
    Kernel {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Kernel and initrd do not fit.
    #[error("-{option}: does not fit: {reason}")]
    Fit {
        /// The option to blame.
        option: &'static str,
        /// Why.
        reason: String,
    },
}

/// What is to be booted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelFiles {
    /// `-kernel`.
    pub kernel: PathBuf,
    /// `-initrd` as typed.
    pub initrd: Option<String>,
    /// `-append`.
    pub append: String,
    /// End of RAM below 4 GiB.
    pub low_ram: u64,
}

/// Bytes for a place in guest memory.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Piece {
    name: &'static str,
    address: u64,
    data: Vec<u8>,
}

/// How the ROM starts the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Entry {
    /// Real mode: data segments, CS, stack pointer.
    Real { data_segment: u16, code_segment: u16, stack: u32 },
    /// 32-bit protected mode, paging off.
    Protected {
        address: u32,
        eax: u32,
        ebx: u32,
        /// Memory map entries carry their size in front (multiboot) instead of a reserved field behind.
        sized_map: bool,
        /// Offset in the hand-off page of the field that gets the map's length.
        map_length_at: u16,
        /// The hand-off page after its fixed part (GDT and code).
        info: Vec<u8>,
    },
}

/// A kernel ready to be handed to the firmware.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelBoot {
    pieces: Vec<Piece>,
    entry: Entry,
    /// A bzImage's real-mode part as it is in the file, for UEFI firmware: with the rest it is an EFI program.
    setup: Option<Vec<u8>>,
}

/// The file name of the ROM; SeaBIOS boots from it when `bootorder` names it.
pub const ROM_FILE: &str = "genroms/whpx-kernel.bin";

/// Linear address of the hand-off page (64 KiB): GDT, code, boot information, memory map.
const HANDOFF: u64 = 0x2_0000;
/// Where in the page the loader's own information starts.
const HANDOFF_INFO: usize = 0x100;
/// Where in the page the firmware's memory map goes.
const HANDOFF_MAP: u16 = 0x8000;
/// What is left free below the end of low RAM for the firmware's tables.
const FIRMWARE_RESERVE: u64 = 1 << 20;

impl KernelBoot {
    /// Loads a kernel of any kind.
    ///
    /// # Errors
    /// [`KernelError`], naming the option and what is wrong.
    pub fn load(files: &KernelFiles) -> Result<Self, KernelError> {
        let image = read("kernel", &files.kernel)?;
        if linux::is_bzimage(&image) {
            return linux::load(files, image);
        }
        if let Some(header) = multiboot::find_header(&image) {
            return multiboot::load(files, &image, &header);
        }
        if elf::is_elf(&image) {
            return pvh::load(files, &image);
        }
        Err(files.bad("neither a Linux bzImage nor a multiboot or PVH ELF image"))
    }

    /// Adds the pieces and the ROM to fw_cfg.
    pub fn install(&self, items: &mut FwCfgItems) {
        let mut transfers = Vec::new();
        for p in &self.pieces {
            let key = items.add_file(&format!("opt/whpx/{}", p.name), p.data.clone());
            transfers.push((key, p.data.len(), p.address));
        }
        if let Some(setup) = &self.setup {
            efi_items(setup, items);
        }
        if let Entry::Protected { .. } = &self.entry {
            let page = rom::handoff(&self.entry);
            let len = page.len();
            transfers.push((items.add_file("opt/whpx/handoff", page), len, HANDOFF));
        }
        items.add_file(ROM_FILE, rom::build(&self.entry, &transfers));
    }
}

/// The items by which UEFI firmware finds a Linux kernel (QEMU's docs/specs/fw_cfg).
fn efi_items(setup: &[u8], items: &mut FwCfgItems) {
    use crate::fw_cfg::key;
    let of = |items: &FwCfgItems, name: &str| items.file_key(&format!("opt/whpx/{name}"));
    if let (Some(kernel), Some(line)) = (of(items, "kernel"), of(items, "cmdline")) {
        items.add_sized(key::KERNEL_SIZE, key::KERNEL_DATA, kernel);
        items.add_sized(key::CMDLINE_SIZE, key::CMDLINE_DATA, line);
        items.add(key::SETUP_DATA, setup.to_vec());
        items.add_sized(key::SETUP_SIZE, key::SETUP_DATA, key::SETUP_DATA);
    }
    if let Some(initrd) = of(items, "initrd") {
        items.add_sized(key::INITRD_SIZE, key::INITRD_DATA, initrd);
    }
}

impl KernelFiles {
    fn bad(&self, reason: impl Into<String>) -> KernelError {
        KernelError::Kernel { path: self.kernel.clone(), reason: reason.into() }
    }

    /// Where RAM for kernel and modules ends.
    fn ram_end(&self) -> u64 {
        self.low_ram.saturating_sub(FIRMWARE_RESERVE)
    }
}

fn read(option: &'static str, path: &Path) -> Result<Vec<u8>, KernelError> {
    let error = |source| KernelError::Read { option, path: path.into(), source };
    let meta = std::fs::metadata(path).map_err(error)?;
    if meta.is_dir() {
        return Err(error(std::io::Error::new(std::io::ErrorKind::IsADirectory, "is a directory")));
    }
    std::fs::read(path).map_err(error)
}

/// Multiboot and PVH modules: `file args,file args` (`,,` is a comma), placed one after the other from `start`,
/// each on a page of its own. Returns (address, length, command line) and adds the pieces.
fn modules(files: &KernelFiles, start: u64, pieces: &mut Vec<Piece>) -> Result<Vec<(u64, u64, String)>, KernelError> {
    const NAMES: [&str; 8] = ["mod0", "mod1", "mod2", "mod3", "mod4", "mod5", "mod6", "mod7"];
    let Some(list) = &files.initrd else { return Ok(vec![]) };
    let mut placed = Vec::new();
    let mut at = start.next_multiple_of(4096);
    for item in list.replace(",,", "\u{0}").split(',') {
        let item = item.replace('\u{0}', ",");
        let path = item.split(' ').next().unwrap_or_default();
        let data = read("initrd", Path::new(path))?;
        let fit = |reason: String| KernelError::Fit { option: "initrd", reason };
        let name = NAMES.get(placed.len()).ok_or_else(|| fit("more than 8 modules".into()))?;
        let len = data.len() as u64;
        if at + len > files.ram_end() {
            return Err(fit(format!(
                "{path} would end at {:#x}, RAM for it ends at {:#x}; give more with -m",
                at + len,
                files.ram_end()
            )));
        }
        pieces.push(Piece { name, address: at, data });
        placed.push((at, len, item));
        at = (at + len).next_multiple_of(4096);
    }
    Ok(placed)
}

/// Boot information under construction: bytes whose guest address is known.
struct Info {
    bytes: Vec<u8>,
}

impl Info {
    fn new() -> Self {
        Self { bytes: Vec::new() }
    }

    /// Guest address of the next byte.
    fn here(&self) -> u64 {
        HANDOFF + (HANDOFF_INFO + self.bytes.len()) as u64
    }

    /// Appends a zero-terminated string; returns its address.
    fn string(&mut self, s: &str) -> u64 {
        let at = self.here();
        self.bytes.extend(s.bytes().filter(|b| *b != 0));
        self.bytes.push(0);
        at
    }

    fn align(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(8), 0);
    }

    fn finish(self, files: &KernelFiles) -> Result<Vec<u8>, KernelError> {
        if self.bytes.len() > HANDOFF_MAP as usize - HANDOFF_INFO {
            return Err(files.bad("command lines and module list are longer than 32 KiB"));
        }
        Ok(self.bytes)
    }
}

#[cfg(test)]
mod tests;
