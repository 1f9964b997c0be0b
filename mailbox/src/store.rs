//! The narrow door to the disk. The engine knows this trait and nothing of what stands behind it.

use veilpost_packet::{
    boxes::{BoxTag, ContentHash, SealedBox},
    ids::BoxId,
    time::{Day, Tick},
};

/// What a store holds under a box id.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Held {
    /// The box.
    Box(Box<SealedBox>),
    /// It was acknowledged; the content hash stays until the end of a day.
    Tombstone {
        /// Of the box that was here.
        content: ContentHash,
        /// The last day on which it is remembered.
        until: Day,
    },
}

impl Held {
    /// The last day on which the entry is kept.
    pub fn until(&self) -> Day {
        match self {
            Self::Box(sealed) => sealed.expiry,
            Self::Tombstone { until, .. } => *until,
        }
    }
}

/// One step of a batch.
#[derive(Clone, Debug)]
pub enum Change {
    /// Holds a box or a tombstone in place of whatever is there. `announce`, for an id that is not held: its tag waits for the next
    /// digest from now on.
    Hold {
        /// The box's id.
        id: BoxId,
        /// What to hold.
        held: Held,
        /// The tag to publish.
        announce: Option<BoxTag>,
    },
    /// Keeps a published digest and forgets that these tags waited.
    Publish {
        /// Its number.
        tick: Tick,
        /// Its bytes.
        bytes: Vec<u8>,
        /// The tags that no longer wait.
        tags: Vec<BoxTag>,
    },
}

/// How full a store is.
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
pub const TOMBSTONE_BYTES: u64 = 128;

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

/// Boxes, tombstones and digests on disk.
pub trait BoxStore {
    /// What is held under this id.
    fn get(&self, id: &BoxId) -> Result<Option<Held>>;

    /// Makes all changes or none; when it returns `Ok` they survive the death of process and machine.
    fn apply(&mut self, changes: &[Change]) -> Result<()>;

    /// Drops what was to be kept until a day before `today`, at most `limit` entries; returns how many went.
    fn expire(&mut self, today: Day, limit: usize) -> Result<usize>;

    /// Drops digests older than `oldest`.
    fn drop_digests(&mut self, oldest: Tick) -> Result<()>;

    /// Tags of boxes that no digest has named yet, oldest first, at most `limit`.
    fn unannounced(&self, limit: usize) -> Result<Vec<BoxTag>>;

    /// Digests from a tick on, oldest first, at most `limit`.
    fn digests(&self, from: Tick, limit: usize) -> Result<Vec<Vec<u8>>>;

    /// The newest digest.
    fn newest_digest(&self) -> Result<Option<Vec<u8>>>;

    /// How full it is.
    fn usage(&self) -> Usage;
}
