//! Snippets on the built-in platform with undecoded exits: RAM at 0, a device that remembers at 0xC000_0000 and one
//! in the last page below 4 GiB; nothing is mapped from 4 GiB on.

use std::sync::{Arc, Mutex};

use cpu_x86::model::{CpuSpec, Topology};
use guest_memory::RamBlock;
use vm_core::{AddressSpace, Backing, Mmio, PortIo, PortSpace, Region, shared};
use whp::{
    AccessHandler, Exit, ExitContext, LocalApicEmulationMode, MapGpaRangeFlags, Partition, Platform, Property,
    RegisterName as R, RegisterValue, SegmentRegister, TableRegister, VirtualProcessor,
};
use whp_soft::{SoftOptions, SoftPlatform};

use super::{Completion, Emulator};
use crate::exits;

const CODE: u64 = 0x1000;
const DATA: u64 = 0x3000;
const DEVICE: u64 = 0xC000_0000;
const LAST_PAGE: u64 = 0xFFFF_F000;
const FAULTED: u64 = 0x5000;

/// Memory that notes what is written to it and read from it.
#[derive(Default)]
struct Plain {
    bytes: Vec<u8>,
    log: Vec<(char, u64, usize)>,
}

impl Mmio for Plain {
    fn mmio_read(&mut self, offset: u64, data: &mut [u8]) {
        data.copy_from_slice(&self.bytes[offset as usize..offset as usize + data.len()]);
        self.log.push(('r', offset, data.len()));
    }
    fn mmio_write(&mut self, offset: u64, data: &[u8]) {
        self.bytes[offset as usize..offset as usize + data.len()].copy_from_slice(data);
        self.log.push(('w', offset, data.len()));
    }
}

/// Answers 0x10, 0x11 ... and notes what is written.
#[derive(Default)]
struct Port {
    next: u8,
    written: Vec<u8>,
}

impl PortIo for Port {
    fn port_read(&mut self, _offset: u16, data: &mut [u8]) {
        for b in data {
            *b = 0x10 + self.next;
            self.next += 1;
        }
    }
    fn port_write(&mut self, _offset: u16, data: &[u8]) {
        self.written.extend(data);
    }
}

struct Handler(Arc<AddressSpace>, Arc<PortSpace>);

impl AccessHandler for Handler {
    fn port_read(&self, port: u16, data: &mut [u8]) {
        self.1.read(port, data);
    }
    fn port_write(&self, port: u16, data: &[u8]) {
        self.1.write(port, data);
    }
    fn memory_read(&self, gpa: u64, data: &mut [u8]) {
        self.0.read(gpa, data);
    }
    fn memory_write(&self, gpa: u64, data: &[u8]) {
        self.0.write(gpa, data);
    }
    fn eoi(&self, _vector: u8) {}
}

struct Vm {
    _partition: Arc<dyn Partition>,
    vp: Arc<dyn VirtualProcessor>,
    ram: Arc<RamBlock>,
    device: Arc<Mutex<Plain>>,
    last: Arc<Mutex<Plain>>,
    port: Arc<Mutex<Port>>,
    handler: Handler,
    emulator: Emulator,
}

impl Vm {
    fn new(code: &[u8]) -> Self {
        let model = CpuSpec::parse("max").unwrap().model(Topology::default(), 0);
        let mut options = SoftOptions::new(Arc::new(model));
        options.decoded = false;
        let partition = SoftPlatform::new(options).create_partition().unwrap();
        partition.set_property(Property::ProcessorCount(1)).unwrap();
        partition.set_property(Property::LocalApicEmulationMode(LocalApicEmulationMode::X2Apic)).unwrap();
        partition.setup().unwrap();
        let ram = RamBlock::new("ram", 0x10_0000).unwrap();
        let rwx = MapGpaRangeFlags::READ | MapGpaRangeFlags::WRITE | MapGpaRangeFlags::EXECUTE;
        partition.map_gpa_range(&ram, 0, 0x10_0000, 0, rwx).unwrap();
        let vp = partition.create_virtual_processor(0).unwrap();
        let (space, ports) = (AddressSpace::new(), PortSpace::new());
        let device = shared(Plain { bytes: vec![0; 0x2000], log: vec![] });
        let last = shared(Plain { bytes: vec![0; 0x1000], log: vec![] });
        let region = |name: &str, start, len, backing| Region {
            name: name.into(),
            start,
            len,
            priority: 0,
            enabled: true,
            backing,
        };
        space.add(region("ram", 0, 0x10_0000, Backing::ram(&ram))).unwrap();
        space.add(region("device", DEVICE, 0x2000, Backing::mmio(&device))).unwrap();
        space.add(region("last", LAST_PAGE, 0x1000, Backing::mmio(&last))).unwrap();
        let port = shared(Port::default());
        ports.add(0x60, 8, "port", false, &port).unwrap();
        let handler = Handler(space, ports);
        let vm = Self { _partition: partition, vp, ram, device, last, port, handler, emulator: Emulator::new() };
        vm.long_mode(code);
        vm
    }

