//! Links that others open to this node: who they are, what they may send, and the tasks that read them.

use super::{core::Input, metrics::Metrics};
use crate::{DropReason, Engine, Gate, Origin, admission::may_come};
use std::{sync::Arc, time::Duration};
use tokio::sync::{mpsc, oneshot, watch};
use veilpost_daemon::{
    clock::Clock,
    epochs::LiveEpochs,
    links::{Accepted, ByEpoch, Held, Next, Reading, by_epoch},
    workers::Workers,
};
use veilpost_link::{Arrival, Endpoint, FrameReceiver, Link};
use veilpost_packet::{
    digest::SignedDigest,
    frame::{Frame, FrameKind, Hello, RecordJoiner},
    geometry::{DIGEST_MAX, SET_MAX},
    ids::{LinkKey, NodeId, SessionAddress},
    profile::Profile,
    puzzle::SessionAsk,
    set::SignedSet,
    sphinx::Packet,
    time::Epoch,
};
use veilpost_pki::document::Place;

/// How long a client that was asked for a puzzle may keep its link.
const ASKED: Duration = Duration::from_secs(5);

/// What the tasks of all links share.
pub(crate) struct Shared {
    pub(crate) clock: Clock,
    pub(crate) live: watch::Receiver<Arc<LiveEpochs>>,
    pub(crate) capacity: u32,
    pub(crate) workers: Workers<(Epoch, Origin)>,
    pub(crate) core: mpsc::Sender<Input>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) stopping: watch::Receiver<bool>,
    pub(crate) accepted: Accepted,
}

impl Shared {
    /// The live epochs of this moment.
    fn live(&self) -> Arc<LiveEpochs> {
        Arc::clone(&self.live.borrow())
    }
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
        take(&shared, arrival);
    }
}

/// Takes links that came through the onion service until it ends. Nodes have no business there: whoever comes is a client.
pub(crate) async fn accept_onion(mut arrivals: mpsc::Receiver<Arrival>, shared: Arc<Shared>) {
    while let Some(arrival) = arrivals.recv().await {
        take_client(&shared, arrival);
    }
}

fn take(shared: &Arc<Shared>, arrival: Arrival) {
    let (live, key) = (shared.live(), arrival.peer);
    // The newest document that gives a peer business here says which.
    match (live.peer(&key, may_come), live.peer(&key, brings_digests), Hello::decode(arrival.hello.body())) {
        (Some(Some(id)), _, Ok(_)) => {
            if let Some(held) = shared.accepted.take(id) {
                let link = arrival.admit(live.hello().to_frame());
                tokio::spawn(read_node(Arc::clone(shared), link, key, held));
            }
        }
        (_, Some(Some(id)), Ok(_)) => {
            if let Some(held) = shared.accepted.take(id) {
                let link = arrival.admit(live.hello().to_frame());
                tokio::spawn(read_mailbox(Arc::clone(shared), link, id, held));
            }
        }
        (None, None, Ok(_)) => take_client(shared, arrival),
        _ => arrival.refuse(),
    }
}

fn take_client(shared: &Shared, arrival: Arrival) {
    let entry = shared.live().iter().any(|epoch| epoch.place == Place::Entry);
    match Hello::decode(arrival.hello.body()) {
        // The core answers: only it knows the sessions. Its queue is full only when the node is overloaded.
        Ok(hello) if entry => drop(shared.core.try_send(Input::Arrival(Box::new((arrival, hello))))),
        _ => arrival.refuse(),
    }
}

/// Mailboxes bring their digests to entries.
fn brings_digests(ours: Place, from: Place) -> bool {
    ours == Place::Entry && from == Place::Mailbox
}

/// Opens the link of an admitted client and starts reading it.
pub(crate) fn start_client(
    shared: Arc<Shared>,
    arrival: Arrival,
    session: SessionAddress,
    profile: Profile,
) -> veilpost_link::FrameSender {
    let Link { sender, receiver, .. } = arrival.admit(shared.live().hello().to_frame());
    tokio::spawn(read_client(shared, receiver, session, profile));
    sender
}

/// Tells a client what it is asked for and ends the link when the client does, or after a while: what was sent has to arrive.
pub(crate) fn ask_puzzle(shared: &Shared, arrival: Arrival, ask: &SessionAsk) {
    let hello = Hello { puzzle: ask.to_room(), ..shared.live().hello() };
    let Link { sender, mut receiver, .. } = arrival.admit(hello.to_frame());
    sender.close();
    tokio::spawn(async move { tokio::time::timeout(ASKED, receiver.recv()).await });
}

