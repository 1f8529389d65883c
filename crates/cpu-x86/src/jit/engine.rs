//! The buffer of translated code, the code that is in it once (entry, exits, thunks, look-up of branch targets), links
//! between blocks, and running it.

use std::collections::HashMap;
use std::mem::offset_of;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::asm::*;
use super::runtime;
use super::translate::{self, OFFSETS};
use super::{Context, JitStatistics};
use crate::block::{Block, Key};
use crate::bus::Bus;
use crate::code_memory::CodeMemory;
use crate::op::Op;
use crate::state::{Cpu, Mode};

const CAPACITY: usize = 64 << 20;
/// Most code one block can become.
const BLOCK_ROOM: usize = 64 << 10;
/// `Engine::hot` unless a test says otherwise.
const HOT: u32 = 24;
/// Entries of the table of branch targets.
pub(super) const JUMPS: usize = 4096;

/// Where a branch target's code is.
#[derive(Clone, Copy, Default)]
#[repr(C, align(32))]
pub(super) struct Jump {
    pub(super) rip: u64,
    pub(super) version: u64,
    pub(super) mode: u64,
    pub(super) code: u64,
}

/// Offsets of the code that is there once.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Common {
    /// Rust calls this: (cpu, code).
    enter: usize,
    /// R13: block's instruction, R14: block. Called.
    pub(super) op: usize,
    /// The same, the store's host address in the context.
    pub(super) written: usize,
    /// Leaves for RIP in R14.
    pub(super) exit: usize,
    /// The same; R13 is a link plus one.
    pub(super) exit_link: usize,
    /// Leaves with REFUSED for RIP in R14.
    pub(super) refuse: usize,
    /// Called with a RIP in R14: ZF and code in R13, or no ZF.
    pub(super) lookup: usize,
}

/// Code of a block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entries {
    /// Entered with flags in EFLAGS.
    pub(super) reg: usize,
    /// Entered with flags in the slot.
    pub(super) slot: usize,
}

/// A branch that can lead straight to another block of the page.
struct Link {
    /// Offset of the displacement.
    place: usize,
    key: Key,
    reg: bool,
}

/// How translated code came back.
pub(crate) enum Ran<'a> {
    /// Go on at RIP.
    Continue,
    /// The instruction did not complete.
    Aborted(&'a Block, &'a Op),
    /// The block ends after the instruction.
    Stopped(&'a Block, &'a Op),
    /// Run the block by the interpreter.
    Interpret,
}

/// The translator of one processor.
pub(crate) struct Engine {
    memory: CodeMemory,
    used: usize,
    common: Common,
    common_end: usize,
    known: HashMap<Key, Entries>,
    /// Keeps alive what code has addresses of.
    blocks: Vec<Arc<Block>>,
    links: Vec<Link>,
    wanted: Option<usize>,
    jumps: Box<[Jump]>,
    /// Blocks are not linked, to be compared one by one.
    pub(crate) single: bool,
    /// Times the interpreter runs a block before it is translated.
    pub(crate) hot: u32,
    pub(crate) statistics: JitStatistics,
}

type Enter = unsafe extern "sysv64" fn(*mut Cpu, u64) -> u32;

impl Engine {
    /// `None` when the system gives no executable memory.
    pub(crate) fn new(single: bool) -> Option<Self> {
        let mut memory = CodeMemory::new(CAPACITY)?;
        let (code, common) = common_code();
        memory.write(0, &code)?;
        let used = code.len().next_multiple_of(64);
        Some(Self {
            memory,
            used,
            common,
            common_end: used,
            known: HashMap::new(),
            blocks: Vec::new(),
            links: Vec::new(),
            wanted: None,
            jumps: vec![Jump::default(); JUMPS].into(),
            single,
            hot: if single { 1 } else { HOT },
            statistics: JitStatistics::default(),
        })
    }

    /// Whether there may be no room for another block.
    pub(crate) fn full(&self) -> bool {
        self.used + BLOCK_ROOM > CAPACITY
    }

    /// Drops all code. The caller drops all blocks, too, since they say where their code was.
    pub(crate) fn reset(&mut self) {
        self.used = self.common_end;
        self.known.clear();
        self.links.clear();
        self.wanted = None;
        self.jumps.fill(Jump::default());
        self.blocks.clear();
        self.statistics.flushes += 1;
    }

