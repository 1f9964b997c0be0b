//! Whatever authorities say comes back as it was, in one encoding; and no bytes make a decoder panic.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

mod common;

use common::{authorities, relay, set, view};
use proptest::{collection::vec, prelude::*, sample::Index};
use std::{collections::BTreeSet, fmt::Debug, sync::Arc};
use veilpost_packet::{
    codec::{DecodeError, Reader, Result, Writer},
    geometry::{DESCRIPTOR_MAX, DOCUMENT_MAX},
    ids::{AuthorityId, NetworkId, NodeId},
    primitives::SigningSecret,
    time::Epoch,
};
use veilpost_pki::{
    Params, View,
    document::{Absent, Memory, Placement, RELAYS_MAX},
    signed::{AUTHORITIES_MAX, Committee, Handover},
    statement::{EquivocationProof, Kind, SignedStatement, Statement},
    vote::{Base, NODES_MAX, PROOFS_MAX, VOTE_MAX, Vote},
    wire::{DescriptorAnswer, MESSAGE_MAX, Message},
};

fn key(n: u8) -> SigningSecret {
    SigningSecret::from_seed(&[n; 32])
}

fn statement(by: u8, epoch: u64, kind: Kind, digest: [u8; 32]) -> SignedStatement {
    let secret = key(by);
    Statement { network: NetworkId([3; 32]), epoch: Epoch(epoch), kind, author: secret.authority_id(), digest }
        .sign(&secret)
}

fn kinds() -> impl Strategy<Value = Kind> {
    prop_oneof![Just(Kind::Vote), Just(Kind::Reveal), Just(Kind::Document)]
}

prop_compose! {
    fn statements()(by: u8, epoch: u64, kind in kinds(), digest: [u8; 32]) -> SignedStatement {
        statement(by, epoch, kind, digest)
    }
}

prop_compose! {
    fn proofs()(by: u8, epoch: u64, kind in kinds(), one in 0u8..255) -> EquivocationProof {
        EquivocationProof::new(statement(by, epoch, kind, [one + 1; 32]), statement(by, epoch, kind, [one; 32])).unwrap()
    }
}

fn node_ids(at_most: usize) -> impl Strategy<Value = Vec<NodeId>> {
    vec(any::<[u8; 32]>(), 0..=at_most)
        .prop_map(|ids| ids.into_iter().map(NodeId).collect::<BTreeSet<_>>().into_iter().collect())
}

prop_compose! {
    fn votes()(
        base in proptest::option::of((1u64.., any::<[u8; 32]>())),
        box_days in 1u32..=60,
        placement in node_ids(8),
        nodes in node_ids(8),
        lengths in vec(0usize..900, 8),
        commitment: [u8; 32],
        proofs in vec(proofs(), 0..3),
    ) -> Vote {
        let descriptor = |(id, length): (NodeId, usize)| -> (NodeId, Arc<[u8]>) { (id, vec![7; length].into()) };
        Vote {
            base: base.map(|(epoch, digest)| Base { epoch: Epoch(epoch), digest }),
            params: Params { box_days, ..Params::standard() },
            placement,
            descriptors: nodes.into_iter().zip(lengths).map(descriptor).collect(),
            commitment,
            proofs,
        }
    }
}

fn bodies() -> impl Strategy<Value = Arc<[u8]>> {
    vec(any::<u8>(), 0..600).prop_map(Into::into)
}

fn messages() -> impl Strategy<Value = Message> {
    let answer = (1u8..=6).prop_map(|n| match Message::decode(&[8, n]) {
        Ok(Message::Answer(answer)) => answer,
        other => panic!("{other:?}"),
    });
    prop_oneof![
        (statements(), bodies()).prop_map(|(signed, body)| Message::Statement(signed, body)),
        (statements(), vec(any::<u8>(), 0..=5)).prop_map(|(signed, by)| {
            Message::Relay(signed, by.into_iter().map(|n| signed.countersign(&key(n))).collect())
        }),
        any::<[u8; 32]>().prop_map(Message::WantBody),
        bodies().prop_map(Message::Body),
        any::<u64>().prop_map(|epoch| Message::WantDocument(Epoch(epoch))),
        bodies().prop_map(Message::Document),
        bodies().prop_map(Message::Descriptor),
        answer.prop_map(Message::Answer),
        any::<u64>().prop_map(|epoch| Message::Newest(Epoch(epoch))),
        vec(proofs(), 0..3).prop_map(Message::Proofs),
    ]
}

