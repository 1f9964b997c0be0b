//! sled 0.34: a log with a tree over it, in a folder. Writes fast; gives freed space back only when the folder goes.

use super::kv::{Batch, CACHE_BYTES, KeyValue, Pair, io_failed};
use crate::store::{Result, StoreError};
use std::{fs, io, path::Path, time::Duration};

/// How often, and after which waits, a database is tried that is still held by an earlier use: 2 s in all.
const LETS_GO_TRIES: usize = 400;
const LETS_GO: Duration = Duration::from_millis(5);

/// The file of sled's log.
const LOG: &str = "db";

/// A sled database, and its log's file: what sled calls flushed it has only handed to the disk, without the file system's own
/// record of where it lies (`sync_file_range`), and loses when the power fails.
#[derive(Debug)]
pub struct Sled {
    db: sled::Db,
    log: fs::File,
}

impl KeyValue for Sled {
    fn open(path: &Path) -> Result<Self> {
        remove_half_written_snapshots(path).map_err(|error| io_failed(&error))?;
        let config = sled::Config::new()
            .path(path)
            .cache_capacity(CACHE_BYTES as u64)
            // Flushes are ours, before every answer; the background one would add unasked disk work.
            .flush_every_ms(None);
        // Threads of sled that still hold a database which has just been dropped let go of it soon. No other process has it: the
        // store's folder is locked.
        for _ in 0..LETS_GO_TRIES {
            match config.open() {
                Err(sled::Error::Io(error)) if error.to_string().contains("could not acquire lock") => {
                    std::thread::sleep(LETS_GO);
                }
                other => {
                    let db = other.map_err(failed)?;
                    let log = fs::File::open(path.join(LOG)).map_err(|error| io_failed(&error))?;
                    return Ok(Self { db, log });
                }
            }
        }
        Err(StoreError::Failed("sled does not let go of a database that was closed".into()))
    }

    fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(self.db.get(key).map_err(failed)?.map(|value| value.to_vec()))
    }

    fn range(&mut self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Pair>> {
        let pairs = self.db.range(from..to).take(limit);
        pairs.map(|pair| pair.map(|(key, value)| (key.to_vec(), value.to_vec())).map_err(failed)).collect()
    }

    fn last(&mut self, from: &[u8], to: &[u8]) -> Result<Option<Pair>> {
        let last = self.db.range(from..to).next_back().transpose().map_err(failed)?;
        Ok(last.map(|(key, value)| (key.to_vec(), value.to_vec())))
    }

    fn write(&mut self, batch: &Batch, durable: bool) -> Result<()> {
        let mut changes = sled::Batch::default();
        for (key, value) in &batch.0 {
            match value {
                Some(value) => changes.insert(key.as_slice(), value.as_slice()),
                None => changes.remove(key.as_slice()),
            }
        }
        self.db.apply_batch(changes).map_err(failed)?;
        if durable {
            self.db.flush().map_err(failed)?;
            self.log.sync_data().map_err(|error| io_failed(&error))?;
        }
        Ok(())
    }
}

/// sled 0.34 writes a snapshot of its page table to `snap.N.generating` and renames it, but looks for another ending than this when
/// it leaves out unfinished ones: after a crash or a full disk in that moment it would take one for the newest snapshot and find
/// the database damaged. A snapshot only spares it reading its log.
fn remove_half_written_snapshots(path: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    for entry in entries {
        let file = entry?.path();
        if file.extension().is_some_and(|extension| extension == "generating") {
            fs::remove_file(file)?;
        }
    }
    Ok(())
}

fn failed(error: sled::Error) -> StoreError {
    match error {
        sled::Error::Io(error) => io_failed(&error),
        sled::Error::Corruption { .. } => StoreError::Damaged("sled finds its file damaged"),
        other => StoreError::Failed(other.to_string()),
    }
}
