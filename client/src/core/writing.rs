//! Boxes on their way out.

use super::{
    Core, CoreError,
    build::Slot,
    fresh_root,
    types::{PendingAck, Preparing, Purpose},
    work::{BoxUse, Event, Work},
};
use crate::{
    arq::Pace,
    store::{
        contacts::ContactState,
        files,
        messages::{self, MessageId, State},
        meta,
        outbox::{self, OutboxId, Outgoing},
        streams::{self, Fetch, FetchKey, NewStream, StreamId, StreamKind},
        successors,
    },
    traffic::{LOOPS_AHEAD, READY_AHEAD},
};
use std::time::Duration;
use veilpost_packet::{
    boxes::{BoxClass, BoxTag},
    command::Command,
    ids::{BoxId, District, NodeId},
    random::{log_uniform, one_in},
    time::Timestamp,
};
use veilpost_pki::{Document, topology};

/// Boxes of a file that may be out beyond what its reader has reported.
const FILE_WINDOW: u64 = 256;
/// Boxes of one decoy stream; then its root is new.
const DECOYS_PER_STREAM: u64 = 1_000;
/// Decoys that no mailbox has taken yet at most: sent again every ten minutes they take half of the upkeep ticks.
const DECOYS_MAX: usize = 128;
/// One decoy in this many is fetched late, one in this many never acknowledged, one in this many of class contested. Of the
/// unacknowledged ones again one in this many is renewed: 42 a day, 1,900 rows (7 MB) at most.
pub(super) const DECOY_ODDITY: u32 = 16;
pub(super) const ABSENCE_MIN: Duration = Duration::from_secs(600);
pub(super) const ABSENCE_MAX: Duration = Duration::from_secs(10 * 86_400);

pub(super) type Job = (Purpose, Command, Option<NodeId>);

impl Core {
    /// What should be prepared next; `None` if everything is ready.
    pub(super) fn next_work(&mut self, now: Timestamp) -> Result<Option<Job>, CoreError> {
        let count = |slot: Slot| {
            let Some(connection) = &self.connection else { return usize::MAX };
            let building = connection.building.values().filter(|purpose| purpose.slot() == slot).count();
            let ready = &connection.ready;
            building
                + match slot {
                    Slot::Put => ready.puts.len(),
                    Slot::Decoy => usize::from(ready.decoy.is_some()),
                    Slot::Upkeep => usize::from(ready.upkeep.is_some()),
                    Slot::Get => ready.gets.len(),
                    Slot::Loop => ready.loops.len(),
                }
        };
        let (loops, gets, puts) = (count(Slot::Loop), count(Slot::Get), count(Slot::Put));
        let (decoys, upkeep) = (count(Slot::Decoy), count(Slot::Upkeep));
        if loops < LOOPS_AHEAD {
            return Ok(Some((Purpose::Loop, Command::Loop, None)));
        }
        if gets < READY_AHEAD
            && let Some(job) = self.next_get_job(now)
        {
            return Ok(Some(job));
        }
        if puts < READY_AHEAD
            && let Some(id) = self.next_put(now)?
        {
            return Ok(self.put_job(id, Slot::Put));
        }
        if decoys == 0 {
            let id = self.next_decoy(now)?;
            return Ok(self.put_job(id, Slot::Decoy));
        }
        if upkeep == 0 {
            return Ok(self.next_upkeep(now));
        }
        Ok(None)
    }

    pub(super) fn put_job(&self, id: OutboxId, slot: Slot) -> Option<Job> {
        let outgoing = self.outbox.get(&id)?;
        let document = self.document.as_ref()?;
        let holders = topology::holders(document, &outgoing.sealed.id);
        let copies = Self::copies(document, holders.len());
        // Sendings alternate between the holders, whatever was answered. `holders` leaves out who is not up: the next in hash
        // order moves up in its place.
        let holder = holders.get(outgoing.retry.sends as usize % copies).copied();
        Some((Purpose::Put(id, slot), Command::put(outgoing.sealed.clone()), holder))
    }

    /// What the get clock asks for next: what is due longest, be it to be read or to be looked up.
    pub(super) fn next_get_job(&self, now: Timestamp) -> Option<Job> {
        match (self.next_get(now), self.next_audit(now)) {
            (Some((get, key)), audit) if audit.is_none_or(|(audit, _)| get <= audit) => self.get_job(key, Slot::Get),
            (_, audit) => self.audit_job(audit?.1),
        }
    }

    pub(super) fn get_job(&self, key: FetchKey, slot: Slot) -> Option<Job> {
        let fetch = self.fetches.get(&key)?;
        let holder = self.holder_of(&fetch.id, fetch.retry.asked);
        Some((Purpose::Get(key, slot), Command::Get { id: fetch.id, district: District(0) }, holder))
    }

