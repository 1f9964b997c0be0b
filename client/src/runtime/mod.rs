//! The shell around the engine: one task that owns the engine and the store, one that holds the link, one thread that builds
//! packets. It moves bytes and deadlines and decides nothing.
//!
//! ```text
//! local API --Command--> +------+ --BuildJob--> builder thread
//!           <--Event---- | core | <---Built----
//! link task --Input----> | task | --Frame-----> link's sender
//!                        +------+ sleeps until next_wake
//! ```
#![allow(clippy::disallowed_methods, reason = "a shell: sockets, waits and the system's clock belong here")]

mod answers;
mod clock;
mod direct;
mod link;
mod tor;

use crate::{
    core::{BuildJob, Built, Core, CoreError, Departure, Session},
    handle::{Command, CoreEnd, CoreFuture, Refusal, RefusalCode},
    store::{Store, meta},
    transport::Transport,
};
use answers::{Waiting, refusal};
use clock::Clock;
use direct::Direct;
use rand::TryRngCore as _;
use std::{collections::BTreeMap, time::Duration};
use tokio::sync::{mpsc, oneshot, watch};
use tor::Onions;
use veilpost_packet::{
    frame::Frame,
    ids::{NodeId, SurbId},
    random::{EngineRng, pick, seeded},
    sphinx::Unwrapped,
    time::Timestamp,
};
use veilpost_pki::{NetworkFile, network::BootstrapEntry};

/// Inputs from link and builder that wait for the core; beyond it they wait, and with them the entry's flow control.
const INPUTS: usize = 256;
/// Jobs that wait for the builder. The engine asks for at most ten at a time.
const JOBS: usize = 64;
/// A sleep without anything due.
const IDLE: Duration = Duration::from_secs(1);
/// Failures to reach a guard before the other one is tried.
const GUARD_TRIES: u32 = 3;

/// What happens around the engine.
enum Input {
    NeedPlan(oneshot::Sender<Option<link::Plan>>),
    Connected(Session, NodeId, link::Sender),
    Disconnected,
    /// By this transport, with the reason in words.
    Unreachable(Transport, String),
    Frame(Frame),
    Delivered(Unwrapped),
    /// What a mailbox answered over its onion service.
    Replied(SurbId, Frame),
    Built(Built),
}

/// Starts the core over an open store.
pub fn start(store: Store, end: CoreEnd) -> CoreFuture {
    Box::pin(async move {
        let mut runtime = Runtime::open(store, end).map_err(|error| refusal(&error))?;
        runtime.run().await;
        Ok(())
    })
}

struct Runtime {
    core: Core,
    clock: Clock,
    rng: EngineRng,
    network: NetworkFile,
    end: CoreEnd,
    inputs: mpsc::Receiver<Input>,
    jobs: std::sync::mpsc::SyncSender<BuildJob>,
    /// For packets with a puzzle: a thread of their own, so that Loops and Gets are ready whatever a Put costs.
    slow_jobs: std::sync::mpsc::SyncSender<BuildJob>,
    sender: Option<link::Sender>,
    failures: u32,
    /// Why the last try to reach an entry failed.
    why: String,
    onions: Onions,
    direct: Direct,
    /// Tells the link's task of another transport.
    changed: watch::Sender<Transport>,
    /// The entry that was dialed last.
    dialed: Option<NodeId>,
    waiting: BTreeMap<u64, Waiting>,
    tickets: u64,
}

impl Runtime {
    fn open(store: Store, end: CoreEnd) -> Result<Self, CoreError> {
        let text = meta::get(store.connection(), meta::NETWORK_FILE)?.unwrap_or_default();
        let network = NetworkFile::parse(&String::from_utf8_lossy(&text));
        let network = network.map_err(|_| CoreError::Bug("the account's network file does not parse"))?;
        let authorities =
            network.authority_set().map_err(|_| CoreError::Bug("the account's network file has no authorities"))?;
        let mut clock = Clock::start();
        let core = Core::new(clock.now().0, store, authorities, os_rng()?)?;
        let (send, inputs) = mpsc::channel(INPUTS);
        let (jobs, slow_jobs) = (start_builder(send.clone())?, start_builder(send.clone())?);
        let onions = Onions::new(&core.store().folder().unwrap_or_default(), network.tor.clone());
        let (changed, transport) = watch::channel(core.transport());
        let direct = Direct::new(onions.clone(), send.clone(), transport.clone());
        tokio::spawn(link::run(send, transport));
        Ok(Self {
            core,
            clock,
            rng: os_rng()?,
            network,
            end,
            inputs,
            jobs,
            slow_jobs,
            sender: None,
            failures: 0,
            why: String::new(),
            onions,
            direct,
            changed,
            dialed: None,
            waiting: BTreeMap::new(),
            tickets: 0,
        })
    }

    /// Network time; the engine learns first if the computer's clock was set.
    fn now(&mut self) -> Timestamp {
        let (now, jump) = self.clock.now();
        if let Some(jump) = jump {
            self.core.handle_clock_jump(jump);
        }
        now
    }

    async fn run(&mut self) {
        loop {
            let now = self.now();
            let wake = self.core.next_wake(now).since(now).min(IDLE);
            tokio::select! {
                input = self.inputs.recv() => match input {
                    Some(input) => self.handle_input(input),
                    None => return,
                },
                command = self.end.commands.recv() => match command {
                    Some(Command::Stop { reply }) => {
                        reply.send(Ok(()));
                        return;
                    }
                    Some(command) => self.handle_command(command),
                    // No shell is left that could stop us.
                    None => return,
                },
                () = tokio::time::sleep(wake) => {}
            }
            self.drain();
        }
    }

