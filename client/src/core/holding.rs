//! From boxes to messages, in an order that their session survives.
//!
//! Boxes come in any order, and libsignal opens messages in any order too, but it keeps the newest [`CHAINS_KEPT`] receiving
//! chains only: a message that comes after its writer's ratchet has turned five times more never opens again. A hit of a late
//! digest waits for minutes, a resent box too, and a lively conversation turns its ratchet every few seconds. So a message
//! that would turn the ratchet waits, kept as it came, while a box is missing that may need the oldest chain. Its reader has
//! not seen it, so its writer's ratchet stands still meanwhile: what waits is what the writer wrote since.
//!
//! ```text
//! box index      0 1 2 3 4 5 6 7 8 9
//! chain          a a b b c c d d e e | f     opening f drops a: box 1 must be here first
//!                  ^ missing
//! ```

use super::{CoreError, parcel, reading::Read, work::Work};
use crate::{
    content::Message,
    signal::{self, CHAINS_KEPT},
    store::{
        contacts::ContactId,
        streams::{self, FetchKey, Stream, StreamKind},
    },
};
use std::time::Duration;
use veilpost_packet::time::Timestamp;

/// How long a message waits for earlier ones. What brings those (late hits, repeated Gets, Wants, boxes that are sent again)
/// takes 10 minutes on average and nearly never two hours (`arq::HELD_GETS`); a box that is lost for good must not silence a contact.
const HOLD: Duration = Duration::from_secs(7_200);
/// How long if one of those was named by a digest: it is there, and its mailbox is away. Better a day late than one lost.
const HOLD_NAMED: Duration = Duration::from_secs(86_400);
/// Beginnings of chains that are remembered: those that are kept, and the one before, which bounds where the oldest begins.
const BEGINNINGS: usize = CHAINS_KEPT + 1;

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
        streams::set_done(self.tx, key, Some(content))?;
        let overdue = self.now - self.params.hurry(HOLD);
        let read = match self.open_whole(stream, contact, first, piece.parts, overdue)? {
            Opened::Done(read) => read,
            Opened::Incomplete | Opened::Waits => Read::Good,
        };
        self.open_held(stream, contact, overdue)?;
        Ok(read)
    }

    /// Messages that have waited for too long.
    pub(super) fn open_overdue(&mut self) -> Result<(), CoreError> {
        let overdue = self.now - self.params.hurry(HOLD);
        for id in streams::kept_since(self.tx, overdue)? {
            let stream = streams::by_id(self.tx, id)?;
            if let (StreamKind::MessagesIn, Some(contact)) = (stream.kind, stream.contact) {
                self.open_held(&stream, contact, overdue)?;
                self.move_window(&stream)?;
            }
        }
        Ok(())
    }

    /// Opens whole messages that need not wait any more, or were named before `overdue`, in their order.
    pub(super) fn open_held(
        &mut self,
        stream: &Stream,
        contact: ContactId,
        overdue: Timestamp,
    ) -> Result<(), CoreError> {
        for (index, content) in streams::all_contents(self.tx, stream.id)? {
            let Ok(piece) = parcel::Piece::read(&content) else { continue };
            if piece.part != 0 {
                continue;
            }
            // Behind one that waits all are of its chain or of later ones.
            if let Opened::Waits = self.open_whole(stream, contact, index, piece.parts, overdue)? {
                break;
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
        overdue: Timestamp,
    ) -> Result<Opened, CoreError> {
        let kept = streams::contents(self.tx, stream.id, first, parts.into())?;
        if kept.len() != usize::from(parts) {
            return Ok(Opened::Incomplete);
        }
        let sealed = unpack(&kept, parts);
        // All messages of a payload are of one chain.
        let next = sealed.as_ref().and_then(|sealed| sealed.first());
        let turns = next.is_some_and(|next| signal::turns_ratchet(self.tx, contact, next).unwrap_or(false));
        let waited = streams::seen(self.tx, FetchKey { stream: stream.id, index: first })?;
        if turns && let Some((start, end)) = self.would_lose(stream, first)? {
            let named = streams::any_named(self.tx, stream.id, start, end)?;
            let long = self.now - self.params.hurry(HOLD_NAMED);
            let overdue = if named { overdue_by(overdue, long) } else { overdue };
            if waited.is_some_and(|since| since > overdue) {
                return Ok(Opened::Waits);
            }
            // No later turn waits for the same holes.
            streams::set_progress(self.tx, stream.id, end)?;
        }
        streams::drop_contents(self.tx, stream.id, first, parts.into())?;
        let Some(sealed) = sealed else { return Ok(Opened::Done(Read::Bad)) };
        let mut read = Read::Good;
        for one in sealed {
            match signal::decrypt(self.tx, contact, &one, self.now, self.rng) {
                Ok(plain) => {
                    if turns {
                        streams::push_chain(self.tx, stream.id, first, BEGINNINGS)?;
                    }
                    match Message::decode(&plain) {
                        Ok(message) => self.apply(contact, message)?,
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

    /// If a turn of the ratchet at this box would drop a chain that a missing box may need: between which indices that box is.
    fn would_lose(&self, stream: &Stream, first: u64) -> Result<Option<(u64, u64)>, CoreError> {
        let beginnings = streams::chains(self.tx, stream.id)?;
        // The oldest kept chain lies between the beginnings of its neighbours. A session's first chain may have begun with
        // its invitation, in no box of this stream.
        let Some(end) = beginnings.len().checked_sub(CHAINS_KEPT - 1).and_then(|at| beginnings.get(at)) else {
            return Ok(None);
        };
        let before = if beginnings.len() == BEGINNINGS { beginnings.first().copied().unwrap_or(0) } else { 0 };
        let (read, given_up) =
            (streams::read_cap(self.tx, stream.id)?.index(), streams::by_id(self.tx, stream.id)?.progress);
        let (start, end) = (before.max(read).max(given_up), (*end).min(first));
        let missing = start < end && streams::count_opened(self.tx, stream.id, start, end)? < end - start;
        Ok(missing.then_some((start, end)))
    }
}

/// The later end of the two waits, unless nothing is to wait any more.
fn overdue_by(overdue: Timestamp, long: Timestamp) -> Timestamp {
    if overdue == Timestamp::FAR_FUTURE { overdue } else { overdue.min(long) }
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
