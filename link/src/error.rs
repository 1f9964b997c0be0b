//! Why something did not work. The peer never learns any of it: every close carries the same code and no text.

/// An endpoint could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// The operating system refuses the socket.
    #[error("cannot open the UDP socket: {0}")]
    Socket(#[from] std::io::Error),
    /// TLS does not accept our own configuration or key: a bug or a broken build.
    #[error("cannot set up TLS: {0}")]
    Tls(#[from] rustls::Error),
}

/// A link could not be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// This endpoint cannot dial that address (wrong address family, endpoint closed).
    #[error("cannot dial this address: {0}")]
    Unusable(String),
    /// The peer does not answer, refuses, or does not hold the expected key.
    #[error("handshake failed: {0}")]
    Handshake(String),
    /// What carries the handshake ended in the middle of it.
    #[error("the connection ended during the handshake")]
    Lost,
    /// The peer closed the connection before its first frame: it does not want this link.
    #[error("the peer refused the link")]
    Refused,
    /// The peer's first frame is not a Hello.
    #[error("the peer does not speak this protocol")]
    NotHello,
    /// It took longer than [`crate::Limits::handshake`].
    #[error("no answer in time")]
    Deadline,
}

/// A frame was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The queue is at its bound ([`crate::Limits::send_queue`]).
    #[error("the link's queue is full")]
    Full,
    /// The link is gone or closing.
    #[error("the link is closed")]
    Closed,
}

/// No more frames will come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecvError {
    /// The connection ended without a clean end of its stream (lost, reset, idle, closed).
    #[error("the link is lost")]
    Lost,
    /// The stream ended inside a frame.
    #[error("the stream ended inside a frame")]
    Short,
    /// A frame's header is not one that the format knows.
    #[error("not a frame")]
    Malformed,
}
