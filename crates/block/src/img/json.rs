//! What an image is, as JSON: `whpx img info --output=json` and QMP.

use serde_json::{Map, Value, json};

use super::{ImageInfo, Snapshot};
use crate::Format;

/// QEMU's `ImageInfo` (qapi/block-core.json).
pub fn info_json(info: &ImageInfo) -> Value {
    let mut v = json!({
        "filename": info.path.display().to_string(),
        "format": info.format.to_string(),
        "virtual-size": info.virtual_size,
        "actual-size": info.actual_size,
        "dirty-flag": info.qcow2.as_ref().is_some_and(|q| q.dirty),
    });
    let (Some(object), Some(q)) = (v.as_object_mut(), &info.qcow2) else { return v };
    let mut set = |key: &str, value: Value| drop(object.insert(key.into(), value));
    set("cluster-size", q.cluster_size.into());
    if q.encrypted.is_some() {
        set("encrypted", true.into());
    }
    if let Some(backing) = &q.backing {
        set("backing-filename", backing.as_str().into());
    }
    if let Some(path) = &q.backing_path {
        set("full-backing-filename", path.display().to_string().into());
    }
    if let Some(format) = &q.backing_format {
        set("backing-filename-format", format.as_str().into());
    }
    if !q.snapshots.is_empty() {
        set("snapshots", q.snapshots.iter().map(snapshot_json).collect());
    }
    let mut data = Map::new();
    data.insert("compat".into(), if q.version == 2 { "0.10" } else { "1.1" }.into());
    data.insert("compression-type".into(), q.compression.into());
    data.insert("refcount-bits".into(), q.refcount_bits.into());
    if q.version >= 3 {
        data.insert("lazy-refcounts".into(), q.lazy_refcounts.into());
        data.insert("corrupt".into(), q.corrupt.into());
        data.insert("extended-l2".into(), q.extended_l2.into());
    }
    if let Some(file) = &q.data_file {
        data.insert("data-file".into(), file.as_str().into());
    }
    set("format-specific", json!({ "type": Format::Qcow2.to_string(), "data": data }));
    v
}

fn snapshot_json(s: &Snapshot) -> Value {
    let mut v = json!({
        "id": s.id,
        "name": s.name,
        "vm-state-size": s.vm_state_size,
        "date-sec": s.date.0,
        "date-nsec": s.date.1,
        "vm-clock-sec": s.vm_clock_ns / 1_000_000_000,
        "vm-clock-nsec": s.vm_clock_ns % 1_000_000_000,
    });
    if let (Some(object), Some(icount)) = (v.as_object_mut(), s.icount.filter(|i| *i != u64::MAX)) {
        object.insert("icount".into(), icount.into());
    }
    v
}
