//! Every reference that mapping tables make to clusters of the file.
//!
//! An L2 table that several L1 entries (of snapshots, mostly) name is read once and its references count as often. So
//! the time is bounded by the file's size, whatever the tables say.

use std::collections::BTreeMap;

use super::qcow2::{COMPRESSED, COPIED, Cluster, OFFSET, Qcow2, ZERO};
use super::{Control, Result};

/// Bits of an L1 entry that must be 0.
const L1_RESERVED: u64 = !(OFFSET | COPIED);
/// The same for an L2 entry that is not of a compressed cluster.
const L2_RESERVED: u64 = !(OFFSET | COPIED | COMPRESSED | ZERO);

/// What is found.
pub(crate) enum Found {
    /// `len` bytes of the file are referenced `times`.
    Reference { at: u64, len: u64, times: u32 },
    /// An entry makes no sense.
    Problem(String),
}

/// The L2 tables that L1 tables name, with how often; and what is wrong with entries.
#[derive(Default)]
pub(crate) struct Tables {
    pub(crate) l2: BTreeMap<u64, u32>,
    problems: Vec<String>,
}

impl Tables {
    /// Adds an L1 table.
    pub(crate) fn add(&mut self, image: &Qcow2, l1: &[u64], whose: &str) {
        for (i, entry) in l1.iter().enumerate() {
            if *entry == 0 {
                continue;
            }
            let at = entry & OFFSET;
            let mut bad = |what: &str| {
                if self.problems.len() < 1 << 16 {
                    self.problems.push(format!("L1 entry {i} of {whose}, {entry:#x}: {what}"));
                }
            };
            if entry & L1_RESERVED != 0 {
                bad("reserved bits are set");
            }
            if at == 0 {
                continue;
            }
            if at & (image.header.cluster() - 1) != 0 {
                bad("the L2 table is not a cluster");
            } else if at >= image.file_len {
                bad("the L2 table is outside of the file");
            } else {
                let times = self.l2.entry(at).or_default();
                *times = times.saturating_add(1);
            }
        }
    }

    /// Calls `each` for all references of the tables, and for what is wrong.
    pub(crate) fn references(
        self,
        image: &Qcow2,
        control: &Control,
        mut each: impl FnMut(Found) -> Result<()>,
    ) -> Result<()> {
        for problem in self.problems {
            each(Found::Problem(problem))?;
        }
        let h = &image.header;
        let all = self.l2.len() as u64;
        for (done, (l2_at, times)) in self.l2.into_iter().enumerate() {
            control.step(done as u64, all)?;
            each(Found::Reference { at: l2_at, len: h.cluster(), times })?;
            let table = match image.l2_table(l2_at) {
                Ok(table) => table,
                Err(e) => {
                    each(Found::Problem(e.to_string()))?;
                    continue;
                }
            };
            for (i, entry) in table.iter().enumerate() {
                let bad =
                    |what: &str| Found::Problem(format!("L2 entry {i} of the table at {l2_at:#x}, {entry:#x}: {what}"));
                let (at, len) = match Qcow2::decode(h, *entry) {
                    Cluster::Unallocated | Cluster::Zero(None) => {
                        if *entry & L2_RESERVED != 0 {
                            each(bad("reserved bits are set"))?;
                        }
                        continue;
                    }
                    Cluster::Data(at) | Cluster::Zero(Some(at)) => {
                        if entry & L2_RESERVED != 0 {
                            each(bad("reserved bits are set"))?;
                        }
                        if at & (h.cluster() - 1) != 0 {
                            each(bad("the data is not in a cluster"))?;
                            continue;
                        }
                        (at, h.cluster())
                    }
                    Cluster::Compressed { at, len } => {
                        if entry & COPIED != 0 {
                            each(bad("a compressed cluster has the flag 'copied'"))?;
                        }
                        (at, len)
                    }
                };
                if at.checked_add(len).is_none_or(|end| end > image.file_len.next_multiple_of(h.cluster())) {
                    each(bad("the data is outside of the file"))?;
                    continue;
                }
                each(Found::Reference { at, len, times })?;
            }
        }
        Ok(())
    }
}
