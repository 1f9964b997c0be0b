//! A packet at a node: as it is, and with the MAC that a sender can compute over any routing block.
#![no_main]
use libfuzzer_sys::fuzz_target;
use veilpost_fuzz::{forged_packet, node};
use veilpost_packet::{
    geometry::PACKET,
    sphinx::{Packet, Reject, Unwrapped, unwrap},
};

fuzz_target!(|data: &[u8]| {
    let mut raw = data.to_vec();
    raw.resize(PACKET, 0);
    let _ = unwrap(&node(), &Packet::from_bytes(&raw).expect("a packet's size"));
    match unwrap(&node(), &forged_packet(data)) {
        Ok(Unwrapped::Forward { packet, .. }) => assert_eq!(packet.as_bytes().len(), PACKET),
        Ok(Unwrapped::Deliver { payload, .. }) => drop(payload.open_forward()),
        Err(reject) => assert_ne!(reject, Reject::Mac),
    }
});
