//! The input event bus: keys, pointers, key names.
