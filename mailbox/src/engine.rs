//! The mailbox as a state machine: commands come in, durable changes are made in one batch, replies and digests come out at
//! their own times.
//!
//! Call order: [`Mailbox::handle_commands`] for what has arrived, then [`Mailbox::poll_digest`] and [`Mailbox::poll_reply`]
//! until they give nothing, then sleep until [`Mailbox::next_wake`].

use crate::store::{BoxStore, Change, Held, StoreError, Usage};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use veilpost_packet::{
    boxes::{BoxClass, BoxTag, ContentHash, SealedBox},
    command::{Answer, Command, HolderSignature, Reply},
    digest::{Digest, DigestHash, SignedDigest},
    geometry::DIGEST_MAX_TAGS,
    ids::{BoxId, District, DocumentHash, NetworkId},
    primitives::{Secret32, SigningSecret},
    random::{EngineRng, exponential},
    sphinx::Surb,
    time::{Day, Epoch, Tick, Timestamp},
};

/// Replies that may wait for their time. Whoever sends packets pushes them; beyond it commands are dropped unseen.
pub const REPLIES_MAX: usize = 65_536;
/// Entries that one pass of expiry drops, so that no pass delays answers for long.
const EXPIRE_AT_ONCE: usize = 512;
/// A writer whose clock is ahead at a day's border is a day ahead.
const CLOCK_SLACK_DAYS: u32 = 1;
/// Days that a solo box's tombstone outlives its acknowledgement: a full day at least.
const SOLO_TOMBSTONE_DAYS: u32 = 1;

/// What a mailbox is told by the network document in force.
#[derive(Clone, Debug)]
pub struct Terms {
    /// The network.
    pub network: NetworkId,
    /// The document's hash.
    pub document: DocumentHash,
    /// Its parameters.
    pub params: veilpost_pki::Params,
}

/// What the operator decides.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of boxes and tombstones that may be held.
    pub quota_bytes: u64,
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
    pub surb: Surb,
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
    /// A Put whose signature is not that of its box id.
    BadSignature,
}

impl Request {
    /// Does the public-key work of a command (about 55 us for a Put): outside the engine, on a worker. `holder`: the mailbox's
    /// own key.
    pub fn check(command: Command, network: &NetworkId, holder: &SigningSecret) -> Self {
        match command {
            Command::Put { sealed, .. } => match sealed.verify(network) {
                Some(content) => {
                    let stored = HolderSignature::sign(holder, network, &sealed.id, &content, sealed.expiry);
                    Self::Put(sealed, content, stored)
                }
                None => Self::BadSignature,
            },
            Command::Get { id, district } => Self::Get(id, district),
            Command::Ack { id, district, secret } => Self::Ack(id, district, secret),
            Command::Loop => Self::Loop,
        }
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
    /// Commands dropped because too many replies wait.
    pub overflow: u64,
    /// Batches, and drops of old digests, that the store failed.
    pub store_failures: u64,
}

/// A reply that waits for its time.
#[derive(Debug)]
struct Waiting {
    epoch: Epoch,
    document: DocumentHash,
    surb: Surb,
    answer: Answer,
}

/// The engine. `S` is the disk.
#[derive(Debug)]
pub struct Mailbox<S> {
    secret: SigningSecret,
    terms: Terms,
    limits: Limits,
    store: S,
    rng: EngineRng,
    free_disk: u64,
    replies: BTreeMap<(Timestamp, u64), Waiting>,
    reply_number: u64,
    newest_digest: Tick,
    previous: DigestHash,
    next_tick: Timestamp,
    counters: Counters,
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
        rng: EngineRng,
    ) -> Result<Self, StoreError> {
        let newest = store.newest_digest()?;
        let newest = newest.map(|bytes| SignedDigest::verify(&bytes)).transpose();
        let newest = newest.map_err(|_| StoreError::Damaged("the newest digest does not verify"))?;
        let ours = |digest: &Digest| digest.mailbox == secret.node_id() && digest.network == terms.network;
        let newest = newest.filter(|digest| ours(digest.digest()));
        Ok(Self {
            newest_digest: newest.as_ref().map_or(Tick(0), |digest| digest.digest().tick),
            previous: newest.as_ref().map_or(DigestHash::default(), SignedDigest::hash),
            next_tick: Tick::at(now, terms.params.tick).next().start(terms.params.tick),
            secret,
            terms,
            limits,
            store,
            rng,
            free_disk: u64::MAX,
            replies: BTreeMap::new(),
            reply_number: 0,
            counters: Counters::default(),
        })
    }

    /// Another document is in force. Call it when that is so: digests and reply times follow from then on.
    pub fn set_terms(&mut self, now: Timestamp, terms: Terms) {
        if terms.params.tick != self.terms.params.tick {
            self.next_tick = Tick::at(now, terms.params.tick).next().start(terms.params.tick);
        }
        self.terms = terms;
    }

    /// The document that digests name now.
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// The free space of the disk, as the shell measures it now and then.
    pub fn handle_free_disk(&mut self, bytes: u64) {
        self.free_disk = bytes;
    }

