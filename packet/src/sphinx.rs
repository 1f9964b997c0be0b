//! Sphinx packets through `sphinx-packet`, with the checks that the crate leaves to its caller.
//!
//! The crate accepts any version, any delay, a zero shared secret and any length above a minimum; this module accepts version
//! 260 alone (single-seed recoverable SURBs), refuses low-order points and other sizes. Bounds on delays are the node's rule.
//!
//! Hidden randomness: `build_packet` and `SURB::new_recoverable` draw the padding of the last hop's routing block from the
//! global generator. No engine looks at those bytes; traces compare events, not packet bytes.

use crate::{
    codec::{DecodeError, Reader, Result as DecodeResult, Writer},
    geometry::{ADDRESS, KEY, PACKET, PLAINTEXT, ROUTE_DELAYS, ROUTE_HOPS, SPHINX_PAYLOAD, SURB, SURB_ID},
    ids::SurbId,
};
use sphinx_packet::{
    ProcessedPacketData, SURB as CrateSurb, SURBMaterial, SphinxPacket, SphinxPacketBuilder, SurbReplyRecovery,
    header::{HEADER_SIZE, SphinxHeader, delays::Delay},
    payload::Payload,
    route::{Destination, DestinationAddressBytes, Node, NodeAddressBytes},
    version::SINGLE_SEED_SURB_VERSION,
};
use std::{fmt, sync::LazyLock, time::Duration};
use x25519_dalek::{PublicKey, StaticSecret};

#[cfg(feature = "model")]
pub mod model;

/// The X25519 secret with which a node, or a client for one session, unwraps packets. Wiped on drop.
pub struct SphinxSecret(StaticSecret);

impl SphinxSecret {
    /// From 32 random bytes; wipe the caller's copy.
    pub fn from_seed(seed: [u8; KEY]) -> Self {
        Self(StaticSecret::from(seed))
    }

    /// The public half.
    pub fn public(&self) -> SphinxPublic {
        SphinxPublic(PublicKey::from(&self.0).to_bytes())
    }
}

impl fmt::Debug for SphinxSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SphinxSecret(..)")
    }
}

/// The public half of a [`SphinxSecret`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SphinxPublic(pub [u8; KEY]);

/// One hop of a route.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hop {
    /// A node id, or a session address for the last hop of a reply.
    pub address: [u8; ADDRESS],
    /// The key that unwraps there.
    pub key: SphinxPublic,
}

/// The hops of a client's packet, first to last. A node's own packets have fewer: they begin behind it.
pub type Route = [Hop; ROUTE_HOPS];
/// The delays that the first four hops are asked to keep; the last hop has none.
pub type Delays = [Duration; ROUTE_DELAYS];

/// A packet of exactly [`PACKET`] bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Packet(Box<[u8]>);

impl Packet {
    /// Checks the size, nothing else.
    pub fn from_bytes(bytes: &[u8]) -> DecodeResult<Self> {
        match bytes.len() {
            PACKET => Ok(Self(bytes.into())),
            length if length < PACKET => Err(DecodeError::Truncated),
            _ => Err(DecodeError::Trailing),
        }
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Packet(..)")
    }
}

fn nodes(route: &[Hop]) -> Vec<Node> {
    let node = |hop: &Hop| Node::new(NodeAddressBytes::from_bytes(hop.address), PublicKey::from(hop.key.0));
    route.iter().map(node).collect()
}

/// The crate wants a delay for the last hop too, and ignores it.
fn nanos(delays: &[Duration]) -> Vec<Delay> {
    let delay = |delay: &Duration| Delay::new_from_nanos(u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX));
    delays.iter().map(delay).chain([Delay::new_from_nanos(0)]).collect()
}

/// A packet or SURB could not be made: the plaintext is too long or a key of the route is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("cannot build a packet: {0}")]
pub struct BuildError(&'static str);

/// The last hop of a route of 1 to [`ROUTE_HOPS`] hops, with a delay for each hop but the last.
fn last<'a>(route: &'a [Hop], delays: &[Duration]) -> Result<&'a Hop, BuildError> {
    if route.len() > ROUTE_HOPS {
        return Err(BuildError("the route is too long"));
    }
    let last = route.last().ok_or(BuildError("the route has no hops"))?;
    if delays.len() + 1 == route.len() { Ok(last) } else { Err(BuildError("a delay for each hop but the last")) }
}

