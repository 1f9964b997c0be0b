//! What a contact's box of the day says, see `core::beacon`.
//!
//! ```text
//! version u8 = 2 | restarted u64 (ms) | number u32 | base u64 | next u64 | bits 128 | heard: number u32, next u64 | bundle 1,799
//! files u8 | (message id 16 | boxes u32) each | successor length u16 | successor
//! version u8 = 3 | sealed message, to the end: a restart, see `core::restarting`
//! ```
//! Bit k: position `next - 1 - k` waits. The form is the only one of its content: bit 0 is set unless nothing waits, and then
//! `next` is 0. Decoding is bounded, refuses trailing bytes and never panics.

use super::Uuid;
use crate::signal::Bundle;
use veilpost_packet::{
    boxes::BOX_CONTENT_MAX,
    codec::{DecodeError, Reader, Result, Writer},
};

/// Positions that a beacon tells of at most, back from the newest that waits.
pub const BITS: u64 = 1_024;
/// Files that a beacon tells of at most, the newest: the others' turn comes when those are delivered.
pub const FILES: usize = 16;
/// Longest successor: it fits beside everything but files.
pub const SUCCESSOR_MAX: usize = BOX_CONTENT_MAX - FIXED;

/// What a beacon says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beacon {
    /// When the conversation last began anew, as far as its writer knows, by the clock of who began it: milliseconds.
    pub restarted: u64,
    /// The newest stream of messages that its writer writes.
    pub number: u32,
    /// Position of its box 0.
    pub base: u64,
    /// Positions of boxes that wait on mailboxes, ascending.
    pub waiting: Vec<u64>,
    /// The newest stream of messages that its writer reads, and the index after the highest that it has seen there.
    pub heard: (u32, u64),
    /// A fresh set of prekeys, [`Bundle::LEN`] bytes.
    pub bundle: Vec<u8>,
    /// Of these messages' files all boxes below the number are on mailboxes.
    pub files: Vec<(Uuid, u32)>,
    /// Content of the box at position `base - 1`, which names the newest stream, until its reader has receipted it.
    pub successor: Option<Vec<u8>>,
}

impl Beacon {
    /// The content of a box. Positions too far back and files for which there is no room are left out; the rest is the caller's
    /// to keep within its bounds.
    pub fn encode(&self) -> Vec<u8> {
        let next = self.waiting.last().map_or(0, |highest| highest.saturating_add(1));
        let mut bits = [0u8; BITS as usize / 8];
        for back in self.waiting.iter().filter_map(|position| next.checked_sub(position.saturating_add(1))) {
            if let Some(byte) = usize::try_from(back / 8).ok().and_then(|at| bits.get_mut(at)) {
                *byte |= 1 << (back % 8);
            }
        }
        let successor = self.successor.as_deref().unwrap_or_default();
        let room = SUCCESSOR_MAX.saturating_sub(successor.len()) / FILE;
        let files = self.files.get(..self.files.len().min(FILES).min(room)).unwrap_or_default();
        let mut writer = Writer::with_capacity(BOX_CONTENT_MAX);
        writer.u8(VERSION).u64(self.restarted).u32(self.number).u64(self.base).u64(next).put(&bits);
        writer.u32(self.heard.0).u64(self.heard.1).put(&self.bundle).u8(files.len() as u8);
        for (uuid, boxes) in files {
            writer.put(&uuid.0).u32(*boxes);
        }
        writer.bytes16(successor);
        writer.finish()
    }

    /// Reads a box's content.
    ///
    /// # Errors
    /// If the bytes are not a beacon of this version in its only form.
    pub fn decode(content: &[u8]) -> Result<Self> {
        if content.len() > BOX_CONTENT_MAX {
            return Err(DecodeError::TooLong("beacon"));
        }
        let mut reader = Reader::new(content);
        if reader.u8()? != VERSION {
            return Err(DecodeError::Invalid("version"));
        }
        let restarted = reader.u64()?;
        let (number, base) = (reader.u32()?, reader.u64()?);
        let (next, bits) = (reader.u64()?, reader.array::<{ BITS as usize / 8 }>()?);
        let waiting = positions(next, &bits)?;
        let heard = (reader.u32()?, reader.u64()?);
        let bundle = reader.take(Bundle::LEN)?.to_vec();
        let count = usize::from(reader.u8()?);
        if count > FILES {
            return Err(DecodeError::TooLong("files of a beacon"));
        }
        let file = |reader: &mut Reader<'_>| Ok((Uuid(reader.array()?), reader.u32()?));
        let files = (0..count).map(|_| file(&mut reader)).collect::<Result<_>>()?;
        let successor = Some(reader.bytes16(SUCCESSOR_MAX, "successor")?.to_vec()).filter(|bytes| !bytes.is_empty());
        reader.finish()?;
        Ok(Self { restarted, number, base, waiting, heard, bundle, files, successor })
    }
}

/// The content of a box that holds a restart instead of a beacon.
pub fn restart(sealed: &[u8]) -> Vec<u8> {
    [&[RESTART], sealed].concat()
}

/// The sealed message of a restart, if this is one.
pub fn sealed_restart(content: &[u8]) -> Option<&[u8]> {
    content.strip_prefix(&[RESTART])
}

fn positions(next: u64, bits: &[u8; BITS as usize / 8]) -> Result<Vec<u64>> {
    let set = |back: &u64| bits.get((back / 8) as usize).is_some_and(|byte| byte & (1 << (back % 8)) != 0);
    if set(&0) != (next > 0) {
        return Err(DecodeError::Invalid("highest position"));
    }
    let position = |back: u64| next.checked_sub(back + 1).ok_or(DecodeError::Invalid("position"));
    (0..BITS).rev().filter(set).map(position).collect()
}

