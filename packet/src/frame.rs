//! Frames: the one unit of one size that crosses a link, and the byte streams that documents and digests are cut into.
//!
//! ```text
//! frame  (4,448 B): kind 1 | flags 1 | reserved 2 | body 4,444
//! flags   low 4 bits: the packet's epoch modulo 16; high 4 bits: zero
//! packet  body: a Sphinx packet, exactly
//! hello   body: session address 32 | puzzle room 32 (a client's solution, what an entry asks) | newest document known 8 |
//!               version 1 | profile 1 | zeros
//! want    body: mailbox 32 | first 4 | count 4 | what 1 | zeros
//! peer    body: see crate::peer
//! command, reply body: see crate::command
//! digest, document, set body: length 2 | that many bytes of a stream of records (u32 length, bytes) | zeros
//! ```

use crate::{
    codec::{DecodeError, Reader, Result, Writer},
    geometry::{FRAME, FRAME_BODY, FRAME_HEADER, PUZZLE},
    ids::{DocumentHash, NodeId, SessionAddress},
    profile::Profile,
    time::Tick,
};
use std::{collections::VecDeque, fmt, sync::Arc};

/// What a frame holds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum FrameKind {
    /// A Sphinx packet.
    Packet = 1,
    /// Nothing: keeps a clock's rate.
    Dummy = 2,
    /// The first frame of each side of a link.
    Hello = 3,
    /// A piece of the stream of network documents.
    Document = 4,
    /// A piece of the stream of digests.
    Digest = 5,
    /// Asks for digests or sets.
    Want = 6,
    /// What one mailbox tells another, or nothing.
    Peer = 7,
    /// A piece of the stream of sets.
    Set = 8,
    /// A mailbox command without a packet: see [`crate::command`].
    Command = 9,
    /// A mailbox reply without a packet.
    Reply = 10,
}

impl FrameKind {
    fn from_byte(byte: u8) -> Result<Self> {
        Self::ALL.into_iter().find(|&kind| kind as u8 == byte).ok_or(DecodeError::Invalid("frame kind"))
    }

    const ALL: [Self; 10] = [
        Self::Packet,
        Self::Dummy,
        Self::Hello,
        Self::Document,
        Self::Digest,
        Self::Want,
        Self::Peer,
        Self::Set,
        Self::Command,
        Self::Reply,
    ];
}

/// A frame's flags: the number modulo 16 of the epoch whose keys the packet is for, so that no packet is unwrapped twice. One
/// bit would not do: when voting rounds fail, epochs e and e+2 are live at one time.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Flags(u8);

impl Flags {
    /// Flags of a packet for an epoch.
    pub const fn for_epoch(epoch: crate::time::Epoch) -> Self {
        Self((epoch.0 as u8) & EPOCH_BITS)
    }

    /// True if the flags are those of a packet for `epoch`, or for one that is a multiple of 16 away.
    pub fn is_for(self, epoch: crate::time::Epoch) -> bool {
        self == Self::for_epoch(epoch)
    }
}

/// The bits of the flags that name an epoch.
const EPOCH_BITS: u8 = 0x0f;

/// A whole frame: exactly [`FRAME`] bytes with a valid header.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame(Box<[u8]>);

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frame").field("kind", &self.kind()).finish_non_exhaustive()
    }
}

impl Frame {
    /// A frame around a body, which is padded with zeros.
    ///
    /// # Errors
    /// If the body is longer than [`FRAME_BODY`], or shorter in a frame of kind [`FrameKind::Packet`].
    pub fn new(kind: FrameKind, flags: Flags, body: &[u8]) -> Result<Self> {
        if body.len() > FRAME_BODY {
            return Err(DecodeError::TooLong("frame body"));
        }
        if kind == FrameKind::Packet && body.len() != FRAME_BODY {
            return Err(DecodeError::Truncated);
        }
        let mut writer = Writer::with_capacity(FRAME);
        writer.u8(kind as u8).u8(flags.0).u16(0).put(body).pad_to(FRAME);
        Ok(Self(writer.finish().into_boxed_slice()))
    }

    /// A frame that only keeps a clock's rate.
    pub fn dummy() -> Self {
        Self::new(FrameKind::Dummy, Flags::default(), &[]).expect("an empty body fits")
    }

    /// Checks size and header of received bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes);
        FrameKind::from_byte(reader.u8()?)?;
        if reader.u8()? > EPOCH_BITS {
            return Err(DecodeError::Invalid("frame flags"));
        }
        if reader.u16()? != 0 {
            return Err(DecodeError::Invalid("reserved bytes"));
        }
        reader.take(FRAME_BODY)?;
        reader.finish()?;
        Ok(Self(bytes.into()))
    }

    /// The frame as it crosses the link.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// What the frame holds.
    pub fn kind(&self) -> FrameKind {
        self.0.first().and_then(|&byte| FrameKind::from_byte(byte).ok()).expect("both constructors check the kind")
    }

    /// The frame's flags.
    pub fn flags(&self) -> Flags {
        Flags(self.0.get(1).copied().unwrap_or(0))
    }

    /// The body, padding included.
    pub fn body(&self) -> &[u8] {
        self.0.get(FRAME_HEADER..).unwrap_or(&[])
    }
}

