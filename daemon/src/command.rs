//! The command line that every relay daemon has: `init`, `run`, `check-config`, `leave`.

use crate::{
    clock::Clock,
    config::NodeConfig,
    leave, logs, network, onion,
    stop::{self, Failure},
};
use clap::Subcommand;
use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
};
use veilpost_pki::Descriptor;

/// What a relay's program can be asked to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make the node's keys, if they are not there, and write its signed descriptor to the data folder.
    Init {
        /// The configuration file.
        #[arg(long)]
        config: PathBuf,
        /// The epoch of the first Sphinx key: that of the network document to come.
        #[arg(long, default_value_t = 1)]
        epoch: u64,
    },
    /// Run until told to stop. Prints the line `ready` when links are accepted.
    Run {
        /// The configuration file.
        #[arg(long)]
        config: PathBuf,
    },
    /// Leave the network: stop publishing descriptors; the running node ends with exit code 0 when the document in force does
    /// not list it any more and nothing can be on its way to it.
    Leave {
        /// The configuration file.
        #[arg(long)]
        config: PathBuf,
        /// Stay after all.
        #[arg(long)]
        undo: bool,
    },
    /// Say how the node's onion service stands, and its address.
    #[command(after_help = "Example, with `onion = true` under [node]:\n  … onion --config node.toml")]
    Onion {
        /// The configuration file.
        #[arg(long)]
        config: PathBuf,
    },
    /// Check the configuration, and the network file and document if they are there, and say what is wrong.
    CheckConfig {
        /// The configuration file.
        #[arg(long)]
        config: PathBuf,
    },
}

/// A relay as its program sees it.
pub trait Relay: Sized {
    /// Its checked configuration.
    type Config;

    /// Reads and checks the configuration file.
    ///
    /// # Errors
    /// [`Failure::Config`].
    fn load(path: &Path) -> Result<Self::Config, Failure>;

    /// The part that all relays have.
    fn node(config: &Self::Config) -> &NodeConfig;

    /// Makes keys and descriptor.
    ///
    /// # Errors
    /// [`Failure`].
    fn init(config: &Self::Config, epoch: u64) -> Result<Descriptor, Failure>;

    /// Opens everything and accepts links.
    fn start(config: Self::Config) -> impl Future<Output = Result<Self, Failure>>;

    /// Runs until `stop` completes, or until it has left its network.
    fn run(self, stop: impl Future<Output = ()>) -> impl Future<Output = Result<(), Failure>>;
}

/// Does what the command line says; the end of a relay's `main`.
pub fn execute<R: Relay>(command: Command) -> ExitCode {
    stop::exit(match command {
        Command::Init { config, epoch } => R::load(&config).and_then(|config| init::<R>(&config, epoch)),
        Command::Onion { config } => R::load(&config).and_then(|config| show_onion(R::node(&config))),
        Command::Leave { config, undo } => {
            R::load(&config).and_then(|config| leave::mark(&R::node(&config).data_dir, !undo).map_err(Failure::runtime))
        }
        Command::CheckConfig { config } => R::load(&config)
            .and_then(|config| network::check_files(R::node(&config), &Clock::start()).map_err(Failure::config)),
        Command::Run { config } => R::load(&config).and_then(run::<R>),
    })
}

fn show_onion(config: &NodeConfig) -> Result<(), Failure> {
    let none = "this node has no onion service; set `onion = true` under [node]";
    let line = onion::line(config, Clock::start().now()).ok_or_else(|| Failure::Config(none.into()))?;
    writeln!(std::io::stdout(), "{line}").map_err(Failure::runtime)
}

/// Prints what the authorities' operators need.
fn init<R: Relay>(config: &R::Config, epoch: u64) -> Result<(), Failure> {
    let node = R::node(config);
    let file =
        node.network.exists().then(|| network::load_network(&node.network)).transpose().map_err(Failure::config)?;
    onion::init(node, file.as_ref())?;
    let Descriptor { id, role, .. } = R::init(config, epoch)?;
    let text =
        format!("# For nodes.toml of every authority:\n[[node]]\nid = \"{id}\"\nrole = \"{role}\"\nnote = \"\"\n");
    std::io::stdout().write_all(text.as_bytes()).map_err(Failure::runtime)
}

fn run<R: Relay>(config: R::Config) -> Result<(), Failure> {
    logs::start(&R::node(&config).log).map_err(Failure::config)?;
    let runtime = tokio::runtime::Runtime::new().map_err(Failure::runtime)?;
    let ended = runtime.block_on(async {
        let stop = stop::requested().map_err(Failure::runtime)?;
        let relay = R::start(config).await?;
        stop::announce_ready();
        relay.run(stop).await
    });
    // The relay has closed all that must be closed. A thread of arti's onion services sleeps by this runtime's clock, never ends,
    // and panics if the runtime does: so that ends with the process, which is over now.
    std::mem::forget(runtime);
    ended
}
