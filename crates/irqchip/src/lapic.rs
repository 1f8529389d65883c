//! The local APIC: Intel SDM volume 3, chapter 11 (12 in newer editions), xAPIC and x2APIC.
//!
//! A plain model without threads or clocks: the caller passes the time in ([`Now`]) and carries out what the
//! register accesses ask for ([`Effects`]: send an IPI, broadcast an EOI). Time is counted in APIC timer input
//! clocks and TSC ticks, so no rate is known here.
//!
//! Left out: arbitration priority (APR reads 0; the caller chooses for lowest-priority delivery), remote read,
//! SMI delivery (reported, not acted on), the performance and thermal events themselves.

mod destination;
mod msr;
mod page;
mod route;
#[cfg(test)]
mod tests;
mod timer;

use serde::{Deserialize, Serialize};

pub use destination::{Destination, Ipi, Shorthand};
pub use page::PAGE_SIZE;
pub use route::{Processors, route, send};
pub use timer::{Deadline, Now};

/// IA32_APIC_BASE bits.
#[allow(missing_docs)]
pub mod apic_base {
    pub const BSP: u64 = 1 << 8;
    pub const EXTD: u64 = 1 << 10;
    pub const EN: u64 = 1 << 11;
    pub const ADDRESS: u64 = 0x000F_FFFF_FFFF_F000;
    /// Where the page is after reset.
    pub const DEFAULT: u64 = 0xFEE0_0000;
}

/// Register offsets in the page; the x2APIC MSR is `0x800 + (offset >> 4)`.
#[allow(missing_docs)]
pub mod reg {
    pub const ID: u32 = 0x20;
    pub const VERSION: u32 = 0x30;
    pub const TPR: u32 = 0x80;
    pub const APR: u32 = 0x90;
    pub const PPR: u32 = 0xA0;
    pub const EOI: u32 = 0xB0;
    pub const LDR: u32 = 0xD0;
    pub const DFR: u32 = 0xE0;
    pub const SVR: u32 = 0xF0;
    pub const ISR: u32 = 0x100;
    pub const TMR: u32 = 0x180;
    pub const IRR: u32 = 0x200;
    pub const ESR: u32 = 0x280;
    pub const LVT_CMCI: u32 = 0x2F0;
    pub const ICR_LOW: u32 = 0x300;
    pub const ICR_HIGH: u32 = 0x310;
    pub const LVT_TIMER: u32 = 0x320;
    pub const LVT_THERMAL: u32 = 0x330;
    pub const LVT_PERFMON: u32 = 0x340;
    pub const LVT_LINT0: u32 = 0x350;
    pub const LVT_LINT1: u32 = 0x360;
    pub const LVT_ERROR: u32 = 0x370;
    pub const INITIAL_COUNT: u32 = 0x380;
    pub const CURRENT_COUNT: u32 = 0x390;
    pub const DIVIDE: u32 = 0x3E0;
    pub const SELF_IPI: u32 = 0x3F0;
}

/// ESR bits.
#[allow(missing_docs)]
pub mod esr {
    pub const SEND_ILLEGAL_VECTOR: u32 = 1 << 5;
    pub const RECEIVE_ILLEGAL_VECTOR: u32 = 1 << 6;
    pub const ILLEGAL_REGISTER: u32 = 1 << 7;
}

const SVR_ENABLE: u32 = 1 << 8;
const SVR_EOI_SUPPRESS: u32 = 1 << 12;
const LVT_MASK: u32 = 1 << 16;

/// Delivery modes (ICR and LVT bits 10:8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum DeliveryMode {
    Fixed,
    LowestPriority,
    Smi,
    Reserved,
    Nmi,
    Init,
    Startup,
    ExtInt,
}

impl DeliveryMode {
    /// From the three bits.
    pub fn from_bits(bits: u32) -> Self {
        match bits & 7 {
            0 => Self::Fixed,
            1 => Self::LowestPriority,
            2 => Self::Smi,
            3 => Self::Reserved,
            4 => Self::Nmi,
            5 => Self::Init,
            6 => Self::Startup,
            _ => Self::ExtInt,
        }
    }
}

/// Local interrupt sources, in the order of [`State::lvt`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Lvt {
    Cmci = 0,
    Timer = 1,
    Thermal = 2,
    Perfmon = 3,
    Lint0 = 4,
    Lint1 = 5,
    Error = 6,
}

const LVT_REGS: [u32; 7] =
    [reg::LVT_CMCI, reg::LVT_TIMER, reg::LVT_THERMAL, reg::LVT_PERFMON, reg::LVT_LINT0, reg::LVT_LINT1, reg::LVT_ERROR];

