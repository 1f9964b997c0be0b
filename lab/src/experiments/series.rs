//! E17: a watcher of all lines works with the mailboxes. Whose are the requests for one box, and those for all boxes of one transfer if
//! somebody, a contact for one, says which belong together? Positive control: clients that poll an id which is not there yet.

use super::{
    Options,
    crowd::{self, Crowd, first, generator, some, watch, way},
};
use crate::{
    attacks::{
        Rank,
        series::{Suspects, Way},
    },
    impossible::Impossible,
    population::{Design, Habits, Id, Kind, Owner, Reading, Request, Watched, require},
    report::{Expected, Report},
    simulation::Asked,
    statistics::{mean, quantile},
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Parameters.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Parameters {
    /// The crowd.
    pub crowd: Crowd,
    /// Boxes of one crowd that are looked at.
    pub boxes: usize,
    /// Transfers of one crowd that are looked at.
    pub transfers: usize,
    /// How many mailboxes work together, each number measured alone.
    pub colluding: Vec<usize>,
    /// Requests after which the attack on polls is scored.
    pub polls: Vec<usize>,
}

impl Default for Parameters {
    fn default() -> Self {
        let habits = Habits { files: 0.2, ..Habits::default() };
        Self {
            crowd: Crowd { habits, ..Crowd::default() },
            boxes: 60,
            transfers: 10,
            colluding: vec![1, 3],
            polls: vec![20, 40],
        }
    }
}

impl Parameters {
    /// Refuses what cannot be measured.
    ///
    /// # Errors
    /// [`Impossible`] says what.
    pub fn check(&self) -> Result<(), Impossible> {
        require(self.boxes > 0 && self.transfers > 0, "at least one box and one transfer are needed")?;
        require(!self.polls.is_empty() && self.polls.iter().all(|count| *count > 0), "at least one poll is needed")?;
        let some = |colluding: &usize| (1..=self.crowd.mailboxes).contains(colluding);
        require(self.colluding.iter().all(some), "at least one mailbox colludes, and no more than there are")?;
        self.crowd.check()
    }
}

/// Ranked first after so many polls of one holder, by clients (LAB, single seed).
const POLLED: [(usize, usize, f64); 4] = [(1_000, 20, 0.45), (1_000, 40, 0.95), (10_000, 20, 0.27), (10_000, 40, 0.80)];
/// As LAB gives it.
const POLLED_TOLERANCE: f64 = 0.1;
/// Seconds at the beginning of the watch whose requests may have left before it.
const EARLY: f32 = 20.0;

/// What one series says of one client.
#[derive(Clone, Default)]
struct Outcome {
    /// After each request.
    ranks: Vec<Rank>,
    /// Of the client's own likelihood, for each request.
    bits: f64,
}

fn follow(watched: &Watched, way: &Way, who: u32, series: &[Request]) -> Outcome {
    let mut suspects = Suspects::new(&watched.view.lines, way);
    let mut outcome = Outcome::default();
    for request in series.iter().filter(|request| request.at > EARLY).take(REQUESTS) {
        suspects.handle(request);
        outcome.ranks.extend(Rank::of(&suspects.bits, who as usize));
    }
    let own = suspects.bits.get(who as usize).copied().unwrap_or(0.0);
    outcome.bits = own / outcome.ranks.len().max(1) as f64;
    outcome
}

/// What one crowd shows, by name and how many mailboxes work together.
type Outcomes = BTreeMap<(&'static str, usize), Vec<Outcome>>;

const READER: &str = "reader of one box";
const WRITER: &str = "writer of one box";
const TRANSFER_READER: &str = "reader of a file whose boxes are told";
const TRANSFER_WRITER: &str = "writer of a file whose boxes are told";
const POLLER: &str = "control: polls one id";
/// Requests of one series that are looked at: more than enough.
const REQUESTS: usize = 150;

/// Puts are the writer's, Gets and Acks the reader's, but for audits, which a mailbox takes for the reader's.
fn of_side(series: &[Request], writer: bool) -> Vec<Request> {
    series.iter().filter(|request| (request.asked == Asked::Put) == writer).copied().collect()
}

fn shipped(parameters: &Parameters, seed: u64, clients: usize) -> Outcomes {
    let setup = parameters.crowd.setup(seed, clients, Design::default());
    let watched = watch(&setup);
    let mut outcomes = Outcomes::new();
    for colluding in &parameters.colluding {
        let (way, mut rng) = (way(&setup), generator(17, seed));
        let by_box = watched.view.requests.of_mailboxes(*colluding).by_box();
        let mut look = |name, who, series: Vec<Request>| {
            let outcome = follow(&watched, &way, who, &series);
            outcomes.entry((name, *colluding)).or_default().push(outcome);
        };
        for (id, owner) in some(&texts(&watched), parameters.boxes, &mut rng) {
            look(READER, owner.reader, of_side(by_box.of(id), false));
            look(WRITER, owner.writer, of_side(by_box.of(id), true));
        }
        let transfers: Vec<_> = watched.truth.transfers().filter(|(_, file)| file.said > EARLY).collect();
        for (transfer, file) in some(&transfers, parameters.transfers, &mut rng) {
            let told = watched.truth.boxes_of(transfer);
            let mut all: Vec<Request> = told.boxes.iter().flat_map(|id| by_box.of(*id)).copied().collect();
            all.sort_by(|one, other| one.at.total_cmp(&other.at));
            look(TRANSFER_READER, file.to, of_side(&all, false));
            look(TRANSFER_WRITER, file.from, of_side(&all, true));
        }
    }
    outcomes
}

/// Boxes of texts that were read in the watch.
fn texts(watched: &Watched) -> Vec<(Id, Owner)> {
    let read =
        |of: u32| watched.truth.messages.get(of as usize).is_some_and(|text| text.said > EARLY && text.read.is_some());
    let all = (0u32..).zip(&watched.truth.owners).filter(|(_, owner)| owner.kind == Kind::Text && read(owner.of));
    all.map(|(id, owner)| (id, *owner)).collect()
}

fn polls(parameters: &Parameters, seed: u64, clients: usize) -> Outcomes {
    let design = Design { reading: Reading::Polls, ..Design::default() };
    let setup = parameters.crowd.setup(seed, clients, design);
    let (watched, way, mut rng) = (watch(&setup), way(&setup), generator(17, seed));
    let most = parameters.polls.iter().copied().max().unwrap_or(1);
    let by_box = watched.view.requests.by_box();
    let polled: Vec<(Id, Vec<Request>)> = by_box
        .series()
        .filter_map(|series| Some((series.first()?.id, of_side(series, false))))
        .filter(|(_, gets)| gets.iter().filter(|get| get.at > EARLY).count() >= most)
        .collect();
    let mut outcomes = Outcomes::new();
    for (id, gets) in some(&polled, parameters.boxes, &mut rng) {
        let Some(owner) = watched.truth.owner(id) else { continue };
        // All polls of an id go to one holder.
        outcomes.entry((POLLER, 1)).or_default().push(follow(&watched, &way, owner.reader, &gets));
    }
    outcomes
}

/// Runs the experiment.
///
/// # Errors
/// [`Impossible`] for parameters that nothing can be measured with.
pub fn run(parameters: &Parameters, options: &Options) -> Result<Report, Impossible> {
    parameters.check()?;
    let mut report = Report::new("E17", "whose are the requests for one box?");
    let found = parameters.crowd.over(options, |seed, clients| {
        let mut outcomes = shipped(parameters, seed, clients);
        outcomes.extend(polls(parameters, seed, clients));
        outcomes
    });
    for (clients, found) in found {
        let mut all = Outcomes::new();
        for outcomes in found {
            outcomes.into_iter().for_each(|(name, of)| all.entry(name).or_default().extend(of));
        }
        let cost = |reading| Some(parameters.crowd.cost(clients, Design { reading, ..Design::default() }));
        let [digests, polls] = [Reading::Digests, Reading::Polls].map(cost);
        for ((name, colluding), outcomes) in &all {
            report.costing(if *name == POLLER { polls } else { digests });
            let what = format!("{name}, {clients} clients, {colluding} of {} mailboxes", parameters.crowd.mailboxes);
            describe(parameters, &mut report, &what, outcomes, clients, *name == POLLER);
        }
    }
    Ok(report)
}

fn describe(
    parameters: &Parameters,
    report: &mut Report,
    what: &str,
    outcomes: &[Outcome],
    clients: usize,
    polled: bool,
) {
    let whole: Vec<&Outcome> = outcomes.iter().filter(|outcome| !outcome.ranks.is_empty()).collect();
    let bits: Vec<f64> = whole.iter().map(|outcome| outcome.bits).collect();
    if let Some(bits) = mean(&bits) {
        report.add_interval(format!("{what}: a request"), "bits", bits, whole.len(), Expected::Known);
    }
    if polled {
        for polls in &parameters.polls {
            let ranks: Vec<Rank> = whole.iter().filter_map(|outcome| outcome.ranks.get(polls - 1)).copied().collect();
            let known = POLLED.iter().find(|(of, after, _)| (of, after) == (&clients, polls));
            let expected = known.map_or(Expected::Known, |(.., share)| {
                Expected::Within(share - POLLED_TOLERANCE, share + POLLED_TOLERANCE)
            });
            report.add_interval(
                format!("{what}: ranked first after {polls}"),
                "of ids",
                first(&ranks),
                ranks.len(),
                expected,
            );
        }
    }
    let requests: Vec<f64> = whole.iter().map(|outcome| outcome.ranks.len() as f64).collect();
    if let Some(requests) = mean(&requests).filter(|_| !polled) {
        report.add_interval(format!("{what}: requests"), "requests", requests, whole.len(), Expected::Known);
        let last: Vec<Rank> = whole.iter().filter_map(|outcome| outcome.ranks.last()).copied().collect();
        report.add_interval(format!("{what}: ranked first"), "of all", first(&last), last.len(), Expected::Known);
        if let Some(bits) = crowd::bits(&last) {
            report.add_interval(format!("{what}: in all, over chance"), "bits", bits, last.len(), Expected::Known);
        }
    }
    if let Some(requests) = half(&whole) {
        report.add(format!("{what}: half are ranked first after"), "requests", requests, whole.len(), Expected::Known);
    }
}

/// The number of requests after which half of all are ranked first for good: the median of each one's own; `None` if half of them
/// never are.
fn half(outcomes: &[&Outcome]) -> Option<f64> {
    let needed = |outcome: &&Outcome| {
        let not_first = outcome.ranks.iter().rposition(|rank| rank.first < 1.0);
        match not_first {
            None => 1.0,
            Some(at) if at + 1 < outcome.ranks.len() => (at + 2) as f64,
            Some(_) => f64::INFINITY,
        }
    };
    quantile(&outcomes.iter().map(needed).collect::<Vec<_>>(), 0.5).filter(|requests| requests.is_finite())
}
