//! The commands: names, arguments and output as in QEMU's human monitor (its "QEMU Monitor" documentation).

use std::path::Path;
use std::time::Duration;

use display::{DumpFormat, Surface};
use machine::Cause;

use crate::args::{self, CommandError, Outcome, expect, failed, take_flag, take_option, usage, words};
use crate::context::{Context, LogControl};
use crate::dump::{self, Format};
use crate::{by_qmp, info, keys, vnc};

/// A command, or a topic of `info`.
pub(crate) struct Command {
    pub(crate) name: &'static str,
    pub(crate) alias: Option<&'static str>,
    pub(crate) params: &'static str,
    pub(crate) help: &'static str,
    pub(crate) run: fn(&mut Context, &str) -> Outcome,
}

impl Command {
    fn is(&self, name: &str) -> bool {
        self.name == name || self.alias == Some(name)
    }

    fn usage(&self, prefix: &str) -> String {
        format!("{prefix}{} {}", self.name, self.params).trim_end().to_string()
    }

    fn help_line(&self, prefix: &str) -> String {
        let alias = self.alias.map(|a| format!("|{a}")).unwrap_or_default();
        let params = if self.params.is_empty() { String::new() } else { format!(" {}", self.params) };
        format!("{prefix}{}{alias}{params} -- {}\n", self.name, self.help)
    }
}

