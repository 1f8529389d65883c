//! Register accesses: capability, operational, runtime and doorbell registers, and the MSI-X table.
//!
//! xHCI 1.1, chapter 5. Registers are accessed as dwords; a quadword is its two dwords, the low one first (5.1).

use vm_core::Mmio;

use super::events::{Interrupter, SEGMENTS_ORDER, half};
use super::ring::{Dma, Place};
use super::{INTERRUPTERS, MSIX_TABLE, SLOTS, Xhci, cmd, sts};

/// Where the register groups are.
const OPERATIONAL: u64 = 0x40;
const RUNTIME: u64 = 0x1000;
const DOORBELLS: u64 = 0x2000;
/// Extended capabilities, between the capability and the operational registers.
const EXTENDED: u64 = 0x20;

/// Operational registers, from their start.
mod reg {
    pub(super) const USBCMD: u64 = 0x00;
    pub(super) const USBSTS: u64 = 0x04;
    pub(super) const PAGESIZE: u64 = 0x08;
    pub(super) const DNCTRL: u64 = 0x14;
    pub(super) const CRCR: u64 = 0x18;
    pub(super) const CRCR_HIGH: u64 = 0x1C;
    pub(super) const DCBAAP: u64 = 0x30;
    pub(super) const DCBAAP_HIGH: u64 = 0x34;
    pub(super) const CONFIG: u64 = 0x38;
    pub(super) const PORTS: u64 = 0x400;
}

/// CRCR.
mod crcr {
    pub(super) const CYCLE: u32 = 1;
    pub(super) const STOP: u32 = 1 << 1;
    pub(super) const ABORT: u32 = 1 << 2;
    pub(super) const RUNNING: u32 = 1 << 3;
}

/// A supported protocol capability (7.2): revision, first port, number of ports, next capability in dwords.
fn protocol(dword: u64, major: u32, first: usize, count: usize, next: u32) -> u32 {
    match dword {
        0 => 2 | next << 8 | major << 24,
        1 => u32::from_le_bytes(*b"USB "),
        2 => (first as u32 + 1) & 0xFF | (count as u32) << 8,
        _ => 0,
    }
}

impl Xhci {
    fn capability(&self, offset: u64) -> u32 {
        let (ports2, ports3) = (self.chip.ports2, self.chip.ports3);
        match offset {
            0x00 => OPERATIONAL as u32 | 0x0100 << 16,
            0x04 => SLOTS as u32 | (INTERRUPTERS as u32) << 8 | ((ports2 + ports3) as u32) << 24,
            0x08 => SEGMENTS_ORDER << 4,
            // 64-bit addressing, no secondary stream ids; extended capabilities, in dwords
            0x10 => 1 | 1 << 7 | (EXTENDED as u32 / 4) << 16,
            0x14 => DOORBELLS as u32,
            0x18 => RUNTIME as u32,
            0x20..0x30 => protocol((offset - 0x20) / 4, 2, ports3, ports2, if ports3 == 0 { 0 } else { 4 }),
            0x30..0x40 if ports3 != 0 => protocol((offset - 0x30) / 4, 3, 0, ports3, 0),
            _ => 0,
        }
    }

    fn operational(&self, offset: u64) -> u32 {
        let s = &self.state;
        match offset {
            reg::USBCMD => s.usbcmd,
            reg::USBSTS => s.usbsts | if s.usbcmd & cmd::RUN == 0 { sts::HALTED } else { 0 },
            reg::PAGESIZE => 1,
            reg::DNCTRL => s.notifications,
            reg::CRCR if s.command_running => crcr::RUNNING, // all else reads 0
            reg::DCBAAP => s.dcbaap as u32,
            reg::DCBAAP_HIGH => (s.dcbaap >> 32) as u32,
            reg::CONFIG => s.config,
            reg::PORTS.. => self.read_port(((offset - reg::PORTS) / 16) as usize, offset & 0xC),
            _ => 0,
        }
    }

    fn runtime(&self, offset: u64) -> u32 {
        match offset {
            0 => self.microframe() as u32 & 0x3FFF,
            0x20.. => {
                let set = self.state.interrupters.get(((offset - 0x20) / 0x20) as usize);
                set.map_or(0, |i| i.read(offset & 0x1C))
            }
            _ => 0,
        }
    }

