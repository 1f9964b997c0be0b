//! What a profile costs: bytes a day, and how long a text usually takes. Reckoned from the document's clocks and delays, so that a
//! person knows before the choice. Pure.

use crate::transport::Transport;
use std::time::Duration;
use veilpost_link::wire::{ACK_BYTES, FRAME_BYTES};
use veilpost_packet::{
    profile::Profile,
    random::{EngineRng, exponential, seeded},
};
use veilpost_pki::{Params, Rates};

const DAY: f64 = 86_400.0;
/// Texts that are drawn to find the usual delay: the median is then good to a hundredth.
const TEXTS: usize = 10_001;
/// Mixing delays of a forward path, and of a reply's: four each; a mailbox adds one before its reply.
const PATH_HOPS: u32 = 4;
/// Every Put slot of a client makes a box that it reads itself, or a contact does, in one Get tick; one box in eight takes another
/// one, for its audit. Repeats go in ticks of the send clock.
const GETS_PER_BOX: f64 = 1.0 + 1.0 / 8.0;

// Solved from the bytes a second that `bench-tor` prints for both directions of both transports, and the clocks' frames a second; to
// which come 52 bytes of headers of TCP and IPv4 for each 1,448.
/// A frame in cells of Tor, and what the other side sends for it.
const TOR_FRAME_BYTES: f64 = 4_810.0;
const TOR_ACK_BYTES: f64 = 150.0;
/// What a new circuit to an onion service takes, and the handshake over it with both hellos.
const TOR_CIRCUIT_UP: f64 = 13_400.0;
const TOR_CIRCUIT_DOWN: f64 = 10_400.0;
/// As `bench-tor` times it on a private Tor network of one computer.
const TOR_CIRCUIT: Duration = Duration::from_millis(250);
/// One way over a circuit that is there, timed likewise.
const TOR_WAY: Duration = Duration::from_millis(8);

/// What a profile costs in a network.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cost {
    /// Bytes a day that the client sends, all headers of QUIC, UDP and IPv4 included, if it is online all day on one connection.
    pub up: u64,
    /// The same of what it receives.
    pub down: u64,
    /// How long a text to somebody of the same profile takes: half of them are there sooner.
    pub median: Duration,
    /// 95 % are there sooner.
    pub p95: Duration,
    /// 99 % are there sooner.
    pub p99: Duration,
}

/// What a profile costs under these parameters, through the mixes.
pub fn of(params: &Params, profile: Profile) -> Cost {
    over(params, profile, Transport::Mixnet)
}

/// The same by any transport, between two that use it.
pub fn over(params: &Params, profile: Profile, transport: Transport) -> Cost {
    let rates = params.rates(profile);
    let (up, down) = traffic(params, &rates, transport);
    let texts = texts(params, &rates, transport);
    let at = |share: usize| texts.get(texts.len() * share / 100).copied().unwrap_or_default();
    Cost { up, down, median: at(50), p95: at(95), p99: at(99) }
}

/// Bytes a day, up and down.
fn traffic(params: &Params, rates: &Rates, transport: Transport) -> (u64, u64) {
    let young = params.catch_up.as_secs_f64().min(DAY);
    let sent = DAY * rates.up();
    let received = young / rates.catch_up_gap.as_secs_f64() + (DAY - young) * rates.down();
    let wants = DAY / rates.loop_gap.as_secs_f64();
    let bytes = |own: f64, others: f64| (own * FRAME_BYTES + others * ACK_BYTES) as u64;
    let over_tor = |own: f64, others: f64| (own * TOR_FRAME_BYTES + others * TOR_ACK_BYTES) as u64;
    let circuits = |each: f64| (sent * each) as u64;
    match transport {
        Transport::Mixnet => (bytes(sent, received), bytes(received, sent)),
        Transport::MixnetOverTor => (over_tor(sent, received), over_tor(received, sent)),
        // The downlink of the entry is the same; what it brings beside digests is decoys alone. A Want goes up beside each Loop.
        Transport::Tor => (
            over_tor(sent + wants, received) + circuits(TOR_CIRCUIT_UP),
            over_tor(received + sent, sent + wants) + circuits(TOR_CIRCUIT_DOWN),
        ),
    }
}

