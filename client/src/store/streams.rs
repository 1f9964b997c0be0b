//! Streams, and the boxes that are to be fetched from them.

use super::{
    StoreError,
    contacts::{ContactId, millis, time},
    messages::MessageId,
};
use crate::arq::GetRetry;
use rusqlite::{Connection, OptionalExtension as _, Row};
use std::time::Duration;
use veilpost_packet::{
    boxes::{ReadCap, WriteCap},
    ids::{BoxId, NodeId},
    primitives::Secret32,
    time::Timestamp,
};

/// Our number for a stream.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct StreamId(pub i64);

/// What a stream is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum StreamKind {
    /// Messages that we write to a contact.
    MessagesOut = 0,
    /// Messages that a contact writes to us.
    MessagesIn = 1,
    /// A file that we send.
    FileOut = 2,
    /// A file that we receive.
    FileIn = 3,
    /// Boxes to ourselves, so that writing and reading look the same whether anyone writes or not.
    Decoys = 4,
    /// The offer of an invitation that we made.
    OfferOut = 5,
    /// The answer to an invitation that we made.
    AnswerIn = 6,
    /// The offer of an invitation that we opened.
    OfferIn = 7,
    /// Our answer to it.
    AnswerOut = 8,
    /// A box a day for a contact, see `core::beacon`.
    BeaconOut = 9,
    /// A contact's.
    BeaconIn = 10,
}

impl StreamKind {
    pub(super) fn from_code(code: i64) -> Option<Self> {
        use StreamKind::*;
        [MessagesOut, MessagesIn, FileOut, FileIn, Decoys, OfferOut, AnswerIn, OfferIn, AnswerOut, BeaconOut, BeaconIn]
            .into_iter()
            .find(|kind| *kind as i64 == code)
    }
}

/// A stream's row, without its capabilities.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stream {
    /// Its number.
    pub id: StreamId,
    /// What it is for.
    pub kind: StreamKind,
    /// Whose: `None` for decoys.
    pub contact: Option<ContactId>,
    /// The message that it belongs to (files).
    pub message: Option<MessageId>,
    /// How many boxes there are, where that is known.
    pub boxes: Option<u64>,
    /// Files: boxes below this are on the reader's device.
    pub progress: u64,
    /// Messages: how many streams of this contact and direction came before.
    pub number: u32,
    /// Messages: position of box 0 in the pair's positions, which run on through its streams.
    pub base: u64,
    /// When it was made.
    pub created: Timestamp,
    /// Messages and decoys: since when nothing new comes in it.
    pub ended: Option<Timestamp>,
    /// Messages: from before the conversation began anew; it has no place among the pair's positions.
    pub former: bool,
}

impl Stream {
    /// Its reader did not know from its beginning how many boxes it has.
    pub fn is_open_ended(&self) -> bool {
        self.boxes.is_none() || self.kind == StreamKind::MessagesIn
    }
}

/// A new stream.
#[derive(Debug)]
pub struct NewStream<'a> {
    /// What it is for.
    pub kind: StreamKind,
    /// Whose.
    pub contact: Option<ContactId>,
    /// The message that it belongs to.
    pub message: Option<MessageId>,
    /// If we write it.
    pub write_cap: Option<&'a WriteCap>,
    /// If we read it.
    pub read_cap: Option<&'a ReadCap>,
    /// How many boxes there are.
    pub boxes: Option<u64>,
}

/// Writes a stream.
pub fn create(connection: &Connection, new: &NewStream<'_>) -> Result<StreamId, StoreError> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO streams (kind, contact, message, write_cap, read_cap, boxes) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    let id = statement.insert((
        new.kind as i64,
        new.contact.map(ContactId::get),
        new.message.map(|message| message.0),
        new.write_cap.map(|cap| cap.to_bytes().to_vec()),
        new.read_cap.map(|cap| cap.to_bytes().to_vec()),
        new.boxes.map(number),
    ))?;
    Ok(StreamId(id))
}

