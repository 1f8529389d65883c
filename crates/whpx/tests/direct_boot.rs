//! Small kernels started with `-kernel` through the whole program: SeaBIOS, the option ROM, the kernel's entry state,
//! serial output, exit by isa-debug-exit. Needs SeaBIOS (Debian package seabios).

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use iced_x86::code_asm::*;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Where the kernels load and start.
const LOAD: u32 = 0x10_0000;
/// Value written to the exit port, and the status it makes.
const EXIT_VALUE: i32 = 0x10;
const EXIT_STATUS: i32 = EXIT_VALUE << 1 | 1;

/// Prints the zero-terminated string at ESI to COM1.
fn print(a: &mut CodeAssembler) -> Result<()> {
    let (mut again, mut done) = (a.create_label(), a.create_label());
    a.mov(dx, 0x3F8)?;
    a.set_label(&mut again)?;
    a.lodsb()?;
    a.test(al, al)?;
    a.je(done)?;
    a.out(dx, al)?;
    a.jmp(again)?;
    a.set_label(&mut done)?;
    a.nop()?;
    Ok(())
}

fn exit(a: &mut CodeAssembler, value: i32) -> Result<()> {
    a.mov(dx, 0x501)?;
    a.mov(al, value)?;
    a.out(dx, al)?;
    let mut stop = a.create_label();
    a.set_label(&mut stop)?;
    a.hlt()?;
    a.jmp(stop)?;
    Ok(())
}

/// Assembles `body` at `at`; it may jump to the label it is given to fail (status 1).
fn code(at: u32, body: impl Fn(&mut CodeAssembler, CodeLabel) -> Result<()>) -> Result<Vec<u8>> {
    let mut a = CodeAssembler::new(32)?;
    let mut fail = a.create_label();
    a.cld()?;
    body(&mut a, fail)?;
    exit(&mut a, EXIT_VALUE)?;
    a.set_label(&mut fail)?;
    exit(&mut a, 0)?;
    Ok(a.assemble(at.into())?)
}

/// A multiboot kernel that prints its command line and its first module.
fn multiboot() -> Result<Vec<u8>> {
    const HEADER: u32 = 32;
    let flags = 1u32 << 16 | 3;
    let mut image = Vec::new();
    for v in [0x1BAD_B002, flags, 0u32.wrapping_sub(0x1BAD_B002 + flags), LOAD, LOAD, 0, 0, LOAD + HEADER] {
        image.extend(v.to_le_bytes());
    }
    image.extend(code(LOAD + HEADER, |a, fail| {
        a.cmp(eax, 0x2BAD_B002u32 as i32)?;
        a.jne(fail)?;
        a.test(dword_ptr(ebx), 0x4Fi32)?;
        a.je(fail)?;
        a.cmp(dword_ptr(ebx + 44), 24)?; // at least one entry of the memory map
        a.jb(fail)?;
        a.mov(esi, dword_ptr(ebx + 48))?;
        a.cmp(dword_ptr(esi), 20)?; // its size field
        a.jne(fail)?;
        a.cmp(dword_ptr(ebx + 20), 1)?;
        a.jne(fail)?;
        a.mov(esi, dword_ptr(ebx + 16))?;
        print(a)?;
        a.mov(esi, dword_ptr(ebx + 24))?;
        a.mov(esi, dword_ptr(esi))?;
        print(a)
    })?);
    Ok(image)
}

/// A PVH kernel that prints its command line and its first module.
fn pvh() -> Result<Vec<u8>> {
    let text = code(LOAD, |a, fail| {
        a.cmp(dword_ptr(ebx), 0x336E_C578)?;
        a.jne(fail)?;
        a.cmp(dword_ptr(ebx + 48), 1)?; // memory map entries
        a.jb(fail)?;
        a.cmp(dword_ptr(ebx + 12), 1)?; // modules
        a.jne(fail)?;
        a.mov(esi, dword_ptr(ebx + 24))?;
        print(a)?;
        a.mov(esi, dword_ptr(ebx + 16))?;
        a.mov(esi, dword_ptr(esi))?;
        print(a)
    })?;
    let mut e = b"\x7FELF\x01\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x03\0\x01\0\0\0".to_vec();
    for v in [LOAD, 52, 0, 0] {
        e.extend(v.to_le_bytes());
    }
    for v in [52u16, 32, 2, 40, 0, 0] {
        e.extend(v.to_le_bytes());
    }
    let len = text.len() as u32;
    for v in [1, 0x100, LOAD, LOAD, len, len, 7, 4, 4, 0xC0, 0, 0, 20, 20, 4, 4] {
        e.extend(v.to_le_bytes());
    }
    e.resize(0xC0, 0);
    for v in [4, 4, 18, u32::from_le_bytes(*b"Xen\0"), LOAD] {
        e.extend(v.to_le_bytes());
    }
    e.resize(0x100, 0);
    e.extend(text);
    Ok(e)
}

/// Runs the program with `kernel` and a module; `None` (with the reason printed) when there is no firmware.
fn boot(name: &str, kernel: &[u8]) -> Result<Option<Output>> {
    if !Path::new("/usr/share/seabios/bios-256k.bin").exists() {
        println!("SKIPPED {name}: SeaBIOS is not installed (package seabios)");
        return Ok(None);
    }
    let dir = tempfile::tempdir()?;
    let file = |n: &str, bytes: &[u8]| -> Result<PathBuf> {
        let path = dir.path().join(n);
        std::fs::write(&path, bytes)?;
        Ok(path)
    };
    let kernel = file("kernel", kernel)?;
    let module = file("module", b"MODULE-TEXT\0")?;
    let output = Command::new(env!("CARGO_BIN_EXE_whpx-system-x86_64"))
        .args(["-accel", "whpx", "-M", "pc", "-m", "64", "-display", "none", "-serial", "stdio", "-vga", "none"])
        .args(["-device", "isa-debug-exit", "-append", "hello=world"])
        .arg("-kernel")
        .arg(kernel)
        .arg("-initrd")
        .arg(module)
        .stdin(std::process::Stdio::null())
        .output()?;
    Ok(Some(output))
}

fn check(name: &str, kernel: &[u8]) -> Result<()> {
    let Some(output) = boot(name, kernel)? else { return Ok(()) };
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(EXIT_STATUS), "{text}\n{errors}");
    assert!(text.contains("hello=world"), "{text}");
    assert!(text.contains("MODULE-TEXT"), "{text}");
    Ok(())
}

#[test]
fn a_multiboot_kernel_gets_command_line_module_and_memory_map() -> Result<()> {
    check("multiboot", &multiboot()?)
}

#[test]
fn a_pvh_kernel_gets_command_line_module_and_memory_map() -> Result<()> {
    check("pvh", &pvh()?)
}
