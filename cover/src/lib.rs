//! Loop cover, without sockets, clock or randomness of its own: packets that a node or client sends to itself, through the network and
//! back, to hide among and to learn from.
//!
//! | module | holds |
//! |---|---|
//! | [`statistics`] | what loops that came back, and loops that did not, tell about nodes and links |

pub mod statistics;
