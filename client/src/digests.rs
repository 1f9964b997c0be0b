//! Following the mailboxes' digests: what is new, what is missing, what to ask for. Pure.

use crate::{arq::Pace, store::digests::KeptDigest};
use std::{collections::BTreeMap, time::Duration};
use veilpost_packet::{
    boxes::BoxTag,
    digest::{DigestHash, SignedDigest},
    frame::Want,
    ids::NodeId,
    time::{Tick, Timestamp},
};

/// Gaps of one mailbox that are kept apart; beyond it the two that lie closest together become one, and what is known between
/// them is asked for again. None is given up while digests of its time are kept.
const GAPS_MAX: usize = 64;
/// Ticks between two gaps that one Want covers all the same: about 17 minutes, 12 frames of mostly empty digests. Cheaper
/// than a second Want, since only the loop clock sends them.
const JOIN_TICKS: u32 = 256;
/// How long nothing may come of a Want before it is asked again; doubled with each asking in vain, up to [`WANT_MAX`].
const WANT_AGAIN: Duration = Duration::from_secs(60);
/// Longest wait between two askings.
const WANT_MAX: Duration = Duration::from_secs(3_600);
/// After so many askings in vain, 7 minutes, the entry is taken not to have the digests: its process is new and the mailbox gone, or
/// its cache was too small. Their mailbox's sets tell what they named.
const VAIN: u32 = 3;
/// And after so long without any digest of a gap: the answer may wait behind a longer one.
const STILL: Duration = Duration::from_secs(240);

/// Ticks that other mailboxes must have spoken since we connected before one counts as silent: its own digest of the first may be on
/// its way, or late by a tick or two.
const SILENT_TICKS: u32 = 4;

#[derive(Clone, Copy, Debug)]
struct Position {
    tick: Tick,
    hash: DigestHash,
}

/// Ticks between two digests of one mailbox whose chain does not connect. Shrinks from both ends as digests come.
#[derive(Debug)]
struct Gap {
    first: Tick,
    last: Tick,
    /// Hash of the digest before the gap.
    left: DigestHash,
    /// What the digest behind the gap names as its previous.
    right: DigestHash,
    /// What has come and touches neither end: hash to tick and its own previous. At most one for each tick.
    filled: BTreeMap<DigestHash, (Tick, DigestHash)>,
    /// Askings since something last came of one.
    asked: u32,
    again: Timestamp,
    /// Its time's sets are wanted.
    by_sets: bool,
}

impl Gap {
    fn span(&self) -> usize {
        self.last.0.saturating_sub(self.first.0) as usize + 1
    }

    /// Takes a digest of its time; false if it was here already or there is no room for it.
    fn fill(&mut self, tick: Tick, hash: DigestHash, previous: DigestHash) -> bool {
        // One digest a tick at most, so that a mailbox that signs many for one tick fills no memory.
        if self.filled.len() >= self.span() || self.filled.insert(hash, (tick, previous)).is_some() {
            return false;
        }
        while let Some((tick, previous)) = self.filled.remove(&self.right) {
            (self.right, self.last) = (previous, Tick(tick.0.saturating_sub(1)));
        }
        let left = |filled: &BTreeMap<DigestHash, (Tick, DigestHash)>, at: DigestHash| {
            filled.iter().find(|(_, (_, previous))| *previous == at).map(|(hash, (tick, _))| (*hash, *tick))
        };
        while let Some((hash, tick)) = left(&self.filled, self.left) {
            self.filled.remove(&hash);
            (self.left, self.first) = (hash, tick.next());
        }
        true
    }

    fn is_closed(&self) -> bool {
        self.left == self.right
    }

    /// Becomes one with a later gap.
    fn join(&mut self, later: Self) {
        (self.last, self.right) = (later.last, later.right);
        self.filled.extend(later.filled);
        (self.asked, self.again) = (self.asked.min(later.asked), self.again.min(later.again));
        self.by_sets &= later.by_sets;
    }
}

/// What a mailbox said last before it fell silent: it may have said it while we were away, and its chain will show no gap before it
/// speaks again.
#[derive(Debug)]
struct Tail {
    /// Askings since something last came of one.
    asked: u32,
    again: Timestamp,
}

