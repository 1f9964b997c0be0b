//! Who was away for longer than raw digests are kept.

use crate::epochs::{receives, run_epochs, sends_all, small};
use std::time::Duration;
use veilpost_pki::Params;
use veilpost_tests::simulation::{Setup, Simulation};

/// Days of 40 minutes, hours of 100 seconds, raw digests for five minutes.
fn short_days(setup: Setup) -> Setup {
    let second = Duration::from_secs(1);
    let params = Params { day: 2_400 * second, digest_history: 300 * second, ..setup.params };
    Setup { params, ..setup }
}

#[test]
fn a_client_that_was_away_for_two_days_reads_from_sets_what_no_digest_names_any_more() {
    let mut simulation = Simulation::new(short_days(small(66)));
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
    let back = simulation.now() + Duration::from_secs(2 * 2_400);
    simulation.run(back, |_| false);
    simulation.connect(1);
    assert!(receives(&mut simulation, 1, 6));
}
