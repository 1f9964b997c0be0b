//! Packets without cryptography, for simulations alone: the route stands readable in the header, the payload is plain, sizes,
//! shapes and types are those of real packets. Making and unwrapping one takes about a microsecond instead of 700 and 90.
//!
//! Nothing but the lab turns the feature `model` on, and no daemon calls these functions: a real node finds no valid MAC in such a
//! packet and drops it.
//!
//! ```text
//! header (348 B): mark 4 | hops 1 | next 1 | packet's number 16 | SURB id 16 (zero: none)
//!                 | hops x (address 32 | first bytes of its key 8 | delay 8) | zeros
//! ```

use super::{
    BuildError, Hop, Layers, Packet, Reject, ReplayTag, SealedPayload, SphinxPublic, Surb, SurbRecovery, Unwrapped,
};
use crate::{
    codec::{Reader, Writer},
    geometry::{ADDRESS, PACKET, PLAINTEXT, SPHINX_HEADER, SPHINX_PAYLOAD, SURB, SURB_ID},
    ids::SurbId,
};
use sphinx_packet::payload::{Payload, key::PayloadKey};
use std::time::Duration;

const MARK: &[u8; 4] = b"MODL";
/// Where the number of the next hop stands.
const NEXT: usize = 5;

/// Enough of a key to tell another one's packet, which a real one's MAC does.
fn hint(key: &SphinxPublic) -> [u8; 8] {
    key.0.first_chunk().copied().unwrap_or_default()
}

#[derive(Clone, Copy)]
struct Stop {
    address: [u8; ADDRESS],
    hint: [u8; 8],
    delay: Duration,
}

/// What a header says.
struct Header {
    number: [u8; 16],
    surb: Option<SurbId>,
    hops: Vec<Stop>,
    next: u8,
}

impl Header {
    fn new(number: [u8; 16], surb: Option<SurbId>, route: &[Hop], delays: &[Duration]) -> Self {
        let delays = delays.iter().copied().chain(std::iter::repeat(Duration::ZERO));
        let stop = |(hop, delay): (&Hop, Duration)| Stop { address: hop.address, hint: hint(&hop.key), delay };
        Self { number, surb, hops: route.iter().zip(delays).map(stop).collect(), next: 0 }
    }

    fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::with_capacity(SPHINX_HEADER);
        writer.put(MARK).u8(self.hops.len() as u8).u8(self.next).put(&self.number);
        writer.put(&self.surb.map_or([0; SURB_ID], |id| *id.as_bytes()));
        for Stop { address, hint, delay } in &self.hops {
            writer.put(address).put(hint).u64(u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX));
        }
        writer.pad_to(SPHINX_HEADER);
        writer.finish()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let marked = reader.take(4).ok()? == MARK;
        let (count, next) = (reader.u8().ok()?, reader.u8().ok()?);
        let (number, surb) = (reader.array().ok()?, SurbId::new(reader.array().ok()?));
        let hop = |_| {
            let (address, hint) = (reader.array().ok()?, reader.array().ok()?);
            Some(Stop { address, hint, delay: Duration::from_nanos(reader.u64().ok()?) })
        };
        let hops = (0..count).map(hop).collect::<Option<_>>()?;
        marked.then_some(Self { number, surb, hops, next })
    }
}

fn payload(plaintext: &[u8]) -> Result<Vec<u8>, BuildError> {
    if plaintext.len() > PLAINTEXT {
        return Err(BuildError("the plaintext is too long"));
    }
    let no_layers: [PayloadKey; 0] = [];
    let payload = Payload::encapsulate_message(plaintext, &no_layers, SPHINX_PAYLOAD);
    Ok(payload.map_err(|_| BuildError("the plaintext is too long"))?.into_bytes())
}

/// As [`super::build`]. `number` tells packets apart, as the shared secret does in real ones.
///
/// # Errors
/// If the plaintext is too long.
pub fn build(number: [u8; 16], route: &[Hop], delays: &[Duration], plaintext: &[u8]) -> Result<Packet, BuildError> {
    let mut bytes = Header::new(number, None, route, delays).encode();
    bytes.extend(payload(plaintext)?);
    Ok(Packet(bytes.into_boxed_slice()))
}

/// As [`Surb::new`].
///
/// # Errors
/// If the route is empty.
pub fn surb(
    number: [u8; 16],
    id: SurbId,
    route: &[Hop],
    delays: &[Duration],
) -> Result<(Surb, SurbRecovery), BuildError> {
    let first = route.first().ok_or(BuildError("the route is empty"))?;
    let mut writer = Writer::with_capacity(SURB);
    writer.put(&Header::new(number, Some(id), route, delays).encode()).put(&first.address).pad_to(SURB);
    Ok((Surb(writer.finish().into_boxed_slice()), SurbRecovery(Layers::None)))
}

/// As [`Surb::reply`].
///
/// # Errors
/// If the plaintext is too long, or this is no model's SURB.
pub fn reply(surb: &Surb, plaintext: &[u8]) -> Result<Packet, BuildError> {
    let header = Header::decode(surb.as_bytes()).ok_or(BuildError("the SURB is no model"))?;
    let mut bytes = header.encode();
    bytes.extend(payload(plaintext)?);
    Ok(Packet(bytes.into_boxed_slice()))
}

