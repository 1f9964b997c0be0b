//! Network time on a person's machine, which sleeps and whose clock is set now and then.

use std::time::{Instant, SystemTime, UNIX_EPOCH};
use veilpost_packet::time::Timestamp;

/// Follows the wall clock forwards (a laptop that slept must notice) and never goes back: while the wall clock stands behind
/// what was given out, time goes on at the pace of the monotonic clock.
#[derive(Debug)]
pub(super) struct Clock {
    last: Timestamp,
    read: Instant,
}

impl Clock {
    /// Starts at the wall clock.
    pub(super) fn start() -> Self {
        Self { last: wall(), read: instant() }
    }

    /// Now.
    pub(super) fn now(&mut self) -> Timestamp {
        let read = instant();
        self.last = (self.last + read.saturating_duration_since(self.read)).max(wall());
        self.read = read;
        self.last
    }
}

fn wall() -> Timestamp {
    Timestamp::ZERO + SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn instant() -> Instant {
    Instant::now()
}
