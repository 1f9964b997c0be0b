//! The one thread that owns engine, store and replay table: commands are gathered while a flush runs, so that one flush
//! serves many (group commit).

use super::{
    digests::Publisher,
    direct::Streams,
    links::{LINK_QUEUE, follow_entry, follow_peer},
    metrics::Metrics,
    status::Status,
};
use crate::{
    engine::{Arrived, Back, FromPeer, Mailbox, Terms},
    store::Series,
    stores::DiskStore,
};
use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, SyncSender},
    },
    time::Duration,
};
use tokio::{
    runtime::Handle,
    sync::{oneshot, watch},
};
use veilpost_cover::{BuiltLoop, Cover, Departure, Findings, findings::find};
use veilpost_daemon::{
    clock::Clock,
    epochs::{EpochChange, LiveEpochs},
    links::Dialed,
    observed::{self, Shared as Observed},
    stop::Failure,
    taglog::Loaded,
};
use veilpost_link::Endpoint;
use veilpost_packet::{
    frame::{Flags, Frame, FrameKind, Want},
    ids::{NodeId, SurbId},
    replay::TagRefused,
    set::Period,
    sphinx::{ReplayTag, SealedPayload},
    time::{Epoch, Timestamp},
};
use veilpost_pki::{
    admission::{DropReason, may_talk},
    document::Place,
};

/// Inputs that wait for the core; beyond it the workers wait, and behind them packets are dropped and counted.
pub(super) const INPUTS: usize = 1_024;
/// Inputs taken into one batch.
const BATCH: usize = 256;
/// Frames that wait for a link to another mailbox: they leave as they come.
const PEER_LINK_QUEUE: usize = 64;
/// A sleep without anything due.
const IDLE: Duration = Duration::from_secs(1);
/// How often the free space of the disk is measured, and the status written.
pub(super) const MEASURE: Duration = Duration::from_secs(5);
/// After a stop, replies that wait get this long to leave.
const DRAIN: Duration = Duration::from_secs(5);

/// What happens around the engine.
pub(super) enum Input {
    /// A command, with the replay tag of its packet.
    Command(ReplayTag, Box<Arrived>),
    /// A command that came over a stream of this number, which waits for the answer.
    Direct(u64, Box<Arrived>, oneshot::Sender<Vec<u8>>),
    /// What may be the answer to one of this mailbox's own loops: replay tag, epoch, name and payload.
    Returned(ReplayTag, Epoch, SurbId, SealedPayload),
    /// One of this mailbox's own loops is ready.
    Loop(Box<BuiltLoop>),
    /// What this mailbox's loops tell.
    Found(Box<Findings>),
    /// Documents or live epochs are others.
    Epochs(Box<EpochChange>),
    /// The link to an entry, of our counting, came up.
    EntryUp(NodeId, u64),
    /// The link to an entry went down.
    EntryDown(NodeId, u64),
    /// An entry lacks digests.
    Want(NodeId, Want),
    /// Our link to another mailbox, of our counting, came up or went down.
    PeerLink(NodeId, u64, bool),
    /// Another mailbox opened a link to us.
    PeerArrival(NodeId),
    /// What another mailbox told; nothing, mostly.
    Told(NodeId, Vec<FromPeer>),
    /// Take no more, let replies leave, end.
    Stop,
}

/// The links that this mailbox dials.
#[derive(Debug)]
pub(super) struct Outbounds {
    /// Of layer 1: where replies go.
    pub mixes: Dialed,
    /// Where digests go.
    pub entries: Dialed,
    /// The other mailboxes.
    pub peers: Dialed,
    /// The newest of our links to each: what is told of an older one is old.
    newest: BTreeMap<NodeId, u64>,
    /// Links to entries and mailboxes so far: tells one from the one that takes its place.
    count: u64,
    me: NodeId,
    inputs: SyncSender<Input>,
    runtime: Handle,
}

impl Outbounds {
    /// No links yet. Must be called inside a tokio runtime.
    pub(super) fn new(
        endpoint: &Endpoint,
        me: NodeId,
        live: &watch::Receiver<Arc<LiveEpochs>>,
        inputs: SyncSender<Input>,
    ) -> Self {
        let dialed = |queue| Dialed::new(endpoint.clone(), queue, live.clone());
        Self {
            mixes: dialed(LINK_QUEUE),
            entries: dialed(LINK_QUEUE),
            peers: dialed(PEER_LINK_QUEUE),
            newest: BTreeMap::new(),
            count: 0,
            me,
            inputs,
            runtime: Handle::current(),
        }
    }

