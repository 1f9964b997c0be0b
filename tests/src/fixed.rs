//! A network document for a fixed set of nodes, signed in one place: for benchmarks that need no authorities.

use std::time::Duration;
use veilpost_packet::{
    geometry::MIX_LAYERS,
    ids::{LinkKey, NetworkId},
    primitives::SigningSecret,
    time::{Epoch, Timestamp},
};
use veilpost_pki::{
    Descriptor, NetworkFile, Params, Relay, Role, Schedule, View,
    document::{Memory, Placement},
    network::NetworkAuthority,
};

/// A network file whose authorities nobody can reach.
pub fn network_file(name: &str, faulty: usize, authorities: &[SigningSecret]) -> NetworkFile {
    let listed = |secret: &SigningSecret| {
        let id = secret.authority_id();
        NetworkAuthority { id, link_key: LinkKey(id.0), address: ([127, 0, 0, 1], 9).into() }
    };
    NetworkFile {
        name: name.into(),
        faulty,
        schedule: Schedule { genesis: 0, epoch_ms: 3_600_000, phase_ms: 1_000 },
        authorities: authorities.iter().map(listed).collect(),
        later: Vec::new(),
        entries: Vec::new(),
        tor: None,
    }
}

/// Share in path choice of every relay of a fixed network.
const WEIGHT: u32 = 1_000;

/// Why descriptors do not make a network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FixedError {
    /// Fewer mixes than layers, no entry or no mailbox.
    #[error(
        "a network needs at least {MIX_LAYERS} mixes, an entry and a mailbox; given: {mixes}, {entries} and {mailboxes}"
    )]
    TooFew {
        /// Mixes given.
        mixes: usize,
        /// Entries given.
        entries: usize,
        /// Mailboxes given.
        mailboxes: usize,
    },
    /// A descriptor has no key for the document's epoch.
    #[error("the descriptor of {0} has no Sphinx key for epoch {1}; run `init` there again")]
    NoKey(String, u64),
}

/// What to make a document from.
#[derive(Debug)]
pub struct FixedNetwork<'a> {
    /// The network.
    pub network: NetworkId,
    /// Verified descriptors; mixes are dealt to the layers in turn.
    pub descriptors: &'a [Descriptor],
    /// The parameters.
    pub params: Params,
    /// Number of the epoch.
    pub epoch: Epoch,
    /// Valid from.
    pub valid_after: Timestamp,
    /// For how long.
    pub valid_for: Duration,
}

impl FixedNetwork<'_> {
    /// The document's content.
    ///
    /// # Errors
    /// [`FixedError`].
    pub fn view(&self) -> Result<View, FixedError> {
        let of_role = |role: Role| self.descriptors.iter().filter(move |descriptor| descriptor.role == role);
        let relays = |role: Role| of_role(role).map(|descriptor| self.relay(descriptor)).collect::<Result<Vec<_>, _>>();
        let (mixes, entries, mailboxes) = (relays(Role::Mix)?, relays(Role::Entry)?, relays(Role::Mailbox)?);
        if mixes.len() < MIX_LAYERS || entries.is_empty() || mailboxes.is_empty() {
            return Err(FixedError::TooFew { mixes: mixes.len(), entries: entries.len(), mailboxes: mailboxes.len() });
        }
        let mut layers = vec![Vec::new(); MIX_LAYERS];
        for (number, mix) in mixes.into_iter().enumerate() {
            if let Some(layer) = layers.get_mut(number % MIX_LAYERS) {
                layer.push(mix);
            }
        }
        let mut placed: Vec<_> = mailboxes.iter().map(|mailbox| mailbox.id).collect();
        placed.sort_unstable();
        Ok(View {
            network: self.network,
            epoch: self.epoch,
            valid_after: self.valid_after,
            valid_until: self.valid_after + self.valid_for,
            params: self.params.clone(),
            shared_random: [0; 32],
            put_effort: self.params.put_effort,
            layers,
            entries,
            mailboxes,
            placements: vec![Placement { from: self.epoch, mailboxes: placed }],
            memory: Memory::default(),
        })
    }

    fn relay(&self, descriptor: &Descriptor) -> Result<Relay, FixedError> {
        let key = |epoch: u64| {
            let offset = epoch.checked_sub(descriptor.epoch.0).and_then(|offset| usize::try_from(offset).ok());
            let key = offset.and_then(|offset| descriptor.sphinx_keys.get(offset)).copied();
            key.ok_or_else(|| FixedError::NoKey(descriptor.id.to_string(), epoch))
        };
        Ok(Relay {
            id: descriptor.id,
            addresses: descriptor.addresses.clone(),
            onion: descriptor.onion.clone(),
            link_key: descriptor.link_key,
            sphinx_key: key(self.epoch.0)?,
            next_sphinx_key: key(self.epoch.0 + 1)?,
            weight: WEIGHT,
            reliability: u8::MAX,
            family: descriptor.family.clone(),
        })
    }
}
