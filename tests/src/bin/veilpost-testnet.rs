//! `veilpost-testnet`: a Veilpost network of real processes on loopback.
#![allow(clippy::print_stdout, clippy::print_stderr, clippy::disallowed_methods, reason = "a command-line tool")]

use clap::{Parser, Subcommand};
use rustix::process::Signal;
use std::{ffi::OsString, fs::File, path::PathBuf, process::ExitCode, time::Duration};
use veilpost_tests::{
    lines, namespace,
    observer::{Observer, Watched},
    testnet::{FAST, Kind, Result, Shape, Testnet},
};

/// Starts and stops a Veilpost network of real processes on loopback, one folder each. For tests and demonstrations only:
/// whoever runs all nodes sees everything.
#[derive(Parser)]
#[command(version, after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  veilpost-testnet up --dir /tmp/net --fast
  veilpost --home /tmp/alice --passphrase-file pass init --network /tmp/net/network.toml --name Alice
  veilpost-testnet kill --dir /tmp/net mailbox-1
  veilpost-testnet start --dir /tmp/net mailbox-1
  veilpost-testnet add --dir /tmp/net mix
  veilpost-testnet remove --dir /tmp/net mix-2
  veilpost-testnet capture --dir /tmp/net --out lines.parquet --seconds 60 --client alice=1234
  veilpost-testnet lines --out lines.parquet --seconds 120
  veilpost-testnet down --dir /tmp/net
  veilpost-testnet up --dir /tmp/tor --fast --tor
  veilpost-testnet exec --dir /tmp/tor -- veilpost --home /tmp/bob transport tor";

/// How long onion services may take until clients can reach them.
const ONIONS: Duration = Duration::from_secs(120);

#[derive(Subcommand)]
enum Command {
    /// Make a network and start it; prints `ready` when its authorities have agreed and every node relays. DIR/network.toml is for `veilpost init`.
    Up {
        /// Folder of the network.
        #[arg(long)]
        dir: PathBuf,
        /// Divide all means and periods by 8.
        #[arg(long)]
        fast: bool,
        /// A parameter that the authorities vote for, as in send_gap=80: durations in milliseconds, and plain numbers. May be given
        /// several times.
        #[arg(long = "param", value_name = "NAME=VALUE", value_parser = param)]
        params: Vec<(String, u64)>,
        /// Length of an epoch in seconds; 3600, or 30 with --fast.
        #[arg(long, value_parser = clap::value_parser!(u64).range(5..=604_800))]
        epoch: Option<u64>,
        /// Authorities that vote; fewer than a third of them may be hostile.
        #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=32))]
        authorities: u8,
        /// Layers of mixes; the packet format has exactly three.
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(3..=3))]
        layers: u8,
        /// Mixes per layer.
        #[arg(long, default_value_t = 2)]
        width: usize,
        /// Entries.
        #[arg(long, default_value_t = 2)]
        entries: usize,
        /// Mailboxes.
        #[arg(long, default_value_t = 3)]
        mailboxes: usize,
        /// A private Tor network under it (Debian's `tor`), with onion services on entries and mailboxes: for clients of the transports
        /// `mixnet-over-tor` and `tor`. Everything runs in a network namespace that has only loopback; see `exec`.
        #[arg(long)]
        tor: bool,
    },
    /// Run a program where a network with --tor runs: in its network namespace. Needs the rights that `up` had.
    Exec {
        /// Folder of the network.
        #[arg(long)]
        dir: PathBuf,
        /// Program and arguments.
        #[arg(trailing_var_arg = true, required = true)]
        command: Vec<OsString>,
    },
    /// Add a node to a network that runs; prints its name when it relays, two epochs later at most.
    Add {
        /// Folder of the network.
        #[arg(long)]
        dir: PathBuf,
        /// mix, entry or mailbox.
        #[arg(value_parser = kind)]
        kind: Kind,
    },
    /// Take a node off the authorities' lists, and stop it once no document lists it.
    Remove {
        /// Folder of the network.
        #[arg(long)]
        dir: PathBuf,
        /// The node, as `list` shows it.
        node: String,
    },
    /// Stop all nodes; logs and data stay in the folder.
    Down {
        /// Folder of the network.
        #[arg(long)]
        dir: PathBuf,
    },
    /// Send a signal to a node.
    Kill {
        /// Folder of the network.
        #[arg(long)]
        dir: PathBuf,
        /// The node, as `list` shows it.
        node: String,
        /// KILL, TERM, INT, STOP or CONT.
        #[arg(long, default_value = "KILL", value_parser = signal)]
        signal: Signal,
    },
    /// Start a node that is down.
    Start {
        /// Folder of the network.
        #[arg(long)]
        dir: PathBuf,
        /// The node, as `list` shows it.
        node: String,
    },
    /// Watch all lines for a while, as somebody on each of them would, and write when, between whom and how many bytes: an Apache
    /// Parquet file that the lab reads. Needs root, or the capability CAP_NET_RAW.
    Capture {
        /// Folder of the network.
        #[arg(long)]
        dir: PathBuf,
        /// The file to write; must not exist.
        #[arg(long)]
        out: PathBuf,
        /// How long.
        #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
        seconds: u64,
        /// A client's daemon, as in alice=1234 with its process id. May be given several times; lines of others are left out.
        #[arg(long = "client", value_name = "NAME=PID", value_parser = client)]
        clients: Vec<Watched>,
    },
    /// Make a fast network with four people, two of whom write, watch all lines as `capture` does, and take everything down again: a
    /// capture for `veilpost-lab lines` and `veilpost-lab report --real`. Needs root, or the capability CAP_NET_RAW.
    Lines {
        /// The file to write; replaced if it exists.
        #[arg(long)]
        out: PathBuf,
        /// How long.
        #[arg(long, default_value_t = 120, value_parser = clap::value_parser!(u64).range(30..=86_400))]
        seconds: u64,
    },
    /// Show all nodes.
    List {
        /// Folder of the network.
        #[arg(long)]
        dir: PathBuf,
    },
}

