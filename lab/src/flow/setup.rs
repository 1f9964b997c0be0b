//! The network of a flow.

use crate::impossible::{Checked, Impossible, between, not_negative, positive, share};
use clap::ValueEnum;
use rand::Rng;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use veilpost_packet::random::EngineRng;

/// Layers at most.
pub const LAYERS_MAX: usize = 20;
/// Mixes of one layer at most.
pub(crate) const WIDTH_MAX: usize = 1_000;
/// Mean delays that network documents allow, in seconds.
const HOP_DELAYS: (f64, f64) = (0.001, 3_600.0);

/// Dummies that mixes make, as in MiXiM (Ben Guirat, Gosain and Diaz, WPES 2021).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Dummies {
    /// None.
    #[default]
    None,
    /// For one link: the next mix drops them.
    Links,
    /// For the rest of a route: the last mix drops them.
    Routes,
}

/// A stratified network, and the links around it.
#[derive(Clone, PartialEq, Debug)]
pub struct Setup {
    /// Layers of mixes.
    pub layers: usize,
    /// Mixes of each layer.
    pub width: usize,
    /// Mean of the exponential delay at each mix, in seconds.
    pub delay_per_hop: f64,
    /// Length of every link, in seconds.
    pub link_latency: f64,
    /// Share of frames that are lost on a link.
    pub loss: f64,
    /// Share of routes that take the first mix of a layer; the others share the rest. 0: all mixes alike.
    pub heavy: f64,
    /// Dummies that mixes make.
    pub dummies: Dummies,
    /// Dummies a second, over all mixes of all layers but the last.
    pub dummy_rate: f64,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            layers: 3,
            width: 10,
            delay_per_hop: 0.5,
            link_latency: 0.05,
            loss: 0.0,
            heavy: 0.0,
            dummies: Dummies::None,
            dummy_rate: 0.0,
        }
    }
}

impl Setup {
    /// Whether there can be such a network.
    ///
    /// # Errors
    /// [`Impossible`], for a person.
    pub fn check(&self) -> Checked {
        between("layers", self.layers, 1, LAYERS_MAX)?;
        between("width", self.width, 1, WIDTH_MAX)?;
        positive("delay_per_hop", self.delay_per_hop)?;
        let (shortest, longest) = HOP_DELAYS;
        if !(shortest..=longest).contains(&self.delay_per_hop) {
            let delay = self.delay_per_hop;
            return Err(Impossible(format!(
                "delay_per_hop is {delay} s; network documents allow {shortest} to {longest} s"
            )));
        }
        not_negative("link_latency", self.link_latency)?;
        if self.link_latency > longest {
            return Err(Impossible(format!("link_latency is {} s; the longest is {longest} s", self.link_latency)));
        }
        share("loss", self.loss)?;
        share("heavy", self.heavy)?;
        not_negative("dummy_rate", self.dummy_rate)?;
        if self.dummies != Dummies::None && self.layers < 2 {
            return Err(Impossible("dummies need 2 layers or more: the last layer makes none".into()));
        }
        if self.dummy_gap().is_some_and(|gap| gap.as_secs_f64() + self.delay_per_hop > longest) {
            return Err(Impossible(format!(
                "dummy_rate is {}; that is less than one an hour of each mix",
                self.dummy_rate
            )));
        }
        Ok(())
    }

    /// Mean delay at a mix.
    pub(super) fn hop_delay(&self) -> Duration {
        Duration::from_secs_f64(self.delay_per_hop)
    }

    /// Length of a link.
    pub(super) fn latency(&self) -> Duration {
        Duration::from_secs_f64(self.link_latency)
    }

    /// How long a packet takes through the network on average, in seconds.
    pub fn end_to_end(&self) -> f64 {
        self.layers as f64 * self.delay_per_hop + (self.layers + 1) as f64 * self.link_latency
    }

    /// Mixes that make dummies, from the first: all but those of the last layer.
    pub(super) fn dummy_makers(&self) -> usize {
        (self.layers - 1) * self.width
    }

    /// Mean time between two dummies of one mix; `None` if there are none.
    pub(super) fn dummy_gap(&self) -> Option<Duration> {
        let each = self.dummy_rate / self.dummy_makers() as f64;
        (self.dummies != Dummies::None && each > 0.0)
            .then(|| Duration::try_from_secs_f64(1.0 / each).unwrap_or(Duration::MAX))
    }

    /// Draws a mix of one layer.
    pub(super) fn draw_mix(&self, rng: &mut EngineRng) -> usize {
        if self.heavy == 0.0 || self.width == 1 {
            rng.random_range(0..self.width)
        } else if rng.random_bool(self.heavy) {
            0
        } else {
            rng.random_range(1..self.width)
        }
    }
}
