//! Error replies: class and description (QMP Protocol Specification, "Commands Responses", "error").

use machine::{MediaError, NodeError};
use serde_json::{Value, json};

/// The classes there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    Generic,
    CommandNotFound,
    DeviceNotFound,
}

/// An error reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct QmpError {
    pub(crate) class: Class,
    pub(crate) desc: String,
}

/// The outcome of a command.
pub(crate) type Outcome = Result<Value, QmpError>;

impl QmpError {
    pub(crate) fn new(desc: impl ToString) -> Self {
        Self { class: Class::Generic, desc: desc.to_string() }
    }

    pub(crate) fn command_not_found(desc: impl ToString) -> Self {
        Self { class: Class::CommandNotFound, desc: desc.to_string() }
    }

    pub(crate) fn device_not_found(id: &str) -> Self {
        Self { class: Class::DeviceNotFound, desc: format!("Device '{id}' not found") }
    }

    pub(crate) fn to_json(&self) -> Value {
        let class = match self.class {
            Class::Generic => "GenericError",
            Class::CommandNotFound => "CommandNotFound",
            Class::DeviceNotFound => "DeviceNotFound",
        };
        json!({"class": class, "desc": self.desc})
    }
}

impl From<MediaError> for QmpError {
    fn from(e: MediaError) -> Self {
        match e {
            MediaError::NotFound(id) => Self::device_not_found(&id),
            e => Self::new(e),
        }
    }
}

impl From<NodeError> for QmpError {
    fn from(e: NodeError) -> Self {
        Self::new(e)
    }
}

/// A generic error of something that ran.
pub(crate) fn failed(e: impl ToString) -> QmpError {
    QmpError::new(e)
}
