//! A decoded block: straight-line instructions of one page, or one instruction that crosses into the next page.
//!
//! A block is valid while the code version of its page (and of the second page) is what it was when the bytes were
//! read (the store protocol of guest-memory). In memory of others, who write without the protocol (a client of the C
//! API that plays DMA), the bytes are compared too, at every entry. It is the thing a translator would hang compiled code on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use guest_memory::RamBlock;

use crate::decode::decode;
use crate::op::{DecodeCx, Op};
use crate::state::Mode;

/// Most instructions in a block.
pub(crate) const MAX_OPS: usize = 48;
/// Most bytes looked at for a block.
pub(crate) const MAX_BYTES: usize = 512;

/// Where a block's bytes are, for every address space and mode: the page's code version counter (blocks keep their
/// memory alive, so its address names the page) and the offset in the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub(crate) struct Place(u64);

impl Place {
    /// Host user addresses have 47 bits and counters are 4-byte aligned, so nothing is lost or mixed.
    #[inline(always)]
    pub(crate) fn new(version: *const AtomicU32, at: u64) -> Self {
        Self((version as u64) << 10 | at & 0xFFF)
    }

    /// The place at another offset in the page.
    pub(crate) fn moved(self, at: u64) -> Self {
        Self(self.0 & !0xFFF | at & 0xFFF)
    }

    /// The offset in the page.
    pub(crate) fn offset(self) -> u64 {
        self.0 & 0xFFF
    }
}

/// Identity of a block. RIP does not count: what it says is the same at every address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub(crate) struct Key {
    pub(crate) place: Place,
    pub(crate) mode: Mode,
}

/// A page that a block's bytes came from.
#[derive(Debug)]
pub(crate) struct CodePage {
    pub(crate) ram: Arc<RamBlock>,
    /// Of the first byte in `ram`.
    pub(crate) offset: u64,
    counter: *const AtomicU32,
    version: AtomicU32,
    renewed: AtomicBool,
    /// In foreign memory: what must still be there.
    watch: Option<Watch>,
}

/// Bytes in memory that others write, as the aligned words around them.
#[derive(Debug)]
struct Watch {
    start: *const u64,
    words: Box<[u64]>,
    /// Which bits of the first and the last word count.
    first: u64,
    last: u64,
}

impl Watch {
    fn new(host: *const u8, bytes: &[u8]) -> Self {
        let lead = host as usize & 7;
        let total = (lead + bytes.len()).next_multiple_of(8);
        let mut padded = vec![0; total];
        padded[lead..lead + bytes.len()].copy_from_slice(bytes);
        let words = padded.chunks_exact(8).map(|c| c.iter().rev().fold(0, |w, b| w << 8 | u64::from(*b)));
        let words: Box<[u64]> = words.collect();
        let (mut first, mut last) = (u64::MAX << (8 * lead), u64::MAX >> (8 * (total - lead - bytes.len()) as u32));
        if words.len() == 1 {
            (first, last) = (first & last, first & last);
        }
        Self { start: host.wrapping_sub(lead).cast(), words, first, last }
    }

    /// Whether the bytes are still there.
    fn same(&self) -> bool {
        let end = self.words.len().wrapping_sub(1);
        self.words.iter().enumerate().all(|(i, want)| {
            // SAFETY: aligned words around bytes of a mapped page lie in that page; the block is entered only while
            // the page is mapped (see `Cache::find`). Volatile: others write at the same time.
            let got = u64::from_le(unsafe { self.start.add(i).read_volatile() });
            let mask = if i == 0 {
                self.first
            } else if i == end {
                self.last
            } else {
                u64::MAX
            };
            got & mask == *want
        })
    }
}

// SAFETY: `counter` points to an atomic of `ram`, which is Send and Sync and lives as long as `self`; the pointer in
// `watch` is read only while its page is mapped, by any thread.
unsafe impl Send for CodePage {}
// SAFETY: as above.
unsafe impl Sync for CodePage {}

