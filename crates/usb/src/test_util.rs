//! What the tests of both kinds of controllers need: guest memory, devices, descriptor readers, random numbers.

use std::sync::Arc;

use block::{BlockBackend, BlockQueue, MemoryDisk};
use guest_memory::{GuestMemory, MapRange, RamBlock};
use input::InputBus;
use vm_core::{Clock, Shared};

use crate::hid::{self, HidKind};
use crate::{Speed, UsbDevice};

/// One MiB of guest memory from address 0.
pub(crate) fn memory() -> GuestMemory {
    let memory = GuestMemory::new();
    let block = RamBlock::new("test", 1 << 20).unwrap();
    memory.set_ranges(vec![MapRange { gpa: 0, len: 1 << 20, block, offset: 0, readonly: false }]);
    memory
}

pub(crate) fn poke(memory: &GuestMemory, at: u32, dwords: &[u32]) {
    let bytes: Vec<u8> = dwords.iter().flat_map(|d| d.to_le_bytes()).collect();
    memory.write(at.into(), &bytes).unwrap();
}

pub(crate) fn peek(memory: &GuestMemory, at: u32) -> u32 {
    memory.read_u32(at.into()).unwrap()
}

pub(crate) fn bytes(memory: &GuestMemory, at: u32, len: usize) -> Vec<u8> {
    let mut data = vec![0; len];
    memory.read(at.into(), &mut data).unwrap();
    data
}

pub(crate) fn tablet(clock: &Clock) -> (Arc<InputBus>, Shared<UsbDevice>) {
    let input = InputBus::new();
    let device = hid::device(HidKind::Tablet, "tablet", "1", Speed::High, clock, &input);
    (input, device)
}

pub(crate) fn disk(sectors: usize) -> (Arc<dyn BlockBackend>, Arc<BlockQueue>) {
    let data: Vec<u8> = (0..sectors * 512).map(|i| (i / 512) as u8).collect();
    let backend: Arc<dyn BlockBackend> = MemoryDisk::new(data, false);
    (backend.clone(), BlockQueue::new("test", backend).unwrap())
}

/// xorshift64*.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16
    }
}

pub(crate) const fn setup(request_type: u8, request: u8, value: u16, index: u16, length: u16) -> [u8; 8] {
    let ([v0, v1], [i0, i1], [l0, l1]) = (value.to_le_bytes(), index.to_le_bytes(), length.to_le_bytes());
    [request_type, request, v0, v1, i0, i1, l0, l1]
}
