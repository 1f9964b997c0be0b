//! Boxes that are looked up after a mailbox has signed for them, and the words that mailboxes have broken.

use super::{
    StoreError,
    contacts::{millis, time},
    outbox::OutboxId,
};
use rusqlite::{Connection, OptionalExtension as _};
use veilpost_packet::{
    boxes::{ContentHash, SealedBox},
    ids::{BoxId, NodeId},
    time::Timestamp,
};

/// Broken words that are kept at most; beyond it the oldest goes.
pub const FAULTS_MAX: u32 = 256;

/// A look-up that is planned or under way.
#[derive(Clone, Debug)]
pub struct Audit {
    /// The box.
    pub sealed: SealedBox,
    /// Who is asked: it has signed that it has the box.
    pub holder: NodeId,
    /// When it is asked next, or, after the last time, when no answer is waited for any more.
    pub due: Timestamp,
    /// How often it was asked.
    pub tries: u32,
    /// Nobody can have acknowledged the box.
    pub strict: bool,
}

/// How a mailbox broke its word.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Fault {
    /// It does not have the box.
    Lost = 0,
    /// It says that the box was acknowledged, which nobody did.
    SaidGone = 1,
    /// It hands out other bytes.
    OtherBytes = 2,
    /// It does not answer.
    Silent = 3,
}

impl Fault {
    fn from_code(code: i64) -> Option<Self> {
        [Self::Lost, Self::SaidGone, Self::OtherBytes, Self::Silent].into_iter().find(|fault| *fault as i64 == code)
    }
}

/// Plans a look-up, or keeps how far it is.
pub fn set(connection: &Connection, id: OutboxId, audit: &Audit) -> Result<(), StoreError> {
    let mut statement = connection.prepare_cached(
        "UPDATE outbox SET audit_ms = ?2, audit_holder = ?3, audit_tries = ?4, audit_strict = ?5 WHERE id = ?1",
    )?;
    statement.execute((id.0, millis(audit.due), audit.holder.as_bytes(), audit.tries, audit.strict))?;
    Ok(())
}

/// All look-ups that are planned or under way.
pub fn all(connection: &Connection) -> Result<Vec<(OutboxId, Audit)>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT id, sealed, audit_holder, audit_ms, audit_tries, audit_strict FROM outbox WHERE audit_ms IS NOT NULL",
    )?;
    let rows = statement.query_map([], |row| {
        let bytes: Vec<u8> = row.get(1)?;
        let audit = Audit {
            sealed: SealedBox::from_bytes(&bytes).map_err(|_| rusqlite::Error::InvalidQuery)?,
            holder: NodeId(row.get(2)?),
            due: time(row, 3)?,
            tries: row.get(4)?,
            strict: row.get(5)?,
        };
        Ok((OutboxId(row.get(0)?), audit))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// True for a decoy that is never acknowledged.
pub fn is_unacked(connection: &Connection, id: OutboxId) -> Result<bool, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT f.unacked FROM fetches f JOIN outbox o ON o.stream = f.stream AND o.box_index = f.box_index WHERE o.id = ?1",
    )?;
    Ok(statement.query_row([id.0], |row| row.get(0)).optional()?.unwrap_or(false))
}

/// Keeps a broken word with the signatures that prove what was promised.
pub fn push_fault(
    connection: &Connection,
    fault: Fault,
    now: Timestamp,
    audit: &Audit,
    content: &ContentHash,
    receipt: &[u8],
) -> Result<(), StoreError> {
    let mut insert = connection.prepare_cached(
        "INSERT INTO faults (mailbox, what, at_ms, box_id, content, receipt) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    let id: &BoxId = &audit.sealed.id;
    insert.execute((audit.holder.as_bytes(), fault as i64, millis(now), id.as_bytes(), content.0, receipt))?;
    let mut remove = connection
        .prepare_cached("DELETE FROM faults WHERE id NOT IN (SELECT id FROM faults ORDER BY id DESC LIMIT ?1)")?;
    remove.execute([FAULTS_MAX])?;
    Ok(())
}

/// Words that were broken since `time`: whose, how, and how often.
pub fn faults_since(connection: &Connection, time: Timestamp) -> Result<Vec<(NodeId, Fault, u64)>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT mailbox, what, count(*) FROM faults WHERE at_ms >= ?1 GROUP BY mailbox, what ORDER BY mailbox, what",
    )?;
    let rows = statement.query_map([millis(time)], |row| {
        let code = row.get(1)?;
        let fault = Fault::from_code(code).ok_or(rusqlite::Error::IntegralValueOutOfRange(1, code))?;
        Ok((NodeId(row.get(0)?), fault, row.get::<_, i64>(2)?.unsigned_abs()))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}
