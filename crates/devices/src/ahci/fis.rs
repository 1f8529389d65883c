//! Frames (FIS): what a command says, and what a drive's registers become in memory.
//!
//! Serial ATA 2.6, section 10.3; where they go: AHCI 1.3.1, section 4.2.1.

use crate::ide::channel::{DriveState, Registers};

pub(super) const REGISTER_H2D: u8 = 0x27;
const REGISTER_D2H: u8 = 0x34;
const PIO_SETUP: u8 = 0x5F;
const SET_DEVICE_BITS: u8 = 0xA1;

/// Places in the received frames' area.
pub(super) const PIO_SETUP_AT: u64 = 0x20;
pub(super) const D2H_AT: u64 = 0x40;
pub(super) const SET_DEVICE_BITS_AT: u64 = 0x58;

const INTERRUPT: u8 = 0x40;
/// In a PIO Setup frame: the drive sends.
const FROM_DEVICE: u8 = 0x20;

/// A register frame from the host.
#[derive(Clone, Copy, Debug)]
pub(super) struct Command(pub(super) [u8; 20]);

impl Command {
    /// It carries a command, not just the control register.
    pub(super) fn is_command(&self) -> bool {
        self.0[1] & 0x80 != 0
    }

    pub(super) fn code(&self) -> u8 {
        self.0[2]
    }

    pub(super) fn control(&self) -> u8 {
        self.0[15]
    }

    /// 48 bits of address.
    pub(super) fn lba(&self) -> u64 {
        let b = &self.0;
        u64::from_le_bytes([b[4], b[5], b[6], b[8], b[9], b[10], 0, 0])
    }

    pub(super) fn features(&self) -> u16 {
        u16::from_le_bytes([self.0[3], self.0[11]])
    }

    pub(super) fn count(&self) -> u16 {
        u16::from_le_bytes([self.0[12], self.0[13]])
    }

    pub(super) fn device(&self) -> u8 {
        self.0[7]
    }

    /// Puts the parameters into a drive's registers.
    pub(super) fn load(&self, r: &mut Registers) {
        let b = &self.0;
        r.features = [b[3], b[11]];
        r.count = [b[12], b[13]];
        (r.low, r.mid, r.high) = ([b[4], b[8]], [b[5], b[9]], [b[6], b[10]]);
        r.device = b[7];
    }
}

fn registers(kind: u8, flags: u8, r: &Registers) -> [u8; 20] {
    let mut f = [0; 20];
    (f[0], f[1], f[2], f[3]) = (kind, flags, r.status, r.error);
    (f[4], f[5], f[6], f[7]) = (r.low[0], r.mid[0], r.high[0], r.device);
    (f[8], f[9], f[10]) = (r.low[1], r.mid[1], r.high[1]);
    (f[12], f[13]) = (r.count[0], r.count[1]);
    f
}

/// The end of a command.
pub(super) fn d2h(r: &Registers) -> [u8; 20] {
    registers(REGISTER_D2H, INTERRUPT, r)
}

/// A block of PIO data is to be moved; `end` is the status after it.
pub(super) fn pio_setup(d: &DriveState, from_device: bool, bytes: usize, end: u8) -> [u8; 20] {
    let mut f = registers(PIO_SETUP, INTERRUPT | if from_device { FROM_DEVICE } else { 0 }, &d.regs);
    f[15] = end;
    [f[16], f[17]] = u16::try_from(bytes).unwrap_or(u16::MAX).to_le_bytes();
    f
}

/// Queued commands have ended.
pub(super) fn set_device_bits(status: u8, error: u8, tags: u32) -> [u8; 8] {
    let t = tags.to_le_bytes();
    [SET_DEVICE_BITS, INTERRUPT, status & 0x77, error, t[0], t[1], t[2], t[3]]
}
