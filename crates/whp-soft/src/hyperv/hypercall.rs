//! The hypercall interface: where input and output are, which forms a call has, the status (TLFS, "Hypercall
//! Interface"). What the calls do is in `calls.rs`.
//!
//! Input and output lie in guest memory or, in the fast form, in general and XMM registers. No call here takes long,
//! so none is continued: a rep call is done or has failed when the guest's instruction ends.

use cpu_x86::{Cpu, Mode};
use guest_memory::PAGE_SIZE;
use whp::{MapGpaRangeFlags, SyntheticProcessorFeatures as F};

use super::calls::{self, CALLS};
use crate::map::{Range, find};
use crate::vp::VpBus;

/// `HV_STATUS` codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Success = 0,
    InvalidHypercallCode = 2,
    InvalidHypercallInput = 3,
    InvalidAlignment = 4,
    InvalidParameter = 5,
    AccessDenied = 6,
}

/// Bits of the input value that must be 0: 63:60, 47:44, 31 (nested) and 30:27.
const RESERVED: u64 = 0xF000_F000_F800_0000;
/// Bytes in general registers, and in all registers.
const GENERAL: usize = 16;
const ALL_REGISTERS: usize = 112;

/// The shape of a call.
pub(super) struct Definition {
    pub(super) code: u16,
    pub(super) feature: F,
    /// Bytes of the fixed header.
    pub(super) header: usize,
    /// A header of variable size may follow.
    pub(super) variable: bool,
    /// A rep call: bytes of an input and an output element.
    pub(super) rep: Option<(usize, usize)>,
    pub(super) run: fn(&mut VpBus<'_>, &mut Cpu, &Input<'_>, &mut [u8]) -> (Status, usize),
}

/// The hypercall input value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Control {
    code: u16,
    fast: bool,
    /// Bytes of the variable header.
    variable: usize,
    count: usize,
    start: usize,
}

impl Control {
    fn new(value: u64) -> Result<Self, Status> {
        if value & RESERVED != 0 {
            return Err(Status::InvalidHypercallInput);
        }
        Ok(Self {
            code: value as u16,
            fast: value >> 16 & 1 != 0,
            variable: (value >> 17 & 0x3FF) as usize * 8,
            count: (value >> 32 & 0xFFF) as usize,
            start: (value >> 48 & 0xFFF) as usize,
        })
    }

    /// Bytes of input and output.
    fn sizes(&self, d: &Definition) -> Result<(usize, usize), Status> {
        let fits = match d.rep {
            Some(_) => self.count != 0 && self.start < self.count,
            None => self.count == 0 && self.start == 0,
        };
        if !fits || !d.variable && self.variable != 0 {
            return Err(Status::InvalidHypercallInput);
        }
        let (element, result) = d.rep.unwrap_or((0, 0));
        let input = d.header + self.variable + element * self.count;
        Ok((input.next_multiple_of(8), (result * self.count).next_multiple_of(8)))
    }
}

/// What a call is given.
pub(super) struct Input<'a> {
    bytes: &'a [u8],
    /// Where the variable header and the elements start.
    variable: usize,
    list: usize,
    /// Elements to do.
    pub(super) start: usize,
    pub(super) count: usize,
}

impl<'a> Input<'a> {
    /// The 8 bytes at `at`; 0 where there are none.
    pub(super) fn u64(&self, at: usize) -> u64 {
        self.bytes.get(at..).and_then(|b| b.first_chunk()).map_or(0, |b| u64::from_le_bytes(*b))
    }

    /// The 4 bytes at `at`.
    pub(super) fn u32(&self, at: usize) -> u32 {
        self.u64(at & !7).checked_shr((at as u32 & 4) * 8).unwrap_or(0) as u32
    }

    /// Words of the variable header.
    pub(super) fn variable(&self) -> impl Iterator<Item = u64> + use<'a> {
        let words = self.bytes.get(self.variable..self.list).unwrap_or(&[]);
        words.chunks_exact(8).map(|w| w.first_chunk().map_or(0, |w| u64::from_le_bytes(*w)))
    }

    /// Element `n` of a list of 8-byte elements.
    pub(super) fn element64(&self, n: usize) -> u64 {
        self.u64(self.list + n * 8)
    }

    /// Element `n` of a list of 4-byte elements.
    pub(super) fn element32(&self, n: usize) -> u32 {
        self.u32(self.list + n * 4)
    }
}

/// Registers of a call: in 64-bit code RCX, RDX, R8; else the pairs EDX:EAX, EBX:ECX, EDI:ESI.
struct Registers {
    control: u64,
    first: u64,
    second: u64,
}

