//! The relay daemon in two roles: *mix* (layers 1 to 3) and *entry* (where clients connect).
//!
//! ```text
//!  links           workers                 engine (one task, no locks)                      links
//!  reader --Gate--> unwrap (90 us a packet) --> admission -> replay -> delay queue --due--> Outbound to the next node
//!     |  bounded, full: dropped and counted             |                   \--due--> session's downlink queue (entry)
//!     \-- Hello, Want, Digest (entry) ------------------/                                        \--clock--> client
//! ```
//! Tags of admitted packets are on disk (`daemon::taglog`) before [`Engine::poll_forward`] yields the packets.
//!
//! | module | holds |
//! |---|---|
//! | [`delay`] | packets that wait for their moment |
//! | [`engine`] | the relay without IO: time and unwrapped packets in, forwards and frames out |
//! | [`entry`] | what only entries have: sessions, their downlink clocks, the cache of digests |
//! | `node` | the daemon around it (feature `daemon`, on by default) |
//!
//! A relay's own loops are `cover`'s: a packet whose last hop is here is taken only if it answers one of them.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing))]

pub mod delay;
pub mod engine;
pub mod entry;
#[cfg(feature = "daemon")]
pub mod node;
#[cfg(test)]
mod testing;

pub use engine::{Engine, EngineConfig, Forward, Limits};
pub use veilpost_pki::admission::{self, DropReason, Gate, Origin};
