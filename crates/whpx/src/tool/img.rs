//! `whpx img`: disk images, with qemu-img's names of commands and options.
//!
//! Where qemu-img would overwrite or guess, this refuses and says what to type: an existing file is replaced only with
//! `--force`. An option that is not known is an error.

mod args;
mod show;

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use block::Format;
use block::img::{
    self, Chain, CheckReport, Control, Conversion, Creation, ImgError, NewQcow2, Preallocation, Repair, Resize,
};

use args::Parsed;

pub(super) const HELP: &str = "\
usage: whpx img COMMAND
  create [-f FMT] [-b BACKING -F FMT] [-o OPTIONS] [-u] [-q] [--force] FILE [SIZE]
  info [-f FMT] [--output human|json] [--backing-chain] [-U] FILE
  check [-f FMT] [-r leaks|all] [--output human|json] [-q] [-U] FILE
  convert [-f FMT] [-O FMT] [-o OPTIONS] [-c] [-l SNAPSHOT] [-S SIZE] [-p] [-q] [-U] [--force] SOURCE TARGET
  snapshot [-f FMT] [-l | -c NAME | -a NAME | -d NAME] [-q] [-U] FILE
  resize [-f FMT] [--shrink] [--preallocation MODE] [-q] FILE [+|-]SIZE
  map [-f FMT] [--output human|json] [-s OFFSET] [-l LENGTH] [-U] FILE
Formats (FMT): raw, qcow2; without -f the file is looked at, without -O it is raw. Sizes take K, M, G, T, P.
  -o OPTIONS   qcow2: size, cluster_size, compat=0.10|1.1, lazy_refcounts=on|off, refcount_bits, backing_file,
               backing_fmt, preallocation=off|metadata|falloc|full; raw: size, preallocation=off|falloc|full
  -b BACKING   the new image is what differs from this file; a relative name counts from the image's folder
  -u           create: BACKING need not be there; SIZE must be given
  -c           convert: compress; snapshot: create
  -S SIZE      convert to raw: so many zero bytes (4k) are left out; 0: everything is written
  -l NAME      convert: this snapshot in the image, by ID or name
  -p           a progress display
  -q           say nothing but errors
  -r           repair: leaks (clusters that nobody uses), or all (also counts and flags that are wrong)
  -U           read although another process writes the image: what is read can be inconsistent
  --force      replace a file that is there
An image that a machine uses is refused. A new image gets its name when it is complete; Ctrl-C leaves none.
status: 0 done; 1 an error
check:  0 no errors; 1 not checked; 2 errors in the image; 3 leaked clusters only; 63 nothing to check in this format
";

/// What a command ends with when it is not an error.
type Outcome = Result<u8, String>;

pub(super) fn command(args: &[OsString]) -> ExitCode {
    match run(args) {
        Ok(status) => ExitCode::from(status),
        Err(e) => {
            eprintln!("whpx img: {e}");
            ExitCode::FAILURE
        }
    }
}

const COMMANDS: [&str; 7] = ["create", "info", "check", "convert", "snapshot", "resize", "map"];

fn run(args: &[OsString]) -> Outcome {
    let Some((command, rest)) = args.split_first() else {
        return Err(format!("a command is missing\n{HELP}"));
    };
    let command = command.to_string_lossy();
    if matches!(command.as_ref(), "-h" | "--help" | "help") || rest.iter().any(|a| a == "-h" || a == "--help") {
        write_out(HELP)?;
        return Ok(0);
    }
    match command.as_ref() {
        "create" => create(rest),
        "info" => info(rest),
        "check" => check(rest),
        "convert" => convert(rest),
        "snapshot" => snapshot(rest),
        "resize" => resize(rest),
        "map" => map(rest),
        other => {
            let near = cli::nearest(other, COMMANDS).map(|n| format!(" Did you mean {n}?")).unwrap_or_default();
            Err(format!("there is no command '{other}'.{near} 'whpx img --help' lists them"))
        }
    }
}

/// To standard output; somebody who closes it early is no error.
fn write_out(text: &str) -> Result<(), String> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(format!("cannot write: {e}")),
        _ => Ok(()),
    }
}

fn error(e: ImgError) -> String {
    e.to_string()
}

/// Ctrl-C asks the command to stop; it removes what it has begun.
fn control(progress: bool) -> Control {
    let stop = Arc::new(AtomicBool::new(false));
    let asked = stop.clone();
    // Without a handler Ctrl-C ends the process, and a temporary file stays: no reason not to work.
    let _none = ctrlc::set_handler(move || asked.store(true, Ordering::Relaxed));
    let shown = AtomicU64::new(u64::MAX);
    let progress = progress.then(|| {
        let show = move |part: f64| {
            let hundredths = (part * 10000.0) as u64;
            if shown.swap(hundredths, Ordering::Relaxed) != hundredths {
                let _closed = write_out(&format!("    ({}.{:02}/100%)\r", hundredths / 100, hundredths % 100));
            }
        };
        Arc::new(show) as Arc<dyn Fn(f64) + Send + Sync>
    });
    Control { stop, progress }
}

