//! A small machine to run snippets on: 1 MiB of RAM at 0, code at 0x1000.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use guest_memory::RamBlock;
use whp::*;

/// Where snippets are loaded.
pub const CODE: u64 = 0x1000;
/// Size of the RAM at 0.
pub const RAM: u64 = 0x10_0000;
/// 64-bit code segment.
const CODE64: SegmentRegister = SegmentRegister { base: 0, limit: u32::MAX, selector: 8, attributes: 0xA09B };
const DATA64: SegmentRegister = SegmentRegister { base: 0, limit: u32::MAX, selector: 16, attributes: 0xC093 };

pub use whp::MapGpaRangeFlags as F;

pub fn rwx() -> MapGpaRangeFlags {
    F::READ | F::WRITE | F::EXECUTE
}

/// A partition with RAM and processors.
pub struct Vm {
    pub partition: Arc<dyn Partition>,
    pub vps: Vec<Arc<dyn VirtualProcessor>>,
    pub ram: Arc<RamBlock>,
}

impl Vm {
    pub fn new(platform: &dyn Platform, processors: u32, properties: Vec<Property>) -> Self {
        let partition = platform.create_partition().unwrap();
        partition.set_property(Property::ProcessorCount(processors)).unwrap();
        for p in properties {
            partition.set_property(p).unwrap();
        }
        partition.setup().unwrap();
        let ram = RamBlock::new("ram", RAM).unwrap();
        partition.map_gpa_range(&ram, 0, RAM, 0, rwx()).unwrap();
        let vps = (0..processors).map(|i| partition.create_virtual_processor(i).unwrap()).collect();
        Self { partition, vps, ram }
    }

    /// With the local APICs in the platform.
    pub fn with_apic(platform: &dyn Platform, processors: u32, mode: LocalApicEmulationMode) -> Self {
        Self::new(platform, processors, vec![Property::LocalApicEmulationMode(mode)])
    }

    pub fn load(&self, at: u64, code: &[u8]) {
        assert!(self.ram.write(at, code));
    }

    pub fn byte(&self, at: u64) -> u8 {
        let mut b = [0];
        assert!(self.ram.read(at, &mut b));
        b[0]
    }

    pub fn u32(&self, at: u64) -> u32 {
        let mut b = [0; 4];
        assert!(self.ram.read(at, &mut b));
        u32::from_le_bytes(b)
    }

    pub fn u64(&self, at: u64) -> u64 {
        let mut b = [0; 8];
        assert!(self.ram.read(at, &mut b));
        u64::from_le_bytes(b)
    }

    pub fn vp(&self) -> &dyn VirtualProcessor {
        &*self.vps[0]
    }

    pub fn get(&self, vp: usize, name: RegisterName) -> u64 {
        let mut v = [RegisterValue::default()];
        self.vps[vp].registers(&[name], &mut v).unwrap();
        v[0].u64()
    }

    pub fn set(&self, vp: usize, name: RegisterName, value: impl Into<RegisterValue>) {
        self.vps[vp].set_registers(&[name], &[value.into()]).unwrap();
    }

    /// Processor `vp` is to execute `code` in real mode, all segments at 0.
    pub fn real(&self, vp: usize, code: &[u8]) {
        self.load(CODE, code);
        let code = SegmentRegister { base: 0, limit: 0xFFFF, selector: 0, attributes: 0x9B };
        let data = SegmentRegister { attributes: 0x93, ..code };
        let mut names = vec![RegisterName::CS, RegisterName::RIP, RegisterName::RSP, RegisterName::RFLAGS];
        let mut values: Vec<RegisterValue> = vec![code.into(), CODE.into(), 0xF000u64.into(), 2u64.into()];
        for name in [RegisterName::DS, RegisterName::ES, RegisterName::SS] {
            names.push(name);
            values.push(data.into());
        }
        names.push(RegisterName::IDTR);
        values.push(TableRegister { limit: 0x3FF, base: 0 }.into());
        self.vps[vp].set_registers(&names, &values).unwrap();
    }

    /// Real-mode interrupt vector.
    pub fn real_vector(&self, vector: u8, handler: u16) {
        self.load(u64::from(vector) * 4, &[handler as u8, (handler >> 8) as u8, 0, 0]);
    }

