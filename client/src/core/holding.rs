//! From boxes to messages, in an order that their session survives.
//!
//! Boxes come in any order, and libsignal opens messages in any order too, but it keeps the newest [`CHAINS_KEPT`] receiving
//! chains only: a message that comes after its writer's ratchet has turned five times more never opens again. A hit of a late
//! digest waits for minutes, a resent box too, and a lively conversation turns its ratchet every few seconds. So a message
//! that would turn the ratchet waits, kept as it came, while a box is missing that may need the oldest chain. Its reader has
//! not seen it, so its writer's ratchet stands still meanwhile: what waits is what the writer wrote since.
//!
//! ```text
//! position       0 1 2 3 4 5 6 7 8 9
//! chain          a a b b c c d d e e | f     opening f drops a: box 1 must be here first
//!                  ^ missing
//! ```
//! Positions run on through a pair's streams (`succession`), so a hole in one holds back what the next one brings.

use super::{CoreError, keeping::RENEWALS_MAX, parcel, reading::Read, work::Work};
use crate::{
    arq::GETS_MAX,
    content::{Body, Message},
    signal::{self, CHAINS_KEPT},
    store::{
        contacts::ContactId,
        messages,
        streams::{self, FetchKey, Stream, StreamId, StreamKind},
    },
};
use std::{ops::Range, time::Duration};

/// How long a message waits for earlier ones, by the clock of time online (`online`). What brings those (late hits, repeated
/// Gets, Wants, boxes that are sent again) takes 10 minutes on average and nearly never two hours (`arq::HELD_GETS`); a box that
/// is lost for good must not silence a contact.
const HOLD: Duration = Duration::from_secs(7_200);
/// How long if one of those was named by a digest: it is there, and its mailbox is away. Better a day late than one lost. One
/// that was asked for in vain as often as any is (`arq::GETS_MAX`) will not come any more.
const HOLD_NAMED: Duration = Duration::from_secs(86_400);
/// Lives of a box, with all its renewals, after which a message waits no longer by the clock on the wall, however little its
/// reader was online: what is missing was written before it, and lies on no mailbox any more.
const LIVES: u32 = RENEWALS_MAX + 1;
/// Beginnings of chains that are remembered: those that are kept, and the one before, which bounds where the oldest begins.
const BEGINNINGS: usize = CHAINS_KEPT + 1;

/// Whether what would drop a chain waits for the boxes that may need it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    /// It waits its time.
    Waits,
    /// Those will not come any more.
    Over,
}

/// What became of a message.
enum Opened {
    /// Parts of it are missing.
    Incomplete,
    /// It waits for earlier ones.
    Waits,
    Done(Read),
}

