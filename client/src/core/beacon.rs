//! Beacons: a box a day for every contact, so that any absence ends with a conversation that goes on.
//!
//! Digests are kept for a day. Who was away for longer has missed those that named the boxes which wait; but today's beacon
//! is in today's digests, and it says which boxes those are. Its stream has a box for every day, at the index of the day since
//! the pair was made, so that a reader knows its id in advance, however long it was away, and an old one cannot be read with a
//! key of today.
//!
//! ```text
//! beacon = version u8 = 1 | next u64 | bits 128 B | bundle length u16 | bundle | files u8 | (message id 16 | boxes u32) each
//! ```
//! Of a file that is on its way all boxes below the number are on mailboxes. Bit k: box `next - 1 - k` of the stream of messages is on its mailboxes, has not expired and was not receipted. Only those
//! are asked for, in random order, so nobody asks for boxes that are not there. The bundle is a fresh set of prekeys: if the
//! reader's session refuses to send because nobody has answered for 30 days, it begins a new one with it.
//!
//! A beacon leaves in a Put slot, at an instant that is drawn from the next day when one is sealed, and a day later at the
//! latest; who is not connected then sends it when it is again.

use super::{
    CoreError,
    reading::{Read, late_wait, new_fetch},
    work::{BoxUse, Work},
};
use crate::{
    arq::Pace,
    content::{StreamSeed, Uuid},
    signal::{self, Bundle},
    store::{
        beacons::{self, Beacon},
        contacts::{self, ContactId, ContactState},
        messages::{self, Direction, State},
        streams::{self, FetchKey, NewStream, StreamId, StreamKind},
    },
};
use rand::Rng as _;
use std::{collections::BTreeSet, time::Duration};
use veilpost_packet::{
    boxes::{BoxClass, StreamRoot},
    codec::{self, DecodeError, Reader, Writer},
    primitives::{Secret32, label},
    time::{Day, Timestamp},
};

/// Days' beacons that are looked for: those that may still be on a mailbox, and as many to come.
pub(super) const WINDOW: u64 = 32;
/// Boxes of a message stream that a beacon tells of at most, back from the newest.
const BITS: u64 = 1_024;
/// Days between two people's making of a pair and now, beyond which it has no beacons: a contact's clock, or a lie.
const DAYS_MAX: u32 = 4_000;
/// Boxes that a reader's chain is moved forward at most because a beacon says so: 2 us each.
const AHEAD_MAX: u64 = 65_536;
/// Days that a set of prekeys is kept: longer than a beacon.
const PREKEY_DAYS: u32 = 17;
/// Files that a beacon tells of at most, the newest: the others' turn comes when those are delivered.
const FILES: usize = 16;
/// Version of the format.
const VERSION: u8 = 1;

