//! Commands that go to mailboxes without mixes: each over a circuit and a link of its own, opened at its tick and not before, so that
//! nothing a person does shows in a tick. Whatever goes wrong is a reply that does not come: the engine sends again by its own clocks.

use super::{
    Input,
    tor::{Onions, no_link},
};
use crate::{
    core::{DirectCommand, REPLY_DEADLINE},
    transport::Transport,
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::{
    sync::{Semaphore, mpsc, watch},
    time::timeout,
};
use veilpost_link::{Limits, StreamDialer};
use veilpost_onion::TorError;
use veilpost_packet::{
    frame::{Frame, Hello},
    ids::DocumentHash,
};

/// Commands on their way at one time: four times what clocks give within the time that a reply may take.
const ON_THEIR_WAY: usize = 256;
/// How long a mailbox that did not answer is spoken of, if no command goes there any more: it may have left the network.
const PROBLEM: Duration = Duration::from_secs(15 * 60);
/// Mailboxes of which it is kept; of others nothing is said.
const PROBLEMS: usize = 1_024;
/// TLS, and the mailbox's hello.
const HANDSHAKE: Duration = Duration::from_secs(30);

/// Sends commands, and hands their answers to the core.
#[derive(Clone)]
pub(super) struct Direct {
    onions: Onions,
    dialer: Arc<StreamDialer>,
    places: Arc<Semaphore>,
    core: mpsc::Sender<Input>,
    /// The one in use: commands of another do not outlive it.
    transport: watch::Receiver<Transport>,
    problems: Arc<Mutex<Problems>>,
}

/// What became of each mailbox's last command, by onion service: when it began, and why it did not get through, if it did not.
#[derive(Default)]
struct Problems(BTreeMap<String, (Instant, Option<String>)>);

impl Problems {
    /// What became of a command. One that began before another whose end is known says nothing new.
    fn set(&mut self, onion: String, begun: Instant, why: Option<String>) {
        let known = self.0.get(&onion).map(|(last, _)| *last);
        if known.map_or(self.0.len() < PROBLEMS, |last| last <= begun) {
            self.0.insert(onion, (begun, why));
        }
    }

    /// For a person.
    fn told(&mut self, now: Instant) -> Option<String> {
        self.0.retain(|_, (begun, _)| now.saturating_duration_since(*begun) < PROBLEM);
        let problems = || self.0.values().filter_map(|(begun, why)| Some((begun, why.as_deref()?)));
        let (_, why) = problems().max_by_key(|(begun, _)| *begun)?;
        Some(match problems().count() {
            1 => format!("a mailbox was not reached by tor and is tried again: {why}"),
            many => format!("{many} mailboxes were not reached by tor and are tried again; the last one: {why}"),
        })
    }
}

impl Direct {
    pub(super) fn new(onions: Onions, core: mpsc::Sender<Input>, transport: watch::Receiver<Transport>) -> Self {
        Self {
            onions,
            dialer: Arc::new(StreamDialer::new(Limits { handshake: HANDSHAKE, ..Limits::default() })),
            places: Arc::new(Semaphore::new(ON_THEIR_WAY)),
            core,
            transport,
            problems: Arc::default(),
        }
    }

    fn problems(&self) -> MutexGuard<'_, Problems> {
        self.problems.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Which mailboxes are out of reach now, in words, if any are.
    pub(super) fn problem(&self) -> Option<String> {
        self.problems().told(Instant::now())
    }

    /// Another transport has problems of its own.
    pub(super) fn forget_problems(&self) {
        self.problems().0.clear();
    }

    /// Sends a command in a task of its own. Beyond the bound it is lost, as a packet may be.
    pub(super) fn send(&self, command: DirectCommand) {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            return tracing::debug!("too many commands are on their way; one is lost");
        };
        let mut direct = self.clone();
        direct.transport.mark_unchanged();
        tokio::spawn(async move {
            let _place = place;
            let (id, onion) = (command.id, command.onion.clone());
            let mut transport = direct.transport.clone();
            let begun = Instant::now();
            let answer = tokio::select! {
                // Nothing is dialed by a way that is not chosen any more.
                biased;
                _ = transport.changed() => return,
                answer = timeout(REPLY_DEADLINE, direct.exchange(command)) => answer,
            };
            let told = match answer {
                Ok(Ok(frame)) => {
                    // The core may be gone.
                    let _ = direct.core.send(Input::Replied(id, frame)).await;
                    None
                }
                Ok(Err(why)) => Some(why),
                Err(_) => Some("it took too long".into()),
            };
            if let Some(why) = &told {
                tracing::debug!(%why, "a mailbox's onion service");
            }
            direct.problems().set(onion, begun, told);
        });
    }

    async fn exchange(&self, command: DirectCommand) -> Result<Frame, String> {
        let stream = self.onions.connect(&command.onion).await.map_err(|error: TorError| error.to_string())?;
        let hello = Hello::node(DocumentHash::default()).to_frame();
        let link = self.dialer.dial(stream, &command.link_key, hello).await;
        let mut link = link.map_err(|error| no_link("the mailbox", &error))?;
        link.sender.try_send(command.frame).map_err(|_| "the circuit ended")?;
        let answer = link.receiver.recv().await;
        // Nothing more is to come, and the circuit is wanted for the next.
        link.receiver.close();
        match answer {
            Ok(Some(frame)) => Ok(frame),
            Ok(None) | Err(_) => Err("the circuit ended before the answer came".into()),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_mailbox_that_answers_does_not_hide_one_that_does_not() {
        let (mut problems, now) = (Problems::default(), Instant::now());
        let later = now + Duration::from_secs(1);
        problems.set("a".into(), now, Some("it is down".into()));
        problems.set("b".into(), now, None);
        assert!(problems.told(now).unwrap().contains("it is down"));
        problems.set("b".into(), later, Some("it took too long".into()));
        let told = problems.told(later).unwrap();
        assert!(told.contains("2 mailboxes") && told.contains("it took too long"), "{told}");
        problems.set("b".into(), later, None);
        problems.set("a".into(), later, None);
        assert_eq!(problems.told(later), None);
        problems.set("a".into(), now, Some("it took too long".into()));
        assert_eq!(problems.told(later), None, "from before it answered");
    }

    #[test]
    fn a_mailbox_that_is_asked_no_more_is_not_spoken_of_for_ever_and_their_number_has_a_bound() {
        let (mut problems, now) = (Problems::default(), Instant::now());
        for number in 0..=PROBLEMS {
            problems.set(number.to_string(), now, Some("it is down".into()));
        }
        assert_eq!(problems.0.len(), PROBLEMS);
        assert_eq!(problems.told(now + PROBLEM), None);
    }
}
