//! A node that leaves its network: it is taken out of the documents first and stops when nothing can be on its way to it.
//!
//! `leave` puts a marker into the data folder, which whoever publishes descriptors asks for: without a descriptor the next
//! documents do not list the node. The node goes on until the document in force does not list it and its last key's grace period
//! is over, and ends with exit code 0. The marker outlives restarts; `leave --undo` takes it away.

use crate::{
    clock::Clock,
    epochs::LiveEpochs,
    keys::{self, KeyError},
};
use std::{io, path::Path, sync::Arc, time::Duration};
use tokio::sync::watch;

const MARKER: &str = "leaving";
/// How often a node looks for its marker.
const LOOK: Duration = Duration::from_secs(1);

/// Marks the node of a data folder as leaving, or not any more. It need not run.
///
/// # Errors
/// [`KeyError::Io`].
pub fn mark(data_dir: &Path, leaving: bool) -> Result<(), KeyError> {
    let path = data_dir.join(MARKER);
    if leaving {
        return keys::write_public(&path, b"this node is leaving its network\n");
    }
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(KeyError::Io { path, error }),
        _ => Ok(()),
    }
}

/// True if the node is to leave: it publishes no descriptor then.
pub fn is_marked(data_dir: &Path) -> bool {
    data_dir.join(MARKER).exists()
}

/// Completes when a node that is marked has left: a document in force does not list it and none of its keys lives.
pub async fn left(data_dir: &Path, clock: Clock, live: &watch::Receiver<Arc<LiveEpochs>>) {
    loop {
        let live = Arc::clone(&live.borrow());
        let gone = live.numbers().is_empty() && live.documents().in_force(clock.now()).is_some();
        if gone && is_marked(data_dir) {
            tracing::info!("this node has left its network");
            return;
        }
        tokio::time::sleep(LOOK).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_marker_stays_until_it_is_taken_away() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!is_marked(folder.path()));
        mark(folder.path(), true).unwrap();
        mark(folder.path(), true).unwrap();
        assert!(is_marked(folder.path()));
        mark(folder.path(), false).unwrap();
        mark(folder.path(), false).unwrap();
        assert!(!is_marked(folder.path()));
    }
}