    /// Dials who is new in the live epochs and leaves who is in none.
    fn follow(&mut self, live: &LiveEpochs) {
        // Nothing comes back over links to mixes.
        drop(self.mixes.follow(&live.next_hops()));
        let entries = live.relays(|_, to| to == Place::Entry);
        for (entry, events) in self.entries.follow(&entries) {
            self.count += 1;
            self.runtime.spawn(follow_entry(entry, self.count, events, self.inputs.clone()));
        }
        let mut others = live.relays(may_talk);
        others.remove(&self.me);
        for (peer, events) in self.peers.follow(&others) {
            self.count += 1;
            self.newest.insert(peer, self.count);
            self.runtime.spawn(follow_peer(peer, self.count, events, self.inputs.clone()));
        }
        self.newest.retain(|peer, _| self.peers.get(peer).is_some());
    }

    /// True unless another link to this mailbox has taken the place of this one.
    fn is_newest(&self, peer: &NodeId, link: u64) -> bool {
        self.newest.get(peer).is_none_or(|newest| *newest == link)
    }

    /// Links that are down.
    pub(super) fn down(&self) -> usize {
        self.mixes.down() + self.entries.down() + self.peers.down()
    }
}

pub(super) struct Core {
    pub engine: Mailbox<DiskStore>,
    /// This mailbox's own loops.
    pub cover: Cover,
    /// Replay memory of each live epoch.
    pub memory: BTreeMap<Epoch, Loaded>,
    pub live: Arc<LiveEpochs>,
    /// The document in force lists this mailbox: it publishes digests.
    pub listed: bool,
    pub clock: Clock,
    pub outbound: Outbounds,
    pub publisher: Publisher,
    /// Commands that came through the onion service and are not answered yet.
    pub streams: Streams,
    pub metrics: Arc<Metrics>,
    pub folder: PathBuf,
    pub measured: Timestamp,
    /// What the node's next descriptor says of its fill, and of others.
    pub observed: Observed,
}

impl Core {
    /// Runs until it is told to stop and replies have left. Returns itself for the clean end.
    pub(super) fn run(mut self, inputs: &Receiver<Input>) -> Result<Self, Failure> {
        let mut stop_at = None;
        loop {
            let now = self.clock.now();
            let digest = self.engine.next_digest().min(self.engine.next_set());
            let digest = if self.listed { digest } else { Timestamp::FAR_FUTURE };
            let due = self.engine.next_wake().min(digest).min(self.publisher.next_wake(now));
            let due = due.min(self.cover.next_wake().unwrap_or(Timestamp::FAR_FUTURE));
            let wake = due.since(now).min(IDLE);
            let mut batch = Vec::new();
            match inputs.recv_timeout(wake) {
                Ok(input) => batch.push(input),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(self),
            }
            batch.extend(inputs.try_iter().take(BATCH - 1));
            let (mut commands, mut told) = (Vec::new(), Vec::new());
            for input in batch {
                match input {
                    Input::Command(tag, arrived) if stop_at.is_none() => self.admit(&mut commands, tag, *arrived)?,
                    Input::Command(..) => drop(self.metrics.dropped(DropReason::Stopped).inc()),
                    Input::Direct(number, arrived, answer) if stop_at.is_none() => {
                        if self.streams.push(number, answer) {
                            commands.push(*arrived);
                        } else {
                            self.metrics.dropped(DropReason::Overload).inc();
                        }
                    }
                    Input::Direct(..) => drop(self.metrics.dropped(DropReason::Stopped).inc()),
                    Input::Returned(tag, epoch, id, payload) => self.take_back(tag, epoch, &id, &payload)?,
                    Input::Found(findings) => {
                        observed::report(&self.observed, &findings);
                        self.cover.handle_findings(*findings);
                    }
                    Input::Loop(built) => self.cover.handle_built(*built),
                    Input::Epochs(change) => self.follow(*change),
                    Input::EntryUp(entry, link) => self.publisher.link_up(entry, link),
                    Input::EntryDown(entry, link) => self.publisher.link_down(&entry, link),
                    Input::Want(entry, want) => self.publisher.want(&entry, &want, &self.engine),
                    Input::PeerLink(peer, link, up) if self.outbound.is_newest(&peer, link) => {
                        self.engine.handle_peer_link(self.clock.now(), &peer, up);
                    }
                    Input::PeerLink(..) => {}
                    Input::PeerArrival(peer) => self.engine.handle_peer_arrival(self.clock.now(), &peer),
                    Input::Told(peer, items) => {
                        self.engine.handle_peer_heard(self.clock.now(), &peer);
                        told.extend(items.into_iter().map(|item| (peer, item)));
                    }
                    Input::Stop => stop_at = Some(self.clock.now() + DRAIN),
                }
            }
            self.work(commands, told)?;
            let now = self.clock.now();
            if stop_at.is_some_and(|at| self.engine.waiting_replies() == 0 || now >= at) {
                return Ok(self);
            }
        }
    }

