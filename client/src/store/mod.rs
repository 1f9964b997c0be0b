//! The encrypted store: one SQLCipher database in the home folder.
//!
//! ```text
//! HOME (0700)/key        the database's key, wrapped (see `key`)
//!             store.db   SQLCipher, write-ahead log, synced at every commit
//!             lock       held by the process that uses the home
//! ```
//! Every change goes through [`Store::transaction`]; what belongs together commits together, and a packet leaves only after
//! the commit. All other functions take a `&Connection`, which a transaction is too. Nothing in here reads a clock or draws
//! randomness of its own.
//!
//! | module | rows |
//! |---|---|
//! | [`meta`] | single named values |
//! | [`account`] | who we are |
//! | [`contacts`] | who we write to |
//! | [`messages`] | the history |
//! | [`files`] | bytes of attachments, in pieces |
//! | [`streams`] | streams of boxes, boxes to fetch |
//! | [`outbox`] | boxes to send |
//! | [`restarts`] | conversations that began anew |
//! | [`successors`] | streams that follow others, messages that wait for receipts |
//! | [`beacons`] | streams with a box a day, and what they tell |
//! | [`audits`] | boxes to look up, broken words of mailboxes |
//! | [`digests`] | the digests of the last day |
//!
//! What libsignal keeps (sessions, prekeys) is in `crate::signal`.

pub mod account;
pub mod audits;
pub mod beacons;
pub mod contacts;
pub mod digests;
mod error;
pub mod files;
mod key;
mod keychain;
pub mod messages;
pub mod meta;
mod migrations;
pub mod outbox;
pub mod restarts;
pub mod sets;
pub mod streams;
pub mod successors;

pub use error::StoreError;
pub use key::{KeyKind, KeySource, Passphrase};

use error::io;
use rusqlite::{Connection, Transaction, TransactionBehavior};
use std::{
    fs,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};
use veilpost_packet::random::EngineRng;
use zeroize::Zeroizing;

/// An open store. Not shared between threads: give it one of its own.
pub struct Store {
    connection: Connection,
    /// Dropped, and so released, after the connection.
    _lock: Option<fs::File>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Store(..)")
    }
}

