//! `qom-list`, `qom-get`, `qom-set`: what there is of QEMU's object tree (its QMP Reference, "QEMU Object Model").
//!
//! There is no object model behind it: a picture of the machine is drawn for each question, with the paths that
//! programs look at. It has the machine, its processors, the devices of `-device` and `device_add` with what was given for
//! them, and the character back ends. Nothing in it can be set.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::args::Args;
use super::error::{Outcome, QmpError};
use crate::context::Context;

/// An object's type and its properties but children: name, type, value.
struct Object {
    kind: String,
    props: Vec<(String, &'static str, Value)>,
}

/// Objects by their paths.
struct Tree(BTreeMap<String, Object>);

const CONTAINER: &str = "container";

impl Tree {
    fn new(c: &Context) -> Self {
        let mut tree = Self(BTreeMap::new());
        let plan = c.machine.plan();
        tree.add("/", CONTAINER, vec![]);
        let ram = plan.memory.low + plan.memory.high;
        let machine = vec![
            ("acpi", "OnOffAuto", on_off(plan.acpi)),
            ("pic", "OnOffAuto", on_off(plan.pic)),
            ("memory-size", "size", ram.into()),
        ];
        tree.add("/machine", &format!("{}-machine", plan.machine), machine);
        for folder in
            ["/machine/peripheral", "/machine/peripheral-anon", "/machine/unattached", "/chardevs", "/objects"]
        {
            tree.add(folder, CONTAINER, vec![]);
        }
        tree.processors(c);
        tree.devices(c);
        for (label, _) in c.machine.chardevs() {
            tree.add(&format!("/chardevs/{label}"), "chardev", vec![]);
        }
        tree
    }

    fn add(&mut self, path: &str, kind: &str, props: Vec<(&str, &'static str, Value)>) {
        let mut all = vec![("type".to_owned(), "string", Value::from(kind))];
        all.extend(props.into_iter().map(|(name, kind, value)| (name.to_owned(), kind, value)));
        self.0.insert(path.into(), Object { kind: kind.into(), props: all });
    }

    fn processors(&mut self, c: &Context) {
        let smp = c.machine.plan().smp;
        let (threads, cores) = (smp.threads.max(1) as usize, smp.cores.max(1) as usize);
        for i in 0..c.machine.accel().count() {
            let apic = c.machine.accel().apic_id(i).unwrap_or_default();
            let props = vec![
                ("realized", "bool", true.into()),
                ("hotpluggable", "bool", false.into()),
                ("hotplugged", "bool", false.into()),
                ("apic-id", "uint32", apic.into()),
                ("socket-id", "int32", (i / threads / cores).into()),
                ("core-id", "int32", (i / threads % cores).into()),
                ("thread-id", "int32", (i % threads).into()),
            ];
            self.add(&format!("/machine/unattached/device[{i}]"), "x86_64-cpu", props);
        }
    }

    /// Those of the command line as they were given, but for USB devices that are gone; USB devices as they are.
    fn devices(&mut self, c: &Context) {
        let usb = c.machine.usb_devices();
        let mut anonymous = 0;
        let mut path = |id: Option<&String>| match id {
            Some(id) => format!("/machine/peripheral/{id}"),
            None => {
                anonymous += 1;
                format!("/machine/peripheral-anon/device[{}]", anonymous - 1)
            }
        };
        let is_usb_device =
            |driver: &str| machine::device_list().iter().any(|d| d.name == driver && d.bus == "usb-bus");
        for spec in c.machine.plan().devices.iter().filter(|d| !is_usb_device(&d.driver)) {
            let given = spec.props.iter().map(|(name, value)| (name.as_str(), "str", Value::from(value.as_str())));
            self.add(&path(spec.id.as_ref()), &spec.driver, device(given.collect(), false));
        }
        for d in &usb {
            let given = c.machine.plan().devices.iter().find(|s| s.id.is_some() && s.id == d.id);
            let mut props = vec![
                ("bus", "str", d.bus.as_str().into()),
                ("port", "str", d.port.as_str().into()),
                ("attached", "bool", true.into()),
            ];
            let known = |name: &str| ["bus", "port"].contains(&name);
            let given = given.iter().flat_map(|s| &s.props).filter(|p| !known(&p.0));
            props.extend(given.map(|(name, value)| (name.as_str(), "str", Value::from(value.as_str()))));
            let hot = d.id.is_some() && !c.machine.plan().devices.iter().any(|s| s.id == d.id);
            self.add(&path(d.id.as_ref()), d.driver, device(props, hot));
        }
    }

    /// The object that a path names: from the root, or any part of a path that is there once.
    fn find(&self, path: &str) -> Result<(&String, &Object), QmpError> {
        if path.starts_with('/') {
            let path = if path == "/" { path } else { path.trim_end_matches('/') };
            return self.0.get_key_value(path).ok_or_else(|| QmpError::device_not_found(path));
        }
        let end = format!("/{path}");
        let mut all = self.0.iter().filter(|(p, _)| !path.is_empty() && p.ends_with(&end));
        match (all.next(), all.next()) {
            (Some(one), None) => Ok(one),
            (None, _) => Err(QmpError::device_not_found(path)),
            _ => Err(QmpError::new(format!("Path '{path}' does not uniquely identify an object"))),
        }
    }

    /// What lies right below: name, path, type.
    fn children<'a>(&'a self, path: &'a str) -> impl Iterator<Item = (&'a str, &'a str, &'a str)> {
        let folder = if path == "/" { "" } else { path };
        self.0.iter().filter_map(move |(p, o)| {
            let name = p.strip_prefix(folder)?.strip_prefix('/').filter(|n| !n.is_empty() && !n.contains('/'))?;
            Some((name, p.as_str(), o.kind.as_str()))
        })
    }

    fn property(&self, path: &str, name: &str) -> Result<Value, QmpError> {
        let (path, object) = self.find(path)?;
        if let Some(prop) = object.props.iter().find(|p| p.0 == name) {
            return Ok(prop.2.clone());
        }
        let child = self.children(path).find(|c| c.0 == name).map(|c| c.1.into());
        child.ok_or_else(|| QmpError::new(format!("Property '{}.{name}' not found", object.kind)))
    }
}

fn on_off(on: bool) -> Value {
    if on { "on" } else { "off" }.into()
}

/// What every device has, and what this one has.
fn device<'a>(own: Vec<(&'a str, &'static str, Value)>, hot: bool) -> Vec<(&'a str, &'static str, Value)> {
    let mut all = vec![("realized", "bool", true.into()), ("hotplugged", "bool", hot.into())];
    all.extend(own);
    all
}

pub(super) fn list(c: &mut Context, args: &Args) -> Outcome {
    let tree = Tree::new(c);
    let (path, object) = tree.find(args.text("path"))?;
    let props = object.props.iter().map(|(name, kind, _)| json!({"name": name, "type": kind}));
    let children = tree.children(path).map(|(name, _, kind)| json!({"name": name, "type": format!("child<{kind}>")}));
    Ok(props.chain(children).collect())
}

pub(super) fn get(c: &mut Context, args: &Args) -> Outcome {
    Tree::new(c).property(args.text("path"), args.text("property"))
}

pub(super) fn set(c: &mut Context, args: &Args) -> Outcome {
    let (tree, name) = (Tree::new(c), args.text("property"));
    tree.property(args.text("path"), name)?;
    let kind = &tree.find(args.text("path"))?.1.kind;
    Err(QmpError::new(format!("Property '{kind}.{name}' is not writable")))
}
