//! What several test files need: nodes with keys, routes through them, boxes.

#![allow(dead_code, reason = "each test file uses a part")]

use std::time::Duration;
use veilpost_packet::{
    boxes::{BoxClass, BoxTerms, SealedBox, StreamRoot},
    geometry::ROUTE_HOPS,
    ids::{District, NetworkId, SurbId},
    sphinx::{Delays, Hop, Route, SphinxSecret, Surb, SurbRecovery},
    time::Day,
};

pub(crate) const NETWORK: NetworkId = NetworkId([1; 32]);

/// The secret of the node at this place of the route.
pub(crate) fn secret(place: usize) -> SphinxSecret {
    SphinxSecret::from_seed([place as u8 + 1; 32])
}

/// Five nodes, whose addresses are their places plus 0xA0.
pub(crate) fn route() -> Route {
    std::array::from_fn(|place| Hop { address: [0xA0 + place as u8; 32], key: secret(place).public() })
}

/// 1, 2, 3 and 4 milliseconds.
pub(crate) fn delays() -> Delays {
    std::array::from_fn(|place| Duration::from_millis(place as u64 + 1))
}

pub(crate) fn surb(seed: u8) -> (Surb, SurbRecovery) {
    Surb::new([seed; 32], surb_id(), &route(), &delays()).unwrap()
}

pub(crate) fn surb_id() -> SurbId {
    SurbId::new([0x51; 16]).unwrap()
}

pub(crate) fn secrets() -> [SphinxSecret; ROUTE_HOPS] {
    std::array::from_fn(secret)
}

pub(crate) fn terms(expiry: u32) -> BoxTerms {
    BoxTerms { district: District(0), class: BoxClass::Solo, expiry: Day(expiry) }
}

pub(crate) fn root(seed: u8) -> StreamRoot {
    StreamRoot::new([seed; 32])
}

/// Box 0 of a stream.
pub(crate) fn sealed(seed: u8, content: &[u8]) -> SealedBox {
    root(seed).write_cap().seal_next(&NETWORK, terms(20), content).unwrap()
}
