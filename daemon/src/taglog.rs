//! Replay tags on disk: written before a packet leaves, so that a node that is killed and started again with the same keys
//! still refuses what it has forwarded.
//!
//! ```text
//! header (116 B): "VPTAGS1\n" 8 | epoch 8 | Sphinx public key 32 | tag key 32 | boot id 36
//! then 8 bytes a tag; a tag of zero bytes marks a clean stop and is always the last
//! ```
//! What survives what:
//! - kill -9: everything, since a tag is in the kernel (one `write(2)`) before its packet may leave;
//! - a power cut or kernel crash: tags of the last second may be lost (fdatasync runs in the background). The log notices,
//!   since the boot id differs and the mark is missing, and refuses to open: the epoch's Sphinx key must be erased with it.
//!
//! The key that shortens tags lives in the log, so keys and log live and die together.

use crate::keys::{self, KeyError};
use std::{
    fmt,
    fs::{File, OpenOptions, TryLockError},
    io::{self, BufReader, Read, Seek, SeekFrom, Write},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};
use veilpost_packet::{
    codec::{DecodeError, Reader, Writer},
    replay::{TAG, Tag, TagKey, TagTable},
    sphinx::SphinxPublic,
    time::Epoch,
};
use zeroize::Zeroizing;

const MAGIC: &[u8; 8] = b"VPTAGS1\n";
const BOOT_ID_AT: u64 = 8 + 8 + 32 + 32;
const BOOT_ID: usize = 36;
const HEADER: usize = BOOT_ID_AT as usize + BOOT_ID;
/// Marks a clean stop. No tag is zero.
const CLEAN: [u8; TAG] = [0; TAG];
/// How often the background thread syncs a log that has grown.
const SYNC_PERIOD: Duration = Duration::from_millis(500);

/// A tag log cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TagLogError {
    /// The machine went down without a clean stop, so tags may be lost.
    #[error(
        "the machine went down without a clean stop, so packets of epoch {} could be replayed: its Sphinx key must be erased \
         and the node rejoins at the next epoch",
        epoch.0
    )]
    UncleanBoot {
        /// The epoch whose key must go.
        epoch: Epoch,
    },
    /// The log of a key that exists is not there: it was deleted, and with it the memory of what was forwarded.
    #[error("{} is missing: the Sphinx key beside it must be erased", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// Not a tag log, or another key's.
    #[error("{} is not the tag log of this node's Sphinx key ({error})", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: DecodeError,
    },
    /// The log holds more tags than the table has room for.
    #[error("{} holds more tags than this node's capacity allows: raise node.capacity", path.display())]
    TooMany {
        /// The file.
        path: PathBuf,
    },
    /// Another process has it open.
    #[error("{} is in use: is this node running already?", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// Reading or writing failed.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        error: io::Error,
    },
    /// An earlier write or sync failed: what is on disk is not known, so nothing more may be forwarded.
    #[error("the tag log failed before; the node must be restarted")]
    Failed,
    /// No randomness for the tag key.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// What a log is bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogKey {
    /// The epoch of the Sphinx key.
    pub epoch: Epoch,
    /// The Sphinx key whose packets the log remembers.
    pub sphinx: SphinxPublic,
}

/// An open log.
pub struct TagLog {
    path: PathBuf,
    shared: Arc<Shared>,
    /// Length up to which the file holds whole tags.
    length: u64,
    syncer: Option<JoinHandle<()>>,
}

struct Shared {
    file: File,
    dirty: AtomicBool,
    failed: AtomicBool,
    stop: Mutex<bool>,
    wake: Condvar,
}

/// What an open log held.
#[derive(Debug)]
pub struct Loaded {
    /// The log, ready for more.
    pub log: TagLog,
    /// The key that shortens this epoch's replay tags.
    pub key: TagKey,
    /// The tags so far.
    pub table: TagTable,
}

