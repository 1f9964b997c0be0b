//! Digests on their way to the entries: each entry's link carries one byte stream, new digests as they come and older ones
//! when the entry asks.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use veilpost_daemon::links::Dialed;
use veilpost_packet::{
    digest::SignedDigest,
    frame::{FrameKind, RecordCutter, Want, Wanted},
    ids::NodeId,
    set::Period,
    time::{Tick, Timestamp},
};

/// Digests read from the store at once for an entry that catches up.
const HISTORY_AT_ONCE: usize = 256;
/// Bytes that wait for one entry at most; what a slow entry misses beyond it, it asks for.
const QUEUED_MAX: usize = 8 << 20;
/// Periods back from the newest that one Want yields at most.
const SETS_MAX: u32 = 64;
/// Frames left free in a link's queue.
const ROOM: usize = 64;
/// How soon a stream that waits for room is looked at again.
const AGAIN: Duration = Duration::from_millis(50);

/// Where older digests come from.
pub(super) trait History {
    /// Digests from a tick on, oldest first, at most `limit`.
    fn digests_from(&self, tick: Tick, limit: usize) -> Vec<Vec<u8>>;
    /// The parts of a set; none if there is no such set.
    fn set(&self, period: Period) -> Vec<Vec<u8>>;
    /// The newest sets there are, of hours and of days.
    fn newest_sets(&self) -> (u32, u32);
}

#[derive(Debug, Default)]
struct Stream {
    /// Which of our links to the entry it is for.
    link: u64,
    cutter: RecordCutter,
    /// Next tick of the history that is still to be read, and the last one wanted.
    history: Option<(Tick, Tick)>,
    sets: RecordCutter,
    /// Sets that are to be read and sent: at most one for each period there is.
    due: BTreeSet<Period>,
}

/// The streams of all entries whose links are up.
#[derive(Debug, Default)]
pub(super) struct Publisher {
    streams: BTreeMap<NodeId, Stream>,
}

impl Publisher {
    /// A link is new: its stream begins at a record's border.
    pub(super) fn link_up(&mut self, entry: NodeId, link: u64) {
        self.streams.insert(entry, Stream { link, ..Stream::default() });
    }

    /// A link is gone; the one that took its place, if any, stays.
    pub(super) fn link_down(&mut self, entry: &NodeId, link: u64) {
        self.streams.retain(|id, stream| id != entry || stream.link != link);
    }

    /// Forgets the entries that we have no link to any more.
    pub(super) fn forget_others(&mut self, entries: &Dialed) {
        self.streams.retain(|id, _| entries.get(id).is_some());
    }

    pub(super) fn want(&mut self, entry: &NodeId, want: &Want, engine: &impl History) {
        let Some(stream) = self.streams.get_mut(entry) else { return };
        let (hour, day) = engine.newest_sets();
        let range =
            |newest: u32| want.first.max(newest.saturating_sub(SETS_MAX))..want.end().min(newest.saturating_add(1));
        match want.what {
            Wanted::Digests => stream.history = Some((Tick(want.first), Tick(want.end()))),
            Wanted::Hours => stream.due.extend(range(hour).map(Period::Hour)),
            Wanted::Days => stream.due.extend(range(day).map(Period::Day)),
        }
    }

    /// A set is new: every entry gets it, as soon as there is room.
    pub(super) fn publish_set(&mut self, period: Period) {
        for stream in self.streams.values_mut() {
            if stream.due.len() < 2 * SETS_MAX as usize {
                stream.due.insert(period);
            }
        }
    }

    pub(super) fn publish(&mut self, digest: &SignedDigest) {
        let bytes: Arc<[u8]> = digest.as_bytes().into();
        for stream in self.streams.values_mut().filter(|stream| stream.cutter.queued() < QUEUED_MAX) {
            stream.cutter.push(bytes.clone());
        }
    }

    /// Hands frames to the links, as far as they have room.
    pub(super) fn poll(&mut self, _now: Timestamp, engine: &impl History, entries: &Dialed) {
        for (entry, stream) in &mut self.streams {
            let Some(link) = entries.get(entry) else { continue };
            while link.queued() + ROOM < super::links::LINK_QUEUE {
                if let Some(frame) = stream.cutter.next_frame(FrameKind::Digest) {
                    // There is room, and nobody else sends on this link.
                    let _ = link.try_send(frame);
                } else if let Some(frame) = stream.sets.next_frame(FrameKind::Set) {
                    let _ = link.try_send(frame);
                } else if !stream.read_history(engine) && !stream.read_set(engine) {
                    break;
                }
            }
        }
    }

    /// When to poll again, if streams wait for room.
    pub(super) fn next_wake(&self, now: Timestamp) -> Timestamp {
        let waits = self.streams.values().any(|stream| stream.waits());
        if waits { now + AGAIN } else { Timestamp::FAR_FUTURE }
    }
}

impl Stream {
    fn waits(&self) -> bool {
        self.cutter.queued() + self.sets.queued() > 0 || self.history.is_some() || !self.due.is_empty()
    }

    /// Queues the newest set that is due, hours before days; false if none is.
    fn read_set(&mut self, engine: &impl History) -> bool {
        let hour = self.due.range(..Period::Day(0)).next_back().copied();
        let Some(period) = hour.or_else(|| self.due.last().copied()) else { return false };
        self.due.remove(&period);
        engine.set(period).into_iter().for_each(|part| self.sets.push(part.into()));
        true
    }

    /// Queues more of what the entry asked for; false if that is all.
    fn read_history(&mut self, engine: &impl History) -> bool {
        let Some((next, end)) = self.history else { return false };
        let read = engine.digests_from(next, HISTORY_AT_ONCE);
        let last = read.iter().filter_map(|bytes| SignedDigest::verify(bytes).ok()).map(|one| one.digest().tick).max();
        self.history =
            last.map(|last| (last.next(), end)).filter(|(next, end)| read.len() == HISTORY_AT_ONCE && next < end);
        let any = !read.is_empty();
        for bytes in read {
            self.cutter.push(bytes.into());
        }
        any
    }
}
