//! Conversations that began anew, and of those the ones that the contact does not know about yet.

use super::{
    StoreError,
    contacts::{ContactId, millis, time},
    messages::Uuid,
};
use rusqlite::{Connection, OptionalExtension as _};
use veilpost_packet::time::Timestamp;
use zeroize::Zeroizing;

/// A restart of ours that its contact has not confirmed.
pub struct Restart {
    /// What is said: secret.
    pub message: Zeroizing<Vec<u8>>,
    /// The same, sealed under a new session.
    pub sealed: Option<Vec<u8>>,
}

impl std::fmt::Debug for Restart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Restart(..)")
    }
}

/// The last restart of a conversation, by the clock of who began it, and its id; the beginning of time if there was none.
pub fn last(connection: &Connection, contact: ContactId) -> Result<(Timestamp, Uuid), StoreError> {
    let mut select = connection.prepare_cached("SELECT restarted_ms, restarted FROM contacts WHERE id = ?1")?;
    let row = select.query_row([contact.get()], |row| {
        Ok((time(row, 0)?, Uuid(row.get::<_, Option<[u8; 16]>>(1)?.unwrap_or_default())))
    });
    row.optional()?.ok_or(StoreError::Missing("contact"))
}

/// Keeps that a conversation began anew.
pub fn set_last(connection: &Connection, contact: ContactId, at: Timestamp, uuid: Uuid) -> Result<(), StoreError> {
    let mut update =
        connection.prepare_cached("UPDATE contacts SET restarted_ms = ?2, restarted = ?3 WHERE id = ?1")?;
    update.execute((contact.get(), millis(at), uuid.0))?;
    Ok(())
}

/// Names of contacts whose conversation began anew after `time`.
pub fn since(connection: &Connection, time: Timestamp) -> Result<Vec<String>, StoreError> {
    let mut select = connection.prepare_cached("SELECT name FROM contacts WHERE restarted_ms > ?1 ORDER BY id")?;
    let rows = select.query_map([millis(time)], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// A contact has to be told.
pub fn push(connection: &Connection, contact: ContactId, message: &[u8]) -> Result<(), StoreError> {
    let mut insert = connection.prepare_cached("INSERT OR REPLACE INTO restarts (contact, message) VALUES (?1, ?2)")?;
    insert.execute((contact.get(), message))?;
    Ok(())
}

/// Keeps how it is told.
pub fn set_sealed(connection: &Connection, contact: ContactId, sealed: &[u8]) -> Result<(), StoreError> {
    let mut update = connection.prepare_cached("UPDATE restarts SET sealed = ?2 WHERE contact = ?1")?;
    update.execute((contact.get(), sealed))?;
    Ok(())
}

/// What a contact has to be told.
pub fn pending(connection: &Connection, contact: ContactId) -> Result<Option<Restart>, StoreError> {
    let mut select = connection.prepare_cached("SELECT message, sealed FROM restarts WHERE contact = ?1")?;
    let row = select
        .query_row([contact.get()], |row| Ok(Restart { message: Zeroizing::new(row.get(0)?), sealed: row.get(1)? }));
    Ok(row.optional()?)
}

/// The contact knows.
pub fn remove(connection: &Connection, contact: ContactId) -> Result<(), StoreError> {
    connection.prepare_cached("DELETE FROM restarts WHERE contact = ?1")?.execute([contact.get()])?;
    Ok(())
}
