//! Randomness as engines see it: one seeded generator, handed in by the shell or the simulation.

use rand::{Rng, RngCore, SeedableRng};
use rand_distr::{Distribution, Exp1};
use std::time::Duration;

/// The one generator of every engine. Seeded from the operating system by daemons, from a number by simulations.
pub type EngineRng = rand_chacha::ChaCha20Rng;

/// A generator from a seed.
pub fn seeded(seed: [u8; 32]) -> EngineRng {
    EngineRng::from_seed(seed)
}

/// A generator for one purpose, drawn from another: what one part draws never shifts what another part sees.
pub fn fork(rng: &mut EngineRng) -> EngineRng {
    seeded(bytes(rng))
}

/// `N` random bytes.
pub fn bytes<const N: usize>(rng: &mut impl RngCore) -> [u8; N] {
    let mut out = [0; N];
    rng.fill_bytes(&mut out);
    out
}

/// An exact, uncapped draw from the exponential distribution with this mean. A cap would break memorylessness.
pub fn exponential(rng: &mut impl RngCore, mean: Duration) -> Duration {
    let unit: f64 = Exp1.sample(rng);
    Duration::try_from_secs_f64(mean.as_secs_f64() * unit).unwrap_or(Duration::MAX)
}

/// A draw from the geometric distribution on 0, 1, 2, … with this mean. Stops at 64, which a mean of 1 exceeds with
/// probability 2^-65.
pub fn geometric(rng: &mut impl RngCore, mean: f64) -> u32 {
    let stop = 1.0 / (1.0 + mean);
    (0..64).find(|_| rng.random_bool(stop)).unwrap_or(64)
}

/// True once in `n` on average; never for 0.
pub fn one_in(rng: &mut impl RngCore, n: u32) -> bool {
    n != 0 && rng.random_ratio(1, n)
}

/// A uniformly drawn element.
pub fn pick<'a, T>(rng: &mut impl RngCore, of: &'a [T]) -> Option<&'a T> {
    if of.is_empty() { None } else { of.get(rng.random_range(0..of.len())) }
}

/// A draw between `low` and `high` whose logarithm is uniform.
pub fn log_uniform(rng: &mut impl RngCore, low: Duration, high: Duration) -> Duration {
    let (low, high) = (low.as_secs_f64().max(f64::MIN_POSITIVE).ln(), high.as_secs_f64().max(f64::MIN_POSITIVE).ln());
    let unit: f64 = rng.random();
    Duration::try_from_secs_f64((low + unit * (high - low)).exp()).unwrap_or(Duration::MAX)
}