/// Writable bits of each LVT entry (SDM figure 11-8).
const LVT_WRITABLE: [u32; 7] = [0x1_07FF, 0x7_00FF, 0x1_07FF, 0x1_07FF, 0x1_A7FF, 0x1_A7FF, 0x1_00FF];

/// The access raises #GP(0).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gp;

/// What the processor must do about a delivered interrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Nothing: not accepted, or merged with one that is pending.
    Nothing,
    /// IRR changed: look at [`Lapic::pending`] again.
    Interrupt,
    /// Take an NMI.
    Nmi,
    /// Take an SMI.
    Smi,
    /// INIT.
    Init,
    /// Start-up IPI with this page number.
    Startup(u8),
    /// Acknowledge the external controller.
    ExtInt,
}

/// What the caller has to do after a register access.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// To be sent.
    pub ipi: Option<Ipi>,
    /// EOI of a level-triggered vector to be broadcast to the I/O APICs.
    pub eoi: Option<u8>,
    /// [`Lapic::next_deadline`] may have changed.
    pub timer: bool,
}

/// What is fixed at manufacture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Initial APIC ID (x2APIC ID).
    pub id: u32,
    /// Starts as bootstrap processor.
    pub bsp: bool,
    /// x2APIC mode exists.
    pub x2apic: bool,
    /// TSC-deadline mode exists.
    pub tsc_deadline: bool,
    /// EOI broadcasts can be suppressed (needs I/O APICs with an EOI register).
    pub eoi_suppression: bool,
    /// Physical address bits, for IA32_APIC_BASE's reserved ones.
    pub physical_bits: u32,
}

/// All guest-visible state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct State {
    pub apic_base: u64,
    /// xAPIC ID (bits 31:24 of the register), writable in xAPIC mode.
    pub xapic_id: u8,
    pub tpr: u32,
    pub ldr: u32,
    pub dfr: u32,
    pub svr: u32,
    pub isr: [u32; 8],
    pub tmr: [u32; 8],
    pub irr: [u32; 8],
    /// As read; `esr_pending` becomes it at the next write.
    pub esr: u32,
    pub esr_pending: u32,
    pub icr: u64,
    /// In the order of [`Lvt`].
    pub lvt: [u32; 7],
    pub initial_count: u32,
    pub divide: u32,
    /// Input clock at which the count was `initial_count`, while `armed`.
    pub start: u64,
    pub armed: bool,
    /// IA32_TSC_DEADLINE; 0 when disarmed.
    pub tsc_deadline: u64,
}

impl State {
    fn at_reset(config: &Config) -> Self {
        Self {
            apic_base: apic_base::DEFAULT | apic_base::EN | if config.bsp { apic_base::BSP } else { 0 },
            xapic_id: config.id as u8,
            tpr: 0,
            ldr: 0,
            dfr: 0xFFFF_FFFF,
            svr: 0xFF,
            isr: [0; 8],
            tmr: [0; 8],
            irr: [0; 8],
            esr: 0,
            esr_pending: 0,
            icr: 0,
            lvt: [LVT_MASK; 7],
            initial_count: 0,
            divide: 0,
            start: 0,
            armed: false,
            tsc_deadline: 0,
        }
    }
}

/// One local APIC.
#[derive(Clone, Debug)]
pub struct Lapic {
    config: Config,
    state: State,
}

fn highest(bits: &[u32; 8]) -> Option<u8> {
    (0..8).rev().find(|i| bits[*i] != 0).map(|i| (i as u32 * 32 + 31 - bits[i].leading_zeros()) as u8)
}

fn set(bits: &mut [u32; 8], vector: u8, on: bool) {
    let mask = 1 << (vector % 32);
    let word = &mut bits[usize::from(vector / 32)];
    *word = if on { *word | mask } else { *word & !mask };
}

fn get(bits: &[u32; 8], vector: u8) -> bool {
    bits[usize::from(vector / 32)] >> (vector % 32) & 1 != 0
}

impl Lapic {
    /// A local APIC after power-up.
    pub fn new(config: Config) -> Self {
        Self { state: State::at_reset(&config), config }
    }

    /// Power-up or RESET#.
    pub fn reset(&mut self) {
        self.state = State::at_reset(&self.config);
    }

    /// INIT: as reset, but the APIC base (mode included) and ID stay (SDM 11.4.7.3, 11.12.5.1).
    pub fn init(&mut self) {
        let (base, id) = (self.state.apic_base, self.state.xapic_id);
        self.reset();
        self.state.apic_base = base;
        self.state.xapic_id = id;
        if self.x2apic() {
            self.enter_x2apic();
        }
    }