    fn load(&self, at: u64, bytes: &[u8]) {
        assert!(self.ram.write(at, bytes));
    }

    fn read<const N: usize>(&self, at: u64) -> [u8; N] {
        let mut b = [0; N];
        assert!(self.ram.read(at, &mut b));
        b
    }

    /// 64-bit code; the first 2 MiB, the first GiB from 3 GiB on and the last page are mapped.
    fn long_mode(&self, code: &[u8]) {
        self.load(CODE, code);
        self.load(FAULTED, &[0xE6, 0xF5]); // out 0xF5, al
        let put = |at: u64, v: u64| self.load(at, &v.to_le_bytes());
        put(0x2_0000, 0x2_1003);
        put(0x2_1000, 0x2_2003);
        put(0x2_1018, 0x2_3003);
        put(0x2_2000, 0x83);
        for i in 0..512 {
            put(0x2_3000 + i * 8, (DEVICE + (i << 21)) | 0x83);
        }
        put(0x6008, 0x00AF_9B00_0000_FFFF);
        put(0x6010, 0x00CF_9300_0000_FFFF);
        for vector in [1u64, 13, 14] {
            put(0x7000 + vector * 16, FAULTED & 0xFFFF | 8 << 16 | 0x8E00 << 32);
            put(0x7008 + vector * 16, 0);
        }
        let code = SegmentRegister { base: 0, limit: u32::MAX, selector: 8, attributes: 0xA09B };
        let data = SegmentRegister { base: 0, limit: u32::MAX, selector: 16, attributes: 0xC093 };
        self.set(&[
            (R::CR3, 0x2_0000u64.into()),
            (R::CR4, 0x4_06A0u64.into()),
            (R::XCR0, 7u64.into()),
            (R::EFER, 0x500u64.into()),
            (R::CR0, 0x8000_0033u64.into()),
            (R::CS, code.into()),
            (R::DS, data.into()),
            (R::ES, data.into()),
            (R::SS, data.into()),
            (R::GDTR, TableRegister { limit: 0x17, base: 0x6000 }.into()),
            (R::IDTR, TableRegister { limit: 0xFFF, base: 0x7000 }.into()),
            (R::RIP, CODE.into()),
            (R::RSP, 0x8000u64.into()),
            (R::RFLAGS, 2u64.into()),
            (R::RDI, DEVICE.into()),
            (R::RSI, DATA.into()),
        ]);
    }

    fn set(&self, fields: &[(R, RegisterValue)]) {
        let (names, values): (Vec<_>, Vec<_>) = fields.iter().copied().unzip();
        self.vp.set_registers(&names, &values).unwrap();
    }

    fn get(&self, name: R) -> u64 {
        let mut v = [RegisterValue::default()];
        self.vp.registers(&[name], &mut v).unwrap();
        v[0].u64()
    }

    /// One run and, unless it ended the test, the completion of its exit.
    fn round(&mut self) -> Option<u16> {
        let context = self.vp.run(None).unwrap();
        let bytes = match &context.exit {
            Exit::IoPortAccess(a) if matches!(a.port, 0xF4 | 0xF5) => return Some(a.port),
            Exit::IoPortAccess(a) if exits::is_simple(&context.vp, a) => {
                exits::port(&*self.vp, &context.vp, a, &self.handler).unwrap();
                return None;
            }
            Exit::IoPortAccess(a) => a.instruction().to_vec(),
            Exit::MemoryAccess(a) => a.instruction().to_vec(),
            other => panic!("{other:x?}"),
        };
        assert_eq!(self.complete(&context, &bytes), Completion::Done);
        None
    }

    fn complete(&mut self, context: &ExitContext, bytes: &[u8]) -> Completion {
        self.emulator.complete(&self.handler.0, &self.handler, &*self.vp, context, bytes).unwrap()
    }

    /// For failures: the exception frame.
    fn frame(&self) -> [u64; 4] {
        [0, 8, 16, 24].map(|n| u64::from_le_bytes(self.read(self.get(R::RSP) + n)))
    }

    /// Runs until the snippet writes port 0xF4 (or the exception handler 0xF5), which is returned.
    fn run(&mut self) -> u16 {
        (0..2000).find_map(|_| self.round()).expect("the snippet does not end")
    }

    fn dword(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.device.lock().unwrap().bytes[at..at + 4].try_into().unwrap())
    }
}

