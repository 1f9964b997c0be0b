//! `bench-mailbox`: durable Puts and Gets a second of the mailbox's engine and store, against bare redb with the same flush
//! policy, the same cache and values of the same size, in the same run.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a program that measures and prints"
)]

use clap::Parser;
use redb::ReadableDatabase as _;
use std::{
    hint::black_box,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};
use veilpost_bench::{Options, Report, Result, Row, median, percentile, process};
use veilpost_daemon::{clock::Clock, keys};
use veilpost_mailbox::{
    engine::{Arrived, Back, Limits, Mailbox, Request, Terms},
    stores::{self, DiskStore, EngineName},
};
use veilpost_packet::{
    boxes::{BoxClass, BoxTerms, SealedBox, StreamRoot},
    command::Command,
    ids::{BoxId, District, DocumentHash, NetworkId, SurbId},
    primitives::SigningSecret,
    random::seeded,
    sphinx::{Hop, SphinxSecret, Surb},
    time::{Day, Epoch, Timestamp},
};
use veilpost_pki::{Params, PutAdmission};

/// Measures a mailbox's engine and store.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(flatten)]
    options: Options,
    /// Where the stores are made; a temporary folder if absent
    #[arg(long)]
    dir: Option<PathBuf>,
}

/// Writers that wait for one flush, and how many boxes a round puts at that batch.
const BATCHES: [(usize, usize); 3] = [(1, 800), (16, 3_200), (128, 6_400)];
const ROUNDS: usize = 5;
const NETWORK: NetworkId = NetworkId([1; 32]);
const EPOCH: Epoch = Epoch(1);
const DOCUMENT: DocumentHash = DocumentHash([2; 8]);

fn main() -> ExitCode {
    let Arguments { options, dir } = Arguments::parse();
    match measure(options, dir.as_deref()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-mailbox: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Boxes with good signatures, sealed on all cores before anything is timed.
fn seal(count: usize, expiry: Day) -> Result<Vec<SealedBox>> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let part = |_| {
            scope.spawn(move || -> Result<Vec<SealedBox>> {
                let mut writer = StreamRoot::new(*keys::fresh()?.expose()).write_cap();
                let terms = BoxTerms { district: District(0), class: BoxClass::Solo, expiry };
                (0..count.div_ceil(cores)).map(|_| Ok(writer.seal_next(&NETWORK, terms, &[7; 3_000])?)).collect()
            })
        };
        let parts: Vec<_> = (0..cores).map(part).collect();
        let mut all = Vec::with_capacity(count + cores);
        for part in parts {
            all.extend(part.join().map_err(|_| "a thread ended by a fault of its own")??);
        }
        all.truncate(count);
        Ok(all)
    })
}

/// The engine on its store.
struct Engine {
    mailbox: Mailbox<DiskStore>,
    clock: Clock,
    surb: Surb,
}

impl Engine {
    fn open(folder: &Path, clock: Clock) -> Result<Self> {
        let terms = Terms {
            network: NETWORK,
            document: DOCUMENT,
            params: Params::standard(),
            placement: vec![holder().node_id()],
            copies: 1,
            durable_copies: 1,
            listed: [holder().node_id()].into(),
        };
        let limits = Limits { quota_bytes: 1 << 40, bucket_bytes: 1 << 40, free_disk_floor: 0 };
        let secret = holder();
        let store = stores::open(EngineName::Redb, folder)?;
        let mailbox = Mailbox::new(clock.now(), secret, terms, limits, store, seeded([4; 32]))?;
        // One reply block serves all: what follows from it is the node's work.
        let hop = Hop { address: [5; 32], key: SphinxSecret::from_seed([5; 32]).public() };
        let id = SurbId::new([6; 16]).ok_or("zero")?;
        let (surb, _) = Surb::new([7; 32], id, &[hop; 5], &[Duration::ZERO; 4])?;
        Ok(Self { mailbox, clock, surb })
    }

