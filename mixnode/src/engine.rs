//! The relay without IO. Time, unwrapped packets and clients' wishes come in; forwards and frames go out.
//!
//! Call order: any `handle_*` or session call, then [`Engine::take_new_tags`] and write what it returns to disk, then
//! [`Engine::poll_forward`] and [`Engine::poll_downlink`] until each is empty, then sleep until [`Engine::next_wake`].
//! `poll_forward` yields nothing while tags are untaken: a packet cannot leave before its tag had its chance.

use crate::{
    admission::{self, DropReason, Origin, may_come, may_go},
    delay::DelayQueue,
    entry::{DigestCache, DigestRefused, SessionRefused, Sessions},
};
use std::{collections::BTreeMap, fmt};
use veilpost_packet::{
    digest::SignedDigest,
    frame::{Flags, Frame, Hello, Want},
    ids::{NodeId, SessionAddress},
    random::EngineRng,
    replay::{Tag, TagKey, TagRefused, TagTable},
    sphinx::{Packet, Unwrapped},
    time::Timestamp,
};
use veilpost_pki::{Document, document::Place};

/// Bounds of an engine.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Packets in the delay queue (4.4 kB each). Any sender fills it.
    pub delayed: usize,
    /// Sessions of an entry. Any client fills it.
    pub sessions: usize,
    /// Replies that wait for a session's clock (4.4 kB each). Whoever holds the session's SURBs fills it.
    pub replies: usize,
    /// Bytes of digests and documents that wait for a session's clock; they are shared between sessions.
    pub stream: usize,
    /// Bytes of raw digests kept per mailbox. The mailbox fills it.
    pub digests: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { delayed: 16_384, sessions: 4_096, replies: 128, stream: 32 << 20, digests: 64 << 20 }
    }
}

/// What an engine is made from.
#[derive(Debug)]
pub struct EngineConfig {
    /// This node, which the document must list as a mix or an entry.
    pub id: NodeId,
    /// The verified document.
    pub document: Document,
    /// Bounds.
    pub limits: Limits,
}

/// A packet that is due at its next node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forward {
    /// The node, which this node has a link to.
    pub to: NodeId,
    /// Flags of the frame.
    pub flags: Flags,
    /// The packet.
    pub packet: Packet,
}

/// A mix or entry.
pub struct Engine {
    place: Place,
    document: Document,
    key_until: Timestamp,
    tag_key: TagKey,
    tags: TagTable,
    new_tags: Vec<Tag>,
    delayed: DelayQueue<(Next, Packet)>,
    sessions: Sessions,
    digests: DigestCache,
    dropped: BTreeMap<DropReason, u64>,
}

/// Where a waiting packet goes.
enum Next {
    Node(NodeId),
    Session(SessionAddress),
}

impl Engine {
    /// A relay at the place that the document gives it; `None` if it gives none, or that of a mailbox. `tags` holds what
    /// was seen before a restart, shortened by `tag_key`.
    pub fn new(config: EngineConfig, tag_key: TagKey, tags: TagTable, rng: EngineRng) -> Option<Self> {
        let EngineConfig { id, document, limits } = config;
        let (place, _) = document.relay(&id).filter(|(place, _)| *place != Place::Mailbox)?;
        Some(Self {
            place,
            key_until: document.valid_until + document.params.key_grace,
            tag_key,
            tags,
            new_tags: Vec::new(),
            delayed: DelayQueue::new(limits.delayed),
            sessions: Sessions::new(document.clone(), limits, rng),
            digests: DigestCache::new(document.clone(), limits.digests),
            dropped: BTreeMap::new(),
            document,
        })
    }

    /// Takes the result of one unwrap. Checks, in this order: the route's last hop, the legal transition, the delay, the
    /// room in the queue, and last the replay tag, so that packets which could never leave fill no table.
    ///
    /// # Errors
    /// Why it was dropped; counted.
    pub fn handle_unwrapped(&mut self, now: Timestamp, origin: Origin, unwrapped: Unwrapped) -> Result<(), DropReason> {
        let admitted = self.admit(now, origin, unwrapped);
        if let Err(reason) = admitted {
            self.count(reason);
        }
        admitted
    }

    fn admit(&mut self, now: Timestamp, origin: Origin, unwrapped: Unwrapped) -> Result<(), DropReason> {
        let tag = self.tag_key.shorten(&unwrapped.tag().0);
        let Unwrapped::Forward { next, delay, packet, .. } = unwrapped else { return Err(DropReason::LastHop) };
        let next = self.transition(origin, next)?;
        let due = admission::delay(now, delay, &self.document.params, self.key_until)?;
        if self.delayed.is_full() {
            return Err(DropReason::QueueFull);
        }
        self.tags.check_and_insert(tag).map_err(|refused| match refused {
            TagRefused::Seen => DropReason::Replay,
            TagRefused::Full => DropReason::ReplayFull,
        })?;
        self.new_tags.push(tag);
        self.delayed.push(due, (next, packet)).map_err(|_| DropReason::QueueFull)
    }

