//! What `whpx img` does, with `qemu-img` and `qemu-io` as the oracle: images made by one are checked, mapped and read by the
//! other, in both directions; damaged and random images. Where the tools are missing the tests say so and end.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use block::Format;
use block::img::{self, *};

/// Seeded numbers (xorshift64*), so that a failure comes back.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }
    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

/// A folder of a test. One test at a time: a child that another one starts has our files open, and so locked, until it
/// is the other program.
struct Dir(tempfile::TempDir, #[allow(dead_code)] MutexGuard<'static, ()>);

static ONE: Mutex<()> = Mutex::new(());

impl Dir {
    /// In memory where the host has it: every command ends with a flush.
    fn new() -> Self {
        let one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        Self(tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap(), one)
    }
    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
    /// Runs one of QEMU's tools in the folder; the status and both outputs.
    fn tool(&self, program: &str, line: &str) -> (i32, String) {
        let args: Vec<&str> = line.split('|').flat_map(|part| part.split(' ')).filter(|a| !a.is_empty()).collect();
        let out = Command::new(program).args(args).current_dir(self.0.path()).output().unwrap();
        let text = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
        (out.status.code().unwrap_or(-1), text)
    }
    fn qemu_img(&self, line: &str) -> String {
        let (status, text) = self.tool("qemu-img", line);
        assert_eq!(status, 0, "qemu-img {line}: {text}");
        text
    }
    /// `qemu-io -c COMMAND`.
    fn io(&self, file: &str, command: &str) {
        let out = Command::new("qemu-io").args(["-c", command, file]).current_dir(self.0.path()).output().unwrap();
        assert!(out.status.success(), "{command}: {}", String::from_utf8_lossy(&out.stdout));
    }
    /// Both find nothing wrong, and count the same.
    fn sound(&self, file: &str) -> CheckReport {
        let (status, text) = self.tool("qemu-img", &format!("check --output=json {file}"));
        let ours = check(&self.path(file), None, None, false, &Control::default()).unwrap().unwrap();
        assert_eq!((status, ours.corruptions, ours.leaks), (0, 0, 0), "{file}: {text} {ours:?}");
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        for (key, value) in [
            ("image-end-offset", ours.image_end_offset),
            ("total-clusters", ours.total_clusters),
            ("allocated-clusters", ours.allocated_clusters),
            ("fragmented-clusters", ours.fragmented_clusters),
            ("compressed-clusters", ours.compressed_clusters),
        ] {
            assert_eq!(json[key].as_u64().unwrap_or(0), value, "{file}: {key}: {text}");
        }
        ours
    }
    fn same(&self, a: &str, b: &str) {
        let (status, text) = self.tool("qemu-img", &format!("compare {a} {b}"));
        assert_eq!(status, 0, "compare {a} {b}: {text}");
    }
    fn convert(&self, source: &str, target: &str, qcow2: Option<NewQcow2>, compress: bool) {
        let made = convert(
            &Conversion {
                source: self.path(source),
                source_format: None,
                snapshot: None,
                share: false,
                target: self.path(target),
                qcow2,
                preallocation: Preallocation::Off,
                compress,
                sparse: 4096,
                force: true,
            },
            &Control::default(),
        );
        made.unwrap();
    }
    fn create(&self, name: &str, size: u64, qcow2: Option<NewQcow2>) -> img::Result<u64> {
        let new = Creation {
            path: self.path(name),
            size: Some(size),
            qcow2,
            preallocation: Preallocation::Off,
            unsafe_backing: false,
            force: false,
        };
        create(&new, &Control::default())
    }
    /// The map has the same extents as qemu-img's. Holes of the file under data are told by QEMU only when they are
    /// many, so they are taken for data here.
    fn mapped(&self, file: &str) {
        let theirs: Vec<serde_json::Value> =
            serde_json::from_str(&self.qemu_img(&format!("map --output=json {file}"))).unwrap();
        let mut ours = vec![];
        let mut chain = Chain::open(&self.path(file), None, false).unwrap();
        let each = |e: &Extent| {
            ours.push(e.clone());
            Ok(())
        };
        chain.map(0, u64::MAX, &Control::default(), each).unwrap();
        // qemu-img tells it from version 8.2 on.
        if theirs.iter().any(|v| v.get("compressed").is_none()) {
            eprintln!("SKIPPED: this qemu-img does not tell which clusters of {file} are compressed");
            ours.iter_mut().for_each(|e| e.compressed = false);
        }
        let theirs = theirs.iter().map(|v| Extent {
            start: v["start"].as_u64().unwrap(),
            len: v["length"].as_u64().unwrap(),
            depth: v["depth"].as_u64().unwrap() as usize,
            present: v["present"] == true,
            zero: v["zero"] == true,
            data: v["data"] == true,
            compressed: v["compressed"] == true,
            offset: v["offset"].as_u64(),
        });
        assert_eq!(plain(ours.into_iter()), plain(theirs), "{file}");
    }
}

/// Extents without holes in data, joined.
fn plain(extents: impl Iterator<Item = Extent>) -> Vec<Extent> {
    let mut all: Vec<Extent> = vec![];
    for mut e in extents {
        if e.data || e.offset.is_some() && e.depth > 0 {
            (e.zero, e.data) = (false, true);
        }
        match all.last_mut() {
            Some(l)
                if (l.depth, l.present, l.zero, l.data, l.compressed)
                    == (e.depth, e.present, e.zero, e.data, e.compressed)
                    && l.offset.map(|o| o + l.len) == e.offset =>
            {
                l.len += e.len;
            }
            _ => all.push(e),
        }
    }
    all
}

fn have_tools() -> bool {
    let found = |name| Command::new(name).arg("--version").output().is_ok();
    let all = found("qemu-img") && found("qemu-io");
    if !all {
        eprintln!("SKIPPED: qemu-img or qemu-io is missing; install qemu-utils");
    }
    all
}

/// Every kind of image that there is, with data of every kind in it.
fn kinds() -> Vec<(NewQcow2, &'static str)> {
    let mut all = vec![];
    for (version, cluster_size, refcount_bits) in [
        (3, 65536, 16),
        (2, 65536, 16),
        (3, 512, 16),
        (3, 4096, 1),
        (3, 2 << 20, 64),
        (3, 8192, 2),
        (2, 1024, 16),
        (3, 16384, 8),
    ] {
        let compat = if version == 2 { "0.10" } else { "1.1" };
        let options = format!("compat={compat},cluster_size={cluster_size},refcount_bits={refcount_bits}");
        all.push((NewQcow2 { version, cluster_size, refcount_bits, ..NewQcow2::default() }, &*options.leak()));
    }
    all
}

/// Fills an image through `qemu-io`: data, zeros, holes, compressed clusters.
fn fill(dir: &Dir, file: &str, random: &mut Random, size: u64, compressed: Option<u64>) {
    let mut commands = vec![];
    for i in 0..12 {
        let len = (random.below(300_000) + 1).next_multiple_of(512);
        let at = random.below(size - len) / 512 * 512;
        commands.push(match i % 4 {
            0 => format!("write -z {at} {len}"),
            1 => format!("discard {at} {len}"),
            _ => format!("write -P {} {at} {len}", i + 1),
        });
    }
    if let Some(cluster) = compressed {
        let at = size / 2 / cluster * cluster;
        commands.insert(0, format!("write -c -P 77 {at} {cluster}"));
    }
    // Some are refused by old formats: not all have all kinds.
    let args = commands.iter().flat_map(|c| ["-c", c.as_str()]);
    let _ = Command::new("qemu-io").args(args).arg(file).current_dir(dir.0.path()).output();
}

#[test]
fn images_of_qemu_are_read_here_and_ours_there() {
    if !have_tools() {
        return;
    }
    let mut random = Random(0x5EED);
    for (i, (kind, options)) in kinds().into_iter().enumerate() {
        let dir = Dir::new();
        let size = 6 << 20;
        dir.qemu_img(&format!("create -q -f qcow2 -o {options} a {size}"));
        fill(&dir, "a", &mut random, size, (kind.refcount_bits > 2).then_some(kind.cluster_size));
        dir.sound("a");
        dir.mapped("a");
        dir.convert("a", "a.raw", None, false);
        dir.same("a", "a.raw");
        dir.convert("a.raw", "b", Some(kind.clone()), false);
        dir.same("a", "b");
        dir.sound("b");
        dir.mapped("b");
        dir.convert("b", "c", Some(kind.clone()), true);
        dir.same("a", "c");
        dir.sound("c");
        dir.mapped("c");
        dir.convert("c", "d", None, false);
        dir.same("a", "d");
        // An empty one of ours is QEMU's to write.
        let name = format!("e{i}");
        dir.create(&name, size, Some(kind.clone())).unwrap();
        dir.sound(&name);
        fill(&dir, &name, &mut random, size, None);
        dir.sound(&name);
        dir.mapped(&name);
    }
}

#[test]
fn snapshots_made_applied_and_deleted_by_both() {
    if !have_tools() {
        return;
    }
    let mut random = Random(0xCAFE);
    for (kind, options) in kinds() {
        if kind.refcount_bits < 8 {
            continue; // too few bits for so many users of a cluster
        }
        let dir = Dir::new();
        let size = 3 << 20;
        dir.qemu_img(&format!("create -q -f qcow2 -o {options} a {size}"));
        let a = dir.path("a");
        let mut states = vec![];
        for round in 0..3 {
            fill(&dir, "a", &mut random, size, None);
            let copy = format!("state{round}");
            dir.qemu_img(&format!("convert -O raw a {copy}"));
            match round {
                1 => drop(dir.qemu_img("snapshot -c theirs a")),
                _ => create_snapshot(&a, None, &format!("ours{round}")).unwrap(),
            }
            dir.sound("a");
            states.push(copy);
        }
        fill(&dir, "a", &mut random, size, None);
        dir.sound("a");
        let list = list_snapshots(&a, None, false).unwrap();
        assert_eq!(list.iter().map(|s| &*s.name).collect::<Vec<_>>(), ["ours0", "theirs", "ours2"]);
        assert!(list.iter().all(|s| s.disk_size == Some(size) && s.vm_state_size == 0));
        let text = dir.qemu_img("snapshot -l a");
        assert!(text.contains("ours0") && text.contains("ours2"), "{text}");
        // Read in place, then applied.
        for (state, name) in states.iter().zip(["ours0", "theirs", "ours2"]) {
            let mut chain = Chain::open_snapshot(&a, None, false, name).unwrap();
            let mut data = vec![0; size as usize];
            chain.read(0, &mut data).unwrap();
            assert!(data == std::fs::read(dir.path(state)).unwrap(), "{options}: {name}");
        }
        apply_snapshot(&a, None, "theirs").unwrap();
        dir.sound("a");
        dir.same("a", "state1");
        dir.qemu_img("snapshot -a ours0 a");
        dir.same("a", "state0");
        dir.sound("a");
        apply_snapshot(&a, None, "3").unwrap();
        fill(&dir, "a", &mut random, size, None);
        delete_snapshot(&a, None, "theirs").unwrap();
        dir.sound("a");
        dir.qemu_img("snapshot -d ours0 a");
        apply_snapshot(&a, None, "ours2").unwrap();
        delete_snapshot(&a, None, "ours2").unwrap();
        dir.same("a", "state2");
        let report = dir.sound("a");
        assert_eq!(list_snapshots(&a, None, false).unwrap(), []);
        fill(&dir, "a", &mut random, size, None);
        assert!(dir.sound("a").allocated_clusters >= 1 && report.total_clusters > 0);
        let e = delete_snapshot(&a, None, "ours2").unwrap_err().to_string();
        assert!(e.contains("no snapshot 'ours2'"), "{e}");
    }
}

#[test]
fn other_sizes() {
    if !have_tools() {
        return;
    }
    let mut random = Random(0xF00D);
    for (_, options) in kinds() {
        let dir = Dir::new();
        let size = 2 << 20;
        dir.qemu_img(&format!("create -q -f qcow2 -o {options} a {size}"));
        fill(&dir, "a", &mut random, size, None);
        dir.qemu_img("convert -O raw a a.raw");
        let (a, raw) = (dir.path("a"), dir.path("a.raw"));
        let off = Preallocation::Off;
        // The table of tiny clusters grows to many clusters, that of large ones stays.
        for change in [Resize::By(3 << 20), Resize::To(40 << 20)] {
            resize(&a, None, change, false, off).unwrap();
            resize(&raw, Some(Format::Raw), change, false, off).unwrap();
            dir.sound("a");
            dir.same("a", "a.raw");
        }
        let e = resize(&a, None, Resize::Less(1 << 20), false, off).unwrap_err().to_string();
        assert!(e.contains("--shrink"), "{e}");
        fill(&dir, "a", &mut random, 40 << 20, None);
        dir.qemu_img("convert -O raw a a.raw");
        for change in [Resize::Less((5 << 20) + 512), Resize::To((1 << 20) - 512)] {
            resize(&a, None, change, true, off).unwrap();
            resize(&raw, Some(Format::Raw), change, true, off).unwrap();
            dir.sound("a");
            dir.same("a", "a.raw");
        }
        // What was past the end does not come back.
        resize(&a, None, Resize::To(3 << 20), false, off).unwrap();
        resize(&raw, Some(Format::Raw), Resize::To(3 << 20), false, off).unwrap();
        dir.sound("a");
        dir.same("a", "a.raw");
        assert!(resize(&a, None, Resize::Less(4 << 20), true, off).is_err());
    }
}

#[test]
fn a_size_change_with_snapshots_is_taken_back_by_one() {
    if !have_tools() {
        return;
    }
    let dir = Dir::new();
    dir.qemu_img("create -q -f qcow2 -o cluster_size=512 a 1M");
    dir.io("a", "write -P 1 0 1M");
    let a = dir.path("a");
    create_snapshot(&a, None, "small").unwrap();
    resize(&a, None, Resize::To(9 << 20), false, Preallocation::Off).unwrap();
    dir.io("a", "write -P 2 0 9M");
    dir.sound("a");
    assert!(resize(&a, None, Resize::To(1 << 20), true, Preallocation::Off).is_err(), "shrunk under a snapshot");
    apply_snapshot(&a, None, "small").unwrap();
    dir.sound("a");
    assert_eq!(Chain::open(&a, None, false).unwrap().size(), 1 << 20);
    dir.io("a", "read -P 1 0 1M");
}

/// A machine writes to an image that has a snapshot: what the snapshot has stays.
#[test]
fn machines_leave_snapshots_alone() {
    let dir = Dir::new();
    let mut random = Random(0xD15C);
    for cluster_size in [4096, 65536] {
        let size = 8u64 << 20;
        let mut data: Vec<u8> = (0..size).map(|i| (i / 3000) as u8).collect();
        data[3 << 20..5 << 20].fill(0);
        std::fs::write(dir.path("raw"), &data).unwrap();
        let kind = NewQcow2 { cluster_size, ..NewQcow2::default() };
        dir.convert("raw", "a", Some(kind), cluster_size == 4096);
        let a = dir.path("a");
        create_snapshot(&a, None, "before").unwrap();
        let mut expected = data.clone();
        let disk = block::open(&block::BlockConfig { discard: true, ..block::BlockConfig::new(&a) }).unwrap();
        for i in 0..60 {
            let len = random.below(100_000) as usize + 1;
            let at = random.below(size - len as u64) as usize;
            let new = vec![i as u8; len];
            disk.write_at(at as u64, &new).unwrap();
            expected[at..at + len].copy_from_slice(&new);
        }
        disk.discard(0, 1 << 20).unwrap(); // what is read there now is not said
        disk.flush().unwrap();
        drop(disk);
        let contents = |chain: img::Result<Chain>| {
            let mut all = vec![0; size as usize];
            chain.unwrap().read(0, &mut all).unwrap();
            all
        };
        assert!(contents(Chain::open(&a, None, false))[1 << 20..] == expected[1 << 20..], "what was written");
        assert!(contents(Chain::open_snapshot(&a, None, false, "before")) == data, "the snapshot changed");
        let report = check(&a, None, None, false, &Control::default()).unwrap().unwrap();
        assert_eq!((report.corruptions, report.leaks), (0, 0), "{report:?}");
        apply_snapshot(&a, None, "before").unwrap();
        delete_snapshot(&a, None, "before").unwrap();
        assert!(contents(Chain::open(&a, None, false)) == data);
        let report = check(&a, None, None, false, &Control::default()).unwrap().unwrap();
        assert_eq!((report.corruptions, report.leaks), (0, 0), "{report:?}");
    }
}

#[test]
fn chains() {
    if !have_tools() {
        return;
    }
    let dir = Dir::new();
    std::fs::write(dir.path("base"), (0..3_000_000u32).map(|i| (i / 4000) as u8).collect::<Vec<_>>()).unwrap();
    let backing = |name: &str, format| NewQcow2 { backing: Some((name.into(), format)), ..NewQcow2::default() };
    dir.create("mid", 5 << 20, Some(backing("base", Format::Raw))).unwrap();
    dir.io("mid", "write -P 200 1M 100k");
    let new = Creation {
        path: dir.path("top"),
        size: None,
        qcow2: Some(NewQcow2 { cluster_size: 4096, ..backing("mid", Format::Qcow2) }),
        preallocation: Preallocation::Off,
        unsafe_backing: false,
        force: false,
    };
    assert_eq!(create(&new, &Control::default()).unwrap(), 5 << 20, "the size of the file below");
    dir.io("top", "write -P 201 2M 10k");
    dir.io("top", "write -z 1M 8k");
    for file in ["mid", "top"] {
        dir.sound(file);
        dir.mapped(file);
    }
    dir.convert("top", "flat", Some(NewQcow2::default()), true);
    dir.same("top", "flat");
    let all = info_chain(&dir.path("top"), None, false).unwrap();
    assert_eq!(all.iter().map(|i| i.virtual_size).collect::<Vec<_>>(), [5 << 20, 5 << 20, 3_000_320]);
    assert_eq!(all[0].qcow2.as_ref().unwrap().backing_format.as_deref(), Some("qcow2"));
    // A loop ends.
    dir.qemu_img("rebase -u -b top -F qcow2 mid");
    let e = Chain::open(&dir.path("top"), None, false).err().unwrap().to_string();
    assert!(e.contains("loop"), "{e}");
    let missing = Creation { qcow2: Some(backing("none", Format::Raw)), path: dir.path("x"), ..new };
    assert!(create(&missing, &Control::default()).unwrap_err().to_string().contains("backing file"));
    assert!(!dir.path("x").exists());
}

#[test]
fn safe_defaults() {
    let dir = Dir::new();
    dir.create("a", 1 << 20, Some(NewQcow2::default())).unwrap();
    let e = dir.create("a", 1 << 20, None).unwrap_err().to_string();
    assert!(e.contains("--force"), "{e}");
    // In use by a machine.
    let held = block::open(&block::BlockConfig::new(dir.path("a"))).unwrap();
    let a = dir.path("a");
    for e in [
        check(&a, None, None, false, &Control::default()).err(),
        create_snapshot(&a, None, "x").err(),
        resize(&a, None, Resize::By(512), false, Preallocation::Off).err(),
        info(&a, None, false).err(),
        Chain::open(&a, None, false).err(),
    ] {
        let e = e.expect("an image in use").to_string();
        assert!(e.contains("another process"), "{e}");
    }
    info(&a, None, true).unwrap();
    let force = |path: &Path| Creation {
        path: path.into(),
        size: Some(1 << 20),
        qcow2: None,
        preallocation: Preallocation::Off,
        unsafe_backing: false,
        force: true,
    };
    assert!(create(&force(&a), &Control::default()).is_err(), "replaced while in use");
    drop(held);
    create(&force(&a), &Control::default()).unwrap();
    assert_eq!(info(&a, None, false).unwrap().format, Format::Raw);
    // Stopped: the target is as it was, and nothing else is left.
    std::fs::write(dir.path("src"), vec![7; 9 << 20]).unwrap();
    let control = Control::default();
    control.stop.store(true, std::sync::atomic::Ordering::Relaxed);
    let stopped = convert(
        &Conversion {
            source: dir.path("src"),
            source_format: Some(Format::Raw),
            snapshot: None,
            share: false,
            target: dir.path("out"),
            qcow2: None,
            preallocation: Preallocation::Off,
            compress: false,
            sparse: 4096,
            force: false,
        },
        &control,
    );
    assert!(matches!(stopped, Err(ImgError::Stopped)));
    let mut left: Vec<_> = std::fs::read_dir(dir.0.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["a", "src"]);
}

#[test]
fn preallocation_is_what_it_says() {
    let dir = Dir::new();
    for (name, preallocation) in
        [("m", Preallocation::Metadata), ("f", Preallocation::Falloc), ("u", Preallocation::Full)]
    {
        dir.create(name, (9 << 20) + 512, Some(NewQcow2 { preallocation, ..NewQcow2::default() })).unwrap();
        let report = check(&dir.path(name), None, None, false, &Control::default()).unwrap().unwrap();
        assert_eq!((report.allocated_clusters, report.corruptions + report.leaks), (145, 0));
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt;
            let taken = std::fs::metadata(dir.path(name)).unwrap().blocks() * 512;
            assert_eq!(taken > 9 << 20, preallocation != Preallocation::Metadata, "{name}: {taken}");
        }
        if have_tools() {
            dir.sound(name);
        }
    }
}

