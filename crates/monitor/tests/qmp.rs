//! QMP on a whole machine, through an in-memory connection.

mod common;

use std::io::{BufRead, BufReader, Write};
use std::time::{Duration, Instant};

use chardev::{CharPeer, Chardev};
use cli::MonitorMode;
use common::Bench;
use machine::ExitReason;
use monitor::Monitor;
use serde_json::{Value, json};

struct Client {
    peer: CharPeer,
    text: Vec<u8>,
    events: Vec<Value>,
    _monitor: Monitor,
}

impl Client {
    fn connect(b: &Bench) -> Self {
        let (dev, peer) = Chardev::in_memory("qmp", 4096, false);
        let mode = MonitorMode::Control { pretty: false };
        let monitor = Monitor::attach(b.handle.clone(), &dev, mode, None).unwrap();
        Self { peer, text: Vec::new(), events: Vec::new(), _monitor: monitor }
    }

    /// Greeted and negotiated.
    fn new(b: &Bench) -> Self {
        let mut c = Self::connect(b);
        assert_eq!(c.next()["QMP"]["version"]["qemu"]["major"], 10);
        assert_eq!(c.call("qmp_capabilities", json!({})), json!({}));
        c
    }

    /// The next line.
    fn next(&mut self) -> Value {
        let limit = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(at) = self.text.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = self.text.drain(..=at).collect();
                return serde_json::from_slice(&line).unwrap();
            }
            self.text.extend(self.peer.take());
            assert!(Instant::now() < limit, "no answer; so far {:?}", String::from_utf8_lossy(&self.text));
            std::thread::yield_now();
        }
    }

    /// The next reply; events before it are kept.
    fn reply(&mut self) -> Value {
        loop {
            let v = self.next();
            if v.get("event").is_none() {
                return v;
            }
            self.events.push(v);
        }
    }

    fn send(&self, v: &Value) {
        self.peer.send(v.to_string().as_bytes());
    }

    fn call(&mut self, name: &str, args: Value) -> Value {
        self.send(&json!({"execute": name, "arguments": args}));
        let reply = self.reply();
        reply.get("return").cloned().unwrap_or_else(|| panic!("{name} {args}: {reply}"))
    }

    fn fails(&mut self, name: &str, args: Value) -> (String, String) {
        self.send(&json!({"execute": name, "arguments": args}));
        let reply = self.reply();
        let text = |k: &str| reply["error"][k].as_str().unwrap_or_else(|| panic!("{name} {args}: {reply}")).to_string();
        (text("class"), text("desc"))
    }

    /// Waits for the event.
    fn event(&mut self, name: &str) -> Value {
        loop {
            if let Some(at) = self.events.iter().position(|e| e["event"] == name) {
                return self.events.remove(at);
            }
            let v = self.next();
            assert!(v.get("event").is_some(), "{v}");
            self.events.push(v);
        }
    }
}

#[test]
fn negotiation_comes_first_and_ids_come_back() {
    let b = Bench::new(&[]);
    let mut c = Client::connect(&b);
    assert_eq!(c.next()["QMP"]["capabilities"], json!([]));
    let (class, desc) = c.fails("query-status", json!({}));
    assert_eq!(class, "CommandNotFound");
    assert!(desc.contains("qmp_capabilities"), "{desc}");
    assert!(c.fails("qmp_capabilities", json!({"enable": ["oob"]})).1.contains("oob"));
    c.send(&json!({"execute": "qmp_capabilities", "id": {"a": [1]}}));
    assert_eq!(c.reply(), json!({"return": {}, "id": {"a": [1]}}));
    assert_eq!(c.fails("qmp_capabilities", json!({})).0, "CommandNotFound");
    c.peer.send(b"{'execute': 'query-name', 'id': 7} {\"execute\":\n\"query-uuid\",\"id\":\"x\"}");
    assert_eq!(c.reply(), json!({"return": {}, "id": 7}));
    assert_eq!(c.reply()["id"], "x");
    // The next client is greeted anew and has to negotiate.
    c.peer.set_open(false);
    c.peer.set_open(true);
    c.text.clear();
    assert!(c.next().get("QMP").is_some());
    assert_eq!(c.fails("query-status", json!({})).0, "CommandNotFound");
}

