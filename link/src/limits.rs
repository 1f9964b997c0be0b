//! Every bound and deadline of a link.

use std::time::Duration;

/// Bounds and deadlines of an endpoint and its links. The defaults suit a relay; tests shorten the times.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Handshakes in progress, and finished ones nobody has called [`crate::Endpoint::accept`] for, together. Strangers
    /// can fill it; more are refused. From half of it on a stranger must first prove its address (QUIC Retry).
    pub pending_handshakes: usize,
    /// Accepted links alive at one time; more are refused.
    pub links: usize,
    /// From the first datagram to the first frame of the peer.
    pub handshake: Duration,
    /// A connection without a datagram for this long is dead.
    pub idle: Duration,
    /// A datagram is sent at least this often; below `idle`.
    pub keep_alive: Duration,
    /// One batch of frames must get into the peer's window within this time, or the link is closed.
    pub write: Duration,
    /// How long a clean close waits for the peer to have everything.
    pub flush: Duration,
    /// Frames that wait in a [`crate::FrameSender`]; a frame is 4,448 bytes.
    pub send_queue: usize,
    /// Frames in flight per direction before the sender must wait: bounds the memory that a slow or silent peer ties up.
    pub window: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            pending_handshakes: 64,
            links: 4_096,
            handshake: Duration::from_secs(10),
            idle: Duration::from_secs(30),
            keep_alive: Duration::from_secs(8),
            write: Duration::from_secs(20),
            flush: Duration::from_secs(3),
            send_queue: 256,
            window: 128,
        }
    }
}