    /// What is fixed.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The state, for saving.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Takes a saved state.
    pub fn set_state(&mut self, state: State) {
        self.state = state;
    }

    /// IA32_APIC_BASE.EN.
    pub fn enabled(&self) -> bool {
        self.state.apic_base & apic_base::EN != 0
    }

    /// In x2APIC mode.
    pub fn x2apic(&self) -> bool {
        let both = apic_base::EN | apic_base::EXTD;
        self.state.apic_base & both == both
    }

    /// Enabled by hardware and software (SVR bit 8).
    pub fn software_enabled(&self) -> bool {
        self.enabled() && self.state.svr & SVR_ENABLE != 0
    }

    /// Where the register page is, when it is there (xAPIC mode).
    pub fn mmio_base(&self) -> Option<u64> {
        (self.enabled() && !self.x2apic()).then_some(self.state.apic_base & apic_base::ADDRESS)
    }

    /// The ID that physical destinations are compared with.
    pub fn id(&self) -> u32 {
        if self.x2apic() { self.config.id } else { self.state.xapic_id.into() }
    }

    /// IA32_APIC_BASE.
    pub fn apic_base(&self) -> u64 {
        self.state.apic_base
    }

    /// WRMSR of IA32_APIC_BASE (SDM 11.12.5 for the transitions).
    ///
    /// # Errors
    /// [`Gp`] for reserved bits and transitions that do not exist.
    pub fn set_apic_base(&mut self, value: u64) -> Result<(), Gp> {
        use apic_base::{ADDRESS, BSP, EN, EXTD};
        let address = ADDRESS & (1u64 << self.config.physical_bits.clamp(32, 52)).wrapping_sub(1);
        let extd = if self.config.x2apic { EXTD } else { 0 };
        if value & !(address | BSP | EN | extd) != 0 {
            return Err(Gp);
        }
        let old = self.state.apic_base;
        match (old & EN != 0, old & EXTD != 0, value & EN != 0, value & EXTD != 0) {
            (_, _, false, true) | (false, _, true, true) | (true, true, true, false) => return Err(Gp),
            (_, _, false, false) if old & EN != 0 => self.reset(),
            _ => {}
        }
        self.state.apic_base = value;
        if value & EXTD != 0 && old & EXTD == 0 {
            self.enter_x2apic();
        }
        Ok(())
    }

    /// Sets IA32_APIC_BASE without the transition rules: for whoever sets a processor's state from outside.
    pub fn load_apic_base(&mut self, value: u64) {
        let was = self.x2apic();
        self.state.apic_base = value;
        if self.x2apic() && !was {
            self.enter_x2apic();
        }
    }

    fn enter_x2apic(&mut self) {
        self.state.ldr = destination::x2apic_ldr(self.config.id);
        self.state.icr &= 0xFFFF_FFFF;
    }

    /// CR8.
    pub fn cr8(&self) -> u64 {
        u64::from(self.state.tpr >> 4 & 15)
    }

    /// MOV to CR8.
    pub fn set_cr8(&mut self, value: u64) {
        self.state.tpr = ((value & 15) << 4) as u32;
    }

    /// Processor priority (SDM 11.8.3.1).
    pub fn ppr(&self) -> u32 {
        let isrv = highest(&self.state.isr).map_or(0, u32::from);
        if self.state.tpr >> 4 >= isrv >> 4 { self.state.tpr & 0xFF } else { isrv & 0xF0 }
    }

    /// The vector that INTR is up for.
    pub fn pending(&self) -> Option<u8> {
        if !self.software_enabled() {
            return None;
        }
        highest(&self.state.irr).filter(|v| u32::from(*v) >> 4 > self.ppr() >> 4)
    }

    /// The highest vector that is requested but held back by the task priority alone.
    pub fn held_back(&self) -> Option<u8> {
        let isrv = highest(&self.state.isr).unwrap_or(0);
        let vector = highest(&self.state.irr).filter(|v| v >> 4 > isrv >> 4)?;
        (self.software_enabled() && self.pending().is_none()).then_some(vector)
    }

    /// Whether any vector is requested, also one that has to wait for others.
    pub fn has_requests(&self) -> bool {
        self.software_enabled() && highest(&self.state.irr).is_some()
    }

    /// INTA: the pending vector goes into service. `None` when nothing is pending any more.
    pub fn acknowledge(&mut self) -> Option<u8> {
        let vector = self.pending()?;
        set(&mut self.state.irr, vector, false);
        set(&mut self.state.isr, vector, true);
        Some(vector)
    }

