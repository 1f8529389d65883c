//! A small monitor in the way of Microsoft's samples: RAM at 0, a device that remembers at 3 GiB, ports that count, on
//! `WinHvPlatform`'s and `WinHvEmulation`'s C functions. It notes every callback.

use std::ffi::c_void;
use std::ptr::null_mut;
use std::sync::Arc;

use guest_memory::RamBlock;
use whp_abi::emulation::*;
use whp_abi::x64::*;
use winhvemulation::*;
use winhvplatform::*;

pub const CODE: u64 = 0x1000;
pub const DATA: u64 = 0x3000;
pub const DEVICE: u64 = 0xC000_0000;
/// Where exceptions go; writes port F5h.
pub const FAULTED: u64 = 0x5000;
const RAM: u64 = 0x10_0000;
const DEVICE_SIZE: usize = 0x2000;

/// What can be made to fail, or is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    Io,
    Memory,
    Get,
    Set,
    Translate,
}

/// A callback, as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    In(u16, u16),
    Out(u16, u16, u32),
    Read(u64, u8),
    Write(u64, u8),
    Get(usize),
    Set(Vec<i32>),
    Translate(u64, u32),
}

/// The machine, and the context of its callbacks.
pub struct Client {
    pub p: WHV_PARTITION_HANDLE,
    pub emulator: WHV_EMULATOR_HANDLE,
    ram: Arc<RamBlock>,
    pub device: Vec<u8>,
    pub next: u8,
    pub log: Vec<Call>,
    pub fails: Option<Which>,
    /// Added to what translations answer.
    pub skew: u64,
    /// A callback calls the emulator again; the answer.
    pub again: Option<HRESULT>,
}

fn this<'a>(context: *mut c_void) -> &'a mut Client {
    // SAFETY: the context that `Client::emulate` passes, during its call only.
    unsafe { &mut *context.cast::<Client>() }
}

impl Client {
    fn answer(&self, which: Which, code: HRESULT) -> HRESULT {
        // S_FALSE is no S_OK either.
        if self.fails == Some(which) { 1 } else { code }
    }
}

unsafe extern "system" fn io(context: *mut c_void, access: *mut WHV_EMULATOR_IO_ACCESS_INFO) -> HRESULT {
    // SAFETY: the emulator's variable.
    let (c, a) = (this(context), unsafe { &mut *access });
    if a.Direction == 0 {
        c.log.push(Call::In(a.Port, a.AccessSize));
        let mut value = [0xEE; 4];
        for b in &mut value[..a.AccessSize as usize] {
            *b = 0x10 + c.next;
            c.next += 1;
        }
        a.Data = u32::from_le_bytes(value);
    } else {
        c.log.push(Call::Out(a.Port, a.AccessSize, a.Data));
    }
    c.answer(Which::Io, 0)
}

unsafe extern "system" fn memory(context: *mut c_void, access: *mut WHV_EMULATOR_MEMORY_ACCESS_INFO) -> HRESULT {
    // SAFETY: the emulator's variable.
    let (c, a) = (this(context), unsafe { &mut *access });
    let size = usize::from(a.AccessSize);
    assert!((1..=8).contains(&size) && a.GpaAddress % 4096 + size as u64 <= 4096);
    let offset = a.GpaAddress.wrapping_sub(DEVICE) as usize;
    if a.Direction == 0 {
        c.log.push(Call::Read(a.GpaAddress, a.AccessSize));
        match c.device.get(offset..offset.saturating_add(size)) {
            Some(from) => a.Data[..size].copy_from_slice(from),
            None => assert!(c.ram.read(a.GpaAddress, &mut a.Data[..size])),
        }
    } else {
        c.log.push(Call::Write(a.GpaAddress, a.AccessSize));
        match c.device.get_mut(offset..offset.saturating_add(size)) {
            Some(to) => to.copy_from_slice(&a.Data[..size]),
            None => assert!(c.ram.write(a.GpaAddress, &a.Data[..size])),
        }
    }
    if let Some(code) = &mut c.again {
        let (vp, exit) = (WHV_VP_EXIT_CONTEXT::default(), WHV_MEMORY_ACCESS_CONTEXT::default());
        let mut status = WHV_EMULATOR_STATUS::default();
        let mut vp = vp;
        vp.Rip = CODE;
        let mut exit = exit;
        (exit.InstructionByteCount, exit.InstructionBytes[0]) = (1, 0xAA); // STOSB
        // SAFETY: variables of ours.
        *code = unsafe { WHvEmulatorTryMmioEmulation(c.emulator, context, &vp, &exit, &mut status) };
    }
    c.answer(Which::Memory, 0)
}

