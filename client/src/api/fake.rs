//! A core for tests of the shells: answers from memory, by simple rules.
//!
//! Contacts: `Bob` gets everything, `Slow` never does, `Broken` fails, `Dave` has not answered yet. The text `disconnect`
//! takes the link down. Links: `used` was used, `offline` finds no network, anything else makes a contact.

use crate::api::types::{
    Contact, ContactState, Direction, Event, Invitation, Kind, Message, MessageState, Profile, ProfileCost, Profiles,
    Refusal, RefusalCode, Safety, Sent, Status, Transport, Transports,
};
use crate::{
    handle::{Command, CoreEnd, CoreFuture, FileBytes},
    store::Store,
};
use tokio::sync::broadcast;

/// As the daemon starts a core.
pub(crate) fn start(store: Store, end: CoreEnd) -> CoreFuture {
    Box::pin(async move {
        run(end).await;
        // Held to the end, as the real core holds it.
        drop(store);
        Ok(())
    })
}

/// Answers until it is stopped or nobody can ask any more.
pub(crate) async fn run(mut end: CoreEnd) {
    let mut fake = Fake::new(end.events.clone());
    while let Some(command) = end.commands.recv().await {
        if fake.answer(command) {
            return;
        }
    }
}

pub(crate) const PHOTO: &[u8] = b"\xff\xd8photo";

struct Fake {
    events: broadcast::Sender<Event>,
    contacts: Vec<Contact>,
    messages: Vec<Message>,
    connected: bool,
    chosen: Profile,
    transport: Transport,
}

impl Fake {
    fn new(events: broadcast::Sender<Event>) -> Self {
        let contact = |name: &str, state| Contact { name: name.into(), verified: false, state };
        let mut fake = Self {
            events,
            contacts: vec![
                contact("Bob", ContactState::Established),
                contact("Broken", ContactState::Established),
                contact("Dave", ContactState::Invited),
                contact("Slow", ContactState::Answered),
            ],
            messages: vec![],
            connected: true,
            chosen: Profile::Standard,
            transport: Transport::Mixnet,
        };
        fake.push("Bob", Direction::In, MessageState::Received, Kind::Text, "hello\u{1b}[2J", None);
        fake.push("Bob", Direction::In, MessageState::Received, Kind::File, "../photo.jpg", Some(PHOTO.len() as u64));
        fake
    }

    fn push(
        &mut self,
        contact: &str,
        direction: Direction,
        state: MessageState,
        kind: Kind,
        text: &str,
        size: Option<u64>,
    ) -> i64 {
        let id = self.messages.last().map_or(1, |last| last.id + 1);
        self.messages.push(Message {
            id,
            contact: contact.into(),
            direction,
            state,
            kind,
            text: (kind == Kind::Text).then(|| text.to_owned()),
            name: (kind == Kind::File).then(|| text.to_owned()),
            size,
            path: None,
            at: "2023-11-14T22:13:20Z".into(),
            reason: (state == MessageState::Failed).then(|| "it broke".to_owned()),
        });
        id
    }

    fn contact(&self, name: &str) -> Result<Contact, Refusal> {
        let found = self.contacts.iter().find(|contact| contact.name.eq_ignore_ascii_case(name));
        found.cloned().ok_or_else(|| Refusal::unknown_contact(name))
    }

    fn send(&mut self, contact: &str, kind: Kind, text: &str, size: Option<u64>) -> Result<Sent, Refusal> {
        let contact = self.contact(contact)?.name;
        if text == "disconnect" {
            self.connected = false;
        }
        let id = self.push(&contact, Direction::Out, MessageState::Queued, kind, text, size);
        match contact.as_str() {
            "Bob" => self.advance(id, vec![MessageState::Stored, MessageState::Delivered]),
            "Broken" => self.advance(id, vec![MessageState::Failed]),
            _ => {}
        }
        Ok(Sent { id, state: MessageState::Queued, estimate_seconds: size.map(|size| size / 10) })
    }

    /// At once in the history, and told a little later.
    fn advance(&mut self, id: i64, states: Vec<MessageState>) {
        let message = self.messages.iter_mut().find(|message| message.id == id);
        let (Some(message), Some(last)) = (message, states.last()) else { return };
        message.state = *last;
        message.reason = (message.state == MessageState::Failed).then(|| "it broke".to_owned());
        let events = self.events.downgrade();
        tokio::spawn(async move {
            for state in states {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                if let Some(events) = events.upgrade() {
                    let _ = events.send(Event::MessageChanged { id, state });
                }
            }
        });
    }

