//! `bench-lab`: how fast the lab's packet flows run, with the shipped mix engine, on one processor.
//!
//! - Hops: a packet is admitted by a mix, remembered, delayed and sent on. Without an observer, and with the attack that follows masses.
//! - Messages, beside MiXiM's 5,090 a second of the same network (Python, measured on such a machine; LAB 3).
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program that measures and prints")]

use clap::Parser;
use std::{process::ExitCode, time::Duration};
use veilpost_bench::{Options, Report, Result, Row, median, process::thread_time};
use veilpost_lab::{
    attacks::entropy::{Entropy, Targets},
    flow::{
        Flow, Poisson, START, Setup,
        view::{Adversary, Observer, Sight},
    },
};
use veilpost_packet::random::{fork, seeded};

/// Measures packet flows of the lab.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(flatten)]
    options: Options,
}

/// The network of MiXiM's figure 7: 5,000 messages a second, 3 layers of 10 mixes.
const RATE: f64 = 5_000.0;
const LAYERS: usize = 3;
const WIDTH: usize = 10;
/// Simulated seconds of one measurement.
const TIME: u64 = 60;
/// Measurements, of which the median counts.
const REPEATS: u64 = 5;
/// What MiXiM does a second.
const MIXIM: f64 = 5_090.0;

fn main() -> ExitCode {
    let Arguments { options } = Arguments::parse();
    match measure(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-lab: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Looks away.
struct Nobody;

impl Observer for Nobody {
    fn see(&mut self, _: &Sight) {}
}

/// Hops for each second of this thread's processor time.
fn hops_per_second(seed: u64, time: Duration, observer: &mut impl Observer) -> Result<f64> {
    let mut rng = seeded([seed as u8; 32]);
    let source = Poisson::new(RATE, 1_000, fork(&mut rng))?;
    let setup = Setup { layers: LAYERS, width: WIDTH, delay_per_hop: 0.8 / 3.0, ..Setup::default() };
    let mut flow = Flow::new(setup, Adversary::passive(), source, rng)?;
    let before = thread_time();
    flow.run(START + time, observer)?;
    Ok(flow.hops() as f64 / (thread_time() - before).as_secs_f64())
}

fn measure(options: Options) -> Result<()> {
    let (repeats, time) = if options.quick { (1, 5) } else { (REPEATS, TIME) };
    let time = Duration::from_secs(time);
    let (mut bare, mut followed) = (Vec::new(), Vec::new());
    for seed in 1..=repeats {
        bare.push(hops_per_second(seed, time, &mut Nobody)?);
        let second = Duration::from_secs(1);
        let targets = Targets { count: usize::MAX, from: START + second, gap: second, patience: time };
        let mut attack = Entropy::new(LAYERS * WIDTH, Adversary::passive(), targets);
        followed.push(hops_per_second(seed, time, &mut attack)?);
    }
    let (bare, followed) = (median(&bare), median(&followed));
    let messages = followed / LAYERS as f64;
    let rows = [
        Row::new("hops", bare, "/s").note("target >= 1,000,000 for each processor"),
        Row::new("hops, masses followed", followed, "/s").note("with the attack of E2, a target a second"),
        Row::new("messages, masses followed", messages, "/s").note("3 hops each"),
        Row::new("MiXiM's messages", MIXIM, "/s").note("Python, one target in two seconds"),
        Row::new("ratio", messages / MIXIM, "x"),
    ];
    Report::new("bench-lab", options).print("flows through 3 layers of 10 mixes, shipped engine, one thread", &rows);
    Ok(())
}
