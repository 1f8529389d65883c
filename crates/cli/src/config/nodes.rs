//! `-blockdev` and QMP's `blockdev-add`: block nodes, by their names (QEMU QMP Reference, `BlockdevOptions`).
//!
//! Drivers: `file`, `raw` and `qcow2` over a file (a node described in place, or another node's name), `null-co`.

use serde_json::{Map, Value};

use super::{Drive, DriveInterface, Media};
use crate::UsageError;
use crate::keyval::{parse_bool, parse_number, split_commas};

/// A node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeSpec {
    /// `node-name=`; the node at the top has one.
    pub name: Option<String>,
    /// What it is.
    pub driver: NodeDriver,
    /// `read-only=`.
    pub readonly: bool,
    /// `auto-read-only=`: read-only where the file cannot be written.
    pub auto_readonly: bool,
    /// `cache.direct=`: around the host's cache.
    pub direct: bool,
    /// `cache.no-flush=`: flushes are ignored.
    pub no_flush: bool,
    /// `discard=unmap`.
    pub discard: bool,
}

/// What a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeDriver {
    /// A file of the host.
    File {
        /// Its name.
        filename: String,
        /// `locking=`: not off.
        locking: bool,
    },
    /// A disk without a memory.
    Null {
        /// Bytes.
        size: u64,
    },
    /// A format over another node.
    Format {
        /// `raw` or `qcow2`.
        format: &'static str,
        /// Where its bytes are.
        file: Box<NodeRef>,
    },
}

/// Another node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeRef {
    /// By its name.
    Name(String),
    /// Described in place.
    Node(NodeSpec),
}

/// Bytes of a `null-co` node that names no size.
const NULL_SIZE: u64 = 1 << 30;
/// Deepest nesting of descriptions.
const DEPTH: usize = 4;

impl NodeDriver {
    /// QEMU's name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::File { .. } => "file",
            Self::Null { .. } => "null-co",
            Self::Format { format, .. } => format,
        }
    }
}

impl NodeSpec {
    /// The value of `-blockdev`: keys with dots, or JSON.
    ///
    /// # Errors
    /// QEMU's words for what is wrong.
    pub fn parse(text: &str) -> Result<Self, UsageError> {
        let error = |why: String| UsageError(format!("-blockdev {text}: {why}"));
        let value = if text.trim_start().starts_with('{') {
            serde_json::from_str(text).map_err(|e| error(format!("JSON parse error: {e}")))?
        } else {
            tree(text).map_err(error)?
        };
        Self::from_json(&value).map_err(error)
    }

    /// The arguments of `blockdev-add`.
    ///
    /// # Errors
    /// QEMU's words for what is wrong.
    pub fn from_json(value: &Value) -> Result<Self, String> {
        let spec = node(value, "", 0)?;
        match spec.name {
            Some(_) => Ok(spec),
            None => Err("'node-name' must be specified for the root node".into()),
        }
    }

    /// The drive that a device which names the node uses.
    pub fn drive(&self) -> Option<Drive> {
        let name = self.name.clone()?;
        let mut drive = super::drives::drive(format!("-blockdev node-name={name}"), 0, Media::Disk, Some(&name));
        drive.interface = DriveInterface::None;
        (drive.id, drive.readonly, drive.discard, drive.node) = (name.clone(), self.readonly, self.discard, Some(name));
        Some(drive)
    }
}

/// `a.b=c` as `{"a": {"b": "c"}}`.
fn tree(text: &str) -> Result<Value, String> {
    let mut root = Map::new();
    for item in split_commas(text) {
        let (key, value) = item.split_once('=').ok_or_else(|| format!("Expected '=' after parameter '{item}'"))?;
        let mut parts: Vec<&str> = key.split('.').collect();
        if parts.iter().any(|p| p.is_empty()) || parts.len() > DEPTH + 2 {
            return Err(format!("Invalid parameter '{key}'"));
        }
        let last = parts.pop().unwrap_or_default();
        let mut at = &mut root;
        for part in parts {
            let next = at.entry(part).or_insert_with(|| Value::Object(Map::new()));
            at = next.as_object_mut().ok_or_else(|| format!("Parameters '{part}.*' used inconsistently"))?;
        }
        if at.get(last).is_some_and(Value::is_object) {
            return Err(format!("Parameters '{last}.*' used inconsistently"));
        }
        at.insert(last.into(), value.into());
    }
    Ok(Value::Object(root))
}

