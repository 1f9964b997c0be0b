//! A classifier that is trained on looks at one kind of client and at another, and scores looks that it has not seen: Fisher's linear
//! discriminant ("The use of multiple measurements in taxonomic problems", Annals of Eugenics 1936) with features taken for independent.
//! What it finds that single tests do not is a small difference in each of many features.

use crate::statistics::Samples;

/// What was seen in one look: a number for each feature, in the same order in every look.
pub type Features = Vec<f64>;

/// Trained weights of all features.
#[derive(Clone, PartialEq, Debug)]
pub struct Discriminant {
    weights: Vec<f64>,
}

impl Discriminant {
    /// Learns from looks at both kinds. `None` with fewer than two looks at either, or looks of unequal length.
    pub fn train(positive: &[&Features], negative: &[&Features]) -> Option<Self> {
        let count = positive.first()?.len();
        let alike = positive.iter().chain(negative).all(|look| look.len() == count);
        if !alike || positive.len() < 2 || negative.len() < 2 {
            return None;
        }
        let weight = |feature: usize| {
            let column = |looks: &[&Features]| -> Vec<f64> {
                looks.iter().filter_map(|look| look.get(feature).copied()).collect()
            };
            let [one, other] = [column(positive), column(negative)].map(|column| moments(&column));
            (one.0 - other.0) / (one.1 + other.1).max(f64::MIN_POSITIVE)
        };
        Some(Self { weights: (0..count).map(weight).collect() })
    }

    /// How much a look resembles the positive kind.
    pub fn score(&self, look: &Features) -> f64 {
        self.weights.iter().zip(look).map(|(weight, value)| weight * value).sum()
    }
}

/// Mean and variance of a sample of at least two.
fn moments(sample: &[f64]) -> (f64, f64) {
    let n = sample.len() as f64;
    let mean = sample.iter().sum::<f64>() / n;
    (mean, sample.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0))
}

/// Scores of looks by a classifier that was trained on the others: on every second one for the rest, and the other way round.
pub fn crossed(positive: &[Features], negative: &[Features]) -> Samples {
    let half = |looks: &'_ [Features], odd: usize| -> Vec<Features> {
        looks.iter().enumerate().filter(|(at, _)| at % 2 == odd).map(|(_, look)| look.clone()).collect()
    };
    let mut scores = Samples::default();
    for odd in [0, 1] {
        let (known, unknown) = ([positive, negative].map(|looks| half(looks, odd)), 1 - odd);
        let [one, other] = known.each_ref().map(|looks| looks.iter().collect::<Vec<_>>());
        let Some(discriminant) = Discriminant::train(&one, &other) else { continue };
        for (kind, looks) in [(true, positive), (false, negative)] {
            half(looks, unknown).iter().for_each(|look| scores.push(kind, discriminant.score(look)));
        }
    }
    scores
}

/// Autocorrelation of a series at a lag: 0 where nothing is left to compare, or nothing varies.
pub fn autocorrelation(series: &[f64], lag: usize) -> f64 {
    let n = series.len() as f64;
    let mean = series.iter().sum::<f64>() / n.max(1.0);
    let all: f64 = series.iter().map(|value| (value - mean).powi(2)).sum();
    let shifted = series.iter().zip(series.iter().skip(lag));
    let lagged: f64 = shifted.map(|(one, other)| (one - mean) * (other - mean)).sum();
    if all > 0.0 { lagged / all } else { 0.0 }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use rand::Rng;
    use veilpost_packet::random::seeded;

    /// Looks of ten features whose means are all off by so much.
    fn looks(count: usize, off: f64, seed: u8) -> Vec<Features> {
        let mut rng = seeded([seed; 32]);
        let normal =
            |rng: &mut veilpost_packet::random::EngineRng| (0..12).map(|_| rng.random::<f64>()).sum::<f64>() - 6.0;
        (0..count).map(|_| (0..10).map(|_| normal(&mut rng) + off).collect()).collect()
    }

    #[test]
    fn many_small_differences_are_found_together_and_none_where_there_is_none() {
        let area = |off| crossed(&looks(400, off, 1), &looks(400, 0.0, 2)).auc().unwrap();
        // Ten features of a third of a deviation each: a distance of one, so an area of 0.76.
        assert!((area(0.33).value - 0.76).abs() < 0.05, "{:?}", area(0.33));
        assert!((area(0.0).value - 0.5).abs() < 0.06, "{:?}", area(0.0));
    }

    #[test]
    fn too_few_or_unequal_looks_teach_nothing() {
        let (few, some) = (looks(1, 0.0, 1), looks(5, 0.0, 1));
        assert!(crossed(&few, &some).is_empty());
        let mut odd = some.clone();
        odd.push(vec![1.0]);
        let borrowed: Vec<&Features> = odd.iter().collect();
        assert_eq!(Discriminant::train(&borrowed, &some.iter().collect::<Vec<_>>()), None);
    }

    #[test]
    fn a_series_that_repeats_itself_is_correlated_at_its_period() {
        let series: Vec<f64> = (0..100).map(|at| f64::from(at % 4)).collect();
        assert!(autocorrelation(&series, 4) > 0.9 && autocorrelation(&series, 2) < 0.0);
        assert_eq!((autocorrelation(&[1.0; 9], 1), autocorrelation(&[], 1)), (0.0, 0.0));
    }
}
