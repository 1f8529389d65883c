//! Drives and images: `query-block` and relatives, `blockdev-...`, `eject`.
//!
//! A drive's image is one node; backing files are not shown as nodes of their own. `blockdev-add` takes a file with a
//! format; references between nodes are refused.

use std::path::Path;

use ::block::{BlockConfig, BlockQueue, CacheMode};
use machine::{DriveInfo, Medium};
use serde_json::{Value, json};

use super::args::Kind::{Bool, Str, Word};
use super::args::{Args, may, must};
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

/// QEMU's `BlockDeviceInfo`.
fn node_json(name: &str, file: &Path, cache: CacheMode, queue: &BlockQueue) -> Value {
    let backend = queue.backend();
    let file = file.display().to_string();
    let image =
        json!({"filename": file, "format": backend.format(), "virtual-size": backend.size(), "dirty-flag": false});
    let mut v = json!({
        "node-name": name, "file": file, "drv": backend.format(), "ro": backend.readonly(), "encrypted": false,
        "backing_file_depth": 0, "cache": cache_json(cache), "image": image, "detect_zeroes": "off",
        "write_threshold": 0, "active": true,
    });
    for limit in ["bps", "bps_rd", "bps_wr", "iops", "iops_rd", "iops_wr"] {
        v[limit] = 0.into();
    }
    v
}

fn drive_node(d: &DriveInfo, medium: &Medium) -> Option<Value> {
    let queue = medium.queue.as_ref()?;
    Some(node_json(&d.node_name(), medium.file.as_deref().unwrap_or(Path::new("")), d.cache, queue))
}

pub(super) fn query(c: &mut Context, _: &Args) -> Outcome {
    let one = |d: &DriveInfo| {
        let tray = c.machine.tray(d);
        let mut v = json!({
            "device": d.id, "type": "unknown", "removable": d.removable, "locked": tray.is_some_and(|t| t.0),
            "io-status": "ok",
        });
        if let Some((_, open)) = tray {
            v["tray_open"] = open.into();
        }
        if let Some(node) = drive_node(d, &d.medium()) {
            v["inserted"] = node;
        }
        v
    };
    Ok(c.machine.drives().iter().map(one).collect())
}

pub(super) fn nodes(c: &mut Context, _: &Args) -> Outcome {
    let drives = c.machine.drives().iter().filter_map(|d| drive_node(d, &d.medium()));
    let added = c.machine.added_nodes();
    let added = added.iter().map(|n| node_json(&n.name, &n.file, n.cache, &n.queue));
    Ok(drives.chain(added).collect())
}

fn stats_json(queue: Option<&BlockQueue>) -> Value {
    let s = queue.map(BlockQueue::stats).unwrap_or_default();
    json!({
        "rd_bytes": s.rd_bytes, "wr_bytes": s.wr_bytes, "rd_operations": s.rd_operations,
        "wr_operations": s.wr_operations, "flush_operations": s.flush_operations,
        "unmap_operations": s.unmap_operations, "failed_operations": s.failed_operations,
    })
}

pub(super) fn stats(c: &mut Context, args: &Args) -> Outcome {
    if args.flag("query-nodes") {
        let added = c.machine.added_nodes();
        let one = |n: &machine::BlockNode| json!({"node-name": n.name, "stats": stats_json(Some(&n.queue))});
        return Ok(added.iter().map(one).collect());
    }
    let one = |d: &DriveInfo| {
        let stats = stats_json(d.medium().queue.as_deref());
        json!({"device": d.id, "node-name": d.node_name(), "stats": stats})
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
    let node = c.machine.node(args.text("node-name"))?;
    c.machine.insert_medium(args.text("id"), &node)?;
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
    let name = args.text("node-name");
    if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c)) {
        return Err(QmpError::new(format!("Invalid node-name: '{name}'")));
    }
    c.machine.add_node(name, &image(args)?)?;
    done()
}

fn image(args: &Args) -> Result<BlockConfig, QmpError> {
    let (path, format) = match (args.text("driver"), args.get("file"), args.str("filename")) {
        ("file", None, Some(path)) => (path.to_string(), "raw"),
        ("file", _, None) => return Err(QmpError::new("Parameter 'filename' is missing")),
        ("file", ..) => return Err(QmpError::new("Parameter 'file' is unexpected")),
        (_, _, Some(_)) => return Err(QmpError::new("Parameter 'filename' is unexpected")),
        (_, None, _) => return Err(QmpError::new("Parameter 'file' is missing")),
        (_, Some(Value::String(_)), _) => {
            return Err(QmpError::new("references to other nodes are not supported: give 'file' as an object"));
        }
        (format, Some(file), _) => {
            let known = [
                must("driver", Word(&["file"])),
                must("filename", Str),
                may("node-name", Str),
                may("locking", Word(&["on", "off", "auto"])),
                may("read-only", Bool),
            ];
            (Args::object(file.clone(), &known)?.text("filename").to_string(), format)
        }
    };
    let mut config = BlockConfig::new(path);
    config.format = Some(format.parse().map_err(failed)?);
    config.readonly = args.flag("read-only");
    config.discard = args.str("discard") == Some("unmap");
    config.locking = args.str("locking") != Some("off");
    if let Some(cache) = args.get("cache") {
        let cache = Args::object(cache.clone(), &[may("direct", Bool), may("no-flush", Bool)])?;
        config.cache = match (cache.flag("direct"), cache.flag("no-flush")) {
            (false, false) => CacheMode::Writeback,
            (true, false) => CacheMode::None,
            (false, true) => CacheMode::Unsafe,
            (true, true) => return Err(QmpError::new("cache.direct and cache.no-flush cannot be used together")),
        };
    }
    Ok(config)
}
