//! Life cycle and saved state.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Why a saved state was refused.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The bytes are not what this device saves.
    #[error("{device}: saved state is not readable: {reason}")]
    Format {
        /// The device's name.
        device: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Readable, but impossible for this device as configured.
    #[error("{device}: saved state does not fit: {reason}")]
    Mismatch {
        /// The device's name.
        device: String,
        /// What does not fit.
        reason: String,
    },
}

/// What every device can do besides its work. All guest-visible state is one serialisable `State` value inside the
/// device, so that reset, save and restore can forget nothing.
pub trait Device: Send {
    /// The name in monitor output and saved states, for example "serial0".
    fn name(&self) -> &str;
    /// Back to the power-on state, lines low.
    fn reset(&mut self);
    /// Back from suspend to RAM (ACPI S3), where only memory had power. What keeps its state with the memory says so
    /// by its own version of this.
    fn wake(&mut self) {
        self.reset();
    }
    /// The state as bytes ([`save_state`]).
    ///
    /// # Errors
    /// When the state cannot be encoded.
    fn save(&self) -> Result<Vec<u8>, StateError>;
    /// Takes a saved state and brings lines (by `IrqLine::import_level`) and timers in agreement with it.
    ///
    /// # Errors
    /// [`StateError`]; the device is unchanged then.
    fn restore(&mut self, bytes: &[u8]) -> Result<(), StateError>;
}

/// Encodes a `State`.
///
/// # Errors
/// When the value cannot be encoded (which no plain structure causes).
pub fn save_state<T: Serialize>(device: &str, state: &T) -> Result<Vec<u8>, StateError> {
    postcard::to_stdvec(state).map_err(|e| StateError::Format { device: device.into(), reason: e.to_string() })
}

/// Decodes a `State`; bytes left over are an error.
///
/// # Errors
/// [`StateError::Format`].
pub fn load_state<T: DeserializeOwned>(device: &str, bytes: &[u8]) -> Result<T, StateError> {
    let error = |reason: String| StateError::Format { device: device.into(), reason };
    let (value, rest) = postcard::take_from_bytes(bytes).map_err(|e| error(e.to_string()))?;
    if !rest.is_empty() {
        return Err(error(format!("{} bytes are left over", rest.len())));
    }
    Ok(value)
}
