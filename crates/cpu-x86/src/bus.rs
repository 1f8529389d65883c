//! What a processor needs from outside.

use std::sync::Arc;

use guest_memory::RamBlock;

use crate::state::Cpu;
use crate::walk::Request;

/// What is behind a guest-physical page.
#[derive(Clone)]
pub enum PhysPage {
    /// Host memory, with what the platform's map allows.
    Ram {
        /// The block.
        block: Arc<RamBlock>,
        /// Where in the block the page starts.
        offset: u64,
        /// Stores go to memory; otherwise they go to [`Bus::mem_write`] (ROM).
        writable: bool,
        /// Instructions may be fetched; otherwise a fetch is an access exit.
        executable: bool,
    },
    /// Nothing or a device: loads and stores go to [`Bus::mem_read`] and [`Bus::mem_write`].
    None,
}

/// The access was not served: the processor has to leave `run` with the instruction not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leave;

/// What becomes of a model-specific register access the processor does not serve itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MsrAction {
    /// Done; for a read with this value.
    Done(u64),
    /// #GP(0).
    Fault,
    /// Leave `run` with [`AbortKind::Msr`](crate::AbortKind).
    Leave,
}

/// What becomes of a CPUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CpuidAction {
    /// Use the values (which the bus may have changed).
    Done,
    /// Leave `run` with the default result in [`AbortKind::Cpuid`](crate::AbortKind).
    Leave,
}

/// Why [`Bus::translate`] has no page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Untranslated {
    /// #PF: not present.
    NotPresent,
    /// #PF: present, but not allowed.
    Protection,
    /// #PF: a reserved bit is set.
    Reserved,
    /// The bus cannot say; the access is not served.
    Leave,
}

/// The system a processor sits in. Called on slow paths only: TLB refills, device accesses, system instructions.
pub trait Bus {
    /// What is behind the guest-physical page that starts at `gpa` (multiple of 4096).
    fn page(&mut self, gpa: u64) -> PhysPage;

    /// A load that [`Bus::page`] does not map (device, hole). Fills `data` (1 to 64 bytes, within one page).
    ///
    /// # Errors
    /// [`Leave`] when it must become an exit.
    fn mem_read(&mut self, gpa: u64, data: &mut [u8]) -> Result<(), Leave>;

    /// A store that [`Bus::page`] does not map writable.
    ///
    /// # Errors
    /// [`Leave`] when it must become an exit.
    fn mem_write(&mut self, gpa: u64, data: &[u8]) -> Result<(), Leave>;

    /// Loads of a string instruction that [`Bus::page`] does not map, upwards from `gpa` inside a page: as many elements of
    /// `size` bytes as `data` has, or fewer, one after the other. How many bytes were loaded. What is left comes as
    /// [`Bus::mem_read`]; with 0, all of it.
    fn mem_read_elements(&mut self, _gpa: u64, _size: usize, _data: &mut [u8]) -> usize {
        0
    }

    /// Stores likewise; what is left comes as [`Bus::mem_write`].
    fn mem_write_elements(&mut self, _gpa: u64, _size: usize, _data: &[u8]) -> usize {
        0
    }

    /// Likewise `count` loads from `from` upwards, each followed by its store from `to` upwards.
    fn mem_copy_elements(&mut self, _from: u64, _to: u64, _size: usize, _count: usize) -> usize {
        0
    }

    /// IN: fills `data` (1, 2 or 4 bytes).
    ///
    /// # Errors
    /// [`Leave`] when it must become an exit.
    fn port_read(&mut self, port: u16, data: &mut [u8]) -> Result<(), Leave>;

    /// OUT.
    ///
    /// # Errors
    /// [`Leave`] when it must become an exit.
    fn port_write(&mut self, port: u16, data: &[u8]) -> Result<(), Leave>;

    /// INs of a string instruction: as many elements of `size` bytes as `data` has, or fewer, one after the other. How many bytes
    /// were read. What is left comes as [`Bus::port_read`]; with 0, all of it.
    fn port_read_elements(&mut self, _port: u16, _size: usize, _data: &mut [u8]) -> usize {
        0
    }

