//! The command ring.
//!
//! xHCI 1.1, sections 4.6 (commands), 4.9.3 (ring), 6.4.3 (command TRBs). A command is done whole when its turn comes,
//! so there is never one to abort. Left out, with a TRB Error as the answer: virtualisation, bandwidth negotiation,
//! latency tolerance, forced headers, streams.

use vm_core::lock;

use super::contexts::{self, Context, EndpointState, SlotState};
use super::ring::{Code, Dma, Place, Trb, kind};
use super::{SLOTS, Xhci};
use crate::device::UsbDevice;

/// Commands done at once at most.
const AT_ONCE: u32 = 128;
/// Flags of commands.
const BLOCK_SET_ADDRESS: u32 = 1 << 9;
const DECONFIGURE: u32 = 1 << 9;
/// The firmware of NEC's chip: its driver prints it.
const NEC_VERSION: u32 = 0x3034;
/// What is left of each port's bandwidth, in percent.
const BANDWIDTH: u8 = 80;

impl Xhci {
    /// Does what is in the command ring. Whether there may be more.
    pub(super) fn run_commands(&mut self) -> Dma<bool> {
        for _ in 0..AT_ONCE {
            if !self.state.command_running || !self.may_post(0) {
                return Ok(false);
            }
            let place = self.state.command;
            let Some(trb) = place.peek(&self.memory)? else { return Ok(false) };
            self.state.command = place.after(&trb);
            if trb.kind() == kind::LINK {
                if trb.has(super::ring::control::IOC) {
                    self.complete(&trb, Code::Success, 0)?;
                }
            } else {
                self.command(&trb)?;
            }
        }
        Ok(true)
    }

    fn complete(&mut self, trb: &Trb, code: Code, slot: u8) -> Dma<()> {
        let (status, control) = ((code as u32) << 24, kind::COMMAND_COMPLETION << 10 | u32::from(slot) << 24);
        self.post(0, Trb { at: 0, parameter: trb.at, status, control })
    }

    /// Software stops the ring, or aborts what is being done: nothing, between two commands (4.6.1.1, 4.6.1.2).
    pub(super) fn stop_commands(&mut self) -> Dma<()> {
        if std::mem::take(&mut self.state.command_running) {
            let trb = Trb { at: self.state.command.at, ..Trb::default() };
            self.complete(&trb, Code::CommandRingStopped, 0)?;
        }
        Ok(())
    }

    fn command(&mut self, trb: &Trb) -> Dma<()> {
        let id = trb.slot();
        let code = match trb.kind() {
            kind::ENABLE_SLOT => {
                let id = self.enable_slot();
                return self.complete(trb, if id == 0 { Code::NoSlots } else { Code::Success }, id);
            }
            kind::NEC_FIRMWARE if self.chip.kind.is_nec() => {
                let status = (Code::Success as u32) << 24 | NEC_VERSION;
                let control = kind::NEC_COMPLETION << 10;
                return self.post(0, Trb { at: 0, parameter: trb.at, status, control });
            }
            kind::NO_OP_COMMAND => Code::Success,
            kind::PORT_BANDWIDTH => self.port_bandwidth(trb)?,
            kind::DISABLE_SLOT..=kind::RESET_DEVICE if self.slot(id).is_none() => Code::SlotNotEnabled,
            kind::DISABLE_SLOT => {
                self.free_slot(id)?;
                Code::Success
            }
            kind::ADDRESS_DEVICE => self.address_device(id, trb)?,
            kind::CONFIGURE_ENDPOINT => self.configure_endpoint(id, trb)?,
            kind::EVALUATE_CONTEXT => self.evaluate_context(id, trb)?,
            kind::RESET_ENDPOINT => self.reset_endpoint(id, trb.endpoint())?,
            kind::STOP_ENDPOINT => self.stop_endpoint(id, trb.endpoint())?,
            kind::SET_DEQUEUE => self.set_dequeue(id, trb)?,
            kind::RESET_DEVICE => self.reset_device(id)?,
            _ => Code::Trb,
        };
        self.complete(trb, code, id)
    }

    fn enable_slot(&mut self) -> u8 {
        let id = self.free_id().unwrap_or(0);
        if let Some(slot) = usize::from(id).checked_sub(1).and_then(|i| self.state.slots.get_mut(i)) {
            slot.state = SlotState::Enabled;
        }
        id
    }

    /// Drop and add flags, and the slot context, of an input context.
    fn input(&self, trb: &Trb) -> Dma<(u32, u32, Context)> {
        let at = trb.parameter & !0xF;
        let [drop, add, ..] = self.load_context(at, 0)?;
        Ok((drop, add, self.load_context(at, 1)?))
    }