fn size(what: &str, text: &str) -> Result<u64, String> {
    cli::parse_size(text, 1).ok_or_else(|| format!("{what} '{text}': not a size, as in 512, 64k, 20G"))
}

fn format(args: &Parsed, option: &str) -> Result<Option<Format>, String> {
    args.value(option).map(|f| f.parse().map_err(|e| format!("{option}: {e}"))).transpose()
}

/// `-o`, as far as both formats have it.
#[derive(Default)]
struct NewImage {
    size: Option<u64>,
    preallocation: Preallocation,
    qcow2: Option<NewQcow2>,
}

fn on_off(key: &str, value: &str) -> Result<bool, String> {
    match value {
        "on" | "yes" | "true" => Ok(true),
        "off" | "no" | "false" => Ok(false),
        _ => Err(format!("-o {key}={value}: it is on or off")),
    }
}

/// Options of a new image in `format`, from `-o`, `-b` and `-F`.
fn new_image(args: &Parsed, format: Format) -> Result<NewImage, String> {
    let mut new = NewImage::default();
    let mut q = NewQcow2::default();
    let (mut backing, mut backing_format) = (args.value("-b").map(str::to_owned), args.value("-F").map(str::to_owned));
    for text in args.values("-o") {
        for pair in args::commas(text) {
            let (key, value) = pair.split_once('=').ok_or_else(|| format!("-o {pair}: it is NAME=VALUE"))?;
            let qcow2 = format == Format::Qcow2;
            match key {
                "size" => new.size = Some(size("-o size", value)?),
                "preallocation" => new.preallocation = value.parse().map_err(|e| format!("-o {e}"))?,
                "cluster_size" if qcow2 => q.cluster_size = size("-o cluster_size", value)?,
                "refcount_bits" if qcow2 => {
                    q.refcount_bits = value.parse().map_err(|_| format!("-o {pair}: not a number"))?;
                }
                "lazy_refcounts" if qcow2 => q.lazy_refcounts = on_off(key, value)?,
                "compat" if qcow2 => {
                    q.version = match value {
                        "0.10" | "v2" => 2,
                        "1.1" | "v3" => 3,
                        _ => return Err(format!("-o {pair}: it is 0.10 or 1.1")),
                    }
                }
                "backing_file" if qcow2 => backing = Some(value.into()),
                "backing_fmt" if qcow2 => backing_format = Some(value.into()),
                "compression_type" if qcow2 && value == "zlib" => {}
                "extended_l2" | "encryption" | "data_file_raw" | "nocow" if on_off(key, value) == Ok(false) => {}
                _ => return Err(format!("-o {pair}: {format} images have no such option here; see 'whpx img --help'")),
            }
        }
    }
    match (backing, backing_format) {
        (None, None) => {}
        (Some(_), _) if format == Format::Raw => return Err("-b: raw images have no backing file; use qcow2".into()),
        (Some(file), Some(f)) => q.backing = Some((file, f.parse().map_err(|e| format!("-F: {e}"))?)),
        (Some(file), None) => return Err(format!("-b {file}: say its format too, with -F raw or -F qcow2")),
        (None, Some(f)) => return Err(format!("-F {f}: there is no -b BACKING")),
    }
    q.preallocation = new.preallocation;
    match format {
        Format::Qcow2 => new.qcow2 = Some(q),
        Format::Raw if new.preallocation == Preallocation::Metadata => {
            return Err("-o preallocation=metadata: raw images have no metadata; use falloc or full".into());
        }
        Format::Raw => {}
    }
    Ok(new)
}

fn create(args: &[OsString]) -> Outcome {
    let args = Parsed::parse("create", args, "qu", "f:b:F:o:", &["force"], &[], 1..=2)?;
    let path = args.file(0);
    let format = format(&args, "-f")?.unwrap_or(Format::Raw);
    let new = new_image(&args, format)?;
    let typed = args.operand(1).map(|s| size("SIZE", &s)).transpose()?;
    let creation = Creation {
        path: path.clone(),
        size: typed.or(new.size),
        qcow2: new.qcow2,
        preallocation: new.preallocation,
        unsafe_backing: args.has("-u"),
        force: args.has("--force"),
    };
    let made = img::create(&creation, &control(false)).map_err(error)?;
    if !args.has("-q") {
        let mut text = format!("Formatting '{}', fmt={format} size={made}", path.display());
        if let Some(q) = &creation.qcow2 {
            text += &format!(" cluster_size={} refcount_bits={}", q.cluster_size, q.refcount_bits);
            if let Some((file, format)) = &q.backing {
                text += &format!(" backing_file={file} backing_fmt={format}");
            }
        }
        write_out(&(text + "\n"))?;
    }
    Ok(0)
}

