//! A small network for tests: every key is known, every node is one number away.

use std::{net::SocketAddr, time::Duration};
use veilpost_packet::{
    ids::{LinkKey, NodeId},
    primitives::SigningSecret,
    sphinx::{SphinxPublic, SphinxSecret},
    time::{Epoch, Timestamp},
};
use veilpost_pki::{
    AuthoritySet, Document, Params, Relay, UnverifiedDocument, View,
    document::{Memory, Place, Placement},
    signed::sign_view,
};

pub(crate) const NETWORK: &str = "a network for tests";
pub(crate) const EPOCH: Epoch = Epoch(6);

/// The seed of the only authority.
pub(crate) fn authority() -> SigningSecret {
    SigningSecret::from_seed(&[250; 32])
}

pub(crate) fn identity(seed: u8) -> SigningSecret {
    SigningSecret::from_seed(&[seed; 32])
}

pub(crate) fn id(seed: u8) -> NodeId {
    identity(seed).node_id()
}

pub(crate) fn sphinx(seed: u8) -> SphinxSecret {
    SphinxSecret::from_seed([seed; 32])
}

/// A relay whose keys all come from one number.
pub(crate) fn relay(seed: u8, address: Option<SocketAddr>, link_key: LinkKey) -> Relay {
    let sphinx_key: SphinxPublic = sphinx(seed).public();
    Relay {
        id: id(seed),
        addresses: address.into_iter().collect(),
        onion: None,
        link_key,
        sphinx_key,
        next_sphinx_key: sphinx_key,
        weight: 1,
        reliability: u8::MAX,
        family: format!("family {seed}"),
    }
}

/// Mixes 1 and 11, 2 and 12, 3 and 13 in the three layers, entries 4 and 14, mailboxes 5 and 15.
pub(crate) fn view(now: Timestamp, params: Params) -> View {
    let two = |seed: u8| [seed, seed + 10].map(|seed| relay(seed, None, LinkKey([seed; 32]))).to_vec();
    let mailboxes = two(5);
    let mut placed: Vec<_> = mailboxes.iter().map(|mailbox| mailbox.id).collect();
    placed.sort_unstable();
    View {
        network: AuthoritySet::new(NETWORK, &[authority().authority_id()], 0).unwrap().network(),
        epoch: EPOCH,
        valid_after: now - Duration::from_secs(60),
        valid_until: now + Duration::from_secs(3_600),
        params,
        shared_random: [0; 32],
        put_effort: 0,
        layers: vec![two(1), two(2), two(3)],
        entries: two(4),
        mailboxes,
        placements: vec![Placement { from: EPOCH, mailboxes: placed }],
        memory: Memory::default(),
    }
}

pub(crate) fn signed(view: &View) -> Vec<u8> {
    sign_view(view, &[authority()])
}

pub(crate) fn verified(view: &View, now: Timestamp) -> Document {
    let authorities = AuthoritySet::new(NETWORK, &[authority().authority_id()], 0).unwrap();
    UnverifiedDocument::from_bytes(&signed(view)).unwrap().verify(&authorities, now).unwrap()
}

/// The place of a node of [`view`].
pub(crate) fn place(seed: u8) -> Place {
    match seed % 10 {
        4 => Place::Entry,
        5 => Place::Mailbox,
        layer => Place::Mix(layer),
    }
}
