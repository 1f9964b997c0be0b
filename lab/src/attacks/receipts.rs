//! Receipts against sealed sender: Martiny, Kaptchuk, Aviv, Roche and Wustrow, "Improving Signal's sealed sender", NDSS 2021. A device
//! that says at once that it has a message sends something to the message's sender, so who is sent something right after the target
//! has read, more often than at other times, is who writes to the target.

use crate::population::{Id, Lines, Requests};
use crate::simulation::Asked;

/// Seconds after a reading in which a receipt is looked for.
pub const WINDOW: f32 = 30.0;

/// What mailboxes with accounts know: for whom each box is. Ours have none; a weaker design does.
#[derive(Clone, Debug, Default)]
pub struct Accounts {
    /// Puts in order of time, with whom the box is for.
    puts: Vec<(f32, u32)>,
    /// Puts for each account in all.
    all: Vec<f64>,
}

impl Accounts {
    /// `reader`: by id of the box, whom it is for, of `count`.
    pub fn new(requests: &Requests, reader: impl Fn(Id) -> Option<u32>, count: usize) -> Self {
        let puts = requests.all.iter().filter(|request| request.asked == Asked::Put);
        let puts: Vec<(f32, u32)> = puts.filter_map(|put| Some((put.at, reader(put.id)?))).collect();
        let mut all = vec![0.0; count];
        for (_, account) in &puts {
            all.get_mut(*account as usize).into_iter().for_each(|count| *count += 1.0);
        }
        Self { puts, all }
    }
}

/// Scores of all accounts after these readings: boxes written for each in the windows after them, less what is written for it in
/// as much of the whole watch of `span` seconds on average.
pub fn by_accounts(accounts: &Accounts, span: f32, readings: &[f32]) -> Vec<f64> {
    let share = f64::from(WINDOW / span.max(WINDOW)) * readings.len() as f64;
    let mut scores: Vec<f64> = accounts.all.iter().map(|count| -count * share).collect();
    for reading in readings {
        let from = accounts.puts.partition_point(|(at, _)| at < reading);
        let after = accounts.puts.iter().skip(from).take_while(|(at, _)| at - reading < WINDOW);
        for (_, account) in after {
            scores.get_mut(*account as usize).into_iter().for_each(|score| *score += 1.0);
        }
    }
    scores
}

/// Scores of all clients by their lines alone: frames in the windows, less what each sends in as much time on average.
pub fn by_lines(lines: &Lines, readings: &[f32]) -> Vec<f64> {
    let score = |client: usize| {
        let after: usize = readings.iter().map(|at| lines.frames(client, *at, at + WINDOW)).sum();
        after as f64 - lines.rate(client) * f64::from(WINDOW) * readings.len() as f64
    };
    (0..lines.up.len()).map(score).collect()
}
