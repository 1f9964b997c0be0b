//! Authorities in one thread and virtual time, some of them hostile, over a network that delays, reorders and cuts.

use super::NAME;
use rand::Rng as _;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use veilpost_packet::{
    ids::{AuthorityId, LinkKey, NodeId},
    primitives::SigningSecret,
    random::{EngineRng, bytes, seeded},
    sphinx::SphinxPublic,
    time::{Epoch, Timestamp},
};
use veilpost_pki::{
    AuthoritySet, Descriptor, Document, Params, Role, Schedule,
    round::{Action, Authority, Ballot, Event, Record, Stored},
    schedule::Phase,
    statement::{Kind, SignedStatement, Statement},
    vote::Vote,
    wire::Message,
};

pub(crate) const GENESIS: u64 = 1_000_000;

/// What a hostile authority does, each in every round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Vice {
    /// Says nothing.
    Silent,
    /// Says everything up to two phases late.
    Late,
    /// Sends one vote to some and another to the others, and so with reveals and signatures.
    Equivocate,
    /// Equivocates in every other round only, to a single victim.
    Whisper,
    /// Never reveals.
    Withhold,
    /// Hands its vote to one accomplice alone, who passes it to one victim at the last moment.
    LastMoment,
    /// Sends again what was sent in rounds before.
    Replay,
    /// Sends bytes that are no vote, signed; and votes for nonsense.
    Nonsense,
    /// Signs the vote of another as its own, to half of the others.
    Copy,
}

pub(crate) const VICES: [Vice; 9] = [
    Vice::Silent,
    Vice::Late,
    Vice::Equivocate,
    Vice::Whisper,
    Vice::Withhold,
    Vice::LastMoment,
    Vice::Replay,
    Vice::Nonsense,
    Vice::Copy,
];

pub(crate) struct Member {
    pub(crate) engine: Option<Authority>,
    pub(crate) secret_seed: [u8; 32],
    pub(crate) vice: Option<Vice>,
    /// What a disk would hold.
    pub(crate) said: BTreeMap<Epoch, veilpost_pki::round::Said>,
    pub(crate) stored_documents: BTreeMap<Epoch, Arc<[u8]>>,
    pub(crate) proofs: Vec<veilpost_pki::statement::EquivocationProof>,
    /// How far its clock is ahead; negative is behind.
    pub(crate) skew_ms: i64,
    pub(crate) ballot: Ballot,
}

pub(crate) struct Council {
    pub(crate) now: Timestamp,
    pub(crate) schedule: Schedule,
    pub(crate) set: AuthoritySet,
    pub(crate) faulty: usize,
    pub(crate) members: Vec<Member>,
    ids: Vec<AuthorityId>,
    /// On their way, in order of arrival.
    flying: BTreeMap<(Timestamp, u64), (usize, usize, Vec<u8>)>,
    sequence: u64,
    pub(crate) rng: EngineRng,
    /// Pairs without a link.
    pub(crate) cut: BTreeSet<(usize, usize)>,
    pub(crate) delay_max: Duration,
    nodes: Vec<(SigningSecret, Role)>,
    published: Epoch,
    /// Documents by epoch and member.
    pub(crate) made: BTreeMap<Epoch, BTreeMap<usize, Document>>,
    /// What members signed: one document an epoch.
    pub(crate) signed: BTreeMap<(Epoch, usize), [u8; 32]>,
    pub(crate) events: Vec<(usize, Event)>,
    old: Vec<(usize, Vec<u8>)>,
    /// The last vote that somebody sent.
    last_vote: Option<Arc<[u8]>>,
    pub(crate) sent: BTreeMap<usize, (u64, u64)>,
}

impl Council {
    pub(crate) fn new(count: u8, faulty: usize, seed: u64) -> Self {
        let mut rng = seeded([seed as u8; 32]);
        rng.set_stream(seed);
        let nodes: Vec<(SigningSecret, Role)> = [Role::Mix; 6]
            .into_iter()
            .chain([Role::Entry, Role::Mailbox, Role::Mailbox])
            .enumerate()
            .map(|(n, role)| (SigningSecret::from_seed(&[n as u8 + 1; 32]), role))
            .collect();
        Self::with_nodes(count, faulty, rng, nodes)
    }

