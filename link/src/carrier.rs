//! What carries a link: a QUIC connection, or a byte stream that somebody else has made. Both halves of a link hold it, so that either
//! can close it and hears when it is closed.

use crate::wire::Traffic;
use quinn::{Connection, VarInt};
use std::{sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::watch,
};

/// The one code of every close. The reason stays on our side.
pub(crate) const CLOSE: VarInt = VarInt::from_u32(0);

/// Bytes of the peer.
pub(crate) type Reading = Box<dyn AsyncRead + Send + Sync + Unpin>;
/// Bytes for the peer.
pub(crate) type Writing = Box<dyn AsyncWrite + Send + Sync + Unpin>;

/// A handle on what carries a link. Clones are of the same link.
#[derive(Clone)]
pub(crate) enum Carrier {
    /// A QUIC connection, whose driver notices by itself when the peer is gone.
    Quic(Connection),
    /// A byte stream.
    Stream(Stream),
}

/// The state of a link over a byte stream: whether it is closed. The halves look at it; dropping them ends the stream.
#[derive(Clone)]
pub(crate) struct Stream {
    closed: Arc<watch::Sender<bool>>,
    /// Without a byte for so long the peer is gone: nobody else would notice.
    idle: Duration,
}

impl Stream {
    pub(crate) fn new(idle: Duration) -> Self {
        Self { closed: Arc::new(watch::Sender::new(false)), idle }
    }
}

impl Carrier {
    /// Closes the link, both directions; what is queued is lost.
    pub(crate) fn close(&self) {
        match self {
            Self::Quic(connection) => connection.close(CLOSE, &[]),
            Self::Stream(stream) => drop(stream.closed.send_replace(true)),
        }
    }

    /// Completes when the link is closed by either side. Over a byte stream the peer's close is heard by whoever reads.
    pub(crate) async fn closed(&self) {
        match self {
            Self::Quic(connection) => drop(connection.closed().await),
            Self::Stream(stream) => drop(stream.closed.subscribe().wait_for(|&closed| closed).await),
        }
    }

    /// How long a read may wait for a byte, where nobody else notices that the peer is gone.
    pub(crate) fn idle(&self) -> Option<Duration> {
        match self {
            Self::Quic(_) => None,
            Self::Stream(stream) => Some(stream.idle),
        }
    }

    /// What has crossed a QUIC connection; a stream's line is another program's.
    pub(crate) fn traffic(&self) -> Traffic {
        let Self::Quic(connection) = self else { return Traffic::default() };
        let quinn::ConnectionStats { udp_tx, udp_rx, .. } = connection.stats();
        Traffic {
            datagrams_sent: udp_tx.datagrams,
            bytes_sent: udp_tx.bytes,
            datagrams_received: udp_rx.datagrams,
            bytes_received: udp_rx.bytes,
        }
    }
}
