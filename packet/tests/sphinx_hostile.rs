//! Packets that somebody on the way, or their sender, has tampered with.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

mod common;

use common::{delays, route, secret, secrets, surb};
use hkdf::{
    Hkdf,
    hmac::{Hmac, Mac},
};
use sha2::Sha256;
use sphinx_packet::{
    SphinxPacketBuilder,
    constants::{EXPANDED_SHARED_SECRET_HKDF_INFO, EXPANDED_SHARED_SECRET_HKDF_SALT},
    header::delays::Delay,
    route::{Destination, DestinationAddressBytes, Node, NodeAddressBytes},
    version::Version,
};
use veilpost_packet::{
    geometry::*,
    sphinx::{Packet, Reject, SphinxSecret, Unwrapped, build, unwrap},
};
use x25519_dalek::{PublicKey, StaticSecret};

const SENDER: [u8; 32] = [42; 32];
/// Where MAC and routing block begin: alpha 32 | MAC 16 | routing block 300.
const MAC: usize = 32;
const ROUTING: usize = 48;

fn packet() -> Packet {
    build(SENDER, &route(), &delays(), b"untouched").unwrap()
}

fn flipped(packet: &Packet, bit: usize) -> Packet {
    let mut bytes = packet.as_bytes().to_vec();
    bytes[bit / 8] ^= 1 << (bit % 8);
    Packet::from_bytes(&bytes).unwrap()
}

/// What its sender can do to a packet: change the routing block that hop 1 decrypts (a stream cipher, so a difference goes
/// through) and put the right MAC on it.
fn forged(packet: &Packet, at: usize, difference: u8) -> Packet {
    let shared = StaticSecret::from(SENDER).diffie_hellman(&PublicKey::from(route()[0].key.0));
    let mut keys = [0; 32];
    Hkdf::<Sha256>::new(Some(EXPANDED_SHARED_SECRET_HKDF_SALT), shared.as_bytes())
        .expand(EXPANDED_SHARED_SECRET_HKDF_INFO, &mut keys)
        .unwrap();
    let mut bytes = packet.as_bytes().to_vec();
    bytes[ROUTING + at] ^= difference;
    let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(&keys[16..]).unwrap();
    mac.update(&bytes[ROUTING..SPHINX_HEADER]);
    bytes[MAC..ROUTING].copy_from_slice(&mac.finalize().into_bytes()[..16]);
    Packet::from_bytes(&bytes).unwrap()
}

#[test]
fn a_header_with_one_bit_flipped_is_refused_or_the_same_packet() {
    let (first, packet) = (secret(0), packet());
    let expected = unwrap(&first, &packet).unwrap();
    // Every bit around the borders of the fields, and a sample of the others; hop 1 and, unwrapped once, hop 2.
    let Unwrapped::Forward { packet: onward, .. } = &expected else { panic!("hop 1 forwards") };
    for (node, packet) in [(&first, &packet), (&secret(1), onward)] {
        let genuine = unwrap(node, packet).unwrap();
        let bits = (240..420).chain((0..SPHINX_HEADER * 8).step_by(13));
        let mut harmless = Vec::new();
        for bit in bits {
            match unwrap(node, &flipped(packet, bit)) {
                Err(reject) => assert_eq!(reject, Reject::Mac, "bit {bit}"),
                Ok(unwrapped) => {
                    // X25519 ignores the top bit of alpha: same secret, same tag, so the replay check sees it.
                    assert_eq!(unwrapped.tag(), genuine.tag(), "bit {bit}");
                    harmless.push(bit);
                }
            }
        }
        assert_eq!(harmless, [255], "only the top bit of alpha may pass");
    }
}

#[test]
fn a_payload_with_one_bit_flipped_is_detected_at_the_last_hop() {
    for (tamperer, bit) in [(0, SPHINX_HEADER * 8), (2, PACKET * 8 - 1), (4, SPHINX_HEADER * 8 + 12_345)] {
        let mut packet = packet();
        for (place, node) in secrets().iter().enumerate() {
            if place == tamperer {
                packet = flipped(&packet, bit);
            }
            match unwrap(node, &packet).unwrap() {
                Unwrapped::Forward { packet: onward, .. } => packet = onward,
                Unwrapped::Deliver { payload, .. } => assert_eq!(payload.open_forward(), None, "hop {tamperer}"),
            }
        }
    }
}

