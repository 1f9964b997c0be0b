//! What stands between the network's bytes and libsignal.

use super::{SignalError, error::sort};
use crate::store::StoreError;
use futures::FutureExt as _;
use libsignal_protocol::{PrivateKey, PublicKey, SignalProtocolError};
use rusqlite::Connection;
use std::{
    future::Future,
    panic::AssertUnwindSafe,
    sync::LazyLock,
    time::{Duration, SystemTime},
};
use veilpost_packet::{codec::Reader, time::Timestamp};

/// Runs `work` inside a savepoint: on any error, and on a panic of libsignal, the database is as it was.
///
/// The panic is caught here, at the border of the session, and becomes a typed error: one hostile message must not stop the
/// client. Nothing but the database is shared with `work`, and the rollback restores it.
pub(super) fn guarded<T>(
    connection: &Connection,
    work: impl FnOnce() -> Result<T, SignalError>,
) -> Result<T, SignalError> {
    connection.execute_batch("SAVEPOINT signal").map_err(StoreError::from)?;
    let result = std::panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or(Err(SignalError::Panicked));
    let end = if result.is_ok() { "RELEASE signal" } else { "ROLLBACK TO signal; RELEASE signal" };
    connection.execute_batch(end).map_err(StoreError::from)?;
    result
}

/// Takes the result of one of libsignal's futures. Over our tables they never wait, so one poll finishes them.
pub(super) fn now<T>(future: impl Future<Output = Result<T, SignalProtocolError>>) -> Result<T, SignalError> {
    future.now_or_never().ok_or(SignalError::Library("waited"))?.map_err(sort)
}

/// Network time as libsignal wants it.
pub(super) fn system_time(time: Timestamp) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_nanos(time.as_nanos())
}

/// Network time as certificates want it.
pub(super) fn certificate_time(time: Timestamp) -> libsignal_protocol::Timestamp {
    libsignal_protocol::Timestamp::from_epoch_millis(time.as_millis())
}

/// Refuses public keys of small order: with them, what should be a shared secret is known to everyone. libsignal 0.85
/// accepts them. Every agreement of a clamped scalar with such a key is zero, whatever the scalar, so one with a fixed
/// scalar tells.
pub(super) fn strong(key: &PublicKey, what: &'static str) -> Result<(), SignalError> {
    static PROBE: LazyLock<Option<PrivateKey>> = LazyLock::new(|| PrivateKey::deserialize(&[0x40; 32]).ok());
    let probe = PROBE.as_ref().ok_or(SignalError::Library("probe"))?;
    let shared = probe.calculate_agreement(key).map_err(|_| SignalError::Malformed("key"))?;
    if shared.iter().all(|&byte| byte == 0) { Err(SignalError::WeakKey(what)) } else { Ok(()) }
}

/// The ephemeral key on the outside of a sealed message, if the bytes have exactly the form that
/// `sealed_sender_encrypt_from_usmc` writes: version 1.1 and three protobuf fields, each once, in order, nothing else. A
/// protobuf reader takes the last of repeated fields, so anything laxer could show us one key and libsignal another.
pub(super) fn outer_ephemeral(sealed: &[u8]) -> Result<PublicKey, SignalError> {
    let malformed = |_| SignalError::Malformed("outer form");
    let mut reader = Reader::new(sealed);
    // Version; field 1 of 33 bytes that start with the type of an X25519 key.
    if reader.array().map_err(malformed)? != [0x11, 0x0a, 0x21, 0x05] {
        return Err(SignalError::Malformed("version"));
    }
    let ephemeral: [u8; 32] = reader.array().map_err(malformed)?;
    // Field 2: the sender's key, encrypted, 33 bytes and a MAC of 10.
    if reader.array().map_err(malformed)? != [0x12, 0x2b] {
        return Err(SignalError::Malformed("outer form"));
    }
    reader.take(0x2b).map_err(malformed)?;
    // Field 3: the message, to the end.
    if reader.u8().map_err(malformed)? != 0x1a {
        return Err(SignalError::Malformed("outer form"));
    }
    let length = varint(&mut reader)?;
    if length != reader.remaining() {
        return Err(SignalError::Malformed("length"));
    }
    PublicKey::from_djb_public_key_bytes(&ephemeral).map_err(|_| SignalError::Malformed("key"))
}

/// A protobuf length in its shortest form, at most 21 bits: more than [`super::MAX_SEALED`] needs.
fn varint(reader: &mut Reader<'_>) -> Result<usize, SignalError> {
    let mut value = 0;
    for shift in [0, 7, 14] {
        let byte = reader.u8().map_err(|_| SignalError::Malformed("length"))?;
        value |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return if byte == 0 && shift > 0 { Err(SignalError::Malformed("length")) } else { Ok(value) };
        }
    }
    Err(SignalError::Malformed("length"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use crate::store::{Store, meta};
    use proptest::prelude::*;

    #[test]
    fn keys_of_small_order_are_refused_and_the_base_point_is_not() {
        let mut one = [0; 32];
        one[0] = 1;
        // Order 8, from RFC 7748's security considerations and the usual lists; the last two are not reduced.
        let order8 = "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800";
        let other8 = "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157";
        let minus1 = "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f";
        let p = "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f";
        let p1 = "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f";
        let mut weak = vec![[0; 32], one];
        for hex in [order8, other8, minus1, p, p1] {
            weak.push(data_encoding::HEXLOWER.decode(hex.as_bytes()).unwrap().try_into().unwrap());
        }
        for mut key in weak {
            for top in [0, 0x80] {
                key[31] = (key[31] & 0x7f) | top;
                let key = PublicKey::from_djb_public_key_bytes(&key).unwrap();
                assert!(matches!(strong(&key, "key"), Err(SignalError::WeakKey("key"))));
            }
        }
        let mut base = [0; 32];
        base[0] = 9;
        strong(&PublicKey::from_djb_public_key_bytes(&base).unwrap(), "key").unwrap();
    }

    #[test]
    fn a_panic_becomes_an_error_and_changes_nothing() {
        let mut store = Store::in_memory().unwrap();
        store
            .transaction(|tx| -> Result<(), StoreError> {
                let result: Result<(), SignalError> = guarded(tx, || {
                    meta::set(tx, "a", b"1").unwrap();
                    panic!("as libsignal might");
                });
                assert!(matches!(result, Err(SignalError::Panicked)));
                assert_eq!(meta::get(tx, "a")?, None);
                meta::set(tx, "b", b"2")
            })
            .unwrap();
        assert!(meta::get(store.connection(), "b").unwrap().is_some());
    }

    proptest! {
        #[test]
        fn arbitrary_outer_bytes_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..200), form in any::<bool>()) {
            if form {
                for (to, from) in bytes.iter_mut().zip([0x11, 0x0a, 0x21, 0x05]) { *to = from; }
                if let Some(to) = bytes.get_mut(36) { *to = 0x12; }
                if let Some(to) = bytes.get_mut(37) { *to = 0x2b; }
                if let Some(to) = bytes.get_mut(81) { *to = 0x1a; }
            }
            let _ = outer_ephemeral(&bytes);
        }
    }
}
