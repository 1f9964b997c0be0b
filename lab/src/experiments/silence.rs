//! E18: mailboxes group box ids that fall silent and return together. Adjusted Rand index against who reads them. Positive control:
//! clients that poll the next box of each contact, so that all these ids are silent while a client is offline. With digests a box
//! that was written while its reader was offline is asked for when the reader has come back, once, after a wait of its own. Beside it:
//! what mailboxes learn of such a box's reader together with somebody who sees when each client is online.

use super::{
    Options,
    crowd::{self, Crowd, generator, some, watch},
};
use crate::{
    attacks::{
        Rank,
        clusters::{Silences, adjusted_rand, after_naming, in_series, together},
        presence::by_return,
    },
    impossible::Impossible,
    population::{Design, Habits, Kind, Reading, Watched, require},
    report::{Expected, Report},
    statistics::mean,
};
use serde::{Deserialize, Serialize};

/// Parameters.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Parameters {
    /// The crowd. Its people come and go.
    pub crowd: Crowd,
    /// Seconds within which silences count as one.
    pub tolerances: Vec<f32>,
    /// Shortest silence that is looked at, in seconds.
    pub silent: f32,
    /// Boxes of one crowd whose reader is looked for by presence.
    pub boxes: usize,
}

impl Default for Parameters {
    fn default() -> Self {
        let habits = Habits { online: 40.0, offline: 30.0, active: 1.0, ..Habits::default() };
        Self {
            crowd: Crowd { habits, minutes: 120.0, warm_up: 60.0, ..Crowd::default() },
            tolerances: vec![3.0, 10.0, 30.0],
            silent: 300.0,
            boxes: 200,
        }
    }
}

impl Parameters {
    /// Refuses what cannot be measured.
    ///
    /// # Errors
    /// [`Impossible`] says what.
    pub fn check(&self) -> Result<(), Impossible> {
        let positive = |seconds: &f32| seconds.is_finite() && *seconds > 0.0;
        require(!self.tolerances.is_empty() && self.tolerances.iter().all(positive), "tolerances are above zero")?;
        require(positive(&self.silent), "a silence takes some time")?;
        require(self.crowd.habits.offline > 0.0, "nobody is ever offline, so nothing falls silent")?;
        self.crowd.check()
    }
}

/// An index this far from zero is a leak.
const LEAK: f64 = 0.05;
/// Boxes that polls show at least.
const CONTROL: f64 = 0.5;

/// Agreement of the groups with whose the boxes are.
fn agreement(watched: &Watched, silent: &[Silences], tolerance: f32, begins: bool) -> Option<f64> {
    let groups = together(silent, tolerance, begins);
    let reader = |silent: &Silences| watched.truth.owner(silent.id).map_or(usize::MAX, |owner| owner.reader as usize);
    adjusted_rand(&groups, &silent.iter().map(reader).collect::<Vec<_>>())
}

/// What one crowd shows.
struct Found {
    /// Agreement at each tolerance.
    index: Vec<Option<f64>>,
    /// Boxes that were silent.
    boxes: f64,
    /// Of readers by presence, of texts and of all boxes.
    ranks: [Vec<Rank>; 2],
}

fn one(parameters: &Parameters, seed: u64, clients: usize, reading: Reading) -> Found {
    let watched = watch(&parameters.crowd.setup(seed, clients, Design { reading, ..Design::default() }));
    let by_box = watched.view.requests.by_box();
    let polls = reading == Reading::Polls;
    let silent = if polls {
        in_series(&by_box, parameters.silent)
    } else {
        after_naming(&by_box, &watched.view.named, parameters.silent)
    };
    let index = |tolerance: &f32| agreement(&watched, &silent, *tolerance, polls);
    let index = parameters.tolerances.iter().map(index).collect();
    let mut ranks = [Vec::new(), Vec::new()];
    if !polls {
        let mut rng = generator(18, seed);
        let text = |silent: &&Silences| watched.truth.owner(silent.id).is_some_and(|owner| owner.kind == Kind::Text);
        let texts: Vec<Silences> = silent.iter().filter(text).cloned().collect();
        ranks = [&texts, &silent].map(|of| {
            let some = some(of, parameters.boxes, &mut rng);
            some.iter().filter_map(|silent| reader_by_return(&watched, silent)).collect()
        });
    }
    Found { index, boxes: silent.len() as f64, ranks }
}

fn reader_by_return(watched: &Watched, silent: &Silences) -> Option<Rank> {
    let (named, asked) = *silent.times.first()?;
    let scores = by_return(&watched.view.lines, named, asked);
    Rank::of(&scores, watched.truth.owner(silent.id)?.reader as usize)
}

/// Runs the experiment.
///
/// # Errors
/// [`Impossible`] for parameters that nothing can be measured with.
pub fn run(parameters: &Parameters, options: &Options) -> Result<Report, Impossible> {
    parameters.check()?;
    let mut report = Report::new("E18", "do boxes that fall silent and return together show whose they are?");
    for (name, reading) in [("as shipped", Reading::Digests), ("control: polls", Reading::Polls)] {
        for (clients, found) in parameters.crowd.over(options, |seed, clients| one(parameters, seed, clients, reading))
        {
            report.costing(Some(parameters.crowd.cost(clients, Design { reading, ..Design::default() })));
            let boxes = found.iter().map(|found| found.boxes).sum::<f64>() / found.len().max(1) as f64;
            for (at, kind) in ["text", "box"].into_iter().enumerate() {
                let ranks: Vec<Rank> =
                    found.iter().filter_map(|found| found.ranks.get(at)).flatten().copied().collect();
                let what = format!("{name}, {clients} clients: reader of a {kind} that was read late, with lines");
                if let Some(bits) = crowd::bits(&ranks) {
                    report.add_interval(format!("{what}, over chance"), "bits", bits, ranks.len(), Expected::Known);
                    let first = crowd::first(&ranks);
                    report.add_interval(
                        format!("{what}, ranked first"),
                        "of boxes",
                        first,
                        ranks.len(),
                        Expected::Known,
                    );
                }
            }
            for (at, tolerance) in parameters.tolerances.iter().enumerate() {
                let all: Vec<f64> = found.iter().filter_map(|found| found.index.get(at).copied().flatten()).collect();
                let what = format!("{name}, {clients} clients, {tolerance} s, {boxes:.0} boxes");
                let control = name.starts_with("control");
                // Polls of one contact's box are some 15 s apart: a shorter tolerance cannot see that they end together.
                let expected = match control {
                    true if *tolerance == CONTROL_TOLERANCE && clients <= 1_000 => Expected::AtLeast(CONTROL),
                    true => Expected::Known,
                    false => Expected::Within(-LEAK, LEAK),
                };
                match (mean(&all), all.first()) {
                    (Some(index), _) => report.add_interval(what, "ARI", index, all.len(), expected),
                    (None, Some(index)) => report.add(what, "ARI", *index, 1, expected),
                    (None, None) => {}
                }
            }
        }
    }
    Ok(report)
}

/// The tolerance that the control is held to.
const CONTROL_TOLERANCE: f32 = 30.0;