    fn handle_input(&mut self, input: Input) {
        let now = self.now();
        match input {
            Input::NeedPlan(answer) => {
                let plan = self.plan();
                // The link task waits for nothing else.
                let _ = answer.send(plan);
            }
            Input::Connected(session, entry, sender) => {
                self.failures = 0;
                self.sender = Some(sender);
                self.core.handle_connected(now, &session, entry);
            }
            Input::Disconnected => {
                self.sender = None;
                self.core.handle_disconnected();
            }
            // The other way failed; that says nothing of the one that was chosen since.
            Input::Unreachable(by, _) if by != self.core.transport() => self.core.handle_disconnected(),
            Input::Unreachable(_, why) => {
                self.why = why;
                self.failures = self.failures.saturating_add(1);
                self.core.handle_disconnected();
                if let Some(entry) = self.dialed {
                    self.core.handle_unreachable(now, &entry);
                }
            }
            Input::Frame(frame) => {
                if let Err(error) = self.core.handle_frame(now, &frame) {
                    tracing::warn!(%error, "the entry's stream cannot be followed; connecting anew");
                    self.hang_up();
                }
            }
            Input::Replied(id, frame) => self.core.handle_replied(now, &id, &frame),
            Input::Delivered(unwrapped) => self.core.handle_delivered(now, unwrapped),
            Input::Built(built) => self.core.handle_built(built),
        }
    }

    fn hang_up(&mut self) {
        if let Some(sender) = self.sender.take() {
            sender.close();
        }
        self.core.handle_disconnected();
    }

    /// The guard, or the backup when the guard was out of reach some times in a row; before the first document any entry of
    /// the network file. Never another one: whoever keeps guards from answering must not choose who is asked instead.
    ///
    /// Over Tor only entries with an onion service count; if none has one there is nothing to dial, and nothing is dialed.
    fn plan(&mut self) -> Option<link::Plan> {
        let over_tor = self.core.transport().needs_tor();
        let known: Vec<BootstrapEntry> = match self.core.document() {
            Some(document) => document
                .entries
                .iter()
                .filter_map(|entry| {
                    let address = *entry.addresses.first()?;
                    Some(BootstrapEntry { id: entry.id, address, link_key: entry.link_key, onion: entry.onion.clone() })
                })
                .collect(),
            None => self.network.entries.clone(),
        };
        let known: Vec<BootstrapEntry> = known.into_iter().filter(|entry| !over_tor || entry.onion.is_some()).collect();
        let guards: Vec<&BootstrapEntry> =
            self.core.guards().iter().filter_map(|guard| known.iter().find(|entry| entry.id == *guard)).collect();
        let turn = usize::try_from(self.failures / GUARD_TRIES).unwrap_or(0);
        let guard = guards.get(turn % guards.len().max(1)).copied();
        self.dialed = None;
        let any = || if self.core.guards().is_empty() { pick(&mut self.rng, &known) } else { None };
        let entry = guard.or_else(any)?.clone();
        self.dialed = Some(entry.id);
        let to = match entry.onion.filter(|_| over_tor) {
            Some(onion) => link::Address::Onion(onion, self.onions.clone()),
            None => link::Address::Direct(entry.address),
        };
        let session = self.core.new_session();
        Some(link::Plan { entry: entry.id, to, key: entry.link_key, session })
    }

    /// All that the engine has to say.
    fn drain(&mut self) {
        let now = self.now();
        self.core.handle_timers(now);
        if self.sender.is_some() && self.core.must_connect_elsewhere() {
            tracing::info!("this connection is not to be used any more; connecting anew");
            self.hang_up();
        }
        while let Some(job) = self.core.poll_job(now) {
            // The queues are larger than what the engine asks for at a time, so one is full only if its thread died.
            let builder = if job.is_slow() { &self.slow_jobs } else { &self.jobs };
            if builder.try_send(job).is_err() {
                tracing::error!("packets cannot be built any more; restart the daemon");
                break;
            }
        }
        while let Some(departure) = self.core.poll_departure(now) {
            let sent = match departure {
                Departure::Entry(frame) => self.sender.as_ref().is_some_and(|sender| sender.try_send(frame).is_ok()),
                Departure::Mailbox(command) => {
                    self.direct.send(command);
                    true
                }
            };
            if !sent {
                self.hang_up();
            }
        }
        self.send_events();
        self.send_answers();
    }
}

fn os_rng() -> Result<EngineRng, CoreError> {
    let mut seed = [0; 32];
    let none = |_| CoreError::Bug("the operating system gives no randomness");
    rand::rngs::OsRng.try_fill_bytes(&mut seed).map_err(none)?;
    Ok(seeded(seed))
}

/// A thread that builds packets.
fn start_builder(results: mpsc::Sender<Input>) -> Result<std::sync::mpsc::SyncSender<BuildJob>, CoreError> {
    let (jobs, queue) = std::sync::mpsc::sync_channel::<BuildJob>(JOBS);
    let work = move || {
        while let Ok(job) = queue.recv() {
            if results.blocking_send(Input::Built(job.run())).is_err() {
                return;
            }
        }
    };
    let started = std::thread::Builder::new().name("packet-builder".into()).spawn(work);
    started.map(|_| jobs).map_err(|_| CoreError::Bug("no thread can be started"))
}

/// A refusal for everything that needs the network while it is not there.
fn unreachable(transport: Transport, why: &str) -> Refusal {
    let what = match transport {
        Transport::Mixnet => "no entry of the network answers; check this computer's connection".to_owned(),
        _ => format!("{} does not get through: {why}. No other way is tried", transport.name()),
    };
    let message = format!("{what}. Nothing is lost: what is queued leaves when there is a connection");
    Refusal::new(RefusalCode::NetworkUnreachable, message)
}
