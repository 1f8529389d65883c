//! Interrupts of the 8259 pair reach the guest, in HLT and out of it, whatever the platform does about windows and
//! halts (`whp_soft::Behave`), with the local APICs on either side.

mod common;

use accel::AccelOptions;
use common::{Board, wait};
use vm_core::LineSink;
use whp_soft::{Behave, SoftOptions, SoftPlatform};

/// (16 bits) Sets the master 8259 up with vectors from 8 on and IRQ 0 alone, the vector to 0x1800, and 0x7104 to 1. Then:
/// `1: cmp byte ptr [0x7105],0; jne 2f; hlt; jmp 1b; 2: cli; mov cx,200; 3: loop 3b; sti; nop; nop; jmp 1b`
const GUEST: &[u8] = &[
    0xB0, 0x11, 0xE6, 0x20, 0xB0, 0x08, 0xE6, 0x21, 0xB0, 0x04, 0xE6, 0x21, 0xB0, 0x01, 0xE6, 0x21, 0xB0, 0xFE, 0xE6,
    0x21, 0x31, 0xC0, 0x8E, 0xD8, 0x8E, 0xD0, 0xBC, 0x00, 0x70, 0xC7, 0x06, 0x20, 0x00, 0x00, 0x18, 0xC7, 0x06, 0x22,
    0x00, 0x00, 0x00, 0xC6, 0x06, 0x04, 0x71, 0x01, 0xFB, 0x80, 0x3E, 0x05, 0x71, 0x00, 0x75, 0x03, 0xF4, 0xEB, 0xF6,
    0xFA, 0xB9, 0xC8, 0x00, 0xE2, 0xFE, 0xFB, 0x90, 0x90, 0xEB, 0xEB,
];
/// Switches the local APIC off, which leaves INTR to the 8259: `mov ecx,0x1B; rdmsr; and eax,~0x800; wrmsr`
const NO_APIC: &[u8] = &[0x66, 0xB9, 0x1B, 0, 0, 0, 0x0F, 0x32, 0x66, 0x25, 0xFF, 0xF7, 0xFF, 0xFF, 0x0F, 0x30];
/// `push ax; inc dword ptr [0x7100]; mov al,0x20; out 0x20,al; pop ax; iret`
const HANDLER: &[u8] = &[0x50, 0x66, 0xFF, 0x06, 0x00, 0x71, 0xB0, 0x20, 0xE6, 0x20, 0x58, 0xCF];
const COUNT: u64 = 0x7100;
const READY: u64 = 0x7104;
const BUSY: u64 = 0x7105;

fn interrupts_arrive(behave: Behave, kernel_irqchip: bool) {
    let name = format!("{behave:?}, kernel-irqchip {kernel_irqchip}");
    let code = if kernel_irqchip { GUEST.to_vec() } else { [NO_APIC, GUEST].concat() };
    let platform = SoftPlatform::new(SoftOptions { behave, ..SoftOptions::default() });
    let board = Board::new(&platform, AccelOptions { kernel_irqchip, ..AccelOptions::default() }, &code);
    board.load(0x1800, HANDLER);
    board.accel.resume();
    wait(&format!("{name}: start"), || board.byte(READY) == 1);
    let mut sent = 0;
    for busy in [0, 1] {
        board.load(BUSY, &[busy]);
        for _ in 0..40 {
            sent += 1;
            board.pic.set_level(0, false);
            board.pic.set_level(0, true);
            wait(&format!("{name}: interrupt {sent}, busy {busy}"), || board.u32(COUNT) == sent);
        }
    }
    board.accel.pause();
    assert_eq!(board.u32(COUNT), sent, "{name}: none twice");
}

#[test]
fn with_the_local_apic_in_the_platform() {
    for behave in [Behave::Native, Behave::Windows11, Behave::Windows10] {
        interrupts_arrive(behave, true);
    }
}

#[test]
fn with_our_own_local_apic() {
    for behave in [Behave::Native, Behave::Windows11, Behave::Windows10] {
        interrupts_arrive(behave, false);
    }
}
