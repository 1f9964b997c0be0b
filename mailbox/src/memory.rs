//! A store in memory, for simulations and tests. It can be told to fail.

use crate::store::{BoxStore, Change, Cursor, Held, Result, Series, StoreError, Usage, Waiting, Walked};
use std::collections::{BTreeMap, BTreeSet};
use veilpost_packet::{ids::BoxId, time::Day};

/// Boxes in memory.
#[derive(Debug, Default, Clone)]
pub struct MemoryStore {
    buckets: BTreeMap<Day, BTreeMap<BoxId, Held>>,
    waiting: BTreeSet<Waiting>,
    records: BTreeMap<(Series, u32), Vec<u8>>,
    usage: BTreeMap<Day, Usage>,
    /// While true, every write fails as a full disk does.
    pub disk_full: bool,
    /// The next write makes this many changes, then fails.
    pub tear_after: Option<usize>,
}

impl MemoryStore {
    fn room(&self) -> Result<()> {
        if self.disk_full { Err(StoreError::DiskFull) } else { Ok(()) }
    }

    fn hold(&mut self, id: BoxId, held: Held) {
        let bucket = held.until();
        let elsewhere: Vec<_> = self.buckets.keys().copied().filter(|day| *day != bucket).collect();
        for day in elsewhere {
            self.remove(day, &id);
        }
        count(self.usage.entry(bucket).or_default(), &held, true);
        if let Some(before) = self.buckets.entry(bucket).or_default().insert(id, held) {
            count(self.usage.entry(bucket).or_default(), &before, false);
        }
    }

    fn remove(&mut self, bucket: Day, id: &BoxId) {
        if let Some(before) = self.buckets.get_mut(&bucket).and_then(|entries| entries.remove(id)) {
            count(self.usage.entry(bucket).or_default(), &before, false);
        }
    }

    fn make(&mut self, change: &Change) {
        match change {
            Change::Hold { id, held, announce } => {
                self.hold(*id, held.clone());
                self.waiting.extend(announce);
            }
            Change::Confirm { id, bucket, others, announce } => {
                let entry = self.buckets.get_mut(bucket).and_then(|entries| entries.get_mut(id));
                if let Some(Held::Box(kept)) = entry {
                    kept.others.clone_from(others);
                    kept.announced |= announce.is_some();
                    self.waiting.extend(announce);
                }
            }
            Change::Drop { id, bucket } => self.remove(*bucket, id),
            Change::Announced(waiting) => drop(self.waiting.remove(waiting)),
            Change::Record { series, number, bytes } => {
                self.records.insert((*series, *number), bytes.clone());
            }
        }
    }
}

fn count(usage: &mut Usage, held: &Held, comes: bool) {
    let counter = match held {
        Held::Box(_) => &mut usage.boxes,
        Held::Tombstone(_) => &mut usage.tombstones,
    };
    *counter = if comes { *counter + 1 } else { counter.saturating_sub(1) };
}

impl BoxStore for MemoryStore {
    fn get(&self, id: &BoxId) -> Result<Option<Held>> {
        Ok(self.buckets.values().rev().find_map(|entries| entries.get(id)).cloned())
    }

    fn apply(&mut self, changes: &[Change]) -> Result<()> {
        self.room()?;
        let torn = self.tear_after.take();
        for change in changes.iter().take(torn.unwrap_or(usize::MAX)) {
            self.make(change);
        }
        if torn.is_some() { Err(StoreError::Failed("torn".into())) } else { Ok(()) }
    }

    fn expire(&mut self, today: Day) -> Result<usize> {
        self.room()?;
        let live = self.buckets.split_off(&today);
        let gone = std::mem::replace(&mut self.buckets, live).len();
        self.usage.retain(|day, _| *day >= today);
        self.waiting.retain(|waiting| waiting.bucket >= today);
        Ok(gone)
    }

    fn waiting(&self, limit: usize) -> Result<Vec<Waiting>> {
        Ok(self.waiting.iter().take(limit).copied().collect())
    }

    fn walk(&self, after: Option<Cursor>, limit: usize) -> Result<Vec<Walked>> {
        let first = after.map_or(Day(0), |after| after.bucket);
        let entries = self.buckets.range(first..).flat_map(|(bucket, entries)| {
            let from = after.filter(|after| after.bucket == *bucket).map(|after| after.id);
            let lower = from.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
            entries.range((lower, std::ops::Bound::Unbounded)).map(|(id, held)| Walked {
                at: Cursor { bucket: *bucket, id: *id },
                others: match held {
                    Held::Box(kept) => Some(kept.others.clone()),
                    Held::Tombstone(_) => None,
                },
            })
        });
        Ok(entries.take(limit).collect())
    }

    fn records(&self, series: Series, from: u32, limit: usize) -> Result<Vec<(u32, Vec<u8>)>> {
        let range = self.records.range((series, from)..=(series, u32::MAX)).take(limit);
        Ok(range.map(|((_, number), bytes)| (*number, bytes.clone())).collect())
    }

    fn newest(&self, series: Series) -> Result<Option<(u32, Vec<u8>)>> {
        let newest = self.records.range((series, 0)..=(series, u32::MAX)).next_back();
        Ok(newest.map(|((_, number), bytes)| (*number, bytes.clone())))
    }

    fn drop_records(&mut self, series: Series, before: u32) -> Result<()> {
        self.room()?;
        self.records.retain(|(kept, number), _| *kept != series || *number >= before);
        Ok(())
    }

    fn usage(&self) -> Usage {
        self.usage.values().fold(Usage::default(), |sum, one| Usage {
            boxes: sum.boxes + one.boxes,
            tombstones: sum.tombstones + one.tombstones,
        })
    }

    fn usage_of(&self, bucket: Day) -> Usage {
        self.usage.get(&bucket).copied().unwrap_or_default()
    }
}
