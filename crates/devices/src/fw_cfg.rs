//! The firmware configuration device (QEMU's docs/specs/fw_cfg): selector at 0x510, data at 0x511, DMA address at
//! 0x514 to 0x51B (big-endian). Items are read-only; writes by the guest are answered with the DMA error bit.

use firmware::FwCfgItems;
use guest_memory::GuestMemory;
use serde::{Deserialize, Serialize};
use vm_core::{Device, PortIo, Shared, StateError, load_state, save_state, shared};

const CONTROL_ERROR: u32 = 1;
const CONTROL_READ: u32 = 2;
const CONTROL_SKIP: u32 = 4;
const CONTROL_SELECT: u32 = 8;
const CONTROL_WRITE: u32 = 16;
/// What reading the DMA address register gives: "QEMU CFG".
const DMA_SIGNATURE: u64 = u64::from_be_bytes(*b"QEMU CFG");
/// DMA is done in steps of this many bytes.
const CHUNK: usize = 64 << 10;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    selected: u16,
    offset: u64,
    dma_high: u32,
}

/// The device. Register [`FwCfg::new`]'s result at 0x510, 2 ports, and [`FwCfg::dma_ports`] at 0x514, 8 ports.
pub struct FwCfg {
    state: State,
    items: FwCfgItems,
    memory: GuestMemory,
}

impl FwCfg {
    /// A device that serves `items` and does DMA to `memory`.
    pub fn new(items: FwCfgItems, memory: GuestMemory) -> Shared<Self> {
        shared(Self { state: State::default(), items, memory })
    }

    /// The DMA address register.
    pub fn dma_ports(device: &Shared<Self>) -> Shared<FwCfgDma> {
        shared(FwCfgDma(device.clone()))
    }

    /// Changes the items (before the machine starts, or at a reset).
    pub fn edit(&mut self, edit: impl FnOnce(&mut FwCfgItems)) {
        edit(&mut self.items);
    }

    fn select(&mut self, key: u16) {
        self.state.selected = key & !0x4000; // bit 14: written by old interfaces, ignored; bit 15: items of the architecture
        self.state.offset = 0;
    }

    fn next_byte(&mut self) -> u8 {
        let item = self.items.get(self.state.selected);
        let byte = item.and_then(|i| i.get(usize::try_from(self.state.offset).ok()?)).copied().unwrap_or(0);
        self.state.offset = self.state.offset.saturating_add(1);
        byte
    }

    /// Carries out the descriptor at `address`: control, length, address, big-endian.
    fn dma(&mut self, address: u64) {
        let mut descriptor = [0; 16];
        if self.memory.read(address, &mut descriptor).is_err() {
            return; // there is nowhere to report it to
        }
        let word = |at: usize| u32::from_be_bytes([0, 1, 2, 3].map(|i| descriptor[at + i]));
        let control = word(0);
        let length = u64::from(word(4));
        let target = u64::from(word(8)) << 32 | u64::from(word(12));
        if control & CONTROL_SELECT != 0 {
            self.select((control >> 16) as u16);
        }
        let result = if control & CONTROL_READ != 0 {
            self.dma_read(target, length)
        } else if control & CONTROL_WRITE != 0 {
            CONTROL_ERROR
        } else {
            if control & CONTROL_SKIP != 0 {
                self.state.offset = self.state.offset.saturating_add(length);
            }
            0
        };
        // A descriptor in ROM keeps its control field; the firmware that put it there does not look.
        let _ = self.memory.write(address, &result.to_be_bytes());
    }

    fn dma_read(&mut self, target: u64, length: u64) -> u32 {
        static ZEROS: [u8; CHUNK] = [0; CHUNK];
        let item = self.items.get(self.state.selected).cloned();
        let mut done = 0u64;
        while done < length {
            let n = usize::try_from(length - done).unwrap_or(CHUNK).min(CHUNK);
            let start = usize::try_from(self.state.offset).unwrap_or(usize::MAX);
            let rest = item.as_ref().and_then(|i| i.get(start..)).filter(|r| !r.is_empty());
            let part = rest.map_or(&ZEROS[..n], |r| &r[..n.min(r.len())]);
            let Some(at) = target.checked_add(done) else { return CONTROL_ERROR };
            if self.memory.write(at, part).is_err() {
                return CONTROL_ERROR;
            }
            done += part.len() as u64;
            self.state.offset = self.state.offset.saturating_add(part.len() as u64);
        }
        0
    }
}

