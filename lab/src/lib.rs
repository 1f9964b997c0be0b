//! The shipped engines in virtual time, watched by adversaries. No sockets.
//!
//! | module | holds |
//! |---|---|
//! | [`capture`] | what a passive observer of links wrote down, and its file format |
//! | [`statistics`] | tests and intervals that experiments report |
//! | [`simulation`] | the whole network in one thread and virtual time |
//! | [`attacks`] | what adversaries make of what they see, a file each |
//! | [`population`] | thousands of clients, watched at their lines and at mailboxes |
//! | [`world`] | small watched worlds of idle or busy people |
//! | [`experiments`], [`report`] | a file for each experiment, and what they say |

pub mod attacks;
pub mod capture;
pub mod experiments;
pub mod population;
pub mod report;
pub mod simulation;
pub mod statistics;
pub mod world;
