//! Between the words of the local API and those of the engine.

use super::{Runtime, unreachable};
use crate::{
    api::types::{Contact, Event, Invitation, Message, MessageState, Safety, Sent, Status, Transports},
    core::{self, Answer, CoreError},
    handle::{Command, FileBytes, Refusal, RefusalCode, Reply},
    invitation::LinkError,
    signal::SignalError,
    store::{
        StoreError, contacts, files,
        messages::{self, Direction, MessageId},
    },
    transport::Transport,
};
use veilpost_packet::time::Timestamp;

/// Commands whose answer takes time.
pub(super) enum Waiting {
    Invite(Reply<Invitation>),
    Accept(Reply<Contact>),
}

impl Runtime {
    pub(super) fn handle_command(&mut self, command: Command) {
        let now = self.now();
        match command {
            Command::Status { reply } => reply.send(self.status(now)),
            Command::Invite { name, reply } => {
                self.tickets += 1;
                match self.core.invite(now, name.as_deref(), self.tickets) {
                    Ok(()) => drop(self.waiting.insert(self.tickets, Waiting::Invite(reply))),
                    Err(error) => reply.send(Err(refusal(&error))),
                }
            }
            Command::Accept { link, name, reply } => {
                self.tickets += 1;
                match self.core.accept(now, &link, name.as_deref(), self.tickets) {
                    Ok(()) => drop(self.waiting.insert(self.tickets, Waiting::Accept(reply))),
                    Err(error) => reply.send(Err(refusal(&error))),
                }
            }
            Command::Profile { reply } => reply.send(Ok(self.core.offers().into())),
            Command::SetProfile { profile, reply } => {
                let set = self.core.set_profile(profile.into());
                reply.send(set.map(|()| self.core.offers().into()).map_err(|error| refusal(&error)));
            }
            Command::Transport { reply } => reply.send(Ok(self.transports())),
            Command::SetTransport { transport, reply } => reply.send(self.set_transport(transport)),
            Command::Contacts { reply } => {
                let all = self.core.contacts().map(|all| all.iter().map(Contact::from).collect());
                reply.send(all.map_err(|error| refusal(&error)));
            }
            Command::Safety { contact, reply } => reply.send(self.safety(&contact).map_err(|error| refusal(&error))),
            Command::Verify { contact, reply } => {
                let verified = self.core.verify(&contact).map(|contact| Contact::from(&contact));
                reply.send(verified.map_err(|error| refusal(&error)));
            }
            Command::SendText { contact, text, reply } => {
                let sent = self.core.send_text(now, &contact, &text);
                reply.send(sent.map(|id| self.sent(id)).map_err(|error| refusal(&error)));
            }
            Command::SendFile { contact, name, media_type, bytes, reply } => {
                let sent = self.core.send_file(now, &contact, &name, &media_type, &bytes);
                reply.send(sent.map(|id| self.sent(id)).map_err(|error| refusal(&error)));
            }
            Command::Message { id, reply } => reply.send(self.message(id)),
            Command::Inbox { after, limit, reply } => reply.send(self.inbox(after, limit)),
            Command::Attachment { id, reply } => reply.send(self.attachment(id)),
            // Taken by the loop, which ends with it.
            Command::Stop { reply } => reply.send(Ok(())),
        }
    }

    fn status(&mut self, now: Timestamp) -> Result<Status, Refusal> {
        let status = self.core.status(now).map_err(|error| refusal(&error))?;
        let mut warnings = status.warnings;
        if self.failures > 0 {
            warnings.push(unreachable(self.core.transport(), &self.why).message);
        } else if let Some(progress) = self.onions.progress().filter(|_| self.core.transport().needs_tor()) {
            warnings.push(format!("Tor is not ready: {progress}"));
        }
        if let Some(why) = self.direct.problem().filter(|_| status.transport.is_direct()) {
            warnings.push(why);
        }
        Ok(Status {
            connected: status.connected,
            epoch: status.epoch,
            transport: status.transport.name().into(),
            profile: status.profile.into(),
            next_profile: status.next_profile.map(Into::into),
            queued: status.queued,
            warnings,
        })
    }

    /// What there is; a connection by another transport than the chosen one is about to end.
    fn transports(&self) -> Transports {
        Transports::new(self.core.transport(), self.core.document().map(|document| &document.params))
    }

    /// Refuses what cannot be before anything is changed. The connection of another transport ends at once.
    fn set_transport(&mut self, transport: Transport) -> Result<Transports, Refusal> {
        let now = self.now();
        if transport == self.core.transport() {
            return Ok(self.transports());
        }
        let cannot = |error: &dyn std::fmt::Display| Refusal::new(RefusalCode::NoTransport, error.to_string());
        self.onions.check(transport).map_err(|error| cannot(&error))?;
        let known = self.core.document().is_some() || self.network.entries.iter().any(|entry| entry.onion.is_some());
        if transport.needs_tor() && !known {
            return Err(cannot(&"no entry of this network has an onion service"));
        }
        self.core.set_transport(now, transport).map_err(|error| refusal(&error))?;
        (self.failures, self.why) = (0, String::new());
        self.direct.forget_problems();
        self.changed.send_replace(transport);
        if !transport.needs_tor() {
            self.onions.close();
        }
        Ok(self.transports())
    }

    fn safety(&self, name: &str) -> Result<Safety, CoreError> {
        let number = self.core.safety_number(name)?;
        let contact = self.core.contact(name)?;
        Ok(Safety {
            contact: contact.name,
            digits: number.groups().join(" "),
            scannable: data_encoding::HEXLOWER.encode(&number.scannable()?),
            verified: contact.verified,
        })
    }

