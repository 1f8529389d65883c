//! Tests of the video card. Mode tables: IBM's register values for the standard modes.

use std::sync::Arc;

use display::{DisplaySource, DumpFormat, Rect, Surface, screendump};
use pci::{BarBacking, PciBus};
use vm_core::{AddressSpace, Backing, Clock, Mmio, PortSpace, Region, Shared, lock};

use super::*;
use crate::piix3::PirqRouter;
use crate::test_util::round_trip;

const A0000: u64 = 0;
const B8000: u64 = 0x1_8000;

struct Guest {
    clock: Clock,
    device: Shared<VgaDevice>,
    ports: Arc<PortSpace>,
    window: Shared<VgaWindow>,
    display: Arc<VgaDisplay>,
    surface: Surface,
}

/// Miscellaneous output, sequencer 1-4, CRTC 0-18, graphics 0-8, attribute mode and plane enable.
struct Mode {
    misc: u8,
    seq: [u8; 4],
    crtc: [u8; 25],
    gc: [u8; 9],
    attr_mode: u8,
}

const TEXT_CRTC: [u8; 25] = [
    0x5F, 0x4F, 0x50, 0x82, 0x55, 0x81, 0xBF, 0x1F, 0x00, 0x4F, 0x0D, 0x0E, 0, 0, 0, 0, 0x9C, 0x8E, 0x8F, 0x28, 0x1F,
    0x96, 0xB9, 0xA3, 0xFF,
];
const TEXT: Mode = Mode {
    misc: 0x67,
    seq: [0x00, 0x03, 0x00, 0x02],
    crtc: TEXT_CRTC,
    gc: [0, 0, 0, 0, 0, 0x10, 0x0E, 0x0F, 0xFF],
    attr_mode: 0x0C,
};
const MODE_4: Mode = Mode {
    misc: 0x63,
    seq: [0x09, 0x03, 0x00, 0x02],
    crtc: [
        0x2D, 0x27, 0x28, 0x90, 0x2B, 0x80, 0xBF, 0x1F, 0x00, 0xC1, 0, 0, 0, 0, 0, 0, 0x9C, 0x8E, 0x8F, 0x14, 0x00,
        0x96, 0xB9, 0xA2, 0xFF,
    ],
    gc: [0, 0, 0, 0, 0, 0x30, 0x0F, 0x0F, 0xFF],
    attr_mode: 0x01,
};
const MODE_12: Mode = Mode {
    misc: 0xE3,
    seq: [0x01, 0x0F, 0x00, 0x06],
    crtc: [
        0x5F, 0x4F, 0x50, 0x82, 0x54, 0x80, 0x0B, 0x3E, 0x00, 0x40, 0, 0, 0, 0, 0, 0, 0xEA, 0x8C, 0xDF, 0x28, 0x00,
        0xE7, 0x04, 0xE3, 0xFF,
    ],
    gc: [0, 0, 0, 0, 0, 0x00, 0x05, 0x0F, 0xFF],
    attr_mode: 0x01,
};
const MODE_13: Mode = Mode {
    misc: 0x63,
    seq: [0x01, 0x0F, 0x00, 0x0E],
    crtc: [
        0x5F, 0x4F, 0x50, 0x82, 0x54, 0x80, 0xBF, 0x1F, 0x00, 0x41, 0, 0, 0, 0, 0, 0, 0x9C, 0x8E, 0x8F, 0x28, 0x40,
        0x96, 0xB9, 0xA3, 0xFF,
    ],
    gc: [0, 0, 0, 0, 0, 0x40, 0x05, 0x0F, 0xFF],
    attr_mode: 0x41,
};

impl Guest {
    fn new() -> Self {
        let clock = Clock::manual();
        let device = VgaDevice::new(&clock, 16, &[0x55, 0xAA, 1]).unwrap();
        let ports = PortSpace::new();
        VgaDevice::add_ports(&device, &ports).unwrap();
        let (window, display) = (VgaDevice::window(&device), VgaDisplay::new(&device));
        Self { clock, device, ports, window, display, surface: Surface::new() }
    }

    fn in8(&self, port: u16) -> u8 {
        let mut x = [0];
        self.ports.read(port, &mut x);
        x[0]
    }

    fn out8(&self, port: u16, value: u8) {
        self.ports.write(port, &[value]);
    }

