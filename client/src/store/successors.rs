//! What a writer of messages keeps for its streams: successors that their reader does not know yet, how much is not receipted,
//! and messages that wait for receipts.

use super::{
    StoreError,
    contacts::ContactId,
    messages::{MessageId, Uuid},
    outbox::OutboxId,
    streams::{StreamId, StreamKind, number},
};
use rusqlite::{Connection, OptionalExtension as _};

/// A stream of ours whose reader has not receipted the message that names it.
#[derive(Debug)]
pub struct Successor {
    /// The new stream.
    pub stream: StreamId,
    /// The message's id.
    pub uuid: Uuid,
    /// The message, as it lies in the last box of the stream before.
    pub sealed: Vec<u8>,
}

/// Keeps that the reader of this stream has to be told of it.
pub fn push(connection: &Connection, new: &Successor) -> Result<(), StoreError> {
    let mut insert = connection.prepare_cached("INSERT INTO successors (stream, uuid, sealed) VALUES (?1, ?2, ?3)")?;
    insert.execute((new.stream.0, new.uuid.0, &new.sealed))?;
    Ok(())
}

/// The stream that a contact has to be told of. There is one at most.
pub fn of_contact(connection: &Connection, contact: ContactId) -> Result<Option<Successor>, StoreError> {
    let mut select = connection.prepare_cached(
        "SELECT n.stream, n.uuid, n.sealed FROM successors n JOIN streams s ON s.id = n.stream WHERE s.contact = ?1",
    )?;
    let row = select.query_row([contact.get()], |row| {
        Ok(Successor { stream: StreamId(row.get(0)?), uuid: Uuid(row.get(1)?), sealed: row.get(2)? })
    });
    Ok(row.optional()?)
}

/// The reader knows it.
pub fn remove(connection: &Connection, stream: StreamId) -> Result<(), StoreError> {
    connection.prepare_cached("DELETE FROM successors WHERE stream = ?1")?.execute([stream.0])?;
    Ok(())
}

/// Boxes of a stream that are kept until their reader has them.
pub fn kept(connection: &Connection, stream: StreamId) -> Result<Vec<OutboxId>, StoreError> {
    let mut select =
        connection.prepare_cached("SELECT id FROM outbox WHERE stream = ?1 AND renewal IS NOT NULL ORDER BY id")?;
    let rows = select.query_map([stream.0], |row| row.get(0).map(OutboxId))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The box of a stream at this index, while it is kept.
pub fn kept_at(connection: &Connection, stream: StreamId, index: u64) -> Result<Option<OutboxId>, StoreError> {
    let mut select = connection
        .prepare_cached("SELECT id FROM outbox WHERE stream = ?1 AND box_index = ?2 AND renewal IS NOT NULL")?;
    Ok(select.query_row((stream.0, number(index)), |row| row.get(0).map(OutboxId)).optional()?)
}

/// How many boxes of messages to a contact are not receipted, over all streams of messages.
pub fn unreceipted(connection: &Connection, contact: ContactId) -> Result<u64, StoreError> {
    let mut select = connection.prepare_cached(
        "SELECT count(*) FROM outbox o JOIN streams s ON s.id = o.stream
         WHERE s.contact = ?1 AND s.kind = ?2 AND o.message IS NOT NULL",
    )?;
    let count: i64 = select.query_row((contact.get(), StreamKind::MessagesOut as i64), |row| row.get(0))?;
    Ok(count.unsigned_abs())
}

/// True if nothing of a stream is to be sent, renewed, looked up or told of any more.
pub fn is_idle(connection: &Connection, stream: StreamId) -> Result<bool, StoreError> {
    let mut select = connection.prepare_cached(
        "SELECT NOT EXISTS (SELECT 1 FROM outbox WHERE stream = ?1)
         AND NOT EXISTS (SELECT 1 FROM on_mailboxes WHERE stream = ?1)",
    )?;
    Ok(select.query_row([stream.0], |row| row.get(0))?)
}

/// A message waits until there is room for it.
pub fn wait(connection: &Connection, message: MessageId) -> Result<(), StoreError> {
    connection.prepare_cached("INSERT OR IGNORE INTO waiting (message) VALUES (?1)")?.execute([message.0])?;
    Ok(())
}

/// It waits no longer.
pub fn go_on(connection: &Connection, message: MessageId) -> Result<(), StoreError> {
    connection.prepare_cached("DELETE FROM waiting WHERE message = ?1")?.execute([message.0])?;
    Ok(())
}

/// Whether a message waits.
pub fn waits(connection: &Connection, message: MessageId) -> Result<bool, StoreError> {
    let mut select = connection.prepare_cached("SELECT EXISTS (SELECT 1 FROM waiting WHERE message = ?1)")?;
    Ok(select.query_row([message.0], |row| row.get(0))?)
}

/// The next message to a contact that waits.
pub fn next_waiting(connection: &Connection, contact: ContactId) -> Result<Option<MessageId>, StoreError> {
    let mut select = connection.prepare_cached(
        "SELECT w.message FROM waiting w JOIN messages m ON m.id = w.message WHERE m.contact = ?1 ORDER BY w.message LIMIT 1",
    )?;
    Ok(select.query_row([contact.get()], |row| row.get(0).map(MessageId)).optional()?)
}

/// Contacts that messages wait for, and how many.
pub fn waiting_contacts(connection: &Connection) -> Result<Vec<(ContactId, u64)>, StoreError> {
    let mut select = connection.prepare_cached(
        "SELECT m.contact, count(*) FROM waiting w JOIN messages m ON m.id = w.message GROUP BY m.contact",
    )?;
    let rows = select.query_map([], |row| Ok((ContactId::new(row.get(0)?), row.get::<_, i64>(1)?.unsigned_abs())))?;
    Ok(rows.collect::<Result<_, _>>()?)
}
