//! What a person is told of a profile before choosing it, against what happens.

use std::time::Duration;
use veilpost_client::cost;
use veilpost_lab::simulation::{Packets, Setup, Simulation};
use veilpost_packet::profile::Profile;
use veilpost_pki::Params;

/// Delays of texts between two clients that are otherwise idle, ascending.
fn delays(profile: Profile, texts: usize, pause: Duration) -> Vec<f64> {
    let mut simulation = Simulation::new(Setup { seed: 70, packets: Packets::Model, ..Setup::default() });
    let names = simulation.befriend(0, 1);
    for client in 0..2 {
        simulation.disconnect(client);
        simulation.client(client).set_profile(profile).unwrap();
        simulation.connect(client);
    }
    // Until downlinks are at their usual rate, and decoys at theirs.
    let settled = simulation.now() + Duration::from_secs(1_200);
    simulation.run(settled, |_| false);
    let mut delays = Vec::new();
    for number in 0..texts {
        let (sent, from) = (simulation.now(), number % 2);
        let name = if from == 0 { &names.0 } else { &names.1 };
        let before = simulation.history(1 - from).0.len();
        simulation.client(from).send_text(sent, name, &format!("text {number}")).unwrap();
        let came = simulation.run(sent + pause * 20, |simulation| simulation.history(1 - from).0.len() > before);
        assert!(came, "text {number}");
        delays.push(simulation.now().since(sent).as_secs_f64());
        // Receipts and what else follows.
        let next = simulation.now() + pause;
        simulation.run(next, |_| false);
    }
    delays.sort_by(f64::total_cmp);
    delays
}

/// `within`: how far median and 95th percentile may be from what is told, as shares of it.
fn as_told(profile: Profile, texts: usize, pause: Duration, within: [f64; 2]) {
    let delays = delays(profile, texts, pause);
    let told = cost::of(&Params::standard(), profile);
    let (median, p95) = (delays[texts / 2], delays[texts * 95 / 100]);
    let near = |found: f64, told: Duration, share: f64| (found / told.as_secs_f64() - 1.0).abs() < share;
    assert!(near(median, told.median, within[0]), "{profile:?}: {median:.1} s, told {told:?}");
    assert!(near(p95, told.p95, within[1]), "{profile:?}: {p95:.1} s, told {told:?}");
}

#[test]
fn a_text_of_the_standard_profile_takes_as_long_as_is_told() {
    // A median of so many texts is good to a twentieth, a 95th percentile to a tenth.
    as_told(Profile::Standard, 200, Duration::from_secs(60), [0.1, 0.2]);
}

#[test]
fn a_text_of_the_metered_profile_takes_as_long_as_is_told() {
    // What is told is a tenth too short here: its downlink is nearly full, which no formula of a single queue knows.
    as_told(Profile::Metered, 120, Duration::from_secs(180), [0.2, 0.35]);
}