impl TagLog {
    /// Makes an empty log, which counts as cleanly stopped. Call it *before* the Sphinx key's file is written.
    ///
    /// # Errors
    /// [`TagLogError`], also if the file exists.
    pub fn create(path: &Path, bound_to: LogKey) -> Result<(), TagLogError> {
        let tag_key = keys::fresh()?;
        let mut writer = Writer::with_capacity(HEADER + TAG);
        writer.put(MAGIC).u64(bound_to.epoch.0).put(&bound_to.sphinx.0).put(tag_key.expose());
        writer.put(&boot_id(path)?).put(&CLEAN);
        let bytes = Zeroizing::new(writer.finish());
        let io = |error| TagLogError::Io { path: path.into(), error };
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(io)?;
        file.write_all(&bytes).and_then(|()| file.sync_all()).map_err(io)
    }

    /// Opens the log of a key and loads its tags into a table for `capacity` tags.
    ///
    /// # Errors
    /// [`TagLogError`]; after [`TagLogError::UncleanBoot`] and [`TagLogError::Missing`] the Sphinx key must be erased.
    pub fn open(path: &Path, bound_to: LogKey, capacity: usize) -> Result<Loaded, TagLogError> {
        Self::open_at_boot(path, bound_to, capacity, boot_id(path)?)
    }

    fn open_at_boot(
        path: &Path,
        bound_to: LogKey,
        capacity: usize,
        boot: [u8; BOOT_ID],
    ) -> Result<Loaded, TagLogError> {
        let io = |error| TagLogError::Io { path: path.into(), error };
        let file = OpenOptions::new().read(true).write(true).open(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => TagLogError::Missing { path: path.into() },
            _ => io(error),
        })?;
        // Two nodes on one log would forward each other's replays. The lock goes with the process.
        file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => TagLogError::InUse { path: path.into() },
            TryLockError::Error(error) => io(error),
        })?;
        let mut reader = BufReader::with_capacity(1 << 16, &file);
        let malformed = |error| TagLogError::Malformed { path: path.into(), error };
        let mut header = Zeroizing::new([0; HEADER]);
        reader.read_exact(header.as_mut()).map_err(|_| malformed(DecodeError::Truncated))?;
        let (key, written_at) = read_header(header.as_ref(), bound_to).map_err(malformed)?;

        let mut table = TagTable::new(capacity);
        let (mut whole, mut clean) = (0_u64, false);
        let mut bytes = [0; TAG];
        // A torn tail (a write that a power cut or a full disk cut short) is left out: its packets never left.
        while reader.read_exact(&mut bytes).is_ok() {
            if bytes == CLEAN {
                clean = true;
                break;
            }
            whole += 1;
            // A tag that stands twice is harmless.
            if table.check_and_insert(Tag::from_bytes(bytes)) == Err(veilpost_packet::replay::TagRefused::Full) {
                return Err(TagLogError::TooMany { path: path.into() });
            }
        }
        if !clean && written_at != boot {
            return Err(TagLogError::UncleanBoot { epoch: bound_to.epoch });
        }
        // First the boot id, then the mark: a crash in between leaves a clean log of this boot, which is what it is.
        let length = HEADER as u64 + whole * TAG as u64;
        file.write_all_at(&boot, BOOT_ID_AT).and_then(|()| file.sync_data()).map_err(io)?;
        file.set_len(length).and_then(|()| file.sync_data()).map_err(io)?;
        (&file).seek(SeekFrom::Start(length)).map_err(io)?;
        Ok(Loaded { log: Self::start(path.into(), file, length), key, table })
    }

    fn start(path: PathBuf, file: File, length: u64) -> Self {
        let shared = Arc::new(Shared {
            file,
            dirty: AtomicBool::new(false),
            failed: AtomicBool::new(false),
            stop: Mutex::new(false),
            wake: Condvar::new(),
        });
        let for_thread = Arc::clone(&shared);
        let syncer = std::thread::Builder::new().name("tag-sync".into()).spawn(move || for_thread.sync_until_stopped());
        // Without the thread nothing would ever be synced: the first append says so.
        if syncer.is_err() {
            shared.failed.store(true, Ordering::SeqCst);
        }
        Self { path, shared, length, syncer: syncer.ok() }
    }

    /// Appends tags with one `write(2)`. Only when this returns may their packets leave; after an error they must be dropped.
    /// Blocks for as long as the kernel takes to copy 8 bytes a tag.
    ///
    /// # Errors
    /// [`TagLogError::Io`], or [`TagLogError::Failed`] if the log failed before.
    pub fn append(&mut self, tags: &[Tag]) -> Result<(), TagLogError> {
        if tags.is_empty() {
            return Ok(());
        }
        let bytes: Vec<u8> = tags.iter().flat_map(|tag| tag.to_bytes()).collect();
        self.write(&bytes)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), TagLogError> {
        if self.shared.failed.load(Ordering::SeqCst) {
            return Err(TagLogError::Failed);
        }
        match (&self.shared.file).write_all(bytes) {
            Ok(()) => {
                self.length += bytes.len() as u64;
                self.shared.dirty.store(true, Ordering::SeqCst);
                Ok(())
            }
            Err(error) => {
                // A torn tag in the middle would shift all that follow, so take it back, or never write again.
                let mut file = &self.shared.file;
                let taken_back = file.set_len(self.length).and_then(|()| file.seek(SeekFrom::Start(self.length)));
                if taken_back.is_err() {
                    self.shared.failed.store(true, Ordering::SeqCst);
                }
                Err(TagLogError::Io { path: self.path.clone(), error })
            }
        }
    }

    /// Marks the log as cleanly stopped and syncs it: nothing of this epoch is in memory any more.
    ///
    /// # Errors
    /// [`TagLogError`]; the log then counts as unclean after the next boot.
    pub fn close(mut self) -> Result<(), TagLogError> {
        self.write(&CLEAN)?;
        self.stop_syncer();
        let path = self.path.clone();
        self.shared.file.sync_all().map_err(|error| TagLogError::Io { path, error })
    }

    fn stop_syncer(&mut self) {
        *self.shared.stop.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.shared.wake.notify_all();
        if let Some(thread) = self.syncer.take() {
            // It does not panic, and if it did there is nothing left to do here.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn sync_until_stopped(&self) {
        let mut stop = self.stop.lock().unwrap_or_else(PoisonError::into_inner);
        while !*stop {
            stop = self.wake.wait_timeout(stop, SYNC_PERIOD).unwrap_or_else(PoisonError::into_inner).0;
            // After a failed sync the kernel may have thrown the pages away: nothing can be said about them any more.
            if self.dirty.swap(false, Ordering::SeqCst) && self.file.sync_data().is_err() {
                self.failed.store(true, Ordering::SeqCst);
            }
        }
    }
}

