//! A mailbox of the set that does not keep its word: everything arrives once all the same, and it is the one that people are warned of.

use super::epochs::{SECOND, run_epochs, small};
use std::{collections::BTreeSet, time::Duration};
use veilpost_client::store::{audits, outbox::OutboxId};
use veilpost_lab::simulation::{Nature, Packets, Setup, Simulation, Who};
use veilpost_pki::Params;

/// Texts that each of two people sends.
const TEXTS: usize = 16;
/// The bad one of four.
const BAD: usize = 1;
const HOUR: Duration = Duration::from_secs(3_600);

/// Three people, of whom two pairs talk, and four mailboxes.
struct Talk {
    simulation: Simulation,
    /// Who writes to whom, under which name.
    pairs: Vec<(usize, usize, String)>,
    /// Audits that each person has made at the bad mailbox, as far as they were seen.
    audited: Vec<BTreeSet<OutboxId>>,
    /// How many these were when the person was first warned.
    noticed: Vec<Option<usize>>,
    words: &'static str,
}

impl Talk {
    /// The mailbox turns bad when they have met, so that no audit of it is missed here.
    fn new(setup: Setup, nature: Nature, words: &'static str) -> Self {
        let mut simulation = Simulation::new(Setup { clients: 3, mailboxes: 4, packets: Packets::Model, ..setup });
        let mut pairs = Vec::new();
        for (one, other) in [(0, 1), (1, 2)] {
            let (theirs, ours) = simulation.befriend(one, other);
            pairs.extend([(one, other, theirs), (other, one, ours)]);
        }
        simulation.set_nature(BAD, nature);
        Self { simulation, pairs, audited: vec![BTreeSet::new(); 3], noticed: vec![None; 3], words }
    }

    fn write(&mut self, number: usize) {
        for (from, _, name) in &self.pairs {
            let (now, text) = (self.simulation.now(), format!("{from} to {name}: {number}"));
            self.simulation.client(*from).send_text(now, name, &text).unwrap();
        }
    }

    /// Runs until `done` says so; true if it did within this time.
    fn run(&mut self, time: Duration, mut done: impl FnMut(&mut Self) -> bool) -> bool {
        let until = self.simulation.now() + time;
        while self.simulation.now() < until {
            let second = self.simulation.now() + SECOND;
            self.simulation.run(second, |_| false);
            self.look();
            if done(self) {
                return true;
            }
        }
        false
    }

    /// Takes down who is warned of, and after how many audits.
    fn look(&mut self) {
        let now = self.simulation.now();
        let of = |simulation: &Simulation, mailbox| {
            simulation.id_of(Who::Mailbox(mailbox)).to_string().chars().take(12).collect::<String>()
        };
        let names: Vec<_> = (0..4).map(|mailbox| of(&self.simulation, mailbox)).collect();
        let bad = self.simulation.id_of(Who::Mailbox(BAD));
        for client in 0..3 {
            let core = self.simulation.client(client);
            let open = audits::all(core.store().connection()).unwrap();
            let made = open.into_iter().filter(|(_, audit)| audit.holder == bad && audit.tries > 0);
            self.audited[client].extend(made.map(|(id, _)| id));
            let warnings: Vec<_> =
                core.status(now).unwrap().warnings.into_iter().filter(|told| told.starts_with("mailbox ")).collect();
            assert!(warnings.iter().all(|told| told.contains(&names[BAD])), "an honest one is accused: {warnings:?}");
            if warnings.iter().any(|told| told.contains(self.words)) {
                self.noticed[client].get_or_insert(self.audited[client].len());
            }
        }
    }

    fn texts(&mut self) -> usize {
        (0..3).map(|client| self.simulation.history(client).0.len()).sum()
    }

    /// Each text once, to whom it was sent.
    fn assert_each_came_once(&mut self) {
        for client in 0..3 {
            let (mut came, _) = self.simulation.history(client);
            let to = |(from, to, name): &(usize, usize, String)| (*to == client).then(|| (*from, name.clone()));
            let from: Vec<_> = self.pairs.iter().filter_map(to).collect();
            let sent = from.iter().flat_map(|(from, name)| (0..TEXTS).map(move |at| format!("{from} to {name}: {at}")));
            let mut sent: Vec<_> = sent.collect();
            came.sort();
            sent.sort();
            assert_eq!(came, sent, "client {client}");
        }
    }
}

/// People talk until all has come, within two hours of virtual time.
fn talk(setup: Setup, nature: Nature, words: &'static str, every: Duration) -> Talk {
    let mut talk = Talk::new(setup, nature, words);
    for number in 0..TEXTS {
        talk.write(number);
        talk.run(every, |_| false);
    }
    let all = TEXTS * talk.pairs.len();
    let came = talk.run(2 * HOUR, |talk| talk.texts() >= all);
    talk.assert_each_came_once();
    assert!(came);
    talk
}

/// Everyone is warned, after so many audits.
fn is_noticed(talk: &mut Talk, after: std::ops::RangeInclusive<usize>) {
    let noticed = talk.run(4 * HOUR, |talk| talk.noticed.iter().all(Option::is_some));
    let audited: Vec<_> = talk.audited.iter().map(BTreeSet::len).collect();
    assert!(
        noticed && talk.noticed.iter().flatten().all(|audits| after.contains(audits)),
        "{:?} of {audited:?}",
        talk.noticed
    );
    talk.assert_each_came_once();
}

/// By the first audit; others may be on their way at that time.
const FIRST: std::ops::RangeInclusive<usize> = 1..=3;

#[test]
fn a_mailbox_that_signs_and_drops_loses_nothing_and_is_noticed_by_the_first_audit() {
    is_noticed(&mut talk(small(90), Nature::Drops, "does not have them", 10 * SECOND), FIRST);
}

#[test]
fn a_mailbox_that_answers_garbage_loses_nothing_and_is_noticed_by_the_first_audit() {
    is_noticed(&mut talk(small(91), Nature::Garbage, "does not have them", 10 * SECOND), FIRST);
}

#[test]
fn a_mailbox_that_answers_with_another_box_loses_nothing_and_is_noticed_by_the_first_audit() {
    is_noticed(&mut talk(small(92), Nature::OldBytes, "does not have them", 10 * SECOND), FIRST);
}

/// The fourth audit without an answer says so; each is asked three times, so as many again may be under way.
#[test]
fn a_mailbox_that_answers_nobody_loses_nothing_and_is_noticed_by_the_fourth_audit() {
    is_noticed(&mut talk(small(93), Nature::Silent, "does not hand out", 10 * SECOND), 4..=10);
}

/// Long epochs, so that the key of a reply that is minutes late is still there.
fn patient(seed: u64) -> Setup {
    let setup = small(seed);
    let params = Params { epoch: 1_200 * SECOND, key_grace: 600 * SECOND, ..setup.params };
    Setup { params, packets: Packets::Model, ..setup }
}

#[test]
fn a_mailbox_that_answers_minutes_late_loses_and_repeats_nothing() {
    let late = Nature::Slow(Duration::from_secs(150));
    let mut talk = talk(patient(94), late, "does not hand out", 20 * SECOND);
    run_epochs(&mut talk.simulation, 1);
    talk.assert_each_came_once();
    let bad: u64 = (0..3).map(|client| talk.simulation.client(client).counters().bad_replies).sum();
    assert!(bad > 100, "late replies came, and were not taken for answers: {bad}");
}
