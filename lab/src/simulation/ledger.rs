//! What passed by that no log may tell.

use std::collections::BTreeSet;
use veilpost_packet::{boxes::BoxTag, command::Command, ids::SessionAddress};

/// Bytes that tell something about a person, with what they are.
#[derive(Default, Debug)]
pub(super) struct Ledger {
    seen: BTreeSet<(&'static str, Vec<u8>)>,
}

impl Ledger {
    pub(super) fn command(&mut self, command: &Command) {
        let (id, secret) = match command {
            Command::Put { sealed, .. } => (sealed.id, None),
            Command::Get { id, .. } => (*id, None),
            Command::Ack { id, secret, .. } => (*id, Some(secret)),
            Command::Loop => return,
        };
        self.note("box id", id.as_bytes());
        self.note("box tag", &BoxTag::of(&id).0);
        if let Some(secret) = secret {
            self.note("ack secret", secret.expose());
        }
    }

    pub(super) fn session(&mut self, address: &SessionAddress) {
        self.note("session address", &address.0);
    }

    pub(super) fn note(&mut self, what: &'static str, bytes: &[u8]) {
        self.seen.insert((what, bytes.to_vec()));
    }

    pub(super) fn seen(&self) -> impl Iterator<Item = (&'static str, &[u8])> {
        self.seen.iter().map(|(what, bytes)| (*what, bytes.as_slice()))
    }
}