/// Keeps where a stream of messages stands in its pair's positions, and when it was made.
pub fn set_place(
    connection: &Connection,
    id: StreamId,
    number_of: u32,
    base: u64,
    created: Timestamp,
) -> Result<(), StoreError> {
    let mut statement =
        connection.prepare_cached("UPDATE streams SET number = ?2, base = ?3, created_ms = ?4 WHERE id = ?1")?;
    statement.execute((id.0, number_of, number(base), millis(created)))?;
    Ok(())
}

/// Nothing new comes in a stream of messages: it has so many boxes.
pub fn end(connection: &Connection, id: StreamId, boxes: u64, now: Timestamp) -> Result<(), StoreError> {
    let mut statement = connection.prepare_cached("UPDATE streams SET boxes = ?2, ended_ms = ?3 WHERE id = ?1")?;
    statement.execute((id.0, number(boxes), millis(now)))?;
    Ok(())
}

/// The conversation began anew: these streams of it are followed to their end, apart from the new ones.
pub fn set_former(
    connection: &Connection,
    contact: ContactId,
    kind: StreamKind,
    now: Timestamp,
) -> Result<(), StoreError> {
    let mut statement = connection.prepare_cached(
        "UPDATE streams SET former = 1, ended_ms = coalesce(ended_ms, ?3) WHERE contact = ?1 AND kind = ?2",
    )?;
    statement.execute((contact.get(), kind as i64, millis(now)))?;
    Ok(())
}

/// Forgets where a contact's ratchet turned: its positions begin anew.
pub fn forget_beginnings(connection: &Connection, contact: ContactId) -> Result<(), StoreError> {
    connection.prepare_cached("DELETE FROM beginnings WHERE contact = ?1")?.execute([contact.get()])?;
    connection.prepare_cached("UPDATE contacts SET waited = 0 WHERE id = ?1")?.execute([contact.get()])?;
    Ok(())
}

/// Our decoys go to another stream from now on.
pub fn end_decoys(connection: &Connection, current: StreamId, now: Timestamp) -> Result<(), StoreError> {
    let mut statement = connection
        .prepare_cached("UPDATE streams SET ended_ms = ?3 WHERE kind = ?1 AND id <> ?2 AND ended_ms IS NULL")?;
    statement.execute((StreamKind::Decoys as i64, current.0, millis(now)))?;
    Ok(())
}

/// Earlier streams of decoys of which nothing is to be sent or read any more, and those that ended before `oldest`.
pub fn finished_decoys(connection: &Connection, asked: u32, oldest: Timestamp) -> Result<Vec<StreamId>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT s.id FROM streams s WHERE s.kind = ?1 AND s.ended_ms IS NOT NULL AND (s.ended_ms < ?3 OR
         NOT EXISTS (SELECT 1 FROM outbox o WHERE o.stream = s.id)
         AND NOT EXISTS (SELECT 1 FROM fetches f WHERE f.stream = s.id AND f.done = 0 AND f.asked < ?2))",
    )?;
    let rows =
        statement.query_map((StreamKind::Decoys as i64, asked, millis(oldest)), |row| row.get(0).map(StreamId))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// All streams of a contact and kind, oldest first.
