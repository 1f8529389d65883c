//! A small guest recorded on the built-in platform, shown, and replayed without it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use guest_memory::RamBlock;
use whp::*;
use whp_soft::SoftPlatform;
use whp_trace::view::{Filter, show, summary, totals};
use whp_trace::{ReplayPlatform, TraceOptions, TracePlatform};

/// out 0x80, 0x5A; in al, 0x71; mov [0x500], al; hlt; out 0xF4, al
const GUEST: &[u8] = &[0xB0, 0x5A, 0xE6, 0x80, 0xE4, 0x71, 0xA2, 0x00, 0x05, 0xF4, 0xE6, 0xF4];

/// What a client saw.
type Seen = Vec<String>;

struct Device {
    answer: u8,
    written: AtomicU8,
}

impl AccessHandler for Device {
    fn port_read(&self, _: u16, data: &mut [u8]) {
        data.fill(self.answer);
    }
    fn port_write(&self, _: u16, data: &[u8]) {
        self.written.store(data[0], Ordering::Relaxed);
    }
    fn memory_read(&self, _: u64, data: &mut [u8]) {
        data.fill(0);
    }
    fn memory_write(&self, _: u64, _: &[u8]) {}
    fn eoi(&self, _: u8) {}
}

/// What the test's client does differently.
#[derive(Clone, Copy, Default)]
struct Variation {
    rax: Option<u64>,
    answer: Option<u8>,
    skip_map: bool,
    skip_read: bool,
}

fn client(platform: &dyn Platform, variation: Variation) -> Result<Seen> {
    let mut seen = Vec::new();
    let mut note = |what: &dyn std::fmt::Debug| seen.push(format!("{what:?}"));
    note(&platform.capability(CapabilityCode::FEATURES)?);
    note(&platform.capability(CapabilityCode(0x777)));
    let partition = platform.create_partition()?;
    partition.set_property(Property::ProcessorCount(1))?;
    partition.setup()?;
    let ram = RamBlock::new("ram", 0x2000).unwrap();
    assert!(ram.write(0x1000, GUEST));
    let rwx = MapGpaRangeFlags::READ | MapGpaRangeFlags::WRITE | MapGpaRangeFlags::EXECUTE;
    if !variation.skip_map {
        partition.map_gpa_range(&ram, 0, 0x2000, 0, rwx)?;
    }
    let vp = partition.create_virtual_processor(0)?;
    let code = SegmentRegister { base: 0, limit: 0xFFFF, selector: 0, attributes: 0x9B };
    let data = SegmentRegister { attributes: 0x93, ..code };
    let names = [RegisterName::CS, RegisterName::DS, RegisterName::RIP, RegisterName::RFLAGS, RegisterName::RAX];
    let rax = variation.rax.unwrap_or(0).into();
    vp.set_registers(&names, &[code.into(), data.into(), 0x1000u64.into(), 2u64.into(), rax])?;
    let device = Device { answer: variation.answer.unwrap_or(0x42), written: AtomicU8::new(0) };
    note(&vp.run(Some(&device))?);
    note(&device.written.load(Ordering::Relaxed));
    let mut values = [RegisterValue::default(); 5];
    if !variation.skip_read {
        vp.registers(&names, &mut values)?;
        note(&values);
    }
    note(&vp.registers(&[RegisterName(0x7777)], &mut values[..1]).unwrap_err().code);
    note(&vp.run(None)?);
    note(&vp.translate_gva(0x1234, TranslateGvaFlags::VALIDATE_READ)?);
    vp.cancel();
    note(&vp.run(None)?.exit);
    note(&vp.xsave_state()?.len());
    Ok(seen)
}

fn record(path: &Path, full: bool) -> Seen {
    let options = TraceOptions { full, keep_existing: false };
    client(&TracePlatform::new(SoftPlatform::default(), path, options).unwrap(), Variation::default()).unwrap()
}

