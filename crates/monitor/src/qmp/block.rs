//! Drives and images: `query-block` and relatives, `blockdev-...`, `eject`.
//!
//! The image of a `-drive` is two nodes as in QEMU, the format and the file below it; backing files are not shown as nodes of their own.

use std::path::Path;

use ::block::{BlockQueue, CacheMode, Format, img};
use machine::{DriveInfo, Medium};
use serde_json::{Value, json};

use super::args::Args;
use super::error::{Outcome, QmpError, failed};
use crate::context::Context;

fn done() -> Outcome {
    Ok(json!({}))
}

/// The drive that `id` or, as it was called before, `device` names.
fn drive_name(args: &Args) -> Result<&str, QmpError> {
    match (args.str("device"), args.str("id")) {
        (Some(name), None) | (None, Some(name)) => Ok(name),
        _ => Err(QmpError::new("Need exactly one of 'device' and 'id'")),
    }
}

fn cache_json(mode: CacheMode) -> Value {
    let no_flush = mode == CacheMode::Unsafe;
    json!({"writeback": mode.write_cache(), "direct": mode.direct(), "no-flush": no_flush})
}

/// What a node shows of the image in `file`.
fn image_json(file: &Path, driver: &str, size: u64) -> Value {
    let format = driver.parse::<Format>().ok();
    let look = |f| img::info(file, Some(f), true).map(|i| img::info_json(&i)).ok();
    // An image in the host's files; the size is that of the node. Else what is known by itself.
    let mut v = match (format, driver) {
        (Some(format), _) => look(format),
        (None, "file") => look(Format::Raw),
        _ => None,
    };
    let mut v = v.take().unwrap_or_else(|| json!({"filename": file.display().to_string(), "actual-size": 0}));
    v["virtual-size"] = size.into();
    v["format"] = driver.into();
    v
}

/// QEMU's `BlockDeviceInfo`.
fn node_json(name: &str, file: &Path, cache: CacheMode, driver: &str, size: u64, readonly: bool) -> Value {
    let text = file.display().to_string();
    let mut v = json!({
        "node-name": name, "file": text, "drv": driver, "ro": readonly, "encrypted": false,
        "backing_file_depth": 0, "cache": cache_json(cache), "image": image_json(file, driver, size),
        "detect_zeroes": "off", "write_threshold": 0, "active": true,
    });
    for limit in ["bps", "bps_rd", "bps_wr", "iops", "iops_rd", "iops_wr"] {
        v[limit] = 0.into();
    }
    v
}

fn drive_node(d: &DriveInfo, medium: &Medium) -> Option<Value> {
    let backend = medium.queue.as_ref()?.backend();
    let file = medium.file.as_deref().unwrap_or(Path::new(""));
    Some(node_json(&d.node_name(), file, d.cache, backend.format(), backend.size(), backend.readonly()))
}

/// The node below [`drive_node`].
fn file_node(d: &DriveInfo, medium: &Medium) -> Option<Value> {
    let (name, backend) = (d.file_node_name()?, medium.queue.as_ref()?.backend());
    let file = medium.file.as_deref()?;
    let size = std::fs::metadata(file).map_or(0, |m| m.len());
    Some(node_json(&name, file, d.cache, "file", size, backend.readonly()))
}

/// The device that has the drive, by its id: a `-device` with one, or the drive's own for a node that a device was given.
fn qdev(d: &DriveInfo) -> Option<&str> {
    d.device.as_deref().or(d.node.as_ref().map(|_| d.id.as_str()))
}

pub(super) fn query(c: &mut Context, _: &Args) -> Outcome {
    let one = |d: &DriveInfo| {
        let tray = c.machine.tray(d);
        // A drive that is made of a node has no name of its own, only its device's.
        let name = if d.node.is_some() { "" } else { d.id.as_str() };
        let mut v = json!({
            "device": name, "type": "unknown", "removable": d.removable, "locked": tray.is_some_and(|t| t.0),
            "io-status": "ok",
        });
        if let Some(device) = qdev(d) {
            v["qdev"] = device.into();
        }
        if let Some((_, open)) = tray {
            v["tray_open"] = open.into();
        }
        if let Some(node) = d.node.as_deref().map_or_else(|| drive_node(d, &d.medium()), |n| added_node(c, n)) {
            v["inserted"] = node;
        }
        v
    };
    Ok(c.machine.drives().iter().map(one).collect())
}

