//! How fast the clocks of a client run, both ways, under each profile. They follow from the document's parameters.

use crate::{admission::BUCKET_SLACK, params::Params};
use std::time::Duration;
use veilpost_packet::profile::Profile;

/// The clocks of a client and of its entry for it: means of exact exponentials.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rates {
    /// Mean gap of the send clock.
    pub send_gap: Duration,
    /// One send tick in this many is a Put slot.
    pub put_slot: u32,
    /// Mean gap of the get clock.
    pub get_gap: Duration,
    /// Mean gap of the loop clock.
    pub loop_gap: Duration,
    /// Mean gap of the entry's clock on the downlink.
    pub downlink_gap: Duration,
    /// The same while a connection is young.
    pub catch_up_gap: Duration,
}

impl Rates {
    /// Frames a second that the client sends on average.
    pub fn up(&self) -> f64 {
        [self.send_gap, self.get_gap, self.loop_gap].into_iter().map(per_second).sum()
    }

    /// Frames a second that its entry sends on average, once the connection is not young any more.
    pub fn down(&self) -> f64 {
        per_second(self.downlink_gap)
    }

    /// Mean gap of Put slots.
    pub fn put_gap(&self) -> Duration {
        self.send_gap.saturating_mul(self.put_slot)
    }
}

fn per_second(gap: Duration) -> f64 {
    1.0 / gap.as_secs_f64()
}

impl Params {
    /// The clocks of a client of this profile.
    ///
    /// A metered client's own clocks are slower by [`Params::metered`], and so is the part of the downlink that carries
    /// replies to them. The other part is not: digests and documents are the same bytes for everyone, and a downlink that is slower by
    /// the whole factor would carry them and nothing else.
    pub fn rates(&self, profile: Profile) -> Rates {
        let standard = Rates {
            send_gap: self.send_gap,
            put_slot: self.put_slot,
            get_gap: self.get_gap,
            loop_gap: self.loop_gap,
            downlink_gap: self.downlink_gap,
            catch_up_gap: self.catch_up_gap,
        };
        match profile {
            Profile::Standard => standard,
            Profile::Metered => standard.metered(self.metered.max(1)),
        }
    }
}

impl Rates {
    fn metered(self, factor: u32) -> Self {
        let slower = |gap: Duration| gap.saturating_mul(factor);
        let saved = BUCKET_SLACK * self.up() * (1.0 - 1.0 / f64::from(factor));
        // Never slower than by the factor, whatever the document's downlink has to spare.
        let down = (self.down() - saved).max(self.down() / f64::from(factor));
        let downlink_gap = Duration::from_secs_f64(1.0 / down);
        Self {
            send_gap: slower(self.send_gap),
            get_gap: slower(self.get_gap),
            loop_gap: slower(self.loop_gap),
            downlink_gap,
            // Catching up is never slower than what follows it.
            catch_up_gap: slower(self.catch_up_gap).min(downlink_gap.max(self.catch_up_gap)),
            ..self
        }
    }
}
