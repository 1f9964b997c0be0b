//! `bench-replication`: how fast one mailbox stores boxes durably and three do so together, how many writes miss the time of their
//! reply, and what it takes to place boxes anew when one of five mailboxes leaves.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a program that measures and prints"
)]

use clap::Parser;
use std::{path::PathBuf, process::ExitCode, time::Duration};
use veilpost_bench::{
    Options, Report, Result, Row,
    mailboxes::{LATENCY, Mail, Mailboxes, Seen, seal},
    percentile, process,
};
use veilpost_mailbox::stores::EngineName;
use veilpost_packet::geometry::FRAME;
use veilpost_pki::Params;

/// Measures mailboxes that replicate.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(flatten)]
    options: Options,
    /// Boxes that are placed anew
    #[arg(long, default_value_t = 20_000)]
    boxes: usize,
    /// Where the stores are made; a temporary folder if absent
    #[arg(long)]
    dir: Option<PathBuf>,
}

/// Mean gaps of the links' clocks that are measured: what a network starts with, and what larger ones would set.
const GAPS_MS: [u64; 3] = [100, 10, 2];
/// Shares of what the links can carry.
const LOADS: [f64; 2] = [0.33, 0.67];
/// Puts of one measurement.
const PUTS: usize = 4_000;

fn main() -> ExitCode {
    match measure(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-replication: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(arguments: &Arguments) -> Result<()> {
    let report = Report::new("bench-replication", arguments.options);
    let temporary = match &arguments.dir {
        Some(dir) => tempfile::tempdir_in(dir)?,
        None => tempfile::tempdir()?,
    };
    let divide = if arguments.options.quick { 10 } else { 1 };
    let mails = seal((PUTS / divide).max(arguments.boxes / divide))?;
    report.say(&format!(
        "engines and stores on {}, virtual links that take {} ms beside their clock; a mailbox is busy for as long as its work \
         took; public-key work is left to workers and not counted",
        process::file_system(temporary.path()),
        LATENCY.as_millis()
    ));
    let puts = mails.get(..PUTS / divide).unwrap_or(&mails);
    for engine in [EngineName::Sled, EngineName::Redb] {
        let folder = |what: &str| temporary.path().join(format!("{engine}-{what}"));
        for rate in [100.0, 1_000.0] {
            let mut one = Mailboxes::new(1, engine, Duration::from_secs(1), &folder(&format!("one-{rate}")))?;
            let seen = one.put(puts, rate, true)?;
            report.print(&format!("{engine}: one mailbox, {rate} Puts/s and as many Gets/s"), &rows(&seen));
        }
        for gap in GAPS_MS {
            for load in LOADS {
                let rate = load * 6.0 * 1e3 / gap as f64;
                let place = folder(&format!("three-{gap}-{load}"));
                let mut three = Mailboxes::new(3, engine, Duration::from_millis(gap), &place)?;
                let seen = three.put(puts, rate, true)?;
                let title = format!(
                    "{engine}: three mailboxes, two disks, a link's clock at {gap} ms, {:.0} % of what links carry: {rate:.0} \
                     Puts/s and as many Gets/s",
                    load * 100.0
                );
                report.print(&title, &rows(&seen));
            }
        }
        replacement(&report, engine, &folder("five"), mails.get(..arguments.boxes / divide).unwrap_or(&mails))?;
    }
    Ok(())
}

fn rows(seen: &Seen) -> Vec<Row> {
    let of = |name: &str, took: &[f64], percent, unit| {
        Row::new(format!("{name}, p{percent}"), percentile(took, percent), unit)
    };
    let floor = Params::standard().reply_floor;
    let missed = seen.pending as f64 / (seen.stored + seen.pending).max(1) as f64;
    let mut rows = vec![
        of("Put until it is durable", &seen.durable, 50.0, "ms"),
        of("Put until it is durable", &seen.durable, 99.0, "ms"),
        of("Put until it is durable", &seen.durable, 99.9, "ms").at_most(floor.as_secs_f64() * 1e3),
        of("Get until its answer is known", &seen.read, 50.0, "us"),
        of("Get until its answer is known", &seen.read, 99.0, "us"),
        Row::new("Puts answered before they were durable", missed * 100.0, "%").at_most(0.1),
    ];
    if seen.others > 0 {
        rows.push(Row::new("other answers", seen.others as f64, "").at_most(0.0));
    }
    rows
}

/// One of five mailboxes leaves the placement set: two fifths of all boxes get another holder.
fn replacement(report: &Report, engine: EngineName, folder: &std::path::Path, mails: &[Mail]) -> Result<()> {
    let standard = Params::standard().peer_gap;
    // Filled over fast links: only what follows is measured.
    let mut five = Mailboxes::new(5, engine, Duration::from_millis(2), folder)?;
    five.put(mails, 2_000.0, false)?;
    five.publish(standard, false);
    five.settle(Duration::from_secs(3_600))?;
    let before = five.held();
    five.publish(standard, true);
    let (copies, frames) = (five.copies, five.frames);
    let took = five.settle(Duration::from_secs(30 * 86_400))?;
    let (copies, frames) = (five.copies - copies, five.frames - frames);
    let lost = before.last().copied().unwrap_or(0);
    let title =
        format!("{engine}: one of five mailboxes leaves; {} boxes on two disks each, it held {lost}", mails.len());
    report.print(
        &title,
        &[
            Row::new("until every box is in its places", took.as_secs_f64(), "s"),
            Row::new("boxes sent", copies as f64, "")
                .note(format!("{:.2} for each that moved", copies as f64 / lost as f64)),
            Row::new("boxes a second", copies as f64 / took.as_secs_f64(), "/s"),
            Row::new("all links together, frames that flow anyway", frames as f64 * FRAME as f64 / 1e6, "MB"),
        ],
    );
    Ok(())
}
