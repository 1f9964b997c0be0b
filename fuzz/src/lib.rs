//! What the targets share: keys that everyone may know, so that inputs get past signatures and MACs to the code behind them.

use hkdf::{
    Hkdf,
    hmac::{Hmac, Mac},
};
use sha2::Sha256;
use sphinx_packet::constants::{EXPANDED_SHARED_SECRET_HKDF_INFO, EXPANDED_SHARED_SECRET_HKDF_SALT};
use std::{
    net::SocketAddr,
    sync::{Arc, LazyLock},
};
use veilpost_packet::{
    codec::Reader,
    geometry::SPHINX_HEADER,
    ids::{AuthorityId, LinkKey, NodeId},
    primitives::SigningSecret,
    sphinx::{Delays, Hop, Packet, Route, SphinxPublic, SphinxSecret, build},
    time::{Epoch, Timestamp},
};
use veilpost_pki::{
    AuthoritySet, Descriptor, Params, Relay, Role, View,
    document::{Absent, Memory, Placement},
    statement::{Kind, SignedStatement, Statement},
    vote::{Vote, commitment},
};
use x25519_dalek::{PublicKey, StaticSecret};

/// The Sphinx secret of the node that unwraps.
pub const NODE: [u8; 32] = [9; 32];
/// The secret that a forging sender starts from.
pub const SENDER: [u8; 32] = [7; 32];

/// Signs for a mailbox, a node or an authority.
pub fn signer() -> SigningSecret {
    SigningSecret::from_seed(&[3; 32])
}

/// The node.
pub fn node() -> SphinxSecret {
    SphinxSecret::from_seed(NODE)
}

/// Overwrites `field.len()` bytes of `data` at `at`, where they exist.
pub fn overwrite(data: &mut [u8], at: usize, field: &[u8]) {
    if let Some(place) = data.get_mut(at..at + field.len()) {
        place.copy_from_slice(field);
    }
}

/// A good packet for [`node`] whose routing block and payload differ from the genuine ones by the input, and whose MAC is
/// right. The routing block is under a stream cipher, so the input decides each byte that the node reads: any sender can.
pub fn forged_packet(data: &[u8]) -> Packet {
    const ALPHA: usize = 32;
    const MAC: usize = 16;
    static GENUINE: LazyLock<(Packet, [u8; 2 * MAC])> = LazyLock::new(|| {
        let hop = |n: u8| Hop { address: [n; 32], key: SphinxSecret::from_seed([NODE[0] + n; 32]).public() };
        let route: Route = std::array::from_fn(|place| hop(place as u8));
        let packet = build(SENDER, &route, &Delays::default(), b"genuine").expect("a route of good keys");
        let shared = StaticSecret::from(SENDER).diffie_hellman(&PublicKey::from(&StaticSecret::from(NODE)));
        let mut keys = [0; 2 * MAC];
        Hkdf::<Sha256>::new(Some(EXPANDED_SHARED_SECRET_HKDF_SALT), shared.as_bytes())
            .expand(EXPANDED_SHARED_SECRET_HKDF_INFO, &mut keys)
            .expect("32 bytes are less than 255 blocks");
        (packet, keys)
    });
    let (genuine, keys) = &*GENUINE;
    let mut bytes = genuine.as_bytes().to_vec();
    bytes.iter_mut().skip(ALPHA + MAC).zip(data).for_each(|(byte, difference)| *byte ^= difference);
    let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(&keys[MAC..]).expect("HMAC takes keys of any length");
    mac.update(&bytes[ALPHA + MAC..SPHINX_HEADER]);
    overwrite(&mut bytes, ALPHA, &mac.finalize().into_bytes()[..MAC]);
    Packet::from_bytes(&bytes).expect("a packet's size")
}

/// Four authorities of which one may be hostile; everyone may know their keys.
pub fn authorities() -> &'static (AuthoritySet, [SigningSecret; 4]) {
    static ALL: LazyLock<(AuthoritySet, [SigningSecret; 4])> = LazyLock::new(|| {
        let secrets = std::array::from_fn(|n| SigningSecret::from_seed(&[100 + n as u8; 32]));
        let keys: Vec<_> = secrets.iter().map(SigningSecret::authority_id).collect();
        (AuthoritySet::new("fuzz", &keys, 1).expect("four authorities are a network"), secrets)
    });
    &ALL
}

/// One of them.
pub fn authority(n: u8) -> &'static SigningSecret {
    &authorities().1[usize::from(n % 4)]
}

