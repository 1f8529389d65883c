//! Register values (`WHV_REGISTER_VALUE`): 128 bits and the views of them.

/// A register's value: 128 bits, little-endian views of which are the typed ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct RegisterValue(pub u128);

impl RegisterValue {
    /// `Reg64`.
    pub const fn u64(self) -> u64 {
        self.0 as u64
    }
    /// `Reg32`.
    pub const fn u32(self) -> u32 {
        self.0 as u32
    }
    /// The upper 64 bits.
    pub const fn high64(self) -> u64 {
        (self.0 >> 64) as u64
    }
    /// From two halves.
    pub const fn from_halves(low: u64, high: u64) -> Self {
        Self(low as u128 | (high as u128) << 64)
    }
    /// The bytes as they lie in memory.
    pub const fn bytes(self) -> [u8; 16] {
        self.0.to_le_bytes()
    }
    /// `Segment`.
    pub const fn segment(self) -> SegmentRegister {
        let hi = self.high64();
        SegmentRegister {
            base: self.u64(),
            limit: hi as u32,
            selector: (hi >> 32) as u16,
            attributes: (hi >> 48) as u16,
        }
    }
    /// `Table`.
    pub const fn table(self) -> TableRegister {
        TableRegister { limit: (self.0 >> 48) as u16, base: self.high64() }
    }
    /// `FpControlStatus`.
    pub const fn fp_control_status(self) -> FpControlStatus {
        let lo = self.u64();
        FpControlStatus {
            fp_control: lo as u16,
            fp_status: (lo >> 16) as u16,
            fp_tag: (lo >> 32) as u8,
            last_fp_op: (lo >> 48) as u16,
            last_fp_rip: self.high64(),
        }
    }
    /// `XmmControlStatus`.
    pub const fn xmm_control_status(self) -> XmmControlStatus {
        let hi = self.high64();
        XmmControlStatus {
            last_fp_rdp: self.u64(),
            xmm_status_control: hi as u32,
            xmm_status_control_mask: (hi >> 32) as u32,
        }
    }
    /// `InterruptState`.
    pub const fn interrupt_state(self) -> InterruptState {
        InterruptState { interrupt_shadow: self.0 & 1 != 0, nmi_masked: self.0 & 2 != 0 }
    }
    /// `PendingInterruption`.
    pub const fn pending_interruption(self) -> PendingInterruption {
        let v = self.u64();
        PendingInterruption {
            pending: v & 1 != 0,
            kind: (v >> 1 & 7) as u8,
            deliver_error_code: v >> 4 & 1 != 0,
            instruction_length: (v >> 5 & 15) as u8,
            nested: v >> 9 & 1 != 0,
            vector: (v >> 16) as u16,
            error_code: (v >> 32) as u32,
        }
    }
    /// `ExceptionEvent` or `ExtIntEvent`, told apart by the event type.
    pub const fn pending_event(self) -> PendingEvent {
        let v = self.u64();
        if v & 1 == 0 {
            return PendingEvent::None;
        }
        match (v >> 1 & 7) as u8 {
            PendingEvent::EXCEPTION => PendingEvent::Exception {
                vector: (v >> 16) as u16,
                error_code: if v >> 8 & 1 != 0 { Some((v >> 32) as u32) } else { None },
                parameter: self.high64(),
            },
            PendingEvent::EXT_INT => PendingEvent::ExtInt { vector: (v >> 8) as u8 },
            _ => PendingEvent::Other(self.0),
        }
    }
    /// `DeliverabilityNotifications`.
    pub const fn deliverability_notifications(self) -> DeliverabilityNotifications {
        let v = self.u64();
        DeliverabilityNotifications {
            nmi: v & 1 != 0,
            interrupt: v & 2 != 0,
            interrupt_priority: (v >> 2 & 15) as u8,
            sint: (v >> 48) as u16,
        }
    }
    /// `InternalActivity`.
    pub const fn internal_activity(self) -> InternalActivity {
        InternalActivity {
            startup_suspend: self.0 & 1 != 0,
            halt_suspend: self.0 & 2 != 0,
            idle_suspend: self.0 & 4 != 0,
        }
    }
}

macro_rules! from_int {
    ($($t:ty),*) => {$(
        impl From<$t> for RegisterValue {
            fn from(v: $t) -> Self { Self(v as u128) }
        }
    )*};
}
from_int!(u8, u16, u32, u64, u128);

/// `WHV_X64_SEGMENT_REGISTER`. `attributes`: type 3:0, S 4, DPL 6:5, P 7, AVL 12, L 13, D/B 14, G 15. `limit` is in
/// bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[allow(missing_docs)]
pub struct SegmentRegister {
    pub base: u64,
    pub limit: u32,
    pub selector: u16,
    pub attributes: u16,
}