    /// Whom to ask for a box, at this try.
    fn holder_of(&self, id: &BoxId, turn: u32) -> Option<NodeId> {
        let document = self.document.as_ref()?;
        let listed = |named: &NodeId| document.mailboxes.iter().any(|mailbox| mailbox.id == *named);
        let namers: Vec<_> = self.tracker.namers(&BoxTag::of(id)).filter(listed).collect();
        let mut holders = topology::holders(document, id);
        holders.truncate(Self::copies(document, holders.len()));
        whom_to_ask(&holders, &namers, turn)
    }

    /// How many mailboxes of the document in use hold a box: K, or fewer in a network that has fewer.
    pub(super) fn copies(document: &Document, holders: usize) -> usize {
        usize::try_from(document.params.copies).unwrap_or(1).min(holders).max(1)
    }

    /// The oldest real box that was never sent: messages first, then files, whose boxes are sealed as they are needed.
    pub(super) fn next_put(&mut self, now: Timestamp) -> Result<Option<OutboxId>, CoreError> {
        let fresh = |kinds: &dyn Fn(StreamKind) -> bool| {
            let unsent = |id: &OutboxId| !self.preparing.contains(&Preparing::Put(*id));
            let mut waiting = self.outbox.values().filter(|out| kinds(out.kind) && out.retry.is_fresh());
            waiting.find(|out| unsent(&out.id)).map(|out| out.id)
        };
        let message = |kind| !matches!(kind, StreamKind::Decoys | StreamKind::FileOut);
        if let Some(id) = fresh(&message).or_else(|| fresh(&|kind| kind == StreamKind::FileOut)) {
            return Ok(Some(id));
        }
        for stream in self.files.clone() {
            match self.transaction(now, |work| work.seal_next_piece(stream)) {
                Ok(Piece::Sealed(id)) => return Ok(Some(id)),
                Ok(Piece::Waits) => {}
                Ok(Piece::Finished) => self.files.retain(|other| *other != stream),
                Err(CoreError::Store(error)) => return Err(error.into()),
                Err(error) => {
                    // One broken file must not hold back everything else; it is tried again after a restart.
                    tracing::error!(%error, "a file cannot be sent");
                    self.files.retain(|other| *other != stream);
                }
            }
        }
        Ok(None)
    }

    /// A decoy that was never sent, sealed now if there is none.
    pub(super) fn next_decoy(&mut self, now: Timestamp) -> Result<OutboxId, CoreError> {
        let waiting = self.outbox.values().find(|out| {
            out.kind == StreamKind::Decoys && out.retry.is_fresh() && !self.preparing.contains(&Preparing::Put(out.id))
        });
        if let Some(out) = waiting {
            return Ok(out.id);
        }
        self.drop_old_decoys()?;
        let known = self.decoys;
        let (stream, id, fetch) = self.transaction(now, |work| work.seal_decoy(known))?;
        self.decoys = Some(stream);
        self.expect(&fetch);
        self.fetches.insert(fetch.key, fetch);
        Ok(id)
    }

    /// While mailboxes take nothing, decoys pile up: beyond the bound the oldest is given up.
    fn drop_old_decoys(&mut self) -> Result<(), CoreError> {
        let untaken = |out: &&Outgoing| out.kind == StreamKind::Decoys && !out.retry.stored && out.retry.sends > 0;
        let mut waiting = self.outbox.values().filter(untaken);
        let Some(oldest) = waiting.next().map(|out| out.id) else { return Ok(()) };
        if waiting.count() + 1 < DECOYS_MAX {
            return Ok(());
        }
        self.store.transaction(|tx| outbox::remove(tx, oldest))?;
        self.outbox.remove(&oldest);
        Ok(())
    }

    /// The most overdue copy or repeat, else acknowledgement. Neither of the two goes first: boxes that a mailbox does not take
    /// must not keep messages from being read.
    pub(super) fn next_upkeep(&mut self, now: Timestamp) -> Option<Job> {
        let due = |next: Option<Timestamp>| next.filter(|next| *next <= now);
        let copies = self.outbox.values().filter(|out| !self.preparing.contains(&Preparing::Put(out.id)));
        let copy = copies.filter_map(|out| Some((due(out.retry.next)?, out.id))).min();
        let repeats = self.fetches.values().filter(|fetch| !self.preparing.contains(&Preparing::Get(fetch.key)));
        let repeat = repeats.filter_map(|fetch| Some((due(fetch.retry.next)?, fetch.key))).min();
        match (copy, repeat) {
            (Some((copy, id)), Some((repeat, _))) if copy <= repeat => return self.put_job(id, Slot::Upkeep),
            (_, Some((_, key))) => return self.get_job(key, Slot::Upkeep),
            (Some((_, id)), None) => return self.put_job(id, Slot::Upkeep),
            (None, None) => {}
        }
        let at = self.acks.iter().position(|ack| ack.due <= now)?;
        let PendingAck { id, secret, .. } = self.acks.remove(at)?;
        let holder = self.holder_of(&id, 0);
        Some((Purpose::Ack, Command::Ack { id, district: District(0), secret }, holder))
    }

