//! Boot tests of `-M q35` and of flash: a kernel by itself, Debian from a SATA disk by SeaBIOS and by OVMF, reboots, discs and disks behind
//! the AHCI controller, variables of the firmware that outlive a kill.

use super::Test;
use super::skip;
use super::tests::{check, ext4_as_qcow2, fresh, power_off, shell_mark, shell_ready};
use crate::channel::strip_escapes;
use crate::vmm::{Guest, Machine, Vmm};
use crate::{image, paths, run};
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Seconds for OVMF to its shell or a boot loader.
const OVMF: u64 = 240;
/// Seconds from there to Debian's login prompt.
const LOGIN: u64 = 600;
/// Seconds for the generic kernel to its shell.
const SHELL: u64 = 600;

pub(super) fn all() -> Vec<Test> {
    let mut all = Vec::new();
    for cpus in [1, 2, 4] {
        all.push(Test::new(&format!("q35-kernel-{cpus}cpu"), cpus, move |name, vmm| kernel(name, vmm, cpus)));
    }
    all.push(Test::new("q35-pic-off", 2, |name, vmm| with_kind(name, vmm, "q35,pic=off")));
    all.push(Test::new("q35-irqchip-off", 2, irqchip_off));
    all.push(Test::new("q35-ahci", 2, ahci));
    all.push(Test::new("q35-ahci-cd", 1, ahci_cd));
    all.push(Test::new("q35-installer-cd", 1, |name, vmm| installer_cd(name, vmm, false)));
    all.push(Test::new("ovmf-installer-cd", 1, |name, vmm| installer_cd(name, vmm, true)));
    all.push(Test::new("q35-kill-9", 1, kill_9));
    all.push(Test::new("q35-login", 2, |name, vmm| login(name, vmm, "q35", false)));
    all.push(Test::new("q35-bootindex", 1, |name, vmm| bootindex(name, vmm, false)));
    all.push(Test::new("ovmf-bootindex", 1, |name, vmm| bootindex(name, vmm, true)));
    all.push(Test::new("pc-ahci-login", 1, pc_ahci_login));
    all.push(Test::new("ovmf-shell", 1, |name, vmm| ovmf_shell(name, vmm, "q35")));
    all.push(Test::new("ovmf-shell-pc", 1, |name, vmm| ovmf_shell(name, vmm, "pc")));
    all.push(Test::new("ovmf-bios", 1, ovmf_bios));
    all.push(Test::new("ovmf-login", 2, |name, vmm| login(name, vmm, "q35", true)));
    all.push(Test::new("ovmf-pic-off", 2, |name, vmm| login(name, vmm, "q35,pic=off", true)));
    all.push(Test::new("ovmf-kill-9", 1, ovmf_kill_9));
    all
}

fn machine(name: &str) -> Machine {
    Machine::new(name).kind("q35").memory(512)
}

/// The kernel with the AHCI driver.
pub(super) fn sata(name: &str) -> Result<Machine> {
    image::uefi()?;
    machine(name).linux_with("kernel-sata", "initramfs-sata")
}

pub(super) fn ready(guest: &mut Guest) -> Result<()> {
    shell_mark(guest, SHELL)?;
    guest.expect("# ", 60)?;
    guest.shell("dmesg -n 1", 60)?;
    guest.shell("disks", 120)?;
    Ok(())
}

/// The cloud kernel: PCI by the configuration window, PIRQs on the I/O APIC, power off.
fn kernel(name: &str, vmm: &Vmm, cpus: u32) -> Result<String> {
    let mut guest = machine(name).cpus(cpus).linux("kernel-6.1")?.start(vmm)?;
    shell_ready(&mut guest, cpus)?;
    let time = guest.elapsed();
    let window = guest.shell("dmesg | grep -c 'PCI: MMCONFIG at .* reserved' || true", 60)?;
    ensure!(window == "1", "the guest does not use the PCI Express configuration window");
    let bridge =
        guest.shell("cat /sys/bus/pci/devices/0000:00:00.0/device /sys/bus/pci/devices/0000:00:1f.0/device", 60)?;
    ensure!(bridge.split_whitespace().eq(["0x29c0", "0x2918"]), "the guest sees the bridges {bridge}");
    power_off(&mut guest)?;
    Ok(format!("shell after {:.1} s", time.as_secs_f64()))
}

