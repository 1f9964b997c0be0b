//! Commands, replies and digests: one size, no trailing bytes, nothing that a stranger's bytes can break.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

mod common;

use common::{NETWORK, sealed, surb};
use proptest::prelude::*;
use std::sync::LazyLock;
use veilpost_packet::{
    boxes::{BoxTag, ContentHash},
    codec::DecodeError,
    command::{Answer, Command, HolderSignature, Reply},
    digest::{Digest, DigestHash, SignedDigest},
    frame::FrameKind,
    geometry::*,
    ids::{BoxId, District, DocumentHash, NetworkId, NodeId},
    primitives::{Secret32, SigningSecret},
    sphinx::Surb,
    time::{Day, Epoch, Tick},
};

static A_SURB: LazyLock<Surb> = LazyLock::new(|| surb(7).0);

fn commands() -> [Command; 4] {
    let id = BoxId([5; 32]);
    [
        Command::Put { sealed: Box::new(sealed(1, b"put")), puzzle: [3; PUZZLE], token: Box::new([4; TOKEN]) },
        Command::Get { id, district: District(9) },
        Command::Ack { id, district: District(8), secret: Secret32::new([6; 32]) },
        Command::Loop,
    ]
}

fn mailbox() -> SigningSecret {
    SigningSecret::from_seed(&[7; 32])
}

fn answers() -> [Answer; 9] {
    let sealed = sealed(1, b"found");
    let stored = HolderSignature::sign(&mailbox(), &NETWORK, &sealed.id, &sealed.content_hash(&NETWORK), sealed.expiry);
    [
        Answer::Stored([stored, HolderSignature::NONE]),
        Answer::Pending,
        Answer::Full,
        Answer::Conflict,
        Answer::Found(Box::new(sealed)),
        Answer::Absent,
        Answer::Gone,
        Answer::Looped,
        Answer::Refused,
    ]
}

fn reply(answer: Answer) -> Reply {
    Reply { document: DocumentHash([2; 8]), newest_digest: Tick(77), answer }
}

fn digest(tags: Vec<BoxTag>) -> Digest {
    Digest {
        network: NETWORK,
        document: DocumentHash([2; 8]),
        mailbox: mailbox().node_id(),
        district: District(0),
        tick: Tick(5),
        previous: DigestHash([8; 32]),
        tags,
    }
}

fn tags(count: usize) -> Vec<BoxTag> {
    (0..count as u64).map(|n| BoxTag(n.to_be_bytes()[2..].try_into().unwrap())).collect()
}

#[test]
fn every_command_has_one_size_and_comes_back() {
    for command in commands() {
        let bytes = command.encode(&A_SURB);
        assert_eq!(bytes.len(), PLAINTEXT);
        let (surb, back) = Command::decode(&bytes).unwrap();
        assert_eq!(surb, *A_SURB);
        assert_eq!(back.encode(&surb), bytes);
    }
}

#[test]
fn every_reply_has_one_size_and_comes_back() {
    for answer in answers() {
        let reply = reply(answer);
        let bytes = reply.encode();
        assert_eq!(bytes.len(), REPLY);
        assert_eq!(Reply::decode(&bytes).unwrap(), reply);
    }
}

#[test]
fn commands_and_replies_without_a_packet_are_frames_of_one_size_and_nothing_behind_them_is_taken() {
    for command in commands() {
        let frame = command.to_frame(Epoch(5));
        assert!(frame.kind() == FrameKind::Command && frame.flags().is_for(Epoch(5)), "{command:?}");
        let back = Command::from_body(frame.body()).unwrap();
        assert_eq!(back.encode(&A_SURB), command.encode(&A_SURB));
        let mut body = frame.body().to_vec();
        *body.last_mut().unwrap() = 1;
        assert_eq!(Command::from_body(&body).unwrap_err(), DecodeError::Trailing, "{command:?}");
        assert!(Command::from_body(&[]).is_err());
    }
    for answer in answers() {
        let reply = reply(answer);
        let frame = Reply::to_frame(&reply.encode()).unwrap();
        assert_eq!((frame.kind(), Reply::from_body(frame.body()).unwrap()), (FrameKind::Reply, reply));
        let mut body = frame.body().to_vec();
        *body.last_mut().unwrap() = 1;
        assert_eq!(Reply::from_body(&body), Err(DecodeError::Trailing));
        assert_eq!(Reply::from_body(&body[..REPLY - 1]), Err(DecodeError::Truncated));
    }
}

