//! How well two senders are told apart: the attack of [`crate::attacks::likelihood`].

use super::{Figure, Measure, Run, chunks};
use crate::{
    attacks::likelihood::Likelihood as Attack,
    cost::Cost,
    flow::{Flow, Poisson, START, Setup, view::Adversary},
    impossible::{Checked, Impossible, between, positive, share},
    statistics::{self, mean},
};
use clap::Args;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use veilpost_packet::random::{fork, seeded};

/// Looks of one network; with more, others are made, with other corrupt mixes.
const LOOKS_OF_ONE: usize = 30;
/// Mean delays before the first look, beyond those of the layers.
const FILL: f64 = 20.0;
/// Mean delays from one look to the next, times the root of the layers: three deviations of the way to the last mix, after which little of
/// what is in it is left.
const APART: f64 = 3.0;

/// How differently two senders' packets are spread over what an honest mix of the last layer holds: epsilon = |ln (p0 / p1)|.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, Args)]
#[serde(deny_unknown_fields, default)]
pub struct Likelihood {
    /// Senders
    #[arg(long, default_value_t = Self::default().senders)]
    pub senders: usize,
    /// Packets a second of each sender
    #[arg(long, default_value_t = Self::default().rate)]
    pub rate: f64,
    /// Layers of mixes, 1 to 20
    #[arg(long, default_value_t = Self::default().layers)]
    pub layers: usize,
    /// Mixes of each layer
    #[arg(long, default_value_t = Self::default().width)]
    pub width: usize,
    /// Mean delay at a mix, in seconds: 1 / mu
    #[arg(long, default_value_t = Self::default().delay_per_hop)]
    pub delay_per_hop: f64,
    /// Share of mixes that are the adversary's, evenly over the layers; fewer than all
    #[arg(long, default_value_t = Self::default().corrupt)]
    pub corrupt: f64,
    /// Looks at a mix
    #[arg(long, default_value_t = Self::default().looks)]
    pub looks: usize,
}

impl Default for Likelihood {
    fn default() -> Self {
        Self { senders: 100, rate: 2.0, layers: 3, width: 3, delay_per_hop: 1.0, corrupt: 0.0, looks: 300 }
    }
}

impl Likelihood {
    fn setup(&self) -> Setup {
        let Self { layers, width, delay_per_hop, .. } = *self;
        Setup { layers, width, delay_per_hop, link_latency: 0.0, ..Setup::default() }
    }

    fn look(&self, seed: [u8; 32], looks: usize) -> Result<Vec<f64>, Impossible> {
        let (mut rng, setup, mixes) = (seeded(seed), self.setup(), self.layers * self.width);
        let adversary = Adversary::with_mixes(self.corrupt, self.layers, self.width, &mut rng);
        let last = mixes - self.width..mixes;
        let honest: Vec<usize> = last.filter(|mix| !adversary.has(*mix)).collect();
        let source = Poisson::new(self.rate * self.senders as f64, self.senders, fork(&mut rng))?;
        let mut attack = Attack::new(mixes, adversary.clone());
        let mut choice = fork(&mut rng);
        let mut flow = Flow::new(setup, adversary, source, rng)?;
        let delays = |count: f64| Duration::from_secs_f64(count * self.delay_per_hop);
        let mut until = START + delays(FILL + self.layers as f64);
        let mut found = Vec::new();
        for _ in 0..looks {
            flow.run(until, &mut attack)?;
            let mix = veilpost_packet::random::pick(&mut choice, &honest).copied();
            let mix = mix.ok_or_else(|| Impossible("all mixes of the last layer are corrupt".into()))?;
            found.extend(attack.epsilon(mix));
            until = until + delays(APART * (self.layers as f64).sqrt());
        }
        Ok(found)
    }
}

impl Measure for Likelihood {
    fn check(&self) -> Checked {
        self.setup().check()?;
        between("senders", self.senders, 2, 1_000_000)?;
        positive("rate", self.rate)?;
        share("corrupt", self.corrupt)?;
        between("looks", self.looks, 2, 10_000_000)
    }

    fn cost(&self) -> Option<Cost> {
        Some(Cost::of_mixes(&self.setup()))
    }

    fn run(&self, run: &Run) -> Result<Vec<Figure>, Impossible> {
        let all = chunks(run, self.looks, LOOKS_OF_ONE, |seed, looks| self.look(seed, looks))?;
        let finite: Vec<f64> = all.iter().copied().filter(|epsilon| epsilon.is_finite()).collect();
        let certain = statistics::share((all.len() - finite.len()) as u64, all.len() as u64);
        Ok(vec![
            Figure::mean("epsilon", "", mean(&finite), finite.len()),
            Figure::mean("delta", "", Some(certain), all.len()),
        ])
    }
}
