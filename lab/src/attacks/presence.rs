//! Whose is a box that was read late? Its reader was offline when digests named it, and has come back before it was asked for:
//! intersection by presence, as in Kesdogan, Agrawal and Penz, "Limits of anonymity in open environments", IH 2002, with the shipped
//! client's known waits after a return (`client::core::reading`): exponential with a mean of ten minutes, half an hour at most.
//!
//! The view is that of mailboxes together with a watcher of lines, who sees when each client is online.

use crate::population::Lines;

/// Mean and bound of the wait after a return, in seconds.
const WAIT: (f32, f32) = (600.0, 1_800.0);
/// What the Wants, the queue and the way add at most, seconds.
const SLACK: f32 = 120.0;

/// Likelihood of each client, up to a factor, for a box that was named and first asked for at these times.
pub fn by_return(lines: &Lines, named: f32, asked: f32) -> Vec<f64> {
    let score = |online: &Vec<(f32, f32)>| {
        if online.iter().any(|(from, until)| (*from..*until).contains(&named)) {
            return 0.0;
        }
        // The first return after it was named.
        let back = online.iter().map(|(from, _)| *from).find(|from| *from > named);
        back.map_or(0.0, |back| likelihood(asked - back))
    };
    lines.online.iter().map(score).collect()
}

fn likelihood(waited: f32) -> f64 {
    if (0.0..WAIT.1 + SLACK).contains(&waited) { f64::from((-waited / WAIT.0).exp()) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_came_back_shortly_before_is_likelier_than_who_came_long_before_and_who_was_there_is_not_suspected() {
        let online = vec![vec![(500.0, 900.0)], vec![(200.0, 900.0)], vec![(0.0, 900.0)], vec![(700.0, 900.0)]];
        let lines = Lines { up: Vec::new(), online, span: 1_000.0 };
        let scores = by_return(&lines, 100.0, 600.0);
        assert!(scores.first() > scores.get(1) && scores.get(1) > Some(&0.0), "{scores:?}");
        assert_eq!((scores.get(2), scores.get(3)), (Some(&0.0), Some(&0.0)));
    }
}
