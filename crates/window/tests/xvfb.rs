//! The window on a real X server: `Xvfb` (Debian's package xvfb), with `xdotool` as the person. The X server keeps its picture in a file.

#![cfg(all(unix, not(target_os = "macos")))]

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use display::{DisplaySource, Rect, ScreenService, Surface};
use input::{Capabilities, InputBus, InputEvent, InputHandler};
use window::WindowOptions;

const SCREEN: (u32, u32) = (320, 200);
const LIMIT: Duration = Duration::from_secs(60);
/// Where the inner test finds the X server's picture.
const PICTURE: &str = "WHPX_TEST_XVFB_PICTURE";

/// A picture whose every pixel is another.
struct Paper;

fn colour(x: u32, y: u32) -> u32 {
    (x % 256) << 16 | (y % 256) << 8 | (x / 256) << 4
}

impl DisplaySource for Paper {
    fn render(&self, surface: &mut Surface) -> Vec<Rect> {
        if !surface.resize(SCREEN.0, SCREEN.1) {
            return vec![];
        }
        for y in 0..SCREEN.1 {
            (0..).zip(surface.row_mut(y)).for_each(|(x, p)| *p = colour(x, y));
        }
        surface.bounds().into_iter().collect()
    }

    fn text(&self) -> Option<Vec<String>> {
        None
    }
}

#[derive(Default)]
struct Log(Mutex<Vec<InputEvent>>);

impl InputHandler for Log {
    fn input(&self, event: &InputEvent) {
        self.0.lock().unwrap().push(*event);
    }
}

impl Log {
    fn on(bus: &InputBus, capabilities: Capabilities) -> Arc<Self> {
        let log = Arc::new(Self::default());
        let handler: Arc<dyn InputHandler> = log.clone();
        let id = bus.register("log", capabilities, Arc::downgrade(&handler));
        bus.activate(id);
        log
    }
}

fn wait<T>(what: &str, look: impl Fn() -> Option<T>) -> T {
    let end = Instant::now() + LIMIT;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "{what}: not within {LIMIT:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn xdotool(words: &[&str]) -> String {
    let out = Command::new("xdotool").args(words).output().unwrap();
    assert!(out.status.success(), "xdotool {words:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).trim().to_owned()
}

/// The pixel of the X server's screen: XWD version 7, big-endian header, 4 bytes a pixel.
fn pixel(x: u32, y: u32) -> Option<u32> {
    let bytes = std::fs::read(std::env::var_os(PICTURE)?).ok()?;
    let word = |n: usize| bytes.get(n * 4..n * 4 + 4).map(|b| u32::from_be_bytes(b.try_into().unwrap()));
    // Header size, bytes a line, colours in the map.
    let at = word(0)? + word(19)? * 12 + y * word(12)? + x * 4;
    let pixel = bytes.get(at as usize..at as usize + 4)?;
    Some(u32::from_le_bytes(pixel.try_into().unwrap()) & 0xFF_FFFF)
}

/// What a window manager sends when a window's close button is pressed (ICCCM 4.2.8).
fn close(window: u32) {
    use x11rb::protocol::xproto::{ClientMessageEvent, ConnectionExt, EventMask};
    let (connection, _) = x11rb::connect(None).unwrap();
    let atom = |name: &str| connection.intern_atom(false, name.as_bytes()).unwrap().reply().unwrap().atom;
    let data = [atom("WM_DELETE_WINDOW"), 0, 0, 0, 0];
    let event = ClientMessageEvent::new(32, window, atom("WM_PROTOCOLS"), data);
    connection.send_event(false, window, EventMask::NO_EVENT, event).unwrap().check().unwrap();
}

/// The X server, ended with the test.
struct Xvfb(Child);

impl Drop for Xvfb {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn xvfb(folder: &Path) -> Option<(Xvfb, String)> {
    let mut command = Command::new("Xvfb");
    command.args(["-displayfd", "1", "-screen", "0", "800x600x24", "-nolisten", "tcp", "-fbdir"]).arg(folder);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().ok()?;
    let mut stdout = child.stdout.take().unwrap();
    let server = Xvfb(child);
    let mut text = String::new();
    let mut byte = [0];
    while stdout.read(&mut byte).unwrap() == 1 && byte != *b"\n" {
        text.push(byte[0] as char);
    }
    // The pipe stays open: the server may write to it again.
    std::mem::forget(stdout);
    Some((server, format!(":{}", text.trim())))
}

fn missing() -> Option<&'static str> {
    let there =
        |name: &str| Command::new(name).arg("-help").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !there("Xvfb") {
        Some("Xvfb is not installed (Debian's package xvfb)")
    } else if !there("xdotool") {
        Some("xdotool is not installed (Debian's package xdotool)")
    } else {
        None
    }
}

#[test]
fn keys_pointer_and_picture_on_an_x_server() {
    if let Some(why) = missing() {
        eprintln!("skipped: {why}");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let Some((_server, display)) = xvfb(folder.path()) else {
        eprintln!("skipped: Xvfb does not start");
        return;
    };
    // The window takes the display from the environment, which belongs to the whole process: another one.
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "inside_of_it", "--nocapture"])
        .env("DISPLAY", display)
        .env_remove("WAYLAND_DISPLAY")
        .env(PICTURE, folder.path().join("Xvfb_screen0"))
        .status()
        .unwrap();
    assert!(status.success());
}

