//! Plots of a report: for each unit its figures one below the other, with intervals, and in grey what was expected. SVG by `plotters`.

use crate::report::{Expected, Report, Row};
use plotters::{
    chart::ChartBuilder,
    drawing::{DrawingAreaErrorKind, IntoDrawingArea as _},
    element::{Circle, PathElement, Rectangle, Text},
    prelude::SVGBackend,
    style::{Color as _, IntoFont as _, RGBColor, ShapeStyle, TextStyle},
};

const WIDTH: u32 = 1_000;
/// Height of one figure, and of what stands below and above them.
const LINE: u32 = 22;
const MARGINS: u32 = 48;
/// Where figures begin; to the left of it stands what they are.
const LEFT: u32 = 430;
/// Letters of a label that fit there.
const LABEL: usize = 84;
/// Figures of one plot at most: more are in the table.
const FIGURES: usize = 40;
/// p-values below this are drawn at it.
const SMALLEST: f64 = 1e-12;

/// Figures whose largest is so many times the least are drawn by their logarithm.
const FAR_APART: f64 = 1e3;

const INK: RGBColor = RGBColor(26, 29, 33);
const PALE: RGBColor = RGBColor(222, 226, 230);
const GOOD: RGBColor = RGBColor(11, 79, 138);
const BAD: RGBColor = RGBColor(163, 33, 15);

/// A plot for each unit that has at least two figures.
pub(super) fn plots(report: &Report) -> String {
    let mut units: Vec<&str> = report.rows.iter().map(|row| row.unit.as_str()).collect();
    units.sort_unstable();
    units.dedup();
    let of = |unit: &str| -> Vec<&Row> {
        let rows = report.rows.iter().filter(|row| row.unit == unit && row.value.is_finite());
        rows.take(FIGURES).collect()
    };
    let drawn = units.into_iter().map(|unit| (unit, of(unit))).filter(|(_, rows)| rows.len() > 1);
    // A figure that cannot be drawn stands in the table all the same.
    drawn.filter_map(|(unit, rows)| plot(unit, &rows).ok()).collect()
}

/// How a unit's figures are laid out: p-values by their logarithm, and others if they are above zero and far apart.
struct Axis {
    logarithmic: bool,
    low: f64,
    high: f64,
}

impl Axis {
    fn of(unit: &str, rows: &[&Row]) -> Self {
        let values = || rows.iter().map(|row| row.value);
        let (least, most) = (values().fold(f64::INFINITY, f64::min), values().fold(0.0, f64::max));
        let far_apart = least > 0.0 && most / least > FAR_APART;
        let logarithmic = unit == "p" || unit.starts_with("p (") || far_apart;
        let mut axis = Self { logarithmic, low: f64::INFINITY, high: f64::NEG_INFINITY };
        for row in rows {
            let interval = row.interval.into_iter().flat_map(|(low, high)| [low, high]);
            let band = band(row.expected).into_iter().flat_map(|(low, high)| [low, high]).filter(|end| end.is_finite());
            for value in interval.chain([row.value]).chain(band) {
                axis.low = axis.low.min(axis.at(value));
                axis.high = axis.high.max(axis.at(value));
            }
        }
        let margin = ((axis.high - axis.low) * 0.04).max(1e-3);
        Self { low: axis.low - margin, high: axis.high + margin, ..axis }
    }

    fn at(&self, value: f64) -> f64 {
        if self.logarithmic { value.max(SMALLEST).log10() } else { value }
    }

    fn clamped(&self, value: f64) -> f64 {
        self.at(value).clamp(self.low, self.high)
    }

    fn label(&self, at: f64) -> String {
        match at {
            at if self.logarithmic => format!("1e{at:.0}"),
            at if at.abs() >= 100.0 => format!("{at:.0}"),
            at if at == 0.0 || at.abs() >= 0.01 => format!("{at:.2}"),
            at => format!("{at:.0e}"),
        }
    }
}

/// Where a figure was expected.
fn band(expected: Expected) -> Option<(f64, f64)> {
    match expected {
        Expected::Within(low, high) => Some((low, high)),
        Expected::AtMost(most) | Expected::Caught(most) => Some((f64::NEG_INFINITY, most)),
        Expected::AtLeast(least) | Expected::NothingSeen(least) => Some((least, f64::INFINITY)),
        Expected::Known => None,
    }
}

type Drawn<E> = Result<(), DrawingAreaErrorKind<E>>;

fn plot(unit: &str, rows: &[&Row]) -> Result<String, Box<dyn std::error::Error>> {
    let mut svg = String::new();
    draw(&mut svg, unit, rows)?;
    // It scales with the page.
    Ok(svg.replacen("<svg width=\"1000\"", "<svg role=\"img\" width=\"1000\"", 1))
}

fn draw(
    svg: &mut String,
    unit: &str,
    rows: &[&Row],
) -> Drawn<<SVGBackend<'static> as plotters::backend::DrawingBackend>::ErrorType> {
    let count = u32::try_from(rows.len()).unwrap_or(u32::MAX);
    let height = count.saturating_mul(LINE).saturating_add(MARGINS);
    let area = SVGBackend::with_string(svg, (WIDTH, height)).into_drawing_area();
    let axis = Axis::of(unit, rows);
    let lines = f64::from(count);
    let mut chart = ChartBuilder::on(&area)
        .margin_right(24)
        .margin_top(6)
        .x_label_area_size(42)
        .y_label_area_size(LEFT)
        .build_cartesian_2d(axis.low..axis.high, 0.0..lines)?;
    let name = if unit.is_empty() { "share" } else { unit };
    chart
        .configure_mesh()
        .disable_y_mesh()
        .y_labels(0)
        .light_line_style(PALE.mix(0.4))
        .x_desc(name)
        .x_labels(8)
        .x_label_formatter(&|at| axis.label(*at))
        .axis_style(INK)
        .label_style(("sans-serif", 12))
        .draw()?;
    for (number, row) in rows.iter().enumerate() {
        let y = lines - number as f64 - 0.5;
        let color = if row.met { GOOD } else { BAD };
        if let Some((low, high)) = band(row.expected) {
            let corners = [(axis.clamped(low), y - 0.38), (axis.clamped(high), y + 0.38)];
            chart.draw_series([Rectangle::new(corners, PALE.mix(0.55).filled())])?;
        }
        if let Some((low, high)) = row.interval {
            let ends = vec![(axis.clamped(low), y), (axis.clamped(high), y)];
            chart.draw_series([PathElement::new(ends, ShapeStyle::from(color).stroke_width(2))])?;
        }
        chart.draw_series([Circle::new((axis.clamped(row.value), y), 4, color.filled())])?;
        let style: TextStyle<'_> = ("sans-serif", 12).into_font().color(&INK);
        let at = (4, i32::try_from(6 + LINE as usize * number + 5).unwrap_or(0));
        area.draw(&Text::new(shortened(&row.what), at, style))?;
    }
    area.present()
}

fn shortened(what: &str) -> String {
    if what.chars().count() <= LABEL {
        return what.to_owned();
    }
    let kept: String = what.chars().take(LABEL - 1).collect();
    format!("{kept}…")
}
