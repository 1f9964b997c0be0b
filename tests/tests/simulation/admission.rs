//! What is paid where there is little room: Puts at mailboxes that fill up, sessions at an entry.

use crate::epochs::{SECOND, receives, run_epochs, sends_all, small};
use veilpost_lab::simulation::{Setup, Simulation};
use veilpost_packet::{boxes::SealedBox, time::Timestamp};

#[test]
fn when_mailboxes_fill_up_the_document_asks_for_work_and_clients_do_it() {
    let mut simulation = Simulation::new(Setup { quota_bytes: 120 * SealedBox::SIZE as u64, ..small(70) });
    let (bob, _) = simulation.befriend(0, 1);
    let effort = |simulation: &Simulation| simulation.made().last().unwrap().put_effort;
    assert_eq!(effort(&simulation), 0, "there is room");
    for _ in 0..60 {
        if effort(&simulation) > 0 {
            break;
        }
        run_epochs(&mut simulation, 1);
    }
    assert!(effort(&simulation) > 0, "decoys filled a half");
    run_epochs(&mut simulation, 2);
    let stored: u64 = (0..2).map(|mailbox| simulation.counters_of(mailbox).stored).sum();
    for number in 0..3 {
        let now = simulation.now();
        simulation.client(0).send_text(now, &bob, &number.to_string()).unwrap();
    }
    assert!(sends_all(&mut simulation, 0) && receives(&mut simulation, 1, 3));
    let counters: Vec<_> = (0..2).map(|mailbox| simulation.counters_of(mailbox)).collect();
    assert!(counters.iter().map(|counters| counters.stored).sum::<u64>() >= stored + 3);
    let unpaid: u64 = counters.iter().map(|counters| counters.bad_puzzle).sum();
    assert_eq!(unpaid, 0, "every Put had its solution");
}

#[test]
fn an_entry_that_fills_up_serves_newcomers_that_work_until_it_is_full() {
    let mut simulation = Simulation::new(Setup { entries: 1, sessions: 4, clients: 3, ..small(71) });
    let connected = |simulation: &Simulation| {
        (0..simulation.clients()).filter(|client| simulation.entry_of(*client).is_some()).collect::<Vec<_>>()
    };
    let wait = |simulation: &mut Simulation, until: Timestamp| simulation.run(until, |_| false);
    let later = simulation.now() + 30 * SECOND;
    wait(&mut simulation, later);
    assert_eq!(connected(&simulation), [0, 1, 2], "the third has worked");
    simulation.add_client();
    simulation.add_client();
    let later = simulation.now() + 30 * SECOND;
    wait(&mut simulation, later);
    assert_eq!(connected(&simulation).len(), 4, "and there is a fourth place, not a fifth");
}