#[test]
fn a_reply_with_one_bit_flipped_is_detected_by_its_reader() {
    let (surb, recovery) = surb(7);
    let mut packet = surb.reply(b"a reply").unwrap();
    for (place, node) in secrets().iter().enumerate() {
        if place == 1 {
            packet = flipped(&packet, SPHINX_HEADER * 8 + 77);
        }
        match unwrap(node, &packet).unwrap() {
            Unwrapped::Forward { packet: onward, .. } => packet = onward,
            Unwrapped::Deliver { payload, surb, .. } => {
                assert_eq!(surb, Some(common::surb_id()), "the loss can be put down to its SURB");
                assert_eq!(recovery.open(&payload), None);
            }
        }
    }
}

#[test]
fn a_packet_for_another_key_is_refused() {
    assert_eq!(unwrap(&secret(1), &packet()).unwrap_err(), Reject::Mac);
}

#[test]
fn packet_versions_before_260_are_refused_at_every_hop() {
    let nodes: Vec<_> = route()
        .iter()
        .map(|hop| Node::new(NodeAddressBytes::from_bytes(hop.address), PublicKey::from(hop.key.0)))
        .collect();
    let delays = [Delay::new_from_nanos(1); ROUTE_HOPS];
    let destination = Destination::new(DestinationAddressBytes::from_bytes([1; 32]), [0; 16]);
    for version in [257, 258, 259] {
        // A route of one hop is a last hop, longer ones forward.
        for hops in [1, ROUTE_HOPS] {
            let packet = SphinxPacketBuilder::new()
                .with_payload_size(SPHINX_PAYLOAD)
                .with_version(Version::new(version))
                .build_packet(b"old", &nodes[..hops], &destination, &delays[..hops])
                .unwrap();
            let packet = Packet::from_bytes(&packet.to_bytes()).unwrap();
            assert_eq!(unwrap(&secret(0), &packet).unwrap_err(), Reject::Version, "{version}, {hops} hops");
        }
    }
}

#[test]
fn versions_that_do_not_exist_yet_are_refused() {
    // 260 is 0x0104, in the third and fourth byte of the routing block.
    for (at, difference) in [(2, 0x80), (3, 0x01), (2, 0x01), (3, 0xFF)] {
        assert_eq!(unwrap(&secret(0), &forged(&packet(), at, difference)).unwrap_err(), Reject::Version);
    }
}

#[test]
fn a_packet_that_trips_the_crates_debug_assertion_does_not_stop_a_node() {
    // The crate asserts that the first version byte is zero and ignores it otherwise; the sender chooses it. In the dev profile
    // this panics if the workspace forgets to switch that crate's assertions off.
    for difference in [0x01, 0x80, 0xFF] {
        let unwrapped = unwrap(&secret(0), &forged(&packet(), 1, difference)).unwrap();
        assert!(matches!(unwrapped, Unwrapped::Forward { .. }), "read as version 260");
    }
}

#[test]
fn an_unknown_routing_flag_is_refused() {
    assert_eq!(unwrap(&secret(0), &forged(&packet(), 0, 0xF0)).unwrap_err(), Reject::Malformed);
}

#[test]
fn low_order_points_are_refused_whatever_the_key() {
    // 0, 1, p - 1, p, p + 1 and the two points of order 8, as Montgomery coordinates in little-endian bytes.
    let near_p = |low: u8| {
        let mut point = [0xFF; 32];
        (point[0], point[31]) = (low, 0x7F);
        point
    };
    let small = |low: u8| {
        let mut point = [0; 32];
        point[0] = low;
        point
    };
    let order_8 = [
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    ]
    .map(|hex| data_encoding::HEXLOWER.decode(hex.as_bytes()).unwrap().try_into().unwrap());
    let points = [small(0), small(1), near_p(0xEC), near_p(0xED), near_p(0xEE)].into_iter().chain(order_8);
    for point in points {
        let mut bytes = packet().as_bytes().to_vec();
        bytes[..32].copy_from_slice(&point);
        let packet = Packet::from_bytes(&bytes).unwrap();
        for key in [secret(0), SphinxSecret::from_seed([0; 32]), SphinxSecret::from_seed([255; 32])] {
            assert_eq!(unwrap(&key, &packet).unwrap_err(), Reject::ZeroSecret, "{point:02x?}");
        }
    }
}

#[test]
fn a_route_with_a_low_order_key_makes_packets_that_nobody_unwraps() {
    let mut bad = route();
    bad[1].key.0 = [0; 32];
    let packet = build(SENDER, &bad, &delays(), b"lost").unwrap();
    let Unwrapped::Forward { packet, .. } = unwrap(&secret(0), &packet).unwrap() else { panic!("hop 1 forwards") };
    assert_eq!(unwrap(&secret(1), &packet).unwrap_err(), Reject::Mac);
}
