//! E24 with crowds: do counts of writes and reads at mailboxes show whether a crowd writes? As [`super::activity`] asks of six people,
//! of a hundred and more. Positive control: real boxes on top of the decoys. Beside it a design in which a real box that is read takes
//! the place of a decoy's reading: people who write more have fewer boxes read.

use super::{
    Options,
    activity::features,
    crowd::{Crowd, watch},
    unobservability::NULL,
};
use crate::{
    impossible::Impossible,
    population::{Decoys, Design, Habits, Request, Watched, require},
    report::{Expected, Report},
    simulation::Asked,
    statistics::{Samples, ks_two, mean},
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Parameters.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Parameters {
    /// The crowd: its people are busy, and idle for comparison.
    pub crowd: Crowd,
    /// Seconds of a count.
    pub tick: f32,
}

impl Default for Parameters {
    fn default() -> Self {
        let habits = Habits { active: 1.0, conversations: 6.0, ..Habits::default() };
        Self { crowd: Crowd { habits, minutes: 15.0, clients: vec![100, 1_000], ..Crowd::default() }, tick: 4.0 }
    }
}

impl Parameters {
    /// Refuses what cannot be measured.
    ///
    /// # Errors
    /// [`Impossible`] says what.
    pub fn check(&self) -> Result<(), Impossible> {
        require(self.tick.is_finite() && self.tick > 0.0, "a count takes some time")?;
        self.crowd.check()
    }
}

fn counts(parameters: &Parameters, watched: &Watched, asked: Asked) -> Vec<u64> {
    let ticks = (watched.view.lines.span / parameters.tick) as usize;
    let mut counts = vec![0; ticks * parameters.crowd.mailboxes];
    let of = |request: &&Request| request.asked == asked;
    for request in watched.view.requests.all.iter().filter(of) {
        let tick = (request.at / parameters.tick) as usize;
        let at = usize::from(request.mailbox) * ticks + tick;
        counts.get_mut(at).filter(|_| tick < ticks).into_iter().for_each(|count| *count += 1);
    }
    counts
}

/// Features of one crowd's counts, by name.
fn counted(parameters: &Parameters, seed: u64, clients: usize, busy: bool, design: Design) -> Vec<(String, f64)> {
    let mut setup = parameters.crowd.setup(seed, clients, design);
    if !busy {
        setup.habits = Habits { active: 0.0, ..setup.habits };
    }
    let watched = watch(&setup);
    let of = |(name, asked)| {
        features(&counts(parameters, &watched, asked)).map(|(feature, value)| (format!("{name}: {feature}"), value))
    };
    [("writes in a tick", Asked::Put), ("reads in a tick", Asked::Get)].into_iter().flat_map(of).collect()
}

const SHIPPED: &str = "as shipped";
/// Worlds of the largest crowd at least: a test of fewer sees nothing.
const WORLDS: usize = 12;

/// Runs the experiment.
///
/// # Errors
/// [`Impossible`] for parameters that nothing can be measured with.
pub fn run(parameters: &Parameters, options: &Options) -> Result<Report, Impossible> {
    parameters.check()?;
    let mut report = Report::new("E24P", "do mailboxes and digests show whether a crowd writes?");
    let additive = Design { decoys: Decoys::Additive, ..Design::default() };
    let beside = Design { reads_replace: false, ..Design::default() };
    let designs =
        [(SHIPPED, Design::default()), ("reads beside decoys", beside), ("control: additive decoys", additive)];
    for (name, design) in designs {
        let of_size = |clients: usize| {
            let seeds = (options.seeds * 100 / clients).clamp(WORLDS.min(options.seeds), options.seeds);
            super::over_seeds(&Options { seeds, ..*options }, |seed| {
                [false, true].map(|busy| counted(parameters, 2 * seed + u64::from(busy), clients, busy, design))
            })
        };
        for clients in &parameters.crowd.clients {
            report.costing(Some(parameters.crowd.cost(*clients, design)));
            let mut all: BTreeMap<String, Samples> = BTreeMap::new();
            for worlds in of_size(*clients) {
                for (busy, counted) in [false, true].into_iter().zip(worlds) {
                    counted.into_iter().for_each(|(what, value)| all.entry(what).or_default().push(busy, value));
                }
            }
            describe(&mut report, &format!("{name}, {clients} clients"), &all);
        }
    }
    Ok(report)
}

fn describe(report: &mut Report, what: &str, all: &BTreeMap<String, Samples>) {
    for (feature, samples) in all {
        let (shipped, control) = (what.starts_with(SHIPPED), what.starts_with("control"));
        let expected = match feature.as_str() {
            _ if shipped => Expected::NothingSeen(NULL),
            "writes in a tick: mean" if control => Expected::Caught(NULL),
            _ => Expected::Known,
        };
        if let Some(test) = ks_two(&samples.positive, &samples.negative) {
            report.add(format!("{what}, {feature}, busy against idle"), "p", test.p, samples.positive.len(), expected);
        }
        for (who, values) in [("idle", &samples.negative), ("busy", &samples.positive)] {
            if let Some(rate) = mean(values).filter(|_| feature.ends_with(": mean")) {
                report.add_interval(format!("{what}, {feature}, {who}"), "", rate, values.len(), Expected::Known);
            }
        }
    }
}
