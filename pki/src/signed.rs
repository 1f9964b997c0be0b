//! From bytes to a document that may be relied on: there is no other way to a [`Document`] than [`UnverifiedDocument::verify`].

use crate::{
    document::{Place, Relay, View},
    statement::{Kind, Statement},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use veilpost_packet::{
    codec::{DecodeError, Reader, Writer},
    geometry::{DOCUMENT_MAX, HASH, SIGNATURE},
    ids::{AuthorityId, DocumentHash, LinkKey, NetworkId, NodeId},
    primitives::{SigningSecret, hash, label, verify},
    time::{Epoch, Timestamp},
};

/// Authorities that a network has at most.
pub const AUTHORITIES_MAX: usize = 32;

/// The authorities that decide together, and how many of them may be hostile.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Committee {
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

impl Committee {
    /// A set of authorities of which `faulty` may be hostile.
    ///
    /// # Errors
    /// [`AuthoritySetError`].
    pub fn new(keys: &[AuthorityId], faulty: usize) -> Result<Self, AuthoritySetError> {
        let set: BTreeSet<_> = keys.iter().copied().collect();
        if set.is_empty() || set.len() != keys.len() || set.len() > AUTHORITIES_MAX {
            return Err(AuthoritySetError::Count);
        }
        if faulty > 0 && faulty.saturating_mul(3) >= set.len() {
            return Err(AuthoritySetError::Faulty);
        }
        Ok(Self { keys: set, faulty })
    }

    /// Their keys, ascending.
    pub fn keys(&self) -> impl Iterator<Item = &AuthorityId> {
        self.keys.iter()
    }

    /// True if this is one of them.
    pub fn contains(&self, authority: &AuthorityId) -> bool {
        self.keys.contains(authority)
    }

    /// How many of them may be hostile (f).
    pub fn faulty(&self) -> usize {
        self.faulty
    }

    /// q = floor((n+f)/2)+1: two documents with q signatures each share an honest signer.
    pub fn threshold(&self) -> usize {
        (self.keys.len() + self.faulty) / 2 + 1
    }

    fn concatenated(&self) -> Vec<u8> {
        self.keys.iter().flat_map(|key| *key.as_bytes()).collect()
    }
}

/// Who decides in a network: the authorities that it started with, and every hand-over to others that is known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuthoritySet {
    network: NetworkId,
    genesis: Committee,
    handovers: Vec<Handover>,
}

impl AuthoritySet {
    /// The authorities that a network starts with, of which `faulty` may be hostile.
    ///
    /// # Errors
    /// [`AuthoritySetError`].
    pub fn new(name: &str, keys: &[AuthorityId], faulty: usize) -> Result<Self, AuthoritySetError> {
        let genesis = Committee::new(keys, faulty)?;
        let network = NetworkId(hash(label::NETWORK_ID, &[name.as_bytes(), &genesis.concatenated()]));
        Ok(Self { network, genesis, handovers: Vec::new() })
    }

    /// The network's id: hash of its name and first authorities.
    pub fn network(&self) -> NetworkId {
        self.network
    }

    /// The hand-overs that are known, oldest first.
    pub fn handovers(&self) -> &[Handover] {
        &self.handovers
    }

    /// Who decides about an epoch.
    pub fn committee(&self, epoch: Epoch) -> &Committee {
        let last = self.handovers.iter().rev().find(|handover| handover.from <= epoch);
        last.map_or(&self.genesis, |handover| &handover.to)
    }

    /// Who decides after all hand-overs that are known.
    pub fn newest(&self) -> &Committee {
        self.handovers.last().map_or(&self.genesis, |handover| &handover.to)
    }

    /// The threshold of those who decide after all hand-overs that are known.
    pub fn threshold(&self) -> usize {
        self.newest().threshold()
    }

    /// Adds the next hand-over.
    ///
    /// # Errors
    /// [`DocumentError::Handover`] if too few of the authorities before it signed it, if it does not come later than the one
    /// before, or if there are [`HANDOVERS_MAX`] already.
    pub fn hand_over(&mut self, mut handover: Handover) -> Result<(), DocumentError> {
        let later = self.handovers.last().is_none_or(|last| last.from < handover.from);
        let signers: BTreeSet<_> = handover.signers(self).copied().collect();
        if !later || self.handovers.len() >= HANDOVERS_MAX || signers.len() < self.newest().threshold() {
            return Err(DocumentError::Handover);
        }
        // Others' signatures say nothing, and would be handed on for ever.
        handover.signatures.retain(|author, _| signers.contains(author));
        self.handovers.push(handover);
        Ok(())
    }

