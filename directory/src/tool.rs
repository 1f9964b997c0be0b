//! What operators do by command: keys, the network file, hand-overs from one set of authorities to the next.

use crate::{Config, admission, node};
use serde::{Deserialize, Serialize};
use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};
use veilpost_daemon::{clock::Clock, keys, network, stop::Failure};
use veilpost_packet::{
    codec::{Reader, Writer},
    ids::AuthorityId,
    time::Epoch,
};
use veilpost_pki::{
    AuthoritySet, Descriptor, Document, NetworkFile, Role, Schedule, UnverifiedDocument,
    network::{BootstrapEntry, NetworkAuthority},
    signed::{Committee, Handover},
};

/// What `init` writes for the others: one `[[authority]]` of a network file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Public {
    authority: Vec<NetworkAuthority>,
}

/// Makes this authority's keys if they are not there, and writes `data_dir/authority.toml` for the network file.
///
/// # Errors
/// [`Failure`].
pub fn init(config: &Config) -> Result<NetworkAuthority, Failure> {
    let keys = node::AuthorityKeys::load_or_make(&config.data_dir)?;
    let id = keys.identity.authority_id();
    let own = NetworkAuthority { id, link_key: keys.link.public(), address: config.advertised() };
    let text = toml::to_string(&Public { authority: vec![own.clone()] }).map_err(Failure::runtime)?;
    keys::write_public(&config.data_dir.join("authority.toml"), text.as_bytes()).map_err(Failure::runtime)?;
    Ok(own)
}

/// A network that does not exist yet.
#[derive(Debug)]
pub struct NewNetwork<'a> {
    /// Its name.
    pub name: &'a str,
    /// `authority.toml` of each authority, as `init` wrote it.
    pub authorities: &'a [PathBuf],
    /// How many of them may be hostile.
    pub faulty: usize,
    /// Length of an epoch.
    pub epoch: Duration,
    /// Length of a phase of a voting round.
    pub phase: Duration,
    /// How long until the first epoch begins; the first round is held just before.
    pub starts_in: Duration,
}

impl NewNetwork<'_> {
    /// The network file.
    ///
    /// # Errors
    /// [`Failure::Config`] in words.
    pub fn file(&self) -> Result<NetworkFile, Failure> {
        let mut authorities = Vec::new();
        for path in self.authorities {
            let public: Public = veilpost_daemon::config::load(path).map_err(Failure::config)?;
            authorities.extend(public.authority);
        }
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let genesis = (Clock::start().now() + self.starts_in).as_secs();
        let schedule = Schedule { genesis, epoch_ms: millis(self.epoch), phase_ms: millis(self.phase) };
        let file = NetworkFile {
            name: self.name.into(),
            faulty: self.faulty,
            schedule,
            authorities,
            later: Vec::new(),
            entries: Vec::new(),
            tor: None,
        };
        // As everyone who reads it will.
        NetworkFile::parse(&file.to_text()).map_err(Failure::config)
    }
}

/// Adds an entry to a network file, for clients to start from.
///
/// # Errors
/// [`Failure::Config`] if the descriptor is not an entry's.
pub fn add_entry(file: &mut NetworkFile, descriptor: &Path) -> Result<(), Failure> {
    let wrong = |error: &dyn std::fmt::Display| Failure::Config(format!("{}: {error}", descriptor.display()));
    let bytes = fs::read(descriptor).map_err(|error| wrong(&error))?;
    let entry = Descriptor::verify(&bytes).map_err(|error| wrong(&error))?;
    let address = entry.addresses.first().filter(|_| entry.role == Role::Entry);
    let address = *address.ok_or_else(|| wrong(&"this is not the descriptor of an entry with an address"))?;
    file.entries.retain(|known| known.id != entry.id);
    file.entries.push(BootstrapEntry { id: entry.id, address, link_key: entry.link_key, onion: entry.onion });
    Ok(())
}

