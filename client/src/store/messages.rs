//! The history: one row for every message that a person sees.

use super::{
    StoreError,
    contacts::{ContactId, millis, time},
    files::FileId,
    streams::number,
};
pub use crate::content::Uuid;
use rusqlite::{Connection, OptionalExtension as _, Row};
use veilpost_packet::time::Timestamp;

/// A message's number on this device, as people type it. Counts up, is never reused and means nothing elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(pub i64);

/// Who wrote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// The contact.
    In,
    /// We.
    Out,
}

/// Where a message is. Only what is proven: each state names its proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Out: on this device's disk, not yet on a mailbox.
    Queued,
    /// Out: every box of it is on as many mailboxes as the network asks for, which signed for it.
    Stored,
    /// Out: the recipient's device sent a receipt.
    Delivered,
    /// In: a file whose bytes are still coming.
    Receiving,
    /// In: here, whole and checked.
    Received,
    /// Out or in: given up; the row's reason says why.
    Failed,
}

/// What it is, as far as a list shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Text.
    Text,
    /// A file.
    File,
    /// A content type that this release does not know; kept whole in `body`.
    Other,
}

/// A message to be written.
#[derive(Debug, Clone)]
pub struct NewMessage {
    /// Its id between the two people.
    pub uuid: Uuid,
    /// With whom.
    pub contact: ContactId,
    /// Who wrote it.
    pub direction: Direction,
    /// Where it is.
    pub state: State,
    /// What it is.
    pub kind: Kind,
    /// Its media type; for a file, the file's.
    pub media_type: String,
    /// The text of a text.
    pub text: Option<String>,
    /// The name of a file.
    pub name: Option<String>,
    /// The size of a file, bytes.
    pub size: Option<u64>,
    /// Encoded content that is kept for later: an unknown type's bytes; of a file of ours, until it is delivered or given up,
    /// the message that brings its manifest.
    pub body: Option<Vec<u8>>,
    /// Where a file's bytes are.
    pub file: Option<FileId>,
    /// When it was written (out) or received (in).
    pub at: Timestamp,
}

/// A message as it is in the history.
#[derive(Debug, Clone)]
pub struct StoredMessage {
    /// Its number here.
    pub id: MessageId,
    /// All that was written.
    pub message: NewMessage,
    /// Why it failed, in words for a person.
    pub reason: Option<String>,
}

/// Writes a message. `None` if this contact's message of this id and direction is there already: a repeat.
///
/// # Errors
/// The database's.
pub fn insert(connection: &Connection, new: &NewMessage) -> Result<Option<MessageId>, StoreError> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO messages (uuid, contact, direction, state, kind, media_type, text, name, size, body, file, at_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12) ON CONFLICT (contact, direction, uuid) DO NOTHING",
    )?;
    let rows = statement.execute((
        new.uuid.0,
        new.contact.get(),
        new.direction.code(),
        new.state.code(),
        new.kind.code(),
        &new.media_type,
        &new.text,
        &new.name,
        new.size.map(|size| i64::try_from(size).unwrap_or(i64::MAX)),
        &new.body,
        new.file.map(FileId::get),
        millis(new.at),
    ))?;
    Ok((rows == 1).then(|| MessageId(connection.last_insert_rowid())))
}

/// The message of this number.
///
/// # Errors
/// [`StoreError::Missing`].
pub fn by_id(connection: &Connection, id: MessageId) -> Result<StoredMessage, StoreError> {
    let mut statement = connection.prepare_cached(&format!("{SELECT} WHERE id = ?1"))?;
    statement.query_row([id.0], read).optional()?.ok_or(StoreError::Missing("message"))
}

/// The message that this contact and direction have under this id.
///
/// # Errors
/// The database's.
pub fn by_uuid(
    connection: &Connection,
    contact: ContactId,
    direction: Direction,
    uuid: Uuid,
) -> Result<Option<StoredMessage>, StoreError> {
    let mut statement =
        connection.prepare_cached(&format!("{SELECT} WHERE contact = ?1 AND direction = ?2 AND uuid = ?3"))?;
    Ok(statement.query_row((contact.get(), direction.code(), uuid.0), read).optional()?)
}

/// Keeps at which of the pair's positions a message of a contact came.
///
/// # Errors
/// The database's.
pub fn set_position(connection: &Connection, contact: ContactId, uuid: Uuid, position: u64) -> Result<(), StoreError> {
    let mut statement = connection
        .prepare_cached("UPDATE messages SET position = ?4 WHERE contact = ?1 AND direction = ?2 AND uuid = ?3")?;
    statement.execute((contact.get(), Direction::In.code(), uuid.0, number(position)))?;
    Ok(())
}

