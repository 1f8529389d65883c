//! `whpx`: running a disk, disk images, probing the host, tracing.

fn main() -> std::process::ExitCode {
    whpx::tool_main()
}
