//! `report`, `lines` and `advise`.

use super::Common;
use crate::{
    advise::{self, Wish},
    capture::Capture,
    impossible::Impossible,
    lines, page,
    report::Report,
    results::Results,
};
use std::{fs::File, path::PathBuf};

#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  veilpost-lab run --all --quick --out results\n  veilpost-lab report --from results --out report.html"
)]
pub(super) struct Page {
    /// Folder that `run --out` wrote
    #[arg(long, value_name = "DIR")]
    from: PathBuf,
    /// The page
    #[arg(long, value_name = "FILE", default_value = "report.html")]
    out: PathBuf,
    /// A capture of a real network, as `veilpost-testnet lines` makes it, to stand beside the simulation
    #[arg(long, value_name = "FILE")]
    real: Option<PathBuf>,
}

pub(super) fn page(arguments: &Page, common: &Common) -> Result<bool, Impossible> {
    let all = Results::open(&arguments.from)?.all()?;
    if all.is_empty() {
        let hint = "run `veilpost-lab run --all --quick --out` with this folder first";
        return Err(Impossible(format!("{}: there are no results; {hint}", arguments.from.display())));
    }
    let real = arguments.real.as_ref().map(|file| compared(file, common)).transpose()?;
    let html = page::page(&all, real.as_ref());
    std::fs::write(&arguments.out, html)
        .map_err(|error| Impossible(format!("{}: {error}", arguments.out.display())))?;
    println!("{}", arguments.out.display());
    Ok(true)
}

#[derive(clap::Args)]
#[command(
    after_help = "Example, with two clients that do nothing and are called so:\n  veilpost-lab lines capture.parquet"
)]
pub(super) struct Lines {
    /// A capture, of a simulation or a real network
    capture: PathBuf,
}

pub(super) fn lines(arguments: &Lines, common: &Common) -> Result<bool, Impossible> {
    let report = compared(&arguments.capture, common)?;
    super::run::print(&report, common.json);
    Ok(report.is_met())
}

fn compared(file: &PathBuf, common: &Common) -> Result<Report, Impossible> {
    let named = |reason: String| Impossible(format!("{}: {reason}", file.display()));
    let opened = File::open(file).map_err(|error| named(error.to_string()))?;
    let capture = Capture::read(opened).map_err(|error| named(error.to_string()))?;
    lines::report(&capture, common.seed.unwrap_or(1)).map_err(|Impossible(reason)| named(reason))
}

#[derive(clap::Args)]
#[command(after_help = "Example:\n  veilpost-lab advise --users 1000 --latency 30s --bandwidth 800MB/day")]
pub(super) struct Advise {
    /// Clients that are online at once
    #[arg(long)]
    users: usize,
    /// Median time of a text, such as 30s or 2min
    #[arg(long, value_parser = seconds, default_value = "30s")]
    latency: f64,
    /// What a client sends and receives, such as 400MB/day or 1GB/day
    #[arg(long, value_parser = bytes, default_value = "1GB/day")]
    bandwidth: f64,
}

fn seconds(text: &str) -> Result<f64, String> {
    unit(text, &[("ms", 0.001), ("min", 60.0), ("s", 1.0)]).ok_or_else(|| "write it as 30s, 500ms or 2min".into())
}

fn bytes(text: &str) -> Result<f64, String> {
    unit(text, &[("MB/day", 1e6), ("GB/day", 1e9)]).ok_or_else(|| "write it as 400MB/day or 1GB/day".into())
}

fn unit(text: &str, units: &[(&str, f64)]) -> Option<f64> {
    let (number, factor) = units.iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, factor)))?;
    let number: f64 = number.trim().parse().ok()?;
    (number.is_finite() && number > 0.0).then_some(number * factor)
}

pub(super) fn advise(arguments: &Advise, common: &Common) -> Result<bool, Impossible> {
    let Advise { users, latency, bandwidth } = *arguments;
    let advice = advise::advise(&Wish { users, latency, bandwidth }, &common.run(1))?;
    if common.json {
        println!("{}", serde_json::to_string(&advice).unwrap_or_default());
        return Ok(true);
    }
    println!("For {users} clients that are online at once:\n");
    for (name, milliseconds) in &advice.parameters {
        println!("  {name:<14} {milliseconds} ms");
    }
    println!("  {:<14} 3 layers of {}\n", "mixes", advice.width);
    let [median, p95, p99] = advice.text_seconds;
    println!(
        "It costs {:.0} MB a day for each client; a text takes {median:.0} s in the median,",
        advice.megabytes_a_day
    );
    println!("{p95:.0} s at 95 %, {p99:.0} s at 99 %. A mix forwards {:.0} packets a second.\n", advice.packets_a_mix);
    let bits = |(bits, interval): (f64, Option<(f64, f64)>)| {
        let interval = interval.map(|(low, high)| format!(" ({low:.2} to {high:.2})")).unwrap_or_default();
        format!("{bits:.2} bits{interval}, as among {:.0}", bits.exp2())
    };
    println!("Of {:.0} packets a second one hides, from who watches all links,", advice.packets_a_second);
    println!("  with {};", bits(advice.bits));
    println!("  if one mix in ten is the watcher's, with {}.", bits(advice.bits_with_a_tenth_corrupt));
    println!("Then {:.1e} of all routes consist of the watcher's mixes alone.", advice.routes_with_a_tenth_corrupt);
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_bandwidths_are_written_with_their_units() {
        assert_eq!((seconds("5s"), seconds("250ms"), seconds("2min")), (Ok(5.0), Ok(0.25), Ok(120.0)));
        assert_eq!((bytes("400MB/day"), bytes("1.5GB/day")), (Ok(4e8), Ok(1.5e9)));
        for wrong in ["", "5", "s", "-1s", "NaNs", "infs", "1e999s"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
        assert!(bytes("400MB").is_err());
    }
}
