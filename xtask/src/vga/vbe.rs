//! VBE modes: every one that the BIOS lists, drawn through the linear frame buffer or the 64 KiB window, and its functions for scan line
//! lengths, display starts and the palette.

use super::code::{Code, RESULTS};
use super::picture::{Picture, default_palette, mode_13, planar, rgb};
use super::{Agent, Case, Fonts};
use anyhow::{Context, Result, ensure};
use std::collections::BTreeSet;

pub(super) const CASES: &[(&str, Case)] = &[("VBE modes", all_modes), ("VBE functions", functions)];

/// Free memory below 640 KiB for the BIOS's answers.
const ANSWER: u16 = 0x1000;

/// What a mode information block says (VBE 2.0, 4.4).
#[derive(Debug, Clone)]
struct Info {
    mode: u16,
    width: usize,
    height: usize,
    pitch: usize,
    bpp: u8,
    model: u8,
    /// Size and position of red, green, blue.
    fields: [(u8, u8); 3],
    frame_buffer: u32,
    graphics: bool,
}

fn list(agent: &mut Agent) -> Result<Vec<u16>> {
    let code = Code::new().es(ANSWER).di(0).ax(0x4F00).int10().send(ANSWER, 0, 512);
    let block = agent.ask(code, 512)?;
    ensure!(block.starts_with(b"VESA"), "function 4F00h gives no VESA block");
    let (offset, segment) = (u16::from_le_bytes([block[14], block[15]]), u16::from_le_bytes([block[16], block[17]]));
    let words = agent.ask(Code::new().send(segment, offset, 512), 512)?;
    let words = words.chunks_exact(2).map(|w| u16::from_le_bytes([w[0], w[1]]));
    Ok(words.take_while(|w| *w != 0xFFFF).collect())
}

fn info(agent: &mut Agent, mode: u16) -> Result<Info> {
    let code = Code::new().es(ANSWER).di(0).ax(0x4F01).cx(mode).int10().send(ANSWER, 0, 64);
    let b = agent.ask(code, 64)?;
    let word = |at: usize| usize::from(u16::from_le_bytes([b[at], b[at + 1]]));
    let frame_buffer = b.get(40..44).and_then(|f| f.try_into().ok()).map_or(0, u32::from_le_bytes);
    Ok(Info {
        mode,
        width: word(18),
        height: word(20),
        pitch: word(16),
        bpp: b[25],
        model: b[27],
        fields: [(b[31], b[32]), (b[33], b[34]), (b[35], b[36])],
        frame_buffer,
        graphics: word(0) & 0x10 != 0,
    })
}

/// Memory as [`fill`] leaves it.
fn words(count: usize, seed: u32) -> Vec<u8> {
    let mut x = seed;
    let next = |_| {
        x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        x.to_le_bytes()
    };
    (0..count).flat_map(next).collect()
}

/// Writes `count` words from `address`, in real mode with segments of 4 GiB.
fn fill(code: Code, address: u32, count: u32, seed: u32) -> Code {
    let long = |v: u32| v.to_le_bytes();
    let table = 0x6000_u16;
    // A table at 0x6000: null, and a flat data segment; its pointer at 0x6010.
    let mut code = code;
    for (at, value) in [(0, 0), (4, 0), (8, 0xFFFF_u32), (12, 0x00CF_9200), (0x10, 0x6000_000F), (0x14, 0)] {
        let [low, high] = (table + at).to_le_bytes();
        let v = long(value);
        code = code.bytes(&[0x66, 0xC7, 0x06, low, high, v[0], v[1], v[2], v[3]]); // mov dword [at], value
    }
    let (a, c, s) = (long(address), long(count), long(seed));
    code.bytes(&[0xFA, 0x0F, 0x01, 0x16, 0x10, 0x60]) // cli; lgdt [0x6010]
        .bytes(&[0x0F, 0x20, 0xC0, 0x0C, 1, 0x0F, 0x22, 0xC0]) // mov eax, cr0; or al, 1; mov cr0, eax
        .bytes(&[0xBB, 8, 0, 0x8E, 0xE3]) // mov bx, 8; mov fs, bx
        .bytes(&[0x24, 0xFE, 0x0F, 0x22, 0xC0, 0x31, 0xDB, 0x8E, 0xE3]) // and al, 0FEh; mov cr0, eax; xor bx, bx; mov fs, bx
        .bytes(&[0x66, 0xBF, a[0], a[1], a[2], a[3]]) // mov edi, address
        .bytes(&[0x66, 0xB9, c[0], c[1], c[2], c[3]]) // mov ecx, count
        .bytes(&[0x66, 0xB8, s[0], s[1], s[2], s[3]]) // mov eax, seed
        .bytes(&[0x66, 0x69, 0xC0, 0x0D, 0x66, 0x19, 0x00]) // imul eax, eax, 1664525
        .bytes(&[0x66, 0x05, 0x5F, 0xF3, 0x6E, 0x3C]) // add eax, 1013904223
        .bytes(&[0x67, 0x66, 0x64, 0x89, 0x07]) // mov fs:[edi], eax
        .bytes(&[0x66, 0x83, 0xC7, 4, 0x66, 0x49, 0x75, 0xE6]) // add edi, 4; dec ecx; jnz to imul
        .bytes(&[0xFB])
}

/// Mode set through VBE; the answer is AX.
fn set(agent: &mut Agent, mode: u16) -> Result<()> {
    let at = RESULTS.to_le_bytes();
    let code = Code::new().ax(0x4F02).bx(mode).int10().bytes(&[0xA3, at[0], at[1]]).send(0, RESULTS, 2);
    let answer = agent.ask(code, 2)?;
    ensure!(answer == [0x4F, 0], "mode {mode:#x} cannot be set: AX = {answer:02x?}");
    Ok(())
}

