//! Ids: a type of its own for each 32-byte string with a meaning.

use data_encoding::HEXLOWER_PERMISSIVE;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// A text is not the 64 hexadecimal digits of an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected 64 hexadecimal digits")]
pub struct NotAnId;

macro_rules! public_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        ///
        /// Public knowledge: `Display` shows it whole, `Debug` its first four bytes.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(pub [u8; 32]);

        impl $name {
            /// The bytes.
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&HEXLOWER_PERMISSIVE.encode(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let [a, b, c, d, ..] = self.0;
                write!(f, "{}({a:02x}{b:02x}{c:02x}{d:02x}..)", stringify!($name))
            }
        }

        impl FromStr for $name {
            type Err = NotAnId;
            fn from_str(text: &str) -> Result<Self, NotAnId> {
                let bytes = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).map_err(|_| NotAnId)?;
                Ok(Self(bytes.try_into().map_err(|_| NotAnId)?))
            }
        }

        impl TryFrom<String> for $name {
            type Error = NotAnId;
            fn try_from(text: String) -> Result<Self, NotAnId> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.to_string()
            }
        }
    };
}

macro_rules! private_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        ///
        /// Tells something about a person: `Debug` shows nothing of it and there is no `Display`.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; 32]);

        impl $name {
            /// The bytes.
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(..)"))
            }
        }
    };
}

public_id!(
    /// A node's Ed25519 identity key, which is also its address in Sphinx headers.
    NodeId
);
public_id!(
    /// An authority's Ed25519 signing key.
    AuthorityId
);
public_id!(
    /// Names one network for good: the hash of its name and first authorities (see `pki`).
    NetworkId
);
public_id!(
    /// The Ed25519 key with which a node proves itself on a QUIC link (RFC 7250 raw public key).
    LinkKey
);
private_id!(
    /// A client's address at its entry, drawn by the client for each connection: the last hop of a reply's route.
    SessionAddress
);
private_id!(
    /// A box: its stream's public key under the box's blinding factor (an Ed25519 key).
    BoxId
);

/// First bytes of the SHA-256 of the signed network document, in every reply and digest, so that an entry that serves a
/// client a world of its own is noticed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct DocumentHash(pub [u8; crate::geometry::DOCUMENT_HASH_PREFIX]);

/// A share of the mailboxes' work in large networks. Only 0 is valid until the document lists more.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct District(pub u16);

/// Names a reply to whoever made its SURB; never zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SurbId([u8; crate::geometry::SURB_ID]);

impl SurbId {
    /// `None` for all zero bytes, which the format keeps for "no reply".
    pub fn new(bytes: [u8; crate::geometry::SURB_ID]) -> Option<Self> {
        (bytes != [0; crate::geometry::SURB_ID]).then_some(Self(bytes))
    }

    /// The bytes.
    pub const fn as_bytes(&self) -> &[u8; crate::geometry::SURB_ID] {
        &self.0
    }
}

impl fmt::Debug for SurbId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SurbId(..)")
    }
}
