//! The outbox: boxes that we write, until they are stored and, where someone receipts them, receipted.

use super::{
    StoreError, beacons,
    contacts::{ContactId, millis},
    messages::MessageId,
    streams::{StreamId, StreamKind, number, optional_time},
};
use crate::arq::PutRetry;
use rusqlite::{Connection, OptionalExtension as _, Row};
use veilpost_packet::{
    boxes::{RenewalKey, SealedBox},
    time::Timestamp,
};

/// Our number for a box that is to be sent.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct OutboxId(pub i64);

/// A box that is on its way to a mailbox.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// Its number.
    pub id: OutboxId,
    /// Its stream.
    pub stream: StreamId,
    /// What the stream is for.
    pub kind: StreamKind,
    /// The message that it is part of.
    pub message: Option<MessageId>,
    /// The box.
    pub sealed: SealedBox,
    /// How far its sending is.
    pub retry: PutRetry,
    /// It is renewed until its reader has it, or it is given up.
    pub kept: bool,
}

impl Outgoing {
    /// Once its sending is finished nothing needs its row.
    pub fn is_forgettable(&self) -> bool {
        self.message.is_none() && !self.kept
    }
}

/// A box whose renewal is due.
#[derive(Debug)]
pub struct Due {
    /// The box.
    pub outgoing: Outgoing,
    /// What signs it again.
    pub key: RenewalKey,
    /// How often it was renewed.
    pub renewals: u32,
}

/// Keeps a sealed box.
pub fn push(
    connection: &Connection,
    stream: StreamId,
    index: u64,
    message: Option<MessageId>,
    sealed: &SealedBox,
    retry: PutRetry,
) -> Result<OutboxId, StoreError> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO outbox (stream, box_index, message, sealed, planned) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?;
    let message = message.map(|message| message.0);
    Ok(OutboxId(statement.insert((stream.0, number(index), message, sealed.to_bytes(), retry.planned))?))
}

