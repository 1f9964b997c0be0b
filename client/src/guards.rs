//! The few nodes that a client stays with. Whoever uses another entry each time meets a hostile one sooner or later; whoever
//! stays with a few meets one with the probability that those few are hostile, once. The same for mixes in the middle layer:
//! with a fraction b of hostile mixes, the chance of ever using a route that is hostile throughout becomes 1 - (1 - b)^3
//! instead of 1. Pure.

use std::time::Duration;
use veilpost_packet::{
    codec::{DecodeError, Reader, Result, Writer},
    ids::NodeId,
    random::EngineRng,
    time::Timestamp,
};
use veilpost_pki::{Relay, topology};

/// Entries that a client stays with: the one it uses, and a backup.
pub const GUARDS: usize = 2;
/// Changes of guards in a month at most.
pub const CHANGES_MAX: usize = 2;
/// That month.
const MONTH: Duration = Duration::from_secs(30 * 86_400);
/// A guard that cannot be reached for this long is replaced, if the month still has a change.
const PATIENCE: Duration = Duration::from_secs(86_400);
/// Mixes of the middle layer that a client stays with.
pub const MIDDLE: usize = 3;
/// Width of layers from which on it does: in narrower ones, three are not few.
pub const MIDDLE_WIDTH: usize = 10;

/// The entries that a client stays with, best first.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Guards {
    chosen: Vec<NodeId>,
    /// When guards were replaced, at most the last [`CHANGES_MAX`].
    changes: Vec<Timestamp>,
    /// Since when the guards cannot be reached, in their order. Of this process alone.
    down: [Option<Timestamp>; GUARDS],
}

impl Guards {
    /// The guards, best first.
    pub fn chosen(&self) -> &[NodeId] {
        &self.chosen
    }

    /// True once both changes of the month are used up.
    pub fn is_spent(&self, now: Timestamp, hurry: u32) -> bool {
        let month = MONTH / hurry.max(1);
        self.changes.len() >= CHANGES_MAX && self.changes.iter().all(|change| now.since(*change) < month)
    }

    /// Fits the guards to the entries of a document. True if they changed.
    pub fn keep(&mut self, now: Timestamp, entries: &[Relay], hurry: u32, rng: &mut EngineRng) -> bool {
        let before = self.chosen.clone();
        let patience = PATIENCE / hurry.max(1);
        for at in (0..self.chosen.len()).rev() {
            let Some(guard) = self.chosen.get(at) else { continue };
            let listed = entries.iter().any(|entry| entry.id == *guard);
            let down = self.down.get(at).copied().flatten().is_some_and(|since| now.since(since) >= patience);
            // A guard that is gone sees nothing any more, but the one in its place would: it counts, too.
            if (listed && !down) || entries.len() < self.chosen.len() || self.is_spent(now, hurry) {
                continue;
            }
            if self.replacement(entries, rng).is_some() {
                self.chosen.remove(at);
                self.down = Default::default();
                self.note_change(now);
            }
        }
        while self.chosen.len() < GUARDS {
            let Some(new) = self.replacement(entries, rng) else { break };
            self.chosen.push(new);
        }
        // With no change left and no guard listed there would be no connection at all: safety has to yield to that.
        if !self.chosen.iter().any(|guard| entries.iter().any(|entry| entry.id == *guard))
            && let Some(new) = self.replacement(entries, rng)
        {
            self.chosen.pop();
            self.chosen.insert(0, new);
            self.note_change(now);
        }
        before != self.chosen
    }

    /// An entry that is no guard yet, of another family than the guards.
    fn replacement(&self, entries: &[Relay], rng: &mut EngineRng) -> Option<NodeId> {
        let guards: Vec<&Relay> = entries.iter().filter(|entry| self.chosen.contains(&entry.id)).collect();
        let related =
            |entry: &Relay| guards.iter().any(|guard| !entry.family.is_empty() && guard.family == entry.family);
        let free: Vec<Relay> =
            entries.iter().filter(|entry| !self.chosen.contains(&entry.id) && !related(entry)).cloned().collect();
        topology::weighted(rng, &free).map(|entry| entry.id)
    }

    /// Replies stay away from a guard: the next one takes its place, and a fresh entry that of the next. Where there is no fresh one the two
    /// change places. It counts as the other changes do; false if the month has none left, or there is no other guard.
    pub fn leave(
        &mut self,
        now: Timestamp,
        guard: &NodeId,
        entries: &[Relay],
        hurry: u32,
        rng: &mut EngineRng,
    ) -> bool {
        let Some(at) = self.chosen.iter().position(|chosen| chosen == guard) else { return false };
        if self.chosen.len() < 2 || self.is_spent(now, hurry) {
            return false;
        }
        let fresh = self.replacement(entries, rng);
        let left = self.chosen.remove(at);
        self.chosen.push(fresh.unwrap_or(left));
        self.down = Default::default();
        self.note_change(now);
        true
    }

