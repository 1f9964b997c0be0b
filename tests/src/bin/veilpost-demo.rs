//! `veilpost-demo`: the main job from beginning to end, told as it happens.
#![allow(clippy::print_stdout, clippy::print_stderr, clippy::disallowed_methods, reason = "a command-line tool")]

use clap::Parser;
use rustix::process::Signal;
use serde_json::Value;
use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use veilpost_client::transport::Transport;
use veilpost_tests::{
    namespace,
    person::Person,
    testnet::{FAST, Kind, Result, Shape, Testnet},
};

/// How long one step may take before the demonstration gives up.
const STEP: Duration = Duration::from_secs(300);
/// Which mailbox dies, and how long after the file was sent: some of its boxes are stored by then.
const VICTIM: &str = "mailbox-1";
const UNDER_WAY: Duration = Duration::from_secs(8);
/// Size of the file that is sent.
const FILE: usize = 100 * 1024;

/// Shows the main job from beginning to end on a network of real processes on this computer.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// The same over a private Tor network: Alice by `mixnet-over-tor`, Bob by `tor`. Needs Debian's `tor`, and the right to make a
    /// network namespace.
    #[arg(long)]
    tor: bool,
}

fn main() -> ExitCode {
    match demo(Arguments::parse().tor) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("veilpost-demo: {error}");
            ExitCode::FAILURE
        }
    }
}

struct Story {
    started: Instant,
}

impl Story {
    fn tell(&self, line: &str) {
        println!("{:>7.1} s  {line}", self.started.elapsed().as_secs_f64());
    }
}

fn demo(tor: bool) -> Result<()> {
    if tor {
        namespace::enter()?;
    }
    let folder = tempfile::Builder::new().prefix("veilpost-demo-").tempdir()?;
    let shape = Shape { fast: true, tor, ..Shape::default() };
    println!("A network of real processes on loopback, its clocks {FAST} times faster than a real one's.\n");
    let story = Story { started: Instant::now() };
    let network = Testnet::up(&folder.path().join("net"), &shape)?;
    let result = tell(&story, folder.path(), &network);
    network.down()?;
    result?;
    story.tell("everything is taken down again");
    Ok(())
}

fn tell(story: &Story, folder: &std::path::Path, network: &Testnet) -> Result<()> {
    let count = |kind: Kind| network.nodes().iter().filter(|node| node.kind == kind).count();
    story.tell(&format!(
        "the network is up: {} authorities agreed on its document; {} mixes in 3 layers, {} entries, {} mailboxes",
        count(Kind::Authority),
        count(Kind::Mix),
        count(Kind::Entry),
        count(Kind::Mailbox)
    ));
    let transports = match network.tor() {
        None => [Transport::Mixnet; 2],
        Some(_) => {
            network.wait_onions(STEP)?;
            story.tell(
                "under it a Tor network of 3 authorities and 3 relays; entries and mailboxes have onion services",
            );
            [Transport::MixnetOverTor, Transport::Tor]
        }
    };
    let mut alice = Person::init_by(folder, "Alice", &network.network_file(), transports[0])?;
    let mut bob = Person::init_by(folder, "Bob", &network.network_file(), transports[1])?;
    for person in [&mut alice, &mut bob] {
        person.start()?;
        person.wait_connected(STEP)?;
        let status = person.json(&["status"])?;
        let transport = status.first().and_then(|line| line["transport"].as_str()).unwrap_or_default();
        story.tell(&format!("{} has an account and is connected by {transport}; cover traffic runs", person.name()));
    }
    let link = alice.invite("Bob")?;
    story.tell("Alice makes an invitation and gives Bob the link over a channel they trust:");
    println!("{:>11}{link}", "");
    bob.accept(&link, "Alice", STEP)?;
    story.tell("Bob opens it: Alice is his contact");
    alice.wait_contact("Bob", STEP)?;
    story.tell("Alice has Bob's answer: they have a Signal session and a stream of boxes each way");
    let safety = |person: &Person, contact: &str| -> Result<String> {
        let lines = person.json(&["safety", contact])?;
        Ok(lines.first().and_then(|line| line["digits"].as_str()).unwrap_or_default().to_owned())
    };
    if safety(&alice, "Bob")? != safety(&bob, "Alice")? {
        return Err("the safety numbers differ".into());
    }
    story.tell("their safety numbers agree");
    text(story, &alice, "Bob", &bob, "Shall we meet at the lighthouse?")?;
    text(story, &bob, "Alice", &alice, "At noon. I bring the maps.")?;
    file(story, folder, network, &bob, "Alice", &alice)?;
    what_relays_saw(network)?;
    for person in [&mut alice, &mut bob] {
        person.stop()?;
    }
    Ok(())
}

