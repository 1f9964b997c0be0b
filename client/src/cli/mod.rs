//! The `veilpost` command.
//!
//! ```text
//! args -> Context -> init, daemon           work on the home folder
//!                    everything else        asks the daemon through the local API
//! ```
//! With `--json` standard output holds one object a line and nothing else; errors are words on standard error in any case,
//! with the exit codes of [`Exit`].
#![allow(clippy::disallowed_methods, reason = "a shell: sockets, waits and the system's clock belong here")]

mod args;
mod change;
mod daemon;
mod error;
mod home;
mod inbox;
mod init;
mod logs;
mod os;
mod output;
mod profile;
mod save;
mod send;
mod talk;
mod transport;

pub use error::Exit;
pub use home::Surroundings;
pub use output::Terminal;

use crate::handle::StartCore;
use args::{Args, Command};
use clap::{CommandFactory as _, Parser as _};
use error::CliError;
use home::Home;
use std::{ffi::OsString, time::Duration};

/// What every command gets.
struct Context {
    home: Home,
    json: bool,
    user: Option<String>,
    log: Option<String>,
    terminal: Terminal,
}

/// Runs one command to its end. `start` makes the core of a daemon.
pub fn run(
    arguments: impl IntoIterator<Item = OsString>,
    surroundings: Surroundings,
    mut terminal: Terminal,
    start: StartCore,
) -> Exit {
    let args = match Args::try_parse_from(arguments) {
        Ok(args) => args,
        Err(error) => {
            // Help and version come this way too, and are no errors.
            let stream = if error.use_stderr() { &mut terminal.err } else { &mut terminal.out };
            let _ = write!(stream, "{}", error.render());
            return if error.use_stderr() { Exit::Usage } else { Exit::Done };
        }
    };
    let home = match Home::find(&args, &surroundings) {
        Ok(home) => home,
        Err(error) => return end(&mut terminal, &error),
    };
    let mut context = Context { home, json: args.json, user: surroundings.user, log: surroundings.log, terminal };
    match dispatch(&mut context, args.command, start) {
        Ok(()) => Exit::Done,
        Err(error) => end(&mut context.terminal, &error),
    }
}

fn dispatch(context: &mut Context, command: Command, start: StartCore) -> Result<(), CliError> {
    match command {
        Command::Init { network, name, profile, transport } => {
            init::run(context, &network, name, init::Choices { profile, transport })
        }
        Command::Daemon { background: false } => daemon::run(context, start),
        Command::Daemon { background: true } => daemon::spawn(context),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Args::command(), "veilpost", &mut context.terminal.out);
            Ok(())
        }
        command => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.map_err(|error| CliError::refused(format!("cannot start: {error}")))?;
            runtime.block_on(ask(context, command))
        }
    }
}

async fn ask(context: &mut Context, command: Command) -> Result<(), CliError> {
    match command {
        Command::Stop => daemon::stop(context).await,
        Command::Status => talk::status(context).await,
        Command::Invite { name, qr } => talk::invite(context, name, qr).await,
        Command::Accept { link, name } => talk::accept(context, link, name).await,
        Command::Profile { profile, yes } => profile::run(context, profile, yes).await,
        Command::Transport { transport, yes } => transport::run(context, transport, yes).await,
        Command::Contacts => talk::contacts(context).await,
        Command::Safety { contact } => talk::safety(context, &contact).await,
        Command::Verify { contact } => talk::verify(context, &contact).await,
        Command::Send { contact, text, file, wait, timeout } => {
            let timeout = Duration::from_secs(timeout);
            send::run(context, send::Send { contact, text, file, wait, timeout }).await
        }
        Command::Inbox { follow, save } => inbox::run(context, follow, save.as_deref()).await,
        // Those that need no daemon were done before.
        Command::Init { .. } | Command::Daemon { .. } | Command::Completions { .. } => Ok(()),
    }
}

fn end(terminal: &mut Terminal, error: &CliError) -> Exit {
    let exit = error.exit();
    if exit != Exit::Done {
        terminal.note(&format!("veilpost: {error}"));
    }
    exit
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests;