/// All boxes whose sending is not finished, oldest first.
pub fn unfinished(connection: &Connection) -> Result<Vec<Outgoing>, StoreError> {
    let sql = format!("{SELECT} WHERE o.stored = 0 OR o.sends < o.planned ORDER BY o.id");
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map([], read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Boxes that are to be renewed by now, the most overdue first.
pub fn renewals_due(connection: &Connection, now: Timestamp, limit: u32) -> Result<Vec<Due>, StoreError> {
    let sql = format!("{SELECT} WHERE o.renew_ms <= ?1 ORDER BY o.renew_ms LIMIT ?2");
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map((millis(now), limit), |row| {
        Ok(Due { outgoing: read(row)?, key: RenewalKey::new(row.get(9)?), renewals: row.get(10)? })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Keeps what renews a box, and when that is due. The key is wiped with the row: the database overwrites what it deletes.
pub fn keep(connection: &Connection, id: OutboxId, key: &RenewalKey, due: Timestamp) -> Result<(), StoreError> {
    let mut statement = connection.prepare_cached("UPDATE outbox SET renewal = ?2, renew_ms = ?3 WHERE id = ?1")?;
    statement.execute((id.0, key.expose(), millis(due)))?;
    Ok(())
}

/// Keeps a renewed box, whose sending begins anew.
pub fn renew(connection: &Connection, out: &Outgoing, due: Timestamp, renewals: u32) -> Result<(), StoreError> {
    let mut statement =
        connection.prepare_cached("UPDATE outbox SET sealed = ?2, renew_ms = ?3, renewals = ?4 WHERE id = ?1")?;
    statement.execute((out.id.0, out.sealed.to_bytes(), millis(due), renewals))?;
    begin_anew(connection, out.id, &out.retry)
}

/// Keeps that a box is sent as if for the first time.
pub fn begin_anew(connection: &Connection, id: OutboxId, retry: &PutRetry) -> Result<(), StoreError> {
    connection.prepare_cached("UPDATE outbox SET planned = ?2 WHERE id = ?1")?.execute((id.0, retry.planned))?;
    set_retry(connection, id, retry)
}

/// The boxes of a message.
pub fn of_message(connection: &Connection, message: MessageId) -> Result<Vec<OutboxId>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT id FROM outbox WHERE message = ?1 ORDER BY id")?;
    let rows = statement.query_map([message.0], |row| row.get(0).map(OutboxId))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The boxes of a stream.
pub fn of_stream(connection: &Connection, stream: StreamId) -> Result<Vec<OutboxId>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT id FROM outbox WHERE stream = ?1 ORDER BY id")?;
    let rows = statement.query_map([stream.0], |row| row.get(0).map(OutboxId))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Its reader has a box: it is not renewed any more, and goes when its planned sendings are out and it is not looked up.
pub fn settle(connection: &Connection, id: OutboxId) -> Result<(), StoreError> {
    beacons::remove_on_mailboxes(connection, id)?;
    let mut statement = connection.prepare_cached(
        "UPDATE outbox SET message = NULL, stored = 1, renewal = NULL, renew_ms = NULL WHERE id = ?1",
    )?;
    statement.execute([id.0])?;
    remove_done(connection, id)
}

/// Boxes to a contact that are renewed though they are part of no message, are stored, and lie below the index `heard.1` of the
/// stream of messages with the number `heard.0`, or in an earlier one. The last box of a stream, which names the next, is none
/// of them.
pub fn heard(connection: &Connection, contact: ContactId, heard: (u32, u64)) -> Result<Vec<OutboxId>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT o.id FROM outbox o JOIN streams s ON s.id = o.stream
         WHERE s.contact = ?1 AND s.kind = ?2 AND o.message IS NULL AND o.renewal IS NOT NULL AND o.stored = 1
         AND (s.number < ?3 OR s.number = ?3 AND o.box_index < ?4) AND (s.boxes IS NULL OR o.box_index + 1 < s.boxes)",
    )?;
    let kind = StreamKind::MessagesOut as i64;
    let rows = statement.query_map((contact.get(), kind, heard.0, number(heard.1)), |row| row.get(0).map(OutboxId))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// A box is not renewed any more, and goes when its planned sendings are out and it is not looked up.
pub fn end_renewals(connection: &Connection, id: OutboxId) -> Result<(), StoreError> {
    connection.prepare_cached("UPDATE outbox SET renewal = NULL, renew_ms = NULL WHERE id = ?1")?.execute([id.0])?;
    remove_done(connection, id)
}

/// The box is not looked up any more.
pub fn finish_audit(connection: &Connection, id: OutboxId) -> Result<(), StoreError> {
    connection.prepare_cached("UPDATE outbox SET audit_ms = NULL WHERE id = ?1")?.execute([id.0])?;
    remove_done(connection, id)
}

fn remove_done(connection: &Connection, id: OutboxId) -> Result<(), StoreError> {
    let mut statement = connection.prepare_cached(
        "DELETE FROM outbox WHERE id = ?1 AND stored = 1 AND sends >= planned AND message IS NULL AND renew_ms IS NULL
         AND audit_ms IS NULL",
    )?;
    statement.execute([id.0])?;
    Ok(())
}

/// A box.
pub fn by_id(connection: &Connection, id: OutboxId) -> Result<Option<Outgoing>, StoreError> {
    let mut statement = connection.prepare_cached(&format!("{SELECT} WHERE o.id = ?1"))?;
    Ok(statement.query_row([id.0], read).optional()?)
}

/// Keeps how far the sending of a box is.
pub fn set_retry(connection: &Connection, id: OutboxId, retry: &PutRetry) -> Result<(), StoreError> {
    let mut statement =
        connection.prepare_cached("UPDATE outbox SET sends = ?2, stored = ?3, next_ms = ?4 WHERE id = ?1")?;
    statement.execute((id.0, retry.sends, retry.stored, retry.next.map(millis)))?;
    Ok(())
}

/// Keeps the holders' signatures that a box is stored.
pub fn set_receipt(connection: &Connection, id: OutboxId, receipt: &[u8]) -> Result<(), StoreError> {
    connection.prepare_cached("UPDATE outbox SET receipt = ?2 WHERE id = ?1")?.execute((id.0, receipt))?;
    Ok(())
}

/// The signatures that a box is stored, if there are any.
pub fn receipt(connection: &Connection, id: OutboxId) -> Result<Option<Vec<u8>>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT receipt FROM outbox WHERE id = ?1")?;
    Ok(statement.query_row([id.0], |row| row.get(0)).optional()?.flatten())
}

/// A mailbox says that something else lies in place of this box; how often one has by now.
pub fn count_conflict(connection: &Connection, id: OutboxId) -> Result<u32, StoreError> {
    let mut statement =
        connection.prepare_cached("UPDATE outbox SET conflicts = conflicts + 1 WHERE id = ?1 RETURNING conflicts")?;
    Ok(statement.query_row([id.0], |row| row.get(0)).optional()?.unwrap_or(0))
}

/// True if a contact has heard a box of ours, by the number of its stream of messages and its index, that no mailbox has taken
/// and in whose place one says that something else lies.
pub fn is_contradicted(connection: &Connection, contact: ContactId, heard: (u32, u64)) -> Result<bool, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM outbox o JOIN streams s ON s.id = o.stream
         WHERE s.contact = ?1 AND s.kind = ?2 AND o.conflicts > 0 AND o.stored = 0
         AND (s.number < ?3 OR s.number = ?3 AND o.box_index < ?4))",
    )?;
    let kind = StreamKind::MessagesOut as i64;
    Ok(statement.query_row((contact.get(), kind, heard.0, number(heard.1)), |row| row.get(0))?)
}

