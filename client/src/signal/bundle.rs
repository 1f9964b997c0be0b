//! What an invitation hands out: an identity and one set of prekeys, from which its reader starts a session.
//!
//! ```text
//! version u8 = 1  registration u16  set u32  identity 32  one-time key 32  signed key 32  signature 64
//! Kyber-1024 key 1,568  signature 64                                                            = 1,799 bytes
//! ```
//! libsignal's type bytes are left out: there is one type of each. Every set is for one use, so all its keys share one id.

use super::{
    SignalError,
    account::own_pair,
    error::sort,
    guard::{guarded, strong},
    tables::{device, identity_key, peer_identity},
};
use crate::store::{
    StoreError, account,
    contacts::{ContactId, PeerIdentity, millis},
};
use libsignal_protocol::{
    GenericSignedPreKey as _, KeyPair, KyberPreKeyRecord, PreKeyBundle, PreKeyRecord, PublicKey, SignedPreKeyRecord,
    kem,
};
use rand::Rng as _;
use rusqlite::Connection;
use veilpost_packet::{
    codec::{DecodeError, Reader, Writer},
    random::{self, EngineRng},
    time::Timestamp,
};
use zeroize::Zeroizing;

/// Names a set of prekeys of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PrekeySetId(u32);

impl PrekeySetId {
    /// From a number that [`PrekeySetId::get`] gave, for the core's own tables.
    pub const fn new(id: u32) -> Self {
        Self(id)
    }

    /// The number.
    pub const fn get(self) -> u32 {
        self.0
    }
}

/// A parsed bundle of someone: its keys are sound and signed by the identity in it. That the identity is the right one is
/// for the caller to check, against the invitation's hash.
#[derive(Clone)]
pub struct Bundle {
    identity: PeerIdentity,
    registration_id: u16,
    set: u32,
    one_time: PublicKey,
    signed: PublicKey,
    signed_signature: [u8; 64],
    kyber: kem::PublicKey,
    kyber_signature: [u8; 64],
}

impl std::fmt::Debug for Bundle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Bundle(..)")
    }
}

