//! What experiments on populations have in common: how many clients, for how long, over which seeds.

use super::{Options, over_seeds};
use crate::{
    attacks::{Rank, series::Way},
    cost::Cost,
    impossible::Impossible,
    population::{Design, Habits, Setup, Watched, live, require},
    report::{Expected, Report},
    statistics::{Interval, mean, share},
};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use veilpost_packet::{
    geometry::ROUTE_DELAYS,
    random::{EngineRng, seeded},
};

/// A crowd of clients that is watched.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Crowd {
    /// Numbers of clients, each measured alone.
    pub clients: Vec<usize>,
    /// Minutes of the watch.
    pub minutes: f64,
    /// Minutes that are lived before.
    pub warm_up: f64,
    /// Mailboxes.
    pub mailboxes: usize,
    /// Share of commands and of answers that are lost.
    pub loss: f64,
    /// What people do.
    pub habits: Habits,
}

impl Default for Crowd {
    fn default() -> Self {
        Self {
            clients: vec![100, 1_000, 10_000],
            minutes: 60.0,
            warm_up: 10.0,
            mailboxes: 3,
            loss: 0.01,
            habits: Habits::default(),
        }
    }
}

impl Crowd {
    /// A population of this crowd.
    pub fn setup(&self, seed: u64, clients: usize, design: Design) -> Setup {
        let minutes = |minutes: f64| Duration::try_from_secs_f64(60.0 * minutes).unwrap_or(Duration::ZERO);
        Setup {
            seed,
            clients,
            mailboxes: self.mailboxes,
            warm_up: minutes(self.warm_up),
            watch: minutes(self.minutes),
            loss: self.loss,
            habits: self.habits,
            design,
            ..Setup::default()
        }
    }

    /// Refuses what cannot be measured.
    ///
    /// # Errors
    /// [`Impossible`] says what.
    pub fn check(&self) -> Result<(), Impossible> {
        require(!self.clients.is_empty(), "at least one number of clients is needed")?;
        require(self.minutes.is_finite() && self.warm_up.is_finite() && self.warm_up >= 0.0, "times must be finite")?;
        self.clients.iter().try_for_each(|clients| self.setup(0, *clients, Design::default()).check())
    }

    /// The sizes that a quick look takes.
    pub fn quick(self) -> Self {
        let clients = self.clients.iter().copied().filter(|clients| *clients <= 1_000).collect();
        Self { clients, ..self }
    }

    /// What a client of each size costs as shipped. Everyone gets all digests, which grow with the crowd: where the downlink of the
    /// standard parameters is too slow for them it is as fast as the design asks, see [`Setup::rates`].
    pub(super) fn add_costs(&self, report: &mut Report) {
        for clients in &self.clients {
            let cost = self.cost(*clients, Design::default());
            report.costing(Some(cost));
            let what = format!("{clients} clients: traffic of one, both directions");
            let megabytes = cost.megabytes.unwrap_or(f64::NAN);
            report.add(what, "MB a day", megabytes, 1, Expected::AtMost(MEGABYTES_A_DAY));
        }
    }

    /// What a design costs with so many clients, as measured.
    pub(super) fn cost(&self, clients: usize, design: Design) -> Cost {
        Cost::measured(&self.setup(0, clients, design))
    }

    /// Runs `one` over seeds at each size. Larger crowds have more people to attack in each: fewer seeds, in proportion.
    pub(super) fn over<T: Send>(
        &self,
        options: &Options,
        one: impl Fn(u64, usize) -> T + Sync,
    ) -> Vec<(usize, Vec<T>)> {
        let at = |clients: usize| {
            let seeds = (options.seeds * SMALLEST / clients.max(1)).clamp(1, options.seeds.max(1));
            (clients, over_seeds(&Options { seeds, ..*options }, |seed| one(seed, clients)))
        };
        self.clients.iter().map(|clients| at(*clients)).collect()
    }
}

/// What a client is to cost at most (DESIGN 11).
const MEGABYTES_A_DAY: f64 = 1_000.0;
/// A crowd that is run over all seeds.
const SMALLEST: usize = 100;

/// A population that was checked before.
pub(super) fn watch(setup: &Setup) -> Watched {
    live(setup).expect("checked before anything runs")
}

/// The way from a client to a mailbox, which everybody knows.
pub(super) fn way(setup: &Setup) -> Way {
    let links = 5.0;
    Way::new(ROUTE_DELAYS as u32, setup.params.hop_delay.as_secs_f64(), links * setup.latency.as_secs_f64())
}

/// How often somebody was ranked first.
pub(super) fn first(ranks: &[Rank]) -> Interval {
    let hits: f64 = ranks.iter().map(|rank| rank.first).sum();
    share(hits.round() as u64, ranks.len() as u64)
}

/// Mean bits that ranks gained over chance.
pub(super) fn bits(ranks: &[Rank]) -> Option<Interval> {
    mean(&ranks.iter().map(Rank::bits).collect::<Vec<_>>())
}

/// A generator of an experiment's own.
pub(super) fn generator(experiment: u8, seed: u64) -> EngineRng {
    let mut bytes = [experiment; 32];
    bytes.iter_mut().zip(seed.to_be_bytes()).for_each(|(byte, of)| *byte = of);
    seeded(bytes)
}

/// Some of a list, drawn without putting back.
pub(super) fn some<T: Clone>(of: &[T], most: usize, rng: &mut EngineRng) -> Vec<T> {
    rand::seq::IndexedRandom::choose_multiple(of, rng, most).cloned().collect()
}