fn info(args: &[OsString]) -> Outcome {
    let args = Parsed::parse("info", args, "U", "f:", &["backing-chain", "force-share"], &["output"], 1..=1)?;
    let (path, format, share, json) = (args.file(0), format(&args, "-f")?, args.share(), args.json()?);
    let all = if args.has("--backing-chain") {
        img::info_chain(&path, format, share)
    } else {
        img::info(&path, format, share).map(|one| vec![one])
    };
    let all = all.map_err(error)?;
    let text = match json {
        true if args.has("--backing-chain") => show::pretty(&all.iter().map(block::img::info_json).collect::<Vec<_>>()),
        true => all.iter().map(|i| show::pretty(&block::img::info_json(i))).collect(),
        false => all.iter().map(show::info_text).collect::<Vec<_>>().join("\n"),
    };
    write_out(&text)?;
    Ok(0)
}

fn check(args: &[OsString]) -> Outcome {
    let args = Parsed::parse("check", args, "qUp", "f:r:", &["force-share"], &["output", "repair"], 1..=1)?;
    let path = args.file(0);
    let repair = match args.value("-r").or(args.value("--repair")) {
        None => None,
        Some("leaks") => Some(Repair::Leaks),
        Some("all") => Some(Repair::All),
        Some(other) => return Err(format!("-r {other}: it is leaks or all")),
    };
    if repair.is_some() && args.share() {
        return Err("-r changes the image: it cannot be used with -U".into());
    }
    let json = args.json()?;
    let control = control(args.has("-p") && !json);
    let report = img::check(&path, format(&args, "-f")?, repair, args.share(), &control).map_err(error)?;
    let Some(report) = report else {
        if !args.has("-q") {
            eprintln!("whpx img: '{}' is raw: there is nothing to check", path.display());
        }
        return Ok(63);
    };
    if json {
        write_out(&show::pretty(&show::check_json(&path, &report)))?;
    } else if !args.has("-q") {
        write_out(&show::check_text(&report))?;
    }
    Ok(check_status(&report))
}

fn check_status(report: &CheckReport) -> u8 {
    match (report.corruptions, report.leaks) {
        (0, 0) => 0,
        (0, _) => 3,
        _ => 2,
    }
}

fn convert(args: &[OsString]) -> Outcome {
    let longs = ["force", "force-share"];
    let args = Parsed::parse("convert", args, "cpqU", "f:O:o:l:S:b:F:", &longs, &["target-format"], 2..=2)?;
    if args.has("-b") || args.has("-F") {
        return Err("-b, -F: a copy stands alone here; `whpx img create -b` makes an overlay".into());
    }
    let target_format = format(&args, "-O")?.unwrap_or(Format::Raw);
    let new = new_image(&args, target_format)?;
    if new.size.is_some() {
        return Err("-o size: a copy has its source's size; use `whpx img resize` afterwards".into());
    }
    if new.qcow2.as_ref().is_some_and(|q| q.preallocation != Preallocation::Off) {
        return Err("-o preallocation: convert makes sparse qcow2 images only".into());
    }
    let compress = args.has("-c");
    if compress && target_format == Format::Raw {
        return Err("-c: raw images are not compressed; use -O qcow2".into());
    }
    let conversion = Conversion {
        source: args.file(0),
        source_format: format(&args, "-f")?,
        // qemu-img takes a list of options here too.
        snapshot: args.value("-l").map(|s| {
            let name = s.strip_prefix("snapshot.id=").or(s.strip_prefix("snapshot.name=")).unwrap_or(s);
            name.to_owned()
        }),
        share: args.share(),
        target: args.file(1),
        preallocation: new.preallocation,
        qcow2: new.qcow2,
        compress,
        sparse: args.value("-S").map(|s| size("-S", s)).transpose()?.unwrap_or(4096),
        force: args.has("--force"),
    };
    let progress = args.has("-p") && !args.has("-q");
    img::convert(&conversion, &control(progress)).map_err(error)?;
    if progress {
        write_out("\n")?;
    }
    Ok(0)
}

