//! `cargo xtask boot [NAME...]`: boots real guests, each with a time limit, and prints a line a test and `N passed, N failed, N skipped`.
//!
//! The tests that need one vCPU run side by side as far as this machine has processors.

mod blockdev;
mod defects;
mod front_ends;
mod leds;
mod pcie;
mod pictures;
mod q35;
mod qmp;
mod reboots;
mod run_disk;
mod suspend;
pub(crate) mod tests;
mod usb;
mod usb_boot;
mod vnc_clients;
pub(crate) mod wrong_input;

use crate::vmm::Vmm;
use crate::{apt, image, run};
use anyhow::{Context, Result, bail};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Instant;

/// Outcomes, counted.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    /// Tests that passed.
    pub passed: u32,
    /// Tests that failed.
    pub failed: u32,
    /// Tests that could not run here.
    pub skipped: u32,
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

/// Why a test cannot run here.
#[derive(Debug)]
struct Skip(String);

impl std::fmt::Display for Skip {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Skip {}

/// Ends a test that cannot run here.
pub(crate) fn skip<T>(why: &str) -> Result<T> {
    Err(Skip(why.to_owned()).into())
}

/// Takes the test's name; returns what is worth saying about a pass.
type Run = dyn Fn(&str, &Vmm) -> Result<String> + Send + Sync;

/// One boot test.
pub(crate) struct Test {
    name: String,
    /// vCPUs, by which it is scheduled; 0 for one that mostly waits, which runs beside any other.
    cpus: u32,
    /// Why it only runs when it is named.
    only_named: Option<&'static str>,
    run: Box<Run>,
}

impl Test {
    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn new(
        name: &str,
        cpus: u32,
        run: impl Fn(&str, &Vmm) -> Result<String> + Send + Sync + 'static,
    ) -> Self {
        Self { name: name.to_owned(), cpus, only_named: None, run: Box::new(run) }
    }
}

/// The tests that run without being named.
pub(crate) fn names_that_run_always() -> Vec<String> {
    tests::all().into_iter().filter(|test| test.only_named.is_none()).map(|test| test.name).collect()
}

/// The command. `names` are beginnings of test names; none means all.
pub fn command(names: &[String], vmm: Option<&str>) -> Result<Tally> {
    let all = tests::all();
    if names.iter().any(|name| name == "list") {
        let only = |test: &Test| if test.only_named.is_some() { " (only when named)" } else { "" };
        run::list(all.iter().map(|test| format!("{}{}", test.name, only(test))));
        return Ok(Tally::default());
    }
    if let Some(name) = names.iter().find(|name| !all.iter().any(|test| test.name.starts_with(name.as_str()))) {
        bail!("there is no boot test `{name}`: `cargo xtask boot list` lists them");
    }
    let chosen = |test: &Test| match names {
        [] => test.only_named.is_none(),
        names => names
            .iter()
            .any(|name| test.name == *name || test.only_named.is_none() && test.name.starts_with(name.as_str())),
    };
    if names.is_empty() {
        for (test, why) in all.iter().filter_map(|test| Some((test, test.only_named?))) {
            run::say("boot", &format!("{} runs only when it is named: {why}", test.name));
        }
    }
    let vmm = Vmm::choose(vmm)?;
    prepare(&vmm)?;
    let tests: Vec<Test> = all.into_iter().filter(chosen).collect();
    let tally = schedule(&tests, &vmm);
    println!("{tally}");
    Ok(tally)
}

/// Images and tools; all of them before the first test, so that no test's time includes a download.
fn prepare(vmm: &Vmm) -> Result<()> {
    let mut tools = vec![("qemu-img", "qemu-utils"), ("mke2fs", "e2fsprogs"), ("e2fsck", "e2fsprogs")];
    if !vmm.is_qemu() {
        tools.push(("/usr/share/seabios/bios-256k.bin", "seabios"));
    }
    apt::ensure("boot", &tools)?;
    image::kernel().context("the direct-boot kernels could not be made")?;
    image::extras().context("the other guests could not be made")?;
    image::demo().context("the demo image could not be made")?;
    Ok(())
}

/// Runs the tests, those with few vCPUs beside each other: the first of the list that fits what is free, so that no core waits for
/// a test that needs them all.
pub(crate) fn schedule(tests: &[Test], vmm: &Vmm) -> Tally {
    let cores = thread::available_parallelism().map_or(1, |count| u32::try_from(count.get()).unwrap_or(1));
    let free = (Mutex::new(cores), Condvar::new());
    let lines = Mutex::new(Vec::new());
    let started = Instant::now();
    thread::scope(|scope| {
        let mut waiting: Vec<&Test> = tests.iter().collect();
        while !waiting.is_empty() {
            let mut left = free.0.lock().unwrap_or_else(PoisonError::into_inner);
            let next = loop {
                if let Some(next) = waiting.iter().position(|test| test.cpus.min(cores) <= *left) {
                    break next;
                }
                left = free.1.wait(left).unwrap_or_else(PoisonError::into_inner);
            };
            let test = waiting.remove(next);
            let need = test.cpus.min(cores);
            *left -= need;
            drop(left);
            let (free, lines) = (&free, &lines);
            scope.spawn(move || {
                let (outcome, line) = one(test, vmm);
                lines.lock().unwrap_or_else(PoisonError::into_inner).push((test.name.clone(), outcome, line));
                *free.0.lock().unwrap_or_else(PoisonError::into_inner) += need;
                free.1.notify_all();
            });
        }
    });
    let lines = lines.into_inner().unwrap_or_else(PoisonError::into_inner);
    println!("\nboot tests on {} ({:.0} s)", vmm.program.display(), started.elapsed().as_secs_f64());
    let mut tally = Tally::default();
    for (name, outcome, line) in lines {
        match outcome {
            Outcome::Passed => tally.passed += 1,
            Outcome::Failed => tally.failed += 1,
            Outcome::Skipped => tally.skipped += 1,
        }
        println!("  {name:<18} {line}");
    }
    tally
}

#[derive(Debug, Clone, Copy)]
enum Outcome {
    Passed,
    Failed,
    Skipped,
}

fn one(test: &Test, vmm: &Vmm) -> (Outcome, String) {
    run::say(&test.name, "start");
    let started = Instant::now();
    let result = (test.run)(&test.name, vmm);
    let seconds = started.elapsed().as_secs_f64();
    let (outcome, line) = match &result {
        Ok(note) => (Outcome::Passed, format!("ok      {seconds:6.1} s  {note}")),
        Err(error) if error.is::<Skip>() => (Outcome::Skipped, format!("skipped {seconds:6.1} s  {error}")),
        Err(error) => (Outcome::Failed, format!("FAILED  {seconds:6.1} s  {error:#}")),
    };
    run::say(&test.name, &line);
    (outcome, line)
}