    fn note_change(&mut self, now: Timestamp) {
        self.changes.push(now);
        if self.changes.len() > CHANGES_MAX {
            self.changes.remove(0);
        }
    }

    /// A guard could not be reached.
    pub fn handle_unreachable(&mut self, now: Timestamp, guard: &NodeId) {
        if let Some(at) = self.chosen.iter().position(|chosen| chosen == guard)
            && let Some(since) = self.down.get_mut(at)
        {
            since.get_or_insert(now);
        }
    }

    /// A guard was reached.
    pub fn handle_reached(&mut self, guard: &NodeId) {
        if let Some(at) = self.chosen.iter().position(|chosen| chosen == guard)
            && let Some(since) = self.down.get_mut(at)
        {
            *since = None;
        }
    }

    /// For the store.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::with_capacity(96);
        writer.u8(self.chosen.len() as u8);
        self.chosen.iter().for_each(|guard| {
            writer.put(guard.as_bytes());
        });
        writer.u8(self.changes.len() as u8);
        self.changes.iter().for_each(|change| {
            writer.u64(change.as_millis());
        });
        writer.finish()
    }

    /// From the store.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes);
        let count = usize::from(reader.u8()?);
        if count > GUARDS {
            return Err(DecodeError::TooLong("guards"));
        }
        let chosen = (0..count).map(|_| reader.array().map(NodeId)).collect::<Result<_>>()?;
        let count = usize::from(reader.u8()?);
        if count > CHANGES_MAX {
            return Err(DecodeError::TooLong("changes of guards"));
        }
        let changes = (0..count).map(|_| reader.u64().map(Timestamp::from_millis)).collect::<Result<_>>()?;
        reader.finish()?;
        Ok(Self { chosen, changes, down: Default::default() })
    }
}

