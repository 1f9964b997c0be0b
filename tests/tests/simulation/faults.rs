//! A network that suffers for hundreds of epochs. Faults are drawn from the seed, each for some epochs; what they may hit at one
//! time is bounded, so that the network can recover, and does.

use super::epochs::{SECOND, large};
use rand::{Rng, seq::IndexedRandom};
use std::collections::{BTreeMap, BTreeSet};
use veilpost_lab::simulation::{Nature, Packets, Setup, Simulation, Who};
use veilpost_packet::{
    random::{EngineRng, seeded},
    time::Epoch,
};

/// What was done to the network, to be undone.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Fault {
    /// Processes that do not run.
    Down(Vec<Who>),
    /// Links that are cut between the first and the second.
    Cut(Vec<Who>, Vec<Who>),
    /// A clock that is wrong.
    Skewed(Who),
    /// A node that the authorities bar.
    Barred(Who),
    /// A mailbox whose disk is full.
    Full(usize),
    /// A mailbox whose disk is so slow that its answers are late.
    Slow(usize),
    /// A client without a network.
    Offline(usize),
}

impl Fault {
    fn victims(&self) -> Vec<Who> {
        match self {
            Self::Down(all) | Self::Cut(all, _) => all.clone(),
            Self::Skewed(who) | Self::Barred(who) => vec![*who],
            Self::Full(mailbox) | Self::Slow(mailbox) => vec![Who::Mailbox(*mailbox)],
            Self::Offline(client) => vec![Who::Client(*client)],
        }
    }
}

/// Epochs that any other fault lasts at most. A mailbox that is away for longer than a reader's four quick tries take makes it
/// wait for a slow one, six hours in a real network; that is longer than later messages wait for a missing one (two hours), which
/// then opens only if its session has not turned five times since.
const FAULT_MAX: u64 = 4;
/// Epochs without faults at the end, at least.
const CALM: u64 = 15;
/// Epochs of calm after which nothing is missing any more. What is not stored after its planned copies is sent again after an
/// uncapped exponential with a mean of ten minutes, 7.5 epochs of the hurried network: six times that is exceeded once in 400.
const LAST: u64 = 45;
/// Epochs that a storm over most of the authorities lasts at most.
const STORM_MAX: u64 = 3;
/// Epochs from the beginning of one storm to that of the next at least.
const STORM_EVERY: u64 = 10;
/// Epochs from the loss of one mailbox's disk to that of the next at least: by then all has been copied that the first one had. Of
/// two disks that die at one time nothing is promised.
const LOSS_EVERY: u64 = 30;

/// Draws faults, and takes them back.
struct Chaos {
    rng: EngineRng,
    /// With the epoch in which each ends.
    on: Vec<(u64, Fault)>,
    /// No storm over the authorities before this epoch.
    fair: u64,
    /// No disk is lost before this epoch.
    safe: u64,
    setup: Setup,
    counts: BTreeMap<&'static str, u32>,
}

impl Chaos {
    fn new(setup: &Setup) -> Self {
        let rng = seeded([setup.seed as u8; 32]);
        Self { rng, on: Vec::new(), fair: 0, safe: 0, setup: setup.clone(), counts: BTreeMap::new() }
    }

    fn mixes(&self) -> usize {
        self.setup.width * 3
    }

    fn authorities(&self) -> Vec<Who> {
        (0..self.setup.authorities).map(Who::Authority).collect()
    }

    fn of_kind(&self, who: Who) -> Vec<Who> {
        let (mixes, all) = (self.mixes(), self.mixes() + self.setup.entries);
        match who {
            Who::Authority(_) => self.authorities(),
            Who::Relay(number) if number < mixes => (0..mixes).map(Who::Relay).collect(),
            Who::Relay(_) => (mixes..all).map(Who::Relay).collect(),
            Who::Mailbox(_) => (0..self.setup.mailboxes).map(Who::Mailbox).collect(),
            Who::Client(_) => (0..self.setup.clients).map(Who::Client).collect(),
        }
    }

