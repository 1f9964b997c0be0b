//! From one engine to another: a copy beside the store, compared with it, and the two folders swapped at once.
//!
//! Until the swap the old store is as it was; after it the new one is whole. Whoever cuts it off begins again from the start: a copy
//! that was not swapped is thrown away.

use super::{
    EngineName, OpenError,
    buckets::BucketStore,
    entry::{ALL, opened},
    folder::{self, MAIN, bucket_name},
    kv::{Batch, KeyValue, Pair},
    redb::Redb,
    shelf::{Difference, Shelf},
    sled::Sled,
};
use crate::store::StoreError;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use std::{
    fmt, io,
    path::{Path, PathBuf},
};

/// Entries copied in one batch: with boxes among them a megabyte at most.
const COPY_BATCH: usize = 256;

/// How far it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A database is in the new store.
    Copied {
        /// Its name.
        database: String,
        /// Keys in it: up to three for a box.
        entries: u64,
        /// Bytes of keys and values.
        bytes: u64,
    },
    /// A database is the same in both stores.
    Verified {
        /// Its name.
        database: String,
    },
    /// All of the new store is on the disk.
    Synced,
    /// The new store is in the place of the old one.
    Swapped,
    /// The old one is removed.
    Removed,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Copied { database, entries, bytes } => {
                write!(f, "{database}: copied {entries} entries, {} MiB", bytes.div_ceil(1 << 20))
            }
            Self::Verified { database } => write!(f, "{database}: the same in both stores"),
            Self::Synced => f.write_str("the new store is on the disk"),
            Self::Swapped => f.write_str("the new store is in the place of the old one"),
            Self::Removed => f.write_str("the old store is removed"),
        }
    }
}

/// Why a store was not moved. The old one is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MigrateError {
    /// One of the two cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// There is nothing to move.
    #[error("{}: no store is here; set the engine under [store] and start the mailbox", .0.display())]
    NoStore(PathBuf),
    /// A database cannot be read or written.
    #[error("{database}: {error}; the store is as it was")]
    Store {
        /// The database.
        database: String,
        /// What is wrong.
        error: StoreError,
    },
    /// The copy differs from the store.
    #[error("{0}: the copy is not the same as the store, which is as it was; check the disk and try again")]
    Differs(String),
    /// A folder cannot be synced, swapped or removed.
    #[error("{}: {error}; the store is whole, run the command again", path.display())]
    Io {
        /// The folder.
        path: PathBuf,
        /// What the operating system says.
        error: io::Error,
    },
}

/// Moves the store in `folder` to another engine and tells how far it is. False if that engine wrote it already. No mailbox may
/// use the store meanwhile, nor can: it is locked. Needs room for a second copy on the same disk.
///
/// # Errors
/// [`MigrateError`].
pub fn migrate(folder: &Path, to: EngineName, told: &mut dyn FnMut(&Step)) -> Result<bool, MigrateError> {
    let by = folder::written_by(folder)?.ok_or_else(|| MigrateError::NoStore(folder.into()))?;
    match (by, to) {
        (EngineName::Sled, EngineName::Redb) => copy_and_swap::<Sled, Redb>(folder, by, to, told).map(|()| true),
        (EngineName::Redb, EngineName::Sled) => copy_and_swap::<Redb, Sled>(folder, by, to, told).map(|()| true),
        (EngineName::Sled, EngineName::Sled) | (EngineName::Redb, EngineName::Redb) => {
            // The swap was made, and what came after it cut off.
            let _lock = folder::lock(folder)?;
            clear(&beside(folder))?;
            Ok(false)
        }
    }
}

/// Where the copy is made, and where the old store lies between swap and removal.
fn beside(folder: &Path) -> PathBuf {
    let mut name = folder.as_os_str().to_owned();
    name.push("-moving");
    name.into()
}

