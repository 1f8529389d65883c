//! The decoded-block cache: from (RIP, mode) through the execution TLB to a block.
//!
//! A direct-mapped jump cache answers almost always: the execution tag of the TLB says where RIP's page is, and the
//! slot says which block starts there. Behind it is a map of all blocks by physical place, so that address-space
//! switches lose no decoded code, and code that is mapped at several addresses is decoded (and translated) once. Bounded: when the map is full everything goes.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use crate::block::{Block, CodePage, Key, MAX_BYTES, Place, decode_ops};
use crate::bus::Bus;
use crate::decode::MAX_INSTRUCTION;
use crate::fault::{Abort, AbortKind, Access};
use crate::op::DecodeCx;
use crate::slow::Page;
use crate::state::{Cpu, Mode, Seg};
use crate::tlb::{Phys, SUPERVISOR, USER};

const SLOTS: usize = 32768;
const MAX_BLOCKS: usize = 256 << 10;

#[derive(Clone, Default)]
struct Slot {
    key: Key,
    block: Option<Arc<Block>>,
}

/// Mixes the words of a [`Key`]; addresses are the guest's choice, but so is the time it wastes on collisions.
#[derive(Default)]
pub(crate) struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for b in bytes {
            self.write_u64(u64::from(*b));
        }
    }
    fn write_u32(&mut self, v: u32) {
        self.write_u64(u64::from(v));
    }
    fn write_u64(&mut self, v: u64) {
        self.0 = (self.0.rotate_left(26) ^ v).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.0 ^= self.0 >> 29;
    }
}

/// All decoded blocks of one processor.
pub(crate) struct Cache {
    slots: Box<[Slot]>,
    blocks: HashMap<Key, Arc<Block>, BuildHasherDefault<KeyHasher>>,
    /// The block of the last instruction fetched from a device, or cut by the segment limit.
    uncached: Option<Arc<Block>>,
    /// Everything went because there was too much: translations should go too.
    pub(crate) overflowed: bool,
    empty: Arc<Block>,
}

enum Where {
    Slot,
    Uncached,
}

impl Default for Cache {
    fn default() -> Self {
        let empty = Arc::new(Block::new(Key::default(), [], [], None, None));
        Self {
            slots: vec![Slot::default(); SLOTS].into(),
            blocks: HashMap::default(),
            uncached: None,
            overflowed: false,
            empty,
        }
    }
}

/// The table that fetches go through.
#[inline(always)]
pub(crate) fn table(cpu: &Cpu) -> usize {
    if cpu.mode.has(Mode::USER) { USER } else { SUPERVISOR }
}

/// Linear address of `rip`.
#[inline(always)]
fn linear(cpu: &Cpu, rip: u64) -> u64 {
    if cpu.mode.has(Mode::CODE64) { rip } else { cpu.segs[Seg::Cs as usize].base.wrapping_add(rip) & 0xFFFF_FFFF }
}

/// Bytes of code that the segment allows from `rip`.
fn room(cpu: &Cpu, rip: u64) -> usize {
    if cpu.mode.has(Mode::CODE64) {
        return MAX_BYTES;
    }
    let limit = u64::from(cpu.segs[Seg::Cs as usize].limit);
    (limit + 1).saturating_sub(rip).min(MAX_BYTES as u64) as usize
}

impl Cache {
    /// The block at RIP for `mode` (the processor's, or with STEP added).
    ///
    /// # Errors
    /// #PF, #GP, or an exit of the fetch.
    #[inline(always)]
    pub(crate) fn find(&mut self, cpu: &mut Cpu, bus: &mut dyn Bus, mode: Mode) -> Result<&Arc<Block>, Abort> {
        let at = linear(cpu, cpu.rip);
        let slot = (cpu.rip ^ cpu.rip >> 13 ^ u64::from(mode.0 >> 7) << 3) as usize & (SLOTS - 1);
        let e = cpu.tlb.slot(table(cpu), at);
        let key = Key { place: Place::new(e.version, at), mode };
        let there = e.exec == cpu.tlb.tag(at) && {
            let s = &self.slots[slot];
            s.key == key
                && s.block.as_ref().is_some_and(|b| {
                    b.fresh()
                        && (mode.has(Mode::CODE64) || b.bytes.len() <= room(cpu, cpu.rip))
                        && b.second.as_ref().is_none_or(|second| second_there(cpu, second, at))
                })
        };
        if !there && let Where::Uncached = self.miss(cpu, bus, mode, at, slot)? {
            return Ok(self.uncached.as_ref().unwrap_or(&self.empty));
        }
        Ok(self.slots[slot].block.as_ref().unwrap_or(&self.empty))
    }

