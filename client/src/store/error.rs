//! What can be wrong with a home folder or its database, in words that say what to do.

use std::path::PathBuf;

/// Why the store cannot be created, opened or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// There is no account in this folder.
    #[error("there is no account in {}; make one with `veilpost init --network FILE`", .0.display())]
    NotSetUp(PathBuf),
    /// `create` on a folder that holds a store.
    #[error("{} already holds an account; choose another folder with --home", .0.display())]
    AlreadySetUp(PathBuf),
    /// The database is there but its key file is not.
    #[error("{} is missing, and without it nobody can open the messages beside it; put it back from a backup", .0.display())]
    KeyFileMissing(PathBuf),
    /// The key file is there but the database is not.
    #[error("{} is missing; put it back from a backup, or remove the folder and start anew", .0.display())]
    DatabaseMissing(PathBuf),
    /// Another process holds the folder's lock.
    #[error("another veilpost already uses {}; stop it first with `veilpost stop`", .0.display())]
    InUse(PathBuf),
    /// The passphrase does not open the key file.
    #[error("wrong passphrase")]
    WrongPassphrase,
    /// The store's key is wrapped under a passphrase and none was given.
    #[error("this account is protected by a passphrase; give it with --passphrase-file FILE")]
    PassphraseNeeded,
    /// The store's key is wrapped under the keychain's key, and a passphrase was given.
    #[error("this account's key is in the system keychain; leave out --passphrase-file")]
    KeychainNeeded,
    /// No keychain answers on this machine.
    #[error("there is no system keychain here; protect the account with --passphrase-file FILE")]
    NoKeychain,
    /// The keychain answers, but it holds no key for this folder.
    #[error("the system keychain holds no key for this account; unlock the keychain you made it with, or restore it")]
    KeychainEntryMissing,
    /// The keychain's key does not open the key file.
    #[error("the key in the system keychain is not this account's key; restore the keychain you made it with")]
    KeychainEntryWrong,
    /// The key file is not what was written.
    #[error("{} is damaged; put it back from a backup", .0.display())]
    KeyFileDamaged(PathBuf),
    /// The database is damaged, though its key is right.
    #[error("the database is damaged; put store.db back from a backup")]
    Damaged,
    /// The database was written by a newer release.
    #[error("the database was written by a newer veilpost (format {found}, this one knows {known}); upgrade veilpost")]
    TooNew {
        /// The format in the file.
        found: u32,
        /// The newest format this program knows.
        known: u32,
    },
    /// SQLite without SQLCipher would write everything in clear: refuse it.
    #[error("this build of veilpost has no database encryption; rebuild it with its bundled SQLCipher")]
    NoEncryption,
    /// The disk is full.
    #[error("the disk is full; free some space and try again")]
    DiskFull,
    /// The operating system refused.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// What was being done, as a verb.
        doing: &'static str,
        /// To which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A contact of that name exists.
    #[error("there is already a contact of that name; choose another with --name")]
    NameTaken,
    /// A message, contact or file that should be there is not.
    #[error("no such {0}")]
    Missing(&'static str),
    /// A stored row does not have the form that this program writes; the word names the field.
    #[error("the database holds an invalid {0}; put store.db back from a backup")]
    InvalidRow(&'static str),
    /// Any other answer of the database: a bug here, or a failing disk.
    #[error("database: {0}")]
    Database(#[source] rusqlite::Error),
}

impl From<rusqlite::Error> for StoreError {
    /// Sorts the database's answers into what a person can act on.
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode::{DatabaseCorrupt, DiskFull, NotADatabase};
        match error.sqlite_error_code() {
            Some(NotADatabase | DatabaseCorrupt) => Self::Damaged,
            Some(DiskFull) => Self::DiskFull,
            _ => Self::Database(error),
        }
    }
}

/// Adds what was being done and to which file.
pub(crate) fn io(doing: &'static str, path: &std::path::Path) -> impl FnOnce(std::io::Error) -> StoreError {
    let path = path.to_path_buf();
    move |source| match source.kind() {
        std::io::ErrorKind::StorageFull => StoreError::DiskFull,
        _ => StoreError::Io { doing, path, source },
    }
}
