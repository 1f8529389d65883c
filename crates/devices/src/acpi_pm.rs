//! ACPI fixed hardware of the PIIX4: PM1a event and control blocks, power management timer, GPE0 block, the APM
//! command ports, and the SMBus host controller.
//!
//! Intel 82371AB (PIIX4) data sheet, section 7; ACPI specification 6.5, section 4.8. There is no SMM here: the
//! commands that would enter it to switch ACPI mode ([`ACPI_ENABLE`], [`ACPI_DISABLE`]) set SCI_EN directly.
//!
//! S3 suspends to RAM and [`AcpiPm::wake`] says afterwards what woke the machine; S4 is power off that programs hear
//! of. Left out on purpose: S1 and S2 (the tables offer none), clock throttling (PCNTRL is kept and
//! without effect), device monitors (their status registers read 0), and SMIs. The SMBus has no device on it, so
//! every transaction ends in DEV_ERR.

use std::sync::{Arc, Mutex, Weak};

use serde::{Deserialize, Serialize};
use vm_core::{
    Clock, Device, GuestWarnings, IrqLine, MachineRequest, PortIo, PortSpace, RequestSink, Shared, SpaceError,
    StateError, Timer, WakeCause, load_state, lock, save_state, shared,
};

/// Frequency of the power management timer in Hz.
pub const PM_TIMER_HZ: u64 = 3_579_545;
/// Length of the relocatable register block.
pub const PM_LEN: u16 = 64;
/// Where the GPE0 block is.
pub const GPE0_BASE: u16 = 0xAFE0;
/// Length of the GPE0 block: two bytes status, two bytes enable.
pub const GPE0_LEN: u16 = 4;
/// The APM command port (FADT SMI_CMD); the status port follows.
pub const APM_BASE: u16 = 0xB2;
/// Command that switches ACPI mode on (FADT ACPI_ENABLE).
pub const ACPI_ENABLE: u8 = 0xF1;
/// Command that switches ACPI mode off (FADT ACPI_DISABLE).
pub const ACPI_DISABLE: u8 = 0xF0;
/// SLP_TYP of S5 for the tables' `\_S5`.
pub const SLP_TYP_S5: u8 = 0;
/// SLP_TYP of S3.
pub const SLP_TYP_S3: u8 = 1;
/// SLP_TYP of S4.
pub const SLP_TYP_S4: u8 = 2;
/// Length of the SMBus register block.
pub const SMBUS_LEN: u16 = 16;

const TMR: u16 = 1 << 0;
const GBL: u16 = 1 << 5;
const PWRBTN: u16 = 1 << 8;
const RTC: u16 = 1 << 10;
const WAK: u16 = 1 << 15;
const STATUS_BITS: u16 = TMR | 1 << 4 | GBL | PWRBTN | RTC | WAK;
const ENABLE_BITS: u16 = TMR | GBL | PWRBTN | RTC;

const SCI_EN: u16 = 1 << 0;
const SLP_EN: u16 = 1 << 13;
const CONTROL_BITS: u16 = 0x1C03;

fn with_byte(value: u16, high: bool, byte: u8) -> u16 {
    let [l, h] = value.to_le_bytes();
    if high { u16::from_le_bytes([l, byte]) } else { u16::from_le_bytes([byte, h]) }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    pm1_status: u16,
    pm1_enable: u16,
    pm1_control: u16,
    gpe_status: u16,
    gpe_enable: u16,
    pcntrl: u32,
    apm_control: u8,
    apm_status: u8,
    /// PM timer ticks up to which the overflow status has been worked out.
    seen: u64,
}

impl State {
    fn at_reset(now: u64) -> Self {
        Self {
            pm1_status: 0,
            pm1_enable: 0,
            pm1_control: 0,
            gpe_status: 0,
            gpe_enable: 0,
            pcntrl: 0,
            apm_control: 0,
            apm_status: 0,
            seen: now,
        }
    }

    fn sci(&self) -> bool {
        let event = self.pm1_status & self.pm1_enable & ENABLE_BITS | self.gpe_status & self.gpe_enable;
        self.pm1_control & SCI_EN != 0 && event != 0
    }
}

/// The PM block. Registers of [`PM_LEN`] ports, whole accesses, at the base that PCI function 3 gives (0x600 by
/// firmware's habit); see [`PlacedPorts`]. Other blocks: [`AcpiPm::gpe_ports`], [`AcpiPm::apm_ports`].
pub struct AcpiPm {
    state: State,
    clock: Clock,
    sci: IrqLine,
    requests: Arc<dyn RequestSink>,
    timer: Timer,
}