    /// Documents or live epochs are others.
    pub(super) fn follow(&mut self, change: EpochChange) {
        match change {
            EpochChange::Open { live, opened } => {
                self.memory.extend(opened.into_iter().map(|opened| (opened.epoch, opened.memory)));
                for epoch in live.iter() {
                    if let Some(memory) = self.memory.get_mut(&epoch.document.epoch) {
                        memory.table.raise_capacity(epoch.tags_max);
                    }
                }
                self.outbound.follow(&live);
                self.publisher.forget_others(&self.outbound.entries);
                self.live = live;
            }
            EpochChange::Close(epochs) => self.memory.retain(|epoch, _| !epochs.contains(epoch)),
        }
    }

    /// Takes up the document in force at `now`. False if there is none that lists this mailbox: nobody would expect a digest.
    fn in_force(&mut self, now: Timestamp) -> bool {
        let Some(document) = self.live.documents().in_force(now) else { return false };
        let listed = self.live.get(document.epoch).is_some();
        if self.engine.terms().document != document.hash() {
            self.engine.set_terms(now, Terms::of(document.hash(), document));
        }
        listed
    }

    /// "Tags are checked after the MAC, written before the packet leaves": here, before anything follows from it.
    fn admit(&mut self, commands: &mut Vec<Arrived>, tag: ReplayTag, arrived: Arrived) -> Result<(), Failure> {
        if self.remember(tag, arrived.epoch)? {
            commands.push(arrived);
        }
        Ok(())
    }

    /// False for a packet that was dropped, and counted.
    fn remember(&mut self, tag: ReplayTag, epoch: Epoch) -> Result<bool, Failure> {
        let Some(memory) = self.memory.get_mut(&epoch) else {
            self.metrics.dropped(DropReason::Epoch).inc();
            return Ok(false);
        };
        let tag = memory.key.shorten(&tag.0);
        match memory.table.check_and_insert(tag) {
            Ok(()) => {
                memory.log.append(&[tag]).map_err(Failure::runtime)?;
                return Ok(true);
            }
            Err(TagRefused::Seen) => drop(self.metrics.dropped(DropReason::Replay).inc()),
            Err(TagRefused::Full) => drop(self.metrics.dropped(DropReason::ReplayFull).inc()),
        }
        Ok(false)
    }

    /// An answer that ends here is taken only if it is that of one of our own loops.
    fn take_back(&mut self, tag: ReplayTag, epoch: Epoch, id: &SurbId, payload: &SealedPayload) -> Result<(), Failure> {
        self.cover.handle_time(self.clock.now());
        if !self.cover.is_waiting(id) {
            self.metrics.dropped(DropReason::LastHop).inc();
            return Ok(());
        }
        if self.remember(tag, epoch)? && !self.cover.handle_returned(self.clock.now(), id, payload) {
            self.metrics.dropped(DropReason::Malformed).inc();
        }
        Ok(())
    }

    /// Our own loops: what has to be built goes to a thread of its own, what is due leaves.
    fn send_loops(&mut self, now: Timestamp) {
        let documents = self.live.documents().in_force(now);
        self.cover.follow(now, documents.filter(|document| self.live.get(document.epoch).is_some()));
        while let Some(job) = self.cover.poll_job() {
            let inputs = self.outbound.inputs.clone();
            // A handful at a time: no more are asked for before these are there.
            self.outbound.runtime.spawn_blocking(move || inputs.send(Input::Loop(Box::new(job.run()))));
        }
        if let Some(evidence) = self.cover.poll_evidence(now) {
            let (inputs, me) = (self.outbound.inputs.clone(), self.outbound.me);
            self.outbound.runtime.spawn_blocking(move || inputs.send(Input::Found(Box::new(find(&evidence, &me)))));
        }
        while let Some(Departure { to, flags, packet }) = self.cover.poll_packet(now) {
            let frame = Frame::new(FrameKind::Packet, flags, packet.as_bytes()).ok();
            self.send_to_mix(&to, frame);
        }
    }

