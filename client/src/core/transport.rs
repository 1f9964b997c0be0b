//! Which way to the network the person chose, and commands that go to mailboxes without mixes.
//!
//! A choice takes effect at once, unlike a profile: who changes it wants something hidden from now on, or needs a way out. Whatever is
//! in flight is asked for or sent again on its own schedule; nothing ever goes by another way than the one chosen.

use super::{Core, CoreError, sending::fresh_id, types::Flight};
use crate::{store::meta, transport::Transport};
use veilpost_packet::{
    command::{Command, Reply},
    frame::{Frame, FrameKind},
    ids::{DocumentHash, LinkKey, NodeId, SurbId},
    random,
    time::Timestamp,
};
use veilpost_pki::Document;

/// What a tick sends.
#[derive(Debug)]
pub enum Departure {
    /// To the entry.
    Entry(Frame),
    /// To a mailbox itself, over a circuit of its own.
    Mailbox(DirectCommand),
}

/// A command that goes to a mailbox without mixes.
#[derive(Debug)]
pub struct DirectCommand {
    /// By which the answer is known: [`Core::handle_replied`].
    pub id: SurbId,
    /// The mailbox's onion service.
    pub onion: String,
    /// The key that it proves.
    pub link_key: LinkKey,
    /// The command.
    pub frame: Frame,
}

impl Core {
    /// The transport of this connection; without one, of the next.
    pub fn transport_in_use(&self) -> Transport {
        self.connection.as_ref().map_or(self.transport, |connection| connection.transport)
    }

    /// What the person chose.
    pub fn transport(&self) -> Transport {
        self.transport
    }

    /// Chooses a transport: the connection of another one is to be left ([`Core::must_connect_elsewhere`]).
    ///
    /// # Errors
    /// [`CoreError::NoOnions`] if the network document is here and says that it cannot be used; the store's. Nothing has changed then.
    pub fn set_transport(&mut self, now: Timestamp, transport: Transport) -> Result<(), CoreError> {
        if let Some(document) = self.document.as_ref() {
            fits(document, transport)?;
        }
        let guards = self.kept_guards(transport)?;
        self.store.transaction(|tx| meta::set_transport(tx, transport))?;
        (self.transport, self.guards) = (transport, guards);
        if let Some(document) = self.document.clone() {
            self.keep_guards(now, &document);
        }
        Ok(())
    }

    /// The answer to a command that went without mixes. One that nothing waits for is a Loop's in place of a command
    /// (`direct_loop`), or too late.
    pub fn handle_replied(&mut self, now: Timestamp, id: &SurbId, frame: &Frame) {
        let Some(flight) = self.take_flight(now, id) else { return };
        let reply = Reply::from_body(frame.body()).ok().filter(|_| frame.kind() == FrameKind::Reply);
        self.handle_reply(now, id, reply.map(|reply| (flight, reply)));
    }

    /// A Loop for some mailbox that has an onion service, in place of a command for one that has none: a tick that sent nothing would be
    /// seen. Its answer is one that nothing asked for, and the command counts as lost.
    pub(super) fn direct_loop(&mut self, hash: DocumentHash) -> Option<DirectCommand> {
        let document = self.documents.iter().find(|document| document.hash() == hash)?;
        let reachable: Vec<_> = document.mailboxes.iter().filter(|mailbox| mailbox.onion.is_some()).collect();
        let mailbox = random::pick(&mut self.rng, &reachable)?;
        let frame = Command::Loop.to_frame(document.epoch);
        Some(DirectCommand {
            id: fresh_id(&mut self.rng),
            onion: mailbox.onion.clone()?,
            link_key: mailbox.link_key,
            frame,
        })
    }

    /// How to reach a mailbox without mixes, by the document that the command is of; `None` if it has no onion service.
    pub(super) fn direct(&self, flight: &Flight<'_>, frame: Frame) -> Option<DirectCommand> {
        let document = self.documents.iter().find(|document| document.hash() == flight.document)?;
        let mailbox = document.mailboxes.iter().find(|mailbox| mailbox.id == *flight.mailbox)?;
        Some(DirectCommand { id: flight.id, onion: mailbox.onion.clone()?, link_key: mailbox.link_key, frame })
    }

    /// What a person should know of the way they chose.
    pub(super) fn transport_warning(&self) -> Option<String> {
        fits(self.document.as_ref()?, self.transport).err().map(|error| error.to_string())
    }
}

/// Whether a network has what a transport needs.
fn fits(document: &Document, transport: Transport) -> Result<(), CoreError> {
    let entries = document.entries.iter().any(|entry| entry.onion.is_some());
    let without: Vec<&NodeId> =
        document.mailboxes.iter().filter(|mailbox| mailbox.onion.is_none()).map(|mailbox| &mailbox.id).collect();
    match transport {
        Transport::Mixnet => Ok(()),
        _ if !entries => Err(CoreError::NoOnions("no entry of this network has an onion service".into())),
        // A box lies on the mailboxes that its id names: those without would keep theirs from this client.
        Transport::Tor if !without.is_empty() => Err(CoreError::NoOnions(format!(
            "{} of this network's {} mailboxes have no onion service, and messages that lie there would not be found",
            without.len(),
            document.mailboxes.len()
        ))),
        _ => Ok(()),
    }
}
