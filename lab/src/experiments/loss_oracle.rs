//! E19: does a lost reply show whose box it was? An entry drops all that comes for one client in the seconds after some box was
//! written, and all mailboxes, its accomplices, count how often that box is written again. Precision is chance if copies do not depend on
//! what was answered. Whoever drops the answers to both sendings of a box makes its writer send it once more, as nobody has
//! stored it as far as the writer knows: that is measured beside it. Positive control: a client that writes again what was not
//! answered, and nothing else.

use super::{Options, over_seeds};
use crate::{
    cost::Cost,
    report::{Expected, Report},
    simulation::{Asked, Simulation, Watch},
    statistics::{Samples, auc_by_chance},
    world::{self, Activity, ROLES},
};
use rand::Rng;
use std::{collections::BTreeSet, time::Duration};
use veilpost_packet::{
    ids::BoxId,
    random::{EngineRng, exponential, seeded},
    time::Timestamp,
};

/// Trials are made for so long.
const TRIALS: Duration = Duration::from_secs(30 * 60);
/// Afterwards boxes are watched for so long: what waits to be written again waits for ten minutes on average.
const AFTER: Duration = Duration::from_secs(40 * 60);
/// From one trial to the next.
const PAUSE: Duration = Duration::from_secs(20);
/// How long the entry drops what comes: T0, four hops and a mailbox's own delay take longer in one of a thousand cases.
const DROPPED: Duration = Duration::from_secs(10);
/// An area this far from one half is a leak, in samples that can tell.
const LEAK: f64 = 0.05;

/// A box that was written while the entry dropped what came for a client.
struct Trial {
    id: BoxId,
    at: Timestamp,
    client: usize,
    /// The box was that client's.
    hit: bool,
    /// The entry drops again when the box is written again.
    twice: bool,
    dropped_again: bool,
}

struct Adversary {
    rng: EngineRng,
    next: Timestamp,
    looked: usize,
    known: BTreeSet<BoxId>,
    trials: Vec<Trial>,
}

impl Adversary {
    /// Once a second: a box that is new at the accomplice begins a trial against its writer, or against somebody else.
    fn act(&mut self, simulation: &mut Simulation) {
        let now = simulation.now();
        let Some(watch) = simulation.watched() else { return };
        let new: Vec<_> = watch.commands.iter().skip(self.looked).copied().collect();
        self.looked += new.len();
        let written: Vec<BoxId> =
            new.iter().filter(|command| command.asked == Asked::Put).filter_map(|put| put.id).collect();
        let fresh =
            written.iter().filter(|id| self.known.insert(**id)).find_map(|id| Some((*id, watch.truth.get(id)?)));
        let fresh = fresh.map(|(id, truth)| (id, truth.writer));
        for trial in self.trials.iter_mut().filter(|trial| trial.twice && !trial.dropped_again) {
            if now > trial.at && written.contains(&trial.id) {
                trial.dropped_again = true;
                simulation.drop_replies(trial.client, now + DROPPED);
            }
        }
        let Some((id, writer)) = fresh.filter(|_| now >= self.next) else { return };
        let (hit, twice) = (self.rng.random_bool(0.5), self.rng.random_bool(0.5));
        let others = (writer + self.rng.random_range(1..ROLES.len())) % ROLES.len();
        let client = if hit { writer } else { others };
        simulation.drop_replies(client, now + DROPPED);
        self.trials.push(Trial { id, at: now, client, hit, twice, dropped_again: false });
        self.next = now + PAUSE;
    }
}

/// How often each trial's box was written again, after one drop and after two.
fn one(seed: u64) -> [Samples; 2] {
    let mut seed_bytes = [0x19; 32];
    seed_bytes[..8].copy_from_slice(&seed.to_be_bytes());
    let (rng, next, known) = (seeded(seed_bytes), Timestamp::ZERO, BTreeSet::new());
    let mut adversary = Adversary { rng, next, looked: 0, known, trials: Vec::new() };
    let mut begun = None;
    let world = world::watched_while(seed, Activity::Busy, TRIALS + AFTER, |simulation| {
        let from = *begun.get_or_insert(simulation.now());
        if simulation.now() < from + TRIALS {
            adversary.act(simulation);
        }
    });
    let mut again = <[Samples; 2]>::default();
    for trial in &adversary.trials {
        let [once, twice] = &mut again;
        let samples = if trial.twice { twice } else { once };
        samples.push(trial.hit, written_again(&world.watch, trial) as f64);
    }
    again
}

fn written_again(watch: &Watch, trial: &Trial) -> usize {
    let again = |seen: &&crate::simulation::CommandSight| {
        seen.asked == Asked::Put && seen.id == Some(trial.id) && seen.at > trial.at
    };
    watch.commands.iter().filter(again).count()
}

/// What the control would show: a reply that leaves after T0 and passes five delays falls into the drop, or does not.
fn control(trials: usize, rng: &mut EngineRng) -> Samples {
    let params = veilpost_pki::Params::standard();
    let lost = |rng: &mut EngineRng| {
        let delays: Duration = (0..5).map(|_| exponential(rng, params.hop_delay)).sum();
        f64::from(u8::from(params.reply_floor + delays < DROPPED))
    };
    Samples { positive: (0..trials).map(|_| lost(rng)).collect(), negative: vec![0.0; trials] }
}

/// Runs the experiment.
pub fn run(options: &Options) -> Report {
    let (mut once, mut twice) = (Samples::default(), Samples::default());
    for [after_one, after_two] in over_seeds(options, one) {
        once.append(after_one);
        twice.append(after_two);
    }
    let mut report = Report::new("E19", "does a dropped reply show whose box it was?");
    report.costing(Some(Cost::shipped()));
    let leak = LEAK.max(auc_by_chance(once.positive.len(), once.negative.len()));
    let chance = Expected::Within(0.5 - leak, 0.5 + leak);
    for (what, samples, expected) in [
        ("boxes written again after one drop", &once, chance),
        ("the same after a drop at each of two sendings", &twice, Expected::Known),
    ] {
        if let Some(area) = samples.auc() {
            report.add_interval(what, "AUC", area, samples.len(), expected);
        }
    }
    let control = control(once.positive.len(), &mut seeded([0x19; 32]));
    if let Some(area) = control.auc() {
        let what = "control: writes again what was not answered";
        report.add_interval(what, "AUC", area, control.len(), Expected::AtLeast(0.9));
    }
    report
}