#[test]
fn wrong_input_is_an_error_reply_and_everything_goes_on() {
    let b = Bench::new(&[]);
    let mut c = Client::new(&b);
    let cases: &[(&str, &str)] = &[
        ("[1]", "must be a JSON object"),
        ("7\n", "must be a JSON object"),
        ("}\n", "JSON parse error"),
        ("{\"execute\" \"stop\"}", "JSON parse error"),
        ("{\"execute\": \"stop}\n", "JSON parse error"),
        ("{\"execute\": 7}", "'execute' must be a string"),
        ("{}", "lacks member 'execute'"),
        ("{\"exec-oob\": \"stop\"}", "'exec-oob' is unexpected"),
        ("{\"execute\": \"stop\", \"foo\": 1}", "'foo' is unexpected"),
        ("{\"execute\": \"stop\", \"arguments\": []}", "'arguments' must be an object"),
        ("{\"execute\": \"stop\", \"arguments\": {\"now\": 1}}", "Parameter 'now' is unexpected"),
        ("{\"execute\": \"eject\", \"arguments\": {\"id\": 1}}", "expected: string"),
        ("{\"execute\": \"pmemsave\", \"arguments\": {\"val\": 0, \"size\": 1}}", "Parameter 'filename' is missing"),
    ];
    for (text, part) in cases {
        c.peer.send(text.as_bytes());
        let reply = c.reply();
        let desc = reply["error"]["desc"].as_str().unwrap_or_default();
        assert!(reply["error"]["class"] == "GenericError" && desc.contains(part), "{text}: {reply}");
    }
    assert_eq!(c.fails("no-such-thing", json!({})).0, "CommandNotFound");
    assert_eq!(c.fails("eject", json!({"device": "nodrive"})).0, "DeviceNotFound");
    assert_eq!(
        c.call("query-status", json!({})),
        json!({"running": false, "singlestep": false, "status": "prelaunch"})
    );
}

/// Over TCP, as the command line has it.
#[test]
fn a_huge_command_is_an_error_and_a_client_that_leaves_is_no_harm() {
    let b = Bench::new(&["-qmp", "tcp:127.0.0.1:0,server=on,wait=off"]);
    let backend = b.handle.monitor_backends()[0].clone();
    let _monitor = Monitor::attach(b.handle.clone(), &backend.chardev, backend.mode, None).unwrap();
    let address = backend.chardev.description().trim_start_matches("tcp:").trim_end_matches(",server=on").to_string();
    for _ in 0..2 {
        let mut stream = std::net::TcpStream::connect(&address).unwrap();
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
        let mut next = || serde_json::from_str::<Value>(&lines.next().unwrap().unwrap()).unwrap();
        assert!(next().get("QMP").is_some());
        stream.write_all(b"{\"execute\": \"qmp_capabilities\"}").unwrap();
        assert_eq!(next(), json!({"return": {}}));
        let huge = format!("{{\"execute\": \"{}\"}}{{\"execute\": \"query-name\"}}{{\"exec", "x".repeat(5 << 20));
        stream.write_all(huge.as_bytes()).unwrap();
        assert!(next()["error"]["desc"].as_str().unwrap().contains("too long"));
        assert_eq!(next(), json!({"return": {}}));
    }
}

/// Random text of JSON's characters, and of anything: the connection understands again after 0xFF.
#[test]
fn random_bytes_do_not_end_the_connection() {
    let b = Bench::new(&[]);
    let mut c = Client::new(&b);
    let mut seed = 0x2545_F491_4F6C_DD1Du64;
    let mut random = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    const PIECES: [&str; 12] =
        ["{", "}", "[", "]", ":", ",", "\"", "'", "\\", "\"execute\"", "\"query-block\"", "\"arguments\""];
    for round in 0..200u32 {
        let text: Vec<u8> = (0..random() % 60)
            .flat_map(|_| match round % 2 {
                0 => PIECES[(random() % 12) as usize].as_bytes().to_vec(),
                _ => vec![random() as u8],
            })
            .collect();
        c.peer.send(&text);
        c.peer.send(&[0xFF]);
        c.send(&json!({"execute": "query-uuid", "id": round}));
        while c.reply()["id"] != round {}
    }
    assert_eq!(c.call("query-status", json!({}))["status"], "prelaunch");
}

