//! Routes and placement: pure choices over a document.

use crate::{
    document::{Relay, View},
    signed::Document,
};
use rand::{Rng, RngCore};
use std::collections::BTreeSet;
use veilpost_packet::{
    geometry::{HASH, ROUTE_DELAYS},
    ids::{BoxId, NodeId},
    primitives::{hash, label},
    random::exponential,
    sphinx::{Delays, Hop, Route},
};

/// Entry, one mix of each layer, the mailbox. In the middle layer one of `middle`, if any of them is listed there. `None` if a
/// node is not in the document or a layer has no weight.
pub fn forward_route(
    rng: &mut impl RngCore,
    document: &Document,
    middle: &[NodeId],
    entry: &NodeId,
    mailbox: &NodeId,
) -> Option<Route> {
    let [first, second, third] = mixes(rng, document, middle)?;
    Some([document.relay(entry)?.1.hop(), first, second, third, document.relay(mailbox)?.1.hop()])
}

/// One mix of each layer, the entry, and the session whose client reads the reply; `middle` as in [`forward_route`].
pub fn reply_route(
    rng: &mut impl RngCore,
    document: &Document,
    middle: &[NodeId],
    entry: &NodeId,
    session: Hop,
) -> Option<Route> {
    let [first, second, third] = mixes(rng, document, middle)?;
    Some([first, second, third, document.relay(entry)?.1.hop(), session])
}

/// Independent exponential delays with the document's mean, uncapped.
pub fn delays(rng: &mut impl RngCore, view: &View) -> Delays {
    let mut delays: Delays = [std::time::Duration::ZERO; ROUTE_DELAYS];
    delays.fill_with(|| exponential(rng, view.params.hop_delay));
    delays
}

fn mixes(rng: &mut impl RngCore, view: &View, middle: &[NodeId]) -> Option<[Hop; 3]> {
    let [first, second, third] = view.layers.as_slice() else { return None };
    let sticky: Vec<Relay> = second.iter().filter(|mix| middle.contains(&mix.id)).cloned().collect();
    let of_middle = weighted(rng, &sticky).or_else(|| weighted(rng, second))?.hop();
    Some([weighted(rng, first)?.hop(), of_middle, weighted(rng, third)?.hop()])
}

/// Draws a relay in proportion to the document's weights, which are the same for every client.
pub fn weighted<'a>(rng: &mut impl RngCore, relays: &'a [Relay]) -> Option<&'a Relay> {
    let total: u64 = relays.iter().map(|relay| u64::from(relay.weight)).sum();
    if total == 0 {
        return None;
    }
    let mut point = rng.random_range(0..total);
    relays.iter().find(|relay| match point.checked_sub(u64::from(relay.weight)) {
        Some(rest) => {
            point = rest;
            false
        }
        None => true,
    })
}

/// The mailboxes of the placement set in force that are up, best first for this box: whom a client tries.
pub fn holders(view: &View, id: &BoxId) -> Vec<NodeId> {
    let up: BTreeSet<_> = view.mailboxes.iter().map(|mailbox| mailbox.id).collect();
    let mut order = view.placements.first().map_or_else(Vec::new, |placement| placed(&placement.mailboxes, id));
    order.retain(|mailbox| up.contains(mailbox));
    order
}

/// A placement set, best first for this box (rendezvous hashing), whether its mailboxes are up or not: the first K are the box's
/// holders, and who comes behind them stands in for one that is down.
pub fn placed(placement: &[NodeId], id: &BoxId) -> Vec<NodeId> {
    let score = |mailbox: &NodeId| -> [u8; HASH] { hash(label::PLACEMENT, &[mailbox.as_bytes(), id.as_bytes()]) };
    let mut scored: Vec<_> = placement.iter().map(|mailbox| (score(mailbox), *mailbox)).collect();
    scored.sort_unstable_by(|a, b| b.cmp(a));
    scored.into_iter().map(|(_, mailbox)| mailbox).collect()
}
