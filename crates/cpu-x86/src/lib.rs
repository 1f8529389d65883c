//! An x86-64 processor in software: decoder, interpreter, MMU, exceptions, CPU models, emulate_one.