    /// Ends the service of `vector` as if it had never been in service (automatic EOI): nothing is broadcast.
    pub fn auto_eoi(&mut self, vector: u8) {
        set(&mut self.state.isr, vector, false);
    }

    /// An interrupt message for this APIC, from wherever.
    pub fn deliver(&mut self, mode: DeliveryMode, vector: u8, level: bool) -> Delivery {
        match mode {
            DeliveryMode::Fixed | DeliveryMode::LowestPriority => self.accept(vector, level),
            DeliveryMode::Smi => Delivery::Smi,
            DeliveryMode::Nmi => Delivery::Nmi,
            DeliveryMode::Init => Delivery::Init,
            DeliveryMode::Startup => Delivery::Startup(vector),
            DeliveryMode::ExtInt => Delivery::ExtInt,
            DeliveryMode::Reserved => Delivery::Nothing,
        }
    }

    fn accept(&mut self, vector: u8, level: bool) -> Delivery {
        if !self.software_enabled() {
            return Delivery::Nothing;
        }
        if vector < 16 {
            self.error(esr::RECEIVE_ILLEGAL_VECTOR);
            return Delivery::Interrupt;
        }
        set(&mut self.state.tmr, vector, level);
        let new = !get(&self.state.irr, vector);
        set(&mut self.state.irr, vector, true);
        if new { Delivery::Interrupt } else { Delivery::Nothing }
    }

    /// A local source fires (LINT0 and LINT1: their pin became active).
    pub fn local(&mut self, source: Lvt) -> Delivery {
        let entry = self.state.lvt[source as usize];
        if !self.enabled() {
            // The pins are wired to INTR and NMI then (SDM 11.4.3).
            return match source {
                Lvt::Lint0 => Delivery::ExtInt,
                Lvt::Lint1 => Delivery::Nmi,
                _ => Delivery::Nothing,
            };
        }
        if entry & LVT_MASK != 0 {
            return Delivery::Nothing;
        }
        let fixed = matches!(source, Lvt::Timer | Lvt::Error);
        let mode = if fixed { DeliveryMode::Fixed } else { DeliveryMode::from_bits(entry >> 8) };
        let level = matches!(source, Lvt::Lint0 | Lvt::Lint1) && entry >> 15 & 1 != 0;
        match mode {
            DeliveryMode::Startup | DeliveryMode::LowestPriority => Delivery::Nothing,
            mode => {
                if source == Lvt::Perfmon {
                    self.state.lvt[source as usize] |= LVT_MASK; // SDM 11.5.1: set on overflow delivery
                }
                self.deliver(mode, entry as u8, level)
            }
        }
    }

    /// LINT0 passes the 8259's INTR on to the processor: it is unmasked ExtINT, or the APIC is off.
    pub fn accepts_ext_int(&self) -> bool {
        let entry = self.state.lvt[Lvt::Lint0 as usize];
        !self.enabled() || (entry & LVT_MASK == 0 && DeliveryMode::from_bits(entry >> 8) == DeliveryMode::ExtInt)
    }

    fn error(&mut self, bit: u32) {
        self.state.esr_pending |= bit;
        let entry = self.state.lvt[Lvt::Error as usize];
        let vector = entry as u8;
        // Not through `accept`: an illegal error vector must not raise errors for ever.
        if entry & LVT_MASK == 0 && vector >= 16 && self.software_enabled() {
            set(&mut self.state.irr, vector, true);
            set(&mut self.state.tmr, vector, false);
        }
    }

    fn eoi(&mut self) -> Option<u8> {
        let vector = highest(&self.state.isr)?;
        set(&mut self.state.isr, vector, false);
        (get(&self.state.tmr, vector) && self.state.svr & SVR_EOI_SUPPRESS == 0).then_some(vector)
    }

    fn version(&self) -> u32 {
        0x14 | 6 << 16 | u32::from(self.config.eoi_suppression) << 24
    }

    /// A register as it reads in the page. `None`: no such register.
    pub fn register(&self, offset: u32, now: Now) -> Option<u32> {
        let s = &self.state;
        let bank = |bits: &[u32; 8]| bits[(offset >> 4 & 7) as usize];
        Some(match offset {
            reg::ID if self.x2apic() => self.config.id,
            reg::ID => u32::from(s.xapic_id) << 24,
            reg::VERSION => self.version(),
            reg::TPR => s.tpr,
            reg::APR => 0,
            reg::PPR => self.ppr(),
            reg::EOI => 0,
            reg::LDR => s.ldr,
            reg::DFR => s.dfr,
            reg::SVR => s.svr,
            0x100..0x180 => bank(&s.isr),
            0x180..0x200 => bank(&s.tmr),
            0x200..0x280 => bank(&s.irr),
            reg::ESR => s.esr,
            reg::ICR_LOW => s.icr as u32,
            reg::ICR_HIGH => (s.icr >> 32) as u32,
            reg::INITIAL_COUNT => s.initial_count,
            reg::CURRENT_COUNT => self.current_count(now),
            reg::DIVIDE => s.divide,
            _ => s.lvt[LVT_REGS.iter().position(|r| *r == offset)?],
        })
    }

