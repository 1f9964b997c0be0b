//! The store over any engine: one database for records, one for each day of expiry.

use super::{
    BUCKETS_MAX, EngineName, OpenError,
    entry::{
        SMALL, Small, WAITING, body_key, id_of, record_key, record_number, series_end, small_key, waiting_key,
        waiting_of,
    },
    folder::{Folder, MAIN, bucket_name},
    kv::{Batch, KeyValue, io_failed},
    shelf::{Difference, Shelf, put, value},
};
use crate::store::{BoxStore, Change, Confirmation, Cursor, Held, Result, Series, StoreError, Usage, Waiting, Walked};
use std::{collections::BTreeMap, path::Path};
use veilpost_packet::{ids::BoxId, time::Day};

/// Records dropped in one batch.
const DROP_BATCH: usize = 256;

/// Boxes on disk, in databases of engine `K`.
///
/// A batch is atomic in each database, not over several. What adds (entries, lists of holders) is written first, then records,
/// then what takes away (tags that no longer wait, dropped entries, the old place of an entry that moved to another day): whatever
/// a crash cuts off, nothing is lost that the same batch took over into another place.
#[derive(Debug)]
pub struct BucketStore<K> {
    pub(super) folder: Folder,
    pub(super) main: Shelf<K>,
    pub(super) buckets: BTreeMap<Day, Shelf<K>>,
    /// A bucket's bytes are still to be removed.
    leftovers: bool,
}

/// What is to be written to one bucket.
#[derive(Default)]
struct Step {
    batch: Batch,
    difference: Difference,
}

impl Step {
    fn count(&mut self, small: &Small, by: i64) {
        match small {
            Small::Box { .. } => self.difference.boxes += by,
            Small::Tombstone(_) => self.difference.tombstones += by,
        }
    }

    fn remove(&mut self, id: &BoxId, small: &Small) {
        self.count(small, -1);
        self.batch.remove(small_key(id));
        if matches!(small, Small::Box { .. }) {
            self.batch.remove(body_key(id));
        }
    }
}

/// A batch of changes, sorted.
#[derive(Default)]
struct Plan {
    adds: BTreeMap<Day, Step>,
    records: Batch,
    takes: BTreeMap<Day, Step>,
}

