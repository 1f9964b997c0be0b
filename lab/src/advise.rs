//! Parameters for a network of a given size: the fastest clocks that the bandwidth allows, the longest delays at mixes that the latency
//! allows, and as many mixes as the traffic keeps mixing. What they cost is reckoned by the code that tells it to clients
//! (`veilpost_client::cost`), what they buy is measured with the mixes that ship ([`crate::measure::Entropy`]).

use crate::{
    impossible::{Impossible, between, positive},
    measure::{Entropy, Measure as _, Routes, Run},
};
use serde::Serialize;
use std::time::Duration;
use veilpost_client::cost;
use veilpost_packet::{geometry::FRAME_BODY, profile::Profile};
use veilpost_pki::{Params, Rates};

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Wish {
    /// Clients that are online at once.
    pub users: usize,
    /// Median time of a text from one person to another, in seconds.
    pub latency: f64,
    /// Bytes a day of a client, both ways.
    pub bandwidth: f64,
}

/// A network, what it costs and what it buys.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Advice {
    /// Mean gaps of a client's clocks and its downlink's, and the other times that the document holds, in milliseconds.
    pub parameters: Vec<(&'static str, u64)>,
    /// Mixes of each of the three layers.
    pub width: usize,
    /// Megabytes a day of a client, both ways.
    pub megabytes_a_day: f64,
    /// Seconds that a text takes: half are there sooner, 95 %, 99 %.
    pub text_seconds: [f64; 3],
    /// Packets a second of all clients together, one way.
    pub packets_a_second: f64,
    /// Packets a second at each mix, both ways.
    pub packets_a_mix: f64,
    /// Among how many packets one hides from who watches all links, in bits, with its interval.
    pub bits: (f64, Option<(f64, f64)>),
    /// The same if one mix in ten is the watcher's.
    pub bits_with_a_tenth_corrupt: (f64, Option<(f64, f64)>),
    /// Share of routes that consist of corrupt mixes alone, if one mix in ten is.
    pub routes_with_a_tenth_corrupt: f64,
}

/// Clocks are between so many times faster and slower than the defaults.
const SCALE: (f64, f64) = (1.0 / 64.0, 64.0);
/// Mean delays at a hop in seconds.
const DELAY: (f64, f64) = (0.005, 60.0);
/// Steps of bisection: far finer than a millisecond.
const STEPS: usize = 60;
/// Packets that a mix holds on average at least, or it hardly mixes (LAB 2.5).
const POOL: f64 = 10.0;
/// Packets a second of a mix at most: a quarter of what two cores forward (`bench-mix`).
const MIX_RATE: f64 = 4_000.0;
/// Mixes of a layer at least and at most.
const WIDTH: (usize, usize) = (2, 100);
/// A downlink is so much faster than what comes over it (DESIGN 6).
const SPARE: f64 = 1.25;
/// Digests of this many mailboxes, and bytes of one without tags and of a tag.
const MAILBOXES: f64 = 3.0;
const DIGEST: (f64, f64) = (178.0, 6.0);
/// Puts a second that links between mailboxes carry at their default clock at a third of their load (`bench-replication`).
const PUTS_AT_DEFAULT: f64 = 20.0;
/// Packets a second that are simulated at most; a network with more hides at least as well.
const SIMULATED: f64 = 20_000.0;
const TARGETS: usize = 150;

/// Finds a network for a wish.
///
/// # Errors
/// A wish that no network fulfils, with the nearest that one could.
pub fn advise(wish: &Wish, run: &Run) -> Result<Advice, Impossible> {
    between("users", wish.users, 10, 10_000_000)?;
    positive("latency", wish.latency)?;
    positive("bandwidth", wish.bandwidth)?;
    let clocks = fastest(wish)?;
    let params = slowest(wish, &clocks)?;
    measured(wish, &params, run)
}

