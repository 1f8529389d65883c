//! Command lines as getopt_long(3) takes them: `-f qcow2`, `-fqcow2`, `-qf qcow2`, `--output json`, `--output=json`, `--`,
//! operands anywhere.

use std::ffi::{OsStr, OsString};
use std::ops::RangeInclusive;
use std::path::PathBuf;

/// A command line, taken apart.
pub(super) struct Parsed {
    options: Vec<(String, String)>,
    operands: Vec<OsString>,
}

impl Parsed {
    /// `flags`: letters without a value; `valued`: letters with one, each followed by a colon; long names likewise.
    pub(super) fn parse(
        command: &str,
        args: &[OsString],
        flags: &str,
        valued: &str,
        long_flags: &[&str],
        long_valued: &[&str],
        operands: RangeInclusive<usize>,
    ) -> Result<Self, String> {
        let mut this = Self { options: vec![], operands: vec![] };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let text = arg.to_string_lossy();
            let mut value = |option: &str| {
                let value = args.next().ok_or_else(|| format!("{command}: {option} needs a value"))?;
                Ok::<_, String>(value.to_string_lossy().into_owned())
            };
            if text == "--" {
                this.operands.extend(args.cloned());
                break;
            }
            if let Some(long) = text.strip_prefix("--") {
                let (name, given) = long.split_once('=').map_or((long, None), |(n, v)| (n, Some(v.to_owned())));
                let option = format!("--{name}");
                if long_valued.contains(&name) {
                    let value = given.map_or_else(|| value(&option), Ok)?;
                    this.options.push((option, value));
                } else if long_flags.contains(&name) && given.is_none() {
                    this.options.push((option, String::new()));
                } else {
                    let known = long_flags.iter().chain(long_valued).copied();
                    return Err(unknown(command, &option, cli::nearest(name, known).map(|n| format!("--{n}"))));
                }
            } else if let Some(letters) = text.strip_prefix('-').filter(|l| !l.is_empty())
                // `resize FILE -1G`
                && !(command == "resize" && !this.operands.is_empty() && letters.starts_with(|c: char| c.is_ascii_digit()))
            {
                for (i, letter) in letters.char_indices() {
                    let option = format!("-{letter}");
                    if letter != ':' && flags.contains(letter) {
                        this.options.push((option, String::new()));
                    } else if letter != ':' && valued.contains(letter) {
                        let tail = &letters[i + letter.len_utf8()..];
                        let value = if tail.is_empty() { value(&option)? } else { tail.to_owned() };
                        this.options.push((option, value));
                        break;
                    } else {
                        return Err(unknown(command, &option, None));
                    }
                }
            } else {
                this.operands.push(arg.clone());
            }
        }
        match this.operands.len() {
            n if n < *operands.start() => Err(format!("{command}: an operand is missing; see 'whpx img --help'")),
            n if n > *operands.end() => {
                let last = this.operands.last().map_or(OsStr::new(""), |o| o).to_string_lossy().into_owned();
                Err(format!("{command}: '{last}' is one operand too many; see 'whpx img --help'"))
            }
            _ => Ok(this),
        }
    }

    /// The option is there.
    pub(super) fn has(&self, option: &str) -> bool {
        self.options.iter().any(|o| o.0 == option)
    }

    /// Its last value.
    pub(super) fn value(&self, option: &str) -> Option<&str> {
        self.options.iter().rfind(|o| o.0 == option).map(|o| o.1.as_str())
    }

    /// All its values.
    pub(super) fn values<'a>(&'a self, option: &'a str) -> impl Iterator<Item = &'a str> {
        self.options.iter().filter(move |o| o.0 == option).map(|o| o.1.as_str())
    }

    /// Operand `i` as text.
    pub(super) fn operand(&self, i: usize) -> Option<String> {
        self.operands.get(i).map(|o| o.to_string_lossy().into_owned())
    }

    /// Operand `i`, which [`Parsed::parse`] has made sure of, as a file.
    pub(super) fn file(&self, i: usize) -> PathBuf {
        self.operands.get(i).map(PathBuf::from).unwrap_or_default()
    }

    /// `-U`.
    pub(super) fn share(&self) -> bool {
        self.has("-U") || self.has("--force-share")
    }

    /// `--output=json`.
    pub(super) fn json(&self) -> Result<bool, String> {
        match self.value("--output") {
            None | Some("human") => Ok(false),
            Some("json") => Ok(true),
            Some(other) => Err(format!("--output={other}: it is human or json")),
        }
    }
}

fn unknown(command: &str, option: &str, near: Option<String>) -> String {
    let hint = near.map(|n| format!(", perhaps {n}")).unwrap_or_default();
    format!("{command}: unknown option '{option}'{hint}; see 'whpx img --help'")
}

/// The parts of a list with commas; a doubled comma is one in a part.
pub(super) fn commas(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            ',' if chars.next_if_eq(&',').is_none() => parts.push(String::new()),
            c => parts.iter_mut().last().map_or((), |p| p.push(c)),
        }
    }
    parts.retain(|p| !p.is_empty());
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(command: &str, line: &str) -> Result<Parsed, String> {
        let args: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        Parsed::parse(command, &args, "qU", "f:o:", &["force"], &["output"], 1..=2)
    }

    #[test]
    fn every_way_of_writing() {
        for line in ["-q -f qcow2 --output json a", "-qfqcow2 a --output=json", "a -qf qcow2 --output json"] {
            let p = parse("x", line).unwrap();
            assert!(p.has("-q") && p.value("-f") == Some("qcow2") && p.json().unwrap() && p.file(0) == *"a", "{line}");
        }
        let p = parse("resize", "a -1G").unwrap();
        assert_eq!(p.operand(1).as_deref(), Some("-1G"));
        assert_eq!(parse("x", "-- -f").unwrap().file(0), *"-f");
        assert!(parse("x", "a --forc").err().unwrap().contains("perhaps --force"));
        assert!(parse("x", "a -f").err().unwrap().contains("-f needs a value"));
        assert_eq!(parse("x", "-o a -o b c").unwrap().values("-o").collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(commas("a=1,b=x,,y,"), ["a=1", "b=x,y"]);
    }
}
