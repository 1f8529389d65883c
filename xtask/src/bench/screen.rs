//! Rows about the screen: a guest program scrolls it in three kinds of modes while a VNC client watches, and keys are sent until what they
//! write is seen, by VNC and by the web console's websocket. The guest is the one of `cargo xtask boot vga-modes`: a boot sector that runs
//! real-mode code.
//!
//! The VNC client asks for the next picture as soon as it has one, and does not look at it.

use super::{Column, Group, Row, Values};
use crate::qmp::free_port;
use crate::vga::{Agent, Code};
use crate::vmm::Vmm;
use crate::vnc::Vnc;
use anyhow::{Context, Result, ensure};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const fn row(name: &'static str, what: &'static str, unit: &'static str, digits: usize) -> Row {
    Row { name, what, unit, digits }
}

pub(super) const SCROLL: Group = Group {
    rows: &[
        row("scroll-text", "scrolls of the 80x25 text screen, VNC client watching", "1/s", 0),
        row("scroll-text-frames", "... pictures that the client gets", "1/s", 1),
        row("scroll-text-cpu", "... CPU time of the process for one scroll", "us", 0),
        row("scroll-planar", "scrolls of the 640x480 screen of 16 colours", "1/s", 1),
        row("scroll-planar-frames", "... pictures that the client gets", "1/s", 1),
        row("scroll-planar-cpu", "... CPU time of the process for one scroll", "us", 0),
        row("scroll-linear", "scrolls of the 1024x768x32 linear screen", "1/s", 1),
        row("scroll-linear-frames", "... pictures that the client gets", "1/s", 1),
        row("scroll-linear-cpu", "... CPU time of the process for one scroll", "us", 0),
    ],
    has: |column| column.vmm().is_some(),
    measure: scroll,
};

pub(super) const LATENCY: Group = Group {
    rows: &[
        row("latency-vnc", "key pressed to changed picture, VNC, median", "ms", 1),
        row("latency-vnc-p90", "key pressed to changed picture, VNC, 90th percentile", "ms", 1),
        row("latency-web", "key pressed to changed picture, web console, median", "ms", 1),
        row("latency-web-p90", "key pressed to changed picture, web console, 90th percentile", "ms", 1),
    ],
    has: |column| column.vmm().is_some(),
    measure: latency,
};

/// Keys of a latency row.
const KEYS: usize = 60;
/// How long a scroll row is measured.
const SPAN: Duration = Duration::from_secs(3);

// --- the guest

/// `count` scrolls by a line of text, and a new last line.
fn text(count: u16) -> Code {
    let [low, high] = count.to_le_bytes();
    // mov bp, count; again: ds = es = B800h; si = 160; di = 0; cx = 1920; rep movsw
    let code = Code::new().bytes(&[0xBD, low, high]).bytes(&[0xB8, 0x00, 0xB8, 0x8E, 0xD8, 0x8E, 0xC0]);
    let code = code.bytes(&[0xBE, 0xA0, 0x00, 0x31, 0xFF, 0xB9, 0x80, 0x07, 0xF3, 0xA5]);
    // ax = bp; or ah, 1Fh; cx = 80; rep stosw; dec bp; jnz again; ds = 0
    code.bytes(&[0x89, 0xE8, 0x80, 0xCC, 0x1F, 0xB9, 0x50, 0x00, 0xF3, 0xAB, 0x4D, 0x75, 0xE2, 0x31, 0xC0, 0x8E, 0xD8])
}

/// `count` scrolls by eight rows through the latches (write mode 1), and new rows (write mode 0).
fn planar(count: u16) -> Code {
    let [low, high] = count.to_le_bytes();
    let body = Code::new()
        .gc(5, 1)
        // ds = es = A000h; si = 640; di = 0; cx = 37760; rep movsb
        .bytes(&[0xB8, 0x00, 0xA0, 0x8E, 0xD8, 0x8E, 0xC0, 0xBE, 0x80, 0x02, 0x31, 0xFF, 0xB9, 0x80, 0x93, 0xF3, 0xA4])
        .gc(5, 0)
        // ax = bp; cx = 640; rep stosb; dec bp
        .bytes(&[0x89, 0xE8, 0xB9, 0x80, 0x02, 0xF3, 0xAA, 0x4D]);
    let length = body.clone().finish().len() - 1;
    let back = (-(length as i64 + 2)) as u8;
    let code = Code::new().bytes(&[0xBD, low, high]).bytes(&body.finish()[..length]);
    code.bytes(&[0x75, back, 0x31, 0xC0, 0x8E, 0xD8])
}

