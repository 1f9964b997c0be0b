//! Tests and intervals that experiments report. Each says what it assumes; distributions come from `statrs`.

use rand::{Rng, RngCore};
use statrs::distribution::{Beta, Binomial, ContinuousCDF, Discrete, DiscreteCDF, Normal};

/// A statistic and the probability of one at least as large by chance.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Test {
    /// The statistic.
    pub statistic: f64,
    /// The p-value, 0 to 1.
    pub p: f64,
}

/// A figure with its 95 % interval.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Interval {
    /// The figure.
    pub value: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// Values of what is looked for, and of all else.
#[derive(Clone, Default, PartialEq, Debug)]
pub struct Samples {
    /// Of what is looked for.
    pub positive: Vec<f64>,
    /// Of all else.
    pub negative: Vec<f64>,
}

impl Samples {
    /// Adds a value.
    pub fn push(&mut self, positive: bool, value: f64) {
        if positive { self.positive.push(value) } else { self.negative.push(value) }
    }

    /// Adds another's values.
    pub fn append(&mut self, other: Self) {
        self.positive.extend(other.positive);
        self.negative.extend(other.negative);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.positive.len() + self.negative.len()
    }

    /// True without any.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// See [`auc`].
    pub fn auc(&self) -> Option<Interval> {
        auc(&self.positive, &self.negative)
    }

    /// The share of positive values above a threshold that no more than this share of negative ones is above: a point of the ROC curve,
    /// read as a step, with the interval of [`share`]. Below one negative value in all, the threshold is the highest of them.
    pub fn true_positives_at(&self, false_positives: f64) -> Option<Interval> {
        let negative = sorted(&self.negative);
        let allowed = (false_positives.clamp(0.0, 1.0) * negative.len() as f64).floor() as usize;
        let threshold = negative.iter().rev().nth(allowed);
        let above = |value: &&f64| threshold.is_none_or(|threshold| *value > threshold);
        let found = self.positive.iter().filter(above).count();
        (!self.is_empty()).then(|| share(found as u64, self.positive.len() as u64))
    }
}

/// Survival function of the Kolmogorov distribution, for the statistic `d` of a sample of effective size `n`; Stephens' correction
/// for small samples (Numerical Recipes, 14.3).
fn kolmogorov(d: f64, n: f64) -> f64 {
    let lambda = (n.sqrt() + 0.12 + 0.11 / n.sqrt()) * d;
    if lambda < 0.2 {
        return 1.0;
    }
    let term = |k: f64| 2.0 * (-1f64).powf(k - 1.0) * (-2.0 * k * k * lambda * lambda).exp();
    (1..=100).map(|k| term(f64::from(k))).sum::<f64>().clamp(0.0, 1.0)
}

