//! The mailbox as a state machine: commands and what other mailboxes say come in, durable changes are made in one batch, replies,
//! frames for other mailboxes and digests come out at their own times.
//!
//! Call order: [`Mailbox::handle`] for what has arrived, then [`Mailbox::poll_sweep`], [`Mailbox::poll_digest`], [`Mailbox::poll_set`],
//! [`Mailbox::poll_peer_frame`] and [`Mailbox::poll_reply`] until they give nothing, then sleep until [`Mailbox::next_wake`].
//!
//! | module | holds |
//! |---|---|
//! | `deciding` | commands of clients |
//! | `copies` | what other mailboxes say; who holds what |
//! | `sweep` | going through all boxes, so that each comes to its holders |
//! | `digests` | what is published each tick |
//! | `sets` | what is still held, for readers who were away |
//! | `batch` | changes on their way to the disk |
//! | `replies` | answers on their way out |
//! | `peers` | the links to other mailboxes |

mod batch;
mod copies;
mod deciding;
mod digests;
mod peers;
mod replies;
mod sets;
mod sweep;

pub use copies::FromPeer;
pub use peers::{COPIES_MAX, ITEMS_MAX};
pub use replies::{Back, REPLIES_MAX};
pub use sweep::Progress;

use crate::store::{BoxStore, Change, Confirmation, Series, StoreError, StoreId, Usage};
use batch::{Batch, Effect};
use digests::Tags;
use peers::Peers;
use replies::{Replies, Waiting, Wish};
use sets::Sets;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use sweep::Sweep;
use veilpost_packet::{
    boxes::{ContentHash, SealedBox},
    command::{Answer, Command, HolderSignature},
    digest::{Digest, DigestHash, SignedDigest},
    frame::Frame,
    geometry::PUZZLE,
    ids::{BoxId, District, DocumentHash, NetworkId, NodeId},
    peer::{PeerItem, PlacementHash},
    primitives::{Secret32, SigningSecret, hash, label},
    random::{EngineRng, bytes, exponential},
    time::{Day, Epoch, Tick, Timestamp},
};
use veilpost_pki::{PutAdmission, View, descriptor::FILL_MAX, topology};

/// A writer whose clock is ahead at a day's border is a day ahead.
const CLOCK_SLACK_DAYS: u32 = 1;
/// Contested boxes that wait for the word of the mailbox that decides.
const OFFERS_MAX: usize = 1_024;

/// The engine's notes in its store.
#[derive(Clone, Copy)]
#[repr(u32)]
enum Note {
    /// The placement set and the tenure under it.
    Tenure = 0,
    /// The placement set under which every mailbox has gone through its boxes.
    Settled = 1,
}

/// What a mailbox is told by the network document in force.
#[derive(Clone, Debug)]
pub struct Terms {
    /// The network.
    pub network: NetworkId,
    /// The document's hash.
    pub document: DocumentHash,
    /// Its parameters.
    pub params: veilpost_pki::Params,
    /// The placement set in force.
    pub placement: Vec<NodeId>,
    /// K: mailboxes that hold a box.
    pub copies: usize,
    /// W: disks that a box must be on before `Stored`.
    pub durable_copies: usize,
    /// Mailboxes that the document lists.
    pub listed: BTreeSet<NodeId>,
}

impl Terms {
    /// Those of a document.
    pub fn of(document: DocumentHash, view: &View) -> Self {
        Self {
            network: view.network,
            document,
            params: view.params.clone(),
            placement: view.placements.first().map_or_else(Vec::new, |placement| placement.mailboxes.clone()),
            copies: view.copies(),
            durable_copies: view.durable_copies(),
            listed: view.mailboxes.iter().map(|mailbox| mailbox.id).collect(),
        }
    }

    fn placement_hash(&self) -> PlacementHash {
        let ids: Vec<&[u8]> = self.placement.iter().map(|id| &id.as_bytes()[..]).collect();
        let full = hash(label::PLACEMENT_SET, &ids);
        PlacementHash(*full.first_chunk().expect("a hash is longer than its cut"))
    }
}

/// What the operator decides.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of boxes and tombstones that may be held.
    pub quota_bytes: u64,
    /// Of these the ones that expire on one day, so that a flood of one day leaves room for the next.
    pub bucket_bytes: u64,
    /// Bytes that must stay free on the disk.
    pub free_disk_floor: u64,
}

