//! An attack in fifty lines, to start one's own from: a mailbox that also sees clients' lines asks who sent a frame shortly before each
//! box was asked for, and takes who did so most often for the reader of a file whose boxes it was told. `cargo run --release -p
//! veilpost-lab --example echo`
#![allow(clippy::print_stdout, reason = "it prints what it found")]

use veilpost_lab::{
    attacks::Rank,
    impossible::Impossible,
    population::{Habits, Setup, Told, View, live},
    simulation::Asked,
};

/// Commands are some two seconds on their way: four mixing delays of half a second.
const WAY: f32 = 2.0;

/// A score for each client, of what can be seen and was told alone.
fn scores(view: &View, told: &Told) -> Vec<f64> {
    let asked = |id| view.requests.all.iter().filter(move |seen| seen.id == id && seen.asked == Asked::Get);
    let times: Vec<f32> = told.boxes.iter().flat_map(|id| asked(*id).map(|seen| seen.at)).collect();
    let before = |client, at: &f32| view.lines.frames(client, at - 2.0 * WAY, *at) as f64;
    let score = |client| times.iter().map(|at| before(client, at)).sum::<f64>() / view.lines.rate(client).max(1e-9);
    (0..view.lines.up.len()).map(score).collect()
}

fn main() -> Result<(), Impossible> {
    for clients in [100, 400] {
        let habits = Habits { files: 1.0, ..Habits::default() };
        let watched = live(&Setup { clients, habits, ..Setup::default() })?;
        let mut ranks = Vec::new();
        for (transfer, file) in watched.truth.transfers() {
            // The truth picks the boxes that the adversary is told of, and scores its answer. It sees no more of it.
            let told = watched.truth.boxes_of(transfer);
            ranks.extend(Rank::of(&scores(&watched.view, &told), file.to as usize));
        }
        let mean = |of: fn(&Rank) -> f64| ranks.iter().map(of).sum::<f64>() / ranks.len().max(1) as f64;
        println!(
            "{clients} clients, {} files: the reader is first in {:.0} %, {:.2} bits a file",
            ranks.len(),
            100.0 * mean(|rank| rank.first),
            mean(Rank::bits)
        );
    }
    Ok(())
}