macro_rules! commands {
    ($($name:literal $(| $alias:literal)?, $params:literal, $help:literal, $run:expr;)*) => {
        &[$(Command {
            name: $name,
            alias: { let alias: &[&'static str] = &[$($alias)?]; if alias.is_empty() { None } else { Some(alias[0]) } },
            params: $params,
            help: $help,
            run: $run,
        }),*]
    };
}
pub(crate) use commands;

/// Every command, sorted.
pub(crate) const COMMANDS: &[Command] = commands! {
    "change", "[-f] device filename [format]", "put another disc image into a CD-ROM drive (-f: also when locked), or 'change vnc password SECRET'", change;
    "cont" | "c", "", "resume emulation", cont;
    "cpu", "index", "set the default CPU", cpu;
    "device_add", "driver[,prop=value][,...]", "add device, like -device on the command line", device_add;
    "device_del", "device", "remove device", device_del;
    "eject", "[-f] device", "take the disc out of a CD-ROM drive (use -f to force it)", eject;
    "expire_password", "protocol time", "set when the password of vnc expires (now, never, +seconds, seconds since 1970)", vnc::expire_password;
    "help" | "?", "[cmd]", "show the help", help;
    "info", "[subcommand]", "show various information about the system state", info_command;
    "log", "item1[,...]", "activate logging of the specified items ('none' for nothing, 'help' lists them)", log;
    "memsave", "addr size file", "save to disk virtual memory dump starting at 'addr' of size 'size'", by_qmp::memsave;
    "mouse_button", "state", "change mouse button state (1=L, 2=M, 4=R)", by_qmp::mouse_button;
    "mouse_move", "dx dy [dz]", "send mouse move events", by_qmp::mouse_move;
    "mouse_set", "index", "set which mouse device receives events", by_qmp::mouse_set;
    "nmi", "", "inject an NMI on all CPUs", nmi;
    "pmemsave", "addr size file", "save to disk physical memory dump starting at 'addr' of size 'size'", by_qmp::pmemsave;
    "print" | "p", "/fmt expr", "print expression value (use $reg for CPU register access)", print;
    "quit" | "q", "", "quit the emulator", quit;
    "ringbuf_read", "device size", "read from a ring buffer character device", by_qmp::ringbuf_read;
    "ringbuf_write", "device data", "write to a ring buffer character device", by_qmp::ringbuf_write;
    "screendump", "filename [-f format]", "save the screen to a file, as PPM or PNG", screendump;
    "sendkey", "keys [hold_ms]", "send keys to the VM (e.g. 'sendkey ctrl-alt-f1', default hold time=100 ms)", sendkey;
    "set_password", "protocol password [keep]", "set the password of vnc", vnc::set_password;
    "stop" | "s", "", "stop emulation", stop;
    "system_powerdown", "", "send system power down event", system_powerdown;
    "system_reset", "", "reset the system", system_reset;
    "system_wakeup", "", "wakeup guest from suspend", by_qmp::system_wakeup;
    "trace-event", "name on|off", "change the status of the trace events that fit name (* and ?)", trace_event;
    "x", "/fmt addr", "virtual memory dump starting at 'addr'", x;
    "xp", "/fmt addr", "physical memory dump starting at 'addr'", xp;
};

/// Runs a line.
pub(crate) fn execute(context: &mut Context, line: &str) -> String {
    let (name, rest) = args::split_command(line);
    if name.is_empty() && rest.is_empty() {
        return String::new();
    }
    run(context, COMMANDS, "", name, rest)
}

fn run(context: &mut Context, table: &[Command], prefix: &str, name: &str, rest: &str) -> String {
    let Some(command) = table.iter().find(|c| c.is(name)) else { return unknown(table, prefix, name) };
    match (command.run)(context, rest) {
        Ok(text) => text,
        Err(CommandError::Usage(reason)) => {
            let name = format!("{prefix}{}", command.name);
            format!("{name}: {reason}\nusage: {}\n", command.usage(prefix))
        }
        Err(e) => format!("{e}\n"),
    }
}

/// What is said about a command that there is not.
pub(crate) fn unknown(table: &[Command], prefix: &str, name: &str) -> String {
    let near = cli::nearest(name, table.iter().map(|c| c.name));
    let hint = near.map(|n| format!("did you mean '{prefix}{n}'?\n"));
    let hint =
        hint.unwrap_or_else(|| format!("type 'help{}' for a list\n", if prefix.is_empty() { "" } else { " info" }));
    format!("unknown command: '{prefix}{name}'\n{hint}")
}

/// The words of a command that takes so many.
pub(crate) fn some_words(text: &str, least: usize, most: usize) -> Result<Vec<String>, CommandError> {
    let words = words(text)?;
    expect(&words, least, most)?;
    Ok(words)
}

fn help(_: &mut Context, rest: &str) -> Outcome {
    let words = some_words(rest, 0, 2)?;
    let all = |table: &[Command], prefix: &str| table.iter().map(|c| c.help_line(prefix)).collect::<String>();
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    let one = |table: &[Command], prefix: &str, name: &str| {
        let found = table.iter().find(|c| c.is(name));
        found.map_or_else(|| unknown(table, prefix, name), |c| c.help_line(prefix))
    };
    Ok(match words.as_slice() {
        [] => all(COMMANDS, ""),
        ["info"] => all(info::TOPICS, "info "),
        ["info", topic] => one(info::TOPICS, "info ", topic),
        [name, ..] => one(COMMANDS, "", name),
    })
}

fn info_command(context: &mut Context, rest: &str) -> Outcome {
    let (name, rest) = args::split_command(rest);
    if name.is_empty() {
        return help(context, "info");
    }
    Ok(run(context, info::TOPICS, "info ", name, rest))
}

fn quit(context: &mut Context, rest: &str) -> Outcome {
    some_words(rest, 0, 0)?;
    context.quit = true;
    context.machine.quit(Cause::Quit);
    Ok(String::new())
}

fn stop(context: &mut Context, rest: &str) -> Outcome {
    some_words(rest, 0, 0)?;
    context.machine.stop();
    Ok(String::new())
}

fn cont(context: &mut Context, rest: &str) -> Outcome {
    some_words(rest, 0, 0)?;
    context.machine.cont().map_err(failed)?;
    Ok(String::new())
}

fn system_reset(context: &mut Context, rest: &str) -> Outcome {
    some_words(rest, 0, 0)?;
    context.machine.reset();
    Ok(String::new())
}

fn system_powerdown(context: &mut Context, rest: &str) -> Outcome {
    some_words(rest, 0, 0)?;
    context.machine.power_button();
    Ok(String::new())
}

fn nmi(context: &mut Context, rest: &str) -> Outcome {
    some_words(rest, 0, 0)?;
    context.inject_nmi().map_err(failed)?;
    Ok(String::new())
}

fn cpu(context: &mut Context, rest: &str) -> Outcome {
    let words = some_words(rest, 1, 1)?;
    let index = words.first().and_then(|w| w.parse().ok()).ok_or_else(|| usage("a number is expected"))?;
    if index >= context.machine.accel().count() {
        return Err(failed("invalid CPU index"));
    }
    context.cpu = index;
    Ok(String::new())
}

/// The longest time that `sendkey` holds keys, in milliseconds.
const LONGEST_HOLD: u64 = 60_000;

fn sendkey(context: &mut Context, rest: &str) -> Outcome {
    let words = some_words(rest, 1, 2)?;
    let names = words.first().map(String::as_str).unwrap_or_default();
    let hold = match words.get(1) {
        None => keys::HOLD,
        Some(text) => {
            let ms = text.parse::<u64>().ok().filter(|ms| *ms <= LONGEST_HOLD);
            let bad = || usage(format!("'{text}' is not a time in milliseconds, at most {LONGEST_HOLD}"));
            Duration::from_millis(ms.ok_or_else(bad)?)
        }
    };
    let chord = input::parse_chord(names).map_err(|e| failed(format!("invalid parameter: {}", e.name)))?;
    context.keys.press(chord, hold).map_err(failed)?;
    Ok(String::new())
}

fn screendump(context: &mut Context, rest: &str) -> Outcome {
    let mut words = words(rest)?;
    let format = take_option(&mut words, "-f")?;
    expect(&words, 1, 1)?;
    let path = Path::new(words.first().map(String::as_str).unwrap_or_default());
    let format = match format {
        Some(name) => name.parse().map_err(usage)?,
        None => DumpFormat::of(path),
    };
    let screen = context.machine.screen();
    let screen =
        screen.ok_or_else(|| failed("there is no screen to dump: this machine has no video card (-vga std)"))?;
    let mut surface = Surface::new();
    screen.render(&mut surface);
    display::screendump(&surface, path, format).map_err(failed)?;
    Ok(String::new())
}

fn eject(context: &mut Context, rest: &str) -> Outcome {
    let mut words = words(rest)?;
    let force = take_flag(&mut words, "-f");
    expect(&words, 1, 1)?;
    let drive = words.first().map(String::as_str).unwrap_or_default();
    context.machine.eject(drive, force).map_err(failed)?;
    Ok(String::new())
}

fn device_add(context: &mut Context, rest: &str) -> Outcome {
    let words = some_words(rest, 1, 1)?;
    context.machine.device_add(&words[0]).map_err(failed)?;
    Ok(String::new())
}

fn device_del(context: &mut Context, rest: &str) -> Outcome {
    let words = some_words(rest, 1, 1)?;
    context.machine.device_del(&words[0]).map_err(failed)?;
    Ok(String::new())
}

fn change(context: &mut Context, rest: &str) -> Outcome {
    let mut words = words(rest)?;
    if let Some(("vnc", rest)) = words.split_first().map(|(first, rest)| (first.as_str(), rest)) {
        return vnc::change(context, rest);
    }
    let force = take_flag(&mut words, "-f");
    expect(&words, 2, 3)?;
    let [drive, file, format @ ..] = words.as_slice() else { return Err(usage("missing argument")) };
    let format = format.first().map(|f| f.parse()).transpose().map_err(usage)?;
    context.machine.change_medium(drive, Path::new(file), format, force).map_err(failed)?;
    Ok(String::new())
}

fn log(context: &mut Context, rest: &str) -> Outcome {
    let words = some_words(rest, 1, 1)?;
    let items = words.first().map(String::as_str).unwrap_or_default();
    let log = log_control(context)?;
    if matches!(items, "help" | "?") {
        return Ok(log.items());
    }
    log.set_items(items).map_err(failed)?;
    Ok(String::new())
}

/// The program's log.
fn log_control(context: &Context) -> Result<&dyn LogControl, CommandError> {
    context.log.as_deref().ok_or_else(|| failed("logging cannot be changed in this program"))
}

fn trace_event(context: &mut Context, rest: &str) -> Outcome {
    let words = some_words(rest, 2, 2)?;
    let on = match words[1].as_str() {
        "on" => true,
        "off" => false,
        other => return Err(usage(format!("'{other}' is neither on nor off"))),
    };
    log_control(context)?.set_event(&words[0], on).map_err(failed)?;
    Ok(String::new())
}

fn print(context: &mut Context, rest: &str) -> Outcome {
    let (format, rest) = Format::parse(rest, context.format).map_err(usage)?;
    let (value, rest) = context.evaluate(rest)?;
    expect(&words(rest)?, 0, 0)?;
    let shown = if format.kind == 'i' { Format { kind: 'x', ..format } } else { format };
    context.format = shown;
    Ok(shown.print(value) + "\n")
}

/// Format and address of `x` and `xp`.
fn place(context: &mut Context, rest: &str) -> Result<(Format, u64), CommandError> {
    let (format, rest) = Format::parse(rest, context.format).map_err(usage)?;
    if rest.is_empty() {
        return Err(usage("missing address"));
    }
    let (address, rest) = context.evaluate(rest)?;
    expect(&words(rest)?, 0, 0)?;
    context.format = Format { count: 1, ..format };
    Ok((format, address))
}

fn show(
    context: &Context,
    format: Format,
    address: u64,
    read: impl FnMut(u64, &mut [u8]) -> bool,
) -> Result<String, CommandError> {
    if format.kind == 'i' {
        let bits = context.registers(context.cpu)?.code_bits();
        return Ok(dump::code(address, format.count, bits, read));
    }
    Ok(dump::memory(address, format, read))
}

fn xp(context: &mut Context, rest: &str) -> Outcome {
    let (format, address) = place(context, rest)?;
    let space = context.machine.space().clone();
    show(context, format, address, |at, data| space.read(at, data))
}

fn x(context: &mut Context, rest: &str) -> Outcome {
    let (format, address) = place(context, rest)?;
    let (space, machine, cpu) = (context.machine.space().clone(), context.machine.clone(), context.cpu);
    // The last page, so that one address is not translated for every value in it.
    let mut page: Option<(u64, u64)> = None;
    let mut translate = move |at: u64| {
        if let Some((linear, physical)) = page.filter(|p| p.0 == at & !0xFFF) {
            return Some(physical | (at ^ linear));
        }
        let found = machine.while_stopped(|a| a.translate(cpu, at)).ok()??;
        page = Some((at & !0xFFF, found & !0xFFF));
        Some(found)
    };
    show(context, format, address, |at, data| {
        let inside = (0x1000 - (at & 0xFFF)) as usize;
        if data.len() <= inside {
            return translate(at).is_some_and(|p| space.read(p, data));
        }
        let (first, second) = data.split_at_mut(inside);
        translate(at).is_some_and(|p| space.read(p, first))
            && translate(at.wrapping_add(inside as u64)).is_some_and(|p| space.read(p, second))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_sorted_and_names_unique() {
        for table in [COMMANDS, info::TOPICS] {
            assert!(table.is_sorted_by(|a, b| a.name < b.name));
            let names: Vec<_> = table.iter().flat_map(|c| [Some(c.name), c.alias]).flatten().collect();
            assert!(names.iter().enumerate().all(|(i, n)| !names[..i].contains(n)));
        }
    }

    #[test]
    fn unknown_commands_are_answered_with_the_nearest() {
        assert_eq!(
            unknown(COMMANDS, "", "system_rest"),
            "unknown command: 'system_rest'\ndid you mean 'system_reset'?\n"
        );
        assert_eq!(unknown(COMMANDS, "", "xyzzy"), "unknown command: 'xyzzy'\ntype 'help' for a list\n");
        assert_eq!(
            unknown(info::TOPICS, "info ", "register"),
            "unknown command: 'info register'\ndid you mean 'info registers'?\n"
        );
    }

    #[test]
    fn help_lines() {
        let find = |n: &str| COMMANDS.iter().find(|c| c.name == n).unwrap().help_line("");
        assert_eq!(find("quit"), "quit|q -- quit the emulator\n");
        assert_eq!(find("xp"), "xp /fmt addr -- physical memory dump starting at 'addr'\n");
    }
}
