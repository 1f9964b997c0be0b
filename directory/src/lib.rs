//! The authority daemon: votes with the other authorities on each epoch's network document, and serves it.
//!
//! | module | holds |
//! |---|---|
//! | [`config`] | `authority.toml`: where to listen, what this operator votes for |
//! | [`admission`] | `nodes.toml`: the nodes that this operator admits |
//! | [`store`] | what survives a kill: what was said, documents, proofs |
//! | [`node`] | the daemon: links, the task that owns the engine, the status page |
//! | [`tool`] | keys, network files, hand-overs between sets of authorities |
//!
//! The voting itself is `veilpost_pki::round`, which opens no socket.

// A shell: sockets, disk and the system's clock belong here.
#![allow(clippy::disallowed_methods)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing))]

pub mod admission;
pub mod config;
pub mod node;
pub mod store;
pub mod tool;

pub use config::Config;
pub use node::Node;
