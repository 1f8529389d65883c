//! The parts of a configuration.

use std::path::PathBuf;

use crate::UsageError;
use crate::keyval::KeyVal;

/// What to explain instead of running.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HelpTopic {
    /// `-h`.
    Options,
    /// `-version`.
    Version,
    /// `-M help`.
    Machines,
    /// `-M NAME,help`.
    MachineProps(String),
    /// `-cpu help`.
    Cpus,
    /// `-device help`.
    Devices,
    /// `-device NAME,help`.
    DeviceProps(String),
    /// `-accel help`.
    Accels,
    /// `-accel NAME,help`.
    AccelProps(String),
    /// `-chardev help`.
    Chardevs,
    /// `-d help`.
    LogItems,
    /// `-trace help`.
    TraceEvents,
    /// `-L help`.
    FirmwareDirs,
}

/// An accelerator to try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accel {
    /// `whpx`, `tcg`.
    pub name: String,
    /// Its properties as typed.
    pub props: Vec<(String, String)>,
}

impl Accel {
    /// The last value of property `key`.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.props.iter().rev().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }
}

/// `-cpu`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cpu {
    /// Model name; `None`: the accelerator's default.
    pub model: Option<String>,
    /// Features in order: name and value (`+f` is on, `-f` off).
    pub features: Vec<(String, String)>,
}

/// `-smp`, all counts worked out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Topology {
    /// CPUs present at the start.
    pub cpus: u32,
    /// CPUs that the topology has room for.
    pub maxcpus: u32,
    /// Sockets.
    pub sockets: u32,
    /// Cores a socket.
    pub cores: u32,
    /// Threads a core.
    pub threads: u32,
}

impl Default for Topology {
    fn default() -> Self {
        Self { cpus: 1, maxcpus: 1, sockets: 1, cores: 1, threads: 1 }
    }
}

/// What a drive is connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DriveInterface {
    /// An IDE channel.
    Ide,
    /// A flash chip of the board: firmware (0) or its variables (1).
    Pflash,
    /// Nothing yet: a `-device` names it.
    None,
}

/// Disk or CD.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Media {
    /// A hard disk.
    Disk,
    /// A CD or DVD.
    Cdrom,
}

/// A drive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drive {
    /// The option as typed, for errors.
    pub typed: String,
    /// Name, given or made up ("ide0-hd0").
    pub id: String,
    /// What it is connected to.
    pub interface: DriveInterface,
    /// Number on its interface: IDE channel * units a channel + unit.
    pub index: u32,
    /// Disk or CD.
    pub media: Media,
    /// The image; `None` for an empty CD drive.
    pub file: Option<PathBuf>,
    /// Format; `None`: look at the file.
    pub format: Option<String>,
    /// Guest writes are refused.
    pub readonly: bool,
    /// Writes go to a temporary file; `None`: as `-snapshot` says.
    pub snapshot: Option<bool>,
    /// `cache=`.
    pub cache: Option<&'static str>,
    /// `discard=unmap`.
    pub discard: bool,
    /// `serial=`.
    pub serial: Option<String>,
    /// The block node that it is made of, instead of a file.
    pub node: Option<String>,
    /// `id=` of the device that uses it.
    pub device: Option<String>,
}

/// `-boot`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Boot {
    /// Letters of boot drives; `None`: "cad".
    pub order: Option<String>,
    /// The same for the first boot only.
    pub once: Option<String>,
    /// Show the firmware's boot menu.
    pub menu: bool,
    /// Try nothing that is not named.
    pub strict: bool,
    /// How long the menu waits, in milliseconds.
    pub splash_time: Option<u16>,
    /// When to retry after no device booted, in milliseconds.
    pub reboot_timeout: Option<u16>,
}

/// Video card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VgaKind {
    /// Standard VGA with Bochs extensions.
    Std,
    /// None.
    None,
}

impl VgaKind {
    pub(super) fn parse(v: &str) -> Result<Self, UsageError> {
        match v {
            "std" => Ok(Self::Std),
            "none" => Ok(Self::None),
            _ => Err(UsageError(format!("-vga {v}: available: std, none"))),
        }
    }
}

/// Where a serial port, monitor or debug console leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SerialTarget {
    /// The port is not there.
    None,
    /// Terminal shared with the monitor, Ctrl-A switches.
    MonStdio,
    /// A back end of its own.
    Spec(CharSpec),
    /// `chardev:ID`.
    Chardev(String),
}

