//! A parallel flash chip with the Intel command set (CFI primary command set 0001h), eight bits wide.
//!
//! Intel StrataFlash (J3) data sheet, command definitions and status register; JEDEC JESD68.01 (CFI) for the query. While
//! it reads as an array the chip is memory of the guest, read only, and its writes come here; any other command turns the
//! whole chip into registers until READ ARRAY.
//!
//! Two deviations that UEFI firmware for virtual machines relies on: CLEAR STATUS clears the ready bit too (that is how
//! the firmware tells flash from ROM and RAM), and erasing and programming take no time. Left out: suspend and resume,
//! protection registers, locks that last (all blocks are open, or closed for a read-only chip). What is programmed goes
//! to the image file before the command is done, in the order of the commands: a killed monitor leaves what the guest
//! has seen. Saved state holds the command state; contents are the file's.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::sync::Arc;

use guest_memory::RamBlock;
use serde::{Deserialize, Serialize};
use vm_core::{
    AddressSpace, Backing, Device, GuestWarnings, Mmio, Region, RegionId, Shared, SpaceError, StateError, load_state,
    lock, save_state, shared,
};

/// Bytes of an erase block; the chip's size is a multiple of it.
pub const BLOCK: u64 = 4096;
/// Bytes of the write buffer.
const BUFFER: usize = 2048;

const READY: u8 = 0x80;
const ERASE_ERROR: u8 = 0x20;
const PROGRAM_ERROR: u8 = 0x10;
const LOCKED: u8 = 0x02;

/// What reads give, and what the next write is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Mode {
    Array,
    Status,
    Identity,
    Query,
    /// The next write is programmed.
    Program,
    /// The next write confirms.
    Erase,
    /// The next write says how many bytes follow.
    BufferCount,
    /// Bytes for the buffer: how many are to come.
    BufferData {
        left: usize,
        bytes: Vec<(u64, u8)>,
    },
    /// The next write confirms what is in the buffer.
    BufferConfirm {
        bytes: Vec<(u64, u8)>,
    },
    /// The next write says which of the lock commands it is.
    Lock,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    mode: Mode,
    status: u8,
}

impl State {
    fn at_reset() -> Self {
        Self { mode: Mode::Array, status: READY }
    }
}

/// See the module's documentation.
pub struct Pflash {
    name: String,
    state: State,
    block: Arc<RamBlock>,
    /// Where writes go; none for a read-only chip and one whose changes are not kept.
    file: Option<File>,
    readonly: bool,
    space: Arc<AddressSpace>,
    region: Option<RegionId>,
    /// Registers are mapped instead of memory.
    registers: bool,
    me: std::sync::Weak<std::sync::Mutex<Self>>,
}

/// What a chip is made of.
pub struct PflashConfig {
    /// Name, for messages and `info mtree`.
    pub name: String,
    /// Its contents; a multiple of [`BLOCK`].
    pub block: Arc<RamBlock>,
    /// Where writes are kept.
    pub file: Option<File>,
    /// Erasing and programming fail.
    pub readonly: bool,
}

impl Pflash {
    /// A chip at `start` of `space`.
    ///
    /// # Errors
    /// [`SpaceError`] when it does not fit there.
    pub fn new(config: PflashConfig, space: &Arc<AddressSpace>, start: u64) -> Result<Shared<Self>, SpaceError> {
        let PflashConfig { name, block, file, readonly } = config;
        let len = block.len();
        let chip = Arc::new_cyclic(|me| {
            std::sync::Mutex::new(Self {
                name: name.clone(),
                state: State::at_reset(),
                block,
                file,
                readonly,
                space: space.clone(),
                region: None,
                registers: false,
                me: me.clone(),
            })
        });
        let backing = lock(&chip).backing();
        let id = space.add(Region { name, start, len, priority: 0, enabled: true, backing })?;
        lock(&chip).region = Some(id);
        Ok(chip)
    }

    fn backing(&self) -> Backing {
        let device: Arc<std::sync::Mutex<dyn Mmio>> = match self.me.upgrade() {
            Some(me) => me,
            None => shared(Gone),
        };
        if self.state.mode == Mode::Array {
            Backing::RomDevice { block: self.block.clone(), offset: 0, device }
        } else {
            Backing::Mmio(device)
        }
    }