fn widen(value: u32, (size, position): (u8, u8)) -> u32 {
    let v = value >> position & ((1 << size) - 1);
    match size {
        8 => v,
        5 => v << 3 | v >> 2,
        6 => v << 2 | v >> 4,
        _ => 0,
    }
}

fn picture(info: &Info, bytes: &[u8]) -> Picture {
    let step = usize::from(info.bpp).div_ceil(8);
    Picture::new(info.width, info.height, |x, y| {
        let at = y * info.pitch + x * step;
        if step == 1 {
            return mode_13(bytes[at]);
        }
        let value = (0..step).map(|n| u32::from(bytes[at + n]) << (8 * n)).sum();
        info.fields.iter().fold(0, |rgb, field| rgb << 8 | widen(value, *field))
    })
}

fn all_modes(agent: &mut Agent, _: &Fonts) -> Result<()> {
    let mut seen = BTreeSet::new();
    let (mut linear, mut planes) = (0, 0);
    for mode in list(agent)?.into_iter().filter(|mode| *mode >= 0x100) {
        let info = info(agent, mode)?;
        // Some sizes have two numbers; the largest take long and are no different.
        if !info.graphics || info.width * info.height > 1 << 20 || !seen.insert((info.width, info.height, info.bpp)) {
            continue;
        }
        let name = format!("VBE mode {:x} of {} x {} x {}", info.mode, info.width, info.height, info.bpp);
        if info.model == 3 {
            planes += 1;
            planar_mode(agent, &info).context(name.clone())?;
            continue;
        }
        linear += 1;
        set(agent, mode | 0x4000)?;
        let count = (info.pitch * info.height / 4) as u32;
        agent.run(fill(Code::new(), info.frame_buffer, count, u32::from(mode)))?;
        agent.shows(&name, &picture(&info, &words(count as usize, mode.into())))?;
    }
    ensure!(linear >= 30 && planes >= 2, "the BIOS lists {linear} linear and {planes} planar modes only");
    Ok(())
}

/// 16 colours in four planes; up to 64 KiB of each are in the window.
fn planar_mode(agent: &mut Agent, info: &Info) -> Result<()> {
    set(agent, info.mode)?;
    let size = info.pitch * info.height;
    ensure!(size <= 1 << 17, "planes of {size} bytes");
    let memory: [Vec<u8>; 4] = std::array::from_fn(|p| super::code::noise(50 + p as u16, size.min(0xFFFF)));
    let mut code = Code::new();
    for plane in 0..4 {
        code = code.seq(2, 1 << plane).noise(0xA000, 0, size.min(0xFFFF) as u16, 50 + plane);
    }
    agent.run(code.seq(2, 15))?;
    let palette = default_palette(false);
    let pixel = |x: usize, y: usize| {
        let base = y * info.pitch;
        if base + x / 8 < memory[0].len() { palette[planar(&memory, base, x)] } else { 0 }
    };
    agent.shows("planes", &Picture::new(info.width, info.height, pixel))
}

/// Banks, longer lines, display start, a palette of eight bits.
fn functions(agent: &mut Agent, _: &Fonts) -> Result<()> {
    let mut info = info(agent, 0x101)?;
    ensure!((info.width, info.height, info.bpp) == (640, 480, 8), "mode 101h is {info:?}");
    set(agent, 0x101)?;
    // Eight banks of noise through the window.
    let mut bytes = vec![];
    for bank in 0..8 {
        let code = Code::new().ax(0x4F05).bx(0).dx(bank).int10();
        agent.run(code.noise(0xA000, 0, 0xFFFF, bank + 1).fill(0xA000, 0xFFFF, 1, 7))?;
        bytes.extend(super::code::noise(bank + 1, 0xFFFF));
        bytes.push(7);
    }
    agent.shows("banks", &picture(&info, &bytes))?;
    agent.run(Code::new().ax(0x4F06).bx(0).cx(800).int10())?;
    info.pitch = 800;
    agent.shows("lines of 800 pixels", &picture(&info, &bytes))?;
    agent.run(Code::new().ax(0x4F07).bx(0).cx(24).dx(100).int10())?;
    agent.shows("display start", &picture(&info, &bytes[100 * 800 + 24..]))?;
    // Eight bits a colour; entry 200 becomes 12, 34, 56.
    let code = Code::new().ax(0x4F08).bx(0x800).int10();
    agent.run(code.out(0x3C8, 200).out(0x3C9, 0x12).out(0x3C9, 0x34).out(0x3C9, 0x56))?;
    let mut expected = picture(&info, &bytes[100 * 800 + 24..]);
    let at = |x: usize, y: usize| bytes[(100 + y) * 800 + 24 + x];
    let mut dac: Vec<u32> = (0..=255).map(|i| narrow(mode_13(i))).collect();
    dac[200] = 0x12_3456;
    expected = Picture::new(expected.width, expected.height, |x, y| dac[usize::from(at(x, y))]);
    agent.shows("eight bits a colour", &expected)?;
    ensure!(rgb([63; 3]) == 0xFF_FFFF, "colours of six bits");
    agent.run(Code::new().ax(0x4F08).bx(0x600).int10().mode(3))
}

/// Entries of six bits, read as eight.
fn narrow(colour: u32) -> u32 {
    colour >> 2 & 0x3F_3F3F
}
