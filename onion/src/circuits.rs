//! One circuit for each stream.
//!
//! arti keeps what it knows of a service, and an open circuit to it, for each *isolation token* and keeps them for two days. A token for
//! every stream would fill the memory, and fetch the service's descriptor again each time. So each service has a few tokens that are used
//! in turn: again only after their circuit has been ended; that it has is checked, not trusted.

use arti_client::{DataStream, isolation::IsolationToken};
use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tor_proto::client::stream::{ClientDataStreamCtrl, ClientStreamCtrl as _};

/// Streams to one service at one time: more of them wait.
pub(crate) const TOKENS: usize = 16;
/// Services that are remembered: mailboxes and entries of a document. Beyond it all are forgotten, and their descriptors fetched again.
const SERVICES: usize = 1_024;

/// What a token is known by, and the number of its last circuit.
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

/// The tokens of one service, those that no stream uses now: longest unused first.
struct Tokens {
    places: Arc<Semaphore>,
    free: Mutex<VecDeque<Token>>,
}

impl Tokens {
    fn free(&self) -> MutexGuard<'_, VecDeque<Token>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The tokens of all services.
#[derive(Default)]
pub(crate) struct Circuits {
    services: Mutex<BTreeMap<String, Arc<Tokens>>>,
}

impl Circuits {
    /// A place for a stream to this service, as soon as one is free.
    pub(crate) async fn take(&self, address: &str) -> Circuit {
        let tokens = self.of(address);
        // Nobody closes it.
        let place = Arc::clone(&tokens.places).acquire_owned().await.ok();
        let token = tokens.free().pop_front().unwrap_or_else(Token::new);
        Circuit { tokens, token: Some(token), control: None, begun: false, _place: place }
    }

    fn of(&self, address: &str) -> Arc<Tokens> {
        let mut services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        if services.len() >= SERVICES && !services.contains_key(address) {
            services.clear();
        }
        let fresh = || Tokens { places: Arc::new(Semaphore::new(TOKENS)), free: Mutex::default() };
        Arc::clone(services.entry(address.to_owned()).or_insert_with(|| Arc::new(fresh())))
    }
}

/// The circuit of one stream, from before it is built. Dropping it ends the circuit.
pub(crate) struct Circuit {
    tokens: Arc<Tokens>,
    /// `None` only while it is dropped.
    token: Option<Token>,
    control: Option<Arc<ClientDataStreamCtrl>>,
    /// A circuit was asked for. Until a stream is there, nobody here could end it.
    begun: bool,
    _place: Option<OwnedSemaphorePermit>,
}

impl Circuit {
    /// What keeps its circuit apart from all others.
    pub(crate) fn isolation(&mut self) -> IsolationToken {
        self.begun = true;
        self.token.as_ref().map_or_else(IsolationToken::new, |token| token.isolation)
    }

    /// True if its token had a circuit before.
    pub(crate) fn is_used(&self) -> bool {
        self.token.as_ref().is_some_and(|token| token.last.is_some())
    }

    /// Goes on with a token that never had a circuit.
    pub(crate) fn renew(&mut self) {
        self.token = Some(Token::new());
    }

    /// Takes note of the stream. False if it is on the circuit that the token had before, which had not ended yet: then the stream must
    /// not be used, and the token is another one from now on.
    pub(crate) fn opened(&mut self, stream: &DataStream) -> bool {
        let control = stream.client_stream_ctrl().cloned();
        let number = control.as_ref().and_then(|control| control.tunnel()).map(|tunnel| tunnel.unique_id().to_string());
        let Some(token) = &mut self.token else { return false };
        if number.is_none() || token.last == number {
            self.renew();
            return false;
        }
        (self.control, token.last) = (control, number);
        true
    }
}

impl Drop for Circuit {
    fn drop(&mut self) {
        let token = match self.control.take() {
            Some(control) => {
                control.tunnel().iter().for_each(|tunnel| tunnel.terminate());
                self.token.take()
            }
            // A dial that was given up may still end with a circuit: no other stream must come upon it.
            None if self.begun => Some(Token::new()),
            None => self.token.take(),
        };
        self.tokens.free().extend(token);
    }
}

impl fmt::Debug for Circuit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Circuit(..)")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn key(circuit: &Circuit) -> String {
        format!("{:?}", circuit.token.as_ref().map(|token| token.isolation))
    }

    #[tokio::test]
    async fn streams_of_one_time_have_a_token_each_and_beyond_the_bound_they_wait() {
        let circuits = Circuits::default();
        let mut held = Vec::new();
        for _ in 0..TOKENS {
            held.push(circuits.take("a").await);
        }
        let mut keys: Vec<String> = held.iter().map(key).collect();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), TOKENS, "no two share a circuit");
        assert!(futures::FutureExt::now_or_never(circuits.take("a")).is_none(), "one more waits");
        assert!(futures::FutureExt::now_or_never(circuits.take("b")).is_some(), "other services do not");
        let first = key(&held.remove(0));
        assert_eq!(key(&circuits.take("a").await), first, "then it gets the token that is free");
    }

    #[tokio::test]
    async fn the_token_that_was_unused_longest_is_used_next() {
        let circuits = Circuits::default();
        let (first, second) = (circuits.take("a").await, circuits.take("a").await);
        let (early, late) = (key(&first), key(&second));
        drop(first);
        drop(second);
        let (third, fourth) = (circuits.take("a").await, circuits.take("a").await);
        assert_eq!([key(&third), key(&fourth)], [early, late]);
    }

    #[tokio::test]
    async fn services_are_forgotten_at_the_bound() {
        let circuits = Circuits::default();
        for number in 0..=SERVICES {
            drop(circuits.take(&number.to_string()).await);
        }
        assert_eq!(circuits.services.lock().unwrap().len(), 1);
    }
}
