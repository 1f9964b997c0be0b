//! Boxes on their way in: digests, windows over streams, Gets and what they bring.

use super::{
    ACKS_MAX, Core, CoreError,
    holding::Patience,
    types::{PendingAck, Preparing},
    work::Work,
};
use crate::{
    arq::{GetRetry, Pace},
    digests::News,
    store::streams::{self, Fetch, FetchKey, Stream, StreamId, StreamKind},
};
use std::{collections::BTreeSet, time::Duration};
use veilpost_packet::{
    boxes::{BoxTag, ExpectedBox, SealedBox},
    command::Answer,
    digest::SignedDigest,
    frame::Want,
    ids::NodeId,
    primitives::Secret32,
    random::{EngineRng, exponential},
    set::SignedSet,
    time::{Tick, Timestamp},
};
use veilpost_pki::Params;

/// Boxes beyond the highest seen that are looked for in digests.
pub(super) const LOOK_AHEAD: u64 = 256;
/// Fetches that are kept in memory at most; digests that name more wait for a restart. A day of decoys has about 900.
const FETCHES_MAX: usize = 100_000;
/// A digest this many ticks old is late: its hits wait.
const LATE_TICKS: u32 = 3;
/// A digest this many ticks ahead of our clock is taken all the same: it is signed and chained, and our clock is slow.
const AHEAD_TICKS: u32 = 75;
/// Boxes that a window spans at most. Its writer has at most 256 unreceipted ones, so what lies further back is lost; and a
/// writer who leaves holes on purpose must not make its reader look for ever more boxes.
pub(super) const SPAN_MAX: u64 = 1_024;
/// Where the window begins anew when it would span more.
pub(super) const SPAN_KEPT: u64 = 512;
/// Mean wait of a late digest's hits.
const LATE_MEAN: Duration = Duration::from_secs(600);
/// Longest such wait: one draw in twenty is above it and is drawn anew. Without a bound the last of thirty messages
/// that came while their reader was away for a minute would wait 40 minutes on average, and longer without end; with it an
/// observer learns of a Get half an hour later that it does not follow this digest's arrival, which says next to nothing.
const LATE_MAX: Duration = Duration::from_secs(1_800);
/// Mean wait of an acknowledgement.
const ACK_MEAN: Duration = Duration::from_secs(1_800);

impl Core {
    /// Takes up boxes that wait, and the windows of all streams that are read.
    pub(super) fn load_reading(&mut self, now: Timestamp) -> Result<(), CoreError> {
        let pace = Pace(self.document.as_ref().map_or(1, |document| document.params.hurry));
        for mut fetch in streams::pending_fetches(self.store.connection())? {
            fetch.retry = GetRetry::resumed(fetch.retry.asked, now, &mut self.rng, pace);
            if fetch.retry.is_finished() {
                continue;
            }
            if fetch.seen.is_none() {
                self.expect(&fetch);
            }
            self.fetches.insert(fetch.key, fetch);
        }
        let read = [
            StreamKind::MessagesIn,
            StreamKind::FileIn,
            StreamKind::AnswerIn,
            StreamKind::OfferIn,
            StreamKind::BeaconIn,
        ];
        for stream in streams::of_kinds(self.store.connection(), &read)? {
            self.watch(now, stream.id)?;
        }
        Ok(())
    }

    /// Looks for a known box in digests.
    pub(super) fn expect(&mut self, fetch: &Fetch) {
        self.expected.entry(BoxTag::of(&fetch.id)).or_default().push(fetch.key);
    }

    /// Looks for the boxes of a stream's window in the digests to come, and in those of the last day.
    pub(super) fn watch(&mut self, now: Timestamp, id: StreamId) -> Result<(), CoreError> {
        let connection = self.store.connection();
        let Ok(stream) = streams::by_id(connection, id) else { return Ok(()) };
        let mut cap = streams::read_cap(connection, id)?;
        let highest = streams::highest_seen(connection, id)?.map_or(cap.index(), |highest| highest + 1);
        let end = stream.boxes.unwrap_or(u64::MAX).min(highest.max(cap.index()) + LOOK_AHEAD);
        let end = if stream.kind == StreamKind::BeaconIn { cap.index() + super::beacon::WINDOW } else { end };
        let end = if stream.is_open_ended() { end.min(cap.index() + SPAN_MAX) } else { end };
        let from = self.watched.get(&id).copied().unwrap_or(cap.index()).max(cap.index());
        let known = if self.watched.contains_key(&id) { Vec::new() } else { streams::known_indices(connection, id)? };
        while cap.index() < from {
            cap.advance();
        }
        let mut named = Vec::new();
        while cap.index() < end {
            let index = cap.index();
            if !known.contains(&index)
                && let Ok(expected) = cap.expected()
            {
                let (tag, key) = (BoxTag::of(&expected.id), FetchKey { stream: id, index });
                self.expected.entry(tag).or_default().push(key);
                if self.tracker.has_named(&tag) || self.sets.has_named(&tag) {
                    named.push(tag);
                }
            }
            cap.advance();
        }
        self.watched.insert(id, end.max(from));
        self.handle_hits(now, named, None)
    }