    /// Decides one batch and takes its replies, encoded, as the daemon does later.
    fn batch(&mut self, requests: impl Iterator<Item = Request>) -> usize {
        let now = self.clock.now();
        let arrived = requests.map(|request| Arrived {
            at: now,
            epoch: EPOCH,
            document: DOCUMENT,
            back: Back::Surb(self.surb.clone()),
            request,
        });
        self.mailbox.handle_commands(now, arrived.collect());
        std::iter::from_fn(|| self.mailbox.poll_reply(Timestamp::FAR_FUTURE).map(black_box)).count()
    }
}

/// redb as the store opens it, and nothing else.
struct Bare(redb::Database);

const TABLE: redb::TableDefinition<'static, &[u8], &[u8]> = redb::TableDefinition::new("t");

impl Bare {
    fn open(path: &Path) -> Result<Self> {
        Ok(Self(redb::Database::builder().set_cache_size(stores::kv::CACHE_BYTES).create(path)?))
    }

    fn put(&self, values: &[(BoxId, Vec<u8>)]) -> Result<()> {
        let writing = self.0.begin_write()?;
        let mut table = writing.open_table(TABLE)?;
        for (id, value) in values {
            table.insert(&id.as_bytes()[..], value.as_slice())?;
        }
        drop(table);
        writing.commit()?;
        Ok(())
    }

    fn get(&self, ids: &[BoxId]) -> Result<()> {
        let reading = self.0.begin_read()?;
        let table = reading.open_table(TABLE)?;
        for id in ids {
            black_box(table.get(&id.as_bytes()[..])?.ok_or("a value is gone")?.value().to_vec());
        }
        Ok(())
    }
}

/// Operations a second, by round.
#[derive(Default)]
struct Rates {
    put: Vec<f64>,
    put_checked: Vec<f64>,
    get: Vec<f64>,
    bare_put: Vec<f64>,
    bare_get: Vec<f64>,
}

fn measure(options: Options, dir: Option<&Path>) -> Result<()> {
    let report = Report::new("bench-mailbox", options);
    let temporary = match dir {
        Some(dir) => tempfile::tempdir_in(dir)?,
        None => tempfile::tempdir()?,
    };
    let folder = temporary.path();
    let (rounds, divide) = if options.quick { (2, 8) } else { (ROUNDS, 1) };
    report.say(&format!(
        "values of {} bytes on {}; one thread; a flush before every batch's answers; {rounds} rounds, each on fresh stores, \
         the two stores in turn; medians",
        SealedBox::SIZE,
        process::file_system(folder)
    ));
    let clock = Clock::start();
    let params = Params::standard();
    let expiry = Day::at(clock.now(), params.day).plus(params.box_days);
    let mut rates: Vec<Rates> = BATCHES.iter().map(|_| Rates::default()).collect();
    let mut check = Vec::new();
    for round in 0..rounds {
        // Every round on stores of its own: a store's speed falls as it grows.
        let mut engine = Engine::open(&folder.join(format!("engine-{round}")), clock)?;
        let bare = Bare::open(&folder.join(format!("bare-{round}")))?;
        for ((batch, count), rates) in BATCHES.iter().zip(&mut rates) {
            one_batch_size(&mut engine, &bare, *batch, seal(2 * count / divide, expiry)?, rates, &mut check)?;
        }
        if engine.mailbox.counters().store_failures + engine.mailbox.counters().refused > 0 {
            return Err("the mailbox failed or refused a Put".into());
        }
    }
    for ((batch, _), rates) in BATCHES.iter().zip(&rates) {
        print(&report, *batch, rates);
    }
    let spread = format!("groups of 16: p5 {:.0}, p95 {:.0}", percentile(&check, 5.0), percentile(&check, 95.0));
    report.print(
        "On the workers, not on the engine's thread",
        &[
            Row::new("Request::check of a Put: signature checked, own one made", median(&check), "us").note(spread),
            Row::new("Puts checked by one core", 1e6 / median(&check), "/s"),
        ],
    );
    Ok(())
}

/// The mailbox's own key.
fn holder() -> SigningSecret {
    SigningSecret::from_seed(&[3; 32])
}

