//! What a design costs, said beside each figure that it buys: traffic of a client, and how long a text or a packet takes.

use crate::{
    flow,
    population::{self, Habits},
    statistics::quantile,
};
use serde::{Deserialize, Serialize};
use std::{fmt, time::Duration};
use veilpost_client::cost;
use veilpost_packet::{
    profile::Profile,
    random::{exponential, seeded},
};
use veilpost_pki::Params;

/// Shares of texts or packets that are there in each of [`Cost::seconds`].
pub const SHARES: [f64; 3] = [0.5, 0.95, 0.99];
/// Packets that are drawn to find how long mixes keep them: the median is then good to a hundredth.
const PACKETS: usize = 10_001;
/// Clients whose texts are timed: what one client costs does not depend on how many others there are, but for the downlink.
const CLIENTS: usize = 100;
/// How long they are watched.
const WATCH: Duration = Duration::from_secs(3_600);

/// A design's cost.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Cost {
    /// Megabytes a day that a client sends and receives, with all headers; `None` where mixes are measured alone.
    pub megabytes: Option<f64>,
    /// Seconds in which half, 95 % and 99 % of texts are read, or of packets out of the mixes; `None` where nothing is sent.
    pub seconds: Option<[f64; 3]>,
}

impl Cost {
    /// Of a client of the standard profile as it ships, reckoned from its clocks.
    pub fn shipped() -> Self {
        Self::reckoned(&Params::standard())
    }

    fn reckoned(params: &Params) -> Self {
        let cost = cost::of(params, Profile::Standard);
        let seconds = [cost.median, cost.p95, cost.p99].map(|time| time.as_secs_f64());
        Self { megabytes: Some((cost.up + cost.down) as f64 / 1e6), seconds: Some(seconds) }
    }

    /// Of mixes alone: how long packets are on their way.
    pub fn of_mixes(setup: &flow::Setup) -> Self {
        let mut rng = seeded([0; 32]);
        let delay = Duration::try_from_secs_f64(setup.delay_per_hop).unwrap_or(Duration::MAX);
        let links = (setup.layers + 1) as f64 * setup.link_latency;
        let mut packet = || links + (0..setup.layers).map(|_| exponential(&mut rng, delay).as_secs_f64()).sum::<f64>();
        let packets: Vec<f64> = (0..PACKETS).map(|_| packet()).collect();
        Self { megabytes: None, seconds: percentiles(&packets) }
    }

    /// Of a population's design: frames counted, texts timed from being said until they are read, among people who are online and talk.
    pub fn measured(setup: &population::Setup) -> Self {
        let (rates, talking) = (setup.rates(), Habits::default());
        let params = Params { downlink_gap: rates.downlink_gap, ..setup.params };
        let reckoned = Self::reckoned(&params);
        let few = population::Setup {
            seed: 0,
            clients: setup.clients.min(CLIENTS),
            watch: WATCH,
            habits: Habits { contacts: setup.habits.contacts.min(talking.contacts), ..talking },
            params,
            ..setup.clone()
        };
        let Ok(watched) = population::live(&few) else { return reckoned };
        let up = watched.rates.iter().sum::<f64>() / 3_600.0;
        let share = (up + rates.down()) / (rates.up() + rates.down());
        let texts = watched.truth.messages.iter().filter(|message| message.boxes == 1 && message.said > 0.0);
        let times: Vec<f64> = texts.filter_map(|text| Some(f64::from(text.read? - text.said))).collect();
        Self { megabytes: reckoned.megabytes.map(|megabytes| megabytes * share), seconds: percentiles(&times) }
    }
}

fn percentiles(of: &[f64]) -> Option<[f64; 3]> {
    let [half, most, nearly_all] = SHARES.map(|share| quantile(of, share));
    Some([half?, most?, nearly_all?])
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(megabytes) = self.megabytes {
            write!(f, "{megabytes:.0} MB")?;
        }
        let between = if self.megabytes.is_some() && self.seconds.is_some() { "; " } else { "" };
        let digits = |seconds: f64| usize::from(seconds < 10.0) * 2;
        match self.seconds {
            Some([half, most, nearly_all]) => write!(
                f,
                "{between}{half:.*} / {most:.*} / {nearly_all:.*} s",
                digits(half),
                digits(most),
                digits(nearly_all)
            ),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use crate::experiments::disclosure::UNCOVERED;

    #[test]
    fn clients_that_are_counted_cost_what_is_reckoned_and_without_cover_less() {
        let (reckoned, setup) = (Cost::shipped(), population::Setup::default());
        let measured = Cost::measured(&setup);
        let (counted, known) = (measured.megabytes.unwrap(), reckoned.megabytes.unwrap());
        assert!((counted / known - 1.0).abs() < 0.02, "{counted} MB for {known}");
        let (timed, known) = (measured.seconds.unwrap(), reckoned.seconds.unwrap());
        assert!((timed[0] / known[0] - 1.0).abs() < 0.3, "{timed:?} for {known:?}");
        assert!(timed[0] < timed[1] && timed[1] < timed[2]);
        let bare = Cost::measured(&population::Setup { design: UNCOVERED, ..setup });
        assert!(bare.megabytes.unwrap() < 0.8 * counted, "{bare}");
    }

    #[test]
    fn mixes_alone_keep_packets_as_long_as_their_delays_add_up_to() {
        let setup = flow::Setup { layers: 1, delay_per_hop: 1.0, link_latency: 0.5, ..flow::Setup::default() };
        let cost = Cost::of_mixes(&setup);
        let seconds = cost.seconds.unwrap();
        for (seconds, share) in seconds.into_iter().zip(SHARES) {
            let known = 1.0 - (1.0 - share).ln();
            assert!((seconds / known - 1.0).abs() < 0.05, "{seconds} s for {known}");
        }
        assert_eq!(cost.megabytes, None);
    }

    #[test]
    fn a_cost_is_said_in_few_words() {
        let cost = Cost { megabytes: Some(991.4), seconds: Some([25.0, 51.2, 66.0]) };
        assert_eq!(cost.to_string(), "991 MB; 25 / 51 / 66 s");
        assert_eq!(Cost { megabytes: None, seconds: Some([0.9, 1.625, 12.0]) }.to_string(), "0.90 / 1.62 / 12 s");
    }
}
