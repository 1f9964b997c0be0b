#![allow(clippy::unwrap_used)]

use super::*;
use std::time::Duration;
use veilpost_packet::random::{EngineRng, exponential, seeded};

fn gaps(rng: &mut EngineRng, mean: f64, count: usize) -> Vec<f64> {
    (0..count).map(|_| exponential(rng, Duration::from_secs_f64(mean)).as_secs_f64()).collect()
}

#[test]
fn the_kolmogorov_distribution_has_its_published_quantiles() {
    // Critical values of a large sample: 1.2238, 1.3581, 1.6276 at 10, 5 and 1 %.
    for (lambda, p) in [(1.2238, 0.1), (1.3581, 0.05), (1.6276, 0.01)] {
        let n = 1e12f64;
        assert!((kolmogorov(lambda / n.sqrt(), n) - p).abs() < 1e-4, "{lambda}");
    }
}

#[test]
fn the_two_sample_statistic_is_the_largest_distance_of_the_two_steps() {
    let test = ks_two(&[1.0, 2.0, 3.0, 4.0], &[3.0, 4.0, 5.0, 6.0]).unwrap();
    assert!((test.statistic - 0.5).abs() < 1e-12);
    assert!((ks_two(&[1.0, 1.0], &[1.0]).unwrap().statistic).abs() < 1e-12, "ties are one step");
    assert_eq!(ks_two(&[], &[1.0]), None);
}

#[test]
fn p_values_of_one_distribution_are_uniform_and_those_of_two_are_not() {
    let mut rng = seeded([1; 32]);
    let p_values = |rng: &mut EngineRng, ratio: f64| -> Vec<f64> {
        (0..300).map(|_| ks_two(&gaps(rng, 1.0, 700), &gaps(rng, ratio, 700)).unwrap().p).collect()
    };
    let same = p_values(&mut rng, 1.0);
    assert!(uniform(&same).unwrap().p > 0.001, "{:?}", uniform(&same));
    // LAB 2.12: a rate 1.1 times higher shows in 3,000 gaps half of the time; over 300 runs of 700 it must.
    let faster = p_values(&mut rng, 1.0 / 1.1);
    assert!(uniform(&faster).unwrap().p < 1e-6);
}

#[test]
fn p_values_of_small_samples_of_one_size_are_uniform_too() {
    let mut rng = seeded([5; 32]);
    let p_values: Vec<f64> = (0..1_000)
        .map(|_| {
            let (one, other) = (gaps(&mut rng, 1.0, 90), gaps(&mut rng, 1.0, 90));
            ks_two_alike(&one, &other, &mut rng).unwrap().p
        })
        .collect();
    assert!(uniform(&p_values).unwrap().p > 0.001, "{:?}", uniform(&p_values));
    assert_eq!(ks_two_alike(&[1.0], &[1.0, 2.0], &mut rng), None);
}

#[test]
fn the_statistic_for_a_higher_rate_is_that_of_the_formula() {
    // LAB 2.12: D = r^(-1/(r-1)) - r^(-r/(r-1)), 0.25 at r = 2.
    let mut rng = seeded([2; 32]);
    let test = ks_two(&gaps(&mut rng, 1.0, 100_000), &gaps(&mut rng, 0.5, 100_000)).unwrap();
    assert!((test.statistic - 0.25).abs() < 0.01, "{}", test.statistic);
}

#[test]
fn p_values_of_counts_of_one_rate_are_uniform_although_counts_are_whole_numbers() {
    let mut rng = seeded([3; 32]);
    let count = |rng: &mut EngineRng| {
        let mut at = exponential(rng, Duration::from_secs(1));
        let mut count = 0;
        while at < Duration::from_secs(20) {
            (at, count) = (at + exponential(rng, Duration::from_secs(1)), count + 1);
        }
        count
    };
    let p_values: Vec<f64> = (0..2_000)
        .map(|_| {
            let pair = (count(&mut rng), count(&mut rng));
            counts(pair.0, pair.1, &mut rng).p
        })
        .collect();
    assert!(uniform(&p_values).unwrap().p > 0.001);
    assert!(counts(200, 100, &mut rng).p < 1e-6);
    assert!((0.0..=1.0).contains(&counts(0, 0, &mut rng).p));
}

#[test]
fn the_area_under_the_curve_is_one_half_for_equals_and_one_for_what_is_always_larger() {
    let mut rng = seeded([4; 32]);
    let (one, other) = (gaps(&mut rng, 1.0, 5_000), gaps(&mut rng, 1.0, 5_000));
    let area = auc(&one, &other).unwrap();
    assert!(area.low < 0.5 && 0.5 < area.high && area.high - area.low < 0.03, "{area:?}");
    assert_eq!(auc(&[2.0, 3.0], &[0.0, 1.0]).unwrap().value, 1.0);
    assert_eq!(auc(&[1.0], &[1.0]).unwrap().value, 0.5);
    assert_eq!(auc(&[], &[1.0]), None);
}

#[test]
fn shares_have_exact_intervals() {
    // Clopper and Pearson's interval of 3 in 20: 3.2 to 37.9 %.
    let interval = share(3, 20);
    assert!((interval.low - 0.0321).abs() < 1e-3 && (interval.high - 0.3789).abs() < 1e-3, "{interval:?}");
    assert_eq!((share(0, 10).low, share(10, 10).high), (0.0, 1.0));
    assert!((share(0, 10).high - 0.3085).abs() < 1e-3);
}

#[test]
fn means_and_quantiles_are_those_of_the_sample() {
    let sample: Vec<f64> = (0..=100).map(f64::from).collect();
    assert_eq!(quantile(&sample, 0.95), Some(95.0));
    assert_eq!(quantile(&[], 0.5), None);
    let interval = mean(&sample).unwrap();
    assert_eq!(interval.value, 50.0);
    assert!((interval.high - 55.71).abs() < 0.05, "{interval:?}");
    assert_eq!(mean(&[1.0]), None);
}

#[test]
fn a_point_of_the_roc_curve_is_read_as_a_step() {
    let negative: Vec<f64> = (0..100).map(f64::from).collect();
    let samples = Samples { positive: vec![10.5, 97.5, 98.5, 99.5], negative };
    let at = |share| samples.true_positives_at(share).unwrap().value;
    assert_eq!([at(0.0), at(0.001), at(0.01), at(0.02), at(1.0)], [0.25, 0.25, 0.5, 0.75, 1.0]);
    assert_eq!(Samples::default().true_positives_at(0.1), None);
}
