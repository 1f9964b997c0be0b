//! What a message carries inside its Signal session: a media type and bytes, typed.
//!
//! ```text
//! version u8 = 1   uuid 16   sent-at u64 (ms)   type length u8   type (ASCII)   bytes, to the end
//! ```
//! In front of this stands the hash of both identities, which `signal` writes and checks, so that no caller can forget it.
//! Types that this release does not know are kept whole, so that applications can send whatever they like and a newer
//! release shows what an older one stored. Decoding is bounded, refuses trailing bytes and never panics.

use std::fmt;
use veilpost_packet::{
    codec::{DecodeError, Reader, Writer},
    random::{self, EngineRng},
    time::Timestamp,
};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

pub mod beacon;
mod names;
pub use names::{file_name, person_name};

/// Longest text, bytes of UTF-8.
pub const MAX_TEXT: usize = 64 * 1024;
/// Longest file name, bytes.
pub const MAX_FILE_NAME: usize = 255;
/// Longest media type, bytes.
pub const MAX_MEDIA_TYPE: usize = 127;
/// Most ids in one receipt; what is more waits for the next.
pub const MAX_RECEIPTS: usize = 64;
/// Longest reaction, bytes: a family emoji with skin tones has 41.
pub const MAX_REACTION: usize = 48;
/// Longest encoded message: header, the longest type, a text and the id it edits.
pub const MAX_ENCODED: usize = 1 + 16 + 8 + 1 + MAX_MEDIA_TYPE + 16 + MAX_TEXT;

/// A message's id between two people: 16 random bytes, drawn by its sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uuid(pub [u8; 16]);

impl Uuid {
    /// A fresh one.
    pub fn random(rng: &mut EngineRng) -> Self {
        Self(random::bytes(rng))
    }
}

/// The seed of a stream's root: whoever has it reads and writes the stream. Wiped on drop, never printed.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct StreamSeed([u8; 32]);

impl StreamSeed {
    /// From 32 random or derived bytes.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// A fresh one.
    pub fn random(rng: &mut EngineRng) -> Self {
        Self(random::bytes(rng))
    }

    /// The bytes. Secret.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for StreamSeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StreamSeed(..)")
    }
}

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its id.
    pub uuid: Uuid,
    /// When its sender wrote it, by the sender's clock: milliseconds count, the rest is not sent.
    pub sent_at: Timestamp,
    /// What it says.
    pub body: Body,
}

/// What a message says.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Body {
    /// Text, at most [`MAX_TEXT`] bytes, `text/plain`.
    Text(String),
    /// A file that comes in boxes of a stream of its own.
    Attachment(Manifest),
    /// These messages of yours are on my device; at most [`MAX_RECEIPTS`].
    Receipts(Vec<Uuid>),
    /// How far I have the file of this manifest.
    Progress {
        /// The manifest message's id.
        manifest: Uuid,
        /// Every box below this index is on my device.
        count: u32,
    },
    /// My name, as I wish to be called.
    Profile {
        /// See [`person_name`].
        name: String,
    },
    /// The answer to an invitation.
    Hello(Hello),
    /// From now on I write to you in a new stream with this root; this is the last message of the old one. Secret.
    NextStream(StreamSeed),
    /// My store is from a backup: from now on we write to each other in new streams. Secret.
    Restart {
        /// Root of the stream that I write.
        writer_writes: StreamSeed,
        /// Root of the stream that you write.
        reader_writes: StreamSeed,
    },
    /// A reaction to a message; an empty one takes it back.
    Reaction {
        /// To which message.
        target: Uuid,
        /// Usually one emoji, at most [`MAX_REACTION`] bytes.
        reaction: String,
    },
    /// A new text for a message of mine.
    Edit {
        /// Which message.
        target: Uuid,
        /// What it says now.
        text: String,
    },
    /// Please remove a message of mine.
    Delete {
        /// Which message.
        target: Uuid,
    },
    /// From now on, messages of this conversation disappear this long after reading; zero: they stay.
    Expiry {
        /// Seconds.
        seconds: u32,
    },
    /// A type this release does not know, kept whole.
    Unknown {
        /// Its type.
        media_type: String,
        /// Its bytes.
        bytes: Vec<u8>,
    },
}

/// What the recipient of a file needs: where its boxes are and how to know that it is whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// Root of the stream that holds the boxes. Secret.
    pub root: StreamSeed,
    /// How many boxes.
    pub boxes: u32,
    /// Bytes of the file.
    pub size: u64,
    /// SHA-256 of the file.
    pub sha256: [u8; 32],
    /// The file's name, as [`file_name`] makes it.
    pub name: String,
    /// The file's media type.
    pub media_type: String,
}

/// The answer to an invitation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// Name of who answers.
    pub name: String,
    /// Root of the stream that the answering side writes. Secret.
    pub answerer_writes: StreamSeed,
    /// Root of the stream that the inviting side writes. Secret.
    pub inviter_writes: StreamSeed,
}

