//! MC146818A real-time clock with the PC's CMOS memory.
//!
//! Motorola MC146818A data sheet (time, calendar and alarm bytes, registers A to D, update cycle, periodic rates);
//! second index/data pair: Intel 82371SB data sheet, 2.5.6; meaning of the CMOS bytes: the IBM AT technical
//! reference and the bytes SeaBIOS's documentation lists.
//!
//! The flags PF, UF and AF are worked out from the virtual time when somebody looks; a timer runs only while an
//! enabled interrupt could come. Left out on purpose: the square wave pin, daylight saving (DSE is kept and without
//! effect), and time bases other than 32.768 kHz (DV is "running" for 0 to 5 and "held in reset" for 6 and 7).

use std::sync::{Arc, Mutex, Weak};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use vm_core::{Clock, Device, IrqLine, PortIo, Shared, StateError, Timer, load_state, lock, save_state};

/// Size of the clock's registers and memory.
pub const CMOS_SIZE: usize = 128;
const SECOND: i128 = 1_000_000_000;
/// UIP rises this long before the registers change: 244 us ahead of an update of 1984 us.
const UPDATE_NS: i128 = 244_000 + 1_984_000;
const CENTURY: usize = 0x32;
/// Why the processor was reset, for firmware.
const SHUTDOWN_STATUS: usize = 0x0F;
/// The shutdown status that SeaBIOS and OVMF take for the end of S3.
const RESUME: u8 = 0xFE;
const DAY: i64 = 86_400;

const REG_A: usize = 10;
const REG_B: usize = 11;
const REG_C: usize = 12;
const REG_D: usize = 13;

const B_SET: u8 = 0x80;
const B_PIE: u8 = 0x40;
const B_AIE: u8 = 0x20;
const B_UIE: u8 = 0x10;
const B_SQWE: u8 = 0x08;
const B_DM: u8 = 0x04;
const B_24: u8 = 0x02;
const C_IRQF: u8 = 0x80;
const C_PF: u8 = 0x40;
const C_AF: u8 = 0x20;
const C_UF: u8 = 0x10;

/// What the clock shows when the machine starts (`-rtc base=`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RtcBase {
    /// The host's time in UTC.
    Utc,
    /// The host's time in its zone, which is this many seconds east of UTC.
    LocalTime {
        /// Seconds east of UTC.
        offset: i32,
    },
    /// A given time, seconds since 1970.
    Date(i64),
}

impl RtcBase {
    fn unix_ns(self) -> i128 {
        let host = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos() as i128);
        match self {
            Self::Utc => host,
            Self::LocalTime { offset } => host + i128::from(offset) * SECOND,
            Self::Date(s) => i128::from(s) * SECOND,
        }
    }
}

/// A disk's geometry for the CMOS disk tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CmosDisk {
    /// Cylinders.
    pub cylinders: u16,
    /// Heads.
    pub heads: u8,
    /// Sectors a track.
    pub sectors: u8,
    /// BIOS translation: 0 none, 1 LBA, 2 large, 3 rechs.
    pub translation: u8,
}

/// What the machine writes into the CMOS memory for the BIOS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CmosSetup {
    /// Bytes of RAM below 4 GiB.
    pub ram_below_4g: u64,
    /// Bytes of RAM from 4 GiB up.
    pub ram_above_4g: u64,
    /// Up to three boot devices, first first: 1 floppy, 2 disk, 3 CD-ROM, 4 network.
    pub boot_order: [u8; 3],
    /// Whether the BIOS checks a floppy's signature before it boots from it.
    pub floppy_signature_check: bool,
    /// Types of floppy drives A and B: 0 none, 2 1.2M, 4 1.44M, 5 2.88M.
    pub floppies: [u8; 2],
    /// The first two ATA disks of the first channel.
    pub disks: [Option<CmosDisk>; 2],
    /// Number of processors.
    pub cpus: u32,
}

/// Civil date and time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Civil {
    year: i64,
    month: u8,
    day: u8,
    hour: u8,
    minute: u8,
    second: u8,
    /// 1 is Sunday.
    weekday: u8,
}