#[test]
fn bytes_behind_the_last_field_are_refused_inside_and_outside_the_one_size() {
    for command in commands() {
        let mut bytes = command.encode(&A_SURB);
        bytes[PLAINTEXT - 1] = 1;
        assert_eq!(Command::decode(&bytes).unwrap_err(), DecodeError::Trailing, "{command:?}");
        bytes[PLAINTEXT - 1] = 0;
        bytes.push(0);
        assert_eq!(Command::decode(&bytes).unwrap_err(), DecodeError::Trailing, "{command:?}");
        bytes.truncate(PLAINTEXT - 1);
        assert_eq!(Command::decode(&bytes).unwrap_err(), DecodeError::Truncated, "{command:?}");
    }
    for answer in answers() {
        let mut bytes = reply(answer.clone()).encode();
        bytes[REPLY - 1] = 1;
        assert_eq!(Reply::decode(&bytes), Err(DecodeError::Trailing), "{answer:?}");
        bytes[REPLY - 1] = 0;
        bytes.push(0);
        assert_eq!(Reply::decode(&bytes), Err(DecodeError::Trailing), "{answer:?}");
        bytes.truncate(REPLY - 1);
        assert_eq!(Reply::decode(&bytes), Err(DecodeError::Truncated), "{answer:?}");
    }
}

#[test]
fn unknown_commands_and_answers_are_refused() {
    for unknown in [0, 5, 255] {
        let mut bytes = Command::Loop.encode(&A_SURB);
        bytes[SURB] = unknown;
        assert_eq!(Command::decode(&bytes).unwrap_err(), DecodeError::Invalid("command"));
    }
    for unknown in [0, 10, 255] {
        let mut bytes = reply(Answer::Looped).encode();
        bytes[12] = unknown;
        assert_eq!(Reply::decode(&bytes), Err(DecodeError::Invalid("answer")));
    }
}

#[test]
fn a_holders_word_is_for_one_box_content_expiry_and_network() {
    let secret = mailbox();
    let (id, content, expiry) = (BoxId([1; 32]), ContentHash([2; 32]), Day(3));
    let word = HolderSignature::sign(&secret, &NETWORK, &id, &content, expiry);
    assert!(word.verify(&NETWORK, &id, &content, expiry));
    assert!(!word.verify(&NetworkId([9; 32]), &id, &content, expiry));
    assert!(!word.verify(&NETWORK, &BoxId([9; 32]), &content, expiry));
    assert!(!word.verify(&NETWORK, &id, &ContentHash([9; 32]), expiry));
    assert!(!word.verify(&NETWORK, &id, &content, Day(4)));
    let other = HolderSignature { holder: SigningSecret::from_seed(&[8; 32]).node_id(), ..word };
    assert!(!other.verify(&NETWORK, &id, &content, expiry));
    assert!(!HolderSignature::NONE.verify(&NETWORK, &id, &content, expiry), "no holder is no word");
}

#[test]
fn digests_come_back_also_when_empty_and_at_the_bound() {
    for count in [0, 1, 100, DIGEST_MAX_TAGS] {
        let signed = digest(tags(count)).sign(&mailbox());
        assert_eq!(signed.as_bytes().len(), DIGEST_FIXED + count * DIGEST_TAG);
        assert_eq!(SignedDigest::verify(signed.as_bytes()).unwrap(), signed);
    }
    assert_eq!(digest(tags(DIGEST_MAX_TAGS)).sign(&mailbox()).as_bytes().len(), DIGEST_MAX);
}

#[test]
fn a_digest_of_one_tag_too_many_is_refused() {
    let signed = digest(tags(DIGEST_MAX_TAGS + 1)).sign(&mailbox());
    assert_eq!(SignedDigest::verify(signed.as_bytes()), Err(DecodeError::TooLong("digest")));
    // A count above the bound in few bytes must not make room for it.
    let mut bytes = digest(vec![]).sign(&mailbox()).as_bytes().to_vec();
    bytes[110..114].copy_from_slice(&u32::MAX.to_be_bytes());
    assert_eq!(SignedDigest::verify(&bytes), Err(DecodeError::TooLong("digest tags")));
}

/// A digest's bytes with two tags changed, signed again: only its mailbox can make it.
fn with_tags(first: [u8; 6], second: [u8; 6]) -> Vec<u8> {
    let mut bytes = digest(tags(2)).sign(&mailbox()).as_bytes().to_vec();
    bytes.truncate(bytes.len() - SIGNATURE - 12);
    bytes.extend(first.iter().chain(&second));
    let signature = mailbox().sign(veilpost_packet::primitives::label::DIGEST_SIGNATURE, &bytes);
    bytes.extend(signature);
    bytes
}

