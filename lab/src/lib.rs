//! The shipped engines in virtual time, watched by adversaries. No sockets.
//!
//! | module | holds |
//! |---|---|
//! | [`simulation`] | the whole network in one thread and virtual time |

pub mod simulation;
