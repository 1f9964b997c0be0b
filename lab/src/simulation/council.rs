//! The authorities of a simulation.

use super::{Message, Simulation, Who, node::Skew};
use std::{collections::BTreeMap, sync::Arc};
use veilpost_packet::{
    ids::AuthorityId,
    primitives::SigningSecret,
    random::{bytes, seeded},
    time::{Epoch, Timestamp},
};
use veilpost_pki::{
    View,
    round::{Action, Authority, Ballot, Event, Record, Said, Stored},
    signed::sign_view,
    statement::EquivocationProof,
    wire,
};

pub(super) struct Member {
    pub(super) id: AuthorityId,
    seed: [u8; 32],
    pub(super) skew: Skew,
    pub(super) engine: Option<Authority>,
    /// Its disk.
    said: BTreeMap<Epoch, Said>,
    documents: BTreeMap<Epoch, Arc<[u8]>>,
    proofs: Vec<EquivocationProof>,
}

impl Member {
    pub(super) fn new(seed: [u8; 32]) -> Self {
        let (said, documents) = (BTreeMap::new(), BTreeMap::new());
        let id = SigningSecret::from_seed(&seed).authority_id();
        Self { id, seed, skew: Skew::default(), engine: None, said, documents, proofs: Vec::new() }
    }

    fn secret(&self) -> SigningSecret {
        SigningSecret::from_seed(&self.seed)
    }
}

impl Simulation {
    /// Ends an authority's process; what is on disk stays.
    pub fn kill_authority(&mut self, number: usize) {
        self.members.get_mut(number).expect("an authority").engine = None;
        self.touch(Who::Authority(number));
    }

    /// Starts an authority's process, if it does not run.
    pub fn start_authority(&mut self, number: usize) {
        let (schedule, set, ballot) = (self.network.schedule, self.authorities.clone(), self.ballot());
        let (now, seed) = (self.now, bytes(&mut self.rng));
        let member = self.members.get_mut(number).expect("an authority");
        if member.engine.is_some() {
            return;
        }
        let stored = Stored {
            said: member.said.values().cloned().collect(),
            documents: member.documents.values().map(|bytes| bytes.to_vec()).collect(),
            proofs: member.proofs.clone(),
        };
        let local = member.skew.local(now);
        member.engine = Some(Authority::new(local, schedule, set, member.secret(), ballot, stored, seeded(seed)));
        for other in 0..self.members.len() {
            self.link_authorities(number, other);
        }
    }

    /// A document that so many of the authorities signed, whatever it says.
    pub fn forge(&self, view: &View, signers: usize) -> Vec<u8> {
        let secrets: Vec<_> = self.members.iter().take(signers).map(Member::secret).collect();
        sign_view(view, &secrets)
    }

    fn ballot(&self) -> Ballot {
        Ballot { params: self.setup.params.clone(), admitted: self.admitted.clone() }
    }

    /// Admits a node or bars it, with all authorities that run; the others read the list when they start.
    pub fn set_admitted(&mut self, who: Who, admitted: bool) {
        let (id, role) = (self.node(who).id, self.node(who).role());
        if admitted {
            self.admitted.insert(id, role);
        } else {
            self.admitted.remove(&id);
        }
        let ballot = self.ballot();
        for member in &mut self.members {
            if let Some(engine) = &mut member.engine {
                engine.set_ballot(ballot.clone());
            }
        }
    }

    /// The link between two authorities is up (again).
    pub(super) fn link_authorities(&mut self, one: usize, other: usize) {
        if one == other || self.is_cut(Who::Authority(one), Who::Authority(other)) {
            return;
        }
        let id = |at: usize| self.members.get(at).expect("an authority").id;
        for (at, peer) in [(one, id(other)), (other, id(one))] {
            let now = self.now;
            let member = self.members.get_mut(at).expect("an authority");
            if let Some(engine) = &mut member.engine {
                engine.handle_connected(member.skew.local(now), peer);
            }
            self.touch(Who::Authority(at));
        }
    }