/// How many boxes of a message no mailbox has signed for.
pub fn unstored_of(connection: &Connection, message: MessageId) -> Result<u64, StoreError> {
    let mut statement = connection.prepare_cached("SELECT count(*) FROM outbox WHERE message = ?1 AND stored = 0")?;
    Ok(statement.query_row([message.0], |row| row.get::<_, i64>(0))?.unsigned_abs())
}

/// Forgets a box that was sent.
pub fn remove(connection: &Connection, id: OutboxId) -> Result<(), StoreError> {
    connection.prepare_cached("DELETE FROM outbox WHERE id = ?1")?.execute([id.0])?;
    Ok(())
}

/// Forgets all boxes of a message, sent or not, and says which they were.
pub fn remove_of(connection: &Connection, message: MessageId) -> Result<Vec<OutboxId>, StoreError> {
    let mut statement = connection.prepare_cached("DELETE FROM outbox WHERE message = ?1 RETURNING id")?;
    let rows = statement.query_map([message.0], |row| row.get(0).map(OutboxId))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

const SELECT: &str =
    "SELECT o.id, o.stream, s.kind, o.message, o.sealed, o.planned, o.sends, o.stored, o.next_ms, o.renewal,
     o.renewals FROM outbox o JOIN streams s ON s.id = o.stream";

fn read(row: &Row<'_>) -> rusqlite::Result<Outgoing> {
    let (code, bytes): (i64, Vec<u8>) = (row.get(2)?, row.get(4)?);
    Ok(Outgoing {
        id: OutboxId(row.get(0)?),
        stream: StreamId(row.get(1)?),
        kind: StreamKind::from_code(code).ok_or(rusqlite::Error::IntegralValueOutOfRange(2, code))?,
        message: row.get::<_, Option<i64>>(3)?.map(MessageId),
        sealed: SealedBox::from_bytes(&bytes).map_err(|_| rusqlite::Error::InvalidQuery)?,
        retry: PutRetry { planned: row.get(5)?, sends: row.get(6)?, stored: row.get(7)?, next: optional_time(row, 8)? },
        kept: row.get::<_, Option<[u8; 32]>>(9)?.is_some(),
    })
}
