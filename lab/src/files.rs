//! Experiments as data: a file names a kind of measurement, its parameters, the cases, and what is expected of each and where that
//! is from. `lab/experiments/` holds those that ship; they are inside the program.
//!
//! ```toml
//! id = "E0"
//! title = "what is asked"
//! source = "the paper, its figure"
//! adversary = "global passive"      # who sees what
//! limits = "what the figures do not show"
//! kind = "entropy"                  # see veilpost_lab::measure
//! seed = 1                          # if not given, 1
//! [parameters]                      # of all cases; what is not given has its default
//! rate = 5000
//! [quick]                           # in place of them with --quick
//! targets = 100
//! [[case]]
//! name = "three layers"
//! with = { layers = 3 }             # in place of the above; `quick` here wins over all
//! expect = [{ figure = "mean_bits", value = 13.039, tolerance = 0.05, source = "published" }]
//! [[order]]                         # figures of cases, each larger than the next by this much at least
//! figure = "mean_bits"
//! falling = ["three layers", "four layers"]
//! by = 0.01
//! source = "published"
//! ```
//!
//! An experiment whose worlds and expectations are code has `program = "activity"` in place of kind and cases, and `seeds` among its
//! parameters.

use crate::{
    experiments::{Options, Program},
    impossible::{Impossible, between},
    measure::{Figure, Kind, Measure, Run},
    report::{Expected, Report},
    statistics::Interval,
};
use serde::Deserialize;
use std::collections::BTreeMap;
use toml::Table;

/// Seeds of a program at most.
const SEEDS_MAX: usize = 1_000_000;
/// The files that ship.
pub(crate) const SHIPPED: &[&str] = &[
    include_str!("../experiments/E1.toml"),
    include_str!("../experiments/E2.toml"),
    include_str!("../experiments/E3.toml"),
    include_str!("../experiments/E4.toml"),
    include_str!("../experiments/E5.toml"),
    include_str!("../experiments/E6.toml"),
    include_str!("../experiments/E7.toml"),
    include_str!("../experiments/E8.toml"),
    include_str!("../experiments/E9.toml"),
    include_str!("../experiments/E10.toml"),
    include_str!("../experiments/E11.toml"),
    include_str!("../experiments/E12.toml"),
    include_str!("../experiments/E13.toml"),
    include_str!("../experiments/E14.toml"),
    include_str!("../experiments/E15.toml"),
    include_str!("../experiments/E17.toml"),
    include_str!("../experiments/E18.toml"),
    include_str!("../experiments/E19.toml"),
    include_str!("../experiments/E20.toml"),
    include_str!("../experiments/E21.toml"),
    include_str!("../experiments/E22.toml"),
    include_str!("../experiments/E23.toml"),
    include_str!("../experiments/E24.toml"),
    include_str!("../experiments/E24P.toml"),
    include_str!("../experiments/E25.toml"),
    include_str!("../experiments/E26.toml"),
];

/// An experiment from a file, checked: its kind or program and all parameters exist and are possible.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Experiment {
    /// Such as `E2`.
    pub id: String,
    /// What is asked.
    pub title: String,
    /// The paper that asked it first.
    pub source: String,
    /// Who sees what, and whether they act.
    #[serde(default)]
    pub adversary: String,
    /// What its figures do not show.
    #[serde(default)]
    pub limits: String,
    /// The kind of measurement.
    #[serde(default)]
    kind: String,
    /// In place of a kind: worlds in code.
    program: Option<Program>,
    /// The seed of every case, or a program's first.
    #[serde(default = "first")]
    pub seed: u64,
    #[serde(default)]
    parameters: Table,
    #[serde(default)]
    quick: Table,
    #[serde(default, rename = "case")]
    cases: Vec<Case>,
    #[serde(default, rename = "order")]
    orders: Vec<Order>,
}

fn first() -> u64 {
    1
}

#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    #[serde(default)]
    with: Table,
    #[serde(default)]
    quick: Table,
    #[serde(default)]
    expect: Vec<Expect>,
}

#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Expect {
    figure: String,
    source: String,
    value: Option<f64>,
    tolerance: Option<f64>,
    within: Option<(f64, f64)>,
    at_least: Option<f64>,
    at_most: Option<f64>,
}

#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    figure: String,
    falling: Vec<String>,
    by: f64,
    source: String,
}

/// The experiments that ship, in the order of their files.
///
/// # Panics
/// Never: a test reads them all.
pub fn shipped() -> Vec<Experiment> {
    SHIPPED.iter().map(|text| Experiment::parse(text).expect("a test reads all files that ship")).collect()
}

impl Experiment {
    /// Reads a file.
    ///
    /// # Errors
    /// What is wrong with it, for a person.
    pub fn parse(text: &str) -> Result<Self, Impossible> {
        let experiment: Self = toml::from_str(text).map_err(|error| Impossible(error.to_string()))?;
        experiment.check().map_err(|Impossible(reason)| Impossible(format!("{}: {reason}", experiment.id)))?;
        Ok(experiment)
    }

    fn check(&self) -> Result<(), Impossible> {
        if self.program.is_some() {
            return self.check_program();
        }
        if self.cases.is_empty() {
            return Err(Impossible("it has no case".into()));
        }
        for case in &self.cases {
            let named = |Impossible(reason)| Impossible(format!("case `{}`: {reason}", case.name));
            self.measure(case, false).map_err(named)?;
            self.measure(case, true).map_err(named)?;
            case.expect.iter().try_for_each(|expect| expect.expected().map(drop)).map_err(named)?;
        }
        let names: Vec<&String> = self.cases.iter().map(|case| &case.name).collect();
        match self.orders.iter().flat_map(|order| &order.falling).find(|name| !names.contains(name)) {
            Some(name) => Err(Impossible(format!("an order names the case `{name}`, which there is not"))),
            None => Ok(()),
        }
    }

