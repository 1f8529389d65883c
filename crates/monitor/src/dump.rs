//! `x`, `xp` and `print`: formats, memory dumps and disassembly, in the layout of QEMU's monitor.
//!
//! A format is `/[count][format][size]`: format x, d, u, o, c or i; size b, h, w or g (1, 2, 4 or 8 bytes). Format
//! and size stay for the next command, as in gdb.

use std::fmt::Write;

use iced_x86::{Decoder, DecoderOptions, Formatter, GasFormatter};

/// Things shown by one command at most: what keeps a slip of the finger from filling the host's memory.
const MOST: u64 = 1 << 20;

/// A format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Format {
    /// How many.
    pub(crate) count: u64,
    /// x, d, u, o, c or i.
    pub(crate) kind: char,
    /// Bytes of each.
    pub(crate) size: usize,
}

impl Default for Format {
    fn default() -> Self {
        Self { count: 1, kind: 'x', size: 4 }
    }
}

impl Format {
    /// Takes a format off the front of `text`, if it starts with one; what it leaves out comes from `last`.
    pub(crate) fn parse(text: &str, last: Self) -> Result<(Self, &str), String> {
        let mut format = Self { count: 1, ..last };
        let Some(text) = text.strip_prefix('/') else { return Ok((format, text)) };
        let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (digits, rest) = text.split_at(end);
        if !digits.is_empty() {
            let count = digits.parse().ok().filter(|n| *n <= MOST);
            format.count = count.ok_or_else(|| format!("{digits}: at most {MOST} at a time"))?;
        }
        let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
        let (letters, rest) = rest.split_at(end);
        let mut sized = false;
        for c in letters.chars() {
            match c {
                'x' | 'd' | 'u' | 'o' | 'c' | 'i' => format.kind = c,
                'b' | 'h' | 'w' | 'g' => {
                    sized = true;
                    format.size = match c {
                        'b' => 1,
                        'h' => 2,
                        'w' => 4,
                        _ => 8,
                    };
                }
                c => return Err(format!("invalid char in format: '{c}'")),
            }
        }
        if format.kind == 'c' && !sized {
            format.size = 1;
        }
        Ok((format, rest.trim_start()))
    }

    /// One value, without the padding of a table.
    pub(crate) fn print(self, value: u64) -> String {
        match self.kind {
            'o' if value != 0 => format!("0{value:o}"),
            'x' if value != 0 => format!("{value:#x}"),
            'o' | 'x' => "0".into(),
            'u' => value.to_string(),
            'c' => character(value as u8),
            _ => (value as i64).to_string(),
        }
    }

    fn cell(self, value: u64) -> String {
        let bits = self.size * 8;
        let signed = || (value << (64 - bits)) as i64 >> (64 - bits);
        match self.kind {
            'o' => {
                let digits = bits.div_ceil(3);
                let text = if value == 0 { "0".into() } else { format!("0{value:o}") };
                format!("{text:>digits$}")
            }
            'u' => format!("{value:width$}", width = (bits * 10).div_ceil(33)),
            'd' => format!("{:width$}", signed(), width = (bits * 10).div_ceil(33)),
            'c' => character(value as u8),
            _ => format!("0x{value:0width$x}", width = bits / 4),
        }
    }
}

fn character(byte: u8) -> String {
    match byte {
        b'\'' => "'\\''".into(),
        b'\\' => "'\\\\'".into(),
        b'\n' => "'\\n'".into(),
        b'\r' => "'\\r'".into(),
        0x20..=0x7E => format!("'{}'", byte as char),
        _ => format!("'\\x{byte:02x}'"),
    }
}

/// Dumps memory from `address`. `read` fills a buffer from an address, or says that nothing is there.
pub(crate) fn memory(address: u64, format: Format, mut read: impl FnMut(u64, &mut [u8]) -> bool) -> String {
    let size = if format.kind == 'c' { 1 } else { format.size };
    let format = Format { size, ..format };
    let per_line = if size == 1 { 8 } else { 16 / size as u64 };
    let mut out = String::new();
    let mut at = address;
    let mut left = format.count;
    while left > 0 {
        // Writing to a String cannot fail.
        let _ = write!(out, "{at:016x}:");
        for _ in 0..left.min(per_line) {
            let mut bytes = [0; 8];
            if !bytes.get_mut(..size).is_some_and(|b| read(at, b)) {
                out += " Cannot access memory\n";
                return out;
            }
            out.push(' ');
            out += &format.cell(u64::from_le_bytes(bytes));
            at = at.wrapping_add(size as u64);
        }
        left -= left.min(per_line);
        out.push('\n');
    }
    out
}

