//! The one task that owns the engine: inputs in, tags to disk, packets and frames out.

use super::links::{Shared, ask_puzzle, start_client};
use crate::{DropReason, Engine, Origin, entry::SessionRefused};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::{mpsc, oneshot},
    time::sleep,
};
use veilpost_cover::{BuiltLoop, Findings, findings::find};
use veilpost_daemon::{
    epochs::{EpochChange, LiveEpochs},
    links::Dialed,
    observed::{self, Shared as Observed},
    stop::Failure,
    taglog::TagLog,
};
use veilpost_link::{Arrival, FrameSender};
use veilpost_packet::{
    digest::SignedDigest,
    frame::{Frame, FrameKind, Hello, Want},
    ids::{NodeId, SessionAddress},
    set::SignedSet,
    sphinx::{Reject, Unwrapped},
    time::{Epoch, Timestamp},
};
use veilpost_pki::Document;

/// Inputs that wait for the core; beyond it workers and readers wait.
pub(crate) const INPUTS: usize = 512;
/// Inputs taken before packets leave again: a packet that is due waits for at most this many.
const BATCH: usize = 64;
/// A sleep without anything due.
const IDLE: Duration = Duration::from_secs(1);
/// After a stop, packets that wait get this long to leave.
const DRAIN: Duration = Duration::from_secs(5);

/// What happens around the engine.
pub(crate) enum Input {
    Unwrapped(Epoch, Origin, Vec<Result<Unwrapped, Reject>>),
    Epochs(Box<EpochChange>),
    Arrival(Box<(Arrival, Hello)>),
    Closed(SessionAddress),
    Want(SessionAddress, Want),
    /// A part of a set, as a mailbox brought it.
    Set(NodeId, Box<SignedSet>),
    WantFrom(NodeId, oneshot::Sender<Option<Want>>),
    Digest(NodeId, Box<SignedDigest>),
    /// One of this node's own loops is ready.
    Loop(Box<BuiltLoop>),
    /// What this node's loops tell.
    Found(Box<Findings>),
}

pub(crate) struct Core {
    pub(crate) engine: Engine,
    /// The tag log of each live epoch.
    pub(crate) logs: BTreeMap<Epoch, TagLog>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) outbound: Dialed,
    pub(crate) live: Arc<LiveEpochs>,
    pub(crate) clients: HashMap<SessionAddress, FrameSender>,
    /// Drops of the engine that the metrics have.
    pub(crate) counted: BTreeMap<DropReason, u64>,
    /// What the node's next descriptor says of others.
    pub(crate) observed: Observed,
}

impl Core {
    /// Runs until the node stops and what waits has left, or the drain's time is over. Returns itself for the clean end.
    pub(crate) async fn run(mut self, mut inputs: mpsc::Receiver<Input>) -> Result<Self, Failure> {
        let mut batch = Vec::with_capacity(BATCH);
        let mut stopping = self.shared.stopping.clone();
        let mut stop_at = None;
        loop {
            let now = self.shared.clock.now();
            let wake = self.engine.next_wake().map_or(IDLE, |wake| wake.since(now).min(IDLE));
            tokio::select! {
                biased;
                _ = stopping.wait_for(|&stop| stop), if stop_at.is_none() => {
                    stop_at = Some(self.shared.clock.now() + DRAIN);
                    self.end_sessions();
                }
                count = inputs.recv_many(&mut batch, BATCH) => if count == 0 { return Ok(self) },
                () = sleep(wake) => {}
            }
            for input in batch.drain(..) {
                self.take(input, stop_at.is_some());
            }
            self.release()?;
            if stop_at.is_some_and(|at| self.engine.delayed() == 0 || self.shared.clock.now() >= at) {
                return Ok(self);
            }
        }
    }

    /// Downlinks are dummies for the most part: a client that is told sooner reconnects elsewhere sooner.
    fn end_sessions(&mut self) {
        let now = self.shared.clock.now();
        for (session, sender) in self.clients.drain() {
            sender.close();
            self.engine.close_session(now, &session);
        }
    }

    fn take(&mut self, input: Input, stopping: bool) {
        let now = self.shared.clock.now();
        match input {
            Input::Epochs(change) => self.follow(*change),
            Input::Unwrapped(epoch, origin, results) => {
                for result in results {
                    match result {
                        // The engine counts its drops itself.
                        Ok(unwrapped) => drop(self.engine.handle_unwrapped(now, epoch, origin, unwrapped)),
                        Err(reject) => self.engine.count(reject.into()),
                    }
                }
            }
            Input::Arrival(arrival) if stopping => arrival.0.refuse(),
            Input::Arrival(arrival) => self.open(now, *arrival),
            Input::Closed(session) => self.close(now, &session),
            Input::Want(session, want) => self.engine.handle_want(&session, &want),
            Input::WantFrom(mailbox, answer) => drop(answer.send(self.engine.want_from(now, &mailbox))),
            Input::Set(from, set) => {
                if let Err(error) = self.engine.handle_set(now, &from, &set) {
                    tracing::debug!(%error, "a set was refused");
                    self.shared.metrics.dropped(DropReason::Malformed).inc();
                }
            }
            Input::Found(findings) => {
                observed::report(&self.observed, &findings);
                self.engine.handle_findings(*findings);
            }
            Input::Loop(built) => self.engine.handle_loop_built(*built),
            Input::Digest(from, digest) => {
                if let Err(error) = self.engine.handle_digest(now, &from, &digest) {
                    tracing::debug!(%error, "a digest was refused");
                    self.shared.metrics.dropped(DropReason::Malformed).inc();
                }
            }
        }
    }