    /// A digest as the entry relayed it.
    pub(super) fn handle_digest(&mut self, now: Timestamp, bytes: &[u8]) {
        // With a clock that is so slow that no document's time has come, the first to come says how slow.
        let Some(document) = self.document.clone().or_else(|| self.documents.iter().next().cloned()) else { return };
        let Ok(signed) = SignedDigest::verify(bytes) else { return };
        let digest = signed.digest();
        let ours = digest.network == document.network && digest.district.0 == 0;
        // Also of a mailbox of the document before or after this one, which still has, or has already, boxes; and of one that is
        // away, whose other holders have them.
        if !ours || !self.documents.iter().any(|document| document.has_mailbox(&digest.mailbox)) {
            return;
        }
        let params = &document.params;
        let oldest = Tick::at(now - params.digest_history, params.tick);
        let current = Tick::at(now, params.tick);
        if digest.tick > Tick(current.0.saturating_add(AHEAD_TICKS)) {
            self.clock_slow = Some(now);
            return;
        }
        if digest.tick > Tick(current.0.saturating_add(LATE_TICKS)) {
            self.clock_slow = Some(now);
        }
        // Who was away for longer than digests are kept asks for sets, and of the digests for those of this hour alone.
        let oldest = if self.tracker.newest(&digest.mailbox).is_some_and(|left| left.next() < oldest) {
            self.begin_absence(now, oldest, params);
            let hour = Timestamp::ZERO + params.hour().saturating_mul(now.periods(params.hour()) as u32);
            Tick::at(hour, params.tick).min(digest.tick)
        } else {
            oldest
        };
        match self.tracker.handle(now, &signed, oldest, Pace(params.hurry)) {
            News::Known => return,
            News::First => self.next_housekeeping = now,
            News::Match => {}
        }
        let late = current.0.saturating_sub(digest.tick.0) > LATE_TICKS;
        let wait = late.then_some(Pace(params.hurry));
        let tags = digest.tags.clone();
        self.unsaved_digests.push(signed);
        if let Err(error) = self.handle_hits(now, tags, wait) {
            tracing::error!(%error, "a digest could not be kept");
        }
    }

    /// Asks for the sets of all mailboxes that have not been heard of since digests are kept: the entry still has those of one that
    /// is down, whose digest does not come.
    fn begin_absence(&mut self, now: Timestamp, oldest: Tick, params: &Params) {
        let listed = self.documents.iter().flat_map(|document| &document.mailboxes).map(|mailbox| mailbox.id);
        for mailbox in listed.collect::<BTreeSet<_>>() {
            if let Some(left) = self.tracker.newest(&mailbox).filter(|left| left.next() < oldest) {
                self.sets.begin(now, mailbox, left.start(params.tick), params);
            }
        }
        self.next_housekeeping = now;
    }

    /// What to ask the entry for at a tick of the loop clock: digests that are missing, those of mailboxes that are silent, then sets.
    pub(super) fn next_want(&mut self, now: Timestamp, params: &Params) -> Option<Want> {
        let pace = Pace(params.hurry);
        for (mailbox, first, last) in self.tracker.take_vain(now, pace) {
            self.sets.fill(now, mailbox, first.start(params.tick)..=last.start(params.tick), params);
            self.next_housekeeping = now;
        }
        if let Some(want) = self.tracker.next_want(now, pace) {
            return Some(want);
        }
        let oldest = Tick::at(now - params.digest_history, params.tick);
        let placed = |mailbox: &NodeId| self.documents.iter().any(|document| document.has_mailbox(mailbox));
        self.tracker.next_silent(now, oldest, pace, placed).or_else(|| self.sets.next_want(now, params))
    }

