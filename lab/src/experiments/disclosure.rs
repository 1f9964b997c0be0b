//! E12: does statistical disclosure find whom somebody writes to? The estimators first, on batches of a threshold mix, against the table
//! of LAB 2.11; then on the lines of a crowd, where a round is the time after one of the target's texts left, which the adversary is
//! told. Positive control: clients without cover, whose lines show when something came.

use super::{
    Options,
    crowd::{self, Crowd, generator, some, watch},
    over_seeds,
    unobservability::NULL,
};
use crate::{
    attacks::{
        Rank,
        disclosure::{Received, least_squares, recall, recall_at_best, rounds_needed, statistical},
    },
    impossible::Impossible,
    population::{Decoys, Design, Lines, Watched, require},
    report::{Expected, Report},
    statistics::{mean, share, uniform},
};
use rand::{Rng, seq::index::sample};
use serde::{Deserialize, Serialize};
use veilpost_packet::random::EngineRng;

/// Parameters.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Parameters {
    /// The crowd whose lines are watched.
    pub crowd: Crowd,
    /// Batches of each setting for a seed.
    pub trials: usize,
    /// Seconds of a round, from the moment on at which a text leaves.
    pub window: f32,
    /// Targets of one crowd.
    pub targets: usize,
    /// Texts that a target has written at least.
    pub texts: usize,
}

impl Default for Parameters {
    fn default() -> Self {
        let mut crowd = Crowd { minutes: 120.0, ..Crowd::default() };
        crowd.habits.conversations = 4.0;
        Self { crowd, trials: 15, window: 20.0, targets: 40, texts: 10 }
    }
}

impl Parameters {
    /// Refuses what cannot be measured.
    ///
    /// # Errors
    /// [`Impossible`] says what.
    pub fn check(&self) -> Result<(), Impossible> {
        require(self.trials > 0 && self.targets > 0 && self.texts > 0, "trials, targets and texts must be at least 1")?;
        require(self.window.is_finite() && self.window > 0.0, "a round takes some time")?;
        self.crowd.check()
    }
}

/// A threshold mix and what was found with it.
type Setting = (usize, usize, usize, [(f64, f64); 3]);

/// Receivers, contacts of the target, messages of a batch; share of trials with all contacts right and mean recall after as many rounds
/// as one, two and three standard deviations need, 300 trials each (LAB 2.11). In that table ties were won by contacts: with ties in
/// part, recall after few rounds is up to a tenth lower, in an independent simulation too.
const TABLE: [Setting; 3] = [
    (1_000, 20, 50, [(0.0, 0.491), (0.057, 0.909), (0.953, 0.998)]),
    (100, 10, 10, [(0.003, 0.679), (0.617, 0.960), (0.990, 0.999)]),
    (1_000, 5, 100, [(0.0, 0.381), (0.407, 0.869), (0.983, 0.997)]),
];
/// Both sides have 300 trials: four standard deviations of the difference of two shares of one half, and of two mean recalls.
const SHARE_TOLERANCE: f64 = 0.12;
const RECALL_TOLERANCE: f64 = 0.04;

/// One target of a threshold mix: in each round it writes to one of its contacts, everyone else to anyone. Recall with ties
/// in part, and with ties won.
fn threshold(receivers: usize, contacts: usize, batch: usize, rounds: usize, rng: &mut EngineRng) -> (f64, f64) {
    let known: Vec<u32> = sample(rng, receivers, contacts).into_iter().map(|contact| contact as u32).collect();
    let round = |_| {
        let mut received = vec![0.0; receivers];
        let own = known.get(rng.random_range(0..contacts)).map_or(0, |contact| *contact as usize);
        let others = (1..batch).map(|_| rng.random_range(0..receivers));
        for to in std::iter::once(own).chain(others.collect::<Vec<_>>()) {
            received.get_mut(to).into_iter().for_each(|count| *count += 1.0);
        }
        received
    };
    let rounds: Vec<Received> = (0..rounds).map(round).collect();
    let background = vec![(batch - 1) as f64 / receivers as f64; receivers];
    let scores = statistical(&rounds, &background);
    (recall(&scores, &known), recall_at_best(&scores, &known))
}

/// Receivers and senders, contacts of each, batch and rounds of the comparison of both estimators.
const FAMILY: (usize, usize, usize, usize) = (100, 10, 10, 1_000);