/// `count` scrolls by 16 rows of a linear screen of 1024 x 768 x 32, in real mode with segments of 4 GiB.
fn linear(base: u32, count: u16) -> Code {
    let dword = |code: Code, opcode: u8, value: u32| code.bytes(&[0x66, opcode]).bytes(&value.to_le_bytes());
    // jmp over the GDT, whose null descriptor holds its own address; cli; lgdt [8002h]; PE on, ds = es = 8, PE off, ds = es = 0
    let code = Code::new()
        .bytes(&[0xEB, 0x10, 0x0F, 0x00, 0x02, 0x80, 0, 0, 0, 0, 0xFF, 0xFF, 0, 0, 0, 0x92, 0xCF, 0])
        .bytes(&[
            0xFA, 0x0F, 0x01, 0x16, 0x02, 0x80, 0x0F, 0x20, 0xC0, 0x0C, 0x01, 0x0F, 0x22, 0xC0, 0xBB, 0x08, 0x00, 0x8E,
            0xDB, 0x8E, 0xC3, 0x24, 0xFE, 0x0F, 0x22, 0xC0, 0x31, 0xDB, 0x8E, 0xDB, 0x8E, 0xC3,
        ]);
    let code = dword(code, 0xBD, count.into()); // ebp
    let body = dword(Code::new(), 0xBE, base.wrapping_add(16 * 4096)); // esi
    let body = dword(body, 0xBF, base); // edi
    let body = dword(body, 0xB9, (768 - 16) * 1024).bytes(&[0x67, 0xF3, 0x66, 0xA5]); // ecx; rep movsd
    let body = body.bytes(&[0x66, 0x69, 0xC5, 0x35, 0x11, 0x03, 0x00]); // imul eax, ebp, 31135h
    let body = dword(body, 0xB9, 16 * 1024).bytes(&[0x67, 0xF3, 0x66, 0xAB, 0x66, 0x4D]); // ecx; rep stosd; dec ebp
    let length = body.clone().finish().len() - 1;
    let back = (-(length as i64 + 2)) as u8;
    code.bytes(&body.finish()[..length]).bytes(&[0x75, back, 0xFB])
}

/// Writes each of `count` keys to a place of its own on the text screen, without a cursor.
fn echo(count: u16) -> Code {
    let [low, high] = count.to_le_bytes();
    // mov bp, count; again: mov ah, 0; int 16h; mov ah, 1Fh; stosw; dec bp; jnz again
    let code = Code::new().ax(0x100).cx(0x2000).int10().es(0xB800).di(0).bytes(&[0xBD, low, high]);
    code.bytes(&[0xB4, 0x00, 0xCD, 0x16, 0xB4, 0x1F, 0xAB, 0x4D, 0x75, 0xF6, 0x31, 0xC0, 0x8E, 0xC0])
}

/// The mode of 1024 x 768 x 32 that the video BIOS has, and where its memory is.
fn set_linear(agent: &mut Agent) -> Result<u32> {
    const MODE: u16 = 0x144;
    let info = agent.ask(Code::new().es(0).di(0x7000).cx(MODE).ax(0x4F01).int10().send(0, 0x7000, 48), 48)?;
    let word = |at: usize| u16::from_le_bytes([info[at], info[at + 1]]);
    ensure!(
        (word(18), word(20), info[25]) == (1024, 768, 32),
        "mode {MODE:#x} is {} x {} x {}",
        word(18),
        word(20),
        info[25]
    );
    agent.run(Code::new().ax(0x4F02).bx(MODE | 0x4000).int10())?;
    Ok(u32::from_le_bytes([info[40], info[41], info[42], info[43]]))
}

/// CPU time that a process has used.
fn cpu_time(process: u32) -> Result<Duration> {
    let text = std::fs::read_to_string(format!("/proc/{process}/stat")).context("this needs Linux's /proc")?;
    let after = text.rsplit_once(')').context("/proc/PID/stat has another form")?.1;
    let field = |n: usize| after.split_whitespace().nth(n).and_then(|f| f.parse::<u64>().ok()).unwrap_or(0);
    Ok(Duration::from_millis((field(11) + field(12)) * 10)) // in ticks of 10 ms
}

