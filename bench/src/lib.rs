//! Programs that measure the project and print each figure beside its target. Development only.
//!
//! | program | measures |
//! |---|---|
//! | `bench-mix` | CPU per packet of a whole mix, against the bare unwrap; throughput; added latency |
//! | `bench-directory` | size and cost of network documents; a voting round's processor time and traffic; replay memory |
//! | `bench-mailbox` | durable Puts and Gets a second of engine and store, against bare redb |
//! | `bench-puzzle` | what the puzzle of a Put costs who solves it and who verifies it |
//! | `bench-replication` | durable Puts of one mailbox and of three together; boxes placed anew when one of five leaves |
//! | `bench-store` | the mailbox's two stores, side by side, as a Markdown table |
//! | `bench-lab` | hops a second of the lab's packet flows, with the shipped mix engine |
//! | `bench-loops` | loops over a network of real processes against the delays that were drawn for them |
//! | `bench-network` | memory, idle CPU and times of delivery on a network of real processes |
//!
//! Medians over repeats throughout, and ratios within one run, since a shared machine's speed differs from hour to hour. A
//! program ends with 0 also when a target is missed: it says so in words, and no test depends on time.
#![allow(clippy::disallowed_methods, clippy::print_stdout, reason = "programs that measure and print")]

pub mod bed;
pub mod council;
pub mod mailboxes;
pub mod process;
pub mod report;
pub mod unwrap;

pub use report::{Options, Report, Row, median, percentile};
pub use veilpost_tests::testnet::{Error, Result};
