//! The client core, its daemon, its local API and the veilpost command.
//!
//! | module | holds |
//! |---|---|
//! | [`store`] | the encrypted database: account, contacts, history, files |
//! | [`signal`] | sessions: PQXDH, triple ratchet, sealed sender without a server, safety numbers |
//! | [`content`] | what a message carries inside its session |
//! | [`core`] | the engine: commands and frames in, frames, events and answers out |
//! | [`traffic`], [`balance`], [`arq`], [`digests`] | its pure parts: Poisson clocks, decoys that give way, retransmission, following digests |
//! | [`handle`] | the one door to the core |
//! | [`api`] | the local API: HTTP on a Unix socket |
//! | [`cli`] | the `veilpost` command |
//! | [`transport`] | the ways to the network, and who learns what by each |
//! | [`invitation`] | links and what they derive |
//! | [`runtime`] | the shell around the engine: link, builder thread, answers |

pub mod api;
pub mod arq;
pub mod balance;
pub mod cli;
pub mod content;
pub mod core;
pub mod cost;
pub mod digests;
pub mod guards;
pub mod handle;
pub mod invitation;
pub mod runtime;
pub mod sets;
pub mod signal;
pub mod store;
pub mod traffic;
pub mod transport;
