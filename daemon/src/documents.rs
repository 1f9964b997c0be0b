//! Network documents as they come, whatever they come from: verified, kept on disk, handed to the node.
//!
//! ```text
//!  file (follow_file) ---bytes--\
//!  another source ------bytes----> DocumentHub::offer -- verified --> data_dir/documents/EPOCH
//!                                        \--> watch::Receiver<Documents> --> whoever relays
//! ```
//! A source calls [`DocumentHub::offer`] with bytes and need not know what is there already. What is on disk lets a node
//! start again while no source answers.

use crate::{
    clock::Clock,
    keys::{self, KeyError},
};
use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};
use tokio::sync::watch;
use veilpost_packet::geometry::DOCUMENT_MAX;
pub use veilpost_pki::documents::{DOCUMENTS_MAX, Documents, NotTaken};
use veilpost_pki::{AuthoritySet, Document, DocumentError, UnverifiedDocument};

/// How often a file is looked at.
const POLL: Duration = Duration::from_secs(1);
/// Files that are looked at in the folder of kept documents; there are [`DOCUMENTS_MAX`] unless somebody else writes there.
const FILES_MAX: usize = 64;

/// An offered document was not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OfferError {
    /// It does not verify, or not at this time.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// It has no place beside those that are known.
    #[error(transparent)]
    NotTaken(#[from] NotTaken),
}

/// Where documents come together. Clones share it.
#[derive(Debug, Clone)]
pub struct DocumentHub {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    folder: PathBuf,
    authorities: AuthoritySet,
    clock: Clock,
    known: watch::Sender<Documents>,
    /// Held while a document is taken: sources come one after the other to watch and disk.
    taking: Mutex<()>,
}

impl DocumentHub {
    /// Makes the folder if it is not there and takes the documents in it that are still good; removes the others.
    ///
    /// # Errors
    /// [`KeyError::Io`].
    pub fn open(folder: &Path, authorities: AuthoritySet, clock: Clock) -> Result<Self, KeyError> {
        keys::make_folder(folder)?;
        let (known, _) = watch::channel(Documents::default());
        let taking = Mutex::new(());
        let hub = Self { shared: Arc::new(Shared { folder: folder.into(), authorities, clock, known, taking }) };
        for (epoch, path) in hub.kept() {
            // Tidied up when all are read: until then the folder knows more than we do.
            let taken = read_bounded(&path).map(|bytes| hub.take(&bytes));
            if !matches!(taken, Ok(Ok(_))) {
                tracing::debug!(epoch, "a kept network document is of no more use");
            }
        }
        let now = hub.shared.clock.now();
        hub.shared.known.send_if_modified(|documents| documents.forget(now));
        hub.tidy();
        Ok(hub)
    }

    /// Takes a document's bytes from a source. True if it is new. Writes to disk, so an async source calls it on a thread
    /// where that may block.
    ///
    /// # Errors
    /// [`OfferError`].
    pub fn offer(&self, bytes: &[u8]) -> Result<bool, OfferError> {
        let _one_at_a_time = self.shared.taking.lock().unwrap_or_else(PoisonError::into_inner);
        let new = self.take(bytes)?;
        if new {
            self.tidy();
        }
        Ok(new)
    }

    fn take(&self, bytes: &[u8]) -> Result<bool, OfferError> {
        let Shared { authorities, clock, known, .. } = &*self.shared;
        let now = clock.now();
        let mut documents = known.borrow().clone();
        // With every hand-over that is known: who has handed over is not believed any more.
        let authorities = documents.newest().map_or(authorities, |newest| newest.authorities());
        let document = UnverifiedDocument::from_bytes(bytes)?.verify_early(authorities, now)?;
        documents.forget(now);
        match documents.insert(now, document.clone()) {
            Ok(()) => {}
            Err(NotTaken::Known) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        // The disk is for the next start: without it this run goes on.
        if let Err(error) = self.keep(&document) {
            tracing::warn!(%error, "a network document could not be kept");
        }
        known.send_replace(documents);
        Ok(true)
    }

    /// The documents known, now and whenever there is another.
    pub fn subscribe(&self) -> watch::Receiver<Documents> {
        self.shared.known.subscribe()
    }

    fn keep(&self, document: &Document) -> Result<(), KeyError> {
        let path = self.shared.folder.join(document.epoch.0.to_string());
        // Known from disk, at a start.
        if path.exists() { Ok(()) } else { keys::write_public(&path, &document.bytes()) }
    }

    /// Removes the files of documents that are not known (any more).
    fn tidy(&self) {
        let known = self.shared.known.borrow().clone();
        for (epoch, path) in self.kept() {
            if !known.iter().any(|document| document.epoch.0 == epoch) {
                // It is tried again with the next document.
                let _ = fs::remove_file(path);
            }
        }
    }

    /// Epochs and files of the folder.
    fn kept(&self) -> Vec<(u64, PathBuf)> {
        let Ok(entries) = fs::read_dir(&self.shared.folder) else { return Vec::new() };
        let paths = entries.filter_map(Result::ok).take(FILES_MAX).map(|entry| entry.path());
        let numbered = paths.filter_map(|path| Some((path.file_name()?.to_str()?.parse().ok()?, path)));
        let mut kept: Vec<_> = numbered.collect();
        kept.sort_unstable();
        kept
    }
}

/// Reads a document's file, if it is not larger than a document can be.
fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    if fs::metadata(path)?.len() > DOCUMENT_MAX as u64 {
        return Err(io::Error::other("the file is larger than a network document can be"));
    }
    fs::read(path)
}