#[test]
fn a_guest_is_driven_and_every_connection_hears_of_it() {
    let mut b = Bench::new(&["-smp", "2"]);
    let (mut c, mut other) = (Client::new(&b), Client::new(&b));
    let run = b.run();
    assert_eq!(c.call("cont", json!({})), json!({}));
    assert!(c.events.iter().any(|e| e["event"] == "RESUME"), "before the reply: {:?}", c.events);
    assert_eq!(c.call("query-status", json!({})), json!({"running": true, "singlestep": false, "status": "running"}));
    b.wait_for("xp /xh 0x500", "0x1234");
    let file = b.dir.path().join("memory");
    c.call("pmemsave", json!({"val": 0x500, "size": 2, "filename": file}));
    assert_eq!(std::fs::read(&file).unwrap(), [0x34, 0x12]);
    c.call("memsave", json!({"val": 0x500, "size": 2, "filename": file, "cpu-index": 1}));
    assert!(c.fails("pmemsave", json!({"val": 1u64 << 40, "size": 2, "filename": file})).1.contains("Invalid addr"));
    assert!(c.fails("memsave", json!({"val": 0, "size": 2, "filename": file, "cpu-index": 9})).1.contains("cpu-index"));
    assert_eq!(c.call("stop", json!({})), json!({}));
    let stop = c.event("STOP");
    assert!(stop["timestamp"]["seconds"].as_u64().unwrap() > 1_600_000_000, "{stop}");
    assert_eq!(other.event("STOP"), stop);
    c.call("cont", json!({}));
    c.call("system_reset", json!({}));
    assert_eq!(other.event("RESET")["data"], json!({"guest": false, "reason": "host-qmp-system-reset"}));
    c.call("system_powerdown", json!({}));
    other.event("POWERDOWN");
    let text = c.call("human-monitor-command", json!({"command-line": "info status"}));
    assert_eq!(text, "VM status: running\r\n");
    let cpu = json!({"command-line": "info cpus", "cpu-index": 1});
    assert!(c.call("human-monitor-command", cpu).as_str().unwrap().contains("* CPU #1"));
    c.call("inject-nmi", json!({}));
    c.call("quit", json!({}));
    assert_eq!(c.event("SHUTDOWN")["data"], json!({"guest": false, "reason": "host-qmp-quit"}));
    assert_eq!(run.join().unwrap(), ExitReason::Done);
}

#[test]
fn queries_answer() {
    let b = Bench::new(&["-name", "box", "-smp", "cores=2,threads=2", "-chardev", "ringbuf,id=r,size=1024"]);
    let mut c = Client::new(&b);
    let commands = c.call("query-commands", json!({}));
    let names: Vec<String> =
        commands.as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap().to_string()).collect();
    let queries: Vec<_> = names.iter().filter(|n| n.starts_with("query-")).collect();
    assert!(queries.len() > 20);
    for name in queries {
        c.call(name, json!({}));
    }
    assert_eq!(c.call("query-name", json!({})), json!({"name": "box"}));
    assert_eq!(c.call("query-memory-size-summary", json!({}))["base-memory"], 16 << 20);
    let cpus = c.call("query-cpus-fast", json!({}));
    assert_eq!(cpus[3]["props"], json!({"socket-id": 0, "core-id": 1, "thread-id": 1}));
    let pci = c.call("query-pci", json!({}));
    assert_eq!(pci[0]["devices"][0]["class_info"], json!({"class": 0x600, "desc": "Host bridge"}));
    assert_eq!(c.call("query-machines", json!({}))[0]["alias"], "pc");
    assert!(c.call("x-query-exits", json!({}))["cpus"][0]["counts"]["memory-access"].is_u64());
    assert_eq!(c.call("query-chardev", json!({}))[0]["label"], "r");
    assert_eq!(c.call("ringbuf-read", json!({"device": "r", "size": 10})), "");
    assert!(c.fails("screendump", json!({"filename": "/tmp/x.ppm"})).1.contains("no console"));
    assert!(c.fails("system_wakeup", json!({})).1.contains("not in suspended state"));
    let keys = |k: &str| json!({"keys": [{"type": "qcode", "data": k}], "hold-time": 1});
    c.call("send-key", keys("ret"));
    assert!(c.fails("send-key", keys("nokey")).1.contains("nokey"));
    let rel = json!({"type": "rel", "data": {"axis": "x", "value": 5}});
    c.call("input-send-event", json!({"events": [rel]}));
    let abs = json!({"type": "abs", "data": {"axis": "x", "value": 5}});
    assert!(c.fails("input-send-event", json!({"events": [abs]})).1.contains("not found"), "no tablet is there");
    let schema = c.call("query-qmp-schema", json!({}));
    assert!(names.iter().all(|n| schema.as_array().unwrap().iter().any(|e| e["name"] == *n)));
}