impl Store {
    /// Makes the folder (mode 0700), a fresh key and an empty database in it. A creation that was interrupted before the
    /// database existed is finished; anything else that is there is left alone.
    ///
    /// # Errors
    /// [`StoreError::AlreadySetUp`], [`StoreError::InUse`], [`StoreError::NoKeychain`], or what the disk says.
    pub fn create(dir: &Path, source: &KeySource, rng: &mut EngineRng) -> Result<Self, StoreError> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(io("create", dir))?;
        fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).map_err(io("protect", dir))?;
        let lock = lock(dir)?;
        let (key_file, database) = (dir.join(KEY_FILE), dir.join(DATABASE));
        match (exists(&key_file)?, exists(&database)?) {
            (true, true) => return Err(StoreError::AlreadySetUp(dir.into())),
            (false, true) => return Err(StoreError::KeyFileMissing(key_file)),
            (_, false) => {}
        }
        let key = key::create(&key_file, source, rng)?;
        // SQLite would create it with the process's umask.
        let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&database);
        file.map_err(io("create", &database))?;
        sync_dir(&database)?;
        Self::with_key(&database, &key, lock)
    }

    /// Opens the store in a folder that [`Store::create`] made.
    ///
    /// # Errors
    /// One variant for each thing that can be wrong; see [`StoreError`].
    pub fn open(dir: &Path, source: &KeySource) -> Result<Self, StoreError> {
        let (key_file, database) = (dir.join(KEY_FILE), dir.join(DATABASE));
        match (exists(&key_file)?, exists(&database)?) {
            (false, false) => return Err(StoreError::NotSetUp(dir.into())),
            (false, true) => return Err(StoreError::KeyFileMissing(key_file)),
            (true, false) => return Err(StoreError::DatabaseMissing(database)),
            (true, true) => {}
        }
        let lock = lock(dir)?;
        let key = key::open(&key_file, source)?;
        Self::with_key(&database, &key, lock)
    }

    /// A store in memory, without encryption, for simulations and tests.
    ///
    /// # Errors
    /// What SQLite says; in practice none.
    pub fn in_memory() -> Result<Self, StoreError> {
        let mut connection = Connection::open_in_memory()?;
        prepare(&mut connection)?;
        Ok(Self { connection, _lock: None })
    }

    /// The folder that it lies in; `None` in memory.
    pub fn folder(&self) -> Option<PathBuf> {
        let path = self.connection.path().filter(|path| !path.is_empty())?;
        Path::new(path).parent().map(Path::to_path_buf)
    }

    /// Which kind of key the store in `dir` was made with.
    ///
    /// # Errors
    /// [`StoreError::NotSetUp`] if there is none, [`StoreError::KeyFileDamaged`] if it cannot be read.
    pub fn key_kind(dir: &Path) -> Result<KeyKind, StoreError> {
        let key_file = dir.join(KEY_FILE);
        match (exists(&key_file)?, exists(&dir.join(DATABASE))?) {
            (false, false) => Err(StoreError::NotSetUp(dir.into())),
            _ => key::kind_of(&key_file),
        }
    }

    /// Runs `work` in one transaction: `Ok` commits (and is on disk when this returns), `Err` changes nothing.
    ///
    /// # Errors
    /// Those of `work`, and those of the commit: then nothing has changed and nothing may be sent.
    pub fn transaction<T, E: From<StoreError>>(
        &mut self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let transaction =
            self.connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(StoreError::from)?;
        let value = work(&transaction)?;
        transaction.commit().map_err(StoreError::from)?;
        Ok(value)
    }

    /// For reading outside of a transaction.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Reads every page and checks its authentication code: slow, for a person who fears damage.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if a page fails.
    pub fn check_integrity(&self) -> Result<(), StoreError> {
        let mut statement = self.connection.prepare("PRAGMA cipher_integrity_check")?;
        if statement.query([])?.next()?.is_some() { Err(StoreError::Damaged) } else { Ok(()) }
    }

    fn with_key(database: &Path, key: &key::Key, lock: fs::File) -> Result<Self, StoreError> {
        let mut connection = Connection::open(database)?;
        // First of all, or SQLCipher writes its errors on standard error.
        connection.execute_batch("PRAGMA cipher_log_level = NONE")?;
        let mut pragma = Zeroizing::new(String::with_capacity(96));
        pragma.push_str("PRAGMA key = \"x'");
        data_encoding::HEXLOWER.encode_append(&key.0, &mut pragma);
        pragma.push_str("'\"");
        connection.execute_batch(&pragma)?;
        let version: Option<String> = connection
            .query_row("PRAGMA cipher_version", [], |row| row.get(0))
            .or_else(|error| if error == rusqlite::Error::QueryReturnedNoRows { Ok(None) } else { Err(error) })?;
        if version.is_none_or(|version| version.is_empty()) {
            return Err(StoreError::NoEncryption);
        }
        // The first read of the file: a wrong key or a damaged first page shows here.
        connection.query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get::<_, i64>(0))?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        prepare(&mut connection)?;
        Ok(Self { connection, _lock: Some(lock) })
    }
}

const KEY_FILE: &str = "key";
const DATABASE: &str = "store.db";
const LOCK: &str = "lock";

fn prepare(connection: &mut Connection) -> Result<(), StoreError> {
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "secure_delete", true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    // Room for every statement of the client: a message touches about twenty.
    connection.set_prepared_statement_cache_capacity(128);
    migrations::migrate(connection)
}

fn lock(dir: &Path) -> Result<fs::File, StoreError> {
    let path = dir.join(LOCK);
    let file = fs::OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
    let file = file.map_err(io("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(StoreError::InUse(dir.into())),
        Err(fs::TryLockError::Error(error)) => Err(io("lock", &path)(error)),
    }
}

fn exists(path: &Path) -> Result<bool, StoreError> {
    path.try_exists().map_err(io("look at", path))
}

/// Makes a new name in the folder of `path` survive a power cut.
fn sync_dir(path: &Path) -> Result<(), StoreError> {
    let Some(dir) = path.parent() else { return Ok(()) };
    fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(io("sync", dir))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests;
