//! Streams of messages that follow one another, so that a stolen stream's secret is good for a while only.
//!
//! After 1,000 boxes or 30 days the last message of a stream names the root of the next, inside the ratchet. Nothing new is
//! written in the old one any more; what is not receipted there is renewed and sent again as ever, and read as ever.
//!
//! ```text
//! position        0 ........ 998 999 | 1000 1001 .........
//! stream 0        0 ........ 998 [S]                          [S] names stream 1; its box is the last
//! stream 1                            0    1 .........        base 1000
//! ```
//! Positions run on through a pair's streams, so that the rule of `holding` sees holes on both sides of the border. A reader who
//! finds `[S]` knows both: where the old stream ends and where the new one begins. Who was away for too long to see `[S]` named
//! finds the same bytes in the contact's beacon, until a receipt says that it is known. One successor at most is not known: a
//! reader who is away keeps its writer from going on to the next, and the ratchet stands still as well.

use super::{
    Core, CoreError,
    holding::Patience,
    parcel,
    work::{BoxUse, Work},
};
use crate::{
    arq::GETS_MAX,
    content::{Body, Message, StreamSeed, Uuid, beacon::SUCCESSOR_MAX},
    core::{keeping::RENEWALS_MAX, reading::new_fetch},
    signal,
    store::{
        contacts::{self, ContactId, ContactState},
        restarts,
        streams::{self, FetchKey, Stream, StreamId, StreamKind},
        successors::{self, Successor},
    },
};
use veilpost_packet::{
    boxes::{BoxClass, StreamRoot},
    time::Timestamp,
};

/// Boxes of one stream of messages; then its root is new.
pub(super) const BOXES: u64 = 1_000;
/// Days that one stream of messages is written.
pub(super) const DAYS: u32 = 30;
/// Streams of one contact and direction that are alive at most. A writer goes on only when nothing is left to be receipted in
/// the one that many before; so what a reader drops beyond it nobody waits for.
pub(super) const STREAMS_MAX: u32 = 4;
/// Boxes that a reader's chain is moved forward at most because a beacon says so: 2 us each.
pub(super) const AHEAD_MAX: u64 = 65_536;

impl Core {
    /// Forgets what memory holds of a stream that is gone.
    pub(super) fn forget_stream(&mut self, id: StreamId) {
        self.watched.remove(&id);
        self.fetches.retain(|key, _| key.stream != id);
        self.expected.retain(|_, keys| {
            keys.retain(|key| key.stream != id);
            !keys.is_empty()
        });
        let gone: Vec<_> = self.outbox.values().filter(|out| out.stream == id).map(|out| out.id).collect();
        for out in gone {
            self.outbox.remove(&out);
            self.audits.remove(&out);
        }
    }
}

