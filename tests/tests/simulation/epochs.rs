//! Authorities, relays and clients together, over many epochs, in virtual time.

use std::time::Duration;
use veilpost_lab::simulation::{Setup, Simulation, Who};
use veilpost_packet::time::Epoch;
use veilpost_pki::Params;

pub(crate) const MS: Duration = Duration::from_millis(1);
pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// Short epochs, short delays, and clients that send a packet a second, so that hundreds of epochs take a minute of real time.
pub(crate) fn hasty() -> Params {
    Params {
        epoch: 20 * SECOND,
        key_grace: 10 * SECOND,
        tick: 4 * SECOND,
        day: 3_600 * SECOND,
        hop_delay: 100 * MS,
        reply_floor: 2_500 * MS,
        send_gap: 2_300 * MS,
        get_gap: 3_000 * MS,
        loop_gap: 30 * SECOND,
        node_loop_gap: 60 * SECOND,
        downlink_gap: 350 * MS,
        catch_up_gap: 200 * MS,
        catch_up: 10 * SECOND,
        digest_history: 3_600 * SECOND,
        hurry: 4,
        document_life: 8,
        placement_notice: 3,
        peer_gap: 250 * MS,
        ..Params::standard()
    }
}

pub(crate) fn large(seed: u64) -> Setup {
    Setup {
        seed,
        authorities: 7,
        faulty: 2,
        width: 4,
        entries: 3,
        mailboxes: 4,
        clients: 4,
        params: hasty(),
        ..Setup::default()
    }
}

/// Everything that a client asked in a run without faults was answered; what was sent in the last seconds may be on its way.
fn assert_nothing_lost(simulation: &mut Simulation) {
    for client in 0..simulation.clients() {
        let counters = simulation.client(client).counters();
        assert_eq!((counters.lost, counters.bad_replies, counters.unready_ticks), (0, 0, 0), "client {client}");
        assert!(counters.sent - counters.replies < 16, "client {client}: {counters:?}");
    }
    let dropped: Vec<_> = (0..simulation.relays()).flat_map(|relay| simulation.dropped(relay)).collect();
    assert_eq!((dropped, simulation.lost_keys()), (vec![], 0));
}

#[test]
fn packets_in_flight_across_the_borders_of_epochs_arrive() {
    let mut simulation = Simulation::new(large(60));
    let (bob, _) = simulation.befriend(0, 1);
    let begun = simulation.schedule().epoch_at(simulation.now()).0;
    for epoch in begun + 1..=begun + 20 {
        simulation.run_to_epoch(Epoch(epoch));
        let now = simulation.now();
        simulation.client(0).send_text(now, &bob, &epoch.to_string()).unwrap();
    }
    let until = simulation.now() + 90 * SECOND;
    simulation.run(until, |_| false);
    assert_nothing_lost(&mut simulation);
    assert_eq!(simulation.history(1).0.len(), 20);
    let made: Vec<_> = simulation.made().map(|document| document.epoch.0).collect();
    assert_eq!(
        (made.len() as u64, simulation.failed()),
        (*made.last().unwrap(), &[][..]),
        "a document for every epoch"
    );
}

pub(crate) fn small(seed: u64) -> Setup {
    Setup { seed, authorities: 4, faulty: 1, width: 1, entries: 3, mailboxes: 2, clients: 2, ..large(seed) }
}

pub(crate) fn run_epochs(simulation: &mut Simulation, epochs: u32) {
    let until = simulation.now() + simulation.schedule().epoch() * epochs;
    simulation.run(until, |_| false);
}

/// Runs until all boxes of a client's texts are stored: what was written last waits for its Put slots, by chance for longer than an
/// epoch.
pub(crate) fn sends_all(simulation: &mut Simulation, client: usize) -> bool {
    let until = simulation.now() + simulation.schedule().epoch() * 10;
    simulation.run(until, |simulation| {
        let now = simulation.now();
        simulation.client(client).status(now).unwrap().queued == 0
    })
}

/// Runs until a client has received so many texts.
pub(crate) fn receives(simulation: &mut Simulation, client: usize, texts: usize) -> bool {
    let until = simulation.now() + simulation.schedule().epoch() * 40;
    simulation.run(until, |simulation| simulation.history(client).0.len() >= texts)
}

#[test]
fn a_client_that_was_away_for_longer_than_its_documents_are_good_comes_back() {
    let mut simulation = Simulation::new(small(61));
    let (bob, alice) = simulation.befriend(0, 1);
    simulation.disconnect(1);
    for number in 0..5 {
        let now = simulation.now();
        simulation.client(0).send_text(now, &bob, &number.to_string()).unwrap();
        run_epochs(&mut simulation, 3);
    }
    let now = simulation.now();
    assert!(simulation.client(1).document().unwrap().valid_until < now);
    simulation.client(1).send_text(now, &alice, "back").unwrap();
    simulation.connect(1);
    let later = now + SECOND;
    simulation.client(1).handle_timers(later);
    assert!(simulation.client(1).poll_departure(later).is_none());
    assert!(simulation.client(1).next_wake(later) > later, "its clocks wait for a document that is good");
    assert!(receives(&mut simulation, 1, 5) && receives(&mut simulation, 0, 1));
    let known = simulation.client(1).document().unwrap().epoch;
    assert_eq!(known, simulation.schedule().epoch_at(simulation.now()));
}

