//! Who we are: one row. Made by `signal::create_account`.

use super::StoreError;
use rusqlite::{Connection, OptionalExtension as _};
use veilpost_packet::{ids::NetworkId, time::Timestamp};
use zeroize::Zeroizing;

/// The account without its secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The profile name that contacts are told.
    pub name: String,
    /// The network this account lives on.
    pub network: NetworkId,
    /// libsignal's number for this installation, 14 bits.
    pub registration_id: u32,
    /// When it was made.
    pub created: Timestamp,
}

/// The account.
///
/// # Errors
/// [`StoreError::Missing`] before `init` has finished.
pub fn load(connection: &Connection) -> Result<Account, StoreError> {
    let mut statement =
        connection.prepare_cached("SELECT name, network_id, registration_id, created_ms FROM account WHERE id = 1")?;
    let row = statement.query_row([], |row| {
        Ok(Account {
            name: row.get(0)?,
            network: NetworkId(row.get(1)?),
            registration_id: row.get(2)?,
            created: super::contacts::time(row, 3)?,
        })
    });
    row.optional()?.ok_or(StoreError::Missing("account"))
}

/// Whether there is an account.
///
/// # Errors
/// The database's.
pub fn exists(connection: &Connection) -> Result<bool, StoreError> {
    Ok(connection.query_row("SELECT EXISTS (SELECT 1 FROM account)", [], |row| row.get(0))?)
}

/// Changes the profile name; contacts learn it from the next profile message.
///
/// # Errors
/// The database's.
pub fn rename(connection: &Connection, name: &str) -> Result<(), StoreError> {
    connection.prepare_cached("UPDATE account SET name = ?1")?.execute([name])?;
    Ok(())
}

/// What [`insert`] writes.
pub(crate) struct NewAccount<'a> {
    pub(crate) identity: &'a [u8],
    pub(crate) registration_id: u32,
    pub(crate) certificate: &'a [u8],
    pub(crate) certificate_expires: Timestamp,
    pub(crate) name: &'a str,
    pub(crate) network: NetworkId,
    pub(crate) created: Timestamp,
}

/// Writes the row; there must be none.
pub(crate) fn insert(connection: &Connection, new: &NewAccount<'_>) -> Result<(), StoreError> {
    connection.execute(
        "INSERT INTO account (id, identity, registration_id, certificate, certificate_expires_ms, name, network_id,
         created_ms) VALUES (1, ?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        (
            new.identity,
            new.registration_id,
            new.certificate,
            super::contacts::millis(new.certificate_expires),
            new.name,
            new.network.as_bytes(),
            super::contacts::millis(new.created),
        ),
    )?;
    Ok(())
}

/// libsignal's serialized identity key pair. Secret.
pub(crate) fn identity(connection: &Connection) -> Result<Zeroizing<Vec<u8>>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT identity FROM account WHERE id = 1")?;
    let row: Option<Vec<u8>> = statement.query_row([], |row| row.get(0)).optional()?;
    row.map(Zeroizing::new).ok_or(StoreError::Missing("account"))
}

/// The certificate and when it expires.
pub(crate) fn certificate(connection: &Connection) -> Result<(Vec<u8>, Timestamp), StoreError> {
    let mut statement =
        connection.prepare_cached("SELECT certificate, certificate_expires_ms FROM account WHERE id = 1")?;
    let row = statement.query_row([], |row| Ok((row.get(0)?, super::contacts::time(row, 1)?)));
    row.optional()?.ok_or(StoreError::Missing("account"))
}

/// Replaces the certificate.
pub(crate) fn set_certificate(
    connection: &Connection,
    certificate: &[u8],
    expires: Timestamp,
) -> Result<(), StoreError> {
    connection
        .prepare_cached("UPDATE account SET certificate = ?1, certificate_expires_ms = ?2")?
        .execute((certificate, super::contacts::millis(expires)))?;
    Ok(())
}
