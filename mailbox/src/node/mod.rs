//! The daemon around the engine: links, workers, disk, clock. It moves bytes and deadlines and decides nothing.
#![allow(clippy::disallowed_methods, reason = "a shell: sockets and waits belong here")]

mod config;
mod core;
mod digests;
mod direct;
mod links;
mod metrics;
mod run;
mod status;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
mod tests;

pub use config::{Config, StoreConfig, init};
pub use run::Node;
pub use status::Status;
