//! The window at 0xA0000: write modes 0 to 3 with all functions, both read modes, odd/even, chain 4, the places of the window. Random
//! operations run in the guest and on planes here (IBM Video Subsystem Technical Reference, "Graphics Controller").

use super::code::{Code, RESULTS, noise};
use super::modes::{draw_planes, planes};
use super::picture::{Picture, Walk, default_palette, mode_13, planar};
use super::{Agent, Case, Fonts};
use anyhow::{Result, ensure};

pub(super) const CASES: &[(&str, Case)] = &[
    ("write and read modes", write_modes),
    ("odd/even", odd_even),
    ("chain 4 with masks", chain_4),
    ("places of the window", places),
];

/// Operations in one run.
const OPERATIONS: usize = 250;
const ROUNDS: u64 = 4;

/// A graphics controller of the book.
struct Controller {
    planes: [Vec<u8>; 4],
    latches: [u8; 4],
    gc: [u8; 9],
    map_mask: u8,
}

impl Controller {
    fn read(&mut self, at: usize) -> u8 {
        self.latches = std::array::from_fn(|p| self.planes[p][at]);
        if self.gc[5] & 8 == 0 {
            return self.latches[usize::from(self.gc[4] & 3)];
        }
        let same =
            |bit: u8| (0..4).all(|p| self.gc[7] >> p & 1 == 0 || self.latches[p] >> bit & 1 == self.gc[2] >> p & 1);
        (0..8).map(|bit| u8::from(same(bit)) << bit).sum()
    }

    fn write(&mut self, at: usize, value: u8) {
        let turned = value.rotate_right(u32::from(self.gc[3] & 7));
        for p in (0..4).filter(|p| self.map_mask >> p & 1 != 0) {
            let all = |bits: u8| if bits >> p & 1 != 0 { 0xFF } else { 0 };
            let latch = self.latches[p];
            let (data, mask) = match self.gc[5] & 3 {
                0 => (if self.gc[1] >> p & 1 != 0 { all(self.gc[0]) } else { turned }, self.gc[8]),
                1 => {
                    self.planes[p][at] = latch;
                    continue;
                }
                2 => (all(value), self.gc[8]),
                _ => (all(self.gc[0]), self.gc[8] & turned),
            };
            let made = match self.gc[3] >> 3 & 3 {
                0 => data,
                1 => data & latch,
                2 => data | latch,
                _ => data ^ latch,
            };
            self.planes[p][at] = made & mask | latch & !mask;
        }
    }
}

/// xorshift64.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 20) % n
    }

    fn byte(&mut self) -> u8 {
        self.below(256) as u8
    }
}

/// Adds a random operation to the code and to the controller; `true` when it gives a byte.
fn operation(code: Code, r: &mut Random, controller: &mut Controller, read: &mut Vec<u8>) -> Code {
    let at = r.below(0x40) as usize + 0x1000;
    let [low, high] = (at as u16).to_le_bytes();
    match r.below(5) {
        0 => {
            let (index, value) = (r.below(9) as u8, r.byte());
            let value = match index {
                0 | 1 | 2 | 7 => value & 15,
                3 => value & 0x1F,
                4 => value & 3,
                5 => value & 0xB,
                6 => return code,
                _ => value,
            };
            controller.gc[usize::from(index)] = value;
            code.gc(index, value)
        }
        1 => {
            controller.map_mask = r.byte() & 15;
            code.seq(2, controller.map_mask)
        }
        2 => {
            // mov al, es:[at]; mov [bx], al; inc bx
            read.push(controller.read(at));
            code.bytes(&[0x26, 0xA0, low, high, 0x88, 0x07, 0x43])
        }
        _ => {
            // mov al, value; mov es:[at], al
            let value = r.byte();
            controller.write(at, value);
            code.bytes(&[0xB0, value, 0x26, 0xA2, low, high])
        }
    }
}

fn write_modes(agent: &mut Agent, _: &Fonts) -> Result<()> {
    let gc = [0, 0, 0, 0, 0, 0, 5, 15, 0xFF];
    let mut controller = Controller { planes: planes(0x9600, 0xF), latches: [0; 4], gc, map_mask: 15 };
    let code = draw_planes(Code::new().mode(0x12), 0x9600, 0xF).es(0xA000).bytes(&[0x26, 0xA0, 0, 0]);
    agent.run(code)?;
    controller.read(0);
    for seed in 1..=ROUNDS {
        let mut r = Random(0x9E37_79B9_7F4A_7C15_u64.wrapping_mul(seed));
        let mut read = vec![];
        let mut code = Code::new().es(0xA000).bx(RESULTS);
        for _ in 0..OPERATIONS {
            code = operation(code, &mut r, &mut controller, &mut read);
        }
        let count = read.len();
        let found = agent.ask(code.send(0, RESULTS, count as u16), count)?;
        let wrong = found.iter().zip(&read).position(|(a, b)| a != b);
        ensure!(wrong.is_none(), "round {seed}: read {} of {count} gives a wrong byte", wrong.unwrap_or(0));
        let palette = default_palette(false);
        let memory = &controller.planes;
        let expected = Walk::new(640, 480, 1, 80).draw(|base, _, at| palette[planar(memory, base, at)]);
        agent.shows(&format!("write modes, round {seed}"), &expected)?;
    }
    Ok(())
}