/// What a beacon says.
struct Told {
    /// Indices of boxes that wait, ascending.
    waiting: Vec<u64>,
    /// Of these messages' files all boxes below the number.
    files: Vec<(Uuid, u32)>,
    bundle: Bundle,
}

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
        let (write, read) = (root(ours).write_cap(), root(theirs).read_cap());
        let stream = |kind, write_cap, read_cap| NewStream {
            kind,
            contact: Some(contact),
            message: None,
            write_cap,
            read_cap,
            boxes: None,
        };
        let out = streams::create(self.tx, &stream(StreamKind::BeaconOut, Some(&write), None))?;
        let due = self.now + self.within(day);
        beacons::create(self.tx, out, first, Some(due))?;
        let incoming = streams::create(self.tx, &stream(StreamKind::BeaconIn, None, Some(&read)))?;
        beacons::create(self.tx, incoming, first, None)?;
        self.effects.watch.push(incoming);
        Ok(())
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
        let waiting = match streams::of_contact(self.tx, contact, StreamKind::MessagesOut)? {
            Some(stream) => beacons::on_mailboxes(self.tx, stream.id, BITS)?,
            None => Vec::new(),
        };
        beacons::remove_old_prekeys(self.tx, contact, self.now - self.params.day * PREKEY_DAYS)?;
        let (_, bundle) = signal::create_bundle(self.tx, Some(contact), self.now, self.rng)?;
        let next = waiting.first().map_or(0, |highest| highest + 1);
        let mut bits = [0u8; BITS as usize / 8];
        for back in waiting.iter().filter_map(|index| next.checked_sub(index + 1)) {
            if let Some(byte) = usize::try_from(back / 8).ok().and_then(|at| bits.get_mut(at)) {
                *byte |= 1 << (back % 8);
            }
        }
        let mut writer = Writer::with_capacity(Bundle::LEN + 256);
        writer.u8(VERSION).u64(next).put(&bits).bytes16(&bundle.encode());
        let files = beacons::files(self.tx, contact, FILES)?;
        writer.u8(files.len() as u8);
        for (uuid, stored) in files {
            writer.put(&uuid.0).u32(stored);
        }
        Ok(writer.finish())
    }

    /// A contact's beacon has come: what it says is waiting is fetched, and a session that nobody answered begins anew.
    pub(super) fn read_beacon(&mut self, contact: ContactId, content: &[u8]) -> Result<Read, CoreError> {
        let Ok(told) = read(content) else { return Ok(Read::Bad) };
        let pinned = contacts::by_id(self.tx, contact)?.identity;
        if pinned != Some(*told.bundle.identity()) {
            return Ok(Read::Bad);
        }
        if signal::is_unanswered(self.tx, contact, self.now)? {
            signal::open_session(self.tx, contact, &told.bundle, self.now, self.rng)?;
            tracing::debug!("a session was begun anew");
        }
        if let Some(stream) = streams::of_contact(self.tx, contact, StreamKind::MessagesIn)? {
            self.fetch_waiting(stream.id, &told.waiting)?;
        }
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

fn read(content: &[u8]) -> codec::Result<Told> {
    let mut reader = Reader::new(content);
    if reader.u8()? != VERSION {
        return Err(DecodeError::Invalid("version"));
    }
    let (next, bits) = (reader.u64()?, reader.array::<{ BITS as usize / 8 }>()?);
    let bundle = Bundle::decode(reader.bytes16(4_096, "bundle")?).map_err(|_| DecodeError::Invalid("bundle"))?;
    let count = usize::from(reader.u8()?);
    if count > FILES {
        return Err(DecodeError::TooLong("files of a beacon"));
    }
    let file = |reader: &mut Reader<'_>| Ok((Uuid(reader.array()?), reader.u32()?));
    let files = (0..count).map(|_| file(&mut reader)).collect::<codec::Result<_>>()?;
    reader.finish()?;
    let set = |back: &u64| bits.get((back / 8) as usize).is_some_and(|byte| byte & (1 << (back % 8)) != 0);
    let waiting = (0..BITS).rev().filter(set).filter_map(|back| next.checked_sub(back + 1)).collect();
    Ok(Told { waiting, files, bundle })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use crate::store::Store;
    use proptest::prelude::*;
    use veilpost_packet::{ids::NetworkId, random};

    fn bundle() -> Vec<u8> {
        static ONE: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
        ONE.get_or_init(make_bundle).clone()
    }

    fn make_bundle() -> Vec<u8> {
        let (mut store, mut rng) = (Store::in_memory().unwrap(), random::seeded([1; 32]));
        let made = store.transaction(|tx| {
            signal::create_account(tx, "Alice", NetworkId([0; 32]), Timestamp::ZERO, &mut rng)?;
            signal::create_bundle(tx, None, Timestamp::ZERO, &mut rng)
        });
        made.unwrap().1.encode()
    }

    fn beacon(next: u64, bits: &[u8; 128], bundle: &[u8]) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.u8(VERSION).u64(next).put(bits).bytes16(bundle).u8(FILES as u8);
        for _ in 0..FILES {
            writer.put(&[5; 16]).u32(7);
        }
        writer.finish()
    }

    #[test]
    fn the_bits_of_a_beacon_are_its_boxes_ascending_and_none_below_zero() {
        let (mut bits, bundle) = ([0; 128], bundle());
        (bits[0], bits[127]) = (0b101, 0x80);
        assert_eq!(read(&beacon(2_000, &bits, &bundle)).unwrap().waiting, [976, 1_997, 1_999]);
        assert_eq!(read(&beacon(2, &bits, &bundle)).unwrap().waiting, [1]);
        assert!(read(&beacon(0, &[0xff; 128], &bundle)).unwrap().waiting.is_empty());
        assert_eq!(read(&beacon(u64::MAX, &[0xff; 128], &bundle)).unwrap().waiting.len(), BITS as usize);
    }

    #[test]
    fn a_beacon_fits_a_box() {
        assert!(beacon(0, &[0; 128], &bundle()).len() <= veilpost_packet::boxes::BOX_CONTENT_MAX);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..300), cut in 0usize..2_000) {
            let _ = read(&bytes);
            let mut damaged = beacon(7, &[3; 128], &bundle());
            damaged.truncate(cut);
            let _ = read(&damaged);
            bytes.insert(0, VERSION);
            let _ = read(&bytes);
        }
    }
}
