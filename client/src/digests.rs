//! Following the mailboxes' digests: what is new, what is missing, what to ask for. Pure.

use crate::store::digests::KeptDigest;
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};
use veilpost_packet::{
    boxes::BoxTag,
    digest::{Digest, DigestHash, SignedDigest},
    frame::Want,
    ids::NodeId,
    time::{Tick, Timestamp},
};

/// Gaps that are remembered; beyond it the oldest is given up.
const GAPS_MAX: usize = 64;
/// How long an answer to a Want may take before it is asked again; doubled with each asking, up to [`WANT_MAX`]. A gap is
/// asked for as long as digests of its time are kept.
const WANT_AGAIN: Duration = Duration::from_secs(60);
/// Longest wait between two askings.
const WANT_MAX: Duration = Duration::from_secs(3_600);

#[derive(Clone, Copy, Debug)]
struct Position {
    tick: Tick,
    hash: DigestHash,
}

/// Ticks between two digests of one mailbox whose chain does not connect.
#[derive(Debug)]
struct Gap {
    mailbox: NodeId,
    first: Tick,
    last: Tick,
    /// Hash of the digest before the gap.
    left: DigestHash,
    /// What the digest behind the gap names as its previous.
    right: DigestHash,
    /// What has come, by hash: its own previous.
    filled: BTreeMap<DigestHash, DigestHash>,
    asked: u32,
    again: Timestamp,
}

impl Gap {
    fn is_closed(&self) -> bool {
        let mut at = self.right;
        for _ in 0..=self.filled.len() {
            if at == self.left {
                return true;
            }
            match self.filled.get(&at) {
                Some(previous) => at = *previous,
                None => return false,
            }
        }
        false
    }
}

/// What a digest is to us.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum News {
    /// The next of its mailbox, or one that was missing: match it.
    Match,
    /// Seen before, or older than anything we asked for.
    Known,
}

/// Where each mailbox's chain stands, and all tags of the last day.
#[derive(Debug, Default)]
pub struct DigestTracker {
    positions: BTreeMap<NodeId, Position>,
    gaps: VecDeque<Gap>,
    recent: BTreeSet<(BoxTag, Tick)>,
}

impl DigestTracker {
    /// Takes up from what is on disk (by mailbox and tick): where each chain stands, and where it has holes.
    pub fn new(now: Timestamp, kept: &[KeptDigest], tags: Vec<(Tick, BoxTag)>) -> Self {
        let mut tracker = Self { recent: tags.into_iter().map(|(tick, tag)| (tag, tick)).collect(), ..Self::default() };
        for digest in kept {
            let before = tracker.positions.insert(digest.mailbox, Position { tick: digest.tick, hash: digest.hash });
            if let Some(before) = before.filter(|before| before.hash != digest.previous) {
                tracker.open_gap(now, digest, before, Tick(0));
            }
        }
        tracker
    }

    /// Takes a digest whose signature was checked and whose mailbox is in the document. `oldest`: where history begins.
    pub fn handle(&mut self, now: Timestamp, signed: &SignedDigest, oldest: Tick) -> News {
        let (digest, hash) = (signed.digest(), signed.hash());
        let kept = KeptDigest { mailbox: digest.mailbox, tick: digest.tick, hash, previous: digest.previous };
        if digest.tick < oldest {
            return News::Known;
        }
        let news = match self.positions.get(&digest.mailbox).copied() {
            Some(position) if digest.tick <= position.tick => self.fill(digest, hash),
            Some(position) => {
                if digest.previous != position.hash {
                    self.open_gap(now, &kept, position, oldest);
                }
                self.positions.insert(digest.mailbox, Position { tick: digest.tick, hash });
                News::Match
            }
            None => {
                self.positions.insert(digest.mailbox, Position { tick: digest.tick, hash });
                News::Match
            }
        };
        if news == News::Match {
            self.recent.extend(digest.tags.iter().map(|tag| (*tag, digest.tick)));
        }
        news
    }

    fn fill(&mut self, digest: &Digest, hash: DigestHash) -> News {
        let inside = |gap: &Gap| gap.mailbox == digest.mailbox && (gap.first..=gap.last).contains(&digest.tick);
        let Some(at) = self.gaps.iter().position(inside) else { return News::Known };
        let Some(gap) = self.gaps.get_mut(at) else { return News::Known };
        // One digest a tick at most, so that a mailbox that signs many for one tick fills no memory.
        let room = gap.filled.len() <= (gap.last.0 - gap.first.0) as usize;
        let new = room && gap.filled.insert(hash, digest.previous).is_none();
        if gap.is_closed() {
            self.gaps.remove(at);
        }
        if new { News::Match } else { News::Known }
    }

    fn open_gap(&mut self, now: Timestamp, digest: &KeptDigest, position: Position, oldest: Tick) {
        let (first, last) = (position.tick.next().max(oldest), Tick(digest.tick.0.saturating_sub(1)));
        if first > last {
            return;
        }
        if self.gaps.len() >= GAPS_MAX {
            self.gaps.pop_front();
        }
        self.gaps.push_back(Gap {
            mailbox: digest.mailbox,
            first,
            last,
            left: position.hash,
            right: digest.previous,
            filled: BTreeMap::new(),
            asked: 0,
            again: now,
        });
    }