/// Builds a packet of 1 to [`ROUTE_HOPS`] hops (about 0.7 ms for five), with a delay for each hop but the last. `secret` are 32 fresh
/// random bytes. Packets are of one size, however many hops they have.
///
/// # Errors
/// If the plaintext is longer than [`PLAINTEXT`] bytes, or route and delays have other lengths.
pub fn build(secret: [u8; KEY], route: &[Hop], delays: &[Duration], plaintext: &[u8]) -> Result<Packet, BuildError> {
    if plaintext.len() > PLAINTEXT {
        return Err(BuildError("the plaintext is too long"));
    }
    let last = last(route, delays)?;
    let destination = Destination::new(DestinationAddressBytes::from_bytes(last.address), [0; SURB_ID]);
    let packet = SphinxPacketBuilder::new()
        .with_payload_size(SPHINX_PAYLOAD)
        .with_version(SINGLE_SEED_SURB_VERSION)
        .with_initial_secret(&StaticSecret::from(secret))
        .build_packet(plaintext, &nodes(route), &destination, &nanos(delays))
        .map_err(|_| BuildError("the route's keys do not make a header"))?;
    Packet::from_bytes(&packet.to_bytes()).map_err(|_| BuildError("the crate's packet has another size"))
}

/// A reply block for one use, as it travels inside a command.
#[derive(Clone, PartialEq, Eq)]
pub struct Surb(Box<[u8]>);

impl fmt::Debug for Surb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Surb(..)")
    }
}

/// What the maker of a SURB keeps to read the reply. Wiped on drop by the crate.
#[derive(Debug)]
pub struct SurbRecovery(Layers);

/// What a reply's payload is under.
#[derive(Debug)]
enum Layers {
    Keys(SurbReplyRecovery),
    /// Nothing: see [`model`].
    #[cfg(feature = "model")]
    None,
}

impl Surb {
    /// Makes a SURB (about 0.6 ms for five hops) whose last hop is its maker. `secret` are 32 fresh random bytes.
    ///
    /// # Errors
    /// If the route has no hop or more than [`ROUTE_HOPS`], or the delays are not one for each hop but the last.
    pub fn new(
        secret: [u8; KEY],
        id: SurbId,
        route: &[Hop],
        delays: &[Duration],
    ) -> Result<(Self, SurbRecovery), BuildError> {
        let last = last(route, delays)?;
        let destination = Destination::new(DestinationAddressBytes::from_bytes(last.address), *id.as_bytes());
        let material = SURBMaterial::new(nodes(route), nanos(delays), destination, SINGLE_SEED_SURB_VERSION);
        let (surb, recovery) = CrateSurb::new_recoverable(StaticSecret::from(secret), material)
            .map_err(|_| BuildError("the route's keys do not make a header"))?;
        Ok((Self(surb.to_bytes().into_boxed_slice()), SurbRecovery(Layers::Keys(recovery))))
    }

    /// Checks size and shape: exactly one payload key seed.
    pub fn from_bytes(bytes: &[u8; SURB]) -> DecodeResult<Self> {
        let surb = CrateSurb::from_bytes(bytes).map_err(|_| DecodeError::Invalid("SURB"))?;
        if surb.materials_count() != 1 {
            return Err(DecodeError::Invalid("SURB"));
        }
        Ok(Self(bytes[..].into()))
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Where the reply goes first.
    pub fn first_hop(&self) -> [u8; ADDRESS] {
        let mut reader = Reader::new(&self.0);
        let _header = reader.take(crate::geometry::SPHINX_HEADER);
        reader.array().expect("a SURB has a first hop behind its header")
    }

    /// Turns the SURB and a reply's plaintext into a packet (about 15 us).
    ///
    /// # Errors
    /// If the plaintext is longer than [`PLAINTEXT`] bytes.
    pub fn reply(self, plaintext: &[u8]) -> Result<Packet, BuildError> {
        if plaintext.len() > PLAINTEXT {
            return Err(BuildError("the plaintext is too long"));
        }
        let surb = CrateSurb::from_bytes(&self.0).map_err(|_| BuildError("the SURB is malformed"))?;
        let (packet, _) = surb.use_surb(plaintext, SPHINX_PAYLOAD).map_err(|_| BuildError("the SURB is malformed"))?;
        Packet::from_bytes(&packet.to_bytes()).map_err(|_| BuildError("the crate's packet has another size"))
    }
}

impl SurbRecovery {
    /// Reads a reply's payload as it came out of the last unwrap; `None` if a hop has changed a bit of it.
    pub fn open(&self, sealed: &SealedPayload) -> Option<Vec<u8>> {
        match &self.0 {
            Layers::Keys(keys) => keys.recover_plaintext(Payload::from_bytes(&sealed.0).ok()?).ok(),
            #[cfg(feature = "model")]
            Layers::None => sealed.open_forward(),
        }
    }
}

/// A payload at its last hop. A forward packet's is plain now, a reply's is still under the layers of its route.
#[derive(Clone, PartialEq, Eq)]
pub struct SealedPayload(Box<[u8]>);

impl fmt::Debug for SealedPayload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealedPayload(..)")
    }
}

