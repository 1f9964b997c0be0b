//! Sealing and opening messages.

use super::{
    Bundle, MAX_PLAINTEXT, MAX_SEALED, PrekeySetId, SignalError,
    account::{SENDER_NAME, certificate, own_identity},
    error::sort,
    guard::{certificate_time, guarded, now as finish, outer_ephemeral, strong, system_time},
    tables::{Tables, address, device, identity_key, peer_identity},
};
use crate::store::{
    StoreError,
    contacts::{self, ContactId, PeerIdentity},
};
use libsignal_protocol::{
    CiphertextMessageType, ContentHint, PreKeySignalMessage, PublicKey, SessionRecord, SessionUsabilityRequirements,
    SignalMessage, UnidentifiedSenderMessageContent, message_decrypt_prekey, message_decrypt_signal, message_encrypt,
    process_prekey_bundle, sealed_sender_decrypt_to_usmc, sealed_sender_encrypt_from_usmc,
};
use rusqlite::Connection;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq as _;
use veilpost_packet::{
    random::{self, EngineRng},
    time::Timestamp,
};
use zeroize::Zeroizing;

/// What the answer to an invitation turned out to be.
#[derive(Debug)]
pub struct First {
    /// Who answered. Pinned for the contact by now.
    pub peer: PeerIdentity,
    /// What the answer says.
    pub plaintext: Zeroizing<Vec<u8>>,
}

/// Starts a session with `contact` from its bundle, and pins the bundle's identity. The caller has compared that identity
/// with the invitation's hash. Until the contact answers, every message carries the key agreement (about 1.7 kB more).
///
/// # Errors
/// [`SignalError::IdentityChanged`] if another identity is pinned, [`SignalError::Ourselves`], [`SignalError::BadBundle`].
pub fn open_session(
    connection: &Connection,
    contact: ContactId,
    bundle: &Bundle,
    now: Timestamp,
    rng: &mut EngineRng,
) -> Result<(), SignalError> {
    guarded(connection, || {
        let mut rng = random::fork(rng);
        let identity = *bundle.identity();
        if identity == own_identity(connection)? {
            return Err(SignalError::Ourselves);
        }
        pin(connection, contact, &identity)?;
        let mut tables = Tables::new(connection, Some(contact));
        let (mut sessions, address) = (tables, address(contact));
        finish(process_prekey_bundle(
            &address,
            &mut sessions,
            &mut tables,
            &bundle.prekeys()?,
            system_time(now),
            &mut rng,
        ))
    })
}

/// Seals `plaintext` for `contact`: ratchet, then sealed sender. At most [`MAX_PLAINTEXT`] bytes in.
///
/// The ratchet steps in the open transaction. **Nothing of the result may leave before the commit**: after a rollback the
/// same keys are used again, and two ciphertexts of one key must never be out.
///
/// # Errors
/// [`SignalError::NoSession`], [`SignalError::Unanswered`] (30 days without an answer), [`SignalError::TooLarge`].
pub fn encrypt(
    connection: &Connection,
    contact: ContactId,
    plaintext: &[u8],
    now: Timestamp,
    rng: &mut EngineRng,
) -> Result<Vec<u8>, SignalError> {
    if plaintext.len() > MAX_PLAINTEXT {
        return Err(SignalError::TooLarge);
    }
    guarded(connection, || {
        let mut rng = random::fork(rng);
        let peer = contacts::by_id(connection, contact)?.identity.ok_or(SignalError::NoSession)?;
        let mut tables = Tables::new(connection, Some(contact));
        usable(&tables, contact, now)?;
        let mut bound = Zeroizing::new(Vec::with_capacity(BINDING + plaintext.len()));
        bound.extend_from_slice(&binding(&own_identity(connection)?, &peer));
        bound.extend_from_slice(plaintext);
        let (mut sessions, address) = (tables, address(contact));
        let message =
            finish(message_encrypt(&bound, &address, &mut sessions, &mut tables, system_time(now), &mut rng))?;
        let content = UnidentifiedSenderMessageContent::new(
            message.message_type(),
            certificate(connection, now, &mut rng)?,
            message.serialize().to_vec(),
            ContentHint::Default,
            None,
        )
        .map_err(sort)?;
        let sealed = finish(sealed_sender_encrypt_from_usmc(&address, &content, &tables, &mut rng))?;
        // Our own reader must accept it: a change of libsignal's encoding shows here and not at the peer.
        outer_ephemeral(&sealed)?;
        Ok(sealed)
    })
}

