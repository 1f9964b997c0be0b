//! What happens inside one transaction. Memory follows the disk: a [`Work`] collects its [`Effects`], and the engine applies
//! them after the commit.

use super::{CoreError, parcel};
use crate::{
    arq::PutRetry,
    content::{Body, Hello, MAX_RECEIPTS, Message, StreamSeed, Uuid},
    signal,
    store::{
        contacts::{self, ContactId, ContactState, millis},
        messages::{self, Direction, Kind, MessageId, NewMessage, State, StoredMessage},
        outbox::{self, OutboxId, Outgoing},
        restarts,
        streams::{self, Fetch, NewStream, StreamId, StreamKind},
        successors,
    },
};
use rusqlite::Connection;
use std::time::Duration;
use veilpost_packet::{
    boxes::{BoxClass, BoxTerms, ReadCap, StreamRoot, WriteCap},
    ids::{District, NetworkId},
    random::{EngineRng, exponential},
    time::{Day, Timestamp},
};
use veilpost_pki::Params;

/// Mean wait of a receipt for a message to ride on.
const RECEIPT_MEAN: Duration = Duration::from_secs(120);
/// Boxes of messages to one contact that are not receipted at most, over all streams; what is more waits. A
/// quarter of what a reader's window spans, so that receipts find room in it too.
pub(super) const UNRECEIPTED_MAX: u64 = 256;
/// Bytes that sealing adds to a message at most, the payload's length included; a key agreement is the most of it.
const OVERHEAD_MAX: usize = 3_000;
/// Why a message fails whose content is not in the history any more.
const NOT_KEPT: &str = "what it said is not kept any more; send it again";
/// Something that a person or a shell may want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A message came or changed its state.
    Message(MessageId),
    /// A file's boxes: how many are through, of how many.
    Progress {
        /// The message.
        message: MessageId,
        /// Boxes that are stored (out) or here (in).
        done: u64,
        /// Boxes in all.
        total: u64,
    },
    /// A contact was made or changed.
    Contact(ContactId),
    /// The link to the entry came up or went down.
    Connection(bool),
}

/// What the engine does after the commit.
#[derive(Debug, Default)]
pub(super) struct Effects {
    pub events: Vec<Event>,
    pub outgoing: Vec<Outgoing>,
    pub withdrawn: Vec<OutboxId>,
    /// Boxes that their reader has.
    pub settled: Vec<OutboxId>,
    /// Boxes that are to be fetched though no digest named them to us.
    pub fetches: Vec<Fetch>,
    /// Streams that are to be read from now on.
    pub watch: Vec<StreamId>,
    /// Streams whose window has moved.
    pub moved: Vec<StreamId>,
    /// Streams that are gone.
    pub removed: Vec<StreamId>,
}

/// One transaction's view of the world.
pub(super) struct Work<'a> {
    pub tx: &'a Connection,
    pub now: Timestamp,
    /// The clock of time online.
    pub online: Duration,
    pub rng: &'a mut EngineRng,
    pub network: NetworkId,
    pub params: &'a Params,
    pub effects: Effects,
}

/// What a box is for, beside its content.
pub(super) struct BoxUse {
    pub class: BoxClass,
    pub message: Option<MessageId>,
    /// It is renewed until its reader has it.
    pub kept: bool,
}

