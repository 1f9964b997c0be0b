//! The store on sled 0.34: one tree, so that one batch is atomic, and a flush before `apply` returns.
//!
//! ```text
//! b | box id 32                -> box bytes, or tombstone: 'T' | content hash 32 | day 4
//! e | day 4 | box id 32        -> nothing: what ends with that day
//! u | sequence 8               -> tag 6: not yet in a digest, oldest first
//! d | tick 4                   -> digest
//! ```

use crate::store::{BoxStore, Change, Held, Result, StoreError, Usage};
use std::{
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};
use veilpost_packet::{
    boxes::{BoxTag, ContentHash, SealedBox},
    codec::{Reader, Writer},
    ids::BoxId,
    time::{Day, Tick},
};

/// Boxes on disk.
#[derive(Debug)]
pub struct SledStore {
    db: sled::Db,
    usage: Usage,
    next_sequence: u64,
    /// A batch is in sled's memory and perhaps not on disk: its flush failed. Nothing may be read from here until a flush works,
    /// or a box would be called stored because a failed attempt left it in the cache.
    unflushed: AtomicBool,
}

/// sled's page cache; it takes more than it is told, see ARCHITECTURE.md.
const CACHE_BYTES: u64 = 16 * 1024 * 1024;

impl SledStore {
    /// Opens or makes the store in this folder; counts what it holds, which reads every key once.
    pub fn open(folder: &Path) -> Result<Self> {
        let db = sled::Config::new()
            .path(folder)
            .cache_capacity(CACHE_BYTES)
            // Flushes are ours, before every answer; the background one would add unasked disk work.
            .flush_every_ms(None)
            .open()
            .map_err(failed)?;
        let mut usage = Usage::default();
        for entry in db.scan_prefix(b"b") {
            let (_, value) = entry.map_err(failed)?;
            match value.first() {
                Some(b'T') if value.len() == TOMBSTONE_LENGTH => usage.tombstones += 1,
                _ => usage.boxes += 1,
            }
        }
        let newest = db.scan_prefix(b"u").next_back().transpose().map_err(failed)?;
        let next_sequence = newest.and_then(|(key, _)| key.last_chunk::<8>().map(|n| u64::from_be_bytes(*n) + 1));
        Ok(Self { db, usage, next_sequence: next_sequence.unwrap_or(0), unflushed: AtomicBool::new(false) })
    }

    fn commit(&mut self, batch: sled::Batch, usage: Usage, next_sequence: u64) -> Result<()> {
        self.settle()?;
        self.unflushed.store(true, Ordering::Relaxed);
        self.db.apply_batch(batch).map_err(failed)?;
        (self.usage, self.next_sequence) = (usage, next_sequence);
        self.settle()
    }

    /// Flushes what an earlier call could not.
    fn settle(&self) -> Result<()> {
        if self.unflushed.load(Ordering::Relaxed) {
            self.db.flush().map_err(failed)?;
            self.unflushed.store(false, Ordering::Relaxed);
        }
        Ok(())
    }
}

const TOMBSTONE_LENGTH: usize = 1 + 32 + 4;

fn failed(error: sled::Error) -> StoreError {
    match error {
        sled::Error::Io(io) if io.kind() == std::io::ErrorKind::StorageFull => StoreError::DiskFull,
        other => StoreError::Failed(other.to_string()),
    }
}

fn key(prefix: u8, parts: &[&[u8]]) -> Vec<u8> {
    let mut writer = Writer::with_capacity(64);
    writer.u8(prefix);
    for part in parts {
        writer.put(part);
    }
    writer.finish()
}

fn encode(held: &Held) -> Vec<u8> {
    match held {
        Held::Box(sealed) => sealed.to_bytes(),
        Held::Tombstone { content, until } => {
            let mut writer = Writer::with_capacity(TOMBSTONE_LENGTH);
            writer.u8(b'T').put(&content.0).u32(until.0);
            writer.finish()
        }
    }
}

fn decode(bytes: &[u8]) -> Result<Held> {
    const DAMAGED: StoreError = StoreError::Damaged("a box does not decode");
    if bytes.len() != TOMBSTONE_LENGTH {
        return SealedBox::from_bytes(bytes).map(|sealed| Held::Box(Box::new(sealed))).map_err(|_| DAMAGED);
    }
    let mut reader = Reader::new(bytes);
    let mut tombstone = || {
        reader.u8()?;
        Ok(Held::Tombstone { content: ContentHash(reader.array()?), until: Day(reader.u32()?) })
    };
    tombstone().map_err(|_: veilpost_packet::codec::DecodeError| DAMAGED)
}

