//! The entropy of packets in a network: the attack of [`crate::attacks::entropy`].

use super::{Figure, Measure, Run, chunks};
use crate::{
    attacks::entropy::{Entropy as Attack, Hidden, Targets},
    cost::Cost,
    flow::{Dummies, Flow, Poisson, START, Setup, view::Adversary},
    impossible::{Checked, Impossible, between, not_negative, positive, share},
    statistics::{mean, quantile},
};
use clap::Args;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use veilpost_packet::random::{fork, seeded};

/// Targets of one network; with more, others are made, with other corrupt mixes.
const TARGETS_OF_ONE: usize = 100;
/// Mean delays until a layer's pools are full but for e^-10 of it.
const FILL: f64 = 10.0;

/// Among how many packets a packet hides from who watches all links and has some mixes: bits of entropy, on average over targets.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, Args)]
#[serde(deny_unknown_fields, default)]
pub struct Entropy {
    /// Packets a second, of all senders together
    #[arg(long, default_value_t = Self::default().rate)]
    pub rate: f64,
    /// Layers of mixes, 1 to 20
    #[arg(long, default_value_t = Self::default().layers)]
    pub layers: usize,
    /// Mixes of each layer
    #[arg(long, default_value_t = Self::default().width)]
    pub width: usize,
    /// Mean delay at a mix, in seconds
    #[arg(long, default_value_t = Self::default().delay_per_hop)]
    pub delay_per_hop: f64,
    /// Length of each link, in seconds
    #[arg(long, default_value_t = Self::default().link_latency)]
    pub link_latency: f64,
    /// Share of mixes that are the adversary's, 0 to 1, evenly over the layers
    #[arg(long, default_value_t = Self::default().corrupt)]
    pub corrupt: f64,
    /// Share of frames that are lost on each link, 0 to 1
    #[arg(long, default_value_t = Self::default().loss)]
    pub loss: f64,
    /// Share of routes that take one mix of each layer, the others alike; 0: all alike
    #[arg(long, default_value_t = Self::default().heavy)]
    pub heavy: f64,
    /// Dummies that mixes make: none, for one link, or for the rest of a route
    #[arg(long, value_enum, default_value_t = Self::default().dummies)]
    pub dummies: Dummies,
    /// Dummies a second, of all mixes of all layers but the last together
    #[arg(long, default_value_t = Self::default().dummy_rate)]
    pub dummy_rate: f64,
    /// Packets that are followed
    #[arg(long, default_value_t = Self::default().targets)]
    pub targets: usize,
    /// Seconds from one target to the next
    #[arg(long, default_value_t = Self::default().target_gap)]
    pub target_gap: f64,
}

impl Default for Entropy {
    fn default() -> Self {
        Self {
            rate: 5_000.0,
            layers: 3,
            width: 10,
            delay_per_hop: 0.8 / 3.0,
            link_latency: 0.05,
            corrupt: 0.0,
            loss: 0.0,
            heavy: 0.0,
            dummies: Dummies::None,
            dummy_rate: 0.0,
            targets: 500,
            target_gap: 0.5,
        }
    }
}

impl Entropy {
    fn setup(&self) -> Setup {
        Setup {
            layers: self.layers,
            width: self.width,
            delay_per_hop: self.delay_per_hop,
            link_latency: self.link_latency,
            loss: self.loss,
            heavy: self.heavy,
            dummies: self.dummies,
            dummy_rate: self.dummy_rate,
        }
    }

    fn follow(&self, seed: [u8; 32], count: usize) -> Result<Vec<Hidden>, Impossible> {
        let (mut rng, setup) = (seeded(seed), self.setup());
        let adversary = Adversary::with_mixes(self.corrupt, self.layers, self.width, &mut rng);
        let source = Poisson::new(self.rate, USERS, fork(&mut rng))?;
        let seconds = Duration::from_secs_f64;
        let filled = setup.end_to_end() + FILL * self.delay_per_hop;
        let targets = Targets {
            count,
            from: START + seconds(filled),
            gap: seconds(self.target_gap),
            // MiXiM's own wait.
            patience: seconds(setup.end_to_end() + 14.0 * self.delay_per_hop * self.layers as f64 + 3.0),
        };
        let mut attack = Attack::new(self.layers * self.width, adversary.clone(), targets);
        let mut flow = Flow::new(setup, adversary, source, rng)?;
        let mut until = targets.from;
        while !attack.is_done() {
            flow.run(until, &mut attack)?;
            until = until + targets.gap;
        }
        Ok(attack.found().to_vec())
    }
}

/// Who sends what does not matter here, but that it is many.
const USERS: usize = 1_000;

impl Measure for Entropy {
    fn check(&self) -> Checked {
        self.setup().check()?;
        positive("rate", self.rate)?;
        share("corrupt", self.corrupt)?;
        between("targets", self.targets, 2, 10_000_000)?;
        not_negative("target_gap", self.target_gap)?;
        if self.target_gap < 1e-3 {
            return Err(Impossible(format!("target_gap is {} s; the shortest is 0.001 s", self.target_gap)));
        }
        Ok(())
    }

    fn cost(&self) -> Option<Cost> {
        Some(Cost::of_mixes(&self.setup()))
    }

    fn run(&self, run: &Run) -> Result<Vec<Figure>, Impossible> {
        let found = chunks(run, self.targets, TARGETS_OF_ONE, |seed, count| self.follow(seed, count))?;
        let (bits, mass): (Vec<f64>, Vec<f64>) = found.iter().map(|hidden| (hidden.bits, hidden.mass)).unzip();
        let low = |share| quantile(&bits, share).unwrap_or(f64::NAN);
        Ok(vec![
            Figure::mean("mean_bits", "bits", mean(&bits), bits.len()),
            Figure::new("median_bits", "bits", low(0.5), bits.len()),
            Figure::new("q25_bits", "bits", low(0.25), bits.len()),
            Figure::new("mass_delivered", "", mass.iter().sum::<f64>() / mass.len() as f64, mass.len()),
        ])
    }
}
