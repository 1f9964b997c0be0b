//! Tor for the transports that need it: opened with the first dial that does, closed when another transport is chosen.

use crate::transport::Transport;
use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
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
    tor: Arc<Mutex<Option<Tor>>>,
}

impl Onions {
    /// For an account in this folder.
    pub(super) fn new(home: &Path, network: Option<TorNetwork>) -> Self {
        let settings = Some(home.join(SETTINGS));
        Self { setup: Setup { folder: home.join("tor"), network, settings }, tor: Default::default() }
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

    /// The client, opened if it is not.
    fn open(&self) -> Result<Tor, TorError> {
        let mut tor = self.tor.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tor) = tor.as_ref() {
            return Ok(tor.clone());
        }
        Ok(tor.insert(Tor::open(&self.settled()?)?).clone())
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
        self.tor.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// How far an open client is on the way to its first circuit; `None` if it is there, or not open. Never waits.
    pub(super) fn progress(&self) -> Option<String> {
        self.tor.try_lock().ok()?.as_ref()?.progress()
    }

    /// A stream to an onion service, over a circuit of its own.
    ///
    /// # Errors
    /// [`TorError`].
    pub(super) async fn connect(&self, address: &str) -> Result<OnionStream, TorError> {
        let onions = self.clone();
        // Blocks while files are read, if it is not open.
        let opened = tokio::task::spawn_blocking(move || onions.open()).await;
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
