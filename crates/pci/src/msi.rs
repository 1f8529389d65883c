//! Message-signalled interrupts: the MSI capability.
//!
//! PCI Local Bus Specification 3.0, section 6.8.1: 64-bit addresses, 1 to 32 vectors, per-vector masking. All of its
//! state is in the configuration space, so a function saves it with that.

use vm_core::MsiSink;

use crate::config::ConfigSpace;

const CAPABILITY: u8 = 0x05;
const ENABLE: u16 = 1;
const ADDRESS_64: u16 = 1 << 7;
const MASKABLE: u16 = 1 << 8;

/// Where a function's MSI capability is, and how many vectors it asks for.
#[derive(Clone, Copy, Debug)]
pub struct Msi {
    at: u8,
    /// Base-2 logarithm of the vectors asked for.
    order: u16,
}

impl Msi {
    /// Adds the capability for `vectors` (a power of two up to 32).
    ///
    /// # Panics
    /// For another number (a host-side error).
    #[must_use]
    pub fn add(config: ConfigSpace, vectors: u8) -> (ConfigSpace, Self) {
        assert!(vectors.is_power_of_two() && vectors <= 32, "{vectors} MSI vectors");
        let order = vectors.trailing_zeros() as u16;
        let mut body = [0; 22];
        body[..2].copy_from_slice(&(ADDRESS_64 | MASKABLE | order << 1).to_le_bytes());
        let (config, at) = config.with_capability(CAPABILITY, &body);
        let vectors = u32::MAX >> (32 - u32::from(vectors));
        let config = config
            .with_writable(at + 2, &(ENABLE | 7 << 4).to_le_bytes())
            .with_writable(at + 4, &[0xFC, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF])
            .with_writable(at + 16, &vectors.to_le_bytes());
        (config, Self { at, order })
    }

    /// The guest has switched it on: INTx is silent then.
    pub fn is_enabled(&self, config: &ConfigSpace) -> bool {
        config.u16(self.at + 2) & ENABLE != 0
    }

    /// How many vectors the guest has given.
    pub fn vectors(&self, config: &ConfigSpace) -> u32 {
        1 << (config.u16(self.at + 2) >> 4 & 7).min(self.order)
    }

    /// Sends the message of `vector` (modulo the vectors given), or keeps it pending while it is masked.
    pub fn signal(&self, config: &mut ConfigSpace, sink: &dyn MsiSink, vector: u32) {
        if !self.is_enabled(config) {
            return;
        }
        let vector = vector % self.vectors(config);
        if config.u32(self.at + 16) >> vector & 1 != 0 {
            let pending = config.u32(self.at + 20) | 1 << vector;
            config.set(self.at + 20, &pending.to_le_bytes());
        } else {
            self.send(config, sink, vector);
        }
    }

    fn send(&self, config: &ConfigSpace, sink: &dyn MsiSink, vector: u32) {
        if config.may_master() {
            let address = u64::from(config.u32(self.at + 8)) << 32 | u64::from(config.u32(self.at + 4));
            let data = u32::from(config.u16(self.at + 12)) & !(self.vectors(config) - 1) | vector;
            sink.signal(address, data);
        }
    }

    /// After a configuration write: sends what is pending and no longer masked.
    pub fn config_written(&self, config: &mut ConfigSpace, sink: &dyn MsiSink) {
        let (mask, pending) = (config.u32(self.at + 16), config.u32(self.at + 20));
        let ready = pending & !mask;
        if ready == 0 || !self.is_enabled(config) || !config.may_master() {
            return;
        }
        config.set(self.at + 20, &(pending & mask).to_le_bytes());
        (0..32).filter(|v| ready >> v & 1 != 0).for_each(|v| self.send(config, sink, v));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_sink::Seen;
    use crate::{ConfigSpace, Identity};

    fn function() -> (ConfigSpace, Msi) {
        let id = Identity { vendor: 1, device: 2, revision: 0, class: 0, subsystem: (0, 0) };
        let (mut c, msi) = Msi::add(ConfigSpace::endpoint(id), 4);
        c.write(0x04, &[4, 0]);
        c.write(0x44, &[0xFF; 8]);
        c.write(0x44, &0xFEE0_1000u32.to_le_bytes());
        c.write(0x48, &[0; 4]);
        c.write(0x4C, &[0x43, 0x40]);
        (c, msi)
    }

    #[test]
    fn the_capability_says_four_maskable_vectors_at_64_bits() {
        let (mut c, msi) = function();
        assert_eq!((c.u8(0x34), c.u8(0x40)), (0x40, 5));
        c.write(0x42, &[0xFF, 0xFF]);
        assert_eq!(c.u16(0x42), 0x01F5, "enable and multiple message enable can be written");
        assert_eq!(msi.vectors(&c), 4, "no more than asked for");
        c.write(0x50, &[0xFF; 4]);
        assert_eq!(c.u32(0x50), 0xF, "four mask bits");
    }

    #[test]
    fn messages_carry_the_vector_in_the_low_bits_given() {
        let (mut c, msi) = function();
        let seen = Seen::default();
        msi.signal(&mut c, &seen, 1);
        assert_eq!(seen.take(), [], "off");
        c.write(0x42, &[1, 0]);
        msi.signal(&mut c, &seen, 3);
        c.write(0x42, &[0x21, 0]);
        msi.signal(&mut c, &seen, 3);
        assert_eq!(seen.take(), [(0xFEE0_1000, 0x4043), (0xFEE0_1000, 0x4043)]);
        c.write(0x4C, &[0x40]);
        msi.signal(&mut c, &seen, 2);
        assert_eq!(seen.take(), [(0xFEE0_1000, 0x4042)]);
        c.write(0x04, &[0, 0]);
        msi.signal(&mut c, &seen, 2);
        assert_eq!(seen.take(), [], "not a master");
    }

    #[test]
    fn a_masked_vector_waits_as_a_pending_bit() {
        let (mut c, msi) = function();
        let seen = Seen::default();
        c.write(0x42, &[0x21, 0]);
        c.write(0x50, &[0b0110]);
        msi.signal(&mut c, &seen, 1);
        msi.signal(&mut c, &seen, 2);
        assert_eq!((seen.take(), c.u32(0x54)), (vec![], 0b0110));
        c.write(0x50, &[0b0100]);
        msi.config_written(&mut c, &seen);
        assert_eq!((seen.take(), c.u32(0x54)), (vec![(0xFEE0_1000, 0x4041)], 0b0100));
    }
}