impl Message {
    /// The message's bytes, wiped when dropped.
    ///
    /// # Errors
    /// If a field is above its bound: nothing is cut silently.
    pub fn encode(&self) -> Result<Zeroizing<Vec<u8>>, DecodeError> {
        let media_type = self.body.media_type();
        let mut out = Writer::with_capacity(64 + media_type.len() + self.body.size_hint());
        out.u8(VERSION).put(&self.uuid.0).u64(self.sent_at.as_millis());
        let length = u8::try_from(media_type.len()).map_err(|_| DecodeError::TooLong("media type"))?;
        out.u8(length).put(media_type.as_bytes());
        self.body.write(&mut out)?;
        let bytes = Zeroizing::new(out.finish());
        // One rule for both ends: what we would not accept, we do not send.
        Message::decode(&bytes)?;
        Ok(bytes)
    }

    /// Reads a message. File and person names come out sanitized, so they may differ from what was sent.
    ///
    /// # Errors
    /// If the bytes are not a message of this version, or a field is above its bound.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        if bytes.len() > MAX_ENCODED {
            return Err(DecodeError::TooLong("message"));
        }
        let mut reader = Reader::new(bytes);
        if reader.u8()? != VERSION {
            return Err(DecodeError::Invalid("version"));
        }
        let uuid = Uuid(reader.array()?);
        let sent_at = reader.u64()?;
        // Later than a timestamp can hold would not come out as it went in.
        if sent_at > Timestamp::FAR_FUTURE.as_millis() {
            return Err(DecodeError::Invalid("time"));
        }
        let length = usize::from(reader.u8()?);
        let media_type = media_type(reader.take(length)?)?;
        let body = Body::read(media_type, &mut reader)?;
        reader.finish()?;
        Ok(Self { uuid, sent_at: Timestamp::from_millis(sent_at), body })
    }
}

impl Body {
    /// The media type that names this content on the wire.
    pub fn media_type(&self) -> &str {
        match self {
            Self::Text(_) => TEXT,
            Self::Attachment(_) => ATTACHMENT,
            Self::Receipts(_) => RECEIPTS,
            Self::Progress { .. } => PROGRESS,
            Self::Profile { .. } => PROFILE,
            Self::Hello(_) => HELLO,
            Self::NextStream(_) => NEXT_STREAM,
            Self::Restart { .. } => RESTART,
            Self::Reaction { .. } => REACTION,
            Self::Edit { .. } => EDIT,
            Self::Delete { .. } => DELETE,
            Self::Expiry { .. } => EXPIRY,
            Self::Unknown { media_type, .. } => media_type,
        }
    }

    fn size_hint(&self) -> usize {
        match self {
            Self::Text(text) | Self::Edit { text, .. } => text.len() + 16,
            Self::Unknown { bytes, .. } => bytes.len(),
            Self::Receipts(ids) => ids.len() * 16,
            // The longest of the others, so that secrets are never left behind by a growing buffer.
            _ => 512,
        }
    }

    fn write(&self, out: &mut Writer) -> Result<(), DecodeError> {
        match self {
            Self::Text(text) => out.put(text.as_bytes()),
            Self::Attachment(manifest) => {
                out.put(manifest.root.as_bytes()).u32(manifest.boxes).u64(manifest.size).put(&manifest.sha256);
                put_text(out, &manifest.name, MAX_FILE_NAME, "file name")?;
                put_text(out, &manifest.media_type, MAX_MEDIA_TYPE, "media type")?;
                out
            }
            Self::Receipts(ids) => ids.iter().fold(out, |out, id| out.put(&id.0)),
            Self::Progress { manifest, count } => out.put(&manifest.0).u32(*count),
            Self::Profile { name } => out.put(name.as_bytes()),
            Self::Hello(hello) => out
                .put(hello.answerer_writes.as_bytes())
                .put(hello.inviter_writes.as_bytes())
                .put(hello.name.as_bytes()),
            Self::NextStream(seed) => out.put(seed.as_bytes()),
            Self::Restart { writer_writes, reader_writes } => {
                out.put(writer_writes.as_bytes()).put(reader_writes.as_bytes())
            }
            Self::Reaction { target, reaction } => out.put(&target.0).put(reaction.as_bytes()),
            Self::Edit { target, text } => out.put(&target.0).put(text.as_bytes()),
            Self::Delete { target } => out.put(&target.0),
            Self::Expiry { seconds } => out.u32(*seconds),
            Self::Unknown { bytes, .. } => out.put(bytes),
        };
        Ok(())
    }