    /// Index and data in one 16-bit write.
    fn indexed(&self, port: u16, index: usize, value: u8) {
        self.ports.write(port, &[index as u8, value]);
    }

    fn attribute(&self, index: usize, value: u8) {
        let _ = (self.in8(0x3BA), self.in8(0x3DA)); // one of them is decoded
        self.out8(0x3C0, index as u8);
        self.out8(0x3C0, value);
        self.out8(0x3C0, 0x20);
    }

    fn vbe(&self, index: u16, value: u16) {
        self.ports.write(0x1CE, &index.to_le_bytes());
        self.ports.write(0x1CF, &value.to_le_bytes());
    }

    fn vbe_read(&self, index: u16) -> u16 {
        self.ports.write(0x1CE, &index.to_le_bytes());
        let mut x = [0; 2];
        self.ports.read(0x1D0, &mut x);
        u16::from_le_bytes(x)
    }

    fn vbe_mode(&self, width: u16, height: u16, bpp: u16) {
        self.attribute(0, 0);
        for (index, value) in [(4, 0), (1, width), (2, height), (3, bpp), (4, 0x41)] {
            self.vbe(index, value);
        }
    }

    /// Sets a mode, with DAC colour i = (i, 2i, 0), palette register i = i and all planes shown.
    fn mode(&self, mode: &Mode) {
        self.out8(0x3C2, mode.misc);
        mode.seq.iter().enumerate().for_each(|(i, v)| self.indexed(0x3C4, i + 1, *v));
        self.indexed(0x3D4, 0x11, 0);
        mode.crtc.iter().enumerate().for_each(|(i, v)| self.indexed(0x3D4, i, *v));
        mode.gc.iter().enumerate().for_each(|(i, v)| self.indexed(0x3CE, i, *v));
        (0..16).for_each(|i| self.attribute(i, i as u8));
        self.attribute(0x10, mode.attr_mode);
        self.attribute(0x12, 0x0F);
        self.attribute(0x13, if mode.seq[0] & 1 == 0 { 8 } else { 0 });
        self.out8(0x3C8, 0);
        for i in 0..=255u8 {
            [i & 0x3F, i.wrapping_mul(2) & 0x3F, 0].into_iter().for_each(|c| self.out8(0x3C9, c));
        }
    }

    fn poke(&self, at: u64, data: &[u8]) {
        lock(&self.window).mmio_write(at, data);
    }

    fn peek(&self, at: u64) -> u8 {
        let mut x = [0];
        lock(&self.window).mmio_read(at, &mut x);
        x[0]
    }

    fn planes(&self, address: u64) -> [u8; 4] {
        let mut x = [0; 4];
        lock(&self.device).memory().read(address * 4, &mut x);
        x
    }

    fn set_planes(&self, address: u64, planes: [u8; 4]) {
        lock(&self.device).memory().write(address * 4, &planes);
    }

    fn render(&mut self) -> Vec<Rect> {
        self.display.render(&mut self.surface)
    }

    fn at(&mut self, x: u32, y: u32) -> u32 {
        self.render();
        self.surface.pixel(x, y)
    }

    fn size(&mut self) -> (u32, u32) {
        self.render();
        (self.surface.width, self.surface.height)
    }
}

/// DAC entry `i` of [`Guest::mode`] as a pixel.
fn colour(i: u8) -> u32 {
    let wide = |c: u8| u32::from((c & 0x3F) << 2 | (c & 0x3F) >> 4);
    wide(i) << 16 | wide(i.wrapping_mul(2)) << 8
}

#[test]
fn registers_read_back_through_their_masks() {
    let g = Guest::new();
    g.out8(0x3C2, 0x67);
    assert_eq!(g.in8(0x3CC), 0x67);
    for (port, index, written, read) in [
        (0x3C4, 2, 0xFF, 0x0F),
        (0x3C4, 4, 0xFF, 0x0E),
        (0x3CE, 8, 0xA5, 0xA5),
        (0x3CE, 4, 0xFF, 0x03),
        (0x3D4, 0x18, 0xA5, 0xA5),
        (0x3D4, 0x3F, 0xA5, 0x00),
    ] {
        g.indexed(port, index, written);
        assert_eq!((g.in8(port), g.in8(port + 1)), (index as u8, read), "{port:#x} {index:#x}");
    }
    g.attribute(0x10, 0x0C);
    g.in8(0x3DA);
    g.out8(0x3C0, 0x10);
    assert_eq!((g.in8(0x3C1), g.in8(0x3C0)), (0x0C, 0x10));
    assert_eq!(g.in8(0x3B4), 0xFF, "colour addresses are selected");
    g.out8(0x3C2, 0x66);
    g.indexed(0x3B4, 0x0F, 0x42);
    assert_eq!((g.in8(0x3B5), g.in8(0x3D5)), (0x42, 0xFF));
}

