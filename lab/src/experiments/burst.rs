//! E20: can a mailbox mark a client's downlink? It keeps all replies back for a while and then fires them at once; a watcher looks
//! for the burst at clients. Positive control: what comes to the entries, which is what clients would get without the entry's clock.

use super::{Options, over_seeds, unobservability::NULL};
use crate::{
    cost::Cost,
    report::{Expected, Report},
    simulation::Nature,
    statistics::{counts, uniform},
    world::{self, Activity, ROLES},
};
use std::{collections::BTreeMap, time::Duration};
use veilpost_packet::random::seeded;

/// Watch of one world.
const WATCH: Duration = Duration::from_secs(1_200);
/// Replies are kept back for this long; after a minute clients would not take them any more.
const HOARD: Duration = Duration::from_secs(40);
/// The burst has passed the mixes within this many seconds.
const BURST: f64 = 10.0;
/// Compared with as many seconds that begin here, after the burst.
const CALM: f64 = 20.0;
/// The mailbox that fires.
const HOSTILE: usize = 0;

/// Frames in the seconds after each burst, and in as many calm ones.
fn windows(times: impl Iterator<Item = f64>) -> (u64, u64) {
    let (mut burst, mut calm) = (0, 0);
    for time in times {
        let since = time % HOARD.as_secs_f64();
        burst += u64::from(since < BURST);
        calm += u64::from((CALM..CALM + BURST).contains(&since));
    }
    (burst, calm)
}

fn one(seed: u64) -> BTreeMap<&'static str, Vec<f64>> {
    let mut turned = false;
    let world = world::watched_while(seed, Activity::Busy, WATCH, |simulation| {
        if !std::mem::replace(&mut turned, true) {
            simulation.set_nature(HOSTILE, Nature::Hoards(HOARD));
        }
    });
    let mut rng = seeded([seed as u8 ^ 0x20; 32]);
    let mut found: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (client, _) in ROLES {
        let (burst, calm) = windows(world.capture.of(client as u32, false).map(|(time, _)| time));
        found.entry("a client's downlink after a burst").or_default().push(counts(burst, calm, &mut rng).p);
    }
    let roles: Vec<&str> = world.capture.header.endpoints.iter().map(|endpoint| endpoint.role.as_str()).collect();
    let role = |index: u32| roles.get(index as usize).copied();
    let to_entries =
        world.capture.rows.iter().filter(|row| (role(row.from), role(row.to)) == (Some("mix"), Some("entry")));
    let (burst, calm) = windows(to_entries.map(|row| row.time_ns as f64 / 1e9));
    found.entry("control: without the entry's clock").or_default().push(counts(burst, calm, &mut rng).p);
    found
}

/// Runs the experiment.
pub fn run(options: &Options) -> Report {
    let mut all: BTreeMap<_, Vec<f64>> = BTreeMap::new();
    for found in over_seeds(options, one) {
        found.into_iter().for_each(|(what, p)| all.entry(what).or_default().extend(p));
    }
    let mut report = Report::new("E20", "can a mailbox mark a client's downlink by a burst of replies?");
    report.costing(Some(Cost::shipped()));
    for (what, p_values) in all {
        let expected = if what.starts_with("control") { Expected::Caught(NULL) } else { Expected::NothingSeen(NULL) };
        if let Some(test) = uniform(&p_values) {
            report.add(what, "p (uniformity)", test.p, p_values.len(), expected);
        }
    }
    report
}
