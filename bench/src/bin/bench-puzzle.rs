//! `bench-puzzle`: what a Put's client puzzle costs who solves it and who verifies it, by effort.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a program that measures and prints"
)]

use clap::Parser;
use std::{hint::black_box, process::ExitCode, time::Instant};
use veilpost_bench::{Options, Report, Result, Row, median, percentile};
use veilpost_packet::{
    boxes::SealedBox,
    ids::{BoxId, NetworkId, NodeId},
    primitives::hash,
    puzzle::{Effort, Puzzle},
    time::Day,
};
use veilpost_pki::PutAdmission;

/// Measures the client puzzle.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(flatten)]
    options: Options,
}

/// Efforts that a document may ask, and puzzles solved at each.
const EFFORTS: [u32; 3] = [1, 2, 4];
const PUZZLES: u64 = 60;
/// Verifications of one solution in a row, whose mean is one measurement.
const REPEATS: u32 = 10;

fn main() -> ExitCode {
    let Arguments { options } = Arguments::parse();
    match measure(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-puzzle: {error}");
            ExitCode::FAILURE
        }
    }
}

fn puzzle(effort: u32, number: u64) -> Puzzle {
    let id = BoxId(hash("bench-puzzle", &[&number.to_be_bytes()]));
    let admission = PutAdmission { effort: Effort(effort), box_days: 15, ..PutAdmission::free(NetworkId([1; 32])) };
    admission.puzzle(&NodeId([2; 32]), &id, Day(15))
}

fn measure(options: Options) -> Result<()> {
    let report = Report::new("bench-puzzle", options);
    for effort in EFFORTS {
        let (mut solving, mut verifying) = (Vec::new(), Vec::new());
        for number in 0..PUZZLES {
            let puzzle = puzzle(effort, number);
            let started = Instant::now();
            let solution = puzzle.solve().ok_or("a puzzle was not solved")?;
            solving.push(started.elapsed().as_secs_f64() * 1e3);
            let started = Instant::now();
            for _ in 0..REPEATS {
                if !black_box(puzzle).verify(&solution) {
                    return Err("a solution does not verify".into());
                }
            }
            verifying.push(started.elapsed().as_secs_f64() * 1e6 / f64::from(REPEATS));
        }
        let mean = solving.iter().sum::<f64>() / solving.len() as f64;
        let boxes_per_gb = 1e9 / SealedBox::SIZE as f64;
        let spread = format!("median {:.0}, p95 {:.0}", median(&solving), percentile(&solving, 95.0));
        report.print(
            &format!("Effort {effort}, one core, programs interpreted"),
            &[
                Row::new("solve, mean", mean, "ms").note(spread),
                Row::new("verify", median(&verifying), "us").note(format!("p95 {:.0}", percentile(&verifying, 95.0))),
                Row::new("processor time for 1 GB of boxes", mean / 1e3 * boxes_per_gb, "s"),
            ],
        );
    }
    Ok(())
}
