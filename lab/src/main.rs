//! `veilpost-lab`: measures what observers can learn, with the engines that ship.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it prints reports")]

use clap::{Parser, Subcommand};
use std::process::ExitCode;
use veilpost_lab::experiments::{ALL, Experiment, Options};

/// Measures what observers of a Veilpost network can learn, with the engines that ship, in virtual time.
///
/// Exit codes: 0 all figures are as expected, 1 some are not, 2 usage.
#[derive(Parser)]
#[command(
    name = "veilpost-lab",
    version,
    after_help = "Examples:\n  veilpost-lab list\n  veilpost-lab run E14 --seeds 20\n  veilpost-lab run --all --json"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Lists the experiments.
    List,
    /// Runs experiments and prints a table of their figures for each.
    Run {
        /// Which, such as E14.
        #[arg(required_unless_present = "all")]
        experiments: Vec<String>,
        /// All of them.
        #[arg(long, conflicts_with = "experiments")]
        all: bool,
        /// Seeds; as many as the experiment is made for if not given.
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
        seeds: Option<u32>,
        /// The first seed.
        #[arg(long, default_value_t = 1)]
        first: u32,
        /// Threads; one for each processor if not given.
        #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1_024))]
        threads: Option<u16>,
        /// One JSON object a line in place of tables.
        #[arg(long)]
        json: bool,
    },
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::List => {
            ALL.iter().for_each(|experiment| {
                println!("{:4} {} ({} seeds)", experiment.id, experiment.title, experiment.seeds)
            });
            ExitCode::SUCCESS
        }
        Command::Run { experiments, all, seeds, first, threads, json } => {
            let mut chosen: Vec<&Experiment> = Vec::new();
            for name in &experiments {
                let Some(found) = ALL.iter().find(|experiment| experiment.id.eq_ignore_ascii_case(name)) else {
                    eprintln!("there is no experiment {name}; `veilpost-lab list` names them");
                    return ExitCode::from(2);
                };
                chosen.push(found);
            }
            if all {
                chosen.extend(ALL);
            }
            let threads = threads.map(usize::from);
            let threads = threads.or_else(|| std::thread::available_parallelism().ok().map(usize::from)).unwrap_or(1);
            let seeds = seeds.and_then(|seeds| usize::try_from(seeds).ok());
            let run = |experiment: &&Experiment| {
                let seeds = seeds.unwrap_or(experiment.seeds);
                let report = (experiment.run)(&Options { first: u64::from(first), seeds, threads, progress: !json });
                if json {
                    println!("{}", serde_json::to_string(&report).unwrap_or_default());
                } else {
                    println!("{report}");
                }
                report.is_met()
            };
            let met: Vec<bool> = chosen.iter().map(run).collect();
            if met.iter().all(|met| *met) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
    }
}