    /// A part of a set as the entry handed it out.
    pub(super) fn handle_set(&mut self, now: Timestamp, bytes: &[u8]) {
        let Some(document) = self.document.clone() else { return };
        let Ok(signed) = SignedSet::verify(bytes) else { return };
        let part = signed.into_part();
        let pace = Pace(document.params.hurry);
        let ours = part.head.network == document.network && part.head.district.0 == 0;
        // It counts as here before its hits are looked at: the windows that they move look for its other tags in what is here.
        if ours
            && self.sets.handle(now, &part, pace)
            && let Err(error) = self.handle_hits(now, part.tags.clone(), Some(pace))
        {
            self.sets.take_back(now, &part, pace);
            tracing::error!(%error, "what a set named could not be kept; it is asked for again");
        }
    }

    /// Boxes of ours that a digest named: they are to be fetched.
    pub(super) fn handle_hits(
        &mut self,
        now: Timestamp,
        tags: Vec<BoxTag>,
        late: Option<Pace>,
    ) -> Result<(), CoreError> {
        let mut hits = Vec::new();
        for tag in tags {
            for key in self.expected.remove(&tag).unwrap_or_default() {
                hits.push((tag, key));
            }
        }
        if hits.is_empty() {
            return Ok(());
        }
        let result = self.keep_hits(now, &hits, late);
        if result.is_err() {
            // The disk is full, perhaps: the next digest, or a restart, finds them again.
            self.expected.extend(hits.iter().map(|(tag, key)| (*tag, vec![*key])));
        }
        result
    }

    fn keep_hits(&mut self, now: Timestamp, hits: &[(BoxTag, FetchKey)], late: Option<Pace>) -> Result<(), CoreError> {
        let known: Vec<(FetchKey, Option<Fetch>)> =
            hits.iter().map(|(_, key)| (*key, self.fetches.get(key).cloned())).collect();
        let mut balance = self.balance;
        let fetches = self.transaction(now, |work| {
            let mut fetches = Vec::new();
            for (key, known) in known {
                let wait = late.map_or(Duration::ZERO, |pace| late_wait(work.rng, pace));
                let decoy = streams::by_id(work.tx, key.stream).is_ok_and(|row| row.kind == StreamKind::Decoys);
                if !decoy {
                    balance.handle_named();
                }
                let fetch = match known {
                    Some(mut fetch) => {
                        // One that is read late anyhow, or that comes with many others after an absence, has no place to give.
                        if decoy && fetch.absence.is_zero() && late.is_none() && balance.gives_way() {
                            fetch.absence = work.draw_absence();
                        }
                        fetch.due = Some(now + fetch.absence + wait);
                        fetch.seen = Some(now);
                        streams::set_seen(work.tx, key, now, now + fetch.absence + wait)?;
                        fetch
                    }
                    None => {
                        let Some(expected) = work.expected_box(key)? else { continue };
                        let fetch = new_fetch(key, &expected, now, now + wait);
                        streams::push_fetch(work.tx, &fetch)?;
                        fetch
                    }
                };
                work.effects.moved.push(key.stream);
                fetches.push(fetch);
            }
            work.effects.moved.dedup();
            // The window of decoys is what was put, never what may come.
            let tx = work.tx;
            work.effects.moved.retain(|id| streams::by_id(tx, *id).is_ok_and(|row| row.kind != StreamKind::Decoys));
            Ok(fetches)
        })?;
        self.balance = balance;
        fetches.into_iter().for_each(|fetch| self.take_fetch(fetch));
        Ok(())
    }

    /// Keeps a box to fetch in memory, as long as there is room.
    pub(super) fn take_fetch(&mut self, fetch: Fetch) {
        if self.fetches.len() < FETCHES_MAX {
            self.fetches.insert(fetch.key, fetch);
        }
    }

    /// The box that was named first of those that are due and were never asked for.
    pub(super) fn next_get(&self, now: Timestamp) -> Option<(Timestamp, FetchKey)> {
        let fresh = self.fetches.values().filter(|fetch| {
            fetch.retry.asked == 0 && !fetch.retry.answered && !self.preparing.contains(&Preparing::Get(fetch.key))
        });
        let due = fresh.filter_map(|fetch| Some((fetch.due.filter(|due| *due <= now)?, fetch.key)));
        due.min()
    }

    pub(super) fn handle_get_sent(&mut self, now: Timestamp, key: FetchKey, pace: Pace) -> Result<(), CoreError> {
        self.preparing.remove(&Preparing::Get(key));
        let Some(fetch) = self.fetches.get_mut(&key) else { return Ok(()) };
        fetch.retry.handle_sent(now, &mut self.rng, pace);
        // Every asking counts, also one whose answer a restart loses: the bound is about what a mailbox gets to see.
        let asked = fetch.retry.asked;
        let over = fetch.retry.is_finished() && fetch.retry.answered;
        if over {
            self.fetches.remove(&key);
        }
        Ok(self.store.transaction(|tx| streams::set_asked(tx, key, asked))?)
    }