    /// The block at RIP, decoded from the bytes as they are now: nothing cached is trusted.
    ///
    /// # Errors
    /// As [`Cache::find`].
    pub(crate) fn afresh(&mut self, cpu: &mut Cpu, bus: &mut dyn Bus, mode: Mode) -> Result<&Block, Abort> {
        let at = linear(cpu, cpu.rip);
        let room = room(cpu, cpu.rip);
        if room == 0 {
            return Err(cpu.gp(0));
        }
        let known = bus.instruction();
        let known = known.get(..room).unwrap_or(known);
        if let Some(block) = known_instruction(cpu, mode, known) {
            self.uncached = Some(Arc::new(block));
            return Ok(self.uncached.as_deref().unwrap_or(&self.empty));
        }
        let page = code_page(cpu, bus, at)?;
        if page.phys.host.is_null() {
            self.fetch_device(cpu, bus, mode, &page, room)?;
        } else {
            let key = Key { place: Place::new(page.phys.version, at), mode };
            self.uncached = Some(Arc::new(build(cpu, bus, key, &page, room)?));
        }
        Ok(self.uncached.as_deref().unwrap_or(&self.empty))
    }

    #[inline(never)]
    fn miss(&mut self, cpu: &mut Cpu, bus: &mut dyn Bus, mode: Mode, at: u64, slot: usize) -> Result<Where, Abort> {
        let room = room(cpu, cpu.rip);
        if room == 0 {
            return Err(cpu.gp(0));
        }
        let page = code_page(cpu, bus, at)?;
        if page.phys.host.is_null() {
            return self.fetch_device(cpu, bus, mode, &page, room);
        }
        let key = Key { place: Place::new(page.phys.version, at), mode };
        // Only the TLB had forgotten where the page is.
        let s = &self.slots[slot];
        if s.key == key && s.block.as_ref().is_some_and(|b| b.loops() && b.bytes.len() <= room) {
            return Ok(Where::Slot);
        }
        if let Some(b) = self.blocks.get(&key).cloned() {
            if b.bytes.len() <= room && self.still_valid(cpu, bus, &b, at)? {
                self.slots[slot] = Slot { key, block: Some(b) };
                return Ok(Where::Slot);
            }
            if b.bytes.len() > room {
                let block = build(cpu, bus, key, &page, room)?;
                self.uncached = Some(Arc::new(block));
                return Ok(Where::Uncached);
            }
        }
        let block = Arc::new(build(cpu, bus, key, &page, room)?);
        if self.blocks.len() >= MAX_BLOCKS {
            self.clear();
            self.overflowed = true;
        }
        self.blocks.insert(key, block.clone());
        self.slots[slot] = Slot { key, block: Some(block) };
        Ok(Where::Slot)
    }

    /// Whether the bytes behind a known block are still its bytes; makes its versions those of now if so.
    fn still_valid(&self, cpu: &mut Cpu, bus: &mut dyn Bus, b: &Block, at: u64) -> Result<bool, Abort> {
        let Some(first) = &b.page else { return Ok(false) };
        let in_first = b.bytes.len().min(4096 - (at as usize & 0xFFF));
        if let Some(second) = &b.second {
            let next = code_page(cpu, bus, next_page(cpu, at))?;
            if next.phys.host.is_null() || next.phys.version != second.counter() {
                return Ok(false);
            }
            if !unchanged(second, &b.bytes[in_first..]) {
                return Ok(false);
            }
        }
        Ok(unchanged(first, &b.bytes[..in_first]))
    }

    /// One instruction whose first byte is not in RAM.
    fn fetch_device(
        &mut self,
        cpu: &mut Cpu,
        bus: &mut dyn Bus,
        mode: Mode,
        page: &Page,
        room: usize,
    ) -> Result<Where, Abort> {
        let mut bytes = Vec::with_capacity(MAX_INSTRUCTION);
        let cx = DecodeCx { mode: Mode(mode.0 | Mode::STEP), rip: cpu.rip, features: cpu.model.features };
        let mut page = *page;
        while bytes.len() < MAX_INSTRUCTION.min(room) {
            let mut b = [0];
            let gpa = page.gpa();
            if page.phys.host.is_null() {
                if bus.mem_read(gpa, &mut b).is_err() {
                    let kind = AbortKind::Memory { gpa, gva: page.at, len: 1, access: Access::Fetch };
                    return Err(cpu.leave(kind));
                }
            } else {
                cpu.tlb.block(page.phys.block).read(page.phys.offset + (page.at & 0xFFF), &mut b);
            }
            bytes.push(b[0]);
            let (ops, _) = decode_ops(&bytes, cx);
            if !ops.is_empty() {
                let block = Block::new(Key::default(), ops, bytes, None, None);
                self.uncached = Some(Arc::new(block));
                return Ok(Where::Uncached);
            }
            page.at = linear(cpu, cpu.rip.wrapping_add(bytes.len() as u64));
            if page.at & 0xFFF == 0 {
                page = code_page(cpu, bus, page.at)?;
            }
        }
        Err(cpu.gp(0)) // the segment ends inside the instruction
    }

    /// Forgets all blocks.
    pub(crate) fn clear(&mut self) {
        self.slots.fill(Slot::default());
        self.blocks.clear();
        self.uncached = None;
    }
}

/// One instruction whose bytes are known, if they are all of it.
fn known_instruction(cpu: &Cpu, mode: Mode, bytes: &[u8]) -> Option<Block> {
    let cx = DecodeCx { mode: Mode(mode.0 | Mode::STEP), rip: cpu.rip, features: cpu.model.features };
    let (ops, len) = decode_ops(bytes, cx);
    (!ops.is_empty()).then(|| Block::new(Key::default(), ops, bytes.get(..len).unwrap_or(bytes), None, None))
}