impl<K: KeyValue> BucketStore<K> {
    /// Opens or makes the store in this folder.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(path: &Path, engine: EngineName) -> std::result::Result<Self, OpenError> {
        let folder = Folder::open(path, engine)?;
        let days = folder.buckets().map_err(|error| OpenError::io(path, error))?;
        let at = |name: String| move |error| OpenError::Store { path: path.join(name), error };
        let main = if folder.place(MAIN).exists() {
            Shelf::open(&folder, MAIN)
        } else if days.is_empty() {
            Shelf::make(&folder, MAIN)
        } else {
            Err(StoreError::Damaged("there are boxes, and no records"))
        };
        let main = main.map_err(at(MAIN.into()))?;
        let mut buckets = BTreeMap::new();
        for day in days {
            let name = bucket_name(day);
            buckets.insert(day, Shelf::open(&folder, &name).map_err(at(name))?);
        }
        Ok(Self { folder, main, buckets, leftovers: false })
    }

    /// Closes the databases and keeps the folder locked.
    pub(super) fn into_folder(self) -> Folder {
        self.main.close();
        self.buckets.values().for_each(Shelf::close);
        self.folder
    }

    fn plan(&self, changes: &[Change]) -> Result<Plan> {
        let mut plan = Plan::default();
        for change in changes {
            match change {
                Change::Hold { id, held, announce } => self.hold(&mut plan, id, held, announce.as_ref())?,
                Change::Confirm { id, bucket, others, announce } => {
                    self.confirm(&mut plan, id, *bucket, others, announce.as_ref())?;
                }
                Change::Drop { id, bucket } => {
                    if let Some(small) = self.small(*bucket, id)? {
                        plan.takes.entry(*bucket).or_default().remove(id, &small);
                    }
                }
                Change::Announced(waiting) => {
                    if self.buckets.contains_key(&waiting.bucket) {
                        plan.takes.entry(waiting.bucket).or_default().batch.remove(waiting_key(waiting));
                    }
                }
                Change::Record { series, number, bytes } => {
                    put(&mut plan.records, record_key(*series, *number), bytes.clone());
                }
            }
        }
        Ok(plan)
    }

    fn hold(&self, plan: &mut Plan, id: &BoxId, held: &Held, announce: Option<&Waiting>) -> Result<()> {
        let (bucket, small) = (held.until(), Small::of(held));
        let new = plan.adds.entry(bucket).or_default();
        for day in self.buckets.keys() {
            let Some(before) = self.small(*day, id)? else { continue };
            if *day == bucket {
                new.count(&before, -1);
                if matches!((&before, &small), (Small::Box { .. }, Small::Tombstone(_))) {
                    new.batch.remove(body_key(id));
                }
            } else {
                plan.takes.entry(*day).or_default().remove(id, &before);
            }
        }
        new.count(&small, 1);
        put(&mut new.batch, small_key(id), small.encode()?);
        if let Held::Box(kept) = held {
            put(&mut new.batch, body_key(id), kept.sealed.to_bytes());
        }
        if let Some(waiting) = announce {
            put(&mut new.batch, waiting_key(waiting), Vec::new());
        }
        Ok(())
    }

    fn confirm(
        &self,
        plan: &mut Plan,
        id: &BoxId,
        bucket: Day,
        others: &[Confirmation],
        announce: Option<&Waiting>,
    ) -> Result<()> {
        let Some(Small::Box { announced, .. }) = self.small(bucket, id)? else { return Ok(()) };
        let batch = &mut plan.adds.entry(bucket).or_default().batch;
        let small = Small::Box { announced: announced || announce.is_some(), others: others.to_vec() };
        put(batch, small_key(id), small.encode()?);
        if let Some(waiting) = announce {
            put(batch, waiting_key(waiting), Vec::new());
        }
        Ok(())
    }

    fn small(&self, bucket: Day, id: &BoxId) -> Result<Option<Small>> {
        let Some(shelf) = self.buckets.get(&bucket).filter(|shelf| shelf.may_have(id)) else { return Ok(None) };
        shelf.get(&small_key(id))?.map(|bytes| Small::decode(&bytes)).transpose()
    }

    fn write(&mut self, steps: BTreeMap<Day, Step>) -> Result<()> {
        for (day, Step { batch, difference }) in steps {
            self.bucket(day)?.write(batch, difference, true)?;
        }
        Ok(())
    }

    /// The bucket of a day; makes it.
    pub(super) fn bucket(&mut self, day: Day) -> Result<&Shelf<K>> {
        let many = self.buckets.len() >= BUCKETS_MAX;
        match self.buckets.entry(day) {
            std::collections::btree_map::Entry::Occupied(there) => Ok(there.into_mut()),
            std::collections::btree_map::Entry::Vacant(_) if many => {
                Err(StoreError::Failed(format!("boxes of more than {BUCKETS_MAX} different days")))
            }
            std::collections::btree_map::Entry::Vacant(new) => {
                Ok(new.insert(Shelf::make(&self.folder, &bucket_name(day))?))
            }
        }
    }
}

impl<K: KeyValue> BoxStore for BucketStore<K> {
    fn get(&self, id: &BoxId) -> Result<Option<Held>> {
        let key = small_key(id);
        for (day, shelf) in self.buckets.iter().rev().filter(|(_, shelf)| shelf.may_have(id)) {
            let held = shelf.with(|open| {
                let Some(small) = value(open, &key)? else { return Ok(None) };
                Small::decode(&small)?.with(id, *day, || value(open, &body_key(id))).map(Some)
            })?;
            if held.is_some() {
                return Ok(held);
            }
        }
        Ok(None)
    }

