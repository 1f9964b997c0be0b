//! E25: does the life of a box show whether it is real? A mailbox sees when a box is written, copied, read, read again and
//! acknowledged, and in which order boxes are read. Boxes of texts, and of a file, against decoys of the same busy people; the area
//! under the curve is one half at chance.
//!
//! Nobody is ever away in this world. One decoy in 16 imitates a reader who is, and one in 16 is never acknowledged: boxes that are
//! read late, or not acknowledged, are decoys here. What these would be in a network whose people come and go is not this
//! experiment's; so ages and the like are compared among boxes that were read soon, and the shares of the others are printed. Decoys
//! that give way to what their owner reads are read late too: in this world of six, one of whom reads a file, that is many; what it
//! tells of all people together is printed as the share of boxes named while the file moves and of others.

use super::{Options, over_seeds};
use crate::{
    cost::Cost,
    report::{Expected, Report},
    simulation::{Asked, Truth},
    statistics::{auc, auc_by_chance, share},
    world::{Activity, FILE_WRITER, World, watched},
};
use std::{collections::BTreeMap, time::Duration};
use veilpost_packet::{boxes::BoxTag, ids::BoxId, time::Timestamp};

/// Watch of one world: acknowledgements leave after half an hour on average.
const WATCH: Duration = Duration::from_secs(4 * 3_600);
/// Boxes written in the first part of the watch count: what is left is their life.
const BORN: Duration = Duration::from_secs(3_600);
/// Read within this time: somebody was there.
const SOON: f64 = 600.0;
/// An area this far from one half is a leak; of few boxes chance alone gives more.
const LEAK: f64 = 0.03;

/// What all mailboxes together see of one box, in seconds.
#[derive(Clone, Debug, Default)]
struct Life {
    puts: Vec<Timestamp>,
    gets: Vec<Timestamp>,
    acks: Vec<Timestamp>,
    named: Option<Timestamp>,
}

impl Life {
    /// From its naming to its first reading, in seconds.
    fn age(&self) -> Option<f64> {
        Some(self.gets.first()?.since(self.named?).as_secs_f64())
    }

    fn is_read_soon(&self) -> bool {
        self.age().is_some_and(|age| age <= SOON)
    }
}

fn lives(world: &World) -> BTreeMap<BoxId, Life> {
    let mut lives: BTreeMap<BoxId, Life> = BTreeMap::new();
    for command in &world.watch.commands {
        let Some(life) = command.id.map(|id| lives.entry(id).or_default()) else { continue };
        match command.asked {
            Asked::Put => life.puts.push(command.at),
            Asked::Get => life.gets.push(command.at),
            Asked::Ack => life.acks.push(command.at),
            Asked::Loop => {}
        }
    }
    let tags: BTreeMap<BoxTag, Timestamp> = world.watch.named.iter().rev().map(|(at, _, tag)| (*tag, *at)).collect();
    for (id, life) in &mut lives {
        life.named = tags.get(&BoxTag::of(id)).copied();
    }
    lives.retain(|_, life| life.puts.first().is_some_and(|first| first.since(world.from) < BORN));
    lives
}

/// A box's figures, by name; what did not happen has none.
fn figures(life: &Life, overtaken: Option<f64>) -> Vec<(&'static str, f64)> {
    let after = |from: Option<&Timestamp>, to: Option<&Timestamp>| Some(to?.since(*from?).as_secs_f64());
    let soon = life.is_read_soon();
    let mut figures = vec![
        (LATE, Some(f64::from(u8::from(!soon)))),
        (UNACKNOWLEDGED, Some(f64::from(u8::from(life.acks.is_empty())))),
        ("times it is written", Some(life.puts.len() as f64)),
        ("time to its first copy", after(life.puts.first(), life.puts.get(1))),
    ];
    if soon {
        figures.extend([
            ("age when it is first read", life.age()),
            ("times it is read", Some(life.gets.len() as f64)),
            ("time to its second reading", after(life.gets.first(), life.gets.get(1))),
            ("time from reading to acknowledgement", after(life.gets.first(), life.acks.first())),
            ("place in the order of reading", overtaken),
        ]);
    }
    figures.into_iter().filter_map(|(what, value)| Some((what, value?))).collect()
}

const LATE: &str = "read late or never";
const LATE_BESIDE: &str = "read late or never, named while a file moves";
const LATE_ELSE: &str = "read late or never, named at other times";
const UNACKNOWLEDGED: &str = "never acknowledged";

