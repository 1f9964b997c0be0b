//! The cryptographic primitives, each with its construction, its parameters and the rule that makes its use safe.
//! Nothing else in the project calls them directly; every use names a label of [`label`].

use crate::{
    geometry::{HASH, KEY, SIGNATURE},
    ids::{AuthorityId, NodeId},
};
use aes_gcm_siv::{
    Aes256GcmSiv, KeyInit, Nonce,
    aead::{Aead, Payload},
};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use hkdf::Hkdf;
use sha2::{Digest, Sha256};
use std::fmt;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Labels that separate the domains of hashes, derived keys and signatures. A label is used for one thing.
pub mod label {
    /// Stream root to the stream's Ed25519 seed.
    pub const STREAM_KEY: &str = "veilpost/1 stream signing key";
    /// Stream root to the first chain state.
    pub const STREAM_STATE: &str = "veilpost/1 stream first state";
    /// Chain state to the next chain state.
    pub const BOX_NEXT: &str = "veilpost/1 box next state";
    /// Chain state to the box's blinding factor.
    pub const BOX_BLIND: &str = "veilpost/1 box blinding factor";
    /// Chain state to the box's encryption key.
    pub const BOX_KEY: &str = "veilpost/1 box encryption key";
    /// Chain state to the box's acknowledgement secret.
    pub const BOX_ACK: &str = "veilpost/1 box ack secret";
    /// Acknowledgement secret to its hash.
    pub const ACK_HASH: &str = "veilpost/1 ack hash";
    /// Content hash of a box.
    pub const BOX_CONTENT: &str = "veilpost/1 box content";
    /// A writer's signature of a box.
    pub const BOX_SIGNATURE: &str = "veilpost/1 box signature";
    /// A holder's signature that a box is stored.
    pub const STORED_SIGNATURE: &str = "veilpost/1 stored";
    /// Box id to its tag in a digest.
    pub const DIGEST_TAG: &str = "veilpost/1 digest tag";
    /// A mailbox's signature of a digest.
    pub const DIGEST_SIGNATURE: &str = "veilpost/1 digest";
    /// Hash of a signed digest.
    pub const DIGEST_HASH: &str = "veilpost/1 digest hash";
    /// Signature of a part of a set.
    pub const SET_SIGNATURE: &str = "veilpost/1 set";
    /// A node's signature of its descriptor.
    pub const DESCRIPTOR_SIGNATURE: &str = "veilpost/1 descriptor";
    /// An authority's signature of a vote, a reveal or the network document.
    pub const STATEMENT: &str = "veilpost/1 authority statement";
    /// An authority's word that it holds another's statement.
    pub const COUNTERSIGNATURE: &str = "veilpost/1 authority countersignature";
    /// An authority's signature under the set of authorities that follows its own.
    pub const HANDOVER_SIGNATURE: &str = "veilpost/1 authorities hand-over";
    /// Hash of a set of authorities.
    pub const AUTHORITY_SET: &str = "veilpost/1 authority set";
    /// Hash of a vote.
    pub const VOTE: &str = "veilpost/1 vote";
    /// Hash of a revealed random value.
    pub const REVEAL: &str = "veilpost/1 reveal";
    /// A random value to its commitment.
    pub const COMMITMENT: &str = "veilpost/1 commitment";
    /// Revealed values and the epoch before to the shared random value.
    pub const SHARED_RANDOM: &str = "veilpost/1 shared random value";
    /// Shared random value and node to its rank among newcomers, and to its layer.
    pub const LAYER: &str = "veilpost/1 layer";
    /// Hash of the signed part of the network document.
    pub const DOCUMENT_HASH: &str = "veilpost/1 document hash";
    /// Box id and mailbox to the mailbox's rank among the box's holders.
    pub const PLACEMENT: &str = "veilpost/1 placement";
    /// The ids of a placement set to the name that mailboxes call it by.
    pub const PLACEMENT_SET: &str = "veilpost/1 placement set";
    /// What a Put pays for, to the challenge of its puzzle.
    pub const PUT_PUZZLE: &str = "veilpost/1 put puzzle";
    /// What a session pays for, to the challenge of its puzzle.
    pub const SESSION_PUZZLE: &str = "veilpost/1 session puzzle";
    /// Challenge and nonce to what the puzzle's hash program is made from.
    pub const PUZZLE_NONCE: &str = "veilpost/1 puzzle nonce";
    /// A solution to the number that decides about its effort.
    pub const PUZZLE_EFFORT: &str = "veilpost/1 puzzle effort";
    /// A network's id.
    pub const NETWORK_ID: &str = "veilpost/1 network id";
    /// Invitation seed to the root of the inviter's stream.
    pub const INVITATION_OFFER: &str = "veilpost/1 invitation offer stream";
    /// Invitation seed to the root of the answer's stream.
    pub const INVITATION_ANSWER: &str = "veilpost/1 invitation answer stream";
    /// Hash of the inviter's identity in a link.
    pub const INVITATION_IDENTITY: &str = "veilpost/1 invitation identity";
    /// Checksum of a link.
    pub const INVITATION_CHECKSUM: &str = "veilpost/1 invitation checksum";
    /// Day number and pairwise secret to a beacon box's stream (reserved).
    pub const BEACON: &str = "veilpost/1 beacon stream";
    /// Old root to the root that replaces it (reserved).
    pub const STREAM_REPLACEMENT: &str = "veilpost/1 stream replacement";
}

