//! Single values under a name: settings, counters, the network file.

use super::StoreError;
use crate::transport::Transport;
use rusqlite::{Connection, OptionalExtension as _};
use veilpost_packet::profile::Profile;

/// The network file that `init` was given, as text.
pub const NETWORK_FILE: &str = "network.file";

/// How much traffic the person chose to make: the profile's name.
const PROFILE: &str = "profile";

/// The profile that the person chose; the standard one if none was chosen.
///
/// # Errors
/// The database's; [`StoreError::InvalidRow`] for a profile that this version does not know.
pub fn profile(connection: &Connection) -> Result<Profile, StoreError> {
    let Some(name) = get(connection, PROFILE)? else { return Ok(Profile::default()) };
    let known = std::str::from_utf8(&name).ok().and_then(Profile::from_name);
    known.ok_or(StoreError::InvalidRow("profile"))
}

/// Keeps the profile that the person chose.
///
/// # Errors
/// The database's.
pub fn set_profile(connection: &Connection, profile: Profile) -> Result<(), StoreError> {
    set(connection, PROFILE, profile.name().as_bytes())
}

/// Which way to the network the person chose: the transport's name.
const TRANSPORT: &str = "transport";

/// The transport that the person chose; through the mixes if none was chosen.
///
/// # Errors
/// The database's; [`StoreError::InvalidRow`] for a transport that this version does not know: another one must not take its place.
pub fn transport(connection: &Connection) -> Result<Transport, StoreError> {
    let Some(name) = get(connection, TRANSPORT)? else { return Ok(Transport::default()) };
    let known = std::str::from_utf8(&name).ok().and_then(Transport::from_name);
    known.ok_or(StoreError::InvalidRow("transport"))
}

/// Keeps the transport that the person chose.
///
/// # Errors
/// The database's.
pub fn set_transport(connection: &Connection, transport: Transport) -> Result<(), StoreError> {
    set(connection, TRANSPORT, transport.name().as_bytes())
}

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
