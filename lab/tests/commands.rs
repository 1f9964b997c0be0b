//! The command line, as scripts use it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

use serde_json::Value;
use std::process::{Command, Output};

fn lab(arguments: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_veilpost-lab")).args(arguments.split(' ')).output().unwrap()
}

fn json(arguments: &str) -> Value {
    let output = lab(arguments);
    assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn assert_refused(arguments: &str, word: &str) {
    let Output { status, stderr, stdout } = lab(arguments);
    let said = String::from_utf8(stderr).unwrap();
    assert_eq!((status.code(), stdout.len()), (Some(2), 0), "{arguments}: {said}");
    assert!(said.contains(word), "{arguments}: {said}");
}

#[test]
fn entropy_prints_its_mean_its_interval_and_its_sample_as_one_line() {
    let found = json("entropy --rate 200 --layers 2 --width 2 --delay-per-hop 0.1 --targets 20 --seed 3 --json");
    let [mean, low, high] = [&found["mean_bits"], &found["ci95"][0], &found["ci95"][1]].map(|n| n.as_f64().unwrap());
    assert!(low < mean && mean < high);
    assert_eq!(found["n"], 20);
    assert_eq!(found, json("entropy --rate 200 --layers 2 --width 2 --delay-per-hop 0.1 --targets 20 --seed 3 --json"));
}

#[test]
fn routes_prints_the_exact_probability() {
    let p = json("routes --nodes 100 --corrupt 20 --layers 4 --json")["p"].as_f64().unwrap();
    let exact = 20.0 * 19.0 * 18.0 * 17.0 / (100.0 * 99.0 * 98.0 * 97.0);
    assert!((p / exact - 1.0).abs() < 1e-12, "{p}");
}

#[test]
fn a_sweep_has_a_row_for_every_combination() {
    let report = json("sweep routes --set nodes=50 --over corrupt=5,10 --over layers=1,2,3 --json");
    let rows = report["rows"].as_array().unwrap();
    let p: Vec<&Value> = rows.iter().filter(|row| row["what"].as_str().unwrap().ends_with(": p")).collect();
    assert_eq!((p.len(), &p[0]["what"], &p[0]["value"]), (6, &"corrupt=5 layers=1: p".into(), &0.1.into()));
}

#[test]
fn an_experiment_from_a_file_runs_beside_those_that_ship() {
    let report = json("run E8 --quick --json");
    assert!(report["rows"].as_array().unwrap().iter().all(|row| row["met"] == true));
    let shipped = concat!("run --json --file ", env!("CARGO_MANIFEST_DIR"), "/experiments/E8.toml");
    assert_eq!(json(shipped), json("run E8 --json"));
    let listed = String::from_utf8(lab("list").stdout).unwrap();
    let ids: Vec<&str> = listed.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert!(["E1", "E8", "E14", "E16", "E23"].iter().all(|id| ids.contains(id)), "{listed}");
}

#[test]
fn what_cannot_be_is_a_plain_error_with_exit_code_2() {
    assert_refused("run E99", "no experiment E99");
    assert_refused("run E16", "bench-loops");
    assert_refused("run --file /no/such.toml", "/no/such.toml");
    assert_refused("entropy --rate 0", "rate is 0");
    assert_refused("entropy --rate nan", "rate is NaN");
    assert_refused("entropy --layers 0", "layers is 0");
    assert_refused("entropy --corrupt 1.2", "corrupt is 1.2");
    assert_refused("entropy --lairs 3", "--lairs");
    assert_refused("routes --nodes 10 --corrupt 11", "corrupt is 11");
    assert_refused("sweep entropy --over lairs=3,4", "lairs");
    assert_refused("sweep entropy --over layers=3,-4", "-4");
    assert_refused("sweep entropi --over layers=3", "entropi");
    assert_refused("sweep routes --over layers", "NAME=VALUE");
}

#[test]
fn the_help_of_every_kind_has_an_example() {
    for kind in veilpost_lab::measure::KINDS {
        let help = String::from_utf8(lab(&format!("{kind} --help")).stdout).unwrap();
        assert!(help.contains(&format!("veilpost-lab {kind} --")), "{help}");
    }
}
