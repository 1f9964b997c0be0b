//! Every parameter has a range, and the range has two ends.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

use proptest::prelude::*;
use std::time::Duration;
use veilpost_packet::{
    codec::{DecodeError, Reader, Writer},
    profile::Profile,
};
use veilpost_pki::{Params, Rates};

const MS: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(3_600);
const STEP: Duration = Duration::from_micros(1);

type Field<T> = fn(&mut Params) -> &mut T;

/// A network so slow on its clients' side that any gap of the downlink is fast enough.
fn slow_clients() -> Params {
    Params { send_gap: HOUR, get_gap: HOUR, loop_gap: HOUR, ..Params::standard() }
}

fn refused(params: &Params) -> Option<&'static str> {
    match params.check() {
        Ok(()) => None,
        Err(DecodeError::Invalid(name)) => Some(name),
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn every_duration_is_taken_at_both_ends_of_its_range_and_refused_beyond() {
    let year = 366 * 24 * HOUR;
    let fields: [(&str, Field<Duration>, Duration, Duration); 14] = [
        ("epoch", |p| &mut p.epoch, 100 * MS, year),
        ("key_grace", |p| &mut p.key_grace, 100 * MS, year),
        ("tick", |p| &mut p.tick, 500 * MS, HOUR),
        ("day", |p| &mut p.day, 1_000 * MS, 24 * HOUR),
        ("hop_delay", |p| &mut p.hop_delay, MS, HOUR),
        ("reply_floor", |p| &mut p.reply_floor, MS, HOUR),
        ("send_gap", |p| &mut p.send_gap, 20 * MS, HOUR),
        ("get_gap", |p| &mut p.get_gap, 20 * MS, HOUR),
        ("loop_gap", |p| &mut p.loop_gap, 20 * MS, HOUR),
        ("catch_up_gap", |p| &mut p.catch_up_gap, 5 * MS, HOUR),
        ("catch_up", |p| &mut p.catch_up, Duration::ZERO, 24 * HOUR),
        ("digest_history", |p| &mut p.digest_history, 1_000 * MS, 48 * HOUR),
        ("peer_gap", |p| &mut p.peer_gap, MS, HOUR),
        ("node_loop_gap", |p| &mut p.node_loop_gap, 20 * MS, HOUR),
    ];
    for (name, field, low, high) in fields {
        // A downlink that keeps up with three clocks of 20 ms.
        let base = Params { downlink_gap: 5 * MS, ..slow_clients() };
        let with = |value: Duration| {
            let mut params = base.clone();
            *field(&mut params) = value;
            refused(&params)
        };
        assert_eq!(with(low), None, "{name} at its lower end");
        assert_eq!(with(high), None, "{name} at its upper end");
        assert_eq!(with(high + STEP), Some(name));
        if let Some(below) = low.checked_sub(STEP) {
            assert_eq!(with(below), Some(name));
        }
    }
}

#[test]
fn every_number_is_taken_at_both_ends_of_its_range_and_refused_beyond() {
    let fields: [(&str, Field<u32>, u32, u32); 10] = [
        ("put_slot", |p| &mut p.put_slot, 1, 64),
        ("hurry", |p| &mut p.hurry, 1, 1_000),
        ("metered", |p| &mut p.metered, 1, 16),
        ("copies", |p| &mut p.copies, 1, 4),
        ("durable_copies", |p| &mut p.durable_copies, 1, 1),
        ("districts", |p| &mut p.districts, 1, 1),
        ("put_effort", |p| &mut p.put_effort, 0, 4),
        ("box_days", |p| &mut p.box_days, 1, 60),
        ("document_life", |p| &mut p.document_life, 1, 720),
        ("placement_notice", |p| &mut p.placement_notice, 1, 720),
    ];
    for (name, field, low, high) in fields {
        let with = |value: u32| {
            let mut params = Params { copies: 1, durable_copies: 1, ..Params::standard() };
            *field(&mut params) = value;
            refused(&params)
        };
        assert_eq!((with(low), with(high)), (None, None), "{name}");
        assert_eq!(with(high + 1), Some(name));
        assert_eq!(with(u32::MAX), Some(name));
        if let Some(below) = low.checked_sub(1) {
            assert_eq!(with(below), Some(name));
        }
    }
    let more = Params { copies: 2, durable_copies: 2, ..Params::standard() };
    assert_eq!(refused(&more), None, "as many durable copies as copies");
    assert_eq!(refused(&Params { durable_copies: 3, ..more }), Some("durable_copies"));
}

#[test]
fn a_downlink_must_be_faster_than_what_its_client_sends() {
    let client = Params::standard().rates(Profile::Standard).up();
    let gap = |factor: f64| Duration::from_secs_f64(1.0 / (client * factor));
    let with = |downlink_gap| refused(&Params { downlink_gap, ..Params::standard() });
    assert_eq!(with(gap(1.201)), None);
    assert_eq!(with(gap(1.199)), Some("downlink_gap"));
    let slow = |downlink_gap| refused(&Params { downlink_gap, ..slow_clients() });
    assert_eq!((slow(5 * MS), slow(5 * MS - STEP)), (None, Some("downlink_gap")));
    assert_eq!(slow(HOUR + STEP), Some("downlink_gap"));
}

#[test]
fn a_metered_client_has_slower_clocks_and_still_room_for_replies_and_digests() {
    let params = Params::standard();
    let [standard, metered] = Profile::ALL.map(|profile| params.rates(profile));
    assert_eq!((standard.send_gap, standard.downlink_gap), (params.send_gap, params.downlink_gap));
    let slower = [metered.send_gap, metered.get_gap, metered.loop_gap, metered.catch_up_gap];
    let four = [params.send_gap, params.get_gap, params.loop_gap, params.catch_up_gap].map(|gap| gap * 4);
    assert_eq!(slower, four);
    // What is left for digests and documents beside 1.25 times the replies is the same.
    let spare = |rates: Rates| rates.down() - 1.25 * rates.up();
    assert!((spare(standard) - spare(metered)).abs() < 1e-6);
    assert_eq!((metered.put_slot, metered.put_gap()), (standard.put_slot, standard.put_gap() * 4));
}

#[test]
fn a_metered_downlink_is_never_slower_than_its_factor_nor_catching_up_than_what_follows() {
    for factor in [1, 2, 16] {
        for downlink in [700, 930] {
            let params = Params { metered: factor, downlink_gap: downlink * MS, ..Params::standard() };
            let [standard, metered] = Profile::ALL.map(|profile| params.rates(profile));
            assert!(metered.down() >= standard.down() / f64::from(factor) * 0.999_999);
            assert!(metered.catch_up_gap <= metered.downlink_gap && metered.catch_up_gap >= params.catch_up_gap);
            assert_eq!(refused(&params), None, "{factor} {downlink}");
        }
    }
    let even = Params { metered: 1, ..Params::standard() };
    assert_eq!(even.rates(Profile::Metered).send_gap, even.rates(Profile::Standard).send_gap);
}

#[test]
fn the_networks_that_we_make_are_in_range() {
    for times in [0, 1, 2, 4, 8] {
        assert_eq!(refused(&Params::hurried(times)), None, "hurried {times} times");
    }
    assert_eq!(Params::standard().hurry(HOUR), HOUR);
    assert_eq!(Params::hurried(8).hurry(HOUR), HOUR / 8);
}

fn bytes(params: &Params) -> Vec<u8> {
    let mut writer = Writer::with_capacity(200);
    params.write(&mut writer);
    writer.finish()
}

#[test]
fn parameters_out_of_range_are_refused_when_read() {
    let bytes = bytes(&Params { box_days: 61, ..Params::standard() });
    assert_eq!(Params::read(&mut Reader::new(&bytes)), Err(DecodeError::Invalid("box_days")));
    assert_eq!(Params::read(&mut Reader::new(&bytes[..bytes.len() - 1])), Err(DecodeError::Truncated));
}

proptest! {
    #[test]
    fn parameters_in_range_come_back(epoch in 100_000u64..1 << 40, hop in 1_000u64..1 << 30, slot in 1u32..=64, days in 1u32..=60, catch_up in 0u64..1 << 36) {
        let params = Params {
            epoch: Duration::from_micros(epoch),
            hop_delay: Duration::from_micros(hop),
            catch_up: Duration::from_micros(catch_up),
            put_slot: slot,
            box_days: days,
            ..Params::standard()
        };
        let bytes = bytes(&params);
        let mut reader = Reader::new(&bytes);
        prop_assert_eq!(Params::read(&mut reader).unwrap(), params);
        prop_assert_eq!(reader.remaining(), 0);
    }

    #[test]
    fn perturbed_parameters_never_panic(at: prop::sample::Index, value: u8) {
        let mut bytes = bytes(&Params::standard());
        let at = at.index(bytes.len());
        bytes[at] = value;
        if let Ok(params) = Params::read(&mut Reader::new(&bytes)) {
            prop_assert!(params.check().is_ok() && Profile::ALL.iter().all(|profile| params.rates(*profile).down().is_finite()));
        }
    }
}
