//! Sets that are still to come after an absence, so that the next process asks for them too.

use super::StoreError;
use rusqlite::Connection;
use veilpost_packet::{ids::NodeId, set::Period};

/// Keeps what is wanted, in place of what was.
pub fn replace(connection: &Connection, wanted: &[(NodeId, Period)]) -> Result<(), StoreError> {
    connection.prepare_cached("DELETE FROM wanted_sets")?.execute([])?;
    let mut statement =
        connection.prepare_cached("INSERT INTO wanted_sets (mailbox, kind, number) VALUES (?1, ?2, ?3)")?;
    for (mailbox, period) in wanted {
        let kind = if matches!(period, Period::Hour(_)) { 1 } else { 2 };
        statement.execute((mailbox.as_bytes(), kind, period.number()))?;
    }
    Ok(())
}

/// What is wanted.
pub fn all(connection: &Connection) -> Result<Vec<(NodeId, Period)>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT mailbox, kind, number FROM wanted_sets")?;
    let rows = statement.query_map([], |row| {
        let number = row.get(2)?;
        let period = if row.get::<_, u8>(1)? == 1 { Period::Hour(number) } else { Period::Day(number) };
        Ok((NodeId(row.get(0)?), period))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}
