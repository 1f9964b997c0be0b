//! Attacks on the mix network, a file each. An attack is an [`crate::flow::view::Observer`], or works on what one wrote down: it sees times on
//! links and what corrupt mixes tell, never which packet is whose. Measurements compare its guesses with the truth.
//!
//! | module | attack |
//! |---|---|
//! | [`masses`] | where may the packets be that somebody sent? The bookkeeping of the next two |
//! | [`entropy`] | among how many does one packet hide (MiXiM) |
//! | [`routes`] | routes of corrupt mixes alone, over many packets, with guards and sticky mixes |

pub mod entropy;
pub mod masses;
pub mod routes;