    /// Someone of this kind whom nothing ails, unless as many as may are ailing already.
    fn healthy(&mut self, like: Who, most: usize) -> Option<Who> {
        let ailing: BTreeSet<_> = self.on.iter().flat_map(|(_, fault)| fault.victims()).collect();
        let kind = self.of_kind(like);
        let (ill, well): (Vec<_>, Vec<_>) = kind.into_iter().partition(|who| ailing.contains(who));
        if ill.len() >= most { None } else { well.choose(&mut self.rng).copied() }
    }

    /// Anyone, as often as there are many of the kind.
    fn node(&mut self) -> Option<Who> {
        let mixes = self.mixes();
        match self.rng.random_range(0..4) {
            0 | 1 => self.healthy(Who::Relay(0), 3),
            2 => self.healthy(Who::Relay(mixes), 1),
            _ => self.healthy(Who::Mailbox(0), 1),
        }
    }

    /// At the beginning of an epoch: some faults end, others begin.
    fn step(&mut self, simulation: &mut Simulation, epoch: u64) {
        let (over, on) = std::mem::take(&mut self.on).into_iter().partition(|(until, _)| *until <= epoch);
        self.on = on;
        let over: Vec<(u64, Fault)> = over;
        over.into_iter().for_each(|(_, fault)| undo(simulation, fault));
        for _ in 0..2 {
            self.begin(simulation, epoch);
        }
    }

    fn begin(&mut self, simulation: &mut Simulation, epoch: u64) -> Option<()> {
        let until = epoch + self.rng.random_range(1..=FAULT_MAX);
        let (name, until, fault) = match self.rng.random_range(0..20) {
            0 | 1 => ("authority down", until, Fault::Down(vec![self.healthy(Who::Authority(0), 2)?])),
            2 => {
                let who = self.healthy(Who::Authority(0), 2)?;
                simulation.set_skew(who, self.rng.random_range(-300_000..300_000));
                ("authority's clock", until, Fault::Skewed(who))
            }
            3 => {
                ("authority cut off", until, Fault::Cut(vec![self.healthy(Who::Authority(0), 2)?], self.authorities()))
            }
            4 => {
                // More than may be faulty: rounds fail, and the old document stays in use.
                let ailing =
                    |(_, fault): &(u64, Fault)| fault.victims().iter().any(|who| matches!(who, Who::Authority(_)));
                if epoch < self.fair || self.on.iter().any(ailing) {
                    return None;
                }
                self.fair = epoch + STORM_EVERY;
                let many = self.rng.random_range(3..=6);
                let some: Vec<_> = self.authorities().choose_multiple(&mut self.rng, many).copied().collect();
                let until = epoch + self.rng.random_range(1..=STORM_MAX);
                if self.rng.random_bool(0.5) {
                    ("most authorities down", until, Fault::Down(some))
                } else {
                    ("authorities fall apart", until, Fault::Cut(some, self.authorities()))
                }
            }
            5 => {
                let nodes: Vec<_> = (0..3).filter_map(|_| self.node()).collect();
                let some = self.rng.random_range(1..=self.setup.authorities);
                let some: Vec<_> = self.authorities().choose_multiple(&mut self.rng, some).copied().collect();
                ("nodes cut off from authorities", until, Fault::Cut(nodes, some))
            }
            6 | 7 => {
                let one = self.healthy(Who::Relay(0), 3)?;
                let most = self.rng.random_range(1..self.mixes());
                let others: Vec<_> = self.of_kind(one).choose_multiple(&mut self.rng, most).copied().collect();
                ("links of a mix cut", until, Fault::Cut(vec![one], others))
            }
            8 | 9 => ("node down", until, Fault::Down(vec![self.node()?])),
            10 => {
                let who = self.node()?;
                simulation.kill_node(who, true);
                ("power cut", epoch + 1, Fault::Down(vec![who]))
            }
            11 => {
                let who = self.node()?;
                simulation.set_skew(who, self.rng.random_range(-60_000..60_000));
                ("node's clock", until, Fault::Skewed(who))
            }
            12 => {
                let who = self.node()?;
                simulation.set_admitted(who, false);
                ("node barred", until, Fault::Barred(who))
            }
            13 => {
                let Who::Mailbox(mailbox) = self.healthy(Who::Mailbox(0), 1)? else { return None };
                simulation.fill_disk(mailbox, true);
                ("disk full", until, Fault::Full(mailbox))
            }
            14 => {
                let Who::Mailbox(mailbox) = self.healthy(Who::Mailbox(0), 1)? else { return None };
                let late = SECOND.mul_f64(self.rng.random_range(1.0..30.0));
                simulation.set_nature(mailbox, Nature::Slow(late));
                ("disk slow", until, Fault::Slow(mailbox))
            }
            15 => {
                let one = self.healthy(Who::Mailbox(0), 2)?;
                let most = self.rng.random_range(1..self.setup.mailboxes);
                let others: Vec<_> = self.of_kind(one).choose_multiple(&mut self.rng, most).copied().collect();
                ("links of a mailbox cut", until, Fault::Cut(vec![one], others))
            }
            16 => {
                let Who::Mailbox(mailbox) = self.healthy(Who::Mailbox(0), 1).filter(|_| epoch >= self.safe)? else {
                    return None;
                };
                self.safe = epoch + LOSS_EVERY;
                simulation.lose_disk(mailbox);
                ("disk lost", epoch + 1, Fault::Down(vec![Who::Mailbox(mailbox)]))
            }
            17 => ("mailbox down", until, Fault::Down(vec![self.healthy(Who::Mailbox(0), 1)?])),
            18 => ("client down", until, Fault::Down(vec![self.healthy(Who::Client(0), 2)?])),
            _ => {
                let Who::Client(client) = self.healthy(Who::Client(0), 2)? else { return None };
                simulation.disconnect(client);
                ("client offline", until, Fault::Offline(client))
            }
        };
        match &fault {
            Fault::Down(all) => all.iter().for_each(|who| kill(simulation, *who)),
            Fault::Cut(some, others) => simulation.cut(some, others),
            _ => {}
        }
        *self.counts.entry(name).or_default() += 1;
        self.on.push((until, fault));
        Some(())
    }

