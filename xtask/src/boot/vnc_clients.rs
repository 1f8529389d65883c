//! Other people's VNC clients on a guest whose screen is known: `vncdotool`, TigerVNC's viewer on an X server without a monitor, noVNC in
//! headless Chromium through the websocket. Each sees the guest's picture, pixel by pixel, and types.

use super::front_ends::python;
use super::skip;
use super::tests::fresh;
use crate::qmp::free_port;
use crate::vga::{Agent, Code, Picture};
use crate::vmm::Vmm;
use crate::xvfb::{Ended, Xvfb};
use crate::{apt, paths, run};
use anyhow::{Context, Result, ensure};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

/// For a picture to arrive.
const LIMIT: Duration = Duration::from_secs(60);
const NOVNC: &str = "/usr/share/novnc/vnc_lite.html";
/// What is typed, with and without Shift.
const TYPED: &str = "aB1!";

/// Adds what draws a screen.
type Draw = fn(Code) -> Code;

/// What the clients are shown, one after the other: many colours, few of them, text, the same scrolled.
const SCREENS: [(&str, Draw); 4] = [
    ("mode 13h", |code| code.mode(0x13).noise(0xA000, 0, 64000, 5)),
    ("mode 12h", |code| code.mode(0x12).seq(2, 5).noise(0xA000, 0, 0x9600, 6).seq(2, 0xF)),
    ("text", |code| code.mode(3).ax(0x100).cx(0x2000).int10().ax(0x1003).bx(0).int10().noise(0xB800, 0, 4000, 7)),
    ("scrolled text", |code| code.ax(0x602).bx(0x700).cx(0).dx(0x184F).int10()),
];

pub(super) fn run_all(name: &str, vmm: &Vmm) -> Result<String> {
    let tools = [
        ("Xvfb", "xvfb"),
        ("xdotool", "xdotool"),
        ("xtigervncviewer", "tigervnc-viewer"),
        ("chromium", "chromium"),
        (NOVNC, "novnc"),
    ];
    if let Err(e) = apt::ensure(name, &tools) {
        return skip(&format!("{e:#}"));
    }
    let python = python()?;
    let folder = paths::work()?.join(name);
    fs::create_dir_all(&folder)?;
    let (port, websocket) = (free_port()?, free_port()?);
    let display = port.checked_sub(5900).context("no free port for VNC above 5900")?;
    let args = ["-vnc".into(), format!("127.0.0.1:{display},websocket={websocket}")];
    let mut agent = Agent::start(name, vmm, &args)?;
    vncdotool(&mut agent, &python, port).context("vncdotool")?;
    let x = Xvfb::start(&folder.join("x"))?;
    for encoding in ["Tight", "ZRLE", "Raw"] {
        tiger_vnc(&mut agent, &x, port, encoding).with_context(|| format!("TigerVNC with {encoding}"))?;
    }
    no_vnc(&mut agent, &python, websocket, &folder).context("noVNC")?;
    Ok("vncdotool, TigerVNC (Tight, ZRLE, Raw) and noVNC show the same pixels and type".to_owned())
}

/// The guest has got these characters, which wait in the BIOS's buffer.
fn is_typed(agent: &mut Agent) -> Result<()> {
    for expected in TYPED.bytes() {
        // mov ah, 0; int 16h; mov [7000h], al
        let code = Code::new().ax(0).bytes(&[0xCD, 0x16, 0xA2, 0, 0x70]).send(0, 0x7000, 1);
        let found = agent.ask(code, 1)?[0];
        ensure!(found == expected, "the guest got {:?} instead of {:?}", char::from(found), char::from(expected));
    }
    Ok(())
}

/// Draws a screen in the guest; how it looks.
fn draw(agent: &mut Agent, screen: Draw) -> Result<Picture> {
    agent.run(screen(Code::new()))?;
    agent.shot()
}

