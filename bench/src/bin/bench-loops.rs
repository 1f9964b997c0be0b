//! `bench-loops`: loops over a network of real processes against the delays that were drawn for them (E16 of the lab: Loopix'
//! figure 10). A loop keeps eight drawn delays, and the mailbox's T0 and one more of its own: once what the processes need is
//! subtracted, its times must be those of an Erlang distribution of nine delays.
//!
//! What the processes need is measured by loops without drawn delays: its mean in the same minute on the same network, how it is spread on
//! a second one, whose mailboxes wait for a millisecond where those of the first draw a delay of their own.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a program that measures and prints"
)]

use clap::Parser;
use std::{
    collections::HashMap,
    fs,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::time::{sleep_until, timeout};
use veilpost_bench::{Options, Report, Result, Row, median, percentile};
use veilpost_daemon::clock::Clock;
use veilpost_lab::statistics::{ks_one, mean};
use veilpost_link::{Endpoint, FrameReceiver, FrameSender, Limits, Link};
use veilpost_packet::{
    command::Command,
    exchange::{Exchange, Way},
    frame::{Flags, Frame, FrameKind, Hello, RecordJoiner},
    geometry::DOCUMENT_MAX,
    ids::{DocumentHash, NodeId, SessionAddress, SurbId},
    random::{EngineRng, bytes, exponential, seeded},
    sphinx::{Hop, Packet, SphinxSecret, Unwrapped, unwrap},
};
use veilpost_pki::{Document, NetworkFile, UnverifiedDocument, topology};
use veilpost_tests::testnet::{Shape, Testnet};

/// Measures loops on a network of real processes; the other programs must be built beside this one.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(flatten)]
    options: Options,
}

