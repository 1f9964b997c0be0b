//! How far a share of successes can be trusted.

/// Standard deviations to each side: 95 % of a normal distribution lies within.
const SIGMAS: f64 = 1.96;

/// The interval that a success rate lies in, given so many successes in so many trials (Wilson 1927). All of 0 to 1 without a trial.
pub(super) fn wilson(successes: f64, trials: f64) -> (f64, f64) {
    if trials <= 0.0 {
        return (0.0, 1.0);
    }
    let (share, z2) = (successes / trials, SIGMAS * SIGMAS);
    let scale = 1.0 + z2 / trials;
    let middle = (share + z2 / (2.0 * trials)) / scale;
    let half = SIGMAS * (share * (1.0 - share) / trials + z2 / (4.0 * trials * trials)).max(0.0).sqrt() / scale;
    ((middle - half).max(0.0), (middle + half).min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_is_that_of_the_tables() {
        // Wilson's interval for 81 of 263 (Newcombe 1998, table I, method 3).
        let (low, high) = wilson(81.0, 263.0);
        assert!((low - 0.2553).abs() < 5e-4 && (high - 0.3662).abs() < 5e-4, "{low} {high}");
        assert_eq!(wilson(0.0, 0.0), (0.0, 1.0));
    }
}
