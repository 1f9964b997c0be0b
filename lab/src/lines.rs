//! Clients' lines out of anybody's capture, for every attack that works on lines ([`all`]); compared two and two as E14 does it, those
//! whose names begin with `idle` with all others; and ranked after each mark that the capture holds.

use crate::{
    attacks::{Rank, bulk::by_volume},
    capture::{Capture, Unit},
    experiments::unobservability::{Line, compare, faster},
    impossible::Impossible,
    population::Lines,
    report::{Expected, Report},
    statistics::{Interval, mean},
};
use std::collections::BTreeMap;
use veilpost_packet::random::seeded;

/// Datagrams closer than this many seconds belong to one frame, which is four of them, or to two frames of two clocks.
const APART: f64 = 0.002;
/// Datagrams below this many bytes carry no part of a frame but acknowledgements: they follow what came, which is the other line's.
const ACKNOWLEDGEMENT: u32 = 300;
/// Frames of a line at least: fewer show nothing.
const FRAMES: usize = 100;
/// Chance gives a p-value below this in one of ten thousand comparisons.
const CHANCE: f64 = 1e-4;
/// Who does nothing has a name that begins so.
const IDLE: &str = "idle";

/// The frames on a client's line, be the capture of frames or of datagrams; `up`: what it sends.
pub fn frames(capture: &Capture, client: u32, up: bool) -> Line {
    if capture.header.unit == Unit::Frame {
        return Line::of(capture, client, up);
    }
    let mut line = Line::default();
    let mut last = f64::NEG_INFINITY;
    for (time, size) in capture.of(client, up).filter(|(_, size)| *size > ACKNOWLEDGEMENT) {
        match line.sizes.last_mut().filter(|_| time - last < APART) {
            Some(bytes) => *bytes += size,
            None => {
                line.times.push(time);
                line.sizes.push(size);
            }
        }
        last = time;
    }
    line
}

/// A client and its line each way.
type Client = (String, [Line; 2]);

fn clients(capture: &Capture) -> Result<Vec<Client>, Impossible> {
    let of = |(client, name): (u32, &str)| (name.to_owned(), [true, false].map(|up| frames(capture, client, up)));
    let all: Vec<Client> = of_clients(capture).map(of).collect();
    match all.iter().find(|(_, lines)| lines.iter().any(|line| line.times.len() < FRAMES)) {
        Some((name, _)) => {
            Err(Impossible(format!("{name}'s line has fewer than {FRAMES} frames each way: watch for longer")))
        }
        None => Ok(all),
    }
}

/// What all clients of a capture send, in the order of its endpoints, in seconds since its first row: what attacks on populations are
/// given too.
pub fn all(capture: &Capture) -> Lines {
    let (from, until) = span(capture);
    let times = |client: u32| -> Vec<f32> {
        frames(capture, client, true).times.iter().map(|time| (time - from) as f32).collect()
    };
    let span = (until - from) as f32;
    let up: Vec<Vec<f32>> = of_clients(capture).map(|(client, _)| times(client)).collect();
    Lines { online: vec![vec![(0.0, span)]; up.len()], up, span }
}

/// Index and name of each client.
fn of_clients(capture: &Capture) -> impl Iterator<Item = (u32, &str)> {
    let listed = (0u32..).zip(&capture.header.endpoints);
    listed.filter(|(_, endpoint)| endpoint.role == "client").map(|(index, endpoint)| (index, endpoint.name.as_str()))
}

/// Seconds of the first and of the last row.
fn span(capture: &Capture) -> (f64, f64) {
    let seconds = |row: Option<&crate::capture::Row>| row.map_or(0.0, |row| row.time_ns as f64 / 1e9);
    (seconds(capture.rows.first()), seconds(capture.rows.last()))
}

/// After each mark of one kind, the client that it concerns among all by what each sends in the next [`AFTER`] seconds.
fn after_marks(capture: &Capture) -> BTreeMap<&str, Vec<Rank>> {
    let (lines, (from, _)) = (all(capture), span(capture));
    let mut ranks: BTreeMap<&str, Vec<Rank>> = BTreeMap::new();
    for mark in &capture.header.marks {
        let at = (mark.time_ns as f64 / 1e9 - from) as f32;
        let who = of_clients(capture).position(|(client, _)| client == mark.endpoint);
        let seen = (0.0..lines.span - AFTER).contains(&at);
        if let Some(rank) = who.filter(|_| seen).and_then(|who| Rank::of(&by_volume(&lines, at, at + AFTER), who)) {
            ranks.entry(&mark.what).or_default().push(rank);
        }
    }
    ranks
}

/// Seconds after a mark that are looked at.
const AFTER: f32 = 10.0;
/// Standard deviations of a mean place that chance gives once in sixteen thousand.
const FAR: f64 = 4.0;

fn add_marks(report: &mut Report, capture: &Capture) {
    for (what, ranks) in after_marks(capture) {
        let places: Vec<f64> = ranks.iter().map(Rank::place).collect();
        let Some(Interval { value, .. }) = mean(&places) else { continue };
        // Places of N candidates are evenly spaced: variance (1 - 1/N^2) / 12.
        let of = ranks.first().map_or(1.0, |rank| rank.of as f64);
        let off = FAR * ((1.0 - of.powi(-2)) / 12.0 / places.len() as f64).sqrt();
        let name = format!("client of a mark `{what}`, by its volume in the {AFTER} s after it, mean place");
        report.add(name, "0 first, 1 last", value, places.len(), Expected::Within(0.5 - off, 0.5 + off));
    }
}

