//! `bench-directory`: what the network document costs who reads it, and what a voting round costs who makes it.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a program that measures and prints"
)]

use clap::Parser;
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    hint::black_box,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};
use veilpost_bench::{Options, Report, Result, Row, council::Council, median, process::thread_time};
use veilpost_packet::{
    geometry::DOCUMENT_MAX,
    ids::LinkKey,
    primitives::{SigningSecret, hash, label},
    replay::{Tag, TagTable},
    sphinx::SphinxPublic,
    time::Epoch,
};
use veilpost_pki::{
    AuthoritySet, Descriptor, Params, Role, Schedule, UnverifiedDocument, View,
    descriptor::SPHINX_KEYS_MAX,
    signed::sign_view,
    tally::Agreed,
    vote::{VOTE_MAX, Vote, commitment},
};

/// Measures documents and voting.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(flatten)]
    options: Options,
}

/// How much is measured.
struct Size {
    /// Nodes of the documents.
    documents: &'static [usize],
    /// Nodes of the voting round.
    voting: usize,
    repeats: usize,
    tags: &'static [usize],
}

const WHOLE: Size =
    Size { documents: &[100, 1_000, 10_000], voting: 1_000, repeats: 21, tags: &[1_000_000, 10_000_000] };
const QUICK: Size = Size { documents: &[30, 60], voting: 20, repeats: 2, tags: &[50_000] };

const AUTHORITIES: usize = 5;
const FAULTY: usize = 1;
/// The default: an epoch of an hour, phases of 225 s.
const SCHEDULE: Schedule = Schedule { genesis: 1_800_000_000, epoch_ms: 3_600_000, phase_ms: 225_000 };
const NAME: &str = "bench";