    /// A 32-bit load from the page (offset a multiple of 16; what lies between reads 0).
    pub fn mmio_read(&mut self, offset: u32, now: Now) -> u32 {
        self.sync(now);
        if offset & 15 != 0 {
            return 0;
        }
        match self.register(offset, now) {
            Some(v) => v,
            None => {
                self.error(esr::ILLEGAL_REGISTER);
                0
            }
        }
    }

    /// A 32-bit store to the page.
    pub fn mmio_write(&mut self, offset: u32, value: u32, now: Now) -> Effects {
        match offset {
            reg::ID => {
                self.state.xapic_id = (value >> 24) as u8;
                Effects::default()
            }
            reg::LDR => {
                self.state.ldr = value & 0xFF00_0000;
                Effects::default()
            }
            reg::DFR => {
                self.state.dfr = value | 0x0FFF_FFFF;
                Effects::default()
            }
            reg::ICR_HIGH => {
                self.state.icr = self.state.icr & 0xFFFF_FFFF | u64::from(value & 0xFF00_0000) << 32;
                Effects::default()
            }
            reg::ICR_LOW => {
                let icr = self.state.icr & !0xFFFF_FFFF | u64::from(value & 0x000C_CFFF);
                self.send(icr)
            }
            _ if offset & 15 != 0 => Effects::default(),
            _ => self.write(offset, value, now),
        }
    }

    /// The registers that both modes write alike.
    fn write(&mut self, offset: u32, value: u32, now: Now) -> Effects {
        let mut effects = Effects::default();
        self.sync(now);
        match offset {
            reg::TPR => self.state.tpr = value & 0xFF,
            reg::EOI => effects.eoi = self.eoi(),
            reg::SVR => self.write_svr(value),
            reg::ESR => self.state.esr = std::mem::take(&mut self.state.esr_pending),
            reg::INITIAL_COUNT => {
                self.set_initial_count(value, now);
                effects.timer = true;
            }
            reg::DIVIDE => {
                self.set_divide(value & 0b1011, now);
                effects.timer = true;
            }
            _ => match LVT_REGS.iter().position(|r| *r == offset) {
                Some(i) => {
                    self.write_lvt(i, value);
                    effects.timer = i == Lvt::Timer as usize;
                }
                None => self.error(esr::ILLEGAL_REGISTER),
            },
        }
        effects
    }

    fn write_svr(&mut self, value: u32) {
        let suppress = if self.config.eoi_suppression { SVR_EOI_SUPPRESS } else { 0 };
        self.state.svr = value & (0x1FF | 1 << 9 | suppress);
        if value & SVR_ENABLE == 0 {
            self.state.lvt.iter_mut().for_each(|l| *l |= LVT_MASK); // SDM 11.4.7.2
        }
    }

    fn write_lvt(&mut self, i: usize, value: u32) {
        let mut value = value & LVT_WRITABLE[i];
        if self.state.svr & SVR_ENABLE == 0 {
            value |= LVT_MASK;
        }
        if i == Lvt::Timer as usize {
            if !self.config.tsc_deadline {
                value &= !(1 << 18);
            }
            self.timer_mode_changes(self.state.lvt[i], value);
        }
        self.state.lvt[i] = value;
    }

    /// Sends what `icr` says (SDM 11.6.1).
    fn send(&mut self, icr: u64) -> Effects {
        self.state.icr = icr;
        let ipi = Ipi::from_icr(icr, self.x2apic());
        let needs_vector = matches!(ipi.mode, DeliveryMode::Fixed | DeliveryMode::LowestPriority);
        if needs_vector && ipi.vector < 16 {
            self.error(esr::SEND_ILLEGAL_VECTOR);
            return Effects::default();
        }
        // INIT de-assert only synchronised arbitration IDs; today's processors ignore it.
        let deassert = ipi.mode == DeliveryMode::Init && icr >> 14 & 1 == 0 && icr >> 15 & 1 != 0;
        if deassert || matches!(ipi.mode, DeliveryMode::Reserved | DeliveryMode::ExtInt) {
            return Effects::default();
        }
        Effects { ipi: Some(ipi), ..Effects::default() }
    }
}
