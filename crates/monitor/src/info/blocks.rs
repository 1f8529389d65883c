//! Drives: `info block`, `info blockstats`.

use block::CacheMode;
use machine::{DriveInfo, Medium};

use super::plain;
use crate::args::{Outcome, failed};
use crate::commands::some_words;
use crate::context::Context;

pub(super) fn block(context: &mut Context, rest: &str) -> Outcome {
    let words = some_words(rest, 0, 1)?;
    let m = &context.machine;
    let list: Vec<&DriveInfo> = match words.first() {
        Some(id) => vec![m.drive(id).map_err(failed)?],
        None => m.drives().iter().collect(),
    };
    let one = |d: &DriveInfo| drive_text(d, &d.medium(), m.tray(d));
    Ok(list.into_iter().map(one).collect::<Vec<_>>().join("\n"))
}

fn cache_name(mode: CacheMode) -> &'static str {
    match mode {
        CacheMode::Writeback => "writeback",
        CacheMode::None => "writeback, direct",
        CacheMode::Writethrough => "writethrough",
        CacheMode::DirectSync => "writethrough, direct",
        CacheMode::Unsafe => "writeback, ignore flushes",
    }
}

fn drive_text(d: &DriveInfo, medium: &Medium, tray: Option<(bool, bool)>) -> String {
    let mut s = match &medium.queue {
        Some(queue) => {
            let backend = queue.backend();
            let file = medium.file.as_ref().map(|f| f.display().to_string()).unwrap_or_default();
            let readonly = if backend.readonly() { ", read-only" } else { "" };
            format!("{}: {file} ({}{readonly})\n", d.id, backend.format())
        }
        None => format!("{}: [not inserted]\n", d.id),
    };
    let place = d.ide.map_or("usb".into(), |(channel, unit)| format!("ide.{channel}/{unit}"));
    s += &format!("    Attached to:      {place}\n");
    if let Some((locked, open)) = tray {
        let (locked, open) = (if locked { "locked" } else { "not locked" }, if open { "open" } else { "closed" });
        s += &format!("    Removable device: {locked}, tray {open}\n");
    }
    if let Some(queue) = &medium.queue {
        s += &format!("    Cache mode:       {}\n", cache_name(d.cache));
        s += &format!("    Size:             {} bytes\n", queue.backend().size());
    }
    s
}

pub(super) fn blockstats(context: &mut Context, rest: &str) -> Outcome {
    let line = |d: &DriveInfo| {
        let s = d.medium().queue.map(|q| q.stats()).unwrap_or_default();
        let transfers = format!(
            "rd_bytes={} wr_bytes={} rd_operations={} wr_operations={}",
            s.read.bytes, s.write.bytes, s.read.operations, s.write.operations
        );
        let others = format!(
            "flush_operations={} unmap_operations={} failed_operations={}",
            s.flush.operations,
            s.unmap.operations,
            s.failed()
        );
        format!("{}: {transfers} {others}\n", d.id)
    };
    plain(context, rest, |c| c.machine.drives().iter().map(line).collect())
}
