//! The PCI Express capability and the extended capabilities of ports.
//!
//! PCI Express Base Specification 3.0, sections 7.8 (the capability, version 2), 7.10 (advanced error reporting) and 7.16
//! (access control services). Links are one lane of 2.5 GT/s. Left out: power management of links and errors, which a link
//! that is no link has none of: their registers hold what is written.

use crate::config::ConfigSpace;

const CAPABILITY: u8 = 0x10;
/// Registers of the capability, from its start.
const LEN: usize = 0x3C;

/// Offsets in the capability.
pub mod express_reg {
    /// PCI Express capabilities, 16 bits.
    pub const CAPABILITIES: u8 = 0x02;
    /// Link control, 16 bits.
    pub const LINK_CONTROL: u8 = 0x10;
    /// Link status, 16 bits.
    pub const LINK_STATUS: u8 = 0x12;
    /// Slot capabilities, 32 bits.
    pub const SLOT_CAPABILITIES: u8 = 0x14;
    /// Slot control, 16 bits.
    pub const SLOT_CONTROL: u8 = 0x18;
    /// Slot status, 16 bits.
    pub const SLOT_STATUS: u8 = 0x1A;
}

/// What a root port says of itself and its slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotSpec {
    /// Number of the port.
    pub port: u8,
    /// Physical number of the slot, 13 bits.
    pub slot: u16,
    /// Slot capabilities but for the number.
    pub capabilities: u32,
    /// Bits of slot control that can be written.
    pub control: u16,
    /// Bits of slot status that are cleared by writing one.
    pub status: u16,
}

/// The bytes of a capability while they are put together.
struct Body {
    bytes: [u8; LEN],
    writable: [u8; LEN],
    write_clears: [u8; LEN],
}

fn put(bytes: &mut [u8; LEN], offset: u8, data: &[u8]) {
    let at = usize::from(offset);
    bytes[at..at + data.len()].copy_from_slice(data);
}

impl Body {
    fn new(kind: u16) -> Self {
        let mut b = Self { bytes: [0; LEN], writable: [0; LEN], write_clears: [0; LEN] };
        put(&mut b.bytes, express_reg::CAPABILITIES, &(2 | kind << 4).to_le_bytes());
        put(&mut b.bytes, 0x04, &(1u32 << 15).to_le_bytes()); // role-based error reporting
        put(&mut b.bytes, 0x08, &0x2810u16.to_le_bytes()); // relaxed ordering, no snoop, 512-byte requests
        put(&mut b.writable, 0x08, &0x78FFu16.to_le_bytes());
        put(&mut b.write_clears, 0x0A, &0x000Fu16.to_le_bytes());
        b
    }

    fn link(&mut self, capabilities: u32, control: u16, status: u16) {
        put(&mut self.bytes, 0x0C, &(capabilities | 1 << 4 | 1).to_le_bytes()); // x1, 2.5 GT/s
        put(&mut self.writable, express_reg::LINK_CONTROL, &control.to_le_bytes());
        put(&mut self.bytes, express_reg::LINK_STATUS, &(status | 1 << 4 | 1).to_le_bytes());
        put(&mut self.bytes, 0x2C, &(1u32 << 1).to_le_bytes()); // 2.5 GT/s is all there is
        put(&mut self.bytes, 0x30, &1u16.to_le_bytes());
        put(&mut self.writable, 0x30, &0x000Fu16.to_le_bytes());
    }

    fn add(self, config: ConfigSpace) -> (ConfigSpace, u8) {
        let (config, at) = config.extended().with_capability(CAPABILITY, &self.bytes[2..]);
        let config =
            config.with_writable(at + 2, &self.writable[2..]).with_write_clears(at + 2, &self.write_clears[2..]);
        (config, at)
    }
}

/// Makes a function an endpoint behind a port.
#[must_use]
pub fn express_endpoint(config: ConfigSpace) -> ConfigSpace {
    let mut body = Body::new(0);
    body.link(0, 0x00FB, 0);
    body.add(config).0
}

