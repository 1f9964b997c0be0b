//! redb 4: a copy-on-write B-tree in one file. Little memory, steady, finds fast.

use super::kv::{Batch, CACHE_BYTES, KeyValue, Pair, io_failed};
use crate::store::{Result, StoreError};
use redb::{Database, Durability, ReadOnlyTable, ReadableDatabase, TableDefinition, TableError};
use std::path::Path;

const TABLE: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("t");

type Table = ReadOnlyTable<&'static [u8], &'static [u8]>;

/// A redb database with one table.
#[derive(Debug)]
pub struct Redb {
    /// The table as of the last write: opening it for every read would take longer than the read. Goes before each write, since it
    /// keeps old pages from being used again; and before the database.
    reading: Option<Table>,
    database: Database,
}

impl Redb {
    fn table(&mut self) -> Result<Option<&Table>> {
        if self.reading.is_none() {
            let reading = self.database.begin_read().map_err(failed)?;
            self.reading = match reading.open_table(TABLE) {
                Ok(table) => Some(table),
                Err(TableError::TableDoesNotExist(_)) => None,
                Err(error) => return Err(failed(error)),
            };
        }
        Ok(self.reading.as_ref())
    }
}

impl KeyValue for Redb {
    fn open(path: &Path) -> Result<Self> {
        let database = Database::builder().set_cache_size(CACHE_BYTES).create(path).map_err(failed)?;
        Ok(Self { reading: None, database })
    }

    fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let Some(table) = self.table()? else { return Ok(None) };
        Ok(table.get(key).map_err(failed)?.map(|value| value.value().to_vec()))
    }

    fn range(&mut self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Pair>> {
        let Some(table) = self.table()? else { return Ok(Vec::new()) };
        let mut pairs = Vec::new();
        for pair in table.range(from..to).map_err(failed)?.take(limit) {
            let (key, value) = pair.map_err(failed)?;
            pairs.push((key.value().to_vec(), value.value().to_vec()));
        }
        Ok(pairs)
    }

    fn last(&mut self, from: &[u8], to: &[u8]) -> Result<Option<Pair>> {
        let Some(table) = self.table()? else { return Ok(None) };
        let last = table.range(from..to).map_err(failed)?.next_back().transpose().map_err(failed)?;
        Ok(last.map(|(key, value)| (key.value().to_vec(), value.value().to_vec())))
    }

    fn write(&mut self, batch: &Batch, durable: bool) -> Result<()> {
        self.reading = None;
        let mut writing = self.database.begin_write().map_err(failed)?;
        if !durable {
            writing.set_durability(Durability::None).map_err(failed)?;
        }
        {
            let mut table = writing.open_table(TABLE).map_err(failed)?;
            for (key, value) in &batch.0 {
                match value {
                    Some(value) => drop(table.insert(key.as_slice(), value.as_slice()).map_err(failed)?),
                    None => drop(table.remove(key.as_slice()).map_err(failed)?),
                }
            }
        }
        writing.commit().map_err(failed)
    }
}

fn failed(error: impl Into<redb::Error>) -> StoreError {
    match error.into() {
        redb::Error::Io(error) if error.kind() == std::io::ErrorKind::InvalidData => {
            StoreError::Damaged("no redb file")
        }
        redb::Error::Io(error) => io_failed(&error),
        redb::Error::Corrupted(_) => StoreError::Damaged("redb finds its file damaged"),
        other => StoreError::Failed(other.to_string()),
    }
}
