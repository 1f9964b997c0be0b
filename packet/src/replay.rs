//! Which packets a node has seen in an epoch: short keyed tags in a table of fixed size.
//!
//! A packet's replay tag comes from its shared secret, so whoever built the packet knows it. Shortened to 8 bytes without a
//! key, somebody could build packets that collide in the table with others (or pile up in one place of it); hence the
//! node's own key, which lives and dies with the epoch. Two honest packets collide with probability n^2 / 2^65: at 10^8
//! packets in an epoch one in 3,700 epochs loses one packet, which its sender repeats as any other loss.

use hkdf::hmac::{Hmac, Mac};
use sha2::Sha256;
use std::fmt;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Bytes of a short tag.
pub const TAG: usize = 8;
/// Most tags that a table is made for (2^28: 4 GiB of memory), so that a wrong number in a document cannot eat the machine.
pub const CAPACITY_MAX: usize = 1 << 28;

/// The secret that shortens an epoch's tags. Wiped on drop, never printed.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct TagKey([u8; 32]);

impl TagKey {
    /// From 32 secret random bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes, for the file that holds key and tags together.
    pub fn dangerously_expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// HMAC-SHA256 of the packet's replay tag, cut to 8 bytes.
    pub fn shorten(&self, replay_tag: &[u8]) -> Tag {
        let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        mac.update(b"veilpost replay tag v1");
        mac.update(replay_tag);
        let full = mac.finalize().into_bytes();
        let short = full.first_chunk().copied().unwrap_or_default();
        Tag::from_bytes(short)
    }
}

impl fmt::Debug for TagKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TagKey(..)")
    }
}

/// A short tag; never zero, which marks a free place (a zero is read as one, which costs nothing at 2^-64).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(u64);

impl Tag {
    /// From the bytes of [`Tag::to_bytes`].
    pub fn from_bytes(bytes: [u8; TAG]) -> Self {
        Self(u64::from_be_bytes(bytes).max(1))
    }

    /// Eight bytes.
    pub fn to_bytes(self) -> [u8; TAG] {
        self.0.to_be_bytes()
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tag(..)")
    }
}

/// Why a tag was not taken. Either way the packet must be dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TagRefused {
    /// The tag is in the table: a replay.
    #[error("seen before")]
    Seen,
    /// The table is at its bound. Full means closed: a node that cannot remember must not forward.
    #[error("the replay table is full")]
    Full,
}

/// Places of a new table; it doubles on the way to its capacity, since random tags touch all of its memory soon.
const FIRST_PLACES: usize = 1 << 14;

/// The tags of one epoch: an open-addressing table of fixed capacity, 8 bytes a place, at most three quarters used.
pub struct TagTable {
    places: Vec<u64>,
    used: usize,
    capacity: usize,
}

impl TagTable {
    /// Room for `capacity` tags (at least 1, at most [`CAPACITY_MAX`]). The caller sizes it for what its links can carry in
    /// an epoch, not for what is usual: senders decide what comes.
    pub fn new(capacity: usize) -> Self {
        let capacity = capacity.clamp(1, CAPACITY_MAX);
        Self { places: vec![0; places_for(capacity).min(FIRST_PLACES)], used: 0, capacity }
    }

    /// Remembers a tag.
    ///
    /// # Errors
    /// [`TagRefused::Seen`] if it is there already, [`TagRefused::Full`] if there is no room for another.
    pub fn check_and_insert(&mut self, tag: Tag) -> Result<(), TagRefused> {
        let full = self.used >= self.capacity || !self.make_room();
        match self.place(tag) {
            Some(place) if *place == tag.0 => Err(TagRefused::Seen),
            Some(place) if !full => {
                *place = tag.0;
                self.used += 1;
                Ok(())
            }
            _ => Err(TagRefused::Full),
        }
    }

