//! The mixes of a flow: one shipped engine each, under a document that it takes for a network's.

use std::time::Duration;
use veilpost_mixnode::{Engine, EngineConfig, Limits};
use veilpost_packet::{
    geometry::KEY,
    ids::{LinkKey, NodeId},
    primitives::SigningSecret,
    random::{EngineRng, bytes, fork},
    replay::{CAPACITY_MAX, TagKey, TagTable},
    sphinx::SphinxPublic,
    time::{Epoch, Timestamp},
};
use veilpost_pki::{
    AuthoritySet, Document, Params, Relay, UnverifiedDocument, View,
    document::{Memory, Placement},
    signed::sign_view,
};

/// The epoch of every packet.
pub(super) const EPOCH: Epoch = Epoch(1);
/// When flows begin.
pub const START: Timestamp = Timestamp::from_secs(1_800_000_000);
/// How long the document, and with it the key, lives: 30 years.
const LIFE: Duration = Duration::from_secs(30 * 365 * 86_400);
/// Packets in a mix's delay queue at most. A flow that runs into it fails, as with every drop.
const DELAYED_MAX: usize = 1 << 22;

/// The node that stands for all senders in the first layer's document.
pub(super) const SENDERS: NodeId = NodeId([0xfe; KEY]);
/// The node that stands for all receivers in the last layer's document.
pub(super) const RECEIVERS: NodeId = NodeId([0xff; KEY]);

/// The id of a mix: its number in front, so that comparing two ends early.
pub(crate) fn id(mix: usize) -> NodeId {
    let mut id = [0; KEY];
    for (byte, number) in id.iter_mut().zip((mix as u64 + 1).to_be_bytes()) {
        *byte = number;
    }
    NodeId(id)
}

/// A relay that only path choice and admission will look at: its keys are nobody's.
fn relay(id: NodeId, weight: u32) -> Relay {
    let key = SphinxPublic([1; KEY]);
    Relay {
        id,
        addresses: Vec::new(),
        onion: None,
        link_key: LinkKey(id.0),
        sphinx_key: key,
        next_sphinx_key: key,
        weight,
        reliability: u8::MAX,
        family: String::new(),
    }
}

/// A signed and verified document with these mixes and their weights, an entry and a mailbox. `hop_delay` must be one that
/// documents allow.
pub(crate) fn document(layers: [Vec<(NodeId, u32)>; 3], hop_delay: Duration) -> Document {
    let authority = SigningSecret::from_seed(&[1; 32]);
    let set =
        AuthoritySet::new("a flow", &[authority.authority_id()], 0).expect("one authority without fault is a set");
    let params = Params { hop_delay, ..Params::standard() };
    let (entry, mailbox) = (relay(ENTRY, 1), relay(MAILBOX, 1));
    let view = View {
        network: set.network(),
        epoch: EPOCH,
        valid_after: START,
        valid_until: START + LIFE,
        put_effort: params.put_effort,
        params,
        shared_random: [0; KEY],
        layers: layers
            .into_iter()
            .map(|mixes| mixes.into_iter().map(|(id, weight)| relay(id, weight)).collect())
            .collect(),
        placements: vec![Placement { from: EPOCH, mailboxes: vec![mailbox.id] }],
        entries: vec![entry],
        mailboxes: vec![mailbox],
        memory: Memory::default(),
    };
    let unverified =
        UnverifiedDocument::from_bytes(&sign_view(&view, &[authority])).expect("its shape is checked before");
    unverified.verify(&set, START).expect("the only authority has signed it")
}

/// The entry of every document made here.
pub(crate) const ENTRY: NodeId = NodeId([0xfc; KEY]);
/// The mailbox of every document made here.
pub(crate) const MAILBOX: NodeId = NodeId([0xfd; KEY]);

/// The engines of all mixes, layer after layer. The shipped rules of admission know three layers, so each engine has a document
/// with the layer before its own, its own and the next one as layers 1 to 3: a mix sees no more of a network than its
/// neighbours, and every transition is a legal one at any depth.
pub(super) fn engines(layers: usize, width: usize, hop_delay: Duration, rng: &mut EngineRng) -> Vec<Engine> {
    let mixes = |layer: usize| (layer * width..(layer + 1) * width).map(|mix| (id(mix), 1)).collect::<Vec<_>>();
    let mut engines = Vec::with_capacity(layers * width);
    for layer in 0..layers {
        let before = if layer == 0 { vec![(SENDERS, 1)] } else { mixes(layer - 1) };
        let after = if layer + 1 == layers { vec![(RECEIVERS, 1)] } else { mixes(layer + 1) };
        let document = document([before, mixes(layer), after], hop_delay);
        for (id, _) in mixes(layer) {
            let limits = Limits { delayed: DELAYED_MAX, ..Limits::default() };
            let config = EngineConfig { id, document: document.clone(), limits };
            let engine = Engine::new(config, TagKey::new(bytes(rng)), TagTable::new(CAPACITY_MAX), fork(rng));
            engines.push(engine.expect("the document lists it in its second layer"));
        }
    }
    engines
}
