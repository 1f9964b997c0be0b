//! What loops tell about the nodes and links that they go through.
//!
//! A loop that does not come back blames nobody in particular: everything on its way may have lost it. [`Loops`] keeps what was sent
//! where and whether it came back; [`Evidence`] is a piece of that, and [`Evidence::estimate`] says which reliabilities explain it
//! best. The same for a node's own loops and for a client's commands: whatever expects a reply is a loop.
//!
//! | module | holds |
//! |---|---|
//! | `loops` | what is on its way, what came back, what was lost |
//! | `evidence` | loops of some time, counted by route |
//! | `fit` | expectation maximisation over all elements of all routes |
//! | `interval` | how far an estimate can be trusted |

mod evidence;
mod fit;
mod interval;
mod loops;

pub use evidence::{Estimate, Estimates, Evidence};
pub use loops::{Counts, Loops, RECORDS_MAX, WAITING_MAX, patience};

use veilpost_packet::ids::NodeId;

/// A part of a route that can lose packets.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Element {
    /// A node.
    Node(NodeId),
    /// The link from one node to another; the other direction is another link.
    Link(NodeId, NodeId),
}
