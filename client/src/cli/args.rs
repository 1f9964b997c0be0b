//! Commands and flags of `veilpost`. Scripts rely on these names.

use crate::api::types::{Profile, Transport};
use clap::{ArgGroup, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Write to people without showing anyone who writes to whom, when, and how much.
#[derive(Debug, Parser)]
#[command(name = "veilpost", version, max_term_width = 100, after_help = EXAMPLES, disable_help_subcommand = true)]
pub(super) struct Args {
    /// Folder of the account [default: $VEILPOST_HOME, else ~/.local/share/veilpost]
    #[arg(long, global = true, value_name = "DIR")]
    pub(super) home: Option<PathBuf>,

    /// Print one JSON object a line
    #[arg(long, global = true)]
    pub(super) json: bool,

    /// File that holds the account's passphrase; without it the key is in the system keychain
    #[arg(long, global = true, value_name = "FILE")]
    pub(super) passphrase_file: Option<PathBuf>,

    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make an account in the home folder
    #[command(after_help = "Example:\n  veilpost init --network network.toml --name Alice")]
    Init {
        /// File that describes the network: its authorities and where to knock first
        #[arg(long, value_name = "FILE")]
        network: PathBuf,
        /// Name that contacts are told [default: the user's name]
        #[arg(long)]
        name: Option<String>,
        /// How much traffic to make; `veilpost profile` shows what each costs
        #[arg(long, value_name = "PROFILE", default_value = "standard")]
        profile: Profile,
        /// Way to the network; `veilpost transport` shows who learns what by each
        #[arg(long, value_name = "TRANSPORT", default_value = "mixnet")]
        transport: Transport,
    },

    /// Run the daemon, which sends, receives and keeps up cover traffic; prints `ready` when it answers
    #[command(after_help = "Example:\n  veilpost daemon --background\n\nSet VEILPOST_LOG to debug for more to read.")]
    Daemon {
        /// Return when it is ready, and leave it running; its log is daemon.log in the home folder
        #[arg(long)]
        background: bool,
    },

    /// Stop the daemon; what is queued stays on disk
    Stop,

    /// Show how the daemon is doing
    Status,

    /// Show what each profile costs in traffic and delay, or choose one
    #[command(after_help = "Example:\n  veilpost profile metered")]
    Profile {
        /// The one to use from the next connection on
        profile: Option<Profile>,
        /// Do not ask
        #[arg(long, requires = "profile")]
        yes: bool,
    },

    /// Show who learns what by each way to the network, or choose one
    #[command(
        after_help = "Examples:\n  veilpost transport\n  veilpost transport mixnet-over-tor\n\nSettings of Tor itself, such as \
                            bridges, go into tor.toml in the home folder, in arti's words. They are read when Tor is opened: with \
                            the daemon, or by a change from mixnet."
    )]
    Transport {
        /// The one to use from now on
        transport: Option<Transport>,
        /// Do not ask
        #[arg(long, requires = "transport")]
        yes: bool,
    },

    /// Make a link with which one person becomes a contact; it works once, for 14 days
    #[command(after_help = "Example:\n  veilpost invite --name Bob --qr")]
    Invite {
        /// Your name for whoever answers [default: the name they tell]
        #[arg(long)]
        name: Option<String>,
        /// Show the link as a QR code too
        #[arg(long)]
        qr: bool,
    },

    /// Open a link that someone gave you
    #[command(after_help = "Example:\n  veilpost accept LINK --name Alice")]
    Accept {
        /// The link, 60 letters and digits
        link: String,
        /// Your name for whoever made it [default: the name they tell]
        #[arg(long)]
        name: Option<String>,
    },

    /// List contacts; with --json only those you can write to
    Contacts,

    /// Show a contact's safety number, to be compared with theirs
    Safety {
        /// The contact's name
        contact: String,
    },

    /// Mark a contact as verified, after comparing safety numbers
    Verify {
        /// The contact's name
        contact: String,
    },

    /// Send a text or a file
    #[command(
        override_usage = "veilpost send [OPTIONS] <CONTACT> <TEXT | - | --file PATH>",
        group = ArgGroup::new("what").required(true).args(["text", "file"]),
        after_help = "Examples:\n  veilpost send Bob \"See you at eight\" --wait delivered --timeout 300\n  \
                      veilpost send Bob --file photo.jpg\n  date | veilpost send Bob -"
    )]
    Send {
        /// The contact's name
        contact: String,
        /// The text, or - to read it from standard input (at most 64 KiB)
        text: Option<String>,
        /// A file instead (at most 64 MiB)
        #[arg(long, value_name = "PATH")]
        file: Option<PathBuf>,
        /// Return only when the message has come this far
        #[arg(long, value_name = "STATE")]
        wait: Option<Goal>,
        /// Wait at most this long; exit code 5 if it was too short
        #[arg(long, value_name = "SECONDS", default_value_t = 3_600,
              value_parser = clap::value_parser!(u64).range(1..=1_209_600))]
        timeout: u64,
    },

    /// Show messages, oldest first
    #[command(after_help = "Example:\n  veilpost inbox --follow --save ~/Downloads")]
    Inbox {
        /// Keep showing what comes in
        #[arg(long)]
        follow: bool,
        /// Write received files into this folder; nothing is overwritten
        #[arg(long, value_name = "DIR")]
        save: Option<PathBuf>,
    },

    /// Print completions for a shell
    #[command(
        after_help = "Example:\n  veilpost completions bash > ~/.local/share/bash-completion/completions/veilpost"
    )]
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

/// How far `send --wait` waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Goal {
    /// On as many mailboxes as the network asks for
    Stored,
    /// On the recipient's device
    Delivered,
}

const EXAMPLES: &str = "\
First steps:
  veilpost init --network network.toml --name Alice    make an account
  veilpost daemon --background                         start it
  veilpost invite --name Bob                           a link for Bob
  veilpost send Bob \"Hello\" --wait delivered           write
  veilpost inbox --follow                              read

Exit codes: 0 done, 2 usage, 3 no daemon, 4 network unreachable, 5 timed out, 6 refused (standard error says why).";
