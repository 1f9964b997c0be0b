//! The relay without IO. Time, unwrapped packets and clients' wishes come in; forwards and frames go out.
//!
//! An engine knows several documents at one time and has the key of several epochs (*live* epochs): a packet belongs to the
//! epoch whose key opened it, is admitted by that epoch's document, remembered in that epoch's table and leaves with that
//! epoch's flags. Routes never mix epochs. Which document is in force follows from the time of each call.
//!
//! Call order: any `handle_*` or session call, then [`Engine::take_new_tags`] and write what it returns to disk, then
//! [`Engine::poll_forward`], [`Engine::poll_loop`] and [`Engine::poll_downlink`] until each is empty, then sleep until
//! [`Engine::next_wake`]. `poll_forward` yields nothing while tags are untaken: a packet cannot leave before its tag had its chance.
//! [`Engine::poll_loop_job`] at any time: workers build what `poll_loop` sends.

use crate::{
    admission::{self, DropReason, Origin, may_come, may_go, may_return},
    delay::DelayQueue,
    entry::{DigestCache, DigestRefused, SessionRefused, Sessions, SetCache},
};
use std::{collections::BTreeMap, fmt};
use veilpost_cover::{BuiltLoop, Cover, Departure, Findings, LoopJob, statistics::Evidence};
use veilpost_packet::{
    digest::SignedDigest,
    frame::{Flags, Frame, Hello, Want, Wanted},
    ids::{NodeId, SessionAddress, SurbId},
    random::{EngineRng, fork},
    replay::{Tag, TagKey, TagRefused, TagTable},
    set::SignedSet,
    sphinx::{Packet, ReplayTag, SealedPayload, Unwrapped},
    time::{Epoch, Timestamp},
};
use veilpost_pki::{Document, Documents, document::Place};

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
    /// Bytes of sets kept per mailbox. The mailbox fills it. At 28 MB for 1,000 clients and three mailboxes there is room for two
    /// thousand.
    pub sets: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { delayed: 16_384, sessions: 4_096, replies: 128, stream: 32 << 20, digests: 64 << 20, sets: 64 << 20 }
    }
}

/// What an engine with one document is made from.
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
    id: NodeId,
    documents: Documents,
    /// Live epochs; each has its document in `documents`, so there are at most as many.
    epochs: BTreeMap<Epoch, Live>,
    delayed: DelayQueue<(Next, Flags, Packet)>,
    sessions: Sessions,
    digests: DigestCache,
    sets: SetCache,
    cover: Cover,
    dropped: BTreeMap<DropReason, u64>,
}

/// A live epoch.
struct Live {
    place: Place,
    tag_key: TagKey,
    tags: TagTable,
    new_tags: Vec<Tag>,
}

impl Live {
    fn remember(&mut self, tag: Tag) -> Result<(), DropReason> {
        self.tags.check_and_insert(tag).map_err(|refused| match refused {
            TagRefused::Seen => DropReason::Replay,
            TagRefused::Full => DropReason::ReplayFull,
        })?;
        self.new_tags.push(tag);
        Ok(())
    }
}

/// Where a waiting packet goes.
enum Next {
    Node(NodeId),
    Session(SessionAddress),
}

impl Engine {
    /// A relay that knows no document and takes nothing yet.
    pub fn idle(id: NodeId, limits: Limits, mut rng: EngineRng) -> Self {
        Self {
            id,
            cover: Cover::new(id, fork(&mut rng)),
            documents: Documents::default(),
            epochs: BTreeMap::new(),
            delayed: DelayQueue::new(limits.delayed),
            sessions: Sessions::new(id, limits, rng),
            digests: DigestCache::new(limits.digests),
            sets: SetCache::new(limits.sets),
            dropped: BTreeMap::new(),
        }
    }

    /// A relay at the place that one document gives it; `None` if it gives none, or that of a mailbox. `tags` holds what
    /// was seen before a restart, shortened by `tag_key`.
    pub fn new(config: EngineConfig, tag_key: TagKey, tags: TagTable, rng: EngineRng) -> Option<Self> {
        let EngineConfig { id, document, limits } = config;
        let (epoch, mut engine) = (document.epoch, Self::idle(id, limits, rng));
        engine.handle_documents(document.into());
        engine.open_epoch(epoch, tag_key, tags).then_some(engine)
    }

