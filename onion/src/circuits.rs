//! One circuit for each stream.
//!
//! arti keeps what it knows of a service, and an open circuit to it, for each *isolation token* and keeps them for two days. A token for
//! every stream would fill the memory, and fetch the service's descriptor again each time. So each service has a few tokens that are used
//! in turn: again only after their circuit has been ended; that it has is checked, not trusted. A token whose dial failed or was given up
//! may still come to a circuit, which nobody here could end: it is parked until arti has.
#![allow(clippy::disallowed_methods, reason = "a shell: reads the clock")]

use arti_client::{DataStream, isolation::IsolationToken};
use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tor_proto::client::stream::{ClientDataStreamCtrl, ClientStreamCtrl as _};

/// Streams to one service at one time: more of them wait. What a client's clocks give within the minute that an answer may take, if all of
/// it goes to one mailbox.
pub(crate) const TOKENS: usize = 64;
/// How long a token is parked. arti ends a circuit that nothing uses after ten minutes, and a dial after some.
const PARKED: Duration = Duration::from_secs(30 * 60);
/// Tokens that are parked for one service: as many as can be in that time if each stream keeps its place for a minute and fails. Beyond
/// it the one that was parked longest is forgotten, and arti remembers it for two days.
const PARKED_MAX: usize = 2_048;
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

/// The tokens of one service that no stream uses now.
#[derive(Default)]
struct Idle {
    /// Their circuit has ended. Longest unused first.
    free: VecDeque<Token>,
    /// And since when. Longest first.
    parked: VecDeque<(Instant, Token)>,
}

impl Idle {
    fn next(&mut self, now: Instant) -> Token {
        let is_over = |(since, _): &(Instant, Token)| now.saturating_duration_since(*since) >= PARKED;
        let token = match self.free.pop_front() {
            None if self.parked.front().is_some_and(is_over) => self.parked.pop_front().map(|(_, token)| token),
            free => free,
        };
        token.unwrap_or_else(Token::new)
    }

    fn park(&mut self, now: Instant, token: Token) {
        if self.parked.len() >= PARKED_MAX {
            self.parked.pop_front();
        }
        self.parked.push_back((now, token));
    }
}

/// The tokens of one service.
struct Tokens {
    places: Arc<Semaphore>,
    idle: Mutex<Idle>,
}

impl Tokens {
    fn idle(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
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
        let token = tokens.idle().next(Instant::now());
        Circuit { tokens, token: Some(token), control: None, begun: false, _place: place }
    }

    fn of(&self, address: &str) -> Arc<Tokens> {
        let mut services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        if services.len() >= SERVICES && !services.contains_key(address) {
            services.clear();
        }
        let fresh = || Tokens { places: Arc::new(Semaphore::new(TOKENS)), idle: Mutex::default() };
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

    /// Goes on with another token.
    pub(crate) fn renew(&mut self) {
        let (mut idle, now) = (self.tokens.idle(), Instant::now());
        if let Some(token) = self.token.take() {
            idle.park(now, token);
        }
        self.token = Some(idle.next(now));
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
        let Some(token) = self.token.take() else { return };
        let mut idle = self.tokens.idle();
        match self.control.take() {
            Some(control) => {
                control.tunnel().iter().for_each(|tunnel| tunnel.terminate());
                idle.free.push_back(token);
            }
            None if self.begun => idle.park(Instant::now(), token),
            None => idle.free.push_back(token),
        }
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
    async fn the_token_of_a_dial_that_failed_is_used_again_once_arti_has_ended_whatever_came_of_it() {
        let circuits = Circuits::default();
        let mut failed = circuits.take("a").await;
        failed.isolation();
        let (token, before) = (key(&failed), Instant::now());
        drop(failed);
        let next = circuits.take("a").await;
        assert_ne!(key(&next), token);
        let now = Instant::now();
        let mut idle = next.tokens.idle();
        let named = |token: Token| format!("{:?}", Some(token.isolation));
        assert_ne!(named(idle.next(before + PARKED - Duration::from_secs(1))), token);
        assert_eq!(named(idle.next(now + PARKED)), token);
        assert_ne!(named(idle.next(now + PARKED)), token, "once");
    }

    #[test]
    fn parked_tokens_are_forgotten_at_the_bound_longest_first() {
        let (mut idle, now) = (Idle::default(), Instant::now());
        for number in 0..=PARKED_MAX {
            idle.park(now, Token { last: Some(number.to_string()), ..Token::new() });
        }
        assert_eq!(idle.parked.len(), PARKED_MAX);
        assert_eq!(idle.next(now + PARKED).last.as_deref(), Some("1"));
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