#[test]
fn the_same_client_sees_the_same() {
    let dir = tempfile::tempdir().unwrap();
    for full in [false, true] {
        let path = dir.path().join("trace.jsonl");
        let seen = record(&path, full);
        let replay = ReplayPlatform::open(&path).unwrap();
        assert_eq!(client(&replay, Variation::default()).unwrap(), seen);
        assert_eq!(replay.finish(), []);
        assert_eq!((replay.name(), replay.arch()), ("built-in platform", Arch::X64));
    }
}

fn differences(variation: Variation) -> (Result<Seen>, Vec<String>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("trace.jsonl");
    record(&path, false);
    let replay = ReplayPlatform::open(&path).unwrap();
    let seen = client(&replay, variation);
    (seen, replay.finish().iter().map(ToString::to_string).collect())
}

#[test]
fn a_changed_client_is_found_out() {
    let (seen, found) = differences(Variation { rax: Some(7), ..Variation::default() });
    assert!(seen.is_ok(), "the recorded results are given all the same");
    assert_eq!(found.len(), 1);
    assert!(found[0].starts_with("vp 0: a call with other arguments\n  recorded (#"), "{}", found[0]);
    assert!(found[0].contains(r#""0x0"]"#) && found[0].contains(r#""0x7"]"#), "both are there: {}", found[0]);

    let (seen, found) = differences(Variation { answer: Some(0x43), ..Variation::default() });
    assert!(seen.is_ok());
    assert_eq!(found.len(), 1);
    assert!(found[0].contains("answers this read with 43 instead of 42"), "{}", found[0]);

    let (_, found) = differences(Variation { skip_read: true, ..Variation::default() });
    assert_eq!(found.len(), 1);
    assert!(found[0].starts_with("vp 0: a recorded call was not made"), "{}", found[0]);

    let (_, found) = differences(Variation { skip_map: true, ..Variation::default() });
    assert!(found.len() == 1 && found[0].contains("MapGpaRange"), "{found:?}");
}

#[test]
fn calls_after_the_end_fail() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("trace.jsonl");
    record(&path, false);
    let replay = ReplayPlatform::open(&path).unwrap();
    client(&replay, Variation::default()).unwrap();
    assert_eq!(replay.create_partition().err().map(|e| e.code), Some(HResult::E_UNEXPECTED));
    assert_eq!(replay.differences().len(), 1);
}

#[test]
fn a_killed_programs_trace_and_rubbish() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("trace.jsonl");
    record(&path, false);
    let text = std::fs::read_to_string(&path).unwrap();
    let lines = text.lines().count();
    std::fs::write(&path, &text[..text.len() - 20]).unwrap();
    let replay = ReplayPlatform::open(&path).unwrap();
    client(&replay, Variation::default()).unwrap();
    assert!(lines > 10);
    let cut = text.replacen("\"call\"", "\"cull\"", 1);
    std::fs::write(&path, cut).unwrap();
    let e = ReplayPlatform::open(&path).err().unwrap().to_string();
    assert!(e.contains(": line 2 cannot be read"), "{e}");
    std::fs::write(&path, "hello\n").unwrap();
    assert!(ReplayPlatform::open(&path).err().unwrap().to_string().contains("no trace"));
    std::fs::write(&path, text.replacen("\"whpx_trace\":1", "\"whpx_trace\":99", 1)).unwrap();
    assert!(ReplayPlatform::open(&path).err().unwrap().to_string().contains("format 99"));
    assert!(ReplayPlatform::open(&dir.path().join("none")).is_err());
}

#[test]
fn guest_memory_is_not_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("trace.jsonl");
    record(&path, true);
    let text = std::fs::read_to_string(&path).unwrap();
    let whole: String = GUEST.iter().map(|b| format!("{b:02x}")).collect();
    assert!(!text.contains(&whole));
    assert!(text.lines().next().unwrap().contains("Guest memory is not in it"));
}

