//! Several mailboxes together: what replicates, what a fault may cost, what stays bounded.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout, missing_docs)]

mod cluster;
mod faults;
mod people;
mod replication;
mod sets;
mod watching;
