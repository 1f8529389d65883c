//! The guest around an instruction: RAM with its page tables, one window that is RAM or a device, registers.

use std::cell::RefCell;
use std::sync::Arc;

use cpu_x86::bus::Leave;
use cpu_x86::model::{CpuModel, CpuSpec, Topology};
use cpu_x86::state::cr;
use cpu_x86::{Bus, Cpu, CpuidAction, MsrAction, PhysPage, Seg, SegReg};
use emulator::Registers;
use guest_memory::RamBlock;
use whp::{RegisterName as R, RegisterValue, VpContext};

pub const CODE: u64 = 0x1000;
pub const STACK: u64 = 0x2800;
/// The window, linear and guest-physical; in reach of 16-bit addresses.
pub const WINDOW: u64 = 0x4000;
pub const WINDOW_LEN: u64 = 0x4000;
/// The page boundary inside of it.
pub const BOUNDARY: u64 = WINDOW + 0x2000;
const TABLES: u64 = 0x1_0000;
const RAM: u64 = 0x2_0000;
const PRESENT: u64 = 7;

/// Which pages are not as usual.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hole {
    None,
    /// The page before the boundary is not present.
    First,
    /// The one behind it.
    Second,
}

/// A load ('r') or store ('w') of the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    pub kind: char,
    pub gpa: u64,
    pub len: usize,
}

/// RAM, and the window as a device or RAM.
pub struct System {
    pub ram: Arc<RamBlock>,
    pub device: bool,
    /// The device's memory.
    pub bytes: Vec<u8>,
    pub log: Vec<Access>,
}

impl System {
    pub fn new(device: bool) -> Self {
        Self { ram: RamBlock::new("ram", RAM).unwrap(), device, bytes: vec![0; WINDOW_LEN as usize], log: vec![] }
    }

    fn put(&self, at: u64, bytes: &[u8]) {
        assert!(self.ram.write(at, bytes));
    }

    pub fn prepare(&mut self, bits: u32, code: &[u8], window: &[u8], hole: Hole) {
        self.put(CODE, &[0x90; 64]);
        self.put(CODE, code);
        self.put(0x2000, &[0x5A; 0x1000]);
        self.put(WINDOW, window);
        self.bytes.copy_from_slice(window);
        self.log.clear();
        let absent = match hole {
            Hole::None => None,
            Hole::First => Some(BOUNDARY - 0x1000),
            Hole::Second => Some(BOUNDARY),
        };
        let entry = |page: u64| if Some(page << 12) == absent { 0 } else { page << 12 | PRESENT };
        if bits == 64 {
            for level in 0..3 {
                self.put(TABLES + level * 0x1000, &((TABLES + (level + 1) * 0x1000) | PRESENT).to_le_bytes());
            }
            (0..512).for_each(|page| self.put(TABLES + 0x3000 + page * 8, &entry(page).to_le_bytes()));
        } else {
            self.put(TABLES, &((TABLES + 0x3000) as u32 | PRESENT as u32).to_le_bytes());
            (0..1024).for_each(|page| self.put(TABLES + 0x3000 + page * 4, &(entry(page) as u32).to_le_bytes()));
        }
    }

    /// What is in the window now.
    pub fn window(&self) -> Vec<u8> {
        if self.device {
            return self.bytes.clone();
        }
        let mut bytes = vec![0; WINDOW_LEN as usize];
        assert!(self.ram.read(WINDOW, &mut bytes));
        bytes
    }

    /// Everything else that instructions write.
    pub fn stack(&self) -> Vec<u8> {
        let mut bytes = vec![0; 0x1000];
        assert!(self.ram.read(0x2000, &mut bytes));
        bytes
    }

    fn in_window(gpa: u64) -> Option<usize> {
        gpa.checked_sub(WINDOW).filter(|at| *at < WINDOW_LEN).map(|at| at as usize)
    }
}

impl Bus for System {
    fn page(&mut self, gpa: u64) -> PhysPage {
        if gpa >= RAM || self.device && Self::in_window(gpa).is_some() {
            return PhysPage::None;
        }
        PhysPage::Ram { block: self.ram.clone(), offset: gpa, writable: true, executable: true }
    }

    fn mem_read(&mut self, gpa: u64, data: &mut [u8]) -> Result<(), Leave> {
        let at = Self::in_window(gpa).ok_or(Leave)?;
        data.copy_from_slice(self.bytes.get(at..at + data.len()).ok_or(Leave)?);
        self.log.push(Access { kind: 'r', gpa, len: data.len() });
        Ok(())
    }

    fn mem_write(&mut self, gpa: u64, data: &[u8]) -> Result<(), Leave> {
        let at = Self::in_window(gpa).ok_or(Leave)?;
        self.bytes.get_mut(at..at + data.len()).ok_or(Leave)?.copy_from_slice(data);
        self.log.push(Access { kind: 'w', gpa, len: data.len() });
        Ok(())
    }

    fn port_read(&mut self, port: u16, data: &mut [u8]) -> Result<(), Leave> {
        data.fill(port as u8);
        Ok(())
    }
    fn port_write(&mut self, _port: u16, _data: &[u8]) -> Result<(), Leave> {
        Ok(())
    }
    fn msr_read(&mut self, _msr: u32) -> MsrAction {
        MsrAction::Done(0)
    }
    fn msr_write(&mut self, _msr: u32, _value: u64) -> MsrAction {
        MsrAction::Done(0)
    }
    fn cpuid(&mut self, _leaf: u32, _subleaf: u32, _regs: &mut [u32; 4]) -> CpuidAction {
        CpuidAction::Done
    }
    fn tsc(&mut self) -> u64 {
        7
    }
    fn cr8(&mut self) -> u64 {
        0
    }
    fn set_cr8(&mut self, _value: u64) {}
    fn acknowledge_interrupt(&mut self) -> Option<u8> {
        None
    }
}

