//! Test vectors in files: another implementation can check itself against them, and no release changes a format unnoticed.
//!
//! Every file of the folder names a format and its cases. A case holds bytes (hexadecimal, without the zeros at the end, and
//! their length) and what its decoder must say of them. `UPDATE_VECTORS=1 cargo test -p veilpost-packet --test vectors` writes
//! what the code does now; without it the files are the truth.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

mod common;

use common::{NETWORK, root, sealed, terms};
use data_encoding::HEXLOWER;
use serde_json::{Value, json};
use std::{collections::BTreeMap, path::PathBuf};
use veilpost_packet::{
    boxes::{BoxTag, ReadCap, SealedBox, WriteCap},
    codec::DecodeError,
    command::{Answer, Command, HolderSignature, Reply},
    digest::{Digest, DigestHash, SignedDigest},
    frame::{Flags, Frame, FrameKind, Hello, RecordJoiner, Want, Wanted},
    geometry::*,
    ids::{BoxId, District, DocumentHash, NodeId, SessionAddress},
    primitives::{Secret32, SigningSecret, expand, hash, label, seal},
    profile::Profile,
    puzzle::{Challenge, Effort, Puzzle, SessionAsk},
    set::{Period, SetHead, SignedSet},
    sphinx::Surb,
    time::{Day, Epoch, Tick},
};

type Decoder = fn(&[u8]) -> Result<Vec<u8>, DecodeError>;

/// Every decoder, giving back what its value encodes to.
const DECODERS: [(&str, Decoder); 10] = [
    ("command", |bytes| Command::decode(bytes).map(|(surb, command)| command.encode(&surb))),
    ("reply", |bytes| Reply::decode(bytes).map(|reply| reply.encode())),
    ("sealed_box", |bytes| SealedBox::from_bytes(bytes).map(|sealed| sealed.to_bytes())),
    ("digest", |bytes| SignedDigest::verify(bytes).map(|digest| digest.as_bytes().to_vec())),
    ("set", |bytes| SignedSet::verify(bytes).map(|set| set.as_bytes().to_vec())),
    ("frame", |bytes| Frame::from_bytes(bytes).map(|frame| frame.as_bytes().to_vec())),
    ("hello", |bytes| {
        Hello::decode(Frame::from_bytes(bytes)?.body()).map(|hello| hello.to_frame().as_bytes().to_vec())
    }),
    ("want", |bytes| Want::decode(Frame::from_bytes(bytes)?.body()).map(|want| want.to_frame().as_bytes().to_vec())),
    ("write_cap", |bytes| WriteCap::from_bytes(bytes).map(|cap| cap.to_bytes().to_vec())),
    ("read_cap", |bytes| ReadCap::from_bytes(bytes).map(|cap| cap.to_bytes().to_vec())),
];

