//! What the targets share: keys that everyone may know, so that inputs get past signatures and MACs to the code behind them.

use hkdf::{
    Hkdf,
    hmac::{Hmac, Mac},
};
use sha2::Sha256;
use sphinx_packet::constants::{EXPANDED_SHARED_SECRET_HKDF_INFO, EXPANDED_SHARED_SECRET_HKDF_SALT};
use std::sync::LazyLock;
use veilpost_packet::{
    geometry::SPHINX_HEADER,
    primitives::SigningSecret,
    sphinx::{Hop, Packet, SphinxSecret, build},
};
use x25519_dalek::{PublicKey, StaticSecret};

/// The Sphinx secret of the node that unwraps.
pub const NODE: [u8; 32] = [9; 32];
/// The secret that a forging sender starts from.
pub const SENDER: [u8; 32] = [7; 32];

/// Signs for a mailbox, a node or an authority.
pub fn signer() -> SigningSecret {
    SigningSecret::from_seed(&[3; 32])
}

/// The node.
pub fn node() -> SphinxSecret {
    SphinxSecret::from_seed(NODE)
}

/// Overwrites `field.len()` bytes of `data` at `at`, where they exist.
pub fn overwrite(data: &mut [u8], at: usize, field: &[u8]) {
    if let Some(place) = data.get_mut(at..at + field.len()) {
        place.copy_from_slice(field);
    }
}

/// A good packet for [`node`] whose routing block and payload differ from the genuine ones by the input, and whose MAC is
/// right. The routing block is under a stream cipher, so the input decides each byte that the node reads: any sender can.
pub fn forged_packet(data: &[u8]) -> Packet {
    const ALPHA: usize = 32;
    const MAC: usize = 16;
    static GENUINE: LazyLock<(Packet, [u8; 2 * MAC])> = LazyLock::new(|| {
        let hop = |n: u8| Hop { address: [n; 32], key: SphinxSecret::from_seed([NODE[0] + n; 32]).public() };
        let route = std::array::from_fn(|place| hop(place as u8));
        let packet = build(SENDER, &route, &Default::default(), b"genuine").expect("a route of good keys");
        let shared = StaticSecret::from(SENDER).diffie_hellman(&PublicKey::from(&StaticSecret::from(NODE)));
        let mut keys = [0; 2 * MAC];
        Hkdf::<Sha256>::new(Some(EXPANDED_SHARED_SECRET_HKDF_SALT), shared.as_bytes())
            .expand(EXPANDED_SHARED_SECRET_HKDF_INFO, &mut keys)
            .expect("32 bytes are less than 255 blocks");
        (packet, keys)
    });
    let (genuine, keys) = &*GENUINE;
    let mut bytes = genuine.as_bytes().to_vec();
    bytes.iter_mut().skip(ALPHA + MAC).zip(data).for_each(|(byte, difference)| *byte ^= difference);
    let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(&keys[MAC..]).expect("HMAC takes keys of any length");
    mac.update(&bytes[ALPHA + MAC..SPHINX_HEADER]);
    overwrite(&mut bytes, ALPHA, &mac.finalize().into_bytes()[..MAC]);
    Packet::from_bytes(&bytes).expect("a packet's size")
}