fn kind(word: &str) -> std::result::Result<Kind, String> {
    let kinds = [Kind::Mix, Kind::Entry, Kind::Mailbox];
    kinds.into_iter().find(|kind| kind.word() == word).ok_or_else(|| "expected mix, entry or mailbox".into())
}

fn signal(name: &str) -> std::result::Result<Signal, String> {
    match name.trim_start_matches("SIG") {
        "KILL" => Ok(Signal::KILL),
        "TERM" => Ok(Signal::TERM),
        "INT" => Ok(Signal::INT),
        "STOP" => Ok(Signal::STOP),
        "CONT" => Ok(Signal::CONT),
        _ => Err("expected KILL, TERM, INT, STOP or CONT".into()),
    }
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("veilpost-testnet: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::Up { dir, fast, epoch, authorities, width, entries, mailboxes, params, tor, .. } => {
            if tor {
                namespace::enter()?;
            }
            let epoch = epoch.map(Duration::from_secs);
            let shape = Shape { authorities: authorities.into(), width, entries, mailboxes, fast, epoch, params, tor };
            let network = Testnet::up(&dir, &shape)?;
            if fast {
                let epoch = shape.epoch().as_secs();
                eprintln!("fast: all means and periods are divided by {FAST}, and an epoch lasts {epoch} s");
            }
            if tor {
                network.wait_onions(ONIONS)?;
                eprintln!("run programs where it is: veilpost-testnet exec --dir {} -- veilpost …", dir.display());
            }
            println!("ready");
        }
        Command::Exec { dir, command } => namespace::exec_beside(&Testnet::open(&dir)?, &command)?,
        Command::Add { dir, kind } => println!("{}", Testnet::open(&dir)?.add(kind)?),
        Command::Remove { dir, node } => Testnet::open(&dir)?.remove(&node)?,
        Command::Down { dir } => Testnet::open(&dir)?.down()?,
        Command::Kill { dir, node, signal } => Testnet::open(&dir)?.kill(&node, signal)?,
        Command::Start { dir, node } => Testnet::open(&dir)?.start(&node)?,
        Command::Capture { dir, out, seconds, clients } => {
            let network = Testnet::open(&dir)?;
            // Before the watch: a name that is taken costs nothing then.
            let file = File::create_new(&out).map_err(|error| format!("{}: {error}", out.display()))?;
            let observer = Observer::start(&network, clients)?;
            eprintln!("watching for {seconds} s");
            std::thread::sleep(Duration::from_secs(seconds));
            let capture = observer.finish()?;
            capture.write(file)?;
            println!("{} datagrams", capture.rows.len());
        }
        Command::Lines { out, seconds } => {
            let file = File::create(&out).map_err(|error| format!("{}: {error}", out.display()))?;
            let folder = tempfile::tempdir()?;
            eprintln!("a fast network comes up, and is watched for {seconds} s");
            let capture = lines::capture(folder.path(), Duration::from_secs(seconds))?;
            capture.write(file)?;
            println!("{} datagrams", capture.rows.len());
        }
        Command::List { dir } => {
            let network = Testnet::open(&dir)?;
            for node in network.nodes() {
                let state =
                    network.pid(&node.name).map_or("down".to_owned(), |pid| format!("pid {}", pid.as_raw_nonzero()));
                println!("{:<12} {:<10} {:<22} {state}", node.name, node.kind.word(), node.listen);
            }
        }
    }
    Ok(())
}

fn client(text: &str) -> std::result::Result<Watched, String> {
    let (name, pid) = text.split_once('=').ok_or("write it as NAME=PID, such as alice=1234")?;
    let pid = pid.parse().map_err(|_| format!("{pid} is no process id"))?;
    Ok(Watched { name: name.to_owned(), pid })
}

fn param(text: &str) -> std::result::Result<(String, u64), String> {
    let (name, value) = text.split_once('=').ok_or("write it as NAME=VALUE, such as send_gap=80")?;
    let value = value.parse().map_err(|_| format!("{value} is no number"))?;
    Ok((name.to_owned(), value))
}
