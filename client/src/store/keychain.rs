//! The system keychain, as a place for one key of 32 bytes.

use super::{StoreError, key::Key};
use keyring::v1::{Entry, Error};
use zeroize::Zeroizing;

/// Stores `key` under (service, user), replacing what is there.
pub(super) fn put(service: &str, user: &str, key: &Key) -> Result<(), StoreError> {
    entry(service, user)?.set_secret(&key.0).map_err(unavailable)
}

/// Reads the key under (service, user).
pub(super) fn get(service: &str, user: &str) -> Result<Key, StoreError> {
    let secret = Zeroizing::new(entry(service, user)?.get_secret().map_err(unavailable)?);
    Ok(Key(secret.as_slice().try_into().map_err(|_| StoreError::KeychainEntryWrong)?))
}

fn entry(service: &str, user: &str) -> Result<Entry, StoreError> {
    Entry::new(service, user).map_err(unavailable)
}

/// A headless machine answers with all kinds of errors; only `NoEntry` proves that a keychain is there.
fn unavailable(error: Error) -> StoreError {
    match error {
        Error::NoEntry => StoreError::KeychainEntryMissing,
        _ => StoreError::NoKeychain,
    }
}
