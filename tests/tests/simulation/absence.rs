//! Who was away for longer than raw digests are kept.

use crate::epochs::{receives, run_epochs, sends_all, small};
use std::time::Duration;
use veilpost_lab::simulation::{Packets, Setup, Simulation, Who};
use veilpost_pki::Params;

/// Days of 40 minutes, hours of 100 seconds, raw digests for five minutes.
fn short_days(setup: Setup) -> Setup {
    let second = Duration::from_secs(1);
    let params = Params { day: 2_400 * second, digest_history: 300 * second, ..setup.params };
    Setup { params, packets: Packets::Model, ..setup }
}

/// A reader goes away, gets six texts, and their writer goes away too; then two days less 500 s pass.
fn nearly_two_days_away(seed: u64) -> Simulation {
    let mut simulation = Simulation::new(short_days(small(seed)));
    let (bob, _) = simulation.befriend(0, 1);
    simulation.disconnect(1);
    for number in 0..6 {
        let now = simulation.now();
        simulation.client(0).send_text(now, &bob, &number.to_string()).unwrap();
        run_epochs(&mut simulation, 2);
    }
    assert!(sends_all(&mut simulation, 0));
    // Nobody is there who could tell what waits.
    simulation.disconnect(0);
    let later = simulation.now() + Duration::from_secs(2 * 2_400 - 500);
    simulation.run(later, |_| false);
    simulation
}

fn comes_back_and_reads_all(simulation: &mut Simulation) -> bool {
    let back = simulation.now() + Duration::from_secs(500);
    simulation.run(back, |_| false);
    simulation.connect(1);
    receives(simulation, 1, 6)
}

#[test]
fn a_client_that_was_away_for_two_days_reads_from_sets_what_no_digest_names_any_more() {
    let mut simulation = nearly_two_days_away(66);
    assert!(comes_back_and_reads_all(&mut simulation));
}

#[test]
fn a_client_that_was_away_while_a_mailbox_died_reads_from_the_sets_of_the_other() {
    for dead in 0..2 {
        let mut simulation = nearly_two_days_away(67);
        simulation.kill_node(Who::Mailbox(dead), true);
        assert!(comes_back_and_reads_all(&mut simulation), "without mailbox {dead}");
    }
}

#[test]
fn a_client_that_was_away_gets_the_sets_from_an_entry_whose_process_is_new() {
    let mut simulation = nearly_two_days_away(68);
    for relay in (0..simulation.relays()).map(Who::Relay) {
        simulation.kill_node(relay, false);
        simulation.start_node(relay);
    }
    assert!(comes_back_and_reads_all(&mut simulation));
}

/// Eighteen epochs, so that the dead one has left the document long before.
#[test]
fn a_client_that_was_away_for_minutes_reads_what_a_mailbox_named_that_has_died_meanwhile() {
    for dead in 0..3 {
        let mut simulation = Simulation::new(Setup { mailboxes: 3, ..small(69) });
        let (bob, _) = simulation.befriend(0, 1);
        simulation.disconnect(1);
        for number in 0..8 {
            let now = simulation.now();
            simulation.client(0).send_text(now, &bob, &number.to_string()).unwrap();
        }
        assert!(sends_all(&mut simulation, 0));
        // Named, and nobody is there who could tell what waits.
        run_epochs(&mut simulation, 2);
        simulation.disconnect(0);
        simulation.kill_node(Who::Mailbox(dead), true);
        run_epochs(&mut simulation, 16);
        let listed = simulation.made().last().unwrap().mailboxes.len();
        assert_eq!(listed, 2);
        simulation.connect(1);
        assert!(receives(&mut simulation, 1, 8), "without mailbox {dead}");
    }
}
