//! One circuit for each stream.
//!
//! arti keeps what it knows of a service for each *isolation token*, for two days after its last circuit, and for good after a dial that
//! failed. A token for every stream would fill the memory, and fetch the service's descriptor again each time. So each service has a few
//! tokens that are used in turn: again only after their circuit has been ended; that it has is checked, not trusted. A dial that was given up
//! may still come to a circuit, which nobody here could end: its token rests until arti has.
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

/// Streams to one service at one time: more of them wait. A client's clocks give 52 in the minute that an answer may take; they seldom all go
/// to one mailbox.
pub(crate) const TOKENS: usize = 64;
/// How long a token rests. A dial ends within minutes, and arti ends a circuit ten minutes after its last use.
const REST: Duration = Duration::from_secs(30 * 60);
/// Tokens of one service that rest: more than streams can be given up in that time, if each keeps its place for a minute. Beyond it the one
/// that has rested longest is forgotten.
const RESTING: usize = 2_048;
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
    /// Their circuit was told to end, or never was. Longest unused first.
    free: VecDeque<Token>,
    /// Their circuit may still come. With the time since which they rest, longest first.
    resting: VecDeque<(Instant, Token)>,
}

impl Idle {
    fn next(&mut self, now: Instant) -> Token {
        self.free.pop_front().unwrap_or_else(|| self.spare(now))
    }

    /// One whose circuit has ended for certain.
    fn spare(&mut self, now: Instant) -> Token {
        let is_over = |(since, _): &(Instant, Token)| now.saturating_duration_since(*since) >= REST;
        let over = self.resting.front().is_some_and(is_over);
        let rested = if over { self.resting.pop_front() } else { None };
        rested.map_or_else(Token::new, |(_, token)| token)
    }

    fn rest(&mut self, now: Instant, token: Token) {
        if self.resting.len() >= RESTING {
            self.resting.pop_front();
        }
        self.resting.push_back((now, token));
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

    /// Goes on with a token whose circuit has ended for certain.
    pub(crate) fn renew(&mut self) {
        let (mut idle, now) = (self.tokens.idle(), Instant::now());
        if let Some(token) = self.token.take() {
            idle.rest(now, token);
        }
        (self.token, self.begun) = (Some(idle.spare(now)), false);
    }

    /// The dial has ended without a circuit.
    pub(crate) fn failed(&mut self) {
        self.begun = false;
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
            None if self.begun => idle.rest(Instant::now(), token),
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

    fn named(token: &Token) -> String {
        format!("{:?}", Some(token.isolation))
    }

    #[tokio::test]
    async fn the_token_of_a_dial_that_was_given_up_rests_until_arti_has_ended_whatever_came_of_it() {
        let circuits = Circuits::default();
        let mut given_up = circuits.take("a").await;
        given_up.isolation();
        let (token, before) = (key(&given_up), Instant::now());
        drop(given_up);
        let next = circuits.take("a").await;
        assert_ne!(key(&next), token);
        let now = Instant::now();
        let mut idle = next.tokens.idle();
        assert_ne!(named(&idle.next(before + REST - Duration::from_secs(1))), token);
        assert_eq!(named(&idle.next(now + REST)), token);
        assert_ne!(named(&idle.next(now + REST)), token, "once");
    }

    #[tokio::test]
    async fn the_token_of_a_dial_that_ended_without_a_circuit_is_free_at_once() {
        let circuits = Circuits::default();
        let mut failed = circuits.take("a").await;
        failed.isolation();
        failed.failed();
        let token = key(&failed);
        drop(failed);
        assert_eq!(key(&circuits.take("a").await), token);
    }

    #[tokio::test]
    async fn in_place_of_a_token_whose_circuit_is_still_ending_comes_none_whose_circuit_may_be_ending_too() {
        let circuits = Circuits::default();
        let (mut first, second) = (circuits.take("a").await, circuits.take("a").await);
        first.isolation();
        let (ending, other) = (key(&first), key(&second));
        drop(second);
        first.renew();
        assert!(key(&first) != ending && key(&first) != other);
    }

    #[test]
    fn resting_tokens_are_forgotten_at_the_bound_longest_first() {
        let (mut idle, now) = (Idle::default(), Instant::now());
        for number in 0..=RESTING {
            idle.rest(now, Token { last: Some(number.to_string()), ..Token::new() });
        }
        assert_eq!(idle.resting.len(), RESTING);
        assert_eq!(idle.next(now + REST).last.as_deref(), Some("1"));
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