    /// The link broke before the answer to a Get of `sent` came.
    pub(super) fn handle_get_broken(&mut self, sent: Timestamp, key: FetchKey) {
        let pace = Pace(self.document.as_ref().map_or(1, |document| document.params.hurry));
        if let Some(fetch) = self.fetches.get_mut(&key) {
            fetch.retry.handle_broken(sent, &mut self.rng, pace);
        }
    }

    pub(super) fn handle_get_answer(
        &mut self,
        now: Timestamp,
        key: FetchKey,
        mailbox: NodeId,
        answer: Answer,
    ) -> Result<(), CoreError> {
        let Some(fetch) = self.fetches.get(&key).cloned() else { return Ok(()) };
        let stream = streams::by_id(self.store.connection(), key.stream)?;
        match answer {
            // A box that does not open is the mailbox's fault: as if nothing had come, and above all not acknowledged.
            Answer::Found(sealed) if !self.handle_found(now, &stream, &fetch, &sealed)? => return Ok(()),
            Answer::Found(_) => {}
            Answer::Absent | Answer::Gone if stream.kind == StreamKind::OfferIn => {
                return self.offer_missing(now, &stream, key, answer == Answer::Gone);
            }
            // Its own digest named it: a fault of the mailbox, or a restart. Asked again as if nothing had come.
            Answer::Absent => return Ok(()),
            // Nobody but us acknowledges what we read. One mailbox that says so must not make a message unread for good: the
            // next holder is asked as if nothing had come. Where there is one holder its second word is believed.
            Answer::Gone if !self.is_gone(key, mailbox) => return Ok(()),
            Answer::Gone => self.store.transaction(|tx| streams::set_done(tx, key))?,
            _ => return Ok(()),
        }
        if let Some(fetch) = self.fetches.get_mut(&key) {
            fetch.retry.handle_answered(&mut self.rng);
            if fetch.retry.is_finished() {
                self.fetches.remove(&key);
            }
        }
        Ok(())
    }

    /// Keeps that a mailbox says of a box that it was acknowledged; true if that was the second word of two.
    fn is_gone(&mut self, key: FetchKey, mailbox: NodeId) -> bool {
        let alone = self.document.as_ref().is_none_or(|document| Self::copies(document, document.mailboxes.len()) == 1);
        let Some(fetch) = self.fetches.get_mut(&key) else { return false };
        match fetch.gone_at {
            Some(before) => alone || before != mailbox,
            None => {
                fetch.gone_at = Some(mailbox);
                false
            }
        }
    }

    fn handle_found(
        &mut self,
        now: Timestamp,
        stream: &Stream,
        fetch: &Fetch,
        sealed: &SealedBox,
    ) -> Result<bool, CoreError> {
        if streams::is_done(self.store.connection(), fetch.key)? {
            return Ok(true);
        }
        let network = self.authorities.network();
        if stream.kind == StreamKind::OfferIn {
            return self.handle_offer(now, stream, fetch.key, sealed);
        }
        let read = self.transaction(now, |work| {
            let content = match stream.kind {
                // Its content is nothing; that it is ours shows in its id and signature.
                StreamKind::Decoys if sealed.id == fetch.id && sealed.verify(&network).is_some() => Ok(Vec::new()),
                StreamKind::Decoys => return Ok(Read::Unopened),
                _ => match work.expected_box(fetch.key)? {
                    Some(expected) => expected.open(&network, sealed),
                    None => return Ok(Read::Known),
                },
            };
            let Ok(content) = content else { return Ok(Read::Unopened) };
            streams::set_done(work.tx, fetch.key)?;
            let read = work.read_box(stream, fetch.key, &content)?;
            work.move_windows(stream)?;
            Ok(read)
        })?;
        match read {
            Read::Good => self.counters.boxes_read += 1,
            Read::Bad => self.counters.bad_boxes += 1,
            Read::Unopened => {
                self.counters.bad_boxes += 1;
                return Ok(false);
            }
            Read::Known => {}
        }
        let acked = matches!(
            stream.kind,
            StreamKind::MessagesIn | StreamKind::FileIn | StreamKind::Decoys | StreamKind::BeaconIn
        );
        if acked && !fetch.unacked && self.acks.len() < ACKS_MAX {
            let mean = self.document.as_ref().map_or(ACK_MEAN, |document| document.params.hurry(ACK_MEAN));
            let due = now + exponential(&mut self.rng, mean);
            self.acks.push_back(PendingAck { due, id: fetch.id, secret: fetch.ack_secret.clone() });
        }
        Ok(true)
    }