#[test]
fn integer_instructions_reach_a_device() {
    let mut vm = Vm::new(&[
        0x89, 0x07, // mov [rdi], eax
        0x8B, 0x1F, // mov ebx, [rdi]
        0x0F, 0xB6, 0x4F, 0x01, // movzx ecx, byte [rdi+1]
        0x83, 0x07, 0x7F, // add dword [rdi], 0x7F
        0x87, 0x07, // xchg [rdi], eax
        0x8B, 0x17, // mov edx, [rdi]
        0x89, 0xD0, // mov eax, edx
        0xF0, 0x0F, 0xB1, 0x0F, // lock cmpxchg [rdi], ecx
        0x0F, 0x94, 0x47, 0x08, // sete [rdi+8]
        0xFF, 0x37, // push qword [rdi]
        0x8F, 0x47, 0x10, // pop qword [rdi+16]
        0x0F, 0x38, 0xF1, 0x5F, 0x18, // movbe [rdi+24], ebx
        0xC1, 0x67, 0x18, 0x04, // shl dword [rdi+24], 4
        0xF0, 0x48, 0x0F, 0xAB, 0x4F, 0x20, // lock bts [rdi+32], rcx
        0xE6, 0xF4, // out 0xF4, al
    ]);
    vm.set(&[(R::RAX, 0x1122_3344u64.into())]);
    assert_eq!(vm.run(), 0xF4);
    assert_eq!(vm.get(R::RBX), 0x1122_3344);
    assert_eq!(vm.get(R::RCX), 0x33);
    assert_eq!(vm.get(R::RDX), 0x1122_3344, "what xchg wrote");
    assert_eq!(vm.get(R::RAX), 0x1122_3344, "cmpxchg found it equal");
    assert_eq!((vm.dword(0), vm.dword(8), vm.dword(16)), (0x33, 1, 0x33));
    assert_eq!(vm.dword(24), 0x4433_2211u32 << 4);
    assert_eq!(vm.dword(32), 0);
    assert_eq!(vm.dword(36), 1 << (0x33 - 32));
    assert_eq!(vm.get(R::RSP), 0x8000);
}

#[test]
fn vectors_and_the_fpu_reach_a_device() {
    let mut vm = Vm::new(&[
        0xDB, 0xE3, // fninit
        0x0F, 0x10, 0x0E, // movups xmm1, [rsi]
        0x0F, 0x11, 0x0F, // movups [rdi], xmm1
        0xC5, 0xFE, 0x6F, 0x16, // vmovdqu ymm2, [rsi]
        0xC5, 0xFE, 0x7F, 0x57, 0x20, // vmovdqu [rdi+32], ymm2
        0xC5, 0xED, 0xFC, 0x5F, 0x20, // vpaddb ymm3, ymm2, [rdi+32]
        0xC5, 0xFE, 0x7F, 0x5E, 0x40, // vmovdqu [rsi+64], ymm3
        0xDB, 0x07, // fild dword [rdi]
        0xDB, 0x5E, 0x60, // fistp dword [rsi+96]
        0x66, 0x0F, 0xEF, 0x0F, // pxor xmm1, [rdi]
        0xE6, 0xF4,
    ]);
    let pattern: Vec<u8> = (1..=32).collect();
    vm.load(DATA, &pattern);
    assert_eq!(vm.run(), 0xF4, "{:x?}", vm.frame());
    assert_eq!(vm.device.lock().unwrap().bytes[..16], pattern[..16]);
    assert_eq!(vm.device.lock().unwrap().bytes[32..64], pattern[..]);
    let doubled: Vec<u8> = pattern.iter().map(|b| b * 2).collect();
    assert_eq!(vm.read::<32>(DATA + 64)[..], doubled[..], "upper halves too");
    assert_eq!(vm.read::<4>(DATA + 96), [1, 2, 3, 4]);
    let mut xmm1 = [RegisterValue(1)];
    vm.vp.registers(&[R::XMM1], &mut xmm1).unwrap();
    assert_eq!(xmm1[0].0, 0);
}

#[test]
fn rep_string_instructions_go_on_where_they_stopped() {
    let code = [
        0xF3, 0xAA, // rep stosb
        0xB9, 0x06, 0, 0, 0, // mov ecx, 6
        0x48, 0x89, 0xF7, // mov rdi, rsi
        0x48, 0x89, 0xD6, // mov rsi, rdx
        0xF3, 0xA4, // rep movsb
        0xE6, 0xF4,
    ];
    let mut vm = Vm::new(&code);
    vm.set(&[(R::RAX, 0x5Au64.into()), (R::RCX, 0x1F00u64.into()), (R::RDX, (DEVICE + 0x1EFD).into())]);
    assert_eq!(vm.run(), 0xF4);
    assert!(vm.device.lock().unwrap().bytes[..0x1F00].iter().all(|b| *b == 0x5A));
    assert_eq!(vm.read::<8>(DATA), [0x5A, 0x5A, 0x5A, 0, 0, 0, 0, 0]);
    assert_eq!((vm.get(R::RCX), vm.get(R::RSI), vm.get(R::RDI)), (0, DEVICE + 0x1F03, DATA + 6));
}