    /// Maps memory or registers, as the mode says. Only the space's own lock is taken.
    fn remap(&mut self) {
        static REFUSED: GuestWarnings = GuestWarnings::new(4);
        let wanted = self.state.mode != Mode::Array;
        let Some(region) = self.region.filter(|_| wanted != self.registers) else { return };
        let backing = self.backing();
        if let Err(e) = self.space.change(&[region], |_, r| r.backing = backing.clone()) {
            REFUSED.warn(|| format!("{}: the mapping could not be changed: {e}", self.name));
        } else {
            self.registers = wanted;
        }
    }

    fn size(&self) -> u64 {
        self.block.len()
    }

    /// Writes through to the file; a failure is an error of the command.
    fn keep(&mut self, offset: u64, data: &[u8]) -> bool {
        static FAILED: GuestWarnings = GuestWarnings::new(4);
        let Some(file) = &mut self.file else { return true };
        let result = file.seek(SeekFrom::Start(offset)).and_then(|_| file.write_all(data));
        if let Err(e) = &result {
            FAILED.warn(|| format!("{}: the image cannot be written: {e}", self.name));
        }
        result.is_ok()
    }

    /// Programs bytes that follow each other: bits go from 1 to 0 only.
    fn program(&mut self, offset: u64, data: &[u8]) {
        let Some(end) = offset.checked_add(data.len() as u64).filter(|e| *e <= self.size() && !self.readonly) else {
            self.state.status |= PROGRAM_ERROR | if self.readonly { LOCKED } else { 0 };
            return;
        };
        let mut now = vec![0; (end - offset) as usize];
        self.block.read(offset, &mut now);
        now.iter_mut().zip(data).for_each(|(old, new)| *old &= new);
        if self.keep(offset, &now) {
            self.block.write(offset, &now);
        } else {
            self.state.status |= PROGRAM_ERROR;
        }
    }

    fn erase(&mut self, offset: u64) {
        let start = offset / BLOCK * BLOCK;
        if self.readonly || start + BLOCK > self.size() {
            self.state.status |= ERASE_ERROR | LOCKED;
        } else if self.keep(start, &[0xFF; BLOCK as usize]) {
            self.block.fill(start, BLOCK, 0xFF);
        } else {
            self.state.status |= ERASE_ERROR;
        }
    }

    fn command(&mut self, code: u8) {
        self.state.mode = match code {
            0x10 | 0x40 => Mode::Program,
            0x20 => Mode::Erase,
            0x50 => {
                self.state.status = 0;
                Mode::Status
            }
            0x60 => Mode::Lock,
            0x70 => Mode::Status,
            0x90 => Mode::Identity,
            0x98 => Mode::Query,
            0xE8 => {
                self.state.status |= READY; // the buffer is free
                Mode::BufferCount
            }
            _ => Mode::Array, // FFh, and what is not known
        };
    }

    /// Two commands in a row that do not belong together.
    fn bad_sequence(&mut self) {
        self.state.status |= READY | ERASE_ERROR | PROGRAM_ERROR;
        self.state.mode = Mode::Status;
    }

    fn write(&mut self, offset: u64, data: &[u8]) {
        let Some(&first) = data.first() else { return };
        match std::mem::replace(&mut self.state.mode, Mode::Status) {
            Mode::Array | Mode::Status | Mode::Identity | Mode::Query => self.command(first),
            Mode::Program => {
                self.state.status |= READY;
                self.program(offset, data);
            }
            Mode::Erase if first == 0xD0 => {
                self.state.status |= READY;
                self.erase(offset);
            }
            Mode::BufferCount if usize::from(first) < BUFFER => {
                self.state.mode = Mode::BufferData { left: usize::from(first) + 1, bytes: Vec::new() };
            }
            Mode::BufferData { mut left, mut bytes } => {
                for (i, b) in data.iter().enumerate().take(left) {
                    bytes.push((offset.wrapping_add(i as u64), *b));
                }
                left = left.saturating_sub(data.len());
                self.state.mode =
                    if left == 0 { Mode::BufferConfirm { bytes } } else { Mode::BufferData { left, bytes } };
            }
            Mode::BufferConfirm { bytes } if first == 0xD0 => {
                self.state.status |= READY;
                for (at, b) in bytes {
                    self.program(at, &[b]);
                }
            }
            Mode::Lock if matches!(first, 0x01 | 0xD0 | 0x2F) => self.state.status |= READY,
            Mode::Erase | Mode::BufferCount | Mode::BufferConfirm { .. } | Mode::Lock => self.bad_sequence(),
        }
    }