impl From<SegmentRegister> for RegisterValue {
    fn from(s: SegmentRegister) -> Self {
        let high = u64::from(s.limit) | u64::from(s.selector) << 32 | u64::from(s.attributes) << 48;
        Self::from_halves(s.base, high)
    }
}

/// `WHV_X64_TABLE_REGISTER`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub struct TableRegister {
    pub limit: u16,
    pub base: u64,
}

impl From<TableRegister> for RegisterValue {
    fn from(t: TableRegister) -> Self {
        Self::from_halves(u64::from(t.limit) << 48, t.base)
    }
}

/// `WHV_X64_FP_CONTROL_STATUS_REGISTER`; the tag is the abridged one (FXSAVE's).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub struct FpControlStatus {
    pub fp_control: u16,
    pub fp_status: u16,
    pub fp_tag: u8,
    pub last_fp_op: u16,
    /// 64-bit form; the 32-bit form has FIP in bits 31:0 and FCS in bits 47:32.
    pub last_fp_rip: u64,
}

impl From<FpControlStatus> for RegisterValue {
    fn from(f: FpControlStatus) -> Self {
        let low = u64::from(f.fp_control)
            | u64::from(f.fp_status) << 16
            | u64::from(f.fp_tag) << 32
            | u64::from(f.last_fp_op) << 48;
        Self::from_halves(low, f.last_fp_rip)
    }
}

/// `WHV_X64_XMM_CONTROL_STATUS_REGISTER`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub struct XmmControlStatus {
    /// 64-bit form; the 32-bit form has FDP in bits 31:0 and FDS in bits 47:32.
    pub last_fp_rdp: u64,
    /// MXCSR.
    pub xmm_status_control: u32,
    pub xmm_status_control_mask: u32,
}

impl From<XmmControlStatus> for RegisterValue {
    fn from(x: XmmControlStatus) -> Self {
        Self::from_halves(x.last_fp_rdp, u64::from(x.xmm_status_control) | u64::from(x.xmm_status_control_mask) << 32)
    }
}

/// `WHV_X64_INTERRUPT_STATE_REGISTER`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub struct InterruptState {
    pub interrupt_shadow: bool,
    pub nmi_masked: bool,
}

impl From<InterruptState> for RegisterValue {
    fn from(s: InterruptState) -> Self {
        Self(u128::from(s.interrupt_shadow) | u128::from(s.nmi_masked) << 1)
    }
}

/// `WHV_X64_PENDING_INTERRUPTION_REGISTER`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub struct PendingInterruption {
    pub pending: bool,
    /// [`PendingInterruption::INTERRUPT`], [`PendingInterruption::NMI`] or [`PendingInterruption::EXCEPTION`].
    pub kind: u8,
    pub deliver_error_code: bool,
    pub instruction_length: u8,
    pub nested: bool,
    pub vector: u16,
    pub error_code: u32,
}

impl PendingInterruption {
    /// `WHvX64PendingInterrupt`.
    pub const INTERRUPT: u8 = 0;
    /// `WHvX64PendingNmi`.
    pub const NMI: u8 = 2;
    /// `WHvX64PendingException`.
    pub const EXCEPTION: u8 = 3;

    /// An external interrupt.
    pub fn interrupt(vector: u8) -> Self {
        Self { pending: true, kind: Self::INTERRUPT, vector: vector.into(), ..Self::default() }
    }
    /// An NMI.
    pub fn nmi() -> Self {
        Self { pending: true, kind: Self::NMI, vector: 2, ..Self::default() }
    }
    /// An exception.
    pub fn exception(vector: u8, error: Option<u32>) -> Self {
        Self {
            pending: true,
            kind: Self::EXCEPTION,
            vector: vector.into(),
            deliver_error_code: error.is_some(),
            error_code: error.unwrap_or(0),
            ..Self::default()
        }
    }
}

impl From<PendingInterruption> for RegisterValue {
    fn from(p: PendingInterruption) -> Self {
        Self::from(
            u64::from(p.pending)
                | u64::from(p.kind & 7) << 1
                | u64::from(p.deliver_error_code) << 4
                | u64::from(p.instruction_length & 15) << 5
                | u64::from(p.nested) << 9
                | u64::from(p.vector) << 16
                | u64::from(p.error_code) << 32,
        )
    }
}

