//! An authority's part in the voting, as a state machine without IO: time, messages and randomness in, actions out.
//!
//! Every honest authority ends a round with the same votes and reveals, although up to f others lie and links fail: a vote
//! counts if it comes from its author before the vote's end, or with as many countersignatures as relay steps have passed
//! (Dolev and Strong, "Authenticated Algorithms for Byzantine Agreement", 1983). Votes are settled before anyone reveals, so
//! that no pair of liars can slip in a commitment that was made after the reveals. Two statements of one author make a proof.
//!
//! Order of calls: [`Authority::handle_connected`], [`Authority::handle_message`], [`Authority::handle_descriptor`] and
//! [`Authority::handle_time`] in any order, the last at [`Authority::next_wake`]; after each, [`Authority::poll_action`] until
//! it is empty. Actions must be carried out in their order: what is stored must be on disk before what follows leaves.
//!
//! | module | holds |
//! |---|---|
//! | this one | what comes in and goes out, and what this authority says itself |
//! | `agreement` | what others say: when it counts, and vouching for it |
//! | `signing` | from agreed votes to a document |
//! | `state` | what is held of the round that is on |

mod agreement;
mod signing;
mod state;

use crate::{
    descriptor::{Descriptor, Role},
    params::Params,
    schedule::{Phase, Schedule},
    signed::{AuthoritySet, Committee, Document, DocumentError, Handover, UnverifiedDocument},
    statement::{EquivocationProof, Kind, SignedStatement, Statement},
    vote::{Base, NODES_MAX, Vote, commitment, reveal_digest},
    wire::{DescriptorAnswer, Message},
};
use state::{Item, Round};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};
use veilpost_packet::{
    geometry::{HASH, KEY},
    ids::{AuthorityId, NetworkId, NodeId},
    primitives::SigningSecret,
    random::{EngineRng, bytes},
    time::{Epoch, Timestamp},
};

/// Documents that are kept and served.
pub const DOCUMENTS_MAX: usize = 4;
/// Answers to one question of one authority in a round: it may ask again after its link broke, but a small question for a large
/// body must not fill our memory.
const ANSWERS_MAX: u8 = 16;
/// Rounds whose words are remembered. A clock that ran ahead and was set back finds rounds that it was in before.
pub const SAID_MAX: usize = 8;
/// Different statements of one author and kind that are kept: two prove a lie, more prove nothing more.
const STATEMENTS_MAX: usize = 2;

/// What an operator wants: put into every vote.
#[derive(Clone, Debug)]
pub struct Ballot {
    /// The parameters.
    pub params: Params,
    /// Nodes that may take part, and as what. At most [`NODES_MAX`] are used.
    pub admitted: BTreeMap<NodeId, Role>,
}

/// What an authority said in a round. On disk before it is said, so that it never says anything else, whatever happens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Said {
    /// The epoch of the round.
    pub target: Epoch,
    /// The vote's bytes.
    pub vote: Arc<[u8]>,
    /// The random value that the vote commits to.
    pub value: [u8; KEY],
    /// The document that it signed.
    pub document: Option<[u8; HASH]>,
}

/// What an authority finds on its disk.
#[derive(Debug, Default)]
pub struct Stored {
    /// The last rounds that it took part in, at most [`SAID_MAX`].
    pub said: Vec<Said>,
    /// Documents, in any order.
    pub documents: Vec<Vec<u8>>,
    /// Lies that it can prove.
    pub proofs: Vec<EquivocationProof>,
}

/// Something that must be on disk before the next action.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(clippy::large_enum_variant, reason = "a proof is the rare one, and one record lives at a time")]
pub enum Record {
    /// What is said in a round. Replaces what is stored for that epoch; the oldest beyond [`SAID_MAX`] may be removed.
    Said(Said),
    /// A document; the oldest beyond [`DOCUMENTS_MAX`] may be removed.
    Document(Epoch, Arc<[u8]>),
    /// A proof of a lie.
    Proof(Box<EquivocationProof>),
}

/// What to do next.
#[derive(Clone, Debug)]
pub enum Action {
    /// Write to disk, durably.
    Store(Record),
    /// Send to an authority. Lost if there is no link: [`Authority::handle_connected`] makes up for it.
    Send(AuthorityId, Message),
    /// There is a new document.
    Publish(Document),
    /// Tell the operator.
    Tell(Event),
}

/// What an operator should know.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(clippy::large_enum_variant, reason = "a proof is the rare one, and events are few")]
pub enum Event {
    /// There is a document for an epoch.
    Made(Epoch),
    /// A round ended without a document of its own making.
    Failed(Epoch, String),
    /// An authority was caught lying.
    Caught(Box<EquivocationProof>),
}

