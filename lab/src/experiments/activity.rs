//! E24: do mailboxes, or readers of digests, see whether people write? Counts of writes and reads in each tick of an idle world
//! against a busy one. Positive control: an additive design, in which real boxes come on top of the decoys.

use super::{
    Options, over_seeds,
    unobservability::{NULL, WATCH},
};
use crate::{
    cost::Cost,
    report::{Expected, Report},
    simulation::Asked,
    statistics::{Samples, ks_two, mean},
    world::{Activity, World, watched},
};
use std::collections::{BTreeMap, BTreeSet};
use veilpost_packet::time::Timestamp;

/// Moments of something that mailboxes see, with the mailbox.
type Moments = Vec<(Timestamp, usize)>;

/// How many in each tick at each mailbox.
fn per_tick(world: &World, moments: &Moments) -> Vec<u64> {
    let tick = world.params.tick.as_secs_f64();
    let ticks = (world.until.since(world.from).as_secs_f64() / tick) as usize;
    let mailboxes = world.watch.commands.iter().map(|command| command.mailbox + 1).max().unwrap_or(0);
    let mut counts = vec![0; ticks * mailboxes];
    for (at, mailbox) in moments {
        let tick = (at.since(world.from).as_secs_f64() / tick) as usize;
        if let Some(count) = counts.get_mut(mailbox * ticks + tick).filter(|_| tick < ticks) {
            *count += 1;
        }
    }
    counts
}

fn commands(world: &World, asked: Asked) -> Moments {
    let of = world.watch.commands.iter().filter(|command| command.asked == asked);
    of.map(|command| (command.at, command.mailbox)).collect()
}

fn named(world: &World) -> Moments {
    world.watch.named.iter().map(|(at, mailbox, _)| (*at, *mailbox)).collect()
}

/// The writes of a design that does not put real boxes in the place of decoys: each real box's first Put comes on top of a decoy's.
fn additive(world: &World) -> Moments {
    let mut writes = commands(world, Asked::Put);
    let mut seen = BTreeSet::new();
    let puts = world.watch.commands.iter().filter(|command| command.asked == Asked::Put);
    let real = |id: &_| world.watch.truth.get(id).is_some_and(|truth| !truth.decoy);
    for command in puts {
        if command.id.is_some_and(|id| real(&id) && seen.insert(id)) {
            writes.push((command.at, command.mailbox));
        }
    }
    writes
}

/// What a world's counts look like: how many, how uneven, how much one tick tells of the next. Counts of one world depend on each
/// other, as copies follow their boxes; worlds of different seeds do not, so that tests compare worlds.
pub(super) fn features(counts: &[u64]) -> [(&'static str, f64); 3] {
    let values: Vec<f64> = counts.iter().map(|count| *count as f64).collect();
    let n = values.len().max(2) as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0);
    let pairs = values.windows(2).filter_map(|pair| Some((pair.first()? - mean) * (pair.get(1)? - mean)));
    let following = pairs.sum::<f64>() / (n - 1.0);
    [
        ("mean", mean),
        ("variance over mean", variance / mean.max(1e-9)),
        ("correlation with the next", following / variance.max(1e-9)),
    ]
}

/// Features of one world, by what is counted.
type Counted = BTreeMap<String, f64>;

fn counted(world: &World) -> Counted {
    let all = [
        ("writes in a tick at a mailbox", commands(world, Asked::Put)),
        ("reads in a tick at a mailbox", commands(world, Asked::Get)),
        ("loops in a tick at a mailbox", commands(world, Asked::Loop)),
        ("boxes named in a tick's digest", named(world)),
        (CONTROL, additive(world)),
    ];
    let of = |(what, moments): (&'static str, Moments)| {
        let features = features(&per_tick(world, &moments));
        features.map(|(feature, value)| (format!("{what}: {feature}"), value))
    };
    all.into_iter().flat_map(of).collect()
}

const CONTROL: &str = "control: real boxes on top of decoys, writes in a tick";

/// Runs the experiment.
pub fn run(options: &Options) -> Report {
    let worlds = over_seeds(options, |seed| {
        let [idle, busy] = [(2 * seed, Activity::Idle), (2 * seed + 1, Activity::Busy)];
        [idle, busy].map(|(seed, activity)| counted(&watched(seed, activity, WATCH)))
    });
    let mut both: BTreeMap<String, Samples> = BTreeMap::new();
    for [idle, busy] in worlds {
        for (activity, counted) in [(false, idle), (true, busy)] {
            counted.into_iter().for_each(|(what, value)| both.entry(what).or_default().push(activity, value));
        }
    }
    let mut report = Report::new("E24", "do mailboxes and digests show whether people write?");
    report.costing(Some(Cost::shipped()));
    for (what, samples) in &both {
        // The control's other features change as they like.
        let control = what.starts_with("control");
        if control && !what.ends_with("mean") {
            continue;
        }
        let expected = if control { Expected::Caught(NULL) } else { Expected::NothingSeen(NULL) };
        if let Some(test) = ks_two(&samples.positive, &samples.negative) {
            report.add(format!("{what}, busy against idle"), "p", test.p, options.seeds, expected);
        }
    }
    for (what, samples) in both.iter().filter(|(what, _)| what.ends_with(": mean") && !what.starts_with("control")) {
        for (who, values) in [("idle", &samples.negative), ("busy", &samples.positive)] {
            if let Some(rate) = mean(values) {
                report.add_interval(format!("{what}, {who}"), "", rate, options.seeds, Expected::Known);
            }
        }
    }
    report
}
