//! Descriptors, built for the speed the device runs at.
//!
//! USB 2.0, section 9.6; for SuperSpeed devices USB 3.0, section 9.6 (BOS, endpoint companions). A device that is not
//! one says 2.00 and has no BOS: nothing of it needs one.

use crate::Speed;

/// How an endpoint transfers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transfer {
    /// Bulk: 64 bytes at full, 512 at high, 1024 at super speed.
    Bulk,
    /// Interrupt, with its polling period in milliseconds (a power of two at high speed: rounded down).
    Interrupt {
        /// Largest packet.
        packet: u16,
        /// Period.
        ms: u8,
    },
}

/// An endpoint.
#[derive(Clone, Copy, Debug)]
pub struct Endpoint {
    /// Number, with bit 7 for IN.
    pub address: u8,
    /// Kind.
    pub transfer: Transfer,
}

/// The only interface of a device.
#[derive(Clone, Debug)]
pub struct Interface {
    /// Class, subclass, protocol.
    pub class: [u8; 3],
    /// Class descriptors that follow the interface's.
    pub extra: Vec<u8>,
    /// Endpoints.
    pub endpoints: Vec<Endpoint>,
}

/// Who a device says it is.
#[derive(Clone, Debug)]
pub struct Descriptors {
    /// Vendor id.
    pub vendor: u16,
    /// Product id.
    pub product: u16,
    /// Release, BCD.
    pub release: u16,
    /// Device class, subclass, protocol (protocol of the high-speed form: see `class`).
    pub class: [u8; 3],
    /// Manufacturer, product, serial number: strings 1 to 3.
    pub strings: [String; 3],
    /// May wake the host.
    pub remote_wakeup: bool,
    /// Powered by itself.
    pub self_powered: bool,
    /// From the bus, in mA.
    pub max_power: u16,
    /// The interface.
    pub interface: Interface,
}

/// Descriptor types.
pub(crate) mod kind {
    pub(crate) const DEVICE: u8 = 1;
    pub(crate) const CONFIGURATION: u8 = 2;
    pub(crate) const STRING: u8 = 3;
    pub(crate) const INTERFACE: u8 = 4;
    pub(crate) const ENDPOINT: u8 = 5;
    pub(crate) const QUALIFIER: u8 = 6;
    pub(crate) const OTHER_SPEED: u8 = 7;
    pub(crate) const BOS: u8 = 15;
    pub(crate) const CAPABILITY: u8 = 16;
    pub(crate) const COMPANION: u8 = 48;
}

/// Largest packet of endpoint 0; at super speed as a power of two.
const PACKET0: u8 = 64;
const PACKET0_SUPER: u8 = 9;
/// Packets of a burst less one.
const BURST: u8 = 15;
const ENGLISH_US: u16 = 0x0409;

impl Descriptors {
    /// The descriptor `kind`, number `index`, of a device that can run at `most` and runs at `speed`.
    pub(crate) fn get(&self, kind: u8, index: u8, speed: Speed, most: Speed) -> Option<Vec<u8>> {
        let other = if speed == Speed::High { Speed::Full } else { Speed::High };
        let dual = most >= Speed::High && speed != Speed::Super;
        match (kind, index) {
            (kind::DEVICE, 0) => Some(self.device(speed, most)),
            (kind::CONFIGURATION, 0) => Some(self.configuration(kind, speed)),
            (kind::QUALIFIER, 0) if dual => Some(self.qualifier(other)),
            (kind::OTHER_SPEED, 0) if dual => Some(self.configuration(kind, other)),
            (kind::BOS, 0) if most == Speed::Super => Some(bos()),
            (kind::STRING, i) => self.string(i),
            _ => None,
        }
    }

    fn class_at(&self, speed: Speed) -> [u8; 3] {
        // A full-speed hub has no transaction translator (USB 2.0, 11.23.1).
        if self.class[0] == 9 && speed != Speed::High { [9, 0, 0] } else { self.class }
    }