    /// Where the block's code starts, made now if it has become hot; `None`: interpret it.
    #[inline]
    pub(crate) fn code(&mut self, cpu: &Cpu, block: &Arc<Block>) -> Option<u64> {
        match block.code.load(Ordering::Relaxed) {
            Block::NEVER => None,
            Block::NO_CODE => {
                let heat = block.heat.load(Ordering::Relaxed) + 1;
                block.heat.store(heat, Ordering::Relaxed);
                if heat < self.hot { None } else { self.translate(cpu, block) }
            }
            code => Some(code),
        }
    }

    #[cold]
    fn translate(&mut self, cpu: &Cpu, block: &Arc<Block>) -> Option<u64> {
        let ours = block.page.as_ref().is_some_and(|p| !p.watched());
        let can = ours && block.second.is_none() && block.key.mode.has(Mode::CODE64);
        let made = can.then(|| translate::translate(cpu, block, self.common, self.used, self.single)).flatten();
        let made = made.filter(|m| self.used + m.code.len() <= CAPACITY);
        let Some(made) = made else {
            block.code.store(Block::NEVER, Ordering::Relaxed);
            self.statistics.refused += 1;
            return None;
        };
        let base = self.used;
        self.memory.write(base, &made.code)?;
        self.used = (base + made.code.len()).next_multiple_of(16);
        let entries = Entries { reg: base + made.entries.reg, slot: base + made.entries.slot };
        let first = self.links.len();
        for (n, l) in made.links.iter().enumerate() {
            self.links.push(Link { place: base + l.place, key: translate::key_at(block.key, l.target), reg: l.reg });
            // Leaving through the link says which it is.
            self.patch32(base + l.id_place, (first + n + 1) as u32);
        }
        if let Some(old) = self.known.insert(block.key, entries) {
            self.jump(old.reg, entries.reg);
            self.jump(old.slot, entries.slot);
        }
        for n in first..self.links.len() {
            self.link(n);
        }
        let code = self.memory.start() + (base + made.body) as u64;
        block.set_counted(made.count, made.vectors);
        block.entry.store(self.memory.start() + entries.slot as u64, Ordering::Relaxed);
        block.code.store(code, Ordering::Relaxed);
        self.blocks.push(block.clone());
        let s = &mut self.statistics;
        s.blocks += 1;
        s.bytes += made.code.len() as u64;
        s.instructions += block.ops.len() as u64;
        s.handlers += made.handlers;
        Some(code)
    }

    fn patch32(&mut self, place: usize, v: u32) {
        let _inside = self.memory.write(place, &v.to_le_bytes());
    }

    /// Makes the code at `from` a jump.
    fn jump(&mut self, from: usize, to: usize) {
        let mut code = [0xE9, 0, 0, 0, 0];
        code[1..].copy_from_slice(&((to as i64 - (from as i64 + 5)) as i32).to_le_bytes());
        let _inside = self.memory.write(from, &code);
    }

    /// Makes the branch lead to its block, if that is translated.
    fn link(&mut self, n: usize) {
        let Some(l) = self.links.get(n).filter(|_| !self.single) else { return };
        let Some(e) = self.known.get(&l.key) else { return };
        let (to, place) = (if l.reg { e.reg } else { e.slot }, l.place);
        self.statistics.links += 1;
        self.patch32(place, (to as i64 - (place as i64 + 4)) as i32 as u32);
    }

    /// Makes the block known to indirect branches.
    #[inline]
    fn remember(&mut self, block: &Block) {
        let Some(page) = &block.page else { return };
        let (rip, version, mode) = (block.key.rip, page.counter() as u64, u64::from(block.key.mode.0));
        let at = (rip ^ rip >> 12) as usize & (JUMPS - 1);
        let j = &mut self.jumps[at];
        // Code that is there is this block's, or jumps to it.
        if (j.rip, j.version, j.mode) != (rip, version, mode) {
            *j = Jump { rip, version, mode, code: block.entry.load(Ordering::Relaxed) };
        }
    }

