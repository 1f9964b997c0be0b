//! The transports over Tor, on a private Tor network of real processes. They run where nothing but loopback can be reached:
//! `make test-tor`. Without the feature `tor` there is nothing to test.
#![cfg(feature = "tor")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::disallowed_methods, missing_docs)]

mod bad_input;
mod bridges;
mod pairs;
