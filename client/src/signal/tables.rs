//! libsignal's five stores over the database. One `Copy` value stands for all five, since libsignal takes them as separate
//! `&mut dyn`; each call reads and writes the open transaction, so there is no state here that a rollback could miss.

use super::bundle::PrekeySetId;
use crate::store::{
    StoreError, account,
    contacts::{self, ContactId, PeerIdentity},
};
use async_trait::async_trait;
use libsignal_protocol::{
    DeviceId, Direction, GenericSignedPreKey as _, IdentityChange, IdentityKey, IdentityKeyPair, IdentityKeyStore,
    KyberPreKeyId, KyberPreKeyRecord, KyberPreKeyStore, PreKeyId, PreKeyRecord, PreKeyStore, ProtocolAddress,
    PublicKey, SessionRecord, SessionStore, SignalProtocolError, SignedPreKeyId, SignedPreKeyRecord, SignedPreKeyStore,
};
use rusqlite::{Connection, OptionalExtension as _};
use zeroize::Zeroizing;

type Result<T> = std::result::Result<T, SignalProtocolError>;

/// The stores, as seen while talking to one contact.
#[derive(Clone, Copy)]
pub(super) struct Tables<'a> {
    connection: &'a Connection,
    /// To whom the prekeys must have been handed: a contact, or (`None`) whoever opens an invitation.
    prekeys_of: Option<ContactId>,
}

impl<'a> Tables<'a> {
    pub(super) fn new(connection: &'a Connection, prekeys_of: Option<ContactId>) -> Self {
        Self { connection, prekeys_of }
    }

    fn prekey(&self, column: &'static str, id: u32) -> std::result::Result<Option<Vec<u8>>, StoreError> {
        let sql = format!("SELECT {column} FROM prekey_sets WHERE id = ?1 AND contact IS ?2");
        let mut statement = self.connection.prepare_cached(&sql)?;
        let row: Option<Option<Vec<u8>>> =
            statement.query_row((id, self.prekeys_of.map(ContactId::get)), |row| row.get(0)).optional()?;
        Ok(row.flatten())
    }

    /// The session record with a contact.
    pub(super) fn session(&self, contact: ContactId) -> std::result::Result<Option<Vec<u8>>, StoreError> {
        let mut statement =
            self.connection.prepare_cached("SELECT record FROM sessions WHERE contact = ?1 AND device = ?2")?;
        Ok(statement.query_row((contact.get(), u8::from(device())), |row| row.get(0)).optional()?)
    }
}

/// The only device an identity has, until there are several.
pub(super) fn device() -> DeviceId {
    const { DeviceId::new(1) }.expect("1 is between 1 and 127")
}

/// The local address of a contact's session: our own number for it, never anything from the wire.
pub(super) fn address(contact: ContactId) -> ProtocolAddress {
    ProtocolAddress::new(contact.get().to_string(), device())
}

/// An identity as we keep it.
pub(super) fn peer_identity(key: &PublicKey) -> std::result::Result<PeerIdentity, SignalProtocolError> {
    let bytes = key.public_key_bytes().try_into();
    Ok(PeerIdentity(bytes.map_err(|_| SignalProtocolError::InvalidArgument("key length".into()))?))
}

/// An identity as libsignal has it.
pub(super) fn identity_key(identity: &PeerIdentity) -> IdentityKey {
    IdentityKey::new(PublicKey::from_djb_public_key_bytes(identity.as_bytes()).expect("an X25519 key is any 32 bytes"))
}

fn contact_of(address: &ProtocolAddress) -> Result<ContactId> {
    let id = address.name().parse().map(ContactId::new);
    id.map_err(|_| SignalProtocolError::InvalidArgument("not one of our addresses".into()))
}

/// Carries our own error through libsignal, which wants its callbacks' errors to be safe to unwind over: this one is only
/// ever shown.
#[derive(Debug)]
pub(super) struct Failed(std::panic::AssertUnwindSafe<StoreError>);

impl Failed {
    /// What failed.
    pub(super) fn into_inner(self) -> StoreError {
        self.0.0
    }
}

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.0.fmt(f)
    }
}

impl std::error::Error for Failed {}

fn failed(error: impl Into<StoreError>) -> SignalProtocolError {
    let error = Failed(std::panic::AssertUnwindSafe(error.into()));
    SignalProtocolError::ApplicationCallbackError("store", Box::new(error))
}