pub fn all_of_contact(
    connection: &Connection,
    contact: ContactId,
    kind: StreamKind,
) -> Result<Vec<Stream>, StoreError> {
    let mut statement =
        connection.prepare_cached(&format!("{SELECT_STREAM} WHERE contact = ?1 AND kind = ?2 ORDER BY id"))?;
    let rows = statement.query_map((contact.get(), kind as i64), read_stream)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// All streams of these kinds.
pub fn of_kinds(connection: &Connection, kinds: &[StreamKind]) -> Result<Vec<Stream>, StoreError> {
    let mut statement = connection.prepare_cached(&format!("{SELECT_STREAM} ORDER BY id"))?;
    let rows = statement.query_map([], read_stream)?;
    let all: Vec<Stream> = rows.collect::<Result<_, _>>()?;
    Ok(all.into_iter().filter(|stream| kinds.contains(&stream.kind)).collect())
}

/// A stream.
pub fn by_id(connection: &Connection, id: StreamId) -> Result<Stream, StoreError> {
    let mut statement = connection.prepare_cached(&format!("{SELECT_STREAM} WHERE id = ?1"))?;
    statement.query_row([id.0], read_stream).optional()?.ok_or(StoreError::Missing("stream"))
}

/// The newest stream of a contact and kind.
pub fn of_contact(connection: &Connection, contact: ContactId, kind: StreamKind) -> Result<Option<Stream>, StoreError> {
    let mut statement = connection
        .prepare_cached(&format!("{SELECT_STREAM} WHERE contact = ?1 AND kind = ?2 ORDER BY id DESC LIMIT 1"))?;
    Ok(statement.query_row((contact.get(), kind as i64), read_stream).optional()?)
}

/// The stream of a file message.
pub fn of_message(connection: &Connection, message: MessageId) -> Result<Option<Stream>, StoreError> {
    let mut statement =
        connection.prepare_cached(&format!("{SELECT_STREAM} WHERE message = ?1 ORDER BY id DESC LIMIT 1"))?;
    Ok(statement.query_row([message.0], read_stream).optional()?)
}

/// Forgets a stream and all that waits on it.
pub fn remove(connection: &Connection, id: StreamId) -> Result<(), StoreError> {
    connection.prepare_cached("DELETE FROM streams WHERE id = ?1")?.execute([id.0])?;
    Ok(())
}

/// The capability to write the stream's next box.
pub fn write_cap(connection: &Connection, id: StreamId) -> Result<WriteCap, StoreError> {
    let bytes = cap_bytes(connection, "SELECT write_cap FROM streams WHERE id = ?1", id)?;
    WriteCap::from_bytes(&bytes).map_err(|_| StoreError::InvalidRow("stream capability"))
}

/// Keeps the capability after a box was sealed; belongs into the transaction that keeps the box.
pub fn set_write_cap(connection: &Connection, id: StreamId, cap: &WriteCap) -> Result<(), StoreError> {
    let mut statement = connection.prepare_cached("UPDATE streams SET write_cap = ?2 WHERE id = ?1")?;
    statement.execute((id.0, &cap.to_bytes()[..]))?;
    Ok(())
}

/// The capability to read from the lowest index that has not been read.
pub fn read_cap(connection: &Connection, id: StreamId) -> Result<ReadCap, StoreError> {
    let bytes = cap_bytes(connection, "SELECT read_cap FROM streams WHERE id = ?1", id)?;
    ReadCap::from_bytes(&bytes).map_err(|_| StoreError::InvalidRow("stream capability"))
}

/// Keeps the capability after boxes were read.
pub fn set_read_cap(connection: &Connection, id: StreamId, cap: &ReadCap) -> Result<(), StoreError> {
    let mut statement = connection.prepare_cached("UPDATE streams SET read_cap = ?2 WHERE id = ?1")?;
    statement.execute((id.0, &cap.to_bytes()[..]))?;
    Ok(())
}

/// Moves [`Stream::progress`]. Never goes back.
pub fn set_progress(connection: &Connection, id: StreamId, progress: u64) -> Result<(), StoreError> {
    let mut statement = connection.prepare_cached("UPDATE streams SET progress = max(progress, ?2) WHERE id = ?1")?;
    statement.execute((id.0, number(progress)))?;
    Ok(())
}

/// Names a box that is to be fetched.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FetchKey {
    /// Its stream.
    pub stream: StreamId,
    /// Its index in it.
    pub index: u64,
}

/// A box that is to be fetched.
#[derive(Clone, Debug)]
pub struct Fetch {
    /// Which.
    pub key: FetchKey,
    /// Its id.
    pub id: BoxId,
    /// The secret that deletes it.
    pub ack_secret: Secret32,
    /// How long after its digest it is fetched (decoys).
    pub absence: Duration,
    /// It is never acknowledged (decoys).
    pub unacked: bool,
    /// When it was named by a digest.
    pub seen: Option<Timestamp>,
    /// When the first Get may go out.
    pub due: Option<Timestamp>,
    /// How far its fetching is.
    pub retry: GetRetry,
    /// The first mailbox that says that it was acknowledged; forgotten with the process.
    pub gone_at: Option<NodeId>,
}