    fn address_device(&mut self, id: u8, trb: &Trb) -> Dma<Code> {
        let block = trb.control & BLOCK_SET_ADDRESS != 0;
        let (drop, add, slot_context) = self.input(trb)?;
        let endpoint_context = self.load_context(trb.parameter & !0xF, 2)?;
        let endpoint = contexts::parse(1, &endpoint_context);
        let port = (contexts::root_port(&slot_context) as usize).wrapping_sub(1);
        let (Some(endpoint), true) = (endpoint, drop == 0 && add & 3 == 3 && port < self.state.ports.len()) else {
            return Ok(Code::Parameter);
        };
        let context = self.device_context(id)?;
        let Some(slot) = self.slot(id) else { return Ok(Code::SlotNotEnabled) };
        let allowed = slot.state == SlotState::Enabled || slot.state == SlotState::Default && !block;
        if !allowed {
            return Ok(Code::ContextState);
        }
        if !block && !self.set_address(port, id) {
            return Ok(Code::Transaction);
        }
        let Some(slot) = self.slot(id) else { return Ok(Code::SlotNotEnabled) };
        slot.state = if block { SlotState::Default } else { SlotState::Addressed };
        (slot.context, slot.port, slot.address) = (context, port, if block { 0 } else { id });
        slot.endpoints.fill(None);
        slot.endpoints[0] = Some(endpoint);
        self.show_slot(id, Some(slot_context))?;
        self.show_endpoint(id, 1, Some(endpoint_context))?;
        Ok(Code::Success)
    }

    /// SET_ADDRESS to the device that answers at address 0; the slot's number serves as its address.
    fn set_address(&self, port: usize, address: u8) -> bool {
        let root = self.reachable(port).ok();
        let Some(device) = root.and_then(|d| UsbDevice::find(&d, 0)) else { return false };
        let mut device = lock(&device);
        device.setup([0, 5, address, 0, 0, 0, 0, 0]);
        device.data_in(0, 0).is_ok()
    }

    fn configure_endpoint(&mut self, id: u8, trb: &Trb) -> Dma<Code> {
        let deconfigure = trb.control & DECONFIGURE != 0;
        let state = self.slot(id).map_or(SlotState::Disabled, |s| s.state);
        if state < SlotState::Addressed {
            return Ok(Code::ContextState);
        }
        let (drop, add, input) = if deconfigure { (!3, 0, [0; 8]) } else { self.input(trb)? };
        if drop & 3 != 0 || add & 2 != 0 {
            return Ok(Code::Parameter);
        }
        let mut added = Vec::new();
        for index in (2..32u8).filter(|i| add >> i & 1 != 0) {
            let context = self.load_context(trb.parameter & !0xF, u64::from(index) + 1)?;
            match contexts::parse(index, &context) {
                Some(endpoint) => added.push((index, context, endpoint)),
                None => return Ok(Code::Parameter),
            }
        }
        let Some(slot) = self.slot(id) else { return Ok(Code::SlotNotEnabled) };
        let context = slot.context;
        let dropped: Vec<u8> = (2..32).filter(|i| drop >> i & 1 != 0 && slot.endpoint(*i).is_some()).collect();
        dropped.iter().for_each(|i| slot.endpoints[usize::from(*i) - 1] = None);
        for (index, _, endpoint) in &added {
            slot.endpoints[usize::from(*index) - 1] = Some(endpoint.clone());
        }
        let last = slot.endpoints.iter().rposition(Option::is_some).map_or(1, |i| i as u32 + 1);
        slot.state = if last > 1 { SlotState::Configured } else { SlotState::Addressed };
        for index in dropped.into_iter().filter(|i| add >> i & 1 == 0) {
            self.show_endpoint(id, index, None)?;
        }
        for (index, context, _) in added {
            self.show_endpoint(id, index, Some(context))?;
        }
        let mut shown = self.load_context(context, 0)?;
        if add & 1 != 0 {
            // Hub, MTT and number of ports are told with this command.
            shown[0] = shown[0] & !(3 << 25) | input[0] & 3 << 25;
            shown[1] = shown[1] & !(0xFF << 24 | 0xFFFF) | input[1] & (0xFF << 24 | 0xFFFF);
            shown[2] = shown[2] & 0xFFFF | input[2] & !0xFFFF;
        }
        shown[0] = shown[0] & !(0x1F << 27) | last << 27;
        self.show_slot(id, Some(shown))?;
        Ok(Code::Success)
    }

