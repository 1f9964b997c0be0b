//! Descriptors, documents and their signatures: what is believed and what is not.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

mod common;

use common::{NAME, NOW, authorities, document, ids, relay, set, view};
use proptest::prelude::*;
use std::time::Duration;
use veilpost_packet::{
    codec::DecodeError,
    geometry::{DESCRIPTOR_MAX, DOCUMENT_MAX, SIGNATURE},
    ids::{LinkKey, NodeId},
    primitives::SigningSecret,
    sphinx::SphinxPublic,
    time::Epoch,
};
use veilpost_pki::{
    AuthoritySet, Descriptor, Document, DocumentError, Role, UnverifiedDocument, View,
    descriptor::SPHINX_KEYS_MAX,
    document::{Place, Placement},
    signed::{AUTHORITIES_MAX, AuthoritySetError, sign_view},
};

fn node() -> SigningSecret {
    SigningSecret::from_seed(&[4; 32])
}

fn descriptor() -> Descriptor {
    Descriptor {
        id: node().node_id(),
        epoch: Epoch(9),
        role: Role::Entry,
        addresses: vec!["127.0.0.1:1".parse().unwrap(), "[::1]:65535".parse().unwrap()],
        onion: None,
        link_key: LinkKey([6; 32]),
        sphinx_keys: vec![SphinxPublic([7; 32]); SPHINX_KEYS_MAX],
        software: "veilpost 0.1.0".into(),
        family: "família".into(),
        capacity: 2_000,
        fill: 0,
        measured: Vec::new(),
    }
}

#[test]
fn a_descriptor_comes_back_and_fits() {
    for role in [Role::Mix, Role::Entry, Role::Mailbox] {
        for onion in [None, Some("x".repeat(80))] {
            let descriptor = Descriptor { role, onion, family: "f".repeat(80), ..descriptor() };
            let bytes = descriptor.sign(&node());
            assert!(bytes.len() <= DESCRIPTOR_MAX);
            assert_eq!(Descriptor::verify(&bytes), Ok(descriptor));
        }
    }
}

#[test]
fn a_descriptor_that_its_node_did_not_sign_is_refused() {
    let bytes = descriptor().sign(&SigningSecret::from_seed(&[5; 32]));
    assert_eq!(Descriptor::verify(&bytes), Err(DecodeError::Invalid("descriptor signature")));
    let bytes = descriptor().sign(&node());
    for at in 0..bytes.len() {
        let mut bad = bytes.clone();
        bad[at] ^= 1;
        assert!(Descriptor::verify(&bad).is_err(), "byte {at}");
    }
}

#[test]
fn mailboxes_alone_report_a_fill_and_no_more_than_all() {
    let with = |role, fill| Descriptor::verify(&Descriptor { role, fill, ..descriptor() }.sign(&node()));
    assert_eq!(with(Role::Mailbox, 100).unwrap().fill, 100);
    assert_eq!(with(Role::Mailbox, 101), Err(DecodeError::Invalid("fill")));
    for role in [Role::Mix, Role::Entry] {
        assert!(with(role, 0).is_ok());
        assert_eq!(with(role, 1), Err(DecodeError::Invalid("fill")));
    }
}

#[test]
fn descriptors_with_fields_above_their_bounds_are_refused() {
    let refused = |descriptor: Descriptor| Descriptor::verify(&descriptor.sign(&node()));
    let keys = |count| vec![SphinxPublic([7; 32]); count];
    assert_eq!(
        refused(Descriptor { sphinx_keys: keys(SPHINX_KEYS_MAX + 1), ..descriptor() }),
        Err(DecodeError::TooLong("Sphinx keys"))
    );
    assert!(refused(Descriptor { sphinx_keys: keys(1), ..descriptor() }).is_ok());
    assert!(refused(Descriptor { sphinx_keys: keys(0), ..descriptor() }).is_err());
    assert_eq!(refused(Descriptor { family: "f".repeat(81), ..descriptor() }), Err(DecodeError::TooLong("family")));
    assert_eq!(Descriptor::verify(&[1; DESCRIPTOR_MAX + 1]), Err(DecodeError::TooLong("descriptor")));
    assert_eq!(Descriptor::verify(&[1; SIGNATURE - 1]), Err(DecodeError::Truncated));
}

fn verify(bytes: &[u8]) -> Result<Document, DocumentError> {
    UnverifiedDocument::from_bytes(bytes)?.verify(&set(), NOW)
}

#[test]
fn a_document_comes_back_as_it_was_signed() {
    let bytes = sign_view(&view(), &authorities(4));
    let document = verify(&bytes).unwrap();
    assert_eq!(document.view(), &view());
    assert_eq!(&document.bytes()[..], bytes);
    assert_eq!(document.relay(&NodeId([3; 32])).unwrap(), (Place::Mix(2), &relay(3, 1)));
    assert_eq!(document.relay_by_link(&LinkKey([107; 32])).unwrap().0, Place::Entry);
    assert!(document.relay(&NodeId([99; 32])).is_none() && document.relay_by_link(&LinkKey([99; 32])).is_none());
}