/// Gregorian calendar from days since 1970-01-01, counting years from March.
fn civil(unix: i64) -> Civil {
    let (days, secs) = (unix.div_euclid(DAY), unix.rem_euclid(DAY));
    let z = days + 719_468;
    let (era, day_of_era) = (z.div_euclid(146_097), z.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let mp = (5 * day_of_year + 2) / 153;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    Civil {
        year: year_of_era + era * 400 + i64::from(month <= 2),
        month: month as u8,
        day: (day_of_year - (153 * mp + 2) / 5 + 1) as u8,
        hour: (secs / 3600) as u8,
        minute: (secs / 60 % 60) as u8,
        second: (secs % 60) as u8,
        weekday: ((days + 4).rem_euclid(7) + 1) as u8,
    }
}

fn unix(c: &Civil) -> i64 {
    let (month, day) = (i64::from(c.month), i64::from(c.day));
    let y = if month <= 2 { c.year - 1 } else { c.year };
    let (era, year_of_era) = (y.div_euclid(400), y.rem_euclid(400));
    let day_of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = era * 146_097 + day_of_era - 719_468;
    days * DAY + i64::from(c.hour) * 3600 + i64::from(c.minute) * 60 + i64::from(c.second)
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    /// Registers and memory. Registers 0 to 9 and the century are brought up to date when read.
    cmos: Vec<u8>,
    index: u8,
    index_upper: u8,
    /// Nanoseconds since 1970 at virtual time 0 (while the clock runs).
    base: i128,
    /// The time it stands at, while SET or the divider reset holds it.
    held: Option<i128>,
    /// Time up to which the flags in register C have been worked out.
    seen: i128,
}

impl State {
    fn byte(&self, i: usize) -> u8 {
        self.cmos.get(i).copied().unwrap_or(0)
    }

    fn put(&mut self, i: usize, v: u8) {
        if let Some(b) = self.cmos.get_mut(i) {
            *b = v;
        }
    }

    fn encode(&self, v: u8) -> u8 {
        if self.byte(REG_B) & B_DM != 0 { v } else { ((v / 10 % 10) << 4) | (v % 10) }
    }

    fn decode(&self, v: u8) -> u8 {
        if self.byte(REG_B) & B_DM != 0 { v } else { (v >> 4) * 10 + (v & 0x0F) }
    }

    fn encode_hour(&self, h: u8) -> u8 {
        if self.byte(REG_B) & B_24 != 0 {
            return self.encode(h);
        }
        let twelve = (h + 11) % 12 + 1;
        self.encode(twelve) | if h >= 12 { 0x80 } else { 0 }
    }

    fn decode_hour(&self, v: u8) -> u8 {
        if self.byte(REG_B) & B_24 != 0 {
            return self.decode(v);
        }
        self.decode(v & 0x7F) % 12 + if v & 0x80 != 0 { 12 } else { 0 }
    }

    /// Writes `time` into the time registers.
    fn show(&mut self, time: i128) {
        let c = civil(seconds(time));
        let fields = [
            (0, self.encode(c.second)),
            (2, self.encode(c.minute)),
            (4, self.encode_hour(c.hour)),
            (6, self.encode(c.weekday)),
            (7, self.encode(c.day)),
            (8, self.encode(c.month)),
            (9, self.encode(c.year.rem_euclid(100) as u8)),
            (CENTURY, self.encode((c.year.div_euclid(100)).rem_euclid(100) as u8)),
        ];
        for (i, v) in fields {
            self.put(i, v);
        }
    }

    /// The time in the time registers, values out of range brought into it; below a second from `fraction`.
    fn read_back(&self, fraction: i128) -> i128 {
        let field = |i, low: u8, high: u8| self.decode(self.byte(i)).clamp(low, high);
        let c = Civil {
            year: i64::from(field(CENTURY, 0, 99)) * 100 + i64::from(field(9, 0, 99)),
            month: field(8, 1, 12),
            day: field(7, 1, 31),
            hour: self.decode_hour(self.byte(4)).min(23),
            minute: field(2, 0, 59),
            second: field(0, 0, 59),
            weekday: 1,
        };
        i128::from(unix(&c)) * SECOND + fraction.rem_euclid(SECOND)
    }

    /// Whether the alarm bytes match this second; 0xC0 and up match all.
    fn alarm_matches(&self, unix: i64) -> bool {
        let c = civil(unix);
        let any = |v: u8| v >= 0xC0;
        let (s, m, h) = (self.byte(1), self.byte(3), self.byte(5));
        (any(s) || self.decode(s) == c.second)
            && (any(m) || self.decode(m) == c.minute)
            && (any(h) || self.decode_hour(h) == c.hour)
    }

    /// The first second after `from`, at most a day on, that the alarm matches. Hours and minutes that cannot match
    /// are skipped whole.
    fn next_alarm(&self, from: i64) -> Option<i64> {
        let any = |v: u8| v >= 0xC0;
        let (m, h) = (self.byte(3), self.byte(5));
        let mut t = from.saturating_add(1);
        while t <= from.saturating_add(DAY) {
            let c = civil(t);
            let step = if !any(h) && self.decode_hour(h) != c.hour {
                3600 - t.rem_euclid(3600)
            } else if !any(m) && self.decode(m) != c.minute {
                60 - t.rem_euclid(60)
            } else if self.alarm_matches(t) {
                return Some(t);
            } else {
                1
            };
            t = t.saturating_add(step);
        }
        None
    }

    /// Nanoseconds of the periodic rate as a fraction: 2^shift cycles of 32768 Hz.
    fn periodic_shift(&self) -> Option<u32> {
        match self.byte(REG_A) & 0x0F {
            0 => None,
            n @ 1..=2 => Some(u32::from(n) + 6),
            n => Some(u32::from(n) - 1),
        }
    }
}

fn seconds(ns: i128) -> i64 {
    i64::try_from(ns.div_euclid(SECOND)).unwrap_or(0)
}

/// Cycles of the 32768 Hz crystal since 1970, for the phase of the periodic interrupt.
fn cycles(ns: i128) -> i128 {
    (ns * 32_768).div_euclid(SECOND)
}

/// The clock chip. Ports, byte wide: 0x70-0x73 (0x72-0x73 reach the same 128 bytes).
pub struct Rtc {
    state: State,
    clock: Clock,
    irq8: IrqLine,
    /// Follows IRQ 8, for what an alarm wakes.
    wake: IrqLine,
    timer: Timer,
}

impl Rtc {
    /// A chip on `clock` that shows `base` now and drives `irq8`.
    pub fn new(clock: &Clock, irq8: IrqLine, base: RtcBase) -> Shared<Self> {
        let start = base.unix_ns();
        let mut cmos = vec![0; CMOS_SIZE];
        cmos[REG_A] = 0x26;
        cmos[REG_B] = B_24;
        cmos[REG_D] = 0x80;
        let state =
            State { cmos, index: 0, index_upper: 0, base: start - i128::from(clock.now()), held: None, seen: start };
        Arc::new_cyclic(|weak: &Weak<Mutex<Self>>| {
            let weak = weak.clone();
            let timer = clock.timer("rtc", move || {
                if let Some(rtc) = weak.upgrade() {
                    lock(&rtc).update();
                }
            });
            let mut rtc = Self { state, clock: clock.clone(), irq8, wake: IrqLine::unconnected(), timer };
            rtc.state.show(start);
            Mutex::new(rtc)
        })
    }

    /// Connects the line that wakes a suspended machine: it follows IRQ 8, wherever that is routed.
    pub fn connect_wake(&mut self, line: IrqLine) {
        self.wake = line;
    }

    /// Tells firmware whether the next reset is the end of a suspend to RAM (the shutdown status byte, 0Fh).
    pub fn set_suspended(&mut self, suspended: bool) {
        if let Some(status) = self.state.cmos.get_mut(SHUTDOWN_STATUS) {
            *status = if suspended { RESUME } else { 0 };
        }
    }

    /// Writes what the BIOS wants to find in the CMOS memory.
    pub fn preset(&mut self, setup: &CmosSetup) {
        let mut word = |at: usize, v: u64| {
            let [low, high] = (v.min(0xFFFF) as u16).to_le_bytes();
            self.state.put(at, low);
            self.state.put(at + 1, high);
        };
        let extended = setup.ram_below_4g.saturating_sub(1 << 20) >> 10;
        word(0x15, (setup.ram_below_4g >> 10).min(640));
        word(0x17, extended);
        word(0x30, extended);
        word(0x34, setup.ram_below_4g.saturating_sub(16 << 20) >> 16);
        let above = setup.ram_above_4g >> 16;
        for (i, b) in above.to_le_bytes().iter().take(3).enumerate() {
            self.state.put(0x5B + i, *b);
        }
        self.state.put(0x5F, setup.cpus.saturating_sub(1).min(255) as u8);
        let [first, second, third] = setup.boot_order.map(|d| d & 0x0F);
        self.state.put(0x3D, second << 4 | first);
        self.state.put(0x38, third << 4 | u8::from(!setup.floppy_signature_check));
        let [a, b] = setup.floppies.map(|f| f & 0x0F);
        self.state.put(0x10, a << 4 | b);
        let drives = setup.floppies.iter().filter(|f| **f != 0).count();
        // FPU and PS/2 mouse present; floppy drives as the equipment byte counts them.
        let floppies = [0x00, 0x01, 0x41][drives.min(2)];
        self.state.put(0x14, floppies | 0x02 | 0x04);
        self.preset_disks(&setup.disks);
    }

    fn preset_disks(&mut self, disks: &[Option<CmosDisk>; 2]) {
        let types = disks.map(|d| if d.is_some() { 0x0F } else { 0 });
        self.state.put(0x12, types[0] << 4 | types[1]);
        let mut translation = 0;
        for (i, disk) in disks.iter().enumerate() {
            let Some(d) = disk else { continue };
            translation |= (d.translation & 3) << (2 * i);
            let table = 0x1B + 9 * i;
            let [low, high] = d.cylinders.to_le_bytes();
            let control = 0xC0 | if d.heads > 8 { 8 } else { 0 };
            let bytes = [low, high, d.heads, 0xFF, 0xFF, control, low, high, d.sectors];
            self.state.put(0x19 + i, 47);
            for (k, b) in bytes.into_iter().enumerate() {
                self.state.put(table + k, b);
            }
        }
        self.state.put(0x39, translation);
    }

    /// A byte of the memory, for the machine and the monitor.
    pub fn cmos(&self, index: u8) -> u8 {
        self.state.byte(usize::from(index))
    }

    /// Sets a byte of the memory, for the machine.
    pub fn set_cmos(&mut self, index: u8, value: u8) {
        if usize::from(index) > REG_D {
            self.state.put(usize::from(index), value);
        }
    }

    /// The time the clock shows, in seconds since 1970 as if it showed UTC.
    pub fn unix_time(&self) -> i64 {
        seconds(self.time())
    }

    fn time(&self) -> i128 {
        self.state.held.unwrap_or_else(|| self.state.base + i128::from(self.clock.now()))
    }

    /// Works out the flags up to now, drives the line, and sets the timer for the next enabled interrupt.
    fn update(&mut self) {
        let now = self.time();
        let s = &mut self.state;
        let mut c = s.byte(REG_C);
        if now > s.seen {
            if let Some(shift) = s.periodic_shift()
                && cycles(now) >> shift != cycles(s.seen) >> shift
            {
                c |= C_PF;
            }
            let (from, to) = (seconds(s.seen), seconds(now));
            if to > from {
                c |= C_UF;
                if c & C_AF == 0 && s.next_alarm(from).is_some_and(|t| t <= to) {
                    c |= C_AF;
                }
            }
        }
        s.seen = now;
        let enabled = s.byte(REG_B) & (B_PIE | B_AIE | B_UIE);
        let irq = c & enabled & (C_PF | C_AF | C_UF) != 0;
        s.put(REG_C, if irq { c | C_IRQF } else { c & !C_IRQF });
        self.irq8.set(irq);
        self.wake.set(irq);
        if irq || s.held.is_some() {
            self.timer.cancel();
        } else {
            self.arm(now, enabled);
        }
    }

    fn arm(&mut self, now: i128, enabled: u8) {
        let s = &self.state;
        let this = seconds(now);
        let at_second = |t: i64| i128::from(t) * SECOND;
        let periodic = s.periodic_shift().filter(|_| enabled & B_PIE != 0).map(|shift| {
            let next = ((cycles(now) >> shift) + 1) << shift;
            // Rounded up, so that the cycle has passed when the timer fires.
            -(-next * SECOND).div_euclid(32_768)
        });
        let update = (enabled & B_UIE != 0).then(|| at_second(this.saturating_add(1)));
        let alarm = if enabled & B_AIE != 0 { s.next_alarm(this).map(at_second) } else { None };
        match [periodic, update, alarm].into_iter().flatten().min() {
            Some(at) => self.timer.set(u64::try_from(at - s.base).unwrap_or(0)),
            None => self.timer.cancel(),
        }
    }

    /// Stops or starts the clock as registers A and B now demand. The chain's reset lets go half a second before
    /// the first update.
    fn hold_or_run(&mut self, was_dividing: bool) {
        let dividing = self.state.byte(REG_A) & 0x60 != 0x60;
        let run = dividing && self.state.byte(REG_B) & B_SET == 0;
        match (self.state.held, run) {
            (None, false) => {
                let now = self.time();
                self.state.show(now);
                self.state.held = Some(now);
            }
            (Some(held), true) => {
                let fraction = if was_dividing { held } else { SECOND / 2 };
                let time = self.state.read_back(fraction);
                self.state.held = None;
                self.state.base = time - i128::from(self.clock.now());
                self.state.seen = time;
            }
            (Some(held), false) if dividing && !was_dividing => {
                self.state.held = Some(held - held.rem_euclid(SECOND) + SECOND / 2);
            }
            _ => {}
        }
    }

    fn read(&mut self, index: usize) -> u8 {
        self.update();
        let now = self.time();
        match index {
            1 | 3 | 5 => {}
            0..=9 | CENTURY if self.state.held.is_none() => self.state.show(now),
            REG_A => {
                let uip = self.state.held.is_none() && now.rem_euclid(SECOND) >= SECOND - UPDATE_NS;
                return self.state.byte(REG_A) & 0x7F | u8::from(uip) << 7;
            }
            REG_C => {
                let flags = self.state.byte(REG_C);
                self.state.put(REG_C, 0);
                self.update();
                return flags;
            }
            _ => {}
        }
        self.state.byte(index)
    }

    fn write(&mut self, index: usize, v: u8) {
        self.update();
        match index {
            1 | 3 | 5 => self.state.put(index, v),
            0..=9 | CENTURY => {
                if self.state.held.is_some() {
                    self.state.put(index, v);
                } else {
                    let now = self.time();
                    self.state.show(now);
                    self.state.put(index, v);
                    let time = self.state.read_back(now);
                    self.state.base = time - i128::from(self.clock.now());
                    self.state.seen = time;
                }
            }
            REG_A | REG_B => {
                let was_dividing = self.state.byte(REG_A) & 0x60 != 0x60;
                if index == REG_A {
                    self.state.put(REG_A, v & 0x7F);
                } else {
                    // Before the format bits change, so that the time is kept in the new format.
                    let clear = if v & B_SET != 0 { B_UIE } else { 0 };
                    let running = self.state.held.is_none();
                    self.state.put(REG_B, v & !clear);
                    if running {
                        let now = self.time();
                        self.state.show(now);
                    }
                }
                self.hold_or_run(was_dividing);
            }
            REG_C | REG_D => {}
            _ => self.state.put(index, v),
        }
        self.update();
    }
}

impl PortIo for Rtc {
    fn port_read(&mut self, offset: u16, data: &mut [u8]) {
        let value = match offset {
            1 => self.read(usize::from(self.state.index)),
            3 => self.read(usize::from(self.state.index_upper)),
            // The index registers are write only.
            _ => 0xFF,
        };
        data.fill(value);
    }

    fn port_write(&mut self, offset: u16, data: &[u8]) {
        let Some(&v) = data.first() else { return };
        match offset {
            // Bit 7 of port 0x70 is the NMI mask, outside the chip.
            0 => self.state.index = v & 0x7F,
            1 => self.write(usize::from(self.state.index), v),
            2 => self.state.index_upper = v & 0x7F,
            3 => self.write(usize::from(self.state.index_upper), v),
            _ => {}
        }
    }
}

impl Device for Rtc {
    fn name(&self) -> &str {
        "rtc"
    }

    /// The reset pin: interrupts off. Time and memory are kept by the battery.
    fn reset(&mut self) {
        let b = self.state.byte(REG_B) & !(B_PIE | B_AIE | B_UIE | B_SQWE);
        self.state.put(REG_B, b);
        self.state.put(REG_C, 0);
        self.state.index = 0;
        self.state.index_upper = 0;
        self.state.seen = self.time();
        self.timer.cancel();
        self.irq8.set(false);
        self.wake.set(false);
    }

    fn save(&self) -> Result<Vec<u8>, StateError> {
        save_state(self.name(), &self.state)
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), StateError> {
        let mut new: State = load_state(self.name(), bytes)?;
        // Times far outside what the registers can show would overflow the arithmetic.
        let limit = SECOND << 40;
        let sane = |t: i128| (-limit..=limit).contains(&t);
        if new.cmos.len() != CMOS_SIZE || !sane(new.base) || !sane(new.seen) || !new.held.is_none_or(sane) {
            return Err(StateError::Mismatch { device: "rtc".into(), reason: "memory size or time".into() });
        }
        new.index &= 0x7F;
        new.index_upper &= 0x7F;
        self.state = new;
        let c = self.state.byte(REG_C);
        self.irq8.import_level(c & C_IRQF != 0);
        self.wake.import_level(c & C_IRQF != 0);
        self.timer.cancel();
        if c & C_IRQF == 0 && self.state.held.is_none() {
            let enabled = self.state.byte(REG_B) & (B_PIE | B_AIE | B_UIE);
            self.arm(self.state.seen, enabled);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vm_core::RecordedLine;

    /// 2026-11-22 15:04:58 UTC, a Sunday.
    const START: i64 = 1_795_359_898;

    struct Bench {
        clock: Clock,
        rtc: Shared<Rtc>,
        irq: Arc<RecordedLine>,
    }

    impl Bench {
        fn new() -> Self {
            let clock = Clock::manual();
            clock.advance(5_000);
            let (irq, line) = RecordedLine::line();
            let rtc = Rtc::new(&clock, line, RtcBase::Date(START));
            Self { clock, rtc, irq }
        }
        fn rd(&self, i: u8) -> u8 {
            let mut r = lock(&self.rtc);
            r.port_write(0, &[i]);
            let mut d = [0];
            r.port_read(1, &mut d);
            d[0]
        }
        fn wr(&self, i: u8, v: u8) {
            let mut r = lock(&self.rtc);
            r.port_write(0, &[i]);
            r.port_write(1, &[v]);
        }
        fn sec(&self, ms: u64) {
            self.clock.advance(ms * 1_000_000);
        }
    }

    #[test]
    fn shows_the_time_in_every_format() {
        let b = Bench::new();
        let all = [9, 8, 7, 6, 4, 2, 0, 0x32];
        assert_eq!(all.map(|i| b.rd(i)), [0x26, 0x11, 0x22, 1, 0x15, 0x04, 0x58, 0x20]);
        b.wr(11, 0x00);
        assert_eq!(b.rd(4), 0x83, "3 PM");
        b.wr(11, 0x06);
        b.sec(2000);
        assert_eq!(all.map(|i| b.rd(i)), [26, 11, 22, 1, 15, 5, 0, 20]);
        assert_eq!(b.rd(13), 0x80);
    }

    #[test]
    fn calendar_is_gregorian() {
        for (t, y, m, d) in [(951_782_400, 2000, 2, 29), (4_107_542_400, 2100, 3, 1), (-1, 1969, 12, 31)] {
            let c = civil(t);
            assert_eq!((c.year, c.month, c.day), (y, m, d));
            assert_eq!(unix(&c), t);
        }
    }

    #[test]
    fn set_stops_the_clock_and_takes_new_time() {
        let b = Bench::new();
        b.wr(11, 0x82);
        b.sec(5000);
        assert_eq!(b.rd(0), 0x58);
        for (i, v) in [(9, 0x99), (0x32, 0x19), (8, 0x12), (7, 0x31), (4, 0x23), (2, 0x59), (0, 0x59)] {
            b.wr(i, v);
        }
        b.wr(11, 0x02);
        b.sec(1100);
        assert_eq!([9, 0x32, 8, 7, 4, 2, 0].map(|i| b.rd(i)), [0, 0x20, 1, 1, 0, 0, 0]);
    }

    #[test]
    fn update_in_progress_precedes_the_second() {
        let b = Bench::new();
        assert_eq!(b.rd(10), 0x26);
        b.clock.advance(1_000_000_000 - 1_000_000);
        assert_eq!((b.rd(10), b.rd(0)), (0xA6, 0x58));
        b.clock.advance(1_000_000);
        assert_eq!((b.rd(10), b.rd(0)), (0x26, 0x59));
    }

    #[test]
    fn periodic_interrupt_at_1024_hz() {
        let b = Bench::new();
        b.wr(11, 0x42);
        let mut n = 0;
        for _ in 0..10_000 {
            b.clock.advance(100_000);
            if b.irq.is_high() {
                assert_eq!(b.rd(12) & 0xC0, 0xC0);
                assert!(!b.irq.is_high());
                n += 1;
            }
        }
        assert_eq!(n, 1024);
    }

    #[test]
    fn update_and_alarm_interrupts() {
        let b = Bench::new();
        b.wr(11, 0x12);
        b.sec(999);
        assert!(!b.irq.is_high());
        b.sec(1);
        assert!(b.irq.is_high());
        assert_eq!(b.rd(12) & 0x90, 0x90);
        b.wr(11, 0x22);
        for (i, v) in [(1, 0x10), (3, 0xFF), (5, 0x15)] {
            b.wr(i, v);
        }
        b.sec(10_000);
        assert!(!b.irq.is_high());
        b.sec(1000);
        assert!(b.irq.is_high());
        assert_eq!(b.rd(12) & 0xA0, 0xA0);
    }

    #[test]
    fn flags_come_without_interrupts() {
        let b = Bench::new();
        b.rd(12);
        b.sec(1000);
        assert_eq!(b.rd(12), 0x50);
        assert!(!b.irq.is_high());
    }

    #[test]
    fn divider_reset_starts_half_a_second_before_the_update() {
        let b = Bench::new();
        b.wr(10, 0x76);
        b.sec(3000);
        b.wr(10, 0x26);
        b.sec(499);
        assert_eq!(b.rd(0), 0x58);
        b.sec(2);
        assert_eq!(b.rd(0), 0x59);
    }

    #[test]
    fn cmos_for_a_2_gib_machine() {
        let b = Bench::new();
        let disk = CmosDisk { cylinders: 1024, heads: 16, sectors: 63, translation: 1 };
        lock(&b.rtc).preset(&CmosSetup {
            ram_below_4g: 2 << 30,
            ram_above_4g: 1 << 30,
            boot_order: [2, 3, 1],
            floppy_signature_check: true,
            floppies: [4, 0],
            disks: [Some(disk), None],
            cpus: 2,
        });
        let at = |i: u8| b.rd(i);
        assert_eq!([0x15, 0x16, 0x17, 0x18].map(at), [0x80, 0x02, 0xFF, 0xFF]);
        assert_eq!([0x34, 0x35].map(at), [0x00, 0x7F]);
        assert_eq!([0x5B, 0x5C, 0x5D, 0x5F].map(at), [0x00, 0x40, 0x00, 1]);
        assert_eq!([0x3D, 0x38, 0x10, 0x14, 0x12].map(at), [0x32, 0x10, 0x40, 0x07, 0xF0]);
        assert_eq!([0x19, 0x1B, 0x1C, 0x1D, 0x23, 0x39].map(at), [47, 0, 4, 16, 63, 1]);
        let mut r = lock(&b.rtc);
        r.port_write(2, &[0x5F]);
        let mut d = [0];
        r.port_read(3, &mut d);
        assert_eq!(d, [1]);
    }

    #[test]
    fn save_reset_restore() {
        let b = Bench::new();
        b.wr(11, 0x42);
        b.wr(0x40, 0xAB);
        crate::test_util::round_trip(&mut *lock(&b.rtc));
        b.sec(1);
        assert!(b.irq.is_high());
        lock(&b.rtc).reset();
        assert_eq!((b.rd(0x40), b.irq.is_high()), (0xAB, false));
    }
}
