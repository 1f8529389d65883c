//! `-h` and `-version`.

use crate::options::KNOWN;

/// The text of `-version`.
pub fn version_text(program: &str) -> String {
    format!("{program} (whpx) version {}\n", env!("CARGO_PKG_VERSION"))
}

/// The text of `-h`.
pub fn help_text(program: &str) -> String {
    let mut text = version_text(program);
    text +=
        &format!("usage: {program} [options] [disk_image]\n\n'disk_image' is a raw or qcow2 image for IDE disk 0\n\n");
    for k in KNOWN.iter().filter(|k| !k.help.is_empty()) {
        let head = format!("-{} {}", k.name, k.argument);
        let gap = if head.len() < 30 { " ".repeat(31 - head.len()) } else { format!("\n{}", " ".repeat(31)) };
        text += &format!("{}{gap}{}\n", head.trim_end_matches('\n'), k.help);
    }
    text
}
