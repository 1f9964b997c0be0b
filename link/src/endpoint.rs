//! The socket of a daemon or client: accepts links, dials links, closes them.

use crate::{
    BindError, DialError, FrameReceiver, FrameSender, Limits, LinkSecret,
    carrier::{CLOSE, Carrier, Reading, Writing},
    frames::{first_frame, spawn_writer},
    keys::key_of_spki,
    tls,
};
use quinn::{
    Connection, EndpointConfig, IdleTimeout, Incoming, NoneTokenStore, TransportConfig, ValidationTokenConfig, VarInt,
    crypto::rustls::{QuicClientConfig, QuicServerConfig},
};
use rustls::{pki_types::CertificateDer, sign::CertifiedKey};
use std::{
    fmt, io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::AsyncWriteExt as _,
    sync::{Mutex, OwnedSemaphorePermit, Semaphore, mpsc, watch},
    time::timeout,
};
use veilpost_packet::{frame::Frame, geometry::FRAME, ids::LinkKey};

/// A UDP socket with links. Clones share it; when the last one is dropped its links are flushed and closed.
#[derive(Clone)]
pub struct Endpoint {
    inner: Arc<Inner>,
}

struct Inner {
    quinn: quinn::Endpoint,
    identity: Identity,
    limits: Limits,
    /// Held by one caller of `accept` at a time.
    arrivals: Mutex<mpsc::Receiver<(Arrival, OwnedSemaphorePermit)>>,
    stop: watch::Sender<bool>,
}

enum Identity {
    Fixed(Arc<CertifiedKey>),
    Throwaway,
}

/// A link in use.
#[derive(Debug)]
pub struct Link {
    /// The key that the peer proved.
    pub peer: LinkKey,
    /// The peer's first frame.
    pub hello: Frame,
    /// Queues frames for the peer. The link lives until every clone is dropped or either side closes.
    pub sender: FrameSender,
    /// Yields the peer's frames.
    pub receiver: FrameReceiver,
}

/// A peer that has proved a key and sent its Hello, and waits to be admitted. Dropping it refuses the link.
pub struct Arrival {
    /// The key that the peer proved: a node if the network document names it, else a client.
    pub peer: LinkKey,
    /// The peer's first frame, of kind Hello.
    pub hello: Frame,
    carrier: Carrier,
    sending: Writing,
    receiver: FrameReceiver,
    stop: watch::Receiver<bool>,
    limits: Limits,
    place: OwnedSemaphorePermit,
}

impl Endpoint {
    /// Opens a socket that accepts links under `secret`'s key and dials with it too.
    ///
    /// Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// [`BindError`].
    pub fn bind(address: SocketAddr, secret: &LinkSecret, limits: Limits) -> Result<Self, BindError> {
        let crypto = QuicServerConfig::try_from(tls::server(secret)?)
            .map_err(|_| rustls::Error::General("no cipher suite for QUIC".into()))?;
        let mut config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
        // Address tokens would let us, and whoever seizes us, link two connections of one client.
        let mut tokens = ValidationTokenConfig::default();
        tokens.sent(0);
        config
            .transport_config(Arc::new(transport(&limits, 1)))
            .validation_token_config(tokens)
            .migration(false)
            .max_incoming(limits.pending_handshakes);
        let socket = UdpSocket::bind(address)?;
        Self::start(socket, secret.restart_config(), Some(config), Identity::Fixed(secret.certified()?), limits)
    }

    /// Opens a socket that only dials, as the node that holds `secret`.
    ///
    /// # Errors
    /// [`BindError`].
    pub fn dialer(secret: &LinkSecret, limits: Limits) -> Result<Self, BindError> {
        Self::open_any(Identity::Fixed(secret.certified()?), limits)
    }

    /// Opens a socket that only dials, with a fresh key for every connection: a client.
    ///
    /// # Errors
    /// [`BindError`].
    pub fn anonymous_dialer(limits: Limits) -> Result<Self, BindError> {
        Self::open_any(Identity::Throwaway, limits)
    }

