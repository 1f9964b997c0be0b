//! Packets and SURBs along whole routes, and their sizes against the crate that makes them.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

mod common;

use common::{delays, route, secret, secrets, surb, surb_id};
use proptest::prelude::*;
use sphinx_packet::{
    constants::{IDENTIFIER_LENGTH, MAX_PATH_LENGTH, NODE_ADDRESS_LENGTH, PAYLOAD_KEY_SEED_SIZE},
    header::HEADER_SIZE,
    payload::PAYLOAD_OVERHEAD_SIZE,
};
use veilpost_packet::{
    codec::DecodeError,
    command::{Answer, Command, Reply},
    geometry::*,
    ids::DocumentHash,
    sphinx::{Packet, ReplayTag, SealedPayload, Surb, SurbRecovery, Unwrapped, build, unwrap},
    time::Tick,
};

/// Follows a packet from the node at `first` of the common route, checking addresses and delays, to its last hop.
fn deliver(packet: Packet) -> (Vec<ReplayTag>, Unwrapped) {
    let (mut packet, mut tags) = (packet, Vec::new());
    for (place, node) in secrets().iter().enumerate() {
        let unwrapped = unwrap(node, &packet).unwrap();
        tags.push(unwrapped.tag());
        match unwrapped {
            Unwrapped::Forward { next, delay, packet: onward, .. } => {
                assert_eq!(next, route()[place + 1].address);
                assert_eq!(delay, delays()[place]);
                packet = onward;
            }
            last => {
                assert_eq!(place, ROUTE_HOPS - 1);
                return (tags, last);
            }
        }
    }
    panic!("five hops did not deliver");
}

fn forward(plaintext: &[u8]) -> Packet {
    build([42; 32], &route(), &delays(), plaintext).unwrap()
}

fn payload(last: Unwrapped) -> SealedPayload {
    match last {
        Unwrapped::Deliver { payload, .. } => payload,
        Unwrapped::Forward { .. } => panic!("not the last hop"),
    }
}

fn open_reply(recovery: &SurbRecovery, packet: Packet) -> Option<Vec<u8>> {
    recovery.open(&payload(deliver(packet).1))
}

#[test]
fn the_geometry_is_the_crates() {
    assert_eq!(SPHINX_HEADER, HEADER_SIZE);
    assert_eq!(SPHINX_PAYLOAD_OVERHEAD, PAYLOAD_OVERHEAD_SIZE);
    assert_eq!(ROUTE_HOPS, MAX_PATH_LENGTH);
    assert_eq!(ADDRESS, NODE_ADDRESS_LENGTH);
    assert_eq!(SURB_ID, IDENTIFIER_LENGTH);
    assert_eq!(SURB, HEADER_SIZE + NODE_ADDRESS_LENGTH + PAYLOAD_KEY_SEED_SIZE);
}

#[test]
fn packets_surbs_and_replies_have_the_stated_sizes() {
    let (surb, _) = surb(7);
    assert_eq!(surb.as_bytes().len(), SURB);
    assert_eq!(Command::Loop.encode(&surb).len(), PLAINTEXT);
    assert_eq!(SURB + COMMAND, PLAINTEXT);
    assert_eq!(forward(&[]).as_bytes().len(), PACKET);
    assert_eq!(forward(&[1; PLAINTEXT]).as_bytes().len(), PACKET);
    assert_eq!(surb.reply(&[2; REPLY]).unwrap().as_bytes().len(), PACKET);
}

#[test]
fn a_packet_keeps_its_size_on_its_whole_way() {
    let mut packet = forward(b"one size");
    for place in 0..ROUTE_DELAYS {
        let Unwrapped::Forward { packet: onward, .. } = unwrap(&secret(place), &packet).unwrap() else {
            panic!("hop {place} is not the last")
        };
        assert_eq!(onward.as_bytes().len(), PACKET);
        packet = onward;
    }
}

#[test]
fn a_command_goes_five_hops_and_its_reply_comes_five_hops_back() {
    let (surb, recovery) = surb(7);
    let (_, last) = deliver(forward(&Command::Loop.encode(&surb)));
    let Unwrapped::Deliver { surb: None, payload, .. } = last else { panic!("a forward packet names no SURB") };
    let (received, command) = Command::decode(&payload.open_forward().unwrap()).unwrap();
    assert!(matches!(command, Command::Loop));
    assert_eq!(received, surb);
    assert_eq!(received.first_hop(), route()[0].address);

    let answer = Reply { document: DocumentHash([3; 8]), newest_digest: Tick(9), answer: Answer::Looped };
    let (_, last) = deliver(received.reply(&answer.encode()).unwrap());
    let Unwrapped::Deliver { surb: Some(id), payload, .. } = last else { panic!("a reply names its SURB") };
    assert_eq!(id, surb_id());
    assert_eq!(payload.open_forward(), None, "only its maker can read a reply");
    assert_eq!(Reply::decode(&recovery.open(&payload).unwrap()).unwrap(), answer);
}

