//! A node's keys together. `init` makes them and writes the signed descriptor that a network document is made from.
//!
//! ```text
//! data_dir/identity.key   Ed25519: the node's id, signs descriptors (and a mailbox's digests)
//! data_dir/link.key       Ed25519: proves the node on links
//! data_dir/sphinx/N.key   X25519: unwraps packets of epoch N
//! data_dir/sphinx/N.tags  replay tags of epoch N; key and log live and die together
//! data_dir/descriptor     signed, public
//! data_dir/observed       what the last descriptor said of a mailbox's fill and of other nodes, and for which epoch
//! data_dir/documents/N    network document of epoch N, public: see `documents`
//! data_dir/leaving        the node leaves its network: see `leave`
//! ```

use crate::{
    config::NodeConfig,
    keys::{self, KeyError},
    observed::Observed,
    onion,
    taglog::{Loaded, LogKey, TagLog, TagLogError},
};
use std::path::{Path, PathBuf};
use veilpost_link::LinkSecret;
use veilpost_packet::{
    ids::{LinkKey, NodeId},
    primitives::SigningSecret,
    sphinx::{SphinxPublic, SphinxSecret},
    time::Epoch,
};
use veilpost_pki::{
    Descriptor, Document, Role,
    descriptor::{FILL_MAX, SPHINX_KEYS_MAX},
    document::{Place, Relay},
};

/// Files of Sphinx keys and tag logs that one pass of erasing looks at; the next pass takes what is left.
const FILES_MAX: usize = 4_096;

