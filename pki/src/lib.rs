//! The network's public agreement, without sockets and without a clock.
//!
//! | module | holds |
//! |---|---|
//! | [`descriptor`] | a node's own statement, signed by its identity |
//! | [`params`] | what the authorities decide for everyone: rates, delays, limits, with the range each may have |
//! | [`document`] | the epoch's agreed view of the network, and its decoding |
//! | [`signed`] | signatures of authorities, the threshold, and the one way from bytes to a [`Document`] |
//! | [`documents`] | the documents known at one time, and which of them counts when |
//! | [`topology`] | layers, weighted choice of routes, placement of boxes |
//! | [`admission`] | who may send packets where, how fast, how long they may wait; why one is dropped |
//! | [`network`] | the small file that a person starts from: network name, authorities, a first entry |
//!
//! Votes and their tally come with the live authorities; a document is the same thing whoever made it.

pub mod admission;
pub mod descriptor;
pub mod document;
pub mod documents;
pub mod network;
pub mod params;
pub mod signed;
pub mod topology;

pub use descriptor::{Descriptor, Role};
pub use document::{Relay, View};
pub use documents::{Documents, NotTaken};
pub use network::NetworkFile;
pub use params::Params;
pub use signed::{AuthoritySet, Document, DocumentError, UnverifiedDocument};
