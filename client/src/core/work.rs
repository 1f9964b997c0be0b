//! What happens inside one transaction. Memory follows the disk: a [`Work`] collects its [`Effects`], and the engine applies
//! them after the commit.

use super::{CoreError, parcel};
use crate::{
    arq::PutRetry,
    content::{Body, Hello, MAX_RECEIPTS, Message, StreamSeed, Uuid},
    signal,
    store::{
        contacts::{self, ContactId, ContactState, millis},
        messages::{self, Direction, Kind, MessageId, NewMessage, State},
        outbox::{self, OutboxId, Outgoing},
        streams::{self, Fetch, NewStream, StreamId, StreamKind},
    },
};
use rusqlite::Connection;
use std::time::Duration;
use veilpost_packet::{
    boxes::{BoxClass, BoxTerms, StreamRoot},
    ids::{District, NetworkId},
    random::{EngineRng, exponential},
    time::{Day, Timestamp},
};
use veilpost_pki::Params;

/// Mean wait of a receipt for a message to ride on.
const RECEIPT_MEAN: Duration = Duration::from_secs(120);
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
}

/// One transaction's view of the world.
pub(super) struct Work<'a> {
    pub tx: &'a Connection,
    pub now: Timestamp,
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

    /// Seals one content into a stream's next box and queues it. A part of a message is kept until its reader has it.
    pub(super) fn seal(
        &mut self,
        stream: StreamId,
        kind: StreamKind,
        class: BoxClass,
        message: Option<MessageId>,
        content: &[u8],
    ) -> Result<Outgoing, CoreError> {
        let kept = message.is_some() || kind == StreamKind::AnswerOut;
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

    /// Encrypts a content for a contact and queues its boxes; receipts that wait for this contact ride along where they cost
    /// no box. `message` ties the boxes to a row of the history.
    pub(super) fn post(
        &mut self,
        contact: ContactId,
        uuid: Uuid,
        body: Body,
        message: Option<MessageId>,
    ) -> Result<(), CoreError> {
        let stream = streams::of_contact(self.tx, contact, StreamKind::MessagesOut)?.ok_or(CoreError::NotReady)?;
        let plain = Message { uuid, sent_at: self.now, body }.encode().map_err(|_| CoreError::TooLong)?;
        let sealed = signal::encrypt(self.tx, contact, &plain, self.now, self.rng)?;
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
            let Some(stream) = streams::of_contact(self.tx, contact, StreamKind::MessagesOut)? else { continue };
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
        let write = StreamRoot::new(*ours.as_bytes()).write_cap();
        let read = StreamRoot::new(*theirs.as_bytes()).read_cap();
        let stream = |kind, write_cap, read_cap| NewStream {
            kind,
            contact: Some(contact),
            message: None,
            write_cap,
            read_cap,
            boxes: None,
        };
        streams::create(self.tx, &stream(StreamKind::MessagesOut, Some(&write), None))?;
        let incoming = streams::create(self.tx, &stream(StreamKind::MessagesIn, None, Some(&read)))?;
        self.effects.watch.push(incoming);
        self.create_beacons(contact, ours, theirs, since)
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
            // A hello is only read as the answer to an invitation; a profile name is asked for nowhere yet.
            Body::Hello(Hello { .. }) | Body::Profile { .. } => return Ok(()),
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
        let Some(found) = messages::by_uuid(self.tx, contact, Direction::Out, uuid)? else { return Ok(()) };
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
