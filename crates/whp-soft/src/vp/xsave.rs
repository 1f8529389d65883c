//! The XSAVE area (Intel SDM volume 1, 13.4) of what the model has: made compacted, taken in both formats. The layout is
//! in `cpu_x86::fpu`.

use cpu_x86::Cpu;
use cpu_x86::fpu::{Fpu, supported_xcr0};

/// The state components the model has.
fn supported(cpu: &Cpu) -> u64 {
    cpu.model.leaf(0xD, 0).map_or(3, |r| u64::from(r[0]) | u64::from(r[3]) << 32) & supported_xcr0() | 3
}

/// The area in compacted format, with room for every supported component.
pub(super) fn save(cpu: &Cpu) -> Vec<u8> {
    cpu.fpu.xsave_area(supported(cpu), true)
}

/// Takes an area.
pub(super) fn load(cpu: &mut Cpu, area: &[u8]) -> Result<(), String> {
    let mut fpu = Fpu::default();
    fpu.load_xsave_area(area, supported(cpu)).map_err(|e| e.to_string())?;
    *cpu.fpu = fpu;
    Ok(())
}
