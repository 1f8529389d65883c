//! Printing a trace: filtered lines, or counts and times by call. Works on JSON, so that traces of other versions and
//! with unknown calls can be looked at too.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, Write};

use serde_json::Value;

/// Which records; all conditions must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// A part of the call's name or, for exits, of the exit's; case does not matter.
    pub call: Option<String>,
    /// Of this virtual processor.
    pub vp: Option<u64>,
    /// Only calls that failed.
    pub errors: bool,
    /// Only calls of at least so many microseconds.
    pub slow: Option<u64>,
}

impl Filter {
    fn takes(&self, line: &Value) -> bool {
        let number = |key: &str| line.get(key).and_then(Value::as_u64);
        let name = line.get("call").or_else(|| line.get("pending")).and_then(Value::as_str).unwrap_or_default();
        let ns = number("ns").or_else(|| number("since")).unwrap_or(0);
        let named = |part: &String| {
            let part = part.to_lowercase();
            let exit = exit_name(line).unwrap_or_default();
            name.to_lowercase().contains(&part) || exit.to_lowercase().contains(&part)
        };
        self.call.as_ref().is_none_or(named)
            && self.vp.is_none_or(|vp| number("vp") == Some(vp))
            && (!self.errors || line.get("err").is_some())
            && self.slow.is_none_or(|us| ns >= us.saturating_mul(1000))
    }
}

/// Of a Run: why it returned.
fn exit_name(line: &Value) -> Option<String> {
    match line.get("ok")?.get("exit")? {
        Value::String(s) => Some(s.clone()),
        Value::Object(o) => o.keys().next().cloned(),
        _ => None,
    }
}

/// A line's number and what is on it; `None` for text that is no JSON object.
fn parse(line: &str) -> Option<Value> {
    serde_json::from_str(line).ok().filter(Value::is_object)
}

/// Prints what `filter` takes, a line each; says so where lines cannot be read.
///
/// # Errors
/// When reading or writing fails.
pub fn show(input: impl BufRead, filter: &Filter, out: &mut impl Write) -> std::io::Result<()> {
    let mut bad = 0_u64;
    for line in input.split(b'\n') {
        let line = line?;
        let Some(value) = parse(&String::from_utf8_lossy(&line)) else {
            bad += u64::from(!line.is_empty());
            continue;
        };
        if value.get("whpx_trace").is_some() {
            writeln!(out, "{}", header_text(&value))?;
        } else if filter.takes(&value) {
            writeln!(out, "{}", line_text(&value))?;
        }
    }
    if bad > 0 {
        writeln!(out, "({bad} lines that cannot be read)")?;
    }
    Ok(())
}

fn header_text(header: &Value) -> String {
    let text = |key: &str| header.get(key).and_then(Value::as_str).unwrap_or("?");
    format!(
        "# {} on {} ({} {}), whp-trace {}{}",
        text("program"),
        text("platform"),
        text("os"),
        text("host_arch"),
        text("version"),
        if header.get("full") == Some(&Value::Bool(true)) { ", full" } else { "" }
    )
}

fn line_text(line: &Value) -> String {
    let number = |key: &str| line.get(key).and_then(Value::as_u64);
    let mut text = format!("#{:<6} ", number("seq").unwrap_or(0));
    let at = number("at").unwrap_or(0);
    let _ = write!(text, "{:>12.6}s t{:<3} ", at as f64 / 1e9, number("tid").unwrap_or(0)); // a String takes everything
    match number("vp") {
        Some(vp) => text += &format!("vp{vp:<2} "),
        None => text += "     ",
    }
    if let Some(name) = line.get("pending").and_then(Value::as_str) {
        let _ = write!(text, "{name} has not returned after {}", time(number("since").unwrap_or(0)));
        return text;
    }
    if number("inside").is_some() {
        text += "  | ";
    }
    let name = line.get("call").and_then(Value::as_str).unwrap_or("?");
    let _ = write!(text, "{name}({})", arguments(line));
    match (line.get("ok"), line.get("err")) {
        (_, Some(e)) => {
            let part = |key: &str| e.get(key).and_then(Value::as_str).unwrap_or("?");
            let symbol = e.get("symbol").and_then(Value::as_str).unwrap_or("unknown code");
            let _ = write!(text, " FAILED {} ({symbol}) {}", part("code"), part("operands"));
        }
        (Some(Value::Null) | None, None) => {}
        (Some(ok), None) => text += &format!(" = {}", result(line, ok)),
    }
    let _ = write!(text, "  [{}]", time(number("ns").unwrap_or(0)));
    text
}

fn time(ns: u64) -> String {
    match ns {
        0..10_000 => format!("{ns} ns"),
        10_000..10_000_000 => format!("{} us", ns / 1000),
        _ => format!("{} ms", ns / 1_000_000),
    }
}

