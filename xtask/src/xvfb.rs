//! An X server without a monitor (`Xvfb`), whose picture is a file in XWD format (`XWDFile.h`, version 7), and `xdotool` as the person.

use crate::run;
use crate::vga::Picture;
use anyhow::{Context, Result, bail};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// The server; it ends when dropped.
#[derive(Debug)]
pub(crate) struct Xvfb {
    child: Child,
    display: String,
    picture: PathBuf,
}

impl Xvfb {
    /// Starts one whose picture is in `folder`.
    pub(crate) fn start(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let mut command = Command::new("Xvfb");
        command.args(["-displayfd", "1", "-screen", "0", "1280x1024x24", "-nolisten", "tcp", "-fbdir"]).arg(folder);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().context("cannot start Xvfb")?;
        let mut stdout = child.stdout.take().context("no pipe from Xvfb")?;
        let picture = folder.join("Xvfb_screen0");
        let mut this = Self { child, display: String::new(), picture };
        let (mut text, mut byte) = (String::from(":"), [0]);
        while stdout.read(&mut byte)? == 1 && byte != *b"\n" {
            text.push(byte[0].into());
        }
        if text.len() == 1 {
            bail!("Xvfb ended before it had a display");
        }
        this.display = text;
        // Its end of the pipe must stay open: it may write again.
        std::mem::forget(stdout);
        Ok(this)
    }

    /// A command that shows its windows here.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("DISPLAY", &self.display);
        command
    }

    /// Does what a person would.
    pub(crate) fn xdotool(&self, words: &[&str]) -> Result<String> {
        Ok(run::output(self.command("xdotool").args(words))?.trim().to_owned())
    }

    /// A part of the screen.
    pub(crate) fn picture(&self, x: usize, y: usize, width: usize, height: usize) -> Result<Picture> {
        let bytes = fs::read(&self.picture).with_context(|| format!("cannot read {}", self.picture.display()))?;
        let word = |n: usize| bytes.get(n * 4..n * 4 + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_be_bytes);
        // Header size, bytes a line, colours in the map.
        let (start, pitch) = (word(0) as usize + word(19) as usize * 12, word(12) as usize);
        let pixel = |px: usize, py: usize| {
            let at = start + (y + py) * pitch + (x + px) * 4;
            let pixel = bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes);
            pixel & 0xFF_FFFF
        };
        Ok(Picture::new(width, height, pixel))
    }
}

impl Drop for Xvfb {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it has ended
        let _ = self.child.wait();
    }
}

/// A program that is ended when this is dropped.
#[derive(Debug)]
pub(crate) struct Ended(pub(crate) Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill(); // it has ended
        let _ = self.0.wait();
    }
}
