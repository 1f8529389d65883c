//! 82441FX PCI and memory controller (PMC): the host bridge of the `pc` machine.
//!
//! Intel 82441FX data sheet (290549), section 3.2: PAM registers 59h-5Fh, DRAM row boundaries 60h-67h, SMRAM 72h,
//! ERRSTS. Without system management mode the SMRAM register only opens and closes the DRAM under A0000h.
//! Left out: DRAM timing (registers hold what is written), ECC, the turbo reset control register 93h.

use std::sync::Arc;

use guest_memory::RamBlock;
use pci::{ConfigSpace, ConfigState, Deferred, Identity, PciFunction};
use vm_core::{
    AddressSpace, Backing, Device, GuestWarnings, Mmio, Region, RegionId, SpaceError, StateError, load_state,
    save_state, shared,
};

/// Priority of the RAM that the PAM and SMRAM registers open, above ROM and video memory.
pub const SHADOW_PRIORITY: i32 = 100;

const PAM0: u8 = 0x59;
const DRB0: u8 = 0x60;
const SMRAM: u8 = 0x72;
const D_OPEN: u8 = 0x40;
const D_CLS: u8 = 0x20;
const D_LCK: u8 = 0x10;
const G_SMRAME: u8 = 0x08;

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

/// What the host bridge is wired to.
pub struct I440fxWiring {
    /// The space it opens RAM in.
    pub space: Arc<AddressSpace>,
    /// The block whose offset is the guest-physical address below 1 MiB.
    pub low_ram: Arc<RamBlock>,
    /// All RAM of the machine in bytes, for the row boundaries.
    pub ram_size: u64,
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
    /// Register offset and shift of its two enable bits.
    register: u8,
    shift: u8,
}

#[derive(Clone, serde::Serialize, serde::Deserialize)]
struct State {
    config: ConfigState,
}

/// See the module's documentation.
pub struct I440fx {
    config: ConfigSpace,
    space: Arc<AddressSpace>,
    segments: Arc<[Segment]>,
    smram: RegionId,
}

/// Start, length, register and shift of the 13 segments (data sheet table 5).
fn segment_table() -> impl Iterator<Item = (u64, u64, u8, u8)> {
    let small = (0..12u8).map(|i| (0xC_0000 + u64::from(i) * 0x4000, 0x4000, PAM0 + 1 + i / 2, (i % 2) * 4));
    small.chain([(0xF_0000, 0x1_0000, PAM0, 4)])
}

fn config(ram_size: u64) -> ConfigSpace {
    let id = Identity { vendor: 0x8086, device: 0x1237, revision: 2, class: 0x06_0000, subsystem: (0x1AF4, 0x1100) };
    let units = u8::try_from(ram_size >> 23).unwrap_or(0xFF); // 8 MiB each
    ConfigSpace::endpoint(id)
        .with(0x04, &[0x06, 0x00, 0x80, 0x02])
        .with_writable(0x04, &[0x40, 0x01]) // memory and master are always on
        .with_writable(0x0C, &[0x00, 0xF8])
        .with_writable(0x3C, &[0x00])
        .with(0x50, &[0x00, 0x00, 0x00, 0x83]) // PMCCFG, DETURBO, DBC
        .with_writable(0x50, &[0xFF; 9])
        .with(0x57, &[0x01, 0x10]) // DRAMC, DRAMT
        .with_writable(PAM0, &[0x30, 0x33, 0x33, 0x33, 0x33, 0x33, 0x33])
        .with(DRB0, &[units; 8])
        .with_writable(DRB0, &[0xFF; 9])
        .with_writable(0x70, &[0xFF, 0xFF])
        .with(0x71, &[0x10])
        .with(SMRAM, &[0x02])
        .with_writable(SMRAM, &[D_OPEN | D_CLS | D_LCK | G_SMRAME])
        .with_writable(0x90, &[0xFF])
        .with_write_clears(0x91, &[0x11])
}