/// SHA-256 over a label and length-prefixed parts: no two lists of parts hash alike.
pub fn hash(label: &str, parts: &[&[u8]]) -> [u8; HASH] {
    let mut hasher = Sha256::new();
    for part in std::iter::once(&label.as_bytes()).chain(parts) {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    hasher.finalize().into()
}

/// HKDF-SHA256, expand only (RFC 5869 section 2.3): the input must be a uniformly random secret.
pub fn expand(secret: &[u8; KEY], label: &str) -> [u8; KEY] {
    let mut out = [0; KEY];
    Hkdf::<Sha256>::from_prk(secret)
        .expect("32 bytes are as long as HKDF-SHA256 asks of a pseudorandom key")
        .expand(label.as_bytes(), &mut out)
        .expect("32 bytes are less than 255 blocks");
    out
}

/// AES-256-GCM-SIV (RFC 8452) with the zero nonce. The key must be used for one message only; repeating the very same
/// message is harmless, and another message under the key would only show that the two differ.
pub fn seal(key: &[u8; KEY], associated: &[u8], plaintext: &[u8]) -> Vec<u8> {
    Aes256GcmSiv::new(key.into())
        .encrypt(&Nonce::default(), Payload { msg: plaintext, aad: associated })
        .expect("the formats are far below the cipher's 64 GiB")
}

/// Opens what [`seal`] made; `None` if a bit of it, of the key or of the associated bytes differs.
pub fn open(key: &[u8; KEY], associated: &[u8], ciphertext: &[u8]) -> Option<Vec<u8>> {
    Aes256GcmSiv::new(key.into()).decrypt(&Nonce::default(), Payload { msg: ciphertext, aad: associated }).ok()
}

/// The bytes that are signed for a label and a message.
fn signed_bytes(label: &str, message: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1 + label.len() + message.len());
    bytes.push(label.len() as u8);
    bytes.extend_from_slice(label.as_bytes());
    bytes.extend_from_slice(message);
    bytes
}

/// An Ed25519 signing key (RFC 8032) of a node or an authority. Wiped on drop.
pub struct SigningSecret(SigningKey);

impl SigningSecret {
    /// From 32 random bytes; wipe the caller's copy.
    pub fn from_seed(seed: &[u8; KEY]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// The public key as a node's id.
    pub fn node_id(&self) -> NodeId {
        NodeId(self.0.verifying_key().to_bytes())
    }

    /// The public key as an authority's id.
    pub fn authority_id(&self) -> AuthorityId {
        AuthorityId(self.0.verifying_key().to_bytes())
    }

    /// Signs a message under a label.
    pub fn sign(&self, label: &str, message: &[u8]) -> [u8; SIGNATURE] {
        self.0.sign(&signed_bytes(label, message)).to_bytes()
    }
}

impl fmt::Debug for SigningSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningSecret(..)")
    }
}

/// Checks an Ed25519 signature under a label, strictly: small-order keys and non-canonical encodings are refused.
pub fn verify(key: &[u8; KEY], label: &str, message: &[u8], signature: &[u8; SIGNATURE]) -> bool {
    VerifyingKey::from_bytes(key)
        .is_ok_and(|key| key.verify_strict(&signed_bytes(label, message), &Signature::from_bytes(signature)).is_ok())
}

/// Signs with a blinded key. See [`crate::boxes`] for the rule that keeps this safe.
pub(crate) fn sign_blinded(
    key: &tor_llcrypto::pk::ed25519::ExpandedKeypair,
    label: &str,
    message: &[u8],
) -> [u8; SIGNATURE] {
    key.sign(&signed_bytes(label, message)).to_bytes()
}

/// A 32-byte secret that is wiped on drop and never printed.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Secret32([u8; KEY]);

impl Secret32 {
    /// Takes the bytes; wipe the caller's copy.
    pub const fn new(bytes: [u8; KEY]) -> Self {
        Self(bytes)
    }

    /// Lends the bytes.
    pub const fn expose(&self) -> &[u8; KEY] {
        &self.0
    }

    /// Derives another secret from this one.
    pub fn derive(&self, label: &str) -> Secret32 {
        Secret32(expand(&self.0, label))
    }

    /// Compares in constant time.
    pub fn ct_eq(&self, other: &[u8; KEY]) -> bool {
        subtle::ConstantTimeEq::ct_eq(&self.0[..], &other[..]).into()
    }
}

impl fmt::Debug for Secret32 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret32(..)")
    }
}
