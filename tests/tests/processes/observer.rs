//! Somebody on every line of a real network, while some people write and others do nothing (E14 on real sockets).
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

use std::{fs::File, time::Duration};
use veilpost_lab::{
    capture::{Capture, Source},
    lines::report,
};
use veilpost_tests::{lines::capture, scene::alone};

/// How long lines are watched: some 800 frames of a client each way on a fast network.
const WATCH: Duration = Duration::from_secs(120);

#[test]
fn lines_of_people_who_write_receive_or_do_nothing_look_alike_on_real_sockets() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let seen = capture(folder.path(), WATCH).unwrap();

    // Through the file, as the lab would read it.
    let path = folder.path().join("lines.parquet");
    seen.write(File::create(&path).unwrap()).unwrap();
    let capture = Capture::read(File::open(&path).unwrap()).unwrap();
    assert_eq!((capture.header.source, &capture), (Source::Testnet, &seen));

    let report = report(&capture, 14).unwrap();
    println!("{report}");
    let (marked, lines): (Vec<_>, Vec<_>) = report.rows.iter().partition(|row| row.what.contains("mark"));
    assert!(lines.iter().all(|row| row.n > 300) && lines.len() == 21, "enough was seen");
    assert!(marked.len() == 1 && marked.iter().all(|row| row.n >= 15), "after each text too");
    assert!(report.is_met(), "{report}");
}