unsafe extern "system" fn get(
    context: *mut c_void,
    names: *const WHV_REGISTER_NAME,
    count: u32,
    values: *mut WHV_REGISTER_VALUE,
) -> HRESULT {
    let c = this(context);
    c.log.push(Call::Get(count as usize));
    // SAFETY: the emulator's arrays.
    let code = unsafe { WHvGetVirtualProcessorRegisters(c.p, 0, names, count, values) };
    c.answer(Which::Get, code)
}

unsafe extern "system" fn set(
    context: *mut c_void,
    names: *const WHV_REGISTER_NAME,
    count: u32,
    values: *const WHV_REGISTER_VALUE,
) -> HRESULT {
    let c = this(context);
    // SAFETY: the emulator's arrays.
    c.log.push(Call::Set(unsafe { std::slice::from_raw_parts(names, count as usize) }.to_vec()));
    if c.fails == Some(Which::Set) {
        return -1;
    }
    // SAFETY: as above.
    unsafe { WHvSetVirtualProcessorRegisters(c.p, 0, names, count, values) }
}

unsafe extern "system" fn translate(
    context: *mut c_void,
    gva: u64,
    flags: WHV_TRANSLATE_GVA_FLAGS,
    result: *mut WHV_TRANSLATE_GVA_RESULT_CODE,
    gpa: *mut u64,
) -> HRESULT {
    let c = this(context);
    c.log.push(Call::Translate(gva, flags));
    assert_eq!(gva % 4096, 0);
    let mut answer = WHV_TRANSLATE_GVA_RESULT::default();
    // SAFETY: variables of ours and of the emulator's.
    unsafe {
        let code = WHvTranslateGva(c.p, 0, gva, flags, &mut answer, gpa);
        *result = answer.ResultCode;
        *gpa += c.skew;
        c.answer(Which::Translate, code)
    }
}

pub fn callbacks() -> WHV_EMULATOR_CALLBACKS {
    WHV_EMULATOR_CALLBACKS {
        Size: size_of::<WHV_EMULATOR_CALLBACKS>() as u32,
        Reserved: 0,
        WHvEmulatorIoPortCallback: Some(io),
        WHvEmulatorMemoryCallback: Some(memory),
        WHvEmulatorGetVirtualProcessorRegisters: Some(get),
        WHvEmulatorSetVirtualProcessorRegisters: Some(set),
        WHvEmulatorTranslateGvaPage: Some(translate),
    }
}

fn word(v: u64) -> WHV_REGISTER_VALUE {
    WHV_REGISTER_VALUE { Reg128: WHV_UINT128 { Dword: [v as u32, (v >> 32) as u32, 0, 0] } }
}

impl Client {
    /// In 64-bit mode at `code`; the first 2 MiB and the GiB from 3 GiB on are mapped one to one.
    pub fn new(code: &[u8]) -> Box<Self> {
        let (mut p, mut emulator) = (null_mut(), null_mut());
        let ram = RamBlock::new("client", RAM).unwrap();
        // SAFETY: variables of ours; the block lives as long as the partition.
        unsafe {
            assert_eq!(WHvCreatePartition(&mut p), 0);
            let one = 1u32;
            let code = WHvPartitionPropertyCodeProcessorCount;
            assert_eq!(WHvSetPartitionProperty(p, code, (&raw const one).cast(), 4), 0);
            assert_eq!(WHvSetupPartition(p), 0);
            assert_eq!(WHvMapGpaRange(p, ram.host_ptr(0).cast_const().cast(), 0, RAM, 7), 0);
            assert_eq!(WHvCreateVirtualProcessor(p, 0, 0), 0);
            assert_eq!(WHvEmulatorCreateEmulator(&callbacks(), &mut emulator), 0);
        }
        let (device, log) = (vec![0; DEVICE_SIZE], Vec::new());
        let (fails, skew, again) = (None, 0, None);
        let client = Box::new(Self { p, emulator, ram, device, next: 0, log, fails, skew, again });
        client.long_mode(code);
        client
    }

    pub fn load(&self, at: u64, bytes: &[u8]) {
        assert!(self.ram.write(at, bytes));
    }

    pub fn read<const N: usize>(&self, at: u64) -> [u8; N] {
        let mut b = [0; N];
        assert!(self.ram.read(at, &mut b));
        b
    }