/// Compares all lines.
///
/// # Errors
/// If there are not two idle clients and another one, or too little was seen.
pub fn report(capture: &Capture, seed: u64) -> Result<Report, Impossible> {
    let (idle, busy): (Vec<Client>, Vec<Client>) =
        clients(capture)?.into_iter().partition(|(name, _)| name.starts_with(IDLE));
    let [(_, quiet), (_, other), ..] = idle.as_slice() else {
        return Err(Impossible(format!("two clients are needed whose names begin with `{IDLE}`, to compare with")));
    };
    let Some((_, first)) = busy.first() else {
        return Err(Impossible(format!("a client is needed whose name does not begin with `{IDLE}`")));
    };
    let span = span(capture);
    let mut bytes = [0x4c; 32];
    bytes.iter_mut().zip(seed.to_be_bytes()).for_each(|(byte, of)| *byte = of);
    let mut rng = seeded(bytes);
    let mut report = Report::new("lines", "are idle clients told from busy ones in this capture?");
    let pairs = busy.iter().map(|(name, lines)| (name.as_str(), lines)).chain([("null: idle and idle", other)]);
    for (name, lines) in pairs {
        for ((line, quiet), way) in lines.iter().zip(quiet).zip(["up", "down"]) {
            for (what, p) in compare(&format!("{name}, {way}"), line, quiet, span, &mut rng) {
                report.add(what, "p", p, line.times.len(), Expected::NothingSeen(CHANCE));
            }
        }
    }
    let [up, _] = first;
    let [quiet, _] = quiet;
    for (what, p) in compare("control: as much again, up", &faster(up, 1.0, span, &mut rng), quiet, span, &mut rng) {
        report.add(what, "p", p, quiet.times.len(), Expected::Caught(CHANCE));
    }
    add_marks(&mut report, capture);
    Ok(report)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use crate::capture::{Endpoint, Header, Mark, Row, Source, VERSION};
    use std::time::Duration;
    use veilpost_packet::random::exponential;

    /// Two idle clients and one, each with a Poisson line of a frame a second each way for so many seconds.
    fn capture(unit: Unit, rates: [f64; 3], seconds: f64) -> Capture {
        let mut rng = seeded([5; 32]);
        let endpoint = |name: &str, role: &str| Endpoint { name: name.into(), role: role.into() };
        let names = ["writes", "idle 1", "idle 2"];
        let mut endpoints: Vec<_> = names.map(|name| endpoint(name, "client")).to_vec();
        endpoints.push(endpoint("entry-1", "entry"));
        let mut rows = Vec::new();
        for (client, rate) in (0..3).zip(rates) {
            for (from, to) in [(client, 3), (3, client)] {
                let mut at = 0.0;
                loop {
                    at += exponential(&mut rng, Duration::from_secs_f64(1.0 / rate)).as_secs_f64();
                    if at > seconds {
                        break;
                    }
                    let parts = if unit == Unit::Frame { 1 } else { 4 };
                    rows.extend((0..parts).map(|part| Row {
                        time_ns: (at * 1e9) as i64 + part * 1_000,
                        from,
                        to,
                        size: 1_200,
                    }));
                }
            }
        }
        rows.sort_unstable();
        let header =
            Header { version: VERSION, source: Source::Simulation, unit, seed: None, endpoints, marks: Vec::new() };
        Capture { header, rows }
    }

    #[test]
    fn lines_alike_are_not_told_apart_be_they_frames_or_datagrams_and_the_control_is() {
        for unit in [Unit::Frame, Unit::Datagram] {
            let report = report(&capture(unit, [1.0; 3], 600.0), 1).unwrap();
            assert!(report.is_met(), "{report}");
            assert_eq!(report.rows.len(), 15);
        }
    }

    #[test]
    fn a_line_with_half_as_much_again_is_seen() {
        assert!(!report(&capture(Unit::Frame, [1.5, 1.0, 1.0], 900.0), 1).unwrap().is_met());
    }

    /// A mark each 20 s of the client that writes.
    fn mark(capture: &mut Capture, seconds: i64) -> Vec<i64> {
        let times: Vec<i64> = (1..seconds / 20 - 1).map(|number| number * 20_000_000_000).collect();
        capture.header.marks =
            times.iter().map(|time_ns| Mark { time_ns: *time_ns, endpoint: 0, what: "message".into() }).collect();
        times
    }

    #[test]
    fn who_sends_more_after_each_mark_is_named_and_who_does_not_is_at_chance() {
        let named = |report: &Report| report.rows.iter().find(|row| row.what.contains("`message`")).unwrap().clone();
        let mut capture = capture(Unit::Frame, [1.0; 3], 1_200.0);
        let times = mark(&mut capture, 1_200);
        let quiet = named(&report(&capture, 1).unwrap());
        assert!(quiet.met && quiet.n > 50, "{quiet:?}");
        let more = times.iter().flat_map(|at| (0..10).map(move |step| at + step * 500_000_000));
        capture.rows.extend(more.map(|time_ns| Row { time_ns, from: 0, to: 3, size: 1_200 }));
        capture.rows.sort_unstable();
        let loud = named(&report(&capture, 1).unwrap());
        assert!(!loud.met && loud.value < 0.3, "{loud:?}");
    }

    #[test]
    fn a_capture_that_shows_nothing_is_refused_in_words() {
        let short = report(&capture(Unit::Frame, [1.0; 3], 20.0), 1).unwrap_err().to_string();
        assert!(short.contains("watch for longer"), "{short}");
        let mut capture = capture(Unit::Frame, [1.0; 3], 600.0);
        capture.header.endpoints[2].name = "Dave".into();
        let alone = report(&capture, 1).unwrap_err().to_string();
        assert!(alone.contains("begin with `idle`"), "{alone}");
    }
}
