//! `whpx run`: the demo image on a machine that the program chooses, and `whpx img` on the image it leaves.

use super::{Test, skip};
use crate::boot::tests::fresh;
use crate::vmm::{Machine, Vmm};
use crate::{image, paths, run};
use anyhow::{Context, Result, ensure};
use std::path::Path;

/// Both tests.
pub(super) fn all() -> Vec<Test> {
    vec![Test::new("run", 2, run), Test::new("run-uefi", 2, run_uefi)]
}

fn needs_tool(vmm: &Vmm) -> Result<()> {
    if vmm.is_qemu() {
        return skip("QEMU has no such program");
    }
    if vmm.loader.is_some() || !Path::new(vmm.tool("run").get_program()).is_file() {
        return skip("the program `whpx` is not beside this one");
    }
    Ok(())
}

fn run(name: &str, vmm: &Vmm) -> Result<String> {
    needs_tool(vmm)?;
    let disk = fresh(&format!("{name}.qcow2"))?;
    let base = std::fs::canonicalize(paths::asset("demo")?)?;
    run::output(vmm.tool("img").args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b"]).arg(base).arg(&disk))?;
    let said = run::output(vmm.tool("run").arg("--dry-run").arg(&disk))?;
    ensure!(
        said.starts_with("whpx-system-x86_64 -accel whpx -M pc -smp cores=") && said.contains("-display web"),
        "whpx run --dry-run says: {said}"
    );
    let mut guest = Machine::new(name).run_disk(&[], &disk).start(vmm)?;
    guest.expect("whpx-demo login: ", 600)?;
    let login = guest.elapsed();
    guest.line("root")?;
    guest.expect("root@whpx-demo:~# ", 120)?;
    let host = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let cpus = guest.shell("nproc", 60)?;
    ensure!(cpus == host.min(4).to_string(), "the guest sees {cpus} processors, the host has {host}");
    // The demo's kernel has no drivers for USB: its controller is all there is to see.
    let usb = guest.shell("grep -c 8086293a /proc/bus/pci/devices || true", 60)?;
    ensure!(usb == "1", "the guest sees {usb} EHCI controllers for the tablet");
    // The image is in use: the tool leaves it alone.
    let busy = vmm.tool("img").args(["resize", "-q"]).arg(&disk).arg("+1G").output()?;
    let error = String::from_utf8_lossy(&busy.stderr).into_owned();
    ensure!(busy.status.code() == Some(1) && error.contains("another process"), "resize while in use: {error}");
    guest.line("poweroff")?;
    guest.wait_success(240)?;
    run::output(vmm.tool("img").args(["check", "-q"]).arg(&disk))?;
    super::tests::check(&disk)?;
    Ok(format!("login after {:.1} s", login.as_secs_f64()))
}

/// A disk for both firmwares, by UEFI: the machine q35, OVMF in flash, its variables beside the disk.
fn run_uefi(name: &str, vmm: &Vmm) -> Result<String> {
    needs_tool(vmm)?;
    image::uefi()?;
    let disk = fresh(&format!("{name}.qcow2"))?;
    let variables = fresh(&format!("{name}.qcow2.efivars"))?;
    let base = std::fs::canonicalize(paths::asset("uefi")?)?;
    run::output(vmm.tool("img").args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b"]).arg(base).arg(&disk))?;
    let code = paths::asset("ovmf-code")?;
    let firmware = code.parent().context("OVMF is in no folder")?;
    let mut guest = Machine::new(name).run_disk(&["--uefi"], &disk).arg("-L").arg(firmware).start(vmm)?;
    guest.expect("whpx-demo login: ", 600)?;
    let login = guest.elapsed();
    guest.line("root")?;
    guest.expect("root@whpx-demo:~# ", 120)?;
    let firmware = guest.shell("[ -d /sys/firmware/efi ] && echo UEFI", 60)?;
    ensure!(firmware == "UEFI", "the guest was not started by UEFI");
    guest.line("poweroff")?;
    guest.wait_success(240)?;
    let kept = std::fs::metadata(&variables).with_context(|| format!("no variables in {}", variables.display()))?;
    ensure!(kept.len() > 100_000, "the firmware's variables have {} bytes", kept.len());
    run::output(vmm.tool("img").args(["check", "-q"]).arg(&disk))?;
    Ok(format!("login after {:.1} s", login.as_secs_f64()))
}
