//! How often packets come out in the order in which they went in: the attack of [`crate::attacks::pairing`].

use super::{Figure, Measure, Run, chunks};
use crate::{
    attacks::pairing::Pairing as Attack,
    cost::Cost,
    flow::{Flow, Injection, START, Setup, view::Adversary},
    impossible::{Checked, Impossible, between, positive},
    statistics::share,
};
use clap::Args;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use veilpost_packet::random::{exponential, fork, seeded};

/// Trials in one network, one after another.
const TRIALS_OF_ONE: usize = 10_000;
/// Mean delays and gaps from one trial to the next: after so many of them, one in 10^17 is not over.
const APART: f64 = 40.0;

/// How much better than a coin "first in, first out" is for two users' packets.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, Args)]
#[serde(deny_unknown_fields, default)]
pub struct Pairing {
    /// Packets a second of each of the two users
    #[arg(long, default_value_t = Self::default().user_rate)]
    pub user_rate: f64,
    /// Mean delay at a mix, in seconds
    #[arg(long, default_value_t = Self::default().delay_per_hop)]
    pub delay_per_hop: f64,
    /// Mixes, one after another, 1 to 20
    #[arg(long, default_value_t = Self::default().layers)]
    pub layers: usize,
    /// Trials
    #[arg(long, default_value_t = Self::default().trials)]
    pub trials: usize,
}

impl Default for Pairing {
    fn default() -> Self {
        Self { user_rate: 1.0, delay_per_hop: 1.0, layers: 1, trials: 100_000 }
    }
}

impl Pairing {
    fn setup(&self) -> Setup {
        let Self { layers, delay_per_hop, .. } = *self;
        Setup { layers, width: 1, delay_per_hop, link_latency: 0.0, ..Setup::default() }
    }

    /// Whether the first guess of each trial was right; the second one is as right as the first.
    fn guess(&self, seed: [u8; 32], trials: usize) -> Result<Vec<bool>, Impossible> {
        let mut rng = seeded(seed);
        let mut times = fork(&mut rng);
        let gap = Duration::from_secs_f64(1.0 / self.user_rate);
        let apart = APART * (self.delay_per_hop * self.layers as f64 + 1.0 / self.user_rate);
        let trial = |number: usize| {
            let begin = START + Duration::from_secs_f64(apart * number as f64);
            let mut both =
                [0, 1].map(|user| Injection { at: begin + exponential(&mut times, gap), sender: user, receiver: user });
            both.sort_by_key(|injection| injection.at);
            both
        };
        let mut attack = Attack::default();
        let mut flow = Flow::new(self.setup(), Adversary::passive(), (0..trials).flat_map(trial), rng)?;
        flow.run(START + Duration::from_secs_f64(apart * trials as f64), &mut attack)?;
        Ok(attack.guesses().step_by(2).map(|(sender, receiver)| sender == receiver).collect())
    }
}

impl Measure for Pairing {
    fn check(&self) -> Checked {
        self.setup().check()?;
        positive("user_rate", self.user_rate)?;
        if !(1e-3..=1e6).contains(&self.user_rate) {
            return Err(Impossible(format!("user_rate is {}; it can be 0.001 to 1000000", self.user_rate)));
        }
        between("trials", self.trials, 2, 100_000_000)
    }

    fn cost(&self) -> Option<Cost> {
        Some(Cost::of_mixes(&self.setup()))
    }

    fn run(&self, run: &Run) -> Result<Vec<Figure>, Impossible> {
        let guesses = chunks(run, self.trials, TRIALS_OF_ONE, |seed, trials| self.guess(seed, trials))?;
        let mut won = share(guesses.iter().filter(|right| **right).count() as u64, guesses.len() as u64);
        for end in [&mut won.value, &mut won.low, &mut won.high] {
            *end -= 0.5;
        }
        Ok(vec![Figure::mean("advantage", "", Some(won), guesses.len())])
    }
}
