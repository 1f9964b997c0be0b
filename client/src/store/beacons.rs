//! Beacons: streams with a box a day, and what they tell: which boxes wait on mailboxes.

use super::{
    StoreError,
    contacts::{ContactId, millis},
    messages::Uuid,
    outbox::OutboxId,
    streams::{StreamId, StreamKind, number, optional_time},
};
use rusqlite::{Connection, OptionalExtension as _};
use veilpost_packet::time::{Day, Timestamp};

/// A beacon's stream.
#[derive(Clone, Copy, Debug)]
pub struct Beacon {
    /// The stream.
    pub stream: StreamId,
    /// Whose.
    pub contact: ContactId,
    /// The day of box 0.
    pub first: Day,
    /// When the next one is sealed, if we write it.
    pub due: Option<Timestamp>,
}

/// Keeps that a stream is a beacon.
pub fn create(connection: &Connection, stream: StreamId, first: Day, due: Option<Timestamp>) -> Result<(), StoreError> {
    let mut insert =
        connection.prepare_cached("INSERT INTO beacons (stream, first_day, due_ms) VALUES (?1, ?2, ?3)")?;
    insert.execute((stream.0, first.0, due.map(millis)))?;
    Ok(())
}

/// All beacons of a kind.
pub fn of_kind(connection: &Connection, kind: StreamKind) -> Result<Vec<Beacon>, StoreError> {
    let mut select = connection.prepare_cached(
        "SELECT b.stream, s.contact, b.first_day, b.due_ms FROM beacons b JOIN streams s ON s.id = b.stream
         WHERE s.kind = ?1 AND s.contact IS NOT NULL ORDER BY b.stream",
    )?;
    let rows = select.query_map([kind as i64], |row| {
        Ok(Beacon {
            stream: StreamId(row.get(0)?),
            contact: ContactId::new(row.get(1)?),
            first: Day(row.get(2)?),
            due: optional_time(row, 3)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Keeps when the next one is sealed.
pub fn set_due(connection: &Connection, stream: StreamId, due: Timestamp) -> Result<(), StoreError> {
    connection.prepare_cached("UPDATE beacons SET due_ms = ?2 WHERE stream = ?1")?.execute((stream.0, millis(due)))?;
    Ok(())
}

/// Mailboxes have signed for a box of ours.
pub fn set_on_mailboxes(connection: &Connection, id: OutboxId, expiry: Day) -> Result<(), StoreError> {
    let mut insert = connection.prepare_cached(
        "INSERT OR REPLACE INTO on_mailboxes (stream, box_index, expiry_day)
         SELECT stream, box_index, ?2 FROM outbox WHERE id = ?1",
    )?;
    insert.execute((id.0, expiry.0))?;
    Ok(())
}

/// Its reader has a box of ours.
pub fn remove_on_mailboxes(connection: &Connection, id: OutboxId) -> Result<(), StoreError> {
    let mut remove = connection.prepare_cached(
        "DELETE FROM on_mailboxes WHERE (stream, box_index) IN (SELECT stream, box_index FROM outbox WHERE id = ?1)",
    )?;
    remove.execute([id.0])?;
    Ok(())
}

/// Forgets boxes that have expired.
pub fn remove_expired(connection: &Connection, today: Day) -> Result<(), StoreError> {
    connection.prepare_cached("DELETE FROM on_mailboxes WHERE expiry_day < ?1")?.execute([today.0])?;
    Ok(())
}

/// Positions of boxes of messages to a contact that wait on mailboxes, the newest `count`, ascending.
pub fn on_mailboxes(connection: &Connection, contact: ContactId, count: u64) -> Result<Vec<u64>, StoreError> {
    let mut select = connection.prepare_cached(
        "SELECT s.base + o.box_index FROM on_mailboxes o JOIN streams s ON s.id = o.stream
         WHERE s.contact = ?1 AND s.kind = ?2 ORDER BY 1 DESC LIMIT ?3",
    )?;
    let kind = StreamKind::MessagesOut as i64;
    let rows =
        select.query_map((contact.get(), kind, number(count)), |row| Ok(row.get::<_, i64>(0)?.unsigned_abs()))?;
    let mut positions: Vec<u64> = rows.collect::<Result<_, _>>()?;
    positions.reverse();
    Ok(positions)
}

/// The newest files that are on their way to a contact: their messages, and below which index all boxes are on mailboxes.
pub fn files(connection: &Connection, contact: ContactId, count: usize) -> Result<Vec<(Uuid, u32)>, StoreError> {
    let mut select = connection.prepare_cached(
        "SELECT m.uuid, coalesce((SELECT min(o.box_index) FROM outbox o WHERE o.stream = s.id AND o.stored = 0),
                                 (SELECT max(o.box_index) + 1 FROM outbox o WHERE o.stream = s.id), 0)
         FROM streams s JOIN messages m ON m.id = s.message
         WHERE s.contact = ?1 AND s.kind = ?2 AND m.state IN (0, 1) ORDER BY s.id DESC LIMIT ?3",
    )?;
    let rows = select.query_map((contact.get(), StreamKind::FileOut as i64, count as i64), |row| {
        Ok((Uuid(row.get(0)?), u32::try_from(row.get::<_, i64>(1)?).unwrap_or(0)))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Forgets prekeys that a contact was offered before `time`.
pub fn remove_old_prekeys(connection: &Connection, contact: ContactId, time: Timestamp) -> Result<(), StoreError> {
    let mut remove = connection.prepare_cached("DELETE FROM prekey_sets WHERE contact = ?1 AND created_ms < ?2")?;
    remove.execute((contact.get(), millis(time)))?;
    Ok(())
}

/// The day of a stream's box 0.
pub fn first_day(connection: &Connection, stream: StreamId) -> Result<Option<Day>, StoreError> {
    let mut select = connection.prepare_cached("SELECT first_day FROM beacons WHERE stream = ?1")?;
    Ok(select.query_row([stream.0], |row| row.get(0)).optional()?.map(Day))
}
