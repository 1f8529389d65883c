//! `whpx`: probing the host, tracing. Machines are run by `whpx-system-*`.

fn main() -> std::process::ExitCode {
    whpx::tool_main()
}
