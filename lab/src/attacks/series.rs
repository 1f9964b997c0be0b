//! Whose are the requests for one box? Likelihood of each client given the times at which mailboxes got them: traffic confirmation
//! with known delays, as in Danezis, "The traffic analysis of continuous-time mixes", PET 2004 (equations 23 to 35).
//!
//! A request that came at t left its client at t - d, where d is the sum of k exponential delays. Of a client that sends frames at u with
//! rate r the likelihood of being the one, against a client of which nothing is known, is the sum of f(t - u) / r over its frames.

use crate::population::{Lines, Request};

/// What an adversary knows of the way from a client to a mailbox.
#[derive(Clone, Debug)]
pub struct Way {
    /// Density of the delay, in steps of [`STEP`].
    density: Vec<f64>,
    /// What is added to every delay.
    fixed: f32,
}

/// Seconds from one value of the density to the next.
const STEP: f32 = 0.02;
/// Density is kept up to so many means of one delay beyond their sum.
const TAIL: f64 = 24.0;
/// Likelihood, against chance, of a request for which a client has no frame: it was lost to the observer.
const NONE: f64 = 1e-3;

impl Way {
    /// A way of `hops` exponential delays of `mean` seconds each, and of links that take `fixed` seconds together.
    pub fn new(hops: u32, mean: f64, fixed: f64) -> Self {
        let steps = ((f64::from(hops) + TAIL) * mean / f64::from(STEP)).ceil() as usize;
        let factorial: f64 = (1..hops).map(f64::from).product();
        let at = |step: usize| {
            let x = (step as f64 + 0.5) * f64::from(STEP) / mean;
            x.powi(hops.saturating_sub(1).cast_signed()) * (-x).exp() / factorial / mean
        };
        Self { density: (0..steps).map(at).collect(), fixed: fixed as f32 }
    }

    fn density(&self, delay: f32) -> f64 {
        let step = (delay - self.fixed) / STEP;
        if step < 0.0 { 0.0 } else { self.density.get(step as usize).copied().unwrap_or(0.0) }
    }

    /// The longest delay that is looked at.
    fn longest(&self) -> f32 {
        self.fixed + self.density.len() as f32 * STEP
    }

    /// Sum of the density over a client's frames at what a request of `at` says.
    pub fn at(&self, frames: &[f32], at: f32) -> f64 {
        let from = frames.partition_point(|frame| *frame < at - self.longest());
        let before = frames.iter().skip(from).take_while(|frame| **frame <= at);
        before.map(|frame| self.density(at - frame)).sum()
    }

    /// Sum of the density over requests at what a frame of `at` says.
    pub fn ahead(&self, requests: &[f32], at: f32) -> f64 {
        let from = requests.partition_point(|request| *request < at);
        let after = requests.iter().skip(from).take_while(|request| **request - at < self.longest());
        after.map(|request| self.density(request - at)).sum()
    }
}

/// What each client's likelihood has come to after some requests, in bits against chance.
#[derive(Clone, Debug)]
pub struct Suspects<'a> {
    lines: &'a Lines,
    way: &'a Way,
    rates: Vec<f64>,
    /// By client.
    pub bits: Vec<f64>,
}

impl<'a> Suspects<'a> {
    /// Nothing is known.
    pub fn new(lines: &'a Lines, way: &'a Way) -> Self {
        let rates: Vec<f64> = (0..lines.up.len()).map(|client| lines.rate(client)).collect();
        Self { lines, way, bits: vec![0.0; rates.len()], rates }
    }

    /// One more request of the one who is looked for.
    pub fn handle(&mut self, request: &Request) {
        for ((bits, frames), rate) in self.bits.iter_mut().zip(&self.lines.up).zip(&self.rates) {
            let likely = self.way.at(frames, request.at) / rate.max(1e-9);
            *bits += likely.max(NONE).log2();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulation::Asked;
    use std::time::Duration;
    use veilpost_packet::random::exponential;

    #[test]
    fn the_density_of_a_way_is_that_of_the_sum_of_its_delays() {
        let way = Way::new(4, 0.5, 0.1);
        let total: f64 = way.density.iter().sum::<f64>() * f64::from(STEP);
        let mean: f64 = (0u16..).zip(&way.density).map(|(at, f)| f64::from(at) * f64::from(STEP) * f).sum::<f64>()
            * f64::from(STEP);
        assert!((total - 1.0).abs() < 1e-3 && (mean - 2.0).abs() < 0.02, "{total} {mean}");
    }

    #[test]
    fn a_request_of_a_client_at_the_shipped_rates_says_a_quarter_of_a_bit() {
        // 0.261 bits: a simulation in another language of Poisson frames at 0.867 a second and four delays of half a second.
        let (way, mut rng) = (Way::new(4, 0.5, 0.0), veilpost_packet::random::seeded([17; 32]));
        let mut after = |mean: f64| exponential(&mut rng, Duration::from_secs_f64(mean)).as_secs_f32();
        let bits: Vec<f64> = (0..4_000)
            .map(|_| {
                let mut frames = vec![50.0f32];
                let mut at = 0.0;
                while at < 80.0 {
                    at += after(1.0 / 0.867);
                    frames.push(at);
                }
                frames.sort_by(f32::total_cmp);
                let request = 50.0 + (0..4).map(|_| after(0.5)).sum::<f32>();
                (way.at(&frames, request) / 0.867).log2()
            })
            .collect();
        let mean = bits.iter().sum::<f64>() / bits.len() as f64;
        assert!((mean - 0.261).abs() < 0.05, "{mean}");
    }

    #[test]
    fn who_has_a_frame_before_each_request_is_suspected_and_who_has_none_is_not() {
        let lines =
            Lines { up: vec![vec![10.0, 50.0], vec![11.9, 51.9], vec![30.0, 70.0]], online: Vec::new(), span: 100.0 };
        let way = Way::new(4, 0.5, 0.0);
        let mut suspects = Suspects::new(&lines, &way);
        for at in [12.0, 52.0] {
            suspects.handle(&Request { at, id: 0, asked: Asked::Get, mailbox: 0 });
        }
        assert!(suspects.bits.first() > suspects.bits.get(1) && suspects.bits.get(1) > suspects.bits.get(2));
    }
}
