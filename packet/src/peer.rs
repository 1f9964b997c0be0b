//! What mailboxes tell each other. Items are packed into frames of kind [`FrameKind::Peer`], which
//! leave on the link's own Poisson clock, so that nothing outside shows what a frame holds or whether it holds anything.
//!
//! ```text
//! body (4,444 B): item* | zeros               item: kind 1 | fields
//!   copy   1: flags 1 | store 8 | signature 64 | box 3,471
//!   holds  2: box id 32 | content hash 32 | expiry 4 | store 8 | signature 64 | asks 1
//!   refuse 3: box id 32 | content hash 32 | why 1
//!   gone   4: box id 32 | ack secret 32
//!   ask    5: box id 32
//!   piece  6: length 2 | bytes of the stream of digests
//!   state  7: store 8 | placement 8 | swept 1
//! ```

use crate::{
    boxes::{ContentHash, SealedBox},
    codec::{DecodeError, Reader, Result, Writer},
    frame::{Flags, Frame, FrameKind},
    geometry::{FRAME_BODY, SIGNATURE},
    ids::BoxId,
    time::Day,
};

/// First bytes of the hash of a placement set: names it between mailboxes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct PlacementHash(pub [u8; 8]);

/// Why a copy was not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Refusal {
    /// No room.
    Full = 1,
    /// Another content is there, and it stays.
    Conflict = 2,
    /// Not now.
    Busy = 3,
    /// It breaks a rule.
    Rule = 4,
}

impl Refusal {
    fn from_byte(byte: u8) -> Result<Self> {
        [Self::Full, Self::Conflict, Self::Busy, Self::Rule]
            .into_iter()
            .find(|&refusal| refusal as u8 == byte)
            .ok_or(DecodeError::Invalid("refusal"))
    }
}

/// A box for another mailbox to hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Copy {
    /// The box.
    pub sealed: Box<SealedBox>,
    /// The sender's word that it holds the box, as in [`crate::command::HolderSignature`]; `None` if it holds it only once the
    /// receiver has decided for it (contested boxes).
    pub held: Option<[u8; SIGNATURE]>,
    /// The sender's store.
    pub store: u64,
    /// A digest has named it, says the sender.
    pub announced: bool,
}

/// One thing that a mailbox tells another.
#[derive(Clone, PartialEq, Eq)]
pub enum PeerItem {
    /// Hold this.
    Copy(Copy),
    /// I hold it.
    Holds {
        /// The box.
        id: BoxId,
        /// Its content.
        content: ContentHash,
        /// Its last day.
        expiry: Day,
        /// The sender's store.
        store: u64,
        /// The sender's signature, as a writer gets it.
        signature: [u8; SIGNATURE],
        /// And you?
        asks: bool,
    },
    /// I do not take it.
    Refuse {
        /// The box.
        id: BoxId,
        /// The content that was offered.
        content: ContentHash,
        /// Why not.
        why: Refusal,
    },
    /// It was acknowledged.
    Gone {
        /// The box.
        id: BoxId,
        /// The secret whose hash the box holds.
        secret: [u8; 32],
    },
    /// Send it if you hold it.
    Ask {
        /// The box.
        id: BoxId,
    },
    /// A piece of the stream of the sender's digests.
    Piece(Vec<u8>),
    /// How the sender stands.
    State {
        /// Its store.
        store: u64,
        /// The placement set that it works by.
        placement: PlacementHash,
        /// It has gone through all its boxes under this set.
        swept: bool,
    },
}

impl std::fmt::Debug for PeerItem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Copy(_) => "Copy",
            Self::Holds { .. } => "Holds",
            Self::Refuse { .. } => "Refuse",
            Self::Gone { .. } => "Gone",
            Self::Ask { .. } => "Ask",
            Self::Piece(_) => "Piece",
            Self::State { .. } => "State",
        })
    }
}

const HELD: u8 = 1;
const ANNOUNCED: u8 = 2;
/// Bytes of a piece besides its content.
const PIECE_FIXED: usize = 1 + 2;

impl PeerItem {
    /// Bytes that it takes in a frame's body.
    pub fn size(&self) -> usize {
        match self {
            Self::Copy(_) => 1 + 1 + 8 + SIGNATURE + SealedBox::SIZE,
            Self::Holds { .. } => 1 + 32 + 32 + 4 + 8 + SIGNATURE + 1,
            Self::Refuse { .. } => 1 + 32 + 32 + 1,
            Self::Gone { .. } => 1 + 32 + 32,
            Self::Ask { .. } => 1 + 32,
            Self::Piece(bytes) => PIECE_FIXED + bytes.len(),
            Self::State { .. } => 1 + 8 + 8 + 1,
        }
    }