    /// The documents that are known from now on. Those that are new go to every session; epochs without a document are closed.
    pub fn handle_documents(&mut self, documents: Documents) {
        for document in documents.iter().filter(|document| self.documents.get(document.epoch).is_none()) {
            self.sessions.push_document(document);
        }
        self.epochs.retain(|epoch, _| documents.get(*epoch).is_some());
        self.digests.forget_others(&documents);
        self.sets.forget_others(&documents);
        self.documents = documents;
    }

    /// Makes an epoch live, whose document is known. `tags` holds what was seen before a restart, shortened by `tag_key`.
    /// False if the document does not list this node as a mix or an entry: the epoch is not live then.
    pub fn open_epoch(&mut self, epoch: Epoch, tag_key: TagKey, tags: TagTable) -> bool {
        let listed = self.documents.get(epoch).and_then(|document| document.relay(&self.id));
        let Some((place, _)) = listed.filter(|(place, _)| *place != Place::Mailbox) else { return false };
        self.epochs.insert(epoch, Live { place, tag_key, tags, new_tags: Vec::new() });
        true
    }

    /// Lets an epoch's replay table hold more, as when a voting round failed and the epoch goes on.
    pub fn raise_tags_max(&mut self, epoch: Epoch, tags: usize) {
        if let Some(live) = self.epochs.get_mut(&epoch) {
            live.tags.raise_capacity(tags);
        }
    }

    /// Packets in the delay queue at most, from now on.
    pub fn bound_delayed(&mut self, packets: usize) {
        self.delayed.set_bound(packets);
    }

    /// Ends a live epoch: its packets are not taken any more. Those that wait still leave.
    pub fn close_epoch(&mut self, epoch: Epoch) {
        self.epochs.remove(&epoch);
    }

    /// Takes the result of one unwrap with the key of `epoch`. Checks, in this order: the epoch, the route's last hop, the legal transition, the delay, the
    /// room in the queue, and last the replay tag, so that packets which could never leave fill no table.
    ///
    /// # Errors
    /// Why it was dropped; counted.
    pub fn handle_unwrapped(
        &mut self,
        now: Timestamp,
        epoch: Epoch,
        origin: Origin,
        unwrapped: Unwrapped,
    ) -> Result<(), DropReason> {
        let admitted = self.admit(now, epoch, origin, unwrapped);
        if let Err(reason) = admitted {
            self.count(reason);
        }
        admitted
    }

    fn admit(&mut self, now: Timestamp, epoch: Epoch, origin: Origin, unwrapped: Unwrapped) -> Result<(), DropReason> {
        let key_until = self.documents.key_until(epoch).filter(|until| now < *until).ok_or(DropReason::Epoch)?;
        let document = self.documents.get(epoch).ok_or(DropReason::Epoch)?;
        let live = self.epochs.get_mut(&epoch).ok_or(DropReason::Epoch)?;
        let (tag, next, delay, packet) = match unwrapped {
            Unwrapped::Forward { tag, next, delay, packet } => (live.tag_key.shorten(&tag.0), next, delay, packet),
            Unwrapped::Deliver { tag, surb: Some(id), payload } => {
                return self.take_back(now, epoch, origin, (tag, id, &payload));
            }
            Unwrapped::Deliver { .. } => return Err(DropReason::LastHop),
        };
        let next = transition(document, live.place, &self.sessions, origin, next)?;
        let due = admission::delay(now, delay, &document.params, key_until)?;
        if self.delayed.is_full() {
            return Err(DropReason::QueueFull);
        }
        live.remember(tag)?;
        self.delayed.push(due, (next, Flags::for_epoch(epoch), packet)).map_err(|_| DropReason::QueueFull)
    }

    /// "A last hop at a mix is one of its own loops": on its way, and from where its answer has to come.
    fn take_back(
        &mut self,
        now: Timestamp,
        epoch: Epoch,
        origin: Origin,
        (tag, id, payload): (ReplayTag, SurbId, &SealedPayload),
    ) -> Result<(), DropReason> {
        self.cover.handle_time(now);
        if !self.cover.is_waiting(&id) {
            return Err(DropReason::LastHop);
        }
        let live = self.epochs.get_mut(&epoch).ok_or(DropReason::Epoch)?;
        match origin {
            Origin::Node { place, .. } if may_return(live.place, place) => {}
            Origin::Node { .. } | Origin::Session(_) => return Err(DropReason::From),
        }
        live.remember(live.tag_key.shorten(&tag.0))?;
        let unchanged = self.cover.handle_returned(now, &id, payload);
        if unchanged { Ok(()) } else { Err(DropReason::Malformed) }
    }

