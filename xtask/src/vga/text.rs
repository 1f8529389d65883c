//! Text modes: characters of 8 and 9 dots, cursor shapes, blinking, underlines, fonts, panning, scrolling, the split screen.

use super::code::{Code, noise};
use super::picture::{Text, Walk, default_palette, mono};
use super::{Agent, Case, Fonts};
use anyhow::Result;

pub(super) const CASES: &[(&str, Case)] = &[
    ("text modes", every_mode),
    ("cursor", cursor),
    ("blinking", blinking),
    ("underline", underline),
    ("eight dots", eight_dots),
    ("two fonts", two_fonts),
    ("rows of 8 and 14 lines", other_fonts),
    ("panning", panning),
    ("preset row, start address, offset", scrolling),
    ("split screen", split),
    ("palette", palette),
];

const SCREEN: u16 = 0xB800;

/// Mode 3 with noise in 16 KiB of memory, no cursor, bright backgrounds.
fn mode_3(code: Code) -> Code {
    no_cursor(code.mode(3)).noise(SCREEN, 0, 0x4000, 3)
}

fn no_cursor(code: Code) -> Code {
    code.ax(0x100).cx(0x2000).int10().ax(0x1003).bx(0).int10()
}

fn walk_3() -> Walk {
    Walk::new(720, 400, 16, 80)
}

fn text<'a>(walk: Walk, cells: &'a [u8], fonts: &'a Fonts) -> Text<'a> {
    Text {
        walk,
        cells,
        fonts: [&fonts.f16; 2],
        glyph: 16,
        dots: 9,
        palette: default_palette(false),
        blink: None,
        line_graphics: true,
        underline: 99,
        cursor: None,
    }
}

fn every_mode(agent: &mut Agent, fonts: &Fonts) -> Result<()> {
    let cells = noise(3, 0x4000);
    for mode in [0, 1, 2, 3, 7] {
        let segment = if mode == 7 { 0xB000 } else { SCREEN };
        agent.run(no_cursor(Code::new().mode(mode)).noise(segment, 0, 0x4000, 3))?;
        let columns = if mode < 2 { 40 } else { 80 };
        let walk = Walk { wide: mode < 2, ..Walk::new(720, 400, 16, columns) };
        let mut screen = text(walk, &cells, fonts);
        if mode == 7 {
            // Attributes 1 to 7 are video, 9 to 15 with intensity.
            screen.palette = std::array::from_fn(|i| mono([0, 8, 0x10, 0x18][usize::from(i & 7 != 0) | i >> 3 << 1]));
            screen.underline = 0xF;
        }
        agent.shows(&format!("mode {mode:02x}"), &screen.picture())?;
    }
    Ok(())
}

fn cursor(agent: &mut Agent, fonts: &Fonts) -> Result<()> {
    let cells = noise(3, 0x4000);
    for (first, last) in [(14, 15), (0, 15), (3, 3), (9, 4)] {
        // Row 5, column 7.
        let code = mode_3(Code::new()).ax(0x200).bx(0).dx(0x507).int10();
        agent.run(code.crtc(0xA, first).crtc(0xB, last))?;
        let without = text(walk_3(), &cells, fonts);
        let with = Text { cursor: Some((5 * 80 + 7, first.into(), last.into())), ..without.clone() };
        let (with, without) = (with.picture(), without.picture());
        if first > last {
            agent.shows("cursor that ends before it starts", &without)?;
        } else {
            agent.alternates(&format!("cursor of lines {first} to {last}"), &[with, without])?;
        }
    }
    agent.run(Code::new().crtc(0xA, 0x2E))?;
    agent.shows("cursor off", &text(walk_3(), &cells, fonts).picture())
}

