//! The authorities' tools. A network document is made by command for a fixed set of nodes; live authorities that vote stand on
//! the same types of `pki`.

pub mod fixed;

pub use fixed::{FixedError, FixedNetwork};
