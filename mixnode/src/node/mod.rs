//! The daemon around the engine: links, workers, disk, clock. It moves bytes and deadlines and decides nothing.

// The shell: its business is to sleep until what the engine says.
#![allow(clippy::disallowed_methods)]

mod config;
mod core;
mod links;
mod metrics;
mod run;
#[cfg(test)]
mod tests;

pub use config::{Config, init};
pub use run::Node;
