//! Going through all boxes, so that each comes to its holders: after another placement set, after a mailbox came back or lost its
//! disk, and now and then. Slow on purpose: writers come first.
//!
//! Nothing has to be remembered of a pass that a crash cuts off: who holds what is on disk with each box, so the next pass goes
//! over what is done without sending anything.

use super::{BoxStore, Change, Mailbox, NodeId, Note, Series, StoreError, Timestamp};
use crate::store::{Confirmation, Cursor, Held, Walked};
use std::time::Duration;

/// Entries looked at in one step.
const STEP: usize = 128;
/// Boxes of one step whose bodies are read, because something is to be done about them.
const WORK: usize = 16;
/// Gap between two steps: a million boxes take 13 minutes when nothing is missing.
const GAP: Duration = Duration::from_millis(100);
/// A pass that left something undone is followed by another after this; one that did not, after [`REST`].
pub(super) const AGAIN: Duration = Duration::from_secs(30);
/// How often everything is looked at for no special reason.
const REST: Duration = Duration::from_secs(3_600);
/// A target whose queue is fuller than this is left to writers.
const BUSY: f64 = 0.25;

/// How far the present or the last pass is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Progress {
    /// Under way.
    pub running: bool,
    /// Entries looked at.
    pub looked_at: u64,
    /// Boxes of which a holder is missing still.
    pub missing: u64,
}

#[derive(Debug)]
pub(super) struct Sweep {
    progress: Progress,
    cursor: Option<Cursor>,
    next: Timestamp,
    /// Something happened since the pass began.
    again: bool,
    /// Passes since the last reason to look at everything.
    passes: u32,
    /// The last pass went through to the end under the placement in force, and nothing was missing.
    done: bool,
}

impl Sweep {
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
            progress: Progress { running: true, ..Progress::default() },
            cursor: None,
            next: now,
            again: false,
            passes: 0,
            done: false,
        }
    }

    /// There is a reason to look at everything.
    pub(super) fn begin(&mut self, now: Timestamp) {
        self.done = false;
        self.passes = 0;
        if self.progress.running && self.cursor.is_some() {
            self.again = true;
        } else if !self.progress.running {
            self.start(now);
        }
    }

    /// A box came that is not where it belongs: a pass begins within `wait`.
    pub(super) fn soon(&mut self, now: Timestamp, wait: Duration) {
        if self.progress.running {
            self.again = true;
        } else {
            self.next = self.next.min(now + wait);
        }
    }

    fn start(&mut self, now: Timestamp) {
        self.progress = Progress { running: true, ..Progress::default() };
        (self.cursor, self.again, self.next) = (None, false, now);
    }

    pub(super) fn is_done(&self) -> bool {
        self.done
    }

    pub(super) fn next_wake(&self) -> Timestamp {
        self.next
    }
}

impl<S: BoxStore> Mailbox<S> {
    /// How far the present or the last pass is.
    pub fn sweep_progress(&self) -> Progress {
        self.sweep.progress
    }

    /// One step of going through all boxes, if it is time.
    ///
    /// # Errors
    /// If the store fails; the step is done again later.
    pub fn poll_sweep(&mut self, now: Timestamp) -> Result<(), StoreError> {
        self.look_at_peers(now);
        if now < self.sweep.next {
            return Ok(());
        }
        if !self.sweep.progress.running {
            self.sweep.start(now);
        }
        // Whatever fails below is done again later, and not at once.
        self.sweep.next = now + GAP;
        self.keep_tenure()?;
        self.settle()?;
        let step = self.store.walk(self.sweep.cursor, STEP)?;
        let (last, mut work) = (step.len() < STEP, 0);
        let mut cut_off = false;
        for walked in step {
            match self.look_at(&walked)? {
                Look::Nothing => {}
                Look::Missing => self.sweep.progress.missing += 1,
                Look::Wait => {
                    cut_off = true;
                    break;
                }
                Look::Worked => {
                    self.sweep.progress.missing += 1;
                    work += 1;
                }
            }
            self.sweep.cursor = Some(walked.at);
            self.sweep.progress.looked_at += 1;
            if work >= WORK {
                cut_off = true;
                break;
            }
        }
        if last && !cut_off {
            self.end_pass(now);
            self.settle()?;
        }
        Ok(())
    }

