//! Images made and checked by `qemu-img`, which is the oracle here. Where it is missing the tests say so and end.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use block::{BlockBackend, BlockConfig, BlockError, BlockOp, BlockQueue, CacheMode, Format, open};

fn qemu_img(args: &[&str]) -> Option<String> {
    match Command::new("qemu-img").args(args).output() {
        Ok(out) => {
            let text = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
            assert!(out.status.success(), "qemu-img {args:?}: {text}");
            Some(text)
        }
        Err(e) => {
            eprintln!("SKIPPED: qemu-img: {e}; install qemu-utils");
            None
        }
    }
}

struct Dir(tempfile::TempDir);

impl Dir {
    /// In memory where the host has it: the tests flush a lot.
    fn new() -> Self {
        Self(tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap())
    }
    fn on_disk() -> Self {
        Self(tempfile::tempdir().unwrap())
    }
    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
    fn create(&self, name: &str, options: &[&str]) -> Option<PathBuf> {
        let path = self.path(name);
        let mut args = vec!["create", "-q", "-f", "qcow2"];
        args.extend(options);
        let text = path.display().to_string();
        args.push(&text);
        let size = ["16M"];
        if !options.contains(&"-b") {
            args.extend(size);
        }
        qemu_img(&args).map(|_| path)
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn read(disk: &dyn BlockBackend, offset: u64, len: usize) -> Vec<u8> {
    let mut data = vec![0xEE; len];
    disk.read_at(offset, &mut data).unwrap();
    data
}

fn error(config: &BlockConfig) -> String {
    match open(config) {
        Ok(_) => panic!("{config:?} opened"),
        Err(e) => e.to_string(),
    }
}

#[test]
fn qcow2_written_here_is_right_for_qemu_img() {
    let dir = Dir::new();
    let Some(path) = dir.create("a.qcow2", &[]) else { return };
    let config = BlockConfig { discard: true, ..BlockConfig::new(&path) };
    let disk = open(&config).unwrap();
    assert_eq!(disk.size(), 16 << 20);
    for i in 0..64u64 {
        disk.write_at(i * 200_000, &vec![i as u8 + 1; 3000]).unwrap();
    }
    disk.discard(0, 1 << 20).unwrap();
    assert_eq!(read(&*disk, 200_000, 8), [0; 8]);
    disk.flush().unwrap();
    assert!(disk.write_at((16 << 20) - 1, &[1, 2]).is_err(), "past the end");
    assert!(disk.read_at(u64::MAX, &mut [0]).is_err());
    drop(disk);
    qemu_img(&["check", &text(&path)]);
    let raw = dir.path("a.raw");
    qemu_img(&["convert", "-O", "raw", &text(&path), &text(&raw)]);
    let bytes = std::fs::read(raw).unwrap();
    assert_eq!(bytes[200_000 * 63], 64);
    assert_eq!(bytes[200_000], 0);
}

#[test]
fn backing_chain_with_compressed_clusters_and_a_longer_overlay() {
    let dir = Dir::new();
    let raw = dir.path("base.raw");
    std::fs::write(&raw, (0..1_000_000u32).map(|i| (i / 1000) as u8).collect::<Vec<_>>()).unwrap();
    let base = dir.path("base.qcow2");
    if qemu_img(&["convert", "-c", "-O", "qcow2", &text(&raw), &text(&base)]).is_none() {
        return;
    }
    let top = dir.path("top.qcow2");
    qemu_img(&["create", "-q", "-f", "qcow2", "-b", "base.qcow2", "-F", "qcow2", &text(&top), "4M"]);
    let before = std::fs::read(&base).unwrap();
    let disk = open(&BlockConfig::new(&top)).unwrap();
    assert_eq!((read(&*disk, 999_000, 1)[0], read(&*disk, 2_000_000, 1)[0]), (231, 0));
    disk.write_at(999_100, &[9]).unwrap();
    assert_eq!(read(&*disk, 999_098, 4), [231, 231, 9, 231]);
    drop(disk);
    assert_eq!(std::fs::read(&base).unwrap(), before, "the backing file is never written");
    qemu_img(&["check", &text(&top)]);
    std::fs::remove_file(&base).unwrap();
    let e = error(&BlockConfig::new(&top));
    assert!(e.contains("backing file of") && e.contains("base.qcow2") && e.contains("No such file"), "{e}");
}

#[test]
fn what_cannot_be_opened_is_one_clear_line() {
    let dir = Dir::new();
    let at = |name: &str| BlockConfig::new(dir.path(name));
    assert!(error(&at("none.img")).contains("none.img': No such file or directory"));
    assert!(error(&BlockConfig::new(dir.0.path())).contains("is a directory"));
    std::fs::write(dir.path("x"), [1; 4096]).unwrap();
    let e = error(&BlockConfig { format: Some(Format::Qcow2), ..at("x") });
    assert!(e.contains("bad magic") && !e.contains('\n'), "{e}");
    std::fs::write(dir.path("v"), b"KDMV and more").unwrap();
    assert!(error(&at("v")).contains("vmdk"));
    assert!(open(&BlockConfig { format: Some(Format::Raw), ..at("v") }).is_ok());
    let Some(q) = dir.create("q", &[]) else { return };
    let whole = std::fs::read(&q).unwrap();
    std::fs::write(dir.path("cut"), &whole[..100]).unwrap();
    assert!(error(&at("cut")).contains("truncated"));
    std::fs::write(dir.path("cut"), &whole[..0x18000]).unwrap();
    assert!(error(&at("cut")).contains("truncated"));
    for (options, word) in [
        ("compression_type=zstd", "zstd"),
        ("extended_l2=on", "extended L2"),
        ("encrypt.format=luks,encrypt.key-secret=s", "encrypted"),
    ] {
        let object = ["--object", "secret,id=s,data=abc123"];
        let mut args = vec!["create", "-q", "-f", "qcow2"];
        if word == "encrypted" {
            args.extend(object);
        }
        let path = text(&dir.path("odd"));
        args.extend(["-o", options, &path, "16M"]);
        // qemu-img 7.2 cannot always time its key derivation.
        let timed = |_: &u32| Command::new("qemu-img").args(&args).status().is_ok_and(|s| s.success());
        if word != "encrypted" || (0..20).find(timed).is_none() {
            qemu_img(&args);
        }
        let before = std::fs::read(dir.path("odd")).unwrap();
        assert!(error(&at("odd")).contains(word));
        assert_eq!(std::fs::read(dir.path("odd")).unwrap(), before, "refused means untouched");
    }
}

#[test]
fn damaged_images_give_errors_only() {
    let dir = Dir::new();
    let (raw, path) = (dir.path("d.raw"), dir.path("d.qcow2"));
    std::fs::write(&raw, (0..400_000u32).map(|i| (i / 3000) as u8).collect::<Vec<_>>()).unwrap();
    let args = ["convert", "-c", "-O", "qcow2", "-o", "cluster_size=4096", &text(&raw), &text(&path)];
    if qemu_img(&args).is_none() {
        return;
    }
    let whole = std::fs::read(&path).unwrap();
    let mut x = 2_463_534_242u32;
    let mut random = |n: usize| {
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        x as usize % n
    };
    let mut opened = 0;
    for _ in 0..150 {
        let mut bytes = whole.clone();
        for _ in 0..1 + random(3) {
            // The header, the tables behind it, or anywhere.
            let reach = [112, whole.len() / 2, whole.len()][random(3)];
            let at = random(reach);
            bytes[at] = [0, 1, 0x7F, 0x80, 0xFF, bytes[at] ^ 1 << random(8)][random(6)];
        }
        std::fs::write(&path, &bytes).unwrap();
        let disk = match open(&BlockConfig { discard: true, ..BlockConfig::new(&path) }) {
            Ok(disk) => disk,
            Err(e @ BlockError::Locked { .. }) => panic!("nobody else has it: {e}"),
            Err(_) => continue,
        };
        opened += 1;
        let size = disk.size().min(1 << 20);
        let mut data = vec![0; 10_000];
        for at in (0..size.saturating_sub(10_000)).step_by(50_000) {
            let _ = disk.read_at(at, &mut data);
            let _ = disk.write_at(at + 1000, &data[..5000]);
        }
        let _ = disk.discard(0, 8192.min(size));
        let _ = disk.flush();
    }
    assert!(opened > 20, "{opened}");
}

#[test]
fn a_backing_loop_ends() {
    let dir = Dir::new();
    let Some(a) = dir.create("a", &[]) else { return };
    qemu_img(&["rebase", "-u", "-b", "a", "-F", "qcow2", &text(&a)]);
    assert!(error(&BlockConfig { readonly: true, ..BlockConfig::new(&a) }).contains("loop"));
}

#[test]
fn two_writers_are_kept_apart_and_qemu_sees_our_lock() {
    let dir = Dir::new();
    let Some(path) = dir.create("a", &[]) else { return };
    let one = open(&BlockConfig::new(&path)).unwrap();
    assert!(error(&BlockConfig::new(&path)).contains("Failed to get \"write\" lock"));
    assert!(error(&BlockConfig { readonly: true, ..BlockConfig::new(&path) }).contains("lock"));
    let qemu = Command::new("qemu-img").args(["check", &text(&path)]).output().unwrap();
    assert!(String::from_utf8_lossy(&qemu.stderr).contains("lock"), "{qemu:?}");
    drop(one);
    let readonly = BlockConfig { readonly: true, ..BlockConfig::new(&path) };
    let (_a, _b) = (open(&readonly).unwrap(), open(&readonly).unwrap());
    assert!(error(&BlockConfig::new(&path)).contains("lock"));
    assert!(open(&BlockConfig { snapshot: true, ..BlockConfig::new(&path) }).is_ok(), "readers share");
}

/// A process that another thread starts has our files for a moment; what was closed is free even so.
#[cfg(unix)]
#[test]
fn a_closed_image_is_free_while_processes_start() {
    let dir = Dir::new();
    let path = dir.path("free.raw");
    std::fs::write(&path, [7; 4096]).unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    let _ = Command::new("true").status();
                }
            });
        }
        let failed = (0..2000).find_map(|_| open(&BlockConfig::new(&path)).err());
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(failed.is_none(), "{}", failed.unwrap());
    });
}

