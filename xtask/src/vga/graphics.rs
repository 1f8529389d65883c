//! What programs do to graphics modes with the registers: panning, the split screen, planes off, unchained 256 colours, blinking.

use super::code::{Code, noise};
use super::modes::{draw_planes, planes};
use super::picture::{Picture, Walk, default_palette, mode_13, planar};
use super::{Agent, Case, Fonts};
use anyhow::Result;

pub(super) const CASES: &[(&str, Case)] = &[
    ("planar panning", panning),
    ("planar split screen", split),
    ("planes off", planes_off),
    ("blinking dots", blinking),
    ("panning of 256 colours", panning_13),
    ("unchained 256 colours", mode_x),
    ("CGA addressing of planes", cga_addressing),
    ("dark screens", dark),
];

fn mode_12(walk: &Walk, memory: &[Vec<u8>; 4], enabled: usize) -> Picture {
    let palette = default_palette(false);
    walk.draw(|base, _, at| palette[planar(memory, base, at) & enabled])
}

fn panning(agent: &mut Agent, _: &Fonts) -> Result<()> {
    let memory = planes(0xFFFF, 0xF);
    agent.run(draw_planes(Code::new().mode(0x12), 0xFFFF, 0xF))?;
    let walk = Walk::new(640, 480, 1, 80);
    for pan in 0..8_u8 {
        let start = 0x1200 + usize::from(pan) * 0x111;
        let [high, low] = (start as u16).to_be_bytes();
        agent.run(Code::new().crtc(0xC, high).crtc(0xD, low).attr(0x13, pan))?;
        let walk = Walk { pan: pan.into(), start, ..walk };
        agent.shows(&format!("panning {pan}"), &mode_12(&walk, &memory, 15))?;
    }
    agent.run(Code::new().crtc(0x13, 50).crtc(8, 0x60))?;
    let start = 0x1200 + 7 * 0x111 + 3;
    agent.shows("offset and byte panning", &mode_12(&Walk { pan: 7, start, pitch: 100, ..walk }, &memory, 15))
}

/// The line compare counts scan lines, also where each is shown twice.
fn split(agent: &mut Agent, _: &Fonts) -> Result<()> {
    let memory = planes(0xF000, 0xF);
    for (line, unpanned) in [(0x64_u16, false), (0x65, true), (0x151, true)] {
        for mode in [0xD, 0x12] {
            let code =
                draw_planes(Code::new().mode(mode), 0xF000, 0xF).unlock().crtc(0xC, 0x20).crtc(0xD, 0).attr(0x13, 3);
            let code =
                code.crtc(0x18, line as u8).crtc_change(7, 0xEF, ((line >> 4) & 0x10) as u8).crtc_change(9, 0xBF, 0);
            agent.run(code.attr(0x10, if unpanned { 0x21 } else { 1 }))?;
            let walk = if mode == 0xD { Walk::new(640, 400, 2, 40) } else { Walk::new(640, 480, 1, 80) };
            let wide = mode == 0xD;
            let walk = Walk { wide, start: 0x2000, pan: 3, split: line.into(), split_unpanned: unpanned, ..walk };
            let palette = default_palette(wide);
            let expected = walk.draw(|base, _, at| palette[planar(&memory, base, at)]);
            agent.shows(&format!("split of mode {mode:02x} after line {line}"), &expected)?;
        }
    }
    Ok(())
}

fn planes_off(agent: &mut Agent, _: &Fonts) -> Result<()> {
    let memory = planes(0x9600, 0xF);
    agent.run(draw_planes(Code::new().mode(0x12), 0x9600, 0xF))?;
    for enabled in [1, 6, 9, 0] {
        agent.run(Code::new().attr(0x12, enabled))?;
        let expected = mode_12(&Walk::new(640, 480, 1, 80), &memory, enabled.into());
        agent.shows(&format!("planes {enabled:x}"), &expected)?;
    }
    Ok(())
}

/// Attribute mode bit 3 in a colour mode: dots with bit 3 lose it half of the time.
fn blinking(agent: &mut Agent, _: &Fonts) -> Result<()> {
    let memory = planes(0x9600, 0xF);
    agent.run(draw_planes(Code::new().mode(0x12), 0x9600, 0xF).attr(0x10, 9))?;
    let phase = |mask| mode_12(&Walk::new(640, 480, 1, 80), &memory, mask);
    agent.alternates("blinking dots", &[phase(15), phase(7)])
}

