//! How entries lie in a bucket. Every value ends with a check sum over its key and itself: not every engine notices when the disk
//! gives back other bytes than it was given.
//!
//! ```text
//! s | box id 32           -> small record: what walks and counts need, and all of a tombstone
//! b | box id 32           -> the box, read by nobody but `get`
//! w | from tick 4 | tag 6 -> nothing: a tag that waits for a digest
//! c                       -> boxes 8 | tombstones 8, written with every batch; a database without it was never finished
//! r | series 1 | number 4 -> a record (main database only)
//! ```
//!
//! A small record is `B | announced 1 | others` or `T | content hash 32 | last day 4 | secret 32 | others`; others are a count and
//! for each holder 32, signature 64, store 8.

use crate::store::{
    Confirmation, Held, Kept, OTHERS_MAX, Result, Series, StoreError, StoreId, Tombstone, Usage, Waiting,
};
use veilpost_packet::{
    boxes::{BoxTag, ContentHash, SealedBox},
    codec::{DecodeError, Reader, Writer},
    command::HolderSignature,
    ids::{BoxId, NodeId},
    time::{Day, Tick},
};

const CHECK: usize = 4;

/// The key of the counts.
pub(super) const COUNTS: &[u8] = b"c";
/// All keys of small records lie from the first to before the second.
pub(super) const SMALL: (&[u8], &[u8]) = (b"s", b"t");
/// All keys of waiting tags.
pub(super) const WAITING: (&[u8], &[u8]) = (b"w", b"x");
/// All keys.
pub(super) const ALL: (&[u8], &[u8]) = (b"", b"\xff");

/// What a bucket says of an id without its box.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Small {
    /// There is a box under the other key.
    Box { announced: bool, others: Vec<Confirmation> },
    /// It was acknowledged.
    Tombstone(Tombstone),
}

impl Small {
    pub(super) fn of(held: &Held) -> Self {
        match held {
            Held::Box(kept) => Self::Box { announced: kept.announced, others: kept.others.clone() },
            Held::Tombstone(tombstone) => Self::Tombstone((**tombstone).clone()),
        }
    }