/// Recall of both estimators where everyone has contacts and all rounds are seen: statistical, least squares.
fn family(rng: &mut EngineRng) -> Option<(f64, f64)> {
    let (people, contacts, batch, rounds) = FAMILY;
    let known: Vec<Vec<u32>> = (0..people)
        .map(|_| sample(rng, people, contacts).into_iter().map(|contact| contact as u32).collect())
        .collect();
    let (mut sent, mut received) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let (mut from, mut to) = (vec![0.0; people], vec![0.0; people]);
        for _ in 0..batch {
            let sender = rng.random_range(0..people);
            let contact = known.get(sender)?.get(rng.random_range(0..contacts)).copied()? as usize;
            *from.get_mut(sender)? += 1.0;
            *to.get_mut(contact)? += 1.0;
        }
        sent.push(from);
        received.push(to);
    }
    let target = known.first()?;
    let with = |wanted: bool| -> Vec<Received> {
        let rounds = sent.iter().zip(&received);
        let own = rounds.filter(|(from, _)| from.first().is_some_and(|own| *own > 0.0) == wanted);
        own.map(|(_, to)| to.clone()).collect()
    };
    let usual = statistical(&with(false), &vec![0.0; people]);
    let statistical = recall(&statistical(&with(true), &usual), target);
    Some((statistical, recall(&least_squares(&sent, &received, 0)?, target)))
}

/// One target of a crowd, by one estimator: its recall among whom it wrote to, and their ranks.
struct Found {
    by: &'static str,
    recall: f64,
    chance: f64,
    ranks: Vec<Rank>,
}

const SDA: &str = "disclosure";
const LEAST_SQUARES: &str = "least squares";

impl Found {
    fn new(by: &'static str, scores: &[f64], contacts: &[u32]) -> Self {
        let ranks = contacts.iter().filter_map(|contact| Rank::of(scores, *contact as usize)).collect();
        let chance = contacts.len() as f64 / scores.len().max(1) as f64;
        Self { by, recall: recall(scores, contacts), chance, ranks }
    }
}

/// Texts of each client: when the first box left, and to whom. An adversary is told the times.
fn texts(watched: &Watched) -> Vec<Vec<(f32, u32)>> {
    let mut texts = vec![Vec::new(); watched.view.lines.up.len()];
    for message in &watched.truth.messages {
        if let (Some(at), Some(of)) = (message.sent, texts.get_mut(message.from as usize)) {
            of.push((at, message.to));
        }
    }
    texts
}

fn targets(parameters: &Parameters, watched: &Watched, rng: &mut EngineRng) -> Vec<Found> {
    let (lines, window, texts) = (&watched.view.lines, parameters.window, texts(watched));
    let busy = (0..texts.len()).filter(|who| texts.get(*who).is_some_and(|of| of.len() >= parameters.texts));
    let epochs = Epochs::new(lines, window, &texts);
    let mut found = Vec::new();
    for target in some(&busy.collect::<Vec<_>>(), parameters.targets, rng) {
        let Some(of) = texts.get(target) else { continue };
        // The target's own line says nothing of its contacts.
        let others = |count: &dyn Fn(usize) -> f64| -> Vec<f64> {
            (0..texts.len()).map(|client| if client == target { 0.0 } else { count(client) }).collect()
        };
        let rounds = of.iter().filter(|(at, _)| *at + window < lines.span);
        let rounds: Vec<Received> =
            rounds.map(|(at, _)| others(&|client| lines.frames(client, *at, *at + window) as f64)).collect();
        let background = others(&|client| lines.rate(client) * f64::from(window));
        let mut contacts: Vec<u32> = of.iter().map(|(_, to)| *to).collect();
        contacts.sort_unstable();
        contacts.dedup();
        found.push(Found::new(SDA, &statistical(&rounds, &background), &contacts));
        if let Some(profile) = epochs.as_ref().and_then(|epochs| epochs.profile(target)) {
            let scores = others(&|client| profile.get(client).copied().unwrap_or(0.0));
            found.push(Found::new(LEAST_SQUARES, &scores, &contacts));
        }
    }
    found
}

/// All of the watch in rounds of one length: who sent, and what each line showed beyond its mean. For least squares, which wants more
/// rounds than senders.
struct Epochs {
    senders: Vec<usize>,
    sent: Vec<Vec<f64>>,
    shown: Vec<Received>,
}

impl Epochs {
    /// `None` where there are too many senders to tell them apart.
    fn new(lines: &Lines, window: f32, texts: &[Vec<(f32, u32)>]) -> Option<Self> {
        let count = (lines.span / window) as usize;
        let senders: Vec<usize> =
            (0..texts.len()).filter(|who| texts.get(*who).is_some_and(|of| !of.is_empty())).collect();
        if senders.len() * 2 > count {
            return None;
        }
        let mut sent = vec![vec![0.0; senders.len()]; count];
        for (column, sender) in senders.iter().enumerate() {
            for (at, _) in texts.get(*sender)? {
                let row = sent.get_mut((at / window) as usize);
                row.and_then(|row| row.get_mut(column)).into_iter().for_each(|count| *count += 1.0);
            }
        }
        let shown = |epoch: usize| {
            let from = epoch as f32 * window;
            let beyond =
                |client| lines.frames(client, from, from + window) as f64 - lines.rate(client) * f64::from(window);
            (0..texts.len()).map(beyond).collect()
        };
        Some(Self { senders, sent, shown: (0..count).map(shown).collect() })
    }

    fn profile(&self, target: usize) -> Option<Received> {
        let column = self.senders.iter().position(|sender| *sender == target)?;
        least_squares(&self.sent, &self.shown, column)
    }
}

