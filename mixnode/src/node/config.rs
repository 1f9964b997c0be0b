//! Configuration of a relay, and the commands that do not run it.

use serde::Deserialize;
use std::path::Path;
use veilpost_daemon::{
    config::{self, ConfigError, NodeConfig},
    identity,
    stop::Failure,
};
use veilpost_packet::time::Epoch;
use veilpost_pki::{Descriptor, Role};

/// A relay's configuration file.
///
/// ```toml
/// role = "mix"                  # or "entry"
/// sessions = 4096               # optional, entries: clients at once; from half of them on a newcomer solves a puzzle first
/// [node]
/// data_dir = "data"
/// listen = "127.0.0.1:4001"
/// network = "network.toml"
/// document = "document"
/// metrics = "127.0.0.1:9101"    # optional
/// onion = true                  # optional, entries: an onion service for clients that show no address
/// ```
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `mix` or `entry`.
    pub role: Role,
    /// Clients that an entry serves at once.
    #[serde(default = "sessions")]
    pub sessions: usize,
    /// What every relay has.
    pub node: NodeConfig,
}

fn sessions() -> usize {
    crate::Limits::default().sessions
}

impl Config {
    /// Reads and checks a configuration file.
    ///
    /// # Errors
    /// [`Failure::Config`] with file, line and what to do.
    pub fn load(path: &Path) -> Result<Self, Failure> {
        let Self { role, sessions, node } = config::load(path).map_err(Failure::config)?;
        if role == Role::Mailbox {
            let what = "this program is a mix or an entry; mailboxes are run by veilpost-mailbox".into();
            return Err(Failure::config(ConfigError::Value { path: path.into(), key: "role", what }));
        }
        if role == Role::Mix && node.onion {
            let what = "clients come to entries and mailboxes alone: a mix has no onion service".into();
            return Err(Failure::config(ConfigError::Value { path: path.into(), key: "node.onion", what }));
        }
        Ok(Self { role, sessions, node: node.resolve(path).map_err(Failure::config)? })
    }
}

/// `init`: keys and descriptor.
///
/// # Errors
/// [`Failure::Runtime`].
pub fn init(config: &Config, epoch: u64) -> Result<Descriptor, Failure> {
    identity::init(&config.node, config.role, Epoch(epoch)).map_err(Failure::runtime)
}