#[test]
fn crtc_11_protects_the_timing_registers() {
    let g = Guest::new();
    g.mode(&TEXT);
    g.indexed(0x3D4, 0, 0x11);
    assert_eq!(g.in8(0x3D5), 0x5F);
    g.indexed(0x3D4, 7, 0x00);
    assert_eq!(g.in8(0x3D5), 0x0F, "line compare bit 8 alone");
    g.indexed(0x3D4, 0x11, 0x0E);
    g.indexed(0x3D4, 0, 0x11);
    assert_eq!(g.in8(0x3D5), 0x11);
}

#[test]
fn the_dac_takes_three_writes_a_colour_and_counts_on() {
    let g = Guest::new();
    g.out8(0x3C8, 5);
    [0xFF, 2, 3, 4, 5, 6].into_iter().for_each(|v| g.out8(0x3C9, v));
    assert_eq!((g.in8(0x3C8), g.in8(0x3C7)), (7, 0));
    g.out8(0x3C7, 5);
    assert_eq!(g.in8(0x3C7), 3);
    assert_eq!([0; 6].map(|_: u8| g.in8(0x3C9)), [0x3F, 2, 3, 4, 5, 6]);
    g.vbe(4, 0x21);
    g.out8(0x3C8, 5);
    [0xFF, 2, 3].into_iter().for_each(|v| g.out8(0x3C9, v));
    g.out8(0x3C7, 5);
    assert_eq!(g.in8(0x3C9), 0xFF, "eight bits");
}

#[test]
fn retrace_follows_the_clock() {
    let g = Guest::new();
    g.out8(0x3C2, 1);
    let mut seen = [0u32; 2];
    for _ in 0..1000 {
        seen[usize::from(g.in8(0x3DA) >> 3 & 1)] += 1;
        g.clock.advance(100_000);
    }
    assert!(seen[0] > 900 && seen[1] > 40, "{seen:?}");
}

#[test]
fn write_modes_and_logic() {
    let g = Guest::new();
    g.mode(&MODE_12);
    g.poke(A0000, &[0xA5]);
    assert_eq!(g.planes(0), [0xA5; 4]);
    g.indexed(0x3C4, 2, 0b0101);
    g.poke(A0000, &[0xFF]);
    assert_eq!(g.planes(0), [0xFF, 0xA5, 0xFF, 0xA5], "map mask");
    g.indexed(0x3C4, 2, 0xF);
    g.indexed(0x3CE, 0, 0b0011); // set/reset
    g.indexed(0x3CE, 1, 0b0110);
    g.indexed(0x3CE, 3, 4); // rotate
    g.poke(A0000 + 1, &[0x12]);
    assert_eq!(g.planes(1), [0x21, 0xFF, 0x00, 0x21]);
    g.indexed(0x3CE, 1, 0);
    g.indexed(0x3CE, 3, 0x18); // XOR
    g.indexed(0x3CE, 8, 0x0F); // bit mask
    g.set_planes(2, [0xF0, 0x0F, 0xFF, 0x00]);
    g.peek(A0000 + 2);
    g.poke(A0000 + 2, &[0xFF]);
    assert_eq!(g.planes(2), [0xFF, 0x00, 0xF0, 0x0F]);
    g.indexed(0x3CE, 5, 1); // latches
    g.poke(A0000 + 3, &[0]);
    assert_eq!(g.planes(3), [0xF0, 0x0F, 0xFF, 0x00]);
    g.indexed(0x3CE, 5, 2); // a colour, through bit mask and function (replace)
    g.indexed(0x3CE, 3, 0);
    g.poke(A0000 + 4, &[0b1001]);
    assert_eq!(g.planes(4), [0xFF, 0x00, 0xF0, 0x0F]);
    g.indexed(0x3CE, 5, 3); // set/reset where data and bit mask have ones
    g.poke(A0000 + 5, &[0x3C]);
    assert_eq!(g.planes(5), [0xFC, 0x0F, 0xF3, 0x00]);
}

