//! Sets: what a mailbox still holds of an hour or a day, for clients that were away longer than digests are kept.
//!
//! ```text
//! network 32 | document hash 8 | mailbox 32 | district 2 | kind 1 | period 4 | made 4 | parts 2 | part 2
//! | count 4 | first tag 6 | last tag 6 | codes | signature 64
//! ```
//! A set is cut by ranges of tags into parts of at most [`SET_PART_TAGS`] tags, so that no reader needs more memory than one
//! part's and a link that ends costs one part at most. All parts of one making carry the same tick; parts of two makings do not
//! fit together. An empty set has one part, so that "nothing is held" differs from "nothing was said".
//!
//! **Codes.** Tags are uniform 48-bit numbers, so the gaps between sorted ones are geometric, for which a Golomb-Rice code is
//! within 3 % of the best there is. Each gap, less one, is its quotient by 2^k in ones, a zero, and the k low bits of the rest;
//! bits fill bytes from the top, and what is left of the last byte is zero. k follows from count, first and last tag alone: the
//! mean gap's share that halves a geometric distribution (ln 2), rounded down to a power of two. So every set of tags has one
//! encoding. 2^17 tags of an evenly filled million take 3.7 bytes each instead of 6.

use crate::{
    boxes::BoxTag,
    codec::{DecodeError, Reader, Result, Writer},
    geometry::{SET_FIXED, SET_MAX, SET_PART_TAGS, SET_PARTS_MAX, SIGNATURE},
    ids::{District, DocumentHash, NetworkId, NodeId},
    primitives::{SigningSecret, label, verify},
    time::Tick,
};

/// Which boxes a set names.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Period {
    /// Those that this mailbox's digests named in an hour: whole hour lengths since the Unix epoch.
    Hour(u32),
    /// Those first sent on a day: whole day lengths since the Unix epoch.
    Day(u32),
}

impl Period {
    /// The number of the hour or day.
    pub fn number(self) -> u32 {
        match self {
            Self::Hour(number) | Self::Day(number) => number,
        }
    }

    fn kind(self) -> u8 {
        match self {
            Self::Hour(_) => 1,
            Self::Day(_) => 2,
        }
    }
}

/// What all parts of a set have in common.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SetHead {
    /// The network.
    pub network: NetworkId,
    /// Of the document that the mailbox works by.
    pub document: DocumentHash,
    /// The mailbox.
    pub mailbox: NodeId,
    /// The district.
    pub district: District,
    /// Which boxes.
    pub period: Period,
    /// When the set was made: a later one replaces it.
    pub made: Tick,
}

impl SetHead {
    /// Signs a whole set, in parts; the bytes are what is published.
    ///
    /// Tags are sorted and repeated ones dropped. Beyond [`SET_PARTS_MAX`] parts (8 million tags) the highest tags are left out.
    pub fn sign(self, mut tags: Vec<BoxTag>, secret: &SigningSecret) -> Vec<SignedSet> {
        tags.sort_unstable();
        tags.dedup();
        tags.truncate(SET_PARTS_MAX * SET_PART_TAGS);
        let parts = tags.len().div_ceil(SET_PART_TAGS).max(1) as u16;
        (0..parts)
            .map(|part| {
                let own = tags.iter().skip(usize::from(part) * SET_PART_TAGS).take(SET_PART_TAGS).copied().collect();
                sign_part(SetPart { head: self, parts, part, tags: own }, secret)
            })
            .collect()
    }
}

/// A part of a set: the tags of a range.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SetPart {
    /// What all parts say.
    pub head: SetHead,
    /// How many parts there are: at least one.
    pub parts: u16,
    /// Which one this is, from zero.
    pub part: u16,
    /// Its tags, strictly ascending, at most [`SET_PART_TAGS`].
    pub tags: Vec<BoxTag>,
}

/// A part with the bytes that its mailbox signed; exists only with a good signature.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SignedSet {
    part: SetPart,
    bytes: Vec<u8>,
}

