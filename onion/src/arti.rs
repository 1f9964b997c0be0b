//! The Tor client.

use crate::{
    BOOTSTRAP, CONNECT, Defence, OnionStream, PORT, Service, Setup, TorError,
    circuits::{Circuit, Circuits},
    config,
    guard::Guarded,
    service,
};
use arti_client::{
    BootstrapBehavior, DataStream, ErrorKind, HasKind as _, StreamPrefs, TorClient, config::BoolOrAuto,
    isolation::IsolationToken,
};
use std::{
    fmt, fs,
    fs::{File, TryLockError},
    path::Path,
    sync::Arc,
    time::Duration,
};
use tokio::{sync::mpsc, time::timeout};
use tor_rtcompat::{CompoundRuntime, PreferredRuntime, RuntimeSubstExt as _};

/// A token's circuit may not have ended yet when it is used again; that of the token that takes its place has.
const FRESH_TRIES: usize = 2;
/// How long a process that has just ended may keep the folder.
const LOCK: Duration = Duration::from_secs(5);

type Runtime = CompoundRuntime<
    PreferredRuntime,
    PreferredRuntime,
    PreferredRuntime,
    Guarded<PreferredRuntime>,
    PreferredRuntime,
    PreferredRuntime,
    PreferredRuntime,
>;

/// A Tor client. Clones share it.
#[derive(Clone)]
pub struct Tor {
    client: Arc<TorClient<Runtime>>,
    circuits: Arc<Circuits>,
    /// Held as long as anything uses the folder.
    _lock: Arc<File>,
}

impl Tor {
    /// Prepares a client; nothing is sent yet. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// [`TorError`]: its settings, and its folder.
    pub fn open(setup: &Setup) -> Result<Self, TorError> {
        let config = config::arti(setup)?;
        let lock = lock(&setup.folder)?;
        // Another part of the program may have installed the same one.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let runtime = PreferredRuntime::current().map_err(|error| TorError::Settings(error.to_string()))?;
        let loopback_only = setup.network.as_ref().is_some_and(|network| network.loopback_only);
        let guarded = Guarded::new(runtime.clone(), loopback_only);
        let client = TorClient::with_runtime(runtime.with_tcp_provider(guarded))
            .config(config)
            .bootstrap_behavior(BootstrapBehavior::Manual)
            .local_resource_timeout(LOCK)
            .create_unbootstrapped()
            .map_err(|error| refused(&error, &setup.folder))?;
        Ok(Self { client, circuits: Arc::default(), _lock: Arc::new(lock) })
    }

    /// The address under which this folder's service of that name is published; its key is made if it is not there. Nothing is sent.
    ///
    /// # Errors
    /// [`TorError`].
    pub fn address(setup: &Setup, nickname: &str) -> Result<String, TorError> {
        let _lock = lock(&setup.folder)?;
        service::address(&config::arti(setup)?, nickname)
    }