impl Work<'_> {
    fn terms(&self, class: BoxClass) -> BoxTerms {
        let expiry = Day::at(self.now, self.params.day).plus(self.params.box_days);
        BoxTerms { district: District(0), class, expiry }
    }

    /// Seals one content into a stream's next box and queues it. A part of a message is kept until its reader has it; so are
    /// receipts, or who was away for longer than a box lives would wait for them.
    pub(super) fn seal(
        &mut self,
        stream: StreamId,
        kind: StreamKind,
        class: BoxClass,
        message: Option<MessageId>,
        content: &[u8],
    ) -> Result<Outgoing, CoreError> {
        let kept = matches!(kind, StreamKind::MessagesOut | StreamKind::AnswerOut) || message.is_some();
        self.seal_box(stream, kind, BoxUse { class, message, kept }, content)
    }

    pub(super) fn seal_box(
        &mut self,
        stream: StreamId,
        kind: StreamKind,
        of: BoxUse,
        content: &[u8],
    ) -> Result<Outgoing, CoreError> {
        let BoxUse { class, message, kept } = of;
        let mut cap = streams::write_cap(self.tx, stream)?;
        let (index, key) = (cap.index(), cap.renewal_key());
        let sealed = cap.seal_next(&self.network, self.terms(class), content).map_err(|_| CoreError::TooLong)?;
        let retry = PutRetry::new(self.rng);
        let id = outbox::push(self.tx, stream, index, message, &sealed, retry)?;
        streams::set_write_cap(self.tx, stream, &cap)?;
        if kept {
            outbox::keep(self.tx, id, &key, self.renewal_due(&sealed))?;
        }
        let outgoing = Outgoing { id, stream, kind, message, sealed, retry, kept };
        self.effects.outgoing.push(outgoing.clone());
        Ok(outgoing)
    }

    /// Encrypts a content for a contact and queues its boxes. `message` ties the boxes to a row of the history, from which
    /// [`to_send`] makes the same content again: such a message waits while too much before it is not receipted. What has
    /// no row, receipts above all, does not.
    pub(super) fn post(
        &mut self,
        contact: ContactId,
        uuid: Uuid,
        body: Body,
        message: Option<MessageId>,
    ) -> Result<(), CoreError> {
        streams::of_contact(self.tx, contact, StreamKind::MessagesOut)?.ok_or(CoreError::NotReady)?;
        let plain = Message { uuid, sent_at: self.now, body }.encode().map_err(|_| CoreError::TooLong)?;
        if let Some(id) = message {
            let others = successors::next_waiting(self.tx, contact)?.is_some();
            if others || !self.has_room(contact, plain.len())? {
                return Ok(successors::wait(self.tx, id)?);
            }
        }
        // Before there is a new session after a restart what is only said once, how far a file is, is said to nobody.
        if self.is_between_sessions(contact)? { Ok(()) } else { self.post_now(contact, &plain, message) }
    }

    /// True if the old session may not be used any more and the new one is not there yet.
    fn is_between_sessions(&self, contact: ContactId) -> Result<bool, CoreError> {
        Ok(restarts::pending(self.tx, contact)?.is_some_and(|restart| restart.sealed.is_none()))
    }

    /// Messages that have waited for receipts and need not any more, in their order.
    pub(super) fn send_waiting(&mut self) -> Result<(), CoreError> {
        for (contact, _) in successors::waiting_contacts(self.tx)? {
            while let Some(id) = successors::next_waiting(self.tx, contact)? {
                let row = messages::by_id(self.tx, id)?;
                let open = matches!(row.message.state, State::Queued | State::Stored);
                let plain = to_send(&row).filter(|_| open);
                let Some(plain) = plain.and_then(|message| message.encode().ok()) else {
                    successors::go_on(self.tx, id)?;
                    self.advance(id, State::Failed, Some(NOT_KEPT))?;
                    continue;
                };
                if !self.has_room(contact, plain.len())? {
                    break;
                }
                match self.post_now(contact, &plain, Some(id)) {
                    Ok(()) => successors::go_on(self.tx, id)?,
                    Err(CoreError::Store(error)) => return Err(error.into()),
                    Err(error) => {
                        // One contact's session must not hold back the others; it waits on.
                        tracing::debug!(%error, "a message cannot be sealed yet");
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    fn has_room(&self, contact: ContactId, plain: usize) -> Result<bool, CoreError> {
        let room = successors::unreceipted(self.tx, contact)? + boxes_at_most(plain) <= UNRECEIPTED_MAX;
        Ok(room && !self.is_between_sessions(contact)?)
    }

    /// Encrypts a message and queues its boxes; receipts that wait for this contact ride along where they cost no box.
    fn post_now(&mut self, contact: ContactId, plain: &[u8], message: Option<MessageId>) -> Result<(), CoreError> {
        let stream = self.stream_for(contact, boxes_at_most(plain.len()))?;
        let sealed = signal::encrypt(self.tx, contact, plain, self.now, self.rng)?;
        let overhead = sealed.len().saturating_sub(plain.len());
        let mut all = vec![sealed];
        let waiting = self.waiting_receipts(contact, MAX_RECEIPTS)?;
        let (alone, together) = (
            parcel::boxes_for(parcel::join(&all).len()),
            // Room for the same overhead again; ratchet messages differ by a few bytes.
            parcel::boxes_for(parcel::join(&all).len() + 4 + overhead + 128 + waiting.len() * 16),
        );
        if !waiting.is_empty() && together == alone {
            all.push(self.receipts_message(contact, &waiting)?);
        }
        for content in parcel::split(&parcel::join(&all)).map_err(|_| CoreError::TooLong)? {
            self.seal(stream.id, StreamKind::MessagesOut, BoxClass::Solo, message, &content)?;
        }
        Ok(())
    }

    fn receipts_message(&mut self, contact: ContactId, uuids: &[Uuid]) -> Result<Vec<u8>, CoreError> {
        let body = Body::Receipts(uuids.to_vec());
        let message = Message { uuid: Uuid::random(self.rng), sent_at: self.now, body };
        let plain = message.encode().map_err(|_| CoreError::TooLong)?;
        for uuid in uuids {
            let mut forget = self.tx.prepare_cached("DELETE FROM receipts WHERE contact = ?1 AND uuid = ?2")?;
            forget.execute((contact.get(), uuid.0))?;
        }
        Ok(signal::encrypt(self.tx, contact, &plain, self.now, self.rng)?)
    }

    fn waiting_receipts(&self, contact: ContactId, limit: usize) -> Result<Vec<Uuid>, CoreError> {
        let mut select =
            self.tx.prepare_cached("SELECT uuid FROM receipts WHERE contact = ?1 ORDER BY due_ms LIMIT ?2")?;
        let rows = select.query_map((contact.get(), limit as i64), |row| row.get(0).map(Uuid))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Sends the receipts of contacts whose oldest one is due.
    pub(super) fn send_due_receipts(&mut self) -> Result<(), CoreError> {
        let contacts: Vec<i64> = {
            let mut select = self.tx.prepare_cached("SELECT DISTINCT contact FROM receipts WHERE due_ms <= ?1")?;
            let rows = select.query_map([millis(self.now)], |row| row.get(0))?;
            rows.collect::<Result<_, _>>()?
        };
        for contact in contacts.into_iter().map(ContactId::new) {
            let uuids = self.waiting_receipts(contact, MAX_RECEIPTS)?;
            let none = streams::of_contact(self.tx, contact, StreamKind::MessagesOut)?.is_none();
            if none || self.is_between_sessions(contact)? {
                continue;
            }
            let stream = self.stream_for(contact, boxes_at_most(MAX_RECEIPTS * 16))?;
            let sealed = match self.receipts_message(contact, &uuids) {
                Ok(sealed) => sealed,
                Err(CoreError::Store(error)) => return Err(error.into()),
                // One contact's broken session must not hold back the others; its receipts are forgotten.
                Err(error) => {
                    tracing::debug!(%error, "receipts cannot be sealed");
                    continue;
                }
            };
            for content in parcel::split(&parcel::join(&[sealed])).map_err(|_| CoreError::TooLong)? {
                self.seal(stream.id, StreamKind::MessagesOut, BoxClass::Solo, None, &content)?;
            }
        }
        Ok(())
    }

    /// A receipt for this message leaves with the next message or after Exp(2 min).
    pub(super) fn owe_receipt(&mut self, contact: ContactId, uuid: Uuid) -> Result<(), CoreError> {
        let due = self.now + exponential(self.rng, self.params.hurry(RECEIPT_MEAN));
        let mut insert = self.tx.prepare_cached(
            "INSERT INTO receipts (contact, uuid, due_ms) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
        )?;
        insert.execute((contact.get(), uuid.0, millis(due)))?;
        Ok(())
    }

    /// Receipts again what a contact's beacon says that it still waits for, and we have read more than a day ago: the receipt was
    /// lost, with its box or because it came too late to be opened. Once for each beacon, so that it ends when one has come.
    pub(super) fn receipt_again(&mut self, contact: ContactId, waiting: &[u64]) -> Result<(), CoreError> {
        let yesterday = self.now - self.params.day;
        for position in waiting {
            if let Some(uuid) = messages::whole_at(self.tx, contact, *position, yesterday)? {
                self.owe_receipt(contact, uuid)?;
            }
        }
        Ok(())
    }

    /// Writes a text into the history and queues it.
    pub(super) fn send_text(&mut self, contact: ContactId, text: String) -> Result<MessageId, CoreError> {
        let uuid = Uuid::random(self.rng);
        let new = NewMessage {
            uuid,
            contact,
            direction: Direction::Out,
            state: State::Queued,
            kind: Kind::Text,
            media_type: "text/plain".into(),
            text: Some(text.clone()),
            name: None,
            size: None,
            body: None,
            file: None,
            at: self.now,
        };
        let id = messages::insert(self.tx, &new)?.ok_or(CoreError::Bug("a fresh message id is taken"))?;
        self.post(contact, uuid, Body::Text(text), Some(id))?;
        self.effects.events.push(Event::Message(id));
        Ok(id)
    }

    /// The streams of a pair, which was made at `since`.
    pub(super) fn create_pair(
        &mut self,
        contact: ContactId,
        ours: &StreamSeed,
        theirs: &StreamSeed,
        since: Timestamp,
    ) -> Result<(), CoreError> {
        let root = |seed: &StreamSeed| StreamRoot::new(*seed.as_bytes());
        let kinds = (StreamKind::MessagesOut, StreamKind::MessagesIn);
        self.create_streams(contact, kinds, &root(ours), &root(theirs))?;
        self.create_beacons(contact, ours, theirs, since)
    }

    /// A stream that we write and one that we read, of these kinds.
    pub(super) fn create_streams(
        &mut self,
        contact: ContactId,
        kinds: (StreamKind, StreamKind),
        ours: &StreamRoot,
        theirs: &StreamRoot,
    ) -> Result<(StreamId, StreamId), CoreError> {
        let written = self.create_written(contact, kinds.0, ours)?;
        Ok((written, self.create_read(contact, kinds.1, theirs)?))
    }

    /// A stream of a contact that we write.
    pub(super) fn create_written(
        &mut self,
        contact: ContactId,
        kind: StreamKind,
        root: &StreamRoot,
    ) -> Result<StreamId, CoreError> {
        self.create_stream(contact, kind, Some(&root.write_cap()), None)
    }

    /// A stream of a contact that we read.
    pub(super) fn create_read(
        &mut self,
        contact: ContactId,
        kind: StreamKind,
        root: &StreamRoot,
    ) -> Result<StreamId, CoreError> {
        let stream = self.create_stream(contact, kind, None, Some(&root.read_cap()))?;
        self.effects.watch.push(stream);
        Ok(stream)
    }

    fn create_stream(
        &mut self,
        contact: ContactId,
        kind: StreamKind,
        write_cap: Option<&WriteCap>,
        read_cap: Option<&ReadCap>,
    ) -> Result<StreamId, CoreError> {
        let new = NewStream { kind, contact: Some(contact), message: None, write_cap, read_cap, boxes: None };
        let stream = streams::create(self.tx, &new)?;
        streams::set_place(self.tx, stream, 0, 0, self.now)?;
        Ok(stream)
    }

    /// A message's state, once it is a step forward.
    pub(super) fn advance(&mut self, id: MessageId, state: State, reason: Option<&str>) -> Result<(), CoreError> {
        if messages::advance(self.tx, id, state, reason)? {
            self.effects.events.push(Event::Message(id));
        }
        Ok(())
    }

    /// What a contact wrote to us.
    pub(super) fn apply(&mut self, contact: ContactId, message: Message) -> Result<(), CoreError> {
        if contacts::by_id(self.tx, contact)?.state == ContactState::Answered {
            contacts::set_state(self.tx, contact, ContactState::Established)?;
            // Our answer to the invitation has come.
            if let Some(answer) = streams::of_contact(self.tx, contact, StreamKind::AnswerOut)? {
                self.settle_all(outbox::of_stream(self.tx, answer.id)?)?;
            }
            self.effects.events.push(Event::Contact(contact));
        }
        let Message { uuid, body, .. } = message;
        let mut new = NewMessage {
            uuid,
            contact,
            direction: Direction::In,
            state: State::Received,
            kind: Kind::Other,
            media_type: body.media_type().to_owned(),
            text: None,
            name: None,
            size: None,
            body: None,
            file: None,
            at: self.now,
        };
        match body {
            Body::Receipts(uuids) => return uuids.into_iter().try_for_each(|uuid| self.delivered(contact, uuid)),
            Body::Progress { manifest, count } => return self.peer_progress(contact, manifest, count),
            // A hello is only read as the answer to an invitation, the name of a stream where it came, a restart in a beacon; a profile name is
            // asked for nowhere yet.
            Body::Hello(Hello { .. }) | Body::NextStream(_) | Body::Restart { .. } | Body::Profile { .. } => {
                return Ok(());
            }
            Body::Text(text) => (new.kind, new.text) = (Kind::Text, Some(text)),
            Body::Attachment(manifest) => return self.expect_file(new, manifest),
            Body::Unknown { bytes, .. } => new.body = Some(bytes),
            Body::Reaction { reaction, .. } => new.text = Some(reaction),
            Body::Edit { text, .. } => new.text = Some(text),
            Body::Delete { .. } | Body::Expiry { .. } => {}
        }
        if let Some(id) = messages::insert(self.tx, &new)? {
            self.effects.events.push(Event::Message(id));
        }
        self.owe_receipt(contact, uuid)
    }

    fn delivered(&mut self, contact: ContactId, uuid: Uuid) -> Result<(), CoreError> {
        if successors::of_contact(self.tx, contact)?.is_some_and(|successor| successor.uuid == uuid) {
            return self.successor_known(contact);
        }
        if restarts::last(self.tx, contact)?.1 == uuid {
            return Ok(restarts::remove(self.tx, contact)?);
        }
        let Some(found) = messages::by_uuid(self.tx, contact, Direction::Out, uuid)? else { return Ok(()) };
        successors::go_on(self.tx, found.id)?;
        self.advance(found.id, State::Delivered, None)?;
        self.settle(found.id)?;
        if let Some(stream) = streams::of_message(self.tx, found.id)? {
            streams::remove(self.tx, stream.id)?;
        }
        Ok(())
    }

    fn peer_progress(&mut self, contact: ContactId, manifest: Uuid, count: u32) -> Result<(), CoreError> {
        let Some(found) = messages::by_uuid(self.tx, contact, Direction::Out, manifest)? else { return Ok(()) };
        let Some(stream) = streams::of_message(self.tx, found.id)? else { return Ok(()) };
        Ok(streams::set_progress(self.tx, stream.id, u64::from(count).min(stream.boxes.unwrap_or(0)))?)
    }
}

/// Boxes that a message of so many bytes takes at most.
pub(super) fn boxes_at_most(plain: usize) -> u64 {
    parcel::boxes_for(plain + OVERHEAD_MAX) as u64
}

/// What a row of the history says to its contact, as long as it is on its way.
fn to_send(row: &StoredMessage) -> Option<Message> {
    let NewMessage { uuid, kind, text, body, at, .. } = &row.message;
    match (kind, text, body) {
        (Kind::Text, Some(text), _) => Some(Message { uuid: *uuid, sent_at: *at, body: Body::Text(text.clone()) }),
        (Kind::File, _, Some(manifest)) => Message::decode(manifest).ok(),
        _ => None,
    }
}
