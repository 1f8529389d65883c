//! What a guest shows on the VGA text screen, read through the monitor (`xp /2000hx 0xb8000`: 80 x 25 cells of character and attribute), and
//! keys pressed through it (`sendkey`).

use crate::vmm::Guest;
use anyhow::{Result, bail};
use std::thread;
use std::time::{Duration, Instant};

/// How often a wait says that it is still waiting.
const BEAT: Duration = Duration::from_secs(10);
const CELLS: usize = 80 * 25;

/// The screen's 25 lines, trailing blanks removed.
pub fn read(guest: &mut Guest) -> Result<Vec<String>> {
    let monitor = guest.monitor()?;
    monitor.take();
    monitor.line(&format!("xp /{CELLS}hx 0xb8000"))?;
    let limit = Instant::now() + Duration::from_secs(30);
    loop {
        let cells = parse(&monitor.peek());
        if cells.len() >= CELLS {
            monitor.take();
            return Ok(lines(&cells));
        }
        if monitor.is_closed() || Instant::now() >= limit {
            bail!(
                "the monitor did not answer `xp` ({} of {CELLS} values); log: {}",
                cells.len(),
                monitor.log().display()
            );
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// Presses one key.
pub fn key(guest: &mut Guest, key: &str) -> Result<()> {
    guest.monitor()?.line(&format!("sendkey {key}"))
}

/// Waits until a line of the screen fulfils `test`; returns that line.
pub fn expect(guest: &mut Guest, what: &str, seconds: u64, test: impl Fn(&str) -> bool) -> Result<String> {
    let started = Instant::now();
    let mut beat = started;
    loop {
        let screen = read(guest)?;
        if let Some(line) = screen.iter().find(|line| test(line)) {
            return Ok(line.clone());
        }
        if beat.elapsed() >= BEAT {
            beat = Instant::now();
            let second = screen.iter().filter(|line| !line.is_empty()).nth(1).map_or("", String::as_str);
            println!("[screen] {:4} s  waiting for the {what}; it shows: {second}", started.elapsed().as_secs());
        }
        if started.elapsed() >= Duration::from_secs(seconds) {
            let text: Vec<String> = screen.into_iter().filter(|line| !line.is_empty()).collect();
            bail!("no {what} on the screen after {seconds} s; it shows:\n{}", text.join("\n"));
        }
        thread::sleep(Duration::from_millis(200));
    }
}

/// The values of lines of the form `00000000000b8000: 0x0720 0x0741`.
fn parse(text: &str) -> Vec<u16> {
    let mut values = Vec::with_capacity(CELLS);
    // The last line may still be on its way.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    for line in whole.lines() {
        let Some((address, rest)) = line.split_once(':') else { continue };
        let address = address.trim();
        if address.len() < 5 || !address.chars().all(|c| c.is_ascii_hexdigit()) {
            continue;
        }
        values
            .extend(rest.split_whitespace().filter_map(|word| u16::from_str_radix(word.strip_prefix("0x")?, 16).ok()));
    }
    values
}

fn lines(cells: &[u16]) -> Vec<String> {
    let text =
        |row: &[u16]| row.iter().map(|cell| glyph(cell.to_le_bytes()[0])).collect::<String>().trim_end().to_owned();
    cells.chunks(80).take(25).map(text).collect()
}

/// Code page 437 as far as text goes; the rest is only decoration.
fn glyph(code: u8) -> char {
    match code {
        0 | 0xff => ' ',
        0x20..=0x7e => char::from(code),
        _ => '.',
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_monitors_table() {
        let text =
            "(qemu) xp /4hx 0xb8000\r\n00000000000b8000: 0x0741 0x0742\r\n00000000000b8004: 0x0700 0x07c4\r\n(qemu) ";
        let cells = parse(text);
        assert_eq!(cells, [0x741, 0x742, 0x700, 0x7c4]);
        assert_eq!(lines(&cells), ["AB ."]);
    }

    #[test]
    fn waits_for_whole_lines() {
        assert_eq!(parse("00000000000b8000: 0x0741 0x07"), Vec::<u16>::new());
    }
}
