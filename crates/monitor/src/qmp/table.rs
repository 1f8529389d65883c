//! The commands there are, sorted, with what they take. `query-commands` and `query-qmp-schema` are made from it.

use serde_json::{Map, Value};

use super::args::Kind::{Any, Bool, Int, List, Object, Str, Word};
use super::args::{Arg, Args, may, must};
use super::error::{Outcome, QmpError};
use super::run as act_on;
use super::{block, device, input, pci, qom, query, schema, vnc};
use crate::context::Context;

/// The command that ends the negotiation.
pub(crate) const NEGOTIATE: &str = "qmp_capabilities";

/// A command.
pub(crate) struct Command {
    pub(crate) name: &'static str,
    pub(crate) args: &'static [Arg],
    /// Takes other arguments too.
    pub(crate) open: bool,
    /// Returns something.
    pub(crate) returns: bool,
    pub(crate) run: fn(&mut Context, &Args) -> Outcome,
}

type Run = fn(&mut Context, &Args) -> Outcome;

/// A command that does something.
const fn act(name: &'static str, args: &'static [Arg], run: Run) -> Command {
    Command { name, args, open: false, returns: false, run }
}

/// A command that tells something.
const fn ask(name: &'static str, args: &'static [Arg], run: Run) -> Command {
    Command { name, args, open: false, returns: true, run }
}

/// Which drive: by its old or its new name.
const DRIVE: [Arg; 2] = [may("device", Str), may("id", Str)];
const FORCE: Arg = may("force", Bool);
const NONE: &[Arg] = &[];