/// `check-config`: what `run` would find wrong before it opens a socket.
///
/// # Errors
/// [`Failure::Config`].
pub fn check(config: &Config) -> Result<(), Failure> {
    if !config.network.exists() {
        return admission::load(&config.nodes).map(drop).map_err(Failure::config);
    }
    node::prepare(config).map(drop)
}

/// The authorities of a network with the hand-overs in a folder.
///
/// # Errors
/// [`Failure::Config`] if one of them does not follow.
pub fn authorities(network: &Path, handovers: &Path) -> Result<AuthoritySet, Failure> {
    let mut set = network::load_network(network).map_err(Failure::config)?.authority_set().map_err(Failure::config)?;
    for handover in node::read_handovers(handovers) {
        set.hand_over(handover).map_err(Failure::config)?;
    }
    Ok(set)
}

/// Writes a hand-over that nobody has signed.
///
/// # Errors
/// [`Failure`].
pub fn propose(to: &[AuthorityId], faulty: usize, from: Epoch, out: &Path) -> Result<(), Failure> {
    let committee = Committee::new(to, faulty).map_err(Failure::config)?;
    write_handover(&Handover::new(from, committee), out)
}

/// Adds this authority's signature to a hand-over. Returns how many signed it and how many must.
///
/// # Errors
/// [`Failure`].
pub fn sign_handover(config: &Config, file: &Path) -> Result<(usize, usize), Failure> {
    let keys = node::AuthorityKeys::load(&config.data_dir)?;
    let set = authorities(&config.network, &config.handovers)?;
    if !set.newest().contains(&keys.identity.authority_id()) {
        return Err(Failure::Config("this authority is not one of those that hand over".into()));
    }
    let mut handover = read_handover(file)?;
    handover.sign(&set, &keys.identity);
    write_handover(&handover, file)?;
    Ok((handover.signers(&set).count(), set.threshold()))
}

/// Puts the signatures of copies together.
///
/// # Errors
/// [`Failure::Config`] if they are about different things.
pub fn merge_handovers(files: &[PathBuf], out: &Path) -> Result<(), Failure> {
    let mut merged: Option<Handover> = None;
    for file in files {
        let next = read_handover(file)?;
        match &mut merged {
            None => merged = Some(next),
            Some(merged) => {
                if !merged.merge(&next) {
                    return Err(Failure::Config(format!("{} is another hand-over", file.display())));
                }
            }
        }
    }
    let merged = merged.ok_or_else(|| Failure::Config("give the files to put together".into()))?;
    write_handover(&merged, out)
}

fn read_handover(path: &Path) -> Result<Handover, Failure> {
    let wrong = |error: &dyn std::fmt::Display| Failure::Config(format!("{}: {error}", path.display()));
    let bytes = fs::read(path).map_err(|error| wrong(&error))?;
    let mut reader = Reader::new(&bytes);
    let handover = Handover::read(&mut reader).map_err(|error| wrong(&error))?;
    reader.finish().map_err(|error| wrong(&error))?;
    Ok(handover)
}

fn write_handover(handover: &Handover, path: &Path) -> Result<(), Failure> {
    let mut writer = Writer::default();
    handover.write(&mut writer);
    keys::write_public(path, &writer.finish()).map_err(Failure::runtime)
}

/// A document from a file, verified.
///
/// # Errors
/// [`Failure::Config`] in words.
pub fn document(network: &Path, document: &Path) -> Result<Document, Failure> {
    let set = network::load_network(network).map_err(Failure::config)?.authority_set().map_err(Failure::config)?;
    let wrong = |error: &dyn std::fmt::Display| Failure::Config(format!("{}: {error}", document.display()));
    let bytes = fs::read(document).map_err(|error| wrong(&error))?;
    let read = UnverifiedDocument::from_bytes(&bytes).and_then(|document| document.verify_timelessly(&set));
    read.map_err(|error| wrong(&error))
}