/// One authority.
#[derive(Debug)]
pub struct Authority {
    schedule: Schedule,
    set: AuthoritySet,
    secret: SigningSecret,
    ballot: Ballot,
    started: Timestamp,
    descriptors: BTreeMap<Epoch, BTreeMap<NodeId, Arc<[u8]>>>,
    documents: BTreeMap<Epoch, Document>,
    proofs: BTreeMap<AuthorityId, EquivocationProof>,
    said: BTreeMap<Epoch, Said>,
    round: Round,
    rng: EngineRng,
    actions: VecDeque<Action>,
}

/// What an authority shows its operator.
#[derive(Clone, Debug)]
pub struct Status {
    /// The epoch whose round is on.
    pub target: Epoch,
    /// Its phase; `None` between two rounds.
    pub phase: Option<Phase>,
    /// Authorities whose vote for it is here.
    pub votes: usize,
    /// Authorities whose signature under the document that was found here is here.
    pub signatures: usize,
    /// Descriptors for the next vote.
    pub descriptors: usize,
    /// Why the round that is on has no document, if it will not have one.
    pub failure: Option<String>,
    /// Lies that can be proved.
    pub proofs: Vec<EquivocationProof>,
}

impl Authority {
    /// Takes up from what is on disk. Documents there that do not verify are left alone.
    pub fn new(
        now: Timestamp,
        schedule: Schedule,
        set: AuthoritySet,
        secret: SigningSecret,
        ballot: Ballot,
        stored: Stored,
        rng: EngineRng,
    ) -> Self {
        let round = Round::new(schedule.target_at(now));
        let mut authority = Self {
            schedule,
            set,
            secret,
            ballot,
            started: now,
            descriptors: BTreeMap::new(),
            documents: BTreeMap::new(),
            proofs: stored.proofs.into_iter().map(|proof| (proof.author(), proof)).collect(),
            said: stored.said.into_iter().map(|said| (said.target, said)).collect(),
            round,
            rng,
            actions: VecDeque::new(),
        };
        let mut documents: Vec<_> =
            stored.documents.iter().filter_map(|bytes| UnverifiedDocument::from_bytes(bytes).ok()).collect();
        documents.sort_by_key(UnverifiedDocument::epoch);
        for document in documents {
            if let Ok(document) = document.verify_timelessly(&authority.set) {
                authority.keep(document);
            }
        }
        authority.resume();
        authority
    }

    /// This authority's key.
    pub fn id(&self) -> AuthorityId {
        self.secret.authority_id()
    }

    /// The authorities, with every hand-over that is known.
    pub fn set(&self) -> &AuthoritySet {
        &self.set
    }

    /// Documents, oldest first.
    pub fn documents(&self) -> impl DoubleEndedIterator<Item = &Document> {
        self.documents.values()
    }

    /// The operator wants something else from the next vote on.
    pub fn set_ballot(&mut self, ballot: Ballot) {
        self.ballot = ballot;
    }

    /// Adds a hand-over that enough authorities signed.
    ///
    /// # Errors
    /// [`DocumentError::Handover`].
    pub fn hand_over(&mut self, handover: Handover) -> Result<(), DocumentError> {
        if self.set.handovers().iter().any(|known| known.is_same(&handover)) {
            return Ok(());
        }
        self.set.hand_over(handover)
    }

    /// What the operator sees.
    pub fn status(&self, now: Timestamp) -> Status {
        let faulty = self.committee().faulty();
        let found = self.round.found.as_ref().map(|(_, digest)| *digest);
        let next = self.schedule.descriptors_for(now, faulty);
        Status {
            target: self.round.target,
            phase: self.schedule.phase_at(self.round.target, now, faulty),
            votes: self.round.items.keys().filter(|(_, kind)| *kind == Kind::Vote).count(),
            signatures: found.map_or(0, |digest| self.round.signers(&digest).count()),
            descriptors: self.descriptors.get(&next).map_or(0, BTreeMap::len),
            failure: self.round.failure.clone(),
            proofs: self.proofs.values().copied().collect(),
        }
    }