impl CodePage {
    /// Notes that `len` bytes at `offset` are code. To be called before they are read.
    pub(crate) fn mark(ram: Arc<RamBlock>, offset: u64, len: u64) -> Self {
        let version = ram.mark_code(offset, len);
        let counter = std::ptr::from_ref(ram.code_version(offset));
        Self { ram, offset, counter, version: AtomicU32::new(version), renewed: AtomicBool::new(false), watch: None }
    }

    /// The bytes that were read at the start of it.
    pub(crate) fn watch(&mut self, bytes: &[u8]) {
        if self.ram.is_foreign() && !bytes.is_empty() {
            self.watch = Some(Watch::new(self.ram.host_ptr(self.offset), bytes));
        }
    }

    /// Whether the version alone does not tell if the bytes are still there.
    #[cfg(all(target_arch = "x86_64", any(target_os = "linux", windows)))]
    pub(crate) fn watched(&self) -> bool {
        self.watch.is_some()
    }

    /// The bytes are what they were: valid for `version` too (as `mark_code` gave it before they were compared).
    pub(crate) fn renew(&self, version: u32) {
        self.version.store(version, Ordering::Relaxed);
        self.renewed.store(true, Ordering::Relaxed);
    }

    /// Whether nothing was written to the bytes since.
    #[inline(always)]
    pub(crate) fn fresh(&self) -> bool {
        // SAFETY: an atomic of `ram`, alive with it.
        let known = unsafe { (*self.counter).load(Ordering::Relaxed) == self.version.load(Ordering::Relaxed) };
        known && self.watch.as_ref().is_none_or(Watch::same)
    }

    /// The version for which the bytes are known to be right.
    pub(crate) fn version(&self) -> u32 {
        self.version.load(Ordering::Relaxed)
    }

    /// Address of the code version counter.
    pub(crate) fn counter(&self) -> *const AtomicU32 {
        self.counter
    }
}

/// Decoded instructions.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) ops: Box<[Op]>,
    /// The bytes they were decoded from.
    pub(crate) bytes: Box<[u8]>,
    /// The page of the first byte; `None` when the code is not in RAM (such blocks are never cached).
    pub(crate) page: Option<CodePage>,
    /// The page of the rest of an instruction that crosses.
    pub(crate) second: Option<CodePage>,
    /// What it was looked up by.
    pub(crate) key: Key,
    /// How often the interpreter ran it, while the translator may want it; then [`Block::counted`].
    pub(crate) heat: AtomicU32,
    /// Where its translation starts, [`Block::NO_CODE`] or [`Block::NEVER`]. Written by its processor only.
    pub(crate) code: AtomicU64,
    /// Where branches from other blocks enter it.
    pub(crate) entry: AtomicU64,
    /// The numbers of its translation's first link and the one after the last, and where in the code its pages' versions are.
    links: [AtomicU32; 4],
}

impl Block {
    /// `code`: not translated (yet).
    pub(crate) const NO_CODE: u64 = 0;
    /// `code`: cannot be.
    pub(crate) const NEVER: u64 = 1;

    const VECTORS: u32 = 1 << 31;

    /// Notes how many instructions the translation covers, and whether some use vector registers.
    pub(crate) fn set_counted(&self, count: usize, vectors: bool) {
        let bit = if vectors { Self::VECTORS } else { 0 };
        self.heat.store(count as u32 | bit, Ordering::Relaxed);
    }

    /// The instructions that the translation covers.
    pub(crate) fn counted(&self) -> usize {
        (self.heat.load(Ordering::Relaxed) & !Self::VECTORS) as usize
    }

    /// Whether some of them use vector registers.
    pub(crate) fn vectors(&self) -> bool {
        self.heat.load(Ordering::Relaxed) & Self::VECTORS != 0
    }

