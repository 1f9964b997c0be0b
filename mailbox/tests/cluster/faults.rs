//! Two hundred seeds of kills, restarts, hung processes, torn and failed writes, full and lost disks, partitions, slow disks and
//! changes of the placement set, under writers and readers.

use crate::{
    cluster::{Cluster, Disk, MS},
    people::People,
};
use std::time::Duration;
use veilpost_mailbox::{memory::MemoryStore, store::BoxStore};
use veilpost_pki::Params;

const MAILBOXES: usize = 5;
const MESSAGES: usize = 5_000;
const SPAN: Duration = Duration::from_secs(200);
const STEP: Duration = Duration::from_secs(4);

pub(crate) fn params() -> Params {
    Params {
        tick: 1_000 * MS,
        hop_delay: 100 * MS,
        reply_floor: 800 * MS,
        peer_gap: 50 * MS,
        digest_history: Duration::from_secs(60),
        hurry: 24,
        ..Params::standard()
    }
}

/// At most one mailbox is out of order at a time, so that no two holders of a box are; links break beside that.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Down(usize),
    Hung(usize),
    Broken(usize),
    Full(usize),
}

struct Faults {
    present: Option<(Fault, u32)>,
    cut: Option<((usize, usize), u32)>,
    slow: Option<(usize, u32)>,
    smaller: u32,
    /// A disk was lost: its mailbox counts as dead until everything has been copied to it again.
    lost: u32,
}

impl Faults {
    fn step(&mut self, cluster: &mut Cluster) {
        self.end(cluster);
        let steps = 1 + cluster.random(6) as u32;
        let who = cluster.random(MAILBOXES);
        if self.present.is_none() && self.lost == 0 && cluster.chance(0.5) {
            self.present = self.begin(cluster, who).map(|fault| (fault, steps));
        }
        let (one, other) = (cluster.random(MAILBOXES), cluster.random(MAILBOXES));
        if self.cut.is_none() && one != other && cluster.chance(0.2) {
            cluster.cut(one, other, true);
            self.cut = Some(((one, other), steps));
        }
        if self.slow.is_none() && cluster.chance(0.2) {
            cluster.nodes[who].slow = 600 * MS;
            self.slow = Some((who, steps));
        }
        if self.smaller == 0 && cluster.chance(0.05) {
            let leaves = cluster.random(cluster.placement.len());
            cluster.placement.remove(leaves);
            cluster.publish();
            self.smaller = 10;
        }
    }

    fn begin(&mut self, cluster: &mut Cluster, who: usize) -> Option<Fault> {
        match cluster.random(7) {
            0 | 1 => {
                cluster.kill(who);
                Some(Fault::Down(who))
            }
            2 => {
                cluster.nodes[who].hung = true;
                Some(Fault::Hung(who))
            }
            3 => {
                cluster.disk(who).broken = true;
                Some(Fault::Broken(who))
            }
            4 => {
                cluster.disk(who).inner.disk_full = true;
                Some(Fault::Full(who))
            }
            5 => {
                // A write is torn, and the process with it.
                let after = cluster.random(6);
                cluster.disk(who).inner.tear_after = Some(after);
                Some(Fault::Down(who))
            }
            _ => {
                cluster.kill(who);
                cluster.nodes[who].disk = Some(Disk { inner: MemoryStore::default(), broken: false });
                self.lost = 15;
                Some(Fault::Down(who))
            }
        }
    }

    fn end(&mut self, cluster: &mut Cluster) {
        self.lost = self.lost.saturating_sub(1);
        if over(&mut self.present)
            && let Some((fault, _)) = self.present.take()
        {
            match fault {
                Fault::Down(who) => {
                    cluster.kill(who);
                    cluster.start(who);
                }
                Fault::Hung(who) => cluster.nodes[who].hung = false,
                Fault::Broken(who) => cluster.disk(who).broken = false,
                Fault::Full(who) => cluster.disk(who).inner.disk_full = false,
            }
        }
        if over(&mut self.cut)
            && let Some(((one, other), _)) = self.cut.take()
        {
            cluster.cut(one, other, false);
        }
        if over(&mut self.slow)
            && let Some((who, _)) = self.slow.take()
        {
            cluster.nodes[who].slow = Duration::ZERO;
        }
        if self.smaller > 0 {
            self.smaller -= 1;
            if self.smaller == 0 {
                cluster.placement = cluster.nodes.iter().map(|node| node.id).collect();
                cluster.publish();
            }
        }
    }
}

