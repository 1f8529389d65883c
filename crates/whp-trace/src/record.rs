//! What is in a trace file: a [`Header`], then a [`Record`] for each call, in the order in which the calls returned.
//!
//! Three kinds of lines, all JSON objects: the header has the member `whpx_trace` (the format's version), a record has
//! `call`, and a note about a call that has not returned for a second has `pending` ([`Pending`]). Calls of the platform to
//! the client (an [`AccessHandler`](whp::AccessHandler)'s) are records with `inside`, the number of the `Run` they
//! happened in. Numbers may have 64 bits, which not every JSON reader keeps.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use whp::{
    CapabilityCode, Error, HResult, InterruptControl, MapGpaRangeFlags, Property, PropertyCode, RegisterName,
    RegisterValue, TranslateGvaFlags,
};

/// The version of the format that this crate writes and reads.
pub const FORMAT: u32 = 1;

/// The first line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// [`FORMAT`].
    pub whpx_trace: u32,
    /// What is in the file and what is not, for whoever is about to send it.
    pub contents: String,
    /// Version of this crate.
    pub version: String,
    /// The traced program's file name.
    pub program: String,
    /// Its process's number.
    pub process: u32,
    /// Seconds since 1970.
    pub started: u64,
    /// `windows`, `linux` ...
    pub os: String,
    /// The host's processor: `x86_64`, `aarch64`.
    pub host_arch: String,
    /// Logical processors of the host.
    pub host_cpus: usize,
    /// [`Platform::name`](whp::Platform::name).
    pub platform: String,
    /// [`Platform::arch`](whp::Platform::arch).
    pub arch: whp::Arch,
    /// Buffers are whole.
    pub full: bool,
    /// What the platform answers for each capability code, or its error.
    pub capabilities: BTreeMap<u32, Value>,
}

/// A buffer: its length and hash, and its bytes where they are few or the trace is full.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Blob {
    /// Bytes.
    pub len: usize,
    /// FNV-1a, 64 bits, in hexadecimal.
    pub fnv: String,
    /// Hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hex: Option<String>,
}

/// Equal contents, as far as the hashes tell.
impl PartialEq for Blob {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.fnv == other.fnv
    }
}

impl Blob {
    /// Buffers up to this size are always whole.
    pub const SMALL: usize = 64;

    /// Of `data`; `full` keeps the bytes whatever the size.
    pub fn new(data: &[u8], full: bool) -> Self {
        let hash =
            data.iter().fold(0xCBF2_9CE4_8422_2325_u64, |h, &b| (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01B3));
        let hex = || data.iter().map(|b| format!("{b:02x}")).collect();
        Self { len: data.len(), fnv: format!("{hash:016x}"), hex: (full || data.len() <= Self::SMALL).then(hex) }
    }

    /// The bytes, when they are in the trace and what the digits say fits the length.
    pub fn bytes(&self) -> Option<Vec<u8>> {
        let hex = self.hex.as_ref()?;
        let pairs = hex.as_bytes().chunks(2).map(|pair| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok());
        pairs.collect::<Option<Vec<u8>>>().filter(|b| b.len() == self.len)
    }
}

/// A call and its arguments. Names are Microsoft's without `WHv`; those of the client's handler are in Rust case.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "call", content = "args")]
#[allow(missing_docs)]
pub enum Call {
    GetCapability {
        code: CapabilityCode,
    },
    CreatePartition {},
    DeletePartition {},
    GetPartitionProperty {
        code: PropertyCode,
    },
    SetPartitionProperty {
        property: Property,
    },
    SetupPartition {},
    ResetPartition {},
    MapGpaRange {
        block: String,
        block_size: u64,
        offset: u64,
        size: u64,
        gpa: u64,
        flags: MapGpaRangeFlags,
    },
    UnmapGpaRange {
        gpa: u64,
        size: u64,
    },
    QueryGpaRangeDirtyBitmap {
        gpa: u64,
        size: u64,
    },
    CreateVirtualProcessor {
        index: u32,
    },
    DeleteVirtualProcessor {
        index: u32,
    },
    RequestInterrupt {
        interrupt: InterruptControl,
    },
    SuspendPartitionTime {},
    ResumePartitionTime {},
    RunVirtualProcessor {
        handler: bool,
    },
    CancelRunVirtualProcessor {},
    GetVirtualProcessorRegisters {
        names: Vec<RegisterName>,
    },
    SetVirtualProcessorRegisters {
        names: Vec<RegisterName>,
        values: Vec<RegisterValue>,
    },
    TranslateGva {
        gva: u64,
        flags: TranslateGvaFlags,
    },
    GetVirtualProcessorXsaveState {},
    SetVirtualProcessorXsaveState {
        area: Blob,
    },
    GetVirtualProcessorInterruptControllerState2 {},
    SetVirtualProcessorInterruptControllerState2 {
        state: Blob,
    },
    GetVirtualProcessorCpuidOutput {
        eax: u32,
        ecx: u32,
    },
    GetVirtualProcessorCounters {},
    /// A function of the C API that returned an error without asking the platform: a bad handle, pointer or size.
    Refused {
        function: String,
    },
    #[serde(rename = "port_read")]
    PortRead {
        port: u16,
        size: usize,
    },
    #[serde(rename = "port_write")]
    PortWrite {
        port: u16,
        data: Blob,
    },
    #[serde(rename = "memory_read")]
    MemoryRead {
        gpa: u64,
        size: usize,
    },
    #[serde(rename = "memory_write")]
    MemoryWrite {
        gpa: u64,
        data: Blob,
    },
    #[serde(rename = "eoi")]
    Eoi {
        vector: u8,
    },
}