    fn write(&self, writer: &mut Writer) {
        match self {
            Self::Copy(copy) => {
                let flags = if copy.held.is_some() { HELD } else { 0 } | if copy.announced { ANNOUNCED } else { 0 };
                writer.u8(1).u8(flags).u64(copy.store).put(&copy.held.unwrap_or([0; SIGNATURE]));
                copy.sealed.write(writer);
            }
            Self::Holds { id, content, expiry, store, signature, asks } => {
                writer.u8(2).put(id.as_bytes()).put(&content.0).u32(expiry.0).u64(*store).put(signature);
                writer.u8(u8::from(*asks));
            }
            Self::Refuse { id, content, why } => {
                writer.u8(3).put(id.as_bytes()).put(&content.0).u8(*why as u8);
            }
            Self::Gone { id, secret } => {
                writer.u8(4).put(id.as_bytes()).put(secret);
            }
            Self::Ask { id } => {
                writer.u8(5).put(id.as_bytes());
            }
            Self::Piece(bytes) => {
                writer.u8(6).bytes16(bytes);
            }
            Self::State { store, placement, swept } => {
                writer.u8(7).u64(*store).put(&placement.0).u8(u8::from(*swept));
            }
        }
    }

    fn read(kind: u8, reader: &mut Reader<'_>) -> Result<Self> {
        Ok(match kind {
            1 => {
                let flags = reader.u8()?;
                if flags > HELD | ANNOUNCED {
                    return Err(DecodeError::Invalid("copy flags"));
                }
                let (store, signature) = (reader.u64()?, reader.array()?);
                let held = (flags & HELD != 0).then_some(signature);
                if held.is_none() && signature != [0; SIGNATURE] {
                    return Err(DecodeError::Invalid("signature of a copy that is not held"));
                }
                let sealed = Box::new(SealedBox::read(reader)?);
                Self::Copy(Copy { sealed, held, store, announced: flags & ANNOUNCED != 0 })
            }
            2 => Self::Holds {
                id: BoxId(reader.array()?),
                content: ContentHash(reader.array()?),
                expiry: Day(reader.u32()?),
                store: reader.u64()?,
                signature: reader.array()?,
                asks: flag(reader, "asks")?,
            },
            3 => Self::Refuse {
                id: BoxId(reader.array()?),
                content: ContentHash(reader.array()?),
                why: Refusal::from_byte(reader.u8()?)?,
            },
            4 => Self::Gone { id: BoxId(reader.array()?), secret: reader.array()? },
            5 => Self::Ask { id: BoxId(reader.array()?) },
            6 => match reader.bytes16(FRAME_BODY, "digest piece")? {
                [] => return Err(DecodeError::Invalid("empty digest piece")),
                piece => Self::Piece(piece.to_vec()),
            },
            7 => Self::State {
                store: reader.u64()?,
                placement: PlacementHash(reader.array()?),
                swept: flag(reader, "swept")?,
            },
            _ => return Err(DecodeError::Invalid("peer item")),
        })
    }
}

fn flag(reader: &mut Reader<'_>, name: &'static str) -> Result<bool> {
    match reader.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(DecodeError::Invalid(name)),
    }
}

/// A frame's body that is being filled.
#[derive(Debug, Default)]
pub struct PeerBody {
    items: Vec<PeerItem>,
    size: usize,
}

impl PeerBody {
    /// Bytes that are free.
    pub fn room(&self) -> usize {
        FRAME_BODY - self.size
    }

    /// Bytes of a piece that fit.
    pub fn room_for_piece(&self) -> usize {
        self.room().saturating_sub(PIECE_FIXED)
    }

    /// Adds an item, if there is room.
    pub fn push(&mut self, item: PeerItem) {
        if item.size() <= self.room() {
            self.size += item.size();
            self.items.push(item);
        }
    }

    /// As a frame: one without items is like any other.
    pub fn to_frame(&self) -> Frame {
        let mut writer = Writer::with_capacity(FRAME_BODY);
        self.items.iter().for_each(|item| item.write(&mut writer));
        Frame::new(FrameKind::Peer, Flags::default(), &writer.finish()).expect("no item is taken beyond the room")
    }

    /// The items of a frame's body, 1,111 at most: the shortest is a piece of one byte.
    ///
    /// # Errors
    /// If an item is malformed; none of the frame's are taken then.
    pub fn decode(body: &[u8]) -> Result<Vec<PeerItem>> {
        let (mut reader, mut items) = (Reader::new(body), Vec::new());
        while reader.remaining() > 0 {
            match reader.u8()? {
                0 => {
                    reader.finish_padding()?;
                    break;
                }
                kind => items.push(PeerItem::read(kind, &mut reader)?),
            }
        }
        Ok(items)
    }
}