/// Opens a sealed message that came in a stream of `expected`, by the rule of the module's documentation.
///
/// # Errors
/// [`SignalError::Duplicate`] for a message that was opened before, [`SignalError::WrongSender`] if someone else wrote
/// it; the others say what is wrong with it. Drop such a message; the session is as it was.
pub fn decrypt(
    connection: &Connection,
    expected: ContactId,
    sealed: &[u8],
    now: Timestamp,
    rng: &mut EngineRng,
) -> Result<Zeroizing<Vec<u8>>, SignalError> {
    guarded(connection, || {
        let mut rng = random::fork(rng);
        let owner = contacts::by_id(connection, expected)?.identity.ok_or(SignalError::NoSession)?;
        let tables = Tables::new(connection, Some(expected));
        let content = unseal(tables, sealed)?;
        check_sender(&content, &owner, now)?;
        let inner = Inner::parse(&content, &owner)?;
        let bound = inner.open(tables, expected, &mut rng)?;
        check_binding(connection, &owner, bound)
    })
}

/// True if opening this message would turn the ratchet: its writer used a key that the session has not seen. Nothing changes.
///
/// libsignal keeps the newest five receiving chains, and of an older one no message opens any more. Who reads a stream with
/// holes has to know before it lets a chain go.
///
/// # Errors
/// As [`decrypt`], as far as it can be told without opening.
pub fn turns_ratchet(connection: &Connection, expected: ContactId, sealed: &[u8]) -> Result<bool, SignalError> {
    guarded(connection, || {
        let owner = contacts::by_id(connection, expected)?.identity.ok_or(SignalError::NoSession)?;
        let tables = Tables::new(connection, Some(expected));
        let inner = Inner::parse(&unseal(tables, sealed)?, &owner)?;
        let record = Zeroizing::new(tables.session(expected)?.ok_or(SignalError::NoSession)?);
        let record = SessionRecord::deserialize(&record).map_err(|_| StoreError::InvalidRow("session"))?;
        Ok(record.get_receiver_chain_key_bytes(inner.ratchet_key()).map_err(sort)?.is_none())
    })
}

/// True if the session refuses to send because nobody has answered it for 30 days, or if there is none.
///
/// # Errors
/// The store's.
pub fn is_unanswered(connection: &Connection, contact: ContactId, now: Timestamp) -> Result<bool, SignalError> {
    match guarded(connection, || usable(&Tables::new(connection, Some(contact)), contact, now)) {
        Ok(()) => Ok(false),
        Err(SignalError::Unanswered | SignalError::NoSession) => Ok(true),
        Err(error) => Err(error),
    }
}

/// Opens the answer to an invitation of ours, whose writer is not known yet: the certificate must be valid under the
/// identity that it names, the session must be made from exactly the prekeys of this invitation, and that identity is
/// pinned for `contact`, which must have none.
///
/// # Errors
/// As [`decrypt`]; [`SignalError::WrongPrekeys`] if it answers another invitation, [`SignalError::Ourselves`].
pub fn decrypt_first(
    connection: &Connection,
    contact: ContactId,
    invitation: PrekeySetId,
    sealed: &[u8],
    now: Timestamp,
    rng: &mut EngineRng,
) -> Result<First, SignalError> {
    guarded(connection, || {
        let mut rng = random::fork(rng);
        let tables = Tables::new(connection, None);
        let content = unseal(tables, sealed)?;
        let key = content.sender().and_then(|sender| sender.key()).map_err(sort)?;
        strong(&key, "sender's identity")?;
        let peer = peer_identity(&key).map_err(sort)?;
        if peer == own_identity(connection)? {
            return Err(SignalError::Ourselves);
        }
        check_sender(&content, &peer, now)?;
        let inner = Inner::parse(&content, &peer)?;
        if !inner.uses_exactly(invitation) {
            return Err(SignalError::WrongPrekeys);
        }
        pin(connection, contact, &peer)?;
        let bound = inner.open(tables, contact, &mut rng)?;
        Ok(First { peer, plaintext: check_binding(connection, &peer, bound)? })
    })
}