    /// "Entry: from a client only to layer 1, from layer 3 only to a session address."
    fn transition(&self, origin: Origin, next: [u8; 32]) -> Result<Next, DropReason> {
        match origin {
            Origin::Session(session) if self.place != Place::Entry || !self.sessions.contains(&session) => {
                return Err(DropReason::From);
            }
            Origin::Node { place, .. } if !may_come(self.place, place) => return Err(DropReason::From),
            Origin::Node { .. } if self.place == Place::Entry => {
                let session = SessionAddress(next);
                let known = self.sessions.contains(&session);
                return if known { Ok(Next::Session(session)) } else { Err(DropReason::Session) };
            }
            Origin::Session(_) | Origin::Node { .. } => {}
        }
        let next = NodeId(next);
        match self.document.relay(&next) {
            Some((place, _)) if may_go(self.place, place) => Ok(Next::Node(next)),
            _ => Err(DropReason::To),
        }
    }

    /// Tags admitted since the last call. Write them to disk before polling; if that fails, poll no more.
    #[must_use = "a packet whose tag is not on disk can be replayed after a restart"]
    pub fn take_new_tags(&mut self) -> Vec<Tag> {
        std::mem::take(&mut self.new_tags)
    }

    /// The next packet that is due at another node. Packets due at sessions move to their downlink queues on the way.
    pub fn poll_forward(&mut self, now: Timestamp) -> Option<Forward> {
        if !self.new_tags.is_empty() {
            return None;
        }
        loop {
            match self.delayed.pop_due(now)? {
                (Next::Node(to), packet) => {
                    return Some(Forward { to, flags: Flags::for_epoch(self.document.epoch), packet });
                }
                (Next::Session(session), packet) => {
                    if let Err(reason) = self.sessions.queue_reply(&session, packet) {
                        self.count(reason);
                    }
                }
            }
        }
    }

    /// The next frame that a session's clock wants sent. Must be sent, or the session closed: frames of the document's and
    /// digests' byte streams cannot be left out.
    pub fn poll_downlink(&mut self, now: Timestamp) -> Option<(SessionAddress, Frame)> {
        self.sessions.poll(now)
    }

    /// When to poll again, whatever else happens.
    pub fn next_wake(&self) -> Option<Timestamp> {
        [self.delayed.next_due(), self.sessions.next_tick()].into_iter().flatten().min()
    }

    /// Opens a client's session. The clock of its downlink starts now; it is sent the document unless it has it.
    ///
    /// # Errors
    /// [`SessionRefused`]; the link should be refused without a word.
    pub fn open_session(&mut self, now: Timestamp, hello: &Hello) -> Result<SessionAddress, SessionRefused> {
        if self.place != Place::Entry {
            return Err(SessionRefused::NoEntry);
        }
        self.sessions.open(now, hello)
    }

    /// Ends a session; what waits for it is dropped. Its address stays taken for the key's grace period.
    pub fn close_session(&mut self, now: Timestamp, session: &SessionAddress) {
        self.sessions.close(now, session);
    }

    /// Takes a digest that came over `from`'s link: caches it, and relays it to every session if it is of these minutes.
    ///
    /// # Errors
    /// [`DigestRefused`].
    pub fn handle_digest(&mut self, now: Timestamp, from: &NodeId, digest: &SignedDigest) -> Result<(), DigestRefused> {
        if self.place != Place::Entry {
            return Err(DigestRefused::NotOurs);
        }
        if let Some(fresh) = self.digests.insert(now, from, digest)? {
            self.sessions.push_digest(&fresh);
        }
        Ok(())
    }

    /// Answers a client's Want from the cache, as far as the session's stream has room.
    pub fn handle_want(&mut self, session: &SessionAddress, want: &Want) {
        self.sessions.push_digests(session, self.digests.range(want));
    }

    /// What to ask a mailbox for when its link comes up: the digests from the first tick that is lacking on.
    pub fn want_from(&self, now: Timestamp, mailbox: &NodeId) -> Want {
        self.digests.want(now, mailbox)
    }

    /// This node's place in the document.
    pub fn place(&self) -> Place {
        self.place
    }

    /// The document.
    pub fn document(&self) -> &Document {
        &self.document
    }

    /// Counts a drop that happened around the engine.
    pub fn count(&mut self, reason: DropReason) {
        *self.dropped.entry(reason).or_default() += 1;
    }

    /// Drops so far, by reason.
    pub fn dropped(&self) -> &BTreeMap<DropReason, u64> {
        &self.dropped
    }

    /// Packets in the delay queue.
    pub fn delayed(&self) -> usize {
        self.delayed.len()
    }

    /// Open sessions.
    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }

    /// Tags in the replay table.
    pub fn tags(&self) -> usize {
        self.tags.len()
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("place", &self.place)
            .field("delayed", &self.delayed.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
