//! `info`: the topics.

mod blocks;
mod board;
mod cpu;
mod interrupts;
mod memory;

pub(crate) use cpu::threads;

use crate::args::Outcome;
use crate::commands::{Command, commands, some_words};
use crate::context::Context;

/// Every topic, sorted.
pub(crate) const TOPICS: &[Command] = commands! {
    "block", "[device]", "show the block devices", blocks::block;
    "blockstats", "", "show block device statistics", blocks::blockstats;
    "chardev", "", "show the character devices", board::chardev;
    "cpus", "", "show infos for each CPU", cpu::cpus;
    "exits", "", "show how often and why the processors left the guest", cpu::exits;
    "history", "", "show the command line history", board::history;
    "irq", "", "show how often each interrupt line was raised", interrupts::irq;
    "jit", "", "show how the processors translate", cpu::jit;
    "kvm", "", "show KVM information", board::kvm;
    "lapic", "[apic-id]", "show local apic state", interrupts::lapic;
    "mem", "", "show the active virtual memory mappings", memory::mem;
    "memory_size_summary", "", "show the amount of initially allocated and present hotpluggable (if enabled) memory in bytes", board::memory_size;
    "mice", "", "show which pointing device receives events", board::mice;
    "mtree", "[-f] [-D]", "show memory tree (-f: flat view, -D: also disabled regions)", memory::mtree;
    "name", "", "show the current VM name", board::name;
    "network", "", "show the network state", board::network;
    "pci", "", "show PCI info", board::pci;
    "pic", "", "show PIC state", interrupts::pic;
    "qtree", "", "show device tree", board::qtree;
    "registers", "[-a|index] [-v]", "show the cpu registers (-a: all CPUs, -v: also FPU, SSE, MSRs)", cpu::registers;
    "roms", "", "show roms", memory::roms;
    "status", "", "show the current VM status (running|paused)", board::status;
    "tlb", "", "show virtual to physical memory mappings", memory::tlb;
    "trace-events", "[name]", "show trace events and their state (1: on)", board::trace_events;
    "usb", "", "show guest USB devices", board::usb;
    "uuid", "", "show the current VM UUID", board::uuid;
    "version", "", "show the version", board::version;
    "vnc", "", "show the VNC server and its clients", crate::vnc::info;
};

/// For topics without arguments.
fn plain(context: &mut Context, rest: &str, f: impl FnOnce(&Context) -> String) -> Outcome {
    some_words(rest, 0, 0)?;
    Ok(f(context))
}
