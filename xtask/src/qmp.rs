//! A client of QMP as far as tests need one: a command after the other, and events waited for (QEMU QMP specification).

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

/// For an answer.
const LIMIT: Duration = Duration::from_secs(60);

/// A port on this machine that nobody listens on.
pub(crate) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0").context("cannot listen on 127.0.0.1")?.local_addr()?.port())
}

/// The options of a machine for a client at this port.
pub(crate) fn options(port: u16) -> [String; 2] {
    ["-qmp".to_owned(), format!("tcp:127.0.0.1:{port},server=on,wait=off")]
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Qmp {
    stream: BufReader<TcpStream>,
    events: VecDeque<Value>,
}

impl Qmp {
    /// Connects and negotiates.
    pub(crate) fn connect(port: u16) -> Result<Self> {
        let started = Instant::now();
        let stream = loop {
            match TcpStream::connect(("127.0.0.1", port)) {
                Ok(stream) => break stream,
                Err(error) if started.elapsed() > LIMIT => return Err(error).context("nobody speaks QMP"),
                Err(_) => thread::sleep(Duration::from_millis(50)),
            }
        };
        stream.set_nodelay(true)?;
        let mut this = Self { stream: BufReader::new(stream), events: VecDeque::new() };
        let greeting = this.read(LIMIT)?;
        if greeting["QMP"].is_null() {
            bail!("a wrong greeting: {greeting}");
        }
        this.ask("qmp_capabilities", json!({}))?;
        Ok(this)
    }

    fn read(&mut self, limit: Duration) -> Result<Value> {
        self.stream.get_ref().set_read_timeout(Some(limit.max(Duration::from_millis(1))))?;
        let mut line = String::new();
        self.stream.read_line(&mut line).context("QMP does not answer")?;
        serde_json::from_str(&line).with_context(|| format!("QMP says {line:?}"))
    }

    /// Runs a command; what it returns.
    pub(crate) fn ask(&mut self, command: &str, arguments: Value) -> Result<Value> {
        let request = json!({"execute": command, "arguments": arguments});
        self.stream.get_mut().write_all(format!("{request}\n").as_bytes()).context("QMP's connection is gone")?;
        loop {
            let mut reply = self.read(LIMIT)?;
            if !reply["event"].is_null() {
                self.events.push_back(reply);
                continue;
            }
            if !reply["error"].is_null() {
                bail!("{command}: {}", reply["error"]["desc"].as_str().unwrap_or("an error without a text"));
            }
            return Ok(reply["return"].take());
        }
    }

    /// Waits for the next event of this name; others are forgotten.
    pub(crate) fn event(&mut self, name: &str, seconds: u64) -> Result<Value> {
        let limit = Instant::now() + Duration::from_secs(seconds);
        loop {
            let event = match self.events.pop_front() {
                Some(event) => event,
                None => {
                    let left = limit.saturating_duration_since(Instant::now());
                    self.read(left).with_context(|| format!("no event {name} within {seconds} s"))?
                }
            };
            if event["event"] == name {
                return Ok(event);
            }
        }
    }
}