    pub(super) fn deliver_to_authority(&mut self, to: usize, from: usize, message: wire::Message) {
        let (now, peer) = (self.now, self.members.get(from).expect("an authority").id);
        let member = self.members.get_mut(to).expect("an authority");
        if let Some(engine) = &mut member.engine {
            engine.handle_message(member.skew.local(now), peer, message);
        }
    }

    /// A node's exchange: every message has one answer, a wish for documents as many as there are and their end.
    pub(super) fn deliver_errand(&mut self, to: usize, from: Who, number: u64, messages: &[wire::Message]) {
        let now = self.now;
        let member = self.members.get_mut(to).expect("an authority");
        let local = member.skew.local(now);
        let answers = member.engine.as_mut().map(|engine| {
            let mut answers = Vec::new();
            for message in messages {
                match message {
                    wire::Message::Descriptor(bytes) => {
                        answers.push(wire::Message::Answer(engine.handle_descriptor(local, bytes)));
                    }
                    wire::Message::WantDocument(after) => {
                        let newer = engine.documents().filter(|document| document.epoch > *after);
                        answers.extend(newer.map(|document| wire::Message::Document(document.bytes())));
                        let newest = engine.documents().next_back().map_or(Epoch(0), |document| document.epoch);
                        answers.push(wire::Message::Newest(newest));
                    }
                    _ => {}
                }
            }
            answers
        });
        let size = answers.iter().flatten().map(|answer| answer.encode().len()).sum();
        self.note(Who::Authority(to), 5, size);
        self.send(Who::Authority(to), from, Message::Told { number, answers });
    }

    pub(super) fn poll_authority(&mut self, number: usize) -> Timestamp {
        let now = self.now;
        let member = self.members.get_mut(number).expect("an authority");
        let Some(engine) = &mut member.engine else { return Timestamp::FAR_FUTURE };
        let local = member.skew.local(now);
        engine.handle_time(local);
        let actions: Vec<_> = std::iter::from_fn(|| engine.poll_action()).collect();
        let wake = member.skew.global(engine.next_wake(local));
        for action in actions {
            self.act(number, action);
        }
        wake
    }

    fn act(&mut self, number: usize, action: Action) {
        match action {
            Action::Store(record) => self.store(number, record),
            Action::Send(to, message) => {
                let to = self.members.iter().position(|member| member.id == to);
                let to = Who::Authority(to.expect("they speak to each other alone"));
                self.send(Who::Authority(number), to, Message::Council { from: number, message });
            }
            Action::Publish(document) => {
                let (epoch, digest) = (document.epoch, document.digest());
                let first = self.made.entry(epoch).or_insert((digest, document));
                assert_eq!(first.0, digest, "two documents of epoch {}, seed {}", epoch.0, self.setup.seed);
            }
            Action::Tell(Event::Failed(epoch, reason)) => {
                self.failed.push((epoch, number, reason));
            }
            Action::Tell(_) => {}
        }
    }

    fn store(&mut self, number: usize, record: Record) {
        let member = self.members.get_mut(number).expect("an authority");
        match record {
            Record::Said(said) => {
                if let Some(digest) = said.document {
                    let first = *self.signed.entry((said.target, number)).or_insert(digest);
                    assert_eq!(first, digest, "authority {number} signed two documents of epoch {}", said.target.0);
                }
                member.said.insert(said.target, said);
                while member.said.len() > veilpost_pki::round::SAID_MAX {
                    member.said.pop_first();
                }
            }
            Record::Document(epoch, bytes) => {
                member.documents.insert(epoch, bytes);
                while member.documents.len() > veilpost_pki::round::DOCUMENTS_MAX {
                    member.documents.pop_first();
                }
            }
            Record::Proof(proof) => member.proofs.push(*proof),
        }
    }
}