    pub(super) fn handle_put_sent(&mut self, now: Timestamp, id: OutboxId, pace: Pace) -> Result<(), CoreError> {
        self.preparing.remove(&Preparing::Put(id));
        let Some(outgoing) = self.outbox.get(&id) else { return Ok(()) };
        let mut retry = outgoing.retry;
        if retry.is_fresh() && outgoing.kind != StreamKind::Decoys {
            self.balance.handle_written();
        }
        retry.handle_sent(now, &mut self.rng, pace);
        let forget = retry.is_finished() && outgoing.is_forgettable() && !self.audits.contains_key(&id);
        self.store.transaction(|tx| if forget { outbox::remove(tx, id) } else { outbox::set_retry(tx, id, &retry) })?;
        if retry.is_finished() {
            self.outbox.remove(&id);
        } else if let Some(outgoing) = self.outbox.get_mut(&id) {
            outgoing.retry = retry;
        }
        Ok(())
    }
}

/// What became of the wish for a file's next box.
pub(super) enum Piece {
    Sealed(OutboxId),
    /// The reader has to report progress first, or the manifest waits itself.
    Waits,
    /// All boxes are sealed, or the file is not sent any more.
    Finished,
}

impl Work<'_> {
    fn seal_next_piece(&mut self, stream: StreamId) -> Result<Piece, CoreError> {
        let Ok(row) = streams::by_id(self.tx, stream) else { return Ok(Piece::Finished) };
        let (Some(message), Some(boxes)) = (row.message, row.boxes) else { return Ok(Piece::Finished) };
        let next = streams::write_cap(self.tx, stream)?.index();
        let found = messages::by_id(self.tx, message)?;
        let Some(file) = found.message.file.filter(|_| next < boxes && found.message.state != State::Failed) else {
            return Ok(Piece::Finished);
        };
        if next >= row.progress + FILE_WINDOW || successors::waits(self.tx, message)? {
            return Ok(Piece::Waits);
        }
        let number = u32::try_from(next).map_err(|_| CoreError::Bug("a piece beyond its file"))?;
        let content =
            files::piece(self.tx, file, number)?.ok_or(CoreError::Bug("a piece of an own file is missing"))?;
        let sealed = self.seal(stream, StreamKind::FileOut, BoxClass::Solo, Some(message), &content)?;
        Ok(Piece::Sealed(sealed.id))
    }

    /// A message is stored when all of its boxes are.
    pub(super) fn check_stored(&mut self, message: MessageId) -> Result<(), CoreError> {
        let unstored = outbox::unstored_of(self.tx, message)?;
        let mut total = None;
        if let Some(stream) = streams::of_message(self.tx, message)? {
            let sealed = streams::write_cap(self.tx, stream.id)?.index();
            let boxes = stream.boxes.unwrap_or(sealed);
            let done = sealed.saturating_sub(unstored);
            self.effects.events.push(Event::Progress { message, done, total: boxes });
            total = Some((sealed, boxes));
        }
        let sealed_all = total.is_none_or(|(sealed, boxes)| sealed >= boxes);
        if unstored == 0 && sealed_all { self.advance(message, State::Stored, None) } else { Ok(()) }
    }

    /// The next box of the decoy stream, and how it will be read.
    fn seal_decoy(&mut self, known: Option<StreamId>) -> Result<(StreamId, OutboxId, Fetch), CoreError> {
        let stream = match known {
            Some(stream) => Some(stream),
            None => {
                meta::get(self.tx, DECOYS)?.and_then(|id| id.try_into().ok()).map(|id| StreamId(i64::from_be_bytes(id)))
            }
        };
        let stream = match stream {
            Some(stream) if streams::write_cap(self.tx, stream)?.index() < DECOYS_PER_STREAM => stream,
            _ => {
                let root = fresh_root(self.rng);
                let (write, read) = (root.write_cap(), root.read_cap());
                let new = NewStream {
                    kind: StreamKind::Decoys,
                    contact: None,
                    message: None,
                    write_cap: Some(&write),
                    read_cap: Some(&read),
                    boxes: None,
                };
                let stream = streams::create(self.tx, &new)?;
                streams::set_place(self.tx, stream, 0, 0, self.now)?;
                streams::end_decoys(self.tx, stream, self.now)?;
                meta::set(self.tx, DECOYS, &stream.0.to_be_bytes())?;
                stream
            }
        };
        let class = if one_in(self.rng, DECOY_ODDITY) { BoxClass::Contested } else { BoxClass::Solo };
        let unacked = one_in(self.rng, DECOY_ODDITY);
        let kept = unacked && one_in(self.rng, DECOY_ODDITY);
        let expected = streams::write_cap(self.tx, stream)?.read_cap().expected();
        let expected = expected.map_err(|_| CoreError::Bug("a stream of our own has no key"))?;
        let sealed = self.seal_box(stream, StreamKind::Decoys, BoxUse { class, message: None, kept }, &[])?;
        let late = one_in(self.rng, DECOY_ODDITY);
        let absence = self.draw_absence();
        let fetch = Fetch {
            key: FetchKey { stream, index: expected.index },
            id: expected.id,
            ack_secret: expected.ack_secret,
            absence: if late { absence } else { Duration::ZERO },
            unacked,
            seen: None,
            due: None,
            retry: crate::arq::GetRetry::new(),
            gone_at: None,
        };
        streams::push_fetch(self.tx, &fetch)?;
        Ok((stream, sealed.id, fetch))
    }

    /// After how long a decoy is read whose reader seems to be away.
    pub(super) fn draw_absence(&mut self) -> Duration {
        self.params.hurry(log_uniform(self.rng, ABSENCE_MIN, ABSENCE_MAX))
    }

    /// The invitation's answer lost the race, or nobody takes it.
    pub(super) fn fail_contact(&mut self, contact: crate::store::contacts::ContactId) -> Result<(), CoreError> {
        crate::store::contacts::set_state(self.tx, contact, ContactState::Failed)?;
        self.effects.events.push(Event::Contact(contact));
        Ok(())
    }
}