/// The same machine with other properties: a shell and a power off are enough.
fn with_kind(name: &str, vmm: &Vmm, kind: &'static str) -> Result<String> {
    let mut guest = machine(name).kind(kind).cpus(2).linux("kernel-6.1")?.start(vmm)?;
    shell_ready(&mut guest, 2)?;
    power_off(&mut guest)?;
    Ok(format!("off after {:.1} s", guest.elapsed().as_secs_f64()))
}

/// A disk's interrupts without the platform's controllers, and a reboot.
fn irqchip_off(name: &str, vmm: &Vmm) -> Result<String> {
    if vmm.is_qemu() {
        return skip("the option is that of -accel whpx");
    }
    let vmm = &vmm.with_accel("whpx,kernel-irqchip=off");
    let (disk, sum) = random_disk("q35-irqchip-off.img")?;
    let mut guest = sata(name)?.cpus(2).args(["-drive", &format!("file={},format=raw", disk.display())]).start(vmm)?;
    for _ in 0..2 {
        ready(&mut guest)?;
        let read = guest.shell("sha256sum /dev/sda", 240)?;
        ensure!(read.starts_with(&sum), "the disk reads as {read}, not {sum}");
        guest.line("reboot -f")?;
    }
    ready(&mut guest)?;
    power_off(&mut guest)?;
    Ok(format!("two reboots, off after {:.1} s", guest.elapsed().as_secs_f64()))
}

pub(super) fn random_disk(name: &str) -> Result<(PathBuf, String)> {
    let path = fresh(name)?;
    let mut state = 1u32;
    let words = (0..4 << 18).flat_map(|_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_le_bytes()
    });
    std::fs::write(&path, words.collect::<Vec<u8>>()).with_context(|| format!("cannot write {}", path.display()))?;
    let sum = run::output(Command::new("sha256sum").arg(&path))?;
    Ok((path, sum.split_whitespace().next().unwrap_or_default().to_owned()))
}

/// Disks at the board's controller and at another one: found with their queues, read and written right.
fn ahci(name: &str, vmm: &Vmm) -> Result<String> {
    let (first, sum) = random_disk("q35-ahci.img")?;
    let second = fresh("q35-ahci-2.img")?;
    std::fs::write(&second, vec![0; 5 << 20]).context("cannot write a disk")?;
    let drive = |id: &str, path: &Path| format!("file={},format=raw,if=none,id={id}", path.display());
    let mut guest = sata(name)?
        .cpus(2)
        .args(["-drive", &drive("one", &first), "-device", "ide-hd,drive=one,bus=ide.1"])
        .args(["-device", "ahci,id=more", "-drive", &drive("two", &second), "-device", "ide-hd,drive=two,bus=more.5"])
        .start(vmm)?;
    ready(&mut guest)?;
    let queues = guest.shell("dmesg | grep -c 'NCQ (depth 32)' || true", 60)?;
    ensure!(queues == "2", "the guest finds {queues} disks with queued commands, not 2");
    // Which controller Linux finds first is its business.
    guest.shell("for i in $(seq 300); do [ -b /dev/sdb ] && break; sleep 0.1; done", 120)?;
    guest
        .shell("for d in a b; do [ $(cat /sys/block/sd$d/size) = 8192 ] && one=/dev/sd$d || two=/dev/sd$d; done", 60)?;
    let read = guest.shell("sha256sum $one", 240)?;
    ensure!(read.starts_with(&sum), "the first disk reads as {read}, not {sum}");
    let copy = "dd if=$one of=$two bs=1M count=1 skip=$i seek=$i conv=notrunc 2>/dev/null";
    guest.shell(&format!("for i in 3 1 0 2; do {copy} & done; wait; sync"), 240)?;
    let errors = guest.shell("dmesg | grep -c 'exception Emask\\|failed command\\|I/O error' || true", 60)?;
    ensure!(errors == "0", "the guest's kernel reports disk errors");
    power_off(&mut guest)?;
    let original = std::fs::read(&first).context("cannot read a disk")?;
    let copy = std::fs::read(&second).context("cannot read a disk")?;
    ensure!(copy.starts_with(&original) && copy.len() == 5 << 20, "the copy on the second disk differs");
    Ok("4 MiB read and copied, queued commands, two controllers".into())
}

