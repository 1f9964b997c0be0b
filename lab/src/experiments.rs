//! Experiments whose worlds and expectations are code, a file each; `lab/experiments/` says with how many seeds they run.

pub mod activity;
pub mod boxes;
pub mod bulk;
pub mod burst;
pub mod crowd;
pub mod crowd_activity;
pub mod disclosure;
pub mod loss_oracle;
pub mod n_minus_one;
pub mod receipts;
pub mod reliability;
pub mod replies;
pub mod series;
pub mod silence;
pub mod unobservability;

use crate::{impossible::Impossible, measure::read_over_defaults, report::Report};
use serde::Deserialize;
use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};
use toml::Table;

/// How an experiment runs.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The first seed.
    pub first: u64,
    /// How many seeds.
    pub seeds: usize,
    /// Threads.
    pub threads: usize,
    /// Whether to say on standard error how far it is.
    pub progress: bool,
}

/// Experiments whose worlds and expectations are code, as files name them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "each is the module of its name, and its file says what it asks")]
pub enum Program {
    Activity,
    Boxes,
    Bulk,
    Burst,
    CrowdActivity,
    Disclosure,
    LossOracle,
    NMinusOne,
    Receipts,
    Reliability,
    Replies,
    Series,
    Silence,
    Unobservability,
}

impl Program {
    /// Runs all seeds. Crowds are set up by parameters; the other worlds have none.
    ///
    /// # Errors
    /// A parameter that there is not, or that cannot be.
    pub fn run(self, parameters: Table, options: &Options) -> Result<Report, Impossible> {
        let run = match self {
            Self::Bulk => return bulk::run(&read_over_defaults(parameters)?, options),
            Self::CrowdActivity => return crowd_activity::run(&read_over_defaults(parameters)?, options),
            Self::Disclosure => return disclosure::run(&read_over_defaults(parameters)?, options),
            Self::Receipts => return receipts::run(&read_over_defaults(parameters)?, options),
            Self::Series => return series::run(&read_over_defaults(parameters)?, options),
            Self::Silence => return silence::run(&read_over_defaults(parameters)?, options),
            Self::Activity => activity::run,
            Self::Boxes => boxes::run,
            Self::Burst => burst::run,
            Self::LossOracle => loss_oracle::run,
            Self::NMinusOne => n_minus_one::run,
            Self::Reliability => reliability::run,
            Self::Replies => replies::run,
            Self::Unobservability => unobservability::run,
        };
        match parameters.keys().next() {
            Some(name) => Err(Impossible(format!("this experiment has no parameter `{name}`"))),
            None => Ok(run(options)),
        }
    }
}

/// Runs `one` for each seed on the options' threads; results in order of seeds.
pub(crate) fn over_seeds<T: Send>(options: &Options, one: impl Fn(u64) -> T + Sync) -> Vec<T> {
    let (next, done) = (AtomicU64::new(0), Mutex::new(Vec::new()));
    let count = options.seeds as u64;
    std::thread::scope(|scope| {
        for _ in 0..options.threads.max(1) {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        return;
                    }
                    let result = one(options.first + number);
                    let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
                    done.push((number, result));
                    if options.progress {
                        report_progress(done.len(), options.seeds);
                    }
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(number, _)| *number);
    done.into_iter().map(|(_, result)| result).collect()
}

#[allow(clippy::print_stderr, reason = "progress is for people who wait")]
fn report_progress(done: usize, of: usize) {
    if done == of || done.is_multiple_of(of.div_ceil(20).max(1)) {
        eprintln!("{done} of {of} seeds");
    }
}
