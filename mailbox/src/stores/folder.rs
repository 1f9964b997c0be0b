//! The folder of a store: which engine wrote it, who uses it, which databases are whole.
//!
//! ```text
//! boxes/engine        which engine wrote the store
//! boxes/lock          held by the process that uses it
//! boxes/main          records
//! boxes/day-20500     the boxes whose last day is this one
//! boxes/new-NAME      a database that is being made: renamed when it is whole, removed at the next start if it never was
//! boxes/old-NAME      a database whose day is over, on its way out: removed at the next start if that was cut off
//! ```

use super::{EngineName, OpenError};
use std::{
    fs::{self, File},
    io::{self, Read as _, Write as _},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    time::Duration,
};
use veilpost_packet::time::Day;

const ENGINE: &str = "engine";
const LOCK: &str = "lock";
const BUCKET: &str = "day-";
const HALF_MADE: &str = "new-";
const LEAVING: &str = "old-";
/// The main database.
pub(super) const MAIN: &str = "main";
/// What the file `engine` says before the engine's name. The number is that of the layout.
const MAGIC: &str = "veilpost-store 1 ";
/// Longest file `engine` that is read.
const ENGINE_BYTES_MAX: u64 = 64;

/// How often, and after which waits, a lock is tried: 1 s in all. A mailbox that ends, and a process that is being started by the
/// one that had the lock, hold it a moment longer.
const LOCK_TRIES: usize = 100;
const LOCK_WAIT: Duration = Duration::from_millis(10);

/// A store's folder, locked against other processes while this value lives.
#[derive(Debug)]
pub(super) struct Folder {
    pub(super) path: PathBuf,
    _lock: File,
}

impl Folder {
    /// Makes the folder if it is not there, locks it, checks that this engine wrote it, clears away what was cut off.
    pub(super) fn open(path: &Path, engine: EngineName) -> Result<Self, OpenError> {
        make(path).map_err(|error| OpenError::io(path, error))?;
        let lock = lock(path)?;
        match written_by(path)? {
            Some(by) if by == engine => {}
            Some(by) => return Err(OpenError::OtherEngine { path: path.into(), by, asked: engine }),
            None => {
                only_ours(path)?;
                claim(path, engine).map_err(|error| OpenError::io(path, error))?;
            }
        }
        let folder = Self { path: path.into(), _lock: lock };
        folder.sweep().map_err(|error| OpenError::io(path, error))?;
        Ok(folder)
    }

    /// Days of the buckets that are there.
    pub(super) fn buckets(&self) -> io::Result<Vec<Day>> {
        Ok(names(&self.path)?.iter().filter_map(|name| day_of(name)).collect())
    }

    /// Where a database of this name lies.
    pub(super) fn place(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Where it is being made.
    pub(super) fn half_made(&self, name: &str) -> PathBuf {
        self.path.join(format!("{HALF_MADE}{name}"))
    }

    /// A database that was made is whole: gives it its name, for good.
    pub(super) fn finish(&self, name: &str) -> io::Result<()> {
        let half = self.half_made(name);
        sync_tree(&half)?;
        fs::rename(half, self.place(name))?;
        sync(&self.path)
    }

    /// Takes a closed database away: its name at once, its bytes at once too or at the next [`Folder::sweep`].
    pub(super) fn leave(&self, name: &str) -> io::Result<()> {
        fs::rename(self.place(name), self.path.join(format!("{LEAVING}{name}")))
    }

    /// Removes databases that were half made or half removed.
    pub(super) fn sweep(&self) -> io::Result<()> {
        let cut_off = |name: &&String| name.starts_with(HALF_MADE) || name.starts_with(LEAVING);
        names(&self.path)?.iter().filter(cut_off).try_for_each(|name| remove(&self.path.join(name)))
    }
}

/// Name of a bucket's database.
pub(super) fn bucket_name(day: Day) -> String {
    format!("{BUCKET}{}", day.0)
}

fn day_of(name: &str) -> Option<Day> {
    let day = Day(name.strip_prefix(BUCKET)?.parse().ok()?);
    (bucket_name(day) == name).then_some(day)
}

/// Makes a folder that others cannot look into.
pub(super) fn make(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Locks the folder for as long as the file lives.
pub(super) fn lock(path: &Path) -> Result<File, OpenError> {
    let file = path.join(LOCK);
    let lock = File::create(&file).map_err(|error| OpenError::io(&file, error))?;
    for _ in 0..LOCK_TRIES {
        match lock.try_lock() {
            Ok(()) => return Ok(lock),
            Err(fs::TryLockError::WouldBlock) => std::thread::sleep(LOCK_WAIT),
            Err(fs::TryLockError::Error(error)) => return Err(OpenError::io(&file, error)),
        }
    }
    Err(OpenError::InUse(path.into()))
}

/// Which engine wrote the store; `None` if nobody has yet.
pub(super) fn written_by(path: &Path) -> Result<Option<EngineName>, OpenError> {
    let file = path.join(ENGINE);
    let mut text = String::new();
    match File::open(&file).and_then(|open| open.take(ENGINE_BYTES_MAX).read_to_string(&mut text)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.kind() != io::ErrorKind::InvalidData => return Err(OpenError::io(&file, error)),
        _ => {}
    }
    let name = text.strip_prefix(MAGIC).and_then(|rest| rest.strip_suffix('\n'));
    name.and_then(|name| name.parse().ok()).map(Some).ok_or(OpenError::Marker(file))
}

/// Says which engine writes this store, at once and for good.
fn claim(path: &Path, engine: EngineName) -> io::Result<()> {
    let half = path.join(format!("{HALF_MADE}{ENGINE}"));
    let mut file = File::create(&half)?;
    file.write_all(format!("{MAGIC}{engine}\n").as_bytes())?;
    file.sync_all()?;
    fs::rename(half, path.join(ENGINE))?;
    sync(path)
}

/// Refuses a folder with anything in it that is not ours: a store of the former layout, or a mistake in the configuration.
fn only_ours(path: &Path) -> Result<(), OpenError> {
    let names = names(path).map_err(|error| OpenError::io(path, error))?;
    if names.iter().any(|name| name == "conf" || name == "db") {
        return Err(OpenError::FormerLayout(path.into()));
    }
    if names.iter().any(|name| name != LOCK && !name.starts_with(HALF_MADE)) {
        return Err(OpenError::NotAStore(path.into()));
    }
    Ok(())
}

fn names(path: &Path) -> io::Result<Vec<String>> {
    // A name that is no text is not ours, and is seen as what it looks like.
    fs::read_dir(path)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}

/// Removes a file or a folder with all that is in it; nothing if it is not there.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(about) if about.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Brings a file, or the list of what is in a folder, to the disk.
pub(super) fn sync(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Brings a file, or a folder with all that is in it, to the disk.
pub(super) fn sync_tree(path: &Path) -> io::Result<()> {
    if fs::symlink_metadata(path)?.is_dir() {
        for entry in fs::read_dir(path)? {
            sync_tree(&entry?.path())?;
        }
    }
    sync(path)
}