#[test]
fn damage_is_found_and_repaired() {
    if !have_tools() {
        return;
    }
    let put = |path: &Path, at: u64, bytes: &[u8]| {
        let mut data = std::fs::read(path).unwrap();
        data[at as usize..at as usize + bytes.len()].copy_from_slice(bytes);
        std::fs::write(path, data).unwrap();
    };
    let be64 = |path: &Path, at: u64| {
        let data = std::fs::read(path).unwrap();
        u64::from_be_bytes(data[at as usize..at as usize + 8].try_into().unwrap())
    };
    // Name, what is damaged, corruptions, leaks, all repaired.
    type Damage<'a> = (&'a str, &'a dyn Fn(&Path), bool, bool, bool);
    let l2 = |p: &Path| be64(p, be64(p, 40)) & 0x00FF_FFFF_FFFF_FE00;
    let block = |p: &Path| be64(p, be64(p, 48));
    let cases: [Damage; 9] = [
        ("a count too high", &|p| put(p, block(p), &7u16.to_be_bytes()), false, true, true),
        ("a free cluster counted", &|p| put(p, block(p) + 2 * 500, &1u16.to_be_bytes()), false, false, true),
        ("a count too low", &|p| put(p, block(p) + 6, &0u16.to_be_bytes()), true, false, true),
        ("no count at all", &|p| put(p, block(p), &[0; 64]), true, false, true),
        ("a block outside of the file", &|p| put(p, be64(p, 48), &(1u64 << 40).to_be_bytes()), true, false, true),
        ("a block that is no cluster", &|p| put(p, be64(p, 48), &0x1234u64.to_be_bytes()), true, false, true),
        ("a flag lost", &|p| put(p, be64(p, 40), &[0]), true, false, true),
        ("dirty", &|p| put(p, 79, &[1]), false, false, true),
        ("data outside of the file", &|p| put(p, l2(p), &((1u64 << 63) | 1 << 40).to_be_bytes()), true, true, false),
    ];
    for (what, damage, corrupt, leaks, mends) in cases {
        let dir = Dir::new();
        dir.qemu_img("create -q -f qcow2 a 4M");
        dir.io("a", "write -P 9 0 1M");
        let a = dir.path("a");
        damage(&a);
        let control = Control::default();
        let found = check(&a, None, None, false, &control).unwrap().unwrap();
        assert_eq!((found.corruptions != 0, found.leaks != 0), (corrupt, leaks), "{what}: {found:?}");
        let (status, text) = dir.tool("qemu-img", "check a");
        let ours = if found.corruptions != 0 {
            2
        } else if found.leaks != 0 {
            3
        } else {
            0
        };
        // Where QEMU can count nothing it gives up.
        let same = status == ours || status == 1 && text.contains("internal errors");
        assert!(same, "{what}: status {status}: {text} {found:?}");
        if found.leaks != 0 && found.corruptions == 0 {
            let repaired = check(&a, None, Some(Repair::Leaks), false, &control).unwrap().unwrap();
            assert_eq!((repaired.leaks, repaired.leaks_fixed), (0, found.leaks), "{what}");
            dir.sound("a");
            continue;
        }
        let repaired = check(&a, None, Some(Repair::All), false, &control).unwrap().unwrap();
        assert_eq!((repaired.corruptions, repaired.leaks) == (0, 0), mends, "{what}: {repaired:?}");
        if mends {
            assert_eq!(repaired.corruptions_fixed, found.corruptions, "{what}");
            dir.sound("a");
            dir.io("a", "read -P 9 0 1M");
            block::open(&block::BlockConfig::new(&a)).unwrap();
            assert_eq!(std::fs::read(&a).unwrap()[79], 0, "{what}: still marked");
        }
    }
}

