//! The VGA in the hands of a hostile guest: bytes become accesses to ports, window and extended registers, stores into video memory, time
//! and looks at the screen. Nothing may panic. `fuzz/` feeds libFuzzer's bytes, `tests/audit.rs` a seeded stream.

use std::sync::Arc;

use display::{DisplaySource, Surface};
use pci::BarBacking;
use vm_core::{Clock, Device, Mmio, PortSpace, Shared, lock};

use super::{VgaDevice, VgaDisplay, VgaModel, VgaWindow, WINDOW_LEN};

/// A picture takes longer than everything else.
const LOOKS: u32 = 6;

/// A card on its ports, and somebody who looks at it.
pub struct Audit {
    clock: Clock,
    device: Shared<VgaDevice>,
    ports: Arc<PortSpace>,
    window: Shared<VgaWindow>,
    registers: Option<Shared<dyn Mmio>>,
    display: Arc<VgaDisplay>,
    surface: Surface,
    looks: u32,
}

impl Audit {
    /// A card of 1 MiB; `None` when the host has no memory for it.
    pub fn new(model: VgaModel) -> Option<Self> {
        let clock = Clock::manual();
        let device = VgaDevice::with_model(model, &clock, 1, &[]).ok()?;
        let ports = PortSpace::new();
        VgaDevice::add_ports(&device, &ports).ok()?;
        let registers = VgaDevice::bars(&device).into_iter().find_map(|(_, backing)| match backing {
            BarBacking::Mmio(registers) => Some(registers),
            _ => None,
        });
        let (window, display) = (VgaDevice::window(&device), VgaDisplay::new(&device));
        Some(Self { clock, device, ports, window, registers, display, surface: Surface::new(), looks: 0 })
    }

    fn look(&mut self) {
        self.looks += 1;
        if self.looks <= LOOKS {
            self.display.render(&mut self.surface);
            let _text = self.display.text();
            let pixels = self.surface.width as usize * self.surface.height as usize;
            assert_eq!(self.surface.pixels.len(), pixels, "a surface of another size than it says");
        }
    }

    /// Four bytes: what, where and a value.
    fn operation(&mut self, [what, low, high, value]: [u8; 4]) {
        let at = u16::from_le_bytes([low, high]);
        let data = [value, low, high, value.rotate_left(3)];
        let len = 1 << (what >> 6).min(2);
        match what & 15 {
            // Index and register at once, as drivers do.
            0..=3 => {
                let port = [0x3C4, 0x3CE, 0x3D4, 0x3B4][usize::from(what & 3)];
                self.ports.write(port, &[low & 0x1F, value]);
            }
            4 => {
                self.ports.read(0x3DA, &mut [0]);
                self.ports.write(0x3C0, &[low]);
                self.ports.write(0x3C0, &[value]);
            }
            5 => self.ports.write(0x3B0 + at % 0x30, &data[..len]),
            6 => self.ports.read(0x3B0 + at % 0x30, &mut [0; 4][..len]),
            7 | 8 => {
                self.ports.write(0x1CE, &[value & 15, 0]);
                self.ports.write(0x1CF, &[low, high]);
            }
            9 => lock(&self.window).mmio_write(u64::from(at) * 2 % WINDOW_LEN, &data[..len]),
            10 => lock(&self.window).mmio_read(u64::from(at) * 2 % WINDOW_LEN, &mut [0; 4][..len]),
            11 => {
                if let Some(registers) = &self.registers {
                    lock(registers).mmio_write(0x400 + u64::from(at % 0x220), &data[..len]);
                    lock(registers).mmio_read(0x400 + u64::from(at % 0x220), &mut [0; 4][..len]);
                }
            }
            12 => {
                let _in_it = lock(&self.device).memory().write(u64::from(at) * 15, &data);
            }
            13 => self.clock.advance(u64::from(at) * 1000),
            14 if value & 15 == 0 => self.damage(at, low ^ high),
            _ => self.look(),
        }
    }

    fn damage(&self, at: u16, value: u8) {
        let mut device = lock(&self.device);
        let Ok(mut bytes) = device.save() else { return };
        // Mostly registers: the memory behind them has every value anyway.
        let at = usize::from(at) % bytes.len().clamp(1, 2048);
        if let Some(byte) = bytes.get_mut(at) {
            *byte = value;
        }
        let _refused = device.restore(&bytes);
    }

    /// Does what the bytes say.
    pub fn feed(&mut self, data: &[u8]) {
        data.as_chunks::<4>().0.iter().for_each(|operation| self.operation(*operation));
        self.looks = 0;
        self.look();
    }
}
