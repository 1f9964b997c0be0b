//! A node's onion service: clients that show no address come through it. Entries and mailboxes may have one.
//!
//! ```text
//! data_dir/onion/           arti's: directory of the Tor network, guards, the service's keys
//! data_dir/onion.address    what the descriptor says
//! data_dir/onion.status     how the service stands, for `status`
//! ```

use crate::{clock::Clock, config::NodeConfig, keys, stop::Failure};
use serde::{Deserialize, Serialize};
use std::{fmt, fs, io, path::Path, sync::Arc, time::Duration};
use tokio::sync::{mpsc, watch};
use veilpost_link::{Arrival, Limits, LinkSecret, StreamAcceptor};
use veilpost_onion::{Defence, OnionStream, Reachability, Service, Setup, Tor, TorError};
use veilpost_packet::time::Timestamp;
use veilpost_pki::{NetworkFile, Role, descriptor::WORD_MAX};

/// The service's name among arti's keys.
const NICKNAME: &str = "veilpost";
const ADDRESS: &str = "onion.address";
const STATUS: &str = "onion.status";
/// How often the status is written.
const LOOK: Duration = Duration::from_secs(5);
/// A status that is older than this was not written by a node that works.
const STALE: Duration = Duration::from_secs(30);
/// First and longest wait before the Tor network is tried again.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(300));
/// Handshakes over onion streams at one time: strangers have no address here by which one could be told from another, and may be slow.
const HANDSHAKES: usize = 1_024;
/// How long each may take: as long as clients wait.
const HANDSHAKE: Duration = Duration::from_secs(30);
/// Links over onion streams that wait to be taken.
const WAITING: usize = 64;

/// Makes the service's key, if it is not there, and writes down its address: what the descriptor says from then on. Nothing is sent;
/// the network file may be still to come.
///
/// # Errors
/// [`Failure::Config`]: no Tor in this program or network, settings, a folder in use.
pub fn init(config: &NodeConfig, network: Option<&NetworkFile>) -> Result<(), Failure> {
    if !config.onion {
        return Ok(());
    }
    let address = Tor::address(&setup(config, network), NICKNAME).map_err(Failure::config)?;
    keys::write_public(&config.data_dir.join(ADDRESS), address.as_bytes()).map_err(Failure::runtime)
}

/// What the descriptor says; `None` if the configuration wants none, or `init` did not run since it does.
pub(crate) fn address(config: &NodeConfig) -> Option<String> {
    let text = fs::read_to_string(config.data_dir.join(ADDRESS)).ok().filter(|_| config.onion)?;
    Some(text.trim().to_owned())
        .filter(|address| veilpost_onion::is_onion_address(address) && address.len() <= WORD_MAX)
}

fn setup(config: &NodeConfig, network: Option<&NetworkFile>) -> Setup {
    Setup {
        folder: config.data_dir.join("onion"),
        network: network.and_then(|network| network.tor.clone()),
        settings: config.tor_settings.clone(),
    }
}

/// Publishes the node's onion service, if the configuration wants one, and hands over the links that clients open through it. A Tor
/// network that cannot be reached is tried again for as long as the node runs: its other work does not wait.
///
/// # Errors
/// [`Failure::Config`] as of [`init`]; [`Failure::Runtime`] if links cannot be accepted.
pub fn start(
    config: &NodeConfig,
    network: &NetworkFile,
    secret: &LinkSecret,
    role: Role,
    limits: Limits,
    stop: &watch::Receiver<bool>,
) -> Result<Option<mpsc::Receiver<Arrival>>, Failure> {
    if !config.onion {
        return Ok(None);
    }
    init(config, Some(network))?;
    let tor = Tor::open(&setup(config, Some(network))).map_err(Failure::config)?;
    let limits = Limits { pending_handshakes: HANDSHAKES, handshake: HANDSHAKE, ..limits };
    let acceptor = Arc::new(StreamAcceptor::new(secret, limits).map_err(Failure::runtime)?);
    let (send, arrivals) = mpsc::channel(WAITING);
    // Clients of an entry come once and stay; each command to a mailbox comes over a circuit of its own.
    let defence = if role == Role::Entry { Defence::Work } else { Defence::Bounds };
    let (data_dir, mut stop) = (config.data_dir.clone(), stop.clone());
    tokio::spawn(async move {
        tokio::select! {
            () = run(&tor, defence, &acceptor, &send, &data_dir) => {}
            _ = stop.wait_for(|&stop| stop) => {}
        }
    });
    Ok(Some(arrivals))
}

