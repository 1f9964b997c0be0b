//! Which layer a mix works in. Drawn once, from the shared random value of the epoch in which it is admitted, and kept; an
//! operator's nodes share one layer or one role, so that no route meets two of them. Pure, and the same for every authority.

use crate::{
    descriptor::{Descriptor, Role},
    document::{Absent, Place, Relay, View},
    reliability,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
};
use veilpost_packet::{
    geometry::{HASH, KEY, MIX_LAYERS},
    ids::NodeId,
    primitives::{hash, label},
    time::Epoch,
};

/// How long a layer is kept for a mix that is away, in epochs: 30 days of hours.
pub const ABSENCE_MAX: u64 = 720;

/// Where each node of an epoch works.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// Mixes by layer.
    pub layers: [BTreeSet<NodeId>; MIX_LAYERS],
    /// Nodes that are left out since their operator works in another role.
    pub left_out: BTreeSet<NodeId>,
    /// Mixes that are away, with their layers.
    pub absent: Vec<Absent>,
}

/// Nodes of one operator: they name one family, or listen in one address range.
type Group = BTreeSet<NodeId>;

impl Layout {
    /// Finds a place for every node. `base` is the document before, `random` the shared random value of this epoch.
    pub fn new(nodes: &BTreeMap<NodeId, Descriptor>, base: Option<&View>, epoch: Epoch, random: &[u8; KEY]) -> Self {
        let known = known_layers(base, epoch);
        let settled = settled(nodes, base);
        let mut layout = Self::default();
        let mut newcomers = Vec::new();
        for group in groups(nodes) {
            let places: BTreeSet<Place> = group.iter().filter_map(|id| settled.get(id).copied()).collect();
            if places.len() > 1 {
                layout.keep_settled(&settled, group);
                continue;
            }
            let place = places.first().copied();
            let role = place.map(role_in).or_else(|| role_by_chance(nodes, base, random, &group));
            let mixes = layout.keep_one_role(nodes, role, &group);
            let layer = match place {
                Some(Place::Mix(layer)) => Some(layer),
                _ => mixes.iter().find_map(|mix| known.get(mix)).copied(),
            };
            match layer {
                Some(layer) => layout.put(mixes, layer),
                None if !mixes.is_empty() => newcomers.push(mixes),
                None => {}
            }
        }
        // In an order that nobody knew before the random value was there.
        newcomers.sort_by_cached_key(|mixes| mixes.first().map(|mix| draw(random, mix)));
        for mixes in newcomers {
            let layer = layout.layer_for(random, &mixes);
            layout.put(mixes, layer);
        }
        layout.absent = absent(&known, nodes, base, epoch);
        layout
    }

    fn put(&mut self, mixes: Group, layer: u8) {
        if let Some(layer) = self.layers.get_mut(usize::from(layer.saturating_sub(1))) {
            layer.extend(mixes);
        }
    }

    /// The group's mixes, if mixing is its role; nodes of its other roles are left out.
    fn keep_one_role(&mut self, nodes: &BTreeMap<NodeId, Descriptor>, role: Option<Role>, group: &Group) -> Group {
        let in_role = |id: &NodeId| nodes.get(id).map(|node| node.role) == role;
        let (kept, others): (Group, Group) = group.iter().copied().partition(in_role);
        self.left_out.extend(others);
        if role == Some(Role::Mix) { kept } else { Group::new() }
    }

    /// A newcomer has something in common with nodes of two places: wherever it went, a route could meet two of them. It is left
    /// out, and nobody else has to move.
    fn keep_settled(&mut self, settled: &BTreeMap<NodeId, Place>, group: Group) {
        for id in group {
            match settled.get(&id) {
                Some(Place::Mix(layer)) => self.put(Group::from([id]), *layer),
                Some(Place::Entry | Place::Mailbox) => {}
                None => drop(self.left_out.insert(id)),
            }
        }
    }

    /// A layer by chance, unless one has fallen far behind: then that one, or a network would have a gap.
    fn layer_for(&self, random: &[u8; KEY], mixes: &Group) -> u8 {
        let sizes = self.layers.each_ref().map(BTreeSet::len);
        let thickest = sizes.iter().copied().max().unwrap_or(0);
        let thin: Vec<u8> = (1u8..)
            .zip(sizes)
            .filter(|(_, size)| size * 3 < thickest * 2 || *size == 0)
            .map(|(layer, _)| layer)
            .collect();
        let drawn =
            mixes.first().map_or(0, |mix| u64::from_be_bytes(*draw(random, mix).first_chunk().unwrap_or(&[0; 8])));
        let choices = if thin.is_empty() { (1..=MIX_LAYERS as u8).collect() } else { thin };
        let at = usize::try_from(drawn % choices.len().max(1) as u64).unwrap_or(0);
        choices.get(at).copied().unwrap_or(1)
    }
}

fn draw(random: &[u8; KEY], id: &NodeId) -> [u8; HASH] {
    hash(label::LAYER, &[random, id.as_bytes()])
}