    pub(crate) fn with_nodes(count: u8, faulty: usize, rng: EngineRng, nodes: Vec<(SigningSecret, Role)>) -> Self {
        let seeds: Vec<[u8; 32]> = (0..count).map(|n| [100 + n; 32]).collect();
        let ids: Vec<_> = seeds.iter().map(|seed| SigningSecret::from_seed(seed).authority_id()).collect();
        let set = AuthoritySet::new(NAME, &ids, faulty).unwrap();
        let schedule = Schedule { genesis: GENESIS, epoch_ms: 60_000, phase_ms: 1_000 };
        schedule.check(faulty).unwrap();
        let admitted = nodes.iter().map(|(secret, role)| (secret.node_id(), *role)).collect();
        let params = Params { epoch: schedule.epoch(), placement_notice: 3, ..Params::standard() };
        let ballot = Ballot { params, admitted };
        let member = |seed: &[u8; 32]| Member {
            engine: None,
            secret_seed: *seed,
            vice: None,
            said: BTreeMap::new(),
            stored_documents: BTreeMap::new(),
            proofs: Vec::new(),
            skew_ms: 0,
            ballot: ballot.clone(),
        };
        let now = schedule.round_start(Epoch(1), faulty) - Duration::from_millis(100);
        let mut council = Self {
            now,
            schedule,
            set,
            faulty,
            members: seeds.iter().map(member).collect(),
            ids,
            flying: BTreeMap::new(),
            sequence: 0,
            rng,
            cut: BTreeSet::new(),
            delay_max: Duration::from_millis(200),
            nodes,
            published: Epoch(0),
            made: BTreeMap::new(),
            signed: BTreeMap::new(),
            events: Vec::new(),
            old: Vec::new(),
            last_vote: None,
            sent: BTreeMap::new(),
        };
        for member in 0..council.members.len() {
            council.start(member);
        }
        council
    }

    /// A member's own time.
    fn local(&self, member: usize) -> Timestamp {
        let skew = self.members[member].skew_ms;
        let by = Duration::from_millis(skew.unsigned_abs());
        if skew < 0 { self.now - by } else { self.now + by }
    }

    pub(crate) fn start(&mut self, at: usize) {
        let (schedule, set) = (self.schedule, self.set.clone());
        let seed = bytes(&mut self.rng);
        let local = self.local(at);
        let member = &mut self.members[at];
        let stored = Stored {
            said: member.said.values().cloned().collect(),
            documents: member.stored_documents.values().map(|bytes| bytes.to_vec()).collect(),
            proofs: member.proofs.clone(),
        };
        let secret = SigningSecret::from_seed(&member.secret_seed);
        let engine = Authority::new(local, schedule, set, secret, member.ballot.clone(), stored, seeded(seed));
        member.engine = Some(engine);
        // Nodes publish again to an authority that comes back.
        self.publish_to(at, self.published);
        self.connect_all(at);
    }

    /// As `kill -9`: what is on disk stays.
    pub(crate) fn kill(&mut self, at: usize) {
        self.members[at].engine = None;
    }

    fn connect_all(&mut self, at: usize) {
        for other in 0..self.members.len() {
            if other != at {
                self.connected(at, other);
                self.connected(other, at);
            }
        }
    }

    fn connected(&mut self, at: usize, other: usize) {
        let (now, peer) = (self.local(at), self.ids[other]);
        if let Some(engine) = &mut self.members[at].engine {
            engine.handle_connected(now, peer);
        }
        self.drain(at);
    }

    pub(crate) fn heal(&mut self) {
        self.cut.clear();
        for at in 0..self.members.len() {
            self.connect_all(at);
        }
    }

    pub(crate) fn hostile(&self) -> usize {
        self.members.iter().filter(|member| member.vice.is_some()).count()
    }

    pub(crate) fn run_until(&mut self, end: Timestamp) {
        while self.now < end {
            let wakes = (0..self.members.len()).filter_map(|at| {
                let local = self.local(at);
                let wake = self.members[at].engine.as_ref()?.next_wake(local);
                Some(self.now + wake.since(local).max(Duration::from_millis(1)))
            });
            let next = wakes.chain(self.flying.keys().next().map(|(at, _)| *at)).min().unwrap_or(end).min(end);
            self.now = next.max(self.now);
            self.publish_descriptors();
            while let Some(entry) = self.flying.first_entry().filter(|entry| entry.key().0 <= self.now) {
                let (from, to, bytes) = entry.remove();
                self.deliver(from, to, &bytes);
            }
            for at in 0..self.members.len() {
                let local = self.local(at);
                if let Some(engine) = &mut self.members[at].engine {
                    engine.handle_time(local);
                }
                self.drain(at);
            }
        }
    }

    /// Until an epoch begins.
    pub(crate) fn run_to_epoch(&mut self, epoch: u64) {
        self.run_until(self.schedule.start(Epoch(epoch)));
    }

    pub(crate) fn run_to(&mut self, epoch: u64, phase: Phase) {
        self.run_until(self.schedule.phase_start(Epoch(epoch), phase, self.faulty) + Duration::from_millis(500));
    }

