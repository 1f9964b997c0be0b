//! sled 0.34: a log with a tree over it, in a folder. Writes fast; gives freed space back only when the folder goes.

use super::kv::{Batch, CACHE_BYTES, KeyValue, Pair, io_failed};
use crate::store::{Result, StoreError};
use std::path::Path;

/// A sled database.
#[derive(Debug)]
pub struct Sled(sled::Db);

impl KeyValue for Sled {
    fn open(path: &Path) -> Result<Self> {
        let config = sled::Config::new()
            .path(path)
            .cache_capacity(CACHE_BYTES as u64)
            // Flushes are ours, before every answer; the background one would add unasked disk work.
            .flush_every_ms(None);
        config.open().map(Self).map_err(failed)
    }

    fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(self.0.get(key).map_err(failed)?.map(|value| value.to_vec()))
    }

    fn range(&mut self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Pair>> {
        let pairs = self.0.range(from..to).take(limit);
        pairs.map(|pair| pair.map(|(key, value)| (key.to_vec(), value.to_vec())).map_err(failed)).collect()
    }

    fn last(&mut self, from: &[u8], to: &[u8]) -> Result<Option<Pair>> {
        let last = self.0.range(from..to).next_back().transpose().map_err(failed)?;
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
        self.0.apply_batch(changes).map_err(failed)?;
        if durable {
            self.0.flush().map_err(failed)?;
        }
        Ok(())
    }
}

fn failed(error: sled::Error) -> StoreError {
    match error {
        sled::Error::Io(error) => io_failed(&error),
        sled::Error::Corruption { .. } => StoreError::Damaged("sled finds its file damaged"),
        other => StoreError::Failed(other.to_string()),
    }
}
