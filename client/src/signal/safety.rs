//! Safety numbers: two people compare them to know that nobody stands between them.

use super::{SignalError, account::own_pair, tables::identity_key};
use crate::store::contacts::PeerIdentity;
use libsignal_protocol::{Fingerprint, ScannableFingerprint};
use rusqlite::Connection;

/// The safety number of a conversation: the same digits on both devices if, and only if, each has the other's identity.
#[derive(Debug)]
pub struct SafetyNumber {
    digits: String,
    scannable: ScannableFingerprint,
}

impl SafetyNumber {
    /// Between us and `peer`. Takes some milliseconds: 5,200 rounds of SHA-512 for each side, as Signal does, so that
    /// a near-collision costs an interceptor that much per try.
    ///
    /// # Errors
    /// [`SignalError::Store`] if there is no account.
    pub fn with(connection: &Connection, peer: &PeerIdentity) -> Result<Self, SignalError> {
        let ours = *own_pair(connection)?.identity_key();
        let theirs = identity_key(peer);
        let fingerprint = Fingerprint::new(VERSION, ITERATIONS, &ours.serialize(), &ours, &theirs.serialize(), &theirs)
            .map_err(|_| SignalError::Library("fingerprint"))?;
        let digits = fingerprint.display_string().map_err(|_| SignalError::Library("fingerprint"))?;
        Ok(Self { digits, scannable: fingerprint.scannable })
    }

    /// Twelve groups of five digits.
    pub fn groups(&self) -> Vec<&str> {
        // The digits are ASCII, so every fifth byte is a border.
        (0..12).filter_map(|group| self.digits.get(group * 5..group * 5 + 5)).collect()
    }

    /// The bytes of the QR code: what the other device's [`SafetyNumber::matches`] takes.
    ///
    /// # Errors
    /// Never in practice.
    pub fn scannable(&self) -> Result<Vec<u8>, SignalError> {
        self.scannable.serialize().map_err(|_| SignalError::Library("fingerprint"))
    }

    /// Whether the bytes of the other device's QR code belong to the same conversation.
    ///
    /// # Errors
    /// [`SignalError::Malformed`] if they are no such bytes.
    pub fn matches(&self, scanned: &[u8]) -> Result<bool, SignalError> {
        self.scannable.compare(scanned).map_err(|_| SignalError::Malformed("safety number"))
    }
}

const VERSION: u32 = 2;
const ITERATIONS: u32 = 5_200;