/// What a box is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Kind {
    Decoy,
    Text,
    File,
}

impl Kind {
    fn of(truth: Truth) -> Self {
        match truth {
            Truth { decoy: true, .. } => Self::Decoy,
            Truth { writer: FILE_WRITER, .. } => Self::File,
            Truth { .. } => Self::Text,
        }
    }
}

/// How many boxes named later were read sooner, less those named sooner and read later, among the fifty neighbours each way: of
/// boxes that were read soon. How many are not is a figure of its own.
fn overtaken(lives: &BTreeMap<BoxId, Life>) -> BTreeMap<BoxId, f64> {
    const NEIGHBOURS: usize = 50;
    let read = |life: &Life| Some((life.named?, *life.gets.first().filter(|_| life.is_read_soon())?));
    let mut order: Vec<_> =
        lives.iter().filter_map(|(id, life)| read(life).map(|(named, got)| (named, got, *id))).collect();
    order.sort_unstable();
    let place = |(at, (_, got, id)): (usize, &(Timestamp, Timestamp, BoxId))| {
        let later = order.iter().skip(at + 1).take(NEIGHBOURS).filter(|(_, other, _)| other < got).count();
        let sooner = order.iter().take(at).rev().take(NEIGHBOURS).filter(|(_, other, _)| other > got).count();
        (*id, later as f64 - sooner as f64)
    };
    order.iter().enumerate().map(place).collect()
}

type Samples = BTreeMap<&'static str, BTreeMap<Kind, Vec<f64>>>;

fn one(seed: u64) -> Samples {
    let world = watched(seed, Activity::Busy, WATCH);
    let lives = lives(&world);
    let overtaken = overtaken(&lives);
    let mut samples = Samples::new();
    let of_file = |(id, life): (&BoxId, &Life)| {
        world.watch.truth.get(id).filter(|truth| Kind::of(**truth) == Kind::File).and(life.named)
    };
    let moves = (lives.iter().filter_map(of_file).min(), lives.iter().filter_map(of_file).max());
    for (id, life) in &lives {
        if let (Some(named), (Some(first), Some(last))) = (life.named, moves) {
            let what = if (first..=last).contains(&named) { LATE_BESIDE } else { LATE_ELSE };
            let late = f64::from(u8::from(!life.is_read_soon()));
            samples.entry(what).or_default().entry(Kind::Decoy).or_default().push(late);
        }
        let Some(truth) = world.watch.truth.get(id) else { continue };
        for (what, value) in figures(life, overtaken.get(id).copied()) {
            samples.entry(what).or_default().entry(Kind::of(*truth)).or_default().push(value);
        }
    }
    samples
}

/// Runs the experiment.
pub fn run(options: &Options) -> Report {
    let mut all = Samples::new();
    for samples in over_seeds(options, one) {
        for (what, kinds) in samples {
            let known = all.entry(what).or_default();
            kinds.into_iter().for_each(|(kind, values)| known.entry(kind).or_default().extend(values));
        }
    }
    let mut report = Report::new("E25", "does a box's life at the mailboxes show whether it is real?");
    report.costing(Some(Cost::shipped()));
    for (what, kinds) in &all {
        let Some(decoys) = kinds.get(&Kind::Decoy) else { continue };
        if [LATE, LATE_BESIDE, LATE_ELSE, UNACKNOWLEDGED].contains(what) {
            for (kind, values) in kinds {
                let hits = values.iter().filter(|value| **value > 0.0).count();
                let share = share(hits as u64, values.len() as u64);
                let of = if [LATE_BESIDE, LATE_ELSE].contains(what) { "all boxes".into() } else { format!("{kind:?}") };
                report.add_interval(format!("{what}: {of}"), "of all", share, values.len(), Expected::Known);
            }
            continue;
        }
        for (kind, values) in kinds.iter().filter(|(kind, _)| **kind != Kind::Decoy) {
            if let Some(area) = auc(values, decoys) {
                let leak = LEAK.max(auc_by_chance(values.len(), decoys.len()));
                let expected = Expected::Within(0.5 - leak, 0.5 + leak);
                report.add_interval(format!("{what}: {kind:?} against decoy"), "AUC", area, values.len(), expected);
            }
        }
    }
    report
}