    fn device(&self, speed: Speed, most: Speed) -> Vec<u8> {
        let version: u16 = match (most, speed) {
            (Speed::Full, _) => 0x0110,
            (Speed::High, _) => 0x0200,
            (Speed::Super, Speed::Super) => 0x0300,
            (Speed::Super, _) => 0x0210,
        };
        let mut d = vec![18, kind::DEVICE];
        d.extend(version.to_le_bytes());
        d.extend(self.class_at(speed));
        d.push(if speed == Speed::Super { PACKET0_SUPER } else { PACKET0 });
        d.extend(self.vendor.to_le_bytes());
        d.extend(self.product.to_le_bytes());
        d.extend(self.release.to_le_bytes());
        d.extend((1..=3u8).map(|i| self.string_index(i)));
        d.push(1);
        d
    }

    fn string_index(&self, index: u8) -> u8 {
        let text = self.strings.get(usize::from(index).wrapping_sub(1));
        if text.is_some_and(|s| !s.is_empty()) { index } else { 0 }
    }

    fn qualifier(&self, speed: Speed) -> Vec<u8> {
        let mut d = vec![10, kind::QUALIFIER, 0x00, 0x02];
        d.extend(self.class_at(speed));
        d.extend([PACKET0, 1, 0]);
        d
    }

    fn configuration(&self, kind: u8, speed: Speed) -> Vec<u8> {
        let i = &self.interface;
        let attributes = 0x80 | u8::from(self.self_powered) << 6 | u8::from(self.remote_wakeup) << 5;
        let unit = if speed == Speed::Super { 8 } else { 2 }; // mA
        let mut d = vec![9, kind, 0, 0, 1, 1, 0, attributes, self.max_power.div_ceil(unit) as u8];
        d.extend([9, kind::INTERFACE, 0, 0, i.endpoints.len() as u8]);
        d.extend(i.class);
        d.push(0);
        d.extend(&i.extra);
        for e in &i.endpoints {
            let (attributes, packet, interval) = e.transfer.at(speed);
            d.extend([7, kind::ENDPOINT, e.address, attributes]);
            d.extend(packet.to_le_bytes());
            d.push(interval);
            if speed == Speed::Super {
                let (burst, bytes) = if e.transfer == Transfer::Bulk { (BURST, 0) } else { (0, packet) };
                d.extend([6, kind::COMPANION, burst, 0]);
                d.extend(bytes.to_le_bytes());
            }
        }
        let len = d.len() as u16;
        d[2..4].copy_from_slice(&len.to_le_bytes());
        d
    }

    fn string(&self, index: u8) -> Option<Vec<u8>> {
        let units: Vec<u16> = match index {
            0 => vec![ENGLISH_US],
            i if self.string_index(i) != 0 => self.strings[usize::from(i) - 1].encode_utf16().take(126).collect(),
            _ => return None,
        };
        let mut d = vec![2 + 2 * units.len() as u8, kind::STRING];
        d.extend(units.iter().flat_map(|u| u.to_le_bytes()));
        Some(d)
    }

    /// Whether an endpoint (with bit 7 for IN) is there.
    pub(crate) fn has_endpoint(&self, address: u8) -> bool {
        self.interface.endpoints.iter().any(|e| e.address == address)
    }
}

/// The binary device object store: USB 2.0 extension (link power management), SuperSpeed (full, high, super; all of it
/// from full speed on; exit latencies 0).
fn bos() -> Vec<u8> {
    let mut d = vec![5, kind::BOS, 22, 0, 2];
    d.extend([7, kind::CAPABILITY, 2, 2, 0, 0, 0]);
    d.extend([10, kind::CAPABILITY, 3, 0, 0x0E, 0, 1, 0, 0, 0]);
    d
}

impl Transfer {
    /// bmAttributes, wMaxPacketSize, bInterval (USB 2.0, table 9-13: 2^(n-1) microframes at high speed).
    fn at(self, speed: Speed) -> (u8, u16, u8) {
        match (self, speed) {
            (Self::Bulk, Speed::Super) => (2, 1024, 0),
            (Self::Bulk, Speed::High) => (2, 512, 0),
            (Self::Bulk, Speed::Full) => (2, 64, 0),
            (Self::Interrupt { packet, ms }, Speed::Full) => (3, packet, ms),
            (Self::Interrupt { packet, ms }, _) => (3, packet, 4 + ms.max(1).ilog2() as u8),
        }
    }
}
