//! From a block to host code: the frame of a block, and instructions without control transfer.

use std::mem::offset_of;

use iced_x86::{Decoder, Encoder, Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind, Register};

use super::asm::*;
use super::clock::reads_clock;
use super::context::Context;
use super::engine::{Common, Entries};
use super::flow;
use super::groups::Window;
use super::interrupts;
use super::known::{Holds, Known, Temporaries, but};
use super::live::{self, Use};
use super::rounds::{Rounds, level};
use super::select::{self, host_has, is_native, named, vectors};
use super::sites::{self, Field};
use super::strings;
use super::vectors::{EVERYTHING, NOTHING, WHOLE};
use super::x87::{Loaded, Stack, uses_stack};
use crate::block::{Block, Key, Place};
use crate::decode;
use crate::op::{Op, gpr, segment};
use crate::simd::Translatable;
use crate::state::{Cpu, HIGH8, Mode, REG_PAGE, Seg};
use crate::tlb::{ENTRIES, Entry, USER};

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
// From R12 on (`held`) to the end of what is used most.
const _: () = assert!(register(12) as i32 - BIAS == -128 && OFFSETS.branch as i32 - BIAS <= 127);
/// From a linear address shifted right by 6 to the offset of its entry.
pub(super) const TLB_MASK: i32 = ((ENTRIES - 1) << 6) as i32;

/// Where a guest register is in `Cpu`.
pub(super) const fn register(n: u8) -> usize {
    offset_of!(Cpu, regs) + 8 * n as usize
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

/// Where the linear address of the page is in `Cpu` while code of that page runs.
pub(super) const PAGE: usize = offset_of!(Cpu, regs) + 8 * REG_PAGE as usize;

/// The key of another offset in the same page.
pub(super) fn key_at(from: Key, target: i32) -> Key {
    Key { place: Place::moved(from.place, target as u64), mode: from.mode }
}

/// A link to be made. Offsets are of displacements unless said otherwise.
pub(super) struct LinkSite {
    pub(super) place: usize,
    /// Where it leads while it is not linked.
    pub(super) unlinked: usize,
    /// Of the number that says which link it is.
    pub(super) id_place: usize,
    /// From the start of the page.
    pub(super) target: i32,
    /// `None`: control comes to the target without a branch.
    pub(super) of: Option<Branch>,
    /// Flags are in EFLAGS.
    pub(super) reg: bool,
    pub(super) way: Way,
}

/// An instruction that branches to an address that is constant from the start of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Branch {
    /// Of its block.
    pub(super) index: usize,
    /// It pushes.
    pub(super) call: bool,
}

/// How a link leads to its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// To a later address of the same page: no checks.
    Ahead,
    /// To this or an earlier address of the page: loops look at the attention word and the code version.
    Back,
    /// To another page, if that is the page that its site has, or takes when common code is asked.
    Far {
        site: usize,
        /// Of the jump that is taken when it is not: to common code that leaves, and once the link is made to what looks the target up.
        miss: usize,
        /// To an earlier address.
        back: bool,
    },
}

/// Where in the buffer the code of a block will be.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Room {
    pub(super) hot: usize,
    /// Of what is rarely run; `None`: behind the rest.
    pub(super) cold: Option<usize>,
}

