//! Links: from layer-3 mixes come packets, to layer-1 mixes go replies, to entries go digests. Mailboxes have links to each other,
//! one for each direction.

use super::{core::Input, metrics::Metrics};
use crate::engine::FromPeer;
use std::sync::Arc;
use tokio::sync::watch;
use veilpost_daemon::{
    clock::Clock,
    epochs::LiveEpochs,
    links::{Accepted, Held, Next, Reading, by_epoch},
    workers::Workers,
};
use veilpost_link::{Endpoint, Event, Link};
use veilpost_packet::{
    frame::{FrameKind, Hello, Want},
    ids::{LinkKey, NodeId},
    primitives::SigningSecret,
    time::Timestamp,
};
use veilpost_pki::{
    Document,
    admission::{DropReason, Gate, may_come, may_talk},
    document::Place,
};

/// Frames that wait for a link: 2.3 MB.
pub(super) const LINK_QUEUE: usize = 512;

/// Hands to the core what comes of a link to an entry; ends with the link.
pub(super) async fn follow_entry(
    entry: NodeId,
    link: u64,
    mut events: tokio::sync::mpsc::Receiver<Event>,
    core: std::sync::mpsc::SyncSender<Input>,
) {
    while let Some(event) = events.recv().await {
        let input = match event {
            Event::Up { .. } => Input::EntryUp(entry, link),
            Event::Down => Input::EntryDown(entry, link),
            Event::Frame(frame) if frame.kind() == FrameKind::Want => match Want::decode(frame.body()) {
                Ok(want) => Input::Want(entry, want),
                Err(_) => continue,
            },
            Event::Frame(_) => continue,
        };
        let core = core.clone();
        // The core's queue may be full for a moment; these events are rare and must not be lost.
        let sent = tokio::task::spawn_blocking(move || core.send(input)).await;
        if !matches!(sent, Ok(Ok(()))) {
            return;
        }
    }
}

/// Hands to the core how our link to another mailbox stands; ends with the link.
pub(super) async fn follow_peer(
    peer: NodeId,
    link: u64,
    mut events: tokio::sync::mpsc::Receiver<Event>,
    core: std::sync::mpsc::SyncSender<Input>,
) {
    let tell = async |up| {
        let core = core.clone();
        let sent = tokio::task::spawn_blocking(move || core.send(Input::PeerLink(peer, link, up))).await;
        matches!(sent, Ok(Ok(())))
    };
    while let Some(event) = events.recv().await {
        let told = match event {
            Event::Up { .. } => tell(true).await,
            Event::Down => tell(false).await,
            Event::Frame(_) => true,
        };
        if !told {
            return;
        }
    }
    // Given up because no document lists it any more, most likely.
    tell(false).await;
}

/// What the tasks of all links share.
pub(super) struct Shared {
    pub clock: Clock,
    pub live: watch::Receiver<Arc<LiveEpochs>>,
    pub capacity: u32,
    /// With the time of arrival, and the document of the packets' epoch.
    pub workers: Workers<(Timestamp, Document)>,
    pub accepted: Accepted,
    pub metrics: Arc<Metrics>,
    pub core: std::sync::mpsc::SyncSender<Input>,
    /// Signs what is stored.
    pub holder: Arc<SigningSecret>,
    pub stopping: watch::Receiver<bool>,
}