/// Register names with their values.
fn registers(names: &Value, values: &Value) -> Option<String> {
    let short = |n: &Value| {
        let n = n.as_str().unwrap_or("?");
        let prefixes = ["WHvX64Register", "WHvArm64Register", "WHvRegister"];
        prefixes.iter().find_map(|p| n.strip_prefix(p)).unwrap_or(n).to_string()
    };
    let pairs = names.as_array()?.iter().zip(values.as_array()?);
    let pairs: Vec<_> = pairs.map(|(n, v)| format!("{}={}", short(n), v.as_str().unwrap_or("?"))).collect();
    Some(pairs.join(" "))
}

fn arguments(line: &Value) -> String {
    let Some(args) = line.get("args") else { return String::new() };
    match (args.get("names"), args.get("values")) {
        (Some(names), Some(values)) => registers(names, values).unwrap_or_default(),
        // The names come with the values in the result.
        (Some(names), None) if line.get("ok").is_some_and(Value::is_array) => {
            format!("{} registers", names.as_array().map_or(0, Vec::len))
        }
        _ => members(args),
    }
}

fn result(line: &Value, ok: &Value) -> String {
    let names = line.get("args").and_then(|a| a.get("names"));
    if let Some(text) = names.and_then(|names| registers(names, ok)) {
        return text;
    }
    match (exit_name(line), ok.get("vp"), ok.get("exit")) {
        (Some(name), Some(vp), Some(exit)) => {
            let rip = vp.get("rip").map(plain).unwrap_or_default();
            // What an I/O exit says of segments matters for string operations only, and would fill the line.
            let noise = |k: &str| matches!(k, "ds" | "es" | "instruction_byte_count");
            let details = match exit.get(&name) {
                Some(Value::Object(o)) => {
                    let o: serde_json::Map<_, _> =
                        o.iter().filter(|(k, _)| !noise(k)).map(|(k, v)| (k.clone(), v.clone())).collect();
                    plain(&Value::Object(o))
                }
                Some(other) => plain(other),
                None => String::new(),
            };
            format!("{name} {details} at rip {rip}").replace("  ", " ")
        }
        _ => plain(ok),
    }
}

fn members(value: &Value) -> String {
    match value {
        Value::Object(o) => o.iter().map(|(k, v)| format!("{k} {}", plain(v))).collect::<Vec<_>>().join(", "),
        other => plain(other),
    }
}

/// A value without JSON's noise; numbers above 9 in hexadecimal.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::Bool(b) => b.to_string(),
        Value::String(s) => s.clone(),
        Value::Number(n) => match n.as_u64() {
            Some(n @ 0..10) => n.to_string(),
            Some(n) => format!("{n:#x}"),
            None => n.to_string(),
        },
        Value::Array(a) => format!("[{}]", a.iter().map(plain).collect::<Vec<_>>().join(", ")),
        Value::Object(o) => match (o.get("fnv"), o.get("hex"), o.get("len")) {
            (Some(_), Some(hex), _) => plain(hex),
            (Some(fnv), None, Some(len)) => format!("<{len} bytes, hash {}>", plain(fnv)),
            _ => format!("{{{}}}", members(value)),
        },
    }
}

/// Counts and times of a kind of call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Total {
    /// Calls.
    pub count: u64,
    /// Those that failed.
    pub errors: u64,
    /// All of them together, in nanoseconds.
    pub ns: u64,
    /// The longest.
    pub longest: u64,
}

/// Totals by call, exits of Run told apart; of the records that `filter` takes.
///
/// # Errors
/// When reading fails.
pub fn totals(input: impl BufRead, filter: &Filter) -> std::io::Result<BTreeMap<String, Total>> {
    let mut totals: BTreeMap<String, Total> = BTreeMap::new();
    for line in input.split(b'\n') {
        let Some(value) = parse(&String::from_utf8_lossy(&line?)) else { continue };
        let Some(call) = value.get("call").and_then(Value::as_str).filter(|_| filter.takes(&value)) else { continue };
        let name = match exit_name(&value) {
            Some(exit) => format!("{call} -> {exit}"),
            None => call.to_string(),
        };
        let ns = value.get("ns").and_then(Value::as_u64).unwrap_or(0);
        let total = totals.entry(name).or_default();
        total.count += 1;
        total.errors += u64::from(value.get("err").is_some());
        total.ns = total.ns.saturating_add(ns);
        total.longest = total.longest.max(ns);
    }
    Ok(totals)
}

/// The totals as a table, the longest first.
pub fn summary(totals: &BTreeMap<String, Total>) -> String {
    let mut rows: Vec<_> = totals.iter().collect();
    rows.sort_by_key(|(_, t)| std::cmp::Reverse(t.ns));
    let mut text = format!("{:>10} {:>7} {:>12} {:>12} {:>12}  call\n", "calls", "errors", "total", "mean", "longest");
    for (name, t) in rows {
        let mean = time(t.ns / t.count.max(1));
        let row = (t.count, t.errors, time(t.ns), mean, time(t.longest));
        let _ = writeln!(text, "{:>10} {:>7} {:>12} {:>12} {:>12}  {name}", row.0, row.1, row.2, row.3, row.4);
    }
    text
}
