//! Network documents and what follows from them: the epoch, guards, when to connect elsewhere.

use super::{Core, types::CoreError};
use crate::{
    guards::{Guards, keep_middle},
    store::meta,
    traffic::Clocks,
    transport::Transport,
};
use veilpost_packet::{
    codec::{Reader, Writer},
    ids::NodeId,
    time::{Epoch, Timestamp},
};
use veilpost_pki::{Document, NotTaken, UnverifiedDocument, document::Relay};

/// Names of the documents that are kept among the store's single values: the two newest, in turn.
const DOCUMENTS: [&str; 2] = ["network.document", "network.document.other"];
/// Name of the guards.
const GUARDS: &str = "guards";
/// Name of those over Tor: entries with onion services. Others, or an entry would see who comes behind Tor from whose address.
const GUARDS_OVER_TOR: &str = "guards.tor";
/// Name of the mixes of the middle layer that the client stays with.
const MIDDLE: &str = "middle";

impl Core {
    /// Takes up documents, guards and middle mixes from the store.
    pub(super) fn load_documents(&mut self, now: Timestamp) -> Result<(), CoreError> {
        let mut kept = Vec::new();
        for name in DOCUMENTS {
            let bytes = meta::get(self.store.connection(), name)?;
            kept.extend(bytes.and_then(|bytes| UnverifiedDocument::from_bytes(&bytes).ok()));
        }
        kept.sort_by_key(UnverifiedDocument::epoch);
        for document in kept {
            // Also one whose time is over: it leads to the authorities of today, and older ones do not come back after it.
            if let Ok(document) = document.verify_timelessly(&self.authorities) {
                self.authorities = document.authorities().clone();
                // Nothing is newer at a start.
                let _ = self.documents.insert(now, document);
            }
        }
        self.guards = self.kept_guards(self.transport)?;
        if let Some(bytes) = meta::get(self.store.connection(), MIDDLE)? {
            self.middle = decode_ids(&bytes);
        }
        self.follow_documents(now);
        Ok(())
    }

    /// Takes a network document: from the entry, or from a file. One of an epoch to come is used from its beginning on.
    ///
    /// # Errors
    /// In words for a person.
    pub fn handle_document(&mut self, now: Timestamp, bytes: &[u8]) -> Result<(), CoreError> {
        let document = UnverifiedDocument::from_bytes(bytes)?.verify_early(&self.authorities, now)?;
        match self.documents.insert(now, document.clone()) {
            Ok(()) => {}
            // The entry sends what it has; what is here already, or older, changes nothing.
            Err(NotTaken::Known | NotTaken::Superseded) => return Ok(()),
            Err(NotTaken::SecondOfEpoch) => {
                self.other_document = Some(now);
                return Ok(());
            }
            Err(_) => return Ok(()),
        }
        self.authorities = document.authorities().clone();
        let [even, odd] = DOCUMENTS;
        let name = if document.epoch.0.is_multiple_of(2) { even } else { odd };
        self.store.transaction(|tx| meta::set(tx, name, bytes))?;
        self.follow_documents(now);
        Ok(())
    }

    /// Switches to the document in force, by network time. Packets that are ready keep their routes and their epoch: they leave
    /// within its grace period.
    pub(super) fn follow_documents(&mut self, now: Timestamp) {
        self.documents.forget(now);
        let current = self.documents.current(now).cloned();
        let (old, new) = (self.document.as_ref().map(Document::digest), current.as_ref().map(Document::digest));
        if old == new {
            return;
        }
        let params = |document: &Option<Document>| document.as_ref().map(|document| document.params.clone());
        let other_rates = params(&self.document) != params(&current);
        self.document = current;
        let Some(document) = self.document.clone() else { return };
        if let Some(connection) = &mut self.connection
            && (other_rates || connection.clocks.is_none())
            && connection.entry.is_some()
        {
            // Exponential gaps have no memory: drawing them anew changes nothing that can be seen.
            let rates = document.params.rates(connection.profile);
            connection.clocks = Some(Clocks::start(now, &rates, &mut self.rng));
        }
        self.keep_guards(now, &document);
    }

    /// The guards that the store has for a transport.
    pub(super) fn kept_guards(&self, transport: Transport) -> Result<Guards, CoreError> {
        let kept = meta::get(self.store.connection(), guards_name(transport))?;
        Ok(kept.and_then(|bytes| Guards::decode(&bytes).ok()).unwrap_or_default())
    }

    /// The entries that the transport that was chosen can reach.
    fn reachable(&self, document: &Document) -> Vec<Relay> {
        let over_tor = self.transport.needs_tor();
        document.entries.iter().filter(|entry| !over_tor || entry.onion.is_some()).cloned().collect()
    }

