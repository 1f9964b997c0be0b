//! The mailbox: boxes on disk, digests for everyone, replies on their own delay.
//!
//! | module | holds |
//! |---|---|
//! | [`engine`] | the pure state machine: Put, Get, Ack, Loop, digests, expiry, quotas |
//! | [`store`] | the narrow trait between engine and disk |
//! | [`sled_store`], [`memory`] | what stands behind it: sled for daemons, memory for simulations |
//! | `node` | the daemon around it (feature `daemon`, on by default) |

pub mod engine;
pub mod memory;
#[cfg(feature = "daemon")]
pub mod node;
#[cfg(feature = "daemon")]
pub mod sled_store;
pub mod store;
