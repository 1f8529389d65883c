//! The same exits through `/dev/kvm` (Linux, Documentation/virt/kvm/api.rst), with nothing around them.

use std::fs::{File, OpenOptions};
use std::io::{Error, Result};
use std::os::fd::{AsRawFd, FromRawFd};

const CREATE_VM: u64 = 0xAE01;
const VCPU_MMAP_SIZE: u64 = 0xAE04;
const CREATE_VCPU: u64 = 0xAE41;
const SET_TSS_ADDR: u64 = 0xAE47;
const SET_USER_MEMORY_REGION: u64 = 0x4020_AE46;
const RUN: u64 = 0xAE80;
const GET_SREGS: u64 = 0x8138_AE83;
const SET_SREGS: u64 = 0x4138_AE84;
const SET_REGS: u64 = 0x4090_AE82;

const EXIT_IO: u32 = 2;
const EXIT_HLT: u32 = 5;
const EXIT_MMIO: u32 = 6;
/// Of `exit_reason` in `struct kvm_run`.
const EXIT_REASON: usize = 8;

/// The fields of `struct kvm_sregs` that are set: base and selector of CS and DS (`struct kvm_segment`, 24 bytes each).
const CS: usize = 0;
const DS: usize = 24;
const RIP: usize = 128;
const RFLAGS: usize = 136;
const MEMORY: usize = 0x1_0000;

fn call(file: &File, request: u64, argument: u64) -> Result<i32> {
    // SAFETY: a KVM request; pointers in `argument` are to buffers of the size that the request's number has in it.
    let answer = unsafe { libc::ioctl(file.as_raw_fd(), request as _, argument) };
    if answer < 0 { Err(Error::last_os_error()) } else { Ok(answer) }
}

fn open(file: &File, request: u64, argument: u64) -> Result<File> {
    let fd = call(file, request, argument)?;
    // SAFETY: a new descriptor that nobody else has.
    Ok(unsafe { File::from_raw_fd(fd) })
}

fn map(file: Option<&File>, size: usize) -> Result<*mut u8> {
    let (fd, flags) = file.map_or((-1, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS), |f| (f.as_raw_fd(), libc::MAP_SHARED));
    // SAFETY: a new mapping.
    let at = unsafe { libc::mmap(std::ptr::null_mut(), size, libc::PROT_READ | libc::PROT_WRITE, flags, fd, 0) };
    if at == libc::MAP_FAILED { Err(Error::last_os_error()) } else { Ok(at.cast()) }
}

/// A virtual machine in real mode at 1000h with DS at 50000h, where nothing is.
struct Vm {
    vcpu: File,
    run: *const u8,
    _vm: File,
}

impl Vm {
    fn new(code: &[u8]) -> Result<Self> {
        let kvm = OpenOptions::new().read(true).write(true).open("/dev/kvm")?;
        let vm = open(&kvm, CREATE_VM, 0)?;
        call(&vm, SET_TSS_ADDR, 0xFFFB_D000)?;
        let memory = map(None, MEMORY)?;
        // SAFETY: inside the mapping.
        unsafe { std::ptr::copy_nonoverlapping(code.as_ptr(), memory.add(0x1000), code.len()) };
        let region: [u64; 4] = [0, 0, MEMORY as u64, memory as u64];
        call(&vm, SET_USER_MEMORY_REGION, region.as_ptr() as u64)?;
        let vcpu = open(&vm, CREATE_VCPU, 0)?;
        let size = call(&kvm, VCPU_MMAP_SIZE, 0)? as usize;
        let run = map(Some(&vcpu), size)?;
        let mut system = [0u8; 0x138];
        call(&vcpu, GET_SREGS, system.as_mut_ptr() as u64)?;
        for (segment, base) in [(CS, 0u64), (DS, 0x5_0000)] {
            system[segment..segment + 8].copy_from_slice(&base.to_le_bytes());
            system[segment + 12..segment + 14].copy_from_slice(&((base >> 4) as u16).to_le_bytes());
        }
        call(&vcpu, SET_SREGS, system.as_ptr() as u64)?;
        let mut registers = [0u8; 144];
        registers[RIP..RIP + 8].copy_from_slice(&0x1000u64.to_le_bytes());
        registers[RFLAGS] = 2;
        call(&vcpu, SET_REGS, registers.as_ptr() as u64)?;
        Ok(Self { vcpu, run, _vm: vm })
    }

    fn run(&self) -> Result<u32> {
        call(&self.vcpu, RUN, 0)?;
        // SAFETY: inside `struct kvm_run`, which the mapping holds; the processor is not running.
        Ok(unsafe { self.run.add(EXIT_REASON).cast::<u32>().read_volatile() })
    }
}

fn measure(code: &[u8], reason: u32) -> Result<f64> {
    let vm = Vm::new(code)?;
    let found = vm.run()?;
    if found != reason {
        return Err(Error::other(format!("exit reason {found} instead of {reason}")));
    }
    Ok(super::time(|| assert!(vm.run().is_ok_and(|found| found == reason))))
}

pub fn report() {
    for (what, code, reason) in [
        ("/dev/kvm, HLT exit", &[0xF4, 0xEB, 0xFD][..], EXIT_HLT),
        ("/dev/kvm, OUT exit", &[0xE6, 0x80, 0xEB, 0xFC], EXIT_IO),
        ("/dev/kvm, store exit", &[0xA3, 0x00, 0x00, 0xEB, 0xFB], EXIT_MMIO),
        ("/dev/kvm, load exit", &[0xA1, 0x00, 0x00, 0xEB, 0xFB], EXIT_MMIO),
    ] {
        match measure(code, reason) {
            Ok(ns) => super::say(what, ns),
            Err(error) => println!("{what}\tskipped: {error}"),
        }
    }
}