fn added_json(n: &machine::BlockNode) -> Value {
    node_json(&n.name, &n.file, n.cache, n.driver, n.size, n.readonly)
}

fn added_node(c: &Context, name: &str) -> Option<Value> {
    c.machine.node(name).ok().map(|n| added_json(&n))
}

pub(super) fn nodes(c: &mut Context, _: &Args) -> Outcome {
    let drives = c.machine.drives().iter().filter(|d| d.node.is_none());
    let drives = drives.flat_map(|d| {
        let medium = d.medium();
        [drive_node(d, &medium), file_node(d, &medium)]
    });
    let added = c.machine.added_nodes();
    Ok(drives.flatten().chain(added.iter().map(added_json)).collect())
}

/// QEMU's `BlockDeviceStats`. Requests are neither merged nor timed by intervals here.
fn stats_json(queue: Option<&BlockQueue>) -> Value {
    let s = queue.map(BlockQueue::stats).unwrap_or_default();
    let mut v = json!({
        "rd_bytes": s.read.bytes, "wr_bytes": s.write.bytes, "unmap_bytes": s.unmap.bytes,
        "wr_highest_offset": s.highest_write, "rd_merged": 0, "wr_merged": 0, "unmap_merged": 0,
        "account_failed": true, "account_invalid": true, "timed_stats": [],
    });
    for (name, one) in [("rd", s.read), ("wr", s.write), ("flush", s.flush), ("unmap", s.unmap)] {
        v[format!("{name}_operations")] = one.operations.into();
        v[format!("{name}_total_time_ns")] = one.time_ns.into();
        v[format!("failed_{name}_operations")] = one.failed.into();
        v[format!("invalid_{name}_operations")] = one.invalid.into();
    }
    v
}

pub(super) fn stats(c: &mut Context, args: &Args) -> Outcome {
    if args.flag("query-nodes") {
        let drives = c.machine.drives().iter().filter(|d| d.node.is_none()).filter_map(|d| {
            let queue = d.medium().queue?;
            Some(json!({"node-name": d.node_name(), "stats": stats_json(Some(&queue))}))
        });
        let added = c.machine.added_nodes();
        let one = |n: &machine::BlockNode| json!({"node-name": n.name, "stats": stats_json(n.queue.as_deref())});
        return Ok(drives.chain(added.iter().map(one)).collect());
    }
    let one = |d: &DriveInfo| {
        let queue = d.medium().queue;
        let name = if d.node.is_some() { "" } else { d.id.as_str() };
        let mut v = json!({"device": name, "stats": stats_json(queue.as_deref())});
        if queue.is_some() {
            v["node-name"] = d.node_name().into();
        }
        if let Some(device) = qdev(d) {
            v["qdev"] = device.into();
        }
        v
    };
    Ok(c.machine.drives().iter().map(one).collect())
}

pub(super) fn eject(c: &mut Context, args: &Args) -> Outcome {
    c.machine.eject(drive_name(args)?, args.flag("force"))?;
    done()
}

pub(super) fn change_medium(c: &mut Context, args: &Args) -> Outcome {
    let name = drive_name(args)?;
    if args.str("read-only-mode") == Some("read-write") {
        return Err(QmpError::new("a CD-ROM drive's medium is read-only"));
    }
    let format = args.str("format").map(str::parse).transpose().map_err(failed)?;
    c.machine.change_medium(name, Path::new(args.text("filename")), format, args.flag("force"))?;
    done()
}

pub(super) fn open_tray(c: &mut Context, args: &Args) -> Outcome {
    c.machine.open_tray(drive_name(args)?, args.flag("force"))?;
    done()
}

pub(super) fn close_tray(c: &mut Context, args: &Args) -> Outcome {
    c.machine.close_tray(drive_name(args)?)?;
    done()
}

pub(super) fn insert_medium(c: &mut Context, args: &Args) -> Outcome {
    c.machine.insert_medium(args.text("id"), args.text("node-name"))?;
    done()
}

pub(super) fn remove_medium(c: &mut Context, args: &Args) -> Outcome {
    c.machine.remove_medium(args.text("id"))?;
    done()
}

pub(super) fn delete(c: &mut Context, args: &Args) -> Outcome {
    c.machine.delete_node(args.text("node-name"))?;
    done()
}

pub(super) fn add(c: &mut Context, args: &Args) -> Outcome {
    let spec = cli::NodeSpec::from_json(&args.to_json()).map_err(QmpError::new)?;
    c.machine.add_node(&spec)?;
    done()
}
