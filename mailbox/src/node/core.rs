//! The one thread that owns engine, store and replay table: commands are gathered while a flush runs, so that one flush
//! serves many (group commit).

use super::{digests::Publisher, links::Outbounds, metrics::Metrics};
use crate::{
    engine::{Arrived, Mailbox},
    sled_store::SledStore,
};
use std::{
    path::PathBuf,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::Duration,
};
use veilpost_daemon::{clock::Clock, stop::Failure, taglog::TagLog};
use veilpost_packet::{
    frame::{Flags, Frame, FrameKind, Want},
    ids::NodeId,
    replay::{TagKey, TagRefused, TagTable},
    sphinx::ReplayTag,
    time::{Epoch, Timestamp},
};
use veilpost_pki::admission::DropReason;

/// Inputs that wait for the core; beyond it the workers wait, and behind them packets are dropped and counted.
pub(super) const INPUTS: usize = 1_024;
/// Inputs taken into one batch.
const BATCH: usize = 256;
/// A sleep without anything due.
const IDLE: Duration = Duration::from_secs(1);
/// How often the free space of the disk is measured.
const MEASURE: Duration = Duration::from_secs(5);
/// After a stop, replies that wait get this long to leave.
const DRAIN: Duration = Duration::from_secs(5);

/// What happens around the engine.
pub(super) enum Input {
    /// A command, with the replay tag of its packet.
    Command(ReplayTag, Box<Arrived>),
    /// The link to an entry came up.
    EntryUp(NodeId),
    /// The link to an entry went down.
    EntryDown(NodeId),
    /// An entry lacks digests.
    Want(NodeId, Want),
    /// Take no more, let replies leave, end.
    Stop,
}

pub(super) struct Core {
    pub engine: Mailbox<SledStore>,
    pub tag_key: TagKey,
    pub tags: TagTable,
    pub log: TagLog,
    pub clock: Clock,
    pub epoch: Epoch,
    pub outbound: Arc<Outbounds>,
    pub publisher: Publisher,
    pub metrics: Arc<Metrics>,
    pub folder: PathBuf,
    pub measured: Timestamp,
}

impl Core {
    /// Runs until it is told to stop and replies have left. Returns itself for the clean end.
    pub(super) fn run(mut self, inputs: &Receiver<Input>) -> Result<Self, Failure> {
        let mut stop_at = None;
        self.measure_disk();
        loop {
            let now = self.clock.now();
            let wake = self.engine.next_wake().min(self.publisher.next_wake(now)).since(now).min(IDLE);
            let mut batch = Vec::new();
            match inputs.recv_timeout(wake) {
                Ok(input) => batch.push(input),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(self),
            }
            batch.extend(inputs.try_iter().take(BATCH - 1));
            let mut commands = Vec::new();
            for input in batch {
                match input {
                    Input::Command(tag, arrived) if stop_at.is_none() => self.admit(&mut commands, tag, *arrived)?,
                    Input::Command(..) => drop(self.metrics.dropped(DropReason::Stopped).inc()),
                    Input::EntryUp(entry) => self.publisher.link_up(entry),
                    Input::EntryDown(entry) => self.publisher.link_down(&entry),
                    Input::Want(entry, want) => self.publisher.want(&entry, &want),
                    Input::Stop => stop_at = Some(self.clock.now() + DRAIN),
                }
            }
            self.work(commands)?;
            let now = self.clock.now();
            if stop_at.is_some_and(|at| self.engine.waiting_replies() == 0 || now >= at) {
                return Ok(self);
            }
        }
    }

    /// "Tags are checked after the MAC, written before the packet leaves": here, before anything follows from it.
    fn admit(&mut self, commands: &mut Vec<Arrived>, tag: ReplayTag, arrived: Arrived) -> Result<(), Failure> {
        let tag = self.tag_key.shorten(&tag.0);
        match self.tags.check_and_insert(tag) {
            Ok(()) => {
                self.log.append(&[tag]).map_err(Failure::runtime)?;
                commands.push(arrived);
            }
            Err(TagRefused::Seen) => drop(self.metrics.dropped(DropReason::Replay).inc()),
            Err(TagRefused::Full) => drop(self.metrics.dropped(DropReason::ReplayFull).inc()),
        }
        Ok(())
    }

    fn work(&mut self, commands: Vec<Arrived>) -> Result<(), Failure> {
        let now = self.clock.now();
        if now.since(self.measured) >= MEASURE {
            self.measure_disk();
        }
        if !commands.is_empty() {
            self.engine.handle_commands(now, commands);
        }
        match self.engine.poll_digest(self.clock.now()) {
            Ok(Some(digest)) => self.publisher.publish(&digest),
            Ok(None) => {}
            // The tags wait for the next tick, on disk where the boxes are.
            Err(error) => tracing::error!(%error, "no digest could be published"),
        }
        self.publisher.poll(self.clock.now(), &self.engine, &self.outbound);
        let now = self.clock.now();
        while let Some((surb, plaintext)) = self.engine.poll_reply(now) {
            let to = NodeId(surb.first_hop());
            let frame = surb
                .reply(&plaintext)
                .ok()
                .and_then(|packet| Frame::new(FrameKind::Packet, Flags::for_epoch(self.epoch), packet.as_bytes()).ok());
            let sent =
                frame.zip(self.outbound.mixes.get(&to)).is_some_and(|(frame, link)| link.try_send(frame).is_ok());
            if sent {
                self.metrics.replies.inc();
            } else {
                self.metrics.dropped(DropReason::LinkFull).inc();
            }
        }
        self.metrics.show(&self.engine, &self.outbound);
        Ok(())
    }

    fn measure_disk(&mut self) {
        self.measured = self.clock.now();
        match rustix::fs::statvfs(&self.folder) {
            Ok(disk) => self.engine.handle_free_disk(disk.f_bavail.saturating_mul(disk.f_frsize)),
            Err(error) => tracing::warn!(%error, "the free space of the disk cannot be measured"),
        }
    }
}

/// What the publisher needs of the engine.
impl super::digests::History for Mailbox<SledStore> {
    fn digests_from(&self, tick: veilpost_packet::time::Tick, limit: usize) -> Vec<Vec<u8>> {
        self.digests(tick, limit).unwrap_or_default()
    }
}