/// What a monitor speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MonitorMode {
    /// The human monitor.
    Readline,
    /// QMP.
    Control {
        /// Answers with line breaks and indentation.
        pretty: bool,
    },
}

/// A `-monitor`, `-qmp` or `-mon`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MonitorSpec {
    /// Where it leads.
    pub target: SerialTarget,
    /// What it speaks.
    pub mode: MonitorMode,
}

/// A character back end, as `-chardev` words it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CharSpec {
    /// The option as typed, for errors.
    pub typed: String,
    /// `id=`; empty for one made by `-serial` and the like.
    pub id: String,
    /// stdio, file, null, pty, pipe, ringbuf, socket, vc.
    pub backend: String,
    /// Path of file, pipe, or unix socket.
    pub path: Option<String>,
    /// Host of a TCP socket.
    pub host: Option<String>,
    /// Port of a TCP socket.
    pub port: Option<String>,
    /// Listen instead of connecting.
    pub server: bool,
    /// With `server`: wait for the first client before the machine starts.
    pub wait: bool,
    /// TCP_NODELAY.
    pub nodelay: bool,
    /// Append to a file instead of truncating it.
    pub append: bool,
    /// Ctrl-C goes to the program (true) or to the guest.
    pub signal: bool,
    /// Shared by several users, Ctrl-A switches.
    pub mux: bool,
    /// Capacity of a ring buffer.
    pub size: Option<u64>,
}

/// Back ends `-chardev` takes.
pub(crate) const CHAR_BACKENDS: &[&str] = &["stdio", "file", "null", "pty", "pipe", "ringbuf", "socket", "vc"];

impl CharSpec {
    /// `-chardev backend,id=...`.
    pub(super) fn parse_chardev(v: &str) -> Result<Self, UsageError> {
        let mut k = KeyVal::parse("chardev", v, Some("backend"))?;
        let mut spec = Self { typed: k.typed.clone(), signal: true, wait: true, ..Self::default() };
        let backend = k.take("backend").unwrap_or_default();
        if !CHAR_BACKENDS.contains(&backend.as_str()) {
            let list = CHAR_BACKENDS.join(", ");
            return Err(k.error(&format!("unknown back end '{backend}'; available: {list}")));
        }
        spec.id = k.take("id").filter(|i| !i.is_empty()).ok_or_else(|| k.error("id= is missing"))?;
        spec.mux = k.take_bool("mux")?.unwrap_or(false);
        match backend.as_str() {
            "file" => spec.append = k.take_bool("append")?.unwrap_or(false),
            "stdio" => spec.signal = k.take_bool("signal")?.unwrap_or(true),
            "ringbuf" => spec.size = k.take_number("size")?,
            "socket" => spec.socket(&mut k)?,
            _ => {}
        }
        if matches!(backend.as_str(), "file" | "pipe") {
            spec.path = Some(k.take("path").ok_or_else(|| k.error("path= is missing"))?);
        }
        spec.backend = backend;
        k.finish()?;
        Ok(spec)
    }

    fn socket(&mut self, k: &mut KeyVal) -> Result<(), UsageError> {
        self.path = k.take("path");
        self.host = k.take("host");
        self.port = k.take("port");
        self.socket_flags(k)?;
        k.take_bool("telnet")?.filter(|t| *t).map_or(Ok(()), |_| Err(k.error("telnet is not supported yet")))?;
        match (&self.path, &self.port) {
            (Some(_), None) | (None, Some(_)) => Ok(()),
            _ => Err(k.error("give either path= (unix socket) or host= and port= (TCP)")),
        }
    }

    fn socket_flags(&mut self, k: &mut KeyVal) -> Result<(), UsageError> {
        self.server = k.take_bool("server")?.unwrap_or(false);
        let nowait = k.take_bool("nowait")?.unwrap_or(false);
        self.wait = k.take_bool("wait")?.unwrap_or(!nowait) && self.server;
        self.nodelay = !k.take_bool("delay")?.unwrap_or(true) || k.take_bool("nodelay")?.unwrap_or(false);
        Ok(())
    }
}

impl SerialTarget {
    /// A back end without properties.
    pub(super) fn spec(backend: &str) -> Self {
        Self::Spec(CharSpec { backend: backend.into(), signal: false, ..CharSpec::default() })
    }