/// A command whose public-key work is done.
#[derive(Debug)]
pub struct Arrived {
    /// When its packet came.
    pub at: Timestamp,
    /// The epoch of its packet: the reply goes back in it.
    pub epoch: Epoch,
    /// The document of that epoch, which the sender used: the reply names it.
    pub document: DocumentHash,
    /// How to answer.
    pub back: Back,
    /// What is asked.
    pub request: Request,
}

/// A command as the engine sees it.
#[derive(Debug)]
pub enum Request {
    /// Store a box whose signature is good. Our own signature that it is stored is made already, and leaves with the answer
    /// `Stored` alone.
    Put(Box<SealedBox>, ContentHash, HolderSignature),
    /// Hand out a box.
    Get(BoxId, District),
    /// Delete a box.
    Ack(BoxId, District, Secret32),
    /// Come back.
    Loop,
    /// A Put that has not paid what the document of its epoch asks.
    BadPuzzle,
    /// A Put whose signature is not that of its box id.
    BadSignature,
}

impl Request {
    /// Does the public-key work of a command (about 55 us for a Put, and up to 100 us more for its puzzle if there is one): outside
    /// the engine, on a worker. `admission`: of the document of the packet's epoch; `holder`: the mailbox's own key.
    ///
    /// The puzzle comes first: what has not paid costs no signature and no disk. An Ack needs none: it frees room, names a secret
    /// that only the reader of a box knows, and its tombstone counts against the quota in the box's place.
    pub fn check(command: Command, admission: &PutAdmission, holder: &SigningSecret) -> Self {
        match command {
            Command::Put { sealed, puzzle, .. } => Self::check_put(sealed, &puzzle, admission, holder),
            Command::Get { id, district } => Self::Get(id, district),
            Command::Ack { id, district, secret } => Self::Ack(id, district, secret),
            Command::Loop => Self::Loop,
        }
    }

    fn check_put(
        sealed: Box<SealedBox>,
        puzzle: &[u8; PUZZLE],
        admission: &PutAdmission,
        holder: &SigningSecret,
    ) -> Self {
        if !admission.puzzle(&holder.node_id(), &sealed.id, sealed.expiry).verify(puzzle) {
            return Self::BadPuzzle;
        }
        let network = &admission.network;
        let Some(content) = sealed.verify(network) else { return Self::BadSignature };
        let stored = HolderSignature::sign(holder, network, &sealed.id, &content, sealed.expiry);
        Self::Put(sealed, content, stored)
    }
}

/// Counters for the operator; aggregates only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Boxes newly stored.
    pub stored: u64,
    /// Gets answered with a box.
    pub found: u64,
    /// Gets answered without one.
    pub not_found: u64,
    /// Boxes acknowledged.
    pub acknowledged: u64,
    /// Loops.
    pub loops: u64,
    /// Puts of another content than what is there.
    pub conflicts: u64,
    /// Puts refused for want of room.
    pub full: u64,
    /// Commands that broke a rule.
    pub refused: u64,
    /// Of these, Puts without the solution of their puzzle.
    pub bad_puzzle: u64,
    /// Commands dropped because too many replies wait.
    pub overflow: u64,
    /// Copies taken from other mailboxes.
    pub copied: u64,
    /// Boxes that others hold by now and that are not ours to hold.
    pub handed_over: u64,
    /// Copies sent to mailboxes that should hold a box and did not.
    pub replaced: u64,
    /// Reads of a box that was not here and came from another holder in time.
    pub repaired: u64,
    /// Items of other mailboxes that broke a rule.
    pub bad_peer_items: u64,
    /// Batches, and drops of old digests, that the store failed.
    pub store_failures: u64,
}

/// The engine. `S` is the disk.
#[derive(Debug)]
pub struct Mailbox<S> {
    secret: SigningSecret,
    me: NodeId,
    terms: Terms,
    placement: PlacementHash,
    limits: Limits,
    store: S,
    tenure: StoreId,
    /// The tenure is on disk: whatever happens, it does not come back once it has ended.
    tenure_kept: bool,
    rng: EngineRng,
    free_disk: u64,
    replies: Replies,
    tags: Tags,
    sets: Sets,
    newest_digest: Tick,
    previous: DigestHash,
    next_tick: Timestamp,
    peers: Peers,
    /// Contested boxes that wait for the word of the one that decides.
    offers: BTreeMap<BoxId, Offer>,
    sweep: Sweep,
    /// Another mailbox may hold what decides a contested box: none is decided here for the first time.
    syncing: bool,
    counters: Counters,
}