/// Clients without cover: a frame leaves only if there is something to send.
pub(crate) const UNCOVERED: Design = Design {
    reading: crate::population::Reading::Digests,
    decoys: Decoys::None,
    cover: false,
    receipts: crate::population::Receipts::Queued,
    absences: true,
    copies: crate::population::Copies::Planned,
    reads_replace: false,
};

/// Runs the experiment.
///
/// # Errors
/// [`Impossible`] for parameters that nothing can be measured with.
pub fn run(parameters: &Parameters, options: &Options) -> Result<Report, Impossible> {
    parameters.check()?;
    let mut report = Report::new("E12", "does statistical disclosure find whom somebody writes to?");
    estimators(parameters, options, &mut report);
    for (design, name) in [(Design::default(), "as shipped"), (UNCOVERED, "control: no cover")] {
        let control = name.starts_with("control");
        let found = parameters.crowd.over(options, |seed, clients| {
            let watched = watch(&parameters.crowd.setup(seed, clients, design));
            targets(parameters, &watched, &mut generator(12, seed))
        });
        for (clients, found) in found {
            report.costing(Some(parameters.crowd.cost(clients, design)));
            let found: Vec<Found> = found.into_iter().flatten().collect();
            for by in [SDA, LEAST_SQUARES] {
                let of: Vec<&Found> = found.iter().filter(|found| found.by == by).collect();
                describe(&mut report, &format!("{name}, {clients} clients, {by}"), &of, control);
            }
        }
    }
    Ok(report)
}

fn describe(report: &mut Report, what: &str, found: &[&Found], control: bool) {
    let recalls: Vec<f64> = found.iter().map(|found| found.recall).collect();
    let chance = found.iter().map(|found| found.chance).sum::<f64>() / found.len().max(1) as f64;
    if let Some(recall) = mean(&recalls) {
        report.add_interval(format!("{what}: recall, chance {chance:.4}"), "", recall, found.len(), Expected::Known);
    }
    let ranks: Vec<Rank> = found.iter().flat_map(|found| found.ranks.iter().copied()).collect();
    let places: Vec<f64> = ranks.iter().map(Rank::place).collect();
    if let Some(test) = uniform(&places) {
        let expected = if control { Expected::Caught(NULL) } else { Expected::NothingSeen(NULL) };
        report.add(format!("{what}: places of contacts"), "p (uniformity)", test.p, places.len(), expected);
    }
    if let Some(bits) = crowd::bits(&ranks) {
        report.add_interval(format!("{what}: a contact"), "bits", bits, ranks.len(), Expected::Known);
    }
}

/// Both estimators against what is known of them.
fn estimators(parameters: &Parameters, options: &Options, report: &mut Report) {
    for (receivers, contacts, batch, expected) in TABLE {
        for (sigmas, (all, mean_recall)) in [1.0, 2.0, 3.0].into_iter().zip(expected) {
            let rounds = rounds_needed(receivers, contacts, batch, sigmas);
            let found = over_seeds(&Options { progress: false, ..*options }, |seed| {
                let mut rng = generator(112, seed);
                (0..parameters.trials)
                    .map(|_| threshold(receivers, contacts, batch, rounds, &mut rng))
                    .collect::<Vec<_>>()
            });
            let (fair, best): (Vec<f64>, Vec<f64>) = found.into_iter().flatten().unzip();
            let what = format!("{receivers} receivers, {contacts} contacts, batch {batch}, {rounds} rounds");
            let right = best.iter().filter(|recall| **recall >= 1.0).count() as u64;
            let within = |at: f64, by: f64| Expected::Within(at - by, at + by);
            let right = share(right, best.len() as u64);
            report.add_interval(
                format!("{what}: all right"),
                "of trials",
                right,
                best.len(),
                within(all, SHARE_TOLERANCE),
            );
            if let Some(recall) = mean(&best) {
                let expected = within(mean_recall, RECALL_TOLERANCE);
                report.add_interval(format!("{what}: recall, ties won"), "", recall, best.len(), expected);
            }
            if let Some(recall) = mean(&fair) {
                report.add_interval(format!("{what}: recall, ties in part"), "", recall, fair.len(), Expected::Known);
            }
        }
    }
    let found = over_seeds(&Options { progress: false, ..*options }, |seed| {
        let mut rng = generator(113, seed);
        (0..parameters.trials).filter_map(|_| family(&mut rng)).collect::<Vec<_>>()
    });
    let both: Vec<(f64, f64)> = found.into_iter().flatten().collect();
    let better: Vec<f64> = both.iter().map(|(statistical, least)| least - statistical).collect();
    let (people, contacts, batch, rounds) = FAMILY;
    if let Some(better) = mean(&better) {
        let what = format!(
            "{people} people, {contacts} contacts each, batch {batch}, {rounds} rounds: recall of least squares, more than of SDA"
        );
        report.add_interval(what, "", better, both.len(), Expected::AtLeast(0.0));
    }
}
