//! Where packets may be: probability mass that spreads through the mixes. After Ben Guirat, Gosain and Diaz, "MiXiM: Mixnet Design
//! Decisions and Empirical Evaluation", WPES 2021, and their program (ibenguir/mixim_pets, PoissonMix.py).
//!
//! A packet that is followed carries mass 1 of its label. An honest mix holds the sum of what came in; each packet that leaves, one of
//! n that waited, takes the share 1/n of it, since with exponential delays each of them was as likely to be the next. A corrupt
//! mix tells which frame became which, so the mass stays with its packet.

use crate::flow::view::{Adversary, End, Frame, Sight, What};
use std::collections::VecDeque;

/// Mass by label.
type Mass = Box<[f64]>;

/// Masses in the mixes and of frames.
#[derive(Debug)]
pub struct Masses {
    adversary: Adversary,
    labels: usize,
    /// Of honest mixes.
    mixes: Vec<Mass>,
    /// Of frames on links and in corrupt mixes, by number from `first` on.
    frames: VecDeque<Option<Mass>>,
    first: u64,
    /// Boxes to use again.
    spare: Vec<Mass>,
    delivered: Mass,
}

impl Masses {
    /// No mass anywhere, room for so many labels and mixes.
    pub fn new(labels: usize, mixes: usize, adversary: Adversary) -> Self {
        let none: Mass = vec![0.0; labels].into();
        Self {
            adversary,
            labels,
            mixes: vec![none.clone(); mixes],
            frames: VecDeque::new(),
            first: 1,
            spare: Vec::new(),
            delivered: none,
        }
    }

    /// Moves mass along with a frame. Returns what a frame takes out to a receiver, if it takes any.
    pub fn see(&mut self, sight: &Sight) -> Option<&[f64]> {
        match sight.what {
            What::Sent { from: End::Mix(mix), to, was, pool } => {
                let mass = match was {
                    Some(frame) => self.take(frame),
                    None => self.share_of(mix, pool),
                };
                match (to, mass) {
                    (End::Receiver(_), Some(mass)) => {
                        self.spare.push(std::mem::replace(&mut self.delivered, mass));
                        Some(&self.delivered)
                    }
                    (_, mass) => {
                        self.put(sight.frame, mass);
                        None
                    }
                }
            }
            What::Sent { .. } => None,
            What::Arrived { to: End::Mix(mix) } if !self.adversary.has(mix) => {
                if let Some(mass) = self.take(sight.frame) {
                    self.mixes.get_mut(mix)?.iter_mut().zip(&mass).for_each(|(held, more)| *held += more);
                    self.spare.push(mass);
                }
                None
            }
            What::Arrived { .. } => None,
        }
    }

    /// Gives a frame that was just sent mass 1 of a label.
    pub fn follow(&mut self, frame: Frame, label: usize) {
        let mut mass = self.blank();
        mass.fill(0.0);
        mass.iter_mut().skip(label).take(1).for_each(|one| *one = 1.0);
        self.put(frame, Some(mass));
    }

    /// Forgets a label wherever it is left.
    pub fn forget(&mut self, label: usize) {
        let all = self.mixes.iter_mut().chain(self.frames.iter_mut().flatten());
        all.flat_map(|mass| mass.iter_mut().skip(label).take(1)).for_each(|mass| *mass = 0.0);
    }

    /// What an honest mix holds, by label.
    pub fn held(&self, mix: usize) -> &[f64] {
        self.mixes.get(mix).map_or(&[], |mass| mass)
    }

    fn blank(&mut self) -> Mass {
        self.spare.pop().unwrap_or_else(|| vec![0.0; self.labels].into())
    }

    /// What one of `pool` packets takes out of an honest mix.
    fn share_of(&mut self, mix: usize, pool: usize) -> Option<Mass> {
        let mut mass = self.blank();
        let (held, share) = (self.mixes.get_mut(mix)?, 1.0 / pool.max(1) as f64);
        let mut any = 0.0;
        for (held, taken) in held.iter_mut().zip(&mut mass) {
            *taken = *held * share;
            *held -= *taken;
            any += *taken;
        }
        if any > 0.0 {
            return Some(mass);
        }
        self.spare.push(mass);
        None
    }

    fn put(&mut self, frame: Frame, mass: Option<Mass>) {
        let Some(mass) = mass else { return };
        if self.frames.is_empty() {
            self.first = frame.0;
        }
        let Some(at) = frame.0.checked_sub(self.first).and_then(|at| usize::try_from(at).ok()) else { return };
        if self.frames.len() <= at {
            self.frames.resize_with(at + 1, || None);
        }
        if let Some(place) = self.frames.get_mut(at) {
            *place = Some(mass);
        }
    }

    fn take(&mut self, frame: Frame) -> Option<Mass> {
        let at = usize::try_from(frame.0.checked_sub(self.first)?).ok()?;
        let mass = self.frames.get_mut(at)?.take();
        while let Some(None) = self.frames.front() {
            self.frames.pop_front();
            self.first += 1;
        }
        mass
    }
}
