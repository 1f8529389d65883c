//! `whpx-system-x86_64`: the QEMU-compatible command for x86-64 guests.

fn main() -> std::process::ExitCode {
    whpx::system_main("whpx-system-x86_64")
}