    fn message(&self, id: i64) -> Result<Message, Refusal> {
        self.messages.iter().find(|message| message.id == id).cloned().ok_or_else(|| Refusal::unknown_message(id))
    }

    fn accept(&mut self, link: &str, name: Option<String>) -> Result<Contact, Refusal> {
        match link {
            "used" => Err(Refusal::new(RefusalCode::LinkUsed, "this invitation was used; ask for a new one")),
            "offline" => Err(Refusal::new(RefusalCode::NetworkUnreachable, "no entry answers; check the network")),
            _ => {
                let name = name.unwrap_or_else(|| "Carol".into());
                let contact = Contact { name: name.clone(), verified: false, state: ContactState::Answered };
                self.contacts.push(contact.clone());
                let _ = self.events.send(Event::ContactAdded { name });
                Ok(contact)
            }
        }
    }

    /// Chosen is not yet in use.
    fn profiles(&self) -> Profiles {
        let cost = |profile, bytes_up_a_day, text_seconds_median| ProfileCost {
            profile,
            bytes_up_a_day,
            bytes_down_a_day: bytes_up_a_day * 2,
            text_seconds_median,
            text_seconds_p95: text_seconds_median * 2,
        };
        let costs = vec![cost(Profile::Standard, 347_000_000, 27), cost(Profile::Metered, 87_000_000, 80)];
        Profiles { profile: Profile::Standard, next_profile: self.next_profile(), costs }
    }

    fn transports(&self) -> Transports {
        Transports::new(self.transport, Some(&veilpost_pki::Params::standard()))
    }

    fn next_profile(&self) -> Option<Profile> {
        Some(self.chosen).filter(|chosen| *chosen != Profile::Standard)
    }

    fn answer(&mut self, command: Command) -> bool {
        match command {
            Command::Status { reply } => reply.send(Ok(Status {
                connected: self.connected,
                epoch: Some(7),
                transport: self.transport.name().into(),
                profile: Profile::Standard,
                next_profile: self.next_profile(),
                queued: 0,
                warnings: vec!["the clock is 3 s off".into()],
            })),
            Command::Profile { reply } => reply.send(Ok(self.profiles())),
            Command::SetProfile { profile, reply } => {
                self.chosen = profile;
                reply.send(Ok(self.profiles()));
            }
            Command::Transport { reply } => reply.send(Ok(self.transports())),
            Command::SetTransport { transport: Transport::Tor, reply } => {
                let without = "no entry of this network has an onion service";
                reply.send(Err(Refusal::new(RefusalCode::NoTransport, without)));
            }
            Command::SetTransport { transport, reply } => {
                self.transport = transport;
                reply.send(Ok(self.transports()));
            }
            Command::Invite { reply, .. } => reply.send(Ok(Invitation { link: "a".repeat(60) })),
            Command::Accept { link, name, reply } => reply.send(self.accept(&link, name)),
            Command::Contacts { reply } => reply.send(Ok(self.contacts.clone())),
            Command::Safety { contact, reply } => reply.send(self.contact(&contact).map(|contact| Safety {
                contact: contact.name,
                digits: ["12345"; 12].join(" "),
                scannable: "00ff".into(),
                verified: contact.verified,
            })),
            Command::Verify { contact, reply } => {
                for known in self.contacts.iter_mut().filter(|known| known.name.eq_ignore_ascii_case(&contact)) {
                    known.verified = true;
                }
                reply.send(self.contact(&contact));
            }
            Command::SendText { contact, text, reply } => reply.send(self.send(&contact, Kind::Text, &text, None)),
            Command::SendFile { contact, name, bytes, reply, .. } => {
                reply.send(self.send(&contact, Kind::File, &name, Some(bytes.len() as u64)));
            }
            Command::Message { id, reply } => reply.send(self.message(id)),
            Command::Inbox { after, limit, reply } => {
                let newer = self.messages.iter().filter(|message| message.id > after.unwrap_or(0));
                reply.send(Ok(newer.take(limit as usize).cloned().collect()));
            }
            Command::Attachment { id, reply } => reply.send(self.message(id).and_then(|message| {
                let name = message.name.ok_or_else(|| Refusal::new(RefusalCode::NoFile, "message 1 holds no file"))?;
                Ok(FileBytes { name, media_type: "image/jpeg".into(), bytes: PHOTO.into() })
            })),
            Command::Stop { reply } => {
                reply.send(Ok(()));
                return true;
            }
        }
        false
    }
}