/// What a digest is to us.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum News {
    /// The next of its mailbox, or one that was missing: match it.
    Match,
    /// The first of its mailbox that we ever saw: match it, and keep it at once. Without it on disk the next process would
    /// take the first that *it* sees for the beginning, and look for nothing in between.
    First,
    /// Seen before, or older than anything we asked for.
    Known,
}

/// Where each mailbox's chain stands, and all tags of the last day.
#[derive(Debug, Default)]
pub struct DigestTracker {
    positions: BTreeMap<NodeId, Position>,
    /// In order of their ticks.
    gaps: BTreeMap<NodeId, Vec<Gap>>,
    recent: BTreeMap<(BoxTag, Tick), NodeId>,
    /// When something of a gap last came.
    filled: Timestamp,
    /// The tick in which we connected: what is said from then on comes unasked.
    connected: Option<Tick>,
    /// Of mailboxes that were asked about since then, and have not spoken.
    tails: BTreeMap<NodeId, Tail>,
}

impl DigestTracker {
    /// Takes up from what is on disk (by mailbox and tick): where each chain stands, and where it has holes.
    pub fn new(now: Timestamp, kept: &[KeptDigest], tags: Vec<(NodeId, Tick, BoxTag)>) -> Self {
        let mut tracker = Self {
            recent: tags.into_iter().map(|(mailbox, tick, tag)| ((tag, tick), mailbox)).collect(),
            ..Self::default()
        };
        for digest in kept {
            let before = tracker.positions.insert(digest.mailbox, Position { tick: digest.tick, hash: digest.hash });
            if let Some(before) = before.filter(|before| before.hash != digest.previous) {
                tracker.open_gap(now, digest, before, Tick(0));
            }
        }
        tracker
    }

    /// Takes a digest whose signature was checked and whose mailbox is in the document. `oldest`: where history begins.
    pub fn handle(&mut self, now: Timestamp, signed: &SignedDigest, oldest: Tick, pace: Pace) -> News {
        let (digest, hash) = (signed.digest(), signed.hash());
        let kept = KeptDigest { mailbox: digest.mailbox, tick: digest.tick, hash, previous: digest.previous };
        if digest.tick < oldest {
            return News::Known;
        }
        let news = match self.positions.get(&digest.mailbox).copied() {
            Some(position) if digest.tick <= position.tick => self.fill(now, &kept, pace),
            Some(position) => {
                if digest.previous != position.hash {
                    self.open_gap(now, &kept, position, oldest);
                }
                self.positions.insert(digest.mailbox, Position { tick: digest.tick, hash });
                if let Some(tail) = self.tails.get_mut(&digest.mailbox) {
                    // As with a gap: the answer is on its way.
                    (tail.asked, tail.again) = (1, now + pace.of(WANT_AGAIN));
                }
                News::Match
            }
            None => {
                self.positions.insert(digest.mailbox, Position { tick: digest.tick, hash });
                News::First
            }
        };
        if news != News::Known {
            self.recent.extend(digest.tags.iter().map(|tag| ((*tag, digest.tick), digest.mailbox)));
        }
        news
    }

    fn fill(&mut self, now: Timestamp, digest: &KeptDigest, pace: Pace) -> News {
        let Some(gaps) = self.gaps.get_mut(&digest.mailbox) else { return News::Known };
        let Some(at) = gaps.iter().position(|gap| (gap.first..=gap.last).contains(&digest.tick)) else {
            return News::Known;
        };
        let Some(gap) = gaps.get_mut(at) else { return News::Known };
        let new = gap.fill(digest.tick, digest.hash, digest.previous);
        if new {
            self.filled = now;
        }
        if new && gap.asked > 0 {
            // The answer is on its way: a long one takes minutes, and asking meanwhile would only bring it twice.
            gap.asked = 1;
            gap.again = now + pace.of(WANT_AGAIN);
        }
        if gap.is_closed() {
            gaps.remove(at);
        }
        if gaps.is_empty() {
            self.gaps.remove(&digest.mailbox);
        }
        if new { News::Match } else { News::Known }
    }

