//! A QMP connection: greeting, negotiation, commands one after another, and events in between.
//!
//! The back end's threads and whoever causes an event only store it here and wake the session's own thread. One back
//! end has one client at a time; the next one is greeted anew.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use chardev::{CharError, CharEvent, CharFrontend, CharPort, Chardev};
use machine::{MachineEvent, RunState, Subscription};
use serde_json::{Map, Value, json};
use vm_core::lock;

use super::error::{Outcome, QmpError};
use super::stream::{Item, JsonStream};
use super::{query, table, text};
use crate::context::Context;

/// Events that wait for a client that does not read, at most; the oldest are dropped.
const MOST_EVENTS: usize = 1024;
/// How long the end of the program waits for the last words to a client.
const LAST_WORDS: Duration = Duration::from_secs(1);

#[derive(Default)]
struct News {
    readable: bool,
    writable: bool,
    opened: bool,
    closed: bool,
    end: bool,
    /// The thread is gone.
    ended: bool,
    events: VecDeque<Value>,
}

#[derive(Default)]
struct Frontend {
    news: Mutex<News>,
    changed: Condvar,
}

impl Frontend {
    fn set(&self, f: impl FnOnce(&mut News)) {
        f(&mut lock(&self.news));
        self.changed.notify_all();
    }

    fn wait<T>(&self, mut wanted: impl FnMut(&mut News) -> Option<T>) -> T {
        let mut news = lock(&self.news);
        loop {
            if let Some(found) = wanted(&mut news) {
                return found;
            }
            news = self.changed.wait(news).unwrap_or_else(|e| e.into_inner());
        }
    }

    fn event(&self, event: Value) {
        self.set(|n| {
            if n.events.len() >= MOST_EVENTS {
                n.events.pop_front();
            }
            n.events.push_back(event);
        });
    }

    fn take_events(&self) -> VecDeque<Value> {
        std::mem::take(&mut lock(&self.news).events)
    }
}

impl CharFrontend for Frontend {
    fn notify(&self, event: CharEvent) {
        self.set(|n| match event {
            CharEvent::Readable => n.readable = true,
            CharEvent::Writable => n.writable = true,
            CharEvent::Opened => n.opened = true,
            CharEvent::Closed => n.closed = true,
            CharEvent::Break => {}
        });
    }
}

/// A running session; it says its last words and ends when dropped.
pub(crate) struct QmpSession {
    frontend: Arc<Frontend>,
    chardev: Chardev,
    _events: Subscription,
}

impl Drop for QmpSession {
    fn drop(&mut self) {
        self.frontend.set(|n| n.end = true);
        let limit = Instant::now() + LAST_WORDS;
        let mut news = lock(&self.frontend.news);
        while !news.ended {
            let left = limit.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            news = self.frontend.changed.wait_timeout(news, left).unwrap_or_else(|e| e.into_inner()).0;
        }
        drop(news);
        self.chardev.flush(limit.saturating_duration_since(Instant::now()));
    }
}

/// Starts a session on `chardev`.
///
/// # Errors
/// When the back end has a user already and is not shared, or the host has no thread.
pub(crate) fn start(context: Context, chardev: &Chardev, pretty: bool) -> Result<QmpSession, CharError> {
    let frontend = Arc::new(Frontend::default());
    let port = chardev.attach(frontend.clone())?;
    let for_events = frontend.clone();
    let subscription = context.machine.subscribe(move |event, at| {
        if let Some(event) = event_json(event, at) {
            for_events.event(event);
        }
    });
    let connection = Connection { context, negotiated: false };
    let own = frontend.clone();
    let run = move || {
        let stream = JsonStream::new();
        Session { frontend: own.clone(), port, pretty, greeted: None, stream, connection }.run();
        own.set(|n| n.ended = true);
    };
    let thread = std::thread::Builder::new().name("qmp".into()).spawn(run);
    thread.map_err(|source| CharError::Io {
        label: chardev.label().into(),
        operation: "start",
        target: "the QMP thread".into(),
        source,
    })?;
    frontend.notify(CharEvent::Readable); // input may be waiting from before
    Ok(QmpSession { frontend, chardev: chardev.clone(), _events: subscription })
}

/// An event as QMP words it; `None` for what it has no event for.
fn event_json(event: &MachineEvent, at: std::time::SystemTime) -> Option<Value> {
    use RunState::{Running, Suspended};
    let (name, data) = match event {
        // These have their own.
        MachineEvent::State { from: Suspended, .. } | MachineEvent::State { to: Suspended, .. } => return None,
        MachineEvent::State { from: Running, .. } => ("STOP", None),
        MachineEvent::State { to: Running, .. } => ("RESUME", None),
        MachineEvent::State { .. } => return None,
        MachineEvent::Reset(cause) => ("RESET", Some(json!({"guest": cause.by_guest(), "reason": cause.name()}))),
        MachineEvent::Shutdown(cause) => ("SHUTDOWN", Some(json!({"guest": cause.by_guest(), "reason": cause.name()}))),
        MachineEvent::Suspend => ("SUSPEND", None),
        MachineEvent::SuspendToDisk => ("SUSPEND_DISK", None),
        MachineEvent::Wakeup => ("WAKEUP", None),
        MachineEvent::PowerButton => ("POWERDOWN", None),
        MachineEvent::DeviceDeleted { id: Some(id) } => {
            ("DEVICE_DELETED", Some(json!({"device": id, "path": format!("/machine/peripheral/{id}")})))
        }
        MachineEvent::DeviceDeleted { id: None } => {
            ("DEVICE_DELETED", Some(json!({"path": "/machine/peripheral-anon"})))
        }
        MachineEvent::TrayMoved { drive, device, open } => {
            ("DEVICE_TRAY_MOVED", Some(json!({"device": drive, "id": device, "tray-open": open})))
        }
    };
    let since = at.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let time = json!({"seconds": since.as_secs(), "microseconds": since.subsec_micros()});
    let mut all = json!({"event": name, "timestamp": time});
    if let Some(data) = data {
        all["data"] = data;
    }
    Some(all)
}