#[test]
fn a_client_that_knows_the_network_file_alone_begins_in_the_middle() {
    let mut simulation = Simulation::new(small(62));
    run_epochs(&mut simulation, 10);
    let client = simulation.add_client();
    let until = simulation.now() + 60 * SECOND;
    simulation.run(until, |simulation| simulation.client(client).document().is_some());
    let (them, _) = simulation.befriend(client, 0);
    let now = simulation.now();
    simulation.client(client).send_text(now, &them, "hello").unwrap();
    assert!(receives(&mut simulation, 0, 1));
}

#[test]
fn a_client_refuses_documents_in_words() {
    let mut simulation = Simulation::new(small(63));
    run_epochs(&mut simulation, 15);
    let (now, made) = (simulation.now(), simulation.made().cloned().collect::<Vec<_>>());
    let newest = simulation.client(0).document().unwrap().clone();
    let mut next = newest.view().clone();
    next.epoch = Epoch(next.epoch.0 + 1);
    let mut out_of_range = next.clone();
    out_of_range.params.put_slot = 0;
    let mut far = next.clone();
    far.valid_after = far.valid_after + 100 * SECOND;
    for (bytes, words) in [
        (made[1].bytes().to_vec(), "has expired"),
        (simulation.forge(&next, 2), "2 valid signatures of known authorities; 3 are needed"),
        (simulation.forge(&out_of_range, 4), "put_slot"),
        (simulation.forge(&far, 4), "not valid yet"),
    ] {
        let refused = simulation.client(0).handle_document(now, &bytes).unwrap_err().to_string();
        assert!(refused.contains(words), "{refused}");
    }
    // One of an epoch before, still good by itself, takes no client back, not even after a restart.
    let older = made.iter().rev().find(|document| document.epoch < newest.epoch).unwrap();
    for _ in 0..2 {
        simulation.client(0).handle_document(now, &older.bytes()).unwrap();
        assert_eq!(simulation.client(0).document().unwrap().epoch, newest.epoch);
        simulation.restart_client(0);
    }
    // Another one of the same epoch is told: authorities have signed two.
    let mut other = newest.view().clone();
    other.shared_random[0] ^= 1;
    let other = simulation.forge(&other, 4);
    simulation.client(0).handle_document(now, &other).unwrap();
    let warnings = simulation.client(0).status(now).unwrap().warnings;
    assert!(warnings.iter().any(|warning| warning.contains("another network document")), "{warnings:?}");
}

#[test]
fn a_client_whose_entry_leaves_the_document_connects_to_its_backup() {
    let mut simulation = Simulation::new(small(64));
    let (_, alice) = simulation.befriend(0, 1);
    // It began with any entry of the network file.
    simulation.disconnect(0);
    simulation.connect(0);
    let before = simulation.entry_of(0).unwrap();
    let guards = simulation.client(0).guards().to_vec();
    assert_eq!(simulation.id_of(before), guards[0]);
    simulation.set_admitted(before, false);
    run_epochs(&mut simulation, 4);
    let after = simulation.entry_of(0).unwrap();
    assert_eq!(simulation.id_of(after), guards[1]);
    let now = simulation.now();
    simulation.client(1).send_text(now, &alice, "still there?").unwrap();
    assert!(receives(&mut simulation, 0, 1));
}

#[test]
fn a_box_that_was_put_before_the_placement_changed_is_still_read() {
    let setup = Setup { mailboxes: 4, barred: vec![Who::Mailbox(2), Who::Mailbox(3)], ..small(65) };
    let mut simulation = Simulation::new(setup);
    let (bob, _) = simulation.befriend(0, 1);
    // The invitation was opened before its box was stored, and its offer asked for again.
    let early: Vec<_> = (0..2).map(|mailbox| empty_reads(&simulation, mailbox)).collect();
    simulation.disconnect(1);
    for number in 0..8 {
        let now = simulation.now();
        simulation.client(0).send_text(now, &bob, &number.to_string()).unwrap();
        run_epochs(&mut simulation, 1);
    }
    assert!(sends_all(&mut simulation, 0));
    // Of any eight boxes, half or so have another first holder from then on.
    simulation.set_admitted(Who::Mailbox(2), true);
    simulation.set_admitted(Who::Mailbox(3), true);
    run_epochs(&mut simulation, 8);
    assert_eq!(simulation.made().last().unwrap().placements[0].mailboxes.len(), 4);
    simulation.connect(1);
    assert!(receives(&mut simulation, 1, 8));
    // Who named a box and has handed it over fetches it from a holder in time for the answer.
    let empty: Vec<_> = (0..4).map(|mailbox| empty_reads(&simulation, mailbox)).collect();
    assert_eq!(empty, [early, vec![0; 2]].concat());
    let handed_over: u64 = (0..4).map(|mailbox| simulation.counters_of(mailbox).repaired).sum();
    assert!(handed_over > 0, "no read came to a former holder");
}

/// Gets of this mailbox that were answered without a box.
fn empty_reads(simulation: &Simulation, mailbox: usize) -> u64 {
    let counters = simulation.counters_of(mailbox);
    counters.not_found - counters.repaired
}
