//! Attacks on the mix network, a file each. An attack is an [`crate::flow::view::Observer`], or works on what one wrote down: it sees times on
//! links and what corrupt mixes tell, never which packet is whose. Measurements compare its guesses with the truth.
//!
//! | module | attack |
//! |---|---|
//! | [`masses`] | where may the packets be that somebody sent? The bookkeeping of the next two |
//! | [`entropy`] | among how many does one packet hide (MiXiM) |
//! | [`likelihood`] | from which of two senders is a packet (Loopix) |
//! | [`recursion`] | the entropy of a single mix, one departure after another (Loopix) |
//! | [`pairing`] | first in is first out (Das et al.) |
//! | [`matching`] | which flow that leaves is the one that came in (Danezis, MixMatch) |
//! | [`routes`] | routes of corrupt mixes alone, over many packets, with guards and sticky mixes (MiXiM, Bow-Tie) |

pub mod entropy;
pub mod likelihood;
pub mod masses;
pub mod matching;
pub mod pairing;
pub mod recursion;
pub mod routes;
