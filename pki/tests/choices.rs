//! Routes, weights and placement, and the file that a person starts from.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

mod common;

use common::{authorities, document, ids, relay, view};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use veilpost_packet::{
    ids::{AuthorityId, BoxId, LinkKey, NodeId},
    random::seeded,
    sphinx::{Hop, SphinxPublic},
};
use veilpost_pki::{
    NetworkFile, Schedule,
    network::{BootstrapEntry, NetworkAuthority, NetworkFileError, TorAuthority, TorFallback, TorNetwork},
    topology::{delays, forward_route, holders, reply_route, weighted},
};

const ENTRY: NodeId = NodeId([7; 32]);
const MAILBOX: NodeId = NodeId([9; 32]);

#[test]
fn a_route_has_one_mix_of_each_layer_in_order() {
    let (mut rng, document) = (seeded([1; 32]), document());
    let session = Hop { address: [77; 32], key: SphinxPublic([78; 32]) };
    let layers: Vec<BTreeSet<_>> =
        document.layers.iter().map(|layer| layer.iter().map(|relay| relay.id.0).collect()).collect();
    for _ in 0..200 {
        let [entry, first, second, third, mailbox] = forward_route(&mut rng, &document, &[], &ENTRY, &MAILBOX).unwrap();
        assert_eq!((entry.address, mailbox.address), (ENTRY.0, MAILBOX.0));
        let mixes = [first, second, third];
        assert!(mixes.iter().zip(&layers).all(|(mix, layer)| layer.contains(&mix.address)));
        let [first, second, third, entry, last] = reply_route(&mut rng, &document, &[], &ENTRY, session).unwrap();
        assert_eq!((entry.address, last), (ENTRY.0, session));
        let mixes = [first, second, third];
        assert!(mixes.iter().zip(&layers).all(|(mix, layer)| layer.contains(&mix.address)));
        assert!(mixes.iter().all(|mix| mix.address != [6; 32]), "a mix of weight 0 is not chosen");
    }
}

#[test]
fn a_route_over_a_node_that_is_not_in_the_document_does_not_exist() {
    let (mut rng, stranger) = (seeded([1; 32]), NodeId([99; 32]));
    assert!(forward_route(&mut rng, &document(), &[], &stranger, &MAILBOX).is_none());
    assert!(forward_route(&mut rng, &document(), &[], &ENTRY, &stranger).is_none());
    let session = Hop { address: [77; 32], key: SphinxPublic([78; 32]) };
    assert!(reply_route(&mut rng, &document(), &[], &stranger, session).is_none());
}

#[test]
fn relays_are_drawn_in_proportion_to_their_weights() {
    let relays = [relay(1, 1), relay(2, 0), relay(3, 3), relay(4, u32::MAX), relay(5, u32::MAX)];
    let mut rng = seeded([2; 32]);
    let draws = 8_000;
    let mut count = |relays: &[veilpost_pki::Relay]| {
        let mut counts: BTreeMap<u8, u32> = BTreeMap::new();
        (0..draws).for_each(|_| *counts.entry(weighted(&mut rng, relays).unwrap().id.0[0]).or_default() += 1);
        counts
    };
    let counts = count(&relays[..3]);
    assert_eq!(counts.keys().copied().collect::<Vec<_>>(), [1, 3]);
    let share = f64::from(counts[&1]) / f64::from(draws);
    assert!((share - 0.25).abs() < 0.02, "{share} for a weight of 1 in 4");
    let counts = count(&relays[3..]);
    assert!((f64::from(counts[&4]) / f64::from(draws) - 0.5).abs() < 0.03, "sums above 32 bits");
    assert!(weighted(&mut rng, &relays[1..2]).is_none() && weighted(&mut rng, &[]).is_none());
}

#[test]
fn delays_have_the_documents_mean_and_are_drawn_one_by_one() {
    let (mut rng, view) = (seeded([3; 32]), view());
    let all: Vec<Duration> = (0..3_000).flat_map(|_| delays(&mut rng, &view)).collect();
    let mean = all.iter().sum::<Duration>().as_secs_f64() / all.len() as f64;
    assert!((mean / view.params.hop_delay.as_secs_f64() - 1.0).abs() < 0.04, "{mean}");
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
}

fn a_box(n: u16) -> BoxId {
    let mut id = [3; 32];
    id[..2].copy_from_slice(&n.to_be_bytes());
    BoxId(id)
}

