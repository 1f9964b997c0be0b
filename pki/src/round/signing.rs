//! From agreed votes to a document that enough have signed.

use super::{Action, Authority, DOCUMENTS_MAX, Event, Record, STATEMENTS_MAX, Said};
use crate::{
    schedule::Phase,
    signed::{Document, UnverifiedDocument, assemble, digest},
    statement::{EquivocationProof, Kind, SignedStatement},
    tally::{Agreed, TallyError},
    wire::Message,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use veilpost_packet::{
    geometry::KEY,
    time::{Epoch, Timestamp},
};

impl Authority {
    /// Finds the document that follows from the agreed votes, and signs it: once for an epoch, ever, and only if this authority
    /// voted.
    pub(super) fn sign(&mut self) {
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

    pub(super) fn ask_once_for(&mut self, epoch: Epoch) {
        if self.round.asked != Some(Phase::Signature) {
            self.round.asked = Some(Phase::Signature);
            self.broadcast(&Message::WantDocument(Epoch(epoch.0.saturating_sub(1))));
        }
    }

    pub(super) fn tally(&self) -> Result<Vec<u8>, TallyError> {
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

    pub(super) fn handle_signature(&mut self, now: Timestamp, signed: SignedStatement) {
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
    pub(super) fn complete(&mut self) {
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

    pub(super) fn handle_document(&mut self, now: Timestamp, bytes: &[u8]) {
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

    pub(super) fn publish(&mut self, document: Document) {
        let epoch = document.epoch;
        self.actions.push_back(Action::Store(Record::Document(epoch, document.bytes())));
        self.actions.push_back(Action::Publish(document.clone()));
        self.actions.push_back(Action::Tell(Event::Made(epoch)));
        self.keep(document);
    }

    pub(super) fn keep(&mut self, document: Document) {
        if document.authorities().handovers().len() > self.set.handovers().len() {
            self.set = document.authorities().clone();
        }
        self.documents.insert(document.epoch, document);
        while self.documents.len() > DOCUMENTS_MAX {
            self.documents.pop_first();
        }
    }

    pub(super) fn end_round(&mut self) {
        let target = self.round.target;
        if !self.documents.contains_key(&target) {
            let reason = self.round.failure.take().unwrap_or_else(|| "too few signatures came".into());
            self.actions.push_back(Action::Tell(Event::Failed(target, reason)));
        }
    }
}