/// Keeps a box to fetch. What is there already stays.
pub fn push_fetch(connection: &Connection, fetch: &Fetch) -> Result<(), StoreError> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO fetches (stream, box_index, box_id, ack_secret, absence_ms, unacked, seen_ms, due_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT DO NOTHING",
    )?;
    statement.execute((
        fetch.key.stream.0,
        number(fetch.key.index),
        fetch.id.as_bytes(),
        fetch.ack_secret.expose(),
        whole_millis(fetch.absence),
        fetch.unacked,
        fetch.seen.map(millis),
        fetch.due.map(millis),
    ))?;
    Ok(())
}

/// A digest named the box.
pub fn set_seen(connection: &Connection, key: FetchKey, seen: Timestamp, due: Timestamp) -> Result<(), StoreError> {
    let mut statement = connection
        .prepare_cached("UPDATE fetches SET seen_ms = ?3, due_ms = ?4 WHERE stream = ?1 AND box_index = ?2")?;
    statement.execute((key.stream.0, number(key.index), millis(seen), millis(due)))?;
    Ok(())
}

/// Keeps how often a box was asked for.
pub fn set_asked(connection: &Connection, key: FetchKey, asked: u32) -> Result<(), StoreError> {
    let mut statement =
        connection.prepare_cached("UPDATE fetches SET asked = ?3 WHERE stream = ?1 AND box_index = ?2")?;
    statement.execute((key.stream.0, number(key.index), asked))?;
    Ok(())
}

/// The box is here.
pub fn set_done(connection: &Connection, key: FetchKey) -> Result<(), StoreError> {
    let mut statement = connection
        .prepare_cached("UPDATE fetches SET done = 1, content = NULL WHERE stream = ?1 AND box_index = ?2")?;
    statement.execute((key.stream.0, number(key.index)))?;
    Ok(())
}

/// The box is here, and its content is kept since this instant of the clock of time online.
pub fn keep_content(
    connection: &Connection,
    key: FetchKey,
    content: &[u8],
    online: Duration,
) -> Result<(), StoreError> {
    let mut statement = connection.prepare_cached(
        "UPDATE fetches SET done = 1, content = ?3, kept_ms = ?4 WHERE stream = ?1 AND box_index = ?2",
    )?;
    statement.execute((key.stream.0, number(key.index), content, whole_millis(online)))?;
    Ok(())
}

/// Whether a box is here already.
pub fn is_done(connection: &Connection, key: FetchKey) -> Result<bool, StoreError> {
    let mut statement = connection.prepare_cached("SELECT done FROM fetches WHERE stream = ?1 AND box_index = ?2")?;
    Ok(statement.query_row((key.stream.0, number(key.index)), |row| row.get(0)).optional()?.unwrap_or(false))
}

/// Opened contents that are kept for boxes `first .. first + count`; those that are missing are left out.
pub fn contents(
    connection: &Connection,
    stream: StreamId,
    first: u64,
    count: u64,
) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT box_index, content FROM fetches WHERE stream = ?1 AND box_index >= ?2 AND box_index < ?3
         AND content IS NOT NULL ORDER BY box_index",
    )?;
    let rows = statement.query_map((stream.0, number(first), number(first.saturating_add(count))), |row| {
        Ok((row.get::<_, i64>(0)?.unsigned_abs(), row.get(1)?))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Kept contents of a whole stream, in order.
pub fn all_contents(connection: &Connection, stream: StreamId) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
    contents(connection, stream, 0, u64::MAX)
}

/// Streams with contents that are kept since before `online` by the clock of time online (`None`: it has not gone that far), or
/// of boxes that were named before `time`.
pub fn kept_since(
    connection: &Connection,
    online: Option<Duration>,
    time: Timestamp,
) -> Result<Vec<StreamId>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT DISTINCT stream FROM fetches WHERE content IS NOT NULL AND (kept_ms <= ?1 OR seen_ms <= ?2)",
    )?;
    let rows = statement.query_map((online.map(whole_millis), millis(time)), |row| row.get(0).map(StreamId))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Since when a box's content is kept, by the clock of time online, and when the box was named.
