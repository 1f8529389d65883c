//! From a block to host code: the frame of a block, and instructions without control transfer.

use std::mem::offset_of;

use iced_x86::{Decoder, Encoder, Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind, Register};

use super::asm::*;
use super::clock::reads_clock;
use super::context::Context;
use super::engine::{Common, Entries, JUMPS, Jump};
use super::live::{self, Use};
use super::rounds::{Rounds, level};
use super::select::{self, host_has, is_native, named, vectors};
use super::sites::Field;
use super::vectors::{EVERYTHING, NOTHING, WHOLE};
use super::x87::{Loaded, Stack, uses_stack};
use crate::block::{Block, Key, Place};
use crate::decode;
use crate::op::{Op, gpr, segment};
use crate::simd::Translatable;
use crate::state::{Cpu, HIGH8, Mode, Seg};
use crate::tlb::{ENTRIES, Entry};

/// Where things are in `Cpu`, in a TLB entry.
pub(super) struct Offsets {
    pub(super) rip: usize,
    pub(super) seg_base: usize,
    pub(super) fpu: usize,
    pub(super) flags: usize,
    pub(super) avx: usize,
    pub(super) level: usize,
    pub(super) stack: usize,
    pub(super) stack_limit: usize,
    pub(super) host_mxcsr: usize,
    pub(super) tag: usize,
    pub(super) data: usize,
    pub(super) exec: usize,
    pub(super) generation: usize,
    pub(super) attention: usize,
    pub(super) attention_mask: usize,
    pub(super) jumps: usize,
    pub(super) scratch: usize,
    pub(super) branch: usize,
    pub(super) link: usize,
    pub(super) op: usize,
    pub(super) block: usize,
    pub(super) host: usize,
    pub(super) entry_read: usize,
    pub(super) entry_write: usize,
    pub(super) entry_exec: usize,
    pub(super) entry_addend: usize,
    pub(super) entry_flags: usize,
    pub(super) entry_version: usize,
}

const JIT: usize = offset_of!(Cpu, jit);
pub(super) const OFFSETS: Offsets = Offsets {
    rip: offset_of!(Cpu, rip),
    seg_base: offset_of!(Cpu, seg_base),
    fpu: offset_of!(Cpu, fpu),
    flags: JIT + offset_of!(Context, flags),
    avx: JIT + offset_of!(Context, avx),
    level: JIT + offset_of!(Context, level),
    stack: JIT + offset_of!(Context, stack),
    stack_limit: JIT + offset_of!(Context, stack_limit),
    host_mxcsr: JIT + offset_of!(Context, host_mxcsr),
    tag: JIT + offset_of!(Context, tag),
    data: JIT + offset_of!(Context, data),
    exec: JIT + offset_of!(Context, exec),
    generation: JIT + offset_of!(Context, generation),
    attention: JIT + offset_of!(Context, attention),
    attention_mask: JIT + offset_of!(Context, attention_mask),
    jumps: JIT + offset_of!(Context, jumps),
    scratch: JIT + offset_of!(Context, scratch),
    branch: JIT + offset_of!(Context, branch),
    link: JIT + offset_of!(Context, link),
    op: JIT + offset_of!(Context, op),
    block: JIT + offset_of!(Context, block),
    host: JIT + offset_of!(Context, host),
    entry_read: offset_of!(Entry, read),
    entry_write: offset_of!(Entry, write),
    entry_exec: offset_of!(Entry, exec),
    entry_addend: offset_of!(Entry, addend),
    entry_flags: offset_of!(Entry, flags),
    entry_version: offset_of!(Entry, version),
};
const _: () = assert!(size_of::<Entry>() == 64);
/// From a linear address shifted right by 6 to the offset of its entry.
pub(super) const TLB_MASK: i32 = ((ENTRIES - 1) << 6) as i32;

/// Where a guest register is in `Cpu`.
pub(super) fn register(n: u8) -> usize {
    offset_of!(Cpu, regs) + 8 * usize::from(n)
}

/// The host register that holds the guest's, if one does.
pub(super) fn held(guest: u8) -> Option<u8> {
    match guest {
        4 => Some(GUEST_RSP),
        12.. => None,
        n => Some(n),
    }
}

/// The level of vector registers that is available now, if AVX is at all.
pub(super) fn avx_enabled(cpu: &Cpu) -> u8 {
    use crate::fpu::{XCR0_AVX, XCR0_AVX512, XCR0_SSE};
    let has = |need: u64| cpu.cr4 & crate::state::cr::CR4_OSXSAVE != 0 && cpu.xcr0 & need == need;
    match has(XCR0_SSE | XCR0_AVX) {
        true if has(XCR0_AVX512) => EVERYTHING,
        true => WHOLE,
        false => NOTHING,
    }
}