/// The processor model that everything runs on.
pub fn model() -> Arc<CpuModel> {
    Arc::new(CpuSpec::parse("max").unwrap().model(Topology::default(), 0))
}

/// A processor in code of so many bits, in protected mode with paging, at CPL 0, with everything switched on.
pub fn processor_state(cpu: &mut Cpu, bits: u32) {
    let code = match bits {
        64 => 0xA09B,
        32 => 0xC09B,
        _ => 0x009B,
    };
    let flat = |selector, attributes| SegReg { selector, base: 0, limit: u32::MAX, attributes };
    cpu.segs = [flat(0x10, 0xC093); 6];
    cpu.segs[Seg::Cs as usize] = flat(0x08, code);
    if bits == 16 {
        cpu.segs[Seg::Ss as usize] = flat(0x10, 0x8093); // a 16-bit stack pointer
    }
    cpu.ldtr = SegReg { selector: 0, base: 0, limit: 7, attributes: 0x0082 };
    cpu.tr = SegReg { selector: 0x18, base: 0x2000, limit: 0x67, attributes: 0x008B };
    (cpu.gdtr.base, cpu.gdtr.limit) = (0x2F00, 0xFF);
    (cpu.idtr.base, cpu.idtr.limit) = (0x2E00, 0xFF);
    cpu.cr0 = cr::CR0_PE | cr::CR0_PG | cr::CR0_NE | cr::CR0_ET | cr::CR0_MP | cr::CR0_WP;
    cpu.cr4 = cr::CR4_OSFXSR | cr::CR4_OSXMMEXCPT | cr::CR4_OSXSAVE;
    cpu.msr.efer = 0;
    if bits == 64 {
        cpu.cr4 |= cr::CR4_PAE;
        cpu.msr.efer = cr::EFER_LME | cr::EFER_LMA;
    }
    (cpu.cr2, cpu.cr3, cpu.cpl, cpu.rip) = (0, TABLES, 0, CODE);
    cpu.xcr0 = cpu_x86::fpu::supported_xcr0();
    // Away from everything that is accessed, and not switched on.
    cpu.dr = [0x7F00_0010, 0x7F00_0020, 0x7F00_0030, 0x7F00_0040, 0, 0, 0xFFFF_0FF0, 0x400];
    (cpu.msr.pat, cpu.msr.tsc_aux, cpu.msr.xss) = (0x0007_0405_0007_0406, 0x77, 0x100);
    (cpu.msr.lstar, cpu.msr.sfmask) = (0x1234_5678, 0x4_7700);
    cpu.pending_db = 0;
    cpu.update_mode();
}

/// The other processor's registers, as a platform has them.
pub struct Other(pub RefCell<Cpu>, pub RefCell<Vec<(R, RegisterValue)>>);

/// Registers that are events: noted, not kept.
const EVENTS: [R; 5] = [
    R::PENDING_EVENT,
    R::PENDING_INTERRUPTION,
    R::INTERRUPT_STATE,
    R::INTERNAL_ACTIVITY_STATE,
    R::PENDING_DEBUG_EXCEPTION,
];

impl Registers for Other {
    fn get(&self, names: &[R], values: &mut [RegisterValue]) -> whp::Result<()> {
        let cpu = self.0.borrow();
        for (name, value) in names.iter().zip(values) {
            *value = if EVENTS.contains(name) {
                RegisterValue::default()
            } else {
                whp_registers::get(&cpu, *name).unwrap_or_else(|| panic!("{name:?}"))
            };
        }
        Ok(())
    }

    fn set(&self, names: &[R], values: &[RegisterValue]) -> whp::Result<()> {
        let mut cpu = self.0.borrow_mut();
        for (name, value) in names.iter().zip(values) {
            if EVENTS.contains(name) || *name == R::CR8 {
                self.1.borrow_mut().push((*name, *value));
            } else {
                whp_registers::set(&mut cpu, *name, *value).unwrap_or_else(|| panic!("{name:?}"));
            }
        }
        Ok(())
    }

    fn xsave(&self) -> whp::Result<Option<Vec<u8>>> {
        Ok(Some(self.0.borrow().fpu.xsave_area(cpu_x86::fpu::supported_xcr0(), true)))
    }

    fn set_xsave(&self, area: &[u8]) -> whp::Result<()> {
        self.0.borrow_mut().fpu.load_xsave_area(area, cpu_x86::fpu::supported_xcr0()).unwrap();
        Ok(())
    }
}

/// The exit's context, as a platform has it.
pub fn context(cpu: &Cpu) -> VpContext {
    let s = &cpu.segs[Seg::Cs as usize];
    VpContext {
        cpl: cpu.cpl,
        cr0_pe: true,
        efer_lma: cpu.msr.efer & cr::EFER_LMA != 0,
        cs: whp_registers::segment(s),
        rip: cpu.rip,
        rflags: cpu.rflags(),
        ..VpContext::default()
    }
}
