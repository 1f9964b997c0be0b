use super::*;
use proptest::prelude::*;

fn message(body: Body) -> Message {
    Message { uuid: Uuid([9; 16]), sent_at: Timestamp::from_millis(1_700_000_000_123), body }
}

fn uuid() -> impl Strategy<Value = Uuid> {
    any::<[u8; 16]>().prop_map(Uuid)
}

fn seed() -> impl Strategy<Value = StreamSeed> {
    any::<[u8; 32]>().prop_map(StreamSeed::new)
}

fn manifest() -> impl Strategy<Value = Manifest> {
    (seed(), 1u32..=64, 64u64..=4_096, any::<[u8; 32]>(), "[a-z]{1,20}\\.[a-z]{3}", "[a-z]{1,9}/[a-z.+-]{1,20}")
        .prop_map(|(root, boxes, size, sha256, name, media_type)| Manifest {
            root,
            boxes,
            size,
            sha256,
            name,
            media_type,
        })
}

fn body() -> impl Strategy<Value = Body> {
    prop_oneof![
        ".{0,200}".prop_map(Body::Text),
        manifest().prop_map(Body::Attachment),
        prop::collection::vec(uuid(), 1..=MAX_RECEIPTS).prop_map(Body::Receipts),
        (uuid(), any::<u32>()).prop_map(|(manifest, count)| Body::Progress { manifest, count }),
        "[A-Za-z]{0,40}".prop_map(|name| Body::Profile { name }),
        ("[A-Za-z]{0,40}", seed(), seed()).prop_map(|(name, answerer_writes, inviter_writes)| Body::Hello(Hello {
            name,
            answerer_writes,
            inviter_writes
        })),
        seed().prop_map(Body::NextStream),
        (seed(), seed()).prop_map(|(writer_writes, reader_writes)| Body::Restart { writer_writes, reader_writes }),
        (uuid(), "\\PC{0,10}").prop_map(|(target, reaction)| Body::Reaction { target, reaction }),
        (uuid(), ".{0,200}").prop_map(|(target, text)| Body::Edit { target, text }),
        uuid().prop_map(|target| Body::Delete { target }),
        any::<u32>().prop_map(|seconds| Body::Expiry { seconds }),
        ("image/[a-z]{1,20}", prop::collection::vec(any::<u8>(), 0..100))
            .prop_map(|(media_type, bytes)| Body::Unknown { media_type, bytes }),
    ]
}

proptest! {
    #[test]
    fn every_message_comes_out_as_it_went_in(body in body(), id in uuid(), ms in 0u64..4_000_000_000_000) {
        let message = Message { uuid: id, sent_at: Timestamp::from_millis(ms), body };
        prop_assert_eq!(Message::decode(&message.encode().unwrap()).unwrap(), message);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = Message::decode(&bytes);
    }

    #[test]
    fn a_changed_message_never_panics_and_reencodes_to_itself(
        body in body(), position in any::<prop::sample::Index>(), flip in 1u8..
    ) {
        let mut bytes = message(body).encode().unwrap().to_vec();
        let position = position.index(bytes.len());
        bytes[position] ^= flip;
        if let Ok(message) = Message::decode(&bytes) {
            // Names are sanitized on the way in, so the bytes may shrink, but never twice.
            let again = message.encode().unwrap();
            prop_assert_eq!(Message::decode(&again).unwrap(), message);
        }
    }

    #[test]
    fn a_cut_message_never_panics(body in body(), keep in any::<prop::sample::Index>()) {
        let bytes = message(body).encode().unwrap();
        let _ = Message::decode(&bytes[..keep.index(bytes.len())]);
    }
}

#[test]
fn bounds_hold_at_the_bound() {
    let ok = |body| message(body).encode().is_ok();
    assert!(ok(Body::Text("x".repeat(MAX_TEXT))));
    assert!(!ok(Body::Text("x".repeat(MAX_TEXT + 1))));
    assert!(ok(Body::Edit { target: Uuid([0; 16]), text: "x".repeat(MAX_TEXT) }));
    assert!(ok(Body::Receipts(vec![Uuid([0; 16]); MAX_RECEIPTS])));
    assert!(!ok(Body::Receipts(vec![Uuid([0; 16]); MAX_RECEIPTS + 1])));
    assert!(!ok(Body::Receipts(vec![])));
    let unknown = |length| Body::Unknown { media_type: format!("a/{}", "b".repeat(length - 2)), bytes: vec![] };
    assert!(ok(unknown(MAX_MEDIA_TYPE)));
    assert!(!ok(unknown(MAX_MEDIA_TYPE + 1)));
}

#[test]
fn trailing_bytes_and_other_versions_are_refused() {
    let mut bytes = message(Body::Delete { target: Uuid([1; 16]) }).encode().unwrap().to_vec();
    bytes.push(0);
    assert_eq!(Message::decode(&bytes), Err(DecodeError::Trailing));
    bytes.pop();
    bytes[0] = 2;
    assert_eq!(Message::decode(&bytes), Err(DecodeError::Invalid("version")));
}

#[test]
fn a_manifest_cannot_ask_for_more_boxes_than_bytes_or_for_a_huge_file() {
    let manifest = |boxes, size| {
        Body::Attachment(Manifest {
            root: StreamSeed::new([1; 32]),
            boxes,
            size,
            sha256: [0; 32],
            name: "a.txt".into(),
            media_type: "text/plain".into(),
        })
    };
    assert!(message(manifest(10, 10)).encode().is_ok());
    assert!(message(manifest(11, 10)).encode().is_err());
    assert!(message(manifest(1, crate::store::files::MAX_FILE)).encode().is_ok());
    assert!(message(manifest(1, crate::store::files::MAX_FILE + 1)).encode().is_err());
}

#[test]
fn a_manifest_does_not_print_its_seed() {
    let hello = Hello {
        name: "A".into(),
        answerer_writes: StreamSeed::new([0xab; 32]),
        inviter_writes: StreamSeed::new([0xab; 32]),
    };
    let shown = format!("{:?}", Body::Hello(hello));
    assert!(!shown.contains("171") && !shown.contains("ab, "));
}
