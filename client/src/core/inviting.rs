//! Invitations: made, opened, answered, used by someone else.

use super::{
    Answer, Core, CoreError, Ticket,
    parcel::{join, messages},
    reading::{Read, new_fetch},
    types::{WaitingAccept, WaitingInvite},
    work::{Event, Work},
};
use crate::{
    content::{Body, Hello, Message, StreamSeed, Uuid, person_name},
    invitation::Invitation,
    signal::{self, Bundle, PrekeySetId, SignalError},
    store::{
        account,
        contacts::{self, ContactId, ContactState, millis},
        outbox::{self, OutboxId, Outgoing},
        streams::{self, FetchKey, NewStream, Stream, StreamId, StreamKind},
    },
};
use rusqlite::OptionalExtension as _;
use std::time::Duration;
use veilpost_packet::{
    boxes::{BoxClass, SealedBox},
    codec::{Reader, Writer},
    random,
    time::Timestamp,
};

/// How long `invite` waits for the offer to be stored before it gives the link out anyway, and `accept` for the offer before
/// it says that it waits. Less than a shell waits for an answer.
const ANSWER_WAIT: Duration = Duration::from_secs(20);
/// Days that a link lives; its boxes live a day longer.
const LINK_DAYS: u32 = 14;
/// What an open invitation's contact is called until its user says a name.
const OPEN_INVITATION: &str = "invited";
/// Version of the offer's format.
const OFFER_VERSION: u8 = 1;

impl Core {
    /// Makes an invitation. The answer comes when its offer is on a mailbox, or after 20 s.
    ///
    /// # Errors
    /// In words for a person.
    pub fn invite(&mut self, now: Timestamp, name: Option<&str>, ticket: Ticket) -> Result<(), CoreError> {
        let network = self.authorities.network();
        let (contact, link, outbox) = self.transaction(now, |work| work.create_invitation(name))?;
        let link = link.to_link(&network);
        self.invites.insert(contact, WaitingInvite { ticket, link, outbox, until: now + ANSWER_WAIT });
        Ok(())
    }

    pub(super) fn invite_stored(&mut self, id: OutboxId) {
        let contact = self.invites.iter().find(|(_, invite)| invite.outbox == id).map(|(contact, _)| *contact);
        if let Some(invite) = contact.and_then(|contact| self.invites.remove(&contact)) {
            self.answers.push_back((invite.ticket, Ok(Answer::Invited { link: invite.link, stored: true })));
        }
    }

    /// Answers what has waited long enough; the work goes on.
    pub(super) fn answer_late(&mut self, now: Timestamp) {
        let late: Vec<ContactId> =
            self.invites.iter().filter(|(_, invite)| invite.until <= now).map(|(contact, _)| *contact).collect();
        for invite in late.iter().filter_map(|contact| self.invites.remove(contact)) {
            self.answers.push_back((invite.ticket, Ok(Answer::Invited { link: invite.link, stored: false })));
        }
        let late: Vec<ContactId> =
            self.accepts.iter().filter(|(_, accept)| accept.until <= now).map(|(contact, _)| *contact).collect();
        for contact in late {
            let row = contacts::by_id(self.store.connection(), contact);
            self.answer_accept(contact, row.map(Answer::AcceptWaits).map_err(CoreError::from));
        }
    }

    /// Opens an invitation. The answer comes when the contact is made, or when the offer turns out not to be there (yet).
    ///
    /// # Errors
    /// In words for a person: a mistyped link, our own, one that was opened before.
    pub fn accept(&mut self, now: Timestamp, link: &str, name: Option<&str>, ticket: Ticket) -> Result<(), CoreError> {
        let invitation = Invitation::from_link(link, &self.authorities.network())?;
        if invitation.is_by(signal::own_identity(self.store.connection())?.as_bytes()) {
            return Err(SignalError::Ourselves.into());
        }
        let (contact, fetch) = self.transaction(now, |work| work.open_invitation(&invitation, name))?;
        self.accepts.insert(contact, WaitingAccept { ticket, until: now + ANSWER_WAIT });
        // No digest has named this box to us; it is asked for once (per holder), and watched for from now on.
        self.fetch_unnamed(now, fetch);
        Ok(())
    }

