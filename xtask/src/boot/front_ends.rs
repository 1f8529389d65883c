//! The front ends as people's programs use them: `vncdotool` on the VNC server, headless Chromium on the web console. What was typed and
//! where the pointer went is read in the guest: for VNC the installer's kernel, which has USB input drivers, with our initramfs; for the
//! web console the demo disk by the command line of the WHPX quick start, with `lsusb` and `evtest`.

use super::tests::{fresh, overlay, shell_mark};
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
const TYPED: &str = "cp /etc/hostname /tmp/typed-42.ok";
/// Prints what runs on the screen's console.
const ON_SCREEN: &str = "for p in /proc/[0-9]*; do [ \"$(readlink $p/fd/0)\" = /dev/tty1 ] && cat $p/comm; done; true";
/// Python packages of the tests.
const PACKAGES: [&str; 2] = ["vncdotool", "websocket-client"];

pub(super) fn all() -> [Test; 2] {
    // The guest of the one has a processor, and the client needs one; the other's has two.
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
    shell_mark(&mut guest, 600)?;
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

/// The demo disk by the command line of the WHPX quick start, at its login prompt on screen and serial line; root's shell on this.
fn quick_start(name: &str, vmm: &Vmm, args: &[String]) -> Result<Guest> {
    let disk = overlay(&format!("{name}.qcow2"))?;
    let machine = Machine::new(name).cpus(2).memory(2048);
    let machine = machine.args(["-device", "ich9-usb-ehci1", "-device", "usb-tablet", "-hda"]).arg(disk).args(args);
    let mut guest = machine.start(vmm)?;
    guest.expect("whpx-demo login: ", 600)?;
    guest.line("root")?;
    guest.expect("root@whpx-demo:~# ", 120)?;
    Ok(guest)
}

/// What `lsusb` says of the tablet: behind the EHCI controller, at high speed, all descriptors there.
fn tablet_is_listed(guest: &mut Guest) -> Result<()> {
    settles(guest, "lsusb", |list| list.contains("0627:0001"))?;
    let controller = settles(guest, "cat /sys/bus/usb/devices/usb1/product", |text| text == "EHCI Host Controller")?;
    let tree = settles(guest, "lsusb -t", |tree| tree.contains("Driver=usbhid"))?;
    let root = tree.lines().find(|line| line.contains("root_hub")).unwrap_or_default();
    ensure!(root.contains("Driver=ehci-pci") && root.contains("480M"), "{controller}: {tree}");
    let hid = tree.lines().find(|line| line.contains("Driver=usbhid")).unwrap_or_default();
    ensure!(hid.contains("Human Interface Device") && hid.contains("480M"), "lsusb -t says:\n{tree}");
    let details = guest.shell("lsusb -v -d 0627:0001 2>&1", 120)?;
    let facts: Vec<Vec<&str>> = details.lines().map(|line| line.split_whitespace().collect()).collect();
    for wanted in [
        "bcdUSB 2.00",
        "bNumConfigurations 1",
        "bNumInterfaces 1",
        "bInterfaceClass 3 Human Interface Device",
        "HID Device Descriptor:",
        "bNumEndpoints 1",
        "bEndpointAddress 0x81 EP 1 IN",
        "Transfer Type Interrupt",
        "wMaxPacketSize 0x0008 1x 8 bytes",
        "Report Descriptors:",
    ] {
        let words: Vec<&str> = wanted.split(' ').collect();
        ensure!(facts.iter().any(|line| line.starts_with(&words)), "`{wanted}` is not in lsusb -v:\n{details}");
    }
    for wrong in ["can't", "couldn't", "error", "junk", "invalid"] {
        ensure!(!details.to_lowercase().contains(wrong), "lsusb -v says `{wrong}`:\n{details}");
    }
    Ok(())
}

/// The last value of an axis that `evtest` has printed.
fn axis(events: &str, name: &str) -> Option<u32> {
    let line = events.lines().rfind(|line| line.contains("type 3 (EV_ABS)") && line.contains(name))?;
    line.rsplit_once("value ")?.1.trim().parse().ok()
}

fn web(name: &str, vmm: &Vmm) -> Result<String> {
    let Some(chromium) = run::find_program("chromium") else {
        return skip("chromium is not installed (Debian's package chromium)");
    };
    let python = python()?;
    let folder = paths::work()?.join("web");
    fs::create_dir_all(&folder)?;
    let (script, logged_in) = (folder.join("web.py"), fresh("web/logged-in")?);
    fs::write(&script, include_str!("web.py"))?;
    let port = free_port()?;
    let args = ["-display".into(), format!("web,addr=127.0.0.1:{port}"), "-serial".into(), "vc".into()];
    let mut guest = quick_start(name, vmm, &args)?;
    let booted = guest.elapsed().as_secs_f64();
    tablet_is_listed(&mut guest)?;
    let find = "grep -l 'USB Tablet' /sys/class/input/event*/device/name";
    let device = settles(&mut guest, &format!("{find}; true"), |text| text.contains("event"))?;
    let device = device.split('/').find(|part| part.starts_with("event")).context("no event device")?.to_owned();
    guest.line(&format!("stdbuf -oL evtest /dev/input/{device} > /tmp/moves 2>&1 &"))?;
    let range = settles(&mut guest, "cat /tmp/moves", |text| text.contains("Testing"))?;
    let limits = range.lines().filter(|line| line.trim_start().starts_with("Max ")).collect::<Vec<_>>();
    ensure!(limits.len() == 2 && limits.iter().all(|line| line.contains("32767")), "evtest says:\n{range}");

    let said = fs::read_to_string(guest.errors())?;
    let url = said.split_whitespace().find(|w| w.starts_with("http://")).context("no address on standard error")?;
    let [x, y] = PLACE.map(|v| v.to_string());
    let mut command = Command::new(python);
    command.arg(&script).arg(chromium).arg(url).arg(&folder).args([TYPED, &x, &y]).arg(&logged_in);
    let report = thread::scope(|scope| {
        let page = scope.spawn(|| run::output(&mut command));
        // root logs in on the screen; the page goes on when there is a shell.
        let shell = settles(&mut guest, ON_SCREEN, |text| text.contains("bash") || page.is_finished());
        fs::write(&logged_in, "")?;
        let report = page.join().map_err(|_| anyhow::anyhow!("the page's thread panicked"))?;
        shell.and(report)
    })?;
    let report: serde_json::Value = serde_json::from_str(report.trim())?;
    settles(&mut guest, "ls /tmp", |text| text.contains("typed-42.ok"))?;
    is_typed(&mut guest, "/tmp/pasted", "Pasted: {1..3} ~|0")?;
    let size = [0, 1].map(|n| report["size"][n].as_u64().unwrap_or(1) as u32);
    let there = |events: &str| {
        ["ABS_X", "ABS_Y"].iter().zip(PLACE).zip(size).all(|((name, place), size)| {
            axis(events, name).is_some_and(|at| (at * (size - 1) + 0x3fff) / 0x7fff == place)
        })
    };
    let events = settles(&mut guest, "tail -n 40 /tmp/moves", there)?;
    let [x, y] = ["ABS_X", "ABS_Y"].map(|name| axis(&events, name).unwrap_or(0));
    let errors = report["errors"].as_array().map_or(0, Vec::len);
    ensure!(errors == 0, "the page had errors: {}", report["errors"]);
    guest.line("poweroff")?;
    guest.wait_success(240)?;
    Ok(format!(
        "login after {booted:.1} s, tablet behind EHCI, typed, pasted; {PLACE:?} of {size:?} is ABS {x}, {y}; tabs {}; {}",
        report["tabs"],
        folder.join("screen.png").display()
    ))
}
