//! Standard VGA with the Bochs VBE extension, as a PCI function (1234:1111).
//!
//! BAR 0 is the video memory, plain RAM; BAR 2 has the VGA ports from 0x400, the VBE registers from 0x500 and two
//! extension registers (their size, byte order) from 0x600; the ROM is the VGA BIOS. The legacy ports and the window
//! at 0xA0000 are always decoded. Specifications are named in the parts: `registers`, `memory`, `vbe`, `scanout`.
//! The `bochs-display` is the same without the VGA: no legacy ports, no window, another class (other display
//! controller), and dark while no VBE mode is set.
//! Left out: EDID, sparse I/O decoding by PCI command bits, VGA arbitration.

pub mod audit;
mod draw;
mod memory;
mod registers;
mod scanout;
mod screen;
#[cfg(test)]
mod tests;
mod vbe;

use std::sync::Arc;

use guest_memory::{RamBlock, RamError};
use pci::{BarBacking, BarKind, BarSpec, ConfigSpace, ConfigState, Deferred, Identity, PciFunction};
use serde::{Deserialize, Serialize};
use vm_core::{
    Clock, Device, Mmio, PortIo, PortSpace, Shared, SpaceError, StateError, load_state, lock, save_state, shared,
};

use registers::Registers;
use scanout::{FRAME_NS, Scanout};
pub use screen::VgaDisplay;
use vbe::Vbe;

/// First address of the legacy window.
pub const WINDOW_BASE: u64 = 0xA_0000;
/// Its length.
pub const WINDOW_LEN: u64 = memory::WINDOW_LEN;

const PORTS: [(u16, u16); 5] = [(0x3B4, 2), (0x3BA, 1), (0x3C0, 16), (0x3D4, 2), (0x3DA, 1)];
const VBE_INDEX: u16 = 0x1CE;
const REGISTERS_LEN: u64 = 0x1000;
/// Byte order register values.
const BIG_ENDIAN: u32 = 0xBEBE_BEBE;
const LITTLE_ENDIAN: u32 = 0x1E1E_1E1E;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct State {
    registers: Registers,
    /// The plane bytes of the last read.
    latches: [u8; 4],
    vbe: Vbe,
    big_endian: bool,
}

impl State {
    fn at_reset() -> Self {
        Self { registers: Registers::at_reset(), latches: [0; 4], vbe: Vbe::at_reset(), big_endian: false }
    }
}

#[derive(Serialize, Deserialize)]
struct Saved {
    state: State,
    config: ConfigState,
    memory_size: u64,
    /// Bytes of video memory that follow; the rest is zero.
    memory_used: u64,
}

/// Which card it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VgaModel {
    /// `VGA`.
    Standard,
    /// `bochs-display`.
    BochsDisplay,
}

impl VgaModel {
    /// QEMU's name of the device.
    pub fn name(self) -> &'static str {
        match self {
            Self::Standard => "VGA",
            Self::BochsDisplay => "bochs-display",
        }
    }
}

/// The video card.
pub struct VgaDevice {
    model: VgaModel,
    state: State,
    config: ConfigSpace,
    memory: Arc<RamBlock>,
    rom: Option<Arc<RamBlock>>,
    clock: Clock,
}

impl VgaDevice {
    /// A standard VGA: see [`VgaDevice::with_model`].
    ///
    /// # Errors
    /// When the host has no memory for it.
    pub fn new(clock: &Clock, mib: u32, bios: &[u8]) -> Result<Shared<Self>, RamError> {
        Self::with_model(VgaModel::Standard, clock, mib, bios)
    }

