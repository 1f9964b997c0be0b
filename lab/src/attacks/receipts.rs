//! Receipts against sealed sender: Martiny, Kaptchuk, Aviv, Roche and Wustrow, "Improving Signal's sealed sender", NDSS 2021. A device
//! that says at once that it has a message sends something to the message's sender, so who is sent something right after the target
//! has read, more often than at other times, is who writes to the target.
//!
//! Candidates are ranked by the likelihood of one more event for each reading, against the usual rate alone; the paper ranks by the
//! difference of the two rates, which people who get much from others distort.

use crate::population::{Id, Lines, Requests};
use crate::simulation::Asked;
use std::collections::BTreeSet;

/// Seconds after a reading in which a receipt is looked for.
pub const WINDOW: f32 = 30.0;

/// What mailboxes with accounts know: for whom each box is. Ours have none; a weaker design does.
#[derive(Clone, Debug, Default)]
pub struct Accounts {
    /// When each box was first written, in order of time, and whom it is for.
    puts: Vec<(f32, u32)>,
    /// Boxes for each account in all.
    all: Vec<f64>,
}

impl Accounts {
    /// `reader`: by id of the box, whom it is for, of `count`.
    pub fn new(requests: &Requests, reader: impl Fn(Id) -> Option<u32>, count: usize) -> Self {
        let mut seen = BTreeSet::new();
        let puts = requests.all.iter().filter(|request| request.asked == Asked::Put);
        let puts = puts.filter(|request| seen.insert(request.id));
        let puts: Vec<(f32, u32)> = puts.filter_map(|put| Some((put.at, reader(put.id)?))).collect();
        let mut all = vec![0.0; count];
        for (_, account) in &puts {
            all.get_mut(*account as usize).into_iter().for_each(|count| *count += 1.0);
        }
        Self { puts, all }
    }
}

/// Scores of all accounts after these readings by the boxes written for each in the windows after them. `span`: seconds of the
/// whole watch, from which the usual rates are known.
pub fn by_accounts(accounts: &Accounts, span: f32, readings: &[f32]) -> Vec<f64> {
    let mut after = vec![0.0; accounts.all.len()];
    for reading in readings {
        let from = accounts.puts.partition_point(|(at, _)| at < reading);
        let within = accounts.puts.iter().skip(from).take_while(|(at, _)| at - reading < WINDOW);
        for (_, account) in within {
            after.get_mut(*account as usize).into_iter().for_each(|count| *count += 1.0);
        }
    }
    let share = f64::from(WINDOW / span.max(WINDOW)) * readings.len() as f64;
    let score = |(after, all): (&f64, &f64)| likelihood(*after, all * share, readings.len());
    after.iter().zip(&accounts.all).map(score).collect()
}

/// Scores of all clients by their lines alone: frames in the windows.
pub fn by_lines(lines: &Lines, readings: &[f32]) -> Vec<f64> {
    let score = |client: usize| {
        let after: usize = readings.iter().map(|at| lines.frames(client, *at, at + WINDOW)).sum();
        let usual = lines.rate(client) * f64::from(WINDOW) * readings.len() as f64;
        likelihood(after as f64, usual, readings.len())
    };
    (0..lines.up.len()).map(score).collect()
}

/// Logarithm of the likelihood of this count with one event more for each reading, against the usual number alone (Poisson).
fn likelihood(count: f64, usual: f64, readings: usize) -> f64 {
    // Who is hardly ever sent anything would be infinitely likely after one event.
    const LEAST: f64 = 0.05;
    let (usual, more) = (usual.max(LEAST), readings as f64);
    count * ((usual + more) / usual).ln() - more
}
