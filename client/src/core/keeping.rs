//! Boxes whose reader is away: they are renewed before they expire, a bounded number of times, and then their message fails.
//!
//! ```text
//! day      0              13..15           26..30           39..45
//!          sent ---------> renewed -------> renewed -------> failed: "not fetched within six weeks"
//! ```
//! A renewal is the same box under a later expiry. It is due at a random instant of the last two days before the box's expiry
//! day, whatever else happens, and leaves in upkeep ticks like a copy, 2 + G times. So that a box which is renewed does not
//! show that a person wrote it, one unacknowledged decoy in sixteen is renewed alike and given up at the same age.

use super::{CoreError, work::Work};
use crate::{
    arq::{Pace, PutRetry},
    store::{
        contacts::ContactId,
        messages::{MessageId, State},
        outbox::{self, OutboxId, Outgoing},
        streams,
    },
};
use rand::Rng as _;
use std::time::Duration;
use veilpost_packet::{
    boxes::SealedBox,
    time::{Day, Timestamp},
};

/// Renewals of one box. With the first life and two more it is offered for 39 to 45 days.
pub(super) const RENEWALS_MAX: u32 = 2;
/// Days before the beginning of the expiry day from which on a renewal may be due.
const RENEWAL_DAYS: u32 = 2;
/// Boxes that one look at the clock renews at most; what is left waits for the next, ten seconds later.
const RENEWALS_AT_ONCE: u32 = 32;
/// Why a message fails that nobody has fetched.
const NOT_FETCHED: &str = "nobody fetched it within six weeks; send it again when its recipient is back";

impl Work<'_> {
    /// When a box is renewed.
    pub(super) fn renewal_due(&mut self, sealed: &SealedBox) -> Timestamp {
        let day = self.params.day;
        let window = day.saturating_mul(RENEWAL_DAYS);
        let before = Duration::from_millis(self.rng.random_range(0..=window.as_millis() as u64));
        Timestamp::ZERO + day.saturating_mul(sealed.expiry.0) - before
    }

    /// Renews what is due, and gives up what was renewed often enough.
    pub(super) fn renew_due(&mut self) -> Result<(), CoreError> {
        for due in outbox::renewals_due(self.tx, self.now, RENEWALS_AT_ONCE)? {
            // Never sent: its time begins with its first sending, and it goes on waiting for its Put slot.
            let waits = due.outgoing.retry.sends == 0 && due.outgoing.retry.next.is_none();
            if due.renewals >= RENEWALS_MAX && !waits {
                self.give_up_unfetched(&due.outgoing)?;
            } else {
                self.renew(due, waits)?;
            }
        }
        Ok(())
    }

    fn renew(&mut self, due: outbox::Due, waits: bool) -> Result<(), CoreError> {
        let outbox::Due { mut outgoing, key, renewals } = due;
        let expiry = Day::at(self.now, self.params.day).plus(self.params.box_days);
        let renewed =
            streams::write_cap(self.tx, outgoing.stream)?.renew(&self.network, &key, &outgoing.sealed, expiry);
        match renewed {
            Ok(sealed) => outgoing.sealed = sealed,
            Err(error) => {
                // A fault of ours must not hold back every other renewal.
                tracing::error!(%error, "a box cannot be signed again with its own key");
                return self.give_up_unfetched(&outgoing);
            }
        }
        if !waits {
            outgoing.retry = PutRetry::again(self.now, self.rng, Pace(self.params.hurry));
        }
        let next = self.renewal_due(&outgoing.sealed);
        outbox::renew(self.tx, &outgoing, next, if waits { renewals } else { renewals + 1 })?;
        self.effects.outgoing.push(outgoing);
        Ok(())
    }

    fn give_up_unfetched(&mut self, outgoing: &Outgoing) -> Result<(), CoreError> {
        match outgoing.message {
            Some(message) => {
                self.advance(message, State::Failed, Some(NOT_FETCHED))?;
                self.effects.withdrawn.extend(outbox::remove_of(self.tx, message)?);
            }
            None => {
                outbox::remove(self.tx, outgoing.id)?;
                self.effects.withdrawn.push(outgoing.id);
            }
        }
        Ok(())
    }

    /// The reader has a message: its boxes are kept no longer. Their planned sendings still go out, since those of decoys do
    /// too, whoever has fetched them.
    pub(super) fn settle(&mut self, message: MessageId) -> Result<(), CoreError> {
        self.settle_all(outbox::of_message(self.tx, message)?)
    }

    /// The same for given boxes.
    pub(super) fn settle_all(&mut self, ids: Vec<OutboxId>) -> Result<(), CoreError> {
        for id in ids {
            outbox::settle(self.tx, id)?;
            self.effects.settled.push(id);
        }
        Ok(())
    }

    /// A contact has heard of our boxes up to `heard`: the number of a stream of messages, and an index in it. What carries only
    /// receipts is receipted by nobody, so this ends its renewals; as long as it lives beacons still tell of it.
    pub(super) fn settle_heard(&mut self, contact: ContactId, heard: (u32, u64)) -> Result<(), CoreError> {
        for id in outbox::heard(self.tx, contact, heard)? {
            outbox::end_renewals(self.tx, id)?;
            self.effects.settled.push(id);
        }
        Ok(())
    }
}
