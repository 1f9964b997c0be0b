//! E15: a stealthy n-1 attack on one mix. The attacker lets a share 1/s of the honest packets through, so that the mix misses only as
//! many of its loops, and hopes that its target leaves before anything else comes in. Loopix 4.2.1 gives its success in one attempt
//! as s mu / (s lambda_M + lambda_R): mu departures a second of one packet, lambda_M loops a second that begin at the mix itself,
//! lambda_R honest packets a second. The formula leaves the target's own rate out of the denominator; the exact value is
//! mu / (mu + lambda_M + lambda_R / s).
//!
//! The queue is the mix's own (`veilpost_mixnode::delay`), in virtual time.

use super::{Options, over_seeds};
use crate::{
    cost::Cost,
    report::{Expected, Report},
    statistics::share,
};
use std::time::Duration;
use veilpost_mixnode::delay::DelayQueue;
use veilpost_packet::{
    profile::Profile,
    random::{EngineRng, exponential, seeded},
    time::Timestamp,
};
use veilpost_pki::Params;

/// Attempts of one seed.
const ATTEMPTS: u64 = 20_000;

/// A mix under attack; rates in events a second.
#[derive(Clone, Copy, Debug)]
struct Case {
    what: &'static str,
    /// Departures of one packet.
    mu: f64,
    /// Loops that begin at the mix.
    loops: f64,
    /// Honest packets that come.
    honest: f64,
    /// One in this many is let through.
    stealth: f64,
}

impl Case {
    fn formula(&self) -> f64 {
        self.stealth * self.mu / (self.stealth * self.loops + self.honest)
    }

    fn exact(&self) -> f64 {
        self.mu / (self.mu + self.loops + self.honest / self.stealth)
    }

    /// Attempts that succeed: the target, alone in the mix, leaves before anything else is in it.
    fn successes(&self, rng: &mut EngineRng) -> u64 {
        let gap = |rng: &mut EngineRng, rate: f64| exponential(rng, Duration::from_secs_f64(1.0 / rate));
        let attempt = |rng: &mut EngineRng| {
            let start = Timestamp::from_secs(1);
            let mut queue = DelayQueue::new(16);
            let pushed = queue.push(start + gap(rng, self.mu), ());
            let other = gap(rng, self.loops).min(gap(rng, self.honest / self.stealth));
            pushed.is_ok() && queue.pop_due(start + other).is_some()
        };
        (0..ATTEMPTS).filter(|_| attempt(rng)).count() as u64
    }
}

/// The published example, and our mixes: 1,000 clients at default rates on two mixes a layer, each packet there and back.
fn cases() -> Vec<Case> {
    let params = Params::standard();
    let (mu, loops) = (1.0 / params.hop_delay.as_secs_f64(), 1.0 / params.node_loop_gap.as_secs_f64());
    let honest = 1_000.0 * params.rates(Profile::Standard).up();
    let ours = |what, honest, stealth| Case { what, mu, loops, honest, stealth };
    vec![
        Case {
            what: "LAB 2.9: lambda_R 100, lambda_M 10, mu 2, s 2",
            mu: 2.0,
            loops: 10.0,
            honest: 100.0,
            stealth: 2.0,
        },
        ours("ours, 1,000 clients, lets half through", honest, 2.0),
        ours("ours, 1,000 clients, lets 1 in 100 through", honest, 100.0),
        ours("ours, 20 clients, lets 1 in 10 through", honest / 50.0, 10.0),
        ours("ours, all but the target blocked", honest, 1e9),
    ]
}

/// Runs the experiment.
pub fn run(options: &Options) -> Report {
    let found = over_seeds(options, |seed| {
        let mut seed_bytes = [0x15; 32];
        seed_bytes[..8].copy_from_slice(&seed.to_be_bytes());
        let mut rng = seeded(seed_bytes);
        cases().iter().map(|case| case.successes(&mut rng)).collect::<Vec<_>>()
    });
    let mut report = Report::new("E15", "how often does a stealthy n-1 attempt on a mix succeed?");
    report.costing(Some(Cost::shipped()));
    let attempts = ATTEMPTS * options.seeds as u64;
    for (at, case) in cases().iter().enumerate() {
        let successes = found.iter().filter_map(|all| all.get(at)).sum();
        let measured = share(successes, attempts);
        // Five deviations of the exact value.
        let exact = case.exact();
        let near = 5.0 * (exact * (1.0 - exact) / attempts as f64).sqrt();
        let expected = Expected::Within(exact - near, exact + near);
        let what = format!("{} (formula {:.5})", case.what, case.formula());
        report.add_interval(what, "of attempts", measured, usize::try_from(attempts).unwrap_or(usize::MAX), expected);
    }
    report
}
