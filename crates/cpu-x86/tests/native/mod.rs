//! Runs single instructions on the host's own processor, for differential tests: the oracle is the hardware.
//!
//! Three areas are mapped at fixed low addresses, so that a guest with the same addresses sees the same values:
//! the code page (a trampoline, the instruction, two landing pads for branches), the state page, and the data area that memory
//! operands point into. The trampoline loads all general registers and RFLAGS, runs the instruction, stores
//! them again. SIGFPE, SIGSEGV, SIGBUS and SIGILL of the instruction end the run and are reported.
//!
//! With [`Native::set_xsave_mask`] the trampoline also loads and stores the x87 and vector state, through XRSTOR and XSAVE
//! of [`Native::xsave_area`]. Left out: anything but 64-bit user mode.
#![allow(dead_code, unreachable_pub)] // each test program uses a part

use std::sync::{Mutex, MutexGuard};

/// Where the code is: trampoline, exit, instruction, branch target.
pub const CODE: u64 = 0x1F00_0000;
const EXIT: u64 = CODE + 0x400;
/// Where the instruction is.
pub const INSN: u64 = CODE + 0x800;
/// The landing pad for branches.
pub const PAD: u64 = CODE + 0x840;
/// Where a whole program is.
pub const PROGRAM: u64 = CODE + 0x1000;
const PROGRAM_LEN: usize = 0x1000;
const CODE_LEN: usize = 0x1000 + PROGRAM_LEN;

const STATE: u64 = 0x1E00_0000;
const STATE_LEN: usize = 0x8000;
const AT_FLAGS: u64 = STATE + 16 * 8;
const AT_HOST_RSP: u64 = STATE + 17 * 8;
const AT_TAKEN: u64 = STATE + 18 * 8;
const AT_SIGNAL: u64 = STATE + 19 * 8;
const AT_FAULT: u64 = STATE + 20 * 8;
const AT_XSAVE: u64 = STATE + 0x1000;
const XSAVE_LEN: usize = 0x4000;

/// The data area.
pub const DATA: u64 = 0x2000_0000;
/// Its size.
pub const DATA_LEN: usize = 0x2000;

/// General registers and RFLAGS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gprs {
    /// RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8 to R15.
    pub regs: [u64; 16],
    /// RFLAGS.
    pub rflags: u64,
}

/// How the instruction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// At the next instruction.
    Next,
    /// At [`PAD`].
    Branched,
    /// With this signal.
    Signal(i32),
}

static LOCK: Mutex<()> = Mutex::new(());

/// The executor. One at a time.
pub struct Native {
    alt_stack: Vec<u8>,
    xsave_mask: u64,
    _lock: MutexGuard<'static, ()>,
}

/// Maps `len` bytes at `at`, once.
fn map(at: u64, len: usize, prot: i32) {
    // SAFETY: MAP_FIXED_NOREPLACE never replaces a mapping; the areas are ours alone (EEXIST: made by an earlier test).
    unsafe {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
        let got = libc::mmap(at as *mut libc::c_void, len, prot, flags, -1, 0);
        if got == libc::MAP_FAILED {
            let e = std::io::Error::last_os_error();
            assert_eq!(e.raw_os_error(), Some(libc::EEXIST), "cannot map {at:#x}: {e}");
        }
    }
}

extern "C" fn on_signal(signal: i32, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel passes a valid ucontext; the state page is mapped before the handler is installed.
    unsafe {
        let rip = &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs[libc::REG_RIP as usize];
        let program = PROGRAM..PROGRAM + PROGRAM_LEN as u64;
        if (INSN..INSN + 64).contains(&(*rip as u64)) || *rip as u64 == PAD || program.contains(&(*rip as u64)) {
            *(AT_SIGNAL as *mut u64) = signal as u64;
            *(AT_FAULT as *mut u64) = *rip as u64;
            *rip = EXIT as i64;
        } else {
            libc::signal(signal, libc::SIG_DFL); // not ours: happens again and ends the program
        }
    }
}

