//! HLT, CPUID, time-stamp reads, random numbers, cache control and hints (Intel SDM volume 2). Caches do not exist
//! here, so what controls them only makes its permission checks.

use std::sync::atomic::Ordering;

use crate::bus::{Attention, Bus, CpuidAction};
use crate::fault::{AbortKind, Exec};
use crate::flags::rflags;
use crate::op::Op;
use crate::state::{Cpu, Mode, cr::*};

impl Cpu {
    /// What CPUID returns now: the model's leaf and the bits that follow control registers.
    pub fn cpuid_values(&self, leaf: u32, subleaf: u32) -> [u32; 4] {
        let mut r = self.model.query(leaf, subleaf);
        let bit = |on: bool, n: u32| u32::from(on) << n;
        match leaf {
            1 => r[2] = r[2] & !(1 << 27) | bit(self.cr4 & CR4_OSXSAVE != 0, 27),
            7 if subleaf == 0 => r[2] = r[2] & !(1 << 4) | bit(self.cr4 & CR4_PKE != 0, 4),
            0xD if subleaf == 0 && r[0] != 0 => r[1] = self.model.xsave_size(self.xcr0, false),
            0xD if subleaf == 1 && r[0] & 0xA != 0 => {
                r[1] = self.model.xsave_size(self.xcr0 | self.msr.xss, true);
            }
            _ => {}
        }
        r
    }

    fn set_pair(&mut self, v: u64) {
        self.set_r32(0, v as u32);
        self.set_r32(2, (v >> 32) as u32);
    }

    /// #GP(0) when CR4.TSD keeps the time-stamp counter from outer rings.
    fn time_stamp_allowed(&mut self) -> Exec {
        if self.cr4 & CR4_TSD != 0 && self.cpl != 0 { Err(self.gp(0)) } else { Ok(()) }
    }
}

/// HLT: `run` leaves with RIP after it.
pub(crate) fn hlt(cpu: &mut Cpu, _bus: &mut dyn Bus, _op: &Op) -> Exec {
    cpu.privileged()?;
    Err(cpu.leave(AbortKind::Halt))
}

/// CPUID.
pub(crate) fn cpuid(cpu: &mut Cpu, bus: &mut dyn Bus, _op: &Op) -> Exec {
    let (leaf, subleaf) = (cpu.r32(0), cpu.r32(1));
    let mut r = cpu.cpuid_values(leaf, subleaf);
    if bus.cpuid(leaf, subleaf, &mut r) == CpuidAction::Leave {
        return Err(cpu.leave(AbortKind::Cpuid { default: r }));
    }
    for (reg, v) in [0, 3, 1, 2].into_iter().zip(r) {
        cpu.set_r32(reg, v);
    }
    Ok(())
}

/// RDTSC.
pub(crate) fn rdtsc(cpu: &mut Cpu, bus: &mut dyn Bus, _op: &Op) -> Exec {
    cpu.time_stamp_allowed()?;
    let t = bus.tsc();
    cpu.set_pair(t);
    Ok(())
}

/// RDTSCP.
pub(crate) fn rdtscp(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    rdtsc(cpu, bus, op)?;
    cpu.set_r32(1, cpu.msr.tsc_aux as u32);
    Ok(())
}

/// RDPID.
pub(crate) fn rdpid(cpu: &mut Cpu, _bus: &mut dyn Bus, op: &Op) -> Exec {
    cpu.set_sized(op.dst, 8, cpu.msr.tsc_aux & 0xFFFF_FFFF);
    Ok(())
}

/// RDPMC: there are no counters.
pub(crate) fn rdpmc(cpu: &mut Cpu, _bus: &mut dyn Bus, _op: &Op) -> Exec {
    Err(cpu.gp(0))
}

/// RDRAND and RDSEED from the host's generator; CF clear when it fails.
pub(crate) fn random(cpu: &mut Cpu, _bus: &mut dyn Bus, op: &Op) -> Exec {
    let v = getrandom::u64();
    cpu.set_sized(op.dst, op.size, v.as_ref().copied().unwrap_or(0));
    cpu.lazy.set(if v.is_ok() { rflags::CF } else { 0 });
    Ok(())
}

/// RDMSR.
pub(crate) fn rdmsr(cpu: &mut Cpu, bus: &mut dyn Bus, _op: &Op) -> Exec {
    cpu.privileged()?;
    let v = cpu.msr_get(bus, cpu.r32(1))?;
    cpu.set_pair(v);
    // A read can ask for more than a value (idle until an interrupt): look around before the next instruction.
    cpu.stop_block |= cpu.attention.load(Ordering::Relaxed) & Attention::LEAVE != 0;
    Ok(())
}

/// WRMSR.
pub(crate) fn wrmsr(cpu: &mut Cpu, bus: &mut dyn Bus, _op: &Op) -> Exec {
    cpu.privileged()?;
    let v = u64::from(cpu.r32(2)) << 32 | u64::from(cpu.r32(0));
    cpu.msr_set(bus, cpu.r32(1), v)
}

/// VMCALL, VMMCALL: whichever the vendor's processors have, both reach the hypervisor.
pub(crate) fn hypercall(cpu: &mut Cpu, bus: &mut dyn Bus, _op: &Op) -> Exec {
    let allowed = cpu.cpl == 0 && cpu.mode.has(Mode::PROTECTED) && !cpu.mode.has(Mode::V86);
    if allowed && bus.hypercall(cpu) { Ok(()) } else { Err(cpu.ud()) }
}

/// INVD, WBINVD, WBNOINVD.
pub(crate) fn cache_control(cpu: &mut Cpu, _bus: &mut dyn Bus, _op: &Op) -> Exec {
    cpu.privileged()
}

/// CLFLUSH, CLFLUSHOPT, CLWB: checked as a load of the byte.
pub(crate) fn flush_line(cpu: &mut Cpu, bus: &mut dyn Bus, op: &Op) -> Exec {
    cpu.load::<u8>(bus, op).map(drop)
}

/// NOP, PAUSE, ENDBR, PREFETCH, fences, SERIALIZE: one guest instruction at a time is order enough, and the host's
/// own ordering (x86) holds between processors except store-load, which fences ask for.
pub(crate) fn nop(_cpu: &mut Cpu, _bus: &mut dyn Bus, _op: &Op) -> Exec {
    Ok(())
}

/// MFENCE and what else orders stores before later loads.
pub(crate) fn fence(_cpu: &mut Cpu, _bus: &mut dyn Bus, _op: &Op) -> Exec {
    std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
    Ok(())
}
