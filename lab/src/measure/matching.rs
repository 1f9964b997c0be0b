//! Flows matched through the network: the attack of [`crate::attacks::matching`].

use super::{Figure, Measure, Run, seed};
use crate::{
    attacks::matching::{Delay, Lines, score},
    cost::Cost,
    experiments::{Options, over_seeds},
    flow::{Flow, Injection, START, Setup, view::Adversary},
    impossible::{Checked, Impossible, between, positive, share},
    statistics::Samples,
};
use clap::{ArgAction, Args};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use veilpost_packet::random::{EngineRng, exponential, fork, geometric, seeded};

/// Beyond the time that the packets to observe take on average: flows that are behind catch up.
const SLACK: f64 = 2.0;

/// How well flows that leave the network are matched with those that came in, by their times.
///
/// Each flow has a sender with a Poisson line clock and a receiver of its own. Packets come to the sender in bursts; a tick without one
/// sends cover, which comes back to the sender, or nothing. Observers see all lines and know the delays' distribution.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, Args)]
#[serde(deny_unknown_fields, default)]
pub struct Matching {
    /// Flows at a time
    #[arg(long, default_value_t = Self::default().flows)]
    pub flows: usize,
    /// Packets observed of each flow where it leaves
    #[arg(long, default_value_t = Self::default().observations)]
    pub observations: usize,
    /// Ticks a second of a sender's line clock
    #[arg(long, default_value_t = Self::default().rate)]
    pub rate: f64,
    /// Share of ticks that have a packet, above 0, below 1
    #[arg(long, default_value_t = Self::default().load)]
    pub load: f64,
    /// Mean number of packets in a burst, 1 to 30
    #[arg(long, default_value_t = Self::default().burst)]
    pub burst: f64,
    /// Whether ticks without a packet send cover
    #[arg(long, action = ArgAction::Set, default_value_t = Self::default().cover)]
    pub cover: bool,
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
}

impl Default for Matching {
    fn default() -> Self {
        Self {
            flows: 150,
            observations: 100,
            rate: 50.0,
            load: 0.5,
            burst: 10.0,
            cover: true,
            layers: 3,
            width: 3,
            delay_per_hop: 0.05,
            link_latency: 0.02,
        }
    }
}

/// One sender's line.
struct Line<'a> {
    of: &'a Matching,
    rng: EngineRng,
    flow: u32,
}

impl Line<'_> {
    /// All that it sends in so many seconds.
    fn packets(mut self, time: f64) -> Vec<Injection> {
        let (until, tick) = (START + Duration::from_secs_f64(time), Duration::from_secs_f64(1.0 / self.of.rate));
        let bursts = Duration::from_secs_f64(self.of.burst / (self.of.rate * self.of.load));
        let (mut now, mut burst, mut waiting) = (START, START, 0);
        let mut sent = Vec::new();
        loop {
            now = now + exponential(&mut self.rng, tick);
            if now >= until {
                return sent;
            }
            while burst <= now {
                waiting += 1 + geometric(&mut self.rng, self.of.burst - 1.0);
                burst = burst + exponential(&mut self.rng, bursts);
            }
            let real = waiting > 0;
            waiting = waiting.saturating_sub(1);
            // Cover comes back to its sender: a receiver of its own that nobody matches.
            let receiver = if real { self.flow } else { self.of.flows as u32 + self.flow };
            if real || self.of.cover {
                sent.push(Injection { at: now, sender: self.flow, receiver });
            }
        }
    }
}

impl Matching {
    fn setup(&self) -> Setup {
        let Self { layers, width, delay_per_hop, link_latency, .. } = *self;
        Setup { layers, width, delay_per_hop, link_latency, ..Setup::default() }
    }

    /// Lets all flows run at once in one network.
    fn watch(&self, run: &Run) -> Result<Lines, Impossible> {
        let (mut rng, setup) = (seeded(seed(run.seed, 0)), self.setup());
        let enough = SLACK * (self.observations as f64 + 10.0 * self.burst) / (self.rate * self.load);
        let mut lines = Vec::new();
        for flow in 0..self.flows as u32 {
            lines.extend(Line { of: self, rng: fork(&mut rng), flow }.packets(enough));
        }
        lines.sort_by_key(|injection| injection.at);
        let until = START + Duration::from_secs_f64(enough + 40.0 * setup.end_to_end());
        let mut attack = Lines::new(START, self.observations);
        Flow::new(setup, Adversary::passive(), lines.into_iter(), rng)?.run(until, &mut attack)?;
        let short = (0..self.flows as u32).any(|flow| attack.received(flow).len() < self.observations);
        if short { Err(Impossible("a flow was too slow to be observed; take more load".into())) } else { Ok(attack) }
    }
}

impl Measure for Matching {
    fn check(&self) -> Checked {
        self.setup().check()?;
        between("flows", self.flows, 2, 10_000)?;
        between("observations", self.observations, 1, 100_000)?;
        positive("rate", self.rate)?;
        share("load", self.load)?;
        if !(0.01..=0.95).contains(&self.load) || !(1.0..=30.0).contains(&self.burst) || self.rate > 1e6 {
            return Err(Impossible("load can be 0.01 to 0.95, burst 1 to 30, rate up to 1000000".into()));
        }
        Ok(())
    }

    fn cost(&self) -> Option<Cost> {
        Some(Cost::of_mixes(&self.setup()))
    }

    fn run(&self, run: &Run) -> Result<Vec<Figure>, Impossible> {
        let lines = self.watch(run)?;
        let fixed = (self.layers as f64) * self.link_latency;
        let delay = Delay { fixed, per_hop: self.delay_per_hop, hops: self.layers };
        let options = Options { first: 0, seeds: self.flows, threads: run.threads, progress: false };
        let of = |receiver: u64| {
            let received = lines.received(receiver as u32);
            let mut samples = Samples::default();
            for sender in 0..self.flows as u32 {
                samples.push(u64::from(sender) == receiver, score(lines.sent(sender), received, &delay));
            }
            samples
        };
        let mut samples = Samples::default();
        over_seeds(&options, of).into_iter().for_each(|one| samples.append(one));
        let (n, at) = (samples.len(), |fpr| samples.true_positives_at(fpr));
        let precision = |tpr: f64, fpr: f64| tpr / (tpr + (self.flows - 1) as f64 * fpr);
        let found = at(1e-3).map_or(f64::NAN, |found| found.value);
        Ok(vec![
            Figure::mean("auc", "", samples.auc(), n),
            Figure::mean("tpr_at_1e-2", "", at(1e-2), n),
            Figure::mean("tpr_at_1e-3", "", at(1e-3), n),
            Figure::mean("tpr_at_1e-4", "", at(1e-4), n),
            Figure::new("precision_at_1e-3", "", precision(found, 1e-3), n),
        ])
    }
}
