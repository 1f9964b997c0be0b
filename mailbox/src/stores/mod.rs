//! Stores on disk: sled or redb, one database for records and one for each day of expiry.
//!
//! A day's boxes go with their database: expiry closes it and removes its file, which takes the same short time however many boxes
//! were in it, and gives the disk its space back, which neither engine does by deleting entries.
//!
//! | module | holds |
//! |---|---|
//! | [`kv`] | what an engine must be able to do |
//! | [`sled`], [`redb`] | the engines |
//! | [`buckets`] | the store over any engine |
//! | `shelf` | one open database, opened again after a failure |
//! | `filter` | which ids a bucket does not hold, without a look at the disk |
//! | `entry` | the layout of entries |
//! | `folder` | the layout of the folder |
//! | [`migrate`] | from one engine to another |
#![allow(clippy::disallowed_methods, reason = "files and their engines: no part of the pure core")]

pub mod buckets;
mod entry;
mod filter;
mod folder;
pub mod kv;
pub mod migrate;
pub mod redb;
mod shelf;
pub mod sled;

use crate::store::{BoxStore, Change, Cursor, Held, Result, Series, StoreError, Usage, Waiting, Walked};
use buckets::BucketStore;
use serde::Deserialize;
use std::{
    fmt, io,
    path::{Path, PathBuf},
    str::FromStr,
};
use veilpost_packet::{ids::BoxId, time::Day};

/// Buckets of a store at most: network parameters let boxes live for 60 days, and the mailbox's engine refuses what expires later
/// than that after today. Who could push more is a fault of ours, and fails.
pub const BUCKETS_MAX: usize = 64;

/// Where a mailbox keeps its store, under its data folder.
pub const FOLDER: &str = "boxes";

/// A database engine, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EngineName {
    /// sled 0.34. What it calls flushed a power cut may lose; we sync its log ourselves.
    Sled,
    /// redb 4: a seventh of the memory, half of the disk.
    #[default]
    Redb,
}

impl fmt::Display for EngineName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sled => "sled",
            Self::Redb => "redb",
        })
    }
}

/// There is no engine of this name.
#[derive(Debug, thiserror::Error)]
#[error("there is no such engine: say sled or redb")]
pub struct NoSuchEngine;

impl FromStr for EngineName {
    type Err = NoSuchEngine;
    fn from_str(text: &str) -> std::result::Result<Self, NoSuchEngine> {
        match text {
            "sled" => Ok(Self::Sled),
            "redb" => Ok(Self::Redb),
            _ => Err(NoSuchEngine),
        }
    }
}

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// A file cannot be read or made.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system says.
        error: io::Error,
    },
    /// Another process has it.
    #[error("{}: another veilpost-mailbox is using it; stop that one first", .0.display())]
    InUse(PathBuf),
    /// It was written by another engine than the configuration names.
    #[error(
        "{}: this store was written by {by}; set engine = \"{by}\" under [store], or move it with \
         `veilpost-mailbox migrate-store --config FILE --to {asked}`", path.display()
    )]
    OtherEngine {
        /// The store.
        path: PathBuf,
        /// Who wrote it.
        by: EngineName,
        /// What was asked for.
        asked: EngineName,
    },
    /// A store of before there were buckets.
    #[error("{}: a store of a development version, which cannot be read any more; remove the folder to begin anew", .0.display())]
    FormerLayout(PathBuf),
    /// Something else lies there.
    #[error("{}: this folder holds other files and no store; name another data_dir", .0.display())]
    NotAStore(PathBuf),
    /// The file that names the engine is unreadable.
    #[error("{}: does not name a store's engine; if the store was copied, copy it again while no mailbox uses it", .0.display())]
    Marker(PathBuf),
    /// A database cannot be opened.
    #[error(
        "{}: {error}; take this database out of the folder to go on without its boxes, or restore the store from a copy",
        path.display()
    )]
    Store {
        /// The database.
        path: PathBuf,
        /// What is wrong.
        error: StoreError,
    },
}

impl OpenError {
    fn io(path: &Path, error: io::Error) -> Self {
        Self::Io { path: path.into(), error }
    }
}

/// Opens or makes the store in this folder, with the engine of the configuration.
///
/// # Errors
/// [`OpenError`]; nothing has been changed then, but what a crash had cut off may have been cleared away.
pub fn open(engine: EngineName, folder: &Path) -> std::result::Result<DiskStore, OpenError> {
    Ok(DiskStore(match engine {
        EngineName::Sled => Box::new(BucketStore::<sled::Sled>::open(folder, engine)?),
        EngineName::Redb => Box::new(BucketStore::<redb::Redb>::open(folder, engine)?),
    }))
}

/// A store of either engine.
pub struct DiskStore(Box<dyn BoxStore + Send + Sync>);

impl fmt::Debug for DiskStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DiskStore(..)")
    }
}

impl BoxStore for DiskStore {
    fn get(&self, id: &BoxId) -> Result<Option<Held>> {
        self.0.get(id)
    }

    fn apply(&mut self, changes: &[Change]) -> Result<()> {
        self.0.apply(changes)
    }

    fn expire(&mut self, today: Day) -> Result<usize> {
        self.0.expire(today)
    }

    fn waiting(&self, limit: usize) -> Result<Vec<Waiting>> {
        self.0.waiting(limit)
    }

    fn walk(&self, after: Option<Cursor>, limit: usize) -> Result<Vec<Walked>> {
        self.0.walk(after, limit)
    }

    fn records(&self, series: Series, from: u32, limit: usize) -> Result<Vec<(u32, Vec<u8>)>> {
        self.0.records(series, from, limit)
    }

    fn newest(&self, series: Series) -> Result<Option<(u32, Vec<u8>)>> {
        self.0.newest(series)
    }

    fn drop_records(&mut self, series: Series, before: u32) -> Result<()> {
        self.0.drop_records(series, before)
    }

    fn usage(&self) -> Usage {
        self.0.usage()
    }

    fn usage_of(&self, bucket: Day) -> Usage {
        self.0.usage_of(bucket)
    }
}
