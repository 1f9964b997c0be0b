//! Which layer a mix works in, and who is left out.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

mod common;

use common::view;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};
use veilpost_packet::{
    ids::{LinkKey, NodeId},
    primitives::{hash, label},
    sphinx::SphinxPublic,
    time::Epoch,
};
use veilpost_pki::{
    Descriptor, Relay, Role, View,
    document::Memory,
    layers::{ABSENCE_MAX, Layout},
};

type Nodes = BTreeMap<NodeId, Descriptor>;

fn node(n: u16, role: Role) -> Descriptor {
    let [high, low] = n.to_be_bytes();
    let id = NodeId(std::array::from_fn(|at| [high, low, 1][at.min(2)]));
    Descriptor {
        id,
        epoch: Epoch(9),
        role,
        addresses: vec![SocketAddr::from(([127, 0, high, low], 4_000))],
        onion: None,
        link_key: LinkKey(id.0),
        sphinx_keys: vec![SphinxPublic([1; 32]); 2],
        software: String::new(),
        family: String::new(),
        capacity: 1_000,
        fill: 0,
        measured: Vec::new(),
    }
}

fn mix(n: u16) -> Descriptor {
    node(n, Role::Mix)
}

fn of_family(node: Descriptor, family: &str) -> Descriptor {
    Descriptor { family: family.into(), ..node }
}

fn at(node: Descriptor, address: &str) -> Descriptor {
    Descriptor { addresses: vec![address.parse().unwrap()], ..node }
}

fn all(nodes: impl IntoIterator<Item = Descriptor>) -> Nodes {
    nodes.into_iter().map(|node| (node.id, node)).collect()
}

fn random(n: u64) -> [u8; 32] {
    hash(label::REVEAL, &[&n.to_be_bytes()])
}

/// The document in which these nodes have these places.
fn listed(nodes: &Nodes, layout: &Layout, epoch: u64) -> View {
    let relay = |id: &NodeId| {
        let node = &nodes[id];
        Relay {
            id: node.id,
            addresses: node.addresses.clone(),
            onion: None,
            link_key: node.link_key,
            sphinx_key: node.sphinx_keys[0],
            next_sphinx_key: node.sphinx_keys[1],
            weight: 1,
            reliability: u8::MAX,
            family: node.family.clone(),
        }
    };
    let of = |role| nodes.values().filter(move |node| node.role == role && !layout.left_out.contains(&node.id));
    View {
        epoch: Epoch(epoch),
        layers: layout.layers.iter().map(|layer| layer.iter().map(relay).collect()).collect(),
        entries: of(Role::Entry).map(|node| relay(&node.id)).collect(),
        mailboxes: of(Role::Mailbox).map(|node| relay(&node.id)).collect(),
        memory: Memory { absent: layout.absent.clone(), ..Memory::default() },
        ..view()
    }
}

/// Layers from 1, of mixes that have one.
fn layer_of(layout: &Layout, id: &NodeId) -> Option<usize> {
    layout.layers.iter().position(|layer| layer.contains(id)).map(|at| at + 1)
}

fn sizes(layout: &Layout) -> [usize; 3] {
    layout.layers.each_ref().map(BTreeSet::len)
}

#[test]
fn a_mix_keeps_its_layer_while_it_is_away_and_loses_it_after_the_bound() {
    let everyone = all((0..9).map(mix));
    let first = Layout::new(&everyone, None, Epoch(1), &random(1));
    let gone = mix(4).id;
    let layer = layer_of(&first, &gone).unwrap();
    let mut others = everyone.clone();
    others.remove(&gone);
    let mut base = listed(&everyone, &first, 1);
    for epoch in 2..=ABSENCE_MAX + 1 {
        let layout = Layout::new(&others, Some(&base), Epoch(epoch), &random(epoch));
        assert_eq!(layer_of(&layout, &gone), None);
        let [absent] = layout.absent[..] else { panic!("epoch {epoch}: {:?}", layout.absent) };
        assert_eq!((absent.id, usize::from(absent.layer), absent.until), (gone, layer, Epoch(2 + ABSENCE_MAX)));
        base = listed(&others, &layout, epoch);
    }
    let last = Layout::new(&everyone, Some(&base), Epoch(ABSENCE_MAX + 1), &random(7));
    assert_eq!(layer_of(&last, &gone), Some(layer), "just in time");
    assert!(last.absent.is_empty());
    let forgotten = Layout::new(&others, Some(&base), Epoch(ABSENCE_MAX + 2), &random(8));
    assert!(forgotten.absent.is_empty());
    // Drawn anew: another value gives another layer sooner or later.
    let drawn: BTreeSet<_> = (0..40)
        .map(|n| layer_of(&Layout::new(&everyone, Some(&base), Epoch(ABSENCE_MAX + 2), &random(n)), &gone).unwrap())
        .collect();
    assert!(drawn.len() > 1, "{drawn:?}");
}

