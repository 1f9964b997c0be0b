//! E26: how soon is a mix that drops packets left out of routes, and who is left out by mistake? Nodes' loops alone, in networks of two
//! mixes a layer, with fewer loops in an epoch than a real network has: 300 of each node, where an hour has 3,600.
//!
//! A document is voted before the middle of the epoch before its own, and the one in force stays so to its end. So the next one to be
//! voted after a mix died takes effect half an epoch to one and a half later, and what was measured in the first part of an epoch
//! counts from the next one on. Times are counted from the moment at which the mix turns bad.

use super::{Options, over_seeds};
use crate::{
    cost::Cost,
    report::{Expected, Report},
    simulation::{Conduct, Packets, Setup, Simulation, Who},
    statistics::{quantile, share},
};
use std::time::Duration;
use veilpost_packet::time::Epoch;
use veilpost_pki::{Params, reliability::WEIGHT};

const MS: Duration = Duration::from_millis(1);
/// Epochs that are looked at after the one in which the mix turns bad.
const EPOCHS: u64 = 6;
/// The mix that turns bad.
const MIX: usize = 0;
/// Honest loss at each hop.
const LOSS: f64 = 0.01;
/// What the mix does.
const TURNS: [(&str, Turn); 6] = [
    ("drops 0.05", Turn::Drops(0.05)),
    ("drops 0.1", Turn::Drops(0.1)),
    ("drops 0.2", Turn::Drops(0.2)),
    ("drops 0.5", Turn::Drops(0.5)),
    ("drops all", Turn::Drops(1.0)),
    ("dies", Turn::Dies),
];

#[derive(Clone, Copy, PartialEq, Debug)]
enum Turn {
    /// It drops this share of packets, beside honest loss.
    Drops(f64),
    Dies,
}

/// Phases as long in an epoch of a minute as minutes are in an hour.
const PHASE: Duration = Duration::from_secs(1);

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
    let phase = Some(PHASE);
    Setup { seed, clients: 0, mailboxes: 2, loss: LOSS, packets: Packets::Model, params, phase, ..Setup::default() }
}

/// What became of one mix.
struct Outcome {
    /// Epochs' time from its turn until a document is in force that gives it no share; one more than are looked at if none does.
    out_after: f64,
    /// Documents that were voted after its turn and still give it a share.
    in_voted: u64,
    /// Others that have less than the full share, and how many could have.
    innocents: (u64, u64),
}

fn one(seed: u64, turn: Turn) -> Outcome {
    let mut simulation = Simulation::new(setup(seed));
    let schedule = simulation.schedule();
    let begun = schedule.epoch_at(simulation.now()).0 + 1;
    simulation.run_to_epoch(Epoch(begun));
    // Somewhere in the epoch, another place for each seed.
    let turned = simulation.now() + schedule.epoch().mul_f64((seed % 10) as f64 / 10.0);
    simulation.run(turned, |_| false);
    match turn {
        Turn::Drops(share) => simulation.set_conduct(MIX, Conduct::Drops(share)),
        Turn::Dies => simulation.kill_node(Who::Relay(MIX), false),
    }
    simulation.run_to_epoch(Epoch(begun + EPOCHS));
    let mix = simulation.id_of(Who::Relay(MIX));
    let mut outcome = Outcome { out_after: (EPOCHS + 1) as f64, in_voted: 0, innocents: (0, 0) };
    for document in simulation.made().filter(|document| document.epoch.0 > begun) {
        let weight = document.relay(&mix).map_or(0, |(_, relay)| relay.weight);
        let begins = schedule.start(document.epoch).since(turned).as_secs_f64() / schedule.epoch().as_secs_f64();
        if weight == 0 {
            outcome.out_after = outcome.out_after.min(begins);
        } else if schedule.round_start(document.epoch, 1) >= turned {
            outcome.in_voted += 1;
        }
        for (_, relay) in document.relays().filter(|(_, relay)| relay.id != mix) {
            outcome.innocents.0 += u64::from(relay.weight < WEIGHT);
            outcome.innocents.1 += 1;
        }
    }
    outcome
}

/// Runs the experiment.
pub fn run(options: &Options) -> Report {
    let found = over_seeds(options, |seed| (TURNS.map(|(_, turn)| one(seed, turn)), one(seed, Turn::Drops(0.0))));
    let mut report = Report::new("E26", "how soon is a mix that drops packets left out, and who is by mistake?");
    report.costing(Some(Cost::shipped()));
    let (mut beside_bad, mut without) = ((0, 0), (0, 0));
    let add = |sum: &mut (u64, u64), more: (u64, u64)| *sum = (sum.0 + more.0, sum.1 + more.1);
    for (bad, honest) in &found {
        bad.iter().for_each(|outcome| add(&mut beside_bad, outcome.innocents));
        add(&mut without, honest.innocents);
        add(&mut without, (u64::from(honest.out_after <= EPOCHS as f64), EPOCHS));
    }
    for (at, (name, turn)) in TURNS.iter().enumerate() {
        let outcomes = || found.iter().filter_map(|(bad, _)| bad.get(at));
        let times: Vec<f64> = outcomes().map(|outcome| outcome.out_after).collect();
        // What drops less than a tenth is below the line that is acted on.
        let (expected, wanted) = match turn {
            Turn::Drops(share) if *share < 0.2 => (Expected::Known, Expected::Known),
            Turn::Drops(_) => (Expected::AtMost(3.0), Expected::Known),
            Turn::Dies => (Expected::AtMost(1.0), Expected::AtMost(0.0)),
        };
        for (which, share) in [("median", 0.5), ("worst", 1.0)] {
            let time = quantile(&times, share).unwrap_or(f64::NAN);
            report.add(format!("{name}: until it has no share, {which}"), "epochs", time, times.len(), expected);
        }
        let most = outcomes().map(|outcome| outcome.in_voted).max().unwrap_or_default();
        report.add(
            format!("{name}: documents voted since that still list it, worst"),
            "documents",
            most as f64,
            times.len(),
            wanted,
        );
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