    /// What to ask the entry for, in place of a Loop.
    pub fn next_want(&mut self, now: Timestamp) -> Option<Want> {
        let gap = self.gaps.iter_mut().find(|gap| gap.again <= now)?;
        gap.asked += 1;
        gap.again = now + WANT_AGAIN.saturating_mul(2u32.saturating_pow(gap.asked - 1)).min(WANT_MAX);
        let count = (gap.last.0 - gap.first.0).saturating_add(1);
        Some(Want { mailbox: gap.mailbox, first: gap.first, count })
    }

    /// True if a digest of the last day named this tag.
    pub fn has_named(&self, tag: &BoxTag) -> bool {
        self.recent.range((*tag, Tick(0))..=(*tag, Tick(u32::MAX))).next().is_some()
    }

    /// Forgets tags older than `oldest`.
    pub fn forget_before(&mut self, oldest: Tick) {
        self.recent.retain(|(_, tick)| *tick >= oldest);
        self.gaps.retain(|gap| gap.last >= oldest);
    }

    /// Gaps that are open.
    pub fn gaps(&self) -> usize {
        self.gaps.len()
    }

    /// The newest tick of a mailbox.
    pub fn newest(&self, mailbox: &NodeId) -> Option<Tick> {
        self.positions.get(mailbox).map(|position| position.tick)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use veilpost_packet::{
        ids::{District, DocumentHash, NetworkId},
        primitives::SigningSecret,
    };

    const NOW: Timestamp = Timestamp::from_secs(1_000);

    fn chain(count: u32) -> Vec<SignedDigest> {
        let secret = SigningSecret::from_seed(&[5; 32]);
        let mut previous = DigestHash::default();
        (1..=count)
            .map(|tick| {
                let digest = Digest {
                    network: NetworkId([1; 32]),
                    document: DocumentHash::default(),
                    mailbox: secret.node_id(),
                    district: District(0),
                    tick: Tick(tick * 2),
                    previous,
                    tags: vec![BoxTag([tick as u8; 6])],
                };
                let signed = digest.sign(&secret);
                previous = signed.hash();
                signed
            })
            .collect()
    }

    #[test]
    fn ticks_that_never_had_a_digest_are_no_gap() {
        let mut tracker = DigestTracker::default();
        for digest in chain(5) {
            assert_eq!(tracker.handle(NOW, &digest, Tick(0)), News::Match);
        }
        assert_eq!(tracker.next_want(NOW), None);
    }

    #[test]
    fn a_missing_digest_is_asked_for_and_closes_the_gap_when_it_comes() {
        let digests = chain(4);
        let mut tracker = DigestTracker::default();
        tracker.handle(NOW, &digests[0], Tick(0));
        tracker.handle(NOW, &digests[3], Tick(0));
        let want = tracker.next_want(NOW).unwrap();
        assert_eq!((want.first, want.count), (Tick(3), 5));
        assert_eq!(tracker.next_want(NOW), None, "asked once, then time for the answer");
        assert_eq!(tracker.handle(NOW, &digests[2], Tick(0)), News::Match);
        assert_eq!(tracker.gaps(), 1);
        assert_eq!(tracker.handle(NOW, &digests[1], Tick(0)), News::Match);
        assert_eq!(tracker.gaps(), 0);
        assert!(tracker.has_named(&BoxTag([2; 6])) && !tracker.has_named(&BoxTag([9; 6])));
    }

    #[test]
    fn a_gap_that_was_open_at_the_end_of_a_process_is_asked_for_by_the_next() {
        let digests = chain(6);
        let kept: Vec<_> = [0, 1, 4, 5]
            .map(|at: usize| {
                let digest = digests[at].digest();
                KeptDigest {
                    mailbox: digest.mailbox,
                    tick: digest.tick,
                    hash: digests[at].hash(),
                    previous: digest.previous,
                }
            })
            .to_vec();
        let mut tracker = DigestTracker::new(NOW, &kept, Vec::new());
        let want = tracker.next_want(NOW).unwrap();
        assert_eq!((want.first, want.count), (Tick(5), 5));
        assert_eq!(tracker.handle(NOW, &digests[3], Tick(0)), News::Match);
        assert_eq!(tracker.handle(NOW, &digests[2], Tick(0)), News::Match);
        assert_eq!(tracker.gaps(), 0);
    }

    #[test]
    fn a_gap_is_asked_for_ever_more_slowly_and_forgotten_with_its_time() {
        let digests = chain(3);
        let mut tracker = DigestTracker::default();
        tracker.handle(NOW, &digests[0], Tick(0));
        tracker.handle(NOW, &digests[2], Tick(0));
        let asked =
            (0..600).filter(|minute| tracker.next_want(NOW + Duration::from_secs(60) * *minute).is_some()).count();
        assert!((10..20).contains(&asked), "{asked}");
        tracker.forget_before(Tick(6));
        assert_eq!(tracker.gaps(), 0);
    }

    proptest! {
        #[test]
        fn in_any_order_every_digest_is_matched_once(order in Just((0..12usize).collect::<Vec<_>>()).prop_shuffle()) {
            let digests = chain(12);
            let mut tracker = DigestTracker::default();
            // The first sets the start: what is older than it was published before we were there.
            tracker.handle(NOW, &digests[0], Tick(0));
            let matched = order.iter().filter(|&&at| tracker.handle(NOW, &digests[at], Tick(0)) == News::Match).count();
            prop_assert_eq!(matched, 11);
            let again = order.iter().filter(|&&at| tracker.handle(NOW, &digests[at], Tick(0)) == News::Match).count();
            prop_assert_eq!(again, 0);
            prop_assert_eq!(tracker.gaps(), 0);
        }
    }
}
