//! Records over links: to and from the other authorities, and from nodes.

use super::{
    core::{Input, Public},
    metrics::Metrics,
};
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch},
    time::{sleep, timeout},
};
use veilpost_daemon::links::{Accepted, Held};
use veilpost_link::{Arrival, Endpoint, FrameReceiver, FrameSender, Link};
use veilpost_packet::{
    frame::{Frame, FrameKind, Hello, RecordCutter, RecordJoiner},
    ids::{AuthorityId, DocumentHash, LinkKey, NodeId},
    time::Epoch,
};
use veilpost_pki::{
    Descriptor, NetworkFile,
    network::NetworkAuthority,
    wire::{DescriptorAnswer, MESSAGE_MAX, Message, NODE_MESSAGE_MAX},
};

/// Records for one authority. Full: it is too slow, and what is lost it gets when its link is up again.
pub(super) type Queue = mpsc::Sender<Arc<[u8]>>;
/// Records that wait for one authority: a round has about 4 messages for each pair of authorities, 32 at most.
const QUEUE: usize = 1_024;
/// Before dialing again.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// Strangers served at one time: nodes that no document lists yet, and whoever pretends to be one. They cannot take the places
/// of nodes that are listed, each of which has its own.
const STRANGERS: usize = 256;
/// Messages of one authority that are taken in a second; beyond it its link waits. A round has about 130 of each other authority
/// for 32 of them, so only one that floods gets there.
const PER_SECOND: usize = 1_024;
/// Messages of one node's link.
const NODE_MESSAGES: usize = 16;
/// A node's link at most.
const NODE_TIME: Duration = Duration::from_secs(60);

/// What the tasks of all links share.
pub(super) struct Shared {
    pub(super) core: mpsc::Sender<Input>,
    pub(super) public: watch::Receiver<Public>,
    pub(super) authorities: BTreeMap<LinkKey, AuthorityId>,
    pub(super) strangers: Arc<Semaphore>,
    /// Links of authorities and of nodes that the newest document lists.
    pub(super) known: Accepted,
    pub(super) metrics: Arc<Metrics>,
}

impl Shared {
    pub(super) fn new(
        core: mpsc::Sender<Input>,
        public: watch::Receiver<Public>,
        network: &NetworkFile,
        metrics: Arc<Metrics>,
    ) -> Self {
        let authorities = network.reachable().map(|authority| (authority.link_key, authority.id)).collect();
        let strangers = Arc::new(Semaphore::new(STRANGERS));
        Self { core, public, authorities, strangers, known: Accepted::default(), metrics }
    }
}

fn hello() -> Frame {
    Hello::node(DocumentHash::default()).to_frame()
}

/// Keeps a link to another authority and sends it what is queued. Ends with the core.
pub(super) async fn speak(endpoint: Endpoint, peer: NetworkAuthority, shared: Arc<Shared>) {
    let mut wait = BACKOFF.0;
    loop {
        match endpoint.dial(peer.address, &peer.link_key, hello()).await {
            Ok(link) => {
                wait = BACKOFF.0;
                let (queue, records) = mpsc::channel(QUEUE);
                if shared.core.send(Input::Up(peer.id, queue)).await.is_err() {
                    return;
                }
                pump(link, records, &shared.metrics).await;
                if shared.core.send(Input::Down(peer.id)).await.is_err() {
                    return;
                }
            }
            Err(error) => tracing::debug!(%error, "an authority cannot be reached"),
        }
        if shared.core.is_closed() {
            return;
        }
        sleep(wait).await;
        wait = (wait * 2).min(BACKOFF.1);
    }
}

/// Sends records until the link or the core ends.
async fn pump(link: Link, mut records: mpsc::Receiver<Arc<[u8]>>, metrics: &Metrics) {
    let Link { sender, receiver: _receiver, .. } = link;
    loop {
        tokio::select! {
            record = records.recv() => match record {
                Some(record) => if !send(&sender, record, metrics).await { return },
                None => return,
            },
            () = sender.closed() => return,
        }
    }
}

async fn send(sender: &FrameSender, record: Arc<[u8]>, metrics: &Metrics) -> bool {
    metrics.sent.inc_by(record.len() as u64);
    let mut cutter = RecordCutter::default();
    cutter.push(record);
    while let Some(frame) = cutter.next_frame(FrameKind::Document) {
        if sender.send(frame).await.is_err() {
            return false;
        }
    }
    true
}