#[test]
fn plaintexts_up_to_the_bound_fit_and_longer_ones_do_not() {
    for length in [0, 1, PLAINTEXT - 1, PLAINTEXT] {
        let plaintext = vec![0xEE; length];
        assert_eq!(payload(deliver(forward(&plaintext)).1).open_forward().unwrap(), plaintext);
        let (surb, recovery) = surb(7);
        assert_eq!(open_reply(&recovery, surb.reply(&plaintext).unwrap()).unwrap(), plaintext);
    }
    assert!(build([42; 32], &route(), &delays(), &[0; PLAINTEXT + 1]).is_err());
    assert!(surb(7).0.reply(&[0; PLAINTEXT + 1]).is_err());
}

#[test]
fn a_replay_tag_is_the_same_for_a_repeated_packet_and_differs_between_hops_and_packets() {
    let packet = forward(b"tag");
    let (tags, _) = deliver(packet.clone());
    assert_eq!(tags, deliver(packet).0);
    let (others, _) = deliver(build([43; 32], &route(), &delays(), b"tag").unwrap());
    let distinct: std::collections::BTreeSet<_> = tags.iter().chain(&others).collect();
    assert_eq!(distinct.len(), 2 * ROUTE_HOPS);
}

#[test]
fn another_surbs_maker_cannot_read_a_reply() {
    let (surb, _) = surb(7);
    let (_, other) = common::surb(8);
    assert_eq!(open_reply(&other, surb.reply(b"for its maker").unwrap()), None);
}

#[test]
fn packets_of_another_size_are_refused() {
    assert_eq!(Packet::from_bytes(&[0; PACKET - 1]), Err(DecodeError::Truncated));
    assert_eq!(Packet::from_bytes(&[0; PACKET + 1]), Err(DecodeError::Trailing));
    assert_eq!(Packet::from_bytes(&[]), Err(DecodeError::Truncated));
}

#[test]
fn a_surb_has_exactly_one_seed() {
    // The size is the type's: a SURB of five seeds (as older packet versions have) does not fit, and what the crate reads
    // from ours is one seed.
    let (surb, _) = surb(7);
    let bytes: [u8; SURB] = surb.as_bytes().try_into().unwrap();
    assert_eq!(Surb::from_bytes(&bytes).unwrap(), surb);
    assert_eq!(sphinx_packet::SURB::from_bytes(&bytes).unwrap().materials_count(), 1);
    let mut five = bytes.to_vec();
    five.extend([0; 4 * PAYLOAD_KEY_SEED_SIZE]);
    assert_eq!(sphinx_packet::SURB::from_bytes(&five).unwrap().materials_count(), 5);
    assert!(<[u8; SURB]>::try_from(five.as_slice()).is_err());
}

#[test]
fn delays_above_what_the_format_holds_saturate() {
    let longest = std::time::Duration::MAX;
    let packet = build([42; 32], &route(), &[longest; ROUTE_DELAYS], b"").unwrap();
    let Unwrapped::Forward { delay, .. } = unwrap(&secret(0), &packet).unwrap() else { panic!("hop 1 forwards") };
    assert_eq!(delay, std::time::Duration::from_nanos(u64::MAX));
}

#[test]
fn nothing_secret_is_printed() {
    let (surb, recovery) = surb(7);
    assert_eq!(format!("{:?} {surb:?} {:?}", secret(0), forward(b"")), "SphinxSecret(..) Surb(..) Packet(..)");
    let shown = format!("{recovery:?}");
    assert!(shown.len() < 200, "{shown}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]
    #[test]
    fn any_plaintext_comes_out_as_it_went_in(seed: [u8; 32], plaintext in proptest::collection::vec(any::<u8>(), 0..PLAINTEXT)) {
        let packet = build(seed, &route(), &delays(), &plaintext).unwrap();
        prop_assert_eq!(payload(deliver(packet).1).open_forward().unwrap(), plaintext);
    }
}
