//! What `whpx img` prints: text in qemu-img's words, JSON with its keys.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use block::img::{CheckReport, Extent, ImageInfo, Qcow2Info, Snapshot, human_size};
use chrono::{Local, TimeZone};
use serde_json::{Value, json};

/// Appends a line; a String takes everything.
macro_rules! line {
    ($text:expr, $($arg:tt)*) => { let _ = writeln!($text, $($arg)*); };
}

pub(super) fn pretty<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default() + "\n"
}

pub(super) fn info_text(info: &ImageInfo) -> String {
    let mut text = String::new();
    line!(text, "image: {}", info.path.display());
    line!(text, "file format: {}", info.format);
    line!(text, "virtual size: {} ({} bytes)", human_size(info.virtual_size), info.virtual_size);
    line!(text, "disk size: {}", human_size(info.actual_size));
    let Some(q) = &info.qcow2 else { return text };
    if let Some(how) = q.encrypted {
        line!(text, "encrypted: yes ({how}; not supported here)");
    }
    line!(text, "cluster_size: {}", q.cluster_size);
    if q.dirty {
        line!(text, "cleanly shut down: no");
    }
    if let Some(backing) = &q.backing {
        let found = q.backing_path.as_ref().map(|p| printable(&p.display().to_string())).filter(|p| p != backing);
        let backing = printable(backing);
        line!(text, "backing file: {backing}{}", found.map(|p| format!(" (actual path: {p})")).unwrap_or_default());
    }
    if let Some(format) = &q.backing_format {
        line!(text, "backing file format: {}", printable(format));
    }
    if !q.snapshots.is_empty() {
        text += &snapshots_text(&q.snapshots);
    }
    text += "Format specific information:\n";
    line!(text, "    compat: {}", compat(q));
    line!(text, "    compression type: {}", q.compression);
    if q.version >= 3 {
        line!(text, "    lazy refcounts: {}", q.lazy_refcounts);
    }
    line!(text, "    refcount bits: {}", q.refcount_bits);
    if q.version >= 3 {
        line!(text, "    corrupt: {}", q.corrupt);
        line!(text, "    extended l2: {}", q.extended_l2);
    }
    if let Some(file) = &q.data_file {
        line!(text, "    data file: {}", printable(file));
    }
    text
}

fn compat(q: &Qcow2Info) -> &'static str {
    if q.version == 2 { "0.10" } else { "1.1" }
}

pub(super) fn snapshots_text(list: &[Snapshot]) -> String {
    let mut text = "Snapshot list:\n".to_string();
    let row = ["ID", "TAG", "VM_SIZE", "DATE", "VM_CLOCK", "ICOUNT"];
    line!(text, "{:<7} {:<16} {:>8} {:>19} {:>15} {:>10}", row[0], row[1], row[2], row[3], row[4], row[5]);
    for s in list {
        let date = Local.timestamp_opt(i64::from(s.date.0), 0).single();
        let date = date.map(|d| d.format("%Y-%m-%d %H:%M:%S").to_string()).unwrap_or_default();
        let ms = s.vm_clock_ns / 1_000_000;
        let (h, m, sec, ms) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60, ms % 1000);
        let clock = format!("{h:04}:{m:02}:{sec:02}.{ms:03}");
        let icount = s.icount.filter(|i| *i != u64::MAX).map(|i| i.to_string()).unwrap_or_default();
        line!(
            text,
            "{:<7} {:<16} {:>8} {date:>19} {clock:>15} {icount:>10}",
            printable(&s.id),
            printable(&s.name),
            human_size(s.vm_state_size)
        );
    }
    text
}

/// A name from an image, which is not trusted with the terminal.
fn printable(name: &str) -> String {
    name.chars().map(|c| if c.is_control() { '\u{FFFD}' } else { c }).collect()
}