prop_compose! {
    fn handovers()(from: u64, keys in proptest::collection::btree_set(any::<u8>(), 1..9), by in vec(0u8..4, 0..5)) -> Handover {
        let keys: Vec<_> = keys.into_iter().map(|n| key(n).authority_id()).collect();
        let mut handover = Handover::new(Epoch(from), Committee::new(&keys, (keys.len() - 1) / 3).unwrap());
        by.into_iter().for_each(|n| handover.sign(&set(), &authorities(4)[usize::from(n)]));
        handover
    }
}

prop_compose! {
    fn views()(
        withheld in proptest::collection::btree_map(any::<[u8; 32]>(), any::<u64>(), 0..5),
        equivocators in proptest::collection::btree_set(any::<[u8; 32]>(), 0..5),
        absent in proptest::collection::btree_map(any::<[u8; 32]>(), (1u8..=3, any::<u64>()), 0..6),
        announced in proptest::option::of(10u64..),
        weight: u32,
    ) -> View {
        let absent = absent.into_iter();
        let mut view = View {
            memory: Memory {
                withheld: withheld.into_iter().map(|(id, until)| (AuthorityId(id), Epoch(until))).collect(),
                equivocators: equivocators.into_iter().map(AuthorityId).collect(),
                absent: absent.map(|(id, (layer, until))| Absent { id: NodeId(id), layer, until: Epoch(until), reliability: u8::MAX }).collect(),
            },
            ..view()
        };
        view.entries.push(relay(12, weight));
        view.placements.extend(announced.map(|from| Placement { from: Epoch(from), mailboxes: vec![NodeId([9; 32])] }));
        view
    }
}