#[test]
fn raw_images_of_odd_size_and_guessed_raw() {
    let dir = Dir::new();
    let path = dir.path("odd.raw");
    std::fs::write(&path, [7; 1000]).unwrap();
    let disk = open(&BlockConfig::new(&path)).unwrap();
    assert_eq!(disk.size(), 1024);
    assert_eq!(read(&*disk, 998, 4), [7, 7, 0, 0]);
    disk.write_at(1020, &[1, 2, 3, 4]).unwrap();
    assert_eq!(read(&*disk, 998, 26)[20..], [0, 0, 1, 2, 3, 4]);
    let e = disk.write_at(0, b"QFI\xFB and so on").unwrap_err();
    assert_eq!(e.kind(), std::io::ErrorKind::PermissionDenied);
    drop(disk);
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 1024);
}

#[test]
fn snapshot_keeps_the_file_and_leaves_nothing_behind() {
    let dir = Dir::new();
    let path = dir.path("s.raw");
    std::fs::write(&path, vec![5; 300_000]).unwrap();
    let disk = open(&BlockConfig { snapshot: true, discard: true, ..BlockConfig::new(&path) }).unwrap();
    disk.write_at(65_530, &[1; 20]).unwrap();
    disk.write_at(299_999, &[2]).unwrap();
    assert_eq!(read(&*disk, 65_528, 24), [[5; 2].as_slice(), &[1; 20], &[5; 2]].concat());
    assert_eq!(read(&*disk, 299_998, 2), [5, 2]);
    disk.discard(0, 131_072).unwrap();
    assert_eq!(read(&*disk, 65_530, 1), [0]);
    disk.write_at(100, &[3]).unwrap();
    assert_eq!(read(&*disk, 99, 3), [0, 3, 0]);
    assert!(!disk.readonly());
    drop(disk);
    assert_eq!(std::fs::read(&path).unwrap(), vec![5; 300_000]);
    assert_eq!(std::fs::read_dir(dir.0.path()).unwrap().count(), 1);
}

