//! Links between nodes and from client to entry, over QUIC or any byte stream: frames of one size, mutual raw keys, bounded queues.
//!
//! A *link* is one QUIC connection with one bidirectional stream, or one byte stream under TLS, that carries frames of [`geometry::FRAME`] bytes both
//! ways and nothing else. Both ends prove an Ed25519 key (RFC 7250 raw public keys, TLS 1.3); the only key exchange is
//! X25519MLKEM768, so that recorded traffic stays closed to a future quantum computer. A dialer demands one exact key. An
//! acceptor takes any well-formed key and reports it: a key that the network document names is a node, any other is a
//! client, which draws a fresh one for every connection.
//!
//! ```text
//!   dialer                                acceptor
//!     | -- QUIC + TLS: keys proven both ways --> |     Limits::handshake bounds all of it
//!     | -- first frame: Hello -----------------> |     Endpoint::accept hands out an Arrival
//!     | <----------------- first frame: Hello -- |     Arrival::admit; only now the dialer counts the link as up
//!     | <========== frames both ways ==========> |     FrameSender (bounded) / FrameReceiver (batches)
//! ```
//!
//! | module | holds |
//! |---|---|
//! | [`keys`] | the link key's secret half |
//! | `tls` | the rustls configurations: provider, verifiers, what is switched off |
//! | [`limits`] | every bound and deadline |
//! | [`endpoint`] | the socket: accepting, dialing, closing |
//! | [`stream`] | the same links over byte streams that somebody else has made |
//! | `carrier` | what both have in common |
//! | [`frames`] | the two halves of a link in use |
//! | [`outbound`] | a link that dials again by itself |
//! | [`error`] | why something did not work |
//! | [`wire`] | what a frame costs on a line |
//!
//! What is *not* here: pacing and dummies (the engines own their clocks), who may send what (the engines' admission), and
//! names of peers in logs (there are no logs above debug here, and no keys or addresses in them at all).
//!
//! [`geometry::FRAME`]: veilpost_packet::geometry::FRAME

// The whole crate is a shell: sockets, clocks and throwaway keys are its business.
#![allow(clippy::disallowed_methods)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing))]

mod carrier;
pub mod endpoint;
pub mod error;
pub mod frames;
pub mod keys;
pub mod limits;
pub mod outbound;
pub mod stream;
#[cfg(test)]
mod tests;
mod tls;
pub mod wire;

pub use endpoint::{Arrival, Endpoint, Link};
pub use error::{BindError, DialError, RecvError, SendError};
pub use frames::{FrameReceiver, FrameSender};
pub use keys::LinkSecret;
pub use limits::Limits;
pub use outbound::{Event, LinkState, Outbound};
pub use stream::{StreamAcceptor, StreamDialer};