    fn read(&self, offset: u64) -> u8 {
        match &self.state.mode {
            Mode::Array => {
                let mut b = [0xFF];
                self.block.read(offset, &mut b);
                b[0]
            }
            Mode::Identity => match offset % BLOCK {
                0 => 0x89, // Intel
                1 => 0x18,
                2 => u8::from(self.readonly), // the block's lock
                _ => 0,
            },
            Mode::Query => self.query(offset & 0xFF),
            _ => self.state.status,
        }
    }

    /// The CFI table (JESD68.01, table 1 to 4) with the Intel extension at 31h.
    fn query(&self, at: u64) -> u8 {
        let blocks = ((self.size() / BLOCK).saturating_sub(1) as u16).to_le_bytes();
        let block = ((BLOCK / 256) as u16).to_le_bytes();
        match at {
            0x10..=0x12 => b"QRY"[(at - 0x10) as usize],
            0x13 => 0x01, // Intel command set
            0x15 => 0x31, // its table
            0x1B => 0x45, // 4.5 V to 5.5 V
            0x1C => 0x55,
            0x1F => 0x07, // typical times
            0x20 => 0x07,
            0x21 => 0x0A,
            0x23 => 0x04, // most times of these
            0x24 => 0x04,
            0x25 => 0x04,
            0x27 => (self.size().next_power_of_two()).trailing_zeros() as u8,
            0x28 => 0x00, // eight bits wide
            0x2A => 8,    // a buffer count is a byte: 256
            0x2C => 0x01, // one kind of block
            0x2D => blocks[0],
            0x2E => blocks[1],
            0x2F => block[0],
            0x30 => block[1],
            0x31..=0x33 => b"PRI"[(at - 0x31) as usize],
            0x34 | 0x35 => b'1',
            _ => 0,
        }
    }
}

/// Stands for a chip that is going away.
struct Gone;

impl Mmio for Gone {
    fn mmio_read(&mut self, _offset: u64, data: &mut [u8]) {
        data.fill(0xFF);
    }
    fn mmio_write(&mut self, _offset: u64, _data: &[u8]) {}
}

impl Mmio for Pflash {
    fn mmio_read(&mut self, offset: u64, data: &mut [u8]) {
        for (i, b) in data.iter_mut().enumerate() {
            *b = self.read(offset.wrapping_add(i as u64));
        }
    }

    fn mmio_write(&mut self, offset: u64, data: &[u8]) {
        self.write(offset, data);
        self.remap();
    }
}

impl Device for Pflash {
    fn name(&self) -> &str {
        &self.name
    }

    fn reset(&mut self) {
        self.state = State::at_reset();
        self.remap();
    }

