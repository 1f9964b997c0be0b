//! The mailbox: boxes on disk, digests for everyone, replies on their own delay.
//!
//! | module | holds |
//! |---|---|
//! | [`engine`] | the pure state machine: Put, Get, Ack, Loop, digests, expiry, quotas |
//! | [`store`] | the narrow trait between engine and disk |
//! | [`stores`] | what stands behind it on a disk: sled or redb, one database for each day of expiry (feature `stores`) |
//! | [`memory`] | what stands behind it in simulations |
//! | `node` | the daemon around it (feature `daemon`, on by default) |

pub mod engine;
pub mod memory;
#[cfg(feature = "daemon")]
pub mod node;
pub mod store;
#[cfg(feature = "stores")]
pub mod stores;
