//! From bytes to a document that may be relied on: there is no other way to a [`Document`] than [`UnverifiedDocument::verify`].

use crate::document::{Place, Relay, View};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use veilpost_packet::{
    codec::{DecodeError, Reader, Writer},
    geometry::{DOCUMENT_MAX, SIGNATURE},
    ids::{AuthorityId, DocumentHash, LinkKey, NetworkId, NodeId},
    primitives::{SigningSecret, hash, label, verify},
    time::Timestamp,
};

/// Authorities that a network has at most.
pub const AUTHORITIES_MAX: usize = 32;

/// The authorities of a network and how many of them may be hostile.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuthoritySet {
    network: NetworkId,
    keys: BTreeSet<AuthorityId>,
    faulty: usize,
}

/// Authorities that cannot form a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuthoritySetError {
    /// None, too many, or one listed twice.
    #[error("a network has 1 to {AUTHORITIES_MAX} different authorities")]
    Count,
    /// With so many hostile ones, honest ones could not outvote them.
    #[error("of n authorities fewer than n/3 may be faulty")]
    Faulty,
}

impl AuthoritySet {
    /// A set of authorities of which `faulty` may be hostile.
    pub fn new(name: &str, keys: &[AuthorityId], faulty: usize) -> Result<Self, AuthoritySetError> {
        let set: BTreeSet<_> = keys.iter().copied().collect();
        if set.is_empty() || set.len() != keys.len() || set.len() > AUTHORITIES_MAX {
            return Err(AuthoritySetError::Count);
        }
        if faulty > 0 && faulty.saturating_mul(3) >= set.len() {
            return Err(AuthoritySetError::Faulty);
        }
        let mut all = Writer::with_capacity(set.len() * 32);
        set.iter().for_each(|key| {
            all.put(key.as_bytes());
        });
        let network = NetworkId(hash(label::NETWORK_ID, &[name.as_bytes(), &all.finish()]));
        Ok(Self { network, keys: set, faulty })
    }

    /// The network's id: hash of its name and authorities.
    pub fn network(&self) -> NetworkId {
        self.network
    }

    /// The authorities.
    pub fn keys(&self) -> impl Iterator<Item = &AuthorityId> {
        self.keys.iter()
    }

    /// q = floor((n+f)/2)+1: two documents with q signatures each share an honest signer.
    pub fn threshold(&self) -> usize {
        (self.keys.len() + self.faulty) / 2 + 1
    }
}

/// Why a document is refused, in words for a person.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DocumentError {
    /// The bytes are no document.
    #[error("the network document is damaged or of an unknown version ({0})")]
    Malformed(#[from] DecodeError),
    /// Another network's.
    #[error("the network document belongs to another network")]
    OtherNetwork,
    /// Too few of our authorities signed.
    #[error("the network document has {found} valid signatures of known authorities; {needed} are needed")]
    TooFewSignatures {
        /// Valid signatures of authorities of the set.
        found: usize,
        /// The threshold.
        needed: usize,
    },
    /// Its time has not come.
    #[error("the network document is not valid yet: check this computer's clock")]
    NotYetValid,
    /// Its time is over.
    #[error("the network document has expired: check this computer's clock, or get a newer one")]
    Expired,
}

/// A decoded document whose signatures nobody has checked. It opens only by [`UnverifiedDocument::verify`].
#[derive(Debug)]
pub struct UnverifiedDocument {
    view: View,
    signed: Vec<u8>,
    signatures: BTreeMap<AuthorityId, [u8; SIGNATURE]>,
    bytes: Arc<[u8]>,
}

