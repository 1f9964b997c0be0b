//! One authority among three that the input plays: messages, descriptors and time in any order, over all phases of several rounds.
#![no_main]
use libfuzzer_sys::fuzz_target;
use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
    time::Duration,
};
use veilpost_fuzz::{authorities, authority, descriptor, edited, nodes, vote};
use veilpost_packet::{
    codec::Reader,
    primitives::SigningSecret,
    random::seeded,
    time::{Epoch, Timestamp},
};
use veilpost_pki::{
    Params, Role, Schedule,
    round::{Action, Authority, Ballot, DOCUMENTS_MAX, Record, SAID_MAX, Said, Stored},
    schedule::Phase,
    statement::{EquivocationProof, Kind, Statement},
    vote::{Vote, reveal_digest},
    wire::Message,
};

const SCHEDULE: Schedule = Schedule { genesis: 1_000_000, epoch_ms: 16_000, phase_ms: 1_000 };
/// More than an authority sends in answer to one message: its documents, or what it holds to one that connects, and the relays
/// that follow.
const ACTIONS_MAX: usize = 200;
const STEPS_MAX: usize = 200;

fn params() -> Params {
    Params { epoch: SCHEDULE.epoch(), ..Params::standard() }
}

static NODES: LazyLock<[(SigningSecret, Role); 5]> = LazyLock::new(nodes);
/// Good votes of the three others for the first epochs, and the descriptors.
static VOTES: LazyLock<BTreeMap<(u64, u8), Arc<[u8]>>> = LazyLock::new(|| {
    let one = |(epoch, n)| ((epoch, n), vote(n, Epoch(epoch), params(), &[n; 32]).encode().into());
    (1..4u64).flat_map(|epoch| (1..4u8).map(move |n| (epoch, n))).map(one).collect()
});
static DESCRIPTORS: LazyLock<BTreeMap<(u64, usize), Vec<u8>>> = LazyLock::new(|| {
    let one = |(epoch, n): (u64, usize)| ((epoch, n), descriptor(&NODES[n].0, NODES[n].1, Epoch(epoch)));
    (1..4u64).flat_map(|epoch| (0..5).map(move |n| (epoch, n))).map(one).collect()
});

struct World {
    engine: Authority,
    now: Timestamp,
    /// What it said and signed, as its disk has it.
    said: BTreeMap<Epoch, Said>,
    documents: BTreeMap<Epoch, Arc<[u8]>>,
    proofs: Vec<EquivocationProof>,
    digests: Vec<[u8; 32]>,
}

fn start(now: Timestamp, stored: Stored) -> Authority {
    let (set, _) = authorities();
    let admitted = NODES.iter().map(|(secret, role)| (secret.node_id(), *role)).collect();
    let ballot = Ballot { params: params(), admitted };
    let secret = SigningSecret::from_seed(&[100; 32]);
    Authority::new(now, SCHEDULE, set.clone(), secret, ballot, stored, seeded([9; 32]))
}

impl World {
    fn drain(&mut self) {
        let mut count = 0;
        while let Some(action) = self.engine.poll_action() {
            count += 1;
            assert!(count <= ACTIONS_MAX);
            match action {
                Action::Store(Record::Said(said)) => {
                    if let Some(before) = self.said.get(&said.target) {
                        assert_eq!((&before.vote, before.value), (&said.vote, said.value), "two votes");
                        assert!(before.document.is_none() || before.document == said.document, "two documents");
                    }
                    self.said.insert(said.target, said);
                }
                Action::Store(Record::Document(epoch, bytes)) => {
                    assert!(self.documents.insert(epoch, bytes).is_none(), "two documents of one epoch");
                }
                Action::Store(Record::Proof(proof)) => {
                    assert!(proof.author() != self.engine.id(), "it never lies");
                    self.proofs.push(*proof);
                }
                Action::Send(_, message) => {
                    assert_eq!(Message::decode(&message.encode()).as_ref(), Ok(&message));
                    if let Message::Statement(signed, _) = message {
                        self.digests.push(signed.statement().digest);
                    }
                }
                Action::Publish(_) | Action::Tell(_) => {}
            }
        }
        assert!(self.engine.documents().count() <= DOCUMENTS_MAX && self.proofs.len() <= 3);
    }

    fn restart(&mut self) {
        let last = |count: usize| count.saturating_sub(SAID_MAX);
        let stored = Stored {
            said: self.said.values().skip(last(self.said.len())).cloned().collect(),
            documents: self.documents.values().map(|bytes| bytes.to_vec()).collect(),
            proofs: self.proofs.clone(),
        };
        self.engine = start(self.now, stored);
    }