    /// Decides commands in order of arrival, makes their changes durable in one batch and schedules every reply at
    /// arrival + T0 + Exp(hop mean), whatever was asked and whatever the answer.
    pub fn handle_commands(&mut self, now: Timestamp, commands: Vec<Arrived>) {
        let today = Day::at(now, self.terms.params.day);
        let mut batch = Batch::default();
        let mut answers = Vec::with_capacity(commands.len());
        for command in commands {
            if self.replies.len() + answers.len() >= REPLIES_MAX {
                self.counters.overflow += 1;
                continue;
            }
            let Arrived { at, epoch, document, surb, request } = command;
            let answer = self.decide(today, request, &mut batch);
            answers.push((at, Waiting { epoch, document, surb, answer }));
        }
        let committed = if batch.changes.is_empty() { Ok(()) } else { self.store.apply(&batch.changes) };
        match committed {
            Ok(()) => {
                self.counters.stored += batch.stored;
                self.counters.acknowledged += batch.acknowledged;
                // Until the shell measures again: the floor must hold between two measurements too.
                self.free_disk = self.free_disk.saturating_sub(batch.stored * SealedBox::SIZE as u64);
            }
            Err(_) => self.counters.store_failures += 1,
        }
        for (at, mut waiting) in answers {
            waiting.answer = match (&committed, waiting.answer) {
                (Ok(()), answer) => answer,
                // Nothing of the batch is on disk, so nothing of it may be called stored or gone, or stand in another's way.
                (Err(StoreError::DiskFull), Answer::Stored(_)) => Answer::Full,
                (Err(_), Answer::Stored(_) | Answer::Gone | Answer::Conflict) => Answer::Pending,
                (Err(_), answer) => answer,
            };
            let due = at + self.terms.params.reply_floor + exponential(&mut self.rng, self.terms.params.hop_delay);
            self.replies.insert((due, self.reply_number), waiting);
            self.reply_number += 1;
        }
    }

    fn decide(&mut self, today: Day, request: Request, batch: &mut Batch) -> Answer {
        let district = match &request {
            Request::Put(sealed, ..) => sealed.district,
            Request::Get(_, district) | Request::Ack(_, district, _) => *district,
            Request::Loop | Request::BadSignature => District(0),
        };
        if u32::from(district.0) >= self.terms.params.districts {
            self.counters.refused += 1;
            return Answer::Refused;
        }
        let answer = match request {
            Request::Put(sealed, content, stored) => self.put(today, *sealed, content, stored, batch),
            Request::Get(id, _) => self.get(&id, batch),
            Request::Ack(id, _, secret) => self.ack(today, id, &secret, batch),
            Request::Loop => Ok(Answer::Looped),
            Request::BadSignature => Ok(Answer::Refused),
        };
        let answer = answer.unwrap_or(Answer::Pending);
        self.count(&answer);
        answer
    }

    fn put(
        &mut self,
        today: Day,
        sealed: SealedBox,
        content: ContentHash,
        stored: HolderSignature,
        batch: &mut Batch,
    ) -> Result<Answer, StoreError> {
        if sealed.expiry < today || sealed.expiry > today.plus(self.terms.params.box_days + CLOCK_SLACK_DAYS) {
            return Ok(Answer::Refused);
        }
        let (id, expiry) = (sealed.id, sealed.expiry);
        let stored = Answer::Stored([stored, HolderSignature::NONE]);
        match batch.held(&self.store, &id)? {
            Some(Held::Tombstone { content: gone, .. }) if gone == content => Ok(stored),
            Some(Held::Tombstone { .. }) => Ok(Answer::Conflict),
            Some(Held::Box(held)) if held.content_hash(&self.terms.network) != content => Ok(Answer::Conflict),
            Some(Held::Box(held)) if held.expiry >= expiry => Ok(stored),
            Some(Held::Box(_)) => {
                batch.hold(id, Held::Box(Box::new(sealed)), None);
                Ok(stored)
            }
            None if !self.has_room(batch) => Ok(Answer::Full),
            None => {
                batch.hold(id, Held::Box(Box::new(sealed)), Some(BoxTag::of(&id)));
                batch.stored += 1;
                Ok(stored)
            }
        }
    }

    fn has_room(&self, batch: &Batch) -> bool {
        let coming = (batch.changes.len() as u64 + 1) * SealedBox::SIZE as u64;
        self.store.usage().bytes() + coming <= self.limits.quota_bytes
            && self.free_disk >= self.limits.free_disk_floor.saturating_add(coming)
    }

    fn get(&self, id: &BoxId, batch: &Batch) -> Result<Answer, StoreError> {
        Ok(match batch.held(&self.store, id)? {
            Some(Held::Box(sealed)) => Answer::Found(sealed),
            Some(Held::Tombstone { .. }) => Answer::Gone,
            None => Answer::Absent,
        })
    }

