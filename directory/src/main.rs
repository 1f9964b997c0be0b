//! `veilpost-directory`: keys of authorities, and a signed network document for a fixed set of nodes.

use clap::{Parser, Subcommand};
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};
use veilpost_daemon::{
    clock::Clock,
    keys, network,
    stop::{self, Failure},
};
use veilpost_directory::FixedNetwork;
use veilpost_packet::{primitives::SigningSecret, time::Epoch};
use veilpost_pki::{Descriptor, NetworkFile, Params, Role, network::BootstrapEntry, signed::sign_view};

/// Makes and signs a Veilpost network's document.
#[derive(Parser)]
#[command(version, after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  veilpost-directory new-authority --out authority-1.key
  veilpost-directory make-document --name example --faulty 1 --authority authority-1.key --authority authority-2.key \\
      --authority authority-3.key --authority authority-4.key --descriptor mix-1/descriptor ... --out network
  veilpost-directory show --network network/network.toml --document network/document";

#[derive(Subcommand)]
enum Command {
    /// Make an authority's signing key and print its public half.
    NewAuthority {
        /// Where to write the secret key; never overwritten.
        #[arg(long)]
        out: PathBuf,
    },
    /// Make and sign the document of a fixed set of nodes, and the network file that clients start from.
    MakeDocument(MakeDocument),
    /// Check a document as every node and client does, and print what it says.
    Show {
        /// The network file.
        #[arg(long)]
        network: PathBuf,
        /// The signed document.
        #[arg(long)]
        document: PathBuf,
    },
}

#[derive(clap::Args)]
struct MakeDocument {
    /// The network's name, part of its id.
    #[arg(long)]
    name: String,
    /// Secret key of an authority; give one for each. Document and network id need all of them.
    #[arg(long = "authority", required = true)]
    authorities: Vec<PathBuf>,
    /// How many authorities may be hostile.
    #[arg(long, default_value_t = 0)]
    faulty: usize,
    /// Descriptor of a node, as its `init` wrote it; mixes are dealt to the layers in the order given.
    #[arg(long = "descriptor", required = true)]
    descriptors: Vec<PathBuf>,
    /// Number of the epoch.
    #[arg(long, default_value_t = 1)]
    epoch: u64,
    /// Days that the document is valid.
    #[arg(long, default_value_t = 30)]
    valid_days: u32,
    /// Divide all means and periods by this; for test networks only.
    #[arg(long, default_value_t = 1)]
    hurry: u32,
    /// Folder for `document` and `network.toml`.
    #[arg(long)]
    out: PathBuf,
}

fn main() -> ExitCode {
    stop::exit(match Arguments::parse().command {
        Command::NewAuthority { out } => new_authority(&out),
        Command::MakeDocument(arguments) => make_document(&arguments),
        Command::Show { network, document } => show(&network, &document),
    })
}

fn new_authority(out: &Path) -> Result<(), Failure> {
    let seed = keys::fresh().map_err(Failure::runtime)?;
    keys::write(out, &seed).map_err(Failure::config)?;
    say(&SigningSecret::from_seed(seed.expose()).authority_id().to_string());
    Ok(())
}

fn make_document(arguments: &MakeDocument) -> Result<(), Failure> {
    let secret = |path: &PathBuf| keys::read(path).map(|seed| SigningSecret::from_seed(seed.expose()));
    let authorities =
        arguments.authorities.iter().map(secret).collect::<Result<Vec<_>, _>>().map_err(Failure::config)?;
    let descriptors = arguments.descriptors.iter().map(|path| descriptor(path)).collect::<Result<Vec<_>, _>>()?;
    let file = NetworkFile {
        name: arguments.name.clone(),
        faulty: arguments.faulty,
        authorities: authorities.iter().map(SigningSecret::authority_id).collect(),
        entries: descriptors.iter().filter_map(bootstrap).collect(),
    };
    let set = file.authority_set().map_err(Failure::config)?;
    let params = if arguments.hurry > 1 { Params::hurried(arguments.hurry) } else { Params::standard() };
    params.check().map_err(|error| Failure::config(format!("--hurry {}: {error}", arguments.hurry)))?;
    // A minute back, so that nodes whose clocks are a little behind take it at once.
    let valid_after = Clock::start().now() - Duration::from_secs(60);
    let fixed = FixedNetwork {
        network: set.network(),
        descriptors: &descriptors,
        params,
        epoch: Epoch(arguments.epoch),
        valid_after,
        valid_for: Duration::from_secs(86_400) * arguments.valid_days,
    };
    let document = sign_view(&fixed.view().map_err(Failure::config)?, &authorities);
    std::fs::create_dir_all(&arguments.out).map_err(Failure::runtime)?;
    keys::write_public(&arguments.out.join("document"), &document).map_err(Failure::runtime)?;
    keys::write_public(&arguments.out.join("network.toml"), file.to_text().as_bytes()).map_err(Failure::runtime)?;
    say(&format!(
        "signed by {} authorities ({} needed): {} nodes, {} bytes, valid {} days",
        authorities.len(),
        set.threshold(),
        descriptors.len(),
        document.len(),
        arguments.valid_days
    ));
    Ok(())
}

fn descriptor(path: &Path) -> Result<Descriptor, Failure> {
    let wrong = |error: &dyn std::fmt::Display| Failure::config(format!("{}: {error}", path.display()));
    let bytes = std::fs::read(path).map_err(|error| wrong(&error))?;
    Descriptor::verify(&bytes).map_err(|error| wrong(&error))
}

fn bootstrap(descriptor: &Descriptor) -> Option<BootstrapEntry> {
    let address = descriptor.addresses.first().filter(|_| descriptor.role == Role::Entry)?;
    Some(BootstrapEntry { id: descriptor.id, address: *address, link_key: descriptor.link_key })
}

fn show(network_file: &Path, document: &Path) -> Result<(), Failure> {
    let file = network::load_network(network_file).map_err(Failure::config)?;
    let document = network::load_document(document, &file, Clock::start().now()).map_err(Failure::config)?;
    let set = file.authority_set().map_err(Failure::config)?;
    say(&format!("network   {} ({})", file.name, document.network));
    say(&format!(
        "epoch     {}, valid for {} h more",
        document.epoch.0,
        document.valid_until.since(Clock::start().now()).as_secs() / 3_600
    ));
    say(&format!("threshold {} of {} authorities", set.threshold(), file.authorities.len()));
    for (place, relay) in document.relays() {
        say(&format!("{:<10}{} {:?}", format!("{place:?}").to_lowercase(), relay.id, relay.addresses));
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "this is the command's output")]
fn say(line: &str) {
    println!("{line}");
}