    fn sent(&self, id: MessageId) -> Sent {
        let estimate = self.core.estimate(id).ok().flatten();
        Sent {
            id: id.0,
            state: MessageState::Queued,
            estimate_seconds: estimate.map(|estimate| estimate.as_secs().max(1)),
        }
    }

    fn message(&self, id: i64) -> Result<Message, Refusal> {
        let stored = messages::by_id(self.core.store().connection(), MessageId(id));
        let stored = stored.map_err(|error| match error {
            StoreError::Missing(_) => Refusal::unknown_message(id),
            other => other.into(),
        })?;
        self.named(&stored)
    }

    fn named(&self, stored: &messages::StoredMessage) -> Result<Message, Refusal> {
        let contact = contacts::by_id(self.core.store().connection(), stored.message.contact)?;
        Ok(Message::new(stored, contact.name))
    }

    fn inbox(&self, after: Option<i64>, limit: u32) -> Result<Vec<Message>, Refusal> {
        let rows = messages::list(self.core.store().connection(), after.map(MessageId), limit)?;
        rows.iter().map(|stored| self.named(stored)).collect()
    }

    fn attachment(&self, id: i64) -> Result<FileBytes, Refusal> {
        let connection = self.core.store().connection();
        let none = |message: &str| Refusal::new(RefusalCode::NoFile, message);
        let stored = messages::by_id(connection, MessageId(id)).map_err(|_| Refusal::unknown_message(id))?;
        let file = stored.message.file.ok_or_else(|| none("this message holds no file"))?;
        let here =
            matches!(stored.message.state, messages::State::Received) || stored.message.direction == Direction::Out;
        let bytes = if here { files::read_all(connection, file)? } else { None };
        let bytes =
            bytes.ok_or_else(|| none("the file is still on its way; `veilpost inbox` shows when it is here"))?;
        let name = stored.message.name.unwrap_or_else(|| "file".into());
        Ok(FileBytes { name, media_type: stored.message.media_type, bytes })
    }

    pub(super) fn send_events(&mut self) {
        while let Some(event) = self.core.poll_event() {
            if let Some(event) = self.translate(event) {
                // Nobody listens: fine.
                let _ = self.end.events.send(event);
            }
        }
    }

    fn translate(&self, event: core::Event) -> Option<Event> {
        let connection = self.core.store().connection();
        Some(match event {
            core::Event::Message(id) => {
                let stored = messages::by_id(connection, id).ok()?.message;
                // A file was announced before: that it is whole is a change.
                let announced = stored.kind == messages::Kind::File && stored.state != messages::State::Receiving;
                if stored.direction == Direction::In && !announced {
                    Event::MessageReceived { id: id.0 }
                } else {
                    Event::MessageChanged { id: id.0, state: stored.state.into() }
                }
            }
            core::Event::Progress { message, done, total } => Event::AttachmentProgress {
                id: message.0,
                done: u32::try_from(done).unwrap_or(u32::MAX),
                total: u32::try_from(total).unwrap_or(u32::MAX),
            },
            core::Event::Contact(id) => {
                let contact = contacts::by_id(connection, id).ok()?;
                let usable =
                    matches!(contact.state, contacts::ContactState::Answered | contacts::ContactState::Established);
                usable.then_some(Event::ContactAdded { name: contact.name })?
            }
            core::Event::Connection(connected) => Event::ConnectionChanged { connected },
        })
    }

    pub(super) fn send_answers(&mut self) {
        while let Some((ticket, answer)) = self.core.poll_answer() {
            match (self.waiting.remove(&ticket), answer) {
                (Some(Waiting::Invite(reply)), Ok(Answer::Invited { link, .. })) => reply.send(Ok(Invitation { link })),
                (Some(Waiting::Accept(reply)), Ok(Answer::Accepted(contact) | Answer::AcceptWaits(contact))) => {
                    reply.send(Ok(Contact::from(&contact)));
                }
                (Some(Waiting::Invite(reply)), Err(error)) => reply.send(Err(refusal(&error))),
                (Some(Waiting::Accept(reply)), Err(error)) => reply.send(Err(refusal(&error))),
                _ => {}
            }
        }
    }
}

/// The engine's errors in the API's words.
pub(super) fn refusal(error: &CoreError) -> Refusal {
    let code = match error {
        CoreError::NoContact(name) => return Refusal::unknown_contact(name),
        CoreError::Store(StoreError::NameTaken) => RefusalCode::NameTaken,
        CoreError::Store(StoreError::DiskFull) => RefusalCode::DiskFull,
        CoreError::NotReady | CoreError::KnownContact(_) => RefusalCode::ContactNotReady,
        CoreError::Signal(SignalError::NoSession | SignalError::Unanswered) => RefusalCode::ContactNotReady,
        CoreError::Signal(SignalError::Ourselves) => RefusalCode::OwnLink,
        CoreError::Link(LinkError::Mistyped | LinkError::OtherNetwork) | CoreError::InvitationForged => {
            RefusalCode::BadLink
        }
        CoreError::InvitationUsed => RefusalCode::LinkUsed,
        CoreError::InvitationGone => RefusalCode::LinkExpired,
        CoreError::NoOnions(_) => RefusalCode::NoTransport,
        CoreError::TooLong | CoreError::FileTooLarge => RefusalCode::TooLarge,
        _ => RefusalCode::Internal,
    };
    Refusal::new(code, error.to_string())
}
