//! Tor for the transports that need it: opened with the first dial that does, closed when another transport is chosen.

use crate::transport::Transport;
use std::{
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use veilpost_link::DialError;
use veilpost_onion::{OnionStream, Setup, Tor, TorError};
use veilpost_pki::network::TorNetwork;

/// Settings of arti's own, such as bridges, if the person put a file of this name into the home folder.
const SETTINGS: &str = "tor.toml";

/// A Tor client that may not be open. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Onions {
    setup: Setup,
    /// Held while one is opened, which can take seconds: the others wait for that one.
    opening: Arc<Mutex<()>>,
    client: Arc<Mutex<Client>>,
}

/// The client, if it is open, and how often it was closed: what was begun before the last time must not open it again.
#[derive(Debug, Default)]
struct Client {
    tor: Option<Tor>,
    closed: u64,
}

impl Client {
    fn as_of(&mut self, closed: u64) -> Result<&mut Option<Tor>, TorError> {
        if self.closed == closed { Ok(&mut self.tor) } else { Err(TorError::Closed) }
    }
}

impl Onions {
    /// For an account in this folder.
    pub(super) fn new(home: &Path, network: Option<TorNetwork>) -> Self {
        let settings = Some(home.join(SETTINGS));
        Self {
            setup: Setup { folder: home.join("tor"), network, settings },
            opening: Arc::default(),
            client: Arc::default(),
        }
    }

    /// Says whether there can be Tor at all: in this program, and on this network.
    ///
    /// # Errors
    /// [`TorError`].
    pub(super) fn check(&self, transport: Transport) -> Result<(), TorError> {
        if !transport.needs_tor() {
            return Ok(());
        }
        if !veilpost_onion::BUILT {
            return Err(TorError::NotBuilt);
        }
        let none = self.setup.network.as_ref().is_some_and(|network| network.authorities.is_empty());
        if none { Err(TorError::NoNetwork) } else { Ok(()) }
    }

    /// Held for a moment only.
    fn client(&self) -> MutexGuard<'_, Client> {
        self.client.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The client, opened if it is not, for a stream that was asked for when it had been closed so often.
    fn open(&self, closed: u64) -> Result<Tor, TorError> {
        let _one = self.opening.lock().unwrap_or_else(PoisonError::into_inner);
        let open = self.client().as_of(closed)?.clone();
        if let Some(tor) = open {
            return Ok(tor);
        }
        let tor = Tor::open(&self.settled()?)?;
        Ok(self.client().as_of(closed)?.insert(tor).clone())
    }

    /// Settings count that are there now. Only a file that is not there is none: bridges must not be left out by mistake.
    fn settled(&self) -> Result<Setup, TorError> {
        let mut setup = self.setup.clone();
        if let Some(path) = &setup.settings
            && !path.try_exists().map_err(|error| TorError::Settings(format!("{SETTINGS}: {error}")))?
        {
            setup.settings = None;
        }
        Ok(setup)
    }

    /// Ends the client, and with it all that it keeps up on the Tor network, as soon as its last stream is gone. The next stream opens
    /// another, by the settings that are there then.
    pub(super) fn close(&self) {
        let mut client = self.client();
        client.closed = client.closed.wrapping_add(1);
        client.tor = None;
    }

    /// How far an open client is on the way to its first circuit; `None` if it is there, or not open.
    pub(super) fn progress(&self) -> Option<String> {
        self.client().tor.as_ref()?.progress()
    }

    /// A stream to an onion service, over a circuit of its own.
    ///
    /// # Errors
    /// [`TorError`].
    pub(super) async fn connect(&self, address: &str) -> Result<OnionStream, TorError> {
        let (onions, closed) = (self.clone(), self.client().closed);
        // Blocks while files are read, if it is not open.
        let opened = tokio::task::spawn_blocking(move || onions.open(closed)).await;
        opened.map_err(|fault| TorError::Settings(fault.to_string()))??.connect(address).await
    }
}

/// Why there is no link to `who` over a stream that an onion service took.
pub(super) fn no_link(who: &str, error: &DialError) -> String {
    match error {
        DialError::Handshake(_) | DialError::NotHello => format!("behind the onion service is not {who} ({error})"),
        _ => format!("{who} behind the onion service does not answer ({error})"),
    }
}

#[cfg(all(test, feature = "tor"))]
mod with_tor {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use veilpost_pki::network::{TorAuthority, TorFallback};

    fn network() -> TorNetwork {
        let address = "127.0.0.1:9".parse().unwrap();
        let (rsa, ed25519) = ("CD".repeat(20), "PV3dSmo+emuPLy/LW/6ZK5h+MKC9L8RR5U76Mjt05EE".into());
        TorNetwork {
            loopback_only: true,
            authorities: vec![TorAuthority { v3ident: "AB".repeat(20), address }],
            fallbacks: vec![TorFallback { rsa, ed25519, address }],
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_was_asked_for_before_a_change_to_the_mixnet_does_not_open_tor_after_it() {
        let home = tempfile::tempdir().unwrap();
        let onions = Onions::new(home.path(), Some(network()));
        let closed = |onions: &Onions| onions.client().closed;
        let before = closed(&onions);
        onions.close();
        assert!(matches!(onions.open(before), Err(TorError::Closed)));
        assert!(onions.client().tor.is_none());
        assert!(onions.open(closed(&onions)).is_ok(), "the next transport over Tor opens it");
        assert!(onions.client().tor.is_some());
    }
}
