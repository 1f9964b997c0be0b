//! Who ever takes a route of corrupt mixes alone, with the shipped choice of routes: clients that stay with mixes of the middle layer,
//! and clients that do not.

use super::{Figure, Measure, Run, chunks};
use crate::{
    flow::{ENTRY, MAILBOX, WIDTH_MAX, document, mix_id},
    impossible::{Checked, Impossible, between, positive},
    statistics::{mean, share},
};
use clap::{ArgAction, Args};
use rand::Rng;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, time::Duration};
use veilpost_client::guards::keep_middle;
use veilpost_packet::{ids::NodeId, random::seeded};
use veilpost_pki::topology::forward_route;

/// Clients of one network; others have other corrupt mixes.
const CLIENTS_OF_ONE: usize = 1;
/// Weights of one layer add up to about so many.
const WEIGHT: f64 = 1e6;

/// How many clients take a route of corrupt mixes alone, with the client's own choice of routes and of the mixes it stays with.
///
/// In the outer layers one corrupt mix has exactly the given share of the weight; in the middle layer each mix is corrupt with that
/// probability, which decides who is exposed.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, Args)]
#[serde(deny_unknown_fields, default)]
pub struct Sticky {
    /// Share of routes of each layer that go through corrupt mixes, above 0, below 1
    #[arg(long, default_value_t = Self::default().corrupt)]
    pub corrupt: f64,
    /// Mixes of each layer, 2 to 1000; clients stay with three of the middle layer from 10 on
    #[arg(long, default_value_t = Self::default().width)]
    pub width: usize,
    /// Whether clients stay with mixes of the middle layer
    #[arg(long, action = ArgAction::Set, default_value_t = Self::default().sticky)]
    pub sticky: bool,
    /// Packets of each client; one of standard rates sends 74,880 a day
    #[arg(long, default_value_t = Self::default().packets)]
    pub packets: usize,
    /// Clients
    #[arg(long, default_value_t = Self::default().clients)]
    pub clients: usize,
}

impl Default for Sticky {
    fn default() -> Self {
        Self { corrupt: 0.1, width: 10, sticky: true, packets: 20_000, clients: 400 }
    }
}

impl Sticky {
    /// Exposed routes of a client in a network of its own.
    fn exposed(&self, seed: [u8; 32]) -> usize {
        let mut rng = seeded(seed);
        let bad = (WEIGHT * self.corrupt).round() as u32;
        let good = (WEIGHT * (1.0 - self.corrupt) / (self.width - 1) as f64).round() as u32;
        let ids = |layer: usize| (0..self.width).map(move |mix| mix_id(layer * self.width + mix));
        let outer = |layer| ids(layer).enumerate().map(|(at, id)| (id, if at == 0 { bad } else { good })).collect();
        let middle: Vec<(NodeId, u32)> = ids(1).map(|id| (id, 1)).collect();
        let mut corrupt: BTreeSet<[u8; 32]> = ids(1).filter(|_| rng.random_bool(self.corrupt)).map(|id| id.0).collect();
        corrupt.extend([mix_id(0).0, mix_id(2 * self.width).0]);
        let document = document([outer(0), middle, outer(2)], Duration::from_millis(500));
        let mut stays = Vec::new();
        if self.sticky {
            let second = document.layers.get(1).map_or(&[][..], |layer| layer);
            keep_middle(&mut stays, second, &mut rng);
        }
        let mut exposed = |_: &usize| {
            let route = forward_route(&mut rng, &document, &stays, &ENTRY, &MAILBOX);
            route.is_some_and(|[_, mixes @ .., _]| mixes.iter().all(|mix| corrupt.contains(&mix.address)))
        };
        (0..self.packets).filter(&mut exposed).count()
    }
}

impl Measure for Sticky {
    fn check(&self) -> Checked {
        positive("corrupt", self.corrupt)?;
        between("width", self.width, 2, WIDTH_MAX)?;
        between("packets", self.packets, 1, 1 << 40)?;
        between("clients", self.clients, 2, 10_000_000)?;
        if !(1e-6..1.0).contains(&self.corrupt) {
            return Err(Impossible(format!("corrupt is {}; it must be 0.000001 or more, and below 1", self.corrupt)));
        }
        Ok(())
    }

    fn run(&self, run: &Run) -> Result<Vec<Figure>, Impossible> {
        let routes = chunks(run, self.clients, CLIENTS_OF_ONE, |seed, _| Ok(vec![self.exposed(seed) as f64]))?;
        let ever = routes.iter().filter(|routes| **routes > 0.0).count();
        let shares: Vec<f64> = routes.iter().map(|routes| routes / self.packets as f64).collect();
        Ok(vec![
            Figure::mean("exposed", "", Some(share(ever as u64, routes.len() as u64)), routes.len()),
            Figure::mean("exposed_routes", "", mean(&shares), routes.len()),
        ])
    }
}