const EAX: u8 = 0;
const ECX: u8 = 1;
const EDX: u8 = 2;
const EBX: u8 = 3;
const ESI: u8 = 6;
const EDI: u8 = 7;

fn is_long(cpu: &Cpu) -> bool {
    cpu.mode.has(Mode::CODE64)
}

fn pair(cpu: &Cpu, high: u8, low: u8) -> u64 {
    u64::from(cpu.r32(high)) << 32 | u64::from(cpu.r32(low))
}

fn set_pair(cpu: &mut Cpu, high: u8, low: u8, value: u64) {
    cpu.set_r32(high, (value >> 32) as u32);
    cpu.set_r32(low, value as u32);
}

impl Registers {
    fn of(cpu: &Cpu) -> Self {
        if is_long(cpu) {
            return Self { control: cpu.r64(ECX), first: cpu.r64(EDX), second: cpu.r64(8) };
        }
        Self { control: pair(cpu, EDX, EAX), first: pair(cpu, EBX, ECX), second: pair(cpu, EDI, ESI) }
    }

    /// Everything that a fast call can have its input in.
    fn bytes(&self, cpu: &Cpu) -> [u8; ALL_REGISTERS] {
        let mut bytes = [0; ALL_REGISTERS];
        bytes[..8].copy_from_slice(&self.first.to_le_bytes());
        bytes[8..GENERAL].copy_from_slice(&self.second.to_le_bytes());
        for (to, from) in bytes[GENERAL..].chunks_exact_mut(16).zip(&cpu.fpu.zmm) {
            to.copy_from_slice(&from[..16]);
        }
        bytes
    }
}

/// Puts the output of a fast call into the registers behind those of its input, which start at byte `at`.
fn fast_output(cpu: &mut Cpu, at: usize, output: &[u8]) {
    for (n, chunk) in (at / 16..).zip(output.chunks(16)) {
        let mut bytes = [0; 16];
        bytes.iter_mut().zip(chunk).for_each(|(to, from)| *to = *from);
        if let Some(zmm) = n.checked_sub(1).and_then(|n| cpu.fpu.zmm.get_mut(n)) {
            zmm[..16].copy_from_slice(&bytes);
            continue;
        }
        let halves = u128::from_le_bytes(bytes);
        let (first, second) = (halves as u64, (halves >> 64) as u64);
        if is_long(cpu) {
            cpu.set_r64(EDX, first);
            cpu.set_r64(8, second);
        } else {
            set_pair(cpu, EBX, ECX, first);
            set_pair(cpu, EDI, ESI, second);
        }
    }
}

