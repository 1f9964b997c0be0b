//! Clustering by silence: what falls silent together and returns together belongs to one client. The idea is that of intersection
//! attacks on presence: Berthold, Pfitzmann and Standtke, "The disadvantages of free MIX routes", PET 2000; Kesdogan, Agrawal and Penz,
//! "Limits of anonymity in open environments", IH 2002. Agreement with the truth is measured by the adjusted Rand index: Hubert and
//! Arabie, "Comparing partitions", Journal of Classification 1985.
//!
//! The view is that of mailboxes: requests by box, and the public digests.

use crate::{
    population::{ByBox, Id, Named},
    simulation::Asked,
};
use std::collections::BTreeMap;

/// A box for which nothing came for a while, and then something.
#[derive(Clone, Debug, PartialEq)]
pub struct Silences {
    /// The box.
    pub id: Id,
    /// From the last request before to the first one after, in order of time. Where a box is silent from its beginning only its end
    /// tells something.
    pub times: Vec<(f32, f32)>,
}

/// Silences of boxes that are asked for again and again: gaps longer than `longer`.
pub fn in_series(by_box: &ByBox, longer: f32) -> Vec<Silences> {
    let mut found = Vec::new();
    for series in by_box.series() {
        let gets: Vec<f32> =
            series.iter().filter(|request| request.asked == Asked::Get).map(|request| request.at).collect();
        let gaps = gets.windows(2).filter_map(|pair| Some((*pair.first()?, *pair.get(1)?)));
        let times: Vec<_> = gaps.filter(|(from, until)| until - from > longer).collect();
        if let Some(request) = series.first().filter(|_| !times.is_empty()) {
            found.push(Silences { id: request.id, times });
        }
    }
    found
}

/// Silences of boxes that digests named and that were asked for more than `longer` seconds later: only the end of such a silence says
/// when its reader came.
pub fn after_naming(by_box: &ByBox, named: &[Named], longer: f32) -> Vec<Silences> {
    let named: BTreeMap<Id, f32> = named.iter().map(|named| (named.id, named.at)).collect();
    let mut found = Vec::new();
    for series in by_box.series() {
        let Some(first) = series.iter().find(|request| request.asked == Asked::Get) else { continue };
        let Some(from) = named.get(&first.id).filter(|from| first.at - **from > longer) else { continue };
        found.push(Silences { id: first.id, times: vec![(*from, first.at)] });
    }
    found
}

/// Groups boxes whose silences are as many and end within `tolerance` of each other, and begin so if `begins` counts. A label for each.
pub fn together(boxes: &[Silences], tolerance: f32, begins: bool) -> Vec<usize> {
    let end = |at: usize| boxes.get(at).and_then(|silent| silent.times.first()).map_or(0.0, |(_, until)| *until);
    let mut order: Vec<usize> = (0..boxes.len()).collect();
    order.sort_by(|one, other| end(*one).total_cmp(&end(*other)));
    let mut labels: Vec<usize> = (0..boxes.len()).collect();
    for (place, one) in order.iter().enumerate() {
        for other in order.iter().skip(place + 1).take_while(|other| end(**other) - end(*one) <= tolerance) {
            if let (Some(a), Some(b)) = (boxes.get(*one), boxes.get(*other))
                && are_alike(a, b, tolerance, begins)
            {
                join(&mut labels, *one, *other);
            }
        }
    }
    (0..boxes.len()).map(|at| root(&labels, at)).collect()
}

fn are_alike(one: &Silences, other: &Silences, tolerance: f32, begins: bool) -> bool {
    let near = |(a, b): (&(f32, f32), &(f32, f32))| {
        (a.1 - b.1).abs() <= tolerance && (!begins || (a.0 - b.0).abs() <= tolerance)
    };
    one.times.len() == other.times.len() && one.times.iter().zip(&other.times).all(near)
}

fn root(labels: &[usize], mut at: usize) -> usize {
    while let Some(up) = labels.get(at).filter(|up| **up != at) {
        at = *up;
    }
    at
}

fn join(labels: &mut [usize], one: usize, other: usize) {
    let (one, other) = (root(labels, one), root(labels, other));
    if let Some(label) = labels.get_mut(one.max(other)) {
        *label = one.min(other);
    }
}

/// Adjusted Rand index of two partitions, a label for each thing: 1 if they agree, 0 on average by chance. `None` where it says
/// nothing: fewer than two things, or both partitions trivial.
pub fn adjusted_rand(found: &[usize], truth: &[usize]) -> Option<f64> {
    let pairs = |count: u64| (count * count.saturating_sub(1)) as f64 / 2.0;
    let mut both: BTreeMap<(usize, usize), u64> = BTreeMap::new();
    let (mut ones, mut others): (BTreeMap<usize, u64>, BTreeMap<usize, u64>) = Default::default();
    for (one, other) in found.iter().zip(truth) {
        *both.entry((*one, *other)).or_default() += 1;
        *ones.entry(*one).or_default() += 1;
        *others.entry(*other).or_default() += 1;
    }
    let index: f64 = both.values().map(|count| pairs(*count)).sum();
    let (a, b): (f64, f64) = (ones.values().map(|n| pairs(*n)).sum(), others.values().map(|n| pairs(*n)).sum());
    let all = pairs(found.len().min(truth.len()) as u64);
    let (expected, most) = (a * b / all, (a + b) / 2.0);
    (all > 0.0 && most > expected).then(|| (index - expected) / (most - expected))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_adjusted_rand_index_is_one_for_the_truth_whatever_the_names_and_that_of_the_book_otherwise() {
        assert_eq!(adjusted_rand(&[1, 1, 2, 2], &[7, 7, 3, 3]), Some(1.0));
        // Two pairs of six agree by chance: scikit-learn's example gives 0.57.
        let found = adjusted_rand(&[0, 0, 1, 2], &[0, 0, 1, 1]).unwrap();
        assert!((found - 4.0 / 7.0).abs() < 1e-12, "{found}");
        assert_eq!(adjusted_rand(&[0], &[0]), None);
    }

    #[test]
    fn boxes_that_are_silent_together_are_grouped() {
        let silent = |id, times: &[(f32, f32)]| Silences { id, times: times.to_vec() };
        let boxes = [silent(0, &[(10.0, 500.0)]), silent(1, &[(12.0, 505.0)]), silent(2, &[(300.0, 502.0)])];
        let labels = together(&boxes, 30.0, true);
        assert!(labels.first() == labels.get(1) && labels.first() != labels.get(2));
        assert_eq!(together(&boxes, 30.0, false), [0, 0, 0]);
    }
}