/// Bytes of the hash in front of every plaintext.
const BINDING: usize = 32;
/// Separates this hash from all others of the project.
const BINDING_LABEL: &[u8] = b"veilpost signal binding v1";

/// H(label, writer's identity, reader's identity), in front of every plaintext. libsignal 0.85 does not bind the two
/// addresses into its MAC (later releases do); this does, and so stops a message from being turned to a third person.
fn binding(writer: &PeerIdentity, reader: &PeerIdentity) -> [u8; BINDING] {
    Sha256::new()
        .chain_update(BINDING_LABEL)
        .chain_update(writer.as_bytes())
        .chain_update(reader.as_bytes())
        .finalize()
        .into()
}

fn check_binding(
    connection: &Connection,
    writer: &PeerIdentity,
    bound: Zeroizing<Vec<u8>>,
) -> Result<Zeroizing<Vec<u8>>, SignalError> {
    let (hash, plaintext) = bound.split_at_checked(BINDING).ok_or(SignalError::WrongBinding)?;
    let expected = binding(writer, &own_identity(connection)?);
    if !bool::from(hash.ct_eq(&expected)) {
        return Err(SignalError::WrongBinding);
    }
    Ok(Zeroizing::new(plaintext.to_vec()))
}

fn pin(connection: &Connection, contact: ContactId, identity: &PeerIdentity) -> Result<(), SignalError> {
    if contacts::pin(connection, contact, identity)? { Ok(()) } else { Err(SignalError::IdentityChanged) }
}

/// Tells a session that is missing from one that libsignal considers stale: it has one error for both.
fn usable(tables: &Tables<'_>, contact: ContactId, now: Timestamp) -> Result<(), SignalError> {
    let record = Zeroizing::new(tables.session(contact)?.ok_or(SignalError::NoSession)?);
    let record = SessionRecord::deserialize(&record).map_err(|_| StoreError::InvalidRow("session"))?;
    let usable = record.has_usable_sender_chain(system_time(now), SessionUsabilityRequirements::NotStale);
    if usable.map_err(sort)? { Ok(()) } else { Err(SignalError::Unanswered) }
}

/// Removes the outer layer. No session is touched.
fn unseal(tables: Tables<'_>, sealed: &[u8]) -> Result<UnidentifiedSenderMessageContent, SignalError> {
    if sealed.len() > MAX_SEALED {
        return Err(SignalError::TooLarge);
    }
    strong(&outer_ephemeral(sealed)?, "outer key")?;
    finish(sealed_sender_decrypt_to_usmc(sealed, &tables))
}

/// The certificate is `owner`'s own, valid now, and says what all of ours say.
fn check_sender(
    content: &UnidentifiedSenderMessageContent,
    owner: &PeerIdentity,
    now: Timestamp,
) -> Result<(), SignalError> {
    let sender = content.sender().map_err(sort)?;
    let root = identity_key(owner);
    // First whose it is, so that a stranger's message is called that.
    if !bool::from(sender.key().map_err(sort)?.ct_eq(root.public_key())) {
        return Err(SignalError::WrongSender);
    }
    if !sender.validate(root.public_key(), certificate_time(now)).map_err(sort)? {
        return Err(SignalError::BadCertificate);
    }
    let same_name = sender.sender_uuid().map_err(sort)? == SENDER_NAME;
    let no_phone = sender.sender_e164().map_err(sort)?.is_none();
    if !same_name || !no_phone || sender.sender_device_id().map_err(sort)? != device() {
        return Err(SignalError::WrongSender);
    }
    // Fields that we never write.
    if content.group_id().map_err(sort)?.is_some() || content.content_hint().map_err(sort)? != ContentHint::Default {
        return Err(SignalError::Malformed("sealed content"));
    }
    Ok(())
}