/// The key of another address in the same page.
pub(super) fn key_at(from: Key, rip: u64) -> Key {
    Key { place: Place::moved(from.place, rip), rip, mode: from.mode }
}

/// A link to be made. Offsets are of displacements unless said otherwise.
pub(super) struct LinkSite {
    pub(super) place: usize,
    /// Of the number that says which link it is.
    pub(super) id_place: usize,
    pub(super) target: u64,
    /// Flags are in EFLAGS.
    pub(super) reg: bool,
    pub(super) way: Way,
}

/// How a link leads to its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// To a later address of the same page: no checks.
    Ahead,
    /// To this or an earlier address of the page: loops look at the attention word and the code version.
    Back,
    /// To another page, behind a look into the execution TLB.
    Far {
        /// Of the code version counter's address that is expected.
        counter: usize,
        /// Of the jump that is taken when the TLB says something else.
        miss: usize,
        /// Where that jump goes once the link is made: looks the target up.
        search: usize,
        /// To an earlier address.
        back: bool,
    },
}

/// What became of a block. Offsets from its start.
pub(super) struct Made {
    pub(super) code: Vec<u8>,
    pub(super) entries: Entries,
    pub(super) body: usize,
    pub(super) links: Vec<LinkSite>,
    /// Of the page's version, for which the bytes are right.
    pub(super) version: usize,
    pub(super) handlers: u64,
    /// The site after the last one.
    pub(super) sites: usize,
    /// Sites that may roam: offsets of their check and of what to jump to.
    pub(super) roams: Vec<(usize, usize, usize)>,
    /// It is a loop with a fast copy.
    pub(super) rounds: bool,
    /// Instructions it covers, from the first.
    pub(super) count: usize,
    /// Some use vector registers.
    pub(super) vectors: bool,
}

/// Where the guest's flags are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flags {
    Reg,
    Slot,
    Both,
}

/// Code that is put behind the block.
pub(super) enum Cold {
    /// Runs the instruction by its handler. `back`: where to go on; `restore`: with flags in EFLAGS; `loaded`: with these
    /// vector and x87 registers.
    Op { jumps: Vec<usize>, back: Option<usize>, index: usize, restore: bool, loaded: Loaded },
    /// A store to a marked page. `save`: flags are in EFLAGS and live.
    Written {
        jump: usize,
        back: usize,
        index: usize,
        len: usize,
        save: bool,
        branch: Option<u64>,
        host: u8,
        loaded: Loaded,
    },
    /// Leaves for `target`, or is linked to it.
    Link { place: usize, target: u64, save: bool },
    /// Loads vector registers.
    Vectors { jump: usize, back: usize, index: usize, level: u8, loaded: Loaded },
    /// Loads x87 registers.
    Stack { jump: usize, back: usize, index: usize },
    /// Looks up the return address in T2, which was not the predicted one.
    Return { jump: usize, index: usize },
    /// Forgets the predicted returns.
    Forget { jump: usize, back: usize },
    /// Finds the page of an access that is not the one that its site has; T1 is the offset in it then. When there is none:
    /// to the slow path of instruction `index`, or (before the rounds of a loop) to the plain copy.
    /// `roams`: the check, which may become a jump to code that asks the TLB only.
    Page {
        jump: usize,
        back: usize,
        index: Option<usize>,
        e: Ea,
        size: usize,
        write: bool,
        site: usize,
        roams: Option<usize>,
        /// Where that goes on with T1 as the site would have it; `None`: at `back`.
        past: Option<usize>,
    },
    /// Leaves for RIP.
    Leave { jumps: Vec<usize> },
    /// Goes to another page.
    Far { jump: usize, target: u64, save: bool },
    /// Nothing.
    Done,
}

/// The instruction has to be left to its handler.
#[derive(Debug)]
pub(super) struct Unsupported;
pub(super) type Done = Result<(), Unsupported>;

/// An address as the guest computes it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ea {
    pub(super) base: Option<u8>,
    pub(super) index: Option<(u8, u8)>,
    pub(super) disp: i64,
    pub(super) seg: Option<Seg>,
    pub(super) narrow: bool,
}

impl Ea {
    pub(super) fn base(guest: u8, disp: i64) -> Self {
        Self { base: Some(guest), index: None, disp, seg: None, narrow: false }
    }
}