impl UnverifiedDocument {
    /// Decodes `length 4 | signed part | count 2 | (authority 32, signature 64) each`.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DocumentError> {
        if bytes.len() > DOCUMENT_MAX {
            return Err(DecodeError::TooLong("document").into());
        }
        let mut reader = Reader::new(bytes);
        let length = reader.count(DOCUMENT_MAX, "document")?;
        let signed = reader.take(length)?.to_vec();
        let count = usize::from(reader.u16()?);
        if count > AUTHORITIES_MAX {
            return Err(DecodeError::TooLong("signatures").into());
        }
        let mut signatures = BTreeMap::new();
        for _ in 0..count {
            let author = AuthorityId(reader.array()?);
            if signatures.insert(author, reader.array()?).is_some() {
                return Err(DecodeError::Invalid("signatures: an authority stands twice").into());
            }
        }
        reader.finish()?;
        let view = View::decode(&signed)?;
        Ok(Self { view, signed, signatures, bytes: bytes.into() })
    }

    /// Checks network, signatures and time; nothing is re-encoded.
    ///
    /// # Errors
    /// In words for a person.
    pub fn verify(self, authorities: &AuthoritySet, now: Timestamp) -> Result<Document, DocumentError> {
        let early = now < self.view.valid_after;
        let document = self.verify_early(authorities, now)?;
        if early { Err(DocumentError::NotYetValid) } else { Ok(document) }
    }

    /// As [`UnverifiedDocument::verify`], but takes a document up to an epoch before it comes into force: for those who keep
    /// several and switch by network time.
    ///
    /// # Errors
    /// In words for a person.
    pub fn verify_early(self, authorities: &AuthoritySet, now: Timestamp) -> Result<Document, DocumentError> {
        if self.view.network != authorities.network {
            return Err(DocumentError::OtherNetwork);
        }
        let good = |(author, signature): &(&AuthorityId, &[u8; SIGNATURE])| {
            authorities.keys.contains(*author)
                && verify(author.as_bytes(), label::DOCUMENT_SIGNATURE, &self.signed, signature)
        };
        let found = self.signatures.iter().filter(good).count();
        let needed = authorities.threshold();
        if found < needed {
            return Err(DocumentError::TooFewSignatures { found, needed });
        }
        if now + self.view.params.epoch < self.view.valid_after {
            return Err(DocumentError::NotYetValid);
        }
        if now >= self.view.valid_until {
            return Err(DocumentError::Expired);
        }
        Ok(Document(Arc::new(Verified::new(self.view, &self.signed, self.bytes))))
    }
}

/// A network document with enough good signatures. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Document(Arc<Verified>);

#[derive(Debug)]
struct Verified {
    view: View,
    hash: DocumentHash,
    bytes: Arc<[u8]>,
    by_id: BTreeMap<NodeId, (Place, Relay)>,
    by_link: BTreeMap<LinkKey, NodeId>,
}

impl Verified {
    fn new(view: View, signed: &[u8], bytes: Arc<[u8]>) -> Self {
        let full = hash(label::DOCUMENT_HASH, &[signed]);
        let hash = DocumentHash(*full.first_chunk().expect("a hash is longer than its prefix"));
        let by_id: BTreeMap<_, _> = view.relays().map(|(place, relay)| (relay.id, (place, relay.clone()))).collect();
        let by_link = by_id.values().map(|(_, relay)| (relay.link_key, relay.id)).collect();
        Self { view, hash, bytes, by_id, by_link }
    }
}

impl Document {
    /// The content.
    pub fn view(&self) -> &View {
        &self.0.view
    }

    /// The bytes as the authorities signed and this node received them.
    pub fn bytes(&self) -> Arc<[u8]> {
        self.0.bytes.clone()
    }

    /// Names the document in replies and digests.
    pub fn hash(&self) -> DocumentHash {
        self.0.hash
    }

    /// The relay with this id.
    pub fn relay(&self, id: &NodeId) -> Option<(Place, &Relay)> {
        self.0.by_id.get(id).map(|(place, relay)| (*place, relay))
    }

    /// The relay with this link key.
    pub fn relay_by_link(&self, key: &LinkKey) -> Option<(Place, &Relay)> {
        self.0.by_link.get(key).and_then(|id| self.relay(id))
    }
}

impl std::ops::Deref for Document {
    type Target = View;
    fn deref(&self) -> &View {
        &self.0.view
    }
}

/// Signs a view with the keys of its authorities: what a network without live authorities starts from.
pub fn sign_view(view: &View, authorities: &[SigningSecret]) -> Vec<u8> {
    let signed = view.encode();
    let mut writer = Writer::with_capacity(signed.len() + 4_096);
    writer.u32(signed.len() as u32).put(&signed).u16(authorities.len() as u16);
    for authority in authorities {
        writer.put(authority.authority_id().as_bytes()).put(&authority.sign(label::DOCUMENT_SIGNATURE, &signed));
    }
    writer.finish()
}