#[test]
fn read_modes() {
    let g = Guest::new();
    g.mode(&MODE_12);
    g.set_planes(9, [0b1100, 0b1010, 0, 0xFF]);
    for (map, value) in [(0, 0b1100), (1, 0b1010), (2, 0), (3, 0xFF)] {
        g.indexed(0x3CE, 4, map);
        assert_eq!(g.peek(A0000 + 9), value);
    }
    g.indexed(0x3CE, 5, 8);
    g.indexed(0x3CE, 2, 0b1001);
    assert_eq!(g.peek(A0000 + 9), 0b0100, "colour 9 is at one pixel");
    g.indexed(0x3CE, 7, 0b0001);
    assert_eq!(g.peek(A0000 + 9), 0b1100, "the other planes are not compared");
}

#[test]
fn apertures_and_odd_even() {
    let g = Guest::new();
    g.mode(&TEXT);
    g.poke(B8000, b"AB");
    assert_eq!(g.planes(0), [b'A', b'B', 0, 0]);
    assert_eq!((g.peek(B8000), g.peek(B8000 + 1)), (b'A', b'B'));
    g.poke(A0000, &[1]);
    assert_eq!(g.peek(A0000), 0xFF, "outside the aperture");
    assert_eq!(g.planes(0), [b'A', b'B', 0, 0]);
    g.out8(0x3C2, 0x65);
    assert_eq!(g.peek(B8000), 0xFF, "RAM is disabled");
}

/// A glyph with a dot at the left in every line and eight dots in line 1.
fn tiny_font(g: &Guest, code: u64, base: u64) {
    for row in 0..16 {
        let at = base + code * 32 + row;
        let mut p = g.planes(at);
        p[2] = if row == 1 { 0xFF } else { 0x80 };
        g.set_planes(at, p);
    }
}

#[test]
fn text_is_drawn_with_the_font_in_plane_2() {
    let mut g = Guest::new();
    g.mode(&TEXT);
    tiny_font(&g, u64::from(b'H'), 0);
    tiny_font(&g, 0xC4, 0);
    g.indexed(0x3D4, 0x0A, 0x20); // no cursor
    g.poke(B8000, &[b'H', 0x1E, b' ', 0x07, 0xC4, 0x07]);
    g.poke(B8000 + 160, b"o\x07k\x07");
    assert_eq!(g.size(), (720, 400));
    assert_eq!([0, 1, 8, 9].map(|x| g.surface.pixel(x, 0)), [colour(14), colour(1), colour(1), 0]);
    assert_eq!([7, 8].map(|x| g.surface.pixel(x, 1)), [colour(14), colour(1)], "the ninth dot is background");
    assert_eq!([18, 26].map(|x| g.surface.pixel(x, 1)), [colour(7); 2], "line graphics repeat the eighth dot");
    let text = g.display.text().unwrap();
    assert_eq!(text.len(), 25);
    assert_eq!((text[0].as_str(), text[1].as_str(), text[2].as_str()), ("H ─", "ok", ""));
}

#[test]
fn cursor_blink_second_font_and_other_text_sizes() {
    let mut g = Guest::new();
    g.mode(&TEXT);
    g.poke(B8000, &[b'H', 0x87, b'H', 0x0F]);
    tiny_font(&g, u64::from(b'H'), 0);
    g.indexed(0x3D4, 0x0F, 1);
    assert_eq!(g.at(0, 0), colour(7));
    assert_eq!([g.surface.pixel(9, 12), g.surface.pixel(10, 12), g.surface.pixel(10, 13)], [colour(15), 0, colour(15)]);
    assert_eq!(g.render(), []);
    g.clock.advance(FRAME_NS * 8);
    assert_eq!(g.render(), [Rect { x: 10, y: 13, width: 8, height: 2 }], "the cursor went dark");
    g.clock.advance(FRAME_NS * 8);
    assert_eq!(g.at(0, 0), 0, "so did the blinking character");
    g.indexed(0x3C4, 3, 0x04); // attribute bit 3 set: the font at 16 KiB
    assert_eq!(g.at(9, 0), 0);
    tiny_font(&g, u64::from(b'H'), 0x4000);
    assert_eq!(g.at(9, 0), colour(15));
    g.indexed(0x3D4, 9, 0x47);
    g.render();
    assert_eq!(g.display.text().unwrap().len(), 50, "8-line characters");
    g.indexed(0x3C4, 1, 0x09);
    g.indexed(0x3D4, 0x11, 0);
    g.indexed(0x3D4, 1, 39);
    assert_eq!(g.size(), (640, 400));
    assert_eq!(g.display.text().unwrap()[0], "HH");
}

