//! The words that translated code and Rust share: part of `Cpu`, addressed by translated code relative to R15.

use crate::bus::Bus;
use crate::cache;
use crate::flags::rflags;
use crate::state::Cpu;

/// Arithmetic flags as LAHF and SETO leave them: AH in the upper byte, OF in bit 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct Slot(pub(crate) u16);

impl Slot {
    const LAHF: u64 = rflags::SF | rflags::ZF | rflags::AF | rflags::PF | rflags::CF;

    /// From RFLAGS.
    pub(crate) fn from_flags(f: u64) -> Self {
        Self(((f & Self::LAHF) << 8 | f >> 11 & 1) as u16)
    }

    /// To RFLAGS.
    pub(crate) fn flags(self) -> u64 {
        u64::from(self.0) >> 8 & Self::LAHF | u64::from(self.0 & 1) << 11
    }
}

/// See the module's documentation.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct Context {
    /// Guest flags while they are not in EFLAGS.
    pub(crate) flags: Slot,
    /// Which of the levels of vector registers above XMM the guest has enabled.
    pub(crate) avx: u8,
    /// How much of the guest's vector registers (and MXCSR) is in the host's: `vectors::XMM` ... 0 outside.
    pub(crate) level: u8,
    /// The bits of the attention word that matter: an interrupt does not while it cannot be taken.
    pub(crate) attention_mask: u32,
    /// Address of the attention word.
    pub(crate) attention: u64,
    /// First entry of the TLB table of data accesses.
    pub(crate) data: u64,
    /// Generation in TLB tags.
    pub(crate) generation: u64,
    /// Below this there is no room for predicted returns.
    pub(crate) stack_limit: u64,
    /// Scratch words of translated code.
    pub(crate) scratch: [u64; 6],
    /// RIP that a call goes to, while its store is pending.
    pub(crate) branch: u64,
    // (So far with displacements of one byte.)
    /// First entry of the TLB table of fetches.
    pub(crate) exec: u64,
    /// Address space and mode, for the look-up of branch targets.
    pub(crate) tag: u64,
    /// The table of branch targets.
    pub(crate) jumps: u64,
    /// The host's stack pointer with no predicted return on it.
    pub(crate) stack: u64,
    /// The host's MXCSR.
    pub(crate) host_mxcsr: u32,
    /// Pages found lately.
    #[cfg(all(target_arch = "x86_64", any(target_os = "linux", windows)))]
    pub(crate) sites: super::sites::Sites,
    /// The clock that RDTSC reads.
    #[cfg(all(target_arch = "x86_64", any(target_os = "linux", windows)))]
    pub(crate) clock: super::clock::Words,
    /// The x87 unit.
    #[cfg(all(target_arch = "x86_64", any(target_os = "linux", windows)))]
    pub(crate) x87: super::x87::Words,
    /// Of a loop: the fewest rounds that its accesses stay in their pages, less one.
    pub(crate) rounds: u64,
    /// And the value of its counter that ends them.
    pub(crate) last: u64,
    /// The link an exit wants to be made, plus one.
    pub(crate) link: u64,
    /// Index of the instruction a thunk runs.
    pub(crate) op: u64,
    /// The block it is in.
    pub(crate) block: u64,
    /// Host address of a store that somebody wants to know of.
    pub(crate) host: u64,
    /// The engine that runs it, while translated code runs.
    #[cfg(all(target_arch = "x86_64", any(target_os = "linux", windows)))]
    pub(crate) engine: Option<std::ptr::NonNull<super::Engine>>,
    /// The bus, while translated code runs.
    pub(crate) bus: Option<std::ptr::NonNull<dyn Bus>>,
}

// SAFETY: the pointers are only set and used while translated code runs, on one thread.
unsafe impl Send for Context {}

impl Cpu {
    /// Copies into the context what an instruction run by its handler may have changed.
    #[inline(always)]
    pub(super) fn refresh_context(&mut self) {
        let (data, exec, generation) = self.tlb.raw(cache::table(self));
        self.jit.data = data as u64;
        self.jit.exec = exec as u64;
        self.jit.generation = generation;
        self.jit.tag = self.tlb.space() << 32 | u64::from(self.mode.0);
        self.jit.flags = Slot::from_flags(self.lazy.get());
        #[cfg(all(target_arch = "x86_64", any(target_os = "linux", windows)))]
        self.jit.forget_sites(
            self.mode.has(crate::state::Mode::USER),
            self.tlb.space(),
            self.tlb.base != crate::tlb::SUPERVISOR_AC,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_survive_the_slot() {
        for bits in 0..64u64 {
            let f = [0, 2, 4, 6, 7, 11].iter().enumerate().fold(0, |f, (i, p)| f | (bits >> i & 1) << p);
            assert_eq!(Slot::from_flags(f).flags(), f);
        }
        assert_eq!(Slot::from_flags(rflags::OF), Slot(1));
        assert_eq!(Slot::from_flags(rflags::ZF), Slot(0x4000));
    }
}
