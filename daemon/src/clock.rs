//! Network time for daemons.

use std::time::{Duration, Instant, SystemTime};
use veilpost_packet::time::Timestamp;

/// Wall clock at start plus monotonic time since: never backwards, and deaf to later jumps of the wall clock, which would
/// send delayed packets early or keep them for hours. A daemon whose wall clock was wrong at start must be restarted.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    wall: Timestamp,
    started: Instant,
}

impl Clock {
    /// Reads the wall clock once.
    pub fn start() -> Self {
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self { wall: Timestamp::ZERO + wall, started: Instant::now() }
    }

    /// Now.
    pub fn now(&self) -> Timestamp {
        self.wall + self.started.elapsed()
    }

    /// How long until `moment`; zero if it has passed.
    pub fn until(&self, moment: Timestamp) -> Duration {
        moment.since(self.now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_does_not_run_backwards_and_is_of_this_century() {
        let clock = Clock::start();
        let first = clock.now();
        assert!(clock.now() >= first);
        assert!(first.as_secs() > 1_700_000_000);
        assert_eq!(clock.until(first), Duration::ZERO);
        assert!(clock.until(first + Duration::from_secs(60)) > Duration::from_secs(10));
    }
}