#[test]
fn bitmaps_are_no_leaks() {
    if !have_tools() {
        return;
    }
    let dir = Dir::new();
    dir.qemu_img("create -q -f qcow2 a 64M");
    dir.qemu_img("bitmap --add a b0");
    dir.qemu_img("bitmap --add -g 4k a b1");
    dir.io("a", "write -P 1 3M 5M");
    dir.sound("a");
    let a = dir.path("a");
    let e = resize(&a, None, Resize::By(1 << 20), false, Preallocation::Off).unwrap_err().to_string();
    assert!(e.contains("bitmaps"), "{e}");
    create_snapshot(&a, None, "x").unwrap();
    dir.sound("a");
    check(&a, None, Some(Repair::All), false, &Control::default()).unwrap();
    dir.sound("a");
    assert!(dir.qemu_img("info a").contains("b1"));
}

/// Everything that a user can do with an image, on one that is not to be trusted.
fn try_everything(path: &Path, out: &Path) {
    let control = Control::default();
    let _ = info_chain(path, None, false);
    let _ = check(path, Some(Format::Qcow2), None, false, &control);
    let _ = list_snapshots(path, None, false);
    if let Ok(mut chain) = Chain::open(path, Some(Format::Qcow2), false)
        // A hostile table can say that a disk is full of data: reading all of it takes its time, no more.
        && chain.size() < 1 << 30
    {
        let mut extents = 0;
        let _ = chain.map(0, u64::MAX, &control, |e| {
            assert!(e.len > 0);
            extents += 1;
            Ok(())
        });
        let conversion = Conversion {
            source: path.into(),
            source_format: Some(Format::Qcow2),
            snapshot: None,
            share: false,
            target: out.into(),
            qcow2: Some(NewQcow2::default()),
            preallocation: Preallocation::Off,
            compress: false,
            sparse: 4096,
            force: true,
        };
        let _ = convert(&conversion, &control);
    }
    let _ = create_snapshot(path, Some(Format::Qcow2), "new");
    let _ = apply_snapshot(path, Some(Format::Qcow2), "one");
    let _ = delete_snapshot(path, Some(Format::Qcow2), "one");
    let _ = resize(path, Some(Format::Qcow2), Resize::By(1 << 20), false, Preallocation::Off);
    let _ = resize(path, Some(Format::Qcow2), Resize::To(1 << 18), true, Preallocation::Off);
    let _ = check(path, Some(Format::Qcow2), Some(Repair::All), false, &control);
    // What the repair says is right must be so for a second look.
    if let Ok(Some(r)) = check(path, Some(Format::Qcow2), Some(Repair::All), false, &control)
        && r.corruptions == 0
    {
        let again = check(path, Some(Format::Qcow2), None, false, &control).unwrap().unwrap();
        assert_eq!((again.corruptions, again.leaks), (0, 0), "{again:?}");
    }
}

