//! The experiments of the lab, a file each.

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

use crate::report::Report;
use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

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

/// An experiment by its name.
#[derive(Clone, Copy, Debug)]
pub struct Experiment {
    /// Such as `E14`.
    pub id: &'static str,
    /// What is asked.
    pub title: &'static str,
    /// Seeds of a full run.
    pub seeds: usize,
    /// Runs it.
    pub run: fn(&Options) -> Report,
}

/// All of them.
pub const ALL: &[Experiment] = &[
    Experiment {
        id: "E12",
        title: "does statistical disclosure find whom somebody writes to?",
        seeds: disclosure::SEEDS,
        run: disclosure::run,
    },
    Experiment {
        id: "E13",
        title: "do receipts show who writes to somebody?",
        seeds: receipts::SEEDS,
        run: receipts::run,
    },
    Experiment {
        id: "E14",
        title: "is an idle client told from a busy one on its own line?",
        seeds: 200,
        run: unobservability::run,
    },
    Experiment {
        id: "E15",
        title: "how often does a stealthy n-1 attempt on a mix succeed?",
        seeds: 20,
        run: n_minus_one::run,
    },
    Experiment { id: "E17", title: "whose are the requests for one box?", seeds: series::SEEDS, run: series::run },
    Experiment {
        id: "E18",
        title: "do boxes that fall silent and return together show whose they are?",
        seeds: silence::SEEDS,
        run: silence::run,
    },
    Experiment { id: "E19", title: "does a dropped reply show whose box it was?", seeds: 20, run: loss_oracle::run },
    Experiment {
        id: "E20",
        title: "can a mailbox mark a client's downlink by a burst of replies?",
        seeds: 50,
        run: burst::run,
    },
    Experiment {
        id: "E21",
        title: "does a watcher of a mailbox tell writes from reads?",
        seeds: 10,
        run: replies::run,
    },
    Experiment { id: "E22", title: "who sends a file, and who reads it?", seeds: bulk::SEEDS, run: bulk::run },
    Experiment {
        id: "E24",
        title: "do mailboxes and digests show whether people write?",
        seeds: 200,
        run: activity::run,
    },
    Experiment {
        id: "E24P",
        title: "do mailboxes and digests show whether a crowd writes?",
        seeds: crowd_activity::SEEDS,
        run: crowd_activity::run,
    },
    Experiment {
        id: "E25",
        title: "does a box's life at the mailboxes show whether it is real?",
        seeds: 10,
        run: boxes::run,
    },
    Experiment {
        id: "E26",
        title: "how soon is a mix that drops packets left out, and who is by mistake?",
        seeds: 20,
        run: reliability::run,
    },
];

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