    fn open_gap(&mut self, now: Timestamp, digest: &KeptDigest, position: Position, oldest: Tick) {
        let (first, last) = (position.tick.next().max(oldest), Tick(digest.tick.0.saturating_sub(1)));
        if first > last {
            return;
        }
        let gaps = self.gaps.entry(digest.mailbox).or_default();
        gaps.push(Gap {
            first,
            last,
            left: position.hash,
            right: digest.previous,
            filled: BTreeMap::new(),
            asked: 0,
            again: now,
            by_sets: false,
        });
        if gaps.len() > GAPS_MAX {
            let between = |pair: &[Gap]| match pair {
                [a, b] => b.first.0.saturating_sub(a.last.0),
                _ => u32::MAX,
            };
            let closest = gaps.windows(2).enumerate().min_by_key(|(_, pair)| between(pair)).map_or(0, |(at, _)| at);
            let later = gaps.remove(closest + 1);
            if let Some(gap) = gaps.get_mut(closest) {
                gap.join(later);
            }
        }
    }

    /// What to ask the entry for at a tick of the loop clock: the gap that is due longest, and those of its mailbox close to it.
    pub fn next_want(&mut self, now: Timestamp, pace: Pace) -> Option<Want> {
        let due = self.gaps.iter().flat_map(|(mailbox, gaps)| gaps.iter().map(|gap| (gap.again, *mailbox, gap.first)));
        let (_, mailbox, first) = due.filter(|(again, ..)| *again <= now).min()?;
        let gaps = self.gaps.get_mut(&mailbox)?;
        let at = gaps.iter().position(|gap| gap.first == first)?;
        let near = |pair: &[Gap]| matches!(pair, [a, b] if b.first.0.saturating_sub(a.last.0) <= JOIN_TICKS);
        let from = at - gaps.get(..=at)?.windows(2).rev().take_while(|pair| near(pair)).count();
        let to = at + gaps.get(at..)?.windows(2).take_while(|pair| near(pair)).count();
        let covered = gaps.get_mut(from..=to)?;
        for gap in covered.iter_mut() {
            gap.asked = gap.asked.saturating_add(1);
            let wait = WANT_AGAIN.saturating_mul(2u32.saturating_pow(gap.asked - 1)).min(WANT_MAX);
            gap.again = now + pace.of(wait);
        }
        let (first, last) = (covered.first()?.first, covered.last()?.last);
        Some(Want::digests(mailbox, first, last.0.saturating_sub(first.0).saturating_add(1)))
    }

    /// A connection begins in this tick. What mailboxes said before it has to be asked for: of those that speak again their chains
    /// show it, the others are silent.
    pub fn handle_connected(&mut self, tick: Tick) {
        self.connected = Some(tick);
        self.tails.clear();
    }

    /// What to ask the entry for of a mailbox that has not spoken since we connected although others have: all behind the newest
    /// digest that we know, up to three times in vain. `oldest`: where history begins; who was silent for longer is asked for by
    /// sets. `placed`: says which mailboxes may have boxes.
    pub fn next_silent(
        &mut self,
        now: Timestamp,
        oldest: Tick,
        pace: Pace,
        placed: impl Fn(&NodeId) -> bool,
    ) -> Option<Want> {
        let connected = self.connected?;
        let newest = self.positions.values().map(|position| position.tick).max()?;
        if newest.0 < connected.0.saturating_add(SILENT_TICKS) {
            return None;
        }
        let due = |mailbox: &NodeId| self.tails.get(mailbox).is_none_or(|tail| tail.asked < VAIN && tail.again <= now);
        let silent = self.positions.iter().filter(|(_, position)| (oldest..=connected).contains(&position.tick.next()));
        let (mailbox, first) = silent
            .map(|(mailbox, position)| (*mailbox, position.tick.next()))
            .find(|(mailbox, _)| due(mailbox) && placed(mailbox))?;
        let tail = self.tails.entry(mailbox).or_insert(Tail { asked: 0, again: now });
        tail.asked = tail.asked.saturating_add(1);
        tail.again = now + pace.of(WANT_AGAIN.saturating_mul(2u32.saturating_pow(tail.asked - 1)));
        Some(Want::digests(mailbox, first, newest.0.saturating_sub(first.0).saturating_add(1)))
    }

