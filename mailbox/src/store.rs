//! The narrow door to the disk. The engine knows this trait and nothing of what stands behind it.
//!
//! Boxes lie in *buckets*, one for each day of expiry; a bucket is dropped whole when its day is over. A box stays in its bucket
//! as a tombstone after its acknowledgement, so that a copy that comes late never brings it back.

use veilpost_packet::{
    boxes::{BoxTag, ContentHash, SealedBox},
    command::HolderSignature,
    ids::BoxId,
    time::{Day, Tick},
};

/// Holders of one box beside ourselves that are remembered at most.
pub const OTHERS_MAX: usize = 3;

/// The time for which a mailbox's word holds: drawn anew with each disk and each placement set. Who comes back with another one has
/// lost what it held, or may have handed it over.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct StoreId(pub u64);

/// Another mailbox's word that it holds a box.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Confirmation {
    /// Its signature, for the writer.
    pub signature: HolderSignature,
    /// The store that it wrote to.
    pub store: StoreId,
}

/// A box and who else holds it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Kept {
    /// The box.
    pub sealed: SealedBox,
    /// Who else holds it, as far as it is known; at most [`OTHERS_MAX`].
    pub others: Vec<Confirmation>,
    /// Its tag was given to a digest's queue once. A renewed box is not named again: what is renewed would show.
    pub announced: bool,
}

/// What is left of an acknowledged box, until the end of its last day.
#[derive(Clone, PartialEq, Eq)]
pub struct Tombstone {
    /// Of the box that was here.
    pub content: ContentHash,
    /// The box's last day.
    pub until: Day,
    /// What acknowledged it: shows the other holders that it is over.
    pub secret: [u8; 32],
    /// Who else held it; at most [`OTHERS_MAX`].
    pub others: Vec<Confirmation>,
}

impl std::fmt::Debug for Tombstone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tombstone(..)")
    }
}

/// What a store holds under a box id.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Held {
    /// The box.
    Box(Box<Kept>),
    /// It was acknowledged.
    Tombstone(Box<Tombstone>),
}

impl Held {
    /// The last day on which the entry is kept: its bucket.
    pub fn until(&self) -> Day {
        match self {
            Self::Box(kept) => kept.sealed.expiry,
            Self::Tombstone(tombstone) => tombstone.until,
        }
    }
}

/// A tag that waits for a digest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Waiting {
    /// The tag.
    pub tag: BoxTag,
    /// The first tick in whose digest it may stand.
    pub from: Tick,
    /// The bucket of its box: the tag is kept there and goes with it.
    pub bucket: Day,
}

/// Numbered records beside the boxes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum Series {
    /// Published digests, by tick.
    Digest = 1,
    /// What the engine has to remember of itself, by the kind of note.
    Note = 2,
    /// Signed sets of an hour, by hour; all parts in one record.
    HourlySet = 3,
    /// Signed sets of a day, by day; all parts in one record.
    DailySet = 4,
}

/// One step of a batch. Within a batch an id is changed once.
#[derive(Clone, Debug)]
pub enum Change {
    /// Holds a box or a tombstone in place of whatever is there, in the bucket of [`Held::until`].
    Hold {
        /// The box's id.
        id: BoxId,
        /// What to hold.
        held: Held,
        /// A tag that waits for a digest from now on; its bucket is that of `held`.
        announce: Option<Waiting>,
    },
    /// Another list of who else holds a box. Nothing if the bucket holds no box of this id.
    Confirm {
        /// The box's id.
        id: BoxId,
        /// Its bucket.
        bucket: Day,
        /// Who else holds it; at most [`OTHERS_MAX`].
        others: Vec<Confirmation>,
        /// A tag that waits for a digest from now on; sets [`Kept::announced`].
        announce: Option<Waiting>,
    },
    /// Holds nothing under this id any more: others do.
    Drop {
        /// The box's id.
        id: BoxId,
        /// Its bucket.
        bucket: Day,
    },
    /// This tag no longer waits.
    Announced(Waiting),
    /// Keeps a record, in place of one of the same number.
    Record {
        /// Where it belongs.
        series: Series,
        /// Its number.
        number: u32,
        /// Its bytes.
        bytes: Vec<u8>,
    },
}

/// How full a store or a bucket is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Usage {
    /// Boxes held.
    pub boxes: u64,
    /// Tombstones held.
    pub tombstones: u64,
}

impl Usage {
    /// Bytes that the quota counts: what the entries hold, without the engine's overhead.
    pub fn bytes(&self) -> u64 {
        self.boxes * SealedBox::SIZE as u64 + self.tombstones * TOMBSTONE_BYTES
    }
}

/// What a tombstone counts for.
pub const TOMBSTONE_BYTES: u64 = 256;

/// A place in the order of all entries: by bucket, then by id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Cursor {
    /// The bucket.
    pub bucket: Day,
    /// The id.
    pub id: BoxId,
}

/// An entry as a walk shows it, without the box itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Walked {
    /// Where it stands.
    pub at: Cursor,
    /// Who else holds it; `None` for a tombstone.
    pub others: Option<Vec<Confirmation>>,
}

/// Why the store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// No space left on the device.
    #[error("the disk is full")]
    DiskFull,
    /// The database engine or the disk failed.
    #[error("the store failed: {0}")]
    Failed(String),
    /// What was read is not what was written.
    #[error("the store is damaged: {0}")]
    Damaged(&'static str),
}

/// Result of a store's call.
pub type Result<T> = std::result::Result<T, StoreError>;

/// Boxes, tombstones and records on disk.
pub trait BoxStore {
    /// What is held under this id; if a renewal was cut off between two buckets, what lies in the later one.
    fn get(&self, id: &BoxId) -> Result<Option<Held>>;

    /// Makes the changes. When it returns `Ok` all of them survive the death of process and machine. After an error some may have
    /// been made, each of them whole; a read after it either fails or shows only what is durable.
    fn apply(&mut self, changes: &[Change]) -> Result<()>;

    /// Drops the buckets of days before `today`, whole, in constant time for each; returns how many went.
    fn expire(&mut self, today: Day) -> Result<usize>;

    /// Tags that wait for a digest, at most `limit`.
    fn waiting(&self, limit: usize) -> Result<Vec<Waiting>>;

    /// Entries behind a place, in order, at most `limit`.
    fn walk(&self, after: Option<Cursor>, limit: usize) -> Result<Vec<Walked>>;

    /// Records of a series from a number on, in order, at most `limit`.
    fn records(&self, series: Series, from: u32, limit: usize) -> Result<Vec<(u32, Vec<u8>)>>;

    /// The record of the highest number.
    fn newest(&self, series: Series) -> Result<Option<(u32, Vec<u8>)>>;

    /// Drops records of a lower number. They may come back after a crash.
    fn drop_records(&mut self, series: Series, before: u32) -> Result<()>;

    /// How full it is.
    fn usage(&self) -> Usage;

    /// How full a bucket is.
    fn usage_of(&self, bucket: Day) -> Usage;
}