#[test]
fn start_address_panning_and_split_screen() {
    let mut g = Guest::new();
    g.mode(&TEXT);
    g.indexed(0x3D4, 0x0A, 0x20);
    tiny_font(&g, 1, 0);
    g.poke(B8000, &[1, 0x02]);
    g.poke(B8000 + 160, &[1, 0x04]);
    g.indexed(0x3D4, 0x0D, 80);
    assert_eq!(g.at(0, 0), colour(4), "scrolled by a line");
    g.indexed(0x3D4, 8, 2);
    g.render();
    assert_eq!(
        [g.surface.pixel(7, 0), g.surface.pixel(0, 13), g.surface.pixel(0, 14)],
        [0, colour(4), 0],
        "preset row"
    );
    g.indexed(0x3D4, 8, 0);
    g.indexed(0x3D4, 7, 0x0F); // line compare 99
    g.indexed(0x3D4, 9, 0x0F);
    g.indexed(0x3D4, 0x18, 99);
    assert_eq!((g.at(0, 0), g.at(0, 100)), (colour(4), colour(2)), "the split starts at address 0");
    g.attribute(0x13, 0);
    assert_eq!((g.at(0, 0), g.at(0, 100), g.at(8, 0)), (0, 0, 0), "moved by one dot");
    g.attribute(0x10, 0x2C);
    assert_eq!((g.at(0, 0), g.at(0, 100)), (0, colour(2)), "but not below the split");
}

#[test]
fn mode_13h_is_linear_and_doubled() {
    let mut g = Guest::new();
    g.mode(&MODE_13);
    g.poke(A0000, &[9, 200]);
    g.poke(A0000 + 320, &[5]);
    assert_eq!(g.size(), (640, 400));
    assert_eq!([0, 1, 2, 3].map(|x| g.surface.pixel(x, 1)), [colour(9), colour(9), colour(200), colour(200)]);
    assert_eq!(g.at(0, 2), colour(5));
    assert_eq!(g.display.text(), None);
    assert_eq!((g.peek(A0000 + 1), g.peek(A0000 + 320)), (200, 5));
    assert_eq!(lock(&g.device).linear_window(), Some(0));
    g.out8(0x3C6, 0x0F);
    assert_eq!(g.at(2, 0), colour(8), "PEL mask");
}

#[test]
fn mode_x_is_mode_13h_unchained() {
    let mut g = Guest::new();
    g.mode(&MODE_13);
    g.indexed(0x3C4, 4, 0x06);
    g.indexed(0x3D4, 0x14, 0x00);
    g.indexed(0x3D4, 0x17, 0xE3);
    assert_eq!(lock(&g.device).linear_window(), None);
    for plane in 0..4u8 {
        g.indexed(0x3C4, 2, 1 << plane);
        g.poke(A0000 + 80, &[10 + plane]);
    }
    assert_eq!((g.at(0, 2), g.at(2, 2), g.at(4, 2), g.at(6, 3)), (colour(10), colour(11), colour(12), colour(13)));
    g.indexed(0x3D4, 0x0D, 80);
    assert_eq!(g.at(0, 0), colour(10));
}

#[test]
fn planar_pixels_and_palette() {
    let mut g = Guest::new();
    g.mode(&MODE_12);
    g.indexed(0x3CE, 8, 0x10);
    g.indexed(0x3CE, 0, 0x0D);
    g.indexed(0x3CE, 1, 0x0F);
    g.peek(A0000 + 81);
    g.poke(A0000 + 81, &[0]);
    assert_eq!(g.size(), (640, 480));
    assert_eq!([10, 11, 12].map(|x| g.surface.pixel(x, 1)), [0, colour(13), 0]);
    g.attribute(13, 0x2A);
    assert_eq!(g.at(11, 1), colour(0x2A));
    g.attribute(0x14, 0x0C);
    assert_eq!(g.at(11, 1), colour(0xEA), "colour select");
    g.attribute(0x12, 0x01);
    g.attribute(0x14, 0);
    assert_eq!(g.at(11, 1), colour(1), "plane enable");
    g.attribute(0x13, 3);
    assert_eq!(g.at(8, 1), colour(1), "panned");
}

