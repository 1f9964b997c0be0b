//! A relay's dealings with the authorities: tells each of them its descriptor every epoch, and fetches documents from whichever
//! answers. An exchange has a link of its own; those with different authorities run beside each other, so that one that is gone
//! delays nobody.
//!
//! ```text
//! follow: sleeps --> exchanges: Descriptor, WantDocument --> Answer, Document.., Newest
//!            ^                                                 |
//!            +-- Plan: who lacks our descriptor, what is due <-+--> DocumentHub::offer
//! ```

use crate::{clock::Clock, config::NodeConfig, documents::DocumentHub, identity::NodeKeys, keys, leave, observed};
use rand::Rng as _;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::{
    sync::{Mutex, watch},
    task::JoinSet,
    time::{sleep, timeout},
};
use veilpost_link::{Endpoint, Link};
use veilpost_packet::{
    frame::{FrameKind, Hello, RecordCutter, RecordJoiner},
    geometry::DOCUMENT_MAX,
    ids::{AuthorityId, DocumentHash},
    random::seeded,
    time::{Epoch, Timestamp},
};
use veilpost_pki::{
    Descriptor, NetworkFile, Role, Schedule,
    network::NetworkAuthority,
    round::DOCUMENTS_MAX,
    schedule::Phase,
    wire::{DescriptorAnswer, Message},
};

/// One exchange with an authority at most: a large document over a slow line.
const EXCHANGE: Duration = Duration::from_secs(60);
/// Answers of one exchange at most: a document of each epoch that is kept, their end, and what became of the descriptor.
const ANSWERS_MAX: usize = DOCUMENTS_MAX + 2;
/// An answer that is no document, in bytes.
const ANSWER_MAX: usize = 64;
/// Authorities that are asked for documents at one time.
const FETCHES: usize = 2;
/// Longest sleep, and longest wait before an authority that failed is tried again.
const NAP: Duration = Duration::from_secs(30);
/// Phases before the round from which on a listed node speaks for itself: time for some tries at an authority that is busy.
const TELLING_PHASES: u32 = 4;
/// Shortest wait before an authority that failed is tried again; doubled with each failure.
const RETRY: Duration = Duration::from_millis(500);

/// What a relay tells and asks.
#[derive(Debug)]
pub struct Publisher {
    /// Network file: authorities and schedule.
    pub network: NetworkFile,
    /// The relay's keys.
    pub keys: Arc<NodeKeys>,
    /// Its configuration.
    pub config: NodeConfig,
    /// What it does.
    pub role: Role,
    /// Network time.
    pub clock: Clock,
    /// Where documents go.
    pub documents: DocumentHub,
    /// What the node's core has observed.
    pub observed: observed::Shared,
    /// Held while a descriptor is made.
    pub signing: Mutex<()>,
}

/// How it stands with one authority.
#[derive(Debug, Default, Clone, Copy)]
struct Standing {
    /// The last descriptor that it took, and whether that was in the last phase before the vote: an authority that restarted
    /// in between hears it again.
    told: Option<(Epoch, bool)>,
    failures: u32,
    /// Not before.
    again: Option<Timestamp>,
    /// Its last refusal, so that each is told once.
    refused: Option<DescriptorAnswer>,
    /// An exchange is on; with what.
    busy: Option<Errand>,
}

/// What to do with whom. Pure, so that tests and simulations need no network.
#[derive(Debug)]
pub struct Plan {
    schedule: Schedule,
    faulty: usize,
    standings: BTreeMap<AuthorityId, Standing>,
}

/// What one authority should be told and asked now.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub struct Errand {
    /// Whom.
    pub authority: AuthorityId,
    /// The epoch of the descriptor that it should be told.
    pub descriptor: Option<Epoch>,
    /// Whether to ask for documents newer than those that are here.
    pub document: bool,
}

impl Plan {
    /// Nobody was told anything yet.
    pub fn new(network: &NetworkFile) -> Self {
        let standings = network.reachable().map(|authority| (authority.id, Standing::default())).collect();
        Self { schedule: network.schedule, faulty: network.faulty, standings }
    }

    /// The epoch whose document should be known: the next one's from the end of its round on.
    fn document_due(&self, now: Timestamp) -> Epoch {
        let target = self.schedule.target_at(now);
        let done = now >= self.schedule.phase_start(target, Phase::Publish, self.faulty);
        if done { target } else { self.schedule.epoch_at(now) }
    }

    /// The descriptor that every authority should have, and whether this is the last phase before the vote.
    pub fn descriptor_due(&self, now: Timestamp) -> (Epoch, bool) {
        let epoch = self.schedule.descriptors_for(now, self.faulty);
        (epoch, now >= self.schedule.round_start(epoch, self.faulty))
    }