#[test]
fn without_a_desktop_the_error_says_what_to_do() {
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "no_desktop", "--nocapture"])
        .env_remove("DISPLAY")
        .env_remove("WAYLAND_DISPLAY")
        .status()
        .unwrap();
    assert!(status.success());
}

fn options(bus: &Arc<InputBus>, quit: Box<dyn Fn() + Send>) -> WindowOptions {
    WindowOptions {
        typed: "-display window".into(),
        name: "whpx-test".into(),
        screen: ScreenService::new(Arc::new(Paper)),
        bus: bus.clone(),
        state: Box::new(|| "running".into()),
        quit,
    }
}

#[test]
#[ignore = "a part of without_a_desktop_the_error_says_what_to_do"]
fn no_desktop() {
    if !cfg!(unix) || window::desktop_is_there() {
        return;
    }
    let error = window::start(options(&InputBus::new(), Box::new(|| ()))).unwrap_err().to_string();
    assert!(error.starts_with("-display window: there is no desktop") && error.contains("-display web"), "{error}");
}

#[test]
#[ignore = "a part of keys_pointer_and_picture_on_an_x_server, which starts the X server"]
fn inside_of_it() {
    if std::env::var_os(PICTURE).is_none() {
        return;
    }
    let bus = InputBus::new();
    let keys = Log::on(&bus, Capabilities { keyboard: true, ..Capabilities::default() });
    let tablet = Log::on(&bus, Capabilities { absolute: true, ..Capabilities::default() });
    let (tell, told) = std::sync::mpsc::channel();
    window::start(options(&bus, Box::new(move || tell.send(()).unwrap()))).unwrap();
    // No window manager here: windows are at 0, 0, and somebody has to give the keyboard to one.
    let id = xdotool(&["search", "--sync", "--name", "whpx-test \\[running\\]"]);
    xdotool(&["windowfocus", "--sync", &id]);
    wait("the picture", || {
        (pixel(300, 150) == Some(colour(300, 150)) && pixel(5, 3) == Some(colour(5, 3))).then_some(())
    });

    xdotool(&["mousemove", "--window", &id, "100", "50"]);
    let place = InputEvent::AbsMove { x: (100 * 0x7FFF / 319) as u16, y: (50 * 0x7FFF / 199) as u16 };
    wait("the pointer", || (tablet.0.lock().unwrap().contains(&place)).then_some(()));
    xdotool(&["click", "3"]);
    let right = |down| InputEvent::Button { button: input::MouseButton::Right, down };
    wait("the button", || (tablet.0.lock().unwrap().contains(&right(false))).then_some(()));
    assert!(tablet.0.lock().unwrap().contains(&right(true)));
    xdotool(&["click", "4"]);
    let wheel = InputEvent::Wheel { vertical: 1, horizontal: 0 };
    wait("the wheel", || (tablet.0.lock().unwrap().contains(&wheel)).then_some(()));

    xdotool(&["key", "shift+a"]);
    let text = || {
        let word = |e: &InputEvent| match e {
            InputEvent::Key { key, down } => Some(format!("{}{}", if *down { '+' } else { '-' }, key.name())),
            _ => None,
        };
        keys.0.lock().unwrap().iter().filter_map(word).collect::<Vec<_>>().join(" ")
    };
    wait("the keys", || (text() == "+shift +a -shift -a").then_some(()));

    // Twice as large: so is the picture.
    xdotool(&["windowsize", "--sync", &id, "640", "400"]);
    wait("the larger picture", || (pixel(601, 301) == Some(colour(300, 150))).then_some(()));

    // Without the tablet: a click takes the pointer, motion is motion, Ctrl-Alt-G gives it back.
    drop(tablet);
    let mouse = Log::on(&bus, Capabilities { relative: true, ..Capabilities::default() });
    xdotool(&["mousemove", "--window", &id, "300", "200", "click", "1"]);
    let title = |part: &str| {
        let part = part.to_owned();
        let id = id.clone();
        move || xdotool(&["getwindowname", &id]).contains(&part).then_some(())
    };
    wait("the grabbed pointer", title("Ctrl-Alt-G releases"));
    assert!(mouse.0.lock().unwrap().is_empty(), "the click that takes the pointer is not the guest's");
    xdotool(&["mousemove_relative", "--", "7", "-4"]);
    let motion = || {
        let by = |e: &InputEvent| if let InputEvent::RelMove { dx, dy } = e { Some((*dx, *dy)) } else { None };
        let all = mouse.0.lock().unwrap();
        all.iter().filter_map(by).fold((0, 0), |sum, by| (sum.0 + by.0, sum.1 + by.1))
    };
    wait("motion", || (motion() == (7, -4)).then_some(()));
    xdotool(&["key", "ctrl+alt+g"]);
    wait("the pointer given back", || (!xdotool(&["getwindowname", &id]).contains("Ctrl-Alt-G")).then_some(()));

    close(id.parse().unwrap());
    told.recv_timeout(LIMIT).unwrap();
}