/// True if what lasts so many steps is over.
fn over<T>(lasting: &mut Option<(T, u32)>) -> bool {
    lasting.as_mut().is_some_and(|(_, steps)| {
        *steps = steps.saturating_sub(1);
        *steps == 0
    })
}

/// Every box that was called stored and not acknowledged lies on the disk of a mailbox that runs.
fn assert_readable(cluster: &mut Cluster, people: &People, seed: u64) {
    for number in people.which(|state| state.stored && !state.acked).into_iter().step_by(7) {
        let id = people.id(number);
        let held = (0..MAILBOXES).any(|node| cluster.is_up(node) && matches!(cluster.disk(node).get(&id), Ok(Some(_))));
        let where_it_is: Vec<_> =
            (0..MAILBOXES).filter(|node| matches!(cluster.disk(*node).get(&id), Ok(Some(_)))).collect();
        let order = cluster.holders(&id);
        assert!(held, "seed {seed}: box {number} of {order:?} was stored and is on the disks of {where_it_is:?} alone");
    }
}

fn suffer(seed: u64) {
    let mut cluster = Cluster::new(seed, MAILBOXES, params());
    let mut faults = Faults { present: None, cut: None, slow: None, smaller: 0, lost: 0 };
    let mut people = People::new(&mut cluster, MESSAGES, SPAN);
    let end = cluster.now + SPAN;
    while cluster.now < end {
        faults.step(&mut cluster);
        let until = cluster.now + STEP;
        people.run(&mut cluster, until);
        assert_readable(&mut cluster, &people, seed);
        for engine in cluster.nodes.iter().filter_map(|node| node.engine.as_ref()) {
            assert!(engine.waiting_replies() < 2_000, "seed {seed}");
        }
    }
    // Everything is mended; what waits arrives, and every box comes to its holders.
    for _ in 0..12 {
        faults.end(&mut cluster);
    }
    let settled = cluster.now + Duration::from_secs(120);
    people.run(&mut cluster, settled);
    let unstored = people.which(|state| !state.stored);
    assert!(unstored.is_empty(), "seed {seed}: {unstored:?} were not stored");
    if let Some(number) = people.which(|state| !state.read).first().copied() {
        let id = people.id(number);
        let held: Vec<_> = cluster.holders(&id).into_iter().map(|node| (node, cluster.disk(node).get(&id))).collect();
        panic!("seed {seed}: {number}, {:?}, was not read: {held:#?}", people.states[number]);
    }
    assert_eq!(people.conflicts, 0, "seed {seed}");
    for number in people.which(|state| !state.acked) {
        let id = people.id(number);
        let holders = cluster.holders(&id);
        for (rank, holder) in holders.into_iter().enumerate() {
            let held = matches!(cluster.disk(holder).get(&id), Ok(Some(_)));
            assert_eq!(held, rank < 2, "seed {seed}: box {number} at rank {rank}");
        }
    }
}

#[test]
fn faults_of_fifty_seeds_lose_nothing_that_was_stored() {
    (1..=50).for_each(suffer);
}

#[test]
fn faults_of_another_fifty_seeds_lose_nothing_that_was_stored() {
    (51..=100).for_each(suffer);
}

#[test]
fn faults_of_a_third_fifty_seeds_lose_nothing_that_was_stored() {
    (101..=150).for_each(suffer);
}

#[test]
fn faults_of_a_fourth_fifty_seeds_lose_nothing_that_was_stored() {
    (156..=200).for_each(suffer);
}