#[test]
fn usb_devices_come_and_go() {
    let b = Bench::new(&["-device", "ich9-usb-ehci1"]);
    let mut c = Client::new(&b);
    let image = b.dir.path().join("stick.img");
    std::fs::write(&image, vec![0; 1 << 20]).unwrap();
    c.call("blockdev-add", json!({"driver": "file", "node-name": "stick", "filename": image}));
    for _ in 0..3 {
        c.call("device_add", json!({"driver": "usb-storage", "drive": "stick", "id": "u", "removable": true}));
        assert!(b.line("info usb").contains("ID: u"), "{}", b.line("info usb"));
        assert!(c.fails("blockdev-del", json!({"node-name": "stick"})).1.contains("busy"));
        assert!(c.fails("device_add", json!({"driver": "usb-tablet", "id": "u"})).1.contains("'u'"));
        c.call("device_del", json!({"id": "u"}));
        assert_eq!(c.event("DEVICE_DELETED")["data"], json!({"device": "u", "path": "/machine/peripheral/u"}));
        assert_eq!(b.line("info usb"), "");
    }
    c.call("blockdev-del", json!({"node-name": "stick"}));
    assert_eq!(c.fails("device_del", json!({"id": "u"})).0, "DeviceNotFound");
    assert!(c.fails("device_add", json!({"driver": "VGA"})).1.contains("hot-plugged"));
    assert!(c.fails("device_add", json!({"driver": "usb-tablet", "colour": "red"})).1.contains("colour"));
}

/// No guest lets go of anything here: a reset does.
#[test]
fn controllers_come_and_go_behind_a_root_port() {
    let ports = ["-M", "q35", "-device", "pcie-root-port,id=rp", "-device", "qemu-xhci,id=cold,bus=rp"];
    let mut b = Bench::new(&ports);
    let thread = b.run();
    let mut c = Client::new(&b);
    c.call("device_add", json!({"driver": "usb-kbd", "id": "k", "bus": "cold.0"}));
    let behind = |c: &mut Client| {
        let pci = c.call("query-pci", json!({}));
        let devices = pci[0]["devices"].as_array().unwrap().clone();
        devices.into_iter().find(|d| d.get("pci_bridge").is_some()).unwrap()["pci_bridge"]["devices"].clone()
    };
    assert_eq!(behind(&mut c)[0]["id"]["device"], 0x000D);
    assert!(c.fails("device_add", json!({"driver": "ahci", "bus": "rp"})).1.contains("in use"));
    assert!(c.fails("device_add", json!({"driver": "ahci"})).1.contains("'pcie.0' does not support hotplugging"));
    assert!(c.fails("device_add", json!({"driver": "ahci", "bus": "rq"})).1.contains("available: pcie.0, rp"));
    assert!(c.fails("device_add", json!({"driver": "ahci", "id": "rp", "bus": "rp"})).1.contains("Duplicate"));
    assert!(c.fails("device_del", json!({"id": "rp"})).1.contains("does not support hotplugging"));
    c.call("device_del", json!({"id": "cold"}));
    assert!(c.fails("device_del", json!({"id": "cold"})).1.contains("in the process of unplug"));
    c.call("system_reset", json!({}));
    assert_eq!(c.event("DEVICE_DELETED")["data"]["device"], "k");
    assert_eq!(c.event("DEVICE_DELETED")["data"]["device"], "cold");
    c.event("RESET");
    assert_eq!(behind(&mut c), json!([]));
    c.call("device_add", json!({"driver": "ahci", "id": "cold", "bus": "rp"}));
    assert_eq!(behind(&mut c)[0]["class_info"]["desc"], "SATA controller");
    c.call("quit", json!({}));
    assert_eq!(thread.join().unwrap(), ExitReason::Done);
}