    /// Nodes are honest here: they publish as soon as descriptors of an epoch are taken.
    fn publish_descriptors(&mut self) {
        let target = self.schedule.descriptors_for(self.now, self.faulty);
        if target <= self.published {
            return;
        }
        self.published = target;
        (0..self.members.len()).for_each(|at| self.publish_to(at, target));
    }

    fn publish_to(&mut self, at: usize, target: Epoch) {
        let descriptors: Vec<Vec<u8>> =
            self.nodes.iter().map(|(secret, role)| descriptor(secret, *role, target)).collect();
        let now = self.now;
        if let Some(engine) = &mut self.members[at].engine {
            // By the nodes' clocks: with one that is far off the authority would answer that it is early or late.
            for bytes in &descriptors {
                let _ = engine.handle_descriptor(now, bytes);
            }
        }
    }

    fn deliver(&mut self, from: usize, to: usize, bytes: &[u8]) {
        if self.cut.contains(&(from, to)) || self.cut.contains(&(to, from)) {
            return;
        }
        let (now, peer) = (self.local(to), self.ids[from]);
        let Ok(message) = Message::decode(bytes) else { return };
        if let Some(engine) = &mut self.members[to].engine {
            engine.handle_message(now, peer, message);
        }
        self.drain(to);
    }

    fn drain(&mut self, at: usize) {
        while let Some(action) = self.members[at].engine.as_mut().and_then(Authority::poll_action) {
            match action {
                Action::Store(Record::Said(said)) => {
                    if let Some(digest) = said.document
                        && self.members[at].vice.is_none()
                    {
                        let before = self.signed.insert((said.target, at), digest);
                        assert!(before.is_none_or(|before| before == digest), "signed two documents for one epoch");
                    }
                    self.members[at].said.insert(said.target, said);
                }
                Action::Store(Record::Document(epoch, bytes)) => {
                    self.members[at].stored_documents.insert(epoch, bytes);
                }
                Action::Store(Record::Proof(proof)) => self.members[at].proofs.push(*proof),
                Action::Publish(document) => {
                    self.made.entry(document.epoch).or_default().insert(at, document);
                }
                Action::Tell(event) => self.events.push((at, event)),
                Action::Send(to, message) => {
                    let to = self.ids.iter().position(|id| *id == to).unwrap();
                    self.send(at, to, message);
                }
            }
        }
    }

    fn fly(&mut self, from: usize, to: usize, bytes: Vec<u8>, extra: Duration) {
        let delay = self.rng.random_range(Duration::from_millis(1)..=self.delay_max) + extra;
        self.sequence += 1;
        let (count, sum) = self.sent.entry(from).or_default();
        *count += 1;
        *sum += bytes.len() as u64;
        self.flying.insert((self.now + delay, self.sequence), (from, to, bytes));
    }

    fn send(&mut self, from: usize, to: usize, message: Message) {
        let phase = self.schedule.phase();
        if let Message::Statement(signed, body) = &message
            && signed.statement().kind == Kind::Vote
            && self.members[from].vice.is_none()
        {
            self.last_vote = Some(body.clone());
        }
        match self.members[from].vice {
            Some(Vice::Copy) => {
                let copied = match (&message, self.last_vote.clone()) {
                    (Message::Statement(signed, _), Some(vote))
                        if signed.statement().kind == Kind::Vote && to.is_multiple_of(2) =>
                    {
                        let secret = SigningSecret::from_seed(&self.members[from].secret_seed);
                        let statement = Statement { digest: Vote::digest(&vote), ..*signed.statement() };
                        Message::Statement(statement.sign(&secret), vote)
                    }
                    _ => message,
                };
                self.fly(from, to, copied.encode(), Duration::ZERO);
            }
            None => self.fly(from, to, message.encode(), Duration::ZERO),
            Some(Vice::Silent) => {}
            Some(Vice::Late) => {
                let extra = phase.mul_f64(self.rng.random_range(0.5..2.0));
                self.fly(from, to, message.encode(), extra);
            }
            Some(Vice::Withhold) => {
                if !is_own(&message, &self.ids[from], Kind::Reveal) {
                    self.fly(from, to, message.encode(), Duration::ZERO);
                }
            }
            Some(Vice::Equivocate) => {
                let message = if to.is_multiple_of(2) { self.twist(from, message) } else { message };
                self.fly(from, to, message.encode(), Duration::ZERO);
            }
            Some(Vice::Whisper) => {
                let turn = self.schedule.target_at(self.now).0 as usize;
                let lie = turn.is_multiple_of(2) && to == turn % self.members.len();
                let message = if lie { self.twist(from, message) } else { message };
                self.fly(from, to, message.encode(), Duration::ZERO);
            }
            Some(Vice::LastMoment) => self.send_at_the_last_moment(from, to, message),
            Some(Vice::Replay) => {
                let bytes = message.encode();
                if self.old.len() < 2_000 {
                    self.old.push((from, bytes.clone()));
                }
                let at = self.rng.random_range(0..self.old.len());
                let again = self.old[at].1.clone();
                self.fly(from, to, again, Duration::ZERO);
                self.fly(from, to, bytes, Duration::ZERO);
            }
            Some(Vice::Nonsense) => {
                let mut noise = message.encode();
                let at = self.rng.random_range(0..noise.len());
                noise[at] ^= 1 << self.rng.random_range(0..8u8);
                self.fly(from, to, noise, Duration::ZERO);
                let twisted = self.twist_into_noise(from, message);
                self.fly(from, to, twisted.encode(), Duration::ZERO);
            }
        }
    }

