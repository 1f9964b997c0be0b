//! What there is without the feature `tor`: types of which there is no value.

use crate::{Defence, OnionStream, Reachability, Setup, TorError};
use std::convert::Infallible;
use tokio::sync::mpsc;

/// A Tor client. There is none in this program.
#[derive(Clone, Debug)]
pub struct Tor(Infallible);

/// A published onion service. There is none in this program.
#[derive(Debug)]
pub struct Service(Infallible);

impl Tor {
    /// Says that this program was built without Tor.
    ///
    /// # Errors
    /// [`TorError::NotBuilt`].
    pub fn open(_setup: &Setup) -> Result<Self, TorError> {
        Err(TorError::NotBuilt)
    }

    /// Says that this program was built without Tor.
    ///
    /// # Errors
    /// [`TorError::NotBuilt`].
    pub fn address(_setup: &Setup, _nickname: &str) -> Result<String, TorError> {
        Err(TorError::NotBuilt)
    }

    /// Gets the directory of the Tor network.
    ///
    /// # Errors
    /// None: there is no value of this type.
    pub async fn bootstrap(&self) -> Result<(), TorError> {
        match self.0 {}
    }

    /// How far it is on the way to a circuit.
    pub fn progress(&self) -> Option<String> {
        match self.0 {}
    }

    /// A stream to an onion service.
    ///
    /// # Errors
    /// None: there is no value of this type.
    pub async fn connect(&self, _address: &str) -> Result<OnionStream, TorError> {
        match self.0 {}
    }

    /// Publishes an onion service.
    ///
    /// # Errors
    /// None: there is no value of this type.
    pub fn publish(
        &self,
        _nickname: &str,
        _defence: Defence,
    ) -> Result<(Service, mpsc::Receiver<OnionStream>), TorError> {
        match self.0 {}
    }
}

impl Service {
    /// Its address.
    pub fn address(&self) -> &str {
        match self.0 {}
    }

    /// How it stands.
    pub fn reachability(&self) -> Reachability {
        match self.0 {}
    }
}
