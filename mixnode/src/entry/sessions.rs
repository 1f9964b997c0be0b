//! The sessions of an entry's clients.

use super::toll::Toll;
use crate::{DropReason, Limits, entry::Downlink};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
    sync::Arc,
    time::Duration,
};
use veilpost_packet::{
    frame::{Flags, Frame, Hello},
    ids::{NodeId, SessionAddress},
    puzzle::SessionAsk,
    random::{EngineRng, fork},
    sphinx::Packet,
    time::Timestamp,
};
use veilpost_pki::{Document, Documents, Params};

/// A session was not opened. The client sees its link closed and nothing else, or what it is asked for.
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
    /// The hello has no solution of what is asked under load.
    #[error("no solution of the session puzzle")]
    Puzzle(SessionAsk),
}

/// Addresses of ended sessions that are remembered, at most, per open session allowed.
const ENDED_PER_SESSION: usize = 4;

/// Time that goes back by more than this was set back; less is waited for.
const SET_BACK: Duration = Duration::from_secs(1);

/// All sessions of an entry.
pub struct Sessions {
    limits: Limits,
    rng: EngineRng,
    toll: Toll,
    open: BTreeMap<SessionAddress, Downlink>,
    /// Next ticks of all sessions.
    clock: BTreeSet<(Timestamp, SessionAddress)>,
    /// The latest time that a poll brought.
    polled: Timestamp,
    /// Addresses that stay taken for the key's grace period, since packets to them may still be on their way.
    ended: BTreeSet<SessionAddress>,
    endings: VecDeque<(Timestamp, SessionAddress)>,
}

impl Sessions {
    /// No sessions yet, of the entry `id`.
    pub fn new(id: NodeId, limits: Limits, rng: EngineRng) -> Self {
        let (open, clock, toll) = (BTreeMap::new(), BTreeSet::new(), Toll::new(id));
        let polled = Timestamp::ZERO;
        Self { limits, rng, toll, open, clock, polled, ended: BTreeSet::new(), endings: VecDeque::new() }
    }

    /// Opens a session and queues the document in force and what is known of those to come. A client that names one of them
    /// has it and those before it, since they come in this order.
    ///
    /// # Errors
    /// [`SessionRefused`].
    pub fn open(
        &mut self,
        now: Timestamp,
        documents: &Documents,
        hello: &Hello,
    ) -> Result<SessionAddress, SessionRefused> {
        self.forget_ended(now);
        let in_force = documents.in_force(now).ok_or(SessionRefused::NoEntry)?;
        let address = hello.session.ok_or(SessionRefused::NoAddress)?;
        if self.open.contains_key(&address) || self.ended.contains(&address) {
            return Err(SessionRefused::InUse);
        }
        if documents.iter().any(|document| document.relay(&NodeId(address.0)).is_some()) {
            return Err(SessionRefused::NodeId);
        }
        if self.open.len() >= self.limits.sessions {
            return Err(SessionRefused::TooMany);
        }
        let (network, effort) = (&in_force.network, Toll::effort(self.open.len(), self.limits.sessions));
        let paid = self.toll.check(now, &mut self.rng, network, (hello, &address), effort);
        paid.map_err(SessionRefused::Puzzle)?;
        let mut downlink = Downlink::new(now, &in_force.params, hello.profile, fork(&mut self.rng));
        let named = documents.iter().find(|document| document.hash() == hello.document).map(|named| named.epoch);
        for document in documents.iter().filter(|document| document.epoch >= in_force.epoch) {
            if named < Some(document.epoch) {
                downlink.push_document(document.bytes(), self.limits.stream);
            }
        }
        self.clock.insert((downlink.next(), address));
        self.open.insert(address, downlink);
        Ok(address)
    }

    /// Queues a document that has just become known for every session.
    pub fn push_document(&mut self, document: &Document) {
        for downlink in self.open.values_mut() {
            downlink.push_document(document.bytes(), self.limits.stream);
        }
    }

    /// Ends a session; its address stays taken for `grace`.
    pub fn close(&mut self, now: Timestamp, grace: Duration, address: &SessionAddress) {
        let Some(downlink) = self.open.remove(address) else { return };
        self.clock.remove(&(downlink.next(), *address));
        self.ended.insert(*address);
        self.endings.push_back((now + grace, *address));
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

    /// Queues a reply for a session, with the flags of its epoch.
    ///
    /// # Errors
    /// [`DropReason::Session`] if it has ended; [`DropReason::Downlink`] if an older reply had to go.
    pub fn queue_reply(&mut self, address: &SessionAddress, flags: Flags, packet: Packet) -> Result<(), DropReason> {
        self.open.get_mut(address).ok_or(DropReason::Session)?.push_reply(flags, packet, self.limits.replies)
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

    /// Queues parts of sets for one session, until its stream is full.
    pub fn push_sets<'a>(&mut self, address: &SessionAddress, sets: impl Iterator<Item = &'a Arc<[u8]>>) {
        let Some(downlink) = self.open.get_mut(address) else { return };
        for part in sets {
            if !downlink.push_set(Arc::clone(part), self.limits.stream) {
                return;
            }
        }
    }

    /// The frame of the next clock that has ticked; clocks run at the rates of `params`.
    pub fn poll(&mut self, now: Timestamp, params: &Params) -> Option<(SessionAddress, Frame)> {
        if now + SET_BACK < self.polled {
            self.rewind(now, params);
        }
        self.polled = now;
        let &(due, address) = self.clock.first().filter(|(due, _)| *due <= now)?;
        self.clock.remove(&(due, address));
        let downlink = self.open.get_mut(&address)?;
        let frame = downlink.tick(now, params);
        self.clock.insert((downlink.next(), address));
        Some((address, frame))
    }

    fn rewind(&mut self, now: Timestamp, params: &Params) {
        self.clock.clear();
        for (address, downlink) in &mut self.open {
            downlink.rewind(now, params);
            self.clock.insert((downlink.next(), *address));
        }
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