    fn apply(&mut self, changes: &[Change]) -> Result<()> {
        let Plan { adds, records, takes } = self.plan(changes)?;
        self.write(adds)?;
        if !records.0.is_empty() {
            self.main.write(records, Difference::default(), true)?;
        }
        self.write(takes)
    }

    fn expire(&mut self, today: Day) -> Result<usize> {
        let mut gone = 0;
        while let Some(oldest) = self.buckets.first_entry().filter(|oldest| *oldest.key() < today) {
            // Closed before it is renamed: sled writes into its folder by name.
            oldest.get().close();
            self.folder.leave(&bucket_name(*oldest.key())).map_err(|error| io_failed(&error))?;
            oldest.remove();
            self.leftovers = true;
            gone += 1;
        }
        // Outside of the loop, so that what could not be removed is tried again; whatever comes of it, the boxes are gone.
        if self.leftovers && self.folder.sweep().is_ok() {
            self.leftovers = false;
        }
        Ok(gone)
    }

    fn waiting(&self, limit: usize) -> Result<Vec<Waiting>> {
        let mut all = Vec::new();
        for (day, shelf) in &self.buckets {
            for (key, _) in shelf.range(WAITING, limit)? {
                all.push(waiting_of(&key, *day)?);
            }
            // Those that are due first, from whatever bucket.
            all.sort_unstable_by_key(|waiting| (waiting.from, waiting.bucket, waiting.tag));
            all.truncate(limit);
        }
        Ok(all)
    }

    fn walk(&self, after: Option<Cursor>, limit: usize) -> Result<Vec<Walked>> {
        let mut walked = Vec::new();
        for (day, shelf) in self.buckets.range(after.map_or(Day(0), |after| after.bucket)..) {
            let from =
                after.filter(|after| after.bucket == *day).map(|after| [&small_key(&after.id)[..], &[0]].concat());
            let from = from.as_deref().unwrap_or(SMALL.0);
            for (key, bytes) in shelf.range((from, SMALL.1), limit - walked.len())? {
                let others = match Small::decode(&bytes)? {
                    Small::Box { others, .. } => Some(others),
                    Small::Tombstone(_) => None,
                };
                walked.push(Walked { at: Cursor { bucket: *day, id: id_of(&key)? }, others });
            }
            if walked.len() >= limit {
                break;
            }
        }
        Ok(walked)
    }

    fn records(&self, series: Series, from: u32, limit: usize) -> Result<Vec<(u32, Vec<u8>)>> {
        let pairs = self.main.range((&record_key(series, from), &series_end(series)), limit)?;
        pairs.into_iter().map(|(key, bytes)| Ok((record_number(&key)?, bytes))).collect()
    }

    fn newest(&self, series: Series) -> Result<Option<(u32, Vec<u8>)>> {
        let newest = self.main.last(&record_key(series, 0), &series_end(series))?;
        newest.map(|(key, bytes)| Ok((record_number(&key)?, bytes))).transpose()
    }

    fn drop_records(&mut self, series: Series, before: u32) -> Result<()> {
        let (from, to) = (record_key(series, 0), record_key(series, before));
        loop {
            let pairs = self.main.with(|open| open.range(&from, &to, DROP_BATCH))?;
            if pairs.is_empty() {
                return Ok(());
            }
            let mut batch = Batch::default();
            pairs.into_iter().for_each(|(key, _)| batch.remove(key));
            // Not flushed: what comes back after a crash does no harm and goes next time.
            self.main.write(batch, Difference::default(), false)?;
        }
    }

    fn usage(&self) -> Usage {
        self.buckets.values().map(Shelf::usage).fold(Usage::default(), |sum, one| Usage {
            boxes: sum.boxes + one.boxes,
            tombstones: sum.tombstones + one.tombstones,
        })
    }

    fn usage_of(&self, bucket: Day) -> Usage {
        self.buckets.get(&bucket).map(Shelf::usage).unwrap_or_default()
    }
}