    /// Hash of those who decide after all hand-overs that are known: what the next hand-over is signed over.
    fn newest_digest(&self) -> [u8; HASH] {
        let committee = self.newest();
        let faulty = (committee.faulty as u64).to_be_bytes();
        let number = (self.handovers.len() as u64).to_be_bytes();
        hash(label::AUTHORITY_SET, &[self.network.as_bytes(), &number, &committee.concatenated(), &faulty])
    }

    /// This set with the hand-overs that a document of `epoch` shows.
    fn with_chain(&self, chain: &[Handover], epoch: Epoch) -> Result<Self, DocumentError> {
        let common = self.handovers.len().min(chain.len());
        let (Some(known), Some(shown)) = (self.handovers.get(..common), chain.get(..common)) else {
            return Err(DocumentError::Handover);
        };
        // Who shows fewer hand-overs than are known would bring authorities back that have handed over.
        let missing = self.handovers.get(common);
        let same = known.iter().zip(shown).all(|(known, shown)| known.is_same(shown));
        if !same || missing.is_some_and(|handover| handover.from <= epoch) {
            return Err(DocumentError::Handover);
        }
        let mut longer = self.clone();
        chain.iter().skip(common).try_for_each(|handover| longer.hand_over(handover.clone()))?;
        Ok(longer)
    }
}

/// Hand-overs in the life of a network at most.
pub const HANDOVERS_MAX: usize = 64;

/// "From this epoch on, these decide": signed by the authorities that decided before. It is kept and served with every document,
/// so that who was away for long finds the way from the authorities that they know to those of today.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Handover {
    from: Epoch,
    to: Committee,
    signatures: BTreeMap<AuthorityId, [u8; SIGNATURE]>,
}

impl Handover {
    /// A hand-over that nobody has signed yet.
    pub fn new(from: Epoch, to: Committee) -> Self {
        Self { from, to, signatures: BTreeMap::new() }
    }

    /// From which epoch on.
    pub fn from(&self) -> Epoch {
        self.from
    }

    /// To whom.
    pub fn to(&self) -> &Committee {
        &self.to
    }

    /// Adds the signature of one of the authorities that hand over: those that `set` ends with.
    pub fn sign(&mut self, set: &AuthoritySet, secret: &SigningSecret) {
        let signature = secret.sign(label::HANDOVER_SIGNATURE, &self.signed_bytes(set));
        self.signatures.insert(secret.authority_id(), signature);
    }

    /// Authorities that `set` ends with and that signed this hand-over.
    pub fn signers<'a>(&'a self, set: &'a AuthoritySet) -> impl Iterator<Item = &'a AuthorityId> {
        let bytes = self.signed_bytes(set);
        let good = move |(author, signature): &(&'a AuthorityId, &'a [u8; SIGNATURE])| {
            set.newest().contains(author) && verify(author.as_bytes(), label::HANDOVER_SIGNATURE, &bytes, signature)
        };
        self.signatures.iter().filter(good).map(|(author, _)| author)
    }

    /// True if both hand over to the same authorities at the same time, whoever signed which copy: copies with other signatures go
    /// round, and anyone can leave one out.
    pub fn is_same(&self, other: &Self) -> bool {
        self.from == other.from && self.to == other.to
    }

    /// Takes over the signatures of another copy of this hand-over. `false` if it is about something else.
    pub fn merge(&mut self, other: &Self) -> bool {
        let same = self.is_same(other);
        if same {
            self.signatures.extend(&other.signatures);
        }
        same
    }

    fn signed_bytes(&self, set: &AuthoritySet) -> Vec<u8> {
        let mut writer = Writer::with_capacity(1_200);
        writer.put(&set.newest_digest());
        self.write_content(&mut writer);
        writer.finish()
    }

    fn write_content(&self, writer: &mut Writer) {
        writer.u64(self.from.0).u8(self.to.faulty as u8).u8(self.to.keys.len() as u8).put(&self.to.concatenated());
    }