pub(super) fn check_json(path: &Path, r: &CheckReport) -> Value {
    let mut v = json!({
        "filename": path.display().to_string(),
        "format": "qcow2",
        "check-errors": 0,
        "image-end-offset": r.image_end_offset,
        "total-clusters": r.total_clusters,
    });
    if let Some(object) = v.as_object_mut() {
        // As in qemu-img, what is none is not there.
        for (key, value) in [
            ("allocated-clusters", r.allocated_clusters),
            ("fragmented-clusters", r.fragmented_clusters),
            ("compressed-clusters", r.compressed_clusters),
            ("leaks", r.leaks),
            ("corruptions", r.corruptions),
            ("leaks-fixed", r.leaks_fixed),
            ("corruptions-fixed", r.corruptions_fixed),
        ] {
            if value != 0 {
                object.insert(key.into(), value.into());
            }
        }
    }
    v
}

pub(super) fn check_text(r: &CheckReport) -> String {
    let mut text: String = r.findings.iter().map(|f| format!("{f}\n")).collect();
    if r.more_findings != 0 {
        line!(text, "... and {} more", r.more_findings);
    }
    if r.leaks_fixed + r.corruptions_fixed != 0 {
        line!(text, "\nRepaired: {} leaked clusters, {} other errors.\n", r.leaks_fixed, r.corruptions_fixed);
    }
    if r.corruptions != 0 {
        line!(text, "\n{} errors were found on the image.", r.corruptions);
        text += "Data may be corrupted, or further writes to the image may corrupt it.\n";
    }
    if r.leaks != 0 {
        line!(text, "\n{} leaked clusters were found on the image.", r.leaks);
        text += "This means waste of disk space, but no harm to data.\n";
    }
    if r.corruptions + r.leaks == 0 {
        text += "No errors were found on the image.\n";
    }
    if r.total_clusters != 0 && r.allocated_clusters != 0 {
        let percent = |part: u64, all: u64| if all == 0 { 0.0 } else { part as f64 * 100.0 / all as f64 };
        line!(
            text,
            "{}/{} = {:.2}% allocated, {:.2}% fragmented, {:.2}% compressed clusters",
            r.allocated_clusters,
            r.total_clusters,
            percent(r.allocated_clusters, r.total_clusters),
            percent(r.fragmented_clusters, r.allocated_clusters),
            percent(r.compressed_clusters, r.allocated_clusters)
        );
    }
    line!(text, "Image end offset: {}", r.image_end_offset);
    text
}

/// The rows of `map`, one at a time.
pub(super) struct MapRows {
    json: bool,
    first: bool,
}

impl MapRows {
    pub(super) fn new(json: bool) -> Self {
        Self { json, first: true }
    }

    pub(super) fn row(&mut self, e: &Extent, paths: &[PathBuf]) -> String {
        let first = std::mem::take(&mut self.first);
        if self.json {
            let offset = e.offset.map(|o| format!(", \"offset\": {o}")).unwrap_or_default();
            return format!(
                "{}{{ \"start\": {}, \"length\": {}, \"depth\": {}, \"present\": {}, \"zero\": {}, \"data\": {}, \"compressed\": {}{offset}}}",
                if first { "[" } else { ",\n" },
                e.start,
                e.len,
                e.depth,
                e.present,
                e.zero,
                e.data,
                e.compressed
            );
        }
        let mut text = if first { HEAD.to_string() } else { String::new() };
        if e.data && !e.zero {
            let place = e.offset.map_or("compressed".into(), |o| format!("{o:#x}"));
            let path = paths.get(e.depth).map(|p| p.display().to_string()).unwrap_or_default();
            line!(text, "{:<16}{:<16}{place:<16}{path}", format!("{:#x}", e.start), format!("{:#x}", e.len));
        }
        text
    }

    pub(super) fn end(&self) -> String {
        match (self.json, self.first) {
            (true, true) => "[]\n".into(),
            (true, false) => "]\n".into(),
            (false, true) => HEAD.into(),
            (false, false) => String::new(),
        }
    }
}

const HEAD: &str = "Offset          Length          Mapped to       File\n";
