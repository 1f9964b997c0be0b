//! How likely a route of corrupt mixes alone is: the formulas of [`crate::attacks::routes`].

use super::{Figure, Measure, Run};
use crate::{
    attacks::routes::{by_chance, evenly, exposed, exposed_pinned, packets_for_half},
    flow::LAYERS_MAX,
    impossible::{Checked, Impossible, between},
};
use clap::Args;
use serde::{Deserialize, Serialize};

/// Nodes at most: above, counts are no exact numbers any more.
const NODES_MAX: usize = 1 << 40;

/// How likely a route is that has corrupt mixes alone, exactly: of one packet, and of one of many.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, Args)]
#[serde(deny_unknown_fields, default)]
pub struct Routes {
    /// Mixes in all layers together
    #[arg(long, default_value_t = Self::default().nodes)]
    pub nodes: usize,
    /// Mixes that are the adversary's; chance decides in which layers they are
    #[arg(long, default_value_t = Self::default().corrupt)]
    pub corrupt: usize,
    /// Layers of mixes, 1 to 20
    #[arg(long, default_value_t = Self::default().layers)]
    pub layers: usize,
    /// Packets that one client sends
    #[arg(long, default_value_t = Self::default().packets)]
    pub packets: u64,
    /// Mixes of one layer that a client keeps to (guards, sticky mixes) in `exposed_pinned`
    #[arg(long, default_value_t = Self::default().pinned)]
    pub pinned: u32,
}

impl Default for Routes {
    fn default() -> Self {
        Self { nodes: 100, corrupt: 10, layers: 3, packets: 1, pinned: 3 }
    }
}

impl Measure for Routes {
    fn check(&self) -> Checked {
        between("layers", self.layers, 1, LAYERS_MAX)?;
        between("nodes", self.nodes, self.layers, NODES_MAX)?;
        between("pinned", self.pinned as usize, 1, 1_000)?;
        if self.corrupt > self.nodes {
            let Self { corrupt, nodes, .. } = self;
            return Err(Impossible(format!("corrupt is {corrupt}; there are {nodes} nodes only")));
        }
        Ok(())
    }

    fn run(&self, _: &Run) -> Result<Vec<Figure>, Impossible> {
        let share = self.corrupt as f64 / self.nodes as f64;
        let (even, packets) = (evenly(share, self.layers), self.packets as f64);
        let exact = |name, value| Figure::new(name, "", value, 0);
        Ok(vec![
            exact("p", by_chance(self.nodes, self.corrupt, self.layers)),
            exact("p_even", even),
            exact("exposed", exposed(even, packets)),
            Figure::new("packets_for_half", "packets", packets_for_half(even), 0),
            exact("exposed_pinned", exposed_pinned(share, self.layers, self.pinned, packets)),
        ])
    }
}
