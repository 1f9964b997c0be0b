//! The people one writes to.

use super::StoreError;
use rusqlite::{Connection, OptionalExtension as _, Row};
use veilpost_packet::time::Timestamp;

/// Our own number for a contact: never from the wire, never reused, and the local address of the session.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContactId(i64);

impl ContactId {
    /// From a number that [`ContactId::get`] gave, for the core's own tables.
    pub const fn new(id: i64) -> Self {
        Self(id)
    }

    /// The number.
    pub const fn get(self) -> i64 {
        self.0
    }
}

impl std::fmt::Debug for ContactId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ContactId(..)")
    }
}

/// The public half of a person's identity key (X25519, 32 bytes), as pinned when the contact was made.
///
/// Tells something about a person: `Debug` shows nothing of it and there is no `Display`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerIdentity(pub [u8; 32]);

impl PeerIdentity {
    /// The bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl std::fmt::Debug for PeerIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PeerIdentity(..)")
    }
}

/// How far the making of a contact has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContactState {
    /// We made an invitation and nobody has answered it yet.
    Invited,
    /// We opened an invitation and sent our answer; its maker has not written yet.
    Answered,
    /// Both ends have each other's streams.
    Established,
    /// The invitation expired, was used by someone else, or could not be opened.
    Failed,
}

impl ContactState {
    fn code(self) -> i64 {
        match self {
            Self::Invited => 0,
            Self::Answered => 1,
            Self::Established => 2,
            Self::Failed => 3,
        }
    }

    fn from_code(code: i64) -> Option<Self> {
        Some(match code {
            0 => Self::Invited,
            1 => Self::Answered,
            2 => Self::Established,
            3 => Self::Failed,
            _ => return None,
        })
    }
}

/// A contact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contact {
    /// Our number for it.
    pub id: ContactId,
    /// Our name for it, unique without regard to ASCII case.
    pub name: String,
    /// Its identity, once pinned.
    pub identity: Option<PeerIdentity>,
    /// Whether a person compared safety numbers.
    pub verified: bool,
    /// How far its making has come.
    pub state: ContactState,
    /// When it was made.
    pub created: Timestamp,
}

/// Longest contact name, in bytes.
pub const MAX_NAME: usize = 64;

/// Makes a contact without an identity.
///
/// # Errors
/// [`StoreError::NameTaken`].
pub fn create(
    connection: &Connection,
    name: &str,
    state: ContactState,
    now: Timestamp,
) -> Result<ContactId, StoreError> {
    let mut statement =
        connection.prepare_cached("INSERT INTO contacts (name, state, created_ms) VALUES (?1, ?2, ?3)")?;
    statement.insert((name, state.code(), millis(now))).map(ContactId).map_err(name_taken)
}

/// A name that is still free: `wish` itself, or `wish 2`, `wish 3`, ….
///
/// # Errors
/// The database's, and [`StoreError::NameTaken`] when a thousand are taken.
pub fn free_name(connection: &Connection, wish: &str) -> Result<String, StoreError> {
    let names = std::iter::once(wish.to_owned()).chain((2..1_000).map(|number| format!("{wish} {number}")));
    for name in names {
        if by_name(connection, &name)?.is_none() {
            return Ok(name);
        }
    }
    Err(StoreError::NameTaken)
}

/// The contact of this name, without regard to ASCII case.
///
/// # Errors
/// The database's.
pub fn by_name(connection: &Connection, name: &str) -> Result<Option<Contact>, StoreError> {
    one(connection, &format!("{SELECT} WHERE name = ?1"), [name])
}

/// The contact of this number.
///
/// # Errors
/// [`StoreError::Missing`].
pub fn by_id(connection: &Connection, id: ContactId) -> Result<Contact, StoreError> {
    one(connection, &format!("{SELECT} WHERE id = ?1"), [id.0])?.ok_or(StoreError::Missing("contact"))
}

/// The oldest contact with this identity, to notice that an invitation comes from someone we know.
///
/// # Errors
/// The database's.
pub fn by_identity(connection: &Connection, identity: &PeerIdentity) -> Result<Option<Contact>, StoreError> {
    one(connection, &format!("{SELECT} WHERE peer_identity = ?1 ORDER BY id LIMIT 1"), [identity.as_bytes()])
}

