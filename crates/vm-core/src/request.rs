//! What devices ask of the machine as a whole.

/// A request; the machine carries it out on its own thread, soon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MachineRequest {
    /// Reset everything, as by the keyboard controller, port 0xCF9, a triple fault, or the monitor; the text says by
    /// whom.
    Reset(&'static str),
    /// Power off, as by ACPI S5.
    PowerOff(&'static str),
    /// Suspend to RAM (ACPI S3): processors stop, memory stays.
    Suspend,
    /// The guest has put itself on a disk and wants to be off (ACPI S4).
    SuspendToDisk,
    /// Something wakes a suspended machine; nothing when it is not suspended.
    Wake(WakeCause),
    /// End the process with this status (isa-debug-exit).
    Exit(u8),
    /// The guest has let go of the card in the slot of this PCI Express port (the machine's number for it): it may be
    /// taken out.
    Eject(usize),
    /// The guest cannot go on; the text says why.
    Panicked(&'static str),
}

/// What woke a machine, as the power management registers tell the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WakeCause {
    /// The alarm of the real-time clock.
    Rtc,
    /// The power button.
    PowerButton,
    /// A key, a monitor's command.
    Other,
}

/// Takes requests; never blocks.
pub trait RequestSink: Send + Sync {
    /// Queues `request`.
    fn request(&self, request: MachineRequest);
}
