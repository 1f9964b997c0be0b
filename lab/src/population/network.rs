//! The way between a client and a mailbox: the sum of what each hop draws. Mixes here do not change what a packet's delay is, since the
//! sender draws it; so a watcher of the ends alone sees the same with a pool at each hop or without.

use super::setup::Setup;
use rand::Rng;
use std::time::Duration;
use veilpost_packet::{
    geometry::ROUTE_DELAYS,
    random::{EngineRng, exponential},
    time::{Tick, Timestamp},
};
use veilpost_pki::Rates;

/// Links of a way: client, entry, three mixes, mailbox.
const LINKS: u32 = 5;
/// A reply's mean wait at most, where a downlink gets more than it can send: clients take no reply that is older.
const LONGEST: f64 = 60.0;

#[derive(Debug)]
pub(super) struct Network {
    rng: EngineRng,
    hop: Duration,
    floor: Duration,
    peer: Duration,
    tick: Duration,
    latency: Duration,
    loss: f64,
    digest_frames: f64,
    rates: Rates,
    catch_up: Duration,
}

impl Network {
    pub(super) fn new(setup: &Setup, rng: EngineRng) -> Self {
        Self {
            rng,
            hop: setup.params.hop_delay,
            floor: setup.params.reply_floor,
            peer: setup.params.peer_gap,
            tick: setup.params.tick,
            latency: setup.latency,
            loss: setup.loss,
            digest_frames: setup.digest_frames(),
            rates: setup.rates(),
            catch_up: setup.params.catch_up,
        }
    }

    fn is_lost(&mut self) -> bool {
        self.loss > 0.0 && self.rng.random_bool(self.loss)
    }

    fn delays(&mut self, count: usize) -> Duration {
        (0..count).map(|_| exponential(&mut self.rng, self.hop)).sum()
    }

    /// When a command of `now` comes to its mailbox; `None` if it is lost.
    pub(super) fn forward(&mut self, now: Timestamp) -> Option<Timestamp> {
        let arrival = now + self.delays(ROUTE_DELAYS) + LINKS * self.latency;
        (!self.is_lost()).then_some(arrival)
    }

    /// When its answer comes to the client: T0 and one more delay at the mailbox, the way back, the entry's clock. Replies that come as
    /// a Poisson stream to an exponential clock wait for an exponential time (M/M/1), which is what the clients' own reckoning takes
    /// (`client::cost`).
    pub(super) fn back(&mut self, arrival: Timestamp, connected: Timestamp) -> Option<Timestamp> {
        let at_entry = arrival + self.floor + self.delays(1 + ROUTE_DELAYS) + LINKS * self.latency;
        let gap = self.downlink_gap(at_entry, connected);
        let spare = 1.0 / gap - self.digest_frames / self.tick.as_secs_f64() - self.rates.up();
        let wait = if spare > 0.0 { (1.0 / spare).min(LONGEST) } else { LONGEST };
        let at = at_entry + exponential(&mut self.rng, Duration::from_secs_f64(wait));
        (!self.is_lost()).then_some(at)
    }

    fn downlink_gap(&self, now: Timestamp, connected: Timestamp) -> f64 {
        let young = now < connected + self.catch_up;
        if young { self.rates.catch_up_gap } else { self.rates.downlink_gap }.as_secs_f64()
    }

    /// The tick whose digest names a box that came to one of its two holders. The first in hash order names it: at once, when the
    /// other has copied it and said so; if the other got it, when its copy has come.
    pub(super) fn named(&mut self, arrival: Timestamp, at_first: bool) -> (Timestamp, Timestamp) {
        let steps = if at_first { 2 } else { 1 };
        let copied: Duration = (0..steps).map(|_| exponential(&mut self.rng, self.peer) + self.latency).sum();
        let durable = arrival + copied;
        (durable, Tick::at(durable, self.tick).next().start(self.tick))
    }

    /// When a client has read the frame of a digest of `published` that names a certain box.
    pub(super) fn told(&mut self, published: Timestamp, connected: Timestamp) -> Timestamp {
        let gap = self.downlink_gap(published, connected);
        let place = 1.0 + (self.digest_frames * self.rng.random::<f64>()).floor();
        let first = exponential(&mut self.rng, Duration::from_secs_f64(gap));
        published + 2 * self.latency + first + Duration::from_secs_f64(gap * (place - 1.0))
    }

    /// The mailboxes that hold a box, the first in hash order first.
    pub(super) fn holders(&mut self, mailboxes: usize) -> [u8; 2] {
        let first = self.rng.random_range(0..mailboxes);
        let second = (first + self.rng.random_range(1..mailboxes)) % mailboxes;
        [first, second].map(|mailbox| u8::try_from(mailbox).unwrap_or(u8::MAX))
    }
}
