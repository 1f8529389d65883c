//! The x2APIC register interface (SDM 11.12): MSRs 0x800 to 0x8FF.

use super::{Effects, Gp, LVT_REGS, LVT_WRITABLE, Lapic, Now, reg};

impl Lapic {
    /// RDMSR of 0x800 to 0x8FF.
    ///
    /// # Errors
    /// [`Gp`] outside x2APIC mode, and for registers that do not exist or are write-only.
    pub fn msr_read(&mut self, msr: u32, now: Now) -> Result<u64, Gp> {
        let offset = msr.wrapping_sub(0x800) << 4;
        if !self.x2apic() || !(0x800..0x900).contains(&msr) {
            return Err(Gp);
        }
        self.sync(now);
        match offset {
            reg::ICR_LOW => Ok(self.state.icr),
            reg::ICR_HIGH | reg::DFR | reg::EOI | reg::SELF_IPI | reg::APR => Err(Gp),
            _ => self.register(offset, now).map(u64::from).ok_or(Gp),
        }
    }

    /// WRMSR of 0x800 to 0x8FF.
    ///
    /// # Errors
    /// [`Gp`] outside x2APIC mode, for registers that do not exist or are read-only, and for reserved bits.
    pub fn msr_write(&mut self, msr: u32, value: u64, now: Now) -> Result<Effects, Gp> {
        let offset = msr.wrapping_sub(0x800) << 4;
        if !self.x2apic() || !(0x800..0x900).contains(&msr) {
            return Err(Gp);
        }
        let allowed: u64 = match offset {
            reg::TPR | reg::SELF_IPI => 0xFF,
            reg::EOI | reg::ESR => 0,
            reg::SVR => 0x3FF | u64::from(self.config.eoi_suppression) << 12,
            reg::ICR_LOW => 0xFFFF_FFFF_000C_CFFF,
            reg::INITIAL_COUNT => 0xFFFF_FFFF,
            reg::DIVIDE => 0b1011,
            _ => match LVT_REGS.iter().position(|r| *r == offset) {
                // The read-only delivery-status and remote-IRR bits may be written back.
                Some(i) => u64::from(LVT_WRITABLE[i] | 1 << 12 | 1 << 14),
                None => return Err(Gp),
            },
        };
        if value & !allowed != 0 {
            return Err(Gp);
        }
        match offset {
            reg::ICR_LOW => Ok(self.send(value)),
            reg::SELF_IPI => {
                let icr = self.state.icr;
                let effects = self.send(1 << 18 | value);
                self.state.icr = icr;
                Ok(effects)
            }
            _ => Ok(self.write(offset, value as u32, now)),
        }
    }
}
