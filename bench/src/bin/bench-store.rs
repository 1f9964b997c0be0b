//! `bench-store`: the mailbox's stores, sled and redb, side by side in one run: durable Puts, Gets, acknowledgements, expiry, disk,
//! memory and the time to open after kill -9. Prints a Markdown table.
//!
//! Each engine works in a process of its own, so that the memory measured is that engine's.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a program that measures and prints"
)]

use clap::Parser;
use std::{
    collections::BTreeMap,
    fs,
    hint::black_box,
    io::{BufRead, BufReader, Lines},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, ExitCode, Stdio},
    time::Instant,
};
use veilpost_bench::{Result, percentile, process};
use veilpost_mailbox::{
    store::{BoxStore, Change, Confirmation, Held, Kept, StoreId, Tombstone, Waiting},
    stores::{self, DiskStore, EngineName},
};
use veilpost_packet::{
    boxes::{BoxClass, BoxTag, ContentHash, SealedBox},
    command::HolderSignature,
    ids::{BoxId, District, NodeId},
    time::{Day, Tick},
};

/// Measures the mailbox's stores.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Boxes held while it measures, spread over 17 days
    #[arg(long, default_value_t = 20_000)]
    boxes: u64,
    /// Where the stores are made; a temporary folder if absent
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Only this engine, sled or redb: for stores that take long to fill
    #[arg(long, value_name = "ENGINE")]
    engine: Option<EngineName>,
    /// A process of its own: fills, measures, then writes until it is killed
    #[arg(long, hide = true)]
    work: Option<EngineName>,
    /// A process of its own: opens what the other one left
    #[arg(long, hide = true)]
    open: Option<EngineName>,
}