#[test]
fn cga_mode_4_interleaves_lines_and_pairs_bits() {
    let mut g = Guest::new();
    g.mode(&MODE_4);
    g.poke(B8000, &[0b0001_1011, 0b1100_0000]);
    g.poke(B8000 + 0x2000, &[0b0100_0000]);
    assert_eq!(g.size(), (640, 400));
    let row: Vec<u32> = (0..10).step_by(2).map(|x| g.surface.pixel(x, 1)).collect();
    assert_eq!(row, [0, 1, 2, 3, 3].map(colour));
    assert_eq!((g.at(0, 2), g.at(0, 3), g.at(0, 4)), (colour(1), colour(1), 0), "the odd line comes from 0x2000");
}

#[test]
fn vbe_registers() {
    let g = Guest::new();
    assert_eq!((g.vbe_read(0), g.vbe_read(10)), (0xB0C5, 256));
    g.vbe(0, 0xB0C2);
    g.vbe(0, 0x1234);
    assert_eq!(g.vbe_read(0), 0xB0C2);
    g.vbe(4, 2);
    assert_eq!([1, 2, 3].map(|i| g.vbe_read(i)), [2560, 1600, 32]);
    g.vbe_mode(800, 600, 32);
    assert_eq!([1, 2, 3, 6, 7].map(|i| g.vbe_read(i)), [800, 600, 32, 800, 5242]);
    g.vbe(6, 1024);
    g.vbe(5, 0x1FF);
    assert_eq!((g.vbe_read(6), g.vbe_read(5)), (1024, 0), "no such bank");
    g.vbe(3, 7);
    assert_eq!(g.vbe_read(3), 32);
}

#[test]
fn vbe_32_bits_and_dirty_lines() {
    let mut g = Guest::new();
    g.vbe_mode(1024, 768, 32);
    let memory = lock(&g.device).memory().clone();
    memory.write(4 * (1024 * 10 + 20), &0xFF11_2233u32.to_le_bytes());
    assert_eq!(g.render(), [Rect { x: 0, y: 0, width: 1024, height: 768 }]);
    assert_eq!(g.surface.pixel(20, 10), 0x11_2233);
    assert_eq!(g.render(), [], "idle");
    let mut other = Surface::new();
    assert_eq!(g.display.render(&mut other).len(), 1, "a second front end");
    memory.write(4 * (1024 * 700 + 5), &[1, 2, 3, 4, 5, 6, 7, 8]);
    let changed = [Rect { x: 5, y: 700, width: 2, height: 1 }];
    assert_eq!((g.render().as_slice(), g.display.render(&mut other).as_slice()), (&changed[..], &changed[..]));
    memory.write(4 * 1024 * 3, &[0; 4]);
    assert_eq!(g.render(), [], "written, but the same");
    g.vbe(9, 10);
    assert_eq!(g.at(20, 0), 0x11_2233, "y offset");
    g.vbe(8, 20);
    assert_eq!(g.at(0, 0), 0x11_2233, "x offset");
    assert_eq!(g.surface, {
        g.display.render(&mut other);
        other
    });
    g.poke(A0000, &[0xAA]);
    g.vbe(5, 1);
    g.poke(A0000 + 3, &[0xBB]);
    let mut x = [0; 1];
    assert!(memory.read(0x1_0003, &mut x));
    assert_eq!((x[0], g.peek(A0000 + 3)), (0xBB, 0xBB), "bank");
    assert_eq!(lock(&g.device).linear_window(), Some(0x1_0000));
    g.attribute(0, 0);
    g.in8(0x3C0);
    g.out8(0x3C2, 1);
    g.in8(0x3DA);
    g.out8(0x3C0, 0);
    assert_eq!(g.at(0, 0), 0, "blanked");
}

