//! `key=value,key=value` lists, with `,,` for a comma, flags without a value, and an implied first key.

use crate::{UsageError, nearest};

/// A parsed list. Keys are taken out one by one; [`KeyVal::finish`] reports what is left over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyVal {
    /// The option as typed, for errors ("-drive file=x,...").
    pub typed: String,
    pairs: Vec<(String, String)>,
    asked: Vec<&'static str>,
}

impl KeyVal {
    /// Parses `text`. The first item may omit its key when `implied` names one. A bare `key` means `key=on` and
    /// `nokey` `key=off` where they are not the implied value.
    ///
    /// # Errors
    /// For an empty key.
    pub fn parse(option: &str, text: &str, implied: Option<&str>) -> Result<Self, UsageError> {
        let typed = format!("-{option} {text}");
        let mut pairs = Vec::new();
        for (n, item) in split_commas(text).into_iter().enumerate() {
            let pair = match (item.split_once('='), implied) {
                (Some((k, v)), _) => (k.to_string(), v.to_string()),
                (None, Some(key)) if n == 0 => (key.to_string(), item),
                (None, _) => (item, "on".to_string()),
            };
            if pair.0.is_empty() {
                return Err(UsageError(format!("{typed}: a property name is missing")));
            }
            pairs.push(pair);
        }
        Ok(Self { typed, pairs, asked: Vec::new() })
    }

    /// Takes the last value of `key`.
    pub fn take(&mut self, key: &'static str) -> Option<String> {
        self.asked.push(key);
        let value = self.pairs.iter().rev().find(|p| p.0 == key).map(|p| p.1.clone());
        self.pairs.retain(|p| p.0 != key);
        value
    }

    /// Takes `key` as on/off (yes/no, true/false, y/n also).
    ///
    /// # Errors
    /// For any other word.
    pub fn take_bool(&mut self, key: &'static str) -> Result<Option<bool>, UsageError> {
        self.take(key).map(|v| parse_bool(&v).ok_or_else(|| self.bad(key, &v, "expected on or off"))).transpose()
    }

    /// Takes `key` as a number (decimal or 0x).
    ///
    /// # Errors
    /// When it is not one.
    pub fn take_number(&mut self, key: &'static str) -> Result<Option<u64>, UsageError> {
        self.take(key).map(|v| parse_number(&v).ok_or_else(|| self.bad(key, &v, "expected a number"))).transpose()
    }

    /// Takes `key` as one of `words`.
    ///
    /// # Errors
    /// For any other word.
    pub fn take_word(&mut self, key: &'static str, words: &[&'static str]) -> Result<Option<&'static str>, UsageError> {
        self.take(key)
            .map(|v| {
                let known = words.iter().find(|w| **w == v).copied();
                known.ok_or_else(|| self.bad(key, &v, &format!("expected one of: {}", words.join(", "))))
            })
            .transpose()
    }

    /// The rest, as it is.
    pub fn take_rest(&mut self) -> Vec<(String, String)> {
        std::mem::take(&mut self.pairs)
    }

    /// The error for a bad value.
    pub fn bad(&self, key: &str, value: &str, why: &str) -> UsageError {
        UsageError(format!("{}: {key}={value}: {why}", self.typed))
    }

    /// An error that names the option as typed.
    pub fn error(&self, why: &str) -> UsageError {
        UsageError(format!("{}: {why}", self.typed))
    }

    /// Reports the first property that nobody took.
    ///
    /// # Errors
    /// When there is one.
    pub fn finish(self) -> Result<(), UsageError> {
        let Some((key, _)) = self.pairs.first() else { return Ok(()) };
        let hint = match nearest(key, self.asked.iter().copied()) {
            Some(near) => format!("did you mean {near}?"),
            None => format!("known here: {}", self.asked.join(", ")),
        };
        Err(UsageError(format!("{}: unknown property '{key}'; {hint}", self.typed)))
    }
}

/// Splits at single commas; `,,` stands for a comma.
pub(crate) fn split_commas(text: &str) -> Vec<String> {
    let mut items = vec![String::new()];
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let last = items.len() - 1;
        if c != ',' {
            items[last].push(c);
        } else if chars.peek() == Some(&',') {
            chars.next();
            items[last].push(',');
        } else {
            items.push(String::new());
        }
    }
    if text.is_empty() { Vec::new() } else { items }
}

/// on/off and their synonyms.
pub(crate) fn parse_bool(v: &str) -> Option<bool> {
    match v {
        "on" | "yes" | "true" | "y" => Some(true),
        "off" | "no" | "false" | "n" => Some(false),
        _ => None,
    }
}

/// Decimal or 0x-hexadecimal.
pub(crate) fn parse_number(v: &str) -> Option<u64> {
    match v.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => v.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_implied_keys_and_leftovers() {
        let mut k = KeyVal::parse("drive", "a,,b.img,media=disk,snapshot,fromat=raw", Some("file")).unwrap();
        assert_eq!(k.take("file").as_deref(), Some("a,b.img"));
        assert_eq!(k.take_word("media", &["disk", "cdrom"]).unwrap(), Some("disk"));
        assert_eq!(k.take_bool("snapshot").unwrap(), Some(true));
        assert_eq!(k.take("format"), None);
        let e = k.finish().unwrap_err().0;
        assert!(e.contains("unknown property 'fromat'; did you mean format?"), "{e}");
    }
}
