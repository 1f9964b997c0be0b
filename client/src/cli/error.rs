//! How a command ends.

use crate::{
    api::{
        client::ClientError,
        types::{Refusal, RefusalCode},
    },
    signal::SignalError,
    store::StoreError,
};

/// Exit codes. Scripts rely on these numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// It was done.
    Done = 0,
    /// The command line does not make sense.
    Usage = 2,
    /// The daemon is not running.
    NoDaemon = 3,
    /// The network cannot be reached.
    Unreachable = 4,
    /// It took too long.
    TimedOut = 5,
    /// It was refused; standard error says why.
    Refused = 6,
}

/// Why a command was not done.
#[derive(Debug, thiserror::Error)]
pub(super) enum CliError {
    /// Something to tell and the exit code that goes with it.
    #[error("{1}")]
    Told(Exit, String),
    /// Nobody reads what we print.
    #[error("cannot write the output: {0}")]
    Output(#[from] std::io::Error),
}

impl CliError {
    pub(super) fn usage(message: impl Into<String>) -> Self {
        Self::Told(Exit::Usage, message.into())
    }

    pub(super) fn refused(message: impl Into<String>) -> Self {
        Self::Told(Exit::Refused, message.into())
    }

    /// The exit code. A reader that went away, as in `veilpost inbox | head`, is no error.
    pub(super) fn exit(&self) -> Exit {
        match self {
            Self::Told(exit, _) => *exit,
            Self::Output(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Exit::Done,
            Self::Output(_) => Exit::Refused,
        }
    }
}

impl From<Refusal> for CliError {
    fn from(refusal: Refusal) -> Self {
        let exit = match refusal.code {
            RefusalCode::NetworkUnreachable => Exit::Unreachable,
            RefusalCode::TimedOut => Exit::TimedOut,
            RefusalCode::Stopping => Exit::NoDaemon,
            _ => Exit::Refused,
        };
        Self::Told(exit, refusal.message)
    }
}

impl From<ClientError> for CliError {
    fn from(error: ClientError) -> Self {
        let exit = match error {
            ClientError::Refused(refusal) => return refusal.into(),
            ClientError::NoDaemon => Exit::NoDaemon,
            ClientError::TimedOut => Exit::TimedOut,
            ClientError::Broken => Exit::Refused,
        };
        Self::Told(exit, error.to_string())
    }
}

impl From<StoreError> for CliError {
    fn from(error: StoreError) -> Self {
        Self::refused(error.to_string())
    }
}

impl From<SignalError> for CliError {
    fn from(error: SignalError) -> Self {
        Self::refused(error.to_string())
    }
}
