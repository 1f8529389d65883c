//! A machine to look at: a 64 KiB firmware of a few instructions on the built-in platform.
#![allow(dead_code)] // each test file uses a part

use std::time::{Duration, Instant};

use machine::{ExitReason, Machine, MachineHandle, Plan};
use monitor::run_line;
use whp_soft::SoftPlatform;

/// At F000:0000: mov ax, 0x1234; mov [0x500], ax; hlt; jmp to the hlt.
pub(crate) const CODE: [u8; 9] = [0xB8, 0x34, 0x12, 0xA3, 0x00, 0x05, 0xF4, 0xEB, 0xFD];

pub(crate) struct Bench {
    pub(crate) machine: Option<Machine>,
    pub(crate) handle: MachineHandle,
    pub(crate) dir: tempfile::TempDir,
}

impl Bench {
    pub(crate) fn new(more: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut bios = vec![0x90; 0x10000];
        bios[..CODE.len()].copy_from_slice(&CODE);
        bios[0xFFF0..0xFFF3].copy_from_slice(&[0xE9, 0x0D, 0x00]); // jmp 0000
        let path = dir.path().join("bios.bin");
        std::fs::write(&path, bios).unwrap();
        let mut args: Vec<String> = vec!["-bios".into(), path.display().to_string()];
        args.extend("-m 16 -S -vga none -display none -serial none -monitor none".split(' ').map(String::from));
        args.extend(more.iter().map(|s| s.to_string()));
        let config = cli::Config::new(&cli::Options::parse(args).unwrap()).unwrap();
        let machine =
            Machine::new(Plan::new(&config).unwrap(), &SoftPlatform::default(), accel::AccelOptions::default())
                .unwrap();
        Self { handle: machine.handle(), machine: Some(machine), dir }
    }

    pub(crate) fn run(&mut self) -> std::thread::JoinHandle<ExitReason> {
        let machine = self.machine.take().unwrap();
        std::thread::spawn(move || machine.run())
    }

    pub(crate) fn line(&self, line: &str) -> String {
        run_line(&self.handle, line)
    }

    pub(crate) fn wait_for(&self, line: &str, part: &str) -> String {
        let limit = Instant::now() + Duration::from_secs(20);
        loop {
            let text = self.line(line);
            if text.contains(part) {
                return text;
            }
            assert!(Instant::now() < limit, "{line}: {text}");
            std::thread::sleep(Duration::from_millis(1)); // the guest runs in between
        }
    }
}
