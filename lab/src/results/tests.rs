#![cfg(test)]
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::*;
use crate::{cost::Cost, report::Expected, statistics::Interval};
use parquet::file::reader::{FileReader as _, SerializedFileReader};

fn made(commit: &str) -> Made {
    Made { commit: commit.into(), seconds: 2.0, ..Made::now("a file", true, Some(3), None) }
}

fn report(id: &str) -> Report {
    let mut report = Report::new(id, "what is asked");
    report.costing(Some(Cost { megabytes: Some(991.0), seconds: Some([25.0, 51.0, 66.0]) }));
    report.add_interval(
        "a, \"quoted\"",
        "bits",
        Interval { value: 1.5, low: 1.0, high: 2.0 },
        7,
        Expected::AtMost(2.0),
    );
    report.costing(None);
    report.add("nothing was seen", "s", f64::NAN, 0, Expected::Known);
    report
}

fn same(one: &Report, other: &Report) -> bool {
    format!("{one:?}") == format!("{other:?}")
}

#[test]
fn what_the_same_program_found_with_the_same_parameters_is_not_run_again() {
    let folder = tempfile::tempdir().unwrap();
    let results = Results::open(folder.path()).unwrap();
    results.keep(&report("E2"), &made("abc")).unwrap();
    let again = Results::open(folder.path()).unwrap();
    assert!(same(&again.find("E2", &made("abc")).unwrap(), &report("E2")), "numbers that are none included");
    assert!(again.find("E2", &made("abd")).is_none(), "another program");
    assert!(again.find("E2", &Made { quick: false, ..made("abc") }).is_none(), "another sample");
    assert!(again.find("E2", &Made { file: 1, ..made("abc") }).is_none(), "another file");
    assert!(again.find("E3", &made("abc")).is_none());
}

#[test]
fn a_program_with_changes_that_no_commit_names_runs_again() {
    let folder = tempfile::tempdir().unwrap();
    let results = Results::open(folder.path()).unwrap();
    for commit in ["abc-dirty", "unknown"] {
        results.keep(&report("E2"), &made(commit)).unwrap();
        assert!(results.find("E2", &made(commit)).is_none());
    }
}

#[test]
fn tables_hold_every_figure_in_order_of_experiments() {
    let folder = tempfile::tempdir().unwrap();
    let results = Results::open(folder.path()).unwrap();
    for id in ["E10", "E2"] {
        results.keep(&report(id), &made("abc")).unwrap();
    }
    let mut table = csv::Reader::from_path(folder.path().join("results.csv")).unwrap();
    assert_eq!(table.headers().unwrap().iter().collect::<Vec<_>>(), COLUMNS);
    let rows: Vec<_> = table.records().map(Result::unwrap).collect();
    assert_eq!(rows.iter().map(|row| row[0].to_owned()).collect::<Vec<_>>(), ["E2", "E2", "E10", "E10"]);
    assert_eq!((&rows[0][1], &rows[0][3], &rows[0][4], &rows[0][16]), ("a, \"quoted\"", "1.5", "1", "abc"));
    assert_eq!(rows[0].iter().skip(9).take(4).collect::<Vec<_>>(), ["991", "25", "51", "66"]);
    assert!(rows[1].iter().skip(9).take(4).all(str::is_empty));
    let file = SerializedFileReader::new(File::open(folder.path().join("results.parquet")).unwrap()).unwrap();
    assert_eq!(file.metadata().file_metadata().num_rows(), 4);
    assert_eq!(file.metadata().file_metadata().schema().get_fields().len(), COLUMNS.len());
}

#[test]
fn a_damaged_result_is_an_error_in_words_and_no_figure() {
    let folder = tempfile::tempdir().unwrap();
    let results = Results::open(folder.path()).unwrap();
    fs::write(folder.path().join("done/E2.json"), "{").unwrap();
    assert!(results.find("E2", &made("abc")).is_none());
    let error = results.all().unwrap_err().to_string();
    assert!(error.contains("E2.json") && error.contains("remove it"), "{error}");
}

#[test]
fn an_id_from_a_file_leads_to_no_other_folder() {
    let folder = tempfile::tempdir().unwrap();
    let results = Results::open(folder.path()).unwrap();
    results.keep(&report("../../E2"), &made("abc")).unwrap();
    assert!(folder.path().join("done/------E2.json").is_file());
}
