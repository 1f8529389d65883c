//! The front ends as people's programs use them: `vncdotool` on the VNC server, headless Chromium on the web console. The guest is the
//! installer's kernel, which has USB input drivers, with our initramfs: what was typed and where the pointer went is read in the guest.

use super::tests::{fresh, power_off};
use super::{Test, skip};
use crate::qmp::free_port;
use crate::vmm::{Guest, Machine, Vmm};
use crate::{paths, run};
use anyhow::{Context, Result, bail, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::{fs, thread};

/// Where the pointer is sent.
const PLACE: [u32; 2] = [200, 100];
/// What is typed in the page, without Shift.
const TYPED: &str = "cp /init /tmp/typed-42.ok";
/// Python packages of the tests.
const PACKAGES: [&str; 2] = ["vncdotool", "websocket-client"];

pub(super) fn all() -> [Test; 2] {
    // A processor for the guest and one for the client.
    [Test::new("vnc", 2, vnc), Test::new("web", 2, web)]
}

/// Python with what the tests need, in an environment of its own; a skip when it cannot be made.
pub(super) fn python() -> Result<PathBuf> {
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner); // the tests run side by side
    let folder = paths::work()?.join("front-ends-venv");
    let python = folder.join("bin/python");
    let complete = folder.join("complete");
    if complete.exists() {
        return Ok(python);
    }
    let made = run::output(Command::new("python3").args(["-m", "venv"]).arg(&folder))
        .and_then(|_| run::output(Command::new(&python).args(["-m", "pip", "install", "-q"]).args(PACKAGES)));
    if let Err(e) = made {
        return skip(&format!("{} could not be installed from PyPI: {e:#}", PACKAGES.join(" and ")));
    }
    fs::write(&complete, "")?;
    Ok(python)
}

/// The installer's initrd for its kernel's modules, and ours, whose `/init` comes later and wins.
fn initrd() -> Result<PathBuf> {
    let path = fresh("front-ends-initrd")?;
    let mut bytes = fs::read(paths::asset("installer-initrd")?)?;
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes.extend(fs::read(paths::asset("initramfs")?)?);
    fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

/// A guest with a tablet behind EHCI, a shell on its screen, and the tablet's reports in `/tmp/moves`.
fn start(name: &str, vmm: &Vmm, args: &[String]) -> Result<Guest> {
    let mut guest = Machine::new(name)
        .memory(512)
        .arg("-kernel")
        .arg(paths::asset("installer-kernel")?)
        .arg("-initrd")
        .arg(initrd()?)
        .args(["-append", "console=tty0 console=ttyS0,115200"])
        .args(["-device", "ich9-usb-ehci1", "-device", "usb-tablet"])
        .args(args)
        .start(vmm)?;
    // The installer's kernel and initrd are larger than what the other tests boot.
    guest.expect("WHPX-SHELL-READY cpus=1", 600)?;
    guest.expect("# ", 60)?;
    // The installer has no list of dependencies before it runs.
    let modules = "usb-common usbcore ehci-hcd ehci-pci hid usbhid hid-generic";
    guest.shell(&format!("for m in {modules}; do insmod $(find /lib/modules -name $m.ko); done"), 240)?;
    guest.shell("for i in $(seq 60); do [ -e /dev/hidraw0 ] && break; sleep 1; done; ls /dev/hidraw0", 120)?;
    guest.line("cat /dev/hidraw0 > /tmp/moves &")?;
    guest.line("setsid sh -c 'exec sh < /dev/tty1 > /dev/tty1 2>&1' &")?;
    guest.shell("sleep 1", 60)?;
    Ok(guest)
}

/// Waits until a command in the guest prints what it should.
fn settles(guest: &mut Guest, command: &str, good: impl Fn(&str) -> bool) -> Result<String> {
    let limit = Instant::now() + Duration::from_secs(90);
    loop {
        let text = guest.shell(command, 60)?;
        if good(&text) {
            return Ok(text);
        }
        if Instant::now() >= limit {
            bail!("`{command}` in the guest still prints {text:?}");
        }
        thread::sleep(Duration::from_millis(300));
    }
}

/// The tablet's last report is the place on a screen of this size: buttons, then X and Y from 0 to 0x7fff.
fn pointer_is_there(guest: &mut Guest, size: [u32; 2]) -> Result<()> {
    let near = |text: &str| {
        let bytes: Vec<u32> = text.split_whitespace().filter_map(|n| n.parse().ok()).collect();
        let Some(report) = bytes.get(bytes.len().saturating_sub(6)..).filter(|r| r.len() == 6) else { return false };
        (0..2).all(|axis| {
            let at = (report[1 + 2 * axis] | report[2 + 2 * axis] << 8) * (size[axis] - 1);
            (at + 0x3fff) / 0x7fff == PLACE[axis]
        })
    };
    settles(guest, "tail -c 6 /tmp/moves | od -An -v -tu1", near)?;
    Ok(())
}

fn is_typed(guest: &mut Guest, file: &str, expected: &str) -> Result<()> {
    settles(guest, &format!("cat {file} 2>/dev/null; true"), |text| text == expected)?;
    Ok(())
}

/// The size in a PNG file's header.
fn png_size(path: &Path) -> Result<[u32; 2]> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let number = |at: usize| bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_be_bytes);
    Ok([number(16), number(20)])
}

