//! What a frame costs on a line: QUIC cuts it into datagrams, each with headers, and the other side acknowledges them.

/// Bytes of IPv4 and UDP headers around a datagram.
pub const IP_UDP: u64 = 28;
/// Bytes on the line of a frame that is sent alone, with the headers of QUIC, UDP and IPv4. Measured on a link over loopback
/// (`a_frame_costs_on_the_line_what_is_said`); a batch of frames costs less.
pub const FRAME_BYTES: f64 = 4_703.0;
/// Bytes on the line of the acknowledgements of one such frame, which go the other way.
pub const ACK_BYTES: f64 = 68.0;

/// What has crossed a connection so far, as this end counts it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Traffic {
    /// Datagrams sent.
    pub datagrams_sent: u64,
    /// Bytes in them.
    pub bytes_sent: u64,
    /// Datagrams received.
    pub datagrams_received: u64,
    /// Bytes in them.
    pub bytes_received: u64,
}

impl Traffic {
    /// Bytes sent with the headers of UDP and IPv4.
    pub fn sent_on_line(&self) -> u64 {
        self.bytes_sent + self.datagrams_sent * IP_UDP
    }

    /// Bytes received with the headers of UDP and IPv4.
    pub fn received_on_line(&self) -> u64 {
        self.bytes_received + self.datagrams_received * IP_UDP
    }
}
