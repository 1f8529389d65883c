//! Sizes with QEMU's suffixes.

/// Parses `text` as a byte count; without a suffix it counts units of `default_unit` bytes. Suffixes: b, k, M, G, T,
/// P (powers of 1024, either case); a decimal fraction is allowed with a suffix.
pub fn parse_size(text: &str, default_unit: u64) -> Option<u64> {
    let (number, unit) = match text.char_indices().last()? {
        (i, c) if c.is_ascii_alphabetic() && !text.starts_with("0x") => {
            let shift = match c.to_ascii_lowercase() {
                'b' => 0,
                'k' => 10,
                'm' => 20,
                'g' => 30,
                't' => 40,
                'p' => 50,
                _ => return None,
            };
            (&text[..i], 1u64 << shift)
        }
        _ => (text, default_unit),
    };
    if let Some((whole, fraction)) = number.split_once('.') {
        let whole: u64 = whole.parse().ok()?;
        if fraction.is_empty() || fraction.len() > 9 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let part = u128::from(fraction.parse::<u64>().ok()?) * u128::from(unit) / 10u128.pow(fraction.len() as u32);
        return whole.checked_mul(unit)?.checked_add(u64::try_from(part).ok()?);
    }
    let value = match number.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok()?,
        None => number.parse().ok()?,
    };
    value.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::parse_size;

    #[test]
    fn suffixes_fractions_and_overflow() {
        assert_eq!(parse_size("2G", 1 << 20), Some(2 << 30));
        assert_eq!(parse_size("512", 1 << 20), Some(512 << 20));
        assert_eq!(parse_size("1.5g", 1), Some(3 << 29));
        assert_eq!(parse_size("0x10", 1), Some(16));
        for bad in ["", "G", "2Q", "-1", "1.G", "99999999999999999999", "99999999999P"] {
            assert_eq!(parse_size(bad, 1), None, "{bad}");
        }
    }
}
