//! The one task that owns the engine: inputs in; records to disk, then messages to the other authorities.

use super::{links::Queue, metrics::Metrics};
use crate::{admission, config::Config, store::Store};
use std::{
    collections::BTreeMap,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::sleep,
};
use veilpost_daemon::{clock::Clock, stop::Failure};
use veilpost_packet::{
    codec::Reader,
    ids::AuthorityId,
    time::{Epoch, Timestamp},
};
use veilpost_pki::{
    Document, Params,
    round::{Action, Authority, Ballot, Event, Record, Status},
    signed::{HANDOVERS_MAX, Handover},
    statement::Kind,
    wire::{DescriptorAnswer, Message},
};

/// Inputs that wait for the core; beyond it links wait, and with them their peers.
pub(super) const INPUTS: usize = 256;
/// Longest sleep: how soon a changed list of nodes is seen.
const LOOK: Duration = Duration::from_secs(1);

pub(super) enum Input {
    /// A link to an authority is up: what is queued here reaches it.
    Up(AuthorityId, Queue),
    Down(AuthorityId),
    Message(AuthorityId, Message),
    Descriptor(Vec<u8>, oneshot::Sender<DescriptorAnswer>),
}

/// What everyone may see.
#[derive(Clone, Debug, Default)]
pub(super) struct Public {
    pub(super) documents: Vec<Document>,
    pub(super) page: Option<Page>,
}

/// What the status page shows beside the document.
#[derive(Clone, Debug)]
pub(super) struct Page {
    pub(super) status: Status,
    pub(super) epoch: Epoch,
    /// Epoch of the newest document; 0 without any.
    pub(super) newest: Epoch,
    /// Every other authority, and whether our link to it is up.
    pub(super) peers: BTreeMap<AuthorityId, bool>,
    /// The last events, newest last.
    pub(super) events: Vec<(Timestamp, String)>,
    pub(super) admitted: usize,
}

/// Events that the status page shows.
const EVENTS: usize = 20;

pub(super) struct Core {
    pub(super) engine: Authority,
    pub(super) store: Store,
    pub(super) clock: Clock,
    pub(super) config: Config,
    pub(super) params: Params,
    pub(super) admitted: usize,
    pub(super) peers: BTreeMap<AuthorityId, Option<Queue>>,
    pub(super) public: watch::Sender<Public>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) events: Vec<(Timestamp, String)>,
    pub(super) nodes_read: Option<SystemTime>,
    pub(super) handovers_read: Option<SystemTime>,
    pub(super) schedule: veilpost_pki::Schedule,
}

impl Core {
    /// Runs until told to stop, or until the disk fails: what cannot be written down must not be said.
    pub(super) async fn run(
        mut self,
        mut inputs: mpsc::Receiver<Input>,
        mut stop: watch::Receiver<bool>,
    ) -> Result<(), Failure> {
        self.look_at_files();
        let mut looked = self.clock.now();
        loop {
            let now = self.clock.now();
            // However much comes in, the files are looked at.
            if now.since(looked) >= LOOK {
                self.look_at_files();
                looked = now;
            }
            let wake = self.engine.next_wake(now).since(now).min(LOOK);
            tokio::select! {
                biased;
                _ = stop.wait_for(|&stop| stop) => return Ok(()),
                input = inputs.recv() => match input {
                    Some(input) => self.take(input),
                    None => return Ok(()),
                },
                () = sleep(wake) => {}
            }
            self.engine.handle_time(self.clock.now());
            self.act()?;
        }
    }

    fn take(&mut self, input: Input) {
        let now = self.clock.now();
        match input {
            Input::Up(peer, queue) => {
                self.peers.insert(peer, Some(queue));
                self.engine.handle_connected(now, peer);
            }
            Input::Down(peer) => {
                self.peers.insert(peer, None);
            }
            Input::Message(from, message) => self.engine.handle_message(now, from, message),
            Input::Descriptor(bytes, answer) => {
                let result = self.engine.handle_descriptor(now, &bytes);
                self.metrics.descriptor(result);
                // The node may have gone.
                let _ = answer.send(result);
            }
        }
    }

