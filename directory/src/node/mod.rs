//! The daemon: one task owns the engine and the disk; others move records over links and answer readers.
//!
//! ```text
//! other authorities --dial--> links::listen --Input--> +------+ --Record--> store (fsync)
//! links::speak <------------------ queue ------------- | core | --watch---> nodes' links, http
//! nodes --dial--> links::serve_node --Descriptor-----> +------+ sleeps until next_wake
//! ```

mod core;
mod http;
mod links;
mod metrics;
mod run;
#[cfg(test)]
mod tests;

pub(crate) use core::read_handovers;
pub(crate) use run::prepare;
pub use run::{AuthorityKeys, Node};
