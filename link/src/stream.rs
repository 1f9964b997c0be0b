//! Links over byte streams that somebody else has made, such as streams to and from onion services. The far end is authenticated as over
//! QUIC: TLS 1.3 with the link key that the network document names, the same hybrid key exchange, the same Hello, queue and deadlines.
//!
//! A stream has no driver of its own. That the peer is gone shows to whoever reads, at the latest after [`Limits::idle`] without a byte:
//! who drops the receiver hears of it by writing alone. Nobody keeps a silent stream alive, so both ends must have something to say, as
//! clients and entries always have. How much is in flight is up to who carries the stream, not to [`Limits::window`].

use crate::{
    Arrival, BindError, DialError, Limits, Link, LinkSecret,
    carrier::{Carrier, Reading, Stream, Writing},
    endpoint::introduce,
    frames::spawn_writer,
    keys::key_of_spki,
    tls,
};
use rustls::{ServerConfig, pki_types::ServerName};
use std::{fmt, sync::Arc};
use tokio::{
    io::{AsyncRead, AsyncWrite, split},
    sync::{Semaphore, watch},
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use veilpost_packet::{frame::Frame, ids::LinkKey};

/// A byte stream in both directions.
pub trait ByteStream: AsyncRead + AsyncWrite + Send + Sync + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin + 'static> ByteStream for T {}

fn halves(stream: impl ByteStream) -> (Reading, Writing) {
    let (reading, writing) = split(stream);
    (Box::new(reading), Box::new(writing))
}

/// Opens links over streams as a client: with a fresh key for each.
pub struct StreamDialer {
    limits: Limits,
    stop: watch::Sender<bool>,
}

impl StreamDialer {
    /// With these bounds.
    pub fn new(limits: Limits) -> Self {
        Self { limits, stop: watch::Sender::new(false) }
    }

    /// Opens a link over a stream to the peer that holds `expected`, introducing ourselves with `hello`. The link is up when the peer's
    /// own Hello has come; [`Limits::handshake`] bounds the wait. Links end when the dialer is dropped.
    ///
    /// # Errors
    /// [`DialError`].
    pub async fn dial(&self, stream: impl ByteStream, expected: &LinkKey, hello: Frame) -> Result<Link, DialError> {
        let opened = open(stream, *expected, hello, self.limits);
        let ((hello, receiver), sending, carrier) =
            timeout(self.limits.handshake, opened).await.map_err(|_| DialError::Deadline)??;
        let sender = spawn_writer(carrier, sending, self.stop.subscribe(), self.limits, ());
        Ok(Link { peer: *expected, hello, sender, receiver })
    }
}

async fn open(
    stream: impl ByteStream,
    expected: LinkKey,
    hello: Frame,
    limits: Limits,
) -> Result<((Frame, crate::FrameReceiver), Writing, Carrier), DialError> {
    let unusable = |error: rustls::Error| DialError::Unusable(error.to_string());
    let own = LinkSecret::throwaway().and_then(|secret| secret.certified()).map_err(unusable)?;
    let config = tls::client(own, expected, tls::provider()).map_err(unusable)?;
    let name = ServerName::try_from(tls::SERVER_NAME).map_err(|error| DialError::Unusable(error.to_string()))?;
    let connected = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    let connected = connected.map_err(|error| match error.get_ref().and_then(|why| why.downcast_ref()) {
        Some(rustls::Error::AlertReceived(_)) => DialError::Refused,
        Some(why) => DialError::Handshake(why.to_string()),
        // It came from the stream.
        None => DialError::Lost,
    })?;
    // Over QUIC rustls sees to that by itself.
    if connected.get_ref().1.alpn_protocol() != Some(tls::ALPN) {
        return Err(DialError::Handshake("another protocol".into()));
    }
    let (reading, writing) = halves(connected);
    introduce(Carrier::Stream(Stream::new(limits.idle)), reading, writing, hello).await
}

/// Accepts links over streams under one key.
pub struct StreamAcceptor {
    config: Arc<ServerConfig>,
    limits: Limits,
    pending: Arc<Semaphore>,
    places: Arc<Semaphore>,
    stop: watch::Sender<bool>,
}

impl StreamAcceptor {
    /// Accepts under `secret`'s key, at most [`Limits::pending_handshakes`] and [`Limits::links`] at a time.
    ///
    /// # Errors
    /// [`BindError::Tls`].
    pub fn new(secret: &LinkSecret, limits: Limits) -> Result<Self, BindError> {
        Ok(Self {
            config: Arc::new(tls::server(secret)?),
            limits,
            pending: Arc::new(Semaphore::new(limits.pending_handshakes.max(1))),
            places: Arc::new(Semaphore::new(limits.links.max(1))),
            stop: watch::Sender::new(false),
        })
    }

    /// The peer at the other end of a stream once it has proved a key and sent its Hello; `None`, and the stream is dropped, if it does
    /// not within [`Limits::handshake`], or if there is no place. Links end when the acceptor is dropped.
    pub async fn accept(&self, stream: impl ByteStream) -> Option<Arrival> {
        let _waiting = Arc::clone(&self.pending).try_acquire_owned().ok()?;
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        let arrived = async {
            let accepted = TlsAcceptor::from(Arc::clone(&self.config)).accept(stream).await.ok()?;
            accepted.get_ref().1.alpn_protocol().filter(|protocol| *protocol == tls::ALPN)?;
            let peer = key_of_spki(accepted.get_ref().1.peer_certificates()?.first()?)?;
            let carrier = Carrier::Stream(Stream::new(self.limits.idle));
            Arrival::read(peer, carrier, halves(accepted), self.stop.subscribe(), self.limits, place).await
        };
        timeout(self.limits.handshake, arrived).await.ok()?
    }
}

impl fmt::Debug for StreamDialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StreamDialer(..)")
    }
}

impl fmt::Debug for StreamAcceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StreamAcceptor(..)")
    }
}

#[cfg(test)]
mod tests;