    /// Appends `from 8 | f 1 | n 1 | keys | count 1 | (authority 32, signature 64) each`.
    pub fn write(&self, writer: &mut Writer) {
        self.write_content(writer);
        writer.u8(self.signatures.len() as u8);
        for (author, signature) in &self.signatures {
            writer.put(author.as_bytes()).put(signature);
        }
    }

    /// Reads a hand-over; its signatures are checked by [`AuthoritySet::hand_over`].
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (from, faulty) = (Epoch(reader.u64()?), usize::from(reader.u8()?));
        let count = usize::from(reader.u8()?);
        let keys: Vec<_> = (0..count).map(|_| reader.array().map(AuthorityId)).collect::<Result<_, _>>()?;
        let to = Committee::new(&keys, faulty).map_err(|_| DecodeError::Invalid("authorities of a hand-over"))?;
        if !keys.is_sorted() {
            return Err(DecodeError::Invalid("order of a hand-over"));
        }
        Ok(Self { from, to, signatures: read_signatures(reader)? })
    }
}

fn read_signatures(reader: &mut Reader<'_>) -> Result<BTreeMap<AuthorityId, [u8; SIGNATURE]>, DecodeError> {
    let count = usize::from(reader.u8()?);
    if count > AUTHORITIES_MAX {
        return Err(DecodeError::TooLong("signatures"));
    }
    let mut signatures = BTreeMap::new();
    for _ in 0..count {
        let author = AuthorityId(reader.array()?);
        if signatures.last_key_value().is_some_and(|(last, _)| *last >= author) {
            return Err(DecodeError::Invalid("signatures: out of order, or an authority stands twice"));
        }
        signatures.insert(author, reader.array()?);
    }
    Ok(signatures)
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
    /// Its chain of hand-overs does not lead from the authorities that are known to those who signed it.
    #[error("the network document shows another history of authorities than the one known here")]
    Handover,
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
    digest: [u8; HASH],
    signatures: BTreeMap<AuthorityId, [u8; SIGNATURE]>,
    handovers: Vec<Handover>,
    bytes: Arc<[u8]>,
}

impl UnverifiedDocument {
    /// Decodes `length 4 | signed part | count 1 | (authority 32, signature 64) each | count 1 | hand-overs`.
    ///
    /// # Errors
    /// [`DocumentError::Malformed`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DocumentError> {
        if bytes.len() > DOCUMENT_MAX {
            return Err(DecodeError::TooLong("document").into());
        }
        let mut reader = Reader::new(bytes);
        let length = reader.count(DOCUMENT_MAX, "document")?;
        let signed = reader.take(length)?;
        let signatures = read_signatures(&mut reader)?;
        let count = usize::from(reader.u8()?);
        if count > HANDOVERS_MAX {
            return Err(DecodeError::TooLong("hand-overs").into());
        }
        let handovers = (0..count).map(|_| Handover::read(&mut reader)).collect::<Result<_, _>>()?;
        reader.finish()?;
        Ok(Self { view: View::decode(signed)?, digest: digest(signed), signatures, handovers, bytes: bytes.into() })
    }

    /// The epoch that it says it is for.
    pub fn epoch(&self) -> Epoch {
        self.view.epoch
    }

    /// Checks network, history of authorities, signatures and time; nothing is re-encoded.
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
        let document = self.verify_timelessly(authorities)?;
        if now + document.params.epoch < document.valid_after {
            return Err(DocumentError::NotYetValid);
        }
        if now >= document.valid_until {
            return Err(DocumentError::Expired);
        }
        Ok(document)
    }

    /// The same at any time, for who keeps documents beyond theirs: authorities.
    ///
    /// # Errors
    /// In words for a person.
    pub fn verify_timelessly(self, authorities: &AuthoritySet) -> Result<Document, DocumentError> {
        if self.view.network != authorities.network {
            return Err(DocumentError::OtherNetwork);
        }
        let authorities = authorities.with_chain(&self.handovers, self.view.epoch)?;
        let committee = authorities.committee(self.view.epoch);
        let found = signers(&self.view, self.digest, &self.signatures, committee).count();
        let needed = committee.threshold();
        if found < needed {
            return Err(DocumentError::TooFewSignatures { found, needed });
        }
        Ok(Document(Arc::new(Verified::new(self.view, self.digest, self.bytes, authorities))))
    }
}