/// Takes links until the endpoint closes.
pub(super) async fn accept(endpoint: Endpoint, shared: Arc<Shared>) {
    while let Some(arrival) = endpoint.accept().await {
        if Hello::decode(arrival.hello.body()).is_err() {
            arrival.refuse();
            continue;
        }
        let authority = shared.authorities.get(&arrival.peer).copied();
        let newest = shared.public.borrow().documents.last().cloned();
        let listed = newest.and_then(|document| document.relay_by_link(&arrival.peer).map(|(_, relay)| relay.id));
        let known = authority.map(|authority| NodeId(authority.0)).or(listed);
        let place = match known {
            Some(id) => shared.known.take(id).map(Place::Known),
            None => Arc::clone(&shared.strangers).try_acquire_owned().ok().map(Place::Stranger),
        };
        let Some(place) = place else {
            arrival.refuse();
            continue;
        };
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            match authority {
                Some(authority) => listen(arrival, authority, shared).await,
                // Whatever a node does, its place is free again after this time.
                None => drop(timeout(NODE_TIME, serve_node(arrival, shared)).await),
            }
            drop(place);
        });
    }
}

/// A place among the links, until dropped.
#[expect(dead_code, reason = "held for what its drop does")]
enum Place {
    Known(Held),
    Stranger(OwnedSemaphorePermit),
}

/// The next records of a link; `None` when there will be none, or what comes is no record.
async fn next_records(receiver: &mut FrameReceiver, joiner: &mut RecordJoiner) -> Option<Vec<Vec<u8>>> {
    loop {
        let frame = receiver.recv().await.ok()??;
        if frame.kind() != FrameKind::Document {
            return None;
        }
        let records = joiner.push(frame.body()).ok()?;
        if !records.is_empty() {
            return Some(records);
        }
    }
}

/// Hands what an authority says to the core.
async fn listen(arrival: Arrival, authority: AuthorityId, shared: Arc<Shared>) {
    let Link { mut receiver, sender: _sender, .. } = arrival.admit(hello());
    let mut joiner = RecordJoiner::new(MESSAGE_MAX);
    let (mut second, mut taken) = (Instant::now(), 0);
    while let Some(records) = next_records(&mut receiver, &mut joiner).await {
        for record in records {
            taken += 1;
            if taken > PER_SECOND {
                sleep(Duration::from_secs(1).saturating_sub(second.elapsed())).await;
            }
            if second.elapsed() >= Duration::from_secs(1) {
                (second, taken) = (Instant::now(), 1);
            }
            shared.metrics.received.inc_by(record.len() as u64);
            let Ok(message) = Message::decode(&record) else {
                shared.metrics.malformed.inc();
                continue;
            };
            if shared.core.send(Input::Message(authority, message)).await.is_err() {
                return;
            }
        }
    }
}

/// Answers a node: takes its descriptor, gives it documents.
async fn serve_node(arrival: Arrival, shared: Arc<Shared>) {
    let Link { peer, mut receiver, sender, .. } = arrival.admit(hello());
    let mut joiner = RecordJoiner::new(NODE_MESSAGE_MAX);
    let mut messages = 0;
    while let Some(records) = next_records(&mut receiver, &mut joiner).await {
        for record in records {
            messages += 1;
            if messages > NODE_MESSAGES {
                return;
            }
            let answers = match Message::decode(&record) {
                Ok(Message::Descriptor(bytes)) => descriptor(&shared, &peer, bytes.to_vec()).await,
                Ok(Message::WantDocument(after)) => documents(&shared, after),
                _ => return,
            };
            for answer in answers {
                if !send(&sender, answer.encode().into(), &shared.metrics).await {
                    return;
                }
            }
        }
    }
}

/// A descriptor must name the link key that its node has just proved: or a node could claim the key of another, which would then
/// be left out of the document.
async fn descriptor(shared: &Shared, peer: &LinkKey, bytes: Vec<u8>) -> Vec<Message> {
    if Descriptor::verify(&bytes).is_ok_and(|descriptor| descriptor.link_key != *peer) {
        return vec![Message::Answer(DescriptorAnswer::OtherLink)];
    }
    let (answer, result) = oneshot::channel();
    if shared.core.send(Input::Descriptor(bytes, answer)).await.is_err() {
        return Vec::new();
    }
    result.await.map(|answer| vec![Message::Answer(answer)]).unwrap_or_default()
}

fn documents(shared: &Shared, after: Epoch) -> Vec<Message> {
    let public = shared.public.borrow().clone();
    let newest = public.documents.last().map_or(Epoch(0), |document| document.epoch);
    let newer = public.documents.iter().filter(|document| document.epoch > after);
    newer.map(|document| Message::Document(document.bytes())).chain([Message::Newest(newest)]).collect()
}