    fn step(&mut self, reader: &mut Reader<'_>) -> Option<()> {
        let [step, a, b] = reader.array().ok()?;
        let from = 1 + a % 3;
        let peer = authority(from).authority_id();
        let epoch = SCHEDULE.target_at(self.now).0;
        match step % 14 {
            12 | 13 => self.others_do_what_is_due(epoch),
            0 | 1 => self.now = self.now + Duration::from_millis(u64::from(b) * 10),
            2 => self.now = self.engine.next_wake(self.now),
            3 => self.engine.handle_connected(self.now, peer),
            4 => {
                let good = DESCRIPTORS.get(&(epoch + u64::from(b % 2), usize::from(a % 5)))?;
                let bytes = if b < 200 { good.clone() } else { edited(good, reader.take(5).ok()?) };
                let _ = self.engine.handle_descriptor(self.now, &bytes);
            }
            5 => self.restart(),
            6 => {
                let length = usize::from(b).min(reader.remaining());
                if let Ok(message) = Message::decode(reader.take(length).ok()?) {
                    self.engine.handle_message(self.now, peer, message);
                }
            }
            _ => {
                let message = self.message(step, from, b, epoch, reader)?;
                self.engine.handle_message(self.now, peer, message);
            }
        }
        self.engine.handle_time(self.now);
        Some(())
    }

    /// So that rounds end with documents.
    fn others_do_what_is_due(&mut self, epoch: u64) {
        let kind = match SCHEDULE.phase_at(Epoch(epoch), self.now, 1) {
            Some(Phase::Descriptors) => {
                for n in 0..5 {
                    if let Some(bytes) = DESCRIPTORS.get(&(epoch, n)) {
                        let _ = self.engine.handle_descriptor(self.now, bytes);
                    }
                }
                return;
            }
            Some(Phase::Vote) => 0,
            Some(Phase::Reveal) => 2,
            Some(Phase::Signature) => 4,
            _ => return,
        };
        for from in 1..4 {
            if let Some(message) = self.message(7, from, kind, epoch, &mut Reader::new(&[])) {
                self.engine.handle_message(self.now, authority(from).authority_id(), message);
            }
        }
    }

    fn message(&self, step: u8, from: u8, b: u8, epoch: u64, reader: &mut Reader<'_>) -> Option<Message> {
        let (set, _) = authorities();
        let author = if b & 1 == 0 { from } else { 1 + (b >> 4) % 3 };
        let kind = [Kind::Vote, Kind::Reveal, Kind::Document][usize::from((b >> 1) % 3)];
        let mut body: Arc<[u8]> = match kind {
            Kind::Vote => VOTES.get(&(epoch, author))?.clone(),
            Kind::Reveal => [author; 32].as_slice().into(),
            Kind::Document => Arc::from([]),
        };
        if b & 8 != 0 {
            body = edited(&body, reader.take(4).ok()?).into();
        }
        let digest = match kind {
            Kind::Vote => Vote::digest(&body),
            Kind::Reveal => reveal_digest(&body),
            // As the engine signed, if it did: so that documents come about.
            Kind::Document => self.said.get(&Epoch(epoch)).and_then(|said| said.document).unwrap_or([b; 32]),
        };
        let say = |digest| {
            let secret = authority(author);
            let (network, author) = (set.network(), secret.authority_id());
            Statement { network, epoch: Epoch(epoch), kind, author, digest }.sign(secret)
        };
        Some(match step % 14 {
            7 | 8 => Message::Statement(say(digest), body),
            9 => {
                let signed = say(digest);
                let by = (1..4).filter(|n| step & (16 << n) != 0);
                Message::Relay(signed, by.map(|n| signed.countersign(authority(n))).collect())
            }
            10 if b & 64 == 0 => Message::Body(body),
            10 => Message::WantBody(self.digests.get(usize::from(step)).copied().unwrap_or(digest)),
            _ => match b >> 6 {
                0 => Message::WantDocument(Epoch(u64::from(b & 7))),
                1 => Message::Document(self.documents.values().next()?.clone()),
                2 => Message::Proofs(EquivocationProof::new(say(digest), say([b; 32])).into_iter().collect()),
                _ => Message::Newest(Epoch(1)),
            },
        })
    }
}

fuzz_target!(|data: &[u8]| {
    let now = SCHEDULE.round_start(Epoch(1), 1);
    let (said, documents) = (BTreeMap::new(), BTreeMap::new());
    let engine = start(now, Stored::default());
    let mut world = World { engine, now, said, documents, proofs: Vec::new(), digests: Vec::new() };
    let mut reader = Reader::new(data);
    for _ in 0..STEPS_MAX {
        if world.step(&mut reader).is_none() {
            break;
        }
        world.drain();
    }
    let _ = world.engine.status(world.now);
});
