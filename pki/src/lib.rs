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
//! | [`schedule`] | when epochs begin, and the phases of a voting round |
//! | [`statement`] | what an authority says under its key; proof that it said two things |
//! | [`vote`] | one authority's vote |
//! | [`effort`] | how hard the puzzle of a Put is |
//! | [`reliability`] | what nodes measure of each other, and their share in path choice |
//! | [`layers`] | which layer a mix works in; operator families and neighbours kept apart |
//! | [`tally`] | from agreed votes to the next document |
//! | [`rates`] | how fast a client's clocks run, by its profile |
//! | [`round`] | an authority's part in the voting, as a state machine |
//! | [`wire`] | what authorities and nodes say to each other |
//! | [`network`] | the small file that a person starts from: network name, authorities, a first entry |

pub mod admission;
pub mod descriptor;
pub mod document;
pub mod documents;
pub mod effort;
pub mod layers;
pub mod network;
pub mod params;
pub mod rates;
pub mod reliability;
pub mod round;
pub mod schedule;
pub mod signed;
pub mod statement;
pub mod tally;
pub mod topology;
pub mod vote;
pub mod wire;

pub use descriptor::{Descriptor, Role};
pub use document::{Relay, View};
pub use documents::{Documents, NotTaken};
pub use effort::PutAdmission;
pub use network::NetworkFile;
pub use params::Params;
pub use rates::Rates;
pub use schedule::Schedule;
pub use signed::{AuthoritySet, Document, DocumentError, UnverifiedDocument};