    fn read(media_type: &str, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match media_type {
            TEXT => Self::Text(rest_text(reader, MAX_TEXT, "text")?.to_owned()),
            ATTACHMENT => Self::Attachment(Manifest::read(reader)?),
            RECEIPTS => Self::Receipts(read_receipts(reader)?),
            PROGRESS => Self::Progress { manifest: Uuid(reader.array()?), count: reader.u32()? },
            PROFILE => Self::Profile { name: read_name(reader)? },
            HELLO => Self::Hello(Hello {
                answerer_writes: StreamSeed(reader.array()?),
                inviter_writes: StreamSeed(reader.array()?),
                name: read_name(reader)?,
            }),
            NEXT_STREAM => Self::NextStream(StreamSeed(reader.array()?)),
            RESTART => {
                Self::Restart { writer_writes: StreamSeed(reader.array()?), reader_writes: StreamSeed(reader.array()?) }
            }
            REACTION => Self::Reaction {
                target: Uuid(reader.array()?),
                reaction: rest_text(reader, MAX_REACTION, "reaction")?.to_owned(),
            },
            EDIT => Self::Edit { target: Uuid(reader.array()?), text: rest_text(reader, MAX_TEXT, "text")?.to_owned() },
            DELETE => Self::Delete { target: Uuid(reader.array()?) },
            EXPIRY => Self::Expiry { seconds: reader.u32()? },
            _ => Self::Unknown { media_type: media_type.to_owned(), bytes: reader.rest().to_vec() },
        })
    }
}

impl Manifest {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let root = StreamSeed(reader.array()?);
        let (boxes, size, sha256) = (reader.u32()?, reader.u64()?, reader.array()?);
        if size > crate::store::files::MAX_FILE {
            return Err(DecodeError::TooLong("file"));
        }
        // At least a byte a box: a manifest cannot make us look for more boxes than the file can fill.
        if u64::from(boxes) > size.max(1) {
            return Err(DecodeError::Invalid("box count"));
        }
        let name = file_name(reader.text16(MAX_FILE_NAME, "file name")?);
        let media_type = media_type(reader.bytes16(MAX_MEDIA_TYPE, "media type")?)?.to_owned();
        Ok(Self { root, boxes, size, sha256, name, media_type })
    }
}

const VERSION: u8 = 1;
const TEXT: &str = "text/plain";
const ATTACHMENT: &str = "application/vnd.veilpost.attachment";
const RECEIPTS: &str = "application/vnd.veilpost.receipts";
const PROGRESS: &str = "application/vnd.veilpost.progress";
const PROFILE: &str = "application/vnd.veilpost.profile";
const HELLO: &str = "application/vnd.veilpost.hello";
const NEXT_STREAM: &str = "application/vnd.veilpost.next-stream";
const RESTART: &str = "application/vnd.veilpost.restart";
const REACTION: &str = "application/vnd.veilpost.reaction";
const EDIT: &str = "application/vnd.veilpost.edit";
const DELETE: &str = "application/vnd.veilpost.delete";
const EXPIRY: &str = "application/vnd.veilpost.expiry";

/// A media type is shown to people and compared byte for byte: visible ASCII with one slash or more, not empty.
fn media_type(bytes: &[u8]) -> Result<&str, DecodeError> {
    let fits = !bytes.is_empty() && bytes.len() <= MAX_MEDIA_TYPE;
    if !fits || !bytes.iter().all(u8::is_ascii_graphic) || !bytes.contains(&b'/') {
        return Err(DecodeError::Invalid("media type"));
    }
    std::str::from_utf8(bytes).map_err(|_| DecodeError::Invalid("media type"))
}

fn put_text(out: &mut Writer, text: &str, bound: usize, field: &'static str) -> Result<(), DecodeError> {
    if text.len() > bound {
        return Err(DecodeError::TooLong(field));
    }
    out.bytes16(text.as_bytes());
    Ok(())
}

fn rest_text<'a>(reader: &mut Reader<'a>, bound: usize, field: &'static str) -> Result<&'a str, DecodeError> {
    let bytes = reader.rest();
    if bytes.len() > bound {
        return Err(DecodeError::TooLong(field));
    }
    std::str::from_utf8(bytes).map_err(|_| DecodeError::Invalid(field))
}

fn read_name(reader: &mut Reader<'_>) -> Result<String, DecodeError> {
    Ok(person_name(rest_text(reader, names::MAX_RAW_NAME, "name")?))
}

fn read_receipts(reader: &mut Reader<'_>) -> Result<Vec<Uuid>, DecodeError> {
    let (ids, left) = reader.rest().as_chunks::<16>();
    match (left.is_empty(), ids.len()) {
        (false, _) => Err(DecodeError::Truncated),
        (_, 0) => Err(DecodeError::Invalid("receipts")),
        (_, count) if count > MAX_RECEIPTS => Err(DecodeError::TooLong("receipts")),
        _ => Ok(ids.iter().copied().map(Uuid).collect()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests;