/// An ISO image in the SATA CD drive.
fn ahci_cd(name: &str, vmm: &Vmm) -> Result<String> {
    image::extras()?;
    let iso = paths::asset("grub-cd")?;
    let sum = run::output(Command::new("sha256sum").arg(&iso))?;
    let mut guest = sata(name)?.arg("-cdrom").arg(&iso).start(vmm)?;
    shell_mark(&mut guest, SHELL)?;
    guest.expect("# ", 60)?;
    guest.shell("dmesg -n 1", 60)?;
    guest.shell("for m in $(cat /lib/modules/order); do insmod /lib/modules/$m.ko; done", 120)?;
    guest.shell("for i in $(seq 300); do [ -b /dev/sr0 ] && break; sleep 0.1; done", 120)?;
    let read = guest.shell("sha256sum /dev/sr0", 240)?;
    ensure!(read.split(' ').next() == sum.split(' ').next(), "the disc reads as {read}, not {sum}");
    guest.shell("mount -t iso9660 -o ro /dev/sr0 /mnt", 60)?;
    let files = guest.shell("find /mnt -type f | head -n 1000 | wc -l", 60)?;
    power_off(&mut guest)?;
    Ok(format!("the disc reads right and holds {files} files"))
}

/// Debian's installer from the disc in the SATA drive, loaded by GRUB with the firmware's own driver.
fn installer_cd(name: &str, vmm: &Vmm, uefi: bool) -> Result<String> {
    image::installer_cd()?;
    let mut machine = machine(name).memory(1024).arg("-cdrom").arg(paths::asset("installer-cd")?);
    if uefi {
        machine = machine.args(flash(&fresh_variables(name)?)?);
    }
    let mut guest = machine.start(vmm)?;
    guest.expect("GNU GRUB", OVMF)?;
    guest.expect("Select a language", 900)?;
    guest.expect("English", 60)?;
    guest.kill()?;
    Ok(format!("language menu after {:.1} s", guest.elapsed().as_secs_f64()))
}

/// Writes by AHCI, a kill, and the journal's recovery.
fn kill_9(name: &str, vmm: &Vmm) -> Result<String> {
    let disk = ext4_as_qcow2(name)?;
    let mut guest = sata(&format!("{name}-write"))?.arg("-hda").arg(&disk).start(vmm)?;
    ready(&mut guest)?;
    guest.shell("mount -t ext4 /dev/sda /mnt", 60)?;
    guest.shell("echo kept > /mnt/first && sync", 60)?;
    guest.line("i=0; while true; do i=$((i+1)); dd if=/dev/urandom of=/mnt/f$i bs=16k count=20 2>/dev/null; [ $((i % 8)) = 0 ] && sync && echo RO\"\"UND $i; done")?;
    for _ in 0..3 {
        guest.expect("ROUND", 240)?;
    }
    guest.kill()?;
    let verdict = check(&disk)?;
    let mut guest = sata(&format!("{name}-recover"))?.arg("-hda").arg(&disk).start(vmm)?;
    ready(&mut guest)?;
    guest.shell("mount -t ext4 /dev/sda /mnt", 60)?;
    let first = guest.shell("cat /mnt/first; wc -c < /mnt/f24", 60)?;
    ensure!(first.split_whitespace().eq(["kept", "327680"]), "what was synced before the kill is {first:?}");
    guest.shell("umount /mnt", 120)?;
    power_off(&mut guest)?;
    check(&disk)?;
    Ok(format!("after the kill: {verdict}; what was synced is there"))
}

