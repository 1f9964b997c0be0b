//! The file that a person starts from: which network, which authorities, where to knock first.

use crate::{
    schedule::{Schedule, ScheduleError},
    signed::{AuthoritySet, AuthoritySetError},
};
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
    /// When epochs begin.
    pub schedule: Schedule,
    /// The authorities that the network starts with.
    #[serde(rename = "authority")]
    pub authorities: Vec<NetworkAuthority>,
    /// Authorities that came by a hand-over: where they are reached. That they decide stands in the hand-over alone.
    #[serde(rename = "later_authority", default, skip_serializing_if = "Vec::is_empty")]
    pub later: Vec<NetworkAuthority>,
    /// Entries to bootstrap from; one is enough.
    #[serde(rename = "entry", default)]
    pub entries: Vec<BootstrapEntry>,
    /// The Tor network that nodes and clients of this network use; the public one if there is no such table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tor: Option<TorNetwork>,
}

/// A Tor network of one's own, for tests and laboratories. Without authorities it is none: then Tor is not used at all.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TorNetwork {
    /// Connections of Tor to any address but loopback are refused.
    #[serde(default = "yes")]
    pub loopback_only: bool,
    /// Its directory authorities.
    #[serde(rename = "authority", default, skip_serializing_if = "Vec::is_empty")]
    pub authorities: Vec<TorAuthority>,
    /// Relays to get its directory from.
    #[serde(rename = "fallback", default, skip_serializing_if = "Vec::is_empty")]
    pub fallbacks: Vec<TorFallback>,
}

fn yes() -> bool {
    true
}

impl TorNetwork {
    /// No Tor network at all: what networks on one computer begin with.
    pub const NONE: Self = Self { loopback_only: true, authorities: Vec::new(), fallbacks: Vec::new() };
}

/// A directory authority of a private Tor network.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TorAuthority {
    /// Fingerprint of its v3 identity key: 40 hexadecimal digits.
    pub v3ident: String,
    /// Its directory port.
    pub address: SocketAddr,
}

/// A relay of a private Tor network.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TorFallback {
    /// Fingerprint of its RSA identity: 40 hexadecimal digits.
    pub rsa: String,
    /// Its Ed25519 identity: base64.
    pub ed25519: String,
    /// Its relay port.
    pub address: SocketAddr,
}

/// An authority, and where nodes and other authorities reach it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkAuthority {
    /// Its signing key.
    pub id: AuthorityId,
    /// The key that it proves on links.
    pub link_key: LinkKey,
    /// Where it listens.
    pub address: SocketAddr,
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
    /// Its onion service, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub onion: Option<String>,
}

/// Why a network file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetworkFileError {
    /// Not the TOML that it should be.
    #[error("{0}")]
    Syntax(#[from] toml::de::Error),
    /// The times cannot work.
    #[error("[schedule]: {0}")]
    Schedule(#[from] ScheduleError),
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
        file.schedule.check(file.faulty)?;
        Ok(file)
    }

    /// All authorities that can be reached, those that came later too.
    pub fn reachable(&self) -> impl Iterator<Item = &NetworkAuthority> {
        self.authorities.iter().chain(&self.later)
    }

    /// The text of the file.
    pub fn to_text(&self) -> String {
        toml::to_string(self).expect("plain tables of strings and numbers are TOML")
    }

    /// The authorities with their threshold.
    pub fn authority_set(&self) -> Result<AuthoritySet, AuthoritySetError> {
        let keys: Vec<_> = self.authorities.iter().map(|authority| authority.id).collect();
        AuthoritySet::new(&self.name, &keys, self.faulty)
    }
}
