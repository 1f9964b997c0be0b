//! `bench-clocks`: what the clocks of a client cost and carry, in virtual time, with the engines that run in a network.
//!
//! - Traffic of an idle client in a day: the document's rates, and what a frame takes on a real link over loopback.
//! - The downlink: an entry's engine with the replies to all three clocks of its client, the digests of all mailboxes and a document an
//!   epoch. A reply is lost if the queue drops it, or if the client would: later than a minute after its request.
//! - The get clock with incoming files: a queue that is served by Poisson ticks, at the rates of the document.
//! - Ticks that find nothing ready: a client's engine whose packets are built as fast as this machine builds them, and ten times
//!   slower.
//! - An entry that drops packets: how long until a client leaves it, by the client's own decision (`client::core::watch`).
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a program that measures and prints"
)]

use clap::Parser;
use rand::Rng as _;
use std::{
    collections::{BTreeMap, VecDeque},
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};
use veilpost_bench::{Options, Report, Result, Row, median, percentile};
use veilpost_client::{
    balance::Balance,
    core::{
        Built, Core, REPLY_DEADLINE,
        watch::{HONEST, WINDOWS, Watch, binomial_tail, critical},
    },
    cost, signal,
    store::Store,
};
use veilpost_link::{Endpoint, Limits as LinkLimits, LinkSecret};
use veilpost_mixnode::{Limits, entry::Downlink};
use veilpost_packet::{
    frame::{Flags, Frame, FrameKind, Hello},
    geometry::{DIGEST_FIXED, DIGEST_TAG, PACKET},
    ids::{DocumentHash, LinkKey, NodeId, SurbId},
    primitives::SigningSecret,
    profile::Profile,
    random::{EngineRng, exponential, fork, seeded},
    sphinx::{Packet, SphinxSecret},
    time::{Epoch, Timestamp},
};
use veilpost_pki::{
    AuthoritySet, Params, Rates, Relay, View,
    document::{Memory, Placement},
    signed::sign_view,
};

/// Measures the clocks of a client.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(flatten)]
    options: Options,
}

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const DAY: Duration = Duration::from_secs(86_400);
const MAILBOXES: usize = 3;
/// Of a network of about thirty nodes.
const DOCUMENT_BYTES: usize = 20_000;
/// The exponential part of a digest's way from its mailbox.
const DIGEST_LATENCY: Duration = Duration::from_millis(50);

