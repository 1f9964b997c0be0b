//! Commands that go to mailboxes without mixes: each over a circuit and a link of its own, opened at its tick and not before, so that
//! every tick looks alike, as long as its mailbox has one of its tokens free (`onion`): with a mailbox that hangs, some wait and start
//! late. Whatever goes wrong is a reply that does not come: the engine sends again by its own clocks.

use super::{
    Input,
    tor::{Onions, no_link},
};
use crate::{
    core::{DirectCommand, REPLY_DEADLINE},
    transport::Transport,
};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
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
    /// Why the last one did not get through, in words; none if it did.
    problem: Arc<Mutex<Option<String>>>,
}

impl Direct {
    pub(super) fn new(onions: Onions, core: mpsc::Sender<Input>, transport: watch::Receiver<Transport>) -> Self {
        Self {
            onions,
            dialer: Arc::new(StreamDialer::new(Limits { handshake: HANDSHAKE, ..Limits::default() })),
            places: Arc::new(Semaphore::new(ON_THEIR_WAY)),
            core,
            transport,
            problem: Arc::default(),
        }
    }

    /// What keeps commands from getting through now, if anything does.
    pub(super) fn problem(&self) -> Option<String> {
        self.problem.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Another transport has problems of its own.
    pub(super) fn forget_problem(&self) {
        self.problem.lock().unwrap_or_else(PoisonError::into_inner).take();
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
            let id = command.id;
            let mut transport = direct.transport.clone();
            let answer = tokio::select! {
                answer = timeout(REPLY_DEADLINE, direct.exchange(command)) => answer,
                _ = transport.changed() => return,
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
            *direct.problem.lock().unwrap_or_else(PoisonError::into_inner) = told;
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
