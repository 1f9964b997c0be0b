//! Single values under a name: settings, counters, the network file.

use super::StoreError;
use rusqlite::{Connection, OptionalExtension as _};

/// The network file that `init` was given, as text.
pub const NETWORK_FILE: &str = "network.file";

/// The value of `key`, if it was ever set.
///
/// # Errors
/// The database's.
pub fn get(connection: &Connection, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT value FROM meta WHERE key = ?1")?;
    Ok(statement.query_row([key], |row| row.get(0)).optional()?)
}

/// Sets `key`, replacing what was there.
///
/// # Errors
/// The database's.
pub fn set(connection: &Connection, key: &str, value: &[u8]) -> Result<(), StoreError> {
    let mut statement = connection.prepare_cached("INSERT OR REPLACE INTO meta (key, value) VALUES (?1, ?2)")?;
    statement.execute((key, value))?;
    Ok(())
}

/// Forgets `key`.
///
/// # Errors
/// The database's.
pub fn remove(connection: &Connection, key: &str) -> Result<(), StoreError> {
    connection.prepare_cached("DELETE FROM meta WHERE key = ?1")?.execute([key])?;
    Ok(())
}