fn start(column: &Column, what: &str, args: &[String]) -> Result<(Agent, u16)> {
    let vmm: &Vmm = column.vmm().context("a guest needs a monitor")?;
    let port = free_port()?;
    let display = port.checked_sub(5900).context("no free port for VNC above 5900")?;
    let mut all = vec!["-vnc".to_owned(), format!("127.0.0.1:{display}")];
    all.extend(args.iter().cloned());
    Ok((Agent::start(&format!("bench-{}-{what}", column.short()), vmm, &all)?, port))
}

fn scroll(column: &Column) -> Result<Values> {
    let (mut agent, port) = start(column, "scroll", &[])?;
    let process = agent.guest.id();
    let mut values = Values::new();
    agent.run(Code::new().mode(3))?;
    values.extend(rate(&mut agent, process, port, ["scroll-text", "scroll-text-frames", "scroll-text-cpu"], &text)?);
    agent.run(Code::new().mode(0x12).seq(2, 0xF))?;
    values.extend(rate(
        &mut agent,
        process,
        port,
        ["scroll-planar", "scroll-planar-frames", "scroll-planar-cpu"],
        &planar,
    )?);
    let base = set_linear(&mut agent)?;
    let code = move |count| linear(base, count);
    values.extend(rate(
        &mut agent,
        process,
        port,
        ["scroll-linear", "scroll-linear-frames", "scroll-linear-cpu"],
        &code,
    )?);
    Ok(values)
}

