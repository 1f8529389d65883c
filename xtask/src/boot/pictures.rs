//! What software draws in graphics modes, as pictures: GRUB's graphical menu by BIOS and by UEFI, and the Debian installer's three front
//! ends. What is on them is known beforehand: GRUB's background picture dot by dot, texts in a font that is at hand, the installer's banner;
//! the rest is told by its colours and by what a key moves. The last picture of each test stays in `images/work/NAME.png`.

use super::Test;
use super::q35::{flash, fresh_variables};
use crate::image::pictures::{ENTRIES, SIZE, background};
use crate::pf2::Font;
use crate::vga::Picture;
use crate::vmm::{Guest, Machine, Vmm};
use crate::{image, paths, run, screen};
use anyhow::{Context, Result, bail, ensure};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use std::{fs, thread};

/// Seconds to the menu; OVMF takes longer.
const MENU: u64 = 240;
/// Seconds from there to the installer's first question.
const QUESTION: u64 = 600;

pub(super) fn all() -> Vec<Test> {
    vec![
        Test::new("picture-grub", 1, |name, vmm| grub(name, vmm, false)),
        Test::new("picture-grub-uefi", 1, |name, vmm| grub(name, vmm, true)),
        Test::new("picture-installer-gtk", 1, graphical),
        Test::new("picture-installer-fb", 1, framebuffer),
        Test::new("picture-installer-text", 1, text),
    ]
}

/// A machine with the disc, at its menu.
struct Screen {
    guest: Guest,
    name: String,
    font: Font,
}

impl Screen {
    fn start(name: &str, vmm: &Vmm, uefi: bool) -> Result<Self> {
        image::pictures()?;
        let mut machine = Machine::new(name).memory(1024).monitor().arg("-cdrom").arg(paths::asset("pictures")?);
        if uefi {
            machine = machine.kind("q35").args(flash(&fresh_variables(name)?)?);
        }
        let font = fs::read(paths::asset("grub-font")?).context("cannot read GRUB's font")?;
        let mut guest = machine.start(vmm)?;
        guest.monitor()?.expect("(qemu)", Duration::from_secs(60))?;
        Ok(Self { guest, name: name.to_owned(), font: Font::read(&font)? })
    }

    /// A command of the monitor, to its end.
    fn command(&mut self, line: &str) -> Result<()> {
        let monitor = self.guest.monitor()?;
        monitor.take();
        monitor.line(line)?;
        monitor.expect("(qemu)", Duration::from_secs(60)).map(drop)
    }

    fn dump(&mut self, file: &str, format: &str) -> Result<Vec<u8>> {
        let path = paths::work()?.join(file);
        self.command(&format!("screendump {} -f {format}", path.display()))?;
        fs::read(&path).with_context(|| format!("the monitor wrote no {}", path.display()))
    }

