//! Onion services through arti, inside our own processes: byte streams to them, each over a circuit of its own, and publishing one.
//! Nobody needs a tor process.
//!
//! arti is compiled in with the cargo feature `tor` alone. Without it [`Tor::open`] says so, and nothing else changes: whoever uses this
//! crate does so in the same words.
//!
//! **Which Tor network.** Public clients and nodes use the public one. A network file may name a private one instead
//! ([`TorNetwork`]): then arti's built-in list of relays is replaced, never appended to, and unless the
//! file says otherwise every connection to an address that is not loopback is refused (`guard`).
//!
//! **Circuits.** Every stream to a service has a rendezvous circuit of its own, which ends with the stream: no two streams can be
//! linked by their circuit, at the service or on the way. What is remembered of a service, its descriptor, is shared by all of them.

#[cfg(feature = "tor")]
mod arti;
#[cfg(feature = "tor")]
mod circuits;
#[cfg(feature = "tor")]
mod config;
#[cfg(feature = "tor")]
mod guard;
#[cfg(feature = "tor")]
mod service;

#[cfg(not(feature = "tor"))]
mod absent;

mod error;
mod stream;

#[cfg(not(feature = "tor"))]
pub use absent::{Service, Tor};
#[cfg(feature = "tor")]
pub use arti::Tor;
pub use error::TorError;
#[cfg(feature = "tor")]
pub use service::Service;
pub use stream::OnionStream;

use std::{path::PathBuf, time::Duration};
use veilpost_pki::network::TorNetwork;

/// The one port of every onion service of the network.
pub const PORT: u16 = 443;
/// How long a stream to an onion service may take: a descriptor, an introduction and a rendezvous, each of which may be tried again.
pub const CONNECT: Duration = Duration::from_secs(60);
/// How long one try to get the directory of the Tor network may take.
pub const BOOTSTRAP: Duration = Duration::from_secs(120);
/// Streams to a published service that wait to be taken.
pub const ARRIVALS: usize = 64;
/// Circuits of clients that a published service bears at one time.
pub const CIRCUITS: usize = 4_096;

/// For filters of logs, before what people ask for: arti speaks of circuits at levels where this project does not, and of exits that
/// nobody here wants.
pub const LOG: &str = "tor_=error,arti_=error";

/// True if this program can use Tor.
pub const BUILT: bool = cfg!(feature = "tor");

/// What Tor is started with.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Where it keeps its directory, guards and keys; one process at a time. Made if it is not there.
    pub folder: PathBuf,
    /// The private Tor network to use; the public one if there is none.
    pub network: Option<TorNetwork>,
    /// A file with settings of arti's own, such as `[bridges]`. What this crate sets comes after it.
    pub settings: Option<PathBuf>,
}

/// What an onion service asks of clients when too many come at one time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Defence {
    /// Tor's own proof of work: who asks for an introduction works for it. For services whose clients come seldom and stay.
    Work,
    /// Nothing beyond [`CIRCUITS`]: for services whose honest clients come every few seconds, whom work would hit first.
    Bounds,
}

/// How an onion service stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reachability {
    /// Not published yet.
    Starting,
    /// Clients can reach it.
    Reachable,
    /// Something is wrong with some of its introduction points or directories; some clients may reach it.
    Impaired,
    /// Nobody can reach it.
    Broken,
}

impl Reachability {
    /// As one word, for status files and metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Reachable => "reachable",
            Self::Impaired => "impaired",
            Self::Broken => "broken",
        }
    }
}

/// True if this is the name of a version 3 onion service: 56 base32 characters and `.onion`. Key and checksum are looked at when it is
/// dialed.
pub fn is_onion_address(name: &str) -> bool {
    let word = name.strip_suffix(".onion").filter(|word| word.len() == 56);
    word.is_some_and(|word| word.bytes().all(|byte| byte.is_ascii_lowercase() || (b'2'..=b'7').contains(&byte)))
}

#[cfg(test)]
mod tests;