fn copy_and_swap<A: KeyValue, B: KeyValue>(
    folder: &Path,
    by: EngineName,
    to: EngineName,
    told: &mut dyn FnMut(&Step),
) -> Result<(), MigrateError> {
    let old = BucketStore::<A>::open(folder, by)?;
    let moving = beside(folder);
    clear(&moving)?;
    copy(&old, BucketStore::<B>::open(&moving, to)?, told)?;
    // Opened anew, so that what is compared comes from its files.
    let new = BucketStore::<B>::open(&moving, to)?;
    verify(&old, &new, told)?;
    // Engines write when they are closed. The locks stay: on both folders, since they change places.
    let (old_lock, new_lock) = (old.into_folder(), new.into_folder());
    folder::sync_tree(&moving).and_then(|()| sync_parent(folder)).map_err(|error| failed(&moving, error))?;
    told(&Step::Synced);
    renameat_with(CWD, &moving, CWD, folder, RenameFlags::EXCHANGE).map_err(|error| failed(folder, error.into()))?;
    sync_parent(folder).map_err(|error| failed(folder, error))?;
    told(&Step::Swapped);
    clear(&moving)?;
    told(&Step::Removed);
    drop((old_lock, new_lock));
    Ok(())
}

fn copy<A: KeyValue, B: KeyValue>(
    old: &BucketStore<A>,
    mut new: BucketStore<B>,
    told: &mut dyn FnMut(&Step),
) -> Result<(), MigrateError> {
    told(&copy_database(MAIN.into(), &old.main, &new.main)?);
    for (day, shelf) in &old.buckets {
        let name = bucket_name(*day);
        let into = new.bucket(*day).map_err(|error| MigrateError::Store { database: name.clone(), error })?;
        told(&copy_database(name, shelf, into)?);
    }
    Ok(())
}

fn copy_database<A: KeyValue, B: KeyValue>(
    database: String,
    old: &Shelf<A>,
    new: &Shelf<B>,
) -> Result<Step, MigrateError> {
    let (mut entries, mut bytes, mut after) = (0, 0, None);
    let mut all = || -> crate::store::Result<()> {
        loop {
            let pairs = behind(old, after.as_deref())?;
            let Some((last, _)) = pairs.last() else { return Ok(()) };
            after = Some(last.clone());
            let mut batch = Batch::default();
            for (key, value) in pairs {
                entries += 1;
                bytes += (key.len() + value.len()) as u64;
                // What the disk has spoilt is not carried over as if it were whole.
                opened(&key, value.clone())?;
                batch.put(key, value);
            }
            new.write(batch, Difference::default(), true)?;
        }
    };
    match all() {
        Ok(()) => Ok(Step::Copied { database, entries, bytes }),
        Err(error) => Err(MigrateError::Store { database, error }),
    }
}

fn verify<A: KeyValue, B: KeyValue>(
    old: &BucketStore<A>,
    new: &BucketStore<B>,
    told: &mut dyn FnMut(&Step),
) -> Result<(), MigrateError> {
    told(&verify_database(MAIN.into(), &old.main, &new.main)?);
    if !old.buckets.keys().eq(new.buckets.keys()) {
        return Err(MigrateError::Differs("the days".into()));
    }
    for ((day, old), new) in old.buckets.iter().zip(new.buckets.values()) {
        told(&verify_database(bucket_name(*day), old, new)?);
    }
    Ok(())
}

fn verify_database<A: KeyValue, B: KeyValue>(
    database: String,
    old: &Shelf<A>,
    new: &Shelf<B>,
) -> Result<Step, MigrateError> {
    let mut after = None;
    let mut same = || -> crate::store::Result<bool> {
        loop {
            let pairs = behind(old, after.as_deref())?;
            if pairs != behind(new, after.as_deref())? {
                return Ok(false);
            }
            let Some((last, _)) = pairs.last() else { return Ok(old.usage() == new.usage()) };
            after = Some(last.clone());
        }
    };
    match same() {
        Ok(true) => Ok(Step::Verified { database }),
        Ok(false) => Err(MigrateError::Differs(database)),
        Err(error) => Err(MigrateError::Store { database, error }),
    }
}

/// The pairs behind a key, with their check sums.
fn behind<K: KeyValue>(shelf: &Shelf<K>, after: Option<&[u8]>) -> crate::store::Result<Vec<Pair>> {
    let from = after.map_or(ALL.0.to_vec(), |after| [after, &[0]].concat());
    shelf.with(|open| open.range(&from, ALL.1, COPY_BATCH))
}

fn clear(path: &Path) -> Result<(), MigrateError> {
    folder::remove(path).map_err(|error| failed(path, error))
}

fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    folder::sync(parent)
}

fn failed(path: &Path, error: io::Error) -> MigrateError {
    MigrateError::Io { path: path.into(), error }
}
