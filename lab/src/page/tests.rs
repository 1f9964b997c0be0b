#![cfg(test)]

use super::*;
use crate::{cost::Cost, report::Expected, statistics::Interval};

fn finished(quick: bool) -> Finished {
    let mut report = Report::new("E2", "how many <layers>?");
    let interval = Interval { value: 13.0, low: 12.9, high: 13.1 };
    report.add_interval("three layers & more", "bits", interval, 400, Expected::Within(12.9, 13.1));
    report.add("control: four layers", "bits", 11.0, 400, Expected::AtLeast(12.0));
    report.costing(Some(Cost { megabytes: Some(991.0), seconds: Some([25.0, 51.0, 66.0]) }));
    report.add("nothing came", "s", f64::NAN, 0, Expected::Known);
    report.add("gaps", "p", 1e-40, 7, Expected::Caught(0.001));
    Finished { made: Made { seconds: 61.0, commit: "abc".into(), ..Made::now("", quick, Some(4), None) }, report }
}

#[test]
fn a_page_says_who_watches_what_came_out_and_how_to_make_it_again() {
    let html = page(&[finished(true)], None);
    for part in [
        "how many &lt;layers&gt;?",
        "three layers &amp; more",
        "12.900 to 13.100",
        "not met",
        "veilpost-lab run E2 --quick --seeds 4",
        "global passive observer",
        "<svg",
        "Samples are small",
        "commit <code>abc</code>",
        "No capture of a real network",
        "991 MB; 25 / 51 / 66 s",
    ] {
        assert!(html.contains(part), "{part}");
    }
    let fetched = ["src=", "href=\"http", "url(", "@import"].into_iter().any(|it| html.contains(it));
    assert!(!fetched, "nothing is fetched from anywhere");
}

#[test]
fn what_is_not_as_expected_is_counted_and_marked() {
    let html = page(&[finished(false)], Some(&finished(false).report));
    assert!(html.contains("<td class=\"n missed\">0 of 1</td>"), "controls");
    assert!(html.contains("<td class=\"n\">2 of 2</td>"), "others");
    assert_eq!(html.matches("<tr class=\"missed\">").count(), 2, "the experiment's row, and that of the real network");
}

#[test]
fn figures_of_any_size_are_drawn() {
    let mut report = finished(true).report;
    for value in [0.0, -5.0, 1e300, 1e-300, f64::INFINITY] {
        report.add("strange", "bits", value, 1, Expected::AtMost(1.0));
    }
    assert!(plot::plots(&report).contains("</svg>"));
}