/// First frame of each side of a link. Nodes and mailboxes send a zero session address: the link key says who they are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hello {
    /// The address that a client draws for this connection; `None` between nodes and from an entry.
    pub session: Option<SessionAddress>,
    /// From a client a session puzzle's solution; from an entry what it asks, see [`crate::puzzle::SessionAsk`]. Zero: none.
    pub puzzle: [u8; PUZZLE],
    /// The newest document that the sender holds (zero: none). An entry sends a document only to who lacks it.
    pub document: DocumentHash,
    /// How fast a client's clocks run, and the entry's clock for it. Nodes have none: theirs says standard.
    pub profile: Profile,
}

/// Version of the hello, which is that of the link: a peer of another version is refused. Version 0 had no profile.
const HELLO_VERSION: u8 = 1;

impl Hello {
    /// The hello of a node.
    pub fn node(document: DocumentHash) -> Self {
        Self { session: None, puzzle: [0; PUZZLE], document, profile: Profile::Standard }
    }

    /// The hello of a client of the standard profile.
    pub fn client(session: SessionAddress, document: DocumentHash) -> Self {
        Self { session: Some(session), ..Self::node(document) }
    }

    /// As a frame.
    pub fn to_frame(&self) -> Frame {
        let mut writer = Writer::with_capacity(128);
        writer.put(&self.session.map_or([0; 32], |session| session.0)).put(&self.puzzle).put(&self.document.0);
        writer.u8(HELLO_VERSION).u8(self.profile as u8);
        Frame::new(FrameKind::Hello, Flags::default(), &writer.finish()).expect("a hello is shorter than a body")
    }

    /// From a frame's body.
    ///
    /// # Errors
    /// [`DecodeError::Invalid`] for another version, an unknown profile, or a profile without a session.
    pub fn decode(body: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(body);
        let session = reader.array()?;
        let session = (session != [0; 32]).then_some(SessionAddress(session));
        let (puzzle, document) = (reader.array()?, DocumentHash(reader.array()?));
        if reader.u8()? != HELLO_VERSION {
            return Err(DecodeError::Invalid("version of the hello"));
        }
        let profile = Profile::from_byte(reader.u8()?)?;
        if session.is_none() && profile != Profile::Standard {
            return Err(DecodeError::Invalid("profile"));
        }
        reader.finish_padding()?;
        Ok(Self { session, puzzle, document, profile })
    }
}

/// What a [`Want`] asks for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Wanted {
    /// Digests, by tick, oldest first.
    Digests = 0,
    /// Sets of hours, newest first.
    Hours = 1,
    /// Sets of days, newest first.
    Days = 2,
}

impl Wanted {
    fn from_byte(byte: u8) -> Result<Self> {
        let known = [Self::Digests, Self::Hours, Self::Days].into_iter().find(|&wanted| wanted as u8 == byte);
        known.ok_or(DecodeError::Invalid("what is wanted"))
    }
}

/// Asks for the digests or sets of one mailbox in a range of ticks, hours or days: a client its entry, an entry a mailbox.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Want {
    /// Whose.
    pub mailbox: NodeId,
    /// What.
    pub what: Wanted,
    /// The oldest wanted: a tick, an hour or a day.
    pub first: u32,
    /// How many from there on; `u32::MAX` means "all that you have".
    pub count: u32,
}

impl Want {
    /// Asks for no digest of nobody: keeps a clock's rate.
    pub const NOTHING: Self = Self { mailbox: NodeId([0; 32]), what: Wanted::Digests, first: 0, count: 0 };

    /// Of digests.
    pub fn digests(mailbox: NodeId, first: Tick, count: u32) -> Self {
        Self { mailbox, what: Wanted::Digests, first: first.0, count }
    }

    /// The first that is behind the range.
    pub fn end(&self) -> u32 {
        self.first.saturating_add(self.count)
    }

    /// As a frame.
    pub fn to_frame(&self) -> Frame {
        let mut writer = Writer::with_capacity(64);
        writer.put(self.mailbox.as_bytes()).u32(self.first).u32(self.count).u8(self.what as u8);
        Frame::new(FrameKind::Want, Flags::default(), &writer.finish()).expect("a want is shorter than a body")
    }

    /// From a frame's body.
    pub fn decode(body: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(body);
        let (mailbox, first, count) = (NodeId(reader.array()?), reader.u32()?, reader.u32()?);
        let want = Self { mailbox, what: Wanted::from_byte(reader.u8()?)?, first, count };
        reader.finish_padding()?;
        Ok(want)
    }
}

