//! The firmware configuration device (QEMU's docs/specs/fw_cfg): selector at 0x510, data at 0x511, DMA address at
//! 0x514 to 0x51B (big-endian). Items are read-only but for those of [`FwCfg::make_writable`], which the guest writes by
//! DMA; other writes are answered with the DMA error bit.

use std::collections::BTreeMap;
use std::sync::Arc;

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
    /// Contents of writable items that the guest has written.
    written: BTreeMap<u16, Vec<u8>>,
}

/// Told of a writable item's contents: after a write, a reset, a restore.
pub type OnWrite = Arc<dyn Fn(&[u8]) + Send + Sync>;

/// The device. Register [`FwCfg::new`]'s result at 0x510, 2 ports, and [`FwCfg::dma_ports`] at 0x514, 8 ports.
pub struct FwCfg {
    state: State,
    items: FwCfgItems,
    memory: GuestMemory,
    writable: BTreeMap<u16, OnWrite>,
}

impl FwCfg {
    /// A device that serves `items` and does DMA to `memory`.
    pub fn new(items: FwCfgItems, memory: GuestMemory) -> Shared<Self> {
        shared(Self { state: State::default(), items, memory, writable: BTreeMap::new() })
    }

    /// The DMA address register.
    pub fn dma_ports(device: &Shared<Self>) -> Shared<FwCfgDma> {
        shared(FwCfgDma(device.clone()))
    }

    /// Changes the items (before the machine starts, or at a reset).
    pub fn edit(&mut self, edit: impl FnOnce(&mut FwCfgItems)) {
        edit(&mut self.items);
    }

    /// Lets the guest write item `key`, which must be there; `on_write` is called with the device locked.
    pub fn make_writable(&mut self, key: u16, on_write: OnWrite) {
        self.writable.insert(key, on_write);
    }

    /// The bytes of the selected item.
    fn item(&self) -> Option<&[u8]> {
        let written = self.state.written.get(&self.state.selected);
        written.map(Vec::as_slice).or_else(|| self.items.get(self.state.selected).map(|i| &**i))
    }

    fn tell(&self, key: u16) {
        let original = || self.items.get(key).map(|i| &**i);
        let contents = self.state.written.get(&key).map(Vec::as_slice).or_else(original);
        if let (Some(on_write), Some(contents)) = (self.writable.get(&key), contents) {
            on_write(contents);
        }
    }

    fn dma_write(&mut self, source: u64, length: u64) -> u32 {
        let key = self.state.selected;
        let Some(item) = self.item().filter(|_| self.writable.contains_key(&key)) else { return CONTROL_ERROR };
        let mut bytes = item.to_vec();
        let start = usize::try_from(self.state.offset).unwrap_or(usize::MAX);
        let len = usize::try_from(length).unwrap_or(usize::MAX);
        let Some(part) = start.checked_add(len).and_then(|end| bytes.get_mut(start..end)) else {
            return CONTROL_ERROR;
        };
        if self.memory.read(source, part).is_err() {
            return CONTROL_ERROR;
        }
        self.state.offset = self.state.offset.saturating_add(length);
        self.state.written.insert(key, bytes);
        self.tell(key);
        0
    }

    fn select(&mut self, key: u16) {
        self.state.selected = key & !0x4000; // bit 14: written by old interfaces, ignored; bit 15: items of the architecture
        self.state.offset = 0;
    }

    fn next_byte(&mut self) -> u8 {
        let byte = self.item().and_then(|i| i.get(usize::try_from(self.state.offset).ok()?)).copied().unwrap_or(0);
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
            self.dma_write(target, length)
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
        let written = self.state.written.get(&self.state.selected).cloned();
        let fixed = self.items.get(self.state.selected).cloned();
        let item = written.as_deref().or(fixed.as_deref());
        let mut done = 0u64;
        while done < length {
            let n = usize::try_from(length - done).unwrap_or(CHUNK).min(CHUNK);
            let start = usize::try_from(self.state.offset).unwrap_or(usize::MAX);
            let rest = item.and_then(|i| i.get(start..)).filter(|r| !r.is_empty());
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
        self.writable.keys().for_each(|key| self.tell(*key));
    }

    fn save(&self) -> Result<Vec<u8>, StateError> {
        save_state("fw_cfg", &self.state)
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), StateError> {
        let state: State = load_state("fw_cfg", bytes)?;
        let fits = |(key, bytes): (&u16, &Vec<u8>)| {
            self.writable.contains_key(key) && self.items.get(*key).is_some_and(|i| i.len() == bytes.len())
        };
        if !state.written.iter().all(fits) {
            let reason = "a writable item that is not there, or of another length".into();
            return Err(StateError::Mismatch { device: "fw_cfg".into(), reason });
        }
        self.state = state;
        self.writable.keys().for_each(|key| self.tell(*key));
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
        let told = Arc::new(std::sync::Mutex::new(vec![]));
        let log = told.clone();
        let on_write: OnWrite = Arc::new(move |b: &[u8]| log.lock().unwrap().push((b[0], b[2], b[255])));
        vm_core::lock(&d).make_writable(key, on_write);
        memory.write(0x300, &[7, 8]).unwrap();
        assert_eq!(run(u32::from(key) << 16 | 8 | 16, 2, 0x300), 0);
        assert_eq!(run(4, 252, 0), 0);
        assert_eq!(run(16, 2, 0x300), 0, "its last bytes");
        assert_eq!(run(16, 1, 0x300), CONTROL_ERROR, "after its end");
        assert_eq!(run(u32::from(key) << 16 | 8 | 2, 1, 0x304), 0);
        memory.read(0x304, &mut got[..1]).unwrap();
        assert_eq!(got[0], 7);
        let saved = vm_core::lock(&d).save().unwrap();
        vm_core::lock(&d).reset();
        vm_core::lock(&d).restore(&saved).unwrap();
        assert_eq!(*told.lock().unwrap(), [(7, 2, 255), (7, 2, 8), (0, 2, 255), (7, 2, 8)]);
        assert!(vm_core::lock(&device().0).restore(&saved).is_err(), "not writable there");
        let mut sig = [0; 8];
        vm_core::lock(&dma).port_read(0, &mut sig);
        assert_eq!(&sig, b"QEMU CFG");
    }
}
