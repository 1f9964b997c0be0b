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

use crate::{
    descriptor::{Descriptor, Role},
    params::Params,
    schedule::{Phase, Schedule, relay_steps},
    signed::{AuthoritySet, Committee, Document, DocumentError, Handover, UnverifiedDocument, assemble, digest},
    statement::{Countersignature, EquivocationProof, Kind, SignedStatement, Statement},
    tally::{Agreed, TallyError},
    vote::{Base, NODES_MAX, PROOFS_MAX, Vote, commitment, reveal_digest},
    wire::{DescriptorAnswer, Message},
};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
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

/// A statement that was accepted.
#[derive(Debug)]
struct Item {
    signed: SignedStatement,
    chain: Vec<Countersignature>,
    body: Arc<[u8]>,
    /// Decoded, for votes that can be.
    vote: Option<Arc<Vote>>,
}

/// A relayed statement whose body was asked for.
#[derive(Debug)]
struct Pending {
    signed: SignedStatement,
    chain: Vec<Countersignature>,
    /// Who relayed it first.
    from: AuthorityId,
}

#[derive(Debug)]
struct Round {
    target: Epoch,
    items: BTreeMap<(AuthorityId, Kind), Vec<Item>>,
    /// By author, kind and hash of the body: a liar may put its name under another's hash. At most [`STATEMENTS_MAX`] for each
    /// author, kind and relayer.
    pending: BTreeMap<(AuthorityId, Kind, [u8; HASH]), Pending>,
    /// Signatures under documents, at most [`STATEMENTS_MAX`] of each author.
    signatures: BTreeMap<AuthorityId, Vec<SignedStatement>>,
    /// The document that this authority found, not signed by enough yet.
    found: Option<(Arc<[u8]>, [u8; HASH])>,
    voted: bool,
    revealed: bool,
    failure: Option<String>,
    /// When documents were last asked for.
    asked: Option<Phase>,
    /// How often who asked for which body, or (under no hash) for documents.
    answered: BTreeMap<(AuthorityId, [u8; HASH]), u8>,
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
        let set_back =
            self.schedule.round_start(self.round.target, self.committee().faulty()) > now + self.schedule.phase();
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

    /// The relay step that a statement of this kind arrives in: 0 while it may come from its author alone, `None` before and
    /// after its time.
    fn step(&self, kind: Kind, now: Timestamp) -> Option<u32> {
        let faulty = self.committee().faulty();
        let start = |phase| self.schedule.phase_start(self.round.target, phase, faulty);
        let (opens, first) = match kind {
            Kind::Vote => (start(Phase::Vote), start(Phase::Certify(1))),
            Kind::Reveal => (start(Phase::Reveal), start(Phase::Confirm(1))),
            Kind::Document => return None,
        };
        // Half a phase for clocks that are ahead of ours.
        if now < opens - self.schedule.phase() / 2 {
            return None;
        }
        if now < first {
            return Some(0);
        }
        let step = now.since(first).as_nanos() / self.schedule.phase().as_nanos().max(1) + 1;
        u32::try_from(step).ok().filter(|step| *step <= relay_steps(faulty))
    }

    fn is_ours(&self, statement: &Statement) -> bool {
        statement.network == self.network()
            && statement.epoch == self.round.target
            && self.committee().contains(&statement.author)
    }

    fn handle_statement(&mut self, now: Timestamp, from: AuthorityId, signed: SignedStatement, body: &Arc<[u8]>) {
        let statement = signed.statement();
        if !self.is_ours(statement) || statement.author != from {
            return;
        }
        match statement.kind {
            Kind::Document => self.handle_signature(now, signed),
            kind if self.step(kind, now) == Some(0) && body_digest(kind, body) == statement.digest => {
                self.accept(now, signed, Vec::new(), body.clone());
            }
            Kind::Vote | Kind::Reveal => {}
        }
    }

