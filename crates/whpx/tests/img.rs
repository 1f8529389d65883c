//! `whpx img` as its users start it: options, output, status.

use std::path::Path;
use std::process::{Command, Output};

fn img(folder: &Path, line: &str) -> Output {
    let args = line.split_whitespace();
    Command::new(env!("CARGO_BIN_EXE_whpx")).current_dir(folder).arg("img").args(args).output().unwrap()
}

fn ok(folder: &Path, line: &str) -> String {
    let out = img(folder, line);
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(out.status.success(), "{line}: {text} {}", String::from_utf8_lossy(&out.stderr));
    text
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

#[test]
fn a_life_of_an_image() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let made = ok(dir, "create -f qcow2 -o cluster_size=4k,lazy_refcounts=on disk.qcow2 1.5G");
    assert!(made.contains("Formatting 'disk.qcow2', fmt=qcow2 size=1610612736"), "{made}");
    let info = json(&ok(dir, "info --output=json disk.qcow2"));
    assert_eq!((&info["format"], &info["virtual-size"]), (&"qcow2".into(), &1_610_612_736u64.into()));
    assert_eq!(info["format-specific"]["data"]["lazy-refcounts"], true);
    let text = ok(dir, "info disk.qcow2");
    assert!(
        text.contains("virtual size: 1.5 GiB (1610612736 bytes)\n") && text.contains("cluster_size: 4096"),
        "{text}"
    );
    std::fs::write(dir.join("data.raw"), vec![0x5A; 3 << 20]).unwrap();
    let shown = ok(dir, "convert -p -c -f raw -O qcow2 data.raw data.qcow2");
    assert!(shown.ends_with("(100.00/100%)\r\n"), "{shown:?}");
    assert!(std::fs::metadata(dir.join("data.qcow2")).unwrap().len() < 1 << 20, "not compressed");
    ok(dir, "snapshot -c first data.qcow2");
    assert!(ok(dir, "snapshot -l data.qcow2").contains("1       first"));
    assert_eq!(json(&ok(dir, "info --output json data.qcow2"))["snapshots"][0]["name"], "first");
    ok(dir, "snapshot -a first data.qcow2");
    ok(dir, "snapshot -d first data.qcow2");
    assert_eq!(ok(dir, "resize data.qcow2 +1M"), "Image resized: 3 MiB to 4 MiB.\n");
    let map = json(&ok(dir, "map --output=json data.qcow2"));
    assert_eq!(map[map.as_array().unwrap().len() - 1]["zero"], true, "{map}");
    assert!(ok(dir, "map data.qcow2").starts_with("Offset          Length          Mapped to       File\n0x0 "));
    ok(dir, "convert -q data.qcow2 back.raw");
    let back = std::fs::read(dir.join("back.raw")).unwrap();
    assert!(back.len() == 4 << 20 && back[..3 << 20] == std::fs::read(dir.join("data.raw")).unwrap()[..]);
    assert!(back[3 << 20..].iter().all(|b| *b == 0));
    ok(dir, "create -q -f qcow2 -b data.qcow2 -F qcow2 over.qcow2");
    let chain = json(&ok(dir, "info --backing-chain --output=json over.qcow2"));
    assert_eq!((&chain[0]["backing-filename"], &chain[1]["filename"]), (&"data.qcow2".into(), &"data.qcow2".into()));
    let out = img(dir, "create -q data.raw 1M");
    assert!(out.status.code() == Some(1) && String::from_utf8_lossy(&out.stderr).contains("--force"));
    ok(dir, "create -q --force data.raw 1M");
    assert_eq!(std::fs::metadata(dir.join("data.raw")).unwrap().len(), 1 << 20);
}

#[test]
fn the_status_of_a_check() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    std::fs::write(dir.join("raw"), vec![1; 1 << 20]).unwrap();
    ok(dir, "convert -O qcow2 raw a");
    let status = |line: &str| img(dir, line).status.code().unwrap();
    assert_eq!((status("check a"), status("check -f raw a"), status("check none")), (0, 63, 1));
    let mut data = std::fs::read(dir.join("a")).unwrap();
    let be64 = |data: &[u8], at: usize| u64::from_be_bytes(data[at..at + 8].try_into().unwrap()) as usize;
    let block = be64(&data, be64(&data, 48));
    data[block + 1] = 3; // the header's cluster, counted too often
    std::fs::write(dir.join("a"), &data).unwrap();
    assert_eq!(status("check a"), 3);
    let out = img(dir, "check --output=json a");
    assert_eq!(json(&String::from_utf8_lossy(&out.stdout))["leaks"], 1);
    data[block + 1] = 0;
    std::fs::write(dir.join("a"), &data).unwrap();
    assert_eq!(status("check -q a"), 2);
    assert_eq!(status("check -r leaks a"), 2);
    assert_eq!(status("check -r all a"), 0);
    assert_eq!(status("check a"), 0);
}

#[cfg(unix)]
#[test]
fn ctrl_c_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut tool = Command::new(env!("CARGO_BIN_EXE_whpx"));
    tool.current_dir(folder.path()).args(["img", "create", "-o", "preallocation=full", "disk", "900G"]);
    let mut child = tool.stderr(std::process::Stdio::piped()).spawn().unwrap();
    let files = || std::fs::read_dir(folder.path()).unwrap().count();
    while files() == 0 {
        assert_eq!(child.try_wait().unwrap(), None, "ended before it began");
        std::thread::yield_now();
    }
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let out = child.wait_with_output().unwrap();
    assert_eq!(out.status.code(), Some(1), "{}", String::from_utf8_lossy(&out.stderr));
    assert!(String::from_utf8_lossy(&out.stderr).contains("stopped"));
    assert_eq!(files(), 0);
}
