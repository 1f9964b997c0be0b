//! Beacons: a box a day for every contact, so that any absence ends with a conversation that goes on.
//!
//! Digests are kept for a day. Who was away for longer has missed those that named the boxes which wait; but today's beacon
//! is in today's digests, and it says which boxes those are. Its stream has a box for every day, at the index of the day since
//! the pair was made, so that a reader knows its id in advance, however long it was away, and an old one cannot be read with a
//! key of today.
//!
//! `content::beacon` says how its bytes lie. Of a file that is on its way all boxes below the number are on mailboxes. Of the
//! streams of messages it tells by position (`succession`) which boxes are on their mailboxes, have not expired and were not
//! receipted. Only those are asked for, in random order, so nobody asks for boxes that are not there. A stream that its reader
//! has not receipted comes with the message that names it. The bundle is a fresh set of prekeys: if the reader's session
//! refuses to send because nobody has answered for 30 days, it begins a new one with it.
//!
//! A beacon leaves in a Put slot, at an instant that is drawn from the next day when one is sealed, and a day later at the
//! latest; who is not connected then sends it when it is again.

use super::{
    CoreError,
    reading::{Read, late_wait, new_fetch},
    succession::AHEAD_MAX,
    work::{BoxUse, Work},
};
use crate::{
    arq::Pace,
    content::{
        StreamSeed,
        beacon::{BITS, Beacon as Told, FILES, sealed_restart},
    },
    signal::{self, Bundle},
    store::{
        beacons::{self, Beacon},
        contacts::{self, ContactId, ContactState},
        messages::{self, Direction, State},
        outbox, restarts,
        streams::{self, FetchKey, StreamId, StreamKind},
        successors,
    },
};
use rand::Rng as _;
use std::{collections::BTreeSet, time::Duration};
use veilpost_packet::{
    boxes::{BoxClass, StreamRoot},
    primitives::{Secret32, label},
    time::{Day, Timestamp},
};