    fn handle_relay(
        &mut self,
        now: Timestamp,
        from: AuthorityId,
        signed: SignedStatement,
        chain: Vec<Countersignature>,
    ) {
        let statement = *signed.statement();
        let held = self.round.items.get(&(statement.author, statement.kind)).map_or(&[][..], Vec::as_slice);
        let known = held.iter().any(|item| item.signed.statement().digest == statement.digest);
        if !self.is_ours(&statement) || known || held.len() >= STATEMENTS_MAX || statement.author == self.id() {
            return;
        }
        let chain = self.good_chain(&statement, chain);
        if !self.is_long_enough(statement.kind, &chain, now) {
            return;
        }
        // Counted for each relayer: an accomplice that names bodies which do not exist takes the place of nobody's.
        let of_both = |((author, kind, _), pending): &(&(AuthorityId, Kind, _), &Pending)| {
            (*author, *kind, pending.from) == (statement.author, statement.kind, from)
        };
        let waiting = self.round.pending.iter().filter(of_both).count();
        let key = (statement.author, statement.kind, statement.digest);
        match self.round.pending.get_mut(&key) {
            Some(pending) if pending.chain.len() < chain.len() => pending.chain = chain,
            Some(_) => {}
            None if waiting >= STATEMENTS_MAX => return,
            None => {
                self.round.pending.insert(key, Pending { signed, chain, from });
            }
        }
        self.actions.push_back(Action::Send(from, Message::WantBody(statement.digest)));
    }

    /// Countersignatures of different authorities other than the author that are good.
    fn good_chain(&self, statement: &Statement, chain: Vec<Countersignature>) -> Vec<Countersignature> {
        let mut seen = BTreeSet::new();
        let committee = self.committee();
        let good = |word: &Countersignature| {
            word.by != statement.author
                && committee.contains(&word.by)
                && seen.insert(word.by)
                && word.is_for(statement)
        };
        chain.into_iter().filter(good).collect()
    }

    fn is_long_enough(&self, kind: Kind, chain: &[Countersignature], now: Timestamp) -> bool {
        self.step(kind, now).is_some_and(|step| chain.len() >= step.max(1) as usize)
    }

    fn handle_body(&mut self, now: Timestamp, body: &Arc<[u8]>) {
        for kind in [Kind::Vote, Kind::Reveal] {
            let found = body_digest(kind, body);
            let asked = self.round.pending.extract_if(.., |(_, of, digest), _| *of == kind && *digest == found);
            for pending in asked.map(|(_, pending)| pending).collect::<Vec<_>>() {
                if self.is_long_enough(kind, &pending.chain, now) {
                    self.accept(now, pending.signed, pending.chain, body.clone());
                }
            }
        }
    }

    /// Takes a statement in time, and vouches for it to the others.
    fn accept(&mut self, now: Timestamp, signed: SignedStatement, mut chain: Vec<Countersignature>, body: Arc<[u8]>) {
        let statement = *signed.statement();
        // Everyone takes it for silence, so that nobody keeps what is as long as a message may be.
        if statement.kind == Kind::Reveal && body.len() != KEY {
            return;
        }
        let own = self.id();
        if statement.author != own && chain.iter().all(|word| word.by != own) {
            chain.push(signed.countersign(&self.secret));
        }
        let Some(other) = self.round.insert(signed, chain.clone(), body) else { return };
        if let Some(proof) = other.and_then(|other| EquivocationProof::new(other, signed)) {
            self.handle_proof(proof);
        }
        let last = relay_steps(self.committee().faulty());
        if self.step(statement.kind, now).is_some_and(|step| step < last) {
            self.broadcast(&Message::Relay(signed, chain));
        }
    }

    fn handle_proof(&mut self, proof: EquivocationProof) {
        let known = self.proofs.contains_key(&proof.author());
        let ours = proof.network() == self.network() && self.committee().contains(&proof.author());
        if known || !ours || self.proofs.len() >= PROOFS_MAX {
            return;
        }
        self.proofs.insert(proof.author(), proof);
        self.actions.push_back(Action::Store(Record::Proof(Box::new(proof))));
        self.actions.push_back(Action::Tell(Event::Caught(Box::new(proof))));
        self.broadcast(&Message::Proofs(vec![proof]));
    }