impl PortIo for FwCfg {
    fn port_read(&mut self, offset: u16, data: &mut [u8]) {
        match (offset, data.len()) {
            (1, _) => data.iter_mut().for_each(|b| *b = self.next_byte()),
            (0, 2) => data.fill(0),
            _ => data.fill(0xFF),
        }
    }

    fn port_write(&mut self, offset: u16, data: &[u8]) {
        if let (0, [low, high]) = (offset, data) {
            self.select(u16::from_le_bytes([*low, *high]));
        }
    }
}

impl Device for FwCfg {
    fn name(&self) -> &str {
        "fw_cfg"
    }

    fn reset(&mut self) {
        self.state = State::default();
    }

    fn save(&self) -> Result<Vec<u8>, StateError> {
        save_state("fw_cfg", &self.state)
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), StateError> {
        self.state = load_state("fw_cfg", bytes)?;
        Ok(())
    }
}

/// The DMA address register of a [`FwCfg`].
pub struct FwCfgDma(Shared<FwCfg>);

impl PortIo for FwCfgDma {
    fn port_read(&mut self, offset: u16, data: &mut [u8]) {
        let bytes = DMA_SIGNATURE.to_be_bytes();
        for (i, b) in data.iter_mut().enumerate() {
            *b = bytes.get(usize::from(offset) + i).copied().unwrap_or(0xFF);
        }
    }

    /// The high half is latched; writing the low half starts the transfer.
    fn port_write(&mut self, offset: u16, data: &[u8]) {
        let Ok(bytes) = <[u8; 4]>::try_from(data) else { return };
        let value = u32::from_be_bytes(bytes);
        let mut device = vm_core::lock(&self.0);
        match offset {
            0 => device.state.dma_high = value,
            4 => {
                let address = u64::from(device.state.dma_high) << 32 | u64::from(value);
                device.state.dma_high = 0;
                device.dma(address);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use guest_memory::{MapRange, RamBlock};

    fn device() -> (Shared<FwCfg>, GuestMemory, u16) {
        let memory = GuestMemory::new();
        let block = RamBlock::new("ram", 0x4000).unwrap();
        memory.set_ranges(vec![MapRange { gpa: 0, len: 0x4000, block, offset: 0, readonly: false }]);
        let mut items = FwCfgItems::new();
        let key = items.add_file("etc/x", (0..=255).collect());
        (FwCfg::new(items, memory.clone()), memory, key)
    }

    #[test]
    fn signature_by_port_and_zeros_after_the_end() {
        let (d, _, _) = device();
        let mut d = vm_core::lock(&d);
        d.port_write(0, &[0, 0]);
        let mut text = [9; 6];
        text.iter_mut().for_each(|b| d.port_read(1, std::slice::from_mut(b)));
        assert_eq!(&text, b"QEMU\0\0");
        d.port_write(0, &[0, 0x80]);
        d.port_read(1, &mut text[..1]);
        assert_eq!(text[0], 0, "item 0x8000 is not item 0");
    }

    #[test]
    fn dma_selects_reads_skips_and_reports() {
        let (d, memory, key) = device();
        let dma = FwCfg::dma_ports(&d);
        let run = |control: u32, length: u32, target: u64| {
            let mut b = control.to_be_bytes().to_vec();
            b.extend(length.to_be_bytes());
            b.extend(target.to_be_bytes());
            memory.write(0x100, &b).unwrap();
            let mut dma = vm_core::lock(&dma);
            dma.port_write(0, &[0; 4]);
            dma.port_write(4, &0x100u32.to_be_bytes());
            let mut c = [0; 4];
            memory.read(0x100, &mut c).unwrap();
            u32::from_be_bytes(c)
        };
        let mut got = [0xEE; 4];
        assert_eq!(run(u32::from(key) << 16 | 8 | 2, 2, 0x200), 0);
        assert_eq!(run(4, 252, 0), 0);
        assert_eq!(run(2, 4, 0x202), 0);
        memory.read(0x200, &mut got).unwrap();
        assert_eq!(got, [0, 1, 254, 255]);
        memory.read(0x204, &mut got).unwrap();
        assert_eq!(got, [0, 0, 0, 0]);
        assert_eq!(run(2, 8, 0x3FFC), CONTROL_ERROR);
        assert_eq!(run(2, u32::MAX, u64::MAX - 3), CONTROL_ERROR);
        assert_eq!(run(16, 4, 0x200), CONTROL_ERROR);
        let mut sig = [0; 8];
        vm_core::lock(&dma).port_read(0, &mut sig);
        assert_eq!(&sig, b"QEMU CFG");
    }
}
