//! `sweep`: one kind of measurement at every combination of some parameters' values, on all processors.

use super::{Common, run::print};
use crate::{
    experiments::{Options, over_seeds},
    impossible::Impossible,
    measure::{Figure, KINDS, Kind, Measure, Run},
    report::{Expected, Report},
    statistics::Interval,
};
use toml::{Table, Value};

/// Points of one sweep at most.
const POINTS_MAX: usize = 100_000;

#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  veilpost-lab sweep entropy --set rate=1000 --set corrupt=0.1 --over layers=2,3,4 --over width=5,10"
)]
pub(super) struct Arguments {
    /// Which kind; `veilpost-lab KIND --help` tells its parameters and their units
    #[arg(value_parser = clap::builder::PossibleValuesParser::new(KINDS))]
    kind: String,
    /// A parameter's value at every point
    #[arg(long, value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// A parameter's values, one after another
    #[arg(long, value_name = "NAME=VALUE,...", required = true)]
    over: Vec<String>,
}

/// `delay-per-hop=0.1`: options have hyphens, parameters in files underscores.
fn pair(text: &str) -> Result<(String, &str), Impossible> {
    let (name, value) = text
        .split_once('=')
        .filter(|(name, value)| !name.is_empty() && !value.is_empty())
        .ok_or_else(|| Impossible(format!("`{text}` is not NAME=VALUE")))?;
    Ok((name.replace('-', "_"), value))
}

/// As a file would say it; what is neither number nor truth value is a word.
fn value(text: &str) -> Value {
    let word = || Value::String(text.to_owned());
    format!("it = {text}").parse::<Table>().ok().and_then(|mut table| table.remove("it")).unwrap_or_else(word)
}

/// Every combination, with a name for it.
fn points(arguments: &Arguments) -> Result<Vec<(String, Table)>, Impossible> {
    let mut fixed = Table::new();
    for text in &arguments.set {
        let (name, text) = pair(text)?;
        fixed.insert(name, value(text));
    }
    let mut points = vec![(String::new(), fixed)];
    for text in &arguments.over {
        let (name, values) = pair(text)?;
        let extend = |(at, table): &(String, Table), text: &str| {
            let mut table = table.clone();
            table.insert(name.clone(), value(text));
            (format!("{at} {name}={text}").trim_start().to_owned(), table)
        };
        points = points.iter().flat_map(|point| values.split(',').map(move |text| extend(point, text))).collect();
        if points.len() > POINTS_MAX {
            return Err(Impossible(format!("a sweep has {POINTS_MAX} points at most")));
        }
    }
    Ok(points)
}

pub(super) fn sweep(arguments: &Arguments, common: &Common) -> Result<bool, Impossible> {
    let points = points(arguments)?;
    // All of them are possible before the first one runs.
    let kinds =
        points.iter().map(|(_, table)| Kind::new(&arguments.kind, table.clone())).collect::<Result<Vec<_>, _>>()?;
    let Run { seed, threads } = common.run(1);
    let options = Options { first: 0, seeds: kinds.len(), threads: threads.min(kinds.len()), progress: !common.json };
    let each = Run { seed, threads: (threads / kinds.len()).max(1) };
    let at = |number: u64| usize::try_from(number).ok().and_then(|number| kinds.get(number));
    let found = over_seeds(&options, |number| at(number).map(|kind| kind.run(&each)));
    let mut report = Report::new("sweep", &format!("{} {}", arguments.kind, arguments.set.join(" ")));
    for (((name, _), kind), figures) in points.iter().zip(&kinds).zip(found.into_iter().flatten()) {
        report.costing(kind.cost());
        for Figure { name: figure, unit, value, interval, n } in figures? {
            let what = format!("{name}: {figure}");
            match interval {
                Some((low, high)) => {
                    report.add_interval(what, unit, Interval { value, low, high }, n, Expected::Known);
                }
                None => report.add(what, unit, value, n, Expected::Known),
            }
        }
    }
    print(&report, common.json);
    Ok(true)
}
