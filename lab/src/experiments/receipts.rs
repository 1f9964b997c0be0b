//! E13: do receipts show who writes to somebody? The attack of NDSS 2021 on sealed sender: after each of the target's readings, who is
//! sent something? Published: linked in as few as 5 messages. Four designs, from accounts with receipts at once, as was attacked
//! there, to what ships, where mailboxes have no accounts and only lines are left to look at.

use super::{
    Options,
    crowd::{Crowd, first, generator, some, watch},
    disclosure::UNCOVERED,
    unobservability::NULL,
};
use crate::{
    attacks::{
        Rank,
        receipts::{Accounts, WINDOW, by_accounts, by_lines},
    },
    impossible::Impossible,
    population::{Design, Habits, Receipts, Watched, require},
    report::{Expected, Report},
    statistics::uniform,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use veilpost_packet::random::EngineRng;

/// Parameters.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Parameters {
    /// The crowd. People in it write and are not answered, so that nothing but receipts links them.
    pub crowd: Crowd,
    /// Messages after which the attack is scored.
    pub messages: Vec<usize>,
    /// Targets of one crowd.
    pub targets: usize,
}

impl Default for Parameters {
    fn default() -> Self {
        let habits = Habits { turns: 0.0, burst: 20.0, typing: 120.0, conversations: 0.5, ..Habits::default() };
        Self { crowd: Crowd { habits, minutes: 90.0, ..Crowd::default() }, messages: vec![1, 5, 10, 20], targets: 100 }
    }
}

impl Parameters {
    /// Refuses what cannot be measured.
    ///
    /// # Errors
    /// [`Impossible`] says what.
    pub fn check(&self) -> Result<(), Impossible> {
        let some = !self.messages.is_empty() && self.messages.iter().all(|count| *count > 0);
        require(some && self.targets > 0, "at least one message and one target are needed")?;
        self.crowd.check()
    }
}

/// Messages after which the published attack linked some writers ("as few as"; the share is not in its abstract), and after which half
/// are to be linked here.
const PUBLISHED: (usize, usize) = (5, 10);

/// What the adversary sees.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sees {
    /// For whom each box is.
    Accounts,
    /// Lines alone.
    Lines,
}

/// Readings of a conversation's messages, by reader and writer.
fn conversations(watched: &Watched) -> Vec<(usize, Vec<f32>)> {
    let mut read: BTreeMap<(u32, u32), Vec<f32>> = BTreeMap::new();
    let span = watched.view.lines.span;
    for message in &watched.truth.messages {
        if let Some(at) = message.read.filter(|at| (0.0..span - WINDOW).contains(at)) {
            read.entry((message.to, message.from)).or_default().push(at);
        }
    }
    read.into_iter().map(|((_, writer), times)| (writer as usize, times)).collect()
}

/// Ranks of the writers after so many messages.
fn ranks(parameters: &Parameters, watched: &Watched, sees: Sees, rng: &mut EngineRng) -> Vec<Vec<Rank>> {
    let reader = |id| watched.truth.owner(id).map(|owner| owner.reader);
    let accounts = Accounts::new(&watched.view.requests, reader, watched.view.lines.up.len());
    let longest = parameters.messages.iter().copied().max().unwrap_or(1);
    let all: Vec<_> = conversations(watched).into_iter().filter(|(_, read)| read.len() >= longest).collect();
    let some = some(&all, parameters.targets, rng);
    let after = |messages: &usize| {
        let rank = |(writer, read): &(usize, Vec<f32>)| {
            let read = read.get(..*messages)?;
            let scores = match sees {
                Sees::Accounts => by_accounts(&accounts, watched.view.lines.span, read),
                Sees::Lines => by_lines(&watched.view.lines, read),
            };
            Rank::of(&scores, *writer)
        };
        some.iter().filter_map(rank).collect()
    };
    parameters.messages.iter().map(after).collect()
}

const ACCOUNTS: &str = "control: accounts, receipts at once, no decoys";
const SHIPPED: &str = "as shipped: lines";
const CONTROL: &str = "control: lines, receipts at once, no cover";

/// Runs the experiment.
///
/// # Errors
/// [`Impossible`] for parameters that nothing can be measured with.
pub fn run(parameters: &Parameters, options: &Options) -> Result<Report, Impossible> {
    parameters.check()?;
    let mut report = Report::new("E13", "do receipts show who writes to somebody?");
    let immediate = Design { receipts: Receipts::Immediate, ..UNCOVERED };
    let designs = [
        (ACCOUNTS, immediate, Sees::Accounts),
        ("accounts, receipts queued, no decoys", UNCOVERED, Sees::Accounts),
        ("accounts, all else as shipped", Design::default(), Sees::Accounts),
        (CONTROL, immediate, Sees::Lines),
        (SHIPPED, Design::default(), Sees::Lines),
    ];
    for (name, design, sees) in designs {
        let found = parameters.crowd.over(options, |seed, clients| {
            let watched = watch(&parameters.crowd.setup(seed, clients, design));
            ranks(parameters, &watched, sees, &mut generator(13, seed))
        });
        for (clients, found) in found {
            report.costing(Some(parameters.crowd.cost(clients, design)));
            for (at, messages) in parameters.messages.iter().enumerate() {
                let ranks: Vec<Rank> = found.iter().filter_map(|of| of.get(at)).flatten().copied().collect();
                let what = format!("{name}, {clients} clients, {messages} messages");
                let expected = match name {
                    ACCOUNTS if *messages >= PUBLISHED.1 => Expected::AtLeast(0.5),
                    ACCOUNTS if *messages >= PUBLISHED.0 => Expected::AtLeast(0.1),
                    _ => Expected::Known,
                };
                report.add_interval(
                    format!("{what}: writer ranked first"),
                    "of targets",
                    first(&ranks),
                    ranks.len(),
                    expected,
                );
                let expected = match name {
                    SHIPPED => Expected::NothingSeen(NULL),
                    CONTROL if *messages >= PUBLISHED.0 => Expected::Caught(NULL),
                    _ => Expected::Known,
                };
                let places: Vec<f64> = ranks.iter().map(Rank::place).collect();
                if let Some(test) = uniform(&places) {
                    report.add(format!("{what}: places of writers"), "p (uniformity)", test.p, places.len(), expected);
                }
            }
        }
    }
    Ok(report)
}
