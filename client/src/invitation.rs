//! Invitation links: 60 base32 characters, and what lies in the first box of the stream they name.
//!
//! ```text
//! link  = base32(seed 16 | identity hash 16 | network 2 | checksum 3), 37 B in 60 characters
//! seed -> root of the offer stream (the inviter writes box 0: the offer)
//!      -> root of the answer stream (whoever uses the link writes box 0; write-once decides who did)
//! offer = version 1 | name | bundle, whose identity the hash names and whose prekeys that identity signed
//! ```
//! The hash binds the offer to the inviter: who only has the link can read and race the answer, but not replace the offer.
//! Unlike the first sketch of the design, the offer holds no stream capabilities: both roots of the pair come in the answer,
//! encrypted to the inviter, so that a link that leaks later says nothing about the boxes of the conversation.

use data_encoding::{Encoding, Specification};
use std::sync::LazyLock;
use veilpost_packet::{
    boxes::StreamRoot,
    codec::{DecodeError, Reader, Writer},
    ids::NetworkId,
    primitives::{Secret32, hash, label},
};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Characters of a link.
pub const LINK_LENGTH: usize = 60;
const SEED: usize = 16;
const IDENTITY_HASH: usize = 16;
const CHECKSUM: usize = 3;
const BYTES: usize = SEED + IDENTITY_HASH + 2 + CHECKSUM;

/// Lower-case base32 (RFC 4648 alphabet) without padding; capitals are read too, as QR codes prefer them.
static BASE32: LazyLock<Encoding> = LazyLock::new(|| {
    let mut specification = Specification::new();
    specification.symbols.push_str("abcdefghijklmnopqrstuvwxyz234567");
    specification.translate.from.push_str("ABCDEFGHIJKLMNOPQRSTUVWXYZ");
    specification.translate.to.push_str("abcdefghijklmnopqrstuvwxyz");
    specification.check_trailing_bits = true;
    specification.encoding().expect("32 different symbols make a base32")
});

/// Why a link cannot be used, in words for a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// Length, alphabet or checksum.
    #[error(
        "a letter of this link is wrong or missing: an invitation has {LINK_LENGTH} letters and digits; copy it again"
    )]
    Mistyped,
    /// Made on another network.
    #[error("this invitation belongs to another network than this account")]
    OtherNetwork,
}

/// An invitation as its link says it. Whoever has it can use it once. Wiped on drop.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Invitation {
    seed: [u8; SEED],
    identity_hash: [u8; IDENTITY_HASH],
}

impl std::fmt::Debug for Invitation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Invitation(..)")
    }
}

impl Invitation {
    /// A fresh invitation of this identity (32-byte public key).
    pub fn new(seed: [u8; SEED], identity: &[u8; 32]) -> Self {
        Self { seed, identity_hash: identity_hash(identity) }
    }

    /// The link.
    pub fn to_link(&self, network: &NetworkId) -> String {
        let mut writer = Writer::with_capacity(BYTES);
        writer.put(&self.seed).put(&self.identity_hash).put(&network_prefix(network));
        let mut bytes = writer.finish();
        let checksum = checksum(&bytes);
        bytes.extend_from_slice(&checksum);
        BASE32.encode(&bytes)
    }

    /// Reads a link; spaces and line breaks around and inside are forgiven.
    ///
    /// # Errors
    /// In words for a person.
    pub fn from_link(link: &str, network: &NetworkId) -> Result<Self, LinkError> {
        let compact: String = link.chars().filter(|c| !c.is_whitespace()).take(LINK_LENGTH + 1).collect();
        let bytes = BASE32.decode(compact.as_bytes()).map_err(|_| LinkError::Mistyped)?;
        let (body, sum) = bytes.split_last_chunk::<CHECKSUM>().ok_or(LinkError::Mistyped)?;
        if *sum != checksum(body) {
            return Err(LinkError::Mistyped);
        }
        let mut reader = Reader::new(body);
        let mut fields = || Ok((reader.array()?, reader.array()?, reader.array::<2>()?));
        let (seed, identity_hash, prefix) = fields().map_err(|_: DecodeError| LinkError::Mistyped)?;
        reader.finish().map_err(|_| LinkError::Mistyped)?;
        if prefix != network_prefix(network) {
            return Err(LinkError::OtherNetwork);
        }
        Ok(Self { seed, identity_hash })
    }

