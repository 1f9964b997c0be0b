//! `bench-tor`: what the transports over Tor cost, on a private Tor network of this computer. `make bench-tor`.
#![allow(clippy::print_stdout, clippy::print_stderr, clippy::disallowed_methods, reason = "a command-line tool")]

use std::{
    fs,
    path::Path,
    process::{Command, ExitCode},
    time::{Duration, Instant},
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use veilpost_client::transport::Transport;
use veilpost_onion::{Defence, Reachability, Setup, Tor};
use veilpost_pki::network::TorNetwork;
use veilpost_tests::{
    namespace,
    person::Person,
    testnet::{Kind, Result, Shape, Testnet, memory},
    tornet::TorNet,
};

const STEP: Duration = Duration::from_secs(600);
/// Texts from which a median is taken.
const TEXTS: usize = 5;
/// How long an idle client is watched.
const IDLE: Duration = Duration::from_secs(40);
/// Bytes that are sent through one circuit.
const BULK: usize = 8 << 20;
/// New circuits that are timed.
const CIRCUITS: usize = 20;
/// The file that is sent on each pair.
const FILE: usize = 1 << 20;
/// How long three of them may take.
const FILES: Duration = Duration::from_secs(1_800);
/// Clients at once.
const CROWD: usize = 20;

fn main() -> ExitCode {
    let with_files = std::env::args().any(|argument| argument == "--files");
    match namespace::enter().and_then(|()| bench(with_files)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-tor: {error}");
            ExitCode::FAILURE
        }
    }
}

fn bench(with_files: bool) -> Result<()> {
    let folder = tempfile::tempdir()?;
    println!("build: {}", if cfg!(debug_assertions) { "debug" } else { "release" });
    streams(&folder.path().join("streams"))?;
    let started = Instant::now();
    let shape = Shape { fast: true, tor: true, ..Shape::default() };
    let network = Testnet::up(&folder.path().join("net"), &shape)?;
    network.wait_onions(STEP)?;
    println!("network of 15 nodes over 6 Tor nodes up and reachable: {:.1} s", started.elapsed().as_secs_f64());
    let done = people(folder.path(), &network);
    let done = done.and_then(|()| if with_files { files(&folder.path().join("pairs"), &network) } else { Ok(()) });
    network.down()?;
    done?;
    crowd(&folder.path().join("crowd"))
}

/// Circuits and streams alone.
fn streams(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    let started = Instant::now();
    let tor = TorNet::up(&folder.join("tor"))?;
    println!("Tor network ready: {:.1} s, {} MiB", started.elapsed().as_secs_f64(), tor.memory());
    let runtime = tokio::runtime::Runtime::new()?;
    let done = runtime.block_on(measure(folder, tor.network()));
    tor.stop();
    // A thread of arti's onion services never ends, and panics if the runtime does.
    std::mem::forget(runtime);
    done
}

