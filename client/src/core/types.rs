//! The engine's words: why it refuses, what it answers, and what it remembers of a connection and of packets on their way.

use super::build::{Built, Slot};
use crate::{
    invitation::LinkError,
    signal::SignalError,
    store::{StoreError, contacts::Contact, outbox::OutboxId, streams::FetchKey},
    traffic::{Clocks, Ready},
    transport::Transport,
};
use std::{collections::BTreeMap, sync::Arc};
use veilpost_packet::{
    frame::{Hello, RecordJoiner, Want},
    ids::{BoxId, DocumentHash, NetworkId, NodeId, SessionAddress, SurbId},
    primitives::Secret32,
    profile::Profile,
    puzzle::{Puzzle, SESSION_EFFORT_MAX, SessionAsk},
    sphinx::{SphinxSecret, SurbRecovery},
    time::Timestamp,
};
use veilpost_pki::DocumentError;

/// Why a command cannot be done, in words for a person.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CoreError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The session.
    #[error(transparent)]
    Signal(#[from] SignalError),
    /// The link.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The network document.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// No contact of this name.
    #[error("there is no contact called {0:?}; `veilpost contacts` lists them")]
    NoContact(String),
    /// The invitation is not answered yet.
    #[error("this contact has not answered the invitation yet")]
    NotReady,
    /// Content above its bound.
    #[error("the message is too long: a text may have 64 KiB; send more as a file")]
    TooLong,
    /// A file above its bound.
    #[error("the file is too large: at most 64 MiB can be sent")]
    FileTooLarge,
    /// An invitation that nobody can read any more.
    #[error("this invitation has expired or was taken back; ask for a new one")]
    InvitationGone,
    /// An invitation that someone else answered first.
    #[error("this invitation was already used by someone else; ask for a new one, and tell its maker")]
    InvitationUsed,
    /// The invitation's box holds something else.
    #[error("what lies behind this invitation is not by its maker; ask for a new one over another channel")]
    InvitationForged,
    /// The same contact again.
    #[error("you have this contact already: {0}")]
    KnownContact(String),
    /// The network lacks what the transport needs.
    #[error("{0}")]
    NoOnions(String),
    /// A fault of ours.
    #[error("internal fault: {0}; please report it")]
    Bug(&'static str),
}

impl From<rusqlite::Error> for CoreError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.into())
    }
}

/// Who waits for an answer that takes time. Drawn by the shell.
pub type Ticket = u64;

/// What a waiting command is answered with.
#[derive(Debug)]
pub enum Answer {
    /// `invite`: the link, and whether the offer is on a mailbox already.
    Invited {
        /// The link.
        link: String,
        /// Who has the link can use it at once.
        stored: bool,
    },
    /// `accept`: the contact that was made.
    Accepted(Contact),
    /// `accept`: the offer is not on its mailbox yet; the digests are watched for it.
    AcceptWaits(Contact),
}

/// What a person sees of the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The link to the entry is up and the clocks run.
    pub connected: bool,
    /// Of the document in use.
    pub epoch: Option<u64>,
    /// How much traffic this connection makes; without one, the next.
    pub profile: Profile,
    /// What the person has chosen for the next connection, if that is another.
    pub next_profile: Option<Profile>,
    /// The way to the network.
    pub transport: Transport,
    /// Own messages that are on no mailbox yet.
    pub queued: u64,
    /// In words.
    pub warnings: Vec<String>,
}

/// A connection's secrets: made by the engine, used by the shell to say hello and to unwrap.
#[derive(Clone, Debug)]
pub struct Session {
    /// The first frame.
    pub hello: Hello,
    /// Unwraps replies.
    pub secret: Arc<SphinxSecret>,
    pub(crate) network: NetworkId,
    pub(crate) number: u64,
}

impl Session {
    /// The puzzle that an entry asks for before it opens the session; `None` if it asks for more than a session is worth.
    pub fn puzzle(&self, entry: &NodeId, asked: SessionAsk) -> Option<Puzzle> {
        let address = self.hello.session.filter(|_| asked.effort <= SESSION_EFFORT_MAX)?;
        Some(asked.puzzle(&self.network, entry, &address))
    }
}

pub(super) struct Connection {
    pub(super) number: u64,
    /// What the entry was told.
    pub(super) profile: Profile,
    pub(super) transport: Transport,
    /// The one that took it; none while it is dialed.
    pub(super) entry: Option<NodeId>,
    pub(super) address: SessionAddress,
    pub(super) secret: Arc<SphinxSecret>,
    pub(super) clocks: Option<Clocks>,
    pub(super) ready: Ready<Prepared>,
    /// Leaves beside the last Loop.
    pub(super) want: Option<Want>,
    pub(super) building: BTreeMap<u64, Purpose>,
    pub(super) documents: RecordJoiner,
    pub(super) digests: RecordJoiner,
    pub(super) sets: RecordJoiner,
}

/// What a packet is for, as the engine remembers it.
#[derive(Clone, Debug)]
pub(super) enum Purpose {
    Put(OutboxId, Slot),
    Get(FetchKey, Slot),
    /// Reads back a box of ours, in a tick of the get clock.
    Audit(OutboxId),
    Ack,
    Loop,
}

impl Purpose {
    /// What is not prepared a second time while this packet is.
    pub(super) fn preparing(&self) -> Option<Preparing> {
        match self {
            Self::Put(id, _) => Some(Preparing::Put(*id)),
            Self::Get(key, _) => Some(Preparing::Get(*key)),
            Self::Audit(id) => Some(Preparing::Audit(*id)),
            Self::Ack | Self::Loop => None,
        }
    }

    pub(super) fn slot(&self) -> Slot {
        match self {
            Self::Put(_, slot) | Self::Get(_, slot) => *slot,
            Self::Audit(_) => Slot::Get,
            Self::Ack => Slot::Upkeep,
            Self::Loop => Slot::Loop,
        }
    }
}

pub(super) struct Prepared {
    pub(super) purpose: Purpose,
    pub(super) built: Built,
}

pub(super) struct InFlight {
    pub(super) purpose: Purpose,
    pub(super) mailbox: NodeId,
    pub(super) document: DocumentHash,
    /// Opens the reply; `None` for a command that went without mixes.
    pub(super) recovery: Option<SurbRecovery>,
    pub(super) sent: Timestamp,
}

/// Where a command that is about to leave goes.
pub(super) struct Flight<'a> {
    pub(super) id: SurbId,
    pub(super) mailbox: &'a NodeId,
    pub(super) document: DocumentHash,
}

/// Counters for `status` and tests; nothing in them names anyone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets sent.
    pub sent: u64,
    /// Ticks that found nothing ready.
    pub unready_ticks: u64,
    /// Replies read.
    pub replies: u64,
    /// Packets whose reply never came.
    pub lost: u64,
    /// Replies that were late, unknown, changed on the way or of another document.
    pub bad_replies: u64,
    /// Boxes read.
    pub boxes_read: u64,
    /// Boxes that did not open.
    pub bad_boxes: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Preparing {
    Put(OutboxId),
    Get(FetchKey),
    Audit(OutboxId),
}

pub(super) struct PendingAck {
    pub(super) due: Timestamp,
    pub(super) id: BoxId,
    pub(super) secret: Secret32,
}

pub(super) struct WaitingInvite {
    pub(super) ticket: Ticket,
    pub(super) link: String,
    pub(super) outbox: OutboxId,
    pub(super) until: Timestamp,
}

pub(super) struct WaitingAccept {
    pub(super) ticket: Ticket,
    pub(super) until: Timestamp,
}
