//! One circuit for each stream.
//!
//! arti keeps what it knows of a service, and an open circuit to it, for each *isolation token* and keeps them for two days. A token for
//! every stream would fill the memory, and fetch the service's descriptor again each time. So tokens are used again, but only after their
//! circuit has been ended; that it has is checked, not trusted.

use arti_client::{DataStream, isolation::IsolationToken};
use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::{Arc, Mutex, PoisonError},
};
use tor_proto::client::stream::{ClientDataStreamCtrl, ClientStreamCtrl as _};

/// Tokens that wait for each service at most: more streams at one time than that have tokens that are used once.
const TOKENS: usize = 32;
/// Services that are remembered at most: beyond it their tokens are used once.
const SERVICES: usize = 1_024;

/// A token whose last circuit had this number.
#[derive(Debug)]
struct Token {
    isolation: IsolationToken,
    last: Option<String>,
}

impl Token {
    fn new() -> Self {
        Self { isolation: IsolationToken::new(), last: None }
    }
}

/// Tokens that no stream uses now, by service, longest unused first.
#[derive(Default)]
pub(crate) struct Circuits {
    free: Mutex<BTreeMap<String, VecDeque<Token>>>,
}

impl Circuits {
    fn free(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, VecDeque<Token>>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a stream to this service.
    pub(crate) fn take(self: &Arc<Self>, address: &str) -> Circuit {
        let token = self.free().get_mut(address).and_then(VecDeque::pop_front).unwrap_or_else(Token::new);
        Circuit { home: Arc::clone(self), address: address.to_owned(), token: Some(token), control: None }
    }

    fn give_back(&self, address: &str, token: Token) {
        let mut free = self.free();
        if free.len() >= SERVICES && !free.contains_key(address) {
            return;
        }
        let tokens = free.entry(address.to_owned()).or_default();
        if tokens.len() < TOKENS {
            tokens.push_back(token);
        }
    }
}

/// The circuit of one stream, from before it is built. Dropping it ends the circuit.
pub(crate) struct Circuit {
    home: Arc<Circuits>,
    address: String,
    /// `None` only while it is dropped.
    token: Option<Token>,
    control: Option<Arc<ClientDataStreamCtrl>>,
}

impl Circuit {
    /// Over a token that no circuit was ever built for.
    pub(crate) fn fresh(home: &Arc<Circuits>, address: &str) -> Self {
        Self { home: Arc::clone(home), address: address.to_owned(), token: Some(Token::new()), control: None }
    }

    /// What keeps its circuit apart from all others.
    pub(crate) fn token(&self) -> IsolationToken {
        self.token.as_ref().map_or_else(IsolationToken::new, |token| token.isolation)
    }

    /// Takes note of the stream; false if it is on the circuit that the token had before.
    pub(crate) fn opened(&mut self, stream: &DataStream) -> bool {
        self.control = stream.client_stream_ctrl().cloned();
        let tunnel = self.control.as_ref().and_then(|control| control.tunnel());
        let number = tunnel.map(|tunnel| tunnel.unique_id().to_string());
        let Some(token) = &mut self.token else { return false };
        if number.is_none() || token.last == number {
            return false;
        }
        token.last = number;
        true
    }
}

impl Drop for Circuit {
    fn drop(&mut self) {
        if let Some(tunnel) = self.control.take().and_then(|control| control.tunnel()) {
            tunnel.terminate();
        }
        if let Some(token) = self.token.take() {
            self.home.give_back(&self.address, token);
        }
    }
}

impl fmt::Debug for Circuit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Circuit(..)")
    }
}