    /// Gaps whose digests the entry does not seem to have, each once: the mailbox, the first and the last tick.
    pub fn take_vain(&mut self, now: Timestamp, pace: Pace) -> Vec<(NodeId, Tick, Tick)> {
        if now < self.filled + pace.of(STILL) {
            return Vec::new();
        }
        let gaps = self.gaps.iter_mut().flat_map(|(mailbox, gaps)| gaps.iter_mut().map(|gap| (*mailbox, gap)));
        let vain = gaps.filter(|(_, gap)| gap.asked >= VAIN && gap.again <= now && !gap.by_sets);
        vain.map(|(mailbox, gap)| {
            gap.by_sets = true;
            (mailbox, gap.first, gap.last)
        })
        .collect()
    }

    /// True if a digest of the last day named this tag.
    pub fn has_named(&self, tag: &BoxTag) -> bool {
        self.namers(tag).next().is_some()
    }

    /// The mailboxes whose digests of the last day named this tag, the first to do so first.
    pub fn namers(&self, tag: &BoxTag) -> impl Iterator<Item = NodeId> {
        self.recent.range((*tag, Tick(0))..=(*tag, Tick(u32::MAX))).map(|(_, mailbox)| *mailbox)
    }

    /// Forgets tags older than `oldest`.
    pub fn forget_before(&mut self, oldest: Tick) {
        self.recent.retain(|(_, tick), _| *tick >= oldest);
        self.gaps.retain(|_, gaps| {
            gaps.retain(|gap| gap.last >= oldest);
            !gaps.is_empty()
        });
    }

    /// Gaps that are open.
    pub fn gaps(&self) -> usize {
        self.gaps.values().map(Vec::len).sum()
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
        digest::Digest,
        ids::{District, DocumentHash, NetworkId},
        primitives::SigningSecret,
    };

