//! The local API: HTTP/1.1 with JSON and server-sent events on a Unix socket that only its owner can open.
//!
//! ```text
//! veilpost command, bridges --HTTP--> Unix socket (0600) --routes--> CoreHandle --> core
//! ```
//! | module | holds |
//! |---|---|
//! | [`types`] | what crosses the socket |
//! | [`routes`] | one function for each operation; the OpenAPI description is made from them |
//! | [`server`] | the socket, its place and its bounds |
//! | [`client`] | the other side, as the command line uses it |
//!
//! Bounds: 64 requests, 2 uploads and 16 event streams at a time, 512 KiB of JSON or 64 MiB of file per request, three
//! minutes for each. Who is above gets `busy` or `too_large`. There is no login: who can open the socket owns the account.
//! `client/openapi.json` is the description as a file; a test keeps it current.
#![allow(clippy::disallowed_methods, reason = "a shell: sockets, waits and the system's clock belong here")]

pub mod client;
#[cfg(test)]
pub(crate) mod fake;
mod problem;
mod refusal;
pub mod routes;
pub mod server;
pub mod types;

#[cfg(test)]
mod tests;