fn text(story: &Story, from: &Person, contact: &str, to: &Person, text: &str) -> Result<()> {
    story.tell(&format!("{} writes: {text}", from.name()));
    let sent = Instant::now();
    from.json(&["send", contact, text])?;
    to.wait_received(STEP, |lines| lines.iter().any(|line| line["text"] == text))?;
    story.tell(&format!("{} has it decrypted, {:.1} s later", to.name(), sent.elapsed().as_secs_f64()));
    Ok(())
}

fn file(
    story: &Story,
    folder: &std::path::Path,
    network: &Testnet,
    from: &Person,
    contact: &str,
    to: &Person,
) -> Result<()> {
    let bytes: Vec<u8> = (0..FILE).map(|n| (n * 31 % 251) as u8).collect();
    let path = folder.join("map.bin");
    std::fs::write(&path, &bytes)?;
    story.tell(&format!("{} sends a file of {} KiB", from.name(), FILE / 1024));
    let sent = Instant::now();
    from.json(&["send", contact, "--file", &path.display().to_string()])?;
    std::thread::sleep(UNDER_WAY);
    network.kill(VICTIM, Signal::KILL)?;
    story.tell(&format!(
        "{VICTIM} is killed on the way (kill -9); every box that it held lies on a second mailbox's disk"
    ));
    to.wait_received(STEP, |lines| lines.iter().any(|line| line["kind"] == "file" && line["state"] == "received"))?;
    let saved = folder.join("saved");
    let inbox = to.json(&["inbox", "--save", &saved.display().to_string()])?;
    let path = inbox.iter().find_map(|line| line["path"].as_str()).ok_or("the file was not saved")?;
    if std::fs::read(path)? != bytes {
        return Err("the file arrived changed".into());
    }
    story.tell(&format!("{} has it, byte for byte the same, {:.0} s later", to.name(), sent.elapsed().as_secs_f64()));
    network.start(VICTIM)?;
    story.tell(&format!("{VICTIM} is started again, and gets what was written while it was away"));
    let delivered = |line: &Value| line["direction"] == "out" && line["state"] == "delivered";
    let deadline = Instant::now() + STEP;
    while Instant::now() < deadline
        && !from.json(&["inbox"])?.iter().all(|line| line["direction"] == "in" || delivered(line))
    {
        std::thread::sleep(Duration::from_millis(200));
    }
    story.tell("all receipts are back: every message is shown as delivered");
    Ok(())
}

/// What each relay can count. Nothing else crosses its links: frames of one size on clocks that nobody's words move.
fn what_relays_saw(network: &Testnet) -> Result<()> {
    println!("\n{:<12} {:>10} {:>10}  what it could see", "relay", "packets in", "out");
    for node in network.nodes() {
        let (packets, out, seen) = match node.kind {
            Kind::Authority => continue,
            Kind::Mix => (
                network.metric(&node.name, "veilpost_mixnode_packets_in_total")?,
                network.metric(&node.name, "veilpost_mixnode_forwarded_total")?,
                "packets of one size from and to its neighbours; neither end, no content".to_owned(),
            ),
            Kind::Entry => {
                let sessions = network.metric(&node.name, "veilpost_mixnode_sessions")?;
                let out = network.metric(&node.name, "veilpost_mixnode_forwarded_total")?;
                (
                    network.metric(&node.name, "veilpost_mixnode_packets_in_total")?,
                    out,
                    match network.tor() {
                        None => format!(
                            "addresses of {sessions:.0} client(s) that send at one rate whether they write or not"
                        ),
                        Some(_) => format!("{sessions:.0} client(s) behind Tor, without addresses"),
                    },
                )
            }
            Kind::Mailbox => {
                let boxes = network.metric(&node.name, "veilpost_mailbox_boxes")?;
                (
                    network.metric(&node.name, "veilpost_mailbox_packets_in_total")?
                        + network.metric(&node.name, "veilpost_mailbox_commands_in_total")?,
                    network.metric(&node.name, "veilpost_mailbox_replies_total")?,
                    format!("{boxes:.0} sealed boxes, decoys among them, with unrelated ids; nobody's address"),
                )
            }
        };
        println!("{:<12} {packets:>10} {out:>10}  {seen}", node.name);
    }
    println!();
    Ok(())
}