#[test]
fn accesses_across_pages_are_split_and_a_faulting_half_faults_whole() {
    let store = [0x48, 0x89, 0x07, 0xE6, 0xF4]; // mov [rdi], rax
    let mut vm = Vm::new(&store);
    vm.set(&[(R::RAX, 0x0807_0605_0403_0201u64.into()), (R::RDI, (DEVICE + 0xFFD).into())]);
    assert_eq!(vm.run(), 0xF4);
    assert_eq!(vm.device.lock().unwrap().bytes[0xFFC..0x1006], [0, 1, 2, 3, 4, 5, 6, 7, 8, 0]);
    let mut vm = Vm::new(&store);
    vm.set(&[(R::RDI, 0xFFFF_FFFCu64.into())]);
    assert_eq!(vm.run(), 0xF5, "page fault");
    assert_eq!(vm.get(R::CR2), 0x1_0000_0000);
    let frame = vm.get(R::RSP);
    assert_eq!(u64::from_le_bytes(vm.read(frame)), 2, "error code: a write, not present");
    assert_eq!(u64::from_le_bytes(vm.read(frame + 8)), CODE);
    assert!(vm.last.lock().unwrap().log.iter().all(|(kind, ..)| *kind == 'r'), "nothing was written");
}

#[test]
fn rep_string_port_instructions() {
    let mut vm = Vm::new(&[
        0xF3, 0x6E, // rep outsb
        0xB9, 0x03, 0, 0, 0, // mov ecx, 3
        0x66, 0xF3, 0x6D, // rep insw
        0xE4, 0x61, // in al, 0x61
        0xE6, 0x62, // out 0x62, al
        0xE6, 0xF4,
    ]);
    vm.load(DATA, b"abcd");
    vm.set(&[
        (R::RCX, 4u64.into()),
        (R::RDX, 0x60u64.into()),
        (R::RDI, (DATA + 16).into()),
        (R::RAX, 0xFFFF_FF00u64.into()),
    ]);
    assert_eq!(vm.run(), 0xF4);
    assert_eq!(vm.read::<8>(DATA + 16), [0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0, 0]);
    assert_eq!(vm.port.lock().unwrap().written, b"abcd\x16");
    assert_eq!(vm.get(R::RAX), 0xFFFF_FF16, "only AL changes");
    assert_eq!(vm.get(R::RCX), 0);
}

#[test]
fn code_in_a_device_runs() {
    let mut vm = Vm::new(&[0xFF, 0xD7, 0xE6, 0xF4]); // call rdi
    vm.device.lock().unwrap().bytes[..10]
        .copy_from_slice(&[0xB0, 0x42, 0x66, 0x0F, 0xEF, 0xC9, 0x31, 0xDB, 0x90, 0xC3]); // ... xor ebx, ebx; nop; ret
    vm.set(&[(R::RBX, 7u64.into())]);
    assert_eq!(vm.run(), 0xF4);
    assert_eq!((vm.get(R::RAX) & 0xFF, vm.get(R::RBX), vm.get(R::RSP)), (0x42, 0, 0x8000));
}

#[test]
fn the_end_of_the_instruction_counts() {
    let mut vm = Vm::new(&[0x89, 0x07, 0xE6, 0xF4]); // mov [rdi], eax
    let mut context = vm.vp.run(None).unwrap();
    vm.set(&[(R::INTERRUPT_STATE, 1u64.into())]);
    context.vp.interrupt_shadow = true;
    assert_eq!(vm.complete(&context, &[0x89, 0x07]), Completion::Done);
    assert_eq!(vm.get(R::INTERRUPT_STATE), 0, "the shadow of STI is over");
    assert_eq!(vm.run(), 0xF4);

    let mut vm = Vm::new(&[0x89, 0x07, 0x90, 0xE6, 0xF4]);
    vm.set(&[(R::RFLAGS, 0x102u64.into())]);
    assert_eq!(vm.run(), 0xF5, "the single-step trap comes");
    assert_eq!(u64::from_le_bytes(vm.read(vm.get(R::RSP))), CODE + 2);
    assert_eq!(vm.get(R::DR6) >> 14 & 1, 1);
}

#[test]
fn ports_of_one_element_take_one_call() {
    let mut vm = Vm::new(&[0xE5, 0x60, 0x66, 0xE5, 0x60, 0xE6, 0xF4]); // in eax, 0x60; in ax, 0x60
    vm.set(&[(R::RAX, u64::MAX.into())]);
    assert_eq!(vm.run(), 0xF4);
    assert_eq!(vm.get(R::RAX), 0x1312_1514, "32 bits clear the upper half, 16 bits leave it");
}