    /// The next of this node's own loops to build; run it on a worker and hand the result to [`Engine::handle_loop_built`].
    pub fn poll_loop_job(&mut self, now: Timestamp) -> Option<LoopJob> {
        self.follow_cover(now);
        self.cover.poll_job()
    }

    /// A worker has built a loop.
    pub fn handle_loop_built(&mut self, built: BuiltLoop) {
        self.cover.handle_built(built);
    }

    /// The next of this node's own loops whose tick has come. Nothing else decides when it leaves.
    pub fn poll_loop(&mut self, now: Timestamp) -> Option<Forward> {
        self.follow_cover(now);
        self.cover.poll_packet(now).map(|Departure { to, flags, packet }| Forward { to, flags, packet })
    }

    /// What its loops tell, now and then: hand what `veilpost_cover::findings::find` says of it, on a worker, to
    /// [`Engine::handle_findings`].
    pub fn poll_evidence(&mut self, now: Timestamp) -> Option<Evidence> {
        self.follow_cover(now);
        self.cover.poll_evidence(now)
    }

    /// What the evidence says.
    pub fn handle_findings(&mut self, findings: Findings) {
        self.cover.handle_findings(findings);
    }

    /// Loops run while the document in force lists this node and its packets are taken here.
    fn follow_cover(&mut self, now: Timestamp) {
        let in_force = self.documents.in_force(now).filter(|document| self.epochs.contains_key(&document.epoch));
        self.cover.follow(now, in_force);
    }

    /// This node's own loops.
    pub fn cover(&self) -> &Cover {
        &self.cover
    }

    /// Tags admitted since the last call, by epoch. Write them to their epoch's log before polling; if that fails, poll no more.
    #[must_use = "a packet whose tag is not on disk can be replayed after a restart"]
    pub fn take_new_tags(&mut self) -> Vec<(Epoch, Vec<Tag>)> {
        let new = self.epochs.iter_mut().filter(|(_, live)| !live.new_tags.is_empty());
        new.map(|(epoch, live)| (*epoch, std::mem::take(&mut live.new_tags))).collect()
    }

    /// The next packet that is due at another node. Packets due at sessions move to their downlink queues on the way.
    pub fn poll_forward(&mut self, now: Timestamp) -> Option<Forward> {
        if self.epochs.values().any(|live| !live.new_tags.is_empty()) {
            return None;
        }
        loop {
            match self.delayed.pop_due(now)? {
                (Next::Node(to), flags, packet) => return Some(Forward { to, flags, packet }),
                (Next::Session(session), flags, packet) => {
                    if let Err(reason) = self.sessions.queue_reply(&session, flags, packet) {
                        self.count(reason);
                    }
                }
            }
        }
    }

    /// The next frame that a session's clock wants sent. Must be sent, or the session closed: frames of the document's and
    /// digests' byte streams cannot be left out.
    pub fn poll_downlink(&mut self, now: Timestamp) -> Option<(SessionAddress, Frame)> {
        self.sessions.poll(now, &self.documents.current(now)?.params)
    }

    /// When to poll again, whatever else happens.
    pub fn next_wake(&self) -> Option<Timestamp> {
        [self.delayed.next_due(), self.sessions.next_tick(), self.cover.next_wake()].into_iter().flatten().min()
    }

    /// Opens a client's session. The clock of its downlink starts now; it is sent the document in force and those to come,
    /// unless it has them.
    ///
    /// # Errors
    /// [`SessionRefused`]; the link should be refused without a word, unless a puzzle is asked.
    pub fn open_session(&mut self, now: Timestamp, hello: &Hello) -> Result<SessionAddress, SessionRefused> {
        let in_force = self.documents.in_force(now).and_then(|document| self.epochs.get(&document.epoch));
        if in_force.is_none_or(|live| live.place != Place::Entry) {
            return Err(SessionRefused::NoEntry);
        }
        self.sessions.open(now, &self.documents, hello)
    }