    /// A node's descriptor. The caller tells the node what became of it.
    pub fn handle_descriptor(&mut self, now: Timestamp, bytes: &[u8]) -> DescriptorAnswer {
        let Ok(descriptor) = Descriptor::verify(bytes) else { return DescriptorAnswer::Malformed };
        let expected = self.schedule.descriptors_for(now, self.committee().faulty());
        match descriptor.epoch.cmp(&expected) {
            std::cmp::Ordering::Less => return DescriptorAnswer::Late,
            std::cmp::Ordering::Greater => return DescriptorAnswer::Early,
            std::cmp::Ordering::Equal => {}
        }
        if self.ballot.admitted.get(&descriptor.id) != Some(&descriptor.role) {
            return DescriptorAnswer::NotAdmitted;
        }
        self.descriptors.retain(|epoch, _| epoch.0.saturating_add(1) >= expected.0);
        let held = self.descriptors.entry(expected).or_default();
        match held.get(&descriptor.id) {
            Some(known) if **known == *bytes => {}
            Some(_) => return DescriptorAnswer::Different,
            None if held.len() >= NODES_MAX => return DescriptorAnswer::NotAdmitted,
            None => {
                held.insert(descriptor.id, bytes.into());
            }
        }
        DescriptorAnswer::Taken
    }

    /// A link to an authority is up (again): tells it what it may have missed.
    pub fn handle_connected(&mut self, now: Timestamp, peer: AuthorityId) {
        self.handle_time(now);
        let own = self.id();
        let mut messages = vec![Message::WantDocument(self.newest_epoch())];
        for item in self.round.items.values().flatten() {
            let statement = item.signed.statement();
            if statement.author != own {
                messages.push(Message::Relay(item.signed, item.chain.clone()));
            } else if statement.kind == Kind::Vote || self.round.revealed {
                messages.push(Message::Statement(item.signed, item.body.clone()));
            }
        }
        let signed = self.round.signatures.get(&own).into_iter().flatten();
        messages.extend(signed.map(|signed| Message::Statement(*signed, Arc::from([]))));
        if !self.proofs.is_empty() {
            messages.push(Message::Proofs(self.proofs.values().copied().collect()));
        }
        self.actions.extend(messages.into_iter().map(|message| Action::Send(peer, message)));
    }

    /// A message of an authority, as its link proved it.
    pub fn handle_message(&mut self, now: Timestamp, from: AuthorityId, message: Message) {
        self.handle_time(now);
        match message {
            Message::Statement(signed, body) => self.handle_statement(now, from, signed, &body),
            Message::Relay(signed, chain) => self.handle_relay(now, from, signed, chain),
            Message::WantBody(digest) => {
                let own = self.id();
                let open = |item: &&Item| {
                    let statement = item.signed.statement();
                    // What this authority committed to is its secret until it reveals.
                    statement.author != own || statement.kind != Kind::Reveal || self.round.revealed
                };
                let body = self.round.item(&digest).filter(open).map(|item| item.body.clone());
                if let Some(body) = body.filter(|_| self.round.may_ask(from, digest)) {
                    self.actions.push_back(Action::Send(from, Message::Body(body)));
                }
            }
            Message::Body(body) => self.handle_body(now, &body),
            Message::WantDocument(after) => {
                if !self.round.may_ask(from, [0; HASH]) {
                    return;
                }
                let newer = self.documents.range((std::ops::Bound::Excluded(after), std::ops::Bound::Unbounded));
                let messages = newer.map(|(_, document)| Action::Send(from, Message::Document(document.bytes())));
                self.actions.extend(messages);
            }
            Message::Document(bytes) => self.handle_document(now, &bytes),
            Message::Proofs(proofs) => proofs.into_iter().for_each(|proof| self.handle_proof(proof)),
            // A node's part, which the shell handles: an authority has no use for them.
            Message::Descriptor(_) | Message::Answer(_) | Message::Newest(_) => {}
        }
        self.complete();
    }

    /// Moves the round on. Call at [`Authority::next_wake`] at the latest.
    pub fn handle_time(&mut self, now: Timestamp) {
        let target = self.schedule.target_at(now);
        // A clock that ran ahead and was set back: not for a moment at an epoch's border, where the round is over anyway.
        let set_back = target < self.round.target && self.schedule.target_at(now + self.schedule.phase()) == target;
        if target > self.round.target {
            self.end_round();
        }
        if target > self.round.target || set_back {
            self.round = Round::new(target);
            self.resume();
        }
        let faulty = self.committee().faulty();
        let Some(phase) = self.schedule.phase_at(self.round.target, now, faulty) else { return };
        match phase {
            Phase::Vote => {
                self.decide(now);
                self.vote();
            }
            Phase::Reveal => self.reveal(),
            Phase::Signature | Phase::Publish => {
                self.sign();
                self.complete();
            }
            Phase::Descriptors | Phase::Certify(_) | Phase::Confirm(_) => {}
        }
        // Who missed a document learns of it before the vote, and after the round.
        let asks = matches!(phase, Phase::Descriptors | Phase::Publish);
        let missing = phase == Phase::Descriptors || !self.documents.contains_key(&self.round.target);
        if asks && missing && self.round.asked != Some(phase) {
            self.round.asked = Some(phase);
            self.broadcast(&Message::WantDocument(self.newest_epoch()));
        }
    }

