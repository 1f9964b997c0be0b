//! Mixes that die, drop, delay, change or repeat packets: loops of all nodes notice it, documents leave them out of routes, and messages
//! flow all the while. Documents of two epochs to come are settled when a mix turns bad in an epoch: that of the next epoch is voted at
//! the beginning of this one.

use crate::epochs::{MS, SECOND, hasty, receives};
use veilpost_lab::simulation::{Conduct, Packets, Setup, Simulation, Who};
use veilpost_packet::{ids::NodeId, time::Epoch};
use veilpost_pki::{Document, Params, reliability::WEIGHT};

/// A mix of layer 2 or another: which one is found in the document.
const MIX: usize = 0;
/// Where in an epoch it turns bad.
const LATER: u32 = 3;

fn setup(seed: u64) -> Setup {
    let (epoch, key_grace) = (60 * SECOND, 30 * SECOND);
    let params = Params { epoch, key_grace, reply_floor: 1_000 * MS, node_loop_gap: 400 * MS, ..hasty() };
    Setup {
        seed,
        authorities: 4,
        faulty: 1,
        width: 2,
        entries: 2,
        mailboxes: 2,
        clients: 2,
        packets: Packets::Model,
        params,
        ..Setup::default()
    }
}

/// Two people who write to each other in every epoch, and a mix.
struct Talk {
    simulation: Simulation,
    bob: String,
    sent: usize,
}

impl Talk {
    fn new(setup: Setup) -> Self {
        let mut simulation = Simulation::new(setup);
        let (bob, _) = simulation.befriend(0, 1);
        let next = Epoch(simulation.schedule().epoch_at(simulation.now()).0 + 1);
        simulation.run_to_epoch(next);
        Self { simulation, bob, sent: 0 }
    }

    fn epoch(&self) -> Epoch {
        self.simulation.schedule().epoch_at(self.simulation.now())
    }

    /// Goes on for epochs, with a text in each.
    fn go_on(&mut self, epochs: u64) {
        for _ in 0..epochs {
            let now = self.simulation.now();
            self.simulation.client(0).send_text(now, &self.bob, &self.sent.to_string()).unwrap();
            self.sent += 1;
            let next = self.simulation.schedule().epoch();
            self.simulation.run(now + next, |_| false);
        }
    }

    fn document(&self, epoch: u64) -> Document {
        self.simulation.made().find(|document| document.epoch.0 == epoch).expect("a document for every epoch").clone()
    }

    fn mix(&self) -> NodeId {
        self.simulation.id_of(Who::Relay(MIX))
    }

    /// The share of the mix in path choice in an epoch; 0 if it is not listed.
    fn share(&self, epoch: u64) -> u32 {
        self.document(epoch).relay(&self.mix()).map_or(0, |(_, relay)| relay.weight)
    }

    /// All that was written came, once.
    fn assert_each_came_once(&mut self) {
        assert!(
            receives(&mut self.simulation, 1, self.sent),
            "{} of {}",
            self.simulation.history(1).0.len(),
            self.sent
        );
        let mut texts: Vec<usize> = self.simulation.history(1).0.iter().map(|text| text.parse().unwrap()).collect();
        texts.sort_unstable();
        assert_eq!(texts, (0..self.sent).collect::<Vec<_>>());
    }

    /// Nodes without a full share in an epoch, the mix apart.
    fn others_below(&self, epoch: u64) -> Vec<(NodeId, u32, u8)> {
        let document = self.document(epoch);
        let others = document.relays().filter(|(_, relay)| relay.id != self.mix() && relay.weight < WEIGHT);
        others.map(|(_, relay)| (relay.id, relay.weight, relay.reliability)).collect()
    }
}

/// The mix turns bad in the middle of an epoch; returns that epoch, and three more are over.
fn turn(talk: &mut Talk, conduct: Conduct) -> u64 {
    let epoch = talk.epoch().0;
    assert_eq!(talk.share(epoch), WEIGHT);
    let until = talk.simulation.now() + talk.simulation.schedule().epoch() / LATER;
    talk.simulation.run(until, |_| false);
    talk.simulation.set_conduct(MIX, conduct);
    talk.simulation.run_to_epoch(Epoch(epoch + 1));
    talk.go_on(3);
    epoch
}

/// From the third document after the one that was in force when it turned bad on, at the latest, nobody goes through it.
fn assert_is_out_within_three(talk: &mut Talk, turned: u64) {
    let shares: Vec<_> = (turned..=turned + 3).map(|epoch| talk.share(epoch)).collect();
    assert_eq!(shares[3], 0, "{shares:?}");
    assert_eq!(talk.others_below(turned + 3), [], "innocent neighbours");
    talk.assert_each_came_once();
}

