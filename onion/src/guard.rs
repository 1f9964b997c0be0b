//! Keeps a test network's Tor at home: TCP to any address but loopback is refused before a packet leaves, whatever arti's
//! configuration says.

use async_trait::async_trait;
use std::{io, net::SocketAddr};
use tor_rtcompat::NetStreamProvider;

/// A way to the network that may be closed to all but this computer.
#[derive(Clone, Debug)]
pub(crate) struct Guarded<P> {
    inner: P,
    loopback_only: bool,
}

impl<P> Guarded<P> {
    pub(crate) fn new(inner: P, loopback_only: bool) -> Self {
        Self { inner, loopback_only }
    }

    fn check(&self, address: &SocketAddr) -> io::Result<()> {
        if self.loopback_only && !address.ip().is_loopback() {
            let what = "the network file says that Tor stays on this computer";
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, what));
        }
        Ok(())
    }
}

#[async_trait]
impl<P: NetStreamProvider> NetStreamProvider for Guarded<P> {
    type Stream = P::Stream;
    type Listener = P::Listener;
    type ConnectOptions = P::ConnectOptions;
    type ListenOptions = P::ListenOptions;

    async fn connect(&self, address: &SocketAddr, options: &Self::ConnectOptions) -> io::Result<Self::Stream> {
        self.check(address)?;
        self.inner.connect(address, options).await
    }

    async fn listen(&self, address: &SocketAddr, options: &Self::ListenOptions) -> io::Result<Self::Listener> {
        self.check(address)?;
        self.inner.listen(address, options).await
    }
}
