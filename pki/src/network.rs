//! The file that a person starts from: which network, which authorities, where to knock first.

use crate::signed::{AuthoritySet, AuthoritySetError};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use veilpost_packet::ids::{AuthorityId, LinkKey, NodeId};

/// `network.toml`. Unknown keys are refused: a misspelt one would silently fall back to a default.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkFile {
    /// The network's name; part of its id.
    pub name: String,
    /// How many of the authorities may be hostile (f).
    pub faulty: usize,
    /// The authorities' keys.
    pub authorities: Vec<AuthorityId>,
    /// Entries to bootstrap from; one is enough.
    #[serde(rename = "entry", default)]
    pub entries: Vec<BootstrapEntry>,
}

/// An entry that a client may knock at before it has a document.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BootstrapEntry {
    /// Its node id.
    pub id: NodeId,
    /// Where it listens.
    pub address: SocketAddr,
    /// The key that it proves on the link.
    pub link_key: LinkKey,
}

/// Why a network file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetworkFileError {
    /// Not the TOML that it should be.
    #[error("{0}")]
    Syntax(#[from] toml::de::Error),
    /// The authorities cannot form a network.
    #[error("{0}")]
    Authorities(#[from] AuthoritySetError),
    /// No name, or one that is too long.
    #[error("the network's name must have 1 to 64 bytes")]
    Name,
}

impl NetworkFile {
    /// Reads and checks the text of a network file.
    pub fn parse(text: &str) -> Result<Self, NetworkFileError> {
        let file: Self = toml::from_str(text)?;
        if file.name.is_empty() || file.name.len() > 64 {
            return Err(NetworkFileError::Name);
        }
        file.authority_set()?;
        Ok(file)
    }

    /// The text of the file.
    pub fn to_text(&self) -> String {
        toml::to_string(self).expect("plain tables of strings and numbers are TOML")
    }

    /// The authorities with their threshold.
    pub fn authority_set(&self) -> Result<AuthoritySet, AuthoritySetError> {
        AuthoritySet::new(&self.name, &self.authorities, self.faulty)
    }
}
