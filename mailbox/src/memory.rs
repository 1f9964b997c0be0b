//! A store in memory, for simulations and tests. It can be told to fail.

use crate::store::{BoxStore, Change, Held, Result, StoreError, Usage};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use veilpost_packet::{
    boxes::BoxTag,
    ids::BoxId,
    time::{Day, Tick},
};

/// Boxes in memory.
#[derive(Debug, Default)]
pub struct MemoryStore {
    held: BTreeMap<BoxId, Held>,
    waiting: VecDeque<BoxTag>,
    digests: BTreeMap<Tick, Vec<u8>>,
    /// While true, every write fails as a full disk does.
    pub disk_full: bool,
}

impl MemoryStore {
    fn room(&self) -> Result<()> {
        if self.disk_full { Err(StoreError::DiskFull) } else { Ok(()) }
    }
}

impl BoxStore for MemoryStore {
    fn get(&self, id: &BoxId) -> Result<Option<Held>> {
        Ok(self.held.get(id).cloned())
    }

    fn apply(&mut self, changes: &[Change]) -> Result<()> {
        self.room()?;
        for change in changes {
            match change {
                Change::Hold { id, held, announce } => {
                    self.held.insert(*id, held.clone());
                    self.waiting.extend(announce);
                }
                Change::Publish { tick, bytes, tags } => {
                    self.digests.insert(*tick, bytes.clone());
                    let published: BTreeSet<_> = tags.iter().collect();
                    self.waiting.retain(|tag| !published.contains(tag));
                }
            }
        }
        Ok(())
    }

    fn expire(&mut self, today: Day, limit: usize) -> Result<usize> {
        self.room()?;
        let over = |(_, held): &(&BoxId, &Held)| held.until() < today;
        let gone: Vec<_> = self.held.iter().filter(over).take(limit).map(|(id, _)| *id).collect();
        gone.iter().for_each(|id| {
            self.held.remove(id);
        });
        Ok(gone.len())
    }

    fn drop_digests(&mut self, oldest: Tick) -> Result<()> {
        self.room()?;
        self.digests = self.digests.split_off(&oldest);
        Ok(())
    }

    fn unannounced(&self, limit: usize) -> Result<Vec<BoxTag>> {
        Ok(self.waiting.iter().take(limit).copied().collect())
    }

    fn digests(&self, from: Tick, limit: usize) -> Result<Vec<Vec<u8>>> {
        Ok(self.digests.range(from..).take(limit).map(|(_, bytes)| bytes.clone()).collect())
    }

    fn newest_digest(&self) -> Result<Option<Vec<u8>>> {
        Ok(self.digests.values().next_back().cloned())
    }

    fn usage(&self) -> Usage {
        let boxes = self.held.values().filter(|held| matches!(held, Held::Box(_))).count() as u64;
        Usage { boxes, tombstones: self.held.len() as u64 - boxes }
    }
}
