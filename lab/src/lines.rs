//! Clients' lines out of anybody's capture, compared two and two as E14 does it: those whose names begin with `idle` with all others.

use crate::{
    capture::{Capture, Unit},
    experiments::unobservability::{Line, compare, faster},
    impossible::Impossible,
    report::{Expected, Report},
};
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
    let of = |(index, endpoint): (usize, &crate::capture::Endpoint)| {
        let client = u32::try_from(index).ok()?;
        Some((endpoint.name.clone(), [true, false].map(|up| frames(capture, client, up))))
    };
    let listed = capture.header.endpoints.iter().enumerate().filter(|(_, endpoint)| endpoint.role == "client");
    let all: Vec<Client> = listed.filter_map(of).collect();
    match all.iter().find(|(_, lines)| lines.iter().any(|line| line.times.len() < FRAMES)) {
        Some((name, _)) => {
            Err(Impossible(format!("{name}'s line has fewer than {FRAMES} frames each way: watch for longer")))
        }
        None => Ok(all),
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
    let ends = || capture.rows.iter().map(|row| row.time_ns as f64 / 1e9);
    let span = (ends().next().unwrap_or_default(), ends().next_back().unwrap_or_default());
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
    Ok(report)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use crate::capture::{Endpoint, Header, Row, Source, VERSION};
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