    /// Both address families where the machine has them.
    fn open_any(identity: Identity, limits: Limits) -> Result<Self, BindError> {
        let socket =
            UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).or_else(|_| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)))?;
        // Connection ids under a lasting key would link the connections of a client.
        Self::start(socket, EndpointConfig::default(), None, identity, limits)
    }

    fn start(
        socket: UdpSocket,
        config: EndpointConfig,
        server: Option<quinn::ServerConfig>,
        identity: Identity,
        limits: Limits,
    ) -> Result<Self, BindError> {
        let runtime = quinn::default_runtime().ok_or_else(|| io::Error::other("not inside a tokio runtime"))?;
        let listens = server.is_some();
        let quinn = quinn::Endpoint::new(config, server, socket, runtime)?;
        let (stop, stopping) = watch::channel(false);
        let (arrived, arrivals) = mpsc::channel(limits.pending_handshakes.max(1));
        if listens {
            tokio::spawn(accept_all(quinn.clone(), limits, stopping, arrived));
        }
        let arrivals = Mutex::new(arrivals);
        Ok(Self { inner: Arc::new(Inner { quinn, identity, limits, arrivals, stop }) })
    }

    /// Where the socket listens.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.quinn.local_addr()
    }

    /// The bounds it was made with.
    pub fn limits(&self) -> &Limits {
        &self.inner.limits
    }

    /// The next peer that asks for a link; `None` once the endpoint is closed or only dials. Handshakes run beside each
    /// other, whether anybody calls this or not, up to [`Limits::pending_handshakes`]. Cancel-safe.
    pub async fn accept(&self) -> Option<Arrival> {
        let mut stopping = self.inner.stop.subscribe();
        tokio::select! {
            arrival = async { self.inner.arrivals.lock().await.recv().await } => Some(arrival?.0),
            _ = stopping.wait_for(|&stop| stop) => None,
        }
    }

    /// Opens a link to the peer that holds `expected`, introducing ourselves with `hello`. The link is up when the peer's
    /// own Hello has come; [`Limits::handshake`] bounds the wait.
    ///
    /// # Errors
    /// [`DialError`].
    pub async fn dial(&self, address: SocketAddr, expected: &LinkKey, hello: Frame) -> Result<Link, DialError> {
        let opened = self.open_link(address, expected, hello);
        let (link, sending, carrier) =
            timeout(self.inner.limits.handshake, opened).await.map_err(|_| DialError::Deadline)??;
        let sender = spawn_writer(carrier, sending, self.inner.stop.subscribe(), self.inner.limits, ());
        Ok(Link { peer: *expected, hello: link.0, sender, receiver: link.1 })
    }

    /// Everything of [`Endpoint::dial`] except deadline and writer.
    pub(crate) async fn open_link(
        &self,
        address: SocketAddr,
        expected: &LinkKey,
        hello: Frame,
    ) -> Result<((Frame, FrameReceiver), Writing, Carrier), DialError> {
        let config = self.client_config(*expected).map_err(|error| DialError::Unusable(error.to_string()))?;
        let connection = self
            .inner
            .quinn
            .connect_with(config, address, tls::SERVER_NAME)
            .map_err(|error| DialError::Unusable(error.to_string()))?
            .await
            .map_err(|error| DialError::Handshake(error.to_string()))?;
        let (sending, receiving) = connection.open_bi().await.map_err(|_| DialError::Refused)?;
        introduce(Carrier::Quic(connection), Box::new(receiving), Box::new(sending), hello).await
    }

    pub(crate) fn stopping(&self) -> watch::Receiver<bool> {
        self.inner.stop.subscribe()
    }

    /// Takes no more links, flushes and closes the open ones, and returns when the peers know or after `deadline`.
    pub async fn close(&self, deadline: Duration) {
        self.inner.stop.send_replace(true);
        let _ = timeout(deadline, self.inner.quinn.wait_idle()).await;
        self.inner.quinn.close(CLOSE, &[]);
    }

    fn client_config(&self, expected: LinkKey) -> Result<quinn::ClientConfig, rustls::Error> {
        let own = match &self.inner.identity {
            Identity::Fixed(key) => Arc::clone(key),
            Identity::Throwaway => LinkSecret::throwaway()?.certified()?,
        };
        let crypto = QuicClientConfig::try_from(tls::client(own, expected, tls::provider())?)
            .map_err(|_| rustls::Error::General("no cipher suite for QUIC".into()))?;
        let mut config = quinn::ClientConfig::new(Arc::new(crypto));
        config.transport_config(Arc::new(transport(&self.inner.limits, 0))).token_store(Arc::new(NoneTokenStore));
        Ok(config)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Endpoint(..)")
    }
}

impl Arrival {
    /// Reads the Hello of a peer that has proved its key; `None` if it sends none.
    pub(crate) async fn read(
        peer: LinkKey,
        carrier: Carrier,
        (receiving, sending): (Reading, Writing),
        stop: watch::Receiver<bool>,
        limits: Limits,
        place: OwnedSemaphorePermit,
    ) -> Option<Self> {
        let mut receiver = FrameReceiver::new(carrier.clone(), receiving);
        let hello = first_frame(&mut receiver).await.ok()??;
        Some(Self { peer, hello, carrier, sending, receiver, stop, limits, place })
    }

