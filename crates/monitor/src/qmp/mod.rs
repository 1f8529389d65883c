//! QMP: the machine protocol that programs drive a machine with.
//!
//! QEMU QMP Protocol Specification (docs/interop/qmp-spec) for the protocol and QEMU QMP Reference Manual for commands
//! and events, whose names, arguments, results and error classes are kept. `stream` finds the commands in the bytes,
//! `session` serves a connection, `table` lists the commands, `schema` tells what they take. Only what is really
//! there is listed. Left out: out-of-band execution, file descriptor passing, jobs, migration, snapshots, `qom-get`.

mod args;
mod block;
mod device;
mod error;
mod input;
mod pci;
mod qom;
mod query;
mod run;
mod schema;
mod session;
mod stream;
mod table;
mod text;
mod vnc;

use serde_json::{Map, Value};

use crate::context::Context;

/// Runs a command; the error is its description.
pub(crate) fn call(context: &mut Context, name: &str, arguments: Value) -> Result<Value, String> {
    let arguments = if let Value::Object(map) = arguments { map } else { Map::new() };
    table::run(context, name, arguments).map_err(|e| e.desc)
}

/// Whether a command takes these arguments: they come back, or what is wrong with them.
pub(crate) fn check(name: &str, arguments: Map<String, Value>) -> Result<Value, String> {
    let command = table::find(name).map_err(|e| e.desc)?;
    let arguments = args::Args::check(arguments, command.args, command.open).map_err(|e| e.desc)?;
    Ok(Value::Object(arguments.all().clone()))
}

pub(crate) use session::{QmpSession, start};
pub(crate) use stream::JsonStream;
pub(crate) use text::line;