impl Work<'_> {
    /// Replaces streams that are old or long, and removes those of which nothing is to be sent or read any more.
    pub(super) fn keep_streams(&mut self) -> Result<(), CoreError> {
        let age = self.params.day * DAYS;
        for contact in contacts::all(self.tx)? {
            let Some(stream) = streams::of_contact(self.tx, contact.id, StreamKind::MessagesOut)? else { continue };
            if self.now.since(stream.created) >= age {
                self.begin_successor(contact.id, &stream)?;
            }
            self.remove_written(contact.id)?;
            self.remove_read(contact.id)?;
        }
        for stream in streams::finished_decoys(self.tx, GETS_MAX, self.oldest_end())? {
            self.remove_stream(stream)?;
        }
        Ok(())
    }

    /// The stream that so many boxes for a contact go to: the next one if the last box of this one has to name it.
    pub(super) fn stream_for(&mut self, contact: ContactId, boxes: u64) -> Result<Stream, CoreError> {
        let newest = |work: &Self| streams::of_contact(work.tx, contact, StreamKind::MessagesOut);
        let stream = newest(self)?.ok_or(CoreError::NotReady)?;
        if streams::write_cap(self.tx, stream.id)?.index().saturating_add(boxes) < BOXES {
            return Ok(stream);
        }
        self.begin_successor(contact, &stream)?;
        newest(self)?.ok_or(CoreError::NotReady)
    }

    /// Ends a stream with the message that names the next, unless the one before is not known yet or too many are alive.
    pub(super) fn begin_successor(&mut self, contact: ContactId, old: &Stream) -> Result<(), CoreError> {
        if contacts::by_id(self.tx, contact)?.state != ContactState::Established
            || restarts::pending(self.tx, contact)?.is_some()
            || successors::of_contact(self.tx, contact)?.is_some()
            || !self.has_room_for_successor(contact, old)?
        {
            return Ok(());
        }
        let (uuid, seed) = (Uuid::random(self.rng), StreamSeed::random(self.rng));
        let message = Message { uuid, sent_at: self.now, body: Body::NextStream(seed.clone()) };
        let plain = message.encode().map_err(|_| CoreError::Bug("a stream's successor does not encode"))?;
        self.tx.execute_batch("SAVEPOINT successor")?;
        let sealed = signal::encrypt(self.tx, contact, &plain, self.now, self.rng);
        let contents = sealed.ok().and_then(|sealed| parcel::split(&parcel::join(&[sealed])).ok()).unwrap_or_default();
        let [content] = contents.as_slice() else { return self.no_successor() };
        // With a key agreement, which is as long as nobody has answered the session, it has no room in a beacon. Then the
        // stream goes on until someone has.
        if content.len() > SUCCESSOR_MAX {
            return self.no_successor();
        }
        self.tx.execute_batch("RELEASE successor")?;
        let of = BoxUse { class: BoxClass::Solo, message: None, kept: true };
        self.seal_box(old.id, StreamKind::MessagesOut, of, content)?;
        let end = streams::write_cap(self.tx, old.id)?.index();
        streams::end(self.tx, old.id, end, self.now)?;
        let new = self.create_written(contact, StreamKind::MessagesOut, &StreamRoot::new(*seed.as_bytes()))?;
        streams::set_place(self.tx, new, old.number.saturating_add(1), old.base.saturating_add(end), self.now)?;
        successors::push(self.tx, &Successor { stream: new, uuid, sealed: content.clone() })?;
        Ok(())
    }

    fn no_successor(&self) -> Result<(), CoreError> {
        Ok(self.tx.execute_batch("ROLLBACK TO successor; RELEASE successor")?)
    }

    fn has_room_for_successor(&self, contact: ContactId, newest: &Stream) -> Result<bool, CoreError> {
        for stream in streams::all_of_contact(self.tx, contact, StreamKind::MessagesOut)? {
            let far = newest.number.saturating_sub(stream.number) + 1 >= STREAMS_MAX;
            if far && !successors::kept(self.tx, stream.id)?.is_empty() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The reader knows the newest stream.
    pub(super) fn successor_known(&mut self, contact: ContactId) -> Result<(), CoreError> {
        let Some(successor) = successors::of_contact(self.tx, contact)? else { return Ok(()) };
        successors::remove(self.tx, successor.stream)?;
        let number = streams::by_id(self.tx, successor.stream)?.number;
        let all = streams::all_of_contact(self.tx, contact, StreamKind::MessagesOut)?;
        let old = all.iter().find(|stream| stream.number.checked_add(1) == Some(number));
        let last = old.and_then(|old| Some((old.id, old.boxes?.checked_sub(1)?)));
        if let Some((stream, index)) = last {
            let kept = successors::kept_at(self.tx, stream, index)?;
            self.settle_all(kept.into_iter().collect())?;
        }
        Ok(())
    }

    /// The last message of a stream has named the next one. `end`: the index after its box.
    pub(super) fn follow_successor(
        &mut self,
        contact: ContactId,
        stream: StreamId,
        end: u64,
        uuid: Uuid,
        seed: &StreamSeed,
    ) -> Result<(), CoreError> {
        let newest = streams::of_contact(self.tx, contact, StreamKind::MessagesIn)?;
        // A stream has one successor.
        let Some(old) = newest.filter(|newest| newest.id == stream) else { return Ok(()) };
        streams::end(self.tx, old.id, end, self.now)?;
        let new = self.create_read(contact, StreamKind::MessagesIn, &StreamRoot::new(*seed.as_bytes()))?;
        streams::set_place(self.tx, new, old.number.saturating_add(1), old.base.saturating_add(end), self.now)?;
        self.owe_receipt(contact, uuid)
    }

    /// A beacon has brought the last box of a stream.
    pub(super) fn take_successor(&mut self, stream: &Stream, index: u64, content: &[u8]) -> Result<(), CoreError> {
        let key = FetchKey { stream: stream.id, index };
        let mut cap = streams::read_cap(self.tx, stream.id)?;
        let (low, reach) = (cap.index(), cap.index().saturating_add(AHEAD_MAX));
        if index < low || index >= reach || streams::is_done(self.tx, key)? {
            return Ok(());
        }
        while cap.index() < index {
            cap.advance();
        }
        let Ok(expected) = cap.expected() else { return Ok(()) };
        streams::push_fetch(self.tx, &new_fetch(key, &expected, self.now, self.now))?;
        self.read_part(stream, key, content)?;
        self.move_windows(stream)
    }

    /// Our streams that have ended and of whose boxes nothing is to be sent any more.
    fn remove_written(&mut self, contact: ContactId) -> Result<(), CoreError> {
        let all = streams::all_of_contact(self.tx, contact, StreamKind::MessagesOut)?;
        let newest = all.last().map_or(0, |newest| newest.number);
        for stream in all.iter().filter(|stream| stream.ended.is_some()) {
            // Only receipts can be left there, and their reader has heard of later boxes.
            let far = newest.saturating_sub(stream.number) >= STREAMS_MAX;
            if far || successors::is_idle(self.tx, stream.id)? {
                self.remove_stream(stream.id)?;
            }
        }
        Ok(())
    }

    /// A contact's streams that have ended and are read, or cannot be on a mailbox any more, or are too many.
    fn remove_read(&mut self, contact: ContactId) -> Result<(), CoreError> {
        let all = streams::all_of_contact(self.tx, contact, StreamKind::MessagesIn)?;
        let (oldest, most) = (self.oldest_end(), STREAMS_MAX as usize);
        for (at, stream) in all.iter().enumerate().filter(|(_, stream)| stream.ended.is_some()) {
            let read = stream
                .boxes
                .is_some_and(|end| streams::read_cap(self.tx, stream.id).is_ok_and(|cap| cap.index() >= end));
            if read {
                self.remove_stream(stream.id)?;
            } else if all.len() - at > most || stream.ended.is_some_and(|ended| ended < oldest) {
                // What waits for a hole down there waits in vain.
                self.open_held(contact, Patience::Over)?;
                self.remove_stream(stream.id)?;
            }
        }
        Ok(())
    }

    /// What ended before this was renewed for the last time so long ago that it has expired.
    fn oldest_end(&self) -> Timestamp {
        self.now - self.params.day * (self.params.box_days.saturating_mul(RENEWALS_MAX + 1) + 1)
    }

    pub(super) fn remove_stream(&mut self, stream: StreamId) -> Result<(), CoreError> {
        streams::remove(self.tx, stream)?;
        self.effects.removed.push(stream);
        Ok(())
    }
}
