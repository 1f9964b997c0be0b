//! E21: does a watcher of a mailbox's lines tell writes from reads? For each command: how soon something leaves, how much leaves in
//! the seconds around the usual answer, how soon a frame goes to another mailbox. Positive control: a mailbox that answers as soon
//! as it can, a read at once and a write when another mailbox has confirmed its copy.

use super::{Options, over_seeds};
use crate::{
    cost::Cost,
    report::{Expected, Report},
    simulation::{Asked, Who},
    statistics::Samples,
    world::{Activity, World, watched},
};
use std::{collections::BTreeMap, time::Duration};
use veilpost_packet::time::Timestamp;

/// Watch of one world.
const WATCH: Duration = Duration::from_secs(3_600);
/// An area this far from one half is a leak.
const LEAK: f64 = 0.02;

/// Times of what leaves a mailbox: to mixes, and to other mailboxes; and of what comes from other mailboxes.
struct Lines {
    replies: Vec<Timestamp>,
    copies: Vec<Timestamp>,
    confirmations: Vec<Timestamp>,
}

impl Lines {
    fn of(world: &World, mailbox: usize) -> Self {
        let us = Who::Mailbox(mailbox);
        let times = |which: &dyn Fn(Who, Who) -> bool| -> Vec<Timestamp> {
            world.watch.frames.iter().filter(|frame| which(frame.from, frame.to)).map(|frame| frame.at).collect()
        };
        let relay = |who: Who| matches!(who, Who::Relay(_));
        let mailbox = |who: Who| matches!(who, Who::Mailbox(_));
        Self {
            replies: times(&|from, to| from == us && relay(to)),
            copies: times(&|from, to| from == us && mailbox(to)),
            confirmations: times(&|from, to| mailbox(from) && to == us),
        }
    }
}

fn next(times: &[Timestamp], at: Timestamp) -> Option<f64> {
    let found = times.get(times.partition_point(|time| *time < at))?;
    Some(found.since(at).as_secs_f64())
}

fn within(times: &[Timestamp], at: Timestamp, from: Duration, until: Duration) -> f64 {
    let before = |limit: Timestamp| times.partition_point(|time| *time < limit);
    (before(at + until) - before(at + from)) as f64
}

/// Writes against all other commands, by feature.
type Features = BTreeMap<&'static str, Samples>;

fn one(seed: u64) -> Features {
    let world = watched(seed, Activity::Busy, WATCH);
    let floor = world.params.reply_floor;
    let latency = Duration::from_millis(20);
    let mut features = Features::new();
    let mailboxes = world.watch.commands.iter().map(|command| command.mailbox + 1).max().unwrap_or(0);
    let lines: Vec<Lines> = (0..mailboxes).map(|mailbox| Lines::of(&world, mailbox)).collect();
    for command in world.watch.commands.iter().filter(|command| command.at + Duration::from_secs(30) < world.until) {
        let Some(lines) = lines.get(command.mailbox) else { continue };
        let write = command.asked == Asked::Put;
        let mut add = |what, value: Option<f64>| {
            let samples: &mut Samples = features.entry(what).or_default();
            value.into_iter().for_each(|value| samples.push(write, value));
        };
        add("time to the next reply", next(&lines.replies, command.at));
        let second = Duration::from_secs(1);
        add("replies in two seconds from T0 on", Some(within(&lines.replies, command.at, floor, floor + 2 * second)));
        add("replies in half a second", Some(within(&lines.replies, command.at, Duration::ZERO, second / 2)));
        add("time to the next frame to a mailbox", next(&lines.copies, command.at));
        // A copy leaves with the next frame, and its confirmation comes with the first frame back after it was there.
        let confirmed = || {
            let there = command.at + Duration::from_secs_f64(next(&lines.copies, command.at)?) + latency;
            Some(there.since(command.at).as_secs_f64() + next(&lines.confirmations, there)? + latency.as_secs_f64())
        };
        let soonest = if write { confirmed() } else { Some(0.001) };
        add("control: answers as soon as it can", soonest);
    }
    features
}

/// Runs the experiment.
pub fn run(options: &Options) -> Report {
    let mut all = Features::new();
    for features in over_seeds(options, one) {
        features.into_iter().for_each(|(what, samples)| all.entry(what).or_default().append(samples));
    }
    let mut report = Report::new("E21", "does a watcher of a mailbox tell writes from reads?");
    report.costing(Some(Cost::shipped()));
    for (what, samples) in &all {
        let control = what.starts_with("control");
        let expected = if control { Expected::AtLeast(0.95) } else { Expected::Within(0.5 - LEAK, 0.5 + LEAK) };
        if let Some(area) = samples.auc() {
            report.add_interval(*what, "AUC", area, samples.len(), expected);
        }
    }
    report
}
