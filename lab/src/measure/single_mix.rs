//! The entropy of a single mix: the attack of [`crate::attacks::recursion`].

use super::{Figure, Measure, Run, chunks};
use crate::{
    attacks::recursion::Recursion,
    flow::{Flow, Poisson, START, Setup, view::Adversary},
    impossible::{Checked, Impossible, between, positive},
    statistics::mean,
};
use clap::Args;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use veilpost_packet::random::{fork, seeded};

/// Departures of one run of the mix.
const DEPARTURES_OF_ONE: usize = 20_000;
/// Mean delays until the mix is as full as it gets, but for e^-15 of it.
const FILL: f64 = 15.0;

/// Among how many packets a departure from one mix hides, and how full the mix is.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, Args)]
#[serde(deny_unknown_fields, default)]
pub struct SingleMix {
    /// Packets that come during one mean delay: lambda / mu
    #[arg(long, default_value_t = Self::default().ratio)]
    pub ratio: f64,
    /// Departures that are looked at
    #[arg(long, default_value_t = Self::default().departures)]
    pub departures: usize,
}

impl Default for SingleMix {
    fn default() -> Self {
        Self { ratio: 10.0, departures: 100_000 }
    }
}

/// Of one run.
struct Found {
    bits: f64,
    pool: f64,
    variance: f64,
}

impl SingleMix {
    fn watch(&self, seed: [u8; 32], departures: usize) -> Result<Vec<Found>, Impossible> {
        let mut rng = seeded(seed);
        let source = Poisson::new(self.ratio, 1, fork(&mut rng))?;
        let setup = Setup { layers: 1, width: 1, delay_per_hop: 1.0, link_latency: 0.0, ..Setup::default() };
        let from = START + Duration::from_secs_f64(FILL);
        let mut attack = Recursion::new(from);
        let mut flow = Flow::new(setup, Adversary::passive(), source, rng)?;
        let mut until = from;
        while attack.entropies().len() < departures {
            until = until + Duration::from_secs_f64(departures as f64 / self.ratio);
            flow.run(until, &mut attack)?;
        }
        let average = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let pool = average(attack.pools());
        let squares: Vec<f64> = attack.pools().iter().map(|found| (found - pool).powi(2)).collect();
        Ok(vec![Found { bits: average(attack.entropies()), pool, variance: average(&squares) }])
    }
}

impl Measure for SingleMix {
    fn check(&self) -> Checked {
        positive("ratio", self.ratio)?;
        if !(0.01..=10_000.0).contains(&self.ratio) {
            return Err(Impossible(format!("ratio is {}; it can be 0.01 to 10000", self.ratio)));
        }
        between("departures", self.departures, 2 * DEPARTURES_OF_ONE, 1_000_000_000)
    }

    fn run(&self, run: &Run) -> Result<Vec<Figure>, Impossible> {
        let found = chunks(run, self.departures, DEPARTURES_OF_ONE, |seed, count| self.watch(seed, count))?;
        // Departures in a row are alike, runs are independent: intervals are those of the runs' means.
        let of = |part: fn(&Found) -> f64| mean(&found.iter().map(part).collect::<Vec<_>>());
        let figure = |name, unit, part| Figure::mean(name, unit, of(part), self.departures);
        Ok(vec![
            figure("mean_bits", "bits", |found| found.bits),
            figure("pool_mean", "packets", |found| found.pool),
            figure("pool_variance", "packets^2", |found| found.variance),
        ])
    }
}