impl AcpiPm {
    /// A block on `clock` that drives `sci` (IRQ 9, level) and powers off through `requests`.
    pub fn new(clock: &Clock, sci: IrqLine, requests: Arc<dyn RequestSink>) -> Shared<Self> {
        Arc::new_cyclic(|weak: &Weak<Mutex<Self>>| {
            let weak = weak.clone();
            let timer = clock.timer("acpi-pm", move || {
                if let Some(pm) = weak.upgrade() {
                    lock(&pm).update();
                }
            });
            let mut pm = Self { state: State::at_reset(0), clock: clock.clone(), sci, requests, timer };
            pm.state.seen = pm.ticks();
            Mutex::new(pm)
        })
    }

    /// The GPE0 block, for [`GPE0_LEN`] ports at [`GPE0_BASE`] (byte wide).
    pub fn gpe_ports(pm: &Shared<Self>) -> Shared<GpePorts> {
        shared(GpePorts { pm: pm.clone() })
    }

    /// The APM command and status ports, two at [`APM_BASE`] (byte wide).
    pub fn apm_ports(pm: &Shared<Self>) -> Shared<ApmPorts> {
        shared(ApmPorts { pm: pm.clone() })
    }

    /// The power button is pressed.
    pub fn press_power_button(&mut self) {
        self.state.pm1_status |= PWRBTN;
        self.update();
    }

    /// Whether the alarm of the real-time clock wakes the machine.
    pub fn wakes_by_rtc(&self) -> bool {
        self.state.pm1_enable & RTC != 0
    }

    /// After the reset that waking up is: says what woke the machine.
    pub fn woken(&mut self, cause: WakeCause) {
        self.state.pm1_status |= WAK
            | match cause {
                WakeCause::Rtc => RTC,
                WakeCause::PowerButton => PWRBTN,
                WakeCause::Other => 0,
            };
        self.update();
    }

    /// Raises general purpose event `bit` (0 to 15), for hot plug.
    pub fn raise_gpe(&mut self, bit: u8) {
        self.state.gpe_status |= 1u16.checked_shl(bit.into()).unwrap_or(0);
        self.update();
    }

    /// Whether the guest has switched ACPI mode on.
    pub fn is_acpi_enabled(&self) -> bool {
        self.state.pm1_control & SCI_EN != 0
    }

    fn ticks(&self) -> u64 {
        (u128::from(self.clock.now()) * u128::from(PM_TIMER_HZ) / 1_000_000_000) as u64
    }

    /// Works out the timer status (bit 23 changed), drives SCI, and sets the timer if an overflow is to interrupt.
    fn update(&mut self) {
        let now = self.ticks();
        let s = &mut self.state;
        if now >> 23 != s.seen >> 23 {
            s.pm1_status |= TMR;
        }
        s.seen = now;
        self.sci.set(s.sci());
        if s.pm1_enable & TMR != 0 && s.pm1_status & TMR == 0 && s.pm1_control & SCI_EN != 0 {
            let next = u128::from((now >> 23) + 1) << 23;
            self.timer.set((next * 1_000_000_000).div_ceil(u128::from(PM_TIMER_HZ)) as u64);
        } else {
            self.timer.cancel();
        }
    }

    fn sleep(&mut self) {
        static WARN: GuestWarnings = GuestWarnings::new(4);
        let kind = (self.state.pm1_control >> 10 & 7) as u8;
        match kind {
            SLP_TYP_S5 => self.requests.request(MachineRequest::PowerOff("ACPI S5")),
            SLP_TYP_S3 => self.requests.request(MachineRequest::Suspend),
            SLP_TYP_S4 => self.requests.request(MachineRequest::SuspendToDisk),
            _ => WARN.warn(|| format!("acpi: sleep type {kind} is not supported and ignored")),
        }
    }

    fn read_byte(&self, offset: u16) -> u8 {
        let s = &self.state;
        let word = |v: u16| v.to_le_bytes()[usize::from(offset & 1)];
        match offset {
            0 | 1 => word(s.pm1_status),
            2 | 3 => word(s.pm1_enable),
            4 | 5 => word(s.pm1_control),
            0x10..=0x13 => s.pcntrl.to_le_bytes()[usize::from(offset & 3)],
            _ => 0,
        }
    }