/// All contacts, by name.
///
/// # Errors
/// The database's.
pub fn all(connection: &Connection) -> Result<Vec<Contact>, StoreError> {
    let mut statement = connection.prepare_cached(&format!("{SELECT} ORDER BY name"))?;
    let rows = statement.query_map([], read)?;
    rows.map(|row| row.map_err(StoreError::from)).collect()
}

/// Changes the state.
///
/// # Errors
/// [`StoreError::Missing`].
pub fn set_state(connection: &Connection, id: ContactId, state: ContactState) -> Result<(), StoreError> {
    changed(connection.prepare_cached("UPDATE contacts SET state = ?2 WHERE id = ?1")?.execute((id.0, state.code()))?)
}

/// Changes whether the contact counts as verified.
///
/// # Errors
/// [`StoreError::Missing`].
pub fn set_verified(connection: &Connection, id: ContactId, verified: bool) -> Result<(), StoreError> {
    changed(connection.prepare_cached("UPDATE contacts SET verified = ?2 WHERE id = ?1")?.execute((id.0, verified))?)
}

/// Changes the name.
///
/// # Errors
/// [`StoreError::NameTaken`], [`StoreError::Missing`].
pub fn rename(connection: &Connection, id: ContactId, name: &str) -> Result<(), StoreError> {
    let mut statement = connection.prepare_cached("UPDATE contacts SET name = ?2 WHERE id = ?1")?;
    changed(statement.execute((id.0, name)).map_err(name_taken)?)
}

/// Removes the contact with its sessions and history.
///
/// # Errors
/// The database's.
pub fn remove(connection: &Connection, id: ContactId) -> Result<(), StoreError> {
    connection.prepare_cached("DELETE FROM contacts WHERE id = ?1")?.execute([id.0])?;
    Ok(())
}

/// Pins the identity for good. True if it is now, or already was, this one; false, and nothing changed, if it is another.
pub(crate) fn pin(connection: &Connection, id: ContactId, identity: &PeerIdentity) -> Result<bool, StoreError> {
    connection
        .prepare_cached("UPDATE contacts SET peer_identity = ?2 WHERE id = ?1 AND peer_identity IS NULL")?
        .execute((id.0, identity.as_bytes()))?;
    Ok(by_id(connection, id)?.identity == Some(*identity))
}

/// Milliseconds as the database keeps them.
pub(crate) fn millis(time: Timestamp) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

/// A moment from a column of milliseconds.
pub(crate) fn time(row: &Row<'_>, column: usize) -> rusqlite::Result<Timestamp> {
    Ok(Timestamp::from_millis(u64::try_from(row.get::<_, i64>(column)?).unwrap_or(0)))
}

const SELECT: &str = "SELECT id, name, peer_identity, verified, state, created_ms FROM contacts";

fn one(connection: &Connection, sql: &str, of: impl rusqlite::Params) -> Result<Option<Contact>, StoreError> {
    Ok(connection.prepare_cached(sql)?.query_row(of, read).optional()?)
}

fn read(row: &Row<'_>) -> rusqlite::Result<Contact> {
    let code: i64 = row.get(4)?;
    Ok(Contact {
        id: ContactId(row.get(0)?),
        name: row.get(1)?,
        identity: row.get::<_, Option<[u8; 32]>>(2)?.map(PeerIdentity),
        verified: row.get(3)?,
        state: ContactState::from_code(code).ok_or(rusqlite::Error::IntegralValueOutOfRange(4, code))?,
        created: time(row, 5)?,
    })
}

fn changed(rows: usize) -> Result<(), StoreError> {
    if rows == 0 { Err(StoreError::Missing("contact")) } else { Ok(()) }
}

fn name_taken(error: rusqlite::Error) -> StoreError {
    match error.sqlite_extended_error_code() {
        Some(rusqlite::ffi::SQLITE_CONSTRAINT_UNIQUE) => StoreError::NameTaken,
        _ => error.into(),
    }
}