/// Takes links of layer-3 mixes and of other mailboxes until the endpoint closes or the mailbox stops.
pub(super) async fn accept(endpoint: Endpoint, shared: Arc<Shared>) {
    let mut stopping = shared.stopping.clone();
    loop {
        let arrival = tokio::select! {
            arrival = endpoint.accept() => arrival,
            _ = stopping.wait_for(|&stop| stop) => return,
        };
        let Some(arrival) = arrival else { return };
        let (live, key) = (Arc::clone(&shared.live.borrow()), arrival.peer);
        let peer = |allowed: fn(Place, Place) -> bool| {
            live.peer(&key, allowed).flatten().filter(|_| Hello::decode(arrival.hello.body()).is_ok())
        };
        let (mix, mailbox) = (peer(may_come), peer(may_talk));
        match mix.or(mailbox).and_then(|id| Some((id, shared.accepted.take(id)?))) {
            Some((id, held)) => {
                let link = arrival.admit(live.hello().to_frame());
                if mix.is_some() {
                    tokio::spawn(read(Arc::clone(&shared), link, key, held));
                } else {
                    tokio::spawn(listen(Arc::clone(&shared), link, key, id, held));
                }
            }
            None => arrival.refuse(),
        }
    }
}

async fn read(shared: Arc<Shared>, link: Link, key: LinkKey, _held: Held) {
    // The sender half keeps the link open and sends nothing more.
    let Link { receiver, sender: _sender, .. } = link;
    let mut gate = Gate::node(shared.clock.now(), shared.capacity);
    let mut reading = Reading::new(receiver, &shared.live, &shared.stopping);
    loop {
        let next = reading.next().await;
        let (now, live) = (shared.clock.now(), Arc::clone(&shared.live.borrow()));
        match next {
            Next::End => return,
            // No live document gives it business here any more.
            Next::Epochs if !matches!(live.peer(&key, may_come), Some(Some(_))) => return,
            Next::Epochs | Next::Frames => {}
        }
        shared.metrics.packets_in.inc_by(reading.batch().len() as u64);
        let packets = by_epoch(&mut gate, now, &live, reading.batch(), |other| match other {
            // A node's gate lets none through.
            Ok(_want) => {}
            Err(reason) => drop(shared.metrics.dropped(reason).inc()),
        });
        for (epoch, packets) in packets {
            let Some(live) = live.get(epoch) else { continue };
            // What the peer is in the packets' own epoch counts.
            let from = live.document.relay_by_link(&key).is_some_and(|(place, _)| may_come(live.place, place));
            if !from {
                shared.metrics.dropped(DropReason::From).inc_by(packets.len() as u64);
            } else if let Err(lost) = shared.workers.submit((now, live.document.clone()), &live.secret, packets) {
                shared.metrics.dropped(DropReason::Overload).inc_by(lost as u64);
            }
        }
    }
}

/// Reads what another mailbox tells, until its link ends or no live document lists it.
async fn listen(shared: Arc<Shared>, link: Link, key: LinkKey, id: NodeId, _held: Held) {
    let Link { receiver, sender: _sender, .. } = link;
    let mut reading = Reading::new(receiver, &shared.live, &shared.stopping);
    let mut gate = None;
    let arrived = (shared.core.clone(), Input::PeerArrival(id));
    if !matches!(tokio::task::spawn_blocking(move || arrived.0.send(arrived.1)).await, Ok(Ok(()))) {
        return;
    }
    loop {
        let next = reading.next().await;
        let (now, live) = (shared.clock.now(), Arc::clone(&shared.live.borrow()));
        match next {
            Next::End => return,
            Next::Epochs if !matches!(live.peer(&key, may_talk), Some(Some(_))) => return,
            Next::Epochs => gate = None,
            Next::Frames => {}
        }
        let Some(document) = live.documents().in_force(now).or(live.documents().newest()) else { continue };
        let gate = gate.get_or_insert_with(|| Gate::peer(now, &document.params));
        let mut items = Vec::new();
        for frame in reading.batch() {
            match gate.pass_peer(now, frame) {
                Ok(told) => items.extend(told.into_iter().map(|item| FromPeer::check(item, &document.network, id))),
                Err(reason) => drop(shared.metrics.dropped(reason).inc()),
            }
        }
        // What does not fit is told again: a writer repeats, and the next pass finds what is missing.
        if !reading.batch().is_empty() && shared.core.try_send(Input::Told(id, items)).is_err() {
            shared.metrics.dropped(DropReason::Overload).inc();
        }
    }
}