fn vnc(name: &str, vmm: &Vmm) -> Result<String> {
    let python = python()?;
    let port = free_port()?;
    let display = port.checked_sub(5900).context("no free port for VNC above 5900")?;
    let mut guest = start(name, vmm, &["-vnc".into(), format!("127.0.0.1:{display}")])?;
    let vncdo = |words: &[&str]| {
        let mut command = Command::new(python.with_file_name("vncdo"));
        command.args(["-s", &format!("127.0.0.1::{port}"), "--delay=30"]).args(words);
        run::output(&mut command).with_context(|| format!("vncdo {}", words.join(" ")))
    };
    vncdo(&["type", "echo 'Hello, VNC! #1_2{3}~|?' > /tmp/typed", "key", "enter"])?;
    is_typed(&mut guest, "/tmp/typed", "Hello, VNC! #1_2{3}~|?")?;
    let picture = fresh("vnc.png")?;
    let [x, y] = PLACE.map(|v| v.to_string());
    vncdo(&["move", &x, &y, "capture", &picture.to_string_lossy()])?;
    let size = png_size(&picture)?;
    pointer_is_there(&mut guest, size)?;
    // An empty screen's picture is much smaller.
    let bytes = fs::metadata(&picture)?.len();
    ensure!(bytes > 1000, "the captured picture of {bytes} bytes has nothing on it");
    vncdo(&["key", "ctrl-l", "pause", "1", "type", "poweroff -f", "key", "enter"])?;
    guest.wait_success(120)?;
    Ok(format!("typed, pointed and captured {} x {}; {}", size[0], size[1], picture.display()))
}

fn web(name: &str, vmm: &Vmm) -> Result<String> {
    let Some(chromium) = run::find_program("chromium") else {
        return skip("chromium is not installed (Debian's package chromium)");
    };
    let python = python()?;
    let folder = paths::work()?.join("web");
    fs::create_dir_all(&folder)?;
    let script = folder.join("web.py");
    fs::write(&script, include_str!("web.py"))?;
    let port = free_port()?;
    let args = ["-display".into(), format!("web,addr=127.0.0.1:{port}"), "-serial".into(), "vc".into()];
    let mut guest = start(name, vmm, &args)?;
    let said = fs::read_to_string(guest.errors())?;
    let url = said.split_whitespace().find(|w| w.starts_with("http://")).context("no address on standard error")?;
    let [x, y] = PLACE.map(|v| v.to_string());
    let mut command = Command::new(python);
    command.arg(&script).arg(chromium).arg(url).arg(&folder).arg(TYPED);
    command.args([x, y]);
    let report: serde_json::Value = serde_json::from_str(run::output(&mut command)?.trim())?;
    settles(&mut guest, "ls /tmp", |text| text.contains("typed-42.ok"))?;
    is_typed(&mut guest, "/tmp/pasted", "Pasted: {1..3} ~|0")?;
    let size = [0, 1].map(|n| report["size"][n].as_u64().unwrap_or(1) as u32);
    pointer_is_there(&mut guest, size)?;
    let errors = report["errors"].as_array().map_or(0, Vec::len);
    ensure!(errors == 0, "the page had errors: {}", report["errors"]);
    power_off(&mut guest)?;
    Ok(format!("typed, pasted, pointed; tabs {}; {}", report["tabs"], folder.join("screen.png").display()))
}