    /// The offer is not on its mailbox, or not any more.
    pub(super) fn offer_missing(
        &mut self,
        now: Timestamp,
        stream: &Stream,
        key: FetchKey,
        gone: bool,
    ) -> Result<(), CoreError> {
        let Some(contact) = stream.contact else { return Ok(()) };
        self.fetches.remove(&key);
        if gone {
            self.transaction(now, |work| work.drop_contact(contact, stream.id))?;
            self.answer_accept(contact, Err(CoreError::InvitationGone));
            return Ok(());
        }
        // It may come: the digests are watched, and a hit asks again.
        self.store.transaction(|tx| streams::remove_fetch(tx, key))?;
        self.watched.remove(&stream.id);
        self.watch(now, stream.id)?;
        let row = contacts::by_id(self.store.connection(), contact)?;
        self.answer_accept(contact, Ok(Answer::AcceptWaits(row)));
        Ok(())
    }

    /// The offer is here: check it, start the session, queue the answer, in one transaction; a crash in between asks again.
    /// False if the box does not open.
    pub(super) fn handle_offer(
        &mut self,
        now: Timestamp,
        stream: &Stream,
        key: FetchKey,
        sealed: &SealedBox,
    ) -> Result<bool, CoreError> {
        let (Some(contact), network) = (stream.contact, self.authorities.network()) else { return Ok(true) };
        let answered = self.transaction(now, |work| {
            let Some(expected) = work.expected_box(key)? else { return Ok(false) };
            let Ok(content) = expected.open(&network, sealed) else { return Ok(false) };
            streams::set_done(work.tx, key)?;
            work.answer_offer(contact, &content)?;
            Ok(true)
        });
        match answered {
            Ok(true) => {
                let row = contacts::by_id(self.store.connection(), contact)?;
                self.answer_accept(contact, Ok(Answer::Accepted(row)));
            }
            Ok(false) => return Ok(false),
            Err(CoreError::Store(error)) => return Err(error.into()),
            Err(error) => {
                self.transaction(now, |work| work.drop_contact(contact, stream.id))?;
                self.answer_accept(contact, Err(error));
            }
        }
        Ok(true)
    }

    /// Someone else's answer is in the box already.
    pub(super) fn answer_refused(&mut self, now: Timestamp, outgoing: &Outgoing) -> Result<(), CoreError> {
        let stream = streams::by_id(self.store.connection(), outgoing.stream)?;
        let Some(contact) = stream.contact else { return Ok(()) };
        let queued = self.transaction(now, |work| {
            outbox::remove(work.tx, outgoing.id)?;
            work.fail_contact(contact)?;
            work.fail_messages(contact, &CoreError::InvitationUsed.to_string())
        })?;
        queued.iter().for_each(|id| {
            self.outbox.remove(id);
        });
        Ok(())
    }

    fn answer_accept(&mut self, contact: ContactId, answer: Result<Answer, CoreError>) {
        if let Some(accept) = self.accepts.remove(&contact) {
            self.answers.push_back((accept.ticket, answer));
        }
    }
}

