//! What can go wrong with a session.

use crate::store::StoreError;
use libsignal_protocol::SignalProtocolError;

/// Why a message cannot be sealed or opened. Nothing has changed in the store when one of these comes back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignalError {
    /// The store failed: our side, not the peer's.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no session with this contact.
    #[error("there is no session with this contact yet; wait for the invitation to be answered, or make a new one")]
    NoSession,
    /// Our first messages were not answered for 30 days, and libsignal will not encrypt any more.
    #[error("this contact never answered; make a new invitation")]
    Unanswered,
    /// The message was opened before.
    #[error("this message was already received")]
    Duplicate,
    /// The bytes are not a sealed message.
    #[error("not a sealed message ({0})")]
    Malformed(&'static str),
    /// Larger than any message may be.
    #[error("the message is too large")]
    TooLarge,
    /// The bytes do not open: changed on the way, made for someone else, or for a session that is gone.
    #[error("the message does not open with this contact's session")]
    DoesNotOpen,
    /// The message opens, but someone else than the stream's owner wrote it.
    #[error("the message was written by someone else than the contact whose stream it came in")]
    WrongSender,
    /// The sender's certificate is not signed by its own identity, or has expired.
    #[error("the sender's certificate is not valid")]
    BadCertificate,
    /// The sealed plaintext names other identities than the two that talk.
    #[error("the message is bound to other identities")]
    WrongBinding,
    /// The message uses prekeys that were not handed to this sender, or that are used up.
    #[error("the message uses keys that were not handed out to its sender")]
    WrongPrekeys,
    /// A public key of small order, which would make secrets that everyone knows.
    #[error("the {0} is a weak key")]
    WeakKey(&'static str),
    /// A prekey bundle whose signatures are not by the identity in it.
    #[error("the bundle's {0} is not signed by its identity")]
    BadBundle(&'static str),
    /// The contact's identity is pinned, and this is another.
    #[error("this is not the identity that is known for this contact")]
    IdentityChanged,
    /// Our own identity on the other side: an invitation opened by its maker.
    #[error("this is your own invitation; give the link to someone else")]
    Ourselves,
    /// libsignal panicked. Caught at this border; report it.
    #[error("the message was dropped: an internal fault of the session library")]
    Panicked,
    /// Any other refusal of libsignal, without what it says: that can hold addresses and keys.
    #[error("the session library refused ({0})")]
    Library(&'static str),
}

/// Sorts libsignal's errors. Their texts are left behind, since they quote addresses.
pub(super) fn sort(error: SignalProtocolError) -> SignalError {
    use SignalProtocolError as E;
    match error {
        E::DuplicatedMessage(..) => SignalError::Duplicate,
        E::SessionNotFound(_) => SignalError::NoSession,
        E::UntrustedIdentity(_) => SignalError::IdentityChanged,
        E::SignatureValidationFailed => SignalError::BadBundle("prekey"),
        E::InvalidPreKeyId | E::InvalidSignedPreKeyId | E::InvalidKyberPreKeyId => SignalError::WrongPrekeys,
        E::InvalidMessage(..) | E::InvalidSealedSenderMessage(_) => SignalError::DoesNotOpen,
        E::InvalidProtobufEncoding
        | E::CiphertextMessageTooShort(_)
        | E::LegacyCiphertextVersion(_)
        | E::UnrecognizedCiphertextVersion(_)
        | E::UnrecognizedMessageVersion(_)
        | E::NoKeyTypeIdentifier
        | E::BadKeyType(_)
        | E::BadKeyLength(..)
        | E::BadKEMKeyType(_)
        | E::WrongKEMKeyType(..)
        | E::BadKEMKeyLength(..)
        | E::BadKEMCiphertextLength(..)
        | E::UnknownSealedSenderVersion(_) => SignalError::Malformed("encoding"),
        E::UnknownSealedSenderServerCertificateId(_) => SignalError::BadCertificate,
        E::InvalidSessionStructure(_) => SignalError::Library("session record"),
        // Only our own tables call back.
        E::ApplicationCallbackError(_, source) => {
            let source: Box<dyn std::error::Error + Send + Sync> = source;
            match source.downcast::<super::tables::Failed>() {
                Ok(failed) => SignalError::Store(failed.into_inner()),
                Err(_) => SignalError::Library("callback"),
            }
        }
        _ => SignalError::Library("other"),
    }
}