/// Scrolls for a while: scrolls a second, pictures a second, CPU time of a scroll.
fn rate(
    agent: &mut Agent,
    process: u32,
    port: u16,
    names: [&'static str; 3],
    code: &dyn Fn(u16) -> Code,
) -> Result<Values> {
    let run = |agent: &mut Agent, count: u16| -> Result<Duration> {
        let started = Instant::now();
        agent.run(code(count))?;
        Ok(started.elapsed())
    };
    let (mut count, mut time) = (4u16, run(agent, 4)?);
    while time < Duration::from_millis(100) && count < 0x4000 {
        count *= 2;
        time = run(agent, count)?;
    }
    let one = (time.as_secs_f64() / f64::from(count)).max(1e-6);
    let count = (SPAN.as_secs_f64() / one).clamp(1.0, 65_535.0) as u16;
    let mut client = Vnc::connect(port, &[]).context(names[0])?;
    client.update().with_context(|| format!("{}, the first picture", names[0]))?;
    let (stop, frames) = (AtomicBool::new(false), AtomicU32::new(0));
    thread::scope(|scope| -> Result<Values> {
        let watcher = scope.spawn(|| -> Result<()> {
            while !stop.load(Ordering::Relaxed) {
                if client.update()? {
                    frames.fetch_add(1, Ordering::Relaxed);
                }
            }
            Ok(())
        });
        let (shown, used) = (frames.load(Ordering::Relaxed), cpu_time(process)?);
        let time = run(agent, count);
        let (shown, used) = (frames.load(Ordering::Relaxed) - shown, cpu_time(process)? - used);
        stop.store(true, Ordering::Relaxed);
        // One more picture, so that the client sees that it is over.
        agent.run(code(1))?;
        let time = time?.as_secs_f64();
        let watched = watcher.join().map_err(|_| anyhow::anyhow!("the client's thread panicked"))?;
        watched.with_context(|| format!("{}, {shown} pictures in {time:.1} s", names[0]))?;
        let count = f64::from(count);
        Ok(vec![
            (names[0], count / time),
            (names[1], f64::from(shown) / time),
            (names[2], used.as_secs_f64() / count * 1e6),
        ])
    })
}

// --- latency

/// Median and 90th percentile, in ms.
fn quantiles(mut times: Vec<f64>) -> [f64; 2] {
    times.sort_by(f64::total_cmp);
    [times.len() / 2, times.len() * 9 / 10].map(|at| times.get(at).copied().unwrap_or(f64::NAN))
}

/// Presses keys one after the other by `press`, which returns when the picture has changed.
fn keys(agent: &mut Agent, press: &mut dyn FnMut(u8) -> Result<()>) -> Result<[f64; 2]> {
    agent.run(Code::new().mode(3))?;
    thread::scope(|scope| {
        let guest = scope.spawn(|| agent.run(echo(KEYS as u16)));
        thread::sleep(Duration::from_millis(500)); // until the guest waits for keys
        let mut times = Vec::new();
        for n in 0..KEYS {
            let started = Instant::now();
            press(b'a' + (n % 26) as u8)?;
            times.push(started.elapsed().as_secs_f64() * 1e3);
            thread::sleep(Duration::from_millis(30 + (n as u64 * 7) % 23)); // at any phase of a refresh
        }
        guest.join().map_err(|_| anyhow::anyhow!("the guest's thread panicked"))??;
        Ok(quantiles(times))
    })
}

fn latency(column: &Column) -> Result<Values> {
    let web = match column {
        Column::Whpx(..) => vec!["-display".to_owned(), format!("web,addr=127.0.0.1:{}", free_port()?)],
        _ => vec![],
    };
    let (mut agent, port) = start(column, "latency", &web)?;
    let mut client = Vnc::connect(port, &[])?;
    let [median, p90] = keys(&mut agent, &mut |key| {
        client.drain()?;
        client.key(key.into())?;
        while !client.update()? {}
        Ok(())
    })?;
    let mut values = vec![("latency-vnc", median), ("latency-vnc-p90", p90)];
    drop(client);
    if !web.is_empty() {
        let said = std::fs::read_to_string(agent.guest.errors())?;
        let url = said
            .split_whitespace()
            .find(|w| w.starts_with("http://"))
            .context("no address on standard error")?
            .to_owned();
        let mut page = Page::connect(&url)?;
        let [median, p90] = keys(&mut agent, &mut |key| {
            page.drain()?;
            page.send(&format!("key Key{} 1", char::from(key).to_ascii_uppercase()))?;
            page.picture()?;
            page.send(&format!("key Key{} 0", char::from(key).to_ascii_uppercase()))
        })?;
        values.extend([("latency-web", median), ("latency-web-p90", p90)]);
    }
    Ok(values)
}

/// The web console's websocket (RFC 6455), as its page uses it.
struct Page {
    stream: BufReader<TcpStream>,
}

impl Page {
    fn connect(url: &str) -> Result<Self> {
        let rest = url.strip_prefix("http://").context("not an address of the web console")?;
        let (host, path) = rest.split_once('/').context("not an address of the web console")?;
        let stream = TcpStream::connect(host).context("no web console")?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        let mut this = Self { stream: BufReader::with_capacity(1 << 16, stream) };
        let folder = path.rsplit_once('/').map_or(path, |p| p.0);
        let request = format!(
            "GET /{folder}/ws HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\nOrigin: http://{host}\r\n\r\n"
        );
        this.stream.get_mut().write_all(request.as_bytes())?;
        let mut line = String::new();
        this.stream.read_line(&mut line)?;
        ensure!(line.contains("101"), "the web console says {line:?}");
        while line != "\r\n" {
            line.clear();
            this.stream.read_line(&mut line)?;
        }
        this.picture()?;
        Ok(this)
    }

    fn send(&mut self, text: &str) -> Result<()> {
        let mut frame = vec![0x81, 0x80 | text.len() as u8, 0, 0, 0, 0]; // masked with zeros
        frame.extend(text.as_bytes());
        self.stream.get_mut().write_all(&frame).context("the web console is gone")
    }

    /// Takes what is there already.
    fn drain(&mut self) -> Result<()> {
        loop {
            self.stream.get_ref().set_read_timeout(Some(Duration::from_millis(1)))?;
            let waiting = self.stream.fill_buf().is_ok_and(|b| !b.is_empty());
            self.stream.get_ref().set_read_timeout(Some(Duration::from_secs(20)))?;
            if !waiting {
                return Ok(());
            }
            self.message()?;
        }
    }

    /// Waits for a picture, and says that it was drawn.
    fn picture(&mut self) -> Result<()> {
        while !self.message()? {}
        Ok(())
    }

    /// Takes a message; whether it is a picture.
    fn message(&mut self) -> Result<bool> {
        {
            let mut head = [0; 2];
            self.stream.read_exact(&mut head).context("the web console says nothing")?;
            let mut long = [0; 8];
            let length = match head[1] & 0x7F {
                126 => {
                    self.stream.read_exact(&mut long[6..])?;
                    u64::from_be_bytes(long)
                }
                127 => {
                    self.stream.read_exact(&mut long)?;
                    u64::from_be_bytes(long)
                }
                short => short.into(),
            };
            let mut body = vec![0; usize::try_from(length)?];
            self.stream.read_exact(&mut body)?;
            if head[0] & 0xF == 2 && body.first() == Some(&1) {
                self.send("ack")?;
                return Ok(true);
            }
            Ok(false)
        }
    }
}