    fn long_mode(&self, code: &[u8]) {
        self.load(CODE, code);
        self.load(FAULTED, &[0xE6, 0xF5]); // OUT F5h, AL
        let put = |at: u64, v: u64| self.load(at, &v.to_le_bytes());
        put(0x2_0000, 0x2_1007);
        put(0x2_1000, 0x2_2007);
        put(0x2_1018, 0x2_3007);
        put(0x2_2000, 0x87);
        put(0x2_3000, DEVICE | 0x87);
        put(0x6008, 0x00AF_9B00_0000_FFFF);
        for vector in [1u64, 6, 13, 14] {
            put(0x7000 + vector * 16, FAULTED & 0xFFFF | 8 << 16 | 0x8E00 << 32);
            put(0x7008 + vector * 16, 0);
        }
        let segment = |selector, attributes| WHV_REGISTER_VALUE {
            Segment: WHV_X64_SEGMENT_REGISTER {
                Base: 0,
                Limit: u32::MAX,
                Selector: selector,
                Anonymous: WHV_X64_SEGMENT_REGISTER_0 { Attributes: attributes },
            },
        };
        let table = |limit, base| WHV_REGISTER_VALUE {
            Table: WHV_X64_TABLE_REGISTER { Pad: [0; 3], Limit: limit, Base: base },
        };
        let (code, data) = (segment(8, 0xA09B), segment(16, 0xC093));
        self.set(&[
            (WHvX64RegisterCr3, word(0x2_0000)),
            (WHvX64RegisterCr4, word(0x4_06A0)),
            (WHvX64RegisterXCr0, word(7)),
            (WHvX64RegisterEfer, word(0x500)),
            (WHvX64RegisterCr0, word(0x8000_0033)),
            (WHvX64RegisterCs, code),
            (WHvX64RegisterDs, data),
            (WHvX64RegisterEs, data),
            (WHvX64RegisterSs, data),
            (WHvX64RegisterGdtr, table(0x17, 0x6000)),
            (WHvX64RegisterIdtr, table(0xFFF, 0x7000)),
        ]);
        self.registers(&[
            (WHvX64RegisterRip, CODE),
            (WHvX64RegisterRsp, 0x8000),
            (WHvX64RegisterRflags, 2),
            (WHvX64RegisterRdi, DEVICE),
            (WHvX64RegisterRsi, DATA),
        ]);
    }

    fn set(&self, list: &[(i32, WHV_REGISTER_VALUE)]) {
        let (names, values): (Vec<_>, Vec<_>) = list.iter().copied().unzip();
        let count = names.len() as u32;
        // SAFETY: arrays of that length.
        assert_eq!(unsafe { WHvSetVirtualProcessorRegisters(self.p, 0, names.as_ptr(), count, values.as_ptr()) }, 0);
    }

    pub fn registers(&self, list: &[(i32, u64)]) {
        self.set(&list.iter().map(|(n, v)| (*n, word(*v))).collect::<Vec<_>>());
    }

    pub fn register(&self, name: i32) -> u64 {
        let mut value = WHV_REGISTER_VALUE::default();
        // SAFETY: variables of ours.
        unsafe {
            assert_eq!(WHvGetVirtualProcessorRegisters(self.p, 0, &name, 1, &mut value), 0);
            value.Reg64
        }
    }

    pub fn enter(&self) -> WHV_RUN_VP_EXIT_CONTEXT {
        let mut exit = WHV_RUN_VP_EXIT_CONTEXT::default();
        // SAFETY: a variable of that size.
        assert_eq!(unsafe { WHvRunVirtualProcessor(self.p, 0, (&raw mut exit).cast(), 224) }, 0);
        exit
    }

    /// Has the access of `exit` emulated.
    pub fn emulate(&mut self, exit: &WHV_RUN_VP_EXIT_CONTEXT) -> (HRESULT, u32) {
        let context = (&raw mut *self).cast();
        let (emulator, vp) = (self.emulator, &exit.VpContext);
        let mut status = WHV_EMULATOR_STATUS { AsUINT32: 0xFFFF_FFFF };
        // SAFETY: the view of each reason; variables of ours.
        let code = unsafe {
            match exit.ExitReason {
                WHvRunVpExitReasonMemoryAccess => {
                    WHvEmulatorTryMmioEmulation(emulator, context, vp, &exit.Anonymous.MemoryAccess, &mut status)
                }
                WHvRunVpExitReasonX64IoPortAccess => {
                    WHvEmulatorTryIoEmulation(emulator, context, vp, &exit.Anonymous.IoPortAccess, &mut status)
                }
                other => panic!("exit reason {other:#x} at {:#x}", exit.VpContext.Rip),
            }
        };
        (code, status.AsUINT32)
    }

    /// Runs until the snippet writes port F4h (or the exception handler F5h), which is returned.
    pub fn run(&mut self) -> u16 {
        for _ in 0..2000 {
            let exit = self.enter();
            // SAFETY: the view of this reason.
            let port = unsafe { exit.Anonymous.IoPortAccess.PortNumber };
            if exit.ExitReason == WHvRunVpExitReasonX64IoPortAccess && matches!(port, 0xF4 | 0xF5) {
                return port;
            }
            assert_eq!(self.emulate(&exit), (0, status::EMULATION_SUCCESSFUL));
        }
        panic!("the snippet does not end");
    }

    pub fn dword(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.device[at..at + 4].try_into().unwrap())
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // SAFETY: handles of ours.
        unsafe {
            assert_eq!(WHvEmulatorDestroyEmulator(self.emulator), 0);
            assert_eq!(WHvDeletePartition(self.p), 0);
        }
    }
}