async fn read_node(shared: Arc<Shared>, link: Link, key: LinkKey, _held: Held) {
    // The sender half keeps the link open and sends nothing more: packets go back over links that we dial.
    let Link { receiver, sender: _sender, .. } = link;
    let mut gate = Gate::node(shared.clock.now(), shared.capacity);
    let mut reading = Reading::new(receiver, &shared.live, &shared.stopping);
    loop {
        match reading.next().await {
            Next::End => return,
            // No live document gives it business here any more.
            Next::Epochs if !matches!(shared.live().peer(&key, may_come), Some(Some(_))) => return,
            Next::Epochs => {}
            Next::Frames => {
                let live = shared.live();
                for (epoch, packets) in packets(&shared, &live, &mut gate, reading.batch(), |_| {}) {
                    // What the peer is in the packets' own epoch counts.
                    match live.get(epoch).and_then(|live| live.document.relay_by_link(&key)) {
                        Some((place, relay)) => {
                            submit(&shared, &live, epoch, Origin::Node { id: relay.id, place }, packets);
                        }
                        None => drop(shared.metrics.dropped(DropReason::From).inc_by(packets.len() as u64)),
                    }
                }
            }
        }
    }
}

async fn read_client(shared: Arc<Shared>, receiver: FrameReceiver, session: SessionAddress, profile: Profile) {
    let mut reading = Reading::new(receiver, &shared.live, &shared.stopping);
    let mut followed: Option<(Epoch, Gate)> = None;
    loop {
        match reading.next().await {
            Next::End => break,
            Next::Epochs => {}
            Next::Frames => {
                let (live, now) = (shared.live(), shared.clock.now());
                // A session is opened under a document, and the last one is never forgotten.
                let Some(document) = live.documents().current(now) else { break };
                let (epoch, gate) =
                    followed.get_or_insert_with(|| (document.epoch, Gate::client(now, &document.params, profile)));
                if *epoch != document.epoch {
                    gate.follow(now, &document.params);
                    *epoch = document.epoch;
                }
                let mut wants = Vec::new();
                for (epoch, packets) in packets(&shared, &live, gate, reading.batch(), |want| wants.push(want)) {
                    submit(&shared, &live, epoch, Origin::Session(session), packets);
                }
                for want in wants {
                    let _ = shared.core.send(Input::Want(session, want)).await;
                }
            }
        }
    }
    let _ = shared.core.send(Input::Closed(session)).await;
}

/// Hands packets of one epoch to the workers; when their queue is full they are dropped and counted.
fn submit(shared: &Shared, live: &LiveEpochs, epoch: Epoch, origin: Origin, packets: Vec<Packet>) {
    let Some(key) = live.get(epoch) else { return };
    if let Err(lost) = shared.workers.submit((epoch, origin), &key.secret, packets) {
        shared.metrics.dropped(DropReason::Overload).inc_by(lost as u64);
    }
}

/// The packets of a batch that pass the gate, by epoch; the others are counted.
fn packets(
    shared: &Shared,
    live: &LiveEpochs,
    gate: &mut Gate,
    batch: &[Frame],
    mut on_want: impl FnMut(veilpost_packet::frame::Want),
) -> ByEpoch {
    let count = batch.iter().filter(|frame| frame.kind() == FrameKind::Packet).count();
    shared.metrics.packets_in.inc_by(count as u64);
    by_epoch(gate, shared.clock.now(), live, batch, |other| match other {
        Ok(want) => on_want(want),
        Err(reason) => drop(shared.metrics.dropped(reason).inc()),
    })
}

/// "Mailboxes have a link to every entry for digests alone; a packet on it is refused." The link has no token bucket, since
/// a frame left out would tear its byte stream: flow control slows a mailbox down to what the core takes.
async fn read_mailbox(shared: Arc<Shared>, link: Link, id: NodeId, _held: Held) {
    let Link { peer: key, receiver, sender, .. } = link;
    let (answer, want) = oneshot::channel();
    if shared.core.send(Input::WantFrom(id, answer)).await.is_err() {
        return;
    }
    let Ok(Some(want)) = want.await else { return };
    // A fresh queue has room.
    for want in std::iter::once(want).chain(Engine::set_wants(&id)) {
        let _ = sender.try_send(want.to_frame());
    }
    let (mut digests, mut sets) = (RecordJoiner::new(DIGEST_MAX), RecordJoiner::new(SET_MAX));
    let mut reading = Reading::new(receiver, &shared.live, &shared.stopping);
    loop {
        match reading.next().await {
            Next::End => return,
            Next::Epochs if !matches!(shared.live().peer(&key, brings_digests), Some(Some(_))) => return,
            Next::Epochs | Next::Frames => {}
        }
        for frame in reading.batch() {
            let joiner = match frame.kind() {
                FrameKind::Digest => &mut digests,
                FrameKind::Set => &mut sets,
                _ => {
                    shared.metrics.dropped(DropReason::Kind).inc();
                    continue;
                }
            };
            let Ok(records) = joiner.push(frame.body()) else {
                shared.metrics.dropped(DropReason::Malformed).inc();
                return;
            };
            for record in records {
                match read_record(frame.kind(), id, &record) {
                    Some(input) => drop(shared.core.send(input).await),
                    None => drop(shared.metrics.dropped(DropReason::Malformed).inc()),
                }
            }
        }
    }
}

/// What a mailbox's record says; `None` for one that its mailbox has not signed.
fn read_record(kind: FrameKind, from: NodeId, record: &[u8]) -> Option<Input> {
    if kind == FrameKind::Set {
        return Some(Input::Set(from, Box::new(SignedSet::verify(record).ok()?)));
    }
    Some(Input::Digest(from, Box::new(SignedDigest::verify(record).ok()?)))
}
