//! A report for people: one HTML page with nothing beside it, made from a folder of results. Every figure with its interval, sample and
//! expectation, a plot of them, who the adversary is, what is not shown, what the network costs, and the command that makes it again.

mod plot;

use crate::{
    files::{self, Experiment},
    report::{Report, Row},
    results::{Finished, Made},
};
use std::fmt::Write as _;
use veilpost_client::cost;
use veilpost_packet::profile::Profile;
use veilpost_pki::Params;

const STYLE: &str = include_str!("style.css");

/// The page of these results. `real`: figures of a real network, where there are some.
pub fn page(all: &[Finished], real: Option<&Report>) -> String {
    let shipped = files::shipped();
    let mut html = String::new();
    let title = "Veilpost: what observers learn";
    push(
        &mut html,
        format_args!("<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>"),
    );
    push(
        &mut html,
        format_args!("<meta name=\"viewport\" content=\"width=device-width\"><style>{STYLE}</style></head><body>"),
    );
    push(&mut html, format_args!("<h1>{title}</h1>{}", introduction(all)));
    push(&mut html, format_args!("{}{}", costs(), summary(all, &shipped)));
    for finished in all {
        let about = shipped.iter().find(|experiment| experiment.id == finished.report.id);
        push(&mut html, format_args!("{}", section(finished, about)));
    }
    push(&mut html, format_args!("{}{}</body></html>\n", reality(real, all), CLOSING));
    html
}

/// What no experiment here says anything about.
const CLOSING: &str = "<section><h2>What this report does not show</h2><ul>\
    <li>Networks other than those that were simulated: few mixes, and people whose habits are made up.</li>\
    <li>Adversaries who learn from traces: all attacks here are written by hand.</li>\
    <li>What a stolen device, a person's words, or the way somebody writes gives away.</li>\
    <li>Being online, which whoever watches a client's line sees.</li></ul></section>";