impl I440fx {
    /// Adds the shadow RAM regions, all closed, to the space and returns the bridge; it goes to devfn 0.
    ///
    /// # Errors
    /// [`SpaceError`] when a region does not fit (RAM smaller than 1 MiB, the priority used by others).
    pub fn new(wiring: I440fxWiring) -> Result<Self, SpaceError> {
        let I440fxWiring { space, low_ram, ram_size, roms } = wiring;
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
            let device = shared(WriteOnly { start, ram: low_ram.clone(), roms: roms.clone() });
            segments.push(Segment {
                ram: space.add(region("pam-ram", start, len, ram(start)))?,
                write_only: space.add(region("pam-write-only", start, len, Backing::mmio(&device)))?,
                register,
                shift,
            });
        }
        let smram = space.add(region("smram", 0xA_0000, 0x2_0000, ram(0xA_0000)))?;
        Ok(Self { config: config(ram_size), space, segments: segments.into(), smram })
    }

    fn smram_open(&self) -> bool {
        let r = self.config.u8(SMRAM);
        r & G_SMRAME != 0 && r & D_OPEN != 0 && r & D_CLS == 0
    }

    fn pam(&self, segment: &Segment) -> Pam {
        match self.config.u8(segment.register) >> segment.shift & 3 {
            0 => Pam::Off,
            1 => Pam::ReadOnly,
            2 => Pam::WriteOnly,
            _ => Pam::ReadWrite,
        }
    }
}

impl Device for I440fx {
    fn name(&self) -> &str {
        "i440fx"
    }

    fn reset(&mut self) {
        self.config.reset();
    }

    fn save(&self) -> Result<Vec<u8>, StateError> {
        save_state(self.name(), &State { config: self.config.state() })
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), StateError> {
        let State { config } = load_state(self.name(), bytes)?;
        self.config.restore("i440fx", &config)
    }
}

impl PciFunction for I440fx {
    fn config(&self) -> &ConfigSpace {
        &self.config
    }

    fn config_mut(&mut self) -> &mut ConfigSpace {
        &mut self.config
    }

    fn config_written(&mut self, offset: u8, len: usize) {
        let written = usize::from(offset)..usize::from(offset) + len;
        let smram = self.config.u8(SMRAM);
        if written.contains(&usize::from(SMRAM)) && smram & D_LCK != 0 {
            // D_LCK closes the space and makes the register read only until the next reset.
            self.config.set(SMRAM, &[smram & !D_OPEN]);
            self.config = self.config.clone().with_writable(SMRAM, &[D_CLS]);
        }
    }