    /// Finds the document that follows from the agreed votes, and signs it: once for an epoch, ever, and only if this authority
    /// voted.
    fn sign(&mut self) {
        if self.round.found.is_some() || self.documents.contains_key(&self.round.target) {
            return;
        }
        let Some(said) = self.said().cloned() else { return };
        let signed_part: Arc<[u8]> = match self.tally() {
            Ok(bytes) => bytes.into(),
            Err(error) => {
                if let TallyError::Base(epoch) = error {
                    self.ask_once_for(epoch);
                }
                self.round.failure = Some(error.to_string());
                return;
            }
        };
        self.round.failure = None;
        let found = digest(&signed_part);
        self.round.found = Some((signed_part, found));
        if said.document.is_some_and(|signed| signed != found) {
            self.round.failure = Some("this authority signed another document for the epoch before".into());
            return;
        }
        let signed = self.statement(Kind::Document, found);
        if said.document.is_none() {
            self.say(Said { document: Some(found), ..said });
        }
        let own = self.id();
        self.round.signatures.insert(own, vec![signed]);
        self.broadcast(&Message::Statement(signed, Arc::from([])));
    }

    fn ask_once_for(&mut self, epoch: Epoch) {
        if self.round.asked != Some(Phase::Signature) {
            self.round.asked = Some(Phase::Signature);
            self.broadcast(&Message::WantDocument(Epoch(epoch.0.saturating_sub(1))));
        }
    }

    fn tally(&self) -> Result<Vec<u8>, TallyError> {
        let (mut votes, mut reveals, mut equivocators) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        for ((author, kind), items) in &self.round.items {
            match (items.as_slice(), kind) {
                ([_, _, ..], _) => {
                    equivocators.insert(*author);
                }
                ([item], Kind::Vote) => {
                    votes.extend(item.vote.clone().map(|vote| (*author, vote)));
                }
                ([item], Kind::Reveal) => {
                    reveals.extend(<[u8; KEY]>::try_from(&item.body[..]).ok().map(|value| (*author, value)));
                }
                _ => {}
            }
        }
        votes.retain(|author, _| !equivocators.contains(author));
        let agreed = Agreed {
            network: self.network(),
            epoch: self.round.target,
            schedule: &self.schedule,
            committee: self.committee(),
            votes: &votes,
            reveals: &reveals,
            equivocators: &equivocators,
        };
        let base = agreed.base().and_then(|base| self.documents.get(&base.epoch));
        agreed.view(base).map(|view| view.encode())
    }

    fn handle_signature(&mut self, now: Timestamp, signed: SignedStatement) {
        let opens = self.schedule.phase_start(self.round.target, Phase::Signature, self.committee().faulty());
        if now < opens - self.schedule.phase() / 2 {
            return;
        }
        let author = signed.statement().author;
        let held = self.round.signatures.entry(author).or_default();
        if held.contains(&signed) || held.len() >= STATEMENTS_MAX {
            return;
        }
        let other = held.first().copied();
        held.push(signed);
        if let Some(proof) = other.and_then(|other| EquivocationProof::new(other, signed)) {
            self.handle_proof(proof);
        }
        let digest = signed.statement().digest;
        let others = self.round.found.as_ref().is_none_or(|(_, found)| *found != digest);
        if others && self.round.signers(&digest).count() >= self.committee().threshold() {
            // They agree on a document that is not ours, or this authority was away: it is theirs that counts.
            let before = Epoch(self.round.target.0.saturating_sub(1));
            self.actions.push_back(Action::Send(author, Message::WantDocument(before)));
        }
    }