async fn run(
    tor: &Tor,
    defence: Defence,
    acceptor: &Arc<StreamAcceptor>,
    send: &mpsc::Sender<Arrival>,
    data_dir: &Path,
) {
    let clock = Clock::start();
    let (mut wait, mut said) = (BACKOFF.0, String::new());
    loop {
        match publish(tor, defence).await {
            Ok((service, streams)) => {
                tracing::info!("the onion service is published");
                (wait, said) = (BACKOFF.0, String::new());
                let accepted = accept(streams, acceptor, send);
                tokio::select! {
                    () = accepted => tracing::warn!("the onion service ended; publishing it again"),
                    () = watch_over(&service, clock, data_dir) => {}
                }
            }
            Err(error) => {
                // The same words once, however often it is tried.
                if said != error.to_string() {
                    said = error.to_string();
                    tracing::warn!(%error, "the onion service is not published yet; trying on");
                }
                write(data_dir, clock.now(), Reachability::Starting, &said);
            }
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(BACKOFF.1);
    }
}

async fn publish(tor: &Tor, defence: Defence) -> Result<(Service, mpsc::Receiver<OnionStream>), TorError> {
    tor.bootstrap().await?;
    tor.publish(NICKNAME, defence)
}

/// Until nothing comes any more. Handshakes run beside each other; their number is bounded by the acceptor.
async fn accept(
    mut streams: mpsc::Receiver<OnionStream>,
    acceptor: &Arc<StreamAcceptor>,
    send: &mpsc::Sender<Arrival>,
) {
    while let Some(stream) = streams.recv().await {
        let (acceptor, send) = (Arc::clone(acceptor), send.clone());
        tokio::spawn(async move {
            if let Some(arrival) = acceptor.accept(stream).await {
                // Nobody takes links any more: the node stops.
                let _ = send.send(arrival).await;
            }
        });
    }
}

/// Writes how the service stands, for as long as it is there.
async fn watch_over(service: &Service, clock: Clock, data_dir: &Path) {
    let mut before = Reachability::Starting;
    loop {
        let now = service.reachability();
        if now != before {
            tracing::info!(state = now.word(), "the onion service");
            before = now;
        }
        write(data_dir, clock.now(), now, "");
        tokio::time::sleep(LOOK).await;
    }
}

/// How a node's onion service stands.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Status {
    /// When it was written, in seconds.
    written: u64,
    state: String,
    #[serde(default)]
    problem: String,
}

fn write(data_dir: &Path, now: Timestamp, state: Reachability, problem: &str) {
    let status = Status { written: now.as_secs(), state: state.word().to_owned(), problem: problem.to_owned() };
    let written = toml::to_string(&status).map_err(io::Error::other).and_then(|text| {
        let partial = data_dir.join("onion.status.partial");
        fs::write(&partial, text)?;
        fs::rename(partial, data_dir.join(STATUS))
    });
    if let Err(error) = written {
        tracing::debug!(%error, "the status of the onion service could not be written");
    }
}

/// The line of `status`; `None` if the configuration wants no onion service.
pub fn line(config: &NodeConfig, now: Timestamp) -> Option<String> {
    if !config.onion {
        return None;
    }
    let Some(address) = address(config) else {
        return Some("onion service: no address yet; run `init`".into());
    };
    let text = fs::read_to_string(config.data_dir.join(STATUS)).ok();
    let status: Option<Status> = text.and_then(|text| toml::from_str(&text).ok());
    let fresh = status.filter(|status| now.since(Timestamp::from_secs(status.written)) < STALE);
    Some(match fresh {
        Some(status) => format!("onion service: {status}; {address}"),
        None => format!("onion service: not running; {address}"),
    })
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.state)?;
        if self.problem.is_empty() { Ok(()) } else { write!(f, " ({})", self.problem) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(folder: &Path, onion: bool) -> NodeConfig {
        NodeConfig { onion, ..NodeConfig::plain(folder) }
    }

    #[test]
    fn only_a_well_formed_address_of_a_node_that_wants_one_stands_in_its_descriptor() {
        let folder = tempfile::tempdir().unwrap();
        let name = format!("{}.onion", "a".repeat(56));
        assert_eq!(address(&config(folder.path(), true)), None, "no file yet");
        fs::create_dir_all(folder.path().join("data")).unwrap();
        let file = folder.path().join("data").join(ADDRESS);
        fs::write(&file, &name).unwrap();
        assert_eq!(address(&config(folder.path(), true)), Some(name));
        assert_eq!(address(&config(folder.path(), false)), None, "switched off");
        fs::write(&file, "example.com").unwrap();
        assert_eq!(address(&config(folder.path(), true)), None);
    }

    #[test]
    fn status_tells_a_running_service_from_one_whose_node_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let (config, now) = (config(folder.path(), true), Timestamp::from_secs(1_000));
        fs::create_dir_all(&config.data_dir).unwrap();
        assert_eq!(line(&config, now).unwrap(), "onion service: no address yet; run `init`");
        let name = format!("{}.onion", "a".repeat(56));
        fs::write(config.data_dir.join(ADDRESS), &name).unwrap();
        assert_eq!(line(&config, now).unwrap(), format!("onion service: not running; {name}"));
        write(&config.data_dir, now, Reachability::Reachable, "");
        assert_eq!(line(&config, now).unwrap(), format!("onion service: reachable; {name}"));
        write(&config.data_dir, now, Reachability::Starting, "the Tor network cannot be reached");
        assert!(line(&config, now).unwrap().contains("starting (the Tor network cannot be reached)"));
        assert!(line(&config, now + STALE).unwrap().contains("not running"));
    }
}