    /// Takes the slot's interrupter and exit latency, and endpoint 0's packet size (4.6.7).
    fn evaluate_context(&mut self, id: u8, trb: &Trb) -> Dma<Code> {
        let (drop, add, input) = self.input(trb)?;
        let Some(slot) = self.slot(id) else { return Ok(Code::SlotNotEnabled) };
        if slot.state < SlotState::Default {
            return Ok(Code::ContextState);
        }
        let context = slot.context;
        if drop != 0 || add & !3 != 0 {
            return Ok(Code::Parameter);
        }
        if add & 1 != 0 {
            let mut shown = self.load_context(context, 0)?;
            shown[1] = shown[1] & !0xFFFF | input[1] & 0xFFFF;
            shown[2] = shown[2] & !(0x3FF << 22) | input[2] & 0x3FF << 22;
            self.show_slot(id, Some(shown))?;
        }
        if add & 2 != 0 {
            let new = self.load_context(trb.parameter & !0xF, 2)?;
            let max_packet = (new[1] >> 16) as usize;
            let Some(endpoint) = self.slot(id).and_then(|s| s.endpoint(1)).filter(|_| max_packet != 0) else {
                return Ok(Code::Parameter);
            };
            endpoint.max_packet = max_packet;
            let mut shown = self.load_context(context, 1)?;
            shown[1] = shown[1] & 0xFFFF | new[1] & 0xFFFF_0000;
            self.show_endpoint(id, 1, Some(shown))?;
        }
        Ok(Code::Success)
    }

    fn reset_endpoint(&mut self, id: u8, index: u8) -> Dma<Code> {
        match self.slot(id).and_then(|s| s.endpoint(index)) {
            None => return Ok(Code::EndpointNotEnabled),
            Some(e) if e.state != EndpointState::Halted => return Ok(Code::ContextState),
            Some(e) => (e.state, e.done, e.ready) = (EndpointState::Stopped, 0, false),
        }
        self.show_endpoint(id, index, None)?;
        Ok(Code::Success)
    }

    /// A TD that is under way is told of; it goes on with the next doorbell (4.6.9).
    fn stop_endpoint(&mut self, id: u8, index: u8) -> Dma<Code> {
        match self.slot(id).and_then(|s| s.endpoint(index)) {
            None => return Ok(Code::EndpointNotEnabled),
            Some(e) if e.state != EndpointState::Running => return Ok(Code::ContextState),
            Some(_) => {}
        }
        self.tell_stopped(id, index)?;
        if let Some(e) = self.slot(id).and_then(|s| s.endpoint(index)) {
            (e.state, e.ready) = (EndpointState::Stopped, false);
        }
        self.show_endpoint(id, index, None)?;
        Ok(Code::Success)
    }

    fn set_dequeue(&mut self, id: u8, trb: &Trb) -> Dma<Code> {
        let index = trb.endpoint();
        let streams = trb.status >> 16 != 0;
        match self.slot(id).and_then(|s| s.endpoint(index)) {
            None => return Ok(Code::EndpointNotEnabled),
            Some(_) if streams => return Ok(Code::Trb),
            Some(e) if !matches!(e.state, EndpointState::Stopped | EndpointState::Error) => {
                return Ok(Code::ContextState);
            }
            Some(e) => {
                e.state = EndpointState::Stopped;
                (e.place, e.done) = (Place::new(trb.parameter & !0xE), 0);
            }
        }
        self.show_endpoint(id, index, None)?;
        Ok(Code::Success)
    }

    /// After a port reset: only endpoint 0 is left, at address 0 (4.6.11).
    fn reset_device(&mut self, id: u8) -> Dma<Code> {
        let Some(slot) = self.slot(id) else { return Ok(Code::SlotNotEnabled) };
        if slot.state < SlotState::Addressed {
            return Ok(Code::ContextState);
        }
        (slot.state, slot.address) = (SlotState::Default, 0);
        let context = slot.context;
        let gone: Vec<u8> = (2..32).filter(|i| slot.endpoint(*i).is_some()).collect();
        gone.iter().for_each(|i| slot.endpoints[usize::from(*i) - 1] = None);
        for index in gone {
            self.show_endpoint(id, index, None)?;
        }
        let mut shown = self.load_context(context, 0)?;
        shown[0] = shown[0] & !(0x1F << 27) | 1 << 27;
        self.show_slot(id, Some(shown))?;
        Ok(Code::Success)
    }

    /// A byte a root port, after a reserved one (6.2.6). Of hubs nothing is known.
    fn port_bandwidth(&mut self, trb: &Trb) -> Dma<Code> {
        if trb.slot() != 0 {
            let known = usize::from(trb.slot()) <= SLOTS && self.slot(trb.slot()).is_some();
            return Ok(if known { Code::Parameter } else { Code::SlotNotEnabled });
        }
        let mut context = vec![BANDWIDTH; self.state.ports.len() + 1];
        context[0] = 0;
        self.memory.write(trb.parameter & !0xF, &context)?;
        Ok(Code::Success)
    }
}
