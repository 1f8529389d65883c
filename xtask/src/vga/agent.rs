//! The guest program's other end: code goes to it over COM2, screenshots come from the monitor.

use super::code::{Code, RESULTS, boot_sector};
use super::picture::Picture;
use crate::boot::tests::fresh;
use crate::vmm::{Guest, Machine, Vmm};
use anyhow::{Context, Result, bail};
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// For one answer of the guest or the monitor.
const LIMIT: Duration = Duration::from_secs(60);
/// Blinking has two phases; both are seen within this time.
const BLINK: Duration = Duration::from_secs(20);

/// A machine that runs the boot sector.
#[derive(Debug)]
pub(crate) struct Agent {
    pub(crate) guest: Guest,
    line: TcpStream,
    shot: PathBuf,
    name: String,
    /// How far colours may differ: another program widens six bits to eight in another way.
    tolerance: u32,
}

impl Agent {
    /// Starts a machine with it.
    pub(crate) fn start(name: &str, vmm: &Vmm, args: &[String]) -> Result<Self> {
        let disk = fresh(&format!("{name}-agent.img"))?;
        let mut bytes = boot_sector();
        bytes.resize(1 << 20, 0);
        fs::write(&disk, bytes)?;
        let listener = TcpListener::bind("127.0.0.1:0").context("cannot listen on 127.0.0.1")?;
        let port = listener.local_addr()?.port();
        let guest = Machine::new(name)
            .memory(32)
            .monitor()
            .args(["-serial", &format!("tcp:127.0.0.1:{port}")])
            .args(["-drive", &format!("file={},format=raw,if=ide", disk.display())])
            .args(args)
            .start(vmm)?;
        let (line, _) = listener.accept().context("COM2 was not connected")?;
        line.set_nodelay(true)?;
        line.set_read_timeout(Some(LIMIT))?;
        let tolerance = if vmm.is_qemu() { 3 } else { 0 };
        let shot = fresh(&format!("{name}-shot.ppm"))?;
        let mut agent = Self { guest, line, shot, name: name.into(), tolerance };
        agent.guest.monitor()?.expect("(qemu)", LIMIT)?;
        agent.done().context("the boot sector did not start")?;
        Ok(agent)
    }

    fn done(&mut self) -> Result<()> {
        let mut byte = [0];
        self.line.read_exact(&mut byte).context("no answer from the guest program")?;
        if byte != *b"K" {
            bail!("the guest program answers {:#x} instead of K", byte[0]);
        }
        Ok(())
    }

    /// Runs code in the guest that sends `answer` bytes.
    pub(crate) fn ask(&mut self, code: Code, answer: usize) -> Result<Vec<u8>> {
        let code = code.finish();
        let length = u16::try_from(code.len()).context("too much code at once")?;
        self.line.write_all(&[&length.to_le_bytes()[..], &code].concat())?;
        let mut bytes = vec![0; answer];
        self.line.read_exact(&mut bytes).context("no answer from the guest program")?;
        self.done()?;
        Ok(bytes)
    }

    /// Runs code in the guest.
    pub(crate) fn run(&mut self, code: Code) -> Result<()> {
        self.ask(code, 0).map(drop)
    }

    /// A font of the ROM by its number for INT 10h, AX = 1130h.
    pub(crate) fn font(&mut self, number: u8, bytes: u16) -> Result<Vec<u8>> {
        // push es; push ds... pop ax: the pointer goes to the results.
        let at = RESULTS.to_le_bytes();
        let code = Code::new().ax(0x1130).bx(u16::from(number) << 8).int10();
        let code = code.bytes(&[0x8C, 0xC0, 0xA3, at[0], at[1], 0x89, 0xE8, 0xA3, at[0] + 2, at[1]]);
        let words = self.ask(code.send(0, RESULTS, 4), 4)?;
        let (segment, offset) = (u16::from_le_bytes([words[0], words[1]]), u16::from_le_bytes([words[2], words[3]]));
        self.ask(Code::new().send(segment, offset, bytes), bytes.into())
    }

    /// What the screen shows now.
    pub(crate) fn shot(&mut self) -> Result<Picture> {
        let command = format!("screendump {}", self.shot.display());
        let monitor = self.guest.monitor()?;
        monitor.take();
        monitor.line(&command)?;
        monitor.expect("(qemu)", LIMIT)?;
        let bytes = fs::read(&self.shot).with_context(|| format!("{command} wrote no file"))?;
        Picture::from_ppm(&bytes).context("the screenshot is no PPM")
    }

    /// The screen is `expected`; on a difference both are kept.
    pub(crate) fn shows(&mut self, what: &str, expected: &Picture) -> Result<()> {
        let found = self.shot()?;
        match found.difference(expected, self.tolerance) {
            None => Ok(()),
            Some(text) => Err(self.keep(what, &text, &found, expected)?),
        }
    }

    fn keep(&self, what: &str, text: &str, found: &Picture, expected: &Picture) -> Result<anyhow::Error> {
        let folder = self.shot.parent().context("no folder")?;
        let file = |kind: &str| folder.join(format!("{}-{}-{kind}.ppm", self.name, what.replace([' ', '/'], "-")));
        fs::write(file("found"), found.to_ppm())?;
        fs::write(file("expected"), expected.to_ppm())?;
        Ok(anyhow::anyhow!("{what}: {text}; see {} and -expected.ppm", file("found").display()))
    }

    /// The screen alternates between these pictures (phases of blinking), and each is seen.
    pub(crate) fn alternates(&mut self, what: &str, phases: &[Picture]) -> Result<()> {
        let mut seen = vec![false; phases.len()];
        let started = Instant::now();
        while seen.contains(&false) {
            let found = self.shot()?;
            match phases.iter().position(|p| found.difference(p, self.tolerance).is_none()) {
                Some(at) => seen[at] = true,
                None => {
                    let text = found.difference(&phases[0], self.tolerance).unwrap_or_default();
                    return Err(self.keep(what, &text, &found, &phases[0])?);
                }
            }
            if started.elapsed() > BLINK {
                bail!("{what}: of {} phases of blinking, seen are {seen:?}", phases.len());
            }
        }
        Ok(())
    }
}