    /// A card with `mib` MiB of video memory (a power of two, at least 1) and `bios` as its ROM (none when empty).
    ///
    /// # Errors
    /// When the host has no memory for it.
    ///
    /// # Panics
    /// When `mib` is not a power of two from 1 to 1024 (a host-side error).
    pub fn with_model(model: VgaModel, clock: &Clock, mib: u32, bios: &[u8]) -> Result<Shared<Self>, RamError> {
        assert!(mib.is_power_of_two() && mib <= 1024, "{mib} MiB of video memory");
        let size = u64::from(mib) << 20;
        let memory = RamBlock::new("vga.vram", size)?;
        let class = if model == VgaModel::Standard { 0x03_0000 } else { 0x03_8000 };
        let id = Identity { vendor: 0x1234, device: 0x1111, revision: 2, class, subsystem: (0x1AF4, 0x1100) };
        let mut config = ConfigSpace::endpoint(id)
            .with_bar(BarSpec { index: 0, kind: BarKind::Mem32 { prefetch: true }, size })
            .with_bar(BarSpec { index: 2, kind: BarKind::Mem32 { prefetch: false }, size: REGISTERS_LEN });
        let mut rom = None;
        if !bios.is_empty() {
            let size = (bios.len() as u64).next_power_of_two().max(guest_memory::PAGE_SIZE);
            let block = RamBlock::new("vga.rom", size)?;
            block.write(0, bios);
            config = config.with_bar(BarSpec { index: BarSpec::ROM, kind: BarKind::Rom, size });
            rom = Some(block);
        }
        Ok(shared(Self { model, state: State::at_reset(), config, memory, rom, clock: clock.clone() }))
    }

    /// The video memory.
    pub fn memory(&self) -> &Arc<RamBlock> {
        &self.memory
    }

    /// What is behind the BARs, for `PciBus::add`.
    pub fn bars(device: &Shared<Self>) -> Vec<(u8, BarBacking)> {
        let (memory, rom) = {
            let d = lock(device);
            (d.memory.clone(), d.rom.clone())
        };
        let registers = shared(ExtendedRegisters(device.clone()));
        let mut bars = vec![(0, BarBacking::Ram { block: memory, readonly: false }), (2, BarBacking::Mmio(registers))];
        bars.extend(rom.map(|block| (BarSpec::ROM, BarBacking::Ram { block, readonly: true })));
        bars
    }

    /// Registers the VGA's and VBE's ports.
    ///
    /// # Errors
    /// When another device has one of them.
    pub fn add_ports(device: &Shared<Self>, ports: &PortSpace) -> Result<(), SpaceError> {
        for (base, len) in PORTS {
            ports.add(base, len, "vga", true, &shared(VgaPorts { base, device: device.clone() }))?;
        }
        ports.add(VBE_INDEX, 4, "vbe", false, &shared(VbePorts(device.clone())))
    }

    /// What is behind the window at [`WINDOW_BASE`].
    pub fn window(device: &Shared<Self>) -> Shared<VgaWindow> {
        shared(VgaWindow(device.clone()))
    }

    /// Where in the video memory the 64 KiB from [`WINDOW_BASE`] could be mapped as plain RAM now, if anywhere: for
    /// machines that spare the guest an exit an access. It changes with writes to ports.
    pub fn linear_window(&self) -> Option<u64> {
        self.state.linear_window(self.memory.len())
    }

    fn scanout(&self) -> Scanout {
        match self.model {
            VgaModel::Standard => self.state.scanout(self.clock.now()),
            VgaModel::BochsDisplay => self.state.bochs_scanout(),
        }
    }

    /// Input status register 1: bit 0 while nothing is displayed, bit 3 in vertical retrace (a sixteenth of a
    /// frame, longer than a monitor's, so that a guest that polls through exits sees it).
    fn status1(&self) -> u8 {
        const LINE_NS: u64 = 31_778;
        let t = self.clock.now() % FRAME_NS;
        if t >= FRAME_NS / 16 * 15 { 0x09 } else { u8::from(t % LINE_NS >= LINE_NS / 5 * 4) }
    }

    fn port_in(&mut self, port: u16) -> u8 {
        let status1 = self.status1();
        self.state.registers.read(port, status1)
    }

