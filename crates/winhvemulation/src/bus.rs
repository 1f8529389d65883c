//! The machine as the emulated instruction sees it: nothing but callbacks.

use cpu_x86::bus::Leave;
use cpu_x86::fault::Access;
use cpu_x86::walk::Request;
use cpu_x86::{Bus, CpuidAction, MsrAction, PhysPage, Untranslated};
use emulator::Registers;
use whp::{RegisterName, RegisterValue, TranslateGvaFlags, TranslateGvaResultCode as Code, VpContext};
use whp_abi::emulation::status;

use crate::callbacks::{Client, Failed};

const PAGE: u64 = 4096;
/// The widest memory callback.
const WIDEST: usize = 8;

/// A linear page, for one kind of access.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct LinearPage {
    pub(crate) page: u64,
    pub(crate) access: Access,
    pub(crate) user: bool,
}

/// One call's bus.
pub(crate) struct ClientBus<'a> {
    client: &'a Client,
    cpl: u8,
    cr8: u64,
    instruction: Vec<u8>,
    /// Pages whose place is known.
    known: Vec<(LinearPage, u64)>,
}

impl<'a> ClientBus<'a> {
    /// `bytes`: the instruction, as far as the exit has it.
    pub(crate) fn new(client: &'a Client, vp: &VpContext, bytes: &[u8]) -> Self {
        Self { client, cpl: vp.cpl, cr8: vp.cr8.into(), instruction: bytes.to_vec(), known: Vec::new() }
    }

    /// The exit says where a page is.
    pub(crate) fn know(&mut self, page: LinearPage, gpa: u64) {
        self.known.push((page, gpa & !(PAGE - 1)));
    }

    /// Fetches instruction bytes until `enough`, at most as many as an instruction can have. A fault of the fetch is
    /// not told here: it comes again when the instruction is executed.
    pub(crate) fn fetch(&mut self, vp: &VpContext, enough: impl Fn(&[u8]) -> bool) -> Result<(), Failed> {
        const LONGEST: usize = 15;
        let long = vp.efer_lma && vp.cs.attributes >> 13 & 1 != 0;
        while self.instruction.len() < LONGEST && !enough(&self.instruction) {
            let offset = vp.rip.wrapping_add(self.instruction.len() as u64);
            let at = if long { offset } else { vp.cs.base.wrapping_add(offset) & 0xFFFF_FFFF };
            let page = LinearPage { page: at & !(PAGE - 1), access: Access::Fetch, user: vp.cpl == 3 };
            let gpa = match self.place(page, true) {
                Ok(gpa) => gpa | at & (PAGE - 1),
                Err(Untranslated::Leave) => return Err(Failed),
                Err(_) => return Ok(()),
            };
            let room = (LONGEST - self.instruction.len()).min(WIDEST).min((PAGE - at % PAGE) as usize);
            let mut piece = [0; WIDEST];
            self.client.load(gpa, &mut piece[..room])?;
            self.instruction.extend_from_slice(&piece[..room]);
        }
        Ok(())
    }

    /// Where a page is, by the exit, an earlier answer, or the client.
    fn place(&mut self, page: LinearPage, update: bool) -> Result<u64, Untranslated> {
        if let Some((_, gpa)) = self.known.iter().find(|(known, _)| *known == page) {
            return Ok(*gpa);
        }
        let mut flags = match page.access {
            Access::Read => TranslateGvaFlags::VALIDATE_READ,
            Access::Write => TranslateGvaFlags::VALIDATE_WRITE,
            Access::Fetch => TranslateGvaFlags::VALIDATE_EXECUTE,
        };
        flags.set(TranslateGvaFlags::SET_PAGE_TABLE_BITS, update);
        // The processor's own accesses (descriptors, the TSS) are a supervisor's.
        flags.set(TranslateGvaFlags::PRIVILEGE_EXEMPT, !page.user && self.cpl == 3);
        let (code, gpa) = self.client.translate(page.page, flags.bits()).map_err(|_| Untranslated::Leave)?;
        match code {
            // That nothing is mapped at the page, or not for this access, is why there is something to emulate.
            Code::SUCCESS | Code::GPA_UNMAPPED | Code::GPA_NO_READ_ACCESS | Code::GPA_NO_WRITE_ACCESS => {}
            Code::PAGE_NOT_PRESENT => return Err(Untranslated::NotPresent),
            Code::PRIVILEGE_VIOLATION => return Err(Untranslated::Protection),
            Code::INVALID_PAGE_TABLE_FLAGS => return Err(Untranslated::Reserved),
            _ => return Err(Untranslated::Leave),
        }
        if !gpa.is_multiple_of(PAGE) {
            self.client.fail(status::TRANSLATE_GVA_PAGE_CALLBACK_GPA_IS_NOT_ALIGNED);
            return Err(Untranslated::Leave);
        }
        self.known.push((page, gpa));
        Ok(gpa)
    }
}

impl Bus for ClientBus<'_> {
    fn page(&mut self, _gpa: u64) -> PhysPage {
        PhysPage::None
    }

    fn translate(&mut self, page: u64, request: Request) -> Option<Result<u64, Untranslated>> {
        let page = LinearPage { page, access: request.access, user: request.user };
        Some(self.place(page, request.update))
    }

    fn instruction(&self) -> &[u8] {
        &self.instruction
    }

    fn mem_read(&mut self, gpa: u64, data: &mut [u8]) -> Result<(), Leave> {
        let mut pieces = data.chunks_mut(WIDEST).zip((gpa..).step_by(WIDEST));
        pieces.try_for_each(|(piece, at)| self.client.load(at, piece)).map_err(|Failed| Leave)
    }

    fn mem_write(&mut self, gpa: u64, data: &[u8]) -> Result<(), Leave> {
        let mut pieces = data.chunks(WIDEST).zip((gpa..).step_by(WIDEST));
        pieces.try_for_each(|(piece, at)| self.client.store(at, piece)).map_err(|Failed| Leave)
    }

    fn port_read(&mut self, port: u16, data: &mut [u8]) -> Result<(), Leave> {
        let value = self.client.port(port, data.len() as u16, false, 0).map_err(|Failed| Leave)?;
        for (to, from) in data.iter_mut().zip(value.to_le_bytes()) {
            *to = from;
        }
        Ok(())
    }

    fn port_write(&mut self, port: u16, data: &[u8]) -> Result<(), Leave> {
        let value = data.iter().rev().fold(0, |v, b| v << 8 | u32::from(*b));
        self.client.port(port, data.len() as u16, true, value).map(drop).map_err(|Failed| Leave)
    }

    fn msr_read(&mut self, _msr: u32) -> MsrAction {
        MsrAction::Leave
    }

    fn msr_write(&mut self, _msr: u32, _value: u64) -> MsrAction {
        MsrAction::Leave
    }

    fn cpuid(&mut self, _leaf: u32, _subleaf: u32, _regs: &mut [u32; 4]) -> CpuidAction {
        CpuidAction::Leave
    }

    fn tsc(&mut self) -> u64 {
        let mut value = [RegisterValue::default()];
        match self.client.get(&[RegisterName::TSC], &mut value) {
            Ok(()) => value[0].u64(),
            Err(_) => 0,
        }
    }

    fn cr8(&mut self) -> u64 {
        self.cr8
    }

    fn set_cr8(&mut self, value: u64) {
        self.cr8 = value & 15;
    }

    fn acknowledge_interrupt(&mut self) -> Option<u8> {
        None
    }
}
