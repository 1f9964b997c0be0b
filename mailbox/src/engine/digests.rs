//! What is published each tick: the tags of boxes that are on enough disks. The first of a box's holders publishes at once, the
//! others what they did not see published within [`PATIENCE`] ticks.

use super::{
    BoxId, BoxStore, Change, Confirmation, Day, Digest, District, Mailbox, Series, SignedDigest, Tick, Timestamp,
};
use crate::store::{Kept, Result, Waiting};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use veilpost_packet::{boxes::BoxTag, geometry::DIGEST_MAX_TAGS, ids::NodeId};

/// Tags that wait for a digest: at one box each, 3.6 GB of boxes. Beyond it new boxes are refused as if the disk were full.
pub(super) const TAGS_MAX: usize = 1 << 20;
/// Tags that others have named that are remembered: 12 MB, and hours of a busy network.
const SEEN_MAX: usize = 1 << 18;
/// Ticks that the first holder gets to publish a box before another does.
const PATIENCE: u32 = 3;

/// The tags that wait, in memory as on disk.
#[derive(Debug, Default)]
pub(super) struct Tags {
    by_tag: BTreeMap<BoxTag, Waiting>,
    by_tick: BTreeSet<(Tick, BoxTag)>,
    /// What others have named of late, by name and in order.
    seen: BTreeSet<BoxTag>,
    seen_order: VecDeque<BoxTag>,
}

impl Tags {
    pub(super) fn load(store: &impl BoxStore) -> Result<Self> {
        let mut tags = Self::default();
        store.waiting(TAGS_MAX)?.into_iter().for_each(|tag| tags.insert(tag));
        Ok(tags)
    }

    pub(super) fn insert(&mut self, waiting: Waiting) {
        if let Some(before) = self.by_tag.insert(waiting.tag, waiting) {
            self.by_tick.remove(&(before.from, before.tag));
        }
        self.by_tick.insert((waiting.from, waiting.tag));
    }

    pub(super) fn remove(&mut self, gone: &Waiting) {
        if self.by_tag.get(&gone.tag) == Some(gone) {
            self.by_tag.remove(&gone.tag);
            self.by_tick.remove(&(gone.from, gone.tag));
        }
    }

    pub(super) fn of(&self, id: &BoxId) -> Option<Waiting> {
        self.by_tag.get(&BoxTag::of(id)).copied()
    }

    pub(super) fn named(&self, tag: &BoxTag) -> Option<Waiting> {
        self.by_tag.get(tag).copied()
    }

    pub(super) fn has_room(&self) -> bool {
        self.by_tag.len() < TAGS_MAX
    }

    /// Another mailbox has named it.
    pub(super) fn see(&mut self, tag: BoxTag) {
        if self.seen.insert(tag) {
            self.seen_order.push_back(tag);
        }
        if self.seen_order.len() > SEEN_MAX
            && let Some(oldest) = self.seen_order.pop_front()
        {
            self.seen.remove(&oldest);
        }
    }

    /// Another mailbox has named it of late.
    pub(super) fn was_seen(&self, id: &BoxId) -> bool {
        self.seen.contains(&BoxTag::of(id))
    }

    fn due(&self, tick: Tick) -> Vec<Waiting> {
        let due = self.by_tick.iter().take_while(|(from, _)| *from <= tick).take(DIGEST_MAX_TAGS);
        due.filter_map(|(_, tag)| self.by_tag.get(tag)).copied().collect()
    }

    fn drop_before(&mut self, today: Day) {
        let old: Vec<_> = self.by_tag.values().filter(|tag| tag.bucket < today).copied().collect();
        old.iter().for_each(|tag| self.remove(tag));
    }
}

impl<S: BoxStore> Mailbox<S> {
    /// The digest of this tick, once, durable before it is handed out. Slept-through ticks get none: the chain of hashes says
    /// that there never was one. Expiry happens here too.
    ///
    /// # Errors
    /// If the store fails; the same tags are published with the next tick.
    pub fn poll_digest(&mut self, now: Timestamp) -> Result<Option<SignedDigest>> {
        if now < self.next_tick {
            return Ok(None);
        }
        let tick = Tick::at(now, self.terms.params.tick);
        self.next_tick = tick.next().start(self.terms.params.tick);
        if tick <= self.newest_digest {
            return Ok(None);
        }
        let today = Day::at(now, self.terms.params.day);
        match self.store.expire(today) {
            Ok(0) => {}
            Ok(_) => self.tags.drop_before(today),
            // A damaged bucket must not hold back the digest: what does not expire now is tried again at the next tick.
            Err(_) => self.counters.store_failures += 1,
        }
        let named = self.tags.due(tick);
        let digest = Digest {
            network: self.terms.network,
            document: self.terms.document,
            mailbox: self.me,
            district: District(0),
            tick,
            previous: self.previous,
            tags: named.iter().map(|waiting| waiting.tag).collect(),
        };
        let signed = digest.sign(&self.secret);
        let record = Change::Record { series: Series::Digest, number: tick.0, bytes: signed.as_bytes().to_vec() };
        let changes: Vec<_> = std::iter::once(record).chain(named.iter().copied().map(Change::Announced)).collect();
        self.store.apply(&changes)?;
        // Durable from here on, so it is a link of the chain, whatever happens to the old ones.
        named.iter().for_each(|waiting| self.tags.remove(waiting));
        let hour = self.hour(now);
        named.iter().for_each(|waiting| self.sets.name(waiting.tag, hour));
        self.newest_digest = tick;
        self.previous = signed.hash();
        self.peers.publish(&signed);
        let oldest = Tick::at(now - self.terms.params.digest_history, self.terms.params.tick);
        if self.store.drop_records(Series::Digest, oldest.0).is_err() {
            self.counters.store_failures += 1;
        }
        Ok(Some(signed))
    }

    /// Published digests from a tick on, oldest first, for an entry that lacks them.
    ///
    /// # Errors
    /// If the store fails.
    pub fn digests(&self, from: Tick, limit: usize) -> Result<Vec<Vec<u8>>> {
        Ok(self.store.records(Series::Digest, from.0, limit)?.into_iter().map(|(_, bytes)| bytes).collect())
    }

    /// When a box may be named that is on enough disks from now on; `None` if it was named before, or waits already.
    pub(super) fn announcement(&self, now: Timestamp, kept: &Kept) -> Option<Waiting> {
        let id = &kept.sealed.id;
        // A word that does not hold any more did when it was given: the box came to that disk, and is brought to another by now.
        let disks = 1 + kept.others.len();
        if kept.announced || self.tags.of(id).is_some() || disks < self.terms.durable_copies {
            return None;
        }
        let tick = Tick::at(now, self.terms.params.tick);
        let from = if self.is_first(id, &kept.others) { tick } else { Tick(tick.0.saturating_add(PATIENCE)) };
        Some(Waiting { tag: BoxTag::of(id), from, bucket: kept.sealed.expiry })
    }

    /// True if we come first in hash order among those that hold the box.
    fn is_first(&self, id: &BoxId, others: &[Confirmation]) -> bool {
        let holds =
            |mailbox: &NodeId| *mailbox == self.me || others.iter().any(|other| other.signature.holder == *mailbox);
        self.placed(id).into_iter().find(holds).is_none_or(|first| first == self.me)
    }
}