impl Work<'_> {
    fn create_invitation(&mut self, name: Option<&str>) -> Result<(ContactId, Invitation, OutboxId), CoreError> {
        let name = name.map(person_name).filter(|name| !name.is_empty());
        let contact_name = match &name {
            Some(name) => name.clone(),
            None => contacts::free_name(self.tx, OPEN_INVITATION)?,
        };
        let contact = contacts::create(self.tx, &contact_name, ContactState::Invited, self.now)?;
        let (prekeys, bundle) = signal::create_bundle(self.tx, None, self.now, self.rng)?;
        let invitation = Invitation::new(random::bytes(self.rng), bundle.identity().as_bytes());
        let own = account::load(self.tx)?;
        let mut offer = Writer::with_capacity(Bundle::LEN + 128);
        offer.u8(OFFER_VERSION).bytes16(own.name.as_bytes()).bytes16(&bundle.encode());
        let write = invitation.offer_root().write_cap();
        let read = invitation.answer_root().read_cap();
        let one_box = |kind, write_cap, read_cap| NewStream {
            kind,
            contact: Some(contact),
            message: None,
            write_cap,
            read_cap,
            boxes: Some(1),
        };
        let offers = streams::create(self.tx, &one_box(StreamKind::OfferOut, Some(&write), None))?;
        let answers = streams::create(self.tx, &one_box(StreamKind::AnswerIn, None, Some(&read)))?;
        self.effects.watch.push(answers);
        let sealed = self.seal(offers, StreamKind::OfferOut, BoxClass::Solo, None, &offer.finish())?;
        self.tx.execute(
            "INSERT INTO invitations (contact, link, prekeys, named, created_ms) VALUES (?1, ?2, ?3, ?4, ?5)",
            (contact.get(), invitation.to_bytes(), prekeys.get(), name.is_some(), millis(self.now)),
        )?;
        Ok((contact, invitation, sealed.id))
    }

    fn open_invitation(
        &mut self,
        invitation: &Invitation,
        name: Option<&str>,
    ) -> Result<(ContactId, streams::Fetch), CoreError> {
        let name = name.map(person_name).filter(|name| !name.is_empty());
        let contact_name = match &name {
            Some(name) => name.clone(),
            None => contacts::free_name(self.tx, OPEN_INVITATION)?,
        };
        let contact = contacts::create(self.tx, &contact_name, ContactState::Invited, self.now)?;
        self.tx.execute(
            "INSERT INTO invitations (contact, link, prekeys, named, created_ms) VALUES (?1, ?2, 0, ?3, ?4)",
            (contact.get(), invitation.to_bytes(), name.is_some(), millis(self.now)),
        )?;
        let read = invitation.offer_root().read_cap();
        let new = NewStream {
            kind: StreamKind::OfferIn,
            contact: Some(contact),
            message: None,
            write_cap: None,
            read_cap: Some(&read),
            boxes: Some(1),
        };
        let stream = streams::create(self.tx, &new)?;
        let expected = read.expected().map_err(|_| CoreError::Bug("an invitation's stream has no key"))?;
        let fetch = new_fetch(FetchKey { stream, index: 0 }, &expected, self.now, self.now);
        streams::push_fetch(self.tx, &fetch)?;
        Ok((contact, fetch))
    }

    /// Invitations that nobody has answered, or whose offer never came, within a link's life: forgotten with their keys.
    pub(super) fn expire_invitations(&mut self) -> Result<(), CoreError> {
        let oldest = millis(self.now - self.params.day * LINK_DAYS);
        let old: Vec<(i64, u32)> = {
            let mut select = self.tx.prepare_cached(
                "SELECT i.contact, i.prekeys FROM invitations i JOIN contacts c ON c.id = i.contact
                 WHERE i.created_ms < ?1 AND c.peer_identity IS NULL AND c.state = 0",
            )?;
            let rows = select.query_map([oldest], |row| Ok((row.get(0)?, row.get(1)?)))?;
            rows.collect::<Result<_, _>>()?
        };
        for (contact, prekeys) in old {
            let contact = ContactId::new(contact);
            signal::forget_bundle(self.tx, PrekeySetId::new(prekeys))?;
            for kind in [StreamKind::OfferOut, StreamKind::AnswerIn, StreamKind::OfferIn] {
                if let Some(stream) = streams::of_contact(self.tx, contact, kind)? {
                    streams::remove(self.tx, stream.id)?;
                }
            }
            self.fail_contact(contact)?;
        }
        Ok(())
    }

    fn invitation_of(&self, contact: ContactId) -> Result<Option<(Invitation, u32, bool)>, CoreError> {
        let mut select = self.tx.prepare_cached("SELECT link, prekeys, named FROM invitations WHERE contact = ?1")?;
        let row = select.query_row([contact.get()], |row| {
            Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, u32>(1)?, row.get::<_, bool>(2)?))
        });
        let Some((link, prekeys, named)) = row.optional()? else { return Ok(None) };
        let link = Invitation::from_bytes(&link).map_err(|_| CoreError::Bug("a kept invitation does not decode"))?;
        Ok(Some((link, prekeys, named)))
    }

    /// Checks the offer, opens the session and queues the answer, whose bytes are on disk before its first Put: a retry of
    /// our own is not a second use.
    fn answer_offer(&mut self, contact: ContactId, content: &[u8]) -> Result<(), CoreError> {
        let (invitation, _, named) = self.invitation_of(contact)?.ok_or(CoreError::Bug("an offer without its link"))?;
        let (name, bundle) = read_offer(content).ok_or(CoreError::InvitationForged)?;
        if !invitation.is_by(bundle.identity().as_bytes()) {
            return Err(CoreError::InvitationForged);
        }
        let known =
            contacts::by_identity(self.tx, bundle.identity())?.filter(|known| known.state != ContactState::Failed);
        if let Some(known) = known {
            return Err(CoreError::KnownContact(known.name));
        }
        signal::open_session(self.tx, contact, &bundle, self.now, self.rng)?;
        let (ours, theirs) = (StreamSeed::random(self.rng), StreamSeed::random(self.rng));
        self.create_pair(contact, &ours, &theirs, self.now)?;
        let own = account::load(self.tx)?;
        let hello = Hello { name: own.name, answerer_writes: ours, inviter_writes: theirs };
        let message = Message { uuid: Uuid::random(self.rng), sent_at: self.now, body: Body::Hello(hello) };
        let plain = message.encode().map_err(|_| CoreError::TooLong)?;
        let sealed = signal::encrypt(self.tx, contact, &plain, self.now, self.rng)?;
        let write = invitation.answer_root().write_cap();
        let new = NewStream {
            kind: StreamKind::AnswerOut,
            contact: Some(contact),
            message: None,
            write_cap: Some(&write),
            read_cap: None,
            boxes: Some(1),
        };
        let stream = streams::create(self.tx, &new)?;
        self.seal(stream, StreamKind::AnswerOut, BoxClass::Contested, None, &join(&[sealed]))?;
        contacts::set_state(self.tx, contact, ContactState::Answered)?;
        self.name_contact(contact, named, &name)
    }

    /// Someone answered our invitation.
    pub(super) fn read_answer(&mut self, stream: &Stream, content: &[u8]) -> Result<Read, CoreError> {
        let Some(contact) = stream.contact else { return Ok(Read::Bad) };
        let Some((_, prekeys, named)) = self.invitation_of(contact)? else { return Ok(Read::Bad) };
        let sealed = messages(content).ok().and_then(|all| all.into_iter().next());
        let Some(sealed) = sealed else { return Ok(Read::Bad) };
        let set = PrekeySetId::new(prekeys);
        let first = match signal::decrypt_first(self.tx, contact, set, &sealed, self.now, self.rng) {
            Ok(first) => first,
            Err(SignalError::Store(error)) => return Err(error.into()),
            Err(_) => {
                // Whoever used the link wrote nonsense; write-once means that nobody else can use it any more.
                self.fail_contact(contact)?;
                return Ok(Read::Bad);
            }
        };
        let Ok(Message { uuid, sent_at, body: Body::Hello(hello) }) = Message::decode(&first.plaintext) else {
            self.fail_contact(contact)?;
            return Ok(Read::Bad);
        };
        self.create_pair(contact, &hello.inviter_writes, &hello.answerer_writes, sent_at)?;
        contacts::set_state(self.tx, contact, ContactState::Established)?;
        self.name_contact(contact, named, &hello.name)?;
        // A first sign of life, so that the other side's session leaves its key-agreement form.
        self.owe_receipt(contact, uuid)?;
        Ok(Read::Good)
    }

    fn name_contact(&mut self, contact: ContactId, named: bool, wish: &str) -> Result<(), CoreError> {
        let wish = person_name(wish);
        if !named && !wish.is_empty() {
            let free = contacts::free_name(self.tx, &wish)?;
            contacts::rename(self.tx, contact, &free)?;
        }
        self.effects.events.push(Event::Contact(contact));
        Ok(())
    }

    fn drop_contact(&mut self, contact: ContactId, stream: StreamId) -> Result<(), CoreError> {
        streams::remove(self.tx, stream)?;
        contacts::remove(self.tx, contact)?;
        Ok(())
    }

    /// All queued messages to a contact fail.
    fn fail_messages(&mut self, contact: ContactId, reason: &str) -> Result<Vec<OutboxId>, CoreError> {
        let queued: Vec<i64> = {
            let mut select = self.tx.prepare_cached("SELECT id FROM messages WHERE contact = ?1 AND direction = 1")?;
            let rows = select.query_map([contact.get()], |row| row.get(0))?;
            rows.collect::<Result<_, _>>()?
        };
        let mut withdrawn = Vec::new();
        for id in queued.into_iter().map(crate::store::messages::MessageId) {
            self.advance(id, crate::store::messages::State::Failed, Some(reason))?;
            withdrawn.extend(outbox::remove_of(self.tx, id)?);
        }
        Ok(withdrawn)
    }
}

fn read_offer(content: &[u8]) -> Option<(String, Bundle)> {
    let mut reader = Reader::new(content);
    if reader.u8().ok()? != OFFER_VERSION {
        return None;
    }
    let name = reader.text16(256, "name").ok()?.to_owned();
    let bundle = Bundle::decode(reader.bytes16(4_096, "bundle").ok()?).ok()?;
    reader.finish().ok()?;
    Some((name, bundle))
}
