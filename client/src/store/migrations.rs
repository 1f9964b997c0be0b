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
    include_str!("migrations/0008_successors.sql"),
    include_str!("migrations/0009_restarts.sql"),
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
    fn a_database_of_a_newer_release_is_refused() {
        let mut connection = Connection::open_in_memory().unwrap();
        connection.pragma_update(None, "user_version", 9_999).unwrap();
        assert!(matches!(migrate(&mut connection), Err(StoreError::TooNew { found: 9_999, .. })));
    }
}