fn outcome(result: &Result<Vec<u8>, DecodeError>) -> String {
    match result {
        Ok(_) => "ok".into(),
        Err(DecodeError::Truncated) => "truncated".into(),
        Err(DecodeError::Trailing) => "trailing".into(),
        Err(DecodeError::Invalid(field)) => format!("invalid: {field}"),
        Err(DecodeError::TooLong(field)) => format!("too long: {field}"),
        Err(other) => format!("{other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    HEXLOWER.encode(bytes)
}

fn case(decoder: Decoder, name: &str, bytes: &[u8]) -> Value {
    let end = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    json!({ "name": name, "length": bytes.len(), "bytes": hex(&bytes[..end]), "outcome": outcome(&decoder(bytes)) })
}

fn case_bytes(case: &Value) -> Vec<u8> {
    let mut bytes = HEXLOWER.decode(case["bytes"].as_str().unwrap().as_bytes()).unwrap();
    let length = case["length"].as_u64().unwrap() as usize;
    assert!(length >= bytes.len() && length < 1 << 20);
    bytes.resize(length, 0);
    bytes
}

fn changed(bytes: &[u8], at: usize, to: u8) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    assert_ne!(bytes[at], to);
    bytes[at] = to;
    bytes
}

/// Good values, and for each format the ways in which one can be bad.
fn samples(format: &str) -> Vec<(String, Vec<u8>)> {
    let surb = Surb::from_bytes(&[0xA5; SURB]).unwrap();
    let mailbox = SigningSecret::from_seed(&[7; 32]);
    let sealed = sealed(1, b"the content of a box");
    let id = BoxId([5; 32]);
    let digest = |tags: Vec<BoxTag>| {
        let (document, previous) = (DocumentHash([2; 8]), DigestHash([8; 32]));
        let mailbox_id = mailbox.node_id();
        Digest { network: NETWORK, document, mailbox: mailbox_id, district: District(0), tick: Tick(5), previous, tags }
            .sign(&mailbox)
    };
    let set = |period: Period, tags: Vec<BoxTag>| {
        let (network, document, mailbox_id) = (NETWORK, DocumentHash([2; 8]), mailbox.node_id());
        let head = SetHead { network, document, mailbox: mailbox_id, district: District(0), period, made: Tick(9) };
        head.sign(tags, &mailbox).remove(0).as_bytes().to_vec()
    };
    let good: Vec<(&str, Vec<u8>)> = match format {
        "command" => vec![
            ("put", Command::put(sealed).encode(&surb)),
            ("get", Command::Get { id, district: District(9) }.encode(&surb)),
            ("ack", Command::Ack { id, district: District(8), secret: Secret32::new([6; 32]) }.encode(&surb)),
            ("loop", Command::Loop.encode(&surb)),
        ],
        "reply" => {
            let content = sealed.content_hash(&NETWORK);
            let stored = HolderSignature::sign(&mailbox, &NETWORK, &sealed.id, &content, sealed.expiry);
            let answers = [
                ("stored", Answer::Stored([stored, HolderSignature::NONE])),
                ("pending", Answer::Pending),
                ("full", Answer::Full),
                ("conflict", Answer::Conflict),
                ("found", Answer::Found(Box::new(sealed))),
                ("absent", Answer::Absent),
                ("gone", Answer::Gone),
                ("looped", Answer::Looped),
                ("refused", Answer::Refused),
            ];
            let reply = |answer| Reply { document: DocumentHash([2; 8]), newest_digest: Tick(77), answer };
            answers.map(|(name, answer)| (name, reply(answer).encode())).to_vec()
        }
        "sealed_box" => vec![("box", sealed.to_bytes())],
        "digest" => vec![
            ("empty", digest(vec![]).as_bytes().to_vec()),
            ("two tags", digest(vec![BoxTag([1; 6]), BoxTag([2; 6])]).as_bytes().to_vec()),
        ],
        "set" => vec![
            ("empty day", set(Period::Day(20_000), vec![])),
            ("hour of one tag", set(Period::Hour(480_000), vec![BoxTag([1; 6])])),
            ("hour of three tags", set(Period::Hour(480_000), vec![BoxTag([1; 6]), BoxTag([2; 6]), BoxTag([9; 6])])),
        ],
        "frame" => {
            let packet = Frame::new(FrameKind::Packet, Flags::for_epoch(Epoch(29)), &[7; FRAME_BODY]).unwrap();
            vec![("dummy", Frame::dummy().as_bytes().to_vec()), ("packet of epoch 29", packet.as_bytes().to_vec())]
        }
        "hello" => vec![
            ("node", Hello::node(DocumentHash([2; 8])).to_frame().as_bytes().to_vec()),
            ("client", Hello::client(SessionAddress([3; 32]), DocumentHash([2; 8])).to_frame().as_bytes().to_vec()),
            (
                "metered client",
                Hello { profile: Profile::Metered, ..Hello::client(SessionAddress([3; 32]), DocumentHash([2; 8])) }
                    .to_frame()
                    .as_bytes()
                    .to_vec(),
            ),
        ],
        "want" => {
            let want =
                |what| Want { mailbox: NodeId([3; 32]), what, first: 1, count: 2 }.to_frame().as_bytes().to_vec();
            vec![("want", want(Wanted::Digests)), ("want of days", want(Wanted::Days))]
        }
        "write_cap" => vec![("stream", root(1).write_cap().to_bytes().to_vec())],
        "read_cap" => vec![("stream", root(1).read_cap().to_bytes().to_vec())],
        other => panic!("no samples of {other}"),
    };
    let mut all: Vec<_> = good.iter().map(|(name, bytes)| (name.to_string(), bytes.clone())).collect();
    for (name, bytes) in &good {
        all.push((format!("{name}, one byte short"), bytes[..bytes.len() - 1].to_vec()));
        all.push((format!("{name}, one byte more"), [bytes, &[1][..]].concat()));
    }
    let (name, first) = &good[0];
    let mut bad = |what: &str, bytes: Vec<u8>| all.push((format!("{name}, {what}"), bytes));
    bad("nothing", vec![]);
    match format {
        "command" => {
            bad("unknown kind", changed(first, SURB, 9));
            bad("unknown class", changed(first, SURB + 1 + 34, 7));
            bad("padding not zero", changed(first, PLAINTEXT - 1, 1));
        }
        "reply" => {
            bad("unknown status", changed(first, 12, 10));
            bad("padding not zero", changed(first, REPLY - 1, 1));
        }
        "sealed_box" => bad("unknown class", changed(first, 34, 2)),
        "digest" => {
            bad("count of a tag that is not there", changed(first, 113, 1));
            bad("count above the bound", changed(first, 110, 0xFF));
            bad("changed tick", changed(first, 77, 1));
            bad("changed signature", changed(first, first.len() - 40, 0));
            bad("mailbox that is no key", changed(first, 40 + 31, 0x55));
        }
        "set" => {
            bad("count of a tag that is not there", changed(first, 90, 1));
            bad("count above the bound", changed(first, 87, 0xFF));
            bad("unknown kind", changed(first, 74, 3));
            bad("no part", changed(first, 84, 0));
            bad("first tag of none", changed(first, 96, 1));
            bad("changed period", changed(first, 78, 1));
        }
        "frame" => {
            bad("unknown kind", changed(first, 0, 0xFF));
            bad("unknown flag", changed(first, 1, 16));
            bad("reserved bytes in use", changed(first, 3, 1));
        }
        "want" => {
            bad("unknown kind", changed(first, 4 + 40, 3));
            bad("padding not zero", changed(first, FRAME - 1, 1));
        }
        "hello" => bad("padding not zero", changed(first, FRAME - 1, 1)),
        _ => {}
    }
    all
}

fn decoder_file(format: &str, decoder: Decoder) -> Value {
    let cases: Vec<_> = samples(format).iter().map(|(name, bytes)| case(decoder, name, bytes)).collect();
    json!({ "format": format, "cases": cases })
}

fn boxes_file() -> Value {
    let mut writer = root(1).write_cap();
    let expected = root(1).read_cap().window(4).unwrap();
    let contents: [&[u8]; 4] = [b"", b"a", b"the same", b"the same"];
    let boxes = contents.iter().zip(&expected).map(|(content, expected)| {
        let sealed = writer.seal_next(&NETWORK, terms(20), content).unwrap();
        json!({
            "content": hex(content),
            "id": hex(sealed.id.as_bytes()),
            "digest_tag": hex(&BoxTag::of(&sealed.id).0),
            "ack_secret": hex(expected.ack_secret.expose()),
            "ack_hash": hex(&sealed.ack_hash),
            "content_hash": hex(&sealed.content_hash(&NETWORK).0),
            "signature": hex(&sealed.signature),
            "sealed_bytes_hash": hex(&hash("vector", &[&sealed.to_bytes()])),
        })
    });
    let boxes: Vec<_> = boxes.collect();
    json!({
        "format": "boxes", "network": hex(NETWORK.as_bytes()), "district": 0, "class": 0, "expiry": 20,
        "root": hex(root(1).0.expose()),
        "write_cap_behind": hex(&writer.to_bytes()),
        "read_cap_behind": hex(&writer.read_cap().to_bytes()),
        "boxes": boxes,
    })
}

fn labels_file() -> Value {
    let labels = [
        label::STREAM_KEY,
        label::STREAM_STATE,
        label::BOX_NEXT,
        label::BOX_BLIND,
        label::BOX_KEY,
        label::BOX_ACK,
        label::ACK_HASH,
        label::BOX_CONTENT,
        label::BOX_SIGNATURE,
        label::STORED_SIGNATURE,
        label::DIGEST_TAG,
        label::DIGEST_SIGNATURE,
        label::DIGEST_HASH,
        label::SET_SIGNATURE,
        label::DESCRIPTOR_SIGNATURE,
        label::STATEMENT,
        label::COUNTERSIGNATURE,
        label::HANDOVER_SIGNATURE,
        label::AUTHORITY_SET,
        label::VOTE,
        label::REVEAL,
        label::COMMITMENT,
        label::SHARED_RANDOM,
        label::LAYER,
        label::DOCUMENT_HASH,
        label::PLACEMENT,
        label::PUT_PUZZLE,
        label::SESSION_PUZZLE,
        label::PUZZLE_NONCE,
        label::PUZZLE_EFFORT,
        label::NETWORK_ID,
        label::INVITATION_OFFER,
        label::INVITATION_ANSWER,
        label::INVITATION_IDENTITY,
        label::INVITATION_CHECKSUM,
        label::BEACON,
        label::STREAM_REPLACEMENT,
    ];
    let rows = labels.map(|label| {
        let signature = SigningSecret::from_seed(&[3; 32]).sign(label, b"message");
        (
            label.to_owned(),
            json!({
                "hash": hex(&hash(label, &[b"one", b"two"])),
                "expand": hex(&expand(&[4; 32], label)),
                "signature": hex(&signature),
            }),
        )
    });
    let rows: BTreeMap<_, _> = rows.into_iter().collect();
    assert_eq!(rows.len(), labels.len(), "a label is used for one thing");
    json!({ "format": "primitives", "sealed": hex(&seal(&[5; 32], b"associated", b"plaintext")), "labels": rows })
}

fn puzzle_file() -> Value {
    let (holder, id, expiry) = (NodeId([3; 32]), BoxId([5; 32]), Day(20));
    let challenge = Challenge::of_put(&NETWORK, &[9; 32], &holder, &id, expiry);
    let cases = [1, 2, 4].map(|effort| {
        let solution = Puzzle { challenge, effort: Effort(effort) }.solve().unwrap();
        json!({ "effort": effort, "solution": hex(&solution) })
    });
    json!({
        "format": "puzzle", "network": hex(NETWORK.as_bytes()), "shared_random": hex(&[9; 32]),
        "holder": hex(holder.as_bytes()), "box": hex(id.as_bytes()), "expiry": expiry.0,
        "challenge": hex(&challenge.0), "solved": cases, "session": session_puzzle(),
    })
}

fn session_puzzle() -> Value {
    let (entry, address) = (NodeId([4; 32]), SessionAddress([6; 32]));
    let ask = SessionAsk { seed: [7; SessionAsk::SEED], effort: Effort(2) };
    let puzzle = ask.puzzle(&NETWORK, &entry, &address);
    json!({
        "entry": hex(entry.as_bytes()), "address": hex(&address.0), "asked": hex(&ask.to_room()),
        "challenge": hex(&puzzle.challenge.0), "solution": hex(&puzzle.solve().unwrap()),
    })
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/vectors")
}

/// What the code does now, by file name.
fn generated() -> BTreeMap<String, Value> {
    let mut files: BTreeMap<_, _> =
        DECODERS.iter().map(|(format, decoder)| (format!("{format}.json"), decoder_file(format, *decoder))).collect();
    files.insert("boxes.json".into(), boxes_file());
    files.insert("primitives.json".into(), labels_file());
    files.insert("puzzle.json".into(), puzzle_file());
    files
}

/// What the folder says.
fn kept() -> BTreeMap<String, Value> {
    let files = std::fs::read_dir(folder()).unwrap().map(|file| file.unwrap().path());
    let json = files.filter(|path| path.extension().is_some_and(|extension| extension == "json"));
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).unwrap();
        (path.file_name().unwrap().to_str().unwrap().to_owned(), serde_json::from_str(&text).unwrap())
    };
    json.map(read).collect()
}