#[test]
fn hostile_images_are_errors() {
    let dir = Dir::new();
    let mut random = Random(0xBAD_5EED);
    let sources: Vec<Vec<u8>> = [(4096, 16), (512, 8)]
        .into_iter()
        .map(|(cluster_size, refcount_bits)| {
            std::fs::write(dir.path("raw"), (0..400_000u32).map(|i| (i / 999) as u8).collect::<Vec<_>>()).unwrap();
            let kind = NewQcow2 { cluster_size, refcount_bits, ..NewQcow2::default() };
            dir.convert("raw", "good", Some(kind.clone()), cluster_size == 512);
            create_snapshot(&dir.path("good"), None, "one").unwrap();
            create_snapshot(&dir.path("good"), None, "two").unwrap();
            std::fs::read(dir.path("good")).unwrap()
        })
        .collect();
    let (path, out) = (dir.path("hostile"), dir.path("out"));
    // More of them, and others: WHPX_FUZZ_ROUNDS=100000 WHPX_FUZZ_SEED=7.
    let number = |name: &str| std::env::var(name).ok().and_then(|v| v.parse::<u64>().ok());
    random.0 ^= number("WHPX_FUZZ_SEED").unwrap_or(0);
    for round in 0..number("WHPX_FUZZ_ROUNDS").unwrap_or(300) as usize {
        let mut data = sources[round % sources.len()].clone();
        // Header fields, and entries of tables, become interesting numbers.
        let tables = [
            0,
            u64::from_be_bytes(data[40..48].try_into().unwrap()),
            u64::from_be_bytes(data[48..56].try_into().unwrap()),
            u64::from_be_bytes(data[64..72].try_into().unwrap()),
        ];
        for _ in 0..=random.below(3) {
            let base = tables[random.below(4) as usize];
            let at = ((base + random.below(112)) as usize).min(data.len() - 9);
            let value = match random.below(6) {
                0 => 0,
                1 => u64::MAX,
                2 => 1 << random.below(64),
                3 => random.next(),
                4 => (1 << 63) | (random.below(200) << 9),
                _ => random.below(data.len() as u64 / 512) << 9,
            };
            let len = [1, 2, 4, 8][random.below(4) as usize];
            let at = if len == 8 { at / 8 * 8 } else { at };
            data[at..at + len].copy_from_slice(&value.to_be_bytes()[8 - len..]);
        }
        if random.below(8) == 0 {
            data.truncate(random.below(data.len() as u64) as usize);
        }
        std::fs::write(&path, &data).unwrap();
        try_everything(&path, &out);
    }
}