/// Half of the boxes are put checked before, half with the check in the measured time.
fn one_batch_size(
    engine: &mut Engine,
    bare: &Bare,
    batch: usize,
    boxes: Vec<SealedBox>,
    rates: &mut Rates,
    check: &mut Vec<f64>,
) -> Result<()> {
    let (holder, free) = (holder(), PutAdmission::free(NETWORK));
    let (first, second) = boxes.split_at(boxes.len() / 2);
    let ids: Vec<_> = first.iter().map(|sealed| sealed.id).collect();
    let values: Vec<_> = first.iter().map(|sealed| (sealed.id, sealed.to_bytes())).collect();
    let mut requests = Vec::with_capacity(first.len());
    for group in first.chunks(16) {
        let commands: Vec<_> = group.iter().cloned().map(Command::put).collect();
        let started = Instant::now();
        requests.extend(commands.into_iter().map(|command| Request::check(command, &free, &holder)));
        check.push(started.elapsed().as_secs_f64() * 1e6 / group.len() as f64);
    }
    let stored = engine.mailbox.counters().stored;
    let rate = |count: usize, took: Duration| count as f64 / took.as_secs_f64();

    let started = Instant::now();
    for chunk in values.chunks(batch) {
        bare.put(chunk)?;
    }
    rates.bare_put.push(rate(values.len(), started.elapsed()));

    let count = requests.len();
    let mut requests = requests.into_iter().peekable();
    let started = Instant::now();
    while requests.peek().is_some() {
        engine.batch(requests.by_ref().take(batch));
    }
    rates.put.push(rate(count, started.elapsed()));

    let commands: Vec<_> = second.iter().cloned().map(Command::put).collect();
    let mut commands = commands.into_iter().peekable();
    let started = Instant::now();
    while commands.peek().is_some() {
        engine.batch(commands.by_ref().take(batch).map(|command| Request::check(command, &free, &holder)));
    }
    rates.put_checked.push(rate(second.len(), started.elapsed()));
    if engine.mailbox.counters().stored - stored != boxes.len() as u64 {
        return Err("not every Put was stored".into());
    }

    let started = Instant::now();
    for chunk in ids.chunks(batch) {
        bare.get(chunk)?;
    }
    rates.bare_get.push(rate(ids.len(), started.elapsed()));
    let found = engine.mailbox.counters().found;
    let started = Instant::now();
    for chunk in ids.chunks(batch) {
        engine.batch(chunk.iter().map(|id| Request::Get(*id, District(0))));
    }
    rates.get.push(rate(ids.len(), started.elapsed()));
    if engine.mailbox.counters().found - found != ids.len() as u64 {
        return Err("not every box was found".into());
    }
    Ok(())
}

fn print(report: &Report, batch: usize, rates: &Rates) {
    let (put, bare_put) = (median(&rates.put), median(&rates.bare_put));
    let (get, bare_get) = (median(&rates.get), median(&rates.bare_get));
    let range = |rates: &[f64]| format!("rounds {:.0} to {:.0}", percentile(rates, 0.0), percentile(rates, 100.0));
    // Of each round, so that a slow moment of the disk weighs on both.
    let ratio = |bare: &[f64], ours: &[f64]| median(&bare.iter().zip(ours).map(|(b, o)| b / o).collect::<Vec<_>>());
    report.print(
        &format!("Batch of {batch}"),
        &[
            Row::new("durable Puts, bare redb", bare_put, "/s").note(range(&rates.bare_put)),
            Row::new("durable Puts, engine and store", put, "/s").note(range(&rates.put)),
            Row::new("bare redb / ours", ratio(&rates.bare_put, &rates.put), "x").at_most(2.0),
            Row::new("the same with the check on the same thread", median(&rates.put_checked), "/s")
                .note(range(&rates.put_checked)),
            Row::new("Gets, bare redb", bare_get, "/s").note(range(&rates.bare_get)),
            Row::new("Gets, engine and store", get, "/s").note(range(&rates.get)),
            Row::new("bare redb / ours", ratio(&rates.bare_get, &rates.get), "x").at_most(2.0),
        ],
    );
}
