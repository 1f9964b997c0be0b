//! Whole-network tests and the `veilpost-testnet` tool. Development only.
//!
//! | module | holds |
//! |---|---|
//! | [`testnet`] | the whole network as real processes on loopback |
//! | [`scene`] | two contacts on such a network |
//! | [`observer`] | someone who watches every line of such a network |
//! | [`lines`] | four people on such a network, watched |
//! | [`logs`] | looking through logs for what they must not tell |
//! | [`tornet`] | a private Tor network under it |
//! | [`namespace`] | where nothing but loopback can be reached |
//! | [`sockets`] | whom a process talks to |
//! | [`person`] | someone who uses the `veilpost` command |
#![allow(clippy::disallowed_methods, reason = "tests and tools are shells")]

pub mod fixed;
pub mod lines;
pub mod logs;
pub mod namespace;
pub mod observer;
pub mod person;
pub mod scene;
pub mod sockets;
pub mod testnet;
pub mod tornet;