fn next_page(cpu: &Cpu, at: u64) -> u64 {
    let next = (at | 0xFFF).wrapping_add(1);
    if cpu.mode.has(Mode::CODE64) { next } else { next & 0xFFFF_FFFF }
}

/// The page that code at `at` is fetched from, permission checked.
fn code_page(cpu: &mut Cpu, bus: &mut dyn Bus, at: u64) -> Result<Page, Abort> {
    let base = table(cpu);
    let e = cpu.tlb.slot(base, at);
    if e.exec == cpu.tlb.tag(at) {
        let host = crate::mem::host::<u8>(e, at & !0xFFF);
        let (flags, version, offset, block) = (e.flags, e.version, e.offset, e.block);
        let phys = Phys { gpa: 0, host, flags, version, offset, block, writable: false, executable: true };
        return Ok(Page { phys, at });
    }
    let page = cpu.resolve(bus, at, Access::Fetch, base)?;
    if !page.phys.host.is_null() && !page.phys.executable {
        let kind = AbortKind::Memory { gpa: page.gpa(), gva: at, len: 1, access: Access::Fetch };
        return Err(cpu.leave(kind));
    }
    Ok(page)
}

/// Whether the execution TLB says that the page after `at` is `second`'s, and it is unchanged.
#[inline(never)]
fn second_there(cpu: &Cpu, second: &CodePage, at: u64) -> bool {
    let next = next_page(cpu, at);
    let e = cpu.tlb.slot(table(cpu), next);
    e.exec == cpu.tlb.tag(next) && e.version == second.counter() && second.fresh()
}

fn read_code(page: &CodePage, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    page.ram.read(page.offset, &mut bytes);
    bytes
}

fn unchanged(page: &CodePage, bytes: &[u8]) -> bool {
    if page.fresh() {
        return true;
    }
    let version = page.ram.mark_code(page.offset, bytes.len() as u64);
    let same = read_code(page, bytes.len()) == bytes;
    if same {
        page.renew(version);
    }
    same
}

/// Decodes the block at RIP, whose first byte is in `page`.
fn build(cpu: &mut Cpu, bus: &mut dyn Bus, key: Key, page: &Page, room: usize) -> Result<Block, Abort> {
    let cx = DecodeCx { mode: key.mode, rip: cpu.rip, features: cpu.model.features };
    let ram = cpu.tlb.block(page.phys.block).clone();
    let offset = page.phys.offset + (page.at & 0xFFF);
    let in_page = 4096 - (page.at as usize & 0xFFF);
    let mut bytes = vec![0; in_page.min(room)];
    // A look first, to learn how long the block is; then exactly that is marked and read again.
    loop {
        ram.read(offset, &mut bytes);
        let (ops, len) = decode_ops(&bytes, cx);
        if ops.is_empty() {
            break;
        }
        let mut first = CodePage::mark(ram.clone(), offset, len as u64);
        let marked = read_code(&first, len);
        if marked == bytes[..len] {
            first.watch(&marked);
            return Ok(Block::new(key, ops, marked, Some(first), None));
        }
        // Another processor changed the bytes in between.
    }
    // The first instruction is not complete: it crosses into the next page, or the segment ends in it.
    if in_page >= room {
        return Err(cpu.gp(0));
    }
    let at = next_page(cpu, page.at);
    let next = code_page(cpu, bus, at)?;
    let mut first = CodePage::mark(ram, offset, in_page as u64);
    let mut bytes = read_code(&first, in_page);
    let want = MAX_INSTRUCTION.saturating_sub(in_page).min(room - in_page);
    let mut second = if next.phys.host.is_null() {
        let mut rest = vec![0; want];
        for (i, b) in rest.iter_mut().enumerate() {
            let gpa = next.phys.gpa + i as u64;
            if bus.mem_read(gpa, std::slice::from_mut(b)).is_err() {
                return Err(cpu.leave(AbortKind::Memory { gpa, gva: at, len: 1, access: Access::Fetch }));
            }
        }
        bytes.extend(rest);
        None
    } else {
        let page = CodePage::mark(cpu.tlb.block(next.phys.block).clone(), next.phys.offset, want.max(1) as u64);
        bytes.extend(read_code(&page, want));
        Some(page)
    };
    let (mut ops, _) = decode_ops(&bytes, DecodeCx { mode: Mode(cx.mode.0 | Mode::STEP), ..cx });
    ops.truncate(1);
    let Some(op) = ops.first() else { return Err(cpu.gp(0)) };
    bytes.truncate(usize::from(op.end));
    let (in_first, in_second) = bytes.split_at(in_page.min(bytes.len()));
    first.watch(in_first);
    if let Some(second) = &mut second {
        second.watch(in_second);
    }
    // Without a second page (the rest is in a device) the block is not fresh, so it is never used again.
    let page = second.is_some().then_some(first);
    Ok(Block::new(key, ops, bytes, page, second))
}
