//! A command's arguments: what it takes, and what it was given, checked.

use serde_json::{Map, Value};

use super::error::QmpError;

/// What an argument may be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Str,
    Int,
    Bool,
    Object,
    /// A list of anything.
    List,
    /// One of these words.
    Word(&'static [&'static str]),
    Any,
}

impl Kind {
    fn takes(self, value: &Value) -> bool {
        match self {
            Self::Str | Self::Word(_) => value.is_string(),
            Self::Int => value.is_i64() || value.is_u64(),
            Self::Bool => value.is_boolean(),
            Self::Object => value.is_object(),
            Self::List => value.is_array(),
            Self::Any => true,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Str | Self::Word(_) => "string",
            Self::Int => "integer",
            Self::Bool => "boolean",
            Self::Object => "object",
            Self::List => "array",
            Self::Any => "value",
        }
    }
}

/// An argument that a command takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arg {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) optional: bool,
}

pub(crate) const fn must(name: &'static str, kind: Kind) -> Arg {
    Arg { name, kind, optional: false }
}

pub(crate) const fn may(name: &'static str, kind: Kind) -> Arg {
    Arg { name, kind, optional: true }
}

/// Arguments that were given. A string for an integer is an error, and so is everything unknown.
#[derive(Debug, Default)]
pub(crate) struct Args(Map<String, Value>);

impl Args {
    /// Checks `given` against `known`; `open`: others are allowed too.
    pub(crate) fn check(given: Map<String, Value>, known: &[Arg], open: bool) -> Result<Self, QmpError> {
        for arg in known {
            match given.get(arg.name) {
                None if arg.optional => {}
                None => return Err(QmpError::new(format!("Parameter '{}' is missing", arg.name))),
                Some(value) if !arg.kind.takes(value) => {
                    let (name, kind) = (arg.name, arg.kind.name());
                    return Err(QmpError::new(format!("Invalid parameter type for '{name}', expected: {kind}")));
                }
                Some(value) => {
                    if let (Kind::Word(words), Some(word)) = (arg.kind, value.as_str())
                        && !words.contains(&word)
                    {
                        let text = format!("Parameter '{}' does not accept value '{word}'", arg.name);
                        return Err(QmpError::new(text));
                    }
                }
            }
        }
        match given.keys().find(|k| !open && !known.iter().any(|a| a.name == *k)) {
            Some(unknown) => Err(QmpError::new(format!("Parameter '{unknown}' is unexpected"))),
            None => Ok(Self(given)),
        }
    }

    /// The members of an argument that is an object, checked.
    pub(crate) fn object(value: Value, known: &[Arg]) -> Result<Self, QmpError> {
        match value {
            Value::Object(map) => Self::check(map, known, false),
            _ => Err(QmpError::new("Invalid parameter type, expected: object")),
        }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    pub(crate) fn str(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_str()
    }

    /// A string that was checked to be there.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.str(name).unwrap_or_default()
    }

    pub(crate) fn int(&self, name: &str) -> Option<i64> {
        self.0.get(name)?.as_i64()
    }

    /// An unsigned integer, 0 when it is absent.
    pub(crate) fn unsigned(&self, name: &str) -> Result<u64, QmpError> {
        let Some(value) = self.0.get(name) else { return Ok(0) };
        let bad = || QmpError::new(format!("Parameter '{name}' expects a number that is not negative"));
        value.as_u64().ok_or_else(bad)
    }

    pub(crate) fn flag(&self, name: &str) -> bool {
        self.0.get(name).and_then(Value::as_bool).unwrap_or(false)
    }

    pub(crate) fn list(&self, name: &str) -> &[Value] {
        self.0.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    /// All of them, as they came.
    pub(crate) fn to_json(&self) -> Value {
        Value::Object(self.0.clone())
    }

    /// All of them.
    pub(crate) fn all(&self) -> &Map<String, Value> {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const KNOWN: &[Arg] = &[must("a", Kind::Int), may("b", Kind::Word(&["x", "y"])), may("c", Kind::Bool)];

    fn check(v: Value) -> Result<Args, String> {
        Args::object(v, KNOWN).map_err(|e| e.desc)
    }

    #[test]
    fn wrong_arguments_are_named() {
        assert_eq!(check(json!({"a": 7, "c": true})).unwrap().unsigned("a").unwrap(), 7);
        assert_eq!(check(json!({})).unwrap_err(), "Parameter 'a' is missing");
        assert_eq!(check(json!({"a": "7"})).unwrap_err(), "Invalid parameter type for 'a', expected: integer");
        assert_eq!(check(json!({"a": 7.5})).unwrap_err(), "Invalid parameter type for 'a', expected: integer");
        assert_eq!(check(json!({"a": 7, "b": "z"})).unwrap_err(), "Parameter 'b' does not accept value 'z'");
        assert_eq!(check(json!({"a": 7, "d": 1})).unwrap_err(), "Parameter 'd' is unexpected");
        assert!(check(json!([])).is_err());
        assert!(check(json!({"a": -7})).unwrap().unsigned("a").is_err());
    }
}