impl Work<'_> {
    /// One box of a message; reads the message when it is whole, and those that have waited for it.
    pub(super) fn read_part(&mut self, stream: &Stream, key: FetchKey, content: &[u8]) -> Result<Read, CoreError> {
        let Some(contact) = stream.contact else { return Ok(Read::Bad) };
        let Ok(piece) = parcel::Piece::read(content) else { return Ok(Read::Bad) };
        let Some(first) = key.index.checked_sub(u64::from(piece.part)) else { return Ok(Read::Bad) };
        streams::keep_content(self.tx, key, content, self.online)?;
        let read = match self.open_whole(stream, contact, first, piece.parts, Patience::Waits)? {
            Opened::Done(read) => read,
            Opened::Incomplete | Opened::Waits => Read::Good,
        };
        self.open_held(contact, Patience::Waits)?;
        Ok(read)
    }

    /// Messages that have waited for too long.
    pub(super) fn open_overdue(&mut self) -> Result<(), CoreError> {
        let overdue = self.online.checked_sub(self.params.hurry(HOLD));
        for id in streams::kept_since(self.tx, overdue, self.now - self.longest_wait())? {
            let stream = streams::by_id(self.tx, id)?;
            if let (StreamKind::MessagesIn, Some(contact)) = (stream.kind, stream.contact) {
                self.open_held(contact, Patience::Waits)?;
                self.move_windows(&stream)?;
            }
        }
        Ok(())
    }

    /// By the clock on the wall.
    fn longest_wait(&self) -> Duration {
        self.params.day.saturating_mul(self.params.box_days.saturating_mul(LIVES))
    }

    /// Opens whole messages that need not wait any more, in their order.
    pub(super) fn open_held(&mut self, contact: ContactId, patience: Patience) -> Result<(), CoreError> {
        for stream in streams::all_of_contact(self.tx, contact, StreamKind::MessagesIn)? {
            for (index, content) in streams::all_contents(self.tx, stream.id)? {
                let Ok(piece) = parcel::Piece::read(&content) else { continue };
                if piece.part != 0 {
                    continue;
                }
                // Behind one that waits all are of its chain or of later ones.
                if let Opened::Waits = self.open_whole(&stream, contact, index, piece.parts, patience)? {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn open_whole(
        &mut self,
        stream: &Stream,
        contact: ContactId,
        first: u64,
        parts: u8,
        patience: Patience,
    ) -> Result<Opened, CoreError> {
        let kept = streams::contents(self.tx, stream.id, first, parts.into())?;
        if kept.len() != usize::from(parts) {
            return Ok(Opened::Incomplete);
        }
        let sealed = unpack(&kept, parts);
        // All messages of a payload are of one chain.
        let next = sealed.as_ref().and_then(|sealed| sealed.first());
        // Streams of before a restart are of sessions that go on no longer: they turn no ratchet that another box needs.
        let turns =
            !stream.former && next.is_some_and(|next| signal::turns_ratchet(self.tx, contact, next).unwrap_or(false));
        let position = stream.base.saturating_add(first);
        if turns && let Some(lost) = self.would_lose(contact, position)? {
            let key = FetchKey { stream: stream.id, index: first };
            if patience == Patience::Waits && self.has_to_wait(contact, key, &lost)? {
                return Ok(Opened::Waits);
            }
            // No later turn waits for the same holes.
            streams::set_waited(self.tx, contact, lost.end)?;
        }
        streams::drop_contents(self.tx, stream.id, first, parts.into())?;
        let Some(sealed) = sealed else { return Ok(Opened::Done(Read::Bad)) };
        let mut read = Read::Good;
        for one in sealed {
            match signal::decrypt(self.tx, contact, &one, self.now, self.rng) {
                Ok(plain) => {
                    if turns {
                        streams::push_beginning(self.tx, contact, position, BEGINNINGS)?;
                    }
                    match Message::decode(&plain) {
                        Ok(Message { uuid, body: Body::NextStream(seed), .. }) => {
                            let end = first.saturating_add(u64::from(parts));
                            self.follow_successor(contact, stream.id, end, uuid, &seed)?;
                        }
                        Ok(message) => {
                            let uuid = message.uuid;
                            self.apply(contact, message)?;
                            if !stream.former {
                                messages::set_position(self.tx, contact, uuid, position)?;
                            }
                        }
                        Err(_) => read = Read::Bad,
                    }
                }
                Err(signal::SignalError::Store(error)) => return Err(error.into()),
                Err(error) => {
                    tracing::debug!(%error, "a message was dropped");
                    read = Read::Bad;
                }
            }
        }
        Ok(Opened::Done(read))
    }

    /// If a turn of the ratchet at this position would drop a chain that a missing box may need: between which positions that
    /// box is.
    fn would_lose(&self, contact: ContactId, position: u64) -> Result<Option<Range<u64>>, CoreError> {
        let beginnings = streams::beginnings(self.tx, contact)?;
        // The oldest kept chain lies between the beginnings of its neighbours. A session's first chain may have begun with
        // its invitation, in no box of any stream.
        let Some(end) = beginnings.len().checked_sub(CHAINS_KEPT - 1).and_then(|at| beginnings.get(at)) else {
            return Ok(None);
        };
        let before = if beginnings.len() == BEGINNINGS { beginnings.first().copied().unwrap_or(0) } else { 0 };
        let range = before.max(streams::waited(self.tx, contact)?)..(*end).min(position);
        for (stream, part) in self.parts_of(contact, &range)? {
            if streams::count_opened(self.tx, stream, part.start, part.end)? < part.end - part.start {
                return Ok(Some(range));
            }
        }
        Ok(None)
    }

    /// Whether the message that begins in this box still waits for boxes among these positions.
    fn has_to_wait(&self, contact: ContactId, key: FetchKey, lost: &Range<u64>) -> Result<bool, CoreError> {
        let Some((kept, named)) = streams::waiting_since(self.tx, key)? else { return Ok(false) };
        let hold = if self.any_named(contact, lost)? { HOLD_NAMED } else { HOLD };
        let over = named.is_none_or(|named| self.now.since(named) >= self.longest_wait());
        Ok(!over && self.online.saturating_sub(kept) < self.params.hurry(hold))
    }

    /// True if a digest has named one of these boxes, and it is not here yet and still asked for.
    fn any_named(&self, contact: ContactId, range: &Range<u64>) -> Result<bool, CoreError> {
        for (stream, part) in self.parts_of(contact, range)? {
            if streams::any_named(self.tx, stream, part.start, part.end, GETS_MAX)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The unread boxes among these positions: indices of the streams in which they lie. No range is empty.
    fn parts_of(&self, contact: ContactId, range: &Range<u64>) -> Result<Vec<(StreamId, Range<u64>)>, CoreError> {
        let mut parts = Vec::new();
        for stream in streams::all_of_contact(self.tx, contact, StreamKind::MessagesIn)? {
            if stream.former {
                continue;
            }
            let read = streams::read_cap(self.tx, stream.id)?.index();
            let start = range.start.saturating_sub(stream.base).max(read);
            let end = range.end.saturating_sub(stream.base).min(stream.boxes.unwrap_or(u64::MAX));
            if start < end {
                parts.push((stream.id, start..end));
            }
        }
        Ok(parts)
    }
}

/// The sealed messages of a whole payload, unless it is nonsense.
fn unpack(kept: &[(u64, Vec<u8>)], parts: u8) -> Option<Vec<Vec<u8>>> {
    let mut payload = Vec::new();
    for ((_, content), number) in kept.iter().zip(0u8..) {
        let part = parcel::Piece::read(content).ok()?;
        if part.part != number || part.parts != parts {
            return None;
        }
        payload.extend_from_slice(part.bytes);
    }
    parcel::messages(&payload).ok()
}
