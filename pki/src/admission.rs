//! The rules of admission for packets at every node, pure. A packet that breaks one is dropped and counted by reason; the sender never learns it.
//!
//! Where a packet may come from and go to:
//! ```text
//! client -> entry -> layer 1 -> layer 2 -> layer 3 -> mailbox
//!                    mailbox -> layer 1 -> layer 2 -> layer 3 -> entry -> session
//! ```
//! A node's own loops begin behind it on the first line, and end at it on the second, or at a mailbox on the first.

use crate::{document::Place, params::Params};
use std::time::Duration;
use veilpost_packet::{
    frame::{Frame, FrameKind},
    geometry::MIX_LAYERS,
    ids::{NodeId, SessionAddress},
    peer::{PeerBody, PeerItem},
    profile::Profile,
    sphinx::{Packet, Reject},
    time::{Epoch, Timestamp},
};

/// Where a packet came from, as its link proved it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A node of the document.
    Node {
        /// Which.
        id: NodeId,
        /// What it does in the document.
        place: Place,
    },
    /// A client of this entry.
    Session(SessionAddress),
}

/// Why a packet or frame was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum DropReason {
    /// More than the connection's token bucket lets through.
    Rate,
    /// A frame of a kind that this peer may not send.
    Kind,
    /// For an epoch that is not live here: its key is not there yet, or not any more.
    Epoch,
    /// The header does not decode.
    Malformed,
    /// A low-order point.
    ZeroSecret,
    /// The header's MAC is wrong.
    Mac,
    /// Not packet version 260.
    Version,
    /// The delay is above 30 means.
    Delay,
    /// The delay ends after the key's life.
    KeyLife,
    /// Packets from there do not come here.
    From,
    /// Packets from there do not go there.
    To,
    /// No such session, or it ended while the packet waited.
    Session,
    /// The route ends here, and it is none of this node's own loops.
    LastHop,
    /// Seen before.
    Replay,
    /// The replay table is full: the node is closed until the next epoch.
    ReplayFull,
    /// The delay queue is full.
    QueueFull,
    /// The workers' queue is full.
    Overload,
    /// The link to the next node is down or slow, and its queue full.
    LinkFull,
    /// The session's reply queue was full, so its oldest reply was dropped.
    Downlink,
    /// The tag log failed, or the node is stopping.
    Stopped,
}

impl DropReason {
    /// Every reason, for metrics.
    pub const ALL: [DropReason; 20] = [
        Self::Rate,
        Self::Kind,
        Self::Epoch,
        Self::Malformed,
        Self::ZeroSecret,
        Self::Mac,
        Self::Version,
        Self::Delay,
        Self::KeyLife,
        Self::From,
        Self::To,
        Self::Session,
        Self::LastHop,
        Self::Replay,
        Self::ReplayFull,
        Self::QueueFull,
        Self::Overload,
        Self::LinkFull,
        Self::Downlink,
        Self::Stopped,
    ];

    /// The reason's name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::Kind => "kind",
            Self::Epoch => "epoch",
            Self::Malformed => "malformed",
            Self::ZeroSecret => "zero_secret",
            Self::Mac => "mac",
            Self::Version => "version",
            Self::Delay => "delay",
            Self::KeyLife => "key_life",
            Self::From => "from",
            Self::To => "to",
            Self::Session => "session",
            Self::LastHop => "last_hop",
            Self::Replay => "replay",
            Self::ReplayFull => "replay_full",
            Self::QueueFull => "queue_full",
            Self::Overload => "overload",
            Self::LinkFull => "link_full",
            Self::Downlink => "downlink",
            Self::Stopped => "stopped",
        }
    }
}

impl From<Reject> for DropReason {
    fn from(reject: Reject) -> Self {
        match reject {
            Reject::ZeroSecret => Self::ZeroSecret,
            Reject::Mac => Self::Mac,
            Reject::Version => Self::Version,
            _ => Self::Malformed,
        }
    }
}

/// Whether a node at `ours` takes packets from a node at `from` at all. Decided once, when a link is admitted, and again
/// for every packet.
pub fn may_come(ours: Place, from: Place) -> bool {
    match (ours, from) {
        (Place::Mix(1), Place::Entry | Place::Mailbox) => true,
        (Place::Mix(layer), Place::Mix(before)) => before.checked_add(1) == Some(layer),
        (Place::Entry | Place::Mailbox, Place::Mix(last)) => usize::from(last) == MIX_LAYERS,
        _ => false,
    }
}