/// Name of the decoy stream in use among the store's single values.
const DECOYS: &str = "decoy.stream";

/// The box's holders that named it in a digest and then its other holders, which have it too; if none named it, whoever did, the
/// first to do so first, since placement may have changed after the box was put; else its holders. Turns alternate. A mailbox
/// that copies others' tags into its digest is not asked for their boxes as long as a holder names them.
fn whom_to_ask(holders: &[NodeId], namers: &[NodeId], turn: u32) -> Option<NodeId> {
    let (named, other): (Vec<_>, Vec<_>) = holders.iter().partition(|holder| namers.contains(holder));
    let from: Vec<NodeId> = if !named.is_empty() {
        named.into_iter().chain(other).copied().collect()
    } else if !namers.is_empty() {
        namers.to_vec()
    } else {
        holders.to_vec()
    };
    from.get((turn as usize).checked_rem(from.len())?).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOLDER: NodeId = NodeId([1; 32]);
    const FORMER: NodeId = NodeId([2; 32]);
    const COPIER: NodeId = NodeId([3; 32]);

    #[test]
    fn a_mailbox_that_copies_tags_is_not_asked_for_what_a_holder_names() {
        for turn in 0..20 {
            assert_eq!(whom_to_ask(&[HOLDER], &[COPIER, HOLDER], turn), Some(HOLDER));
        }
    }

    #[test]
    fn a_box_that_was_put_before_the_placement_changed_is_asked_for_where_it_was_named_first() {
        assert_eq!(whom_to_ask(&[HOLDER], &[FORMER, COPIER], 0), Some(FORMER));
        assert_eq!(whom_to_ask(&[HOLDER], &[FORMER], 7), Some(FORMER));
        // Nobody keeps it away for good by naming it first.
        let asked: Vec<_> = (0..2).map(|turn| whom_to_ask(&[HOLDER], &[COPIER, FORMER], turn)).collect();
        assert_eq!(asked, [Some(COPIER), Some(FORMER)]);
    }

    #[test]
    fn the_holder_that_named_a_box_is_asked_first_and_then_its_other_holder() {
        let asked: Vec<_> = (0..4).map(|turn| whom_to_ask(&[HOLDER, FORMER], &[FORMER], turn)).collect();
        assert_eq!(asked, [Some(FORMER), Some(HOLDER), Some(FORMER), Some(HOLDER)]);
    }

    #[test]
    fn without_a_digest_the_holders_are_asked_in_turn() {
        let asked: Vec<_> = (0..3).map(|turn| whom_to_ask(&[HOLDER, FORMER], &[], turn)).collect();
        assert_eq!(asked, [Some(HOLDER), Some(FORMER), Some(HOLDER)]);
        assert_eq!(whom_to_ask(&[], &[], 0), None);
    }
}