/// Buckets of a network of standard parameters: 15 days, today, and the one that begins.
const DAYS: u64 = 17;
/// Days of the simulated churn.
const WEEK: u64 = 7;
/// Changes in a batch, and batches timed.
const BATCHES: [(u64, u64); 3] = [(1, 600), (16, 200), (128, 60)];
/// Boxes put in one batch while a store is filled.
const FILL: u64 = 256;
const GETS: u64 = 5_000;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match (&arguments.dir, arguments.work, arguments.open) {
        (Some(dir), Some(engine), _) => Work::new(engine, dir, arguments.boxes).and_then(Work::all),
        (Some(dir), None, Some(engine)) => open_again(engine, dir),
        _ => compare(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-store: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A figure on its way from a child, or a line of the table.
fn say(name: &str, value: f64) {
    println!("{name}\t{value}");
}

fn compare(arguments: &Arguments) -> Result<()> {
    let temporary = match &arguments.dir {
        Some(dir) => tempfile::tempdir_in(dir)?,
        None => tempfile::tempdir()?,
    };
    println!(
        "{} boxes of {} bytes over {DAYS} days, on {}; one thread; every batch is on the disk before the next\n",
        arguments.boxes,
        SealedBox::SIZE,
        process::file_system(temporary.path())
    );
    let (mut names, mut figures) = (Vec::new(), Vec::new());
    for engine in arguments.engine.map_or(vec![EngineName::Sled, EngineName::Redb], |engine| vec![engine]) {
        let dir = temporary.path().join(engine.to_string());
        let (order, found) = one_engine(engine, &dir, arguments.boxes)?;
        fs::remove_dir_all(&dir)?;
        names = order;
        figures.push(found);
    }
    if let Some(engine) = arguments.engine {
        println!("| what | {engine} |\n|---|---|");
    } else {
        println!("| what | sled | redb | redb / sled |\n|---|---|---|---|");
    }
    for name in names {
        let of_all: Option<Vec<f64>> = figures.iter().map(|figures| figures.get(&name).copied()).collect();
        match of_all.ok_or("a figure is missing")?[..] {
            [sled, redb] => println!("| {name} | {} | {} | {:.2} |", number(sled), number(redb), redb / sled),
            ref one => println!("| {name} | {} |", one.iter().map(|value| number(*value)).collect::<String>()),
        }
    }
    Ok(())
}

fn number(value: f64) -> String {
    match value {
        large if large >= 100.0 => format!("{large:.0}"),
        middle if middle >= 10.0 => format!("{middle:.1}"),
        small => format!("{small:.2}"),
    }
}

/// Figures by name, and the names in order.
type Figures = (Vec<String>, BTreeMap<String, f64>);

fn one_engine(engine: EngineName, dir: &Path, boxes: u64) -> Result<Figures> {
    let (mut names, mut figures) = (Vec::new(), BTreeMap::new());
    let mut take = |lines: &mut Lines<BufReader<ChildStdout>>| -> Result<()> {
        for line in lines {
            let line = line?;
            if line == "working" {
                return Ok(());
            }
            let (name, value) = line.split_once('\t').ok_or("a child said something else")?;
            names.push(name.to_owned());
            figures.insert(name.to_owned(), value.parse()?);
        }
        Ok(())
    };
    let (mut child, mut lines) = start(&["--work", &engine.to_string()], dir, boxes)?;
    let taken = take(&mut lines);
    // In the middle of its writing.
    std::thread::sleep(std::time::Duration::from_millis(300));
    child.kill()?;
    child.wait()?;
    taken?;
    let (mut child, mut lines) = start(&["--open", &engine.to_string()], dir, boxes)?;
    take(&mut lines)?;
    if !child.wait()?.success() {
        return Err("the store did not open after kill -9".into());
    }
    Ok((names, figures))
}

fn start(words: &[&str], dir: &Path, boxes: u64) -> Result<(Child, Lines<BufReader<ChildStdout>>)> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(words).arg("--dir").arg(dir).args(["--boxes", &boxes.to_string()]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let out = child.stdout.take().ok_or("no pipe")?;
    Ok((child, BufReader::new(out).lines()))
}

/// Numbers that look like chance, the same in every run.
fn mixed(n: u64) -> u64 {
    let mut z = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn bytes<const N: usize>(seed: u64) -> [u8; N] {
    let mut all = [0; N];
    for (n, chunk) in (0..).zip(all.chunks_mut(8)) {
        let value = mixed(seed ^ mixed(n)).to_be_bytes();
        chunk.iter_mut().zip(value).for_each(|(byte, value)| *byte = value);
    }
    all
}

fn id(n: u64) -> BoxId {
    BoxId(bytes(n))
}

fn other(n: u64) -> Confirmation {
    let signature = HolderSignature { holder: NodeId(bytes(n % 9)), signature: bytes(n) };
    Confirmation { signature, store: StoreId(n % 9) }
}

fn put(n: u64, day: Day) -> Change {
    let sealed = SealedBox {
        id: id(n),
        district: District(0),
        class: BoxClass::Solo,
        expiry: day,
        signature: bytes(n + 1),
        ack_hash: bytes(n + 2),
        ciphertext: Box::new(bytes(n + 3)),
    };
    let held = Held::Box(Box::new(Kept { sealed, others: vec![other(n)], announced: true }));
    let announce = Some(Waiting { tag: BoxTag::of(&id(n)), from: Tick(1), bucket: day });
    Change::Hold { id: id(n), held, announce }
}

fn ack(n: u64, day: Day) -> Change {
    let tombstone = Tombstone { content: ContentHash(bytes(n)), until: day, secret: bytes(n), others: vec![other(n)] };
    Change::Hold { id: id(n), held: Held::Tombstone(Box::new(tombstone)), announce: None }
}

fn bytes_in(path: &Path) -> Result<u64> {
    let about = fs::symlink_metadata(path)?;
    let mut sum = about.blocks() * 512;
    if about.is_dir() {
        for entry in fs::read_dir(path)? {
            sum += bytes_in(&entry?.path())?;
        }
    }
    Ok(sum)
}

/// One engine at work. Boxes are numbered in the order of their Puts, and put for the last day.
struct Work {
    store: DiskStore,
    folder: PathBuf,
    each_day: u64,
    today: u64,
    /// Where each day's boxes begin; one beyond the last is where the next begin.
    begins: Vec<u64>,
}

impl Work {
    fn new(engine: EngineName, dir: &Path, boxes: u64) -> Result<Self> {
        fs::create_dir_all(dir)?;
        let folder = dir.join("boxes");
        let store = stores::open(engine, &folder)?;
        Ok(Self { store, folder, each_day: (boxes / DAYS).max(1_000), today: 0, begins: vec![0] })
    }

    fn all(mut self) -> Result<()> {
        self.fill()?;
        self.puts()?;
        self.gets()?;
        self.acks()?;
        self.expiry()?;
        self.week()?;
        println!("working");
        loop {
            self.put_batch(16)?;
        }
    }

    fn next(&self) -> u64 {
        self.begins.last().copied().unwrap_or(0)
    }

    /// The last day: the one that boxes are put for.
    fn last_day(&self) -> Day {
        Day((self.begins.len() as u64).saturating_sub(1) as u32)
    }

    /// Puts boxes for the last day.
    fn put_batch(&mut self, count: u64) -> Result<f64> {
        let (first, day) = (self.next(), self.last_day());
        let changes: Vec<_> = (first..first + count).map(|n| put(n, day)).collect();
        let started = Instant::now();
        self.store.apply(&changes)?;
        let took = started.elapsed().as_secs_f64();
        if let Some(next) = self.begins.last_mut() {
            *next += count;
        }
        Ok(took)
    }

    /// From now on boxes are put for the day after.
    fn next_day(&mut self) {
        self.begins.push(self.next());
    }

    /// A box by chance, with its day, of those whose days are not over.
    fn any(&self, chance: u64) -> (u64, Day) {
        let first = self.first_living();
        let n = first + mixed(chance) % (self.next() - first);
        let day = self.begins.partition_point(|begin| *begin <= n);
        (n, Day(day as u32))
    }

    fn first_living(&self) -> u64 {
        self.today.checked_sub(1).and_then(|over| self.begins.get(over as usize)).copied().unwrap_or(0)
    }

    fn fill(&mut self) -> Result<()> {
        let mut took = 0.0;
        for day in 0..DAYS {
            if day > 0 {
                self.next_day();
            }
            for _ in 0..self.each_day.div_ceil(FILL) {
                took += self.put_batch(FILL)?;
            }
        }
        say(&format!("Puts/s while it fills, batches of {FILL}"), self.next() as f64 / took);
        let stored = self.store.usage().bytes();
        say("bytes on disk for each byte stored", bytes_in(&self.folder)? as f64 / stored as f64);
        say("resident memory after filling, MB", process::resident_mb(std::process::id())?);
        Ok(())
    }

    fn puts(&mut self) -> Result<()> {
        for (batch, count) in BATCHES {
            let took = (0..count).map(|_| self.put_batch(batch)).collect::<Result<Vec<_>>>()?;
            times(&format!("Puts, batches of {batch}"), batch, &took);
        }
        Ok(())
    }

    fn gets(&self) -> Result<()> {
        for (name, offset) in [("Get of a box that is here", 0), ("Get of one that is not", u64::MAX / 2)] {
            let mut took = Vec::new();
            for n in 0..GETS {
                let id = id(self.any(n).0 + offset);
                let started = Instant::now();
                let found = black_box(self.store.get(&id)?).is_some();
                took.push(started.elapsed().as_secs_f64() * 1e6);
                if found != (offset == 0) {
                    return Err("a box is missing, or one was made up".into());
                }
            }
            say(&format!("{name}, p50, us"), percentile(&took, 50.0));
            say(&format!("{name}, p99, us"), percentile(&took, 99.0));
        }
        Ok(())
    }

    /// Every box is as likely as another: batches touch all buckets.
    fn acks(&mut self) -> Result<()> {
        for (batch, count) in BATCHES {
            let mut took = Vec::new();
            for n in 0..count {
                // Within a batch an id is changed once.
                let chosen: BTreeMap<_, _> = (0..batch).map(|k| self.any(mixed(batch) ^ (n * batch + k))).collect();
                let changes: Vec<_> = chosen.into_iter().map(|(n, day)| ack(n, day)).collect();
                let started = Instant::now();
                self.store.apply(&changes)?;
                took.push(started.elapsed().as_secs_f64());
            }
            times(&format!("Acks over all days, batches of {batch}"), batch, &took);
        }
        Ok(())
    }

    fn expiry(&mut self) -> Result<()> {
        let boxes = self.store.usage_of(Day(self.today as u32));
        let started = Instant::now();
        self.today += 1;
        self.store.expire(Day(self.today as u32))?;
        let took = started.elapsed().as_secs_f64();
        say(&format!("expiry of a day of {} boxes, ms", boxes.boxes + boxes.tombstones), took * 1e3);
        Ok(())
    }

    /// Every day as many Puts as a day holds, nine of ten boxes acknowledged, one day expires.
    fn week(&mut self) -> Result<()> {
        for day in 0..WEEK {
            let from = self.next();
            self.next_day();
            for n in 0..self.each_day.div_ceil(FILL) {
                self.put_batch(FILL)?;
                let chosen: BTreeMap<_, _> =
                    (0..FILL * 9 / 10).map(|k| self.any(mixed(day) ^ ((n * FILL + k) << 8))).collect();
                let changes: Vec<_> = chosen.into_iter().map(|(n, day)| ack(n, day)).collect();
                self.store.apply(&changes)?;
            }
            self.today += 1;
            self.store.expire(Day(self.today as u32))?;
            if self.next() <= from {
                return Err("nothing was put".into());
            }
        }
        let stored = self.store.usage().bytes();
        say("after a week: bytes on disk for each byte stored", bytes_in(&self.folder)? as f64 / stored as f64);
        say("after a week: resident memory, MB", process::resident_mb(std::process::id())?);
        Ok(())
    }
}

fn times(name: &str, batch: u64, took: &[f64]) {
    say(&format!("{name}: /s"), (batch * took.len() as u64) as f64 / took.iter().sum::<f64>());
    say(&format!("{name}: p50, ms"), percentile(took, 50.0) * 1e3);
    say(&format!("{name}: p99, ms"), percentile(took, 99.0) * 1e3);
}

fn open_again(engine: EngineName, dir: &Path) -> Result<()> {
    let started = Instant::now();
    let store = stores::open(engine, &dir.join("boxes"))?;
    let took = started.elapsed().as_secs_f64();
    say("open after kill -9, ms", took * 1e3);
    say("resident memory after opening, MB", process::resident_mb(std::process::id())?);
    let usage = store.usage();
    if usage.boxes + usage.tombstones == 0 || store.walk(None, 1)?.is_empty() {
        return Err("the store is empty after kill -9".into());
    }
    Ok(())
}