    fn check_program(&self) -> Result<(), Impossible> {
        if !self.kind.is_empty() || !self.cases.is_empty() || !self.orders.is_empty() {
            return Err(Impossible("a program has no kind, cases or orders".into()));
        }
        [false, true].into_iter().try_for_each(|quick| self.seeded(quick).map(drop))
    }

    /// A program's parameters and how many seeds it has.
    fn seeded(&self, quick: bool) -> Result<(Table, usize), Impossible> {
        let quick = if quick { self.quick.clone() } else { Table::new() };
        let mut parameters: Table = [self.parameters.clone(), quick].into_iter().flatten().collect();
        let seeds = parameters.remove("seeds").and_then(|seeds| usize::try_from(seeds.as_integer()?).ok());
        let seeds = seeds.ok_or_else(|| Impossible("a program has a number of `seeds` among its parameters".into()))?;
        between("seeds", seeds, 1, SEEDS_MAX)?;
        Ok((parameters, seeds))
    }

    /// What it runs, for a list: its kind and how many cases, or how many seeds.
    pub fn summary(&self) -> String {
        match &self.program {
            Some(_) => format!("{} seeds", self.seeded(false).map_or(0, |(_, seeds)| seeds)),
            None => format!("{}, {} cases", self.kind, self.cases.len()),
        }
    }

    fn measure(&self, case: &Case, quick: bool) -> Result<Kind, Impossible> {
        let hurried = |table: &Table| if quick { table.clone() } else { Table::new() };
        let tables = [self.parameters.clone(), hurried(&self.quick), case.with.clone(), hurried(&case.quick)];
        Kind::new(&self.kind, tables.into_iter().flatten().collect())
    }

    /// Measures all cases, one after another, or runs all seeds of its program (`seeds` of them, if given); `progress` is told before
    /// each case.
    ///
    /// # Errors
    /// See [`Measure::run`]; or it expects a figure that its kind does not measure.
    pub fn run(
        &self,
        run: &Run,
        quick: bool,
        seeds: Option<usize>,
        progress: Option<&dyn Fn(&str)>,
    ) -> Result<Report, Impossible> {
        if let Some(program) = self.program {
            let (parameters, own) = self.seeded(quick)?;
            let seeds = seeds.unwrap_or(own);
            let options = Options { first: run.seed, seeds, threads: run.threads, progress: progress.is_some() };
            let mut report = program.run(parameters, &options)?;
            (report.id, report.title) = (self.id.clone(), self.title.clone());
            return Ok(report);
        }
        let mut report = Report::new(&self.id, &self.title);
        let mut found: BTreeMap<(&str, &str), f64> = BTreeMap::new();
        for case in &self.cases {
            if let Some(progress) = progress {
                progress(&format!("{}: {}", self.id, case.name));
            }
            let measure = self.measure(case, quick)?;
            report.costing(measure.cost());
            let figures = measure.run(run)?;
            for figure in &figures {
                found.insert((&case.name, figure.name), figure.value);
                case.add(figure, &mut report);
            }
            if let Some(expect) = case.expect.iter().find(|expect| !figures.iter().any(|f| f.name == expect.figure)) {
                return Err(no_figure(&self.id, &expect.figure, &self.kind));
            }
        }
        report.costing(None);
        for order in &self.orders {
            let of = |case: &String| found.get(&(case.as_str(), order.figure.as_str())).copied();
            let values: Option<Vec<f64>> = order.falling.iter().map(of).collect();
            let values = values.ok_or_else(|| no_figure(&self.id, &order.figure, &self.kind))?;
            let steps = values.iter().zip(values.iter().skip(1)).map(|(one, next)| one - next);
            let least = steps.min_by(f64::total_cmp).unwrap_or(f64::NAN);
            let what = format!("{} falls: {} [{}]", order.figure, order.falling.join(" > "), order.source);
            report.add(what, "least step", least, values.len(), Expected::AtLeast(order.by));
        }
        Ok(report)
    }
}

fn no_figure(id: &str, figure: &str, kind: &str) -> Impossible {
    Impossible(format!("{id}: {kind} does not measure `{figure}`"))
}

impl Case {
    fn add(&self, figure: &Figure, report: &mut Report) {
        let expect = self.expect.iter().filter(|expect| expect.figure == figure.name);
        let mut expected: Vec<(String, Expected)> =
            expect.filter_map(|expect| Some((format!(" [{}]", expect.source), expect.expected().ok()?))).collect();
        if expected.is_empty() {
            expected.push((String::new(), Expected::Known));
        }
        for (source, expected) in expected {
            let what = format!("{}: {}{source}", self.name, figure.name);
            match figure.interval {
                Some((low, high)) => {
                    let interval = Interval { value: figure.value, low, high };
                    report.add_interval(what, figure.unit, interval, figure.n, expected);
                }
                None => report.add(what, figure.unit, figure.value, figure.n, expected),
            }
        }
    }
}

impl Expect {
    fn expected(&self) -> Result<Expected, Impossible> {
        match (self.value, self.tolerance, self.within, self.at_least, self.at_most) {
            (Some(value), Some(tolerance), None, None, None) => {
                Ok(Expected::Within(value - tolerance, value + tolerance))
            }
            (None, None, Some((low, high)), None, None) => Ok(Expected::Within(low, high)),
            (None, None, None, Some(least), None) => Ok(Expected::AtLeast(least)),
            (None, None, None, None, Some(most)) => Ok(Expected::AtMost(most)),
            _ => Err(Impossible(format!(
                "what is expected of `{}` is one of value and tolerance, within, at_least, at_most",
                self.figure
            ))),
        }
    }
}

#[cfg(test)]
mod tests;