/// A node's keys do not fit.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// A key file cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A tag log cannot be used.
    #[error(transparent)]
    TagLog(#[from] TagLogError),
    /// The document does not know this node, or knows it with other keys or in another role.
    #[error("the network document {0}; run `init`, hand the descriptor to the authorities and fetch the new document")]
    NotListed(&'static str),
}

/// The long-lived keys of a node.
#[derive(Debug)]
pub struct NodeKeys {
    folder: PathBuf,
    /// Signs descriptors and digests.
    pub identity: SigningSecret,
    /// Proves the node on links.
    pub link: LinkSecret,
}

impl NodeKeys {
    /// Reads the keys.
    ///
    /// # Errors
    /// [`IdentityError::Key`]; the text says what to do.
    pub fn load(data_dir: &Path) -> Result<Self, IdentityError> {
        Self::with(data_dir, keys::read)
    }

    /// Reads the keys, making those that are not there.
    ///
    /// # Errors
    /// [`IdentityError::Key`].
    pub fn load_or_make(data_dir: &Path) -> Result<Self, IdentityError> {
        keys::make_folder(&data_dir.join("sphinx"))?;
        Self::with(data_dir, keys::read_or_make)
    }

    fn with(
        data_dir: &Path,
        read: impl Fn(&Path) -> Result<veilpost_packet::primitives::Secret32, KeyError>,
    ) -> Result<Self, IdentityError> {
        let identity = SigningSecret::from_seed(read(&data_dir.join("identity.key"))?.expose());
        let link = LinkSecret::from_seed(*read(&data_dir.join("link.key"))?.expose());
        Ok(Self { folder: data_dir.into(), identity, link })
    }

    /// The node's id.
    pub fn id(&self) -> NodeId {
        self.identity.node_id()
    }

    /// The public half of its link key.
    pub fn link_key(&self) -> LinkKey {
        self.link.public()
    }

    /// Finds this node in a document.
    ///
    /// # Errors
    /// [`IdentityError::NotListed`] if it is not there or with another link key.
    pub fn listed<'a>(&self, document: &'a Document) -> Result<(Place, &'a Relay), IdentityError> {
        let (place, relay) = document.relay(&self.id()).ok_or(IdentityError::NotListed("does not list this node"))?;
        if relay.link_key != self.link_key() {
            return Err(IdentityError::NotListed("lists another link key for this node"));
        }
        Ok((place, relay))
    }

    /// Finds this node in a document, in this role.
    ///
    /// # Errors
    /// [`IdentityError::NotListed`].
    pub fn listed_as(&self, document: &Document, role: Role) -> Result<Place, IdentityError> {
        let (place, _) = self.listed(document)?;
        let fits = match place {
            Place::Mix(_) => role == Role::Mix,
            Place::Entry => role == Role::Entry,
            Place::Mailbox => role == Role::Mailbox,
        };
        if fits { Ok(place) } else { Err(IdentityError::NotListed("lists this node in another role")) }
    }

    /// What this node says of itself for an epoch, unsigned. Makes the Sphinx keys of the epoch and of the 12 after it that are
    /// not there; touches no others. May be called while the node runs.
    ///
    /// `observed`: how full it is now (of a mailbox alone), and who loses packets; the first call for an epoch settles what the
    /// descriptor says, since authorities count a descriptor that most of them hold byte for byte.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub fn descriptor(
        &self,
        config: &NodeConfig,
        role: Role,
        epoch: Epoch,
        observed: &Observed,
    ) -> Result<Descriptor, IdentityError> {
        let fill = if role == Role::Mailbox { observed.fill.min(FILL_MAX) } else { 0 };
        let settled = self.settled(epoch, Observed { fill, ..observed.clone() })?;
        let epochs = (0..SPHINX_KEYS_MAX as u64).map(|later| Epoch(epoch.0.saturating_add(later)));
        Ok(Descriptor {
            id: self.id(),
            epoch,
            role,
            addresses: config.advertised(),
            onion: onion::address(config),
            link_key: self.link_key(),
            sphinx_keys: epochs.map(|epoch| self.sphinx_public(epoch)).collect::<Result<_, _>>()?,
            software: concat!("veilpost ", env!("CARGO_PKG_VERSION")).into(),
            family: config.family.clone(),
            capacity: config.capacity,
            fill: settled.fill,
            measured: settled.measured,
        })
    }

    /// What was settled for this epoch, else this from now on: also after a restart.
    fn settled(&self, epoch: Epoch, observed: Observed) -> Result<Observed, IdentityError> {
        let path = self.folder.join("observed");
        let kept = std::fs::read(&path).ok().and_then(|bytes| Observed::from_bytes(&bytes, epoch, &self.id()));
        if let Some(kept) = kept {
            return Ok(kept);
        }
        keys::write_public(&path, &observed.to_bytes(epoch))?;
        Ok(observed)
    }

    /// Opens the Sphinx key of the document's epoch and its tag log, with room for `capacity` tags. After an unclean boot,
    /// or without the log, the key is erased and the error says so.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub fn open_epoch(&self, document: &Document, capacity: usize) -> Result<(SphinxSecret, Loaded), IdentityError> {
        let (epoch, (_, relay)) = (document.epoch, self.listed(document)?);
        let secret = SphinxSecret::from_seed(*keys::read(&self.sphinx_key(epoch))?.expose());
        if secret.public() != relay.sphinx_key {
            return Err(IdentityError::NotListed("lists another Sphinx key for this node"));
        }
        let bound_to = LogKey { epoch, sphinx: secret.public() };
        match TagLog::open(&self.sphinx_tags(epoch), bound_to, capacity) {
            Ok(loaded) => Ok((secret, loaded)),
            Err(error @ (TagLogError::UncleanBoot { .. } | TagLogError::Missing { .. })) => {
                self.erase_epoch(epoch)?;
                Err(error.into())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Erases an epoch's Sphinx key, then its tag log.
    ///
    /// # Errors
    /// [`IdentityError::Key`].
    pub fn erase_epoch(&self, epoch: Epoch) -> Result<(), IdentityError> {
        keys::erase(&self.sphinx_key(epoch))?;
        Ok(keys::erase(&self.sphinx_tags(epoch))?)
    }

    /// Erases the keys and tag logs of all epochs before one, except those `kept`: also keys of epochs that never came.
    ///
    /// # Errors
    /// [`IdentityError::Key`].
    pub fn erase_before(&self, epoch: Epoch, kept: &[Epoch]) -> Result<(), IdentityError> {
        let folder = self.folder.join("sphinx");
        let entries = std::fs::read_dir(&folder).map_err(|error| KeyError::Io { path: folder, error })?;
        // A node makes 13 at a time and erases them again.
        for entry in entries.filter_map(Result::ok).take(FILES_MAX) {
            let path = entry.path();
            let number = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
            if let Some(old) = number.map(Epoch).filter(|old| *old < epoch && !kept.contains(old)) {
                self.erase_epoch(old)?;
            }
        }
        Ok(())
    }

    /// The public Sphinx key of an epoch, made with its tag log if it is not there.
    fn sphinx_public(&self, epoch: Epoch) -> Result<SphinxPublic, IdentityError> {
        let (key_file, log_file) = (self.sphinx_key(epoch), self.sphinx_tags(epoch));
        match keys::read(&key_file) {
            Ok(seed) if log_file.exists() => return Ok(SphinxSecret::from_seed(*seed.expose()).public()),
            // One that a full disk left half written never stood in a descriptor.
            Ok(_) | Err(KeyError::Missing { .. } | KeyError::Malformed { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        // One without the other is no use: both anew, the log first, so that a key never stands without its log.
        self.erase_epoch(epoch)?;
        let seed = keys::fresh()?;
        let public = SphinxSecret::from_seed(*seed.expose()).public();
        TagLog::create(&log_file, LogKey { epoch, sphinx: public })?;
        keys::write(&key_file, &seed)?;
        Ok(public)
    }

    fn sphinx_key(&self, epoch: Epoch) -> PathBuf {
        self.folder.join("sphinx").join(format!("{}.key", epoch.0))
    }

    fn sphinx_tags(&self, epoch: Epoch) -> PathBuf {
        self.folder.join("sphinx").join(format!("{}.tags", epoch.0))
    }
}

/// Makes what is missing of a node's keys, for `epoch` and the 12 after it, and writes `data_dir/descriptor`. May be run
/// again: what is there is kept.
///
/// # Errors
/// [`IdentityError`].
pub fn init(config: &NodeConfig, role: Role, epoch: Epoch) -> Result<Descriptor, IdentityError> {
    let keys = NodeKeys::load_or_make(&config.data_dir)?;
    let descriptor = keys.descriptor(config, role, epoch, &Observed::default())?;
    keys::write_public(&config.data_dir.join("descriptor"), &descriptor.sign(&keys.identity))?;
    Ok(descriptor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use veilpost_pki::reliability::Measured;

    fn config(folder: &Path) -> NodeConfig {
        NodeConfig { data_dir: folder.join("node"), capacity: 100, ..NodeConfig::plain(folder) }
    }

    #[test]
    fn init_writes_a_descriptor_that_verifies_and_keeps_keys_when_run_again() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path());
        let first = init(&config, Role::Mix, Epoch(3)).unwrap();
        let written = Descriptor::verify(&std::fs::read(config.data_dir.join("descriptor")).unwrap()).unwrap();
        assert_eq!(first, written);
        assert_eq!(first.sphinx_keys.len(), SPHINX_KEYS_MAX);
        assert_eq!(init(&config, Role::Mix, Epoch(3)).unwrap(), first);
        let keys = NodeKeys::load(&config.data_dir).unwrap();
        assert_eq!((keys.id(), keys.link_key()), (first.id, first.link_key));
    }

    #[test]
    fn a_sphinx_key_without_its_log_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path());
        let first = init(&config, Role::Mix, Epoch(3)).unwrap();
        std::fs::remove_file(config.data_dir.join("sphinx/4.tags")).unwrap();
        let second = init(&config, Role::Mix, Epoch(3)).unwrap();
        assert_eq!(first.sphinx_keys[0], second.sphinx_keys[0]);
        assert_ne!(first.sphinx_keys[1], second.sphinx_keys[1]);
    }

    #[test]
    fn a_later_descriptor_keeps_the_keys_it_shares_with_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path());
        let first = init(&config, Role::Mix, Epoch(3)).unwrap();
        let keys = NodeKeys::load(&config.data_dir).unwrap();
        let later = keys.descriptor(&config, Role::Mix, Epoch(5), &Observed::default()).unwrap();
        assert_eq!((later.epoch, &later.sphinx_keys[..11]), (Epoch(5), &first.sphinx_keys[2..]));
        assert_eq!(keys.descriptor(&config, Role::Mix, Epoch(3), &Observed::default()).unwrap(), first);
    }

    fn full(fill: u8) -> Observed {
        Observed { fill, ..Observed::default() }
    }

    #[test]
    fn a_node_says_one_thing_of_others_for_an_epoch_also_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path());
        let of = |reliability| Measured { reliability, node: NodeId([7; 32]) };
        let says = |epoch, measured: &[Measured]| {
            let keys = NodeKeys::load_or_make(&config.data_dir).unwrap();
            let observed = Observed { fill: 0, measured: measured.to_vec() };
            keys.descriptor(&config, Role::Mix, Epoch(epoch), &observed).unwrap().measured
        };
        assert_eq!([says(3, &[of(9)]), says(3, &[]), says(4, &[])], [vec![of(9)], vec![of(9)], vec![]]);
    }

    #[test]
    fn a_mailbox_says_one_fill_for_an_epoch_whatever_comes_in_between() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path());
        let says = |epoch, fill| {
            let keys = NodeKeys::load_or_make(&config.data_dir).unwrap();
            keys.descriptor(&config, Role::Mailbox, Epoch(epoch), &full(fill)).unwrap().fill
        };
        assert_eq!([says(3, 40), says(3, 41), says(4, 41), says(4, 90), says(5, 255)], [40, 40, 41, 41, 100]);
        std::fs::write(config.data_dir.join("observed"), b"torn").unwrap();
        assert_eq!([says(5, 60), says(5, 61)], [60, 60]);
    }

    #[test]
    fn a_relay_that_stores_nothing_reports_no_fill() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path());
        let keys = NodeKeys::load_or_make(&config.data_dir).unwrap();
        assert_eq!(keys.descriptor(&config, Role::Entry, Epoch(3), &full(50)).unwrap().fill, 0);
    }

    #[test]
    fn keys_of_past_epochs_are_erased_also_of_those_that_never_came() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path());
        init(&config, Role::Mix, Epoch(3)).unwrap();
        let keys = NodeKeys::load(&config.data_dir).unwrap();
        keys.erase_before(Epoch(8), &[Epoch(4)]).unwrap();
        let left = |kind: &str| {
            let there = |epoch: &u64| config.data_dir.join(format!("sphinx/{epoch}.{kind}")).exists();
            (0..20).filter(there).collect::<Vec<u64>>()
        };
        let expected: Vec<_> = [4].into_iter().chain(8..16).collect();
        assert_eq!((left("key"), left("tags")), (expected.clone(), expected));
    }

    #[test]
    fn keys_that_were_never_made_are_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let error = NodeKeys::load(folder.path()).unwrap_err().to_string();
        assert!(error.contains("identity.key") && error.contains("init"), "{error}");
    }
}
