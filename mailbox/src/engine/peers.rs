//! The other mailboxes as this one sees them: what waits for each, the Poisson clock of the link to it, whether it is heard.
//!
//! A frame leaves at each tick of a link's clock, whether there is something to say or not; all frames look alike. So a watcher of
//! these links sees neither writes nor reads. Who sends nothing for [`SILENT_GAPS`] gaps is taken for dead: a hung process keeps
//! its link open.

use crate::store::StoreId;
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};
use veilpost_packet::{
    digest::SignedDigest,
    frame::{Frame, RecordCutter, RecordJoiner},
    geometry::DIGEST_MAX,
    ids::NodeId,
    peer::{PeerBody, PeerItem, PlacementHash},
    random::{EngineRng, exponential},
    time::Timestamp,
};

/// Copies that wait for one mailbox: 3.7 MB.
pub const COPIES_MAX: usize = 1_024;
/// Other items that wait for one mailbox: 1.2 MB at most.
pub const ITEMS_MAX: usize = 8_192;
/// Bytes of digests that wait for one mailbox. What does not fit it does not see published, and publishes itself.
const DIGESTS_MAX: usize = 1 << 20;
/// Bytes of each frame that copies and small items leave to digests.
const PIECE_RESERVE: usize = 256;
/// Mean gaps of the link's clock without any frame after which a mailbox is taken for dead: e^-30 for one that is alive.
const SILENT_GAPS: u32 = 30;
/// And this long at least.
const SILENT_MIN: Duration = Duration::from_secs(1);
/// A clock that is further behind than this starts anew: nobody wants a burst after a pause.
const BEHIND_MAX: Duration = Duration::from_secs(1);
/// Time that goes back by more than this was set back; less is waited for.
const SET_BACK: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct Peer {
    up: bool,
    heard: Timestamp,
    reachable: bool,
    /// Its tenure, its placement set, and whether it has gone through its boxes under it.
    state: Option<(StoreId, PlacementHash, bool)>,
    copies: VecDeque<PeerItem>,
    items: VecDeque<PeerItem>,
    digests: RecordCutter,
    joiner: RecordJoiner,
    next_frame: Timestamp,
}

impl Peer {
    fn new(now: Timestamp, up: bool) -> Self {
        Self {
            up,
            heard: now,
            reachable: false,
            state: None,
            copies: VecDeque::new(),
            items: VecDeque::new(),
            digests: RecordCutter::default(),
            joiner: RecordJoiner::new(DIGEST_MAX),
            next_frame: now,
        }
    }

    fn fill(&mut self) -> Frame {
        let mut body = PeerBody::default();
        if let Some(copy) = self.copies.pop_front() {
            body.push(copy);
        }
        let reserve = if self.digests.queued() > 0 { PIECE_RESERVE } else { 0 };
        while let Some(item) = self.items.front()
            && item.size() + reserve <= body.room()
            && let Some(item) = self.items.pop_front()
        {
            body.push(item);
        }
        if let Some(piece) = self.digests.next_segment(body.room_for_piece()) {
            body.push(PeerItem::Piece(piece));
        }
        body.to_frame()
    }
}

/// All other mailboxes of the live documents.
#[derive(Debug, Default)]
pub(super) struct Peers {
    peers: BTreeMap<NodeId, Peer>,
    /// Our links that are up; one may be before the document that lists its mailbox is in force. Bounded by what we dial.
    links: BTreeSet<NodeId>,
    /// Items that a full queue dropped.
    dropped: u64,
    /// The latest time that a poll for frames brought.
    polled: Timestamp,
}

impl Peers {
    /// Follows the documents: others are forgotten.
    pub(super) fn follow(&mut self, now: Timestamp, listed: &BTreeSet<NodeId>) {
        self.peers.retain(|id, _| listed.contains(id));
        for id in listed {
            let up = self.links.contains(id);
            self.peers.entry(*id).or_insert_with(|| Peer::new(now, up));
        }
    }

    /// Our link to it came up or went down. What waited is lost with the link or too old.
    pub(super) fn link(&mut self, now: Timestamp, id: &NodeId, up: bool) {
        if up {
            self.links.insert(*id);
        } else {
            self.links.remove(id);
        }
        let Some(peer) = self.peers.get_mut(id) else { return };
        peer.up = up;
        peer.copies.clear();
        peer.items.clear();
        peer.digests = RecordCutter::default();
        peer.next_frame = now;
        if up {
            peer.heard = peer.heard.max(now);
        }
    }

    /// Its link to us is new: its stream of digests begins at a record's border.
    pub(super) fn arrived(&mut self, id: &NodeId) {
        if let Some(peer) = self.peers.get_mut(id) {
            peer.joiner = RecordJoiner::new(DIGEST_MAX);
        }
    }

    /// A frame came from it.
    pub(super) fn heard(&mut self, now: Timestamp, id: &NodeId) {
        if let Some(peer) = self.peers.get_mut(id) {
            peer.heard = now;
        }
    }

    /// Who has become reachable since the last look. Call it often.
    pub(super) fn look(&mut self, now: Timestamp, gap: Duration) -> Vec<NodeId> {
        let patience = (gap * SILENT_GAPS).max(SILENT_MIN);
        let mut news = Vec::new();
        for (id, peer) in &mut self.peers {
            let reachable = peer.up && now.since(peer.heard) <= patience;
            if reachable && !peer.reachable {
                news.push(*id);
            }
            peer.reachable = reachable;
        }
        news
    }

