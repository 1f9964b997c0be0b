//! `bench-network`: memory, idle cost and times of delivery on a network of real processes, as people would see them.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a program that measures and prints"
)]

use clap::Parser;
use serde_json::Value;
use std::{
    fs,
    path::Path,
    process::ExitCode,
    thread::sleep,
    time::{Duration, Instant},
};
use veilpost_bench::{Options, Report, Result, Row, median, percentile, process};

use veilpost_tests::{
    person::Person,
    testnet::{Kind, Shape, Testnet},
};

/// Measures networks of real processes; the other programs must be built beside this one.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(flatten)]
    options: Options,
}

/// Between two looks at an inbox; each look starts a process, which takes some milliseconds more.
const LOOK: Duration = Duration::from_millis(100);
/// Connecting, at any rate.
const CONNECT: Duration = Duration::from_secs(60);
/// Becoming contacts on a fast network.
const MEET: Duration = Duration::from_secs(300);
/// What one text may take before it counts as lost.
const TEXT: Duration = Duration::from_secs(120);
/// What the file may take before it counts as lost.
const FILE: Duration = Duration::from_secs(600);

fn main() -> ExitCode {
    match measure(Arguments::parse().options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-network: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A network that is taken down at the end, whatever happens.
struct Up(Option<Testnet>);

impl Up {
    fn new(folder: &Path, fast: bool) -> Result<Self> {
        Ok(Self(Some(Testnet::up(folder, &Shape { fast, ..Shape::default() })?)))
    }

    fn get(&self) -> Result<&Testnet> {
        Ok(self.0.as_ref().ok_or("the network is down")?)
    }

    /// Two people whose daemons are connected.
    fn people(&self, folder: &Path) -> Result<[Person; 2]> {
        let person = |name: &str| -> Result<Person> {
            let mut person = Person::init(folder, name, &self.get()?.network_file())?;
            person.start()?;
            person.wait_connected(CONNECT)?;
            Ok(person)
        };
        Ok([person("Alice")?, person("Bob")?])
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        if let Some(network) = self.0.take() {
            // Nodes that do not stop are killed; a state file that stays lies in a temporary folder.
            let _ = network.down();
        }
    }
}

fn measure(options: Options) -> Result<()> {
    let report = Report::new("bench-network", options);
    report.say("real processes on loopback, all on this machine: 6 mixes, 2 entries, 3 mailboxes, 2 clients");
    fast(&report, options)?;
    default_rates(&report, options)
}

/// Memory and times of delivery, at an eighth of all means and periods.
fn fast(report: &Report, options: Options) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let network = Up::new(&folder.path().join("net"), true)?;
    let [alice, bob] = network.people(&folder.path().join("people"))?;
    let link = alice.invite("bob")?;
    bob.accept(&link, "alice", MEET)?;
    alice.wait_contact("bob", MEET)?;

    let idle = Duration::from_secs(if options.quick { 3 } else { 60 });
    sleep(idle);
    let network = network.get()?;
    let of = |kind: Kind| network.nodes().iter().filter(move |node| node.kind == kind);
    let resident = |kind: Kind| -> Result<Vec<f64>> {
        of(kind)
            .map(|node| {
                let pid = network.pid(&node.name).ok_or_else(|| format!("{} is not running", node.name))?;
                process::resident_mb(pid.as_raw_nonzero().get().unsigned_abs())
            })
            .collect()
    };
    let clients: Vec<_> = [&alice, &bob]
        .iter()
        .map(|person| process::resident_mb(person.pid().ok_or("a daemon is not running")?))
        .collect::<Result<_>>()?;
    let row = |name: &str, values: &[f64], target: f64| {
        Row::new(name, percentile(values, 100.0), "MB").at_most(target).note(format!(
            "largest of {}, median {:.1}",
            values.len(),
            median(values)
        ))
    };
    report.print(
        &format!("Resident memory after {} s idle, --fast", idle.as_secs()),
        &[
            row("mix", &resident(Kind::Mix)?, 40.0),
            row("entry", &resident(Kind::Entry)?, 40.0),
            row("mailbox", &resident(Kind::Mailbox)?, 60.0),
            row("client daemon", &clients, 80.0),
        ],
    );
    texts(report, &alice, &bob, if options.quick { 2 } else { 20 })?;
    file(report, &alice, &bob, folder.path())
}

/// One text of the measurement.
struct Text {
    text: String,
    written: Instant,
    decrypted: Option<f64>,
    delivered: Option<f64>,
}

impl Text {
    fn is(&self, line: &Value) -> bool {
        line.get("text").and_then(Value::as_str) == Some(&self.text)
    }
}

/// One text after another: the next is written a moment after the last one was decrypted, the moments spread over two
/// seconds so that no clock falls into step. Receipts are watched beside that, since they take their own time.
fn texts(report: &Report, alice: &Person, bob: &Person, count: usize) -> Result<()> {
    let mut texts: Vec<Text> = Vec::new();
    let patient = |texts: &[Text]| texts.last().is_some_and(|last| last.written.elapsed() < TEXT);
    for number in 0..count {
        let text = format!("message number {number} of the measurement");
        let written = Instant::now();
        alice.json(&["send", "bob", &text])?;
        texts.push(Text { text, written, decrypted: None, delivered: None });
        while texts.last().is_some_and(|last| last.decrypted.is_none()) && patient(&texts) {
            look(&mut texts, alice, bob)?;
        }
        sleep(Duration::from_secs_f64((number as f64 * 0.618).fract() * 2.0));
    }
    while texts.iter().any(|text| text.delivered.is_none()) && patient(&texts) {
        look(&mut texts, alice, bob)?;
    }
    let times = |of: fn(&Text) -> Option<f64>| texts.iter().map(|t| of(t).unwrap_or(f64::INFINITY)).collect::<Vec<_>>();
    let (read, told) = (times(|text| text.decrypted), times(|text| text.delivered));
    let lost = read.iter().filter(|time| time.is_infinite()).count();
    report.print(
        &format!("{count} texts one after another, --fast"),
        &[
            Row::new("the recipient has decrypted it, median", median(&read), "s").at_most(15.0),
            Row::new("the recipient has decrypted it, p95", percentile(&read, 95.0), "s"),
            Row::new("the sender shows \"delivered\", median", median(&told), "s")
                .note("a receipt waits 15 s on average for a message to ride on"),
            Row::new("the sender shows \"delivered\", p95", percentile(&told, 95.0), "s"),
            Row::new("not there within two minutes", lost as f64, "texts").at_most(0.0),
        ],
    );
    Ok(())
}

/// What both of them see now.
fn look(texts: &mut [Text], alice: &Person, bob: &Person) -> Result<()> {
    let (theirs, ours) = (bob.received()?, alice.json(&["inbox"])?);
    for text in texts {
        let passed = Some(text.written.elapsed().as_secs_f64());
        if text.decrypted.is_none() && theirs.iter().any(|line| text.is(line)) {
            text.decrypted = passed;
        }
        let delivered = |line: &&Value| line.get("state").and_then(Value::as_str) == Some("delivered");
        if text.delivered.is_none() && ours.iter().filter(delivered).any(|line| text.is(line)) {
            text.delivered = passed;
        }
    }
    sleep(LOOK);
    Ok(())
}

fn file(report: &Report, alice: &Person, bob: &Person, folder: &Path) -> Result<()> {
    let path = folder.join("file.bin");
    // No two kibibytes alike, so that an exchanged part would show.
    let content: Vec<u8> = (0u32..100 * 256).flat_map(u32::to_be_bytes).collect();
    fs::write(&path, &content)?;
    let started = Instant::now();
    alice.json(&["send", "bob", "--file", &path.display().to_string()])?;
    let whole = |line: &Value| {
        let word = |key: &str| line.get(key).and_then(Value::as_str);
        word("kind") == Some("file") && word("state") == Some("received")
    };
    let came = bob.wait_received(FILE, |lines| lines.iter().any(whole));
    let took = if came.is_ok() { started.elapsed().as_secs_f64() } else { f64::INFINITY };
    let saved = folder.join("saved");
    fs::create_dir_all(&saved)?;
    bob.json(&["inbox", "--save", &saved.display().to_string()])?;
    let intact = fs::read_dir(&saved)?.flatten().any(|entry| fs::read(entry.path()).is_ok_and(|read| read == content));
    report.print(
        "A file of 100 KiB, --fast",
        &[
            Row::new("the recipient has it whole", took, "s").at_most(180.0),
            Row::new("copies that differ from what was sent", f64::from(u8::from(!intact)), "files").at_most(0.0),
        ],
    );
    Ok(())
}

/// What a daemon costs its owner's machine while nothing happens, at the rates that people get.
fn default_rates(report: &Report, options: Options) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let network = Up::new(&folder.path().join("net"), false)?;
    let people = network.people(&folder.path().join("people"))?;
    let (settle, watch) = if options.quick { (1, 3) } else { (10, 60) };
    sleep(Duration::from_secs(settle));
    let pids = people.iter().map(|person| person.pid().ok_or("a daemon is not running"));
    let pids = pids.collect::<std::result::Result<Vec<_>, _>>()?;
    let times = || pids.iter().map(|&pid| process::cpu_time(pid)).collect::<Result<Vec<_>>>();
    let (before, started) = (times()?, Instant::now());
    sleep(Duration::from_secs(watch));
    let (after, took) = (times()?, started.elapsed().as_secs_f64());
    let share = |(before, after): (&Duration, &Duration)| (*after - *before).as_secs_f64() / took * 100.0;
    let shares: Vec<_> = before.iter().zip(&after).map(share).collect();
    let note = "larger of two daemons without contacts, in a session's first minutes, when the entry sends fastest";
    report.print(
        &format!("Idle client daemon over {watch} s, default rates"),
        &[Row::new("CPU, percent of one core", percentile(&shares, 100.0), "%").at_most(2.0).note(note)],
    );
    Ok(())
}