    /// Runs `code` of `block`, which is at RIP.
    #[inline]
    pub(crate) fn run<'a>(&mut self, cpu: &mut Cpu, bus: &mut dyn Bus, block: &'a Block, code: u64) -> Ran<'a> {
        if let Some(n) = self.wanted.take() {
            self.link(n);
        }
        if !self.single {
            self.remember(block);
        }
        self.statistics.entries += 1;
        cpu.refresh_context();
        cpu.jit.attention = Arc::as_ptr(&cpu.attention) as u64;
        cpu.jit.jumps = self.jumps.as_ptr() as u64;
        cpu.jit.avx = u8::from(translate::avx_enabled(cpu));
        cpu.jit.link = 0;
        let bus: *mut dyn Bus = bus;
        // SAFETY: only the lifetime is changed; the pointer is used by what `enter` calls, while `bus` is borrowed, and
        // forgotten below.
        cpu.jit.bus = NonNull::new(unsafe { std::mem::transmute::<*mut dyn Bus, *mut (dyn Bus + 'static)>(bus) });
        // SAFETY: the common code was written by `new` and is never changed; `code` is the start of a translated block,
        // which stays until `reset`. Translated code touches `cpu`, guest memory through TLB entries that `cpu` keeps
        // alive, and what `blocks` and `jumps` keep alive.
        let how = unsafe {
            let enter = std::mem::transmute::<u64, Enter>(self.memory.start() + self.common.enter as u64);
            enter(cpu, code)
        };
        cpu.jit.bus = None;
        cpu.lazy.set(cpu.jit.flags.flags());
        self.wanted = (cpu.jit.link as usize).checked_sub(1);
        match how {
            runtime::GO_ON => Ran::Continue,
            runtime::REFUSED => Ran::Interpret,
            _ => {
                let at = cpu.jit.block as *const Block;
                // Of this block, or of one that was linked.
                // SAFETY: the block whose instruction a thunk ran: `blocks` keeps it alive until `reset`, which needs
                // `&mut self` and comes before the next block at the earliest; the run loop is done with it then.
                let of: &'a Block = unsafe { &*at };
                let index = (cpu.jit.op & 0xFFFF) as usize;
                let Some(op) = of.ops.get(index) else { return Ran::Continue };
                // What was counted when the block was entered, less what was not done.
                let aborted = how == runtime::ABORTED;
                let undone = of.counted().saturating_sub(index + usize::from(!aborted));
                cpu.retired = cpu.retired.wrapping_sub(undone as u64);
                if aborted { Ran::Aborted(of, op) } else { Ran::Stopped(of, op) }
            }
        }
    }
}

/// Host registers of the guest's, and which they are.
const HELD: [(u8, u8); 12] =
    [(0, 0), (1, 1), (2, 2), (3, 3), (5, 5), (6, 6), (7, 7), (8, 8), (9, 9), (10, 10), (11, 11), (GUEST_RSP, 4)];
/// Registers that the caller wants back.
const SAVED: [u8; 6] = [3, 5, 12, 13, 14, 15];

fn spill(a: &mut Asm) {
    for (host, guest) in HELD {
        a.store(Mem::state(translate::register(guest)), host);
    }
}

fn reload(a: &mut Asm) {
    for (host, guest) in HELD {
        a.load(host, Mem::state(translate::register(guest)));
    }
}

fn push(a: &mut Asm, r: u8) {
    if r > 7 {
        a.bytes(&[0x41]);
    }
    a.bytes(&[0x50 | r & 7]);
}

fn pop(a: &mut Asm, r: u8) {
    if r > 7 {
        a.bytes(&[0x41]);
    }
    a.bytes(&[0x58 | r & 7]);
}

/// The code that is there once.
fn common_code() -> (Vec<u8>, Common) {
    let mut a = Asm::default();
    let mut c = Common { enter: a.at(), ..Common::default() };
    SAVED.iter().for_each(|r| push(&mut a, *r));
    a.alu_imm(true, Alu::Sub, RSP, 8);
    a.mov(STATE, RDI);
    a.mov(T2, RSI);
    reload(&mut a);
    a.jmp_reg(T2);

    // The registers are in `Cpu`, EAX is what to return.
    let leave = a.at();
    a.alu_imm(true, Alu::Add, RSP, 8);
    SAVED.iter().rev().for_each(|r| pop(&mut a, *r));
    a.bytes(&[0xC3]);

    c.exit_link = a.at();
    a.store(Mem::state(OFFSETS.link), T1);
    c.exit = a.at();
    a.store(Mem::state(OFFSETS.rip), T2);
    spill(&mut a);
    a.imm(RAX, u64::from(runtime::GO_ON));
    let j = a.jmp();
    a.fill(j, leave);

    c.refuse = a.at();
    a.store(Mem::state(OFFSETS.rip), T2);
    spill(&mut a);
    a.imm(RAX, u64::from(runtime::REFUSED));
    let j = a.jmp();
    a.fill(j, leave);

    c.op = thunk(&mut a, runtime::run_op as *const () as u64, leave);
    c.written = thunk(&mut a, runtime::written as *const () as u64, leave);
    c.lookup = lookup(&mut a);
    (a.buf, c)
}

/// Calls `f(cpu, block R14, instruction R13)`; returns to the block, or leaves.
fn thunk(a: &mut Asm, f: u64, leave: usize) -> usize {
    let start = a.at();
    spill(a);
    a.store(Mem::state(OFFSETS.op), T1);
    a.store(Mem::state(OFFSETS.block), T2);
    a.mov(RDI, STATE);
    a.mov(RSI, T2);
    a.mov(2, T1);
    a.imm(RAX, f);
    a.alu_imm(true, Alu::Sub, RSP, 8);
    a.call_reg(RAX);
    a.alu_imm(true, Alu::Add, RSP, 8);
    a.bytes(&[0x85, 0xC0]); // test eax, eax
    let out = a.jcc(Cc::NotEqual as u8);
    reload(a);
    a.bytes(&[0xC3]);
    a.fill_here(out);
    a.alu_imm(true, Alu::Add, RSP, 8);
    let j = a.jmp();
    a.fill(j, leave);
    start
}

/// From RIP in R14 to code in R13. All but R13 is kept.
fn lookup(a: &mut Asm) -> usize {
    let start = a.at();
    let keep = Mem::state(OFFSETS.scratch + 24);
    a.store(keep, RCX);
    a.mov(RCX, T2);
    a.shift(true, 5, RCX, 6);
    a.alu_imm(false, Alu::And, RCX, translate::TLB_MASK);
    a.alu(Alu::Add, RCX, Mem::state(OFFSETS.exec));
    a.mov(T1, T2);
    a.alu_imm(true, Alu::And, T1, -4096);
    a.alu(Alu::Or, T1, Mem::state(OFFSETS.generation));
    a.alu(Alu::Cmp, T1, Mem::base(RCX, OFFSETS.entry_exec as i32));
    let mut misses = vec![a.jcc(Cc::NotEqual as u8)];
    a.load(T1, Mem::base(RCX, OFFSETS.entry_version as i32));
    a.mov(RCX, T2);
    a.shift(true, 5, RCX, 12);
    a.alu_rr(false, Alu::Xor, RCX, T2);
    a.alu_imm(false, Alu::And, RCX, JUMPS as i32 - 1);
    a.shift(false, 4, RCX, 5);
    a.alu(Alu::Add, RCX, Mem::state(OFFSETS.jumps));
    a.alu(Alu::Cmp, T2, Mem::base(RCX, offset_of!(Jump, rip) as i32));
    misses.push(a.jcc(Cc::NotEqual as u8));
    a.alu(Alu::Cmp, T1, Mem::base(RCX, offset_of!(Jump, version) as i32));
    misses.push(a.jcc(Cc::NotEqual as u8));
    a.load32(T1, Mem::state(OFFSETS.mode));
    a.alu32(Alu::Cmp, T1, Mem::base(RCX, offset_of!(Jump, mode) as i32));
    misses.push(a.jcc(Cc::NotEqual as u8));
    a.load(T1, Mem::base(RCX, offset_of!(Jump, code) as i32));
    misses.into_iter().for_each(|m| a.fill_here(m));
    a.load(RCX, keep);
    a.bytes(&[0xC3]);
    start
}

const _: () = assert!(size_of::<Jump>() == 32 && offset_of!(Context, flags) == 0);