#[test]
fn vbe_depths() {
    let mut g = Guest::new();
    let memory = lock(&g.device).memory().clone();
    for (bpp, bytes, pixel) in [
        (15, &0x7C1Fu16.to_le_bytes()[..], 0xFF_00FF),
        (16, &0x07E0u16.to_le_bytes(), 0x00_FF00),
        (24, &[3, 2, 1], 0x01_0203),
        (32, &[3, 2, 1, 0], 0x01_0203),
    ] {
        g.vbe_mode(64, 64, bpp);
        memory.write(bytes.len() as u64, bytes);
        assert_eq!((g.at(0, 0), g.at(1, 0), g.at(2, 0)), (0, pixel, 0), "{bpp}");
    }
    g.vbe_mode(64, 64, 8);
    g.vbe(4, 0xE1);
    g.out8(0x3C8, 7);
    [0xF0, 0x0F, 0xAA].into_iter().for_each(|v| g.out8(0x3C9, v));
    memory.write(65, &[7]);
    assert_eq!(g.at(1, 1), 0xF0_0FAA, "8-bit DAC");
    g.mode(&MODE_12);
    g.vbe_mode(64, 64, 4);
    g.poke(A0000 + 8, &[0x80]);
    assert_eq!((g.at(0, 1), g.at(1, 1)), (colour(15), 0));
}

struct Pci {
    g: Guest,
    bus: Arc<PciBus>,
    space: Arc<AddressSpace>,
}

fn on_a_bus() -> Pci {
    let g = Guest::new();
    let space = AddressSpace::new();
    let router = PirqRouter::new(std::array::from_fn(|_| vm_core::IrqLine::unconnected()));
    let bus = PciBus::new(space.clone(), g.ports.clone(), router);
    let bars = VgaDevice::bars(&g.device);
    assert!(matches!(&bars[0].1, BarBacking::Ram { block, .. } if block.len() == 16 << 20));
    bus.add(0x10, &g.device, bars).unwrap();
    bus.config_write(0x10, 0x10, &0xFD00_0000u32.to_le_bytes());
    bus.config_write(0x10, 0x18, &0xFEBF_0000u32.to_le_bytes());
    bus.config_write(0x10, 0x30, &0xFEBE_0001u32.to_le_bytes());
    bus.config_write(0x10, 0x04, &[3, 0]);
    Pci { g, bus, space }
}

#[test]
fn the_pci_function_and_its_bars() {
    let Pci { mut g, bus, space } = on_a_bus();
    let mut id = [0; 12];
    bus.config_read(0x10, 0, &mut id);
    assert_eq!((&id[..4], &id[9..]), (&[0x34, 0x12, 0x11, 0x11][..], &[0, 0, 3][..]));
    let mut x = [0; 4];
    space.read(0xFEBE_0000, &mut x);
    assert_eq!(x, [0x55, 0xAA, 1, 0]);
    let vbe = |index: u64, value: u16| space.write(0xFEBF_0500 + index * 2, &value.to_le_bytes());
    let _ = [(4, 0), (1, 320), (2, 200), (3, 32), (4, 0x41)].map(|(i, v)| vbe(i, v));
    space.read(0xFEBF_0500, &mut x[..2]);
    assert_eq!(x[..2], [0xC5, 0xB0]);
    space.write(0xFEBF_0402, &[1]);
    space.read(0xFEBF_041A, &mut x[..1]); // input status 1
    space.write(0xFEBF_0400, &[0x20]);
    space.write(0xFD00_0000, &[0x33, 0x22, 0x11, 0x00]);
    assert_eq!(g.at(0, 0), 0x11_2233);
    space.read(0xFEBF_0600, &mut x);
    assert_eq!(x, [8, 0, 0, 0]);
    space.write(0xFEBF_0604, &0xBEBE_BEBEu32.to_le_bytes());
    assert_eq!(g.at(0, 0), 0x22_1100, "big-endian");
    space.read(0xFEBF_0604, &mut x);
    assert_eq!(x, [0xBE; 4]);
}

#[test]
fn the_window_is_a_region() {
    let g = Guest::new();
    g.mode(&TEXT);
    let space = AddressSpace::new();
    let backing = Backing::mmio(&g.window);
    let (start, len) = (WINDOW_BASE, WINDOW_LEN);
    space.add(Region { name: "vga-window".into(), start, len, priority: 10, enabled: true, backing }).unwrap();
    space.write(0xB_8000, b"A\x07B\x07");
    assert_eq!(g.display.text().unwrap()[0], "AB");
}