/// Fits the mixes of the middle layer that a client stays with to a document's. True if they changed.
pub fn keep_middle(sticky: &mut Vec<NodeId>, layer: &[Relay], rng: &mut EngineRng) -> bool {
    let before = sticky.clone();
    if layer.len() < MIDDLE_WIDTH {
        // All are in use; what was chosen is kept for when the layer is wide again.
        return false;
    }
    sticky.retain(|id| layer.iter().any(|mix| mix.id == *id && mix.weight > 0));
    while sticky.len() < MIDDLE {
        let free: Vec<Relay> = layer.iter().filter(|mix| !sticky.contains(&mix.id)).cloned().collect();
        let Some(new) = topology::weighted(rng, &free) else { break };
        sticky.push(new.id);
    }
    before != *sticky
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use veilpost_packet::{ids::LinkKey, random::seeded, sphinx::SphinxPublic};

    const NOW: Timestamp = Timestamp::from_secs(1_000_000_000);
    const DAY: Duration = Duration::from_secs(86_400);

    fn relay(n: u8) -> Relay {
        Relay {
            id: NodeId([n; 32]),
            addresses: Vec::new(),
            onion: None,
            link_key: LinkKey([n; 32]),
            sphinx_key: SphinxPublic([n; 32]),
            next_sphinx_key: SphinxPublic([n; 32]),
            weight: 1,
            reliability: u8::MAX,
            family: String::new(),
        }
    }

    fn relays(range: std::ops::Range<u8>) -> Vec<Relay> {
        range.map(relay).collect()
    }

    #[test]
    fn guards_stay_while_entries_come_and_others_go() {
        let mut rng = seeded([1; 32]);
        let mut guards = Guards::default();
        assert!(guards.keep(NOW, &relays(1..9), 1, &mut rng));
        let chosen = guards.chosen().to_vec();
        assert_eq!(chosen.len(), GUARDS);
        for n in 9..60 {
            let entries: Vec<_> =
                relays(1..n).into_iter().filter(|entry| entry.id.0[0] < 9 || entry.id.0[0] > 20).collect();
            assert!(!guards.keep(NOW, &entries, 1, &mut rng));
        }
        assert_eq!(Guards::decode(&guards.encode()).unwrap().chosen(), chosen);
    }

    #[test]
    fn at_most_two_guards_change_in_a_month_and_in_the_next_month_again() {
        let mut rng = seeded([2; 32]);
        let mut guards = Guards::default();
        guards.keep(NOW, &relays(1..9), 1, &mut rng);
        let mut changes = 0;
        let mut now = NOW;
        // Guards are out of reach for ever, whichever they are.
        for _ in 0..58 {
            for guard in guards.chosen().to_vec() {
                guards.handle_unreachable(now, &guard);
            }
            now = now + DAY / 2;
            changes += usize::from(guards.keep(now, &relays(1..200), 1, &mut rng));
        }
        assert!(changes <= CHANGES_MAX && changes > 0, "{changes} changes in 29 days");
        for guard in guards.chosen().to_vec() {
            guards.handle_unreachable(now, &guard);
        }
        assert!(guards.keep(now + MONTH, &relays(1..200), 1, &mut rng));
    }

    #[test]
    fn a_guard_that_is_left_counts_as_a_change_and_two_a_month_are_all() {
        let mut rng = seeded([7; 32]);
        let (mut guards, entries) = (Guards::default(), relays(1..20));
        guards.keep(NOW, &entries, 1, &mut rng);
        let [first, second] = [guards.chosen()[0], guards.chosen()[1]];
        assert!(!guards.leave(NOW, &NodeId([99; 32]), &entries, 1, &mut rng), "no guard of ours");
        assert!(guards.leave(NOW, &first, &entries, 1, &mut rng));
        assert!(guards.chosen()[0] == second && !guards.chosen().contains(&first) && guards.chosen().len() == GUARDS);
        assert!(guards.leave(NOW + DAY, &second, &entries, 1, &mut rng));
        let kept = guards.clone();
        let third = guards.chosen()[0];
        assert!(!guards.leave(NOW + DAY * 2, &third, &entries, 1, &mut rng), "the month is used up");
        guards.handle_unreachable(NOW + DAY * 2, &third);
        assert!(!guards.keep(NOW + DAY * 4, &entries, 1, &mut rng), "for the other cause too");
        assert_eq!(guards.chosen(), kept.chosen());
        assert!(guards.leave(NOW + DAY * 32, &third, &entries, 1, &mut rng), "in the next month again");
    }

    #[test]
    fn with_two_entries_the_guards_change_places_and_with_one_nothing_changes() {
        let mut rng = seeded([8; 32]);
        let mut guards = Guards::default();
        guards.keep(NOW, &relays(1..3), 1, &mut rng);
        let [first, second] = [guards.chosen()[0], guards.chosen()[1]];
        assert!(guards.leave(NOW, &first, &relays(1..3), 1, &mut rng));
        assert_eq!(guards.chosen(), [second, first]);
        let mut alone = Guards::default();
        alone.keep(NOW, &relays(1..2), 1, &mut rng);
        assert!(!alone.leave(NOW, &NodeId([1; 32]), &relays(1..2), 1, &mut rng));
    }

    #[test]
    fn a_guard_that_is_reached_again_stays() {
        let mut rng = seeded([3; 32]);
        let mut guards = Guards::default();
        guards.keep(NOW, &relays(1..9), 1, &mut rng);
        let first = guards.chosen()[0];
        guards.handle_unreachable(NOW, &first);
        guards.handle_reached(&first);
        assert!(!guards.keep(NOW + DAY * 3, &relays(1..9), 1, &mut rng));
    }

    #[test]
    fn without_any_guard_in_the_document_there_is_a_new_one_although_the_month_is_used_up() {
        let mut rng = seeded([4; 32]);
        let mut guards = Guards::default();
        guards.keep(NOW, &relays(1..3), 1, &mut rng);
        guards.keep(NOW, &relays(10..12), 1, &mut rng);
        assert!(guards.is_spent(NOW, 1));
        guards.keep(NOW, &relays(20..30), 1, &mut rng);
        assert!(guards.chosen().iter().any(|guard| (20..30).contains(&guard.0[0])), "{guards:?}");
    }

    #[test]
    fn the_backup_is_of_another_family() {
        let family = |n: u8, family: &str| Relay { family: family.into(), ..relay(n) };
        for seed in 0..20 {
            let mut guards = Guards::default();
            let entries = [family(1, "a"), family(2, "a"), family(3, "b")];
            guards.keep(NOW, &entries, 1, &mut seeded([seed; 32]));
            assert!(guards.chosen().contains(&NodeId([3; 32])));
        }
    }

    #[test]
    fn one_entry_is_enough() {
        let mut guards = Guards::default();
        assert!(guards.keep(NOW, &relays(1..2), 1, &mut seeded([5; 32])));
        assert_eq!(guards.chosen(), [NodeId([1; 32])]);
    }

    #[test]
    fn three_middle_mixes_stay_once_the_layer_is_ten_wide() {
        let mut rng = seeded([6; 32]);
        let mut sticky = Vec::new();
        assert!(!keep_middle(&mut sticky, &relays(1..10), &mut rng), "nine");
        assert!(keep_middle(&mut sticky, &relays(1..11), &mut rng), "ten");
        let chosen = sticky.clone();
        assert_eq!(chosen.len(), MIDDLE);
        assert!(!keep_middle(&mut sticky, &relays(1..100), &mut rng));
        let without: Vec<_> = relays(1..100).into_iter().filter(|mix| mix.id != chosen[0]).collect();
        assert!(keep_middle(&mut sticky, &without, &mut rng));
        assert!(sticky.contains(&chosen[1]) && sticky.contains(&chosen[2]) && sticky.len() == MIDDLE);
    }
}