/// `opcode [disp32]` with register `r` in ModRM.reg, 64-bit operand, absolute address.
fn absolute(code: &mut Vec<u8>, opcode: &[u8], r: u8, at: u64) {
    code.push(0x48 | (r >> 3) << 2);
    code.extend_from_slice(opcode);
    code.extend_from_slice(&[0x04 | (r & 7) << 3, 0x25]);
    code.extend_from_slice(&(at as u32).to_le_bytes());
}
fn jump(code: &mut Vec<u8>, from: u64, to: u64) {
    let rel = to.wrapping_sub(from + code.len() as u64 + 5) as u32;
    code.push(0xE9);
    code.extend_from_slice(&rel.to_le_bytes());
}
/// `mov eax, low; mov edx, high; xsave64/xrstor64 [area]`.
fn xstate(code: &mut Vec<u8>, reg: u8, mask: u64) {
    code.push(0xB8);
    code.extend_from_slice(&(mask as u32).to_le_bytes());
    code.push(0xBA);
    code.extend_from_slice(&((mask >> 32) as u32).to_le_bytes());
    absolute(code, &[0x0F, 0xAE], reg, AT_XSAVE);
}

impl Native {
    /// Takes the executor.
    pub fn lock() -> Self {
        let lock = LOCK.lock().unwrap_or_else(|e| e.into_inner());
        map(CODE, CODE_LEN, libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC);
        map(STATE, STATE_LEN, libc::PROT_READ | libc::PROT_WRITE);
        map(DATA, DATA_LEN, libc::PROT_READ | libc::PROT_WRITE);
        let mut alt_stack = vec![0u8; 256 << 10];
        // SAFETY: the alternate stack lives as long as `self`; the handler is a valid SA_SIGINFO handler.
        unsafe {
            let stack = libc::stack_t { ss_sp: alt_stack.as_mut_ptr().cast(), ss_flags: 0, ss_size: alt_stack.len() };
            assert_eq!(libc::sigaltstack(&stack, std::ptr::null_mut()), 0);
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_signal as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            for signal in [libc::SIGFPE, libc::SIGSEGV, libc::SIGBUS, libc::SIGILL] {
                assert_eq!(libc::sigaction(signal, &action, std::ptr::null_mut()), 0);
            }
        }
        let mut native = Self { alt_stack, xsave_mask: 0, _lock: lock };
        native.build();
        native
    }

    /// The state components (as for XSAVE) that are loaded and stored too; 0: none.
    pub fn set_xsave_mask(&mut self, mask: u64) {
        self.xsave_mask = mask;
        self.build();
    }

    /// The XSAVE image, standard format: input before and output after [`Native::run`].
    pub fn xsave_area(&mut self) -> &mut [u8] {
        // SAFETY: mapped by `lock`, ours alone while the lock is held.
        unsafe { std::slice::from_raw_parts_mut(AT_XSAVE as *mut u8, XSAVE_LEN) }
    }

    /// The data area.
    pub fn data(&mut self) -> &mut [u8] {
        // SAFETY: mapped by `lock`, ours alone while the lock is held.
        unsafe { std::slice::from_raw_parts_mut(DATA as *mut u8, DATA_LEN) }
    }

    fn put(&mut self, at: u64, bytes: &[u8]) {
        assert!(at >= CODE && at + bytes.len() as u64 <= CODE + CODE_LEN as u64);
        // SAFETY: inside the code page, mapped writable by `lock`; nothing runs in it now.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), at as *mut u8, bytes.len()) }
    }

    fn build(&mut self) {
        let mut c = vec![0x53, 0x55, 0x41, 0x54, 0x41, 0x55, 0x41, 0x56, 0x41, 0x57, 0x9C]; // push rbx rbp r12-r15, pushfq
        absolute(&mut c, &[0x89], 4, AT_HOST_RSP);
        if self.xsave_mask != 0 {
            xstate(&mut c, 5, self.xsave_mask);
        }
        c.extend_from_slice(&[0xFF, 0x34, 0x25]); // push [flags]
        c.extend_from_slice(&(AT_FLAGS as u32).to_le_bytes());
        c.push(0x9D); // popfq
        for r in 0..16 {
            absolute(&mut c, &[0x8B], r, STATE + 8 * u64::from(r));
        }
        jump(&mut c, CODE, INSN);
        assert!(c.len() < 0x400);
        self.put(CODE, &c);

        let mut c = Vec::new();
        for r in 0..16 {
            absolute(&mut c, &[0x89], r, STATE + 8 * u64::from(r));
        }
        absolute(&mut c, &[0x8B], 4, AT_HOST_RSP);
        c.push(0x9C); // pushfq
        c.extend_from_slice(&[0x8F, 0x04, 0x25]); // pop [flags]
        c.extend_from_slice(&(AT_FLAGS as u32).to_le_bytes());
        if self.xsave_mask != 0 {
            xstate(&mut c, 4, self.xsave_mask);
            c.extend_from_slice(&[0x68, 0x80, 0x1F, 0, 0, 0x0F, 0xAE, 0x14, 0x24, 0x58]); // push 1F80h, ldmxcsr [rsp], pop rax
        }
        c.extend_from_slice(&[0x9D, 0x41, 0x5F, 0x41, 0x5E, 0x41, 0x5D, 0x41, 0x5C, 0x5D, 0x5B, 0xC3]);
        assert!(c.len() < 0x400);
        self.put(EXIT, &c);

        let mut c = vec![0xC6, 0x04, 0x25]; // mov byte [taken], 1
        c.extend_from_slice(&(AT_TAKEN as u32).to_le_bytes());
        c.push(1);
        jump(&mut c, PAD, EXIT);
        self.put(PAD, &c);
    }