#[test]
fn a_documents_name_is_of_what_was_signed_and_not_of_who_signed() {
    let three = verify(&sign_view(&view(), &authorities(4)[1..])).unwrap();
    assert_eq!(three.hash(), document().hash());
    let other = verify(&sign_view(&View { epoch: Epoch(10), ..view() }, &authorities(4))).unwrap();
    assert_ne!(other.hash(), document().hash());
}

#[test]
fn a_document_needs_as_many_known_authorities_as_the_threshold() {
    assert!(verify(&sign_view(&view(), &authorities(3))).is_ok());
    let few = verify(&sign_view(&view(), &authorities(2))).unwrap_err();
    assert_eq!(few, DocumentError::TooFewSignatures { found: 2, needed: 3 });
    let strangers = [SigningSecret::from_seed(&[1; 32]), SigningSecret::from_seed(&[2; 32])];
    let with_strangers: Vec<_> = authorities(2).into_iter().chain(strangers).collect();
    let few = verify(&sign_view(&view(), &with_strangers)).unwrap_err();
    assert_eq!(few, DocumentError::TooFewSignatures { found: 2, needed: 3 }, "strangers do not count");
    let none = verify(&sign_view(&view(), &[])).unwrap_err();
    assert_eq!(none, DocumentError::TooFewSignatures { found: 0, needed: 3 });
}

#[test]
fn an_authority_counts_once() {
    // Behind the signed part: the number of signatures, each with its authority's key, and the number of hand-overs.
    const ONE: usize = 32 + SIGNATURE;
    let bytes = sign_view(&view(), &authorities(2));
    let (signed, signatures) = bytes.split_at(bytes.len() - 2 * ONE - 2);
    let (one, other) = signatures[1..=2 * ONE].split_at(ONE);
    for wrong in [[one, other, other].concat(), [one, one].concat(), [other, one].concat()] {
        let count = (wrong.len() / ONE) as u8;
        let bytes = [signed, &[count], &wrong, &[0]].concat();
        assert!(matches!(verify(&bytes), Err(DocumentError::Malformed(DecodeError::Invalid(_)))), "{count}");
    }
    let many: Vec<_> = (0..=AUTHORITIES_MAX as u8).map(|n| SigningSecret::from_seed(&[n; 32])).collect();
    let refused = verify(&sign_view(&view(), &many)).unwrap_err();
    assert_eq!(refused, DocumentError::Malformed(DecodeError::TooLong("signatures")));
}

#[test]
fn a_wrong_signature_of_a_known_authority_does_not_count() {
    let mut bytes = sign_view(&view(), &authorities(3));
    let last = bytes.len() - 1;
    bytes[last - 40] ^= 1;
    assert_eq!(verify(&bytes).unwrap_err(), DocumentError::TooFewSignatures { found: 2, needed: 3 });
}

#[test]
fn another_networks_document_is_refused() {
    let other = AuthoritySet::new("another name", &ids(&authorities(4)), 1).unwrap();
    let bytes = sign_view(&View { network: other.network(), ..view() }, &authorities(4));
    assert_eq!(verify(&bytes).unwrap_err(), DocumentError::OtherNetwork);
    let fewer = AuthoritySet::new(NAME, &ids(&authorities(3)), 0).unwrap();
    assert_ne!(fewer.network(), set().network(), "the authorities are part of the network's id");
}

#[test]
fn a_document_is_valid_from_its_first_moment_until_just_before_its_last() {
    let at = |now| UnverifiedDocument::from_bytes(&sign_view(&view(), &authorities(4))).unwrap().verify(&set(), now);
    let (first, end, tiny) = (view().valid_after, view().valid_until, Duration::from_nanos(1));
    assert_eq!(at(first - tiny).unwrap_err(), DocumentError::NotYetValid);
    assert!(at(first).is_ok() && at(end - tiny).is_ok());
    assert_eq!(at(end).unwrap_err(), DocumentError::Expired);
}

#[test]
fn an_early_document_is_taken_an_epoch_ahead_by_who_asks_for_it() {
    let bytes = sign_view(&view(), &authorities(4));
    let at = |now| UnverifiedDocument::from_bytes(&bytes).unwrap().verify_early(&set(), now);
    let (first, epoch, tiny) = (view().valid_after, view().params.epoch, Duration::from_nanos(1));
    assert!(at(first - epoch).is_ok() && at(first).is_ok());
    assert_eq!(at(first - epoch - tiny).unwrap_err(), DocumentError::NotYetValid);
    assert_eq!(at(view().valid_until).unwrap_err(), DocumentError::Expired);
}