    /// Opens the link; `answer` is our Hello, the first frame that the peer gets.
    pub fn admit(self, answer: Frame) -> Link {
        let sender = spawn_writer(self.carrier, self.sending, self.stop, self.limits, self.place);
        // A fresh queue has room; if the peer is gone already, the receiver will say so.
        let _ = sender.try_send(answer);
        Link { peer: self.peer, hello: self.hello, sender, receiver: self.receiver }
    }

    /// Closes the connection. The peer sees a close like any other, without a reason.
    pub fn refuse(self) {
        self.carrier.close();
    }
}

impl fmt::Debug for Arrival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arrival").field("peer", &self.peer).finish_non_exhaustive()
    }
}

/// Takes connections until the endpoint stops, each handshake in a task of its own.
async fn accept_all(
    endpoint: quinn::Endpoint,
    limits: Limits,
    mut stopping: watch::Receiver<bool>,
    arrived: mpsc::Sender<(Arrival, OwnedSemaphorePermit)>,
) {
    let pending = Arc::new(Semaphore::new(limits.pending_handshakes.max(1)));
    let places = Arc::new(Semaphore::new(limits.links.max(1)));
    loop {
        let incoming = tokio::select! {
            // An error means that the endpoint is dropped.
            _ = stopping.wait_for(|&stop| stop) => break,
            incoming = endpoint.accept() => incoming,
        };
        let Some(incoming) = incoming else { break };
        let (Ok(waiting), Ok(place)) =
            (Arc::clone(&pending).try_acquire_owned(), Arc::clone(&places).try_acquire_owned())
        else {
            incoming.refuse();
            continue;
        };
        if pending.available_permits() < limits.pending_handshakes / 2 && incoming.may_retry() {
            // The stranger comes back with a token that proves its address; a failure only means that it does not.
            let _ = incoming.retry();
            continue;
        }
        let (arrived, stop) = (arrived.clone(), stopping.clone());
        tokio::spawn(async move {
            if let Ok(Some(arrival)) = timeout(limits.handshake, arrive(incoming, limits, stop, place)).await {
                // Never full: there are as many places as permits. Closed: nobody accepts any more.
                let _ = arrived.try_send((arrival, waiting));
            }
        });
    }
    // Strangers are refused from here on; the links that are open go on until they are flushed.
    endpoint.set_server_config(None);
}

/// One handshake, up to the peer's Hello. Whatever goes wrong, the peer is dropped.
async fn arrive(
    incoming: Incoming,
    limits: Limits,
    stop: watch::Receiver<bool>,
    place: OwnedSemaphorePermit,
) -> Option<Arrival> {
    let connection = incoming.await.ok()?;
    let peer = proved_key(&connection)?;
    let (sending, receiving) = connection.accept_bi().await.ok()?;
    let carrier = Carrier::Quic(connection);
    Arrival::read(peer, carrier, (Box::new(receiving), Box::new(sending)), stop, limits, place).await
}

/// The dialer's first frame, and the peer's.
pub(crate) async fn introduce(
    carrier: Carrier,
    receiving: Reading,
    mut sending: Writing,
    hello: Frame,
) -> Result<((Frame, FrameReceiver), Writing, Carrier), DialError> {
    let written = async { sending.write_all(hello.as_bytes()).await.is_ok() && sending.flush().await.is_ok() };
    if !written.await {
        return Err(DialError::Refused);
    }
    let mut receiver = FrameReceiver::new(carrier.clone(), receiving);
    let hello = first_frame(&mut receiver).await.map_err(|_| DialError::Refused)?.ok_or(DialError::NotHello)?;
    Ok(((hello, receiver), sending, carrier))
}

fn proved_key(connection: &Connection) -> Option<LinkKey> {
    let identity = connection.peer_identity()?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    key_of_spki(identity.first()?)
}

fn transport(limits: &Limits, streams_of_the_peer: u32) -> TransportConfig {
    let window = limits.window.max(1).saturating_mul(u32::try_from(FRAME).unwrap_or(u32::MAX));
    let mut config = TransportConfig::default();
    config
        .max_concurrent_bidi_streams(VarInt::from_u32(streams_of_the_peer))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(None)
        .stream_receive_window(VarInt::from_u32(window.min(1 << 30)))
        .receive_window(VarInt::from_u32(window.min(1 << 30)))
        .send_window(u64::from(window))
        .max_idle_timeout(IdleTimeout::try_from(limits.idle).ok())
        .keep_alive_interval(Some(limits.keep_alive))
        // The spin bit shows the round trip time to everyone on the path.
        .allow_spin(false);
    config
}
