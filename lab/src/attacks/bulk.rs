//! Who sends a file, and who reads it? Volume as in Back, Moeller and Stiglic, "Traffic analysis attacks and trade-offs in anonymity
//! providing systems", IH 2001, and correlation of flows as in Danezis, "The traffic analysis of continuous-time mixes", PET 2004.
//!
//! Both are told when the transfer was, which is more than an adversary knows.

use super::series::Way;
use crate::population::{Lines, Requests};
use crate::simulation::Asked;

/// By lines alone: frames that each client sends in the time of the transfer more than it does otherwise, in standard deviations.
pub fn by_volume(lines: &Lines, from: f32, until: f32) -> Vec<f64> {
    let score = |client: usize| {
        let within = lines.frames(client, from, until) as f64;
        let all = lines.up.get(client).map_or(0, Vec::len) as f64;
        let share = f64::from((until - from) / lines.span.max(1.0)).clamp(0.0, 1.0);
        (within - all * share) / (all * share * (1.0 - share)).max(1.0).sqrt()
    };
    (0..lines.up.len()).map(score).collect()
}

/// By lines and mailboxes: how well each client's frames fit the times of all requests of one kind, in standard deviations. A client
/// that makes more of them fits better. Requests of everyone are looked at: nobody knows which belong together.
pub fn by_fit(lines: &Lines, requests: &Requests, asked: Asked, way: &Way, from: f32, until: f32) -> Vec<f64> {
    let kind = requests.all.iter().filter(|request| request.asked == asked && (from..until).contains(&request.at));
    let times: Vec<f32> = kind.map(|request| request.at).collect();
    let profile = Profile::new(&times, way, from, until);
    let score = |frames: &Vec<f32>| {
        let at = frames.partition_point(|frame| *frame < from);
        let within: Vec<f64> =
            frames.iter().skip(at).take_while(|frame| **frame < until).map(|frame| profile.at(*frame)).collect();
        let n = within.len().max(1) as f64;
        within.iter().map(|value| value - profile.mean).sum::<f64>() / (n.sqrt() * profile.deviation.max(1e-9))
    };
    lines.up.iter().map(score).collect()
}

/// How many requests a frame of each moment would fit: the requests' times, spread back over the delays of their way.
struct Profile {
    from: f32,
    values: Vec<f64>,
    mean: f64,
    deviation: f64,
}

/// Seconds from one value of a profile to the next.
const STEP: f32 = 0.1;

impl Profile {
    fn new(times: &[f32], way: &Way, from: f32, until: f32) -> Self {
        let steps = ((until - from) / STEP).ceil().max(1.0) as usize;
        let values: Vec<f64> = (0..steps).map(|step| way.ahead(times, from + (step as f32 + 0.5) * STEP)).collect();
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let deviation = (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / n).sqrt();
        Self { from, values, mean, deviation }
    }

    fn at(&self, frame: f32) -> f64 {
        self.values.get(((frame - self.from) / STEP) as usize).copied().unwrap_or(self.mean)
    }
}