/// Whether a node at `ours` hands packets to a node at `to`. The links that a node dials, and the legal next hops.
pub fn may_go(ours: Place, to: Place) -> bool {
    match (ours, to) {
        (Place::Entry | Place::Mailbox, Place::Mix(1)) => true,
        (Place::Mix(last), Place::Entry | Place::Mailbox) => usize::from(last) == MIX_LAYERS,
        (Place::Mix(layer), Place::Mix(next)) => layer.checked_add(1) == Some(next),
        _ => false,
    }
}

/// Whether the answer to a node's own loop comes to it from a node at `from`: as answers to clients come through it, and to a mailbox as
/// commands do. From an entry, or a client, none comes.
pub fn may_return(ours: Place, from: Place) -> bool {
    may_come(ours, from) && from != Place::Entry
}

/// Whether two nodes tell each other what they hold: mailboxes do, over links of their own.
pub fn may_talk(ours: Place, other: Place) -> bool {
    (ours, other) == (Place::Mailbox, Place::Mailbox)
}

/// "Delay at most 30 means and within the key's life."
///
/// # Errors
/// [`DropReason::Delay`], [`DropReason::KeyLife`].
pub fn delay(now: Timestamp, delay: Duration, params: &Params, key_until: Timestamp) -> Result<Timestamp, DropReason> {
    if delay > params.max_delay() {
        return Err(DropReason::Delay);
    }
    let due = now + delay;
    if due > key_until { Err(DropReason::KeyLife) } else { Ok(due) }
}

/// What a connection may send and how fast: a token bucket per connection, kept by whoever reads the link.
#[derive(Debug, Clone)]
pub struct Gate {
    client: Option<Profile>,
    per_second: f64,
    depth: f64,
    tokens: f64,
    filled: Timestamp,
}

/// What a frame that passed the gate is.
#[derive(Debug, Clone)]
pub enum Passed {
    /// A packet to unwrap with the key of this epoch.
    Packet(Epoch, Packet),
    /// A request for digests, of a client.
    Want(veilpost_packet::frame::Want),
}

/// Depth of every bucket at least: an honest Poisson clock at 1/1.25 of the rate overruns it once in 10^12 frames.
pub const BUCKET_DEPTH: f64 = 64.0;
/// A connection's bucket fills this much faster than what an honest client sends.
pub const BUCKET_SLACK: f64 = 1.25;

impl Gate {
    /// For a client: 1.25 times what the document gives its profile.
    pub fn client(now: Timestamp, params: &Params, profile: Profile) -> Self {
        Self::new(now, params.rates(profile).up() * BUCKET_SLACK, BUCKET_DEPTH, Some(profile))
    }

    /// For a link from a node: what this node is willing to carry in all, and a second of it at once.
    pub fn node(now: Timestamp, capacity: u32) -> Self {
        let rate = f64::from(capacity) * BUCKET_SLACK;
        Self::new(now, rate, rate.max(BUCKET_DEPTH), None)
    }

    /// For a link from one mailbox to another: 1.25 times the document's rate.
    pub fn peer(now: Timestamp, params: &Params) -> Self {
        let rate = BUCKET_SLACK / params.peer_gap.as_secs_f64();
        Self::new(now, rate, rate.max(BUCKET_DEPTH), None)
    }

    fn new(now: Timestamp, per_second: f64, depth: f64, client: Option<Profile>) -> Self {
        Self { client, per_second, depth, tokens: depth, filled: now }
    }

    /// Another document is in force: a client's bucket fills at its rate from `now` on. A node's rate is its peer's own.
    pub fn follow(&mut self, now: Timestamp, params: &Params) {
        if let Some(profile) = self.client {
            self.fill(now);
            self.per_second = params.rates(profile).up() * BUCKET_SLACK;
        }
    }