fn snapshot(args: &[OsString]) -> Outcome {
    let args = Parsed::parse("snapshot", args, "lqU", "f:c:a:d:", &["force-share"], &[], 1..=1)?;
    let (path, format) = (args.file(0), format(&args, "-f")?);
    let changes: Vec<&str> = ["-c", "-a", "-d"].into_iter().filter(|o| args.has(o)).collect();
    match (changes.as_slice(), args.has("-l")) {
        ([], _) => {
            let list = img::list_snapshots(&path, format, args.share()).map_err(error)?;
            if !list.is_empty() {
                write_out(&show::snapshots_text(&list))?;
            }
            return Ok(0);
        }
        ([_], false) => {}
        _ => return Err("one of -l, -c, -a, -d".into()),
    }
    // Done to the end, Ctrl-C or not: the image is changed in place.
    let _control = control(false);
    let name = |option| args.value(option).unwrap_or_default();
    match changes[0] {
        "-c" => img::create_snapshot(&path, format, name("-c")),
        "-a" => img::apply_snapshot(&path, format, name("-a")),
        _ => img::delete_snapshot(&path, format, name("-d")),
    }
    .map_err(error)?;
    Ok(0)
}

fn resize(args: &[OsString]) -> Outcome {
    let args = Parsed::parse("resize", args, "q", "f:", &["shrink"], &["preallocation"], 2..=2)?;
    let path = args.file(0);
    let typed = args.operand(1).unwrap_or_default();
    let change = match typed.split_at_checked(1) {
        Some(("+", rest)) => Resize::By(size("SIZE", rest)?),
        Some(("-", rest)) => Resize::Less(size("SIZE", rest)?),
        _ => Resize::To(size("SIZE", &typed)?),
    };
    let preallocation = args.value("--preallocation").map(str::parse).transpose()?.unwrap_or_default();
    let _control = control(false);
    let (old, new) =
        img::resize(&path, format(&args, "-f")?, change, args.has("--shrink"), preallocation).map_err(error)?;
    if !args.has("-q") {
        write_out(&format!("Image resized: {} to {}.\n", img::human_size(old), img::human_size(new)))?;
    }
    Ok(0)
}

fn map(args: &[OsString]) -> Outcome {
    let longs = ["output", "start-offset", "max-length"];
    let args = Parsed::parse("map", args, "U", "f:s:l:", &["force-share"], &longs, 1..=1)?;
    let number = |short: &str, long: &str| args.value(short).or(args.value(long)).map(|v| size(short, v)).transpose();
    let start = number("-s", "--start-offset")?.unwrap_or(0);
    let length = number("-l", "--max-length")?.unwrap_or(u64::MAX);
    let json = args.json()?;
    let mut chain = Chain::open(&args.file(0), format(&args, "-f")?, args.share()).map_err(error)?;
    let paths: Vec<PathBuf> = (0..).map(|d| chain.path(d).to_path_buf()).take_while(|p| p != Path::new("")).collect();
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let mut rows = show::MapRows::new(json);
    let mut closed = false;
    let done = chain.map(start, length, &control(false), |extent| {
        let row = rows.row(extent, &paths);
        closed |= out.write_all(row.as_bytes()).is_err();
        if closed { Err(ImgError::Stopped) } else { Ok(()) }
    });
    match done {
        Err(_) if closed => return Ok(0),
        done => done.map_err(error)?,
    }
    let _closed = out.write_all(rows.end().as_bytes()).and_then(|()| out.flush());
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fails(line: &str) -> String {
        run(&line.split_whitespace().map(OsString::from).collect::<Vec<_>>()).unwrap_err()
    }

    #[test]
    fn wrong_command_lines_say_what_to_do() {
        for (line, says) in [
            ("creat x 1G", "Did you mean create?"),
            ("create -f vmdk x 1G", "supported are raw and qcow2"),
            ("create x 1Q", "SIZE '1Q': not a size"),
            ("create -f qcow2 x", "say how large"),
            ("create -f qcow2 -b base x", "-F raw or -F qcow2"),
            ("create -b base -F raw x 1G", "use qcow2"),
            ("create -f qcow2 -o colour=red x 1G", "no such option"),
            ("create -f qcow2 -o cluster_size=3000 x 1G", "a power of two from 512 to 2M"),
            ("create -f qcow2 -o compat=0.10,refcount_bits=8 x 1G", "compat=0.10 has"),
            ("create -z x 1G", "unknown option '-z'"),
            ("create x 1G y", "too many"),
            ("convert -c a b", "use -O qcow2"),
            ("convert a", "operand"),
            ("check -r some x", "leaks or all"),
            ("info --output=xml x", "human or json"),
            ("snapshot -c a -d b x", "one of -l"),
        ] {
            let e = fails(line);
            assert!(e.contains(says), "{line}: {e}");
        }
        assert!(fails("info /nowhere/x.qcow2").contains("No such file"));
    }
}
