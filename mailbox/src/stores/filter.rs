//! Which ids a bucket surely does not hold, in memory: a Put or Get asks up to 17 buckets, and all but one of them need no look at
//! the disk. A Bloom filter that grows by further ones of double size.

use std::hash::{BuildHasher as _, RandomState};
use veilpost_packet::ids::BoxId;

/// Ids that the first part takes; each later part takes twice as many as the one before.
const FIRST: usize = 1_024;
/// Bits for each id, and bits set for each: one look in four hundred is made for nothing. Three bytes of memory for a box at most,
/// once parts that double are counted in.
const BITS: usize = 16;
const PROBES: u64 = 4;

/// Ids that were added, and a few that were not.
#[derive(Debug, Default)]
pub(super) struct Filter {
    /// Drawn for each process: nobody can choose ids that the filter takes for each other.
    hasher: RandomState,
    parts: Vec<Part>,
}

#[derive(Debug)]
struct Part {
    bits: Vec<u64>,
    room: usize,
}

impl Part {
    fn new(ids: usize) -> Self {
        Self { bits: vec![0; ids * BITS / 64], room: ids }
    }

    /// The word and the bit in it, for each probe.
    fn places(&self, hash: u64) -> impl Iterator<Item = (usize, u64)> + use<> {
        let bits = self.bits.len() as u64 * 64;
        // An odd step: all probes differ, since the size is a power of two.
        let (start, step) = (hash, (hash >> 32) | 1);
        (0..PROBES).map(move |n| {
            let bit = start.wrapping_add(step.wrapping_mul(n)) % bits;
            ((bit / 64) as usize, 1 << (bit % 64))
        })
    }

    fn has(&self, hash: u64) -> bool {
        self.places(hash).all(|(word, bit)| self.bits.get(word).is_some_and(|word| word & bit != 0))
    }
}

impl Filter {
    /// Adds an id.
    pub(super) fn add(&mut self, id: &BoxId) {
        let hash = self.hasher.hash_one(id);
        if self.parts.iter().any(|part| part.has(hash)) {
            return;
        }
        if self.parts.last().is_none_or(|part| part.room == 0) {
            let ids = FIRST << self.parts.len().min(24);
            self.parts.push(Part::new(ids));
        }
        if let Some(part) = self.parts.last_mut() {
            for (word, bit) in part.places(hash) {
                if let Some(word) = part.bits.get_mut(word) {
                    *word |= bit;
                }
            }
            part.room -= 1;
        }
    }

    /// False if the id was surely never added.
    pub(super) fn may_have(&self, id: &BoxId) -> bool {
        let hash = self.hasher.hash_one(id);
        self.parts.iter().any(|part| part.has(hash))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u32) -> BoxId {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&n.to_be_bytes());
        BoxId(bytes)
    }

    #[test]
    fn what_was_added_is_found_and_of_the_rest_nearly_nothing() {
        let mut filter = Filter::default();
        assert!(!filter.may_have(&id(0)));
        (0..100_000).for_each(|n| filter.add(&id(n)));
        assert!((0..100_000).all(|n| filter.may_have(&id(n))));
        let wrong = (100_000..200_000).filter(|n| filter.may_have(&id(*n))).count();
        assert!(wrong < 2_000, "{wrong} of 100000");
    }

    #[test]
    fn a_hundred_thousand_ids_take_less_than_half_a_megabyte() {
        let mut filter = Filter::default();
        (0..100_000).for_each(|n| filter.add(&id(n)));
        (0..100_000).for_each(|n| filter.add(&id(n)));
        let bytes: usize = filter.parts.iter().map(|part| part.bits.len() * 8).sum();
        assert!(bytes < 500_000, "{bytes}");
    }
}