    /// Lets a frame through or says why not. `live`: the epochs whose keys this node has, ascending; of two that are 16
    /// apart the later one counts.
    ///
    /// # Errors
    /// [`DropReason::Rate`], [`DropReason::Kind`], [`DropReason::Epoch`], [`DropReason::Malformed`].
    pub fn pass(&mut self, now: Timestamp, frame: &Frame, live: &[Epoch]) -> Result<Passed, DropReason> {
        self.take_token(now)?;
        match frame.kind() {
            FrameKind::Packet => {
                let named = live.iter().rev().find(|epoch| frame.flags().is_for(**epoch)).ok_or(DropReason::Epoch)?;
                let packet = Packet::from_bytes(frame.body()).map_err(|_| DropReason::Malformed)?;
                Ok(Passed::Packet(*named, packet))
            }
            FrameKind::Want if self.client.is_some() => {
                veilpost_packet::frame::Want::decode(frame.body()).map(Passed::Want).map_err(|_| DropReason::Malformed)
            }
            _ => Err(DropReason::Kind),
        }
    }

    /// What another mailbox tells in a frame, if it may.
    ///
    /// # Errors
    /// [`DropReason::Rate`], [`DropReason::Kind`], [`DropReason::Malformed`].
    pub fn pass_peer(&mut self, now: Timestamp, frame: &Frame) -> Result<Vec<PeerItem>, DropReason> {
        self.take_token(now)?;
        if frame.kind() != FrameKind::Peer {
            return Err(DropReason::Kind);
        }
        PeerBody::decode(frame.body()).map_err(|_| DropReason::Malformed)
    }

    fn fill(&mut self, now: Timestamp) {
        let elapsed = now.since(self.filled).as_secs_f64();
        self.filled = self.filled.max(now);
        self.tokens = (self.tokens + elapsed * self.per_second).min(self.depth);
    }

