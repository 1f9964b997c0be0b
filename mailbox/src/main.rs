//! `veilpost-mailbox`: keeps boxes and hands them out.

use clap::Parser;
use std::process::ExitCode;
use veilpost_daemon::command::{Command, execute};
use veilpost_mailbox::node::Node;

/// A mailbox of a Veilpost network. Exit codes: 0 done, 1 failed while running, 2 usage or configuration.
#[derive(Parser)]
#[command(name = "veilpost-mailbox", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

fn main() -> ExitCode {
    execute::<Node>(Arguments::parse().command)
}