    /// OUTs likewise; what is left comes as [`Bus::port_write`].
    fn port_write_elements(&mut self, _port: u16, _size: usize, _data: &[u8]) -> usize {
        0
    }

    /// RDMSR of a register the processor does not hold (APIC base, x2APIC, TSC, TSC deadline, synthetic, unknown).
    fn msr_read(&mut self, msr: u32) -> MsrAction;

    /// WRMSR likewise; the value in `Done` is ignored.
    fn msr_write(&mut self, msr: u32, value: u64) -> MsrAction;

    /// A look at a CPUID result before the guest gets it: `regs` is EAX, EBX, ECX, EDX, dynamic bits already set.
    fn cpuid(&mut self, leaf: u32, subleaf: u32, regs: &mut [u32; 4]) -> CpuidAction;

    /// The guest's time-stamp counter.
    fn tsc(&mut self) -> u64;

    /// Waits until no other processor is using guest memory, and keeps them from it until [`Bus::readmit`]: for locked
    /// accesses that the host has no instruction for. Meanwhile the map may change. `false`: that cannot be had.
    fn exclude(&mut self) -> bool {
        false
    }

    /// After [`Bus::exclude`] has returned `true`.
    fn readmit(&mut self) {}

    /// CR8 (task priority class, 0 to 15).
    fn cr8(&mut self) -> u64;

    /// Sets CR8; an interrupt may become deliverable.
    fn set_cr8(&mut self, value: u64);

    /// VMCALL or VMMCALL at CPL 0 in protected mode: a request to the hypervisor, which works on the registers. RIP
    /// is the instruction's until it is done. `false`: there is no hypervisor to be called, so it is #UD.
    fn hypercall(&mut self, _cpu: &mut Cpu) -> bool {
        false
    }

    /// The guest-physical page of the linear page at `page`, where paging is on and somebody else than this processor
    /// walks the page tables (Microsoft's instruction emulator has only a callback for it). `None`: walk them.
    fn translate(&mut self, _page: u64, _request: Request) -> Option<Result<u64, Untranslated>> {
        None
    }

    /// The bytes of the instruction at RIP, for [`Processor::emulate_one`](crate::Processor::emulate_one), as far as
    /// they are known without a fetch; may have more than the instruction.
    fn instruction(&self) -> &[u8] {
        &[]
    }

    /// INTA: takes the highest deliverable external interrupt (local APIC, or ExtINT). `None` when it has gone.
    fn acknowledge_interrupt(&mut self) -> Option<u8>;
}

/// Bits of the attention word that other threads set and `run` looks at between blocks (`Cpu::attention`).
pub struct Attention;

impl Attention {
    /// An external interrupt is deliverable (to be asked for with `acknowledge_interrupt` once IF allows). Level:
    /// whoever owns the interrupt controller sets and clears it.
    pub const INTR: u32 = 1;
    /// An NMI is pending. Cleared by the processor when it takes it.
    pub const NMI: u32 = 2;
    /// Leave `run` at the next instruction boundary with [`Stop::Attention`](crate::fault::Stop). Level.
    pub const LEAVE: u32 = 4;
    /// The physical map changed: drop the TLB. Cleared by the processor.
    pub const FLUSH_TLB: u32 = 8;
    /// Leave `run` with [`Stop::Window`](crate::fault::Stop) as soon as an external interrupt could be taken
    /// (IF set, no shadow). Level.
    pub const INTR_WINDOW: u32 = 16;
    /// The same for an NMI (not blocked by NMI).
    pub const NMI_WINDOW: u32 = 32;
    /// Drop all translations; the map stays as it is. Cleared by the processor.
    pub const FLUSH_TRANSLATIONS: u32 = 64;
    /// Leave translated code, which has set it for its translator. Cleared by that.
    pub const LOOK: u32 = 128;
}