#[test]
fn any_changed_byte_leaves_too_few_signatures_or_no_document() {
    let bytes = sign_view(&view(), &authorities(3));
    for at in (0..bytes.len()).step_by(7) {
        let mut bad = bytes.clone();
        bad[at] ^= 0x10;
        assert!(verify(&bad).is_err(), "byte {at}");
    }
    assert!(verify(&bytes[..bytes.len() - 1]).is_err());
    assert_eq!(verify(&[&bytes[..], &[0]].concat()).unwrap_err(), DocumentError::Malformed(DecodeError::Trailing));
    let long = vec![0; DOCUMENT_MAX + 1];
    assert_eq!(verify(&long).unwrap_err(), DocumentError::Malformed(DecodeError::TooLong("document")));
}

#[test]
fn views_of_a_wrong_shape_are_refused() {
    type Change = fn(&mut View);
    let changes: [(&str, Change); 13] = [
        ("an id twice", |view| view.entries[0].id = view.layers[0][0].id),
        ("a link key twice", |view| view.mailboxes[0].link_key = view.layers[2][0].link_key),
        ("an empty layer", |view| view.layers[1].clear()),
        ("two layers", |view| drop(view.layers.pop())),
        ("four layers", |view| view.layers.push(vec![relay(20, 1)])),
        ("no entry", |view| view.entries.clear()),
        ("no mailbox", |view| view.mailboxes.clear()),
        ("no placement", |view| view.placements.clear()),
        ("an empty placement", |view| view.placements[0].mailboxes.clear()),
        ("a placement on strangers alone", |view| view.placements[0].mailboxes = vec![NodeId([50; 32])]),
        ("a placement out of order", |view| view.placements[0].mailboxes.reverse()),
        ("three placements", |view| view.placements = vec![view.placements[0].clone(); 3]),
        ("no time to be valid", |view| view.valid_until = view.valid_after),
    ];
    for (what, change) in changes {
        let mut bad = view();
        change(&mut bad);
        assert!(View::decode(&bad.encode()).is_err(), "{what}");
        assert!(matches!(verify(&sign_view(&bad, &authorities(4))), Err(DocumentError::Malformed(_))), "{what}");
    }
    // Behind version, network, epoch and the first time.
    let mut beyond_time = view().encode();
    beyond_time[4 + 32 + 8 + 8] = 0xff;
    assert_eq!(View::decode(&beyond_time), Err(DecodeError::Invalid("time")));
    let mut one_is_down = view();
    one_is_down.placements[0].mailboxes.push(NodeId([50; 32]));
    assert_eq!(View::decode(&one_is_down.encode()).unwrap(), one_is_down);
    let mut announced = view();
    announced.placements.push(Placement { from: Epoch(40), mailboxes: vec![NodeId([9; 32])] });
    assert_eq!(View::decode(&announced.encode()).unwrap(), announced);
}

#[test]
fn two_documents_of_a_threshold_share_an_honest_signer_and_the_honest_alone_reach_it() {
    let many = authorities(13);
    for n in 1..=13usize {
        for faulty in 0..=n {
            let made = AuthoritySet::new(NAME, &ids(&many[..n]), faulty);
            if faulty > 0 && 3 * faulty >= n {
                assert_eq!(made.unwrap_err(), AuthoritySetError::Faulty);
                continue;
            }
            let q = made.unwrap().threshold();
            assert_eq!(q, (n + faulty) / 2 + 1);
            assert!(2 * q > n + faulty, "two quorums of {n} share more than the {faulty} hostile ones");
            assert!(faulty == 0 || q <= n - faulty, "{n} authorities without {faulty} can sign");
            assert!(q <= n);
        }
    }
    let q = |n, f| AuthoritySet::new(NAME, &ids(&many[..n]), f).unwrap().threshold();
    assert_eq!((q(4, 1), q(3, 0), q(7, 2), q(1, 0)), (3, 2, 5, 1));
}

#[test]
fn sets_of_no_of_repeated_and_of_too_many_authorities_are_refused() {
    let one = authorities(1);
    assert_eq!(AuthoritySet::new(NAME, &[], 0), Err(AuthoritySetError::Count));
    assert_eq!(AuthoritySet::new(NAME, &[ids(&one), ids(&one)].concat(), 0), Err(AuthoritySetError::Count));
    let many: Vec<_> = (0..=AUTHORITIES_MAX as u8).map(|n| SigningSecret::from_seed(&[n; 32])).collect();
    assert!(AuthoritySet::new(NAME, &ids(&many[1..]), 0).is_ok());
    assert_eq!(AuthoritySet::new(NAME, &ids(&many), 0), Err(AuthoritySetError::Count));
    for absurd in [usize::MAX, usize::MAX / 3 + 1, usize::MAX / 3 * 2] {
        assert_eq!(AuthoritySet::new(NAME, &ids(&authorities(4)), absurd), Err(AuthoritySetError::Faulty));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn perturbed_views_are_refused_or_read_as_they_stand(flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5)) {
        let mut bytes = view().encode();
        for (at, value) in flips {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Ok(view) = View::decode(&bytes) {
            prop_assert_eq!(View::decode(&view.encode()).unwrap(), view);
        }
    }
}
