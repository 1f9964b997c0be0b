//! How all honest authorities come to hold the same votes and reveals: what counts when, and who vouches for it.

use super::{Action, Authority, Event, Record, STATEMENTS_MAX, state::Pending};
use crate::{
    schedule::{Phase, relay_steps},
    statement::{Countersignature, EquivocationProof, Kind, SignedStatement, Statement},
    vote::{PROOFS_MAX, Vote, reveal_digest},
    wire::Message,
};
use std::{collections::BTreeSet, sync::Arc};
use veilpost_packet::{
    geometry::{HASH, KEY},
    ids::AuthorityId,
    time::Timestamp,
};

impl Authority {
    /// The relay step that a statement of this kind arrives in: 0 while it may come from its author alone, `None` before and
    /// after its time.
    pub(super) fn step(&self, kind: Kind, now: Timestamp) -> Option<u32> {
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

    pub(super) fn is_ours(&self, statement: &Statement) -> bool {
        statement.network == self.network()
            && statement.epoch == self.round.target
            && self.committee().contains(&statement.author)
    }

    pub(super) fn handle_statement(
        &mut self,
        now: Timestamp,
        from: AuthorityId,
        signed: SignedStatement,
        body: &Arc<[u8]>,
    ) {
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

    pub(super) fn handle_relay(
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
    pub(super) fn good_chain(&self, statement: &Statement, chain: Vec<Countersignature>) -> Vec<Countersignature> {
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

    pub(super) fn is_long_enough(&self, kind: Kind, chain: &[Countersignature], now: Timestamp) -> bool {
        self.step(kind, now).is_some_and(|step| chain.len() >= step.max(1) as usize)
    }

    pub(super) fn handle_body(&mut self, now: Timestamp, body: &Arc<[u8]>) {
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
    pub(super) fn accept(
        &mut self,
        now: Timestamp,
        signed: SignedStatement,
        mut chain: Vec<Countersignature>,
        body: Arc<[u8]>,
    ) {
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

    pub(super) fn handle_proof(&mut self, proof: EquivocationProof) {
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
}

fn body_digest(kind: Kind, body: &[u8]) -> [u8; HASH] {
    match kind {
        Kind::Vote => Vote::digest(body),
        Kind::Reveal | Kind::Document => reveal_digest(body),
    }
}
