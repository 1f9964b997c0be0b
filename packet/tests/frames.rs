//! Frames and the streams of records that they carry.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

use proptest::prelude::*;
use veilpost_packet::{
    codec::DecodeError,
    frame::{Flags, Frame, FrameKind, Hello, RecordCutter, RecordJoiner, SEGMENT_MAX, Want, Wanted},
    geometry::{FRAME, FRAME_BODY},
    ids::{DocumentHash, NodeId, SessionAddress},
    profile::Profile,
    time::{Epoch, Tick},
};

const KINDS: [FrameKind; 10] = [
    FrameKind::Packet,
    FrameKind::Dummy,
    FrameKind::Hello,
    FrameKind::Document,
    FrameKind::Digest,
    FrameKind::Want,
    FrameKind::Peer,
    FrameKind::Set,
    FrameKind::Command,
    FrameKind::Reply,
];

#[test]
fn every_kind_comes_back_in_one_size_with_its_epoch() {
    for kind in KINDS {
        for epoch in [4, 5, 15, 16] {
            let frame = Frame::new(kind, Flags::for_epoch(Epoch(epoch)), &[7; FRAME_BODY]).unwrap();
            assert_eq!(frame.as_bytes().len(), FRAME);
            let back = Frame::from_bytes(frame.as_bytes()).unwrap();
            assert_eq!((back.kind(), back.body()), (kind, &[7; FRAME_BODY][..]));
            for other in 0..16 {
                assert_eq!(back.flags().is_for(Epoch(other)), other == epoch % 16, "{other}");
            }
        }
    }
}

#[test]
fn only_exact_frames_with_a_known_header_are_taken() {
    let good = Frame::dummy().as_bytes().to_vec();
    assert_eq!(Frame::from_bytes(&good[1..]), Err(DecodeError::Invalid("frame kind")));
    assert_eq!(Frame::from_bytes(&good[..FRAME - 1]), Err(DecodeError::Truncated));
    assert_eq!(Frame::from_bytes(&[&good[..], &[0]].concat()), Err(DecodeError::Trailing));
    assert_eq!(Frame::from_bytes(&[]), Err(DecodeError::Truncated));
    for (at, value, why) in [
        (0, 0, "frame kind"),
        (0, 0xFF, "frame kind"),
        (1, 16, "frame flags"),
        (1, 0x81, "frame flags"),
        (2, 1, "reserved bytes"),
        (3, 1, "reserved bytes"),
    ] {
        let mut bad = good.clone();
        bad[at] = value;
        assert_eq!(Frame::from_bytes(&bad), Err(DecodeError::Invalid(why)));
    }
}

#[test]
fn a_packet_fills_its_frame_exactly_and_no_body_is_longer() {
    let new = |kind, length: usize| Frame::new(kind, Flags::default(), &vec![1; length]);
    assert!(new(FrameKind::Packet, FRAME_BODY).is_ok());
    assert_eq!(new(FrameKind::Packet, FRAME_BODY - 1), Err(DecodeError::Truncated));
    assert_eq!(new(FrameKind::Digest, FRAME_BODY + 1), Err(DecodeError::TooLong("frame body")));
    assert!(new(FrameKind::Digest, 3).unwrap().body()[3..].iter().all(|&byte| byte == 0));
}

#[test]
fn hellos_come_back_and_a_node_has_no_session() {
    let client = Hello { puzzle: [4; 32], ..Hello::client(SessionAddress([9; 32]), DocumentHash([1; 8])) };
    let metered = Hello { profile: Profile::Metered, ..client.clone() };
    for hello in [client, metered, Hello::node(DocumentHash([2; 8]))] {
        let frame = hello.to_frame();
        assert_eq!(frame.kind(), FrameKind::Hello);
        assert_eq!(Hello::decode(frame.body()), Ok(hello));
    }
    let zero = Hello::client(SessionAddress([0; 32]), DocumentHash::default());
    assert_eq!(Hello::decode(zero.to_frame().body()).unwrap().session, None, "the zero address is no address");
}