impl Drop for TagLog {
    fn drop(&mut self) {
        self.stop_syncer();
    }
}

impl fmt::Debug for TagLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TagLog").field("length", &self.length).finish_non_exhaustive()
    }
}

fn read_header(header: &[u8], bound_to: LogKey) -> Result<(TagKey, [u8; BOOT_ID]), DecodeError> {
    let mut reader = Reader::new(header);
    if reader.take(MAGIC.len())? != MAGIC {
        return Err(DecodeError::Invalid("magic bytes"));
    }
    if (LogKey { epoch: Epoch(reader.u64()?), sphinx: SphinxPublic(reader.array()?) }) != bound_to {
        return Err(DecodeError::Invalid("key"));
    }
    let key = TagKey::new(reader.array()?);
    let boot = reader.array()?;
    reader.finish()?;
    Ok((key, boot))
}

/// Names this run of the kernel.
fn boot_id(log: &Path) -> Result<[u8; BOOT_ID], TagLogError> {
    let path = Path::new("/proc/sys/kernel/random/boot_id");
    let text = std::fs::read(path).map_err(|error| TagLogError::Io { path: path.into(), error })?;
    text.first_chunk()
        .copied()
        .ok_or(TagLogError::Malformed { path: log.into(), error: DecodeError::Invalid("boot id") })
}

#[cfg(test)]
mod tests;