    fn placement(&mut self) -> Option<Deferred> {
        let pams: Vec<Pam> = self.segments.iter().map(|s| self.pam(s)).collect();
        let open = self.smram_open();
        if self.config.u8(SMRAM) & D_LCK == 0 {
            let mask = [D_OPEN | D_CLS | D_LCK | G_SMRAME];
            self.config = self.config.clone().with_writable(SMRAM, &mask);
        }
        let (space, segments, smram) = (self.space.clone(), self.segments.clone(), self.smram);
        Some(Box::new(move || apply(&space, &segments, &pams, smram, open)))
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
        REFUSED.warn(|| format!("i440fx: shadow RAM could not be switched: {e}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pci::{IntxRouter, PciBus};
    use vm_core::PortSpace;

    struct NoRouter;
    impl IntxRouter for NoRouter {
        fn set_intx(&self, _: u8, _: u8, _: bool) {}
    }

    fn board() -> (Arc<AddressSpace>, Arc<PciBus>, vm_core::Shared<I440fx>) {
        let space = AddressSpace::new();
        let ram = RamBlock::new("pc.ram", 0x20_0000).unwrap();
        let rom = RamBlock::new("bios", 0x2_0000).unwrap();
        rom.fill(0, 0x2_0000, 0xB1);
        let add = |name: &str, start, len, backing| {
            space.add(Region { name: name.into(), start, len, priority: 0, enabled: true, backing }).unwrap();
        };
        add("ram-low", 0, 0xA_0000, Backing::ram(&ram));
        add("bios", 0xE_0000, 0x2_0000, Backing::rom(&rom));
        let roms = vec![Shadowed { start: 0xE_0000, len: 0x2_0000, block: rom, offset: 0 }];
        let bridge = I440fx::new(I440fxWiring { space: space.clone(), low_ram: ram, ram_size: 2 << 30, roms }).unwrap();
        let bus = PciBus::new(space.clone(), PortSpace::new(), Arc::new(NoRouter));
        let bridge = shared(bridge);
        bus.add(0, &bridge, vec![]).unwrap();
        (space, bus, bridge)
    }

    fn rd(space: &AddressSpace, gpa: u64) -> u8 {
        let mut x = [0];
        space.read(gpa, &mut x);
        x[0]
    }

    #[test]
    fn the_four_states_of_a_segment() {
        let (space, bus, _) = board();
        space.write(0xF_0000, &[1]);
        assert_eq!(rd(&space, 0xF_0000), 0xB1, "ROM at reset");
        bus.config_write(0, 0x59, &[0x20]);
        space.write(0xF_0000, &[2]);
        assert_eq!(rd(&space, 0xF_0000), 0xB1, "write only: reads still ROM");
        bus.config_write(0, 0x59, &[0x10]);
        space.write(0xF_0000, &[3]);
        assert_eq!(rd(&space, 0xF_0000), 2, "read only");
        bus.config_write(0, 0x59, &[0x30]);
        space.write(0xF_0000, &[4]);
        assert_eq!(rd(&space, 0xF_0000), 4);
        assert_eq!(rd(&space, 0xE_FFFF), 0xB1, "the next segment is untouched");
    }

    #[test]
    fn nibbles_are_16k_segments_and_reset_closes_them() {
        let (space, bus, bridge) = board();
        assert_eq!(rd(&space, 0xC_4000), 0xFF);
        bus.config_write(0, 0x5A, &[0x30]);
        space.write(0xC_4000, &[7]);
        assert_eq!((rd(&space, 0xC_3FFF), rd(&space, 0xC_4000), rd(&space, 0xC_8000)), (0xFF, 7, 0xFF));
        vm_core::lock(&bridge).reset();
        bus.sync();
        assert_eq!(rd(&space, 0xC_4000), 0xFF);
        bus.config_write(0, 0x5A, &[0x30]);
        assert_eq!(rd(&space, 0xC_4000), 7, "DRAM keeps its contents");
        let mut x = [0];
        bus.config_read(0, 0x5A, &mut x);
        assert_eq!(x, [0x30]);
    }

    #[test]
    fn smram_opens_and_locks() {
        let (space, bus, bridge) = board();
        bus.config_write(0, 0x72, &[0x4A]);
        space.write(0xA_0000, &[9]);
        assert_eq!(rd(&space, 0xA_0000), 9);
        bus.config_write(0, 0x72, &[0x1A]);
        bus.config_write(0, 0x72, &[0x4A]);
        assert_eq!(rd(&space, 0xA_0000), 0xFF, "locked");
        vm_core::lock(&bridge).reset();
        bus.sync();
        bus.config_write(0, 0x72, &[0x4A]);
        assert_eq!(rd(&space, 0xA_0000), 9);
    }

    #[test]
    fn identity_and_rows() {
        let (_, bus, _) = board();
        let mut x = [0; 4];
        bus.config_read(0, 0, &mut x);
        assert_eq!(u32::from_le_bytes(x), 0x1237_8086);
        bus.config_read(0, 0x64, &mut x);
        assert_eq!(x, [0xFF; 4], "2 GiB saturates");
    }

    #[test]
    fn save_and_restore() {
        let (space, bus, bridge) = board();
        bus.config_write(0, 0x59, &[0x30]);
        space.write(0xF_0000, &[4]);
        let saved = vm_core::lock(&bridge).save().unwrap();
        vm_core::lock(&bridge).reset();
        bus.sync();
        assert_eq!(rd(&space, 0xF_0000), 0xB1);
        vm_core::lock(&bridge).restore(&saved).unwrap();
        bus.sync();
        assert_eq!(rd(&space, 0xF_0000), 4);
        assert!(vm_core::lock(&bridge).restore(&saved[1..]).is_err());
    }
}