    /// True if the link was made by this identity.
    pub fn is_by(&self, identity: &[u8; 32]) -> bool {
        self.identity_hash == identity_hash(identity)
    }

    /// The stream whose box 0 holds the offer.
    pub fn offer_root(&self) -> StreamRoot {
        self.root(label::INVITATION_OFFER)
    }

    /// The stream whose box 0 holds the answer.
    pub fn answer_root(&self) -> StreamRoot {
        self.root(label::INVITATION_ANSWER)
    }

    fn root(&self, label: &str) -> StreamRoot {
        // The seed has 128 uniformly random bits; the hash makes of it the 32 bytes that a derivation starts from.
        StreamRoot(Secret32::new(hash(label, &[&self.seed, &self.identity_hash])))
    }

    /// For the encrypted store.
    pub fn to_bytes(&self) -> [u8; SEED + IDENTITY_HASH] {
        let mut bytes = [0; SEED + IDENTITY_HASH];
        let (seed, identity) = bytes.split_at_mut(SEED);
        seed.copy_from_slice(&self.seed);
        identity.copy_from_slice(&self.identity_hash);
        bytes
    }

    /// From the encrypted store.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let invitation = Self { seed: reader.array()?, identity_hash: reader.array()? };
        reader.finish()?;
        Ok(invitation)
    }
}

fn identity_hash(identity: &[u8; 32]) -> [u8; IDENTITY_HASH] {
    let full = hash(label::INVITATION_IDENTITY, &[identity]);
    *full.first_chunk().expect("a hash is longer than its prefix")
}

fn network_prefix(network: &NetworkId) -> [u8; 2] {
    *network.as_bytes().first_chunk().expect("an id is longer than its prefix")
}

fn checksum(body: &[u8]) -> [u8; CHECKSUM] {
    let full = hash(label::INVITATION_CHECKSUM, &[body]);
    *full.first_chunk().expect("a hash is longer than its prefix")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NETWORK: NetworkId = NetworkId([7; 32]);

    proptest! {
        #[test]
        fn a_link_comes_back_in_any_case_and_spacing(seed: [u8; 16], identity: [u8; 32], capitals: bool, cut in 0usize..60) {
            let invitation = Invitation::new(seed, &identity);
            let mut link = invitation.to_link(&NETWORK);
            prop_assert_eq!(link.len(), LINK_LENGTH);
            if capitals {
                link = link.to_uppercase();
            }
            link.insert(cut, '\n');
            let back = Invitation::from_link(&link, &NETWORK).unwrap();
            prop_assert!(back == invitation && back.is_by(&identity));
        }

        #[test]
        fn a_link_with_one_wrong_letter_is_refused(seed: [u8; 16], at in 0usize..60, letter in 0usize..32) {
            let link = Invitation::new(seed, &[1; 32]).to_link(&NETWORK);
            let mut letters: Vec<char> = link.chars().collect();
            letters[at] = "abcdefghijklmnopqrstuvwxyz234567".chars().nth(letter).unwrap();
            let changed: String = letters.into_iter().collect();
            prop_assume!(changed != link);
            prop_assert_eq!(Invitation::from_link(&changed, &NETWORK), Err(LinkError::Mistyped));
        }

        #[test]
        fn any_text_is_refused_without_a_panic(text in "\\PC{0,80}") {
            prop_assert!(Invitation::from_link(&text, &NETWORK).is_err());
        }
    }

    #[test]
    fn a_link_of_another_network_is_told_apart() {
        let link = Invitation::new([1; 16], &[2; 32]).to_link(&NETWORK);
        assert_eq!(Invitation::from_link(&link, &NetworkId([8; 32])), Err(LinkError::OtherNetwork));
    }
}