    pub(super) fn is_listed(&self, id: &NodeId) -> bool {
        self.peers.contains_key(id)
    }

    pub(super) fn is_reachable(&self, id: &NodeId) -> bool {
        self.peers.get(id).is_some_and(|peer| peer.reachable)
    }

    /// True if what this mailbox said in that tenure still holds: nothing else is known of it, and it places boxes as we do.
    pub(super) fn stands_by(&self, id: &NodeId, tenure: StoreId, placement: PlacementHash) -> bool {
        let state = self.peers.get(id).and_then(|peer| peer.state);
        state.is_none_or(|(now, under, _)| now == tenure && under == placement)
    }

    /// True if it has said how it stands.
    pub(super) fn has_spoken(&self, id: &NodeId) -> bool {
        self.peers.get(id).is_some_and(|peer| peer.state.is_some())
    }

    /// How it stands. True if its tenure is another than before: what it said before does not hold any more.
    pub(super) fn state(&mut self, id: &NodeId, tenure: StoreId, placement: PlacementHash, swept: bool) -> bool {
        let Some(peer) = self.peers.get_mut(id) else { return false };
        peer.state.replace((tenure, placement, swept)).is_none_or(|(before, ..)| before != tenure)
    }

    /// True if every listed mailbox of a set has gone through its boxes under this placement.
    pub(super) fn all_swept(&self, placement: PlacementHash) -> bool {
        self.peers.values().all(|peer| matches!(peer.state, Some((_, under, true)) if under == placement))
    }

    /// Queues an item; false if it was dropped because too many wait or the link is down.
    pub(super) fn tell(&mut self, to: &NodeId, item: PeerItem) -> bool {
        let Some(peer) = self.peers.get_mut(to).filter(|peer| peer.up) else { return false };
        let (queue, most) = match item {
            PeerItem::Copy(_) => (&mut peer.copies, COPIES_MAX),
            _ => (&mut peer.items, ITEMS_MAX),
        };
        if queue.len() >= most {
            self.dropped += 1;
            return false;
        }
        queue.push_back(item);
        true
    }

    /// Copies and items that wait for one, against what may wait: 0 to 1.
    pub(super) fn load(&self, id: &NodeId) -> f64 {
        self.peers.get(id).map_or(0.0, |peer| {
            (peer.copies.len() as f64 / COPIES_MAX as f64).max(peer.items.len() as f64 / ITEMS_MAX as f64)
        })
    }

    pub(super) fn publish(&mut self, digest: &SignedDigest) {
        let bytes: Arc<[u8]> = digest.as_bytes().into();
        for peer in self.peers.values_mut().filter(|peer| peer.up && peer.digests.queued() < DIGESTS_MAX) {
            peer.digests.push(bytes.clone());
        }
    }

    /// Digests that a piece completes. Nothing if the stream is lost until its link is new.
    pub(super) fn piece(&mut self, from: &NodeId, piece: &[u8]) -> Vec<Vec<u8>> {
        self.peers.get_mut(from).and_then(|peer| peer.joiner.push_bytes(piece).ok()).unwrap_or_default()
    }

    /// The next frame whose link's clock has struck.
    pub(super) fn poll_frame(&mut self, now: Timestamp, gap: Duration, rng: &mut EngineRng) -> Option<(NodeId, Frame)> {
        if now + SET_BACK < self.polled {
            // Else the next frame would be as far away as the clock jumped. An exponential wait has no memory, so nobody can tell.
            self.peers.values_mut().for_each(|peer| peer.next_frame = now + exponential(rng, gap));
        }
        self.polled = now;
        let due = self.peers.iter_mut().filter(|(_, peer)| peer.up && peer.next_frame <= now);
        let (id, peer) = due.min_by_key(|(_, peer)| peer.next_frame)?;
        let from = if now.since(peer.next_frame) > BEHIND_MAX { now } else { peer.next_frame };
        peer.next_frame = from + exponential(rng, gap);
        Some((*id, peer.fill()))
    }

    pub(super) fn next_wake(&self) -> Option<Timestamp> {
        self.peers.values().filter(|peer| peer.up).map(|peer| peer.next_frame).min()
    }

    /// Others that are reachable, and that there are.
    pub(super) fn count(&self) -> (usize, usize) {
        (self.peers.values().filter(|peer| peer.reachable).count(), self.peers.len())
    }

    /// Items that full queues dropped.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use veilpost_packet::random::seeded;

    #[test]
    fn a_clock_that_is_set_makes_neither_a_burst_nor_a_silence_between_mailboxes() {
        let (gap, start) = (Duration::from_millis(100), Timestamp::from_secs(1_000_000));
        let (other, mut rng, mut peers) = (NodeId([7; 32]), seeded([1; 32]), Peers::default());
        peers.follow(start, &BTreeSet::from([other]));
        peers.link(start, &other, true);
        let mut frames_in_a_minute = |from: Timestamp| {
            let (mut now, mut frames) = (from, 0);
            while now < from + Duration::from_secs(60) {
                while peers.poll_frame(now, gap, &mut rng).is_some() {
                    frames += 1;
                }
                now = peers.next_wake().unwrap().max(now + Duration::from_millis(1));
            }
            frames
        };
        let hours = Duration::from_secs(7_200);
        let sleep = start + hours * 3;
        for from in [start, start - hours, start - hours - Duration::from_secs(90), sleep] {
            // 600 expected, standard deviation 24.
            let frames = frames_in_a_minute(from);
            assert!((450..750).contains(&frames), "{frames} from {from:?}");
        }
    }
}