    /// Asks for a box that no digest has named to us: only for the offer of an invitation, once per holder.
    pub(super) fn fetch_unnamed(&mut self, now: Timestamp, fetch: Fetch) {
        self.fetches.insert(fetch.key, Fetch { seen: Some(now), due: Some(now), ..fetch });
    }
}

/// How long a late digest's hit waits: exponential, so that the Get's time says least about the digest's, up to a bound.
pub(super) fn late_wait(rng: &mut EngineRng, pace: Pace) -> Duration {
    loop {
        let wait = exponential(rng, LATE_MEAN);
        if wait <= LATE_MAX {
            return pace.of(wait);
        }
    }
}

pub(super) fn new_fetch(key: FetchKey, expected: &ExpectedBox, seen: Timestamp, due: Timestamp) -> Fetch {
    Fetch {
        key,
        id: expected.id,
        ack_secret: Secret32::clone(&expected.ack_secret),
        absence: Duration::ZERO,
        unacked: false,
        seen: Some(seen),
        due: Some(due),
        retry: GetRetry::new(),
        gone_at: None,
    }
}

/// What reading a box came to.
pub(super) enum Read {
    Good,
    Bad,
    Known,
    /// Not the box that was asked for, or damaged on the way.
    Unopened,
}

impl Work<'_> {
    /// A box of a stream that we read; `None` if it lies before the window: it was read.
    pub(super) fn expected_box(&self, key: FetchKey) -> Result<Option<ExpectedBox>, CoreError> {
        let mut cap = streams::read_cap(self.tx, key.stream)?;
        if key.index < cap.index() {
            return Ok(None);
        }
        while cap.index() < key.index {
            cap.advance();
        }
        Ok(cap.expected().ok())
    }

    fn read_box(&mut self, stream: &Stream, key: FetchKey, content: &[u8]) -> Result<Read, CoreError> {
        match stream.kind {
            StreamKind::Decoys => Ok(Read::Good),
            StreamKind::MessagesIn => self.read_part(stream, key, content),
            StreamKind::FileIn => {
                self.take_piece(stream, key, content)?;
                Ok(Read::Good)
            }
            StreamKind::AnswerIn => self.read_answer(stream, content),
            // Handled in a transaction of its own making, see `handle_offer`.
            StreamKind::OfferIn => Ok(Read::Bad),
            StreamKind::BeaconIn => match stream.contact {
                Some(contact) => self.read_beacon(contact, content),
                None => Ok(Read::Bad),
            },
            StreamKind::MessagesOut
            | StreamKind::FileOut
            | StreamKind::OfferOut
            | StreamKind::AnswerOut
            | StreamKind::BeaconOut => Ok(Read::Bad),
        }
    }

    /// Moves a stream's window and, as what waited in one stream of a contact may be read with a box of another, those of all
    /// its streams of messages.
    pub(super) fn move_windows(&mut self, stream: &Stream) -> Result<(), CoreError> {
        match (stream.kind, stream.contact) {
            (StreamKind::MessagesIn, Some(contact)) => {
                let all = streams::all_of_contact(self.tx, contact, stream.kind)?;
                all.iter().try_for_each(|stream| self.move_window(stream))
            }
            _ => self.move_window(stream),
        }
    }

    /// Forgets the keys of boxes that are read, from the lowest on.
    fn move_window(&mut self, stream: &Stream) -> Result<(), CoreError> {
        if stream.kind == StreamKind::Decoys {
            return Ok(());
        }
        let mut cap = streams::read_cap(self.tx, stream.id)?;
        let before = cap.index();
        loop {
            let key = FetchKey { stream: stream.id, index: cap.index() };
            let kept = !streams::contents(self.tx, stream.id, key.index, 1)?.is_empty();
            if kept || !streams::is_done(self.tx, key)? {
                break;
            }
            streams::remove_fetch(self.tx, key)?;
            cap.advance();
        }
        let highest = streams::highest_seen(self.tx, stream.id)?.unwrap_or(0);
        if stream.is_open_ended() && highest.saturating_sub(cap.index()) + LOOK_AHEAD > SPAN_MAX {
            if let Some(contact) = stream.contact {
                // What waits for a hole down there waits in vain.
                self.open_held(contact, Patience::Over)?;
            }
            while cap.index() + SPAN_KEPT < highest {
                streams::remove_fetch(self.tx, FetchKey { stream: stream.id, index: cap.index() })?;
                cap.advance();
            }
        }
        if cap.index() > before {
            streams::set_read_cap(self.tx, stream.id, &cap)?;
            self.effects.moved.push(stream.id);
        }
        Ok(())
    }
}