/// Between two loops on average: well below what the entry allows here, and far from loading two processors.
const GAP: Duration = Duration::from_millis(40);
/// The longest that the last loop may take.
const PATIENCE: Duration = Duration::from_secs(15);
/// Delays of a loop: four there, four back, and the mailbox's own.
const DELAYS: u64 = 9;

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let measured =
        runtime.map_err(Into::into).and_then(|runtime| runtime.block_on(measure(Arguments::parse().options)));
    match measured {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-loops: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Clients may send often here and their downlinks are fast, so that neither is what is measured.
fn shape(more: &[(&str, u64)]) -> Shape {
    let clocks = [("send_gap", 20), ("get_gap", 20), ("loop_gap", 20), ("downlink_gap", 5), ("catch_up_gap", 5)];
    let params = clocks.iter().chain(more).map(|(name, milliseconds)| ((*name).to_owned(), *milliseconds)).collect();
    // One epoch for all that is measured.
    Shape { fast: true, epoch: Some(Duration::from_secs(3_600)), params, ..Shape::default() }
}

async fn measure(options: Options) -> Result<()> {
    let report = Report::new("bench-loops", options);
    report.say("real processes on loopback: 6 mixes, 2 entries, 3 mailboxes; delays an eighth of the defaults");
    let folder = tempfile::tempdir()?;
    let count = if options.quick { 100 } else { 2_500 };
    let network = Testnet::up(&folder.path().join("net"), &shape(&[]))?;
    let found = loops(&network, count, &[true, false]).await;
    // The figures matter more than a node that does not stop.
    let _ = network.down();
    let prompt = Testnet::up(&folder.path().join("prompt"), &shape(&[("hop_delay", 1)]))?;
    let spread = loops(&prompt, count, &[false]).await;
    let _ = prompt.down();
    print(&report, &found?, &spread?)
}

/// Loops over one network.
struct Found {
    document: Document,
    /// Times of loops with drawn delays, in seconds.
    drawn: Vec<f64>,
    /// The same of loops without.
    bare: Vec<f64>,
}

/// So many loops of each kind, in turns: with drawn delays or without.
async fn loops(network: &Testnet, count: usize, kinds: &[bool]) -> Result<Found> {
    let file = NetworkFile::parse(&fs::read_to_string(network.network_file())?)?;
    let (mut client, document) = Client::connect(&file).await?;
    let (mut drawn, mut bare) = (Vec::new(), Vec::new());
    // In turns, so that what else the machine does falls on both alike.
    for _ in 0..10 {
        for delayed in kinds {
            let times = client.send(&document, count / 10, *delayed).await?;
            if *delayed { drawn.extend(times) } else { bare.extend(times) }
        }
    }
    Ok(Found { document, drawn, bare })
}

/// A session at an entry.
struct Client {
    sender: FrameSender,
    receiver: FrameReceiver,
    secret: Arc<SphinxSecret>,
    entry: NodeId,
    session: Hop,
    rng: EngineRng,
    _endpoint: Endpoint,
}

impl Client {
    /// Opens a session, and reads the document that the entry sends first.
    async fn connect(network: &NetworkFile) -> Result<(Self, Document)> {
        let mut rng = seeded([16; 32]);
        let entry = network.entries.first().ok_or("no entry")?;
        let address = SessionAddress(bytes(&mut rng));
        let secret = Arc::new(SphinxSecret::from_seed(bytes(&mut rng)));
        let endpoint = Endpoint::anonymous_dialer(Limits::default())?;
        let hello = Hello::client(address, DocumentHash::default()).to_frame();
        let Link { sender, mut receiver, .. } = endpoint.dial(entry.address, &entry.link_key, hello).await?;
        let (mut joiner, mut batch) = (RecordJoiner::new(DOCUMENT_MAX), Vec::new());
        let signed = loop {
            batch.clear();
            if timeout(PATIENCE, receiver.recv_batch(&mut batch, usize::MAX)).await?? == 0 {
                return Err("the entry sent no document".into());
            }
            let parts = batch.iter().filter(|frame| frame.kind() == FrameKind::Document);
            let joined: Vec<_> = parts.map(|frame| joiner.push(frame.body())).collect::<std::result::Result<_, _>>()?;
            if let Some(signed) = joined.into_iter().flatten().next() {
                break signed;
            }
        };
        let document =
            UnverifiedDocument::from_bytes(&signed)?.verify(&network.authority_set()?, Clock::start().now())?;
        let (entry, session) = (entry.id, Hop { address: address.0, key: secret.public() });
        Ok((Self { sender, receiver, secret, entry, session, rng, _endpoint: endpoint }, document))
    }

    /// A loop to a mailbox and back, with delays or without.
    fn exchange(&mut self, document: &Document, delayed: bool) -> Result<(SurbId, Frame)> {
        let (rng, entry) = (&mut self.rng, self.entry);
        let mailbox = veilpost_packet::random::pick(rng, &document.mailboxes).ok_or("no mailbox")?.id;
        let there = topology::forward_route(rng, document, &[], &entry, &mailbox).ok_or("no route")?;
        let back = topology::reply_route(rng, document, &[], &entry, self.session).ok_or("no route")?;
        let surb_id = SurbId::new(bytes(rng)).ok_or("a SURB's id of zeros")?;
        let mut way = |hops: &[Hop]| {
            let delays = topology::delays(rng, document).map(|delay| if delayed { delay } else { Duration::ZERO });
            Way { secret: bytes(rng), hops: hops.to_vec(), delays: delays.to_vec() }
        };
        let exchange = Exchange { there: way(&there), surb_id, back: way(&back) };
        let (packet, _) = exchange.build(&Command::Loop)?;
        Ok((surb_id, Frame::new(FrameKind::Packet, Flags::for_epoch(document.epoch), packet.as_bytes())?))
    }

    /// Sends loops at random moments; the times of those that came back, in seconds.
    async fn send(&mut self, document: &Document, count: usize, delayed: bool) -> Result<Vec<f64>> {
        let frames = (0..count).map(|_| self.exchange(document, delayed)).collect::<Result<Vec<_>>>()?;
        let sender = self.sender.clone();
        let mut rng = seeded(bytes(&mut self.rng));
        let sending = tokio::spawn(async move {
            let (mut due, mut sent) = (Instant::now(), HashMap::new());
            for (id, frame) in frames {
                due += exponential(&mut rng, GAP);
                sleep_until(due.into()).await;
                sent.insert(id, Instant::now());
                if sender.send(frame).await.is_err() {
                    break;
                }
            }
            sent
        });
        let (mut came, mut batch) = (HashMap::new(), Vec::new());
        while came.len() < count {
            batch.clear();
            match timeout(PATIENCE, self.receiver.recv_batch(&mut batch, usize::MAX)).await {
                Ok(received) if received? > 0 => {}
                _ => break,
            }
            let at = Instant::now();
            for frame in batch.iter().filter(|frame| frame.kind() == FrameKind::Packet) {
                if let Ok(Unwrapped::Deliver { surb: Some(id), .. }) =
                    unwrap(&self.secret, &Packet::from_bytes(frame.body())?)
                {
                    came.insert(id, at);
                }
            }
        }
        let sent = sending.await?;
        let time = |(id, at): (&SurbId, &Instant)| Some(at.saturating_duration_since(*sent.get(id)?).as_secs_f64());
        Ok(came.iter().filter_map(time).collect())
    }
}

/// Erlang: a sum of `shape` exponentials of this mean.
fn erlang(shape: u64, mean: f64, value: f64) -> f64 {
    let x = (value / mean).max(0.0);
    let mut term = 1.0;
    let sum: f64 = (0..shape)
        .map(|k| {
            if k > 0 {
                term *= x / k as f64;
            }
            term
        })
        .sum();
    1.0 - (-x).exp() * sum
}

fn print(report: &Report, Found { document, drawn, bare }: &Found, prompt: &Found) -> Result<()> {
    let (floor, hop) = (document.params.reply_floor.as_secs_f64(), document.params.hop_delay.as_secs_f64());
    let average = |times: &[f64]| mean(times).map(|mean| mean.value).ok_or("no loop came back");
    let processing = average(bare)? - floor - hop;
    let times: Vec<f64> = drawn.iter().map(|time| time - floor - processing).collect();
    let predicted = DELAYS as f64 * hop;
    let deviation = (average(&times)? - predicted).abs() / predicted * 100.0;
    let test = ks_one(&times, |value| erlang(DELAYS, hop, value)).ok_or("no loop came back")?;
    let prompt_floor = prompt.document.params.reply_floor.as_secs_f64();
    let spread: Vec<f64> = prompt.bare.iter().map(|time| (time - prompt_floor) * 1e3).collect();
    report.print(
        "loops of real processes",
        &[
            Row::new("loops that came back, with drawn delays", drawn.len() as f64, "loops"),
            Row::new("mean time, T0 and processing subtracted", average(&times)? * 1e3, "ms"),
            Row::new("predicted: nine delays", predicted * 1e3, "ms"),
            Row::new("deviation of the mean", deviation, "%").at_most(3.0),
            Row::new("Kolmogorov-Smirnov distance to Erlang(9)", test.statistic, "").note(format!("p = {:.3}", test.p)),
            Row::new("rejected at 1 % (0 no, 1 yes)", f64::from(u8::from(test.p < 0.01)), "").at_most(0.0),
            Row::new("processing of a loop, mean", processing * 1e3, "ms")
                .note("ten hops, two flushes of nothing, the downlink's clock of 5 ms"),
            Row::new("processing of a loop, median", median(&spread), "ms")
                .note("and the 1 ms of its mailbox, on the second network"),
            Row::new("processing of a loop, p99", percentile(&spread, 99.0), "ms").note("the same"),
        ],
    );
    Ok(())
}