/// What became of a block. Offsets from its start.
pub(super) struct Made {
    pub(super) code: Vec<u8>,
    /// What is rarely run, for where the translator was told.
    pub(super) cold: Vec<u8>,
    pub(super) entries: Entries,
    pub(super) body: usize,
    pub(super) links: Vec<LinkSite>,
    /// Of the page's version, for which the bytes are right; of the second page's, which is 0 where there is none.
    pub(super) versions: [usize; 2],
    /// The site that remembers where the second page is.
    pub(super) second_site: Option<usize>,
    pub(super) handlers: u64,
    /// The site after the last one.
    pub(super) sites: usize,
    /// Sites that may roam: offsets of their check and of what to jump to, and whether they can have a range.
    pub(super) roams: Vec<(usize, usize, usize, bool)>,
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
    /// Runs the instruction by its handler. `back`: where to go on, and with what in the temporaries; `restore`: with flags
    /// in EFLAGS; `loaded`: with these vector and x87 registers.
    Op { jumps: Vec<usize>, back: Option<(usize, Temporaries)>, index: usize, restore: bool, loaded: Loaded },
    /// A store to a marked page. `save`: flags are in EFLAGS and live.
    Written {
        jump: usize,
        back: usize,
        index: usize,
        len: usize,
        save: bool,
        branch: Option<i32>,
        host: Host,
        loaded: Loaded,
    },
    /// Leaves for `target`, or is linked to it.
    Link { place: usize, target: i32, save: bool },
    /// Loads vector registers.
    Vectors { jump: usize, back: usize, index: usize, level: u8, loaded: Loaded },
    /// Loads x87 registers.
    Stack { jump: usize, back: usize, index: usize },
    /// Looks up the return address in T2, which was not the predicted one.
    Return { jump: usize, index: usize },
    /// Forgets the predicted returns.
    Forget { jump: usize, back: usize },
    /// Finds the page of an access that is not the one that its site has; T1 is the offset in it then.
    /// `roams`: the check, which may become a jump to code that asks the TLB only.
    Page { jump: usize, back: usize, miss: Miss, e: Ea, size: usize, write: bool, site: usize, roams: Option<usize> },
    /// The other copy of a window (`groups`): it has these registers, and ends with the flags there.
    Window { start: usize, end: usize, back: usize, flags: Flags, level: u8, stack: Stack },
    /// Leaves for RIP.
    Leave { jumps: Vec<usize> },
    /// Finds the next page, which the block's instruction goes on in; leaves for RIP when it is another.
    Second { jump: usize, back: usize, site: usize },
    /// Leaves for `target`, with flags in the slot.
    LeaveAfter { jump: usize, target: i32 },
    /// Looks for the code of a branch target elsewhere, for T1; else the instruction is left to its handler.
    Search { jumps: Vec<usize>, back: usize, index: usize },
    /// Goes to another page.
    Far(Far),
    /// The page is not the one that the branch's site has: finds it, and goes on at `there`, where `place` is linked.
    FarMiss { jump: usize, there: usize, place: usize, site: usize, target: i32, of: Option<Branch> },
    /// Waits after a locked CMPXCHG that failed (`backoff`).
    Lost { jump: usize, back: usize },
    /// Nothing.
    Done,
}

/// A branch to another page; `save`: flags are in EFLAGS.
#[derive(Clone, Copy)]
pub(super) struct Far {
    jump: usize,
    target: i32,
    save: bool,
    of: Option<Branch>,
}

/// Where to go when no page is found.
#[derive(Clone, Copy)]
pub(super) enum Miss {
    /// To the slow path of an instruction.
    Op(usize),
    /// Before the rounds of a loop: to the plain copy.
    Plain,
    /// Before the first access of a group, of this instruction: to the other copy.
    Join(usize),
}

/// Where in the host was stored.
#[derive(Clone, Copy)]
pub(super) enum Host {
    /// The address is in a register.
    At(u8),
    /// Guest register plus displacement, in the page of a site.
    Of { base: u8, disp: i32, site: usize },
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
    pub(super) decoded: &'a [Instruction],
    pub(super) common: Common,
    /// Where the block will be in the buffer.
    room: Room,
    pub(super) flags: Flags,
    pub(super) uses: Vec<Use>,
    pub(super) cold: Vec<Cold>,
    /// Branches to other pages that are behind the block, while there is room for more.
    warm: Vec<Far>,
    warm_room: bool,
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
    /// Where the version of the page is in the code, and that of the second one.
    version: usize,
    second_version: usize,
    second_site: Option<usize>,
    /// While the fast copy of a loop is made.
    pub(super) rounds: Option<Rounds>,
    /// Where the plain copy begins.
    pub(super) plain: usize,
    /// The block's first site, and the next.
    pub(super) first_site: usize,
    pub(super) sites: usize,
    /// Which of its sites it is to do without.
    pub(super) roaming: &'a [usize],
    /// Sites that may roam: where their check is, and where to jump then; and whether they can have a range.
    pub(super) roams: Vec<(usize, usize, usize, bool)>,
    /// In cold code: jumps to the slow path of instructions.
    page_misses: Vec<(usize, usize)>,
    /// Jumps to an instruction in the other copy of its window.
    pub(super) joins: Vec<(usize, usize)>,
    /// While the first copy of one is made.
    pub(super) window: Option<Window>,
    /// What the temporaries hold.
    pub(super) known: Known,
    /// The TLB table for data, if the block has always the same: entries are named by what is added to its address.
    pub(super) table: Option<i32>,
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

/// Translates; `None` when it cannot be done. `room`: where in the buffer the code will be, `sites`: which one is
/// free, and which of the block's it is to do without (they roam). With `exact` the translation
/// ends before the first instruction that is left to its handler.
pub(super) fn translate(
    cpu: &Cpu,
    block: &Block,
    common: Common,
    room: Room,
    sites: (usize, &[usize]),
    exact: bool,
) -> Option<Made> {
    let mode = block.key.mode;
    let options = decode::options(&cpu.model.features);
    let decoded: Vec<Instruction> = Decoder::with_ip(mode.bits(), &block.bytes, block.key.place.offset(), options)
        .iter()
        .take(block.ops.len())
        .collect();
    if decoded.len() != block.ops.len() {
        return None;
    }
    let exists = |i: &Instruction| decode::exists(i, &cpu.model.features);
    let vector = vectors(&decoded, mode, exists);
    // (In lockstep it is the one that has nothing.)
    let user = mode.has(Mode::USER) && !mode.has(Mode::ALIGN) && !exact;
    let table = cpu.tlb.table(USER).filter(|_| user);
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
        match attempt_all(block, common, room, sites, exact, table, &decoded, &vector, &native) {
            Ok(made) => return made,
            Err(n) => *native.get_mut(n)? = false,
        }
    }
}