/// The source "a file": offers its content whenever its time of change is another. Runs until `stop` turns true.
pub async fn follow_file(hub: DocumentHub, path: PathBuf, mut stop: watch::Receiver<bool>) {
    let mut seen: Option<SystemTime> = None;
    loop {
        let (hub, file) = (hub.clone(), path.clone());
        let looked = tokio::task::spawn_blocking(move || look(&hub, &file, seen)).await;
        seen = looked.unwrap_or(seen);
        tokio::select! {
            () = tokio::time::sleep(POLL) => {}
            // An error means that nobody is left to stop us, nor to listen.
            _ = stop.wait_for(|&stop| stop) => return,
        }
    }
}

/// Offers the file if it changed since `seen`. Returns when it changed last.
fn look(hub: &DocumentHub, path: &Path, seen: Option<SystemTime>) -> Option<SystemTime> {
    let changed = fs::metadata(path).and_then(|data| data.modified()).ok()?;
    if seen == Some(changed) {
        return seen;
    }
    match read_bounded(path) {
        Ok(bytes) => {
            if let Err(error) = hub.offer(&bytes) {
                tracing::warn!(%error, "the network document's file is not taken");
            }
        }
        Err(error) => tracing::warn!(%error, "the network document's file cannot be read"),
    }
    Some(changed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{self, World};

    fn hub(folder: &Path) -> DocumentHub {
        DocumentHub::open(&folder.join("documents"), testing::authorities(), Clock::start()).unwrap()
    }

    fn epochs(hub: &DocumentHub) -> Vec<u64> {
        hub.subscribe().borrow().iter().map(|document| document.epoch.0).collect()
    }

    #[test]
    fn documents_are_kept_over_a_restart_and_old_ones_go() {
        let folder = tempfile::tempdir().unwrap();
        let world = World::now();
        let first = hub(folder.path());
        assert!(first.offer(&world.document(1, -7_300)).unwrap());
        assert!(first.offer(&world.document(4, -590)).unwrap());
        assert!(!first.offer(&world.document(4, -590)).unwrap(), "known");
        assert_eq!((epochs(&first), epochs(&self::hub(folder.path()))), (vec![1, 4], vec![1, 4]));
        // As if time went on: the key of the first is dead.
        fs::remove_file(folder.path().join("documents/4")).unwrap();
        fs::write(folder.path().join("documents/6"), world.document(6, -700)).unwrap();
        let again = hub(folder.path());
        assert_eq!(epochs(&again), [6]);
        assert!(!folder.path().join("documents/1").exists());
        assert!(again.offer(&world.document(7, 3_000)).unwrap(), "early");
        assert!(matches!(again.offer(&world.document(3, -3_000)), Err(OfferError::NotTaken(NotTaken::Superseded))));
    }

    #[test]
    fn what_does_not_verify_is_not_taken_and_not_kept() {
        let folder = tempfile::tempdir().unwrap();
        let (world, hub) = (World::now(), hub(folder.path()));
        let mut forged = world.document(1, -10);
        *forged.last_mut().unwrap() ^= 1;
        assert!(matches!(hub.offer(&forged), Err(OfferError::Document(_))));
        assert!(matches!(hub.offer(&world.document(2, 4_000)), Err(OfferError::Document(DocumentError::NotYetValid))));
        fs::write(folder.path().join("documents/7"), forged).unwrap();
        assert_eq!(epochs(&hub), [0_u64; 0]);
        let again = self::hub(folder.path());
        assert_eq!((epochs(&again), again.kept()), (vec![], vec![]));
    }

    #[tokio::test]
    async fn a_file_is_read_at_start_and_when_it_changes() {
        let folder = tempfile::tempdir().unwrap();
        let (world, hub) = (World::now(), hub(folder.path()));
        let (_stop, stopping) = watch::channel(false);
        let path = folder.path().join("document");
        let mut known = hub.subscribe();
        tokio::spawn(follow_file(hub, path.clone(), stopping));
        for (epoch, after) in [(1, -10), (2, 3_000)] {
            fs::write(&path, world.document(epoch, after)).unwrap();
            let newest = |known: &Documents| known.newest().is_some_and(|document| document.epoch.0 == epoch);
            tokio::time::timeout(Duration::from_secs(20), known.wait_for(newest)).await.unwrap().unwrap();
        }
    }
}
