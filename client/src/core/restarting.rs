//! Conversations that begin anew by themselves: our store is older than what we have sent, as a backup is that was put back.
//!
//! Its streams go on at indices that were written before, and its ratchet at keys that were used. Two things show it: mailboxes
//! that hold something else where we write, at two sendings of one box, and the contact's beacon: it has heard more than we have
//! written, or a box where a mailbox holds something else than ours, or it knows a restart that we do not. Then nothing more is written in the old streams. New ones, both ways, are named
//! in a message under a new session from the prekeys of the contact's next beacon, and go out in place of our own beacons,
//! the first in the box of tomorrow, which cannot have been written yet, until the contact confirms.
//!
//! ```text
//! restored                                        its contact
//!   conflict, or "heard" beyond what we wrote
//!   new streams; messages wait        <-- beacon: fresh prekeys
//!   tomorrow's beacon: restart -----> both new streams; what was not receipted is sent again in its own,
//!   messages go out in the new one                  what comes in the old one is still read
//!                                     <-- receipt
//! ```
//! What is sent again has its old id, so that its reader shows it once. Of two restarts the later one counts, on both sides.

use super::{
    CoreError,
    holding::Patience,
    reading::Read,
    work::{BoxUse, Event, Work},
};
use crate::{
    content::{Body, Message, StreamSeed, Uuid, beacon},
    signal::{self, Bundle},
    store::{
        beacons,
        contacts::ContactId,
        messages::{self, State},
        restarts,
        streams::{self, StreamKind},
        successors,
    },
};
use std::time::Duration;
use veilpost_packet::{
    boxes::{BOX_CONTENT_MAX, BoxClass, StreamRoot},
    time::{Day, Timestamp},
};

/// A conversation begins anew at most once in so long because of what mailboxes say: two of them may lie.
pub(super) const CONFLICT_EVERY: Duration = Duration::from_secs(86_400);
/// Days ahead of today whose boxes restarts take at most; a reader looks for as many.
const AHEAD_MAX: u64 = 8;
/// Days that a restart may be ahead of our clock: beyond, none that is true could ever follow it.
const CLOCK_DAYS: u32 = 32;
/// Why a file fails whose boxes may be half written and half read.
const FILE_LOST: &str = "this account was restored from a backup while the file was on its way; send it again";

