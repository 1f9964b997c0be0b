//! The documents that a node knows at one time, and which of them counts when. Pure: time is an argument.
//!
//! ```text
//!        valid_after(e)            valid_after(e+1)   + key_grace        valid_until(e)
//!  known -----|------- in force --------|--- key lives on ---|               |
//!                          known (e+1) -|------- in force -------- ...
//! ```
//! A document of epoch e stays valid for some epochs after its own, so that a network goes on when a voting round fails; it is in
//! force until one of a later epoch is. Its key lives for the grace period after that. Everybody switches by network time, not
//! by the time at which a document came.

use crate::signed::Document;
use std::time::Duration;
use veilpost_packet::time::{Epoch, Timestamp};

/// Documents that are known at one time: one in force, one to come, and two whose packets are still on their way (two when
/// rounds are shorter than the grace period). Authorities alone can add to them.
pub const DOCUMENTS_MAX: usize = 4;

/// Why a document was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotTaken {
    /// It is here already.
    #[error("the document is known already")]
    Known,
    /// Another document of the same epoch is here. Both are signed, so an authority has signed two.
    #[error(
        "another document of the same epoch is known: authorities have signed two; one made by command needs a higher --epoch"
    )]
    SecondOfEpoch,
    /// One of a later epoch is in force.
    #[error("a document of a later epoch is in force")]
    Superseded,
    /// No room that is not needed for what is in force.
    #[error("too many documents of epochs to come")]
    TooMany,
}

/// Verified documents of one network, ascending by epoch. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Documents {
    known: Vec<Document>,
}

impl Documents {
    /// Takes a document. Beyond [`DOCUMENTS_MAX`] the oldest goes, unless it is the one in force.
    ///
    /// # Errors
    /// [`NotTaken`].
    pub fn insert(&mut self, now: Timestamp, document: Document) -> Result<(), NotTaken> {
        if let Some(same) = self.get(document.epoch) {
            return Err(if same.hash() == document.hash() { NotTaken::Known } else { NotTaken::SecondOfEpoch });
        }
        let in_force = self.in_force(now).map(|document| document.epoch);
        if in_force.is_some_and(|epoch| epoch > document.epoch) {
            return Err(NotTaken::Superseded);
        }
        if self.known.len() >= DOCUMENTS_MAX {
            let oldest = self.known.first().map(|document| document.epoch);
            if oldest == in_force || oldest > Some(document.epoch) {
                return Err(NotTaken::TooMany);
            }
            self.known.remove(0);
        }
        let place = self.known.partition_point(|known| known.epoch < document.epoch);
        self.known.insert(place, document);
        Ok(())
    }

    /// The document in force: of the highest epoch among those whose time it is.
    pub fn in_force(&self, now: Timestamp) -> Option<&Document> {
        self.known.iter().rev().find(|document| document.valid_after <= now && now < document.valid_until)
    }

    /// The document in force, or the last one that was: what clocks follow while no document is in force.
    pub fn current(&self, now: Timestamp) -> Option<&Document> {
        self.in_force(now).or_else(|| self.known.iter().rev().find(|document| document.valid_after <= now))
    }

    /// The document of the highest epoch, in force or to come.
    pub fn newest(&self) -> Option<&Document> {
        self.known.last()
    }

    /// The document of an epoch.
    pub fn get(&self, epoch: Epoch) -> Option<&Document> {
        self.known.iter().find(|document| document.epoch == epoch)
    }

    /// All, ascending by epoch.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Document> {
        self.known.iter()
    }

    /// Until when the key of an epoch lives: its grace period after it goes out of force. `None` if its document is not known.
    pub fn key_until(&self, epoch: Epoch) -> Option<Timestamp> {
        let document = self.get(epoch)?;
        let later = self.known.iter().filter(|later| later.epoch > epoch).map(|later| later.valid_after);
        let ends = later.fold(document.valid_until, Timestamp::min);
        Some(ends + document.params.key_grace)
    }

    /// The documents whose packets may be on their way: those whose key still lives, and those to come.
    pub fn live(&self, now: Timestamp) -> impl Iterator<Item = &Document> {
        self.known.iter().filter(move |document| self.key_until(document.epoch).is_some_and(|until| now < until))
    }

    /// How many whole epochs beyond its own a document has been in force: the voting rounds that failed since.
    pub fn failed_rounds(&self, now: Timestamp, epoch: Epoch) -> u32 {
        let Some(document) = self.get(epoch) else { return 0 };
        let grace = document.params.key_grace;
        let end = self.key_until(epoch).map_or(now, |until| until - grace);
        // In force until just before its end: the moment itself belongs to the next one.
        let last = if end <= now { end - Duration::from_nanos(1) } else { now };
        let epochs = last.since(document.valid_after).as_nanos() / document.params.epoch.as_nanos().max(1);
        u32::try_from(epochs).unwrap_or(u32::MAX)
    }

    /// The next moment after `now` at which something changes: a document comes into force or ends, a key's grace period is
    /// over, or a round has failed.
    pub fn next_change(&self, now: Timestamp) -> Option<Timestamp> {
        let in_force = self.in_force(now).map(|document| document.epoch);
        let of = |document: &Document| {
            let epochs = self.failed_rounds(now, document.epoch).saturating_add(1);
            let failed = document.valid_after + document.params.epoch.saturating_mul(epochs);
            let failed = Some(failed).filter(|_| in_force == Some(document.epoch));
            let until = self.key_until(document.epoch);
            [Some(document.valid_after), Some(document.valid_until), until, failed]
        };
        self.known.iter().flat_map(of).flatten().filter(|moment| *moment > now).min()
    }

    /// Forgets documents whose key is dead. Returns whether any went.
    pub fn forget(&mut self, now: Timestamp) -> bool {
        let live: Vec<_> = self.live(now).map(|document| document.epoch).collect();
        let before = self.known.len();
        // The last one is kept, so that clocks go on and an older document does not come back.
        let newest = self.newest().map(|document| document.epoch);
        self.known.retain(|document| live.contains(&document.epoch) || newest == Some(document.epoch));
        self.known.len() < before
    }
}

impl From<Document> for Documents {
    fn from(document: Document) -> Self {
        Self { known: vec![document] }
    }
}
