//! Experiments with a few seeds: what is seen at once would be seen here. The full ones are `veilpost-lab run`.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

use veilpost_lab::{files, measure::Run, report::Report};

fn quick(id: &str, seeds: usize) -> Report {
    let all = files::shipped();
    let experiment = all.iter().find(|experiment| experiment.id == id).unwrap();
    let report = experiment.run(&Run { seed: 1, threads: 2 }, true, Some(seeds), None).unwrap();
    println!("{report}");
    assert!(!report.rows.is_empty());
    report
}

/// Everything is as expected, but for the controls that so few seeds cannot catch.
fn assert_met(report: &Report, weak: &[&str]) {
    for row in report.rows.iter().filter(|row| !weak.iter().any(|weak| row.what.starts_with(weak))) {
        assert!(row.met, "{} {}: {row:?}", report.id, row.what);
    }
}

#[test]
fn a_few_idle_and_busy_people_look_alike_on_their_lines_and_who_has_no_cover_does_not() {
    // A p-value of one test of six seeds is below 0.001 when nearly all six are alike.
    assert_met(&quick("E14", 6), &["control: a rate of 1.1"]);
}

#[test]
fn a_few_idle_and_busy_people_write_alike_at_the_mailboxes() {
    assert_met(&quick("E24", 6), &["control"]);
}

#[test]
fn a_stealthy_attempt_on_a_mix_succeeds_as_often_as_the_formula_says() {
    assert_met(&quick("E15", 2), &[]);
}

#[test]
fn a_burst_of_replies_shows_at_the_entries_and_not_at_clients() {
    assert_met(&quick("E20", 6), &[]);
}

#[test]
fn replies_do_not_show_what_was_asked() {
    assert_met(&quick("E21", 2), &[]);
}
