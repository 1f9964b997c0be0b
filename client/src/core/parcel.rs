//! How sealed messages lie in boxes.
//!
//! ```text
//! payload = (length u32 | sealed message) one or more times
//! box     = part u8 | parts u8 | its piece of the payload
//! ```
//! A message longer than a box is sealed once and its bytes are split over consecutive boxes. Small messages that are due
//! for the same reader (receipts) ride in the same payload.

use veilpost_packet::{
    boxes::BOX_CONTENT_MAX,
    codec::{DecodeError, Reader, Result, Writer},
};

/// Bytes of a payload that one box carries.
pub(super) const PIECE: usize = BOX_CONTENT_MAX - 2;
/// Boxes of one payload at most: the longest text, its session overhead and receipts.
pub(super) const PARTS_MAX: usize = 24;
/// Sealed messages of one payload at most.
const MESSAGES_MAX: usize = 8;

/// The payload that holds these sealed messages.
pub(super) fn join(sealed: &[Vec<u8>]) -> Vec<u8> {
    let mut writer = Writer::with_capacity(sealed.iter().map(|one| one.len() + 4).sum());
    for one in sealed {
        writer.u32(u32::try_from(one.len()).unwrap_or(u32::MAX)).put(one);
    }
    writer.finish()
}

/// Boxes that a payload of so many bytes takes.
pub(super) fn boxes_for(payload: usize) -> usize {
    payload.div_ceil(PIECE).max(1)
}

/// Splits a payload into the contents of consecutive boxes.
///
/// # Errors
/// [`DecodeError::TooLong`] above [`PARTS_MAX`] boxes.
pub(super) fn split(payload: &[u8]) -> Result<Vec<Vec<u8>>> {
    let parts = boxes_for(payload.len());
    if parts > PARTS_MAX {
        return Err(DecodeError::TooLong("message"));
    }
    let content = |(part, piece): (usize, &[u8])| {
        let mut writer = Writer::with_capacity(2 + piece.len());
        writer.u8(part as u8).u8(parts as u8).put(piece);
        writer.finish()
    };
    Ok(payload.chunks(PIECE).enumerate().map(content).collect())
}

/// One box's piece of a payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Piece<'a> {
    /// Its number, from 0.
    pub part: u8,
    /// How many there are.
    pub parts: u8,
    /// The bytes.
    pub bytes: &'a [u8],
}

impl<'a> Piece<'a> {
    /// Reads a box's content.
    pub(super) fn read(content: &'a [u8]) -> Result<Self> {
        let mut reader = Reader::new(content);
        let (part, parts) = (reader.u8()?, reader.u8()?);
        if part >= parts || usize::from(parts) > PARTS_MAX {
            return Err(DecodeError::Invalid("part number"));
        }
        Ok(Self { part, parts, bytes: reader.rest() })
    }
}

/// The sealed messages of a whole payload.
pub(super) fn messages(payload: &[u8]) -> Result<Vec<Vec<u8>>> {
    let mut reader = Reader::new(payload);
    let mut messages = Vec::new();
    while reader.remaining() > 0 {
        if messages.len() == MESSAGES_MAX {
            return Err(DecodeError::TooLong("messages of a box"));
        }
        let length = reader.count(PARTS_MAX * PIECE, "message")?;
        messages.push(reader.take(length)?.to_vec());
    }
    if messages.is_empty() { Err(DecodeError::Truncated) } else { Ok(messages) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_split_over_boxes_comes_back_whole(lengths in proptest::collection::vec(0usize..20_000, 1..4)) {
            let sealed: Vec<Vec<u8>> = lengths.iter().map(|&length| vec![7; length]).collect();
            let contents = split(&join(&sealed)).unwrap();
            let mut payload = Vec::new();
            for (number, content) in contents.iter().enumerate() {
                prop_assert!(content.len() <= BOX_CONTENT_MAX);
                let piece = Piece::read(content).unwrap();
                prop_assert_eq!((usize::from(piece.part), usize::from(piece.parts)), (number, contents.len()));
                payload.extend_from_slice(piece.bytes);
            }
            prop_assert_eq!(messages(&payload).unwrap(), sealed);
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Piece::read(&bytes);
            let _ = messages(&bytes);
        }
    }

    #[test]
    fn a_payload_at_the_bound_fits_and_one_byte_more_does_not() {
        assert_eq!(split(&vec![0; PARTS_MAX * PIECE]).unwrap().len(), PARTS_MAX);
        assert!(split(&vec![0; PARTS_MAX * PIECE + 1]).is_err());
    }
}
