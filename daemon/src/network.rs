//! Network file and network document from disk.

use crate::{clock::Clock, config::NodeConfig};
use std::{
    fs, io,
    path::{Path, PathBuf},
};
use veilpost_packet::{geometry::DOCUMENT_MAX, time::Timestamp};
use veilpost_pki::{Document, DocumentError, NetworkFile, UnverifiedDocument, network::NetworkFileError};

/// Network file or document cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetworkError {
    /// A file cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        error: io::Error,
    },
    /// The network file is malformed.
    #[error("{}: {error}", path.display())]
    Network {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: NetworkFileError,
    },
    /// The document is malformed or does not verify.
    #[error("{}: {error}", path.display())]
    Document {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: DocumentError,
    },
}

fn bounded(path: &Path, bound: u64) -> Result<Vec<u8>, NetworkError> {
    let read = |error| NetworkError::Read { path: path.into(), error };
    let length = fs::metadata(path).map_err(read)?.len();
    if length > bound {
        return Err(read(io::Error::other("the file is larger than it can be")));
    }
    fs::read(path).map_err(read)
}

/// Reads the network file.
///
/// # Errors
/// [`NetworkError`].
pub fn load_network(path: &Path) -> Result<NetworkFile, NetworkError> {
    let bytes = bounded(path, 1 << 20)?;
    NetworkFile::parse(&String::from_utf8_lossy(&bytes))
        .map_err(|error| NetworkError::Network { path: path.into(), error })
}

/// The bytes of a document's file, unverified.
///
/// # Errors
/// [`NetworkError::Read`].
pub fn read_document(path: &Path) -> Result<Vec<u8>, NetworkError> {
    bounded(path, DOCUMENT_MAX as u64)
}

/// Reads the document and checks network, signatures and time.
///
/// # Errors
/// [`NetworkError`].
pub fn load_document(path: &Path, network: &NetworkFile, now: Timestamp) -> Result<Document, NetworkError> {
    let bytes = bounded(path, DOCUMENT_MAX as u64)?;
    let wrong = |error| NetworkError::Document { path: path.into(), error };
    let authorities =
        network.authority_set().map_err(|error| NetworkError::Network { path: path.into(), error: error.into() })?;
    UnverifiedDocument::from_bytes(&bytes).and_then(|document| document.verify(&authorities, now)).map_err(wrong)
}

/// `check-config`: what `run` would find wrong in network file and document before it opens a socket, as far as they are
/// there.
///
/// # Errors
/// [`NetworkError`].
pub fn check_files(node: &NodeConfig, clock: &Clock) -> Result<(), NetworkError> {
    if !node.network.exists() {
        return Ok(());
    }
    let network = load_network(&node.network)?;
    if let Some(path) = node.document.as_deref().filter(|path| path.exists()) {
        load_document(path, &network, clock.now())?;
    }
    Ok(())
}
