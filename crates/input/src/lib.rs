//! The input event bus: keys, pointers, key names.
//!
//! Front ends (display windows, VNC, the monitor) send [`InputEvent`]s into an [`InputBus`]; devices (PS/2, USB HID,
//! virtio-input) register with what they can take. Key codes and names are QEMU's "qcodes".

mod bus;
mod codes;
mod keys;
mod layout;
mod layouts;
mod text;

pub use bus::{Capabilities, HandlerId, InputBus, InputEvent, InputHandler, LedWatcher, Leds, MouseButton};
pub use codes::KeyStroke;
pub use keys::{Key, KeyNameError, parse_chord};
pub use layout::{Layout, Stroke};
pub use text::text_to_keys;
