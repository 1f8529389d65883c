//! `query-qmp-schema`: the commands and events with the types of what they take, made from the tables.
//!
//! QEMU's "QMP introspection" (docs/devel/qapi-code-gen, "Client JSON Protocol introspection"): type names are numbers
//! without meaning, except those of the built-in types. What commands return is given as `any`.

use serde_json::{Value, json};

use super::args::{Arg, Args, Kind};
use super::error::Outcome;
use super::table::{COMMANDS, EVENTS};
use crate::context::Context;

#[derive(Default)]
struct Types {
    entities: Vec<Value>,
    next: usize,
}

impl Types {
    fn add(&mut self, mut entity: Value) -> String {
        let name = self.next.to_string();
        self.next += 1;
        entity["name"] = name.clone().into();
        self.entities.push(entity);
        name
    }

    fn kind(&mut self, kind: Kind) -> String {
        match kind {
            Kind::Str => "str".into(),
            Kind::Int => "int".into(),
            Kind::Bool => "bool".into(),
            Kind::Object | Kind::Any => "any".into(),
            Kind::List => "[any]".into(),
            Kind::Word(words) => {
                let members: Vec<_> = words.iter().map(|w| json!({"name": w})).collect();
                self.add(json!({"meta-type": "enum", "members": members, "values": words}))
            }
        }
    }

    fn object(&mut self, args: &[Arg]) -> String {
        let member = |a: &Arg| {
            let mut m = json!({"name": a.name, "type": self.kind(a.kind)});
            if a.optional {
                m["default"] = Value::Null;
            }
            m
        };
        let members: Vec<_> = args.iter().map(member).collect();
        self.add(json!({"meta-type": "object", "members": members}))
    }
}

fn schema() -> Vec<Value> {
    let mut types = Types::default();
    let empty = types.object(&[]);
    let mut all = Vec::new();
    for c in COMMANDS {
        let arg = if c.args.is_empty() { empty.clone() } else { types.object(c.args) };
        let ret = if c.returns { "any" } else { empty.as_str() };
        all.push(json!({"name": c.name, "meta-type": "command", "arg-type": arg, "ret-type": ret, "allow-oob": false}));
    }
    for (name, args) in EVENTS {
        let arg = if args.is_empty() { empty.clone() } else { types.object(args) };
        all.push(json!({"name": name, "meta-type": "event", "arg-type": arg}));
    }
    all.append(&mut types.entities);
    for (name, kind) in [("str", "string"), ("int", "int"), ("bool", "boolean"), ("any", "value")] {
        all.push(json!({"name": name, "meta-type": "builtin", "json-type": kind}));
    }
    all.push(json!({"name": "[any]", "meta-type": "array", "element-type": "any"}));
    all
}

pub(super) fn query(_: &mut Context, _: &Args) -> Outcome {
    Ok(schema().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_that_is_named_is_there_once() {
        let all = schema();
        let names: Vec<_> = all.iter().map(|e| e["name"].as_str().unwrap()).collect();
        let check = |v: &Value| {
            let name = v.as_str().unwrap();
            assert_eq!(names.iter().filter(|n| **n == name).count(), 1, "{name}");
        };
        for e in &all {
            ["arg-type", "ret-type", "element-type"].iter().filter_map(|k| e.get(k)).for_each(check);
            e.get("members")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .filter_map(|m| m.get("type"))
                .for_each(check);
        }
    }
}
