//! Loops of some time, counted by their route, and what they say of each element.

use super::{Element, fit::Fit};
use std::{collections::BTreeMap, sync::Arc};
use veilpost_packet::ids::NodeId;

/// Loops that went one way.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Outcome {
    pub(super) returned: u64,
    pub(super) lost: u64,
}

/// What loops of some time tell. [`Evidence::estimate`] may take some tenths of a second where everything is lost, so it has no
/// business on a thread that must be punctual.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Evidence {
    pub(super) routes: BTreeMap<Arc<[NodeId]>, Outcome>,
}

/// What is known of one element.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Estimate {
    /// How many times loops should have gone through it: once each way is twice.
    pub traversals: u64,
    /// How many of the loops through it would have come back, as far as all others on their way are concerned. An element behind
    /// a dead one has none: nothing is known of it.
    pub informative: f64,
    /// The share of packets that it lets through, most likely.
    pub reliability: f64,
    /// 95 % interval of it, the others' taken as they are estimated: from here
    pub low: f64,
    /// to here.
    pub high: f64,
}

/// What is known of each element.
pub type Estimates = BTreeMap<Element, Estimate>;

impl Evidence {
    /// Adds a loop through these nodes, in order.
    pub fn add(&mut self, route: &Arc<[NodeId]>, returned: bool) {
        let outcome = match self.routes.get_mut(route) {
            Some(outcome) => outcome,
            None => self.routes.entry(Arc::clone(route)).or_default(),
        };
        if returned {
            outcome.returned += 1;
        } else {
            outcome.lost += 1;
        }
    }

    /// Each way with its loops that came back and those that were lost.
    pub fn routes(&self) -> impl Iterator<Item = (&[NodeId], u64, u64)> {
        self.routes.iter().map(|(route, outcome)| (&**route, outcome.returned, outcome.lost))
    }

    /// Loops in it.
    pub fn loops(&self) -> u64 {
        self.routes.values().map(|outcome| outcome.returned + outcome.lost).sum()
    }

    /// The reliabilities that explain best what came back and what did not, if packets are lost independently of each other.
    ///
    /// Nodes explain losses before links do: a link is blamed only where the nodes at its ends cannot be, because they work over
    /// other links. So a dead node does not take its links' good name, nor a dead link that of its ends. What only one
    /// route uses cannot be told from the rest of that route; there the node is blamed.
    pub fn estimate(&self) -> Estimates {
        Fit::new(self).estimates()
    }
}
