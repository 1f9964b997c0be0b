//! Figures on their way to a person or a program.

use serde_json::json;

/// What every program takes.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Options {
    /// One JSON object a line instead of a table
    #[arg(long)]
    pub json: bool,
    /// A few seconds only: shows that it works, the figures mean little
    #[arg(long)]
    pub quick: bool,
}

/// One figure.
#[derive(Clone, Debug)]
pub struct Row {
    name: String,
    value: f64,
    unit: &'static str,
    at_most: Option<f64>,
    note: String,
}

impl Row {
    /// A figure without a target.
    pub fn new(name: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self { name: name.into(), value, unit, at_most: None, note: String::new() }
    }

    /// With a target that it must not exceed.
    #[must_use]
    pub fn at_most(self, target: f64) -> Self {
        Self { at_most: Some(target), ..self }
    }

    /// With a remark.
    #[must_use]
    pub fn note(self, note: impl Into<String>) -> Self {
        Self { note: note.into(), ..self }
    }

    /// A figure that is no number (nothing was measured) has met nothing.
    fn verdict(&self) -> &'static str {
        match self.at_most {
            None => "",
            Some(target) if self.value <= target => "met",
            Some(_) => "MISSED",
        }
    }
}

/// Prints figures in groups.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    program: &'static str,
    options: Options,
}

impl Report {
    /// For one program.
    pub fn new(program: &'static str, options: Options) -> Self {
        Self { program, options }
    }

    /// Says how the figures came about; people only.
    pub fn say(&self, text: &str) {
        if !self.options.json {
            println!("{text}");
        }
    }

    /// Prints a group of figures.
    pub fn print(&self, title: &str, rows: &[Row]) {
        if self.options.json {
            for row in rows {
                let line = json!({
                    "program": self.program, "group": title, "name": row.name, "value": row.value, "unit": row.unit,
                    "at_most": row.at_most, "met": row.at_most.map(|_| row.verdict() == "met"), "note": row.note,
                    "quick": self.options.quick,
                });
                println!("{line}");
            }
            return;
        }
        println!("\n{title}{}", if self.options.quick { "  (quick: the figures mean little)" } else { "" });
        let width = rows.iter().map(|row| row.name.chars().count()).max().unwrap_or(0);
        for row in rows {
            let target = row.at_most.map_or(String::new(), |target| format!("target <= {} ", number(target)));
            let line = format!(
                "  {:width$}  {:>9} {:<10} {target:<15}{:<6} {}",
                row.name,
                number(row.value),
                row.unit,
                row.verdict(),
                row.note
            );
            println!("{}", line.trim_end());
        }
    }
}

/// Three or four digits that mean something.
fn number(value: f64) -> String {
    match value.abs() {
        large if large >= 100.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// The middle value; not a number if there is none.
pub fn median(values: &[f64]) -> f64 {
    percentile(values, 50.0)
}

/// The smallest value that this many percent of all do not exceed; not a number if there is none.
pub fn percentile(values: &[f64], percent: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (percent / 100.0 * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let values = [5.0, 1.0, 4.0, 2.0, 3.0];
        assert_eq!((median(&values), percentile(&values, 95.0), percentile(&values, 0.0)), (3.0, 5.0, 1.0));
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn what_was_not_measured_misses_its_target() {
        assert_eq!(Row::new("a", f64::NAN, "s").at_most(1.0).verdict(), "MISSED");
        assert_eq!(Row::new("a", 1.0, "s").at_most(1.0).verdict(), "met");
    }
}
