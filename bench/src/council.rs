//! Authorities in one thread whose messages arrive at once: what a voting round costs without a network.

use crate::{Result, process::thread_time};
use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};
use veilpost_packet::{
    ids::{AuthorityId, NodeId},
    primitives::SigningSecret,
    random::seeded,
    time::Epoch,
};
use veilpost_pki::{
    AuthoritySet, Params, Role, Schedule,
    round::{Action, Authority, Ballot, Stored},
    schedule::{Phase, relay_steps},
    statement::Kind,
    wire::{DescriptorAnswer, Message},
};

/// All authorities of a network.
#[derive(Debug)]
pub struct Council {
    members: Vec<Authority>,
    ids: Vec<AuthorityId>,
    schedule: Schedule,
    faulty: usize,
    /// Processor time by phase of the last round, for each member.
    pub time: BTreeMap<String, Vec<Duration>>,
    /// Messages and bytes that all members sent in the last round, by kind.
    pub sent: BTreeMap<&'static str, (usize, usize)>,
}

impl Council {
    /// Authorities of one mind, before the first round.
    pub fn new(
        secrets: Vec<SigningSecret>,
        set: &AuthoritySet,
        schedule: Schedule,
        admitted: BTreeMap<NodeId, Role>,
    ) -> Self {
        let faulty = set.newest().faulty();
        let start = schedule.round_start(Epoch(1), faulty);
        let ids = secrets.iter().map(SigningSecret::authority_id).collect();
        let ballot = Ballot { params: Params { epoch: schedule.epoch(), ..Params::standard() }, admitted };
        let member = |(n, secret)| {
            let rng = seeded([n as u8; 32]);
            Authority::new(start, schedule, set.clone(), secret, ballot.clone(), Stored::default(), rng)
        };
        let members = secrets.into_iter().enumerate().map(member).collect();
        Self { members, ids, schedule, faulty, time: BTreeMap::new(), sent: BTreeMap::new() }
    }

    /// Hands every member these descriptors for the round of an epoch. Returns the processor time of all members.
    ///
    /// # Errors
    /// If one is not taken.
    pub fn publish(&mut self, target: Epoch, descriptors: &[Vec<u8>]) -> Result<Duration> {
        let now = self.schedule.phase_start(target, Phase::Descriptors, self.faulty);
        let started = thread_time();
        for member in &mut self.members {
            for bytes in descriptors {
                match member.handle_descriptor(now, bytes) {
                    DescriptorAnswer::Taken => {}
                    other => return Err(format!("a descriptor was not taken: {other}").into()),
                }
            }
        }
        Ok(thread_time() - started)
    }

    /// Goes through the round for an epoch.
    ///
    /// # Errors
    /// If a member ends it without a document.
    pub fn round(&mut self, target: Epoch) -> Result<()> {
        self.time.clear();
        self.sent.clear();
        let steps = 1..=relay_steps(self.faulty);
        let phases = [Phase::Descriptors, Phase::Vote].into_iter().chain(steps.clone().map(Phase::Certify));
        let phases = phases.chain([Phase::Reveal]).chain(steps.map(Phase::Confirm));
        for phase in phases.chain([Phase::Signature, Phase::Publish]) {
            self.phase(target, phase)?;
        }
        let made = |member: &Authority| member.documents().any(|document| document.epoch == target);
        if self.members.iter().all(made) { Ok(()) } else { Err("an authority has no document".into()) }
    }

    fn phase(&mut self, target: Epoch, phase: Phase) -> Result<()> {
        let now = self.schedule.phase_start(target, phase, self.faulty);
        let mut times = vec![Duration::ZERO; self.members.len()];
        let mut flying: VecDeque<(usize, AuthorityId, Vec<u8>)> = VecDeque::new();
        for (at, (member, time)) in self.members.iter_mut().zip(&mut times).enumerate() {
            let started = thread_time();
            member.handle_time(now);
            send(at, member, &mut flying, &mut self.sent);
            *time += thread_time() - started;
        }
        while let Some((from, to, bytes)) = flying.pop_front() {
            let from = *self.ids.get(from).ok_or("an unknown sender")?;
            let at = self.ids.iter().position(|id| *id == to).ok_or("an unknown receiver")?;
            let (Some(member), Some(time)) = (self.members.get_mut(at), times.get_mut(at)) else { continue };
            let started = thread_time();
            member.handle_message(now, from, Message::decode(&bytes)?);
            send(at, member, &mut flying, &mut self.sent);
            *time += thread_time() - started;
        }
        self.time.insert(name(phase), times);
        Ok(())
    }
}

/// In the order of the round.
fn name(phase: Phase) -> String {
    match phase {
        Phase::Descriptors => "1 descriptors".into(),
        Phase::Vote => "2 vote".into(),
        Phase::Certify(step) => format!("3 certify {step}"),
        Phase::Reveal => "4 reveal".into(),
        Phase::Confirm(step) => format!("5 confirm {step}"),
        Phase::Signature => "6 signature".into(),
        Phase::Publish => "7 publish".into(),
    }
}

fn send(
    from: usize,
    member: &mut Authority,
    flying: &mut VecDeque<(usize, AuthorityId, Vec<u8>)>,
    sent: &mut BTreeMap<&'static str, (usize, usize)>,
) {
    while let Some(action) = member.poll_action() {
        let Action::Send(to, message) = action else { continue };
        let bytes = message.encode();
        let (count, sum) = sent.entry(kind(&message)).or_default();
        *count += 1;
        *sum += bytes.len();
        flying.push_back((from, to, bytes));
    }
}

fn kind(message: &Message) -> &'static str {
    match message {
        Message::Statement(signed, _) => match signed.statement().kind {
            Kind::Vote => "votes",
            Kind::Reveal => "reveals",
            Kind::Document => "signatures",
        },
        Message::Relay(..) => "relays",
        Message::WantBody(_) => "requests for bodies",
        Message::Body(_) => "bodies",
        Message::WantDocument(_) => "requests for documents",
        Message::Document(_) => "documents",
        Message::Proofs(_) => "proofs",
        Message::Descriptor(_) | Message::Answer(_) | Message::Newest(_) => "of nodes",
    }
}
