//! `-hda` to `-hdd`, `-cdrom`, `-drive`.

use super::{Drive, DriveInterface, Media};
use crate::UsageError;
use crate::keyval::KeyVal;

/// Drives collected in order.
#[derive(Default)]
pub(super) struct Drives {
    list: Vec<(Drive, Place)>,
}

/// What an option says of a drive's place.
#[derive(Clone, Copy)]
enum Place {
    Any,
    Index(u32),
    Unit { bus: u32, unit: u32 },
}

/// Buses that `if=ide` drives go to, and units a bus.
#[derive(Clone, Copy)]
pub(super) struct IdeShape {
    pub(super) buses: u32,
    pub(super) units: u32,
}

impl IdeShape {
    /// Two channels of two units; a SATA controller has six ports.
    pub(super) fn of_machine(machine: &str) -> Self {
        if machine.starts_with("q35") || machine.starts_with("pc-q35") {
            Self { buses: 6, units: 1 }
        } else {
            Self { buses: 2, units: 2 }
        }
    }

    fn index(self, place: Place) -> Result<Option<u32>, String> {
        let all = self.buses * self.units;
        let (buses, units) = (self.buses - 1, self.units - 1);
        match place {
            Place::Any => Ok(None),
            Place::Index(i) if i < all => Ok(Some(i)),
            Place::Unit { bus, unit } if bus < self.buses && unit < self.units => Ok(Some(bus * self.units + unit)),
            _ if units == 0 => {
                Err(format!("this machine's IDE has buses 0 to {buses} with unit 0 each, index 0 to {buses}"))
            }
            _ => Err("IDE has channels (bus) 0 and 1 with units 0 and 1, index 0 to 3".into()),
        }
    }

    /// QEMU puts the first free CD on unit 2, disks on the first free unit.
    fn free(self, taken: &[Option<String>], media: Media) -> Option<u32> {
        let all = self.buses * self.units;
        let order: Vec<u32> = match media {
            Media::Cdrom => [2, 3, 1, 0].into_iter().chain(4..all).collect(),
            Media::Disk => (0..all).collect(),
        };
        order.into_iter().find(|u| taken.get(*u as usize).is_some_and(Option::is_none))
    }
}

/// pflash has two places: the code, and the variables.
const PFLASH_UNITS: u32 = 2;

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
        self.list.push((drive(typed, index, media, Some(file)), Place::Index(index)));
        Ok(())
    }

    /// `-pflash FILE`.
    pub(super) fn flash(&mut self, file: &str) -> Result<(), UsageError> {
        if file.is_empty() {
            return Err(UsageError("-pflash: the file's name is empty".into()));
        }
        let mut d = drive(format!("-pflash {file}"), 0, Media::Disk, Some(file));
        d.interface = DriveInterface::Pflash;
        self.list.push((d, Place::Any));
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
            Some("pflash") => DriveInterface::Pflash,
            Some(other) => return Err(k.bad("if", other, "not supported yet; available: ide, pflash, none")),
        };
        let bus = k.take_number("bus")?;
        let unit = k.take_number("unit")?;
        let small = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        let place = match (k.take_number("index")?, bus, unit) {
            (Some(i), None, None) => Place::Index(small(i)),
            (None, None, None) => Place::Any,
            (None, b, u) => Place::Unit { bus: small(b.unwrap_or(0)), unit: small(u.unwrap_or(0)) },
            _ => return Err(k.error("index cannot be used with bus and unit")),
        };
        let mut d = drive(k.typed.clone(), 0, media, file.as_deref());
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
        if d.file.is_none() && d.media == Media::Disk && interface != DriveInterface::None {
            return Err(UsageError(format!("{}: a disk needs file=", d.typed)));
        }
        if interface == DriveInterface::Pflash && d.format.as_deref().is_some_and(|f| f != "raw") {
            return Err(UsageError(format!("{}: flash images are raw", d.typed)));
        }
        self.list.push((d, place));
        Ok(())
    }

    /// Gives free units to drives without an index, adds QEMU's default CD drive, and names everything.
    pub(super) fn finish(self, nodefaults: bool, ide: IdeShape, errors: &mut Vec<UsageError>) -> Vec<Drive> {
        let mut taken = vec![None; (ide.buses * ide.units) as usize];
        let mut flash = vec![None; PFLASH_UNITS as usize];
        let mut drives = Vec::new();
        let (free, given): (Vec<_>, Vec<_>) = self.list.into_iter().partition(|d| matches!(d.1, Place::Any));
        for (mut d, place) in given.into_iter().chain(free) {
            let placed = match d.interface {
                DriveInterface::None => Ok(()),
                DriveInterface::Ide => {
                    let media = d.media;
                    settle(&mut d, ide.index(place), || ide.free(&taken, media), &taken, "IDE")
                }
                DriveInterface::Pflash => {
                    let index = match place {
                        Place::Any => Ok(None),
                        Place::Index(i) | Place::Unit { bus: 0, unit: i } if i < PFLASH_UNITS => Ok(Some(i)),
                        _ => Err("pflash has units 0 and 1".into()),
                    };
                    let next = || (0..PFLASH_UNITS).find(|u| flash[*u as usize].is_none());
                    settle(&mut d, index, next, &flash, "pflash")
                }
            };
            if let Err(e) = placed {
                errors.push(e);
                continue;
            }
            let slots = if d.interface == DriveInterface::Pflash { &mut flash } else { &mut taken };
            if let Some(slot) = slots.get_mut(d.index as usize).filter(|_| d.interface != DriveInterface::None) {
                *slot = Some(d.typed.clone());
            }
            drives.push(d);
        }
        if !nodefaults && taken[2].is_none() && !drives.iter().any(|d| d.media == Media::Cdrom) {
            drives.push(drive("(default CD drive)".into(), 2, Media::Cdrom, None));
        }
        for d in drives.iter_mut().filter(|d| d.id.is_empty()) {
            let kind = if d.media == Media::Cdrom { "cd" } else { "hd" };
            d.id = match d.interface {
                DriveInterface::Pflash => format!("pflash{}", d.index),
                _ => format!("ide{}-{kind}{}", d.index / ide.units, d.index % ide.units),
            };
        }
        drives
    }
}

/// Gives `d` the index it asks for, or the one that `free` finds.
fn settle(
    d: &mut Drive,
    index: Result<Option<u32>, String>,
    free: impl Fn() -> Option<u32>,
    taken: &[Option<String>],
    what: &str,
) -> Result<(), UsageError> {
    let error = |why: String| UsageError(format!("{}: {why}", d.typed));
    let unit = index.map_err(error)?.or_else(free).ok_or_else(|| error(format!("all {what} units are in use")))?;
    if let Some(Some(other)) = taken.get(unit as usize) {
        return Err(error(format!("{what} unit {unit} is in use by {other}")));
    }
    d.index = unit;
    Ok(())
}

pub(super) fn drive(typed: String, index: u32, media: Media, file: Option<&str>) -> Drive {
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
        node: None,
        device: None,
    }
}