    /// All is well again.
    fn end(&mut self, simulation: &mut Simulation) {
        self.on.drain(..).for_each(|(_, fault)| undo(simulation, fault));
    }
}

fn kill(simulation: &mut Simulation, who: Who) {
    match who {
        Who::Authority(number) => simulation.kill_authority(number),
        Who::Client(number) => simulation.kill_client(number),
        Who::Relay(_) | Who::Mailbox(_) => simulation.kill_node(who, false),
    }
}

fn undo(simulation: &mut Simulation, fault: Fault) {
    match fault {
        Fault::Down(all) => all.into_iter().for_each(|who| match who {
            Who::Authority(number) => simulation.start_authority(number),
            Who::Client(number) => simulation.start_client(number),
            Who::Relay(_) | Who::Mailbox(_) => simulation.start_node(who),
        }),
        Fault::Cut(some, others) => simulation.mend(&some, &others),
        Fault::Skewed(who) => simulation.set_skew(who, 0),
        Fault::Barred(who) => simulation.set_admitted(who, true),
        Fault::Full(mailbox) => simulation.fill_disk(mailbox, false),
        Fault::Slow(mailbox) => simulation.set_nature(mailbox, Nature::Honest),
        Fault::Offline(client) => simulation.connect(client),
    }
}

/// What a run came to.
#[derive(Debug, Default)]
struct Outcome {
    /// Faults, by name.
    faults: BTreeMap<&'static str, u32>,
    trace: [u8; 32],
    /// Epochs that no document was made for, the longest row of them.
    failed: u64,
    longest: u64,
    /// While people write, the longest row of epochs in which no message arrived anywhere.
    silent: u64,
    sent: usize,
    /// The epoch in which everything had arrived, and its sender knew.
    epochs: u64,
}