#[test]
fn cache_modes_write_through_or_not_and_direct_io_works_where_the_host_has_it() {
    let dir = Dir::on_disk();
    for cache in [CacheMode::Writethrough, CacheMode::DirectSync, CacheMode::None, CacheMode::Unsafe] {
        let name = format!("{cache:?}");
        let Some(path) = dir.create(&name, &[]) else { return };
        let disk = match open(&BlockConfig { cache, ..BlockConfig::new(&path) }) {
            Ok(d) => d,
            Err(e) => {
                assert!(e.to_string().contains("cache=writeback"), "{e}");
                continue;
            }
        };
        disk.write_at(70_000, &[1; 700]).unwrap();
        disk.flush().unwrap();
        assert_eq!(read(&*disk, 70_000, 700), [1; 700]);
        drop(disk);
        qemu_img(&["check", &text(&path)]);
    }
}

#[test]
fn a_queue_runs_in_order_counts_and_drains() {
    let disk = block::MemoryDisk::new(vec![0; 8192], false);
    let queue = BlockQueue::new("hd0", disk).unwrap();
    let log = Arc::new(Mutex::new(vec![]));
    for i in 0..4u8 {
        let log = log.clone();
        queue.submit(BlockOp::Write { offset: u64::from(i) * 512, data: vec![i; 512] }, move |r| {
            r.unwrap();
            log.lock().unwrap().push(i);
        });
    }
    let (tx, rx) = mpsc::channel();
    queue.submit(BlockOp::Read { offset: 1024, len: 512 }, move |r| tx.send(r.unwrap()).unwrap());
    queue.submit(BlockOp::Read { offset: 8000, len: 512 }, |r| assert!(r.is_err()));
    queue.submit(BlockOp::Flush, |r| assert!(r.unwrap().is_empty()));
    queue.drain();
    assert_eq!(*log.lock().unwrap(), [0, 1, 2, 3]);
    assert_eq!(rx.try_recv().unwrap(), [2; 512]);
    let s = queue.stats();
    assert_eq!(
        (s.read.operations, s.read.bytes, s.write.bytes, s.flush.operations, s.read.invalid, s.failed()),
        (1, 512, 2048, 1, 1, 1)
    );
    assert!(s.highest_write > 0 && s.write.time_ns > 0 && s.unmap.operations == 0);
}

