//! The sets that mailboxes have published, kept for clients that were away.

use super::digests::{AHEAD_TICKS, DigestRefused, is_mailbox};
use std::{collections::BTreeMap, fmt, sync::Arc};
use veilpost_packet::{
    frame::{Want, Wanted},
    geometry::SET_MAX,
    ids::{District, NodeId},
    set::{Period, SignedSet},
    time::{Day, Tick, Timestamp},
};
use veilpost_pki::{Documents, Params};

/// Hours of which sets are kept.
const HOURS: u32 = 25;

/// Sets by mailbox and period: of each the newest making. Bounded by periods and by bytes, the oldest days go first; and by the
/// mailboxes of the documents that are known.
pub struct SetCache {
    bound: usize,
    mailboxes: BTreeMap<NodeId, Kept>,
}

#[derive(Default)]
struct Kept {
    sets: BTreeMap<Period, Making>,
    bytes: usize,
}

struct Making {
    made: Tick,
    parts: BTreeMap<u16, Arc<[u8]>>,
    of: u16,
}

impl SetCache {
    /// An empty cache with at most `bound` bytes a mailbox (at least one part).
    pub fn new(bound: usize) -> Self {
        Self { bound: bound.max(SET_MAX), mailboxes: BTreeMap::new() }
    }

    /// Keeps a part that came over `from`'s link, in place of what was made before it.
    ///
    /// # Errors
    /// [`DigestRefused`]. A part of an older making than the one that is here is no error and not kept.
    pub fn insert(
        &mut self,
        now: Timestamp,
        documents: &Documents,
        from: &NodeId,
        signed: &SignedSet,
    ) -> Result<(), DigestRefused> {
        let (part, params) = (signed.part(), &documents.current(now).ok_or(DigestRefused::NotOurs)?.params);
        let head = part.head;
        let ours = head.mailbox == *from && is_mailbox(now, documents, &head.network, from);
        if !ours || head.district != District(0) {
            return Err(DigestRefused::NotOurs);
        }
        let ahead = Tick::at(now, params.tick).0.saturating_add(AHEAD_TICKS);
        if head.made.0 > ahead || !is_in_time(now, params, head.period) {
            return Err(DigestRefused::Tick);
        }
        let kept = self.mailboxes.entry(*from).or_default();
        match kept.sets.get(&head.period) {
            Some(known) if known.made > head.made => return Ok(()),
            Some(known) if known.made == head.made => {
                let same = known.of == part.parts
                    && known.parts.get(&part.part).is_none_or(|known| **known == *signed.as_bytes());
                if !same {
                    return Err(DigestRefused::Equivocation);
                }
            }
            _ => {
                kept.remove(&head.period);
                kept.sets.insert(head.period, Making { made: head.made, parts: BTreeMap::new(), of: part.parts });
            }
        }
        kept.add(head.period, part.part, signed.as_bytes().into());
        kept.trim(self.bound, |period| is_in_time(now, params, *period));
        Ok(())
    }

    /// The parts of the sets that a Want names, newest first; only of sets that are here whole.
    pub fn range(&self, want: &Want) -> impl Iterator<Item = &Arc<[u8]>> {
        let range = match want.what {
            Wanted::Digests => Period::Hour(0)..Period::Hour(0),
            Wanted::Hours => Period::Hour(want.first)..Period::Hour(want.end()),
            Wanted::Days => Period::Day(want.first)..Period::Day(want.end()),
        };
        let kept = self.mailboxes.get(&want.mailbox).into_iter();
        let sets = kept.flat_map(move |kept| kept.sets.range(range.clone()).rev());
        sets.filter(|(_, set)| set.parts.len() == usize::from(set.of)).flat_map(|(_, set)| set.parts.values())
    }

    /// Forgets the mailboxes that no known document lists or places boxes on. One that is away stays: who was away too has still to
    /// learn what it named.
    pub fn forget_others(&mut self, documents: &Documents) {
        self.mailboxes.retain(|id, _| documents.iter().any(|document| document.has_mailbox(id)));
    }
}

/// True for a period of which somebody may still want the set.
fn is_in_time(now: Timestamp, params: &Params, period: Period) -> bool {
    let hour = u32::try_from(now.periods(params.hour())).unwrap_or(u32::MAX);
    let today = Day::at(now, params.day).0;
    match period {
        Period::Hour(number) => (hour.saturating_sub(HOURS)..=hour).contains(&number),
        Period::Day(number) => (today.saturating_sub(params.box_days + 1)..=today.saturating_add(1)).contains(&number),
    }
}

impl Kept {
    fn add(&mut self, period: Period, part: u16, bytes: Arc<[u8]>) {
        let Some(set) = self.sets.get_mut(&period) else { return };
        self.bytes += bytes.len();
        if let Some(before) = set.parts.insert(part, bytes) {
            self.bytes -= before.len();
        }
    }

    fn remove(&mut self, period: &Period) {
        let gone = self.sets.remove(period);
        self.bytes -= gone.iter().flat_map(|set| set.parts.values()).map(|part| part.len()).sum::<usize>();
    }

    fn trim(&mut self, bound: usize, in_time: impl Fn(&Period) -> bool) {
        let old: Vec<_> = self.sets.keys().filter(|period| !in_time(period)).copied().collect();
        old.iter().for_each(|period| self.remove(period));
        while self.bytes > bound {
            let oldest = self.sets.range(Period::Day(0)..).next().or_else(|| self.sets.iter().next());
            let Some(oldest) = oldest.map(|(period, _)| *period) else { return };
            self.remove(&oldest);
        }
    }
}

impl fmt::Debug for SetCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SetCache").field("mailboxes", &self.mailboxes.len()).finish_non_exhaustive()
    }
}