/// What a connection remembers, and how it answers: no I/O here.
struct Connection {
    context: Context,
    negotiated: bool,
}

impl Connection {
    fn answer(&mut self, item: Item) -> Value {
        let mut id = None;
        let outcome = match item {
            Err(e) => Err(QmpError::new(e)),
            Ok(Value::Object(mut request)) => {
                id = request.remove("id");
                self.request(request)
            }
            Ok(_) => Err(QmpError::new("QMP input must be a JSON object")),
        };
        let mut reply = match outcome {
            Ok(value) => json!({"return": value}),
            Err(e) => json!({"error": e.to_json()}),
        };
        if let Some(id) = id {
            reply["id"] = id;
        }
        reply
    }

    fn request(&mut self, mut request: Map<String, Value>) -> Outcome {
        let bad = |text: String| Err(QmpError::new(text));
        let Some(name) = request.remove("execute") else {
            return match request.keys().find(|k| *k != "arguments") {
                Some(key) => bad(format!("QMP input member '{key}' is unexpected")),
                None => bad("QMP input lacks member 'execute'".into()),
            };
        };
        let Value::String(name) = name else {
            return bad("QMP input member 'execute' must be a string".into());
        };
        let arguments = match request.remove("arguments") {
            None => Map::new(),
            Some(Value::Object(map)) => map,
            Some(_) => return bad("QMP input member 'arguments' must be an object".into()),
        };
        if let Some(key) = request.keys().next() {
            return bad(format!("QMP input member '{key}' is unexpected"));
        }
        self.execute(&name, arguments)
    }

    fn execute(&mut self, name: &str, arguments: Map<String, Value>) -> Outcome {
        table::find(name)?;
        if (name == table::NEGOTIATE) == self.negotiated {
            return Err(QmpError::command_not_found(if self.negotiated {
                "Capabilities negotiation is already complete, command ignored"
            } else {
                "Expecting capabilities negotiation with 'qmp_capabilities'"
            }));
        }
        let value = table::run(&mut self.context, name, arguments)?;
        self.negotiated = true;
        Ok(value)
    }
}

/// Whether the session goes on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    Go,
    End,
}

struct Session {
    frontend: Arc<Frontend>,
    port: CharPort,
    pretty: bool,
    /// The connection (`CharPort::connection`) that was greeted.
    greeted: Option<u64>,
    stream: JsonStream,
    connection: Connection,
}

impl Session {
    fn run(mut self) {
        loop {
            let (end, opened, closed) = self.frontend.wait(|n| {
                let some = n.readable || n.opened || n.closed || n.end || !n.events.is_empty();
                some.then(|| {
                    n.readable = false;
                    (n.end, std::mem::take(&mut n.opened), std::mem::take(&mut n.closed))
                })
            });
            if closed && !opened && self.read() == Flow::End {
                return; // what a client sent before it left was done
            }
            // By its number, since a connection can be there before it is told of.
            if self.greeted != self.port.connection() {
                (self.greeted, self.connection.negotiated, self.stream) = (None, false, JsonStream::new());
            }
            if self.greet() == Flow::End || self.read() == Flow::End || self.tell_events() == Flow::End || end {
                return;
            }
        }
    }

    fn greet(&mut self) -> Flow {
        let connection = self.port.connection();
        if self.greeted.is_some() || connection.is_none() {
            return Flow::Go;
        }
        self.greeted = connection;
        self.write(&json!({"QMP": {"version": query::version_json(), "capabilities": []}}))
    }

    fn read(&mut self) -> Flow {
        let mut buffer = [0; 4096];
        loop {
            let n = self.port.read(&mut buffer);
            if n == 0 {
                return Flow::Go;
            }
            for byte in buffer.iter().take(n) {
                let Some(item) = self.stream.feed(*byte) else { continue };
                let reply = self.connection.answer(item);
                // What the command caused comes before its reply.
                if self.tell_events() == Flow::End || self.write(&reply) == Flow::End {
                    return Flow::End;
                }
            }
        }
    }

    fn tell_events(&self) -> Flow {
        let events = self.frontend.take_events();
        if !self.connection.negotiated {
            return Flow::Go;
        }
        for event in events {
            if self.write(&event) == Flow::End {
                return Flow::End;
            }
        }
        Flow::Go
    }

    /// Writes all of it, however long the port takes; the program's end gives a client that does not read up.
    fn write(&self, value: &Value) -> Flow {
        let bytes = text::line(value, self.pretty);
        let mut rest = bytes.as_slice();
        loop {
            lock(&self.frontend.news).writable = false;
            let n = self.port.write(rest);
            rest = rest.get(n..).unwrap_or_default();
            if rest.is_empty() {
                return Flow::Go;
            }
            if self.frontend.wait(|n| (n.writable || n.end).then_some(n.end && !n.writable)) {
                return Flow::End;
            }
        }
    }
}
