//! Links: from layer-3 mixes come packets, to layer-1 mixes go replies, to entries go digests.

use super::{core::Input, metrics::Metrics};
use std::{collections::BTreeMap, sync::Arc};
use tokio::sync::watch;
use veilpost_daemon::{clock::Clock, workers::Workers};
use veilpost_link::{Endpoint, Event, Link, Outbound};
use veilpost_packet::{
    frame::{Frame, FrameKind, Hello, Want},
    ids::NodeId,
};
use veilpost_pki::{
    Document, Relay,
    admission::{Gate, Passed, may_come, may_go},
    document::Place,
};

/// Frames that wait for a link: 2.3 MB.
pub(super) const LINK_QUEUE: usize = 512;

/// The links that this mailbox dials.
#[derive(Debug)]
pub(super) struct Outbounds {
    /// Of layer 1: where replies go.
    pub mixes: BTreeMap<NodeId, Outbound>,
    /// Where digests go.
    pub entries: BTreeMap<NodeId, Outbound>,
}

impl Outbounds {
    /// Dials all of the document.
    pub(super) fn dial(endpoint: &Endpoint, document: &Document, core: &std::sync::mpsc::SyncSender<Input>) -> Self {
        let hello = Hello::node(document.hash()).to_frame();
        let dial = |relay: &Relay| {
            let (hello, address) = (hello.clone(), relay.addresses.first()?);
            Some(Outbound::start(endpoint.clone(), *address, relay.link_key, LINK_QUEUE, move |_| hello.clone()))
        };
        let next = document.relays().filter(|(to, _)| may_go(Place::Mailbox, *to));
        // Nothing comes back over links to mixes.
        let mixes = next.filter_map(|(_, relay)| Some((relay.id, dial(relay)?.0))).collect();
        let entries = document.entries.iter().filter_map(|entry| {
            let (link, events) = dial(entry)?;
            tokio::spawn(follow_entry(entry.id, events, core.clone()));
            Some((entry.id, link))
        });
        Self { mixes, entries: entries.collect() }
    }

    /// Links that are down.
    pub(super) fn down(&self) -> usize {
        self.mixes.values().chain(self.entries.values()).filter(|link| !link.is_up()).count()
    }
}

async fn follow_entry(
    entry: NodeId,
    mut events: tokio::sync::mpsc::Receiver<Event>,
    core: std::sync::mpsc::SyncSender<Input>,
) {
    while let Some(event) = events.recv().await {
        let input = match event {
            Event::Up { .. } => Input::EntryUp(entry),
            Event::Down => Input::EntryDown(entry),
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

/// What the tasks of all links share.
pub(super) struct Shared {
    pub clock: Clock,
    pub document: Document,
    pub capacity: u32,
    pub workers: Workers<veilpost_packet::time::Timestamp>,
    pub metrics: Arc<Metrics>,
    pub stopping: watch::Receiver<bool>,
}

/// Takes links of layer-3 mixes until the endpoint closes or the mailbox stops.
pub(super) async fn accept(endpoint: Endpoint, shared: Arc<Shared>) {
    let mut stopping = shared.stopping.clone();
    loop {
        let arrival = tokio::select! {
            arrival = endpoint.accept() => arrival,
            _ = stopping.wait_for(|&stop| stop) => return,
        };
        let Some(arrival) = arrival else { return };
        let peer = shared.document.relay_by_link(&arrival.peer).map(|(place, _)| place);
        if peer.is_some_and(|place| may_come(Place::Mailbox, place)) && Hello::decode(arrival.hello.body()).is_ok() {
            let link = arrival.admit(Hello::node(shared.document.hash()).to_frame());
            tokio::spawn(read(Arc::clone(&shared), link));
        } else {
            arrival.refuse();
        }
    }
}

async fn read(shared: Arc<Shared>, link: Link) {
    // The sender half keeps the link open and sends nothing more.
    let Link { mut receiver, sender: _sender, .. } = link;
    let mut gate = Gate::node(shared.clock.now(), shared.capacity);
    let (mut batch, mut stopping) = (Vec::<Frame>::new(), shared.stopping.clone());
    loop {
        batch.clear();
        let more = tokio::select! {
            received = receiver.recv_batch(&mut batch, usize::MAX) => matches!(received, Ok(1..)),
            _ = stopping.wait_for(|&stop| stop) => false,
        };
        if !more {
            return;
        }
        let now = shared.clock.now();
        let mut packets = Vec::with_capacity(batch.len());
        for frame in &batch {
            shared.metrics.packets_in.inc();
            match gate.pass(now, frame, &[shared.document.epoch]) {
                Ok(Passed::Packet(_, packet)) => packets.push(packet),
                Ok(Passed::Want(_)) => {}
                Err(reason) => drop(shared.metrics.dropped(reason).inc()),
            }
        }
        if let Err(dropped) = shared.workers.submit(now, packets) {
            shared.metrics.dropped(veilpost_pki::admission::DropReason::Overload).inc_by(dropped as u64);
        }
    }
}
