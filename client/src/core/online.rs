//! Time online: what waits for boxes waits while they can come.
//!
//! Hits, Gets and boxes that are sent again need a connection. By the clock on the wall the wait of somebody who is online for
//! some minutes a day is over each morning, before anything of what it was for can have come.

use super::{Core, CoreError};
use crate::store::{StoreError, meta};
use rusqlite::Connection;
use std::time::Duration;
use veilpost_packet::time::Timestamp;
use veilpost_pki::Params;

/// What passes between two looks at the clock counts up to this: more is a computer that slept.
const STEP_MAX: Duration = Duration::from_secs(60);
/// How much of it a process that is killed may lose.
const SAVED_EVERY: Duration = Duration::from_secs(60);
/// Its name among the store's single values.
const CLOCK: &str = "online.clock";

/// How long this account has been connected, all processes together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct OnlineClock {
    total: Duration,
    saved: Duration,
    /// The last look at it, while connected.
    last: Option<Timestamp>,
}

impl OnlineClock {
    /// As an earlier process left it.
    pub(super) fn load(connection: &Connection) -> Result<Self, StoreError> {
        let millis = match meta::get(connection, CLOCK)? {
            Some(bytes) => {
                u64::from_be_bytes(bytes.try_into().map_err(|_| StoreError::InvalidRow("clock of time online"))?)
            }
            None => 0,
        };
        let total = Duration::from_millis(millis);
        Ok(Self { total, saved: total, last: None })
    }

    /// So long after its beginning.
    #[cfg(test)]
    pub(super) fn at(total: Duration) -> Self {
        Self { total, saved: total, last: None }
    }

    pub(super) fn total(&self) -> Duration {
        self.total
    }

    /// A look at the clock while connected.
    fn advance(&mut self, now: Timestamp) {
        if let Some(last) = self.last.replace(now) {
            self.total = self.total.saturating_add(now.since(last).min(STEP_MAX));
        }
    }

    /// The link is down.
    pub(super) fn stop(&mut self) {
        self.last = None;
    }

    /// What is to be kept, if it is time to.
    fn unsaved(&self, params: &Params) -> Option<Duration> {
        (self.total.saturating_sub(self.saved) >= params.hurry(SAVED_EVERY)).then_some(self.total)
    }
}

impl Core {
    /// Lets the clock go on while the link is up.
    pub(super) fn count_online(&mut self, now: Timestamp) {
        if self.connection.as_ref().is_some_and(|connection| connection.clocks.is_some()) {
            self.online.advance(now);
        } else {
            self.online.stop();
        }
    }

    /// Keeps it on disk, not more often than needed.
    pub(super) fn save_online(&mut self, params: &Params) -> Result<(), CoreError> {
        let Some(total) = self.online.unsaved(params) else { return Ok(()) };
        let millis = u64::try_from(total.as_millis()).unwrap_or(u64::MAX);
        self.store.transaction(|tx| meta::set(tx, CLOCK, &millis.to_be_bytes()))?;
        self.online.saved = total;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_secs(1_000_000);

    #[test]
    fn a_step_counts_up_to_a_minute_and_time_without_a_link_not_at_all() {
        let mut clock = OnlineClock::default();
        clock.advance(START);
        clock.advance(START + Duration::from_secs(10));
        assert_eq!(clock.total(), Duration::from_secs(10));
        clock.advance(START + Duration::from_secs(70));
        assert_eq!(clock.total(), Duration::from_secs(70), "a minute is no sleep");
        clock.advance(START + Duration::from_secs(30_000));
        assert_eq!(clock.total(), Duration::from_secs(130), "a night is");
        clock.stop();
        clock.advance(START + Duration::from_secs(30_050));
        assert_eq!(clock.total(), Duration::from_secs(130));
        // A clock that was set back.
        clock.advance(START);
        clock.advance(START + Duration::from_secs(1));
        assert_eq!(clock.total(), Duration::from_secs(131));
    }

    #[test]
    fn it_is_kept_once_a_minute_and_hurries_with_the_network() {
        let (mut clock, mut params) = (OnlineClock::default(), Params::standard());
        clock.advance(START);
        clock.advance(START + Duration::from_secs(59));
        assert_eq!(clock.unsaved(&params), None);
        params.hurry = 2;
        assert_eq!(clock.unsaved(&params), Some(Duration::from_secs(59)));
        params.hurry = 1;
        clock.advance(START + Duration::from_secs(60));
        assert_eq!(clock.unsaved(&params), Some(Duration::from_secs(60)));
    }
}