#[test]
fn holders_are_the_same_for_everyone_and_spread_over_the_mailboxes() {
    let view = view();
    let mut firsts: BTreeMap<NodeId, u32> = BTreeMap::new();
    for n in 0..3_000 {
        let order = holders(&view, &a_box(n));
        assert_eq!(order, holders(&view, &a_box(n)));
        assert_eq!(order.iter().collect::<BTreeSet<_>>().len(), 3, "every mailbox once");
        *firsts.entry(order[0]).or_default() += 1;
    }
    assert_eq!(firsts.len(), 3);
    assert!(firsts.values().all(|count| (850..1_150).contains(count)), "{firsts:?}");
}

#[test]
fn a_mailbox_that_leaves_moves_only_its_own_boxes() {
    let (before, mut after) = (view(), view());
    after.placements[0].mailboxes.retain(|id| *id != MAILBOX);
    for n in 0..500 {
        let mut expected = holders(&before, &a_box(n));
        expected.retain(|id| *id != MAILBOX);
        assert_eq!(holders(&after, &a_box(n)), expected);
    }
}

const SCHEDULE: Schedule = Schedule { genesis: 1_000_000, epoch_ms: 3_600_000, phase_ms: 225_000 };

fn listed(count: u8) -> Vec<NetworkAuthority> {
    let listed = |(n, id): (usize, AuthorityId)| NetworkAuthority {
        id,
        link_key: LinkKey(id.0),
        address: ([127, 0, 0, 1], 4_400 + n as u16).into(),
    };
    ids(&authorities(count)).into_iter().enumerate().map(listed).collect()
}

fn file() -> NetworkFile {
    let address = "127.0.0.1:4000".parse().unwrap();
    let entry = BootstrapEntry { id: ENTRY, address, link_key: LinkKey([8; 32]), onion: Some("name.onion".into()) };
    let tor = TorNetwork {
        loopback_only: true,
        authorities: vec![TorAuthority { v3ident: "AB".repeat(20), address }],
        fallbacks: vec![TorFallback { rsa: "CD".repeat(20), ed25519: "base64".into(), address }],
    };
    NetworkFile {
        name: "a network".into(),
        faulty: 1,
        schedule: SCHEDULE,
        authorities: listed(4),
        later: Vec::new(),
        entries: vec![entry],
        tor: Some(tor),
    }
}

#[test]
fn a_network_s_own_tor_stays_on_this_computer_unless_its_file_says_otherwise() {
    let text = |tor: &str| format!("{}\n{tor}", NetworkFile { tor: None, ..file() }.to_text());
    let tor = |table: &str| NetworkFile::parse(&text(table)).unwrap().tor;
    assert_eq!(tor(""), None);
    assert_eq!(tor("[tor]"), Some(TorNetwork::NONE));
    assert!(!tor("[tor]\nloopback_only = false").unwrap().loopback_only);
}

#[test]
fn a_network_file_comes_back_from_its_text() {
    assert_eq!(NetworkFile::parse(&file().to_text()).unwrap(), file());
    assert_eq!(file().authority_set().unwrap().threshold(), 3);
    let without = NetworkFile { entries: vec![], ..file() };
    assert_eq!(NetworkFile::parse(&without.to_text()).unwrap(), without);
}

#[test]
fn unknown_keys_of_a_network_file_are_refused_and_named() {
    let text = file().to_text();
    for text in [format!("thresold = 1\n{text}"), format!("{text}\nweight = 3\n")] {
        let error = NetworkFile::parse(&text).unwrap_err().to_string();
        assert!(error.contains("unknown field"), "{error}");
    }
}

#[test]
fn network_files_that_cannot_form_a_network_are_refused() {
    let parse = |file: NetworkFile| NetworkFile::parse(&file.to_text());
    for name in [String::new(), "n".repeat(65)] {
        assert!(matches!(parse(NetworkFile { name, ..file() }), Err(NetworkFileError::Name)));
    }
    assert!(parse(NetworkFile { name: "n".repeat(64), ..file() }).is_ok());
    for faulty in [2, usize::MAX >> 1, 0x5555_5555_5555_5556] {
        assert!(matches!(parse(NetworkFile { faulty, ..file() }), Err(NetworkFileError::Authorities(_))), "{faulty}");
    }
    assert!(matches!(parse(NetworkFile { authorities: vec![], ..file() }), Err(NetworkFileError::Authorities(_))));
    for text in ["", "name = 3", "name = \"x\"", "[[entry]]\nid = \"00\""] {
        assert!(matches!(NetworkFile::parse(text), Err(NetworkFileError::Syntax(_))), "{text}");
    }
}