    fn ack(&mut self, today: Day, id: BoxId, secret: &Secret32, batch: &mut Batch) -> Result<Answer, StoreError> {
        match batch.held(&self.store, &id)? {
            Some(Held::Box(sealed)) if sealed.opens_ack(secret.expose()) => {
                let until = match sealed.class {
                    BoxClass::Solo => today.plus(SOLO_TOMBSTONE_DAYS),
                    BoxClass::Contested => sealed.expiry,
                };
                let content = sealed.content_hash(&self.terms.network);
                batch.hold(id, Held::Tombstone { content, until }, None);
                batch.acknowledged += 1;
                Ok(Answer::Gone)
            }
            Some(Held::Box(_)) => Ok(Answer::Refused),
            Some(Held::Tombstone { .. }) => Ok(Answer::Gone),
            None => Ok(Answer::Absent),
        }
    }

    fn count(&mut self, answer: &Answer) {
        let counter = match answer {
            Answer::Found(_) => &mut self.counters.found,
            Answer::Absent => &mut self.counters.not_found,
            Answer::Looped => &mut self.counters.loops,
            Answer::Conflict => &mut self.counters.conflicts,
            Answer::Full => &mut self.counters.full,
            Answer::Refused => &mut self.counters.refused,
            Answer::Stored(_) | Answer::Pending | Answer::Gone => return,
        };
        *counter += 1;
    }

    /// The next reply that is due: the epoch that it goes back in, the SURB that carries it and its plaintext.
    pub fn poll_reply(&mut self, now: Timestamp) -> Option<(Epoch, Surb, Vec<u8>)> {
        let entry = self.replies.first_entry().filter(|entry| entry.key().0 <= now)?;
        let Waiting { epoch, document, surb, answer } = entry.remove();
        let reply = Reply { document, newest_digest: self.newest_digest, answer };
        Some((epoch, surb, reply.encode()))
    }

    /// The digest of this tick, once, durable before it is handed out. Slept-through ticks get none: the chain of hashes says
    /// that there never was one. Expiry happens here too.
    ///
    /// # Errors
    /// If the store fails; the same tags are published with the next tick.
    pub fn poll_digest(&mut self, now: Timestamp) -> Result<Option<SignedDigest>, StoreError> {
        if now < self.next_tick {
            return Ok(None);
        }
        let tick = Tick::at(now, self.terms.params.tick);
        self.next_tick = tick.next().start(self.terms.params.tick);
        if tick <= self.newest_digest {
            return Ok(None);
        }
        // A damaged entry must not hold back the digest: what does not expire now is tried again at the next tick.
        if self.store.expire(Day::at(now, self.terms.params.day), EXPIRE_AT_ONCE).is_err() {
            self.counters.store_failures += 1;
        }
        let tags: BTreeSet<_> = self.store.unannounced(DIGEST_MAX_TAGS)?.into_iter().collect();
        let tags: Vec<_> = tags.into_iter().collect();
        let digest = Digest {
            network: self.terms.network,
            document: self.terms.document,
            mailbox: self.secret.node_id(),
            district: District(0),
            tick,
            previous: self.previous,
            tags: tags.clone(),
        };
        let signed = digest.sign(&self.secret);
        self.store.apply(&[Change::Publish { tick, bytes: signed.as_bytes().to_vec(), tags }])?;
        // Durable from here on, so it is a link of the chain, whatever happens to the old ones.
        self.newest_digest = tick;
        self.previous = signed.hash();
        let oldest = Tick::at(now - self.terms.params.digest_history, self.terms.params.tick);
        if self.store.drop_digests(oldest).is_err() {
            self.counters.store_failures += 1;
        }
        Ok(Some(signed))
    }

    /// Published digests from a tick on, oldest first, for an entry that lacks them.
    pub fn digests(&self, from: Tick, limit: usize) -> Result<Vec<Vec<u8>>, StoreError> {
        self.store.digests(from, limit)
    }

    /// When to poll next.
    pub fn next_wake(&self) -> Timestamp {
        self.next_reply().map_or(self.next_tick, |reply| reply.min(self.next_tick))
    }

    /// When the next reply is due, for who publishes no digests now.
    pub fn next_reply(&self) -> Option<Timestamp> {
        self.replies.first_key_value().map(|((due, _), _)| *due)
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

/// Changes that are decided but not yet on disk, one per box id.
#[derive(Debug, Default)]
struct Batch {
    changes: Vec<Change>,
    position: BTreeMap<BoxId, usize>,
    /// Boxes that are new, and boxes that are deleted, once this is on disk.
    stored: u64,
    acknowledged: u64,
}

impl Batch {
    fn held<S: BoxStore>(&self, store: &S, id: &BoxId) -> Result<Option<Held>, StoreError> {
        match self.position.get(id).and_then(|&at| self.changes.get(at)) {
            Some(Change::Hold { held, .. }) => Ok(Some(held.clone())),
            _ => store.get(id),
        }
    }

    fn hold(&mut self, id: BoxId, held: Held, announce: Option<BoxTag>) {
        let at = self.position.get(&id).and_then(|&at| self.changes.get_mut(at));
        match at {
            // A box that was put and renewed or acknowledged within one batch keeps its place in the next digest.
            Some(Change::Hold { held: place, .. }) => *place = held,
            _ => {
                self.position.insert(id, self.changes.len());
                self.changes.push(Change::Hold { id, held, announce });
            }
        }
    }
}
