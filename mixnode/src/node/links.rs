//! Links that others open to this node: who they are, what they may send, and the tasks that read them.

use super::{core::Input, metrics::Metrics};
use crate::{
    DropReason, Gate, Origin,
    admission::{Passed, may_come},
};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::{mpsc, oneshot, watch};
use veilpost_daemon::{clock::Clock, workers::Workers};
use veilpost_link::{Arrival, Endpoint, FrameReceiver, Link};
use veilpost_packet::{
    digest::SignedDigest,
    frame::{Frame, FrameKind, Hello, RecordJoiner},
    geometry::DIGEST_MAX,
    ids::{NodeId, SessionAddress},
};
use veilpost_pki::{Document, document::Place};

/// Links that one node may hold here at one time: one in use, and one that is dialed anew before the old is known dead.
const LINKS_PER_NODE: usize = 2;

/// What the tasks of all links share.
pub(crate) struct Shared {
    pub(crate) clock: Clock,
    pub(crate) document: Document,
    pub(crate) place: Place,
    pub(crate) capacity: u32,
    pub(crate) workers: Workers<Origin>,
    pub(crate) core: mpsc::Sender<Input>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) stopping: watch::Receiver<bool>,
    pub(crate) links: Mutex<HashMap<NodeId, usize>>,
}

/// Takes links until the endpoint closes or the node stops.
pub(crate) async fn accept(endpoint: Endpoint, shared: Arc<Shared>) {
    let mut stopping = shared.stopping.clone();
    loop {
        let arrival = tokio::select! {
            arrival = endpoint.accept() => arrival,
            _ = stopping.wait_for(|&stop| stop) => return,
        };
        let Some(arrival) = arrival else { return };
        let peer = shared.document.relay_by_link(&arrival.peer).map(|(place, relay)| (place, relay.id));
        match (peer, Hello::decode(arrival.hello.body())) {
            (Some((place, id)), Ok(_)) if may_come(shared.place, place) => {
                if let Some(held) = Held::take(&shared, id) {
                    let link = arrival.admit(hello(&shared));
                    tokio::spawn(read_node(Arc::clone(&shared), link, Origin::Node { id, place }, held));
                }
            }
            (Some((Place::Mailbox, id)), Ok(_)) if shared.place == Place::Entry => {
                if let Some(held) = Held::take(&shared, id) {
                    let link = arrival.admit(hello(&shared));
                    tokio::spawn(read_mailbox(Arc::clone(&shared), link, id, held));
                }
            }
            (None, Ok(hello)) if shared.place == Place::Entry => {
                // The core answers: only it knows the sessions. Its queue is full only when the node is overloaded.
                let _ = shared.core.try_send(Input::Arrival(Box::new((arrival, hello))));
            }
            _ => arrival.refuse(),
        }
    }
}

/// What a node says of itself.
pub(crate) fn hello(shared: &Shared) -> Frame {
    Hello::node(shared.document.hash()).to_frame()
}

/// Opens the link of an admitted client and starts reading it.
pub(crate) fn start_client(
    shared: Arc<Shared>,
    arrival: Arrival,
    session: SessionAddress,
) -> veilpost_link::FrameSender {
    let Link { sender, receiver, .. } = arrival.admit(hello(&shared));
    tokio::spawn(read_client(shared, receiver, session));
    sender
}

/// One of a node's places among the links.
struct Held {
    shared: Arc<Shared>,
    id: NodeId,
}

impl Held {
    fn take(shared: &Arc<Shared>, id: NodeId) -> Option<Self> {
        let mut links = shared.links.lock().unwrap_or_else(PoisonError::into_inner);
        let count = links.entry(id).or_default();
        if *count >= LINKS_PER_NODE {
            return None;
        }
        *count += 1;
        drop(links);
        Some(Self { shared: Arc::clone(shared), id })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut links = self.shared.links.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = links.get_mut(&self.id) {
            *count = count.saturating_sub(1);
        }
    }
}

