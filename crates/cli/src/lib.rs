//! QEMU's option grammar: argv to [`Options`] (lossless, in order) to [`Config`] (defaults applied, every error
//! reported at once).
//!
//! Source: QEMU's invocation manual (`qemu-system-x86_64 -h` and docs/system/invocation), read as the definition of
//! names, meanings and defaults. An option that is known there and not supported here is an error that says so.

mod config;
mod help;
mod keyval;
mod options;
mod sizes;
mod smp;

pub use config::{
    Accel, Boot, CharSpec, Config, Cpu, DebugLog, DeviceSpec, DisplayKind, Drive, DriveInterface, Global, HelpTopic,
    Media, MonitorMode, MonitorSpec, NodeDriver, NodeRef, NodeSpec, Rtc, RtcBase, SerialTarget, Topology, Trace,
    TraceItem, VgaKind, VncShare, VncSpec, WebSpec,
};
pub use help::{help_text, version_text};
pub use keyval::KeyVal;
pub use options::{Options, RawOption};
pub use sizes::parse_size;

/// An error in the command line: one line, naming the option as typed and saying what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(pub String);

/// The name in `list` nearest to `word`, when it is near enough to be a slip of the finger.
pub fn nearest<'a>(word: &str, list: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (word.len() / 3).clamp(1, 3);
    list.into_iter().map(|c| (distance(word, c), c)).filter(|(d, _)| *d <= limit).min().map(|(_, c)| c)
}

/// Damerau-Levenshtein distance (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![(0..=b.len()).collect::<Vec<_>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let change = usize::from(a[i - 1] != b[j - 1]);
            let mut d = (rows[i - 1][j] + 1).min(row[j - 1] + 1).min(rows[i - 1][j - 1] + change);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                d = d.min(rows[i - 2][j - 2] + 1);
            }
            row.push(d);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_finds_slips_and_nothing_far() {
        assert_eq!(nearest("crom", ["cdrom", "drive"]), Some("cdrom"));
        assert_eq!(nearest("dirve", ["cdrom", "drive"]), Some("drive"));
        assert_eq!(nearest("zzz", ["cdrom", "drive"]), None);
    }
}
