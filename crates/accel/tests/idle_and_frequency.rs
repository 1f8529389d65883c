//! HV_X64_MSR_GUEST_IDLE and the frequency MSRs (TLFS, 7.6.1 and 12.5) with the local APICs on either side, and the CPUID
//! bits that announce them.

mod common;

use std::time::Duration;

use accel::AccelOptions;
use common::{Board, wait};
use whp::CpuidResult2;
use whp_soft::{Behave, SoftOptions, SoftPlatform};

/// Leaf 0x40000003 EAX and EDX, TSC and APIC frequency.
const SEEN: u64 = 0x7100;
/// Interrupts taken.
const COUNT: u64 = 0x7130;
/// How often the guest was about to read GUEST_IDLE, and how often it has.
const BEFORE: u64 = 0x7140;
const BEHIND: u64 = 0x7141;
/// There was a #GP.
const FAULT: u64 = 0x7142;
const VECTOR: u32 = 0x40;

/// (16 bits) `xor ax,ax; mov ds,ax; mov ss,ax; mov sp,0x7000; mov word [0x34],0x1900; mov word [0x36],ax;
/// mov eax,0x40000003; cpuid; mov [0x7100],eax; mov [0x7104],edx; mov ecx,0x40000022; rdmsr; mov [0x7108],eax;
/// mov [0x710C],edx; mov ecx,0x40000023; rdmsr; mov [0x7110],eax; mov [0x7114],edx`
const LOOK: &[u8] = &[
    0x31, 0xC0, 0x8E, 0xD8, 0x8E, 0xD0, 0xBC, 0x00, 0x70, 0xC7, 0x06, 0x34, 0x00, 0x00, 0x19, 0xA3, 0x36, 0x00, 0x66,
    0xB8, 0x03, 0x00, 0x00, 0x40, 0x0F, 0xA2, 0x66, 0xA3, 0x00, 0x71, 0x66, 0x89, 0x16, 0x04, 0x71, 0x66, 0xB9, 0x22,
    0x00, 0x00, 0x40, 0x0F, 0x32, 0x66, 0xA3, 0x08, 0x71, 0x66, 0x89, 0x16, 0x0C, 0x71, 0x66, 0xB9, 0x23, 0x00, 0x00,
    0x40, 0x0F, 0x32, 0x66, 0xA3, 0x10, 0x71, 0x66, 0x89, 0x16, 0x14, 0x71,
];
/// x2APIC mode, the APIC on, vector 0x40 to 0x1800: `mov ecx,0x1B; rdmsr; or eax,0xC00; wrmsr; mov ecx,0x80F;
/// mov eax,0x1FF; xor edx,edx; wrmsr; mov word [0x100],0x1800; mov word [0x102],0`, then
/// `1: cli; inc byte [0x7140]; mov ecx,0x400000F0; rdmsr; inc byte [0x7141]; sti; nop; nop; jmp 1b`
const IDLE: &[u8] = &[
    0x66, 0xB9, 0x1B, 0x00, 0x00, 0x00, 0x0F, 0x32, 0x66, 0x0D, 0x00, 0x0C, 0x00, 0x00, 0x0F, 0x30, 0x66, 0xB9, 0x0F,
    0x08, 0x00, 0x00, 0x66, 0xB8, 0xFF, 0x01, 0x00, 0x00, 0x66, 0x31, 0xD2, 0x0F, 0x30, 0xC7, 0x06, 0x00, 0x01, 0x00,
    0x18, 0xC7, 0x06, 0x02, 0x01, 0x00, 0x00, 0xFA, 0xFE, 0x06, 0x40, 0x71, 0x66, 0xB9, 0xF0, 0x00, 0x00, 0x40, 0x0F,
    0x32, 0xFE, 0x06, 0x41, 0x71, 0xFB, 0x90, 0x90, 0xEB, 0xEA,
];
/// `inc dword [0x7130]; push ecx; push eax; push edx; mov ecx,0x80B; xor eax,eax; xor edx,edx; wrmsr; pop edx; pop eax;
/// pop ecx; iret`
const HANDLER: &[u8] = &[
    0x66, 0xFF, 0x06, 0x30, 0x71, 0x66, 0x51, 0x66, 0x50, 0x66, 0x52, 0x66, 0xB9, 0x0B, 0x08, 0x00, 0x00, 0x66, 0x31,
    0xC0, 0x66, 0x31, 0xD2, 0x0F, 0x30, 0x66, 0x5A, 0x66, 0x58, 0x66, 0x59, 0xCF,
];
/// `mov ecx,MSR; wrmsr; mov byte [0x7140],1; 1: jmp 1b`
fn writes(msr: u32) -> Vec<u8> {
    [&[0x66, 0xB9][..], &msr.to_le_bytes(), &[0x0F, 0x30, 0xC6, 0x06, 0x40, 0x71, 0x01, 0xEB, 0xFE]].concat()
}
/// `mov byte [0x7142],1; 1: jmp 1b`
const FAULTED: &[u8] = &[0xC6, 0x06, 0x42, 0x71, 0x01, 0xEB, 0xFE];

