//! What the daemon does not do: a code for programs, a sentence for people.

use crate::store::StoreError;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Why the daemon does not do what it was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RefusalCode {
    /// The request itself is not well-formed.
    BadRequest,
    /// No contact of that name.
    UnknownContact,
    /// The contact cannot be written to yet, or any more.
    ContactNotReady,
    /// A contact of that name exists.
    NameTaken,
    /// The link is not whole, or of another network.
    BadLink,
    /// Someone used the link before.
    LinkUsed,
    /// The link is older than 14 days, or was never a link of anyone.
    LinkExpired,
    /// The link is our own.
    OwnLink,
    /// No message of that number.
    UnknownMessage,
    /// The message holds no file, or its bytes are not all here.
    NoFile,
    /// More bytes than allowed.
    TooLarge,
    /// Too much is queued already.
    QueueFull,
    /// The disk is full.
    DiskFull,
    /// This program or this network has no such transport.
    NoTransport,
    /// No entry answers.
    NetworkUnreachable,
    /// It took too long; it may still happen.
    TimedOut,
    /// Too many requests at once.
    Busy,
    /// The daemon is stopping.
    Stopping,
    /// A fault of the daemon; its log says more.
    Internal,
}

/// A refusal: a code for programs and a sentence for people that says what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// For programs.
    pub code: RefusalCode,
    /// For people.
    pub message: String,
}

impl Refusal {
    /// A refusal with its sentence.
    pub fn new(code: RefusalCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// There is no contact of this name.
    pub fn unknown_contact(name: &str) -> Self {
        let message = format!("there is no contact called “{name}”; `veilpost contacts` lists them");
        Self::new(RefusalCode::UnknownContact, message)
    }

    /// There is no message of this number.
    pub fn unknown_message(id: i64) -> Self {
        Self::new(RefusalCode::UnknownMessage, format!("there is no message {id}; `veilpost inbox` lists them"))
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        let code = match &error {
            StoreError::NameTaken => RefusalCode::NameTaken,
            StoreError::DiskFull => RefusalCode::DiskFull,
            StoreError::Missing("contact") => RefusalCode::UnknownContact,
            StoreError::Missing("message") => RefusalCode::UnknownMessage,
            _ => RefusalCode::Internal,
        };
        Self::new(code, error.to_string())
    }
}

impl From<crate::signal::SignalError> for Refusal {
    fn from(error: crate::signal::SignalError) -> Self {
        use crate::signal::SignalError as E;
        let code = match error {
            E::Store(store) => return store.into(),
            E::NoSession | E::Unanswered => RefusalCode::ContactNotReady,
            E::TooLarge => RefusalCode::TooLarge,
            E::Ourselves => RefusalCode::OwnLink,
            _ => RefusalCode::Internal,
        };
        Self::new(code, error.to_string())
    }
}
