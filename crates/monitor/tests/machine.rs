//! The human monitor on a whole machine.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use chardev::Chardev;
use cli::MonitorMode;
use common::Bench;
use machine::ExitReason;
use monitor::Monitor;

#[test]
fn memory_registers_and_run_state() {
    let mut b = Bench::new(&["-smp", "2"]);
    assert_eq!(b.line("info status"), "VM status: paused (prelaunch)\n");
    assert!(b.line("info registers").contains("EIP=0000fff0 EFL=00000002 [-------] CPL=0 II=0 A20=1 SMM=0 HLT=0"));
    let listing = b.line("x/2i $pc");
    assert!(listing.starts_with("0xfffffff0:  e9 0d 00                 jmp      0x"), "{listing}");
    assert_eq!(b.line("xp /4xb 0xf0000"), "00000000000f0000: 0xb8 0x34 0x12 0xa3\n");
    assert_eq!(b.line("p $cs.base + $rip"), "0xfffffff0\n");
    assert_eq!(b.line("print/d 3*4-20"), "-8\n");
    let run = b.run();
    assert_eq!(b.line("cont"), "");
    let r = b.wait_for("info registers -a -v", "HLT=1");
    assert!(r.contains("CPU#0") && r.contains("CPU#1") && r.contains("XMM15="), "{r}");
    b.wait_for("info registers", "EAX=00001234");
    assert_eq!(b.line("xp /2xh 0x500"), "0000000000000500: 0x1234 0x0000\n");
    assert_eq!(b.line("x /xh 0x500"), "0000000000000500: 0x1234\n");
    assert_eq!(b.line("xp /x 0x40000000"), "0000000040000000: Cannot access memory\n");
    assert!(b.wait_for("info cpus", "(halted)").contains("* CPU #0: pc=0x"));
    assert_eq!(b.line("stop"), "");
    assert_eq!(b.line("info status"), "VM status: paused\n");
    assert_eq!(b.line("info mem"), "PG disabled\n");
    assert_eq!(b.line("system_reset"), "");
    b.wait_for("info registers", "EIP=0000fff0");
    assert_eq!(b.line("quit"), "");
    assert_eq!(run.join().unwrap(), ExitReason::Done);
}

#[test]
fn info_topics_answer() {
    let b = Bench::new(&["-name", "box", "-smp", "2"]);
    let topics = b.line("help info");
    for topic in topics.lines().filter_map(|l| l.split(' ').nth(1)) {
        let text = b.line(&format!("info {topic}"));
        let empty = ["network", "history", "chardev", "blockstats", "block", "usb"].contains(&topic);
        assert!(empty || !text.is_empty(), "info {topic}");
        assert!(!text.contains("Error") && !text.contains("usage"), "info {topic}: {text}");
    }
    assert_eq!(b.line("info name"), "box\n");
    assert!(b.line("info mtree -f").contains("(prio 0, ram): ram-640k\n"));
    assert!(b.line("info mtree").contains("0000000000000070-0000000000000073 (prio 0, i/o): rtc\n"));
    assert!(b.line("info lapic 1").starts_with("dumping local APIC state for CPU 1\n"));
    assert!(b.line("info roms").contains("mem=rom name=\"bios.bin\""));
}

#[test]
fn wrong_input_is_answered_in_a_line_or_two() {
    let b = Bench::new(&[]);
    assert_eq!(b.line("sendky a"), "unknown command: 'sendky'\ndid you mean 'sendkey'?\n");
    assert_eq!(b.line("info foo bar").lines().next(), Some("unknown command: 'info foo'"));
    assert_eq!(b.line("cpu"), "cpu: missing argument\nusage: cpu index\n");
    assert_eq!(b.line("cpu 7"), "Error: invalid CPU index\n");
    assert_eq!(b.line("stop now"), "stop: extraneous characters at the end of line\nusage: stop\n");
    assert_eq!(b.line("sendkey ctrl-foo"), "Error: invalid parameter: foo\n");
    assert_eq!(b.line("x /4z 0"), "x: invalid char in format: 'z'\nusage: x /fmt addr\n");
    assert_eq!(b.line("xp /x $foo"), "Error: unknown register '$foo'\n");
    assert!(b.line("screendump /tmp/x.png").starts_with("Error: there is no screen to dump"));
    assert_eq!(b.line("eject floppy0"), "Error: Device 'floppy0' not found\n");
    assert_eq!(b.line(""), "");
}