/// A client's bytes a day, both ways.
fn bytes(params: &Params) -> f64 {
    let cost = cost::of(params, Profile::Standard);
    (cost.up + cost.down) as f64
}

fn median(params: &Params) -> f64 {
    cost::of(params, Profile::Standard).median.as_secs_f64()
}

/// The standard parameters with clocks so many times slower, for so many users.
fn scaled(users: usize, slower: f64) -> Params {
    let standard = Params::standard();
    let by = |gap: Duration| gap.mul_f64(slower);
    let (send_gap, get_gap, loop_gap) = (by(standard.send_gap), by(standard.get_gap), by(standard.loop_gap));
    // Ticks follow the clocks, as far as documents allow them; half a second is the shortest.
    let tick = by(standard.tick).clamp(Duration::from_millis(500), standard.tick);
    let puts = users as f64 / (send_gap.as_secs_f64() * f64::from(standard.put_slot));
    let peer_gap =
        standard.peer_gap.mul_f64((PUTS_AT_DEFAULT / puts).min(slower).min(1.0)).max(Duration::from_millis(1));
    // Two waits for the clock of a link and two flushes lie within T0 as they do by default.
    let reply_floor = standard.reply_floor.mul_f64(peer_gap.as_secs_f64() / standard.peer_gap.as_secs_f64());
    let reply_floor = reply_floor.max(Duration::from_millis(150));
    let mut params = Params { send_gap, get_gap, loop_gap, tick, peer_gap, reply_floor, ..standard };
    let digests = (MAILBOXES * DIGEST.0 + DIGEST.1 * puts * tick.as_secs_f64()) / FRAME_BODY as f64;
    let rates: Rates = params.rates(Profile::Standard);
    params.downlink_gap = Duration::from_secs_f64(1.0 / (SPARE * (rates.up() + digests.ceil() / tick.as_secs_f64())));
    params.catch_up_gap = params.catch_up_gap.min(params.downlink_gap);
    params
}

/// The fastest clocks that the bandwidth allows.
fn fastest(wish: &Wish) -> Result<Params, Impossible> {
    let allowed = |slower: f64| bytes(&scaled(wish.users, slower)) <= wish.bandwidth;
    if !allowed(SCALE.1) {
        let least = bytes(&scaled(wish.users, SCALE.1)) / 1e6;
        return Err(Impossible(format!(
            "{} users need {least:.0} MB a day at least, for the digests that everyone downloads",
            wish.users
        )));
    }
    let slower = bisect(SCALE, |slower| !allowed(slower));
    Ok(scaled(wish.users, slower))
}

/// The longest delays that the latency allows.
fn slowest(wish: &Wish, clocks: &Params) -> Result<Params, Impossible> {
    let delayed = |delay: f64| Params { hop_delay: Duration::from_secs_f64(delay), ..clocks.clone() };
    let least = median(&delayed(DELAY.0));
    if least > wish.latency {
        return Err(Impossible(format!(
            "with {:.0} MB a day a text takes {least:.1} s in the median without any mixing; allow more time or more bandwidth",
            wish.bandwidth / 1e6
        )));
    }
    Ok(delayed(bisect(DELAY, |delay| median(&delayed(delay)) <= wish.latency)))
}

/// The end of the part of a range, from its lower end on, in which something holds; its geometric middle is halved again and again.
fn bisect((mut low, mut high): (f64, f64), holds: impl Fn(f64) -> bool) -> f64 {
    if holds(high) {
        return high;
    }
    for _ in 0..STEPS {
        let middle = (low * high).sqrt();
        if holds(middle) { low = middle } else { high = middle }
    }
    // The upper end is the first at which it does not hold: what is allowed, where it is a bandwidth that has to be kept.
    if holds(low) { low } else { high }
}

