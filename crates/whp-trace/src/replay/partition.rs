//! A partition of the trace: calls in any order, each recorded one answers once.

use std::sync::Arc;

use guest_memory::RamBlock;
use serde::de::DeserializeOwned;
use whp::{InterruptControl, MapGpaRangeFlags, Partition, Property, PropertyCode, Result, VirtualProcessor};

use super::processor::ReplayProcessor;
use super::{Difference, Shared, decode, error};
use crate::record::{Blob, Call};

pub(super) struct ReplayPartition {
    pub(super) shared: Arc<Shared>,
    pub(super) id: u32,
}

impl ReplayPartition {
    fn call<T: DeserializeOwned>(&self, operation: &'static str, call: Call) -> Result<T> {
        let mut state = self.shared.state();
        let stream = state.streams.entry((Some(self.id), None)).or_default();
        if let Some(record) = stream.take_equal(&call) {
            return decode(operation, &record);
        }
        let next = stream.peek(0).map(|r| (r.seq, r.call.clone()));
        drop(state);
        let what =
            format!("partition {}: a call that is not in the trace (any more); the next one there is given", self.id);
        self.shared.note(Difference { vp: None, recorded: next, made: Some(call), what });
        Err(error(operation, "the replayed trace has no such call (any more)"))
    }

    pub(super) fn plain(&self, operation: &'static str, call: Call) -> Result<()> {
        self.call(operation, call)
    }
}

impl Partition for ReplayPartition {
    fn property(&self, code: PropertyCode) -> Result<Property> {
        self.call("GetPartitionProperty", Call::GetPartitionProperty { code })
    }

    fn set_property(&self, property: Property) -> Result<()> {
        self.plain("SetPartitionProperty", Call::SetPartitionProperty { property })
    }

    fn setup(&self) -> Result<()> {
        self.plain("SetupPartition", Call::SetupPartition {})
    }

    fn reset(&self) -> Result<()> {
        self.plain("ResetPartition", Call::ResetPartition {})
    }

    fn map_gpa_range(
        &self,
        block: &Arc<RamBlock>,
        offset: u64,
        size: u64,
        gpa: u64,
        flags: MapGpaRangeFlags,
    ) -> Result<()> {
        let (block, block_size) = (block.name().to_string(), block.len());
        self.plain("MapGpaRange", Call::MapGpaRange { block, block_size, offset, size, gpa, flags })
    }

    fn unmap_gpa_range(&self, gpa: u64, size: u64) -> Result<()> {
        self.plain("UnmapGpaRange", Call::UnmapGpaRange { gpa, size })
    }

    /// A bitmap of which the trace has only the hash is all ones: dirty is always right.
    fn query_dirty_bitmap(&self, gpa: u64, size: u64) -> Result<Vec<u64>> {
        let blob: Blob = self.call("QueryGpaRangeDirtyBitmap", Call::QueryGpaRangeDirtyBitmap { gpa, size })?;
        let words = usize::try_from(size.div_ceil(4096).div_ceil(64)).unwrap_or(0).min(1 << 24);
        let word = |c: &[u8]| c.try_into().map_or(u64::MAX, u64::from_le_bytes);
        Ok(blob.bytes().map_or_else(|| vec![u64::MAX; words], |bytes| bytes.chunks(8).map(word).collect()))
    }

    fn create_virtual_processor(&self, index: u32) -> Result<Arc<dyn VirtualProcessor>> {
        self.plain("CreateVirtualProcessor", Call::CreateVirtualProcessor { index })?;
        Ok(Arc::new(ReplayProcessor::new(self.shared.clone(), self.id, index)))
    }

    fn delete_virtual_processor(&self, index: u32) -> Result<()> {
        self.plain("DeleteVirtualProcessor", Call::DeleteVirtualProcessor { index })
    }

    fn request_interrupt(&self, interrupt: &InterruptControl) -> Result<()> {
        self.plain("RequestInterrupt", Call::RequestInterrupt { interrupt: *interrupt })
    }

    fn suspend_time(&self) -> Result<()> {
        self.plain("SuspendPartitionTime", Call::SuspendPartitionTime {})
    }

    fn resume_time(&self) -> Result<()> {
        self.plain("ResumePartitionTime", Call::ResumePartitionTime {})
    }
}