#[test]
fn a_hello_of_another_version_or_an_unknown_profile_is_refused() {
    let good = Hello { profile: Profile::Metered, ..Hello::client(SessionAddress([9; 32]), DocumentHash([1; 8])) };
    let with = |at: usize, byte: u8| {
        let mut body = good.to_frame().body().to_vec();
        body[at] = byte;
        Hello::decode(&body)
    };
    for version in [0, 2, 255] {
        assert_eq!(with(72, version), Err(DecodeError::Invalid("version of the hello")));
    }
    for profile in [2, 3, 255] {
        assert_eq!(with(73, profile), Err(DecodeError::Invalid("profile")));
    }
    let node = Hello { session: None, ..good };
    assert_eq!(Hello::decode(node.to_frame().body()), Err(DecodeError::Invalid("profile")), "nodes have none");
}

#[test]
fn every_profile_is_known_by_its_name_and_number_and_no_other_is() {
    for profile in Profile::ALL {
        assert_eq!(Profile::from_name(profile.name()), Some(profile));
        assert_eq!(Profile::from_byte(profile as u8), Ok(profile));
    }
    assert_eq!(Profile::from_name("Standard"), None);
}

#[test]
fn wants_come_back_at_both_ends_of_their_range() {
    let all = [(Wanted::Digests, 0, 0), (Wanted::Hours, 77, 1), (Wanted::Days, u32::MAX, u32::MAX)];
    for (what, first, count) in all {
        let want = Want { mailbox: NodeId([3; 32]), what, first, count };
        assert_eq!(want.to_frame().kind(), FrameKind::Want);
        assert_eq!(Want::decode(want.to_frame().body()), Ok(want));
    }
}

#[test]
fn hellos_and_wants_with_bytes_behind_them_are_refused() {
    let hello = Hello::node(DocumentHash([2; 8])).to_frame();
    let want = Want::digests(NodeId([3; 32]), Tick(1), 1).to_frame();
    for at in [74, FRAME_BODY - 1] {
        let mut body = hello.body().to_vec();
        body[at] = 1;
        assert_eq!(Hello::decode(&body), Err(DecodeError::Trailing));
        let mut body = want.body().to_vec();
        body[at] = 1;
        assert_eq!(Want::decode(&body), Err(DecodeError::Trailing));
    }
    assert_eq!(Hello::decode(&hello.body()[..73]), Err(DecodeError::Truncated));
    assert_eq!(Want::decode(&want.body()[..40]), Err(DecodeError::Truncated));
}

fn frames(cutter: &mut RecordCutter) -> Vec<Frame> {
    std::iter::from_fn(|| cutter.next_frame(FrameKind::Digest)).collect()
}

#[test]
fn records_are_cut_across_frames_and_short_ones_share_a_frame() {
    let mut cutter = RecordCutter::default();
    for record in [vec![1; 10], vec![2; SEGMENT_MAX * 2], vec![], vec![3; 5]] {
        cutter.push(record.into());
    }
    assert_eq!(cutter.queued(), 10 + SEGMENT_MAX * 2 + 5 + 4 * 4);
    let frames = frames(&mut cutter);
    assert_eq!((frames.len(), cutter.queued()), (3, 0));
    let mut joiner = RecordJoiner::new(SEGMENT_MAX * 2);
    let records: Vec<_> = frames.iter().map(|frame| joiner.push(frame.body()).unwrap()).collect();
    assert_eq!(records[0], [vec![1; 10]]);
    assert!(records[1].is_empty());
    assert_eq!(records[2], [vec![2; SEGMENT_MAX * 2], vec![], vec![3; 5]]);
}

