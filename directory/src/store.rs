//! What an authority remembers through a kill at any instant: every file is written whole or not at all, and is on disk before
//! what it holds is said.
//!
//! ```text
//! data_dir/identity.key, link.key    see veilpost_daemon::keys
//! data_dir/lock                      held by the process that runs
//! data_dir/said/EPOCH                what was said in the last rounds; mode 0600, since values are secret until they are revealed
//! data_dir/documents/EPOCH           the last documents
//! data_dir/proofs/AUTHORITY          proofs of lies, kept for good
//! ```

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};
use veilpost_daemon::keys::{self, KeyError};
use veilpost_packet::{
    codec::{DecodeError, Reader, Writer},
    geometry::DOCUMENT_MAX,
    time::Epoch,
};
use veilpost_pki::{
    round::{DOCUMENTS_MAX, Record, SAID_MAX, Said, Stored},
    statement::EquivocationProof,
    vote::{PROOFS_MAX, VOTE_MAX},
};

/// The folder of an authority's memory.
#[derive(Debug)]
pub struct Store {
    folder: PathBuf,
    /// Locked as long as this is held.
    _lock: fs::File,
}

/// The memory cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Reading or writing failed.
    #[error("{0}")]
    Io(#[from] KeyError),
    /// Another process has it: two with one memory would say two things.
    #[error("{} is in use by another process: an authority runs once, or it is proved to say two things", .0.display())]
    InUse(PathBuf),
    /// A file of what was said does not decode: going on could mean saying something else for the same epoch.
    #[error("{} is damaged ({error}). Stop this authority for eight epochs, then remove the file: it must not say two things about one epoch", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: DecodeError,
    },
}

impl Store {
    /// Opens or makes the folders, and keeps other processes out of them.
    ///
    /// # Errors
    /// [`StoreError::Io`], [`StoreError::InUse`].
    pub fn open(data_dir: &Path) -> Result<Self, StoreError> {
        for name in ["said", "documents", "proofs"] {
            keys::make_folder(&data_dir.join(name))?;
        }
        let path = data_dir.join("lock");
        let lock = fs::File::create(&path).map_err(|error| KeyError::Io { path, error })?;
        lock.try_lock().map_err(|_| StoreError::InUse(data_dir.into()))?;
        Ok(Self { folder: data_dir.into(), _lock: lock })
    }

    /// Everything that is there.
    ///
    /// # Errors
    /// [`StoreError`]. A document or proof that is damaged is left out: others have it.
    pub fn load(&self) -> Result<Stored, StoreError> {
        let mut stored = Stored::default();
        for (path, bytes) in self.files("said", VOTE_MAX + 128)? {
            let said = decode_said(&bytes).map_err(|error| StoreError::Damaged { path, error })?;
            stored.said.push(said);
        }
        stored.documents = self.files("documents", DOCUMENT_MAX)?.into_iter().map(|(_, bytes)| bytes).collect();
        let proof = |bytes: Vec<u8>| {
            let mut reader = Reader::new(&bytes);
            EquivocationProof::read(&mut reader).ok()
        };
        stored.proofs = self.files("proofs", 1_024)?.into_iter().filter_map(|(_, bytes)| proof(bytes)).collect();
        stored.proofs.truncate(PROOFS_MAX);
        Ok(stored)
    }

    /// Writes a record; it is on disk when this returns.
    ///
    /// # Errors
    /// [`StoreError::Io`], for example of a full disk: nothing of it may be said then.
    pub fn write(&self, record: &Record) -> Result<(), StoreError> {
        match record {
            Record::Said(said) => {
                let path = self.folder.join("said").join(said.target.0.to_string());
                keys::write_public(&path, &encode_said(said))?;
                // The folder above is closed to others; this is for copies of it.
                let _ = fs::set_permissions(&path, fs::Permissions::from_mode(0o600));
                self.keep_newest("said", SAID_MAX);
            }
            Record::Document(epoch, bytes) => {
                keys::write_public(&self.folder.join("documents").join(epoch.0.to_string()), bytes)?;
                self.keep_newest("documents", DOCUMENTS_MAX);
            }
            Record::Proof(proof) => {
                let mut writer = Writer::default();
                proof.write(&mut writer);
                keys::write_public(&self.folder.join("proofs").join(proof.author().to_string()), &writer.finish())?;
            }
        }
        Ok(())
    }