/// Authorities of a committee whose signature under a document is good.
fn signers<'a>(
    view: &View,
    digest: [u8; HASH],
    signatures: &'a BTreeMap<AuthorityId, [u8; SIGNATURE]>,
    committee: &'a Committee,
) -> impl Iterator<Item = AuthorityId> + 'a {
    let (network, epoch) = (view.network, view.epoch);
    let good = move |(author, signature): &(&AuthorityId, &[u8; SIGNATURE])| {
        let statement = Statement { network, epoch, kind: Kind::Document, author: **author, digest };
        committee.contains(author) && statement.is_signed_by_author(signature)
    };
    signatures.iter().filter(good).map(|(author, _)| *author)
}

/// Hash of a document's signed part.
pub fn digest(signed: &[u8]) -> [u8; HASH] {
    hash(label::DOCUMENT_HASH, &[signed])
}

/// A network document with enough good signatures. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Document(Arc<Verified>);

#[derive(Debug)]
struct Verified {
    view: View,
    digest: [u8; HASH],
    bytes: Arc<[u8]>,
    authorities: AuthoritySet,
    by_id: BTreeMap<NodeId, Position>,
    by_link: BTreeMap<LinkKey, Position>,
}

/// Where a relay stands in a view.
#[derive(Clone, Copy, Debug)]
struct Position {
    place: Place,
    /// In the list of its place.
    at: usize,
}

impl Verified {
    fn new(view: View, digest: [u8; HASH], bytes: Arc<[u8]>, authorities: AuthoritySet) -> Self {
        let (mut by_id, mut by_link) = (BTreeMap::new(), BTreeMap::new());
        for (place, list) in view.lists() {
            for (at, relay) in list.iter().enumerate() {
                by_id.insert(relay.id, Position { place, at });
                by_link.insert(relay.link_key, Position { place, at });
            }
        }
        Self { view, digest, bytes, authorities, by_id, by_link }
    }

    fn relay(&self, position: Position) -> Option<(Place, &Relay)> {
        let list = match position.place {
            Place::Mix(layer) => self.view.layers.get(usize::from(layer).checked_sub(1)?)?,
            Place::Entry => &self.view.entries,
            Place::Mailbox => &self.view.mailboxes,
        };
        Some((position.place, list.get(position.at)?))
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
        DocumentHash(*self.0.digest.first_chunk().expect("a hash is longer than its prefix"))
    }

    /// The whole hash of the signed part.
    pub fn digest(&self) -> [u8; HASH] {
        self.0.digest
    }

    /// The authorities, with every hand-over that this document shows: keep them for the documents that follow.
    pub fn authorities(&self) -> &AuthoritySet {
        &self.0.authorities
    }

    /// The relay with this id.
    pub fn relay(&self, id: &NodeId) -> Option<(Place, &Relay)> {
        self.0.relay(*self.0.by_id.get(id)?)
    }

    /// The relay with this link key.
    pub fn relay_by_link(&self, key: &LinkKey) -> Option<(Place, &Relay)> {
        self.0.relay(*self.0.by_link.get(key)?)
    }
}

impl std::ops::Deref for Document {
    type Target = View;
    fn deref(&self) -> &View {
        &self.0.view
    }
}

/// Puts a document together from its signed part, signatures and the hand-overs that led to its signers.
pub fn assemble(signed: &[u8], signatures: &BTreeMap<AuthorityId, [u8; SIGNATURE]>, handovers: &[Handover]) -> Vec<u8> {
    let mut writer = Writer::with_capacity(signed.len() + 4_096);
    writer.u32(signed.len() as u32).put(signed).u8(signatures.len() as u8);
    for (author, signature) in signatures {
        writer.put(author.as_bytes()).put(signature);
    }
    writer.u8(handovers.len() as u8);
    handovers.iter().for_each(|handover| handover.write(&mut writer));
    writer.finish()
}

/// Signs a view with the keys of its authorities, all in one place: for tests and simulations.
pub fn sign_view(view: &View, authorities: &[SigningSecret]) -> Vec<u8> {
    let signed = view.encode();
    let statement = |author: AuthorityId| Statement {
        network: view.network,
        epoch: view.epoch,
        kind: Kind::Document,
        author,
        digest: digest(&signed),
    };
    let sign = |secret: &SigningSecret| {
        let author = secret.authority_id();
        (author, *statement(author).sign(secret).signature())
    };
    assemble(&signed, &authorities.iter().map(sign).collect(), &[])
}