    fn read(&self, offset: u64) -> u32 {
        match offset {
            0..OPERATIONAL => self.capability(offset),
            OPERATIONAL..RUNTIME => self.operational(offset - OPERATIONAL),
            RUNTIME..DOORBELLS => self.runtime(offset - RUNTIME),
            _ if offset >= MSIX_TABLE.into() => {
                self.chip.msix.and_then(|m| m.read(&self.state.msix, offset)).unwrap_or(0)
            }
            _ => 0, // doorbells read 0
        }
    }

    fn write(&mut self, offset: u64, value: u32) -> Dma<()> {
        match offset {
            0..OPERATIONAL => {}
            OPERATIONAL..RUNTIME => return self.write_operational(offset - OPERATIONAL, value),
            RUNTIME..DOORBELLS => {
                let set = offset.checked_sub(RUNTIME + 0x20).map(|o| o / 0x20).and_then(|n| u16::try_from(n).ok());
                if let Some(n) = set.filter(|n| usize::from(*n) < INTERRUPTERS) {
                    return self.write_interrupter(n, offset & 0x1C, value);
                }
            }
            _ if offset >= MSIX_TABLE.into() => {
                let sink = self.chip.sink.clone();
                if let Some(m) = self.chip.msix {
                    m.write(&mut self.state.msix, &self.config, sink.as_ref(), (offset, value));
                }
            }
            _ => self.ring((offset - DOORBELLS) / 4, value),
        }
        Ok(())
    }

    fn write_operational(&mut self, offset: u64, value: u32) -> Dma<()> {
        match offset {
            reg::USBCMD => return self.write_command(value),
            reg::USBSTS => self.state.usbsts &= !(value & sts::WRITE_CLEARS),
            reg::DNCTRL => self.state.notifications = value & 0xFFFF,
            reg::CRCR if self.state.command_running && value & (crcr::STOP | crcr::ABORT) != 0 => {
                return self.stop_commands();
            }
            reg::CRCR | reg::CRCR_HIGH if !self.state.command_running => {
                let place = &mut self.state.command;
                if offset == reg::CRCR {
                    place.cycle = value & crcr::CYCLE != 0;
                }
                *place = Place { at: half(place.at, value, offset == reg::CRCR_HIGH) & !0x3F, ..*place };
            }
            reg::DCBAAP | reg::DCBAAP_HIGH => {
                self.state.dcbaap = half(self.state.dcbaap, value, offset == reg::DCBAAP_HIGH) & !0x3F;
            }
            reg::CONFIG => self.state.config = value & 0x3FF,
            reg::PORTS.. => {
                return self.write_port(((offset - reg::PORTS) / 16) as usize, offset & 0xC, value);
            }
            _ => {}
        }
        Ok(())
    }

    fn write_command(&mut self, value: u32) -> Dma<()> {
        if value & cmd::RESET != 0 {
            self.host_controller_reset();
            return Ok(());
        }
        let old = self.state.usbcmd;
        if old & cmd::RUN != 0 && value & cmd::RUN == 0 {
            self.stop(0);
        }
        self.state.usbcmd = value & cmd::KEPT;
        if value & cmd::RUN == 0 {
            // A restore is good unless a reset came between (4.23.2).
            if value & cmd::SAVE != 0 {
                self.state.saved = true;
                self.state.interrupters.iter_mut().for_each(Interrupter::save);
            }
            if value & cmd::RESTORE != 0 && self.state.saved {
                self.state.interrupters.iter_mut().for_each(Interrupter::restore);
            } else if value & cmd::RESTORE != 0 {
                self.state.usbsts |= sts::RESTORE_ERROR;
            }
        }
        if old & cmd::RUN == 0 && value & cmd::RUN != 0 {
            self.state.counted_at = self.clock.now();
            self.timer.set(0);
            self.tell_all()?;
        }
        if (old ^ value) & cmd::INTERRUPTS != 0 {
            self.deliver_pending();
            self.update_pin();
        }
        Ok(())
    }
}

impl Mmio for Xhci {
    fn mmio_read(&mut self, offset: u64, data: &mut [u8]) {
        for (at, byte) in (offset..).zip(data) {
            *byte = self.read(at & !3).to_le_bytes()[(at & 3) as usize];
        }
    }

    fn mmio_write(&mut self, offset: u64, data: &[u8]) {
        if offset.is_multiple_of(4) {
            for (at, dword) in (offset..).step_by(4).zip(data.as_chunks::<4>().0) {
                let result = self.write(at, u32::from_le_bytes(*dword));
                self.guard(result);
            }
        }
    }
}