    /// Whether to say anything of oneself yet. A node that the newest document lists waits until shortly before the round, so that it
    /// does not speak for one that has died since, and what it measured of others is fresh.
    pub fn may_tell(&self, now: Timestamp, listed: bool) -> bool {
        !listed || now >= self.telling(now)
    }

    fn telling(&self, now: Timestamp) -> Timestamp {
        let (due, _) = self.descriptor_due(now);
        let ahead = (self.schedule.phase() * TELLING_PHASES).min(self.schedule.epoch() / 4);
        self.schedule.round_start(due, self.faulty) - ahead
    }

    /// Someone to talk to. `newest`: of the documents here; `publish`: false for a node that leaves.
    pub fn errand(&self, now: Timestamp, newest: Epoch, publish: bool, start: usize) -> Option<Errand> {
        let (due, last) = self.descriptor_due(now);
        let fetching =
            self.standings.values().filter(|standing| standing.busy.is_some_and(|busy| busy.document)).count();
        let document = newest < self.document_due(now) && fetching < FETCHES;
        let of = |(authority, standing): (&AuthorityId, &Standing)| {
            let told = standing.told.is_some_and(|(epoch, late)| epoch == due && (late || !last));
            let descriptor = (publish && !told).then_some(due);
            let ready = standing.busy.is_none() && standing.again.is_none_or(|again| again <= now);
            (ready && (descriptor.is_some() || document)).then_some(Errand {
                authority: *authority,
                descriptor,
                document,
            })
        };
        let count = self.standings.len().max(1);
        // From another authority on each time, so that not all nodes fetch from the first.
        self.standings.iter().cycle().skip(start % count).take(count).find_map(of)
    }

    /// An exchange for this errand begins: until it is done or failed the authority gets no other.
    pub fn begun(&mut self, errand: Errand) {
        if let Some(standing) = self.standings.get_mut(&errand.authority) {
            standing.busy = Some(errand);
        }
    }

    /// It did not answer: it is tried again after a while that grows.
    pub fn failed(&mut self, now: Timestamp, authority: AuthorityId) {
        let Some(standing) = self.standings.get_mut(&authority) else { return };
        standing.busy = None;
        standing.failures = standing.failures.saturating_add(1);
        let wait = RETRY.saturating_mul(2u32.saturating_pow(standing.failures.min(16) - 1)).min(NAP);
        standing.again = Some(now + wait);
    }

    /// It took an errand; `told`: what [`Plan::descriptor_due`] said when it was sent.
    pub fn done(&mut self, now: Timestamp, authority: AuthorityId, told: Option<(Epoch, bool)>) {
        let Some(standing) = self.standings.get_mut(&authority) else { return };
        standing.busy = None;
        standing.failures = 0;
        // An authority that has no newer document yet is not asked in a loop.
        standing.again = Some(now + self.schedule.phase() / 2);
        standing.told = told.or(standing.told);
    }

    /// True the first time that an authority gives this answer.
    fn is_news(&mut self, authority: AuthorityId, answer: DescriptorAnswer) -> bool {
        let Some(standing) = self.standings.get_mut(&authority) else { return false };
        standing.refused.replace(answer) != Some(answer)
    }

    /// How long there is nothing to do at most.
    pub fn nap(&self, now: Timestamp) -> Duration {
        let next = self.schedule.next_phase(self.schedule.target_at(now), now, self.faulty);
        let again = self.standings.values().filter_map(|standing| standing.again).filter(|again| *again > now).min();
        let telling = Some(self.telling(now)).filter(|telling| *telling > now).unwrap_or(next);
        next.min(again.unwrap_or(next)).min(telling).since(now).clamp(Duration::from_millis(50), NAP)
    }
}

/// Publishes, unless the node is to leave, and fetches until `stop` turns true.
pub async fn follow(publisher: Publisher, endpoint: Endpoint, mut stop: watch::Receiver<bool>) {
    let publisher = Arc::new(publisher);
    let mut plan = Plan::new(&publisher.network);
    // Without randomness all nodes would come at one instant, which authorities bear.
    let mut rng = seeded(keys::fresh().map_or([0; 32], |seed| *seed.expose()));
    // At most one for each authority.
    let mut exchanges = JoinSet::new();
    loop {
        let now = publisher.clock.now();
        let newest = publisher.documents.subscribe().borrow().newest().cloned();
        let listed = newest.as_ref().is_some_and(|document| publisher.keys.listed(document).is_ok());
        let newest = newest.map_or(Epoch(0), |document| document.epoch);
        let publish = !leave::is_marked(&publisher.config.data_dir) && plan.may_tell(now, listed);
        while let Some(errand) = plan.errand(now, newest, publish, rng.random_range(0..64)) {
            plan.begun(errand);
            let (_, last) = plan.descriptor_due(now);
            let (publisher, endpoint) = (Arc::clone(&publisher), endpoint.clone());
            exchanges.spawn(async move { (errand, last, run(&publisher, &endpoint, errand, newest).await) });
        }
        // Not all nodes at the same instant.
        let jitter = plan.schedule.phase().mul_f64(rng.random_range(0.0..0.2));
        let done = tokio::select! {
            () = sleep(plan.nap(now) + jitter.min(NAP)) => None,
            Some(done) = exchanges.join_next() => Some(done),
            _ = stop.wait_for(|&stop| stop) => return,
        };
        if let Some(Ok((errand, last, answers))) = done {
            take(&publisher, &mut plan, errand, last, answers).await;
        }
    }
}

