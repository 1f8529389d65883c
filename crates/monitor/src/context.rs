//! What commands work on: the machine, and what a session remembers.

use std::cell::OnceCell;
use std::sync::Arc;

use accel::CpuRegisters;
use machine::MachineHandle;

use crate::args::{CommandError, failed};
use crate::dump::Format;
use crate::expr::{self, ExprError};
use crate::keys::KeyTyper;

/// The program's log. Errors are one line for the user.
pub trait LogControl: Send + Sync {
    /// Changes what is logged: the items of `-d`, `none` for nothing.
    ///
    /// # Errors
    /// For an unknown item.
    fn set_items(&self, items: &str) -> Result<(), String>;

    /// The items of `-d` and what they mean, a line each.
    fn items(&self) -> String;

    /// Switches the trace events of `pattern`.
    ///
    /// # Errors
    /// For a name that does not exist.
    fn set_event(&self, pattern: &str, on: bool) -> Result<(), String>;

    /// All trace events and whether they are on.
    fn events(&self) -> Vec<(&'static str, bool)>;
}

pub(crate) struct Context {
    pub(crate) machine: MachineHandle,
    pub(crate) log: Option<Arc<dyn LogControl>>,
    /// The processor that `x`, `info registers` and `$registers` mean.
    pub(crate) cpu: usize,
    /// The last format of `x`, `xp` and `print`.
    pub(crate) format: Format,
    pub(crate) keys: KeyTyper,
    pub(crate) history: Vec<String>,
    /// Where the absolute pointer was sent last.
    pub(crate) pointer: (u16, u16),
    /// The pointer's buttons as `mouse_button` set them.
    pub(crate) buttons: u8,
    /// `quit` was given.
    pub(crate) quit: bool,
}

impl Context {
    pub(crate) fn new(machine: MachineHandle, log: Option<Arc<dyn LogControl>>) -> Self {
        let keys = KeyTyper::new(machine.input().clone());
        let (history, format) = (Vec::new(), Format::default());
        Self { machine, log, cpu: 0, format, keys, history, pointer: (0, 0), buttons: 0, quit: false }
    }

    /// An NMI for every processor.
    pub(crate) fn inject_nmi(&self) -> Result<(), accel::AccelError> {
        let accel = self.machine.accel();
        (0..accel.count()).try_for_each(|i| accel.inject_nmi(i))
    }

    /// The registers of processor `index`.
    pub(crate) fn registers(&self, index: usize) -> Result<CpuRegisters, CommandError> {
        self.machine.while_stopped(|a| a.registers(index)).map_err(failed)
    }

    /// The value at the start of `text` and what follows it. Registers are read when they are named.
    pub(crate) fn evaluate<'a>(&self, text: &'a str) -> Result<(u64, &'a str), CommandError> {
        let registers = OnceCell::new();
        let read = || self.registers(self.cpu).ok();
        let lookup = |name: &str| register(registers.get_or_init(read).as_ref()?, name);
        let (value, rest) = expr::evaluate(text, &lookup).map_err(|e| match e {
            ExprError::Register(name) => failed(format!("unknown register '${name}'")),
            e => failed(e),
        })?;
        // `rest` borrows from `text`, not from the closure.
        Ok((value, &text[text.len() - rest.len()..]))
    }
}

const SEGMENTS: [&str; 8] = ["es", "cs", "ss", "ds", "fs", "gs", "ldtr", "tr"];
const GPR: [&str; 8] = ["ax", "cx", "dx", "bx", "sp", "bp", "si", "di"];

/// A register by its name in expressions.
pub(crate) fn register(r: &CpuRegisters, name: &str) -> Option<u64> {
    if let Some((segment, part)) = name.split_once('.') {
        let s = SEGMENTS.iter().position(|n| *n == segment).and_then(|i| r.segments.get(i))?;
        return match part {
            "base" => Some(s.base),
            "limit" => Some(s.limit.into()),
            _ => None,
        };
    }
    if let Some(s) = SEGMENTS.iter().position(|n| *n == name).and_then(|i| r.segments.get(i)) {
        return Some(s.selector.into());
    }
    if let Some(n) = name.strip_prefix('r').and_then(|n| n.parse::<usize>().ok()).filter(|n| *n >= 8) {
        return r.gpr.get(n).copied();
    }
    if let Some(n) = name.strip_prefix("dr").and_then(|n| n.parse::<usize>().ok()) {
        let slot = [Some(0), Some(1), Some(2), Some(3), None, None, Some(4), Some(5)].get(n).copied().flatten()?;
        return r.dr.get(slot).copied();
    }
    let gpr = |n: &str| GPR.iter().position(|g| *g == n).and_then(|i| r.gpr.get(i).copied());
    match name {
        // A linear address, as `x` takes it.
        "pc" if r.code_bits() == 64 => Some(r.rip),
        "pc" => Some(r.segments[1].base.wrapping_add(r.rip)),
        "rip" => Some(r.rip),
        "eip" => Some(u64::from(r.rip as u32)),
        "rflags" | "eflags" => Some(r.rflags),
        "cr0" => Some(r.cr[0]),
        "cr2" => Some(r.cr[1]),
        "cr3" => Some(r.cr[2]),
        "cr4" => Some(r.cr[3]),
        "cr8" => Some(r.cr[4]),
        "efer" => Some(r.efer),
        "gdtr" | "gdt" => Some(r.gdtr.base),
        "idtr" | "idt" => Some(r.idtr.base),
        _ => {
            let wide = name.strip_prefix('r').and_then(gpr);
            wide.or_else(|| name.strip_prefix('e').and_then(gpr).map(|v| u64::from(v as u32)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn register_names() {
        let mut r = CpuRegisters { rip: 0xFFF0, ..Default::default() };
        r.gpr = std::array::from_fn(|i| 0x1_0000_0000 + i as u64);
        r.segments[1].base = 0xFFFF_0000;
        r.segments[1].selector = 0xF000;
        r.dr[4] = 6;
        let get = |n| register(&r, n);
        assert_eq!([get("rax"), get("edi"), get("r15")], [Some(0x1_0000_0000), Some(7), Some(0x1_0000_000F)]);
        assert_eq!([get("pc"), get("cs"), get("cs.base")], [Some(0xFFFF_FFF0), Some(0xF000), Some(0xFFFF_0000)]);
        assert_eq!([get("dr6"), get("dr4"), get("r16"), get("rr"), get("")], [Some(6), None, None, None, None]);
    }
}
