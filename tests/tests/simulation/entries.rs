//! Entries that drop packets are left, and nobody else's fault makes a client leave its entry.

use super::MINUTE;
use std::{collections::BTreeSet, time::Duration};
use veilpost_lab::simulation::{Conduct, Packets, Setup, Simulation, Who};

/// Within this time an entry that drops half of what it is given is left: two minutes of commands, the minute in which their replies may
/// come, and as much again.
const LEFT_WITHIN: Duration = Duration::from_secs(360);

fn entry_of(simulation: &Simulation, client: usize) -> usize {
    match simulation.entry_of(client) {
        Some(Who::Relay(relay)) => relay,
        other => panic!("client {client} is connected to {other:?}"),
    }
}

fn warned(simulation: &mut Simulation, client: usize, words: &str) -> bool {
    let now = simulation.now();
    simulation.client(client).status(now).unwrap().warnings.iter().any(|warning| warning.contains(words))
}

#[test]
fn an_entry_that_drops_half_of_what_it_is_given_is_left_within_six_minutes_and_every_text_arrives_once() {
    let mut simulation =
        Simulation::new(Setup { seed: 60, entries: 4, loss: 0.001, packets: Packets::Model, ..Setup::default() });
    let names = simulation.befriend(0, 1);
    let bad = entry_of(&simulation, 0);
    let begun = simulation.now();
    simulation.set_conduct(bad, Conduct::Drops(0.5));
    let (mut left, texts) = (None, 8);
    for number in 0..texts {
        for (client, name) in [(0, &names.0), (1, &names.1)] {
            let now = simulation.now();
            simulation.client(client).send_text(now, name, &format!("{client}: {number}")).unwrap();
        }
        let until = simulation.now() + Duration::from_secs(60);
        simulation.run(until, |simulation| {
            if left.is_none() && simulation.entry_of(0).is_some_and(|entry| entry != Who::Relay(bad)) {
                left = Some(simulation.now().since(begun));
            }
            false
        });
    }
    assert!(left.is_some_and(|left| left < LEFT_WITHIN), "left after {left:?}");
    assert!(warned(&mut simulation, 0, "possible n-1 attack"));
    assert!((0..2).all(|client| entry_of(&simulation, client) != bad));
    let deadline = simulation.now() + 120 * MINUTE;
    let all = |simulation: &mut Simulation| (0..2).all(|client| simulation.history(client).0.len() >= texts);
    assert!(simulation.run(deadline, all), "everything arrives");
    for client in 0..2 {
        let received = simulation.history(client).0;
        assert_eq!((received.len(), received.iter().collect::<BTreeSet<_>>().len()), (texts, texts));
    }
}

#[test]
fn a_dead_mix_or_mailbox_makes_no_client_leave_its_entry() {
    for dead in [Who::Relay(0), Who::Mailbox(1)] {
        let mut simulation =
            Simulation::new(Setup { seed: 61, entries: 4, loss: 0.01, packets: Packets::Model, ..Setup::default() });
        let before: Vec<usize> = (0..2).map(|client| entry_of(&simulation, client)).collect();
        simulation.kill_node(dead, false);
        let until = simulation.now() + 40 * MINUTE;
        let moved = simulation.run(until, |simulation| {
            (0..2).any(|client| simulation.entry_of(client) != Some(Who::Relay(before[client])))
        });
        assert!(!moved, "{dead:?}");
        assert!((0..2).all(|client| !warned(&mut simulation, client, "n-1 attack")), "{dead:?}");
    }
}