impl Work<'_> {
    /// Begins a conversation anew because our side of it is from a backup. `known`: the last restart that the contact speaks
    /// of, in milliseconds; ours has to be later, whatever our clocks say. The contact is told when it brings prekeys.
    pub(super) fn restart(&mut self, contact: ContactId, known: u64) -> Result<(), CoreError> {
        let last = restarts::last(self.tx, contact)?.0.as_millis();
        // One beyond what anyone believes is no reason to follow.
        let known = Some(known).filter(|known| *known < (self.now + self.params.day * CLOCK_DAYS).as_millis());
        let known = known.unwrap_or(0);
        if restarts::pending(self.tx, contact)?.is_some() && known <= last {
            return Ok(());
        }
        // Milliseconds travel.
        let at = Timestamp::from_millis(self.now.as_millis().max(last.max(known).saturating_add(1)));
        let (uuid, ours, theirs) = (Uuid::random(self.rng), StreamSeed::random(self.rng), StreamSeed::random(self.rng));
        let body = Body::Restart { writer_writes: ours.clone(), reader_writes: theirs.clone() };
        let message = Message { uuid, sent_at: at, body }.encode();
        let message = message.map_err(|_| CoreError::Bug("a restart does not encode"))?;
        restarts::push(self.tx, contact, &message)?;
        restarts::set_last(self.tx, contact, at, uuid)?;
        for stream in streams::all_of_contact(self.tx, contact, StreamKind::MessagesIn)? {
            self.remove_stream(stream.id)?;
        }
        self.fail_files(contact)?;
        self.begin_anew(contact, &ours, &theirs)
    }

    /// Seals a restart of ours under a new session, and puts it into the next box of the beacon that cannot be written yet.
    pub(super) fn announce_restart(&mut self, contact: ContactId, bundle: &Bundle) -> Result<(), CoreError> {
        if restarts::pending(self.tx, contact)?.is_none() {
            return Ok(());
        }
        signal::open_session(self.tx, contact, bundle, self.now, self.rng)?;
        self.seal_restart(contact)
    }

    /// Seals a restart of ours under the session with the contact.
    fn seal_restart(&mut self, contact: ContactId) -> Result<(), CoreError> {
        let Some(restart) = restarts::pending(self.tx, contact)? else { return Ok(()) };
        let content = beacon::restart(&signal::encrypt(self.tx, contact, &restart.message, self.now, self.rng)?);
        if content.len() > BOX_CONTENT_MAX {
            return Err(CoreError::Bug("a restart does not fit a box"));
        }
        restarts::set_sealed(self.tx, contact, &content)?;
        let Some(stream) = streams::of_contact(self.tx, contact, StreamKind::BeaconOut)? else { return Ok(()) };
        let Some(first) = beacons::first_day(self.tx, stream.id)? else { return Ok(()) };
        let mut cap = streams::write_cap(self.tx, stream.id)?;
        let today = u64::from(Day::at(self.now, self.params.day).0.saturating_sub(first.0));
        let index = cap.index().max(today + 1);
        // It waits for a later day's beacon.
        if index > today + AHEAD_MAX {
            return Ok(());
        }
        cap.skip_to(index);
        streams::set_write_cap(self.tx, stream.id, &cap)?;
        let of = BoxUse { class: BoxClass::Solo, message: None, kept: false };
        self.seal_box(stream.id, StreamKind::BeaconOut, of, &content)?;
        Ok(())
    }

    /// A contact says that its store is from a backup.
    pub(super) fn read_restart(&mut self, contact: ContactId, sealed: &[u8]) -> Result<Read, CoreError> {
        let plain = match signal::decrypt(self.tx, contact, sealed, self.now, self.rng) {
            Ok(plain) => plain,
            Err(signal::SignalError::Store(error)) => return Err(error.into()),
            Err(error) => {
                tracing::debug!(%error, "a restart was dropped");
                return Ok(Read::Bad);
            }
        };
        let Ok(Message { uuid, sent_at, body: Body::Restart { writer_writes, reader_writes } }) =
            Message::decode(&plain)
        else {
            return Ok(Read::Bad);
        };
        let last = restarts::last(self.tx, contact)?;
        if sent_at > self.now + self.params.day * CLOCK_DAYS {
            return Ok(Read::Good);
        }
        if (sent_at, uuid) < last {
            // It does not know of ours, and as long as it says this in place of its beacons it brings no prekeys: ours goes out under
            // the session that this one opened, or each would wait for the other for ever.
            if restarts::pending(self.tx, contact)?.is_some_and(|restart| restart.sealed.is_none()) {
                self.seal_restart(contact)?;
            }
            return Ok(Read::Good);
        }
        if (sent_at, uuid) > last {
            restarts::remove(self.tx, contact)?;
            restarts::set_last(self.tx, contact, sent_at, uuid)?;
            // Nothing in there waits for anything any more.
            self.open_held(contact, Patience::Over)?;
            streams::set_former(self.tx, contact, StreamKind::MessagesIn, self.now)?;
            self.begin_anew(contact, &reader_writes, &writer_writes)?;
        }
        self.owe_receipt(contact, uuid)?;
        Ok(Read::Good)
    }

    /// Both streams of messages are new, and what the contact has not receipted is sent again.
    fn begin_anew(&mut self, contact: ContactId, ours: &StreamSeed, theirs: &StreamSeed) -> Result<(), CoreError> {
        for stream in streams::all_of_contact(self.tx, contact, StreamKind::MessagesOut)? {
            self.remove_stream(stream.id)?;
        }
        for id in messages::unconfirmed(self.tx, contact)? {
            successors::wait(self.tx, id)?;
        }
        streams::forget_beginnings(self.tx, contact)?;
        let root = |seed: &StreamSeed| StreamRoot::new(*seed.as_bytes());
        let kinds = (StreamKind::MessagesOut, StreamKind::MessagesIn);
        self.create_streams(contact, kinds, &root(ours), &root(theirs))?;
        self.effects.events.push(Event::Contact(contact));
        Ok(())
    }

    fn fail_files(&mut self, contact: ContactId) -> Result<(), CoreError> {
        for kind in [StreamKind::FileOut, StreamKind::FileIn] {
            for stream in streams::all_of_contact(self.tx, contact, kind)? {
                if let Some(message) = stream.message {
                    self.advance(message, State::Failed, Some(FILE_LOST))?;
                }
                self.remove_stream(stream.id)?;
            }
        }
        Ok(())
    }
}
