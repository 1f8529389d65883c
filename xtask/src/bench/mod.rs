//! `cargo xtask bench [ROW...]`: times and speeds of our monitor beside QEMU's TCG and, where that makes sense, this machine itself; medians
//! of some runs. Not a test: it fails only if something cannot be measured. Rows are in groups: what one start of a guest gives. The columns of
//! a group are measured one after the other before the next run begins, so that what else the machine does meets all of them.

mod boots;
mod exits;
mod mmio;
mod programs;
mod screen;
mod table;
mod whole;

use crate::vmm::Vmm;
use crate::{apt, image, run};
use anyhow::{Result, bail};

/// One line of the table.
#[derive(Debug)]
pub(crate) struct Row {
    /// What it is called on the command line.
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    pub(crate) unit: &'static str,
    /// The digits after the point.
    pub(crate) digits: usize,
}

/// Whose figures a column has.
#[derive(Debug, Clone)]
pub(crate) enum Column {
    /// Ours, with this value of `tier`.
    Whpx(&'static str, Vmm),
    /// QEMU's TCG.
    Qemu(Vmm),
    /// This machine.
    Native,
}

impl Column {
    fn title(&self) -> String {
        match self {
            Self::Whpx(tier, _) => format!("whpx {tier}"),
            Self::Qemu(_) => "QEMU TCG".to_owned(),
            Self::Native => "native".to_owned(),
        }
    }

    /// For names of log files.
    pub(crate) fn short(&self) -> &'static str {
        match self {
            Self::Whpx(tier, _) => tier,
            Self::Qemu(_) => "qemu",
            Self::Native => "native",
        }
    }

    /// What runs guests; `None` for this machine.
    pub(crate) fn vmm(&self) -> Option<&Vmm> {
        match self {
            Self::Whpx(_, vmm) | Self::Qemu(vmm) => Some(vmm),
            Self::Native => None,
        }
    }
}

/// Rows and their values.
pub(crate) type Values = Vec<(&'static str, f64)>;

/// Rows that are measured together.
pub(crate) struct Group {
    pub(crate) rows: &'static [Row],
    /// Whether the column can be measured.
    pub(crate) has: fn(&Column) -> bool,
    pub(crate) measure: fn(&Column) -> Result<Values>,
}

const GROUPS: &[Group] = &[
    boots::LOGIN_1,
    boots::LOGIN_2,
    boots::KERNEL_6_1,
    boots::KERNEL_6_12,
    boots::KERNEL_4_CPUS,
    boots::REBOOT_4_CPUS,
    programs::KERNELS,
    programs::LOCKED,
    programs::TOOLS,
    whole::START,
    whole::KICK,
    screen::SCROLL,
    screen::LATENCY,
];

/// The command. `names` are beginnings of names of rows; none means all. `tiers`: which of ours are measured.
pub fn command(names: &[String], runs: usize, vmm: Option<&str>, tiers: &[&'static str]) -> Result<()> {
    if names == ["exits"] {
        return exits::command();
    }
    if names == ["mmio"] {
        return mmio::command(vmm);
    }
    if names == ["list"] {
        run::list(GROUPS.iter().flat_map(|group| group.rows).map(|row| format!("{:<22} {}", row.name, row.what)));
        return Ok(());
    }
    let wanted = |row: &Row| names.is_empty() || names.iter().any(|name| row.name.starts_with(name.as_str()));
    if let Some(name) =
        names.iter().find(|name| !GROUPS.iter().flat_map(|g| g.rows).any(|row| row.name.starts_with(name.as_str())))
    {
        bail!("there is no row `{name}`: `cargo xtask bench list` lists them");
    }
    let groups: Vec<&Group> = GROUPS.iter().filter(|group| group.rows.iter().any(wanted)).collect();
    let columns = columns(vmm, tiers)?;
    // The rows about the screen bring their own guest.
    if groups.iter().flat_map(|g| g.rows).any(|row| !row.name.starts_with("scroll") && !row.name.starts_with("latency"))
    {
        image::kernel()?;
        image::bench()?;
        image::demo()?;
    }
    let mut table = table::Table::new(columns.iter().map(Column::title).collect());
    for row in groups.iter().flat_map(|group| group.rows).filter(|row| wanted(row)) {
        table.row(row);
    }
    for count in 1..=runs {
        for group in &groups {
            for (at, column) in columns.iter().enumerate().filter(|(_, column)| (group.has)(column)) {
                let first = group.rows.first().map_or("", |row| row.name);
                run::say("bench", &format!("run {count} of {runs}, {first}, {}", column.title()));
                match (group.measure)(column) {
                    Ok(values) => values.iter().for_each(|(name, value)| table.add(name, at, *value)),
                    Err(error) => {
                        run::say("bench", &format!("{first}, {}: {error:#}", column.title()));
                        group.rows.iter().for_each(|row| table.fail(row.name, at));
                    }
                }
            }
        }
    }
    println!("\n{}", conditions(runs));
    print!("{}", table.text());
    if names.is_empty() {
        exits::command()?;
        mmio::command(vmm)?;
    }
    if table.failed() {
        bail!("some measurements failed");
    }
    Ok(())
}

fn columns(vmm: Option<&str>, tiers: &[&'static str]) -> Result<Vec<Column>> {
    let first = Vmm::choose(vmm)?;
    let mut columns = Vec::new();
    if !first.is_qemu() {
        apt::ensure("bench", &[("/usr/share/seabios/bios-256k.bin", "seabios")])?;
        for tier in tiers.iter().copied() {
            columns.push(Column::Whpx(tier, Vmm { accel: format!("whpx,tier={tier}"), ..first.clone() }));
        }
    }
    let qemu = if first.is_qemu() { Some(first) } else { Vmm::qemu() };
    match qemu {
        Some(qemu) => columns.push(Column::Qemu(qemu)),
        None => run::say("bench", "QEMU is skipped: qemu-system-x86_64 is not installed (package qemu-system-x86)"),
    }
    columns.push(Column::Native);
    Ok(columns)
}

/// What has to be said with the figures.
fn conditions(runs: usize) -> String {
    let read = |file: &str| std::fs::read_to_string(file).unwrap_or_default();
    let model = read("/proc/cpuinfo")
        .lines()
        .find_map(|line| Some(line.split_once("model name")?.1.trim_matches([' ', '\t', ':']).to_owned()));
    let load = read("/proc/loadavg");
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    format!(
        "medians of {runs} runs on {cores} x {}, load average at the end {}",
        model.unwrap_or_else(|| "unknown processor".to_owned()),
        load.split(' ').take(3).collect::<Vec<_>>().join(" ")
    )
}
