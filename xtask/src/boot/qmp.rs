//! A guest driven through two QMP connections at once by PyPI's `qemu.qmp`, QEMU's own client.

use super::skip;
use super::tests::shell_ready;
use crate::vmm::{Machine, Vmm};
use crate::{paths, run};
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

/// The client that is known to work.
const PACKAGE: &str = "qemu.qmp==0.0.6";
const SCRIPT: &str = include_str!("qmp.py");

/// A Python with the client: a virtual environment in `images`, made once. The error is the reason why there is none.
fn python() -> Result<PathBuf, String> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock();
    let folder = paths::images().join("qmp-venv");
    let python = folder.join("bin/python3");
    let works = || run::output(Command::new(&python).args(["-c", "import qemu.qmp"])).is_ok();
    if works() {
        return Ok(python);
    }
    let reason = |e: anyhow::Error| {
        let text = e.to_string();
        format!("PyPI's qemu.qmp cannot be installed: {}", text.lines().next().unwrap_or_default())
    };
    run::output(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder)).map_err(reason)?;
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", PACKAGE];
    run::output_within(Command::new(&python).args(pip), 120).map_err(reason)?;
    if works() { Ok(python) } else { Err("PyPI's qemu.qmp is installed and cannot be imported".into()) }
}

/// The sockets' paths are short, since the system allows 107 bytes only.
struct Sockets {
    folder: PathBuf,
}

impl Sockets {
    fn new() -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("whpx-qmp-{}", std::process::id()));
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(Self { folder })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

impl Drop for Sockets {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder); // what stays is in the temporary folder
    }
}

pub(super) fn run_all(name: &str, vmm: &Vmm) -> Result<String> {
    let python = match python() {
        Ok(python) => python,
        Err(reason) => return skip(&reason),
    };
    let sockets = Sockets::new()?;
    let (a, b) = (sockets.path("a"), sockets.path("b"));
    let chardev = format!("socket,id=b,path={},server=on,wait=off", b.display());
    let mut guest = Machine::new(name)
        .cpus(2)
        .memory(512)
        .linux("kernel-6.1")?
        .args(["-qmp", &format!("unix:{},server=on,wait=off", a.display())])
        .args(["-chardev", &chardev, "-mon", "chardev=b,mode=control"])
        .args(["-S", "-drive", "if=none,id=disc,media=cdrom", "-device", "ide-cd,drive=disc,id=disc"])
        .start(vmm)?;
    let script = sockets.path("qmp.py");
    std::fs::write(&script, SCRIPT).with_context(|| format!("cannot write {}", script.display()))?;
    let phase = |name: &str, more: &[&Path]| {
        let mut command = Command::new(&python);
        command.arg(&script).arg(name).args([&a, &b]).args(more);
        run::output_within(&mut command, 180)
    };
    wait_for_file(&b)?;
    phase("start", &[])?;
    shell_ready(&mut guest, 2)?;
    let note = phase("drive", &[&sockets.folder, Path::new("disc")])?;
    shell_ready(&mut guest, 2)?;
    std::thread::scope(|scope| -> Result<()> {
        let ready = sockets.path("ready");
        let end = scope.spawn(|| phase("end", &[&sockets.path("ready")]));
        wait_for_file(&ready)?;
        guest.line("poweroff -f")?;
        guest.wait_success(60)?;
        end.join().map_err(|_| anyhow::anyhow!("the thread of the client panicked"))??;
        Ok(())
    })?;
    Ok(format!("{}, two connections, after {:.1} s", note.trim(), guest.elapsed().as_secs_f64()))
}

fn wait_for_file(path: &Path) -> Result<()> {
    for _ in 0..1000 {
        if path.exists() {
            return Ok(());
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    anyhow::bail!("{} did not appear within 20 s", path.display())
}
