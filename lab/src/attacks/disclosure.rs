//! Statistical disclosure: Danezis, "Statistical disclosure attacks", SEC 2003; Mathewson and Dingledine, "Practical traffic
//! analysis", PET 2004. Least squares: Perez-Gonzalez and Troncoso, "Understanding statistical disclosure", PETS 2012; Oya,
//! Troncoso and Perez-Gonzalez, "Meet the family of statistical disclosure attacks", GlobalSIP 2013 (arXiv 1910.07603).
//!
//! The adversary sees in each round who sends how much and who receives how much. A round is the batch of a threshold mix, or the
//! time after somebody sent something.

/// What comes in a round, by receiver.
pub type Received = Vec<f64>;

/// Statistical disclosure: what each receives in the mean of the target's rounds, less what it receives without the target,
/// `(b - 1) u` in Danezis' terms. The highest are the target's contacts. Empty without rounds.
pub fn statistical(rounds: &[Received], background: &[f64]) -> Vec<f64> {
    let Some(first) = rounds.first() else { return Vec::new() };
    let mut scores = vec![0.0; first.len()];
    for round in rounds {
        scores.iter_mut().zip(round).for_each(|(score, count)| *score += count / rounds.len() as f64);
    }
    scores.iter_mut().zip(background).for_each(|(score, usual)| *score -= usual);
    scores
}

/// Least squares: the profile of `target` in P that makes `sent` P closest to `received`; a row a round. `None` if there are too
/// few rounds to tell all senders apart.
pub fn least_squares(sent: &[Vec<f64>], received: &[Received], target: usize) -> Option<Vec<f64>> {
    let senders = sent.first()?.len();
    let mut normal = vec![vec![0.0; senders]; senders];
    for row in sent {
        for (into, one) in normal.iter_mut().zip(row).filter(|(_, one)| **one != 0.0) {
            into.iter_mut().zip(row).for_each(|(sum, other)| *sum += one * other);
        }
    }
    let mut unit = vec![0.0; senders];
    *unit.get_mut(target)? = 1.0;
    // Row `target` of the inverse, which is symmetric, says how each round counts.
    let weights = solve(normal, unit)?;
    let mut profile = vec![0.0; received.first()?.len()];
    for (row, round) in sent.iter().zip(received) {
        let weight: f64 = row.iter().zip(&weights).map(|(count, weight)| count * weight).sum();
        profile.iter_mut().zip(round).for_each(|(sum, count)| *sum += weight * count);
    }
    Some(profile)
}

/// Solves `a x = b` for a symmetric positive definite `a` by elimination; `None` if it is singular.
fn solve(mut a: Vec<Vec<f64>>, mut b: Vec<f64>) -> Option<Vec<f64>> {
    const SINGULAR: f64 = 1e-9;
    let n = b.len();
    for at in 0..n {
        let (above, below) = a.split_at_mut(at + 1);
        let row = above.get(at)?;
        let pivot = *row.get(at)?;
        if pivot < SINGULAR {
            return None;
        }
        let value = *b.get(at)?;
        for (lower, other) in below.iter_mut().zip(b.iter_mut().skip(at + 1)) {
            let factor = lower.get(at)? / pivot;
            if factor != 0.0 {
                lower.iter_mut().zip(row).skip(at).for_each(|(entry, up)| *entry -= factor * up);
                *other -= factor * value;
            }
        }
    }
    let mut x = vec![0.0; n];
    for (at, row) in a.iter().enumerate().rev() {
        let known: f64 = row.iter().zip(&x).skip(at + 1).map(|(entry, value)| entry * value).sum();
        *x.get_mut(at)? = (b.get(at)? - known) / row.get(at)?;
    }
    Some(x)
}

/// Share of the true contacts among as many of the highest scores; what ties with the last counts in part.
pub fn recall(scores: &[f64], contacts: &[u32]) -> f64 {
    shares(scores, contacts).0
}