/// Even addresses go to planes 0 and 2, odd ones to 1 and 3, both at the even offset; the map mask counts too.
fn odd_even(agent: &mut Agent, _: &Fonts) -> Result<()> {
    let written = noise(31, 0x2000);
    for mask in [0xF_u8, 3, 0xC, 5] {
        let code = draw_planes(Code::new().mode(0x12), 0x9600, 0xF).seq(4, 2).seq(2, mask).gc(5, 0x10);
        let code = code.noise(0xA000, 0, 0x2000, 31).gc(4, 2).send(0xA000, 0x100, 0x80);
        let found = agent.ask(code, 0x80)?;
        let mut memory = planes(0x9600, 0xF);
        for (at, value) in written.iter().enumerate() {
            for p in (0..4).filter(|p| p % 2 == at % 2 && mask >> p & 1 != 0) {
                memory[p][at & !1] = *value;
            }
        }
        // Read map 2: planes 2 and 3.
        let expected: Vec<u8> = (0x100..0x180).map(|at| memory[2 + at % 2][at & !1]).collect();
        ensure!(found == expected, "reads in odd/even mode with map mask {mask:x}");
        let palette = default_palette(false);
        let expected = Walk::new(640, 480, 1, 80).draw(|base, _, at| palette[planar(&memory, base, at)]);
        agent.run(Code::new().seq(4, 6).gc(5, 0))?;
        agent.shows(&format!("odd/even with map mask {mask:x}"), &expected)?;
    }
    Ok(())
}

/// Mode 13h with a map mask and a bit mask: they count as in every other mode.
fn chain_4(agent: &mut Agent, _: &Fonts) -> Result<()> {
    let mut memory = noise(5, 64000);
    let code = Code::new().mode(0x13).noise(0xA000, 0, 64000, 5).seq(2, 0xB).gc(8, 0x3C);
    // The latches have the first four bytes.
    agent.run(code.es(0xA000).bytes(&[0x26, 0xA0, 0, 0]).noise(0xA000, 0x200, 0x4000, 9).gc(8, 0xFF).seq(2, 0xF))?;
    let latches: [u8; 4] = std::array::from_fn(|p| memory[p]);
    for (at, value) in (0x200..).zip(noise(9, 0x4000)).filter(|(at, _)| at % 4 != 2) {
        memory[at] = value & 0x3C | latches[at % 4] & !0x3C;
    }
    agent.shows("mode 13 with masks", &Picture::new(640, 400, |x, y| mode_13(memory[y / 2 * 320 + x / 2])))
}

/// Miscellaneous graphics register bits 3 and 2: 128 KiB at A0000, 64 KiB at A0000, 32 KiB at B0000 or B8000.
fn places(agent: &mut Agent, _: &Fonts) -> Result<()> {
    let palette = default_palette(false);
    for (place, segment) in [(0_u8, 0xA000), (1, 0xA000), (2, 0xB000), (3, 0xB800)] {
        let mut code = Code::new().mode(0x12).gc(6, place << 2 | 1);
        for (n, at) in [0xA000, 0xB000, 0xB800].into_iter().enumerate() {
            code = code.noise(at, 0, 0x800, n as u16 + 1);
        }
        agent.run(code)?;
        let seeds: Vec<u16> = match place {
            0 => vec![2],
            _ => [(0xA000, 1), (0xB000, 2), (0xB800, 3)].iter().filter(|s| s.0 == segment).map(|s| s.1).collect(),
        };
        let mut plane = vec![0; 0x9600];
        plane[..0x800].copy_from_slice(&noise(seeds[0], 0x800));
        if place == 0 {
            plane[0x8000..0x8800].copy_from_slice(&noise(3, 0x800));
        }
        let memory = [plane.clone(), plane.clone(), plane.clone(), plane];
        let expected = Walk::new(640, 480, 1, 80).draw(|base, _, at| palette[planar(&memory, base, at)]);
        agent.shows(&format!("window {place}"), &expected)?;
    }
    Ok(())
}
