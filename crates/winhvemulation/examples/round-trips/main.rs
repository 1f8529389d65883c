//! How long an exit takes: nanoseconds from the guest's instruction over the client and back to the guest, for the C API
//! of our DLLs, for the built-in platform's decoded accesses (which are callbacks and no exits), and for `/dev/kvm`
//! where there is one. A line each: what, and nanoseconds or why there are none. `cargo xtask bench` prints them.

#![allow(unreachable_pub)] // a program
#![allow(unsafe_code)] // calls C APIs
#![allow(non_upper_case_globals)] // Microsoft's names

#[allow(dead_code)] // of the tests
#[path = "../../tests/emulation/client.rs"]
mod client;
mod decoded;
#[cfg(target_os = "linux")]
mod kvm;

use std::time::{Duration, Instant};

use client::{CODE, Client, DEVICE};
use whp_abi::emulation::status::EMULATION_SUCCESSFUL;
use whp_abi::x64::*;

/// How long each is measured, after a warm-up.
const TIME: Duration = Duration::from_millis(300);

/// The time of one `round`: the best of some stretches, since nothing makes it faster than it is.
fn time(mut round: impl FnMut()) -> f64 {
    const AT_ONCE: u32 = 32; // shorter than what the host's scheduler gives at once
    let started = Instant::now();
    let mut best = f64::INFINITY;
    while started.elapsed() < TIME {
        let stretch = Instant::now();
        (0..AT_ONCE).for_each(|_| round());
        best = best.min(stretch.elapsed().as_nanos() as f64 / f64::from(AT_ONCE));
    }
    best
}

fn say(what: &str, ns: f64) {
    println!("{what}\t{ns:.0}");
}

fn main() {
    let halt = Client::new(&[0xF4, 0xEB, 0xFD]); // L: HLT; JMP L
    say("C API, HLT exit", time(|| assert_eq!(halt.enter().ExitReason, WHvRunVpExitReasonX64Halt)));

    let out = Client::new(&[0xE6, 0x80, 0xEB, 0xFC]); // L: OUT 80h, AL; JMP L
    let by_hand = || {
        let exit = out.enter();
        out.registers(&[(WHvX64RegisterRip, exit.VpContext.Rip + 2)]);
    };
    say("C API, OUT exit, RIP set by the client", time(by_hand));

    let mut out = Client::new(&[0xE6, 0x80, 0xEB, 0xFC]);
    say("C API, OUT exit, WHvEmulatorTryIoEmulation", time(|| emulated(&mut out)));

    for (what, code) in [
        ("C API, store exit, WHvEmulatorTryMmioEmulation", &[0x89, 0x07, 0xEB, 0xFC][..]), // L: MOV [RDI], EAX; JMP L
        ("C API, load exit, WHvEmulatorTryMmioEmulation", &[0x8B, 0x07, 0xEB, 0xFC]),
        ("C API, 16-byte store exit, WHvEmulatorTryMmioEmulation", &[0x0F, 0x11, 0x07, 0xEB, 0xFB]), // MOVUPS [RDI], XMM0
    ] {
        let mut c = Client::new(code);
        say(what, time(|| emulated(&mut c)));
    }

    decoded::report(TIME);

    #[cfg(target_os = "linux")]
    kvm::report();
    #[cfg(not(target_os = "linux"))]
    println!("/dev/kvm\tskipped: only Linux has it");
}

fn emulated(c: &mut Client) {
    let exit = c.enter();
    assert_eq!(c.emulate(&exit), (0, EMULATION_SUCCESSFUL));
    c.log.clear();
}

/// For `decoded`: addresses of the client's machine.
const PLACES: (u64, u64) = (CODE, DEVICE);
