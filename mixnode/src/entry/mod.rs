//! What only entries have: the sessions of their clients, the clock of each downlink, and the cache of digests.

pub mod digests;
pub mod downlink;
pub mod sessions;
mod toll;

pub use digests::{DigestCache, DigestRefused};
pub use downlink::Downlink;
pub use sessions::{SessionRefused, Sessions};