    pub(super) fn encode(&self) -> Result<Vec<u8>> {
        let mut writer = Writer::with_capacity(128 + OTHERS_MAX * 104);
        let others = match self {
            Self::Box { announced, others } => {
                writer.u8(b'B').u8(u8::from(*announced));
                others
            }
            Self::Tombstone(tombstone) => {
                writer.u8(b'T').put(&tombstone.content.0).u32(tombstone.until.0).put(&tombstone.secret);
                &tombstone.others
            }
        };
        let count = u8::try_from(others.len()).ok().filter(|count| usize::from(*count) <= OTHERS_MAX);
        writer.u8(count.ok_or_else(|| StoreError::Failed("more other holders than a box may have".into()))?);
        for other in others {
            writer.put(other.signature.holder.as_bytes()).put(&other.signature.signature).u64(other.store.0);
        }
        Ok(writer.finish())
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self> {
        decode(bytes, "a box's record does not decode", |reader| match reader.u8()? {
            b'B' => {
                let announced = match reader.u8()? {
                    0 => false,
                    1 => true,
                    _ => return Err(DecodeError::Invalid("announced")),
                };
                Ok(Self::Box { announced, others: others(reader)? })
            }
            b'T' => Ok(Self::Tombstone(Tombstone {
                content: ContentHash(reader.array()?),
                until: Day(reader.u32()?),
                secret: reader.array()?,
                others: others(reader)?,
            })),
            _ => Err(DecodeError::Invalid("kind")),
        })
    }

    /// With the box, where it is one.
    pub(super) fn with(self, id: &BoxId, bucket: Day, body: impl FnOnce() -> Result<Option<Vec<u8>>>) -> Result<Held> {
        let (announced, others) = match self {
            Self::Tombstone(tombstone) => return Ok(Held::Tombstone(Box::new(tombstone))),
            Self::Box { announced, others } => (announced, others),
        };
        let body = body()?.ok_or(StoreError::Damaged("a box is missing"))?;
        let sealed = SealedBox::from_bytes(&body).map_err(|_| StoreError::Damaged("a box does not decode"))?;
        if sealed.id != *id || sealed.expiry != bucket {
            return Err(StoreError::Damaged("a box lies in another's place"));
        }
        Ok(Held::Box(Box::new(Kept { sealed, others, announced })))
    }
}

fn others(reader: &mut Reader<'_>) -> std::result::Result<Vec<Confirmation>, DecodeError> {
    let count = usize::from(reader.u8()?);
    if count > OTHERS_MAX {
        return Err(DecodeError::TooLong("others"));
    }
    let one = |_| {
        let signature = HolderSignature { holder: NodeId(reader.array()?), signature: reader.array()? };
        Ok(Confirmation { signature, store: StoreId(reader.u64()?) })
    };
    (0..count).map(one).collect()
}

fn decode<T>(
    bytes: &[u8],
    damaged: &'static str,
    read: impl FnOnce(&mut Reader<'_>) -> std::result::Result<T, DecodeError>,
) -> Result<T> {
    let mut reader = Reader::new(bytes);
    let value = read(&mut reader).map_err(|_| StoreError::Damaged(damaged))?;
    reader.finish().map_err(|_| StoreError::Damaged(damaged))?;
    Ok(value)
}

pub(super) fn small_key(id: &BoxId) -> Vec<u8> {
    [b"s", &id.as_bytes()[..]].concat()
}

pub(super) fn body_key(id: &BoxId) -> Vec<u8> {
    [b"b", &id.as_bytes()[..]].concat()
}

/// The id in the key of a small record.
pub(super) fn id_of(key: &[u8]) -> Result<BoxId> {
    decode(key, "a key has another size", |reader| {
        reader.u8()?;
        reader.array().map(BoxId)
    })
}

pub(super) fn waiting_key(waiting: &Waiting) -> Vec<u8> {
    let mut writer = Writer::with_capacity(16);
    writer.u8(b'w').u32(waiting.from.0).put(&waiting.tag.0);
    writer.finish()
}

pub(super) fn waiting_of(key: &[u8], bucket: Day) -> Result<Waiting> {
    decode(key, "a waiting tag has another size", |reader| {
        reader.u8()?;
        Ok(Waiting { from: Tick(reader.u32()?), tag: BoxTag(reader.array()?), bucket })
    })
}

/// The key of a record; one beyond the highest number ends the series.
pub(super) fn record_key(series: Series, number: u32) -> Vec<u8> {
    let mut writer = Writer::with_capacity(8);
    writer.u8(b'r').u8(series as u8).u32(number);
    writer.finish()
}

/// Behind all keys of a series.
pub(super) fn series_end(series: Series) -> Vec<u8> {
    vec![b'r', (series as u8).saturating_add(1)]
}

pub(super) fn record_number(key: &[u8]) -> Result<u32> {
    decode(key, "a record's key has another size", |reader| {
        reader.u16()?;
        reader.u32()
    })
}

pub(super) fn encode_usage(usage: &Usage) -> Vec<u8> {
    let mut writer = Writer::with_capacity(16);
    writer.u64(usage.boxes).u64(usage.tombstones);
    writer.finish()
}

pub(super) fn decode_usage(bytes: &[u8]) -> Result<Usage> {
    decode(bytes, "the counts do not decode", |reader| Ok(Usage { boxes: reader.u64()?, tombstones: reader.u64()? }))
}

/// The value with its check sum, as it is written.
pub(super) fn sealed(key: &[u8], mut value: Vec<u8>) -> Vec<u8> {
    let check = check_sum(key, &value);
    value.extend_from_slice(&check.to_be_bytes());
    value
}

/// The value without its check sum.
///
/// # Errors
/// [`StoreError::Damaged`] if it is not what was written under this key.
pub(super) fn opened(key: &[u8], mut bytes: Vec<u8>) -> Result<Vec<u8>> {
    const DAMAGED: StoreError = StoreError::Damaged("an entry's check sum is wrong: the disk gave back other bytes");
    let (value, check) = bytes.split_last_chunk::<CHECK>().ok_or(DAMAGED)?;
    if u32::from_be_bytes(*check) != check_sum(key, value) {
        return Err(DAMAGED);
    }
    bytes.truncate(value.len());
    Ok(bytes)
}

fn check_sum(key: &[u8], value: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key);
    hasher.update(value);
    hasher.finalize()
}
