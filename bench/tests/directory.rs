//! `bench-directory` runs from end to end. No figure is judged here.

#![allow(clippy::unwrap_used, missing_docs)]

use std::process::Command;

#[test]
fn a_quick_run_prints_every_group_and_loses_no_node() {
    let run = Command::new(env!("CARGO_BIN_EXE_bench-directory")).args(["--quick", "--json"]).output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let text = String::from_utf8(run.stdout).unwrap();
    let rows: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let value = |name: &str| {
        let row = rows.iter().find(|row| row["name"] == name);
        row.and_then(|row| row["value"].as_f64()).unwrap_or_else(|| panic!("{name} is missing"))
    };
    for name in ["document", "decode and verify", "vote", "tally of all votes", "taking all descriptors", "all"] {
        assert!(value(name) > 0.0, "{name}");
    }
    // A vote, a reveal and a signature from each to each, and word of every other one's vote and reveal.
    for name in ["  votes", "  reveals", "  signatures", "  relays", "50000 packets"] {
        assert!(value(name) > 0.0, "{name}");
    }
}
