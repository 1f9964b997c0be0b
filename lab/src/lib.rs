//! The shipped engines in virtual time, watched by adversaries. No sockets.
//!
//! | module | holds |
//! |---|---|
//! | [`capture`] | what a passive observer of links wrote down, and its file format |
//! | [`statistics`] | tests and intervals that experiments report |
//! | [`simulation`] | the whole network in one thread and virtual time |

pub mod capture;
pub mod simulation;
pub mod statistics;
