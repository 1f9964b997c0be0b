//! How a daemon ends, and how it says that it has begun.

use std::{
    fmt::Display,
    io::{self, Write},
    process::ExitCode,
};
use tokio::signal::unix::{SignalKind, signal};

/// Why a daemon or one of its commands ends without success.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The configuration or the command line is wrong: exit code 2.
    #[error("{0}")]
    Config(String),
    /// Everything else: exit code 1.
    #[error("{0}")]
    Runtime(String),
}

impl Failure {
    /// From an error about configuration.
    pub fn config(error: impl Display) -> Self {
        Self::Config(error.to_string())
    }

    /// From any other error.
    pub fn runtime(error: impl Display) -> Self {
        Self::Runtime(error.to_string())
    }

    /// 2 for configuration, 1 for the rest.
    pub fn code(&self) -> u8 {
        match self {
            Self::Config(_) => 2,
            Self::Runtime(_) => 1,
        }
    }
}

/// The end of `main`: 0, or the failure's text on standard error and its code.
pub fn exit(result: Result<(), Failure>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // If standard error is gone there is nobody to tell.
            let _ = writeln!(io::stderr(), "error: {failure}");
            ExitCode::from(failure.code())
        }
    }
}

/// Listens for SIGTERM and SIGINT from the call on (not from the first poll); completes at the first of them.
///
/// Must be called inside a tokio runtime.
///
/// # Errors
/// If the operating system lets us install no handler.
pub fn requested() -> io::Result<impl Future<Output = ()>> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Prints the line `ready` on standard output: links are accepted from now on. Whoever started the daemon may wait for it.
pub fn announce_ready() {
    let mut out = io::stdout();
    // Nobody has to listen.
    let _ = writeln!(out, "ready").and_then(|()| out.flush());
}
