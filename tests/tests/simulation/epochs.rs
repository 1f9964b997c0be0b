//! Authorities, relays and clients together, over many epochs, in virtual time.

use std::time::Duration;
use veilpost_packet::time::Epoch;
use veilpost_pki::Params;
use veilpost_tests::simulation::{Setup, Simulation};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// Short epochs, short delays, and clients that send a packet a second, so that hundreds of epochs take a minute of real time.
fn hasty() -> Params {
    Params {
        epoch: 20 * SECOND,
        key_grace: 10 * SECOND,
        tick: 4 * SECOND,
        day: 3_600 * SECOND,
        hop_delay: 100 * MS,
        reply_floor: 50 * MS,
        send_gap: 2 * SECOND,
        put_slot: 2,
        get_gap: 2_500 * MS,
        loop_gap: 30 * SECOND,
        downlink_gap: 350 * MS,
        catch_up_gap: 200 * MS,
        catch_up: 10 * SECOND,
        digest_history: 3_600 * SECOND,
        hurry: 60,
        document_life: 8,
        placement_notice: 3,
        ..Params::standard()
    }
}

fn large(seed: u64) -> Setup {
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