    /// Puts the document together once enough have signed what was found here.
    fn complete(&mut self) {
        if self.documents.contains_key(&self.round.target) {
            return;
        }
        let Some((signed_part, found)) = self.round.found.clone() else { return };
        if self.round.signers(&found).count() < self.committee().threshold() {
            return;
        }
        let signatures =
            self.round.signers(&found).map(|signed| (signed.statement().author, *signed.signature())).collect();
        let bytes = assemble(&signed_part, &signatures, self.set.handovers());
        let document = UnverifiedDocument::from_bytes(&bytes).and_then(|it| it.verify_timelessly(&self.set));
        match document {
            Ok(document) => self.publish(document),
            Err(error) => self.round.failure = Some(error.to_string()),
        }
    }

    fn handle_document(&mut self, now: Timestamp, bytes: &[u8]) {
        let Ok(document) = UnverifiedDocument::from_bytes(bytes) else { return };
        let newest = self.schedule.target_at(now);
        let old = self.documents.len() >= DOCUMENTS_MAX && Some(&document.epoch()) < self.documents.keys().next();
        if document.epoch() > newest || old || self.documents.contains_key(&document.epoch()) {
            return;
        }
        if let Ok(document) = document.verify_timelessly(&self.set) {
            self.publish(document);
        }
    }

    fn publish(&mut self, document: Document) {
        let epoch = document.epoch;
        self.actions.push_back(Action::Store(Record::Document(epoch, document.bytes())));
        self.actions.push_back(Action::Publish(document.clone()));
        self.actions.push_back(Action::Tell(Event::Made(epoch)));
        self.keep(document);
    }

    fn keep(&mut self, document: Document) {
        if document.authorities().handovers().len() > self.set.handovers().len() {
            self.set = document.authorities().clone();
        }
        self.documents.insert(document.epoch, document);
        while self.documents.len() > DOCUMENTS_MAX {
            self.documents.pop_first();
        }
    }

    fn end_round(&mut self) {
        let target = self.round.target;
        if !self.documents.contains_key(&target) {
            let reason = self.round.failure.take().unwrap_or_else(|| "too few signatures came".into());
            self.actions.push_back(Action::Tell(Event::Failed(target, reason)));
        }
    }
}

fn body_digest(kind: Kind, body: &[u8]) -> [u8; HASH] {
    match kind {
        Kind::Vote => Vote::digest(body),
        Kind::Reveal | Kind::Document => reveal_digest(body),
    }
}

impl Round {
    fn new(target: Epoch) -> Self {
        Self {
            target,
            items: BTreeMap::new(),
            pending: BTreeMap::new(),
            signatures: BTreeMap::new(),
            found: None,
            voted: false,
            revealed: false,
            failure: None,
            asked: None,
            answered: BTreeMap::new(),
        }
    }

    /// Adds a statement; `None` if it is known or there are enough of its author, else the author's other one.
    fn insert(
        &mut self,
        signed: SignedStatement,
        chain: Vec<Countersignature>,
        body: Arc<[u8]>,
    ) -> Option<Option<SignedStatement>> {
        let statement = signed.statement();
        let held = self.items.entry((statement.author, statement.kind)).or_default();
        if held.len() >= STATEMENTS_MAX || held.iter().any(|item| item.signed.statement().digest == statement.digest) {
            return None;
        }
        let vote = (statement.kind == Kind::Vote).then(|| Vote::decode(&body).ok().map(Arc::new)).flatten();
        let other = held.first().map(|item| item.signed);
        held.push(Item { signed, chain, body, vote });
        Some(other)
    }

    fn item(&self, digest: &[u8; HASH]) -> Option<&Item> {
        self.items.values().flatten().find(|item| item.signed.statement().digest == *digest)
    }

    /// Counts a question of an authority; false once it has asked the same too often. Bounded by authorities and bodies held.
    fn may_ask(&mut self, from: AuthorityId, digest: [u8; HASH]) -> bool {
        let count = self.answered.entry((from, digest)).or_default();
        *count = count.saturating_add(1);
        *count <= ANSWERS_MAX
    }

    /// Signatures under this document.
    fn signers<'a>(&'a self, digest: &'a [u8; HASH]) -> impl Iterator<Item = &'a SignedStatement> {
        self.signatures.values().flatten().filter(move |signed| signed.statement().digest == *digest)
    }
}