    /// Processor `vp` is to execute `code` in 64-bit mode with the first GiB and the last of the first four mapped.
    pub fn long(&self, vp: usize, code: &[u8]) {
        self.load(CODE, code);
        let put = |at: u64, v: u64| self.load(at, &v.to_le_bytes());
        put(0x2_0000, 0x2_1003);
        put(0x2_1000, 0x2_2003);
        put(0x2_1018, 0x2_3003);
        for i in 0..512 {
            put(0x2_2000 + i * 8, i << 21 | 0x83);
            put(0x2_3000 + i * 8, (0xC000_0000 + (i << 21)) | 0x83);
        }
        put(0x6008, 0x00AF_9B00_0000_FFFF);
        put(0x6010, 0x00CF_9300_0000_FFFF);
        let stack = 0xF_0000 - 0x1000 * vp as u64;
        let fields: Vec<(RegisterName, RegisterValue)> = vec![
            (RegisterName::CR3, 0x2_0000u64.into()),
            (RegisterName::CR4, 0x6A0u64.into()),
            (RegisterName::EFER, 0x500u64.into()),
            (RegisterName::CR0, 0x8000_0033u64.into()),
            (RegisterName::CS, CODE64.into()),
            (RegisterName::DS, DATA64.into()),
            (RegisterName::ES, DATA64.into()),
            (RegisterName::SS, DATA64.into()),
            (RegisterName::GDTR, TableRegister { limit: 0x17, base: 0x6000 }.into()),
            (RegisterName::IDTR, TableRegister { limit: 0xFFF, base: 0x1_0000 }.into()),
            (RegisterName::RIP, CODE.into()),
            (RegisterName::RSP, stack.into()),
            (RegisterName::RFLAGS, 2u64.into()),
        ];
        let (names, values): (Vec<_>, Vec<_>) = fields.into_iter().unzip();
        self.vps[vp].set_registers(&names, &values).unwrap();
    }

    /// 64-bit interrupt gate.
    pub fn long_vector(&self, vector: u8, handler: u64) {
        let low = handler & 0xFFFF | 8 << 16 | 0x8E00 << 32 | (handler >> 16 & 0xFFFF) << 48;
        self.load(0x1_0000 + u64::from(vector) * 16, &low.to_le_bytes());
        self.load(0x1_0008 + u64::from(vector) * 16, &(handler >> 32).to_le_bytes());
    }

    /// Runs processor `vp`; a test that would hang is cancelled and fails.
    pub fn run(&self, vp: usize, handler: Option<&dyn AccessHandler>) -> ExitContext {
        let (done, watch) = std::sync::mpsc::channel::<()>();
        let guard = self.vps[vp].clone();
        let watchdog = std::thread::spawn(move || {
            if watch.recv_timeout(Duration::from_secs(20)) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                guard.cancel();
            }
        });
        let exit = self.vps[vp].run(handler);
        drop(done);
        watchdog.join().unwrap();
        exit.unwrap()
    }

    /// Runs processor 0 until it writes port 0xF4.
    pub fn run_to_f4(&self) -> ExitContext {
        let c = self.run(0, None);
        match c.exit {
            Exit::IoPortAccess(IoPortAccess { port: 0xF4, is_write: true, .. }) => c,
            _ => panic!("{c:x?}"),
        }
    }
}

/// One access seen by a handler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    In(u16, usize),
    Out(u16, Vec<u8>),
    Read(u64, usize),
    Write(u64, Vec<u8>),
    Eoi(u8),
}

/// A handler that notes accesses and answers with `answer`.
#[derive(Default)]
pub struct Log {
    pub seen: Mutex<Vec<Seen>>,
    pub answer: u8,
}

impl Log {
    pub fn answering(answer: u8) -> Self {
        Self { answer, ..Self::default() }
    }

    fn note(&self, what: Seen) {
        self.seen.lock().unwrap().push(what);
    }

    pub fn take(&self) -> Vec<Seen> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }
}

impl AccessHandler for Log {
    fn port_read(&self, port: u16, data: &mut [u8]) {
        data.fill(self.answer);
        self.note(Seen::In(port, data.len()));
    }
    fn port_write(&self, port: u16, data: &[u8]) {
        self.note(Seen::Out(port, data.to_vec()));
    }
    fn memory_read(&self, gpa: u64, data: &mut [u8]) {
        data.fill(self.answer);
        self.note(Seen::Read(gpa, data.len()));
    }
    fn memory_write(&self, gpa: u64, data: &[u8]) {
        self.note(Seen::Write(gpa, data.to_vec()));
    }
    fn eoi(&self, vector: u8) {
        self.note(Seen::Eoi(vector));
    }
}