impl SealedPayload {
    /// The plaintext of a forward packet; `None` if a hop has changed a bit of it.
    pub fn open_forward(&self) -> Option<Vec<u8>> {
        Payload::from_bytes(&self.0).ok()?.recover_plaintext().ok()
    }
}

/// Names a packet to the node that unwrapped it: equal for a repeated packet, derived from the shared secret.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplayTag(pub [u8; 32]);

impl fmt::Debug for ReplayTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReplayTag(..)")
    }
}

/// A packet after one hop's unwrap, with its MAC checked. Nothing else is checked yet: the node admits or drops it.
#[derive(Clone, Debug)]
pub enum Unwrapped {
    /// To be sent on after a delay.
    Forward {
        /// For the replay check.
        tag: ReplayTag,
        /// Node id or session address of the next hop, as the sender wrote it.
        next: [u8; ADDRESS],
        /// The delay that the sender asks for: anything up to 584 years.
        delay: Duration,
        /// What goes on.
        packet: Packet,
    },
    /// This hop is the last.
    Deliver {
        /// For the replay check.
        tag: ReplayTag,
        /// The SURB's id for a reply; `None` in forward packets.
        surb: Option<SurbId>,
        /// The payload.
        payload: SealedPayload,
    },
}

impl Unwrapped {
    /// The packet's replay tag.
    pub fn tag(&self) -> ReplayTag {
        match self {
            Self::Forward { tag, .. } | Self::Deliver { tag, .. } => *tag,
        }
    }
}

/// Why a packet is dropped without a word to its sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Reject {
    /// The header does not decode.
    #[error("malformed header")]
    Malformed,
    /// The shared secret is that of a low-order point, the same for every key.
    #[error("shared secret of a low-order point")]
    ZeroSecret,
    /// The header's MAC is wrong: another key's packet, or changed on the way.
    #[error("header MAC")]
    Mac,
    /// Not packet version 260.
    #[error("packet version")]
    Version,
}

/// The tag of the all-zero X25519 result, which every low-order point gives with every secret.
static ZERO_SECRET_TAG: LazyLock<[u8; 32]> = LazyLock::new(|| {
    let header = SphinxHeader::from_bytes(&[0; HEADER_SIZE]).expect("any bytes of a header's size decode");
    *header.compute_expanded_shared_secret(&StaticSecret::from([9; 32])).replay_tag()
});

/// Unwraps one layer (about 90 us): the whole public-key work of a hop.
///
/// # Errors
/// Why the packet must be dropped. The sender must not learn it.
pub fn unwrap(secret: &SphinxSecret, packet: &Packet) -> Result<Unwrapped, Reject> {
    let packet = SphinxPacket::from_bytes(packet.as_bytes()).map_err(|_| Reject::Malformed)?;
    let expanded = packet.header.compute_expanded_shared_secret(&secret.0);
    if expanded.replay_tag() == &*ZERO_SECRET_TAG {
        return Err(Reject::ZeroSecret);
    }
    packet.header.ensure_header_integrity(&expanded).map_err(|_| Reject::Mac)?;
    let tag = ReplayTag(*expanded.replay_tag());
    let processed = packet.process_with_expanded_secret(&expanded).map_err(|_| Reject::Malformed)?;
    if processed.version != SINGLE_SEED_SURB_VERSION {
        return Err(Reject::Version);
    }
    match processed.data {
        ProcessedPacketData::ForwardHop { next_hop_packet, next_hop_address, delay } => Ok(Unwrapped::Forward {
            tag,
            next: next_hop_address.to_bytes(),
            delay: delay.to_duration(),
            packet: Packet::from_bytes(&next_hop_packet.to_bytes()).map_err(|_| Reject::Malformed)?,
        }),
        ProcessedPacketData::FinalHop { identifier, payload, .. } => Ok(Unwrapped::Deliver {
            tag,
            surb: SurbId::new(identifier),
            payload: SealedPayload(payload.into_bytes().into_boxed_slice()),
        }),
    }
}

/// A command's plaintext: SURB first, then the command of one size.
pub(crate) fn join(surb: &Surb, command: &[u8]) -> Vec<u8> {
    let mut writer = Writer::with_capacity(PLAINTEXT);
    writer.put(surb.as_bytes()).put(command).pad_to(PLAINTEXT);
    writer.finish()
}