fn role_in(place: Place) -> Role {
    match place {
        Place::Mix(_) => Role::Mix,
        Place::Entry => Role::Entry,
        Place::Mailbox => Role::Mailbox,
    }
}

/// Who was there first decides; among newcomers, chance.
fn role_by_chance(
    nodes: &BTreeMap<NodeId, Descriptor>,
    base: Option<&View>,
    random: &[u8; KEY],
    group: &Group,
) -> Option<Role> {
    let relays = base.into_iter().flat_map(View::relays);
    let listed: Group = relays.map(|(_, relay)| relay.id).filter(|id| group.contains(id)).collect();
    let among = if listed.is_empty() { group } else { &listed };
    among.iter().min_by_key(|id| draw(random, id)).and_then(|id| nodes.get(id)).map(|node| node.role)
}

/// Nodes that the last document lists with what they have in common with others now. Nobody proves a family's name or an address:
/// who takes up another's does not move the other.
fn settled(nodes: &BTreeMap<NodeId, Descriptor>, base: Option<&View>) -> BTreeMap<NodeId, Place> {
    let same = |(place, relay): (Place, &Relay)| {
        let node = nodes.get(&relay.id).filter(|node| node.role == role_in(place))?;
        let before: BTreeSet<_> = marks(&relay.family, &relay.addresses).collect();
        marks(&node.family, &node.addresses).all(|mark| before.contains(&mark)).then_some((relay.id, place))
    };
    base.into_iter().flat_map(View::relays).filter_map(same).collect()
}

/// Layers of mixes that the last document lists, present or absent.
fn known_layers(base: Option<&View>, epoch: Epoch) -> BTreeMap<NodeId, u8> {
    let Some(base) = base else { return BTreeMap::new() };
    let absent =
        base.memory.absent.iter().filter(|absent| absent.until > epoch).map(|absent| (absent.id, absent.layer));
    let present = base.relays().filter_map(|(place, relay)| match place {
        Place::Mix(layer) => Some((relay.id, layer)),
        _ => None,
    });
    absent.chain(present).collect()
}

fn absent(
    known: &BTreeMap<NodeId, u8>,
    nodes: &BTreeMap<NodeId, Descriptor>,
    base: Option<&View>,
    epoch: Epoch,
) -> Vec<Absent> {
    let known_reliability = reliability::known(base);
    let since: BTreeMap<NodeId, Epoch> =
        base.into_iter().flat_map(|base| &base.memory.absent).map(|absent| (absent.id, absent.until)).collect();
    let away = known.iter().filter(|(id, _)| !nodes.contains_key(id));
    let keep = |(id, layer): (&NodeId, &u8)| Absent {
        id: *id,
        layer: *layer,
        reliability: known_reliability.get(id).copied().unwrap_or(reliability::GOOD),
        until: since.get(id).copied().unwrap_or(Epoch(epoch.0.saturating_add(ABSENCE_MAX))),
    };
    away.map(keep).take(crate::document::RELAYS_MAX).collect()
}

/// What makes two nodes belong together: the family's name, or the network they listen in (/24, or /48 of IPv6). Addresses
/// that reach nobody outside a machine or a house say nothing.
fn marks<'a>(family: &'a str, addresses: &'a [SocketAddr]) -> impl Iterator<Item = Vec<u8>> + 'a {
    let family = (!family.is_empty()).then(|| [b"f", family.as_bytes()].concat());
    family.into_iter().chain(addresses.iter().filter_map(range))
}

fn range(address: &SocketAddr) -> Option<Vec<u8>> {
    match address.ip().to_canonical() {
        IpAddr::V4(ip) if ip.is_loopback() || ip.is_private() || ip.is_link_local() => None,
        IpAddr::V4(ip) => ip.octets().get(..3).map(|net| [b"4", net].concat()),
        IpAddr::V6(ip) if ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local() => None,
        IpAddr::V6(ip) => ip.octets().get(..6).map(|net| [b"6", net].concat()),
    }
}

/// Nodes by operator: who shares a mark is in one group, and so on through all of them.
fn groups(nodes: &BTreeMap<NodeId, Descriptor>) -> Vec<Group> {
    let mut by_mark: BTreeMap<Vec<u8>, Vec<NodeId>> = BTreeMap::new();
    for node in nodes.values() {
        for mark in marks(&node.family, &node.addresses) {
            by_mark.entry(mark).or_default().push(node.id);
        }
    }
    let mut seen = BTreeSet::new();
    let mut groups = Vec::new();
    for id in nodes.keys() {
        let (mut group, mut open) = (Group::new(), vec![*id]);
        while let Some(next) = open.pop() {
            if !seen.insert(next) {
                continue;
            }
            group.insert(next);
            let node = nodes.get(&next);
            for mark in node.into_iter().flat_map(|node| marks(&node.family, &node.addresses)) {
                // Taken out, so that each mark's nodes are walked once.
                open.extend(by_mark.remove(&mark).unwrap_or_default());
            }
        }
        if !group.is_empty() {
            groups.push(group);
        }
    }
    groups
}
