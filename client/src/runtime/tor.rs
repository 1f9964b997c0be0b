//! Tor for the transports that need it: opened with the first dial that does, kept as long as the daemon runs.

use crate::transport::Transport;
use veilpost_onion::{OnionStream, Setup, Tor, TorError};
use veilpost_pki::network::TorNetwork;

/// Settings of arti's own, such as bridges, if the person put a file of this name into the home folder.
const SETTINGS: &str = "tor.toml";

/// A Tor client that may not be open yet. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Onions {
    setup: Setup,
    tor: std::sync::Arc<tokio::sync::OnceCell<Tor>>,
}

impl Onions {
    /// For an account in this folder.
    pub(super) fn new(home: &std::path::Path, network: Option<TorNetwork>) -> Self {
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

    /// Settings count that are there now. Only a file that is not there is none: bridges must not be left out by mistake.
    fn open(&self) -> Result<Tor, TorError> {
        let mut setup = self.setup.clone();
        if let Some(path) = &setup.settings
            && !path.try_exists().map_err(|error| TorError::Settings(format!("{SETTINGS}: {error}")))?
        {
            setup.settings = None;
        }
        Tor::open(&setup)
    }

    /// A stream to an onion service, over a circuit of its own.
    ///
    /// # Errors
    /// [`TorError`].
    pub(super) async fn connect(&self, address: &str) -> Result<OnionStream, TorError> {
        let tor = self.tor.get_or_try_init(async || self.open()).await?;
        tor.connect(address).await
    }
}
