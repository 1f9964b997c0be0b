//! `list` and `run`: experiments from files and in code, side by side.

use super::Common;
use crate::{
    experiments::{self, Options},
    files::{self, Experiment},
    impossible::Impossible,
    report::Report,
};
use std::path::PathBuf;

/// Of what a full run of an experiment in code has seeds, a quick one has this share, and two at least.
const QUICK: usize = 10;

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
    /// Seeds of experiments in code; as many as they are made for if not given. Those in files say themselves how large their
    /// samples are
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    seeds: Option<u32>,
}

/// An experiment, wherever it stands.
enum Any {
    File(Box<Experiment>),
    Code(&'static experiments::Experiment),
}

impl Any {
    fn id(&self) -> &str {
        match self {
            Self::File(experiment) => &experiment.id,
            Self::Code(experiment) => experiment.id,
        }
    }

    /// Its place in the list: by number.
    fn number(&self) -> u32 {
        self.id().trim_start_matches('E').parse().unwrap_or(u32::MAX)
    }

    fn run(&self, arguments: &Arguments, common: &Common) -> Result<Report, Impossible> {
        match self {
            Self::File(experiment) => experiment.run(&common.run(experiment.seed), arguments.quick, |case| {
                if !common.json {
                    eprintln!("{case}");
                }
            }),
            Self::Code(experiment) => {
                let few = |seeds: usize| if arguments.quick { seeds.div_ceil(QUICK).max(2) } else { seeds };
                let seeds = arguments.seeds.and_then(|seeds| usize::try_from(seeds).ok());
                let options = Options {
                    first: common.seed.unwrap_or(1),
                    seeds: seeds.unwrap_or_else(|| few(experiment.seeds)),
                    threads: common.threads(),
                    progress: !common.json,
                };
                Ok((experiment.run)(&options))
            }
        }
    }
}

fn all() -> Vec<Any> {
    let mut all: Vec<Any> = files::shipped().into_iter().map(|experiment| Any::File(Box::new(experiment))).collect();
    all.extend(experiments::ALL.iter().map(Any::Code));
    all.sort_by_key(Any::number);
    all
}

pub(super) fn list() {
    for any in all() {
        match &any {
            Any::File(file) => println!("{:4} {} ({}, {} cases)", file.id, file.title, file.kind, file.cases()),
            Any::Code(code) => println!("{:4} {} ({} seeds)", code.id, code.title, code.seeds),
        }
    }
}

pub(super) fn run(arguments: &Arguments, common: &Common) -> Result<bool, Impossible> {
    let mut chosen = Vec::new();
    for file in &arguments.file {
        let named = |reason: String| Impossible(format!("{}: {reason}", file.display()));
        let text = std::fs::read_to_string(file).map_err(|error| named(error.to_string()))?;
        let experiment = Experiment::parse(&text).map_err(|reason| named(reason.to_string()))?;
        chosen.push(Any::File(Box::new(experiment)));
    }
    for name in &arguments.experiments {
        let found = all().into_iter().find(|any| any.id().eq_ignore_ascii_case(name));
        let unknown = || Impossible(format!("there is no experiment {name}; `veilpost-lab list` names them"));
        chosen.push(found.ok_or_else(unknown)?);
    }
    if arguments.all {
        chosen.extend(all());
    }
    let mut met = true;
    for any in chosen {
        let report = any.run(arguments, common)?;
        print(&report, common.json);
        met &= report.is_met();
    }
    Ok(met)
}

pub(super) fn print(report: &Report, as_json: bool) {
    if as_json {
        println!("{}", serde_json::to_string(report).unwrap_or_default());
    } else {
        println!("{report}");
    }
}