    fn write_byte(&mut self, offset: u16, v: u8) {
        let high = offset & 1 != 0;
        let s = &mut self.state;
        match offset {
            0 | 1 => s.pm1_status &= !with_byte(0, high, v),
            2 | 3 => s.pm1_enable = with_byte(s.pm1_enable, high, v) & ENABLE_BITS,
            4 | 5 => {
                let new = with_byte(s.pm1_control, high, v);
                s.pm1_control = new & CONTROL_BITS;
                if new & SLP_EN != 0 {
                    self.sleep();
                }
            }
            0x10..=0x13 => {
                let mut bytes = s.pcntrl.to_le_bytes();
                bytes[usize::from(offset & 3)] = v;
                s.pcntrl = u32::from_le_bytes(bytes) & 0x3E1E;
            }
            _ => {}
        }
    }
}

impl PortIo for AcpiPm {
    fn port_read(&mut self, offset: u16, data: &mut [u8]) {
        self.update();
        let timer = (self.state.seen as u32 & 0xFF_FFFF).to_le_bytes();
        for (i, d) in data.iter_mut().enumerate() {
            let at = offset.wrapping_add(i as u16);
            *d = match at {
                8..=11 => timer[usize::from(at - 8)],
                _ => self.read_byte(at),
            };
        }
    }

    fn port_write(&mut self, offset: u16, data: &[u8]) {
        self.update();
        for (i, v) in data.iter().enumerate() {
            self.write_byte(offset.wrapping_add(i as u16), *v);
        }
        self.update();
    }
}

impl Device for AcpiPm {
    fn name(&self) -> &str {
        "acpi-pm"
    }

    fn reset(&mut self) {
        self.state = State::at_reset(self.ticks());
        self.update();
    }

    fn save(&self) -> Result<Vec<u8>, StateError> {
        save_state(self.name(), &self.state)
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), StateError> {
        let mut new: State = load_state(self.name(), bytes)?;
        new.pm1_status &= STATUS_BITS;
        new.pm1_enable &= ENABLE_BITS;
        new.pm1_control &= CONTROL_BITS;
        self.sci.import_level(new.sci());
        self.state = new;
        self.update();
        Ok(())
    }
}

/// See [`AcpiPm::gpe_ports`].
pub struct GpePorts {
    pm: Shared<AcpiPm>,
}

impl PortIo for GpePorts {
    fn port_read(&mut self, offset: u16, data: &mut [u8]) {
        let pm = lock(&self.pm);
        let value = if offset < 2 { pm.state.gpe_status } else { pm.state.gpe_enable };
        data.fill(value.to_le_bytes()[usize::from(offset & 1)]);
    }

    fn port_write(&mut self, offset: u16, data: &[u8]) {
        let Some(&v) = data.first() else { return };
        let mut pm = lock(&self.pm);
        let high = offset & 1 != 0;
        if offset < 2 {
            pm.state.gpe_status &= !with_byte(0, high, v);
        } else {
            pm.state.gpe_enable = with_byte(pm.state.gpe_enable, high, v);
        }
        pm.update();
    }
}

/// See [`AcpiPm::apm_ports`].
pub struct ApmPorts {
    pm: Shared<AcpiPm>,
}

impl PortIo for ApmPorts {
    fn port_read(&mut self, offset: u16, data: &mut [u8]) {
        let pm = lock(&self.pm);
        data.fill(if offset == 0 { pm.state.apm_control } else { pm.state.apm_status });
    }

    fn port_write(&mut self, offset: u16, data: &[u8]) {
        let Some(&v) = data.first() else { return };
        let mut pm = lock(&self.pm);
        if offset != 0 {
            pm.state.apm_status = v;
            return;
        }
        pm.state.apm_control = v;
        match v {
            ACPI_ENABLE => pm.state.pm1_control |= SCI_EN,
            ACPI_DISABLE => pm.state.pm1_control &= !SCI_EN,
            _ => {}
        }
        pm.update();
    }
}

/// Ports of a device at a base that something else (a PCI function's configuration space) decides.
pub struct PlacedPorts<T: PortIo + 'static> {
    ports: Arc<PortSpace>,
    name: String,
    len: u16,
    byte_wide: bool,
    device: Shared<T>,
    base: Option<u16>,
}

