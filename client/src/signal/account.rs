//! Our own identity and the certificate it signs for itself.

use super::{
    SignalError,
    error::sort,
    guard::{certificate_time, guarded, now},
    tables::{Tables, device, peer_identity},
};
use crate::store::{StoreError, account, contacts::PeerIdentity};
use libsignal_protocol::{IdentityKeyPair, IdentityKeyStore as _, SenderCertificate, ServerCertificate};
use rand::Rng as _;
use rusqlite::Connection;
use std::time::Duration;
use veilpost_packet::{
    ids::NetworkId,
    random::{self, EngineRng},
    time::Timestamp,
};
use zeroize::Zeroizing;

/// The name in every sender certificate. The format demands one; it says nothing, is the same for all, and one letter
/// saves 35 bytes a message against the usual UUID.
pub(super) const SENDER_NAME: &str = "v";

/// How long a certificate lives.
const CERTIFICATE_LIFE: Duration = Duration::from_secs(5 * 365 * 86_400);
/// A certificate with less than this left is replaced before the next message.
const CERTIFICATE_MARGIN: Duration = Duration::from_secs(365 * 86_400);

/// Makes the account: a fresh identity, a registration id, a certificate of five years. Once per store.
///
/// # Errors
/// [`SignalError::Store`], also if there is an account already.
pub fn create_account(
    connection: &Connection,
    name: &str,
    network: NetworkId,
    now: Timestamp,
    rng: &mut EngineRng,
) -> Result<PeerIdentity, SignalError> {
    guarded(connection, || {
        let mut rng = random::fork(rng);
        let identity = IdentityKeyPair::generate(&mut rng);
        // 14 bits, never 0: what the ratchet's wire format has room for.
        let registration_id = rng.random_range(1..=0x3fff);
        let (certificate, expires) = certify(&identity, now, &mut rng)?;
        let new = account::NewAccount {
            identity: &Zeroizing::new(identity.serialize().into_vec()),
            registration_id,
            certificate: certificate.serialized().map_err(sort)?,
            certificate_expires: expires,
            name,
            network,
            created: now,
        };
        account::insert(connection, &new)?;
        peer_identity(identity.public_key()).map_err(sort)
    })
}

/// The public half of our own identity.
///
/// # Errors
/// [`SignalError::Store`] if there is no account.
pub fn own_identity(connection: &Connection) -> Result<PeerIdentity, SignalError> {
    peer_identity(own_pair(connection)?.public_key()).map_err(sort)
}

/// Our identity. libsignal's key pair is `Copy` and not wiped: keep it short.
pub(super) fn own_pair(connection: &Connection) -> Result<IdentityKeyPair, SignalError> {
    now(Tables::new(connection, None).get_identity_key_pair())
}

/// The certificate that goes into the next message; a new one is signed when the old has a year left.
pub(super) fn certificate(
    connection: &Connection,
    now: Timestamp,
    rng: &mut EngineRng,
) -> Result<SenderCertificate, SignalError> {
    let (bytes, expires) = account::certificate(connection)?;
    if now + CERTIFICATE_MARGIN <= expires {
        return SenderCertificate::deserialize(&bytes)
            .map_err(|_| SignalError::Store(StoreError::InvalidRow("certificate")));
    }
    let (certificate, expires) = certify(&own_pair(connection)?, now, rng)?;
    account::set_certificate(connection, certificate.serialized().map_err(sort)?, expires)?;
    Ok(certificate)
}

/// A certificate whose root, server and subject are the identity itself.
fn certify(
    identity: &IdentityKeyPair,
    now: Timestamp,
    rng: &mut EngineRng,
) -> Result<(SenderCertificate, Timestamp), SignalError> {
    let (public, private) = (*identity.public_key(), identity.private_key());
    let expires = now + CERTIFICATE_LIFE;
    let server = ServerCertificate::new(1, public, private, rng).map_err(sort)?;
    let sender = SenderCertificate::new(
        SENDER_NAME.to_owned(),
        None,
        public,
        device(),
        certificate_time(expires),
        server,
        private,
        rng,
    );
    Ok((sender.map_err(sort)?, expires))
}
