//! Who sends what when.

use super::START;
use crate::impossible::{Impossible, between, positive};
use rand::Rng;
use std::time::Duration;
use veilpost_packet::{
    random::{EngineRng, exponential},
    time::Timestamp,
};

/// A packet that enters the network.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Injection {
    /// When its sender sends it.
    pub at: Timestamp,
    /// The sender.
    pub sender: u32,
    /// Who is to get it.
    pub receiver: u32,
}

/// Senders with Poisson clocks of one rate, each packet for a receiver by chance. The sum of Poisson clocks is one clock with a sender
/// by chance for each tick.
#[derive(Clone, Debug)]
pub struct Poisson {
    rng: EngineRng,
    gap: Duration,
    users: u32,
    now: Timestamp,
}

impl Poisson {
    /// `rate` packets a second of `users` senders together, for as many receivers, without an end.
    ///
    /// # Errors
    /// A rate that is not above zero, or no users.
    pub fn new(rate: f64, users: usize, rng: EngineRng) -> Result<Self, Impossible> {
        positive("rate", rate)?;
        between("users", users, 1, u32::MAX as usize)?;
        let gap = Duration::try_from_secs_f64(1.0 / rate)
            .map_err(|_| Impossible(format!("rate is {rate} packets a second; that is too few")))?;
        if gap < Duration::from_nanos(10) {
            return Err(Impossible(format!("rate is {rate} packets a second; that is too many")));
        }
        Ok(Self { rng, gap, users: users as u32, now: START })
    }
}

impl Iterator for Poisson {
    type Item = Injection;
    fn next(&mut self) -> Option<Injection> {
        self.now = self.now + exponential(&mut self.rng, self.gap);
        let (sender, receiver) = (self.rng.random_range(0..self.users), self.rng.random_range(0..self.users));
        Some(Injection { at: self.now, sender, receiver })
    }
}
