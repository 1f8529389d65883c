//! RAM under the BIOS area and the legacy video window, as Intel's host bridges open it: seven PAM registers for
//! C0000h-FFFFFh and an SMRAM register for A0000h-BFFFFh. The 82441FX and the 3 Series MCH have the same ones at
//! different places.
//!
//! Intel 82441FX data sheet (290549), section 3.2.16 (PAM), 3.2.18 (SMRAM); Intel 3 Series Express Chipset Family data
//! sheet (316966), sections 5.1.17 to 5.1.23 and 5.1.27. Left out: there is no system management mode, so SMRAM is
//! visible to everyone while it is open and to nobody while it is closed.

use std::sync::Arc;

use guest_memory::RamBlock;
use pci::{ConfigSpace, Deferred};
use vm_core::{AddressSpace, Backing, GuestWarnings, Mmio, Region, RegionId, SpaceError, shared};

/// Priority of the RAM that the PAM and SMRAM registers open, above ROM and video memory.
pub const SHADOW_PRIORITY: i32 = 100;

pub(crate) const D_OPEN: u8 = 0x40;
pub(crate) const D_CLS: u8 = 0x20;
pub(crate) const D_LCK: u8 = 0x10;
pub(crate) const G_SMRAME: u8 = 0x08;
/// Bits of the PAM registers that software may write.
pub(crate) const PAM_WRITABLE: [u8; 7] = [0x30, 0x33, 0x33, 0x33, 0x33, 0x33, 0x33];

/// What lies under a PAM segment on the PCI side: read when the segment's reads are not sent to DRAM.
#[derive(Clone)]
pub struct Shadowed {
    /// First guest-physical address.
    pub start: u64,
    /// Length in bytes.
    pub len: u64,
    /// The ROM's memory.
    pub block: Arc<RamBlock>,
    /// Where in the block it starts.
    pub offset: u64,
}

/// What a host bridge is wired to.
pub struct HostBridgeWiring {
    /// The space it opens RAM in.
    pub space: Arc<AddressSpace>,
    /// The block whose offset is the guest-physical address below 1 MiB.
    pub low_ram: Arc<RamBlock>,
    /// RAM of the machine in bytes: all of it on the i440FX (row boundaries), what is below 4 GiB and above it.
    pub ram: (u64, u64),
    /// The BIOS and option ROM regions in C0000h-FFFFFh that the machine has put into the space.
    pub roms: Vec<Shadowed>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Pam {
    Off,
    ReadOnly,
    WriteOnly,
    ReadWrite,
}

/// A write-only segment: stores go to DRAM, loads to the ROM under it.
struct WriteOnly {
    start: u64,
    ram: Arc<RamBlock>,
    roms: Vec<Shadowed>,
}

impl Mmio for WriteOnly {
    fn mmio_read(&mut self, offset: u64, data: &mut [u8]) {
        for (i, byte) in data.iter_mut().enumerate() {
            let gpa = self.start + offset + i as u64;
            *byte = 0xFF;
            if let Some(rom) = self.roms.iter().find(|r| (r.start..r.start + r.len).contains(&gpa)) {
                rom.block.read(rom.offset + (gpa - rom.start), std::slice::from_mut(byte));
            }
        }
    }