    /// When to call [`Authority::handle_time`] at the latest.
    pub fn next_wake(&self, now: Timestamp) -> Timestamp {
        self.schedule.next_phase(self.schedule.target_at(now), now, self.committee().faulty())
    }

    /// The next thing to do.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    fn committee(&self) -> &Committee {
        self.set.committee(self.round.target)
    }

    fn network(&self) -> NetworkId {
        self.set.network()
    }

    fn newest_epoch(&self) -> Epoch {
        self.documents.keys().next_back().copied().unwrap_or(Epoch(0))
    }

    fn broadcast(&mut self, message: &Message) {
        let own = self.id();
        let others: Vec<_> = self.committee().keys().filter(|key| **key != own).copied().collect();
        self.actions.extend(others.into_iter().map(|to| Action::Send(to, message.clone())));
    }

    fn statement(&self, kind: Kind, digest: [u8; HASH]) -> SignedStatement {
        let (network, epoch, author) = (self.network(), self.round.target, self.id());
        Statement { network, epoch, kind, author, digest }.sign(&self.secret)
    }

    /// What this authority said in the round that is on, if it took part.
    fn said(&self) -> Option<&Said> {
        self.said.get(&self.round.target)
    }

    /// Remembers what is about to be said, and writes it down first.
    fn say(&mut self, said: Said) {
        self.actions.push_back(Action::Store(Record::Said(said.clone())));
        self.said.insert(said.target, said);
        while self.said.len() > SAID_MAX {
            self.said.pop_first();
        }
    }

    /// True if this authority may have said something about the epoch that it does not remember.
    fn may_have_forgotten(&self, target: Epoch) -> bool {
        self.said.len() >= SAID_MAX && self.said.keys().next().is_some_and(|oldest| target < *oldest)
    }

    /// Puts what was said before a restart back into the round.
    fn resume(&mut self) {
        let Some(said) = self.said().cloned() else { return };
        let vote = self.statement(Kind::Vote, Vote::digest(&said.vote));
        let reveal = self.statement(Kind::Reveal, reveal_digest(&said.value));
        self.round.insert(vote, Vec::new(), said.vote);
        self.round.insert(reveal, Vec::new(), said.value[..].into());
        if let Some(digest) = said.document {
            let signed = self.statement(Kind::Document, digest);
            self.round.signatures.insert(self.id(), vec![signed]);
        }
    }

    /// Tells the others its vote, also one that was made before a restart.
    fn vote(&mut self) {
        if self.round.voted {
            return;
        }
        let Some(vote) = self.said().map(|said| said.vote.clone()) else { return };
        self.round.voted = true;
        let signed = self.statement(Kind::Vote, Vote::digest(&vote));
        self.broadcast(&Message::Statement(signed, vote));
    }

    /// Decides about the vote, once. Not in a round whose vote was on already when this process started: with its disk lost it might
    /// have voted before.
    fn decide(&mut self, now: Timestamp) {
        let target = self.round.target;
        let own = self.id();
        let vote_start = self.schedule.phase_start(target, Phase::Vote, self.committee().faulty());
        let past = self.said().is_some() || self.may_have_forgotten(target);
        let late = self.started > vote_start && self.started <= now;
        if past || late || !self.committee().contains(&own) {
            return;
        }
        let value = bytes(&mut self.rng);
        let newest = self.documents.range(..target).next_back();
        let descriptors = self.descriptors.get(&target).into_iter().flatten();
        let admitted = |id: &NodeId| self.ballot.admitted.contains_key(id);
        let placed = self.ballot.admitted.iter().filter(|(_, role)| **role == Role::Mailbox);
        let vote = Vote {
            base: newest.map(|(epoch, document)| Base { epoch: *epoch, digest: document.digest() }),
            params: self.ballot.params.clone(),
            placement: placed.map(|(id, _)| *id).take(NODES_MAX).collect(),
            descriptors: descriptors.filter(|(id, _)| admitted(id)).map(|(id, bytes)| (*id, bytes.clone())).collect(),
            commitment: commitment(self.network(), target, &own, &value),
            proofs: self.proofs.values().copied().collect(),
        };
        let said = Said { target, vote: vote.encode().into(), value, document: None };
        self.say(said);
        self.resume();
    }

    fn reveal(&mut self) {
        if self.round.revealed {
            return;
        }
        let Some(value) = self.said().map(|said| said.value) else { return };
        self.round.revealed = true;
        let signed = self.statement(Kind::Reveal, reveal_digest(&value));
        self.broadcast(&Message::Statement(signed, value[..].into()));
    }
}