    fn port_out(&mut self, port: u16, value: u8) {
        let eight_bits = self.state.vbe.dac_8bit();
        self.state.registers.write(port, value, eight_bits);
    }

    fn vbe_read(&self, index: u16) -> u16 {
        self.state.vbe.read(index, self.memory.len())
    }

    fn vbe_write(&mut self, index: u16, value: u16) {
        if let Some(len) = self.state.vbe.write(index, value, self.memory.len()) {
            self.memory.fill(0, len, 0);
        }
    }

    /// The length of the video memory without the zeros at its end.
    fn memory_used(&self) -> u64 {
        let mut chunk = [0; 4096];
        let mut used = self.memory.len();
        while used != 0 {
            self.memory.read(used - 4096, &mut chunk);
            if chunk.iter().any(|b| *b != 0) {
                break;
            }
            used -= 4096;
        }
        used
    }

    fn check(&self, saved: &Saved, bytes: usize) -> Result<(), StateError> {
        let bad = |reason: &str| Err(StateError::Mismatch { device: "vga".into(), reason: reason.into() });
        if saved.memory_size != self.memory.len() {
            return bad("another size of video memory");
        }
        if saved.memory_used > saved.memory_size || bytes as u64 != saved.memory_used {
            return bad("the video memory is cut short");
        }
        if !saved.state.registers.dac.is_valid() || !saved.state.vbe.is_valid() {
            return bad("impossible register values");
        }
        Ok(())
    }
}

impl Device for VgaDevice {
    fn name(&self) -> &str {
        "vga"
    }

    fn reset(&mut self) {
        self.state = State::at_reset();
        self.config.reset();
    }

    /// A length, the registers, and the video memory as it is.
    fn save(&self) -> Result<Vec<u8>, StateError> {
        let memory_used = self.memory_used();
        let saved = Saved {
            state: self.state.clone(),
            config: self.config.state(),
            memory_size: self.memory.len(),
            memory_used,
        };
        let head = save_state("vga", &saved)?;
        let mut bytes = (head.len() as u32).to_le_bytes().to_vec();
        bytes.extend(head);
        let start = bytes.len();
        bytes.resize(start + memory_used as usize, 0);
        self.memory.read(0, &mut bytes[start..]);
        Ok(bytes)
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), StateError> {
        let short = || StateError::Format { device: "vga".into(), reason: "too short".into() };
        let (len, rest) = bytes.split_first_chunk::<4>().ok_or_else(short)?;
        let (head, memory) = rest.split_at_checked(u32::from_le_bytes(*len) as usize).ok_or_else(short)?;
        let saved: Saved = load_state("vga", head)?;
        self.check(&saved, memory.len())?;
        let Saved { state, config, memory_size, memory_used } = saved;
        self.config.restore("vga", &config)?;
        self.state = state;
        self.memory.write(0, memory);
        self.memory.fill(memory_used, memory_size - memory_used, 0);
        Ok(())
    }
}

impl PciFunction for VgaDevice {
    fn config(&self) -> &ConfigSpace {
        &self.config
    }

    fn config_mut(&mut self) -> &mut ConfigSpace {
        &mut self.config
    }

    fn config_written(&mut self, _offset: u8, _len: usize) {}

    fn placement(&mut self) -> Option<Deferred> {
        None
    }
}

/// A range of the VGA's ports.
struct VgaPorts {
    base: u16,
    device: Shared<VgaDevice>,
}

impl PortIo for VgaPorts {
    fn port_read(&mut self, offset: u16, data: &mut [u8]) {
        let mut device = lock(&self.device);
        for (port, byte) in (self.base + offset..).zip(data) {
            *byte = device.port_in(port);
        }
    }

    fn port_write(&mut self, offset: u16, data: &[u8]) {
        let mut device = lock(&self.device);
        for (port, byte) in (self.base + offset..).zip(data) {
            device.port_out(port, *byte);
        }
    }
}

/// VBE index at 0x1CE, data at 0x1CF and 0x1D0: 16-bit registers on ports next to each other.
struct VbePorts(Shared<VgaDevice>);

