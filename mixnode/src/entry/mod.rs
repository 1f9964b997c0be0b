//! What only entries have: the sessions of their clients, the clock of each downlink, and the caches of digests and sets.

pub mod digests;
pub mod downlink;
pub mod sessions;
pub mod sets;
mod toll;

pub use digests::{DigestCache, DigestRefused};
pub use downlink::Downlink;
pub use sessions::{SessionRefused, Sessions};
pub use sets::SetCache;