    fn act(&mut self) -> Result<(), Failure> {
        while let Some(action) = self.engine.poll_action() {
            match action {
                Action::Store(record) => match self.store.write(&record) {
                    Ok(()) => {}
                    Err(error) if matches!(record, Record::Said(_)) => {
                        let text = format!("nothing can be written down, so nothing may be said: {error}");
                        return Err(Failure::Runtime(text));
                    }
                    // Others have documents and proofs, too.
                    Err(error) => tracing::error!(%error, "a document or proof could not be kept"),
                },
                Action::Send(to, message) => {
                    let queue = self.peers.get(&to).and_then(Option::as_ref);
                    if queue.is_some_and(|queue| queue.try_send(message.encode().into()).is_err()) {
                        self.metrics.lost.inc();
                    }
                }
                Action::Publish(_) => {}
                Action::Tell(event) => self.tell(&event),
            }
        }
        self.show();
        Ok(())
    }

    fn tell(&mut self, event: &Event) {
        let text = match event {
            Event::Made(epoch) => {
                self.metrics.documents.inc();
                tracing::info!(epoch = epoch.0, "there is a document");
                format!("document of epoch {}", epoch.0)
            }
            Event::Failed(epoch, reason) => {
                self.metrics.failures.inc();
                tracing::warn!(epoch = epoch.0, reason, "the round ended without a document; the last one stays valid");
                format!("no document for epoch {}: {reason}", epoch.0)
            }
            Event::Caught(proof) => {
                let what = match proof.kind() {
                    Kind::Vote => "votes",
                    Kind::Reveal => "random values",
                    Kind::Document => "documents",
                };
                tracing::warn!(author = %proof.author(), epoch = proof.epoch().0, "an authority signed two different {what}");
                format!("{} signed two different {what} for epoch {}", proof.author(), proof.epoch().0)
            }
        };
        if self.events.len() >= EVENTS {
            self.events.remove(0);
        }
        self.events.push((self.clock.now(), text));
    }

    /// What changed on disk since the last look: the list of nodes, and hand-overs.
    fn look_at_files(&mut self) {
        let changed = |path: &Path| std::fs::metadata(path).and_then(|meta| meta.modified()).ok();
        let nodes = changed(&self.config.nodes);
        if nodes != self.nodes_read {
            self.nodes_read = nodes;
            match admission::load(&self.config.nodes) {
                Ok(admitted) => {
                    if self.admitted != admitted.len() {
                        tracing::info!(nodes = admitted.len(), "the list of admitted nodes was read");
                    }
                    self.admitted = admitted.len();
                    self.engine.set_ballot(Ballot { params: self.params.clone(), admitted });
                }
                Err(error) => tracing::error!(%error, "the list of nodes cannot be read; the last good one stays"),
            }
        }
        let handovers = changed(&self.config.handovers);
        if handovers != self.handovers_read {
            self.handovers_read = handovers;
            for handover in read_handovers(&self.config.handovers) {
                if let Err(error) = self.engine.hand_over(handover) {
                    tracing::error!(%error, "a hand-over is not good");
                }
            }
        }
    }

    fn show(&mut self) {
        let now = self.clock.now();
        let page = Page {
            status: self.engine.status(now),
            epoch: self.schedule.epoch_at(now),
            newest: self.engine.documents().next_back().map_or(Epoch(0), |document| document.epoch),
            peers: self.peers.iter().map(|(peer, queue)| (*peer, queue.is_some())).collect(),
            events: self.events.clone(),
            admitted: self.admitted,
        };
        self.metrics.show(&page);
        let documents = self.engine.documents().cloned().collect();
        self.public.send_replace(Public { documents, page: Some(page) });
    }
}

/// Hand-overs in a folder, in the order of their epochs. Files that are none are told about and left alone.
pub(crate) fn read_handovers(folder: &Path) -> Vec<Handover> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let mut found = Vec::new();
    for entry in entries.take(2 * HANDOVERS_MAX) {
        let small = entry.metadata().is_ok_and(|meta| meta.is_file() && meta.len() <= 8_192);
        let Some(bytes) = small.then(|| std::fs::read(entry.path()).ok()).flatten() else { continue };
        let mut reader = Reader::new(&bytes);
        match Handover::read(&mut reader).and_then(|handover| reader.finish().map(|()| handover)) {
            Ok(handover) => found.push(handover),
            Err(error) => tracing::warn!(file = %entry.path().display(), %error, "not a hand-over"),
        }
    }
    found.sort_by_key(Handover::from);
    found
}