fn sorted(sample: &[f64]) -> Vec<f64> {
    let mut sorted = sample.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// Two-sample Kolmogorov-Smirnov test: whether two samples of a continuous quantity come from one distribution. `None` if either
/// is empty.
pub fn ks_two(one: &[f64], other: &[f64]) -> Option<Test> {
    let (one, other) = (sorted(one), sorted(other));
    let (n, m) = (one.len() as f64, other.len() as f64);
    if one.is_empty() || other.is_empty() {
        return None;
    }
    let (mut i, mut j, mut d) = (0, 0, 0f64);
    while let (Some(a), Some(b)) = (one.get(i), other.get(j)) {
        let at = a.min(*b);
        i += one.iter().skip(i).take_while(|value| **value <= at).count();
        j += other.iter().skip(j).take_while(|value| **value <= at).count();
        d = d.max((i as f64 / n - j as f64 / m).abs());
    }
    Some(Test { statistic: d, p: kolmogorov(d, n * m / (n + m)) })
}

/// As [`ks_two`] for samples of one size: their statistic takes few values, so that p-values would not be uniform; a random number
/// spreads each over its step. `None` for an empty sample or two sizes.
pub fn ks_two_alike(one: &[f64], other: &[f64], rng: &mut impl RngCore) -> Option<Test> {
    let Test { statistic, .. } = ks_two(one, other).filter(|_| one.len() == other.len())?;
    let n = one.len() as f64;
    let [reached, beyond] = [statistic, statistic + 1.0 / n].map(|d| kolmogorov(d, n / 2.0));
    Some(Test { statistic, p: beyond + rng.random::<f64>() * (reached - beyond) })
}

/// One-sample Kolmogorov-Smirnov test against the distribution with this cumulative function. `None` for an empty sample.
pub fn ks_one(sample: &[f64], cdf: impl Fn(f64) -> f64) -> Option<Test> {
    let sorted = sorted(sample);
    let n = sorted.len() as f64;
    let distance = |(at, value): (usize, &f64)| {
        let expected = cdf(*value);
        (expected - at as f64 / n).max((at + 1) as f64 / n - expected)
    };
    let d = sorted.iter().enumerate().map(distance).max_by(f64::total_cmp)?;
    Some(Test { statistic: d, p: kolmogorov(d, n) })
}

/// Whether p-values are uniform, as they are if nothing is to be seen. `None` without any.
pub fn uniform(p_values: &[f64]) -> Option<Test> {
    ks_one(p_values, |value| value.clamp(0.0, 1.0))
}

/// Whether two counts over equal times come from one rate: the exact conditional test, made continuous by a random number, so that
/// its p-values are uniform where the rates are equal. The statistic is the ratio of the counts.
pub fn counts(one: u64, other: u64, rng: &mut impl RngCore) -> Test {
    let statistic = one as f64 / (other as f64).max(1.0);
    let Ok(binomial) = Binomial::new(0.5, one + other) else { return Test { statistic, p: 1.0 } };
    let below = if one == 0 { 0.0 } else { binomial.cdf(one - 1) };
    let place = below + rng.random::<f64>() * binomial.pmf(one);
    Test { statistic, p: (2.0 * place.min(1.0 - place)).clamp(0.0, 1.0) }
}

/// Adds a random fraction to each count: what tests of continuous quantities want, and no change to an order that is there.
pub fn spread(counts: impl IntoIterator<Item = u64>, rng: &mut impl RngCore) -> Vec<f64> {
    counts.into_iter().map(|count| count as f64 + rng.random::<f64>()).collect()
}

/// Area under the ROC curve: the probability that a value of `positive` is larger than one of `negative`, ties count half. The
/// interval is Hanley and McNeil's (Radiology 1982). `None` if either is empty.
pub fn auc(positive: &[f64], negative: &[f64]) -> Option<Interval> {
    let (n, m) = (positive.len() as f64, negative.len() as f64);
    if positive.is_empty() || negative.is_empty() {
        return None;
    }
    let negative = sorted(negative);
    let wins = |value: &f64| {
        let below = negative.partition_point(|other| other < value);
        let up_to = negative.partition_point(|other| other <= value);
        (below + up_to) as f64 / 2.0
    };
    let area = positive.iter().map(wins).sum::<f64>() / (n * m);
    let (q1, q2) = (area / (2.0 - area), 2.0 * area * area / (1.0 + area));
    let square = area * area;
    let variance = (area * (1.0 - area) + (n - 1.0) * (q1 - square) + (m - 1.0) * (q2 - square)) / (n * m);
    let half = 1.96 * variance.max(0.0).sqrt();
    Some(Interval { value: area, low: (area - half).max(0.0), high: (area + half).min(1.0) })
}

/// How far from one half the area under a curve of samples of these sizes is by chance at most: four standard deviations (Mann and
/// Whitney, Annals of Mathematical Statistics 1947).
pub fn auc_by_chance(positive: usize, negative: usize) -> f64 {
    let (n, m) = (positive.max(1) as f64, negative.max(1) as f64);
    4.0 * ((n + m + 1.0) / (12.0 * n * m)).sqrt()
}

/// A share with its exact interval (Clopper and Pearson, Biometrika 1934).
pub fn share(hits: u64, of: u64) -> Interval {
    let (k, n) = (hits.min(of) as f64, of as f64);
    let quantile = |a: f64, b: f64, at: f64| Beta::new(a, b).map_or(at.round(), |beta| beta.inverse_cdf(at));
    let low = if hits == 0 { 0.0 } else { quantile(k, n - k + 1.0, 0.025) };
    let high = if hits >= of { 1.0 } else { quantile(k + 1.0, n - k, 0.975) };
    Interval { value: if of == 0 { 0.0 } else { k / n }, low, high }
}

/// Mean with its interval by the normal approximation: for samples of some dozens. `None` for fewer than two values.
pub fn mean(sample: &[f64]) -> Option<Interval> {
    let n = sample.len() as f64;
    if sample.len() < 2 {
        return None;
    }
    let mean = sample.iter().sum::<f64>() / n;
    let variance = sample.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0);
    let quantile = Normal::standard().inverse_cdf(0.975);
    let half = quantile * (variance / n).sqrt();
    Some(Interval { value: mean, low: mean - half, high: mean + half })
}

/// The value below which this share of a sample lies; `None` for an empty one.
pub fn quantile(sample: &[f64], share: f64) -> Option<f64> {
    let sorted = sorted(sample);
    let at = (share.clamp(0.0, 1.0) * sorted.len().saturating_sub(1) as f64).round() as usize;
    sorted.get(at).copied()
}

#[cfg(test)]
mod tests;
