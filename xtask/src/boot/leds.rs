//! The keyboard's lights: Linux switches them as Caps Lock is pressed by VNC, and the VNC client is told, with the PS/2 keyboard and with
//! a USB keyboard that takes over.

use super::Test;
use super::tests::{power_off, shell_ready};
use super::usb::{SHELL, command, machine, until};
use crate::qmp::free_port;
use crate::vmm::{Guest, Vmm};
use crate::vnc::{LED_STATE, Vnc};
use anyhow::{Context, Result, ensure};
use std::time::{Duration, Instant};

/// Keysym and light of Caps Lock and of Num Lock.
const LOCKS: [(u32, u8); 2] = [(0xFFE5, 4), (0xFF7F, 2)];

pub(super) fn test() -> Test {
    Test::new("keyboard-leds", 1, lights)
}

/// Waits until the client was told of these lights.
fn told(client: &mut Vnc, leds: u8) -> Result<()> {
    let started = Instant::now();
    while client.leds != Some(leds) {
        ensure!(started.elapsed() < Duration::from_secs(20), "the client was told of {:?}, not {leds}", client.leds);
        client.update()?;
    }
    Ok(())
}

/// Each lock on and off. Linux has one state for all keyboards.
fn locks(guest: &mut Guest, client: &mut Vnc, keyboards: usize) -> Result<()> {
    for (keysym, light) in LOCKS {
        let before = client.leds.context("the client was told of no lights")?;
        for wanted in [before ^ light, before] {
            client.key(keysym)?;
            told(client, wanted)?;
        }
    }
    let lights = guest.shell("ls -d /sys/class/leds/*::capslock | wc -l", 60)?;
    ensure!(lights == keyboards.to_string(), "the guest has {lights} keyboards with lights, not {keyboards}");
    Ok(())
}

fn lights(name: &str, vmm: &Vmm) -> Result<String> {
    let port = free_port()?;
    let display = port.checked_sub(5900).context("no free port for VNC above 5900")?;
    let options = ["-device", "ich9-usb-ehci1,id=e", "-vnc", &format!("127.0.0.1:{display}")];
    let mut guest = machine(name)?.monitor().args(options).start(vmm)?;
    guest.expect("Linux version", SHELL)?;
    shell_ready(&mut guest, 1)?;
    let mut client = Vnc::connect(port, &[LED_STATE])?;
    while client.leds.is_none() {
        client.update()?;
    }
    locks(&mut guest, &mut client, 1).context("PS/2")?;
    guest.shell("usb", 240)?;
    // Not before: SeaBIOS would use it, and Linux without drivers would get no keys.
    let said = command(&mut guest, "device_add usb-kbd,bus=e.0")?;
    ensure!(said.is_empty(), "device_add says: {said}");
    until(&mut guest, "ls -d /sys/class/leds/*::capslock | wc -l", "2", 60)?;
    // What is pressed now, the USB keyboard reports, and its lights are told. An event has 24 bytes; two locks are pressed twice.
    let find =
        "E=$(grep -l 'USB Keyboard' /sys/class/input/event*/device/name); E=${E%/device/name}; E=${E##*/}; echo $E";
    until(&mut guest, find, "event", 60)?;
    guest.shell("cat /dev/input/$E > /tmp/events & sleep 0.2", 60)?;
    locks(&mut guest, &mut client, 2).context("USB")?;
    let bytes: u32 = guest.shell("wc -c < /tmp/events", 60)?.parse().context("wc has no number")?;
    ensure!(bytes >= 8 * 24, "the USB keyboard reported {bytes} bytes of events");
    power_off(&mut guest)?;
    Ok("Caps Lock and Num Lock, PS/2 and USB".to_owned())
}
