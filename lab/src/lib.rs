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
//! | [`flow`] | packet flows through mixes alone, of any depth and width, in front of an adversary |
//! | [`measure`] | kinds of measurement: parameters in, figures out |
//! | [`files`] | experiments as data: cases of a measurement, and what is expected of them |
//! | [`experiments`], [`report`] | a file for each experiment in code, and what they all say |
//! | [`results`], [`page`] | folders of reports, as CSV and Parquet; one HTML page of them |
//! | [`lines`] | clients' lines out of anybody's capture |
//! | [`cost`] | what the design of each figure costs a client |
//! | [`advise`] | parameters for a network of a given size |
//! | [`cli`] | the command line |

pub mod advise;
pub mod attacks;
pub mod capture;
pub mod cli;
pub mod cost;
pub mod experiments;
pub mod files;
pub mod flow;
pub mod impossible;
pub mod lines;
pub mod measure;
pub mod page;
pub mod population;
pub mod report;
pub mod results;
pub mod simulation;
pub mod statistics;
pub mod world;
