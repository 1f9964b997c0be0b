//! `bench-mix`: what a whole mix spends on a packet, against the bare unwrap of `sphinx-packet` in the same run.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a program that measures and prints"
)]

use clap::Parser;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::Duration,
};
use veilpost_bench::{
    Options, Report, Result, Row,
    bed::{Bed, Ends, Timed},
    median, percentile, process, unwrap,
};
use veilpost_daemon::{
    clock::Clock,
    config,
    identity::NodeKeys,
    taglog::{LogKey, TagLog},
};
use veilpost_link::{Endpoint, Limits, Outbound};
use veilpost_mixnode::{Engine, EngineConfig, Origin, node::Config};
use veilpost_packet::{
    frame::{Frame, FrameKind, Hello},
    random::{fork, seeded},
    sphinx::{Packet, SphinxSecret, Unwrapped},
};
use veilpost_pki::document::Place;
use veilpost_tests::testnet::program;

/// Measures a mix.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(flatten)]
    options: Options,
    /// Play the mix without unwrapping, delaying or remembering: the cost of the links alone (used by the program itself)
    #[arg(long, hide = true)]
    pass_through: Option<PathBuf>,
}

/// How much is measured.
struct Size {
    rounds: usize,
    packets: usize,
    paced: usize,
    bare: usize,
}