    fn mmio_write(&mut self, offset: u64, data: &[u8]) {
        self.ram.write(self.start + offset, data);
    }
}

struct Segment {
    ram: RegionId,
    write_only: RegionId,
    /// Which PAM register, and the shift of its two enable bits.
    register: u8,
    shift: u8,
}

/// Start, length, register and shift of the 13 segments (82441FX data sheet, table 5).
fn segment_table() -> impl Iterator<Item = (u64, u64, u8, u8)> {
    let small = (0..12u8).map(|i| (0xC_0000 + u64::from(i) * 0x4000, 0x4000, 1 + i / 2, (i % 2) * 4));
    small.chain([(0xF_0000, 0x1_0000, 0, 4)])
}

/// The regions that the registers switch.
pub(crate) struct ShadowRam {
    space: Arc<AddressSpace>,
    segments: Arc<[Segment]>,
    smram: RegionId,
}

impl ShadowRam {
    /// Adds the regions, all closed, to the space.
    pub(crate) fn new(
        space: &Arc<AddressSpace>,
        low_ram: &Arc<RamBlock>,
        roms: &[Shadowed],
    ) -> Result<Self, SpaceError> {
        let region = |name: &str, start, len, backing| Region {
            name: name.into(),
            start,
            len,
            priority: SHADOW_PRIORITY,
            enabled: false,
            backing,
        };
        let ram = |start| Backing::Ram { block: low_ram.clone(), offset: start, readonly: false };
        let mut segments = vec![];
        for (start, len, register, shift) in segment_table() {
            let device = shared(WriteOnly { start, ram: low_ram.clone(), roms: roms.to_vec() });
            segments.push(Segment {
                ram: space.add(region("pam-ram", start, len, ram(start)))?,
                write_only: space.add(region("pam-write-only", start, len, Backing::mmio(&device)))?,
                register,
                shift,
            });
        }
        let smram = space.add(region("smram", 0xA_0000, 0x2_0000, ram(0xA_0000)))?;
        Ok(Self { space: space.clone(), segments: segments.into(), smram })
    }

    /// What brings the space in line with the PAM registers from `pam0` and the SMRAM register at `smram`.
    pub(crate) fn placement(&self, config: &ConfigSpace, pam0: u8, smram: u8) -> Deferred {
        let pam = |s: &Segment| match config.u8(pam0 + s.register) >> s.shift & 3 {
            0 => Pam::Off,
            1 => Pam::ReadOnly,
            2 => Pam::WriteOnly,
            _ => Pam::ReadWrite,
        };
        let pams: Vec<Pam> = self.segments.iter().map(pam).collect();
        let r = config.u8(smram);
        let open = r & G_SMRAME != 0 && r & D_OPEN != 0 && r & D_CLS == 0;
        let (space, segments, smram) = (self.space.clone(), self.segments.clone(), self.smram);
        Box::new(move || apply(&space, &segments, &pams, smram, open))
    }
}

/// After a write to the SMRAM register at `at`: D_LCK closes the space and makes the register read only until the next
/// reset (C_BASE_SEG is hard-wired).
pub(crate) fn lock_smram(config: &mut ConfigSpace, at: u8) {
    let smram = config.u8(at);
    if smram & D_LCK != 0 {
        config.set(at, &[smram & !D_OPEN]);
        *config = config.clone().with_writable(at, &[D_CLS]);
    }
}

/// The other way round, after a reset or a restore.
pub(crate) fn unlock_smram(config: &mut ConfigSpace, at: u8) {
    if config.u8(at) & D_LCK == 0 {
        *config = config.clone().with_writable(at, &[D_OPEN | D_CLS | D_LCK | G_SMRAME]);
    }
}

/// One change of the space for all segments, and none when they are as they should be.
fn apply(space: &AddressSpace, segments: &[Segment], pams: &[Pam], smram: RegionId, open: bool) {
    static REFUSED: GuestWarnings = GuestWarnings::new(4);
    let mut wanted = vec![(smram, open, false)];
    for (segment, pam) in segments.iter().zip(pams) {
        wanted.push((segment.ram, matches!(pam, Pam::ReadOnly | Pam::ReadWrite), *pam == Pam::ReadOnly));
        wanted.push((segment.write_only, *pam == Pam::WriteOnly, false));
    }
    let now = space.regions();
    wanted.retain(|(id, on, ro)| {
        let region = now.iter().find(|r| r.0 == *id).map(|r| &r.1);
        region
            .is_some_and(|r| r.enabled != *on || matches!(r.backing, Backing::Ram { readonly, .. } if readonly != *ro))
    });
    if wanted.is_empty() {
        return;
    }
    let ids: Vec<RegionId> = wanted.iter().map(|w| w.0).collect();
    let result = space.change(&ids, |id, region| {
        if let Some((_, on, ro)) = wanted.iter().find(|w| w.0 == id) {
            region.enabled = *on;
            if let Backing::Ram { readonly, .. } = &mut region.backing {
                *readonly = *ro;
            }
        }
    });
    if let Err(e) = result {
        REFUSED.warn(|| format!("host bridge: shadow RAM could not be switched: {e}"));
    }
}