    /// Tags in the table.
    pub fn len(&self) -> usize {
        self.used
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// Tags that it holds at most.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Lets the table hold more, at most [`CAPACITY_MAX`]; never less than before.
    pub fn raise_capacity(&mut self, capacity: usize) {
        self.capacity = capacity.min(CAPACITY_MAX).max(self.capacity);
    }

    /// Bytes of memory that the table takes: 11 to 22 for a tag, as it doubles when three quarters are used.
    pub fn memory(&self) -> usize {
        self.places.len() * TAG
    }

    /// Keeps at least a quarter of the places free, below the bound that the capacity sets. False if there is no memory.
    fn make_room(&mut self) -> bool {
        let wanted = (self.places.len() * 2).min(places_for(self.capacity));
        if self.used < self.places.len() / 4 * 3 || wanted <= self.places.len() {
            return true;
        }
        let mut larger = Vec::new();
        if larger.try_reserve_exact(wanted).is_err() {
            return false;
        }
        larger.resize(wanted, 0);
        let old = std::mem::replace(&mut self.places, larger);
        for held in old.into_iter().filter(|&held| held != 0) {
            if let Some(place) = self.place(Tag(held)) {
                *place = held;
            }
        }
        true
    }

    /// The place that holds `tag`, or the free one where it belongs. Linear probing from the tag's own low bits: tags are
    /// outputs of a keyed hash, so nobody outside can aim at a place.
    fn place(&mut self, tag: Tag) -> Option<&mut u64> {
        let mask = self.places.len() - 1;
        let start = tag.0 as usize & mask;
        let index = (0..self.places.len())
            .map(|step| (start + step) & mask)
            .find(|&index| self.places.get(index).is_some_and(|&held| held == 0 || held == tag.0))?;
        self.places.get_mut(index)
    }
}

/// Places of a table for `capacity` tags that is at most three quarters used.
fn places_for(capacity: usize) -> usize {
    (capacity + capacity / 3 + 1).next_power_of_two()
}

impl fmt::Debug for TagTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TagTable").field("used", &self.used).field("capacity", &self.capacity).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn tag(value: u64) -> Tag {
        Tag::from_bytes(value.to_be_bytes())
    }

    #[test]
    fn a_tag_is_taken_once() {
        let mut table = TagTable::new(10);
        assert_eq!(table.check_and_insert(tag(5)), Ok(()));
        assert_eq!(table.check_and_insert(tag(5)), Err(TagRefused::Seen));
        assert_eq!(table.len(), 1);
    }

    #[test]
    fn a_full_table_refuses_what_is_new_and_still_knows_what_it_saw() {
        for capacity in [1, 2, 3, 4, 7, 100] {
            let mut table = TagTable::new(capacity);
            for value in 1..=capacity as u64 {
                assert_eq!(table.check_and_insert(tag(value)), Ok(()));
            }
            assert_eq!(table.check_and_insert(tag(1_000)), Err(TagRefused::Full));
            for value in 1..=capacity as u64 {
                assert_eq!(table.check_and_insert(tag(value)), Err(TagRefused::Seen));
            }
            assert_eq!(table.len(), capacity);
        }
    }

    #[test]
    fn tags_that_want_one_place_do_not_lose_each_other() {
        let mut table = TagTable::new(50);
        for value in 1..=50_u64 {
            assert_eq!(table.check_and_insert(tag(value << 32 | 1)), Ok(()));
        }
        for value in 1..=50_u64 {
            assert_eq!(table.check_and_insert(tag(value << 32 | 1)), Err(TagRefused::Seen));
        }
    }

    #[test]
    fn a_table_that_grows_forgets_nothing_and_keeps_its_bound() {
        let capacity = 5 * FIRST_PLACES;
        let mut table = TagTable::new(capacity);
        let spread = |value: u64| tag(value.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        for value in 1..=capacity as u64 {
            assert_eq!(table.check_and_insert(spread(value)), Ok(()));
        }
        assert_eq!(table.check_and_insert(spread(capacity as u64 + 1)), Err(TagRefused::Full));
        assert!((1..=capacity as u64).all(|value| table.check_and_insert(spread(value)) == Err(TagRefused::Seen)));
    }

    #[test]
    fn a_raised_capacity_opens_a_full_table_again_and_is_never_lowered() {
        let mut table = TagTable::new(3);
        let take = |table: &mut TagTable, values: std::ops::Range<u64>| {
            values.map(|value| table.check_and_insert(tag(value))).filter(Result::is_ok).count()
        };
        assert_eq!(take(&mut table, 1..10), 3);
        table.raise_capacity(7);
        assert_eq!((take(&mut table, 1..20), table.len()), (4, 7));
        table.raise_capacity(2);
        assert_eq!(table.capacity(), 7);
        table.raise_capacity(usize::MAX);
        assert_eq!(table.capacity(), CAPACITY_MAX);
    }

    #[test]
    fn a_tag_takes_22_bytes_of_memory_at_most_once_the_table_has_grown() {
        let mut table = TagTable::new(1 << 20);
        for value in 1..=1_000_000_u64 {
            table.check_and_insert(tag(value.wrapping_mul(0x9E37_79B9_7F4A_7C15))).unwrap();
            let used = table.len();
            assert!(used <= FIRST_PLACES || table.memory() <= 22 * used, "{used}");
        }
    }

    #[test]
    fn the_zero_tag_is_a_tag_like_others() {
        let mut table = TagTable::new(2);
        assert_eq!(table.check_and_insert(tag(0)), Ok(()));
        assert_eq!(table.check_and_insert(tag(0)), Err(TagRefused::Seen));
    }

    #[test]
    fn another_key_gives_other_tags_and_the_key_is_not_printed() {
        let (one, other) = (TagKey::new([1; 32]), TagKey::new([2; 32]));
        assert_eq!(one.shorten(b"packet"), one.shorten(b"packet"));
        assert_ne!(one.shorten(b"packet"), other.shorten(b"packet"));
        assert_ne!(one.shorten(b"packet"), one.shorten(b"other packet"));
        assert_eq!(format!("{one:?}"), "TagKey(..)");
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_set(values in proptest::collection::vec(0_u64..40, 0..200), capacity in 1_usize..30) {
            let mut table = TagTable::new(capacity);
            let mut set = std::collections::BTreeSet::new();
            for value in values {
                // The zero tag is read as one.
                let (tag, value) = (tag(value), value.max(1));
                let expected = if set.contains(&value) {
                    Err(TagRefused::Seen)
                } else if set.len() == capacity {
                    Err(TagRefused::Full)
                } else {
                    set.insert(value);
                    Ok(())
                };
                prop_assert_eq!(table.check_and_insert(tag), expected);
            }
        }
    }
}