fn vncdotool(agent: &mut Agent, python: &Path, port: u16) -> Result<()> {
    let vncdo = |words: &[&str]| {
        let mut command = Command::new(python.with_file_name("vncdo"));
        command.args(["-s", &format!("127.0.0.1::{port}"), "--delay=50"]).args(words);
        run::output(&mut command).with_context(|| format!("vncdo {}", words.join(" ")))
    };
    let (capture, file) = (fresh("vnc-clients-capture.png")?, fresh("vnc-clients-capture.ppm")?);
    // It writes no PPM itself, and what it brings along does.
    let convert = "import sys; from PIL import Image; Image.open(sys.argv[1]).convert('RGB').save(sys.argv[2])";
    for (what, screen) in SCREENS {
        let expected = draw(agent, screen)?;
        vncdo(&["capture", &capture.to_string_lossy()])?;
        run::output(Command::new(python).args(["-c", convert]).arg(&capture).arg(&file))?;
        let found = Picture::from_ppm(&fs::read(&file)?).context("the capture is no PPM")?;
        let difference = found.difference(&expected, 0);
        ensure!(difference.is_none(), "{what}: {}", difference.unwrap_or_default());
    }
    vncdo(&["type", TYPED])?;
    is_typed(agent)
}

/// A viewer for each size of the screen: without a window manager its window keeps its own.
fn tiger_vnc(agent: &mut Agent, x: &Xvfb, port: u16, encoding: &str) -> Result<()> {
    for screens in [&SCREENS[..1], &SCREENS[1..2], &SCREENS[2..]] {
        let expected = draw(agent, screens[0].1)?;
        let log = fs::File::create(run::log_file("vnc-clients-tigervnc")?)?;
        let viewer = x
            .command("xtigervncviewer")
            .args(["-AutoSelect=0", "-PreferredEncoding", encoding, "-RemoteResize=0", "-SecurityTypes=None"])
            .args(["-Shared=1", "-Log=*:stderr:30", &format!("127.0.0.1::{port}")])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot start xtigervncviewer")?;
        let _viewer = Ended(viewer);
        let id = x.xdotool(&["search", "--sync", "--onlyvisible", "--name", "TigerVNC"])?;
        let id = id.lines().last().unwrap_or_default().to_owned();
        shows(x, &id, screens[0].0, &expected)?;
        for (what, screen) in &screens[1..] {
            let expected = draw(agent, *screen)?;
            shows(x, &id, what, &expected)?;
        }
        // No window manager gives the keyboard to it.
        x.xdotool(&["windowfocus", &id])?;
        x.xdotool(&["mousemove", "--window", &id, "5", "5", "type", "--delay", "60", TYPED])?;
        is_typed(agent)?;
    }
    Ok(())
}

/// Waits until the viewer's window has the picture.
fn shows(x: &Xvfb, id: &str, what: &str, expected: &Picture) -> Result<()> {
    let started = Instant::now();
    loop {
        let place = x.xdotool(&["getwindowgeometry", "--shell", id])?;
        let value = |name: &str| {
            place.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix('=')?.parse::<usize>().ok()).unwrap_or(0)
        };
        // The picture is in the middle of a window that has another size.
        let gap = |window: usize, picture: usize| window.saturating_sub(picture) / 2;
        let left = value("X") + gap(value("WIDTH"), expected.width);
        let top = value("Y") + gap(value("HEIGHT"), expected.height);
        let found = x.picture(left, top, expected.width, expected.height)?;
        let difference = found.difference(expected, 0);
        if difference.is_none() {
            return Ok(());
        }
        if started.elapsed() > LIMIT {
            let file = fresh("vnc-clients-found.ppm")?;
            fs::write(&file, x.picture(0, 0, 1280, 1024)?.to_ppm())?;
            anyhow::bail!("{what}: {}; the whole of it is {}", difference.unwrap_or_default(), file.display());
        }
        thread::sleep(Duration::from_millis(100));
    }
}

fn no_vnc(agent: &mut Agent, python: &Path, websocket: u16, folder: &Path) -> Result<()> {
    let script = folder.join("novnc.py");
    fs::write(&script, include_str!("novnc.py"))?;
    let chromium = run::find_program("chromium").context("chromium is not installed")?;
    let pages = Path::new(NOVNC).parent().context("no folder of noVNC")?;
    for (what, screen) in [SCREENS[0], SCREENS[2]] {
        let expected = draw(agent, screen)?;
        let file = fresh("vnc-clients-novnc.ppm")?;
        let mut command = Command::new(python);
        command.arg(&script).arg(&chromium).arg(pages).arg(websocket.to_string()).arg(folder).arg(&file);
        command.args([expected.width.to_string(), expected.height.to_string()]);
        run::output(command.arg(if what == "text" { TYPED } else { "" }))?;
        let found = Picture::from_ppm(&fs::read(&file)?).context("the page gives no PPM")?;
        let difference = found.difference(&expected, 0);
        ensure!(difference.is_none(), "{what}: {}", difference.unwrap_or_default());
    }
    is_typed(agent)
}