impl VpBus<'_> {
    /// VMCALL or VMMCALL. `false`: not enabled, #UD.
    pub(crate) fn hyperv_call(&mut self, cpu: &mut Cpu) -> bool {
        // A guest that has not said who it is makes no hypercalls.
        let there = self.config.synthetic.contains(F::ACCESS_HYPERCALL_REGS | F::HV1);
        if !there || self.shared.hyperv.guest_os_id() == 0 {
            return false;
        }
        let registers = Registers::of(cpu);
        let (status, done) = self.perform(cpu, &registers).unwrap_or_else(|status| (status, 0));
        let result = status as u64 | (done as u64) << 32;
        tracing::trace!(target: "hyperv", "hypercall {:#x}: {status:?}, {done} done", registers.control);
        if is_long(cpu) {
            cpu.set_r64(EAX, result)
        } else {
            set_pair(cpu, EDX, EAX, result)
        }
        true
    }

    fn perform(&mut self, cpu: &mut Cpu, registers: &Registers) -> Result<(Status, usize), Status> {
        let control = Control::new(registers.control)?;
        if calls::needs_a_privilege(control.code) {
            return Err(Status::AccessDenied);
        }
        let d = CALLS.iter().find(|d| d.code == control.code).ok_or(Status::InvalidHypercallCode)?;
        let (input, output) = control.sizes(d)?;
        if !self.config.synthetic.contains(d.feature) {
            return Err(Status::AccessDenied);
        }
        let mut bytes = [0; PAGE_SIZE as usize];
        let to = self.locate(cpu, registers, &control, (input, output), &mut bytes)?;
        let (variable, start, count) = (d.header, control.start, control.count);
        let bytes = bytes.get(..input).unwrap_or(&[]);
        let input = Input { bytes, variable, list: variable + control.variable, start, count };
        let mut result = vec![0; output];
        let outcome = (d.run)(self, cpu, &input, &mut result);
        match to {
            Output::None => {}
            Output::Registers(at) => fast_output(cpu, at, &result),
            Output::Memory(range, offset) => drop(range.block.write(offset, &result)),
        }
        Ok(outcome)
    }

    /// Fetches the input into `bytes`, and finds out where the output goes.
    fn locate(
        &mut self,
        cpu: &Cpu,
        registers: &Registers,
        control: &Control,
        (input, output): (usize, usize),
        bytes: &mut [u8; PAGE_SIZE as usize],
    ) -> Result<Output, Status> {
        if control.fast {
            let at = input.next_multiple_of(16);
            let wants_output = output != 0;
            let allowed = !wants_output || self.config.synthetic.contains(F::FAST_HYPERCALL_OUTPUT);
            if !allowed || input > ALL_REGISTERS || wants_output && at + output > ALL_REGISTERS {
                return Err(Status::InvalidHypercallInput);
            }
            bytes[..ALL_REGISTERS].copy_from_slice(&registers.bytes(cpu));
            return Ok(if wants_output { Output::Registers(at) } else { Output::None });
        }
        if input != 0 {
            let (range, offset) = self.parameters(registers.first, input, MapGpaRangeFlags::READ)?;
            let into = bytes.get_mut(..input).ok_or(Status::InvalidAlignment)?;
            if !range.block.read(offset, into) {
                return Err(Status::InvalidAlignment);
            }
        }
        if output == 0 {
            return Ok(Output::None);
        }
        let (range, offset) = self.parameters(registers.second, output, MapGpaRangeFlags::WRITE)?;
        Ok(Output::Memory(range, offset))
    }

    /// The memory of a parameter block: aligned, in one page, mapped.
    fn parameters(&self, gpa: u64, len: usize, want: MapGpaRangeFlags) -> Result<(Range, u64), Status> {
        if !gpa.is_multiple_of(8) || gpa % PAGE_SIZE + len as u64 > PAGE_SIZE {
            return Err(Status::InvalidAlignment);
        }
        let ranges = self.shared.map.ranges();
        let range = find(&ranges, gpa).filter(|r| r.flags.contains(want)).ok_or(Status::InvalidAlignment)?;
        Ok((range.clone(), range.offset + (gpa - range.gpa)))
    }
}

/// Where output goes. Memory must not be kept over a moment outside of guest memory; calls with output have none.
enum Output {
    None,
    /// Into registers, from this byte on.
    Registers(usize),
    Memory(Range, u64),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_input_value_is_checked() {
        let ok = Control { code: 3, fast: true, variable: 16, count: 5, start: 1 };
        assert_eq!(Control::new(3 | 1 << 16 | 2 << 17 | 5 << 32 | 1 << 48), Ok(ok));
        for bit in [27, 31, 44, 47, 60, 63] {
            assert_eq!(Control::new(1 << bit), Err(Status::InvalidHypercallInput), "{bit}");
        }
        let call = |code: u16| CALLS.iter().find(|d| d.code == code).unwrap();
        let sizes = |value: u64| Control::new(value).unwrap().sizes(call(value as u16));
        assert_eq!(sizes(2), Ok((24, 0)));
        assert_eq!(sizes(2 | 1 << 32), Err(Status::InvalidHypercallInput), "not a rep call");
        assert_eq!(sizes(3), Err(Status::InvalidHypercallInput), "no elements");
        assert_eq!(sizes(3 | 2 << 32 | 2 << 48), Err(Status::InvalidHypercallInput), "starts at the end");
        assert_eq!(sizes(3 | 2 << 32), Ok((40, 0)));
        assert_eq!(sizes(2 | 1 << 17), Err(Status::InvalidHypercallInput), "no variable header");
        assert_eq!(sizes(0x13 | 1 << 17), Ok((40, 0)));
        assert_eq!(sizes(0x9A | 3 << 32), Ok((32, 16)));
    }

    #[test]
    fn input_is_read_within_its_bounds() {
        let bytes: Vec<u8> = (0..32).collect();
        let input = Input { bytes: &bytes, variable: 8, list: 24, start: 0, count: 1 };
        assert_eq!(input.u32(4), 0x0706_0504);
        assert_eq!(input.variable().collect::<Vec<_>>(), [0x0F0E_0D0C_0B0A_0908, 0x1716_1514_1312_1110]);
        assert_eq!((input.element64(0), input.element64(1)), (0x1F1E_1D1C_1B1A_1918, 0));
        assert_eq!(input.element32(1), 0x1F1E_1D1C);
    }
}
