//! Which flow that leaves the network is the one that came in? Danezis, "The Traffic Analysis of Continuous-Time Mixes", PET 2004,
//! equations 23 to 35: what goes in, folded with the known delay, is how likely packets are to come out at a time. The statistical
//! classifier of Oldenburg et al., "MixMatch", PoPETs 2024(2), is of this kind.

use crate::flow::view::{End, Observer, Sight, What};
use std::collections::BTreeMap;
use veilpost_packet::time::Timestamp;

/// Share of packets that the adversary takes to come out at any time, whatever went in, so that none is impossible.
const NOISE: f64 = 0.01;

/// What comes and goes at the ends of the network.
#[derive(Clone, Debug)]
pub struct Lines {
    from: Timestamp,
    most: usize,
    sent: BTreeMap<u32, Vec<f64>>,
    received: BTreeMap<u32, Vec<f64>>,
}

impl Lines {
    /// Writes down times since `from`, of each receiver so many at most.
    pub fn new(from: Timestamp, most: usize) -> Self {
        Self { from, most, sent: BTreeMap::new(), received: BTreeMap::new() }
    }

    /// When a sender sent, in seconds, ascending.
    pub fn sent(&self, sender: u32) -> &[f64] {
        self.sent.get(&sender).map_or(&[], |times| times)
    }

    /// When packets for a receiver left the last mix.
    pub fn received(&self, receiver: u32) -> &[f64] {
        self.received.get(&receiver).map_or(&[], |times| times)
    }
}

impl Observer for Lines {
    fn see(&mut self, sight: &Sight) {
        let What::Sent { from, to, .. } = sight.what else { return };
        let at = sight.at.since(self.from).as_secs_f64();
        if let End::Sender(sender) = from {
            self.sent.entry(sender).or_default().push(at);
        }
        if let End::Receiver(receiver) = to {
            let times = self.received.entry(receiver).or_default();
            if times.len() < self.most {
                times.push(at);
            }
        }
    }
}

/// The delay of the network as everyone knows it: a fixed part, and a gamma-distributed one (Erlang) of so many hops.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Delay {
    /// The part that is the same for all packets, in seconds.
    pub fixed: f64,
    /// Mean of one hop, in seconds.
    pub per_hop: f64,
    /// Hops.
    pub hops: usize,
}

/// Log-likelihood that what was received was sent there, against packets that come at any time: the sum over all packets received of
/// ln ((1 - noise) (d * f)(t) / rate + noise), f what was sent, d the delay's density.
pub fn score(sent: &[f64], received: &[f64], delay: &Delay) -> f64 {
    let end = received.last().map_or(0.0, |last| last - delay.fixed);
    let rate = sent.iter().take_while(|at| **at < end).count() as f64 / end.max(f64::MIN_POSITIVE);
    let mut folded = Folded::new(delay);
    let mut sent = sent.iter().copied().peekable();
    let likelihood = |at: &f64| {
        let at = at - delay.fixed;
        while let Some(next) = sent.next_if(|next| *next <= at) {
            folded.pass(next);
            folded.add();
        }
        folded.pass(at);
        ((1.0 - NOISE) * folded.density() / rate.max(f64::MIN_POSITIVE) + NOISE).ln()
    };
    received.iter().map(likelihood).sum()
}

/// The sum of Erlang densities of everything before a moment. With x = age / mean, the moments S_k = sum x^k e^-x follow from those of an
/// earlier moment alone, so each step costs hops^2 and not one term for each packet.
struct Folded {
    per_hop: f64,
    /// (hops - 1)!
    factorial: f64,
    now: f64,
    moments: Vec<f64>,
}

impl Folded {
    fn new(delay: &Delay) -> Self {
        let factorial = (1..delay.hops).map(|number| number as f64).product();
        Self { per_hop: delay.per_hop, factorial, now: 0.0, moments: vec![0.0; delay.hops] }
    }

    fn pass(&mut self, to: f64) {
        let step = (to - self.now) / self.per_hop;
        self.now = to;
        let fade = (-step).exp();
        // S_k becomes e^-step sum_i C(k, i) step^(k-i) S_i; from the highest down, so that lower ones are still those of before.
        for top in (0..self.moments.len()).rev() {
            let (mut sum, mut weight) = (0.0, 1.0);
            for (at, moment) in self.moments.iter().take(top + 1).enumerate().rev() {
                sum += weight * moment;
                weight *= step * at as f64 / (top - at + 1) as f64;
            }
            if let Some(moment) = self.moments.get_mut(top) {
                *moment = fade * sum;
            }
        }
    }

    /// A packet goes in now.
    fn add(&mut self) {
        self.moments.iter_mut().take(1).for_each(|moment| *moment += 1.0);
    }

    /// Packets a second that come out now.
    fn density(&self) -> f64 {
        self.moments.last().map_or(0.0, |moment| moment / (self.factorial * self.per_hop))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_comes_out_by_the_erlang_density() {
        let (delay, sent) = (Delay { fixed: 0.0, per_hop: 0.2, hops: 3 }, [0.1, 0.15, 0.4, 0.41]);
        let mut folded = Folded::new(&delay);
        for at in sent {
            folded.pass(at);
            folded.add();
        }
        folded.pass(0.9);
        let erlang = |age: f64| age.powi(2) / (2.0 * 0.2f64.powi(3)) * (-age / 0.2).exp();
        let expected: f64 = sent.iter().map(|at| erlang(0.9 - at)).sum();
        assert!((folded.density() - expected).abs() < 1e-12, "{} {expected}", folded.density());
    }

    #[test]
    fn packets_that_follow_what_was_sent_score_higher_than_others() {
        let delay = Delay { fixed: 1.0, per_hop: 0.01, hops: 2 };
        let sent: Vec<f64> = (0..50).map(f64::from).collect();
        let after = |by: f64| sent.iter().map(|at| at + by).collect::<Vec<_>>();
        assert!(score(&sent, &after(1.02), &delay) > 50.0);
        assert!(score(&sent, &after(1.52), &delay) < 0.0);
    }

    #[test]
    fn a_tenth_of_a_poisson_line_is_told_from_another_lines_after_a_hundred_packets() {
        use veilpost_packet::random::{exponential, seeded};
        let (mut rng, delay) = (seeded([3; 32]), Delay { fixed: 0.06, per_hop: 0.05, hops: 3 });
        let mut draw = |mean: f64| exponential(&mut rng, std::time::Duration::from_secs_f64(mean)).as_secs_f64();
        let mut flow = || {
            let (mut now, mut sent, mut received) = (0.0, Vec::new(), Vec::new());
            while received.len() < 100 {
                now += draw(0.02);
                sent.push(now);
                if draw(1.0) < 0.1054 {
                    received.push(now + delay.fixed + draw(0.05) + draw(0.05) + draw(0.05));
                }
            }
            received.sort_by(f64::total_cmp);
            (sent, received)
        };
        let flows: Vec<_> = (0..20).map(|_| flow()).collect();
        let mut samples = crate::statistics::Samples::default();
        for (one, (sent, _)) in flows.iter().enumerate() {
            for (other, (_, received)) in flows.iter().enumerate() {
                samples.push(one == other, score(sent, received, &delay));
            }
        }
        // A packet's own density, on average 6 / 32 of 20 a second, stands out of 50 a second by 0.075, which is the variance as well: after
        // 100 packets by 2.7 deviations, an area of 0.97.
        let auc = samples.auc().unwrap();
        assert!(auc.value > 0.94, "{auc:?}");
    }
}