    fn send_to_mix(&self, to: &NodeId, frame: Option<Frame>) {
        let sent = frame.zip(self.outbound.mixes.get(to)).is_some_and(|(frame, link)| link.try_send(frame).is_ok());
        if sent {
            self.metrics.replies.inc();
        } else {
            self.metrics.dropped(DropReason::LinkFull).inc();
        }
    }

    fn work(&mut self, commands: Vec<Arrived>, told: Vec<(NodeId, FromPeer)>) -> Result<(), Failure> {
        let now = self.clock.now();
        self.listed = self.in_force(now);
        if now.since(self.measured) >= MEASURE {
            self.measure();
        }
        if !(commands.is_empty() && told.is_empty()) {
            self.engine.handle(now, commands, told);
        }
        if let Err(error) = self.engine.poll_sweep(now) {
            tracing::error!(%error, "boxes could not be looked at");
        }
        if self.listed {
            match self.engine.poll_digest(self.clock.now()) {
                Ok(Some(digest)) => self.publisher.publish(&digest),
                Ok(None) => {}
                // The tags wait for the next tick, on disk where the boxes are.
                Err(error) => tracing::error!(%error, "no digest could be published"),
            }
            match self.engine.poll_set(self.clock.now()) {
                Ok(made) => made.iter().for_each(|part| self.publisher.publish_set(part.part().head.period)),
                Err(error) => tracing::error!(%error, "a set could not be made"),
            }
        }
        self.publisher.poll(self.clock.now(), &self.engine, &self.outbound.entries);
        let now = self.clock.now();
        while let Some((to, frame)) = self.engine.poll_peer_frame(now) {
            // A full queue is a link that does not move: what it loses is told again.
            let _ = self.outbound.peers.get(&to).map(|link| link.try_send(frame));
        }
        while let Some((epoch, back, plaintext)) = self.engine.poll_reply(now) {
            let surb = match back {
                Back::Surb(surb) => surb,
                Back::Stream(number) => {
                    if !self.streams.answer(number, plaintext) {
                        self.metrics.dropped(DropReason::LinkFull).inc();
                    }
                    continue;
                }
            };
            let to = NodeId(surb.first_hop());
            let frame = surb
                .reply(&plaintext)
                .ok()
                .and_then(|packet| Frame::new(FrameKind::Packet, Flags::for_epoch(epoch), packet.as_bytes()).ok());
            self.send_to_mix(&to, frame);
        }
        self.send_loops(now);
        self.metrics.show(&self.engine, &self.outbound);
        let tables = || self.memory.values().map(|memory| &memory.table);
        self.metrics.show_tags(tables().map(|table| table.len()).sum(), tables().map(|table| table.memory()).sum());
        self.metrics.cover.show(&self.cover);
        self.metrics.epochs.show(now, &self.live);
        Ok(())
    }

    /// Looks how full the disk is, and writes how the mailbox stands: before anything is published, and now and then.
    pub(super) fn measure(&mut self) {
        self.measured = self.clock.now();
        match rustix::fs::statvfs(&self.folder) {
            Ok(disk) => self.engine.handle_free_disk(disk.f_bavail.saturating_mul(disk.f_frsize)),
            Err(error) => tracing::warn!(%error, "the free space of the disk cannot be measured"),
        }
        observed::lock(&self.observed).fill = self.engine.fill();
        if let Err(error) = Status::of(self.measured, &self.engine).write(&self.folder) {
            tracing::debug!(%error, "the status could not be written");
        }
    }
}

/// What the publisher needs of the engine.
impl super::digests::History for Mailbox<DiskStore> {
    fn digests_from(&self, tick: veilpost_packet::time::Tick, limit: usize) -> Vec<Vec<u8>> {
        self.digests(tick, limit).unwrap_or_default()
    }

    fn set(&self, period: Period) -> Vec<Vec<u8>> {
        let series = if matches!(period, Period::Hour(_)) { Series::HourlySet } else { Series::DailySet };
        let found = self.sets(series, period.number(), 1).unwrap_or_default();
        found.into_iter().find(|(number, _)| *number == period.number()).map_or_else(Vec::new, |(_, parts)| parts)
    }

    fn newest_sets(&self) -> (u32, u32) {
        let newest = |series| self.newest_set(series).ok().flatten().unwrap_or_default();
        (newest(Series::HourlySet), newest(Series::DailySet))
    }
}
