//! What a client does about undecoded exits when it wants the accesses served: executes the instruction itself. As
//! much as the suite's snippets need.

use std::sync::Arc;

use cpu_x86::bus::Leave;
use cpu_x86::model::{CpuSpec, Topology};
use cpu_x86::state::SegReg;
use cpu_x86::{Bus, CpuidAction, Emulated, MsrAction, PhysPage, Processor};
use whp::*;

use crate::client::Mapped;

struct HandlerBus<'a> {
    ranges: &'a [Mapped],
    handler: &'a dyn AccessHandler,
}

impl Bus for HandlerBus<'_> {
    fn page(&mut self, gpa: u64) -> PhysPage {
        let found = self.ranges.iter().rev().find(|m| (m.gpa..m.gpa + m.size).contains(&gpa));
        match found.and_then(|m| Some((m, m.block.clone()?))) {
            Some((m, block)) => PhysPage::Ram {
                block,
                offset: m.offset + (gpa - m.gpa),
                writable: m.flags.contains(MapGpaRangeFlags::WRITE),
                executable: true,
            },
            None => PhysPage::None,
        }
    }
    fn mem_read(&mut self, gpa: u64, data: &mut [u8]) -> std::result::Result<(), Leave> {
        self.handler.memory_read(gpa, data);
        Ok(())
    }
    fn mem_write(&mut self, gpa: u64, data: &[u8]) -> std::result::Result<(), Leave> {
        self.handler.memory_write(gpa, data);
        Ok(())
    }
    fn port_read(&mut self, port: u16, data: &mut [u8]) -> std::result::Result<(), Leave> {
        self.handler.port_read(port, data);
        Ok(())
    }
    fn port_write(&mut self, port: u16, data: &[u8]) -> std::result::Result<(), Leave> {
        self.handler.port_write(port, data);
        Ok(())
    }
    fn msr_read(&mut self, _msr: u32) -> MsrAction {
        MsrAction::Fault
    }
    fn msr_write(&mut self, _msr: u32, _value: u64) -> MsrAction {
        MsrAction::Fault
    }
    fn cpuid(&mut self, _leaf: u32, _subleaf: u32, _regs: &mut [u32; 4]) -> CpuidAction {
        CpuidAction::Done
    }
    fn tsc(&mut self) -> u64 {
        0
    }
    fn cr8(&mut self) -> u64 {
        0
    }
    fn set_cr8(&mut self, _value: u64) {}
    fn acknowledge_interrupt(&mut self) -> Option<u8> {
        None
    }
}

const SEGMENTS: u32 = 6;

/// Serves the exit. `false`: it is not one that a handler serves.
pub fn complete(
    vp: &dyn VirtualProcessor,
    ranges: &[Mapped],
    handler: &dyn AccessHandler,
    exit: &ExitContext,
) -> Result<bool> {
    match exit.exit {
        Exit::ApicEoi { vector } => {
            handler.eoi(vector as u8);
            return Ok(true);
        }
        Exit::MemoryAccess(m) if m.access_type != AccessType::Execute => {}
        Exit::IoPortAccess(_) => {}
        _ => return Ok(false),
    }
    let names: Vec<_> = (0..16)
        .map(|i| RegisterName::RAX.offset(i))
        .chain((0..SEGMENTS).map(|i| RegisterName::ES.offset(i)))
        .chain([RegisterName::CR0, RegisterName::CR3, RegisterName::CR4, RegisterName::EFER])
        .collect();
    let mut values = vec![RegisterValue::default(); names.len()];
    vp.registers(&names, &mut values)?;
    let mut model = CpuSpec::parse("max").unwrap().model(Topology { sockets: 1, cores: 1, threads: 1 }, 0);
    model.name = "emulator".into();
    let mut processor = Processor::new(Arc::new(model));
    let cpu = &mut processor.cpu;
    for (i, v) in values[..16].iter().enumerate() {
        cpu.regs[i] = v.u64();
    }
    for (i, v) in values[16..22].iter().enumerate() {
        let s = v.segment();
        cpu.segs[i] = SegReg { selector: s.selector, base: s.base, limit: s.limit, attributes: s.attributes };
    }
    (cpu.cr0, cpu.cr3, cpu.cr4, cpu.msr.efer) =
        (values[22].u64(), values[23].u64(), values[24].u64(), values[25].u64());
    cpu.cpl = exit.vp.cpl;
    cpu.rip = exit.vp.rip;
    cpu.set_rflags(exit.vp.rflags);
    let done = processor.emulate_one(&mut HandlerBus { ranges, handler });
    assert_eq!(done, Emulated::Done);
    let cpu = &processor.cpu;
    let mut names = names[..16].to_vec();
    let mut values: Vec<RegisterValue> = cpu.regs[..16].iter().map(|r| (*r).into()).collect();
    names.extend([RegisterName::RIP, RegisterName::RFLAGS]);
    values.extend([RegisterValue::from(cpu.rip), cpu.rflags().into()]);
    vp.set_registers(&names, &values)?;
    Ok(true)
}