/// One exchange; `None` if it failed.
async fn run(publisher: &Publisher, endpoint: &Endpoint, errand: Errand, newest: Epoch) -> Option<Vec<Message>> {
    let mut messages = Vec::new();
    if let Some(epoch) = errand.descriptor {
        messages.push(Message::Descriptor(sign(publisher, epoch).await?.into()));
    }
    if errand.document {
        messages.push(Message::WantDocument(newest));
    }
    let authority = publisher.network.reachable().find(|authority| authority.id == errand.authority)?;
    timeout(EXCHANGE, exchange(endpoint, authority, &messages)).await.ok()?
}

/// What came of an exchange. `last`: it began in the last phase before the vote.
async fn take(publisher: &Publisher, plan: &mut Plan, errand: Errand, last: bool, answers: Option<Vec<Message>>) {
    let Some(answers) = answers else { return plan.failed(publisher.clock.now(), errand.authority) };
    let mut told = None;
    for answer in answers {
        match answer {
            Message::Answer(answer) => {
                // One that refuses will do so until something changes; the next epoch, or phase, is soon enough.
                told = errand.descriptor.map(|epoch| (epoch, last));
                let news = plan.is_news(errand.authority, answer);
                if news && answer != DescriptorAnswer::Taken {
                    tracing::warn!(authority = %errand.authority, reason = %answer, "an authority does not take this node's descriptor");
                }
            }
            Message::Document(bytes) => offer(publisher, bytes).await,
            _ => {}
        }
    }
    plan.done(publisher.clock.now(), errand.authority, told);
}

/// Makes the keys that are missing and signs; both wait for the disk. One at a time: two that make one key would each have another.
async fn sign(publisher: &Publisher, epoch: Epoch) -> Option<Vec<u8>> {
    let (keys, config, role) = (Arc::clone(&publisher.keys), publisher.config.clone(), publisher.role);
    let observed = observed::lock(&publisher.observed).clone();
    let _one = publisher.signing.lock().await;
    let signed = tokio::task::spawn_blocking(move || {
        let descriptor: Descriptor = keys.descriptor(&config, role, epoch, &observed)?;
        Ok::<_, crate::identity::IdentityError>(descriptor.sign(&keys.identity))
    });
    match signed.await {
        Ok(Ok(bytes)) => Some(bytes),
        Ok(Err(error)) => {
            tracing::error!(%error, "no descriptor can be made");
            None
        }
        Err(_) => None,
    }
}

async fn offer(publisher: &Publisher, bytes: Arc<[u8]>) {
    let documents = publisher.documents.clone();
    let taken = tokio::task::spawn_blocking(move || documents.offer(&bytes)).await;
    if let Ok(Err(error)) = taken {
        tracing::warn!(%error, "an authority's document is not taken");
    }
}

