//! E26: how soon is a mix that drops packets left out of routes, and who is left out by mistake? Nodes' loops alone, in networks of two
//! mixes a layer, with fewer loops in an epoch than a real network has: 300 of each node, where an hour has 3,600.
//!
//! The document of the next epoch is voted at the beginning of this one, so that nothing acts sooner than from the second one after.

use super::{Options, over_seeds};
use crate::{
    report::{Expected, Report},
    simulation::{Conduct, Packets, Setup, Simulation, Who},
    statistics::{quantile, share},
};
use std::{collections::BTreeMap, time::Duration};
use veilpost_packet::time::Epoch;
use veilpost_pki::{Params, reliability::WEIGHT};

const MS: Duration = Duration::from_millis(1);
/// Epochs that are looked at after the one in which the mix turns bad.
const EPOCHS: u64 = 6;
/// The mix that turns bad.
const MIX: usize = 0;
/// Honest loss at each hop.
const LOSS: f64 = 0.01;
/// Shares that it drops; what is dropped besides is honest loss.
const DROPS: [f64; 5] = [0.05, 0.1, 0.2, 0.5, 1.0];

fn setup(seed: u64) -> Setup {
    let params = Params {
        epoch: 60_000 * MS,
        key_grace: 30_000 * MS,
        hop_delay: 100 * MS,
        reply_floor: 1_000 * MS,
        node_loop_gap: 200 * MS,
        document_life: 8,
        placement_notice: 3,
        peer_gap: 250 * MS,
        ..Params::standard()
    };
    Setup { seed, clients: 0, mailboxes: 2, loss: LOSS, packets: Packets::Model, params, ..Setup::default() }
}

/// What became of one mix.
struct Outcome {
    /// Epochs after the one in which it turned bad until it has no share; one more than are looked at if it keeps one.
    out_after: u64,
    /// Others that have less than the full share, and how many could have.
    innocents: (u64, u64),
}

fn one(seed: u64, drops: f64) -> Outcome {
    let mut simulation = Simulation::new(setup(seed));
    let begun = simulation.schedule().epoch_at(simulation.now()).0 + 1;
    simulation.run_to_epoch(Epoch(begun));
    // Somewhere in the epoch, another place for each seed.
    let part = simulation.schedule().epoch().mul_f64((seed % 10) as f64 / 10.0);
    let turns = simulation.now() + part;
    simulation.run(turns, |_| false);
    simulation.set_conduct(MIX, Conduct::Drops(drops));
    simulation.run_to_epoch(Epoch(begun + EPOCHS));
    let mix = simulation.id_of(Who::Relay(MIX));
    let (mut out_after, mut innocents) = (EPOCHS + 1, (0, 0));
    for document in simulation.made().filter(|document| document.epoch.0 >= begun) {
        let weight = document.relay(&mix).map_or(0, |(_, relay)| relay.weight);
        if weight == 0 {
            out_after = out_after.min(document.epoch.0 - begun);
        }
        let others = document.relays().filter(|(_, relay)| relay.id != mix);
        for (_, relay) in others {
            innocents.0 += u64::from(relay.weight < WEIGHT);
            innocents.1 += 1;
        }
    }
    Outcome { out_after, innocents }
}

/// Runs the experiment.
pub fn run(options: &Options) -> Report {
    let found = over_seeds(options, |seed| {
        let bad = DROPS.map(|drops| one(seed, drops));
        (bad, one(seed, 0.0))
    });
    let mut report = Report::new("E26", "how soon is a mix that drops packets left out, and who is by mistake?");
    let mut epochs: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
    let (mut beside_bad, mut without) = ((0, 0), (0, 0));
    let add = |sum: &mut (u64, u64), more: (u64, u64)| *sum = (sum.0 + more.0, sum.1 + more.1);
    for (bad, honest) in &found {
        for (at, outcome) in bad.iter().enumerate() {
            epochs.entry(at).or_default().push(outcome.out_after as f64);
            add(&mut beside_bad, outcome.innocents);
        }
        add(&mut without, honest.innocents);
        add(&mut without, (u64::from(honest.out_after <= EPOCHS), EPOCHS));
    }
    for (at, drops) in DROPS.iter().enumerate() {
        let Some(epochs) = epochs.get(&at) else { continue };
        let (median, worst) = (quantile(epochs, 0.5), quantile(epochs, 1.0));
        // What drops less than a tenth is below the line that is acted on.
        let expected = if *drops >= 0.2 { Expected::AtMost(3.0) } else { Expected::Known };
        let what = format!("drops {drops}: epochs until it has no share");
        report.add(format!("{what}, median"), "epochs", median.unwrap_or(f64::NAN), epochs.len(), expected);
        report.add(format!("{what}, worst"), "epochs", worst.unwrap_or(f64::NAN), epochs.len(), expected);
    }
    let false_alarms = share(without.0, without.1);
    report.add_interval(
        "honest nodes below the full share, 1 % honest loss at each hop",
        "of node epochs",
        false_alarms,
        usize::try_from(without.1).unwrap_or(usize::MAX),
        Expected::AtMost(0.001),
    );
    report.add_interval(
        "honest nodes below the full share beside a bad mix",
        "of node epochs",
        share(beside_bad.0, beside_bad.1),
        usize::try_from(beside_bad.1).unwrap_or(usize::MAX),
        Expected::AtMost(0.01),
    );
    report
}