/// Makes a bridge a root port with a slot, and returns where the capability is. The link says when it is active.
#[must_use]
pub fn express_root_port(config: ConfigSpace, spec: SlotSpec) -> (ConfigSpace, u8) {
    let mut body = Body::new(4 | 1 << 4); // root port, slot implemented
    body.link(1 << 20 | u32::from(spec.port) << 24, 0x00FB, 0);
    let slot = u32::from(spec.slot & 0x1FFF) << 19 | spec.capabilities;
    put(&mut body.bytes, express_reg::SLOT_CAPABILITIES, &slot.to_le_bytes());
    put(&mut body.writable, express_reg::SLOT_CONTROL, &spec.control.to_le_bytes());
    put(&mut body.write_clears, express_reg::SLOT_STATUS, &spec.status.to_le_bytes());
    put(&mut body.writable, 0x1C, &0x000Fu16.to_le_bytes()); // root control
    put(&mut body.write_clears, 0x20, &(1u32 << 16).to_le_bytes()); // PME status
    body.add(config)
}

/// Adds a root port's advanced error reporting. There are no errors to report.
#[must_use]
pub fn advanced_errors(config: ConfigSpace) -> ConfigSpace {
    const UNCORRECTABLE: u32 = 0x001F_F030;
    const FATAL: u32 = 0x0006_2030;
    const CORRECTABLE: u32 = 0x0000_31C1;
    const ADVISORY: u32 = 1 << 13;
    let (mut body, mut writable, mut clears) = ([0; 0x44], [0; 0x44], [0; 0x44]);
    let set = |bytes: &mut [u8; 0x44], at: usize, v: u32| bytes[at - 4..at].copy_from_slice(&v.to_le_bytes());
    set(&mut clears, 0x04, UNCORRECTABLE);
    set(&mut writable, 0x08, UNCORRECTABLE);
    set(&mut body, 0x0C, FATAL);
    set(&mut writable, 0x0C, UNCORRECTABLE);
    set(&mut clears, 0x10, CORRECTABLE);
    set(&mut body, 0x14, ADVISORY);
    set(&mut writable, 0x14, CORRECTABLE);
    set(&mut writable, 0x2C, 7);
    set(&mut clears, 0x30, 0x7F);
    config.with_extended_capability((1, 2), &body, &writable, &clears).0
}

/// Adds access control services: validation, redirection of requests and completions, upstream forwarding. Functions
/// behind different ports cannot reach each other here anyway.
#[must_use]
pub fn access_control(config: ConfigSpace) -> ConfigSpace {
    config.with_extended_capability((0x0D, 1), &[0x1D, 0, 0, 0], &[0, 0, 0x1D, 0], &[]).0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Identity;

    fn dword(c: &ConfigSpace, offset: u16) -> u32 {
        let mut x = [0; 4];
        c.read(offset, &mut x);
        u32::from_le_bytes(x)
    }

    fn id(class: u32) -> Identity {
        Identity { vendor: 1, device: 2, revision: 0, class, subsystem: (0, 0) }
    }

    #[test]
    fn an_endpoint() {
        let c = express_endpoint(ConfigSpace::endpoint(id(0x0C_0330)));
        assert_eq!((c.u16(0x40), c.u16(0x42), c.u32(0x44)), (0x10, 2, 0x8000));
        assert_eq!((c.u32(0x4C), c.u16(0x52) & 0x3FF), (0x11, 0x11), "one lane of 2.5 GT/s");
        assert_eq!(dword(&c, 0x100), 0, "extended space without capabilities");
    }

    #[test]
    fn a_root_port() {
        let spec = SlotSpec { port: 7, slot: 0x123, capabilities: 0x41, control: 0x1FFF, status: 0x11F };
        let (c, at) = express_root_port(ConfigSpace::bridge(id(0x06_0400)), spec);
        let mut c = access_control(advanced_errors(c));
        assert_eq!((at, c.u16(0x42)), (0x40, 0x0142), "version 2, root port, with a slot");
        assert_eq!((c.u32(0x4C), c.u32(0x54)), (0x0710_0011, 0x123 << 19 | 0x41));
        assert_eq!([0x100, 0x10C, 0x114, 0x148].map(|o| dword(&c, o)), [0x1482_0001, 0x62030, 0x2000, 0x0001_000D]);
        (0x100..0x150).step_by(4).for_each(|o| c.write(o, &[0xFF; 4]));
        assert_eq!([0x104, 0x108, 0x12C, 0x130].map(|o| dword(&c, o)), [0, 0x1F_F030, 7, 0]);
        assert_eq!(dword(&c, 0x14C), 0x1D_001D);
    }
}
