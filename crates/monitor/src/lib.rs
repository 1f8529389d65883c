//! The human monitor: a command line on a character back end.

use std::sync::{Arc, Mutex, OnceLock};

use chardev::{CharError, CharEvent, CharFrontend, CharPort, Chardev};
use machine::MachineHandle;

/// A monitor on a back end; it ends when dropped.
pub struct Monitor {
    _frontend: Arc<Frontend>,
}

struct Frontend {
    machine: MachineHandle,
    port: OnceLock<CharPort>,
    line: Mutex<Vec<u8>>,
}

const PROMPT: &str = "(qemu) ";

impl Monitor {
    /// Puts a monitor for `machine` on `chardev`.
    ///
    /// # Errors
    /// When the back end has a user already and is not shared.
    pub fn attach(machine: MachineHandle, chardev: &Chardev) -> Result<Self, CharError> {
        let frontend = Arc::new(Frontend { machine, port: OnceLock::new(), line: Mutex::default() });
        let port = chardev.attach(frontend.clone())?;
        let _ = frontend.port.set(port);
        frontend.notify(CharEvent::Opened);
        frontend.notify(CharEvent::Readable);
        Ok(Self { _frontend: frontend })
    }
}

impl Frontend {
    fn print(&self, text: &str) {
        if let Some(port) = self.port.get() {
            port.write(text.replace('\n', "\r\n").as_bytes());
        }
    }

    fn command(&self, line: &str) -> String {
        let mut words = line.split_whitespace();
        match (words.next(), words.next()) {
            (Some("quit" | "q"), _) => self.machine.quit(),
            (Some("stop" | "s"), _) => self.machine.stop(),
            (Some("cont" | "c"), _) => {
                return self.machine.cont().err().map(|e| format!("Error: {e}\n")).unwrap_or_default();
            }
            (Some("system_reset"), _) => self.machine.reset(),
            (Some("system_powerdown"), _) => self.machine.power_button(),
            (Some("info"), Some("registers")) => {
                return self.machine.while_stopped(|a| {
                    (0..a.count())
                        .map(|i| a.registers(i).map_or_else(|e| format!("{e}\n"), |r| accel::format_registers(i, &r)))
                        .collect()
                });
            }
            (Some("info"), Some("exits")) => {
                return format!("{:#?}\n", self.machine.accel().stats());
            }
            (Some("info"), Some("pci")) => return self.machine.pci().info(),
            (Some("info"), Some("pic")) => return self.machine.pic().describe(),
            (Some(other), _) => return format!("unknown command: '{other}'\n"),
            (None, _) => {}
        }
        String::new()
    }
}

impl CharFrontend for Frontend {
    fn notify(&self, event: CharEvent) {
        if event == CharEvent::Opened {
            self.print(&format!("whpx {} monitor\n{PROMPT}", env!("CARGO_PKG_VERSION")));
        }
        let Some(port) = self.port.get() else { return };
        let mut buffer = [0; 64];
        loop {
            let n = port.read(&mut buffer);
            if n == 0 {
                return;
            }
            for b in &buffer[..n] {
                let line = {
                    let mut line = vm_core::lock(&self.line);
                    match b {
                        b'\r' | b'\n' => Some(String::from_utf8_lossy(&std::mem::take(&mut *line)).into_owned()),
                        8 | 0x7F => {
                            line.pop();
                            None
                        }
                        b => {
                            line.push(*b);
                            None
                        }
                    }
                };
                if let Some(line) = line {
                    let answer = self.command(&line);
                    self.print(&format!("{line}\n{answer}{PROMPT}"));
                }
            }
        }
    }
}