fn blinking(agent: &mut Agent, fonts: &Fonts) -> Result<()> {
    let cells = noise(3, 0x4000);
    agent.run(mode_3(Code::new()).ax(0x1003).bx(1).int10())?;
    let phase = |shown| Text { blink: Some(shown), ..text(walk_3(), &cells, fonts) }.picture();
    agent.alternates("blinking characters", &[phase(true), phase(false)])
}

fn underline(agent: &mut Agent, fonts: &Fonts) -> Result<()> {
    let cells = noise(3, 0x4000);
    for line in [0, 7, 12, 15] {
        agent.run(mode_3(Code::new()).crtc_change(0x14, 0xE0, line))?;
        let screen = Text { underline: line.into(), ..text(walk_3(), &cells, fonts) };
        agent.shows(&format!("underlines in line {line}"), &screen.picture())?;
    }
    Ok(())
}

fn eight_dots(agent: &mut Agent, fonts: &Fonts) -> Result<()> {
    let cells = noise(3, 0x4000);
    agent.run(mode_3(Code::new()).seq(1, 1).attr(0x13, 0))?;
    let screen = Text { dots: 8, ..text(Walk::new(640, 400, 16, 80), &cells, fonts) };
    agent.shows("characters of 8 dots", &screen.picture())?;
    agent.run(Code::new().seq(1, 0).attr(0x13, 8).attr(0x10, 0))?;
    let screen = Text { line_graphics: false, ..text(walk_3(), &cells, fonts) };
    agent.shows("no line graphics", &screen.picture())
}

/// The 8 x 16 font in block 0, another at block 5 (24 KiB and 8 from the start: value 4 to 7 are between the even ones).
fn two_fonts(agent: &mut Agent, fonts: &Fonts) -> Result<()> {
    let cells = noise(3, 0x4000);
    let other = noise(77, 256 * 16);
    for (block, offset) in [(1_u8, 0x4000_u16), (4, 0x2000), (5, 0x6000), (7, 0xE000)] {
        // Plane 2 as bytes, noise there in 256 steps of 32 bytes.
        let mut code = mode_3(Code::new()).seq(2, 4).seq(4, 6).gc(5, 0).gc(6, 4);
        // es: A000; ax: seed; di: offset; bx: characters. Each: 16 bytes, 16 skipped.
        code = code.es(0xA000).di(offset).bx(256).ax(77).bytes(&[0xB9, 16, 0]);
        code = code.bytes(&[0x69, 0xC0, 0x55, 0x62, 0x05, 0x19, 0x36, 0x26, 0x88, 0x25, 0x47, 0xE2, 0xF3]);
        code = code.bytes(&[0x83, 0xC7, 16, 0x4B, 0x75, 0xEA]); // add di, 16; dec bx; jnz to mov cx
        code = code.seq(2, 3).seq(4, 2).gc(5, 0x10).gc(6, 0xE);
        // Bits 3, 2 and 5: the font of attribute bit 3 set.
        agent.run(code.seq(3, (block & 3) << 2 | (block & 4) << 3))?;
        let screen = Text { fonts: [&fonts.f16, &other], ..text(walk_3(), &cells, fonts) };
        // The book: bit 3 clear is map B's bits 4, 1, 0; set is map A's bits 5, 3, 2.
        agent.shows(&format!("second font in block {block}"), &screen.picture())?;
        agent.run(Code::new().seq(3, block & 3 | (block & 4) << 2))?;
        let screen = Text { fonts: [&other, &fonts.f16], ..text(walk_3(), &cells, fonts) };
        agent.shows(&format!("first font in block {block}"), &screen.picture())?;
    }
    Ok(())
}

fn other_fonts(agent: &mut Agent, fonts: &Fonts) -> Result<()> {
    let cells = noise(3, 0x4000);
    for (service, font, glyph) in [(0x1112, &fonts.f8, 8), (0x1111, &fonts.f14, 14)] {
        let code = Code::new().mode(3).ax(service).bx(0).int10();
        agent.run(no_cursor(code).noise(SCREEN, 0, 0x4000, 3))?;
        // Eight lines of a row more than 28 stay to be seen with 14 lines.
        let walk = Walk::new(720, 400, glyph, 80);
        let screen = Text { glyph, fonts: [font, font], ..text(walk, &cells, fonts) };
        agent.shows(&format!("rows of {glyph} lines"), &screen.picture())?;
    }
    Ok(())
}