/// Disassembles `count` instructions of `bits`-bit code from `address`, in AT&T syntax.
pub(crate) fn code(address: u64, count: u64, bits: u32, mut read: impl FnMut(u64, &mut [u8]) -> bool) -> String {
    let mut formatter = GasFormatter::new();
    let options = formatter.options_mut();
    options.set_space_after_operand_separator(true);
    options.set_branch_leading_zeros(false);
    options.set_uppercase_hex(false);
    options.set_small_hex_numbers_in_decimal(false);
    options.set_first_operand_char_index(9);
    let mut out = String::new();
    let mut at = address;
    for _ in 0..count {
        let mut bytes = [0; 15];
        let there = (0..15u64)
            .take_while(|i| bytes.get_mut(*i as usize..*i as usize + 1).is_some_and(|b| read(at.wrapping_add(*i), b)));
        let there = there.count();
        let code = bytes.get(..there).unwrap_or_default();
        let _ = write!(out, "0x{at:08x}: "); // writing to a String cannot fail
        if code.is_empty() {
            out += " Cannot access memory\n";
            return out;
        }
        let mut decoder = Decoder::with_ip(bits, code, at, DecoderOptions::NONE);
        let instruction = decoder.decode();
        let (length, text) = if instruction.is_invalid() {
            (1, format!("{:<9}0x{:02x}", ".byte", code.first().copied().unwrap_or(0)))
        } else {
            let mut text = String::new();
            formatter.format(&instruction, &mut text);
            (instruction.len(), text)
        };
        let hex: String = code.iter().take(length).map(|b| format!(" {b:02x}")).collect();
        let _ = writeln!(out, "{hex:<25} {}", text.trim_end());
        at = at.wrapping_add(length as u64);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format(text: &str) -> Format {
        Format::parse(text, Format::default()).unwrap().0
    }

    /// Memory that ends at 0xB8020.
    fn read(data: &[u8]) -> impl FnMut(u64, &mut [u8]) -> bool {
        move |at, out| {
            let from = at.wrapping_sub(0xB8000) as usize;
            let Some(part) = from.checked_add(out.len()).and_then(|to| data.get(from..to)) else { return false };
            out.copy_from_slice(part);
            true
        }
    }

    #[test]
    fn formats_parse_and_stay() {
        let (f, rest) = Format::parse("/10xh 0x10", Format::default()).unwrap();
        assert_eq!((f, rest), (Format { count: 10, kind: 'x', size: 2 }, "0x10"));
        assert_eq!(Format::parse("0x10", f).unwrap(), (Format { count: 1, kind: 'x', size: 2 }, "0x10"));
        assert_eq!(format("/i"), Format { count: 1, kind: 'i', size: 4 });
        assert_eq!(format("/3c").size, 1);
        assert!(Format::parse("/q", f).is_err());
        assert!(Format::parse("/99999999999999999999x", f).is_err());
    }

    #[test]
    fn tables_have_qemus_layout() {
        let data: Vec<u8> = [0x20, 0x07].repeat(16);
        let dump = |f: &str| memory(0xB8000, format(f), read(&data));
        assert_eq!(
            dump("/10xh"),
            "00000000000b8000: 0x0720 0x0720 0x0720 0x0720 0x0720 0x0720 0x0720 0x0720\n\
             00000000000b8010: 0x0720 0x0720\n"
        );
        assert_eq!(dump("/x"), "00000000000b8000: 0x07200720\n");
        assert_eq!(dump("/2xg"), "00000000000b8000: 0x0720072007200720 0x0720072007200720\n");
        assert_eq!(dump("/2db"), "00000000000b8000:  32   7\n");
        assert_eq!(dump("/2uh"), "00000000000b8000:  1824  1824\n");
        assert_eq!(dump("/ob"), "00000000000b8000: 040\n");
        assert_eq!(dump("/3c"), "00000000000b8000: ' ' '\\x07' ' '\n");
        assert!(dump("/20xh").ends_with("00000000000b8020: Cannot access memory\n"), "{}", dump("/20xh"));
        let minus = memory(0xB8000, format("/2dw"), read(&[0xFF; 8]));
        assert_eq!(minus, "00000000000b8000:         -1         -1\n");
    }

    #[test]
    fn print_formats() {
        let p = |f: &str, v| format(f).print(v);
        assert_eq!(
            [p("/x", 255), p("/x", 0), p("/o", 8), p("/u", u64::MAX), p("/d", u64::MAX), p("/c", 65)],
            ["0xff", "0", "010", "18446744073709551615", "-1", "'A'"]
        );
    }

    #[test]
    fn disassembly() {
        let bytes = [0xF4, 0x48, 0x89, 0xD8, 0xEB, 0xFE, 0x0F, 0xFF];
        let text = code(0xB8000, 4, 64, read(&bytes));
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "0x000b8000:  f4                       hlt");
        assert_eq!(lines[1], "0x000b8001:  48 89 d8                 mov      %rbx, %rax");
        assert!(lines[2].ends_with(" jmp      0xb8004"), "{text}");
        assert!(code(0xB8008, 4, 16, read(&bytes)).ends_with(": Cannot access memory\n".trim_start_matches(':')));
    }
}
