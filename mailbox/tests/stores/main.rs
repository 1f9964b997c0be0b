//! The stores on disk: against the one in memory, and through everything that disks and processes do to them.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout, clippy::disallowed_methods, missing_docs)]
#![cfg(unix)]

mod cut_off;
mod damage;
mod full_disk;
mod killed;
mod migrate;
mod model;
mod power_cut;
mod support;