/// The ratchet's message inside, parsed and with sound keys.
enum Inner {
    First(PreKeySignalMessage),
    Later(SignalMessage),
}

impl Inner {
    fn parse(content: &UnidentifiedSenderMessageContent, owner: &PeerIdentity) -> Result<Self, SignalError> {
        let bytes = content.contents().map_err(sort)?;
        match content.msg_type().map_err(sort)? {
            CiphertextMessageType::PreKey => {
                let message = PreKeySignalMessage::try_from(bytes).map_err(sort)?;
                if message.identity_key() != &identity_key(owner) {
                    return Err(SignalError::WrongSender);
                }
                strong(message.base_key(), "base key")?;
                strong(message.message().sender_ratchet_key(), "ratchet key")?;
                Ok(Self::First(message))
            }
            CiphertextMessageType::Whisper => {
                let message = SignalMessage::try_from(bytes).map_err(sort)?;
                strong(message.sender_ratchet_key(), "ratchet key")?;
                Ok(Self::Later(message))
            }
            CiphertextMessageType::SenderKey | CiphertextMessageType::Plaintext => {
                Err(SignalError::Malformed("message type"))
            }
        }
    }

    fn ratchet_key(&self) -> &PublicKey {
        match self {
            Self::First(message) => message.message().sender_ratchet_key(),
            Self::Later(message) => message.sender_ratchet_key(),
        }
    }

    fn uses_exactly(&self, set: PrekeySetId) -> bool {
        let Self::First(message) = self else { return false };
        message.pre_key_id().map(u32::from) == Some(set.get())
            && u32::from(message.signed_pre_key_id()) == set.get()
            && message.kyber_pre_key_id().map(u32::from) == Some(set.get())
    }

    fn open(
        &self,
        tables: Tables<'_>,
        contact: ContactId,
        rng: &mut EngineRng,
    ) -> Result<Zeroizing<Vec<u8>>, SignalError> {
        let address = address(contact);
        let (mut sessions, mut identities, mut prekeys, signed, mut kyber) = (tables, tables, tables, tables, tables);
        let plaintext = match self {
            Self::First(message) => finish(message_decrypt_prekey(
                message,
                &address,
                &mut sessions,
                &mut identities,
                &mut prekeys,
                &signed,
                &mut kyber,
                rng,
            )),
            Self::Later(message) => {
                finish(message_decrypt_signal(message, &address, &mut sessions, &mut identities, rng))
            }
        };
        plaintext.map(Zeroizing::new)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{signal::create_account, store::Store};
    use veilpost_packet::ids::NetworkId;

    #[test]
    fn a_plaintext_bound_to_other_identities_is_refused() {
        let mut store = Store::in_memory().unwrap();
        let mut rng = random::seeded([1; 32]);
        let network = NetworkId([0; 32]);
        let us = store.transaction(|tx| create_account(tx, "me", network, Timestamp::ZERO, &mut rng)).unwrap();
        let (peer, third) = (PeerIdentity([7; 32]), PeerIdentity([8; 32]));
        let check = |writer: &PeerIdentity, reader: &PeerIdentity| {
            let bound = [binding(writer, reader).as_slice(), b"text"].concat();
            check_binding(store.connection(), &peer, Zeroizing::new(bound))
        };
        assert_eq!(check(&peer, &us).unwrap().as_slice(), b"text");
        for (writer, reader) in [(&peer, &third), (&third, &us), (&us, &peer)] {
            assert!(matches!(check(writer, reader), Err(SignalError::WrongBinding)));
        }
        let short = check_binding(store.connection(), &peer, Zeroizing::new(vec![0; BINDING - 1]));
        assert!(matches!(short, Err(SignalError::WrongBinding)));
    }
}