/// One try; `Err`: this instruction cannot be translated after all, which changes what is live.
fn attempt_all(
    block: &Block,
    common: Common,
    room: Room,
    sites: (usize, &[usize]),
    exact: bool,
    table: Option<i32>,
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
        a: Asm::new(room.hot),
        block,
        decoded,
        common,
        room,
        flags: Flags::Slot,
        uses,
        cold: Vec::new(),
        warm: Vec::new(),
        warm_room: true,
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
        second_version: 0,
        second_site: None,
        rounds: None,
        plain: 0,
        first_site: sites.0,
        sites: sites.0,
        roaming: sites.1,
        roams: Vec::new(),
        page_misses: Vec::new(),
        joins: Vec::new(),
        window: None,
        known: Known::default(),
        table,
    };
    let (mut entries, body) = t.prologue(live_in);
    if !exact && let Some(rounds) = Rounds::of(decoded, block.key.place.offset(), block.key.mode, native, vector) {
        t.loop_of(rounds, decoded, vector, entries.slot, live_in);
    }
    let mut ended = false;
    // A loop's plain copy is rarely run.
    let mut windows = t.windows(native, vector, if t.plain == 0 { count } else { 0 }).peekable();
    let mut next = 0;
    for (n, (i, op)) in decoded.iter().zip(&block.ops).enumerate().take(count) {
        if n < next {
            continue;
        }
        if let Some(w) = windows.next_if(|w| w.start == n) {
            let end = w.end;
            if t.windowed(w).is_ok() {
                next = end;
                ended = block.ops.get(end - 1).is_some_and(|op| op.is(Op::ENDS));
                continue;
            }
        }
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
        // (STI and POPF end a block, since an interrupt may follow, but go on like others.)
        ended = op.is(Op::ENDS) && (done.is_err() || !interrupts::is_known(i, block.key.mode));
    }
    if !ended {
        t.flush_pointers();
        let end = block.ops.get(count - 1).map_or(0, |o| o.end);
        t.go(t.rip_at(end), None);
    }
    let first = entries.ahead + 5;
    entries.whole = t.links.iter().all(|l| l.place >= first) && t.a.at() >= first;
    if live_in {
        entries.reg_ahead = t.a.at();
        t.a.save_flags(OFFSETS.flags);
        let j = t.a.jmp();
        t.a.fill(j, entries.ahead);
    }
    t.finish_warm();
    if let Some(at) = room.cold {
        t.a.go_on_at(at);
    }
    t.finish_cold();
    let (code, cold) = t.a.parts();
    Ok(Some(Made {
        code,
        cold,
        entries,
        body,
        links: t.links,
        versions: [t.version, t.second_version],
        second_site: t.second_site,
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
        let mut jumps = vec![attention, stale];
        let ahead = self.a.at();
        self.second_check(&mut jumps);
        let body = self.a.at();
        self.cold.push(Cold::Leave { jumps });
        self.flags = Flags::Slot;
        (Entries { reg, slot, page, ahead, reg_ahead: ahead, whole: false }, body)
    }

    /// The instruction goes on in the next page: whether that is the page it was read from, and not written since.
    fn second_check(&mut self, leave: &mut Vec<usize>) {
        let block = self.block;
        let Some(page) = &block.second else { return };
        let site = self.sites;
        self.sites += 1;
        self.second_site = Some(site);
        self.here(T1, 4096);
        self.a.alu(Alu::Cmp, T1, self.site(site, Field::Start));
        let jump = self.a.jcc(Cc::NotEqual as u8);
        self.cold.push(Cold::Second { jump, back: self.a.at(), site });
        self.a.imm(T1, page.counter() as u64);
        self.a.rm(false, &[0x81], Alu::Cmp as u8, Mem::base(T1, 0));
        self.second_version = self.a.at();
        self.a.bytes(&page.version().to_le_bytes());
        leave.push(self.a.jcc(Cc::NotEqual as u8));
    }

    /// RIP so many bytes after the block's start, from the start of the page.
    pub(super) fn rip_at(&self, bytes: u16) -> i32 {
        self.block.key.place.offset() as i32 + i32::from(bytes)
    }

    /// The address `at` from the start of the page into `r`. No flags are changed.
    pub(super) fn here(&mut self, r: u8, at: i32) {
        self.a.load(r, Mem::state(PAGE));
        match at {
            0 => {}
            _ if self.wide => self.a.lea(r, Mem::base(r, at)),
            _ => self.a.lea32(r, Mem::base(r, at)),
        }
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
    pub(super) fn attempt(&mut self, n: usize, i: &Instruction, op: &Op, vector: Option<Translatable>) -> Done {
        let (at, cold, links) = (self.a.buf.len(), self.cold.len(), self.links.len());
        let warm = self.warm.len();
        let (flags, level, sites, stack) = (self.flags, self.level, self.sites, self.stack);
        let done = match vector {
            Some(v) => self.vector(n, i, op, v),
            None if op.is(Op::ENDS) && !interrupts::is_known(i, self.block.key.mode) => self.control(n, i, op),
            None => self.instruction(n, i, op),
        };
        if done.is_err() {
            self.a.buf.truncate(at);
            self.cold.truncate(cold);
            self.links.truncate(links);
            self.warm.truncate(warm);
            (self.flags, self.level, self.sites, self.stack) = (flags, level, sites, stack);
            self.unknown();
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
        self.unknown();
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
        let back = Some((self.a.at(), self.known()));
        self.cold.push(Cold::Op { jumps, back, index: n, restore, loaded: self.loaded_before() });
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
        let relative = matches!(base, Register::RIP | Register::EIP);
        let index = i.memory_index();
        if !index.is_gpr() && index != Register::None {
            return Err(Unsupported);
        }
        let narrow = op.addr_mask == 0xFFFF_FFFF;
        if op.addr_mask == 0xFFFF || op.is(Op::SEG_CHECK) && !self.wide {
            return Err(Unsupported);
        }
        let disp = i.memory_displacement64() as i64;
        let fixed = base == Register::None && index == Register::None;
        let disp = if narrow && !fixed { i64::from(disp as i32) } else { disp };
        let seg = segment(i.memory_segment());
        Ok(Ea {
            base: (base != Register::None).then(|| if relative { REG_PAGE } else { gpr(base) }),
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
            Cli | Sti | Pushfq | Popfq => self.interrupt_flag(n, i),
            Div | Idiv => self.divide(n, i, op),
            Rdtsc | Rdtscp => self.read_clock(n, i),
            _ if strings::is_single(i) => self.single_string(n, i, op),
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
        let mut known = self.known();
        let is_in = |t: usize, x: Option<&(u8, bool, bool)>| x.is_some_and(|x| known[t] == Holds::Guest(x.0));
        let swapped = is_in(1, list.first()) || is_in(0, list.get(1));
        let temporaries = if swapped { [T2, T1] } else { [T1, T2] };
        j.set_code(select::encodable(i.code()));
        if !Self::rename(&mut j, &list, &temporaries) && self.wide {
            let bytes = self.block.bytes_of(op);
            self.a.bytes(bytes);
            self.after(n);
            self.now_known(known);
            return Ok(());
        }
        for (x, t) in list.iter().zip(temporaries) {
            let holds = Holds::Guest(x.0);
            if x.1 && known[usize::from(t - T1)] != holds {
                self.a.load(t, Mem::state(register(x.0)));
            }
            known = but(known, x.0);
            known[usize::from(t - T1)] = holds;
        }
        self.encode(&j)?;
        for (x, t) in list.iter().zip(temporaries).filter(|x| x.0.2) {
            self.a.store(Mem::state(register(x.0)), t);
        }
        self.after(n);
        self.now_known(known);
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
        let mut known = self.known();
        let place = known.iter().position(|h| *h == Holds::Guest(*spilled)).map(|t| [T1, T2][t]);
        match (held(to), held(from), place) {
            (Some(r), None, Some(t)) => self.a.rr(size == 8, &[0x89], t, r),
            (Some(r), None, None) if size == 8 => self.a.load(r, at),
            (Some(r), None, None) => self.a.load32(r, at),
            (None, Some(r), _) if size == 8 => {
                self.a.store(at, r);
                known = but(known, *spilled);
            }
            _ => return false,
        }
        self.now_known(known);
        true
    }

    /// Calls common code.
    fn call_common(&mut self, target: usize) {
        let call = self.a.call();
        self.join_common(call, target);
    }

    /// A jump to common code.
    pub(super) fn join_common(&mut self, place: usize, target: usize) {
        self.a.set(place, (target as i64 - (self.room.hot + place + 4) as i64) as i32);
    }

    /// Looks up the RIP in T2, where a branch of instruction `n` goes: has the code in T1, or leaves it to the instruction's handler,
    /// whose slow path is to follow. Flags are in the slot.
    pub(super) fn lookup(&mut self, n: usize) {
        let mut misses = Vec::new();
        flow::lookup_known(&mut self.a, &mut misses);
        self.cold.push(Cold::Search { jumps: misses, back: self.a.at(), index: n });
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
            self.call_common(self.common.vectors[usize::from(level - 1)]);
        }
    }

    pub(super) fn leave_for(&mut self, target: i32, how: usize) {
        self.here(T2, target);
        let j = self.a.jmp();
        self.join_common(j, how);
    }

    fn cold_code(&mut self, c: Cold) {
        self.unknown();
        match c {
            Cold::Leave { jumps } => {
                jumps.iter().for_each(|j| self.a.fill_here(*j));
                self.leave_for(self.rip_at(0), self.common.exit);
            }
            Cold::LeaveAfter { jump, target } => {
                self.a.fill_here(jump);
                self.leave_for(target, self.common.exit);
            }
            Cold::Stack { jump, back, index } => self.load_stack(jump, back, index),
            Cold::Vectors { jump, back, index, level, loaded } => {
                self.a.fill_here(jump);
                self.call_common(self.common.vectors[usize::from(level - 1)]);
                let done = self.a.jcc(Cc::Equal as u8);
                self.a.fill(done, back);
                let start = self.block.ops.get(index).map_or(0, |o| o.start);
                self.tell_pointers(&loaded);
                self.leave_for(self.rip_at(start), self.common.refuse);
            }
            Cold::Op { jumps, back, index, restore, loaded } => {
                if jumps.is_empty() && !self.page_misses.iter().any(|m| m.0 == index) {
                    return;
                }
                jumps.iter().for_each(|j| self.a.fill_here(*j));
                self.page_misses.extract_if(.., |m| m.0 == index).for_each(|m| self.a.fill_here(m.1));
                self.tell_pointers(&loaded);
                self.a.imm(T1, index as u64);
                let call = self.a.call();
                self.op_calls.push(call);
                if let Some((back, known)) = back {
                    self.again(index, &loaded);
                    if restore {
                        self.a.restore_flags(OFFSETS.flags, OFFSETS.scratch);
                    }
                    self.recall(known);
                    let j = self.a.jmp();
                    self.a.fill(j, back);
                }
            }
            Cold::Written { jump, back, index, len, save, branch, host, loaded } => {
                self.a.fill_here(jump);
                let host = match host {
                    Host::At(r) => r,
                    Host::Of { base, disp, site } => {
                        let base = self.loaded(base, T2);
                        self.a.load(T1, self.site(site, Field::Delta));
                        self.a.lea(T1, Mem { base: Some(base), index: Some((T1, 1)), disp });
                        T1
                    }
                };
                self.a.store(Mem::state(OFFSETS.host), host);
                if save {
                    self.a.save_flags(OFFSETS.flags);
                }
                if let Some(b) = branch {
                    self.here(T1, b);
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
                self.unlinked_here(place);
                if save {
                    self.a.save_flags(OFFSETS.flags);
                }
                self.leave_by_link(place, target);
            }
            Cold::Return { jump, index } => self.unpredicted(jump, index),
            Cold::Page { jump, back, miss, e, size, write, site, roams } => {
                let packed = sites::packed(site, size);
                self.a.fill_here(jump);
                self.a.imm(T2, packed);
                self.call_common(self.common.page[usize::from(write)]);
                let mut misses = vec![self.a.jcc(Cc::NotEqual as u8)];
                let mut found = back;
                if matches!(miss, Miss::Plain) {
                    found = self.a.at();
                    self.in_page(size);
                }
                let j = self.a.jmp();
                self.a.fill(j, back);
                if let Some(at) = roams {
                    self.roams.push((site, at, self.a.at(), !write));
                    // The address was computed before, so it can be again.
                    let _done = self.address(&e);
                    self.a.imm(T1, packed);
                    self.call_common(self.common.roam[usize::from(write)]);
                    misses.push(self.a.jcc(Cc::NotEqual as u8));
                    let j = self.a.jmp();
                    self.a.fill(j, found);
                }
                match miss {
                    Miss::Op(n) => self.page_misses.extend(misses.into_iter().map(|m| (n, m))),
                    Miss::Join(n) => self.joins.extend(misses.into_iter().map(|m| (n, m))),
                    Miss::Plain => misses.into_iter().for_each(|m| self.a.fill(m, self.plain)),
                }
            }
            Cold::Window { start, end, back, flags, level, stack } => {
                (self.level, self.stack) = (level, stack);
                self.other_copy(start, end, back, flags);
            }
            Cold::Forget { jump, back } => {
                self.a.fill_here(jump);
                self.a.load(RSP, Mem::state(OFFSETS.stack));
                let j = self.a.jmp();
                self.a.fill(j, back);
            }
            Cold::Lost { jump, back } => {
                self.a.fill_here(jump);
                self.call_common(self.common.wait);
                let j = self.a.jmp();
                self.a.fill(j, back);
            }
            Cold::Second { jump, back, site } => {
                self.a.fill_here(jump);
                self.a.imm(T2, site as u64);
                self.call_common(self.common.far);
                let found = self.a.jcc(Cc::Equal as u8);
                self.a.fill(found, back);
                self.leave_for(self.rip_at(0), self.common.exit);
            }
            Cold::Far(far) => self.far(far),
            Cold::FarMiss { jump, there, place, site, target, of } => {
                self.far_miss(jump, there, place, site, target, of);
            }
            Cold::Search { jumps, back, index } => {
                jumps.iter().for_each(|j| self.a.fill_here(*j));
                self.call_common(self.common.find);
                self.a.alu_rr(true, Alu::Or, T1, T1);
                let found = self.a.jcc(Cc::NotEqual as u8);
                self.a.fill(found, back);
                let none = self.a.jmp();
                self.page_misses.push((index, none));
            }
            Cold::Done => {}
        }
    }

    /// After a hit in the TLB: the site says what the entry does, for once; T1 is the distance, and T2, for a store, the
    /// address of the flag byte.
    pub(super) fn take_entry(&mut self, write: bool, site: usize) {
        self.take_flags(write, site);
        self.a.load(T1, self.entry(T1, OFFSETS.entry_addend));
        self.a.store(self.site(site, Field::Delta), T1);
    }

    fn take_flags(&mut self, write: bool, site: usize) {
        if write {
            self.a.load(T2, self.entry(T1, OFFSETS.entry_flags));
            self.a.store(self.site(site, Field::Flags), T2);
        }
    }

    /// The link at `place` leads to what comes next as long as it leads nowhere else.
    fn unlinked_here(&mut self, place: usize) {
        self.a.fill_here(place);
        let unlinked = self.a.at();
        self.links.iter_mut().filter(|l| l.place == place).for_each(|l| l.unlinked = unlinked);
    }

    /// Leaves for `target`, telling by which link (the one at `place`). Where the displacement of its jump is.
    fn leave_by_link(&mut self, place: usize, target: i32) -> usize {
        self.here(T2, target);
        self.a.bytes(&[0x41, 0xB8 | T1 & 7, 0, 0, 0, 0]); // mov r13d, which link
        let id_place = self.a.at() - 4;
        if let Some(l) = self.links.iter_mut().find(|l| l.place == place) {
            l.id_place = id_place;
        }
        let j = self.a.jmp();
        self.join_common(j, self.common.exit_link);
        j
    }

    /// To another page: as long as the execution TLB has the page that the link was made for, which the site remembers.
    fn far(&mut self, far: Far) {
        self.a.fill_here(far.jump);
        self.far_from_here(far.target, far.save, far.of);
    }

    fn far_from_here(&mut self, target: i32, save: bool, of: Option<Branch>) {
        if save {
            self.a.save_flags(OFFSETS.flags);
        }
        let site = self.sites;
        self.sites += 1;
        self.here(T1, target & !0xFFF);
        self.a.alu(Alu::Cmp, T1, self.site(site, Field::Start));
        let jump = self.a.jcc(Cc::NotEqual as u8);
        let there = self.a.at();
        self.a.store(Mem::state(PAGE), T1);
        let place = self.a.jmp();
        self.cold.push(Cold::FarMiss { jump, there, place, site, target, of });
    }

    fn far_miss(&mut self, jump: usize, there: usize, place: usize, site: usize, target: i32, of: Option<Branch>) {
        self.a.fill_here(jump);
        self.a.imm(T2, site as u64);
        self.call_common(self.common.far);
        let found = self.a.jcc(Cc::Equal as u8);
        self.a.fill(found, there);
        self.a.fill_here(place);
        let way = Way::Far { site, miss: 0, back: target <= self.rip_at(0) };
        self.links.push(LinkSite { place, unlinked: self.a.at(), id_place: 0, target, of, reg: false, way });
        let leaves = self.leave_by_link(place, target);
        if let Some(LinkSite { way: Way::Far { miss, .. }, .. }) = self.links.last_mut() {
            *miss = leaves;
        }
    }

    /// A return that was not predicted: the top prediction is dropped, and the address in T2 looked up.
    fn unpredicted(&mut self, jump: usize, index: usize) {
        self.a.fill_here(jump);
        self.call_common(self.common.returned);
        let unknown = self.a.jcc(Cc::Equal as u8);
        self.page_misses.push((index, unknown));
        self.drop_return(index);
        let j = self.a.jmp();
        self.join_common(j, self.common.enter_found);
        self.slow_end(index, Vec::new());
    }

    /// Goes to an address that is constant from the start of the page.
    pub(super) fn go(&mut self, target: i32, of: Option<Branch>) {
        let reg = self.flags == Flags::Reg;
        if (0..4096).contains(&target) {
            let place = self.a.jmp();
            self.leave_by(place, target, reg, of);
        } else {
            self.far_from_here(target, reg, of);
        }
    }

    /// The call at `place` goes to such an address. Flags are in the slot.
    pub(super) fn call_by(&mut self, place: usize, target: i32, of: Option<Branch>) {
        if self.warm_room && !(0..4096).contains(&target) {
            self.warm.push(Far { jump: place, target, save: false, of });
        } else {
            self.leave_by(place, target, false, of);
        }
    }

    /// The jump at `place` goes to such an address.
    pub(super) fn leave_by(&mut self, place: usize, target: i32, reg: bool, of: Option<Branch>) {
        if (0..4096).contains(&target) {
            let way = if target > self.rip_at(0) { Way::Ahead } else { Way::Back };
            self.links.push(LinkSite { place, unlinked: 0, id_place: 0, target, of, reg, way });
            self.cold.push(Cold::Link { place, target, save: reg });
        } else {
            self.cold.push(Cold::Far(Far { jump: place, target, save: reg, of }));
        }
    }

    /// What is run often behind the block.
    fn finish_warm(&mut self) {
        self.unknown();
        std::mem::take(&mut self.warm).into_iter().for_each(|far| self.far(far));
        self.warm_room = false;
    }
}
