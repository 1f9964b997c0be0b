//! The two things that only the operating system can give.

use super::error::CliError;
use rand::TryRngCore as _;
use std::time::{SystemTime, UNIX_EPOCH};
use veilpost_packet::{
    random::{self, EngineRng},
    time::Timestamp,
};

/// A generator seeded by the system.
pub(super) fn rng() -> Result<EngineRng, CliError> {
    let mut seed = [0; 32];
    let told = |_| CliError::refused("the operating system gives no randomness; this machine cannot be used");
    rand::rngs::OsRng.try_fill_bytes(&mut seed).map_err(told)?;
    Ok(random::seeded(seed))
}

/// The system's clock; the epoch if it is set before it.
pub(super) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_nanos(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}