/// How long texts take between two clients that are otherwise idle, in ascending order.
fn texts(params: &Params, rates: &Rates, transport: Transport) -> Vec<Duration> {
    // Fixed, so that the same document always says the same.
    let mut rng = seeded([0; 32]);
    let mut all: Vec<Duration> = (0..TEXTS).map(|_| text(params, rates, transport, &mut rng)).collect();
    all.sort_unstable();
    all
}

fn text(params: &Params, rates: &Rates, transport: Transport, rng: &mut EngineRng) -> Duration {
    let mut path = |hops: u32| -> Duration { (0..hops).map(|_| exponential(rng, params.hop_delay)).sum() };
    let hops = path(PATH_HOPS) + path(PATH_HOPS + 1 + PATH_HOPS);
    let put = exponential(rng, rates.put_gap());
    // On another mailbox's disk and back, at the ticks of their links' clocks.
    let second_disk = exponential(rng, params.peer_gap) + exponential(rng, params.peer_gap);
    let published = params.tick.mul_f64(unit(rng));
    let relayed = exponential(rng, rates.downlink_gap);
    let get =
        exponential(rng, queue_wait(1.0 / rates.get_gap.as_secs_f64(), GETS_PER_BOX / rates.put_gap().as_secs_f64()));
    let reply = exponential(rng, queue_wait(rates.down() - digest_frames(params, rates), rates.up()));
    // There, there and back, and the digest: by circuits that are there, or new ones.
    let (hops, reply) = match transport {
        Transport::Mixnet => (hops, reply),
        Transport::MixnetOverTor => (hops + TOR_WAY * 4, reply),
        Transport::Tor => (TOR_CIRCUIT * 2 + TOR_WAY + exponential(rng, params.hop_delay), Duration::ZERO),
    };
    put + hops + second_disk + published + relayed + get + params.reply_floor + reply
}

/// A draw from 0 to 1.
fn unit(rng: &mut EngineRng) -> f64 {
    use rand::Rng as _;
    rng.random_range(0.0..1.0)
}

/// Mean time in a queue whose clock strikes so often and that so many come to: M/M/1 (Kleinrock 1975, section 3.2). A queue that gets
/// more than it can send has no mean; it is taken to be as slow as replies may be.
fn queue_wait(served: f64, come: f64) -> Duration {
    let spare = served - come;
    let longest = crate::core::REPLY_DEADLINE;
    if spare <= 0.0 { longest } else { Duration::from_secs_f64(1.0 / spare).min(longest) }
}

/// Frames a second that digests take: those of one tick come together and fill one frame, if the downlink's clock strikes in it.
fn digest_frames(params: &Params, rates: &Rates) -> f64 {
    let tick = params.tick.as_secs_f64();
    (1.0 - (-tick * rates.down()).exp()) / tick
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_client_of_the_standard_profile_makes_about_a_gigabyte_a_day_and_a_metered_one_well_under_half() {
        let [standard, metered] = Profile::ALL.map(|profile| of(&Params::standard(), profile));
        let all = |cost: &Cost| cost.up + cost.down;
        assert!((950_000_000..1_000_000_000).contains(&all(&standard)), "{standard:?}");
        assert!((330_000_000..400_000_000).contains(&all(&metered)), "{metered:?}");
    }

    #[test]
    fn the_usual_delay_is_reckoned_alike_each_time_and_metered_texts_take_longer() {
        let [standard, metered] = Profile::ALL.map(|profile| of(&Params::standard(), profile));
        assert_eq!(standard, of(&Params::standard(), Profile::Standard));
        assert!(
            (20..30).contains(&standard.median.as_secs()) && (40..60).contains(&standard.p95.as_secs()),
            "{standard:?}"
        );
        assert!(metered.median > standard.median * 2 && metered.p95 > standard.p95 * 2, "{metered:?}");
    }

    #[test]
    fn a_downlink_that_is_full_of_digests_is_as_slow_as_a_reply_may_be() {
        assert_eq!(queue_wait(1.0, 1.0), crate::core::REPLY_DEADLINE);
        assert_eq!(queue_wait(1.0, 0.5), Duration::from_secs(2));
    }
}