/// The same where ties with the last are all won by contacts: what sorting gives if contacts come first in the list.
pub fn recall_at_best(scores: &[f64], contacts: &[u32]) -> f64 {
    shares(scores, contacts).1
}

fn shares(scores: &[f64], contacts: &[u32]) -> (f64, f64) {
    let mut order: Vec<f64> = scores.to_vec();
    order.sort_by(|one, other| other.total_cmp(one));
    let last = contacts.len().checked_sub(1).and_then(|last| order.get(last)).copied();
    let Some(last) = last else { return (0.0, 0.0) };
    let count = |holds: &dyn Fn(f64) -> bool| scores.iter().filter(|score| holds(**score)).count() as f64;
    let own = |holds: &dyn Fn(f64) -> bool| {
        contacts.iter().filter_map(|contact| scores.get(*contact as usize)).filter(|score| holds(**score)).count()
            as f64
    };
    let wanted = contacts.len() as f64;
    let places = wanted - count(&|score| score > last);
    let (above, tied) = (own(&|score| score > last), own(&|score| score == last));
    let in_part = above + tied * places / count(&|score| score == last).max(1.0);
    (in_part / wanted, (above + tied.min(places)) / wanted)
}

/// Rounds after which the target's m contacts among n receivers stand out of batches of b by `sigmas` standard deviations:
/// `m^2 l^2 (sqrt((m - 1) / m^2 + (b - 1)(n - 1) / n^2) + sqrt((b - 1)(n - 1) / n^2))^2`, rounded up.
pub fn rounds_needed(receivers: usize, contacts: usize, batch: usize, sigmas: f64) -> usize {
    let (n, m, b) = (receivers as f64, contacts as f64, batch as f64);
    let others = (b - 1.0) * (n - 1.0) / (n * n);
    let noise = ((m - 1.0) / (m * m) + others).sqrt() + others.sqrt();
    (m * m * sigmas * sigmas * noise * noise).ceil() as usize
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn rounds_needed_are_those_of_the_table() {
        let table = [(1_000, 20, 50, [114, 453, 1_019]), (100, 10, 10, [53, 209, 469]), (1_000, 5, 100, [17, 68, 153])];
        for (n, m, b, rounds) in table {
            assert_eq!([1.0, 2.0, 3.0].map(|sigmas| rounds_needed(n, m, b, sigmas)), rounds);
        }
    }

    #[test]
    fn least_squares_finds_profiles_without_noise_exactly() {
        // Three senders; the first writes to 0 and 1 alike, the second to 2, the third to 1.
        let profiles = [[0.5, 0.5, 0.0], [0.0, 0.0, 1.0], [0.0, 1.0, 0.0]];
        let sent: Vec<Vec<f64>> = [[2.0, 1.0, 0.0], [1.0, 0.0, 3.0], [0.0, 2.0, 1.0], [1.0, 1.0, 1.0]]
            .iter()
            .map(|row| row.to_vec())
            .collect();
        let received: Vec<Received> = sent
            .iter()
            .map(|row| {
                (0..3).map(|to| row.iter().zip(&profiles).map(|(count, profile)| count * profile[to]).sum()).collect()
            })
            .collect();
        let found = least_squares(&sent, &received, 0).unwrap();
        assert!(found.iter().zip(profiles[0]).all(|(found, true_)| (found - true_).abs() < 1e-9), "{found:?}");
        assert_eq!(least_squares(&sent[..2], &received[..2], 0), None, "two rounds do not tell three senders apart");
    }

    #[test]
    fn recall_counts_ties_in_part() {
        assert_eq!(recall(&[5.0, 4.0, 0.0, 0.0], &[0, 1]), 1.0);
        assert_eq!((recall(&[0.0; 4], &[0, 1]), recall_at_best(&[0.0; 4], &[0, 1])), (0.5, 1.0));
        assert_eq!((recall(&[2.0, 1.0, 1.0], &[1, 2]), recall_at_best(&[2.0, 1.0, 1.0], &[1, 2])), (0.5, 0.5));
        assert_eq!(recall(&[1.0, 2.0], &[]), 0.0);
    }
}
