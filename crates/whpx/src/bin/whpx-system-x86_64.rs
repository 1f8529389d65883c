//! `whpx-system-x86_64`: the QEMU-compatible command for x86-64 guests.

fn main() -> std::process::ExitCode {
    eprintln!("whpx-system-x86_64: not wired yet");
    std::process::ExitCode::FAILURE
}