    /// The same statement with another content, signed by its hostile author.
    fn twist(&mut self, from: usize, message: Message) -> Message {
        let Message::Statement(signed, body) = &message else { return message };
        let secret = SigningSecret::from_seed(&self.members[from].secret_seed);
        let kind = signed.statement().kind;
        let body: Arc<[u8]> = match kind {
            Kind::Vote => {
                let mut vote = Vote::decode(body).unwrap();
                vote.descriptors.pop();
                vote.placement.clear();
                vote.encode().into()
            }
            Kind::Reveal => bytes::<32>(&mut self.rng)[..].into(),
            Kind::Document => Arc::from([]),
        };
        let digest = match kind {
            Kind::Vote => Vote::digest(&body),
            Kind::Reveal => veilpost_pki::vote::reveal_digest(&body),
            Kind::Document => [7; 32],
        };
        Message::Statement(Statement { digest, ..*signed.statement() }.sign(&secret), body)
    }

    fn twist_into_noise(&mut self, from: usize, message: Message) -> Message {
        let Message::Statement(signed, _) = &message else { return message };
        if signed.statement().kind != Kind::Vote {
            return message;
        }
        let secret = SigningSecret::from_seed(&self.members[from].secret_seed);
        let body: Arc<[u8]> = bytes::<40>(&mut self.rng)[..].into();
        let statement = Statement { digest: Vote::digest(&body), ..*signed.statement() };
        Message::Statement(statement.sign(&secret), body)
    }

    /// Its own statements go to the other hostile ones alone; what hostile ones vouch for goes to one honest member, as late as
    /// it may.
    fn send_at_the_last_moment(&mut self, from: usize, to: usize, message: Message) {
        let own = |kind| is_own(&message, &self.ids[from], kind);
        let accomplice = self.members[to].vice.is_some();
        let victim = (0..self.members.len()).find(|at| self.members[*at].vice.is_none());
        let statement = own(Kind::Vote) || own(Kind::Reveal);
        let relay_of_hostile = matches!(&message, Message::Relay(signed, _)
            if self.ids.iter().position(|id| *id == signed.statement().author).is_some_and(|at| self.members[at].vice.is_some()));
        if statement && !accomplice {
            return;
        }
        let extra = if relay_of_hostile && !accomplice {
            if Some(to) != victim {
                return;
            }
            // Just before the end of the step that it falls into.
            let phase = self.schedule.phase();
            let left = phase.as_millis() as u64 - (self.now.as_millis() % phase.as_millis() as u64);
            Duration::from_millis(left.saturating_sub(60))
        } else {
            Duration::ZERO
        };
        self.fly(from, to, message.encode(), extra);
    }
}

fn is_own(message: &Message, author: &AuthorityId, kind: Kind) -> bool {
    let of = |signed: &SignedStatement| signed.statement().author == *author && signed.statement().kind == kind;
    match message {
        Message::Statement(signed, _) => of(signed),
        _ => false,
    }
}

pub(crate) fn descriptor(secret: &SigningSecret, role: Role, epoch: Epoch) -> Vec<u8> {
    let id: NodeId = secret.node_id();
    let [n, ..] = id.0;
    Descriptor {
        id,
        epoch,
        role,
        addresses: vec![format!("127.0.0.1:{}", 4_000 + u16::from(n)).parse().unwrap()],
        onion: None,
        link_key: LinkKey(id.0),
        sphinx_keys: (0..13).map(|later| SphinxPublic([(epoch.0 + later) as u8; 32])).collect(),
        software: "veilpost test".into(),
        family: String::new(),
        capacity: 1_000,
        fill: 0,
        measured: Vec::new(),
    }
    .sign(secret)
}