/// As [`super::unwrap`], at the hop whose turn it is: `here` is its address, `key` the public half of what it unwraps with.
///
/// # Errors
/// If this is no model packet, or another hop's or key's.
pub fn unwrap(here: &[u8; ADDRESS], key: &SphinxPublic, packet: &Packet) -> Result<Unwrapped, Reject> {
    let header = Header::decode(packet.as_bytes()).ok_or(Reject::Malformed)?;
    let at = usize::from(header.next);
    let stop = header.hops.get(at).copied().ok_or(Reject::Malformed)?;
    if stop.address != *here || stop.hint != hint(key) {
        return Err(Reject::Mac);
    }
    let mut tag = [0; 32];
    let (number, hop) = tag.split_at_mut(header.number.len());
    number.copy_from_slice(&header.number);
    hop.fill(header.next);
    let tag = ReplayTag(tag);
    match header.hops.get(at + 1) {
        Some(next) => {
            let mut bytes = packet.0.clone();
            if let Some(byte) = bytes.get_mut(NEXT) {
                *byte = header.next.saturating_add(1);
            }
            Ok(Unwrapped::Forward { tag, next: next.address, delay: stop.delay, packet: Packet(bytes) })
        }
        None => {
            let payload = packet.0.get(SPHINX_HEADER..PACKET).ok_or(Reject::Malformed)?;
            Ok(Unwrapped::Deliver { tag, surb: header.surb, payload: SealedPayload(payload.into()) })
        }
    }
}

/// A packet that is a number and nothing else, for simulations of so many packets that 4.4 kB each would be the cost: whoever
/// simulates keeps its route beside it. No function of this module opens it.
pub fn token(number: u64) -> Packet {
    Packet(Box::new(number.to_be_bytes()))
}

/// The number of a [`token`]; `None` for every other packet.
pub fn token_number(packet: &Packet) -> Option<u64> {
    Some(u64::from_be_bytes(packet.as_bytes().try_into().ok()?))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use crate::{
        command::Command,
        geometry::{ROUTE_DELAYS, ROUTE_HOPS},
        sphinx::{Delays, Route, SphinxSecret},
    };

    fn route() -> (Route, Delays) {
        let key = SphinxSecret::from_seed([1; 32]).public();
        let route = std::array::from_fn(|hop| Hop { address: [hop as u8 + 1; 32], key });
        (route, std::array::from_fn(|hop| Duration::from_millis(hop as u64 * 100)))
    }

    /// What the last hop gets, and the delays on the way.
    fn travel(mut packet: Packet) -> (Vec<Duration>, Option<SurbId>, SealedPayload) {
        let (route, _) = route();
        let mut delays = Vec::new();
        for (hop, next) in route.iter().zip(route.iter().skip(1).map(Some).chain([None])) {
            assert!(unwrap(&[99; 32], &hop.key, &packet).is_err(), "another hop's");
            assert!(unwrap(&hop.address, &SphinxPublic([9; 32]), &packet).is_err(), "another key's");
            match (unwrap(&hop.address, &hop.key, &packet).unwrap(), next) {
                (Unwrapped::Forward { next: to, delay, packet: on, .. }, Some(next)) => {
                    assert_eq!(to, next.address);
                    delays.push(delay);
                    packet = on;
                }
                (Unwrapped::Deliver { surb, payload, .. }, None) => return (delays, surb, payload),
                other => panic!("{other:?}"),
            }
        }
        unreachable!()
    }

    #[test]
    fn a_model_packet_and_its_reply_travel_as_real_ones_do() {
        let (route, delays) = route();
        let id = SurbId::new([7; 16]).unwrap();
        let (block, recovery) = surb([2; 16], id, &route, &delays).unwrap();
        let packet = build([1; 16], &route, &delays, &Command::Loop.encode(&block)).unwrap();
        assert_eq!(packet.as_bytes().len(), PACKET);
        let (kept, none, payload) = travel(packet);
        assert_eq!((kept, none), (delays.to_vec(), None));
        let (arrived, command) = Command::decode(&payload.open_forward().unwrap()).unwrap();
        assert!(matches!(command, Command::Loop));
        assert_eq!((arrived.first_hop(), delays.len()), (route[0].address, ROUTE_DELAYS));
        let (kept, named, payload) = travel(reply(&arrived, b"answer").unwrap());
        assert_eq!((kept, named), (delays.to_vec(), Some(id)));
        assert_eq!(recovery.open(&payload).unwrap(), b"answer");
        assert_eq!(route.len(), ROUTE_HOPS);
    }

    #[test]
    fn a_changed_payload_does_not_open_and_a_real_node_takes_no_model() {
        let (route, delays) = route();
        let packet = build([1; 16], &route, &delays, b"text").unwrap();
        assert!(super::super::unwrap(&SphinxSecret::from_seed([1; 32]), &packet).is_err());
        let mut bytes = packet.0;
        bytes[SPHINX_HEADER] ^= 1;
        let (_, _, payload) = travel(Packet(bytes));
        assert_eq!(payload.open_forward(), None);
    }

    #[test]
    fn a_token_is_its_number_and_nothing_unwraps_it() {
        let packet = token(7);
        assert_eq!(token_number(&packet), Some(7));
        assert!(unwrap(&[1; 32], &SphinxPublic([1; 32]), &packet).is_err());
        let (route, delays) = route();
        assert_eq!(token_number(&build([1; 16], &route, &delays, b"").unwrap()), None);
    }

    #[test]
    fn too_long_a_plaintext_is_refused() {
        let (route, delays) = route();
        assert!(build([1; 16], &route, &delays, &[0; PLAINTEXT]).is_ok());
        assert!(build([1; 16], &route, &delays, &[0; PLAINTEXT + 1]).is_err());
    }
}
