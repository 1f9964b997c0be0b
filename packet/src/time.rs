//! Network time. Engines never read a clock: a [`Timestamp`] comes in as an argument.

use std::{fmt, time::Duration};

/// A moment of network time: nanoseconds since the Unix epoch, good until the year 2554.
///
/// Daemons take it from a clock that never runs backwards; the simulation makes it up.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The Unix epoch.
    pub const ZERO: Timestamp = Timestamp(0);
    /// The end of representable time: "never".
    pub const FAR_FUTURE: Timestamp = Timestamp(u64::MAX);

    /// From nanoseconds since the Unix epoch.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// From milliseconds since the Unix epoch; saturates at [`Timestamp::FAR_FUTURE`].
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1_000_000))
    }

    /// From seconds since the Unix epoch; saturates at [`Timestamp::FAR_FUTURE`].
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1_000_000_000))
    }

    /// Nanoseconds since the Unix epoch.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Milliseconds since the Unix epoch, rounded down.
    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000_000
    }

    /// Seconds since the Unix epoch, rounded down.
    pub const fn as_secs(self) -> u64 {
        self.0 / 1_000_000_000
    }

    /// The time from `earlier` to `self`; zero if `earlier` is later.
    pub const fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// How many whole `period`s have passed since the Unix epoch. A zero period counts as one nanosecond.
    pub fn periods(self, period: Duration) -> u64 {
        self.0 / nanos(period).max(1)
    }
}

impl std::ops::Add<Duration> for Timestamp {
    type Output = Timestamp;
    /// Saturates at [`Timestamp::FAR_FUTURE`].
    fn add(self, after: Duration) -> Timestamp {
        Timestamp(self.0.saturating_add(nanos(after)))
    }
}

impl std::ops::Sub<Duration> for Timestamp {
    type Output = Timestamp;
    /// Saturates at [`Timestamp::ZERO`].
    fn sub(self, before: Duration) -> Timestamp {
        Timestamp(self.0.saturating_sub(nanos(before)))
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:09}s", self.0 / 1_000_000_000, self.0 % 1_000_000_000)
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Number of an epoch: counted from the network's genesis, whose epoch is the first (`pki::Schedule`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Epoch(pub u64);

/// Number of a digest tick: whole tick lengths since the Unix epoch (u32: at 4 s, good for 544 years).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Tick(pub u32);

impl Tick {
    /// The tick that `now` lies in.
    pub fn at(now: Timestamp, tick_length: Duration) -> Self {
        Tick(u32::try_from(now.periods(tick_length)).unwrap_or(u32::MAX))
    }

    /// When this tick begins.
    pub fn start(self, tick_length: Duration) -> Timestamp {
        Timestamp(nanos(tick_length).saturating_mul(u64::from(self.0)))
    }

    /// The tick after this one.
    pub fn next(self) -> Self {
        Tick(self.0.saturating_add(1))
    }
}

/// A day of network time: whole day lengths since the Unix epoch. Test networks have shorter days.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Day(pub u32);

impl Day {
    /// The day that `now` lies in.
    pub fn at(now: Timestamp, day_length: Duration) -> Self {
        Day(u32::try_from(now.periods(day_length)).unwrap_or(u32::MAX))
    }

    /// `days` days later.
    pub fn plus(self, days: u32) -> Self {
        Day(self.0.saturating_add(days))
    }
}