/// `WHV_X64_PENDING_EXCEPTION_EVENT` and `WHV_X64_PENDING_EXT_INT_EVENT`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum PendingEvent {
    /// Nothing is pending.
    #[default]
    None,
    /// An exception; `parameter` is CR2 for #PF.
    Exception { vector: u16, error_code: Option<u32>, parameter: u64 },
    /// An interrupt from the 8259 pair, acknowledged by the caller.
    ExtInt { vector: u8 },
    /// Another kind, as it is.
    Other(u128),
}

impl PendingEvent {
    /// `WHvX64PendingEventException`.
    pub const EXCEPTION: u8 = 0;
    /// `WHvX64PendingEventExtInt`.
    pub const EXT_INT: u8 = 5;
}

impl From<PendingEvent> for RegisterValue {
    fn from(e: PendingEvent) -> Self {
        match e {
            PendingEvent::None => Self(0),
            PendingEvent::Exception { vector, error_code, parameter } => Self::from_halves(
                1 | u64::from(PendingEvent::EXCEPTION) << 1
                    | u64::from(error_code.is_some()) << 8
                    | u64::from(vector) << 16
                    | u64::from(error_code.unwrap_or(0)) << 32,
                parameter,
            ),
            PendingEvent::ExtInt { vector } => {
                Self::from(1 | u64::from(PendingEvent::EXT_INT) << 1 | u64::from(vector) << 8)
            }
            PendingEvent::Other(v) => Self(v),
        }
    }
}

/// `WHV_X64_DELIVERABILITY_NOTIFICATIONS_REGISTER`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub struct DeliverabilityNotifications {
    pub nmi: bool,
    pub interrupt: bool,
    /// Only when the task priority is below this class; 0: any interrupt.
    pub interrupt_priority: u8,
    pub sint: u16,
}

impl From<DeliverabilityNotifications> for RegisterValue {
    fn from(d: DeliverabilityNotifications) -> Self {
        Self::from(
            u64::from(d.nmi)
                | u64::from(d.interrupt) << 1
                | u64::from(d.interrupt_priority & 15) << 2
                | u64::from(d.sint) << 48,
        )
    }
}

/// `WHV_INTERNAL_ACTIVITY_REGISTER`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub struct InternalActivity {
    /// Waits for a SIPI.
    pub startup_suspend: bool,
    /// Halted by HLT.
    pub halt_suspend: bool,
    pub idle_suspend: bool,
}

impl From<InternalActivity> for RegisterValue {
    fn from(a: InternalActivity) -> Self {
        Self(u128::from(a.startup_suspend) | u128::from(a.halt_suspend) << 1 | u128::from(a.idle_suspend) << 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typed_views_survive_the_round_trip() {
        let s = SegmentRegister { base: 0xFFFF_0000, limit: 0xFFFF, selector: 0xF000, attributes: 0x9B };
        assert_eq!(RegisterValue::from(s).segment(), s);
        let t = TableRegister { limit: 0x3FF, base: 0x1234_5678_9ABC };
        assert_eq!(RegisterValue::from(t).table(), t);
        assert_eq!(RegisterValue::from(t).u64(), 0x03FF_0000_0000_0000, "three pad words come before the limit");
        let f = FpControlStatus { fp_control: 0x37F, fp_status: 0x3800, fp_tag: 0x80, last_fp_op: 5, last_fp_rip: 9 };
        assert_eq!(RegisterValue::from(f).fp_control_status(), f);
        let x = XmmControlStatus { last_fp_rdp: 7, xmm_status_control: 0x1F80, xmm_status_control_mask: 0xFFFF };
        assert_eq!(RegisterValue::from(x).xmm_control_status(), x);
        let p = PendingInterruption::exception(14, Some(2));
        assert_eq!(RegisterValue::from(p).pending_interruption(), p);
        assert_eq!(RegisterValue::from(PendingInterruption::interrupt(0x30)).u64(), 0x30_0001);
        let e = PendingEvent::ExtInt { vector: 8 };
        assert_eq!(RegisterValue::from(e).pending_event(), e);
        assert_eq!(RegisterValue::from(e).u64(), 0x80B);
        let e = PendingEvent::Exception { vector: 13, error_code: Some(0), parameter: 3 };
        assert_eq!(RegisterValue::from(e).pending_event(), e);
        let d = DeliverabilityNotifications { nmi: false, interrupt: true, interrupt_priority: 3, sint: 0 };
        assert_eq!(RegisterValue::from(d).deliverability_notifications(), d);
        let a = InternalActivity { startup_suspend: true, halt_suspend: false, idle_suspend: true };
        assert_eq!(RegisterValue::from(a).internal_activity(), a);
    }
}