    /// Documents or live epochs are others.
    pub(crate) fn follow(&mut self, change: EpochChange) {
        match change {
            EpochChange::Open { live, opened } => {
                self.engine.handle_documents(live.documents().clone());
                for opened in opened {
                    let memory = opened.memory;
                    if self.engine.open_epoch(opened.epoch, memory.key, memory.table) {
                        self.logs.insert(opened.epoch, memory.log);
                    }
                }
                for epoch in live.iter() {
                    self.engine.raise_tags_max(epoch.document.epoch, epoch.tags_max);
                }
                if let Some(document) = live.documents().current(self.shared.clock.now()) {
                    self.engine.bound_delayed(delayed_max(self.shared.capacity, document));
                }
                // Nothing comes back over these links, so nobody listens to their events.
                drop(self.outbound.follow(&live.next_hops()));
                self.live = live;
            }
            EpochChange::Close(epochs) => {
                for epoch in epochs {
                    self.engine.close_epoch(epoch);
                    self.logs.remove(&epoch);
                }
                if self.live.numbers().is_empty() {
                    // No document lists this node any more: its clients have to look for another entry.
                    self.end_sessions();
                }
            }
        }
    }

    fn open(&mut self, now: Timestamp, (arrival, hello): (Arrival, Hello)) {
        match self.engine.open_session(now, &hello) {
            Ok(session) => {
                let sender = start_client(Arc::clone(&self.shared), arrival, session, hello.profile);
                self.clients.insert(session, sender);
            }
            Err(SessionRefused::Puzzle(ask)) => {
                self.shared.metrics.puzzles_asked.inc();
                ask_puzzle(&self.shared, arrival, &ask);
            }
            Err(error) => {
                tracing::debug!(%error, "a session was refused");
                arrival.refuse();
            }
        }
    }

    fn close(&mut self, now: Timestamp, session: &SessionAddress) {
        self.clients.remove(session);
        self.engine.close_session(now, session);
    }

    /// "Tags are checked after the MAC, written before the packet leaves."
    fn release(&mut self) -> Result<(), Failure> {
        for (epoch, tags) in self.engine.take_new_tags() {
            let log = self.logs.get_mut(&epoch);
            let log = log.ok_or_else(|| Failure::Runtime("a live epoch has no tag log: a fault of our own".into()))?;
            log.append(&tags).map_err(Failure::runtime)?;
        }
        let now = self.shared.clock.now();
        while let Some(job) = self.engine.poll_loop_job(now) {
            let core = self.shared.core.clone();
            // A handful at a time: the engine asks for no more before these are there.
            tokio::task::spawn_blocking(move || core.blocking_send(Input::Loop(Box::new(job.run()))));
        }
        if let Some(evidence) = self.engine.poll_evidence(now) {
            let (core, me) = (self.shared.core.clone(), self.engine.id());
            tokio::task::spawn_blocking(move || core.blocking_send(Input::Found(Box::new(find(&evidence, &me)))));
        }
        while let Some(forward) = self.engine.poll_loop(now).or_else(|| self.engine.poll_forward(now)) {
            let frame = Frame::new(FrameKind::Packet, forward.flags, forward.packet.as_bytes());
            let sent = frame
                .ok()
                .zip(self.outbound.get(&forward.to))
                .is_some_and(|(frame, link)| link.try_send(frame).is_ok());
            if sent {
                self.shared.metrics.forwarded.inc();
            } else {
                self.engine.count(DropReason::LinkFull);
            }
        }
        while let Some((session, frame)) = self.engine.poll_downlink(now) {
            // A frame that cannot be queued would tear the client's byte streams, so the session ends.
            if self.clients.get(&session).is_some_and(|sender| sender.try_send(frame).is_ok()) {
                self.shared.metrics.downlink.inc();
            } else {
                self.close(now, &session);
            }
        }
        self.measure();
        Ok(())
    }

    fn measure(&mut self) {
        let metrics = &self.shared.metrics;
        for (reason, &count) in self.engine.dropped() {
            let counted = self.counted.entry(*reason).or_default();
            metrics.dropped(*reason).inc_by(count - *counted);
            *counted = count;
        }
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        metrics.delayed.set(number(self.engine.delayed()));
        metrics.sessions.set(number(self.engine.sessions()));
        metrics.tags.set(number(self.engine.tags()));
        metrics.tags_memory.set(number(self.engine.tags_memory()));
        metrics.outbound.set(number(self.outbound.queued()));
        metrics.links_down.set(number(self.outbound.down()));
        metrics.cover.show(self.engine.cover());
        metrics.epochs.show(self.shared.clock.now(), &self.live);
    }
}

/// The delay queue holds eight mean delays of the node's capacity: more means that the node takes more than it offers.
fn delayed_max(capacity: u32, document: &Document) -> usize {
    let usual = document.params.hop_delay.as_secs_f64() * f64::from(capacity);
    ((usual * 8.0) as usize).clamp(1_024, 65_536)
}