/// Within one whole epoch after the one in which it died: the document of the epoch between was voted before.
#[test]
fn a_mix_that_dies_is_out_of_new_routes_within_one_epoch() {
    let mut talk = Talk::new(setup(120));
    let died = talk.epoch().0;
    let until = talk.simulation.now() + talk.simulation.schedule().epoch() / LATER;
    talk.simulation.run(until, |_| false);
    talk.simulation.kill_node(Who::Relay(MIX), true);
    talk.simulation.run_to_epoch(Epoch(died + 1));
    talk.go_on(2);
    assert_eq!(talk.share(died + 2), 0);
    assert_eq!(talk.others_below(died + 2), []);
    talk.assert_each_came_once();
}

#[test]
fn a_mix_that_drops_a_fifth_is_left_out_within_three_epochs() {
    let mut talk = Talk::new(setup(121));
    let turned = turn(&mut talk, Conduct::Drops(0.2));
    assert_is_out_within_three(&mut talk, turned);
    // It stays out while it goes on.
    talk.go_on(3);
    let now = talk.epoch().0;
    let shares: u32 = (turned + 3..=now).map(|epoch| talk.share(epoch)).sum();
    assert!(shares < WEIGHT / 2, "{shares}");
}

#[test]
fn a_mix_that_drops_all_but_one_packet_is_left_out_within_three_epochs() {
    let mut talk = Talk::new(setup(122));
    let turned = turn(&mut talk, Conduct::Drops(0.999));
    assert_is_out_within_three(&mut talk, turned);
}

#[test]
fn a_mix_that_delays_everything_by_many_means_is_left_out_within_three_epochs() {
    let mut talk = Talk::new(setup(123));
    let turned = turn(&mut talk, Conduct::Delays(10 * SECOND));
    assert_is_out_within_three(&mut talk, turned);
}

#[test]
fn a_mix_that_tags_packets_is_left_out_within_three_epochs_and_the_tags_are_counted() {
    let mut talk = Talk::new(setup(124));
    let turned = turn(&mut talk, Conduct::Tags);
    assert_is_out_within_three(&mut talk, turned);
    let changed = (0..talk.simulation.relays()).filter_map(|relay| talk.simulation.cover(Who::Relay(relay)));
    assert!(changed.map(|cover| cover.mishaps().changed).sum::<u64>() > 0);
}

#[test]
fn replayed_packets_go_no_further_than_the_next_node_and_are_counted() {
    let mut talk = Talk::new(setup(125));
    talk.simulation.set_conduct(MIX, Conduct::Replays);
    talk.go_on(2);
    let now = talk.epoch().0;
    assert_eq!((talk.share(now), talk.others_below(now)), (WEIGHT, vec![]), "what arrives twice is not lost");
    let replays = (0..talk.simulation.relays()).filter_map(|relay| talk.simulation.dropped(relay).remove("Replay"));
    assert!(replays.sum::<u64>() > 100);
    talk.assert_each_came_once();
}

#[test]
fn a_flood_that_fills_one_link_is_seen_as_that_link_and_no_node_is_left_out() {
    let mut talk = Talk::new(setup(126));
    let document = talk.document(talk.epoch().0);
    let of = |layer: usize| talk.simulation.find(&document.layers[layer][0].id).unwrap();
    let (from, to) = (of(0), of(1));
    talk.simulation.flood(from, to, 0.7);
    talk.go_on(3);
    let now = talk.epoch().0;
    assert_eq!((talk.share(now), talk.others_below(now)), (WEIGHT, vec![]));
    let entries = (talk.simulation.relays() - 2..talk.simulation.relays()).map(Who::Relay);
    for entry in entries {
        let findings = talk.simulation.cover(entry).unwrap().findings();
        assert!(findings.worst_link < 0.6 && findings.reports.is_empty(), "{findings:?}");
    }
    talk.assert_each_came_once();
}

#[test]
fn with_one_percent_of_honest_loss_at_every_hop_nobody_is_left_out() {
    let mut talk = Talk::new(Setup { loss: 0.01, ..setup(127) });
    let begun = talk.epoch().0;
    talk.go_on(16);
    for epoch in begun..=begun + 16 {
        let document = talk.document(epoch);
        assert!(document.relays().all(|(_, relay)| relay.weight == WEIGHT), "epoch {epoch}");
    }
    talk.assert_each_came_once();
}