pub fn waiting_since(
    connection: &Connection,
    key: FetchKey,
) -> Result<Option<(Duration, Option<Timestamp>)>, StoreError> {
    let mut statement =
        connection.prepare_cached("SELECT kept_ms, seen_ms FROM fetches WHERE stream = ?1 AND box_index = ?2")?;
    let row = statement.query_row((key.stream.0, number(key.index)), |row| {
        Ok((Duration::from_millis(row.get::<_, i64>(0)?.unsigned_abs()), optional_time(row, 1)?))
    });
    Ok(row.optional()?)
}

/// How many of the boxes `first .. end` are fetched and opened.
pub fn count_opened(connection: &Connection, stream: StreamId, first: u64, end: u64) -> Result<u64, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT count(*) FROM fetches WHERE stream = ?1 AND box_index >= ?2 AND box_index < ?3
         AND done = 1 AND content IS NULL",
    )?;
    let count: i64 = statement.query_row((stream.0, number(first), number(end)), |row| row.get(0))?;
    Ok(count.unsigned_abs())
}

/// True if one of the boxes `first .. end` was named by a digest, is not here yet, and was asked for less than `asked` times.
pub fn any_named(
    connection: &Connection,
    stream: StreamId,
    first: u64,
    end: u64,
    asked: u32,
) -> Result<bool, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM fetches WHERE stream = ?1 AND box_index >= ?2 AND box_index < ?3
         AND done = 0 AND seen_ms IS NOT NULL AND asked < ?4)",
    )?;
    Ok(statement.query_row((stream.0, number(first), number(end), asked), |row| row.get(0))?)
}