#[test]
fn state_round_trips_with_video_memory() {
    let Pci { mut g, .. } = on_a_bus();
    g.vbe_mode(64, 64, 32);
    lock(&g.device).memory().write(1000, &[1, 2, 3]);
    round_trip(&mut *lock(&g.device));
    let saved = lock(&g.device).save().unwrap();
    assert!(saved.len() < 10_000);
    lock(&g.device).memory().write(1000, &[9; 8000]);
    lock(&g.device).restore(&saved).unwrap();
    assert_eq!(g.at(250, 0), 0);
    assert_eq!(g.size(), (64, 64));
    let mut x = [0; 4];
    lock(&g.device).memory().read(1000, &mut x);
    assert_eq!(x, [1, 2, 3, 0]);
    lock(&g.device).memory().read(8000, &mut x);
    assert_eq!(x, [0; 4]);
    let small = VgaDevice::new(&g.clock, 8, &[]).unwrap();
    assert!(lock(&small).restore(&saved).is_err());
}

#[test]
fn a_screen_that_was_never_set_up_is_dark() {
    let mut g = Guest::new();
    assert_eq!(g.size(), (640, 480));
    assert!(g.surface.pixels.iter().all(|p| *p == 0));
    assert_eq!(g.render(), []);
}

#[test]
fn screendump_to_a_file() {
    let mut g = Guest::new();
    g.vbe_mode(16, 8, 32);
    g.render();
    let path = std::env::temp_dir().join(format!("whpx-vga-{}.ppm", std::process::id()));
    screendump(&g.surface, &path, DumpFormat::of(&path)).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert_eq!((&bytes[..11], bytes.len()), (&b"P6\n16 8\n255"[..], 12 + 16 * 8 * 3));
}

#[test]
fn a_bochs_display_has_no_vga() {
    let device = VgaDevice::with_model(VgaModel::BochsDisplay, &vm_core::Clock::new(), 16, &[]).unwrap();
    let display = VgaDisplay::new(&device);
    let BarBacking::Mmio(registers) = VgaDevice::bars(&device).remove(1).1 else { panic!() };
    let write = |index: u64, value: u16| lock(&registers).mmio_write(0x500 + index * 2, &value.to_le_bytes());
    let mut s = Surface::new();
    display.render(&mut s);
    assert_eq!((s.width, s.height), (640, 480), "dark");
    let _ = [(1, 320), (2, 200), (3, 32), (4, 0x41)].map(|(i, v)| write(i, v));
    lock(&device).memory().write(4, &[3, 2, 1, 0]);
    display.render(&mut s);
    assert_eq!((s.width, s.height, s.pixel(1, 0)), (320, 200, 0x01_0203), "no attribute controller to switch on");
    lock(&registers).mmio_write(0x400, &[0x20]);
    let mut b = [9];
    lock(&registers).mmio_read(0x41A, &mut b);
    assert_eq!(b, [0]);
    let mut class = [0; 2];
    lock(&device).config().read(10, &mut class);
    assert_eq!(class, [0x80, 0x03]);
}

/// Random accesses in every mode, with pictures in between: nothing panics.
#[test]
fn random_accesses_never_panic() {
    let mut seed = 0x9E37_79B9_7F4A_7C15u64;
    let mut random = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed >> 11
    };
    let Pci { mut g, space, .. } = on_a_bus();
    for round in 0..24 {
        let modes = [&TEXT, &MODE_4, &MODE_12, &MODE_13];
        if round % 2 == 0 {
            g.mode(modes[round / 2 % modes.len()]);
        }
        for _ in 0..400 {
            let value = random().to_le_bytes();
            let len = 1 << (random() % 3);
            let port = 0x3B0 + (random() % 0x30) as u16;
            match random() % 8 {
                0 | 1 => g.ports.write(port, &value[..len]),
                2 => g.ports.read(port, &mut [0; 4][..len]),
                3 if random() % 4 == 0 => g.vbe((random() % 12) as u16, (random() % 3000) as u16),
                3 | 4 => g.poke(random() % WINDOW_LEN, &value[..len]),
                5 => drop(g.peek(random() % WINDOW_LEN)),
                6 => drop(space.write(0xFEBF_0400 + random() % 0x220, &value[..len])),
                _ => drop(space.read(0xFEBF_0400 + random() % 0x220, &mut [0; 4][..len])),
            }
        }
        g.attribute(0, 0);
        g.clock.advance(random() % FRAME_NS);
        g.render();
        let _ = (g.display.text(), g.vbe_read(7));
        assert_eq!(g.surface.pixels.len(), g.surface.width as usize * g.surface.height as usize);
        if round % 10 == 0 {
            lock(&g.device).reset();
        }
    }
}