/// Makes a set of prekeys and the bundle that hands it out: to `contact`, or, with `None`, to whoever opens an invitation.
/// The secrets are in the store when the transaction commits.
///
/// # Errors
/// [`SignalError::Store`].
pub fn create_bundle(
    connection: &Connection,
    contact: Option<ContactId>,
    now: Timestamp,
    rng: &mut EngineRng,
) -> Result<(PrekeySetId, Bundle), SignalError> {
    guarded(connection, || {
        let mut rng = random::fork(rng);
        let identity = own_pair(connection)?;
        let set = free_id(connection, &mut rng)?;
        let stamp = super::guard::certificate_time(now);
        let sign = |key: &[u8], rng: &mut EngineRng| -> Result<[u8; 64], SignalError> {
            let signature = identity.private_key().calculate_signature(key, rng).map_err(|e| sort(e.into()))?;
            signature.as_ref().try_into().map_err(|_| SignalError::Library("signature"))
        };
        let one_time = KeyPair::generate(&mut rng);
        let signed = KeyPair::generate(&mut rng);
        let signed_signature = sign(&signed.public_key.serialize(), &mut rng)?;
        let kyber = kem::KeyPair::generate(kem::KeyType::Kyber1024, &mut rng);
        let kyber_signature = sign(&kyber.public_key.serialize(), &mut rng)?;

        let one_time_record = PreKeyRecord::new(set.into(), &one_time).serialize();
        let signed_record = SignedPreKeyRecord::new(set.into(), stamp, &signed, &signed_signature).serialize();
        // `KyberPreKeyRecord::generate` would draw from the operating system and read its clock.
        let kyber_record = KyberPreKeyRecord::new(set.into(), stamp, &kyber, &kyber_signature).serialize();
        let mut statement = connection
            .prepare_cached(
                "INSERT INTO prekey_sets (id, contact, one_time, signed, kyber, created_ms)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )
            .map_err(StoreError::from)?;
        let records = [one_time_record, signed_record, kyber_record].map(|record| record.map(Zeroizing::new));
        let [one_time_record, signed_record, kyber_record] = records;
        statement
            .execute((
                set,
                contact.map(ContactId::get),
                one_time_record.map_err(sort)?.as_slice(),
                signed_record.map_err(sort)?.as_slice(),
                kyber_record.map_err(sort)?.as_slice(),
                millis(now),
            ))
            .map_err(StoreError::from)?;
        let registration_id = account::load(connection)?.registration_id;
        let bundle = Bundle {
            identity: peer_identity(identity.public_key()).map_err(sort)?,
            registration_id: u16::try_from(registration_id).map_err(|_| StoreError::InvalidRow("registration id"))?,
            set,
            one_time: one_time.public_key,
            signed: signed.public_key,
            signed_signature,
            kyber: kyber.public_key,
            kyber_signature,
        };
        Ok((PrekeySetId(set), bundle))
    })
}

/// Removes a set's secrets: its invitation expired, or was taken back. Nothing happens if it is gone already.
///
/// # Errors
/// The database's.
pub fn forget_bundle(connection: &Connection, set: PrekeySetId) -> Result<(), StoreError> {
    connection.prepare_cached("DELETE FROM prekey_sets WHERE id = ?1")?.execute([set.0])?;
    Ok(())
}

impl Bundle {
    /// Bytes of every bundle.
    pub const LEN: usize = 1 + 2 + 4 + 3 * 32 + 64 + KYBER_KEY + 64;

    /// The bundle's bytes, [`Bundle::LEN`] of them.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::with_capacity(Self::LEN);
        out.u8(VERSION).u16(self.registration_id).u32(self.set).put(self.identity.as_bytes());
        out.put(self.one_time.public_key_bytes()).put(self.signed.public_key_bytes()).put(&self.signed_signature);
        // Without the type byte.
        let kyber = self.kyber.serialize();
        out.put(kyber.get(1..).unwrap_or_default()).put(&self.kyber_signature);
        out.finish()
    }

    /// Reads and checks a bundle: exact length, no key of small order, both prekeys signed by the identity.
    ///
    /// # Errors
    /// [`SignalError::Malformed`], [`SignalError::WeakKey`], [`SignalError::BadBundle`].
    pub fn decode(bytes: &[u8]) -> Result<Self, SignalError> {
        let bundle = Self::read(bytes).map_err(|_| SignalError::Malformed("bundle"))?;
        let identity = identity_key(&bundle.identity);
        strong(identity.public_key(), "identity")?;
        strong(&bundle.one_time, "one-time prekey")?;
        strong(&bundle.signed, "signed prekey")?;
        if !identity.public_key().verify_signature(&bundle.signed.serialize(), &bundle.signed_signature) {
            return Err(SignalError::BadBundle("signed prekey"));
        }
        if !identity.public_key().verify_signature(&bundle.kyber.serialize(), &bundle.kyber_signature) {
            return Err(SignalError::BadBundle("Kyber prekey"));
        }
        Ok(bundle)
    }

    /// Whose bundle it says it is. Compare it with the invitation's hash before anything else.
    pub fn identity(&self) -> &PeerIdentity {
        &self.identity
    }

    pub(super) fn prekeys(&self) -> Result<PreKeyBundle, SignalError> {
        PreKeyBundle::new(
            self.registration_id.into(),
            device(),
            Some((self.set.into(), self.one_time)),
            self.set.into(),
            self.signed,
            self.signed_signature.to_vec(),
            self.set.into(),
            self.kyber.clone(),
            self.kyber_signature.to_vec(),
            identity_key(&self.identity),
        )
        .map_err(sort)
    }

    fn read(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        if reader.u8()? != VERSION {
            return Err(DecodeError::Invalid("version"));
        }
        let registration_id = reader.u16()?;
        let set = reader.u32()?;
        let identity = PeerIdentity(reader.array()?);
        let one_time = curve(&mut reader)?;
        let signed = curve(&mut reader)?;
        let signed_signature = reader.array()?;
        let mut kyber = vec![KYBER_TYPE];
        kyber.extend_from_slice(reader.take(KYBER_KEY)?);
        let kyber = kem::PublicKey::deserialize(&kyber).map_err(|_| DecodeError::Invalid("Kyber key"))?;
        let kyber_signature = reader.array()?;
        reader.finish()?;
        if !(1..=0x3fff).contains(&registration_id) {
            return Err(DecodeError::Invalid("registration id"));
        }
        Ok(Self { identity, registration_id, set, one_time, signed, signed_signature, kyber, kyber_signature })
    }
}

const VERSION: u8 = 1;
/// Kyber-1024 public key, bytes.
const KYBER_KEY: usize = 1_568;
/// libsignal's type byte for it.
const KYBER_TYPE: u8 = 0x08;

fn curve(reader: &mut Reader<'_>) -> Result<PublicKey, DecodeError> {
    PublicKey::from_djb_public_key_bytes(&reader.array::<32>()?).map_err(|_| DecodeError::Invalid("key"))
}

/// A random id that no set has: a counter would tell how many invitations there were.
fn free_id(connection: &Connection, rng: &mut EngineRng) -> Result<u32, StoreError> {
    let mut statement = connection.prepare_cached("SELECT EXISTS (SELECT 1 FROM prekey_sets WHERE id = ?1)")?;
    // 31 bits; with a thousand open sets, eight draws fail together once in 10^50.
    for _ in 0..8 {
        let id: u32 = rng.random_range(1..=0x7fff_ffff);
        if !statement.query_row([id], |row| row.get::<_, bool>(0))? {
            return Ok(id);
        }
    }
    Err(StoreError::InvalidRow("prekey id"))
}
