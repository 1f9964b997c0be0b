//! The digests of the last day, as their mailboxes signed them.

use std::{collections::BTreeMap, fmt, sync::Arc};
use veilpost_packet::{
    digest::SignedDigest,
    frame::Want,
    geometry::DIGEST_MAX,
    ids::{District, NetworkId, NodeId},
    time::{Tick, Timestamp},
};
use veilpost_pki::{Documents, Params, document::Place};

/// A digest of this many ticks ago is still relayed to every client unasked; older ones only on request.
const FRESH_TICKS: u32 = 16;
/// How far a mailbox's clock may be ahead of ours, in ticks.
pub(super) const AHEAD_TICKS: u32 = 2;
/// Digests that one Want yields at most, so that one frame does not cost an entry a day's history twice.
const WANT_MAX: usize = 32_768;

/// A digest was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DigestRefused {
    /// Another network's or mailbox's, or this node is no entry.
    #[error("not a digest or set of this link's mailbox in this network")]
    NotOurs,
    /// Older than the history, or of a tick that has not come.
    #[error("tick out of range")]
    Tick,
    /// Another digest of the same tick is here: the mailbox has signed two.
    #[error("a second digest of one tick")]
    Equivocation,
}

/// Raw digests by mailbox and tick. Bounded by the document's history and by bytes, the oldest go first; and by the mailboxes
/// of the documents that are known. What is here stays when a document follows another.
pub struct DigestCache {
    bound: usize,
    mailboxes: BTreeMap<NodeId, History>,
}

#[derive(Default)]
struct History {
    digests: BTreeMap<Tick, Arc<[u8]>>,
    bytes: usize,
}

impl DigestCache {
    /// An empty cache with at most `bound` bytes a mailbox (at least one digest).
    pub fn new(bound: usize) -> Self {
        Self { bound: bound.max(DIGEST_MAX), mailboxes: BTreeMap::new() }
    }

    /// Keeps a digest that came over `from`'s link. Returns its bytes if clients should get it unasked, `None` if it is old
    /// or known.
    ///
    /// # Errors
    /// [`DigestRefused`].
    pub fn insert(
        &mut self,
        now: Timestamp,
        documents: &Documents,
        from: &NodeId,
        signed: &SignedDigest,
    ) -> Result<Option<Arc<[u8]>>, DigestRefused> {
        let digest = signed.digest();
        let params = &documents.current(now).ok_or(DigestRefused::NotOurs)?.params;
        let ours = digest.mailbox == *from && is_mailbox(now, documents, &digest.network, from);
        if !ours || digest.district != District(0) {
            return Err(DigestRefused::NotOurs);
        }
        let (current, oldest) = window(now, params);
        let ahead = current.0.saturating_add(AHEAD_TICKS);
        if digest.tick < oldest || digest.tick.0 > ahead {
            return Err(DigestRefused::Tick);
        }
        let history = self.mailboxes.entry(*from).or_default();
        if let Some(known) = history.digests.get(&digest.tick) {
            return if **known == *signed.as_bytes() { Ok(None) } else { Err(DigestRefused::Equivocation) };
        }
        let bytes: Arc<[u8]> = signed.as_bytes().into();
        history.bytes += bytes.len();
        history.digests.insert(digest.tick, Arc::clone(&bytes));
        history.trim(oldest, self.bound);
        let fresh = digest.tick.0 >= current.0.saturating_sub(FRESH_TICKS);
        Ok(fresh.then_some(bytes))
    }

    /// The digests that a Want names, oldest first.
    pub fn range(&self, want: &Want) -> impl Iterator<Item = &Arc<[u8]>> {
        let end = Tick(want.end());
        let history = self.mailboxes.get(&want.mailbox);
        let range = history.into_iter().flat_map(move |history| history.digests.range(Tick(want.first)..));
        range.take_while(move |(tick, _)| **tick < end).map(|(_, digest)| digest).take(WANT_MAX)
    }

    /// What to ask a mailbox for: everything behind the newest digest that is here, or the whole history.
    pub fn want(&self, now: Timestamp, params: &Params, mailbox: &NodeId) -> Want {
        let (_, oldest) = window(now, params);
        let newest = self.mailboxes.get(mailbox).and_then(|history| history.digests.last_key_value());
        let first = newest.map_or(oldest, |(tick, _)| tick.next().max(oldest));
        Want::digests(*mailbox, first, u32::MAX)
    }

    /// Forgets the mailboxes that no known document lists or places boxes on. One that is away stays: who was away too has still to
    /// learn what it named.
    pub fn forget_others(&mut self, documents: &Documents) {
        self.mailboxes.retain(|id, _| documents.iter().any(|document| document.has_mailbox(id)));
    }
}

/// True if a live document of this network lists a mailbox.
pub(super) fn is_mailbox(now: Timestamp, documents: &Documents, network: &NetworkId, id: &NodeId) -> bool {
    let mut live = documents.live(now).filter(|document| document.network == *network);
    live.any(|document| document.relay(id).is_some_and(|(place, _)| place == Place::Mailbox))
}

/// The tick of `now` and the oldest that is kept.
fn window(now: Timestamp, params: &Params) -> (Tick, Tick) {
    (Tick::at(now, params.tick), Tick::at(now - params.digest_history, params.tick))
}

impl History {
    fn trim(&mut self, oldest: Tick, bound: usize) {
        while let Some(first) = self.digests.first_entry() {
            if *first.key() >= oldest && self.bytes <= bound {
                break;
            }
            self.bytes -= first.remove().len();
        }
    }
}

impl fmt::Debug for DigestCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DigestCache").field("mailboxes", &self.mailboxes.len()).finish_non_exhaustive()
    }
}