    fn save(&self) -> Result<Vec<u8>, StateError> {
        save_state(&self.name, &self.state)
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), StateError> {
        let state: State = load_state(&self.name, bytes)?;
        let most = match &state.mode {
            Mode::BufferData { left, bytes } => bytes.len().saturating_add(*left),
            Mode::BufferConfirm { bytes } => bytes.len(),
            _ => 0,
        };
        if most > BUFFER {
            let reason = "more is in the write buffer than it holds".into();
            return Err(StateError::Mismatch { device: self.name.clone(), reason });
        }
        self.state = state;
        self.remap();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    const BASE: u64 = 0xFFF0_0000;

    struct Bench {
        space: Arc<AddressSpace>,
        chip: Shared<Pflash>,
        path: std::path::PathBuf,
    }

    impl Drop for Bench {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.path);
        }
    }

    fn bench(name: &str, readonly: bool) -> Bench {
        let path = std::env::temp_dir().join(format!("whpx-pflash-{name}-{}", std::process::id()));
        std::fs::write(&path, vec![0xFF; 0x4000]).unwrap();
        let block = RamBlock::new("flash", 0x4000).unwrap();
        block.fill(0, 0x4000, 0xFF);
        let file = File::options().read(true).write(true).open(&path).unwrap();
        let space = AddressSpace::new();
        let config = PflashConfig { name: "system.flash0".into(), block, file: Some(file), readonly };
        let chip = Pflash::new(config, &space, BASE).unwrap();
        Bench { space, chip, path }
    }

    impl Bench {
        fn w(&self, at: u64, v: u8) {
            self.space.write(BASE + at, &[v]);
        }
        fn r(&self, at: u64) -> u8 {
            let mut x = [0];
            self.space.read(BASE + at, &mut x);
            x[0]
        }
        fn is_memory(&self) -> bool {
            matches!(self.space.flat()[0].backing, Backing::Ram { readonly: true, .. })
        }
        fn file(&self) -> Vec<u8> {
            let mut bytes = vec![];
            File::open(&self.path).unwrap().read_to_end(&mut bytes).unwrap();
            bytes
        }
    }

    #[test]
    fn bytes_are_programmed_and_blocks_erased_through_to_the_file() {
        let b = bench("program", false);
        assert!(b.is_memory());
        b.w(0x1000, 0x40);
        assert!(!b.is_memory(), "registers while a command is under way");
        b.w(0x1000, 0x5A);
        assert_eq!(b.r(0), READY);
        b.w(0x1001, 0x10);
        b.w(0x1001, 0x0F);
        b.w(0x1001, 0x10);
        b.w(0x1001, 0xF1);
        b.w(0, 0xFF);
        assert!(b.is_memory());
        assert_eq!((b.r(0x1000), b.r(0x1001), b.r(0x1002)), (0x5A, 0x01, 0xFF), "bits only fall");
        assert_eq!(b.file()[0x1000..0x1003], [0x5A, 0x01, 0xFF]);
        b.w(0x1ABC, 0x20);
        b.w(0x1ABC, 0xD0);
        b.w(0, 0xFF);
        assert_eq!((b.r(0x1000), b.file()[0x1000]), (0xFF, 0xFF));
        assert_eq!(b.file().len(), 0x4000);
    }

    #[test]
    fn firmware_can_tell_it_from_rom_and_ram() {
        let b = bench("probe", false);
        b.w(0, 0x50);
        assert_eq!(b.r(0), 0, "the status is clear");
        b.w(0, 0x70);
        assert_eq!(b.r(0), 0);
        b.w(0, 0x90);
        assert_eq!((b.r(0), b.r(1), b.r(2)), (0x89, 0x18, 0));
        b.w(0, 0x98);
        let table: Vec<u8> = (0x10..0x31).map(|at| b.r(at)).collect();
        assert_eq!(table[..6], *b"QRY\x01\0\x31");
        assert_eq!(table[0x17], 14, "16 KiB");
        assert_eq!(table[0x1C..], [1, 3, 0, 16, 0], "four blocks of 4 KiB");
        b.w(0, 0xFF);
        assert_eq!(b.r(0), 0xFF);
    }

    #[test]
    fn the_write_buffer_and_bad_sequences() {
        let b = bench("buffer", false);
        b.w(0x10, 0xE8);
        assert_eq!(b.r(0x10) & READY, READY);
        b.w(0x10, 2);
        for (at, v) in [(0x10, 1), (0x11, 2), (0x12, 3)] {
            b.w(at, v);
        }
        assert_eq!(b.file()[0x10], 0xFF, "not before it is confirmed");
        b.w(0x10, 0xD0);
        assert_eq!(b.file()[0x10..0x14], [1, 2, 3, 0xFF]);
        b.w(0, 0x20);
        b.w(0, 0x11);
        assert_eq!(b.r(0), READY | ERASE_ERROR | PROGRAM_ERROR);
        b.w(0, 0x50);
        b.w(0, 0x20);
        lock(&b.chip).reset();
        assert!(b.is_memory());
    }

    #[test]
    fn a_read_only_chip_refuses() {
        let b = bench("readonly", true);
        b.w(0, 0x40);
        b.w(0, 0);
        assert_eq!(b.r(0), READY | PROGRAM_ERROR | LOCKED);
        b.w(0, 0x20);
        b.w(0, 0xD0);
        assert_eq!(b.r(0) & ERASE_ERROR, ERASE_ERROR);
        b.w(0, 0xFF);
        assert_eq!((b.r(0), b.file()[0]), (0xFF, 0xFF));
    }

    #[test]
    fn save_and_restore() {
        let b = bench("save", false);
        b.w(0, 0xE8);
        b.w(0, 1);
        b.w(0, 7);
        crate::test_util::round_trip(&mut *lock(&b.chip));
        b.w(1, 8);
        b.w(0, 0xD0);
        assert_eq!(b.file()[..2], [7, 8]);
    }
}