    /// `-serial V`, `-monitor V`, `-debugcon V`.
    pub(super) fn parse(option: &str, v: &str) -> Result<Self, UsageError> {
        let typed = format!("-{option} {v}");
        let mut spec = CharSpec { typed: typed.clone(), ..CharSpec::default() };
        let (kind, rest) = v.split_once(':').unwrap_or((v, ""));
        match (kind, rest) {
            ("none", "") => return Ok(Self::None),
            ("mon", "stdio") if option == "serial" => return Ok(Self::MonStdio),
            ("stdio", "") => return Ok(Self::spec("stdio")),
            ("chardev", id) if !id.is_empty() => return Ok(Self::Chardev(id.into())),
            ("null" | "pty", "") => spec.backend = kind.into(),
            // Its size in characters, which QEMU allows after a colon, is the page's to decide.
            ("vc", _) => spec.backend = kind.into(),
            ("file" | "pipe", path) if !path.is_empty() => {
                spec.backend = kind.into();
                spec.path = Some(path.into());
            }
            ("tcp" | "unix", rest) => {
                let mut k = KeyVal::parse(option, rest, Some("address"))?;
                k.typed = typed;
                let address = k.take("address").ok_or_else(|| k.error("the address is missing"))?;
                spec.backend = "socket".into();
                if kind == "unix" {
                    spec.path = Some(address);
                } else {
                    let (host, port) = address.rsplit_once(':').ok_or_else(|| k.error("expected tcp:host:port"))?;
                    spec.host = Some(host.into());
                    spec.port = Some(port.into());
                }
                spec.socket_flags(&mut k)?;
                k.finish()?;
            }
            _ => {
                let list =
                    "stdio, mon:stdio, vc, file:PATH, null, none, pty, pipe:PATH, tcp:HOST:PORT, unix:PATH, chardev:ID";
                return Err(UsageError(format!("{typed}: available: {list}")));
            }
        }
        Ok(Self::Spec(spec))
    }
}

/// A `-device`. The machine takes the properties it knows; what is left over is an error there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceSpec {
    /// The option as typed, for errors.
    pub typed: String,
    /// Driver name.
    pub driver: String,
    /// `id=`.
    pub id: Option<String>,
    /// Properties in order.
    pub props: Vec<(String, String)>,
}

/// A `-global`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Global {
    /// Driver name.
    pub driver: String,
    /// Property.
    pub property: String,
    /// Value.
    pub value: String,
}

/// What the real-time clock shows at the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RtcBase {
    /// The host's time, UTC.
    #[default]
    Utc,
    /// The host's local time.
    LocalTime,
    /// A fixed time, in seconds since 1970.
    Date(i64),
}

/// `-rtc`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rtc {
    /// What it shows at the start.
    pub base: RtcBase,
    /// Stands while the machine stands.
    pub vm_clock: bool,
}

/// `-d`, `-D`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DebugLog {
    /// Items.
    pub items: Vec<&'static str>,
    /// Patterns of trace events given as `trace:PATTERN`.
    pub events: Vec<String>,
    /// The file; standard error when absent.
    pub file: Option<PathBuf>,
}

impl DebugLog {
    /// Items that exist, with their help.
    pub const ITEMS: &'static [(&'static str, &'static str)] = &[
        ("in_asm", "guest instructions of each block when it is decoded"),
        ("int", "interrupts and exceptions as they are delivered"),
        ("cpu_reset", "CPU state before resets"),
        ("guest_errors", "what a guest does wrong to a device"),
        ("unimp", "guest accesses to what is not implemented"),
        ("invalid_mem", "accesses to addresses where nothing is"),
        ("exec", "blocks as they are entered (slow)"),
        ("trace:PATTERN", "trace events that fit (same as -trace PATTERN)"),
    ];

    /// A comma-separated list, for `-d` and the monitor's `log`; the file stays open.
    ///
    /// # Errors
    /// For an unknown item.
    pub fn parse_items(v: &str) -> Result<Self, UsageError> {
        let names = || Self::ITEMS.iter().map(|i| i.0);
        let mut log = Self::default();
        for item in v.split(',') {
            if let Some(pattern) = item.strip_prefix("trace:") {
                log.events.push(pattern.into());
                continue;
            }
            log.items.push(names().find(|n| *n == item).ok_or_else(|| {
                let near = crate::nearest(item, names()).map(|n| format!("; did you mean {n}?"));
                UsageError(format!("-d {v}: unknown item '{item}'{}", near.unwrap_or_default()))
            })?);
        }
        Ok(log)
    }
}