const WHOLE: Size = Size { rounds: 5, packets: 10_000, paced: 12_000, bare: 2_000 };
const QUICK: Size = Size { rounds: 2, packets: 1_000, paced: 800, bare: 300 };
/// Packets on the way at saturation: less than any queue of the mix holds, so that none is dropped.
const WINDOW: usize = 384;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = tokio::runtime::Runtime::new().map_err(Into::into).and_then(|runtime| {
        runtime.block_on(async {
            match arguments.pass_through {
                Some(config) => pass_through(&config).await,
                None => measure(arguments.options).await,
            }
        })
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-mix: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Packets for every part, built on all cores before anything is timed.
fn build(bed: &Bed, count: usize, delayed: bool) -> Result<Vec<(Packet, Duration)>> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut rng = seeded(*veilpost_daemon::keys::fresh()?.expose());
    let rngs: Vec<_> = (0..cores).map(|_| fork(&mut rng)).collect();
    std::thread::scope(|scope| {
        let part = |mut rng| {
            scope.spawn(move || -> Result<Vec<_>> {
                let one = |_| {
                    let delay = if delayed { bed.draw(&mut rng) } else { Duration::ZERO };
                    Ok((bed.packet(&mut rng, delay)?, delay))
                };
                (0..count.div_ceil(cores)).map(one).collect()
            })
        };
        let parts: Vec<_> = rngs.into_iter().map(part).collect();
        let mut all = Vec::with_capacity(count + cores);
        for part in parts {
            all.extend(part.join().map_err(|_| "a thread ended by a fault of its own")??);
        }
        all.truncate(count);
        Ok(all)
    })
}

fn frames(bed: &Bed, packets: &[(Packet, Duration)]) -> Result<Vec<Frame>> {
    packets.iter().map(|(packet, _)| bed.frame(packet)).collect()
}

/// What a saturated process spent on a packet, by round.
#[derive(Default)]
struct Spent {
    cpu_us: Vec<f64>,
    rate: Vec<f64>,
    threads: BTreeMap<String, Vec<f64>>,
    lost: usize,
}

impl Spent {
    async fn round(&mut self, pid: u32, ends: &mut Ends, frames: Vec<Frame>) -> Result<()> {
        let sent = frames.len();
        let (before, threads) = (process::cpu_time(pid)?, process::cpu_by_thread(pid)?);
        let round = ends.saturate(frames, WINDOW).await?;
        let (after, threads_after) = (process::cpu_time(pid)?, process::cpu_by_thread(pid)?);
        let count = round.arrived as f64;
        self.lost += sent - round.arrived;
        self.cpu_us.push((after - before).as_secs_f64() * 1e6 / count);
        self.rate.push(count / round.took.as_secs_f64());
        for (name, time) in threads_after {
            let time = time.saturating_sub(threads.get(&name).copied().unwrap_or_default());
            self.threads.entry(name).or_default().push(time.as_secs_f64() * 1e6 / count);
        }
        Ok(())
    }

    /// Microseconds of all threads whose name begins so.
    fn threads_us(&self, prefix: &str) -> f64 {
        self.threads.iter().filter(|(name, _)| name.starts_with(prefix)).map(|(_, times)| median(times)).sum()
    }
}

async fn measure(options: Options) -> Result<()> {
    let report = Report::new("bench-mix", options);
    // Asked for before the long part: a build that replaces the file meanwhile would hide it.
    let own = std::env::current_exe()?;
    let size = if options.quick { QUICK } else { WHOLE };
    let bed = Bed::new()?;
    report.say(&format!(
        "one mix process of layer 2 on loopback; generator and sink are this program, on the same {} cores; {} rounds of \
         {} packets, medians; all in processor time",
        std::thread::available_parallelism().map_or(1, usize::from),
        size.rounds,
        size.packets
    ));
    let zero = build(&bed, size.packets * (size.rounds + 1), false)?;
    let frames_of_round = |round: usize| {
        let part = zero.get(round * size.packets..(round + 1) * size.packets);
        frames(&bed, part.unwrap_or_default())
    };
    let delayed = build(&bed, size.paced, true)?;
    let single: Vec<_> = delayed.iter().take(size.bare).map(|(packet, _)| packet.clone()).collect();
    let secret = bed.secret()?;

    // The whole mix, the yardstick before each of its rounds.
    let (mut bare, mut beside) = (Vec::new(), Vec::new());
    let mut command = Command::new(program("veilpost-mixnode")?);
    command.arg("run").arg("--config").arg(bed.config());
    let (running, mut ends) = bed.start(&mut command).await?;
    let mut whole = Spent::default();
    ends.saturate(frames_of_round(size.rounds)?, WINDOW).await?;
    let forwarded = process::metric(bed.metrics, "veilpost_mixnode_forwarded_total")?;
    for round in 0..size.rounds {
        bare.push(unwrap::bare_us(&secret, &single)?);
        beside.push(unwrap::bare_beside_another_us(&secret, &single)?);
        whole.round(running.pid(), &mut ends, frames_of_round(round)?).await?;
    }
    let forwarded = process::metric(bed.metrics, "veilpost_mixnode_forwarded_total")? - forwarded;
    let (ours, unwrapped) =
        unwrap::ours_us(&secret, &delayed.iter().map(|(packet, _)| packet.clone()).collect::<Vec<_>>())?;
    let half = median(&whole.rate) / 2.0;
    let timed = timed(&bed, &delayed, &unwrapped)?;
    let paced = ends.pace(timed.clone(), half, seeded([1; 32])).await?;
    let dropped = process::metric(bed.metrics, "veilpost_mixnode_dropped_total")?;
    drop((running, ends));

    // The links alone, by the same frames.
    let mut command = Command::new(own);
    command.arg("--pass-through").arg(bed.config());
    let (running, mut ends) = bed.start(&mut command).await?;
    let mut links = Spent::default();
    ends.saturate(frames_of_round(size.rounds)?, WINDOW).await?;
    for round in 0..size.rounds {
        links.round(running.pid(), &mut ends, frames_of_round(round)?).await?;
    }
    // The same pace, heads unchanged, no delay.
    let plain = timed.into_iter().filter_map(|packet| {
        let head = *packet.frame.body().first_chunk()?;
        Some(Timed { head, delay: Duration::ZERO, ..packet })
    });
    let straight = ends.pace(plain.collect(), half, seeded([1; 32])).await?;
    drop((running, ends));
    let (engine, log) = engine_us(&bed, unwrapped)?;

    let (bare, beside) = (median(&bare), median(&beside));
    let total = median(&whole.cpu_us);
    let spread = format!("rounds {:.0} to {:.0}", percentile(&whole.cpu_us, 0.0), percentile(&whole.cpu_us, 100.0));
    report.print(
        "CPU of the whole process per forwarded packet, saturated",
        &[
            Row::new("bare sphinx-packet unwrap, one core", bare, "us"),
            Row::new("whole process", total, "us").note(spread),
            Row::new("ratio", total / bare, "x").at_most(1.5).note("whole process / bare unwrap on one core"),
            Row::new("packets forwarded", median(&whole.rate), "/s").note(format!(
                "beside the generator; {forwarded:.0} forwarded, {} lost, {dropped:.0} dropped",
                whole.lost
            )),
        ],
    );
    let (link, extra) = (median(&links.cpu_us), ours - bare);
    report.print(
        "Where it goes",
        &[
            Row::new("bare unwrap", bare, "us"),
            Row::new("our checks around it", extra, "us").note("decode, tag, version, low-order point"),
            Row::new("links alone: receive, cut, queue, send", link, "us")
                .note(format!("a process that passes the same frames on, {:.0} /s", median(&links.rate))),
            Row::new("engine: admission, replay, delay queue, frame", engine, "us")
                .note("in this process, batches of 8"),
            Row::new("tag log: one write(2) a batch", log, "us").note("batches of 8"),
            Row::new("rest", total - bare - extra - link - engine - log, "us")
                .note("not separated: hand-over between threads, links in smaller batches than alone, metrics"),
            Row::new("unwrap while the other core unwraps too", beside, "us").note("for comparison with the first row"),
            Row::new("by thread: workers", whole.threads_us("unwrap"), "us"),
            Row::new("by thread: links, engine, log", whole.threads_us("tokio"), "us"),
            Row::new("by thread: log's syncer", whole.threads_us("tag-sync"), "us"),
        ],
    );
    let ms = |added: &[Duration]| added.iter().map(|time| time.as_secs_f64() * 1e3).collect::<Vec<_>>();
    let (added, plain) = (ms(&paced.added), ms(&straight.added));
    report.print(
        "Added latency beyond the drawn delay, half load",
        &[
            Row::new("load", half, "/s").note(format!("{} of {} packets timed", paced.added.len(), size.paced)),
            Row::new("median", median(&added), "ms"),
            Row::new("p99", percentile(&added, 99.0), "ms").at_most(5.0),
            Row::new("links alone, median", median(&plain), "ms").note("the generator's own lag included in both"),
            Row::new("links alone, p99", percentile(&plain, 99.0), "ms"),
        ],
    );
    Ok(())
}

/// What is sent with what will come out of it.
fn timed(bed: &Bed, packets: &[(Packet, Duration)], unwrapped: &[Unwrapped]) -> Result<Vec<Timed>> {
    let one = |((packet, delay), unwrapped): (&(Packet, Duration), &Unwrapped)| {
        let Unwrapped::Forward { packet: next, .. } = unwrapped else { return Err("a packet ends at the mix".into()) };
        let head = *next.as_bytes().first_chunk().ok_or("a packet is too short")?;
        Ok(Timed { head, delay: *delay, frame: bed.frame(packet)? })
    };
    packets.iter().zip(unwrapped).map(one).collect()
}

/// Microseconds a packet of the engine and of the tag log, as the mix's core calls them.
fn engine_us(bed: &Bed, unwrapped: Vec<Unwrapped>) -> Result<(f64, f64)> {
    let (config, descriptor) = bed.subject()?;
    let path = bed.folder().join("bench.tags");
    let bound_to =
        LogKey { epoch: bed.document.epoch, sphinx: SphinxSecret::from_seed(*bed.secret()?.expose()).public() };
    TagLog::create(&path, bound_to)?;
    let mut loaded = TagLog::open(&path, bound_to, config.capacity as usize)?;
    let engine = EngineConfig {
        id: descriptor.id,
        document: bed.document.clone(),
        limits: veilpost_mixnode::Limits { delayed: 65_536, ..veilpost_mixnode::Limits::default() },
    };
    let mut engine = Engine::new(engine, loaded.key, loaded.table, seeded([2; 32])).ok_or("not a mix")?;
    let from = bed.document.relays().find(|(place, _)| *place == Place::Mix(1)).ok_or("no mix in layer 1")?;
    let origin = Origin::Node { id: from.1.id, place: from.0 };
    let (mut times, mut logs) = (Vec::new(), Vec::new());
    let clock = Clock::start();
    let mut all = unwrapped.into_iter();
    loop {
        let batch: Vec<_> = all.by_ref().take(8).collect();
        if batch.is_empty() {
            break;
        }
        let count = batch.len() as f64;
        let started = process::thread_time();
        let now = clock.now();
        for unwrapped in batch {
            engine
                .handle_unwrapped(now, bed.document.epoch, origin, unwrapped)
                .map_err(|reason| format!("dropped: {}", reason.name()))?;
        }
        let tags = engine.take_new_tags();
        let logging = process::thread_time();
        for (_, tags) in &tags {
            loaded.log.append(tags)?;
        }
        let logged = process::thread_time() - logging;
        // Far enough ahead that everything is due: the queue is as short here as it is with packets without delay.
        let mut sent = Vec::with_capacity(8);
        while let Some(forward) = engine.poll_forward(now + bed.document.params.max_delay()) {
            sent.push(Frame::new(FrameKind::Packet, forward.flags, forward.packet.as_bytes())?);
        }
        times.push((process::thread_time() - started - logged).as_secs_f64() * 1e6 / count);
        logs.push(logged.as_secs_f64() * 1e6 / count);
    }
    Ok((median(&times), median(&logs)))
}

/// A relay of frames: what the links of a mix cost without the mix.
async fn pass_through(path: &Path) -> Result<()> {
    let config: Config = config::load(path)?;
    let config = config.node.resolve(path)?;
    let network = veilpost_daemon::network::load_network(&config.network)?;
    let document = veilpost_daemon::network::load_document(
        config.document.as_deref().ok_or("no document")?,
        &network,
        Clock::start().now(),
    )?;
    let endpoint = Endpoint::bind(config.listen, &NodeKeys::load(&config.data_dir)?.link, Limits::default())?;
    let (_, next) = document.relays().find(|(place, _)| *place == Place::Mix(3)).ok_or("no mix in layer 3")?;
    let address = *next.addresses.first().ok_or("the sink has no address")?;
    let hello = Hello::node(document.hash()).to_frame();
    let for_next = hello.clone();
    let (outbound, _events) =
        Outbound::start(endpoint.clone(), address, next.link_key, 2 * WINDOW, move |_| for_next.clone());
    println!("ready");
    let Some(arrival) = endpoint.accept().await else { return Ok(()) };
    let mut link = arrival.admit(hello);
    let mut batch = Vec::new();
    while link.receiver.recv_batch(&mut batch, usize::MAX).await? > 0 {
        for frame in batch.drain(..) {
            // More than the window is never on the way.
            outbound.try_send(frame)?;
        }
    }
    Ok(())
}