fn start(behave: Behave, kernel_irqchip: bool, code: &[u8]) -> Board {
    // What the client of a platform without local APICs says of its own.
    let x2apic =
        CpuidResult2 { function: 1, index: None, vp_index: None, output: [0, 0, 1 << 21, 0], mask: [0, 0, 1 << 21, 0] };
    let platform = SoftPlatform::new(SoftOptions { behave, cpuid: vec![x2apic], ..SoftOptions::default() });
    let options = AccelOptions { kernel_irqchip, ..AccelOptions::default() };
    let board = Board::new(&platform, options, &[LOOK, code].concat());
    board.load(0x1800, HANDLER);
    board.load(0x1900, FAULTED);
    board.accel.resume();
    board
}

#[test]
fn the_frequencies_are_announced_and_there() {
    for behave in [Behave::Native, Behave::Windows11] {
        for kernel_irqchip in [true, false] {
            let board = start(behave, kernel_irqchip, IDLE);
            let name = format!("{behave:?}, kernel-irqchip {kernel_irqchip}");
            wait(&name, || board.byte(BEFORE) == 1);
            board.accel.pause();
            let seen = [0, 4, 8, 12, 16, 20].map(|n| board.u32(SEEN + n));
            assert_eq!(
                seen[0] & (1 << 10 | 1 << 11),
                1 << 10 | 1 << 11,
                "{name}: privileges of GUEST_IDLE, frequencies"
            );
            assert_eq!(seen[1] & (1 << 5 | 1 << 8), 1 << 5 | 1 << 8, "{name}: GUEST_IDLE, frequencies");
            assert_eq!(seen[2..], [1_000_000_000, 0, 1_000_000_000, 0], "{name}: Hz of the TSC and of the APIC timer");
            let monitor = board.accel.cpuid(0, 0x4000_0003, 0).unwrap();
            assert_eq!([monitor[0], monitor[3]], seen[..2], "{name}: the monitor is told the same");
        }
    }
}

#[test]
fn a_guest_idles_until_an_interrupt_with_interrupts_off() {
    for behave in [Behave::Native, Behave::Windows11] {
        for kernel_irqchip in [true, false] {
            let board = start(behave, kernel_irqchip, IDLE);
            for round in 0..5 {
                let name = format!("{behave:?}, kernel-irqchip {kernel_irqchip}, interrupt {round}");
                wait(&name, || board.byte(BEFORE) == round + 1);
                std::thread::sleep(Duration::from_millis(20));
                assert_eq!((board.byte(BEHIND), board.u32(COUNT)), (round, round.into()), "{name}: idle");
                board.accel.msi().signal(0xFEE0_0000, VECTOR);
                wait(&name, || board.u32(COUNT) == u32::from(round) + 1);
                assert_eq!(board.byte(BEHIND), round + 1, "{name}: idle has ended first");
            }
            wait("idle again", || board.byte(BEFORE) == 6);
            board.accel.pause();
            board.accel.resume();
            std::thread::sleep(Duration::from_millis(20));
            assert_eq!(board.byte(BEHIND), 5, "{behave:?}, kernel-irqchip {kernel_irqchip}: a pause does not end it");
            board.accel.pause();
            board.accel.reset().unwrap();
        }
    }
}

#[test]
fn none_of_them_can_be_written() {
    for msr in [0x4000_00F0, 0x4000_0022, 0x4000_0023] {
        for kernel_irqchip in [true, false] {
            let board = start(Behave::Native, kernel_irqchip, &writes(msr));
            wait(&format!("{msr:#x}"), || board.byte(BEFORE) == 1 || board.byte(FAULT) == 1);
            assert_eq!(board.byte(FAULT), 1, "{msr:#x}, kernel-irqchip {kernel_irqchip}: #GP");
        }
    }
}

#[test]
fn windows_10_announces_nothing_and_has_the_rate_of_our_own_apic() {
    const LOOKED: &[u8] = &[0xC6, 0x06, 0x40, 0x71, 0x01, 0xEB, 0xFE]; // mov byte [0x7140],1; 1: jmp 1b
    let board = start(Behave::Windows10, false, LOOKED);
    wait("unknown MSRs read 0", || board.byte(BEFORE) == 1);
    board.accel.pause();
    let seen = [0, 4, 8, 16].map(|n| board.u32(SEEN + n));
    assert_eq!((seen[0] & 1 << 10, seen[1] & 1 << 5, seen[2], seen[3]), (0, 0, 0, 1_000_000_000));
}

#[test]
fn the_assist_page_that_linux_gives_is_taken() {
    let board = start(Behave::Native, false, &writes(0x4000_0073));
    wait("written", || board.byte(BEFORE) == 1 || board.byte(FAULT) == 1);
    assert_eq!(board.byte(FAULT), 0);
}