#[test]
fn a_record_at_the_bound_is_taken_and_one_byte_more_is_not() {
    for (length, taken) in [(1_000, true), (1_001, false)] {
        let mut cutter = RecordCutter::default();
        cutter.push(vec![1; length].into());
        let result = RecordJoiner::new(1_000).push(frames(&mut cutter)[0].body());
        assert_eq!(result.is_ok(), taken, "{length}");
    }
}

/// A body with this segment length in front and these bytes behind it.
fn body(length: u16, bytes: &[u8]) -> Vec<u8> {
    let mut body = length.to_be_bytes().to_vec();
    body.extend(bytes);
    body.resize(FRAME_BODY, 0);
    body
}

#[test]
fn malformed_segments_are_refused() {
    let push = |body: &[u8]| RecordJoiner::new(100).push(body);
    assert_eq!(push(&body(SEGMENT_MAX as u16 + 1, &[])), Err(DecodeError::TooLong("stream segment")));
    assert_eq!(push(&body(3, &[0, 0, 0, 9])), Err(DecodeError::Trailing), "padding is zeros");
    assert_eq!(push(&[0]), Err(DecodeError::Truncated));
    assert_eq!(push(&[0, 5, 1]), Err(DecodeError::Truncated));
    assert_eq!(push(&body(4, &u32::MAX.to_be_bytes())), Err(DecodeError::TooLong("stream record")));
    assert_eq!(push(&body(0, &[])), Ok(vec![]));
}

#[test]
fn a_joiner_that_refused_a_record_refuses_all_that_follows_and_keeps_nothing() {
    let mut joiner = RecordJoiner::new(100);
    assert!(joiner.push(&body(4, &[0, 0, 0, 101])).is_err());
    for _ in 0..3 {
        assert!(joiner.push(&body(6, &[0, 0, 0, 2, 1, 1])).is_err(), "the stream's borders are lost");
        assert_eq!(joiner.buffered(), 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_records_come_out_as_they_went_in(
        lengths in prop::collection::vec(0usize..3 * SEGMENT_MAX, 0..8), fill: u8, pushes_between in 0usize..3,
    ) {
        let records: Vec<Vec<u8>> = lengths.iter().map(|&length| vec![fill; length]).collect();
        let (mut cutter, mut joiner) = (RecordCutter::default(), RecordJoiner::new(3 * SEGMENT_MAX));
        let mut out = Vec::new();
        for record in &records {
            cutter.push(record.clone().into());
            for frame in (0..pushes_between).filter_map(|_| cutter.next_frame(FrameKind::Document)) {
                out.extend(joiner.push(frame.body()).unwrap());
            }
        }
        for frame in frames(&mut cutter) {
            out.extend(joiner.push(frame.body()).unwrap());
        }
        prop_assert_eq!(out, records);
        prop_assert_eq!((cutter.queued(), joiner.buffered()), (0, 0));
    }

    #[test]
    fn a_joiner_never_holds_more_than_a_record_and_a_segment(bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..40)) {
        let mut joiner = RecordJoiner::new(500);
        for bytes in bodies {
            let length = u16::try_from(bytes.len()).unwrap();
            // Mostly lengths that a joiner accepts, so that the stream goes on.
            let bytes: Vec<_> = bytes.iter().enumerate().map(|(i, &byte)| if i % 4 < 3 { 0 } else { byte }).collect();
            if let Ok(records) = joiner.push(&body(length, &bytes)) {
                prop_assert!(records.iter().all(|record| record.len() <= 500));
            }
            prop_assert!(joiner.buffered() <= 500 + 4 + SEGMENT_MAX);
        }
    }

    #[test]
    fn any_bytes_are_refused_or_a_frame_as_they_stand(head: [u8; 4], body in prop::collection::vec(any::<u8>(), FRAME_BODY)) {
        let bytes = [&head[..], &body].concat();
        if let Ok(frame) = Frame::from_bytes(&bytes) {
            let again = Frame::new(frame.kind(), frame.flags(), frame.body()).unwrap();
            prop_assert_eq!(again.as_bytes(), &bytes[..]);
        }
    }
}
