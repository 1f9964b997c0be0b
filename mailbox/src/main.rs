//! `veilpost-mailbox`: keeps boxes and hands them out.

use clap::{Parser, Subcommand};
use std::{
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};
use veilpost_daemon::{
    clock::Clock,
    command::{Command, execute},
    onion,
    stop::{self, Failure},
};
use veilpost_mailbox::{
    node::{Config, Node, Status},
    stores::{
        EngineName, FOLDER,
        migrate::{Step, migrate},
    },
};

/// A mailbox of a Veilpost network. Exit codes: 0 done, 1 failed while running, 2 usage or configuration.
#[derive(Parser)]
#[command(name = "veilpost-mailbox", version)]
struct Arguments {
    #[command(subcommand)]
    command: Mine,
}

#[derive(Subcommand)]
enum Mine {
    #[command(flatten)]
    Relay(Command),
    /// Say how the running mailbox stands: how full it is, which other mailboxes it hears, and how far it is with boxes that have to
    /// move after another set of mailboxes came into force.
    #[command(after_help = "Example:\n  veilpost-mailbox status --config mailbox.toml")]
    Status {
        /// The configuration file.
        #[arg(long)]
        config: PathBuf,
    },
    /// Move the boxes to the other database engine, while the mailbox is stopped. Needs free space for a second copy; may be cut
    /// off and run again at any time.
    #[command(
        after_help = "Example, with the mailbox stopped:\n  veilpost-mailbox migrate-store --config mailbox.toml --to redb\n\
                            then set engine = \"redb\" under [store] in mailbox.toml and start it again."
    )]
    MigrateStore {
        /// The configuration file.
        #[arg(long)]
        config: PathBuf,
        /// The engine to move to: sled or redb.
        #[arg(long, value_name = "ENGINE")]
        to: EngineName,
    },
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Mine::Relay(command) => execute::<Node>(command),
        Mine::Status { config } => stop::exit(show_status(&config)),
        Mine::MigrateStore { config, to } => stop::exit(move_store(&config, to)),
    }
}

fn show_status(config: &Path) -> Result<(), Failure> {
    let (node, now) = (Config::load(config)?.node, Clock::start().now());
    let status = Status::read(&node.data_dir, now)?;
    let onion = onion::line(&node, now).map_or_else(String::new, |line| format!("\n{line}"));
    writeln!(io::stdout(), "{status}{onion}").map_err(Failure::runtime)
}

fn move_store(config: &Path, to: EngineName) -> Result<(), Failure> {
    let folder = Config::load(config)?.node.data_dir.join(FOLDER);
    // If standard output is gone there is nobody to tell; the move goes on.
    let say = |line: String| drop(writeln!(io::stdout(), "{line}"));
    let moved = migrate(&folder, to, &mut |step: &Step| say(step.to_string())).map_err(Failure::runtime)?;
    say(format!(
        "{}: {} {to}; set engine = \"{to}\" under [store] in {}",
        folder.display(),
        if moved { "is now a store of" } else { "was already a store of" },
        config.display()
    ));
    Ok(())
}