#[derive(Debug)]
struct Offer {
    sealed: SealedBox,
    content: ContentHash,
    until: Timestamp,
}

impl<S: BoxStore> Mailbox<S> {
    /// Takes up where the store left off.
    ///
    /// # Errors
    /// If the store cannot be read or its newest digest does not verify. One of another mailbox or network (a folder that was
    /// used under another key) is no error: a chain of our own begins.
    pub fn new(
        now: Timestamp,
        secret: SigningSecret,
        terms: Terms,
        limits: Limits,
        store: S,
        mut rng: EngineRng,
    ) -> Result<Self, StoreError> {
        let newest = store.newest(Series::Digest)?;
        let newest = newest.map(|(_, bytes)| SignedDigest::verify(&bytes)).transpose();
        let newest = newest.map_err(|_| StoreError::Damaged("the newest digest does not verify"))?;
        let ours = |digest: &Digest| digest.mailbox == secret.node_id() && digest.network == terms.network;
        let newest = newest.filter(|digest| ours(digest.digest()));
        let placement = terms.placement_hash();
        let kept = note::<16>(&store, Note::Tenure)?.and_then(|bytes| {
            let (under, tenure) = (bytes.first_chunk::<8>()?, bytes.last_chunk::<8>()?);
            (PlacementHash(*under) == placement).then(|| StoreId(u64::from_be_bytes(*tenure)))
        });
        let tenure = kept.unwrap_or_else(|| StoreId(u64::from_be_bytes(bytes(&mut rng))));
        let settled = note(&store, Note::Settled)?.map(PlacementHash);
        let tags = Tags::load(&store)?;
        let mut mailbox = Self {
            me: secret.node_id(),
            newest_digest: newest.as_ref().map_or(Tick(0), |digest| digest.digest().tick),
            previous: newest.as_ref().map_or(DigestHash::default(), SignedDigest::hash),
            next_tick: Tick::at(now, terms.params.tick).next().start(terms.params.tick),
            secret,
            placement,
            limits,
            store,
            tenure,
            tenure_kept: kept.is_some(),
            rng,
            free_disk: u64::MAX,
            replies: Replies::default(),
            tags,
            sets: Sets::new(now),
            peers: Peers::default(),
            offers: BTreeMap::new(),
            sweep: Sweep::new(now),
            syncing: settled != Some(placement),
            terms,
            counters: Counters::default(),
        };
        mailbox.follow_peers(now);
        Ok(mailbox)
    }

    /// Another document is in force. Call it when that is so: digests, reply times and placement follow from then on.
    pub fn set_terms(&mut self, now: Timestamp, terms: Terms) {
        if terms.params.tick != self.terms.params.tick {
            self.next_tick = Tick::at(now, terms.params.tick).next().start(terms.params.tick);
        }
        self.terms = terms;
        let placement = self.terms.placement_hash();
        if placement != self.placement {
            self.placement = placement;
            (self.tenure, self.tenure_kept) = (StoreId(u64::from_be_bytes(bytes(&mut self.rng))), false);
            self.syncing = true;
            self.sweep.begin(now);
        }
        self.follow_peers(now);
        self.tell_all();
    }

    fn tell_all(&mut self) {
        let peers: Vec<_> = self.terms.listed.iter().copied().collect();
        peers.iter().for_each(|peer| self.tell_state(peer));
    }

    fn follow_peers(&mut self, now: Timestamp) {
        // Who leaves the placement set hands over what it holds, so it stays a peer as long as it is listed.
        let others = self.terms.listed.iter().filter(|id| **id != self.me).copied().collect();
        self.peers.follow(now, &others);
    }

    /// The document that digests name now.
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// The free space of the disk, as the shell measures it now and then.
    pub fn handle_free_disk(&mut self, bytes: u64) {
        self.free_disk = bytes;
    }

    /// Our link to another mailbox came up or went down.
    pub fn handle_peer_link(&mut self, now: Timestamp, peer: &NodeId, up: bool) {
        self.peers.link(now, peer, up);
        if up {
            self.tell_state(peer);
        }
    }

    /// Another mailbox has opened a link to us.
    pub fn handle_peer_arrival(&mut self, now: Timestamp, peer: &NodeId) {
        self.peers.arrived(peer);
        self.peers.heard(now, peer);
    }

    /// A frame came from another mailbox, whatever it holds.
    pub fn handle_peer_heard(&mut self, now: Timestamp, peer: &NodeId) {
        self.peers.heard(now, peer);
    }

