//! `list` and `run`.

use super::Common;
use crate::{
    files::{self, Experiment},
    impossible::Impossible,
    report::Report,
    results::{Made, Results},
};
use std::path::PathBuf;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Which, such as E14
    #[arg(required_unless_present_any = ["all", "file"])]
    experiments: Vec<String>,
    /// All of them
    #[arg(long, conflicts_with = "experiments")]
    all: bool,
    /// An experiment of one's own, from a file; see `lab/experiments/` for how they look
    #[arg(long, value_name = "FILE")]
    file: Vec<PathBuf>,
    /// Smaller samples: what is seen at once is seen
    #[arg(long)]
    quick: bool,
    /// Seeds of experiments that have some; as many as they are made for if not given
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    seeds: Option<u32>,
    /// Folder for results: results.csv, results.parquet, and a file for each experiment. A run that was stopped goes on with the first
    /// experiment that is not there
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

pub(super) fn list() {
    for experiment in files::shipped() {
        println!("{:4} {} ({})", experiment.id, experiment.title, experiment.summary());
    }
    println!("{REAL_LOOPS:4} do loops take as long as the delays drawn for them? ({REAL})");
}

/// The one experiment that is real processes and nothing else.
const REAL_LOOPS: &str = "E16";
const REAL: &str = "on a network of real processes: `bench-loops`, built by `cargo build --release`";

pub(super) fn run(arguments: &Arguments, common: &Common) -> Result<bool, Impossible> {
    let seeds = arguments.seeds.and_then(|seeds| usize::try_from(seeds).ok());
    let chosen = chosen(arguments)?;
    let results = arguments.out.as_deref().map(Results::open).transpose()?;
    let mut met = true;
    for (experiment, text) in chosen {
        let made = Made::now(&text, arguments.quick, seeds, common.seed);
        let done = results.as_ref().and_then(|results| results.find(&experiment.id, &made));
        let report = match done {
            Some(report) => {
                eprintln!("{}: was done before, with the same program and parameters", experiment.id);
                report
            }
            None => {
                let progress = |case: &str| eprintln!("{case}");
                let progress: Option<&dyn Fn(&str)> = if common.json { None } else { Some(&progress) };
                let clock = super::clock();
                let report = experiment.run(&common.run(experiment.seed), arguments.quick, seeds, progress)?;
                let made = Made { seconds: clock.elapsed().as_secs_f64(), ..made };
                results.as_ref().map_or(Ok(()), |results| results.keep(&report, &made))?;
                report
            }
        };
        print(&report, common.json);
        met &= report.is_met();
    }
    Ok(met)
}

/// Experiments with the text of their files.
fn chosen(arguments: &Arguments) -> Result<Vec<(Experiment, String)>, Impossible> {
    let mut chosen = Vec::new();
    for file in &arguments.file {
        let named = |reason: String| Impossible(format!("{}: {reason}", file.display()));
        let text = std::fs::read_to_string(file).map_err(|error| named(error.to_string()))?;
        let experiment = Experiment::parse(&text).map_err(|reason| named(reason.to_string()))?;
        chosen.push((experiment, text));
    }
    let shipped = || files::shipped().into_iter().zip(files::SHIPPED.iter().map(|text| (*text).to_owned()));
    for name in &arguments.experiments {
        let found = shipped().find(|(experiment, _)| experiment.id.eq_ignore_ascii_case(name));
        let unknown = || match name.eq_ignore_ascii_case(REAL_LOOPS) {
            true => Impossible(format!("{REAL_LOOPS} runs {REAL}")),
            false => Impossible(format!("there is no experiment {name}; `veilpost-lab list` names them")),
        };
        chosen.push(found.ok_or_else(unknown)?);
    }
    if arguments.all {
        chosen.extend(shipped());
    }
    Ok(chosen)
}

pub(super) fn print(report: &Report, as_json: bool) {
    if as_json {
        println!("{}", serde_json::to_string(report).unwrap_or_default());
    } else {
        println!("{report}");
    }
}