    /// Ends a session; what waits for it is dropped. Its address stays taken for the key's grace period.
    pub fn close_session(&mut self, now: Timestamp, session: &SessionAddress) {
        let grace = self.documents.current(now).map(|document| document.params.key_grace).unwrap_or_default();
        self.sessions.close(now, grace, session);
    }

    /// Takes a digest that came over `from`'s link: caches it, and relays it to every session if it is of these minutes.
    ///
    /// # Errors
    /// [`DigestRefused`].
    pub fn handle_digest(&mut self, now: Timestamp, from: &NodeId, digest: &SignedDigest) -> Result<(), DigestRefused> {
        if self.place() != Some(Place::Entry) {
            return Err(DigestRefused::NotOurs);
        }
        if let Some(fresh) = self.digests.insert(now, &self.documents, from, digest)? {
            self.sessions.push_digest(&fresh);
        }
        Ok(())
    }

    /// Answers a client's Want from the cache, as far as the session's stream has room.
    pub fn handle_want(&mut self, session: &SessionAddress, want: &Want) {
        match want.what {
            Wanted::Digests => self.sessions.push_digests(session, self.digests.range(want)),
            Wanted::Hours | Wanted::Days => self.sessions.push_sets(session, self.sets.range(want)),
        }
    }

    /// Takes a part of a set that came over `from`'s link.
    ///
    /// # Errors
    /// [`DigestRefused`].
    pub fn handle_set(&mut self, now: Timestamp, from: &NodeId, set: &SignedSet) -> Result<(), DigestRefused> {
        if self.place() != Some(Place::Entry) {
            return Err(DigestRefused::NotOurs);
        }
        self.sets.insert(now, &self.documents, from, set)
    }

    /// Which sets to ask a mailbox for when its link comes up: all that it has, as they thin out while we are away.
    pub fn set_wants(mailbox: &NodeId) -> [Want; 2] {
        [Wanted::Hours, Wanted::Days].map(|what| Want { mailbox: *mailbox, what, first: 0, count: u32::MAX })
    }

    /// What to ask a mailbox for when its link comes up: the digests from the first tick that is lacking on. `None` before
    /// there is a document.
    pub fn want_from(&self, now: Timestamp, mailbox: &NodeId) -> Option<Want> {
        Some(self.digests.want(now, &self.documents.current(now)?.params, mailbox))
    }

    /// This node.
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// This node's place in the newest live epoch; `None` if no epoch is live.
    pub fn place(&self) -> Option<Place> {
        self.epochs.last_key_value().map(|(_, live)| live.place)
    }

    /// The documents that are known.
    pub fn documents(&self) -> &Documents {
        &self.documents
    }

    /// The live epochs, ascending.
    pub fn live(&self) -> impl Iterator<Item = Epoch> {
        self.epochs.keys().copied()
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

    /// Tags in the replay tables of all live epochs.
    pub fn tags(&self) -> usize {
        self.epochs.values().map(|live| live.tags.len()).sum()
    }

    /// Bytes of memory that the replay tables take.
    pub fn tags_memory(&self) -> usize {
        self.epochs.values().map(|live| live.tags.memory()).sum()
    }
}

/// "Entry: from a client only to layer 1, from layer 3 only to a session address." All by the document of the packet's epoch.
fn transition(
    document: &Document,
    ours: Place,
    sessions: &Sessions,
    origin: Origin,
    next: [u8; 32],
) -> Result<Next, DropReason> {
    match origin {
        Origin::Session(session) if ours != Place::Entry || !sessions.contains(&session) => {
            return Err(DropReason::From);
        }
        Origin::Node { place, .. } if !may_come(ours, place) => return Err(DropReason::From),
        Origin::Node { .. } if ours == Place::Entry => {
            let session = SessionAddress(next);
            return if sessions.contains(&session) { Ok(Next::Session(session)) } else { Err(DropReason::Session) };
        }
        Origin::Session(_) | Origin::Node { .. } => {}
    }
    let next = NodeId(next);
    match document.relay(&next) {
        Some((place, _)) if may_go(ours, place) => Ok(Next::Node(next)),
        _ => Err(DropReason::To),
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("place", &self.place())
            .field("delayed", &self.delayed.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
