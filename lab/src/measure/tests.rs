#![allow(clippy::unwrap_used)]

use super::*;

const RUN: Run = Run { seed: 1, threads: 2 };

fn measure(kind: &str, parameters: &str) -> Vec<Figure> {
    Kind::new(kind, parameters.parse().unwrap()).unwrap().run(&RUN).unwrap()
}

fn figure(figures: &[Figure], name: &str) -> f64 {
    figures.iter().find(|figure| figure.name == name).unwrap().value
}

fn assert_refused(kind: &str, parameters: &str, word: &str) {
    let refused = Kind::new(kind, parameters.parse().unwrap()).unwrap_err().to_string();
    assert!(refused.contains(word), "{kind} {parameters}: {refused}");
}

#[test]
fn every_kind_has_possible_defaults() {
    for kind in KINDS {
        Kind::new(kind, Table::new()).unwrap();
    }
    assert_refused("entropi", "", "no kind");
}

#[test]
fn unknown_and_impossible_parameters_are_refused_in_words() {
    for kind in KINDS {
        assert_refused(kind, "lairs = 3", "lairs");
    }
    assert_refused("entropy", "layers = 0", "layers");
    assert_refused("entropy", "rate = 0", "rate");
    assert_refused("entropy", "rate = nan", "rate");
    assert_refused("entropy", "corrupt = 1.5", "corrupt");
    assert_refused("entropy", "targets = 0", "targets");
    assert_refused("entropy", "targets = -5", "-5");
    assert_refused("routes", "nodes = 10\ncorrupt = 11", "corrupt is 11");
    assert_refused("routes", "nodes = 2\ncorrupt = 1", "nodes");
}

#[test]
fn the_entropy_of_a_small_network_is_that_of_the_closed_form_and_all_mass_comes_out() {
    // LAB 2.5: log2(rate) + [L + ln mu + ln (L-1)! + (1-L) psi(L)] / ln 2, with psi(2) = 1 - Euler's constant.
    let (rate, delay, layers) = (400.0, 0.2f64, 2.0);
    let oracle = f64::log2(rate) + (layers + delay.ln() - (1.0 - 0.577_215_664_9)) / std::f64::consts::LN_2;
    let figures = measure("entropy", "rate = 400\nlayers = 2\nwidth = 2\ndelay_per_hop = 0.2\ntargets = 40");
    assert!((figure(&figures, "mean_bits") - oracle).abs() < 0.05, "{figures:?}, {oracle}");
    assert!(figure(&figures, "mass_delivered") > 0.999_99);
}

#[test]
fn with_every_mix_corrupt_nothing_hides_and_with_lost_frames_mass_is_missing() {
    let small = "rate = 100\nlayers = 2\nwidth = 2\ndelay_per_hop = 0.1\ntargets = 10\n";
    let figures = measure("entropy", &format!("{small}corrupt = 1"));
    assert_eq!((figure(&figures, "mean_bits"), figure(&figures, "mass_delivered")), (0.0, 1.0));
    let figures = measure("entropy", &format!("{small}targets = 80\nloss = 0.2").replace("targets = 10\n", ""));
    assert!((figure(&figures, "mass_delivered") - 0.64).abs() < 0.12, "{figures:?}");
}

#[test]
fn figures_do_not_depend_on_the_number_of_threads() {
    let kind = Kind::new("entropy", "rate = 100\nlayers = 1\ntargets = 201".parse().unwrap()).unwrap();
    let [one, three] = [1, 3].map(|threads| kind.run(&Run { seed: 5, threads }).unwrap());
    assert_eq!(one, three);
}

#[test]
fn a_flow_without_cover_is_matched_by_its_bursts_and_one_with_slow_mixes_and_cover_hardly() {
    let few = "flows = 20\nobservations = 40\n";
    let open = measure("matching", &format!("{few}cover = false\ndelay_per_hop = 0.02"));
    let covered = measure("matching", &format!("{few}delay_per_hop = 0.5"));
    assert!(figure(&open, "auc") > 0.95, "{open:?}");
    assert!(figure(&covered, "auc") < 0.75, "{covered:?}");
}

#[test]
fn first_in_first_out_wins_as_often_as_the_closed_form_says() {
    let found = figure(&measure("pairing", "user_rate = 1\ntrials = 20000"), "advantage");
    assert!((found - 0.25).abs() < 0.015, "{found}");
}

#[test]
fn one_mix_has_the_entropy_of_the_table_and_the_pool_of_an_infinite_queue() {
    let figures = measure("single-mix", "ratio = 5\ndepartures = 40000");
    assert!((figure(&figures, "mean_bits") - 3.758).abs() < 0.05, "{figures:?}");
    assert!((figure(&figures, "pool_mean") - 5.0).abs() < 0.3, "{figures:?}");
}

#[test]
fn two_senders_differ_by_the_shot_noise_of_their_clocks() {
    // The closed form of E9 for 2 layers and mu = 1: 0.41.
    let found = figure(&measure("likelihood", "layers = 2\nlooks = 120"), "epsilon");
    assert!((0.3..0.6).contains(&found), "{found}");
}

#[test]
fn clients_that_stay_with_middle_mixes_are_exposed_by_those_alone() {
    let all = "corrupt = 0.2\nwidth = 10\npackets = 1000\nclients = 40\n";
    let exposed = |sticky| figure(&measure("sticky", &format!("{all}sticky = {sticky}")), "exposed");
    let (stays, roams) = (exposed(true), exposed(false));
    assert!((stays - 0.488).abs() < 0.25 && roams > 0.9, "{stays} {roams}");
}

#[test]
fn a_parameter_within_a_table_leaves_the_defaults_beside_it() {
    use crate::experiments::bulk::Parameters;
    let read = |text: &str| read_over_defaults::<Parameters>(toml::from_str(text).expect("it is TOML"));
    let (default, changed) = (Parameters::default(), read("crowd.clients = [7]").expect("possible"));
    assert_eq!(changed.crowd.clients, [7]);
    assert_eq!(changed.crowd.habits, default.crowd.habits);
    assert!(read("crowd.customers = [7]").is_err());
}