impl SignedSet {
    /// Decodes and checks the signature by the mailbox that the part names. Whether that mailbox and network are ours is for the
    /// caller to check.
    ///
    /// # Errors
    /// Anything but the one encoding of its content with a good signature. Never allocates more than [`SET_PART_TAGS`] tags and
    /// a copy of `bytes`.
    pub fn verify(bytes: &[u8]) -> Result<Self> {
        if bytes.len() > SET_MAX {
            return Err(DecodeError::TooLong("set"));
        }
        let signed_length = bytes.len().checked_sub(SIGNATURE).ok_or(DecodeError::Truncated)?;
        let (signed, signature) = bytes.split_at_checked(signed_length).ok_or(DecodeError::Truncated)?;
        let part = read(signed)?;
        let signature: &[u8; SIGNATURE] = signature.first_chunk().ok_or(DecodeError::Truncated)?;
        if !verify(part.head.mailbox.as_bytes(), label::SET_SIGNATURE, signed, signature) {
            return Err(DecodeError::Invalid("set signature"));
        }
        Ok(Self { part, bytes: bytes.to_vec() })
    }

    /// The part.
    pub fn part(&self) -> &SetPart {
        &self.part
    }

    /// The part without its bytes.
    pub fn into_part(self) -> SetPart {
        self.part
    }