    /// A block with nothing known about its use.
    pub(crate) fn new(
        key: Key,
        ops: impl Into<Box<[Op]>>,
        bytes: impl Into<Box<[u8]>>,
        page: Option<CodePage>,
        second: Option<CodePage>,
    ) -> Self {
        let (ops, bytes) = (ops.into(), bytes.into());
        Self {
            ops,
            bytes,
            page,
            second,
            key,
            heat: AtomicU32::new(0),
            code: AtomicU64::new(Self::NO_CODE),
            entry: AtomicU64::new(0),
            links: [const { AtomicU32::new(0) }; 4],
        }
    }

    /// Notes the numbers of the links of its translation, and where it has its pages' versions.
    pub(crate) fn set_links(&self, links: std::ops::Range<usize>, versions: [usize; 2]) {
        for (at, v) in self.links.iter().zip([links.start, links.end, versions[0], versions[1]]) {
            at.store(v as u32, Ordering::Relaxed);
        }
    }

    /// The links of its translation.
    pub(crate) fn links(&self) -> std::ops::Range<usize> {
        let [start, end, ..] = &self.links;
        start.load(Ordering::Relaxed) as usize..end.load(Ordering::Relaxed) as usize
    }

    /// Where its translation has the versions of its first and its second page; 0 for nowhere.
    pub(crate) fn version_places(&self) -> [usize; 2] {
        let [.., first, second] = &self.links;
        [first, second].map(|at| at.load(Ordering::Relaxed) as usize)
    }

    /// Whether it was found unchanged though one of its pages was written, since this was asked last.
    #[inline(always)]
    pub(crate) fn renewed(&self) -> bool {
        let renewed = |p: &CodePage| p.renewed.load(Ordering::Relaxed) && p.renewed.swap(false, Ordering::Relaxed);
        self.page.as_ref().is_some_and(renewed) | self.second.as_ref().is_some_and(renewed)
    }

    /// Whether the bytes of the first page are unchanged.
    #[inline(always)]
    pub(crate) fn fresh(&self) -> bool {
        self.page.as_ref().is_some_and(CodePage::fresh)
    }

    /// Whether it may be run again at once when it branched to its own start.
    #[inline(always)]
    pub(crate) fn loops(&self) -> bool {
        self.second.is_none() && self.fresh()
    }

    /// Bytes of one of its instructions.
    pub(crate) fn bytes_of(&self, op: &Op) -> &[u8] {
        self.bytes.get(usize::from(op.start)..usize::from(op.end)).unwrap_or(&[])
    }
}

/// Decodes instructions from the start of `bytes` until one ends the block. Empty when the first is not complete.
/// Also returns how many bytes the instructions have.
pub(crate) fn decode_ops(bytes: &[u8], cx: DecodeCx) -> (Vec<Op>, usize) {
    let most = if cx.mode.has(Mode::STEP) { 1 } else { MAX_OPS };
    let mut ops = Vec::with_capacity(8);
    let mut at = 0;
    let trace = tracing::enabled!(target: "in_asm", tracing::Level::TRACE);
    while ops.len() < most {
        let Some((op, i)) = decode(&bytes[at..], &cx, at as u16) else { break };
        if trace {
            tracing::trace!(target: "in_asm", "{:#018x}: {i}", cx.rip.wrapping_add(at as u64));
        }
        at = usize::from(op.end);
        let ends = op.is(Op::ENDS);
        ops.push(op);
        if ends {
            break;
        }
    }
    (ops, at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watched_bytes_are_compared_exactly() {
        let mut page = vec![0u64; 8];
        let base = page.as_mut_ptr().cast::<u8>();
        for at in 0..17 {
            for len in 1..30 {
                // SAFETY: inside `page`.
                let set = |i: usize, v: u8| unsafe { base.add(i).write(v) };
                (0..64).for_each(|i| set(i, i as u8));
                let bytes: Vec<u8> = (at..at + len).map(|i| i as u8).collect();
                let w = Watch::new(base.wrapping_add(at), &bytes);
                for i in 0..64 {
                    set(i, 0xEE);
                    assert_eq!(w.same(), !(at..at + len).contains(&i), "{at} {len} {i}");
                    set(i, i as u8);
                }
            }
        }
    }
}
