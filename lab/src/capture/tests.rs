#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::*;
use proptest::prelude::*;

fn capture(rows: Vec<Row>) -> Capture {
    let endpoint = |(name, role): (&str, &str)| Endpoint { name: name.into(), role: role.into() };
    let header = Header {
        version: VERSION,
        source: Source::Simulation,
        unit: Unit::Frame,
        seed: Some(7),
        endpoints: [("client 0", "client"), ("entry 0", "entry")].map(endpoint).into(),
        marks: vec![Mark { time_ns: 5, endpoint: 1, what: "received".into() }],
    };
    Capture { header, rows }
}

fn bytes(capture: &Capture) -> Vec<u8> {
    let mut bytes = Vec::new();
    capture.write(&mut bytes).unwrap();
    bytes
}

fn read(bytes: Vec<u8>) -> Result<Capture, CaptureError> {
    Capture::read(bytes::Bytes::from(bytes))
}

#[test]
fn an_empty_capture_comes_back() {
    let empty = capture(Vec::new());
    assert_eq!(read(bytes(&empty)).unwrap(), empty);
}

#[test]
fn another_version_is_refused_by_its_number() {
    let mut other = capture(Vec::new());
    other.header.version = 2;
    let error = read(bytes(&other)).unwrap_err();
    assert_eq!(error.to_string(), "this capture has version 2; this program reads version 1");
}

#[test]
fn rows_and_marks_of_nobody_and_rows_out_of_order_are_refused() {
    let row = Row { time_ns: 10, from: 0, to: 1, size: 4_448 };
    assert!(read(bytes(&capture(vec![row, Row { time_ns: 9, ..row }]))).is_err());
    assert!(read(bytes(&capture(vec![Row { to: 2, ..row }]))).is_err());
    assert!(read(bytes(&capture(vec![Row { from: u32::MAX, ..row }]))).is_err());
    let mut marked = capture(vec![row]);
    marked.header.marks[0].endpoint = 2;
    assert!(read(bytes(&marked)).is_err());
}

#[test]
fn what_is_no_capture_is_refused() {
    assert!(read(b"text".to_vec()).is_err());
    let whole = bytes(&capture(vec![Row { time_ns: 1, from: 0, to: 1, size: 1 }; 1_000]));
    for length in (0..whole.len()).step_by(7) {
        assert!(read(whole[..length].to_vec()).is_err(), "{length}");
    }
}

#[test]
fn times_and_sizes_of_an_endpoint_are_told_apart_by_direction() {
    let row = Row { time_ns: 1_500_000_000, from: 0, to: 1, size: 3 };
    let capture = capture(vec![row, Row { from: 1, to: 0, size: 4, ..row }]);
    let client = capture.endpoint("client 0").unwrap();
    assert_eq!(capture.of(client, true).collect::<Vec<_>>(), [(1.5, 3)]);
    assert_eq!(capture.of(client, false).collect::<Vec<_>>(), [(1.5, 4)]);
    assert_eq!(capture.endpoint("nobody"), None);
}

proptest! {
    #[test]
    fn captures_come_back(mut rows in proptest::collection::vec((any::<i64>(), 0..2u32, 0..2u32, any::<u32>()), 0..200)) {
        rows.sort_unstable();
        let rows = rows.into_iter().map(|(time_ns, from, to, size)| Row { time_ns, from, to, size }).collect();
        let capture = capture(rows);
        prop_assert_eq!(read(bytes(&capture)).unwrap(), capture);
    }

    #[test]
    fn damaged_captures_never_panic(at: prop::sample::Index, value: u8) {
        let mut bytes = bytes(&capture(vec![Row { time_ns: 1, from: 0, to: 1, size: 1 }; 50]));
        let at = at.index(bytes.len());
        bytes[at] = value;
        let _read_or_refused = read(bytes);
    }
}
