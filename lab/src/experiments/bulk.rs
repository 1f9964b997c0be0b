//! E22: who sends a file of 300 KiB, and who reads it? A watcher of all lines, alone and with all mailboxes, who is told when the
//! transfer was. Positive controls: real boxes on top of the decoys, clients without cover. What is left for whoever is told which
//! boxes belong to the file is E17's. How long files take stands beside it.

use super::{
    Options,
    crowd::{self, Crowd, first, generator, some, watch, way},
    disclosure::UNCOVERED,
    unobservability::NULL,
};
use crate::{
    attacks::{
        Rank,
        bulk::{by_fit, by_volume},
    },
    cost::Cost,
    impossible::Impossible,
    population::{Decoys, Design, Habits, Message, Setup, Watched, require},
    report::{Expected, Report},
    simulation::Asked,
    statistics::{mean, quantile, uniform},
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use veilpost_packet::random::EngineRng;

/// Parameters.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Parameters {
    /// The crowd. Some of its people send files.
    pub crowd: Crowd,
    /// Transfers of one crowd that are looked at.
    pub transfers: usize,
    /// One send tick in so many is a Put slot: how much of a client's traffic decoys are, and how long files take.
    pub put_slots: Vec<u32>,
}

impl Default for Parameters {
    fn default() -> Self {
        let habits = Habits { files: 0.1, ..Habits::default() };
        Self { crowd: Crowd { habits, minutes: 90.0, ..Crowd::default() }, transfers: 60, put_slots: vec![2, 4, 8] }
    }
}

impl Parameters {
    /// Refuses what cannot be measured.
    ///
    /// # Errors
    /// [`Impossible`] says what.
    pub fn check(&self) -> Result<(), Impossible> {
        require(self.transfers > 0, "at least one transfer is needed")?;
        require(self.crowd.habits.files > 0.0, "nobody sends a file")?;
        require(!self.put_slots.is_empty(), "at least one share of Put slots is needed")?;
        self.crowd.check()?;
        let clients = self.crowd.clients.first().copied().unwrap_or(0);
        let setup = |slot: &u32| with_slots(self.crowd.setup(0, clients, Design::default()), *slot);
        self.put_slots.iter().try_for_each(|slot| setup(slot).check())
    }
}

fn with_slots(mut setup: Setup, put_slot: u32) -> Setup {
    setup.params.put_slot = put_slot;
    setup
}

/// What came out, by what was asked.
#[derive(Default)]
struct Found {
    ranks: BTreeMap<&'static str, Vec<Rank>>,
    seconds: Vec<f64>,
}

const SENDER: &str = "sender, by lines";
const READER: &str = "reader, by lines";
const SENDER_FIT: &str = "sender, by lines and mailboxes";
const READER_FIT: &str = "reader, by lines and mailboxes";

fn attack(parameters: &Parameters, setup: &Setup, rng: &mut EngineRng) -> Found {
    let (watched, way): (Watched, _) = (watch(setup), way(setup));
    let files: Vec<Message> =
        watched.truth.transfers().map(|(_, file)| *file).filter(|file| file.sent > Some(0.0)).collect();
    let mut found = Found::default();
    for file in some(&files, parameters.transfers, rng) {
        let (Some(sent), Some(read)) = (file.sent, file.read) else { continue };
        found.seconds.push(f64::from(read - file.said));
        let (lines, requests) = (&watched.view.lines, &watched.view.requests);
        let volume = by_volume(lines, sent, read);
        let puts = by_fit(lines, requests, Asked::Put, &way, sent, read);
        let gets = by_fit(lines, requests, Asked::Get, &way, sent, read);
        for (name, scores, who) in [
            (SENDER, &volume, file.from),
            (READER, &volume, file.to),
            (SENDER_FIT, &puts, file.from),
            (READER_FIT, &gets, file.to),
        ] {
            found.ranks.entry(name).or_default().extend(Rank::of(scores, who as usize));
        }
    }
    found
}

/// Runs the experiment.
///
/// # Errors
/// [`Impossible`] for parameters that nothing can be measured with.
pub fn run(parameters: &Parameters, options: &Options) -> Result<Report, Impossible> {
    parameters.check()?;
    let mut report = Report::new("E22", "who sends a file, and who reads it?");
    parameters.crowd.add_costs(&mut report);
    let shipped = Design::default();
    let standard = Setup::default().params.put_slot;
    let slots = parameters.put_slots.iter().map(|slot| (format!("one Put slot in {slot}"), shipped, *slot));
    let others = [
        ("reads beside decoys".to_owned(), Design { reads_replace: false, ..shipped }, standard),
        ("control: additive decoys".to_owned(), Design { decoys: Decoys::Additive, ..shipped }, standard),
        ("control: no cover".to_owned(), UNCOVERED, standard),
    ];
    for (name, design, slot) in slots.chain(others) {
        let found = parameters.crowd.over(options, |seed, clients| {
            let setup = with_slots(parameters.crowd.setup(seed, clients, design), slot);
            attack(parameters, &setup, &mut generator(22, seed))
        });
        for (clients, found) in found {
            let setup = with_slots(parameters.crowd.setup(0, clients, design), slot);
            report.costing(Some(Cost::measured(&setup)));
            describe(&mut report, &format!("{name}, {clients} clients"), found);
        }
    }
    Ok(report)
}

fn describe(report: &mut Report, what: &str, found: Vec<Found>) {
    let mut ranks: BTreeMap<&str, Vec<Rank>> = BTreeMap::new();
    let mut seconds = Vec::new();
    for one in found {
        one.ranks.into_iter().for_each(|(name, of)| ranks.entry(name).or_default().extend(of));
        seconds.extend(one.seconds);
    }
    for (name, ranks) in ranks {
        // Additive decoys show the sender, and no cover both; what else the controls show is not theirs to show.
        let control = what.starts_with("control");
        let caught = if what.contains("additive") { name == SENDER } else { [SENDER, READER].contains(&name) };
        let expected = match (control, caught) {
            (true, true) => Expected::Caught(NULL),
            (true, false) => Expected::Known,
            (false, _) => Expected::NothingSeen(NULL),
        };
        report.add_interval(
            format!("{what}: {name}, ranked first"),
            "of transfers",
            first(&ranks),
            ranks.len(),
            Expected::Known,
        );
        if let Some(bits) = crowd::bits(&ranks) {
            report.add_interval(format!("{what}: {name}, over chance"), "bits", bits, ranks.len(), Expected::Known);
        }
        let places: Vec<f64> = ranks.iter().map(Rank::place).collect();
        if let Some(test) = uniform(&places) {
            report.add(format!("{what}: {name}, places"), "p (uniformity)", test.p, places.len(), expected);
        }
    }
    if let Some(mean) = mean(&seconds) {
        report.add_interval(format!("{what}: time until the file is read"), "s", mean, seconds.len(), Expected::Known);
    }
    if let Some(late) = quantile(&seconds, 0.95) {
        report.add(format!("{what}: time until the file is read, 95 %"), "s", late, seconds.len(), Expected::Known);
    }
}