/// People write to each other, two messages an epoch, while faults come and go until `calm`; gives up at `last`.
fn suffer(setup: Setup, calm: u64, last: u64) -> Outcome {
    let mut simulation = Simulation::new(setup.clone());
    let mut names = BTreeMap::new();
    for one in 0..setup.clients {
        for other in one + 1..setup.clients {
            let (theirs, ours) = simulation.befriend(one, other);
            names.extend([((one, other), theirs), ((other, one), ours)]);
        }
    }
    let (mut chaos, mut outcome) = (Chaos::new(&setup), Outcome::default());
    let mut sent: BTreeSet<(usize, String)> = BTreeSet::new();
    let (mut received, mut heard) = (0, 0);
    let begun = simulation.schedule().epoch_at(simulation.now()).0 + 1;
    for epoch in begun..last {
        simulation.run_to_epoch(Epoch(epoch));
        if epoch < calm {
            chaos.step(&mut simulation, epoch);
            for _ in 0..2 {
                let pause = simulation.now() + SECOND.mul_f64(chaos.rng.random_range(0.0..9.0));
                simulation.run(pause, |_| false);
                let pairs: Vec<_> = names.keys().filter(|(from, _)| simulation.is_client_up(*from)).copied().collect();
                let (from, to) = *pairs.choose(&mut chaos.rng).unwrap();
                let (now, text) = (simulation.now(), format!("{from} to {to}: {}", sent.len()));
                simulation.client(from).send_text(now, &names[&(from, to)], &text).unwrap();
                sent.insert((to, text));
            }
        } else if epoch == calm {
            chaos.end(&mut simulation);
            // What was asked for often is asked for again by a new process, not in hours.
            (0..setup.clients).for_each(|client| simulation.restart_client(client));
        }
        let counts: Vec<_> = (0..setup.clients).map(|client| simulation.history(client)).collect();
        let now: usize = counts.iter().map(|(texts, _)| texts.len()).sum();
        if now > received {
            (received, heard) = (now, epoch);
        }
        outcome.silent =
            outcome.silent.max(if epoch <= calm && now < sent.len() { epoch - heard.max(begun) } else { 0 });
        outcome.epochs = epoch;
        let delivered: usize = counts.iter().map(|(_, delivered)| delivered).sum();
        if epoch > calm + CALM && now >= sent.len() && delivered >= sent.len() {
            break;
        }
    }
    let got: Vec<_> = (0..setup.clients)
        .flat_map(|client| simulation.history(client).0.into_iter().map(move |text| (client, text)))
        .collect();
    let different: BTreeSet<_> = got.iter().cloned().collect();
    assert_eq!((got.len(), &different), (sent.len(), &sent), "each once, seed {}: {:?}", setup.seed, chaos.counts);
    let delivered: usize = (0..setup.clients).map(|client| simulation.history(client).1).sum();
    assert_eq!(delivered, sent.len(), "seed {}", setup.seed);
    let made: Vec<u64> = simulation.made().map(|document| document.epoch.0).collect();
    let gaps = || made.windows(2).map(|pair| pair[1] - pair[0] - 1);
    (outcome.failed, outcome.longest) = (gaps().sum(), gaps().max().unwrap_or(0));
    (outcome.trace, outcome.sent) = (simulation.trace(), sent.len());
    outcome.faults = chaos.counts;
    outcome
}

#[test]
fn three_hundred_epochs_of_faults_lose_and_repeat_no_message_and_never_make_two_documents() {
    let calm = 290;
    let outcome = suffer(Setup { mailboxes: 5, clients: 6, packets: Packets::Model, ..large(71) }, calm, 365);
    assert!(outcome.sent > 500 && outcome.failed > 0, "old documents were in use: {outcome:?}");
    assert!(outcome.longest <= 4, "documents are made again as soon as a storm is over: {outcome:?}");
    assert!(outcome.silent <= 10, "messages arrive in every ten epochs: {outcome:?}");
    assert!(outcome.epochs >= 300, "{outcome:?}");
    assert!(outcome.epochs <= calm + LAST, "the last text comes when its box is asked for again: {outcome:?}");
    let mailboxes = ["mailbox down", "power cut", "disk full", "disk slow", "disk lost", "links of a mailbox cut"];
    assert!(mailboxes.iter().all(|fault| outcome.faults.get(fault).is_some_and(|count| *count >= 3)), "{outcome:?}");
}

#[test]
fn faults_are_the_same_for_one_seed() {
    let run = |seed| suffer(Setup { clients: 2, packets: Packets::Model, ..large(seed) }, 22, 90).trace;
    let first = run(80);
    assert_eq!(first, run(80));
    assert_ne!(first, run(81));
}