#[test]
fn discs_trays_and_nodes() {
    let b = Bench::new(&["-drive", "media=cdrom,id=cd"]);
    let mut c = Client::new(&b);
    let image = b.dir.path().join("disc.iso");
    std::fs::write(&image, vec![0; 8192]).unwrap();
    let drive = |c: &mut Client| c.call("query-block", json!({}))[0].clone();
    assert_eq!(drive(&mut c)["tray_open"], false);
    c.call("blockdev-change-medium", json!({"id": "cd", "filename": image, "format": "raw"}));
    let trays: Vec<_> = c.events.iter().map(|e| e["data"]["tray-open"].clone()).collect();
    assert_eq!(trays, [json!(true), json!(false)]);
    assert_eq!(drive(&mut c)["inserted"]["image"]["virtual-size"], 8192);
    c.call("eject", json!({"device": "cd"}));
    let d = drive(&mut c);
    assert!(d["tray_open"] == true && d.get("inserted").is_none(), "{d}");

    let file = json!({"driver": "file", "filename": image});
    let add = json!({"driver": "raw", "node-name": "n", "file": file, "read-only": true});
    c.call("blockdev-add", add.clone());
    assert!(c.fails("blockdev-add", add).1.contains("Duplicate"));
    assert_eq!(c.call("query-named-block-nodes", json!({}))[0]["node-name"], "n");
    c.call("blockdev-insert-medium", json!({"id": "cd", "node-name": "n"}));
    assert!(c.fails("blockdev-del", json!({"node-name": "n"})).1.contains("busy"));
    c.call("blockdev-close-tray", json!({"id": "cd"}));
    assert!(c.fails("blockdev-remove-medium", json!({"id": "cd"})).1.contains("not open"));
    c.call("blockdev-open-tray", json!({"id": "cd", "force": true}));
    c.call("blockdev-remove-medium", json!({"id": "cd"}));
    c.call("blockdev-del", json!({"node-name": "n"}));
    assert!(c.fails("blockdev-del", json!({"node-name": "n"})).1.contains("n"));
    for wrong in [
        json!({"driver": "raw", "node-name": "m", "file": "n"}),
        json!({"driver": "raw", "node-name": "m"}),
        json!({"driver": "file", "node-name": "m", "filename": "/nonexistent"}),
        json!({"driver": "vmdk", "node-name": "m", "file": {}}),
        json!({"driver": "raw", "node-name": "#m", "file": {"driver": "file", "filename": image}}),
    ] {
        c.fails("blockdev-add", wrong);
    }
}

#[test]
fn nodes_of_the_command_line_and_of_qmp() {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("a.img");
    std::fs::write(&image, [7; 1 << 20]).unwrap();
    let file = format!("driver=file,node-name=f,filename={}", image.display());
    let b = Bench::new(&[
        "-nodefaults",
        "-blockdev",
        &file,
        "-blockdev",
        "driver=raw,node-name=r,file=f,read-only=on",
        "-blockdev",
        "{\"driver\": \"null-co\", \"node-name\": \"n\", \"size\": 1048576}",
        "-device",
        "ide-hd,drive=r,id=disk",
        "-device",
        "qemu-xhci,id=x",
        "-device",
        "usb-storage,drive=n,id=stick,bus=x.0",
    ]);
    let mut c = Client::new(&b);
    let nodes = c.call("query-named-block-nodes", json!({}));
    let short: Vec<_> = nodes.as_array().unwrap().iter().map(|n| (&n["node-name"], &n["drv"], &n["ro"])).collect();
    let text = |s: &str| json!(s);
    let (f, raw, null) = (text("file"), text("raw"), text("null-co"));
    let (yes, no) = (json!(true), json!(false));
    assert_eq!(short, [(&text("f"), &f, &no), (&text("r"), &raw, &yes), (&text("n"), &null, &no)]);
    let block = c.call("query-block", json!({}));
    assert_eq!((&block[0]["device"], &block[0]["qdev"]), (&text(""), &text("disk")));
    assert_eq!(block[0]["inserted"]["node-name"], "r");
    assert!(c.fails("blockdev-del", json!({"node-name": "r"})).1.contains("busy"));
    assert!(c.fails("blockdev-del", json!({"node-name": "f"})).1.contains("lies over"));
    let twice = c.fails("device_add", json!({"driver": "usb-storage", "drive": "n", "bus": "x.0"})).1;
    assert!(twice.contains("drive=n"), "{twice}");
    let wrong = json!({"driver": "raw", "node-name": "z", "file": "nobody"});
    assert!(c.fails("blockdev-add", wrong).1.contains("Cannot find device='nobody' nor node-name='nobody'"));
    let wrong = json!({"driver": "raw", "file": {"driver": "null-co"}});
    assert!(c.fails("blockdev-add", wrong).1.contains("must be specified for the root node"));
    let inner = json!({"driver": "raw", "node-name": "z", "file": {"driver": "null-co", "size": 4096}});
    c.call("blockdev-add", inner);
    c.call("device_add", json!({"driver": "usb-storage", "drive": "z", "id": "second", "bus": "x.0"}));
    c.call("device_del", json!({"id": "second"}));
    c.call("blockdev-del", json!({"node-name": "z"}));
    assert_eq!(c.call("query-named-block-nodes", json!({})).as_array().unwrap().len(), 3);
}

