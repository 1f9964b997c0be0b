//! The whole network in virtual time.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

mod absence;
mod admission;
mod entries;
mod epochs;
mod faults;
mod hostile;
mod logs;
mod profiles;
mod reliability;

use rand::Rng;
use std::{collections::BTreeSet, time::Duration};
use veilpost_lab::simulation::{Packets, Setup, Simulation};
use veilpost_packet::random::seeded;

const MINUTE: Duration = Duration::from_secs(60);

/// Two clients exchange texts in both directions; gives the trace.
fn conversation(seed: u64, loss: f64, each: usize) -> [u8; 32] {
    conversation_of(Packets::Real, seed, loss, each)
}

fn conversation_of(packets: Packets, seed: u64, loss: f64, each: usize) -> [u8; 32] {
    let mut simulation = Simulation::new(Setup { seed, loss, packets, ..Setup::default() });
    let names = simulation.befriend(0, 1);
    let names = [names.0, names.1];
    for number in 0..each {
        for (client, name) in names.iter().enumerate() {
            let (now, text) = (simulation.now(), format!("{client}: {number}"));
            simulation.client(client).send_text(now, name, &text).unwrap();
        }
    }
    let deadline = simulation.now() + 240 * MINUTE;
    let done = simulation.run(deadline, |simulation| {
        (0..2).all(|client| {
            let (received, delivered) = simulation.history(client);
            received.len() == each && delivered == each
        })
    });
    for client in 0..2 {
        let (received, delivered) = simulation.history(client);
        let different: BTreeSet<_> = received.iter().collect();
        assert_eq!((received.len(), different.len(), delivered), (each, each, each), "client {client}, seed {seed}");
        assert!(received.iter().all(|text| text.starts_with(&format!("{}: ", 1 - client))));
    }
    assert!(done);
    simulation.trace()
}

#[test]
fn two_clients_exchange_two_hundred_messages_over_a_network_that_loses_packets() {
    conversation(1, 0.01, 100);
}

#[test]
fn one_seed_gives_one_trace_and_another_seed_another() {
    let first = conversation(7, 0.02, 5);
    assert_eq!(first, conversation(7, 0.02, 5));
    assert_ne!(first, conversation(8, 0.02, 5));
}

#[test]
fn model_packets_and_real_ones_give_the_same_trace_on_the_same_seed() {
    for seed in 9..11 {
        assert_eq!(conversation_of(Packets::Model, seed, 0.02, 5), conversation_of(Packets::Real, seed, 0.02, 5));
    }
}

/// Texts flow both ways while `fault` strikes every few virtual seconds; afterwards everything has come once.
fn under_faults(seed: u64, fault: impl Fn(&mut Simulation, &mut dyn rand::RngCore)) {
    let each = 12;
    let mut simulation = Simulation::new(Setup { seed, loss: 0.01, ..Setup::default() });
    let names = simulation.befriend(0, 1);
    let (names, mut rng) = ([names.0, names.1], seeded([seed as u8; 32]));
    for number in 0..each {
        for (client, name) in names.iter().enumerate() {
            let (now, text) = (simulation.now(), format!("{client}: {number}"));
            simulation.client(client).send_text(now, name, &text).unwrap();
        }
        let pause = Duration::from_millis(rng.random_range(500..30_000));
        let until = simulation.now() + pause;
        simulation.run(until, |_| false);
        fault(&mut simulation, &mut rng);
    }
    (0..3).for_each(|mailbox| simulation.fill_disk(mailbox, false));
    let deadline = simulation.now() + 48 * 60 * MINUTE;
    let all = |simulation: &mut Simulation| (0..2).all(|client| simulation.history(client).0.len() >= each);
    simulation.run(deadline, all);
    for client in 0..2 {
        let (received, _) = simulation.history(client);
        let different: BTreeSet<_> = received.iter().collect();
        assert_eq!((received.len(), different.len()), (each, each), "client {client}, seed {seed}: {received:?}");
    }
}

#[test]
fn clients_that_crash_at_any_moment_lose_and_repeat_nothing() {
    for seed in 20..23 {
        under_faults(seed, |simulation, rng| simulation.restart_client(usize::from(rng.random_bool(0.5))));
    }
}

#[test]
fn mailboxes_that_crash_and_disks_that_fill_lose_nothing_that_was_stored() {
    for seed in 30..32 {
        under_faults(seed, |simulation, rng| {
            let mailbox = rng.random_range(0..3);
            simulation.restart_mailbox(mailbox);
            simulation.fill_disk(rng.random_range(0..3), rng.random_bool(0.3));
        });
    }
}

#[test]
fn a_slow_clock_is_told_and_a_little_slow_still_finds_its_messages() {
    let mut simulation = Simulation::new(Setup { seed: 50, ..Setup::default() });
    let (_, alice) = simulation.befriend(0, 1);
    let warned = |simulation: &mut Simulation, client: usize, behind: Duration| {
        let now = simulation.now() - behind;
        let status = simulation.client(client).status(now).unwrap();
        status.warnings.iter().any(|warning| warning.contains("clock is slow"))
    };
    let (little, much) = (Duration::from_secs(40), 8 * MINUTE);
    assert!(!warned(&mut simulation, 0, Duration::ZERO) && !warned(&mut simulation, 1, Duration::ZERO));
    simulation.set_clock_behind(0, little);
    let now = simulation.now();
    simulation.client(1).send_text(now, &alice, "can you read this?").unwrap();
    let came = simulation.run(now + 20 * MINUTE, |simulation| !simulation.history(0).0.is_empty());
    assert!(came && warned(&mut simulation, 0, little));
    // Digests of minutes to come are not believed any more, but they are told of.
    simulation.set_clock_behind(1, much);
    let until = simulation.now() + MINUTE;
    simulation.run(until, |_| false);
    assert!(warned(&mut simulation, 1, much));
}

#[test]
fn a_clock_that_is_so_slow_that_no_document_counts_yet_is_told() {
    let mut simulation = Simulation::new(Setup { seed: 51, ..Setup::default() });
    // The first epoch has just begun.
    let behind = 8 * MINUTE;
    simulation.set_clock_behind(1, behind);
    let until = simulation.now() + MINUTE;
    simulation.run(until, |_| false);
    let status = simulation.client(1).status(until - behind).unwrap();
    assert!(status.warnings.iter().any(|warning| warning.contains("clock is slow")), "{status:?}");
}

#[test]
fn links_that_break_and_come_back_lose_nothing() {
    under_faults(40, |simulation, rng| {
        let client = usize::from(rng.random_bool(0.5));
        simulation.disconnect(client);
        let until = simulation.now() + Duration::from_secs(rng.random_range(1..120));
        simulation.run(until, |_| false);
        simulation.connect(client);
    });
}
