//! `veilpost-directory`: an authority of a Veilpost network, and the commands of its operator.

use clap::{Parser, Subcommand};
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};
use veilpost_daemon::{
    keys, logs,
    stop::{self, Failure},
};
use veilpost_directory::{Config, Node, tool};
use veilpost_packet::{ids::AuthorityId, time::Epoch};
use veilpost_pki::NetworkFile;

/// Votes with the other authorities on a Veilpost network's document, and serves it.
#[derive(Parser)]
#[command(version, after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples, on each authority's machine:
  veilpost-directory init --config authority.toml          # prints the key; data/authority.toml is for the others
  veilpost-directory run --config authority.toml
  veilpost-directory status --config authority.toml

Once for a network, with the files that `init` wrote on four machines:
  veilpost-directory new-network --name example --faulty 1 --authority a.toml --authority b.toml \\
      --authority c.toml --authority d.toml --starts-in 20m --out network.toml
  veilpost-directory add-entry --network network.toml --descriptor entry/data/descriptor

A new key for authority B, from epoch 900 on, agreed by the old authorities:
  veilpost-directory propose-handover --authority A --authority B2 --authority C --authority D --faulty 1 --from-epoch 900 --out next
  veilpost-directory sign-handover --config authority.toml --handover next      # on each machine
  veilpost-directory merge-handovers --out handovers/1 next-a next-b next-c     # then into every handovers folder";

#[derive(Subcommand)]
enum Command {
    /// Make this authority's keys, if they are not there, and print the public ones.
    Init {
        /// The configuration file.
        #[arg(long)]
        config: PathBuf,
    },
    /// Run until told to stop. Prints the line `ready` when links are accepted.
    Run {
        /// The configuration file.
        #[arg(long)]
        config: PathBuf,
    },
    /// Check configuration, network file, list of nodes and keys, and say what is wrong.
    CheckConfig {
        /// The configuration file.
        #[arg(long)]
        config: PathBuf,
    },
    /// Show what a running authority says of itself; it needs `http` in its configuration.
    Status {
        /// The configuration file.
        #[arg(long)]
        config: PathBuf,
    },
    /// Make the file that authorities, nodes and clients start from.
    NewNetwork {
        /// The network's name, part of its id.
        #[arg(long)]
        name: String,
        /// What `init` wrote for an authority; give one for each.
        #[arg(long = "authority", required = true)]
        authorities: Vec<PathBuf>,
        /// How many authorities may be hostile: fewer than a third.
        #[arg(long, default_value_t = 0)]
        faulty: usize,
        /// Length of an epoch, as in 1h, 30m or 45s.
        #[arg(long, default_value = "1h", value_parser = duration)]
        epoch: Duration,
        /// Length of a phase of a voting round.
        #[arg(long, default_value = "225s", value_parser = duration)]
        phase: Duration,
        /// When the first epoch begins. The first round is held before it, so all authorities and nodes must run by then.
        #[arg(long, default_value = "1h", value_parser = duration)]
        starts_in: Duration,
        /// Where to write the network file; never overwritten.
        #[arg(long)]
        out: PathBuf,
    },
    /// Add an entry to a network file, for clients to start from.
    AddEntry {
        /// The network file.
        #[arg(long)]
        network: PathBuf,
        /// The entry's descriptor, as its `init` wrote it.
        #[arg(long = "descriptor", required = true)]
        descriptors: Vec<PathBuf>,
    },
    /// Check a document as every node and client does, and print what it says.
    Show {
        /// The network file.
        #[arg(long)]
        network: PathBuf,
        /// The signed document.
        #[arg(long)]
        document: PathBuf,
    },
    /// Write down a change of the authorities, to be signed by those that are.
    ProposeHandover {
        /// Key of an authority from then on; give one for each.
        #[arg(long = "authority", required = true)]
        authorities: Vec<AuthorityId>,
        /// How many of them may be hostile.
        #[arg(long, default_value_t = 0)]
        faulty: usize,
        /// The epoch from which on they decide.
        #[arg(long)]
        from_epoch: u64,
        /// Where to write the hand-over.
        #[arg(long)]
        out: PathBuf,
    },
    /// Sign a hand-over with this authority's key.
    SignHandover {
        /// The configuration file.
        #[arg(long)]
        config: PathBuf,
        /// The hand-over; the signature is added to it.
        #[arg(long)]
        handover: PathBuf,
    },
    /// Put signatures of several copies of a hand-over together.
    MergeHandovers {
        /// The copies.
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// Where to write the whole.
        #[arg(long)]
        out: PathBuf,
    },
}

fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text} is no length of time; write 45s, 30m, 1h or 500ms");
    let split = text.find(|letter: char| !letter.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at_checked(split).ok_or_else(wrong)?;
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(wrong()),
    };
    Ok(Duration::from_millis(number.saturating_mul(millis)))
}

fn main() -> ExitCode {
    stop::exit(execute(Arguments::parse().command))
}

fn execute(command: Command) -> Result<(), Failure> {
    match command {
        Command::Init { config } => {
            let config = Config::load(&config)?;
            let own = tool::init(&config)?;
            say(&format!("authority {}", own.id));
            say(&format!("for the network file: {}", config.data_dir.join("authority.toml").display()));
        }
        Command::Run { config } => run(Config::load(&config)?)?,
        Command::CheckConfig { config } => tool::check(&Config::load(&config)?)?,
        Command::Status { config } => status(&Config::load(&config)?)?,
        Command::NewNetwork { name, authorities, faulty, epoch, phase, starts_in, out } => {
            if out.exists() {
                return Err(Failure::Config(format!("{} is there already", out.display())));
            }
            let new = tool::NewNetwork { name: &name, authorities: &authorities, faulty, epoch, phase, starts_in };
            let file = new.file()?;
            write_network(&file, &out)?;
            say(&format!("{} authorities, {} must agree on a document", file.authorities.len(), threshold(&file)?));
        }
        Command::AddEntry { network, descriptors } => {
            let mut file = veilpost_daemon::network::load_network(&network).map_err(Failure::config)?;
            descriptors.iter().try_for_each(|descriptor| tool::add_entry(&mut file, descriptor))?;
            write_network(&file, &network)?;
            say(&format!("{} entries", file.entries.len()));
        }
        Command::Show { network, document } => show(&network, &document)?,
        Command::ProposeHandover { authorities, faulty, from_epoch, out } => {
            tool::propose(&authorities, faulty, Epoch(from_epoch), &out)?;
        }
        Command::SignHandover { config, handover } => {
            let (signed, needed) = tool::sign_handover(&Config::load(&config)?, &handover)?;
            say(&format!("{signed} of the authorities that hand over have signed; {needed} must"));
        }
        Command::MergeHandovers { files, out } => tool::merge_handovers(&files, &out)?,
    }
    Ok(())
}

fn run(config: Config) -> Result<(), Failure> {
    logs::start(&config.log).map_err(Failure::config)?;
    let runtime = tokio::runtime::Runtime::new().map_err(Failure::runtime)?;
    runtime.block_on(async {
        let stop = stop::requested().map_err(Failure::runtime)?;
        let node = Node::start(config).await?;
        stop::announce_ready();
        node.run(stop).await
    })
}

fn write_network(file: &NetworkFile, out: &Path) -> Result<(), Failure> {
    keys::write_public(out, file.to_text().as_bytes()).map_err(Failure::runtime)
}

fn threshold(file: &NetworkFile) -> Result<usize, Failure> {
    Ok(file.authority_set().map_err(Failure::config)?.threshold())
}

fn show(network: &Path, path: &Path) -> Result<(), Failure> {
    let document = tool::document(network, path)?;
    let committee = document.authorities().committee(document.epoch);
    say(&format!("network   {}", document.network));
    say(&format!("epoch     {}", document.epoch.0));
    say(&format!("threshold {} of {} authorities", committee.threshold(), committee.keys().count()));
    for (place, relay) in document.relays() {
        say(&format!("{:<10}{} {:?}", format!("{place:?}").to_lowercase(), relay.id, relay.addresses));
    }
    Ok(())
}

fn status(config: &Config) -> Result<(), Failure> {
    let address = config.http.ok_or_else(|| Failure::Config("`status` needs `http` in the configuration".into()))?;
    let text = get(address).map_err(|error| {
        Failure::Runtime(format!("the authority does not answer on {address} ({error}): is it running?"))
    })?;
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    let status: serde_json::Value =
        serde_json::from_str(body).map_err(|_| Failure::Runtime("the authority has no status yet".into()))?;
    say(&serde_json::to_string_pretty(&status).map_err(Failure::runtime)?);
    Ok(())
}

fn get(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(b"GET /status.json HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.take(1 << 20).read_to_string(&mut text)?;
    Ok(text)
}

#[expect(clippy::print_stdout, reason = "this is the command's output")]
fn say(line: &str) {
    println!("{line}");
}
