//! E14: does the link between a client and its entry tell an idle client from a busy one? LAB 2.12: two-sample Kolmogorov-Smirnov
//! tests of gaps, counts, windows after something came, both directions; over many seeds their p-values must be uniform. And a
//! classifier that is trained on counts, their spread and their autocorrelation, both ways, over half of the seeds, for the other half.
//! Positive controls: a client without cover, and one whose activity adds a tenth to its rate.

use super::{Options, over_seeds};
use crate::{
    attacks::classifier::{Features, autocorrelation, crossed},
    capture::Capture,
    cost::Cost,
    report::{Expected, Report},
    statistics::{auc_by_chance, counts, ks_two, ks_two_alike, spread, uniform},
    world::{Activity, ROLES, watched},
};
use std::{collections::BTreeMap, time::Duration};
use veilpost_packet::random::{EngineRng, exponential, seeded};

/// Watch of one world.
pub const WATCH: Duration = Duration::from_secs(900);
/// Frames are counted in bins of this many seconds.
const BIN: f64 = 10.0;
/// After something came, this many seconds are looked at.
const AFTER: f64 = 10.0;
/// p-values of a true null are below this in one report of a thousand.
pub const NULL: f64 = 0.001;

/// What a watcher sees of one client in one direction.
#[derive(Clone, Debug, Default)]
pub struct Line {
    /// Seconds.
    pub times: Vec<f64>,
    /// Bytes.
    pub sizes: Vec<u32>,
}

impl Line {
    /// A client's line out of a capture; `up`: what it sends.
    pub fn of(capture: &Capture, client: u32, up: bool) -> Self {
        let (times, sizes) = capture.of(client, up).unzip();
        Self { times, sizes }
    }

    /// Seconds between one frame and the next.
    pub fn gaps(&self) -> Vec<f64> {
        self.times.windows(2).filter_map(|pair| Some(pair.get(1)? - pair.first()?)).collect()
    }

    /// Frames in each bin.
    fn bins(&self, from: f64, until: f64) -> Vec<u64> {
        let count = ((until - from) / BIN).floor().max(0.0) as usize;
        let mut bins = vec![0; count];
        for time in &self.times {
            let bin = ((time - from) / BIN).floor();
            if let Some(bin) = (bin >= 0.0).then(|| bins.get_mut(bin as usize)).flatten() {
                *bin += 1;
            }
        }
        bins
    }

    /// Frames within [`AFTER`] seconds after any of these moments.
    fn after(&self, moments: &[f64]) -> u64 {
        let near = |time: &&f64| {
            let at = moments.partition_point(|moment| moment <= *time);
            at.checked_sub(1).and_then(|at| moments.get(at)).is_some_and(|moment| **time - moment <= AFTER)
        };
        self.times.iter().filter(near).count() as u64
    }
}

/// Autocorrelations are looked at up to this lag.
const LAGS: usize = 6;
/// Features of a line, for the classifier.
fn features(line: &Line, span: (f64, f64)) -> Features {
    let bins: Vec<f64> = line.bins(span.0, span.1).into_iter().map(|count| count as f64).collect();
    let n = bins.len().max(1) as f64;
    let mean = bins.iter().sum::<f64>() / n;
    let variance = bins.iter().map(|count| (count - mean).powi(2)).sum::<f64>() / n;
    [mean, variance].into_iter().chain((1..=LAGS).map(|lag| autocorrelation(&bins, lag))).collect()
}

/// Features of busy and of idle clients, by what they do; one of each for a seed.
type Looks = BTreeMap<String, [Vec<Features>; 2]>;

/// A seed's features of one comparison.
type Look = (String, [Features; 2]);

/// p-values by what was compared, one for each seed.
pub type PValues = BTreeMap<String, Vec<f64>>;

/// Compares two lines over equal times.
pub fn compare(what: &str, one: &Line, other: &Line, span: (f64, f64), rng: &mut EngineRng) -> Vec<(String, f64)> {
    let mut found = Vec::new();
    if let Some(test) = ks_two(&one.gaps(), &other.gaps()) {
        found.push((format!("{what}: gaps"), test.p));
    }
    let total = counts(one.times.len() as u64, other.times.len() as u64, rng);
    found.push((format!("{what}: frames in all"), total.p));
    let bins = [one, other].map(|line| spread(line.bins(span.0, span.1), rng));
    if let Some(test) = ks_two_alike(&bins[0], &bins[1], rng) {
        found.push((format!("{what}: frames in 10 s"), test.p));
    }
    found
}

/// The moments at which something came for a client, in seconds.
fn moments(capture: &Capture, client: u32) -> Vec<f64> {
    let of = capture.header.marks.iter().filter(|mark| mark.endpoint == client);
    of.map(|mark| mark.time_ns as f64 / 1e9).collect()
}

/// The same line with an independent Poisson stream of this share of its rate on top: activity that adds to the cover.
pub fn faster(line: &Line, share: f64, span: (f64, f64), rng: &mut EngineRng) -> Line {
    let rate = line.times.len() as f64 / (span.1 - span.0) * share;
    let mut times = line.times.clone();
    let mut at = span.0;
    loop {
        at += exponential(rng, Duration::from_secs_f64(1.0 / rate.max(1e-9))).as_secs_f64();
        if at >= span.1 {
            break;
        }
        times.push(at);
    }
    times.sort_by(f64::total_cmp);
    Line { sizes: line.sizes.clone(), times }
}