/// Positions at which the newest receiving chains of a contact begin, ascending.
pub fn beginnings(connection: &Connection, contact: ContactId) -> Result<Vec<u64>, StoreError> {
    let mut statement =
        connection.prepare_cached("SELECT position FROM beginnings WHERE contact = ?1 ORDER BY position")?;
    let rows = statement.query_map([contact.get()], |row| Ok(row.get::<_, i64>(0)?.unsigned_abs()))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// A receiving chain begins at this position. Of all of the contact's only the `keep` newest stay.
pub fn push_beginning(
    connection: &Connection,
    contact: ContactId,
    position: u64,
    keep: usize,
) -> Result<(), StoreError> {
    let mut insert =
        connection.prepare_cached("INSERT OR IGNORE INTO beginnings (contact, position) VALUES (?1, ?2)")?;
    insert.execute((contact.get(), number(position)))?;
    let mut remove = connection.prepare_cached(
        "DELETE FROM beginnings WHERE contact = ?1 AND position NOT IN
         (SELECT position FROM beginnings WHERE contact = ?1 ORDER BY position DESC LIMIT ?2)",
    )?;
    remove.execute((contact.get(), keep as i64))?;
    Ok(())
}

/// Boxes below this position have been waited for.
pub fn waited(connection: &Connection, contact: ContactId) -> Result<u64, StoreError> {
    let mut statement = connection.prepare_cached("SELECT waited FROM contacts WHERE id = ?1")?;
    let waited = statement.query_row([contact.get()], |row| row.get::<_, i64>(0)).optional()?;
    Ok(waited.ok_or(StoreError::Missing("contact"))?.unsigned_abs())
}

/// Moves [`waited`]. Never goes back.
pub fn set_waited(connection: &Connection, contact: ContactId, position: u64) -> Result<(), StoreError> {
    let mut statement = connection.prepare_cached("UPDATE contacts SET waited = max(waited, ?2) WHERE id = ?1")?;
    statement.execute((contact.get(), number(position)))?;
    Ok(())
}

/// Drops kept contents of boxes `first .. first + count`: their message is whole and read.
pub fn drop_contents(connection: &Connection, stream: StreamId, first: u64, count: u64) -> Result<(), StoreError> {
    let mut statement = connection
        .prepare_cached("UPDATE fetches SET content = NULL WHERE stream = ?1 AND box_index >= ?2 AND box_index < ?3")?;
    statement.execute((stream.0, number(first), number(first.saturating_add(count))))?;
    Ok(())
}

/// Forgets a box that was fetched, once nothing needs its row.
pub fn remove_fetch(connection: &Connection, key: FetchKey) -> Result<(), StoreError> {
    let mut statement = connection.prepare_cached("DELETE FROM fetches WHERE stream = ?1 AND box_index = ?2")?;
    statement.execute((key.stream.0, number(key.index)))?;
    Ok(())
}

/// All boxes that are not here yet, in order of their naming.
pub fn pending_fetches(connection: &Connection) -> Result<Vec<Fetch>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT stream, box_index, box_id, ack_secret, absence_ms, unacked, seen_ms, due_ms, asked FROM fetches
         WHERE done = 0 ORDER BY seen_ms, stream, box_index",
    )?;
    let rows = statement.query_map([], |row| {
        Ok(Fetch {
            key: FetchKey { stream: StreamId(row.get(0)?), index: row.get::<_, i64>(1)?.unsigned_abs() },
            id: BoxId(row.get(2)?),
            ack_secret: Secret32::new(row.get(3)?),
            absence: Duration::from_millis(row.get::<_, i64>(4)?.unsigned_abs()),
            unacked: row.get(5)?,
            seen: optional_time(row, 6)?,
            due: optional_time(row, 7)?,
            retry: GetRetry { asked: row.get(8)?, ..GetRetry::new() },
            gone_at: None,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The highest index of a stream that a digest has named.
pub fn highest_seen(connection: &Connection, stream: StreamId) -> Result<Option<u64>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT max(box_index) FROM fetches WHERE stream = ?1")?;
    Ok(statement.query_row([stream.0], |row| row.get::<_, Option<i64>>(0))?.map(i64::unsigned_abs))
}

/// Indices of a stream that have a row already.
pub fn known_indices(connection: &Connection, stream: StreamId) -> Result<Vec<u64>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT box_index FROM fetches WHERE stream = ?1")?;
    let rows = statement.query_map([stream.0], |row| Ok(row.get::<_, i64>(0)?.unsigned_abs()))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

const SELECT_STREAM: &str = "SELECT id, kind, contact, message, boxes, progress, number, base, created_ms,
     ended_ms, former FROM streams";

fn read_stream(row: &Row<'_>) -> rusqlite::Result<Stream> {
    let code: i64 = row.get(1)?;
    Ok(Stream {
        id: StreamId(row.get(0)?),
        kind: StreamKind::from_code(code).ok_or(rusqlite::Error::IntegralValueOutOfRange(1, code))?,
        contact: row.get::<_, Option<i64>>(2)?.map(ContactId::new),
        message: row.get::<_, Option<i64>>(3)?.map(MessageId),
        boxes: row.get::<_, Option<i64>>(4)?.map(i64::unsigned_abs),
        progress: row.get::<_, i64>(5)?.unsigned_abs(),
        number: row.get(6)?,
        base: row.get::<_, i64>(7)?.unsigned_abs(),
        created: time(row, 8)?,
        ended: optional_time(row, 9)?,
        former: row.get(10)?,
    })
}

fn cap_bytes(connection: &Connection, sql: &str, id: StreamId) -> Result<zeroize::Zeroizing<Vec<u8>>, StoreError> {
    let bytes: Option<Option<Vec<u8>>> =
        connection.prepare_cached(sql)?.query_row([id.0], |row| row.get(0)).optional()?;
    bytes.flatten().map(zeroize::Zeroizing::new).ok_or(StoreError::Missing("stream"))
}

pub(super) fn optional_time(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Timestamp>> {
    match row.get::<_, Option<i64>>(column)? {
        Some(_) => time(row, column).map(Some),
        None => Ok(None),
    }
}

fn whole_millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

pub(super) fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
