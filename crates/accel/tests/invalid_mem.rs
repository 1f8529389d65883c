//! `-d invalid_mem` names the instruction, on platforms that decode accesses and on those that do not.

mod common;

use accel::AccelOptions;
use common::{Board, Listener, wait};
use whp_soft::{Behave, SoftOptions, SoftPlatform};

/// (16 bits) `mov ax,0xA000; mov ds,ax; mov eax,[4]; mov [8],al; 1: hlt; jmp 1b`
const GUEST: &[u8] = &[0xB8, 0x00, 0xA0, 0x8E, 0xD8, 0x66, 0xA1, 0x04, 0x00, 0xA2, 0x08, 0x00, 0xF4, 0xEB, 0xFD];

#[test]
fn the_message_has_address_size_direction_reason_device_and_rip() {
    let listener = Listener(Default::default(), "invalid_mem");
    let heard = listener.0.clone();
    tracing::subscriber::set_global_default(listener).unwrap();
    for behave in [Behave::Native, Behave::Windows11, Behave::Windows10] {
        let line = |what: &str, at: u32, size: u32, far: u32, rip: u32| {
            format!(
                "Invalid {what} at addr {at:#x}, size {size}, device 'unassigned' ({far:#x} behind 'ram'), \
                 reason: rejected: nothing is mapped there, CPU 0, RIP {rip:#x}"
            )
        };
        let platform = SoftPlatform::new(SoftOptions { behave, ..SoftOptions::default() });
        let board = Board::new(&platform, AccelOptions::default(), GUEST);
        board.accel.resume();
        wait(&format!("{behave:?}"), || heard.lock().unwrap().len() >= 2);
        board.accel.pause();
        let wanted = [line("read", 0xA_0004, 4, 5, 0x1005), line("write", 0xA_0008, 1, 9, 0x1009)];
        assert_eq!(std::mem::take(&mut *heard.lock().unwrap()), wanted, "{behave:?}");
    }
}