/// Days' beacons that are looked for: those that may still be on a mailbox, and as many to come.
pub(super) const WINDOW: u64 = 32;
/// Days between two people's making of a pair and now, beyond which it has no beacons: a contact's clock, or a lie.
const DAYS_MAX: u32 = 4_000;
/// Days that a set of prekeys is kept: longer than a beacon.
const PREKEY_DAYS: u32 = 17;
impl Work<'_> {
    /// Both beacons of a pair that was made at `since`, by the clock of who answered the invitation.
    pub(super) fn create_beacons(
        &mut self,
        contact: ContactId,
        ours: &StreamSeed,
        theirs: &StreamSeed,
        since: Timestamp,
    ) -> Result<(), CoreError> {
        let day = self.params.day;
        // Milliseconds travel.
        let first = Day::at(Timestamp::from_millis(since.as_millis()), day);
        if Day::at(self.now, day).0.abs_diff(first.0) > DAYS_MAX {
            return Ok(());
        }
        let root = |seed: &StreamSeed| StreamRoot::new(*Secret32::new(*seed.as_bytes()).derive(label::BEACON).expose());
        let kinds = (StreamKind::BeaconOut, StreamKind::BeaconIn);
        let (out, incoming) = self.create_streams(contact, kinds, &root(ours), &root(theirs))?;
        let due = self.now + self.within(day);
        beacons::create(self.tx, out, first, Some(due))?;
        Ok(beacons::create(self.tx, incoming, first, None)?)
    }

    fn within(&mut self, day: Duration) -> Duration {
        Duration::from_millis(self.rng.random_range(0..day.as_millis().max(1) as u64))
    }

    /// Seals the beacons that are due, and moves the windows of those that are read.
    pub(super) fn keep_beacons(&mut self) -> Result<(), CoreError> {
        let today = Day::at(self.now, self.params.day);
        beacons::remove_expired(self.tx, today)?;
        for beacon in beacons::of_kind(self.tx, StreamKind::BeaconOut)? {
            if beacon.due.is_some_and(|due| due <= self.now) {
                self.seal_beacon(&beacon, today)?;
            }
        }
        for beacon in beacons::of_kind(self.tx, StreamKind::BeaconIn)? {
            let oldest = today.0.saturating_sub(self.params.box_days).saturating_sub(beacon.first.0);
            self.move_beacon(beacon.stream, u64::from(oldest))?;
        }
        Ok(())
    }

    fn seal_beacon(&mut self, beacon: &Beacon, today: Day) -> Result<(), CoreError> {
        let tomorrow = Timestamp::ZERO + self.params.day.saturating_mul(today.0.saturating_add(1));
        // At most a day later than this one, so that there is always one among the digests that are kept.
        let next = (tomorrow + self.within(self.params.day)).min(self.now + self.params.day);
        beacons::set_due(self.tx, beacon.stream, next)?;
        let known = contacts::by_id(self.tx, beacon.contact)?;
        let mut cap = streams::write_cap(self.tx, beacon.stream)?;
        let index = u64::from(today.0.saturating_sub(beacon.first.0));
        // A clock that was set back seals nothing twice.
        if cap.index() > index || known.state == ContactState::Failed || known.identity.is_none() {
            return Ok(());
        }
        cap.skip_to(index);
        streams::set_write_cap(self.tx, beacon.stream, &cap)?;
        let content = self.beacon_content(beacon.contact)?;
        let of = BoxUse { class: BoxClass::Solo, message: None, kept: false };
        self.seal_box(beacon.stream, StreamKind::BeaconOut, of, &content)?;
        Ok(())
    }

    pub(super) fn beacon_content(&mut self, contact: ContactId) -> Result<Vec<u8>, CoreError> {
        let restart = restarts::pending(self.tx, contact)?;
        if let Some(content) = restart.as_ref().and_then(|restart| restart.sealed.clone()) {
            return Ok(content);
        }
        beacons::remove_old_prekeys(self.tx, contact, self.now - self.params.day * PREKEY_DAYS)?;
        let (_, bundle) = signal::create_bundle(self.tx, Some(contact), self.now, self.rng)?;
        let bundle = bundle.encode();
        if restart.is_some() {
            // Both may be from a backup, and wait for each other's prekeys. There is nothing else to tell yet.
            let (waiting, files) = (Vec::new(), Vec::new());
            let nothing =
                Told { restarted: 0, number: 0, base: 0, waiting, heard: (0, 0), bundle, files, successor: None };
            return Ok(nothing.encode());
        }
        let newest = streams::of_contact(self.tx, contact, StreamKind::MessagesOut)?;
        let (number, base) = newest.map_or((0, 0), |newest| (newest.number, newest.base));
        let heard = match streams::of_contact(self.tx, contact, StreamKind::MessagesIn)? {
            Some(stream) => {
                let seen = streams::highest_seen(self.tx, stream.id)?.map_or(0, |highest| highest + 1);
                (stream.number, seen.max(streams::read_cap(self.tx, stream.id)?.index()))
            }
            None => (0, 0),
        };
        let beacon = Told {
            restarted: restarts::last(self.tx, contact)?.0.as_millis(),
            number,
            base,
            waiting: beacons::on_mailboxes(self.tx, contact, BITS)?,
            heard,
            bundle,
            files: beacons::files(self.tx, contact, FILES)?,
            successor: successors::of_contact(self.tx, contact)?.map(|successor| successor.sealed),
        };
        Ok(beacon.encode())
    }

    /// A contact's beacon has come: what it says is waiting is fetched, and a session that nobody answered begins anew.
    pub(super) fn read_beacon(&mut self, contact: ContactId, content: &[u8]) -> Result<Read, CoreError> {
        if let Some(sealed) = sealed_restart(content) {
            return self.read_restart(contact, sealed);
        }
        let Ok(told) = Told::decode(content) else { return Ok(Read::Bad) };
        let Ok(bundle) = Bundle::decode(&told.bundle) else { return Ok(Read::Bad) };
        let pinned = contacts::by_id(self.tx, contact)?.identity;
        if pinned != Some(*bundle.identity()) {
            return Ok(Read::Bad);
        }
        if !self.is_in_step(contact, &told)? {
            self.announce_restart(contact, &bundle)?;
            return Ok(Read::Good);
        }
        if signal::is_unanswered(self.tx, contact, self.now)? {
            signal::open_session(self.tx, contact, &bundle, self.now, self.rng)?;
            tracing::debug!("a session was begun anew");
        }
        // As good as a receipt, and it comes again tomorrow.
        let ours = streams::of_contact(self.tx, contact, StreamKind::MessagesOut)?;
        if ours.is_some_and(|ours| ours.number == told.heard.0) {
            self.successor_known(contact)?;
        }
        self.settle_heard(contact, told.heard)?;
        self.receipt_again(contact, &told.waiting)?;
        self.fetch_messages(contact, &told)?;
        for (uuid, boxes) in told.files {
            // One whose manifest is not here yet is told of again tomorrow.
            let Some(found) = messages::by_uuid(self.tx, contact, Direction::In, uuid)? else { continue };
            let stream = streams::of_message(self.tx, found.id)?.filter(|_| found.message.state == State::Receiving);
            let Some((stream, count)) = stream.and_then(|stream| Some((stream.id, stream.boxes?))) else { continue };
            let low = streams::read_cap(self.tx, stream)?.index();
            let waiting: Vec<u64> = (low..u64::from(boxes).min(count)).take(BITS as usize).collect();
            self.fetch_waiting(stream, &waiting)?;
        }
        Ok(Read::Good)
    }

    /// Whether a contact's beacon is of the conversation as we know it. If it is of a later one, or has heard more than we
    /// have written or than any mailbox has taken from us, then we are from a backup.
    fn is_in_step(&mut self, contact: ContactId, told: &Told) -> Result<bool, CoreError> {
        let last = restarts::last(self.tx, contact)?.0.as_millis();
        let written = match streams::of_contact(self.tx, contact, StreamKind::MessagesOut)? {
            Some(stream) => (stream.number, streams::write_cap(self.tx, stream.id)?.index()),
            None => return Ok(true),
        };
        let heard = told.heard > written || outbox::is_contradicted(self.tx, contact, told.heard)?;
        if told.restarted > last || (told.restarted == last && heard) {
            self.restart(contact, told.restarted)?;
            return Ok(false);
        }
        if told.restarted == last {
            restarts::remove(self.tx, contact)?;
        }
        Ok(told.restarted == last)
    }

    /// Fetches the boxes of messages that a beacon says are waiting.
    fn fetch_messages(&mut self, contact: ContactId, told: &Told) -> Result<(), CoreError> {
        let read = |work: &Self| -> Result<Vec<_>, CoreError> {
            let mut all = streams::all_of_contact(work.tx, contact, StreamKind::MessagesIn)?;
            all.retain(|stream| !stream.former);
            Ok(all)
        };
        let all = read(self)?;
        let Some(newest) = all.last() else { return Ok(()) };
        if newest.number.checked_add(1) == Some(told.number)
            && let Some(content) = &told.successor
            && let Some(index) = told.base.checked_sub(newest.base).and_then(|end| end.checked_sub(1))
        {
            self.take_successor(newest, index, content)?;
        }
        let all = read(self)?;
        let Some(newest) = all.last() else { return Ok(()) };
        // Of a stream that is not known (yet) nothing can be asked for; where it begins those end that are.
        let end = match told.number.checked_sub(newest.number) {
            Some(0) => u64::MAX,
            Some(1) => told.base,
            _ => return Ok(()),
        };
        for stream in &all {
            let index = |position: &u64| position.checked_sub(stream.base).filter(|_| *position < end);
            let waiting: Vec<u64> =
                told.waiting.iter().filter_map(index).filter(|at| stream.boxes.is_none_or(|end| *at < end)).collect();
            self.fetch_waiting(stream.id, &waiting)?;
        }
        Ok(())
    }

    fn fetch_waiting(&mut self, stream: StreamId, waiting: &[u64]) -> Result<(), CoreError> {
        let known: BTreeSet<u64> = streams::known_indices(self.tx, stream)?.into_iter().collect();
        let mut cap = streams::read_cap(self.tx, stream)?;
        let reach = cap.index().saturating_add(AHEAD_MAX);
        let mut any = false;
        for index in waiting.iter().filter(|index| !known.contains(index) && **index < reach) {
            while cap.index() < *index {
                cap.advance();
            }
            // Below the window it was read.
            let Some(expected) = cap.expected().ok().filter(|expected| expected.index == *index) else { continue };
            let wait = late_wait(self.rng, Pace(self.params.hurry));
            let fetch = new_fetch(FetchKey { stream, index: *index }, &expected, self.now, self.now + wait);
            streams::push_fetch(self.tx, &fetch)?;
            self.effects.fetches.push(fetch);
            any = true;
        }
        if any {
            self.effects.moved.push(stream);
        }
        Ok(())
    }

    fn move_beacon(&mut self, stream: StreamId, oldest: u64) -> Result<(), CoreError> {
        let mut cap = streams::read_cap(self.tx, stream)?;
        if cap.index() >= oldest {
            return Ok(());
        }
        while cap.index() < oldest {
            streams::remove_fetch(self.tx, FetchKey { stream, index: cap.index() })?;
            cap.advance();
        }
        streams::set_read_cap(self.tx, stream, &cap)?;
        self.effects.moved.push(stream);
        Ok(())
    }
}