    fn take_token(&mut self, now: Timestamp) -> Result<(), DropReason> {
        self.fill(now);
        if self.tokens < 1.0 {
            return Err(DropReason::Rate);
        }
        self.tokens -= 1.0;
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use veilpost_packet::{
        frame::{Flags, Want},
        geometry::PACKET,
        time::Tick,
    };

    const NOW: Timestamp = Timestamp::from_secs(1_000_000);
    const LIVE: [Epoch; 2] = [Epoch(4), Epoch(7)];

    fn packet_frame(epoch: u64) -> Frame {
        Frame::new(FrameKind::Packet, Flags::for_epoch(Epoch(epoch)), &[1; PACKET]).unwrap()
    }

    #[test]
    fn packets_come_and_go_along_the_layers_only() {
        let places = [Place::Mix(1), Place::Mix(2), Place::Mix(3), Place::Entry, Place::Mailbox];
        let legal = [
            (Place::Entry, Place::Mix(1)),
            (Place::Mix(1), Place::Mix(2)),
            (Place::Mix(2), Place::Mix(3)),
            (Place::Mix(3), Place::Entry),
            (Place::Mix(3), Place::Mailbox),
            (Place::Mailbox, Place::Mix(1)),
        ];
        for from in places {
            for to in places {
                let expected = legal.contains(&(from, to));
                assert_eq!(may_go(from, to), expected, "{from:?} to {to:?}");
                assert_eq!(may_come(to, from), expected, "{to:?} from {from:?}");
                let returns = expected && from != Place::Entry;
                assert_eq!(may_return(to, from), returns, "back to {to:?} from {from:?}");
            }
        }
    }

    #[test]
    fn a_delay_of_exactly_thirty_means_is_the_longest() {
        let params = Params::standard();
        let longest = params.hop_delay * 30;
        assert_eq!(delay(NOW, longest, &params, Timestamp::FAR_FUTURE), Ok(NOW + longest));
        let more = longest + Duration::from_nanos(1);
        assert_eq!(delay(NOW, more, &params, Timestamp::FAR_FUTURE), Err(DropReason::Delay));
        assert_eq!(delay(NOW, Duration::MAX, &params, Timestamp::FAR_FUTURE), Err(DropReason::Delay));
    }

    #[test]
    fn a_delay_must_end_within_the_keys_life() {
        let params = Params::standard();
        let second = Duration::from_secs(1);
        assert_eq!(delay(NOW, second, &params, NOW + second), Ok(NOW + second));
        let late = second + Duration::from_nanos(1);
        assert_eq!(delay(NOW, late, &params, NOW + second), Err(DropReason::KeyLife));
    }

    #[test]
    fn a_clients_bucket_holds_64_frames_and_fills_at_a_quarter_above_its_rate() {
        let params = Params::standard();
        let mut gate = Gate::client(NOW, &params, Profile::Standard);
        let burst = (0..100).filter(|_| gate.pass(NOW, &packet_frame(4), &LIVE).is_ok()).count();
        assert_eq!(burst, 64);
        assert_eq!(gate.pass(NOW, &packet_frame(4), &LIVE).unwrap_err(), DropReason::Rate);
        let later = NOW + Duration::from_secs(40);
        let refilled = (0..100).filter(|_| gate.pass(later, &packet_frame(4), &LIVE).is_ok()).count();
        assert_eq!(refilled, (40.0 * params.rates(Profile::Standard).up() * 1.25) as usize);
    }

    #[test]
    fn an_honest_clients_clock_passes_for_a_day() {
        let params = Params::standard();
        let mut rng = veilpost_packet::random::seeded([5; 32]);
        let mut gate = Gate::client(NOW, &params, Profile::Standard);
        let (mut now, gap) = (NOW, Duration::from_secs_f64(1.0 / params.rates(Profile::Standard).up()));
        while now < NOW + Duration::from_secs(86_400) {
            now = now + veilpost_packet::random::exponential(&mut rng, gap);
            assert!(gate.take_token(now).is_ok());
        }
    }

    #[test]
    fn a_node_links_bucket_has_a_cap_too() {
        let mut gate = Gate::node(NOW, 100);
        assert_eq!((0..1_000).filter(|_| gate.pass(NOW, &packet_frame(4), &LIVE).is_ok()).count(), 125);
    }

    #[test]
    fn a_packet_passes_for_a_live_epoch_alone() {
        let mut gate = Gate::node(NOW, 100);
        for (epoch, live) in [(4, Some(4)), (7, Some(7)), (20, Some(4)), (5, None), (6, None)] {
            let passed = match gate.pass(NOW, &packet_frame(epoch), &LIVE) {
                Ok(Passed::Packet(named, _)) => Ok(named),
                other => Err(other.unwrap_err()),
            };
            assert_eq!(passed, live.map(Epoch).ok_or(DropReason::Epoch), "{epoch}");
        }
        let apart = [Epoch(4), Epoch(20)];
        assert!(matches!(gate.pass(NOW, &packet_frame(4), &apart), Ok(Passed::Packet(Epoch(20), _))));
        assert_eq!(gate.pass(NOW, &packet_frame(4), &[]).unwrap_err(), DropReason::Epoch);
    }

    #[test]
    fn a_clients_bucket_follows_the_document_in_force() {
        let (mut gate, slow) = (Gate::client(NOW, &Params::hurried(8), Profile::Standard), Params::standard());
        while gate.pass(NOW, &packet_frame(4), &LIVE).is_ok() {}
        gate.follow(NOW, &slow);
        let later = NOW + Duration::from_secs(40);
        let refilled = (0..100).filter(|_| gate.pass(later, &packet_frame(4), &LIVE).is_ok()).count();
        assert_eq!(refilled, (40.0 * slow.rates(Profile::Standard).up() * 1.25) as usize);
    }

    #[test]
    fn a_client_sends_packets_and_wants_and_a_node_packets_alone() {
        let want = Want::digests(NodeId([1; 32]), Tick(3), 1).to_frame();
        let mut client = Gate::client(NOW, &Params::standard(), Profile::Standard);
        assert!(matches!(client.pass(NOW, &want, &LIVE), Ok(Passed::Want(_))));
        let mut node = Gate::node(NOW, 100);
        assert_eq!(node.pass(NOW, &want, &LIVE).unwrap_err(), DropReason::Kind);
        for kind in [FrameKind::Dummy, FrameKind::Hello, FrameKind::Document, FrameKind::Digest] {
            let frame = Frame::new(kind, Flags::default(), &[]).unwrap();
            assert_eq!(client.pass(NOW, &frame, &LIVE).unwrap_err(), DropReason::Kind, "{kind:?}");
            assert_eq!(node.pass(NOW, &frame, &LIVE).unwrap_err(), DropReason::Kind, "{kind:?}");
        }
    }
}