/// A decoder of whole inputs from a reader.
fn whole<T>(read: impl Fn(&mut Reader<'_>) -> Result<T>) -> impl Fn(&[u8]) -> Result<T> {
    move |bytes| {
        let mut reader = Reader::new(bytes);
        let value = read(&mut reader)?;
        reader.finish()?;
        Ok(value)
    }
}

fn written(write: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut writer = Writer::default();
    write(&mut writer);
    writer.finish()
}

/// It comes back; it does not with a byte too many or too few; and with other bytes in some places it is refused or is what those
/// bytes say.
fn comes_back<T: PartialEq + Debug>(
    value: &T,
    encode: impl Fn(&T) -> Vec<u8>,
    decode: impl Fn(&[u8]) -> Result<T>,
    flips: &[(Index, u8)],
    open_ended: bool,
) -> std::result::Result<(), TestCaseError> {
    let mut bytes = encode(value);
    let back = decode(&bytes);
    prop_assert_eq!(back.as_ref(), Ok(value));
    if !open_ended {
        prop_assert_eq!(decode(&[&bytes[..], &[0]].concat()), Err(DecodeError::Trailing));
        prop_assert_eq!(decode(&bytes[..bytes.len() - 1]), Err(DecodeError::Truncated));
    }
    for (at, byte) in flips {
        let at = at.index(bytes.len());
        bytes[at] = *byte;
        if let Ok(other) = decode(&bytes) {
            prop_assert_eq!(encode(&other), bytes.clone(), "one encoding");
        }
    }
    Ok(())
}

fn flips() -> impl Strategy<Value = Vec<(Index, u8)>> {
    vec((any::<Index>(), prop_oneof![0u8..4, any::<u8>()]), 1..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn votes_come_back(vote in votes(), flips in flips()) {
        comes_back(&vote, Vote::encode, Vote::decode, &flips, false)?;
    }

    #[test]
    fn messages_come_back(message in messages(), flips in flips()) {
        use Message::{Body, Descriptor, Document, Statement};
        let open_ended = matches!(message, Statement(..) | Body(_) | Document(_) | Descriptor(_));
        comes_back(&message, Message::encode, Message::decode, &flips, open_ended)?;
    }

    #[test]
    fn statements_come_back(signed in statements(), flips in flips()) {
        let encode = |signed: &SignedStatement| written(|writer| signed.write(writer));
        comes_back(&signed, encode, whole(SignedStatement::read), &flips, false)?;
    }

    #[test]
    fn proofs_come_back(proof in proofs(), flips in flips()) {
        let encode = |proof: &EquivocationProof| written(|writer| proof.write(writer));
        comes_back(&proof, encode, whole(EquivocationProof::read), &flips, false)?;
    }

    #[test]
    fn hand_overs_come_back(handover in handovers(), flips in flips()) {
        let encode = |handover: &Handover| written(|writer| handover.write(writer));
        comes_back(&handover, encode, whole(Handover::read), &flips, false)?;
    }

    #[test]
    fn views_with_a_memory_come_back(view in views()) {
        let bytes = view.encode();
        let back = View::decode(&bytes);
        prop_assert_eq!(back.as_ref(), Ok(&view));
        prop_assert_eq!(View::decode(&[&bytes[..], &[0]].concat()), Err(DecodeError::Trailing));
        prop_assert_eq!(View::decode(&bytes[..bytes.len() - 1]), Err(DecodeError::Truncated));
    }

    /// The last bytes: placements and memory. Addresses are text and have more than one spelling, these parts have one.
    #[test]
    fn the_memory_of_a_view_has_one_encoding(view in views(), flips in flips()) {
        let mut bytes = view.encode();
        let before = View { memory: Memory::default(), placements: Vec::new(), ..view }.encode().len() - 7;
        for (at, byte) in flips {
            let at = before + at.index(bytes.len() - before);
            bytes[at] = byte;
            if let Ok(view) = View::decode(&bytes) {
                prop_assert_eq!(view.encode(), bytes.clone());
            }
        }
    }

    #[test]
    fn no_bytes_make_a_decoder_panic(bytes in vec(any::<u8>(), 0..400), kind in 0u8..12) {
        let _ = Vote::decode(&bytes);
        let _ = Message::decode(&[&[kind], &bytes[..]].concat());
        let _ = whole(Handover::read)(&bytes);
        let _ = whole(EquivocationProof::read)(&bytes);
        let _ = View::decode(&bytes);
    }
}

fn a_vote() -> Vote {
    Vote {
        base: None,
        params: Params::standard(),
        placement: Vec::new(),
        descriptors: Vec::new(),
        commitment: [1; 32],
        proofs: Vec::new(),
    }
}

fn many_ids(count: usize) -> Vec<NodeId> {
    let id = |n: usize| NodeId(std::array::from_fn(|at| (n as u64).to_be_bytes().get(at).copied().unwrap_or(0)));
    (0..count).map(id).collect()
}

fn a_proof() -> EquivocationProof {
    EquivocationProof::new(statement(1, 1, Kind::Vote, [1; 32]), statement(1, 1, Kind::Vote, [2; 32])).unwrap()
}

#[test]
fn votes_at_their_bounds_are_taken_and_refused_above() {
    let with_nodes = |count: usize| Vote {
        descriptors: many_ids(count).into_iter().map(|id| (id, Arc::from([1u8; 2]))).collect(),
        ..a_vote()
    };
    let with_proofs = |count: usize| Vote { proofs: vec![a_proof(); count], ..a_vote() };
    for good in [
        Vote { placement: many_ids(NODES_MAX), ..a_vote() },
        with_nodes(NODES_MAX),
        with_proofs(PROOFS_MAX),
        Vote { descriptors: vec![(NodeId([1; 32]), vec![1; DESCRIPTOR_MAX].into())], ..a_vote() },
    ] {
        assert_eq!(Vote::decode(&good.encode()), Ok(good));
    }
    for (bad, what) in [
        (Vote { placement: many_ids(NODES_MAX + 1), ..a_vote() }, "placement"),
        (with_nodes(NODES_MAX + 1), "descriptors"),
        (with_proofs(PROOFS_MAX + 1), "proofs"),
        (Vote { descriptors: vec![(NodeId([1; 32]), vec![1; DESCRIPTOR_MAX + 1].into())], ..a_vote() }, "descriptor"),
    ] {
        assert_eq!(Vote::decode(&bad.encode()), Err(DecodeError::TooLong(what)));
    }
    assert_eq!(Vote::decode(&vec![1; VOTE_MAX + 1]), Err(DecodeError::TooLong("vote")));
}

#[test]
fn votes_that_are_not_in_order_are_refused() {
    let [one, two] = [NodeId([1; 32]), NodeId([2; 32])];
    let descriptors = |ids: [NodeId; 2]| ids.map(|id| (id, Arc::from([1u8; 2]))).to_vec();
    for bad in [
        Vote { placement: vec![two, one], ..a_vote() },
        Vote { placement: vec![one, one], ..a_vote() },
        Vote { descriptors: descriptors([two, one]), ..a_vote() },
        Vote { descriptors: descriptors([one, one]), ..a_vote() },
    ] {
        assert_eq!(Vote::decode(&bad.encode()), Err(DecodeError::Invalid("order of a vote")));
    }
    // No base is written as epoch 0 and zeros, and as nothing else.
    let base = Some(Base { epoch: Epoch(0), digest: [1; 32] });
    assert_eq!(Vote::decode(&Vote { base, ..a_vote() }.encode()), Err(DecodeError::Invalid("base of a vote")));
}

/// The largest descriptor that a node can make: what a vote must hold [`NODES_MAX`] of.
#[test]
fn the_largest_vote_that_an_authority_can_make_is_within_its_bound() {
    use veilpost_packet::{ids::LinkKey, sphinx::SphinxPublic};
    use veilpost_pki::{
        Descriptor, Role,
        descriptor::{ADDRESSES_MAX, SPHINX_KEYS_MAX, WORD_MAX},
    };
    let secret = key(1);
    let word = "w".repeat(WORD_MAX);
    let longest = "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff%4294967295]:65535";
    let descriptor = Descriptor {
        id: secret.node_id(),
        epoch: Epoch(1),
        role: Role::Mailbox,
        addresses: vec![longest.parse().unwrap(); ADDRESSES_MAX],
        onion: Some(word.clone()),
        link_key: LinkKey([1; 32]),
        sphinx_keys: vec![SphinxPublic([1; 32]); SPHINX_KEYS_MAX],
        software: word.clone(),
        family: word,
        capacity: 1,
        fill: 0,
        measured: Vec::new(),
    };
    let bytes: Arc<[u8]> = descriptor.sign(&secret).into();
    assert!(Descriptor::verify(&bytes).is_ok());
    // An address that is written at length reads as the same one.
    let at_length = bytes.len() + ADDRESSES_MAX * (WORD_MAX - longest.len());
    let node = 32 + 2 + at_length + 32;
    let rest = Vote { proofs: vec![a_proof(); PROOFS_MAX], ..a_vote() }.encode().len();
    assert!(NODES_MAX * node + rest <= VOTE_MAX, "{} bytes", NODES_MAX * node + rest);
    let relay = veilpost_pki::Relay {
        id: descriptor.id,
        addresses: descriptor.addresses.clone(),
        onion: descriptor.onion.clone(),
        link_key: descriptor.link_key,
        sphinx_key: descriptor.sphinx_keys[0],
        next_sphinx_key: descriptor.sphinx_keys[1],
        weight: 1,
        reliability: u8::MAX,
        family: descriptor.family.clone(),
    };
    // A document holds RELAYS_MAX of them, as many absent mixes and placed mailboxes twice.
    let one = View { entries: vec![relay.clone(); 2], ..view() }.encode().len();
    let two = View { entries: vec![relay; 3], ..view() }.encode().len();
    assert!(RELAYS_MAX * (two - one + 41 + 2 * 32) + 256 * 1024 <= DOCUMENT_MAX);
}

#[test]
fn messages_at_their_bounds_are_taken_and_refused_above() {
    let signed = statement(1, 1, Kind::Vote, [1; 32]);
    let relay = |count: usize| Message::Relay(signed, vec![signed.countersign(&key(2)); count]);
    let proofs = |count: usize| Message::Proofs(vec![a_proof(); count]);
    for good in [relay(AUTHORITIES_MAX), proofs(PROOFS_MAX), Message::Body(vec![1; MESSAGE_MAX - 1].into())] {
        assert!(Message::decode(&good.encode()) == Ok(good));
    }
    for (bad, what) in [
        (relay(AUTHORITIES_MAX + 1), "countersignatures"),
        (proofs(PROOFS_MAX + 1), "proofs"),
        (Message::Body(vec![1; MESSAGE_MAX].into()), "message"),
    ] {
        assert_eq!(Message::decode(&bad.encode()), Err(DecodeError::TooLong(what)));
    }
    // A vote of any size fits with its statement.
    assert!(VOTE_MAX + Message::Statement(signed, Arc::from([])).encode().len() <= MESSAGE_MAX);
    for unknown in [0, 11, 255] {
        assert_eq!(Message::decode(&[unknown, 0, 0]), Err(DecodeError::Invalid("kind of message")));
    }
    for unknown in [0, 8, 255] {
        assert_eq!(Message::decode(&[8, unknown]), Err(DecodeError::Invalid("answer to a descriptor")));
    }
    assert_eq!(Message::decode(&[8, 1]), Ok(Message::Answer(DescriptorAnswer::Taken)));
    assert_eq!(Message::decode(&[]), Err(DecodeError::Truncated));
}

#[test]
fn statements_that_their_author_did_not_sign_are_refused() {
    let bytes = written(|writer| statement(1, 7, Kind::Reveal, [2; 32]).write(writer));
    for at in 0..bytes.len() {
        let mut bad = bytes.clone();
        bad[at] ^= 1;
        assert!(whole(SignedStatement::read)(&bad).is_err(), "byte {at}");
    }
}

#[test]
fn a_proof_has_one_order_and_holds_a_contradiction() {
    let [one, two] = [[1; 32], [2; 32]].map(|digest| statement(1, 1, Kind::Vote, digest));
    assert_eq!(EquivocationProof::new(one, two), EquivocationProof::new(two, one));
    let pair = |first: SignedStatement, second: SignedStatement| {
        whole(EquivocationProof::read)(&written(|writer| {
            first.write(writer);
            second.write(writer);
        }))
    };
    assert!(pair(one, two).is_ok());
    let others = [
        statement(2, 1, Kind::Vote, [2; 32]),
        statement(1, 2, Kind::Vote, [2; 32]),
        statement(1, 1, Kind::Reveal, [2; 32]),
    ];
    for (first, second) in [(two, one), (one, one)].into_iter().chain(others.map(|other| (one, other))) {
        assert_eq!(pair(first, second), Err(DecodeError::Invalid("proof of equivocation")));
    }
}

#[test]
fn hand_overs_at_their_bounds_are_taken_and_refused_above() {
    let bytes = |keys: usize, faulty: u8, signatures: usize| {
        let mut all: Vec<_> = (0..keys.max(signatures)).map(|n| key(n as u8).authority_id()).collect();
        all.sort();
        written(|writer| {
            writer.u64(9).u8(faulty).u8(keys as u8);
            for key in &all[..keys] {
                writer.put(key.as_bytes());
            }
            writer.u8(signatures as u8);
            for key in &all[..signatures] {
                writer.put(key.as_bytes()).put(&[1; 64]);
            }
        })
    };
    let read = whole(Handover::read);
    assert!(read(&bytes(AUTHORITIES_MAX, 10, AUTHORITIES_MAX)).is_ok());
    let wrong = Err(DecodeError::Invalid("authorities of a hand-over"));
    assert_eq!(read(&bytes(AUTHORITIES_MAX + 1, 0, 0)), wrong);
    assert_eq!(
        (read(&bytes(0, 0, 0)), read(&bytes(32, 11, 0)), read(&bytes(3, 1, 0))),
        (wrong.clone(), wrong.clone(), wrong)
    );
    assert_eq!(read(&bytes(1, 0, AUTHORITIES_MAX + 1)), Err(DecodeError::TooLong("signatures")));
}

#[test]
fn the_memory_of_a_view_at_its_bounds_is_taken_and_refused_above() {
    let authors =
        |count: usize| -> Vec<AuthorityId> { many_ids(count).into_iter().map(|id| AuthorityId(id.0)).collect() };
    let absent = |count: usize| -> Vec<Absent> {
        many_ids(count).into_iter().map(|id| Absent { id, layer: 3, until: Epoch(1), reliability: u8::MAX }).collect()
    };
    let with = |memory: Memory| View { memory, ..view() };
    let withheld =
        |count| Memory { withheld: authors(count).into_iter().map(|id| (id, Epoch(4))).collect(), ..Memory::default() };
    for good in [
        withheld(AUTHORITIES_MAX),
        Memory { equivocators: authors(AUTHORITIES_MAX), ..Memory::default() },
        Memory { absent: absent(RELAYS_MAX), ..Memory::default() },
    ] {
        assert_eq!(View::decode(&with(good.clone()).encode()), Ok(with(good)));
    }
    let layer = |layer| Memory {
        absent: vec![Absent { id: NodeId([1; 32]), layer, until: Epoch(1), reliability: u8::MAX }],
        ..Memory::default()
    };
    let reversed = |mut ids: Vec<AuthorityId>| {
        ids.reverse();
        ids
    };
    for (bad, error) in [
        (withheld(AUTHORITIES_MAX + 1), DecodeError::TooLong("authorities")),
        (
            Memory { equivocators: authors(AUTHORITIES_MAX + 1), ..Memory::default() },
            DecodeError::TooLong("authorities"),
        ),
        (Memory { absent: absent(RELAYS_MAX + 1), ..Memory::default() }, DecodeError::TooLong("absent mixes")),
        (layer(0), DecodeError::Invalid("layer of an absent mix")),
        (layer(4), DecodeError::Invalid("layer of an absent mix")),
        (
            Memory { equivocators: reversed(authors(2)), ..Memory::default() },
            DecodeError::Invalid("order of the memory"),
        ),
    ] {
        assert_eq!(View::decode(&with(bad).encode()), Err(error));
    }
}

#[test]
fn every_parameter_comes_back_from_its_value() {
    let standard = Params::standard();
    let values = standard.values();
    assert_eq!(Params::from_values(&values), Ok(standard.clone()));
    assert_eq!(values.len(), 25);
    assert_eq!(values.iter().map(|(name, _)| name).collect::<BTreeSet<_>>().len(), values.len(), "every name once");
    for at in 0..values.len() {
        let mut other = values.clone();
        let name = other[at].0;
        // A value beside the standard one, where the range has one; districts has none.
        let beside = [other[at].1 + 1, other[at].1.saturating_sub(1)].into_iter().find_map(|value| {
            other[at].1 = value;
            Params::from_values(&other).ok()
        });
        match beside {
            Some(params) => {
                assert_eq!(params.values(), other, "{name} alone");
                assert_ne!(params, standard, "{name}");
            }
            None => assert!(["districts", "durable_copies"].contains(&name), "{name}"),
        }
        other[at].1 = u64::MAX;
        assert_eq!(Params::from_values(&other), Err(DecodeError::Invalid(name)));
    }
    assert_eq!(Params::from_values(&values[..values.len() - 1]), Err(DecodeError::Truncated));
    let longer: Vec<_> = values.iter().copied().chain([("more", 1)]).collect();
    assert_eq!(Params::from_values(&longer), Err(DecodeError::Trailing));
}