pub(super) struct Translator<'a> {
    pub(super) a: Asm,
    pub(super) block: &'a Block,
    pub(super) common: Common,
    /// Offset of the block in the buffer.
    start: usize,
    pub(super) flags: Flags,
    pub(super) uses: Vec<Use>,
    pub(super) cold: Vec<Cold>,
    pub(super) links: Vec<LinkSite>,
    op_calls: Vec<usize>,
    written_calls: Vec<usize>,
    pub(super) info: InstructionInfoFactory,
    encoder: Encoder,
    handlers: u64,
    /// 64-bit code.
    pub(super) wide: bool,
    /// Nothing is linked or predicted.
    pub(super) single: bool,
    /// The vector registers that are certainly in the host's.
    pub(super) level: u8,
    /// The same for x87 registers.
    pub(super) stack: Stack,
    /// Some instruction uses them.
    uses_stack: bool,
    /// Where the version of the page is in the code.
    version: usize,
    /// While the fast copy of a loop is made.
    pub(super) rounds: Option<Rounds>,
    /// Where the plain copy begins.
    pub(super) plain: usize,
    /// The block's first site, and the next.
    pub(super) first_site: usize,
    pub(super) sites: usize,
    /// Which of its sites it is to do without.
    pub(super) roaming: &'a [usize],
    /// Sites that may roam: where their check is, and where to jump then.
    pub(super) roams: Vec<(usize, usize, usize)>,
    /// In cold code: jumps to the slow path of instructions.
    page_misses: Vec<(usize, usize)>,
}

/// Where the memory of an access is in the host.
#[derive(Clone, Copy)]
pub(super) struct Found {
    /// The register with the host address.
    pub(super) host: u8,
    /// A register that is free; without a `site` it holds the TLB entry.
    pub(super) free: u8,
    pub(super) site: Option<usize>,
}

/// Translates; `None` when it cannot be done. `start`: where in the buffer the code will be, `sites`: which one is
/// free, and which of the block's it is to do without (they roam). With `exact` the translation
/// ends before the first instruction that is left to its handler.
pub(super) fn translate(
    cpu: &Cpu,
    block: &Block,
    common: Common,
    start: usize,
    sites: (usize, &[usize]),
    exact: bool,
) -> Option<Made> {
    let mode = block.key.mode;
    let options = decode::options(&cpu.model.features);
    let decoded: Vec<Instruction> =
        Decoder::with_ip(mode.bits(), &block.bytes, block.key.rip, options).iter().take(block.ops.len()).collect();
    if decoded.len() != block.ops.len() {
        return None;
    }
    let exists = |i: &Instruction| decode::exists(i, &cpu.model.features);
    let vector = vectors(&decoded, mode, exists);
    let mut native: Vec<bool> = decoded
        .iter()
        .zip(&vector)
        .zip(&block.ops)
        .map(|((i, v), op)| {
            let clock = !exact && reads_clock(i); // (what is run twice would read it twice)
            let native = || is_native(i, mode) && host_has(i) || uses_stack(i, op, mode).is_some() || clock;
            v.is_some() || exists(i) && native()
        })
        .collect();
    loop {
        match attempt_all(block, common, start, sites, exact, &decoded, &vector, &native) {
            Ok(made) => return made,
            Err(n) => *native.get_mut(n)? = false,
        }
    }
}

/// One try; `Err`: this instruction cannot be translated after all, which changes what is live.
fn attempt_all(
    block: &Block,
    common: Common,
    start: usize,
    sites: (usize, &[usize]),
    exact: bool,
    decoded: &[Instruction],
    vector: &[Option<Translatable>],
    native: &[bool],
) -> Result<Option<Made>, usize> {
    let count = native.iter().position(|n| exact && !n).unwrap_or(native.len());
    if count == 0 {
        return Ok(None);
    }
    let mut uses: Vec<Use> =
        decoded.iter().zip(native).map(|(i, n)| if *n { Use::of(i) } else { Use::OPAQUE }).collect();
    live::solve(&mut uses);
    let live_in = uses.first().is_some_and(|u| u.before() != 0);
    let mut t = Translator {
        a: Asm { buf: Vec::with_capacity(1024), origin: start },
        block,
        common,
        start,
        flags: Flags::Slot,
        uses,
        cold: Vec::new(),
        links: Vec::new(),
        op_calls: Vec::new(),
        written_calls: Vec::new(),
        info: InstructionInfoFactory::new(),
        encoder: Encoder::new(64),
        handlers: 0,
        wide: block.key.mode.has(Mode::CODE64),
        single: exact,
        level: NOTHING,
        stack: Stack::default(),
        uses_stack: false,
        version: 0,
        rounds: None,
        plain: 0,
        first_site: sites.0,
        sites: sites.0,
        roaming: sites.1,
        roams: Vec::new(),
        page_misses: Vec::new(),
    };
    let (mut entries, body) = t.prologue(live_in);
    if !exact && let Some(rounds) = Rounds::of(decoded, block.key.rip, native, vector) {
        t.loop_of(rounds, decoded, vector, entries.slot, live_in);
    }
    let mut ended = false;
    for (n, (i, op)) in decoded.iter().zip(&block.ops).enumerate().take(count) {
        t.stack_before(i, op);
        let done = match vector[n] {
            _ if !native[n] => Err(Unsupported),
            v => t.attempt(n, i, op, v),
        };
        if done.is_err() {
            if exact {
                return Err(n);
            }
            t.handler(n);
        }
        ended = op.is(Op::ENDS);
    }
    if !ended {
        t.flush_pointers();
        let end = block.ops.get(count - 1).map_or(0, |o| o.end);
        t.go(t.rip_at(end));
    }
    entries.whole = t.links.iter().all(|l| l.place >= body + 5) && t.a.at() >= body + 5;
    t.finish_cold();
    if live_in {
        entries.reg_ahead = t.a.at();
        t.a.save_flags(OFFSETS.flags);
        let j = t.a.jmp();
        t.a.fill(j, body);
    }
    Ok(Some(Made {
        code: t.a.buf,
        entries,
        body,
        links: t.links,
        version: t.version,
        handlers: t.handlers,
        sites: t.sites,
        roams: t.roams,
        rounds: t.plain != 0,
        count,
        vectors: vector.iter().any(Option::is_some) || t.uses_stack,
    }))
}