fn measured(wish: &Wish, params: &Params, run: &Run) -> Result<Advice, Impossible> {
    let rates = params.rates(Profile::Standard);
    let rate = wish.users as f64 * rates.up();
    let delay = params.hop_delay.as_secs_f64();
    // Both ways go through all layers.
    let both = 2.0 * rate;
    let (needed, mixing) = ((both / MIX_RATE).ceil() as usize, (both * delay / POOL) as usize);
    let width = mixing.max(needed).clamp(WIDTH.0, WIDTH.1.max(needed));
    let entropy = |corrupt: f64| {
        let measure = Entropy {
            rate: rate.min(SIMULATED),
            layers: 3,
            width: width.min((rate.min(SIMULATED) * delay / POOL) as usize).max(WIDTH.0),
            delay_per_hop: delay,
            link_latency: 0.02,
            corrupt,
            targets: TARGETS,
            ..Entropy::default()
        };
        measure.check()?;
        let figures = measure.run(run)?;
        let bits = figures.iter().find(|figure| figure.name == "mean_bits");
        let bits = bits.ok_or_else(|| Impossible("no packet came out".into()))?;
        Ok::<_, Impossible>((bits.value, bits.interval))
    };
    let corrupt = (width * 3).div_ceil(10);
    let routes = Routes { nodes: width * 3, corrupt, layers: 3, ..Routes::default() };
    routes.check()?;
    let share = routes.run(run)?.first().map_or(f64::NAN, |figure| figure.value);
    let cost = cost::of(params, Profile::Standard);
    let times = [
        ("send_gap", params.send_gap),
        ("get_gap", params.get_gap),
        ("loop_gap", params.loop_gap),
        ("downlink_gap", params.downlink_gap),
        ("hop_delay", params.hop_delay),
        ("tick", params.tick),
        ("peer_gap", params.peer_gap),
        ("reply_floor", params.reply_floor),
    ];
    Ok(Advice {
        parameters: times.map(|(name, time)| (name, time.as_secs_f64().mul_add(1_000.0, 0.5) as u64)).to_vec(),
        width,
        megabytes_a_day: bytes(params) / 1e6,
        text_seconds: [cost.median, cost.p95, cost.p99].map(|time| time.as_secs_f64()),
        packets_a_second: rate,
        packets_a_mix: both / width as f64,
        bits: entropy(0.0)?,
        bits_with_a_tenth_corrupt: entropy(0.1)?,
        routes_with_a_tenth_corrupt: share,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: Run = Run { seed: 1, threads: 1 };
    const WISH: Wish = Wish { users: 500, latency: 30.0, bandwidth: 1e9 };

    #[test]
    fn what_is_advised_keeps_to_the_wish_and_uses_what_it_allows() {
        let advice = advise(&WISH, &RUN).expect("the defaults do it");
        assert!((970.0..=1_000.5).contains(&advice.megabytes_a_day), "{advice:?}");
        assert!((29.0..=30.1).contains(&advice.text_seconds[0]), "{advice:?}");
        assert!(advice.bits.0 > advice.bits_with_a_tenth_corrupt.0 - 0.3 && advice.bits.0 > 6.0, "{advice:?}");
    }

    #[test]
    fn more_bandwidth_buys_more_and_so_do_more_users() {
        let bits = |wish: &Wish| advise(wish, &RUN).expect("possible").bits.0;
        let base = bits(&WISH);
        assert!(bits(&Wish { bandwidth: 2e9, ..WISH }) > base);
        assert!(bits(&Wish { users: 2_000, ..WISH }) > base);
    }

    #[test]
    fn what_no_network_can_do_is_said_with_what_would_help() {
        let error = |wish: &Wish| advise(wish, &RUN).expect_err("impossible").to_string();
        assert!(error(&Wish { latency: 2.0, bandwidth: 3e8, ..WISH }).contains("allow more time or more bandwidth"));
        assert!(error(&Wish { bandwidth: 1e6, ..WISH }).contains("MB a day at least"));
        assert!(error(&Wish { users: 1, ..WISH }).contains("users"));
        assert!(error(&Wish { latency: f64::NAN, ..WISH }).contains("latency"));
    }
}
