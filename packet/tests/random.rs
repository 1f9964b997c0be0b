//! The draws that traffic is made of have the means that they promise. Fixed seeds: a failure is a change of code, not of luck.

#![allow(clippy::unwrap_used, missing_docs)]

use std::time::Duration;
use veilpost_packet::random::{exponential, fork, geometric, log_uniform, one_in, pick, seeded};

const DRAWS: u32 = 40_000;

fn mean(draws: impl Iterator<Item = f64>) -> f64 {
    let all: Vec<_> = draws.collect();
    all.iter().sum::<f64>() / all.len() as f64
}

fn within(value: f64, expected: f64, tolerance: f64) {
    assert!((value / expected - 1.0).abs() < tolerance, "{value} is not within {tolerance} of {expected}");
}

#[test]
fn exponential_draws_have_their_mean_and_no_memory_and_no_cap() {
    let (mut rng, unit) = (seeded([1; 32]), Duration::from_millis(500));
    let draws: Vec<_> = (0..DRAWS).map(|_| exponential(&mut rng, unit).as_secs_f64()).collect();
    within(mean(draws.iter().copied()), 0.5, 0.02);
    // What is left of those that are longer than the mean is again exponential with the mean.
    within(mean(draws.iter().filter(|&&draw| draw > 0.5).map(|draw| draw - 0.5)), 0.5, 0.03);
    let longest = draws.iter().copied().fold(0.0, f64::max);
    assert!(longest > 8.0 * 0.5, "of {DRAWS} draws one in 3,000 is above 8 means, the longest is {longest}");
}

#[test]
fn an_exponential_draw_of_an_absurd_mean_saturates() {
    let mut rng = seeded([2; 32]);
    for _ in 0..100 {
        assert!(exponential(&mut rng, Duration::MAX) > Duration::ZERO);
    }
    assert_eq!(exponential(&mut rng, Duration::ZERO), Duration::ZERO);
}

#[test]
fn geometric_draws_have_their_mean() {
    let mut rng = seeded([3; 32]);
    for expected in [0.5, 1.0, 3.0] {
        within(mean((0..DRAWS).map(|_| f64::from(geometric(&mut rng, expected)))), expected, 0.03);
    }
    let zeros = (0..DRAWS).filter(|_| geometric(&mut rng, 1.0) == 0).count();
    within(zeros as f64, f64::from(DRAWS) / 2.0, 0.03);
    assert_eq!(geometric(&mut rng, 0.0), 0);
}

#[test]
fn one_in_n_is_true_once_in_n() {
    let mut rng = seeded([4; 32]);
    let hits = (0..DRAWS).filter(|_| one_in(&mut rng, 8)).count();
    within(hits as f64, f64::from(DRAWS) / 8.0, 0.05);
    assert!(one_in(&mut rng, 1));
    assert!(!one_in(&mut rng, 0));
}

#[test]
fn log_uniform_draws_spread_evenly_over_the_decades_between_their_bounds() {
    let mut rng = seeded([5; 32]);
    let (low, high) = (Duration::from_secs(600), Duration::from_secs(864_000));
    let draws: Vec<_> = (0..DRAWS).map(|_| log_uniform(&mut rng, low, high).as_secs_f64()).collect();
    assert!(draws.iter().all(|&draw| (599.9..=864_000.1).contains(&draw)));
    let middle = (600.0_f64 * 864_000.0).sqrt();
    let below = draws.iter().filter(|&&draw| draw < middle).count();
    within(below as f64, f64::from(DRAWS) / 2.0, 0.03);
}

#[test]
fn pick_takes_each_element_alike_and_nothing_from_nothing() {
    let mut rng = seeded([6; 32]);
    let mut counts = [0u32; 5];
    for _ in 0..DRAWS {
        let index = *pick(&mut rng, &[0usize, 1, 2, 3, 4]).unwrap();
        *counts.get_mut(index).unwrap() += 1;
    }
    counts.iter().for_each(|&count| within(f64::from(count), f64::from(DRAWS) / 5.0, 0.05));
    assert_eq!(pick(&mut rng, &[] as &[u8]), None);
}

#[test]
fn a_seed_decides_everything_and_a_fork_goes_its_own_way() {
    let draw = |seed: u8| exponential(&mut seeded([seed; 32]), Duration::from_secs(1));
    assert_eq!(draw(7), draw(7));
    assert_ne!(draw(7), draw(8));
    let (mut left, mut right) = (seeded([9; 32]), seeded([9; 32]));
    let mut fork_left = fork(&mut left);
    let _unused = fork(&mut right);
    let _ = exponential(&mut fork_left, Duration::from_secs(1));
    assert_eq!(
        exponential(&mut left, Duration::from_secs(1)),
        exponential(&mut right, Duration::from_secs(1)),
        "what a fork draws does not shift its origin"
    );
}