/// The message of a contact that came at a position before `time`, if it is whole.
///
/// # Errors
/// The database's.
pub fn whole_at(
    connection: &Connection,
    contact: ContactId,
    position: u64,
    time: Timestamp,
) -> Result<Option<Uuid>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT uuid FROM messages WHERE contact = ?1 AND position = ?2 AND direction = ?3 AND state = ?4
         AND at_ms < ?5 ORDER BY id DESC LIMIT 1",
    )?;
    let of = (contact.get(), number(position), Direction::In.code(), State::Received.code(), millis(time));
    Ok(statement.query_row(of, |row| row.get(0).map(Uuid)).optional()?)
}

/// Messages with a number above `after`, oldest first, at most `limit`.
///
/// # Errors
/// The database's.
pub fn list(connection: &Connection, after: Option<MessageId>, limit: u32) -> Result<Vec<StoredMessage>, StoreError> {
    let mut statement = connection.prepare_cached(&format!("{SELECT} WHERE id > ?1 ORDER BY id LIMIT ?2"))?;
    let rows = statement.query_map((after.map_or(0, |id| id.0), limit), read)?;
    rows.map(|row| row.map_err(StoreError::from)).collect()
}

/// Our messages to a contact that it has not confirmed, oldest first.
///
/// # Errors
/// The database's.
pub fn unconfirmed(connection: &Connection, contact: ContactId) -> Result<Vec<MessageId>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT id FROM messages WHERE contact = ?1 AND direction = 1 AND state IN (0, 1) ORDER BY id",
    )?;
    let rows = statement.query_map([contact.get()], |row| row.get(0).map(MessageId))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// How many of our messages are not yet on a mailbox.
///
/// # Errors
/// The database's.
pub fn queued(connection: &Connection) -> Result<u64, StoreError> {
    let mut statement =
        connection.prepare_cached("SELECT count(*) FROM messages WHERE direction = ?1 AND state = ?2")?;
    let count: i64 = statement.query_row((Direction::Out.code(), State::Queued.code()), |row| row.get(0))?;
    Ok(count.unsigned_abs())
}

/// Moves a message to `state` if that is a step forward, and says whether it was: a late `Stored` never hides a
/// `Delivered`, and nothing comes back from `Failed` but a receipt, which proves that it was wrong.
///
/// # Errors
/// [`StoreError::Missing`].
pub fn advance(connection: &Connection, id: MessageId, state: State, reason: Option<&str>) -> Result<bool, StoreError> {
    let current = by_id(connection, id)?.message.state;
    if !current.may_become(state) {
        return Ok(false);
    }
    connection.prepare_cached("UPDATE messages SET state = ?2, reason = ?3 WHERE id = ?1")?.execute((
        id.0,
        state.code(),
        reason,
    ))?;
    if matches!(state, State::Delivered | State::Failed) {
        // With it goes the root of the stream of a file.
        connection
            .prepare_cached("UPDATE messages SET body = NULL WHERE id = ?1 AND direction = 1")?
            .execute([id.0])?;
    }
    Ok(true)
}

impl State {
    fn may_become(self, next: State) -> bool {
        use State::{Delivered, Failed, Queued, Received, Receiving, Stored};
        matches!(
            (self, next),
            (Queued, Stored | Delivered | Failed)
                | (Stored, Delivered | Failed)
                | (Receiving, Received | Failed)
                | (Failed, Delivered)
        )
    }
}

macro_rules! coded {
    ($name:ident { $($variant:ident = $code:literal),+ }) => {
        impl $name {
            fn code(self) -> i64 {
                match self { $(Self::$variant => $code),+ }
            }

            fn from_code(code: i64) -> Option<Self> {
                match code { $($code => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}

coded!(Direction { In = 0, Out = 1 });
coded!(State { Queued = 0, Stored = 1, Delivered = 2, Receiving = 3, Received = 4, Failed = 5 });
coded!(Kind { Text = 0, File = 1, Other = 2 });

const SELECT: &str =
    "SELECT id, uuid, contact, direction, state, kind, media_type, text, name, size, body, file, at_ms,
     reason FROM messages";

fn read(row: &Row<'_>) -> rusqlite::Result<StoredMessage> {
    fn coded<T>(row: &Row<'_>, column: usize, from: fn(i64) -> Option<T>) -> rusqlite::Result<T> {
        let code: i64 = row.get(column)?;
        from(code).ok_or(rusqlite::Error::IntegralValueOutOfRange(column, code))
    }
    Ok(StoredMessage {
        id: MessageId(row.get(0)?),
        message: NewMessage {
            uuid: Uuid(row.get(1)?),
            contact: ContactId::new(row.get(2)?),
            direction: coded(row, 3, Direction::from_code)?,
            state: coded(row, 4, State::from_code)?,
            kind: coded(row, 5, Kind::from_code)?,
            media_type: row.get(6)?,
            text: row.get(7)?,
            name: row.get(8)?,
            size: row.get::<_, Option<i64>>(9)?.map(i64::unsigned_abs),
            body: row.get(10)?,
            file: row.get::<_, Option<i64>>(11)?.map(FileId::new),
            at: time(row, 12)?,
        },
        reason: row.get(13)?,
    })
}