#[test]
fn it_is_on_disk_soon() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("trace.jsonl");
    let platform = TracePlatform::new(SoftPlatform::default(), &path, TraceOptions::default()).unwrap();
    platform.capability(CapabilityCode::FEATURES).unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while !std::fs::read_to_string(&path).unwrap().contains("GetCapability") {
        assert!(std::time::Instant::now() < deadline, "nothing was written");
        std::thread::yield_now();
    }
    platform.capability(CapabilityCode::EXTENDED_VM_EXITS).unwrap();
    whp_trace::flush_all();
    assert!(std::fs::read_to_string(&path).unwrap().contains("ExtendedVmExits"));
}

fn shown(path: &Path, filter: &Filter) -> Vec<String> {
    let mut out = Vec::new();
    show(std::io::BufReader::new(std::fs::File::open(path).unwrap()), filter, &mut out).unwrap();
    String::from_utf8(out).unwrap().lines().skip(1).map(Into::into).collect()
}

#[test]
fn shown_and_filtered() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("trace.jsonl");
    record(&path, false);
    let all = shown(&path, &Filter::default());
    assert!(all.iter().any(|l| l.contains("| port_write(data 5a, port 0x80)")), "{all:#?}");
    assert!(all.iter().any(|l| l.contains("| port_read(port 0x71, size 1) = 42")), "{all:#?}");
    assert!(all.iter().any(|l| l.contains("GetVirtualProcessorRegisters(5 registers) = Cs=0x")), "{all:#?}");
    assert!(all.iter().any(|l| l.contains("RunVirtualProcessor(handler true) = Halt")), "{all:#?}");
    let errors = shown(&path, &Filter { errors: true, ..Filter::default() });
    assert_eq!(errors.len(), 2, "{errors:#?}");
    assert!(errors[0].contains("FAILED 0x80370300 (WHV_E_UNKNOWN_CAPABILITY)"), "{errors:#?}");
    let halts = shown(&path, &Filter { call: Some("halt".into()), vp: Some(0), ..Filter::default() });
    assert_eq!(halts.len(), 1, "{halts:#?}");
    assert!(shown(&path, &Filter { vp: Some(1), ..Filter::default() }).is_empty());
    assert!(shown(&path, &Filter { slow: Some(60_000_000), ..Filter::default() }).is_empty());
    let file = || std::io::BufReader::new(std::fs::File::open(&path).unwrap());
    let t = totals(file(), &Filter::default()).unwrap();
    assert_eq!(t["RunVirtualProcessor -> Halt"].count, 1);
    assert_eq!((t["GetCapability"].count, t["GetCapability"].errors), (2, 1));
    assert!(summary(&t).contains("RunVirtualProcessor -> IoPortAccess"));
}

#[test]
fn threads_and_partitions_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("trace.jsonl");
    let platform: Arc<dyn Platform> =
        Arc::new(TracePlatform::new(SoftPlatform::default(), &path, TraceOptions::default()).unwrap());
    let other = platform.clone();
    let first = platform.create_partition().unwrap();
    let second = std::thread::spawn(move || other.create_partition().unwrap()).join().unwrap();
    second.set_property(Property::ProcessorCount(2)).unwrap();
    drop((first, second, platform));
    let text = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<serde_json::Value> = text.lines().skip(1).map(|l| serde_json::from_str(l).unwrap()).collect();
    let of = |call: &str| lines.iter().filter(|l| l["call"] == call).cloned().collect::<Vec<_>>();
    let made = of("CreatePartition");
    assert_eq!((&made[0]["partition"], &made[1]["partition"]), (&0.into(), &1.into()));
    assert_ne!(made[0]["tid"], made[1]["tid"]);
    assert_eq!(of("SetPartitionProperty")[0]["partition"], 1);
    assert_eq!(of("DeletePartition").len(), 2);
}