#[test]
fn the_formats_are_those_of_the_files() {
    let generated = generated();
    if std::env::var_os("UPDATE_VECTORS").is_some() {
        for (name, value) in &generated {
            std::fs::write(folder().join(name), serde_json::to_string_pretty(value).unwrap() + "\n").unwrap();
        }
    }
    let kept = kept();
    assert_eq!(kept.keys().collect::<Vec<_>>(), generated.keys().collect::<Vec<_>>());
    for (name, value) in &generated {
        assert!(kept[name] == *value, "{name} is not what the code does; a change of format needs a new version");
    }
}

#[test]
fn every_case_of_every_file_has_its_outcome() {
    let mut seen = 0;
    for (file, value) in kept() {
        let Some(cases) = value["cases"].as_array() else { continue };
        let (_, decoder) = DECODERS.iter().find(|(format, _)| *format == value["format"]).expect(&file);
        for case in cases {
            let (name, bytes) = (&case["name"], case_bytes(case));
            let result = decoder(&bytes);
            assert_eq!(outcome(&result), case["outcome"].as_str().unwrap(), "{file}: {name}");
            if let Ok(again) = result {
                assert!(again == bytes, "{file}: {name} encodes to other bytes");
            }
            // No decoder panics on what was made for another.
            DECODERS.iter().for_each(|(_, decoder)| drop(decoder(&bytes)));
            seen += 1;
        }
        let refused = cases.iter().filter(|case| case["outcome"] != "ok").count();
        assert!(refused > 0 && refused < cases.len(), "{file} has good cases and bad ones");
    }
    assert!(seen > 50, "only {seen} cases");
}

#[test]
fn a_stream_of_records_never_panics_on_any_case() {
    for (_, value) in kept() {
        for case in value["cases"].as_array().into_iter().flatten() {
            let _ = RecordJoiner::new(1_000).push(&case_bytes(case));
        }
    }
}
