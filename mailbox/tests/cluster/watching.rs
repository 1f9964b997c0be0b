//! E21: what someone who sees every packet to and from a mailbox, and every frame between mailboxes, learns of what was asked. The
//! watcher here is told which reply belongs to which command, which a real one is not.

use crate::{
    cluster::{Cluster, Command, Seen},
    people::mails,
};
use std::{collections::BTreeMap, time::Duration};
use veilpost_packet::{random::exponential, time::Timestamp};
use veilpost_pki::Params;

const EACH: usize = 1_000;
const KINDS: [&str; 4] = ["put", "get", "ack", "loop"];

/// Area under the ROC curve of "is of the first sample": 0.5 is chance. Ties count half.
fn auc(one: &[f64], other: &[f64]) -> f64 {
    let wins: f64 = one
        .iter()
        .map(|a| {
            other
                .iter()
                .map(|b| {
                    if a > b {
                        1.0
                    } else if a == b {
                        0.5
                    } else {
                        0.0
                    }
                })
                .sum::<f64>()
        })
        .sum();
    wins / (one.len() * other.len()) as f64
}

/// What the watcher sees of each command: time to the reply, frames to another mailbox in the half second after it, time to the next.
fn watch() -> BTreeMap<&'static str, Vec<[f64; 3]>> {
    let mut cluster = Cluster::new(21, 2, Params { hurry: 24, ..Params::standard() });
    let until = cluster.now + Duration::from_secs(30);
    while cluster.now < until {
        cluster.run(until);
    }
    cluster.watched = Some(Vec::new());
    let mut sent: BTreeMap<u64, (&'static str, Timestamp)> = BTreeMap::new();
    let mut replied = BTreeMap::new();
    let mut note = |seen: Vec<Seen>, now: Timestamp| {
        for one in seen {
            if let Seen::Answer { number, .. } = one {
                replied.insert(number, now);
            }
        }
    };
    // Boxes are put first, then fetched, then acknowledged, with Loops between, at one mailbox.
    for number in 0..EACH as u64 * 4 {
        let (kind, at) = (KINDS[(number % 4) as usize], (number / 4) as usize);
        let mail = |back: usize| &mails(5_000)[at.saturating_sub(back)];
        let command = match kind {
            "put" => Command::Put(Box::new(mail(0).sealed.clone()), mail(0).content),
            "get" => Command::Get(mail(40).sealed.id),
            "ack" => Command::Ack(mail(80).sealed.id, mail(80).ack.clone()),
            _ => Command::Loop,
        };
        sent.insert(number, (kind, cluster.now + cluster.latency));
        cluster.send_exactly(number, 0, command);
        let until = cluster.now + exponential(&mut cluster.rng, Duration::from_millis(300));
        while cluster.now < until {
            let seen = cluster.run(until);
            note(seen, cluster.now);
        }
    }
    let until = cluster.now + Duration::from_secs(30);
    while cluster.now < until {
        let seen = cluster.run(until);
        note(seen, cluster.now);
    }
    let frames: Vec<_> =
        cluster.watched.unwrap().into_iter().filter(|(_, from, _)| *from == 0).map(|(at, ..)| at).collect();
    let mut features: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (number, (kind, at)) in sent {
        let later = frames.partition_point(|frame| *frame < at);
        let soon = frames.partition_point(|frame| *frame < at + Duration::from_millis(500));
        let next = frames.get(later).map_or(0.0, |frame| frame.since(at).as_secs_f64());
        let delay = replied[&number].since(at).as_secs_f64();
        features.entry(kind).or_default().push([delay, (soon - later) as f64, next]);
    }
    features
}

#[test]
fn a_watcher_of_a_mailbox_tells_no_kind_of_command_from_another_better_than_chance() {
    let features = watch();
    // The standard deviation of a chance AUC is 0.0129 here; four of them, for twelve comparisons.
    let bound = 4.0 * ((2.0 * EACH as f64 + 1.0) / (12.0 * (EACH * EACH) as f64)).sqrt();
    for kind in &KINDS[..3] {
        for (feature, name) in
            ["time to the reply", "frames within half a second", "time to the next frame"].iter().enumerate()
        {
            let of = |kind: &str| features[kind].iter().map(|values| values[feature]).collect::<Vec<_>>();
            let area = auc(&of(kind), &of("loop"));
            println!("{kind} against loop by {name}: AUC {area:.3}");
            assert!((area - 0.5).abs() < bound, "{kind} by {name}: {area}");
        }
    }
}
