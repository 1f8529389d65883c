//! The two Intel 8237A DMA controllers of the AT with their page registers.
//!
//! Intel 8237A data sheet (231466-005); page registers and the second controller's word addressing: IBM AT technical
//! reference. Devices ask for the next piece of memory with [`Dma::next_segment`], copy by themselves, and report
//! with [`Dma::complete`]; so the chip touches no memory. Left out on purpose: memory-to-memory transfers, cascade
//! timing, DREQ/DACK polarity (kept in the command register, without effect).

use serde::{Deserialize, Serialize};
use vm_core::{Device, PortIo, Shared, StateError, load_state, lock, save_state, shared};

const COMMAND_DISABLE: u8 = 0x04;
const MODE_AUTO: u8 = 0x10;
const MODE_DOWN: u8 = 0x20;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Channel {
    base_address: u16,
    base_count: u16,
    address: u16,
    count: u16,
    mode: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Controller {
    channels: [Channel; 4],
    command: u8,
    /// Terminal counts (bits 0 to 3) and requests (4 to 7).
    status: u8,
    request: u8,
    mask: u8,
    high_byte: bool,
}

fn put(word: &mut u16, high: bool, v: u8) {
    let [l, h] = word.to_le_bytes();
    *word = if high { u16::from_le_bytes([l, v]) } else { u16::from_le_bytes([v, h]) };
}

impl Controller {
    fn at_reset() -> Self {
        Self { channels: [Channel::default(); 4], command: 0, status: 0, request: 0, mask: 0x0F, high_byte: false }
    }

    fn read(&mut self, register: u16) -> u8 {
        match register {
            0..=7 => {
                let c = &self.channels[usize::from(register / 2)];
                let word = if register & 1 == 0 { c.address } else { c.count };
                let byte = word.to_le_bytes()[usize::from(self.high_byte)];
                self.high_byte = !self.high_byte;
                byte
            }
            8 => {
                let s = self.status | self.request << 4;
                self.status &= 0xF0;
                s
            }
            // The temporary register, which only memory-to-memory transfers fill.
            _ => 0,
        }
    }

    fn write(&mut self, register: u16, v: u8) {
        let bit = 1 << (v & 3);
        match register {
            0..=7 => {
                let high = self.high_byte;
                let c = &mut self.channels[usize::from(register / 2)];
                let (base, current) = if register & 1 == 0 {
                    (&mut c.base_address, &mut c.address)
                } else {
                    (&mut c.base_count, &mut c.count)
                };
                put(base, high, v);
                put(current, high, v);
                self.high_byte = !high;
            }
            8 => self.command = v,
            9 => self.request = if v & 4 != 0 { self.request | bit } else { self.request & !bit },
            10 => self.mask = if v & 4 != 0 { self.mask | bit } else { self.mask & !bit },
            11 => self.channels[usize::from(v & 3)].mode = v & 0xFC,
            12 => self.high_byte = false,
            13 => {
                // Master clear: like the reset pin, channel registers keep their values.
                let channels = self.channels;
                *self = Self { channels, ..Self::at_reset() };
            }
            14 => self.mask = 0,
            15 => self.mask = v & 0x0F,
            _ => {}
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    controllers: [Controller; 2],
    /// Page registers 0x80 to 0x8F, with those that belong to no channel.
    pages: [u8; 16],
}

impl State {
    fn at_reset() -> Self {
        Self { controllers: [Controller::at_reset(), Controller::at_reset()], pages: [0; 16] }
    }
}

/// Page register (its low four port bits) of each channel; channel 4 is the cascade and has none (0x8F: refresh).
const PAGE_OF: [usize; 8] = [0x7, 0x3, 0x1, 0x2, 0xF, 0xB, 0x9, 0xA];

/// Which way a channel is set up to transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DmaDirection {
    /// Nothing is stored; addresses are counted.
    Verify,
    /// The device's data goes into memory.
    ToMemory,
    /// Memory's data goes to the device.
    FromMemory,
}

/// A piece of memory that a channel will transfer next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DmaSegment {
    /// Guest-physical address of its lowest byte.
    pub gpa: u64,
    /// Length in bytes; the piece ends at a 64 KiB (128 KiB for channels 5 to 7) boundary.
    pub len: u32,
    /// Which way.
    pub direction: DmaDirection,
    /// Addresses go down: the device's first byte belongs at the end of the piece.
    pub downwards: bool,
}

/// Both controllers. Ports, byte wide: 0x00-0x0F ([`Dma::first_ports`]), 0xC0-0xDF ([`Dma::second_ports`]),
/// 0x81-0x8F ([`Dma::page_ports`]; 0x80 is left to the POST code port).
pub struct Dma {
    state: State,
}

impl Dma {
    /// Both controllers, all channels masked.
    pub fn new() -> Shared<Self> {
        shared(Self { state: State::at_reset() })
    }

    /// Channels 0 to 3, for 0x00-0x0F.
    pub fn first_ports(dma: &Shared<Self>) -> Shared<DmaPorts> {
        shared(DmaPorts { dma: dma.clone(), block: Block::First })
    }

    /// Channels 4 to 7, for 0xC0-0xDF.
    pub fn second_ports(dma: &Shared<Self>) -> Shared<DmaPorts> {
        shared(DmaPorts { dma: dma.clone(), block: Block::Second })
    }

    /// Page registers, for 0x81-0x8F.
    pub fn page_ports(dma: &Shared<Self>) -> Shared<DmaPorts> {
        shared(DmaPorts { dma: dma.clone(), block: Block::Pages })
    }

    /// What `channel` (0 to 3, 5 to 7) transfers next; `None` while it is masked or its controller disabled.
    pub fn next_segment(&self, channel: u8) -> Option<DmaSegment> {
        let index = usize::from(channel);
        let page = u64::from(*self.state.pages.get(*PAGE_OF.get(index)?)?);
        let k = self.state.controllers.get(index / 4)?;
        if channel == 4 || k.mask & (1 << (channel & 3)) != 0 || k.command & COMMAND_DISABLE != 0 {
            return None;
        }
        let c = k.channels.get(index & 3)?;
        let direction = match c.mode >> 2 & 3 {
            0 => DmaDirection::Verify,
            1 => DmaDirection::ToMemory,
            2 => DmaDirection::FromMemory,
            _ => return None,
        };
        let downwards = c.mode & MODE_DOWN != 0;
        let (at, wanted) = (u32::from(c.address), u32::from(c.count) + 1);
        let units = wanted.min(if downwards { at + 1 } else { 0x10000 - at });
        let lowest = u64::from(if downwards { at + 1 - units } else { at });
        let (gpa, len) =
            if index < 4 { (page << 16 | lowest, units) } else { ((page & 0xFE) << 16 | lowest << 1, units * 2) };
        Some(DmaSegment { gpa, len, direction, downwards })
    }

    /// `bytes` of the segment were transferred. `true` at terminal count.
    pub fn complete(&mut self, channel: u8, bytes: u32) -> bool {
        let index = usize::from(channel);
        let units = if index < 4 { bytes } else { bytes / 2 };
        let Some(k) = self.state.controllers.get_mut(index / 4) else { return false };
        let bit = 1 << (channel & 3);
        let Some(c) = k.channels.get_mut(index & 3) else { return false };
        let done = units > u32::from(c.count);
        let step = units as u16;
        c.address = if c.mode & MODE_DOWN != 0 { c.address.wrapping_sub(step) } else { c.address.wrapping_add(step) };
        c.count = c.count.wrapping_sub(step);
        if done {
            k.status |= bit;
            k.request &= !bit;
            if c.mode & MODE_AUTO != 0 {
                (c.address, c.count) = (c.base_address, c.base_count);
            } else {
                k.mask |= bit;
            }
        }
        done
    }
}

impl Device for Dma {
    fn name(&self) -> &str {
        "dma"
    }

    fn reset(&mut self) {
        self.state = State::at_reset();
    }

    fn save(&self) -> Result<Vec<u8>, StateError> {
        save_state(self.name(), &self.state)
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), StateError> {
        let mut new: State = load_state(self.name(), bytes)?;
        new.controllers.iter_mut().for_each(|k| k.mask &= 0x0F);
        self.state = new;
        Ok(())
    }
}

#[derive(Clone, Copy)]
enum Block {
    First,
    Second,
    Pages,
}

/// A block of the controllers' ports; see [`Dma`].
pub struct DmaPorts {
    dma: Shared<Dma>,
    block: Block,
}

impl PortIo for DmaPorts {
    fn port_read(&mut self, offset: u16, data: &mut [u8]) {
        let mut dma = lock(&self.dma);
        let s = &mut dma.state;
        data.fill(match self.block {
            Block::First => s.controllers[0].read(offset),
            Block::Second => s.controllers[1].read(offset / 2),
            Block::Pages => s.pages.get(usize::from(offset) + 1).copied().unwrap_or(0xFF),
        });
    }

    fn port_write(&mut self, offset: u16, data: &[u8]) {
        let Some(&v) = data.first() else { return };
        let mut dma = lock(&self.dma);
        let s = &mut dma.state;
        match self.block {
            Block::First => s.controllers[0].write(offset, v),
            Block::Second => s.controllers[1].write(offset / 2, v),
            Block::Pages => {
                if let Some(p) = s.pages.get_mut(usize::from(offset) + 1) {
                    *p = v;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use vm_core::PortSpace;

    fn bench() -> (Shared<Dma>, Arc<PortSpace>) {
        let dma = Dma::new();
        let ports = PortSpace::new();
        ports.add(0x00, 16, "dma1", true, &Dma::first_ports(&dma)).unwrap();
        ports.add(0xC0, 32, "dma2", true, &Dma::second_ports(&dma)).unwrap();
        ports.add(0x81, 15, "pages", true, &Dma::page_ports(&dma)).unwrap();
        (dma, ports)
    }

    fn out(p: &PortSpace, all: &[(u16, u8)]) {
        all.iter().for_each(|(port, v)| p.write(*port, &[*v]));
    }

    fn inb(p: &PortSpace, port: u16) -> u8 {
        let mut d = [0];
        p.read(port, &mut d);
        d[0]
    }

    #[test]
    fn a_floppy_read_on_channel_2() {
        let (dma, p) = bench();
        out(&p, &[(0x0C, 0), (4, 0x00), (4, 0xFF), (5, 0xFF), (5, 0x01), (0x81, 0x12), (0x0B, 0x46)]);
        assert_eq!(lock(&dma).next_segment(2), None, "masked");
        out(&p, &[(0x0A, 2)]);
        let s = lock(&dma).next_segment(2).unwrap();
        assert_eq!((s.gpa, s.len, s.direction), (0x12_FF00, 0x100, DmaDirection::ToMemory));
        assert!(!lock(&dma).complete(2, 0x100));
        let s = lock(&dma).next_segment(2).unwrap();
        assert_eq!((s.gpa, s.len), (0x12_0000, 0x100), "wraps inside the page");
        assert!(lock(&dma).complete(2, 0x100));
        assert_eq!((inb(&p, 8), inb(&p, 8)), (0x04, 0));
        assert_eq!(lock(&dma).next_segment(2), None, "masked at terminal count");
    }

    #[test]
    fn words_and_auto_initialisation_on_channel_5() {
        let (dma, p) = bench();
        out(&p, &[(0xD8, 0), (0xC4, 0x00), (0xC4, 0x10), (0xC6, 0x03), (0xC6, 0x00), (0x8B, 0x05)]);
        out(&p, &[(0xD6, 0x59), (0xD4, 1)]);
        let s = lock(&dma).next_segment(5).unwrap();
        assert_eq!((s.gpa, s.len, s.direction), (0x4_2000, 8, DmaDirection::FromMemory));
        assert!(lock(&dma).complete(5, 8));
        assert_eq!(lock(&dma).next_segment(5), Some(s));
    }

    #[test]
    fn flip_flop_master_clear_and_save() {
        let (dma, p) = bench();
        out(&p, &[(0x0C, 0), (0, 0x34), (0, 0x12), (0x0E, 0), (0x87, 0xAA)]);
        assert_eq!((inb(&p, 0), inb(&p, 0), inb(&p, 0x87)), (0x34, 0x12, 0xAA));
        inb(&p, 0);
        crate::test_util::round_trip(&mut *lock(&dma));
        out(&p, &[(0x0D, 0)]);
        assert_eq!((inb(&p, 0), lock(&dma).state.controllers[0].mask), (0x34, 0x0F));
    }
}