/// Debian from the SATA disk to its login prompt and a shell; with OVMF in flash, by UEFI.
fn login(name: &str, vmm: &Vmm, kind: &'static str, ovmf: bool) -> Result<String> {
    image::uefi()?;
    let disk = format!("file={},format=raw,snapshot=on", paths::asset("uefi")?.display());
    let mut machine = machine(name).kind(kind).cpus(2).memory(1024).args(["-drive", &disk]);
    if ovmf {
        machine = machine.args(flash(&fresh_variables(name)?)?);
    }
    let mut guest = machine.start(vmm)?;
    debian(&mut guest, ovmf)?;
    let time = guest.elapsed();
    guest.line("poweroff")?;
    guest.wait_success(240)?;
    Ok(format!("root's shell after {:.1} s, power off", time.as_secs_f64()))
}

/// From GRUB to root's shell.
fn debian(guest: &mut Guest, uefi: bool) -> Result<()> {
    guest.expect("GNU GRUB", OVMF)?;
    guest.expect("whpx-demo login: ", LOGIN)?;
    guest.line("root")?;
    guest.expect("root@whpx-demo:~# ", 240)?;
    let efi = guest.shell("[ -d /sys/firmware/efi ] && echo UEFI || echo BIOS", 60)?;
    ensure!(efi == if uefi { "UEFI" } else { "BIOS" }, "the guest was booted by {efi}");
    let sata = guest.shell("ls /sys/bus/pci/drivers/ahci | grep -c 0000 || true", 60)?;
    ensure!(sata == "1", "the guest's disk is not behind an AHCI controller");
    Ok(())
}

/// A disk that is neither the first nor on the first controller, and boots all the same.
fn bootindex(name: &str, vmm: &Vmm, uefi: bool) -> Result<String> {
    image::uefi()?;
    let blank = fresh(&format!("{name}.img"))?;
    std::fs::write(&blank, vec![0; 4 << 20]).context("cannot write a disk")?;
    let disk = format!("file={},format=raw,snapshot=on,if=none,id=d", paths::asset("uefi")?.display());
    let mut machine = machine(name)
        .args(["-drive", &format!("file={},format=raw", blank.display()), "-drive", &disk])
        .args(["-device", "ahci,id=more", "-device", "ide-hd,drive=d,bus=more.3,bootindex=0"]);
    if uefi {
        machine = machine.args(flash(&fresh_variables(name)?)?);
    }
    let mut guest = machine.start(vmm)?;
    guest.expect("GNU GRUB", OVMF)?;
    guest.kill()?;
    Ok(format!("GRUB after {:.1} s", guest.elapsed().as_secs_f64()))
}

/// SeaBIOS boots from `-device ahci` on `pc` too.
fn pc_ahci_login(name: &str, vmm: &Vmm) -> Result<String> {
    image::uefi()?;
    let disk = format!("file={},format=raw,snapshot=on,if=none,id=d", paths::asset("uefi")?.display());
    let mut guest = Machine::new(name)
        .memory(1024)
        .args(["-drive", &disk, "-device", "ahci,id=sata", "-device", "ide-hd,drive=d,bus=sata.0"])
        .start(vmm)?;
    debian(&mut guest, false)?;
    guest.kill()?;
    Ok(format!("root's shell after {:.1} s", guest.elapsed().as_secs_f64()))
}

/// A copy of OVMF's empty variables.
pub(super) fn fresh_variables(name: &str) -> Result<PathBuf> {
    image::uefi()?;
    let path = fresh(&format!("{name}-vars.fd"))?;
    std::fs::copy(paths::asset("ovmf-vars")?, &path).context("cannot copy OVMF's variables")?;
    Ok(path)
}

