//! Experiments on crowds of a hundred, with a seed or two: what is seen at once would be seen here. The full ones are
//! `veilpost-lab run`.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

use veilpost_lab::{
    experiments::{Options, bulk, crowd::Crowd, crowd_activity, disclosure, receipts, series, silence},
    report::Report,
};

const OPTIONS: Options = Options { first: 1, seeds: 2, threads: 2, progress: false };

fn hundred(crowd: Crowd) -> Crowd {
    Crowd { clients: vec![100], ..crowd }
}

/// Everything is as expected, but for rows that begin so.
fn assert_met(report: &Report, but: &[&str]) {
    println!("{report}");
    assert!(!report.rows.is_empty());
    for row in report.rows.iter().filter(|row| !but.iter().any(|but| row.what.starts_with(but))) {
        assert!(row.met, "{} {}: {row:?}", report.id, row.what);
    }
}

#[test]
fn disclosure_finds_contacts_of_clients_without_cover_and_not_of_those_that_ship() {
    let crowd = Crowd { minutes: 60.0, ..hundred(disclosure::Parameters::default().crowd) };
    let parameters = disclosure::Parameters { crowd, trials: 4, ..disclosure::Parameters::default() };
    // Eight trials are too few for shares of all trials.
    assert_met(&disclosure::run(&parameters, &OPTIONS).unwrap(), &["100 receivers", "1000 receivers", "100 people"]);
}

#[test]
fn receipts_at_once_show_who_writes_and_queued_ones_under_cover_do_not() {
    let crowd = hundred(receipts::Parameters::default().crowd);
    let parameters = receipts::Parameters { crowd, ..receipts::Parameters::default() };
    assert_met(&receipts::run(&parameters, &OPTIONS).unwrap(), &[]);
}

#[test]
fn who_polls_one_id_is_found_after_some_dozens_of_polls() {
    let crowd = Crowd { minutes: 30.0, ..hundred(series::Parameters::default().crowd) };
    let parameters = series::Parameters { crowd, ..series::Parameters::default() };
    let report = series::run(&parameters, &OPTIONS).unwrap();
    assert_met(&report, &[]);
    let polled = report.rows.iter().find(|row| row.what.ends_with("ranked first after 40")).unwrap();
    assert!(polled.value > 0.8, "{polled:?}");
}

#[test]
fn ids_that_are_polled_fall_silent_together() {
    let crowd = hundred(silence::Parameters::default().crowd);
    let parameters = silence::Parameters { crowd, ..silence::Parameters::default() };
    // What ships leaks a little in so small a crowd: the full run says how much.
    assert_met(&silence::run(&parameters, &OPTIONS).unwrap(), &["as shipped"]);
}

#[test]
fn who_sends_a_file_on_top_of_decoys_is_found_by_volume_and_who_sends_it_in_their_place_is_not() {
    let crowd = hundred(bulk::Parameters::default().crowd);
    let parameters = bulk::Parameters { crowd, put_slots: vec![4], ..bulk::Parameters::default() };
    assert_met(&bulk::run(&parameters, &OPTIONS).unwrap(), &[]);
}

#[test]
fn a_crowd_that_writes_on_top_of_decoys_writes_more() {
    let crowd = Crowd { minutes: 10.0, warm_up: 5.0, ..hundred(crowd_activity::Parameters::default().crowd) };
    let parameters = crowd_activity::Parameters { crowd, ..crowd_activity::Parameters::default() };
    assert_met(&crowd_activity::run(&parameters, &Options { seeds: 8, ..OPTIONS }).unwrap(), &[]);
}

#[test]
fn impossible_parameters_are_refused_in_plain_words() {
    let nobody = Crowd { clients: vec![0], ..Crowd::default() };
    let refused = [
        disclosure::run(&disclosure::Parameters { crowd: nobody.clone(), ..Default::default() }, &OPTIONS),
        receipts::run(&receipts::Parameters { messages: vec![0], ..Default::default() }, &OPTIONS),
        series::run(&series::Parameters { colluding: vec![4], ..Default::default() }, &OPTIONS),
        silence::run(&silence::Parameters { silent: f32::NAN, ..Default::default() }, &OPTIONS),
        bulk::run(&bulk::Parameters { put_slots: vec![0], ..Default::default() }, &OPTIONS),
        crowd_activity::run(&crowd_activity::Parameters { tick: 0.0, ..Default::default() }, &OPTIONS),
    ];
    for refused in refused {
        let words = refused.unwrap_err().to_string();
        assert!(words.len() > 15, "{words}");
    }
}