    fn tell_state(&mut self, peer: &NodeId) {
        let state = PeerItem::State { store: self.tenure.0, placement: self.placement, swept: self.sweep.is_done() };
        self.peers.tell(peer, state);
    }

    /// Decides commands of clients.
    pub fn handle_commands(&mut self, now: Timestamp, commands: Vec<Arrived>) {
        self.handle(now, commands, Vec::new());
    }

    /// Decides commands and items of other mailboxes in order of arrival, makes their changes durable in one batch and schedules
    /// every reply at arrival + T0 + Exp(hop mean), whatever was asked and whatever the answer.
    pub fn handle(&mut self, now: Timestamp, commands: Vec<Arrived>, items: Vec<(NodeId, FromPeer)>) {
        self.look_at_peers(now);
        let mut batch = Batch::default();
        let mut answers = Vec::with_capacity(commands.len());
        for command in commands {
            if self.replies.len() + answers.len() >= REPLIES_MAX {
                self.counters.overflow += 1;
                continue;
            }
            let Arrived { at, epoch, document, back, request } = command;
            let (answer, wish) = self.decide(now, request, &mut batch);
            answers.push((at, Waiting { epoch, document, back, answer, wish }));
        }
        for (from, item) in items {
            self.handle_item(now, from, item, &mut batch);
        }
        let committed = self.commit(&mut batch);
        for (at, mut waiting) in answers {
            if let Err(error) = &committed {
                waiting.answer = unwritten(error, waiting.answer, waiting.wish.take());
            }
            let due = at + self.terms.params.reply_floor + exponential(&mut self.rng, self.terms.params.hop_delay);
            self.replies.push(due, waiting);
        }
        if committed.is_ok() {
            for effect in std::mem::take(&mut batch.effects) {
                self.follow_up(now, effect);
            }
        }
    }

    fn look_at_peers(&mut self, now: Timestamp) {
        for peer in self.peers.look(now, self.terms.params.peer_gap) {
            self.tell_state(&peer);
            self.sweep.begin(now);
        }
        self.offers.retain(|_, offer| offer.until > now);
    }

    /// Makes a batch durable.
    fn commit(&mut self, batch: &mut Batch) -> Result<(), StoreError> {
        if batch.is_empty() {
            return Ok(());
        }
        let (changes, waiting) = batch.changes();
        if let Err(error) = self.store.apply(&changes) {
            self.counters.store_failures += 1;
            return Err(error);
        }
        batch.announced.iter().for_each(|gone| self.tags.remove(gone));
        waiting.into_iter().for_each(|tag| self.tags.insert(tag));
        batch.buried.iter().for_each(|tag| self.sets.forget(tag));
        self.counters.stored += batch.stored;
        self.counters.acknowledged += batch.acknowledged;
        self.counters.copied += batch.copied;
        // Until the shell measures again: the floor must hold between two measurements too.
        self.free_disk = self.free_disk.saturating_sub(batch.coming.values().sum());
        Ok(())
    }

    /// What follows a batch that is on disk.
    fn follow_up(&mut self, now: Timestamp, effect: Effect) {
        match effect {
            Effect::Tell(to, item) => drop(self.peers.tell(&to, item)),
            Effect::Replicate(id) => self.replicate(&id),
            Effect::Offer(sealed, content) => self.offer(now, sealed, content),
            Effect::Durable(id, content, other) => self.replies.stored(&id, &content, other.signature),
            Effect::Arrived(id) => self.show_found(&id),
            Effect::Lost(id, content) => self.replies.lost(&id, &content),
            Effect::Gone(id) => self.replies.gone(&id),
        }
    }

    fn has_room(&self, bucket: Day, batch: &Batch) -> bool {
        let one = SealedBox::SIZE as u64;
        let coming = batch.coming.values().sum::<u64>() + one;
        let in_bucket = self.store.usage_of(bucket).bytes() + batch.coming.get(&bucket).copied().unwrap_or(0) + one;
        self.store.usage().bytes() + coming <= self.limits.quota_bytes
            && in_bucket <= self.limits.bucket_bytes
            && self.free_disk >= self.limits.free_disk_floor.saturating_add(coming)
            && self.tags.has_room()
    }

    fn may_expire_on(&self, now: Timestamp, expiry: Day) -> bool {
        let today = Day::at(now, self.terms.params.day);
        expiry >= today && expiry <= today.plus(self.terms.params.box_days + CLOCK_SLACK_DAYS)
    }

