//! QEMU's option grammar: argv to Options to Config.