#[test]
fn the_object_tree_is_shown_and_cannot_be_set() {
    let b = Bench::new(&["-device", "qemu-xhci,id=x", "-device", "usb-kbd,bus=x.0", "-device", "isa-debug-exit"]);
    let mut c = Client::new(&b);
    let get =
        |c: &mut Client, path: &str, property: &str| c.call("qom-get", json!({"path": path, "property": property}));
    c.call("device_add", json!({"driver": "usb-tablet", "id": "t", "bus": "x.0", "port": "3"}));
    let names: Vec<Value> = c.call("qom-list", json!({"path": "/machine/peripheral"})).as_array().unwrap().clone();
    assert_eq!(
        names[1..],
        [json!({"name": "t", "type": "child<usb-tablet>"}), json!({"name": "x", "type": "child<qemu-xhci>"})]
    );
    assert_eq!(get(&mut c, "/machine", "type"), "pc-machine");
    assert_eq!(get(&mut c, "/machine", "peripheral"), "/machine/peripheral");
    for (path, property, value) in [
        ("/machine/peripheral/t", "type", json!("usb-tablet")),
        ("/machine/peripheral/t", "realized", json!(true)),
        ("/machine/peripheral/t", "hotplugged", json!(true)),
        ("/machine/peripheral/t/", "port", json!("3")),
        ("peripheral/x", "hotplugged", json!(false)),
        ("t", "bus", json!("x.0")),
        ("/machine/unattached/device[0]", "apic-id", json!(0)),
    ] {
        assert_eq!(get(&mut c, path, property), value, "{path}.{property}");
    }
    let anonymous = c.call("qom-list", json!({"path": "/machine/peripheral-anon"}));
    assert_eq!(anonymous.as_array().unwrap().len(), 3, "its type, the keyboard, the port: {anonymous}");
    let fails = |c: &mut Client, command: &str, path: &str, more: Value| {
        let mut arguments = json!({"path": path});
        arguments.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        c.fails(command, arguments)
    };
    let (class, text) = fails(&mut c, "qom-list", "/machine/peripheral/nobody", json!({}));
    assert_eq!((class.as_str(), text.as_str()), ("DeviceNotFound", "Device '/machine/peripheral/nobody' not found"));
    assert_eq!(fails(&mut c, "qom-get", "t", json!({"property": "x"})).1, "Property 'usb-tablet.x' not found");
    let set = json!({"property": "realized", "value": false});
    assert_eq!(fails(&mut c, "qom-set", "t", set).1, "Property 'usb-tablet.realized' is not writable");
    assert!(fails(&mut c, "qom-get", "device[0]", json!({"property": "type"})).1.contains("uniquely"));
    c.call("device_del", json!({"id": "t"}));
    assert_eq!(fails(&mut c, "qom-list", "/machine/peripheral/t", json!({})).0, "DeviceNotFound");
}