    /// All mailboxes of the placement set, best first for this box.
    fn placed(&self, id: &BoxId) -> Vec<NodeId> {
        topology::placed(&self.terms.placement, id)
    }

    /// What others said of stores that they still have.
    fn valid<'a>(&'a self, others: &'a [Confirmation]) -> impl Iterator<Item = &'a Confirmation> {
        let placement = self.placement;
        others.iter().filter(move |other| self.peers.stands_by(&other.signature.holder, other.store, placement))
    }

    fn is_durable(&self, others: &[Confirmation]) -> bool {
        1 + self.valid(others).count() >= self.terms.durable_copies
    }

    /// The next frame for another mailbox whose link's clock has struck.
    pub fn poll_peer_frame(&mut self, now: Timestamp) -> Option<(NodeId, Frame)> {
        self.peers.poll_frame(now, self.terms.params.peer_gap, &mut self.rng)
    }

    /// The next reply that is due: the epoch that it goes back in, the way back and its plaintext.
    pub fn poll_reply(&mut self, now: Timestamp) -> Option<(Epoch, Back, Vec<u8>)> {
        self.replies.pop(now, self.newest_digest)
    }

    /// When to poll next, digests apart.
    pub fn next_wake(&self) -> Timestamp {
        let times = [self.replies.next(), self.peers.next_wake()];
        times.into_iter().flatten().fold(self.sweep.next_wake(), Timestamp::min)
    }

    /// When the next digest is due. A mailbox that no document in force lists still answers and talks to others, and publishes
    /// nothing.
    pub fn next_digest(&self) -> Timestamp {
        self.next_tick
    }

    /// When the next step of making sets is due, for a mailbox that is listed.
    pub fn next_set(&self) -> Timestamp {
        self.sets.next_wake()
    }

    /// Replies that wait.
    pub fn waiting_replies(&self) -> usize {
        self.replies.len()
    }

    /// Counters since the start.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// How full the store is.
    pub fn usage(&self) -> Usage {
        self.store.usage()
    }

    /// How much of what may be stored is in use, in percent, rounded up: what a mailbox reports, and the effort of Puts follows from.
    /// A disk that has come to its floor is full, whatever the quota says.
    pub fn fill(&self) -> u8 {
        if self.free_disk <= self.limits.free_disk_floor {
            return FILL_MAX;
        }
        let used = u128::from(self.store.usage().bytes()) * u128::from(FILL_MAX);
        let percent = used.div_ceil(u128::from(self.limits.quota_bytes.max(1)));
        u8::try_from(percent).unwrap_or(FILL_MAX).min(FILL_MAX)
    }

    /// Other mailboxes that are heard, and that the document lists.
    pub fn peers(&self) -> (usize, usize) {
        self.peers.count()
    }

    /// Items for other mailboxes that full queues dropped.
    pub fn peer_items_dropped(&self) -> u64 {
        self.peers.dropped()
    }

    /// The store, for tests that look behind the engine.
    pub fn store_mut(&mut self) -> &mut S {
        &mut self.store
    }

    /// Gives the store back, as a crash does: everything else is forgotten.
    pub fn into_store(self) -> S {
        self.store
    }

    /// Mean time from arrival to reply.
    pub fn mean_reply_time(&self) -> Duration {
        self.terms.params.reply_floor + self.terms.params.hop_delay
    }
}

/// What may be said of a batch that is not on disk: nothing of it is stored or gone, or stands in another's way.
fn unwritten(error: &StoreError, answer: Answer, wish: Option<Wish>) -> Answer {
    match (error, answer, wish) {
        (StoreError::DiskFull, Answer::Stored(_), _) | (StoreError::DiskFull, _, Some(Wish::Stored(..))) => {
            Answer::Full
        }
        (_, Answer::Stored(_) | Answer::Gone | Answer::Conflict, _) => Answer::Pending,
        (_, answer, _) => answer,
    }
}

fn note<const N: usize>(store: &impl BoxStore, note: Note) -> Result<Option<[u8; N]>, StoreError> {
    let record = store.records(Series::Note, note as u32, 1)?;
    let record = record.into_iter().find(|(number, _)| *number == note as u32);
    let bytes = record.map(|(_, bytes)| bytes.try_into()).transpose();
    bytes.map_err(|_| StoreError::Damaged("a note has another size"))
}