fn main() -> ExitCode {
    let Arguments { options } = Arguments::parse();
    match measure(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-directory: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(options: Options) -> Result<()> {
    let size = if options.quick { QUICK } else { WHOLE };
    let report = Report::new("bench-directory", options);
    report.say(
        "processor time of one thread, medians; 8 nodes of 10 are mixes; each has 13 keys, 2 addresses and a family",
    );
    let authorities: Vec<_> = (0..AUTHORITIES).map(|n| secret(0, n)).collect();
    let keys: Vec<_> = authorities.iter().map(SigningSecret::authority_id).collect();
    let set = AuthoritySet::new(NAME, &keys, FAULTY)?;
    for count in size.documents {
        document(&report, &authorities, &set, *count, size.repeats)?;
    }
    voting(&report, authorities, &set, size.voting)?;
    let tags = size.tags.iter().map(|count| {
        let name = format!("{count} packets");
        Ok(Row::new(name, tags_mb(*count)?, "MB").note("11 to 22 bytes a tag, as the table doubles"))
    });
    report.print("Replay memory of one epoch", &tags.collect::<Result<Vec<_>>>()?);
    Ok(())
}

/// A key that everyone may know.
fn secret(kind: u8, n: usize) -> SigningSecret {
    SigningSecret::from_seed(&hash(label::REVEAL, &[&[kind], &n.to_be_bytes()]))
}

fn role(n: usize) -> Role {
    match n % 10 {
        8 => Role::Entry,
        9 => Role::Mailbox,
        _ => Role::Mix,
    }
}

/// A node as it is in a real network: its own address ranges, a family of one.
fn descriptor(n: usize, epoch: Epoch) -> (Descriptor, Vec<u8>) {
    let secret = secret(1, n);
    let [.., high, low] = n.to_be_bytes();
    let key = |later: usize| SphinxPublic(hash(label::REVEAL, &[secret.node_id().as_bytes(), &later.to_be_bytes()]));
    let descriptor = Descriptor {
        id: secret.node_id(),
        epoch,
        role: role(n),
        addresses: vec![
            SocketAddr::from((Ipv4Addr::new(198, high, low, 17), 4_433)),
            SocketAddr::from((Ipv6Addr::new(0x2001, 0xdb8, n as u16, 0, 0, 0, 0, 0x17), 4_433)),
        ],
        onion: None,
        link_key: LinkKey(secret.node_id().0),
        sphinx_keys: (0..SPHINX_KEYS_MAX).map(key).collect(),
        software: "veilpost 0.1.0".into(),
        family: format!("operator {n}"),
        capacity: 2_000,
        fill: 0,
        measured: Vec::new(),
    };
    let bytes = descriptor.sign(&secret);
    (descriptor, bytes)
}

/// What a repeated step takes in milliseconds of processor time: the median.
fn median_ms<T>(repeats: usize, mut step: impl FnMut() -> Result<T>) -> Result<f64> {
    let mut times = Vec::with_capacity(repeats);
    for _ in 0..repeats {
        let started = thread_time();
        black_box(step()?);
        times.push((thread_time() - started).as_secs_f64() * 1e3);
    }
    Ok(median(&times))
}

/// One document: what a vote for it and itself weigh, and what they cost.
fn document(
    report: &Report,
    authorities: &[SigningSecret],
    set: &AuthoritySet,
    count: usize,
    repeats: usize,
) -> Result<()> {
    let epoch = Epoch(1);
    let mut nodes: Vec<_> = (0..count).map(|n| descriptor(n, epoch)).collect();
    nodes.sort_by_key(|(node, _)| node.id);
    let mut placement = Vec::new();
    let mut descriptors: Vec<(_, Arc<[u8]>)> = Vec::new();
    for (node, bytes) in nodes {
        placement.extend((node.role == Role::Mailbox).then_some(node.id));
        descriptors.push((node.id, bytes.into()));
    }
    let value = |n: usize| [n as u8; 32];
    let vote = |(n, secret): (usize, &SigningSecret)| {
        let author = secret.authority_id();
        let vote = Vote {
            base: None,
            params: Params::standard(),
            placement: placement.clone(),
            descriptors: descriptors.clone(),
            commitment: commitment(set.network(), epoch, &author, &value(n)),
            proofs: Vec::new(),
        };
        (author, Arc::new(vote))
    };
    let votes: BTreeMap<_, _> = authorities.iter().enumerate().map(vote).collect();
    let reveals = authorities.iter().enumerate().map(|(n, secret)| (secret.authority_id(), value(n))).collect();
    let agreed = Agreed {
        network: set.network(),
        epoch,
        schedule: &SCHEDULE,
        committee: set.newest(),
        votes: &votes,
        reveals: &reveals,
        equivocators: &BTreeSet::new(),
    };
    let repeats_of_tally = (repeats / 7).max(1);
    let tally = median_ms(repeats_of_tally, || Ok(agreed.view(None)?.encode()))?;
    let view: View = agreed.view(None)?;
    let vote = votes.values().next().ok_or("no votes")?.encode();
    let decode_vote = median_ms(repeats_of_tally, || Ok(Vote::decode(&vote)?))?;
    let bytes = sign_view(&view, authorities);
    let decode = median_ms(repeats, || Ok(UnverifiedDocument::from_bytes(&bytes)?))?;
    let read = || Ok(UnverifiedDocument::from_bytes(&bytes)?.verify_timelessly(set)?);
    let whole = median_ms(repeats, read)?;
    let listed = read()?.relays().count();
    if listed != count {
        return Err(format!("{listed} of {count} nodes are in the document").into());
    }
    let in_time = Row::new("decode and verify", whole, "ms");
    // The bound is for phones: a document of 1,000 nodes must not be felt.
    let in_time = if count <= 1_000 { in_time.at_most(50.0) } else { in_time };
    let a_day = bytes.len() as f64 * 86_400_000.0 / SCHEDULE.epoch_ms as f64 / 1e6;
    report.print(
        &format!("{count} nodes, {AUTHORITIES} authorities"),
        &[
            Row::new("document", bytes.len() as f64, "bytes")
                .at_most(DOCUMENT_MAX as f64)
                .note(format!("not compressed; {:.0} a node", bytes.len() as f64 / count as f64)),
            Row::new("of it for a client in a day", a_day, "MB").note("a document every hour"),
            in_time.note(format!("decode alone {decode:.2} ms; the rest is signatures and the index")),
            Row::new("vote", vote.len() as f64, "bytes").at_most(VOTE_MAX as f64),
            Row::new("decode a vote", decode_vote, "ms"),
            Row::new("tally of all votes", tally, "ms").note("opens each descriptor: one signature a node"),
        ],
    );
    Ok(())
}

/// Two rounds, of which the second is reported: it builds on a document.
fn voting(report: &Report, authorities: Vec<SigningSecret>, set: &AuthoritySet, count: usize) -> Result<()> {
    let admitted = (0..count).map(|n| (secret(1, n).node_id(), role(n))).collect();
    let mut council = Council::new(authorities, set, SCHEDULE, admitted);
    let mut descriptors = Duration::ZERO;
    for epoch in [Epoch(1), Epoch(2)] {
        let all: Vec<_> = (0..count).map(|n| descriptor(n, epoch).1).collect();
        descriptors = council.publish(epoch, &all)?;
        council.round(epoch)?;
    }
    let each = AUTHORITIES as f64;
    let mut rows = vec![
        Row::new("taking all descriptors", descriptors.as_secs_f64() * 1e3 / each, "ms")
            .note(format!("{:.0} us each", descriptors.as_secs_f64() * 1e6 / each / count as f64)),
    ];
    let busiest = council.time.iter().max_by_key(|(_, times)| times.iter().max().copied());
    let (phase, times) = busiest.ok_or("no phase")?;
    let ms = |time: Option<&Duration>| time.map_or(f64::NAN, |time| time.as_secs_f64() * 1e3);
    rows.push(
        Row::new("busiest phase, the busiest authority", ms(times.iter().max()), "ms")
            .at_most(SCHEDULE.phase_ms as f64)
            .note(format!("{phase}; encoding and decoding included")),
    );
    for (phase, times) in &council.time {
        let mean = times.iter().sum::<Duration>().as_secs_f64() * 1e3 / each;
        rows.push(Row::new(format!("  {phase}"), mean, "ms").note("mean of the authorities"));
    }
    report.print(&format!("A voting round: processor time of an authority, {count} nodes"), &rows);
    let total = council.sent.values().fold((0, 0), |sum, (count, bytes)| (sum.0 + count, sum.1 + bytes));
    let row = |name: &str, (count, bytes): (usize, usize)| {
        Row::new(name, bytes as f64 / each / 1e3, "kB").note(format!("{:.1} messages", count as f64 / each))
    };
    let kinds: VecDeque<_> = council.sent.iter().map(|(kind, sent)| row(&format!("  {kind}"), *sent)).collect();
    let mut rows = vec![row("all", total)];
    rows.extend(kinds);
    report.print(&format!("A voting round: what an authority sends, {count} nodes"), &rows);
    Ok(())
}

/// Megabytes of a replay table that holds this many tags.
fn tags_mb(count: usize) -> Result<f64> {
    let mut table = TagTable::new(count);
    for tag in 1..=count as u64 {
        // As spread as a keyed hash.
        let tag = Tag::from_bytes(tag.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes());
        table.check_and_insert(tag)?;
    }
    Ok(table.memory() as f64 / 1e6)
}