    fn end_pass(&mut self, now: Timestamp) {
        let done = self.sweep.progress.missing == 0 && !self.sweep.again;
        let params = &self.terms.params;
        self.sweep.progress.running = false;
        self.sweep.passes = self.sweep.passes.saturating_add(1);
        self.sweep.cursor = None;
        self.sweep.next = now + params.hurry(if done && !self.syncing { REST } else { AGAIN });
        self.sweep.done = done;
        self.tell_all();
    }

    fn keep_tenure(&mut self) -> Result<(), StoreError> {
        if !self.tenure_kept {
            let bytes = [self.placement.0, self.tenure.0.to_be_bytes()].concat();
            self.store.apply(&[Change::Record { series: Series::Note, number: Note::Tenure as u32, bytes }])?;
            self.tenure_kept = true;
        }
        Ok(())
    }

    /// Once every mailbox has gone through its boxes, whoever decides for a contested box knows what was decided before.
    fn settle(&mut self) -> Result<(), StoreError> {
        if self.syncing && self.sweep.done && self.peers.all_swept(self.placement) {
            let record =
                Change::Record { series: Series::Note, number: Note::Settled as u32, bytes: self.placement.0.to_vec() };
            self.store.apply(&[record])?;
            self.syncing = false;
        }
        Ok(())
    }

    fn look_at(&mut self, walked: &Walked) -> Result<Look, StoreError> {
        let Some(others) = &walked.others else { return Ok(Look::Nothing) };
        let id = &walked.at.id;
        let order = self.placed(id);
        let (holders, behind) = order.split_at(self.terms.copies.min(order.len()));
        let holds = |mailbox: &NodeId| {
            *mailbox == self.me || self.valid(others).any(|other| other.signature.holder == *mailbox)
        };
        let missing: Vec<_> = holders.iter().filter(|holder| !holds(holder)).copied().collect();
        if missing.is_empty() {
            return if holders.contains(&self.me) { Ok(Look::Nothing) } else { self.hand_over(walked) };
        }
        // Who holds a box for others asks them itself whether they have it by now, but not first: they get it from one.
        let stands_in = !holders.contains(&self.me) && self.sweep.passes > 0;
        if !stands_in && !self.is_ours_to_send(&order, others) {
            return Ok(Look::Missing);
        }
        // The holders that are there; for one that is not, who comes behind them, if the box is on too few disks.
        let few = 1 + self.valid(others).count() < self.terms.durable_copies;
        let stand_ins = behind.iter().filter(|other| few && !holds(other)).copied();
        let target = missing.into_iter().chain(stand_ins).find(|target| self.peers.is_reachable(target));
        let Some(target) = target else { return Ok(Look::Missing) };
        if self.peers.load(&target) > BUSY {
            return Ok(Look::Wait);
        }
        let Some(Held::Box(kept)) = self.store.get(id)? else { return Ok(Look::Nothing) };
        let content = kept.sealed.content_hash(&self.terms.network);
        let word = self.word(id, &content, kept.sealed.expiry, true);
        if self.peers.tell(&target, word) {
            self.counters.replaced += 1;
        }
        Ok(Look::Worked)
    }

    /// Of those that hold a box and are there, the first in hash order sees to the others.
    pub(super) fn is_ours_to_send(&self, order: &[NodeId], others: &[Confirmation]) -> bool {
        let there = |mailbox: &NodeId| {
            *mailbox == self.me
                || (self.peers.is_reachable(mailbox)
                    && self.valid(others).any(|other| other.signature.holder == *mailbox))
        };
        order.iter().find(|mailbox| there(mailbox)).is_none_or(|first| *first == self.me)
    }

    /// Its holders have it, and we are none of them.
    fn hand_over(&mut self, walked: &Walked) -> Result<Look, StoreError> {
        let holders = self.placed(&walked.at.id);
        let heard = holders.iter().take(self.terms.copies).all(|holder| self.peers.has_spoken(holder));
        if !(heard && self.tenure_kept) || self.tags.of(&walked.at.id).is_some() {
            return Ok(Look::Missing);
        }
        self.store.apply(&[Change::Drop { id: walked.at.id, bucket: walked.at.bucket }])?;
        self.counters.handed_over += 1;
        Ok(Look::Worked)
    }
}

/// What was to be done about an entry.
enum Look {
    Nothing,
    /// Something is missing that we cannot or need not mend now.
    Missing,
    /// Not now: the link is busy.
    Wait,
    /// Something was done.
    Worked,
}
