//! The whole state as a 4096-byte register page, as WHP's `InterruptControllerState2` has it.

use super::{LVT_REGS, LVT_WRITABLE, Lapic, Lvt, Now, reg};

/// Size of the page.
pub const PAGE_SIZE: usize = 4096;

impl Lapic {
    /// The registers as they read, each in the first four bytes of its 16; the current count is the one of `now`.
    pub fn to_page(&self, now: Now) -> Box<[u8; PAGE_SIZE]> {
        let mut page = Box::new([0; PAGE_SIZE]);
        for offset in (0..0x400).step_by(16) {
            if let Some(v) = self.register(offset, now) {
                page[offset as usize..][..4].copy_from_slice(&v.to_le_bytes());
            }
        }
        page
    }

    /// Takes a page. The mode (IA32_APIC_BASE) and the TSC deadline are not part of it; version, PPR and the like
    /// are ignored.
    pub fn load_page(&mut self, page: &[u8; PAGE_SIZE], now: Now) {
        let get = |offset: u32| {
            let o = offset as usize;
            u32::from_le_bytes([page[o], page[o + 1], page[o + 2], page[o + 3]])
        };
        let x2apic = self.x2apic();
        if !x2apic {
            self.state.xapic_id = (get(reg::ID) >> 24) as u8;
            self.state.ldr = get(reg::LDR) & 0xFF00_0000;
            self.state.dfr = get(reg::DFR) | 0x0FFF_FFFF;
        }
        let s = &mut self.state;
        s.tpr = get(reg::TPR) & 0xFF;
        s.svr = get(reg::SVR) & 0x13FF;
        for i in 0..8 {
            s.isr[i as usize] = get(reg::ISR + i * 16);
            s.tmr[i as usize] = get(reg::TMR + i * 16);
            s.irr[i as usize] = get(reg::IRR + i * 16);
        }
        for bits in [&mut s.isr, &mut s.irr] {
            bits[0] &= 0xFFFF_0000; // vectors below 16 cannot be pending
        }
        s.esr = get(reg::ESR);
        s.esr_pending = 0;
        s.icr = u64::from(get(reg::ICR_LOW)) | u64::from(get(reg::ICR_HIGH)) << 32;
        let old_timer = s.lvt[Lvt::Timer as usize];
        for (i, r) in LVT_REGS.iter().enumerate() {
            s.lvt[i] = get(*r) & LVT_WRITABLE[i];
        }
        if page[reg::LVT_CMCI as usize..][..4] == [0; 4] {
            s.lvt[Lvt::Cmci as usize] = 1 << 16; // from a client that knows six entries
        }
        s.initial_count = get(reg::INITIAL_COUNT);
        s.divide = get(reg::DIVIDE) & 0b1011;
        let (count, timer) = (get(reg::CURRENT_COUNT), s.lvt[Lvt::Timer as usize]);
        self.timer_mode_changes(old_timer, timer);
        let periodic = timer >> 17 & 3 == 1;
        self.state.armed = self.state.initial_count != 0 && (count != 0 || periodic);
        let count = if count == 0 { self.state.initial_count } else { count.min(self.state.initial_count) };
        self.set_current_count(count, now);
    }
}