impl<T: PortIo + 'static> PlacedPorts<T> {
    /// `len` ports of `device`, not yet anywhere.
    pub fn new(ports: &Arc<PortSpace>, name: &str, len: u16, byte_wide: bool, device: &Shared<T>) -> Self {
        Self { ports: ports.clone(), name: name.into(), len, byte_wide, device: device.clone(), base: None }
    }

    /// Moves the ports to `base`, or away when not enabled. Takes only the port space's own lock.
    ///
    /// # Errors
    /// When other ports are in the way; these are nowhere then.
    pub fn place(&mut self, base: u16, enabled: bool) -> Result<(), SpaceError> {
        let wanted = enabled.then_some(base);
        if self.base == wanted {
            return Ok(());
        }
        if let Some(old) = self.base.take() {
            self.ports.remove(old, &self.name);
        }
        if let Some(base) = wanted {
            self.ports.add(base, self.len, &self.name, self.byte_wide, &self.device)?;
            self.base = Some(base);
        }
        Ok(())
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct SmbusState {
    status: u8,
    slave_status: u8,
    /// Registers 2 to 15 as written; the slave's and the shadow ones do nothing.
    registers: [u8; 16],
}

/// The SMBus host controller of PCI function 3: [`SMBUS_LEN`] ports, byte wide, at the base that its configuration
/// space gives (0xB100 by firmware's habit).
pub struct Smbus {
    state: SmbusState,
}

const SMB_DEV_ERR: u8 = 0x04;
const SMB_FAILED: u8 = 0x10;

impl Smbus {
    /// A controller with nothing on its bus.
    pub fn new() -> Shared<Self> {
        shared(Self { state: SmbusState { status: 0, slave_status: 0, registers: [0; 16] } })
    }
}

impl PortIo for Smbus {
    fn port_read(&mut self, offset: u16, data: &mut [u8]) {
        let s = &self.state;
        data.fill(match offset {
            0 => s.status,
            1 => s.slave_status,
            // START reads as 0.
            2 => s.registers[2] & 0x1F,
            n => s.registers.get(usize::from(n)).copied().unwrap_or(0),
        });
    }

    fn port_write(&mut self, offset: u16, data: &[u8]) {
        let Some(&v) = data.first() else { return };
        let s = &mut self.state;
        match offset {
            0 => s.status &= !(v & 0x1E),
            1 => s.slave_status &= !v,
            n => {
                if let Some(r) = s.registers.get_mut(usize::from(n)) {
                    *r = v;
                }
                if n == 2 && v & 0x02 != 0 {
                    s.status |= SMB_FAILED;
                } else if n == 2 && v & 0x40 != 0 {
                    s.status |= SMB_DEV_ERR;
                }
            }
        }
    }
}

impl Device for Smbus {
    fn name(&self) -> &str {
        "smbus"
    }

    fn reset(&mut self) {
        self.state = SmbusState { status: 0, slave_status: 0, registers: [0; 16] };
    }

    fn save(&self) -> Result<Vec<u8>, StateError> {
        save_state(self.name(), &self.state)
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), StateError> {
        self.state = load_state(self.name(), bytes)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_util::Requests;
    use vm_core::RecordedLine;

    struct Bench {
        clock: Clock,
        ports: Arc<PortSpace>,
        pm: Shared<AcpiPm>,
        sci: Arc<RecordedLine>,
        requests: Arc<Requests>,
    }

    impl Bench {
        fn new() -> Self {
            let clock = Clock::manual();
            let (sci, line) = RecordedLine::line();
            let requests = Arc::new(Requests::default());
            let pm = AcpiPm::new(&clock, line, requests.clone());
            let ports = PortSpace::new();
            PlacedPorts::new(&ports, "pm", PM_LEN, false, &pm).place(0x600, true).unwrap();
            ports.add(GPE0_BASE, GPE0_LEN, "gpe0", true, &AcpiPm::gpe_ports(&pm)).unwrap();
            ports.add(APM_BASE, 2, "apm", true, &AcpiPm::apm_ports(&pm)).unwrap();
            Self { clock, ports, pm, sci, requests }
        }
        fn inw(&self, port: u16) -> u16 {
            let mut d = [0; 2];
            self.ports.read(port, &mut d);
            u16::from_le_bytes(d)
        }
        fn outw(&self, port: u16, v: u16) {
            self.ports.write(port, &v.to_le_bytes());
        }
        fn timer(&self) -> u32 {
            let mut d = [0; 4];
            self.ports.read(0x608, &mut d);
            u32::from_le_bytes(d)
        }
    }

    #[test]
    fn acpi_mode_and_power_button() {
        let b = Bench::new();
        b.outw(0x602, PWRBTN);
        lock(&b.pm).press_power_button();
        assert!(!b.sci.is_high(), "ACPI mode is off");
        b.ports.write(0xB2, &[ACPI_ENABLE]);
        assert_eq!(b.inw(0x604), 1);
        assert!(b.sci.is_high());
        b.outw(0x600, PWRBTN);
        assert!(!b.sci.is_high());
        assert_eq!(b.inw(0x600), 0);
        b.ports.write(0xB2, &[ACPI_DISABLE]);
        assert_eq!(b.inw(0x604), 0);
        b.outw(0xB2, 0x1234);
        assert_eq!(b.inw(0xB2), 0x1234);
    }

    #[test]
    fn soft_off_and_other_sleep_types() {
        let b = Bench::new();
        b.outw(0x604, 0x2C01);
        assert_eq!(b.requests.take(), []);
        b.outw(0x604, 0x2401);
        assert_eq!(b.requests.take(), [MachineRequest::Suspend]);
        b.outw(0x604, 0x2801);
        assert_eq!(b.requests.take(), [MachineRequest::SuspendToDisk]);
        b.outw(0x604, 0x2001);
        assert_eq!(b.requests.take(), [MachineRequest::PowerOff("ACPI S5")]);
        assert_eq!(b.inw(0x604), 1, "SLP_EN reads 0");
    }

    #[test]
    fn waking_says_why() {
        let b = Bench::new();
        b.outw(0x602, RTC);
        assert!(lock(&b.pm).wakes_by_rtc());
        lock(&b.pm).wake();
        assert!(!lock(&b.pm).wakes_by_rtc());
        for (cause, bits) in
            [(WakeCause::Rtc, WAK | RTC), (WakeCause::PowerButton, WAK | PWRBTN), (WakeCause::Other, WAK)]
        {
            lock(&b.pm).woken(cause);
            assert_eq!(b.inw(0x600), bits);
            b.outw(0x600, 0xFFFF);
            assert_eq!(b.inw(0x600), 0);
        }
    }

    #[test]
    fn the_timer_counts_24_bits_and_overflows_interrupt() {
        let b = Bench::new();
        b.clock.advance(1_000_000_000);
        assert_eq!(b.timer(), 3_579_545);
        b.outw(0x602, TMR);
        b.ports.write(0xB2, &[ACPI_ENABLE]);
        b.clock.advance(1_343_000_000);
        assert!(!b.sci.is_high());
        b.clock.advance(1_000_000);
        assert!(b.sci.is_high(), "2^23 ticks");
        b.outw(0x600, TMR);
        assert!(!b.sci.is_high());
        b.clock.advance(2_344_000_000);
        assert!(b.sci.is_high());
        assert!(b.timer() < 20_000, "wrapped at 2^24");
    }

    #[test]
    fn general_purpose_events() {
        let b = Bench::new();
        b.ports.write(0xB2, &[ACPI_ENABLE]);
        b.outw(0xAFE2, 0x0002);
        lock(&b.pm).raise_gpe(1);
        assert!(b.sci.is_high());
        assert_eq!(b.inw(0xAFE0), 2);
        b.outw(0xAFE0, 2);
        assert!(!b.sci.is_high());
    }

    #[test]
    fn placing_moves_and_refuses() {
        let b = Bench::new();
        let smbus = Smbus::new();
        let mut placed = PlacedPorts::new(&b.ports, "smbus", SMBUS_LEN, true, &smbus);
        assert!(placed.place(0x610, true).is_err());
        placed.place(0xB100, true).unwrap();
        b.ports.write(0xB102, &[0x48]);
        assert_eq!(b.inw(0xB100) & 0xFF, u16::from(SMB_DEV_ERR));
        b.ports.write(0xB100, &[0xFF]);
        assert_eq!(b.inw(0xB100), 0);
        placed.place(0xB100, false).unwrap();
        assert_eq!(b.inw(0xB100), 0xFFFF);
        lock(&smbus).port_write(4, &[0xA1]);
        crate::test_util::round_trip(&mut *lock(&smbus));
    }

    #[test]
    fn save_reset_restore() {
        let b = Bench::new();
        b.ports.write(0xB2, &[ACPI_ENABLE]);
        b.outw(0x602, PWRBTN);
        lock(&b.pm).press_power_button();
        crate::test_util::round_trip(&mut *lock(&b.pm));
        assert_eq!(b.inw(0x600), PWRBTN);
    }
}
