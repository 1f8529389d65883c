//! `device_add` and `device_del`: hot plug.

use machine::MachineError;
use serde_json::{Value, json};

use super::args::Args;
use super::error::{Outcome, QmpError};
use crate::context::Context;

fn error(e: MachineError) -> QmpError {
    match e {
        MachineError::DeviceNotFound(id) => QmpError::device_not_found(&id),
        e => QmpError::new(e),
    }
}

pub(super) fn add(c: &mut Context, args: &Args) -> Outcome {
    c.machine.device_add(&options(args)?).map_err(error)?;
    Ok(json!({}))
}

pub(super) fn delete(c: &mut Context, args: &Args) -> Outcome {
    c.machine.device_del(args.text("id")).map_err(error)?;
    Ok(json!({}))
}

/// The arguments in the words of `-device`, where commas in values are doubled.
fn options(args: &Args) -> Result<String, QmpError> {
    let mut text = args.text("driver").replace(',', ",,");
    for (key, value) in args.all().iter().filter(|(key, _)| *key != "driver") {
        if key.is_empty() || key.contains(['=', ',']) {
            return Err(QmpError::new(format!("Property '{key}' not found")));
        }
        let value = match value {
            Value::String(s) => s.replace(',', ",,"),
            Value::Bool(on) => if *on { "on" } else { "off" }.into(),
            Value::Number(n) => n.to_string(),
            _ => return Err(QmpError::new(format!("Invalid parameter type for '{key}', expected: string"))),
        };
        text += &format!(",{key}={value}");
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::qmp::args::Kind::Str;
    use crate::qmp::args::must;

    #[test]
    fn arguments_become_options() {
        let check = |v: Value| {
            let Value::Object(map) = v else { panic!("no object") };
            options(&Args::check(map, &[must("driver", Str)], true).unwrap()).map_err(|e| e.desc)
        };
        let all = json!({"driver": "usb-storage", "drive": "a,b", "id": "u", "port": 2, "removable": true});
        assert_eq!(check(all).unwrap(), "usb-storage,drive=a,,b,id=u,port=2,removable=on");
        assert!(check(json!({"driver": "x", "a=b,c": "d"})).is_err());
        assert!(check(json!({"driver": "x", "a": {}})).is_err());
    }
}