#[test]
fn layers_that_were_drawn_are_kept_whatever_the_random_value_becomes() {
    let everyone = all((0..30).map(mix));
    let mut layout = Layout::new(&everyone, None, Epoch(1), &random(1));
    let first = layout.layers.clone();
    for epoch in 2..20 {
        let base = listed(&everyone, &layout, epoch - 1);
        layout = Layout::new(&everyone, Some(&base), Epoch(epoch), &random(epoch));
        assert_eq!(layout.layers, first);
    }
}

#[test]
fn a_family_shares_a_layer_and_so_do_neighbours() {
    let pairs: [(&str, Descriptor, Descriptor); 4] = [
        ("family", of_family(mix(1), "f"), of_family(mix(2), "f")),
        ("/24", at(mix(1), "198.51.100.1:1"), at(mix(2), "198.51.100.250:9")),
        ("/48", at(mix(1), "[2001:db8:7:1::1]:1"), at(mix(2), "[2001:db8:7:ffff::9]:1")),
        ("an IPv4 address written as IPv6", at(mix(1), "198.51.100.1:1"), at(mix(2), "[::ffff:198.51.100.2]:1")),
    ];
    for (what, one, other) in pairs {
        for n in 0..20 {
            let (a, b) = (one.id, other.id);
            let nodes = all((10..20).map(mix).chain([one.clone(), other.clone()]));
            let layout = Layout::new(&nodes, None, Epoch(1), &random(n));
            assert_eq!(layer_of(&layout, &a), layer_of(&layout, &b), "{what}");
            assert!(layer_of(&layout, &a).is_some());
        }
    }
}

#[test]
fn who_shares_something_with_two_others_binds_all_three() {
    let bridge = Descriptor {
        addresses: ["198.51.100.1:1", "[2001:db8::1]:1"].map(|it| it.parse().unwrap()).to_vec(),
        ..of_family(mix(2), "f")
    };
    let far = [of_family(mix(1), "f"), at(mix(3), "198.51.100.9:1"), at(mix(4), "[2001:db8:0:9::1]:1")];
    let nodes = all(far.into_iter().chain([bridge]).chain((10..20).map(mix)));
    let layout = Layout::new(&nodes, None, Epoch(1), &random(3));
    let layers: BTreeSet<_> = (1..=4).map(|n| layer_of(&layout, &mix(n).id).unwrap()).collect();
    assert_eq!(layers.len(), 1);
}

#[test]
fn addresses_that_reach_nobody_outside_say_nothing() {
    for (one, other) in [
        ("127.0.0.1:1", "127.0.0.2:1"),
        ("10.0.0.1:1", "10.0.0.2:1"),
        ("192.168.1.1:1", "192.168.1.2:1"),
        ("169.254.1.1:1", "169.254.1.2:1"),
        ("[::1]:1", "[::1]:2"),
        ("[fd00::1]:1", "[fd00::2]:1"),
        ("[fe80::1]:1", "[fe80::2]:1"),
        ("198.51.100.1:1", "198.51.101.1:1"),
        ("[2001:db8:7::1]:1", "[2001:db8:8::1]:1"),
    ] {
        let nodes = all([at(mix(1), one), at(mix(2), other), mix(3)]);
        let apart = (0..20).all(|n| sizes(&Layout::new(&nodes, None, Epoch(1), &random(n))) == [1, 1, 1]);
        assert!(apart, "{one} {other}");
    }
}

#[test]
fn an_operators_newcomer_in_another_role_is_left_out() {
    for (there, new) in [(Role::Mix, Role::Entry), (Role::Entry, Role::Mix), (Role::Mailbox, Role::Entry)] {
        let old = all((10..20).map(mix).chain([of_family(node(5, there), "f")]));
        let base = listed(&old, &Layout::new(&old, None, Epoch(1), &random(1)), 1);
        for n in 0..20 {
            let newcomer = of_family(node(4, new), "f");
            let nodes = all(old.values().cloned().chain([newcomer.clone()]));
            let layout = Layout::new(&nodes, Some(&base), Epoch(2), &random(n));
            assert_eq!(layout.left_out, BTreeSet::from([newcomer.id]), "{there} first");
            assert_eq!(layer_of(&layout, &newcomer.id), None);
        }
    }
}

