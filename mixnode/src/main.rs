//! `veilpost-mixnode`: a relay, as mix or entry.

use clap::Parser;
use std::process::ExitCode;
use veilpost_daemon::command::{Command, execute};
use veilpost_mixnode::node::Node;

/// A relay of a Veilpost network, as mix or entry. Exit codes: 0 done, 1 failed while running, 2 usage or configuration.
#[derive(Parser)]
#[command(name = "veilpost-mixnode", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

fn main() -> ExitCode {
    execute::<Node>(Arguments::parse().command)
}
