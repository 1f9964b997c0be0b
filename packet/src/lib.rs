//! Pure formats of Veilpost: no sockets, no clock, no randomness of the operating system, no async.
//!
//! | module | holds |
//! |---|---|
//! | [`geometry`] | every size on the wire |
//! | [`ids`], [`time`], [`random`] | the words that all crates speak: ids, network time, the engines' generator |
//! | [`codec`] | one reader and one writer for every format |
//! | [`primitives`] | the cryptographic primitives and the labels that separate their uses |
//! | [`frame`] | what crosses a link |
//! | [`sphinx`] | packets, SURBs, one hop's unwrap |
//! | [`replay`] | the tags of packets seen |
//! | [`command`] | what clients ask of mailboxes, and the answers |
//! | [`exchange`] | a command and the way of its answer, to be built by a worker |
//! | [`boxes`] | streams of boxes: capabilities, sealing, signatures |
//! | [`puzzle`] | the client puzzle that a Put, or a session, pays with |
//! | [`digest`] | what mailboxes publish each tick |
//! | [`set`] | what mailboxes still hold of an hour or a day |
//! | [`peer`] | what mailboxes tell each other |
//! | [`profile`] | how much traffic a client makes, as its user chose |

pub mod boxes;
pub mod codec;
pub mod command;
pub mod digest;
pub mod exchange;
pub mod frame;
pub mod geometry;
pub mod ids;
pub mod peer;
pub mod primitives;
pub mod profile;
pub mod puzzle;
pub mod random;
pub mod replay;
pub mod set;
pub mod sphinx;
pub mod time;