/// Every command, sorted.
pub(crate) const COMMANDS: &[Command] = &[
    Command {
        name: "blockdev-add",
        args: &[
            must("driver", Word(&["file", "null-co", "qcow2", "raw"])),
            may("node-name", Str),
            may("file", Any),
            may("filename", Str),
            may("read-only", Bool),
            may("auto-read-only", Bool),
            may("discard", Word(&["ignore", "unmap"])),
            may("cache", Object),
            may("locking", Word(&["on", "off", "auto"])),
            may("size", Int),
        ],
        open: true, // what belongs to which driver is the node's business
        returns: false,
        run: block::add,
    },
    act(
        "blockdev-change-medium",
        &[DRIVE[0], DRIVE[1], must("filename", Str), may("format", Str), FORCE, may("read-only-mode", RO_MODE)],
        block::change_medium,
    ),
    act("blockdev-close-tray", &DRIVE, block::close_tray),
    act("blockdev-del", &[must("node-name", Str)], block::delete),
    act("blockdev-insert-medium", &[must("id", Str), must("node-name", Str)], block::insert_medium),
    act("blockdev-open-tray", &[DRIVE[0], DRIVE[1], FORCE], block::open_tray),
    act("blockdev-remove-medium", &[must("id", Str)], block::remove_medium),
    act("cont", NONE, act_on::cont),
    Command {
        name: "device_add",
        args: &[must("driver", Str), may("bus", Str), may("id", Str)],
        open: true,
        returns: false,
        run: device::add,
    },
    act("device_del", &[must("id", Str)], device::delete),
    act("eject", &[DRIVE[0], DRIVE[1], FORCE], block::eject),
    act("expire_password", &[must("protocol", Word(&["vnc"])), must("time", Str)], vnc::expire_password),
    ask("human-monitor-command", &[must("command-line", Str), may("cpu-index", Int)], act_on::human),
    act("inject-nmi", NONE, act_on::inject_nmi),
    act("input-send-event", &[may("device", Str), may("head", Int), must("events", List)], input::send_event),
    act(
        "memsave",
        &[must("val", Int), must("size", Int), must("filename", Str), may("cpu-index", Int)],
        act_on::memsave,
    ),
    act("pmemsave", &[must("val", Int), must("size", Int), must("filename", Str)], act_on::pmemsave),
    act(NEGOTIATE, &[may("enable", List)], act_on::capabilities),
    ask("qom-get", &[must("path", Str), must("property", Str)], qom::get),
    ask("qom-list", &[must("path", Str)], qom::list),
    ask("qom-list-types", &[may("implements", Str), may("abstract", Bool)], query::types),
    act("qom-set", &[must("path", Str), must("property", Str), must("value", Any)], qom::set),
    ask("query-block", NONE, block::query),
    ask("query-block-jobs", NONE, query::nothing),
    ask("query-blockstats", &[may("query-nodes", Bool)], block::stats),
    ask("query-chardev", NONE, query::chardev),
    ask("query-chardev-backends", NONE, query::chardev_backends),
    ask("query-commands", NONE, query::commands),
    ask("query-cpus-fast", NONE, query::cpus),
    ask("query-current-machine", NONE, query::current_machine),
    ask("query-iothreads", NONE, query::nothing),
    ask("query-jobs", NONE, query::nothing),
    ask("query-kvm", NONE, query::kvm),
    ask("query-machines", NONE, query::machines),
    ask("query-memory-devices", NONE, query::nothing),
    ask("query-memory-size-summary", NONE, query::memory),
    ask("query-mice", NONE, query::mice),
    ask("query-name", NONE, query::name),
    ask("query-named-block-nodes", &[may("flat", Bool)], block::nodes),
    ask("query-pci", NONE, pci::query),
    ask("query-qmp-schema", NONE, schema::query),
    ask("query-status", NONE, query::status),
    ask("query-target", NONE, query::target),
    ask("query-uuid", NONE, query::uuid),
    ask("query-version", NONE, query::version),
    ask("query-vnc", NONE, vnc::query),
    act("quit", NONE, act_on::quit),
    ask(
        "ringbuf-read",
        &[must("device", Str), must("size", Int), may("format", Word(&["utf8"]))],
        act_on::ringbuf_read,
    ),
    act(
        "ringbuf-write",
        &[must("device", Str), must("data", Str), may("format", Word(&["utf8"]))],
        act_on::ringbuf_write,
    ),
    act(
        "screendump",
        &[must("filename", Str), may("device", Str), may("head", Int), may("format", Word(&["ppm", "png"]))],
        act_on::screendump,
    ),
    act("send-key", &[must("keys", List), may("hold-time", Int)], input::send_key),
    act(
        "set_password",
        &[must("protocol", Word(&["vnc"])), must("password", Str), may("connected", Word(&["keep"]))],
        vnc::set_password,
    ),
    act("stop", NONE, act_on::stop),
    act("system_powerdown", NONE, act_on::powerdown),
    act("system_reset", NONE, act_on::reset),
    act("system_wakeup", NONE, act_on::wakeup),
    ask("trace-event-get-state", &[must("name", Str)], act_on::trace_state),
    act(
        "trace-event-set-state",
        &[must("name", Str), must("enable", Bool), may("ignore-unavailable", Bool)],
        act_on::set_trace_state,
    ),
    ask("x-query-exits", NONE, query::exits),
];

const RO_MODE: super::args::Kind = Word(&["retain", "read-only", "read-write"]);

/// The events there are, with their data.
pub(crate) const EVENTS: &[(&str, &[Arg])] = &[
    ("DEVICE_DELETED", &[may("device", Str), must("path", Str)]),
    ("DEVICE_TRAY_MOVED", &[must("device", Str), must("id", Str), must("tray-open", Bool)]),
    ("POWERDOWN", NONE),
    ("RESET", &[must("guest", Bool), must("reason", Str)]),
    ("RESUME", NONE),
    ("SHUTDOWN", &[must("guest", Bool), must("reason", Str)]),
    ("STOP", NONE),
    ("SUSPEND", NONE),
    ("SUSPEND_DISK", NONE),
    ("WAKEUP", NONE),
];

/// The command called `name`.
pub(crate) fn find(name: &str) -> Result<&'static Command, QmpError> {
    let not_found = || QmpError::command_not_found(format!("The command {name} has not been found"));
    COMMANDS.iter().find(|c| c.name == name).ok_or_else(not_found)
}

/// Checks the arguments of a command and runs it.
pub(crate) fn run(context: &mut Context, name: &str, arguments: Map<String, Value>) -> Outcome {
    let command = find(name)?;
    (command.run)(context, &Args::check(arguments, command.args, command.open)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorted_and_unique() {
        assert!(COMMANDS.is_sorted_by(|a, b| a.name < b.name));
    }
}