/// Most bytes of a stream that one frame carries.
pub const SEGMENT_MAX: usize = FRAME_BODY - 2;

/// Cuts records into frame bodies: the sending half of a byte stream.
///
/// Bounded by the sum of its queued records, which the owner reads with [`RecordCutter::queued`] before it pushes.
#[derive(Debug, Default)]
pub struct RecordCutter {
    queue: VecDeque<Arc<[u8]>>,
    /// Bytes of the first record, length prefix included, that are already out.
    sent: usize,
    queued: usize,
}

impl RecordCutter {
    /// Queues a record of at most `u32::MAX` bytes; longer ones are dropped, which no format of the project reaches.
    pub fn push(&mut self, record: Arc<[u8]>) {
        if u32::try_from(record.len()).is_ok() {
            self.queued += record.len() + 4;
            self.queue.push_back(record);
        }
    }

    /// Bytes that wait, length prefixes included.
    pub fn queued(&self) -> usize {
        self.queued
    }

    /// The next frame of the stream; `None` if nothing waits.
    pub fn next_frame(&mut self, kind: FrameKind) -> Option<Frame> {
        let segment = self.next_segment(SEGMENT_MAX)?;
        let mut body = Writer::with_capacity(FRAME_BODY);
        body.bytes16(&segment);
        Some(Frame::new(kind, Flags::default(), &body.finish()).expect("a segment and its length fill a body at most"))
    }

    /// The next bytes of the stream, at most `max`; `None` if nothing waits or fits.
    pub fn next_segment(&mut self, max: usize) -> Option<Vec<u8>> {
        let mut segment = Vec::with_capacity(max.min(self.queued));
        while let Some(record) = self.queue.front() {
            let prefix = u32::try_from(record.len()).unwrap_or(u32::MAX).to_be_bytes();
            let bytes = prefix.iter().chain(record.iter()).skip(self.sent).take(max - segment.len());
            let before = segment.len();
            segment.extend(bytes);
            let cut = segment.len() - before;
            self.sent += cut;
            self.queued -= cut;
            if self.sent < record.len() + 4 {
                break;
            }
            self.queue.pop_front();
            self.sent = 0;
        }
        (!segment.is_empty()).then_some(segment)
    }
}

/// Joins frame bodies to records again. Holds at most one record of the stated bound, plus one segment.
#[derive(Debug)]
pub struct RecordJoiner {
    buffer: Vec<u8>,
    record_max: usize,
    /// A record was refused: where the next one begins is not known any more.
    lost: bool,
}

impl RecordJoiner {
    /// For records of at most `record_max` bytes.
    pub fn new(record_max: usize) -> Self {
        Self { buffer: Vec::new(), record_max, lost: false }
    }

    /// Takes a frame's body and returns the records that it completes.
    ///
    /// # Errors
    /// A malformed body, or a record above the bound: the stream is useless from here on, every later push is refused too, and
    /// its link should be closed.
    pub fn push(&mut self, body: &[u8]) -> Result<Vec<Vec<u8>>> {
        let mut reader = Reader::new(body);
        let segment = reader.bytes16(SEGMENT_MAX, "stream segment").and_then(|segment| {
            reader.finish_padding()?;
            Ok(segment)
        });
        self.push_segment(segment)
    }

    /// Takes the next bytes of the stream, as [`RecordCutter::next_segment`] gave them.
    ///
    /// # Errors
    /// As [`RecordJoiner::push`].
    pub fn push_bytes(&mut self, segment: &[u8]) -> Result<Vec<Vec<u8>>> {
        self.push_segment(Ok(segment))
    }

    fn push_segment(&mut self, segment: Result<&[u8]>) -> Result<Vec<Vec<u8>>> {
        if self.lost {
            return Err(DecodeError::Invalid("stream"));
        }
        let records = segment.and_then(|segment| self.join(segment));
        if records.is_err() {
            self.lost = true;
            self.buffer = Vec::new();
        }
        records
    }

    /// Bytes of records that are not complete yet.
    pub fn buffered(&self) -> usize {
        self.buffer.len()
    }

    fn join(&mut self, segment: &[u8]) -> Result<Vec<Vec<u8>>> {
        self.buffer.extend_from_slice(segment);
        let mut records = Vec::new();
        while let Some((prefix, rest)) = self.buffer.split_first_chunk::<4>() {
            let length = u32::from_be_bytes(*prefix) as usize;
            if length > self.record_max {
                return Err(DecodeError::TooLong("stream record"));
            }
            let Some(record) = rest.get(..length) else { break };
            records.push(record.to_vec());
            self.buffer.drain(..4 + length);
        }
        Ok(records)
    }
}
