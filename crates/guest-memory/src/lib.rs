//! Guest RAM: host blocks, the guest-physical view of them, dirty and has-code tracking.
//!
//! A [`RamBlock`] is host memory with one flag byte and one code version per 4 KiB page. A [`GuestMemory`] is a
//! cheap handle to the map from guest-physical addresses to blocks; devices do their DMA through it, so that a
//! write by a device is seen by dirty tracking and by the processors' decoded-code caches.
//!
//! **The store protocol.** Whoever writes guest memory writes the bytes first and looks at the page's flag byte
//! afterwards ([`RamBlock::after_write`]). Whoever starts to rely on a page's bytes (a decoder, a dirty-log reader)
//! sets the flag first, then calls [`write_barrier`], which drains the store buffers of all threads, and only
//! then reads the bytes. So no store is missed, and the common store costs one extra byte load. Which lines of a page have code
//! is told behind fences on both sides, once a barrier has shown everybody that it has some.
#![allow(unsafe_code)] // the crate that owns guest memory: raw pointers behind a bounds-checked interface

mod barrier;
mod block;
mod map;

pub use barrier::write_barrier;
pub use block::{DirtySource, PAGE_SHIFT, PAGE_SIZE, PageFlags, RamBlock, RamError};
pub use map::{GuestMemory, MapRange, MemoryAccessError};