#[test]
fn of_two_roles_that_come_together_one_stays_by_chance() {
    let nodes = all((10..20).map(mix).chain([of_family(mix(1), "f"), of_family(node(2, Role::Entry), "f")]));
    let out: BTreeSet<NodeId> = (0..40)
        .flat_map(|n| {
            let layout = Layout::new(&nodes, None, Epoch(1), &random(n));
            assert_eq!(layout.left_out.len(), 1);
            layout.left_out
        })
        .collect();
    assert_eq!(out.len(), 2, "either of them");
}

#[test]
fn layers_of_few_and_of_many_mixes_are_balanced() {
    for n in 0..200 {
        for count in [3u16, 6, 30, 300] {
            let layout = Layout::new(&all((0..count).map(mix)), None, Epoch(1), &random(n));
            let sizes = sizes(&layout);
            assert_eq!(sizes.iter().sum::<usize>(), usize::from(count));
            let (thin, thick) = (sizes.iter().min().unwrap(), sizes.iter().max().unwrap());
            match count {
                3 | 6 => assert_eq!(thin, thick, "{sizes:?}"),
                // No layer more than half again as large as another, one mix aside.
                _ => assert!(thin * 3 >= (thick - 1) * 2, "{sizes:?}"),
            }
        }
    }
}

#[test]
fn nobody_chooses_a_layer_by_trying_ids() {
    // A network of 300, and for each of 300 ids that somebody tried the layer that it would get: about a third each.
    let old = all((0..300).map(mix));
    let base = listed(&old, &Layout::new(&old, None, Epoch(1), &random(1)), 1);
    let mut drawn = [0usize; 3];
    for n in 1_000..1_300 {
        let mut nodes = old.clone();
        nodes.insert(mix(n).id, mix(n));
        let layout = Layout::new(&nodes, Some(&base), Epoch(2), &random(2));
        drawn[layer_of(&layout, &mix(n).id).unwrap() - 1] += 1;
    }
    assert!(drawn.iter().all(|count| (60..=140).contains(count)), "{drawn:?}");
    // And one id gets any layer, depending on a value that nobody knows when the id is made.
    let mut nodes = old.clone();
    nodes.insert(mix(1_000).id, mix(1_000));
    let mut drawn = [0usize; 3];
    for n in 0..300 {
        let layout = Layout::new(&nodes, Some(&base), Epoch(2), &random(n));
        drawn[layer_of(&layout, &mix(1_000).id).unwrap() - 1] += 1;
    }
    assert!(drawn.iter().all(|count| (60..=140).contains(count)), "{drawn:?}");
}

/// Nobody proves a family's name or an address; what one node claims must not move another one.
#[test]
fn who_claims_anothers_family_or_range_moves_nobody_else() {
    let honest_mix = at(of_family(mix(100), "f"), "198.51.100.1:1");
    let honest_entry = at(node(101, Role::Entry), "203.0.113.1:1");
    let liars = [(1, Role::Mix), (2, Role::Entry), (3, Role::Mailbox), (300, Role::Mix), (301, Role::Entry)];
    let liars = liars.map(|(n, role)| node(n, role));
    let honest = || (10..20).map(mix).chain([honest_mix.clone(), honest_entry.clone()]);
    for was_listed in [true, false] {
        let before = all(honest().chain(liars.iter().filter(|_| was_listed).cloned()));
        let first = Layout::new(&before, None, Epoch(1), &random(1));
        let base = listed(&before, &first, 1);
        for liar in &liars {
            let addresses = ["198.51.100.2:1", "203.0.113.2:1"].map(|it| it.parse().unwrap()).to_vec();
            let claims = Descriptor { addresses, ..of_family(liar.clone(), "f") };
            for n in 0..10 {
                let mut nodes = before.clone();
                nodes.insert(claims.id, claims.clone());
                let layout = Layout::new(&nodes, Some(&base), Epoch(2), &random(n));
                assert_eq!(layout.left_out, BTreeSet::from([claims.id]));
                assert_eq!(layer_of(&layout, &honest_mix.id), layer_of(&first, &honest_mix.id));
            }
        }
    }
}

#[test]
fn an_operator_that_moves_house_keeps_its_layer() {
    let old = [at(of_family(mix(1), "f"), "198.51.100.1:1"), at(of_family(mix(2), "f"), "198.51.100.2:1")];
    let moved = [at(of_family(mix(1), "f"), "203.0.113.1:1"), at(of_family(mix(2), "f"), "203.0.113.2:1")];
    let others = || (10..20).map(mix);
    let before = all(others().chain(old));
    let first = Layout::new(&before, None, Epoch(1), &random(1));
    let after = all(others().chain(moved));
    let layout = Layout::new(&after, Some(&listed(&before, &first, 1)), Epoch(2), &random(2));
    assert_eq!((layout.layers, layout.left_out.len()), (first.layers, 0));
}
