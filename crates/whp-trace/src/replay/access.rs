//! Decoded accesses of a recorded Run, made again to the client's handler.

use whp::AccessHandler;

use super::{Difference, decode};
use crate::record::{Blob, Call, Record};

/// The longest access there is.
const MOST: usize = 64;

/// Makes the access; says so when the client answers a read with something else than it did then.
pub(super) fn replay(handler: &dyn AccessHandler, recorded: &Record) -> Option<Difference> {
    let mut buffer = [0; MOST];
    let answer = match &recorded.call {
        Call::PortRead { port, size } => {
            let data = buffer.get_mut(..*size).filter(|d| matches!(d.len(), 1 | 2 | 4))?;
            handler.port_read(*port, data);
            data
        }
        Call::MemoryRead { gpa, size } => {
            let data = buffer.get_mut(..*size).filter(|d| !d.is_empty())?;
            handler.memory_read(*gpa, data);
            data
        }
        Call::PortWrite { port, data } => {
            let data = data.bytes().filter(|d| matches!(d.len(), 1 | 2 | 4))?;
            handler.port_write(*port, &data);
            return None;
        }
        Call::MemoryWrite { gpa, data } => {
            let data = data.bytes().filter(|d| (1..=MOST).contains(&d.len()))?;
            handler.memory_write(*gpa, &data);
            return None;
        }
        Call::Eoi { vector } => {
            handler.eoi(*vector);
            return None;
        }
        _ => return None,
    };
    let now = Blob::new(answer, true);
    let then: Blob = decode("access", recorded).ok()?;
    let digits = |b: &Blob| b.hex.clone().unwrap_or_default();
    let what = || format!("the client answers this read with {} instead of {}", digits(&now), digits(&then));
    (now != then).then(|| Difference {
        vp: recorded.vp,
        recorded: Some((recorded.seq, recorded.call.clone())),
        made: None,
        what: what(),
    })
}
