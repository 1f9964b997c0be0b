//! The command line of `veilpost-lab`.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it prints reports")]
#![allow(clippy::disallowed_methods, reason = "it says how long experiments took")]

mod report;
mod run;
mod sweep;

use crate::{
    impossible::Impossible,
    measure::{Figure, Kind, Measure, Run},
};
use clap::{Args, Parser, Subcommand};
use serde_json::{Map, Value, json};
use std::{process::ExitCode, time::Instant};

/// Measures what observers of a Veilpost network can learn, with the engines that ship, in virtual time.
///
/// Exit codes: 0 all figures are as expected, 1 some are not, 2 usage.
#[derive(Parser)]
#[command(
    name = "veilpost-lab",
    version,
    after_help = "Examples:\n  veilpost-lab list\n  veilpost-lab run E14 --seeds 20\n  veilpost-lab run --all --quick\n  \
        veilpost-lab entropy --layers 4 --corrupt 0.1 --json\n  \
        veilpost-lab sweep entropy --set rate=1000 --over layers=2,3,4\n  \
        veilpost-lab run --all --quick --out results && veilpost-lab report --from results\n  \
        veilpost-lab advise --users 1000 --latency 30s --bandwidth 800MB/day"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    common: Common,
}

#[derive(Args, Clone, Copy)]
struct Common {
    /// The seed, or the first of several; that of the experiment if not given, else 1
    #[arg(long, global = true, alias = "first")]
    seed: Option<u64>,
    /// Threads; one for each processor if not given
    #[arg(long, global = true, value_parser = clap::value_parser!(u16).range(1..=1_024))]
    threads: Option<u16>,
    /// One JSON object a line in place of tables
    #[arg(long, global = true)]
    json: bool,
}

impl Common {
    fn threads(&self) -> usize {
        let all = || std::thread::available_parallelism().map_or(1, usize::from);
        self.threads.map_or_else(all, usize::from)
    }

    fn run(&self, seed: u64) -> Run {
        Run { seed: self.seed.unwrap_or(seed), threads: self.threads() }
    }
}

#[derive(Subcommand)]
enum Command {
    /// Lists the experiments.
    List,
    /// Runs experiments and prints a table of their figures for each.
    Run(run::Arguments),
    /// Measures one kind with all values of some parameters.
    Sweep(sweep::Arguments),
    /// Makes one HTML page of results, with plots.
    Report(report::Page),
    /// Compares clients' lines in a capture of one's own.
    Lines(report::Lines),
    /// Finds parameters for a network of a given size.
    Advise(report::Advise),
    #[command(flatten)]
    Measure(Kind),
}

/// Does what the command line says. Usage errors end with 2, figures that are not as expected with 1.
pub fn main() -> ExitCode {
    let Arguments { command, common } = Arguments::parse();
    let done = match command {
        Command::List => {
            run::list();
            Ok(true)
        }
        Command::Run(arguments) => run::run(&arguments, &common),
        Command::Sweep(arguments) => sweep::sweep(&arguments, &common),
        Command::Report(arguments) => report::page(&arguments, &common),
        Command::Lines(arguments) => report::lines(&arguments, &common),
        Command::Advise(arguments) => report::advise(&arguments, &common),
        Command::Measure(kind) => measure(&kind, &common),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(reason) => {
            eprintln!("veilpost-lab: {reason}");
            ExitCode::from(2)
        }
    }
}

fn clock() -> Instant {
    Instant::now()
}

fn measure(kind: &Kind, common: &Common) -> Result<bool, Impossible> {
    let figures = kind.run(&common.run(1))?;
    if common.json {
        println!("{}", line(&figures));
        return Ok(true);
    }
    for Figure { name, unit, value, interval, n } in &figures {
        let interval = interval.map(|(low, high)| format!(" ({low:.4} to {high:.4})")).unwrap_or_default();
        let of = if *n > 0 { format!(", n = {n}") } else { String::new() };
        println!("{name}: {value:.6}{interval} {unit}{of}");
    }
    Ok(true)
}

/// All figures by name; interval and size are those of the first.
fn line(figures: &[Figure]) -> Value {
    let mut line = Map::new();
    for figure in figures {
        line.insert(figure.name.into(), json!(figure.value));
        if line.len() == 1 {
            line.extend(figure.interval.map(|(low, high)| ("ci95".into(), json!([low, high]))));
            if figure.n > 0 {
                line.insert("n".into(), json!(figure.n));
            }
        }
    }
    Value::Object(line)
}