#[test]
fn tags_that_are_not_strictly_ascending_are_refused() {
    assert!(SignedDigest::verify(&with_tags([1; 6], [2; 6])).is_ok());
    for (first, second) in [([2; 6], [1; 6]), ([1; 6], [1; 6])] {
        let refused = SignedDigest::verify(&with_tags(first, second));
        assert_eq!(refused, Err(DecodeError::Invalid("order of digest tags")));
    }
}

#[test]
fn signing_sorts_tags_and_names_each_once() {
    let signed = digest(vec![BoxTag([3; 6]), BoxTag([1; 6]), BoxTag([3; 6])]).sign(&mailbox());
    assert_eq!(signed.digest().tags, [BoxTag([1; 6]), BoxTag([3; 6])]);
}

#[test]
fn a_digest_that_another_signed_or_changed_is_refused() {
    let signed = digest(tags(3)).sign(&SigningSecret::from_seed(&[8; 32]));
    assert_eq!(SignedDigest::verify(signed.as_bytes()), Err(DecodeError::Invalid("digest signature")));
    let good = digest(tags(3)).sign(&mailbox());
    for at in 0..good.as_bytes().len() {
        let mut bytes = good.as_bytes().to_vec();
        bytes[at] ^= 1;
        assert!(SignedDigest::verify(&bytes).is_err(), "byte {at}");
    }
    assert_eq!(SignedDigest::verify(&[good.as_bytes(), &[0]].concat()), Err(DecodeError::Trailing));
    assert_eq!(SignedDigest::verify(&good.as_bytes()[1..]), Err(DecodeError::Truncated));
    assert_eq!(SignedDigest::verify(&[]), Err(DecodeError::Truncated));
}

#[test]
fn a_digests_hash_is_of_all_its_bytes() {
    let one = digest(tags(1)).sign(&mailbox());
    assert_eq!(one.hash(), SignedDigest::verify(one.as_bytes()).unwrap().hash());
    assert_ne!(one.hash(), digest(tags(2)).sign(&mailbox()).hash());
}

#[test]
fn a_tag_is_six_bytes_of_its_boxs_hash() {
    assert_eq!(BoxTag::of(&BoxId([1; 32])), BoxTag::of(&BoxId([1; 32])));
    assert_ne!(BoxTag::of(&BoxId([1; 32])), BoxTag::of(&BoxId([2; 32])));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn perturbed_commands_are_refused_or_read_as_they_stand(which in 0usize..4, flips in prop::collection::vec((0..PLAINTEXT, any::<u8>()), 1..4), cut in 0..=PLAINTEXT) {
        let mut bytes = commands()[which].encode(&A_SURB);
        flips.iter().for_each(|&(at, value)| bytes[at] = value);
        if let Ok((surb, command)) = Command::decode(&bytes) {
            prop_assert_eq!(command.encode(&surb), bytes.clone());
        }
        prop_assert!(Command::decode(&bytes[..cut]).is_err() || cut == PLAINTEXT);
    }

    #[test]
    fn perturbed_replies_are_refused_or_read_as_they_stand(which in 0usize..9, flips in prop::collection::vec((0..REPLY, any::<u8>()), 1..4), cut in 0..=REPLY) {
        let mut bytes = reply(answers()[which].clone()).encode();
        flips.iter().for_each(|&(at, value)| bytes[at] = value);
        if let Ok(reply) = Reply::decode(&bytes) {
            prop_assert_eq!(reply.encode(), bytes.clone());
        }
        prop_assert!(Reply::decode(&bytes[..cut]).is_err() || cut == REPLY);
    }

    #[test]
    fn any_digest_comes_back(mailbox_seed: [u8; 32], tick: u32, previous: [u8; 32], tags in prop::collection::vec(any::<[u8; 6]>(), 0..50)) {
        let secret = SigningSecret::from_seed(&mailbox_seed);
        let digest = Digest {
            mailbox: NodeId(*secret.node_id().as_bytes()),
            tick: Tick(tick),
            previous: DigestHash(previous),
            ..digest(tags.into_iter().map(BoxTag).collect())
        };
        let signed = digest.sign(&secret);
        prop_assert_eq!(SignedDigest::verify(signed.as_bytes()).unwrap(), signed);
    }

    #[test]
    fn random_bytes_are_no_digest(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        prop_assert!(SignedDigest::verify(&bytes).is_err());
    }
}