    fn files(&self, name: &str, bound: usize) -> Result<Vec<(PathBuf, Vec<u8>)>, StoreError> {
        let mut files = Vec::new();
        for path in self.paths(name) {
            // What a kill left behind while it was written was never said.
            let partial = path.extension().is_some();
            let fits = fs::metadata(&path).is_ok_and(|meta| meta.is_file() && meta.len() <= bound as u64);
            if !partial && fits {
                let bytes = fs::read(&path).map_err(|error| KeyError::Io { path: path.clone(), error })?;
                files.push((path, bytes));
            }
        }
        Ok(files)
    }

    fn paths(&self, name: &str) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.folder.join(name)).into_iter().flatten();
        entries.filter_map(|entry| Some(entry.ok()?.path())).collect()
    }

    /// A file that cannot be removed is removed the next time.
    fn keep_newest(&self, name: &str, count: usize) {
        let number = |path: &PathBuf| path.file_name()?.to_str()?.parse::<u64>().ok();
        let mut numbered: Vec<_> =
            self.paths(name).into_iter().filter_map(|path| Some((number(&path)?, path))).collect();
        numbered.sort_unstable();
        let old = numbered.len().saturating_sub(count);
        for (_, path) in numbered.into_iter().take(old) {
            let _ = fs::remove_file(path);
        }
    }
}

fn encode_said(said: &Said) -> Vec<u8> {
    let mut writer = Writer::with_capacity(said.vote.len() + 128);
    writer.u64(said.target.0).put(&said.value);
    writer.u8(u8::from(said.document.is_some())).put(&said.document.unwrap_or_default()).put(&said.vote);
    writer.finish()
}

fn decode_said(bytes: &[u8]) -> Result<Said, DecodeError> {
    let mut reader = Reader::new(bytes);
    let (target, value) = (Epoch(reader.u64()?), reader.array()?);
    let signed = match reader.u8()? {
        0 => false,
        1 => true,
        _ => return Err(DecodeError::Invalid("flag")),
    };
    let digest = reader.array()?;
    let vote = reader.rest();
    veilpost_pki::vote::Vote::decode(vote)?;
    Ok(Said { target, vote: vote.into(), value, document: signed.then_some(digest) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use veilpost_pki::{Params, vote::Vote};

    fn said(target: u64) -> Said {
        let vote = Vote {
            base: None,
            params: Params::standard(),
            placement: Vec::new(),
            descriptors: Vec::new(),
            commitment: [3; 32],
            proofs: Vec::new(),
        };
        Said { target: Epoch(target), vote: vote.encode().into(), value: [4; 32], document: Some([5; 32]) }
    }

    #[test]
    fn what_was_said_is_there_again_and_only_the_last_rounds_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        for target in 1..=20 {
            store.write(&Record::Said(Said { document: None, ..said(target) })).unwrap();
            store.write(&Record::Said(said(target))).unwrap();
        }
        drop(store);
        let mut stored = Store::open(folder.path()).unwrap().load().unwrap().said;
        stored.sort_by_key(|said| said.target);
        assert_eq!(stored.len(), SAID_MAX);
        assert_eq!(stored.last().unwrap(), &said(20));
    }

    #[test]
    fn two_processes_do_not_share_one_memory() {
        let folder = tempfile::tempdir().unwrap();
        let first = Store::open(folder.path()).unwrap();
        assert!(matches!(Store::open(folder.path()), Err(StoreError::InUse(_))));
        drop(first);
        assert!(Store::open(folder.path()).is_ok());
    }

    #[test]
    fn a_damaged_memory_of_what_was_said_stops_the_authority_in_words() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        store.write(&Record::Said(said(7))).unwrap();
        fs::write(folder.path().join("said/7"), [1; 30]).unwrap();
        let error = store.load().unwrap_err().to_string();
        assert!(error.contains("said/7") && error.contains("two things"), "{error}");
    }

    #[test]
    fn what_a_kill_left_half_written_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        store.write(&Record::Said(said(7))).unwrap();
        fs::write(folder.path().join("said/8.partial"), [1; 30]).unwrap();
        assert_eq!(store.load().unwrap().said, [said(7)]);
    }
}