impl Translator<'_> {
    fn prologue(&mut self, live_in: bool) -> (Entries, usize) {
        let reg = self.a.at();
        if live_in {
            self.a.save_flags(OFFSETS.flags);
        } else {
            self.a.bytes(&[0x0F, 0x1F, 0x44, 0, 0]); // room for a jump
        }
        let slot = self.a.at();
        self.a.load(T1, Mem::state(OFFSETS.attention));
        self.a.load32(T2, Mem::state(OFFSETS.attention_mask));
        self.a.rm(false, &[0x85], T2, Mem::base(T1, 0)); // test
        let attention = self.a.jcc(Cc::NotEqual as u8);
        let page = self.a.at();
        let stale = self.page_check();
        let body = self.a.at();
        self.cold.push(Cold::Leave { jumps: vec![attention, stale] });
        self.flags = Flags::Slot;
        (Entries { reg, slot, page, ahead: body, reg_ahead: body, whole: false }, body)
    }

    /// RIP so many bytes after the block's start.
    pub(super) fn rip_at(&self, bytes: u16) -> u64 {
        let rip = self.block.key.rip.wrapping_add(u64::from(bytes));
        if self.wide { rip } else { rip & 0xFFFF_FFFF }
    }

    fn page_check(&mut self) -> usize {
        let Some(page) = &self.block.page else { return self.a.jmp() };
        self.a.imm(T1, page.counter() as u64);
        self.a.rm(false, &[0x81], Alu::Cmp as u8, Mem::base(T1, 0));
        self.version = self.a.at();
        self.a.bytes(&page.version().to_le_bytes());
        self.a.jcc(Cc::NotEqual as u8)
    }

    /// Tries to translate an instruction; leaves no trace when it cannot.
    fn attempt(&mut self, n: usize, i: &Instruction, op: &Op, vector: Option<Translatable>) -> Done {
        let (at, cold, links) = (self.a.at(), self.cold.len(), self.links.len());
        let (flags, level, sites, stack) = (self.flags, self.level, self.sites, self.stack);
        let done = match vector {
            Some(v) => self.vector(n, i, op, v),
            None if op.is(Op::ENDS) => self.control(n, i, op),
            None => self.instruction(n, i, op),
        };
        if done.is_err() {
            self.a.buf.truncate(at);
            self.cold.truncate(cold);
            self.links.truncate(links);
            (self.flags, self.level, self.sites, self.stack) = (flags, level, sites, stack);
        }
        done
    }

    /// Tries to make the fast copy of a loop; leaves no trace when that cannot be.
    fn loop_of(
        &mut self,
        mut rounds: Rounds,
        decoded: &[Instruction],
        vector: &[Option<Translatable>],
        head: usize,
        live: bool,
    ) {
        let (at, cold, links) = (self.a.at(), self.cold.len(), self.links.len());
        let block = self.block;
        let mode = block.key.mode;
        let stack = decoded.iter().zip(&block.ops).any(|(i, op)| uses_stack(i, op, mode).is_some());
        rounds.stack = stack;
        self.rounds = Some(rounds);
        if self.fast(decoded, &block.ops, vector, head, live).is_err() {
            self.a.buf.truncate(at);
            self.cold.truncate(cold);
            self.links.truncate(links);
        }
        (self.rounds, self.flags, self.level, self.stack) = (None, Flags::Slot, NOTHING, Stack::default());
    }

    /// The instruction is run by its handler.
    fn handler(&mut self, n: usize) {
        self.handlers += 1;
        self.stack_away();
        self.level = NOTHING;
        if self.flags == Flags::Reg {
            self.a.save_flags(OFFSETS.flags);
        }
        self.a.imm(T1, n as u64);
        let call = self.a.call();
        self.op_calls.push(call);
        self.flags = Flags::Slot;
    }

    /// Before something that destroys EFLAGS.
    pub(super) fn spare_flags(&mut self, live: bool) {
        if self.flags == Flags::Reg && live {
            self.a.save_flags(OFFSETS.flags);
        }
        self.flags = Flags::Slot;
    }

    /// Flags into EFLAGS.
    pub(super) fn need_flags(&mut self) {
        if self.flags == Flags::Slot {
            self.a.restore_flags(OFFSETS.flags, OFFSETS.scratch);
            self.flags = Flags::Both;
        }
    }

    pub(super) fn before(&mut self, n: usize) {
        if self.uses[n].needs() {
            self.need_flags();
        }
    }

    pub(super) fn after(&mut self, n: usize) {
        if self.uses[n].changes != 0 {
            self.flags = Flags::Reg;
        }
    }

    /// Whether the flags are read after instruction `n`.
    pub(super) fn live_after(&self, n: usize) -> bool {
        self.uses[n].after != 0
    }

    /// After an instruction with a slow path.
    pub(super) fn slow(&mut self, n: usize, jumps: Vec<usize>) {
        let restore = self.flags != Flags::Slot && self.live_after(n);
        self.cold.push(Cold::Op { jumps, back: Some(self.a.at()), index: n, restore, loaded: self.loaded_before() });
    }

    /// An instruction that ends the block is run by its handler after `jumps`.
    pub(super) fn slow_end(&mut self, n: usize, jumps: Vec<usize>) {
        self.cold.push(Cold::Op { jumps, back: None, index: n, restore: false, loaded: Loaded::default() });
    }

    /// SSE and AVX.
    pub(super) fn vector(&mut self, n: usize, i: &Instruction, op: &Op, v: Translatable) -> Done {
        self.want_vectors(n, level(&v));
        if op.is(Op::MEM) { self.access(n, i, op, v.align) } else { self.registers(n, i, op) }
    }

    pub(super) fn encode(&mut self, i: &Instruction) -> Done {
        self.encoder.set_buffer(std::mem::take(&mut self.a.buf));
        let done = self.encoder.encode(i, 0);
        self.a.buf = self.encoder.take_buffer();
        done.map(drop).map_err(|_| Unsupported)
    }

    pub(super) fn ea_of(&self, i: &Instruction, op: &Op) -> Result<Ea, Unsupported> {
        let base = i.memory_base();
        let fixed = matches!(base, Register::None | Register::RIP | Register::EIP);
        let index = i.memory_index();
        if !index.is_gpr() && index != Register::None {
            return Err(Unsupported);
        }
        let narrow = op.addr_mask == 0xFFFF_FFFF;
        if op.addr_mask == 0xFFFF || op.is(Op::SEG_CHECK) && !self.wide {
            return Err(Unsupported);
        }
        let disp = i.memory_displacement64() as i64;
        let disp = if narrow && !(fixed && index == Register::None) { i64::from(disp as i32) } else { disp };
        let seg = segment(i.memory_segment());
        Ok(Ea {
            base: (!fixed).then(|| gpr(base)),
            index: (index != Register::None).then(|| (gpr(index), i.memory_index_scale() as u8)),
            disp,
            seg: (self.wide && matches!(seg, Seg::Fs | Seg::Gs)).then_some(seg),
            narrow,
        })
    }

    pub(super) fn instruction(&mut self, n: usize, i: &Instruction, op: &Op) -> Done {
        use Mnemonic::*;
        if let Some(s) = uses_stack(i, op, self.block.key.mode) {
            self.uses_stack = true;
            return self.on_stack(n, i, op, s);
        }
        match i.mnemonic() {
            Nop | Endbr64 | Endbr32 | Prefetchnta | Prefetcht0 | Prefetcht1 | Prefetcht2 | Prefetchw => Ok(()),
            Push | Pop | Leave => self.stack(n, i),
            Lea => self.lea(i, op),
            Div | Idiv => self.divide(n, i, op),
            Rdtsc | Rdtscp => self.read_clock(n, i),
            _ if op.is(Op::MEM) => self.memory(n, i, op),
            _ => self.registers(n, i, op),
        }
    }

    /// The distinct registers among the operands that are not held: each with whether it is loaded, and stored.
    pub(super) fn spilled(&mut self, i: &Instruction) -> Vec<(u8, bool, bool)> {
        let info = self.info.info(i);
        let mut list: Vec<(u8, bool, bool)> = Vec::new();
        for n in (0..i.op_count()).filter(|n| i.op_kind(*n) == OpKind::Register) {
            let r = i.op_register(n);
            if !r.is_gpr() || gpr(r) & HIGH8 != 0 || held(gpr(r)).is_some() {
                continue;
            }
            let (g, access) = (gpr(r), info.op_access(n));
            let whole = access == OpAccess::Write && r.size() >= 4;
            let written = !matches!(access, OpAccess::Read | OpAccess::CondRead | OpAccess::None);
            match list.iter_mut().find(|x| x.0 == g) {
                Some(x) => (x.1, x.2) = (x.1 || !whole, x.2 || written),
                None => list.push((g, !whole, written)),
            }
        }
        list
    }

    /// Gives register operands their host names: what is not held is in `temporaries`, in the order of `list`.
    pub(super) fn rename(i: &mut Instruction, list: &[(u8, bool, bool)], temporaries: &[u8]) -> bool {
        let mut changed = false;
        for n in 0..i.op_count() {
            let r = i.op_register(n);
            if i.op_kind(n) != OpKind::Register || !r.is_gpr() || gpr(r) & HIGH8 != 0 {
                continue;
            }
            let place = list.iter().position(|x| x.0 == gpr(r)).and_then(|at| temporaries.get(at).copied());
            let host = place.or(held(gpr(r))).unwrap_or(0);
            if host != gpr(r) || place.is_some() {
                i.set_op_register(n, named(host, r.size()));
                changed = true;
            }
        }
        changed
    }

    pub(super) fn registers(&mut self, n: usize, i: &Instruction, op: &Op) -> Done {
        let list = self.spilled(i);
        if list.len() > 2 {
            return Err(Unsupported);
        }
        self.before(n);
        if self.plain_move(i, &list) {
            return Ok(());
        }
        let mut j = *i;
        let temporaries = [T1, T2];
        j.set_code(select::encodable(i.code()));
        if !Self::rename(&mut j, &list, &temporaries) && self.wide {
            let bytes = self.block.bytes_of(op);
            self.a.bytes(bytes);
            self.after(n);
            return Ok(());
        }
        for (x, t) in list.iter().zip(temporaries).filter(|x| x.0.1) {
            self.a.load(t, Mem::state(register(x.0)));
        }
        self.encode(&j)?;
        for (x, t) in list.iter().zip(temporaries).filter(|x| x.0.2) {
            self.a.store(Mem::state(register(x.0)), t);
        }
        self.after(n);
        Ok(())
    }

    /// A move between a register that is held and one that is not.
    fn plain_move(&mut self, i: &Instruction, list: &[(u8, bool, bool)]) -> bool {
        let size = i.op0_register().size();
        let [(spilled, ..)] = list else { return false };
        if i.mnemonic() != Mnemonic::Mov || i.op1_kind() != OpKind::Register || size < 4 {
            return false;
        }
        let (to, from) = (gpr(i.op0_register()), gpr(i.op1_register()));
        let at = Mem::state(register(*spilled));
        match (held(to), held(from)) {
            (Some(r), None) if size == 8 => self.a.load(r, at),
            (Some(r), None) => self.a.load32(r, at),
            (None, Some(r)) if size == 8 => self.a.store(at, r),
            _ => return false,
        }
        true
    }

    /// A jump to common code.
    pub(super) fn join_common(&mut self, place: usize, target: usize) {
        let d = (target as i64 - (self.start + place + 4) as i64) as i32;
        if let Some(b) = self.a.buf.get_mut(place..place + 4) {
            b.copy_from_slice(&d.to_le_bytes());
        }
    }

    /// Looks up the RIP in T2: jumps to a miss (T2 is kept then), or has the code in T1. Flags are in the slot.
    pub(super) fn lookup(&mut self, misses: &mut Vec<usize>) {
        self.a.mov(T1, T2);
        self.a.shift(true, 5, T1, 12);
        self.a.alu_rr(false, Alu::Xor, T1, T2);
        self.a.alu_imm(false, Alu::And, T1, JUMPS as i32 - 1);
        self.a.shift(false, 4, T1, 5);
        self.a.alu(Alu::Add, T1, Mem::state(OFFSETS.jumps));
        self.a.alu(Alu::Cmp, T2, Mem::base(T1, offset_of!(Jump, rip) as i32));
        misses.push(self.a.jcc(Cc::NotEqual as u8));
        self.a.load(T2, Mem::state(OFFSETS.tag));
        self.a.alu(Alu::Cmp, T2, Mem::base(T1, offset_of!(Jump, tag) as i32));
        self.a.load(T2, Mem::base(T1, offset_of!(Jump, rip) as i32));
        misses.push(self.a.jcc(Cc::NotEqual as u8));
        self.a.load(T1, Mem::base(T1, offset_of!(Jump, code) as i32));
    }

    /// The code behind the block.
    fn finish_cold(&mut self) {
        let mut at = 0;
        while at < self.cold.len() {
            let c = std::mem::replace(&mut self.cold[at], Cold::Done);
            self.cold_code(c);
            at += 1;
        }
        for (calls, common) in [
            (std::mem::take(&mut self.op_calls), self.common.op),
            (std::mem::take(&mut self.written_calls), self.common.written),
        ] {
            if calls.is_empty() {
                continue;
            }
            calls.iter().for_each(|c| self.a.fill_here(*c));
            self.a.imm(T2, std::ptr::from_ref(self.block) as u64);
            let j = self.a.jmp();
            self.join_common(j, common);
        }
    }

    /// In cold code: vector registers are loaded again. What could forbid it has not changed.
    fn again(&mut self, index: usize, loaded: &Loaded) {
        self.stack_again(loaded, self.block.ops.get(index).map_or(0, |o| o.end));
        let level = loaded.vectors;
        if level != NOTHING {
            let call = self.a.call();
            self.join_common(call, self.common.vectors[usize::from(level - 1)]);
        }
    }

    pub(super) fn leave_for(&mut self, target: u64, how: usize) {
        self.a.imm(T2, target);
        let j = self.a.jmp();
        self.join_common(j, how);
    }

    fn cold_code(&mut self, c: Cold) {
        match c {
            Cold::Leave { jumps } => {
                jumps.iter().for_each(|j| self.a.fill_here(*j));
                self.leave_for(self.block.key.rip, self.common.exit);
            }
            Cold::Stack { jump, back, index } => self.load_stack(jump, back, index),
            Cold::Vectors { jump, back, index, level, loaded } => {
                self.a.fill_here(jump);
                let call = self.a.call();
                self.join_common(call, self.common.vectors[usize::from(level - 1)]);
                let done = self.a.jcc(Cc::Equal as u8);
                self.a.fill(done, back);
                let start = self.block.ops.get(index).map_or(0, |o| o.start);
                self.tell_pointers(&loaded);
                self.leave_for(self.rip_at(start), self.common.refuse);
            }
            Cold::Op { jumps, back, index, restore, loaded } => {
                jumps.iter().for_each(|j| self.a.fill_here(*j));
                self.page_misses.extract_if(.., |m| m.0 == index).for_each(|m| self.a.fill_here(m.1));
                self.tell_pointers(&loaded);
                self.a.imm(T1, index as u64);
                let call = self.a.call();
                self.op_calls.push(call);
                if let Some(back) = back {
                    self.again(index, &loaded);
                    if restore {
                        self.a.restore_flags(OFFSETS.flags, OFFSETS.scratch);
                    }
                    let j = self.a.jmp();
                    self.a.fill(j, back);
                }
            }
            Cold::Written { jump, back, index, len, save, branch, host, loaded } => {
                self.a.fill_here(jump);
                self.a.store(Mem::state(OFFSETS.host), host);
                if save {
                    self.a.load(RCX, Mem::state(OFFSETS.scratch + 8));
                    self.a.save_flags(OFFSETS.flags);
                }
                if let Some(b) = branch {
                    self.a.imm(T1, b);
                    self.a.store(Mem::state(OFFSETS.branch), T1);
                }
                self.tell_pointers(&loaded);
                self.a.imm(T1, (index | len << 16) as u64);
                let call = self.a.call();
                self.written_calls.push(call);
                self.again(index, &loaded);
                if save {
                    self.a.restore_flags(OFFSETS.flags, OFFSETS.scratch);
                }
                let j = self.a.jmp();
                self.a.fill(j, back);
            }
            Cold::Link { place, target, save } => {
                self.a.fill_here(place);
                if save {
                    self.a.save_flags(OFFSETS.flags);
                }
                self.leave_by_link(place, target);
            }
            Cold::Return { jump, index } => self.unpredicted(jump, index),
            Cold::Page { jump, back, index, e, size, write, site, roams, past } => {
                self.a.fill_here(jump);
                let mut misses = Vec::new();
                // The address was computed before, so it can be again.
                let _done = self.check(&e, size, write, &mut misses);
                self.fill_site(site, size);
                let _done = self.address(&e);
                self.a.mov(T1, T2);
                self.a.alu(Alu::Sub, T1, self.site(site, Field::Start));
                let j = self.a.jmp();
                self.a.fill(j, back);
                if let Some(at) = roams {
                    self.roams.push((site, at, self.a.at()));
                    // The address was computed before, so it can be again.
                    let _done = self.check(&e, size, write, &mut misses);
                    let to = match past {
                        Some(past) => {
                            self.take_flags(write, site);
                            let _done = self.address(&e);
                            self.a.load(T1, Mem::base(T1, OFFSETS.entry_addend as i32));
                            past
                        }
                        None => {
                            let _done = self.take_entry(&e, write, site);
                            back
                        }
                    };
                    let j = self.a.jmp();
                    self.a.fill(j, to);
                }
                match index {
                    Some(n) => self.page_misses.extend(misses.into_iter().map(|m| (n, m))),
                    None => misses.into_iter().for_each(|m| self.a.fill(m, self.plain)),
                }
            }
            Cold::Forget { jump, back } => {
                self.a.fill_here(jump);
                self.a.load(RSP, Mem::state(OFFSETS.stack));
                let j = self.a.jmp();
                self.a.fill(j, back);
            }
            Cold::Far { jump, target, save } => self.far(jump, target, save),
            Cold::Done => {}
        }
    }

    /// After a hit in the TLB: the site says what the entry does, for once; T1 and T2 are the address.
    pub(super) fn take_entry(&mut self, e: &Ea, write: bool, site: usize) -> Done {
        self.take_flags(write, site);
        self.a.load(T1, Mem::base(T1, OFFSETS.entry_addend as i32));
        self.a.store(self.site(site, Field::Delta), T1);
        self.address(e)?;
        self.a.mov(T1, T2);
        Ok(())
    }

    fn take_flags(&mut self, write: bool, site: usize) {
        if write {
            self.a.load(T2, Mem::base(T1, OFFSETS.entry_flags as i32));
            self.a.store(self.site(site, Field::Flags), T2);
        }
    }

    /// Leaves for `target`, telling by which link (the one at `place`).
    fn leave_by_link(&mut self, place: usize, target: u64) {
        self.a.imm(T2, target);
        self.a.bytes(&[0x41, 0xB8 | T1 & 7, 0, 0, 0, 0]); // mov r13d, which link
        let id_place = self.a.at() - 4;
        if let Some(l) = self.links.iter_mut().find(|l| l.place == place) {
            l.id_place = id_place;
        }
        let j = self.a.jmp();
        self.join_common(j, self.common.exit_link);
    }

    /// To another page: as long as the execution TLB has the page that the link was made for.
    fn far(&mut self, jump: usize, target: u64, save: bool) {
        self.a.fill_here(jump);
        if save {
            self.a.save_flags(OFFSETS.flags);
        }
        let entry = ((target >> 6) as i32) & TLB_MASK & !63;
        let field = |offset: usize| Mem::base(T1, entry + offset as i32);
        self.a.load(T1, Mem::state(OFFSETS.exec));
        self.a.imm(T2, target & !0xFFF);
        self.a.alu(Alu::Or, T2, Mem::state(OFFSETS.generation));
        self.a.alu(Alu::Cmp, T2, field(OFFSETS.entry_exec));
        let first = self.a.jcc(Cc::NotEqual as u8);
        let counter = self.a.imm_later(T2);
        self.a.alu(Alu::Cmp, T2, field(OFFSETS.entry_version));
        let second = self.a.jcc(Cc::NotEqual as u8);
        let place = self.a.jmp();
        self.a.fill_here(first);
        self.a.fill_here(second);
        let miss = self.a.jmp();
        let search = self.a.at();
        self.a.imm(T2, target);
        let mut misses = Vec::new();
        self.lookup(&mut misses);
        self.a.jmp_reg(T1);
        misses.into_iter().for_each(|m| self.a.fill_here(m));
        self.a.fill_here(place);
        self.a.fill_here(miss);
        let back = target <= self.block.key.rip;
        self.links.push(LinkSite {
            place,
            id_place: 0,
            target,
            reg: false,
            way: Way::Far { counter, miss, search, back },
        });
        self.leave_by_link(place, target);
    }

    /// A return that was not predicted: the top prediction is dropped, and the address in T2 looked up.
    fn unpredicted(&mut self, jump: usize, index: usize) {
        self.a.fill_here(jump);
        self.a.alu(Alu::Cmp, RSP, Mem::state(OFFSETS.stack));
        let none = self.a.jcc(Cc::Equal as u8);
        self.a.lea(RSP, Mem::base(RSP, 16));
        self.a.fill_here(none);
        let mut misses = Vec::new();
        self.lookup(&mut misses);
        self.drop_return(index);
        self.a.jmp_reg(T1);
        self.slow_end(index, misses);
    }

    /// Goes to a constant address.
    pub(super) fn go(&mut self, target: u64) {
        let reg = self.flags == Flags::Reg;
        let place = self.a.jmp();
        self.leave_by(place, target, reg);
    }

    /// The jump at `place` goes to a constant address.
    pub(super) fn leave_by(&mut self, place: usize, target: u64, reg: bool) {
        if (target ^ self.block.key.rip) & !0xFFF == 0 {
            let way = if target > self.block.key.rip { Way::Ahead } else { Way::Back };
            self.links.push(LinkSite { place, id_place: 0, target, reg, way });
            self.cold.push(Cold::Link { place, target, save: reg });
        } else {
            self.cold.push(Cold::Far { jump: place, target, save: reg });
        }
    }
}