/// Version of the format.
const VERSION: u8 = 2;
/// Version of a restart.
const RESTART: u8 = 3;
/// Bytes of one file.
const FILE: usize = 16 + 4;
/// Bytes of a beacon without files and successor.
const FIXED: usize = 1 + 8 + 4 + 8 + 8 + BITS as usize / 8 + 4 + 8 + Bundle::LEN + 1 + 2;

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn beacon(waiting: Vec<u64>) -> Beacon {
        let files = vec![(Uuid([5; 16]), 7); FILES];
        Beacon {
            restarted: 2,
            number: 3,
            base: 4,
            waiting,
            heard: (5, 6),
            bundle: vec![9; Bundle::LEN],
            files,
            successor: None,
        }
    }

    fn any_beacon() -> impl Strategy<Value = Beacon> {
        let waiting = (0u64..u64::MAX - 2 * BITS, prop::collection::btree_set(0..BITS, 0..200));
        let waiting = waiting.prop_map(|(low, backs): (u64, BTreeSet<u64>)| backs.iter().map(|at| low + at).collect());
        let file = (any::<[u8; 16]>().prop_map(Uuid), any::<u32>());
        let successor = prop::option::of(prop::collection::vec(any::<u8>(), 1..1_000));
        let bundle = any::<u8>().prop_map(|byte| vec![byte; Bundle::LEN]);
        (
            any::<(u64, u32, u64)>(),
            waiting,
            any::<(u32, u64)>(),
            bundle,
            prop::collection::vec(file, 0..=FILES),
            successor,
        )
            .prop_map(|((restarted, number, base), waiting, heard, bundle, files, successor)| Beacon {
                restarted,
                number,
                base,
                waiting,
                heard,
                bundle,
                files,
                successor,
            })
    }

    proptest! {
        #[test]
        fn a_beacon_comes_out_as_it_went_in_and_fits_a_box(beacon in any_beacon()) {
            let bytes = beacon.encode();
            let (successor, files) = (beacon.successor.as_ref().map_or(0, Vec::len), beacon.files.len());
            prop_assert_eq!(bytes.len(), FIXED + files * FILE + successor);
            prop_assert!(bytes.len() <= BOX_CONTENT_MAX);
            prop_assert_eq!(Beacon::decode(&bytes).unwrap(), beacon);
        }

        #[test]
        fn any_bytes_are_read_without_a_panic_and_encode_to_themselves(
            mut bytes in prop::collection::vec(any::<u8>(), 0..300),
            at in any::<prop::sample::Index>(),
            flip in 1u8..,
            cut in 0usize..3_000,
        ) {
            let _ = Beacon::decode(&bytes);
            bytes.insert(0, VERSION);
            let _ = Beacon::decode(&bytes);
            let mut damaged = beacon(vec![7, 9, 600]).encode();
            let at = at.index(damaged.len());
            damaged[at] ^= flip;
            if let Ok(read) = Beacon::decode(&damaged) {
                prop_assert_eq!(read.encode(), &*damaged);
            }
            damaged.truncate(cut);
            let _ = Beacon::decode(&damaged);
        }
    }

    #[test]
    fn the_longest_successor_fits_and_leaves_no_room_for_files() {
        let longest = Beacon { successor: Some(vec![1; SUCCESSOR_MAX]), ..beacon(vec![1]) };
        let bytes = longest.encode();
        assert_eq!(bytes.len(), BOX_CONTENT_MAX);
        assert_eq!(Beacon::decode(&bytes).unwrap(), Beacon { files: Vec::new(), ..longest });
        let mut beyond = Beacon { successor: None, files: Vec::new(), ..beacon(vec![1]) }.encode();
        let length = beyond.len();
        beyond.truncate(length - 2);
        beyond.extend(u16::try_from(SUCCESSOR_MAX + 1).unwrap().to_be_bytes());
        beyond.extend(vec![1; SUCCESSOR_MAX + 1]);
        assert!(Beacon::decode(&beyond).is_err());
    }

    #[test]
    fn a_beacon_tells_of_1024_positions_and_16_files_and_not_one_more() {
        let told = |waiting| Beacon::decode(&beacon(waiting).encode()).unwrap().waiting;
        assert_eq!(told(vec![976, 1_997, 1_999]), [976, 1_997, 1_999]);
        assert_eq!(told(vec![975, 1_997, 1_999]), [1_997, 1_999]);
        assert_eq!(told(Vec::new()), [0u64; 0]);
        let many = Beacon { files: vec![(Uuid([1; 16]), 1); FILES + 1], ..beacon(Vec::new()) };
        assert_eq!(Beacon::decode(&many.encode()).unwrap().files.len(), FILES);
        let mut bytes = beacon(Vec::new()).encode();
        let count = FIXED - 3;
        assert_eq!(bytes[count], FILES as u8);
        bytes[count] = FILES as u8 + 1;
        bytes.splice(count + 1..count + 1, [0; FILE]);
        assert!(Beacon::decode(&bytes).is_err());
    }

    #[test]
    fn positions_below_zero_and_a_highest_one_that_does_not_wait_are_refused() {
        let mut bytes = beacon(vec![1]).encode();
        let bits = 1 + 8 + 4 + 8 + 8;
        bytes[bits] = 0b101;
        assert!(Beacon::decode(&bytes).is_err(), "two below the highest, which is 1");
        bytes[bits] = 0b11;
        assert_eq!(Beacon::decode(&bytes).unwrap().waiting, [0, 1]);
        bytes[bits] = 0b10;
        assert!(Beacon::decode(&bytes).is_err(), "the highest waits");
    }
}
