//! What every relay daemon shares. Nothing here knows what a mix or a mailbox does.
//!
//! | module | holds |
//! |---|---|
//! | [`command`] | the command line of a relay's program |
//! | [`config`] | TOML files with unknown keys refused, and the `[node]` table that all relays have |
//! | [`keys`] | secrets on disk: made on first start, mode 0600, refused when others can read them |
//! | [`identity`] | a node's keys together, its signed descriptor, `init` |
//! | [`documents`] | network documents from whatever source: verified, kept, handed on |
//! | [`epochs`] | which epochs are live: keys opened and erased, the node told |
//! | [`links`] | the links that a node dials, as documents come and go |
//! | [`leave`] | a node that leaves its network in good order |
//! | [`start`] | what every relay's start has in common |
//! | [`observed`] | what a running node's next descriptor says of its fill and of others |
//! | [`onion`] | the onion service of a node that has one |
//! | [`network`] | network file and document from disk, verified |
//! | [`taglog`] | replay tags on disk, written before packets leave |
//! | [`clock`] | network time that never runs backwards |
//! | [`logs`], [`metrics`] | what an operator sees |
//! | [`workers`] | threads that unwrap packets |
//! | [`stop`] | signals, the `ready` line, exit codes |

// The whole crate is a shell: sockets, clocks and fresh keys are its business.
#![allow(clippy::disallowed_methods)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing))]

pub mod authorities;
pub mod clock;
pub mod command;
pub mod config;
pub mod documents;
pub mod epochs;
pub mod identity;
pub mod keys;
pub mod leave;
pub mod links;
pub mod logs;
pub mod metrics;
pub mod network;
pub mod observed;
pub mod onion;
pub mod start;
pub mod stop;
pub mod taglog;
#[cfg(test)]
mod testing;
pub mod workers;
