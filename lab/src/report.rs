//! What an experiment says: a row for each figure, with what was expected of it.

use crate::{cost::Cost, statistics::Interval};
use serde::{Deserialize, Deserializer, Serialize};
use std::fmt;

/// What a figure should be.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expected {
    /// A p-value of at least this: nothing is seen.
    NothingSeen(f64),
    /// A p-value below this: the control must be caught.
    Caught(f64),
    /// Within these ends.
    Within(f64, f64),
    /// At most this.
    AtMost(f64),
    /// At least this.
    AtLeast(f64),
    /// Nothing: a figure to know.
    Known,
}

impl Expected {
    fn is_met(self, value: f64) -> bool {
        match self {
            Self::NothingSeen(least) | Self::AtLeast(least) => value >= least,
            Self::Caught(most) => value < most,
            Self::AtMost(most) => value <= most,
            Self::Within(low, high) => (low..=high).contains(&value),
            Self::Known => true,
        }
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NothingSeen(least) => write!(f, "p >= {least}"),
            Self::Caught(most) => write!(f, "caught: p < {most:e}"),
            Self::Within(low, high) => write!(f, "{} to {}", short(*low), short(*high)),
            Self::AtMost(most) => write!(f, "<= {most}"),
            Self::AtLeast(least) => write!(f, ">= {least}"),
            Self::Known => f.write_str("-"),
        }
    }
}

/// As many digits as say something.
fn short(value: f64) -> String {
    if value != 0.0 && value.abs() < 1e-3 { format!("{value:.2e}") } else { format!("{value:.3}") }
}

/// One figure.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Row {
    /// What was compared or measured.
    pub what: String,
    /// The unit or kind of the figure: `p`, `AUC`, `s`.
    pub unit: String,
    /// The figure; not a number where an empty sample has none.
    #[serde(deserialize_with = "or_nan")]
    pub value: f64,
    /// Its 95 % interval, if it has one.
    pub interval: Option<(f64, f64)>,
    /// Size of the sample.
    pub n: u64,
    /// What was expected.
    pub expected: Expected,
    /// Whether it was met.
    pub met: bool,
    /// What the design costs that the figure is of; `None` where nothing is sent.
    pub cost: Option<Cost>,
}

/// JSON has no word for what is not a number but null.
fn or_nan<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or(f64::NAN))
}

/// All that an experiment says.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Report {
    /// Such as `E14`.
    pub id: String,
    /// What is asked.
    pub title: String,
    /// The figures.
    pub rows: Vec<Row>,
    /// Cost of the figures that are added next.
    #[serde(skip)]
    cost: Option<Cost>,
}

impl Report {
    /// No figures yet.
    pub fn new(id: &str, title: &str) -> Self {
        Self { id: id.into(), title: title.into(), rows: Vec::new(), cost: None }
    }

    /// The figures that are added from now on are of a design that costs so much.
    pub fn costing(&mut self, cost: Option<Cost>) {
        self.cost = cost;
    }

    /// Adds a figure.
    pub fn add(&mut self, what: impl Into<String>, unit: &str, value: f64, n: usize, expected: Expected) {
        self.push(what.into(), unit, value, None, n, expected);
    }

    /// Adds a figure with its interval.
    pub fn add_interval(&mut self, what: impl Into<String>, unit: &str, value: Interval, n: usize, expected: Expected) {
        self.push(what.into(), unit, value.value, Some((value.low, value.high)), n, expected);
    }

    fn push(
        &mut self,
        what: String,
        unit: &str,
        value: f64,
        interval: Option<(f64, f64)>,
        n: usize,
        expected: Expected,
    ) {
        let met = expected.is_met(value);
        self.rows.push(Row { what, unit: unit.into(), value, interval, n: n as u64, expected, met, cost: self.cost });
    }

    /// True if every figure is as expected.
    pub fn is_met(&self) -> bool {
        self.rows.iter().all(|row| row.met)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}\n", self.id, self.title)?;
        writeln!(f, "| what | figure | n | expected | met | cost a day; 50 / 95 / 99 % |\n|---|---|---|---|---|---|")?;
        for Row { what, unit, value, interval, n, expected, met, cost } in &self.rows {
            let interval = interval.map(|(low, high)| format!(" ({low:.4} to {high:.4})")).unwrap_or_default();
            let figure =
                if value.abs() < 1e-3 && *value != 0.0 { format!("{value:.1e}") } else { format!("{value:.4}") };
            let met = if *met { "yes" } else { "**no**" };
            let cost = cost.map(|cost| cost.to_string()).unwrap_or_default();
            writeln!(f, "| {what} | {figure}{interval} {unit} | {n} | {expected} | {met} | {cost} |")?;
        }
        Ok(())
    }
}