    const NOW: Timestamp = Timestamp::from_secs(1_000);
    const REAL: Pace = Pace(1);

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
        for (digest, news) in chain(5).iter().zip([News::First, News::Match, News::Match, News::Match, News::Match]) {
            assert_eq!(tracker.handle(NOW, digest, Tick(0), REAL), news);
        }
        assert_eq!(tracker.next_want(NOW, REAL), None);
    }

    #[test]
    fn a_missing_digest_is_asked_for_and_closes_the_gap_when_it_comes() {
        let digests = chain(4);
        let mut tracker = DigestTracker::default();
        tracker.handle(NOW, &digests[0], Tick(0), REAL);
        tracker.handle(NOW, &digests[3], Tick(0), REAL);
        let want = tracker.next_want(NOW, REAL).unwrap();
        assert_eq!((want.first, want.count), (3, 5));
        assert_eq!(tracker.next_want(NOW, REAL), None, "asked once, then time for the answer");
        assert_eq!(tracker.handle(NOW, &digests[2], Tick(0), REAL), News::Match);
        assert_eq!(tracker.gaps(), 1);
        assert_eq!(tracker.handle(NOW, &digests[1], Tick(0), REAL), News::Match);
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
        let want = tracker.next_want(NOW, REAL).unwrap();
        assert_eq!((want.first, want.count), (5, 5));
        assert_eq!(tracker.handle(NOW, &digests[3], Tick(0), REAL), News::Match);
        assert_eq!(tracker.handle(NOW, &digests[2], Tick(0), REAL), News::Match);
        assert_eq!(tracker.gaps(), 0);
    }

    /// A tracker that saw the digests of `chain` whose number `seen` accepts.
    fn seen(digests: &[SignedDigest], seen: impl Fn(usize) -> bool) -> DigestTracker {
        let mut tracker = DigestTracker::default();
        for (_, digest) in digests.iter().enumerate().filter(|(at, _)| seen(*at)) {
            tracker.handle(NOW, digest, Tick(0), REAL);
        }
        tracker
    }

    #[test]
    fn one_want_covers_all_gaps_that_lie_close_together() {
        let digests = chain(40);
        let mut tracker = seen(&digests, |at| at % 4 == 0 || at == 39);
        assert_eq!(tracker.gaps(), 10);
        let want = tracker.next_want(NOW, REAL).unwrap();
        assert_eq!((want.first, want.end()), (3, 80));
        assert_eq!(tracker.next_want(NOW, REAL), None);
        for digest in &digests {
            tracker.handle(NOW, digest, Tick(0), REAL);
        }
        assert_eq!(tracker.gaps(), 0);
    }

    #[test]
    fn gaps_far_apart_are_asked_for_one_by_one() {
        let digests = chain(200);
        let mut tracker = seen(&digests, |at| at != 10 && at != 190);
        let wants: Vec<_> = std::iter::from_fn(|| tracker.next_want(NOW, REAL)).collect();
        assert_eq!(wants.iter().map(|want| (want.first, want.count)).collect::<Vec<_>>(), [(21, 3), (381, 3)]);
    }

    #[test]
    fn more_gaps_than_are_kept_apart_become_one_and_none_is_given_up() {
        let digests = chain(400);
        let mut tracker = seen(&digests, |at| at % 2 == 0);
        assert_eq!(tracker.gaps(), GAPS_MAX);
        // Everything that was missing lies in some gap, and is matched when it comes.
        let mut asked = Vec::new();
        while let Some(want) = tracker.next_want(NOW, REAL) {
            asked.push(want.first..want.end());
        }
        for (at, digest) in digests.iter().enumerate().filter(|(at, _)| at % 2 == 1 && *at < 399) {
            assert!(asked.iter().any(|range| range.contains(&digest.digest().tick.0)), "{at} was not asked for");
            assert_eq!(tracker.handle(NOW, digest, Tick(0), REAL), News::Match, "{at}");
        }
        // What lies between joined gaps comes again with the answer, and closes them.
        for digest in &digests {
            tracker.handle(NOW, digest, Tick(0), REAL);
        }
        assert_eq!(tracker.gaps(), 0);
    }

    #[test]
    fn an_answer_that_is_coming_is_not_asked_for_again_and_waits_follow_the_networks_pace() {
        let digests = chain(10);
        let fast = Pace(8);
        let mut tracker = seen(&digests, |at| at == 0 || at == 9);
        assert!(tracker.next_want(NOW, fast).is_some());
        let wait = WANT_AGAIN / 8;
        assert_eq!(tracker.next_want(NOW + wait / 2, fast), None);
        tracker.handle(NOW + wait / 2, &digests[1], Tick(0), fast);
        assert_eq!(tracker.next_want(NOW + wait, fast), None, "the answer is coming");
        let want = tracker.next_want(NOW + wait * 3 / 2, fast).unwrap();
        assert_eq!(want.first, 5, "only what is still missing");
    }

    #[test]
    fn a_gap_that_was_asked_for_three_times_in_vain_is_given_to_the_sets_once() {
        let digests = chain(10);
        let mut tracker = seen(&digests, |at| at == 0 || at == 9);
        let minute = |minute: u32| NOW + Duration::from_secs(60) * minute;
        let mut given = Vec::new();
        for at in 0..100 {
            given.extend(tracker.take_vain(minute(at), REAL).into_iter().map(|gap| (at, gap)));
            tracker.next_want(minute(at), REAL);
            if at == 5 {
                tracker.handle(minute(5), &digests[1], Tick(0), REAL);
            }
        }
        let mailbox = digests[0].digest().mailbox;
        // What came in minute 5 was an answer: three askings from then on.
        assert_eq!(given, [(12, (mailbox, Tick(5), Tick(19)))]);
        assert_eq!(tracker.handle(minute(100), &digests[2], Tick(0), REAL), News::Match, "it may come all the same");
    }

    #[test]
    fn a_gap_is_asked_for_ever_more_slowly_and_forgotten_with_its_time() {
        let digests = chain(3);
        let mut tracker = DigestTracker::default();
        tracker.handle(NOW, &digests[0], Tick(0), REAL);
        tracker.handle(NOW, &digests[2], Tick(0), REAL);
        let asked = (0..600)
            .filter(|minute| tracker.next_want(NOW + Duration::from_secs(60) * *minute, REAL).is_some())
            .count();
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
            tracker.handle(NOW, &digests[0], Tick(0), REAL);
            let matched = order.iter().filter(|&&at| tracker.handle(NOW, &digests[at], Tick(0), REAL) == News::Match).count();
            prop_assert_eq!(matched, 11);
            let again = order.iter().filter(|&&at| tracker.handle(NOW, &digests[at], Tick(0), REAL) == News::Match).count();
            prop_assert_eq!(again, 0);
            prop_assert_eq!(tracker.gaps(), 0);
        }
    }
}