/// Members of an object, taken out one by one.
struct Members<'a> {
    path: &'a str,
    left: Map<String, Value>,
}

impl Members<'_> {
    fn full(&self, key: &str) -> String {
        format!("{}{key}", self.path)
    }

    fn wrong(&self, key: &str, expected: &str) -> String {
        format!("Invalid parameter type for '{}', expected: {expected}", self.full(key))
    }

    fn text(&mut self, key: &str) -> Result<Option<String>, String> {
        match self.left.remove(key) {
            None => Ok(None),
            Some(Value::String(s)) => Ok(Some(s)),
            Some(_) => Err(self.wrong(key, "string")),
        }
    }

    fn flag(&mut self, key: &str) -> Result<Option<bool>, String> {
        match self.left.remove(key) {
            None => Ok(None),
            Some(Value::Bool(b)) => Ok(Some(b)),
            Some(Value::String(s)) => {
                parse_bool(&s).map(Some).ok_or_else(|| format!("Parameter '{}' expects 'on' or 'off'", self.full(key)))
            }
            Some(_) => Err(self.wrong(key, "boolean")),
        }
    }

    fn number(&mut self, key: &str) -> Result<Option<u64>, String> {
        let found = match self.left.remove(key) {
            None => return Ok(None),
            Some(Value::Number(n)) => n.as_u64(),
            Some(Value::String(s)) => parse_number(&s),
            Some(_) => None,
        };
        found.map(Some).ok_or_else(|| self.wrong(key, "integer"))
    }

    fn word(&mut self, key: &str, words: &[&'static str]) -> Result<Option<&'static str>, String> {
        let Some(given) = self.text(key)? else { return Ok(None) };
        let known = words.iter().find(|w| **w == given).copied();
        let refused = || format!("Parameter '{}' does not accept value '{given}'", self.full(key));
        known.map(Some).ok_or_else(refused)
    }

    fn object(&mut self, key: &str) -> Result<Map<String, Value>, String> {
        match self.left.remove(key) {
            None => Ok(Map::new()),
            Some(Value::Object(map)) => Ok(map),
            Some(_) => Err(self.wrong(key, "object")),
        }
    }

    fn end(self) -> Result<(), String> {
        match self.left.keys().next() {
            Some(key) => Err(format!("Parameter '{}' is unexpected", self.full(key))),
            None => Ok(()),
        }
    }
}

fn node(value: &Value, path: &str, depth: usize) -> Result<NodeSpec, String> {
    let Value::Object(map) = value else {
        return Err(format!("Invalid parameter type for '{}', expected: object", path.trim_end_matches('.')));
    };
    if depth > DEPTH {
        return Err(format!("Parameter '{}' is nested too deep", path.trim_end_matches('.')));
    }
    let mut m = Members { path, left: map.clone() };
    let missing = |key: &str| format!("Parameter '{path}{key}' is missing");
    let driver = m.word("driver", &["file", "raw", "qcow2", "null-co"])?.ok_or_else(|| missing("driver"))?;
    let name = m.text("node-name")?;
    if let Some(name) = name.as_ref().filter(|n| !is_name(n)) {
        return Err(format!("Invalid node-name: '{name}'"));
    }
    let readonly = m.flag("read-only")?.unwrap_or(false);
    let auto_readonly = m.flag("auto-read-only")?.unwrap_or(false);
    let discard = m.word("discard", &["ignore", "unmap"])? == Some("unmap");
    m.word("detect-zeroes", &["off"])?;
    let mut cache = Members { path: "cache.", left: m.object("cache")? };
    let (direct, no_flush) = (cache.flag("direct")?.unwrap_or(false), cache.flag("no-flush")?.unwrap_or(false));
    cache.end()?;
    let driver = match driver {
        "file" => {
            m.word("aio", &["threads", "native", "io_uring"])?;
            let locking = m.word("locking", &["on", "off", "auto"])? != Some("off");
            NodeDriver::File { filename: m.text("filename")?.ok_or_else(|| missing("filename"))?, locking }
        }
        "null-co" => {
            m.flag("read-zeroes")?;
            m.number("latency-ns")?;
            NodeDriver::Null { size: m.number("size")?.unwrap_or(NULL_SIZE) }
        }
        format => {
            let file = match m.left.remove("file").ok_or_else(|| missing("file"))? {
                Value::String(name) => NodeRef::Name(name),
                inner => NodeRef::Node(node(&inner, &format!("{path}file."), depth + 1)?),
            };
            NodeDriver::Format { format, file: Box::new(file) }
        }
    };
    m.end()?;
    Ok(NodeSpec { name, driver, readonly, auto_readonly, direct, no_flush, discard })
}

/// A letter, then letters, digits, `-`, `.` and `_`; at most 31 of them.
fn is_name(name: &str) -> bool {
    name.len() <= 31
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<NodeSpec, String> {
        NodeSpec::parse(text).map_err(|e| e.to_string())
    }

    #[test]
    fn dots_and_json_mean_the_same() {
        let dots = "driver=qcow2,node-name=q,read-only=on,cache.direct=on,discard=unmap,file.driver=file,file.filename=a,,b,file.locking=off";
        let json = r#"{"driver": "qcow2", "node-name": "q", "read-only": true, "cache": {"direct": true},
            "discard": "unmap", "file": {"driver": "file", "filename": "a,b", "locking": "off"}}"#;
        let spec = parse(dots).unwrap();
        assert_eq!(spec, parse(json).unwrap());
        assert!(spec.readonly && spec.direct && spec.discard && !spec.no_flush);
        let NodeDriver::Format { format: "qcow2", file } = spec.driver else { panic!("{spec:?}") };
        let NodeRef::Node(file) = *file else { panic!("{file:?}") };
        assert_eq!(file.driver, NodeDriver::File { filename: "a,b".into(), locking: false });
        let by_name = parse("driver=raw,node-name=r,file=f").unwrap();
        assert_eq!(by_name.driver, NodeDriver::Format { format: "raw", file: Box::new(NodeRef::Name("f".into())) });
        assert_eq!(parse("driver=null-co,node-name=n,size=1024").unwrap().driver, NodeDriver::Null { size: 1024 });
    }

    #[test]
    fn errors_are_qemus() {
        for (text, expected) in [
            ("node-name=x", "Parameter 'driver' is missing"),
            ("driver=vmdk,node-name=x", "Parameter 'driver' does not accept value 'vmdk'"),
            ("driver=file,filename=a", "'node-name' must be specified for the root node"),
            ("driver=file,node-name=x", "Parameter 'filename' is missing"),
            ("driver=raw,node-name=x", "Parameter 'file' is missing"),
            ("driver=raw,node-name=x,file.driver=file", "Parameter 'file.filename' is missing"),
            ("driver=file,node-name=x,filename=a,color=red", "Parameter 'color' is unexpected"),
            ("driver=file,node-name=1x,filename=a", "Invalid node-name: '1x'"),
            ("driver=file,node-name=x,filename=a,read-only=perhaps", "Parameter 'read-only' expects 'on' or 'off'"),
            ("driver=raw,node-name=x,file=f,file.driver=file", "Parameters 'file.*' used inconsistently"),
            ("driver", "Expected '=' after parameter 'driver'"),
            ("{\"driver\": 1}", "Invalid parameter type for 'driver', expected: string"),
            ("{", "JSON parse error"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(expected) && error.starts_with("-blockdev "), "{text}: {error}");
        }
        let deep = format!("driver=raw,node-name=x,{}driver=file", "file.".repeat(9));
        assert!(parse(&deep).is_err());
    }
}
