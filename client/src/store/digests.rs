//! The digests of the last day, for streams that become known after their boxes were named.

use super::StoreError;
use rusqlite::Connection;
use veilpost_packet::{
    boxes::BoxTag,
    digest::{Digest, DigestHash},
    geometry::DIGEST_TAG,
    ids::NodeId,
    time::Tick,
};

/// Keeps a digest.
pub fn insert(connection: &Connection, digest: &Digest, hash: DigestHash) -> Result<(), StoreError> {
    let tags: Vec<u8> = digest.tags.iter().flat_map(|tag| tag.0).collect();
    let mut statement = connection.prepare_cached(
        "INSERT INTO digests (mailbox, tick, hash, previous, tags) VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING",
    )?;
    statement.execute((digest.mailbox.as_bytes(), digest.tick.0, hash.0, digest.previous.0, tags))?;
    Ok(())
}

/// Forgets digests older than `oldest`, except the newest of each mailbox: it says since when its client was away.
pub fn remove_before(connection: &Connection, oldest: Tick) -> Result<(), StoreError> {
    let mut statement = connection.prepare_cached(
        "DELETE FROM digests WHERE tick < ?1
         AND tick < (SELECT max(newest.tick) FROM digests newest WHERE newest.mailbox = digests.mailbox)",
    )?;
    statement.execute([oldest.0])?;
    Ok(())
}

/// A digest that is kept, without its tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeptDigest {
    /// Whose.
    pub mailbox: NodeId,
    /// Its number.
    pub tick: Tick,
    /// Its hash.
    pub hash: DigestHash,
    /// The hash of the one before it.
    pub previous: DigestHash,
}

/// All digests, by mailbox and then by tick.
pub fn chains(connection: &Connection) -> Result<Vec<KeptDigest>, StoreError> {
    let mut statement =
        connection.prepare_cached("SELECT mailbox, tick, hash, previous FROM digests ORDER BY mailbox, tick")?;
    let rows = statement.query_map([], |row| {
        Ok(KeptDigest {
            mailbox: NodeId(row.get(0)?),
            tick: Tick(row.get(1)?),
            hash: DigestHash(row.get(2)?),
            previous: DigestHash(row.get(3)?),
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// All tags with their mailboxes and ticks.
pub fn tags(connection: &Connection) -> Result<Vec<(NodeId, Tick, BoxTag)>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT mailbox, tick, tags FROM digests WHERE length(tags) > 0")?;
    let rows =
        statement.query_map([], |row| Ok((NodeId(row.get(0)?), Tick(row.get(1)?), row.get::<_, Vec<u8>>(2)?)))?;
    let mut all = Vec::new();
    for row in rows {
        let (mailbox, tick, bytes) = row?;
        all.extend(bytes.as_chunks::<DIGEST_TAG>().0.iter().map(|tag| (mailbox, tick, BoxTag(*tag))));
    }
    Ok(all)
}