async fn measure(folder: &Path, network: TorNetwork) -> Result<()> {
    let setup = |name: &str| Setup { folder: folder.join(name), network: Some(network.clone()), settings: None };
    let started = Instant::now();
    let server = Tor::open(&setup("server"))?;
    server.bootstrap().await?;
    println!("bootstrap: {:.2} s", started.elapsed().as_secs_f64());
    let started = Instant::now();
    let (service, mut streams) = server.publish("echo", Defence::Bounds)?;
    while service.reachability() != Reachability::Reachable {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    println!("onion service reachable: {:.2} s", started.elapsed().as_secs_f64());
    tokio::spawn(async move {
        while let Some(mut stream) = streams.recv().await {
            tokio::spawn(async move {
                let (mut reading, mut writing) = tokio::io::split(&mut stream);
                drop(tokio::io::copy(&mut reading, &mut writing).await);
            });
        }
    });
    let client = Tor::open(&setup("client"))?;
    let mut times = Vec::new();
    for _ in 0..=CIRCUITS {
        let started = Instant::now();
        let mut stream = client.connect(service.address()).await?;
        echo(&mut stream).await?;
        times.push(started.elapsed().as_secs_f64());
    }
    println!("first connect (directory, descriptor, introduction, rendezvous) and an echo: {:.2} s", times.remove(0));
    times.sort_by(f64::total_cmp);
    let at = |share: usize| times.get((times.len() - 1) * share / 100).copied().unwrap_or_default();
    println!("new circuit and an echo, {CIRCUITS} times: median {:.2} s, 95 % {:.2} s", at(50), at(95));
    let mut stream = client.connect(service.address()).await?;
    let mut echoes = Vec::new();
    for _ in 0..CIRCUITS {
        let started = Instant::now();
        echo(&mut stream).await?;
        echoes.push(started.elapsed().as_secs_f64() * 1e3);
    }
    echoes.sort_by(f64::total_cmp);
    println!(
        "echo of 400 bytes on an open circuit: median {:.1} ms",
        echoes.get(CIRCUITS / 2).copied().unwrap_or_default()
    );
    let started = Instant::now();
    let (mut reading, mut writing) = tokio::io::split(stream);
    let sent = tokio::spawn(async move {
        let chunk = vec![7; 64 << 10];
        for _ in 0..BULK / chunk.len() {
            writing.write_all(&chunk).await?;
        }
        writing.flush().await?;
        Ok::<_, std::io::Error>(writing)
    });
    let mut buffer = vec![0; BULK];
    reading.read_exact(&mut buffer).await?;
    drop(sent.await??);
    let rate = BULK as f64 / started.elapsed().as_secs_f64() / f64::from(1 << 20);
    println!("throughput of one circuit, there and back: {rate:.1} MiB/s");
    Ok(())
}

async fn echo(stream: &mut veilpost_onion::OnionStream) -> Result<()> {
    let mut buffer = [9; 400];
    stream.write_all(&buffer).await?;
    stream.flush().await?;
    stream.read_exact(&mut buffer).await?;
    Ok(())
}

/// Two people by each transport: connecting, texts, idle traffic, memory.
fn people(folder: &Path, network: &Testnet) -> Result<()> {
    let mut alice = Person::init(&folder.join("people"), "Alice", &network.network_file())?;
    let mut bob = Person::init(&folder.join("people"), "Bob", &network.network_file())?;
    for person in [&mut alice, &mut bob] {
        person.start()?;
        person.wait_connected(STEP)?;
    }
    let link = alice.invite("bob")?;
    bob.accept(&link, "alice", STEP)?;
    alice.wait_contact("bob", STEP)?;
    println!("\nby each transport, both of them; clocks 8 times faster than a real network's");
    println!(
        "{:<18}{:>12}{:>16}{:>20}{:>14}{:>14}",
        "transport", "connected", "text, median", "commands a minute", "client MiB", "on the line"
    );
    for transport in Transport::ALL {
        for person in [&alice, &bob] {
            person.change_to(transport)?;
        }
        let started = Instant::now();
        std::thread::sleep(Duration::from_millis(200));
        for person in [&alice, &bob] {
            person.wait_connected(STEP)?;
        }
        let connected = started.elapsed().as_secs_f64();
        let mut texts = Vec::new();
        for number in 0..TEXTS {
            texts.push(text(&alice, &bob, &format!("{} {number}", transport.name()))?);
        }
        texts.sort_by(f64::total_cmp);
        // What follows the last text is over.
        std::thread::sleep(Duration::from_secs(10));
        let (before, lines) = (commands(&bob)?, line(&bob)?);
        std::thread::sleep(IDLE);
        let minutes = IDLE.as_secs_f64() / 60.0;
        let each = (commands(&bob)? - before) / minutes;
        let after = line(&bob)?;
        let memory =
            bob.pid().and_then(|pid| rustix::process::Pid::from_raw(i32::try_from(pid).ok()?)).and_then(memory);
        let line = match transport {
            Transport::Mixnet => String::from("-"),
            _ => format!(
                "{:.0}+{:.0} kB/s",
                (after.0 - lines.0) / IDLE.as_secs_f64() / 1e3,
                (after.1 - lines.1) / IDLE.as_secs_f64() / 1e3
            ),
        };
        println!(
            "{:<18}{connected:>10.1} s{:>14.1} s{each:>20.0}{:>14}{line:>14}",
            transport.name(),
            texts.get(TEXTS / 2).copied().unwrap_or_default(),
            memory.unwrap_or_default()
        );
    }
    for kind in [Kind::Entry, Kind::Mailbox] {
        let all = network.nodes().iter().filter(|node| node.kind == kind);
        let sizes: Vec<u64> = all.filter_map(|node| memory(network.pid(&node.name)?)).collect();
        println!("memory of each {} with an onion service: {sizes:?} MiB", kind.word());
    }
    for person in [&mut alice, &mut bob] {
        person.stop()?;
    }
    Ok(())
}

fn text(from: &Person, to: &Person, text: &str) -> Result<f64> {
    let started = Instant::now();
    from.json(&["send", "bob", text])?;
    to.wait_received(STEP, |lines| lines.iter().any(|line| line["text"] == text))?;
    Ok(started.elapsed().as_secs_f64())
}

/// How long a file takes on each pair of transports. Three senders and three receivers, one by each transport, in three rounds: nine pairs at
/// once would measure the processor.
fn files(folder: &Path, network: &Testnet) -> Result<()> {
    let people = |name: &str| -> Result<Vec<Person>> {
        let each = Transport::ALL.into_iter().map(|by| {
            let mut person = Person::init_by(folder, &format!("{name}-{}", by.name()), &network.network_file(), by)?;
            person.start()?;
            person.wait_connected(STEP)?;
            Ok(person)
        });
        each.collect()
    };
    let (senders, receivers) = (people("Alice")?, people("Bob")?);
    for from in &senders {
        for to in &receivers {
            let link = from.invite(to.name())?;
            to.accept(&link, from.name(), STEP)?;
            from.wait_contact(to.name(), STEP)?;
        }
    }
    println!("\na file of 1 MiB on each pair, three at once, from the command to the whole file; same clocks");
    let path = folder.join("file");
    fs::write(&path, vec![7; FILE])?;
    for shift in 0..Transport::ALL.len() {
        let theirs = receivers.iter().zip(Transport::ALL).cycle().skip(shift);
        let pairs =
            senders.iter().zip(Transport::ALL).zip(theirs).map(|((from, ours), (to, theirs))| (from, ours, to, theirs));
        round(&path, shift + 1, pairs.collect())?;
    }
    Ok(())
}

/// One file from each sender, at once, until all are there: the receivers have so many then.
fn round(path: &Path, files: usize, mut waiting: Vec<(&Person, Transport, &Person, Transport)>) -> Result<()> {
    let started = Instant::now();
    for (from, _, to, _) in &waiting {
        from.json(&["send", to.name(), "--file", &path.display().to_string()])?;
    }
    while !waiting.is_empty() && started.elapsed() < FILES {
        std::thread::sleep(Duration::from_secs(1));
        let mut left = Vec::new();
        for (from, ours, to, theirs) in waiting {
            let whole = to.received()?.into_iter().filter(|line| line["kind"] == "file" && line["state"] == "received");
            if whole.count() < files {
                left.push((from, ours, to, theirs));
                continue;
            }
            let minutes = started.elapsed().as_secs_f64() / 60.0;
            println!("{:<18}to {:<18}{minutes:>6.1} min", ours.name(), theirs.name());
        }
        waiting = left;
    }
    match waiting.len() {
        0 => Ok(()),
        left => Err(format!("{left} files did not arrive within {} minutes", FILES.as_secs() / 60).into()),
    }
}

/// Commands that a client has sent since it was started, as its log says every second or so.
fn commands(person: &Person) -> Result<f64> {
    let log = fs::read_to_string(person.home().join("daemon.log"))?;
    let last = log.lines().rev().find_map(|line| line.split_once("Counters { sent: ")?.1.split_once(','));
    Ok(last.ok_or("the log says nothing of what was sent")?.0.parse()?)
}

/// Bytes that a client has sent and received over TCP: to its guard, headers of TCP and IP apart.
fn line(person: &Person) -> Result<(f64, f64)> {
    let pid = person.pid().ok_or("no daemon")?;
    let told = Command::new("ss").args(["-tinpH", "state", "established"]).output()?;
    let text = String::from_utf8_lossy(&told.stdout).into_owned();
    let (mut ours, mut sum) = (false, (0.0, 0.0));
    for row in text.lines() {
        if !row.starts_with(char::is_whitespace) {
            ours = row.contains(&format!("pid={pid},"));
        } else if ours {
            let field =
                |name: &str| row.split_whitespace().find_map(|word| word.strip_prefix(name)?.parse::<f64>().ok());
            sum.0 += field("bytes_sent:").unwrap_or_default();
            sum.1 += field("bytes_received:").unwrap_or_default();
        }
    }
    Ok(sum)
}

/// Many clients at once, at a real network's rates.
fn crowd(folder: &Path) -> Result<()> {
    let shape = Shape { tor: true, ..Shape::default() };
    let network = Testnet::up(&folder.join("net"), &shape)?;
    let done = network.wait_onions(STEP).and_then(|()| connect_all(folder, &network));
    network.down()?;
    done
}

fn connect_all(folder: &Path, network: &Testnet) -> Result<()> {
    let by = |number: usize| if number.is_multiple_of(2) { Transport::MixnetOverTor } else { Transport::Tor };
    let name = |number: usize| format!("Person{number}");
    let init = |number| Person::init_by(&folder.join("people"), &name(number), &network.network_file(), by(number));
    let mut all = (0..CROWD).map(init).collect::<Result<Vec<_>>>()?;
    let started = Instant::now();
    for person in &mut all {
        person.start()?;
    }
    for person in &all {
        person.wait_connected(STEP)?;
    }
    println!("\n{CROWD} clients at once at a real network's rates, half by mixnet-over-tor and half by tor");
    println!("all connected {:.1} s after the first was started", started.elapsed().as_secs_f64());
    std::thread::sleep(Duration::from_secs(10));
    let before = arrived(network)?;
    std::thread::sleep(IDLE);
    let after = arrived(network)?;
    let commands = after - before;
    let expected = CROWD as f64 / 2.0 * (1.0 / 2.0 + 1.0 / 3.0 + 1.0 / 30.0) * IDLE.as_secs_f64();
    println!("commands by tor in {} s: {commands:.0} of about {expected:.0} that the clocks give", IDLE.as_secs());
    for person in &mut all {
        person.stop()?;
    }
    Ok(())
}

fn arrived(network: &Testnet) -> Result<f64> {
    let mailboxes = network.nodes().iter().filter(|node| node.kind == Kind::Mailbox);
    mailboxes.map(|node| network.metric(&node.name, "veilpost_mailbox_commands_in_total")).sum()
}