impl Call {
    /// Its name, as in the file.
    pub fn name(&self) -> String {
        match serde_json::to_value(self) {
            Ok(Value::Object(mut o)) => match o.remove("call") {
                Some(Value::String(name)) => name,
                _ => String::new(),
            },
            _ => String::new(),
        }
    }
}

/// An error a call returned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The HRESULT.
    pub code: HResult,
    /// Its symbol, for readers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub symbol: Option<String>,
    /// [`Error::operation`].
    pub operation: String,
    /// [`Error::operands`].
    pub operands: String,
}

impl From<&Error> for Failure {
    fn from(e: &Error) -> Self {
        Self {
            code: e.code,
            symbol: e.code.symbol().map(Into::into),
            operation: e.operation.into(),
            operands: e.operands.clone(),
        }
    }
}

/// What came of a call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Outcome {
    /// It returned this (null: nothing to return).
    #[serde(rename = "ok")]
    Done(Value),
    /// It returned an error.
    #[serde(rename = "err")]
    Failed(Failure),
}

/// A call that returned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Counts calls as they begin, from 1.
    pub seq: u64,
    /// Nanoseconds from the start of the trace to the start of the call.
    pub at: u64,
    /// How many nanoseconds it took.
    pub ns: u64,
    /// The calling thread; counts from 1 in order of first call.
    pub tid: u64,
    /// The partition, from 0, where one is concerned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition: Option<u32>,
    /// The virtual processor, where one is concerned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vp: Option<u32>,
    /// The platform made this call to the client inside that `RunVirtualProcessor`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inside: Option<u64>,
    /// Name and arguments.
    #[serde(flatten)]
    pub call: Call,
    /// `ok` or `err`.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// A call that has not returned yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// The call's name.
    pub pending: String,
    /// As in [`Record`].
    pub seq: u64,
    /// As in [`Record`].
    pub tid: u64,
    /// As in [`Record`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vp: Option<u32>,
    /// Nanoseconds since it began.
    pub since: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(call: Call, outcome: Outcome) -> Record {
        Record { seq: 7, at: 1, ns: 2, tid: 3, partition: Some(0), vp: Some(1), inside: None, call, outcome }
    }

    #[test]
    fn records_survive_text() {
        let calls = [
            Call::SetupPartition {},
            Call::SetPartitionProperty { property: Property::CpuidExitList(vec![1, 0x8000_0000]) },
            Call::MapGpaRange {
                block: "ram".into(),
                block_size: 0x1000,
                offset: 0,
                size: 0x1000,
                gpa: 0xFFFF_FFFF_F000,
                flags: MapGpaRangeFlags::READ | MapGpaRangeFlags::WRITE | MapGpaRangeFlags::from_bits_retain(0x100),
            },
            Call::SetVirtualProcessorRegisters {
                names: vec![RegisterName::XMM0, RegisterName(0x7777)],
                values: vec![RegisterValue(u128::MAX), RegisterValue(0)],
            },
            Call::PortWrite { port: 0x80, data: Blob::new(&[0x5A], false) },
        ];
        for call in calls {
            let failed = Outcome::Failed(Failure::from(&Error::new(HResult::E_INVALIDARG, "X", "y")));
            for outcome in [Outcome::Done(Value::Null), failed] {
                let r = record(call.clone(), outcome);
                let text = serde_json::to_string(&r).unwrap();
                assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), r, "{text}");
            }
        }
        let r = record(Call::TranslateGva { gva: 0xFFFF_8000_0000_0000, flags: TranslateGvaFlags::VALIDATE_READ }, {
            Outcome::Done(Value::from(1))
        });
        assert_eq!(
            serde_json::to_string(&r).unwrap(),
            r#"{"seq":7,"at":1,"ns":2,"tid":3,"partition":0,"vp":1,"call":"TranslateGva","args":{"gva":18446603336221196288,"flags":"VALIDATE_READ"},"ok":1}"#
        );
        assert_eq!(r.call.name(), "TranslateGva");
    }

    #[test]
    fn exits_survive_text() {
        let access = whp::MemoryAccess {
            instruction_byte_count: 3,
            instruction_bytes: [0xFE; 16],
            access_type: whp::AccessType::Write,
            gpa_unmapped: true,
            gva_valid: true,
            gpa: u64::MAX,
            gva: 1,
        };
        let unknown = whp::Exit::Unknown { reason: whp::ExitReason(0x7777), data: [u64::MAX; 22] };
        for exit in [whp::Exit::MemoryAccess(access), whp::Exit::Halt, unknown] {
            let context = whp::ExitContext { vp: whp::VpContext::default(), exit };
            let text = serde_json::to_string(&context).unwrap();
            let value: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(serde_json::from_value::<whp::ExitContext>(value).unwrap(), context, "{text}");
        }
    }

    #[test]
    fn big_buffers_are_hashes() {
        let small = Blob::new(b"foobar", false);
        assert_eq!(small.fnv, "85944171f73967e8", "FNV-1a's published test vector");
        assert_eq!(small.bytes().unwrap(), b"foobar");
        let big = Blob::new(&[1; 65], false);
        assert_eq!((big.bytes(), big.len), (None, 65));
        assert_eq!(Blob::new(&[1; 65], true).bytes().unwrap(), [1; 65]);
        assert_eq!(big, Blob::new(&[1; 65], true));
        assert_ne!(big, Blob::new(&[2; 65], false));
        let forged = Blob { hex: Some("é€".into()), ..small };
        assert_eq!(forged.bytes(), None);
    }
}
