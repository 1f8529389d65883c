//! `snapshot=on`: writes go to a temporary file, clusters in the order of their first write, the map in memory.
//!
//! The file has no name (Unix) or is deleted when its handle closes (Windows), so it goes however the process ends.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::sync::{Arc, PoisonError, RwLock};

use crate::{BlockBackend, BlockError, at, check_range};

const CLUSTER: u64 = 64 << 10;

#[derive(Clone, Copy)]
enum Place {
    Slot(u64),
    Zero,
}

#[derive(Default)]
struct Map {
    clusters: HashMap<u64, Place>,
    free: Vec<u64>,
    used: u64,
}

/// A disk over `base`, which is never written.
pub(crate) struct Overlay {
    base: Arc<dyn BlockBackend>,
    file: File,
    map: RwLock<Map>,
}

/// The parts of a request, cluster by cluster: cluster number, offset in it, range of the buffer.
fn pieces(offset: u64, len: usize) -> impl Iterator<Item = (u64, u64, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        (done < len).then(|| {
            let at = offset + done as u64;
            let n = ((CLUSTER - at % CLUSTER) as usize).min(len - done);
            done += n;
            (at / CLUSTER, at % CLUSTER, done - n..done)
        })
    })
}

impl Overlay {
    pub(crate) fn new(base: Arc<dyn BlockBackend>) -> Result<Self, BlockError> {
        let var_tmp = std::path::Path::new("/var/tmp");
        let dir = if std::env::var_os("TMPDIR").is_none() && cfg!(unix) && var_tmp.is_dir() {
            var_tmp.to_path_buf() // /tmp is often memory
        } else {
            std::env::temp_dir()
        };
        let file = tempfile::tempfile_in(&dir).map_err(|e| BlockError::Temporary { dir, reason: e.to_string() })?;
        Ok(Self { base, file, map: RwLock::default() })
    }

    fn read_piece(&self, place: Option<Place>, cluster: u64, into: u64, data: &mut [u8]) -> io::Result<()> {
        match place {
            Some(Place::Slot(slot)) => at::read(&self.file, data, slot * CLUSTER + into),
            Some(Place::Zero) => {
                data.fill(0);
                Ok(())
            }
            None => self.base.read_at(cluster * CLUSTER + into, data),
        }
    }

    fn write_piece(&self, map: &mut Map, cluster: u64, into: u64, data: &[u8]) -> io::Result<()> {
        let place = map.clusters.get(&cluster).copied();
        if let Some(Place::Slot(slot)) = place {
            return at::write(&self.file, data, slot * CLUSTER + into);
        }
        let mut whole = vec![0; CLUSTER as usize];
        let there = (self.size() - cluster * CLUSTER).min(CLUSTER) as usize;
        if data.len() < there {
            self.read_piece(place, cluster, 0, &mut whole[..there])?;
        }
        whole[into as usize..into as usize + data.len()].copy_from_slice(data);
        let slot = map.free.pop().unwrap_or(map.used);
        at::write(&self.file, &whole, slot * CLUSTER)?;
        map.used = map.used.max(slot + 1);
        map.clusters.insert(cluster, Place::Slot(slot));
        Ok(())
    }
}

impl BlockBackend for Overlay {
    fn read_at(&self, offset: u64, data: &mut [u8]) -> io::Result<()> {
        check_range(self.size(), offset, data.len() as u64)?;
        let map = self.map.read().unwrap_or_else(PoisonError::into_inner);
        if map.clusters.is_empty() {
            return self.base.read_at(offset, data);
        }
        pieces(offset, data.len())
            .try_for_each(|(c, into, part)| self.read_piece(map.clusters.get(&c).copied(), c, into, &mut data[part]))
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        check_range(self.size(), offset, data.len() as u64)?;
        let mut map = self.map.write().unwrap_or_else(PoisonError::into_inner);
        pieces(offset, data.len()).try_for_each(|(c, into, part)| self.write_piece(&mut map, c, into, &data[part]))
    }

    fn flush(&self) -> io::Result<()> {
        Ok(()) // nothing of it outlives the process
    }

    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        check_range(self.size(), offset, len)?;
        let mut map = self.map.write().unwrap_or_else(PoisonError::into_inner);
        for cluster in offset.div_ceil(CLUSTER)..(offset + len) / CLUSTER {
            if let Some(Place::Slot(slot)) = map.clusters.insert(cluster, Place::Zero) {
                map.free.push(slot);
            }
        }
        Ok(())
    }

    fn size(&self) -> u64 {
        self.base.size()
    }

    fn format(&self) -> &'static str {
        self.base.format()
    }

    fn readonly(&self) -> bool {
        false
    }
}