/// What the killed process does: random writes, discards and flushes without end.
fn write_until_killed(path: &Path) {
    let disk = open(&BlockConfig { discard: true, ..BlockConfig::new(path) }).unwrap();
    let mut x = std::process::id().wrapping_mul(2_654_435_761) | 1;
    println!("writing");
    loop {
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        let at = u64::from(x) % (disk.size() - 200_000);
        match x >> 28 {
            0 => disk.discard(at, 150_000).unwrap(),
            1 => disk.flush().unwrap(),
            _ => disk.write_at(at, &vec![x as u8; (x % 150_000) as usize]).unwrap(),
        }
    }
}

/// Kills writers of `path` again and again; the image must be consistent each time.
fn kill_writers(path: &Path, test: &str, rounds: u64) {
    for round in 0..rounds {
        let mut writer = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture"])
            .env("WHPX_TEST_WRITER", path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = std::io::BufRead::lines(std::io::BufReader::new(writer.stdout.take().unwrap()));
        assert!(lines.any(|l| l.is_ok_and(|l| l.contains("writing"))), "the writer starts");
        std::thread::sleep(Duration::from_millis(5 + round * 7));
        writer.kill().unwrap();
        writer.wait().unwrap();
        let check = Command::new("qemu-img").args(["check", &text(path)]).output().unwrap();
        // 3 is "leaked clusters": space lost until the next repair, no wrong data.
        let code = check.status.code();
        let said = String::from_utf8_lossy(&check.stdout).into_owned() + &String::from_utf8_lossy(&check.stderr);
        assert!(matches!(code, Some(0 | 3)), "round {round}: {said}");
    }
}

#[test]
fn a_killed_writer_leaves_a_consistent_image() {
    if let Some(path) = std::env::var_os("WHPX_TEST_WRITER") {
        write_until_killed(Path::new(&path));
    }
    let dir = Dir::new();
    let path = dir.path("k.qcow2");
    if qemu_img(&["create", "-q", "-f", "qcow2", "-o", "cluster_size=4096", &text(&path), "128M"]).is_some() {
        kill_writers(&path, "a_killed_writer_leaves_a_consistent_image", 15);
    }
}

#[test]
fn a_killed_writer_of_a_compressed_image_with_a_snapshot() {
    if let Some(path) = std::env::var_os("WHPX_TEST_WRITER") {
        write_until_killed(Path::new(&path));
    }
    let dir = Dir::new();
    let (raw, path) = (dir.path("k.raw"), dir.path("k.qcow2"));
    let mut data: Vec<u8> = (0..8_000_000u32).map(|i| (i / 5000) as u8).collect();
    data.resize(64 << 20, 0);
    std::fs::write(&raw, data).unwrap();
    let args = ["convert", "-c", "-O", "qcow2", "-o", "cluster_size=4096", &text(&raw), &text(&path)];
    if qemu_img(&args).is_some() {
        qemu_img(&["snapshot", "-c", "before", &text(&path)]);
        kill_writers(&path, "a_killed_writer_of_a_compressed_image_with_a_snapshot", 6);
        qemu_img(&["snapshot", "-a", "before", &text(&path)]);
        let out = dir.path("after.raw");
        qemu_img(&["convert", "-O", "raw", &text(&path), &text(&out)]);
        let (before, after) = (std::fs::read(&raw).unwrap(), std::fs::read(out).unwrap());
        assert!(before == after, "the snapshot's data is untouched");
    }
}