fn panning(agent: &mut Agent, fonts: &Fonts) -> Result<()> {
    let cells = noise(3, 0x4000);
    for value in 0..9_u8 {
        agent.run(mode_3(Code::new()).attr(0x13, value))?;
        // Of nine dots, 8 is the normal position, 0 to 7 move by 1 to 8.
        let pan = usize::from((value + 1) % 9);
        agent.shows(&format!("panning {value}"), &text(Walk { pan, ..walk_3() }, &cells, fonts).picture())?;
    }
    Ok(())
}

fn scrolling(agent: &mut Agent, fonts: &Fonts) -> Result<()> {
    let cells = noise(3, 0x4000);
    agent.run(mode_3(Code::new()).crtc(0xC, 1).crtc(0xD, 0x23).crtc(8, 5))?;
    let walk = Walk { start: 0x123, preset: 5, ..walk_3() };
    agent.shows("preset row", &text(walk, &cells, fonts).picture())?;
    agent.run(Code::new().crtc(8, 0x40 | 15).crtc(0x13, 100))?;
    let walk = Walk { start: 0x125, preset: 15, pitch: 200, ..walk_3() };
    agent.shows("byte panning, offset", &text(walk, &cells, fonts).picture())
}

fn split(agent: &mut Agent, fonts: &Fonts) -> Result<()> {
    let cells = noise(3, 0x4000);
    for (line, unpanned) in [(0x8F_u16, false), (0x8F, true), (0x123, true), (0, false)] {
        let code = mode_3(Code::new()).unlock().crtc(0xC, 2).crtc(0xD, 0).crtc(8, 3).attr(0x13, 4);
        let code = code.crtc(0x18, line as u8).crtc_change(7, 0xEF, ((line >> 4) & 0x10) as u8).crtc_change(9, 0xBF, 0);
        agent.run(code.attr(0x10, if unpanned { 0x24 } else { 4 }))?;
        let walk = Walk { start: 0x200, preset: 3, pan: 5, split: line.into(), split_unpanned: unpanned, ..walk_3() };
        agent.shows(&format!("split after line {line}"), &text(walk, &cells, fonts).picture())?;
    }
    Ok(())
}

/// Palette registers, colour select with both widths, the DAC's mask.
fn palette(agent: &mut Agent, fonts: &Fonts) -> Result<()> {
    use super::picture::ega;
    let cells = noise(3, 0x4000);
    agent.run(mode_3(Code::new()).attr(7, 0x2B).attr(0, 1))?;
    let mut colours = default_palette(false);
    (colours[7], colours[0]) = (ega(0x2B), ega(1));
    let with = |palette| Text { palette, ..text(walk_3(), &cells, fonts) }.picture();
    agent.shows("palette registers", &with(colours))?;
    // Colour select bits 1 and 0 replace bits 5 and 4 of the palette registers: 0x14 becomes 0x24, ...
    agent.run(mode_3(Code::new()).attr(0x10, 0x84).attr(0x14, 2))?;
    let normal = |i: usize| if i == 6 { 0x14 } else { (i & 7 | if i > 7 { 0x38 } else { 0 }) as u8 };
    agent.shows("colour select", &with(std::array::from_fn(|i| ega(normal(i) & 0xF | 0x20))))?;
    agent.run(mode_3(Code::new()).out(0x3C6, 0x2A))?;
    agent.shows("mask of the DAC", &with(std::array::from_fn(|i| ega(normal(i) & 0x2A))))?;
    agent.run(Code::new().out(0x3C6, 0xFF))
}