#[test]
fn memory_is_saved_and_ring_buffers_are_read() {
    let b = Bench::new(&["-chardev", "ringbuf,id=ring,size=64", "-serial", "chardev:ring"]);
    let file = b.dir.path().join("saved");
    let name = file.display();
    assert_eq!(b.line(&format!("pmemsave 0xf0000 2*2 \"{name}\"")), "");
    assert_eq!(std::fs::read(&file).unwrap(), [0xB8, 0x34, 0x12, 0xA3]);
    assert_eq!(b.line(&format!("memsave $pc 3 \"{name}\"")), "");
    assert_eq!(std::fs::read(&file).unwrap(), [0xE9, 0x0D, 0x00]);
    assert!(b.line(&format!("pmemsave 0x40000000 4 \"{name}\"")).starts_with("Error: Invalid addr"));
    assert!(b.line("pmemsave 0 4").starts_with("pmemsave: missing argument\nusage: pmemsave addr size file\n"));
    assert_eq!(b.line("ringbuf_read ring 10"), "\n");
    assert_eq!(b.line("ringbuf_read nothing 10"), "Error: Device 'nothing' not found\n");
    assert_eq!(b.line("ringbuf_write ring hello"), "");
    assert_eq!(b.line("ringbuf_read ring 10"), "hello\n");
}

#[test]
fn the_mouse_moves() {
    let b = Bench::new(&[]);
    assert_eq!(b.line("mouse_move 5 -3 1"), "");
    assert_eq!(b.line("mouse_button 1"), "");
    assert_eq!(b.line("mouse_set 0"), "");
    assert_eq!(b.line("mouse_set 7"), "Error: Mouse at index '7' not found\n");
    assert!(b.line("mouse_move 5").contains("usage: mouse_move dx dy [dz]"));
    assert!(b.line("mouse_button x").contains("'x' is not a number here"));
}

#[test]
fn discs_are_changed() {
    let dir = tempfile::tempdir().unwrap();
    let disk = dir.path().join("disk.img");
    std::fs::write(&disk, vec![0; 1 << 20]).unwrap();
    let drive = format!("file={},format=raw", disk.display());
    let b = Bench::new(&["-drive", &drive, "-drive", "media=cdrom"]);
    let cd = b.handle.drives().iter().find(|d| d.removable).unwrap().id.clone();
    let hd = b.handle.drives().iter().find(|d| !d.removable).unwrap().id.clone();
    assert!(b.line(&format!("info block {cd}")).starts_with(&format!("{cd}: [not inserted]\n")));
    let iso = b.dir.path().join("a disc.iso");
    std::fs::write(&iso, vec![0; 4096]).unwrap();
    assert_eq!(b.line(&format!("change {cd} \"{}\"", iso.display())), "");
    let text = b.line(&format!("info block {cd}"));
    assert!(text.contains("a disc.iso (raw, read-only)\n"), "{text}");
    assert!(text.contains("    Removable device: not locked, tray closed\n"), "{text}");
    assert!(b.line(&format!("change {cd} /nonexistent")).starts_with("Error: Could not open '/nonexistent'"));
    assert!(b.line("info block").contains("a disc.iso"), "the old disc stays");
    assert_eq!(b.line(&format!("eject {hd}")), format!("Error: Device '{hd}' is not removable\n"));
    assert_eq!(b.line(&format!("eject {cd}")), "");
    assert!(b.line("info block").contains("[not inserted]"));
    assert!(b.line("info block").contains("disk.img (raw)\n"));
}

/// A log with no items and one event.
struct OneEvent(AtomicBool);

impl monitor::LogControl for OneEvent {
    fn items(&self) -> String {
        "Log items:\nint  interrupts\n".into()
    }

    fn set_items(&self, items: &str) -> Result<(), String> {
        Err(format!("no {items}"))
    }

    fn set_event(&self, pattern: &str, on: bool) -> Result<(), String> {
        assert_eq!(pattern, "ev*");
        self.0.store(on, Ordering::SeqCst);
        Ok(())
    }

    fn events(&self) -> Vec<(&'static str, bool)> {
        vec![("event", self.0.load(Ordering::SeqCst))]
    }
}

#[test]
fn a_session_ends_the_machine() {
    let mut b = Bench::new(&[]);
    let (dev, peer) = Chardev::in_memory("mon", 4096, false);
    let log: Arc<dyn monitor::LogControl> = Arc::new(OneEvent(AtomicBool::new(false)));
    let monitor = Monitor::attach(b.handle.clone(), &dev, MonitorMode::Readline, Some(log)).unwrap();
    let run = b.run();
    peer.send(
        b"info sta\t\rlog int\rsendkey ctrl-alt-f1 1\rtrace-event ev* on\rinfo trace-events\rinfo history\rquit\r",
    );
    assert_eq!(run.join().unwrap(), ExitReason::Done);
    drop(monitor);
    let text = String::from_utf8(peer.take()).unwrap();
    let begin = format!("whpx {} monitor - type 'help' for more information\r\n(qemu) ", env!("CARGO_PKG_VERSION"));
    assert!(text.starts_with(&begin), "{text}");
    assert!(text.contains("info trace-events\r\nevent : state 1\r\n"), "{text}");
    assert!(
        text.contains("info status \r\nVM status: paused (prelaunch)\r\n(qemu) log int\r\nError: no int\r\n"),
        "{text}"
    );
    assert!(text.contains("2: 'sendkey ctrl-alt-f1 1'\r\n3: 'trace-event ev* on'\r\n4: 'info trace-events'\r\n5: 'info history'\r\n(qemu) quit\r\n"), "{text}");
}
