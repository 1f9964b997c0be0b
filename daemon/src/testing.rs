//! Documents for tests: one relay of each place, one authority, times around now.

use crate::clock::Clock;
use std::time::Duration;
use veilpost_packet::{
    ids::LinkKey,
    primitives::SigningSecret,
    sphinx::SphinxSecret,
    time::{Epoch, Timestamp},
};
use veilpost_pki::{
    AuthoritySet, Descriptor, Document, Params, Relay, UnverifiedDocument, View, document::Placement, signed::sign_view,
};

fn authority() -> SigningSecret {
    SigningSecret::from_seed(&[250; 32])
}

pub(crate) fn authorities() -> AuthoritySet {
    AuthoritySet::new("daemon tests", &[authority().authority_id()], 0).unwrap()
}

fn relay(seed: u8) -> Relay {
    let key = SphinxSecret::from_seed([seed; 32]).public();
    Relay {
        id: SigningSecret::from_seed(&[seed; 32]).node_id(),
        addresses: vec![([127, 0, 0, 1], 4_000 + u16::from(seed)).into()],
        onion: None,
        link_key: LinkKey([seed; 32]),
        sphinx_key: key,
        next_sphinx_key: key,
        weight: 1,
        reliability: u8::MAX,
        family: format!("family {seed}"),
    }
}

/// Makes documents whose times are seconds from one moment.
pub(crate) struct World {
    pub(crate) now: Timestamp,
    /// Takes the place of the mix of layer 2 in documents.
    pub(crate) own: Option<Descriptor>,
}

impl World {
    pub(crate) fn now() -> Self {
        Self { now: Clock::start().now(), own: None }
    }

    pub(crate) fn at(&self, seconds: i64) -> Timestamp {
        let away = Duration::from_secs(seconds.unsigned_abs());
        if seconds < 0 { self.now - away } else { self.now + away }
    }

    /// The document of an epoch of an hour that begins `after` seconds from now and is valid for three.
    pub(crate) fn document(&self, epoch: u64, after: i64) -> Vec<u8> {
        let mut second = relay(2);
        if let Some(own) = &self.own {
            let key = own.sphinx_keys[usize::try_from(epoch - own.epoch.0).unwrap()];
            second = Relay { id: own.id, link_key: own.link_key, sphinx_key: key, ..second };
        }
        let view = View {
            network: authorities().network(),
            epoch: Epoch(epoch),
            valid_after: self.at(after),
            valid_until: self.at(after + 3 * 3_600),
            params: Params::standard(),
            shared_random: [0; 32],
            put_effort: 0,
            layers: vec![vec![relay(1)], vec![second], vec![relay(3)]],
            entries: vec![relay(4)],
            mailboxes: vec![relay(5)],
            placements: vec![Placement { from: Epoch(1), mailboxes: vec![relay(5).id] }],
            memory: veilpost_pki::document::Memory::default(),
        };
        sign_view(&view, &[authority()])
    }

    /// The same, verified.
    pub(crate) fn verified(&self, epoch: u64, after: i64) -> Document {
        let bytes = self.document(epoch, after);
        UnverifiedDocument::from_bytes(&bytes).unwrap().verify_early(&authorities(), self.at(after)).unwrap()
    }
}