/// Good bytes with places that the input overwrites, inserts or removes: what a format checks first does not hide the rest.
pub fn edited(template: &[u8], edits: &[u8]) -> Vec<u8> {
    let (mut bytes, mut reader) = (template.to_vec(), Reader::new(edits));
    while let (Ok(at), Ok(edit)) = (reader.u16(), reader.u8()) {
        let at = usize::from(at) % (bytes.len() + 1);
        let length = usize::from(edit & 0x3f);
        let end = (at + length).min(bytes.len());
        match edit >> 6 {
            0 | 1 => {
                let new = reader.take(length.min(reader.remaining())).unwrap_or_default();
                overwrite(&mut bytes, at, new);
            }
            2 => {
                let new = reader.take(length.min(reader.remaining())).unwrap_or_default();
                bytes.splice(at..at, new.iter().copied());
            }
            _ => drop(bytes.drain(at..end)),
        }
    }
    bytes
}

/// A statement of an authority about epoch 1 that the input chooses.
pub fn statement(author: u8, kind: u8, digest: [u8; 32]) -> SignedStatement {
    let (set, _) = authorities();
    let kind = [Kind::Vote, Kind::Reveal, Kind::Document][usize::from(kind % 3)];
    let secret = authority(author);
    let author = secret.authority_id();
    Statement { network: set.network(), epoch: Epoch(1), kind, author, digest }.sign(secret)
}

/// Nodes that make a network: three mixes, an entry and a mailbox.
pub fn nodes() -> [(SigningSecret, Role); 5] {
    let roles = [Role::Mix, Role::Mix, Role::Mix, Role::Entry, Role::Mailbox];
    std::array::from_fn(|n| (SigningSecret::from_seed(&[n as u8 + 1; 32]), roles[n]))
}

/// What a node says of itself.
pub fn descriptor(secret: &SigningSecret, role: Role, epoch: Epoch) -> Vec<u8> {
    let id = secret.node_id();
    Descriptor {
        id,
        epoch,
        role,
        addresses: vec![SocketAddr::from(([127, 0, 0, 1], 4_000))],
        onion: None,
        link_key: LinkKey(id.0),
        sphinx_keys: vec![SphinxPublic([1; 32]), SphinxPublic([2; 32])],
        software: "fuzz".into(),
        family: String::new(),
        capacity: 1_000,
        fill: 0,
        measured: Vec::new(),
    }
    .sign(secret)
}

/// A good vote of an authority for an epoch.
pub fn vote(author: u8, epoch: Epoch, params: Params, value: &[u8; 32]) -> Vote {
    let (set, _) = authorities();
    let mut descriptors: Vec<(NodeId, Arc<[u8]>)> =
        nodes().iter().map(|(secret, role)| (secret.node_id(), descriptor(secret, *role, epoch).into())).collect();
    descriptors.sort();
    let id = authority(author).authority_id();
    Vote {
        base: None,
        params,
        placement: vec![nodes()[4].0.node_id()],
        descriptors,
        commitment: commitment(set.network(), epoch, &id, value),
        proofs: Vec::new(),
    }
}

/// A good view of epoch 1.
pub fn view() -> View {
    let (set, _) = authorities();
    let relay = |n: u8| Relay {
        id: NodeId([n; 32]),
        addresses: vec![SocketAddr::from(([127, 0, 0, n], 4_000))],
        onion: None,
        link_key: LinkKey([n; 32]),
        sphinx_key: SphinxPublic([n; 32]),
        next_sphinx_key: SphinxPublic([n; 32]),
        weight: 1,
        reliability: u8::MAX,
        family: "f".into(),
    };
    let absent = [20, 21].map(|n| Absent { id: NodeId([n; 32]), layer: 2, until: Epoch(9), reliability: u8::MAX });
    View {
        network: set.network(),
        epoch: Epoch(1),
        valid_after: Timestamp::from_secs(1_000),
        valid_until: Timestamp::from_secs(9_000),
        params: Params::standard(),
        shared_random: [5; 32],
        put_effort: 0,
        layers: [1, 2, 3].map(|n| vec![relay(n)]).to_vec(),
        entries: vec![relay(4)],
        mailboxes: vec![relay(5), relay(6)],
        placements: vec![
            Placement { from: Epoch(1), mailboxes: vec![NodeId([5; 32])] },
            Placement { from: Epoch(7), mailboxes: vec![NodeId([5; 32]), NodeId([6; 32])] },
        ],
        memory: Memory {
            withheld: vec![(AuthorityId([3; 32]), Epoch(8))],
            equivocators: vec![AuthorityId([4; 32])],
            absent: absent.to_vec(),
        },
    }
}