/// The next frames of a link; `false` when there will be none, or the node stops.
async fn next_batch(
    receiver: &mut FrameReceiver,
    batch: &mut Vec<Frame>,
    stopping: &mut watch::Receiver<bool>,
) -> bool {
    batch.clear();
    tokio::select! {
        received = receiver.recv_batch(batch, usize::MAX) => matches!(received, Ok(1..)),
        _ = stopping.wait_for(|&stop| stop) => false,
    }
}

async fn read_node(shared: Arc<Shared>, link: Link, origin: Origin, _held: Held) {
    // The sender half keeps the link open and sends nothing more: packets go back over links that we dial.
    let Link { mut receiver, sender: _sender, .. } = link;
    let mut gate = Gate::node(shared.clock.now(), shared.capacity);
    let (mut batch, mut stopping) = (Vec::new(), shared.stopping.clone());
    while next_batch(&mut receiver, &mut batch, &mut stopping).await {
        let packets = packets(&shared, &mut gate, &batch, |_| {});
        submit(&shared, origin, packets);
    }
}

async fn read_client(shared: Arc<Shared>, mut receiver: FrameReceiver, session: SessionAddress) {
    let mut gate = Gate::client(shared.clock.now(), &shared.document.params);
    let (mut batch, mut stopping) = (Vec::new(), shared.stopping.clone());
    while next_batch(&mut receiver, &mut batch, &mut stopping).await {
        let mut wants = Vec::new();
        let packets = packets(&shared, &mut gate, &batch, |want| wants.push(want));
        submit(&shared, Origin::Session(session), packets);
        for want in wants {
            let _ = shared.core.send(Input::Want(session, want)).await;
        }
    }
    let _ = shared.core.send(Input::Closed(session)).await;
}

/// Hands packets to the workers; when their queue is full they are dropped and counted.
fn submit(shared: &Shared, origin: Origin, packets: Vec<veilpost_packet::sphinx::Packet>) {
    if let Err(lost) = shared.workers.submit(origin, packets) {
        shared.metrics.dropped(DropReason::Overload).inc_by(lost as u64);
    }
}

/// The packets of a batch that pass the gate.
fn packets(
    shared: &Shared,
    gate: &mut Gate,
    batch: &[Frame],
    mut on_want: impl FnMut(veilpost_packet::frame::Want),
) -> Vec<veilpost_packet::sphinx::Packet> {
    let now = shared.clock.now();
    let mut packets = Vec::with_capacity(batch.len());
    for frame in batch {
        if frame.kind() == FrameKind::Packet {
            shared.metrics.packets_in.inc();
        }
        match gate.pass(now, frame, &[shared.document.epoch]) {
            Ok(Passed::Packet(_, packet)) => packets.push(packet),
            Ok(Passed::Want(want)) => on_want(want),
            Err(reason) => {
                shared.metrics.dropped(reason).inc();
            }
        }
    }
    packets
}

/// "Mailboxes have a link to every entry for digests alone; a packet on it is refused." The link has no token bucket, since
/// a frame left out would tear its byte stream: flow control slows a mailbox down to what the core takes.
async fn read_mailbox(shared: Arc<Shared>, link: Link, id: NodeId, _held: Held) {
    let Link { mut receiver, sender, .. } = link;
    let (answer, want) = oneshot::channel();
    if shared.core.send(Input::WantFrom(id, answer)).await.is_err() {
        return;
    }
    let Ok(want) = want.await else { return };
    // A fresh queue has room.
    let _ = sender.try_send(want.to_frame());
    let mut joiner = RecordJoiner::new(DIGEST_MAX);
    let (mut batch, mut stopping) = (Vec::new(), shared.stopping.clone());
    while next_batch(&mut receiver, &mut batch, &mut stopping).await {
        for frame in &batch {
            if frame.kind() != FrameKind::Digest {
                shared.metrics.dropped(DropReason::Kind).inc();
                continue;
            }
            let Ok(records) = joiner.push(frame.body()) else {
                shared.metrics.dropped(DropReason::Malformed).inc();
                return;
            };
            for record in records {
                match SignedDigest::verify(&record) {
                    Ok(digest) => {
                        let _ = shared.core.send(Input::Digest(id, Box::new(digest))).await;
                    }
                    Err(_) => {
                        shared.metrics.dropped(DropReason::Malformed).inc();
                    }
                }
            }
        }
    }
}