fn push(html: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = html.write_fmt(text);
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn introduction(all: &[Finished]) -> String {
    let made: Vec<&Made> = all.iter().map(|finished| &finished.made).collect();
    let mut commits: Vec<&str> = made.iter().map(|made| made.commit.as_str()).collect();
    commits.sort_unstable();
    commits.dedup();
    let (quick, count) = (made.iter().filter(|made| made.quick).count(), made.len());
    let size = match (quick, count - quick) {
        (_, 0) => "Samples are small (<code>--quick</code>): what a full run would see weakly is not seen here.",
        (0, _) => "Samples are of full size.",
        _ => "Some samples are small (<code>--quick</code>); each experiment says so.",
    };
    let minutes = made.iter().map(|made| made.seconds).sum::<f64>() / 60.0;
    format!(
        "<p class=\"lead\">Measured with the engines that ship, in virtual time, by commit <code>{}</code>, in {minutes:.0} minutes. {size}</p>\
         <p>Each figure stands beside its 95 % interval, the size of its sample, and what was expected before it was measured. \
         <em>Null</em> rows compare what is the same and must see nothing; <em>control</em> rows are weaker designs that must be caught, or the \
         experiment could not see anything. A figure that is not as expected is marked, and stays.</p>",
        escape(&commits.join(", "))
    )
}

fn costs() -> String {
    let mut html = String::from(
        "<section><h2>What it costs</h2><table><tr><th>profile</th><th class=\"n\">sent, MB a day</th><th class=\"n\">received, MB a day</th>\
         <th class=\"n\">text: median</th><th class=\"n\">95 %</th><th class=\"n\">99 %</th></tr>",
    );
    let params = Params::standard();
    for profile in Profile::ALL {
        let cost = cost::of(&params, profile);
        let megabytes = |bytes: u64| bytes as f64 / 1e6;
        push(
            &mut html,
            format_args!(
                "<tr><td>{}</td><td class=\"n\">{:.0}</td><td class=\"n\">{:.0}</td><td class=\"n\">{} s</td><td class=\"n\">{} s</td><td class=\"n\">{} s</td></tr>",
                profile.name(),
                megabytes(cost.up),
                megabytes(cost.down),
                cost.median.as_secs(),
                cost.p95.as_secs(),
                cost.p99.as_secs()
            ),
        );
    }
    html += "</table><p class=\"note\">Of a client at the default rates, idle or busy, reckoned from the clocks and delays that ship \
        (<code>veilpost profile</code>). Beside each figure below stands what its own design costs: traffic of a client, measured where clients \
        are simulated, and the times in which 50, 95 and 99 % of texts are read, or of packets out of the mixes.</p></section>";
    html
}

/// A row for each experiment.
fn summary(all: &[Finished], shipped: &[Experiment]) -> String {
    let mut html = String::from(
        "<section><h2>Summary</h2><table><tr><th></th><th>question</th><th>adversary</th><th class=\"n\">as expected</th><th class=\"n\">controls caught</th></tr>",
    );
    for Finished { report, .. } in all {
        let adversary = shipped.iter().find(|experiment| experiment.id == report.id);
        let adversary = adversary.map_or("", |experiment| experiment.adversary.as_str());
        let share = |of: &dyn Fn(&&Row) -> bool| {
            let rows: Vec<&Row> = report.rows.iter().filter(of).collect();
            let met = rows.iter().filter(|row| row.met).count();
            let class = if met == rows.len() { "n" } else { "n missed" };
            if rows.is_empty() {
                "<td class=\"n\">-</td>".into()
            } else {
                format!("<td class=\"{class}\">{met} of {}</td>", rows.len())
            }
        };
        push(
            &mut html,
            format_args!(
                "<tr><td><a href=\"#{0}\">{0}</a></td><td>{1}</td><td>{2}</td>{3}{4}</tr>",
                escape(&report.id),
                escape(&report.title),
                escape(adversary),
                share(&|row| is_judged(row) && !is_control(row)),
                share(&|row| is_judged(row) && is_control(row)),
            ),
        );
    }
    html + "</table></section>"
}

fn is_control(row: &Row) -> bool {
    row.what.contains("control")
}

fn is_judged(row: &Row) -> bool {
    row.expected != crate::report::Expected::Known
}

fn section(finished: &Finished, about: Option<&Experiment>) -> String {
    let Finished { made, report } = finished;
    let id = escape(&report.id);
    let mut html = format!("<section id=\"{id}\"><h2>{id}: {}</h2>", escape(&report.title));
    if let Some(about) = about {
        push(
            &mut html,
            format_args!(
                "<dl><dt>adversary</dt><dd>{}</dd><dt>source</dt><dd>{}</dd><dt>does not show</dt><dd>{}</dd></dl>",
                escape(&about.adversary),
                escape(&about.source),
                escape(&about.limits)
            ),
        );
    }
    push(&mut html, format_args!("{}{}", plot::plots(report), table(report)));
    let size = if made.quick { " --quick" } else { "" };
    let seeds = made.seeds.map(|seeds| format!(" --seeds {seeds}")).unwrap_or_default();
    let seed = made.seed.map(|seed| format!(" --seed {seed}")).unwrap_or_default();
    push(
        &mut html,
        format_args!(
            "<p class=\"note\"><code>veilpost-lab run {id}{size}{seeds}{seed}</code> took {:.0} s</p></section>",
            made.seconds
        ),
    );
    html
}

fn table(report: &Report) -> String {
    let mut html = String::from(
        "<table><tr><th>what</th><th class=\"n\">figure</th><th class=\"n\">95 % interval</th><th></th><th class=\"n\">n</th><th>expected</th><th></th>\
         <th class=\"n\">cost: a day; 50 / 95 / 99 %</th></tr>",
    );
    for row in &report.rows {
        let interval = row.interval.map(|(low, high)| format!("{} to {}", number(low), number(high)));
        let (class, mark) = match (is_judged(row), row.met) {
            (false, _) => ("", ""),
            (true, true) => ("", "met"),
            (true, false) => (" class=\"missed\"", "not met"),
        };
        let n = if row.n == 0 { "exact".to_owned() } else { row.n.to_string() };
        push(
            &mut html,
            format_args!(
                "<tr{class}><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td>{}</td><td class=\"n\">{n}</td><td>{}</td><td>{mark}</td>\
                 <td class=\"n\">{}</td></tr>",
                escape(&row.what),
                number(row.value),
                interval.unwrap_or_default(),
                escape(&row.unit),
                if is_judged(row) { escape(&row.expected.to_string()) } else { String::new() },
                row.cost.map(|cost| cost.to_string()).unwrap_or_default()
            ),
        );
    }
    html + "</table>"
}

fn number(value: f64) -> String {
    match value.abs() {
        _ if value.is_nan() => "none".into(),
        0.0 => "0".into(),
        small if small < 1e-3 => format!("{value:.1e}"),
        large if large >= 100.0 => format!("{value:.0}"),
        _ => format!("{value:.3}"),
    }
}

/// Simulation and real network beside each other.
fn reality(real: Option<&Report>, all: &[Finished]) -> String {
    let heading = "<section id=\"real\"><h2>Simulation against a real network</h2>";
    let Some(real) = real else {
        return format!(
            "{heading}<p>No capture of a real network was given: <code>veilpost-lab report --real lines.parquet</code>, with a capture by \
             <code>veilpost-testnet lines</code>.</p></section>"
        );
    };
    let simulated =
        all.iter().find(|finished| finished.report.id == "E14").map_or(0, |finished| finished.report.rows.len());
    format!(
        "{heading}<p>The same comparisons as E14 ({simulated} figures above) on datagrams of real processes and sockets, on a test network whose \
         clocks run eight times faster.</p>{}{}</section>",
        plot::plots(real),
        table(real)
    )
}

#[cfg(test)]
mod tests;
