//! Sessions: libsignal's PQXDH, triple ratchet and sealed sender over the store's tables, and nothing of its network.
//!
//! There is no server that vouches for anyone. Every identity signs its own sender certificate, and the root that a
//! certificate is checked against is the identity that was pinned when the contact was made. The rule for what comes in:
//!
//! ```text
//! sealed bytes -> exact outer form, no low-order key           guard::outer_ephemeral
//!              -> inner content (libsignal, our identity key)
//!              -> certificate valid under the pinned root      session::check_sender
//!              -> key, name and device are the stream's owner's
//!              -> no low-order key inside, prekeys ours to use
//!              -> ratchet (libsignal), session found by our own contact number, never by anything on the wire
//!              -> hash of both identities in front of the plaintext
//! ```
//! `sealed_sender_decrypt` is not used: it takes the session's address from the sender's own certificate, knows one root
//! for all, and draws from the operating system's generator.
//!
//! Functions take a `&Connection`; inside `Store::transaction` nothing is kept unless the caller commits, and nothing may
//! leave before. Each function is also all or nothing by itself (a savepoint), so that a bad message in the middle of a
//! transaction changes nothing. Time and randomness come in; per call 32 bytes of the caller's generator seed the one that
//! libsignal sees, so that one seed gives one run. Calls that would draw elsewhere and must stay unused:
//! `KyberPreKeyRecord::generate`, `sealed_sender_decrypt`, `sealed_sender_multi_recipient_encrypt`.
//!
//! libsignal logs addresses at info and identity keys at warn, through the `log` crate. The log filter of the binary
//! (`cli::logs`) switches its targets, [`SILENT_TARGETS`], off for good.

mod account;
mod bundle;
mod error;
mod guard;
mod safety;
mod session;
mod tables;

pub use account::{create_account, own_identity};
pub use bundle::{Bundle, PrekeySetId, create_bundle, forget_bundle};
pub use error::SignalError;
pub use safety::SafetyNumber;
pub use session::{First, decrypt, decrypt_first, encrypt, is_unanswered, open_session, turns_ratchet};

/// Receiving chains that libsignal keeps of a session. A message of an older one does not open any more.
pub const CHAINS_KEPT: usize = 5;

/// Targets of the `log` crate that must never reach a log: they hold addresses and keys. Filters match by prefix, so the
/// first covers the crate under its registry name too.
pub const SILENT_TARGETS: [&str; 4] = ["libsignal_protocol", "libsignal_core", "signal_crypto", "spqr"];

/// Largest plaintext of one message, bytes: the longest content there is, see [`crate::content::MAX_ENCODED`].
pub const MAX_PLAINTEXT: usize = crate::content::MAX_ENCODED;

/// Largest sealed message, bytes: the plaintext and, in a first message, at most this much around it.
pub const MAX_SEALED: usize = MAX_PLAINTEXT + 4_096;

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests;