    /// Gets the directory of the Tor network, if it is not there. May be called again after it failed.
    ///
    /// # Errors
    /// [`TorError`], after [`BOOTSTRAP`] at the latest.
    pub async fn bootstrap(&self) -> Result<(), TorError> {
        match timeout(BOOTSTRAP, self.client.bootstrap()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                tracing::debug!(error = %chain(&error), "no directory");
                Err(self.no_directory())
            }
            Err(_) => Err(self.no_directory()),
        }
    }

    fn no_directory(&self) -> TorError {
        let why = self.blocked().or_else(|| self.progress()).unwrap_or_else(|| "it took too long".into());
        if why.to_ascii_lowercase().contains("clock") { TorError::Clock(why) } else { TorError::NoDirectory(why) }
    }

    /// How far it is on the way to a circuit, in arti's words; `None` once there can be one.
    pub fn progress(&self) -> Option<String> {
        let status = self.client.bootstrap_status();
        (!status.ready_for_traffic()).then(|| status.to_string())
    }

    /// What keeps arti from getting on, as far as it knows.
    fn blocked(&self) -> Option<String> {
        Some(self.client.bootstrap_status().blocked()?.message().to_string())
    }

    fn why(&self, error: &arti_client::Error) -> TorError {
        tracing::debug!(error = %chain(error), "an onion service was not reached");
        match error.kind() {
            ErrorKind::ClockSkew | ErrorKind::DirectoryExpired => TorError::Clock(error.to_string()),
            // What it says while an earlier try that was given up is taken up again.
            ErrorKind::BootstrapRequired => self.no_directory(),
            ErrorKind::OnionServiceNotFound => TorError::NoSuchService,
            ErrorKind::OnionServiceAddressInvalid | ErrorKind::InvalidStreamTarget => TorError::Address,
            ErrorKind::OnionServiceNotRunning
            | ErrorKind::OnionServiceConnectionFailed
            | ErrorKind::OnionServiceProtocolViolation
            | ErrorKind::RemoteConnectionRefused
            | ErrorKind::RemoteStreamClosed
            | ErrorKind::RemoteStreamReset
            | ErrorKind::RemoteStreamError => TorError::NoAnswer(error.kind().to_string()),
            kind => TorError::Unreachable(self.blocked().unwrap_or_else(|| kind.to_string())),
        }
    }

    /// A stream to an onion service, over a new circuit that ends with it.
    ///
    /// # Errors
    /// [`TorError`], after [`BOOTSTRAP`] and [`CONNECT`] at the latest.
    pub async fn connect(&self, address: &str) -> Result<OnionStream, TorError> {
        if !crate::is_onion_address(address) {
            return Err(TorError::Address);
        }
        self.bootstrap().await?;
        let opened = timeout(CONNECT, self.open_stream(address)).await;
        let (stream, circuit) = opened.map_err(|_| TorError::Deadline)??;
        Ok(OnionStream::new(stream, circuit))
    }

    async fn open_stream(&self, address: &str) -> Result<(DataStream, Circuit), TorError> {
        let mut circuit = self.circuits.take(address).await;
        for _ in 0..FRESH_TRIES {
            match self.dial(circuit.isolation(), address).await {
                Ok(stream) if circuit.opened(&stream) => return Ok((stream, circuit)),
                Ok(_) => {}
                // The stream came upon the circuit before, while that was ending.
                Err(error) if circuit.is_used() && is_ending(&error) => circuit.renew(),
                Err(error) => {
                    if is_over(&error) {
                        circuit.failed();
                    }
                    return Err(self.why(&error));
                }
            }
        }
        Err(TorError::Deadline)
    }

    async fn dial(&self, token: IsolationToken, address: &str) -> arti_client::Result<DataStream> {
        let mut prefs = StreamPrefs::new();
        prefs.connect_to_onion_services(BoolOrAuto::Explicit(true)).set_isolation(token);
        self.client.connect_with_prefs((address, PORT), &prefs).await
    }

    /// Publishes the onion service of this name, under the keys that the folder has for it, or new ones. Streams of clients come
    /// through the receiver; the service ends when it is dropped.
    ///
    /// # Errors
    /// [`TorError::Publish`].
    pub fn publish(
        &self,
        nickname: &str,
        defence: Defence,
    ) -> Result<(Service, mpsc::Receiver<OnionStream>), TorError> {
        service::publish(&self.client, nickname, defence)
    }
}

impl fmt::Debug for Tor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tor(..)")
    }
}

/// What a stream meets on a circuit that is being ended.
fn is_ending(error: &arti_client::Error) -> bool {
    matches!(error.kind(), ErrorKind::BadApiUsage | ErrorKind::CircuitCollapse)
}

/// True if arti's dial has ended without a circuit: these come of that alone.
fn is_over(error: &arti_client::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::OnionServiceNotFound
            | ErrorKind::OnionServiceNotRunning
            | ErrorKind::OnionServiceConnectionFailed
            | ErrorKind::OnionServiceProtocolViolation
    )
}

/// An error and all that led to it; arti leaves out what would name a service.
fn chain(error: &arti_client::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

fn refused(error: &arti_client::Error, folder: &Path) -> TorError {
    match error.kind() {
        ErrorKind::LocalResourceAlreadyInUse => TorError::Locked(folder.display().to_string()),
        _ => TorError::Settings(error.to_string()),
    }
}

/// arti itself would go on with a folder that another process uses, and forget what it learns.
fn lock(folder: &Path) -> Result<File, TorError> {
    let unusable = |error| TorError::Folder { folder: folder.display().to_string(), error };
    fs::create_dir_all(folder).map_err(unusable)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).map_err(unusable)?;
    }
    let file = File::create(folder.join("lock")).map_err(unusable)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(TorError::Locked(folder.display().to_string())),
        Err(TryLockError::Error(error)) => Err(unusable(error)),
    }
}