impl BoxStore for SledStore {
    fn get(&self, id: &BoxId) -> Result<Option<Held>> {
        self.settle()?;
        self.db.get(key(b'b', &[id.as_bytes()])).map_err(failed)?.map(|bytes| decode(&bytes)).transpose()
    }

    fn apply(&mut self, changes: &[Change]) -> Result<()> {
        let (mut batch, mut usage, mut next) = (sled::Batch::default(), self.usage, self.next_sequence);
        // An id changes once per batch (the engine sees to it), so what is on disk is what a change replaces.
        for change in changes {
            match change {
                Change::Hold { id, held, announce } => {
                    // What is announced is new: nothing to look for.
                    let before = if announce.is_none() { self.get(id)? } else { None };
                    if let Some(before) = before {
                        count(&mut usage, &before, false);
                        batch.remove(key(b'e', &[&before.until().0.to_be_bytes(), id.as_bytes()]));
                    }
                    count(&mut usage, held, true);
                    batch.insert(key(b'b', &[id.as_bytes()]), encode(held));
                    batch.insert(key(b'e', &[&held.until().0.to_be_bytes(), id.as_bytes()]), &[]);
                    if let Some(tag) = announce {
                        batch.insert(key(b'u', &[&next.to_be_bytes()]), &tag.0);
                        next += 1;
                    }
                }
                Change::Publish { tick, bytes, tags } => {
                    batch.insert(key(b'd', &[&tick.0.to_be_bytes()]), bytes.as_slice());
                    let published: std::collections::BTreeSet<_> = tags.iter().collect();
                    for entry in self.db.scan_prefix(b"u") {
                        let (waiting, tag) = entry.map_err(failed)?;
                        if tag.as_ref().try_into().is_ok_and(|tag| published.contains(&BoxTag(tag))) {
                            batch.remove(waiting);
                        }
                    }
                }
            }
        }
        self.commit(batch, usage, next)
    }

    fn expire(&mut self, today: Day, limit: usize) -> Result<usize> {
        let (mut batch, mut usage, mut gone) = (sled::Batch::default(), self.usage, 0);
        for entry in self.db.range(key(b'e', &[])..key(b'e', &[&today.0.to_be_bytes()])).take(limit) {
            let (index, _) = entry.map_err(failed)?;
            let id = index.last_chunk::<32>().ok_or(StoreError::Damaged("an expiry entry is too short"))?;
            if let Some(held) = self.get(&BoxId(*id))? {
                count(&mut usage, &held, false);
                batch.remove(key(b'b', &[id]));
            }
            batch.remove(index);
            gone += 1;
        }
        if gone > 0 {
            self.commit(batch, usage, self.next_sequence)?;
        }
        Ok(gone)
    }

    fn drop_digests(&mut self, oldest: Tick) -> Result<()> {
        let mut batch = sled::Batch::default();
        for entry in self.db.range(key(b'd', &[])..key(b'd', &[&oldest.0.to_be_bytes()])) {
            batch.remove(entry.map_err(failed)?.0);
        }
        // Not flushed: an old digest that comes back after a crash does no harm and goes next time.
        self.db.apply_batch(batch).map_err(failed)
    }

    fn unannounced(&self, limit: usize) -> Result<Vec<BoxTag>> {
        self.settle()?;
        let tag = |entry: sled::Result<(sled::IVec, sled::IVec)>| {
            let (_, tag) = entry.map_err(failed)?;
            tag.as_ref().try_into().map(BoxTag).map_err(|_| StoreError::Damaged("a waiting tag has another size"))
        };
        self.db.scan_prefix(b"u").take(limit).map(tag).collect()
    }

    fn digests(&self, from: Tick, limit: usize) -> Result<Vec<Vec<u8>>> {
        self.settle()?;
        let digests = self.db.range(key(b'd', &[&from.0.to_be_bytes()])..key(b'e', &[])).take(limit);
        digests.map(|entry| entry.map(|(_, bytes)| bytes.to_vec()).map_err(failed)).collect()
    }

    fn newest_digest(&self) -> Result<Option<Vec<u8>>> {
        self.settle()?;
        let newest = self.db.scan_prefix(b"d").next_back().transpose().map_err(failed)?;
        Ok(newest.map(|(_, bytes)| bytes.to_vec()))
    }

    fn usage(&self) -> Usage {
        self.usage
    }
}

fn count(usage: &mut Usage, held: &Held, comes: bool) {
    let counter = match held {
        Held::Box(_) => &mut usage.boxes,
        Held::Tombstone { .. } => &mut usage.tombstones,
    };
    *counter = if comes { *counter + 1 } else { counter.saturating_sub(1) };
}