    pub(super) fn keep_guards(&mut self, now: Timestamp, document: &Document) {
        let entries = self.reachable(document);
        let guards = self.guards.keep(now, &entries, document.params.hurry, &mut self.rng);
        let second = document.layers.get(1).map_or(&[][..], Vec::as_slice);
        let middle = keep_middle(&mut self.middle, second, &mut self.rng);
        if guards || middle {
            self.save_guards();
        }
    }

    /// Leaves a guard that replies stay away from for the next one; false if the month has no change left, or there is no other.
    pub(super) fn leave_guard(&mut self, now: Timestamp, entry: &NodeId) -> bool {
        let Some(document) = self.document.clone() else { return false };
        if !self.guards.chosen().contains(entry) {
            // The first connection of all, from before there were guards: to go to one of them changes none.
            return !self.guards.chosen().is_empty();
        }
        let entries = self.reachable(&document);
        let left = self.guards.leave(now, entry, &entries, document.params.hurry, &mut self.rng);
        if left {
            self.save_guards();
        }
        left
    }

    fn save_guards(&mut self) {
        let (guards, middle, name) = (self.guards.encode(), encode_ids(&self.middle), guards_name(self.transport));
        let kept = self.store.transaction(|tx| {
            meta::set(tx, name, &guards)?;
            meta::set(tx, MIDDLE, &middle)
        });
        if let Err(error) = kept {
            tracing::error!(%error, "the choice of an entry could not be kept");
        }
    }

    /// The entries to connect to, best first; none before the first document: then any entry of the network file will do.
    pub fn guards(&self) -> &[NodeId] {
        self.guards.chosen()
    }

    /// An entry did not answer. After a long while it may be replaced.
    pub fn handle_unreachable(&mut self, now: Timestamp, entry: &NodeId) {
        self.guards.handle_unreachable(now, entry);
        if let Some(document) = self.document.clone() {
            self.keep_guards(now, &document);
        }
    }

    /// True if the entry that this client is connected to is in no document any more, so that no packet gets through it; if it is
    /// the likeliest cause of replies that stay away, and another one has taken its place among the guards; or if the person has
    /// chosen another transport since.
    pub fn must_connect_elsewhere(&self) -> bool {
        let Some(connection) = &self.connection else { return false };
        if connection.transport != self.transport {
            return true;
        }
        let Some(document) = &self.document else { return false };
        let Some(entry) = &connection.entry else { return false };
        let listed = document.entries.iter().any(|other| other.id == *entry);
        !listed || self.suspicion.must_leave(entry)
    }

    /// True while a packet of this epoch may leave: in the first half of the grace period of its keys. The other half is for its
    /// way to a mailbox and back.
    pub(super) fn may_leave(&self, now: Timestamp, epoch: Epoch) -> bool {
        let Some((until, document)) = self.documents.key_until(epoch).zip(self.documents.get(epoch)) else {
            return false;
        };
        now + document.params.key_grace / 2 < until
    }

    /// Forgets packets that have been ready for longer than their epoch allows, before a tick wants one of them: a tick without
    /// a frame would be seen. Their content is prepared anew.
    pub(super) fn forget_stale(&mut self, now: Timestamp) {
        let live: Vec<_> = self.documents.iter().map(|document| document.epoch).collect();
        let live: Vec<_> = live.into_iter().filter(|epoch| self.may_leave(now, *epoch)).collect();
        let Some(connection) = &mut self.connection else { return };
        for stale in connection.ready.take_stale(|prepared| !live.contains(&prepared.built.epoch)) {
            if let Some(preparing) = stale.purpose.preparing() {
                self.preparing.remove(&preparing);
            }
        }
    }

    /// What a person should know of the network document.
    pub(super) fn document_warnings(&self, now: Timestamp) -> Option<String> {
        let Some(document) = &self.document else {
            let up = self.connection.as_ref().is_some_and(|connection| connection.entry.is_some());
            return up.then(|| "connected, but no valid network document yet".to_owned());
        };
        if now >= document.valid_until {
            return Some("the network document has expired; waiting for a newer one".to_owned());
        }
        let failed = self.documents.failed_rounds(now, document.epoch);
        (failed > 0).then(|| {
            let hours = document.valid_until.since(now).as_secs().div_ceil(3_600);
            format!(
                "the network runs on an old document: its authorities do not agree on a new one, or your entry withholds it; it is \
                 good for {hours} more hours at most"
            )
        })
    }
}

fn guards_name(transport: Transport) -> &'static str {
    if transport.needs_tor() { GUARDS_OVER_TOR } else { GUARDS }
}

fn encode_ids(ids: &[NodeId]) -> Vec<u8> {
    let mut writer = Writer::with_capacity(ids.len() * 32);
    ids.iter().for_each(|id| {
        writer.put(id.as_bytes());
    });
    writer.finish()
}

fn decode_ids(bytes: &[u8]) -> Vec<NodeId> {
    let mut reader = Reader::new(bytes);
    let mut ids = Vec::new();
    while let Ok(id) = reader.array() {
        ids.push(NodeId(id));
    }
    ids
}
