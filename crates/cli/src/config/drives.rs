//! `-hda` to `-hdd`, `-cdrom`, `-drive`.

use super::{Drive, DriveInterface, Media};
use crate::UsageError;
use crate::keyval::KeyVal;

/// Drives collected in order.
#[derive(Default)]
pub(super) struct Drives {
    list: Vec<(Drive, bool)>, // with: the index was given
}

/// IDE has two channels of two units.
const IDE_UNITS: u32 = 4;

const FORMATS: &[&str] = &["raw", "qcow2"];
const CACHES: &[&str] = &["none", "writeback", "writethrough", "directsync", "unsafe"];

impl Drives {
    /// `-hdX FILE`, `-cdrom FILE`.
    pub(super) fn short(&mut self, option: &str, file: &str) -> Result<(), UsageError> {
        let typed = format!("-{option} {file}");
        if file.is_empty() {
            return Err(UsageError(format!("-{option}: the file's name is empty")));
        }
        let (index, media) = match option {
            "hda" => (0, Media::Disk),
            "hdb" => (1, Media::Disk),
            "hdc" => (2, Media::Disk),
            "hdd" => (3, Media::Disk),
            _ => (2, Media::Cdrom),
        };
        self.list.push((drive(typed, index, media, Some(file)), true));
        Ok(())
    }

    /// `-drive ...`.
    pub(super) fn drive(&mut self, text: &str) -> Result<(), UsageError> {
        let mut k = KeyVal::parse("drive", text, None)?;
        let file = k.take("file").filter(|f| !f.is_empty());
        let media = match k.take_word("media", &["disk", "cdrom"])? {
            Some("cdrom") => Media::Cdrom,
            _ => Media::Disk,
        };
        let interface = match k.take("if").as_deref() {
            None | Some("ide") => DriveInterface::Ide,
            Some("none") => DriveInterface::None,
            Some(other) => return Err(k.bad("if", other, "not supported yet; available: ide, none")),
        };
        let bus = k.take_number("bus")?;
        let unit = k.take_number("unit")?;
        let index = match (k.take_number("index")?, bus, unit) {
            (Some(i), None, None) => Some(i),
            (None, None, None) => None,
            (None, b, u) => b.unwrap_or(0).checked_mul(2).and_then(|n| n.checked_add(u.unwrap_or(0))),
            _ => return Err(k.error("index cannot be used with bus and unit")),
        };
        if interface == DriveInterface::Ide && index.is_some_and(|i| i >= u64::from(IDE_UNITS)) {
            return Err(k.error("IDE has channels (bus) 0 and 1 with units 0 and 1, index 0 to 3"));
        }
        let mut d = drive(k.typed.clone(), index.unwrap_or(0) as u32, media, file.as_deref());
        d.interface = interface;
        d.format = k.take("format");
        if let Some(f) = d.format.as_deref().filter(|f| !FORMATS.contains(f)) {
            return Err(k.bad("format", f, "available: raw, qcow2"));
        }
        d.readonly = k.take_bool("readonly")?.or(k.take_bool("read-only")?).unwrap_or(media == Media::Cdrom);
        d.snapshot = k.take_bool("snapshot")?;
        d.cache = k.take_word("cache", CACHES)?;
        d.discard = matches!(k.take_word("discard", &["ignore", "off", "unmap", "on"])?, Some("unmap" | "on"));
        d.serial = k.take("serial");
        if let Some(id) = k.take("id") {
            d.id = id;
        }
        k.take_word("aio", &["threads", "native", "io_uring"])?;
        k.take_word("werror", &["report", "enospc"])?;
        k.take_word("rerror", &["report"])?;
        k.finish()?;
        if d.file.is_none() && d.media == Media::Disk && interface == DriveInterface::Ide {
            return Err(UsageError(format!("{}: a disk needs file=", d.typed)));
        }
        self.list.push((d, index.is_some()));
        Ok(())
    }

    /// Gives free units to drives without an index, adds QEMU's default CD drive, and names everything.
    pub(super) fn finish(self, nodefaults: bool, errors: &mut Vec<UsageError>) -> Vec<Drive> {
        let mut taken: [Option<String>; IDE_UNITS as usize] = Default::default();
        let mut drives = Vec::new();
        let (given, free): (Vec<_>, Vec<_>) = self.list.into_iter().partition(|d| d.1);
        for (mut d, fixed) in given.into_iter().chain(free) {
            if d.interface == DriveInterface::Ide {
                let unit = if fixed { Some(d.index) } else { free_unit(&taken, d.media) };
                let Some(unit) = unit else {
                    errors.push(UsageError(format!("{}: all four IDE units are in use", d.typed)));
                    continue;
                };
                d.index = unit;
                if let Some(other) = &taken[unit as usize % 4] {
                    errors.push(UsageError(format!("{}: IDE unit {unit} is in use by {other}", d.typed)));
                    continue;
                }
                taken[unit as usize % 4] = Some(d.typed.clone());
            }
            drives.push(d);
        }
        if !nodefaults && taken[2].is_none() && !drives.iter().any(|d| d.media == Media::Cdrom) {
            drives.push(drive("(default CD drive)".into(), 2, Media::Cdrom, None));
        }
        for d in drives.iter_mut().filter(|d| d.id.is_empty()) {
            let kind = if d.media == Media::Cdrom { "cd" } else { "hd" };
            d.id = format!("ide{}-{kind}{}", d.index / 2, d.index % 2);
        }
        drives
    }
}

/// QEMU puts the first free CD on unit 2, disks on the first free unit.
fn free_unit(taken: &[Option<String>; 4], media: Media) -> Option<u32> {
    let order = if media == Media::Cdrom { [2, 3, 1, 0] } else { [0, 1, 2, 3] };
    order.into_iter().find(|u| taken[*u].is_none()).map(|u| u as u32)
}

fn drive(typed: String, index: u32, media: Media, file: Option<&str>) -> Drive {
    Drive {
        typed,
        id: String::new(),
        interface: DriveInterface::Ide,
        index,
        media,
        file: file.map(Into::into),
        format: None,
        readonly: media == Media::Cdrom,
        snapshot: None,
        cache: None,
        discard: false,
        serial: None,
    }
}