fn main() -> ExitCode {
    let Arguments { options } = Arguments::parse();
    match measure(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-clocks: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(options: Options) -> Result<()> {
    let report = Report::new("bench-clocks", options);
    traffic(&report, options.quick)?;
    downlinks(&report, if options.quick { 1 } else { 20 })?;
    files(&report, if options.quick { 1 } else { 50 });
    unready(&report, if options.quick { 1 } else { 6 })?;
    detection(&report, if options.quick { 5 } else { 10 });
    Ok(())
}

/// Bytes on the line for each frame that one end sends alone, and of its acknowledgements.
async fn frame_on_the_line(frames: u32) -> Result<(f64, f64)> {
    let hello = || Hello::node(DocumentHash::default()).to_frame();
    let secret = LinkSecret::from_seed([1; 32]);
    let acceptor = Endpoint::bind(([127, 0, 0, 1], 0).into(), &secret, LinkLimits::default())?;
    let dialer = Endpoint::anonymous_dialer(LinkLimits::default())?;
    let address = acceptor.local_addr()?;
    let accepting = async { acceptor.accept().await.map(|arrival| arrival.admit(hello())) };
    let key = secret.public();
    let (dialed, accepted) = tokio::join!(dialer.dial(address, &key, hello()), accepting);
    let (dialed, mut accepted) = (dialed?, accepted.ok_or("nobody arrives")?);
    // The first ones find out what a datagram may hold.
    let mut before = dialed.receiver.traffic();
    for number in 0..frames + 20 {
        if number == 20 {
            before = dialed.receiver.traffic();
        }
        dialed.sender.try_send(Frame::dummy())?;
        accepted.receiver.recv().await?;
        // Longer than acknowledgements are held back.
        tokio::time::sleep(Duration::from_millis(40)).await;
    }
    let after = dialed.receiver.traffic();
    let per_frame = |from: u64, to: u64| (to - from) as f64 / f64::from(frames);
    Ok((
        per_frame(before.sent_on_line(), after.sent_on_line()),
        per_frame(before.received_on_line(), after.received_on_line()),
    ))
}

fn traffic(report: &Report, quick: bool) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (frame, acks) = runtime.block_on(frame_on_the_line(if quick { 50 } else { 500 }))?;
    let mut rows = vec![
        Row::new("a frame on the line", frame, "B").note("QUIC, UDP and IPv4 headers included"),
        Row::new("its acknowledgements", acks, "B").note("the other way"),
    ];
    for profile in Profile::ALL {
        let cost = cost::of(&Params::standard(), profile);
        let name = profile.name();
        rows.push(Row::new(format!("{name}: sent"), cost.up as f64 / 1e6, "MB/day"));
        rows.push(Row::new(format!("{name}: received"), cost.down as f64 / 1e6, "MB/day"));
        rows.push(Row::new(format!("{name}: in all"), (cost.up + cost.down) as f64 / 1e6, "MB/day").at_most(1_000.0));
        rows.push(Row::new(format!("{name}: text, median"), cost.median.as_secs_f64(), "s").note("as reckoned"));
        rows.push(Row::new(format!("{name}: text, 95 %"), cost.p95.as_secs_f64(), "s").note("as reckoned"));
    }
    report.print("an idle client, online all day on one connection", &rows);
    Ok(())
}

/// What became of the replies of some days.
#[derive(Default)]
struct Replies {
    sent: u64,
    dropped: u64,
    late: u64,
    waits: Vec<f64>,
    frames: u64,
    used: u64,
}

/// One client's downlink for some days, after its connection is not young any more.
fn downlink(rates: &Rates, profile: Profile, clients: u32, days: u32, seed: u8) -> Result<Replies> {
    let params = Params::standard();
    let mut rng = seeded([seed; 32]);
    let mut engine = Downlink::new(NOW, &params, profile, fork(&mut rng));
    let start = NOW + params.catch_up;
    let end = start + DAY * days;
    // Each client's box in each Put slot is named once, by one of its holders.
    let tags = f64::from(clients) / params.rates(Profile::Standard).put_gap().as_secs_f64() * params.tick.as_secs_f64()
        / MAILBOXES as f64;
    let request = Duration::from_secs_f64(1.0 / rates.up());
    let mut next_request = start;
    let mut arriving: BTreeMap<(Timestamp, u64), u64> = BTreeMap::new();
    let mut sent_at: BTreeMap<u64, (Timestamp, Timestamp)> = BTreeMap::new();
    let mut digests: BTreeMap<(Timestamp, u64), usize> = BTreeMap::new();
    let (mut next_tick, mut next_document) = (start, start);
    let (mut number, mut replies) = (0u64, Replies::default());
    let mut waiting: VecDeque<u64> = VecDeque::new();
    while engine.next() < end {
        let now = engine.next();
        while next_request <= now {
            // Nine mixing delays, one of them the mailbox's, and T0.
            let hops: Duration = (0..9).map(|_| exponential(&mut rng, params.hop_delay)).sum();
            let at = next_request + hops + params.reply_floor;
            arriving.insert((at, number), number);
            sent_at.insert(number, (next_request, at));
            number += 1;
            next_request = next_request + exponential(&mut rng, request);
        }
        while next_tick <= now {
            for mailbox in 0..MAILBOXES as u64 {
                let spread = tags.sqrt();
                let count = (tags + spread * (rng.random_range(-1.7..1.7))).max(0.0) as usize;
                let at = next_tick + exponential(&mut rng, DIGEST_LATENCY);
                digests.insert((at, mailbox), DIGEST_FIXED + DIGEST_TAG * count);
            }
            next_tick = next_tick + params.tick;
        }
        while next_document <= now {
            engine.push_document(vec![7; DOCUMENT_BYTES].into(), Limits::default().stream);
            next_document = next_document + params.epoch;
        }
        while let Some((_, size)) =
            digests.first_entry().filter(|entry| entry.key().0 <= now).map(|entry| entry.remove_entry())
        {
            engine.push_digest(Arc::from(vec![9; size]), Limits::default().stream);
        }
        while let Some((_, id)) =
            arriving.first_entry().filter(|entry| entry.key().0 <= now).map(|entry| entry.remove_entry())
        {
            replies.sent += 1;
            let packet = Packet::from_bytes(&[1; PACKET]).map_err(|_| "a packet")?;
            if engine.push_reply(Flags::for_epoch(Epoch(1)), packet, Limits::default().replies).is_err() {
                replies.dropped += 1;
                waiting.pop_front();
            }
            waiting.push_back(id);
        }
        let frame = engine.tick(now, &params);
        replies.frames += 1;
        replies.used += u64::from(frame.kind() != FrameKind::Dummy);
        if frame.kind() == FrameKind::Packet
            && let Some(id) = waiting.pop_front()
            && let Some((sent, arrived)) = sent_at.remove(&id)
        {
            replies.waits.push(now.since(arrived).as_secs_f64());
            replies.late += u64::from(now.since(sent) > REPLY_DEADLINE);
        }
    }
    Ok(replies)
}

fn downlinks(report: &Report, days: u32) -> Result<()> {
    for profile in Profile::ALL {
        let rates = Params::standard().rates(profile);
        let mut rows = Vec::new();
        for clients in [160, 1_000] {
            let replies = downlink(&rates, profile, clients, days, 1)?;
            let share = |part: u64| 100.0 * part as f64 / replies.sent.max(1) as f64;
            let mut waits = replies.waits;
            waits.sort_by(f64::total_cmp);
            let mean = waits.iter().sum::<f64>() / waits.len().max(1) as f64;
            let name = |what: &str| format!("{clients} clients: {what}");
            rows.push(Row::new(name("replies lost"), share(replies.dropped + replies.late), "%").at_most(0.1));
            rows.push(Row::new(name("wait, mean"), mean, "s"));
            rows.push(Row::new(name("wait, median"), median(&waits), "s"));
            rows.push(Row::new(name("wait, 99 %"), percentile(&waits, 99.0), "s"));
            let load = 100.0 * replies.used as f64 / replies.frames.max(1) as f64;
            rows.push(Row::new(name("frames that are no dummies"), load, "%"));
        }
        report.print(&format!("the downlink of a {} client, {days} days", profile.name()), &rows);
    }
    Ok(())
}

/// A get clock's hour: own decoys, and files from senders who put as fast as they can.
struct Queue {
    /// Ticks that ask for a box, of a hundred.
    load: f64,
    /// Mean wait of a box in seconds.
    wait: f64,
    longest: f64,
    /// Decoys that gave way, of a hundred.
    gave_way: f64,
}

fn queue(get: Duration, decoys: Duration, senders: &[Duration], hours: u32, seed: u8) -> Queue {
    let mut rng = seeded([seed; 32]);
    let (mut waits, mut boxes, mut ticks, mut longest) = (0.0, 0u32, 0u32, 0);
    let (mut balance, mut own, mut gave_way) = (Balance::default(), 0u32, 0u32);
    let end = NOW + Duration::from_secs(3_600) * hours;
    let files = senders.iter().map(|gap| (false, *gap));
    let mut sources: Vec<(Timestamp, bool, Duration)> =
        files.chain([(true, decoys)]).map(|(decoy, gap)| (NOW + exponential(&mut rng, gap), decoy, gap)).collect();
    let (mut now, mut queue) = (NOW + exponential(&mut rng, get), VecDeque::new());
    while now < end {
        for (next, decoy, gap) in &mut sources {
            while *next <= now {
                own += u32::from(*decoy);
                if *decoy && balance.gives_way() {
                    gave_way += 1;
                } else {
                    queue.push_back(*next);
                }
                if !*decoy {
                    balance.handle_named();
                }
                *next = *next + exponential(&mut rng, *gap);
            }
        }
        longest = longest.max(queue.len());
        if let Some(come) = queue.pop_front() {
            waits += now.since(come).as_secs_f64();
            boxes += 1;
        }
        ticks += 1;
        now = now + exponential(&mut rng, get);
    }
    let share = |part: u32, of: u32| f64::from(part) / f64::from(of.max(1));
    Queue {
        load: 100.0 * share(boxes, ticks),
        wait: waits / f64::from(boxes.max(1)),
        longest: longest as f64,
        gave_way: 100.0 * share(gave_way, own),
    }
}

fn files(report: &Report, seeds: u8) {
    let params = Params::standard();
    for profile in Profile::ALL {
        let (own, standard) = (params.rates(profile), params.rates(Profile::Standard));
        let mut rows = Vec::new();
        let cases = [
            ("no file", vec![]),
            ("one file, sender of the same profile", vec![own.put_gap()]),
            ("two files, senders of the same profile", vec![own.put_gap(); 2]),
            ("one file, standard sender", vec![standard.put_gap()]),
        ];
        for (name, senders) in cases {
            let runs: Vec<Queue> =
                (0..seeds).map(|seed| queue(own.get_gap, own.put_gap(), &senders, 1, seed)).collect();
            let mean = |of: fn(&Queue) -> f64| runs.iter().map(of).sum::<f64>() / f64::from(seeds);
            rows.push(Row::new(format!("{name}: load"), mean(|run| run.load), "%"));
            rows.push(Row::new(format!("{name}: decoys that give way"), mean(|run| run.gave_way), "%"));
            rows.push(Row::new(format!("{name}: wait of a box, mean over an hour"), mean(|run| run.wait), "s"));
            rows.push(Row::new(format!("{name}: longest queue of the hour"), mean(|run| run.longest), "boxes"));
        }
        report.print(&format!("the get clock of a {} client", profile.name()), &rows);
    }
}

/// A network of one node for each place, whose keys nobody needs: packets leave and are not answered.
fn small_network() -> Result<(AuthoritySet, Vec<u8>)> {
    let authority = SigningSecret::from_seed(&[1; 32]);
    let set = AuthoritySet::new("bench-clocks", &[authority.authority_id()], 0)?;
    let relay = |number: u8| Relay {
        id: SigningSecret::from_seed(&[200 + number; 32]).node_id(),
        addresses: Vec::new(),
        onion: None,
        link_key: LinkKey([number; 32]),
        sphinx_key: SphinxSecret::from_seed([number; 32]).public(),
        next_sphinx_key: SphinxSecret::from_seed([number; 32]).public(),
        weight: 1,
        reliability: u8::MAX,
        family: String::new(),
    };
    let params = Params::standard();
    let mailboxes = vec![relay(4), relay(5), relay(6)];
    let mut placed: Vec<NodeId> = mailboxes.iter().map(|mailbox| mailbox.id).collect();
    placed.sort_unstable();
    let view = View {
        network: set.network(),
        epoch: Epoch(1),
        valid_after: NOW,
        valid_until: NOW + DAY,
        put_effort: params.put_effort,
        params,
        shared_random: [0; 32],
        layers: (0..3).map(|number| vec![relay(number)]).collect(),
        entries: vec![relay(3)],
        mailboxes,
        placements: vec![Placement { from: Epoch(1), mailboxes: placed }],
        memory: Memory::default(),
    };
    let bytes = sign_view(&view, &[authority]);
    Ok((set, bytes))
}

/// Ticks that found nothing ready in some hours, and all ticks, if building a packet takes so many times what it takes here.
fn ticks(hours: u32, slower: u32) -> Result<(u64, u64)> {
    let (set, document) = small_network()?;
    let (mut store, mut rng) = (Store::in_memory()?, seeded([5; 32]));
    let network = set.network();
    store.transaction(|tx| signal::create_account(tx, "bench", network, NOW, &mut rng))?;
    let mut core = Core::new(NOW, store, set, rng)?;
    core.handle_document(NOW, &document)?;
    let session = core.new_session();
    let entry = core.document().and_then(|document| document.entries.first()).map(|entry| entry.id);
    core.handle_connected(NOW, &session, entry.ok_or("an entry")?);
    let (mut now, end) = (NOW, NOW + Duration::from_secs(3_600) * hours);
    let mut building: VecDeque<(Timestamp, Built)> = VecDeque::new();
    while now < end {
        core.handle_timers(now);
        while building.front().is_some_and(|(ready, _)| *ready <= now) {
            building.pop_front().into_iter().for_each(|(_, built)| core.handle_built(built));
        }
        while let Some(job) = core.poll_job(now) {
            let begun = Instant::now();
            let built = job.run();
            // One thread builds, one packet after the other.
            let free = building.back().map_or(now, |(ready, _)| *ready);
            building.push_back((free + begun.elapsed() * slower, built));
        }
        while core.poll_departure(now).is_some() {}
        let built = building.front().map_or(Timestamp::FAR_FUTURE, |(ready, _)| *ready);
        now = core.next_wake(now).min(built).max(now + Duration::from_nanos(1));
    }
    let counters = core.counters();
    Ok((counters.unready_ticks, counters.sent + counters.unready_ticks))
}

fn unready(report: &Report, hours: u32) -> Result<()> {
    let mut rows = Vec::new();
    for (name, slower) in [("built as fast as here", 1), ("ten times slower", 10)] {
        let (unready, all) = ticks(hours, slower)?;
        let share = 100.0 * unready as f64 / all.max(1) as f64;
        rows.push(Row::new(name, share, "%").at_most(0.1).note(format!("{unready} of {all} ticks")));
    }
    report.print(&format!("ticks that find nothing ready, {hours} h of an idle client"), &rows);
    Ok(())
}

/// A network with two mixes a layer and three mailboxes.
fn way(rng: &mut EngineRng, entry: NodeId) -> Vec<NodeId> {
    let mut node = |kind: u8, of: u8| NodeId([kind * 10 + rng.random_range(0..of); 32]);
    let middle = [node(1, 2), node(2, 2), node(3, 2), node(4, 3), node(1, 2), node(2, 2), node(3, 2)];
    std::iter::once(entry).chain(middle).chain([entry]).collect()
}

/// How long until an entry that begins to drop this share is left, in seconds; none within four hours.
fn noticed(rates: &Rates, drops: f64, honest: f64, seed: u8) -> Option<f64> {
    let (mut rng, entry) = (seeded([seed; 32]), NodeId([100; 32]));
    let (mut watch, gap) = (Watch::new(entry), Duration::from_secs_f64(1.0 / rates.up()));
    let begins = NOW + Duration::from_secs(3_600);
    let (mut now, mut look, mut number) = (NOW, NOW, 0u128);
    let mut back: BTreeMap<(Timestamp, u128), SurbId> = BTreeMap::new();
    while now < begins + Duration::from_secs(4 * 3_600) {
        now = now + exponential(&mut rng, gap);
        while let Some(((at, _), id)) =
            back.first_entry().filter(|entry| entry.key().0 <= now).map(|entry| entry.remove_entry())
        {
            watch.handle_returned(at, &id);
        }
        if look <= now {
            look = now + Duration::from_secs(10);
            if watch.look(now, rates).is_some() {
                return Some(now.since(begins).as_secs_f64());
            }
        }
        number += 1;
        let Some(id) = SurbId::new(number.to_be_bytes()) else { continue };
        watch.handle_sent(now, id, &way(&mut rng, entry));
        let dropped = now >= begins && rng.random_bool(drops);
        if !dropped && !rng.random_bool(honest) {
            let trip: Duration = (0..9).map(|_| exponential(&mut rng, Duration::from_millis(500))).sum();
            back.insert((now + trip + Duration::from_millis(1_500), number), id);
        }
    }
    None
}

fn detection(report: &Report, seeds: u8) {
    let looks = 30.0 * 86_400.0 / 10.0;
    let alarms: f64 =
        WINDOWS.iter().map(|window| binomial_tail((*window).into(), critical((*window).into()), HONEST) * looks).sum();
    let rows =
        [Row::new("false alarms, at most", alarms, "a month").at_most(1.0).note("1 % honest loss at each of ten hops")];
    report.print("a client that watches its entry", &rows);
    for profile in Profile::ALL {
        let rates = Params::standard().rates(profile);
        let mut rows = Vec::new();
        for drops in [0.1, 0.2, 0.5, 1.0] {
            for (name, honest) in [("1 % honest loss a hop", HONEST), ("1 % honest loss a command", 0.01)] {
                let mut times: Vec<f64> = (0..seeds).filter_map(|seed| noticed(&rates, drops, honest, seed)).collect();
                times.sort_by(f64::total_cmp);
                let found = format!("{} of {seeds} within 4 h", times.len());
                let title = format!("drops {} %, {name}", drops * 100.0);
                if times.is_empty() {
                    rows.push(Row::new(title, f64::INFINITY, "min").note(found));
                } else {
                    let (half, worst) = (median(&times) / 60.0, times.last().copied().unwrap_or_default() / 60.0);
                    rows.push(Row::new(title, half, "min").note(format!("median; longest {worst:.1}; {found}")));
                }
            }
        }
        report.print(&format!("until a {} client leaves an entry that drops packets", profile.name()), &rows);
    }
}
