//! Graphics modes of the BIOS as they are after a mode set: CGA's, planar ones, 256 colours.

use super::code::{Code, noise};
use super::picture::{Picture, Walk, cga, default_palette, ega, mode_13, mono, planar};
use super::{Agent, Case, Fonts};
use anyhow::Result;

pub(super) const CASES: &[(&str, Case)] =
    &[("CGA modes", cga_modes), ("planar modes", planar_modes), ("mode 0f", mode_0f), ("mode 13", mode_13h)];

/// Writes the same noise as [`planes`] has.
pub(super) fn draw_planes(mut code: Code, count: u16, which: u8) -> Code {
    for plane in (0..4).filter(|p| which >> p & 1 != 0) {
        code = code.seq(2, 1 << plane).noise(0xA000, 0, count, 100 + plane);
    }
    code.seq(2, 0xF)
}

/// The memory after it; other planes are empty.
pub(super) fn planes(count: usize, which: u8) -> [Vec<u8>; 4] {
    std::array::from_fn(|p| if which >> p & 1 != 0 { noise(100 + p as u16, count) } else { vec![0; count] })
}

fn cga_modes(agent: &mut Agent, _: &Fonts) -> Result<()> {
    let memory = noise(9, 0x4000);
    // Rows alternate between two banks of 8 KiB.
    let byte = |y: usize, x: usize| memory[((y / 2) & 1) * 0x2000 + y / 4 * 80 + x];
    for mode in [4, 5] {
        agent.run(Code::new().mode(mode).noise(0xB800, 0, 0x4000, 9))?;
        let colours = [0, 11, 13, 15].map(cga);
        let pixel = |x: usize, y: usize| colours[usize::from(byte(y, x / 8) >> (6 - x / 2 % 4 * 2) & 3)];
        agent.shows(&format!("mode {mode:02x}"), &Picture::new(640, 400, pixel))?;
    }
    agent.run(Code::new().mode(6).noise(0xB800, 0, 0x4000, 9))?;
    let pixel = |x: usize, y: usize| if byte(y, x / 8) >> (7 - x % 8) & 1 != 0 { cga(15) } else { 0 };
    agent.shows("mode 06", &Picture::new(640, 400, pixel))
}

fn planar_modes(agent: &mut Agent, _: &Fonts) -> Result<()> {
    for (mode, lines, row, wide) in
        [(0xD, 400, 2, true), (0xE, 400, 2, false), (0x10, 350, 1, false), (0x12, 480, 1, false), (0x11, 480, 1, false)]
    {
        let which = if mode == 0x11 { 1 } else { 0xF };
        agent.run(draw_planes(Code::new().mode(mode), 0x9600, which))?;
        let memory = planes(0x9600, which);
        let mut palette = default_palette(row == 2);
        if mode == 0x11 {
            palette = [ega(0x3F); 16];
            palette[0] = 0;
        }
        let walk = Walk { wide, ..Walk::new(640, lines, row, if wide { 40 } else { 80 }) };
        agent.shows(&format!("mode {mode:02x}"), &walk.draw(|base, _, at| palette[planar(&memory, base, at)]))?;
    }
    Ok(())
}

/// SeaBIOS shows plane 0 only; the book's mode control and plane enable are set here. Plane 0 is video, plane 2 intensity; intensity alone is video that blinks (palette registers 4 and, with the bit that blinking turns, 12).
fn mode_0f(agent: &mut Agent, _: &Fonts) -> Result<()> {
    agent.run(draw_planes(Code::new().mode(0xF), 0x6D60, 5).attr(0x10, 0xB).attr(0x12, 5))?;
    let memory = planes(0x6D60, 5);
    let phase = |turned: bool| {
        let colours = [0, 8, 0x18, if turned { 0 } else { 0x18 }].map(mono);
        Walk::new(640, 350, 1, 80).draw(|base, _, at| match planar(&memory, base, at) {
            0 => colours[0],
            1 => colours[1],
            4 => colours[3],
            _ => colours[2],
        })
    };
    agent.alternates("mode 0f", &[phase(false), phase(true)])
}

fn mode_13h(agent: &mut Agent, _: &Fonts) -> Result<()> {
    agent.run(Code::new().mode(0x13).noise(0xA000, 0, 64000, 5))?;
    let memory = noise(5, 64000);
    agent.shows("mode 13", &Picture::new(640, 400, |x, y| mode_13(memory[y / 2 * 320 + x / 2])))
}
