//! Among how many packets does one hide? The entropy of where a target's mass leaves the network. Ben Guirat, Gosain and Diaz,
//! "MiXiM: Mixnet Design Decisions and Empirical Evaluation", WPES 2021; the metric is Serjantov and Danezis's (PET 2002).
//!
//! The adversary picks a packet that a sender sends, every so often, and follows its mass (see [`super::masses`]) to the receivers: H = - sum
//! p log2 p over all packets that are delivered, 2^H is the size of a set of equally likely ones.

use super::masses::Masses;
use crate::flow::view::{Adversary, End, Observer, Sight, What};
use std::time::Duration;
use veilpost_packet::time::Timestamp;

/// Targets that are followed at a time. More of them are cheaper together; one that finds no room waits.
const LABELS: usize = 32;
/// A target's mass has come out when no more than this is left.
const LEFT: f64 = 1e-6;

/// What is known of one target in the end.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Hidden {
    /// Entropy.
    pub bits: f64,
    /// Mass that came out; less than 1 if packets were lost or the wait was too short.
    pub mass: f64,
}

/// The attack.
#[derive(Debug)]
pub struct Entropy {
    masses: Masses,
    followed: Vec<Option<Followed>>,
    wanted: usize,
    begun: usize,
    next: Timestamp,
    gap: Duration,
    patience: Duration,
    done: Vec<Hidden>,
}

#[derive(Clone, Copy, Debug)]
struct Followed {
    since: Timestamp,
    hidden: Hidden,
}

/// Which targets.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Targets {
    /// How many.
    pub count: usize,
    /// The first one is the first packet that is sent after this moment.
    pub from: Timestamp,
    /// Time from one to the next, at least.
    pub gap: Duration,
    /// A target is given up after so long, with what has come out of it by then.
    pub patience: Duration,
}

impl Entropy {
    /// Nothing seen yet, of a network with so many mixes.
    pub fn new(mixes: usize, adversary: Adversary, targets: Targets) -> Self {
        Self {
            masses: Masses::new(LABELS, mixes, adversary),
            followed: vec![None; LABELS],
            wanted: targets.count,
            begun: 0,
            next: targets.from,
            gap: targets.gap,
            patience: targets.patience,
            done: Vec::new(),
        }
    }

    /// True when all targets have been followed to their end.
    pub fn is_done(&self) -> bool {
        self.done.len() >= self.wanted
    }

    /// What was found, in the order in which targets ended.
    pub fn found(&self) -> &[Hidden] {
        &self.done
    }

    fn begin(&mut self, sight: &Sight) {
        let free = self.followed.iter().position(Option::is_none);
        let Some(label) = free.filter(|_| self.begun < self.wanted && sight.at >= self.next) else { return };
        self.masses.follow(sight.frame, label);
        let followed = Followed { since: sight.at, hidden: Hidden { bits: 0.0, mass: 0.0 } };
        self.followed.iter_mut().skip(label).take(1).for_each(|place| *place = Some(followed));
        self.begun += 1;
        self.next = sight.at + self.gap;
    }

    /// Ends targets that are out, or old.
    fn end(&mut self, now: Timestamp) {
        for (label, place) in self.followed.iter_mut().enumerate() {
            let patience = self.patience;
            let over = |target: &mut Followed| target.hidden.mass >= 1.0 - LEFT || now.since(target.since) > patience;
            if let Some(target) = place.take_if(over) {
                self.done.push(target.hidden);
                self.masses.forget(label);
            }
        }
    }
}

impl Observer for Entropy {
    fn see(&mut self, sight: &Sight) {
        if let Some(delivered) = self.masses.see(sight) {
            for (place, p) in self.followed.iter_mut().zip(delivered) {
                if let Some(Followed { hidden, .. }) = place
                    && *p > 0.0
                {
                    hidden.bits -= p * p.log2();
                    hidden.mass += p;
                }
            }
        }
        if let What::Sent { from: End::Sender(_), .. } = sight.what {
            self.end(sight.at);
            self.begin(sight);
        }
    }
}