/// One seed: an idle world against a busy one, client by client. Also the sizes that were seen on clients' links, and features.
fn one(seed: u64) -> (PValues, Vec<u32>, Vec<Look>) {
    let (idle, busy) = (watched(2 * seed, Activity::Idle, WATCH), watched(2 * seed + 1, Activity::Busy, WATCH));
    let mut rng = seeded([seed as u8; 32]);
    let seconds =
        |world: &crate::world::World| (world.from.as_nanos() as f64 / 1e9, world.until.as_nanos() as f64 / 1e9);
    let (idle_span, busy_span) = (seconds(&idle), seconds(&busy));
    // Times from each world's own beginning.
    let line = |capture: &Capture, span: (f64, f64), client: u32, up: bool| {
        let mut line = Line::of(capture, client, up);
        line.times.iter_mut().for_each(|time| *time -= span.0);
        line
    };
    let span = (0.0, WATCH.as_secs_f64());
    let mut all = PValues::new();
    let mut add =
        |found: Vec<(String, f64)>| found.into_iter().for_each(|(what, p)| all.entry(what).or_default().push(p));
    let (mut sizes, mut looks) = (Vec::new(), Vec::new());
    for (client, role) in ROLES {
        let client = client as u32;
        let both = |capture: &Capture, from: (f64, f64)| -> Features {
            [true, false].into_iter().flat_map(|up| features(&line(capture, from, client, up), span)).collect()
        };
        looks.push((role.to_owned(), [both(&busy.capture, busy_span), both(&idle.capture, idle_span)]));
        for (up, direction) in [(true, "up"), (false, "down")] {
            let quiet = line(&idle.capture, idle_span, client, up);
            let active = line(&busy.capture, busy_span, client, up);
            sizes.extend(quiet.sizes.iter().chain(&active.sizes));
            add(compare(&format!("{role}, {direction}"), &active, &quiet, span, &mut rng));
            let came: Vec<f64> = moments(&busy.capture, client).iter().map(|at| at - busy_span.0).collect();
            if !came.is_empty() {
                let after = counts(active.after(&came), quiet.after(&came), &mut rng);
                add(vec![(format!("{role}, {direction}: 10 s after something came"), after.p)]);
            }
        }
    }
    let [one, other] = [2, 3].map(|client| line(&idle.capture, idle_span, client, true));
    add(compare("null: idle and idle, up", &one, &other, span, &mut rng));
    let active = line(&busy.capture, busy_span, 0, true);
    let more = faster(&active, 0.1, span, &mut rng);
    looks.push(("control: a rate of 1.1, up".into(), [features(&more, span), features(&one, span)]));
    add(compare("control: a rate of 1.1, up", &more, &one, span, &mut rng));
    let uncovered = uncovered(&busy, busy_span.0);
    add(compare("control: no cover, up", &uncovered, &one, span, &mut rng));
    sizes.sort_unstable();
    sizes.dedup();
    (all, sizes, looks)
}

/// What a classifier makes of each kind of client.
fn classify(looks: &Looks, report: &mut Report) {
    for (what, [busy, idle]) in looks {
        let scores = crossed(busy, idle);
        let Some(area) = scores.auc() else { continue };
        let n = scores.positive.len();
        let chance = auc_by_chance(n, scores.negative.len());
        // Few seeds teach too little for the control.
        let expected = if !what.starts_with("control") {
            Expected::Within((0.5 - chance).max(0.0), (0.5 + chance).min(1.0))
        } else if n >= TAUGHT {
            Expected::AtLeast(0.5 + chance)
        } else {
            Expected::Known
        };
        report.add_interval(format!("{what}: classifier"), "AUC", area, n, expected);
    }
}

/// Seeds from which on the classifier's control has to be caught.
const TAUGHT: usize = 60;

/// What client 0 would send without cover: its real boxes alone.
fn uncovered(world: &crate::world::World, from: f64) -> Line {
    let mine = |id| world.watch.truth.get(id).is_some_and(|truth| truth.writer == 0 && !truth.decoy);
    let puts = world.watch.commands.iter().filter(|command| command.id.as_ref().is_some_and(mine));
    let times: Vec<f64> = puts.map(|command| command.at.as_nanos() as f64 / 1e9 - from).collect();
    Line { sizes: vec![0; times.len()], times }
}

/// Runs the experiment.
pub fn run(options: &Options) -> Report {
    let found = over_seeds(options, one);
    let mut all = PValues::new();
    let (mut sizes, mut looks): (Vec<u32>, Looks) = (Vec::new(), Looks::new());
    for (p_values, seen, of_seed) in found {
        for (what, [busy, idle]) in of_seed {
            let known = looks.entry(what).or_default();
            let [of_busy, of_idle] = known;
            of_busy.push(busy);
            of_idle.push(idle);
        }
        p_values.into_iter().for_each(|(what, p)| all.entry(what).or_default().extend(p));
        sizes.extend(seen);
    }
    sizes.sort_unstable();
    sizes.dedup();
    let mut report = Report::new("E14", "is an idle client told from a busy one on its own line?");
    report.costing(Some(Cost::shipped()));
    report.add(
        "different sizes of frames on clients' lines",
        "sizes",
        sizes.len() as f64,
        options.seeds,
        Expected::Within(1.0, 1.0),
    );
    for (what, p_values) in all {
        let control = what.starts_with("control");
        let expected = if control { Expected::Caught(NULL) } else { Expected::NothingSeen(NULL) };
        if let Some(test) = uniform(&p_values) {
            report.add(what, "p (uniformity)", test.p, p_values.len(), expected);
        }
    }
    classify(&looks, &mut report);
    report
}
