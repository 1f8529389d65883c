//! The firmware at the end of the first 4 GiB: a ROM, or flash chips (`-drive if=pflash`).

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use devices::pflash::{self, Pflash, PflashConfig};
use firmware::search::FirmwareError;
use guest_memory::RamBlock;
use vm_core::{AddressSpace, Backing, Region, Shared};

use crate::MachineError;
use crate::layout::FOUR_GIB;
use crate::plan::Plan;

/// The largest firmware that fits below 4 GiB beside the board's devices.
const MOST: u64 = 8 << 20;

/// Puts the firmware in its place; returns its contents, which are also to be seen below 1 MiB, and the flash chips.
pub(crate) fn build(
    plan: &Plan,
    space: &Arc<AddressSpace>,
) -> Result<(Arc<RamBlock>, Vec<Shared<Pflash>>), MachineError> {
    if plan.pflash.is_empty() {
        return Ok((rom(plan, space)?, Vec::new()));
    }
    let (mut blocks, mut chips) = (Vec::new(), Vec::new());
    let mut end = FOUR_GIB;
    for drive in &plan.pflash {
        let (block, file) = contents(plan, drive)?;
        let len = block.len();
        if FOUR_GIB - end + len > MOST {
            return Err(MachineError::Config(format!("{}: the flash chips are larger than 8 MiB", drive.typed)));
        }
        end -= len;
        let name = format!("system.flash{}", drive.index);
        let config = PflashConfig { name, block: block.clone(), file, readonly: drive.readonly };
        chips.push(Pflash::new(config, space, end)?);
        blocks.push(block);
    }
    let first = blocks.into_iter().next().ok_or_else(|| MachineError::Config("no flash chip".into()))?;
    Ok((first, chips))
}

/// A flash chip's contents, and the file that its changes go to.
fn contents(plan: &Plan, drive: &cli::Drive) -> Result<(Arc<RamBlock>, Option<File>), MachineError> {
    let bad = |why: String| MachineError::Config(format!("{}: {why}", drive.typed));
    let path = drive.file.as_deref().unwrap_or(Path::new(""));
    let (path, image) = firmware::search::read(&drive.typed, path, &plan.firmware_dirs)?;
    let len = image.len() as u64;
    if len == 0 || !len.is_multiple_of(pflash::BLOCK) || len > MOST {
        return Err(bad("a flash image's size must be a multiple of 4 KiB, at most 8 MiB".into()));
    }
    let block = RamBlock::new("flash", len)?;
    block.write(0, &image);
    let kept = !drive.readonly && !drive.snapshot.unwrap_or(plan.snapshot);
    let open = |path: &Path| File::options().read(true).write(true).open(path);
    let file = kept.then(|| open(&path)).transpose();
    let hint = "make it writable, copy it, or add readonly=on";
    Ok((block, file.map_err(|e| bad(format!("cannot write '{}': {e}; {hint}", path.display())))?))
}

fn rom(plan: &Plan, space: &AddressSpace) -> Result<Arc<RamBlock>, MachineError> {
    let (path, image) = firmware::search::read(&plan.bios_option, &plan.bios, &plan.firmware_dirs)?;
    let size = image.len() as u64;
    if size == 0 || !size.is_multiple_of(64 << 10) || size > MOST {
        let reason = "its size must be a multiple of 64 KiB, at most 8 MiB".into();
        return Err(FirmwareError::Bad { option: plan.bios_option.clone(), path, reason }.into());
    }
    let block = RamBlock::new("pc.bios", size)?;
    block.write(0, &image);
    let backing = Backing::Ram { block: block.clone(), offset: 0, readonly: true };
    let (name, start) = ("bios".into(), FOUR_GIB - size);
    space.add(Region { name, start, len: size, priority: 0, enabled: true, backing })?;
    Ok(block)
}