    /// What the screen shows now.
    fn shot(&mut self) -> Result<Picture> {
        // The prompt that is waited for may be the one before the command: the file is not whole then.
        let mut tries = 20;
        loop {
            let bytes = self.dump(&format!("{}.ppm", self.name), "ppm")?;
            match Picture::from_ppm(&bytes).context("the screenshot is no PPM") {
                Err(_) if tries > 0 => tries -= 1,
                picture => return picture,
            }
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// Waits until the screen shows something.
    fn wait<T>(&mut self, seconds: u64, test: impl Fn(&Font, &Picture) -> Result<T>) -> Result<T> {
        let (started, mut beat) = (Instant::now(), Instant::now());
        loop {
            let picture = self.shot()?;
            let seen = test(&self.font, &picture);
            if seen.is_ok() || started.elapsed() > Duration::from_secs(seconds) {
                self.dump(&format!("{}.png", self.name), "png")?;
                return seen.with_context(|| format!("the screen after {seconds} s is {}.png", self.name));
            }
            if let (Err(error), true) = (seen, beat.elapsed() > Duration::from_secs(10)) {
                beat = Instant::now();
                run::say(&self.name, &format!("{:4} s  {error:#}", started.elapsed().as_secs()));
            }
            thread::sleep(Duration::from_millis(200));
        }
    }

    fn key(&mut self, key: &str) -> Result<()> {
        self.command(&format!("sendkey {key}"))
    }

    /// Chooses an entry of the menu, whose picture is checked on the way.
    fn choose(&mut self, entry: usize) -> Result<()> {
        self.wait(MENU, |font, picture| menu(font, picture, 0))?;
        for at in 1..=entry {
            self.key("down")?;
            self.wait(30, |font, picture| menu(font, picture, at))?;
        }
        Ok(())
    }

    fn note(&self, what: &str) -> Result<String> {
        let seconds = self.guest.elapsed().as_secs_f64();
        Ok(format!("{what}, after {seconds:.1} s; {}", paths::work()?.join(format!("{}.png", self.name)).display()))
    }
}

fn has_size(picture: &Picture, [width, height]: [u32; 2]) -> Result<()> {
    let found = (picture.width, picture.height);
    ensure!(found == (width as usize, height as usize), "the screen has {} x {} dots", found.0, found.1);
    Ok(())
}

/// GRUB's menu with an entry chosen: every dot is the background's, or one of the few colours of frame, bar and texts.
fn menu(font: &Font, picture: &Picture, chosen: usize) -> Result<()> {
    has_size(picture, SIZE)?;
    let dot = |x: usize, y: usize| picture.pixels[y * picture.width + x];
    let behind = |x: usize, y: usize| background(x as u32, y as u32);
    for (at, entry) in ENTRIES.iter().enumerate() {
        let ([x, y], ink) = font.find(entry, picture).with_context(|| format!("`{entry}` is not on the screen"))?;
        ensure!(ink & 0xF0F0F0 == 0xF0F0F0 || ink & 0xF0F0F0 == 0xF0F050, "`{entry}` is written in {ink:06x}");
        // In the line, right of every text.
        let (x, y) = (x + 400, y - 4);
        let bar = dot(x, y) != behind(x, y) && dot(x, y) == dot(x + 200, y + 2);
        ensure!(bar == (at == chosen), "the bar is on {entry}: {bar}");
    }
    ensure!(font.find("GNU GRUB  version", picture).is_some(), "the title is not on the screen");
    let mut others = BTreeMap::<u32, usize>::new();
    for (x, y) in (0..picture.height).flat_map(|y| (0..picture.width).map(move |x| (x, y))) {
        if dot(x, y) != behind(x, y) {
            *others.entry(dot(x, y)).or_default() += 1;
        }
    }
    let count: usize = others.values().sum();
    // The bar has 972 x 16 dots.
    ensure!(others.len() <= 5 && (15_000..30_000).contains(&count), "{count} dots are in the colours {others:x?}");
    Ok(())
}

fn grub(name: &str, vmm: &Vmm, uefi: bool) -> Result<String> {
    let mut screen = Screen::start(name, vmm, uefi)?;
    screen.choose(2)?;
    screen.key("up")?;
    screen.wait(30, |font, picture| menu(font, picture, 1))?;
    screen.key("c")?;
    let prompt = |font: &Font, picture: &Picture| font.find("grub>", picture).context("no prompt");
    screen.wait(30, prompt)?;
    for key in "e c h o spc 4 2 ret".split(' ') {
        screen.key(key)?;
        thread::sleep(Duration::from_millis(50)); // a key after the other
    }
    screen.wait(30, |font, picture| font.find("grub> echo 42", picture).context("not what was typed"))?;
    screen.note("every dot of the background, all texts, the prompt")
}

/// The runs of rows in which `colour` holds most of the width: first row and number of rows.
fn bars(picture: &Picture, most: usize, colour: impl Fn(u32) -> bool) -> Vec<(usize, usize)> {
    let mut all: Vec<(usize, usize)> = Vec::new();
    for (y, row) in picture.pixels.chunks(picture.width).enumerate() {
        if row.iter().filter(|dot| colour(**dot)).count() < most {
            continue;
        }
        match all.last_mut() {
            Some((first, count)) if *first + *count == y => *count += 1,
            _ => all.push((y, 1)),
        }
    }
    all
}

fn png(path: &std::path::Path) -> Result<Picture> {
    let file = std::io::BufReader::new(fs::File::open(path).context("cannot open the installer's banner")?);
    let mut reader = png::Decoder::new(file).read_info().context("the banner is no PNG")?;
    let mut bytes = vec![0; reader.output_buffer_size().context("the banner is too large")?];
    let info = reader.next_frame(&mut bytes).context("cannot read the banner")?;
    ensure!(info.color_type == png::ColorType::Rgb && info.bit_depth == png::BitDepth::Eight, "the banner is not RGB");
    let pixels = bytes.chunks_exact(3).map(|c| u32::from_be_bytes([0, c[0], c[1], c[2]])).collect();
    Ok(Picture { width: info.width as usize, height: info.height as usize, pixels })
}

/// The banner is on the screen in its full height, in the middle, but for the page's own words on it.
fn banner_is_there(picture: &Picture, banner: &Picture) -> Result<()> {
    let left = (picture.width - banner.width) / 2;
    let rows = 2..banner.height - 2;
    let all = rows.len() * banner.width;
    let same = rows.flat_map(|y| (0..banner.width).map(move |x| (x, y)));
    let same =
        same.filter(|(x, y)| picture.pixels[y * picture.width + x + left] == banner.pixels[y * banner.width + x]);
    let same = same.count();
    ensure!(same * 10 >= all * 9, "{same} of {all} dots of the banner are on the screen");
    Ok(())
}

/// GTK's list of languages, whose chosen line has the banner's colours: its first row.
fn chosen_language(picture: &Picture, banner: &Picture) -> Result<usize> {
    has_size(picture, [1024, 768])?;
    banner_is_there(picture, banner)?;
    let teal = |dot: u32| {
        let [_, r, g, b] = dot.to_be_bytes().map(u32::from);
        g > 2 * r && b > 2 * r && g.abs_diff(b) < 24
    };
    let white = picture.pixels.iter().filter(|dot| **dot == 0xFF_FFFF).count();
    ensure!(white > 300_000, "{white} dots are white");
    match bars(picture, 800, teal).as_slice() {
        // The banner and the bar.
        [.., (first, 16..=40)] if *first > 100 => Ok(*first),
        other => bail!("no line is chosen: {other:?}"),
    }
}

fn graphical(name: &str, vmm: &Vmm) -> Result<String> {
    let mut screen = Screen::start(name, vmm, false)?;
    screen.choose(0)?;
    let banner = png(&paths::asset("installer-banner")?)?;
    screen.key("ret")?;
    let mut first = screen.wait(QUESTION, |_, picture| chosen_language(picture, &banner))?;
    // GTK takes no keys yet when its first picture is there: those that come too early are lost. And it may still arrange
    // its window, which moves the bar by a few dots.
    let mut tries = 30;
    let next = loop {
        screen.key("down")?;
        let moved = |_: &Font, picture: &Picture| {
            let at = chosen_language(picture, &banner)?;
            ensure!(at >= first + 16, "the bar is still in row {at}");
            Ok(at)
        };
        match screen.wait(2, moved) {
            Err(_) if tries > 0 => tries -= 1,
            moved => break moved?,
        }
        first = screen.wait(2, |_, picture| chosen_language(picture, &banner))?;
    };
    ensure!((16..=40).contains(&(next - first)), "the bar went from row {first} to row {next}");
    screen.key("up")?;
    screen.wait(60, |_, picture| {
        ensure!(chosen_language(picture, &banner)? == first, "the bar is not back");
        Ok(())
    })?;
    screen.note("banner dot by dot, list, the bar moves")
}

/// The installer's question in a framebuffer of 16 bits a dot: texts, colours, the row of the bar.
fn question(font: &Font, picture: &Picture) -> Result<usize> {
    has_size(picture, [800, 600])?;
    for text in ["Select a language", "Choose the language to be used for the installation process.", "<Go Back>"] {
        font.find(text, picture).with_context(|| format!("`{text}` is not on the screen"))?;
    }
    let count = |colour: u32| picture.pixels.iter().filter(|dot| **dot & 0xF0F0F0 == colour).count();
    let (blue, grey) = (count(0x0000A0), count(0xA0A0A0));
    ensure!(blue > 20_000 && grey > 300_000, "{blue} dots are blue, {grey} grey");
    match bars(picture, 250, |dot| dot & 0xF0F0F0 == 0xA00000).as_slice() {
        [(first, 14..=17)] => Ok(*first),
        other => bail!("the red bar: {other:?}"),
    }
}

fn framebuffer(name: &str, vmm: &Vmm) -> Result<String> {
    let mut screen = Screen::start(name, vmm, false)?;
    screen.choose(1)?;
    screen.key("ret")?;
    let first = screen.wait(QUESTION, question)?;
    screen.key("down")?;
    screen.wait(60, |font, picture| {
        let at = question(font, picture)?;
        ensure!(at == first + 16, "the bar is in row {at} instead of {}", first + 16);
        Ok(())
    })?;
    screen.note("800 x 600 with 16 bits a dot: texts, colours, the bar moves by a line")
}

fn text(name: &str, vmm: &Vmm) -> Result<String> {
    let mut screen = Screen::start(name, vmm, false)?;
    screen.choose(2)?;
    screen.key("ret")?;
    for text in ["Select a language", "English", "<Go Back>"] {
        screen::expect(&mut screen.guest, "the installer's question", QUESTION, |line| line.contains(text))?;
    }
    screen.wait(30, |_, picture| {
        has_size(picture, [720, 400])?;
        let colours = [0x0000AA, 0xAAAAAA, 0x000000, 0xAA0000];
        let counts = colours.map(|c| picture.pixels.iter().filter(|dot| **dot == c).count());
        ensure!(counts[0] > 10_000 && counts[1] > 100_000 && counts[3] > 2_000, "of {colours:x?} are there {counts:?}");
        let [(_, rows)] = bars(picture, 200, |dot| dot == 0xAA0000)[..] else { bail!("not one red bar") };
        ensure!((14..=16).contains(&rows), "the red bar has {rows} rows");
        Ok(())
    })?;
    screen.note("80 x 25 in text mode: texts, colours, the bar")
}
