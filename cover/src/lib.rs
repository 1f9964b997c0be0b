//! Loop cover, without sockets, clock or randomness of its own: packets that a node or client sends to itself, through the network and
//! back, to hide among and to learn from.
//!
//! | module | holds |
//! |---|---|
//! | [`loops`] | a node's own loops: their clock, what is ready, what is on its way |
//! | [`findings`] | what a node reports of others |
//! | [`routes`] | the ways of a node's loops |
//! | [`statistics`] | what loops that came back, and loops that did not, tell about nodes and links |

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing))]

pub mod findings;
pub mod loops;
pub mod routes;
pub mod statistics;

pub use findings::Findings;
pub use loops::{BuiltLoop, Cover, Departure, LoopJob};
