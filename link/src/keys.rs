//! The link key: proves a node on its links and nothing else, so that it can live in a file beside the daemon while the
//! identity key may one day live elsewhere.

use aws_lc_rs::hmac;
use quinn::EndpointConfig;
use quinn_proto::HashedConnectionIdGenerator;
use rustls::{
    crypto::aws_lc_rs::sign::any_eddsa_type,
    pki_types::{CertificateDer, PrivatePkcs8KeyDer},
    sign::CertifiedKey,
};
use std::{fmt, sync::Arc};
use veilpost_packet::ids::LinkKey;
use zeroize::Zeroizing;

/// PKCS#8 version 1 around an Ed25519 seed (RFC 8410 section 7).
const PKCS8_PREFIX: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
/// SubjectPublicKeyInfo around an Ed25519 key (RFC 8410 section 4).
const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// The secret half of a [`LinkKey`]: an Ed25519 seed.
///
/// Wiped on drop and never printed. The copy that the TLS library makes of it lives as long as the endpoint and is freed
/// by AWS-LC, which wipes its keys.
pub struct LinkSecret(Zeroizing<[u8; 32]>);

impl LinkSecret {
    /// From 32 secret bytes.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(Zeroizing::new(seed))
    }

    /// A fresh secret from the operating system's randomness, for one connection of a client.
    ///
    /// # Errors
    /// If the operating system has no randomness.
    pub fn throwaway() -> Result<Self, rustls::Error> {
        use rand::TryRngCore;
        let mut seed = Zeroizing::new([0; 32]);
        rand::rngs::OsRng.try_fill_bytes(seed.as_mut()).map_err(|_| rustls::Error::FailedToGetRandomBytes)?;
        Ok(Self(seed))
    }

    /// The public half.
    pub fn public(&self) -> LinkKey {
        let key = self.certified().expect("every 32 bytes are an Ed25519 seed, and the prefix is fixed");
        key.cert
            .first()
            .and_then(|spki| key_of_spki(spki))
            .expect("the TLS library writes an Ed25519 key as RFC 8410 says")
    }

    /// What lets a restarted node tell its peers that their connections are gone: a stateless reset (RFC 9000 section 10.3)
    /// needs keys that outlive the process. Without it every peer would wait for its idle time. HMAC-SHA256 of the seed,
    /// which Ed25519 itself only ever hashes with SHA-512, so the uses do not meet.
    pub(crate) fn restart_config(&self) -> EndpointConfig {
        let root = hmac::Key::new(hmac::HMAC_SHA256, self.0.as_slice());
        let reset_key = hmac::sign(&root, b"veilpost/1 link stateless reset key");
        let id_key = hmac::sign(&root, b"veilpost/1 link connection id key");
        let id_key = u64::from_be_bytes(id_key.as_ref().first_chunk().copied().unwrap_or_default());
        let mut config = EndpointConfig::new(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, reset_key.as_ref())));
        config.cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(id_key)));
        config
    }

    /// The key as rustls wants it: signing half and "certificate", which for a raw key is the SPKI.
    pub(crate) fn certified(&self) -> Result<Arc<CertifiedKey>, rustls::Error> {
        let mut pkcs8 = Zeroizing::new([0; 48]);
        for (to, from) in pkcs8.iter_mut().zip(PKCS8_PREFIX.iter().chain(self.0.iter())) {
            *to = *from;
        }
        let signer = any_eddsa_type(&PrivatePkcs8KeyDer::from(pkcs8.as_slice()))?;
        let spki = signer.public_key().ok_or(rustls::Error::General("no public key".into()))?;
        Ok(Arc::new(CertifiedKey::new(vec![CertificateDer::from(spki.as_ref().to_vec())], signer)))
    }
}

impl fmt::Debug for LinkSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LinkSecret(..)")
    }
}

/// The key inside an Ed25519 SPKI; `None` for anything else.
pub(crate) fn key_of_spki(spki: &[u8]) -> Option<LinkKey> {
    Some(LinkKey(spki.strip_prefix(&SPKI_PREFIX)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_public_half_is_the_one_of_rfc_8032() {
        // RFC 8032 section 7.1, test 1.
        let seed = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60".parse::<LinkKey>().unwrap();
        let public = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a".parse::<LinkKey>().unwrap();
        assert_eq!(LinkSecret::from_seed(seed.0).public(), public);
    }

    #[test]
    fn a_secret_is_not_printed() {
        assert_eq!(format!("{:?}", LinkSecret::from_seed([7; 32])), "LinkSecret(..)");
    }

    #[test]
    fn only_an_ed25519_spki_gives_a_key() {
        let mut spki = SPKI_PREFIX.to_vec();
        spki.extend([5; 32]);
        assert_eq!(key_of_spki(&spki), Some(LinkKey([5; 32])));
        spki.push(0);
        assert_eq!(key_of_spki(&spki), None);
        assert_eq!(key_of_spki(&spki[..43]), None);
        assert_eq!(key_of_spki(&[]), None);
    }
}