/// One exchange: every message has one answer, a wish for documents as many as there are and their end.
async fn exchange(endpoint: &Endpoint, authority: &NetworkAuthority, messages: &[Message]) -> Option<Vec<Message>> {
    let hello = Hello::node(DocumentHash::default()).to_frame();
    let dialed = endpoint.dial(authority.address, &authority.link_key, hello).await;
    let Link { sender, mut receiver, .. } =
        dialed.inspect_err(|error| tracing::debug!(%error, "an authority cannot be reached")).ok()?;
    let mut cutter = RecordCutter::default();
    messages.iter().for_each(|message| cutter.push(Arc::from(message.encode())));
    while let Some(frame) = cutter.next_frame(FrameKind::Document) {
        sender.send(frame).await.ok()?;
    }
    let ends = |message: &Message| matches!(message, Message::Answer(_) | Message::Newest(_));
    let wants = |message: &Message| matches!(message, Message::WantDocument(_));
    let document = messages.iter().any(wants);
    let bound = if document { DOCUMENT_MAX + 64 } else { ANSWER_MAX };
    let (mut joiner, mut answers, mut open) = (RecordJoiner::new(bound), Vec::new(), messages.len());
    while open > 0 && answers.len() < ANSWERS_MAX {
        let frame = receiver.recv().await.ok()??;
        if frame.kind() != FrameKind::Document {
            return None;
        }
        for record in joiner.push(frame.body()).ok()? {
            let answer = Message::decode(&record).ok()?;
            open = open.saturating_sub(usize::from(ends(&answer)));
            answers.push(answer);
        }
    }
    sender.close();
    Some(answers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use veilpost_packet::ids::LinkKey;

    const SCHEDULE: Schedule = Schedule { genesis: 1_000, epoch_ms: 60_000, phase_ms: 1_000 };

    fn plan() -> Plan {
        let authority = |n: u8| NetworkAuthority {
            id: AuthorityId([n; 32]),
            link_key: LinkKey([n; 32]),
            address: ([127, 0, 0, 1], 1).into(),
        };
        Plan::new(&NetworkFile {
            name: "plan".into(),
            faulty: 1,
            schedule: SCHEDULE,
            authorities: (1..=4).map(authority).collect(),
            later: Vec::new(),
            entries: Vec::new(),
            tor: None,
        })
    }

    /// Does all errands; returns how many authorities were told something, and for which epoch.
    fn tell_all(plan: &mut Plan, now: Timestamp, newest: Epoch) -> Vec<Epoch> {
        let mut told = Vec::new();
        while let Some(errand) = plan.errand(now, newest, true, 0) {
            let (_, last) = plan.descriptor_due(now);
            told.extend(errand.descriptor);
            plan.done(now, errand.authority, errand.descriptor.map(|epoch| (epoch, last)));
        }
        told
    }

    #[test]
    fn every_authority_is_told_once_after_the_vote_and_once_before_the_next() {
        let mut plan = plan();
        let after_vote = SCHEDULE.phase_start(Epoch(5), Phase::Certify(1), 1);
        let all = |epoch| vec![Epoch(epoch); 4];
        assert_eq!(tell_all(&mut plan, after_vote, Epoch(5)), all(6));
        assert_eq!(tell_all(&mut plan, after_vote + SCHEDULE.phase() * 4, Epoch(5)), []);
        assert_eq!(tell_all(&mut plan, SCHEDULE.round_start(Epoch(6), 1), Epoch(5)), all(6));
        assert_eq!(tell_all(&mut plan, SCHEDULE.round_start(Epoch(6), 1) + SCHEDULE.phase() / 2, Epoch(5)), []);
        assert_eq!(tell_all(&mut plan, SCHEDULE.phase_start(Epoch(6), Phase::Vote, 1), Epoch(5)), all(7));
    }

    #[test]
    fn a_document_is_fetched_from_its_publication_on_until_it_is_there() {
        let plan = plan();
        let publish = SCHEDULE.phase_start(Epoch(5), Phase::Publish, 1);
        let asks = |now, newest| plan.errand(now, Epoch(newest), false, 0).is_some_and(|errand| errand.document);
        assert!(!asks(publish - Duration::from_nanos(1), 4));
        assert!(asks(publish, 4) && !asks(publish, 5));
        assert!(asks(SCHEDULE.start(Epoch(9)), 7), "rounds that it missed");
    }

    #[test]
    fn an_authority_that_fails_is_tried_ever_more_slowly_and_the_others_go_on() {
        let mut plan = plan();
        let now = SCHEDULE.phase_start(Epoch(5), Phase::Publish, 1);
        let bad = AuthorityId([1; 32]);
        for _ in 0..40 {
            plan.failed(now, bad);
        }
        assert_eq!(plan.standings[&bad].again, Some(now + NAP));
        assert_eq!(plan.errand(now, Epoch(4), true, 0).unwrap().authority, AuthorityId([2; 32]));
        assert!(plan.nap(now) <= NAP);
        plan.done(now, bad, None);
        assert_eq!(plan.standings[&bad].failures, 0);
    }

    #[test]
    fn an_authority_that_does_not_answer_delays_no_other() {
        let mut plan = plan();
        let now = SCHEDULE.phase_start(Epoch(5), Phase::Certify(1), 1);
        let mut begun = Vec::new();
        while let Some(errand) = plan.errand(now, Epoch(3), true, 0) {
            plan.begun(errand);
            begun.push(errand);
        }
        assert_eq!(begun.len(), 4, "all at once");
        assert_eq!(begun.iter().filter(|errand| errand.document).count(), FETCHES);
    }

    #[test]
    fn a_node_that_leaves_tells_nobody() {
        let plan = plan();
        let now = SCHEDULE.phase_start(Epoch(5), Phase::Certify(1), 1);
        assert_eq!(plan.errand(now, Epoch(5), false, 0), None);
    }
}