    /// The bytes as published.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

fn sign_part(part: SetPart, secret: &SigningSecret) -> SignedSet {
    let head = &part.head;
    let mut writer = Writer::with_capacity(SET_FIXED + part.tags.len() * 5);
    writer.put(head.network.as_bytes()).put(&head.document.0).put(head.mailbox.as_bytes()).u16(head.district.0);
    writer.u8(head.period.kind()).u32(head.period.number()).u32(head.made.0).u16(part.parts).u16(part.part);
    writer.u32(u32::try_from(part.tags.len()).unwrap_or(u32::MAX));
    let (first, last) = (part.tags.first().copied(), part.tags.last().copied());
    let zero = BoxTag([0; 6]);
    writer.put(&first.unwrap_or(zero).0).put(&last.unwrap_or(zero).0).put(&encode(&part.tags));
    let mut bytes = writer.finish();
    let signature = secret.sign(label::SET_SIGNATURE, &bytes);
    bytes.extend_from_slice(&signature);
    SignedSet { part, bytes }
}

fn read(bytes: &[u8]) -> Result<SetPart> {
    let mut reader = Reader::new(bytes);
    let (network, document) = (NetworkId(reader.array()?), DocumentHash(reader.array()?));
    let (mailbox, district) = (NodeId(reader.array()?), District(reader.u16()?));
    let period = match (reader.u8()?, reader.u32()?) {
        (1, hour) => Period::Hour(hour),
        (2, day) => Period::Day(day),
        _ => return Err(DecodeError::Invalid("set kind")),
    };
    let head = SetHead { network, document, mailbox, district, period, made: Tick(reader.u32()?) };
    let (parts, part) = (reader.u16()?, reader.u16()?);
    if part >= parts || usize::from(parts) > SET_PARTS_MAX {
        return Err(DecodeError::Invalid("set part"));
    }
    let count = reader.count(SET_PART_TAGS, "set tags")?;
    // All parts but the last are full, and only a set of one part is empty: one way to cut a set.
    let full = count == SET_PART_TAGS;
    if (part + 1 < parts && !full) || (count == 0 && parts > 1) {
        return Err(DecodeError::Invalid("set part"));
    }
    let (first, last) = (number(BoxTag(reader.array()?)), number(BoxTag(reader.array()?)));
    let tags = decode(count, first, last, reader.rest())?;
    Ok(SetPart { head, parts, part, tags })
}

fn number(tag: BoxTag) -> u64 {
    tag.0.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn tag(number: u64) -> BoxTag {
    let [_, _, tag @ ..] = number.to_be_bytes();
    BoxTag(tag)
}

/// The k of the code for `count` tags, at least two, over `span`. ln 2 is taken as 45/64, so that no machine rounds otherwise.
fn rice(count: usize, span: u64) -> u32 {
    let gaps = (count as u64).saturating_sub(1).max(1);
    (span / gaps * 45 / 64).max(1).ilog2()
}

fn encode(tags: &[BoxTag]) -> Vec<u8> {
    let (Some(first), Some(last)) = (tags.first(), tags.last()) else { return Vec::new() };
    let k = rice(tags.len(), number(*last) - number(*first));
    let mut bits = BitWriter::default();
    for (before, after) in tags.iter().zip(tags.iter().skip(1)) {
        let gap = number(*after) - number(*before) - 1;
        (0..gap >> k).for_each(|_| bits.put(1, 1));
        bits.put(0, 1);
        bits.put(gap & ((1 << k) - 1), k);
    }
    bits.finish()
}

fn decode(count: usize, first: u64, last: u64, codes: &[u8]) -> Result<Vec<BoxTag>> {
    let wrong = DecodeError::Invalid("set range");
    match count {
        0 if first != 0 || last != 0 => return Err(wrong),
        0 if !codes.is_empty() => return Err(DecodeError::Trailing),
        0 => return Ok(Vec::new()),
        1 if first != last => return Err(wrong),
        _ => {}
    }
    let span = last.checked_sub(first).ok_or(wrong)?;
    if span < count as u64 - 1 {
        return Err(wrong);
    }
    let k = rice(count, span);
    // Every code has k + 1 bits at least: no room is made for tags that cannot be there.
    if (count - 1) * (k as usize + 1) > codes.len() * 8 {
        return Err(DecodeError::Truncated);
    }
    let (mut bits, mut at) = (BitReader::new(codes), first);
    let mut tags = Vec::with_capacity(count);
    tags.push(tag(first));
    for _ in 1..count {
        let quotient = bits.ones((last - at) >> k)?;
        let gap = (quotient << k | bits.take(k)?) + 1;
        at = at.checked_add(gap).filter(|next| *next <= last).ok_or(wrong)?;
        tags.push(tag(at));
    }
    if at != last {
        return Err(wrong);
    }
    bits.finish()?;
    Ok(tags)
}

/// Bits into bytes, highest first.
#[derive(Default)]
struct BitWriter {
    bytes: Vec<u8>,
    waiting: u64,
    count: u32,
}

impl BitWriter {
    /// Appends the `count` low bits of `value`, which has no others; at most 48.
    fn put(&mut self, value: u64, count: u32) {
        self.waiting = self.waiting << count | value;
        self.count += count;
        while self.count >= 8 {
            self.count -= 8;
            self.bytes.push((self.waiting >> self.count) as u8);
        }
    }

    fn finish(mut self) -> Vec<u8> {
        if self.count > 0 {
            self.bytes.push((self.waiting << (8 - self.count)) as u8);
        }
        self.bytes
    }
}

/// Bits from bytes, highest first.
struct BitReader<'a> {
    bytes: std::slice::Iter<'a, u8>,
    waiting: u64,
    count: u32,
}

impl<'a> BitReader<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { bytes: bytes.iter(), waiting: 0, count: 0 }
    }

    /// The next `count` bits, at most 48.
    fn take(&mut self, count: u32) -> Result<u64> {
        while self.count < count {
            let byte = self.bytes.next().ok_or(DecodeError::Truncated)?;
            (self.waiting, self.count) = (self.waiting << 8 | u64::from(*byte), self.count + 8);
        }
        self.count -= count;
        let value = self.waiting >> self.count;
        self.waiting &= (1 << self.count) - 1;
        Ok(value)
    }

    /// Ones before the next zero, at most `bound`.
    fn ones(&mut self, bound: u64) -> Result<u64> {
        let mut ones = 0;
        while self.take(1)? == 1 {
            ones += 1;
            if ones > bound {
                return Err(DecodeError::Invalid("set range"));
            }
        }
        Ok(ones)
    }

    /// Nothing but the zeros that fill the last byte.
    fn finish(self) -> Result<()> {
        if !self.bytes.as_slice().is_empty() {
            return Err(DecodeError::Trailing);
        }
        if self.waiting != 0 { Err(DecodeError::Invalid("set padding")) } else { Ok(()) }
    }
}