impl PortIo for VbePorts {
    fn port_read(&mut self, offset: u16, data: &mut [u8]) {
        let device = lock(&self.0);
        let index = device.state.vbe.index;
        let value = match offset {
            0 => index,
            1 | 2 => device.vbe_read(index),
            _ => 0xFFFF,
        };
        data.fill(0xFF);
        data.iter_mut().zip(value.to_le_bytes()).for_each(|(d, v)| *d = v);
    }

    fn port_write(&mut self, offset: u16, data: &[u8]) {
        let value = match *data {
            [low] => u16::from(low),
            [low, high, ..] => u16::from_le_bytes([low, high]),
            [] => return,
        };
        let mut device = lock(&self.0);
        match offset {
            0 => device.state.vbe.index = value,
            1 | 2 => {
                let index = device.state.vbe.index;
                device.vbe_write(index, value);
            }
            _ => {}
        }
    }
}

/// The window at 0xA0000.
pub struct VgaWindow(Shared<VgaDevice>);

impl Mmio for VgaWindow {
    fn mmio_read(&mut self, offset: u64, data: &mut [u8]) {
        let VgaDevice { state, memory, .. } = &mut *lock(&self.0);
        for (at, byte) in (offset..).zip(data) {
            *byte = state.window_read(memory, at);
        }
    }

    fn mmio_write(&mut self, offset: u64, data: &[u8]) {
        let VgaDevice { state, memory, .. } = &mut *lock(&self.0);
        for (at, byte) in (offset..).zip(data) {
            state.window_write(memory, at, *byte);
        }
    }
}

/// BAR 2.
struct ExtendedRegisters(Shared<VgaDevice>);

/// Size of the extension registers at 0x600, which the first of them holds.
const EXTENSION_LEN: u32 = 8;

impl ExtendedRegisters {
    fn read_byte(device: &mut VgaDevice, at: u64) -> u8 {
        let lane = (at & 3) as usize;
        match at {
            0x400..0x420 if device.model == VgaModel::BochsDisplay => 0,
            0x400..0x420 => device.port_in(0x3C0 + (at - 0x400) as u16),
            0x500..0x516 => device.vbe_read(((at - 0x500) / 2) as u16).to_le_bytes()[lane & 1],
            0x600..0x604 => EXTENSION_LEN.to_le_bytes()[lane],
            0x604..0x608 => if device.state.big_endian { BIG_ENDIAN } else { LITTLE_ENDIAN }.to_le_bytes()[lane],
            _ => 0,
        }
    }
}

impl Mmio for ExtendedRegisters {
    fn mmio_read(&mut self, offset: u64, data: &mut [u8]) {
        let mut device = lock(&self.0);
        for (at, byte) in (offset..).zip(data) {
            *byte = Self::read_byte(&mut device, at);
        }
    }

    fn mmio_write(&mut self, offset: u64, data: &[u8]) {
        let mut device = lock(&self.0);
        match (offset, data) {
            (0x400..0x420, _) if device.model == VgaModel::BochsDisplay => {}
            (0x400..0x420, _) => {
                for (at, byte) in (offset..0x420).zip(data) {
                    device.port_out(0x3C0 + (at - 0x400) as u16, *byte);
                }
            }
            (0x500..0x516, _) if offset & 1 == 0 => {
                for (at, word) in (offset..0x516).step_by(2).zip(data.chunks(2)) {
                    let value = match *word {
                        [low, high] => u16::from_le_bytes([low, high]),
                        _ => u16::from(word[0]),
                    };
                    device.vbe_write(((at - 0x500) / 2) as u16, value);
                }
            }
            (0x604, &[a, b, c, d]) => match u32::from_le_bytes([a, b, c, d]) {
                BIG_ENDIAN => device.state.big_endian = true,
                LITTLE_ENDIAN => device.state.big_endian = false,
                _ => {}
            },
            _ => {}
        }
    }
}