#[async_trait(?Send)]
impl IdentityKeyStore for Tables<'_> {
    async fn get_identity_key_pair(&self) -> Result<IdentityKeyPair> {
        IdentityKeyPair::try_from(account::identity(self.connection).map_err(failed)?.as_slice())
    }

    async fn get_local_registration_id(&self) -> Result<u32> {
        Ok(account::load(self.connection).map_err(failed)?.registration_id)
    }

    /// Only says whether it is the pinned one: pinning is done by us, before, with a certificate in hand.
    async fn save_identity(&mut self, address: &ProtocolAddress, identity: &IdentityKey) -> Result<IdentityChange> {
        if self.is_trusted_identity(address, identity, Direction::Receiving).await? {
            Ok(IdentityChange::NewOrUnchanged)
        } else {
            Err(SignalProtocolError::UntrustedIdentity(address.clone()))
        }
    }

    async fn is_trusted_identity(
        &self,
        address: &ProtocolAddress,
        identity: &IdentityKey,
        _direction: Direction,
    ) -> Result<bool> {
        Ok(self.get_identity(address).await?.as_ref() == Some(identity))
    }

    async fn get_identity(&self, address: &ProtocolAddress) -> Result<Option<IdentityKey>> {
        let contact = contacts::by_id(self.connection, contact_of(address)?).map_err(failed)?;
        Ok(contact.identity.as_ref().map(identity_key))
    }
}

#[async_trait(?Send)]
impl PreKeyStore for Tables<'_> {
    async fn get_pre_key(&self, id: PreKeyId) -> Result<PreKeyRecord> {
        let record = self.prekey("one_time", id.into()).map_err(failed)?;
        PreKeyRecord::deserialize(&record.ok_or(SignalProtocolError::InvalidPreKeyId)?)
    }

    /// Never called by libsignal; sets are written whole by `bundle`.
    async fn save_pre_key(&mut self, _id: PreKeyId, _record: &PreKeyRecord) -> Result<()> {
        Err(SignalProtocolError::InvalidPreKeyId)
    }

    /// The whole set goes when its Kyber key is marked as used, which libsignal does first.
    async fn remove_pre_key(&mut self, _id: PreKeyId) -> Result<()> {
        Ok(())
    }
}

#[async_trait(?Send)]
impl SignedPreKeyStore for Tables<'_> {
    async fn get_signed_pre_key(&self, id: SignedPreKeyId) -> Result<SignedPreKeyRecord> {
        let record = self.prekey("signed", id.into()).map_err(failed)?;
        SignedPreKeyRecord::deserialize(&record.ok_or(SignalProtocolError::InvalidSignedPreKeyId)?)
    }

    /// Never called by libsignal; sets are written whole by `bundle`.
    async fn save_signed_pre_key(&mut self, _id: SignedPreKeyId, _record: &SignedPreKeyRecord) -> Result<()> {
        Err(SignalProtocolError::InvalidSignedPreKeyId)
    }
}

#[async_trait(?Send)]
impl KyberPreKeyStore for Tables<'_> {
    async fn get_kyber_pre_key(&self, id: KyberPreKeyId) -> Result<KyberPreKeyRecord> {
        let record = self.prekey("kyber", id.into()).map_err(failed)?;
        KyberPreKeyRecord::deserialize(&record.ok_or(SignalProtocolError::InvalidKyberPreKeyId)?)
    }

    /// Never called by libsignal; sets are written whole by `bundle`.
    async fn save_kyber_pre_key(&mut self, _id: KyberPreKeyId, _record: &KyberPreKeyRecord) -> Result<()> {
        Err(SignalProtocolError::InvalidKyberPreKeyId)
    }

    /// Every set is for one use: all three keys go. Later messages of the same session are found by their base key.
    async fn mark_kyber_pre_key_used(
        &mut self,
        id: KyberPreKeyId,
        _ec_prekey_id: SignedPreKeyId,
        _base_key: &PublicKey,
    ) -> Result<()> {
        super::bundle::forget_bundle(self.connection, PrekeySetId::new(id.into())).map_err(failed)
    }
}

#[async_trait(?Send)]
impl SessionStore for Tables<'_> {
    async fn load_session(&self, address: &ProtocolAddress) -> Result<Option<SessionRecord>> {
        let record = self.session(contact_of(address)?).map_err(failed)?;
        record.map(|bytes| SessionRecord::deserialize(&Zeroizing::new(bytes))).transpose()
    }

    async fn store_session(&mut self, address: &ProtocolAddress, record: &SessionRecord) -> Result<()> {
        let bytes = Zeroizing::new(record.serialize()?);
        let contact = contact_of(address)?.get();
        self.connection
            .prepare_cached("INSERT OR REPLACE INTO sessions (contact, device, record) VALUES (?1, ?2, ?3)")
            .and_then(|mut statement| statement.execute((contact, u8::from(address.device_id()), bytes.as_slice())))
            .map_err(failed)?;
        Ok(())
    }
}