/// OVMF in flash, with these variables.
pub(super) fn flash(variables: &Path) -> Result<Vec<String>> {
    let code = paths::asset("ovmf-code")?;
    Ok(vec![
        "-drive".into(),
        format!("if=pflash,format=raw,unit=0,readonly=on,file={}", code.display()),
        "-drive".into(),
        format!("if=pflash,format=raw,unit=1,file={}", variables.display()),
    ])
}

/// OVMF to its shell; the prompt answers.
fn to_shell(guest: &mut Guest) -> Result<()> {
    guest.expect("UEFI Interactive Shell", OVMF)?;
    guest.expect("to skip", 60)?;
    guest.line("\u{1b}")?;
    guest.expect("Shell> ", 60)?;
    Ok(())
}

/// A command at the shell's prompt; its output.
fn efi(guest: &mut Guest, command: &str) -> Result<String> {
    // The prompt's line is drawn again and again: the output begins behind the line feed.
    guest.serial()?.send(&format!("{command}\r"))?;
    guest.expect("\n", 60)?;
    guest.expect("Shell> ", 60)
}

fn ovmf_shell(name: &str, vmm: &Vmm, kind: &'static str) -> Result<String> {
    let variables = fresh_variables(name)?;
    let mut guest = Machine::new(name).kind(kind).memory(512).args(flash(&variables)?).start(vmm)?;
    to_shell(&mut guest)?;
    let time = guest.elapsed();
    let table = efi(&mut guest, "pci")?;
    let bridge = if kind == "q35" { "29C0" } else { "1237" };
    ensure!(table.contains(bridge), "the shell's list of PCI devices has no {bridge}: {table}");
    guest.serial()?.send("reset -s\r")?;
    guest.wait_success(60)?;
    Ok(format!("shell after {:.1} s, power off", time.as_secs_f64()))
}

/// The firmware as a plain ROM.
fn ovmf_bios(name: &str, vmm: &Vmm) -> Result<String> {
    image::uefi()?;
    let mut guest = machine(name).arg("-bios").arg(paths::asset("ovmf")?).start(vmm)?;
    to_shell(&mut guest)?;
    Ok(format!("shell after {:.1} s", guest.elapsed().as_secs_f64()))
}

/// A variable that the firmware has written is there after the monitor was killed, and the store is whole.
fn ovmf_kill_9(name: &str, vmm: &Vmm) -> Result<String> {
    let variables = fresh_variables(name)?;
    let start = || -> Result<Guest> {
        let mut guest = machine(name).args(flash(&variables)?).start(vmm)?;
        to_shell(&mut guest)?;
        Ok(guest)
    };
    let mut guest = start()?;
    let guid = "-guid 11111111-2222-3333-4444-555555555555";
    efi(&mut guest, &format!("setvar whpx {guid} -nv -bs =0x1234abcd"))?;
    // Many more writes, and the end in the middle of them.
    for i in 0..20 {
        guest.serial()?.send(&format!("setvar more{i} {guid} -nv -bs =0x{i:02x}\r"))?;
    }
    for _ in 0..8 {
        guest.expect("Shell> ", 60)?;
    }
    guest.kill()?;
    let mut guest = start()?;
    let text = efi(&mut guest, &format!("setvar whpx {guid}"))?;
    let digits = strip_escapes(&text).to_lowercase().replace(' ', "");
    ensure!(digits.contains("1234abcd") || digits.contains("cdab3412"), "the variable is gone: {digits}");
    efi(&mut guest, &format!("setvar after {guid} -nv -bs =0x77"))?;
    let text = efi(&mut guest, &format!("setvar after {guid}"))?;
    ensure!(text.contains("77"), "a new variable cannot be read: {text}");
    guest.kill()?;
    Ok("the variable outlives kill -9, the store takes new ones".into())
}
