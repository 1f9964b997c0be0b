//! Configuration of a mailbox, and the commands that do not run it.

use crate::stores::EngineName;
use serde::Deserialize;
use std::path::Path;
use veilpost_daemon::{
    config::{self, NodeConfig},
    identity,
    stop::Failure,
};
use veilpost_packet::time::Epoch;
use veilpost_pki::{Descriptor, Role};

const MIB: u64 = 1024 * 1024;
/// Boxes that expire on one day take this part of the quota at most.
const BUCKET_SHARE: u64 = 4;

/// A mailbox's configuration file.
///
/// ```toml
/// [node]
/// data_dir = "data"
/// listen = "127.0.0.1:4003"
/// network = "network.toml"
/// document = "document"
/// metrics = "127.0.0.1:9103"    # optional
/// onion = true                  # optional: an onion service for clients of the transport `tor`
/// [store]                       # optional, these are the defaults
/// engine = "redb"               # or "sled"; `veilpost-mailbox migrate-store` moves a store to the other one
/// quota_mib = 4096
/// free_disk_floor_mib = 1024
/// ```
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What every relay has.
    pub node: NodeConfig,
    /// How much may be held.
    #[serde(default)]
    pub store: StoreConfig,
}

/// The `[store]` table.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StoreConfig {
    /// The database engine.
    pub engine: EngineName,
    /// Boxes and tombstones at most, MiB. The databases take one and a half times (redb) to four times (sled) that on disk.
    pub quota_mib: u64,
    /// New boxes are refused when less than this is free on the disk, MiB.
    pub free_disk_floor_mib: u64,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self { engine: EngineName::default(), quota_mib: 4_096, free_disk_floor_mib: 1_024 }
    }
}

impl StoreConfig {
    /// As the engine counts.
    pub fn limits(&self) -> crate::engine::Limits {
        crate::engine::Limits {
            quota_bytes: self.quota_mib.saturating_mul(MIB),
            bucket_bytes: self.quota_mib.saturating_mul(MIB) / BUCKET_SHARE,
            free_disk_floor: self.free_disk_floor_mib.saturating_mul(MIB),
        }
    }
}

impl Config {
    /// Reads and checks a configuration file.
    ///
    /// # Errors
    /// [`Failure::Config`] with file, line and what to do.
    pub fn load(path: &Path) -> Result<Self, Failure> {
        let Self { node, store } = config::load(path).map_err(Failure::config)?;
        Ok(Self { node: node.resolve(path).map_err(Failure::config)?, store })
    }
}

/// `init`: keys and descriptor.
///
/// # Errors
/// [`Failure::Runtime`].
pub fn init(config: &Config, epoch: u64) -> Result<Descriptor, Failure> {
    identity::init(&config.node, Role::Mailbox, Epoch(epoch)).map_err(Failure::runtime)
}
