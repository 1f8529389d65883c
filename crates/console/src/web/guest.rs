//! What the web console does to a machine and shows of it besides the screen.

use machine::MachineHandle;

/// A button of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuestCommand {
    /// Stop.
    Stop,
    /// Go on.
    Cont,
    /// The reset button.
    Reset,
    /// The power button.
    PowerDown,
}

/// The status line's facts; counters count from the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GuestStatus {
    /// Run state, by QEMU's name.
    pub state: &'static str,
    /// Processors.
    pub cpus: usize,
    /// Exits of all processors, those that were served without leaving the run included.
    pub exits: u64,
    /// Bytes read from disks.
    pub disk_read: u64,
    /// Bytes written to disks.
    pub disk_write: u64,
}

/// A machine as the web console sees it.
pub trait Guest: Send + Sync {
    /// What it does now.
    fn status(&self) -> GuestStatus;

    /// Does what a button says. Must not block for long.
    fn command(&self, command: GuestCommand);
}

impl Guest for MachineHandle {
    fn status(&self) -> GuestStatus {
        let disks: Vec<_> = self.drives().iter().filter_map(|d| d.medium().queue).map(|q| q.stats()).collect();
        GuestStatus {
            state: self.state().name(),
            cpus: self.accel().count(),
            exits: self.accel().stats().iter().flatten().map(|r| r.1).sum(),
            disk_read: disks.iter().map(|s| s.read.bytes).sum(),
            disk_write: disks.iter().map(|s| s.write.bytes).sum(),
        }
    }

    fn command(&self, command: GuestCommand) {
        match command {
            GuestCommand::Stop => self.stop(),
            GuestCommand::Cont => {
                if let Err(e) = self.cont() {
                    tracing::warn!("web console: {e}");
                }
            }
            GuestCommand::Reset => self.reset(),
            GuestCommand::PowerDown => self.power_button(),
        }
    }
}
