//! The sessions of an entry's clients.

use crate::{DropReason, Limits, entry::Downlink};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
    sync::Arc,
};
use veilpost_packet::{
    frame::{Flags, Frame, Hello},
    ids::{NodeId, SessionAddress},
    random::{EngineRng, fork},
    sphinx::Packet,
    time::Timestamp,
};
use veilpost_pki::Document;

/// A session was not opened. The client sees its link closed and nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SessionRefused {
    /// This node is no entry.
    #[error("not an entry")]
    NoEntry,
    /// The hello names no session.
    #[error("no session address")]
    NoAddress,
    /// The address is in use, or was until recently: "the entry refuses one that is in use".
    #[error("session address in use")]
    InUse,
    /// The address is that of a node: "or equal to a node id".
    #[error("session address of a node")]
    NodeId,
    /// As many sessions as there may be.
    #[error("too many sessions")]
    TooMany,
}

/// Addresses of ended sessions that are remembered, at most, per open session allowed.
const ENDED_PER_SESSION: usize = 4;

/// All sessions of an entry.
pub struct Sessions {
    document: Document,
    limits: Limits,
    rng: EngineRng,
    open: BTreeMap<SessionAddress, Downlink>,
    /// Next ticks of all sessions.
    clock: BTreeSet<(Timestamp, SessionAddress)>,
    /// Addresses that stay taken for the key's grace period, since packets to them may still be on their way.
    ended: BTreeSet<SessionAddress>,
    endings: VecDeque<(Timestamp, SessionAddress)>,
}

impl Sessions {
    /// No sessions yet.
    pub fn new(document: Document, limits: Limits, rng: EngineRng) -> Self {
        let (open, clock) = (BTreeMap::new(), BTreeSet::new());
        Self { document, limits, rng, open, clock, ended: BTreeSet::new(), endings: VecDeque::new() }
    }

    /// Opens a session and queues the document, unless the client has it.
    ///
    /// # Errors
    /// [`SessionRefused`].
    pub fn open(&mut self, now: Timestamp, hello: &Hello) -> Result<SessionAddress, SessionRefused> {
        self.forget_ended(now);
        let address = hello.session.ok_or(SessionRefused::NoAddress)?;
        if self.open.contains_key(&address) || self.ended.contains(&address) {
            return Err(SessionRefused::InUse);
        }
        if self.document.relay(&NodeId(address.0)).is_some() {
            return Err(SessionRefused::NodeId);
        }
        if self.open.len() >= self.limits.sessions {
            return Err(SessionRefused::TooMany);
        }
        let mut downlink = Downlink::new(now, &self.document.params, fork(&mut self.rng));
        if hello.document != self.document.hash() {
            downlink.push_document(self.document.bytes());
        }
        self.clock.insert((downlink.next(), address));
        self.open.insert(address, downlink);
        Ok(address)
    }

    /// Ends a session.
    pub fn close(&mut self, now: Timestamp, address: &SessionAddress) {
        let Some(downlink) = self.open.remove(address) else { return };
        self.clock.remove(&(downlink.next(), *address));
        self.ended.insert(*address);
        self.endings.push_back((now + self.document.params.key_grace, *address));
        self.forget_ended(now);
    }

    fn forget_ended(&mut self, now: Timestamp) {
        let bound = self.limits.sessions.saturating_mul(ENDED_PER_SESSION);
        while let Some((until, address)) = self.endings.front().copied() {
            if until > now && self.endings.len() <= bound {
                break;
            }
            self.endings.pop_front();
            self.ended.remove(&address);
        }
    }

    /// True if the session is open.
    pub fn contains(&self, address: &SessionAddress) -> bool {
        self.open.contains_key(address)
    }

    /// Queues a reply for a session.
    ///
    /// # Errors
    /// [`DropReason::Session`] if it has ended; [`DropReason::Downlink`] if an older reply had to go.
    pub fn queue_reply(&mut self, address: &SessionAddress, packet: Packet) -> Result<(), DropReason> {
        self.open.get_mut(address).ok_or(DropReason::Session)?.push_reply(packet, self.limits.replies)
    }

    /// Queues a new digest for every session.
    pub fn push_digest(&mut self, digest: &Arc<[u8]>) {
        for downlink in self.open.values_mut() {
            downlink.push_digest(Arc::clone(digest), self.limits.stream);
        }
    }

    /// Queues older digests for one session, until its stream is full.
    pub fn push_digests<'a>(&mut self, address: &SessionAddress, digests: impl Iterator<Item = &'a Arc<[u8]>>) {
        let Some(downlink) = self.open.get_mut(address) else { return };
        for digest in digests {
            if !downlink.push_digest(Arc::clone(digest), self.limits.stream) {
                return;
            }
        }
    }

    /// The frame of the next clock that has ticked.
    pub fn poll(&mut self, now: Timestamp) -> Option<(SessionAddress, Frame)> {
        let &(due, address) = self.clock.first().filter(|(due, _)| *due <= now)?;
        self.clock.remove(&(due, address));
        let downlink = self.open.get_mut(&address)?;
        let frame = downlink.tick(now, Flags::for_epoch(self.document.epoch), &self.document.params);
        self.clock.insert((downlink.next(), address));
        Some((address, frame))
    }

    /// When the next clock ticks.
    pub fn next_tick(&self) -> Option<Timestamp> {
        self.clock.first().map(|(due, _)| *due)
    }

    /// Open sessions.
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Addresses that an ended session keeps taken.
    pub fn ended(&self) -> usize {
        self.ended.len()
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions").field("open", &self.open.len()).finish_non_exhaustive()
    }
}