    /// Puts the instruction to run at [`INSN`].
    pub fn load(&mut self, instruction: &[u8]) {
        assert!(instruction.len() <= 48);
        let mut c = instruction.to_vec();
        jump(&mut c, INSN, EXIT);
        self.put(INSN, &c);
    }

    /// Puts a program to run at [`PROGRAM`]; it ends by running into its end.
    pub fn load_program(&mut self, code: &[u8]) {
        assert!(code.len() < PROGRAM_LEN - 16);
        let mut c = code.to_vec();
        jump(&mut c, PROGRAM, EXIT);
        self.put(PROGRAM, &c);
        let mut c = Vec::new();
        jump(&mut c, INSN, PROGRAM);
        self.put(INSN, &c);
    }

    /// Where the instruction was that ended the last run by a signal.
    pub fn fault(&self) -> u64 {
        // SAFETY: mapped by `lock`.
        unsafe { *(AT_FAULT as *const u64) }
    }

    /// Runs the loaded instruction from `state` and leaves what it made of it there.
    pub fn run(&mut self, state: &mut Gprs) -> End {
        // SAFETY: the trampoline keeps the sysv64 ABI (callee-saved registers, stack, RFLAGS restored); the caller of
        // this test helper loads only instructions that touch the data area.
        unsafe {
            let s = STATE as *mut u64;
            std::ptr::copy_nonoverlapping(state.regs.as_ptr(), s, 16);
            *s.add(16) = state.rflags | 0x202;
            *s.add(18) = 0;
            *s.add(19) = 0;
            let enter: extern "sysv64" fn() = std::mem::transmute(CODE as usize);
            enter();
            std::ptr::copy_nonoverlapping(s, state.regs.as_mut_ptr(), 16);
            state.rflags = *s.add(16);
            match (*s.add(19), *s.add(18)) {
                (0, 0) => End::Next,
                (0, _) => End::Branched,
                (signal, _) => End::Signal(signal as i32),
            }
        }
    }
}

impl Drop for Native {
    fn drop(&mut self) {
        // SAFETY: gives the alternate stack back before its memory goes.
        unsafe {
            let mut off: libc::stack_t = std::mem::zeroed();
            off.ss_flags = libc::SS_DISABLE;
            libc::sigaltstack(&off, std::ptr::null_mut());
        }
    }
}

/// SplitMix64: the tests' source of random numbers.
pub struct Rng(pub u64);

impl Rng {
    /// From `WHPX_DIFF_SEED`, else `default`; printed so that a failure can be repeated.
    pub fn from_env(default: u64) -> Self {
        let seed = std::env::var("WHPX_DIFF_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(default);
        println!("WHPX_DIFF_SEED={seed}");
        Self(seed)
    }
    /// 64 random bits.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ z >> 31
    }
    /// Below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
    /// True once in `n`.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
    /// A number as programs have them: random, small, boundaries of all sizes, single bits.
    pub fn interesting(&mut self) -> u64 {
        let r = self.next();
        match self.below(10) {
            0 => r & 0xF,
            1 => (r & 0xF).wrapping_neg(),
            2 => 1 << (r & 63),
            3 => (1u64 << (r & 63)).wrapping_sub(1),
            4 => {
                [0, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF, 1 << 63, u64::MAX]
                    [(r % 12) as usize]
            }
            5 => r & 0xFFFF_FFFF,
            6 => r as u32 as i32 as u64,
            _ => r,
        }
    }
}

/// Number of cases per form: `WHPX_DIFF_CASES`, else `default`.
pub fn cases(default: u32) -> u32 {
    std::env::var("WHPX_DIFF_CASES").ok().and_then(|s| s.parse().ok()).unwrap_or(default)
}
