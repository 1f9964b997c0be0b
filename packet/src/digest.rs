//! Digests: what a mailbox publishes each tick for everyone, also when there is nothing to say.
//!
//! ```text
//! network 32 | document hash 8 | mailbox 32 | district 2 | tick 4 | previous hash 32 | count 4 | tags 6 each | signature 64
//! ```
//! The previous hash chains them: a missing one is seen, and one that never existed is told from one that was withheld.

use crate::{
    boxes::BoxTag,
    codec::{DecodeError, Reader, Result, Writer},
    geometry::{DIGEST_FIXED, DIGEST_MAX, DIGEST_MAX_TAGS, DIGEST_TAG, HASH, SIGNATURE},
    ids::{District, DocumentHash, NetworkId, NodeId},
    primitives::{SigningSecret, hash, label, verify},
    time::Tick,
};

/// Hash of a signed digest; all zero before the first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct DigestHash(pub [u8; HASH]);

/// A digest whose signature has been checked, or which this mailbox is about to sign.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Digest {
    /// The network.
    pub network: NetworkId,
    /// Of the document that the mailbox works by.
    pub document: DocumentHash,
    /// The mailbox.
    pub mailbox: NodeId,
    /// The district.
    pub district: District,
    /// The tick in which the boxes became durable.
    pub tick: Tick,
    /// Hash of this mailbox's digest before this one.
    pub previous: DigestHash,
    /// Tags of the boxes, strictly ascending.
    pub tags: Vec<BoxTag>,
}

impl Digest {
    /// Signs the digest; the bytes are what is published.
    ///
    /// Tags are sorted and repeated ones dropped; more than [`DIGEST_MAX_TAGS`] are the caller's to hold back.
    pub fn sign(mut self, secret: &SigningSecret) -> SignedDigest {
        self.tags.sort_unstable();
        self.tags.dedup();
        let mut writer = Writer::with_capacity(DIGEST_FIXED + self.tags.len() * DIGEST_TAG);
        writer.put(self.network.as_bytes()).put(&self.document.0).put(self.mailbox.as_bytes()).u16(self.district.0);
        writer.u32(self.tick.0).put(&self.previous.0).u32(u32::try_from(self.tags.len()).unwrap_or(u32::MAX));
        for tag in &self.tags {
            writer.put(&tag.0);
        }
        let mut bytes = writer.finish();
        let signature = secret.sign(label::DIGEST_SIGNATURE, &bytes);
        bytes.extend_from_slice(&signature);
        SignedDigest { digest: self, bytes }
    }
}

/// A digest with the bytes that its mailbox signed; exists only with a good signature.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SignedDigest {
    digest: Digest,
    bytes: Vec<u8>,
}

impl SignedDigest {
    /// Decodes and checks the signature by the mailbox that the digest names. Whether that mailbox and network are ours is
    /// for the caller to check.
    pub fn verify(bytes: &[u8]) -> Result<Self> {
        if bytes.len() > DIGEST_MAX {
            return Err(DecodeError::TooLong("digest"));
        }
        let signed_length = bytes.len().checked_sub(SIGNATURE).ok_or(DecodeError::Truncated)?;
        let (signed, signature) = bytes.split_at_checked(signed_length).ok_or(DecodeError::Truncated)?;
        let digest = read(signed)?;
        let signature: &[u8; SIGNATURE] = signature.first_chunk().ok_or(DecodeError::Truncated)?;
        if !verify(digest.mailbox.as_bytes(), label::DIGEST_SIGNATURE, signed, signature) {
            return Err(DecodeError::Invalid("digest signature"));
        }
        Ok(Self { digest, bytes: bytes.to_vec() })
    }

    /// The digest.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The bytes as published.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What the next digest names as its previous.
    pub fn hash(&self) -> DigestHash {
        DigestHash(hash(label::DIGEST_HASH, &[&self.bytes]))
    }
}

fn read(bytes: &[u8]) -> Result<Digest> {
    let mut reader = Reader::new(bytes);
    let mut digest = Digest {
        network: NetworkId(reader.array()?),
        document: DocumentHash(reader.array()?),
        mailbox: NodeId(reader.array()?),
        district: District(reader.u16()?),
        tick: Tick(reader.u32()?),
        previous: DigestHash(reader.array()?),
        tags: Vec::new(),
    };
    let count = reader.count(DIGEST_MAX_TAGS, "digest tags")?;
    if reader.remaining() != count * DIGEST_TAG {
        return Err(if reader.remaining() < count * DIGEST_TAG {
            DecodeError::Truncated
        } else {
            DecodeError::Trailing
        });
    }
    digest.tags.reserve_exact(count);
    for _ in 0..count {
        let tag = BoxTag(reader.array()?);
        if digest.tags.last().is_some_and(|last| *last >= tag) {
            return Err(DecodeError::Invalid("order of digest tags"));
        }
        digest.tags.push(tag);
    }
    reader.finish()?;
    Ok(digest)
}
