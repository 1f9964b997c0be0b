//! E24: do mailboxes, or readers of digests, see whether people write? Counts of writes and reads in each tick of an idle world
//! against a busy one. Positive control: an additive design, in which real boxes come on top of the decoys.

use super::{
    Options, over_seeds,
    unobservability::{NULL, PValues, WATCH},
};
use crate::{
    report::{Expected, Report},
    simulation::Asked,
    statistics::{ks_two, mean, spread, uniform},
    world::{Activity, World, watched},
};
use std::collections::BTreeSet;
use veilpost_packet::{random::seeded, time::Timestamp};

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

/// One seed: p-values of an idle against a busy world, and writes a minute of both.
fn one(seed: u64) -> (PValues, [f64; 2]) {
    let (idle, busy) = (watched(2 * seed, Activity::Idle, WATCH), watched(2 * seed + 1, Activity::Busy, WATCH));
    let mut rng = seeded([seed as u8 ^ 0x24; 32]);
    let mut all = PValues::new();
    let pairs = [
        ("writes in a tick at a mailbox", commands(&idle, Asked::Put), commands(&busy, Asked::Put)),
        ("reads in a tick at a mailbox", commands(&idle, Asked::Get), commands(&busy, Asked::Get)),
        ("loops in a tick at a mailbox", commands(&idle, Asked::Loop), commands(&busy, Asked::Loop)),
        ("boxes named in a tick's digest", named(&idle), named(&busy)),
        ("control: real boxes on top of decoys, writes in a tick", commands(&idle, Asked::Put), additive(&busy)),
    ];
    for (what, quiet, active) in pairs {
        let [quiet, active] =
            [(&idle, quiet), (&busy, active)].map(|(world, moments)| spread(per_tick(world, &moments), &mut rng));
        if let Some(test) = ks_two(&quiet, &active) {
            all.entry(what.into()).or_default().push(test.p);
        }
    }
    let minutes = WATCH.as_secs_f64() / 60.0;
    (all, [&idle, &busy].map(|world| commands(world, Asked::Put).len() as f64 / minutes))
}

/// Runs the experiment.
pub fn run(options: &Options) -> Report {
    let (mut all, mut rates) = (PValues::new(), [Vec::new(), Vec::new()]);
    for (p_values, [quiet, active]) in over_seeds(options, one) {
        p_values.into_iter().for_each(|(what, p)| all.entry(what).or_default().extend(p));
        rates[0].push(quiet);
        rates[1].push(active);
    }
    let mut report = Report::new("E24", "do mailboxes and digests show whether people write?");
    for (what, p_values) in all {
        let expected = if what.starts_with("control") { Expected::Caught(NULL) } else { Expected::NothingSeen(NULL) };
        if let Some(test) = uniform(&p_values) {
            report.add(what, "p (uniformity)", test.p, p_values.len(), expected);
        }
    }
    for (what, rate) in [("writes of six idle people", &rates[0]), ("writes of six busy people", &rates[1])] {
        if let Some(rate) = mean(rate) {
            report.add_interval(what, "a minute", rate, options.seeds, Expected::Known);
        }
    }
    report
}
