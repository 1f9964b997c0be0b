//! The database's formats, oldest first. `user_version` counts the ones that were applied; a shipped file never changes.

use super::StoreError;
use rusqlite::Connection;

/// SQL of each format, in order.
const MIGRATIONS: &[&str] = &[
    include_str!("migrations/0001_account.sql"),
    include_str!("migrations/0002_streams.sql"),
    include_str!("migrations/0003_chains.sql"),
    include_str!("migrations/0004_renewals.sql"),
    include_str!("migrations/0005_audits.sql"),
    include_str!("migrations/0006_beacons.sql"),
    include_str!("migrations/0007_sets.sql"),
    include_str!("migrations/0008_successors.sql"),
    include_str!("migrations/0009_restarts.sql"),
    include_str!("migrations/0010_online.sql"),
];

/// Brings the database to the newest format, each step in a transaction of its own.
///
/// # Errors
/// [`StoreError::TooNew`] for a database of a later release, which is left as it is.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    let known = u32::try_from(MIGRATIONS.len()).unwrap_or(u32::MAX);
    let found: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if found > known {
        return Err(StoreError::TooNew { found, known });
    }
    for (version, sql) in (1u32..).zip(MIGRATIONS).filter(|(version, _)| *version > found) {
        let step = connection.transaction()?;
        step.execute_batch(sql)?;
        step.pragma_update(None, "user_version", version)?;
        step.commit()?;
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn migrating_twice_changes_nothing() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection).unwrap();
        migrate(&mut connection).unwrap();
        let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
        assert_eq!(usize::try_from(version).unwrap(), MIGRATIONS.len());
    }

    #[test]
    fn where_ratchets_turned_and_what_was_waited_for_moves_from_streams_to_contacts() {
        let mut connection = Connection::open_in_memory().unwrap();
        for sql in MIGRATIONS.iter().take(6) {
            connection.execute_batch(sql).unwrap();
        }
        connection.pragma_update(None, "user_version", 6).unwrap();
        connection
            .execute_batch(
                "INSERT INTO contacts (id, name, state, created_ms) VALUES (3, 'Bob', 2, 77);
                 INSERT INTO streams (id, kind, contact, progress) VALUES (5, 1, 3, 9), (6, 0, 3, 0), (7, 4, NULL, 0);
                 INSERT INTO chains (stream, box_index) VALUES (5, 4), (5, 8);",
            )
            .unwrap();
        migrate(&mut connection).unwrap();
        let one = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
        assert_eq!(one("SELECT waited FROM contacts"), 9);
        assert_eq!(one("SELECT sum(position) FROM beginnings WHERE contact = 3"), 12);
        assert_eq!(one("SELECT count(*) FROM streams WHERE created_ms = 77 AND number = 0 AND base = 0"), 2);
        assert_eq!(one("SELECT created_ms FROM streams WHERE id = 7"), 0);
    }

    #[test]
    fn what_waited_before_there_was_a_clock_of_time_online_waits_from_its_beginning_on() {
        let mut connection = Connection::open_in_memory().unwrap();
        for sql in MIGRATIONS.iter().take(9) {
            connection.execute_batch(sql).unwrap();
        }
        connection.pragma_update(None, "user_version", 9).unwrap();
        connection
            .execute_batch(
                "INSERT INTO streams (id, kind) VALUES (5, 1);
                 INSERT INTO fetches (stream, box_index, box_id, ack_secret, seen_ms, done, content)
                     VALUES (5, 4, zeroblob(32), zeroblob(32), 77, 1, x'00');",
            )
            .unwrap();
        migrate(&mut connection).unwrap();
        let one = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
        assert_eq!(one("SELECT kept_ms FROM fetches WHERE seen_ms = 77 AND content IS NOT NULL"), 0);
    }

    #[test]
    fn a_database_of_a_newer_release_is_refused() {
        let mut connection = Connection::open_in_memory().unwrap();
        connection.pragma_update(None, "user_version", 9_999).unwrap();
        assert!(matches!(migrate(&mut connection), Err(StoreError::TooNew { found: 9_999, .. })));
    }
}
