//! What a person asks of the engine: contacts, safety numbers, texts and files to send.

use super::{Core, types::CoreError, work::Event};
use crate::{
    signal,
    store::{
        contacts::{self, Contact},
        messages::MessageId,
        streams::{self, StreamKind},
    },
};
use std::time::Duration;
use veilpost_packet::time::Timestamp;

impl Core {
    /// The contact of this name.
    ///
    /// # Errors
    /// [`CoreError::NoContact`].
    pub fn contact(&self, name: &str) -> Result<Contact, CoreError> {
        contacts::by_name(self.store.connection(), name)?.ok_or_else(|| CoreError::NoContact(name.to_owned()))
    }

    /// All contacts, also those whose invitation is open or failed.
    ///
    /// # Errors
    /// The store's.
    pub fn contacts(&self) -> Result<Vec<Contact>, CoreError> {
        Ok(contacts::all(self.store.connection())?)
    }

    /// About how long until a message is on a mailbox: the boxes before it and its own at the rate of Put slots, and one way
    /// there and back. `None` without a document.
    ///
    /// # Errors
    /// The store's.
    pub fn estimate(&self, id: MessageId) -> Result<Option<Duration>, CoreError> {
        let Some(params) = self.document.as_ref().map(|document| &document.params) else { return Ok(None) };
        let waiting = self.outbox.values().filter(|out| out.kind != StreamKind::Decoys && out.retry.is_fresh()).count();
        let mut boxes = u32::try_from(waiting).unwrap_or(u32::MAX);
        if let Some(stream) = streams::of_message(self.store.connection(), id)? {
            boxes = boxes.saturating_add(u32::try_from(stream.boxes.unwrap_or(0)).unwrap_or(u32::MAX));
        }
        let slots = params.rates(self.profile_in_use()).put_gap().saturating_mul(boxes);
        Ok(Some(slots + params.hop_delay * 9 + params.reply_floor))
    }

    /// The twelve groups of a contact's safety number.
    ///
    /// # Errors
    /// [`CoreError::NotReady`] before the contact's identity is known.
    pub fn safety_number(&self, name: &str) -> Result<signal::SafetyNumber, CoreError> {
        let identity = self.contact(name)?.identity.ok_or(CoreError::NotReady)?;
        Ok(signal::SafetyNumber::with(self.store.connection(), &identity)?)
    }

    /// A person has compared the safety number.
    ///
    /// # Errors
    /// [`CoreError::NoContact`], [`CoreError::NotReady`].
    pub fn verify(&mut self, name: &str) -> Result<Contact, CoreError> {
        let contact = self.contact(name)?;
        contact.identity.ok_or(CoreError::NotReady)?;
        self.store.transaction(|tx| contacts::set_verified(tx, contact.id, true))?;
        self.push_event(Event::Contact(contact.id));
        self.contact(name)
    }

    /// Queues a text. It is on disk when this returns.
    ///
    /// # Errors
    /// In words for a person; nothing has changed then.
    pub fn send_text(&mut self, now: Timestamp, name: &str, text: &str) -> Result<MessageId, CoreError> {
        let contact = self.contact(name)?.id;
        self.transaction(now, |work| work.send_text(contact, text.to_owned()))
    }

    /// Queues a file of at most 64 MiB. Its bytes are in the store when this returns.
    ///
    /// # Errors
    /// In words for a person; nothing has changed then.
    pub fn send_file(
        &mut self,
        now: Timestamp,
        name: &str,
        file_name: &str,
        media_type: &str,
        bytes: &[u8],
    ) -> Result<MessageId, CoreError> {
        let contact = self.contact(name)?.id;
        let id = self.transaction(now, |work| work.send_file(contact, file_name, media_type, bytes))?;
        if let Some(stream) = streams::of_message(self.store.connection(), id)? {
            self.files.push(stream.id);
        }
        Ok(id)
    }
}
