//! A VNC client that asks for the next picture as soon as it has one, in the encoding ZRLE, and does not look at it (RFC 6143).

use anyhow::{Context, Result, bail, ensure};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

const ZRLE: i32 = 16;
const DESKTOP_SIZE: i32 = -223;
/// The pseudo-encoding in which QEMU, and others since, tell of the keyboard's lights.
pub(crate) const LED_STATE: i32 = -261;
/// For an answer.
const LIMIT: Duration = Duration::from_secs(20);

/// A connection.
pub(crate) struct Vnc {
    stream: BufReader<TcpStream>,
    /// The lights, once the server told: Scroll Lock is bit 0, Num Lock bit 1, Caps Lock bit 2.
    pub(crate) leds: Option<u8>,
}

impl Vnc {
    /// Connects without a password; `more` are encodings to ask for: [`LED_STATE`].
    pub(crate) fn connect(port: u16, more: &[i32]) -> Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).context("no VNC server")?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(LIMIT))?;
        let mut this = Self { stream: BufReader::with_capacity(1 << 16, stream), leds: None };
        this.bytes(12)?;
        this.send(b"RFB 003.008\n")?;
        let kinds = this.bytes(1)?;
        this.bytes(kinds[0].into())?;
        this.send(&[1])?; // no password
        ensure!(this.bytes(4)? == [0; 4], "the VNC server refuses");
        this.send(&[1])?; // shared
        let init = this.bytes(24)?;
        this.bytes(u32::from_be_bytes([init[20], init[21], init[22], init[23]]) as usize)?;
        let mut encodings = vec![2, 0, 0, 2 + more.len() as u8];
        [ZRLE, DESKTOP_SIZE].iter().chain(more).for_each(|e| encodings.extend(e.to_be_bytes()));
        this.send(&encodings)?;
        this.request(false)?;
        Ok(this)
    }

    fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.get_mut().write_all(bytes).context("the VNC connection is gone")
    }

    fn bytes(&mut self, count: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; count];
        self.stream.read_exact(&mut bytes).context("the VNC server says nothing")?;
        Ok(bytes)
    }

    fn request(&mut self, incremental: bool) -> Result<()> {
        self.send(&[3, incremental.into(), 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF])
    }

    /// Takes messages up to the next update; whether it has a picture.
    pub(crate) fn update(&mut self) -> Result<bool> {
        loop {
            match self.bytes(1)?[0] {
                0 => break,
                2 => continue,
                other => bail!("the VNC server sends message {other}"),
            }
        }
        let head = self.bytes(3)?;
        let (mut picture, mut resized) = (false, false);
        for _ in 0..u16::from_be_bytes([head[1], head[2]]) {
            let rect = self.bytes(12)?;
            match i32::from_be_bytes([rect[8], rect[9], rect[10], rect[11]]) {
                ZRLE => {
                    let length = self.bytes(4)?;
                    self.bytes(u32::from_be_bytes([length[0], length[1], length[2], length[3]]) as usize)?;
                    picture = true;
                }
                DESKTOP_SIZE => resized = true,
                LED_STATE => self.leds = Some(self.bytes(1)?[0]),
                other => bail!("the VNC server sends the encoding {other}"),
            }
        }
        self.request(!resized)?;
        Ok(picture)
    }

    /// Takes what is there already.
    pub(crate) fn drain(&mut self) -> Result<()> {
        loop {
            self.stream.get_ref().set_read_timeout(Some(Duration::from_millis(1)))?;
            let waiting = self.stream.fill_buf().is_ok_and(|b| !b.is_empty());
            self.stream.get_ref().set_read_timeout(Some(LIMIT))?;
            if !waiting {
                return Ok(());
            }
            self.update()?;
        }
    }

    /// Presses a key and lets go of it.
    pub(crate) fn key(&mut self, keysym: u32) -> Result<()> {
        for down in [1, 0] {
            self.send(&[&[4, down, 0, 0][..], &keysym.to_be_bytes()].concat())?;
        }
        Ok(())
    }
}
