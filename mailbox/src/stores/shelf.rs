//! One open database, which is closed after a failure and opened again before anybody reads it.

use super::{
    entry::{COUNTS, SMALL, decode_usage, encode_usage, id_of, opened, sealed},
    filter::Filter,
    folder::{Folder, sync_tree},
    kv::{Batch, KeyValue, Pair, io_failed},
};
use crate::store::{Result, StoreError, Usage};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
};
use veilpost_packet::ids::BoxId;

/// A database of a store and its counts.
#[derive(Debug)]
pub(super) struct Shelf<K> {
    path: PathBuf,
    state: Mutex<State<K>>,
}

#[derive(Debug)]
struct State<K> {
    /// None after a failure. A batch may then be in the engine's memory and not on the disk: nothing may be read from there, or a
    /// box would be called stored because a failed attempt left it in a cache. What is opened again comes from the disk.
    open: Option<K>,
    /// As of the last batch that was made.
    usage: Usage,
    /// Every id that is or was here; ids of batches that failed are in it too. `None` if they could not all be read: then every
    /// question goes to the disk.
    ids: Option<Filter>,
}

/// Keys read at once while the ids are gathered.
const GATHER: usize = 4_096;

/// How a batch changes the counts.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Difference {
    pub(super) boxes: i64,
    pub(super) tombstones: i64,
}

impl<K: KeyValue> Shelf<K> {
    /// Makes a database. Until it is whole it has another name, so that a cut leaves nothing that looks like one.
    pub(super) fn make(folder: &Folder, name: &str) -> Result<Self> {
        let half = folder.half_made(name);
        super::folder::remove(&half).map_err(|error| io_failed(&error))?;
        caught(|| {
            let mut batch = Batch::default();
            put(&mut batch, COUNTS.to_vec(), encode_usage(&Usage::default()));
            K::open(&half)?.write(&batch, true)
        })?;
        folder.finish(name).map_err(|error| io_failed(&error))?;
        Self::open(folder, name)
    }

    /// Opens a database.
    pub(super) fn open(folder: &Folder, name: &str) -> Result<Self> {
        let state = State { open: None, usage: Usage::default(), ids: None };
        let shelf = Self { path: folder.place(name), state: Mutex::new(state) };
        // A damaged place must not keep what lies elsewhere from being served.
        let ids = match shelf.with(gather) {
            Ok(ids) => Some(ids),
            Err(StoreError::Damaged(_)) => None,
            Err(error) => return Err(error),
        };
        shelf.with(|_| Ok(()))?;
        shelf.lock().ids = ids;
        Ok(shelf)
    }

    /// False if no entry of this id is here, which is said without a look at the disk.
    pub(super) fn may_have(&self, id: &BoxId) -> bool {
        self.lock().ids.as_ref().is_none_or(|ids| ids.may_have(id))
    }

    /// The value under a key.
    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.with(|open| value(open, key))
    }

    /// Two reads of one moment: the second one's key follows from nothing but the first one's success.
    pub(super) fn with<T>(&self, read: impl FnOnce(&mut K) -> Result<T>) -> Result<T> {
        let mut state = self.lock();
        let mut open = self.settle(&mut state)?;
        let result = caught(|| read(&mut open));
        match result {
            // An engine that failed to read wants to be opened again.
            Ok(_) | Err(StoreError::Damaged(_)) => state.open = Some(open),
            Err(_) => close(open),
        }
        result
    }

    /// Pairs of a range, their values without check sums.
    pub(super) fn range(&self, (from, to): (&[u8], &[u8]), limit: usize) -> Result<Vec<Pair>> {
        let pairs = self.with(|open| open.range(from, to, limit))?;
        let whole = |(key, value): Pair| opened(&key, value).map(|value| (key, value));
        pairs.into_iter().map(whole).collect()
    }

    /// The last pair of a range.
    pub(super) fn last(&self, from: &[u8], to: &[u8]) -> Result<Option<Pair>> {
        let last = self.with(|open| open.last(from, to))?;
        last.map(|(key, value)| opened(&key, value).map(|value| (key, value))).transpose()
    }

    /// Makes a batch and keeps the counts with it.
    pub(super) fn write(&self, mut batch: Batch, difference: Difference, durable: bool) -> Result<()> {
        let mut state = self.lock();
        let mut open = self.settle(&mut state)?;
        let usage = Usage {
            boxes: state.usage.boxes.saturating_add_signed(difference.boxes),
            tombstones: state.usage.tombstones.saturating_add_signed(difference.tombstones),
        };
        if usage != state.usage {
            put(&mut batch, COUNTS.to_vec(), encode_usage(&usage));
        }
        if let Some(ids) = &mut state.ids {
            let small = batch.0.iter().filter(|(key, value)| key.starts_with(SMALL.0) && value.is_some());
            small.filter_map(|(key, _)| id_of(key).ok()).for_each(|id| ids.add(&id));
        }
        let result = caught(|| open.write(&batch, durable));
        match result {
            Ok(()) => (state.open, state.usage) = (Some(open), usage),
            Err(_) => close(open),
        }
        result
    }

    /// Its counts.
    pub(super) fn usage(&self) -> Usage {
        self.lock().usage
    }

    /// Closes it until it is used again.
    pub(super) fn close(&self) {
        if let Some(open) = self.lock().open.take() {
            close(open);
        }
    }

    /// The open database; opens it if the last use failed, and reads the counts then.
    fn settle(&self, state: &mut State<K>) -> Result<K> {
        if let Some(open) = state.open.take() {
            return Ok(open);
        }
        // What a process that died had written and not yet flushed is read from here on: it must not be lost later.
        sync_tree(&self.path).map_err(|error| io_failed(&error))?;
        caught(|| {
            let mut open = K::open(&self.path)?;
            let counts = value(&mut open, COUNTS)?.ok_or(StoreError::Damaged("a database without counts"))?;
            state.usage = decode_usage(&counts)?;
            Ok(open)
        })
    }

    fn lock(&self) -> MutexGuard<'_, State<K>> {
        // A panic under the lock leaves the state without an open database, which is a state to go on from.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All ids of a database.
fn gather<K: KeyValue>(open: &mut K) -> Result<Filter> {
    let (mut ids, mut from) = (Filter::default(), SMALL.0.to_vec());
    loop {
        let pairs = open.range(&from, SMALL.1, GATHER)?;
        for (key, _) in &pairs {
            ids.add(&id_of(key)?);
        }
        let Some((last, _)) = pairs.last() else { return Ok(ids) };
        from = [&last[..], &[0]].concat();
    }
}

/// Puts a value with its check sum.
pub(super) fn put(batch: &mut Batch, key: Vec<u8>, value: Vec<u8>) {
    let value = sealed(&key, value);
    batch.put(key, value);
}

/// The value under a key, without its check sum.
pub(super) fn value<K: KeyValue>(open: &mut K, key: &[u8]) -> Result<Option<Vec<u8>>> {
    open.get(key)?.map(|bytes| opened(key, bytes)).transpose()
}

/// Both engines have places where a damaged file makes them panic; a mailbox says so and goes on with its other buckets.
fn caught<T>(call: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or(Err(StoreError::Damaged("the database engine gave up on its file")))
}

/// Engines write when they are closed, and may fail at it like at everything else; who cared has been told before.
fn close<K>(open: K) {
    let _ = catch_unwind(AssertUnwindSafe(|| drop(open)));
}
