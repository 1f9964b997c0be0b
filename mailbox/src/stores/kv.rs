//! What a database engine must be able to do to hold one bucket of a mailbox: little, so that engines can be compared.

use crate::store::{Result, StoreError};
use std::{io, path::Path};

/// Page cache of one open database, bytes. With the main database and [`super::BUCKETS_MAX`] buckets 130 MiB at most; with the
/// 17 buckets of a network of standard parameters 36 MiB. sled takes more than it is told, see ARCHITECTURE.md.
pub const CACHE_BYTES: usize = 2 * 1024 * 1024;

/// A key and its value.
pub type Pair = (Vec<u8>, Vec<u8>);

/// Puts and removals that are made together or not at all. A key is named once.
#[derive(Debug, Default)]
pub struct Batch(pub Vec<(Vec<u8>, Option<Vec<u8>>)>);

impl Batch {
    /// Puts a value under a key.
    pub fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.0.push((key, Some(value)));
    }

    /// Removes a key, if it is there.
    pub fn remove(&mut self, key: Vec<u8>) {
        self.0.push((key, None));
    }
}

/// An ordered map on disk. After an error of [`KeyValue::write`] the value is dropped and opened again by whoever holds it: what
/// an engine has in memory then may differ from what is on the disk.
pub trait KeyValue: Sized + Send {
    /// Opens the database at this path, or makes an empty one. The path is a file or a folder, as the engine likes.
    ///
    /// # Errors
    /// [`StoreError`].
    fn open(path: &Path) -> Result<Self>;

    /// The value under a key.
    ///
    /// # Errors
    /// [`StoreError`].
    fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>>;

    /// Pairs from a key on up to another one, which is left out, in the order of their keys, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`].
    fn range(&mut self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Pair>>;

    /// The last pair of a range.
    ///
    /// # Errors
    /// [`StoreError`].
    fn last(&mut self, from: &[u8], to: &[u8]) -> Result<Option<Pair>>;

    /// Makes a batch, whole or not at all. On the disk when it returns if it is to be `durable`; else at the latest with the next
    /// one that is.
    ///
    /// # Errors
    /// [`StoreError`]; the batch may have been made or not.
    fn write(&mut self, batch: &Batch, durable: bool) -> Result<()>;
}

/// What the operating system's error means for a store. A limit on files' sizes and a quota are full disks too.
pub(super) fn io_failed(error: &io::Error) -> StoreError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => StoreError::DiskFull,
        _ => StoreError::Failed(error.to_string()),
    }
}
