//! A virtual processor of the trace: its calls one after the other.

use std::mem::discriminant;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use whp::{
    AccessHandler, ExitContext, INTERRUPT_CONTROLLER_STATE_SIZE, ProcessorCounters, RegisterName, RegisterValue,
    Result, TranslateGvaFlags, TranslateGvaResult, VirtualProcessor,
};

use super::{Difference, Key, LOOK_AHEAD, Shared, access, decode, error, left_out};
use crate::record::{Blob, Call, Record};

pub(super) struct ReplayProcessor {
    shared: Arc<Shared>,
    key: Key,
    index: u32,
}

impl ReplayProcessor {
    pub(super) fn new(shared: Arc<Shared>, partition: u32, index: u32) -> Self {
        Self { shared, key: (Some(partition), Some(index)), index }
    }

    /// The record that answers `call`.
    fn record(&self, operation: &'static str, call: Call) -> Result<Record> {
        let mut state = self.shared.state();
        let stream = state.streams.entry(self.key).or_default();
        stream.skip_used();
        let equal = (0..LOOK_AHEAD).find(|&i| stream.peek(i).is_some_and(|r| r.call == call));
        let mut differences = Vec::new();
        let vp = Some(self.index);
        let answer = match equal {
            Some(ahead) => {
                differences.extend((0..ahead).filter_map(|_| stream.take_next()).map(|r| left_out(&r)));
                stream.take_next()
            }
            None => {
                let next = stream.peek(0).map(|r| (r.seq, r.call.clone()));
                let same = next.as_ref().is_some_and(|(_, c)| discriminant(c) == discriminant(&call));
                let what = match (&next, same) {
                    (None, _) => "a call after the end of the trace",
                    (Some(_), true) => "a call with other arguments",
                    (Some(_), false) => "another call",
                };
                differences.push(Difference { vp, recorded: next, made: Some(call), what: what.into() });
                if same { stream.take_next() } else { None }
            }
        };
        drop(state);
        differences.into_iter().for_each(|d| self.shared.note(d));
        answer.ok_or_else(|| error(operation, format!("processor {}: not the replayed trace's next call", self.index)))
    }

    fn call<T: DeserializeOwned>(&self, operation: &'static str, call: Call) -> Result<T> {
        decode(operation, &self.record(operation, call)?)
    }

    /// A buffer; zeros of its length where the trace has only its hash.
    fn buffer(&self, operation: &'static str, call: Call) -> Result<Vec<u8>> {
        let blob: Blob = self.call(operation, call)?;
        Ok(blob.bytes().unwrap_or_else(|| vec![0; blob.len.min(1 << 20)]))
    }
}

impl VirtualProcessor for ReplayProcessor {
    fn index(&self) -> u32 {
        self.index
    }

    fn run(&self, handler: Option<&dyn AccessHandler>) -> Result<ExitContext> {
        const NAME: &str = "RunVirtualProcessor";
        let record = self.record(NAME, Call::RunVirtualProcessor { handler: handler.is_some() })?;
        let accesses = self.shared.state().inside.remove(&record.seq).unwrap_or_default();
        if let Some(handler) = handler {
            for recorded in accesses {
                if let Some(difference) = access::replay(handler, &recorded) {
                    self.shared.note(difference);
                }
            }
        }
        decode(NAME, &record)
    }

    fn cancel(&self) {}

    fn registers(&self, names: &[RegisterName], values: &mut [RegisterValue]) -> Result<()> {
        const NAME: &str = "GetVirtualProcessorRegisters";
        let call = Call::GetVirtualProcessorRegisters { names: names.into() };
        let record = self.record(NAME, call)?;
        let recorded: Vec<RegisterValue> = decode(NAME, &record)?;
        // By name, so that a client that asks for fewer registers, or in another order, goes on as far as possible.
        let Call::GetVirtualProcessorRegisters { names: known } = &record.call else {
            return Err(error(NAME, "another call's record"));
        };
        for (name, value) in names.iter().zip(values) {
            let at = known.iter().position(|k| k == name);
            let found = at.and_then(|i| recorded.get(i));
            *value = *found.ok_or_else(|| error(NAME, format!("{name:?} was not read when the trace was made")))?;
        }
        Ok(())
    }

    fn set_registers(&self, names: &[RegisterName], values: &[RegisterValue]) -> Result<()> {
        let call = Call::SetVirtualProcessorRegisters { names: names.into(), values: values.into() };
        self.call("SetVirtualProcessorRegisters", call)
    }

    fn translate_gva(&self, gva: u64, flags: TranslateGvaFlags) -> Result<TranslateGvaResult> {
        self.call("TranslateGva", Call::TranslateGva { gva, flags })
    }

    fn xsave_state(&self) -> Result<Vec<u8>> {
        self.buffer("GetVirtualProcessorXsaveState", Call::GetVirtualProcessorXsaveState {})
    }

    fn set_xsave_state(&self, area: &[u8]) -> Result<()> {
        let call = Call::SetVirtualProcessorXsaveState { area: Blob::new(area, false) };
        self.call("SetVirtualProcessorXsaveState", call)
    }

    fn interrupt_controller_state(&self) -> Result<Box<[u8; INTERRUPT_CONTROLLER_STATE_SIZE]>> {
        const NAME: &str = "GetVirtualProcessorInterruptControllerState2";
        let mut bytes = self.buffer(NAME, Call::GetVirtualProcessorInterruptControllerState2 {})?;
        bytes.resize(INTERRUPT_CONTROLLER_STATE_SIZE, 0);
        bytes.into_boxed_slice().try_into().map_err(|_| error(NAME, "a page of another size"))
    }

    fn set_interrupt_controller_state(&self, state: &[u8; INTERRUPT_CONTROLLER_STATE_SIZE]) -> Result<()> {
        let call = Call::SetVirtualProcessorInterruptControllerState2 { state: Blob::new(state, false) };
        self.call("SetVirtualProcessorInterruptControllerState2", call)
    }

    fn cpuid_output(&self, eax: u32, ecx: u32) -> Result<[u32; 4]> {
        self.call("GetVirtualProcessorCpuidOutput", Call::GetVirtualProcessorCpuidOutput { eax, ecx })
    }

    /// The recorded ones in order, then the last ones.
    fn counters(&self) -> ProcessorCounters {
        let mut state = self.shared.state();
        let stream = state.streams.entry(self.key).or_default();
        let record = stream.take_equal(&Call::GetVirtualProcessorCounters {});
        if let Some(record) = record {
            state.used_counters.insert(self.key, record);
        }
        let last = state.used_counters.get(&self.key);
        last.and_then(|r| decode("GetVirtualProcessorCounters", r).ok()).unwrap_or_default()
    }
}
