//! A small network: authorities, relays, a view.

#![allow(dead_code, clippy::unwrap_used, reason = "each test file uses a part")]

pub(crate) mod council;

use std::time::Duration;
use veilpost_packet::{
    ids::{AuthorityId, LinkKey, NodeId},
    primitives::SigningSecret,
    sphinx::SphinxPublic,
    time::{Epoch, Timestamp},
};
use veilpost_pki::{
    AuthoritySet, Document, Params, Relay, UnverifiedDocument, View,
    document::{Memory, Placement},
};

pub(crate) const NOW: Timestamp = Timestamp::from_secs(1_000_000);
pub(crate) const NAME: &str = "test network";

pub(crate) fn authorities(count: u8) -> Vec<SigningSecret> {
    (0..count).map(|n| SigningSecret::from_seed(&[100 + n; 32])).collect()
}

pub(crate) fn ids(authorities: &[SigningSecret]) -> Vec<AuthorityId> {
    authorities.iter().map(SigningSecret::authority_id).collect()
}

/// Four authorities of which one may be hostile: three signatures.
pub(crate) fn set() -> AuthoritySet {
    AuthoritySet::new(NAME, &ids(&authorities(4)), 1).unwrap()
}

pub(crate) fn relay(n: u8, weight: u32) -> Relay {
    Relay {
        id: NodeId([n; 32]),
        addresses: vec![format!("127.0.0.{n}:4000").parse().unwrap(), format!("[::{n}]:4000").parse().unwrap()],
        onion: n.is_multiple_of(2).then(|| format!("{n}.onion")),
        link_key: LinkKey([n + 100; 32]),
        sphinx_key: SphinxPublic([n; 32]),
        next_sphinx_key: SphinxPublic([n + 1; 32]),
        weight,
        reliability: u8::MAX,
        family: format!("family {n}"),
    }
}

pub(crate) fn view() -> View {
    View {
        network: set().network(),
        epoch: Epoch(9),
        valid_after: NOW,
        valid_until: NOW + Duration::from_secs(3_600),
        params: Params::standard(),
        shared_random: [5; 32],
        put_effort: 0,
        layers: vec![vec![relay(1, 1), relay(2, 3)], vec![relay(3, 1), relay(4, 1)], vec![relay(5, 1), relay(6, 0)]],
        entries: vec![relay(7, 1), relay(8, 1)],
        mailboxes: vec![relay(9, 1), relay(10, 1), relay(11, 1)],
        placements: vec![Placement { from: Epoch(0), mailboxes: [9, 10, 11].map(|n| NodeId([n; 32])).to_vec() }],
        memory: Memory::default(),
    }
}

pub(crate) fn document() -> Document {
    let bytes = veilpost_pki::signed::sign_view(&view(), &authorities(4));
    UnverifiedDocument::from_bytes(&bytes).unwrap().verify(&set(), NOW).unwrap()
}
