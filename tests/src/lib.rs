//! Whole-network tests, the `veilpost-testnet` tool and the deterministic simulation. Development only.
//!
//! | module | holds |
//! |---|---|
//! | [`simulation`] | the whole network in one thread and virtual time |
//! | [`testnet`] | the whole network as real processes on loopback |
//! | [`scene`] | two contacts on such a network |
//! | [`logs`] | looking through logs for what they must not tell |
//! | [`person`] | someone who uses the `veilpost` command |
#![allow(clippy::disallowed_methods, reason = "tests and tools are shells")]

pub mod fixed;
pub mod logs;
pub mod person;
pub mod scene;
pub mod simulation;
pub mod testnet;