/// Dots are two pixels of the counter wide: even values move by whole ones.
fn panning_13(agent: &mut Agent, _: &Fonts) -> Result<()> {
    let memory = noise(5, 0xFFFF);
    agent.run(Code::new().mode(0x13).noise(0xA000, 0, 0xFFFF, 5))?;
    for (value, start) in [(0, 80), (2, 0), (4, 1), (6, 3)] {
        agent.run(Code::new().crtc(0xC, 0).crtc(0xD, start).attr(0x13, value))?;
        let first = usize::from(start) * 4 + usize::from(value) / 2;
        let pixel = |x: usize, y: usize| mode_13(memory[first + y / 2 * 320 + x / 2]);
        agent.shows(&format!("mode 13 from {start}, panned {value}"), &Picture::new(640, 400, pixel))?;
    }
    Ok(())
}

/// 320 x 240 and 320 x 400 in four planes, as games set them up.
fn mode_x(agent: &mut Agent, _: &Fonts) -> Result<()> {
    // Chain 4 off, byte addresses, single lines.
    let base = |code: Code| code.mode(0x13).seq(4, 6).unlock().crtc(0x14, 0).crtc(0x17, 0xE3);
    let memory = planes(0xFFFF, 0xF);
    let pixel = |memory: &[Vec<u8>; 4], row: usize, x: usize| mode_13(memory[x % 4][row * 80 + x / 4]);
    agent.run(draw_planes(base(Code::new()).crtc(9, 0x40), 0xFFFF, 0xF))?;
    agent.shows("320 x 400", &Picture::new(640, 400, |x, y| pixel(&memory, y, x / 2)))?;
    let code = base(Code::new()).out(0x3C2, 0xE3).crtc(6, 0xD).crtc(7, 0x3E).crtc(9, 0x41).crtc(0x10, 0xEA);
    let code = code.crtc(0x11, 0x2C).crtc(0x12, 0xDF).crtc(0x15, 0xE7).crtc(0x16, 6);
    agent.run(draw_planes(code, 0xFFFF, 0xF))?;
    agent.shows("320 x 240", &Picture::new(640, 480, |x, y| pixel(&memory, y / 2, x / 2)))
}

/// Row scan bits 0 and 1 as address bits 13 and 14, in a mode of four planes.
fn cga_addressing(agent: &mut Agent, _: &Fonts) -> Result<()> {
    let memory = planes(0xFFFF, 0xF);
    agent.run(draw_planes(Code::new().mode(0x12), 0xFFFF, 0xF).unlock().crtc(9, 0x43).crtc(0x17, 0xE0))?;
    let palette = default_palette(false);
    let expected = Walk::new(640, 480, 4, 80).draw(|base, line, at| {
        let address = (base + at / 8) & !0x6000 | line << 13;
        palette[planar(&memory, address, at % 8)]
    });
    agent.shows("four banks", &expected)?;
    // Word mode: the counter's bit 15 (or 13) becomes bit 0.
    for (control, bit) in [(0xA3, 15), (0x83, 13)] {
        agent.run(Code::new().crtc(9, 0x40).crtc(0x17, control).crtc(0xC, 0x1F).crtc(0xD, 0))?;
        let expected = Walk { start: 0x1F00, ..Walk::new(640, 480, 1, 80) }.draw(|base, _, at| {
            let counter = base + at / 8;
            palette[planar(&memory, (counter << 1 | counter >> bit & 1) & 0xFFFF, at % 8)]
        });
        agent.shows(&format!("word mode with bit {bit}"), &expected)?;
    }
    Ok(())
}

fn dark(agent: &mut Agent, _: &Fonts) -> Result<()> {
    let black = Picture::new(640, 480, |_, _| 0);
    agent.run(draw_planes(Code::new().mode(0x12), 0x9600, 0xF).seq(1, 0x21))?;
    agent.shows("screen off", &black)?;
    agent.run(Code::new().seq(1, 1).dx(0x3DA).bytes(&[0xEC]).out(0x3C0, 0))?;
    agent.shows("palette with the processor", &black)?;
    agent.run(Code::new().dx(0x3DA).bytes(&[0xEC]).out(0x3C0, 0x20))?;
    let expected = mode_12(&Walk::new(640, 480, 1, 80), &planes(0x9600, 0xF), 15);
    agent.shows("screen on again", &expected)
}
